//! The real disk. One system call per durable write (`pwritev2` with `RWF_DSYNC`) where kernel and file system can,
//! else `pwritev` and `fdatasync`.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, IoSlice};
use std::num::NonZeroU64;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{Advice, FlockOperation, OFlags, fadvise, fdatasync, flock, statvfs};
use rustix::io::{Errno, ReadWriteFlags, pwritev, pwritev2};

use super::super::map::Mapped;
use super::{Disk, DiskFile, DiskLock, Durability, Open, removable, write_fully};

/// The kernel takes at most this many slices a call (`IOV_MAX`).
const SLICES_MAX: usize = 1024;

/// Files of the machine we run on.
#[derive(Debug, Default)]
pub struct LinuxDisk {}

impl LinuxDisk {
    /// The machine's files.
    #[must_use]
    pub fn new() -> Self {
        Self {}
    }
}

/// Opens what must be a file: a link would lead out of the directory, a pipe would wait for somebody who writes.
fn open_file(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = options.mode(0o600).custom_flags(flags.bits().cast_signed()).open(path).map_err(|error| {
        match Errno::from_io_error(&error) {
            Some(Errno::LOOP) => odd("a symbolic link"),
            Some(Errno::ISDIR) => odd("a directory"),
            _ => error,
        }
    })?;
    let kind = file.metadata()?.file_type();
    if !kind.is_file() {
        return Err(odd(if kind.is_dir() { "a directory" } else { "a pipe or device" }));
    }
    Ok(file)
}

/// What stands in the place of a file and is none.
fn odd(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("it is {what}, not a file"))
}

impl Disk for LinuxDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true);
        match how {
            Open::Read => {}
            Open::Write => {
                options.write(true);
            }
            Open::Create => {
                options.write(true).create_new(true);
            }
        }
        let file = open_file(&mut options, path)?;
        Ok(Arc::new(LinuxFile { file, two_calls: AtomicBool::new(false) }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        removable(path)?;
        std::fs::remove_file(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(dir)? {
            // Links and directories too: one in the place of a file must be seen.
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        let file = open_file(OpenOptions::new().read(true).write(true).create(true).truncate(false), path)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        // A lock file that somebody took for a stale one and removed is made anew by the next process. Its directory is not.
        let dir = path.parent().and_then(|dir| File::open(dir).ok());
        if let Some(dir) = &dir
            && flock(dir, FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK)
        {
            return Err(Errno::WOULDBLOCK.into());
        }
        Ok(Box::new(LinuxLock { _file: file, _dir: dir }))
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        let answer = statvfs(dir)?;
        Ok(answer.f_bavail.saturating_mul(answer.f_frsize))
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        if dir.is_dir() {
            return Ok(());
        }
        let parent = dir.parent().filter(|p| !p.as_os_str().is_empty());
        if let Some(parent) = parent {
            self.create_dir_all(parent)?;
        }
        match DirBuilder::new().mode(0o700).create(dir) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => other?,
        }
        self.sync_dir(parent.unwrap_or(Path::new(".")))
    }
}

#[derive(Debug)]
struct LinuxFile {
    file: File,
    /// Set once the file system has said that it does not know `RWF_DSYNC`.
    two_calls: AtomicBool,
}

impl LinuxFile {
    fn write_durable(&self, slices: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        let unknown = |e: Errno| e == Errno::OPNOTSUPP || e == Errno::NOSYS || e == Errno::INVAL;
        if !self.two_calls.load(Ordering::Relaxed) {
            let mut refused = false;
            let result = write_fully(slices, offset, SLICES_MAX, |now, at| {
                pwritev2(&self.file, now, at, ReadWriteFlags::DSYNC).map_err(|errno| {
                    refused = unknown(errno);
                    errno.into()
                })
            });
            if !refused {
                return result;
            }
            // These answers come before anything is written; any other error is final.
            self.two_calls.store(true, Ordering::Relaxed);
        }
        self.write_cached(slices, offset)?;
        self.sync_data()
    }

    fn write_cached(&self, slices: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        write_fully(slices, offset, SLICES_MAX, |now, at| Ok(pwritev(&self.file, now, at)?))
    }
}

impl DiskFile for LinuxFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn write_all_at(&self, slices: &[IoSlice<'_>], offset: u64, durability: Durability) -> io::Result<()> {
        match durability {
            Durability::Cached => self.write_cached(slices, offset),
            Durability::Durable => self.write_durable(slices, offset),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(fdatasync(&self.file)?)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn forget_cached(&self, offset: u64, length: u64) {
        // Only advice: what cannot be dropped is read from memory.
        let _ = fadvise(&self.file, offset, NonZeroU64::new(length), Advice::DontNeed);
    }

    fn map(&self, bytes: u64) -> io::Result<Option<Mapped>> {
        Mapped::of(&self.file, bytes).map(Some)
    }
}

#[derive(Debug)]
struct LinuxLock {
    _file: File,
    /// Some file systems lock files only.
    _dir: Option<File>,
}

impl DiskLock for LinuxLock {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_in_pieces_is_read_back_whole() {
        let dir = tempfile::tempdir().unwrap();
        let disk = LinuxDisk::new();
        let sub = dir.path().join("a/b");
        disk.create_dir_all(&sub).unwrap();
        disk.create_dir_all(&sub).unwrap();
        let path = sub.join("x.next");
        let file = disk.open(&path, Open::Create).unwrap();
        let pieces: Vec<Vec<u8>> = (0..3000u32).map(|i| vec![i as u8; (i % 7) as usize]).collect();
        let slices: Vec<IoSlice<'_>> = pieces.iter().map(|p| IoSlice::new(p)).collect();
        let whole = pieces.concat();
        for (durability, at) in [(Durability::Durable, 0), (Durability::Cached, 20_000)] {
            file.write_all_at(&slices, at, durability).unwrap();
            let mut back = vec![0; whole.len()];
            assert_eq!(super::super::read_full_at(file.as_ref(), &mut back, at).unwrap(), whole.len());
            assert_eq!(back, whole);
        }
        file.sync_data().unwrap();
        assert_eq!(file.length().unwrap(), 20_000 + whole.len() as u64);
        assert_eq!(disk.open(&path, Open::Create).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        disk.rename(&path, &sub.join("y.next")).unwrap();
        disk.sync_dir(&sub).unwrap();
        assert_eq!(disk.list(&sub).unwrap(), ["y.next"]);
        disk.remove(&sub.join("y.next")).unwrap();
        assert!(disk.list(&sub).unwrap().is_empty());
        assert!(disk.free_bytes(&sub).unwrap() > 0);
    }

    #[test]
    fn a_lock_is_held_by_one_and_ends_with_its_holder() {
        let dir = tempfile::tempdir().unwrap();
        let disk = LinuxDisk::new();
        let path = dir.path().join("LOCK");
        let held = disk.lock(&path).unwrap();
        assert_eq!(disk.lock(&path).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(
            disk.lock(&path).unwrap_err().kind(),
            io::ErrorKind::WouldBlock,
            "its file is gone, the lock is not"
        );
        drop(held);
        disk.lock(&path).unwrap();
    }
}
