//! What a start would refuse of a log that no process has, told without taking part in it.
//!
//! Promise: nothing is locked, made or changed; the words are those of a start. What [`super::look::Look::open`] refuses itself
//! is not told again.

use std::io;
use std::path::Path;

use super::cursor;
use super::recover::{disk_error, misnamed, other_node, read_header, written_by};
use super::segment::{Unreadable, parse_name, parse_next_name};
use crate::base::disk::{Disk, Open};
use crate::base::{Error, Result};

/// What a start would refuse of the log in `dir` (`<data>/wal`), each thing once. `node`: the installation that the state
/// store beside it belongs to, where that is known.
///
/// # Errors
/// The directory cannot be read.
pub fn refusals(disk: &dyn Disk, dir: &Path, node: Option<[u8; 16]>) -> Result<Vec<Error>> {
    let mut refused = Vec::new();
    for (name, doing) in [("LOCK", "cannot lock"), ("gaps.log", "cannot open the gap log")] {
        let path = dir.join(name);
        refused.extend(odd(disk, &path).map(|error| disk_error(doing, &path, error)));
    }
    let seg = dir.join("seg");
    let mut names = disk.list(&seg).map_err(|e| disk_error("cannot list", &seg, e))?;
    names.sort_unstable();
    let mut node = node;
    // The newest first: it says whose log this is where nothing else does.
    for name in names.iter().rev() {
        let path = seg.join(name);
        if parse_next_name(name).is_some() {
            let cannot = |error| disk_error("cannot take over the prepared file", &path, error);
            refused.extend(odd(disk, &path).map(cannot));
        }
        let Some(id) = parse_name(name) else { continue };
        // What cannot be opened is refused by whoever looks at it.
        let Ok(file) = disk.open(&path, Open::Read) else { continue };
        let header = file.length().and_then(|bytes| read_header(file.as_ref(), id, bytes));
        match header {
            Ok(Ok(header)) if *node.get_or_insert(header.node) != header.node => {
                refused.extend(node.map(|ours| other_node(&path, header.node, ours)));
            }
            Ok(Err(Unreadable::Misnamed(id))) => refused.push(misnamed(&path, id)),
            _ => {}
        }
    }
    // What a cursor cannot say is told by whoever looks at it.
    let node = written_by(disk, &seg)?.or(node);
    for id in cursor::list(disk, dir)? {
        let loaded = cursor::load(disk, dir, &id).ok().and_then(|loaded| loaded.cursor);
        refused.extend(loaded.zip(node).and_then(|(cursor, node)| cursor.check_node(dir, node).err()));
    }
    Ok(refused)
}

/// Why this is no file that a start opens; none where there is nothing.
fn odd(disk: &dyn Disk, path: &Path) -> Option<io::Error> {
    let error = disk.open(path, Open::Read).err()?;
    (error.kind() != io::ErrorKind::NotFound).then_some(error)
}
