//! Why lines are in doubt, with a name that stays and what an operator can do about it.
//!
//! Promise: the numbers in records never change their meaning; one that this version does not know reads as [`Cause::Answer`], which
//! says the least.

/// Why something is doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cause {
    /// Not doubt.
    None,
    /// The process, or what worked on the write, died before the outcome was durable.
    Crash,
    /// No answer in time.
    Timeout,
    /// The connection broke after the request was sent.
    Reset,
    /// An answer that does not say what was kept.
    Answer,
    /// Another write to the same cell was under way at the same time.
    Overlap,
    /// The source answered that something failed inside it.
    SourceError,
    /// The body of a large write broke off when some of it was with the source.
    BrokenOff,
    /// The source gave lines a time that only it knows.
    Untimed,
    /// A delete that may reach it was under way at the same time.
    Delete,
    /// Writes were under way at once that could not be compared cell by cell.
    Unlisted,
    /// Nobody gave the write an outcome in time.
    Unsettled,
}

/// In the order of their numbers in records: new ones come last.
const CAUSES: [Cause; Cause::COUNT] = [
    Cause::None,
    Cause::Crash,
    Cause::Timeout,
    Cause::Reset,
    Cause::Answer,
    Cause::Overlap,
    Cause::SourceError,
    Cause::BrokenOff,
    Cause::Untimed,
    Cause::Delete,
    Cause::Unlisted,
    Cause::Unsettled,
];

impl Cause {
    /// How many there are.
    pub const COUNT: usize = 12;

    /// All of them, in the order of their numbers.
    pub fn all() -> impl Iterator<Item = Self> {
        CAUSES.into_iter()
    }

    /// Stable name for people, rows and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Crash => "crash",
            Self::Timeout => "timeout",
            Self::Reset => "reset",
            Self::Answer => "answer",
            Self::Overlap => "overlap",
            Self::SourceError => "source-error",
            Self::BrokenOff => "broken-off",
            Self::Untimed => "untimed",
            Self::Delete => "delete",
            Self::Unlisted => "overlap-unlisted",
            Self::Unsettled => "unsettled",
        }
    }

    /// What it is and what to do about it, for an operator.
    #[must_use]
    pub fn advice(self) -> &'static str {
        match self {
            Self::None => "nothing is in doubt",
            Self::Crash => {
                "twinline ended while these writes were under way: look at why it was killed; an orderly stop (SIGTERM) leaves none"
            }
            Self::Timeout => {
                "the source did not answer in time: look at its load, or raise source.request_timeout above its own limit"
            }
            Self::Reset => {
                "the connection to the source broke behind a write: look for restarts in its log, and at what lies between it and twinline"
            }
            Self::Answer => {
                "the source's answer does not say which lines it kept: the events of its log and the clients' errors do; let clients send smaller batches, or lines that it does not refuse"
            }
            Self::Overlap => {
                "several clients write the same cells at the same time with different values: let one client write each series, or give each a tag of its own"
            }
            Self::SourceError => {
                "the source answers that something failed inside it (5xx), which does not say what it kept: look at its log and its load"
            }
            Self::BrokenOff => {
                "large bodies broke off on their way to the source: look at the timeouts and the network of the clients, or let them send smaller batches"
            }
            Self::Untimed => {
                "lines without a time in large bodies get one that only the source knows: let clients send times, or batches below 8 MiB"
            }
            Self::Delete => {
                "deletes run at the same time as writes of the same measurement: let them run when nobody writes there, or name a range of times that is not written any more"
            }
            Self::Unlisted => {
                "more lines are under way at once than can be compared cell by cell: raise queue.overlap_lines, or let clients send smaller batches with times"
            }
            Self::Unsettled => {
                "the outcome of these writes did not come into the log in time: look at the disk of data_dir and at twinline's own log"
            }
        }
    }

    /// Its number in records.
    pub(super) fn code(self) -> u8 {
        CAUSES.iter().position(|c| *c == self).unwrap_or(0) as u8
    }

    pub(super) fn of_code(code: u8) -> Self {
        CAUSES.get(usize::from(code)).copied().unwrap_or(Self::Answer)
    }

    /// That of a name, as rows have it.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::all().find(|cause| cause.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::Cause;

    #[test]
    fn numbers_and_names_are_their_own_and_each_says_what_to_do() {
        let names: HashSet<&str> = Cause::all().map(Cause::name).collect();
        assert_eq!(names.len(), Cause::COUNT);
        for (number, cause) in Cause::all().enumerate() {
            assert_eq!((usize::from(cause.code()), Cause::of_code(number as u8)), (number, cause));
            assert_eq!(Cause::of_name(cause.name()), Some(cause));
            assert!(cause == Cause::None || cause.advice().contains(": "), "{}", cause.name());
        }
        // As in the logs of versions before.
        let first = ["none", "crash", "timeout", "reset", "answer", "overlap"];
        assert!(first.iter().zip(Cause::all()).all(|(name, cause)| *name == cause.name()));
        assert_eq!(Cause::of_code(200), Cause::Answer, "of a later version");
    }
}
