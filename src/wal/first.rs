//! The first segment that a process writes: made at the start, or later where the start finds the disk full.
//!
//! Promise: what the last segment holds above D, which may be in the page cache alone, is copied into the first one, and
//! nobody sees it, or anything newer, before that is published. Until then the log takes nothing and refuses as a full one
//! does; what was durable is read all the same, and the next start finds the same as this one.

use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::group::{Group, Tail};
use super::live::{Live, Segment};
use super::record::{Header, Kind, seed};
use super::retain::Prepared;
use super::safeguard::{Safeguard, holds};
use super::segment::{HEADER_BLOCK_BYTES, SegmentHeader};
use super::squeeze;
use super::writer::{Active, Identity, mark, publish};
use crate::base::disk::{Disk, DiskFile, Durability};
use crate::base::{Lsn, SegmentId};

/// What the first segment follows, and begins with.
#[derive(Debug)]
pub(crate) struct First {
    /// The newest segment there is.
    pub(crate) previous: SegmentId,
    /// D, and the checksum of its record; the segment brings the seed.
    pub(crate) tail: Tail,
    /// Sound records above D.
    pub(crate) copies: Vec<(Header, Bytes)>,
    /// Log position of its first byte.
    pub(crate) position: u64,
}

impl First {
    /// The copies, and the mark that makes them provable.
    fn group(&self, seed: u32, now_ns: i64) -> Group {
        let mut group = Group::new(Tail { seed, ..self.tail }, Vec::new());
        for (header, payload) in &self.copies {
            let lsn = group.append(*header, [payload, &Bytes::new()]);
            assert_eq!(lsn, header.lsn, "a copied record keeps its LSN");
        }
        if !self.copies.is_empty() && holds(Safeguard::MarkBehindCopies) {
            // True by the time anybody can read it: the segment is published after its sync.
            group.tail.durable = group.last();
            group.append(mark(now_ns), [&Bytes::new(), &Bytes::new()]);
        }
        group
    }

    /// Bytes of records that the segment begins with, and the last LSN of the log once it has begun.
    pub(crate) fn extent(&self) -> (u64, Lsn) {
        let group = self.group(0, 0);
        (group.bytes, group.last())
    }

    /// Publishes the segment in this file and shows readers what it begins with.
    pub(crate) fn begin(
        &self,
        (disk, dir): (&dyn Disk, &Path),
        prepared: Prepared,
        identity: &Identity,
        (salt, now_ns): (u64, i64),
        live: &Live,
    ) -> io::Result<(Active, Tail)> {
        let group = self.group(seed(salt), now_ns);
        let header = SegmentHeader {
            created_ns: now_ns,
            node: identity.node,
            incarnation: identity.incarnation,
            salt,
            capacity: prepared.bytes,
            features: self.copies.iter().fold(identity.features, |all, (header, _)| all | features_of(header)),
            ..self.header()
        };
        let copy = || prepared.file.write_all_at(&group.slices(), HEADER_BLOCK_BYTES, Durability::Cached);
        if holds(Safeguard::CopiesBeforeHeader) {
            copy()?;
        }
        let path = publish(disk, dir, &prepared, &header)?;
        if !holds(Safeguard::CopiesBeforeHeader) {
            copy().and_then(|()| prepared.file.sync_data())?;
        }
        let offset = HEADER_BLOCK_BYTES + group.bytes;
        let segment = Arc::new(Segment::active(header, path, prepared.bytes, offset));
        live.segments().push_back(Arc::clone(&segment));
        live.set_durable(group.last());
        let (min_received_ns, max_received_ns) = (group.min_received_ns, group.max_received_ns);
        let active = Active { segment, file: prepared.file, offset, min_received_ns, max_received_ns };
        Ok((active, Tail { durable: group.last(), ..group.tail }))
    }

    fn header(&self) -> SegmentHeader {
        SegmentHeader {
            id: SegmentId(self.previous.0 + 1),
            base: self.tail.next,
            created_ns: 0,
            node: [0; 16],
            incarnation: crate::base::Incarnation(0),
            salt: 0,
            previous: self.previous,
            previous_chain: self.tail.chain,
            capacity: 0,
            position: self.position,
            features: 0,
        }
    }

    /// What stands for the active segment while there is none: it has no room, and no file.
    pub(crate) fn absent(&self) -> Active {
        let segment = Segment::active(self.header(), "no segment yet".into(), 0, HEADER_BLOCK_BYTES);
        let (min_received_ns, max_received_ns) = (i64::MAX, i64::MIN);
        let (segment, file) = (Arc::new(segment), Arc::new(Absent));
        Active { segment, file, offset: HEADER_BLOCK_BYTES, min_received_ns, max_received_ns }
    }
}

/// What a reader must know to read a copied record, whoever wrote it.
fn features_of(header: &Header) -> u32 {
    let entry = Kind::of(header.kind).is_some_and(Kind::is_entry);
    if entry { squeeze::features(header.flags) } else { 0 }
}

/// No file.
#[derive(Debug)]
struct Absent;

impl DiskFile for Absent {
    fn read_at(&self, _: &mut [u8], _: u64) -> io::Result<usize> {
        Err(io::ErrorKind::StorageFull.into())
    }

    fn write_all_at(&self, _: &[IoSlice<'_>], _: u64, _: Durability) -> io::Result<()> {
        Err(io::ErrorKind::StorageFull.into())
    }

    fn sync_data(&self) -> io::Result<()> {
        Err(io::ErrorKind::StorageFull.into())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(0)
    }
}
