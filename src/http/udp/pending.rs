//! Datagrams that wait to be written: bounded in bytes, taken in the order in which they came.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::datagram::Read;

/// What one costs beside its text.
const EACH_BYTES: usize = 64;
/// A write is no longer than this, and one datagram.
const BATCH_BYTES_MAX: usize = 1 << 20;

/// What goes in one write.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) text: Vec<u8>,
    pub(super) lines: u64,
}

/// Those that wait.
#[derive(Debug)]
pub(super) struct Pending {
    bytes_max: usize,
    lines_wanted: u64,
    wait: Duration,
    waiting: RefCell<VecDeque<Read>>,
    bytes: Cell<usize>,
    lines: Cell<u64>,
    /// When the first of them came.
    since: Cell<Option<Instant>>,
    ended: Cell<bool>,
    grown: Notify,
}

impl Pending {
    /// At most `bytes_max`; they go together once there are `lines_wanted` lines, or after `wait`.
    pub(super) fn new(bytes_max: usize, lines_wanted: u64, wait: Duration) -> Self {
        Self {
            bytes_max,
            lines_wanted,
            wait,
            waiting: RefCell::default(),
            bytes: Cell::new(0),
            lines: Cell::new(0),
            since: Cell::new(None),
            ended: Cell::new(false),
            grown: Notify::new(),
        }
    }

    /// Lines that wait.
    pub(super) fn lines(&self) -> u64 {
        self.lines.get()
    }

    fn is_ready(&self) -> bool {
        self.ended.get() || self.lines.get() >= self.lines_wanted || self.bytes.get() >= BATCH_BYTES_MAX
    }

    /// Puts one behind the others; `Err`: there is no room for it.
    pub(super) fn push(&self, read: Read) -> Result<(), Read> {
        let bytes = self.bytes.get() + read.text.len() + EACH_BYTES;
        if bytes > self.bytes_max {
            return Err(read);
        }
        self.bytes.set(bytes);
        self.lines.set(self.lines.get() + read.lines);
        let is_first = self.since.get().is_none();
        if is_first {
            self.since.set(Some(Instant::now()));
        }
        self.waiting.borrow_mut().push_back(read);
        if is_first || self.is_ready() {
            self.grown.notify_one();
        }
        Ok(())
    }

    /// No more will come.
    pub(super) fn end(&self) {
        self.ended.set(true);
        self.grown.notify_one();
    }

    /// The next batch, once it is full or old enough; `None` at the end.
    pub(super) async fn next(&self) -> Option<Batch> {
        loop {
            match self.since.get() {
                _ if self.is_ready() => break,
                None => self.grown.notified().await,
                Some(since) => {
                    if timeout_at(since + self.wait, self.grown.notified()).await.is_err() {
                        break;
                    }
                }
            }
        }
        self.take()
    }

    fn take(&self) -> Option<Batch> {
        let mut waiting = self.waiting.borrow_mut();
        let mut batch = Batch::default();
        while let Some(read) = waiting.front() {
            let is_full =
                batch.lines + read.lines > self.lines_wanted || batch.text.len() + read.text.len() > BATCH_BYTES_MAX;
            if is_full && batch.lines > 0 {
                break;
            }
            let Some(read) = waiting.pop_front() else { break };
            self.bytes.set(self.bytes.get().saturating_sub(read.text.len() + EACH_BYTES));
            self.lines.set(self.lines.get().saturating_sub(read.lines));
            batch.lines += read.lines;
            batch.text.extend_from_slice(&read.text);
        }
        // What is left has waited as well: it may go at once.
        if waiting.is_empty() {
            self.since.set(None);
        }
        Some(batch).filter(|batch| batch.lines > 0 || !self.ended.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: u64) -> Read {
        Read { text: b"m v=1 1\n".repeat(lines as usize), lines }
    }

    fn run<F: Future>(future: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
    }

    #[test]
    fn batches_are_full_or_old_and_the_room_is_bounded() {
        run(async {
            let pending = Pending::new(1000, 10, Duration::from_millis(20));
            pending.push(read(6)).unwrap();
            pending.push(read(4)).unwrap();
            pending.push(read(3)).unwrap();
            let next = async || pending.next().await.map(|batch| (batch.lines, batch.text.len()));
            assert_eq!(next().await, Some((10, 80)));
            assert_eq!((next().await, pending.lines()), (Some((3, 24)), 0), "old enough");
            pending.push(read(25)).unwrap();
            assert_eq!(next().await, Some((25, 200)), "a datagram is not cut");
            assert!((0..100).take_while(|_| pending.push(read(2)).is_ok()).count() <= 12);
            pending.end();
            while pending.next().await.is_some() {}
            assert_eq!((pending.lines(), pending.bytes.get()), (0, 0));
        });
    }
}
