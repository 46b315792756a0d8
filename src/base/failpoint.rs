//! Named moments at which a test ends the process or one of its tasks, or holds it up.
//!
//! Promise: without `TWINLINE_FAILPOINTS` in the environment a point costs one load and does nothing. With it, whatever
//! follows the named point has not happened: the process ends as by kill -9, without destructors.
//!
//! `TWINLINE_FAILPOINTS="outcome-durable=abort; answered=sleep(200); delivered=abort@3"`: `@3` is the third time.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The moments, in the order of a write's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// A write was read; nothing of it is in the log.
    Parsed,
    /// Its intent is durable; the source was not asked.
    IntentDurable,
    /// The source has answered; nobody knows.
    Answered,
    /// The outcome is durable; the client was not told.
    OutcomeDurable,
    /// The gap of a write is durable; it goes on.
    GapDurable,
    /// The regions of lines in doubt are durable; the floor has not moved.
    DoubtDurable,
    /// The destination has acknowledged a batch; no floor has moved.
    Delivered,
    /// Dead letters are durable; no floor has moved.
    DeadLetterDurable,
    /// The gap of damaged records is durable; no floor has moved.
    DamageGapDurable,
    /// The gap of a route's backlog is durable; no floor has moved.
    BacklogGapDurable,
    /// Floors are durable; no segment was given back.
    FloorDurable,
    /// A bundle leaves for the log.
    BundleLeaves,
    /// Results of bundles come back to the edge, which has not stood still for them.
    ResultsBack,
    /// Gaps go from the gap logs into the state store.
    GapsTaken,
    /// The destination has taken what replaces a dead letter; the letter is there.
    LetterReplaced,
}

const NAMES: [(&str, Point); 15] = [
    ("parsed", Point::Parsed),
    ("intent-durable", Point::IntentDurable),
    ("answered", Point::Answered),
    ("outcome-durable", Point::OutcomeDurable),
    ("gap-durable", Point::GapDurable),
    ("doubt-durable", Point::DoubtDurable),
    ("delivered", Point::Delivered),
    ("dead-letter-durable", Point::DeadLetterDurable),
    ("damage-gap-durable", Point::DamageGapDurable),
    ("backlog-gap-durable", Point::BacklogGapDurable),
    ("floor-durable", Point::FloorDurable),
    ("bundle-leaves", Point::BundleLeaves),
    ("results-back", Point::ResultsBack),
    ("gaps-taken", Point::GapsTaken),
    ("letter-replaced", Point::LetterReplaced),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Abort,
    Panic,
    Sleep(Duration),
}

#[derive(Debug)]
struct Trap {
    point: Point,
    action: Action,
    /// At which time; 0: each.
    nth: u64,
    hits: AtomicU64,
}

static TRAPS: OnceLock<Vec<Trap>> = OnceLock::new();

/// The process has come to this point.
#[inline]
pub fn hit(point: Point) {
    let traps = TRAPS.get_or_init(from_environment);
    if !traps.is_empty() {
        spring(traps, point);
    }
}

#[cold]
fn spring(traps: &[Trap], point: Point) {
    for trap in traps.iter().filter(|trap| trap.point == point) {
        let hits = trap.hits.fetch_add(1, Ordering::SeqCst) + 1;
        if trap.nth != 0 && trap.nth != hits {
            continue;
        }
        match trap.action {
            Action::Abort => std::process::abort(),
            Action::Panic => panic!("TWINLINE_FAILPOINTS asks for a panic"),
            #[expect(clippy::disallowed_methods, reason = "to hold up the thread is what was asked for")]
            Action::Sleep(time) => std::thread::sleep(time),
        }
    }
}

fn from_environment() -> Vec<Trap> {
    let Ok(text) = std::env::var("TWINLINE_FAILPOINTS") else { return Vec::new() };
    tracing::warn!(event = "failpoints", "TWINLINE_FAILPOINTS is set: this process ends or stands still on purpose");
    let parts = text.split(';').map(str::trim).filter(|part| !part.is_empty());
    let traps = parts.filter_map(|part| {
        let trap = parse(part);
        if trap.is_none() {
            tracing::error!(event = "failpoints", part, "TWINLINE_FAILPOINTS: this names no point or no action");
        }
        trap
    });
    traps.collect()
}

fn parse(text: &str) -> Option<Trap> {
    let (name, what) = text.split_once('=')?;
    let (action, nth) = match what.split_once('@') {
        Some((action, nth)) => (action, nth.trim().parse().ok()?),
        None => (what, 0),
    };
    let (_, point) = NAMES.iter().find(|(known, _)| *known == name.trim())?;
    let action = match action.trim() {
        "abort" => Action::Abort,
        "panic" => Action::Panic,
        other => {
            let time_ms = other.strip_prefix("sleep(")?.strip_suffix(')')?.parse().ok()?;
            Action::Sleep(Duration::from_millis(time_ms))
        }
    };
    Some(Trap { point: *point, action, nth, hits: AtomicU64::new(0) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_and_actions_are_read_and_nonsense_is_none() {
        let trap = parse("delivered=abort@3").unwrap();
        assert_eq!((trap.point, trap.action, trap.nth), (Point::Delivered, Action::Abort, 3));
        assert_eq!(parse("delivered=panic").unwrap().action, Action::Panic);
        let trap = parse("answered = sleep(20)").unwrap();
        assert_eq!((trap.point, trap.action, trap.nth), (Point::Answered, Action::Sleep(Duration::from_millis(20)), 0));
        for wrong in ["", "answered", "nowhere=abort", "answered=explode", "answered=sleep(x)", "answered=abort@x"] {
            assert!(parse(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn without_a_trap_nothing_happens() {
        spring(&[], Point::Parsed);
        hit(Point::Parsed);
    }
}
