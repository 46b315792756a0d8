//! The file of the gap log: two halves, of which the one with the higher generation counts. `GAPS.md` is the format.
//!
//! Promise: after [`GapFile::append`] or [`GapFile::rewrite`] has said `Ok`, the sums are read back after any crash that the
//! medium's assumptions allow. The file never grows: all its space was written with zeros when it was made. After the first
//! error it takes nothing more (a failed sync is never tried again).

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::table::{GapSum, Missed};
use crate::base::bounds::GAP_LOG_BYTES;
use crate::base::crc::crc32c;
use crate::base::disk::{Disk, DiskFile, Durability, Open, read_full_at};
use crate::base::{Lsn, RequestId, RouteId};
use crate::wal::record::{ALIGN, HEADER_BYTES, Header, Kind, array_at, payload_crc, record_bytes, seed, u64_at};

/// Name of the file.
pub(super) const NAME: &str = "gaps.log";
/// Bytes of one half.
pub(super) const HALF_BYTES: u64 = GAP_LOG_BYTES / 2;
const MAGIC: &[u8; 8] = b"TWGAPS1\n";
/// A head stands twice, each in a sector of its own.
const SECTOR: usize = 512;
const HEAD_BYTES: usize = 2 * SECTOR;
/// Bytes of a head that mean something, with the checksum at their end.
const HEAD_USED: usize = 60;
/// Fixed part of a record's payload.
const FIXED: usize = 38;

/// What a half says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    /// This gap log; a file that replaces a damaged one is another.
    ledger: u64,
    generation: u64,
    salt: u64,
    /// Records up to here were durable when this generation began: first and last number.
    first: u64,
    base: u64,
    /// Ids up to here were given away before.
    last_id: u64,
}

impl Head {
    fn encode(&self) -> [u8; SECTOR] {
        let mut out = [0; SECTOR];
        out[..8].copy_from_slice(MAGIC);
        let fields = [self.ledger, self.generation, self.salt, self.first, self.base, self.last_id];
        for (at, field) in fields.into_iter().enumerate() {
            out[8 + 8 * at..16 + 8 * at].copy_from_slice(&field.to_le_bytes());
        }
        let crc = crc32c(&out[..HEAD_USED - 4]);
        out[HEAD_USED - 4..HEAD_USED].copy_from_slice(&crc.to_le_bytes());
        out
    }

    fn decode(sector: &[u8]) -> Option<Self> {
        let crc = u32::from_le_bytes(array_at(sector, HEAD_USED - 4));
        let sound = sector.starts_with(MAGIC) && crc32c(&sector[..HEAD_USED - 4]) == crc;
        let field = |at: usize| u64_at(sector, 8 + 8 * at);
        sound.then(|| Self {
            ledger: field(0),
            generation: field(1),
            salt: field(2),
            first: field(3),
            base: field(4),
            last_id: field(5),
        })
    }
}

/// What a start found.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) file: GapFile,
    pub(super) sums: Vec<GapSum>,
    pub(super) last_id: u64,
    /// Acknowledged records that cannot be read; `u64::MAX` when not even their number is known.
    pub(super) damaged: u64,
}

/// The open file.
#[derive(Debug)]
pub(super) struct GapFile {
    file: Arc<dyn DiskFile>,
    head: Head,
    /// Where the next record goes, within the half.
    at: u64,
    /// Number of the last record that is durable.
    number: u64,
    chain: u32,
    fault: Option<String>,
}

impl GapFile {
    /// Opens the file in `dir`, or makes it. What cannot be read is put aside.
    pub(super) fn open(disk: &dyn Disk, dir: &Path) -> io::Result<Recovered> {
        let path = dir.join(NAME);
        // A name that was made by a process which died then may not be durable yet.
        disk.sync_dir(dir)?;
        let file = match disk.open(&path, Open::Write) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Self::make(disk, dir, 0),
            Err(error) => return Err(error),
        };
        let mut bytes = vec![0; 2 * HALF_BYTES as usize];
        let read = read_full_at(file.as_ref(), &mut bytes, 0)?;
        bytes.truncate(read);
        let Some((head, half)) = newest(&bytes) else {
            put_aside(disk, dir, &path)?;
            return Self::make(disk, dir, u64::MAX);
        };
        let found = records(&half[HEAD_BYTES..], &head);
        let file = Self { file, at: HALF_BYTES, number: found.last, chain: 0, fault: None, head };
        let last_id = found.sums.keys().last().map_or(head.last_id, |id| head.last_id.max(*id));
        let mut recovered =
            Recovered { file, sums: found.sums.into_values().collect(), last_id, damaged: found.damaged };
        // What was read may be in the page cache alone, and an earlier incarnation's half is never appended to.
        recovered.file.rewrite(&recovered.sums, last_id)?;
        Ok(recovered)
    }

    fn make(disk: &dyn Disk, dir: &Path, damaged: u64) -> io::Result<Recovered> {
        let (path, next) = (dir.join(NAME), dir.join(format!("{NAME}.next")));
        match disk.remove(&next) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = disk.open(&next, Open::Create)?;
        let zeros = vec![0; HALF_BYTES as usize];
        file.write_all_at(&[IoSlice::new(&zeros), IoSlice::new(&zeros)], 0, Durability::Durable)?;
        // Ids go into columns that know no larger numbers.
        let ledger = fastrand::u64(1..=i64::MAX as u64);
        let head = Head { ledger, generation: 0, salt: 0, first: 1, base: 0, last_id: 0 };
        let mut file = Self { file, head, at: HALF_BYTES, number: 0, chain: 0, fault: None };
        // Both halves get a head: one that cannot be read is damage from then on.
        file.rewrite(&[], 0)?;
        file.rewrite(&[], 0)?;
        disk.rename(&next, &path)?;
        disk.sync_dir(dir)?;
        Ok(Recovered { file, sums: Vec::new(), last_id: 0, damaged })
    }

    /// Tells this gap log from others.
    pub(super) fn ledger(&self) -> u64 {
        self.head.ledger
    }

    /// Why it takes nothing.
    pub(super) fn fault(&self) -> Option<&str> {
        self.fault.as_deref()
    }

    /// Makes sums durable behind the others; the last of an id counts. `Ok(false)`: there is no room, rewrite instead.
    pub(super) fn append(&mut self, sums: &[GapSum]) -> io::Result<bool> {
        self.sound()?;
        let records = self.encode(sums, seed(self.head.salt), self.number, self.chain);
        if self.at + records.bytes.len() as u64 > HALF_BYTES {
            return Ok(false);
        }
        let at = half_at(self.head.generation) + self.at;
        let written = self.file.write_all_at(&[IoSlice::new(&records.bytes)], at, Durability::Durable);
        self.latch(written)?;
        (self.at, self.number, self.chain) = (self.at + records.bytes.len() as u64, records.last, records.chain);
        Ok(true)
    }

    /// Makes these, and only these, what the file holds: in the other half, whose head comes last.
    pub(super) fn rewrite(&mut self, sums: &[GapSum], last_id: u64) -> io::Result<()> {
        self.sound()?;
        let salt = fastrand::u64(..);
        let records = self.encode(sums, seed(salt), self.number, 0);
        if HEAD_BYTES as u64 + records.bytes.len() as u64 > HALF_BYTES {
            return self.latch(Err(io::ErrorKind::StorageFull.into()));
        }
        let (generation, ledger) = (self.head.generation + 1, self.head.ledger);
        let head = Head { ledger, generation, salt, first: self.number + 1, base: records.last, last_id };
        let start = half_at(generation);
        let written = self
            .file
            .write_all_at(&[IoSlice::new(&records.bytes)], start + HEAD_BYTES as u64, Durability::Durable)
            .and_then(|()| {
                let sector = head.encode();
                let twice = [IoSlice::new(&sector), IoSlice::new(&sector)];
                self.file.write_all_at(&twice, start, Durability::Durable)
            });
        self.latch(written)?;
        let at = HEAD_BYTES as u64 + records.bytes.len() as u64;
        (self.head, self.at, self.number, self.chain) = (head, at, records.last, records.chain);
        Ok(())
    }

    fn sound(&self) -> io::Result<()> {
        self.fault.as_ref().map_or(Ok(()), |fault| Err(io::Error::other(fault.clone())))
    }

    fn latch<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &result {
            self.fault = Some(error.to_string());
        }
        result
    }

    fn encode(&self, sums: &[GapSum], seed: u32, number: u64, chain: u32) -> Encoded {
        let mut out = Encoded { bytes: Vec::new(), last: number, chain };
        for sum in sums {
            let payload = payload(sum);
            out.last += 1;
            let header = Header {
                payload_bytes: payload.len() as u32,
                lsn: Lsn(out.last),
                durable: Lsn(self.number),
                received_ns: 0,
                payload_crc: payload_crc(&[], &payload),
                chain: out.chain,
                kind: Kind::Gap.code(),
                flags: 0,
                meta_bytes: 0,
                route: RouteId(0),
                request: RequestId(0),
                lines: u32::try_from(sum.missed.lines).unwrap_or(u32::MAX),
            };
            let (head, crc) = header.encode(seed);
            out.chain = crc;
            out.bytes.extend_from_slice(&head);
            out.bytes.extend_from_slice(&payload);
            out.bytes.resize(out.bytes.len().next_multiple_of(HEADER_BYTES), 0);
        }
        out
    }
}

struct Encoded {
    bytes: Vec<u8>,
    last: u64,
    chain: u32,
}

fn half_at(generation: u64) -> u64 {
    (generation % 2) * HALF_BYTES
}

fn payload(sum: &GapSum) -> Vec<u8> {
    let missed = &sum.missed;
    let mut out = Vec::with_capacity(FIXED + missed.place.len() + 64);
    out.extend_from_slice(&sum.id.to_le_bytes());
    out.extend_from_slice(&missed.from_ns.to_le_bytes());
    out.extend_from_slice(&missed.to_ns.to_le_bytes());
    out.extend_from_slice(&missed.lines.to_le_bytes());
    for name in [&missed.owner, &missed.place, &missed.cause] {
        // The table cuts names long before this.
        out.extend_from_slice(&u16::try_from(name.len()).unwrap_or(u16::MAX).to_le_bytes());
    }
    for name in [&missed.owner, &missed.place, &missed.cause] {
        out.extend_from_slice(name.as_bytes());
    }
    out
}

fn read_payload(bytes: &[u8]) -> Option<GapSum> {
    let (fixed, names) = bytes.split_at_checked(FIXED)?;
    let length = |at: usize| usize::from(u16::from_le_bytes(array_at(fixed, 32 + 2 * at)));
    let (owner, rest) = names.split_at_checked(length(0))?;
    let (place, rest) = rest.split_at_checked(length(1))?;
    let (cause, rest) = rest.split_at_checked(length(2))?;
    let text = |name: &[u8]| String::from_utf8(name.to_vec()).ok();
    let missed = Missed {
        owner: text(owner)?,
        place: text(place)?,
        cause: text(cause)?,
        from_ns: i64::from_le_bytes(array_at(fixed, 8)),
        to_ns: i64::from_le_bytes(array_at(fixed, 16)),
        lines: u64_at(fixed, 24),
    };
    rest.is_empty().then_some(GapSum { id: u64_at(fixed, 0), missed })
}

/// The half that counts. `None` when one cannot be read that may have been it.
fn newest(bytes: &[u8]) -> Option<(Head, &[u8])> {
    let (first, second) = bytes.split_at_checked(HALF_BYTES as usize)?;
    if second.len() < HALF_BYTES as usize {
        return None;
    }
    let mut newest: Option<(Head, &[u8])> = None;
    for half in [first, second] {
        let copies = [&half[..SECTOR], &half[SECTOR..HEAD_BYTES]];
        let head = copies.into_iter().filter_map(Head::decode).max_by_key(|head| head.generation);
        match head {
            Some(head) if newest.is_none_or(|(other, _)| other.generation < head.generation) => {
                newest = Some((head, half));
            }
            Some(_) => {}
            None => return None,
        }
    }
    newest
}

struct Found {
    sums: BTreeMap<u64, GapSum>,
    last: u64,
    damaged: u64,
}

/// Every sound record of a half, wherever it stands: damage costs exactly the damaged records.
fn records(half: &[u8], head: &Head) -> Found {
    let seed = seed(head.salt);
    let mut sums: BTreeMap<u64, (u64, GapSum)> = BTreeMap::new();
    let (mut numbers, mut durable) = (BTreeSet::new(), head.base);
    let mut at = 0;
    while let Some(bytes) = half.get(at..at + HEADER_BYTES) {
        at += ALIGN as usize;
        let Some((header, _)) = Header::decode(&array_at(bytes, 0), seed) else { continue };
        let Some(payload) = half.get(at..at + header.payload_bytes as usize) else { continue };
        durable = durable.max(header.durable.0);
        if payload_crc(&[], payload) != header.payload_crc {
            continue;
        }
        let Some(sum) = read_payload(payload) else { continue };
        numbers.insert(header.lsn.0);
        at += record_bytes(payload.len()) as usize - HEADER_BYTES;
        let number = header.lsn.0;
        let kept = sums.entry(sum.id).or_insert_with(|| (number, sum.clone()));
        if kept.0 < number {
            *kept = (number, sum);
        }
    }
    let last = numbers.last().copied().unwrap_or(0).max(durable);
    let acknowledged = (durable + 1).saturating_sub(head.first);
    let damaged = acknowledged - numbers.range(..=durable).count() as u64;
    Found { sums: sums.into_iter().map(|(id, (_, sum))| (id, sum)).collect(), last, damaged }
}

/// Bytes that a sum with so many bytes of names fills.
#[cfg(test)]
pub(super) fn sum_bytes(names: usize) -> u64 {
    record_bytes(FIXED + names)
}

/// A file that cannot be read is kept as evidence, under the first free name.
fn put_aside(disk: &dyn Disk, dir: &Path, path: &Path) -> io::Result<()> {
    let names = disk.list(dir)?;
    let free = (1u64..).map(|at| format!("{NAME}.damaged-{at}")).find(|name| !names.contains(name));
    let aside: PathBuf = dir.join(free.unwrap_or_default());
    disk.rename(path, &aside)?;
    disk.sync_dir(dir)
}
