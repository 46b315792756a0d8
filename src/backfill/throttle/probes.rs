//! Where the figures come from: around a copy of its own, or inside a running twinline.

use std::fmt;
use std::sync::PoisonError;
use std::time::Duration;

use super::rule::{Attempts, Seen};
use crate::base::recent::Recent;
use crate::delivery::SharedView;

/// Clients' writes of this long ago still count.
const OF_LATE: Duration = Duration::from_secs(30);

/// Figures of what is around a copy.
pub trait Probes: fmt::Debug {
    /// What is there, at this time of the clock that never goes back. The throttle adds what it sees itself.
    fn seen(&self, now: Duration) -> Seen;
    /// All that clients' own lines have taken of the destination so far, bytes as sent.
    fn clients_wrote_bytes(&self) -> u64 {
        0
    }
}

/// No twinline stands in front: there are no clients.
#[derive(Clone, Copy, Debug)]
pub struct Offline;

impl Probes for Offline {
    fn seen(&self, _: Duration) -> Seen {
        Seen::default()
    }
}

/// Inside a running twinline.
#[derive(Clone, Debug)]
pub struct Live {
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

    fn clients_wrote_bytes(&self) -> u64 {
        self.view.lock().unwrap_or_else(PoisonError::into_inner).sent_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::recent::OfLate;
    use crate::delivery::{View, shared_view};

    #[test]
    fn figures_of_a_running_twinline_are_those_of_delivery_and_of_clients_writes() {
        let live = Live { view: shared_view(), source: Recent::default() };
        let now = Duration::from_secs(100);
        let before = live.seen(now);
        assert_eq!((before.delivery_lag, before.source_p95), (None, None), "nothing is known yet");
        live.source.add(now, Duration::from_secs(2), false);
        let of_late = OfLate { p95: Some(Duration::from_secs(3)), all: 7, failed: 2 };
        let (taken, waited) = (Duration::from_secs(99), Duration::from_secs(4));
        let view = View { ready: true, oldest_ns: 1, taken, waited, of_late, sent_bytes: 9, ..View::default() };
        *live.view.lock().unwrap() = view;
        let seen = live.seen(now);
        assert_eq!(seen.delivery_lag, Some(Duration::from_secs(5)), "it has waited on since");
        assert_eq!((seen.destination_p95, seen.parked_bytes), (Some(Duration::from_secs(3)), Some(0)));
        assert_eq!(seen.attempts, Some(Attempts { failed: 2, all: 7 }));
        assert!(seen.source_p95.is_some_and(|p95| (1.7..2.3).contains(&p95.as_secs_f64())));
        assert_eq!(live.clients_wrote_bytes(), 9);
        assert_eq!(Offline.seen(now), Seen::default());
    }
}
