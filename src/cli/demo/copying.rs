//! The copy of history as an operator has it: begun with the command that he types, and looked at while it works.

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::proxy::Proxy;
use super::record::MEASUREMENT;
use crate::base::DestinationId;
use crate::cli::exit::{Exit, Failure};
use crate::cli::status::get;
use crate::config;
use crate::control::{BackfillNow, Status};
use crate::db::read::Window;
use crate::delivery::HoldView;
use crate::state::{BackfillFile, JobState};

/// How much of the newest figure the shown rate takes over, and how much of the rate before it.
const RATE_NEW: f64 = 0.15;

/// How far the copy is.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Copied {
    /// `None` before it has begun.
    pub(super) state: Option<JobState>,
    /// At the destination, and noted as such.
    pub(super) points: u64,
    pub(super) cells: u64,
    pub(super) chunks: u64,
    /// What could not be copied, and what the destination has refused.
    pub(super) failed: u64,
    /// Points a second, lately.
    pub(super) rate: f64,
    /// What is copied now.
    pub(super) now: Option<Window>,
    /// Lines of clients that wait until it is.
    pub(super) waiting: u64,
    /// Why nothing moves.
    pub(super) waits: Option<String>,
}

/// What there is to look at.
#[derive(Debug)]
pub(super) struct Copying {
    socket: PathBuf,
    state_file: PathBuf,
    destination: DestinationId,
    seen: RefCell<Copied>,
    seen_at: Cell<Duration>,
    /// The most lines that waited at once.
    waiting_most: Cell<u64>,
    /// Chunks that were under way when Twinline was killed.
    repeated: Cell<u64>,
}

impl Copying {
    /// Of the Twinline with this configuration.
    pub(super) fn new(proxy: &Proxy) -> Result<Self, Failure> {
        let loaded = config::load(proxy.config()).map_err(|errors| Failure::config(&errors))?;
        Ok(Self {
            socket: proxy.socket().to_owned(),
            state_file: loaded.config.data_dir.join("state.db"),
            destination: loaded.config.destination().id.clone(),
            seen: RefCell::default(),
            seen_at: Cell::default(),
            waiting_most: Cell::default(),
            repeated: Cell::default(),
        })
    }

    /// Begins it.
    pub(super) async fn begin(&self, proxy: &Proxy) -> Result<(), Failure> {
        proxy.command(&["backfill", "start"]).await?;
        self.seen.borrow_mut().state = Some(JobState::Running);
        Ok(())
    }

    /// Looks how far it is; `status`: what Twinline says of itself, where it runs.
    pub(super) async fn look(&self, status: Option<&Status>, now: Duration) {
        if self.seen.borrow().state.is_none() {
            return;
        }
        let (socket, file, destination) = (self.socket.clone(), self.state_file.clone(), self.destination.clone());
        let runs = status.is_some();
        let asked = tokio::task::spawn_blocking(move || {
            let waits = runs.then(|| why_it_waits(&socket, &destination)).flatten();
            (noted(&file, &destination), waits)
        });
        let Ok((noted, waits)) = asked.await else { return };
        let mut seen = self.seen.borrow_mut();
        seen.waits = waits;
        match noted {
            Ok(noted) => {
                let span = now.saturating_sub(self.seen_at.replace(now)).as_secs_f64();
                if span > 0.0 {
                    let newest = noted.points.saturating_sub(seen.points) as f64 / span;
                    seen.rate = seen.rate * (1.0 - RATE_NEW) + newest * RATE_NEW;
                }
                *seen = Copied {
                    state: noted.state,
                    points: noted.points,
                    cells: noted.cells,
                    chunks: noted.chunks,
                    failed: noted.failed,
                    ..seen.clone()
                };
            }
            // It may be written just now. Where that stays so, the figures stand still, which the story does not wait for without end.
            Err(failure) => seen.waits = Some(failure.what),
        }
        if let Some(status) = status {
            seen.waiting = status.holds.iter().map(|hold| hold.parked_lines).sum();
            seen.now = status.holds.iter().find(|hold| hold.measurement == MEASUREMENT).map(window);
            self.waiting_most.set(self.waiting_most.get().max(seen.waiting));
        }
    }

    /// What was seen last.
    pub(super) fn seen(&self) -> Copied {
        self.seen.borrow().clone()
    }

    /// What is copied now of the measurement that the clients write.
    pub(super) fn window(&self) -> Option<Window> {
        self.seen.borrow().now
    }

    pub(super) fn waiting_most(&self) -> u64 {
        self.waiting_most.get()
    }

    /// Twinline is about to be killed; `status`: what it says last.
    pub(super) fn note_kill(&self, status: &Status) {
        self.repeated.set(status.holds.len() as u64);
    }

    pub(super) fn repeated(&self) -> u64 {
        self.repeated.get()
    }
}

fn window(hold: &HoldView) -> Window {
    Window { start_ns: hold.from_ns, end_ns: hold.to_ns.saturating_add(1) }
}

/// Why nothing moves, if so; `None` as well where nobody answers.
fn why_it_waits(socket: &Path, destination: &DestinationId) -> Option<String> {
    let body = get(socket, &format!("/api/v1/backfill?destination={destination}")).ok()?;
    serde_json::from_slice::<BackfillNow>(&body).ok()?.view.waits
}

/// What is noted of it durably.
fn noted(file: &Path, destination: &DestinationId) -> Result<Copied, Failure> {
    let (job, sums) = BackfillFile::open(file)?
        .last(destination)?
        .ok_or_else(|| Failure::new(Exit::Failed, "the copy of history was begun and nothing is noted of it"))?;
    let refused: u64 = sums.letters.iter().map(|(_, lines)| lines).sum();
    Ok(Copied {
        state: Some(job.state),
        points: sums.points,
        cells: sums.cells,
        chunks: sums.chunks,
        failed: sums.failed.len() as u64 + refused,
        ..Copied::default()
    })
}
