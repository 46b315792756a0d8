//! How far a job is, for people.

use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

/// What a job shows of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// Chunks that are written.
    pub chunks: u64,
    /// Points in them.
    pub points: u64,
    /// Cells in them.
    pub cells: u64,
    /// Bytes that were sent.
    pub bytes: u64,
    /// Lines that the destination refused.
    pub refused: u64,
    /// Chunks that were given up.
    pub failed: u64,
    /// Chunks that wait for being kept.
    pub settling: u64,
    /// Measurements × shard groups: done, and all that are known.
    pub units: (u64, u64),
    /// What is being copied.
    pub now: String,
    /// Why nothing moves, where that is so.
    pub waits: Option<String>,
}

/// The same, shared with whoever shows it.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<Mutex<View>>);

impl Progress {
    /// As it stands.
    #[must_use]
    pub fn view(&self) -> View {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes it.
    pub fn change(&self, change: impl FnOnce(&mut View)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
