//! A destination that does not stand still and yet cannot keep up: it is slow, or there and away in turn.
//!
//! Promise: where others get the same log, it keeps no more than `route_backlog` of it from them, as one that stands still does not.
//! What counts is the log from the oldest record that waits for nothing but the destination up to the end. Not what waits for time
//! ([`super::late`]), for an operator or for the source's answer; nor what a target keeps that stands still by itself, which has its
//! own backlog ([`super::aside`]).
//!
//! Beyond `route_backlog` the destination counts as one whose targets all stand still, for a reason that stops no request (`behind`):
//! what is newer is set aside, what waits becomes a gap, and that grows up to the end of the log. It is over when no more than half of
//! `route_backlog` waits. So a gap is of half a backlog at least, and who is a little too slow has few and long ones, with whole
//! stretches of the log between them: gaps of a few records each would be as much work as delivering them, and cost a row each.
//!
//! What waits already when a process begins, or an operator's hold ends, is given time: it counts only by what it grows.

use std::time::Duration;

use super::distribute::{Distributor, last_of};
use super::tell;
use crate::base::size::ByteSize;

/// It is looked at no more often.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What is known of how far it is behind.
#[derive(Debug, Default)]
pub(super) struct Behind {
    looked: Duration,
    /// Bytes of the log that do not count; not known before the first look.
    given: Option<u64>,
}

impl Behind {
    /// Whether so many bytes are too many. `is`: whether they were before. `held`: by an operator.
    fn judge(&mut self, waiting: u64, budget: u64, is: bool, held: bool) -> bool {
        let fresh = if waiting > budget { waiting } else { 0 };
        let given = if held { waiting } else { self.given.unwrap_or(fresh).min(waiting) };
        self.given = Some(given);
        let counts = waiting - given;
        !held && if is { counts > budget / 2 } else { counts > budget }
    }
}

impl Distributor {
    /// Sees whether it is too far behind. To be called again and again.
    pub(super) fn see_behind(&mut self) {
        let (pauses, now) = (&self.shared.pauses, self.shared.clock.monotonic());
        // Before the first record is read nobody knows where it stands in the log.
        if pauses.is_only() || self.position() == 0 || now.saturating_sub(self.behind.looked) < LOOK_EVERY {
            return;
        }
        let (was, budget) = (pauses.is_behind(), self.shared.route_backlog_bytes);
        let waiting = self.waiting_bytes();
        self.behind.looked = now;
        let is = self.behind.judge(waiting, budget, was, self.shared.hold.lasts());
        match (was, is) {
            (false, true) => {
                let reason = format!(
                    "{} of the log wait for it, and route_backlog is {}: it is too slow, or comes and goes; what waits becomes a gap",
                    ByteSize(waiting),
                    ByteSize(budget)
                );
                tell::falls_behind(&self.shared, reason);
            }
            (true, false) => tell::is_not_behind(&self.shared, self.shared.hold.lasts()),
            _ => {}
        }
    }

    /// The log before the destination, bytes.
    fn waiting_bytes(&self) -> u64 {
        let pauses = &self.shared.pauses;
        let stands = |target| pauses.stands_by_itself(target);
        let in_lanes = self.shared.lanes.iter().filter_map(|lane| lane.borrow().oldest_moving(stands));
        let asides = self
            .asides
            .iter()
            .filter(|(target, aside)| aside.first.is_some() && !stands(**target) && !self.is_barred(**target));
        let oldest = in_lanes.chain(asides.map(|(_, aside)| aside.from_bytes)).min();
        let is_unanswered = self.next_item().is_some_and(|item| last_of(item) > self.scout.borrow().resolved());
        let end = if is_unanswered { self.position() } else { self.log.stats().position };
        end.saturating_sub(oldest.unwrap_or(u64::MAX).min(self.position()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_behind_beyond_the_budget_and_until_half_of_it() {
        let mut behind = Behind::default();
        let mut now = |waiting, is| behind.judge(waiting, 100, is, false);
        assert!(!now(10, false) && !now(100, false) && now(101, false));
        assert!(now(51, true) && !now(50, true));
        assert!(!now(99, false), "up to the whole budget again");
    }

    #[test]
    fn what_waits_at_a_start_or_after_a_hold_is_given_time() {
        let mut behind = Behind::default();
        assert!(!behind.judge(500, 100, false, false), "it waited before the start");
        assert!(!behind.judge(600, 100, false, false) && behind.judge(601, 100, false, false), "it grows");
        assert!(!behind.judge(300, 100, false, false), "it goes down");
        assert!(behind.judge(401, 100, false, false), "and counts from there");
        assert!(!behind.judge(900, 100, true, true), "an operator holds it");
        assert!(!behind.judge(1000, 100, false, false) && behind.judge(1001, 100, false, false));
        let mut small = Behind::default();
        assert!(!small.judge(90, 100, false, false) && small.judge(101, 100, false, false), "a start is no excuse");
    }
}
