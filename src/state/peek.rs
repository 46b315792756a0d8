//! A look at a state store that no process has: nothing of it is made, changed or locked for long.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, OptionalExtension};

use super::schema;
use crate::base::{Error, Kind, Result, Side};

/// A value of the store at `path`; none where it has none, or where it cannot be read without being changed.
///
/// # Errors
/// What a start would say: it is no database, or was written by a newer version.
pub fn peek(path: &Path, name: &str) -> Result<Option<Vec<u8>>> {
    first(path, |connection| {
        connection.query_row("SELECT value FROM value WHERE name = ?1", [name], |row| row.get(0)).optional()
    })
    .map(Option::flatten)
}

/// The store at `path`; none where it cannot be read without being changed.
///
/// # Errors
/// As [`peek`].
fn open(path: &Path) -> Result<Option<Connection>> {
    let mut found = None;
    for how in HOW {
        if found.is_none() {
            found = opened(path, how)?;
        }
    }
    Ok(found)
}

/// The store at `path`, where it has what `known` counts once; `kept`: what an older version kept otherwise, in plural.
///
/// # Errors
/// It cannot be read, is damaged, or was written by a version with another schema.
pub(super) fn open_with(path: &Path, known: &str, kept: &str) -> Result<Connection> {
    let fails = |what: &str| Error::new(Kind::State, Side::Own, format!("{}: {what}", path.display()));
    let connection = open(path)?.ok_or_else(|| {
        fails("the state store cannot be read").hint("run it as the user that twinline runs as (sudo -u twinline …)")
    })?;
    let found = connection.query_row(known, [], |row| row.get::<_, u64>(0));
    match found {
        Ok(1) => Ok(connection),
        Ok(_) => Err(fails(&format!("written by an older version, which kept {kept} otherwise"))
            .hint("start this version once on it: twinline run")),
        Err(e) => Err(fails("the state store cannot be read").because(e)),
    }
}

/// With the journal beside it where its index is there, which then stays as it is; else without.
const HOW: [&str; 2] = ["readonly_shm=1", "immutable=1"];

/// What the first way to open it gives.
fn first<T>(path: &Path, look: impl Fn(&Connection) -> rusqlite::Result<T>) -> Result<Option<T>> {
    for how in HOW {
        if let Some(connection) = opened(path, how)?
            && let Ok(found) = look(&connection)
        {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

fn opened(path: &Path, how: &str) -> Result<Option<Connection>> {
    let whole = path.display().to_string().replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    let Ok(connection) = Connection::open_with_flags(format!("file:{whole}?mode=ro&{how}"), flags) else {
        return Ok(None);
    };
    match schema::known(&connection) {
        Ok(()) => Ok(Some(connection)),
        Err(error) if error.kind() == Kind::Disk => Ok(None),
        Err(error) => Err(error.context(path.display())),
    }
}
