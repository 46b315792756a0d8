//! Statements and calls that the source ran and that were not carried out at the destination: each blocks a cutover.
//!
//! Promise: one row for each text and reason, which says how often and when; at most [`ROWS_MAX`] of them for a destination, what
//! comes after goes into one row of its class. The same record told twice counts once.

use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};

use crate::base::Lsn;

/// The table, as the schema has it since its eighth version.
pub(super) const TABLE: &str = "
CREATE TABLE statement (
  destination TEXT NOT NULL, class TEXT NOT NULL, place TEXT NOT NULL, text TEXT NOT NULL, why TEXT NOT NULL,
  first_ns INTEGER NOT NULL, last_ns INTEGER NOT NULL, times INTEGER NOT NULL, last_lsn INTEGER NOT NULL,
  PRIMARY KEY (destination, class, place, text, why)) WITHOUT ROWID;
";

/// Rows of one destination.
const ROWS_MAX: u64 = 10_000;
/// Stands for the text of what finds no row.
const OTHER: &str = "(and others)";
/// Rows that a list shows, the newest first.
const LISTED_MAX: usize = 100;
/// Of a text or a reason, in characters.
const TEXT_CHARS_MAX: usize = 1000;

/// One that was not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotMirrored {
    /// Its record; zero where the log has none.
    pub lsn: Lsn,
    /// Stable name of what it is: `delete`, `drop-measurement`, `users`, …
    pub class: String,
    /// The place at the source that it speaks of.
    pub place: String,
    /// The statement without passwords, or the call.
    pub text: String,
    /// Why not, in a short sentence.
    pub why: String,
    /// When it was asked for, ns.
    pub at_ns: i64,
}

/// A row as it is listed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatementRow {
    /// Stable name of what it is.
    pub class: String,
    /// The place at the source that it speaks of.
    pub place: String,
    /// The statement without passwords, or the call.
    pub text: String,
    /// Why it was not carried out.
    pub why: String,
    /// When it was asked for first, ns.
    pub first_ns: i64,
    /// When it was asked for last, ns.
    pub last_ns: i64,
    /// How often.
    pub times: u64,
}

/// Notes one; true when there was no row like it.
pub(super) fn note(tx: &Connection, destination: &str, noted: &NotMirrored) -> rusqlite::Result<bool> {
    let short = |text: &str| text.chars().take(TEXT_CHARS_MAX).collect::<String>();
    let (text, why) = (short(&noted.text), short(&noted.why));
    let known = |place: &str, text: &str| {
        let sql = "SELECT last_lsn FROM statement
             WHERE destination = ?1 AND class = ?2 AND place = ?3 AND text = ?4 AND why = ?5";
        let key = params![destination, noted.class, place, text, why];
        tx.query_row(sql, key, |row| row.get::<_, u64>(0)).optional()
    };
    let rows = || {
        tx.query_row("SELECT count(*) FROM statement WHERE destination = ?1", [destination], |row| row.get::<_, u64>(0))
    };
    let (place, text, known_lsn) = match known(&noted.place, &text)? {
        Some(lsn) => (noted.place.as_str(), text, Some(lsn)),
        None if rows()? < ROWS_MAX => (noted.place.as_str(), text, None),
        None => ("", OTHER.to_owned(), known("", OTHER)?),
    };
    if known_lsn.is_some_and(|last| noted.lsn > Lsn::ZERO && noted.lsn.0 <= last) {
        return Ok(false);
    }
    let sql = "INSERT INTO statement VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6, 1, ?7)
         ON CONFLICT DO UPDATE SET times = times + 1, last_ns = max(last_ns, excluded.last_ns),
         first_ns = min(first_ns, excluded.first_ns), last_lsn = max(last_lsn, excluded.last_lsn)";
    tx.execute(sql, params![destination, noted.class, place, text, why, noted.at_ns, noted.lsn.0])?;
    Ok(known_lsn.is_none())
}

/// The newest rows of a destination, and how many statements all of them stand for.
pub(super) fn list(tx: &Connection, destination: &str) -> rusqlite::Result<(Vec<StatementRow>, u64)> {
    let mut statement = tx.prepare_cached(
        "SELECT class, place, text, why, first_ns, last_ns, times FROM statement
         WHERE destination = ?1 ORDER BY last_ns DESC LIMIT ?2",
    )?;
    let rows = statement.query_map(params![destination, LISTED_MAX], |row| {
        Ok(StatementRow {
            class: row.get(0)?,
            place: row.get(1)?,
            text: row.get(2)?,
            why: row.get(3)?,
            first_ns: row.get(4)?,
            last_ns: row.get(5)?,
            times: row.get(6)?,
        })
    })?;
    let rows = rows.collect::<rusqlite::Result<_>>()?;
    let sum = "SELECT coalesce(sum(times), 0) FROM statement WHERE destination = ?1";
    let total = tx.prepare_cached(sum)?.query_row([destination], |row| row.get(0))?;
    Ok((rows, total))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noted(lsn: u64, text: &str) -> NotMirrored {
        let (class, place) = ("delete".to_owned(), "d".to_owned());
        NotMirrored { lsn: Lsn(lsn), class, place, text: text.to_owned(), why: "w".to_owned(), at_ns: lsn as i64 + 10 }
    }

    fn store() -> Connection {
        let store = Connection::open_in_memory().unwrap();
        store.execute_batch(TABLE).unwrap();
        store
    }

    #[test]
    fn each_text_is_one_row_and_a_record_that_is_told_twice_counts_once() {
        let store = store();
        assert!(note(&store, "main", &noted(5, "a")).unwrap());
        assert!(!note(&store, "main", &noted(5, "a")).unwrap());
        assert!(!note(&store, "main", &noted(9, "a")).unwrap());
        assert!(note(&store, "main", &noted(7, "b")).unwrap());
        // Without a record each telling is one.
        assert!(!note(&store, "main", &noted(0, "b")).unwrap());
        let (rows, total) = list(&store, "main").unwrap();
        let shown: Vec<_> = rows.iter().map(|row| (row.text.as_str(), row.times, row.first_ns, row.last_ns)).collect();
        assert_eq!((shown, total), (vec![("a", 2, 15, 19), ("b", 2, 10, 17)], 4));
        assert_eq!(list(&store, "other").unwrap(), (Vec::new(), 0));
    }

    #[test]
    fn rows_are_bounded_and_nothing_is_lost_from_the_sum() {
        let store = store();
        let fill = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000)
             INSERT INTO statement SELECT 'main', 'delete', 'd', 't' || i, 'w', 0, 0, 1, 0 FROM n";
        store.execute_batch(fill).unwrap();
        assert!(note(&store, "main", &noted(5, "x")).unwrap());
        assert!(!note(&store, "main", &noted(6, "y")).unwrap());
        assert!(!note(&store, "main", &noted(7, "t3")).unwrap(), "it has a row");
        let (rows, total) = list(&store, "main").unwrap();
        assert_eq!((rows.len(), total), (100, 10_003));
        assert_eq!(rows.iter().find(|row| row.text == OTHER).map(|row| row.times), Some(2));
    }
}
