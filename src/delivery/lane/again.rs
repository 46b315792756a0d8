//! Lines that go a second time, once a request of a dead process can no longer take effect: it may put an older value over theirs.
//!
//! Promise: no newer line of a cell goes between the end of that time and the repetition.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use crate::base::Lsn;
use crate::delivery::batch::{Batch, LineAt};
use crate::delivery::target::TargetId;

/// A batch of repetitions grows up to this.
const BATCH_LINES: usize = 1000;
const BATCH_BYTES: usize = 256 << 10;

/// What a lane will send again.
#[derive(Debug, Default)]
pub(super) struct Again {
    /// Oldest first, by target.
    queues: BTreeMap<TargetId, VecDeque<Batch>>,
    /// How many lines each cell has in there.
    cells: HashMap<u64, u32>,
    /// When they go. All of one process wait for the same death.
    due: Duration,
}

impl Again {
    /// These lines were delivered, and go once more from `due` on. Returns the bytes that they take meanwhile.
    pub(super) fn add(&mut self, batch: &Batch, due: Duration) -> usize {
        self.due = self.due.max(due);
        for index in 0..batch.len() {
            let (at, text) = batch.line(index);
            self.add_line(batch.target, batch.born, at, text);
        }
        batch.held_bytes()
    }

    fn add_line(&mut self, target: TargetId, born: Duration, at: LineAt, text: &[u8]) {
        *self.cells.entry(at.cell).or_default() += 1;
        let queue = self.queues.entry(target).or_default();
        match queue.back_mut() {
            Some(last) if last.len() < BATCH_LINES && last.bytes() + text.len() <= BATCH_BYTES => last.push(at, text),
            _ => {
                let mut batch = Batch::new(target, born);
                batch.push(at, text);
                queue.push_back(batch);
            }
        }
    }

    /// A batch that was taken and did not go.
    pub(super) fn put_back(&mut self, batch: Batch) {
        for cell in batch.cells(&(0..batch.len())) {
            *self.cells.entry(cell).or_default() += 1;
        }
        self.queues.entry(batch.target).or_default().push_front(batch);
    }

    /// These lines of a batch that was taken must not go before `until`; so nothing goes.
    pub(super) fn delay(&mut self, batch: Batch, until: Duration) {
        self.due = self.due.max(until);
        self.put_back(batch);
    }

    /// The oldest batch that may go now, of a target that is not paused. Without any: when to ask again.
    pub(super) fn take(&mut self, now: Duration, paused: impl Fn(TargetId) -> bool) -> Result<Batch, Option<Duration>> {
        let Some(target) = self.queues.keys().copied().find(|target| !paused(*target)) else { return Err(None) };
        if now < self.due {
            return Err(Some(self.due));
        }
        let queue = self.queues.get_mut(&target).expect("the key was just found there");
        let batch = queue.pop_front().expect("an empty queue is removed");
        if queue.is_empty() {
            self.queues.remove(&target);
        }
        self.release(&batch);
        Ok(batch)
    }

    /// Until when a line of this cell waits, if a repetition must go before it.
    pub(super) fn before(&self, cell: u64) -> Option<Duration> {
        self.cells.contains_key(&cell).then_some(self.due)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queues.is_empty()
    }

    /// The oldest record with a line in there.
    pub(super) fn first(&self) -> Option<Lsn> {
        self.batches().filter_map(Batch::first).min()
    }

    pub(super) fn batches(&self) -> impl Iterator<Item = &Batch> {
        self.queues.values().flatten()
    }

    pub(super) fn batches_of(&self, target: TargetId) -> impl Iterator<Item = &Batch> {
        self.queues.get(&target).into_iter().flatten()
    }

    /// Forgets what is there for a target of this record and all later ones; returns the bytes that become free.
    pub(super) fn take_from(&mut self, target: TargetId, lsn: Lsn) -> usize {
        let mut free = 0;
        for batch in self.queues.remove(&target).unwrap_or_default() {
            free += batch.held_bytes();
            self.release(&batch);
            let kept = batch.up_to(batch.begin_of(lsn));
            if kept.len() > 0 {
                free -= kept.held_bytes();
                for cell in kept.cells(&(0..kept.len())) {
                    *self.cells.entry(cell).or_default() += 1;
                }
                self.queues.entry(target).or_default().push_back(kept);
            }
        }
        free
    }

    fn release(&mut self, batch: &Batch) {
        for cell in batch.cells(&(0..batch.len())) {
            if let Some(count) = self.cells.get_mut(&cell) {
                *count -= 1;
                if *count == 0 {
                    self.cells.remove(&cell);
                }
            }
        }
    }
}
