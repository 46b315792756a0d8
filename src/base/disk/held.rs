//! A disk that does not answer while a file says so: for tests that ask what a hanging disk does to the whole program.
//!
//! Only there when the environment variable [`VARIABLE`] names a file of orders. While that file exists, every call that
//! changes something under a path which contains one of its lines waits. After a line `reads PART`, each read of a file whose
//! path contains PART takes a tenth of a second; after `fails PART` it is an error.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::{Disk, DiskFile, DiskLock, Durability, Open};

/// Names the file of orders.
pub const VARIABLE: &str = "TWINLINE_TEST_HOLD_DISK";
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// A read of a slow disk takes so many looks.
const SLOW_READ_LOOKS: u32 = 20;
const READS: &str = "reads ";
const FAILS: &str = "fails ";

/// A disk around another one.
#[derive(Clone, Debug)]
pub struct HeldDisk {
    inner: Arc<dyn Disk>,
    orders: PathBuf,
}

impl HeldDisk {
    /// A disk that is held while the file `orders` says so.
    #[must_use]
    pub fn new(inner: Arc<dyn Disk>, orders: PathBuf) -> Self {
        Self { inner, orders }
    }

    fn wait(&self, path: &Path) {
        let of_writes = |line: &str| !line.starts_with(READS) && !line.starts_with(FAILS);
        while self.ordered(|line| of_writes(line).then_some(line), path) {
            std::thread::park_timeout(LOOK_EVERY);
        }
    }

    fn wait_to_read(&self, path: &Path) -> io::Result<()> {
        if self.ordered(|line| line.strip_prefix(FAILS), path) {
            return Err(io::Error::other("the disk was told to fail"));
        }
        for _ in 0..SLOW_READ_LOOKS {
            if !self.ordered(|line| line.strip_prefix(READS), path) {
                return Ok(());
            }
            std::thread::park_timeout(LOOK_EVERY);
        }
        Ok(())
    }

    fn ordered(&self, part_of: impl Fn(&str) -> Option<&str>, path: &Path) -> bool {
        let path = path.to_string_lossy();
        let orders = std::fs::read_to_string(&self.orders).unwrap_or_default();
        orders.lines().filter_map(part_of).any(|part| !part.is_empty() && path.contains(part))
    }
}

impl Disk for HeldDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn DiskFile>> {
        if how == Open::Create {
            self.wait(path);
        }
        Ok(Arc::new(HeldFile { inner: self.inner.open(path, how)?, disk: self.clone(), path: path.to_owned() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.wait(to);
        self.inner.rename(from, to)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.wait(dir);
        self.inner.sync_dir(dir)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.wait(path);
        self.inner.remove(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.inner.list(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        self.inner.lock(path)
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        self.inner.free_bytes(dir)
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.wait(dir);
        self.inner.create_dir_all(dir)
    }
}

#[derive(Debug)]
struct HeldFile {
    inner: Arc<dyn DiskFile>,
    disk: HeldDisk,
    path: PathBuf,
}

impl DiskFile for HeldFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.disk.wait_to_read(&self.path)?;
        self.inner.read_at(buffer, offset)
    }

    fn write_all_at(&self, slices: &[IoSlice<'_>], offset: u64, durability: Durability) -> io::Result<()> {
        self.disk.wait(&self.path);
        self.inner.write_all_at(slices, offset, durability)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.wait(&self.path);
        self.inner.sync_data()
    }

    fn length(&self) -> io::Result<u64> {
        self.inner.length()
    }
}
