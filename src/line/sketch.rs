//! A body in a few rows, one for each measurement: enough to tell what it cannot touch without reading it again.
//!
//! Promise: every accepted line is counted in exactly one row; rows beyond the bound become one row of others. [`Sketch::meets`]
//! never says no when a line does lie in the region; it says yes too often only for lines of the others, and for series by
//! chance. The time taken grows with the body alone, whatever its measurements are called.
//!
//! A write in the log that meets a region which is being copied, read back or verified must be set aside or looked at again, and
//! all others must not be read for that. Which record carries it is the matter of those who ask: not wired up yet.

use std::borrow::Cow;

use super::escape;
use super::fast::Reader;
use super::point::Frame;
use super::series::{SeriesHash, SeriesKey};
use super::{Dialect, Precision};

/// What a body holds, by measurement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sketch {
    /// In the order in which measurements came.
    pub rows: Vec<SketchRow>,
    /// All measurements for which there was no row; its own name is empty.
    pub others: Option<SketchRow>,
}

/// The lines of one measurement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SketchRow {
    /// As the servers read it.
    pub measurement: Vec<u8>,
    /// How many lines.
    pub lines: u64,
    /// How many of them have no time.
    pub untimed: u64,
    /// Bytes of them all, line feeds aside.
    pub bytes: u64,
    /// Earliest time in nanoseconds; `i64::MAX` where none has one.
    pub min_ns: i64,
    /// Latest time in nanoseconds; `i64::MIN` where none has one.
    pub max_ns: i64,
    /// One bit for each series, by its hash ([`super::series_hash`]): a bit that is not set stands for series that are not there.
    pub series: u64,
}

impl SketchRow {
    fn new(measurement: Vec<u8>) -> Self {
        Self { measurement, lines: 0, untimed: 0, bytes: 0, min_ns: i64::MAX, max_ns: i64::MIN, series: 0 }
    }

    #[inline]
    fn add(&mut self, frame: &Frame<'_>, series: u64) {
        self.lines += 1;
        self.bytes += (frame.end - frame.start) as u64;
        self.series |= bit(series);
        match frame.time_ns {
            Some(at_ns) => (self.min_ns, self.max_ns) = (self.min_ns.min(at_ns), self.max_ns.max(at_ns)),
            None => self.untimed += 1,
        }
    }

    fn meets(&self, from_ns: i64, to_ns: i64) -> bool {
        self.untimed > 0 || self.min_ns <= to_ns && from_ns <= self.max_ns
    }

    /// Whether a line of this series may be among them.
    #[must_use]
    pub fn may_hold(&self, series: u64) -> bool {
        self.series & bit(series) != 0
    }
}

fn bit(series: u64) -> u64 {
    1 << (series % 64)
}

impl Sketch {
    /// Whether a line of the measurement (`None`: of any) may lie between two times, both included. A line without a time may
    /// have any.
    #[must_use]
    pub fn meets(&self, measurement: Option<&[u8]>, from_ns: i64, to_ns: i64) -> bool {
        let of_it = |row: &&SketchRow| measurement.is_none_or(|name| row.measurement == name);
        match measurement.and_then(|_| self.rows.iter().find(of_it)) {
            // A measurement with a row of its own is nowhere else.
            Some(row) => row.meets(from_ns, to_ns),
            None => {
                let named = self.rows.iter().filter(of_it);
                named.chain(&self.others).any(|row| row.meets(from_ns, to_ns))
            }
        }
    }
}

/// Reads a body once. At most `rows_max` measurements get a row of their own: those that come first.
#[must_use]
pub fn sketch(body: &[u8], dialect: Dialect, precision: Precision, rows_max: usize) -> Sketch {
    let mut rows = Rows { rows: Vec::new(), hashes: Vec::new(), places: [0; PLACES], others: None, rows_max };
    let mut reader = Reader::new(body, dialect, precision);
    let mut tags = SeriesHash::new(SeriesKey::FIXED);
    while let Some(outcome) = reader.next(&mut tags) {
        let Ok(frame) = outcome else { continue };
        let series = tags.with_measurement(frame.measurement);
        rows.of(frame.measurement).add(&frame, series);
    }
    Sketch { rows: rows.rows, others: rows.others }
}

const PLACES: usize = 256;

struct Rows {
    rows: Vec<SketchRow>,
    /// Of their names.
    hashes: Vec<u64>,
    /// Which row a hash had last, by its lowest bits.
    places: [u32; PLACES],
    others: Option<SketchRow>,
    rows_max: usize,
}

impl Rows {
    #[inline]
    fn of(&mut self, raw: &[u8]) -> &mut SketchRow {
        let name = if raw.contains(&b'\\') { escape::unescape_name(raw) } else { Cow::Borrowed(raw) };
        let hash = SeriesKey::FIXED.hash(&name);
        let place = hash as usize % PLACES;
        let last = self.places[place] as usize;
        if self.rows.get(last).is_some_and(|row| row.measurement == *name) {
            return &mut self.rows[last];
        }
        self.look_for(&name, hash, place)
    }

    #[cold]
    fn look_for(&mut self, name: &[u8], hash: u64, place: usize) -> &mut SketchRow {
        let is_it = |at: &usize| self.hashes[*at] == hash && self.rows[*at].measurement == name;
        let at = match (0..self.rows.len()).find(is_it) {
            Some(at) => at,
            None if self.rows.len() < self.rows_max => {
                self.rows.push(SketchRow::new(name.to_vec()));
                self.hashes.push(hash);
                self.rows.len() - 1
            }
            None => return self.others.get_or_insert_with(|| SketchRow::new(Vec::new())),
        };
        self.places[place] = u32::try_from(at).unwrap_or(u32::MAX);
        &mut self.rows[at]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::super::tests::{PRECISIONS, any_body};
    use super::super::{lines, naive, series_hash};
    use super::*;

    fn of(body: &str, rows_max: usize) -> Sketch {
        sketch(body.as_bytes(), Dialect::Influx1, Precision::Nanosecond, rows_max)
    }

    #[test]
    fn each_measurement_has_its_row_and_the_rest_share_one() {
        let found = of("a,t=1 v=1 5\nb v=1 9\na,t=2 v=1 -3\nc v=1 1\nnonsense\nd v=1\na\\ x v=1 2", 2);
        let figures = |row: &SketchRow| (row.lines, row.untimed, row.bytes, row.min_ns, row.max_ns);
        let [a, b] = &found.rows[..] else { panic!("{found:?}") };
        assert_eq!((&a.measurement[..], figures(a)), (&b"a"[..], (2, 0, 23, -3, 5)));
        assert_eq!((&b.measurement[..], figures(b)), (&b"b"[..], (1, 0, 7, 9, 9)));
        assert_eq!(figures(&found.others.unwrap()), (3, 1, 22, 1, 2));
    }

    #[test]
    fn only_what_may_lie_in_a_region_meets_it() {
        let found = of("a v=1 5\na v=1 9\nb v=1 20\n", 8);
        assert!(found.meets(Some(b"a"), 9, 30) && found.meets(Some(b"a"), 6, 7), "between two times it may");
        assert!(!found.meets(Some(b"a"), 10, 30) && !found.meets(Some(b"a"), 0, 4));
        assert!(!found.meets(Some(b"c"), i64::MIN, i64::MAX) && !found.meets(Some(b""), i64::MIN, i64::MAX));
        assert!(found.meets(None, 15, 20) && !found.meets(None, 10, 19));
        let few = of("a v=1 5\nb v=1 20\nc v=1\n", 1);
        assert!(few.meets(Some(b"unheard of"), 1, 2), "it may be among the others, and one of them has no time");
        assert!(!few.meets(Some(b"a"), 20, 20), "it has its own row");
    }

    #[test]
    fn ten_thousand_measurements_cost_no_more_than_the_rows_allow() {
        let body: String = (0..10_000).map(|n| format!("m{n} v=1 {n}\n")).collect();
        let found = of(&body, 16);
        assert_eq!((found.rows.len(), found.others.map(|row| row.lines)), (16, Some(9_984)));
        assert_eq!(of(&body, 0).rows, []);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_000))]

        #[test]
        fn the_rows_say_what_the_slow_reader_counts(
            body in any_body(),
            precision in prop::sample::select(&PRECISIONS[..]),
            rows_max in 0usize..4,
        ) {
            let found = sketch(&body, Dialect::Influx2, precision, rows_max);
            let (mut names, mut counted) = (Vec::new(), BTreeMap::new());
            for (span, point) in naive::parse(&body, Dialect::Influx2, precision) {
                let Ok(point) = point else { continue };
                if !names.contains(&point.measurement) {
                    names.push(point.measurement.clone());
                }
                let own = names.iter().position(|name| *name == point.measurement).filter(|at| *at < rows_max);
                let row = counted.entry(own.unwrap_or(usize::MAX)).or_insert((0, 0, 0, i64::MAX, i64::MIN));
                *row = (
                    row.0 + 1,
                    row.1 + u64::from(point.time_ns.is_none()),
                    row.2 + span.len() as u64,
                    row.3.min(point.time_ns.unwrap_or(i64::MAX)),
                    row.4.max(point.time_ns.unwrap_or(i64::MIN)),
                );
                let at_ns = point.time_ns.unwrap_or(7);
                prop_assert!(found.meets(Some(&point.measurement), at_ns, at_ns) && found.meets(None, at_ns, at_ns));
            }
            let figures = |row: &SketchRow| (row.lines, row.untimed, row.bytes, row.min_ns, row.max_ns);
            let rows = found.rows.iter().enumerate().map(|(at, row)| (at, figures(row)));
            let others = found.others.iter().map(|row| (usize::MAX, figures(row)));
            prop_assert_eq!(rows.chain(others).collect::<BTreeMap<_, _>>(), counted);
            let own = found.rows.iter().map(|row| row.measurement.clone());
            prop_assert_eq!(own.collect::<Vec<_>>(), names.into_iter().take(rows_max).collect::<Vec<_>>());
            for line in lines(&body, Dialect::Influx2, precision).filter_map(Result::ok) {
                let row = found.rows.iter().find(|row| row.measurement == *line.measurement()).or(found.others.as_ref());
                prop_assert!(row.is_some_and(|row| row.may_hold(series_hash(&line))));
            }
        }
    }
}
