//! Looks at a log without taking part in it: for operators, beside a running process or on a stopped directory.
//!
//! Promises: nothing is locked, made, changed, renamed or removed. Records are told sound from damaged by the walk that
//! readers and recovery use, so that nobody disagrees about what is damage. Of a stopped log, what a start would find is
//! said: D, sound records above it, the torn tail. Beside a running process a file may be used again while we read it;
//! what such a file shows is nothing ([`Look::stands`]).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::cursor::{self, Loaded};
use super::reader::parts;
use super::record::{HEADER_BYTES, Header, Kind, SKIPPABLE};
use super::recover::{disk_error, foreign, read_header, read_seal};
use super::segment::{
    HEADER_BLOCK_BYTES, Seal, SegmentHeader, data_end, name, parse_name, parse_next_name, seal_offset, twin_offset,
};
use super::walk::{Step, Walk, Want, prove};
use super::{Damage, Record};
use crate::base::disk::{Disk, DiskFile, Open, read_full_at};
use crate::base::{DestinationId, Error, Kind as ErrorKind, Lsn, Result, SegmentId, Side};

const CHUNK_BYTES: usize = 1 << 20;
/// More files than this are no log of ours.
const FILES_MAX: usize = 1 << 20;

/// What a segment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentState {
    /// The newest one, without a seal: it is written, or its process did not end it.
    Open,
    /// Complete, and says so itself.
    Sealed,
    /// Complete by the segments after it; its process was killed before it could seal it.
    Unsealed,
    /// Newer segments hold all that it held.
    Superseded,
    /// Neither header nor twin can be read.
    Headless,
}

impl SegmentState {
    /// One word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Sealed => "sealed",
            Self::Unsealed => "unsealed",
            Self::Superseded => "superseded",
            Self::Headless => "headless",
        }
    }
}

/// A segment as it was found.
#[derive(Clone, Debug)]
pub struct SegmentSeen {
    /// The number in its name.
    pub id: SegmentId,
    /// The file.
    pub path: PathBuf,
    /// Length of the file.
    pub bytes: u64,
    /// What it is.
    pub state: SegmentState,
    /// First LSN; 0 where the header is lost.
    pub base: Lsn,
    /// Last LSN that counts; below `base` where there is none.
    pub last: Lsn,
    /// When it was begun, Unix ns.
    pub created_ns: i64,
    /// Generation of the process that wrote it.
    pub incarnation: u64,
    /// Bytes of records before it.
    pub position: u64,
    /// Length that the header says.
    pub capacity: u64,
    header: Option<SegmentHeader>,
    seal: Option<Seal>,
}

impl SegmentSeen {
    /// What the seal says of lowest and highest receive time, and of the number of records.
    #[must_use]
    pub fn sealed(&self) -> Option<(i64, i64, u64)> {
        self.seal.as_ref().map(|seal| (seal.min_received_ns, seal.max_received_ns, seal.records))
    }

    /// Bytes of records, as the seal says; up to its end where there is none.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.end().saturating_sub(HEADER_BLOCK_BYTES)
    }

    /// Offset behind the last byte that a walk looks at.
    fn end(&self) -> u64 {
        let whole = data_end(self.capacity).min(self.bytes);
        self.seal.as_ref().filter(|seal| seal.last == self.last).map_or(whole, |seal| seal.end.min(whole))
    }

    /// Whether it may hold sound records above what is proven.
    fn has_tail(&self) -> bool {
        self.state == SegmentState::Open
    }
}

/// A file that is not part of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreparedSeen {
    /// Its name.
    pub name: String,
    /// Its length.
    pub bytes: u64,
}

/// A destination's cursor, as far as it can be read.
#[derive(Clone, Debug)]
pub struct CursorSeen {
    /// Whose.
    pub destination: DestinationId,
    /// What the file held.
    pub loaded: Loaded,
}

/// A log, looked at once.
#[derive(Debug)]
pub struct Look {
    disk: Arc<dyn Disk>,
    /// Segments in order.
    pub segments: Vec<SegmentSeen>,
    /// Prepared files.
    pub prepared: Vec<PreparedSeen>,
    /// Cursors.
    pub cursors: Vec<CursorSeen>,
    /// Highest LSN that is durable: of a running process, as it says; otherwise D.
    pub durable: Lsn,
    /// Offset behind the last thing in the newest segment that looks like a record.
    written_end: u64,
    running: bool,
}

impl Look {
    /// Looks at the log in `dir` (`<data>/wal`). `durable`: what the running process says; without one, D is looked for.
    ///
    /// # Errors
    /// Something cannot be read, or was written by a version with another format.
    pub fn open(disk: Arc<dyn Disk>, dir: &Path, durable: Option<Lsn>) -> Result<Self> {
        let seg = dir.join("seg");
        let names = disk.list(&seg).map_err(|e| disk_error("cannot list", &seg, e))?;
        if names.len() > FILES_MAX {
            let what = format!("{} holds {} files", seg.display(), names.len());
            return Err(Error::new(ErrorKind::Limit, Side::Own, what));
        }
        let (mut segments, mut prepared) = (Vec::new(), Vec::new());
        for file in names {
            let path = seg.join(&file);
            if let Some(id) = parse_name(&file) {
                segments.extend(segment(disk.as_ref(), id, path)?);
            } else if parse_next_name(&file).is_some() {
                let bytes = disk.open(&path, Open::Read).and_then(|file| file.length());
                prepared.extend(bytes.ok().map(|bytes| PreparedSeen { name: file, bytes }));
            }
        }
        segments.sort_by_key(|segment| segment.id);
        prepared.sort_by(|a, b| a.name.cmp(&b.name));
        // After the segments: what was given back meanwhile lies below these floors.
        let mut cursors = Vec::new();
        for destination in cursor::list(disk.as_ref(), dir)? {
            let loaded = cursor::load(disk.as_ref(), dir, &destination)?;
            cursors.push(CursorSeen { destination, loaded });
        }
        let running = durable.is_some();
        let mut look = Self { disk, segments, prepared, cursors, durable: Lsn::ZERO, written_end: 0, running };
        (look.durable, look.written_end) = match durable {
            Some(durable) => (durable, 0),
            None => look.proven()?,
        };
        look.set_limits();
        Ok(look)
    }

    /// D, as recovery finds it, and where what was written ends.
    fn proven(&self) -> Result<(Lsn, u64)> {
        let claimed = self.segments.iter().filter(|s| s.header.is_some());
        let claimed = claimed.map(|s| s.base.before().max(s.seal.map_or(Lsn::ZERO, |seal| seal.last)));
        let seen = self.cursors.iter().filter_map(|c| c.loaded.cursor.as_ref()).map(|cursor| cursor.durable_seen);
        let floor = claimed.chain(seen).max().unwrap_or(Lsn::ZERO);
        let Some((segment, header)) = self.newest() else { return Ok((floor, 0)) };
        if segment.seal.is_some_and(|seal| seal.last == floor) {
            return Ok((floor, 0));
        }
        let Some(file) = self.file(segment)? else { return Ok((floor, 0)) };
        let proof = prove(file, header, CHUNK_BYTES).map_err(|e| disk_error("cannot read", &segment.path, e))?;
        Ok((floor.max(proof.durable), proof.end))
    }

    fn newest(&self) -> Option<(&SegmentSeen, &SegmentHeader)> {
        self.segments.iter().rev().find_map(|segment| Some((segment, segment.header.as_ref()?)))
    }

    fn set_limits(&mut self) {
        let newest = self.newest().map(|(segment, _)| segment.id);
        let mut limit = self.durable;
        for segment in self.segments.iter_mut().rev().filter(|segment| segment.header.is_some()) {
            let sealed_to = segment.seal.map_or(Lsn(u64::MAX), |seal| seal.last);
            segment.last = limit.min(sealed_to);
            let (is_newest, counts) = (Some(segment.id) == newest, limit >= segment.base);
            segment.state = match segment.seal {
                Some(_) if counts || is_newest => SegmentState::Sealed,
                None if is_newest => SegmentState::Open,
                None if counts => SegmentState::Unsealed,
                _ => SegmentState::Superseded,
            };
            limit = limit.min(segment.base.before());
        }
    }

    /// None where the running process has given it back meanwhile.
    fn file(&self, segment: &SegmentSeen) -> Result<Option<Arc<dyn DiskFile>>> {
        match self.disk.open(&segment.path, Open::Read) {
            Err(gone) if self.running && gone.kind() == io::ErrorKind::NotFound => Ok(None),
            other => other.map(Some).map_err(|e| disk_error("cannot open", &segment.path, e)),
        }
    }

    /// Whether the process runs that writes this log.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.running
    }

    /// First LSN that a segment holds; none in an empty log.
    #[must_use]
    pub fn oldest(&self) -> Option<Lsn> {
        self.segments.iter().find(|segment| segment.header.is_some()).map(|segment| segment.base)
    }

    /// The lowest floor of all destinations: nobody needs what lies at or below it. None where no cursor can be read.
    #[must_use]
    pub fn lowest_floor(&self) -> Option<Lsn> {
        self.cursors.iter().filter_map(|seen| seen.loaded.cursor.as_ref()?.lowest_floor()).min()
    }

    /// The name of a segment's file.
    #[must_use]
    pub fn name_of(id: SegmentId) -> String {
        name(id)
    }

    /// LSNs that no file holds although somebody still needs them.
    #[must_use]
    pub fn holes(&self) -> Vec<Damage> {
        let (floor, mut holes) = (self.lowest_floor(), Vec::new());
        let mut hole = |damage: Damage| {
            if damage.first <= damage.last && floor.is_none_or(|floor| damage.last > floor) {
                holes.push(damage);
            }
        };
        let known: Vec<&SegmentSeen> = self.segments.iter().filter(|segment| segment.header.is_some()).collect();
        if let Some(floor) = floor {
            let oldest = known.first().map_or(self.durable.next(), |segment| segment.base);
            let until_ns = known.first().map_or(i64::MAX, |first| first.created_ns);
            hole(Damage::around(floor.next(), oldest.before(), [i64::MIN, until_ns]));
        }
        for pair in known.windows(2) {
            if let (Some(seal), Some(header)) = (&pair[0].seal, &pair[0].header) {
                let (min_ns, max_ns) = seal.received_ns(header);
                hole(Damage::around(seal.last.next(), pair[1].base.before(), [min_ns, max_ns, pair[1].created_ns]));
            }
        }
        if let Some(newest) = known.last() {
            // Somebody saw them durable, and the log ends before them.
            hole(Damage::around(newest.last.next(), self.durable, [newest.created_ns, i64::MAX]));
        }
        holes
    }

    /// Whether a segment still is what it was when it was listed. Where not, it was given back, and what was read of it
    /// since says nothing.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn stands(&self, segment: &SegmentSeen) -> Result<bool> {
        if !self.running {
            return Ok(true);
        }
        let now = self::segment(self.disk.as_ref(), segment.id, segment.path.clone())?;
        Ok(now.is_some_and(|now| now.header.map(|header| header.salt) == segment.header.map(|header| header.salt)))
    }

    /// Goes through the records of a segment. `None` where its header is lost, or where it does not stand any more.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn scan(&self, segment: &SegmentSeen, payloads: bool) -> Result<Option<Scan>> {
        let Some(header) = &segment.header else { return Ok(None) };
        let Some(file) = self.file(segment)? else { return Ok(None) };
        let chunk = if payloads { CHUNK_BYTES } else { 4096 };
        Ok(Some(Scan {
            walk: Walk::new(file, header, chunk),
            want: if payloads { Want::All } else { Want::Outcomes },
            path: segment.path.clone(),
            bytes: segment.bytes,
            capacity: segment.capacity,
            limit: segment.last,
            end: segment.end(),
            tail: segment.has_tail() && !self.running,
            written_end: self.written_end,
            broken: false,
            rows: 0,
        }))
    }

    /// What is wrong with a segment beside its records: header, twin, length. Nothing where it does not stand any more.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn frame_flaws(&self, segment: &SegmentSeen) -> Result<Vec<FrameFlaw>> {
        let Some(header) = segment.header else { return Ok(vec![FrameFlaw::Headless]) };
        let Some(file) = self.file(segment)? else { return Ok(Vec::new()) };
        let mut flaws = Vec::new();
        let mut block = vec![0; HEADER_BLOCK_BYTES as usize];
        let whole = segment.bytes >= segment.capacity;
        for (flaw, offset) in [(FrameFlaw::Header, 0), (FrameFlaw::Twin, twin_offset(segment.capacity))] {
            let read = read_full_at(file.as_ref(), &mut block, offset);
            let sound = read.is_ok_and(|read| SegmentHeader::decode(&block[..read]) == Ok(header));
            if !sound && (whole || flaw == FrameFlaw::Header) {
                flaws.push(flaw);
            }
        }
        if !whole {
            flaws.push(FrameFlaw::Short);
        }
        if whole && segment.seal.is_none() && self.had_seal(segment, file.as_ref())? {
            flaws.push(FrameFlaw::Seal);
        }
        Ok(flaws)
    }

    /// Whether a segment without a readable seal had one: its place is not as it was made, or the process that wrote it has gone
    /// on to the next.
    fn had_seal(&self, segment: &SegmentSeen, file: &dyn DiskFile) -> Result<bool> {
        let next = self.segments.iter().find(|next| next.id > segment.id && next.header.is_some());
        if next.is_some_and(|next| next.incarnation == segment.incarnation) {
            return Ok(true);
        }
        if self.running && segment.state == SegmentState::Open {
            // It may be written just now.
            return Ok(false);
        }
        let mut place = [0; HEADER_BYTES];
        let read = read_full_at(file, &mut place, seal_offset(segment.capacity));
        read.map_err(|e| disk_error("cannot read", &segment.path, e))?;
        Ok(place != [0; HEADER_BYTES])
    }

    /// Whether the seal says what stands before it. Only a scan that met no damage can tell.
    #[must_use]
    pub fn seal_fits(segment: &SegmentSeen, ended: &Ended) -> bool {
        let Some(seal) = segment.seal.filter(|seal| seal.last == segment.last) else { return true };
        let chain = ended.chain.is_none_or(|chain| chain == seal.chain || ended.rows == 0);
        (seal.last, seal.end, seal.records) == (ended.last, ended.offset, ended.rows) && chain
    }

    /// Whether a segment follows its predecessor: the record before it is the one that it names.
    #[must_use]
    pub fn follows(&self, segment: &SegmentSeen, before: &Ended) -> bool {
        let Some(header) = &segment.header else { return true };
        let known = header.previous_chain != 0 && before.last.next() == header.base;
        !known || before.chain.is_none_or(|chain| chain == header.previous_chain)
    }
}

/// What is wrong with a segment beside its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameFlaw {
    /// Neither header nor twin can be read.
    Headless,
    /// The header cannot be read; its twin stands for it.
    Header,
    /// The twin of the header cannot be read.
    Twin,
    /// The file is shorter than it was made.
    Short,
    /// The seal cannot be read.
    Seal,
}

/// The segment of a name, if it is there now.
fn segment(disk: &dyn Disk, id: SegmentId, path: PathBuf) -> Result<Option<SegmentSeen>> {
    let error = |e| disk_error("cannot read the log segment", &path, e);
    let file = match disk.open(&path, Open::Read) {
        // Given back since it was listed.
        Err(gone) if gone.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(error)?,
    };
    let bytes = file.length().map_err(error)?;
    let mut seen = SegmentSeen {
        id,
        path: path.clone(),
        bytes,
        state: SegmentState::Headless,
        base: Lsn::ZERO,
        last: Lsn::ZERO,
        created_ns: 0,
        incarnation: 0,
        position: 0,
        capacity: bytes,
        header: None,
        seal: None,
    };
    match read_header(file.as_ref(), id, bytes).map_err(error)? {
        // Another id: it was used again since its name was read, or somebody has renamed it, which a start refuses.
        Err(super::segment::Unreadable::Damaged | super::segment::Unreadable::Misnamed(_)) => {}
        Err(super::segment::Unreadable::Foreign { major, features }) => return Err(foreign(&path, major, features)),
        Ok(header) => {
            seen.seal = read_seal(file.as_ref(), &header).map_err(error)?;
            (seen.base, seen.created_ns, seen.capacity) = (header.base, header.created_ns, header.capacity);
            (seen.incarnation, seen.position) = (header.incarnation.0, header.position);
            seen.header = Some(header);
        }
    }
    Ok(Some(seen))
}

/// A record and where it stands.
#[derive(Clone, Debug)]
pub struct Row {
    /// The record. Its kind says nothing where `code` is not known.
    pub record: Record,
    /// The kind's number, known to this version or not.
    pub code: u8,
    /// Offset in the file.
    pub offset: u64,
    /// Bytes that it takes there.
    pub bytes: u64,
    /// Whether it is durable for sure. Of a stopped log, a start keeps what is not, if it is still there then.
    pub durable: bool,
}

impl Row {
    pub(super) fn new(header: &Header, payload: &Bytes, (offset, position): (u64, u64), durable: bool) -> Self {
        let kind = Kind::of(header.kind).unwrap_or(Kind::Mark);
        let cut = usize::from(header.meta_bytes).min(payload.len());
        // What no writer of ours made is shown as it is stored.
        let stored = || (payload.slice(..cut), payload.slice(cut..));
        let record = Record::new(header, kind, parts(header, kind, payload).unwrap_or_else(stored), position);
        Self { record, code: header.kind, offset, bytes: header.record_bytes(), durable }
    }

    /// Whether it is data that may be in memory alone. A mark is none.
    #[must_use]
    pub fn is_unproven(&self) -> bool {
        !self.durable && self.code != Kind::Mark.code()
    }

    /// Whether it is of a kind that this version neither knows nor may skip: a start or delivery stops before it.
    #[must_use]
    pub fn is_newer(&self) -> bool {
        Kind::of(self.code).is_none() && self.code & SKIPPABLE == 0
    }

    /// What it is, if this version knows.
    #[must_use]
    pub fn kind(&self) -> Option<Kind> {
        Kind::of(self.code)
    }
}

/// What a scan finds.
#[derive(Clone, Debug)]
pub enum Sight {
    /// A sound record.
    Row(Row),
    /// Acknowledged records that are lost, and where in the file (from, to).
    Damage(Damage, u64, u64),
}

/// Where a scan ended.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    /// The last LSN that it saw or found lost.
    pub last: Lsn,
    /// Checksum of the last header; unknown after damage.
    pub chain: Option<u32>,
    /// Offset behind the last record.
    pub offset: u64,
    /// Sound records that are durable.
    pub rows: u64,
    /// Bytes that look like records behind it and that nobody was told about.
    pub torn_bytes: u64,
}

/// A walk through one segment.
#[derive(Debug)]
pub struct Scan {
    walk: Walk,
    want: Want,
    path: PathBuf,
    bytes: u64,
    capacity: u64,
    limit: Lsn,
    end: u64,
    /// Whether sound records above the limit are shown too.
    tail: bool,
    written_end: u64,
    /// The tail has ended.
    broken: bool,
    rows: u64,
}

impl Scan {
    /// The next record or damage; `None` at the end.
    ///
    /// # Errors
    /// The file cannot be read.
    #[expect(clippy::should_implement_trait, reason = "it fails")]
    pub fn next(&mut self) -> Result<Option<Sight>> {
        let step = self.walk.step(self.limit, self.end, self.want);
        match step.map_err(|e| disk_error("cannot read", &self.path, e))? {
            Step::Record(header, payload) => {
                self.rows += 1;
                Ok(Some(Sight::Row(self.row(&header, &payload, true))))
            }
            Step::Damage(damage, from, to) => Ok(Some(Sight::Damage(damage, from, to))),
            Step::End if !self.tail || self.broken => Ok(None),
            Step::End => self.beyond(),
        }
    }

    /// Above what is proven: sound records, then the torn tail.
    fn beyond(&mut self) -> Result<Option<Sight>> {
        let end = data_end(self.capacity).min(self.bytes);
        let next = self.walk.tail(end).map_err(|e| disk_error("cannot read", &self.path, e))?;
        if let Some((header, payload)) = next {
            return Ok(Some(Sight::Row(self.row(&header, &payload, false))));
        }
        self.broken = true;
        let cut = self.walk.is_cut(self.bytes, self.capacity).map_err(|e| disk_error("cannot read", &self.path, e))?;
        if !cut {
            return Ok(None);
        }
        let first = self.walk.expect();
        let lost = self.capacity.saturating_sub(self.walk.offset()) / super::record::ALIGN;
        let last = Lsn(first.before().0.saturating_add(lost));
        let damage = Damage::around(first, last, [i64::MIN, i64::MAX]);
        Ok(Some(Sight::Damage(damage, self.walk.offset(), self.capacity)))
    }

    fn row(&self, header: &Header, payload: &Bytes, durable: bool) -> Row {
        let offset = self.walk.offset() - header.record_bytes();
        Row::new(header, payload, (offset, self.walk.position()), durable)
    }

    /// Where it stands.
    #[must_use]
    pub fn ended(&self) -> Ended {
        let (last, offset) = (self.walk.expect().before(), self.walk.offset());
        let torn_bytes = if self.tail { self.written_end.saturating_sub(offset) } else { 0 };
        Ended { last, chain: self.walk.chain(), offset, rows: self.rows, torn_bytes }
    }
}
