//! What threads share, by one name: `wal` and `queue` take these from here, so that tests can build the same source on the
//! primitives of a scheduler that decides who goes on.

pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

#[cfg(test)]
pub(crate) mod scheduled;
