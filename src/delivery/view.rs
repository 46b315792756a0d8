//! What delivery shows: figures copied out a few times a second, so that whoever reads them never waits for delivery.

use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

use super::Shared;
use super::hold::Hold;
use super::ledger::Tally;
use super::pause::Shown;
use crate::base::{Error, Lsn, metric};
use crate::queue::Ahead;

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
    /// The lowest floor.
    pub floor_lsn: u64,
    /// The last record looked at.
    pub head_lsn: u64,
    /// Arrival of the oldest record that is not delivered, ns; 0 when there is none.
    pub oldest_ns: i64,
    /// What stands still.
    pub paused: Vec<PauseView>,
    /// Why delivery has ended, if it has.
    pub failed: Option<String>,
    /// When these figures were taken, ns.
    pub at_ns: i64,
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

pub(super) fn publish(shared: &Shared, reading: Reading, tally: Tally, to: &SharedView) {
    let now = shared.clock.monotonic();
    let lanes = || shared.lanes.iter().map(|lane| lane.borrow());
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
    for (id, shown) in shared.pauses.targets() {
        paused.push(pause(shared.targets.get(id).target.to_string(), shown));
    }
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
        floor_lsn: lanes().map(|lane| lane.floor().0).min().unwrap_or(0),
        head_lsn: reading.head.0,
        oldest_ns: reading.oldest_ns,
        paused,
        failed: None,
        at_ns: shared.clock.wall_ns(),
    };
    gauges(&view);
    *to.lock().unwrap_or_else(PoisonError::into_inner) = view;
}

fn gauges(view: &View) {
    let set = |name: &'static str, value: f64| metrics::gauge!(name).set(value);
    set(metric::QUEUE_LINES, view.queued_lines as f64);
    set(metric::QUEUE_COUNTING, f64::from(u8::from(view.counting)));
    set(metric::DOUBT_LINES, view.doubt_lines as f64);
    set(metric::DEAD_LINES, view.dead_lettered_lines as f64);
    set(metric::PAUSED, if view.paused.is_empty() { 0.0 } else { 1.0 });
    set(metric::QUEUE_RECORDS, view.head_lsn.saturating_sub(view.floor_lsn) as f64);
    set(metric::QUEUE_OLDEST, view.oldest_ns as f64 / 1e9);
    let lag_ns = if view.oldest_ns == 0 { 0 } else { (view.at_ns - view.oldest_ns).max(0) };
    set(metric::LAG, lag_ns as f64 / 1e9);
}
