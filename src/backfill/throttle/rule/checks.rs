//! The checks of what is seen around a copy.

use std::time::Duration;

use super::{Check, No};
use crate::base::size::{ByteSize, show_span};
use crate::config::Backfill;

/// A check that has said no says yes again at this part of its limit.
const RESUME_PART: f64 = 0.7;
/// … and one of room that is left at this much of it.
const RESUME_ROOM: f64 = 1.1;
/// Of fewer attempts nobody says that they fail.
const ATTEMPTS_MIN: u64 = 5;

/// Attempts to deliver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attempts {
    /// Those that failed.
    pub failed: u64,
    /// All.
    pub all: u64,
}

/// Whether the flag file is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Flag {
    /// It is not, or none is named.
    #[default]
    Down,
    /// It is.
    Up,
    /// Nobody knows, for this reason.
    Unknown(String),
}

/// What was heard by HTTP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Hook {
    /// 200, or nobody is to be asked.
    #[default]
    Go,
    /// Anything else: the words.
    Stop(String),
}

/// What is seen. `None`: there is no such figure here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// For how long the oldest line of a client waits.
    pub delivery_lag: Option<Duration>,
    /// 95 of 100 writes of clients took at most this at the source.
    pub source_p95: Option<Duration>,
    /// 95 of 100 deliveries took at most this.
    pub destination_p95: Option<Duration>,
    /// Deliveries of late.
    pub attempts: Option<Attempts>,
    /// Clients' lines that are held back.
    pub parked_bytes: Option<u64>,
    /// Room of `data_dir`.
    pub disk_free_bytes: Option<u64>,
    /// The flag file.
    pub flag: Flag,
    /// Whoever is asked.
    pub hook: Hook,
    /// The minute of the week in the zone of the schedule.
    pub minute: u32,
}

/// Which checks say no, and keep to it until it is clearly better.
#[derive(Clone, Debug, Default)]
pub struct Checks {
    lag: bool,
    source: bool,
    destination: bool,
    errors: bool,
    parked: bool,
    disk: bool,
}

/// Whether a figure is too high. `stopped`: it was before. No limit: 0.
fn above(stopped: &mut bool, value: Option<f64>, max: f64) -> bool {
    let bound = if *stopped { max * RESUME_PART } else { max };
    *stopped = max > 0.0 && value.is_some_and(|value| value > bound);
    *stopped
}

impl Checks {
    /// The first check that says no.
    pub fn ask(&mut self, seen: &Seen, limits: &Backfill) -> Option<No> {
        let no = |check, why| No { check, why, again: None };
        let measured = self.measured(seen, limits);
        if limits.paused {
            return Some(no(
                Check::Manual,
                "an operator has paused it: twinline backfill limit paused=false".to_owned(),
            ));
        }
        match &seen.flag {
            Flag::Down => {}
            Flag::Up => return Some(no(Check::FlagFile, format!("{} is there", limits.flag_file.0))),
            Flag::Unknown(why) => {
                let why = format!("whether {} is there is not known: {why}", limits.flag_file.0);
                return Some(no(Check::FlagFile, why));
            }
        }
        if !limits.schedule.is_open(seen.minute) {
            let opens = limits.schedule.opens(seen.minute).unwrap_or_default();
            let why = format!("\"{}\" is closed until {opens} {}", limits.schedule, limits.schedule_zone);
            return Some(no(Check::Schedule, why));
        }
        if let Hook::Stop(why) = &seen.hook {
            return Some(no(Check::HttpHook, why.clone()));
        }
        measured
    }

    /// Every one is asked, whatever the others say: each remembers what it said.
    fn measured(&mut self, seen: &Seen, limits: &Backfill) -> Option<No> {
        let spans = |value: Option<Duration>, max: Duration| (value.map(|span| span.as_secs_f64()), max.as_secs_f64());
        let of = |value: Option<Duration>, max: Duration| {
            format!("{} of {}", show_span(value.unwrap_or_default()), show_span(max))
        };
        let mut found = Vec::new();
        let room = limits.disk_free_min.0 as f64 * if self.disk { RESUME_ROOM } else { 1.0 };
        self.disk = seen.disk_free_bytes.is_some_and(|free| (free as f64) < room);
        if self.disk {
            let free = ByteSize(seen.disk_free_bytes.unwrap_or_default());
            found.push((Check::Disk, disk_text(free, limits.disk_free_min)));
        }
        let (value, max) = spans(seen.delivery_lag, limits.delivery_lag_max);
        if above(&mut self.lag, value, max) {
            let of = of(seen.delivery_lag, limits.delivery_lag_max);
            found.push((Check::DeliveryLag, format!("a client's line waits for {of}")));
        }
        let parked = seen.parked_bytes.map(|bytes| bytes as f64);
        if above(&mut self.parked, parked, limits.parked_bytes_max.0 as f64) {
            let bytes = ByteSize(seen.parked_bytes.unwrap_or_default());
            found.push((Check::ParkedBytes, format!("{bytes} of {} are held back", limits.parked_bytes_max)));
        }
        let attempts = seen.attempts.filter(|attempts| attempts.all >= ATTEMPTS_MIN);
        let percent = attempts.map(|attempts| 100.0 * attempts.failed as f64 / attempts.all as f64);
        if above(&mut self.errors, percent, limits.destination_errors_max as f64) {
            let Attempts { failed, all } = attempts.unwrap_or_default();
            let why = format!("{failed} of {all} deliveries failed, {} % at most", limits.destination_errors_max);
            found.push((Check::DestinationErrors, why));
        }
        let (value, max) = spans(seen.destination_p95, limits.destination_latency_max);
        if above(&mut self.destination, value, max) {
            let of = of(seen.destination_p95, limits.destination_latency_max);
            found.push((Check::DestinationLatency, format!("5 % of deliveries take {of} and more")));
        }
        let (value, max) = spans(seen.source_p95, limits.source_latency_max);
        if above(&mut self.source, value, max) {
            let of = of(seen.source_p95, limits.source_latency_max);
            found.push((Check::SourceLatency, format!("5 % of clients' writes take {of} and more")));
        }
        found.into_iter().next().map(|(check, why)| No { check, why, again: None })
    }
}

/// Why the disk says that copies wait, and what helps.
#[must_use]
pub fn disk_text(free: ByteSize, min: ByteSize) -> String {
    format!(
        "data_dir has {free} left of {min} at least: free space there, or lower it: twinline backfill limit disk_free_min=SIZE (0: never)"
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ms(ms: u64) -> Option<Duration> {
        Some(Duration::from_millis(ms))
    }

    fn said(checks: &mut Checks, seen: &Seen, limits: &Backfill) -> Option<&'static str> {
        checks.ask(seen, limits).map(|no| no.check.name())
    }

    /// Of each check: a figure that stops, one between, and one that lets it go on.
    fn measured() -> Vec<(&'static str, [Seen; 3])> {
        let seen = |change: fn(&mut Seen, u64)| {
            move |figures: [u64; 3]| {
                figures.map(|figure| {
                    let mut seen = Seen::default();
                    change(&mut seen, figure);
                    seen
                })
            }
        };
        let attempts = |seen: &mut Seen, failed| seen.attempts = Some(Attempts { failed, all: 100 });
        vec![
            ("delivery-lag", seen(|seen, it| seen.delivery_lag = ms(it))([10_001, 7_001, 7_000])),
            ("source-latency", seen(|seen, it| seen.source_p95 = ms(it))([1_001, 701, 700])),
            ("destination-latency", seen(|seen, it| seen.destination_p95 = ms(it))([2_001, 1_401, 1_400])),
            ("destination-errors", seen(attempts)([11, 8, 7])),
            ("parked-bytes", seen(|seen, it| seen.parked_bytes = Some(it << 20))([9, 6, 5])),
            ("disk", seen(|seen, it| seen.disk_free_bytes = Some(it << 20))([1_023, 1_030, 1_127])),
        ]
    }

    #[test]
    fn each_stops_says_its_figures_and_goes_on_only_when_it_is_clearly_better() {
        for (name, [stops, between, goes]) in measured() {
            let (limits, mut checks) = (Backfill::default(), Checks::default());
            assert_eq!(said(&mut checks, &between, &limits), None, "{name}: it was well before");
            assert_eq!(said(&mut checks, &stops, &limits), Some(name));
            assert_eq!(said(&mut checks, &between, &limits), Some(name), "it keeps to it");
            let no = checks.ask(&between, &limits).unwrap();
            assert!(no.why.chars().any(|c| c.is_ascii_digit()), "{no}");
            assert_eq!(said(&mut checks, &goes, &limits), None, "{name}");
            assert_eq!(said(&mut checks, &between, &limits), None, "{name}");
            let mut none = Backfill::default();
            let keys = ["delivery_lag_max", "source_latency_max", "destination_latency_max"];
            keys.iter().for_each(|key| none.set(key, "0").unwrap());
            ["destination_errors_max", "parked_bytes_max", "disk_free_min"]
                .iter()
                .for_each(|key| none.set(key, "0").unwrap());
            assert_eq!(said(&mut Checks::default(), &stops, &none), None, "{name}: no limit, no check");
        }
        assert_eq!(said(&mut Checks::default(), &Seen::default(), &Backfill::default()), None, "no figure, no check");
        let few = Seen { attempts: Some(Attempts { failed: 4, all: 4 }), ..Seen::default() };
        assert_eq!(said(&mut Checks::default(), &few, &Backfill::default()), None, "too few to say");
    }

    #[test]
    fn a_wait_for_disk_names_what_helps() {
        let seen = Seen { disk_free_bytes: Some(5 << 20), ..Seen::default() };
        let no = Checks::default().ask(&seen, &Backfill::default()).unwrap();
        assert!(no.why.contains("5 MiB left") || no.why.contains("5MiB left"), "{no}");
        assert!(no.why.contains("free space") && no.why.contains("twinline backfill limit disk_free_min="), "{no}");
    }

    #[test]
    fn what_people_say_comes_first_and_holds_at_once() {
        let (mut limits, mut checks) = (Backfill::default(), Checks::default());
        limits.set("flag_file", "/run/wait").unwrap();
        limits.set("schedule", "Mon 20:00-21:00").unwrap();
        let mut seen = Seen { delivery_lag: ms(60_000), hook: Hook::Stop("no".to_owned()), ..Seen::default() };
        (seen.flag, seen.minute) = (Flag::Up, 5);
        limits.paused = true;
        assert_eq!(said(&mut checks, &seen, &limits), Some("manual"));
        limits.paused = false;
        assert_eq!(checks.ask(&seen, &limits).unwrap().to_string(), "flag-file: /run/wait is there");
        seen.flag = Flag::Unknown("no right".to_owned());
        assert!(checks.ask(&seen, &limits).unwrap().why.contains("no right"));
        seen.flag = Flag::Down;
        let no = checks.ask(&seen, &limits).unwrap().to_string();
        assert_eq!(no, "schedule: \"Mon 20:00-21:00\" is closed until Mon 20:00 UTC");
        seen.minute = 20 * 60 + 59;
        assert_eq!(said(&mut checks, &seen, &limits), Some("http-hook"));
        seen.hook = Hook::Go;
        assert_eq!(said(&mut checks, &seen, &limits), Some("delivery-lag"), "it was asked all the time");
    }

    proptest! {
        /// All must say yes: it goes on exactly when no check alone would stop it.
        #[test]
        fn it_goes_on_only_when_each_says_yes(which in 0_u32..64, second in 0_u32..64) {
            let mut checks = Checks::default();
            let mut alone: Vec<Checks> = vec![Checks::default(); 6];
            for which in [which, second] {
                let mut seen = Seen::default();
                let mut expected = None;
                // In the order in which they are asked.
                for name in ["disk", "delivery-lag", "parked-bytes", "destination-errors", "destination-latency", "source-latency"] {
                    let all = measured();
                    let at = all.iter().position(|(other, _)| *other == name).unwrap();
                    let one = &all[at].1[if which >> at & 1 == 1 { 0 } else { 2 }];
                    if alone[at].ask(one, &Backfill::default()).is_some() && expected.is_none() {
                        expected = Some(name);
                    }
                    seen.delivery_lag = seen.delivery_lag.or(one.delivery_lag);
                    seen.source_p95 = seen.source_p95.or(one.source_p95);
                    seen.destination_p95 = seen.destination_p95.or(one.destination_p95);
                    seen.attempts = seen.attempts.or(one.attempts);
                    seen.parked_bytes = seen.parked_bytes.or(one.parked_bytes);
                    seen.disk_free_bytes = seen.disk_free_bytes.or(one.disk_free_bytes);
                }
                prop_assert_eq!(said(&mut checks, &seen, &Backfill::default()), expected);
            }
        }
    }
}
