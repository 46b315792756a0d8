//! What pipeline and delivery see of the queue: append an intent, append an outcome, read what is resolved, acknowledge.
//!
//! Promises: an append that says `Ok` is durable. Every durable intent is in exactly one state, derived from the log alone
//! (see [`scout`]): unresolved, applied, not applied, doubt, or gapped. Delivery sees intents in log order and only once
//! their outcome is durable. Local over `wal/` today; a clustered queue takes the same place later.

mod appender;
mod intent;
mod local;
mod outcome;
mod scout;

pub use appender::{Appender, Unavailable};
pub use intent::{Intent, IntentError};
pub use local::{Floors, LocalQueue, Opened};
pub use outcome::{Cause, Disposition, Outcome};
pub use scout::{Ahead, Scout};

#[cfg(test)]
mod tests;
