//! Rows that are read back together: of one place and measurement, near in time.

use crate::base::Lsn;
use crate::db::read::Window;
use crate::state::OwedRow;

/// Rows no further apart than this are one group.
const NEAR_NS: i64 = 3_600_000_000_000;

/// Some rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Group {
    /// As the rows have it.
    pub(super) route: String,
    /// `None`: all of the route.
    pub(super) measurement: Option<Vec<u8>>,
    /// First nanosecond of all.
    pub(super) from_ns: i64,
    /// Last nanosecond (inclusive).
    pub(super) to_ns: i64,
    /// Each copy is to be held behind this record.
    pub(super) behind: Lsn,
    pub(super) rows: Vec<OwedRow>,
}

impl Group {
    /// Its times as a query has them.
    pub(super) fn window(&self) -> Window {
        // The last time of all belongs to the end of all time.
        Window { start_ns: self.from_ns, end_ns: self.to_ns.saturating_add(1) }
    }

    pub(super) fn lines(&self) -> u64 {
        self.rows.iter().map(|row| row.lines).sum()
    }

    /// For people.
    pub(super) fn name(&self) -> String {
        let route =
            crate::route::RouteName::from_key(&self.route).map_or_else(|| self.route.clone(), |name| name.to_string());
        match &self.measurement {
            Some(name) => format!("{} of {route}", String::from_utf8_lossy(name)),
            None => format!("all of {route}"),
        }
    }
}

/// Neighbours become one.
pub(super) fn groups(rows: Vec<(OwedRow, Lsn)>) -> Vec<Group> {
    let mut sorted = rows;
    let place = |row: &OwedRow| (row.route.clone(), row.measurement.clone());
    sorted.sort_by_key(|(row, _)| (place(row), row.from_ns));
    let mut groups: Vec<Group> = Vec::new();
    for (row, behind) in sorted {
        match groups.last_mut() {
            Some(last)
                if last.route == row.route
                    && last.measurement == row.measurement
                    && row.from_ns <= last.to_ns.saturating_add(NEAR_NS) =>
            {
                last.to_ns = last.to_ns.max(row.to_ns);
                last.behind = last.behind.max(behind);
                last.rows.push(row);
            }
            _ => groups.push(Group {
                route: row.route.clone(),
                measurement: row.measurement.clone(),
                from_ns: row.from_ns,
                to_ns: row.to_ns,
                behind,
                rows: vec![row],
            }),
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Owed;

    fn row(id: i64, measurement: Option<&str>, from_ns: i64, to_ns: i64) -> OwedRow {
        let measurement = measurement.map(|name| name.as_bytes().to_vec());
        let (route, last_lsn) = ("r".to_owned(), Lsn(id as u64));
        OwedRow { what: Owed::Doubt, id, route, measurement, from_ns, to_ns, lines: 1, last_lsn }
    }

    #[test]
    fn neighbours_of_one_measurement_are_one_and_all_else_is_apart() {
        let far = 10 * NEAR_NS;
        let rows = [
            row(1, Some("m"), far, far + 5),
            row(2, Some("m"), 0, 5),
            row(3, Some("n"), 0, 5),
            row(4, Some("m"), 3, 9),
            row(5, None, 0, 5),
            row(6, Some("m"), NEAR_NS, NEAR_NS + 1),
        ];
        let groups = groups(rows.into_iter().map(|row| (row.clone(), row.last_lsn)).collect());
        let shown: Vec<_> =
            groups.iter().map(|group| (group.from_ns, group.to_ns, group.behind.0, group.rows.len())).collect();
        assert_eq!(shown, [(0, 5, 5, 1), (0, NEAR_NS + 1, 6, 3), (far, far + 5, 1, 1), (0, 5, 3, 1)]);
        assert_eq!((groups[1].lines(), groups[1].window().end_ns), (3, NEAR_NS + 2));
    }

    #[test]
    fn all_time_is_one_group() {
        let all = row(1, None, i64::MIN, i64::MAX);
        let groups = groups(vec![(all, Lsn(1)), (row(2, None, 5, 6), Lsn(2))]);
        assert_eq!((groups.len(), groups[0].window()), (1, Window::ALL));
    }
}
