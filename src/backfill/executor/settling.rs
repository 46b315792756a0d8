//! Chunks that the destination has acknowledged and may lose yet: VictoriaMetrics keeps what its process has outlived by 15 s.
//!
//! Promise: such a chunk is written only when the process that was there before its first request still answers after that time;
//! otherwise it is read and written anew.

use std::collections::VecDeque;
use std::time::Duration;

use super::writing::restless;
use super::{Executor, Ready};
use crate::backfill::chunk::Event;
use crate::backfill::progress::Waiting;
use crate::backfill::write::PATIENCE;
use crate::backfill::write::Sent;
use crate::base::{Error, Kind, Result, Side};
use crate::db::victoria;

/// How often those that settle are looked at.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Other processes that are met before the job ends.
const PROCESSES_MAX: u32 = 20;

/// A chunk that waits.
#[derive(Debug)]
pub(super) struct Settled {
    pub(super) ready: Ready,
    pub(super) sent: Sent,
    /// When the process began that was there before its first request.
    pub(super) process: Option<u64>,
    /// When it was acknowledged, monotonic.
    pub(super) at: Duration,
}

/// All of them, in order.
#[derive(Debug, Default)]
pub(super) struct Settling {
    waiting: VecDeque<Settled>,
    process: Option<u64>,
    met: u32,
    /// Since when nobody says which process it is, monotonic.
    silent_since: Option<Duration>,
    /// Shows that.
    waiting_for: Option<Waiting>,
}

impl Settling {
    pub(super) fn process(&self) -> Option<u64> {
        self.process
    }

    pub(super) fn add(&mut self, one: Settled) {
        self.waiting.push_back(one);
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}

impl Executor {
    /// Which process answers now.
    pub(super) async fn note_process(&self) -> Result<()> {
        let about = victoria::about(&self.parts.writer.server).await?;
        self.settling.borrow_mut().process = about.started_s;
        Ok(())
    }

    /// Those whose time has come.
    pub(super) async fn settle_due(&self) -> Result<()> {
        let now = self.parts.clock.monotonic();
        let is_due = |one: &Settled| now.saturating_sub(one.at) >= victoria::ON_DISK_AFTER;
        if !self.settling.borrow().waiting.front().is_some_and(is_due) {
            return Ok(());
        }
        let process = match victoria::about(&self.parts.writer.server).await {
            Ok(about) => about.started_s,
            Err(error) if matches!(error.kind(), Kind::Connect | Kind::Timeout | Kind::Answer) => {
                let since = *self.settling.borrow_mut().silent_since.get_or_insert(now);
                let why = format!("whether the destination has kept what it acknowledged is not known: {error}");
                if now.saturating_sub(since) > PATIENCE {
                    return Err(Error::new(error.kind(), Side::Destination, why).hint("twinline backfill resume"));
                }
                let mut settling = self.settling.borrow_mut();
                settling.waiting_for = None;
                settling.waiting_for = Some(self.parts.progress.waiting(why));
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        {
            let mut settling = self.settling.borrow_mut();
            (settling.silent_since, settling.waiting_for) = (None, None);
        }
        if process != self.settling.borrow().process {
            let mut settling = self.settling.borrow_mut();
            (settling.process, settling.met) = (process, settling.met + 1);
            if settling.met > PROCESSES_MAX {
                return Err(restless());
            }
        }
        loop {
            let next = self.settling.borrow_mut().waiting.pop_front_if(|one| one.process != process || is_due(one));
            let Some(Settled { mut ready, sent, process: before, .. }) = next else { break };
            if before == process {
                ready.machine.step(Event::Kept);
                self.written(ready, &sent).await?;
            } else {
                ready.machine.step(Event::Began);
                self.lanes.borrow_mut().anew(ready.piece);
                self.closed();
            }
        }
        let count = self.settling.borrow().len() as u64;
        self.parts.progress.change(|view| view.settling = count);
        Ok(())
    }
}
