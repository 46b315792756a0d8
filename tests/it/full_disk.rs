//! Runs on a file system of a few MiB that fills and gets room again, with kills and a destination that comes and goes, for each
//! policy: writers go on or hear 503, nothing that was acknowledged is lost, gaps are what was missed, and room ends it all.
//!
//! `TWINLINE_FULL_DISKS` says how many stories of each policy are told (2); `TWINLINE_SEED` repeats one.

use rustix::process::Signal;
use twinline::sandbox::{Faults, Options, Sandbox};

use crate::load::number;
use crate::proxy::{Setup, Twinline, eventually};

const LINES: u64 = 100;
/// What is done in one story, one after the other.
const STEPS: usize = 14;

struct Story {
    policy: &'static str,
    seed: u64,
    random: fastrand::Rng,
    source: Sandbox,
    destination: Sandbox,
    twinline: Twinline,
    /// Lines that were sent.
    sent: u64,
    /// Lines that were answered with 204.
    accepted: u64,
    refused: u64,
    full: bool,
}

impl Story {
    fn new(policy: &'static str, seed: u64) -> Self {
        let [source, destination] = [(), ()].map(|()| Sandbox::spawn_thread(Options::default()).unwrap());
        [&source, &destination].into_iter().for_each(|sandbox| sandbox.create_database("d"));
        let url = |sandbox: &Sandbox| format!("url = \"{}\"\nkind = \"influxdb1\"", sandbox.url());
        let mut setup = Setup::new(url(&source), url(&destination));
        let mut random = fastrand::Rng::with_seed(seed);
        setup.data_mib = Some(24);
        let (most, reserve) = (random.u64(6..40), random.u64(0..4));
        setup.queue = format!(
            "segment_size = \"1MiB\"\nmax_size = \"{most}MiB\"\nreserve_free = \"{reserve}MiB\"\non_unavailable = \"{policy}\""
        );
        let twinline = setup.start();
        let (sent, accepted, refused, full) = (0, 0, 0, false);
        Self { policy, seed, random, source, destination, twinline, sent, accepted, refused, full }
    }

    /// Sends one write; true when it was accepted.
    fn write(&mut self) -> bool {
        let body: String = (0..LINES).map(|n| format!("m,t={n:0300} v=1 {}\n", 1 + self.sent + n)).collect();
        self.sent += LINES;
        let answer = self.twinline.call("POST /write?db=d", &[], body);
        match answer.status {
            204 => self.accepted += LINES,
            503 => {
                assert_eq!(self.policy, "refuse", "seed {}: {}", self.seed, answer.text());
                assert!(answer.header("retry-after").is_some(), "seed {}: clients are to come again", self.seed);
                self.refused += LINES;
            }
            other => panic!("seed {}: {other}: {}", self.seed, answer.text()),
        }
        answer.status == 204
    }

    fn step(&mut self) {
        match self.random.u32(0..10) {
            0..4 => (0..self.random.u32(50..250)).for_each(|_| _ = self.write()),
            4 => {
                self.twinline.fill_disk();
                self.full = true;
            }
            5 if self.full => {
                self.twinline.free_disk();
                self.full = false;
            }
            6 => {
                self.twinline.stop(if self.random.bool() { Signal::KILL } else { Signal::TERM });
                self.twinline.start_again();
            }
            7 => self.destination.set_faults(Faults::default()),
            _ => self.destination.set_faults(Faults { refuse: true, ..Faults::default() }),
        }
    }

    /// Room and a destination: everything is accounted for, and the queue takes writes again.
    fn end(mut self) -> (u64, u64) {
        if self.full {
            self.twinline.free_disk();
        }
        self.destination.set_faults(Faults::default());
        // Without writes nobody finds out that there is room.
        for _ in 0..3 {
            self.twinline.settled(self.accepted);
            self.write();
        }
        let status = self.twinline.settled(self.accepted);
        let at = |state: &str| status["lines"][state].as_u64().unwrap();
        let cells = |sandbox: &Sandbox| sandbox.cells("d", "").len() as u64;
        assert_eq!(cells(&self.source), self.accepted, "seed {}: a refused write reached nobody", self.seed);
        assert_eq!(cells(&self.destination), at("delivered"), "seed {}: {status:#}", self.seed);
        if self.policy == "refuse" {
            assert_eq!(at("gap"), 0, "seed {}: {status:#}", self.seed);
        }
        let before = at("delivered");
        eventually("the queue takes writes again", || if self.write() { Ok(()) } else { Err("503".to_owned()) });
        let after = self.twinline.settled(self.accepted)["lines"]["delivered"].as_u64().unwrap();
        assert_eq!(after, before + LINES, "seed {}", self.seed);
        (at("gap"), self.refused)
    }
}

fn tell(policy: &'static str) {
    let stories = number("TWINLINE_FULL_DISKS", 2);
    let seeds = match number("TWINLINE_SEED", u64::MAX) {
        u64::MAX => 1..stories + 1,
        seed => seed..seed + 1,
    };
    let (mut gaps, mut refused) = (0, 0);
    for seed in seeds {
        let mut story = Story::new(policy, seed);
        // Each of them meets a full queue.
        story.destination.set_faults(Faults { refuse: true, ..Faults::default() });
        (0..400).for_each(|_| _ = story.write());
        story.twinline.fill_disk();
        story.full = true;
        (0..400).for_each(|_| _ = story.write());
        for _ in 0..STEPS {
            story.step();
        }
        let missed = story.end();
        (gaps, refused) = (gaps + missed.0, refused + missed.1);
    }
    let missed = if policy == "refuse" { refused } else { gaps };
    assert!(missed > 0, "the disk was never full");
}

#[test]
fn writers_go_on_on_a_disk_that_fills_and_gaps_are_what_was_missed() {
    tell("fail-open");
}

#[test]
fn writers_that_are_to_come_again_lose_nothing_on_a_disk_that_fills() {
    tell("refuse");
}

#[test]
fn ballast_is_taken_at_a_start_and_given_back_on_command() {
    let [source, destination] = [(), ()].map(|()| Sandbox::spawn_thread(Options::default()).unwrap());
    let url = |sandbox: &Sandbox| format!("url = \"{}\"\nkind = \"influxdb1\"", sandbox.url());
    let mut setup = Setup::new(url(&source), url(&destination));
    setup.queue = "reserve_free = \"0\"\nballast = \"1MiB\"".to_owned();
    let twinline = setup.start();
    let path = twinline.data().join("ballast.reserve");
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 1 << 20);
    let released = twinline.command(&["queue", "release-ballast"]);
    let said = String::from_utf8(released.stdout).unwrap();
    assert!(released.status.success() && said.contains("1 MiB given back"), "{said}");
    assert!(!path.exists());
    let again = twinline.command(&["queue", "release-ballast"]);
    let said = String::from_utf8(again.stderr).unwrap();
    assert!(
        again.status.code() == Some(3) && said.contains("there is no ballast") && said.contains("Next: "),
        "{said}"
    );
}

/// The log makes room by delivering alone. What must be noted for that finds its place.
#[test]
fn delivery_goes_on_on_a_full_disk_although_it_meets_damage_there() {
    let mut story = Story::new("fail-open", 7);
    story.destination.set_faults(Faults { refuse: true, ..Faults::default() });
    (0..120).for_each(|_| _ = story.write());
    crate::damage::damage_line(&story.twinline.data(), 20 * LINES + 50);
    story.twinline.stop(Signal::TERM);
    story.twinline.start_again();
    story.twinline.until("delivery has begun", |status| status["queue"]["counting"] == false);
    story.twinline.fill_disk();
    story.destination.set_faults(Faults::default());
    let status = story.twinline.settled(story.accepted);
    let drained = |status: &serde_json::Value| status["queue"]["used_percent"].as_f64() < Some(60.0);
    story.twinline.until("files of the log are used again", drained);
    assert_eq!(status["gaps"][0]["cause"], "log-damage", "{status:#}");
    assert_eq!(status["lines"]["gap"], LINES, "{status:#}");
}

/// Floors that cannot be saved give nothing back: what the first save of a process takes has its place, too.
#[test]
fn starts_on_a_full_disk_make_room_by_delivering() {
    let mut story = Story::new("fail-open", 7);
    story.destination.set_faults(Faults { refuse: true, ..Faults::default() });
    (0..120).for_each(|_| _ = story.write());
    story.twinline.fill_disk();
    for signal in [Signal::TERM, Signal::KILL] {
        story.twinline.stop(signal);
        story.twinline.start_again();
        story.twinline.until("delivery has begun", |status| status["lines"]["queued"].as_u64() > Some(0));
    }
    story.destination.set_faults(Faults::default());
    story.twinline.settled(story.accepted);
    story.twinline.until("the log takes writes again", |status| status["queue"]["full"] == false);
}
