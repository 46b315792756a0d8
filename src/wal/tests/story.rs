//! Plays a history on the simulated disk, and is the oracle: what was answered with success is there, with the same bytes,
//! under the same LSN, received when it was, whatever the clock on the wall says meanwhile; nothing is there that was not submitted; nothing is called damaged that was not; what was once read
//! stays. A flipped bit may cost the record that it hit, which is reported, or what its group lost where nothing proves that
//! group yet.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::super::safeguard::{Safeguard, holds};
use super::super::*;
use super::history::*;
use super::medium;
use super::rig::*;
use crate::base::Lsn;
use crate::base::clock::Clock;
use crate::base::disk::simulated::{Crash, SimulatedDisk};

/// What a log must never do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wrong {
    /// An acknowledged record is gone, and nobody says so.
    Lost,
    /// A record has other bytes than were submitted, or was never submitted.
    Altered,
    /// Something is called damaged that was not.
    FalseDamage,
    /// A saved floor is not there.
    FloorBack,
    /// An LSN stands for two records.
    LsnTwice,
    /// More files than the budget.
    Budget,
    /// It panicked, or did not open on a healthy disk.
    Broken,
}

/// What went wrong, in which step.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) wrong: Wrong,
    pub(super) what: String,
    pub(super) step: usize,
}

type Checked<T = ()> = Result<T, (Wrong, String)>;

macro_rules! ensure {
    ($holds:expr, $wrong:expr, $($what:tt)+) => {
        if !$holds {
            return Err(($wrong, format!($($what)+)));
        }
    };
}

/// What histories have shown.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen(pub(super) BTreeMap<&'static str, u64>);

impl Seen {
    fn add(&mut self, what: &'static str, count: u64) {
        *self.0.entry(what).or_default() += count;
    }

    pub(super) fn merge(&mut self, other: &Self) {
        other.0.iter().for_each(|(what, count)| self.add(what, *count));
    }

    pub(super) fn of(&self, what: &str) -> u64 {
        self.0.get(what).copied().unwrap_or(0)
    }
}

struct Open {
    rig: Rig,
    file: CursorFile,
    reader: Reader,
    at_start: u64,
    /// Where the groups of this life ended.
    ends: Arc<Mutex<Vec<Lsn>>>,
}

pub(super) struct Story {
    history: History,
    disk: SimulatedDisk,
    options: Options,
    open: Option<Open>,
    /// What must be there, by the number of its body.
    kept: BTreeMap<Lsn, u64>,
    /// Length of each body that was ever submitted, and when it was received.
    bodies: Vec<(usize, i64)>,
    clock: Arc<TickingClock>,
    /// Records that a flipped bit has hit.
    hit: BTreeSet<Lsn>,
    /// A cursor was hit: floors may go back, and records below them may be gone.
    cursor_hit: bool,
    /// No second flip before the first one was found.
    flipped: bool,
    /// A hit that nothing proved yet, and the last record then: what it may hide, however late the log begins again.
    blind: Option<(Lsn, Lsn)>,
    /// Everything up to here is proven by what is durable: no flip hides it.
    proven: Lsn,
    floor: Lsn,
    best_floor: Lsn,
    generation: u64,
    saved_generation: u64,
    starts: u64,
    /// Shows what each step leaves behind.
    pub(super) talks: bool,
    pub(super) seen: Seen,
}

fn body(number: u64, length: usize) -> Bytes {
    let mut body = format!("{number}-").into_bytes();
    body.resize(body.len() + length, number as u8);
    body.into()
}

impl Story {
    /// The same history, read through the address space, with bodies stored this way.
    pub(super) fn stored(mut self, compression: Compression) -> Self {
        (self.options.compression, self.options.mapped) = (compression, true);
        self
    }

    pub(super) fn new(history: History) -> Self {
        let usual = options(SEGMENT_BYTES);
        let (max_bytes, group_bytes) = (history.segments * SEGMENT_BYTES, history.group_bytes);
        Self {
            disk: SimulatedDisk::new(history.seed),
            options: Options { max_bytes, group_bytes, ..usual },
            history,
            open: None,
            kept: BTreeMap::new(),
            bodies: Vec::new(),
            clock: Arc::default(),
            hit: BTreeSet::new(),
            cursor_hit: false,
            flipped: false,
            blind: None,
            proven: Lsn::ZERO,
            floor: Lsn::ZERO,
            best_floor: Lsn::ZERO,
            generation: 0,
            saved_generation: 0,
            starts: 0,
            talks: false,
            seen: Seen::default(),
        }
    }

    /// Plays all steps, and then, on a healthy disk, recovers twice.
    pub(super) fn tell(mut self) -> Result<Seen, Failure> {
        let steps = std::mem::take(&mut self.history.steps);
        let end = [Step::FailSyncs(0), Step::FailCalls(0), Step::Interrupt(0), Step::Free(None)];
        let twice = [Step::Crash(Crash::Process), Step::Start(None), Step::Tend];
        let all = steps.iter().chain(&end).chain(&twice).chain(&twice);
        for (at, step) in all.enumerate() {
            let played = catch_unwind(AssertUnwindSafe(|| self.step(step)));
            let played = played.unwrap_or_else(|panic| Err((Wrong::Broken, text_of(panic.as_ref()))));
            if self.talks {
                self.show(at, step);
            }
            if let Err((wrong, what)) = played {
                return Err(Failure { wrong, what, step: at });
            }
            let healthy = at >= steps.len() + end.len();
            if healthy && matches!(step, Step::Start(_)) && self.open.is_none() {
                return Err(Failure { wrong: Wrong::Broken, what: "a healthy disk does not open".into(), step: at });
            }
        }
        Ok(self.seen)
    }

    fn show(&self, at: usize, step: &Step) {
        println!("{at:3} {step:?}");
        if let Some(Open { rig, .. }) = &self.open {
            let live = &rig.writer.live;
            println!("    {:?}, fault {:?}, durable {}", rig.report, live.fault(), live.durable());
            for segment in live.segments().iter() {
                println!("    {}: {} to {}", segment.path.display(), segment.header.base, segment.last());
            }
        }
        println!("    floor {}, proven {}, {:?}", self.floor, self.proven, self.disk.files());
    }

    fn step(&mut self, step: &Step) -> Checked {
        match step {
            Step::FailSyncs(permille) => self.disk.fail_syncs(*permille),
            Step::FailCalls(permille) => self.disk.fail_calls(*permille),
            Step::Interrupt(permille) => self.disk.interrupt(*permille),
            Step::Evict => self.disk.evict(),
            Step::SetClock(by) => {
                self.clock.set(*by);
                self.seen.add("clock steps", 1);
            }
            Step::Free(bytes) => self.disk.resize(bytes.map_or(u64::MAX, |free| self.disk.used_bytes() + free)),
            Step::StopAfter(calls) if self.open.is_some() => self.disk.stop_after(Some(*calls)),
            Step::StopAfter(_) => {}
            Step::Start(stop_after) if self.open.is_none() => self.start(*stop_after)?,
            Step::Start(_) => {}
            Step::Flip(which) => self.flip(*which),
            Step::Crash(kind) => self.crash(*kind),
            Step::Close => {
                if let Some(open) = &mut self.open {
                    open.rig.writer.finish();
                    if !open.rig.writer.live.is_faulted() && open.rig.writer.first.is_none() {
                        self.proven = self.proven.max(open.rig.writer.live.durable());
                    }
                }
                self.crash(Crash::Process);
            }
            other => {
                let Some(mut open) = self.open.take() else { return Ok(()) };
                let played = self.live(other, &mut open);
                self.open = Some(open);
                played?;
            }
        }
        Ok(())
    }

    /// A step of an open log.
    fn live(&mut self, step: &Step, open: &mut Open) -> Checked {
        match step {
            Step::Append(shapes) => self.append(open, shapes)?,
            Step::Rotate => {
                let writer = &open.rig.writer;
                let left = writer.live.active_room.load(Ordering::Acquire);
                // As large as a record may be that a segment of usual length holds.
                let most = super::super::segment::room(SEGMENT_BYTES) - 200;
                self.append(open, &[(vec![u32::try_from(left.min(most)).unwrap_or(0)], 0)])?;
            }
            Step::Idle => self.idle(open),
            Step::SaveFloor(part) => self.save_floor(open, *part),
            Step::Tend => {
                open.rig.writer.begin_late();
                let before = open.rig.writer.live.oldest();
                open.rig.writer.supply.tend();
                self.seen.add("recycled", u64::from(open.rig.writer.live.oldest() > before));
            }
            Step::Read(items) => self.read_some(open, *items)?,
            _ => {}
        }
        let bytes = open.rig.writer.supply.bytes();
        ensure!(bytes <= self.options.max_bytes.max(open.at_start), Wrong::Budget, "{bytes} bytes of files");
        Ok(())
    }

    fn start(&mut self, stop_after: Option<u64>) -> Checked {
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        self.disk.stop_after(stop_after);
        self.starts += 1;
        let clock: SharedClock = Arc::clone(&self.clock) as SharedClock;
        let opened = Rig::open_at(&disk, &clock, &self.options, self.history.seed ^ self.starts);
        self.disk.stop_after(None);
        let rig = match opened {
            Ok(rig) if !self.disk.is_down() => rig,
            Ok(_) => return Ok(()),
            Err(error) => {
                ensure!(error.kind() == crate::base::Kind::Disk, Wrong::Broken, "{error}");
                self.seen.add("refused starts", 1);
                // The process is gone, and with it its lock.
                if !self.disk.is_down() {
                    self.disk.crash(Crash::Process);
                }
                return Ok(());
            }
        };
        self.seen.add("torn bytes", rig.report.torn_bytes);
        self.check(&rig)?;
        let ends = Arc::new(Mutex::new(vec![rig.writer.live.durable()]));
        let (live, slot) = (Arc::downgrade(&rig.writer.live), Arc::clone(&ends));
        rig.writer.live.on_durable(Box::new(move || slot.lock().unwrap().extend(live.upgrade().map(|l| l.durable()))));
        let file = CursorFile::new(Arc::clone(&disk), Path::new(DIR), destination(), self.generation);
        let reader = rig.reader(rig.writer.live.oldest());
        let at_start = rig.writer.supply.bytes();
        self.open = Some(Open { rig, file, reader, at_start, ends });
        Ok(())
    }

    fn crash(&mut self, kind: Crash) {
        if let Some(open) = self.open.take() {
            let ends = open.ends.lock().unwrap();
            // A group says what was durable when it was cut: everything before it.
            let before = ends.len().checked_sub(2).map_or(Lsn::ZERO, |at| ends[at]);
            self.proven = self.proven.max(before);
        }
        self.seen.add("standstills", u64::from(self.disk.is_down()));
        self.seen.add("crashes", 1);
        self.disk.crash(kind);
    }

    fn append(&mut self, open: &mut Open, shapes: &[Shape]) -> Checked {
        let (mut bundles, mut expected) = (Vec::new(), Vec::new());
        for (sizes, outcomes) in shapes {
            let first = self.bodies.len() as u64;
            let received_ns = self.clock.wall_ns();
            self.bodies.extend(sizes.iter().map(|size| (*size as usize, received_ns)));
            let entries = sizes.iter().enumerate().map(|(at, size)| {
                let body = body(first + at as u64, *size as usize);
                Entry { received_ns, ..entry(body) }
            });
            let settled = vec![[first as u8; OUTCOME_BYTES]; usize::from(*outcomes)];
            let (bundle, answer) = bundle(entries.collect(), settled);
            if open.rig.writer.supply.admits(group::bundle_bytes(&bundle), bundle.asks()) {
                expected.push((first..self.bodies.len() as u64, answer));
                bundles.push(bundle);
            } else {
                self.seen.add("refused", 1);
            }
        }
        let segment = open.rig.writer.active.segment.header.id.0;
        open.rig.commit(bundles);
        let rotated = open.rig.writer.active.segment.header.id.0 - segment;
        self.seen.add("rotations", rotated);
        if rotated > 0 && !open.rig.writer.live.is_faulted() {
            self.proven = self.proven.max(open.rig.writer.active.segment.header.base.before());
        }
        let durable = open.rig.writer.live.durable();
        for (numbers, answer) in expected {
            match heard(&answer) {
                None => return Err((Wrong::Broken, "a bundle that never heard".into())),
                Some(Ok(first)) => {
                    ensure!(first <= durable, Wrong::Lost, "{first} was told and only {durable} is durable");
                    for (at, number) in numbers.enumerate() {
                        let old = self.kept.insert(Lsn(first.0 + at as u64), number);
                        // What a flip hides before its mark is taken for torn, by a log that begins late as well.
                        let hidden = old.is_some() && self.is_blind(Lsn(first.0 + at as u64));
                        ensure!(old.is_none() || hidden, Wrong::LsnTwice, "{first} and {at}");
                        self.seen.add("blind", u64::from(hidden));
                        self.seen.add("acknowledged", 1);
                    }
                }
                Some(Err(Fault::Full)) => self.seen.add("full", 1),
                Some(Err(_)) => ensure!(open.rig.writer.live.is_faulted(), Wrong::Broken, "refused without a fault"),
            }
        }
        Ok(())
    }

    fn idle(&mut self, open: &mut Open) {
        let writer = &mut open.rig.writer;
        let before = (writer.unmarked, writer.live.durable());
        writer.mark();
        let moved = !holds(Safeguard::IdleMark) || writer.live.durable() > before.1;
        if before.0 && moved && !writer.live.is_faulted() {
            self.proven = self.proven.max(before.1);
            open.ends.lock().unwrap().push(writer.live.durable());
            self.seen.add("marks", 1);
        }
    }

    /// Saves a floor, and releases below it when that is durable.
    fn save_floor(&mut self, open: &mut Open, part: u32) {
        let durable = open.rig.writer.live.durable();
        // What is no longer there was told missing, and is passed.
        let least = self.floor.max(open.rig.writer.live.oldest().before());
        let way = durable.0.saturating_sub(least.0) * u64::from(part) / 1000;
        let floor = Lsn(least.0 + way).min(durable);
        let mut cursor = Cursor::start(destination(), 1);
        (cursor.durable_seen, cursor.floors) = (durable, vec![floor]);
        let saved = open.file.save(&mut cursor).is_ok();
        if saved {
            (self.floor, self.best_floor) = (floor, self.best_floor.max(floor));
            self.saved_generation = cursor.generation;
            self.cursor_hit = false;
            self.proven = self.proven.max(durable);
            self.seen.add("floors", 1);
        }
        if saved || !holds(Safeguard::SaveBeforeRelease) {
            open.rig.writer.live.release(floor.next());
        }
    }

    fn read_some(&mut self, open: &mut Open, items: u8) -> Checked {
        let oldest = open.rig.writer.live.oldest();
        for _ in 0..items {
            match open.reader.next() {
                Ok(Some(Item::Record(record))) => {
                    let durable = open.rig.writer.live.durable();
                    ensure!(record.lsn <= durable, Wrong::Altered, "{} was read, {durable} is durable", record.lsn);
                    self.genuine(&record)?;
                }
                Ok(Some(Item::Damage(damage))) => {
                    let hit = (damage.first.0..=damage.last.0).all(|lsn| self.hit.contains(&Lsn(lsn)));
                    ensure!(hit || damage.last < oldest, Wrong::FalseDamage, "read {damage:?}");
                    ensure!(damage.from_ns <= damage.to_ns, Wrong::FalseDamage, "ends before it begins: {damage:?}");
                }
                Ok(None) => return Ok(()),
                Err(error) => ensure!(self.disk.is_down(), Wrong::Broken, "{error}"),
            }
        }
        Ok(())
    }

    /// The number of a record's body, which is as it was submitted; outcomes have none.
    fn genuine(&self, record: &Record) -> Checked<Option<u64>> {
        if record.kind == Kind::Outcomes {
            return Ok(None);
        }
        let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok()?.parse::<u64>().ok();
        let number = record.body.iter().position(|byte| *byte == b'-').and_then(|at| text(&record.body[..at]));
        let known = number.and_then(|number| Some((number, *self.bodies.get(usize::try_from(number).ok()?)?)));
        let same = known.filter(|(number, (length, _))| body(*number, *length) == record.body);
        let Some((number, (_, received_ns))) = same else {
            return Err((Wrong::Altered, format!("{} was invented", record.lsn)));
        };
        let facts = (record.flags, &record.meta[..], record.received_ns);
        ensure!(facts == (7, b"meta", received_ns), Wrong::Altered, "{} has other facts", record.lsn);
        if let Some(kept) = self.kept.get(&record.lsn) {
            ensure!(*kept == number, Wrong::Altered, "{} is {number} and was {kept}", record.lsn);
        }
        Ok(Some(number))
    }

    fn check(&mut self, rig: &Rig) -> Checked {
        self.check_floor(rig)?;
        let oldest = rig.writer.live.oldest();
        ensure!(oldest <= self.best_floor.max(self.floor).next(), Wrong::Lost, "records above the floor are gone");
        let cursor_hit = self.cursor_hit;
        let below = |damage: &Damage, floor: Lsn| cursor_hit && damage.last <= floor;
        let (mut expected, mut found, mut told) = (oldest, BTreeMap::new(), BTreeSet::new());
        let mut tell = |damage: &Damage| {
            let mut lsns = (damage.first.0..=damage.last.0).map(Lsn);
            let hit = lsns.clone().all(|lsn| self.hit.contains(&lsn));
            told.extend(lsns.by_ref().filter(|_| hit));
            ensure!(hit || below(damage, self.best_floor), Wrong::FalseDamage, "{damage:?}");
            ensure!(damage.from_ns <= damage.to_ns, Wrong::FalseDamage, "ends before it begins: {damage:?}");
            Ok(())
        };
        rig.report.damages.iter().try_for_each(&mut tell)?;
        let mut items = Vec::new();
        for item in rig.read_all(oldest) {
            match item {
                Item::Damage(damage) => tell(&damage)?,
                Item::Record(record) => items.push(record),
            }
        }
        for record in items {
            ensure!(record.lsn >= expected, Wrong::Altered, "{} after {expected}", record.lsn);
            expected = record.lsn.next();
            if let Some(number) = self.genuine(&record)? {
                found.insert(record.lsn, number);
            }
        }
        self.kept = self.kept.split_off(&oldest);
        // On a full disk what lies above D waits until there is room.
        let waits = if rig.writer.first.is_some() { rig.writer.live.durable() } else { Lsn(u64::MAX) };
        self.missing(&found, &told, waits)?;
        // What was read once is durable, acknowledged or not.
        found.append(&mut self.kept.split_off(&Lsn(waits.0.saturating_add(1))));
        self.kept = found;
        if rig.writer.first.is_none() {
            (self.flipped, self.blind) = (false, None);
            self.proven = self.proven.max(rig.report.last);
        }
        Ok(())
    }

    fn check_floor(&mut self, rig: &Rig) -> Checked {
        let loaded = cursor::load(rig.disk.as_ref(), Path::new(DIR), &destination());
        let loaded = loaded.map_err(|error| (Wrong::Broken, error.to_string()))?;
        let generation = loaded.cursor.as_ref().map_or(0, |cursor| cursor.generation);
        let back = loaded.warning.is_some() || generation < self.saved_generation;
        ensure!(!back || self.cursor_hit, Wrong::FloorBack, "generation {generation}, {:?}", loaded.warning);
        // A loaded slot may lie in the page cache only: only what this process saves counts as saved.
        self.floor = loaded.cursor.as_ref().and_then(Cursor::lowest_floor).unwrap_or(Lsn::ZERO);
        self.generation = generation;
        self.saved_generation = self.saved_generation.min(generation);
        Ok(())
    }

    /// What was acknowledged and is neither there nor told.
    fn missing(&mut self, found: &BTreeMap<Lsn, u64>, told: &BTreeSet<Lsn>, waits: Lsn) -> Checked {
        for (lsn, number) in self.kept.range(..=waits) {
            if found.get(lsn) == Some(number) {
                continue;
            }
            ensure!(!found.contains_key(lsn), Wrong::Altered, "{lsn} is another record");
            if told.contains(lsn) {
                self.seen.add("told", 1);
                continue;
            }
            ensure!(
                self.is_blind(*lsn),
                Wrong::Lost,
                "{lsn} (body {number}) is gone in silence; proven is {}",
                self.proven
            );
            self.seen.add("blind", 1);
        }
        Ok(())
    }

    /// The known blind spot: behind a hit in the last group, before something proves it.
    fn is_blind(&self, lsn: Lsn) -> bool {
        self.blind.is_some_and(|(first, last)| (first..=last).contains(&lsn))
    }

    fn flip(&mut self, which: u64) {
        if self.open.is_some() || self.flipped {
            return;
        }
        let Some(flip) = medium::choose(&self.disk, which) else { return };
        self.disk.flip(&flip.path, flip.byte, flip.bit).expect("it is there");
        self.flipped = true;
        self.seen.add("flips", 1);
        match flip.hits {
            medium::Hits::Nothing => {}
            medium::Hits::Cursor => self.cursor_hit = true,
            medium::Hits::Record(lsn) => {
                self.seen.add("records hit", 1);
                self.hit.insert(lsn);
                let last = self.kept.last_key_value().map_or(lsn, |(last, _)| *last);
                self.blind = Some((lsn, last)).filter(|_| lsn > self.proven);
            }
        }
    }
}

fn text_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic").to_owned()
}
