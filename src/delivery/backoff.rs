//! Pauses between attempts: doubling, capped, with jitter.

use std::time::Duration;

/// The pauses of one series of attempts.
#[derive(Clone, Debug)]
pub(super) struct Backoff {
    initial: Duration,
    max: Duration,
    attempt: u32,
}

impl Backoff {
    pub(super) fn new(initial: Duration, max: Duration) -> Self {
        Self { initial, max, attempt: 0 }
    }

    /// The next pause. `asked`: what the server asked for, which is obeyed. `chance` is in 0..1: where in the upper half of
    /// the pause we land, so that several lanes do not come back together.
    pub(super) fn next(&mut self, asked: Option<Duration>, chance: f64) -> Duration {
        let doubled = self.initial.saturating_mul(1u32.checked_shl(self.attempt).unwrap_or(u32::MAX));
        self.attempt = (self.attempt + 1).min(20);
        let pause = doubled.min(self.max).mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0);
        pause.max(asked.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_to_the_cap_and_obey_the_server() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(ms(250), ms(1000));
        let pauses: Vec<_> = (0..4).map(|_| backoff.next(None, 1.0)).collect();
        assert_eq!(pauses, vec![ms(250), ms(500), ms(1000), ms(1000)]);
        assert_eq!(backoff.next(None, 0.0), ms(500));
        assert_eq!(backoff.next(Some(ms(9000)), 1.0), ms(9000));
    }
}
