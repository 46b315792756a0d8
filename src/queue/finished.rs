//! What the log's thread hands back to the event loop.
//!
//! Promise: nothing that was handed back lies there with nobody awake for it: either the event loop stands still and looks when it
//! goes on, or the task that brings results back is woken.

use std::time::Duration;

use tokio::sync::Notify;

use super::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// The event loop stands still for a group for so long at most; a sound disk takes a fraction of it.
const STAND_MAX: Duration = Duration::from_millis(2);

/// Both sides share it.
pub(super) struct Finished<T> {
    results: Mutex<Results<T>>,
    /// Wakes the event loop where it stands still for a group.
    standing: Condvar,
    /// Wakes the task that brings results back.
    pub(super) wake: Notify,
}

pub(super) struct Results<T> {
    pub(super) list: Vec<T>,
    /// Outcomes that a full log did not take.
    pub(super) owed: Vec<[u8; 16]>,
    /// Bundles that the log has taken and not answered yet.
    pub(super) outstanding: usize,
    /// The event loop stands still until there are none.
    pub(super) stands: bool,
}

impl<T> Default for Finished<T> {
    fn default() -> Self {
        let results = Results { list: Vec::new(), owed: Vec::new(), outstanding: 0, stands: false };
        Self { results: Mutex::new(results), standing: Condvar::new(), wake: Notify::new() }
    }
}

impl<T> Finished<T> {
    pub(super) fn results(&self) -> MutexGuard<'_, Results<T>> {
        // Whoever panicked in these short sections left nothing half done.
        self.results.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Called on the log's thread.
    pub(super) fn push(&self, done: T, owed: Vec<[u8; 16]>) {
        let mut results = self.results();
        results.list.push(done);
        results.owed.extend(owed);
        results.outstanding = results.outstanding.saturating_sub(1);
        if !results.stands {
            drop(results);
            self.wake.notify_one();
        } else if results.outstanding == 0 {
            results.stands = false;
            drop(results);
            self.standing.notify_one();
        }
    }

    /// Stands still until everything handed over is answered, for a moment at most.
    pub(super) fn stand(&self) {
        let mut results = self.results();
        results.stands = results.outstanding > 0;
        let waited = self.standing.wait_timeout_while(results, STAND_MAX, |results| results.stands);
        waited.unwrap_or_else(PoisonError::into_inner).0.stands = false;
    }
}
