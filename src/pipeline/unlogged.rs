//! Writes under way that the log has nothing of: a gap stands for each.
//!
//! Promise: once [`Unlogged::all_ended_since`] says so, no write whose gap was durable at that time is under way at the source; without an
//! answer it may still take effect for `late_write_max`. Costs a write nothing that is in the log.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// All of them. Shared by the edge and whoever reads gaps back; cheap to clone. Times are monotonic.
#[derive(Clone, Debug, Default)]
pub struct Unlogged(Arc<Mutex<Open>>);

#[derive(Debug, Default)]
struct Open {
    last: u64,
    /// When each began.
    began: BTreeMap<u64, Duration>,
}

/// One of them, until it is dropped.
#[derive(Debug)]
pub(super) struct OpenGap {
    all: Unlogged,
    number: u64,
}

impl Unlogged {
    fn open(&self) -> MutexGuard<'_, Open> {
        // Whoever panicked in these short sections left nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To be called before its gap is made durable.
    pub(super) fn begin(&self, now: Duration) -> OpenGap {
        let mut open = self.open();
        open.last += 1;
        let number = open.last;
        open.began.insert(number, now);
        OpenGap { all: self.clone(), number }
    }

    /// Whether none is under way that began then or before.
    #[must_use]
    pub fn all_ended_since(&self, since: Duration) -> bool {
        // They are numbered in the order of their beginnings.
        self.open().began.first_key_value().is_none_or(|(_, began)| *began > since)
    }
}

impl Drop for OpenGap {
    fn drop(&mut self) {
        self.all.open().began.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_began_before_is_waited_for_and_one_that_began_later_is_not() {
        let (all, at) = (Unlogged::default(), Duration::from_secs);
        let (first, second) = (all.begin(at(1)), all.begin(at(5)));
        assert!(all.all_ended_since(Duration::ZERO) && !all.all_ended_since(at(1)) && !all.all_ended_since(at(9)));
        drop(first);
        assert!(all.all_ended_since(at(4)) && !all.all_ended_since(at(5)));
        drop(second);
        assert!(all.all_ended_since(at(9)));
    }
}
