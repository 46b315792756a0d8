//! What operators hear of it: what was read back, and what keeps waiting.
//!
//! Promise: at most one event of each kind a minute; what was read back meanwhile is in the next one, and what was copied stands apart
//! there from what nobody owes any more.

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
    copied: Untold,
    /// Not mapped any more, or not at the source.
    not_owed: Untold,
}

/// What is not told yet.
#[derive(Debug, Default)]
struct Untold {
    rows: u64,
    lines: u64,
    first: Option<String>,
}

impl Untold {
    fn add(&mut self, gone: &[OwedRow], text: String) {
        self.rows += gone.len() as u64;
        self.lines += gone.iter().map(|row| row.lines).sum::<u64>();
        self.first.get_or_insert(text);
    }

    /// All of it, for people; `what`: became of it.
    fn take(&mut self, what: &str) -> Option<String> {
        let Self { rows, lines, first } = std::mem::take(self);
        let more = match rows.saturating_sub(1) {
            0 => String::new(),
            more => format!("; and {more} more"),
        };
        first.map(|first| format!("{lines} lines in doubt or gaps {what}: {first}{more}"))
    }
}

impl Telling {
    pub(super) fn new(parts: &Parts) -> Self {
        let (id, state, clock) = (parts.id.clone(), SharedState::clone(&parts.state), SharedClock::clone(&parts.clock));
        Self { id, state, clock, told: None, waits_told: None, copied: Untold::default(), not_owed: Untold::default() }
    }

    /// Some rows are gone.
    pub(super) fn cleared(&mut self, group: &Group, gone: &[OwedRow], cleared: Cleared) {
        if gone.is_empty() {
            return;
        }
        let what = match cleared {
            Cleared::Copied => "copied again from the source",
            Cleared::Unmapped => {
                "not mapped to the destination any more: nothing was copied; where it is to be there, map it again, then: twinline backfill start"
            }
            Cleared::Gone => "not at the source any more: nothing was copied",
        };
        let times = format!("{} to {}", rfc3339(group.from_ns), rfc3339(group.to_ns));
        let text = format!("{}, {times}: {what}", group.name());
        if cleared != Cleared::Copied {
            tracing::warn!(event = "readback.nothing", "{text}");
        }
        match cleared {
            Cleared::Copied => self.copied.add(gone, text),
            Cleared::Unmapped | Cleared::Gone => self.not_owed.add(gone, text),
        }
        self.due();
    }

    /// Tells what is to be told by now.
    pub(super) fn due(&mut self) {
        let now = self.clock.monotonic();
        if self.told.is_some_and(|told| now.saturating_sub(told) < EVERY) {
            return;
        }
        let both = [self.copied.take("are not missing any more"), self.not_owed.take("are owed no more")];
        let both: Vec<_> = both.into_iter().flatten().collect();
        if both.is_empty() {
            return;
        }
        let text = format!("destination {}: {}", self.id, both.join("; "));
        self.told = Some(now);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Lsn;
    use crate::state::Owed;

    #[test]
    fn what_was_copied_stands_apart_from_what_is_owed_no_more() {
        let row = |id, lines| OwedRow {
            what: Owed::Gap,
            id,
            route: "d".to_owned(),
            measurement: None,
            from_ns: 0,
            to_ns: 1,
            lines,
            last_lsn: Lsn::ZERO,
        };
        let (mut copied, mut not_owed) = (Untold::default(), Untold::default());
        copied.add(&[row(1, 5), row(2, 6)], "all of d".to_owned());
        copied.add(&[row(3, 7)], "all of e".to_owned());
        not_owed.add(&[row(4, 9)], "all of f".to_owned());
        let told = copied.take("are not missing any more").unwrap();
        assert_eq!(told, "18 lines in doubt or gaps are not missing any more: all of d; and 2 more");
        assert_eq!(not_owed.take("are owed no more").unwrap(), "9 lines in doubt or gaps are owed no more: all of f");
        assert_eq!(copied.take("x"), None, "once");
    }
}
