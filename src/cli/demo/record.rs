//! The writer's own record: which point was written how often, and so what every database must hold in the end.
//!
//! A point's values follow from series, place and revision alone. The line that is sent and the cell that is expected are
//! made of them separately, so that a fault on the way cannot hide in the record.

use std::fmt::Write as _;
use std::sync::Arc;

use fastrand::Rng;

use crate::cell::{Cell, Series, Value};

/// The measurement of the timed lines.
pub(super) const MEASUREMENT: &str = "machine";
/// Field values in each line.
pub(super) const FIELDS: u64 = 4;
/// Times of one series lie so far apart.
const STEP_NS: i64 = 1_000_000;
/// A point overwritten is mostly a recent one: it may still wait in the queue, and then order decides.
const RECENT: usize = 400;

/// What one writer has written. Each series belongs to one writer alone.
#[derive(Debug)]
pub(super) struct Record {
    series: Vec<Written>,
    base_ns: i64,
    rng: Rng,
}

#[derive(Debug)]
struct Written {
    host: u32,
    /// Revision of each point, by place in time; the first is 1.
    revisions: Vec<u32>,
}

/// One request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Made {
    pub(super) lines: u64,
    /// Of them, those that overwrite a point of an earlier line.
    pub(super) overwrites: u64,
}

impl Record {
    /// An empty record for these hosts; the first points lie at `base_ns`.
    pub(super) fn new(hosts: impl Iterator<Item = u32>, base_ns: i64, seed: u64) -> Self {
        let series = hosts.map(|host| Written { host, revisions: Vec::new() }).collect();
        Self { series, base_ns, rng: Rng::with_seed(seed) }
    }

    /// Makes the next request: `each` lines for every series, of which about `overwrites_percent` overwrite an older point.
    pub(super) fn next(&mut self, each: usize, overwrites_percent: u8, body: &mut String) -> Made {
        let mut made = Made::default();
        for _ in 0..each {
            for series in &mut self.series {
                let older = series.revisions.len();
                let overwrite = older > 0 && self.rng.u8(0..100) < overwrites_percent;
                let place = if overwrite { choose(&mut self.rng, older) } else { older };
                if overwrite {
                    series.revisions[place] += 1;
                } else {
                    series.revisions.push(1);
                }
                put_line(series.host, place, series.revisions[place], time_ns(self.base_ns, place), body);
                made.lines += 1;
                made.overwrites += u64::from(overwrite);
            }
        }
        made
    }

    /// Points: each counts once, however often it was overwritten.
    pub(super) fn points(&self) -> u64 {
        self.series.iter().map(|series| series.revisions.len() as u64).sum()
    }

    /// What a database must hold.
    pub(super) fn cells(&self) -> Vec<Cell> {
        let mut cells = Vec::new();
        for written in &self.series {
            let of = Of::host(written.host);
            for (place, revision) in written.revisions.iter().enumerate() {
                of.put_cells((place, *revision), time_ns(self.base_ns, place), &mut cells);
            }
        }
        cells
    }
}

/// The series of a host, with the names of its fields.
#[derive(Debug)]
pub(super) struct Of {
    host: u32,
    series: Arc<Series>,
    fields: [Arc<[u8]>; FIELDS as usize],
}

impl Of {
    pub(super) fn host(host: u32) -> Self {
        let tags = vec![(b"host".to_vec(), host_name(host).into_bytes())];
        let series = Arc::new(Series::new(MEASUREMENT.into(), tags));
        let fields = ["temperature", "requests", "healthy", "note"].map(|name| name.as_bytes().into());
        Self { host, series, fields }
    }

    /// The cells of one revision of one point.
    pub(super) fn put_cells(&self, (place, revision): (usize, u32), time_ns: i64, cells: &mut Vec<Cell>) {
        let seen = Reading::of(self.host, place, revision);
        let values = [
            Value::Float(seen.temperature),
            Value::Integer(seen.requests),
            Value::Boolean(seen.healthy),
            Value::String(seen.note.into_bytes()),
        ];
        for (field, value) in self.fields.iter().zip(values) {
            cells.push(Cell { series: self.series.clone(), field: field.clone(), time_ns, value });
        }
    }
}

/// Values of one revision of one point.
struct Reading {
    temperature: f64,
    requests: i64,
    healthy: bool,
    note: String,
}

impl Reading {
    fn of(host: u32, place: usize, revision: u32) -> Self {
        let mix =
            (place as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (u64::from(host) << 40) ^ (u64::from(revision) << 8);
        Self {
            temperature: 20.0 + (mix >> 32) as f64 / 3e8,
            requests: (mix >> 1).cast_signed() * if revision.is_multiple_of(2) { 1 } else { -1 },
            healthy: mix & (1 << 50) == 0,
            note: format!("revision {revision}, \"{host}\\{place}\""),
        }
    }
}

/// The line of one revision of one point.
pub(super) fn put_line(host: u32, place: usize, revision: u32, time_ns: i64, body: &mut String) {
    let Reading { temperature, requests, healthy, note } = Reading::of(host, place, revision);
    let note = note.replace('\\', "\\\\").replace('"', "\\\"");
    let host = host_name(host);
    let fields = format_args!("temperature={temperature},requests={requests}i,healthy={healthy},note=\"{note}\"");
    // Writing to a String does not fail.
    let _ = writeln!(body, "{MEASUREMENT},host={host} {fields} {time_ns}");
}

pub(super) fn host_name(host: u32) -> String {
    format!("h{host:02}")
}

fn time_ns(base_ns: i64, place: usize) -> i64 {
    base_ns.saturating_add((place as i64).saturating_mul(STEP_NS))
}

fn choose(rng: &mut Rng, older: usize) -> usize {
    let from = if rng.u8(0..4) == 0 { 0 } else { older.saturating_sub(RECENT) };
    rng.usize(from..older)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line::{self, Dialect, Precision};

    #[test]
    fn the_lines_say_what_the_record_expects() {
        let mut record = Record::new([1, 3].into_iter(), 1_000_000_000, 7);
        let mut body = String::new();
        let made = record.next(50, 30, &mut body);
        assert_eq!((made.lines, record.points()), (100, 100 - made.overwrites));
        assert!(made.overwrites > 0);
        let mut last = std::collections::BTreeMap::new();
        for line in line::lines(body.as_bytes(), Dialect::Influx1, Precision::Nanosecond) {
            let line = line.unwrap();
            let tag = line.tags().first().unwrap().value().into_owned();
            for field in line.fields() {
                let value = match field.value() {
                    line::Value::Float(v) => Value::Float(v),
                    line::Value::Integer(v) => Value::Integer(v),
                    line::Value::Bool(v) => Value::Boolean(v),
                    line::Value::String(v) => Value::String(v.into_owned()),
                    other => panic!("{other:?}"),
                };
                last.insert((tag.clone(), line.timestamp_ns().unwrap(), field.key().into_owned()), value);
            }
        }
        let cells = record.cells();
        assert_eq!(cells.len() as u64, record.points() * FIELDS);
        for cell in cells {
            let place = (cell.series.tag(b"host").unwrap().to_vec(), cell.time_ns, cell.field.to_vec());
            assert_eq!(last.remove(&place), Some(cell.value));
        }
        assert!(last.is_empty());
    }

    #[test]
    fn a_revision_changes_the_values() {
        let (one, two) = (Reading::of(1, 5, 1), Reading::of(1, 5, 2));
        assert!(one.temperature.to_bits() != two.temperature.to_bits() || one.requests != two.requests);
        assert_ne!(one.note, two.note);
    }
}
