//! VictoriaMetrics: it holds every value that was ever written, as a float by the millisecond, and nothing that it cannot hold.
//! What is predicted comes from the writers' records alone.

use std::collections::BTreeMap;

use twinline::cell::{Cell, Series, Value};

use crate::oracle::{Beyond, check_source};
use crate::points::Line;
use crate::run::{Event, Outcome};
use crate::victoria_server::Samples;

/// It keeps whole numbers of one power of ten for all values of a series: 12 digits at least of the largest of them.
const SHARE_LOST: f64 = 1e-12;
/// Its first day, and the days after today, that it takes.
const DAY_MS: i64 = 86_400_000;

#[derive(Debug, Default)]
struct Predicted {
    /// By labels, then milliseconds: all values; without a time under `None`.
    series: BTreeMap<String, BTreeMap<Option<i64>, Vec<f64>>>,
    changes: BTreeMap<String, u64>,
}

impl Predicted {
    fn count(&mut self, code: &str, cells: u64) {
        if cells > 0 {
            *self.changes.entry(code.to_owned()).or_default() += cells;
        }
    }

    fn line(&mut self, db: &str, line: &Line, now_ms: i64) {
        let ms = line.time_ns.map(|ns| ns.div_euclid(1_000_000));
        if ms.is_some_and(|ms| !(DAY_MS..now_ms + 2 * DAY_MS).contains(&ms)) {
            self.count("time-left-out", line.fields.len() as u64);
            return;
        }
        let mut cells = 0;
        for (field, value) in &line.fields {
            let number = match value {
                Value::String(_) => {
                    self.count("text-left-out", 1);
                    continue;
                }
                Value::Boolean(flag) => {
                    self.count("boolean-as-number", 1);
                    f64::from(u8::from(*flag))
                }
                Value::Integer(number) => {
                    self.count("digits", u64::from(number.unsigned_abs() > 1 << 53));
                    *number as f64
                }
                Value::Unsigned(number) => {
                    self.count("digits", u64::from(*number > 1 << 53));
                    *number as f64
                }
                Value::Float(number) => {
                    let digits = format!("{number:e}");
                    let digits = digits.split('e').next().unwrap().bytes().filter(u8::is_ascii_digit).count();
                    let is_exact = number.to_bits() == 0 || digits <= 15 && number.is_normal();
                    self.count("digits", u64::from(!is_exact));
                    *number
                }
            };
            cells += 1;
            let labels = labels(db, &line.series, field);
            self.series.entry(labels).or_default().entry(ms).or_default().push(number);
        }
        self.count("milliseconds", if line.time_ns.is_some_and(|ns| ns % 1_000_000 != 0) { cells } else { 0 });
    }
}

fn labels(db: &str, series: &Series, field: &[u8]) -> String {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let name = format!("{}_{}", text(series.measurement()), text(field));
    let tags = series.tags().iter().map(|(key, value)| (text(key), text(value)));
    let labels: BTreeMap<String, String> =
        tags.chain([("__name__".to_owned(), name), ("db".to_owned(), db.to_owned())]).collect();
    format!("{labels:?}")
}

/// What was found to be so.
#[derive(Debug)]
#[allow(dead_code, reason = "printed")]
pub(crate) struct Counts {
    samples: u64,
    /// In dirty regions, so that they need not be there.
    doubt: u64,
    beyond: Beyond,
}

/// Compares what is there with what was written; `source`: what the source holds in the end.
pub(crate) fn judge(name: &str, source: &[Cell], samples: &Samples, outcome: &Outcome) -> Counts {
    let beyond = check_source(name, &outcome.writers, source);
    let now_ms = outcome.at_ns / 1_000_000;
    let (mut predicted, mut perhaps) = (Predicted::default(), Predicted::default());
    let mut doubt = 0;
    for event in outcome.writers.iter().flat_map(|own| &own.events) {
        let Event::Wrote(lines) = event else { continue };
        for line in lines {
            let is_dirty = line.time_ns.is_some_and(|ns| outcome.is_dirty(line.series.measurement(), ns));
            doubt += u64::from(is_dirty);
            let into = if is_dirty { &mut perhaps } else { &mut predicted };
            into.line(name, line, now_ms);
        }
    }
    assert!(!outcome.is_exact || perhaps.changes.is_empty(), "{name}: {:?}", perhaps.changes);
    let mut found = missing(&predicted, samples);
    found.extend(unexpected(&predicted, &perhaps, samples));
    for text in found.iter().take(12) {
        println!("{name}: {text}");
    }
    assert!(found.is_empty(), "{name}: {} differences", found.len());
    if outcome.is_exact {
        assert_eq!(
            outcome.changes(),
            predicted.changes,
            "{name}: what it cannot hold, left as counted, right as predicted"
        );
    }
    Counts { samples: samples.values().map(|all| all.len() as u64).sum(), doubt, beyond }
}

fn largest(values: impl Iterator<Item = f64>) -> f64 {
    values.map(f64::abs).fold(0.0, f64::max)
}

fn near(a: f64, b: f64, largest: f64) -> bool {
    a == b || (a - b).abs() <= (SHARE_LOST * largest).max(1e-290)
}

fn missing(predicted: &Predicted, samples: &Samples) -> Vec<String> {
    let mut found = Vec::new();
    let nothing = Vec::new();
    for (labels, times) in &predicted.series {
        let there = samples.get(labels).unwrap_or(&nothing);
        // What is in dirty regions takes digits as well.
        let largest = largest(times.values().flatten().copied().chain(there.iter().map(|(_, value)| *value)));
        for (ms, values) in times {
            let at = |(time, _): &&(i64, f64)| ms.is_none_or(|ms| ms == *time);
            if ms.is_none() && there.len() != values.len() {
                found.push(format!("{labels}: {} samples of lines without a time, not {}", there.len(), values.len()));
            }
            for value in values {
                if !there.iter().filter(at).any(|(_, other)| near(*value, *other, largest)) {
                    found.push(format!("{labels} @{ms:?}: {value} was written and is not there"));
                }
            }
        }
    }
    found
}

fn unexpected(predicted: &Predicted, perhaps: &Predicted, samples: &Samples) -> Vec<String> {
    let mut found = Vec::new();
    for (labels, there) in samples {
        let all = [&predicted.series, &perhaps.series].map(|series| series.get(labels));
        let values = |time: Option<i64>| all.iter().flatten().filter_map(move |times| times.get(&time)).flatten();
        let largest = largest(all.iter().flatten().flat_map(|times| times.values().flatten().copied()));
        for (time, value) in there {
            let mut known = values(Some(*time)).chain(values(None));
            if !known.any(|other| near(*value, *other, largest)) {
                found.push(format!("{labels} @{time}: {value} is there and nobody wrote it"));
            }
        }
    }
    found
}
