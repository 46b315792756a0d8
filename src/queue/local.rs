//! The queue on this machine: the log and one cursor file per destination.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use super::outcome::{Cause, Disposition, EntryBytes, Outcome};
use super::scout::Scout;
use crate::base::clock::SharedClock;
use crate::base::disk::Disk;
use crate::base::failpoint::{self, Point};
use crate::base::{DestinationId, Epoch, Error, Kind, Lsn, Result, Side};
use crate::wal::{self, Bundle, Cursor, CursorFile, Fault, LogLock, Reader, Recovery, Refused, Wal, cursor};

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
    /// What was wrong with cursors, in sentences: worth an event.
    pub remarks: Vec<String>,
}

/// What operators hear of so many intents of a dead process that are doubt now.
#[must_use]
pub fn left_open_text(writes: u64) -> String {
    format!("{writes} writes had no answer when the last process ended: they are doubt now")
}

/// The local queue. Shared by threads through clones of [`LocalQueue::log`]; the cursor belongs to delivery.
pub struct LocalQueue {
    wal: Arc<Wal>,
    file: CursorFile,
    destination: DestinationId,
    node: [u8; 16],
    epoch: Epoch,
    /// Lowest floor of destinations that are not configured now: their records are kept until an operator says otherwise.
    others: Option<Lsn>,
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
        Self::open_locked(lock, disk, clock, options, destination, epoch)
    }

    /// The same for whoever has taken the log's lock already.
    ///
    /// # Errors
    /// As [`LocalQueue::open`].
    pub fn open_locked(
        lock: LogLock,
        disk: Arc<dyn Disk>,
        clock: SharedClock,
        options: wal::Options,
        destination: DestinationId,
        epoch: Epoch,
    ) -> Result<Opened> {
        let (dir, node) = (options.dir.clone(), options.node);
        // Floors belong to the segments beside them; whose those are is another question.
        let logged = wal::written_by(disk.as_ref(), &dir)?.unwrap_or(node);
        let (mut cursors, mut remarks, mut lost) = (Vec::new(), Vec::new(), false);
        for id in cursor::list(disk.as_ref(), &dir)? {
            let loaded = cursor::load(disk.as_ref(), &dir, &id)?;
            // How far a destination was that is not configured now, nobody can say: all of it is kept.
            lost |= loaded.warning.is_some() && id != destination;
            remarks.extend(loaded.warning);
            loaded.cursor.as_ref().map_or(Ok(()), |cursor| cursor.check_node(&dir, logged))?;
            cursors.extend(loaded.cursor);
        }
        let (wal, recovery) = Wal::open_locked(lock, Arc::clone(&disk), Arc::clone(&clock), options, &cursors)?;
        let wal = Arc::new(wal);
        let others = cursors.iter().filter(|c| c.destination != destination).filter_map(Cursor::lowest_floor);
        let others = others.chain(lost.then(|| wal.oldest().before())).min();
        for other in cursors.iter().filter(|c| c.destination != destination) {
            tracing::warn!(event = "queue.other_destination", id = %other.destination,
                "a destination that is not configured now has a cursor here: its records are kept and take disk space; \
                 set destination.id back, or remove its file from wal/cursors while twinline is stopped");
        }
        let mut own = cursors.into_iter().find(|c| c.destination == destination);
        let generation = own.as_ref().map_or(0, |own| own.generation);
        if let Some(own) = &mut own {
            let clamped = own.clamp(wal.oldest(), wal.durable());
            if clamped.ahead > 0 {
                remarks.push(format!(
                    "the floors of {} of {} lanes lay beyond the end of the log and were set back to it",
                    clamped.ahead,
                    own.floors.len()
                ));
            }
        }
        let floors = own.map_or_else(Floors::default, |own| Floors { lanes: own.floors, counters: own.counters });
        let file = CursorFile::new(disk, &dir, destination.clone(), generation);
        let from = floors.lowest();
        let mut scout = Scout::new(wal.reader(from.next())?, from).with_former(recovery.last);
        let until = clock.monotonic() + SCAN_TIME_MAX;
        for _ in 0..SCAN_MAX / SCAN_STEP {
            if !scout.advance(SCAN_STEP)? || clock.monotonic() >= until {
                break;
            }
        }
        let queue = Self { wal, file, destination, node, epoch, others };
        let doubted = queue.doubt_what_was_left_open(&mut scout)?;
        Ok(Opened { queue, floors, scout, recovery, doubted, remarks })
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
        self.settle(intents, Cause::Timeout, failed)
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

    /// Makes floors durable, then gives segments below all of them back.
    ///
    /// # Errors
    /// The cursor cannot be written; the floors on disk are the former ones then, which costs repetition, not data.
    pub fn acknowledge(&mut self, floors: &Floors) -> Result<()> {
        self.save(floors)?;
        failpoint::hit(Point::FloorDurable);
        let lowest = self.others.map_or(floors.lowest(), |others| others.min(floors.lowest()));
        self.wal.release(lowest.next());
        Ok(())
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
