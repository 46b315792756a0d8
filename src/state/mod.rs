//! Durable facts beside the log: routes, dead letters, dirty regions, gaps, events.
//!
//! Promise: when a call's future says `Ok`, the fact is on disk (SQLite, `synchronous = FULL`). Every row that belongs to a
//! destination carries its `id`, so that a second destination, or a shared store for several machines, needs no other
//! schema. Effects are idempotent by (LSN, line): a record that is delivered again after a crash writes the same rows.
//!
//! One rule joins this store with the log: *the effect is durable before the floor passes its record*.

mod backfill;
mod dirty;
mod event;
mod gaps;
mod letters;
mod peek;
mod readback;
mod schema;
mod sqlite;
mod statements;
mod windows;

pub use backfill::{
    BackfillFile, BackfillLetter, BackfillStore, ChunkRow, EndedCopy, JobRow, JobState, JobSums, KeptProgress,
    TriedAgain,
};
pub use dirty::RegionRow;
pub use event::{Event, EventKind};
pub use gaps::{BacklogGap, GapRow};
pub use letters::{LetterFate, LetterFile, LetterId, LetterPage, LetterQuery, PAGE_LETTERS_MAX, Removal, StoredLetter};
pub use peek::peek;
pub use readback::{Cleared, GAPS_READ_BACK, Owed, OwedRow, ReadBackSum};
pub use sqlite::SqliteState;
pub use statements::{
    NotMirrored, Noted, StatementChange, StatementFile, StatementQuery, StatementRow, StatementState,
};
pub use windows::{Window, of_gaps};

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::oneshot;

use crate::base::{DestinationId, Error, Kind, Lsn, Result, RouteId, Side};

/// The store, shared by all rooms.
pub type SharedState = Arc<dyn State>;

/// A line that the destination refused for good, with the reason in its own words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Record that brought the line.
    pub lsn: Lsn,
    /// Number of the line among those of the record that parse, from 0.
    pub line: u32,
    /// Where it came from.
    pub route: RouteId,
    /// Canonical text of the route when its record does not carry the id (it is 0), else empty.
    pub route_name: String,
    /// Short stable code: `type-conflict`, `parse`, `bad-name`, `too-large`, `expired`, `unstorable`, …
    pub code: String,
    /// What the destination said.
    pub reason: String,
    /// The line as it was sent, in the destination's dialect, with explicit nanoseconds.
    pub text: Vec<u8>,
    /// Its time, where that is known.
    pub time_ns: Option<i64>,
}

/// A part of the data whose fate at the source is not known: it must be read back from there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DirtyRegion {
    /// Canonical text of the route the data was written to, whether it has a number or not.
    pub route_name: String,
    /// Measurement, unescaped. Empty stands for the whole route.
    pub measurement: Vec<u8>,
    /// First nanosecond of the time bucket.
    pub from_ns: i64,
    /// Last nanosecond of the time bucket (inclusive).
    pub to_ns: i64,
    /// First and last record that made it dirty.
    pub lsns: (Lsn, Lsn),
    /// Why: `crash`, `timeout`, `reset`, `answer`, `overlap`.
    pub cause: &'static str,
    /// Lines in doubt that made it dirty.
    pub lines: u64,
}

/// Cause of the gap of a route that stood still for too long. One row for each time: the one that begins at a record grows.
pub const ROUTE_BACKLOG: &str = "route-backlog";

/// Data that the log could not take although the source did (or may have done) so.
///
/// Gaps of one route and cause without records are one row for ever, which stretches: its times are the earliest and the
/// latest, its lines the sum. A destination has at most 10,000 different pairs of route and cause; what comes after them
/// goes to the route `other`, but for [`ROUTE_BACKLOG`]: its rows tell which records are in them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Whose data, where it is known.
    pub route: Option<RouteId>,
    /// Text of the route: the canonical one for [`ROUTE_BACKLOG`], since records are found by it, else for people.
    pub route_name: String,
    /// Earliest point or arrival in it, ns.
    pub from_ns: i64,
    /// Latest point or arrival in it, ns.
    pub to_ns: i64,
    /// Lines that are, or may be, missing.
    pub lines: u64,
    /// Damaged log records, when that is the cause: first and last.
    pub lsns: Option<(Lsn, Lsn)>,
    /// Why: one of [`GAP_CAUSES`].
    pub cause: &'static str,
}

/// Points that came to the source other than through us: no lines that we accepted, and in no sum of those. The place of the row is a
/// database or bucket, its times are those of arrival.
pub const BYPASS: &str = "bypass";

/// Every cause of a gap.
pub const GAP_CAUSES: [&str; 12] = [
    "queue-full",
    "queue-faulted",
    "queue-stalled",
    "line-too-long",
    LOG_DAMAGE,
    "undecodable",
    "unreadable",
    "other-protocol",
    "gap-log-damage",
    ROUTE_BACKLOG,
    BYPASS,
    DESTINATION_AWAY,
];

/// A destination was not configured for a while, and what came meanwhile is not in the log any more.
pub const DESTINATION_AWAY: &str = "destination-away";

/// Records of the log that cannot be read any more.
pub const LOG_DAMAGE: &str = "log-damage";

/// A sum of gaps that another store holds and that goes on growing there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GapTaken {
    /// Whose gap.
    pub destinations: Vec<DestinationId>,
    /// Names the sum within its store for ever.
    pub id: u64,
    /// All of it so far.
    pub gap: Gap,
}

/// What one step of delivery must leave behind before a floor may pass it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// Lines refused for good.
    pub dead_letters: Vec<DeadLetter>,
    /// Regions to be read back.
    pub dirty: Vec<DirtyRegion>,
    /// Damage met in the log.
    pub gaps: Vec<Gap>,
}

impl Effects {
    /// Nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.dead_letters.is_empty() && self.dirty.is_empty() && self.gaps.is_empty()
    }
}

/// Sums for one destination, read from the rows.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Totals {
    /// Dead letters by code: (code, lines).
    pub dead_letters: Vec<(String, u64)>,
    /// The destination's words about the newest dead letter.
    pub dead_letter_reason: Option<String>,
    /// Dead letters that are not there any more: (what became of them, lines).
    pub letters_removed: Vec<(String, u64)>,
    /// Bytes that the dead letters' texts take.
    pub dead_letter_bytes: u64,
    /// Number of dirty regions; they are merged when they grow many.
    pub dirty_regions: u64,
    /// The dirty regions with the most lines, at most 100.
    pub regions: Vec<RegionRow>,
    /// Gaps by cause: (cause, lines).
    pub gaps: Vec<(String, u64)>,
    /// The newest gaps, at most 100.
    pub gap_rows: Vec<GapRow>,
    /// How many there are.
    pub gap_rows_total: u64,
    /// Of how many of them the lines are not known: they are in no sum.
    pub gaps_unknown: u64,
    /// Times of dead letters by code.
    pub letter_windows: Vec<(String, Window)>,
    /// Times of gaps by cause.
    pub gap_windows: Vec<(String, Window)>,
    /// Times of what is in doubt.
    pub doubt_window: Option<Window>,
    /// The newest statements that were not carried out, at most 100.
    pub statements: Vec<StatementRow>,
    /// How many were not.
    pub statements_total: u64,
    /// What was in doubt or in gaps, and is not any more.
    pub read_back: Vec<ReadBackSum>,
    /// Copies of history that have come to their end, the newest first, at most 100.
    pub copies: Vec<EndedCopy>,
    /// What the sums of gap logs contribute to `gaps`, whose soever: (ledger, id) to lines.
    #[serde(skip)]
    pub gaps_taken: HashMap<(u64, u64), u64>,
}

/// A dead letter as it is listed.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct DeadLetterRow {
    /// Record that brought the line.
    pub lsn: u64,
    /// Number of the line in the record.
    pub line: u32,
    /// Route as text; empty where a record of an older version of the store does not have it.
    pub route: String,
    /// Short code.
    pub code: String,
    /// The destination's words.
    pub reason: String,
    /// The line; bytes that are not UTF-8 are replaced.
    pub text: String,
}

/// A call whose result is on its way from the store's thread.
pub struct Pending<T>(oneshot::Receiver<Result<T>>);

impl<T> Pending<T> {
    /// Waits on a plain thread.
    ///
    /// # Errors
    /// As the call itself.
    pub fn wait(self) -> Result<T> {
        self.0.blocking_recv().unwrap_or_else(|_| Err(gone()))
    }
}

impl<T> fmt::Debug for Pending<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pending")
    }
}

impl<T> Future for Pending<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map(|r| r.unwrap_or_else(|_| Err(gone())))
    }
}

fn gone() -> Error {
    Error::new(Kind::State, Side::Own, "the state store has stopped").retryable()
}

/// The seam: calls never block; a store that is not keeping up answers with an error that may be tried again.
/// SQLite on one machine, a shared store when clustered.
pub trait State: BackfillStore {
    /// The id of a route, made when it is first asked for. `key` is the route's canonical text. `limit`: beyond so many
    /// routes the answer is 0 ("not listed").
    fn intern_route(&self, key: &str, limit: usize) -> Pending<RouteId>;
    /// All routes: id and canonical text.
    fn routes(&self) -> Pending<Vec<(RouteId, String)>>;
    /// Writes what delivery leaves behind; idempotent.
    fn record(&self, destination: &DestinationId, effects: Effects) -> Pending<()>;
    /// Adds lines to the gap of this route and cause.
    fn add_gap(&self, destination: &DestinationId, gap: Gap) -> Pending<()>;
    /// Takes over sums of gaps from the store `ledger` (at most `i64::MAX`, as the ids), all that it holds. Idempotent: what a
    /// sum had when it was taken over before is not added again.
    fn take_gaps(&self, ledger: u64, sums: Vec<GapTaken>) -> Pending<()>;
    /// Records of routes that are in a gap for their backlog; only those that end above `floor`.
    fn backlog_gaps(&self, destination: &DestinationId, floor: Lsn) -> Pending<Vec<BacklogGap>>;
    /// Records, first and last, that are in gaps from damage of the log, with their lines; only those that end above `floor`.
    fn damage_gaps(&self, destination: &DestinationId, floor: Lsn) -> Pending<Vec<((Lsn, Lsn), u64)>>;
    /// Seals rows in doubt and gaps whose times are known, until `most` of each are sealed: what comes later makes rows of its own. All
    /// that are to be read back, at most so many of each.
    fn seal(&self, destination: &DestinationId, most: usize) -> Pending<Vec<OwedRow>>;
    /// Removes such rows where they are as they were, and counts them as this; those that were.
    fn clear_owed(&self, destination: &DestinationId, rows: Vec<OwedRow>, cleared: Cleared) -> Pending<Vec<OwedRow>>;
    /// Notes a statement that the source ran, or may have run, and that was not carried out at the destination; idempotent by its
    /// record.
    fn note_statement(&self, destination: &DestinationId, noted: NotMirrored) -> Pending<Noted>;
    /// Some rows of such statements, at most 1,000.
    fn statements(&self, destination: &DestinationId, query: StatementQuery) -> Pending<Vec<StatementRow>>;
    /// Changes a row of them; false when it is not there, or not as it must be for that.
    fn change_statement(&self, destination: &DestinationId, id: i64, change: StatementChange) -> Pending<bool>;
    /// Sums of one destination.
    fn totals(&self, destination: &DestinationId) -> Pending<Totals>;
    /// The newest dead letters, at most `limit`.
    fn dead_letters(&self, destination: &DestinationId, limit: usize) -> Pending<Vec<DeadLetterRow>>;
    /// Some dead letters, in order.
    fn letters(&self, destination: &DestinationId, query: LetterQuery) -> Pending<LetterPage>;
    /// Removes dead letters; how many of them were there.
    fn remove_letters(&self, destination: &DestinationId, removal: Removal) -> Pending<u64>;
    /// Adds an event; old ones beyond 10,000 are removed.
    fn add_event(&self, event: Event) -> Pending<()>;
    /// Events after `after` (an event's id), oldest first, at most `limit`.
    fn events(&self, after: i64, limit: usize) -> Pending<Vec<(i64, Event)>>;
    /// A small named value, for things that happen once (node id, incarnation).
    fn get_or_set(&self, name: &str, value: Vec<u8>) -> Pending<Vec<u8>>;
    /// A small named value, if it was ever set.
    fn get(&self, name: &str) -> Pending<Option<Vec<u8>>>;
    /// The highest record that anything here speaks of; zero where nothing does.
    fn highest_lsn(&self) -> Pending<Lsn>;
    /// Sets a small named value, whatever it was before.
    fn set(&self, name: &str, value: Vec<u8>) -> Pending<()>;
}
