//! A disk in memory that crashes like a real one. Page cache and platter are kept apart; power loss draws lots for
//! every 512-byte sector that was not synced and for every directory entry that was not; a failed sync marks pages
//! clean although they never reached the platter, and they may then vanish from the cache; a directory whose sync failed
//! may call itself clean until it changes again. Calls below the doorway are cut short, interrupted, or fail with an
//! errno. Bits flip. Seeded: one seed, one story.
//!
//! Assumed, as `wal/FORMAT.md` says: a sector is written whole or not at all, a successful sync is honest, a rename is
//! one step. Not assumed: any order among writes that were not synced; that a durable write syncs more than itself.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, IoSlice};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::super::map::Mapped;
use super::{Disk, DiskFile, DiskLock, Durability, Open, removable, write_fully};

const SECTOR: usize = 512;
const ENOSPC: i32 = 28;
const EIO: i32 = 5;
/// So many slices are written by one call.
const SLICES_MAX: usize = 64;

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
    /// Sectors that are written over may have reached the platter before, as they were then.
    fn write(&mut self, bytes: &[u8], offset: usize, random: &mut fastrand::Rng) {
        if bytes.is_empty() {
            return;
        }
        let end = offset + bytes.len();
        let older: Vec<usize> = self.dirty.range(offset / SECTOR..=(end - 1) / SECTOR).copied().collect();
        self.persist(older.into_iter().filter(|_| random.bool()));
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

    /// The dirty sectors of a range, which are clean from now on.
    fn clean(&mut self, range: Range<usize>) -> Vec<usize> {
        let sectors = range.start / SECTOR..range.end.div_ceil(SECTOR);
        let taken: Vec<usize> = self.dirty.range(sectors).copied().collect();
        taken.iter().for_each(|sector| _ = self.dirty.remove(sector));
        taken
    }

    /// Clean sectors of a range are read anew from the platter.
    fn reread(&mut self, range: Range<usize>) {
        let end = range.end.min(self.cache.len()).min(self.platter.len());
        for sector in range.start / SECTOR..end.div_ceil(SECTOR) {
            if !self.dirty.contains(&sector) {
                Self::copy_sector(&self.platter, &mut self.cache, sector);
                self.forgotten.remove(&sector);
            }
        }
    }

    /// What a failed sync has marked clean may be read anew from the platter at any time.
    fn forget(&mut self, random: &mut fastrand::Rng) {
        for sector in std::mem::take(&mut self.forgotten) {
            if !self.dirty.contains(&sector) && random.bool() {
                let mut platter = self.platter.clone();
                platter.resize(self.cache.len().max(platter.len()), 0);
                Self::copy_sector(&platter, &mut self.cache, sector);
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Entry {
    Link(PathBuf, u64),
    Rename(PathBuf, PathBuf, u64),
    Unlink(PathBuf),
}

impl Entry {
    fn is_in(&self, dir: &Path) -> bool {
        let inside = |path: &PathBuf| path.parent() == Some(dir);
        match self {
            Self::Link(path, _) | Self::Unlink(path) => inside(path),
            Self::Rename(from, to, _) => inside(from) || inside(to),
        }
    }
}

#[derive(Debug)]
struct State {
    random: fastrand::Rng,
    inodes: HashMap<u64, Inode>,
    next_inode: u64,
    names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
    unsynced_names: Vec<Entry>,
    /// Directories whose last sync failed and that did not change since: they call themselves clean.
    clean_dirs: BTreeSet<PathBuf>,
    locks: BTreeSet<PathBuf>,
    boot: u64,
    down: bool,
    crash_in: Option<u64>,
    sync_failure_permille: u32,
    call_failure_permille: u32,
    interruption_permille: u32,
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
            clean_dirs: BTreeSet::new(),
            locks: BTreeSet::new(),
            boot: 0,
            down: false,
            crash_in: None,
            sync_failure_permille: 0,
            call_failure_permille: 0,
            interruption_permille: 0,
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

    /// Share of writes and of changed names that fail, in thousandths: with `EIO` or `ENOSPC`, a write after a part of its
    /// bytes.
    pub fn fail_calls(&self, permille: u32) {
        self.state().call_failure_permille = permille;
    }

    /// Share of reads and writes that are interrupted (`EINTR`) or cut short below the doorway, in thousandths. Nobody
    /// above may notice.
    pub fn interrupt(&self, permille: u32) {
        self.state().interruption_permille = permille;
    }

    /// Memory is short: clean pages go, those included that a failed sync has marked clean.
    pub fn evict(&self) {
        self.state().each_inode(|inode, random| inode.forget(random));
    }

    /// Bytes of all files together.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.state().used_bytes()
    }

    /// The files there are, and their lengths.
    #[must_use]
    pub fn files(&self) -> Vec<(PathBuf, u64)> {
        let state = self.state();
        let length = |number: &u64| state.inodes.get(number).map_or(0, |inode| inode.cache.len() as u64);
        state.names.iter().map(|(path, number)| (path.clone(), length(number))).collect()
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
        state.each_inode(|inode, random| match kind {
            Crash::Process => inode.forget(random),
            Crash::Power => {
                let chance = random.f64();
                let dirty: Vec<usize> = std::mem::take(&mut inode.dirty).into_iter().collect();
                inode.persist(dirty.into_iter().filter(|_| random.f64() < chance));
                inode.forgotten.clear();
                inode.cache.clone_from(&inode.platter);
            }
        });
        if kind == Crash::Power {
            state.lose_names();
            state.clean_dirs.clear();
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

    /// Flips one bit of a file on the platter, and in the cache, too.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn flip(&self, path: &Path, byte: u64, bit: u8) -> io::Result<()> {
        self.rot(path, byte, bit)?;
        let mut state = self.state();
        let inode = state.inode_of(path)?;
        let inode = state.inodes.get_mut(&inode).ok_or(io::ErrorKind::NotFound)?;
        flip(&mut inode.cache, byte, bit);
        Ok(())
    }

    /// Flips one bit of a file on the platter alone: the cache shows the file as it was.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn rot(&self, path: &Path, byte: u64, bit: u8) -> io::Result<()> {
        let mut state = self.state();
        let inode = state.inode_of(path)?;
        let inode = state.inodes.get_mut(&inode).ok_or(io::ErrorKind::NotFound)?;
        flip(&mut inode.platter, byte, bit);
        Ok(())
    }
}

fn flip(bytes: &mut [u8], byte: u64, bit: u8) {
    if let Some(byte) = usize::try_from(byte).ok().and_then(|at| bytes.get_mut(at)) {
        *byte ^= 1 << (bit % 8);
    }
}

impl State {
    /// In the order of their numbers, so that a seed gives the same each time.
    fn each_inode(&mut self, mut change: impl FnMut(&mut Inode, &mut fastrand::Rng)) {
        let mut numbers: Vec<u64> = self.inodes.keys().copied().collect();
        numbers.sort_unstable();
        for number in numbers {
            if let Some(inode) = self.inodes.get_mut(&number) {
                change(inode, &mut self.random);
            }
        }
    }

    fn chance(&mut self, permille: u32) -> bool {
        permille > 0 && self.random.u32(0..1000) < permille
    }

    /// Whether a call that changes names, or begins to write, fails before it has done anything.
    fn fails(&mut self) -> io::Result<()> {
        if self.chance(self.call_failure_permille) {
            let errno = if self.random.bool() { EIO } else { ENOSPC };
            return Err(io::Error::from_raw_os_error(errno));
        }
        Ok(())
    }

    /// `EINTR`, or how many of so many bytes a call takes.
    fn interrupted(&mut self, bytes: usize) -> io::Result<usize> {
        if bytes < 2 || !self.chance(self.interruption_permille) {
            return Ok(bytes);
        }
        if self.random.bool() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        Ok(self.random.usize(1..bytes))
    }

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
        self.clean_dirs.retain(|dir| !entry.is_in(dir));
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

    /// Makes a range of a file durable; stands still or fails in the middle of that.
    fn sync(&mut self, number: u64, range: Range<usize>, part: bool) -> io::Result<()> {
        let fails = part || self.chance(self.sync_failure_permille);
        let inode = self.inodes.get_mut(&number).ok_or(io::ErrorKind::NotFound)?;
        let dirty = inode.clean(range);
        if !fails {
            inode.persist(dirty);
            return Ok(());
        }
        let (reached, lost): (Vec<usize>, Vec<usize>) = dirty.into_iter().partition(|_| self.random.bool());
        inode.persist(reached.iter().copied());
        if part {
            inode.dirty.extend(reached.into_iter().chain(lost));
        } else {
            inode.forgotten.extend(lost);
        }
        Err(io::Error::from_raw_os_error(EIO))
    }

    /// One call that writes: it may take less than it is given. What does not fit the disk is not taken.
    fn write(&mut self, number: u64, slices: &[IoSlice<'_>], offset: u64, part: bool) -> io::Result<usize> {
        let mut all: Vec<u8> = Vec::with_capacity(slices.iter().map(|slice| slice.len()).sum());
        slices.iter().for_each(|slice| all.extend_from_slice(slice));
        let mut taken = if part { self.random.usize(0..=all.len()) } else { self.interrupted(all.len())? };
        let offset = usize::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
        let free = self.capacity_bytes.saturating_sub(self.used_bytes());
        let fails = self.fails();
        if fails.is_err() {
            taken = self.random.usize(0..=taken);
        }
        let inode = self.inodes.get_mut(&number).ok_or(io::ErrorKind::NotFound)?;
        let growth = (offset + taken).saturating_sub(inode.cache.len());
        let short = growth.saturating_sub(usize::try_from(free).unwrap_or(usize::MAX));
        taken = taken.saturating_sub(short);
        inode.write(&all[..taken], offset, &mut self.random);
        fails?;
        if taken == 0 && short > 0 { Err(io::Error::from_raw_os_error(ENOSPC)) } else { Ok(taken) }
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
                state.fails()?;
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
        if !part {
            state.fails()?;
        }
        if !part || state.random.bool() {
            state.enter(Entry::Rename(from.to_owned(), to.to_owned(), inode));
        }
        if part { Err(io::Error::from_raw_os_error(EIO)) } else { Ok(()) }
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        let part = state.change()?;
        let permille = state.sync_failure_permille;
        if part || state.chance(permille) {
            if !part {
                state.clean_dirs.insert(dir.to_owned());
            }
            return Err(io::Error::from_raw_os_error(EIO));
        }
        if state.clean_dirs.contains(dir) {
            return Ok(());
        }
        let entries = std::mem::take(&mut state.unsynced_names);
        let (synced, rest): (Vec<_>, Vec<_>) = entries.into_iter().partition(|entry| entry.is_in(dir));
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
        state.fails()?;
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
        let mut state = self.state()?;
        let read = state.interrupted(buffer.len())?;
        let inode = state.inodes.get(&self.inode).ok_or(io::ErrorKind::NotFound)?;
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(inode.cache.len());
        let read = read.min(inode.cache.len() - start);
        buffer[..read].copy_from_slice(&inode.cache[start..start + read]);
        Ok(read)
    }

    fn write_all_at(&self, slices: &[IoSlice<'_>], offset: u64, durability: Durability) -> io::Result<()> {
        let mut state = self.state()?;
        let part = state.change()?;
        let bytes: usize = slices.iter().map(|slice| slice.len()).sum();
        if part {
            // Where it stood still, nobody knows; that it was cut short matters no more.
            state.write(self.inode, slices, offset, true)?;
        } else {
            write_fully(slices, offset, SLICES_MAX, |now, at| state.write(self.inode, now, at, false))?;
        }
        if !part && durability == Durability::Cached {
            return Ok(());
        }
        let start = usize::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
        state.sync(self.inode, start..start + bytes, part)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.state()?;
        let part = state.change()?;
        state.sync(self.inode, 0..usize::MAX, part)
    }

    fn forget_cached(&self, offset: u64, length: u64) {
        let Ok(mut state) = self.state() else { return };
        let bound = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
        if let Some(inode) = state.inodes.get_mut(&self.inode) {
            inode.reread(bound(offset)..bound(offset.saturating_add(length)));
        }
    }

    fn length(&self) -> io::Result<u64> {
        let state = self.state()?;
        Ok(state.inodes.get(&self.inode).ok_or(io::ErrorKind::NotFound)?.cache.len() as u64)
    }

    fn map(&self, bytes: u64) -> io::Result<Option<Mapped>> {
        let state = self.state()?;
        let cache = &state.inodes.get(&self.inode).ok_or(io::ErrorKind::NotFound)?.cache;
        let length = usize::try_from(bytes).map_err(|_| io::ErrorKind::OutOfMemory)?;
        Ok(Some(Mapped::copied(cache.get(..length).ok_or(io::ErrorKind::UnexpectedEof)?.to_vec())))
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
