//! What operators and their tools see: status, health, readiness, events, metrics.
//!
//! Promises: runs on a thread of its own, so that it answers when a database or a disk does not; changes nothing but
//! what an operator asks for on the local socket; shows no secret and no client's data but the lines of dead letters, and those only on the local socket.

mod api;
mod around;
mod backfill;
mod doubt;
mod edge;
mod figures;
mod history;
mod letters;
mod metrics_text;
mod pressure;
mod queue;
mod readback;
mod share;
mod statements;
mod status;
mod tap;

pub use api::{Control, Door};
pub use around::{AroundPlace, WatchedWrites};
pub use backfill::{BackfillNow, HistoryStatus, OrderDocument};
pub use doubt::{DoubtRoute, DoubtStatus};
pub use figures::Mirror;
pub use letters::{LetterDocument, LettersDocument, RemovalDocument, letter_id, letter_name};
pub use metrics_text::Recorder;
pub use queue::QueueFacts;
pub use share::{Began, DestinationStatus};
pub use statements::{DecidedDocument, DecisionDocument, StatementsDocument};
pub use status::{Facts, NamedSide, Side, Status, Trouble, Windows, render};
