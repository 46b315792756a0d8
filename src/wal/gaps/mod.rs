//! The gap log: what the log could not take although the source did, in a small file of its own.
//!
//! Promises: an answer of `Ok` means that the sums on disk cover that write (after any crash that the medium's assumptions
//! allow). The file has all its space from the beginning, so that it can be written when the disk is full; a long outage
//! needs no more of it, because writes to one place for one reason are one sum. A thread of its own does the writing: a disk
//! that hangs holds up nobody who does not want to wait.
//!
//! Sums are taken over by somebody else ([`GapLog::list`], [`GapLog::taken`]): a sum is *cumulative*, has an id that is never
//! used again, and stays until it was taken over as it is. Whoever keeps, with what was taken, how many lines of which id
//! these were, counts nothing twice, whenever the process dies.

mod file;
mod table;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use crate::base::disk::{Disk, DiskLock};
use crate::base::{Error, Kind, Result, Side};

use file::GapFile;
use table::Table;

pub use table::{GapSum, Missed};

/// Bytes of the owners of a gap that are kept.
pub const OWNER_BYTES_MAX: usize = table::OWNER_BYTES_MAX;

/// Calls that may wait.
const CALLS_WAITING: usize = 4096;
/// Calls that become durable together.
const GROUP_MAX: usize = 4096;

/// Why a gap was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Too many calls wait.
    #[error("too many gaps wait for the disk")]
    Busy,
    /// The disk failed; nothing more is taken until the process starts again.
    #[error("the gap log is faulted: {0}")]
    Faulted(String),
}

/// Hears how an addition went; says whether anybody still waited for that. If nobody did, the gap is taken back.
pub(crate) type Done = Box<dyn FnOnce(std::result::Result<(), Refusal>) -> bool + Send>;
/// Receives the sums.
pub type Listed = Box<dyn FnOnce(Vec<GapSum>) + Send>;

enum Call {
    Add(Missed, Done),
    List(Listed),
    Taken(Vec<(u64, u64)>),
}

/// An open gap log. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct GapLog(Arc<Inner>);

struct Inner {
    calls: Sender<Call>,
    ledger: u64,
    hung: Arc<AtomicBool>,
    thread: JoinHandle<()>,
    /// Where the file does not lie below the log's own lock.
    _lock: Option<Box<dyn DiskLock>>,
}

impl fmt::Debug for GapLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GapLog").field("ledger", &self.0.ledger).finish()
    }
}

/// A gap log, opened.
#[derive(Debug)]
pub struct OpenedGaps {
    /// The gap log.
    pub log: GapLog,
    /// Acknowledged records that cannot be read any more; `u64::MAX`: all of them, however many.
    pub damaged: u64,
}

impl GapLog {
    /// Opens the gap log in the log's own directory, whose lock the caller holds.
    ///
    /// # Errors
    /// The disk refuses; there is no room for the file.
    pub fn open(disk: &Arc<dyn Disk>, dir: &Path) -> Result<OpenedGaps> {
        Self::open_locked(disk, dir, None)
    }

    /// Opens a gap log in a directory elsewhere, which is made where it is missing, and locks it.
    ///
    /// # Errors
    /// As [`GapLog::open`]; `Locked` when another process has it.
    pub fn open_spare(disk: &Arc<dyn Disk>, dir: &Path) -> Result<OpenedGaps> {
        let shown = dir.display();
        disk.create_dir_all(dir).map_err(|e| Error::disk(format!("cannot create {shown}"), e))?;
        let lock = disk.lock(&dir.join("gaps.lock")).map_err(|e| match e.kind() {
            std::io::ErrorKind::WouldBlock => {
                Error::new(Kind::Locked, Side::Own, format!("another process has its gap log in {shown}"))
                    .hint("give each twinline a queue.spare_dir of its own")
            }
            _ => Error::disk(format!("cannot lock {shown}"), e),
        })?;
        Self::open_locked(disk, dir, Some(lock))
    }

    fn open_locked(disk: &Arc<dyn Disk>, dir: &Path, lock: Option<Box<dyn DiskLock>>) -> Result<OpenedGaps> {
        let fault = |e| {
            Error::disk(format!("cannot open the gap log in {}", dir.display()), e).or_hint(
                "free 2 MiB on the disk of that directory, and see that this user may write there; then start again",
            )
        };
        let recovered = GapFile::open(disk.as_ref(), dir).map_err(fault)?;
        let ledger = recovered.file.ledger();
        let hung = Arc::new(AtomicBool::new(false));
        let keeper = Keeper {
            table: Table::new(recovered.sums, recovered.last_id),
            file: recovered.file,
            hung: Arc::clone(&hung),
        };
        let (calls, inbox) = bounded(CALLS_WAITING);
        let thread = std::thread::Builder::new().name("gap-write".into()).spawn(move || keeper.serve(&inbox));
        let thread = thread.map_err(fault)?;
        let log = Self(Arc::new(Inner { calls, ledger, hung, thread, _lock: lock }));
        Ok(OpenedGaps { log, damaged: recovered.damaged })
    }

    /// Tells this gap log's ids from those of others; at most `i64::MAX`.
    #[must_use]
    pub fn ledger(&self) -> u64 {
        self.0.ledger
    }

    /// Adds a gap; `done` is called on another thread, or here when it is refused at once.
    pub fn add(&self, missed: Missed, done: Done) {
        if let Err(TrySendError::Full(Call::Add(_, done))) = self.0.calls.try_send(Call::Add(missed, done)) {
            done(Err(Refusal::Busy));
        }
    }

    /// The sums as they are on disk. Not called when too much waits.
    pub fn list(&self, listed: Listed) {
        // Whoever asked sees that its call was dropped.
        let _ = self.0.calls.try_send(Call::List(listed));
    }

    /// Somebody else keeps these now: (id, lines). A sum that has grown since stays as it is.
    pub fn taken(&self, taken: Vec<(u64, u64)>) {
        // What is not noted now is listed and taken over again, which changes nothing.
        let _ = self.0.calls.try_send(Call::Taken(taken));
    }

    /// Somebody waited too long: until the disk answers again, nobody need wait.
    pub fn note_hang(&self) {
        self.0.hung.store(true, Ordering::Release);
        // It may have answered just before: then this call shows it. Where too much waits, what waits will.
        self.list(Box::new(|_| ()));
    }

    /// Whether the disk has not answered since.
    #[must_use]
    pub fn hangs(&self) -> bool {
        self.0.hung.load(Ordering::Acquire)
    }

    /// Waits for the thread's end. Does nothing while there are other clones.
    pub fn close(self) {
        if let Some(Inner { calls, thread, .. }) = Arc::into_inner(self.0) {
            drop(calls);
            // A panic there was told by the thread itself.
            let _ = thread.join();
        }
    }
}

/// What the thread owns.
struct Keeper {
    table: Table,
    file: GapFile,
    hung: Arc<AtomicBool>,
}

impl Keeper {
    fn serve(mut self, inbox: &Receiver<Call>) {
        while let Ok(first) = inbox.recv() {
            let mut adding = Vec::new();
            for call in std::iter::once(first).chain(inbox.try_iter().take(GROUP_MAX - 1)) {
                match call {
                    Call::Add(missed, done) => adding.push((missed, done)),
                    Call::List(listed) => {
                        self.add(std::mem::take(&mut adding));
                        listed(self.table.list());
                    }
                    Call::Taken(taken) => self.take(&taken),
                }
            }
            self.add(adding);
            self.hung.store(false, Ordering::Release);
        }
    }

    /// All of them with one write.
    fn add(&mut self, adding: Vec<(Missed, Done)>) {
        if adding.is_empty() {
            return;
        }
        let result = self.keep(self.table.with(adding.iter().map(|(missed, _)| missed)));
        let mut unheard = Vec::new();
        for (missed, done) in adding {
            if !done(result.clone()) && result.is_ok() {
                unheard.push(missed);
            }
        }
        // They are recorded elsewhere, or their client heard that nothing was done.
        if !unheard.is_empty()
            && let Err(refusal) = self.keep(self.table.without(&unheard))
        {
            tracing::warn!(event = "gap.twice", %refusal, "a gap that was given up could not be taken back: it counts twice");
        }
    }

    fn keep(&mut self, sums: Vec<GapSum>) -> std::result::Result<(), Refusal> {
        let appended = self.file.append(&sums);
        let kept = match appended {
            Ok(true) => Ok(self.table_with(sums)),
            Ok(false) => {
                let table = self.table_with(sums);
                self.file.rewrite(&table.list(), table.last_id()).map(|()| table)
            }
            Err(error) => Err(error),
        };
        match kept {
            Ok(table) => {
                self.table = table;
                Ok(())
            }
            Err(error) => {
                let text = self.file.fault().map_or_else(|| error.to_string(), str::to_owned);
                tracing::error!(event = "gap.faulted", %error, "the gap log cannot be written");
                Err(Refusal::Faulted(text))
            }
        }
    }

    fn table_with(&self, sums: Vec<GapSum>) -> Table {
        let mut table = self.table.clone();
        sums.into_iter().for_each(|sum| table.put(sum));
        table
    }

    /// A sum goes only once the file without it is durable: what was listed without it never comes back.
    fn take(&mut self, taken: &[(u64, u64)]) {
        let left = self.table.less(taken);
        if left == self.table {
            return;
        }
        match self.file.rewrite(&left.list(), left.last_id()) {
            Ok(()) => self.table = left,
            Err(error) => tracing::warn!(event = "gap.kept", %error, "gaps that were taken over stay in the gap log"),
        }
    }
}

#[cfg(test)]
mod tests;
