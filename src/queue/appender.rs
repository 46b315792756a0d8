//! The edge's way into the log: bundles, not single messages.
//!
//! Whatever the tasks of one turn of the event loop append leaves as one message, outcomes apart from intents, once further
//! polls of the sockets bring nothing more. The loop then stands still for their commit, for 2 ms at most and only
//! while the log keeps up; what comes later comes back as one list with one wake-up. A request costs no message across
//! threads of its own, and no timer lingers.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::task::JoinSet;

use super::cause::Cause;
use super::finished::Finished;
use super::gathering::{Appended, Gathering, Waiter, Writes};
use super::outcome::{Disposition, EntryBytes, Outcome, whole_outcomes};
use crate::base::failpoint::{self, Point};
use crate::base::{Epoch, Lsn};
use crate::wal::{Bundle, Entry, Failed, Fault, OUTCOMES_MAX, PAYLOAD_MAX_BYTES, Refused, Wal};

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

/// Outcomes that nobody waits for go no later than this: so much is in doubt after a crash.
const LATE_MAX: Duration = Duration::from_millis(50);
/// Polls of the sockets before a bundle leaves, at most.
const POLLS_MAX: usize = 8;
/// A timer that is due this soon is always registered. Otherwise each of the timeouts of a write is the earliest one of the
/// event loop when it is made, and the loop wakes itself for it with a system call.
const TIMER_NEAR: Duration = Duration::from_millis(500);
/// What became of a bundle.
#[derive(Clone, Copy, Debug)]
enum Became {
    /// All of it is durable, from this record on.
    Durable(Lsn),
    /// So many entries, from this record on, are durable; the rest is not, and why.
    CutShort(Lsn, u64, Unavailable),
}

impl From<Result<Lsn, Failed>> for Became {
    fn from(result: Result<Lsn, Failed>) -> Self {
        match result {
            Ok(first) => Self::Durable(first),
            Err(Failed { fault, first, durable }) => {
                let why = match fault {
                    Fault::Full => Unavailable::Full,
                    Fault::Disk(_) | Fault::Closed => Unavailable::Faulted,
                };
                Self::CutShort(first, durable as u64, why)
            }
        }
    }
}

impl Became {
    /// How many of the entries from `at` on are durable, `pieces` at most; and what their writer hears.
    fn of(self, at: u64, pieces: u64) -> (u64, Appended) {
        match self {
            Self::Durable(first) => (pieces, Ok(Lsn(first.0 + at))),
            // A write that stands as a whole is in the log, whatever became of its neighbours.
            Self::CutShort(first, durable, _) if at + pieces <= durable => (pieces, Ok(Lsn(first.0 + at))),
            Self::CutShort(_, durable, why) => (durable.saturating_sub(at), Err(why)),
        }
    }

    fn whole(self) -> Appended {
        match self {
            Self::Durable(first) => Ok(first),
            Self::CutShort(.., why) => Err(why),
        }
    }

    fn first(self) -> Lsn {
        match self {
            Self::Durable(first) | Self::CutShort(first, ..) => first,
        }
    }
}

type Done = (Vec<Waiter>, Became);

struct Inner {
    wal: Arc<Wal>,
    epoch: Epoch,
    gathering: RefCell<Gathering>,
    flush: Notify,
    /// The first outcome that may go later.
    late: Notify,
    finished: Arc<Finished<Done>>,
}

/// Appends from one thread. Cheap to clone.
#[derive(Clone)]
pub struct Appender(Rc<Inner>);

impl fmt::Debug for Appender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Appender")
    }
}

async fn keep_a_timer_near() {
    loop {
        tokio::time::sleep(TIMER_NEAR).await;
    }
}

impl Appender {
    /// Starts the tasks that carry bundles out and results back. Must run on a local runtime, or inside a `LocalSet`.
    #[must_use]
    pub fn start(wal: Arc<Wal>, epoch: Epoch) -> Self {
        let appender = Self(Rc::new(Inner {
            wal,
            epoch,
            gathering: RefCell::default(),
            flush: Notify::new(),
            late: Notify::new(),
            finished: Arc::new(Finished::default()),
        }));
        tokio::task::spawn_local(appender.clone().watch());
        tokio::task::spawn_local(keep_a_timer_near());
        tokio::task::spawn_local(appender.clone().flush_late());
        appender
    }

    /// Appends the pieces of one write; their LSNs are contiguous from the one returned. Must not be empty.
    ///
    /// # Errors
    /// The queue cannot make them durable. A caller that drops this future early (because it waited too long) has recorded
    /// a gap: the pieces are never written, or, if the log had them already, marked as gapped.
    pub async fn intents(&self, entries: Vec<Entry>) -> Result<Lsn, Unavailable> {
        // Checked here, because the log refuses a whole bundle, and with it the writes of others.
        let fits = |entry: &Entry| entry.meta.len() + entry.body.len() <= PAYLOAD_MAX_BYTES;
        if entries.is_empty() || !entries.iter().all(fits) {
            return Err(Unavailable::Oversized);
        }
        // Nobody need find out again what one has waited for.
        if self.is_stalled() {
            return Err(Unavailable::Stalled);
        }
        let (answer, result) = oneshot::channel();
        self.0.gathering.borrow_mut().writes.push(entries, answer);
        self.0.flush.notify_one();
        result.await.unwrap_or(Err(Unavailable::Faulted))
    }

    /// Appends outcomes.
    ///
    /// # Errors
    /// The queue cannot make them durable.
    pub async fn outcomes(&self, outcomes: impl IntoIterator<Item = Outcome>) -> Result<(), Unavailable> {
        self.entries_of_outcomes(outcomes.into_iter().map(|outcome| outcome.encode())).await
    }

    /// Appends outcomes that are encoded already, spans before the outcome that names them. They are at most
    /// [`OUTCOMES_MAX`] and become one record.
    ///
    /// # Errors
    /// The queue cannot make them durable.
    pub async fn entries_of_outcomes(&self, entries: impl IntoIterator<Item = EntryBytes>) -> Result<(), Unavailable> {
        let (answer, result) = oneshot::channel();
        {
            let mut gathering = self.0.gathering.borrow_mut();
            let before = gathering.outcomes.len();
            gathering.outcomes.extend(entries);
            if gathering.outcomes.len() - before > OUTCOMES_MAX {
                gathering.outcomes.truncate(before);
                return Err(Unavailable::Oversized);
            }
            gathering.settling.push(Waiter { pieces: 0, answer });
        }
        self.0.flush.notify_one();
        result.await.unwrap_or(Err(Unavailable::Faulted)).map(drop)
    }

    /// Appends outcomes that nobody waits for.
    pub fn leave(&self, outcomes: impl IntoIterator<Item = Outcome>) {
        let (answer, _) = oneshot::channel();
        let mut gathering = self.0.gathering.borrow_mut();
        gathering.outcomes.extend(outcomes.into_iter().map(|outcome| outcome.encode()));
        gathering.settling.push(Waiter { pieces: 0, answer });
        drop(gathering);
        self.0.flush.notify_one();
    }

    /// Appends outcomes that go with whatever is appended next, or after [`LATE_MAX`]: a commit for nothing else is saved. Until
    /// then they are in memory alone. They are whole, as one record.
    pub fn later(&self, entries: impl IntoIterator<Item = EntryBytes>) {
        let mut gathering = self.0.gathering.borrow_mut();
        let was_empty = gathering.late.is_empty();
        gathering.late.extend(entries);
        let is_much = gathering.late.len() >= OUTCOMES_MAX / 2;
        drop(gathering);
        if is_much {
            self.0.flush.notify_one();
        } else if was_empty {
            self.0.late.notify_one();
        }
    }

    /// Waits until the log has answered for all that was appended before, also for what goes later. For as long as it takes none: whoever
    /// asks gives up by itself.
    pub async fn settled(&self) {
        loop {
            let waits = {
                let gathering = self.0.gathering.borrow();
                !gathering.late.is_empty() || !gathering.outcomes.is_empty() || gathering.len() > 0
            };
            let owes = {
                let results = self.0.finished.results();
                results.outstanding > 0 || !results.owed.is_empty()
            };
            if !waits && !owes {
                return;
            }
            self.0.flush.notify_one();
            tokio::time::sleep(BUSY_PAUSE).await;
        }
    }

    async fn flush_late(self) {
        loop {
            self.0.late.notified().await;
            tokio::time::sleep(LATE_MAX).await;
            if !self.0.gathering.borrow().late.is_empty() {
                self.0.flush.notify_one();
            }
        }
    }

    /// Somebody waited too long for an append: until the log answers again, intents are refused at once.
    pub fn note_stall(&self) {
        self.0.wal.note_stalled(true);
    }

    /// Whether the log has not answered since.
    #[must_use]
    pub fn is_stalled(&self) -> bool {
        self.0.wal.is_stalled()
    }

    /// Without either of its tasks nobody would ever hear of an append again: should one die, the log takes nothing more,
    /// as after an error of the disk, and everybody hears so.
    async fn watch(self) {
        let mut tasks = JoinSet::new();
        tasks.spawn_local(self.clone().carry_out());
        tasks.spawn_local(self.clone().bring_back());
        let died = tasks.join_next().await.and_then(Result::err).map(|error| error.to_string());
        drop(tasks);
        self.0.wal.fail(&format!("the way into it has failed, which is a bug: {}", died.unwrap_or_default()));
        loop {
            // Writers that nobody answers hear that the queue is faulted.
            drop(self.0.gathering.take());
            self.0.finished.results().stands = false;
            self.settle_all();
            tokio::select! {
                () = self.0.finished.wake.notified() => {}
                () = self.0.flush.notified() => {}
            }
        }
    }

    async fn carry_out(self) {
        loop {
            self.0.flush.notified().await;
            self.gather().await;
            failpoint::hit(Point::BundleLeaves);
            let Gathering { writes, outcomes, late, settling } = self.0.gathering.take();
            let (idle, mut owed) = {
                let mut results = self.0.finished.results();
                (results.outstanding == 0, std::mem::take(&mut results.owed))
            };
            // Outcomes never share a bundle with intents: a full log refuses intents, but has a reserve for outcomes, so
            // that what was forwarded can always be settled and the log can drain.
            owed.extend(outcomes);
            owed.extend(late);
            self.hand_over(self.settling_bundles(owed, settling), writes).await;
            // Going to sleep and being woken costs more than a commit takes. A log that did not answer the last time is not
            // waited for: a disk that hangs must not hang clients.
            if idle {
                self.0.finished.stand();
                self.settle_all();
                if !self.0.finished.results().owed.is_empty() {
                    // Whoever offers them again sleeps: the log's thread woke us alone.
                    self.0.finished.wake.notify_one();
                }
            }
        }
    }

    /// Outcomes in as few bundles as may be. Their writers hear with the last one: the log takes them in order.
    fn settling_bundles(&self, mut outcomes: Vec<EntryBytes>, waiters: Vec<Waiter>) -> Vec<Bundle> {
        let mut bundles = Vec::new();
        while outcomes.len() > OUTCOMES_MAX {
            let rest = outcomes.split_off(whole_outcomes(&outcomes, OUTCOMES_MAX).max(1));
            bundles.push(self.bundle(Vec::new(), std::mem::replace(&mut outcomes, rest), Vec::new()));
        }
        if !outcomes.is_empty() || !waiters.is_empty() {
            bundles.push(self.bundle(Vec::new(), outcomes, waiters));
        }
        bundles
    }

    /// Everything that is ready now joins this bundle, and what the sockets bring in further polls, for as long as each poll
    /// brings something: a poll costs a hundredth of a commit.
    async fn gather(&self) {
        let mut gathered = 0;
        for _ in 0..POLLS_MAX {
            tokio::task::yield_now().await;
            let waiting = self.0.gathering.borrow().len();
            if waiting == std::mem::replace(&mut gathered, waiting) {
                return;
            }
        }
    }

    /// Hands over outcomes, and intents as the log takes them: the rest waits here, for as long as its writers do.
    async fn hand_over(&self, mut bundles: Vec<Bundle>, mut writes: Writes) {
        loop {
            let front = writes.front();
            let busy = self.0.wal.is_busy(front.bytes + bundles.iter().map(Bundle::log_bytes).sum::<u64>());
            if !busy && !writes.is_empty() {
                let (entries, waiters) = writes.take(&front);
                bundles.push(self.bundle(entries, Vec::new(), waiters));
            }
            bundles = self.offer(bundles);
            if bundles.is_empty() && writes.is_empty() {
                return;
            }
            if busy || !bundles.is_empty() {
                // Bounded: the log thread works off its channel. Whoever waits too long gives up by itself.
                tokio::time::sleep(BUSY_PAUSE).await;
                writes.forget_given_up();
                self.0.gathering.borrow_mut().writes.forget_given_up();
            }
        }
    }

    /// Those that the log does not take now come back.
    fn offer(&self, bundles: Vec<Bundle>) -> Vec<Bundle> {
        let mut busy = Vec::new();
        self.0.finished.results().outstanding += bundles.len();
        for (refused, back) in self.0.wal.submit_all(bundles) {
            match refused {
                Refused::Busy => {
                    self.0.finished.results().outstanding -= 1;
                    busy.push(back);
                }
                Refused::Full => (back.done)(Err(Fault::Full.into())),
                _ => (back.done)(Err(Fault::Closed.into())),
            }
        }
        busy
    }

    fn bundle(&self, entries: Vec<Entry>, outcomes: Vec<[u8; 16]>, waiters: Vec<Waiter>) -> Bundle {
        let finished = Arc::clone(&self.0.finished);
        let kept = outcomes.clone();
        Bundle {
            entries,
            outcomes,
            done: Box::new(move |result| {
                // When even the reserve is used up, outcomes go again with the next bundle, for as long as it takes.
                let became = Became::from(result);
                let owed = if matches!(became, Became::CutShort(.., Unavailable::Full)) { kept } else { Vec::new() };
                finished.push((waiters, became), owed);
            }),
        }
    }

    /// Brings back what the event loop did not stand still for.
    async fn bring_back(self) {
        loop {
            let owing = !self.0.finished.results().owed.is_empty();
            if owing && tokio::time::timeout(OWED_PAUSE, self.0.finished.wake.notified()).await.is_err() {
                self.0.flush.notify_one();
                continue;
            }
            if !owing {
                self.0.finished.wake.notified().await;
            }
            failpoint::hit(Point::ResultsBack);
            self.settle_all();
        }
    }

    fn settle_all(&self) {
        let list = std::mem::take(&mut self.0.finished.results().list);
        if !list.is_empty() && self.is_stalled() {
            self.0.wal.note_stalled(false);
        }
        for (waiters, became) in list {
            let mut at = 0;
            for waiter in waiters {
                let pieces = waiter.pieces as u64;
                self.settle(waiter, at, became);
                at += pieces;
            }
        }
    }

    /// `at`: position of its first entry in the bundle.
    fn settle(&self, waiter: Waiter, at: u64, became: Became) {
        let pieces = waiter.pieces as u64;
        if pieces == 0 {
            // Nobody need be there: an outcome stands whether or not its writer still waits.
            let _ = waiter.answer.send(became.whole());
            return;
        }
        let (durable, result) = became.of(at, pieces);
        let heard = waiter.answer.send(result).is_ok();
        if durable == 0 || heard && result.is_ok() {
            return;
        }
        // The writer gave up, or the log took a part of its write: it records a gap. Without an outcome these intents would
        // hold up all that follow.
        let first = became.first().0 + at;
        self.leave((first..first + durable).map(|lsn| Outcome {
            lsn: Lsn(lsn),
            status: 0,
            disposition: Disposition::Gapped,
            cause: Cause::None,
            epoch: self.0.epoch,
        }));
    }
}
