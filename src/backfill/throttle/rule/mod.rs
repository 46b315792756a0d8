//! Whether history may go on: named checks, rates, and budgets. Pure: figures and times come in as arguments.
//!
//! Promises: all checks must say yes; of those that do not the first is named, with its figures. A figure that nobody has here is no
//! reason to wait. A check that has said no says so until its figure is clearly better, so that nothing flaps. What goes out in a fixed
//! window of a provider is never more than its budget.

mod budget;
mod checks;
mod permits;
mod rate;

use std::fmt;
use std::time::Duration;

pub use budget::{Budget, Quota};
pub use checks::{Attempts, Checks, Flag, Hook, Seen, disk_text};
pub use permits::{OfSource, Permits, Whose};
pub use rate::Rate;

/// What may say no, in the order in which it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Check {
    /// An operator.
    Manual,
    /// A file that is there.
    FlagFile,
    /// The time of day.
    Schedule,
    /// Whoever is asked by HTTP.
    HttpHook,
    /// Room of `data_dir`.
    Disk,
    /// Clients' lines that wait for the destination.
    DeliveryLag,
    /// Clients' lines that are held back for copies.
    ParkedBytes,
    /// Deliveries that fail.
    DestinationErrors,
    /// The time that deliveries take.
    DestinationLatency,
    /// The time that clients' writes take at the source.
    SourceLatency,
    /// Doubt and gaps of the same destination are being read back.
    ReadBack,
    /// A database has said when to come again.
    RetryAfter,
    /// What the source's provider lets one read.
    QuotaRead,
    /// What the destination's provider takes.
    QuotaWrite,
    /// Points a second.
    RowsPerS,
    /// Bytes a second.
    BytesPerS,
    /// Queries of the source at once.
    QueriesAtOnce,
    /// Writes to the destination at once.
    RequestsAtOnce,
}

impl Check {
    /// As it is shown.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Manual => "manual",
            Self::FlagFile => "flag-file",
            Self::Schedule => "schedule",
            Self::HttpHook => "http-hook",
            Self::Disk => "disk",
            Self::DeliveryLag => "delivery-lag",
            Self::ParkedBytes => "parked-bytes",
            Self::DestinationErrors => "destination-errors",
            Self::DestinationLatency => "destination-latency",
            Self::SourceLatency => "source-latency",
            Self::ReadBack => "read-back",
            Self::RetryAfter => "retry-after",
            Self::QuotaRead => "quota-read",
            Self::QuotaWrite => "quota-write",
            Self::RowsPerS => "rows-per-s",
            Self::BytesPerS => "bytes-per-s",
            Self::QueriesAtOnce => "queries-at-once",
            Self::RequestsAtOnce => "requests-at-once",
        }
    }

    /// Whether it ends by itself within a moment: not worth showing.
    #[must_use]
    pub const fn is_at_once(self) -> bool {
        matches!(self, Self::QueriesAtOnce | Self::RequestsAtOnce)
    }

    /// Whether to wait for it is how the copy is meant to go, and no news.
    #[must_use]
    pub const fn is_pace(self) -> bool {
        matches!(self, Self::RowsPerS | Self::BytesPerS | Self::QueriesAtOnce | Self::RequestsAtOnce)
    }
}

/// A no, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct No {
    /// Which check.
    pub check: Check,
    /// Its figures, for people.
    pub why: String,
    /// When to ask again, where that is known.
    pub again: Option<Duration>,
}

impl fmt::Display for No {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.check.name(), self.why)
    }
}
