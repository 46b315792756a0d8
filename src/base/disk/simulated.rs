//! A disk in memory that crashes like a real one. Page cache and platter are kept apart; power loss draws lots for
//! every 512-byte sector that was not synced and for every directory entry that was not; a failed sync marks pages
//! clean although they never reached the platter, and they may then vanish from the cache. Seeded: one seed, one story.
//!
//! Assumed, as `wal/FORMAT.md` says: a sector is written whole or not at all, a successful sync is honest, a rename is
//! one step. Not assumed: any order among writes that were not synced.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Disk, DiskFile, DiskLock, Durability, Open, removable};

const SECTOR: usize = 512;
const ENOSPC: i32 = 28;
const EIO: i32 = 5;

/// What happens to the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// The process dies; the page cache stays, but clean pages may be read anew from the platter.
    Process,
    /// The machine loses power: what was not synced is drawn by lot.
    Power,
}

#[derive(Debug, Default, Clone)]
struct Inode {
    cache: Vec<u8>,
    platter: Vec<u8>,
    dirty: BTreeSet<usize>,
    /// Sectors that a failed sync has marked clean: cache and platter may differ.
    forgotten: BTreeSet<usize>,
}

impl Inode {
    fn write(&mut self, bytes: &[u8], offset: usize) {
        if bytes.is_empty() {
            return;
        }
        let end = offset + bytes.len();
        if self.cache.len() < end {
            self.cache.resize(end, 0);
        }
        self.cache[offset..end].copy_from_slice(bytes);
        self.dirty.extend(offset / SECTOR..=(end - 1) / SECTOR);
    }

    fn copy_sector(from: &[u8], to: &mut Vec<u8>, sector: usize) {
        let start = sector * SECTOR;
        let end = (start + SECTOR).min(from.len());
        if start >= end {
            return;
        }
        if to.len() < end {
            to.resize(end, 0);
        }
        to[start..end].copy_from_slice(&from[start..end]);
    }

    fn persist(&mut self, sectors: impl IntoIterator<Item = usize>) {
        for sector in sectors {
            Self::copy_sector(&self.cache, &mut self.platter, sector);
        }
    }

    fn sync(&mut self) {
        let dirty = std::mem::take(&mut self.dirty);
        self.persist(dirty);
    }
}

#[derive(Clone, Debug)]
enum Entry {
    Link(PathBuf, u64),
    Rename(PathBuf, PathBuf, u64),
    Unlink(PathBuf),
}

#[derive(Debug)]
struct State {
    random: fastrand::Rng,
    inodes: HashMap<u64, Inode>,
    next_inode: u64,
    names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
    unsynced_names: Vec<Entry>,
    locks: BTreeSet<PathBuf>,
    boot: u64,
    down: bool,
    crash_in: Option<u64>,
    sync_failure_permille: u32,
    capacity_bytes: u64,
}

/// The disk; clones share it.
#[derive(Clone, Debug)]
pub struct SimulatedDisk {
    state: Arc<Mutex<State>>,
}

impl SimulatedDisk {
    /// An empty disk whose accidents follow from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let state = State {
            random: fastrand::Rng::with_seed(seed),
            inodes: HashMap::new(),
            next_inode: 1,
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            unsynced_names: Vec::new(),
            locks: BTreeSet::new(),
            boot: 0,
            down: false,
            crash_in: None,
            sync_failure_permille: 0,
            capacity_bytes: u64::MAX,
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// After this many further calls that change something the machine stands still in the middle of one; every later
    /// call fails until [`SimulatedDisk::crash`].
    pub fn stop_after(&self, calls: Option<u64>) {
        self.state().crash_in = calls;
    }

    /// Share of syncs that fail, in thousandths.
    pub fn fail_syncs(&self, permille: u32) {
        self.state().sync_failure_permille = permille;
    }

    /// Total size of the disk in bytes.
    pub fn resize(&self, capacity_bytes: u64) {
        self.state().capacity_bytes = capacity_bytes;
    }

    /// Whether the machine stands still.
    #[must_use]
    pub fn is_down(&self) -> bool {
        self.state().down
    }

    /// Ends the process or the machine and starts again; files opened before are dead.
    pub fn crash(&self, kind: Crash) {
        let mut guard = self.state();
        let state = &mut *guard;
        state.boot += 1;
        state.down = false;
        state.crash_in = None;
        state.locks.clear();
        let mut numbers: Vec<u64> = state.inodes.keys().copied().collect();
        numbers.sort_unstable();
        for number in numbers {
            let Some(inode) = state.inodes.get_mut(&number) else { continue };
            match kind {
                Crash::Process => {
                    for sector in std::mem::take(&mut inode.forgotten) {
                        if !inode.dirty.contains(&sector) && state.random.bool() {
                            let mut platter = inode.platter.clone();
                            platter.resize(inode.cache.len().max(platter.len()), 0);
                            Inode::copy_sector(&platter, &mut inode.cache, sector);
                        }
                    }
                }
                Crash::Power => {
                    let chance = state.random.f64();
                    let dirty: Vec<usize> = std::mem::take(&mut inode.dirty).into_iter().collect();
                    inode.persist(dirty.into_iter().filter(|_| state.random.f64() < chance));
                    inode.forgotten.clear();
                    inode.cache.clone_from(&inode.platter);
                }
            }
        }
        if kind == Crash::Power {
            state.lose_names();
        }
    }

    /// Changes bytes of a file behind everybody's back, in cache and on the platter.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn corrupt(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        let mut state = self.state();
        let inode = state.inode_of(path)?;
        let inode = state.inodes.get_mut(&inode).ok_or(io::ErrorKind::NotFound)?;
        change(&mut inode.cache);
        inode.platter.clone_from(&inode.cache);
        inode.dirty.clear();
        inode.forgotten.clear();
        Ok(())
    }
}

impl State {
    fn inode_of(&self, path: &Path) -> io::Result<u64> {
        self.names.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Counts a call that changes something: `Ok(false)` means do it, `Ok(true)` do part of it and stand still.
    fn change(&mut self) -> io::Result<bool> {
        self.alive()?;
        match &mut self.crash_in {
            Some(0) => {
                self.down = true;
                Ok(true)
            }
            Some(left) => {
                *left -= 1;
                Ok(false)
            }
            None => Ok(false),
        }
    }

    fn alive(&self) -> io::Result<()> {
        if self.down { Err(io::Error::from_raw_os_error(EIO)) } else { Ok(()) }
    }

    fn used_bytes(&self) -> u64 {
        self.names.values().filter_map(|n| self.inodes.get(n)).map(|i| i.cache.len() as u64).sum()
    }

    fn apply(names: &mut BTreeMap<PathBuf, u64>, entry: &Entry) {
        match entry {
            Entry::Link(path, inode) => {
                names.insert(path.clone(), *inode);
            }
            Entry::Rename(from, to, inode) => {
                if names.get(from) == Some(inode) {
                    names.remove(from);
                }
                names.insert(to.clone(), *inode);
            }
            Entry::Unlink(path) => {
                names.remove(path);
            }
        }
    }

    fn enter(&mut self, entry: Entry) {
        Self::apply(&mut self.names, &entry);
        self.unsynced_names.push(entry);
    }

    /// Power loss: either a prefix of the unsynced entries is durable, as with a journal, or any subset.
    fn lose_names(&mut self) {
        let entries = std::mem::take(&mut self.unsynced_names);
        if self.random.bool() {
            let kept = self.random.usize(0..=entries.len());
            entries[..kept].iter().for_each(|e| Self::apply(&mut self.durable_names, e));
        } else {
            for entry in &entries {
                if self.random.bool() {
                    Self::apply(&mut self.durable_names, entry);
                }
            }
        }
        self.names.clone_from(&self.durable_names);
        let kept: BTreeSet<u64> = self.names.values().copied().collect();
        self.inodes.retain(|number, _| kept.contains(number));
    }

    fn sync(&mut self, number: u64, part: bool) -> io::Result<()> {
        let fails = part || self.random.u32(0..1000) < self.sync_failure_permille;
        let inode = self.inodes.get_mut(&number).ok_or(io::ErrorKind::NotFound)?;
        if !fails {
            inode.sync();
            return Ok(());
        }
        let dirty: Vec<usize> = inode.dirty.iter().copied().collect();
        let (reached, lost): (Vec<usize>, Vec<usize>) = dirty.into_iter().partition(|_| self.random.bool());
        inode.persist(reached);
        if !part {
            inode.dirty.clear();
            inode.forgotten.extend(lost);
        }
        Err(io::Error::from_raw_os_error(EIO))
    }
}

impl Disk for SimulatedDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state();
        state.alive()?;
        let known = state.inode_of(path);
        let inode = match how {
            Open::Read | Open::Write => known?,
            Open::Create => {
                if known.is_ok() {
                    return Err(io::ErrorKind::AlreadyExists.into());
                }
                if state.change()? {
                    return Err(io::Error::from_raw_os_error(EIO));
                }
                let inode = state.next_inode;
                state.next_inode += 1;
                state.inodes.insert(inode, Inode::default());
                state.enter(Entry::Link(path.to_owned(), inode));
                inode
            }
        };
        Ok(Arc::new(SimulatedFile { disk: self.clone(), inode, boot: state.boot }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        let inode = state.inode_of(from)?;
        let part = state.change()?;
        if !part || state.random.bool() {
            state.enter(Entry::Rename(from.to_owned(), to.to_owned(), inode));
        }
        if part { Err(io::Error::from_raw_os_error(EIO)) } else { Ok(()) }
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        let part = state.change()?;
        if part || state.random.u32(0..1000) < state.sync_failure_permille {
            return Err(io::Error::from_raw_os_error(EIO));
        }
        let inside = |path: &PathBuf| path.parent() == Some(dir);
        let entries = std::mem::take(&mut state.unsynced_names);
        let (synced, rest): (Vec<_>, Vec<_>) = entries.into_iter().partition(|entry| match entry {
            Entry::Link(path, _) | Entry::Unlink(path) => inside(path),
            Entry::Rename(from, to, _) => inside(from) || inside(to),
        });
        synced.iter().for_each(|entry| State::apply(&mut state.durable_names, entry));
        state.unsynced_names = rest;
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        removable(path)?;
        let mut state = self.state();
        state.inode_of(path)?;
        if state.change()? {
            return Err(io::Error::from_raw_os_error(EIO));
        }
        state.enter(Entry::Unlink(path.to_owned()));
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.state();
        state.alive()?;
        let names = state.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(names.filter_map(|path| path.file_name()?.to_str().map(str::to_owned)).collect())
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        let mut state = self.state();
        state.alive()?;
        if !state.locks.insert(path.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(SimulatedLock { disk: self.clone(), path: path.to_owned(), boot: state.boot }))
    }

    fn free_bytes(&self, _dir: &Path) -> io::Result<u64> {
        let state = self.state();
        state.alive()?;
        Ok(state.capacity_bytes.saturating_sub(state.used_bytes()))
    }

    fn create_dir_all(&self, _dir: &Path) -> io::Result<()> {
        self.state().alive()
    }
}

#[derive(Debug)]
struct SimulatedFile {
    disk: SimulatedDisk,
    inode: u64,
    boot: u64,
}

impl SimulatedFile {
    fn state(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.disk.state();
        state.alive()?;
        if state.boot == self.boot { Ok(state) } else { Err(io::Error::from_raw_os_error(EIO)) }
    }
}

impl DiskFile for SimulatedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.state()?;
        let inode = state.inodes.get(&self.inode).ok_or(io::ErrorKind::NotFound)?;
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(inode.cache.len());
        let read = buffer.len().min(inode.cache.len() - start);
        buffer[..read].copy_from_slice(&inode.cache[start..start + read]);
        Ok(read)
    }

    fn write_all_at(&self, slices: &[IoSlice<'_>], offset: u64, durability: Durability) -> io::Result<()> {
        let mut state = self.state()?;
        let all: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
        let offset = usize::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
        let part = state.change()?;
        let written = if part { state.random.usize(0..=all.len()) } else { all.len() };
        let old = state.inodes.get(&self.inode).ok_or(io::ErrorKind::NotFound)?.cache.len();
        let growth = (offset + all.len()).saturating_sub(old) as u64;
        if growth > state.capacity_bytes.saturating_sub(state.used_bytes()) {
            return Err(io::Error::from_raw_os_error(ENOSPC));
        }
        let inode = state.inodes.get_mut(&self.inode).ok_or(io::ErrorKind::NotFound)?;
        inode.write(&all[..written], offset);
        match (part, durability) {
            (true, _) => state.sync(self.inode, true),
            (false, Durability::Durable) => state.sync(self.inode, false),
            (false, Durability::Cached) => Ok(()),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.state()?;
        let part = state.change()?;
        state.sync(self.inode, part)
    }

    fn length(&self) -> io::Result<u64> {
        let state = self.state()?;
        Ok(state.inodes.get(&self.inode).ok_or(io::ErrorKind::NotFound)?.cache.len() as u64)
    }
}

#[derive(Debug)]
struct SimulatedLock {
    disk: SimulatedDisk,
    path: PathBuf,
    boot: u64,
}

impl DiskLock for SimulatedLock {}

impl Drop for SimulatedLock {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        if state.boot == self.boot {
            state.locks.remove(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(disk: &SimulatedDisk, name: &str, bytes: &[u8]) -> Arc<dyn DiskFile> {
        let file = disk.open(Path::new(name), Open::Create).unwrap();
        file.write_all_at(&[IoSlice::new(bytes)], 0, Durability::Cached).unwrap();
        file
    }

    fn content(disk: &SimulatedDisk, name: &str) -> Vec<u8> {
        let file = disk.open(Path::new(name), Open::Read).unwrap();
        let mut bytes = vec![0; file.length().unwrap() as usize];
        file.read_at(&mut bytes, 0).unwrap();
        bytes
    }

    #[test]
    fn synced_bytes_and_names_survive_power_loss_and_others_only_sometimes() {
        let (mut gone, mut torn, mut kept) = (0, 0, 0);
        for seed in 0..200 {
            let disk = SimulatedDisk::new(seed);
            let a = file(&disk, "d/a", &[1; 2048]);
            a.sync_data().unwrap();
            disk.sync_dir(Path::new("d")).unwrap();
            file(&disk, "d/b", &[2; 512]);
            a.write_all_at(&[IoSlice::new(&[3; 2048])], 0, Durability::Cached).unwrap();
            disk.crash(Crash::Power);
            let bytes = content(&disk, "d/a");
            assert_eq!(bytes.len(), 2048);
            for sector in bytes.chunks(SECTOR) {
                assert!(sector.iter().all(|&b| b == sector[0]) && (sector[0] == 1 || sector[0] == 3));
            }
            match bytes.iter().filter(|&&b| b == 3).count() {
                0 => {}
                2048 => kept += 1,
                _ => torn += 1,
            }
            gone += usize::from(disk.open(Path::new("d/b"), Open::Read).is_err());
        }
        assert!(gone > 20 && torn > 20 && kept > 5, "the lottery must show every face: {gone} {torn} {kept}");
    }

    #[test]
    fn after_a_failed_sync_a_later_success_proves_nothing() {
        let lost = (0..50).filter(|seed| {
            let disk = SimulatedDisk::new(*seed);
            let a = file(&disk, "d/a", &[0; 512]);
            a.sync_data().unwrap();
            disk.sync_dir(Path::new("d")).unwrap();
            a.write_all_at(&[IoSlice::new(&[7; 512])], 0, Durability::Cached).unwrap();
            disk.fail_syncs(1000);
            assert!(a.sync_data().is_err());
            disk.fail_syncs(0);
            a.sync_data().unwrap();
            disk.crash(Crash::Power);
            content(&disk, "d/a") == [0; 512]
        });
        assert!(lost.count() > 10);
    }

    #[test]
    fn a_process_that_dies_leaves_its_files_and_loses_its_locks_and_handles() {
        let disk = SimulatedDisk::new(1);
        let a = file(&disk, "d/a", b"abc");
        let lock = disk.lock(Path::new("LOCK")).unwrap();
        assert!(disk.lock(Path::new("LOCK")).is_err());
        disk.crash(Crash::Process);
        assert!(a.sync_data().is_err(), "a handle of the dead process must not work");
        let second = disk.lock(Path::new("LOCK")).unwrap();
        drop(lock);
        assert!(disk.lock(Path::new("LOCK")).is_err(), "the dead process must not free the new lock");
        drop(second);
        assert_eq!(content(&disk, "d/a"), b"abc");
    }
}
