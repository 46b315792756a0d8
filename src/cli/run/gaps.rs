//! The gap logs: one beside the log and, where configured, a spare one on another disk.
//!
//! Promise: what the log could not take is a gap of every destination that may want it: the configured ones, and those that are away and
//! would go on where they were (as many as a gap has room for; of the others it is said).

use std::sync::Arc;
use std::time::Duration;

use crate::base::{DestinationId, Lsn, Result, disk};
use crate::config::Config;
use crate::pipeline::GapKeeper;
use crate::state::{Event, EventKind, Gap, SharedState};
use crate::wal::{GapLog, OWNER_BYTES_MAX, OpenedGaps};

/// The share of `queue.stall` that one keeper of gaps may take: all of them together take no longer than the log did.
const SHARE: u32 = 3;

/// Opens the gap logs. The lock of the data directory is held by the log. `away`: who is not configured, and has read the log.
///
/// # Errors
/// One of them cannot be opened, or the state store does not take note of damage.
pub(super) fn open(
    config: &Config,
    away: impl Iterator<Item = DestinationId>,
    state: &SharedState,
    now_ns: i64,
) -> Result<GapKeeper> {
    let configured: Vec<_> = config.destinations.iter().map(|one| one.id.clone()).collect();
    let (owners, left) = owners(configured, away);
    for id in left {
        let text = "too many destinations are away: what the log cannot take is no gap of this one; should it come back, \
                    copy the time of its absence with backfill";
        tracing::warn!(event = "gap.no_owner", %id, "{text}");
    }
    let disk = disk::chosen();
    let mut opened = vec![GapLog::open(&disk, &config.data_dir.join("wal"))?];
    if let Some(dir) = &config.queue.spare_dir {
        opened.push(GapLog::open_spare(&disk, dir).map_err(|e| e.context("queue.spare_dir"))?);
    }
    let mut logs = Vec::new();
    for OpenedGaps { log, damaged } in opened {
        if damaged > 0 {
            tell_damage(&owners, state, now_ns, damaged)?;
        }
        logs.push(log);
    }
    let each = (config.queue.stall / SHARE).max(Duration::from_millis(10));
    let mappings = config.each().map(|one| (one.destination().id.clone(), one.mapping.clone())).collect();
    Ok(GapKeeper::new(logs, Arc::clone(state), owners, each).with_mappings(mappings))
}

/// Whose the gaps are, and those for whom there is no room among them.
fn owners(
    mut owners: Vec<DestinationId>,
    away: impl Iterator<Item = DestinationId>,
) -> (Vec<DestinationId>, Vec<DestinationId>) {
    let mut bytes: usize = owners.iter().map(|id| id.as_str().len() + 1).sum();
    let mut left = Vec::new();
    for id in away {
        let own = id.as_str().len() + 1;
        if bytes + own <= OWNER_BYTES_MAX {
            bytes += own;
            owners.push(id);
        } else {
            left.push(id);
        }
    }
    (owners, left)
}

fn tell_damage(owners: &[DestinationId], state: &SharedState, now_ns: i64, damaged: u64) -> Result<()> {
    let records = if damaged == u64::MAX { "the whole file".to_owned() } else { format!("{damaged} records") };
    let text = format!("the gap log is damaged ({records}): gaps of unknown size are missing");
    tracing::error!(event = "gap.damage", "{text}");
    tell_loss(owners, state, now_ns, ("gap-log-damage", None), text)
}

/// What was in lost records is not known: a gap of unknown size over all time stands for them. `lsns`: which they were, where
/// delivery makes a gap of the same records.
pub(super) fn tell_loss(
    owners: &[DestinationId],
    state: &SharedState,
    now_ns: i64,
    (cause, lsns): (&'static str, Option<(Lsn, Lsn)>),
    text: String,
) -> Result<()> {
    let gap = Gap {
        route: None,
        // One row for the same records has the same name.
        route_name: if lsns.is_some() { String::new() } else { "unknown".to_owned() },
        from_ns: i64::MIN,
        to_ns: now_ns,
        lines: 0,
        lsns,
        cause,
    };
    for owner in owners {
        state.add_gap(owner, gap.clone()).wait()?;
    }
    drop(state.add_event(Event { at_ns: now_ns, kind: EventKind::LogDamage, text }));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_away_has_gaps_as_well_as_far_as_they_have_room() {
        let id = |text: &str| DestinationId::parse(text).unwrap();
        let all = owners(vec![id("main")], [id("gone")].into_iter());
        assert_eq!(all, (vec![id("main"), id("gone")], Vec::new()));
        // The longest ids of as many as may be configured leave room for nobody else.
        let longest: Vec<_> = (0..8).map(|at| id(&format!("{at:064}"))).collect();
        assert_eq!(owners(longest.clone(), [id("gone")].into_iter()), (longest, vec![id("gone")]));
    }
}
