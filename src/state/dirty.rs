//! Dirty regions: what must be read back from the source, in few rows.
//!
//! Promises: a region is never forgotten, only made larger: neighbours in time become one; beyond the configured number
//! hours become days, days a whole measurement, measurements a whole route, and routes everything. Writing the same record's
//! regions again changes no line counts. Rows that are being read back ([`super::readback`]) stay as they are.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};

use super::DirtyRegion;

/// Regions that a list shows, those with the most lines first.
pub(super) const LISTED_MAX: usize = 100;
const DAY_NS: i64 = 86_400_000_000_000;

/// A dirty region as it is listed. An empty measurement stands for the whole route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegionRow {
    /// Route as text; `*` for all of them.
    pub route: String,
    /// Measurement; bytes that are not UTF-8 are replaced.
    pub measurement: String,
    /// First nanosecond.
    pub from_ns: i64,
    /// Last nanosecond (inclusive).
    pub to_ns: i64,
    /// Lines in doubt that made it dirty.
    pub lines: u64,
    /// Why, joined by commas.
    pub causes: String,
}

/// Whose data: name of the route; measurement.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    route_name: String,
    measurement: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    place: Place,
    from_ns: i64,
    to_ns: i64,
    first_lsn: u64,
    last_lsn: u64,
    causes: String,
    lines: u64,
}

/// How large regions are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coarse {
    Days,
    Measurements,
    Routes,
    Everything,
}

const STEPS: [Coarse; 4] = [Coarse::Days, Coarse::Measurements, Coarse::Routes, Coarse::Everything];

impl Row {
    fn absorb(&mut self, other: &Self) {
        self.from_ns = self.from_ns.min(other.from_ns);
        self.to_ns = self.to_ns.max(other.to_ns);
        self.first_lsn = self.first_lsn.min(other.first_lsn);
        self.last_lsn = self.last_lsn.max(other.last_lsn);
        self.lines = self.lines.saturating_add(other.lines);
        self.causes = union(&self.causes, &other.causes);
    }

    fn touches(&self, other: &Self) -> bool {
        self.from_ns.saturating_sub(1) <= other.to_ns && other.from_ns.saturating_sub(1) <= self.to_ns
    }
}

/// Both lists of causes as one, sorted.
fn union(left: &str, right: &str) -> String {
    let mut causes: Vec<&str> = left.split(',').chain(right.split(',')).filter(|cause| !cause.is_empty()).collect();
    causes.sort_unstable();
    causes.dedup();
    causes.join(",")
}

/// Writes regions; at most `max` rows are left.
pub(super) fn write(tx: &Connection, destination: &str, regions: &[DirtyRegion], max: usize) -> rusqlite::Result<()> {
    let Some(last) = regions.iter().map(|region| region.lsns.1.0).max() else { return Ok(()) };
    // Records come in log order: what lies at or below the last one seen was counted before a crash took the floor back.
    let seen: Option<u64> = tx
        .prepare_cached("SELECT last_lsn FROM dirty_seen WHERE destination = ?1")?
        .query_row([destination], |row| row.get(0))
        .optional()?;
    for region in regions {
        let counted = seen.is_some_and(|seen| region.lsns.1.0 <= seen);
        insert(tx, destination, row_of(region, counted))?;
    }
    tx.prepare_cached(
        "INSERT INTO dirty_seen VALUES (?1, ?2) ON CONFLICT DO UPDATE SET last_lsn = max(last_lsn, excluded.last_lsn)",
    )?
    .execute(params![destination, last])?;
    let rows: usize = tx
        .prepare_cached("SELECT count(*) FROM dirty_region WHERE destination = ?1 AND sealed = 0")?
        .query_row([destination], |row| row.get(0))?;
    if rows > max {
        coarsen(tx, destination, max)?;
    }
    Ok(())
}

fn row_of(region: &DirtyRegion, counted: bool) -> Row {
    Row {
        place: Place { route_name: region.route_name.clone(), measurement: region.measurement.clone() },
        from_ns: region.from_ns,
        to_ns: region.to_ns,
        first_lsn: region.lsns.0.0,
        last_lsn: region.lsns.1.0,
        causes: region.cause.to_owned(),
        lines: if counted { 0 } else { region.lines },
    }
}

/// Adds a row, or makes the one larger that it touches.
fn insert(tx: &Connection, destination: &str, mut row: Row) -> rusqlite::Result<()> {
    let everything = ("*", b"".as_slice());
    let near = tx
        .prepare_cached(
            "SELECT rowid, route_name, measurement, from_ns, to_ns, first_lsn, last_lsn, causes, lines
             FROM dirty_region WHERE destination = ?1 AND sealed = 0 AND from_ns <= ?2 AND to_ns >= ?3
             AND ((route_name = ?4 AND measurement IN (?5, ?6)) OR route_name = ?7)",
        )?
        .query_map(
            params![
                destination,
                row.to_ns.saturating_add(1),
                row.from_ns.saturating_sub(1),
                row.place.route_name,
                row.place.measurement,
                everything.1,
                everything.0
            ],
            |found| Ok((found.get::<_, i64>(0)?, read_row(found, 1)?)),
        )?
        .collect::<rusqlite::Result<Vec<(i64, Row)>>>()?;
    // A larger region that holds it already only counts its lines; rows of the same place that it touches become one.
    let holds = |wide: &Row| wide.place != row.place && wide.from_ns <= row.from_ns && wide.to_ns >= row.to_ns;
    let gone: Vec<&(i64, Row)> = match near.iter().find(|(_, wide)| holds(wide)) {
        Some(wide) => {
            row.place = wide.1.place.clone();
            vec![wide]
        }
        None => near.iter().filter(|(_, same)| same.place == row.place).collect(),
    };
    for (id, other) in gone {
        row.absorb(other);
        tx.prepare_cached("DELETE FROM dirty_region WHERE rowid = ?1")?.execute([id])?;
    }
    put(tx, destination, &row)
}

fn put(tx: &Connection, destination: &str, row: &Row) -> rusqlite::Result<()> {
    let sql = "INSERT INTO dirty_region
               (destination, route_name, measurement, from_ns, to_ns, first_lsn, last_lsn, causes, lines)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
    let Row { place, from_ns, to_ns, first_lsn, last_lsn, causes, lines } = row;
    let Place { route_name, measurement } = place;
    tx.prepare_cached(sql)?.execute(params![
        destination,
        route_name,
        measurement,
        from_ns,
        to_ns,
        first_lsn,
        last_lsn,
        causes,
        i64::try_from(*lines).unwrap_or(i64::MAX)
    ])?;
    Ok(())
}

fn read_row(row: &rusqlite::Row<'_>, at: usize) -> rusqlite::Result<Row> {
    Ok(Row {
        place: Place { route_name: row.get(at)?, measurement: row.get(at + 1)? },
        from_ns: row.get(at + 2)?,
        to_ns: row.get(at + 3)?,
        first_lsn: row.get(at + 4)?,
        last_lsn: row.get(at + 5)?,
        causes: row.get(at + 6)?,
        lines: row.get(at + 7)?,
    })
}

/// Makes regions larger until half of the allowed number is left, so that this is rare.
fn coarsen(tx: &Connection, destination: &str, max: usize) -> rusqlite::Result<()> {
    let mut rows = tx
        .prepare_cached(
            "SELECT route_name, measurement, from_ns, to_ns, first_lsn, last_lsn, causes, lines
             FROM dirty_region WHERE destination = ?1 AND sealed = 0",
        )?
        .query_map([destination], |row| read_row(row, 0))?
        .collect::<rusqlite::Result<Vec<Row>>>()?;
    let before = rows.len();
    for step in STEPS {
        if rows.len() <= max / 2 {
            break;
        }
        rows = coarser(rows, step);
    }
    tracing::warn!(event = "state.dirty_regions", before, after = rows.len(), "regions to be read back were merged");
    tx.execute("DELETE FROM dirty_region WHERE destination = ?1 AND sealed = 0", [destination])?;
    rows.iter().try_for_each(|row| put(tx, destination, row))
}

fn coarser(rows: Vec<Row>, step: Coarse) -> Vec<Row> {
    let mut by_place: BTreeMap<Place, Vec<Row>> = BTreeMap::new();
    for mut row in rows {
        match step {
            Coarse::Days => {
                row.from_ns = row.from_ns.div_euclid(DAY_NS).saturating_mul(DAY_NS);
                let day = row.to_ns.div_euclid(DAY_NS);
                row.to_ns = day.saturating_add(1).saturating_mul(DAY_NS).saturating_sub(1).max(row.to_ns);
            }
            Coarse::Measurements => {}
            Coarse::Routes => row.place.measurement.clear(),
            Coarse::Everything => {
                row.place = Place { route_name: "*".to_owned(), measurement: Vec::new() };
            }
        }
        by_place.entry(row.place.clone()).or_default().push(row);
    }
    let mut merged: Vec<Row> = Vec::new();
    for mut rows in by_place.into_values() {
        rows.sort_by_key(|row| row.from_ns);
        for row in rows {
            match merged.last_mut() {
                Some(last) if last.place == row.place && (step != Coarse::Days || last.touches(&row)) => {
                    last.absorb(&row);
                }
                _ => merged.push(row),
            }
        }
    }
    merged
}

/// The regions of a destination, those with the most lines first, at most [`LISTED_MAX`].
pub(super) fn list(tx: &Connection, destination: &str) -> rusqlite::Result<Vec<RegionRow>> {
    let mut statement = tx.prepare_cached(
        "SELECT route_name, measurement, from_ns, to_ns, lines, causes FROM dirty_region WHERE destination = ?1
         ORDER BY lines DESC, route_name, measurement, from_ns LIMIT ?2",
    )?;
    let rows = statement.query_map(params![destination, LISTED_MAX], |row| {
        Ok(RegionRow {
            route: row.get(0)?,
            measurement: String::from_utf8_lossy(&row.get::<_, Vec<u8>>(1)?).into_owned(),
            from_ns: row.get(2)?,
            to_ns: row.get(3)?,
            lines: row.get(4)?,
            causes: row.get(5)?,
        })
    })?;
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Lsn;
    use crate::state::schema;

    const HOUR_NS: i64 = 3_600_000_000_000;

    fn store() -> Connection {
        let mut connection = Connection::open_in_memory().unwrap();
        schema::prepare(&mut connection).unwrap();
        connection
    }

    fn region(route: u32, measurement: &str, hour: i64, lsn: u64, cause: &'static str) -> DirtyRegion {
        DirtyRegion {
            route_name: route.to_string(),
            measurement: measurement.as_bytes().to_vec(),
            from_ns: hour * HOUR_NS,
            to_ns: (hour + 1) * HOUR_NS - 1,
            lsns: (Lsn(lsn), Lsn(lsn)),
            cause,
            lines: 2,
        }
    }

    fn shown(tx: &Connection) -> Vec<(String, i64, i64, u64, String)> {
        let mut rows: Vec<_> = list(tx, "main")
            .unwrap()
            .into_iter()
            .map(|r| (r.measurement, r.from_ns / HOUR_NS, (r.to_ns + 1) / HOUR_NS, r.lines, r.causes))
            .collect();
        rows.sort();
        rows
    }

    #[test]
    fn neighbours_become_one_and_a_repetition_counts_no_line_twice() {
        let tx = store();
        let first = [region(1, "m", 1, 5, "crash"), region(1, "m", 2, 5, "crash"), region(1, "n", 1, 5, "crash")];
        let second = [region(1, "m", 3, 6, "overlap"), region(1, "m", 9, 6, "overlap")];
        for _ in 0..2 {
            write(&tx, "main", &first, 100).unwrap();
            write(&tx, "main", &second, 100).unwrap();
            let m = ("m".to_owned(), 1, 4, 6, "crash,overlap".to_owned());
            let far = ("m".to_owned(), 9, 10, 2, "overlap".to_owned());
            assert_eq!(shown(&tx), [m, far, ("n".to_owned(), 1, 2, 2, "crash".to_owned())]);
        }
        assert_eq!(list(&tx, "other").unwrap(), []);
    }

    #[test]
    fn beyond_the_bound_regions_grow_and_none_is_lost() {
        let everything: Vec<DirtyRegion> = (0..40).map(|at| region(1, "m", at * 2, 5, "crash")).collect();
        for (max, rows, route) in [(10, 4, "1"), (2, 1, "1")] {
            let tx = store();
            write(&tx, "main", &everything, max).unwrap();
            let list = list(&tx, "main").unwrap();
            assert!(list.len() <= rows && list.iter().all(|row| row.route == route), "{list:?}");
            assert_eq!(list.iter().map(|row| row.lines).sum::<u64>(), 80);
            let held = |at: i64| list.iter().any(|r| r.from_ns <= at && r.to_ns >= at + HOUR_NS - 1);
            assert!((0..40).all(|at| held(at * 2 * HOUR_NS)), "{list:?}");
        }
        let tx = store();
        let many: Vec<DirtyRegion> = (0..30).map(|at| region(at % 10, &format!("m{at}"), 5, 5, "crash")).collect();
        write(&tx, "main", &many, 20).unwrap();
        assert_eq!(list(&tx, "main").unwrap().len(), 10, "one for each route");
        write(&tx, "main", &many, 5).unwrap();
        let one = list(&tx, "main").unwrap();
        assert_eq!((one.len(), one[0].route.as_str(), one[0].lines), (1, "*", 60));
        write(&tx, "main", &[region(3, "m3", 5, 8, "reset")], 5).unwrap();
        assert_eq!(list(&tx, "main").unwrap().len(), 1, "a wide region holds what lies in it");
    }

    #[test]
    fn all_time_is_a_region_too() {
        let tx = store();
        let all = DirtyRegion { from_ns: i64::MIN, to_ns: i64::MAX, ..region(1, "", 0, 5, "crash") };
        write(&tx, "main", &[all, region(1, "m", 3, 5, "crash")], 100).unwrap();
        let rows = list(&tx, "main").unwrap();
        assert_eq!((rows.len(), rows[0].lines, rows[0].from_ns, rows[0].to_ns), (1, 4, i64::MIN, i64::MAX));
        let row = |region: &DirtyRegion| row_of(region, false);
        let edges = vec![
            row(&region(1, "m", 0, 1, "x")),
            Row { from_ns: i64::MIN, to_ns: i64::MAX, ..row(&region(1, "m", 0, 1, "x")) },
        ];
        let days = coarser(edges, Coarse::Days);
        assert_eq!((days.len(), days[0].from_ns, days[0].to_ns), (1, i64::MIN, i64::MAX));
    }
}
