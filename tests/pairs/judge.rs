//! Two InfluxDB databases, to the cell: what differs must be told.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use twinline::cell::{Cell, Series, Value};
use twinline::line::{Dialect, Precision, lines};

use crate::run::{Budget, Event, Outcome};

pub(crate) type Place = (Arc<Series>, Arc<[u8]>, i64);

/// Places that are shown of what nobody told.
const SHOWN: usize = 12;

/// How much is equal, and why the rest is not.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    equal: u64,
    doubt: u64,
    dead: u64,
    told: u64,
}

fn by_place(cells: Vec<Cell>) -> HashMap<Place, Value> {
    cells.into_iter().map(|cell| ((cell.series, cell.field, cell.time_ns), cell.value)).collect()
}

/// The cells of the dead letters.
fn refused(outcome: &Outcome, dialect: Dialect) -> HashSet<Place> {
    let mut all = HashSet::new();
    for text in &outcome.letters {
        for line in lines(text, dialect, Precision::Nanosecond).flatten() {
            let tags = line.tags().iter().map(|tag| (tag.key().into_owned(), tag.value().into_owned())).collect();
            let series = Arc::new(Series::new(line.measurement().into_owned(), tags));
            let time_ns = line.timestamp_ns().expect("letters have times");
            all.extend(line.fields().iter().map(|field| (Arc::clone(&series), Arc::from(&*field.key()), time_ns)));
        }
    }
    all
}

/// What the writers did to a cell, for who looks for the reason.
fn history(outcome: &Outcome, (series, field, time_ns): &Place) -> String {
    let mut done = Vec::new();
    for (writer, own) in outcome.writers.iter().enumerate() {
        for (number, event) in own.events.iter().enumerate() {
            match event {
                Event::Wrote(lines) => {
                    let same = |line: &&crate::points::Line| line.series == *series && line.time_ns == Some(*time_ns);
                    for (_, value) in
                        lines.iter().filter(same).flat_map(|line| &line.fields).filter(|(key, _)| key == field)
                    {
                        done.push(format!("writer {writer} event {number}: {value}"));
                    }
                }
                Event::Deleted(reach) if reach.has(series, *time_ns) => {
                    done.push(format!("writer {writer} event {number}: deleted"));
                }
                Event::Deleted(_) => {}
            }
        }
    }
    done.join(", ")
}

/// Compares both sides. Every difference is in a dirty region, in a dead letter, or the work of a statement that was told.
pub(crate) fn judge(name: &str, (left, right): (Vec<Cell>, Vec<Cell>), dialect: Dialect, outcome: &Outcome) -> Counts {
    let (left, right) = (by_place(left), by_place(right));
    let letters = refused(outcome, dialect);
    let told: Vec<_> = outcome
        .writers
        .iter()
        .flat_map(|own| &own.changes)
        .filter(|change| {
            outcome.told.keys().any(|text| text.contains(change.text.trim()) || change.text.contains(text))
        })
        .collect();
    let (mut counts, mut found) = (Counts::default(), Vec::new());
    let places: HashSet<&Place> = left.keys().chain(right.keys()).collect();
    for place in places {
        let (a, b) = (left.get(place), right.get(place));
        if a == b {
            counts.equal += 1;
            continue;
        }
        let (series, field, time_ns) = place;
        if outcome.is_dirty(series.measurement(), *time_ns) {
            counts.doubt += 1;
        } else if letters.contains(place) {
            counts.dead += 1;
        } else if told.iter().any(|change| change.reach.has(series, *time_ns)) {
            counts.told += 1;
        } else {
            let text = format!("{series} {} @{time_ns}: source {a:?}, destination {b:?}", field.escape_ascii());
            found.push(format!("{text}; {}", history(outcome, place)));
        }
    }
    found.sort();
    for text in found.iter().take(SHOWN) {
        println!("{name}: NOT TOLD: {text}");
    }
    assert!(found.is_empty(), "{name}: {} cells differ, and nobody tells why: {counts:?}", found.len());
    counts
}

/// What was known to happen has happened, and no more.
pub(crate) fn expect(name: &str, outcome: &Outcome, budget: Budget, told: u64) {
    if !budget.kill_twinline {
        let own = |region: &&crate::run::Region| {
            region.measurement.is_empty()
                || [&b"own"[..], b"told", b"untimed"].iter().any(|begin| region.measurement.starts_with(begin))
        };
        let spread: Vec<_> = outcome.regions.iter().filter(own).collect();
        assert!(spread.is_empty(), "{name}: doubt where nobody met anybody: {spread:?}");
        assert_eq!(outcome.told.values().sum::<u64>(), told, "{name}: {:#?}", outcome.told);
    }
    assert_eq!(outcome.lines("gap") + outcome.lines("excluded"), 0, "{name}");
}

/// In one line, for who has run it.
pub(crate) fn report(name: &str, outcome: &Outcome, counts: &impl std::fmt::Debug) {
    let sum = |of: &dyn Fn(&crate::run::Own) -> u64| -> u64 { outcome.writers.iter().map(of).sum() };
    let requests = |event: &Event| matches!(event, Event::Wrote(_));
    println!(
        "{name}: {} lines accepted for sure and {} perhaps, in {} requests; {} requests refused; {} changes, {} told; \
         delivered {}, doubt {} in {} regions, dead letters {}; {} kills; {counts:?}; changes of cells {}",
        sum(&|own| own.accepted),
        sum(&|own| own.perhaps),
        sum(&|own| own.events.iter().filter(|event| requests(event)).count() as u64),
        sum(&|own| own.refused),
        sum(&|own| own.changes.len() as u64),
        outcome.told.values().sum::<u64>(),
        outcome.lines("delivered"),
        outcome.lines("doubt"),
        outcome.regions.len(),
        outcome.lines("dead_lettered"),
        outcome.kills,
        outcome.status["changes"],
    );
}
