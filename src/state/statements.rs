//! Statements and calls that the source ran and that were not carried out at the destination: each blocks a cutover.
//!
//! Promise: one row for each text and reason, which says how often and when; at most [`ROWS_MAX`] of them for a destination, what
//! comes after goes into one row of its class. The same record told twice counts once, also when an operator has cleared its row
//! meanwhile. What an operator has done with a row stays as history (`over`); the same statement once more is a row of its own.

mod over;

pub use over::{StatementChange, StatementFile, StatementQuery, StatementState};
pub(super) use over::{change, select};

use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};

use crate::base::Lsn;

/// The table, as the schema had it in its eighth version.
pub(super) const TABLE: &str = "
CREATE TABLE statement (
  destination TEXT NOT NULL, class TEXT NOT NULL, place TEXT NOT NULL, text TEXT NOT NULL, why TEXT NOT NULL,
  first_ns INTEGER NOT NULL, last_ns INTEGER NOT NULL, times INTEGER NOT NULL, last_lsn INTEGER NOT NULL,
  PRIMARY KEY (destination, class, place, text, why)) WITHOUT ROWID;
";

/// The same with a number for each row, what can still be carried out, and what operators did with it.
pub(super) const KEPT: &str = "
CREATE TABLE statement_kept (
  id INTEGER PRIMARY KEY AUTOINCREMENT, destination TEXT NOT NULL, class TEXT NOT NULL, place TEXT NOT NULL,
  text TEXT NOT NULL, why TEXT NOT NULL, first_ns INTEGER NOT NULL, last_ns INTEGER NOT NULL, times INTEGER NOT NULL,
  last_lsn INTEGER NOT NULL, meta BLOB, run BLOB, newer INTEGER NOT NULL DEFAULT 0, state TEXT NOT NULL DEFAULT 'open',
  who TEXT NOT NULL DEFAULT '', note TEXT NOT NULL DEFAULT '', over_ns INTEGER NOT NULL DEFAULT 0);
INSERT INTO statement_kept (destination, class, place, text, why, first_ns, last_ns, times, last_lsn)
  SELECT destination, class, place, text, why, first_ns, last_ns, times, last_lsn FROM statement ORDER BY last_ns;
DROP TABLE statement;
ALTER TABLE statement_kept RENAME TO statement;
CREATE INDEX statement_text ON statement (destination, class, place, text, why);
";

/// What of the rows still blocks a cutover.
const OPEN: &str = "state IN ('open', 'confirmed')";

/// Rows of one destination that block.
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
    /// Where it can be carried out once an operator says so: its record's own text and body.
    pub carry: Option<(Vec<u8>, Vec<u8>)>,
}

/// What became of a note.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Noted {
    /// Number of its row.
    pub id: i64,
    /// There was no row like it.
    pub is_new: bool,
}

/// A row as it is listed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StatementRow {
    /// Its number, for ever.
    pub id: i64,
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
    /// Its newest record; zero where the log had none.
    pub last_lsn: u64,
    /// Whether it can be carried out at the destination once an operator confirms it.
    pub can_confirm: bool,
    /// Whether something newer of its place has gone on to the destination since.
    pub newer: bool,
    /// Whether whoever confirmed it wants it carried out all the same.
    pub newer_accepted: bool,
    /// What operators did with it.
    pub state: StatementState,
    /// Who did it.
    pub who: String,
    /// What they said, or what came of it.
    pub note: String,
    /// When that was, ns.
    pub over_ns: i64,
    /// Its record's own text and body, where it can be carried out.
    #[serde(skip)]
    pub carry: Option<(Vec<u8>, Vec<u8>)>,
}

/// Notes one.
pub(super) fn note(tx: &Connection, destination: &str, noted: &NotMirrored) -> rusqlite::Result<Noted> {
    let short = |text: &str| text.chars().take(TEXT_CHARS_MAX).collect::<String>();
    let (text, why) = (short(&noted.text), short(&noted.why));
    // The row that is open, if there is one, and the newest record that any row like it stands for.
    let known = |place: &str, text: &str| {
        let sql =
            "SELECT max(CASE WHEN state IN ('open', 'confirmed') THEN id END), max(last_lsn), max(id) FROM statement
             WHERE destination = ?1 AND class = ?2 AND place = ?3 AND text = ?4 AND why = ?5";
        let key = params![destination, noted.class, place, text, why];
        tx.query_row(sql, key, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
    };
    let rows = || {
        let sql = format!("SELECT count(*) FROM statement WHERE destination = ?1 AND {OPEN}");
        tx.query_row(&sql, [destination], |row| row.get::<_, u64>(0))
    };
    let (mut place, mut text) = (noted.place.as_str(), text);
    let mut found: (Option<i64>, Option<u64>, Option<i64>) = known(place, &text)?;
    if found.0.is_none()
        && found.1.is_none_or(|last| noted.lsn.0 > last || noted.lsn == Lsn::ZERO)
        && rows()? >= ROWS_MAX
    {
        (place, text) = ("", OTHER.to_owned());
        found = known(place, &text)?;
    }
    let (open, last_lsn, any) = found;
    if let (Some(last), Some(id)) = (last_lsn, any)
        && noted.lsn > Lsn::ZERO
        && noted.lsn.0 <= last
    {
        return Ok(Noted { id, is_new: false });
    }
    let (meta, run) = noted.carry.as_ref().filter(|_| text != OTHER).map(|(meta, run)| (meta, run)).unzip();
    if let Some(id) = open {
        // What was confirmed was the older one.
        let sql = "UPDATE statement SET times = times + 1, last_ns = max(last_ns, ?2), first_ns = min(first_ns, ?2),
             last_lsn = max(last_lsn, ?3), meta = ?4, run = ?5, newer = 0, state = 'open' WHERE id = ?1";
        tx.execute(sql, params![id, noted.at_ns, noted.lsn.0, meta, run])?;
        return Ok(Noted { id, is_new: false });
    }
    let sql =
        "INSERT INTO statement (destination, class, place, text, why, first_ns, last_ns, times, last_lsn, meta, run)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6, 1, ?7, ?8, ?9)";
    tx.execute(sql, params![destination, noted.class, place, text, why, noted.at_ns, noted.lsn.0, meta, run])?;
    Ok(Noted { id: tx.last_insert_rowid(), is_new: true })
}

/// The newest rows of a destination that block, and how many statements all of them stand for.
pub(super) fn list(tx: &Connection, destination: &str) -> rusqlite::Result<(Vec<StatementRow>, u64)> {
    let sql = format!(
        "SELECT {} FROM statement WHERE destination = ?1 AND {OPEN} ORDER BY last_ns DESC, id DESC LIMIT ?2",
        over::COLUMNS
    );
    let mut statement = tx.prepare_cached(&sql)?;
    let rows = statement.query_map(params![destination, LISTED_MAX], over::row)?.collect::<rusqlite::Result<_>>()?;
    let sum = format!("SELECT coalesce(sum(times), 0) FROM statement WHERE destination = ?1 AND {OPEN}");
    let total = tx.prepare_cached(&sum)?.query_row([destination], |row| row.get(0))?;
    Ok((rows, total))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noted(lsn: u64, text: &str) -> NotMirrored {
        let (class, place) = ("delete".to_owned(), "d".to_owned());
        NotMirrored {
            lsn: Lsn(lsn),
            class,
            place,
            text: text.to_owned(),
            why: "w".to_owned(),
            at_ns: lsn as i64 + 10,
            carry: None,
        }
    }

    fn store() -> Connection {
        let store = Connection::open_in_memory().unwrap();
        store.execute_batch(TABLE).unwrap();
        store.execute_batch(KEPT).unwrap();
        store
    }

    #[test]
    fn each_text_is_one_row_and_a_record_that_is_told_twice_counts_once() {
        let store = store();
        assert!(note(&store, "main", &noted(5, "a")).unwrap().is_new);
        assert!(!note(&store, "main", &noted(5, "a")).unwrap().is_new);
        assert!(!note(&store, "main", &noted(9, "a")).unwrap().is_new);
        assert!(note(&store, "main", &noted(7, "b")).unwrap().is_new);
        // Without a record each telling is one.
        assert!(!note(&store, "main", &noted(0, "b")).unwrap().is_new);
        let (rows, total) = list(&store, "main").unwrap();
        let shown: Vec<_> = rows.iter().map(|row| (row.text.as_str(), row.times, row.first_ns, row.last_ns)).collect();
        assert_eq!((shown, total), (vec![("a", 2, 15, 19), ("b", 2, 10, 17)], 4));
        assert_eq!(list(&store, "other").unwrap(), (Vec::new(), 0));
    }

    #[test]
    fn rows_are_bounded_and_nothing_is_lost_from_the_sum() {
        let store = store();
        let fill = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000)
             INSERT INTO statement (destination, class, place, text, why, first_ns, last_ns, times, last_lsn)
             SELECT 'main', 'delete', 'd', 't' || i, 'w', 0, 0, 1, 0 FROM n";
        store.execute_batch(fill).unwrap();
        assert!(note(&store, "main", &noted(5, "x")).unwrap().is_new);
        assert!(!note(&store, "main", &noted(6, "y")).unwrap().is_new);
        assert!(!note(&store, "main", &noted(7, "t3")).unwrap().is_new, "it has a row");
        let (rows, total) = list(&store, "main").unwrap();
        assert_eq!((rows.len(), total), (100, 10_003));
        assert_eq!(rows.iter().find(|row| row.text == OTHER).map(|row| row.times), Some(2));
    }
}
