//! What goes into the log and what comes out of it.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::record::{Header, Kind, PAYLOAD_MAX_BYTES};
use crate::base::{Lsn, RequestId, RouteId};

/// Bytes of one outcome.
pub const OUTCOME_BYTES: usize = 16;
/// Outcomes of one bundle at most.
pub const OUTCOMES_MAX: usize = 65_536;

/// One record to append.
#[derive(Clone, Debug)]
pub struct Entry {
    /// [`Kind::Intent`], [`Kind::Gap`] or [`Kind::Statement`].
    pub kind: Kind,
    /// Meaning is the caller's; stored as it is. The two highest bits are the log's own and must be 0.
    pub flags: u8,
    /// Whose data.
    pub route: RouteId,
    /// Which request.
    pub request: RequestId,
    /// Lines in the body, for gaps.
    pub lines: u32,
    /// When it was received, Unix nanoseconds.
    pub received_ns: i64,
    /// Short facts about the body; at most 65,535 bytes.
    pub meta: Bytes,
    /// The body; with meta at most [`PAYLOAD_MAX_BYTES`].
    pub body: Bytes,
}

/// What one turn of an event loop hands over at once.
pub struct Bundle {
    /// Records, in order; they get contiguous LSNs.
    pub entries: Vec<Entry>,
    /// Outcomes of earlier intents (`FORMAT.md` has the layout); merged with those of other bundles. At most
    /// [`OUTCOMES_MAX`].
    pub outcomes: Vec<[u8; OUTCOME_BYTES]>,
    /// Called once, on the log's thread, when everything in the bundle is durable or will not be: with the LSN of the
    /// first entry, or of the outcomes' record where there is no entry. Must not block.
    pub done: Done,
}

impl fmt::Debug for Bundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (entries, outcomes) = (self.entries.len(), self.outcomes.len());
        f.debug_struct("Bundle").field("entries", &entries).field("outcomes", &outcomes).finish_non_exhaustive()
    }
}

/// Hears what became of a bundle.
pub type Done = Box<dyn FnOnce(Result<Lsn, Failed>) + Send>;

/// What a bundle hears that did not become durable as a whole. A large one is written in several groups: those before the
/// fault stand, and are read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{fault}")]
pub struct Failed {
    /// Why the rest is not durable.
    pub fault: Fault,
    /// LSN of the first entry, where `durable` is not 0.
    pub first: Lsn,
    /// So many entries in front are durable. After a failed write the next start may find more: nobody claims either.
    pub durable: usize,
}

impl From<Fault> for Failed {
    /// Nothing is durable.
    fn from(fault: Fault) -> Self {
        Self { fault, first: Lsn::ZERO, durable: 0 }
    }
}

/// Why a bundle did not become durable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A write or a sync failed; the log takes nothing more until the process starts again.
    #[error("the log is faulted: {0}")]
    Disk(Arc<str>),
    /// The budget or the disk allowed no further segment.
    #[error("the log is full")]
    Full,
    /// The log was closed first.
    #[error("the log is closed")]
    Closed,
}

/// Why a bundle was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The budget or the disk allows no further segment. Outcomes and gaps have a small reserve and may still be taken.
    #[error("the log is full")]
    Full,
    /// A write or a sync failed earlier.
    #[error("the log is faulted")]
    Faulted,
    /// Too much waits already.
    #[error("too much waits for the log already")]
    Busy,
    /// The log is closed.
    #[error("the log is closed")]
    Closed,
    /// An empty bundle, a kind that is not for callers, or something larger than a record may be.
    #[error("the bundle breaks a limit of the log")]
    Invalid,
}

/// A record as it was appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its place in the log.
    pub lsn: Lsn,
    /// What it is; never a mark.
    pub kind: Kind,
    /// As submitted.
    pub flags: u8,
    /// As submitted.
    pub route: RouteId,
    /// As submitted.
    pub request: RequestId,
    /// As submitted.
    pub lines: u32,
    /// As submitted; for outcomes, when they were written.
    pub received_ns: i64,
    /// Bytes of meta and body together as they are stored, whether they were read or not.
    pub payload_bytes: u32,
    /// As submitted. Shares memory with up to 1 MiB of its neighbours.
    pub meta: Bytes,
    /// As submitted; for outcomes n × 16 bytes.
    pub body: Bytes,
    /// Log position behind the record: bytes of records since the log began. Grows with the LSN.
    pub position: u64,
}

impl Record {
    /// As its header says; `parts`: meta and body.
    pub(super) fn new(header: &Header, kind: Kind, (meta, body): (Bytes, Bytes), position: u64) -> Self {
        Self {
            lsn: header.lsn,
            kind,
            flags: header.flags,
            route: header.route,
            request: header.request,
            lines: header.lines,
            received_ns: header.received_ns,
            payload_bytes: header.payload_bytes,
            meta,
            body,
            position,
        }
    }
}

/// Acknowledged data that is not there any more, or not what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// First LSN lost.
    pub first: Lsn,
    /// Last LSN lost.
    pub last: Lsn,
    /// Whose data, where that is known.
    pub route: Option<RouteId>,
    /// From about when it was received, by its neighbours and the clock of then; `i64::MIN` where nothing is known.
    pub from_ns: i64,
    /// Until about when, never before `from_ns`; `i64::MAX` stands for now.
    pub to_ns: i64,
    /// How many lines, as far as known; 0 where it is not.
    pub lines: u64,
}

impl Damage {
    /// Records of which only times around them are known, in any order: the clock may have been set between two of them.
    pub(crate) fn around<const N: usize>(first: Lsn, last: Lsn, times_ns: [i64; N]) -> Self {
        let from_ns = times_ns.into_iter().min().unwrap_or(i64::MIN);
        let to_ns = times_ns.into_iter().max().unwrap_or(i64::MAX);
        Self { first, last, route: None, from_ns, to_ns, lines: 0 }
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        self.route = self.route.filter(|_| self.route == other.route);
        self.from_ns = self.from_ns.min(other.from_ns);
        self.to_ns = self.to_ns.max(other.to_ns);
        self.lines += other.lines;
    }
}

/// What a reader finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A sound record.
    Record(Record),
    /// A stretch that is lost.
    Damage(Damage),
}

impl Entry {
    /// Bytes that its record takes in the log.
    #[must_use]
    pub fn log_bytes(&self) -> u64 {
        super::group::entry_bytes(self)
    }
}

impl Bundle {
    /// Bytes that its records take in the log, when they are written alone.
    #[must_use]
    pub fn log_bytes(&self) -> u64 {
        super::group::bundle_bytes(self)
    }

    /// Whether it keeps the limits of a record.
    pub(crate) fn is_valid(&self) -> bool {
        let sound = |entry: &Entry| {
            entry.kind.is_entry()
                && entry.flags & super::squeeze::FLAGS == 0
                && entry.meta.len() <= usize::from(u16::MAX)
                && entry.meta.len() + entry.body.len() <= PAYLOAD_MAX_BYTES
        };
        !(self.entries.is_empty() && self.outcomes.is_empty())
            && self.outcomes.len() <= OUTCOMES_MAX
            && self.entries.iter().all(sound)
    }

    /// Whether it asks for something new, which is refused a little earlier than what settles something old.
    pub(crate) fn asks(&self) -> bool {
        self.entries.iter().any(|entry| entry.kind != Kind::Gap)
    }
}
