//! What a destination has of everything that was accepted: its part of the status, and the sum of all parts.
//!
//! Promise: with one destination the sum is that one. With several each line counts once for each of them, and what stands in no
//! sum of its own (pauses, what is not covered) says of which destination it speaks.

use serde::{Deserialize, Serialize};

use super::backfill::HistoryStatus;
use super::figures::{Figures, Share};
use super::status::{LinesByState, Side, Status, Trouble, Windows, not_covered};
use crate::delivery::{ChangeView, ExcludedView, HoldView, PauseView};
use crate::state::{BYPASS, GapRow, RegionRow, StatementRow, Totals, Window, of_gaps};

/// Where a destination began that others came before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Began {
    /// Behind this record.
    pub lsn: u64,
    /// When, RFC 3339.
    pub at: String,
}

impl Began {
    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        format!("began at record {} on {}; what came before is not there: copy it with backfill", self.lsn, self.at)
    }
}

/// One destination, in the status. Every accepted line is in one of `lines`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DestinationStatus {
    /// Its id.
    pub id: String,
    /// What it is.
    #[serde(flatten)]
    pub side: Side,
    /// Where it began, if not at the beginning of the log.
    pub began: Option<Began>,
    /// What it does not have, in sentences.
    pub not_covered: Vec<String>,
    /// Age of its figures, seconds.
    pub age_s: f64,
    /// Lines by state.
    pub lines: LinesByState,
    /// The times of those that it does not have.
    pub windows: Windows,
    /// Records above its lowest floor.
    pub records: u64,
    /// Age of the oldest line that it has not got, seconds.
    pub oldest_s: f64,
    /// What the queue held for it at the start is still being counted.
    pub counting: bool,
    /// Why its delivery has ended, if it has.
    pub failed: Option<String>,
    /// What stands still.
    pub paused: Vec<PauseView>,
    /// Regions that are copied to it, and that delivery leaves alone meanwhile.
    pub holds: Vec<HoldView>,
    /// The copy of history to it, while one works.
    pub history: Vec<HistoryStatus>,
    /// Cells that are not there what they are at the source, by reason.
    pub changes: Vec<ChangeView>,
    /// Lines that no rule sends there, by route and reason.
    pub excluded: Vec<ExcludedView>,
    /// Refused lines by code.
    pub dead_letters: Vec<Trouble>,
    /// Lines that were dead letters and are none any more, by what became of them.
    pub letters_removed: Vec<Trouble>,
    /// Its words about the newest of them.
    pub dead_letter_reason: Option<String>,
    /// Number of regions to be read back.
    pub dirty_regions: u64,
    /// Those with the most lines in doubt, at most 100.
    pub regions: Vec<RegionRow>,
    /// Gaps by cause.
    pub gaps: Vec<Trouble>,
    /// The newest gaps, at most 100.
    pub gap_rows: Vec<GapRow>,
    /// How many gaps there are.
    pub gap_rows_total: u64,
    /// Of how many of them the lines are not known.
    pub gaps_unknown: u64,
    /// Lines of the gaps that only the gap log has.
    pub gap_log_lines: u64,
    /// Statements that were not carried out there.
    pub statements_not_mirrored: u64,
    /// The newest of them, at most 100.
    pub statements: Vec<StatementRow>,
}

/// Rows that a list holds.
const ROWS_MAX: usize = 100;

impl DestinationStatus {
    pub(super) fn of(share: &Share, side: Side, figures: &Figures) -> Self {
        let (view, totals) = (&share.view, share.totals.clone().unwrap_or_default());
        let windows = Windows::of(&totals);
        let mut gaps = trouble(totals.gaps, &totals.gap_windows);
        let untaken = share.untaken.iter();
        let untaken = untaken.map(|(cause, lines)| Trouble { cause: (*cause).to_owned(), lines: *lines, window: None });
        add_all(&mut gaps, untaken);
        let mut own = Self {
            id: share.id.to_string(),
            side,
            began: share.began.clone(),
            age_s: if view.at_ns == 0 { 0.0 } else { view.age(figures.now).as_secs_f64() },
            lines: LinesByState {
                delivered: view.delivered_lines,
                queued: view.queued_lines,
                doubt: view.doubt_lines,
                dead_lettered: view.dead_lettered_lines,
                // What came around us was never accepted by us.
                gap: gaps.iter().filter(|gap| gap.cause != BYPASS).map(|gap| gap.lines).sum(),
                excluded: view.excluded_lines,
                unanswered: view.unanswered_lines,
            },
            windows,
            records: view.head_lsn.saturating_sub(view.floor_lsn),
            oldest_s: view.oldest_waits(figures.now).as_secs_f64(),
            counting: !view.ready || view.counting,
            failed: view.failed.clone(),
            paused: view.paused.clone(),
            holds: view.holds.clone(),
            history: HistoryStatus::of(share.id.as_str(), &share.history).into_iter().collect(),
            changes: view.changes.clone(),
            excluded: view.excluded.clone(),
            dead_letters: trouble(totals.dead_letters, &totals.letter_windows),
            letters_removed: trouble(totals.letters_removed, &[]),
            dead_letter_reason: totals.dead_letter_reason,
            dirty_regions: totals.dirty_regions,
            regions: totals.regions,
            gap_log_lines: share.untaken.iter().map(|(_, lines)| lines).sum(),
            gaps,
            gap_rows: totals.gap_rows,
            gap_rows_total: totals.gap_rows_total,
            gaps_unknown: totals.gaps_unknown,
            statements_not_mirrored: totals.statements_total,
            statements: totals.statements,
            not_covered: Vec::new(),
        };
        own.not_covered = not_covered(&own, share);
        own
    }
}

fn trouble(rows: Vec<(String, u64)>, windows: &[(String, Window)]) -> Vec<Trouble> {
    let window = |cause: &String| windows.iter().find(|(of, _)| of == cause).map(|(_, window)| *window);
    rows.into_iter().map(|(cause, lines)| Trouble { window: window(&cause), cause, lines }).collect()
}

fn add_all(to: &mut Vec<Trouble>, more: impl IntoIterator<Item = Trouble>) {
    for one in more {
        match to.iter_mut().find(|known| known.cause == one.cause) {
            Some(known) => {
                known.lines += one.lines;
                known.window = Window::both(known.window, one.window);
            }
            None => to.push(one),
        }
    }
}

impl Windows {
    pub(super) fn of(totals: &Totals) -> Self {
        Self {
            doubt: totals.doubt_window,
            dead_lettered: totals.letter_windows.iter().map(|(_, window)| *window).reduce(Window::and),
            gap: of_gaps(&totals.gap_windows),
        }
    }

    fn and(self, other: Self) -> Self {
        Self {
            doubt: Window::both(self.doubt, other.doubt),
            dead_lettered: Window::both(self.dead_lettered, other.dead_lettered),
            gap: Window::both(self.gap, other.gap),
        }
    }
}

impl Status {
    /// Takes what a destination has into the sums. `of`: how its sentences begin, where there are others.
    pub(super) fn add(&mut self, one: &DestinationStatus, of: &str) {
        let DestinationStatus { lines, .. } = one;
        self.lines.delivered += lines.delivered;
        self.lines.queued += lines.queued;
        self.lines.doubt += lines.doubt;
        self.lines.dead_lettered += lines.dead_lettered;
        self.lines.gap += lines.gap;
        self.lines.excluded += lines.excluded;
        // A write without an answer is none of anybody's yet.
        self.lines.unanswered = self.lines.unanswered.max(lines.unanswered);
        self.windows = self.windows.and(one.windows);
        self.age_s = self.age_s.max(one.age_s);
        self.not_covered.extend(one.not_covered.iter().map(|text| format!("{of}{text}")));
        self.paused
            .extend(one.paused.iter().map(|pause| PauseView { what: format!("{of}{}", pause.what), ..pause.clone() }));
        for change in &one.changes {
            match self.changes.iter_mut().find(|known| known.code == change.code) {
                Some(known) => known.cells += change.cells,
                None => self.changes.push(change.clone()),
            }
        }
        self.holds.extend(one.holds.iter().cloned());
        self.history.extend(one.history.iter().cloned());
        take(&mut self.excluded, &one.excluded);
        add_all(&mut self.dead_letters, one.dead_letters.iter().cloned());
        add_all(&mut self.letters_removed, one.letters_removed.iter().cloned());
        add_all(&mut self.gaps, one.gaps.iter().cloned());
        self.dead_letter_reason =
            self.dead_letter_reason.take().or_else(|| one.dead_letter_reason.as_ref().map(|why| format!("{of}{why}")));
        self.dirty_regions += one.dirty_regions;
        self.gap_rows_total += one.gap_rows_total;
        self.gaps_unknown += one.gaps_unknown;
        self.gap_log_lines += one.gap_log_lines;
        self.statements_not_mirrored += one.statements_not_mirrored;
        take(&mut self.regions, &one.regions);
        take(&mut self.gap_rows, &one.gap_rows);
        take(&mut self.statements, &one.statements);
    }

    /// The status as if this were the only destination, for whoever shows it.
    pub(super) fn of_one(&self, one: &DestinationStatus) -> Self {
        let mut own = Self { queue: self.queue.clone(), facts: self.facts.clone(), ..Self::default() };
        own.queue.counting = one.counting;
        own.add(one, "");
        own
    }
}

fn take<T: Clone>(to: &mut Vec<T>, from: &[T]) {
    to.extend(from.iter().take(ROWS_MAX.saturating_sub(to.len())).cloned());
}
