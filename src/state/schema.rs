//! The tables. `user_version` is the schema's version; a newer one than ours is refused, never guessed at.

use std::path::Path;

use rusqlite::Connection;

use crate::base::{Error, Kind, Result, Side};

/// What leads from each version to the next; an empty file has version 0. What was released is never changed.
const STEPS: [&str; 12] = [
    FIRST,
    ROUTE_NAMES,
    DIRTY_LINES,
    GAPS_TAKEN,
    GAPS_BY_NAME,
    DIRTY_BY_NAME,
    LETTERS_REMOVED,
    super::statements::TABLE,
    super::statements::KEPT,
    super::windows::TABLE,
    super::backfill::TABLES,
    super::readback::TABLES,
];

const FIRST: &str = "
CREATE TABLE value (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE route (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE);
CREATE TABLE dead_letter (
  destination TEXT NOT NULL, lsn INTEGER NOT NULL, line INTEGER NOT NULL, route INTEGER NOT NULL,
  code TEXT NOT NULL, reason TEXT NOT NULL, text BLOB NOT NULL,
  PRIMARY KEY (destination, lsn, line)) WITHOUT ROWID;
CREATE TABLE dead_letter_sum (
  destination TEXT NOT NULL, code TEXT NOT NULL, lines INTEGER NOT NULL, bytes INTEGER NOT NULL,
  PRIMARY KEY (destination, code)) WITHOUT ROWID;
CREATE TRIGGER dead_letter_added AFTER INSERT ON dead_letter BEGIN
  INSERT INTO dead_letter_sum VALUES (new.destination, new.code, 1, length(new.text))
  ON CONFLICT DO UPDATE SET lines = lines + 1, bytes = bytes + excluded.bytes;
END;
CREATE TABLE dirty_region (
  destination TEXT NOT NULL, route INTEGER NOT NULL, measurement BLOB NOT NULL, from_ns INTEGER NOT NULL,
  to_ns INTEGER NOT NULL, first_lsn INTEGER NOT NULL, last_lsn INTEGER NOT NULL, cause TEXT NOT NULL,
  PRIMARY KEY (destination, route, measurement, from_ns)) WITHOUT ROWID;
CREATE TABLE gap (
  id INTEGER PRIMARY KEY, destination TEXT NOT NULL, route INTEGER, route_name TEXT NOT NULL, cause TEXT NOT NULL,
  from_ns INTEGER NOT NULL, to_ns INTEGER NOT NULL, lines INTEGER NOT NULL,
  first_lsn INTEGER NOT NULL, last_lsn INTEGER NOT NULL,
  UNIQUE (destination, route_name, cause, first_lsn, last_lsn));
CREATE TABLE event (id INTEGER PRIMARY KEY AUTOINCREMENT, at_ns INTEGER NOT NULL, kind TEXT NOT NULL, text TEXT NOT NULL);
";

/// A route beyond `limits.routes` has the id 0: its name keeps its rows apart from those of others.
const ROUTE_NAMES: &str = "
ALTER TABLE dead_letter ADD COLUMN route_name TEXT NOT NULL DEFAULT '';
CREATE TABLE dirty_region_named (
  destination TEXT NOT NULL, route INTEGER NOT NULL, measurement BLOB NOT NULL, from_ns INTEGER NOT NULL,
  to_ns INTEGER NOT NULL, first_lsn INTEGER NOT NULL, last_lsn INTEGER NOT NULL, cause TEXT NOT NULL,
  route_name TEXT NOT NULL DEFAULT '',
  PRIMARY KEY (destination, route, route_name, measurement, from_ns)) WITHOUT ROWID;
INSERT INTO dirty_region_named
  SELECT destination, route, measurement, from_ns, to_ns, first_lsn, last_lsn, cause, '' FROM dirty_region;
DROP TABLE dirty_region;
ALTER TABLE dirty_region_named RENAME TO dirty_region;
";

/// Regions know their lines and all their causes, and are merged; `dirty_seen` tells which records' lines were counted.
const DIRTY_LINES: &str = "
CREATE TABLE dirty_region_counted (
  destination TEXT NOT NULL, route INTEGER NOT NULL, route_name TEXT NOT NULL, measurement BLOB NOT NULL,
  from_ns INTEGER NOT NULL, to_ns INTEGER NOT NULL, first_lsn INTEGER NOT NULL, last_lsn INTEGER NOT NULL,
  causes TEXT NOT NULL, lines INTEGER NOT NULL);
INSERT INTO dirty_region_counted
  SELECT destination, route, route_name, measurement, from_ns, to_ns, first_lsn, last_lsn, cause, 0 FROM dirty_region;
DROP TABLE dirty_region;
ALTER TABLE dirty_region_counted RENAME TO dirty_region;
CREATE INDEX dirty_region_place ON dirty_region (destination, route, route_name, measurement, from_ns);
CREATE TABLE dirty_seen (destination TEXT PRIMARY KEY, last_lsn INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO dirty_seen SELECT destination, max(last_lsn) FROM dirty_region GROUP BY destination;
";

/// How many lines of which sum of a gap log are among the gaps already.
const GAPS_TAKEN: &str = "
CREATE TABLE gap_taken (ledger INTEGER NOT NULL, id INTEGER NOT NULL, lines INTEGER NOT NULL, PRIMARY KEY (ledger, id)) WITHOUT ROWID;
";

/// The gap of a route's backlog has its canonical name: some of its records may have its number and others none.
const GAPS_BY_NAME: &str = "
UPDATE gap SET route_name = (SELECT key FROM route WHERE id = gap.route)
  WHERE cause = 'route-backlog' AND route IN (SELECT id FROM route);
";

/// Regions go by name alone: a route has its number only from some record on.
const DIRTY_BY_NAME: &str = "
UPDATE dirty_region SET route_name = (SELECT key FROM route WHERE id = dirty_region.route)
  WHERE route IN (SELECT id FROM route);
DROP INDEX dirty_region_place;
ALTER TABLE dirty_region DROP COLUMN route;
CREATE INDEX dirty_region_place ON dirty_region (destination, route_name, measurement, from_ns);
";

/// Dead letters can be removed: what became of them, and those whose records may be delivered again, which do not come back.
const LETTERS_REMOVED: &str = "
CREATE TABLE dead_letter_removed (
  destination TEXT NOT NULL, fate TEXT NOT NULL, lines INTEGER NOT NULL, PRIMARY KEY (destination, fate)) WITHOUT ROWID;
CREATE TABLE dead_letter_over (
  destination TEXT NOT NULL, lsn INTEGER NOT NULL, line INTEGER NOT NULL,
  PRIMARY KEY (destination, lsn, line)) WITHOUT ROWID;
CREATE TRIGGER dead_letter_gone AFTER DELETE ON dead_letter BEGIN
  UPDATE dead_letter_sum SET lines = lines - 1, bytes = bytes - length(old.text)
    WHERE destination = old.destination AND code = old.code;
  DELETE FROM dead_letter_sum WHERE destination = old.destination AND lines <= 0;
END;
CREATE TRIGGER dead_letter_back BEFORE INSERT ON dead_letter
  WHEN EXISTS (SELECT 1 FROM dead_letter_over o
               WHERE o.destination = new.destination AND o.lsn = new.lsn AND o.line = new.line)
BEGIN SELECT RAISE(IGNORE); END;
";

/// What to do where the disk does not let us open the store.
pub(super) const OPEN_HINT: &str =
    "free a few MiB on the disk of data_dir, and see that this user may write there; then start again";

/// What to do with a file that SQLite does not read.
const BROKEN_HINT: &str = "put back the state.db that belongs to this log; where it is lost, move this one elsewhere and start \
                           once with `twinline run --adopt-log`";

fn fault(e: rusqlite::Error) -> Error {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    let broken = matches!(e.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase));
    let (kind, hint) = if broken { (Kind::Damage, BROKEN_HINT) } else { (Kind::Disk, OPEN_HINT) };
    Error::new(kind, Side::Own, "state store: cannot prepare the tables").because(e).hint(hint)
}

/// What leads from the file's version to ours; a newer one is refused.
fn steps(connection: &Connection) -> Result<&'static [&'static str]> {
    let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(fault)?;
    usize::try_from(version).ok().and_then(|done| STEPS.get(done..)).ok_or_else(|| {
        let known = STEPS.len();
        let what = format!("state store has schema version {version}, this program knows {known}");
        Error::new(Kind::State, Side::Own, what).hint("start the newer twinline that wrote this data directory")
    })
}

/// Whether a start would take this file.
pub(super) fn known(connection: &Connection) -> Result<()> {
    steps(connection).map(|_| ())?;
    sound(connection)
}

/// A larger file has its dead letters looked at only when they are needed: they are all that can grow so large.
const LOOKED_AT_WHOLE_BYTES: i64 = 256 << 20;

/// Whether all pages are there and fit each other: a file that was cut opens like a sound one, and fails only where somebody
/// comes to what is missing.
fn sound(connection: &Connection) -> Result<()> {
    let number =
        |of: &str| connection.query_row(&format!("PRAGMA {of}"), [], |row| row.get::<_, i64>(0)).map_err(fault);
    let is_large = number("page_count")?.saturating_mul(number("page_size")?) > LOOKED_AT_WHOLE_BYTES;
    let tables: Vec<String> = if is_large {
        let sql =
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT IN ('dead_letter', 'sqlite_sequence')";
        let mut statement = connection.prepare(sql).map_err(fault)?;
        let names = statement.query_map([], |row| row.get(0)).map_err(fault)?;
        names.collect::<rusqlite::Result<_>>().map_err(fault)?
    } else {
        vec!["1".to_owned()]
    };
    for table in tables {
        let check = format!("PRAGMA integrity_check({table})");
        let said: String = connection.query_row(&check, [], |row| row.get(0)).map_err(fault)?;
        if said != "ok" {
            let what = "state store: the file is damaged or was cut";
            return Err(Error::new(Kind::Damage, Side::Own, what).because(said).hint(BROKEN_HINT));
        }
    }
    Ok(())
}

/// Brings a new or older file to our version; leaves ours alone.
pub(super) fn prepare(connection: &mut Connection) -> Result<()> {
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 5000; PRAGMA cache_size = -2048;",
        )
        .map_err(fault)?;
    let steps = steps(connection)?;
    sound(connection)?;
    if steps.is_empty() {
        return Ok(());
    }
    let tx = connection.transaction().map_err(fault)?;
    for step in steps {
        tx.execute_batch(step).map_err(fault)?;
    }
    tx.execute_batch(&format!("PRAGMA user_version = {}", STEPS.len())).map_err(fault)?;
    tx.commit().map_err(fault)
}

/// Pages that the file keeps free for what must be written on a full disk: regions in doubt, gaps, dead letters.
const RESERVE_PAGES: i64 = 128;

/// Makes sure of room in the file, and in the journal beside it, so that delivery goes on on a full disk and makes room there.
/// Best effort: where there is no room for it now, the next start tries again.
pub(super) fn reserve(connection: &Connection, dir: &Path) {
    let free_bytes = rustix::fs::statvfs(dir).map_or(0, |system| system.f_bavail.saturating_mul(system.f_frsize));
    if let Err(error) = fill_up(connection, free_bytes) {
        tracing::warn!(%error, "the state store has no reserve for a full disk");
        // What was begun would hold the file otherwise.
        drop(connection.execute_batch("ROLLBACK"));
    }
}

fn fill_up(connection: &Connection, free_bytes: u64) -> rusqlite::Result<()> {
    // The journal is used again from its start as soon as so many pages wait in it: it never outgrows the reserve by much.
    connection.execute_batch(&format!("PRAGMA wal_autocheckpoint = {}", RESERVE_PAGES / 2))?;
    // Of a process that died before it had given it back.
    connection.execute_batch("DROP TABLE IF EXISTS reserve")?;
    let free: i64 = connection.query_row("PRAGMA freelist_count", [], |row| row.get(0))?;
    if free >= RESERVE_PAGES {
        return Ok(());
    }
    let page: i64 = connection.query_row("PRAGMA page_size", [], |row| row.get(0))?;
    let bytes = page * (RESERVE_PAGES - free + 8);
    // The file and its journal grow by it; a disk that has hardly room for both is left alone.
    if free_bytes < 8 * bytes.unsigned_abs() {
        return Ok(());
    }
    connection.execute_batch(&format!(
        "BEGIN IMMEDIATE; CREATE TABLE reserve (bytes BLOB); INSERT INTO reserve VALUES (zeroblob({bytes})); COMMIT;
         BEGIN IMMEDIATE; DROP TABLE reserve; COMMIT;"
    ))?;
    // Into the file itself, whose room counts.
    connection.query_row("PRAGMA wal_checkpoint(RESTART)", [], |_| Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Window;

    #[test]
    fn a_file_of_the_first_version_keeps_its_rows() {
        let mut connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(FIRST).unwrap();
        connection
            .execute_batch(
                "PRAGMA user_version = 1;
                 INSERT INTO dirty_region VALUES ('main', 1, x'6d', 0, 9, 3, 4, 'crash');
                 INSERT INTO dead_letter VALUES ('main', 7, 0, 1, 'parse', 'no', x'6d');
                 INSERT INTO route VALUES (1, 'db=d');
                 INSERT INTO gap VALUES (1, 'main', 1, 'd', 'route-backlog', 0, 9, 5, 3, 4);",
            )
            .unwrap();
        prepare(&mut connection).unwrap();
        let kept: (u64, String) = connection
            .query_row("SELECT last_lsn, route_name FROM dirty_region", [], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap();
        assert_eq!(kept, (4, "db=d".to_owned()));
        let kept: String =
            connection.query_row("SELECT route_name || code FROM dead_letter", [], |row| row.get(0)).unwrap();
        assert_eq!(kept, "parse");
        let kept = super::super::windows::letters(&connection, "main").unwrap();
        assert_eq!(kept, [("parse".to_owned(), Window { from_ns: i64::MIN, to_ns: i64::MAX })], "not known");
        let kept: String = connection.query_row("SELECT route_name FROM gap", [], |row| row.get(0)).unwrap();
        assert_eq!(kept, "db=d");
        prepare(&mut connection).unwrap();
    }

    #[test]
    fn the_reserve_is_made_once_and_used_before_the_file_grows() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.db");
        let mut connection = Connection::open(&path).unwrap();
        prepare(&mut connection).unwrap();
        reserve(&connection, dir.path());
        let lengths = || {
            let journal = dir.path().join("state.db-wal");
            (std::fs::metadata(&path).unwrap().len(), std::fs::metadata(journal).unwrap().len())
        };
        let free = |connection: &Connection| -> i64 {
            connection.query_row("PRAGMA freelist_count", [], |row| row.get(0)).unwrap()
        };
        let before = lengths();
        assert!(free(&connection) >= RESERVE_PAGES, "{}", free(&connection));
        reserve(&connection, dir.path());
        for n in 0..80u8 {
            let text = vec![n; 1000];
            connection.execute("INSERT INTO value VALUES (?1, ?2)", rusqlite::params![format!("{n}"), text]).unwrap();
        }
        assert_eq!(lengths(), before, "the room was there already");
    }

    /// A process that died between the two steps of it.
    #[test]
    fn a_reserve_that_was_not_made_to_its_end_is_made_by_the_next_start() {
        let dir = tempfile::tempdir().unwrap();
        let mut connection = Connection::open(dir.path().join("state.db")).unwrap();
        prepare(&mut connection).unwrap();
        connection.execute_batch("CREATE TABLE reserve (bytes BLOB)").unwrap();
        reserve(&connection, dir.path());
        let free: i64 = connection.query_row("PRAGMA freelist_count", [], |row| row.get(0)).unwrap();
        assert!(free >= RESERVE_PAGES, "{free}");
    }
}
