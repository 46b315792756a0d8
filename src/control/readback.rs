//! What is read back from the source: how far that is, and what came of it.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use super::figures::Share;
use super::status::on_screen;
use crate::backfill::readback::{ReadBackView, ReadBackWait};
use crate::state::{GAPS_READ_BACK, ReadBackSum};

/// What waits that a screen shows.
const WAITS_SHOWN: usize = 3;

/// Of one destination, in the status.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReadBackStatus {
    /// What it does.
    #[serde(flatten)]
    pub view: ReadBackView,
    /// What is not missing any more, by kind and fate.
    pub done: Vec<ReadBackSum>,
}

impl ReadBackStatus {
    pub(super) fn of(share: &Share) -> Self {
        let done = share.totals.as_ref().map(|totals| totals.read_back.clone()).unwrap_or_default();
        Self { view: share.read_back.clone(), done }
    }

    /// Lines of what was in doubt, or in gaps, and is not any more.
    pub(super) fn lines(&self, what: &str) -> u64 {
        self.done.iter().filter(|sum| sum.what == what).map(|sum| sum.lines).sum()
    }

    /// Takes in that of another destination.
    pub(super) fn add(&mut self, other: &Self) {
        let (own, more) = (&mut self.view, &other.view);
        own.enabled |= more.enabled;
        own.now = if own.now.is_empty() { more.now.clone() } else { std::mem::take(&mut own.now) };
        own.waits = own.waits.take().or_else(|| more.waits.clone());
        (own.unripe, own.rows) = (own.unripe + more.unripe, own.rows + more.rows);
        (own.parts, own.points) = (own.parts + more.parts, own.points + more.points);
        own.waiting.extend(more.waiting.iter().cloned());
        for sum in &other.done {
            match self.done.iter_mut().find(|known| (&known.what, &known.fate) == (&sum.what, &sum.fate)) {
                Some(known) => (known.rows, known.lines) = (known.rows + sum.rows, known.lines + sum.lines),
                None => self.done.push(sum.clone()),
            }
        }
    }

    /// For a screen.
    pub(super) fn render(&self, out: &mut String) {
        let ReadBackView { now, waits, unripe, rows, waiting, .. } = &self.view;
        // Writing to a String does not fail.
        if *rows > 0 || waits.is_some() {
            let what = match (waits, now.is_empty()) {
                (Some(why), _) => format!("waits: {}", on_screen(why)),
                (None, false) => format!("now {}", on_screen(now)),
                (None, true) if unripe == rows => "a request may still take effect at the source".to_owned(),
                (None, true) => "waits for its turn".to_owned(),
            };
            let _ = writeln!(out, "  READ BACK  {rows} regions and gaps, {unripe} of them not yet · {what}");
        }
        for ReadBackWait { what, lines, why } in waiting.iter().take(WAITS_SHOWN) {
            let _ = writeln!(out, "    waits: {lines} lines, {}: {}", on_screen(what), on_screen(why));
        }
        for ReadBackSum { what, fate, rows, lines } in &self.done {
            let _ = writeln!(out, "  read back, no {what} any more: {lines} lines of {rows} rows ({fate})");
        }
    }
}

/// Whether gaps of this cause are read back by themselves.
pub(super) fn is_read_back(cause: &str) -> bool {
    GAPS_READ_BACK.contains(&cause)
}
