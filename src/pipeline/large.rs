//! A write with a large body: several intents, one request to the source, one answer, one outcome for all.
//!
//! Promises: each piece is durable before its bytes go to the source, and no more of the body is held than a few pieces. The
//! source decides how large a body it takes: what it answers before the body has ended is passed on at once. When the client
//! breaks off, or sends less than a piece in [`PIECE_WAIT`], the request to the source is broken off as well and what it may
//! have kept is doubt.

use std::io::Write as _;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Empty};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};

use super::beside::beside;
use super::decode::{Decoded, NO_ROOM, is_gzip};
use super::intent::Logged;
use super::overlap::UnderWay;
use super::pieces::{PIECE_BYTES, Pieces};
use super::primary::{Judged, PrimaryAnswer, exchange};
use super::reply::{self, Refusal, Reply};
use super::stamp::{self, Lines};
use super::{ClientWrite, Pipeline};
use crate::db::answer::Kept;
use crate::db::client::{BodyError, RequestBody};
use crate::db::server::Version;
use crate::queue::Cause;
use crate::route::{RouteName, WriteIdentity};

/// From this size on a body is worked on in pieces, as it comes or unpacked.
pub const LARGE_BYTES: usize = 8 << 20;
/// A client that needs longer for a piece has broken off: its open intents hold up the queue.
const PIECE_WAIT: Duration = Duration::from_secs(60);
/// A client that is still sending after its answer is listened to for so long.
const DRAIN_MAX: Duration = Duration::from_secs(10);
/// Held beside what was read already: a piece of text, stamped, packed, in the log's hands, and on its way to the source.
const ROOM_BYTES: usize = 5 * PIECE_BYTES;

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
            Self::Client => reply::unavailable(write.api, &Refusal::Capacity("the body did not arrive")),
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
        let mut lines = stamp::read(&self.version, &self.identity, body, self.stamped_ns);
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
        Some(Read { lines, forward, last })
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
    arrived_ns: i64,
    /// Other writes may touch its cells from the first piece to the answer.
    under_way: Option<UnderWay>,
    /// What of it is in the log, in order.
    parts: Vec<(Logged, Lines)>,
    bytes: usize,
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
            arrived_ns,
            under_way: None,
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
        match (answer, broken) {
            (answer @ PrimaryAnswer::Answered { .. }, _) => answer.into_reply(request.api),
            (_, Some(broken)) => broken.into_reply(&request),
            (answer, None) => answer.into_reply(request.api),
        }
    }
}

impl Passage<'_> {
    /// Everything up to the answer; why the body did not get to its end, if it did not.
    async fn pass(&mut self, request: &ClientWrite, declared_bytes: Option<u64>) -> (PrimaryAnswer, Option<Broken>) {
        let not_sent = |why: &str| PrimaryAnswer::NotSent(why.to_owned());
        let first = match self.next_piece().await {
            Ok(first) => first,
            Err(broken) => return (not_sent("the body broke off"), Some(broken)),
        };
        let as_it_came = self.cutter.as_ref().is_some_and(|cutter| matches!(cutter.form, Form::AsItCame));
        // Room for one piece in the channel; another is being written by the connection.
        let (to_source, body) = mpsc::channel::<Result<Frame<Bytes>, BodyError>>(1);
        let body = Received(body).boxed_unsync();
        let prepared = self.pipeline.prepare(request, body, declared_bytes.filter(|_| as_it_came));
        let request = match prepared {
            Ok(request) => request,
            Err(error) => return (not_sent(&error.to_string()), None),
        };
        let ready = match self.pipeline.source.client().ready().await {
            Ok(ready) => ready,
            Err(failure) => return (not_sent(&failure.error().to_string()), None),
        };
        let (pipeline, began) = (self.pipeline, self.pipeline.clock.monotonic());
        let mut asking = std::pin::pin!(exchange(ready, request));
        let fed = tokio::select! {
            biased;
            answer = &mut asking => {
                pipeline.answered(&answer, pipeline.clock.monotonic().saturating_sub(began));
                // Whatever it says, it does not speak of the whole body.
                return (answer, Some(Broken::Source));
            }
            fed = self.feed(first, to_source) => fed,
        };
        let broken = match fed {
            Ok(()) => None,
            // The source has answered, or its connection is gone.
            Err(Broken::Source) => Some(Broken::Source),
            Err(broken) => {
                // Dropping the request closes its connection: the source sees that the body never ends.
                let why = "the body broke off on its way to the source".to_owned();
                return (PrimaryAnswer::Lost { why, cause: Cause::Reset }, Some(broken));
            }
        };
        let answer = timeout(pipeline.source.answer_timeout(), asking).await.unwrap_or_else(|_| PrimaryAnswer::Lost {
            why: "the source did not answer in time".to_owned(),
            cause: Cause::Timeout,
        });
        pipeline.answered(&answer, pipeline.clock.monotonic().saturating_sub(began));
        (answer, broken)
    }

    /// Passes on the first piece and all that follow; the channel closes at the end of the body only.
    async fn feed(
        &mut self,
        first: Read,
        to_source: mpsc::Sender<Result<Frame<Bytes>, BodyError>>,
    ) -> Result<(), Broken> {
        let mut read = first;
        loop {
            let patience = self.pipeline.source.answer_timeout();
            for bytes in read.forward.drain(..).filter(|bytes| !bytes.is_empty()) {
                let sent = timeout(patience, to_source.send(Ok(Frame::data(bytes)))).await;
                if !matches!(sent, Ok(Ok(()))) {
                    // Kept open: the source must not take what it has for the whole.
                    let _ = to_source.try_send(Err("the body broke off".into()));
                    return Err(Broken::Source);
                }
            }
            if read.last {
                return Ok(());
            }
            read = match self.next_piece().await {
                Ok(read) => read,
                Err(broken) => {
                    let _ = to_source.send(Err("the body broke off".into())).await;
                    return Err(broken);
                }
            };
        }
    }

    /// The next piece, once its intent, or the gap that stands for it, is durable.
    async fn next_piece(&mut self) -> Result<Read, Broken> {
        let mut read = self.read_piece().await?;
        let lines = read.lines.clone();
        if let Some(name) = &self.name {
            let (under_way, now) = (self.under_way.take(), self.pipeline.clock.monotonic());
            self.under_way = self.pipeline.overlaps.widen(name, under_way, &lines, now);
        }
        let logged = self.pipeline.log_intent(self.name.clone(), &lines, self.arrived_ns).await?;
        self.pipeline.meters.lines(lines.parsed.lines, read.forward.iter().map(Bytes::len).sum());
        read.lines = lines.without_text();
        self.parts.push((logged, read.lines.clone()));
        Ok(read)
    }

    async fn read_piece(&mut self) -> Result<Read, Broken> {
        let until = Instant::now() + PIECE_WAIT;
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
            let more = self.gather(until, limit_bytes).await?;
            if let Some(cutter) = &mut self.cutter {
                cutter.pieces.push(more);
            }
        }
    }

    /// Some more of the body: enough to be worth a change of threads.
    async fn gather(&mut self, until: Instant, limit_bytes: usize) -> Result<Bytes, Broken> {
        let mut more = Vec::new();
        while more.len() < PIECE_BYTES {
            let frame = timeout_at(until, self.rest.frame()).await.map_err(|_| Broken::Client)?;
            let Some(frame) = frame else {
                self.ended = true;
                break;
            };
            if let Ok(data) = frame.map_err(|_| Broken::Client)?.into_data() {
                more.extend_from_slice(&data);
            }
        }
        self.bytes += more.len();
        if self.bytes > limit_bytes {
            return Err(Broken::TooLarge { limit_bytes });
        }
        Ok(Bytes::from(more))
    }

    /// One outcome for all pieces.
    async fn settle(&mut self, answer: &PrimaryAnswer, whole: bool, version: &Version) -> Result<(), Refusal> {
        let parts = std::mem::take(&mut self.parts);
        let Some((_, first)) = parts.first() else {
            self.pipeline.stays(self.under_way.take());
            return Ok(());
        };
        let mut all = first.clone();
        parts[1..].iter().for_each(|(_, lines)| all.add(lines));
        let mut judged = answer.outcome(version, &all);
        if !whole && judged.kept != Kept::Nothing {
            // A success for half a body says nothing of either half.
            judged = Judged { kept: Kept::Unknown, ..judged };
        }
        let met = self.pipeline.has_ended(self.under_way.take(), &judged);
        if !met.is_empty() && judged.kept != Kept::Nothing {
            judged = Judged { kept: Kept::Unknown, cause: Cause::Overlap, ..judged };
        }
        for (logged, lines) in parts {
            self.pipeline.log_outcome(logged, &judged, &lines, &[], self.arrived_ns).await?;
        }
        self.pipeline.meters.outcome(judged.kept);
        Ok(())
    }
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

/// The channel's end as a body.
struct Received(mpsc::Receiver<Result<Frame<Bytes>, BodyError>>);

impl Body for Received {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.0.poll_recv(cx)
    }
}
