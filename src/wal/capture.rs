//! A capture: writes taken out of the log, with their outcomes, for replay and analysis. Record framing as in the log;
//! `FORMAT.md` has the page.
//!
//! Promises: a capture says itself whether it is whole; a damaged byte costs the record that it stands in, and is told. It
//! holds no credentials, because the log has none.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::look::{Row, Sight};
use super::record::{ALIGN, HEADER_BYTES, Header, Kind, array_at, payload_crc, seed, u32_at, u64_at};
use super::segment::Seal;
use super::walk::Window;
use super::{Damage, OUTCOME_BYTES, Record};
use crate::base::crc::crc32c;
use crate::base::disk::{Disk, Open, read_full_at};
use crate::base::{Error, Kind as ErrorKind, Lsn, Result, Side};

const MAGIC: [u8; 8] = [0x89, b'W', b'C', b'P', 0x0d, 0x0a, 0x1a, 0x0a];
const MAJOR: u16 = 1;
const HEAD_BYTES: usize = 4096;
const CHUNK_BYTES: usize = 1 << 20;
/// Flags that say how the log stored a body; here it stands as it was submitted.
const STORED: u8 = 0b1100_0000;

/// What a capture says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CaptureHead {
    /// When it was taken, Unix ns.
    pub created_ns: i64,
    /// Random; seeds its checksums.
    pub salt: u64,
    /// What was asked for: first and last LSN.
    pub lsns: (Lsn, Lsn),
    /// … and earliest and latest receive time.
    pub received_ns: (i64, i64),
}

impl CaptureHead {
    fn encode(&self) -> Vec<u8> {
        let mut block = vec![0; HEAD_BYTES];
        block[..8].copy_from_slice(&MAGIC);
        block[8..10].copy_from_slice(&MAJOR.to_le_bytes());
        block[12..16].copy_from_slice(&(HEAD_BYTES as u32).to_le_bytes());
        let (created, from, to) = (self.created_ns as u64, self.received_ns.0 as u64, self.received_ns.1 as u64);
        for (at, value) in [created, self.salt, self.lsns.0.0, self.lsns.1.0, from, to].into_iter().enumerate() {
            block[16 + 8 * at..24 + 8 * at].copy_from_slice(&value.to_le_bytes());
        }
        let crc = crc32c(&block[..HEAD_BYTES - 4]);
        block[HEAD_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
        block
    }

    fn decode(block: &[u8]) -> std::result::Result<Self, String> {
        if block.len() < HEAD_BYTES || crc32c(&block[..HEAD_BYTES - 4]) != u32_at(block, HEAD_BYTES - 4) {
            return Err("its head is damaged: nothing in it can be told from noise".to_owned());
        }
        let major = u16::from_le_bytes(array_at(block, 8));
        if major != MAJOR {
            return Err(format!("it is of capture format {major}, which this version does not know"));
        }
        let field = |at: usize| u64_at(block, 16 + 8 * at);
        Ok(Self {
            created_ns: field(0) as i64,
            salt: field(1),
            lsns: (Lsn(field(2)), Lsn(field(3))),
            received_ns: (field(4) as i64, field(5) as i64),
        })
    }
}

/// Writes a capture.
#[derive(Debug)]
pub struct CaptureWriter<W> {
    out: W,
    seed: u32,
    chain: u32,
    offset: u64,
    records: u64,
    last: Lsn,
    received_ns: (i64, i64),
}

impl<W: Write> CaptureWriter<W> {
    /// Begins one.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn new(mut out: W, head: &CaptureHead) -> io::Result<Self> {
        out.write_all(&head.encode())?;
        let (chain, offset, records, last) = (0, HEAD_BYTES as u64, 0, Lsn::ZERO);
        Ok(Self { out, seed: seed(head.salt), chain, offset, records, last, received_ns: (i64::MAX, i64::MIN) })
    }

    /// Adds a record, and what became of it where that is known: its spans and its outcome.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn add(&mut self, record: &Record, outcome: &[[u8; OUTCOME_BYTES]]) -> io::Result<()> {
        assert!(record.lsn > self.last, "records are added in their order");
        self.frame(record, record.kind, &record.meta, &record.body)?;
        let (from, to) = self.received_ns;
        self.received_ns = (from.min(record.received_ns), to.max(record.received_ns));
        if !outcome.is_empty() {
            self.frame(record, Kind::Outcomes, &[], outcome.as_flattened())?;
        }
        self.last = record.lsn;
        Ok(())
    }

    fn frame(&mut self, record: &Record, kind: Kind, meta: &[u8], body: &[u8]) -> io::Result<()> {
        let own = kind == record.kind;
        let header = Header {
            payload_bytes: (meta.len() + body.len()) as u32,
            lsn: record.lsn,
            durable: record.lsn.before(),
            received_ns: record.received_ns,
            payload_crc: payload_crc(meta, body),
            chain: self.chain,
            kind: kind.code(),
            flags: if own { record.flags & !STORED } else { 0 },
            meta_bytes: meta.len() as u16,
            route: record.route,
            request: record.request,
            lines: if own { record.lines } else { 0 },
        };
        let (bytes, crc) = header.encode(self.seed);
        let padding = header.record_bytes() - ALIGN - u64::from(header.payload_bytes);
        for part in [&bytes[..], meta, body, &[0; HEADER_BYTES][..padding as usize]] {
            self.out.write_all(part)?;
        }
        (self.chain, self.records) = (crc, self.records + 1);
        self.offset += header.record_bytes();
        Ok(())
    }

    /// Ends it: only now it is whole.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn finish(mut self) -> io::Result<(W, u64)> {
        let (min_received_ns, max_received_ns) = self.received_ns;
        let (chain, last, end, records) = (self.chain, self.last, self.offset, self.records);
        let seal = Seal { chain, last, end, min_received_ns, max_received_ns, records };
        self.out.write_all(&seal.encode(self.seed))?;
        Ok((self.out, end + ALIGN))
    }
}

/// Reads a capture.
#[derive(Debug)]
pub struct CaptureReader {
    /// What it says of itself.
    pub head: CaptureHead,
    /// Whether its end is there, and says what stands before it.
    pub whole: bool,
    path: PathBuf,
    window: Window,
    seed: u32,
    /// Behind the last record.
    end: u64,
    offset: u64,
    last: Lsn,
    chain: Option<u32>,
    received_ns: i64,
    position: u64,
}

impl CaptureReader {
    /// Whether a file begins as captures do.
    #[must_use]
    pub fn is_one(disk: &dyn Disk, path: &Path) -> bool {
        let mut magic = [0; 8];
        let read = disk.open(path, Open::Read).and_then(|file| read_full_at(file.as_ref(), &mut magic, 0));
        read.is_ok_and(|read| read == magic.len()) && magic == MAGIC
    }

    /// Opens one.
    ///
    /// # Errors
    /// It cannot be read, is none, or was written by a newer version.
    pub fn open(disk: &dyn Disk, path: &Path) -> Result<Self> {
        let error = |e| Error::disk(format!("cannot read {}", path.display()), e);
        let file = disk.open(path, Open::Read).map_err(error)?;
        let bytes = file.length().map_err(error)?;
        let mut block = vec![0; HEAD_BYTES];
        let read = read_full_at(file.as_ref(), &mut block, 0).map_err(error)?;
        let bad = |what: String| Error::new(ErrorKind::State, Side::Own, format!("{}: {what}", path.display()));
        let head = CaptureHead::decode(&block[..read]).map_err(bad)?;
        let seed = seed(head.salt);
        let mut last = [0; HEADER_BYTES];
        let at = bytes.saturating_sub(ALIGN).max(HEAD_BYTES as u64);
        let read = read_full_at(file.as_ref(), &mut last, at).map_err(error)?;
        let seal = Seal::decode(&last, seed).filter(|seal| read == last.len() && seal.end == at);
        Ok(Self {
            head,
            whole: seal.is_some(),
            path: path.to_owned(),
            window: Window::new(Arc::clone(&file), CHUNK_BYTES),
            seed,
            end: if seal.is_some() { at } else { bytes },
            offset: HEAD_BYTES as u64,
            last: Lsn::ZERO,
            chain: Some(0),
            received_ns: head.created_ns,
            position: 0,
        })
    }

    fn read(&mut self, offset: u64, length: usize) -> Result<Option<Bytes>> {
        let error = |e| Error::disk(format!("cannot read {}", self.path.display()), e);
        self.window.get(offset, length, self.end).map_err(error)
    }

    fn header_at(&mut self, offset: u64) -> Result<Option<(Header, u32)>> {
        let Some(bytes) = self.read(offset, HEADER_BYTES)? else { return Ok(None) };
        let decoded = Header::decode(&array_at(&bytes, 0), self.seed);
        Ok(decoded.filter(|(header, _)| header.lsn >= self.last && offset + header.record_bytes() <= self.end))
    }

    /// The next record or damage; `None` at the end. Intents, each followed by its outcomes where these are known.
    ///
    /// # Errors
    /// The file cannot be read.
    #[expect(clippy::should_implement_trait, reason = "it fails")]
    pub fn next(&mut self) -> Result<Option<Sight>> {
        if self.offset >= self.end {
            return Ok(None);
        }
        let follows = |chain: Option<u32>, header: &Header| chain.is_none_or(|chain| chain == header.chain);
        let found = self.header_at(self.offset)?.filter(|(header, _)| follows(self.chain, header));
        let Some((header, crc)) = found else { return self.resync().map(Some) };
        let payload = self.read(self.offset + ALIGN, header.payload_bytes as usize)?;
        let payload = payload.filter(|bytes| payload_crc(bytes, &[]) == header.payload_crc);
        let from = self.offset;
        self.offset += header.record_bytes();
        self.position += header.record_bytes();
        (self.last, self.chain, self.received_ns) = (header.lsn, Some(crc), header.received_ns);
        Ok(Some(match payload {
            Some(payload) => Sight::Row(Row::new(&header, &payload, (from, self.position), true)),
            None => Sight::Damage(super::walk::one_record(&header), from, self.offset),
        }))
    }

    /// The next sound header at a multiple of 64; what stands before it is lost.
    fn resync(&mut self) -> Result<Sight> {
        let (from, first) = (self.offset, self.last.next());
        self.chain = None;
        let mut at = from + ALIGN;
        while at + ALIGN <= self.end {
            if let Some((header, _)) = self.header_at(at)? {
                self.offset = at;
                let last = header.lsn.before().max(first);
                let damage = Damage::around(first, last, [self.received_ns, header.received_ns]);
                return Ok(Sight::Damage(damage, from, at));
            }
            at += ALIGN;
        }
        self.offset = self.end;
        let last = self.head.lsns.1.max(first);
        let damage = Damage::around(first, last, [self.received_ns, i64::MAX]);
        Ok(Sight::Damage(damage, from, self.end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::disk::linux::LinuxDisk;
    use crate::base::{RequestId, RouteId};

    const HEAD: CaptureHead =
        CaptureHead { created_ns: 5, salt: 77, lsns: (Lsn(1), Lsn(9)), received_ns: (-3, i64::MAX) };

    fn record(lsn: u64, body: &'static [u8]) -> Record {
        Record {
            lsn: Lsn(lsn),
            kind: Kind::Intent,
            flags: 1,
            route: RouteId(4),
            request: RequestId(lsn),
            lines: 2,
            received_ns: 1000 + lsn as i64,
            payload_bytes: 4 + body.len() as u32,
            meta: Bytes::from_static(b"meta"),
            body: Bytes::from_static(body),
            position: 0,
        }
    }

    fn written() -> Vec<u8> {
        let mut writer = CaptureWriter::new(Vec::new(), &HEAD).unwrap();
        writer.add(&record(2, b"one"), &[[7; 16]]).unwrap();
        writer.add(&record(5, &[9; 300]), &[]).unwrap();
        writer.add(&record(7, b""), &[[8; 16], [9; 16]]).unwrap();
        writer.finish().unwrap().0
    }

    fn sights(bytes: &[u8]) -> (bool, Vec<Sight>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.twcap");
        std::fs::write(&path, bytes).unwrap();
        let mut reader = CaptureReader::open(&LinuxDisk::new(), &path).unwrap();
        let sights = std::iter::from_fn(|| reader.next().unwrap()).collect();
        (reader.whole, sights)
    }

    fn rows(sights: &[Sight]) -> Vec<(u64, Option<Kind>, usize)> {
        let row = |sight: &Sight| match sight {
            Sight::Row(row) => Some((row.record.lsn.0, row.kind(), row.record.body.len())),
            Sight::Damage(..) => None,
        };
        sights.iter().filter_map(row).collect()
    }

    #[test]
    fn what_was_captured_is_read() {
        let (whole, sights) = sights(&written());
        let (intent, outcomes) = (Some(Kind::Intent), Some(Kind::Outcomes));
        let all = [(2, intent, 3), (2, outcomes, 16), (5, intent, 300), (7, intent, 0), (7, outcomes, 32)];
        assert_eq!((whole, rows(&sights)), (true, all.to_vec()));
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_told_and_costs_one_record() {
        let bytes = written();
        let all = rows(&sights(&bytes).1);
        for bit in HEAD_BYTES * 8..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let (whole, sights) = sights(&flipped);
            let kept = rows(&sights);
            let padding = kept.len() == all.len() && whole;
            assert!(kept.len() + 1 >= all.len() && kept.iter().all(|row| all.contains(row)), "bit {bit}: {kept:?}");
            assert!(padding || !whole || sights.len() > kept.len(), "bit {bit}: told");
        }
        for cut in (HEAD_BYTES..bytes.len()).step_by(7) {
            let (whole, sights) = sights(&bytes[..cut]);
            assert!(!whole && rows(&sights).len() <= all.len(), "cut at {cut}");
        }
    }
}
