//! History yields to everything else: who copies asks here before each query of the source, and before each write to the destination.
//!
//! Promises: nothing new is begun while a check says no, and the first that does is shown with its figures; what was begun is brought to
//! its end, so that no region is held back for a check. Rates, budgets and what goes at once hold for all who share one [`Allowance`]. Every
//! number can be changed while it works. Whoever waits here ends within a moment when somebody wants an end.

mod allowance;
mod hook;
mod limits;
mod probes;
pub mod rule;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::executor::{Stop, stopped};
use super::progress::Progress;
use super::steering::TARGET;
use crate::base::Result;
use crate::config::Backfill;
use crate::db::read::Reader;
use allowance::State;
use rule::{No, Permits, Whose};

pub use allowance::{Allowance, Healing};
pub use limits::{Limits, SCHEMA};
pub use probes::{Live, Offline, Probes};

/// How often everything is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// The shortest wait.
const WAIT_MIN: Duration = Duration::from_millis(5);
/// Lines of a write where there is a rate: what it lets go in this time.
const LINES_OF_S: u64 = 1;

/// Where one waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Query,
    Write,
}

#[derive(Debug)]
struct Inner {
    allowance: Allowance,
    reader: Reader,
    stop: Stop,
    progress: Progress,
    /// What had come to this reader, as it stood, bytes.
    received: Cell<u64>,
    /// Why somebody waits, by place.
    shown: RefCell<[Option<No>; 2]>,
}

/// Who lets copies go on. Of one thread; all clones are one.
#[derive(Clone, Debug)]
pub struct Throttle(Rc<Inner>);

/// A query that was let in; it ends with this.
#[derive(Debug)]
pub struct Query {
    throttle: Throttle,
    taken: u64,
    has_ended: bool,
}

/// A write that was let in; it ends with this.
#[derive(Debug)]
pub struct Write {
    throttle: Throttle,
    bytes: u64,
}

impl Throttle {
    /// For who reads by this reader, within what all may take.
    #[must_use]
    pub fn new(allowance: &Allowance, reader: Reader, (stop, progress): (Stop, Progress)) -> Self {
        let (allowance, received) = (allowance.clone(), Cell::new(reader.received_bytes()));
        Self(Rc::new(Inner { allowance, reader, stop, progress, received, shown: RefCell::default() }))
    }

    /// The limits that hold.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.0.allowance.0.limits
    }

    /// Waits until a query may begin; `None`: somebody wants an end. Not while a region is held.
    pub async fn query(&self) -> Option<Query> {
        let ask = |state: &mut State, at, limits: &Backfill| match state.history(at) {
            Some(no) => Err(no),
            None => state.permits.query(at, limits),
        };
        let taken = self.wait(Place::Query, ask).await?;
        Some(Query { throttle: self.clone(), taken, has_ended: false })
    }

    /// The same as [`Throttle::query`] for who heals what is missing: for rates, budgets, and a source that wants rest. No check says no to that.
    pub async fn healing(&self) -> Option<Query> {
        let ask = |state: &mut State, at, limits: &Backfill| state.permits.query(at, limits);
        let taken = self.wait(Place::Query, ask).await?;
        Some(Query { throttle: self.clone(), taken, has_ended: false })
    }

    /// Waits until so many bytes and rows may be written: for rates, budgets, and a destination that wants rest. The checks are those of
    /// [`Throttle::query`]: what was read is written.
    ///
    /// # Errors
    /// Somebody wants an end.
    pub async fn write(&self, bytes: usize, rows: usize) -> Result<Write> {
        let (bytes, rows) = (bytes as u64, rows as u64);
        let ask = |state: &mut State, at, limits: &Backfill| state.permits.request(at, (bytes, rows), limits);
        match self.wait(Place::Write, ask).await {
            Some(()) => Ok(Write { throttle: self.clone(), bytes }),
            None => Err(stopped()),
        }
    }

    /// A database wants to be left alone for so long.
    pub fn asked_to_wait(&self, whose: Whose, how_long: Duration) {
        let until = self.at() + how_long;
        self.state().borrow_mut().permits.asked_to_wait(whose, until);
    }

    /// Lines and bytes of one write at most.
    #[must_use]
    pub fn write_max(&self) -> (usize, usize) {
        let limits = self.limits().now();
        let lines = if limits.rows_per_s == 0 { u64::MAX } else { (limits.rows_per_s * LINES_OF_S).max(1) };
        let whole = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        (whole(lines), whole(Permits::request_bytes_max(&limits)))
    }

    /// How long a window has felt: as long as it took, or as what was in it takes at the rates that hold, so that the next one is as wide as
    /// can be copied in the time of one query. `received`: bytes of the answer.
    #[must_use]
    pub fn felt(&self, took: Duration, points: u64, received: u64) -> Duration {
        let (points_max, bytes_max) = Permits::window_max(&self.limits().now(), TARGET);
        let of = |amount: u64, max: Option<u64>| max.map(|max| TARGET.mul_f64(amount as f64 / max.max(1) as f64));
        [of(points, points_max), of(received, bytes_max)].into_iter().flatten().fold(took, Duration::max)
    }

    fn at(&self) -> Duration {
        self.0.allowance.at()
    }

    fn state(&self) -> &RefCell<State> {
        &self.0.allowance.0.state
    }

    async fn wait<T>(
        &self,
        place: Place,
        ask: impl Fn(&mut State, Duration, &Backfill) -> std::result::Result<T, No>,
    ) -> Option<T> {
        loop {
            self.0.allowance.look().await;
            let (at, limits) = (self.at(), self.limits().now());
            let asked = ask(&mut self.state().borrow_mut(), at, &limits);
            let no = match asked {
                Ok(done) => {
                    self.show(place, None);
                    return Some(done);
                }
                Err(no) => no,
            };
            let again = no.again.map_or(LOOK_EVERY, |again| again.saturating_sub(at).clamp(WAIT_MIN, LOOK_EVERY));
            self.show(place, Some(no));
            let is_stopped = tokio::select! {
                is_stopped = self.0.stop.wait(again) => is_stopped,
                () = self.0.allowance.0.freed.notified() => self.0.stop.asked(),
            };
            if is_stopped {
                self.show(place, None);
                return None;
            }
        }
    }

    /// Shows why somebody waits.
    fn show(&self, place: Place, no: Option<No>) {
        let mut all = self.0.shown.borrow_mut();
        let shown = &mut all[place as usize];
        if *shown == no {
            return;
        }
        if let Some(no) = &no
            && shown.as_ref().is_none_or(|before| before.check != no.check)
            && !no.check.is_pace()
        {
            tracing::info!(event = "backfill.throttled", check = no.check.name(), "{}", no.why);
        }
        *shown = no;
        let why = all.iter().flatten().find(|no| !no.check.is_at_once()).map(ToString::to_string);
        let is_halted = all[Place::Query as usize].as_ref().is_some_and(|no| !no.check.is_pace());
        drop(all);
        self.0.progress.change(|view| view.throttled = why);
        self.0.progress.halt(self.0.allowance.0.clock.monotonic(), is_halted);
    }

    fn query_ended(&self, taken: u64) -> u64 {
        let (at, limits) = (self.at(), self.limits().now());
        let received = self.0.reader.received_bytes();
        // All that came since the last one: of several at once each byte counts once.
        let more = received.saturating_sub(self.0.received.replace(received));
        self.state().borrow_mut().permits.read(at, taken, more, &limits);
        self.0.allowance.0.freed.notify_waiters();
        more
    }
}

impl Query {
    /// It has its answer; how many bytes came.
    #[must_use]
    pub fn ended(mut self) -> u64 {
        self.has_ended = true;
        self.throttle.query_ended(self.taken)
    }
}

impl Drop for Query {
    fn drop(&mut self) {
        if !self.has_ended {
            self.throttle.query_ended(self.taken);
        }
    }
}

impl Drop for Write {
    fn drop(&mut self) {
        let throttle = &self.throttle;
        let (at, limits): (_, Arc<Backfill>) = (throttle.at(), throttle.limits().now());
        throttle.state().borrow_mut().permits.wrote(at, self.bytes, &limits);
        throttle.0.allowance.0.freed.notify_waiters();
    }
}
