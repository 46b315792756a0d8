//! Whether the source answers writes: one that hangs or is gone is shown, and told once.
//!
//! Promise: silent is a source that has answered none of the writes it was asked since some seconds ago. One that nobody writes
//! to is not silent: what counts is time in which a write waited, or from a failed one to the next. Holds four times and one
//! short text, whatever the traffic.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::base::size::show_span;

/// Without an answer for so long the source counts as silent. Most clients have given up by then.
pub const SILENT_AFTER: Duration = Duration::from_secs(5);
/// From one begin that is told to the next: a source that comes and goes is told of once a minute.
const TELL_EVERY: Duration = Duration::from_secs(60);
/// A source that answers us, and was not asked by a client for so long, is not called silent any more.
const QUIET: Duration = Duration::from_secs(30);
/// Characters of a reason that are kept.
const REASON_CHARS_MAX: usize = 300;

/// What the edge notes and others read. Cheap to clone; times are monotonic.
#[derive(Clone, Debug, Default)]
pub struct Silence(Arc<Mutex<Noted>>);

#[derive(Debug, Default)]
struct Noted {
    /// Writes that the source was asked and has not answered.
    under_way: u32,
    /// Since when some of them wait without any answer in between.
    waiting_since: Duration,
    /// When the first one was asked that has no answer, of all since the last answer.
    since: Option<Duration>,
    /// When the last one failed.
    failed: Option<Duration>,
    reason: String,
    /// Whether the present silence was told, and when the last one was.
    told: bool,
    told_at: Option<Duration>,
}

/// A silence as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Silent {
    /// How long the source has answered no write.
    pub lasts: Duration,
    /// What the newest failed write met; that they hang, if there is none.
    pub reason: String,
}

/// News for an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// The source is silent.
    Begun(Silent),
    /// It is not any more.
    Over,
}

/// A write that the source was asked; dropped, it is not under way any more.
#[derive(Debug)]
pub(super) struct Asked(Silence);

impl fmt::Display for Silent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the source has answered no write for {}: {}", show_span(self.lasts), self.reason)
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        let mut noted = self.0.noted();
        noted.under_way = noted.under_way.saturating_sub(1);
        // Given up before anything was known of it.
        if noted.under_way == 0 && noted.failed.is_none() {
            noted.since = None;
        }
    }
}

impl Silence {
    fn noted(&self) -> MutexGuard<'_, Noted> {
        // Whoever panicked in these short sections left nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The source is asked a write, of which everything is there.
    pub(super) fn asked(&self, now: Duration) -> Asked {
        let mut noted = self.noted();
        if noted.under_way == 0 {
            noted.waiting_since = now;
        }
        noted.under_way += 1;
        noted.since.get_or_insert(now);
        Asked(self.clone())
    }

    /// It has answered, whatever it said.
    pub(super) fn answered(&self, now: Duration) {
        let mut noted = self.noted();
        noted.failed = None;
        noted.waiting_since = now;
        noted.since = (noted.under_way > 0).then_some(now);
    }

    /// A write has ended without an answer.
    pub(super) fn failed(&self, why: &str, now: Duration) {
        let mut noted = self.noted();
        noted.since.get_or_insert(now);
        noted.failed = Some(now);
        if noted.reason != why {
            noted.reason = why.chars().take(REASON_CHARS_MAX).collect();
        }
    }

    /// It has answered a question of ours. That says nothing about writes, unless there are none.
    pub fn answers_us(&self, now: Duration) {
        let mut noted = self.noted();
        if noted.under_way == 0 && noted.failed.is_none_or(|failed| now.saturating_sub(failed) > QUIET) {
            noted.failed = None;
            noted.since = None;
        }
    }

    /// The silence that there is.
    #[must_use]
    pub fn now(&self, now: Duration) -> Option<Silent> {
        self.noted().silent(now)
    }

    /// What is to be told; each begin once and its end once.
    #[must_use]
    pub fn news(&self, now: Duration) -> Option<News> {
        let mut noted = self.noted();
        match noted.silent(now) {
            Some(silent) => {
                let due = noted.told_at.is_none_or(|at| now.saturating_sub(at) >= TELL_EVERY);
                if noted.told || !due {
                    return None;
                }
                (noted.told, noted.told_at) = (true, Some(now));
                Some(News::Begun(silent))
            }
            None => std::mem::take(&mut noted.told).then_some(News::Over),
        }
    }
}

impl Noted {
    fn silent(&self, now: Duration) -> Option<Silent> {
        let since = self.since?;
        let waits = self.under_way > 0 && now.saturating_sub(self.waiting_since) >= SILENT_AFTER;
        let fails = self.failed.is_some_and(|failed| failed.saturating_sub(since) >= SILENT_AFTER);
        if !waits && !fails {
            return None;
        }
        let reason = match self.failed {
            Some(_) => self.reason.clone(),
            None => "writes wait for an answer".to_owned(),
        };
        Some(Silent { lasts: now.saturating_sub(since), reason })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_source_that_hangs_is_silent_until_it_answers_and_is_told_of_once() {
        let silence = Silence::default();
        let _first = silence.asked(at(100));
        assert_eq!((silence.now(at(104)), silence.news(at(104))), (None, None));
        let second = silence.asked(at(104));
        let shown = silence.now(at(106)).unwrap();
        assert_eq!((shown.lasts, shown.reason.as_str()), (at(6), "writes wait for an answer"));
        assert!(matches!(silence.news(at(106)), Some(News::Begun(_))));
        assert_eq!(silence.news(at(107)), None);
        silence.answers_us(at(108));
        assert!(silence.now(at(108)).is_some(), "to a question, while writes wait");
        silence.answered(at(110));
        drop(second);
        assert_eq!((silence.now(at(112)), silence.news(at(112))), (None, Some(News::Over)));
        assert_eq!(silence.news(at(113)), None);
        // The first one waits on; told again, but not within a minute.
        assert!(silence.now(at(116)).is_some() && silence.news(at(116)).is_none());
        assert!(matches!(silence.news(at(166)), Some(News::Begun(_))));
    }

    #[test]
    fn writes_that_fail_at_once_make_a_silence_only_over_some_time() {
        let silence = Silence::default();
        let fail = |now: u64| {
            let _asked = silence.asked(at(now));
            silence.failed("connection refused", at(now));
        };
        fail(100);
        assert_eq!(silence.now(at(2000)), None, "one write, and nobody asked since");
        fail(2000);
        assert_eq!(silence.now(at(2000)).unwrap().reason, "connection refused");
        silence.answers_us(at(2010));
        assert!(silence.now(at(2010)).is_some(), "a write failed just before");
        silence.answers_us(at(2031));
        assert_eq!(silence.now(at(2031)), None, "it answers, and nobody writes");
        fail(2032);
        let _asked = silence.asked(at(2033));
        silence.answered(at(2034));
        assert_eq!(silence.now(at(2036)), None);
    }

    #[test]
    fn a_source_without_traffic_is_not_silent() {
        let silence = Silence::default();
        assert_eq!(silence.now(at(1000)), None);
        let asked = silence.asked(at(1000));
        silence.answered(at(1001));
        drop(asked);
        assert_eq!((silence.now(at(5000)), silence.news(at(5000))), (None, None));
        drop(silence.asked(at(5000)));
        let _later = silence.asked(at(6000));
        assert_eq!(silence.now(at(6001)), None, "the one before was given up by us");
    }
}
