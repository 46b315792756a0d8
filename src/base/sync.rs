//! What threads share, by one name: `wal` and `queue` take these from here, so that tests can build the same source on the
//! primitives of a scheduler that decides who goes on.

pub(crate) use std::hint::spin_loop as pause;
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// So many pauses take about as long as falling asleep and being woken: 20 to 70 µs.
pub(crate) const PAUSES: u32 = 1_200;

#[cfg(test)]
pub(crate) mod scheduled;
