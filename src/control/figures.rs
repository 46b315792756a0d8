//! Where the figures come from.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::pressure::{Pressure, Watch};
use crate::base::DestinationId;
use crate::base::clock::SharedClock;
use crate::delivery::{SharedView, View};
use crate::http::{EdgeView, Seen};
use crate::pipeline::{HeldGaps, Silence, Silent};
use crate::state::{SharedState, Totals};
use crate::wal::{Stats, Wal};

/// Everything that status and metrics are read from.
#[derive(Clone, Debug)]
pub(super) struct Sources {
    pub(super) log: Arc<Wal>,
    pub(super) gaps: HeldGaps,
    pub(super) silence: Silence,
    pub(super) edge: EdgeView,
    pub(super) view: SharedView,
    pub(super) state: SharedState,
    pub(super) destination: DestinationId,
    pub(super) clock: SharedClock,
    pub(super) started: Duration,
    pub(super) watch: Shared<Watch>,
}

/// One look at them.
#[derive(Clone, Debug)]
pub(super) struct Figures {
    pub(super) log: Stats,
    pub(super) pressure: Pressure,
    pub(super) view: View,
    /// `None` when the state store does not answer.
    pub(super) totals: Option<Totals>,
    /// Lines that only the gap logs have, by cause; none while it is not known what the state store has of them.
    pub(super) untaken: Vec<(&'static str, u64)>,
    /// Gap logs that do not answer.
    pub(super) gap_logs_silent: usize,
    /// The source answers no write.
    pub(super) source_silent: Option<Silent>,
    /// What the edge has seen.
    pub(super) edge: Seen,
    pub(super) now_ns: i64,
    /// The same on the clock that is never set.
    pub(super) now: Duration,
    pub(super) up: Duration,
}

/// The state store gets this long; a hanging disk must not hang the status.
const TOTALS_MAX: Duration = Duration::from_secs(2);

impl Sources {
    /// What is known without asking a disk.
    pub(super) fn glance(&self) -> Figures {
        self.figures(None, Vec::new(), 0)
    }

    pub(super) async fn look(&self) -> Figures {
        // Before the state store is read: what goes over in between is in its sums.
        let held = self.gaps.list().await;
        let totals = tokio::time::timeout(TOTALS_MAX, self.state.totals(&self.destination)).await;
        let totals = totals.ok().and_then(Result::ok);
        let untaken = totals.as_ref().map(|totals| held.untaken(&totals.gaps_taken)).unwrap_or_default();
        self.figures(totals, untaken, held.silent)
    }

    fn figures(&self, totals: Option<Totals>, untaken: Vec<(&'static str, u64)>, gap_logs_silent: usize) -> Figures {
        let log = self.log.stats();
        Figures {
            untaken,
            gap_logs_silent,
            source_silent: self.silence.now(self.clock.monotonic()),
            edge: self.edge.now(),
            pressure: self.watch.lock().unwrap_or_else(PoisonError::into_inner).pressure(&log),
            log,
            view: self.view.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            totals,
            now_ns: self.clock.wall_ns(),
            now: self.clock.monotonic(),
            up: self.clock.monotonic().saturating_sub(self.started),
        }
    }
}

/// Facts that are learnt while running, shared with the edge.
pub(super) type Shared<T> = Arc<Mutex<T>>;
