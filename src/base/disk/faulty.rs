//! A disk whose N-th call fails with a chosen errno: for tests that ask what every single failure does.

use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::super::map::Mapped;
use super::{Disk, DiskFile, DiskLock, Durability, Open};

/// What fails, and how.
#[derive(Clone, Copy, Debug)]
pub struct Failure {
    /// The number of the failing call, counted from 0 over all calls of the disk and its files.
    pub at: u64,
    /// The error number that the call returns.
    pub errno: i32,
    /// A failing write has written the first half of its bytes.
    pub half: bool,
    /// Every later call that changes something fails, too.
    pub lasting: bool,
}

#[derive(Debug, Default)]
struct Plan {
    calls: AtomicU64,
    hit: AtomicBool,
    failure: Mutex<Option<Failure>>,
}

impl Plan {
    fn call(&self, changes: bool) -> Option<Failure> {
        let number = self.calls.fetch_add(1, Ordering::SeqCst);
        let failure = (*self.failure.lock().unwrap_or_else(PoisonError::into_inner))?;
        let fails = number == failure.at || (failure.lasting && changes && number > failure.at);
        if fails {
            self.hit.store(true, Ordering::SeqCst);
        }
        fails.then_some(failure)
    }

    fn check(&self, changes: bool) -> io::Result<()> {
        self.call(changes).map_or(Ok(()), |failure| Err(io::Error::from_raw_os_error(failure.errno)))
    }
}

/// A disk around another one.
#[derive(Clone, Debug)]
pub struct FaultyDisk {
    inner: Arc<dyn Disk>,
    plan: Arc<Plan>,
}

impl FaultyDisk {
    /// A disk that works until [`FaultyDisk::fail`] is called.
    #[must_use]
    pub fn new(inner: Arc<dyn Disk>) -> Self {
        Self { inner, plan: Arc::default() }
    }

    /// Plans a failure, or none.
    pub fn fail(&self, failure: Option<Failure>) {
        *self.plan.failure.lock().unwrap_or_else(PoisonError::into_inner) = failure;
    }

    /// How many calls there were so far.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.plan.calls.load(Ordering::SeqCst)
    }

    /// Whether a planned failure has happened.
    #[must_use]
    pub fn was_hit(&self) -> bool {
        self.plan.hit.load(Ordering::SeqCst)
    }
}

impl Disk for FaultyDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn DiskFile>> {
        self.plan.check(how == Open::Create)?;
        Ok(Arc::new(FaultyFile { inner: self.inner.open(path, how)?, plan: Arc::clone(&self.plan) }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.plan.check(true)?;
        self.inner.rename(from, to)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.plan.check(true)?;
        self.inner.sync_dir(dir)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.plan.check(true)?;
        self.inner.remove(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.plan.check(false)?;
        self.inner.list(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        self.plan.check(true)?;
        self.inner.lock(path)
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        self.plan.check(false)?;
        self.inner.free_bytes(dir)
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.plan.check(true)?;
        self.inner.create_dir_all(dir)
    }
}

#[derive(Debug)]
struct FaultyFile {
    inner: Arc<dyn DiskFile>,
    plan: Arc<Plan>,
}

impl DiskFile for FaultyFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.plan.check(false)?;
        self.inner.read_at(buffer, offset)
    }

    fn write_all_at(&self, slices: &[IoSlice<'_>], offset: u64, durability: Durability) -> io::Result<()> {
        let Some(failure) = self.plan.call(true) else {
            return self.inner.write_all_at(slices, offset, durability);
        };
        if failure.half {
            let all: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
            self.inner.write_all_at(&[IoSlice::new(&all[..all.len() / 2])], offset, Durability::Cached)?;
        }
        Err(io::Error::from_raw_os_error(failure.errno))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.plan.check(true)?;
        self.inner.sync_data()
    }

    fn length(&self) -> io::Result<u64> {
        self.plan.check(false)?;
        self.inner.length()
    }

    fn map(&self, bytes: u64) -> io::Result<Option<Mapped>> {
        self.plan.check(false)?;
        self.inner.map(bytes)
    }
}
