//! What stands still, why and since when. A pause is told once and probed on a capped schedule; nothing is dropped.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

use super::backoff::Backoff;
use super::target::TargetId;

#[derive(Clone, Debug)]
struct Pause {
    reason: String,
    since: Duration,
    until: Duration,
    backoff: Backoff,
}

/// All pauses of one destination. Times are monotonic.
#[derive(Debug)]
pub(super) struct Pauses {
    initial: Duration,
    max: Duration,
    destination: RefCell<Option<Pause>>,
    targets: RefCell<HashMap<TargetId, Pause>>,
}

impl Pauses {
    pub(super) fn new(initial: Duration, max: Duration) -> Self {
        Self { initial, max, destination: RefCell::default(), targets: RefCell::default() }
    }

    /// Nothing may be sent before this moment. Returns true when this is news.
    pub(super) fn pause_destination(&self, reason: String, now: Duration, asked: Option<Duration>) -> bool {
        let mut slot = self.destination.borrow_mut();
        let news = slot.is_none();
        let pause = slot.get_or_insert_with(|| self.fresh(now));
        extend(pause, reason, now, asked);
        news
    }

    /// Nothing may be sent to this target before the pause's end. Returns true when this is news.
    pub(super) fn pause_target(&self, target: TargetId, reason: String, now: Duration) -> bool {
        let mut targets = self.targets.borrow_mut();
        let news = !targets.contains_key(&target);
        let pause = targets.entry(target).or_insert_with(|| self.fresh(now));
        extend(pause, reason, now, None);
        news
    }

    /// A request was answered as it should be. Returns what was paused until now: destination, target.
    pub(super) fn succeeded(&self, target: TargetId) -> (bool, bool) {
        (self.destination.take().is_some(), self.targets.borrow_mut().remove(&target).is_some())
    }

    /// Until when the whole destination is left alone.
    pub(super) fn destination_until(&self, now: Duration) -> Option<Duration> {
        self.destination.borrow().as_ref().map(|pause| pause.until).filter(|until| *until > now)
    }

    pub(super) fn holds(&self, target: TargetId, now: Duration) -> bool {
        self.targets.borrow().get(&target).is_some_and(|pause| pause.until > now)
    }

    /// The next moment at which some target may be tried again.
    pub(super) fn next_probe(&self, now: Duration) -> Option<Duration> {
        self.targets.borrow().values().map(|pause| pause.until).filter(|until| *until > now).min()
    }

    /// Reason and start of the destination's pause.
    pub(super) fn destination(&self) -> Option<(String, Duration)> {
        self.destination.borrow().as_ref().map(|pause| (pause.reason.clone(), pause.since))
    }

    /// Reasons and starts of all paused targets.
    pub(super) fn targets(&self) -> Vec<(TargetId, String, Duration)> {
        self.targets.borrow().iter().map(|(id, pause)| (*id, pause.reason.clone(), pause.since)).collect()
    }

    fn fresh(&self, now: Duration) -> Pause {
        Pause { reason: String::new(), since: now, until: now, backoff: Backoff::new(self.initial, self.max) }
    }
}

fn extend(pause: &mut Pause, reason: String, now: Duration, asked: Option<Duration>) {
    pause.reason = reason;
    // Several lanes meet the same outage: only the first of them in each round lengthens the pause.
    if pause.until <= now {
        pause.until = now + pause.backoff.next(asked, fastrand::f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_pause_is_news_once_and_ends_with_a_success() {
        let pauses = Pauses::new(SECOND, SECOND);
        let now = Duration::from_secs(100);
        assert!(pauses.pause_target(TargetId(1), "404".into(), now));
        assert!(!pauses.pause_target(TargetId(1), "404".into(), now));
        assert!(pauses.holds(TargetId(1), now) && !pauses.holds(TargetId(2), now));
        assert!(!pauses.holds(TargetId(1), now + SECOND), "it may be probed after the pause");
        assert!(pauses.pause_destination("401".into(), now, None));
        assert!(pauses.destination_until(now).is_some());
        assert_eq!(pauses.succeeded(TargetId(1)), (true, true));
        assert_eq!(pauses.succeeded(TargetId(1)), (false, false));
    }
}
