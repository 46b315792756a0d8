//! The one doorway to time. Everything that needs the time of day or a span takes a [`Clock`] or a plain argument.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Time as the program sees it.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Nanoseconds since 1970-01-01T00:00:00Z by the wall clock. May step in both directions.
    fn wall_ns(&self) -> i64;
    /// Time since an arbitrary fixed point; never goes back.
    fn monotonic(&self) -> Duration;
}

/// A clock that several rooms share.
pub type SharedClock = Arc<dyn Clock>;

/// The machine's clocks.
#[derive(Debug)]
pub struct SystemClock {
    started: Instant,
}

impl SystemClock {
    /// A clock whose monotonic time starts now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the doorway")]
    pub fn new() -> Self {
        Self { started: Instant::now() }
    }

    /// The same, ready to be shared.
    #[must_use]
    pub fn shared() -> SharedClock {
        Arc::new(Self::new())
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the doorway")]
    fn wall_ns(&self) -> i64 {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_nanos()).unwrap_or(i64::MAX),
            Err(before) => -i64::try_from(before.duration().as_nanos()).unwrap_or(i64::MAX),
        }
    }

    fn monotonic(&self) -> Duration {
        self.started.elapsed()
    }
}

/// Nanoseconds of an RFC 3339 text; `None` where it is none, or out of range.
#[must_use]
pub fn parse_rfc3339(text: &str) -> Option<i64> {
    let time: jiff::Timestamp = text.parse().ok()?;
    i64::try_from(time.as_nanosecond()).ok()
}

/// Whether RFC 3339 text is a time that nanoseconds of 64 bits do not reach (before 1677 or after 2262).
#[must_use]
pub fn is_beyond_ns(text: &str) -> bool {
    let time: Option<jiff::Timestamp> = text.parse().ok();
    time.is_some_and(|time| i64::try_from(time.as_nanosecond()).is_err())
}

/// Wall-clock nanoseconds as RFC 3339 text in UTC, for people and JSON.
#[must_use]
pub fn rfc3339(wall_ns: i64) -> String {
    jiff::Timestamp::from_nanosecond(i128::from(wall_ns)).map_or_else(|_| format!("{wall_ns} ns"), |t| t.to_string())
}
