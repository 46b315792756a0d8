//! A provider's budget: so many bytes in each of its fixed windows.
//!
//! Promise: what arrives in any fixed window is at most the budget, however long it is on its way: what is under way at the edge of a
//! window counts on both sides of it. What turns out larger than it was thought to be is a debt of the windows that follow. Clients' own
//! lines go first: what they have taken of a window is not there for copies.

use std::time::Duration;

/// What a provider allows, and how much of it is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Bytes in a window; 0: any number.
    pub bytes: u64,
    /// Percent of them that copies may take, 1 to 100.
    pub share: u64,
    /// The window; it begins at whole multiples of its length.
    pub window: Duration,
}

impl Quota {
    /// What copies may take of a window that nobody else uses.
    #[must_use]
    pub fn own(self) -> u64 {
        u64::try_from(u128::from(self.bytes) * u128::from(self.share) / 100).unwrap_or(u64::MAX)
    }

    fn index(self, at: Duration) -> u128 {
        at.as_nanos() / self.window.as_nanos().max(1)
    }
}

/// What was taken of the present window.
#[derive(Clone, Debug, Default)]
pub struct Budget {
    length: Duration,
    index: u128,
    /// Has arrived, or is owed.
    used: u64,
    /// Is under way.
    open: u64,
    /// Clients' own lines in this window.
    others: u64,
}

impl Budget {
    fn roll(&mut self, at: Duration, quota: Quota) {
        let index = quota.index(at);
        if self.length != quota.window {
            // Another window than before: what was taken of that one counts here.
            (self.length, self.index) = (quota.window, index);
        }
        let passed = u64::try_from(index.saturating_sub(self.index)).unwrap_or(u64::MAX);
        if passed > 0 {
            self.used = self.used.saturating_sub(quota.own().saturating_mul(passed));
            (self.index, self.others) = (index, 0);
        }
    }

    /// What is left of this window.
    fn left(&self, quota: Quota) -> u64 {
        let most = quota.own().min(quota.bytes.saturating_sub(self.others));
        most.saturating_sub(self.used.saturating_add(self.open))
    }

    /// Whether so many bytes may go now; else when to ask again. `at`: since 1970, by a clock that never goes back.
    ///
    /// # Errors
    /// The begin of the next window.
    pub fn ask(&mut self, at: Duration, bytes: u64, quota: Quota) -> Result<(), Duration> {
        if quota.bytes == 0 {
            return Ok(());
        }
        self.roll(at, quota);
        // What is larger than a whole window goes alone, and the next ones pay for it: else it never would.
        let is_alone = bytes > quota.own() && self.used == 0 && self.open == 0 && self.others == 0;
        if bytes <= self.left(quota) || is_alone {
            return Ok(());
        }
        let next = (self.index + 1).saturating_mul(quota.window.as_nanos());
        Err(Duration::from_nanos(u64::try_from(next).unwrap_or(u64::MAX)))
    }

    /// So many bytes go.
    pub fn take(&mut self, bytes: u64) {
        self.open = self.open.saturating_add(bytes);
    }

    /// What was thought to be so many bytes has come to its end, and was so many.
    pub fn settle(&mut self, at: Duration, taken: u64, real: u64, quota: Quota) {
        if quota.bytes > 0 {
            self.roll(at, quota);
            self.used = self.used.saturating_add(real);
        }
        self.open = self.open.saturating_sub(taken);
    }

    /// Clients' own lines have taken so much more of this window.
    pub fn others(&mut self, at: Duration, bytes: u64, quota: Quota) {
        if quota.bytes > 0 {
            self.roll(at, quota);
            self.others = self.others.saturating_add(bytes);
        }
    }

    /// What stands in this window, for people: taken, and allowed.
    #[must_use]
    pub fn shown(&self, quota: Quota) -> (u64, u64) {
        (self.used.saturating_add(self.open), quota.own().min(quota.bytes.saturating_sub(self.others)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const QUOTA: Quota = Quota { bytes: 200, share: 50, window: Duration::from_secs(300) };

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_window_begins_at_a_multiple_of_its_length() {
        let mut budget = Budget::default();
        assert_eq!(budget.ask(s(299), 100, QUOTA), Ok(()));
        budget.take(100);
        assert_eq!(budget.ask(s(299), 1, QUOTA), Err(s(300)));
        budget.settle(s(299), 100, 100, QUOTA);
        assert_eq!(budget.ask(s(299), 1, QUOTA), Err(s(300)));
        assert_eq!(budget.ask(s(300), 100, QUOTA), Ok(()));
    }

    #[test]
    fn what_is_under_way_at_the_edge_counts_on_both_sides() {
        let mut budget = Budget::default();
        budget.ask(s(299), 60, QUOTA).unwrap();
        budget.take(60);
        assert_eq!(budget.ask(s(301), 60, QUOTA), Err(s(600)), "it may arrive only now");
        assert_eq!(budget.ask(s(301), 40, QUOTA), Ok(()));
        budget.settle(s(302), 60, 60, QUOTA);
        assert_eq!(budget.ask(s(302), 60, QUOTA), Err(s(600)));
        assert_eq!(budget.ask(s(601), 100, QUOTA), Ok(()));
    }

    #[test]
    fn what_was_larger_than_thought_is_paid_for_later() {
        let mut budget = Budget::default();
        budget.ask(s(0), 10, QUOTA).unwrap();
        budget.take(10);
        budget.settle(s(1), 10, 350, QUOTA);
        for closed in [2, 300, 600] {
            assert!(budget.ask(s(closed), 60, QUOTA).is_err(), "{closed}");
        }
        assert_eq!(budget.ask(s(900), 50, QUOTA), Ok(()), "50 are owed yet");
        assert!(budget.ask(s(900), 51, QUOTA).is_err());
        assert_eq!(budget.ask(s(1200), 100, QUOTA), Ok(()));
        let mut alone = Budget::default();
        assert_eq!(alone.ask(s(0), 1000, QUOTA), Ok(()), "what fits in no window goes alone");
        alone.take(1);
        assert!(alone.ask(s(0), 1000, QUOTA).is_err());
    }

    #[test]
    fn clients_lines_come_first() {
        let mut budget = Budget::default();
        budget.others(s(0), 130, QUOTA);
        assert_eq!(budget.ask(s(0), 70, QUOTA), Ok(()));
        assert_eq!(budget.ask(s(0), 71, QUOTA), Err(s(300)));
        budget.others(s(0), 1000, QUOTA);
        assert!(budget.ask(s(0), 1, QUOTA).is_err(), "nothing is left");
        assert_eq!(budget.ask(s(300), 100, QUOTA), Ok(()));
        let none = Quota { bytes: 0, ..QUOTA };
        assert_eq!(Budget::default().ask(s(0), u64::MAX, none), Ok(()), "no quota");
    }

    /// Bytes arrive at any moment between their permit and their end, whatever the schedule.
    #[test]
    fn no_fixed_window_ever_gets_more_than_its_budget() {
        for seed in 0..100_000 {
            let mut random = fastrand::Rng::with_seed(seed);
            let quota = Quota {
                bytes: random.u64(1..10_000),
                share: random.u64(1..=100),
                window: Duration::from_millis(random.u64(1..400_000)),
            };
            let own = quota.own();
            if own == 0 {
                continue;
            }
            let (mut budget, mut at) = (Budget::default(), Duration::from_millis(random.u64(0..1 << 40)));
            let (mut open, mut arrived) = (Vec::new(), BTreeMap::<u128, u64>::new());
            for _ in 0..40 {
                let bytes = random.u64(1..=own);
                match budget.ask(at, bytes, quota) {
                    Ok(()) => {
                        budget.take(bytes);
                        open.push((at, bytes));
                    }
                    Err(next) => {
                        assert!(next > at && next - at <= quota.window, "seed {seed}");
                        if random.bool() {
                            at = next;
                        }
                    }
                }
                if random.bool() {
                    at += quota.window.mul_f64(random.f64() * if random.u8(0..8) == 0 { 5.0 } else { 0.3 });
                }
                if open.len() > 3 || random.bool() && !open.is_empty() {
                    let (began, bytes) = open.swap_remove(random.usize(..open.len()));
                    let landed = began + (at - began).mul_f64(random.f64());
                    *arrived.entry(quota.index(landed)).or_default() += bytes;
                    budget.settle(at, bytes, bytes, quota);
                }
            }
            for (began, bytes) in open {
                *arrived.entry(quota.index(began)).or_default() += bytes;
            }
            for (index, bytes) in arrived {
                assert!(bytes <= own, "seed {seed}: window {index} got {bytes} of {own}");
            }
        }
    }
}
