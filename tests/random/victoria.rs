//! VictoriaMetrics: what it refuses, line by line, and what it exports.

use std::collections::BTreeMap;

use serde_json::Value as Json;
use twinline::line::record::{Datum, Outcome, Point, Record};
use twinline::line::{Precision, Value, victoria};

use super::exceptions::{self, Exception, Seen};
use super::http::escape;
use super::process::{Process, Product};
use super::shrink::{SHRUNK_MAX, shrink};
use super::stored::{Now, Request, Stored, differences, series};

/// Counts of a run, for its report.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) lines: usize,
    pub(crate) accepted: usize,
    pub(crate) refused: usize,
    /// Values that it takes and does not keep.
    pub(crate) dropped: usize,
}

#[derive(Debug)]
pub(crate) struct Victoria {
    now: Now,
    pub(crate) counts: Counts,
}

/// The server's limits; a series beyond them is dropped.
const LABELS_MAX: usize = 40;
const LABEL_NAME_MAX: usize = 256;
const LABEL_VALUE_MAX: usize = 4096;
/// It refuses times on the first day of 1970 and before (`minimum allowed timestamp is 86400000`), and those of the day after
/// tomorrow.
const DAY_MS: i64 = 86_400_000;
/// What a value with a fraction may lose: 0.0406291178125 comes back as 0.04062911781249.
const SHARE_LOST: f64 = 1e-12;
/// Nearer to zero is zero: 1.75e-298 comes back as 0.
const NEARLY_ZERO: f64 = 1e-290;

/// Name, labels and time; the values, several where a line repeats a field.
type Samples = BTreeMap<String, Vec<f64>>;

type Labels = BTreeMap<Vec<u8>, Vec<u8>>;

/// Names of the rules by which it drops a value; `exceptions.jsonl` has a row for each.
const RULES: &[&str] = &["not a number", "length of a label", "number of labels", "time"];

/// Of two labels of one name the last counts, and the metric's own comes behind the tags.
fn labels(point: &Point<'_>, field: &[u8]) -> Labels {
    let mut metric = point.measurement.to_vec();
    if !metric.is_empty() {
        metric.push(b'_');
    }
    metric.extend_from_slice(field);
    let tags = point.tags.iter().map(|(key, value)| (key.to_vec(), value.to_vec()));
    tags.chain([(b"__name__".to_vec(), metric)]).collect()
}

impl Victoria {
    pub(crate) fn new() -> Self {
        Self { now: Now::new(), counts: Counts::default() }
    }

    /// Writes the batches into a fresh server and compares; each difference with the least that shows it.
    pub(crate) fn round(&mut self, requests: &[Request]) -> Vec<String> {
        let found = self.compare(requests);
        let counts = self.counts;
        let mut shown = Vec::new();
        for request in requests.iter().filter(|_| !found.is_empty()) {
            if shown.len() >= SHRUNK_MAX || self.compare(std::slice::from_ref(request)).is_empty() {
                continue;
            }
            let least = shrink(request, |smaller| !self.compare(std::slice::from_ref(smaller)).is_empty());
            let found = self.compare(std::slice::from_ref(&least));
            shown.push(format!(
                "{:?} \"{}\"\n    {}",
                least.precision,
                least.body.escape_ascii(),
                found.join("\n    ")
            ));
        }
        self.counts = counts;
        if shown.is_empty() { found } else { shown }
    }

    fn compare(&mut self, requests: &[Request]) -> Vec<String> {
        let mut server = Process::start(Product::VictoriaMetrics);
        let mut found = Vec::new();
        let mut said = Samples::new();
        for request in requests {
            if let Err(what) = self.send(&mut server, request, &mut said) {
                found.push(what);
            }
        }
        match self.read(&mut server) {
            Ok(stored) => found.extend(unequal(&said, stored)),
            Err(what) => found.push(what),
        }
        found
    }

    /// The whole batch, which one refused line spoils; each refused line; all others.
    fn send(&mut self, server: &mut Process, request: &Request, said: &mut Samples) -> Result<(), String> {
        let records = victoria::records(&request.body, request.precision);
        let path = format!("POST /write?precision={}", unit(request.precision));
        let mut good = Vec::new();
        for Record { span, outcome } in &records {
            let line = &request.body[span.clone()];
            match outcome {
                Outcome::Skipped => good.extend([line, b"\n"].concat()),
                Outcome::Point(point) => {
                    self.counts.lines += 1;
                    self.counts.accepted += 1;
                    good.extend([line, b"\r\n"].concat());
                    self.expect(point, said);
                }
                Outcome::Fault(fault) => {
                    self.counts.lines += 1;
                    self.counts.refused += 1;
                    // With the end that it has: a CR that the span leaves out is one that the server takes off as well.
                    let end = request.body[span.start..].iter().position(|byte| *byte == b'\n');
                    let raw =
                        end.map_or(&request.body[span.start..], |end| &request.body[span.start..=span.start + end]);
                    let answer = server.ask(&path, &[], raw)?;
                    // What the server quotes it may cut.
                    let words = fault.reason.split('"').next().unwrap_or_default();
                    if answer.status != 400 || !answer.text().contains(words) {
                        let (line, text) = (line.escape_ascii(), answer.text());
                        return Err(format!(
                            "we say \"{line}\" is refused ({}): {} {text}",
                            fault.reason, answer.status
                        ));
                    }
                }
            }
        }
        let fault = records.iter().find_map(|record| match &record.outcome {
            Outcome::Fault(fault) => Some(fault),
            _ => None,
        });
        if let Some(fault) = fault {
            let answer = server.ask(&path, &[], &request.body)?;
            if answer.status != 400 {
                return Err(format!("we say the batch is refused ({}): {}", fault.reason, answer.status));
            }
        }
        let answer = server.ask(&path, &[], &good)?;
        if answer.status == 204 {
            Ok(())
        } else {
            Err(format!("we say all is well: {} {}", answer.status, answer.text()))
        }
    }

    /// What becomes of a point behind the parser.
    fn expect(&mut self, point: &Point<'_>, said: &mut Samples) {
        let ms = point.time_ns.map(|ns| ns / 1_000_000);
        for (field, datum) in &point.fields {
            let Datum::Value(Value::Float(value)) = datum else { continue };
            let labels = labels(point, field);
            if self.dropped(&labels, *value, ms).is_some() {
                self.counts.dropped += 1;
                continue;
            }
            let labels: Vec<_> = labels.into_iter().collect();
            let time = self.now.time(ms.map(|ms| ms * 1_000_000));
            said.entry(format!("{} @{time}", series(b"", &labels))).or_default().push(*value);
        }
    }

    /// The rule by which the server does not keep a value.
    fn dropped(&self, labels: &Labels, value: f64, ms: Option<i64>) -> Option<&'static str> {
        let now_ms = self.now.nanoseconds() / 1_000_000;
        if value.is_nan() {
            return Some("not a number");
        }
        if labels.iter().any(|(key, value)| key.len() > LABEL_NAME_MAX || value.len() > LABEL_VALUE_MAX) {
            return Some("length of a label");
        }
        // Its own name does not count.
        if labels.len() > LABELS_MAX + 1 {
            return Some("number of labels");
        }
        ms.is_some_and(|ms| !(DAY_MS..now_ms + 2 * DAY_MS).contains(&ms)).then_some("time")
    }

    /// What the server does with the line of each row of `exceptions.jsonl`.
    pub(crate) fn exceptions(&mut self) -> Vec<String> {
        let (exceptions, mut found) = exceptions::of("VictoriaMetrics 1.150", RULES);
        let counts = self.counts;
        let requests: Vec<_> = exceptions.iter().map(Exception::request).collect();
        found.extend(self.compare(&requests));
        let mut server = Process::start(Product::VictoriaMetrics);
        let mut before = Samples::new();
        for (exception, request) in exceptions.iter().zip(&requests) {
            let seen = self.see(&mut server, request, &mut before);
            found.extend(seen.map_or_else(Some, |seen| exception.difference(&seen)));
        }
        self.counts = counts;
        found
    }

    fn see(&self, server: &mut Process, request: &Request, before: &mut Samples) -> Result<Seen, String> {
        let mut rule = None;
        for record in victoria::records(&request.body, request.precision) {
            let Outcome::Point(point) = record.outcome else { continue };
            let ms = point.time_ns.map(|ns| ns / 1_000_000);
            let mut floats = point.fields.iter().filter_map(|(field, datum)| match datum {
                Datum::Value(Value::Float(value)) => self.dropped(&labels(&point, field), *value, ms),
                _ => None,
            });
            rule = rule.or_else(|| floats.next());
        }
        let answer = server.ask("POST /write?precision=ns", &[], &request.body)?;
        let now = self.read(server)?;
        let new = now.iter().filter(|(key, values)| before.get(*key) != Some(values));
        let shown = new.map(|(key, values)| format!("{key}: {values:?}")).collect();
        *before = now;
        Ok(Seen { rule, status: answer.status, answer: answer.text(), shown })
    }

    fn read(&self, server: &mut Process) -> Result<Samples, String> {
        server.ask("GET /internal/force_flush", &[], b"")?;
        let end = self.now.nanoseconds() / 1_000_000_000 + 3 * 86_400;
        let all = escape("{__name__!=\"\"}");
        let path = format!("GET /api/v1/export?match%5B%5D={all}&start=0&end={end}&reduce_mem_usage=1");
        let answer = server.ask(&path, &[], b"")?;
        if answer.status != 200 {
            return Err(format!("export: {} {}", answer.status, answer.text()));
        }
        let mut samples = Samples::new();
        for line in readable(&answer.body).lines() {
            let row: Json = serde_json::from_str(line).map_err(|error| format!("export: {error}: {line}"))?;
            let labels: Vec<_> =
                row["metric"].as_object().unwrap().iter().map(|(k, v)| (raw(k), raw(v.as_str().unwrap()))).collect();
            let series = series(b"", &labels);
            for (value, time) in row["values"].as_array().unwrap().iter().zip(row["timestamps"].as_array().unwrap()) {
                let value = value.as_f64().or_else(|| value.as_str()?.parse().ok()).unwrap_or(f64::NAN);
                let time = self.now.time(time.as_i64().map(|ms| ms * 1_000_000));
                samples.entry(format!("{series} @{time}")).or_default().push(value);
            }
        }
        Ok(samples)
    }
}

/// Bytes that are not UTF-8 stand as they are in the export; JSON is read with characters in their place that nobody uses.
fn readable(text: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    for chunk in text.utf8_chunks() {
        out.push_str(chunk.valid());
        out.extend(chunk.invalid().iter().filter_map(|byte| char::from_u32(STAND_IN + u32::from(*byte))));
    }
    out
}

const STAND_IN: u32 = 0x10_fe00;

fn raw(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for c in text.chars() {
        match u32::from(c).checked_sub(STAND_IN).and_then(|byte| u8::try_from(byte).ok()) {
            Some(byte) => out.push(byte),
            None => out.extend(c.encode_utf8(&mut [0; 4]).bytes()),
        }
    }
    out
}

fn largest(values: &[f64]) -> f64 {
    values.iter().filter(|value| value.is_finite()).fold(0.0, |largest, value| largest.max(value.abs()))
}

/// The largest value of each series, whatever its time.
fn largest_of_series(said: &Samples) -> BTreeMap<&str, f64> {
    let mut found = BTreeMap::<&str, f64>::new();
    for (key, values) in said {
        let known = found.entry(series_of(key)).or_default();
        *known = known.max(largest(values));
    }
    found
}

fn series_of(key: &str) -> &str {
    key.rsplit_once(" @").map_or(key, |(series, _)| series)
}

/// It keeps whole numbers of one power of ten for all values of a series: 12 digits at least of the largest of them.
fn alike(said: &[f64], stored: &[f64], largest: f64) -> bool {
    let near = |(a, b): (&f64, &f64)| a == b || (a - b).abs() <= (SHARE_LOST * largest).max(NEARLY_ZERO);
    said.len() == stored.len() && said.iter().zip(stored).all(near)
}

fn unequal(said: &Samples, stored: Samples) -> Vec<String> {
    let show = |values: &[f64]| format!("{values:?}");
    let mut as_said = Stored::new();
    let of_series = largest_of_series(said);
    for (key, mut values) in stored {
        values.sort_by(f64::total_cmp);
        let mut expected = said.get(&key).cloned().unwrap_or_default();
        expected.sort_by(f64::total_cmp);
        // A block of values has one power of ten, which the largest of them decides.
        let neighbour = of_series.get(series_of(&key)).copied().unwrap_or_default();
        let equal = alike(&expected, &values, neighbour);
        as_said.insert(key, show(if equal { &expected } else { &values }));
    }
    let sorted = |values: &Vec<f64>| {
        let mut values = values.clone();
        values.sort_by(f64::total_cmp);
        show(&values)
    };
    let said: Stored = said.iter().map(|(key, values)| (key.clone(), sorted(values))).collect();
    differences(&said, &as_said)
}

fn unit(precision: Precision) -> &'static str {
    match precision {
        Precision::Nanosecond => "ns",
        Precision::Microsecond => "u",
        Precision::Millisecond => "ms",
        Precision::Second => "s",
        Precision::Minute => "m",
        Precision::Hour => "h",
    }
}
