//! When what waits is delivered, as things go.
//!
//! Promise: pure. Says nothing where the figures do not tell: a pace needs two moments a second apart.

use std::collections::VecDeque;
use std::time::Duration;

/// The pace is taken over so long.
const WINDOW: Duration = Duration::from_secs(60);
/// Moments nearer to each other than this tell no pace, and one of them is enough.
const STEP: Duration = Duration::from_secs(1);
/// Moments that are kept: the window, in steps.
const MOMENTS_MAX: usize = 64;

/// The queue at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// By the monotonic clock.
    pub at: Duration,
    /// Lines that wait for delivery.
    pub waiting_lines: u64,
}

/// By how many lines what waits becomes less in a second; below 0 where it grows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pace(pub f64);

/// Keeps the last minute.
#[derive(Clone, Debug, Default)]
pub struct Meter(VecDeque<Moment>);

impl Meter {
    /// Takes note of a moment.
    pub fn note(&mut self, moment: Moment) {
        if self.0.back().is_some_and(|last| moment.at < last.at + STEP) {
            return;
        }
        self.0.push_back(moment);
        // One moment from before the window stays: it begins there.
        while self.0.len() > MOMENTS_MAX || self.0.get(1).is_some_and(|next| next.at + WINDOW <= moment.at) {
            self.0.pop_front();
        }
    }

    /// The pace up to this moment; none where too little is known.
    #[must_use]
    pub fn pace(&self, now: Moment) -> Option<Pace> {
        let first = self.0.front().filter(|first| first.at + STEP <= now.at)?;
        let less = first.waiting_lines as f64 - now.waiting_lines as f64;
        Some(Pace(less / (now.at - first.at).as_secs_f64()))
    }
}

impl Pace {
    /// When nothing waits any more; `None`: never at this pace.
    #[must_use]
    pub fn until_empty(&self, waiting_lines: u64) -> Option<Duration> {
        match waiting_lines {
            0 => Some(Duration::ZERO),
            _ if self.0 <= 0.0 => None,
            lines => Duration::try_from_secs_f64(lines as f64 / self.0).ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(at_s: u64, waiting_lines: u64) -> Moment {
        Moment { at: Duration::from_secs(at_s), waiting_lines }
    }

    #[test]
    fn it_follows_from_the_pace_of_the_last_minute() {
        let mut meter = Meter::default();
        assert_eq!(meter.pace(moment(5, 0)), None, "nothing is known yet");
        meter.note(moment(0, 0));
        assert_eq!(meter.pace(moment(0, 0)), None, "one moment tells no pace");
        for at in 1..=200 {
            meter.note(moment(at, 10_000 - 20 * at));
            meter.note(moment(at, 7));
        }
        let pace = meter.pace(moment(210, 10_000 - 20 * 210)).unwrap();
        assert_eq!((pace, pace.until_empty(400)), (Pace(20.0), Some(Duration::from_secs(20))));
        assert!(meter.0.len() <= MOMENTS_MAX);
    }

    #[test]
    fn what_never_comes_has_no_time() {
        let mut meter = Meter::default();
        meter.note(moment(0, 10));
        let empty = |lines| meter.pace(moment(9, lines)).unwrap().until_empty(lines);
        assert_eq!((empty(10), empty(30), empty(0)), (None, None, Some(Duration::ZERO)));
    }
}
