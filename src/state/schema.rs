//! The tables. `user_version` is the schema's version; a newer one than ours is refused, never guessed at.

use rusqlite::Connection;

use crate::base::{Error, Kind, Result, Side};

const VERSION: i64 = 1;

const TABLES: &str = "
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

/// Brings an empty file to our version; leaves ours alone.
pub(super) fn prepare(connection: &mut Connection) -> Result<()> {
    let fault =
        |e: rusqlite::Error| Error::new(Kind::Disk, Side::Own, "state store: cannot prepare the tables").because(e);
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 5000; PRAGMA cache_size = -2048;",
        )
        .map_err(fault)?;
    let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(fault)?;
    match version {
        VERSION => Ok(()),
        0 => {
            let tx = connection.transaction().map_err(fault)?;
            tx.execute_batch(TABLES).map_err(fault)?;
            tx.execute_batch(&format!("PRAGMA user_version = {VERSION}")).map_err(fault)?;
            tx.commit().map_err(fault)
        }
        newer => Err(Error::new(
            Kind::State,
            Side::Own,
            format!("state store has schema version {newer}, this program knows {VERSION}"),
        )
        .hint("start the newer twinline that wrote this data directory")),
    }
}
