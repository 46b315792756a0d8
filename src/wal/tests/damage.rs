//! Damage, exhaustively: every bit of a small log flipped, every truncation, every sector lost. Damage of k records
//! costs at most k records, and is never silent when it was acknowledged and provable.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::super::walk::{Step, Walk, Want, prove};
use super::super::*;
use super::rig::*;
use crate::base::Lsn;
use crate::base::clock::SharedClock;
use crate::base::disk::simulated::{Crash, SimulatedDisk};
use crate::base::disk::{Disk, DiskFile, Durability, Open};

const SEGMENT_BYTES: u64 = 64 << 10;

/// A log with 12 records in as many groups and a mark behind them, crashed.
fn small_log(seed: u64) -> (SimulatedDisk, std::path::PathBuf, super::super::segment::SegmentHeader) {
    let disk = SimulatedDisk::new(seed);
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let mut rig = Rig::open(&shared, &options(SEGMENT_BYTES), seed).unwrap();
    for n in 0..12u8 {
        rig.append(vec![n; usize::from(n) * 17]).unwrap();
    }
    rig.writer.mark();
    let segment = Arc::clone(&rig.writer.active.segment);
    disk.crash(Crash::Process);
    (disk, segment.path.clone(), segment.header)
}

/// What recovery's two passes make of a file.
struct State {
    durable: Lsn,
    /// At or below D, with the last byte of the payload.
    records: Vec<(Lsn, u8)>,
    damaged: Vec<Lsn>,
    above: Vec<Lsn>,
}

fn read(disk: &SimulatedDisk, path: &Path, header: &super::super::segment::SegmentHeader) -> State {
    let file = disk.open(path, Open::Read).unwrap();
    let end = super::super::segment::data_end(header.capacity);
    let durable = prove(Arc::clone(&file), header, 1 << 20).unwrap().durable;
    let mut walk = Walk::new(file, header, 1 << 20);
    let (mut records, mut damaged, mut above) = (Vec::new(), Vec::new(), Vec::new());
    loop {
        match walk.step(durable, end, Want::All).unwrap() {
            Step::End => break,
            Step::Record(header, payload) => records.push((header.lsn, payload.last().copied().unwrap_or(0))),
            Step::Damage(damage, ..) => damaged.extend((damage.first.0..=damage.last.0).map(Lsn)),
        }
    }
    while let Some((header, _)) = walk.tail(end).unwrap() {
        above.push(header.lsn);
    }
    State { durable, records, damaged, above }
}

/// Checks one damaged state: `touched` says which LSNs the damage can have hit.
fn check(what: &str, state: &State, touched: &dyn Fn(Lsn) -> bool) {
    let State { durable, records, damaged, above } = state;
    for lsn in (1..=durable.0).map(Lsn) {
        let found = records.iter().find(|(l, _)| *l == lsn);
        assert!(found.is_some() != damaged.contains(&lsn), "{what}: record {lsn} must be there or be reported");
        assert!(found.is_some() || touched(lsn), "{what}: record {lsn} was not touched and is called damaged");
        if let Some((_, last)) = found {
            assert!(*last == lsn.0 as u8 - 1 || lsn.0 > 12 || *last == b'a', "{what}: record {lsn} is altered");
        }
    }
    let mut expected = durable.next();
    for lsn in above {
        assert_eq!(*lsn, expected, "{what}: a hole above what is durable");
        expected = expected.next();
    }
    for lsn in (expected.0..=13).map(Lsn) {
        // Only the record that was touched, and what nobody can prove behind it, may be missing.
        assert!((durable.next().0..=lsn.0).map(Lsn).any(touched), "{what}: record {lsn} vanished untouched");
    }
}

/// Offsets of the 13 records.
fn offsets() -> Vec<std::ops::Range<u64>> {
    let mut at = 4096;
    let sizes = (0..12u64).map(|n| record::record_bytes(4 + n as usize * 17)).chain([64]);
    sizes
        .map(|size| {
            let range = at..at + size;
            at += size;
            range
        })
        .collect()
}

#[test]
fn every_flipped_bit_costs_at_most_its_record_and_is_reported() {
    let (disk, path, header) = small_log(3);
    let offsets = offsets();
    let end = offsets.last().unwrap().end;
    let state = read(&disk, &path, &header);
    assert_eq!((state.durable, state.records.len(), state.damaged.len()), (Lsn(12), 12, 0));
    assert_eq!(state.above, [Lsn(13)]);
    for at in 4096..end {
        for bit in [0, 3, 7] {
            let flip = |bytes: &mut Vec<u8>| bytes[at as usize] ^= 1 << bit;
            disk.corrupt(&path, flip).unwrap();
            let state = read(&disk, &path, &header);
            let hit = offsets.iter().position(|range| range.contains(&at)).map(|index| Lsn(index as u64 + 1)).unwrap();
            check(&format!("byte {at} bit {bit}"), &state, &|lsn| lsn == hit);
            assert!(state.durable >= Lsn(11), "one flip hides at most the news of one group");
            disk.corrupt(&path, flip).unwrap();
        }
    }
}

#[test]
fn every_truncation_and_every_lost_sector_is_reported_or_torn() {
    let (disk, path, header) = small_log(4);
    let offsets = offsets();
    let end = offsets.last().unwrap().end;
    let mut whole = Vec::new();
    disk.corrupt(&path, |bytes| whole.clone_from(bytes)).unwrap();
    for length in (4096..end + 64).step_by(7) {
        disk.corrupt(&path, |bytes| bytes.truncate(length as usize)).unwrap();
        check(&format!("length {length}"), &read(&disk, &path, &header), &|lsn| {
            offsets[lsn.0 as usize - 1].end > length
        });
        disk.corrupt(&path, |bytes| bytes.clone_from(&whole)).unwrap();
    }
    for sector in 8..end / 512 + 1 {
        let range = sector * 512..sector * 512 + 512;
        disk.corrupt(&path, |bytes| bytes[range.start as usize..range.end as usize].fill(0)).unwrap();
        check(&format!("sector {sector}"), &read(&disk, &path, &header), &|lsn| {
            let record = &offsets[lsn.0 as usize - 1];
            record.start < range.end && range.start < record.end
        });
        disk.corrupt(&path, |bytes| bytes.clone_from(&whole)).unwrap();
    }
}

fn reopen(disk: &SimulatedDisk) -> Rig {
    disk.crash(Crash::Process);
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    Rig::open(&shared, &options(SEGMENT_BYTES), 77).unwrap()
}

#[test]
fn a_damaged_record_is_reported_once_with_its_route_and_the_others_are_read() {
    let (disk, path, _) = small_log(5);
    let payload = offsets()[6].start + 64;
    disk.corrupt(&path, |bytes| bytes[payload as usize + 10] ^= 1).unwrap();
    let rig = reopen(&disk);
    let expected = Damage {
        first: Lsn(7),
        last: Lsn(7),
        route: Some(crate::base::RouteId(5)),
        from_ns: 1_600_000_000_000_000_000,
        to_ns: 1_600_000_000_000_000_000,
        lines: 3,
    };
    assert_eq!(rig.report.damages, [expected]);
    assert_eq!((rig.report.durable, rig.report.torn_bytes), (Lsn(12), 0));
    let items = rig.read_all(Lsn(1));
    assert_eq!(items.len(), 12);
    assert_eq!(items[6], Item::Damage(expected));
    let kept = disk.list(Path::new("wal/quarantine")).unwrap();
    assert_eq!(kept.len(), 2, "the damaged bytes and a note: {kept:?}");
    // The reader of headers does not look into payloads; seeking over a damage does not stop at it.
    assert!(matches!(rig.reader(Lsn(7)).next().unwrap(), Some(Item::Damage(damage)) if damage == expected));
    assert!(matches!(rig.reader(Lsn(8)).next().unwrap(), Some(Item::Record(record)) if record.lsn == Lsn(8)));
}

#[test]
fn one_copy_of_a_segment_header_is_enough_and_losing_both_loses_only_that_segment() {
    for (lost, damaged) in
        [(&[0u64][..], false), (&[SEGMENT_BYTES - 8192][..], false), (&[0, SEGMENT_BYTES - 8192], true)]
    {
        let (disk, path, _) = small_log(6);
        for at in lost {
            disk.corrupt(&path, |bytes| bytes[*at as usize + 200] ^= 4).unwrap();
        }
        let mut rig = reopen(&disk);
        let items = rig.read_all(Lsn(1));
        if !damaged {
            assert_eq!(items.len(), 12);
            assert!(rig.report.damages.is_empty());
            continue;
        }
        assert_eq!(rig.report.damages.len(), 1, "{:?}", rig.report.damages);
        assert!(rig.report.damages[0].first == Lsn(1) && rig.report.damages[0].last >= Lsn(13));
        assert!(items.iter().all(|item| matches!(item, Item::Damage(_))), "{items:?}");
        assert_eq!(disk.list(Path::new("wal/quarantine")).unwrap().len(), 1);
        let lsn = rig.append("after").unwrap();
        assert!(lsn > rig.report.damages[0].last, "an LSN that may have been used is not used again");
        drop(rig);
        let rig = reopen(&disk);
        assert!(rig.read_all(lsn).iter().any(|item| matches!(item, Item::Record(r) if &r.body[..] == b"after")));
    }
}

#[test]
fn a_missing_middle_segment_is_a_gap_and_not_a_crash() {
    let disk = SimulatedDisk::new(9);
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let mut rig = Rig::open(&shared, &options(SEGMENT_BYTES), 9).unwrap();
    let lsns: Vec<Lsn> = (0..200).map(|n| rig.append(vec![n as u8; 3000]).unwrap()).collect();
    let segments: Vec<_> = rig.writer.live.segments().iter().cloned().collect();
    assert!(segments.len() > 4);
    let (first, last) = (segments[2].header.base, segments[2].last());
    disk.rename(&segments[2].path, Path::new("elsewhere")).unwrap();
    drop((rig, segments));
    let rig = reopen(&disk);
    let holes: Vec<(Lsn, Lsn)> = rig.report.damages.iter().map(|d| (d.first, d.last)).collect();
    assert_eq!(holes, [(first, last)]);
    let mut seen = 0;
    let mut reported = 0;
    for item in rig.read_all(Lsn(1)) {
        match item {
            Item::Record(_) => seen += 1,
            Item::Damage(damage) => {
                assert_eq!((damage.first, damage.last), (first, last));
                reported += damage.last.0 - damage.first.0 + 1;
            }
        }
    }
    assert_eq!(seen + reported, lsns.len() as u64);
}

#[test]
fn a_clock_that_was_set_back_or_forward_leaves_no_window_that_ends_before_it_begins() {
    for day in [-86_400, 86_400, -60 * 365 * 86_400] {
        let (disk, clock) = (SimulatedDisk::new(17), Arc::new(TickingClock::default()));
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let ticking: SharedClock = Arc::clone(&clock) as SharedClock;
        let mut rig = Rig::open_at(&shared, &ticking, &options(SEGMENT_BYTES), 17).unwrap();
        let mut received = vec![0];
        for n in 0..150u8 {
            // In the middle of the segment that goes, and of others.
            clock.set(if n % 25 == 9 { day } else { 0 });
            received.push(ticking.wall_ns());
            let (bundle, _) = bundle(vec![Entry { received_ns: ticking.wall_ns(), ..entry(vec![n; 3000]) }], vec![]);
            rig.commit(vec![bundle]);
        }
        let gone = rig.writer.live.segments()[3].clone();
        disk.rename(&gone.path, Path::new("elsewhere")).unwrap();
        drop(rig);
        let seen = look::Look::open(shared, Path::new(DIR), None).unwrap().holes();
        let rig = reopen(&disk);
        let read = rig.read_all(Lsn(1)).into_iter().filter_map(|item| match item {
            Item::Damage(damage) => Some(damage),
            Item::Record(_) => None,
        });
        let told: Vec<Damage> = rig.report.damages.iter().copied().chain(read).chain(seen).collect();
        assert_eq!(told.len(), 3, "{told:?}");
        for damage in told {
            assert_eq!((damage.first, damage.last), (gone.header.base, gone.last()));
            // What is known of it: the records before and behind it.
            let (before, behind) = (received[damage.first.0 as usize - 1], received[damage.last.0 as usize + 1]);
            // One that waited for a new segment came before that.
            let window = damage.from_ns.saturating_sub(1_000_000)..=damage.to_ns.saturating_add(1_000_000);
            // A reader that comes to the end of a segment knows nothing of what follows.
            let ends = window.contains(&behind) || damage.to_ns == i64::MAX;
            assert!(window.contains(&before) && ends, "{day}: {before}, {behind}: {damage:?}");
        }
    }
}

#[test]
fn a_first_segment_without_a_header_is_told_also_where_nobody_has_a_floor() {
    let disk = SimulatedDisk::new(15);
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let mut rig = Rig::open(&shared, &options(SEGMENT_BYTES), 15).unwrap();
    (0..60).for_each(|n| assert!(rig.append(vec![n; 3000]).is_ok()));
    let (path, last) = rig.writer.live.segments().front().map(|first| (first.path.clone(), first.last())).unwrap();
    drop(rig);
    disk.corrupt(&path, Vec::clear).unwrap();
    let rig = reopen(&disk);
    let holes: Vec<(Lsn, Lsn)> = rig.report.damages.iter().map(|d| (d.first, d.last)).collect();
    assert_eq!(holes, [(Lsn(1), last)]);
}

#[test]
fn a_log_that_lost_durable_data_says_so_by_its_cursors() {
    let (disk, path, _) = small_log(10);
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let mut cursor = Cursor::start(destination(), 2);
    cursor.durable_seen = Lsn(13);
    cursor.floors = vec![Lsn(11), Lsn(13)];
    CursorFile::new(Arc::clone(&shared), Path::new(DIR), destination(), 0).save(&mut cursor).unwrap();
    disk.corrupt(&path, |bytes| bytes[offsets()[9].start as usize..SEGMENT_BYTES as usize].fill(0)).unwrap();
    let rig = reopen(&disk);
    assert_eq!(rig.report.durable, Lsn(13));
    let lost: Vec<(Lsn, Lsn)> = rig.report.damages.iter().map(|d| (d.first, d.last)).collect();
    assert_eq!(lost, [(Lsn(10), Lsn(13))]);
    assert_eq!(rig.writer.tail.next, Lsn(14));
}

#[test]
fn a_kind_that_must_not_be_skipped_stops_the_start_and_one_that_may_be_is_skipped() {
    for (kind, skipped) in [(0x80 | 9, true), (9, false)] {
        let disk = SimulatedDisk::new(11);
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let mut rig = Rig::open(&shared, &options(SEGMENT_BYTES), 11).unwrap();
        rig.append("a").unwrap();
        let mut group = group::Group::new(rig.writer.tail, Vec::new());
        let header = record::Header { kind, ..writer::mark(0) };
        group.append(header, [&bytes::Bytes::new(), &bytes::Bytes::new()]);
        rig.writer.commit_raw(group);
        rig.append("b").unwrap();
        if skipped {
            let bodies: Vec<Item> = rig.read_all(Lsn(1));
            assert_eq!(bodies.len(), 2);
        } else {
            let mut reader = rig.reader(Lsn(1));
            assert!(reader.next().is_ok());
            for _ in 0..2 {
                assert_eq!(reader.next().unwrap_err().kind(), crate::base::Kind::State, "it is never skipped");
            }
        }
        drop(rig);
        disk.crash(Crash::Process);
        assert_eq!(Rig::open(&shared, &options(SEGMENT_BYTES), 12).is_ok(), skipped);
    }
}

#[test]
fn a_segment_that_a_reader_stands_in_is_not_recycled() {
    let disk: Arc<dyn Disk> = Arc::new(SimulatedDisk::new(12));
    let mut rig = Rig::open(&disk, &options(SEGMENT_BYTES), 12).unwrap();
    let mut reader = rig.reader(Lsn(1));
    rig.append(vec![0; 3000]).unwrap();
    assert!(reader.next().unwrap().is_some());
    for n in 1..100u8 {
        rig.append(vec![n; 3000]).unwrap();
    }
    rig.writer.live.release(Lsn(90));
    rig.writer.supply.tend();
    assert_eq!(rig.writer.live.oldest(), Lsn(1));
    for n in 1..100u8 {
        let Some(Item::Record(record)) = reader.next().unwrap() else { panic!("record {n}") };
        assert_eq!(record.body[0], n);
        rig.writer.supply.tend();
    }
    assert!(rig.writer.live.oldest() > Lsn(70), "once it has moved on, they go");
}

#[test]
fn old_bytes_of_a_recycled_segment_are_refused_even_under_the_same_salt() {
    let (disk, path, old) = small_log(13);
    let header = super::super::segment::SegmentHeader { base: Lsn(100), ..old };
    let state = read(&disk, &path, &header);
    assert_eq!((state.durable, state.records.len(), state.above.len()), (Lsn::ZERO, 0, 0));
}

/// A file that cannot be read in some places.
#[derive(Debug)]
struct BadPlaces {
    inner: Arc<dyn DiskFile>,
    bad: std::ops::Range<u64>,
}

impl DiskFile for BadPlaces {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        if offset < self.bad.end && self.bad.start < offset + buffer.len() as u64 {
            return Err(io::Error::from_raw_os_error(5));
        }
        self.inner.read_at(buffer, offset)
    }

    fn write_all_at(&self, _: &[io::IoSlice<'_>], _: u64, _: Durability) -> io::Result<()> {
        unreachable!("recovery and readers never write here")
    }

    fn sync_data(&self) -> io::Result<()> {
        unreachable!("recovery and readers never sync here")
    }

    fn length(&self) -> io::Result<u64> {
        self.inner.length()
    }
}

#[test]
fn an_unreadable_place_costs_its_records_and_an_unreadable_disk_is_an_error() {
    let disk = SimulatedDisk::new(14);
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let mut rig = Rig::open(&shared, &options(SEGMENT_BYTES), 14).unwrap();
    for n in 0..12u8 {
        rig.append(vec![n; 3000]).unwrap();
    }
    let segment = Arc::clone(&rig.writer.active.segment);
    for chunk_bytes in [4096, 1 << 20] {
        let walk = |bad| {
            let inner = disk.open(&segment.path, Open::Read).unwrap();
            let mut walk = Walk::new(Arc::new(BadPlaces { inner, bad }), &segment.header, chunk_bytes);
            let mut damaged = Vec::new();
            loop {
                match walk.step(Lsn(12), segment.end(), Want::All)? {
                    Step::End => return io::Result::Ok(damaged),
                    Step::Record(..) => {}
                    Step::Damage(damage, ..) => damaged.push((damage.first.0, damage.last.0)),
                }
            }
        };
        let damaged = walk(20_000..20_512).unwrap();
        let lost: u64 = damaged.iter().map(|(first, last)| last - first + 1).sum();
        assert!((1..=4).contains(&lost), "{damaged:?}: 4 KiB are looked at in one piece");
        assert!(damaged.iter().any(|(first, last)| (*first..=*last).contains(&6)), "{damaged:?}");
        assert!(walk(0..u64::MAX).is_err());
    }
}
