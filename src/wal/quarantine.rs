//! Damaged bytes, kept with a note beside them.
//!
//! Promises: each stretch is kept once, whoever meets it and however often (its name is made of the segment, its salt and the
//! place); files, bytes and memory are bounded; nothing whole that lies here is overwritten, nothing is deleted: the note comes
//! last, so that bytes without one are begun anew. Best effort: what cannot be kept is logged.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::Damage;
use super::segment::SegmentHeader;
use crate::base::bounds::{LOG_CHUNK_BYTES, QUARANTINE_BYTES};
use crate::base::disk::{Disk, DiskFile, Durability, Open, read_full_at};

/// What lies here at most, beside segments without a sound header, which are moved and not copied.
const BYTES_MAX: u64 = QUARANTINE_BYTES;
/// Files that lie here at most, notes included.
const FILES_MAX: usize = 256;
/// Copied at a time.
const STEP_BYTES: u64 = LOG_CHUNK_BYTES as u64;

/// The directory.
#[derive(Debug)]
pub(crate) struct Quarantine {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    left: Mutex<Left>,
}

/// What may still be kept. Whoever has it copies alone.
#[derive(Debug)]
struct Left {
    /// Room, once it was looked at what lies here already.
    bytes: Option<u64>,
    /// It was said that something is not kept.
    told: bool,
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
        Self { disk, dir, left: Mutex::new(Left { bytes: None, told: false }) }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Copies what stands there aside, unless it was before.
    pub(crate) fn keep(&self, stretch: &Stretch<'_>, file: &dyn DiskFile, damage: &Damage) {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = self.keep_within(&mut left, stretch, file, damage) {
            let path = stretch.path.display();
            tracing::warn!(%path, from = stretch.from, to = stretch.to, %error, "cannot keep damaged bytes");
        }
    }

    fn keep_within(
        &self,
        left: &mut Left,
        stretch: &Stretch<'_>,
        file: &dyn DiskFile,
        damage: &Damage,
    ) -> io::Result<()> {
        let Stretch { header, path, from, to } = stretch;
        let stem = format!("{:020}-{from}-{:016x}", header.id.0, header.salt);
        let (bytes, note) = (format!("{stem}.bytes"), format!("{stem}.txt"));
        let names = self.disk.list(&self.dir)?;
        if names.contains(&note) {
            return Ok(());
        }
        let length = to.saturating_sub(*from);
        let room = match left.bytes {
            Some(room) => room,
            None => BYTES_MAX.saturating_sub(self.bytes_of(&names)?),
        };
        left.bytes = Some(room);
        if names.len() >= FILES_MAX || length > room {
            if !std::mem::replace(&mut left.told, true) {
                tracing::warn!(dir = %self.dir.display(), path = %path.display(), from, to,
                    "too much is damaged: these bytes, and maybe others from now on, are not kept");
            }
            return Ok(());
        }
        self.copy(file, (*from, *to), &self.dir.join(bytes))?;
        let (path, first, last) = (path.display(), damage.first, damage.last);
        let text = format!("damaged bytes of {path}, offsets {from} to {to}: records {first} to {last}\n");
        let kept = self.open(&self.dir.join(note))?;
        kept.write_all_at(&[io::IoSlice::new(text.as_bytes())], 0, Durability::Durable)?;
        left.bytes = Some(room - length);
        self.disk.sync_dir(&self.dir)
    }

    /// What former processes have kept; not more files than may lie here are looked at.
    fn bytes_of(&self, names: &[String]) -> io::Result<u64> {
        let kept = names.iter().filter(|name| name.ends_with(".bytes") || name.ends_with(".txt")).take(FILES_MAX);
        kept.map(|name| self.disk.open(&self.dir.join(name), Open::Read)?.length()).sum()
    }

    /// A new file, or one that was begun and not brought to its end.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        match self.disk.open(path, Open::Create) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => self.disk.open(path, Open::Write),
            other => other,
        }
    }

    fn copy(&self, file: &dyn DiskFile, (from, to): (u64, u64), path: &Path) -> io::Result<()> {
        let kept = self.open(path)?;
        let mut buffer = vec![0; STEP_BYTES.min(to - from) as usize];
        for at in (from..to).step_by(STEP_BYTES as usize) {
            let step = &mut buffer[..STEP_BYTES.min(to - at) as usize];
            // Where the medium cannot be read there is nothing to keep.
            let read = read_full_at(file, step, at).unwrap_or(0);
            kept.write_all_at(&[io::IoSlice::new(&step[..read])], at - from, Durability::Cached)?;
        }
        kept.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::disk::simulated::SimulatedDisk;
    use crate::base::{Incarnation, Lsn, SegmentId};

    const DIR: &str = "quarantine";
    const SEGMENT: &str = "seg/1.wal";

    fn header() -> SegmentHeader {
        SegmentHeader {
            id: SegmentId(1),
            base: Lsn(1),
            created_ns: 0,
            node: [0; 16],
            incarnation: Incarnation(1),
            salt: 5,
            previous: SegmentId(0),
            previous_chain: 0,
            capacity: 1 << 30,
            position: 0,
            features: 0,
        }
    }

    fn segment(disk: &SimulatedDisk) -> Arc<dyn DiskFile> {
        let file = disk.open(Path::new(SEGMENT), Open::Create).unwrap();
        file.write_all_at(&[io::IoSlice::new(&[7; 5000])], 0, Durability::Durable).unwrap();
        file
    }

    fn meet(quarantine: &Quarantine, file: &dyn DiskFile, from: u64, to: u64) {
        let damage = Damage { first: Lsn(1), last: Lsn(1), route: None, from_ns: 0, to_ns: 0, lines: 0 };
        quarantine.keep(&Stretch { header: &header(), path: Path::new(SEGMENT), from, to }, file, &damage);
    }

    fn kept(disk: &SimulatedDisk) -> Vec<(String, u64)> {
        let files = disk.files().into_iter().filter(|(path, _)| path.starts_with(DIR));
        files.map(|(path, bytes)| (path.extension().unwrap().to_str().unwrap().to_owned(), bytes)).collect()
    }

    #[test]
    fn what_is_met_again_takes_nothing_from_what_may_be_kept() {
        let disk = SimulatedDisk::new(1);
        let file = segment(&disk);
        let quarantine = Quarantine::new(Arc::new(disk.clone()), DIR.into());
        // Delivery, its scout and each pass of scrubbing meet it.
        (0..100).for_each(|_| meet(&quarantine, file.as_ref(), 0, 4 << 20));
        meet(&quarantine, file.as_ref(), 4096, 5 << 20);
        assert_eq!(
            kept(&disk).iter().map(|(ending, _)| ending.as_str()).collect::<Vec<_>>(),
            ["bytes", "txt"].repeat(2)
        );
    }

    #[test]
    fn what_lies_there_from_former_processes_counts() {
        for (before, files) in [(BYTES_MAX - 5000, 3), (BYTES_MAX - 4999, 1)] {
            let disk = SimulatedDisk::new(1);
            let file = segment(&disk);
            let former = disk.open(&Path::new(DIR).join("1.bytes"), Open::Create).unwrap();
            former.write_all_at(&[io::IoSlice::new(&[7])], before - 1, Durability::Durable).unwrap();
            meet(&Quarantine::new(Arc::new(disk.clone()), DIR.into()), file.as_ref(), 0, 5000);
            assert_eq!(kept(&disk).len(), files, "{before}");
        }
    }

    #[test]
    fn what_a_full_disk_cut_short_is_kept_when_there_is_room() {
        let disk = SimulatedDisk::new(1);
        let file = segment(&disk);
        let quarantine = Quarantine::new(Arc::new(disk.clone()), DIR.into());
        disk.resize(disk.used_bytes() + 1000);
        meet(&quarantine, file.as_ref(), 0, 5000);
        assert!(kept(&disk).iter().all(|(ending, bytes)| ending == "bytes" && *bytes < 5000), "{:?}", kept(&disk));
        disk.resize(u64::MAX);
        meet(&quarantine, file.as_ref(), 0, 5000);
        assert_eq!(kept(&disk)[0], ("bytes".to_owned(), 5000));
        assert_eq!(kept(&disk).len(), 2, "and a note");
    }
}
