//! The gap logs: one beside the log and, where configured, a spare one on another disk.

use std::sync::Arc;
use std::time::Duration;

use crate::base::{Lsn, Result, disk};
use crate::config::Config;
use crate::pipeline::GapKeeper;
use crate::state::{Event, EventKind, Gap, SharedState};
use crate::wal::{GapLog, OpenedGaps};

/// The share of `queue.stall` that one keeper of gaps may take: all of them together take no longer than the log did.
const SHARE: u32 = 3;

/// Opens the gap logs. The lock of the data directory is held by the log.
///
/// # Errors
/// One of them cannot be opened, or the state store does not take note of damage.
pub(super) fn open(config: &Config, state: &SharedState, now_ns: i64) -> Result<GapKeeper> {
    let disk = disk::chosen();
    let mut opened = vec![GapLog::open(&disk, &config.data_dir.join("wal"))?];
    if let Some(dir) = &config.queue.spare_dir {
        opened.push(GapLog::open_spare(&disk, dir).map_err(|e| e.context("queue.spare_dir"))?);
    }
    let mut logs = Vec::new();
    for OpenedGaps { log, damaged } in opened {
        if damaged > 0 {
            tell_damage(config, state, now_ns, damaged)?;
        }
        logs.push(log);
    }
    let each = (config.queue.stall / SHARE).max(Duration::from_millis(10));
    Ok(GapKeeper::new(logs, Arc::clone(state), config.destinations.iter().map(|one| one.id.clone()).collect(), each))
}

fn tell_damage(config: &Config, state: &SharedState, now_ns: i64, damaged: u64) -> Result<()> {
    let records = if damaged == u64::MAX { "the whole file".to_owned() } else { format!("{damaged} records") };
    let text = format!("the gap log is damaged ({records}): gaps of unknown size are missing");
    tracing::error!(event = "gap.damage", "{text}");
    tell_loss(config, state, now_ns, ("gap-log-damage", None), text)
}

/// What was in lost records is not known: a gap of unknown size over all time stands for them. `lsns`: which they were, where
/// delivery makes a gap of the same records.
pub(super) fn tell_loss(
    config: &Config,
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
    for destination in &config.destinations {
        state.add_gap(&destination.id, gap.clone()).wait()?;
    }
    drop(state.add_event(Event { at_ns: now_ns, kind: EventKind::LogDamage, text }));
    Ok(())
}
