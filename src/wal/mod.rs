//! The log: a queue on disk. Bodies are opaque bytes; nothing here knows HTTP or line protocol.
//!
//! # Promise
//! A bundle that heard success is read back after any crash that the medium's assumptions allow (`FORMAT.md`). Readers
//! see only what is durable. Damage costs exactly the damaged records and is reported. Memory and disk are bounded by
//! [`Options`]. Nothing is dropped in silence: a full or faulted log refuses.
//!
//! # Layout
//! `record`, `segment`, `squeeze` and `group` are pure. `walk` reads one segment, through `view` where it is mapped; `recover`
//! and `reader` use it. `writer` is the one writer, `retain` its supply of files, `scrub` the reader that looks for damage,
//! `quarantine` where damaged bytes go, `live` what all share. `cursor` stores floors. `gaps` is the gap log, a file of its own
//! for what the log could not take. `look` sees a log from outside, `capture` is a stretch of one.
//!
//! # Use
//! [`cursor::list`] and [`cursor::load`], then [`Wal::open`], [`Cursor::clamp`], [`Wal::reader`]. Then
//! [`Wal::submit`] bundles, save floors with [`CursorFile`], and [`Wal::release`] what lies below all saved floors.

pub mod capture;
pub mod cursor;
mod entry;
mod first;
mod gaps;
mod group;
mod inbox;
mod live;
pub mod look;
mod options;
mod quarantine;
mod reader;
mod record;
mod recover;
mod refuse;
mod retain;
mod safeguard;
mod scrub;
mod segment;
mod squeeze;
mod stats;
mod view;
mod walk;
mod writer;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::base::clock::SharedClock;
use crate::base::disk::{Disk, DiskLock};
use crate::base::{Error, Lsn, Result, Side, sync};

pub use cursor::{Clamped, Cursor, CursorFile, Loaded};
pub use entry::{Bundle, Damage, Done, Entry, Failed, Fault, Item, OUTCOME_BYTES, OUTCOMES_MAX, Record, Refused};
pub use gaps::{GapLog, GapSum, Listed, Missed, OWNER_BYTES_MAX, OpenedGaps, Refusal};
pub use live::SYNC_BUCKETS;
pub use options::{Options, SEGMENT_MIN_BYTES};
pub use reader::Reader;
pub use record::{Kind, PAYLOAD_MAX_BYTES};
pub use refuse::refusals;
pub use scrub::{Found, Scrubbed};
pub use squeeze::Compression;
pub use stats::{Recovery, Stats};

use group::Job;
use inbox::{Inbox, Untaken};
use live::Live;
use quarantine::Quarantine;
use recover::{Context, recover};
use retain::{Budget, Supply};
use scrub::Scrub;
use sync::{AtomicBool, Mutex, Ordering, PoisonError};
use writer::{Message, Writer};

/// The supply looks again for released segments and free space at least this often.
const TEND_EVERY: Duration = Duration::from_secs(1);

/// An open log. One process at a time; shared between threads by reference.
#[derive(Debug)]
pub struct Wal {
    disk: Arc<dyn Disk>,
    options: Options,
    live: Arc<Live>,
    supply: Arc<Supply>,
    inbox: Inbox<Message>,
    tend: Sender<()>,
    /// Gone when the scrubbing is to end.
    scrubs: Mutex<Option<Sender<()>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    stalled: AtomicBool,
    _lock: Box<dyn DiskLock>,
}

impl Wal {
    /// Opens the log, recovers it, and starts its threads. `cursors` are the loaded cursors of all destinations.
    ///
    /// # Errors
    /// `Locked` when another process has it, `State` for a format of another version, `Config` for impossible options,
    /// `Disk` for everything that the disk refuses.
    pub fn open(
        disk: Arc<dyn Disk>,
        clock: SharedClock,
        options: Options,
        cursors: &[Cursor],
    ) -> Result<(Self, Recovery)> {
        options.check()?;
        let held = lock(disk.as_ref(), &options.dir)?;
        Self::open_locked(held, disk, clock, options, cursors)
    }

    /// The same for whoever has taken the lock of the log already.
    ///
    /// # Errors
    /// As [`Wal::open`].
    pub fn open_locked(
        lock: LogLock,
        disk: Arc<dyn Disk>,
        clock: SharedClock,
        options: Options,
        cursors: &[Cursor],
    ) -> Result<(Self, Recovery)> {
        options.check()?;
        for dir in [&options.dir.join("seg"), &cursor::dir(&options.dir), &options.dir.join("quarantine")] {
            create(disk.as_ref(), dir)?;
        }
        let (writer, report) = open_writer(&disk, &clock, &options, cursors, fastrand::Rng::new())?;
        let (live, supply) = (Arc::clone(&writer.live), Arc::clone(&writer.supply));
        let inbox = Inbox::new(options.channel_bundles);
        let (tend, asked_to_tend) = bounded(1);
        let mut wal = Self {
            disk,
            options,
            live,
            supply,
            inbox,
            tend,
            scrubs: Mutex::default(),
            threads: Mutex::default(),
            stalled: AtomicBool::new(false),
            _lock: lock.0,
        };
        wal.spawn(writer, asked_to_tend, &clock)?;
        Ok((wal, report))
    }

    fn spawn(&mut self, writer: Writer, asked: Receiver<()>, clock: &SharedClock) -> Result<()> {
        let (supply, live) = (Arc::clone(&self.supply), Arc::clone(&self.live));
        supply.be_gentle(Arc::clone(clock));
        let tending = move || {
            while !live.closed.load(Ordering::Acquire) {
                supply.tend();
                // Asked or not: in both cases it is time to look again.
                if asked.recv_timeout(TEND_EVERY) == Err(RecvTimeoutError::Disconnected) {
                    return;
                }
            }
        };
        let (tend, inbox) = (self.tend.clone(), self.inbox.clone());
        let writing = move || writer::run(writer, &inbox, &|| _ = tend.try_send(()));
        let threads = self.threads.get_mut().unwrap_or_else(PoisonError::into_inner);
        let failed = |e: io::Error| Error::disk("cannot start the log's threads", e);
        threads.push(std::thread::Builder::new().name("wal-write".into()).spawn(writing).map_err(failed)?);
        threads.push(std::thread::Builder::new().name("wal-supply".into()).spawn(tending).map_err(failed)?);
        if let Some(every) = self.options.scrub_every {
            let (scrubs, stop) = bounded(0);
            *self.scrubs.get_mut().unwrap_or_else(PoisonError::into_inner) = Some(scrubs);
            let scrub = Scrub::new(Arc::clone(&self.disk), Arc::clone(&self.live), Arc::clone(clock));
            let scrubbing = move || scrub::run(scrub, every, &stop);
            threads.push(std::thread::Builder::new().name("wal-scrub".into()).spawn(scrubbing).map_err(failed)?);
        }
        Ok(())
    }

    /// Hands a bundle over. Never blocks; its checksums are computed here, on the caller's thread.
    ///
    /// # Errors
    /// The reason, and the bundle as it was; its `done` has not been called.
    pub fn submit(&self, bundle: Bundle) -> Result<(), (Refused, Bundle)> {
        self.submit_all([bundle]).pop().map_or(Ok(()), Err)
    }

    /// The same with several bundles at once, each admitted for itself: what is taken wakes the log's thread once and goes
    /// into one group where it fits. Returns those that were not taken.
    pub fn submit_all(&self, bundles: impl IntoIterator<Item = Bundle>) -> Vec<(Refused, Bundle)> {
        let (mut jobs, mut refused) = (Vec::new(), Vec::new());
        for bundle in bundles {
            match self.admit(&bundle) {
                Err(reason) => refused.push((reason, bundle)),
                Ok(()) => {
                    let job = Job::new(bundle, self.options.compression);
                    self.live.waiting_bytes.fetch_add(job.bytes(), Ordering::AcqRel);
                    jobs.push(job);
                }
            }
        }
        if jobs.is_empty() {
            return refused;
        }
        let (reason, message) = match self.inbox.put(Message::Jobs(jobs)) {
            Ok(()) => return refused,
            Err(Untaken::Full(message)) => (Refused::Busy, message),
            Err(Untaken::Closed(message)) => (Refused::Closed, message),
        };
        let Message::Jobs(jobs) = message else { return refused };
        for job in jobs {
            self.live.waiting_bytes.fetch_sub(job.bytes(), Ordering::AcqRel);
            refused.push((reason, job.into_bundle()));
        }
        refused
    }

    fn admit(&self, bundle: &Bundle) -> Result<(), Refused> {
        if self.live.closed.load(Ordering::Acquire) {
            return Err(Refused::Closed);
        }
        if self.live.is_faulted() {
            return Err(Refused::Faulted);
        }
        if !bundle.is_valid() {
            return Err(Refused::Invalid);
        }
        let bytes = group::bundle_bytes(bundle);
        if self.is_crowded(bytes) {
            return Err(Refused::Busy);
        }
        if self.supply.admits(bytes, bundle.asks()) { Ok(()) } else { Err(Refused::Full) }
    }

    fn is_crowded(&self, bytes: u64) -> bool {
        let waiting = self.live.waiting_bytes.load(Ordering::Acquire);
        waiting > 0 && waiting + bytes > self.options.channel_bytes as u64
    }

    /// Whether bundles of so many bytes of records would be refused as [`Refused::Busy`] now. Who asks first need not make
    /// them.
    pub fn is_busy(&self, bytes: u64) -> bool {
        let ended = self.live.closed.load(Ordering::Acquire) || self.live.is_faulted();
        !ended && (self.is_crowded(bytes) || self.inbox.is_full())
    }

    /// Has `hears` called, on a thread of the log, for each damage that scrubbing finds. The first one stays.
    pub fn on_found(&self, hears: Box<dyn Fn(Found) + Send + Sync>) {
        self.live.on_found(hears);
    }

    /// Has `hears` called, on a thread of the log, for each segment that scrubbing cannot read: once for each. The first one stays.
    pub fn on_unread(&self, hears: impl Fn(&Path, &io::Error) + Send + Sync + 'static) {
        self.live.on_unread(Box::new(hears));
    }

    /// Highest durable LSN.
    pub fn durable(&self) -> Lsn {
        self.live.durable()
    }

    /// Has `wake` called on the log's thread after each group, after the completions of its bundles. It must neither
    /// block nor call this.
    pub fn on_durable(&self, wake: Box<dyn Fn() + Send + Sync>) {
        self.live.on_durable(wake);
    }

    /// Where the log lies.
    pub fn dir(&self) -> &Path {
        &self.options.dir
    }

    /// A reader whose first item starts with `from`, which may lie in the future or below what is kept (then the first
    /// item is a damage). It keeps the segment it stands in from being recycled.
    ///
    /// # Errors
    /// None today; files are opened when they are read.
    pub fn reader(&self, from: Lsn) -> Result<Reader> {
        Ok(Reader::new(Arc::clone(&self.disk), Arc::clone(&self.live), from).mapped(self.options.mapped))
    }

    /// Says that nobody needs the records below an LSN, now or after a restart: all floors that matter were saved by
    /// this process. A floor that was only loaded may lie in the page cache: save it once before it releases
    /// anything. Segments that lie below it completely are recycled in the background.
    pub fn release(&self, below: Lsn) {
        self.live.release(below);
        // Floors move many times before a segment lies below them.
        if self.live.front_is_released() {
            let _already_asked = self.tend.try_send(());
        }
    }

    /// First LSN that is kept.
    pub fn oldest(&self) -> Lsn {
        self.live.oldest()
    }

    /// A caller found that the disk does not answer in its time (`true`), or that it does again (`false`).
    pub fn note_stalled(&self, stalled: bool) {
        self.stalled.store(stalled, Ordering::Release);
    }

    /// What was noted last.
    #[must_use]
    pub fn is_stalled(&self) -> bool {
        self.stalled.load(Ordering::Acquire)
    }

    /// Takes nothing more until a restart, as after an error of the disk; what was told durable still is.
    pub fn fail(&self, cause: &str) {
        self.live.set_fault(cause.to_owned());
    }

    /// Figures.
    pub fn stats(&self) -> Stats {
        let (segments, first, head) = {
            let list = self.live.segments();
            let first = list.front().map_or(0, |segment| segment.header.position);
            (list.len(), first, list.back().map_or(0, |segment| segment.end_position()))
        };
        Stats {
            segments,
            bytes: self.supply.bytes(),
            used_bytes: head.saturating_sub(first),
            limit_bytes: self.options.max_bytes,
            room_bytes: self.supply.room(),
            full: !self.supply.admits(64 << 10, true),
            below_limit: self.supply.bytes() + self.options.segment_bytes <= self.options.max_bytes,
            waiting_bytes: self.live.waiting_bytes.load(Ordering::Acquire),
            position: head,
            durable: self.live.durable(),
            written: self.live.written(),
            oldest: self.live.oldest(),
            fault: self.live.fault().map(|fault| fault.to_string()),
            stalled: self.is_stalled(),
            trouble: self.supply.trouble(),
            groups: self.live.groups.load(Ordering::Relaxed),
            group_records: self.live.group_records.load(Ordering::Relaxed),
            sync_ns_last: self.live.sync_last_ns.load(Ordering::Relaxed),
            scrub: self.live.scrubbed().clone(),
            sync_buckets: std::array::from_fn(|n| self.live.sync_buckets[n].load(Ordering::Relaxed)),
        }
    }

    /// Ends the log: everything submitted before becomes durable (or hears that it did not), then the threads end.
    /// Later submits are refused. The lock goes when the log is dropped.
    ///
    /// # Errors
    /// The log is faulted; what was told durable still is.
    pub fn shut_down(&self) -> Result<()> {
        self.live.closed.store(true, Ordering::Release);
        *self.scrubs.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let mut threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        let all = threads.len();
        // The last owner may let go inside a completion: the writer then ends when the channel is gone.
        threads.retain(|thread| thread.thread().id() != std::thread::current().id());
        if all > 0 && threads.len() == all {
            // Only untaken when the writer has ended already.
            let _ended = !self.inbox.put_last(Message::Close);
            let _already_asked = self.tend.try_send(());
        }
        for thread in threads {
            if thread.join().is_err() {
                self.live.set_fault("a thread of the log panicked".into());
            }
        }
        match self.live.fault() {
            Some(fault) => Err(Error::new(crate::base::Kind::Disk, Side::Own, fault.to_string())),
            None => Ok(()),
        }
    }

    /// The same, and frees the lock.
    ///
    /// # Errors
    /// As [`Wal::shut_down`].
    pub fn close(self) -> Result<()> {
        self.shut_down()
    }
}

impl Drop for Wal {
    fn drop(&mut self) {
        // The reason is in the log already.
        drop(self.shut_down());
    }
}

/// The lock of a log, and of everything that lies beside it.
#[derive(Debug)]
pub struct LogLock(Box<dyn DiskLock>);

/// Takes the lock of the log in this directory, which is made where it is missing. Nothing else of it is touched.
///
/// # Errors
/// `Locked` when another process has it, `Disk` for what the disk refuses.
pub fn lock(disk: &dyn Disk, dir: &Path) -> Result<LogLock> {
    create(disk, dir)?;
    take_lock(disk, &dir.join("LOCK")).map(LogLock)
}

fn create(disk: &dyn Disk, dir: &Path) -> Result<()> {
    let fault = |e| Error::disk(format!("cannot create {}", dir.display()), e);
    disk.create_dir_all(dir).map_err(|e| fault(e).or_hint("free a few MiB on the disk of data_dir, then start again"))
}

/// The installation that wrote the newest segment of the log in this directory; none where there is no segment.
///
/// # Errors
/// As [`Wal::open`].
pub fn written_by(disk: &dyn Disk, dir: &Path) -> Result<Option<[u8; 16]>> {
    recover::written_by(disk, &dir.join("seg"))
}

/// Whether there is any segment of a log in this directory, readable or not.
///
/// # Errors
/// The directory cannot be read. One that does not exist holds none.
pub fn holds_segments(disk: &dyn Disk, dir: &Path) -> Result<bool> {
    recover::holds_segments(disk, &dir.join("seg"))
}

fn take_lock(disk: &dyn Disk, path: &Path) -> Result<Box<dyn DiskLock>> {
    disk.lock(path).map_err(|error| {
        let what = format!("{} is in use by another process", path.display());
        if error.kind() == io::ErrorKind::WouldBlock {
            return Error::new(crate::base::Kind::Locked, Side::Own, what)
                .hint("stop the other process, or give this one its own data directory");
        }
        Error::disk(format!("cannot lock {}", path.display()), error)
    })
}

/// Recovery, and the writer that goes on from there.
fn open_writer(
    disk: &Arc<dyn Disk>,
    clock: &SharedClock,
    options: &Options,
    cursors: &[Cursor],
    mut random: fastrand::Rng,
) -> Result<(Writer, Recovery)> {
    let budget = Budget {
        dir: options.dir.join("seg"),
        segment_bytes: options.segment_bytes,
        max_bytes: options.max_bytes,
        reserve_free_bytes: options.reserve_free_bytes,
    };
    let (disk, clock) = (Arc::clone(disk), Arc::clone(clock));
    let quarantine = Arc::new(Quarantine::new(Arc::clone(&disk), options.dir.join("quarantine")));
    let features = options.compression.feature();
    let context = Context { disk, clock, budget, quarantine, node: options.node, cursors, features };
    let recovered = recover(&context, &mut random)?;
    Ok(Writer::new(context, recovered, options.group_bytes, random))
}

#[cfg(test)]
mod tests;
