//! Where a flipped bit hits: looks at the bytes of the simulated disk with its own eyes, not with recovery's.

use std::path::{Path, PathBuf};

use super::super::record::{ALIGN, HEADER_BYTES, Header, array_at, seed};
use super::super::segment::{HEADER_BLOCK_BYTES, SegmentHeader, data_end, parse_name, twin_offset};
use super::rig::DIR;
use crate::base::Lsn;
use crate::base::disk::simulated::SimulatedDisk;
use crate::base::disk::{Disk, Open, read_full_at};

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Hits {
    Nothing,
    Record(Lsn),
    Cursor,
}

#[derive(Debug)]
pub(super) struct Flip {
    pub(super) path: PathBuf,
    pub(super) byte: u64,
    pub(super) bit: u8,
    pub(super) hits: Hits,
}

fn bytes_of(disk: &SimulatedDisk, path: &Path) -> Vec<u8> {
    let Ok(file) = disk.open(path, Open::Read) else { return Vec::new() };
    let mut bytes = vec![0; file.length().unwrap_or(0) as usize];
    let read = read_full_at(file.as_ref(), &mut bytes, 0).unwrap_or(0);
    bytes.truncate(read);
    bytes
}

/// Both copies of a segment's header.
fn headers(bytes: &[u8]) -> [Option<SegmentHeader>; 2] {
    let block = |at: u64| {
        let at = usize::try_from(at).ok()?;
        SegmentHeader::decode(bytes.get(at..at + HEADER_BLOCK_BYTES as usize)?).ok()
    };
    [block(0), block(twin_offset(bytes.len() as u64))]
}

/// The places of all records with a sound header.
pub(super) fn records(bytes: &[u8], header: &SegmentHeader) -> Vec<(std::ops::Range<u64>, Lsn)> {
    let end = data_end(header.capacity).min(bytes.len() as u64);
    let (mut at, mut found) = (HEADER_BLOCK_BYTES, Vec::new());
    while at + ALIGN <= end {
        let head = array_at::<HEADER_BYTES>(bytes, at as usize);
        match Header::decode(&head, seed(header.salt)) {
            Some((record, _)) if record.lsn >= header.base => {
                found.push((at..at + record.record_bytes(), record.lsn));
                at += record.record_bytes();
            }
            _ => at += ALIGN,
        }
    }
    found
}

/// A bit of a segment or, sometimes, of a cursor. `None` where that bit would cost more than a record.
pub(super) fn choose(disk: &SimulatedDisk, which: u64) -> Option<Flip> {
    let mut random = fastrand::Rng::with_seed(which);
    let (cursors, segments): (Vec<_>, Vec<_>) = disk
        .files()
        .into_iter()
        .filter(|(path, length)| *length > 0 && path.starts_with(DIR))
        .filter(|(path, _)| path.extension().is_some_and(|ending| ending == "wal" || ending == "cur"))
        .filter(|(path, _)| !path.starts_with(Path::new(DIR).join("quarantine")))
        .partition(|(path, _)| path.extension().is_some_and(|ending| ending == "cur"));
    let bit = random.u8(0..8);
    if random.u32(0..10) == 0 {
        let (path, length) = cursors.first()?.clone();
        return Some(Flip { path, byte: random.u64(0..length), bit, hits: Hits::Cursor });
    }
    // Mostly the last one: there recovery has to tell a flip from a torn tail.
    let at = if random.bool() { segments.len().checked_sub(1)? } else { random.usize(0..segments.len().max(1)) };
    let (path, length) = segments.get(at)?.clone();
    let bytes = bytes_of(disk, &path);
    let headers = headers(&bytes);
    let name = path.file_name()?.to_str()?;
    let header = headers.iter().flatten().find(|header| Some(header.id) == parse_name(name))?;
    let found = records(&bytes, header);
    // Mostly where something stands.
    let used = found.last().map_or(HEADER_BLOCK_BYTES, |(range, _)| range.end);
    let byte = if random.u32(0..8) == 0 { random.u64(0..length) } else { random.u64(0..used) };
    let whole = headers.iter().all(Option::is_some);
    let in_header = byte < HEADER_BLOCK_BYTES || byte >= data_end(header.capacity);
    if in_header && !whole {
        return None;
    }
    let hit = found.iter().find(|(range, _)| range.contains(&byte)).map(|(_, lsn)| *lsn);
    Some(Flip { path, byte, bit, hits: hit.map_or(Hits::Nothing, Hits::Record) })
}
