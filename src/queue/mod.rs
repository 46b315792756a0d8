//! What pipeline and delivery see of the queue: append an intent, append an outcome, read what is resolved, acknowledge.
//!
//! Promises: an append that says `Ok` is durable. Every durable intent is in exactly one state, derived from the log alone
//! (see [`scout`]): unresolved, applied, not applied, doubt, gapped, or partial (see [`span`]: some of its lines were not kept,
//! or are doubt). Delivery sees intents in log order and only once
//! their outcome is durable. Local over `wal/` today; a clustered queue takes the same place later.

mod appender;
mod catch_up;
mod cause;
pub mod doubts;
mod finished;
pub mod forecast;
mod gathering;
mod intent;
mod local;
mod outcome;
mod scout;
mod span;
mod statement;

use crate::base::sync;

pub use appender::{Appender, Unavailable};
pub use catch_up::{Meter, Moment, Pace};
pub use cause::Cause;
pub use intent::{Intent, IntentError};
pub use local::{Begins, Floors, LocalQueue, Opened, OpenedAll, Place, Removed, Wanted, left_open_text};
pub use outcome::{Disposition, EntryBytes, Outcome};
pub use scout::{Ahead, Judged, Scout};
pub use span::{Fate, Span, Spans, Walk};
pub use statement::{Door, Statement};

#[cfg(test)]
mod tests;
