//! How far the source's clock is from ours, read off the `Date` of its answers.
//!
//! Promise: lines that the source itself would have stamped get about the time that the source would have given. Below a
//! minute our own clock is used (and a difference above a second is told); beyond that, the source's.

use std::cell::Cell;

use http::HeaderValue;

use crate::base::clock::SharedClock;
use crate::base::metric;
use crate::state::{Event, EventKind, SharedState};

const SECOND_NS: i64 = 1_000_000_000;
/// `Date` has whole seconds, and the answer was under way: smaller differences say nothing.
const TOLD_NS: i64 = 2 * SECOND_NS;
const APPLIED_NS: i64 = 60 * SECOND_NS;

/// The offset, as far as it is known.
#[derive(Debug, Default)]
pub struct Skew {
    offset_ns: Cell<i64>,
    looked_at_ns: Cell<i64>,
    told: Cell<bool>,
}

impl Skew {
    /// Added to our clock when lines are stamped: 0 unless the clocks are more than a minute apart.
    #[must_use]
    pub fn correction_ns(&self) -> i64 {
        let offset = self.offset_ns.get();
        if offset.abs() > APPLIED_NS { offset } else { 0 }
    }

    /// Looks at the date of an answer, at most once a second.
    pub(super) fn observe(&self, date: &HeaderValue, clock: &SharedClock, state: &SharedState) {
        let now_ns = clock.wall_ns();
        if (now_ns - self.looked_at_ns.get()).abs() < SECOND_NS {
            return;
        }
        self.looked_at_ns.set(now_ns);
        let Some(date) = date.to_str().ok().and_then(|text| httpdate::parse_http_date(text).ok()) else { return };
        let Ok(since) = date.duration_since(std::time::UNIX_EPOCH) else { return };
        // The middle of the second that the date names.
        let theirs_ns = i64::try_from(since.as_nanos()).unwrap_or(i64::MAX).saturating_add(SECOND_NS / 2);
        self.note(theirs_ns.saturating_sub(now_ns), now_ns, state);
    }

    fn note(&self, offset_ns: i64, now_ns: i64, state: &SharedState) {
        self.offset_ns.set(offset_ns);
        metrics::gauge!(metric::CLOCK_OFFSET).set(offset_ns as f64 / 1e9);
        if offset_ns.abs() < TOLD_NS {
            self.told.set(false);
        } else if !self.told.replace(true) {
            let seconds = offset_ns as f64 / 1e9;
            let applied = if offset_ns.abs() > APPLIED_NS { "; lines without a time get the source's" } else { "" };
            let text = format!("the source's clock is {seconds:+.1} s from ours{applied}");
            tracing::warn!(event = "clock.skew", "{text}");
            drop(state.add_event(Event { at_ns: now_ns, kind: EventKind::ClockSkew, text }));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn only_a_large_difference_changes_stamps_and_it_is_told_once() {
        let dir = tempfile::tempdir().unwrap();
        let state: SharedState = Arc::new(crate::state::SqliteState::open(&dir.path().join("s.db")).unwrap());
        let skew = Skew::default();
        for (offset_s, correction_s) in [(1, 0), (30, 0), (-30, 0), (61, 61), (-3600, -3600), (0, 0)] {
            skew.note(offset_s * SECOND_NS, 1, &state);
            assert_eq!(skew.correction_ns(), correction_s * SECOND_NS, "{offset_s} s");
        }
        assert_eq!(state.events(0, 10).wait().unwrap().len(), 1, "one event for one stretch of difference");
    }
}
