//! What operators hear of it: what was read back, and what keeps waiting.
//!
//! Promise: at most one event of each kind a minute; what was read back meanwhile is in the next one.

use std::time::Duration;

use super::Parts;
use super::group::Group;
use crate::base::DestinationId;
use crate::base::clock::{SharedClock, rfc3339};
use crate::state::{Cleared, Event, EventKind, OwedRow, SharedState};

/// Between two events.
const EVERY: Duration = Duration::from_secs(60);
/// What keeps waiting is told after so long.
const WAITS_TOLD: Duration = Duration::from_secs(300);
/// Between two of these.
const WAITS_EVERY: Duration = Duration::from_secs(600);

/// Tells.
#[derive(Debug)]
pub(super) struct Telling {
    id: DestinationId,
    state: SharedState,
    clock: SharedClock,
    told: Option<Duration>,
    waits_told: Option<Duration>,
    /// Not told yet: rows, lines, and the first of them.
    rows: u64,
    lines: u64,
    first: Option<String>,
}

impl Telling {
    pub(super) fn new(parts: &Parts) -> Self {
        let (id, state, clock) = (parts.id.clone(), SharedState::clone(&parts.state), SharedClock::clone(&parts.clock));
        Self { id, state, clock, told: None, waits_told: None, rows: 0, lines: 0, first: None }
    }

    /// Some rows are gone.
    pub(super) fn cleared(&mut self, group: &Group, gone: &[OwedRow], cleared: Cleared) {
        if gone.is_empty() {
            return;
        }
        self.rows += gone.len() as u64;
        self.lines += gone.iter().map(|row| row.lines).sum::<u64>();
        let what = match cleared {
            Cleared::Copied => "copied again from the source",
            Cleared::Unmapped => "not mapped to the destination any more: nothing was copied",
            Cleared::Gone => "not at the source any more: nothing was copied",
        };
        let times = format!("{} to {}", rfc3339(group.from_ns), rfc3339(group.to_ns));
        let text = format!("{}, {times}: {what}", group.name());
        if cleared != Cleared::Copied {
            tracing::warn!(event = "readback.nothing", "{text}");
        }
        self.first.get_or_insert(text);
        self.due();
    }

    /// Tells what is to be told by now.
    pub(super) fn due(&mut self) {
        let now = self.clock.monotonic();
        if self.told.is_some_and(|told| now.saturating_sub(told) < EVERY) {
            return;
        }
        let Some(first) = self.first.take() else { return };
        let more = match self.rows - 1 {
            0 => String::new(),
            more => format!("; and {more} more"),
        };
        let text = format!(
            "destination {}: {} lines in doubt or gaps are not missing any more: {first}{more}",
            self.id, self.lines
        );
        (self.rows, self.lines, self.told) = (0, 0, Some(now));
        self.tell(EventKind::ReadBack, text);
    }

    /// Some rows wait, since then.
    pub(super) fn waits(&mut self, since: Duration, group: &Group, why: &str) {
        let now = self.clock.monotonic();
        let is_long = now.saturating_sub(since) >= WAITS_TOLD;
        if !is_long || self.waits_told.is_some_and(|told| now.saturating_sub(told) < WAITS_EVERY) {
            return;
        }
        self.waits_told = Some(now);
        let lines = group.lines();
        let text = format!("destination {}: {lines} lines ({}) are not read back yet: {why}", self.id, group.name());
        self.tell(EventKind::ReadBackWaits, text);
    }

    fn tell(&self, kind: EventKind, text: String) {
        match kind {
            EventKind::ReadBackWaits => tracing::warn!(event = ?kind, "{text}"),
            _ => tracing::info!(event = ?kind, "{text}"),
        }
        // Nobody waits: the program's log says it in any case.
        drop(self.state.add_event(Event { at_ns: self.clock.wall_ns(), kind, text }));
    }
}
