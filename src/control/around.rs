//! Writes that come to the source around us, as they are shown.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::status::{Status, Trouble, on_screen};
use crate::base::clock::rfc3339;
use crate::state::BYPASS;

/// Places that a screen shows.
const SHOWN: usize = 5;

/// The search for them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchedWrites {
    /// `watching`, `starting` (also while writes of a former process may still arrive), `waiting` (the source does not answer), `off`.
    pub state: String,
    /// Why it is off or waits.
    pub why: Option<String>,
    /// Points that were found since the start.
    pub points: u64,
    /// Where, the latest last; at most 20.
    pub places: Vec<AroundPlace>,
}

/// A place of the source to which points come around us.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AroundPlace {
    /// Database or bucket.
    pub place: String,
    /// Points since the start, at least.
    pub points: u64,
    /// A minute, about, when it was last seen.
    pub per_minute: u64,
    /// When it was last seen, ns.
    pub last_ns: i64,
}

/// All that are on record.
pub(super) fn points(gaps: &[Trouble]) -> u64 {
    gaps.iter().filter(|gap| gap.cause == BYPASS).map(|gap| gap.lines).sum()
}

/// What that means for the copy.
pub(super) fn not_covered(gaps: &[Trouble]) -> Option<String> {
    let points = points(gaps);
    let what = "points came to the source around Twinline, are not copied, and block a cutover";
    (points > 0).then(|| format!("{points} {what}"))
}

/// Lines of the screen.
pub(super) fn show(out: &mut String, status: &Status) {
    let rows: Vec<_> = status.gap_rows.iter().filter(|row| row.cause == BYPASS).collect();
    // Writing to a String does not fail.
    for row in rows.iter().take(SHOWN) {
        let (from, to) = (rfc3339(row.from_ns), rfc3339(row.to_ns));
        let (place, points) = (on_screen(&row.route), row.lines.unwrap_or_default());
        let rate = status.facts.around.places.iter().find(|one| one.place == row.route);
        let rate = rate.map(|one| format!(", lately about {} a minute", one.per_minute)).unwrap_or_default();
        let _ = writeln!(
            out,
            "! AROUND at least {points} points came to {place} other than through Twinline, {from} to {to}{rate}"
        );
    }
    if let Some(more) = rows.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        let _ = writeln!(out, "  and {more} more places (twinline status -o json)");
    }
    if !rows.is_empty() {
        let what =
            "from inside it (continuous queries, tasks, listeners) or from clients that write to its own address";
        let _ = writeln!(out, "         {what}: see twinline inventory");
    }
    let watch = &status.facts.around;
    if let Some(why) = watch.why.as_ref().filter(|_| watch.state == "off") {
        let _ = writeln!(
            out,
            "  AROUND writes that come to the source around Twinline are not looked for: {}",
            on_screen(why)
        );
    }
}
