//! Reads the log in LSN order, up to what is durable and never further.
//!
//! Promises: every LSN from the start on appears exactly once, as a record, inside a damage, or (marks, and kinds that
//! may be skipped) not at all; a segment that a reader stands in is not recycled; memory is one chunk of 1 MiB,
//! and one that those who hold records have given back, or up to three ([`Reader::keeping_more`]). A complete
//! segment may be mapped instead (`view`): then records share its pages, and it is not recycled while one is held.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::live::{Live, Segment};
use super::quarantine::Stretch;
use super::record::{Header, Kind, PAYLOAD_MAX_BYTES, SKIPPABLE};
use super::squeeze::{FLAGS, expand};
use super::view::View;
use super::walk::{Spare, Step, Walk, Want, one_record};
use super::{Damage, Item, Record};
use crate::base::bounds::{LOG_CHUNK_BYTES, LOG_SPARES, LOG_SPARES_FEW};
use crate::base::disk::{Disk, Open};
use crate::base::{Error, Lsn, Result, Side};

const CHUNK_BYTES: usize = LOG_CHUNK_BYTES;
/// Enough for a header and some small records after it.
const HEADER_CHUNK_BYTES: usize = 4096;

#[derive(Clone, Debug)]
struct Here {
    segment: Arc<Segment>,
    walk: Walk,
}

/// A place in the log. Cheap to hold; not shared between threads.
#[derive(Clone, Debug)]
pub struct Reader {
    disk: Arc<dyn Disk>,
    live: Arc<Live>,
    next: Lsn,
    position: u64,
    here: Option<Here>,
    spare: Spare,
    mapped: bool,
}

impl Reader {
    pub(crate) fn new(disk: Arc<dyn Disk>, live: Arc<Live>, from: Lsn) -> Self {
        let spare = Spare::new(LOG_SPARES_FEW);
        Self { disk, live, next: from.max(Lsn(1)), position: 0, here: None, spare, mapped: false }
    }

    /// The same, for whoever holds many records for a while: buffers come back late, and more of them are kept.
    #[must_use]
    pub fn keeping_more(self) -> Self {
        Self { spare: Spare::new(LOG_SPARES), ..self }
    }

    /// The same, which maps complete segments.
    pub(crate) fn mapped(self, mapped: bool) -> Self {
        Self { mapped, ..self }
    }

    /// The next record or damage; `None` when everything durable has been read, for now.
    ///
    /// # Errors
    /// The file cannot be opened or read (worth trying again), or holds a kind of record that this version must not
    /// skip.
    #[expect(clippy::should_implement_trait, reason = "an iterator is over at None; here more may come")]
    pub fn next(&mut self) -> Result<Option<Item>> {
        self.advance(Want::All)
    }

    /// The same without the payloads, except those of outcomes: meta and body of all other records are empty, and
    /// damage inside them is not seen.
    ///
    /// # Errors
    /// As [`Reader::next`].
    pub fn next_header(&mut self) -> Result<Option<Item>> {
        self.advance(Want::Outcomes)
    }

    /// The LSN that the next item starts with; everything below it has been read.
    #[must_use]
    pub fn next_lsn(&self) -> Lsn {
        self.next
    }

    /// The log position of the next byte: bytes of records since the log began. Known once something was read.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    fn advance(&mut self, want: Want) -> Result<Option<Item>> {
        loop {
            let before = self.next;
            let durable = self.live.durable();
            if self.next > durable {
                return Ok(None);
            }
            if let Some(damage) = self.enter(durable)? {
                return Ok(Some(Item::Damage(damage)));
            }
            let Some(here) = &mut self.here else { return Ok(None) };
            let limit = here.segment.last().min(durable);
            let chunk = if want == Want::All { CHUNK_BYTES } else { HEADER_CHUNK_BYTES };
            here.walk.set_chunk_bytes(chunk);
            let step =
                here.walk.step(limit, here.segment.end(), want).map_err(|e| read_error(&here.segment.path, e))?;
            self.next = here.walk.expect().max(self.next);
            self.position = here.walk.position();
            match step {
                Step::Damage(damage, from, to) => {
                    let segment = &here.segment;
                    let stretch = Stretch { header: &segment.header, path: &segment.path, from, to };
                    self.live.keep_damaged(&stretch, here.walk.file(), &damage);
                    return Ok(Some(Item::Damage(damage)));
                }
                Step::End => {}
                Step::Record(header, payload) => {
                    match self.record(&header, &payload) {
                        Ok(Some(item)) => return Ok(Some(item)),
                        Ok(None) => {}
                        Err(error) => {
                            // Asked again, we stand before the same record again.
                            self.leave();
                            self.next = header.lsn;
                            return Err(error);
                        }
                    }
                }
            }
            assert!(self.next > before, "a reader that does not move");
        }
    }

    /// Stands in the segment that holds the next LSN; a hole before it is a damage.
    fn enter(&mut self, durable: Lsn) -> Result<Option<Damage>> {
        if self.here.as_ref().is_some_and(|here| here.segment.last() >= self.next) {
            return Ok(None);
        }
        let before_ns = self.here.as_ref().map(|here| here.walk.received_ns());
        self.leave();
        let Some(segment) = self.live.locate(self.next) else { return Ok(None) };
        if segment.header.base > self.next {
            let last = segment.header.base.before().min(durable);
            let behind_ns = segment.header.created_ns;
            let damage = Damage::around(self.next, last, [i64::MIN, before_ns.unwrap_or(behind_ns), behind_ns]);
            self.next = last.next();
            return Ok(Some(damage));
        }
        let file = self.disk.open(&segment.path, Open::Read).map_err(|e| read_error(&segment.path, e))?;
        let mut walk = Walk::new(Arc::clone(&file), &segment.header, HEADER_CHUNK_BYTES).with_spare(self.spare.take());
        if self.mapped && segment.is_complete() {
            // What cannot be mapped can still be read.
            let pages = file.map(segment.end()).ok().flatten();
            walk.look_through(pages.map(|pages| View::new(pages, Arc::clone(&segment))));
        }
        self.here = Some(Here { segment, walk });
        self.seek()?;
        Ok(None)
    }

    /// Leaves the segment, and takes the buffers along.
    fn leave(&mut self) {
        if let Some(here) = self.here.take() {
            self.spare = here.walk.into_spare();
        }
    }

    /// Goes to the next LSN inside the segment. Damage before it concerns nobody here; stopping at the LSN before keeps
    /// a damage from swallowing what is asked for.
    fn seek(&mut self) -> Result<()> {
        let Some(here) = &mut self.here else { return Ok(()) };
        here.walk.set_chunk_bytes(CHUNK_BYTES);
        let error = |e| read_error(&here.segment.path, e);
        while here.walk.expect() < self.next {
            let limit = self.next.before();
            here.walk.step(limit, here.segment.end(), Want::Outcomes).map_err(error)?;
        }
        self.position = here.walk.position();
        Ok(())
    }

    fn record(&self, header: &Header, payload: &Bytes) -> Result<Option<Item>> {
        let Some(kind) = Kind::of(header.kind) else {
            return if header.kind & SKIPPABLE != 0 { Ok(None) } else { Err(unknown_kind(header)) };
        };
        if kind == Kind::Mark {
            return Ok(None);
        }
        let Some(parts) = parts(header, kind, payload) else {
            // Its checksum holds, but no writer of ours made it.
            return Ok(Some(Item::Damage(one_record(header))));
        };
        let record = Record::new(header, kind, parts, self.position);
        Ok(Some(Item::Record(Record { flags: record.flags & !FLAGS, ..record })))
    }
}

/// Meta and body of a payload as they were submitted; empty where it was not read. `None`: no such record was ever written.
pub(crate) fn parts(header: &Header, kind: Kind, payload: &Bytes) -> Option<(Bytes, Bytes)> {
    let cut = usize::from(header.meta_bytes).min(payload.len());
    let (meta, stored) = (payload.slice(..cut), payload.slice(cut..));
    if stored.is_empty() || !kind.is_entry() {
        return Some((meta, stored));
    }
    let body = expand(header.flags, &stored, PAYLOAD_MAX_BYTES - cut)?;
    Some((meta, body))
}

pub(crate) fn unknown_kind(header: &Header) -> Error {
    let what = format!("record {} of the log is of kind {}, which this version does not know", header.lsn, header.kind);
    Error::new(crate::base::Kind::State, Side::Own, what)
        .hint("run the version that wrote this data directory, or a newer one")
}

fn read_error(path: &Path, cause: std::io::Error) -> Error {
    Error::disk(format!("cannot read the log segment {}", path.display()), cause).retryable()
}
