//! The edge's way into the log: bundles, not single messages.
//!
//! Whatever the tasks of one turn of the event loop append leaves as one bundle, after one more poll of the sockets; what
//! the log thread has made durable comes back as one list with one wake-up. A request costs no message across threads of
//! its own. No timer lingers: while a commit runs, the next bundle grows by itself.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};

use super::outcome::{Cause, Disposition, Outcome};
use crate::base::{Epoch, Lsn};
use crate::wal::{Bundle, Entry, Fault, PAYLOAD_MAX_BYTES, Refused, Wal};

/// Why an append did not become durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unavailable {
    /// The configured size, or the disk, is full.
    Full,
    /// The log met an error of the disk and takes nothing until a restart.
    Faulted,
    /// No durability within the configured time.
    Stalled,
    /// One line is larger than a record of the log may be.
    Oversized,
}

impl Unavailable {
    /// Name of the gap that follows from it.
    #[must_use]
    pub fn gap_cause(self) -> &'static str {
        match self {
            Self::Full => "queue-full",
            Self::Faulted => "queue-faulted",
            Self::Stalled => "queue-stalled",
            Self::Oversized => "line-too-long",
        }
    }
}

/// Pause before a bundle is offered again to a log that has too much waiting.
const BUSY_PAUSE: Duration = Duration::from_millis(1);
/// Pause before outcomes are offered again to a log that is full beyond its reserve.
const OWED_PAUSE: Duration = Duration::from_millis(50);

type Appended = Result<Lsn, Unavailable>;

struct Waiter {
    /// Position of its first entry in the bundle; `None` for a waiter of outcomes.
    entry: Option<(u64, u64)>,
    answer: oneshot::Sender<Appended>,
}

#[derive(Default)]
struct Gathering {
    entries: Vec<Entry>,
    outcomes: Vec<[u8; 16]>,
    waiters: Vec<Waiter>,
}

type Done = (Vec<Waiter>, Appended);

#[derive(Default)]
struct Finished {
    list: Mutex<Vec<Done>>,
    /// Outcomes that a full log did not take.
    owed: Mutex<Vec<[u8; 16]>>,
    wake: Notify,
}

struct Inner {
    wal: Arc<Wal>,
    epoch: Epoch,
    gathering: RefCell<Gathering>,
    flush: Notify,
    finished: Arc<Finished>,
}

/// Appends from one thread. Cheap to clone.
#[derive(Clone)]
pub struct Appender(Rc<Inner>);

impl fmt::Debug for Appender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Appender")
    }
}

impl Appender {
    /// Starts the two tasks that carry bundles out and results back. Must run inside a `LocalSet`.
    #[must_use]
    pub fn start(wal: Arc<Wal>, epoch: Epoch) -> Self {
        let appender = Self(Rc::new(Inner {
            wal,
            epoch,
            gathering: RefCell::default(),
            flush: Notify::new(),
            finished: Arc::new(Finished::default()),
        }));
        tokio::task::spawn_local(appender.clone().carry_out());
        tokio::task::spawn_local(appender.clone().bring_back());
        appender
    }

    /// Appends the pieces of one write; their LSNs are contiguous from the one returned. Must not be empty.
    ///
    /// # Errors
    /// The queue cannot make them durable. A caller that drops this future early (because it waited too long) has recorded
    /// a gap: should the pieces become durable later, they are marked as gapped.
    pub async fn intents(&self, entries: Vec<Entry>) -> Result<Lsn, Unavailable> {
        // Checked here, because the log refuses a whole bundle, and with it the writes of others.
        let fits = |entry: &Entry| entry.meta.len() + entry.body.len() <= PAYLOAD_MAX_BYTES;
        if entries.is_empty() || !entries.iter().all(fits) {
            return Err(Unavailable::Oversized);
        }
        let (answer, result) = oneshot::channel();
        {
            let mut gathering = self.0.gathering.borrow_mut();
            let at = gathering.entries.len() as u64;
            gathering.waiters.push(Waiter { entry: Some((at, entries.len() as u64)), answer });
            gathering.entries.extend(entries);
        }
        self.0.flush.notify_one();
        result.await.unwrap_or(Err(Unavailable::Faulted))
    }

    /// Appends outcomes.
    ///
    /// # Errors
    /// The queue cannot make them durable.
    pub async fn outcomes(&self, outcomes: impl IntoIterator<Item = Outcome>) -> Result<(), Unavailable> {
        let (answer, result) = oneshot::channel();
        {
            let mut gathering = self.0.gathering.borrow_mut();
            gathering.outcomes.extend(outcomes.into_iter().map(|outcome| outcome.encode()));
            gathering.waiters.push(Waiter { entry: None, answer });
        }
        self.0.flush.notify_one();
        result.await.unwrap_or(Err(Unavailable::Faulted)).map(drop)
    }

    async fn carry_out(self) {
        loop {
            self.0.flush.notified().await;
            // Everything that is ready now, and what the sockets bring in one more poll, joins this bundle.
            tokio::task::yield_now().await;
            let Gathering { entries, mut outcomes, waiters } = self.0.gathering.take();
            outcomes.append(&mut self.owed());
            let (intents, settling): (Vec<_>, Vec<_>) = waiters.into_iter().partition(|waiter| waiter.entry.is_some());
            // Outcomes never share a bundle with intents: a full log refuses intents, but has a reserve for outcomes, so
            // that what was forwarded can always be settled and the log can drain.
            if !outcomes.is_empty() || !settling.is_empty() {
                self.submit(Vec::new(), outcomes, settling).await;
            }
            if !entries.is_empty() {
                self.submit(entries, Vec::new(), intents).await;
            }
        }
    }

    fn owed(&self) -> Vec<[u8; 16]> {
        std::mem::take(&mut *self.0.finished.owed.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn submit(&self, entries: Vec<Entry>, outcomes: Vec<[u8; 16]>, waiters: Vec<Waiter>) {
        let mut bundle = self.bundle(entries, outcomes, waiters);
        loop {
            match self.0.wal.submit(bundle) {
                Ok(()) => return,
                Err((Refused::Busy, back)) => {
                    // Bounded: the log thread works off its channel. Whoever waits too long gives up by itself.
                    tokio::time::sleep(BUSY_PAUSE).await;
                    bundle = back;
                }
                Err((Refused::Full, back)) => return (back.done)(Err(Fault::Full)),
                Err((_, back)) => return (back.done)(Err(Fault::Closed)),
            }
        }
    }

    fn bundle(&self, entries: Vec<Entry>, outcomes: Vec<[u8; 16]>, waiters: Vec<Waiter>) -> Bundle {
        let finished = Arc::clone(&self.0.finished);
        let kept = outcomes.clone();
        Bundle {
            entries,
            outcomes,
            done: Box::new(move |result| {
                if matches!(result, Err(Fault::Full)) {
                    // Even the reserve is used up: the outcomes go again with the next bundle, for as long as it takes.
                    finished.owed.lock().unwrap_or_else(PoisonError::into_inner).extend(kept);
                }
                let result = result.map_err(|fault| match fault {
                    Fault::Full => Unavailable::Full,
                    Fault::Disk(_) | Fault::Closed => Unavailable::Faulted,
                });
                finished.list.lock().unwrap_or_else(PoisonError::into_inner).push((waiters, result));
                finished.wake.notify_one();
            }),
        }
    }

    async fn bring_back(self) {
        loop {
            let owing = !self.0.finished.owed.lock().unwrap_or_else(PoisonError::into_inner).is_empty();
            if owing && tokio::time::timeout(OWED_PAUSE, self.0.finished.wake.notified()).await.is_err() {
                self.0.flush.notify_one();
                continue;
            }
            if !owing {
                self.0.finished.wake.notified().await;
            }
            let list = std::mem::take(&mut *self.0.finished.list.lock().unwrap_or_else(PoisonError::into_inner));
            for (waiters, result) in list {
                for waiter in waiters {
                    self.settle(waiter, result);
                }
            }
        }
    }

    fn settle(&self, waiter: Waiter, result: Appended) {
        let Some((at, pieces)) = waiter.entry else {
            // Nobody need be there: an outcome stands whether or not its writer still waits.
            let _ = waiter.answer.send(result);
            return;
        };
        let result = result.map(|first| Lsn(first.0 + at));
        if let (Err(_), Ok(first)) = (waiter.answer.send(result), result) {
            // The writer gave up and recorded a gap; without an outcome these intents would hold up all that follow.
            let gapped = (0..pieces).map(|piece| Outcome {
                lsn: Lsn(first.0 + piece),
                status: 0,
                disposition: Disposition::Gapped,
                cause: Cause::None,
                epoch: self.0.epoch,
            });
            self.0.gathering.borrow_mut().outcomes.extend(gapped.map(|outcome| outcome.encode()));
            let (answer, _) = oneshot::channel();
            self.0.gathering.borrow_mut().waiters.push(Waiter { entry: None, answer });
            self.0.flush.notify_one();
        }
    }
}
