//! The life of a write: decode -> parse and stamp -> route -> intent -> primary (and who else is under way) -> outcome -> reply.
//!
//! Promises: the primary alone answers, and its answer is passed on unchanged. Before a client hears anything, the intent
//! and the outcome of its write are durable, or the gap that stands for them is (where the log hangs after the intent was
//! durable, that intent stands for the write alone: a crash makes it doubt). What the primary is not known to have
//! kept is never delivered to the mirror.
//!
//! [`Pipeline::write`] is the whole story; each step has a file of its own.

mod beside;
mod broken;
mod cells;
mod changing;
mod decode;
mod feed;
mod gap;
mod held;
mod intent;
mod keeper;
mod large;
mod meters;
mod overlap;
mod pieces;
mod primary;
mod reply;
mod room;
mod sent;
mod settle;
mod silence;
mod skew;
mod stamp;
mod statements;
pub mod tap;

pub use changing::Changing;
pub use decode::Limits;
pub use held::{Held, HeldGaps};
pub use keeper::GapKeeper;
pub use large::{LARGE_BYTES, LargeWrite, drain, passage_max};
pub use meters::EdgeMeters;
pub use overlap::Overlaps;
pub use reply::{
    BadHost, BeforeAnyHandler, Refusal, Reply, ReplyBody, bad_host, too_large, unavailable, unknown_coding, whole,
};
pub use room::{Budget, NoRoom, Room};
pub use sent::{Sent, Tally};
pub use silence::{News, SILENT_AFTER, Silence, Silent};
pub use skew::Skew;
pub use statements::{Asked, Changes};

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};

use crate::base::Epoch;
use crate::base::clock::SharedClock;
use crate::base::failpoint::{self, Point};
use crate::config::OnUnavailable;
use crate::db::precision::Api;
use crate::db::server::{Server, Version};
use crate::queue::doubts::Doubts;
use crate::queue::{Appender, Cause};
use crate::route::{Catalogue, Resolver, WriteIdentity};
use crate::state::SharedState;

use decode::{NO_ROOM, Undecoded};
use settle::Met;
use stamp::Lines;

/// A write as a client sent it, read completely.
pub struct ClientWrite {
    /// Endpoint.
    pub api: Api,
    /// Always POST today; kept because it is passed on.
    pub method: Method,
    /// Path below our own mount point, with the query; passed on as it is.
    pub target: String,
    /// Headers as they came.
    pub headers: HeaderMap,
    /// What else hyper knows of the head: the case of header names.
    pub extensions: http::Extensions,
    /// Body as it came, in its own encoding.
    pub body: Bytes,
    /// Its share of what may be in flight; holds the body's bytes.
    pub room: Room,
}

impl ClientWrite {
    /// From its head, with what there is of its body.
    #[must_use]
    pub fn of(api: Api, head: http::request::Parts, body: Bytes, room: Room) -> Self {
        let target = head.uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
        let http::request::Parts { method, headers, extensions, .. } = head;
        Self { api, method, target, headers, extensions, body, room }
    }
}

impl fmt::Debug for ClientWrite {
    /// Without the query and the headers: both may carry credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.target.split('?').next().unwrap_or_default();
        let mut shown = f.debug_struct("ClientWrite");
        shown.field("method", &self.method).field("path", &path).field("body_bytes", &self.body.len());
        shown.finish_non_exhaustive()
    }
}

/// What all writes share.
pub struct Pipeline {
    /// The primary, for writes and the names they need.
    pub source: Server,
    /// The primary again, with connections of its own for everything else: writes must not wait behind queries.
    pub passing: Server,
    /// What it is; learned anew when it answers again after a fault.
    pub version: RefCell<Version>,
    /// Names as clients write them.
    pub resolver: Resolver,
    /// Routes seen so far.
    pub catalogue: Catalogue,
    /// The queue.
    pub appender: Appender,
    /// Events go there.
    pub state: SharedState,
    /// What the queue cannot take goes there.
    pub gaps: Rc<GapKeeper>,
    /// Time.
    pub clock: SharedClock,
    /// Offset of the primary's clock.
    pub skew: Skew,
    /// Bounds of a body.
    pub limits: Limits,
    /// No durability for so long means that the queue is unavailable.
    pub stall: Duration,
    /// What happens then.
    pub on_unavailable: OnUnavailable,
    /// The client of a write that was kept whole hears so before its outcome is durable.
    pub lazy: bool,
    /// Who the primary is.
    pub epoch: Epoch,
    /// Whether it answers writes.
    pub silence: Silence,
    /// Writes under way, and the cells that two of them touch.
    pub overlaps: Overlaps,
    /// Lines in doubt by route.
    pub doubts: Doubts,
    /// Lines that went to it.
    pub sent: Sent,
    /// Deletes under way.
    pub changing: Changing,
    /// Figures.
    pub meters: EdgeMeters,
}

impl fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pipeline")
    }
}

impl Pipeline {
    /// One write, from the complete request to the complete answer. Runs to its end even if the client goes away: what
    /// was begun gets its outcome.
    pub async fn write(self: Rc<Self>, mut request: ClientWrite) -> Reply {
        let (arrived_ns, began) = (self.clock.wall_ns(), self.clock.monotonic());
        let identity = WriteIdentity::read(request.api, request.target.split_once('?').map_or("", |(_, query)| query));
        let version = self.version.borrow().clone();

        let lines = match self.read(&version, &identity, &mut request, arrived_ns).await {
            Ok(lines) => lines,
            Err(Undecoded::TooLarge { limit_bytes }) => return reply::too_large(request.api, limit_bytes),
            Err(Undecoded::Large) => return Box::pin(self.write_large(LargeWrite::unpacking(request))).await,
            Err(Undecoded::Refused(refused)) => return reply::unavailable(request.api, &refused),
        };
        failpoint::hit(Point::Parsed);
        let name = self.resolver.name(&identity).await;
        // Before the intent: of two writes that are not under way together the log then has the order of the source.
        let under_way = self.sets_out(name.as_ref(), &lines).await;
        let meeting = self.changing.write_begins();
        let intent = match self.log_intent(name, &lines, arrived_ns).await {
            Ok(intent) => intent,
            Err(refused) => {
                self.stays(under_way);
                return reply::unavailable(request.api, &refused);
            }
        };
        self.meters.lines(lines.parsed.lines, request.body.len());

        let sending = self.sent.begin(intent.name(), &lines);
        let (answer, source_time) = self.forward(&request, &lines).await;
        failpoint::hit(Point::Answered);
        let outcome = answer.outcome(&version, &lines);
        sending.end(&outcome);
        let met = meeting.lines_met(intent.name(), &lines);
        let met = both(self.has_ended(under_way, &outcome), met);
        if let Err(refused) = self.log_outcome(intent, &outcome, &lines, &met, arrived_ns).await {
            return reply::unavailable(request.api, &refused);
        }
        failpoint::hit(Point::OutcomeDurable);
        self.meters.outcome(outcome.kept);
        self.meters.overhead(self.clock.monotonic().saturating_sub(began).saturating_sub(source_time));
        answer.into_reply(request.api)
    }

    /// The lines of a write, all of them timed. Room is taken for what is unpacked and stamped; large bodies are read
    /// beside the event loop.
    async fn read(
        &self,
        version: &Version,
        identity: &WriteIdentity,
        request: &mut ClientWrite,
        arrived_ns: i64,
    ) -> Result<Lines, Undecoded> {
        let body = decode::decode(version, request, self.limits).await?;
        let stamped_ns = arrived_ns.saturating_add(self.skew.correction_ns());
        let large = body.bytes();
        // Where others are under way its cells are likely to be asked for: found out in the same reading.
        let hash = self.overlaps.any() && request.room.try_grow(stamp::hashing_bytes(large));
        let (version, identity) = (version.clone(), identity.clone());
        let reading = beside::by_size(large, move || stamp::read(&version, &identity, body, stamped_ns, hash));
        let mut lines = reading.await.map_err(Undecoded::Refused)?;
        if lines.wants_stamps() {
            let stamping_bytes = lines.stamping_bytes();
            let grown = request.room.grow(stamping_bytes).await;
            grown.map_err(|_| Undecoded::Refused(Refusal::Capacity(NO_ROOM)))?;
            let stamping = beside::by_size(large, move || lines.stamped(stamped_ns));
            lines = stamping.await.map_err(Undecoded::Refused)?;
        }
        request.room.shrink_to(request.body.len() + lines.held_bytes());
        Ok(lines)
    }
}

/// Lines that met another write, and those that a delete may have reached: in order, each once.
fn both(mut met: Vec<Met>, deleted: Vec<u32>) -> Vec<Met> {
    if !deleted.is_empty() {
        met.extend(deleted.into_iter().map(|line| Met { line, cause: Cause::Delete }));
        // Stable: where a line met both, the write is named.
        met.sort_by_key(|met| met.line);
        met.dedup_by_key(|met| met.line);
    }
    met
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_is_shown_without_its_credentials() {
        let mut headers = HeaderMap::new();
        headers.insert("authorization", "Token hunter2".parse().unwrap());
        let write = ClientWrite {
            api: Api::V1,
            method: Method::POST,
            target: "/write?db=d&u=me&p=hunter2".into(),
            headers,
            extensions: http::Extensions::new(),
            body: Bytes::new(),
            room: Budget::new(1 << 20, Duration::ZERO).room(),
        };
        let shown = format!("{write:?}");
        assert!(shown.contains("/write") && !shown.contains("hunter2"), "{shown}");
    }
}
