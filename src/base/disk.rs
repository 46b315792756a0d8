//! The one doorway to the files of the log: every call that the log makes to a disk goes through [`Disk`] and
//! [`DiskFile`].
//!
//! Promises: a call either did all it was asked or returns the operating system's error with its errno; an interrupted
//! or short write is continued, never reported as success; nothing is deleted but files that never were part of the log
//! (names that end in `.next`). Four implementations: [`linux`] (the real one), [`faulty`] (fails chosen calls), [`held`]
//! (does not answer for a while) and [`simulated`] (in memory; knows crashes and power loss).

pub mod faulty;
pub mod held;
pub mod linux;
pub mod simulated;

use std::fmt;
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

use super::map::Mapped;

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// An existing file, for reading only.
    Read,
    /// An existing file, for reading and writing.
    Write,
    /// A file that must not exist yet, for reading and writing; only its owner may read it.
    Create,
}

/// What a write promises when it returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The bytes are in the page cache: they survive the process, not the machine.
    Cached,
    /// The bytes, and what is needed to read them back, survive power loss.
    Durable,
}

/// A directory tree on some disk.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Opens a file.
    ///
    /// # Errors
    /// The system's error, `NotFound` and `AlreadyExists` among them; `InvalidInput` for what is no file, such as a symbolic
    /// link or a directory.
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn DiskFile>>;

    /// Gives a file another name in one step, replacing what had that name. Durable after [`Disk::sync_dir`].
    ///
    /// # Errors
    /// The system's error.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// The system's error; afterwards it is not known which names are durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Deletes a file whose name ends in `.next`. Any other name is refused: what was once part of the log is evidence.
    ///
    /// # Errors
    /// `InvalidInput` for another name, else the system's error.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// The names in a directory, of files or of anything else, in no particular order; names that are not UTF-8 are left
    /// out.
    ///
    /// # Errors
    /// The system's error.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Takes the exclusive lock of a file, creating it where needed. Held until the returned value is dropped.
    ///
    /// # Errors
    /// `WouldBlock` when somebody else holds it, else the system's error.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>>;

    /// Bytes that this user can still write below a directory.
    ///
    /// # Errors
    /// The system's error.
    fn free_bytes(&self, dir: &Path) -> io::Result<u64>;

    /// Creates a directory and its parents where they are missing, and makes the new names durable.
    ///
    /// # Errors
    /// The system's error.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;
}

/// An open file.
pub trait DiskFile: Send + Sync + fmt::Debug {
    /// Reads at an offset; fewer bytes than asked mean the end of the file.
    ///
    /// # Errors
    /// The system's error.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all slices, one after the other, from an offset on.
    ///
    /// # Errors
    /// The system's error; then any part of the bytes may have been written, and after a failed
    /// [`Durability::Durable`] write no later success on this file says anything about them.
    fn write_all_at(&self, slices: &[IoSlice<'_>], offset: u64, durability: Durability) -> io::Result<()>;

    /// Makes everything written so far durable.
    ///
    /// # Errors
    /// The system's error; afterwards no later success on this file says anything about the bytes in question.
    fn sync_data(&self) -> io::Result<()>;

    /// The file's length in bytes.
    ///
    /// # Errors
    /// The system's error.
    fn length(&self) -> io::Result<u64>;

    /// Drops copies in memory of what is durable there, so that the next read asks the medium. Best effort.
    fn forget_cached(&self, _offset: u64, _length: u64) {}

    /// The first bytes of the file in the address space, where this disk can; the caller sees to it that they do not change.
    ///
    /// # Errors
    /// The system's error; the file can still be read.
    fn map(&self, _bytes: u64) -> io::Result<Option<Mapped>> {
        Ok(None)
    }
}

/// A lock that ends when it is dropped.
pub trait DiskLock: Send + Sync + fmt::Debug {}

/// The real disk, ready to be shared.
#[must_use]
pub fn real() -> Arc<dyn Disk> {
    Arc::new(linux::LinuxDisk::new())
}

/// The real disk; held back where the environment asks for that (see [`held`]).
#[must_use]
pub fn chosen() -> Arc<dyn Disk> {
    match std::env::var_os(held::VARIABLE) {
        Some(orders) => Arc::new(held::HeldDisk::new(real(), orders.into())),
        None => real(),
    }
}

/// Reads until the buffer is full or the file ends; returns how many bytes were read.
///
/// # Errors
/// As [`DiskFile::read_at`].
pub fn read_full_at(file: &dyn DiskFile, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match file.read_at(&mut buffer[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// Only files that are not part of the log may go.
pub(crate) fn removable(path: &Path) -> io::Result<()> {
    if path.extension().is_some_and(|ending| ending == "next") {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "only files that end in .next are ever deleted"))
}

/// Writes slices through `write`, which may take fewer bytes than offered, until all are written.
pub(crate) fn write_fully(
    slices: &[IoSlice<'_>],
    offset: u64,
    slices_max: usize,
    mut write: impl FnMut(&[IoSlice<'_>], u64) -> io::Result<usize>,
) -> io::Result<()> {
    let mut copy: Vec<IoSlice<'_>> = slices.to_vec();
    let mut rest: &mut [IoSlice<'_>] = &mut copy;
    let mut at = offset;
    IoSlice::advance_slices(&mut rest, 0); // leaves empty slices at the front behind
    while !rest.is_empty() {
        let now = rest.len().min(slices_max);
        match write(&rest[..now], at) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                at += written as u64;
                IoSlice::advance_slices(&mut rest, written);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_interrupted_writes_are_continued_until_every_byte_is_there() {
        let parts: [&[u8]; 5] = [b"", b"hello ", b"", b"wide", b" world"];
        let slices: Vec<IoSlice<'_>> = parts.iter().map(|p| IoSlice::new(p)).collect();
        for step in 1..20 {
            let mut seen = vec![b'.'; 23];
            let mut call = 0;
            write_fully(&slices, 5, 2, |now, at| {
                assert!(now.len() <= 2, "more slices than the system takes");
                call += 1;
                if call % 3 == 0 {
                    return Err(io::ErrorKind::Interrupted.into());
                }
                let all: Vec<u8> = now.iter().flat_map(|s| s.iter().copied()).collect();
                let taken = all.len().min(step);
                seen[at as usize..at as usize + taken].copy_from_slice(&all[..taken]);
                Ok(taken)
            })
            .unwrap();
            assert_eq!(seen, b".....hello wide world..", "{step} bytes a call");
        }
    }

    #[test]
    fn a_disk_that_takes_nothing_is_an_error_and_not_an_endless_loop() {
        let error = write_fully(&[IoSlice::new(b"x")], 0, 8, |_, _| Ok(0)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WriteZero);
    }

    #[test]
    fn segments_cannot_be_deleted_through_the_doorway() {
        assert!(removable(Path::new("seg/1.wal.next")).is_ok());
        for name in ["seg/1.wal", "cursors/a.cur", "next", "seg/1.next.wal"] {
            assert!(removable(Path::new(name)).is_err(), "{name}");
        }
    }
}
