//! The rows of gaps, as they are listed.

use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};

use super::{LOG_DAMAGE, ROUTE_BACKLOG};
use crate::base::Lsn;

/// Rows that a list shows, the newest first.
const LISTED_MAX: usize = 100;

/// A gap as it is listed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GapRow {
    /// Route as text; empty where it is not known.
    pub route: String,
    /// Why: one of [`super::GAP_CAUSES`].
    pub cause: String,
    /// Earliest point or arrival in it, ns; `i64::MIN` where nothing is known.
    pub from_ns: i64,
    /// Latest point or arrival in it, ns; `i64::MAX` stands for now.
    pub to_ns: i64,
    /// Lines that are, or may be, missing; none where that is not known.
    pub lines: Option<u64>,
    /// First record of the log in it, where it is one of records.
    pub first_lsn: Option<u64>,
    /// Last record of the log in it.
    pub last_lsn: Option<u64>,
}

/// Records of a route that are in a gap for its backlog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BacklogGap {
    /// The route's canonical text, whether it has a number or not; of an older version, the text that is shown.
    pub route: String,
    /// First record.
    pub first: Lsn,
    /// Last record.
    pub last: Lsn,
}

/// The gaps of routes' backlogs that end above `floor`.
pub(super) fn backlog(tx: &Connection, destination: &str, floor: Lsn) -> rusqlite::Result<Vec<BacklogGap>> {
    let mut statement = tx.prepare(
        "SELECT route_name, first_lsn, last_lsn FROM gap
         WHERE destination = ?1 AND cause = ?2 AND last_lsn > ?3 ORDER BY first_lsn",
    )?;
    let rows = statement.query_map(params![destination, ROUTE_BACKLOG, floor.0], |row| {
        Ok(BacklogGap { route: row.get(0)?, first: Lsn(row.get(1)?), last: Lsn(row.get(2)?) })
    })?;
    rows.collect()
}

/// Records that are in gaps from damage which end above `floor`, with their lines.
pub(super) fn damage(tx: &Connection, destination: &str, floor: Lsn) -> rusqlite::Result<Vec<((Lsn, Lsn), u64)>> {
    let mut statement = tx.prepare(
        "SELECT first_lsn, last_lsn, lines FROM gap WHERE destination = ?1 AND cause = ?2 AND last_lsn > ?3",
    )?;
    let rows = statement.query_map(params![destination, LOG_DAMAGE, floor.0], |row| {
        Ok(((Lsn(row.get(0)?), Lsn(row.get(1)?)), row.get(2)?))
    })?;
    rows.collect()
}

/// The newest gaps of a destination, at most [`LISTED_MAX`]; how many there are; of how many the lines are not known.
pub(super) fn list(tx: &Connection, destination: &str) -> rusqlite::Result<(Vec<GapRow>, u64, u64)> {
    let mut statement = tx.prepare_cached(
        "SELECT coalesce(r.key, g.route_name), g.cause, g.from_ns, g.to_ns, g.lines, g.first_lsn, g.last_lsn FROM gap g
         LEFT JOIN route r ON r.id = g.route WHERE destination = ?1 ORDER BY g.id DESC LIMIT ?2",
    )?;
    let known = |number: u64| (number > 0).then_some(number);
    let rows = statement.query_map(params![destination, LISTED_MAX], |row| {
        Ok(GapRow {
            route: row.get(0)?,
            cause: row.get(1)?,
            from_ns: row.get(2)?,
            to_ns: row.get(3)?,
            lines: known(row.get(4)?),
            first_lsn: known(row.get(5)?),
            last_lsn: known(row.get(6)?),
        })
    })?;
    let rows = rows.collect::<rusqlite::Result<_>>()?;
    let count = "SELECT count(*), count(*) FILTER (WHERE lines = 0) FROM gap WHERE destination = ?1";
    let (all, unknown) = tx.prepare_cached(count)?.query_row([destination], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok((rows, all, unknown))
}
