//! Where the figures come from.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::doubt::{self, Alarms};
use super::pressure::{Pressure, Watch};
use super::share::Began;
use crate::backfill::desk::Desk;
use crate::backfill::progress as backfill;
use crate::base::DestinationId;
use crate::base::clock::SharedClock;
use crate::config::DoubtAlarm;
use crate::delivery::{Hold, Regions, SharedView, View};
use crate::http::{EdgeView, Seen};
use crate::pipeline::{HeldGaps, Silence, Silent};
use crate::queue::doubts::Doubts;
use crate::state::{SharedState, Totals};
use crate::wal::{Stats, Wal};

/// Everything that status and metrics are read from.
#[derive(Clone, Debug)]
pub(super) struct Sources {
    pub(super) log: Arc<Wal>,
    pub(super) silence: Silence,
    pub(super) edge: EdgeView,
    /// In the order of the configuration, one at least.
    pub(super) mirrors: Vec<Mirror>,
    pub(super) state: SharedState,
    pub(super) clock: SharedClock,
    pub(super) started: Duration,
    pub(super) watch: Shared<Watch>,
    pub(super) doubts: Doubts,
    pub(super) doubt_rule: DoubtAlarm,
    pub(super) doubt_alarms: Shared<Alarms>,
}

/// What is shown of one destination, and how it is held.
#[derive(Clone, Debug)]
pub struct Mirror {
    /// Its id.
    pub id: DestinationId,
    /// What its delivery shows.
    pub view: SharedView,
    /// An operator's hold.
    pub hold: Hold,
    /// Regions that are copied to it.
    pub regions: Regions,
    /// Orders about copies to it, and how far these are.
    pub desk: Desk,
    /// What the gap logs hold of it.
    pub gaps: HeldGaps,
    /// Where it began, if not at the beginning of the log.
    pub began: Option<Began>,
}

/// One look at one destination.
#[derive(Clone, Debug)]
pub(super) struct Share {
    pub(super) id: DestinationId,
    pub(super) began: Option<Began>,
    pub(super) view: View,
    /// `None` when the state store does not answer.
    pub(super) totals: Option<Totals>,
    /// Lines that only the gap logs have, by cause; none while it is not known what the state store has of them.
    pub(super) untaken: Vec<(&'static str, u64)>,
    /// The copy of history to it, as far as it is.
    pub(super) history: backfill::View,
}

/// One look at all.
#[derive(Clone, Debug)]
pub(super) struct Figures {
    pub(super) log: Stats,
    pub(super) pressure: Pressure,
    pub(super) shares: Vec<Share>,
    /// Gap logs that do not answer.
    pub(super) gap_logs_silent: usize,
    /// The source answers no write.
    pub(super) source_silent: Option<Silent>,
    /// What the edge has seen.
    pub(super) edge: Seen,
    /// Routes in doubt.
    pub(super) doubt: doubt::Seen,
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
        self.figures(self.mirrors.iter().map(|mirror| mirror.share(None, Vec::new())).collect(), 0)
    }

    pub(super) async fn look(&self) -> Figures {
        let until = tokio::time::Instant::now() + TOTALS_MAX;
        let (mut shares, mut silent) = (Vec::new(), 0);
        for mirror in &self.mirrors {
            // Before the state store is read: what goes over in between is in its sums.
            let held = mirror.gaps.list().await;
            let totals = tokio::time::timeout_at(until, self.state.totals(&mirror.id)).await;
            let totals = totals.ok().and_then(Result::ok);
            let untaken = totals.as_ref().map(|totals| held.untaken(&totals.gaps_taken)).unwrap_or_default();
            shares.push(mirror.share(totals, untaken));
            silent = silent.max(held.silent);
        }
        self.figures(shares, silent)
    }

    pub(super) fn doubt(&self) -> doubt::Seen {
        let alarms = self.doubt_alarms.lock().unwrap_or_else(PoisonError::into_inner).now();
        doubt::Seen { shares: self.doubts.shares(self.clock.monotonic()), rule: self.doubt_rule, alarms }
    }

    fn figures(&self, shares: Vec<Share>, gap_logs_silent: usize) -> Figures {
        let log = self.log.stats();
        Figures {
            shares,
            gap_logs_silent,
            source_silent: self.silence.now(self.clock.monotonic()),
            edge: self.edge.now(),
            doubt: self.doubt(),
            pressure: self.watch.lock().unwrap_or_else(PoisonError::into_inner).pressure(&log),
            log,
            now_ns: self.clock.wall_ns(),
            now: self.clock.monotonic(),
            up: self.clock.monotonic().saturating_sub(self.started),
        }
    }
}

impl Mirror {
    fn share(&self, totals: Option<Totals>, untaken: Vec<(&'static str, u64)>) -> Share {
        let view = self.view.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let history = self.desk.progress().view();
        Share { id: self.id.clone(), began: self.began.clone(), view, totals, untaken, history }
    }
}

impl Figures {
    /// What holds for the log as a whole: the lowest floor, the oldest line that waits for anybody.
    pub(super) fn slowest(&self) -> View {
        let views = || self.shares.iter().map(|share| &share.view);
        let oldest = views().max_by_key(|view| view.oldest_waits(self.now)).cloned().unwrap_or_default();
        View {
            ready: views().all(|view| view.ready),
            counting: views().any(|view| view.counting),
            floor_lsn: views().map(|view| view.floor_lsn).min().unwrap_or(0),
            head_lsn: views().map(|view| view.head_lsn).max().unwrap_or(0),
            ..oldest
        }
    }
}

/// Facts that are learnt while running, shared with the edge.
pub(super) type Shared<T> = Arc<Mutex<T>>;
