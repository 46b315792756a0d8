//! Windows of time, and where shard groups cut them.
//!
//! InfluxDB keeps the type of a field per shard group. A query over groups of different types casts values or leaves
//! them out without a word; a window inside one group is exact. So where a field has several types, windows are cut at
//! groups.

use std::collections::BTreeSet;

/// One week, the shard group duration of a policy that keeps its data for ever, nanoseconds.
pub const WEEK_NS: i64 = 604_800 * SECOND_NS;

pub(super) const SECOND_NS: i64 = 1_000_000_000;

/// The first and the last time that InfluxDB stores.
pub(super) const TIME_MIN_NS: i64 = -9_223_372_036_854_775_806;
pub(super) const TIME_MAX_NS: i64 = 9_223_372_036_854_775_806;

/// A span of time: from `start_ns`, up to but not including `end_ns`; nanoseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Window {
    /// The first time inside.
    pub start_ns: i64,
    /// The first time behind it. `i64::MAX` includes the last time that can be stored.
    pub end_ns: i64,
}

impl Window {
    /// All of time.
    pub const ALL: Self = Self { start_ns: i64::MIN, end_ns: i64::MAX };

    /// The part that two windows share; `None` when they share nothing.
    #[must_use]
    pub fn intersection(self, other: Self) -> Option<Self> {
        let both = Self { start_ns: self.start_ns.max(other.start_ns), end_ns: self.end_ns.min(other.end_ns) };
        (both.start_ns < both.end_ns).then_some(both)
    }

    /// The `WHERE` clause of this window with a leading space; empty for all of time.
    pub(super) fn clause(self) -> String {
        let from = (self.start_ns > TIME_MIN_NS).then(|| format!("time >= {}", self.start_ns));
        let to = (self.end_ns <= TIME_MAX_NS).then(|| format!("time < {}", self.end_ns));
        match (from, to) {
            (Some(from), Some(to)) => format!(" WHERE {from} AND {to}"),
            (Some(one), None) | (None, Some(one)) => format!(" WHERE {one}"),
            (None, None) => String::new(),
        }
    }

    /// The same for Flux, which reaches no point at the last time that can be stored.
    pub(super) fn range(self) -> String {
        let (from, to) = (self.start_ns.max(TIME_MIN_NS), self.end_ns.min(TIME_MAX_NS));
        format!("range(start: time(v: {from}), stop: time(v: {to}))")
    }

    /// The same with both ends written out: a query with `GROUP BY time()` that names no end stops at now.
    pub(super) fn bounded_clause(self) -> String {
        let (from, to) = (self.start_ns.max(TIME_MIN_NS), self.end_ns.saturating_sub(1).min(TIME_MAX_NS));
        format!(" WHERE time >= {from} AND time <= {to}")
    }
}

/// The windows between all boundaries of `groups` that some group covers, inside `within`. Groups may overlap: a policy
/// whose shard group duration was changed has such.
pub(super) fn cut(groups: &[Window], within: Window) -> Vec<Window> {
    let edges: BTreeSet<i64> = groups.iter().flat_map(|g| [g.start_ns, g.end_ns]).collect();
    let edges: Vec<i64> = edges.into_iter().collect();
    let mut sorted = groups.to_vec();
    sorted.sort();
    let mut found = Vec::new();
    let mut covered_to = i64::MIN;
    let mut next = 0;
    for pair in edges.windows(2) {
        while next < sorted.len() && sorted[next].start_ns <= pair[0] {
            covered_to = covered_to.max(sorted[next].end_ns);
            next += 1;
        }
        if covered_to >= pair[1] {
            found.extend(Window { start_ns: pair[0], end_ns: pair[1] }.intersection(within));
        }
    }
    found
}

/// Shard groups of one duration start at multiples of it since the year 1, which is how Go counts time.
const YEAR_1_SECONDS: i64 = -62_135_596_800;

/// How far the grid of groups of this duration is shifted from 1970; below the duration, nanoseconds.
pub(super) fn grid_offset_ns(duration_ns: i64) -> i64 {
    let shift = i128::from(YEAR_1_SECONDS) * i128::from(SECOND_NS);
    i64::try_from(shift.rem_euclid(i128::from(duration_ns.max(1)))).unwrap_or(0)
}

/// The shard group that holds `time_ns` where groups span `duration_ns`; cut at the ends of time.
#[must_use]
pub fn shard_group_at(time_ns: i64, duration_ns: i64) -> Window {
    let duration = i128::from(duration_ns.max(1));
    let offset = i128::from(grid_offset_ns(duration_ns));
    let start = (i128::from(time_ns) - offset).div_euclid(duration) * duration + offset;
    Window { start_ns: clamp(start), end_ns: clamp(start + duration) }
}

/// A time that may lie outside what 64 bits hold.
pub(super) fn clamp(time_ns: i128) -> i64 {
    i64::try_from(time_ns).unwrap_or(if time_ns < 0 { i64::MIN } else { i64::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(start_ns: i64, end_ns: i64) -> Window {
        Window { start_ns, end_ns }
    }

    #[test]
    fn clauses_name_only_the_ends_that_cut() {
        assert_eq!(Window::ALL.clause(), "");
        assert_eq!(window(-5, i64::MAX).clause(), " WHERE time >= -5");
        assert_eq!(window(i64::MIN, 7).clause(), " WHERE time < 7");
        assert_eq!(window(1, 7).clause(), " WHERE time >= 1 AND time < 7");
        let all = " WHERE time >= -9223372036854775806 AND time <= 9223372036854775806";
        assert_eq!(Window::ALL.bounded_clause(), all);
    }

    #[test]
    fn windows_are_cut_at_every_boundary_of_a_group() {
        let groups = [window(20, 30), window(0, 10), window(5, 15)];
        let all = [window(0, 5), window(5, 10), window(10, 15), window(20, 30)];
        assert_eq!(cut(&groups, Window::ALL), all);
        assert_eq!(cut(&groups, window(7, 22)), [window(7, 10), window(10, 15), window(20, 22)]);
        assert_eq!(cut(&[], Window::ALL), []);
    }

    #[test]
    fn weekly_groups_start_on_mondays() {
        // 1970-01-05 was a Monday.
        let monday = 345_600 * SECOND_NS;
        assert_eq!(grid_offset_ns(WEEK_NS), monday);
        assert_eq!(shard_group_at(monday, WEEK_NS), window(monday, monday + WEEK_NS));
        assert_eq!(shard_group_at(monday - 1, WEEK_NS), window(monday - WEEK_NS, monday));
        assert_eq!(grid_offset_ns(86_400 * SECOND_NS), 0);
        assert_eq!(shard_group_at(TIME_MAX_NS, WEEK_NS).end_ns, i64::MAX);
        assert_eq!(shard_group_at(TIME_MIN_NS, WEEK_NS).start_ns, i64::MIN);
    }
}
