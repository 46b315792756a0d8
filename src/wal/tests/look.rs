//! What is seen from outside: the same as recovery finds, and nothing of a file that is used again meanwhile.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::look::{Look, SegmentState, Sight};
use super::super::*;
use super::rig::*;
use crate::base::disk::simulated::{Crash, SimulatedDisk};
use crate::base::{Lsn, SegmentId};

const SEGMENT_BYTES: u64 = 32 << 10;

fn look(disk: &SimulatedDisk, durable: Option<Lsn>) -> Look {
    Look::open(Arc::new(disk.clone()), Path::new(DIR), durable).unwrap()
}

/// LSNs of the records that a look shows, lost ones apart.
fn shown(look: &Look) -> (BTreeSet<Lsn>, Vec<Damage>, u64) {
    let (mut rows, mut lost, mut torn_bytes) = (BTreeSet::new(), look.holes(), 0);
    for segment in look.segments.iter().filter(|segment| segment.state != SegmentState::Superseded) {
        let Some(mut scan) = look.scan(segment, true).unwrap() else { continue };
        while let Some(sight) = scan.next().unwrap() {
            match sight {
                Sight::Row(row) => assert!(rows.insert(row.record.lsn), "shown twice: {}", row.record.lsn),
                Sight::Damage(damage, ..) => lost.push(damage),
            }
        }
        torn_bytes += scan.ended().torn_bytes;
    }
    (rows, lost, torn_bytes)
}

#[test]
fn a_look_at_a_dead_log_finds_what_a_start_finds() {
    let (mut torn, mut unproven) = (0, 0);
    for seed in 0..200 {
        let mut random = fastrand::Rng::with_seed(seed);
        let disk = SimulatedDisk::new(seed);
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let mut rig = Rig::open(&shared, &options(SEGMENT_BYTES), seed).unwrap();
        for _ in 0..random.usize(1..60) {
            drop(rig.append(vec![7; random.usize(0..3000)]));
        }
        disk.stop_after(Some(random.u64(0..3)));
        for _ in 0..4 {
            drop(rig.append(vec![8; random.usize(0..9000)]));
        }
        drop(rig);
        disk.stop_after(None);
        disk.crash(if seed % 3 == 0 { Crash::Process } else { Crash::Power });
        let seen = look(&disk, None);
        let (rows, lost, torn_bytes) = shown(&seen);
        let report = Rig::open(&shared, &options(SEGMENT_BYTES), seed).unwrap().report;
        assert_eq!(seen.durable, report.durable, "seed {seed}");
        let last = rows.last().copied().unwrap_or(Lsn::ZERO);
        let copied = if last > report.durable { last.next() } else { report.durable };
        assert_eq!(copied, report.last, "seed {seed}: with the mark behind the copies");
        assert_eq!((torn_bytes, lost), (report.torn_bytes, report.damages), "seed {seed}");
        (torn, unproven) = (torn + u64::from(torn_bytes > 0), unproven + u64::from(last > report.durable));
    }
    assert!(torn > 5 && unproven > 5, "{torn} torn tails, {unproven} with records that are not proven");
}

#[test]
fn what_is_read_of_a_segment_that_is_used_again_says_nothing() {
    let disk = SimulatedDisk::new(1);
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let mut rig = Rig::open(&shared, &options(SEGMENT_BYTES), 1).unwrap();
    while rig.writer.live.segments().len() < 3 {
        rig.append(vec![1; 3000]).unwrap();
    }
    let seen = look(&disk, Some(rig.writer.live.durable()));
    let path = |id: u64| PathBuf::from(DIR).join("seg").join(Look::name_of(SegmentId(id)));
    assert!(seen.segments.iter().all(|segment| seen.stands(segment).unwrap()));
    let first = &seen.segments[0];
    disk.rename(&first.path, &path(99)).unwrap();
    assert!(!seen.stands(first).unwrap(), "its name is gone");
    assert!(seen.scan(first, true).unwrap().is_none(), "that is no error");
    assert_eq!(seen.frame_flaws(first).unwrap(), []);
    disk.rename(&seen.segments[1].path, &first.path).unwrap();
    assert!(!seen.stands(first).unwrap(), "another file has its name");
}
