//! Walks the records of one segment file and tells sound records, damage and the end apart. Reader and recovery use
//! the same walk, so that they cannot disagree about what is damaged.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::record::{ALIGN, HEADER_BYTES, Header, array_at, payload_crc, seed};
use super::safeguard::{Safeguard, holds};
use super::segment::{HEADER_BLOCK_BYTES, SegmentHeader, data_end};
use super::view::View;
use super::{Damage, Kind};
use crate::base::bounds::{LOG_CHUNK_BYTES, LOG_SPARES_FEW};
use crate::base::disk::{DiskFile, read_full_at};
use crate::base::{Lsn, RouteId};

const EIO: i32 = 5;
/// Unreadable media is looked at in pieces of this size.
const PIECE_BYTES: usize = 4096;
/// Pieces behind an unreadable stretch that are tried before the whole disk is called unreadable.
const PROBES: u64 = 16;

/// A stretch of a file in memory, fetched in chunks.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    file: Arc<dyn DiskFile>,
    view: Option<View>,
    chunk_bytes: usize,
    start: u64,
    bytes: Bytes,
    /// The bytes are the view's own: nothing to fill again, and kept they would hold its segment.
    viewed: bool,
    spare: Spare,
}

/// Buffers that were filled before. One whose records nobody holds any more is filled again: a new one would have to be
/// cleared, page by page. None is larger than a chunk.
#[derive(Clone, Debug)]
pub(crate) struct Spare {
    kept: VecDeque<Bytes>,
    kept_max: usize,
}

impl Spare {
    pub(crate) fn new(kept_max: usize) -> Self {
        Self { kept: VecDeque::new(), kept_max }
    }

    /// These, and none are left.
    pub(crate) fn take(&mut self) -> Self {
        Self { kept: std::mem::take(&mut self.kept), kept_max: self.kept_max }
    }

    fn put(&mut self, bytes: Bytes) {
        if bytes.is_empty() || bytes.len() > LOG_CHUNK_BYTES {
            return;
        }
        if self.kept.len() >= self.kept_max {
            self.kept.pop_front();
        }
        self.kept.push_back(bytes);
    }

    /// A buffer of this length; what it holds means nothing.
    fn get(&mut self, length: usize) -> BytesMut {
        let free = |bytes: &Bytes| bytes.is_unique() && bytes.len() >= length && bytes.len() / 2 <= length;
        let found = self.kept.iter().position(free).and_then(|at| self.kept.remove(at));
        let Some(mut buffer) = found.and_then(|bytes| bytes.try_into_mut().ok()) else {
            return BytesMut::zeroed(length);
        };
        buffer.truncate(length);
        buffer
    }
}

impl Window {
    pub(crate) fn new(file: Arc<dyn DiskFile>, chunk_bytes: usize) -> Self {
        let spare = Spare::new(LOG_SPARES_FEW);
        Self { file, view: None, chunk_bytes, start: 0, bytes: Bytes::new(), viewed: false, spare }
    }

    /// Exactly these bytes, or `None` where they reach behind `end` or the file.
    pub(super) fn get(&mut self, offset: u64, length: usize, end: u64) -> io::Result<Option<Bytes>> {
        if offset.saturating_add(length as u64) > end {
            return Ok(None);
        }
        let held = self.start + self.bytes.len() as u64;
        if offset < self.start || offset + length as u64 > held {
            let wanted = (self.chunk_bytes as u64).max(length as u64).min(end - offset);
            self.give_back();
            self.start = offset;
            self.bytes = self.fetch(offset, wanted as usize)?;
        }
        let from = (offset - self.start) as usize;
        let found = (from + length <= self.bytes.len()).then(|| self.bytes.slice(from..from + length));
        if self.bytes.len() > LOG_CHUNK_BYTES {
            // One large record, which whoever asked holds now, and nothing that comes next.
            self.give_back();
        }
        Ok(found)
    }

    fn give_back(&mut self) {
        let held = std::mem::take(&mut self.bytes);
        if !std::mem::take(&mut self.viewed) {
            self.spare.put(held);
        }
    }

    fn fetch(&mut self, offset: u64, wanted: usize) -> io::Result<Bytes> {
        if let Some(bytes) = self.view.as_ref().and_then(|view| view.get(offset, wanted)) {
            self.viewed = true;
            return Ok(bytes);
        }
        let mut buffer = self.spare.get(wanted);
        let read = read_tolerant(self.file.as_ref(), &mut buffer, offset)?;
        buffer.truncate(read);
        Ok(buffer.freeze())
    }
}

/// Reads; where the medium cannot be read (`EIO`) zeros stand, which no checksum takes for a record. A disk that
/// answers nowhere in the neighbourhood is an error, not damage.
fn read_tolerant(file: &dyn DiskFile, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let is_media = |error: &io::Error| error.raw_os_error() == Some(EIO);
    match read_full_at(file, buffer, offset) {
        Err(error) if is_media(&error) => {}
        other => return other,
    }
    let (mut done, mut failed, mut readable) = (0, None, false);
    for piece in buffer.chunks_mut(PIECE_BYTES) {
        match read_full_at(file, piece, offset + done as u64) {
            Ok(read) if read < piece.len() => {
                done += read;
                readable = true;
                break;
            }
            Ok(_) => readable = true,
            Err(error) if is_media(&error) => {
                piece.fill(0);
                failed = Some(error);
            }
            Err(error) => return Err(error),
        }
        done += piece.len();
    }
    let mut probe = [0; PIECE_BYTES];
    let beyond = (0..PROBES).map(|n| offset + done as u64 + n * PIECE_BYTES as u64);
    if !readable && beyond.into_iter().all(|at| read_full_at(file, &mut probe, at).is_err()) {
        return Err(failed.unwrap_or_else(|| io::Error::from_raw_os_error(EIO)));
    }
    tracing::warn!(offset, bytes = done, "the medium cannot be read in places; what stood there is damage");
    Ok(done)
}

/// What a walk should bring along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    /// Every payload, verified.
    All,
    /// Only the payloads of outcomes.
    Outcomes,
}

/// One step of a walk.
#[derive(Debug)]
pub(crate) enum Step {
    /// A sound record; the payload only where wanted.
    Record(Header, Bytes),
    /// Acknowledged data that is not what was written, and where in the file (from, to).
    Damage(Damage, u64, u64),
    /// Everything up to the limit has been seen.
    End,
}

/// A position in a segment.
#[derive(Clone, Debug)]
pub(crate) struct Walk {
    window: Window,
    seed: u32,
    base: Lsn,
    lsn_max: u64,
    first_position: u64,
    offset: u64,
    expect: Lsn,
    chain: Option<u32>,
    received_ns: i64,
}

impl Walk {
    /// A walk from the first record on.
    pub(crate) fn new(file: Arc<dyn DiskFile>, header: &SegmentHeader, chunk_bytes: usize) -> Self {
        Self {
            window: Window::new(file, chunk_bytes),
            seed: seed(header.salt),
            base: header.base,
            lsn_max: header.base.0.saturating_add(header.capacity / ALIGN),
            first_position: header.position,
            offset: HEADER_BLOCK_BYTES,
            expect: header.base,
            chain: Some(header.previous_chain),
            received_ns: header.created_ns,
        }
    }

    /// The same, with buffers of an earlier walk.
    pub(crate) fn with_spare(mut self, spare: Spare) -> Self {
        self.window.spare = spare;
        self
    }

    /// The buffers, for the next walk.
    pub(crate) fn into_spare(mut self) -> Spare {
        self.window.give_back();
        self.window.spare
    }

    /// Looks through the address space where that works.
    pub(crate) fn look_through(&mut self, view: Option<View>) {
        self.window.view = view;
    }

    /// How much is fetched at a time from now on.
    pub(crate) fn set_chunk_bytes(&mut self, chunk_bytes: usize) {
        self.window.chunk_bytes = chunk_bytes;
    }

    /// The file that is walked.
    pub(crate) fn file(&self) -> &dyn DiskFile {
        self.window.file.as_ref()
    }

    /// The LSN that comes next.
    pub(crate) fn expect(&self) -> Lsn {
        self.expect
    }

    /// The offset that comes next.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// The log position of the next byte.
    pub(crate) fn position(&self) -> u64 {
        self.first_position + (self.offset - HEADER_BLOCK_BYTES)
    }

    /// Header checksum of the record before the next one; unknown right after damage.
    pub(crate) fn chain(&self) -> Option<u32> {
        self.chain
    }

    fn header_at(&mut self, offset: u64, end: u64) -> io::Result<Option<(Header, u32)>> {
        let Some(bytes) = self.window.get(offset, HEADER_BYTES, end)? else { return Ok(None) };
        let bytes: [u8; HEADER_BYTES] = array_at(&bytes, 0);
        Ok(Header::decode(&bytes, self.seed).filter(|(header, _)| {
            (self.base.0..=self.lsn_max).contains(&header.lsn.0) && offset + header.record_bytes() <= end
        }))
    }

    fn follows(&self, header: &Header) -> bool {
        header.lsn == self.expect && self.chain.is_none_or(|chain| chain == header.chain)
    }

    fn advance(&mut self, header: &Header, crc: u32) {
        self.offset += header.record_bytes();
        self.expect = header.lsn.next();
        self.chain = Some(crc);
        self.received_ns = header.received_ns;
    }

    /// The payload, if its checksum holds.
    fn payload(&mut self, header: &Header, end: u64) -> io::Result<Option<Bytes>> {
        let at = self.offset + ALIGN;
        let payload = self.window.get(at, header.payload_bytes as usize, end)?;
        Ok(payload.filter(|bytes| payload_crc(bytes, &[]) == header.payload_crc))
    }

    /// The next thing at or below `limit`, all of which was acknowledged; nothing behind offset `end` is looked at.
    pub(crate) fn step(&mut self, limit: Lsn, end: u64, want: Want) -> io::Result<Step> {
        loop {
            if self.expect > limit {
                return Ok(Step::End);
            }
            let before = (self.offset, self.expect);
            let found = self.header_at(self.offset, end)?.filter(|(header, _)| self.follows(header));
            let Some((header, crc)) = found else {
                if let Some(step) = self.resync(limit, end)? {
                    return Ok(step);
                }
                assert!((self.offset, self.expect) > before, "a walk that does not move");
                continue;
            };
            let needed = want == Want::All || header.kind == Kind::Outcomes.code();
            let payload = if needed { self.payload(&header, end)? } else { Some(Bytes::new()) };
            let from = self.offset;
            self.advance(&header, crc);
            return Ok(match payload {
                Some(payload) => Step::Record(header, payload),
                None => Step::Damage(one_record(&header), from, self.offset),
            });
        }
    }

    /// The next record above everything acknowledged, if it is sound in every part: one bit wrong, and it is torn.
    pub(crate) fn tail(&mut self, end: u64) -> io::Result<Option<(Header, Bytes)>> {
        let Some((header, crc)) = self.header_at(self.offset, end)? else { return Ok(None) };
        if !self.follows(&header) {
            return Ok(None);
        }
        let Some(payload) = self.payload(&header, end)? else { return Ok(None) };
        self.advance(&header, crc);
        Ok(Some((header, payload)))
    }

    /// Whether a record may have stood here that the file, shorter now than it was made, no longer holds.
    pub(crate) fn is_cut(&mut self, bytes: u64, capacity: u64) -> io::Result<bool> {
        let end = data_end(capacity);
        if bytes >= capacity || self.offset >= end {
            return Ok(false);
        }
        if self.offset + ALIGN > bytes {
            return Ok(true);
        }
        Ok(self.header_at(self.offset, end)?.is_some_and(|(header, _)| self.follows(&header)))
    }

    /// When the last record that was passed was received; before the first one, when the segment was begun.
    pub(crate) fn received_ns(&self) -> i64 {
        self.received_ns
    }

    /// Looks for the next sound header at the multiples of 64 from here on. `None`: found without a loss.
    fn resync(&mut self, limit: Lsn, end: u64) -> io::Result<Option<Step>> {
        let (from, first, since) = (self.offset, self.expect, self.received_ns);
        self.chain = None;
        let mut at = from;
        while at + ALIGN <= end {
            let candidate = self.header_at(at, end)?;
            // A header with the expected LSN at the expected place was refused for its chain: do not take it now.
            let taken = candidate.filter(|(h, _)| h.lsn > first || (h.lsn == first && at > from));
            if let Some((header, _)) = taken {
                self.offset = at;
                if header.lsn == first {
                    return Ok(None);
                }
                let last = header.lsn.before().min(limit);
                self.expect = last.next();
                return Ok(Some(Step::Damage(Damage::around(first, last, [since, header.received_ns]), from, at)));
            }
            at += ALIGN;
        }
        self.offset = end.max(from);
        self.expect = limit.next();
        Ok(Some(Step::Damage(Damage::around(first, limit, [since, i64::MAX]), from, self.offset)))
    }
}

pub(crate) fn one_record(header: &Header) -> Damage {
    Damage {
        first: header.lsn,
        last: header.lsn,
        route: Some(header.route).filter(|route| *route != RouteId(0)),
        from_ns: header.received_ns,
        to_ns: header.received_ns,
        lines: u64::from(header.lines),
    }
}

/// What the headers of an unsealed segment prove.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Proof {
    /// Highest LSN that some record calls durable.
    pub(crate) durable: Lsn,
    /// Offset behind the last sound header's record.
    pub(crate) end: u64,
}

/// Pass 1 of recovery: reads every sound header anywhere in the file, damage or not.
pub(crate) fn prove(file: Arc<dyn DiskFile>, header: &SegmentHeader, chunk_bytes: usize) -> io::Result<Proof> {
    let end = data_end(header.capacity);
    let mut walk = Walk::new(file, header, chunk_bytes);
    let mut proof = Proof { durable: Lsn::ZERO, end: HEADER_BLOCK_BYTES };
    let mut at = HEADER_BLOCK_BYTES;
    while at + ALIGN <= end {
        let before = at;
        match walk.header_at(at, end)? {
            Some((header, _)) => {
                at += header.record_bytes();
                proof.durable = proof.durable.max(header.durable);
                proof.end = at;
            }
            None if !holds(Safeguard::ProofAnywhere) => break,
            None => at += ALIGN,
        }
        assert!(at > before, "a scan that does not move");
    }
    Ok(proof)
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;

    use super::*;
    use crate::base::disk::simulated::SimulatedDisk;
    use crate::base::disk::{Disk, Durability, Open};

    /// What a budget of memory counts for whoever reads the log: a chunk, and one more that is filled again.
    #[test]
    fn a_window_keeps_a_chunk_and_one_more_and_no_large_record() {
        let disk = SimulatedDisk::new(1);
        let path = std::path::Path::new("/w");
        let file = disk.open(path, Open::Create).unwrap();
        let bytes = vec![7; 12 * LOG_CHUNK_BYTES];
        file.write_all_at(&[IoSlice::new(&bytes)], 0, Durability::Cached).unwrap();
        let mut window = Window::new(file, LOG_CHUNK_BYTES);
        let end = bytes.len() as u64;
        let held = |window: &Window| window.bytes.len() + window.spare.kept.iter().map(Bytes::len).sum::<usize>();
        let mut in_use = Vec::new();
        for at in 0..4 {
            in_use.push(window.get(at * LOG_CHUNK_BYTES as u64, 64, end).unwrap().unwrap());
            assert!(held(&window) <= 2 * LOG_CHUNK_BYTES, "{}", held(&window));
        }
        let large = window.get(64, 8 * LOG_CHUNK_BYTES, end).unwrap().unwrap();
        assert_eq!((large.len(), window.bytes.len()), (8 * LOG_CHUNK_BYTES, 0), "it is held once");
        assert!(held(&window) <= 2 * LOG_CHUNK_BYTES);
        assert!(window.get(large.len() as u64 + 64, 64, end).unwrap().is_some());
    }
}
