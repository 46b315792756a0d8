//! Seeded stories on the simulated disk: groups, rotation, recycling, full budgets, failing syncs, crashes and power
//! loss, also in the middle of recovery. The oracle: what was answered with success is there, with the same bytes,
//! under the same LSN; nothing is there that was not submitted; nothing is called damaged that was not; what was once
//! read stays.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::super::*;
use super::rig::*;
use crate::base::Lsn;
use crate::base::disk::simulated::{Crash, SimulatedDisk};

const SEGMENT_BYTES: u64 = 32 << 10;

/// Which stories are told: `TWINLINE_SIM_SEEDS=first..last`, or how many. `TWINLINE_SIM_TALK=1` shows what each start
/// finds.
fn seeds() -> std::ops::Range<u64> {
    let text = std::env::var("TWINLINE_SIM_SEEDS").unwrap_or_default();
    let number = |text: &str| text.parse::<u64>().ok();
    match text.split_once("..") {
        Some((first, last)) => number(first).unwrap_or(0)..number(last).unwrap_or(0),
        None => 0..number(&text).unwrap_or(300),
    }
}

#[derive(Debug, Default)]
struct Seen {
    crashes: u64,
    rotations: u64,
    recycled: u64,
    refused: u64,
    full: u64,
    faults: u64,
    refused_starts: u64,
    torn_bytes: u64,
    acknowledged: u64,
}

#[derive(Debug)]
struct Story {
    seed: u64,
    random: fastrand::Rng,
    disk: SimulatedDisk,
    options: Options,
    /// What must be there.
    kept: BTreeMap<Lsn, Bytes>,
    submitted: HashSet<Bytes>,
    next_id: u64,
    loaded_floor: Lsn,
    loaded_generation: u64,
    saved_generation: u64,
    seen: Seen,
}

impl Story {
    fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed ^ 0x5eed);
        let segments = random.u64(3..20);
        let group_bytes = [1, 2000, 1 << 20][random.usize(0..3)];
        let options = Options { max_bytes: segments * SEGMENT_BYTES, group_bytes, ..options(SEGMENT_BYTES) };
        Self {
            seed,
            random,
            disk: SimulatedDisk::new(seed),
            options,
            kept: BTreeMap::new(),
            submitted: HashSet::new(),
            next_id: 0,
            loaded_floor: Lsn::ZERO,
            loaded_generation: 0,
            saved_generation: 0,
            seen: Seen::default(),
        }
    }

    fn shared_disk(&self) -> Arc<dyn Disk> {
        Arc::new(self.disk.clone())
    }

    fn body(&mut self) -> Bytes {
        self.next_id += 1;
        let length = match self.random.u32(0..100) {
            0 => self.random.usize(20_000..120_000),
            1..10 => self.random.usize(4000..12_000),
            _ => self.random.usize(0..900),
        };
        let mut body = format!("{}-", self.next_id).into_bytes();
        body.resize(body.len() + length, self.next_id as u8);
        let body = Bytes::from(body);
        self.submitted.insert(body.clone());
        body
    }

    fn commit(&mut self, rig: &mut Rig) {
        let mut bundles = Vec::new();
        let mut expected = Vec::new();
        for _ in 0..self.random.usize(1..5) {
            let bodies: Vec<Bytes> = (0..self.random.usize(0..4)).map(|_| self.body()).collect();
            let outcomes =
                vec![[self.next_id as u8; OUTCOME_BYTES]; self.random.usize(usize::from(bodies.is_empty())..4)];
            self.submitted.extend((1..=16).map(|n| Bytes::from(outcomes.concat().repeat(n))));
            let (bundle, answer) = bundle(bodies.iter().map(|b| entry(b.clone())).collect(), outcomes);
            if !rig.writer.supply.admits(group::bundle_bytes(&bundle), bundle.asks()) {
                self.seen.refused += 1;
                continue;
            }
            bundles.push(bundle);
            expected.push((bodies, answer));
        }
        let first_segment = rig.writer.active.segment.header.id;
        rig.commit(bundles);
        self.seen.rotations += rig.writer.active.segment.header.id.0 - first_segment.0;
        for (bodies, answer) in expected {
            match heard(&answer).expect("every bundle hears") {
                Ok(first) => {
                    assert!(first <= rig.writer.live.durable());
                    for (index, body) in bodies.into_iter().enumerate() {
                        let old = self.kept.insert(Lsn(first.0 + index as u64), body);
                        assert_eq!(old, None, "seed {}: an LSN was used twice", self.seed);
                        self.seen.acknowledged += 1;
                    }
                }
                Err(Fault::Full) => self.seen.full += 1,
                Err(_) => assert!(rig.writer.live.is_faulted()),
            }
        }
    }

    /// Saves a floor, and releases below it when that is durable.
    fn save_floor(&mut self, rig: &Rig, file: &mut CursorFile) {
        let durable = rig.writer.live.durable();
        let floor = Lsn(self.random.u64(self.loaded_floor.0..=durable.0.max(self.loaded_floor.0))).min(durable);
        let mut cursor = Cursor::start(destination(), 1);
        cursor.durable_seen = durable;
        cursor.floors = vec![floor];
        if file.save(&mut cursor).is_ok() {
            self.loaded_floor = floor;
            self.saved_generation = cursor.generation;
            rig.writer.live.release(floor.next());
        }
    }

    fn check(&mut self, rig: &Rig) {
        let seed = self.seed;
        assert!(rig.report.damages.is_empty(), "seed {seed}: false damage {:?}", rig.report.damages);
        let loaded = cursor::load(rig.disk.as_ref(), Path::new(DIR), &destination()).unwrap();
        assert_eq!(loaded.warning, None, "seed {seed}");
        let generation = loaded.cursor.as_ref().map_or(0, |c| c.generation);
        assert!(generation >= self.saved_generation, "seed {seed}: a saved floor went back");
        let floor = loaded.cursor.as_ref().and_then(Cursor::lowest_floor).unwrap_or(Lsn::ZERO);
        // A loaded slot may lie in the page cache only: only what this process saves counts as saved.
        (self.loaded_generation, self.loaded_floor) = (generation, floor);
        let oldest = rig.writer.live.oldest();
        assert!(oldest <= floor.next(), "seed {seed}: records above the floor are gone");
        self.kept = self.kept.split_off(&oldest);
        let mut expected = oldest;
        let mut found = BTreeMap::new();
        for item in rig.read_all(oldest) {
            let Item::Record(record) = item else { panic!("seed {seed}: false damage {item:?}") };
            assert!(record.lsn >= expected, "seed {seed}: order");
            expected = record.lsn.next();
            assert!(self.submitted.contains(&record.body) || record.kind == Kind::Outcomes, "seed {seed}: invented");
            if record.kind == Kind::Intent {
                assert_eq!((record.flags, &record.meta[..]), (7, &b"meta"[..]));
                found.insert(record.lsn, record.body);
            }
        }
        for (lsn, body) in &self.kept {
            assert_eq!(found.get(lsn), Some(body), "seed {seed}: acknowledged record {lsn} is lost or altered");
        }
        // What was read once is durable, acknowledged or not.
        self.kept = found;
    }

    fn live(&mut self) -> Option<Rig> {
        let disk = self.shared_disk();
        let mut rig = match Rig::open(&disk, &self.options, self.random.u64(..)) {
            Ok(rig) => rig,
            Err(error) => {
                assert_eq!(error.kind(), crate::base::Kind::Disk, "seed {}: {error}", self.seed);
                self.seen.refused_starts += 1;
                return None;
            }
        };
        if self.disk.is_down() {
            return None;
        }
        if std::env::var_os("TWINLINE_SIM_TALK").is_some() {
            println!("opened: {:?}", rig.report);
            for segment in rig.writer.live.segments().iter() {
                println!("    {}: {} to {}", segment.path.display(), segment.header.base, segment.last());
            }
        }
        self.seen.torn_bytes += rig.report.torn_bytes;
        self.disk.stop_after(None);
        self.check(&rig);
        let mut file = CursorFile::new(Arc::clone(&disk), Path::new(DIR), destination(), self.loaded_generation);
        let mut reader = rig.reader(rig.writer.live.oldest());
        if self.random.u32(0..3) == 0 {
            self.disk.stop_after(Some(self.random.u64(0..120)));
        }
        let at_start = rig.writer.supply.bytes();
        for _ in 0..self.random.usize(0..40) {
            match self.random.u32(0..20) {
                0..10 => self.commit(&mut rig),
                10..12 => rig.writer.mark(),
                12..14 => self.save_floor(&rig, &mut file),
                14..16 => {
                    let before = rig.writer.live.oldest();
                    rig.writer.supply.tend();
                    self.seen.recycled += u64::from(rig.writer.live.oldest() > before);
                }
                16..19 => self.read_some(&mut reader, &rig),
                _ => self.disk.fail_syncs(self.random.u32(0..2) * 100),
            }
            let bytes = rig.writer.supply.bytes();
            assert!(bytes <= self.options.max_bytes.max(at_start), "seed {}: {bytes} bytes of files", self.seed);
        }
        Some(rig)
    }

    fn read_some(&mut self, reader: &mut Reader, rig: &Rig) {
        for _ in 0..self.random.usize(0..30) {
            match reader.next() {
                Ok(Some(Item::Record(record))) => {
                    assert!(record.lsn <= rig.writer.live.durable());
                    if record.kind == Kind::Intent {
                        // A bundle that failed halfway may have left records that nobody was told about.
                        let expected = self.kept.get(&record.lsn).or(self.submitted.get(&record.body));
                        assert_eq!(expected, Some(&record.body), "seed {}", self.seed);
                    }
                }
                Ok(Some(Item::Damage(damage))) => {
                    assert!(damage.last < rig.writer.live.oldest(), "seed {}: {damage:?}", self.seed);
                }
                Ok(None) => return,
                Err(_) => assert!(self.disk.is_down()),
            }
        }
    }

    fn tell(mut self) -> Seen {
        for _ in 0..self.random.usize(2..9) {
            // A crash in the middle of recovery, or a sync that fails there.
            if self.random.u32(0..4) == 0 {
                self.disk.stop_after(Some(self.random.u64(0..25)));
            }
            let rig = self.live();
            self.disk.fail_syncs(0);
            if let Some(mut rig) = rig
                && self.random.u32(0..4) == 0
            {
                rig.writer.finish();
            }
            self.seen.faults += u64::from(self.disk.is_down());
            self.disk.crash(if self.random.bool() { Crash::Power } else { Crash::Process });
            self.seen.crashes += 1;
        }
        // After the last crash, twice: recovering again gives the same.
        for _ in 0..2 {
            let rig = Rig::open(&self.shared_disk(), &self.options, 1).expect("a healthy disk opens");
            self.check(&rig);
            self.disk.crash(Crash::Process);
        }
        self.seen
    }
}

#[test]
fn no_story_loses_or_invents_a_record_or_cries_damage() {
    let mut sum = Seen::default();
    for seed in seeds() {
        let seen = Story::new(seed).tell();
        sum.crashes += seen.crashes;
        sum.rotations += seen.rotations;
        sum.recycled += seen.recycled;
        sum.refused += seen.refused;
        sum.full += seen.full;
        sum.faults += seen.faults;
        sum.refused_starts += seen.refused_starts;
        sum.torn_bytes += seen.torn_bytes;
        sum.acknowledged += seen.acknowledged;
    }
    println!("{sum:?}");
    if seeds().count() < 100 {
        return;
    }
    // The stories must have shown what they are told for.
    assert!(sum.crashes > 0 && sum.rotations > 0 && sum.recycled > 0 && sum.full > 0 && sum.refused > 0, "{sum:?}");
    assert!(sum.faults > 0 && sum.refused_starts > 0 && sum.torn_bytes > 0 && sum.acknowledged > 0, "{sum:?}");
}
