//! The queue on this machine: the log and one cursor file per destination.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use super::cause::Cause;
use super::outcome::{Disposition, EntryBytes, Outcome};
use super::scout::Scout;
use crate::base::clock::SharedClock;
use crate::base::disk::Disk;
use crate::base::failpoint::{self, Point};
use crate::base::{DestinationId, Epoch, Error, Kind, Lsn, Result, Side};
use crate::wal::cursor::{self, Loaded};
use crate::wal::{self, Bundle, Cursor, CursorFile, Fault, Item, LogLock, Reader, Recovery, Refused, Wal};

/// Records that a start looks at before clients are served; what lies beyond is looked at while they are.
const SCAN_MAX: usize = 4096;
/// … and how long it does so: each look may be a seek of a slow disk.
const SCAN_TIME_MAX: Duration = Duration::from_millis(200);
const SCAN_STEP: usize = 32;
/// Doubt outcomes written in one bundle at start.
const DOUBT_STEP: usize = 4096;
/// Longest wait for the first commit after a start.
const FIRST_COMMIT_MAX: Duration = Duration::from_secs(60);

/// How far a destination has acknowledged, with the sums that belong to exactly these positions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Floors {
    /// One floor a lane: every line of that lane at or below it is delivered, or left a durable effect.
    pub lanes: Vec<Lsn>,
    /// Sums, meant by whoever saves them.
    pub counters: Vec<u64>,
}

impl Floors {
    /// The lowest floor: nothing at or below it is needed.
    #[must_use]
    pub fn lowest(&self) -> Lsn {
        self.lanes.iter().copied().min().unwrap_or(Lsn::ZERO)
    }
}

/// A queue, opened.
#[derive(Debug)]
pub struct Opened {
    /// The queue.
    pub queue: LocalQueue,
    /// Where delivery stood.
    pub floors: Floors,
    /// A scout at the lowest floor that has seen all up to the end, unless that is far: see [`Scout::counted`].
    pub scout: Scout,
    /// What the log found at start.
    pub recovery: Recovery,
    /// Intents of the dead process that are doubt now; the rest, where the scout has not seen the end, is known later.
    pub doubted: u64,
    /// What was wrong with its cursor, in sentences: worth an event.
    pub remarks: Vec<String>,
    /// Where it begins.
    pub begins: Begins,
}

/// Where a destination begins to read the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begins {
    /// Where it stood; the first ones of a log at its beginning.
    Here,
    /// Behind this record, the last one: it is new, and others have read the log before.
    AtEnd(Lsn),
    /// Behind these records, which it has not read: it was away, and they are not there any more.
    Behind(Lsn, Lsn),
}

/// A destination that is to get what is in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its id.
    pub id: DestinationId,
    /// It was not configured at an earlier start, and the log was not kept for it since.
    pub was_away: bool,
}

/// A destination that has read the log and is not configured now: the log is not kept for it.
#[derive(Debug)]
pub struct Removed {
    /// Its id.
    pub id: DestinationId,
    /// How far it was.
    pub floors: Floors,
    /// Stands there, and has looked at nothing.
    pub scout: Scout,
    /// Stands there as well.
    pub reader: Reader,
    /// The log ended there.
    pub end: Lsn,
}

/// The queues of all destinations over one log.
#[derive(Debug)]
pub struct OpenedAll {
    /// As they were wanted.
    pub each: Vec<Opened>,
    /// Those that are not wanted any more.
    pub removed: Vec<Removed>,
}

/// What operators hear of so many intents of a dead process that are doubt now.
#[must_use]
pub fn left_open_text(writes: u64) -> String {
    format!("{writes} writes had no answer when the last process ended: they are doubt now")
}

/// What all destinations share beside the log: the lowest floor of each, as they are durable; whether it was told what a dead
/// process left open.
#[derive(Debug)]
struct Lowest(Mutex<Vec<Lsn>>, AtomicBool);

impl Lowest {
    /// Takes note of one of them, and says the lowest of all.
    fn note(&self, index: usize, floor: Lsn) -> Lsn {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all[index] = floor;
        all.iter().copied().min().unwrap_or(Lsn::ZERO)
    }
}

/// The place of one destination among those that the log is kept for; it stays when delivery has ended.
#[derive(Clone, Debug)]
pub struct Place {
    wal: Arc<Wal>,
    lowest: (usize, Arc<Lowest>),
}

impl Place {
    /// The lowest floor that is durable.
    #[must_use]
    pub fn floor(&self) -> Lsn {
        self.lowest.1.0.lock().unwrap_or_else(PoisonError::into_inner)[self.lowest.0]
    }

    /// When the first record came that it has not got, ns, and where that ends in the log, bytes; `None` while there is none.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn first_unread(&self) -> Result<Option<(i64, u64)>> {
        let mut headers = self.wal.reader(self.floor().next())?;
        let first = headers.next_header()?;
        Ok(first.map(|item| match item {
            Item::Record(record) => (record.received_ns, record.position),
            Item::Damage(damage) => (damage.from_ns, headers.position()),
        }))
    }

    /// Where the log ends, bytes.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.wal.stats().position
    }

    /// The log is not kept for it any more; for nobody at all it is kept as it is. What stands for what it has not got is durable before.
    pub fn leave(&self) {
        let (index, lowest) = &self.lowest;
        let floor = lowest.note(*index, GONE);
        if floor != GONE {
            self.wal.release(floor.next());
        }
    }
}

/// The floor of one that the log is not kept for.
const GONE: Lsn = Lsn(u64::MAX);

/// The local queue of one destination. Shared by threads through clones of [`LocalQueue::log`]; the cursor belongs to delivery.
pub struct LocalQueue {
    wal: Arc<Wal>,
    file: CursorFile,
    destination: DestinationId,
    node: [u8; 16],
    epoch: Epoch,
    /// Its own place, and those of all others: the log is kept above the lowest.
    lowest: (usize, Arc<Lowest>),
}

impl fmt::Debug for LocalQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalQueue").field("destination", &self.destination).finish()
    }
}

impl LocalQueue {
    /// Opens the log, loads the cursor, and gives every intent without an outcome the outcome *doubt*: its process died
    /// before the answer of the primary was durable, so no client was told anything. A long log is not read first: then
    /// the caller lets the scout go on, and calls [`LocalQueue::doubt`] once that has counted. Until then the scout holds
    /// such an intent for unresolved, and nothing behind it is delivered.
    ///
    /// # Errors
    /// The directory is locked by another process, cannot be read, or was written by a newer version.
    pub fn open(
        disk: Arc<dyn Disk>,
        clock: SharedClock,
        options: wal::Options,
        destination: DestinationId,
        epoch: Epoch,
    ) -> Result<Opened> {
        let lock = wal::lock(disk.as_ref(), &options.dir)?;
        let wanted = [Wanted { id: destination, was_away: false }];
        let mut all = Self::open_all(lock, disk, clock, options, &wanted, epoch)?;
        Ok(all.each.remove(0))
    }

    /// The same for several, for whoever has taken the log's lock already. The first ones of a log begin at its beginning, one
    /// that comes later at the end; one that is not wanted any more does not hold back the log.
    ///
    /// # Errors
    /// As [`LocalQueue::open`].
    pub fn open_all(
        lock: LogLock,
        disk: Arc<dyn Disk>,
        clock: SharedClock,
        options: wal::Options,
        wanted: &[Wanted],
        epoch: Epoch,
    ) -> Result<OpenedAll> {
        let (dir, node) = (options.dir.clone(), options.node);
        // Floors belong to the segments beside them; whose those are is another question.
        let logged = wal::written_by(disk.as_ref(), &dir)?.unwrap_or(node);
        let mut known = BTreeMap::new();
        for id in cursor::list(disk.as_ref(), &dir)? {
            let loaded = cursor::load(disk.as_ref(), &dir, &id)?;
            loaded.cursor.as_ref().map_or(Ok(()), |cursor| cursor.check_node(&dir, logged))?;
            known.insert(id, loaded);
        }
        // What nobody waits for is not missed; how far the log was durable all of them say.
        let waits = |id: &DestinationId| wanted.iter().any(|one| one.id == *id && !one.was_away);
        let mut cursors: Vec<Cursor> = known.values().filter_map(|loaded| loaded.cursor.clone()).collect();
        cursors.iter_mut().filter(|cursor| !waits(&cursor.destination)).for_each(|cursor| cursor.floors.clear());
        let (wal, recovery) = Wal::open_locked(lock, Arc::clone(&disk), Arc::clone(&clock), options, &cursors)?;
        let wal = Arc::new(wal);
        let is_fresh = known.is_empty();
        let lowest = Arc::new(Lowest(Mutex::new(vec![Lsn::ZERO; wanted.len()]), AtomicBool::new(false)));
        let mut standing = Vec::new();
        for (index, one) in wanted.iter().enumerate() {
            let loaded = known.remove(&one.id);
            let stands = Standing::of(one, loaded, &wal, is_fresh);
            let file = CursorFile::new(Arc::clone(&disk), &dir, one.id.clone(), stands.generation);
            let lowest = (index, Arc::clone(&lowest));
            lowest.1.note(index, stands.floors.lowest());
            let mut queue = Self { wal: Arc::clone(&wal), file, destination: one.id.clone(), node, epoch, lowest };
            // A crash must not let it begin again further on.
            if wanted.len() > 1 && is_fresh || matches!(stands.begins, Begins::AtEnd(_)) {
                queue.note_durable(&stands.floors);
            }
            standing.push((queue, stands));
        }
        let mut removed = Vec::new();
        for (id, loaded) in known {
            removed.extend(removed_one(id, loaded.cursor, &wal)?);
        }
        let each = look_all(standing, &recovery, &clock)?;
        Ok(OpenedAll { each, removed })
    }

    fn doubt_what_was_left_open(&self, scout: &mut Scout) -> Result<u64> {
        let (left_open, mut doubted) = (scout.left_open(), 0);
        for step in left_open.chunks(DOUBT_STEP) {
            let (done, durable) = mpsc::channel();
            let bundle = Bundle {
                entries: Vec::new(),
                outcomes: self.doubts(step, Cause::Crash),
                // The receiver waits below; if it gave up, nobody needs the answer.
                done: Box::new(move |result| {
                    let _ = done.send(result);
                }),
            };
            let fault = || {
                Error::new(
                    Kind::Disk,
                    Side::Own,
                    "the log cannot take the outcomes of the writes that a crash left open",
                )
                .hint("check the disk of data_dir: space, errors in the kernel log")
            };
            let result = match self.wal.submit(bundle) {
                Ok(()) => durable.recv_timeout(FIRST_COMMIT_MAX).map_err(|_| fault())?.map_err(|failed| failed.fault),
                Err((Refused::Full, _)) => Err(Fault::Full),
                Err(_) => return Err(fault()),
            };
            match result {
                Ok(_) => doubted += step.len() as u64,
                // A full disk: they stay unresolved until there is room.
                Err(Fault::Full) => return Ok(doubted),
                Err(_) => return Err(fault()),
            }
        }
        if scout.counted() {
            while scout.advance(SCAN_MAX)? {}
        }
        Ok(doubted)
    }

    fn doubts(&self, intents: &[Lsn], cause: Cause) -> Vec<EntryBytes> {
        let disposition = Disposition::Doubt;
        let outcome = |lsn: &Lsn| Outcome { lsn: *lsn, status: 0, disposition, cause, epoch: self.epoch }.encode();
        intents.iter().map(outcome).collect()
    }

    /// Gives intents the outcome *doubt* that nobody else will ever give one: their task has died, or their outcome could
    /// not be written. Should a late outcome come all the same, the first one stands. Not waited for. Says how many of
    /// them, from the first one on, are on their way, and why others are not; `failed` turns true when the log does not
    /// take those either. Then they are to be given up again.
    pub fn give_up(&self, intents: &[Lsn], failed: &Arc<AtomicBool>) -> (usize, Option<Refused>) {
        self.settle(intents, Cause::Unsettled, failed)
    }

    /// Gives intents that a dead process left open ([`Scout::left_open`]) the outcome *doubt*; otherwise as
    /// [`LocalQueue::give_up`].
    pub fn doubt(&self, intents: &[Lsn], failed: &Arc<AtomicBool>) -> (usize, Option<Refused>) {
        self.settle(intents, Cause::Crash, failed)
    }

    fn settle(&self, intents: &[Lsn], cause: Cause, failed: &Arc<AtomicBool>) -> (usize, Option<Refused>) {
        let mut taken = 0;
        for step in intents.chunks(DOUBT_STEP) {
            let outcomes = self.doubts(step, cause);
            let note = Arc::clone(failed);
            let done = Box::new(move |result: std::result::Result<_, _>| {
                if result.is_err() {
                    note.store(true, Ordering::Relaxed);
                }
            });
            if let Err((refused, _)) = self.wal.submit(Bundle { entries: Vec::new(), outcomes, done }) {
                return (taken, Some(refused));
            }
            taken += step.len();
        }
        (taken, None)
    }

    /// The log itself, for the appender and for figures.
    #[must_use]
    pub fn log(&self) -> Arc<Wal> {
        Arc::clone(&self.wal)
    }

    /// Its place, which outlives it.
    #[must_use]
    pub fn place(&self) -> Place {
        let (index, lowest) = &self.lowest;
        Place { wal: Arc::clone(&self.wal), lowest: (*index, Arc::clone(lowest)) }
    }

    /// A reader of whole records, from `from` on.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn reader(&self, from: Lsn) -> Result<Reader> {
        self.wal.reader(from)
    }

    /// Notes beside the floors, which stay, how far the log is durable. A start that finds less knows that files of the log
    /// are missing. Best effort: the next floors bring it too.
    pub fn note_durable(&mut self, floors: &Floors) {
        if let Err(error) = self.save(floors) {
            tracing::debug!(%error, "how far the log is durable cannot be noted");
        }
    }

    /// Highest durable record of the log.
    #[must_use]
    pub fn durable(&self) -> Lsn {
        self.wal.durable()
    }

    /// Makes floors durable, then gives segments below those of all destinations back.
    ///
    /// # Errors
    /// The cursor cannot be written; the floors on disk are the former ones then, which costs repetition, not data.
    pub fn acknowledge(&mut self, floors: &Floors) -> Result<()> {
        self.save(floors)?;
        failpoint::hit(Point::FloorDurable);
        let (index, lowest) = &self.lowest;
        self.wal.release(lowest.note(*index, floors.lowest()).next());
        Ok(())
    }

    /// Whether it is news that a dead process left something open: each destination finds the same.
    #[must_use]
    pub fn is_first_to_tell(&self) -> bool {
        !self.lowest.1.1.swap(true, Ordering::Relaxed)
    }

    /// Makes floors durable before anything is delivered.
    ///
    /// # Errors
    /// The cursor cannot be written.
    pub fn remember(&mut self, floors: &Floors) -> Result<()> {
        self.save(floors)
    }

    fn save(&mut self, floors: &Floors) -> Result<()> {
        let durable_seen = self.wal.durable();
        assert!(floors.lanes.iter().all(|floor| *floor <= durable_seen), "a floor never passes what is durable");
        let mut cursor = Cursor {
            destination: self.destination.clone(),
            node: self.node,
            generation: 0,
            durable_seen,
            epoch: self.epoch,
            floors: floors.lanes.clone(),
            counters: floors.counters.clone(),
        };
        self.file.save(&mut cursor)
    }
}

/// Where one destination stands at a start.
struct Standing {
    floors: Floors,
    generation: u64,
    begins: Begins,
    remarks: Vec<String>,
}

impl Standing {
    fn of(one: &Wanted, loaded: Option<Loaded>, wal: &Wal, is_fresh: bool) -> Self {
        let Some(Loaded { cursor, warning }) = loaded else {
            let durable = wal.durable();
            let is_late = !is_fresh && durable > Lsn::ZERO;
            let floors = Floors { lanes: if is_late { vec![durable] } else { Vec::new() }, counters: Vec::new() };
            let begins = if is_late { Begins::AtEnd(durable) } else { Begins::Here };
            return Self { floors, generation: 0, begins, remarks: Vec::new() };
        };
        let mut remarks: Vec<String> = warning.into_iter().collect();
        let Some(mut own) = cursor else {
            return Self { floors: Floors::default(), generation: 0, begins: Begins::Here, remarks };
        };
        let oldest = wal.oldest();
        let clamped = own.clamp(oldest, wal.durable());
        if clamped.ahead > 0 {
            let (ahead, of) = (clamped.ahead, own.floors.len());
            remarks.push(format!(
                "the floors of {ahead} of {of} lanes lay beyond the end of the log and were set back to it"
            ));
        }
        let lowest = own.lowest_floor().unwrap_or(Lsn::ZERO);
        let mut begins = Begins::Here;
        if one.was_away && lowest.next() < oldest {
            begins = Begins::Behind(lowest.next(), oldest.before());
            own.floors.iter_mut().for_each(|floor| *floor = (*floor).max(oldest.before()));
        }
        let floors = Floors { lanes: own.floors, counters: own.counters };
        Self { floors, generation: own.generation, begins, remarks }
    }
}

fn removed_one(id: DestinationId, cursor: Option<Cursor>, wal: &Wal) -> Result<Option<Removed>> {
    // Where its cursor is lost nobody knows what it has not read.
    let Some(cursor) = cursor else { return Ok(None) };
    let floors = Floors { lanes: cursor.floors, counters: cursor.counters };
    let from = floors.lowest();
    let reader = wal.reader(from.next())?;
    let scout = Scout::new(reader.clone(), from);
    Ok(Some(Removed { id, floors, scout, reader, end: wal.durable() }))
}

/// Looks at what follows the floors, for a moment. The lowest comes first: what it gives up the others find given up.
fn look_all(standing: Vec<(LocalQueue, Standing)>, recovery: &Recovery, clock: &SharedClock) -> Result<Vec<Opened>> {
    let until = clock.monotonic() + SCAN_TIME_MAX;
    let mut by_floor: Vec<_> = standing.into_iter().enumerate().collect();
    by_floor.sort_by_key(|(_, (_, stands))| stands.floors.lowest());
    let mut opened = Vec::new();
    for (index, (queue, stands)) in by_floor {
        let from = stands.floors.lowest();
        let mut scout = Scout::new(queue.wal.reader(from.next())?, from).with_former(recovery.last);
        for _ in 0..SCAN_MAX / SCAN_STEP {
            if !scout.advance(SCAN_STEP)? || clock.monotonic() >= until {
                break;
            }
        }
        let doubted = queue.doubt_what_was_left_open(&mut scout)?;
        let Standing { floors, begins, remarks, .. } = stands;
        opened.push((index, Opened { queue, floors, scout, recovery: recovery.clone(), doubted, remarks, begins }));
    }
    opened.sort_by_key(|(index, _)| *index);
    Ok(opened.into_iter().map(|(_, opened)| opened).collect())
}
