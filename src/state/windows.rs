//! The times of what is missing at a destination: in doubt, in gaps, in dead letters.
//!
//! Promise: a window is never too small. That of dead letters does not shrink while any of their code are there.

use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};

use super::BYPASS;

/// From the earliest to the latest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Earliest time, ns; `i64::MIN` where that is not known.
    pub from_ns: i64,
    /// Latest time, ns; `i64::MAX` where that is not known.
    pub to_ns: i64,
}

impl Window {
    /// Both, and what lies between them.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { from_ns: self.from_ns.min(other.from_ns), to_ns: self.to_ns.max(other.to_ns) }
    }

    /// The same of what may be none.
    #[must_use]
    pub fn both(one: Option<Self>, other: Option<Self>) -> Option<Self> {
        match (one, other) {
            (Some(one), Some(other)) => Some(one.and(other)),
            (one, other) => one.or(other),
        }
    }
}

/// The times of dead letters by code; of those that were there before it, nothing is known.
pub(super) const TABLE: &str = "
CREATE TABLE dead_letter_times (
  destination TEXT NOT NULL, code TEXT NOT NULL, from_ns INTEGER NOT NULL, to_ns INTEGER NOT NULL,
  PRIMARY KEY (destination, code)) WITHOUT ROWID;
INSERT INTO dead_letter_times
  SELECT destination, code, -9223372036854775808, 9223372036854775807 FROM dead_letter_sum;
CREATE TRIGGER dead_letter_none AFTER DELETE ON dead_letter_sum BEGIN
  DELETE FROM dead_letter_times WHERE destination = old.destination AND code = old.code;
END;
";

/// A letter that was not there before.
pub(super) fn note(tx: &Connection, destination: &str, code: &str, time_ns: Option<i64>) -> rusqlite::Result<()> {
    let (from_ns, to_ns) = time_ns.map_or((i64::MIN, i64::MAX), |time_ns| (time_ns, time_ns));
    let mut statement = tx.prepare_cached(
        "INSERT INTO dead_letter_times VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT DO UPDATE SET from_ns = min(from_ns, excluded.from_ns), to_ns = max(to_ns, excluded.to_ns)",
    )?;
    statement.execute(params![destination, code, from_ns, to_ns]).map(drop)
}

fn by_name(tx: &Connection, sql: &str, destination: &str) -> rusqlite::Result<Vec<(String, Window)>> {
    let mut statement = tx.prepare_cached(sql)?;
    let rows = statement
        .query_map([destination], |row| Ok((row.get(0)?, Window { from_ns: row.get(1)?, to_ns: row.get(2)? })))?;
    rows.collect()
}

/// Of dead letters, by code.
pub(super) fn letters(tx: &Connection, destination: &str) -> rusqlite::Result<Vec<(String, Window)>> {
    by_name(tx, "SELECT code, from_ns, to_ns FROM dead_letter_times WHERE destination = ?1 ORDER BY code", destination)
}

/// Of gaps, by cause: of points, or of arrivals where no more is known.
pub(super) fn gaps(tx: &Connection, destination: &str) -> rusqlite::Result<Vec<(String, Window)>> {
    let sql = "SELECT cause, min(from_ns), max(to_ns) FROM gap WHERE destination = ?1 GROUP BY cause ORDER BY cause";
    by_name(tx, sql, destination)
}

/// Of all gaps of what was accepted: what came around us is in no sum of ours.
#[must_use]
pub fn of_gaps(by_cause: &[(String, Window)]) -> Option<Window> {
    let own = by_cause.iter().filter(|(cause, _)| cause != BYPASS).map(|(_, window)| *window);
    own.reduce(Window::and)
}

/// Of what is in doubt.
pub(super) fn doubt(tx: &Connection, destination: &str) -> rusqlite::Result<Option<Window>> {
    let sql = "SELECT min(from_ns), max(to_ns) FROM dirty_region WHERE destination = ?1";
    tx.prepare_cached(sql)?.query_row(params![destination], |row| {
        let (from_ns, to_ns): (Option<i64>, Option<i64>) = (row.get(0)?, row.get(1)?);
        Ok(from_ns.zip(to_ns).map(|(from_ns, to_ns)| Window { from_ns, to_ns }))
    })
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::{Window, letters, note};
    use crate::state::schema;

    #[test]
    fn the_window_of_letters_is_never_too_small_and_goes_with_the_last_of_them() {
        let mut connection = Connection::open_in_memory().unwrap();
        schema::prepare(&mut connection).unwrap();
        for (line, time_ns) in [(0, 7), (1, -5), (2, 3)] {
            let sql = "INSERT INTO dead_letter VALUES ('main', 1, ?1, 0, 'parse', 'no', 'm v=1', 'd')";
            connection.execute(sql, [line]).unwrap();
            note(&connection, "main", "parse", Some(time_ns)).unwrap();
        }
        let of = |from_ns, to_ns| vec![("parse".to_owned(), Window { from_ns, to_ns })];
        assert_eq!(letters(&connection, "main").unwrap(), of(-5, 7));
        connection.execute("DELETE FROM dead_letter WHERE line = 0", []).unwrap();
        assert_eq!(letters(&connection, "main").unwrap(), of(-5, 7));
        note(&connection, "main", "parse", None).unwrap();
        assert_eq!(letters(&connection, "main").unwrap(), of(i64::MIN, i64::MAX));
        connection.execute("DELETE FROM dead_letter", []).unwrap();
        assert_eq!((letters(&connection, "main").unwrap(), letters(&connection, "other").unwrap()), (vec![], vec![]));
    }
}
