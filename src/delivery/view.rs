//! What delivery shows: figures copied out a few times a second, so that whoever reads them never waits for delivery.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;

use super::Shared;
use super::hold::Hold;
use super::ledger::Tally;
use super::pause::Shown;
use super::regions::HoldView;
use crate::base::recent::OfLate;
use crate::base::{Error, Lsn, metric};
use crate::queue::Ahead;

/// What is told of requests of late is told of this time.
const OF_LATE: Duration = Duration::from_secs(30);

/// Something that stands still.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct PauseView {
    /// The destination, or one place of it.
    pub what: String,
    /// Short stable name of the reason.
    #[serde(default)]
    pub code: String,
    /// The destination's words.
    pub reason: String,
    /// For how long, seconds.
    pub for_s: u64,
}

/// Cells that the destination cannot hold as they are, for one reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct ChangeView {
    /// Short stable name of the reason.
    pub code: String,
    /// For people.
    pub why: String,
    /// How many.
    pub cells: u64,
}

/// Figures of one destination. Lines are in exactly one of the states.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct View {
    /// Whether anything was shown yet.
    pub ready: bool,
    /// Lines that the destination has acknowledged.
    pub delivered_lines: u64,
    /// Whether what former processes left in the log is still being counted: until then the sums are too small.
    pub counting: bool,
    /// Lines accepted by the source that wait for delivery.
    pub queued_lines: u64,
    /// Lines whose write the source has not answered yet.
    pub unanswered_lines: u64,
    /// Lines whose fate at the source is not known.
    pub doubt_lines: u64,
    /// Lines in the dead-letter store.
    pub dead_lettered_lines: u64,
    /// Lines that no rule sends anywhere.
    pub excluded_lines: u64,
    /// Lines lost to damage of the log; each is in a gap.
    pub damaged_lines: u64,
    /// Lines of writes that the source refused: not accepted, shown for completeness.
    pub refused_lines: u64,
    /// Lines of writes that became durable only after a gap was recorded for them.
    pub gapped_lines: u64,
    /// Cells that are not at the destination what they are at the source, by reason.
    pub changes: Vec<ChangeView>,
    /// Lines that stay at the source since the start, by route.
    pub excluded: Vec<super::ExcludedView>,
    /// The lowest floor.
    pub floor_lsn: u64,
    /// The lowest of the floors that are saved: records above it are delivered again after a crash.
    pub saved_lsn: u64,
    /// The last record looked at.
    pub head_lsn: u64,
    /// Arrival of the oldest record that is not delivered, ns; 0 when there is none.
    pub oldest_ns: i64,
    /// What stands still.
    pub paused: Vec<PauseView>,
    /// Regions that are copied, and left alone meanwhile.
    pub holds: Vec<HoldView>,
    /// Why delivery has ended, if it has.
    pub failed: Option<String>,
    /// Requests of the last 30 s.
    #[serde(skip)]
    pub of_late: OfLate,
    /// Bytes of lines that were sent since the start, before compression.
    #[serde(skip)]
    pub sent_bytes: u64,
    /// When these figures were taken, ns.
    pub at_ns: i64,
    /// The same on the clock that is never set.
    #[serde(skip)]
    pub taken: Duration,
    /// For how long the oldest record waited then.
    #[serde(skip)]
    pub waited: Duration,
}

impl View {
    /// For how long the oldest record waits, at this moment of the clock that is never set.
    #[must_use]
    pub fn oldest_waits(&self, now: Duration) -> Duration {
        if self.oldest_ns == 0 { Duration::ZERO } else { self.waited + self.age(now) }
    }

    /// For how long these figures have not been taken again.
    #[must_use]
    pub fn age(&self, now: Duration) -> Duration {
        now.saturating_sub(self.taken)
    }

    /// The same, with how long its oldest record waits. Records say when they came by the clock on the wall, which may have
    /// been set since. What was the oldest at the last look waits for as long as has passed; what has become it since has not
    /// waited longer. Only what a start finds is believed.
    fn after(self, before: &Self) -> Self {
        let by_wall =
            u64::try_from(self.at_ns.saturating_sub(self.oldest_ns)).map_or(Duration::ZERO, Duration::from_nanos);
        let most = before.oldest_waits(before.taken) + before.age(self.taken);
        // Set back, it makes younger ones look older.
        let still = self.oldest_ns == before.oldest_ns
            || before.oldest_ns != 0 && self.floor_lsn == before.floor_lsn && self.oldest_ns < before.oldest_ns;
        let waited = match (before.ready, still) {
            (false, _) => by_wall,
            (true, true) => most,
            (true, false) => by_wall.min(most),
        };
        Self { waited, ..self }
    }
}

/// The newest figures.
pub type SharedView = Arc<Mutex<View>>;

/// An empty view.
#[must_use]
pub fn shared_view() -> SharedView {
    Arc::default()
}

/// Shows that delivery has ended.
pub fn show_failure(view: &SharedView, error: &Error) {
    let pause = PauseView {
        what: "delivery has stopped".to_owned(),
        code: "failed".to_owned(),
        reason: error.to_string(),
        for_s: 0,
    };
    let mut view = view.lock().unwrap_or_else(PoisonError::into_inner);
    view.failed = Some(error.to_string());
    view.paused = vec![pause];
}

/// Positions that only the distributor knows.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reading {
    /// Lines in applied intents that were not read into lanes yet.
    pub(super) unread_lines: u64,
    pub(super) unanswered_lines: u64,
    pub(super) counting: bool,
    /// Resolved, not read yet, and nothing to deliver.
    pub(super) ahead: Ahead,
    pub(super) head: Lsn,
    pub(super) oldest_ns: i64,
}

/// What stands still, and why.
fn paused(shared: &Shared) -> Vec<PauseView> {
    let now = shared.clock.monotonic();
    let pause = |what: String, shown: Shown| PauseView {
        what,
        code: shown.code.to_owned(),
        reason: shown.reason,
        for_s: now.saturating_sub(shown.since).as_secs(),
    };
    let mut paused = Vec::new();
    if let Some(since_ns) = shared.hold.since_ns() {
        paused.push(Hold::pause(since_ns, shared.clock.wall_ns()));
    }
    if let Some(shown) = shared.pauses.destination() {
        paused.push(pause("destination".to_owned(), shown));
    }
    if let Some(shown) = shared.pauses.behind() {
        paused.push(pause("destination".to_owned(), shown));
    }
    if let Some(shown) = shared.store_fails.borrow().clone() {
        paused.push(pause("delivery waits for the state store".to_owned(), shown));
    }
    if let Some(shown) = shared.pauses.statement() {
        let own = shown.code == "statement";
        let what = if own { "a place waits for a statement" } else { "delivery waits for a statement" };
        paused.push(pause(what.to_owned(), shown));
    }
    for (id, shown) in shared.pauses.targets() {
        paused.push(pause(shared.targets.get(id).target.to_string(), shown));
    }
    paused
}

/// Shows what holds delivery up before there are any figures.
pub(super) fn show_waiting(shared: &Shared, to: &SharedView) {
    to.lock().unwrap_or_else(PoisonError::into_inner).paused = paused(shared);
}

pub(super) fn publish(shared: &Shared, reading: Reading, tally: Tally, saved: Lsn, to: &SharedView) {
    let now = shared.clock.monotonic();
    let lanes = || shared.lanes.iter().map(|lane| lane.borrow());
    let view = View {
        ready: true,
        counting: reading.counting,
        delivered_lines: lanes().map(|lane| lane.delivered).sum(),
        queued_lines: reading.unread_lines
            + shared.aside_lines.get()
            + lanes().map(|lane| lane.lines_waiting()).sum::<u64>(),
        unanswered_lines: reading.unanswered_lines,
        doubt_lines: tally.doubt + reading.ahead.doubt,
        dead_lettered_lines: lanes().map(|lane| lane.dead).sum(),
        excluded_lines: tally.excluded,
        damaged_lines: tally.damaged,
        refused_lines: tally.not_applied + reading.ahead.not_applied,
        gapped_lines: tally.gapped + reading.ahead.gapped,
        changes: changes(&tally.changes),
        excluded: shared.excluded.shown(),
        floor_lsn: lanes().map(|lane| lane.floor().0).min().unwrap_or(0),
        saved_lsn: saved.0,
        head_lsn: reading.head.0,
        oldest_ns: reading.oldest_ns,
        paused: paused(shared),
        holds: shared.regions.views(now),
        failed: None,
        of_late: shared.recent.look(now, OF_LATE),
        sent_bytes: shared.recent.bytes(),
        at_ns: shared.clock.wall_ns(),
        taken: now,
        waited: Duration::ZERO,
    };
    let mut shown = to.lock().unwrap_or_else(PoisonError::into_inner);
    *shown = view.after(&shown);
    gauges(&shown, shared.id.as_str());
}

fn changes(changes: &crate::line::project::Changes) -> Vec<ChangeView> {
    let row = |(change, cells): (crate::line::project::Change, u64)| ChangeView {
        code: change.code().to_owned(),
        why: change.why().to_owned(),
        cells,
    };
    changes.some().map(row).collect()
}

fn gauges(view: &View, id: &str) {
    let set = |name: &'static str, value: f64| metrics::gauge!(name, metric::DESTINATION => id.to_owned()).set(value);
    set(metric::QUEUE_LINES, view.queued_lines as f64);
    set(metric::QUEUE_COUNTING, f64::from(u8::from(view.counting)));
    set(metric::DOUBT_LINES, view.doubt_lines as f64);
    set(metric::PAUSED, if view.paused.is_empty() { 0.0 } else { 1.0 });
    set(metric::QUEUE_RECORDS, view.head_lsn.saturating_sub(view.floor_lsn) as f64);
    set(metric::QUEUE_OLDEST, view.oldest_ns as f64 / 1e9);
    set(metric::LAG, view.oldest_waits(view.taken).as_secs_f64());
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_S: i64 = 86_400;

    /// Looks at this moment, with the clock on the wall set by so much, an oldest record that came then, and a floor.
    fn look(before: &View, at_s: i64, set_by_s: i64, oldest_s: i64, floor_lsn: u64) -> View {
        let (at_ns, oldest_ns) = ((at_s + set_by_s) * 1_000_000_000, oldest_s * 1_000_000_000);
        let taken = Duration::from_secs(at_s as u64);
        View { ready: true, at_ns, taken, oldest_ns, floor_lsn, ..View::default() }.after(before)
    }

    #[test]
    fn a_clock_that_is_set_makes_no_write_wait_longer_or_shorter() {
        let waits = |view: &View| view.oldest_waits(view.taken).as_secs();
        for set_by in [3 * DAY_S, -3 * DAY_S, -100 * 365 * DAY_S] {
            let found = look(&View::default(), 1000, 0, 900, 5);
            assert_eq!((waits(&found), found.oldest_waits(Duration::from_secs(1030)).as_secs()), (100, 130));
            let set = look(&found, 1010, set_by, 900, 5);
            assert_eq!(waits(&set), 110, "the same one");
            let younger = look(&set, 1020, set_by, 1000.min(1000 + set_by), 5);
            assert!(waits(&younger) <= 120 && (set_by > 0 || waits(&younger) == 120), "{younger:?}");
            let next = look(&younger, 1030, set_by, 950, 6);
            assert!(waits(&next) <= 130, "one from before the clock was set: {next:?}");
            let late = look(&next, 1040, set_by, 1035 + set_by, 9);
            assert_eq!(waits(&late), 5, "one from after that");
            let none = look(&late, 1050, set_by, 0, 10);
            assert_eq!(waits(&none), 0);
            assert!(waits(&look(&none, 1053, set_by, 1052, 10)) <= 3, "it came since");
        }
    }
}
