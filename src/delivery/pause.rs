//! What stands still, why and since when. A pause is told once and probed on a capped schedule; nothing is dropped.
//!
//! Where others get the same log, a destination that stands still must not hold it back from them: each of its targets counts as
//! one that stands still then, and becomes a gap at its backlog ([`super::aside`]).

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

use super::backoff::Backoff;
use super::target::TargetId;

/// The code of a pause that stops no request: what waits is more than the backlog.
const BEHIND: &str = "behind";

#[derive(Clone, Debug)]
struct Pause {
    code: &'static str,
    reason: String,
    /// The codes that were told; there are a few.
    told_codes: Vec<&'static str>,
    since: Duration,
    /// When the newest answer that asks for it came.
    told: Duration,
    until: Duration,
    backoff: Backoff,
}

/// All pauses of one destination. Times are monotonic.
#[derive(Clone, Debug)]
pub(super) struct Pauses {
    initial: Duration,
    max: Duration,
    /// Nobody else waits for the log.
    is_only: bool,
    destination: RefCell<Option<Pause>>,
    /// It cannot keep up.
    behind: RefCell<Option<Shown>>,
    targets: RefCell<HashMap<TargetId, Pause>>,
    /// The statement that is shown as waiting, and with it what is newer at its place.
    statement: RefCell<Option<Shown>>,
}

impl Pauses {
    pub(super) fn new(initial: Duration, max: Duration, is_only: bool) -> Self {
        Self {
            initial,
            max,
            is_only,
            destination: RefCell::default(),
            behind: RefCell::default(),
            targets: RefCell::default(),
            statement: RefCell::default(),
        }
    }

    /// Nothing may be sent before this moment. Returns true when this is news: the first time with this code.
    pub(super) fn pause_destination(
        &self,
        code: &'static str,
        reason: String,
        now: Duration,
        asked: Option<Duration>,
    ) -> bool {
        let mut slot = self.destination.borrow_mut();
        extend(slot.get_or_insert_with(|| self.fresh(now)), code, reason, now, asked)
    }

    /// Nothing may be sent to this target before the pause's end. Returns true when this is news.
    pub(super) fn pause_target(&self, target: TargetId, code: &'static str, reason: String, now: Duration) -> bool {
        let mut targets = self.targets.borrow_mut();
        extend(targets.entry(target).or_insert_with(|| self.fresh(now)), code, reason, now, None)
    }

    /// A request that began at `began` was answered as it should be. Returns what is not paused any more: destination,
    /// target. A request older than the newest refusal says nothing about what holds since.
    pub(super) fn succeeded(&self, target: TargetId, began: Duration) -> (bool, bool) {
        let newer = |pause: &mut Pause| pause.told <= began;
        let destination = self.destination.borrow_mut().take_if(newer).is_some();
        let mut targets = self.targets.borrow_mut();
        let over = targets.get_mut(&target).is_some_and(newer);
        (destination, over && targets.remove(&target).is_some())
    }

    /// What the destination was last paused for holds no more, whatever it says itself. Returns whether that was all.
    pub(super) fn over(&self, code: &str) -> bool {
        self.destination.borrow_mut().take_if(|pause| pause.code == code).is_some()
    }

    /// The same where nothing has asked for it since `asked`.
    pub(super) fn over_since(&self, code: &str, asked: Duration) -> bool {
        self.destination.borrow_mut().take_if(|pause| pause.code == code && pause.told <= asked).is_some()
    }

    /// The destination goes on standing still as it did.
    pub(super) fn take_over(&self, former: &Self) {
        self.destination.replace(former.destination.borrow().clone());
    }

    /// Until when the whole destination is left alone.
    pub(super) fn destination_until(&self, now: Duration) -> Option<Duration> {
        self.destination.borrow().as_ref().map(|pause| pause.until).filter(|until| *until > now)
    }

    pub(super) fn holds(&self, target: TargetId, now: Duration) -> bool {
        self.targets.borrow().get(&target).is_some_and(|pause| pause.until > now)
            || self.all_stand_still() && self.destination_until(now).is_some()
    }

    /// Nobody else waits for the log.
    pub(super) fn is_only(&self) -> bool {
        self.is_only
    }

    /// The destination stands still or cannot keep up, and each of its targets counts as one that stands still.
    pub(super) fn all_stand_still(&self) -> bool {
        self.destination_stands_still() || !self.is_only && self.is_behind()
    }

    /// The destination takes nothing, and others must not wait for it.
    pub(super) fn destination_stands_still(&self) -> bool {
        !self.is_only && self.destination.borrow().is_some()
    }

    /// It cannot keep up, and why that is said.
    pub(super) fn falls_behind(&self, reason: String, now: Duration) {
        self.behind.replace(Some(Shown { code: BEHIND, reason, since: now }));
    }

    pub(super) fn is_not_behind(&self) {
        self.behind.replace(None);
    }

    pub(super) fn is_behind(&self) -> bool {
        self.behind.borrow().is_some()
    }

    pub(super) fn behind(&self) -> Option<Shown> {
        self.behind.borrow().clone()
    }

    /// Whether this target stands still whatever the others do.
    pub(super) fn stands_by_itself(&self, target: TargetId) -> bool {
        self.targets.borrow().contains_key(&target)
    }

    /// Whether this target has refused something since then.
    pub(super) fn told_since(&self, target: TargetId, at: Duration) -> bool {
        let told = |pause: &Pause| pause.told > at;
        self.targets.borrow().get(&target).is_some_and(told)
            || self.all_stand_still() && self.destination.borrow().as_ref().is_some_and(told)
    }

    /// Whether this target stands still, also while it is tried again.
    pub(super) fn is_paused(&self, target: TargetId) -> bool {
        self.all_stand_still() || self.targets.borrow().contains_key(&target)
    }

    /// Whether any target stands still.
    pub(super) fn any_target(&self) -> bool {
        self.all_stand_still() || !self.targets.borrow().is_empty()
    }

    /// The targets that stand still.
    pub(super) fn paused_targets(&self) -> Vec<TargetId> {
        self.targets.borrow().keys().copied().collect()
    }

    /// The next moment at which some target may be tried again.
    pub(super) fn next_probe(&self, now: Duration) -> Option<Duration> {
        self.targets.borrow().values().map(|pause| pause.until).filter(|until| *until > now).min()
    }

    /// The destination's pause.
    pub(super) fn destination(&self) -> Option<Shown> {
        self.destination.borrow().as_ref().map(Pause::shown)
    }

    /// All paused targets.
    pub(super) fn targets(&self) -> Vec<(TargetId, Shown)> {
        self.targets.borrow().iter().map(|(id, pause)| (*id, pause.shown())).collect()
    }

    /// A statement of this place waits, and for what; since when it does stays.
    pub(super) fn statement_waits(&self, code: &'static str, reason: String, now: Duration) {
        let mut statement = self.statement.borrow_mut();
        let since = statement.as_ref().map_or(now, |shown| shown.since);
        *statement = Some(Shown { code, reason, since });
    }

    /// It does not wait any more.
    pub(super) fn statement_goes_on(&self) {
        self.statement.replace(None);
    }

    /// The statement that waits, of several the oldest.
    pub(super) fn statement(&self) -> Option<Shown> {
        self.statement.borrow().clone()
    }

    fn fresh(&self, now: Duration) -> Pause {
        let backoff = Backoff::new(self.initial, self.max);
        let (code, reason, told_codes) = ("", String::new(), Vec::new());
        Pause { code, reason, told_codes, since: now, told: now, until: now, backoff }
    }
}

/// A pause as it is shown.
#[derive(Clone, Debug)]
pub(super) struct Shown {
    pub(super) code: &'static str,
    pub(super) reason: String,
    pub(super) since: Duration,
}

impl Pause {
    fn shown(&self) -> Shown {
        Shown { code: self.code, reason: self.reason.clone(), since: self.since }
    }
}

/// True when this pause was not told with this code yet.
fn extend(pause: &mut Pause, code: &'static str, reason: String, now: Duration, asked: Option<Duration>) -> bool {
    pause.code = code;
    pause.reason = reason;
    pause.told = now;
    // Several lanes meet the same outage: only the first of them in each round lengthens the pause.
    if pause.until <= now {
        pause.until = now + pause.backoff.next(asked, fastrand::f64());
    }
    // What the server asks for holds whatever runs already.
    pause.until = pause.until.max(now + asked.unwrap_or_default());
    let news = !pause.told_codes.contains(&code);
    if news {
        pause.told_codes.push(code);
    }
    news
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_pause_is_news_once_and_ends_with_a_success() {
        let pauses = Pauses::new(SECOND, SECOND, true);
        let now = Duration::from_secs(100);
        assert!(pauses.pause_target(TargetId(1), "gone", "404".into(), now));
        assert!(!pauses.pause_target(TargetId(1), "gone", "404".into(), now));
        assert!(pauses.holds(TargetId(1), now) && !pauses.holds(TargetId(2), now));
        assert!(!pauses.holds(TargetId(1), now + SECOND), "it may be probed after the pause");
        assert!(pauses.pause_destination("rights", "401".into(), now, None));
        assert!(!pauses.pause_destination("rights", "401".into(), now, None));
        assert!(pauses.pause_destination("away", "503".into(), now, None), "another reason is news");
        assert!(!pauses.pause_destination("rights", "401".into(), now, None), "told before");
        assert!(pauses.destination_until(now).is_some());
        assert_eq!(pauses.succeeded(TargetId(1), now + SECOND), (true, true));
        assert_eq!(pauses.succeeded(TargetId(1), now + SECOND), (false, false));
        pauses.pause_destination("full", "of letters".into(), now, None);
        pauses.pause_destination("away", "503".into(), now, None);
        assert!(!pauses.over("full"), "it is paused for something else by now");
        assert!(pauses.over("away") && pauses.destination_until(now).is_none());
    }

    #[test]
    fn an_older_request_does_not_end_a_newer_pause() {
        let pauses = Pauses::new(SECOND, SECOND, true);
        let now = Duration::from_secs(100);
        pauses.pause_destination("away", "503".into(), now, None);
        pauses.pause_target(TargetId(1), "gone", "404".into(), now);
        pauses.pause_destination("quota", "429".into(), now + SECOND / 2, Some(SECOND * 300));
        let until = now + SECOND / 2 + SECOND * 300;
        assert_eq!(pauses.destination_until(now + SECOND), Some(until), "asked for while a shorter pause runs");
        assert_eq!(pauses.succeeded(TargetId(1), now - SECOND), (false, false));
        assert_eq!(pauses.succeeded(TargetId(1), now + SECOND / 4), (false, true), "the target's is older");
        assert_eq!(pauses.destination_until(now + SECOND), Some(until));
        pauses.pause_destination("away", "503".into(), now + SECOND, None);
        assert_eq!(pauses.destination_until(now + SECOND), Some(until), "nothing shortens it");
        assert_eq!(pauses.succeeded(TargetId(1), until), (true, false));
    }
}
