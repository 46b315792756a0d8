//! Where the figures come from: around a copy of its own, or inside a running twinline.

use std::fmt;
use std::sync::PoisonError;
use std::time::Duration;

use super::rule::{Attempts, Seen};
use crate::base::recent::Recent;
use crate::db::read::Reader;
use crate::delivery::SharedView;

/// Clients' writes of this long ago still count.
const OF_LATE: Duration = Duration::from_secs(30);

/// Figures of what is around a copy.
pub trait Probes: fmt::Debug {
    /// What is there, at this time of the clock that never goes back. The throttle adds what it sees itself.
    fn seen(&self, now: Duration) -> Seen;
    /// All that the source has answered so far, bytes.
    fn received_bytes(&self) -> u64;
    /// All that clients' own lines have taken of the destination so far, bytes as sent.
    fn clients_wrote_bytes(&self) -> u64 {
        0
    }
}

/// No twinline stands in front: there are no clients.
#[derive(Clone, Debug)]
pub struct Offline(pub Reader);

impl Probes for Offline {
    fn seen(&self, _: Duration) -> Seen {
        Seen::default()
    }

    fn received_bytes(&self) -> u64 {
        self.0.received_bytes()
    }
}

/// Inside a running twinline.
#[derive(Clone, Debug)]
pub struct Live {
    /// Who reads the source for copies.
    pub reader: Reader,
    /// What delivery to the destination shows.
    pub view: SharedView,
    /// Clients' writes at the source.
    pub source: Recent,
}

impl Probes for Live {
    fn seen(&self, now: Duration) -> Seen {
        let source = self.source.look(now, OF_LATE);
        let view = self.view.lock().unwrap_or_else(PoisonError::into_inner);
        Seen {
            delivery_lag: view.ready.then(|| view.oldest_waits(now)),
            source_p95: source.p95,
            destination_p95: view.of_late.p95,
            attempts: Some(Attempts { failed: view.of_late.failed, all: view.of_late.all }),
            parked_bytes: Some(view.holds.iter().map(|hold| hold.parked_bytes).sum()),
            ..Seen::default()
        }
    }

    fn received_bytes(&self) -> u64 {
        self.reader.received_bytes()
    }

    fn clients_wrote_bytes(&self) -> u64 {
        self.view.lock().unwrap_or_else(PoisonError::into_inner).sent_bytes
    }
}
