//! Gaps that only the gap logs have: the state store cannot be written, its disk is full, say.
//!
//! Promise: a line is counted here exactly as long as the state store does not count it, provided that the sums were listed
//! ([`HeldGaps::list`]) before the state store was read.

use std::collections::HashMap;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::keeper::known;
use crate::base::DestinationId;
use crate::state::GapTaken;
use crate::wal::GapLog;

/// A gap log answers within this time, or counts as one that does not.
const LIST_MAX: Duration = Duration::from_millis(500);

/// The gap logs, to be read.
#[derive(Clone, Debug)]
pub struct HeldGaps {
    logs: Vec<GapLog>,
    destination: DestinationId,
}

/// Sums of the gap logs at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// By gap log (its ledger).
    sums: Vec<(u64, GapTaken)>,
    /// Gap logs that did not answer.
    pub silent: usize,
}

impl HeldGaps {
    pub(super) fn new(logs: Vec<GapLog>, destination: DestinationId) -> Self {
        Self { logs, destination }
    }

    /// What they hold now. Waits half a second for each at most, and for none whose disk hangs.
    pub async fn list(&self) -> Held {
        let mut held = Held::default();
        for log in &self.logs {
            if log.hangs() {
                held.silent += 1;
                continue;
            }
            let (told, heard) = oneshot::channel();
            // Whoever asked may be gone.
            log.list(Box::new(move |sums| drop(told.send(sums))));
            match timeout(LIST_MAX, heard).await {
                Ok(Ok(sums)) => {
                    let own = sums.into_iter().map(|sum| known(sum, std::slice::from_ref(&self.destination)));
                    let own = own.filter(|taken| taken.destinations.contains(&self.destination));
                    held.sums.extend(own.map(|taken| (log.ledger(), taken)));
                }
                Ok(Err(_)) | Err(_) => held.silent += 1,
            }
        }
        held
    }
}

impl Held {
    /// Lines that the state store does not have yet, by cause. `taken`: what it has, by ledger and id.
    #[must_use]
    pub fn untaken(&self, taken: &HashMap<(u64, u64), u64>) -> Vec<(&'static str, u64)> {
        let mut lines: Vec<(&'static str, u64)> = Vec::new();
        for (ledger, GapTaken { id, gap, .. }) in &self.sums {
            let more = gap.lines.saturating_sub(taken.get(&(*ledger, *id)).copied().unwrap_or(0));
            match lines.iter_mut().find(|(cause, _)| *cause == gap.cause) {
                Some((_, sum)) => *sum += more,
                None => lines.push((gap.cause, more)),
            }
        }
        lines.retain(|(_, more)| *more > 0);
        lines
    }
}
