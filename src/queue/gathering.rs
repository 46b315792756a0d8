//! What the tasks of the event loop have appended, and the log does not have yet.
//!
//! Promise: who gives up before the log has its entries leaves nothing behind. Their memory is free, and no intent of its write
//! is ever durable: only so can a disk that hangs not keep more than what the log itself has taken.

use tokio::sync::oneshot;

use super::appender::Unavailable;
use crate::base::Lsn;
use crate::wal::Entry;

/// A bundle is no larger than this, unless one write is: a log that nothing waits for takes any bundle. A few groups of the
/// log, so that writers hear of the first while others are on their way.
const BUNDLE_BYTES: u64 = 4 << 20;

/// What a writer hears.
pub(super) type Appended = Result<Lsn, Unavailable>;

/// Who waits for entries.
pub(super) struct Waiter {
    /// How many; 0 for outcomes.
    pub(super) pieces: usize,
    pub(super) answer: oneshot::Sender<Appended>,
}

/// What one turn of the event loop appends.
#[derive(Default)]
pub(super) struct Gathering {
    pub(super) writes: Writes,
    pub(super) outcomes: Vec<[u8; 16]>,
    /// Those that nobody waits for: they go with what comes next, or soon.
    pub(super) late: Vec<[u8; 16]>,
    /// Who waits for them.
    pub(super) settling: Vec<Waiter>,
}

impl Gathering {
    /// How many appends.
    pub(super) fn len(&self) -> usize {
        self.writes.waiters.len() + self.settling.len()
    }
}

/// Intents, write by write.
#[derive(Default)]
pub(super) struct Writes {
    entries: Vec<Entry>,
    waiters: Vec<Waiter>,
}

/// The writes in front that make one bundle.
pub(super) struct Front {
    writes: usize,
    entries: usize,
    /// In the log.
    pub(super) bytes: u64,
}

impl Writes {
    pub(super) fn push(&mut self, entries: Vec<Entry>, answer: oneshot::Sender<Appended>) {
        self.waiters.push(Waiter { pieces: entries.len(), answer });
        self.entries.extend(entries);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiters.is_empty()
    }

    /// What goes next.
    pub(super) fn front(&self) -> Front {
        let mut front = Front { writes: 0, entries: 0, bytes: 0 };
        for waiter in &self.waiters {
            let own = &self.entries[front.entries..][..waiter.pieces];
            let bytes = own.iter().map(Entry::log_bytes).sum::<u64>();
            if front.writes > 0 && front.bytes + bytes > BUNDLE_BYTES {
                break;
            }
            front.writes += 1;
            front.entries += own.len();
            front.bytes += bytes;
        }
        front
    }

    pub(super) fn take(&mut self, front: &Front) -> (Vec<Entry>, Vec<Waiter>) {
        let (entries, waiters) = (self.entries.split_off(front.entries), self.waiters.split_off(front.writes));
        (std::mem::replace(&mut self.entries, entries), std::mem::replace(&mut self.waiters, waiters))
    }

    /// Takes out the writes that nobody waits for any more: for them gaps are recorded.
    pub(super) fn forget_given_up(&mut self) {
        if !self.waiters.iter().any(|waiter| waiter.answer.is_closed()) {
            return;
        }
        let mut all = std::mem::take(&mut self.entries).into_iter();
        self.waiters.retain(|waiter| {
            let own = all.by_ref().take(waiter.pieces);
            let stays = !waiter.answer.is_closed();
            if stays {
                self.entries.extend(own)
            } else {
                own.for_each(drop)
            }
            stays
        });
    }
}
