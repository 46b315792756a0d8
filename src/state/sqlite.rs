//! The store on one machine: one SQLite file, one thread that owns it, a bounded queue of calls in front.
//!
//! Promises: no call blocks its caller; calls that wait together become durable together, and one that fails takes none of
//! the others with it. The file is readable by its owner alone.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use tokio::sync::oneshot;

use super::{
    BacklogGap, Cleared, DeadLetterRow, Effects, Event, Gap, GapTaken, LetterPage, LetterQuery, NotMirrored, Noted,
    OwedRow, Pending, ROUTE_BACKLOG, Removal, State, StatementChange, StatementQuery, StatementRow, Totals, dirty,
    gaps, letters, readback, schema, statements, windows,
};
use crate::base::{DestinationId, Error, Kind, Lsn, Result, RouteId, Side};

/// Calls that may wait, which bounds memory; one that finds the queue full fails and may be made again.
const CALLS_WAITING: usize = 1024;
/// Calls that become durable together.
const GROUP_MAX: usize = 256;
/// Different pairs of route and cause among the gaps of one destination.
const GAP_NAMES_MAX: u64 = 10_000;
/// The route of gaps beyond them.
const GAP_OTHER: &str = "other";
/// Dirty regions of one destination unless something else is configured.
const DIRTY_REGIONS_MAX: usize = 10_000;
/// What a further gap of one route and cause makes of its row.
const GAP_GROWS: &str =
    "lines = lines + excluded.lines, from_ns = min(from_ns, excluded.from_ns), to_ns = max(to_ns, excluded.to_ns)";
/// Events kept.
const EVENTS_KEPT: i64 = 10_000;

type Call = Box<dyn Work>;

/// A call as the thread sees it.
trait Work: Send {
    /// Does it, within a savepoint of its own.
    fn run(&mut self, group: &mut Transaction<'_>);
    /// Tells the caller how it went. `fault`: nothing became durable, for this reason.
    fn answer(self: Box<Self>, fault: Option<&str>);
}

struct Job<T, F> {
    what: &'static str,
    work: Option<F>,
    done: Option<rusqlite::Result<T>>,
    answer: oneshot::Sender<Result<T>>,
}

impl<T: Send, F: FnOnce(&Connection) -> rusqlite::Result<T> + Send> Work for Job<T, F> {
    fn run(&mut self, group: &mut Transaction<'_>) {
        let Some(work) = self.work.take() else { return };
        self.done = Some(group.savepoint().and_then(|savepoint| {
            // Dropped without a commit, it is rolled back.
            let value = work(&savepoint)?;
            savepoint.commit()?;
            Ok(value)
        }));
    }

    fn answer(self: Box<Self>, fault: Option<&str>) {
        let failed = || Error::new(Kind::Disk, Side::Own, format!("state store: {}", self.what)).retryable();
        let result = match (self.done, fault) {
            (Some(Err(e)), _) => Err(failed().because(e)),
            (Some(Ok(value)), None) => Ok(value),
            (_, fault) => Err(failed().because(fault.unwrap_or("not done").to_owned())),
        };
        // The caller may have gone away; the work is done all the same.
        let _ = self.answer.send(result);
    }
}

/// [`State`] in a SQLite file.
pub struct SqliteState {
    calls: Option<Sender<Call>>,
    thread: Option<JoinHandle<()>>,
    dirty_regions_max: usize,
}

impl fmt::Debug for SqliteState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SqliteState")
    }
}

impl SqliteState {
    /// Opens or creates the file, for its owner alone.
    ///
    /// # Errors
    /// The file cannot be opened, is no database, or was written by a newer version.
    pub fn open(path: &Path) -> Result<Self> {
        let shown = path.display().to_string();
        let what = || format!("cannot open the state store {shown}");
        let hint = schema::OPEN_HINT;
        own(path).map_err(|e| Error::disk(what(), e).or_hint(hint))?;
        let mut connection =
            Connection::open(path).map_err(|e| Error::new(Kind::Disk, Side::Own, what()).because(e).hint(hint))?;
        schema::prepare(&mut connection).map_err(|e| e.context(&shown))?;
        schema::reserve(&connection, path.parent().unwrap_or(Path::new(".")));
        let (calls, inbox) = bounded::<Call>(CALLS_WAITING);
        let thread = std::thread::Builder::new()
            .name("state".to_owned())
            .spawn(move || {
                serve(&mut connection, &inbox);
                // Left open until the process ends: a close would remove the files beside it, and a start on a disk that is
                // full by then could not make them again.
                std::mem::forget(connection);
            })
            .map_err(|e| Error::disk("cannot start the state thread", e))?;
        Ok(Self { calls: Some(calls), thread: Some(thread), dirty_regions_max: DIRTY_REGIONS_MAX })
    }

    /// With another bound of the dirty regions of one destination.
    #[must_use]
    pub fn with_dirty_regions_max(mut self, dirty_regions_max: usize) -> Self {
        self.dirty_regions_max = dirty_regions_max;
        self
    }

    pub(super) fn call<T: Send + 'static>(
        &self,
        what: &'static str,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Pending<T> {
        let (answer, pending) = oneshot::channel();
        let call: Call = Box::new(Job { what, work: Some(work), done: None, answer });
        if let Some(calls) = &self.calls
            && let Err(TrySendError::Full(call)) = calls.try_send(call)
        {
            call.answer(Some("too many calls wait"));
        }
        // When the thread is gone the answer's sender is dropped with the call, which the caller sees as an error.
        Pending(pending)
    }
}

/// Makes the file its owner's alone, and those beside it, which otherwise take its permissions when they are made.
fn own(path: &Path) -> io::Result<()> {
    std::fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
    for suffix in ["", "-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        match std::fs::set_permissions(&name, std::fs::Permissions::from_mode(0o600)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
    Ok(())
}

/// Works until nobody can call any more.
fn serve(connection: &mut Connection, inbox: &Receiver<Call>) {
    while let Ok(first) = inbox.recv() {
        let mut group = vec![first];
        group.extend(inbox.try_iter().take(GROUP_MAX - 1));
        let fault = run_together(connection, &mut group).err().map(|e| e.to_string());
        for call in group {
            call.answer(fault.as_deref());
        }
    }
}

/// All or, where it fails as a whole, none.
fn run_together(connection: &mut Connection, group: &mut [Call]) -> rusqlite::Result<()> {
    let mut transaction = connection.transaction()?;
    for call in group {
        call.run(&mut transaction);
        // Some faults, such as a full disk, undo the whole transaction: what came before is lost, and the commit says so.
        if transaction.is_autocommit() {
            break;
        }
    }
    transaction.commit()
}

impl Drop for SqliteState {
    fn drop(&mut self) {
        self.calls = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl State for SqliteState {
    fn intern_route(&self, key: &str, limit: usize) -> Pending<RouteId> {
        let key = key.to_owned();
        self.call("cannot note a route", move |tx| {
            let known =
                tx.query_row("SELECT id FROM route WHERE key = ?1", [&key], |row| row.get::<_, u32>(0)).optional()?;
            if let Some(id) = known {
                return Ok(RouteId(id));
            }
            let count: usize = tx.query_row("SELECT count(*) FROM route", [], |row| row.get(0))?;
            if count >= limit {
                return Ok(RouteId(0));
            }
            tx.execute("INSERT INTO route (key) VALUES (?1)", [&key])?;
            Ok(RouteId(u32::try_from(tx.last_insert_rowid()).unwrap_or(0)))
        })
    }

    fn routes(&self) -> Pending<Vec<(RouteId, String)>> {
        self.call("cannot list the routes", |tx| {
            let mut statement = tx.prepare("SELECT id, key FROM route ORDER BY id")?;
            let rows = statement.query_map([], |row| Ok((RouteId(row.get(0)?), row.get(1)?)))?;
            rows.collect()
        })
    }

    fn record(&self, destination: &DestinationId, effects: Effects) -> Pending<()> {
        let destination = destination.to_string();
        let regions_max = self.dirty_regions_max;
        self.call("cannot write delivery's effects", move |tx| {
            write_effects(tx, &destination, &effects)?;
            dirty::write(tx, &destination, &effects.dirty, regions_max)
        })
    }

    fn add_gap(&self, destination: &DestinationId, gap: Gap) -> Pending<()> {
        let destination = destination.to_string();
        self.call("cannot write a gap", move |tx| write_gap(tx, &destination, &gap, GAP_GROWS))
    }

    fn take_gaps(&self, ledger: u64, sums: Vec<GapTaken>) -> Pending<()> {
        self.call("cannot take over gaps", move |tx| take_gaps(tx, ledger, &sums))
    }

    fn backlog_gaps(&self, destination: &DestinationId, floor: Lsn) -> Pending<Vec<BacklogGap>> {
        let destination = destination.to_string();
        self.call("cannot list gaps", move |tx| gaps::backlog(tx, &destination, floor))
    }

    fn damage_gaps(&self, destination: &DestinationId, floor: Lsn) -> Pending<Vec<((Lsn, Lsn), u64)>> {
        let destination = destination.to_string();
        self.call("cannot list gaps", move |tx| gaps::damage(tx, &destination, floor))
    }

    fn seal(&self, destination: &DestinationId, most: usize) -> Pending<Vec<OwedRow>> {
        let destination = destination.to_string();
        self.call("cannot list what is to be read back", move |tx| readback::seal(tx, &destination, most))
    }

    fn clear_owed(&self, destination: &DestinationId, rows: Vec<OwedRow>, cleared: Cleared) -> Pending<Vec<OwedRow>> {
        let destination = destination.to_string();
        self.call("cannot note what was read back", move |tx| readback::clear(tx, &destination, &rows, cleared))
    }

    fn note_statement(&self, destination: &DestinationId, noted: NotMirrored) -> Pending<Noted> {
        let destination = destination.to_string();
        self.call("cannot note a statement", move |tx| statements::note(tx, &destination, &noted))
    }

    fn statements(&self, destination: &DestinationId, query: StatementQuery) -> Pending<Vec<StatementRow>> {
        let destination = destination.to_string();
        self.call("cannot list statements", move |tx| statements::select(tx, &destination, query))
    }

    fn change_statement(&self, destination: &DestinationId, id: i64, change: StatementChange) -> Pending<bool> {
        let destination = destination.to_string();
        self.call("cannot change a statement's row", move |tx| statements::change(tx, &destination, id, &change))
    }

    fn totals(&self, destination: &DestinationId) -> Pending<Totals> {
        let destination = destination.to_string();
        self.call("cannot read the totals", move |tx| read_totals(tx, &destination))
    }

    fn dead_letters(&self, destination: &DestinationId, limit: usize) -> Pending<Vec<DeadLetterRow>> {
        let destination = destination.to_string();
        self.call("cannot list dead letters", move |tx| letters::newest(tx, &destination, limit))
    }

    fn letters(&self, destination: &DestinationId, query: LetterQuery) -> Pending<LetterPage> {
        let destination = destination.to_string();
        self.call("cannot list dead letters", move |tx| letters::page(tx, &destination, &query))
    }

    fn remove_letters(&self, destination: &DestinationId, removal: Removal) -> Pending<u64> {
        let destination = destination.to_string();
        self.call("cannot remove dead letters", move |tx| letters::remove(tx, &destination, &removal))
    }

    fn add_event(&self, event: Event) -> Pending<()> {
        self.call("cannot write an event", move |tx| write_event(tx, &event))
    }

    fn events(&self, after: i64, limit: usize) -> Pending<Vec<(i64, Event)>> {
        self.call("cannot list events", move |tx| {
            let mut statement =
                tx.prepare("SELECT id, at_ns, kind, text FROM event WHERE id > ?1 ORDER BY id LIMIT ?2")?;
            let mut rows = statement.query(params![after, limit])?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                // An event kind that a later version added is shown by that version; this one passes over it.
                if let Ok(kind) = serde_json::from_str(&row.get::<_, String>(2)?) {
                    found.push((row.get(0)?, Event { at_ns: row.get(1)?, kind, text: row.get(3)? }));
                }
            }
            Ok(found)
        })
    }

    fn get_or_set(&self, name: &str, value: Vec<u8>) -> Pending<Vec<u8>> {
        let name = name.to_owned();
        self.call("cannot read a value", move |tx| {
            tx.execute("INSERT INTO value VALUES (?1, ?2) ON CONFLICT DO NOTHING", params![name, value])?;
            tx.query_row("SELECT value FROM value WHERE name = ?1", [name], |row| row.get(0))
        })
    }

    fn get(&self, name: &str) -> Pending<Option<Vec<u8>>> {
        let name = name.to_owned();
        self.call("cannot read a value", move |tx| {
            tx.query_row("SELECT value FROM value WHERE name = ?1", [name], |row| row.get(0)).optional()
        })
    }

    fn highest_lsn(&self) -> Pending<Lsn> {
        self.call("cannot read the numbers of records", |tx| {
            let sql =
                "SELECT coalesce(max(lsn), 0) FROM (SELECT lsn FROM dead_letter UNION ALL SELECT last_lsn FROM gap
                       UNION ALL SELECT last_lsn FROM dirty_region UNION ALL SELECT last_lsn FROM dirty_seen
                       UNION ALL SELECT last_lsn FROM statement
                       UNION ALL SELECT lsn FROM dead_letter_over)";
            tx.query_row(sql, [], |row| row.get(0)).map(Lsn)
        })
    }

    fn set(&self, name: &str, value: Vec<u8>) -> Pending<()> {
        let name = name.to_owned();
        self.call("cannot write a value", move |tx| {
            let sql = "INSERT INTO value VALUES (?1, ?2) ON CONFLICT DO UPDATE SET value = excluded.value";
            tx.execute(sql, params![name, value]).map(drop)
        })
    }
}

pub(super) fn write_event(tx: &Connection, event: &Event) -> rusqlite::Result<()> {
    let kind = serde_json::to_string(&event.kind).unwrap_or_default();
    tx.execute("INSERT INTO event (at_ns, kind, text) VALUES (?1, ?2, ?3)", params![event.at_ns, kind, event.text])?;
    tx.execute("DELETE FROM event WHERE id <= ?1", [tx.last_insert_rowid() - EVENTS_KEPT])?;
    Ok(())
}

fn write_effects(tx: &Connection, destination: &str, effects: &Effects) -> rusqlite::Result<()> {
    let mut dead =
        tx.prepare_cached("INSERT INTO dead_letter VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO NOTHING")?;
    for letter in &effects.dead_letters {
        let reason: String = letter.reason.chars().take(4096).collect();
        let added = dead.execute(params![
            destination,
            letter.lsn.0,
            letter.line,
            letter.route.0,
            letter.code,
            reason,
            letter.text,
            letter.route_name
        ])?;
        if added > 0 {
            windows::note(tx, destination, &letter.code, letter.time_ns)?;
        }
    }
    for gap in &effects.gaps {
        if gap.cause == ROUTE_BACKLOG && stretch_gap(tx, destination, gap)? {
            continue;
        }
        write_gap(tx, destination, gap, "lines = max(lines, excluded.lines)")?;
    }
    Ok(())
}

/// The gap of a route's backlog that begins at the same record grows. False: there is none yet.
fn stretch_gap(tx: &Connection, destination: &str, gap: &Gap) -> rusqlite::Result<bool> {
    let (first, last) = gap.lsns.map_or((0, 0), |(first, last)| (first.0, last.0));
    let mut statement = tx.prepare_cached(
        "UPDATE gap SET last_lsn = max(last_lsn, ?1), lines = max(lines, ?2), from_ns = min(from_ns, ?3),
         to_ns = max(to_ns, ?4) WHERE destination = ?5 AND cause = ?6 AND first_lsn = ?7 AND route_name = ?8",
    )?;
    let sets = params![last, gap.lines, gap.from_ns, gap.to_ns, destination, gap.cause, first, gap.route_name];
    Ok(statement.execute(sets)? > 0)
}

fn write_gap(tx: &Connection, destination: &str, gap: &Gap, on_conflict: &str) -> rusqlite::Result<()> {
    let lsns = gap.lsns.map_or((0, 0), |(first, last)| (first.0, last.0));
    let (route, route_name) = match has_room(tx, destination, gap)? {
        true => (gap.route.map(|r| r.0), gap.route_name.as_str()),
        false => (None, GAP_OTHER),
    };
    let mut statement = tx.prepare_cached(&format!(
        "INSERT INTO gap (destination, route, route_name, cause, from_ns, to_ns, lines, first_lsn, last_lsn)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT DO UPDATE SET {on_conflict}"
    ))?;
    statement.execute(params![
        destination,
        route,
        route_name,
        gap.cause,
        gap.from_ns,
        gap.to_ns,
        gap.lines,
        lsns.0,
        lsns.1
    ])?;
    Ok(())
}

/// Adds what each sum has grown by since it was last taken over. Sums that are not there any more are forgotten: their store
/// never shows them again.
fn take_gaps(tx: &Connection, ledger: u64, sums: &[GapTaken]) -> rusqlite::Result<()> {
    let known: HashMap<u64, u64> = tx
        .prepare_cached("SELECT id, lines FROM gap_taken WHERE ledger = ?1")?
        .query_map([ledger], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    for GapTaken { destinations, id, gap } in sums {
        let before = known.get(id).copied();
        if let Some(more) = gap.lines.checked_sub(before.unwrap_or(0)).filter(|more| *more > 0 || before.is_none()) {
            for destination in destinations {
                write_gap(tx, destination.as_str(), &Gap { lines: more, ..gap.clone() }, GAP_GROWS)?;
            }
        } else if let Some(less) = before.unwrap_or(0).checked_sub(gap.lines).filter(|less| *less > 0) {
            // A gap that was given up after it had been listed.
            let sql =
                "UPDATE gap SET lines = max(lines - ?4, 0) WHERE destination = ?1 AND route_name = ?2 AND cause = ?3
                 AND sealed = 0";
            for destination in destinations {
                tx.execute(sql, params![destination.as_str(), gap.route_name, gap.cause, less])?;
            }
        }
        let sql = "INSERT INTO gap_taken VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET lines = excluded.lines";
        tx.prepare_cached(sql)?.execute(params![ledger, id, gap.lines])?;
    }
    for gone in known.keys().filter(|id| !sums.iter().any(|sum| sum.id == **id)) {
        tx.prepare_cached("DELETE FROM gap_taken WHERE ledger = ?1 AND id = ?2")?.execute(params![ledger, gone])?;
    }
    Ok(())
}

/// Whether a gap may have rows under its own route's name.
fn has_room(tx: &Connection, destination: &str, gap: &Gap) -> rusqlite::Result<bool> {
    if gap.cause == ROUTE_BACKLOG {
        return Ok(true);
    }
    let known = "SELECT EXISTS (SELECT 1 FROM gap WHERE destination = ?1 AND route_name = ?2 AND cause = ?3)";
    if tx.prepare_cached(known)?.query_row(params![destination, gap.route_name, gap.cause], |row| row.get(0))? {
        return Ok(true);
    }
    let names = "SELECT count(*) FROM (SELECT DISTINCT route_name, cause FROM gap WHERE destination = ?1)";
    let names: u64 = tx.prepare_cached(names)?.query_row([destination], |row| row.get(0))?;
    Ok(names < GAP_NAMES_MAX)
}

fn read_totals(tx: &Connection, destination: &str) -> rusqlite::Result<Totals> {
    let pairs = |sql: &str| -> rusqlite::Result<Vec<(String, u64)>> {
        let mut statement = tx.prepare(sql)?;
        let rows = statement.query_map([destination], |row| Ok((row.get(0)?, row.get(1)?)))?;
        rows.collect()
    };
    let count = |sql: &str| tx.query_row(sql, [destination], |row| row.get::<_, u64>(0));
    let (gap_rows, gap_rows_total, gaps_unknown) = gaps::list(tx, destination)?;
    let (rows, statements_total) = statements::list(tx, destination)?;
    let gaps_taken = tx
        .prepare_cached("SELECT ledger, id, lines FROM gap_taken")?
        .query_map([], |row| Ok(((row.get(0)?, row.get(1)?), row.get(2)?)))?
        .collect::<rusqlite::Result<_>>()?;
    Ok(Totals {
        gaps_taken,
        read_back: readback::sums(tx, destination)?,
        copies: super::backfill::ended(tx, destination)?,
        statements: rows,
        statements_total,
        gap_rows,
        gap_rows_total,
        gaps_unknown,
        dead_letters: pairs("SELECT code, lines FROM dead_letter_sum WHERE destination = ?1 ORDER BY code")?,
        dead_letter_reason: tx
            .query_row(
                "SELECT reason FROM dead_letter WHERE destination = ?1 ORDER BY lsn DESC, line DESC LIMIT 1",
                [destination],
                |row| row.get(0),
            )
            .optional()?,
        letters_removed: letters::removed(tx, destination)?,
        dead_letter_bytes: count("SELECT coalesce(sum(bytes), 0) FROM dead_letter_sum WHERE destination = ?1")?,
        dirty_regions: count("SELECT count(*) FROM dirty_region WHERE destination = ?1")?,
        regions: dirty::list(tx, destination)?,
        letter_windows: windows::letters(tx, destination)?,
        gap_windows: windows::gaps(tx, destination)?,
        doubt_window: windows::doubt(tx, destination)?,
        gaps: pairs("SELECT cause, sum(lines) FROM gap WHERE destination = ?1 GROUP BY cause ORDER BY cause")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Retry;
    use crate::state::{DeadLetter, DirtyRegion, EventKind};

    fn open(dir: &tempfile::TempDir) -> (SqliteState, DestinationId) {
        (SqliteState::open(&dir.path().join("state.db")).unwrap(), DestinationId::parse("main").unwrap())
    }

    fn letter(lsn: u64, line: u32) -> DeadLetter {
        DeadLetter {
            lsn: Lsn(lsn),
            line,
            route: RouteId(1),
            route_name: String::new(),
            code: "type-conflict".into(),
            reason: "field type conflict".into(),
            text: b"m v=1 1".to_vec(),
            time_ns: Some(1),
        }
    }

    #[test]
    fn effects_written_twice_count_once_and_survive_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let region = DirtyRegion {
            route_name: "a".into(),
            measurement: b"m".to_vec(),
            from_ns: 0,
            to_ns: 9,
            lsns: (Lsn(3), Lsn(3)),
            cause: "crash",
            lines: 1,
        };
        let effects = Effects { dead_letters: vec![letter(7, 0), letter(7, 3)], dirty: vec![region], gaps: Vec::new() };
        for _ in 0..2 {
            let (state, id) = open(&dir);
            state.record(&id, effects.clone()).wait().unwrap();
            let totals = state.totals(&id).wait().unwrap();
            assert_eq!(totals.dead_letters, vec![("type-conflict".to_owned(), 2)]);
            assert_eq!(totals.dead_letter_bytes, 14);
            assert_eq!(totals.dirty_regions, 1);
        }
        let (state, id) = open(&dir);
        assert_eq!(state.dead_letters(&id, 1).wait().unwrap()[0].line, 3, "newest first");
        let other = DestinationId::parse("other").unwrap();
        assert_eq!(state.totals(&other).wait().unwrap(), Totals::default(), "rows belong to their destination");
    }

    #[test]
    fn gaps_of_one_route_and_cause_add_up() {
        let dir = tempfile::tempdir().unwrap();
        let (state, id) = open(&dir);
        let gap = Gap {
            route: None,
            route_name: "db".into(),
            from_ns: 5,
            to_ns: 6,
            lines: 10,
            lsns: None,
            cause: "queue-full",
        };
        state.add_gap(&id, gap.clone()).wait().unwrap();
        state.add_gap(&id, gap).wait().unwrap();
        assert_eq!(state.totals(&id).wait().unwrap().gaps, vec![("queue-full".to_owned(), 20)]);
    }

    #[test]
    fn sums_that_are_taken_over_again_add_only_what_they_have_grown_by() {
        let dir = tempfile::tempdir().unwrap();
        let sum = |id: u64, lines: u64| GapTaken {
            destinations: vec![DestinationId::parse("main").unwrap()],
            id,
            gap: Gap {
                route: None,
                route_name: "db".into(),
                from_ns: -(lines as i64),
                to_ns: 6,
                lines,
                lsns: None,
                cause: "queue-stalled",
            },
        };
        // Grown, the same again, less (given up), gone and a new one; another gap log has ids of its own.
        for (ledger, sums, total) in [
            (1, vec![sum(1, 10)], 10),
            (1, vec![sum(1, 10)], 10),
            (1, vec![sum(1, 25), sum(2, 1)], 26),
            (1, vec![sum(1, 20), sum(2, 1)], 21),
            (2, vec![sum(1, 5)], 26),
            (1, vec![sum(2, 3)], 28),
            (1, vec![], 28),
            (1, vec![sum(3, 2)], 30),
        ] {
            let (state, id) = open(&dir);
            state.take_gaps(ledger, sums).wait().unwrap();
            assert_eq!(state.totals(&id).wait().unwrap().gaps, vec![("queue-stalled".to_owned(), total)]);
        }
        let (state, _) = open(&dir);
        let rows = state.call("look", |tx| {
            tx.query_row("SELECT (SELECT from_ns FROM gap), (SELECT count(*) FROM gap_taken)", [], |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))
            })
        });
        assert_eq!(rows.wait().unwrap(), (-25, 2), "times cover all; what is gone is forgotten");
    }

    #[test]
    fn the_gap_of_a_routes_backlog_grows_and_is_found_by_its_records() {
        let dir = tempfile::tempdir().unwrap();
        let (state, id) = open(&dir);
        let gap = |first, last, lines| Gap {
            route: Some(RouteId(3)),
            route_name: "d/r".into(),
            from_ns: 5,
            to_ns: 6,
            lines,
            lsns: Some((Lsn(first), Lsn(last))),
            cause: ROUTE_BACKLOG,
        };
        for gap in [gap(10, 20, 100), gap(10, 25, 130), gap(10, 25, 130), gap(40, 41, 2)] {
            state.record(&id, Effects { gaps: vec![gap], ..Effects::default() }).wait().unwrap();
        }
        assert_eq!(state.totals(&id).wait().unwrap().gaps, vec![(ROUTE_BACKLOG.to_owned(), 132)]);
        let found = state.backlog_gaps(&id, Lsn(24)).wait().unwrap();
        let row = |first, last| BacklogGap { route: "d/r".to_owned(), first: Lsn(first), last: Lsn(last) };
        assert_eq!(found, [row(10, 25), row(40, 41)]);
        assert_eq!(state.backlog_gaps(&id, Lsn(25)).wait().unwrap(), [row(40, 41)]);
        let damage = Gap { cause: crate::state::LOG_DAMAGE, ..gap(50, 52, 7) };
        state.record(&id, Effects { gaps: vec![damage], ..Effects::default() }).wait().unwrap();
        let damaged = |floor| state.damage_gaps(&id, Lsn(floor)).wait().unwrap();
        assert_eq!((damaged(51), damaged(52)), (vec![((Lsn(50), Lsn(52)), 7)], vec![]));
    }

    #[test]
    fn routes_keep_their_ids_and_stop_at_the_limit() {
        let dir = tempfile::tempdir().unwrap();
        let (state, _) = open(&dir);
        let a = state.intern_route("a", 2).wait().unwrap();
        let b = state.intern_route("b", 2).wait().unwrap();
        assert_ne!(a, b);
        assert_eq!(state.intern_route("a", 2).wait().unwrap(), a);
        assert_eq!(state.intern_route("c", 2).wait().unwrap(), RouteId(0));
        assert_eq!(state.routes().wait().unwrap().len(), 2);
    }

    #[test]
    fn events_come_back_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let (state, _) = open(&dir);
        for at_ns in 1..=3 {
            state.add_event(Event { at_ns, kind: EventKind::Started, text: "up".into() }).wait().unwrap();
        }
        let events = state.events(1, 10).wait().unwrap();
        assert_eq!(events.iter().map(|(_, e)| e.at_ns).collect::<Vec<_>>(), vec![2, 3]);
    }

    #[test]
    fn a_newer_schema_is_refused_with_a_hint() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.db");
        Connection::open(&path).unwrap().execute_batch("PRAGMA user_version = 99").unwrap();
        let error = SqliteState::open(&path).unwrap_err();
        assert!(error.to_string().contains("99"), "{error}");
        assert!(error.next_step().is_some());
    }

    #[test]
    fn values_are_read_and_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let (state, _) = open(&dir);
        assert_eq!(state.get("mode").wait().unwrap(), None);
        for value in [b"a", b"b"] {
            state.set("mode", value.to_vec()).wait().unwrap();
        }
        assert_eq!(state.get("mode").wait().unwrap(), Some(b"b".to_vec()));
        assert_eq!(state.get_or_set("mode", b"c".to_vec()).wait().unwrap(), b"b");
    }

    #[test]
    fn the_files_are_the_owners_alone_even_if_they_were_not() {
        let dir = tempfile::tempdir().unwrap();
        drop(open(&dir));
        let file = dir.path().join("state.db");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        let (state, _) = open(&dir);
        state.set("mode", b"a".to_vec()).wait().unwrap();
        for name in ["state.db", "state.db-wal", "state.db-shm"] {
            let mode = std::fs::metadata(dir.path().join(name)).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{name}");
        }
    }

    #[test]
    fn a_full_queue_answers_at_once_and_may_be_asked_again() {
        let dir = tempfile::tempdir().unwrap();
        let (state, _) = open(&dir);
        let (begin, begun) = bounded::<()>(0);
        let (go, stop) = bounded::<()>(0);
        let busy = state.call("busy", move |_| {
            begin.send(()).unwrap();
            stop.recv().unwrap();
            Ok(())
        });
        begun.recv().unwrap();
        let waiting: Vec<_> = (0..CALLS_WAITING).map(|_| state.set("n", b"1".to_vec())).collect();
        let error = state.set("n", b"2".to_vec()).wait().unwrap_err();
        assert_eq!(error.retry(), Retry::Yes, "{error}");
        go.send(()).unwrap();
        busy.wait().unwrap();
        waiting.into_iter().for_each(|pending| pending.wait().unwrap());
        assert_eq!(state.get("n").wait().unwrap(), Some(b"1".to_vec()));
    }

    /// Makes calls one group: the thread is held until all of them wait.
    fn together<T>(state: &SqliteState, calls: impl FnOnce() -> T) -> T {
        let (begin, begun) = bounded::<()>(0);
        let (go, stop) = bounded::<()>(0);
        let busy = state.call("busy", move |_| {
            begin.send(()).unwrap();
            stop.recv().unwrap();
            Ok(())
        });
        begun.recv().unwrap();
        let made = calls();
        go.send(()).unwrap();
        busy.wait().unwrap();
        made
    }

    #[test]
    fn a_call_that_fails_takes_no_other_of_its_group_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let (state, _) = open(&dir);
        let (before, bad, after) = together(&state, || {
            let bad = |tx: &Connection| {
                tx.execute("INSERT INTO value VALUES ('half', x'00')", [])?;
                tx.execute("INSERT INTO nowhere VALUES (1)", [])
            };
            (state.set("a", b"1".to_vec()), state.call("bad", bad), state.set("b", b"2".to_vec()))
        });
        before.wait().unwrap();
        bad.wait().unwrap_err();
        after.wait().unwrap();
        assert_eq!(state.get("half").wait().unwrap(), None, "half a call is no call");
        assert_eq!(state.get("a").wait().unwrap(), Some(b"1".to_vec()));
        assert_eq!(state.get("b").wait().unwrap(), Some(b"2".to_vec()));
    }

    #[test]
    fn when_the_whole_group_is_undone_all_of_it_hear_so() {
        let dir = tempfile::tempdir().unwrap();
        let (state, _) = open(&dir);
        let (before, bad, after) = together(&state, || {
            let bad = |tx: &Connection| tx.execute_batch("ROLLBACK");
            (state.set("a", b"1".to_vec()), state.call("bad", bad), state.set("b", b"2".to_vec()))
        });
        assert_eq!(before.wait().unwrap_err().retry(), Retry::Yes);
        bad.wait().unwrap_err();
        after.wait().unwrap_err();
        assert_eq!(state.get("a").wait().unwrap(), None);
        state.set("a", b"1".to_vec()).wait().unwrap();
        assert_eq!(state.get("a").wait().unwrap(), Some(b"1".to_vec()));
    }

    #[test]
    fn rows_of_unlisted_routes_keep_their_owner() {
        let dir = tempfile::tempdir().unwrap();
        let (state, id) = open(&dir);
        let region = |name: &str| DirtyRegion {
            route_name: name.into(),
            measurement: b"m".to_vec(),
            from_ns: 0,
            to_ns: 9,
            lsns: (Lsn(3), Lsn(3)),
            cause: "crash",
            lines: 1,
        };
        let dead = DeadLetter { route: RouteId(0), route_name: "a/b".into(), ..letter(7, 0) };
        let effects = Effects { dead_letters: vec![dead], dirty: vec![region("x"), region("y")], gaps: Vec::new() };
        state.record(&id, effects).wait().unwrap();
        assert_eq!(state.totals(&id).wait().unwrap().dirty_regions, 2);
        assert_eq!(state.dead_letters(&id, 1).wait().unwrap()[0].route, "a/b");
    }

    #[test]
    fn gaps_of_ever_new_routes_end_up_under_one_name() {
        let dir = tempfile::tempdir().unwrap();
        let (state, id) = open(&dir);
        let fill = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9999)
             INSERT INTO gap (destination, route_name, cause, from_ns, to_ns, lines, first_lsn, last_lsn)
             SELECT 'main', 'r' || i, 'queue-full', 0, 0, 1, 0, 0 FROM n";
        state.call("fill", move |tx| tx.execute_batch(fill)).wait().unwrap();
        let gap = |name: &str| Gap {
            route: None,
            route_name: name.into(),
            from_ns: 5,
            to_ns: 6,
            lines: 1,
            lsns: None,
            cause: "queue-full",
        };
        for name in ["last", "late", "later", "r7"] {
            state.add_gap(&id, gap(name)).wait().unwrap();
        }
        // But for one that tells which records it holds: it is found by its name.
        let backlog = Gap { cause: ROUTE_BACKLOG, lsns: Some((Lsn(1), Lsn(2))), ..gap("stands") };
        state.record(&id, Effects { gaps: vec![backlog], ..Effects::default() }).wait().unwrap();
        assert_eq!(state.backlog_gaps(&id, Lsn(0)).wait().unwrap()[0].route, "stands");
        let lines = |name: &'static str| {
            let sql = "SELECT coalesce(sum(lines), 0) FROM gap WHERE route_name = ?1";
            state.call("look", move |tx| tx.query_row(sql, [name], |row| row.get::<_, u64>(0))).wait().unwrap()
        };
        assert_eq!((lines("last"), lines("late"), lines("other"), lines("r7")), (1, 0, 2, 2));
        let gaps = [("queue-full".to_owned(), 10_003), (ROUTE_BACKLOG.to_owned(), 1)];
        assert_eq!(state.totals(&id).wait().unwrap().gaps, gaps);
    }
}
