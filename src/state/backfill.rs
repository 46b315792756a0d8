//! Jobs that copy history, and the chunks of each.
//!
//! Promise: a chunk that stands here as written was acknowledged by the destination, all of it, before the row became durable; windows
//! without such a row are copied (again) by the next run. What the destination refused of a job is listed once, however often its chunk
//! is repeated.

use std::fmt;
use std::path::Path;

use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};

use super::{Pending, SqliteState, peek};
use crate::base::{DestinationId, Result};

/// The tables, as the schema got them in its eleventh version.
pub(super) const TABLES: &str = "
CREATE TABLE backfill_job (
  id INTEGER PRIMARY KEY AUTOINCREMENT, destination TEXT NOT NULL, scope TEXT NOT NULL, key BLOB NOT NULL, state TEXT NOT NULL,
  created_ns INTEGER NOT NULL, ended_ns INTEGER NOT NULL DEFAULT 0, note TEXT NOT NULL DEFAULT '');
CREATE TABLE backfill_chunk (
  id INTEGER PRIMARY KEY AUTOINCREMENT, job INTEGER NOT NULL, route TEXT NOT NULL, measurement BLOB NOT NULL,
  from_ns INTEGER NOT NULL, to_ns INTEGER NOT NULL, state TEXT NOT NULL, attempt INTEGER NOT NULL, points INTEGER NOT NULL,
  cells INTEGER NOT NULL, bytes INTEGER NOT NULL, sum BLOB NOT NULL, types TEXT NOT NULL, changes TEXT NOT NULL,
  first_ns INTEGER NOT NULL, last_ns INTEGER NOT NULL, started_ns INTEGER NOT NULL, ended_ns INTEGER NOT NULL,
  error TEXT NOT NULL, parent INTEGER NOT NULL);
CREATE INDEX backfill_chunk_place ON backfill_chunk (job, route, measurement, from_ns);
CREATE TABLE backfill_letter (
  job INTEGER NOT NULL, route TEXT NOT NULL, text BLOB NOT NULL, measurement BLOB NOT NULL, code TEXT NOT NULL,
  reason TEXT NOT NULL, time_ns INTEGER NOT NULL, PRIMARY KEY (job, route, text)) WITHOUT ROWID;
";

/// Letters and failed chunks that one look lists.
const LISTED_MAX: usize = 1000;
/// Copies that have ended, of which the status speaks.
const COPIES_MAX: usize = 100;

/// What a job tries again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TriedAgain {
    /// Chunks that were given up.
    pub chunks: u64,
    /// Lines that the destination refused; all of their windows are copied again.
    pub lines: u64,
    /// Refused lines of which the window is not known any more, as they were called otherwise at the source.
    pub left: u64,
}

impl fmt::Display for TriedAgain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { chunks, lines, left } = self;
        write!(f, "tried again are {chunks} chunks that were given up, and the windows of {lines} refused lines")?;
        match left {
            0 => Ok(()),
            left => write!(
                f,
                "; {left} refused lines are not, as their name is not that of the source: twinline backfill refused"
            ),
        }
    }
}

/// How a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// Somebody works on it, or died over it.
    Running,
    /// Ended early; it can be resumed.
    Stopped,
    /// All of it is copied.
    Done,
    /// Some chunks failed, or lines were refused: these are listed.
    Partial,
    /// Given up.
    Cancelled,
}

impl JobState {
    /// As the table has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Done => "done",
            Self::Partial => "partial",
            Self::Cancelled => "cancelled",
        }
    }

    fn named(name: &str) -> Self {
        let all = [Self::Running, Self::Stopped, Self::Done, Self::Partial];
        all.into_iter().find(|state| state.name() == name).unwrap_or(Self::Cancelled)
    }

    /// Whether it can go on.
    #[must_use]
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Running | Self::Stopped)
    }
}

/// A job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobRow {
    /// Its number.
    pub id: i64,
    /// What it is to copy, as JSON.
    pub scope: String,
    /// The key of its sums.
    pub key: [u8; 16],
    /// How it stands.
    pub state: JobState,
    /// Wall clock, ns.
    pub created_ns: i64,
    /// Wall clock, ns; 0 while it is open.
    pub ended_ns: i64,
    /// Why it ended.
    pub note: String,
}

/// A chunk that has come to an end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChunkRow {
    /// Canonical text of the route.
    pub route: String,
    /// Measurement, unescaped.
    pub measurement: Vec<u8>,
    /// First nanosecond.
    pub from_ns: i64,
    /// The first behind it; `i64::MAX` includes the last.
    pub to_ns: i64,
    /// `written`, `released`, `failed`, `split`.
    pub state: &'static str,
    /// How often it was tried before.
    pub attempt: u32,
    /// Points in it.
    pub points: u64,
    /// Cells in it.
    pub cells: u64,
    /// Bytes of line protocol that were sent for it.
    pub bytes: u64,
    /// Keyed sum of its cells.
    pub sum: [u8; 16],
    /// Cells by type: float, integer, unsigned, boolean, string.
    pub types: [u64; 5],
    /// Cells that the destination does not hold as they were, by kind of change.
    pub changes: Vec<u64>,
    /// First and last time in it.
    pub times_ns: (i64, i64),
    /// Wall clock, ns.
    pub started_ns: i64,
    /// Wall clock, ns.
    pub ended_ns: i64,
    /// Why it failed, or was made smaller.
    pub error: String,
    /// The chunk that it is a part of; 0: none.
    pub parent: i64,
    /// How far the job is with it, which is kept in the same step.
    pub progress: Option<KeptProgress>,
}

/// How far a job is, as it is kept for whoever goes on with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptProgress {
    /// Of the work, in parts per million.
    pub done_ppm: u64,
    /// Time of work so far, ms.
    pub work_ms: u64,
    /// How long the rest takes, s, where that could be said.
    pub left_s: Option<u64>,
}

/// A line that the destination refused for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackfillLetter {
    /// Canonical text of the route.
    pub route: String,
    /// Measurement at the source, unescaped.
    pub measurement: Vec<u8>,
    /// Short stable code.
    pub code: String,
    /// The destination's words.
    pub reason: String,
    /// The line as it was sent.
    pub text: Vec<u8>,
    /// Of the point, ns.
    pub time_ns: i64,
}

/// What stands of a job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobSums {
    /// Chunks that are at the destination.
    pub chunks: u64,
    /// Points in them.
    pub points: u64,
    /// Cells in them.
    pub cells: u64,
    /// Bytes that were sent for them.
    pub bytes: u64,
    /// Changes by kind.
    pub changes: Vec<u64>,
    /// Refused lines by code.
    pub letters: Vec<(String, u64)>,
    /// Chunks that were given up: route, measurement, from, to, why; at most 1,000.
    pub failed: Vec<(String, Vec<u8>, i64, i64, String)>,
    /// How far it is.
    pub progress: Option<KeptProgress>,
}

/// The store of jobs; a call's future says `Ok` once it is durable.
pub trait BackfillStore: Send + Sync + std::fmt::Debug {
    /// Begins a job; `None` where one is open.
    fn begin_job(&self, destination: &DestinationId, scope: String, key: [u8; 16], at_ns: i64) -> Pending<Option<i64>>;
    /// The newest job.
    fn last_job(&self, destination: &DestinationId) -> Pending<Option<JobRow>>;
    /// Sets how a job stands, and why.
    fn set_job(&self, job: i64, state: JobState, note: String, at_ns: i64) -> Pending<()>;
    /// Notes a chunk that has come to an end; its number.
    fn note_chunk(&self, job: i64, row: ChunkRow) -> Pending<i64>;
    /// Windows within these bounds that need no copy any more, in order.
    fn covered(&self, job: i64, route: &str, measurement: &[u8], window: (i64, i64)) -> Pending<Vec<(i64, i64)>>;
    /// Notes refused lines; idempotent.
    fn refuse(&self, job: i64, letters: Vec<BackfillLetter>) -> Pending<()>;
    /// Cells at the destination by route and measurement.
    fn done_cells(&self, job: i64) -> Pending<Vec<(String, Vec<u8>, u64)>>;
    /// Forgets what failed and what was refused, with the window of each refused line, so that all of it is copied again. The job stands as
    /// stopped then.
    fn forget_failed(&self, job: i64) -> Pending<TriedAgain>;
    /// What stands of a job.
    fn job_sums(&self, job: i64) -> Pending<JobSums>;
}

impl BackfillStore for SqliteState {
    fn begin_job(&self, destination: &DestinationId, scope: String, key: [u8; 16], at_ns: i64) -> Pending<Option<i64>> {
        let destination = destination.to_string();
        self.call("cannot begin a backfill job", move |tx| {
            let open = "SELECT 1 FROM backfill_job WHERE destination = ?1 AND state IN ('running', 'stopped')";
            if tx.query_row(open, [&destination], |_| Ok(())).optional()?.is_some() {
                return Ok(None);
            }
            let sql = "INSERT INTO backfill_job (destination, scope, key, state, created_ns) VALUES (?1, ?2, ?3, 'running', ?4)";
            tx.execute(sql, params![destination, scope, key, at_ns])?;
            Ok(Some(tx.last_insert_rowid()))
        })
    }

    fn last_job(&self, destination: &DestinationId) -> Pending<Option<JobRow>> {
        let destination = destination.to_string();
        self.call("cannot read the backfill job", move |tx| last_job(tx, &destination))
    }

    fn set_job(&self, job: i64, state: JobState, note: String, at_ns: i64) -> Pending<()> {
        let ended_ns = if state.is_open() { 0 } else { at_ns };
        self.call("cannot note how the backfill job stands", move |tx| {
            let sql = "UPDATE backfill_job SET state = ?2, note = ?3, ended_ns = ?4 WHERE id = ?1";
            tx.execute(sql, params![job, state.name(), note, ended_ns]).map(|_| ())
        })
    }

    fn note_chunk(&self, job: i64, row: ChunkRow) -> Pending<i64> {
        self.call("cannot note a chunk", move |tx| note_chunk(tx, job, &row))
    }

    fn covered(&self, job: i64, route: &str, measurement: &[u8], window: (i64, i64)) -> Pending<Vec<(i64, i64)>> {
        let (route, measurement) = (route.to_owned(), measurement.to_vec());
        self.call("cannot read the chunks of a job", move |tx| {
            let sql = "SELECT from_ns, to_ns FROM backfill_chunk WHERE job = ?1 AND route = ?2 AND measurement = ?3
                       AND from_ns < ?5 AND to_ns > ?4 AND state IN ('written', 'released', 'failed') ORDER BY from_ns";
            let mut statement = tx.prepare_cached(sql)?;
            let rows = statement.query_map(params![job, route, measurement, window.0, window.1], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?;
            rows.collect()
        })
    }

    fn refuse(&self, job: i64, letters: Vec<BackfillLetter>) -> Pending<()> {
        self.call("cannot put refused lines aside", move |tx| {
            let sql = "INSERT OR REPLACE INTO backfill_letter (job, route, text, measurement, code, reason, time_ns)
                       VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
            let mut statement = tx.prepare_cached(sql)?;
            for one in &letters {
                let BackfillLetter { route, measurement, code, reason, text, time_ns } = one;
                statement.execute(params![job, route, text, measurement, code, reason, time_ns])?;
            }
            Ok(())
        })
    }

    fn done_cells(&self, job: i64) -> Pending<Vec<(String, Vec<u8>, u64)>> {
        self.call("cannot read what a job has copied", move |tx| {
            let sql = "SELECT route, measurement, sum(cells) FROM backfill_chunk
                       WHERE job = ?1 AND state IN ('written', 'released') GROUP BY route, measurement";
            let mut statement = tx.prepare_cached(sql)?;
            let rows = statement.query_map([job], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
            rows.collect()
        })
    }

    fn forget_failed(&self, job: i64) -> Pending<TriedAgain> {
        self.call("cannot forget what a job gave up", move |tx| forget_failed(tx, job))
    }

    fn job_sums(&self, job: i64) -> Pending<JobSums> {
        self.call("cannot add up a job", move |tx| job_sums(tx, job))
    }
}

fn forget_failed(tx: &Connection, job: i64) -> rusqlite::Result<TriedAgain> {
    // Windows that are copied do not overlap: the last that begins at or before a line is its own, if any is.
    let of_line = |column: &str| {
        format!(
            "(SELECT {column} FROM backfill_chunk AS chunk
              WHERE chunk.job = letter.job AND chunk.route = letter.route AND chunk.measurement = letter.measurement
              AND chunk.from_ns <= letter.time_ns AND chunk.state IN ('written', 'released')
              ORDER BY chunk.from_ns DESC LIMIT 1)"
        )
    };
    // The end of all time belongs to its window.
    let is_known = format!("({to} > letter.time_ns OR {to} = {end})", to = of_line("chunk.to_ns"), end = i64::MAX);
    let sql = format!(
        "SELECT DISTINCT {id} FROM backfill_letter AS letter WHERE letter.job = ?1 AND {is_known}",
        id = of_line("chunk.id")
    );
    let windows: Vec<i64> = tx.prepare(&sql)?.query_map([job], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    let lines =
        tx.execute(&format!("DELETE FROM backfill_letter AS letter WHERE letter.job = ?1 AND {is_known}"), [job])?;
    for id in &windows {
        tx.execute("DELETE FROM backfill_chunk WHERE id = ?1", [id])?;
    }
    let chunks = tx.execute("DELETE FROM backfill_chunk WHERE job = ?1 AND state = 'failed'", [job])?;
    // What ends us before it works again leaves a job that is to be resumed, and no lines that nobody knows of.
    tx.execute("UPDATE backfill_job SET state = 'stopped', ended_ns = 0 WHERE id = ?1", [job])?;
    let left =
        tx.query_row("SELECT count(*) FROM backfill_letter WHERE job = ?1", [job], |row| row.get::<_, i64>(0))?;
    Ok(TriedAgain { chunks: chunks as u64, lines: lines as u64, left: u64::try_from(left).unwrap_or_default() })
}

fn last_job(tx: &Connection, destination: &str) -> rusqlite::Result<Option<JobRow>> {
    let sql = "SELECT id, scope, key, state, created_ns, ended_ns, note FROM backfill_job WHERE destination = ?1
               ORDER BY id DESC LIMIT 1";
    tx.query_row(sql, [destination], |row| {
        Ok(JobRow {
            id: row.get(0)?,
            scope: row.get(1)?,
            key: row.get(2)?,
            state: JobState::named(&row.get::<_, String>(3)?),
            created_ns: row.get(4)?,
            ended_ns: row.get(5)?,
            note: row.get(6)?,
        })
    })
    .optional()
}

/// A copy that has come to its end by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EndedCopy {
    /// The number of its job.
    pub job: i64,
    /// What it was to copy, as JSON.
    pub scope: String,
    /// `Done` or `Partial`.
    pub state: JobState,
    /// Wall clock, ns: when it began.
    pub created_ns: i64,
}

/// Those to a destination, the newest first.
pub(super) fn ended(tx: &Connection, destination: &str) -> rusqlite::Result<Vec<EndedCopy>> {
    let sql = format!(
        "SELECT id, scope, state, created_ns FROM backfill_job WHERE destination = ?1 AND state IN ('done', 'partial')
         ORDER BY id DESC LIMIT {COPIES_MAX}"
    );
    let mut statement = tx.prepare_cached(&sql)?;
    let rows = statement.query_map([destination], |row| {
        let state = JobState::named(&row.get::<_, String>(2)?);
        Ok(EndedCopy { job: row.get(0)?, scope: row.get(1)?, state, created_ns: row.get(3)? })
    })?;
    rows.collect()
}

/// The name of a job's progress among the values.
fn progress_name(job: i64) -> String {
    format!("backfill-progress/{job}")
}

fn note_progress(tx: &Connection, job: i64, progress: KeptProgress) -> rusqlite::Result<()> {
    let text = serde_json::to_vec(&progress).map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()))?;
    let sql = "INSERT INTO value VALUES (?1, ?2) ON CONFLICT DO UPDATE SET value = excluded.value";
    tx.execute(sql, params![progress_name(job), text]).map(|_| ())
}

/// What cannot be read any more is not known.
fn kept_progress(tx: &Connection, job: i64) -> rusqlite::Result<Option<KeptProgress>> {
    let sql = "SELECT value FROM value WHERE name = ?1";
    let text: Option<Vec<u8>> = tx.query_row(sql, [progress_name(job)], |row| row.get(0)).optional()?;
    Ok(text.and_then(|text| serde_json::from_slice(&text).ok()))
}

fn note_chunk(tx: &Connection, job: i64, row: &ChunkRow) -> rusqlite::Result<i64> {
    row.progress.map_or(Ok(()), |progress| note_progress(tx, job, progress))?;
    // One row for many windows without a point: their number is that of the measurements times the groups.
    if matches!(row.state, "written" | "released") && row.cells == 0 {
        let sql =
            "UPDATE backfill_chunk SET to_ns = ?5, ended_ns = ?6 WHERE job = ?1 AND route = ?2 AND measurement = ?3
                   AND from_ns < ?4 AND to_ns = ?4 AND cells = 0 AND state = ?7 RETURNING id";
        let key = params![job, row.route, row.measurement, row.from_ns, row.to_ns, row.ended_ns, row.state];
        if let Some(id) = tx.query_row(sql, key, |row| row.get(0)).optional()? {
            return Ok(id);
        }
    }
    let list = |counts: &[u64]| counts.iter().map(u64::to_string).collect::<Vec<_>>().join(" ");
    let changes = if row.changes.iter().any(|count| *count > 0) { list(&row.changes) } else { String::new() };
    let sql = "INSERT INTO backfill_chunk (job, route, measurement, from_ns, to_ns, state, attempt, points, cells, bytes, sum,
               types, changes, first_ns, last_ns, started_ns, ended_ns, error, parent)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)";
    let values = params![
        job,
        row.route,
        row.measurement,
        row.from_ns,
        row.to_ns,
        row.state,
        row.attempt,
        row.points,
        row.cells,
        row.bytes,
        row.sum,
        list(&row.types),
        changes,
        row.times_ns.0,
        row.times_ns.1,
        row.started_ns,
        row.ended_ns,
        row.error,
        row.parent,
    ];
    tx.execute(sql, values)?;
    Ok(tx.last_insert_rowid())
}

fn job_sums(tx: &Connection, job: i64) -> rusqlite::Result<JobSums> {
    let sql = "SELECT count(*), coalesce(sum(points), 0), coalesce(sum(cells), 0), coalesce(sum(bytes), 0)
               FROM backfill_chunk WHERE job = ?1 AND state IN ('written', 'released')";
    let mut sums = tx.query_row(sql, [job], |row| {
        let (chunks, points, cells, bytes) = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
        Ok(JobSums { chunks, points, cells, bytes, ..JobSums::default() })
    })?;
    sums.progress = kept_progress(tx, job)?;
    let sql =
        "SELECT changes FROM backfill_chunk WHERE job = ?1 AND state IN ('written', 'released') AND changes <> ''";
    let mut statement = tx.prepare(sql)?;
    let mut rows = statement.query([job])?;
    while let Some(row) = rows.next()? {
        for (at, count) in row.get::<_, String>(0)?.split(' ').filter_map(|count| count.parse::<u64>().ok()).enumerate()
        {
            if sums.changes.len() <= at {
                sums.changes.resize(at + 1, 0);
            }
            sums.changes[at] += count;
        }
    }
    let sql = "SELECT code, count(*) FROM backfill_letter WHERE job = ?1 GROUP BY code";
    let mut statement = tx.prepare(sql)?;
    sums.letters =
        statement.query_map([job], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<rusqlite::Result<_>>()?;
    let sql = format!(
        "SELECT route, measurement, from_ns, to_ns, error FROM backfill_chunk WHERE job = ?1 AND state = 'failed'
         ORDER BY id LIMIT {LISTED_MAX}"
    );
    let mut statement = tx.prepare(&sql)?;
    let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?));
    sums.failed = statement.query_map([job], row)?.collect::<rusqlite::Result<_>>()?;
    Ok(sums)
}

/// The jobs in a store that another process may have open; nothing of it is changed.
#[derive(Debug)]
pub struct BackfillFile(Connection);

impl BackfillFile {
    /// Opens it.
    ///
    /// # Errors
    /// It cannot be read, is damaged, or was written by a version without jobs.
    pub fn open(path: &Path) -> Result<Self> {
        let known = "SELECT count(*) FROM sqlite_schema WHERE name = 'backfill_job'";
        peek::open_with(path, known, "no jobs of backfill").map(Self)
    }

    /// The newest job of a destination, with what stands of it.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn last(&self, destination: &DestinationId) -> Result<Option<(JobRow, JobSums)>> {
        let fault = |e: rusqlite::Error| {
            crate::base::Error::new(crate::base::Kind::State, crate::base::Side::Own, "the state store cannot be read")
                .because(e)
        };
        let Some(job) = last_job(&self.0, destination.as_str()).map_err(fault)? else { return Ok(None) };
        let sums = job_sums(&self.0, job.id).map_err(fault)?;
        Ok(Some((job, sums)))
    }

    /// Refused lines of a job, at most 1,000.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn letters(&self, job: i64) -> Result<Vec<BackfillLetter>> {
        let sql = format!(
            "SELECT route, measurement, code, reason, text, time_ns FROM backfill_letter WHERE job = ?1 LIMIT {LISTED_MAX}"
        );
        let read = || -> rusqlite::Result<Vec<BackfillLetter>> {
            let mut statement = self.0.prepare(&sql)?;
            let rows = statement.query_map([job], |row| {
                Ok(BackfillLetter {
                    route: row.get(0)?,
                    measurement: row.get(1)?,
                    code: row.get(2)?,
                    reason: row.get(3)?,
                    text: row.get(4)?,
                    time_ns: row.get(5)?,
                })
            })?;
            rows.collect()
        };
        read().map_err(|e| {
            crate::base::Error::new(crate::base::Kind::State, crate::base::Side::Own, "the state store cannot be read")
                .because(e)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::State as _;

    fn chunk(from_ns: i64, to_ns: i64, cells: u64, state: &'static str) -> ChunkRow {
        let changes = vec![0, cells];
        ChunkRow {
            route: "r".into(),
            measurement: b"m".to_vec(),
            from_ns,
            to_ns,
            cells,
            points: cells,
            state,
            changes,
            ..ChunkRow::default()
        }
    }

    #[test]
    fn a_job_is_begun_once_and_knows_what_it_needs_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.db");
        let state = SqliteState::open(&path).unwrap();
        let id = DestinationId::parse("main").unwrap();
        let job = state.begin_job(&id, "{}".into(), [7; 16], 5).wait().unwrap().unwrap();
        assert_eq!(state.begin_job(&id, "{}".into(), [7; 16], 5).wait().unwrap(), None, "one is open");
        for row in [
            chunk(0, 10, 3, "written"),
            chunk(10, 20, 0, "written"),
            chunk(20, 30, 0, "written"),
            chunk(30, 40, 9, "split"),
            chunk(40, 50, 0, "failed"),
        ] {
            state.note_chunk(job, row).wait().unwrap();
        }
        let covered = |from, to| state.covered(job, "r", b"m", (from, to)).wait().unwrap();
        assert_eq!(covered(0, 100), [(0, 10), (10, 30), (40, 50)], "empty windows are one row");
        assert_eq!(covered(30, 40), []);
        assert_eq!(state.covered(job, "r", b"n", (0, 100)).wait().unwrap(), []);
        let letter = BackfillLetter {
            route: "r".into(),
            measurement: b"m".to_vec(),
            code: "parse".into(),
            reason: "no".into(),
            text: b"m v=1 7".to_vec(),
            time_ns: 7,
        };
        state.refuse(job, vec![letter.clone(), letter.clone()]).wait().unwrap();
        state.refuse(job, vec![letter.clone()]).wait().unwrap();
        let sums = state.job_sums(job).wait().unwrap();
        assert_eq!((sums.points, &sums.changes[..], sums.failed.len()), (3, &[0, 3][..], 1));
        assert_eq!(sums.letters, [("parse".to_owned(), 1)], "told twice, it is one");
        let other = BackfillLetter { measurement: b"renamed".to_vec(), text: b"x v=1 7".to_vec(), ..letter };
        state.refuse(job, vec![other]).wait().unwrap();
        let again = state.forget_failed(job).wait().unwrap();
        assert_eq!(again, TriedAgain { chunks: 1, lines: 1, left: 1 });
        assert!(again.to_string().ends_with(
            "; 1 refused lines are not, as their name is not that of the source: twinline backfill refused"
        ));
        assert_eq!(covered(0, 100), [(10, 30)], "the window of the refused line is copied again");
        assert_eq!(state.job_sums(job).wait().unwrap().letters, [("parse".to_owned(), 1)]);
        assert_eq!(state.last_job(&id).wait().unwrap().unwrap().state, JobState::Stopped, "until it works again");
        state.note_chunk(job, chunk(0, 10, 3, "written")).wait().unwrap();
        state.set_job(job, JobState::Running, String::new(), 8).wait().unwrap();
        let file = BackfillFile::open(&path).unwrap();
        let (row, beside) = file.last(&id).unwrap().unwrap();
        assert_eq!((row.state, row.key, beside.points), (JobState::Running, [7; 16], 3));
        assert_eq!(state.totals(&id).wait().unwrap().copies, [], "none has come to its end");
        state.set_job(job, JobState::Done, String::new(), 9).wait().unwrap();
        let copy = EndedCopy { job, scope: "{}".into(), state: JobState::Done, created_ns: 5 };
        assert_eq!(state.totals(&id).wait().unwrap().copies, [copy]);
        assert_eq!(state.totals(&DestinationId::parse("other").unwrap()).wait().unwrap().copies, []);
        assert!(state.begin_job(&id, "{}".into(), [7; 16], 5).wait().unwrap().is_some());
    }
}
