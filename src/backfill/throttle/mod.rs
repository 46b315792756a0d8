//! History yields to everything else: who copies asks here before each query of the source, and before each write to the destination.
//!
//! Promises: nothing new is begun while a check says no, and the first that does is shown with its figures; what was begun is brought to
//! its end, so that no region is held back for a check. Rates, budgets and what goes at once hold for all who share one [`Throttle`]. Every
//! number can be changed while it works. Whoever waits here ends within a moment when somebody wants an end.

mod hook;
mod limits;
mod probes;
pub mod rule;

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::executor::{Stop, stopped};
use super::progress::Progress;
use super::steering::TARGET;
use crate::base::Result;
use crate::base::clock::SharedClock;
use crate::base::disk;
use crate::config::Backfill;
use rule::{Checks, Flag, No, Permits, Seen, Whose};

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
struct State {
    permits: Permits,
    checks: Checks,
    looked: Option<Duration>,
    /// What the checks said last.
    no: Option<No>,
    heard: hook::Heard,
    /// Why somebody waits, by place.
    shown: [Option<No>; 2],
    /// Counters of others, as they stood.
    received: u64,
    clients_wrote: u64,
}

#[derive(Debug)]
struct Inner {
    limits: Limits,
    probes: Rc<dyn Probes>,
    clock: SharedClock,
    data_dir: PathBuf,
    stop: Stop,
    progress: Progress,
    /// The time since 1970 at the clock's zero: from then on that never goes back, whatever becomes of the clock on the wall.
    zero: Duration,
    state: RefCell<State>,
    freed: Notify,
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
    /// By these limits and figures. `data_dir`: whose room is looked at.
    #[must_use]
    pub fn new(
        (limits, probes): (Limits, Rc<dyn Probes>),
        (clock, stop, progress): (SharedClock, Stop, Progress),
        data_dir: PathBuf,
    ) -> Self {
        let wall = Duration::from_nanos(u64::try_from(clock.wall_ns()).unwrap_or_default());
        let zero = wall.saturating_sub(clock.monotonic());
        let state = State {
            permits: Permits::default(),
            checks: Checks::default(),
            looked: None,
            no: None,
            heard: hook::Heard::default(),
            shown: [None, None],
            received: probes.received_bytes(),
            clients_wrote: probes.clients_wrote_bytes(),
        };
        let (state, freed) = (RefCell::new(state), Notify::new());
        Self(Rc::new(Inner { limits, probes, clock, data_dir, stop, progress, zero, state, freed }))
    }

    /// The limits that hold.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.0.limits
    }

    /// Waits until a query may begin; `None`: somebody wants an end. Not while a region is held.
    pub async fn query(&self) -> Option<Query> {
        let ask = |state: &mut State, at, limits: &Backfill| match state.no.clone() {
            Some(no) => Err(no),
            None => state.permits.query(at, limits),
        };
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
        self.0.state.borrow_mut().permits.asked_to_wait(whose, until);
    }

    /// Lines and bytes of one write at most.
    #[must_use]
    pub fn write_max(&self) -> (usize, usize) {
        let limits = self.0.limits.now();
        let lines = if limits.rows_per_s == 0 { u64::MAX } else { (limits.rows_per_s * LINES_OF_S).max(1) };
        let whole = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        (whole(lines), whole(Permits::request_bytes_max(&limits)))
    }

    /// How long a window has felt: as long as it took, or as what was in it takes at the rates that hold, so that the next one is as wide as
    /// can be copied in the time of one query. `received`: bytes of the answer.
    #[must_use]
    pub fn felt(&self, took: Duration, points: u64, received: u64) -> Duration {
        let (points_max, bytes_max) = Permits::window_max(&self.0.limits.now(), TARGET);
        let of = |amount: u64, max: Option<u64>| max.map(|max| TARGET.mul_f64(amount as f64 / max.max(1) as f64));
        [of(points, points_max), of(received, bytes_max)].into_iter().flatten().fold(took, Duration::max)
    }

    fn at(&self) -> Duration {
        self.0.zero + self.0.clock.monotonic()
    }

    async fn wait<T>(
        &self,
        place: Place,
        ask: impl Fn(&mut State, Duration, &Backfill) -> std::result::Result<T, No>,
    ) -> Option<T> {
        loop {
            self.look().await;
            let (at, limits) = (self.at(), self.0.limits.now());
            let asked = ask(&mut self.0.state.borrow_mut(), at, &limits);
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
                () = self.0.freed.notified() => self.0.stop.asked(),
            };
            if is_stopped {
                self.show(place, None);
                return None;
            }
        }
    }

    /// Looks at everything, where it is time to.
    async fn look(&self) {
        let now = self.0.clock.monotonic();
        let is_fresh = |looked: Duration| now.saturating_sub(looked) < LOOK_EVERY;
        if self.0.state.borrow().looked.is_some_and(is_fresh) {
            return;
        }
        self.0.limits.refresh();
        let limits = self.0.limits.now();
        self.0.state.borrow_mut().looked = Some(now);
        let due = self.0.state.borrow_mut().heard.due(now, &limits);
        self.judge(&limits);
        if let Some(server) = due {
            let said = hook::ask(&server, &limits).await;
            self.0.state.borrow_mut().heard.heard(said);
            self.judge(&limits);
        }
    }

    /// Asks the checks.
    fn judge(&self, limits: &Backfill) {
        let flag = match limits.flag_file.0.as_str() {
            "" => Flag::Down,
            path => match std::fs::exists(path) {
                Ok(true) => Flag::Up,
                Ok(false) => Flag::Down,
                Err(error) => Flag::Unknown(error.to_string()),
            },
        };
        let (at, wrote) = (self.at(), self.0.probes.clients_wrote_bytes());
        let mut state = self.0.state.borrow_mut();
        let more = wrote.saturating_sub(state.clients_wrote);
        state.clients_wrote = wrote;
        state.permits.clients_wrote(at, more, limits);
        let seen = Seen {
            // Where it cannot be told, whoever writes there hears why.
            disk_free_bytes: disk::real().free_bytes(&self.0.data_dir).ok(),
            flag,
            hook: state.heard.said(),
            minute: limits.schedule_zone.minute_of_week(self.0.clock.wall_ns()),
            ..self.0.probes.seen(self.0.clock.monotonic())
        };
        state.no = state.checks.ask(&seen, limits);
    }

    /// Shows why somebody waits.
    fn show(&self, place: Place, no: Option<No>) {
        let mut state = self.0.state.borrow_mut();
        let shown = &mut state.shown[place as usize];
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
        let why = state.shown.iter().flatten().find(|no| !no.check.is_at_once()).map(ToString::to_string);
        let is_halted = state.shown[Place::Query as usize].as_ref().is_some_and(|no| !no.check.is_pace());
        drop(state);
        self.0.progress.change(|view| view.throttled = why);
        self.0.progress.halt(self.0.clock.monotonic(), is_halted);
    }

    fn query_ended(&self, taken: u64) -> u64 {
        let (at, limits) = (self.at(), self.0.limits.now());
        let mut state = self.0.state.borrow_mut();
        let received = self.0.probes.received_bytes();
        // All that came since the last one: of several at once each byte counts once.
        let more = received.saturating_sub(state.received);
        state.received = received;
        state.permits.read(at, taken, more, &limits);
        drop(state);
        self.0.freed.notify_waiters();
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
        let (at, limits): (_, Arc<Backfill>) = (throttle.at(), throttle.0.limits.now());
        throttle.0.state.borrow_mut().permits.wrote(at, self.bytes, &limits);
        throttle.0.freed.notify_waiters();
    }
}
