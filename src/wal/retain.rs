//! The supply of segment files: takes back what nobody needs, keeps a written file ready for the next rotation, and
//! knows how much room is left.
//!
//! Promises: a file is taken back only when it lies below the released LSN and no reader stands in it, oldest first,
//! one directory sync each (when one fails, recycling stops until the next start), and its bytes are not touched
//! before its new name is durable; the sum of all files stays within the budget; a prepared file has been written
//! from end to end (unwritten extents double a commit's latency).

use std::io::{self, IoSlice};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::live::{Live, guard};
use super::safeguard::{Safeguard, holds};
use super::segment::{capacity_for, next_name, parse_next_name, room};
use super::sync::{AtomicU64, Mutex, Ordering};
use crate::base::bounds::LOG_CHUNK_BYTES;
use crate::base::clock::SharedClock;
use crate::base::disk::{Disk, DiskFile, Durability, Open};

/// Prepared files that the supply makes.
const READY_WANTED: usize = 1;
/// So many are kept for the next rotations …
const READY_KEPT: usize = 2;
/// … and more of them up to this and to this part of the log's budget: segments are released by the handful, and one that is
/// made anew costs a second write of everything that it will hold.
const READY_BYTES: u64 = 256 << 20;
const READY_PART: u64 = 8;
/// Files are filled with zeros in steps of this size, each durable before the next: a commit waits behind one step at
/// most (steps of 8 MiB held a commit up for 5 ms on a disk where one takes 0.15 ms) …
const FILL_BYTES: usize = LOG_CHUNK_BYTES / 2;
/// … and after each step the disk is left to the commits for as long as the step took, within these bounds.
const REST_MIN: Duration = Duration::from_micros(500);
const REST_MAX: Duration = Duration::from_millis(10);

/// While little waits, files are no longer than this: they are written ahead once and then used again and again, and stay
/// in the page cache.
const SMALL_SEGMENT_BYTES: u64 = 16 << 20;
/// They grow with the log, so that a long one is not made of thousands.
const SEGMENT_PART: u64 = 8;

/// A start must be quick: its first segment is no longer than this unless it must be.
const FIRST_SEGMENT_BYTES: u64 = 8 << 20;
/// What a start above the budget leaves for outcomes.
const SETTLE_ROOM_BYTES: u64 = 256 << 10;
/// Room that only outcomes and gaps may use, so that what was forwarded can always be settled: at most this …
const SETTLE_RESERVE_BYTES: u64 = 4 << 20;
/// … and at most this part of a segment.
const SETTLE_RESERVE_PART: u64 = 8;

/// A file that can become the next segment. What it holds means nothing: a new salt makes it void.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) bytes: u64,
}

/// How the supply is bounded.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    /// The directory of the segments.
    pub(crate) dir: PathBuf,
    pub(crate) segment_bytes: u64,
    pub(crate) max_bytes: u64,
    pub(crate) reserve_free_bytes: u64,
}

#[derive(Debug, Default)]
struct Pool {
    ready: Vec<Prepared>,
    /// Files in the directory that are neither segments nor ready: being made, or given up after a failed sync.
    other_bytes: u64,
    /// A superseded segment that a start on a full disk still needs.
    left: Option<(PathBuf, u64)>,
    trouble: Option<String>,
    /// A name may or may not be durable. Recycling a younger segment could then leave a hole after power loss.
    stuck: bool,
}

/// Makes and recycles segment files. One pass runs at a time; taking a ready file never waits for one.
#[derive(Debug)]
pub(crate) struct Supply {
    disk: Arc<dyn Disk>,
    live: Arc<Live>,
    budget: Budget,
    working: Mutex<()>,
    pool: Mutex<Pool>,
    next_number: AtomicU64,
    /// The clock that rests between steps are measured with, while nobody waits for a file.
    gentle: Mutex<Option<SharedClock>>,
    /// Who waits for a file that is being made.
    awaited: AtomicU64,
}

impl Supply {
    /// A supply that starts with the prepared files of an earlier run; numbers below `next_number` are in use.
    pub(crate) fn new(disk: Arc<dyn Disk>, live: Arc<Live>, budget: Budget, next_number: u64) -> Self {
        let next_number = AtomicU64::new(next_number);
        let (working, pool, gentle, awaited) = Default::default();
        Self { disk, live, budget, working, pool, next_number, gentle, awaited }
    }

    /// Takes over what an earlier run prepared; deletes what is too much.
    pub(crate) fn adopt(&self, names: &[String]) -> io::Result<()> {
        let _working = guard(&self.working);
        let mut names: Vec<&String> = names.iter().filter(|name| parse_next_name(name).is_some()).collect();
        names.sort();
        for name in names {
            let path = self.budget.dir.join(name);
            let file = self.disk.open(&path, Open::Write)?;
            let bytes = file.length()?;
            let fits = self.bytes() + bytes.max(self.budget.segment_bytes) <= self.budget.max_bytes;
            let least = self.budget.segment_bytes.min(SMALL_SEGMENT_BYTES);
            let usable = bytes >= self.wanted_bytes() || self.ready_count() == 0 && bytes >= least;
            if self.keeps(bytes) && fits && usable {
                // Its allocation may never have reached the disk.
                if file.sync_data().is_err() {
                    continue;
                }
                guard(&self.pool).ready.push(Prepared { path, file, bytes });
            } else {
                self.disk.remove(&path)?;
            }
        }
        self.publish_room();
        Ok(())
    }

    fn ready_count(&self) -> usize {
        guard(&self.pool).ready.len()
    }

    /// Whether one more prepared file of this length is worth its room.
    fn keeps(&self, bytes: u64) -> bool {
        let pool = guard(&self.pool);
        let ready: u64 = pool.ready.iter().map(|prepared| prepared.bytes).sum();
        pool.ready.len() < READY_KEPT || ready + bytes <= READY_BYTES.min(self.budget.max_bytes / READY_PART)
    }

    /// Bytes of all files: segments, prepared ones and others.
    pub(crate) fn bytes(&self) -> u64 {
        let published: u64 = self.live.segments().iter().map(|segment| segment.bytes).sum();
        let pool = guard(&self.pool);
        published + pool.other_bytes + pool.ready.iter().map(|prepared| prepared.bytes).sum::<u64>()
    }

    /// Length of the next file: a part of the log as it is now, within the configured length.
    fn wanted_bytes(&self) -> u64 {
        let published: u64 = self.live.segments().iter().map(|segment| segment.bytes).sum();
        let part = (published / SEGMENT_PART).checked_next_power_of_two().unwrap_or(u64::MAX);
        part.max(SMALL_SEGMENT_BYTES).min(self.budget.segment_bytes)
    }

    /// From now on files are made gently, with rests in between. A start has no commits that could wait, and must be quick.
    pub(crate) fn be_gentle(&self, clock: SharedClock) {
        *guard(&self.gentle) = Some(clock);
    }

    /// One pass: takes back released segments, then makes files until enough are ready or the budget is reached.
    pub(crate) fn tend(&self) {
        let _working = guard(&self.working);
        let result = self.tend_locked(READY_WANTED);
        self.note(result);
        self.publish_room();
        // Open files can be written to after somebody has deleted them, and nobody would ever find what is in them.
        if self.disk.free_bytes(&self.budget.dir).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            self.live.set_fault(format!("{} was deleted while the log was open", self.budget.dir.display()));
        }
    }

    fn tend_locked(&self, wanted: usize) -> io::Result<()> {
        while self.reclaim_one()? {}
        while self.ready_count() < wanted && self.makeable() > 0 {
            self.make(self.wanted_bytes())?;
        }
        Ok(())
    }

    /// A file for a segment with at least `needed` bytes of room, or `None` where the budget or the disk allows none.
    /// `taken` publishes the new room of the active segment before the supply's room shrinks by it.
    pub(crate) fn take(&self, needed: u64, taken: impl FnOnce(&Prepared)) -> Option<Prepared> {
        if self.ready_count() == 0 {
            // Waits for a pass that is under way, or makes one; without rests.
            self.awaited.fetch_add(1, Ordering::AcqRel);
            let _working = guard(&self.working);
            let result = self.tend_locked(1);
            self.awaited.fetch_sub(1, Ordering::AcqRel);
            self.note(result);
        }
        let popped = guard(&self.pool).ready.pop();
        let found = popped.and_then(|mut prepared| {
            if room(prepared.bytes) >= needed {
                return Some(prepared);
            }
            let result = self.extend(&mut prepared, capacity_for(needed));
            if matches!(result, Ok(true)) {
                return Some(prepared);
            }
            self.note(result.map(|_| ()));
            guard(&self.pool).ready.push(prepared);
            None
        });
        if let Some(prepared) = &found {
            let _pool = guard(&self.pool);
            taken(prepared);
        }
        self.publish_room();
        found
    }

    /// Bytes of records that still fit into the log, read in one piece.
    pub(crate) fn room(&self) -> u64 {
        let _pool = guard(&self.pool);
        self.live.active_room.load(Ordering::Acquire) + self.live.supply_room.load(Ordering::Acquire)
    }

    /// Whether a bundle of this size still fits behind what waits. One that `asks` for something new leaves a reserve
    /// to those that settle something old, and is refused while a start has taken the log above its budget.
    pub(crate) fn admits(&self, bytes: u64, asks: bool) -> bool {
        let part = self.budget.segment_bytes / SETTLE_RESERVE_PART;
        let reserve = if asks { part.min(SETTLE_RESERVE_BYTES) } else { 0 };
        let waiting = self.live.waiting_bytes.load(Ordering::Acquire);
        waiting + bytes + reserve <= self.room() && !(asks && self.live.over_budget.load(Ordering::Acquire))
    }

    /// Length of the first segment of a start that must hold this many bytes of records at once: short, so that the
    /// start is quick; and no longer than needed where the budget is used up.
    pub(crate) fn first_bytes(&self, records_bytes: u64) -> u64 {
        let needed = capacity_for(records_bytes);
        let usual = self.budget.segment_bytes.min(FIRST_SEGMENT_BYTES).max(needed);
        if self.bytes() + usual <= self.budget.max_bytes {
            return usual;
        }
        usual.min(capacity_for(records_bytes + SETTLE_ROOM_BYTES))
    }

    /// Why no file could be prepared, the last time one was needed.
    pub(crate) fn trouble(&self) -> Option<String> {
        guard(&self.pool).trouble.clone()
    }

    fn note(&self, result: io::Result<()>) {
        let trouble = result.err().map(|error| format!("cannot prepare a log segment: {error}"));
        let mut pool = guard(&self.pool);
        if let Some(text) = trouble.as_ref().filter(|_| pool.trouble != trouble) {
            tracing::warn!("{text}");
        }
        pool.trouble = trouble;
    }

    /// Makes a file that needs no long filling, for the first segment after a start.
    pub(crate) fn make_first(&self, bytes: u64) -> io::Result<Prepared> {
        let _working = guard(&self.working);
        match self.make(bytes) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {}
            Err(error) => return Err(error),
        }
        let mut pool = guard(&self.pool);
        let smallest = pool.ready.iter().enumerate().filter(|(_, p)| p.bytes >= bytes).min_by_key(|(_, p)| p.bytes);
        let index = smallest.map(|(index, _)| index).ok_or(io::ErrorKind::StorageFull)?;
        Ok(pool.ready.swap_remove(index))
    }

    /// Recycles or deletes the oldest segment if nobody needs it; says whether it did.
    fn reclaim_one(&self) -> io::Result<bool> {
        if guard(&self.pool).stuck {
            return Ok(false);
        }
        let segment = {
            if !self.live.front_is_released() {
                return Ok(false);
            }
            let mut segments = self.live.segments();
            if segments.front().is_none_or(|segment| Arc::strong_count(segment) > 1) {
                return Ok(false);
            }
            let Some(segment) = segments.pop_front() else { return Ok(false) };
            guard(&self.pool).other_bytes += segment.bytes;
            segment
        };
        self.retire(segment.path.clone(), segment.bytes)?;
        Ok(true)
    }

    /// Takes a file out of the log. Its bytes count as `other` already; after a failed sync they stay so, untouched.
    fn retire(&self, path: PathBuf, bytes: u64) -> io::Result<()> {
        let next = self.new_path();
        let gone = || if holds(Safeguard::RenameBeforeReuse) { self.disk.sync_dir(&self.budget.dir) } else { Ok(()) };
        let moved = self.disk.rename(&path, &next).and_then(|()| gone());
        guard(&self.pool).stuck |= moved.is_err() && holds(Safeguard::RecycleInOrder);
        moved?;
        if self.keeps(bytes) {
            let file = self.disk.open(&next, Open::Write)?;
            let mut prepared = Prepared { path: next.clone(), file, bytes };
            guard(&self.pool).other_bytes -= bytes;
            let wanted = self.wanted_bytes();
            // What cannot be lengthened, on a full disk say, is better than nothing.
            let usable = bytes >= wanted || matches!(self.extend(&mut prepared, wanted), Ok(true));
            if usable || self.ready_count() == 0 {
                guard(&self.pool).ready.push(prepared);
                return Ok(());
            }
            return self.disk.remove(&next);
        }
        self.disk.remove(&next)?;
        guard(&self.pool).other_bytes -= bytes;
        Ok(())
    }

    /// Takes a superseded segment, which holds nothing that counts, out of the log at start.
    pub(crate) fn retire_superseded(&self, path: PathBuf, bytes: u64) -> io::Result<()> {
        let _working = guard(&self.working);
        guard(&self.pool).other_bytes += bytes;
        self.retire(path, bytes)
    }

    /// Counts a superseded segment that must stay until the log has begun.
    pub(crate) fn leave(&self, path: PathBuf, bytes: u64) {
        let mut pool = guard(&self.pool);
        pool.other_bytes += bytes;
        pool.left = Some((path, bytes));
    }

    /// The log has begun: what was left goes, before anything younger. The next start would else take it for the segment
    /// that holds what has been recycled since.
    pub(crate) fn retire_left(&self) {
        let _working = guard(&self.working);
        let left = guard(&self.pool).left.take();
        if let Some((path, bytes)) = left {
            let result = self.retire(path, bytes);
            self.note(result);
        }
    }

    fn new_path(&self) -> PathBuf {
        self.budget.dir.join(next_name(self.next_number.fetch_add(1, Ordering::Relaxed)))
    }

    /// How many further files of the usual size may be made.
    fn makeable(&self) -> u64 {
        let by_budget = self.budget.max_bytes.saturating_sub(self.bytes());
        let free = self.disk.free_bytes(&self.budget.dir).unwrap_or(0);
        by_budget.min(free.saturating_sub(self.budget.reserve_free_bytes)) / self.budget.segment_bytes
    }

    fn make(&self, bytes: u64) -> io::Result<()> {
        let path = self.new_path();
        let file = self.disk.open(&path, Open::Create)?;
        let mut prepared = Prepared { path, file, bytes: 0 };
        guard(&self.pool).other_bytes += bytes;
        let filled = self.fill(prepared.file.as_ref(), 0, bytes);
        guard(&self.pool).other_bytes -= bytes;
        if let Err(error) = filled {
            self.disk.remove(&prepared.path)?;
            return Err(error);
        }
        prepared.bytes = bytes;
        guard(&self.pool).ready.push(prepared);
        Ok(())
    }

    /// Lengthens a prepared file, if the budget allows.
    fn extend(&self, prepared: &mut Prepared, bytes: u64) -> io::Result<bool> {
        let more = bytes.saturating_sub(prepared.bytes);
        let free = self.disk.free_bytes(&self.budget.dir)?.saturating_sub(self.budget.reserve_free_bytes);
        if self.bytes() + bytes > self.budget.max_bytes || more > free {
            return Ok(false);
        }
        self.fill(prepared.file.as_ref(), prepared.bytes, bytes)?;
        prepared.bytes = bytes;
        Ok(true)
    }

    /// Publishes how many bytes of records fit into what is ready or can be made.
    pub(crate) fn publish_room(&self) {
        let makeable = self.makeable() * room(self.budget.segment_bytes);
        self.live.over_budget.store(self.bytes() > self.budget.max_bytes, Ordering::Release);
        let pool = guard(&self.pool);
        let ready: u64 = pool.ready.iter().map(|prepared| room(prepared.bytes)).sum();
        self.live.supply_room.store(ready + makeable, Ordering::Release);
    }

    /// Writes zeros between two offsets and makes them durable, step by step.
    fn fill(&self, file: &dyn DiskFile, from: u64, to: u64) -> io::Result<()> {
        let zeros = vec![0; FILL_BYTES.min(usize::try_from(to - from).unwrap_or(FILL_BYTES))];
        let gentle = guard(&self.gentle).clone();
        let mut at = from;
        while at < to {
            let began = gentle.as_ref().map(|clock| clock.monotonic());
            let length = (to - at).min(zeros.len() as u64);
            file.write_all_at(&[IoSlice::new(&zeros[..length as usize])], at, Durability::Durable)?;
            at += length;
            if let (Some(clock), Some(began)) = (&gentle, began)
                && self.awaited.load(Ordering::Acquire) == 0
                && !self.live.closed.load(Ordering::Acquire)
            {
                let took = clock.monotonic().saturating_sub(began);
                std::thread::park_timeout(took.clamp(REST_MIN, REST_MAX));
            }
        }
        file.sync_data()
    }
}
