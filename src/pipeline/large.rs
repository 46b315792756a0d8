//! A write with a large body: several intents, one request to the source, one answer, one outcome for all.
//!
//! Promises: each piece is durable before its bytes go to the source, and no more of the body is held than a few pieces. The
//! source decides how large a body it takes: a refusal before the body has ended is passed on at once; a success for a part of
//! it is none. When the client breaks off, sends nothing for [`FRAME_WAIT`], or either side is so slow that it all takes longer
//! than [`passage_max`], the request to the source is broken off as well and what it may have kept is doubt.

use std::io::Write as _;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body::Body;
use http_body_util::{BodyExt, Empty};
use tokio::time::{Instant, timeout, timeout_at};

use super::beside::beside;
use super::cells::{Cell, cells};
use super::changing::{Measurements, Meeting};
use super::decode::{Decoded, NO_ROOM, is_gzip};
use super::feed::{self, Feeder, Unread};
use super::intent::Logged;
use super::overlap::UnderWay;
use super::pieces::{PIECE_BYTES, Pieces};
use super::primary::{Judged, PrimaryAnswer, exchange, lost};
use super::reply::{self, Refusal, Reply};
use super::sent::Sending;
use super::settle::Met;
use super::stamp::{self, Lines};
use super::{ClientWrite, Pipeline, both};
use crate::db::answer::Kept;
use crate::db::client::RequestBody;
use crate::db::server::Version;
use crate::queue::Cause;
use crate::route::{RouteName, WriteIdentity};

/// From this size on a body is worked on in pieces, as it comes or unpacked.
pub const LARGE_BYTES: usize = 8 << 20;
/// A client that sends nothing for so long has broken off.
const FRAME_WAIT: Duration = Duration::from_secs(30);
/// A large body may be on its way for so long at any pace.
const PASSAGE_LEAST: Duration = Duration::from_secs(300);
/// And for longer while it comes at such a pace: 100 MB over a line of 2 Mbit/s take seven minutes.
const PACE_BYTES_PER_S: u64 = 128 << 10;
/// As much as the source must read within the time that it has for an answer, for its reading to count as going on.
const PART_BYTES: usize = 256 << 10;
/// A client that is still sending after its answer is listened to for so long.
const DRAIN_MAX: Duration = Duration::from_secs(10);
/// Held beside what was read already: a piece of text, stamped, packed, in the log's hands, and on its way to the source.
const ROOM_BYTES: usize = 5 * PIECE_BYTES;

/// How long a large body may be on its way of which so much has come. Not without end: until it is with the source, its open
/// intents hold up the queue.
#[must_use]
pub fn passage_max(bytes: usize) -> Duration {
    PASSAGE_LEAST + Duration::from_millis((bytes as u64).saturating_mul(1000) / PACE_BYTES_PER_S)
}

/// A write whose body is still on its way.
pub struct LargeWrite {
    /// What came so far is its body.
    pub request: ClientWrite,
    /// The rest.
    pub rest: RequestBody,
    /// How long the client says that the whole is.
    pub declared_bytes: Option<u64>,
}

impl LargeWrite {
    /// A write that is here already and unpacks to something large.
    pub(super) fn unpacking(request: ClientWrite) -> Self {
        let declared_bytes = Some(request.body.len() as u64);
        let rest = Empty::new().map_err(|e: std::convert::Infallible| match e {}).boxed_unsync();
        Self { request, rest, declared_bytes }
    }
}

impl std::fmt::Debug for LargeWrite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LargeWrite").field("request", &self.request).finish_non_exhaustive()
    }
}

/// Why the body was not passed on to its end.
enum Broken {
    /// The client sends nothing more.
    Client,
    /// It is larger than configured.
    TooLarge { limit_bytes: usize },
    /// A piece can be kept nowhere, or there is no room.
    Refused(Refusal),
    /// The source takes nothing more; its answer, if there is one, says why.
    Source,
}

impl From<Refusal> for Broken {
    fn from(refused: Refusal) -> Self {
        Self::Refused(refused)
    }
}

impl Broken {
    fn into_reply(self, write: &ClientWrite) -> Reply {
        match self {
            Self::Client => reply::unavailable(write.api, &Refusal::Body("the body did not arrive")),
            Self::TooLarge { limit_bytes } => reply::too_large(write.api, limit_bytes),
            Self::Refused(refused) => reply::unavailable(write.api, &refused),
            Self::Source => {
                reply::unavailable(write.api, &Refusal::SourceLost("it takes nothing more of the body".to_owned()))
            }
        }
    }
}

/// A piece, read and stamped.
struct Read {
    lines: Lines,
    /// `None` where only the source knows a time.
    cells: Option<Arc<Vec<Cell>>>,
    measurements: Measurements,
    forward: Vec<Bytes>,
    last: bool,
}

/// How the source gets the pieces.
enum Form {
    /// Not decided: the first piece does.
    Open,
    /// As they came; lines without a time stay so.
    AsItCame,
    /// Stamped, packed again where they came packed.
    Stamped(Option<Box<GzEncoder<Vec<u8>>>>),
}

/// What moves between the event loop and the thread that reads large bodies.
struct Cutter {
    pieces: Pieces,
    form: Form,
    version: Version,
    identity: WriteIdentity,
    stamped_ns: i64,
}

impl Cutter {
    /// The next piece of what came; `end`: nothing more comes.
    fn read(&mut self, end: bool) -> Option<Read> {
        let (piece, last) = match self.pieces.next() {
            Some(piece) => (piece, false),
            None if end => (self.pieces.last(), true),
            None => return None,
        };
        let opaque = self.pieces.is_opaque() && piece.text.is_empty();
        let body = if opaque { Decoded::Opaque } else { Decoded::Plain(piece.text) };
        let mut lines = stamp::read(&self.version, &self.identity, body, self.stamped_ns, true);
        if matches!(self.form, Form::Open) {
            self.form = match lines.wants_stamps() {
                false => Form::AsItCame,
                true if self.pieces.is_zipped() => {
                    Form::Stamped(Some(Box::new(GzEncoder::new(Vec::new(), Compression::fast()))))
                }
                true => Form::Stamped(None),
            };
        }
        lines = match (&self.form, lines.wants_stamps()) {
            (_, false) => lines,
            (Form::Stamped(_), true) => lines.stamped(self.stamped_ns),
            (_, true) => lines.left_untimed(),
        };
        let forward = match &mut self.form {
            Form::Open | Form::AsItCame => piece.came,
            // From here on the source is to see what we saw: something that cannot be unpacked.
            Form::Stamped(_) if opaque => piece.came,
            Form::Stamped(None) => vec![lines.text.clone()],
            Form::Stamped(Some(encoder)) => vec![pack(encoder, &lines.text, last)],
        };
        let (cells, measurements) = (cells(&lines), Measurements::of(&lines));
        Some(Read { lines, cells, measurements, forward, last })
    }
}

/// What comes out of a packer after more text.
fn pack(encoder: &mut GzEncoder<Vec<u8>>, text: &[u8], last: bool) -> Bytes {
    let packed = encoder.write_all(text).and_then(|()| if last { encoder.try_finish() } else { Ok(()) });
    packed.expect("writing into memory does not fail");
    Bytes::from(std::mem::take(encoder.get_mut()))
}

/// A large write under way.
struct Passage<'p> {
    pipeline: &'p Pipeline,
    /// `None` while it is on the thread that reads.
    cutter: Option<Cutter>,
    rest: RequestBody,
    ended: bool,
    name: Option<RouteName>,
    began: Instant,
    /// Other writes may touch its cells from the first piece to the answer.
    under_way: Option<UnderWay>,
    /// … and deletes.
    meeting: Meeting,
    /// What of it is in the log, in order.
    parts: Vec<Part>,
    /// What came of it, but for what was read before.
    bytes: usize,
}

/// A piece that is in the log, or whose gap is recorded.
struct Part {
    logged: Logged,
    sending: Sending,
    /// Without the text.
    lines: Lines,
    measurements: Measurements,
    arrived_ns: i64,
    /// Something of it may have gone to the source.
    begun: bool,
}

impl Pipeline {
    /// As [`Pipeline::write`], for a body that is not held whole.
    pub async fn write_large(self: Rc<Self>, large: LargeWrite) -> Reply {
        let LargeWrite { mut request, rest, declared_bytes } = large;
        let arrived_ns = self.clock.wall_ns();
        let identity = WriteIdentity::read(request.api, request.target.split_once('?').map_or("", |(_, query)| query));
        let version = self.version.borrow().clone();
        if request.room.grow(ROOM_BYTES).await.is_err() {
            return reply::unavailable(request.api, &Refusal::Capacity(NO_ROOM));
        }
        let name = self.resolver.name(&identity).await;
        let mut pieces = Pieces::new(is_gzip(&version, &request.headers));
        pieces.push(std::mem::take(&mut request.body));
        let stamped_ns = arrived_ns.saturating_add(self.skew.correction_ns());
        let cutter = Cutter { pieces, form: Form::Open, version: version.clone(), identity, stamped_ns };
        let mut passage = Passage {
            pipeline: &self,
            cutter: Some(cutter),
            rest,
            ended: false,
            name,
            began: Instant::now(),
            under_way: None,
            meeting: self.changing.write_begins(),
            parts: Vec::new(),
            bytes: 0,
        };
        let (answer, broken) = passage.pass(&request, declared_bytes).await;
        if let Err(refused) = passage.settle(&answer, broken.is_none(), &version).await {
            return reply::unavailable(request.api, &refused);
        }
        // Whatever is answered before the client has sent everything: it is to come to read that.
        if !passage.ended {
            drain(passage.rest);
        }
        match broken {
            None => answer.into_reply(request.api),
            // Too large, not authorised: that holds for the whole. That half of it was taken is no success.
            Some(_) if answer.status().is_some_and(|status| !status.is_success()) => answer.into_reply(request.api),
            Some(broken) => broken.into_reply(&request),
        }
    }
}

impl Passage<'_> {
    /// Everything up to the answer; why the source has not taken the whole body, if it has not.
    async fn pass(&mut self, request: &ClientWrite, declared_bytes: Option<u64>) -> (PrimaryAnswer, Option<Broken>) {
        let not_sent = |why: &str| PrimaryAnswer::NotSent(why.to_owned());
        let first = match self.first_piece().await {
            Ok(first) => first,
            Err(broken) => return (not_sent("the body broke off"), Some(broken)),
        };
        let as_it_came = self.cutter.as_ref().is_some_and(|cutter| matches!(cutter.form, Form::AsItCame));
        let (mut feeder, body) = feed::fed();
        let prepared = self.pipeline.prepare(request, body.boxed_unsync(), declared_bytes.filter(|_| as_it_came));
        let request = match prepared {
            Ok(request) => request,
            Err(error) => return (not_sent(&error.to_string()), None),
        };
        let ready = match self.pipeline.source.client().ready().await {
            Ok(ready) => ready,
            Err(failure) => {
                let answer = not_sent(&failure.error().to_string());
                self.pipeline.answered(&answer, Duration::ZERO);
                return (answer, None);
            }
        };
        let (pipeline, began) = (self.pipeline, self.pipeline.clock.monotonic());
        // Until then it is not the source that is waited for.
        let mut asked = None;
        let mut asking = std::pin::pin!(exchange(ready, request));
        let (answer, broken) = match self.feed(first, &mut feeder, asking.as_mut()).await {
            // Dropping the request and its feeder closes the connection: the source sees that the body never ends.
            Err((answer, broken)) => (answer, Some(broken)),
            Ok(()) => {
                asked = Some(pipeline.silence.asked(pipeline.clock.monotonic()));
                let answer = timeout(pipeline.source.answer_timeout(), asking).await;
                (answer.unwrap_or_else(|_| lost("the source did not answer in time", Cause::Timeout)), None)
            }
        };
        // An answer before the end does not speak of the whole body.
        let broken = broken.or(Some(Broken::Source)).filter(|_| !feeder.is_whole());
        if matches!(broken, None | Some(Broken::Source)) {
            pipeline.answered(&answer, pipeline.clock.monotonic().saturating_sub(began));
        }
        drop(asked);
        (answer, broken)
    }

    /// Passes on the first piece and all that follow, until there is no more or the source takes no more. `Err`: the write
    /// has ended before that, with this answer. What is being logged is logged to its end whatever the source says.
    async fn feed<F>(
        &mut self,
        first: Read,
        feeder: &mut Feeder,
        mut asking: Pin<&mut F>,
    ) -> Result<(), (PrimaryAnswer, Broken)>
    where
        F: Future<Output = PrimaryAnswer>,
    {
        let mut read = first;
        loop {
            let patience = self.pipeline.source.answer_timeout();
            let last = read.last;
            let mut begun = false;
            let handed_on = tokio::select! {
                biased;
                answer = asking.as_mut() => Err((answer, Broken::Source)),
                handed_on = hand_on(read, feeder, &mut begun, patience, self.until()) => Ok(handed_on),
            };
            if let Some(part) = self.parts.last_mut() {
                part.begun = begun;
            }
            match handed_on? {
                HandedOn::All if !last => {}
                // The answer says why it is not read.
                HandedOn::All | HandedOn::Unread => return Ok(()),
                HandedOn::Stalled => {
                    return Err((lost("the source does not read the body", Cause::Timeout), Broken::Source));
                }
            }
            let next = tokio::select! {
                biased;
                answer = asking.as_mut() => return Err((answer, Broken::Source)),
                next = self.read_piece() => next,
            };
            let logged = match next {
                Ok(next) => self.log_piece(next).await,
                Err(broken) => Err(broken),
            };
            read = logged
                .map_err(|broken| (lost("the body broke off on its way to the source", Cause::BrokenOff), broken))?;
        }
    }

    /// Everything but the answer is over by then.
    fn until(&self) -> Instant {
        self.began + passage_max(self.bytes)
    }

    async fn first_piece(&mut self) -> Result<Read, Broken> {
        let first = self.read_piece().await?;
        self.log_piece(first).await
    }

    /// The piece, once its intent, or the gap that stands for it, is durable.
    async fn log_piece(&mut self, mut read: Read) -> Result<Read, Broken> {
        let lines = read.lines.clone();
        if let Some(name) = &self.name {
            let (under_way, now) = (self.under_way.take(), self.pipeline.clock.monotonic());
            self.under_way = self.pipeline.overlaps.widen(name, under_way, &lines, read.cells.take(), now);
        }
        // Its own: the age of an intent tells how long it has been without an outcome.
        let arrived_ns = self.pipeline.clock.wall_ns();
        let logged = self.pipeline.log_intent(self.name.clone(), &lines, arrived_ns).await?;
        self.pipeline.meters.lines(lines.parsed.lines, read.forward.iter().map(Bytes::len).sum());
        let sending = self.pipeline.sent.begin(self.name.as_ref(), &lines);
        read.lines = lines.without_text();
        let measurements = std::mem::take(&mut read.measurements);
        self.parts.push(Part { logged, sending, lines: read.lines.clone(), measurements, arrived_ns, begun: false });
        Ok(read)
    }

    async fn read_piece(&mut self) -> Result<Read, Broken> {
        let limit_bytes = self.pipeline.limits.body_bytes_max;
        loop {
            let Some(mut cutter) = self.cutter.take() else { return Err(Broken::Client) };
            let end = self.ended;
            let (cutter, read) = beside(move || {
                let read = cutter.read(end);
                (cutter, read)
            })
            .await?;
            let over = cutter.pieces.text_bytes() > limit_bytes;
            self.cutter = Some(cutter);
            if over {
                return Err(Broken::TooLarge { limit_bytes });
            }
            if let Some(read) = read {
                return Ok(read);
            }
            let more = self.gather(limit_bytes).await?;
            if let Some(cutter) = &mut self.cutter {
                cutter.pieces.push(more);
            }
        }
    }

    /// Some more of the body: enough to be worth a change of threads.
    async fn gather(&mut self, limit_bytes: usize) -> Result<Bytes, Broken> {
        let mut more = Vec::new();
        while more.len() < PIECE_BYTES {
            let until = self.until().min(Instant::now() + FRAME_WAIT);
            let frame = timeout_at(until, self.rest.frame()).await.map_err(|_| Broken::Client)?;
            let Some(frame) = frame else {
                self.ended = true;
                break;
            };
            if let Ok(data) = frame.map_err(|_| Broken::Client)?.into_data() {
                self.bytes += data.len();
                more.extend_from_slice(&data);
            }
        }
        if self.bytes > limit_bytes {
            return Err(Broken::TooLarge { limit_bytes });
        }
        Ok(Bytes::from(more))
    }

    /// One answer for all pieces.
    async fn settle(&mut self, answer: &PrimaryAnswer, whole: bool, version: &Version) -> Result<(), Refusal> {
        let parts = std::mem::take(&mut self.parts);
        let Some(first) = parts.first() else {
            self.pipeline.stays(self.under_way.take());
            return Ok(());
        };
        let mut all = first.lines.clone();
        parts[1..].iter().for_each(|part| all.add(&part.lines));
        // Lines whose time only the source knows make their own piece doubt, not the others.
        all.unstamped = 0;
        let mut judged = answer.outcome(version, &all);
        if !whole && judged.kept != Kept::Nothing {
            // A success for half a body says nothing of either half.
            judged = Judged { kept: Kept::Unknown, ..judged };
        }
        // Nor that the source is done with it.
        let status = if whole { judged.status } else { 0 };
        let met = self.pipeline.has_ended(self.under_way.take(), &Judged { status, ..judged });
        let mut kept = judged.kept;
        let mut before = 0u32;
        for part in parts {
            let own = part.judged(judged);
            if own.kept == Kept::Unknown {
                kept = Kept::Unknown;
            }
            let end = before.saturating_add(part.lines.parsed.lines);
            let own_met = within(&met, before, end).iter();
            let mut met: Vec<Met> = own_met.map(|met| Met { line: met.line - before, ..*met }).collect();
            // Its text is gone: a delete may have reached all of it.
            if self.meeting.is_met(self.name.as_ref(), &part.lines, &part.measurements) {
                met = both(met, (0..part.lines.parsed.lines).collect());
            }
            before = end;
            part.sending.end(&Judged { status: if part.begun { status } else { own.status }, ..own });
            self.pipeline.log_outcome(part.logged, &own, &part.lines, &met, part.arrived_ns).await?;
        }
        self.pipeline.meters.outcome(kept);
        Ok(())
    }
}

impl Part {
    /// What an answer to the whole means for this piece.
    fn judged(&self, whole: Judged) -> Judged {
        match whole.kept {
            _ if !self.begun => Judged { kept: Kept::Nothing, ..whole },
            Kept::All if self.lines.unstamped > 0 => Judged { kept: Kept::Unknown, cause: Cause::Untimed, ..whole },
            _ => whole,
        }
    }
}

/// Those of some lines, in order, from number `first` to before `end`.
fn within(lines: &[Met], first: u32, end: u32) -> &[Met] {
    let at = |number: u32| lines.partition_point(|met| met.line < number);
    &lines[at(first)..at(end).max(at(first))]
}

/// How far a piece got.
enum HandedOn {
    /// To the connection.
    All,
    /// The connection reads no more.
    Unread,
    /// The source does not read.
    Stalled,
}

/// Feeds a piece; `begun`: whether the connection may have something of it.
async fn hand_on(read: Read, feeder: &mut Feeder, begun: &mut bool, patience: Duration, until: Instant) -> HandedOn {
    let at_most = || until.min(Instant::now() + patience);
    *begun = true;
    if read.last {
        feeder.remain(read.forward.iter().map(|bytes| bytes.len() as u64).sum());
    }
    for mut bytes in read.forward {
        while !bytes.is_empty() {
            let part = bytes.split_to(bytes.len().min(PART_BYTES));
            match timeout_at(at_most(), feeder.feed(part)).await {
                Ok(Ok(())) => {}
                Ok(Err(Unread)) => return HandedOn::Unread,
                Err(_) => return HandedOn::Stalled,
            }
        }
    }
    if read.last {
        match timeout_at(at_most(), feeder.end()).await {
            Ok(Ok(())) => {}
            Ok(Err(Unread)) => return HandedOn::Unread,
            Err(_) => return HandedOn::Stalled,
        }
    }
    HandedOn::All
}

/// Reads and forgets the rest of a body whose answer is known, for a while: a client that is still sending comes to read it.
pub fn drain<B>(mut rest: B)
where
    B: Body<Data = Bytes> + Unpin + 'static,
{
    tokio::task::spawn_local(async move {
        let until = Instant::now() + DRAIN_MAX;
        while let Ok(Some(Ok(_))) = timeout_at(until, rest.frame()).await {}
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_that_keeps_coming_is_waited_for_and_one_that_trickles_is_not() {
        let takes = |bytes: u64, bits_per_s: u64| Duration::from_secs(bytes * 8 / bits_per_s);
        let (all, little) = (100_000_000, 2 << 20);
        assert!(takes(all, 2_000_000) < passage_max(all as usize), "100 MB over 2 Mbit/s");
        assert!(takes(all, 500_000) > passage_max(all as usize));
        assert!(takes(little, 50_000) > passage_max(little as usize));
        assert_eq!(passage_max(0), PASSAGE_LEAST);
    }
}
