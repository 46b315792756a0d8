//! Histories: what is done to a log, step by step, as data. A seed gives one history; a history that fails is printed, and
//! can be made shorter.

use std::fmt;

use crate::base::disk::simulated::Crash;

pub(super) const SEGMENT_BYTES: u64 = 32 << 10;

/// What is committed together: of each bundle the sizes of its bodies, and how many outcomes.
pub(super) type Shape = (Vec<u32>, u8);

/// One step. Those that need an open log do nothing where there is none, so that any part of a history is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Opens the log; the machine stands still after so many calls of recovery.
    Start(Option<u64>),
    /// Hands bundles over and commits them.
    Append(Vec<Shape>),
    /// Appends one record that the active segment has no room for.
    Rotate,
    /// Nothing came for 20 ms.
    Idle,
    /// Saves a floor, that many thousandths of the way up, and releases what lies below.
    SaveFloor(u32),
    /// The supply looks for released segments.
    Tend,
    /// A reader reads so many items.
    Read(u8),
    /// Share of syncs that fail from now on, in thousandths.
    FailSyncs(u32),
    /// Share of other changing calls that fail from now on, in thousandths.
    FailCalls(u32),
    /// Share of calls that are interrupted or cut short, in thousandths.
    Interrupt(u32),
    /// So many bytes of the disk are free; `None`: no end of them.
    Free(Option<u64>),
    /// The machine stands still after so many further calls.
    StopAfter(u64),
    /// Clean pages go.
    Evict,
    /// Somebody sets the clock on the wall, by so many seconds.
    SetClock(i64),
    /// A bit of a file flips (only while no log is open); the number says which one.
    Flip(u64),
    /// The log is closed and sealed; the process ends.
    Close,
    /// The process or the machine ends.
    Crash(Crash),
}

/// A history.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct History {
    /// The accidents of the disk follow from it.
    pub(super) seed: u64,
    pub(super) segments: u64,
    pub(super) group_bytes: usize,
    pub(super) steps: Vec<Step>,
}

impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, segments, group_bytes, steps } = self;
        writeln!(f, "seed {seed}, {segments} segments, groups of {group_bytes} bytes:")?;
        steps.iter().enumerate().try_for_each(|(at, step)| writeln!(f, "  {at:3} {step:?}"))
    }
}

/// What a history is told for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flavour {
    /// Crashes and failing calls: nothing may be lost, nothing may be called damaged.
    Crashes,
    /// The same on a disk that is full at many starts, after others that did not come to their end.
    FullStarts,
    /// Bits flip, too: a flip may cost its record, which is told.
    Flips,
}

/// Before one step in so many the clock on the wall is set.
const CLOCK_STEPS: usize = 8;

/// Seconds, hours, days and decades, in both directions.
fn clock_step(random: &mut fastrand::Rng) -> Step {
    let most = [5, 6 * 3600, 10 * 86_400, 50 * 365 * 86_400][random.usize(0..4)];
    Step::SetClock(random.i64(-most..=most))
}

struct Random(fastrand::Rng);

impl Random {
    fn one_in(&mut self, many: u32) -> bool {
        self.0.u32(0..many) == 0
    }

    fn body(&mut self) -> u32 {
        match self.0.u32(0..100) {
            0 => self.0.u32(20_000..120_000),
            1..10 => self.0.u32(4000..12_000),
            _ => self.0.u32(0..900),
        }
    }

    fn shapes(&mut self) -> Vec<Shape> {
        let bundles = self.0.usize(1..5);
        let mut shape = || {
            let bodies: Vec<u32> = (0..self.0.usize(0..4)).map(|_| self.body()).collect();
            let outcomes = self.0.u8(u8::from(bodies.is_empty())..4);
            (bodies, outcomes)
        };
        (0..bundles).map(|_| shape()).collect()
    }

    fn step(&mut self) -> Step {
        match self.0.u32(0..100) {
            0..45 => Step::Append(self.shapes()),
            45..50 => Step::Rotate,
            50..60 => Step::Idle,
            60..70 => Step::SaveFloor(self.0.u32(0..=1000)),
            70..79 => Step::Tend,
            79..91 => Step::Read(self.0.u8(0..30)),
            91..94 => Step::FailSyncs(self.0.u32(0..2) * 100),
            94 => Step::FailCalls(self.0.u32(0..2) * 50),
            95 | 96 => Step::Interrupt(self.0.u32(0..2) * 300),
            97 => Step::Free(self.0.bool().then(|| self.0.u64(0..3 * SEGMENT_BYTES))),
            _ => Step::Evict,
        }
    }

    /// A group that was not synced, a start that copies it and does not come to its end, then one on a full disk.
    fn full_start(&mut self, steps: &mut Vec<Step>) {
        let torn = vec![(vec![self.0.u32(0..900); 2], 0)];
        steps.extend([Step::Start(None), Step::FailSyncs(1000), Step::Append(torn)]);
        steps.extend([Step::Crash(Crash::Process), Step::FailSyncs(0), Step::Free(None)]);
        let free = self.0.u64(9000..SEGMENT_BYTES);
        steps.extend([Step::Start(Some(self.0.u64(0..14))), Step::Crash(Crash::Process), Step::Free(Some(free))]);
        steps.extend([Step::Start(None), Step::SaveFloor(self.0.u32(0..=1000))]);
        let most = self.0.usize(0..4);
        steps.extend((0..most).map(|_| self.step()));
        steps.push(Step::Crash(if self.0.bool() { Crash::Power } else { Crash::Process }));
        if self.0.bool() {
            steps.extend([Step::FailSyncs(0), Step::FailCalls(0), Step::Free(None)]);
        }
    }

    /// One life of a process, and its end.
    fn life(&mut self, flavour: Flavour, steps: &mut Vec<Step>) {
        let narrow = flavour == Flavour::FullStarts;
        if narrow && self.0.bool() {
            self.full_start(steps);
            return;
        }
        steps.push(Step::Start(self.one_in(4).then(|| self.0.u64(0..30))));
        if self.one_in(3) {
            steps.push(Step::StopAfter(self.0.u64(0..120)));
        }
        let most = self.0.usize(0..if narrow { 6 } else { 40 });
        steps.extend((0..most).map(|_| self.step()));
        if self.one_in(5) {
            steps.push(Step::Close);
        } else {
            steps.push(Step::Crash(if self.0.bool() { Crash::Power } else { Crash::Process }));
        }
        if flavour == Flavour::Flips && self.0.bool() {
            steps.push(Step::Flip(self.0.u64(..)));
        }
        // What was wrong with the disk may stay so.
        if self.0.bool() {
            steps.extend([Step::FailSyncs(0), Step::FailCalls(0), Step::Free(None)]);
        }
    }
}

impl History {
    pub(super) fn new(seed: u64, flavour: Flavour) -> Self {
        let mut random = Random(fastrand::Rng::with_seed(seed ^ 0x5eed));
        let segments = random.0.u64(3..20);
        let group_bytes = [1, 2000, 1 << 20][random.0.usize(0..3)];
        let mut steps = Vec::new();
        for _ in 0..random.0.usize(2..9) {
            random.life(flavour, &mut steps);
        }
        Self { seed, segments, group_bytes, steps: with_clock_steps(seed, steps) }
    }
}

/// Drawn apart: a seed that failed once gives the same history but for the clock, which nothing may depend on.
fn with_clock_steps(seed: u64, steps: Vec<Step>) -> Vec<Step> {
    let mut random = fastrand::Rng::with_seed(seed ^ 0xc10c);
    let mut with = Vec::with_capacity(steps.len() * 2);
    for step in steps {
        if random.usize(0..CLOCK_STEPS) == 0 {
            with.push(clock_step(&mut random));
        }
        with.push(step);
    }
    with
}
