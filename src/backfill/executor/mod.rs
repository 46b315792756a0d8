//! Carries a job out: one chunk is read while another is written, and others settle beside them.
//!
//! Promises: what ends the process at any moment costs the chunks in flight, which are read again; a chunk that fails is tried again in
//! smaller pieces when all others are done, and is given up with its reason in the end. Nothing waits without a reason that is shown.

mod holding;
mod lanes;
mod reading;
mod settling;
mod writing;

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};

use super::batches::Batches;
use super::chunk::{Machine, State};
use super::gate::{Gate, Hold};
use super::progress::Progress;
use super::read::Spooled;
use super::scope::Place;
use super::write::Writer;
use crate::base::clock::SharedClock;
use crate::base::{Error, Kind, Result, Side};
use crate::cell::SumKey;
use crate::db::product::Ack;
use crate::db::read::{Reader, Window};
use crate::state::{BackfillStore, ChunkRow};

pub use holding::Limits;
use lanes::{Lanes, Piece};

/// Spools that are there at once: one being read, one that waits, one being written.
pub const SPOOLS_MAX: u64 = 3;
/// How often we look whether somebody wants us to end.
const STOP_LOOK: Duration = Duration::from_millis(50);

/// Whether somebody wants the job to end, while the process goes on.
#[derive(Clone)]
pub struct Stop(Rc<dyn Fn() -> bool>);

impl std::fmt::Debug for Stop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Stop")
    }
}

impl Stop {
    /// Asks this.
    pub fn new(asked: impl Fn() -> bool + 'static) -> Self {
        Self(Rc::new(asked))
    }

    /// Whether it is so now.
    #[must_use]
    pub fn asked(&self) -> bool {
        (self.0)()
    }

    /// Waits until it is so.
    pub async fn forever(&self) {
        while !self.asked() {
            tokio::time::sleep(STOP_LOOK).await;
        }
    }

    /// Waits so long, or until it is so; whether it is.
    pub async fn wait(&self, how_long: Duration) -> bool {
        let mut left = how_long;
        while !self.asked() && !left.is_zero() {
            let step = left.min(STOP_LOOK);
            tokio::time::sleep(step).await;
            left -= step;
        }
        self.asked()
    }
}

/// What a wait ends with that somebody has cut short.
#[must_use]
pub fn stopped() -> Error {
    Error::new(Kind::State, Side::Own, "stopped").hint("twinline backfill resume")
}

/// What a job is made of.
#[derive(Debug)]
pub struct Parts {
    /// Reads the source.
    pub reader: Reader,
    /// Writes to the destination.
    pub writer: Rc<Writer>,
    /// Keeps delivery away.
    pub gate: Gate,
    /// What that may cost.
    pub limits: Limits,
    /// Where it is noted.
    pub store: Arc<dyn BackfillStore>,
    /// Time.
    pub clock: SharedClock,
    /// Number of the job.
    pub job: i64,
    /// Whether some of it may be done.
    pub resumed: bool,
    /// The key of its sums.
    pub key: SumKey,
    /// What there is to copy.
    pub places: Vec<Place>,
    /// Of which times.
    pub within: Window,
    /// Where spools lie.
    pub spool_dir: PathBuf,
    /// All spools together, bytes.
    pub spool_bytes_max: u64,
    /// How long an unanswered request may take effect.
    pub late_max: Duration,
    /// Shown.
    pub progress: Progress,
}

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// All that can be copied is.
    All,
    /// Somebody wanted an end.
    Stopped,
}

/// A chunk whose spool is complete.
#[derive(Debug)]
struct Ready {
    piece: Piece,
    machine: Machine,
    hold: Hold,
    spooled: Spooled,
    spool: PathBuf,
    started_ns: i64,
    /// Since when its region is drained, monotonic.
    held_at: Duration,
}

/// A job at work. One thread.
#[derive(Debug)]
struct Executor {
    parts: Parts,
    lanes: RefCell<Lanes>,
    /// Chunks between their beginning and their end.
    open: Cell<usize>,
    /// One of them has ended.
    ended: Notify,
    /// One is being written, or about to be.
    writes: Cell<bool>,
    spools: Cell<u64>,
    acks_early: bool,
    settling: RefCell<settling::Settling>,
    /// Measurements of which it was told that not all can be copied.
    told: RefCell<HashSet<(usize, Arc<[u8]>)>>,
    batches: RefCell<Batches>,
}

/// Copies all there is.
///
/// # Errors
/// A database cannot be reached for [`super::write::PATIENCE`], refuses our credentials or takes nothing until somebody acts; the store or
/// the disk fails. The job can be resumed.
pub async fn run(parts: Parts) -> Result<Ended> {
    let acks_early = parts.writer.product.capabilities().ack == Ack::Later;
    let (lanes, settling) = (RefCell::new(Lanes::default()), RefCell::new(settling::Settling::default()));
    let (open, ended, spools) = (Cell::new(0), Notify::new(), Cell::new(0));
    let batches = RefCell::new(Batches::new(parts.job, &parts.writer));
    let told = RefCell::default();
    let writes = Cell::new(false);
    let executor = Executor { parts, lanes, open, ended, writes, spools, acks_early, settling, told, batches };
    executor.empty_spools()?;
    if acks_early {
        executor.note_process().await?;
    }
    let (spooled, to_write) = mpsc::channel(1);
    let done = {
        let read = std::pin::pin!(executor.read_all(spooled));
        let mut written = std::pin::pin!(executor.write_all(to_write));
        tokio::select! {
            biased;
            // Only reads are cut.
            done = &mut written => done,
            // Requests under way come to their end in any case: a region is released when none can take effect on it any more.
            done = read => written.await.and(done),
        }
    };
    executor.empty_spools()?;
    let Executor { parts, batches, .. } = executor;
    let is_stopped = parts.writer.stop.asked();
    batches.into_inner().end(done.is_ok() && !is_stopped).await;
    match done {
        Ok(_) if is_stopped => Ok(Ended::Stopped),
        Ok(_) => {
            parts.progress.end();
            Ok(Ended::All)
        }
        Err(_) if is_stopped => Ok(Ended::Stopped),
        Err(error) => Err(error),
    }
}

impl Executor {
    fn stop_asked(&self) -> bool {
        self.parts.writer.stop.asked()
    }

    /// Spools of a process before us are of no use.
    fn empty_spools(&self) -> Result<()> {
        let dir = &self.parts.spool_dir;
        let fault = |e| Error::disk(format!("the directory of spools {}", dir.display()), e);
        std::fs::create_dir_all(dir).map_err(fault)?;
        for found in std::fs::read_dir(dir).map_err(fault)? {
            let path = found.map_err(fault)?.path();
            if path.extension().is_some_and(|ending| ending == "spool") {
                std::fs::remove_file(&path).map_err(fault)?;
            }
        }
        Ok(())
    }

    fn next_spool(&self) -> PathBuf {
        self.spools.set(self.spools.get() + 1);
        self.parts.spool_dir.join(format!("{}.spool", self.spools.get()))
    }

    /// Notes the end of a chunk, durably.
    async fn note(&self, piece: &Piece, machine: &Machine, row: ChunkRow) -> Result<i64> {
        let row = ChunkRow {
            route: self.parts.places[piece.place].name.key(),
            measurement: piece.measurement.to_vec(),
            from_ns: piece.window.start_ns,
            to_ns: piece.window.end_ns,
            state: machine.state().name(),
            attempt: piece.attempt,
            ended_ns: self.parts.clock.wall_ns(),
            parent: piece.parent,
            ..row
        };
        self.parts.store.note_chunk(self.parts.job, row).await
    }

    /// A chunk is at its end for now.
    fn closed(&self) {
        self.open.set(self.open.get().saturating_sub(1));
        self.ended.notify_one();
    }

    /// It cannot be copied as it is: smaller pieces later, or none.
    async fn failed(&self, piece: &Piece, machine: &Machine, error: &Error) -> Result<()> {
        let row = ChunkRow { error: error.to_string(), started_ns: self.parts.clock.wall_ns(), ..ChunkRow::default() };
        let id = self.note(piece, machine, row).await?;
        let place = &self.parts.places[piece.place].name;
        let name = String::from_utf8_lossy(&piece.measurement).into_owned();
        if machine.state() == State::Failed {
            tracing::warn!(event = "backfill.failed", %place, measurement = name, "{error}");
            self.lanes.borrow_mut().gave_up(piece);
            self.parts.progress.change(|view| view.failed += 1);
        } else {
            tracing::debug!(event = "backfill.split", %place, measurement = name, "{error}");
            let smaller = is_too_much(error);
            self.lanes.borrow_mut().again(piece, id, if smaller { lanes::SPLIT } else { 1 });
        }
        Ok(())
    }
}

/// Whether it was too large, which the next windows learn from.
fn is_size(error: &Error) -> bool {
    matches!(error.kind(), Kind::Timeout | Kind::Limit)
}

/// Whether a smaller window may help.
fn is_too_much(error: &Error) -> bool {
    match error.kind() {
        Kind::Timeout | Kind::Limit => true,
        Kind::Answer => error.retry() == crate::base::Retry::Yes,
        _ => false,
    }
}
