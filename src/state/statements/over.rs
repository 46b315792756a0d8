//! Rows of statements as operators go through them: confirmed to be carried out, done, cleared.
//!
//! Promise: a row changes only from the state that it must be in; who, when and why stay with it; of those that are over the newest
//! [`OVER_MAX`] are kept.

use std::path::Path;

use rusqlite::{Connection, Row, params};
use serde::{Deserialize, Serialize};

use super::super::peek;
use super::{OPEN, StatementRow};
use crate::base::{DestinationId, Error, Kind, Result, Side};

/// Rows that one question gives at most.
pub(in crate::state) const PAGE_ROWS_MAX: usize = 1000;
/// Rows of one destination that are over.
const OVER_MAX: u64 = 1000;

/// What operators did with a row. The names are stable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StatementState {
    /// Nothing: it blocks a cutover.
    #[default]
    Open,
    /// It is to be carried out at the destination, and was not yet: it blocks.
    Confirmed,
    /// It was carried out once it was confirmed.
    Done,
    /// An operator has seen to it.
    Cleared,
}

const STATES: [(StatementState, &str); 4] = [
    (StatementState::Open, "open"),
    (StatementState::Confirmed, "confirmed"),
    (StatementState::Done, "done"),
    (StatementState::Cleared, "cleared"),
];

impl StatementState {
    /// Its stable name.
    #[must_use]
    pub fn name(self) -> &'static str {
        STATES.iter().find(|(state, _)| *state == self).map_or("open", |(_, name)| name)
    }

    /// Whether the row blocks a cutover.
    #[must_use]
    pub fn blocks(self) -> bool {
        matches!(self, Self::Open | Self::Confirmed)
    }
}

/// Which rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatementQuery {
    /// In the order of their numbers, behind this one; those that are over as well, or not.
    After(i64, bool),
    /// This one.
    One(i64),
    /// Those that can be carried out, of which nothing newer went on: with what can be carried out.
    Watched(i64),
    /// Those that are to be carried out now, the same.
    Confirmed,
}

/// What happens to a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StatementChange {
    /// Something newer of its place goes on to the destination.
    Newer,
    /// It is to be carried out. Only of an open one that can be; `newer`: also where something newer went on.
    Confirm {
        /// Who says so.
        who: String,
        /// When, ns.
        at_ns: i64,
        /// Although something newer went on.
        newer: bool,
    },
    /// It was not carried out after all, and why.
    Back {
        /// What came of it.
        note: String,
    },
    /// It is over.
    End {
        /// Done or cleared.
        fate: StatementState,
        /// Who says so; empty leaves who confirmed it.
        who: String,
        /// Why, or what came of it.
        note: String,
        /// When, ns.
        at_ns: i64,
    },
}

/// In the order of [`row`].
pub(super) const COLUMNS: &str =
    "id, class, place, text, why, first_ns, last_ns, times, last_lsn, meta, run, newer, state, who, note, over_ns";

pub(super) fn row(row: &Row<'_>) -> rusqlite::Result<StatementRow> {
    let (meta, run): (Option<Vec<u8>>, Option<Vec<u8>>) = (row.get(9)?, row.get(10)?);
    let carry = meta.zip(run);
    let (newer, state): (u64, String) = (row.get(11)?, row.get(12)?);
    Ok(StatementRow {
        id: row.get(0)?,
        class: row.get(1)?,
        place: row.get(2)?,
        text: row.get(3)?,
        why: row.get(4)?,
        first_ns: row.get(5)?,
        last_ns: row.get(6)?,
        times: row.get(7)?,
        last_lsn: row.get(8)?,
        can_confirm: carry.is_some(),
        newer: newer > 0,
        newer_accepted: newer > 1,
        state: STATES.iter().find(|(_, name)| *name == state).map_or(StatementState::Open, |(state, _)| *state),
        who: row.get(13)?,
        note: row.get(14)?,
        over_ns: row.get(15)?,
        carry,
    })
}

/// Some rows of a destination, in the order of their numbers.
pub(in crate::state) fn select(
    tx: &Connection,
    destination: &str,
    query: StatementQuery,
) -> rusqlite::Result<Vec<StatementRow>> {
    let (after, which) = match query {
        StatementQuery::After(after, true) => (after, "1".to_owned()),
        StatementQuery::After(after, false) => (after, OPEN.to_owned()),
        StatementQuery::One(id) => (id.saturating_sub(1), format!("id = {id}")),
        StatementQuery::Watched(after) => (after, format!("{OPEN} AND run IS NOT NULL AND newer = 0")),
        StatementQuery::Confirmed => (0, "state = 'confirmed'".to_owned()),
    };
    let sql =
        format!("SELECT {COLUMNS} FROM statement WHERE destination = ?1 AND id > ?2 AND {which} ORDER BY id LIMIT ?3");
    let mut statement = tx.prepare_cached(&sql)?;
    let rows = statement.query_map(params![destination, after, PAGE_ROWS_MAX], row)?;
    rows.collect()
}

/// Changes a row; false when it is not there, or not as it must be.
pub(in crate::state) fn change(
    tx: &Connection,
    destination: &str,
    id: i64,
    change: &StatementChange,
) -> rusqlite::Result<bool> {
    let changed = match change {
        StatementChange::Newer => {
            let sql =
                format!("UPDATE statement SET newer = max(newer, 1) WHERE destination = ?1 AND id = ?2 AND {OPEN}");
            tx.execute(&sql, params![destination, id])?
        }
        StatementChange::Confirm { who, at_ns, newer } => {
            let sql = "UPDATE statement SET state = 'confirmed', who = ?3, over_ns = ?4, note = '',
                 newer = CASE WHEN ?5 THEN 2 ELSE newer END
                 WHERE destination = ?1 AND id = ?2 AND state = 'open' AND run IS NOT NULL AND newer <= ?5";
            tx.execute(sql, params![destination, id, who, at_ns, newer])?
        }
        StatementChange::Back { note } => {
            let sql = "UPDATE statement SET state = 'open', note = ?3, newer = min(newer, 1)
                 WHERE destination = ?1 AND id = ?2 AND state = 'confirmed'";
            tx.execute(sql, params![destination, id, note])?
        }
        StatementChange::End { fate, who, note, at_ns } => {
            let sql = format!(
                "UPDATE statement SET state = ?3, who = CASE ?4 WHEN '' THEN who ELSE ?4 END, note = ?5, over_ns = ?6,
                 meta = NULL, run = NULL WHERE destination = ?1 AND id = ?2 AND {OPEN}"
            );
            let changed = tx.execute(&sql, params![destination, id, fate.name(), who, note, at_ns])?;
            let sql = "DELETE FROM statement WHERE id IN (SELECT id FROM statement
                 WHERE destination = ?1 AND state IN ('done', 'cleared') ORDER BY over_ns DESC, id DESC LIMIT -1 OFFSET ?2)";
            tx.execute(sql, params![destination, OVER_MAX])?;
            changed
        }
    };
    Ok(changed > 0)
}

/// The rows of a data directory that no process has: nothing of it is made or changed.
#[derive(Debug)]
pub struct StatementFile(Connection);

impl StatementFile {
    /// Opens the store at `path`.
    ///
    /// # Errors
    /// It cannot be read, is damaged, or was written by a version with another schema.
    pub fn open(path: &Path) -> Result<Self> {
        let known = "SELECT count(*) FROM pragma_table_info('statement') WHERE name = 'state'";
        peek::open_with(path, known, "statements").map(Self)
    }

    /// Destinations that have rows, or had some.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn destinations(&self) -> Result<Vec<String>> {
        let read = || -> rusqlite::Result<Vec<String>> {
            let sql = "SELECT DISTINCT destination FROM statement ORDER BY destination";
            self.0.prepare(sql)?.query_map([], |row| row.get(0))?.collect()
        };
        read().map_err(broken)
    }

    /// Some rows of a destination.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn select(&self, destination: &DestinationId, query: StatementQuery) -> Result<Vec<StatementRow>> {
        select(&self.0, destination.as_str(), query).map_err(broken)
    }
}

fn broken(e: rusqlite::Error) -> Error {
    Error::new(Kind::Disk, Side::Own, "cannot read the statements").because(e)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Lsn;
    use crate::state::statements::{KEPT, NotMirrored, TABLE, list, note};

    fn store() -> Connection {
        let store = Connection::open_in_memory().unwrap();
        store.execute_batch(TABLE).unwrap();
        store.execute_batch("INSERT INTO statement VALUES ('main', 'users', '', 'old', 'w', 1, 2, 3, 4)").unwrap();
        store.execute_batch(KEPT).unwrap();
        store
    }

    fn noted(lsn: u64, text: &str) -> NotMirrored {
        NotMirrored {
            lsn: Lsn(lsn),
            class: "drop-database".to_owned(),
            place: "d".to_owned(),
            text: text.to_owned(),
            why: "w".to_owned(),
            at_ns: 10,
            carry: Some((b"meta".to_vec(), b"run".to_vec())),
        }
    }

    fn cleared(note: &str) -> StatementChange {
        StatementChange::End { fate: StatementState::Cleared, who: "me".into(), note: note.into(), at_ns: 99 }
    }

    fn confirm(newer: bool) -> StatementChange {
        StatementChange::Confirm { who: "me".into(), at_ns: 98, newer }
    }

    #[test]
    fn a_cleared_row_is_history_and_its_record_does_not_bring_it_back() {
        let store = store();
        let id = note(&store, "main", &noted(5, "a")).unwrap().id;
        assert_eq!(list(&store, "main").unwrap().1, 4, "with the row of an older version");
        assert!(change(&store, "main", id, &cleared("by hand")).unwrap());
        assert!(!change(&store, "main", id, &cleared("again")).unwrap());
        assert_eq!(list(&store, "main").unwrap().1, 3);
        let row = &select(&store, "main", StatementQuery::One(id)).unwrap()[0];
        assert_eq!(
            (row.state, row.who.as_str(), row.note.as_str(), row.over_ns),
            (StatementState::Cleared, "me", "by hand", 99)
        );
        assert!(!note(&store, "main", &noted(5, "a")).unwrap().is_new, "delivered once more after a crash");
        assert_eq!(list(&store, "main").unwrap().1, 3);
        // The same statement once more blocks again, as a row of its own.
        let again = note(&store, "main", &noted(9, "a")).unwrap();
        assert!(again.is_new && again.id != id);
        assert_eq!(select(&store, "main", StatementQuery::After(0, false)).unwrap().len(), 2);
        assert_eq!(select(&store, "main", StatementQuery::After(0, true)).unwrap().len(), 3);
    }

    #[test]
    fn only_what_can_be_carried_out_and_has_nothing_newer_behind_it_is_confirmed() {
        let store = store();
        let without = NotMirrored { carry: None, ..noted(5, "a") };
        let id = note(&store, "main", &without).unwrap().id;
        assert!(!change(&store, "main", id, &confirm(true)).unwrap());
        let id = note(&store, "main", &noted(6, "b")).unwrap().id;
        assert_eq!(select(&store, "main", StatementQuery::Watched(0)).unwrap().len(), 1);
        assert!(change(&store, "main", id, &StatementChange::Newer).unwrap());
        assert_eq!(select(&store, "main", StatementQuery::Watched(0)).unwrap(), []);
        assert!(!change(&store, "main", id, &confirm(false)).unwrap());
        assert!(change(&store, "main", id, &confirm(true)).unwrap());
        assert_eq!(select(&store, "main", StatementQuery::Confirmed).unwrap()[0].id, id);
        assert!(change(&store, "main", id, &StatementChange::Back { note: "no".into() }).unwrap());
        // The newer one is in its place again, and was not confirmed.
        assert!(!note(&store, "main", &noted(7, "b")).unwrap().is_new);
        assert!(change(&store, "main", id, &confirm(false)).unwrap());
        note(&store, "main", &noted(8, "b")).unwrap();
        assert_eq!(select(&store, "main", StatementQuery::Confirmed).unwrap(), []);
    }

    #[test]
    fn of_what_is_over_only_the_newest_are_kept() {
        let store = store();
        for lsn in 1..=OVER_MAX + 5 {
            let id = note(&store, "main", &noted(lsn + 10, &format!("t{lsn}"))).unwrap().id;
            change(&store, "main", id, &cleared("c")).unwrap();
        }
        let count: u64 = store.query_row("SELECT count(*) FROM statement", [], |row| row.get(0)).unwrap();
        assert_eq!(count, OVER_MAX + 1);
    }
}
