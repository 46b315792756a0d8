//! A look at a state store that no process has: nothing of it is made, changed or locked for long.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, OptionalExtension};

use super::schema;
use crate::base::Result;

/// A value of the store at `path`; none where it has none, or where it cannot be read without being changed.
///
/// # Errors
/// What a start would say: it is no database, or was written by a newer version.
pub fn peek(path: &Path, name: &str) -> Result<Option<Vec<u8>>> {
    let whole = path.display().to_string().replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    // With the journal beside it where its index is there, which then stays as it is; else without.
    for how in ["readonly_shm=1", "immutable=1"] {
        let Ok(connection) = Connection::open_with_flags(format!("file:{whole}?mode=ro&{how}"), flags) else {
            continue;
        };
        match schema::known(&connection) {
            Ok(()) => {}
            Err(error) if error.kind() == crate::base::Kind::Disk => continue,
            Err(error) => return Err(error.context(path.display())),
        }
        let found =
            connection.query_row("SELECT value FROM value WHERE name = ?1", [name], |row| row.get(0)).optional();
        if let Ok(found) = found {
            return Ok(found);
        }
    }
    Ok(None)
}
