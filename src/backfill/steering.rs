//! How wide the next window of a measurement is, so that one query of the source takes about two seconds.
//!
//! Promise: a pure step. A window grows to twice its width at most, and shrinks to a quarter where the source or the destination
//! could not take it; it never leaves its bounds.

use std::time::Duration;

/// What one query of the source is to take.
pub const TARGET: Duration = Duration::from_secs(2);
/// The narrowest window, ns.
pub const WIDTH_MIN_NS: i64 = 1;
/// The first window of a measurement is this part of its shard group: how dense it is nobody knows.
const FIRST_PART: i64 = 64;
/// Growth from one window to the next.
const GROWTH_MAX: f64 = 2.0;
/// What a window shrinks to where it was too much, as a part.
const SHRINK: i64 = 4;
/// A window that held nothing took no time that says anything.
const EMPTY_CELLS: u64 = 0;

/// What became of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was read: so long, so many cells.
    Read {
        /// Of the query, to the end of its answer.
        took: Duration,
        /// In the window.
        cells: u64,
    },
    /// A timeout, a limit, 413 or 429.
    TooMuch,
}

/// The width of the windows of one measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steering {
    width_ns: i64,
}

impl Steering {
    /// For a measurement of which nothing is known, in groups of this width.
    #[must_use]
    pub fn new(group_ns: i64) -> Self {
        Self { width_ns: (group_ns / FIRST_PART).max(WIDTH_MIN_NS) }
    }

    /// The width of the next window, ns.
    #[must_use]
    pub fn width_ns(self) -> i64 {
        self.width_ns
    }

    /// After a window of this width.
    #[must_use]
    pub fn after(self, width_ns: i64, outcome: Outcome) -> Self {
        let wanted = match outcome {
            Outcome::TooMuch => width_ns.max(WIDTH_MIN_NS) / SHRINK,
            Outcome::Read { cells: EMPTY_CELLS, .. } => self.width_ns.saturating_mul(GROWTH_MAX as i64),
            Outcome::Read { took, .. } => {
                let factor = TARGET.as_secs_f64() / took.as_secs_f64().max(1e-6);
                let factor = factor.clamp(1.0 / SHRINK as f64, GROWTH_MAX);
                // A window that its group has cut short says nothing of wider ones than that.
                let base = if factor > 1.0 { self.width_ns } else { width_ns.min(self.width_ns) };
                (base as f64 * factor) as i64
            }
        };
        Self { width_ns: wanted.max(WIDTH_MIN_NS) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000_000_000;

    fn read(ms: u64, cells: u64) -> Outcome {
        Outcome::Read { took: Duration::from_millis(ms), cells }
    }

    #[test]
    fn it_comes_to_two_seconds_from_either_side() {
        // So dense that an hour takes 8 s.
        let ms_of = |width: i64| (width as f64 / HOUR as f64 * 8_000.0) as u64;
        for first in [HOUR * 1000, 1_000_000] {
            let mut steering = Steering { width_ns: first };
            for _ in 0..60 {
                let width = steering.width_ns();
                steering = steering.after(width, read(ms_of(width), 1000));
            }
            let ms = ms_of(steering.width_ns());
            assert!((1_900..=2_100).contains(&ms), "{ms}");
        }
    }

    #[test]
    fn it_at_most_doubles_and_quarters() {
        let steering = Steering { width_ns: HOUR };
        assert_eq!(steering.after(HOUR, read(1, 5)).width_ns(), 2 * HOUR);
        assert_eq!(steering.after(HOUR, read(1, 0)).width_ns(), 2 * HOUR);
        assert_eq!(steering.after(HOUR, read(800_000, 5)).width_ns(), HOUR / 4);
        assert_eq!(steering.after(HOUR, Outcome::TooMuch).width_ns(), HOUR / 4);
        assert_eq!(steering.after(HOUR / 2, Outcome::TooMuch).width_ns(), HOUR / 8, "of what was too much");
        assert_eq!(Steering { width_ns: 1 }.after(1, Outcome::TooMuch).width_ns(), 1);
        assert_eq!(Steering { width_ns: i64::MAX }.after(1, read(1, 0)).width_ns(), i64::MAX);
        assert_eq!(Steering::new(64 * HOUR).width_ns(), HOUR);
    }
}
