//! What all copies to one destination may take together, for the life of the process.
//!
//! Promises: attempts of a job, jobs that follow each other and reading back share one of these, so that none begins a provider's window
//! anew; what the source's provider lets one read is one for all destinations of the process ([`OfSource`]). Who heals what is missing
//! comes before history.

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;

use super::rule::{Check, Checks, Flag, No, OfSource, Permits, Seen};
use super::{LOOK_EVERY, Limits, Probes, hook};
use crate::base::clock::SharedClock;
use crate::base::disk;
use crate::config::Backfill;

/// So long history stands back for what is healed, and so long it works beside it then: where clients bring doubt all the time, it is to
/// come to its end.
const TURN: Duration = Duration::from_secs(3);

#[derive(Debug)]
pub(super) struct State {
    pub(super) permits: Permits,
    checks: Checks,
    looked: Option<Duration>,
    /// What the checks said last.
    pub(super) no: Option<No>,
    heard: hook::Heard,
    /// What is being healed, for which history waits.
    healing: Option<String>,
    /// Since when history was stood in the way of so, and when last.
    stands_back: Option<(Duration, Duration)>,
    /// A counter of others, as it stood.
    clients_wrote: u64,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) limits: Limits,
    probes: Rc<dyn Probes>,
    pub(super) clock: SharedClock,
    data_dir: PathBuf,
    /// The time since 1970 at the clock's zero: from then on that never goes back, whatever becomes of the clock on the wall.
    zero: Duration,
    pub(super) state: RefCell<State>,
    pub(super) freed: Notify,
}

/// While it is there history begins nothing, or takes turns with it.
#[derive(Debug)]
pub struct Healing(Allowance);

impl Drop for Healing {
    fn drop(&mut self) {
        self.0.0.state.borrow_mut().healing = None;
        self.0.0.freed.notify_waiters();
    }
}

impl State {
    /// What keeps history from beginning another query now. Where something is healed all the time it is its turn half of that.
    pub(super) fn history(&mut self, at: Duration) -> Option<No> {
        if self.no.is_some() {
            return self.no.clone();
        }
        let what = self.healing.as_ref()?;
        let begun = self.stands_back.filter(|(_, last)| at.saturating_sub(*last) < TURN).map_or(at, |(first, _)| first);
        self.stands_back = Some((begun, at));
        let turns = at.saturating_sub(begun).as_millis() / TURN.as_millis();
        turns.is_multiple_of(2).then(|| No {
            check: Check::ReadBack,
            why: format!("{what} is in doubt or a gap and is read back first"),
            again: None,
        })
    }
}

/// Of one thread; all clones are one.
#[derive(Clone, Debug)]
pub struct Allowance(pub(super) Rc<Inner>);

impl Allowance {
    /// By these limits and figures. `source`: what may be read there, shared with those of other destinations. `data_dir`: whose room is
    /// looked at.
    #[must_use]
    pub fn new(
        (limits, probes): (Limits, Rc<dyn Probes>),
        source: OfSource,
        clock: SharedClock,
        data_dir: PathBuf,
    ) -> Self {
        let wall = Duration::from_nanos(u64::try_from(clock.wall_ns()).unwrap_or_default());
        let zero = wall.saturating_sub(clock.monotonic());
        let state = State {
            permits: Permits::sharing(source),
            checks: Checks::default(),
            looked: None,
            no: None,
            heard: hook::Heard::default(),
            healing: None,
            stands_back: None,
            clients_wrote: probes.clients_wrote_bytes(),
        };
        let (state, freed) = (RefCell::new(state), Notify::new());
        Self(Rc::new(Inner { limits, probes, clock, data_dir, zero, state, freed }))
    }

    /// History stands back from now on, between two of its chunks, until what this gives is gone: one at a time.
    #[must_use]
    pub fn heals(&self, what: &str) -> Healing {
        self.0.state.borrow_mut().healing = Some(what.to_owned());
        Healing(self.clone())
    }

    pub(super) fn at(&self) -> Duration {
        self.0.zero + self.0.clock.monotonic()
    }

    /// Looks at everything, where it is time to.
    pub(super) async fn look(&self) {
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
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::backfill::executor::Stop;
    use crate::backfill::progress::Progress;
    use crate::backfill::throttle::{Offline, Throttle};
    use crate::base::Clock;
    use crate::db::read::{Auth, Product, Reader};

    /// It stands still in the middle of a window.
    #[derive(Debug)]
    struct Still;

    impl Clock for Still {
        fn wall_ns(&self) -> i64 {
            1_700_000_050_000_000_000
        }

        fn monotonic(&self) -> Duration {
            Duration::from_secs(50)
        }
    }

    pub(in crate::backfill::throttle) fn allowance(words: &[&str], source: &OfSource) -> Allowance {
        let mut configured = Backfill::default();
        words.iter().for_each(|words| configured.change(words).unwrap());
        let dir = tempfile::tempdir().unwrap();
        let limits = Limits::open(&configured, dir.path());
        Allowance::new((limits, Rc::new(Offline)), source.clone(), Arc::new(Still), dir.path().to_path_buf())
    }

    /// Somebody wants an end from the start on: where a throttle would wait it gives up at once.
    pub(in crate::backfill::throttle) fn hasty(allowance: &Allowance) -> Throttle {
        let reader = Reader::new("http://127.0.0.1:1", Auth::None, Product::Influx1).unwrap();
        Throttle::new(allowance, reader, (Stop::new(|| true), Progress::default()))
    }

    #[tokio::test]
    async fn an_attempt_finds_the_budget_of_writes_as_the_one_before_has_left_it() {
        let allowance = allowance(&["quota_write=1000", "quota_share=100"], &OfSource::default());
        let first = hasty(&allowance);
        drop(first.write(900, 9).await.unwrap());
        drop(first);
        let (next, read_back) = (hasty(&allowance), hasty(&allowance));
        for later in [next, read_back] {
            assert!(later.write(200, 2).await.is_err(), "100 bytes are left of this window");
        }
        drop(hasty(&allowance).write(100, 1).await.unwrap());
    }

    #[tokio::test]
    async fn what_is_read_for_one_destination_is_not_there_for_another() {
        let (source, limits) = (OfSource::default(), ["quota_read=1000", "quota_share=100"]);
        let (one, other) = (allowance(&limits, &source), allowance(&limits, &source));
        let at = one.at();
        let taken = one.0.state.borrow_mut().permits.query(at, &one.0.limits.now()).unwrap();
        one.0.state.borrow_mut().permits.read(at, taken, 1000, &one.0.limits.now());
        assert!(hasty(&other).query().await.is_none());
        assert!(hasty(&other).healing().await.is_none(), "nor for reading back");
        assert!(hasty(&allowance(&limits, &OfSource::default())).query().await.is_some());
    }
    #[tokio::test]
    async fn history_stands_back_while_something_is_healed_and_says_for_what() {
        let allowance = allowance(&[], &OfSource::default());
        let healing = allowance.heals("m of d");
        assert!(hasty(&allowance).query().await.is_none());
        let history = |at: Duration| allowance.0.state.borrow_mut().history(allowance.at() + at);
        let no = history(Duration::ZERO).unwrap();
        assert_eq!(no.to_string(), "read-back: m of d is in doubt or a gap and is read back first");
        // Asked every half second for 18 s: half of it is the turn of history, however long the healing lasts.
        let asked = (1..=36).filter(|at| history(Duration::from_millis(at * 500)).is_none()).count();
        assert_eq!(asked, 18, "history comes to its end");
        assert!(hasty(&allowance).healing().await.is_some(), "that itself goes on");
        drop(hasty(&allowance).write(1, 1).await.unwrap());
        drop(healing);
        assert!(hasty(&allowance).query().await.is_some());
    }
}
