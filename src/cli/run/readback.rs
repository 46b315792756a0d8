//! Who reads doubt and gaps back inside a running twinline: a task for each destination, beside whoever copies history.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::backfill::executor::Stop;
use crate::backfill::readback::{self, Meeting, Met, Parts, ReadBackShown};
use crate::backfill::throttle::Allowance;
use crate::base::Result;
use crate::base::clock::SharedClock;
use crate::cli::backfill::met::met;
use crate::config::Config;
use crate::control::Mirror;
use crate::delivery::{Regions, SharedView};
use crate::pipeline::Unlogged;
use crate::state::SharedState;
use crate::wal::Wal;

/// Who reads back for one destination.
#[derive(Clone)]
pub(super) struct ReadBacker {
    config: Config,
    regions: Regions,
    delivery: SharedView,
    state: SharedState,
    log: Arc<Wal>,
    unlogged: Unlogged,
    clock: SharedClock,
    shown: ReadBackShown,
}

/// One for each destination.
pub(super) fn all(
    each: &[Config],
    mirrors: &[Mirror],
    around: (&SharedState, &Arc<Wal>, &Unlogged),
    clock: &SharedClock,
) -> Vec<ReadBacker> {
    each.iter().zip(mirrors).map(|(config, mirror)| ReadBacker::new(config, mirror, around, clock)).collect()
}

impl ReadBacker {
    /// `config`: of this destination alone.
    fn new(
        config: &Config,
        mirror: &Mirror,
        (state, log, unlogged): (&SharedState, &Arc<Wal>, &Unlogged),
        clock: &SharedClock,
    ) -> Self {
        Self {
            config: config.clone(),
            regions: mirror.regions.clone(),
            delivery: Arc::clone(&mirror.view),
            state: Arc::clone(state),
            log: Arc::clone(log),
            unlogged: unlogged.clone(),
            clock: Arc::clone(clock),
            shown: mirror.read_back.clone(),
        }
    }

    /// For ever. `turn`: one part at a time, of all destinations.
    pub(super) async fn work(self, turn: Arc<Semaphore>, allowance: Allowance) {
        let destination = self.config.destination();
        let parts = Parts {
            id: destination.id.clone(),
            settings: self.config.readback,
            late_max: super::late_write_max(&self.config).max(destination.delivery.late_write_max),
            late_write_max: destination.delivery.late_write_max,
            retry_max: destination.delivery.retry_max,
            allowance: allowance.clone(),
            regions: self.regions.clone(),
            delivery: Arc::clone(&self.delivery),
            state: Arc::clone(&self.state),
            log: Arc::clone(&self.log),
            unlogged: self.unlogged.clone(),
            clock: Arc::clone(&self.clock),
            spool_dir: self.config.data_dir.join("readback").join(destination.id.as_str()),
            turn,
            shown: self.shown.clone(),
            write_until: Rc::new(Cell::new(None)),
        };
        readback::run(parts, &Both { config: &self.config, clock: &self.clock, shown: &self.shown, allowance }).await;
    }
}

/// Both databases.
struct Both<'a> {
    config: &'a Config,
    clock: &'a SharedClock,
    shown: &'a ReadBackShown,
    /// What all copies to the destination may take.
    allowance: Allowance,
}

impl Meeting for Both<'_> {
    async fn meet(&self, stop: Stop) -> Result<Met> {
        met(self.config, self.clock, (&self.allowance, stop, self.shown.progress())).await
    }
}
