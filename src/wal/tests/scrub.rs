//! Scrubbing: what it finds, what it tells, and what it must not take for damage.

use std::path::Path;
use std::sync::{Arc, Mutex};

use super::super::scrub::Scrub;
use super::super::*;
use super::rig::*;
use crate::base::Lsn;
use crate::base::disk::Disk;
use crate::base::disk::simulated::SimulatedDisk;

const SEGMENT_BYTES: u64 = 4 << 20;

/// A log of some complete segments, one that scrubs it, and what that tells.
fn scrubbed() -> (SimulatedDisk, Rig, Scrub, Arc<Mutex<Vec<Found>>>) {
    let disk = SimulatedDisk::new(1);
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let mut rig = Rig::open(&shared, &options(SEGMENT_BYTES), 1).unwrap();
    for n in 0..120u8 {
        rig.append(vec![n; 100_000]).unwrap();
    }
    let heard = Arc::new(Mutex::new(Vec::new()));
    let list = Arc::clone(&heard);
    rig.writer.live.on_found(Box::new(move |found| list.lock().unwrap().push(found)));
    let scrub = Scrub::new(shared, Arc::clone(&rig.writer.live), clock());
    (disk, rig, scrub, heard)
}

fn pass(scrub: &mut Scrub) {
    while scrub.step().is_some() {}
}

/// Damages the payload of a record in the second segment, and says which record that is.
fn damage(disk: &SimulatedDisk, rig: &Rig) -> Lsn {
    let segment = Arc::clone(&rig.writer.live.segments()[1]);
    disk.corrupt(&segment.path, |bytes| bytes[4096 + 64 + 50_000] ^= 1).unwrap();
    segment.header.base
}

#[test]
fn damage_in_a_complete_segment_is_told_once_and_is_one_gap_when_it_is_read() {
    let (disk, rig, mut scrub, heard) = scrubbed();
    pass(&mut scrub);
    assert_eq!(rig.writer.live.scrubbed().damages, 0);
    let lsn = damage(&disk, &rig);
    for _ in 0..3 {
        pass(&mut scrub);
    }
    let figures = rig.writer.live.scrubbed().clone();
    assert_eq!((figures.passes, figures.damages, figures.damaged_records), (4, 1, 1));
    assert!(figures.last_pass_ns.is_some() && figures.last_pass_bytes > 2 * SEGMENT_BYTES / 2, "{figures:?}");
    let heard = heard.lock().unwrap();
    assert!(matches!(heard[..], [found] if found.damage.first == lsn && found.damage.last == lsn && !found.delivered));
    assert_eq!(heard[0].damage.lines, 3);
    let kept = || disk.list(Path::new("wal/quarantine")).unwrap();
    assert_eq!(kept().len(), 2, "the bytes and a note: {:?}", kept());
    let damaged: Vec<Item> = rig.read_all(Lsn(1)).into_iter().filter(|item| matches!(item, Item::Damage(_))).collect();
    assert_eq!(damaged, [Item::Damage(heard[0].damage)]);
    assert_eq!(kept().len(), 2, "whoever meets it later keeps it no second time");
}

#[test]
fn damage_that_a_reader_meets_first_is_kept_too() {
    let (disk, rig, _, _) = scrubbed();
    damage(&disk, &rig);
    rig.read_all(Lsn(1));
    assert_eq!(disk.list(Path::new("wal/quarantine")).unwrap().len(), 2);
}

#[test]
fn what_every_destination_has_is_told_as_delivered_and_a_damaged_copy_of_a_header_is_told() {
    let (disk, rig, mut scrub, heard) = scrubbed();
    damage(&disk, &rig);
    let segment = Arc::clone(&rig.writer.live.segments()[1]);
    disk.corrupt(&segment.path, |bytes| bytes[200] ^= 1).unwrap();
    rig.writer.live.release(rig.writer.live.durable());
    for _ in 0..2 {
        pass(&mut scrub);
    }
    assert!(matches!(heard.lock().unwrap()[..], [found] if found.delivered));
    assert_eq!(rig.writer.live.scrubbed().headers, 1);
}

/// Between two steps the file under our hands may become another segment.
#[test]
fn a_segment_that_is_recycled_under_the_scrubber_is_no_damage() {
    let (_disk, mut rig, mut scrub, heard) = scrubbed();
    scrub.step();
    rig.writer.live.release(rig.writer.live.durable());
    rig.writer.supply.tend();
    assert!(rig.writer.live.oldest() > Lsn(1), "it does not hold the segment up");
    for n in 0..120u8 {
        rig.append(vec![n; 100_000]).unwrap();
        rig.writer.live.release(rig.writer.live.durable());
        rig.writer.supply.tend();
        if n % 10 == 0 {
            scrub.step();
        }
    }
    pass(&mut scrub);
    assert!(heard.lock().unwrap().is_empty());
    assert_eq!(rig.writer.live.scrubbed().headers, 0);
}

/// What the page cache still holds says nothing about the medium.
#[test]
fn what_has_rotted_on_the_medium_alone_is_found_by_the_first_pass() {
    let (disk, rig, mut scrub, heard) = scrubbed();
    let segment = Arc::clone(&rig.writer.live.segments()[1]);
    for mib in [1, 2, 3] {
        disk.rot(&segment.path, (mib << 20) + 500_000, 3).unwrap();
    }
    pass(&mut scrub);
    let heard = heard.lock().unwrap();
    assert_eq!(heard.len(), 3, "{heard:?}");
}

/// A later version may set features that a reader need not know.
#[test]
fn a_header_with_more_than_we_know_is_no_damage() {
    let (disk, rig, mut scrub, heard) = scrubbed();
    let segment = Arc::clone(&rig.writer.live.segments()[1]);
    disk.corrupt(&segment.path, |bytes| {
        for at in [0, super::super::segment::twin_offset(bytes.len() as u64) as usize] {
            let block = &mut bytes[at..at + 4096];
            block[86] = 1;
            let crc = crate::base::crc::crc32c(&block[..4092]);
            block[4092..].copy_from_slice(&crc.to_le_bytes());
        }
    })
    .unwrap();
    pass(&mut scrub);
    assert!(heard.lock().unwrap().is_empty());
    assert_eq!(rig.writer.live.scrubbed().headers, 0);
}

/// Whoever writes faster than it reads does not keep it from coming back to what waits.
#[test]
fn a_pass_ends_where_the_log_ended_when_it_began() {
    let (_disk, mut rig, mut scrub, _) = scrubbed();
    let ended = (0..40).any(|n| {
        (0..20).for_each(|_| _ = rig.append(vec![n; 100_000]).unwrap());
        scrub.step().is_none()
    });
    assert!(ended, "{:?}", rig.writer.live.scrubbed());
    pass(&mut scrub);
    assert_eq!(rig.writer.live.scrubbed().passes, 2);
}

/// Which damages were told is known of so many alone, of the files that there are.
#[test]
fn how_many_damages_there_are_beyond_those_that_are_told_is_known() {
    let (disk, mut rig, scrub, heard) = scrubbed();
    let mut scrub = scrub.with_told_max(2);
    let segment = Arc::clone(&rig.writer.live.segments()[1]);
    for mib in [0, 1, 2, 3] {
        disk.corrupt(&segment.path, |bytes| bytes[(mib << 20) + 500_000] ^= 1).unwrap();
    }
    for _ in 0..3 {
        pass(&mut scrub);
        let figures = rig.writer.live.scrubbed().clone();
        assert_eq!((heard.lock().unwrap().len(), figures.damages, figures.beyond), (2, 2, 2));
    }
    // While somebody holds it, its file is not used again.
    drop(segment);
    for n in 0..120u8 {
        rig.append(vec![n; 100_000]).unwrap();
        rig.writer.live.release(rig.writer.live.durable());
        rig.writer.supply.tend();
    }
    pass(&mut scrub);
    for n in 0..120u8 {
        rig.append(vec![n; 100_000]).unwrap();
    }
    pass(&mut scrub);
    assert_eq!(rig.writer.live.scrubbed().beyond, 0);
    let segment = Arc::clone(&rig.writer.live.segments()[1]);
    disk.corrupt(&segment.path, |bytes| bytes[500_000] ^= 1).unwrap();
    pass(&mut scrub);
    assert_eq!(heard.lock().unwrap().len(), 3, "there is room for what is in the files of today");
}
