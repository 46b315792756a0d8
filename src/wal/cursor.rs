//! The floors of a destination on disk: one small file with two slots, written in turn.
//!
//! Promises: a cursor may lag behind the truth, it never leads; a torn write costs one slot, and the other one still
//! holds; losing both costs duplicates, never data. The effect of a record is durable before a floor passes it: that is
//! the caller's part.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::record::{array_at, u32_at, u64_at};
use super::safeguard::{Safeguard, holds};
use crate::base::crc::crc32c;
use crate::base::disk::{Disk, DiskFile, Durability, Open, read_full_at};
use crate::base::{DestinationId, Epoch, Error, Kind, Lsn, Result, Side};

/// Lanes of a destination at most.
pub const LANES_MAX: usize = 64;
/// Opaque counters beside the floors at most.
pub const COUNTERS_MAX: usize = 320;

const SLOT_BYTES: usize = 4096;
const MAGIC: [u8; 8] = [0x89, b'W', b'C', b'R', 0x0d, 0x0a, 0x1a, 0x0a];
const VERSION: u16 = 1;
const ID_AT: usize = 40;
const ID_MAX_BYTES: usize = 64;
/// Zeros where an older version has written the slot.
const NODE_AT: usize = ID_AT + ID_MAX_BYTES;
const FLOORS_AT: usize = 128;
const COUNTERS_AT: usize = FLOORS_AT + LANES_MAX * 8;
const CRC_AT: usize = SLOT_BYTES - 4;

/// How far a destination is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Whose floors these are.
    pub destination: DestinationId,
    /// Installation whose log these floors speak of; zeros where that is not known.
    pub node: [u8; 16],
    /// Grows by one with each save.
    pub generation: u64,
    /// Durable LSN of the log when this was saved. Recovery trusts it: never set it above [`super::Wal::durable`].
    pub durable_seen: Lsn,
    /// Epoch of the primary when this was saved.
    pub epoch: Epoch,
    /// One floor per lane: everything up to it is acknowledged. At most [`LANES_MAX`].
    pub floors: Vec<Lsn>,
    /// Numbers that belong to the floors and mean nothing to the log. At most [`COUNTERS_MAX`].
    pub counters: Vec<u64>,
}

/// What had to be changed to make a cursor fit the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clamped {
    /// Lanes whose floor was above the end of the log: something lost data that was durable. Worth an alarm.
    pub ahead: usize,
    /// Lanes whose next record is older than the log: the reader will report what is missing as damage.
    pub behind: usize,
}

impl Cursor {
    /// A cursor that has acknowledged nothing, for this many lanes.
    #[must_use]
    pub fn start(destination: DestinationId, lanes: usize) -> Self {
        let floors = vec![Lsn::ZERO; lanes.clamp(1, LANES_MAX)];
        let (generation, durable_seen, epoch, counters) = (0, Lsn::ZERO, Epoch(0), Vec::new());
        Self { destination, node: [0; 16], generation, durable_seen, epoch, floors, counters }
    }

    /// Floors of another log would pass over records of this one that nobody has delivered.
    ///
    /// # Errors
    /// It is the cursor of another installation's log.
    pub fn check_node(&self, wal: &Path, node: [u8; 16]) -> Result<()> {
        if self.node == node || self.node == [0; 16] {
            return Ok(());
        }
        let path = dir(wal).join(format!("{}.cur", self.destination));
        let what = format!("{} is the cursor of another twinline's log", path.display());
        Err(Error::new(Kind::State, Side::Own, what).hint(
            "put back the one that belongs here; or move this file elsewhere: delivery then begins again at the oldest record \
             of the log, which repeats writes and loses none",
        ))
    }

    /// The floor that all lanes have passed; `None` without lanes.
    #[must_use]
    pub fn lowest_floor(&self) -> Option<Lsn> {
        self.floors.iter().copied().min()
    }

    /// Fits the floors to a log that holds `oldest` to `durable`.
    pub fn clamp(&mut self, oldest: Lsn, durable: Lsn) -> Clamped {
        let clamped = Clamped {
            ahead: self.floors.iter().filter(|floor| **floor > durable).count(),
            behind: self.floors.iter().filter(|floor| floor.next() < oldest).count(),
        };
        self.floors.iter_mut().for_each(|floor| *floor = (*floor).min(durable));
        clamped
    }

    /// Another number of lanes: the hash then sends series elsewhere, so that all lanes restart at the lowest floor.
    pub fn set_lanes(&mut self, lanes: usize) {
        if lanes != self.floors.len() {
            let lowest = self.lowest_floor().unwrap_or(Lsn::ZERO);
            self.floors = vec![lowest; lanes.clamp(1, LANES_MAX)];
        }
    }

    fn encode(&self) -> Result<Vec<u8>> {
        let id = self.destination.as_str().as_bytes();
        if self.floors.len() > LANES_MAX || self.counters.len() > COUNTERS_MAX || id.len() > ID_MAX_BYTES {
            let what = format!("{} lanes and {} counters do not fit a cursor", self.floors.len(), self.counters.len());
            return Err(Error::new(Kind::Limit, Side::Own, what));
        }
        let mut slot = vec![0; SLOT_BYTES];
        slot[..8].copy_from_slice(&MAGIC);
        slot[8..10].copy_from_slice(&VERSION.to_le_bytes());
        slot[10..12].copy_from_slice(&(self.floors.len() as u16).to_le_bytes());
        slot[12..14].copy_from_slice(&(self.counters.len() as u16).to_le_bytes());
        slot[14..16].copy_from_slice(&(id.len() as u16).to_le_bytes());
        slot[16..24].copy_from_slice(&self.generation.to_le_bytes());
        slot[24..32].copy_from_slice(&self.durable_seen.0.to_le_bytes());
        slot[32..36].copy_from_slice(&self.epoch.0.to_le_bytes());
        slot[ID_AT..ID_AT + id.len()].copy_from_slice(id);
        slot[NODE_AT..NODE_AT + 16].copy_from_slice(&self.node);
        for (index, floor) in self.floors.iter().enumerate() {
            slot[FLOORS_AT + index * 8..][..8].copy_from_slice(&floor.0.to_le_bytes());
        }
        for (index, counter) in self.counters.iter().enumerate() {
            slot[COUNTERS_AT + index * 8..][..8].copy_from_slice(&counter.to_le_bytes());
        }
        let crc = crc32c(&slot[..CRC_AT]);
        slot[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        Ok(slot)
    }

    fn decode(slot: &[u8]) -> Option<Self> {
        let sound = slot.len() == SLOT_BYTES
            && slot[..8] == MAGIC
            && crc32c(&slot[..CRC_AT]) == u32_at(slot, CRC_AT)
            && u16_at(slot, 8) == VERSION;
        let (lanes, counters) = (usize::from(u16_at(slot.get(..16)?, 10)), usize::from(u16_at(slot, 12)));
        let id_bytes = usize::from(u16_at(slot, 14));
        if !sound || lanes > LANES_MAX || counters > COUNTERS_MAX || id_bytes > ID_MAX_BYTES {
            return None;
        }
        let id = std::str::from_utf8(&slot[ID_AT..ID_AT + id_bytes]).ok()?;
        Some(Self {
            destination: DestinationId::parse(id).ok()?,
            node: array_at(slot, NODE_AT),
            generation: u64_at(slot, 16),
            durable_seen: Lsn(u64_at(slot, 24)),
            epoch: Epoch(u32_at(slot, 32)),
            floors: (0..lanes).map(|index| Lsn(u64_at(slot, FLOORS_AT + index * 8))).collect(),
            counters: (0..counters).map(|index| u64_at(slot, COUNTERS_AT + index * 8)).collect(),
        })
    }
}

/// The version of a sound slot that is none of ours.
fn foreign_version(slot: &[u8]) -> Option<u16> {
    let sound = slot.len() == SLOT_BYTES && slot[..8] == MAGIC && crc32c(&slot[..CRC_AT]) == u32_at(slot, CRC_AT);
    sound.then(|| u16_at(slot, 8)).filter(|version| *version != VERSION)
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array_at(bytes, at))
}

/// What a cursor file held.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// The newest sound slot.
    pub cursor: Option<Cursor>,
    /// What was wrong, in a sentence. A file with two bad slots gives no cursor and a warning.
    pub warning: Option<String>,
}

/// Where cursors lie below the log's directory.
#[must_use]
pub fn dir(wal: &Path) -> PathBuf {
    wal.join("cursors")
}

/// The destinations that have a cursor, configured or not, in order of their names.
///
/// # Errors
/// The directory cannot be read. One that does not exist is empty.
pub fn list(disk: &dyn Disk, wal: &Path) -> Result<Vec<DestinationId>> {
    let dir = dir(wal);
    let names = match disk.list(&dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        other => other.map_err(|e| Error::disk(format!("cannot list {}", dir.display()), e))?,
    };
    let ids = names.iter().filter_map(|name| DestinationId::parse(name.strip_suffix(".cur")?).ok());
    let mut ids: Vec<DestinationId> = ids.collect();
    ids.sort();
    Ok(ids)
}

/// Reads a destination's cursor. Changes nothing.
///
/// # Errors
/// The file exists and cannot be read, is that of another destination, or was written by a newer version.
pub fn load(disk: &dyn Disk, wal: &Path, destination: &DestinationId) -> Result<Loaded> {
    let path = dir(wal).join(format!("{destination}.cur"));
    let file = match disk.open(&path, Open::Read) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Loaded::default()),
        other => other.map_err(|e| Error::disk(format!("cannot open {}", path.display()), e))?,
    };
    let mut bytes = vec![0; 2 * SLOT_BYTES];
    let read = read_full_at(file.as_ref(), &mut bytes, 0);
    let read = read.map_err(|e| Error::disk(format!("cannot read {}", path.display()), e))?;
    let slots = || bytes[..read].chunks(SLOT_BYTES);
    if let Some(version) = slots().filter_map(foreign_version).next() {
        let what = format!("{} is a cursor of version {version}, which this program does not know", path.display());
        return Err(Error::new(Kind::State, Side::Own, what)
            .hint("run the version that wrote this data directory, or a newer one"));
    }
    let cursor = slots().filter_map(Cursor::decode).max_by_key(|cursor| cursor.generation);
    if let Some(other) = cursor.as_ref().map(|cursor| &cursor.destination).filter(|other| *other != destination) {
        let what = format!("{} is the cursor of destination \"{other}\", not of \"{destination}\"", path.display());
        return Err(Error::new(Kind::State, Side::Own, what)
            .hint(format!("name it {other}.cur again; where that is there already, move this copy elsewhere")));
    }
    let warning = cursor.is_none().then(|| {
        format!("{} holds no sound cursor; delivery starts again at the oldest record of the log", path.display())
    });
    Ok(Loaded { cursor, warning })
}

/// The file of one destination, for saving.
#[derive(Debug)]
pub struct CursorFile {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    destination: DestinationId,
    generation: u64,
    /// `None` before the first save, and after a failed one: that file is not trusted again but written anew.
    file: Option<Arc<dyn DiskFile>>,
}

impl CursorFile {
    /// The file of a destination whose cursor was loaded with `generation` (0 where there was none).
    #[must_use]
    pub fn new(disk: Arc<dyn Disk>, wal: &Path, destination: DestinationId, generation: u64) -> Self {
        Self { disk, dir: dir(wal), destination, generation, file: None }
    }

    /// Makes a cursor durable; its generation is set here.
    ///
    /// # Errors
    /// The disk failed: the older slot still holds, and the next save writes a new file. `Limit` for too many lanes.
    pub fn save(&mut self, cursor: &mut Cursor) -> Result<()> {
        cursor.generation = self.generation + 1;
        let slot = cursor.encode()?;
        let path = self.dir.join(format!("{}.cur", self.destination));
        let result = match self.file.take() {
            Some(file) => self.write_slot(file, cursor.generation, &slot),
            None if !holds(Safeguard::CursorAnew) && self.generation > 0 => {
                let file = self.disk.open(&path, Open::Write);
                file.and_then(|file| self.write_slot(file, cursor.generation, &slot))
            }
            None => self.publish(&path, cursor.generation, &slot),
        };
        let file = result.map_err(|e| Error::disk(format!("cannot save {}", path.display()), e).retryable())?;
        self.generation = cursor.generation;
        self.file = Some(file);
        Ok(())
    }

    fn write_slot(&self, file: Arc<dyn DiskFile>, generation: u64, slot: &[u8]) -> io::Result<Arc<dyn DiskFile>> {
        let offset = generation % 2 * SLOT_BYTES as u64;
        let durability = if holds(Safeguard::CursorSynced) { Durability::Durable } else { Durability::Cached };
        file.write_all_at(&[IoSlice::new(slot)], offset, durability)?;
        Ok(file)
    }

    /// Writes a new file beside the old one and puts it in its place. Where the disk is full that needs the room of the spare
    /// that the former process has left: without floors nothing would ever be given back.
    fn publish(&self, path: &Path, generation: u64, slot: &[u8]) -> io::Result<Arc<dyn DiskFile>> {
        let next = self.dir.join(format!("{}.cur.next", self.destination));
        match self.disk.remove(&next) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = self.disk.open(&next, Open::Create)?;
        let mut both = vec![0; 2 * SLOT_BYTES];
        let at = (generation % 2) as usize * SLOT_BYTES;
        both[at..at + SLOT_BYTES].copy_from_slice(slot);
        file.write_all_at(&[IoSlice::new(&both)], 0, Durability::Durable)?;
        self.disk.rename(&next, path)?;
        self.disk.sync_dir(&self.dir)?;
        self.leave_spare(&next);
        Ok(file)
    }

    /// Best effort: the old file has just given up as much.
    fn leave_spare(&self, next: &Path) {
        let zeros = [0; 2 * SLOT_BYTES];
        let left = self
            .disk
            .open(next, Open::Create)
            .and_then(|file| file.write_all_at(&[IoSlice::new(&zeros)], 0, Durability::Cached));
        if let Err(error) = left {
            tracing::debug!(path = %next.display(), %error, "no spare for the next process' first floors");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::disk::faulty::{Failure, FaultyDisk};
    use crate::base::disk::simulated::SimulatedDisk;
    use proptest::prelude::*;

    fn id() -> DestinationId {
        DestinationId::parse("main").unwrap()
    }

    fn wal() -> &'static Path {
        Path::new("wal")
    }

    fn path() -> PathBuf {
        wal().join("cursors/main.cur")
    }

    fn at(floor: u64) -> Cursor {
        Cursor {
            durable_seen: Lsn(floor + 5),
            floors: vec![Lsn(floor); 3],
            counters: vec![floor],
            ..Cursor::start(id(), 3)
        }
    }

    proptest! {
        #[test]
        fn a_cursor_reads_back_as_saved(
            durable: u64, epoch: u32, node: [u8; 16],
            floors in prop::collection::vec(any::<u64>(), 0..=LANES_MAX),
            counters in prop::collection::vec(any::<u64>(), 0..=COUNTERS_MAX),
        ) {
            let disk: Arc<dyn Disk> = Arc::new(SimulatedDisk::new(1));
            let floors = floors.into_iter().map(Lsn).collect();
            let (destination, durable_seen, epoch) = (id(), Lsn(durable), Epoch(epoch));
            let mut cursor = Cursor { destination, node, generation: 0, durable_seen, epoch, floors, counters };
            CursorFile::new(Arc::clone(&disk), wal(), id(), 7).save(&mut cursor).unwrap();
            prop_assert_eq!(cursor.generation, 8);
            prop_assert_eq!(load(disk.as_ref(), wal(), &id()).unwrap(), Loaded { cursor: Some(cursor), warning: None });
        }
    }

    #[test]
    fn a_torn_save_costs_one_slot_and_two_bad_slots_are_told() {
        let disk = SimulatedDisk::new(2);
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        assert_eq!(load(&disk, wal(), &id()).unwrap(), Loaded::default(), "no file is no reason to warn");
        let mut file = CursorFile::new(shared, wal(), id(), 0);
        for floor in 1..=5 {
            file.save(&mut at(floor)).unwrap();
            let loaded = load(&disk, wal(), &id()).unwrap().cursor.unwrap();
            assert_eq!((loaded.generation, loaded.lowest_floor()), (floor, Some(Lsn(floor))));
        }
        disk.corrupt(&path(), |bytes| bytes[SLOT_BYTES + 700] ^= 1).unwrap();
        assert_eq!(load(&disk, wal(), &id()).unwrap().cursor.unwrap().generation, 4);
        disk.corrupt(&path(), |bytes| bytes[700] ^= 1).unwrap();
        let loaded = load(&disk, wal(), &id()).unwrap();
        assert!(loaded.cursor.is_none() && loaded.warning.is_some());
    }

    #[test]
    fn a_cursor_of_another_destination_or_version_is_refused() {
        let disk = SimulatedDisk::new(3);
        CursorFile::new(Arc::new(disk.clone()), wal(), id(), 0).save(&mut at(1)).unwrap();
        disk.rename(&path(), &wal().join("cursors/other.cur")).unwrap();
        let other = DestinationId::parse("other").unwrap();
        assert_eq!(list(&disk, wal()).unwrap(), std::slice::from_ref(&other));
        let error = load(&disk, wal(), &other).unwrap_err();
        assert_eq!(error.kind(), Kind::State);
        assert!(error.to_string().contains("the cursor of destination \"main\", not of \"other\""), "{error}");
        disk.rename(&wal().join("cursors/other.cur"), &path()).unwrap();
        disk.corrupt(&path(), |bytes| {
            bytes[SLOT_BYTES + 8] = 2;
            let crc = crc32c(&bytes[SLOT_BYTES..SLOT_BYTES + CRC_AT]);
            bytes[SLOT_BYTES + CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        })
        .unwrap();
        let error = load(&disk, wal(), &id()).unwrap_err();
        assert!(error.kind() == Kind::State && error.to_string().contains("of version 2"), "{error}");
    }

    #[test]
    fn after_a_failed_save_the_old_floor_holds_and_the_next_save_writes_a_new_file() {
        for half in [false, true] {
            let inner = SimulatedDisk::new(4);
            let disk = FaultyDisk::new(Arc::new(inner.clone()));
            let mut file = CursorFile::new(Arc::new(disk.clone()), wal(), id(), 0);
            file.save(&mut at(1)).unwrap();
            file.save(&mut at(2)).unwrap();
            disk.fail(Some(Failure { at: disk.calls(), errno: 5, half, lasting: false }));
            assert!(file.save(&mut at(3)).is_err());
            assert_eq!(load(&inner, wal(), &id()).unwrap().cursor.unwrap().lowest_floor(), Some(Lsn(2)));
            let before = disk.calls();
            file.save(&mut at(4)).unwrap();
            assert!(disk.calls() - before > 3, "create, write, rename and sync of the directory");
            assert_eq!(load(&inner, wal(), &id()).unwrap().cursor.unwrap().lowest_floor(), Some(Lsn(4)));
        }
    }

    #[test]
    fn floors_are_fitted_to_the_log_and_to_the_lanes() {
        let mut cursor = Cursor { floors: vec![Lsn(3), Lsn(50), Lsn(9)], ..at(0) };
        assert_eq!(cursor.clamp(Lsn(10), Lsn(40)), Clamped { ahead: 1, behind: 1 });
        assert_eq!(cursor.floors, [Lsn(3), Lsn(40), Lsn(9)], "never raised: the reader reports what is missing");
        cursor.set_lanes(3);
        assert_eq!(cursor.floors.len(), 3);
        cursor.set_lanes(2);
        assert_eq!(cursor.floors, [Lsn(3), Lsn(3)], "another number of lanes starts at the lowest floor");
    }

    #[test]
    fn too_many_lanes_are_refused() {
        let mut file = CursorFile::new(Arc::new(SimulatedDisk::new(5)), wal(), id(), 0);
        let mut cursor = Cursor { floors: vec![Lsn(1); LANES_MAX + 1], ..at(0) };
        assert_eq!(file.save(&mut cursor).unwrap_err().kind(), Kind::Limit);
    }
}
