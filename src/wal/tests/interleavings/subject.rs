//! The same source as the log's, on the primitives of the scheduler.

#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    missing_debug_implementations,
    unfulfilled_lint_expectations,
    clippy::duplicate_mod,
    reason = "only a part of the log is driven here"
)]

use std::sync::Arc;

use crate::base::disk::Disk;
use crate::base::sync::scheduled as sync;
use crate::wal::{
    Damage, Fault, Item, Kind, Options, Record, Recovery, cursor, group, quarantine, record, safeguard, scrub, segment,
    squeeze,
};

#[path = "../../first.rs"]
mod first;
#[path = "../../inbox.rs"]
mod inbox;
#[path = "../../live.rs"]
mod live;
#[path = "../../reader.rs"]
mod reader;
#[path = "../../recover.rs"]
mod recover;
#[path = "../../retain.rs"]
mod retain;
#[path = "../../view.rs"]
mod view;
#[path = "../../walk.rs"]
mod walk;
#[path = "../../writer.rs"]
mod writer;

pub(super) use inbox::{Inbox, Untaken};
pub(super) use live::Live;
pub(super) use reader::Reader;
pub(super) use writer::{Message, Writer, run};

/// An empty log's writer.
pub(super) fn open(disk: &Arc<dyn Disk>, options: &Options) -> Writer {
    let budget = retain::Budget {
        dir: options.dir.join("seg"),
        segment_bytes: options.segment_bytes,
        max_bytes: options.max_bytes,
        reserve_free_bytes: 0,
    };
    let (disk, clock) = (Arc::clone(disk), super::super::rig::clock());
    let quarantine = Arc::new(quarantine::Quarantine::new(Arc::clone(&disk), options.dir.join("quarantine")));
    let context = recover::Context { disk, clock, budget, quarantine, node: options.node, cursors: &[], features: 0 };
    let mut random = fastrand::Rng::with_seed(1);
    let recovered = recover::recover(&context, &mut random).expect("a healthy disk");
    Writer::new(context, recovered, options.group_bytes, random).0
}
