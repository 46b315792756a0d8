//! What operators want of delivery: their hold (it takes no new work while that lasts; clients' writes go on into the queue), and that
//! it looks which statements they have confirmed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use tokio::sync::Notify;

use super::view::PauseView;
use crate::base::DestinationId;
use crate::base::clock::rfc3339;

/// Name of the value in the state store that outlives the process, of one destination: when it began, ns, 8 bytes little endian; 0
/// for none.
#[must_use]
pub fn name(id: &DestinationId) -> String {
    format!("{NAME}.{id}")
}

/// The name of versions that had one destination.
pub const NAME: &str = "delivery.held_since";

/// The code of its pause, in figures and documents.
pub const CODE: &str = "operator";

/// Shared by delivery of one destination and whoever answers operators.
#[derive(Clone, Debug, Default)]
pub struct Hold(Arc<Wishes>);

#[derive(Debug, Default)]
struct Wishes {
    /// When the hold began, ns; 0 for none.
    since_ns: AtomicI64,
    /// A statement was confirmed, durably.
    confirmed: AtomicBool,
    wake: Notify,
}

impl Hold {
    /// As the state store remembers it.
    #[must_use]
    pub fn remembered(value: Option<&[u8]>) -> Self {
        let bytes = value.and_then(|value| value.try_into().ok()).unwrap_or_default();
        let since_ns = AtomicI64::new(i64::from_le_bytes(bytes));
        Self(Arc::new(Wishes { since_ns, ..Wishes::default() }))
    }

    /// What the state store is to remember.
    #[must_use]
    pub fn value(since_ns: Option<i64>) -> Vec<u8> {
        since_ns.unwrap_or(0).to_le_bytes().to_vec()
    }

    /// Begins or ends it. Durable first, then here.
    pub fn set(&self, since_ns: Option<i64>) {
        self.0.since_ns.store(since_ns.unwrap_or(0), Ordering::Release);
    }

    /// Has delivery look which statements are confirmed. Durable first, then here.
    pub fn confirm(&self) {
        self.0.confirmed.store(true, Ordering::Release);
        self.0.wake.notify_one();
    }

    /// Whether some may be that were not looked at.
    pub(super) fn take_confirmed(&self) -> bool {
        self.0.confirmed.load(Ordering::Relaxed) && self.0.confirmed.swap(false, Ordering::AcqRel)
    }

    /// Until one is.
    pub(super) async fn confirmed(&self) {
        self.0.wake.notified().await;
    }

    /// Since when, wall clock, ns.
    #[must_use]
    pub fn since_ns(&self) -> Option<i64> {
        Some(self.0.since_ns.load(Ordering::Acquire)).filter(|since| *since != 0)
    }

    /// Whether it lasts.
    #[must_use]
    pub fn lasts(&self) -> bool {
        self.since_ns().is_some()
    }

    /// How it is shown beside the other pauses.
    #[must_use]
    pub fn pause(since_ns: i64, now_ns: i64) -> PauseView {
        let at = rfc3339(since_ns - since_ns.rem_euclid(1_000_000));
        PauseView {
            what: "delivery".to_owned(),
            code: CODE.to_owned(),
            reason: format!("paused by an operator at {at}; `twinline queue resume` ends it"),
            for_s: (now_ns.saturating_sub(since_ns).max(0) / 1_000_000_000) as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hold_is_what_was_remembered() {
        for since in [None, Some(1_700_000_000_000_000_001)] {
            assert_eq!(Hold::remembered(Some(&Hold::value(since))).since_ns(), since);
        }
        assert!(!Hold::remembered(None).lasts() && !Hold::remembered(Some(b"odd")).lasts());
    }
}
