//! So much a second, evenly.
//!
//! Promise: what begins within any span of time is at most the rate times that span and [`CREDIT`], and one piece more.

use std::time::Duration;

/// Who comes late by so little has not lost it: permits are given when somebody looks, not on the dot.
const CREDIT: Duration = Duration::from_millis(250);

/// The pace of one thing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rate {
    next: Duration,
}

impl Rate {
    /// When the next piece may begin; `None`: now. `per_s`: 0 for any number.
    #[must_use]
    pub fn wait(&self, at: Duration, per_s: u64) -> Option<Duration> {
        (per_s > 0 && self.next > at).then_some(self.next)
    }

    /// A piece begins.
    pub fn take(&mut self, at: Duration, amount: u64, per_s: u64) {
        // A rate that was off, or another one, owes nothing.
        if per_s == 0 {
            self.next = at;
            return;
        }
        let begins = self.next.max(at.saturating_sub(CREDIT));
        self.next = begins + Duration::from_secs_f64(amount as f64 / per_s as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_span_of_time_holds_more_than_the_rate() {
        for seed in 0..2_000 {
            let mut random = fastrand::Rng::with_seed(seed);
            let per_s = random.u64(1..10_000);
            let (mut rate, mut at, mut begun) = (Rate::default(), Duration::ZERO, Vec::new());
            for _ in 0..100 {
                let amount = random.u64(1..5_000);
                if let Some(next) = rate.wait(at, per_s) {
                    // Somebody comes back a little later than he might.
                    at = next + Duration::from_millis(random.u64(0..400));
                }
                assert_eq!(rate.wait(at, per_s), None);
                rate.take(at, amount, per_s);
                begun.push((at, amount));
                if random.u8(0..10) == 0 {
                    at += Duration::from_secs(random.u64(0..100));
                }
            }
            for from in 0..begun.len() {
                let mut sum = 0;
                for (at, amount) in &begun[from..] {
                    let most = per_s as f64 * (*at - begun[from].0 + CREDIT).as_secs_f64();
                    assert!(sum as f64 <= most + 1.0 + begun[from].1 as f64, "seed {seed}: {sum} of {most}");
                    sum += amount;
                }
            }
        }
    }

    #[test]
    fn who_asks_in_time_gets_the_whole_rate() {
        let (mut rate, mut at, mut sum) = (Rate::default(), Duration::ZERO, 0);
        while at < Duration::from_secs(60) {
            at = rate.wait(at, 1_000).map_or(at, |next| next + Duration::from_millis(50));
            rate.take(at, 100, 1_000);
            sum += 100;
        }
        assert!((58_000..=62_000).contains(&sum), "{sum}");
        rate.take(at, 1_000_000, 0);
        assert_eq!(rate.wait(at, 0), None);
        assert_eq!(rate.wait(at, 5), None, "without a limit nothing was owed");
    }
}
