//! Dead letters one by one: pages of them in order, and their removal.
//!
//! Promises: a page is bounded in letters, bytes and rows looked at, whatever is asked for. A letter that was removed is counted
//! by what became of it, for ever; one whose record may be delivered again does not come back for that.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, params};

use super::{DeadLetterRow, Event, EventKind, peek};
use crate::base::{DestinationId, Error, Kind, Lsn, Result, Side};

/// Rows that one page looks at; where none of them is wanted, the page is empty and says where to go on.
const LOOKED_AT_MAX: usize = 10_000;
/// Letters of one page.
pub const PAGE_LETTERS_MAX: usize = 1000;
/// Bytes of their texts and reasons; one letter always fits.
const PAGE_BYTES_MAX: usize = 2 << 20;

/// Names a dead letter: the record that brought the line, and the line's number in it.
pub type LetterId = (Lsn, u32);

/// What became of letters that are not there any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LetterFate {
    /// The source's present values of its cells are at the destination.
    Repaired,
    /// The source does not have its cells any more.
    Obsolete,
    /// Its text was sent as it stood.
    Raw,
    /// An operator gave it up.
    Purged,
}

impl LetterFate {
    /// As the table and documents have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Repaired => "repaired",
            Self::Obsolete => "obsolete",
            Self::Raw => "raw",
            Self::Purged => "purged",
        }
    }

    const fn told(self) -> &'static str {
        match self {
            Self::Repaired => "repaired from the source",
            Self::Obsolete => "obsolete: the source does not have their cells any more",
            Self::Raw => "sent as they stood",
            Self::Purged => "purged by an operator",
        }
    }
}

/// Which letters a page is to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LetterQuery {
    /// The first that may be in it.
    pub from: LetterId,
    /// The last that may be in it.
    pub to: LetterId,
    /// At most so many, and never more than [`PAGE_LETTERS_MAX`].
    pub limit: usize,
    /// Only those with this code.
    pub code: Option<String>,
}

impl Default for LetterQuery {
    fn default() -> Self {
        Self { from: (Lsn::ZERO, 0), to: (Lsn(i64::MAX as u64), u32::MAX), limit: PAGE_LETTERS_MAX, code: None }
    }
}

/// A dead letter with every byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredLetter {
    /// Which it is.
    pub id: LetterId,
    /// Route as text, canonical where it is known so.
    pub route: String,
    /// Short code.
    pub code: String,
    /// The destination's words.
    pub reason: String,
    /// The line.
    pub text: Vec<u8>,
}

/// Which letters go, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal {
    /// They; those that are not there are passed over.
    pub ids: Vec<LetterId>,
    /// What became of them.
    pub fate: LetterFate,
    /// Records above it may be delivered again.
    pub floor: Lsn,
    /// Now, ns.
    pub at_ns: i64,
}

/// Some letters in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LetterPage {
    /// They.
    pub letters: Vec<StoredLetter>,
    /// From where on there may be more.
    pub next: Option<LetterId>,
    /// Letters that are not there any more, by what became of them.
    pub removed: Vec<(String, u64)>,
}

pub(super) fn page(tx: &Connection, destination: &str, query: &LetterQuery) -> rusqlite::Result<LetterPage> {
    let mut statement = tx.prepare_cached(
        "SELECT d.lsn, d.line, coalesce(r.key, d.route_name), d.code, d.reason, d.text FROM dead_letter d
         LEFT JOIN route r ON r.id = d.route
         WHERE d.destination = ?1 AND (d.lsn, d.line) >= (?2, ?3) AND (d.lsn, d.line) <= (?4, ?5)
         ORDER BY d.lsn, d.line LIMIT ?6",
    )?;
    let LetterQuery { from, to, limit, code } = query;
    let bounds = params![destination, from.0.0, from.1, to.0.0, to.1, LOOKED_AT_MAX + 1];
    let mut rows = statement.query(bounds)?;
    let mut found = LetterPage { removed: removed(tx, destination)?, ..LetterPage::default() };
    let (mut bytes, mut looked_at) = (0, 0);
    while let Some(row) = rows.next()? {
        let id = (Lsn(row.get(0)?), row.get(1)?);
        let full = found.letters.len() >= (*limit).clamp(1, PAGE_LETTERS_MAX) || looked_at >= LOOKED_AT_MAX;
        if full {
            found.next = Some(id);
            break;
        }
        looked_at += 1;
        let its: String = row.get(3)?;
        if code.as_ref().is_some_and(|code| *code != its) {
            continue;
        }
        let (reason, text): (String, Vec<u8>) = (row.get(4)?, row.get(5)?);
        bytes += reason.len() + text.len();
        if bytes > PAGE_BYTES_MAX && !found.letters.is_empty() {
            found.next = Some(id);
            break;
        }
        found.letters.push(StoredLetter { id, route: row.get(2)?, code: its, reason, text });
    }
    Ok(found)
}

/// What became of those that are not there any more.
pub(super) fn removed(tx: &Connection, destination: &str) -> rusqlite::Result<Vec<(String, u64)>> {
    let mut statement =
        tx.prepare_cached("SELECT fate, lines FROM dead_letter_removed WHERE destination = ?1 ORDER BY fate")?;
    let rows = statement.query_map([destination], |row| Ok((row.get(0)?, row.get(1)?)))?;
    rows.collect()
}

/// Removes letters, says how many were there, and leaves an event.
pub(super) fn remove(tx: &Connection, destination: &str, removal: &Removal) -> rusqlite::Result<u64> {
    let Removal { ids, fate, floor, at_ns } = removal;
    // Nobody delivers these again.
    tx.execute("DELETE FROM dead_letter_over WHERE destination = ?1 AND lsn <= ?2", params![destination, floor.0])?;
    let mut delete = tx.prepare_cached("DELETE FROM dead_letter WHERE destination = ?1 AND lsn = ?2 AND line = ?3")?;
    let mut over = tx.prepare_cached("INSERT INTO dead_letter_over VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING")?;
    let mut count = 0;
    for (lsn, line) in ids {
        let was_there = delete.execute(params![destination, lsn.0, line])? > 0;
        if was_there && lsn > floor {
            over.execute(params![destination, lsn.0, line])?;
        }
        count += u64::from(was_there);
    }
    if count > 0 {
        let sql = "INSERT INTO dead_letter_removed VALUES (?1, ?2, ?3)
                   ON CONFLICT DO UPDATE SET lines = lines + excluded.lines";
        tx.execute(sql, params![destination, fate.name(), count])?;
        tell(tx, destination, count, *fate, *at_ns)?;
    }
    Ok(count)
}

/// Thousands go page by page: what follows within this time is told in the same event.
const ONE_EVENT_NS: i64 = 60_000_000_000;

/// One event, whose number grows while nothing else happens.
fn tell(tx: &Connection, destination: &str, count: u64, fate: LetterFate, at_ns: i64) -> rusqlite::Result<()> {
    let (kind, rest) =
        (EventKind::DeadLettersRemoved, format!(" dead letter(s) of {destination} are gone, {}", fate.told()));
    let named = serde_json::to_string(&kind).unwrap_or_default();
    let newest =
        "SELECT id, text FROM event WHERE id = (SELECT max(id) FROM event) AND kind = ?1 AND at_ns BETWEEN ?2 AND ?3";
    let before = tx
        .query_row(newest, params![named, at_ns.saturating_sub(ONE_EVENT_NS), at_ns], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))
        })
        .optional()?;
    let known = before.and_then(|(id, text)| Some((id, text.strip_suffix(rest.as_str())?.parse::<u64>().ok()?)));
    match known {
        Some((id, known)) => {
            let text = format!("{}{rest}", known + count);
            tx.execute("UPDATE event SET text = ?1 WHERE id = ?2", params![text, id]).map(drop)
        }
        None => super::sqlite::write_event(tx, &Event { at_ns, kind, text: format!("{count}{rest}") }),
    }
}

pub(super) fn newest(tx: &Connection, destination: &str, limit: usize) -> rusqlite::Result<Vec<DeadLetterRow>> {
    let mut statement = tx.prepare(
        "SELECT d.lsn, d.line, coalesce(r.key, d.route_name), d.code, d.reason, d.text FROM dead_letter d
         LEFT JOIN route r ON r.id = d.route WHERE destination = ?1 ORDER BY d.lsn DESC, d.line DESC LIMIT ?2",
    )?;
    let rows = statement.query_map(params![destination, limit], |row| {
        Ok(DeadLetterRow {
            lsn: row.get(0)?,
            line: row.get(1)?,
            route: row.get(2)?,
            code: row.get(3)?,
            reason: row.get(4)?,
            text: String::from_utf8_lossy(&row.get::<_, Vec<u8>>(5)?).into_owned(),
        })
    })?;
    rows.collect()
}

/// The letters of a data directory that no process has: nothing of it is made or changed.
#[derive(Debug)]
pub struct LetterFile(Connection);

impl LetterFile {
    /// Opens the store at `path`.
    ///
    /// # Errors
    /// It cannot be read, is damaged, or was written by a version with another schema.
    pub fn open(path: &Path) -> Result<Self> {
        let known = "SELECT count(*) FROM sqlite_schema WHERE name = 'dead_letter_removed'";
        peek::open_with(path, known, "dead letters").map(Self)
    }

    /// Destinations that have letters, or had some.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn destinations(&self) -> Result<Vec<String>> {
        let read = || -> rusqlite::Result<Vec<String>> {
            let sql = "SELECT destination FROM dead_letter_sum UNION SELECT destination FROM dead_letter_removed";
            self.0.prepare(sql)?.query_map([], |row| row.get(0))?.collect()
        };
        read().map_err(broken)
    }

    /// Some letters of a destination, in order.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn page(&self, destination: &DestinationId, query: &LetterQuery) -> Result<LetterPage> {
        page(&self.0, &destination.to_string(), query).map_err(broken)
    }
}

fn broken(e: rusqlite::Error) -> Error {
    Error::new(Kind::Disk, Side::Own, "cannot read the dead letters").because(e)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::RouteId;
    use crate::state::{DeadLetter, Effects, SqliteState, State};

    fn open(dir: &tempfile::TempDir) -> (SqliteState, DestinationId) {
        (SqliteState::open(&dir.path().join("state.db")).unwrap(), DestinationId::parse("main").unwrap())
    }

    fn letter(lsn: u64, line: u32, code: &str, text: &[u8]) -> DeadLetter {
        let (code, reason, route_name) = (code.to_owned(), "no".to_owned(), "d".to_owned());
        DeadLetter {
            lsn: Lsn(lsn),
            line,
            route: RouteId(0),
            route_name,
            code,
            reason,
            text: text.to_vec(),
            time_ns: None,
        }
    }

    fn put(state: &SqliteState, id: &DestinationId, dead_letters: Vec<DeadLetter>) {
        state.record(id, Effects { dead_letters, ..Effects::default() }).wait().unwrap();
    }

    fn gone(ids: &[(u64, u32)], fate: LetterFate, floor: u64) -> Removal {
        let ids = ids.iter().map(|(lsn, line)| (Lsn(*lsn), *line)).collect();
        Removal { ids, fate, floor: Lsn(floor), at_ns: 1 }
    }

    #[test]
    fn pages_follow_each_other_and_are_bounded_in_letters_and_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let (state, id) = open(&dir);
        let large = vec![b'x'; PAGE_BYTES_MAX];
        let mut letters: Vec<DeadLetter> =
            (0..5).map(|at| letter(at + 1, 7, if at % 2 == 0 { "even" } else { "odd" }, b"m\xff v=1")).collect();
        letters.extend([letter(9, 0, "odd", &large), letter(9, 1, "odd", &large)]);
        put(&state, &id, letters);
        let page = |query: LetterQuery| state.letters(&id, query).wait().unwrap();
        let ids =
            |page: &LetterPage| page.letters.iter().map(|letter| (letter.id.0.0, letter.id.1)).collect::<Vec<_>>();
        let mut query = LetterQuery { limit: 2, ..LetterQuery::default() };
        let mut seen = Vec::new();
        loop {
            let found = page(query.clone());
            seen.extend(ids(&found));
            let Some(next) = found.next else { break };
            query.from = next;
        }
        assert_eq!(seen, [(1, 7), (2, 7), (3, 7), (4, 7), (5, 7), (9, 0), (9, 1)]);
        let found = page(LetterQuery { from: (Lsn(9), 0), ..LetterQuery::default() });
        assert_eq!((ids(&found), found.next), (vec![(9, 0)], Some((Lsn(9), 1))), "bytes bound it too");
        let odd = LetterQuery { code: Some("odd".to_owned()), to: (Lsn(4), u32::MAX), ..LetterQuery::default() };
        let found = page(odd);
        assert_eq!((ids(&found), found.next), (vec![(2, 7), (4, 7)], None));
        assert_eq!((found.letters[0].text.as_slice(), found.letters[0].route.as_str()), (&b"m\xff v=1"[..], "d"));
    }

    #[test]
    fn a_page_of_rare_letters_says_where_to_go_on() {
        let dir = tempfile::tempdir().unwrap();
        let (state, id) = open(&dir);
        let many = LOOKED_AT_MAX as u64 + 5;
        put(&state, &id, (1..=many).map(|at| letter(at, 0, "parse", b"")).collect());
        let query = LetterQuery { code: Some("other".to_owned()), ..LetterQuery::default() };
        let found = state.letters(&id, query).wait().unwrap();
        assert_eq!((found.letters.len(), found.next), (0, Some((Lsn(LOOKED_AT_MAX as u64 + 1), 0))));
    }

    #[test]
    fn removed_letters_free_their_bytes_and_are_counted_once_by_fate() {
        let dir = tempfile::tempdir().unwrap();
        let (state, id) = open(&dir);
        put(&state, &id, vec![letter(1, 0, "parse", b"abc"), letter(2, 0, "parse", b"de"), letter(3, 0, "late", b"f")]);
        let remove = |removal| state.remove_letters(&id, removal).wait().unwrap();
        assert_eq!(remove(gone(&[(1, 0), (3, 0), (77, 0)], LetterFate::Purged, 3)), 2);
        assert_eq!(remove(gone(&[(1, 0), (3, 0)], LetterFate::Purged, 3)), 0, "they are gone already");
        assert_eq!(remove(gone(&[(2, 0)], LetterFate::Repaired, 3)), 1);
        drop(state);
        let (state, id) = open(&dir);
        let totals = state.totals(&id).wait().unwrap();
        assert_eq!((totals.dead_letters, totals.dead_letter_bytes), (vec![], 0));
        assert_eq!(totals.letters_removed, [("purged".to_owned(), 2), ("repaired".to_owned(), 1)]);
        let events = state.events(0, 9).wait().unwrap();
        let texts: Vec<&str> = events.iter().map(|(_, event)| event.text.as_str()).collect();
        let purged = "2 dead letter(s) of main are gone, purged by an operator";
        assert_eq!(texts, [purged, "1 dead letter(s) of main are gone, repaired from the source"]);
        let more = |at_ns, lsn| {
            put(&state, &id, vec![letter(lsn, 0, "parse", b"x")]);
            let removal = Removal { at_ns, ..gone(&[(lsn, 0)], LetterFate::Repaired, 9) };
            assert_eq!(state.remove_letters(&id, removal).wait().unwrap(), 1);
            state.events(0, 9).wait().unwrap().pop().unwrap().1.text
        };
        let told = |number: u64| format!("{number} dead letter(s) of main are gone, repaired from the source");
        assert_eq!((more(2, 4), more(1 + ONE_EVENT_NS, 5)), (told(2), told(3)), "the same event, its number grown");
        assert_eq!(more(2 + ONE_EVENT_NS, 6), told(1), "a new one after a minute");
        // Delivered again after a crash, and refused again.
        put(&state, &id, vec![letter(1, 0, "parse", b"abc")]);
        assert_eq!(
            state.totals(&id).wait().unwrap().dead_letter_bytes,
            3,
            "below the floor nothing is delivered again"
        );
    }

    #[test]
    fn a_removed_letter_above_the_floor_does_not_come_back_when_its_record_is_delivered_again() {
        let dir = tempfile::tempdir().unwrap();
        let (state, id) = open(&dir);
        let letters = vec![letter(5, 0, "parse", b"abc"), letter(5, 1, "parse", b"de")];
        put(&state, &id, letters.clone());
        assert_eq!(state.remove_letters(&id, gone(&[(5, 1)], LetterFate::Purged, 4)).wait().unwrap(), 1);
        put(&state, &id, letters);
        let totals = state.totals(&id).wait().unwrap();
        assert_eq!((totals.dead_letters, totals.dead_letter_bytes), (vec![("parse".to_owned(), 1)], 3));
        assert_eq!(totals.letters_removed, [("purged".to_owned(), 1)]);
        // Once the floor has passed, what was kept for that goes.
        state.remove_letters(&id, gone(&[], LetterFate::Purged, 5)).wait().unwrap();
        put(&state, &id, vec![letter(5, 1, "parse", b"de")]);
        assert_eq!(state.totals(&id).wait().unwrap().dead_letter_bytes, 5);
    }

    #[test]
    fn the_file_of_a_stopped_process_is_read_with_its_journal_and_not_changed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.db");
        let (state, id) = open(&dir);
        put(&state, &id, vec![letter(1, 0, "parse", b"abc")]);
        drop(state);
        let before = std::fs::read(&path).unwrap();
        let file = LetterFile::open(&path).unwrap();
        assert_eq!(file.destinations().unwrap(), ["main"]);
        assert_eq!(file.page(&id, &LetterQuery::default()).unwrap().letters.len(), 1);
        assert_eq!(std::fs::read(&path).unwrap(), before);
        Connection::open(&path).unwrap().execute_batch("DROP TABLE dead_letter_removed").unwrap();
        assert!(LetterFile::open(&path).unwrap_err().to_string().contains("older version"));
    }
}
