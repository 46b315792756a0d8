//! How far a job is, for people.

use std::cell::RefCell;
use std::rc::Rc;

/// What a job shows of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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

/// The same, shared on one thread.
#[derive(Clone, Debug, Default)]
pub struct Progress(Rc<RefCell<View>>);

impl Progress {
    /// As it stands.
    #[must_use]
    pub fn view(&self) -> View {
        self.0.borrow().clone()
    }

    /// Changes it.
    pub fn change(&self, change: impl FnOnce(&mut View)) {
        change(&mut self.0.borrow_mut());
    }
}
