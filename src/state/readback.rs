//! What is to be read back from the source: regions in doubt, and gaps whose times are known; and what became of it.
//!
//! Promises: a row that somebody reads back is sealed: what comes later makes a row of its own, so that a row which is cleared holds
//! nothing that came after it was sealed. What is cleared is counted for ever, in the same transaction. A gap of records may grow in its
//! place; it is cleared only as it was when it was read.

use rusqlite::{Connection, params};

use super::ROUTE_BACKLOG;
use crate::base::Lsn;

/// Sealed rows, and how many lines of which kind were read back.
pub(super) const TABLES: &str = "
ALTER TABLE dirty_region ADD COLUMN sealed INTEGER NOT NULL DEFAULT 0;
CREATE TABLE gap_sealed (
  id INTEGER PRIMARY KEY, destination TEXT NOT NULL, route INTEGER, route_name TEXT NOT NULL, cause TEXT NOT NULL,
  from_ns INTEGER NOT NULL, to_ns INTEGER NOT NULL, lines INTEGER NOT NULL,
  first_lsn INTEGER NOT NULL, last_lsn INTEGER NOT NULL, sealed INTEGER NOT NULL DEFAULT 0,
  UNIQUE (destination, route_name, cause, first_lsn, last_lsn, sealed));
INSERT INTO gap_sealed
  SELECT id, destination, route, route_name, cause, from_ns, to_ns, lines, first_lsn, last_lsn, 0 FROM gap;
DROP TABLE gap;
ALTER TABLE gap_sealed RENAME TO gap;
CREATE TABLE read_back (
  destination TEXT NOT NULL, fate TEXT NOT NULL, rows INTEGER NOT NULL, lines INTEGER NOT NULL,
  PRIMARY KEY (destination, fate)) WITHOUT ROWID;
";

/// Gaps that hold all the times of their points: these are read back. Of all others only the times of arrival are known, or none.
pub const GAPS_READ_BACK: [&str; 5] = ["queue-full", "queue-faulted", "queue-stalled", "line-too-long", ROUTE_BACKLOG];

/// What a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Owed {
    /// A region in doubt.
    Doubt,
    /// A gap.
    Gap,
}

/// A row that is to be read back, as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OwedRow {
    /// What it is.
    pub what: Owed,
    /// Names it among those of its kind.
    pub id: i64,
    /// Canonical text of the route, or of gaps the text that people see; `*` for all.
    pub route: String,
    /// Unescaped; `None` for all of the route.
    pub measurement: Option<Vec<u8>>,
    /// First nanosecond.
    pub from_ns: i64,
    /// Last nanosecond (inclusive).
    pub to_ns: i64,
    /// Lines that are, or may be, missing.
    pub lines: u64,
    /// The last record in it; zero where there is none.
    pub last_lsn: Lsn,
}

/// What became of what was owed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cleared {
    /// Copied from the source.
    Copied,
    /// No rule sends its route to the destination any more.
    Unmapped,
    /// The source has the database, policy or bucket no more.
    Gone,
}

impl Cleared {
    /// As the table and documents have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Copied => "copied",
            Self::Unmapped => "unmapped",
            Self::Gone => "gone",
        }
    }
}

/// Lines that were read back, of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ReadBackSum {
    /// `doubt` or `gap`.
    pub what: String,
    /// What became of them: `copied`, `unmapped`, `gone`.
    pub fate: String,
    /// Regions or gaps.
    pub rows: u64,
    /// Lines.
    pub lines: u64,
}

const fn name_of(what: Owed) -> &'static str {
    match what {
        Owed::Doubt => "doubt",
        Owed::Gap => "gap",
    }
}

/// Seals rows until so many are, and lists all that are to be read back.
pub(super) fn seal(tx: &Connection, destination: &str, most: usize) -> rusqlite::Result<Vec<OwedRow>> {
    let sealed: usize = tx
        .prepare_cached("SELECT count(*) FROM dirty_region WHERE destination = ?1 AND sealed > 0")?
        .query_row([destination], |row| row.get(0))?;
    tx.prepare_cached(
        "UPDATE dirty_region SET sealed = 1 WHERE rowid IN
           (SELECT rowid FROM dirty_region WHERE destination = ?1 AND sealed = 0 ORDER BY rowid LIMIT ?2)",
    )?
    .execute(params![destination, most.saturating_sub(sealed)])?;
    let sealed: usize = tx
        .prepare_cached("SELECT count(*) FROM gap WHERE destination = ?1 AND sealed > 0")?
        .query_row([destination], |row| row.get(0))?;
    // A gap of records grows where it is found by them.
    let causes = GAPS_READ_BACK.map(|cause| format!("'{cause}'")).join(", ");
    tx.prepare_cached(&format!(
        "UPDATE gap SET sealed = id WHERE id IN (SELECT id FROM gap WHERE destination = ?1 AND sealed = 0
           AND cause IN ({causes}) AND first_lsn = 0 ORDER BY id LIMIT ?2)"
    ))?
    .execute(params![destination, most.saturating_sub(sealed)])?;
    let mut rows = dirty(tx, destination)?;
    let mut gaps = tx.prepare_cached(&format!(
        "SELECT id, route_name, from_ns, to_ns, lines, last_lsn FROM gap WHERE destination = ?1 AND cause IN ({causes})
           AND (sealed > 0 OR first_lsn > 0) ORDER BY id LIMIT ?2"
    ))?;
    let gaps = gaps.query_map(params![destination, most], |row| {
        Ok(OwedRow {
            what: Owed::Gap,
            id: row.get(0)?,
            route: row.get(1)?,
            measurement: None,
            from_ns: row.get(2)?,
            to_ns: row.get(3)?,
            lines: row.get(4)?,
            last_lsn: Lsn(row.get(5)?),
        })
    })?;
    for gap in gaps {
        rows.push(gap?);
    }
    Ok(rows)
}

fn dirty(tx: &Connection, destination: &str) -> rusqlite::Result<Vec<OwedRow>> {
    let mut statement = tx.prepare_cached(
        "SELECT rowid, route_name, measurement, from_ns, to_ns, lines, last_lsn FROM dirty_region
         WHERE destination = ?1 AND sealed > 0 ORDER BY rowid",
    )?;
    let rows = statement.query_map([destination], |row| {
        let measurement: Vec<u8> = row.get(2)?;
        Ok(OwedRow {
            what: Owed::Doubt,
            id: row.get(0)?,
            route: row.get(1)?,
            measurement: (!measurement.is_empty()).then_some(measurement),
            from_ns: row.get(3)?,
            to_ns: row.get(4)?,
            lines: row.get(5)?,
            last_lsn: Lsn(row.get(6)?),
        })
    })?;
    rows.collect()
}

/// Removes rows that are as they were, and counts them; those that were.
pub(super) fn clear(
    tx: &Connection,
    destination: &str,
    rows: &[OwedRow],
    cleared: Cleared,
) -> rusqlite::Result<Vec<OwedRow>> {
    let mut gone = Vec::new();
    for row in rows {
        let sql = match row.what {
            Owed::Doubt => {
                "DELETE FROM dirty_region WHERE destination = ?1 AND rowid = ?2 AND lines = ?3 AND last_lsn = ?4 AND sealed > 0"
            }
            Owed::Gap => "DELETE FROM gap WHERE destination = ?1 AND id = ?2 AND lines = ?3 AND last_lsn = ?4",
        };
        if tx.prepare_cached(sql)?.execute(params![destination, row.id, row.lines, row.last_lsn.0])? == 0 {
            continue;
        }
        let fate = format!("{} {}", name_of(row.what), cleared.name());
        let sql = "INSERT INTO read_back VALUES (?1, ?2, 1, ?3)
                   ON CONFLICT DO UPDATE SET rows = rows + 1, lines = lines + excluded.lines";
        tx.prepare_cached(sql)?.execute(params![destination, fate, row.lines])?;
        gone.push(row.clone());
    }
    Ok(gone)
}

/// How many were, ever.
pub(super) fn sums(tx: &Connection, destination: &str) -> rusqlite::Result<Vec<ReadBackSum>> {
    let mut statement =
        tx.prepare_cached("SELECT fate, rows, lines FROM read_back WHERE destination = ?1 ORDER BY fate")?;
    let rows = statement.query_map([destination], |row| {
        let name: String = row.get(0)?;
        let (what, fate) = name.split_once(' ').unwrap_or((&name, ""));
        Ok(ReadBackSum { what: what.to_owned(), fate: fate.to_owned(), rows: row.get(1)?, lines: row.get(2)? })
    })?;
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::DestinationId;
    use crate::state::{DirtyRegion, Effects, Gap, SqliteState, State};

    fn open(dir: &tempfile::TempDir) -> (SqliteState, DestinationId) {
        (SqliteState::open(&dir.path().join("state.db")).unwrap(), DestinationId::parse("main").unwrap())
    }

    fn region(from_ns: i64, lsn: u64, lines: u64) -> DirtyRegion {
        DirtyRegion {
            route_name: "r".into(),
            measurement: b"m".to_vec(),
            from_ns,
            to_ns: from_ns + 9,
            lsns: (Lsn(lsn), Lsn(lsn)),
            cause: "reset",
            lines,
        }
    }

    fn gap(cause: &'static str, lines: u64, lsns: Option<(u64, u64)>) -> Gap {
        let lsns = lsns.map(|(first, last)| (Lsn(first), Lsn(last)));
        Gap { route: None, route_name: "r".into(), from_ns: 3, to_ns: 4, lines, lsns, cause }
    }

    fn doubt(state: &SqliteState, id: &DestinationId, region: DirtyRegion) {
        state.record(id, Effects { dirty: vec![region], ..Effects::default() }).wait().unwrap();
    }

    #[test]
    fn what_comes_after_a_row_was_sealed_is_not_cleared_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let (state, id) = open(&dir);
        doubt(&state, &id, region(0, 5, 2));
        state.add_gap(&id, gap("queue-full", 10, None)).wait().unwrap();
        let sealed = state.seal(&id, 100).wait().unwrap();
        assert_eq!(
            sealed.iter().map(|row| (row.what, row.lines)).collect::<Vec<_>>(),
            [(Owed::Doubt, 2), (Owed::Gap, 10)]
        );
        // The same times: the first would have become larger.
        doubt(&state, &id, region(0, 6, 1));
        state.add_gap(&id, gap("queue-full", 4, None)).wait().unwrap();
        let totals = state.totals(&id).wait().unwrap();
        assert_eq!((totals.dirty_regions, totals.gaps), (2, vec![("queue-full".to_owned(), 14)]));
        assert_eq!(state.clear_owed(&id, sealed.clone(), Cleared::Copied).wait().unwrap(), sealed);
        let totals = state.totals(&id).wait().unwrap();
        assert_eq!((totals.dirty_regions, totals.regions[0].lines), (1, 1), "what came later stays");
        assert_eq!(totals.gaps, [("queue-full".to_owned(), 4)]);
        assert_eq!(state.clear_owed(&id, sealed, Cleared::Copied).wait().unwrap(), [], "once");
        let sum = |what: &str, lines| ReadBackSum { what: what.into(), fate: "copied".into(), rows: 1, lines };
        assert_eq!(totals.read_back, [sum("doubt", 2), sum("gap", 10)]);
        drop(state);
        let (state, id) = open(&dir);
        assert_eq!(state.seal(&id, 100).wait().unwrap().len(), 2, "and is sealed in its turn");
    }

    #[test]
    fn a_gap_of_records_that_has_grown_stays_and_one_without_times_is_not_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let (state, id) = open(&dir);
        let write = |gap: Gap| state.record(&id, Effects { gaps: vec![gap], ..Effects::default() }).wait().unwrap();
        write(gap(ROUTE_BACKLOG, 10, Some((20, 30))));
        state.add_gap(&id, gap("undecodable", 1, None)).wait().unwrap();
        write(gap("log-damage", 1, Some((1, 2))));
        let rows = state.seal(&id, 100).wait().unwrap();
        assert_eq!(rows.iter().map(|row| (row.lines, row.last_lsn)).collect::<Vec<_>>(), [(10, Lsn(30))]);
        write(gap(ROUTE_BACKLOG, 15, Some((20, 35))));
        assert_eq!(state.clear_owed(&id, rows, Cleared::Copied).wait().unwrap(), []);
        let rows = state.seal(&id, 100).wait().unwrap();
        assert_eq!((rows.len(), rows[0].lines), (1, 15), "found by its records it is one row");
        assert_eq!(state.clear_owed(&id, rows, Cleared::Gone).wait().unwrap().len(), 1);
        assert_eq!(state.totals(&id).wait().unwrap().gaps.len(), 2);
    }

    #[test]
    fn no_more_than_so_many_are_sealed_and_all_others_stay_few() {
        let dir = tempfile::tempdir().unwrap();
        let state = SqliteState::open(&dir.path().join("state.db")).unwrap().with_dirty_regions_max(10);
        let id = DestinationId::parse("main").unwrap();
        for at in 0..6 {
            doubt(&state, &id, region(at * 100, at as u64 + 1, 1));
        }
        assert_eq!(state.seal(&id, 4).wait().unwrap().len(), 4);
        assert_eq!(state.seal(&id, 4).wait().unwrap().len(), 4);
        for at in 10..40 {
            doubt(&state, &id, region(at * 100, at as u64 + 1, 1));
        }
        let totals = state.totals(&id).wait().unwrap();
        assert!(totals.dirty_regions <= 14, "{}", totals.dirty_regions);
        assert_eq!(totals.regions.iter().map(|row| row.lines).sum::<u64>(), 36);
    }
}
