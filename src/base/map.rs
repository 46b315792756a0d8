//! Files read through the address space.
//!
//! Promise: what a [`Mapped`] shows is the file as it was, for as long as it lives. The operating system promises that only
//! for a file that nobody writes to and nobody shortens. Who maps one therefore sees to it (for the log: `wal/view.rs`), and no
//! code of this program shortens a file of the log: `base/disk` has no call for it.
//!
//! A page that cannot be read when it is touched ends the process with a signal. [`Mapped::populate`] brings pages in before and
//! returns an error instead. They may be dropped again and read anew: the risk is small then, and not gone.

#![allow(unsafe_code)]

use std::fs::File;
use std::io;

use memmap2::{Advice, Mmap, MmapOptions};

/// A stretch of a file from its beginning.
#[derive(Debug)]
pub struct Mapped(Pages);

#[derive(Debug)]
enum Pages {
    Mapped(Mmap),
    /// Of a file that lies in memory anyway.
    Copied(Vec<u8>),
}

impl Mapped {
    /// The first `bytes` of a file.
    ///
    /// # Errors
    /// `UnexpectedEof` where the file is shorter: touching what is behind its end would be a signal. Else the system's error.
    pub fn of(file: &File, bytes: u64) -> io::Result<Self> {
        if file.metadata()?.len() < bytes {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let length = usize::try_from(bytes).map_err(|_| io::ErrorKind::OutOfMemory)?;
        // SAFETY: the map is read-only and private to this process. A `&[u8]` of it is sound while the bytes do not change
        // and the file is not shortened. Within the process: files of the log are never shortened (`DiskFile` has no such
        // call), bytes below a segment's readable end are never written again while it is a segment, and it is not recycled
        // while its `Arc` is held, which `wal/view.rs` does for as long as the map lives. Other processes: the data
        // directory is mode 0700, the files 0600, and the log's flock keeps a second instance out; an owner who edits
        // segments by hand under a running process does what the documentation forbids.
        let map = unsafe { MmapOptions::new().len(length).map(file) }?;
        Ok(Self(Pages::Mapped(map)))
    }

    /// Bytes that lie in memory anyway, for disks that do.
    #[must_use]
    pub fn copied(bytes: Vec<u8>) -> Self {
        Self(Pages::Copied(bytes))
    }

    /// Brings a stretch into memory, so that touching it is no fault.
    ///
    /// # Errors
    /// The medium cannot be read there; or the kernel (before 5.14) cannot say, which comes to the same: read it another way.
    pub fn populate(&self, from: usize, length: usize) -> io::Result<()> {
        match &self.0 {
            Pages::Mapped(map) => map.advise_range(Advice::PopulateRead, from, length),
            Pages::Copied(_) => Ok(()),
        }
    }
}

impl AsRef<[u8]> for Mapped {
    fn as_ref(&self) -> &[u8] {
        match &self.0 {
            Pages::Mapped(map) => map,
            Pages::Copied(bytes) => bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_map_shows_the_file_and_never_what_is_behind_its_end() {
        let mut file = tempfile::tempfile().unwrap();
        let content: Vec<u8> = (0..100_000u32).map(|n| n as u8).collect();
        file.write_all(&content).unwrap();
        let mapped = Mapped::of(&file, 70_000).unwrap();
        mapped.populate(4000, 60_000).unwrap();
        assert_eq!(mapped.as_ref(), &content[..70_000]);
        assert_eq!(Mapped::of(&file, 100_001).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
