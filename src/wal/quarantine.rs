//! Damaged bytes, kept with a note beside them.
//!
//! Promises: each stretch is kept once, whoever meets it and however often (its name is made of the segment, its salt and the
//! place); files and bytes are bounded; nothing that lies here is overwritten or deleted. Best effort: what cannot be kept is
//! logged.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Damage;
use super::segment::SegmentHeader;
use crate::base::disk::{Disk, DiskFile, Durability, Open, read_full_at};

/// What one process keeps at most.
const BYTES_MAX: u64 = 64 << 20;
/// Files that lie here at most, notes included.
const FILES_MAX: usize = 256;

/// The directory.
#[derive(Debug)]
pub(crate) struct Quarantine {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    left_bytes: AtomicU64,
}

/// Where damaged bytes stand.
#[derive(Debug)]
pub(crate) struct Stretch<'a> {
    pub(crate) header: &'a SegmentHeader,
    pub(crate) path: &'a Path,
    pub(crate) from: u64,
    pub(crate) to: u64,
}

impl Quarantine {
    pub(crate) fn new(disk: Arc<dyn Disk>, dir: PathBuf) -> Self {
        Self { disk, dir, left_bytes: AtomicU64::new(BYTES_MAX) }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Copies what stands there aside, unless it was before.
    pub(crate) fn keep(&self, stretch: &Stretch<'_>, file: &dyn DiskFile, damage: &Damage) {
        let length = stretch.to.saturating_sub(stretch.from);
        let enough =
            self.left_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(length));
        if enough.is_err() {
            return;
        }
        if let Err(error) = self.copy(stretch, file, length, damage) {
            let path = stretch.path.display();
            tracing::warn!(%path, from = stretch.from, length, %error, "cannot keep damaged bytes");
        }
    }

    fn copy(&self, stretch: &Stretch<'_>, file: &dyn DiskFile, length: u64, damage: &Damage) -> io::Result<()> {
        let Stretch { header, path, from, to } = stretch;
        let stem = format!("{:020}-{from}-{:016x}", header.id.0, header.salt);
        let names = self.disk.list(&self.dir)?;
        if names.len() >= FILES_MAX || names.contains(&format!("{stem}.txt")) {
            return Ok(());
        }
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        // Where the medium cannot be read there is nothing to keep but the note.
        let read = read_full_at(file, &mut bytes, *from).unwrap_or(0);
        let note = format!(
            "damaged bytes of {}, offsets {from} to {to}: records {} to {}\n",
            path.display(),
            damage.first,
            damage.last
        );
        for (ending, content) in [("bytes", &bytes[..read]), ("txt", note.as_bytes())] {
            let path = self.dir.join(format!("{stem}.{ending}"));
            match self.disk.open(&path, Open::Create) {
                Ok(file) => file.write_all_at(&[io::IoSlice::new(content)], 0, Durability::Durable)?,
                // Another reader met it at the same time.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        self.disk.sync_dir(&self.dir)
    }
}
