//! A disk during whose calls others may go on.

use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use shuttle::thread;

use crate::base::disk::simulated::SimulatedDisk;
use crate::base::disk::{Disk, DiskFile, DiskLock, Durability, Open};

#[derive(Debug)]
pub(super) struct SlowDisk(SimulatedDisk);

#[derive(Debug)]
struct SlowFile(Arc<dyn DiskFile>);

/// For the scheduler, any time at all.
fn take_time() {
    thread::sleep(Duration::ZERO);
}

pub(super) fn slow_disk() -> Arc<dyn Disk> {
    Arc::new(SlowDisk(SimulatedDisk::new(1)))
}

impl Disk for SlowDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn DiskFile>> {
        take_time();
        Ok(Arc::new(SlowFile(self.0.open(path, how)?)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        take_time();
        self.0.rename(from, to)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        take_time();
        self.0.sync_dir(dir)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        take_time();
        self.0.remove(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.0.list(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        self.0.lock(path)
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        self.0.free_bytes(dir)
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.0.create_dir_all(dir)
    }
}

impl DiskFile for SlowFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        take_time();
        self.0.read_at(buffer, offset)
    }

    fn write_all_at(&self, slices: &[IoSlice<'_>], offset: u64, durability: Durability) -> io::Result<()> {
        take_time();
        self.0.write_all_at(slices, offset, durability)
    }

    fn sync_data(&self) -> io::Result<()> {
        take_time();
        self.0.sync_data()
    }

    fn length(&self) -> io::Result<u64> {
        self.0.length()
    }
}
