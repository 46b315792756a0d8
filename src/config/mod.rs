//! Configuration: what the user wrote becomes what the program uses.
//!
//! Promise: a [`Config`] that exists is complete and consistent; nothing behind this door checks a setting again. Every fault of a file
//! is found in one pass, with line, column, key and what to write. Secrets are never printed.

mod address;
mod backfill;
mod budget;
mod checked;
mod document;
mod excerpt;
mod fault;
mod file;
mod interpolate;
mod mapping;
mod naming;
mod network;
mod schedule;
mod secret;
mod shape;
mod udp;
mod url;

pub use address::Address;
pub use backfill::{Backfill, FlagFile, HookUrl, KEYS as BACKFILL_KEYS, Key as BackfillKey, key as backfill_key};
pub use budget::{BudgetPart, budget_sum, disk_parts, log_waiting, memory_parts};
pub use checked::{
    ClientLimits, Compression, Config, DESTINATIONS_MAX, Delivery, Destination, DestinationKind, DoubtAlarm, Limits,
    Listen, ListenTls, Log, LogCompression, LogFormat, OnUnavailable, Outcomes, Projection, Queue, Role, Server,
    Source, SourceKind, Tls, Unheld,
};
pub use fault::{ConfigError, Position};
pub use file::{Environment, Loaded, load, load_with, parse};
pub use mapping::{Mapping, Match, Pattern, Rule, Target, Unmapped, is_system};
pub use naming::{Names, Naming};
pub use network::Network;
pub use schedule::{Schedule, Zone};
pub use secret::Secret;
pub use shape::{BadShape, Shape};
pub use udp::Udp;
pub use url::BaseUrl;

#[cfg(test)]
mod tests;
