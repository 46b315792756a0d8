//! Requests that may still take effect although nobody has heard of them any more: newer values of their cells wait.
//!
//! Promise: a value of the files never comes before an older one of the same cell that may still arrive.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use tokio::time::Instant;

use crate::backfill::files::{Gathered, Point};

/// Points that are remembered; beyond this everything waits.
const POINTS_MAX: usize = 1 << 20;

/// What may still come.
#[derive(Debug)]
pub(super) struct Late {
    hasher: RandomState,
    points: HashSet<u64>,
    /// Which points are meant is not known: all wait.
    all: bool,
    until: Option<Instant>,
    lasts: Duration,
}

impl Late {
    /// `lasts`: how long a request can take effect after it was sent (`late_write_max`).
    pub(super) fn new(lasts: Duration) -> Self {
        Self { hasher: RandomState::new(), points: HashSet::new(), all: false, until: None, lasts }
    }

    /// Requests with some of these points were sent, and nobody knows what became of them.
    pub(super) fn note(&mut self, points: &[Gathered]) {
        self.points.extend(points.iter().map(|one| key(&self.hasher, &one.point)));
        self.until = Some(Instant::now() + self.lasts);
    }

    /// An import before this one left requests that may take effect for so long.
    pub(super) fn inherit(&mut self, rest: Duration) {
        self.all = true;
        self.until = Some(Instant::now() + rest.min(self.lasts));
    }

    /// How long some request may still take effect.
    pub(super) fn rest(&self) -> Duration {
        self.until.map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()))
    }

    /// How long these points must wait.
    pub(super) fn wait(&mut self, points: &[Gathered]) -> Option<Instant> {
        let until = self.until?;
        if until <= Instant::now() {
            self.points.clear();
            (self.all, self.until) = (false, None);
            return None;
        }
        let meets = self.all
            || self.points.len() > POINTS_MAX
            || points.iter().any(|one| self.points.contains(&key(&self.hasher, &one.point)));
        meets.then_some(until)
    }
}

/// Without its place: of two with the same names one waits for nothing.
fn key(hasher: &RandomState, point: &Point) -> u64 {
    hasher.hash_one((&*point.series, point.time_ns))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::backfill::files::Position;
    use crate::cell::{Series, Value};

    fn points(time_ns: i64) -> [Gathered; 1] {
        let series = Arc::new(Series::new(b"m".to_vec(), Vec::new()));
        let point = Point { series, fields: vec![(b"v".to_vec(), Value::Integer(1))], time_ns };
        [Gathered { context: None, point, at: Position::default(), lines: 1 }]
    }

    #[test]
    fn only_points_of_a_request_that_may_still_come_wait_for_it() {
        let mut late = Late::new(Duration::from_secs(3600));
        assert_eq!((late.wait(&points(1)), late.rest()), (None, Duration::ZERO));
        late.note(&points(1));
        assert!(late.wait(&points(1)).is_some() && late.wait(&points(2)).is_none());
        assert!(late.rest() > Duration::from_secs(1800));
        late.inherit(Duration::from_secs(1800));
        assert!(late.wait(&points(2)).is_some(), "it is not known which");
        let mut over = Late::new(Duration::ZERO);
        over.note(&points(1));
        assert_eq!((over.wait(&points(1)), over.points.len()), (None, 0), "nothing is kept of what is over");
    }
}
