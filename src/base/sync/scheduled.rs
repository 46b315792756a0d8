//! The same names on the scheduler's primitives (`shuttle`), for tests.
//!
//! Its condition variable knows no time. Here a wait with a bound may end at any moment, or never, so that what relies on
//! being woken is not saved by its bound.

use std::sync::Arc;
use std::time::Duration;

use shuttle::rand::{Rng, thread_rng};
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::sync::LockResult;
use shuttle::thread;

pub(crate) use shuttle::sync::atomic::{AtomicBool, AtomicU64, Ordering};
pub(crate) use shuttle::sync::{Mutex, MutexGuard};
pub(crate) use shuttle::thread::yield_now as pause;
pub(crate) use std::sync::PoisonError;

/// Each of them gives way to others.
pub(crate) const PAUSES: u32 = 2;

/// Switches that a fault needs, at most.
const SWITCHES: usize = 3;

#[derive(Debug, Default)]
pub(crate) struct Condvar(Arc<shuttle::sync::Condvar>);

#[derive(Debug)]
pub(crate) struct TimedOut;

impl Condvar {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn notify_one(&self) {
        self.0.notify_one();
    }

    pub(crate) fn wait_while<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        waits: impl FnMut(&mut T) -> bool,
    ) -> LockResult<MutexGuard<'a, T>> {
        self.0.wait_while(guard, waits)
    }

    /// A thread of its own is the timer: when it comes to run is the scheduler's affair.
    pub(crate) fn wait_timeout_while<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        _: Duration,
        mut waits: impl FnMut(&mut T) -> bool,
    ) -> LockResult<(MutexGuard<'a, T>, TimedOut)> {
        let over = Arc::new(AtomicBool::new(false));
        if thread_rng().gen_bool(0.5) {
            let (over, condvar) = (Arc::clone(&over), Arc::clone(&self.0));
            thread::spawn(move || {
                over.store(true, Ordering::Release);
                condvar.notify_all();
            });
        }
        let waited = self.0.wait_while(guard, |state| !over.load(Ordering::Acquire) && waits(state));
        waited.map(|guard| (guard, TimedOut)).map_err(|e| PoisonError::new((e.into_inner(), TimedOut)))
    }
}

/// Runs `life` in as many orders as `TWINLINE_SCHEDULES` says, or `usual`.
pub(crate) fn explore(usual: usize, life: fn()) {
    let wanted = std::env::var("TWINLINE_SCHEDULES").ok().and_then(|text| text.parse().ok());
    explore_exactly(wanted.unwrap_or(usual), life);
}

/// Runs `life` in so many orders. Half of them are fair to all threads; in the others few switches, anywhere, matter: those find
/// what needs one thread to stand still while another one goes far.
pub(crate) fn explore_exactly(schedules: usize, life: fn()) {
    let mut config = shuttle::Config::new();
    config.stack_size = 1 << 20;
    let half = schedules.div_ceil(2);
    shuttle::Runner::new(RandomScheduler::new_from_seed(7, half), config.clone()).run(life);
    shuttle::Runner::new(PctScheduler::new_from_seed(7, SWITCHES, half), config).run(life);
}
