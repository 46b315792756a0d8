//! How fast parts follow each other, and how long one waits that could not be copied.

use std::collections::VecDeque;
use std::time::Duration;

use crate::config::ReadBack;

const MINUTE: Duration = Duration::from_secs(60);
/// The first wait after a failure.
const WAIT: Duration = Duration::from_millis(500);

/// Of so many waits for delivery in a row …
const FAILS_TURN: u32 = 32;
/// … history stands back for so many: 20 s or more of one and a half minutes or more.
const FAILS_FIRST: u32 = 8;

/// What kept something from being copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// Delivery is busy: that passes.
    Busy,
    /// A database is away.
    Away,
    /// It may meet the same again.
    Fault,
}

impl Cause {
    /// The longest wait.
    const fn wait_max(self) -> Duration {
        match self {
            Self::Busy => Duration::from_secs(5),
            Self::Away => Duration::from_secs(30),
            Self::Fault => Duration::from_secs(300),
        }
    }

    /// Whether history stands back for one that has failed so often: where it is only delivery that is behind, as history may keep it; and
    /// for a part of the time, as it may be for ever that something else does.
    pub(super) const fn is_before_history(self, fails: u32) -> bool {
        matches!(self, Self::Busy) && fails % FAILS_TURN < FAILS_FIRST
    }

    /// How long one waits that has failed so often in a row; no longer than `most`.
    pub(super) fn wait_after(self, fails: u32, most: Duration) -> Duration {
        WAIT.saturating_mul(1 << fails.saturating_sub(1).min(16)).min(self.wait_max()).min(most.max(WAIT))
    }
}

/// Parts of the last minute. Times are monotonic.
#[derive(Debug, Default)]
pub(super) struct Pace(VecDeque<Duration>);

impl Pace {
    /// When the next part may begin.
    pub(super) fn next(&self, settings: &ReadBack) -> Duration {
        let after_last = self.0.back().map_or(Duration::ZERO, |last| *last + settings.pause);
        // So many began within the last minute: the oldest of them must be a minute old.
        let most = usize::try_from(settings.per_minute).unwrap_or(usize::MAX).max(1);
        let oldest = self.0.len().checked_sub(most).and_then(|at| self.0.get(at));
        after_last.max(oldest.map_or(Duration::ZERO, |oldest| *oldest + MINUTE))
    }

    /// One ends now.
    pub(super) fn note(&mut self, now: Duration) {
        while self.0.front().is_some_and(|first| *first + MINUTE <= now) {
            self.0.pop_front();
        }
        self.0.push_back(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_keep_their_distance_and_are_no_more_than_so_many_a_minute() {
        let settings = ReadBack { pause: Duration::from_secs(2), per_minute: 10, ..ReadBack::default() };
        let (mut pace, mut now, mut began) = (Pace::default(), Duration::ZERO, Vec::new());
        for _ in 0..35 {
            now = now.max(pace.next(&settings));
            began.push(now);
            pace.note(now);
        }
        assert!(began.windows(2).all(|pair| pair[1] - pair[0] >= settings.pause));
        assert!(began.windows(11).all(|eleven| eleven[10] - eleven[0] >= MINUTE), "{began:?}");
        assert!(began[34] < 4 * MINUTE, "and no slower than that");
        assert!(pace.0.len() <= 11);
    }

    #[test]
    fn a_wait_doubles_up_to_its_bound() {
        for cause in [Cause::Busy, Cause::Away, Cause::Fault] {
            assert_eq!([1, 2, 3].map(|fails| cause.wait_after(fails, Duration::MAX)), [WAIT, 2 * WAIT, 4 * WAIT]);
            assert_eq!([40, u32::MAX].map(|fails| cause.wait_after(fails, Duration::MAX)), [cause.wait_max(); 2]);
            assert_eq!(
                [0, 3].map(|most| cause.wait_after(9, Duration::from_secs(most))),
                [WAIT, Duration::from_secs(3)]
            );
        }
    }
    #[test]
    fn history_stands_back_for_what_delivery_keeps_but_not_for_ever() {
        assert!((1..FAILS_FIRST).all(|fails| Cause::Busy.is_before_history(fails)));
        assert!(
            (FAILS_FIRST..FAILS_TURN).all(|fails| !Cause::Busy.is_before_history(fails)),
            "then history has its time"
        );
        assert!(Cause::Busy.is_before_history(FAILS_TURN), "and it stands back again");
        assert!([Cause::Away, Cause::Fault].iter().all(|cause| !cause.is_before_history(1)));
    }
}
