//! Both ways of reading complete segments: into buffers, and through the address space. They see the same, damage
//! included; what was read through the address space keeps its file.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::*;
use super::rig::*;
use crate::base::Lsn;
use crate::base::disk::simulated::{Crash, SimulatedDisk};
use crate::base::disk::{Disk, real};

const SEGMENT_BYTES: u64 = 1 << 20;

fn body(lsn: u64) -> Vec<u8> {
    // Sixteen letters: half as long as Zstandard, and sometimes shorter as LZ4.
    let mut random = fastrand::Rng::with_seed(lsn);
    (0..(lsn * 7919) % 40_000).map(|_| random.u8(b'a'..=b'p')).collect()
}

fn squeezed(seed: u64) -> Options {
    let compression = [Compression::None, Compression::Lz4, Compression::Zstd][(seed % 3) as usize];
    Options { compression, ..options(SEGMENT_BYTES / 4) }
}

fn read(rig: &Rig, mapped: bool) -> Vec<Item> {
    let mut reader = rig.reader(Lsn(1)).mapped(mapped);
    std::iter::from_fn(|| reader.next().expect("readable")).collect()
}

/// A log of several complete segments on this disk, and its files.
fn log(disk: &Arc<dyn Disk>, options: &Options, seed: u64, records: u64) -> (Rig, Vec<PathBuf>) {
    let mut rig = Rig::open(disk, options, seed).unwrap();
    for lsn in 1..=records {
        assert_eq!(rig.append(body(lsn)), Ok(Lsn(lsn)));
        rig.writer.supply.tend();
    }
    let paths: Vec<PathBuf> = rig.writer.live.segments().iter().map(|segment| segment.path.clone()).collect();
    assert!(paths.len() > 2, "some complete segments: {}", paths.len());
    (rig, paths)
}

#[test]
fn damaged_segments_read_the_same_both_ways() {
    for seed in 0..60 {
        let simulated = SimulatedDisk::new(seed);
        let disk: Arc<dyn Disk> = Arc::new(simulated.clone());
        let (rig, paths) = log(&disk, &squeezed(seed), seed, 150);
        let mut random = fastrand::Rng::with_seed(seed);
        for path in &paths[..paths.len() - 1] {
            for _ in 0..random.usize(0..6) {
                let change = |bytes: &mut Vec<u8>| {
                    let (at, length) = (random.usize(4096..bytes.len()), 1 << random.u32(0..14));
                    let end = (at + length).min(bytes.len());
                    let mask = if length == 1 { 1 << random.u8(0..8) } else { 0xa5 };
                    bytes[at..end].iter_mut().for_each(|byte| *byte ^= mask);
                };
                simulated.corrupt(path, change).unwrap();
            }
        }
        let items = read(&rig, false);
        assert!(items == read(&rig, true), "seed {seed}");
        for item in items {
            if let Item::Record(record) = item {
                assert_eq!(record.body, body(record.lsn.0), "seed {seed}: an altered record passed");
            }
        }
    }
}

#[test]
fn the_real_disk_reads_the_same_both_ways_and_a_file_that_was_cut_is_read_without_a_map() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { dir: dir.path().join("wal"), ..options(SEGMENT_BYTES) };
    let disk = real();
    for sub in ["", "seg", "cursors", "quarantine"] {
        disk.create_dir_all(&options.dir.join(sub)).unwrap();
    }
    let (writer, report) = open_writer(&disk, &clock(), &options, &[], fastrand::Rng::with_seed(1)).unwrap();
    let mut rig = Rig { disk, writer, report, compression: Compression::None, mapped: false };
    for lsn in 1..=300 {
        assert_eq!(rig.append(body(lsn)), Ok(Lsn(lsn)));
    }
    let paths: Vec<PathBuf> = rig.writer.live.segments().iter().map(|segment| segment.path.clone()).collect();
    let whole = read(&rig, true);
    assert!(whole == read(&rig, false) && whole.len() == 300);
    drop(whole);
    let file = |path: &Path| std::fs::File::options().write(true).open(path).unwrap();
    file(&paths[0]).write_all_at(&[0xff; 5000], 300_000).unwrap();
    file(&paths[1]).set_len(200_000).unwrap();
    let hurt = read(&rig, true);
    assert!(hurt == read(&rig, false));
    assert!(hurt.iter().any(|item| matches!(item, Item::Damage(_))));
}

#[test]
fn a_record_read_through_the_address_space_keeps_its_file() {
    for mapped in [false, true] {
        let disk: Arc<dyn Disk> = Arc::new(SimulatedDisk::new(3));
        let (rig, paths) = log(&disk, &options(SEGMENT_BYTES), 3, 150);
        let oldest = || rig.writer.live.segments().front().expect("a segment").path.clone();
        let mut reader = rig.reader(Lsn(1)).mapped(mapped);
        let Some(Item::Record(held)) = reader.next().unwrap() else { panic!("a record") };
        drop(reader);
        rig.writer.live.release(Lsn(150));
        rig.writer.supply.tend();
        assert_eq!(oldest() == paths[0], mapped, "only what was read through the address space holds its file");
        drop(held);
        rig.writer.supply.tend();
        assert_ne!(oldest(), paths[0]);
    }
}

#[test]
fn a_body_that_was_squeezed_comes_back_whoever_reads_it() {
    for (how, features) in [(Compression::Lz4, 1), (Compression::Zstd, 2)] {
        let disk = SimulatedDisk::new(4);
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let with = |compression| Options { compression, ..options(SEGMENT_BYTES) };
        let mut rig = Rig::open(&shared, &with(how), 4).unwrap();
        assert_eq!(rig.writer.active.segment.header.features, features, "an older reader must not guess");
        let bodies: Vec<Vec<u8>> = (1..40u64).map(|lsn| (0..lsn * 100).map(|n| (n / 16) as u8).collect()).collect();
        bodies.iter().for_each(|body| _ = rig.append(body.clone()).unwrap());
        let stored = rig.writer.active.offset;
        assert!(stored < bodies.iter().map(|body| body.len() as u64).sum(), "{how:?}: {stored}");
        // Without a mark the last record is copied forward, by a process that squeezes nothing itself.
        disk.crash(Crash::Process);
        let rig = Rig::open(&shared, &with(Compression::None), 5).unwrap();
        assert_eq!(rig.writer.active.segment.header.features, features, "{how:?}: for what was copied");
        let items = rig.read_all(Lsn(1));
        assert_eq!(items.len(), bodies.len());
        for (item, body) in items.into_iter().zip(bodies) {
            let Item::Record(record) = item else { panic!("{item:?}") };
            assert!(record.body == body && record.flags == 7, "{how:?}: {}", record.lsn);
        }
    }
}
