//! The parts of the data that must be read back because of lines in doubt.

use std::collections::BTreeMap;

use crate::line::{self, Dialect, Line};
use crate::queue::{Cause, Disposition, Fate, Intent, Judged};
use crate::state::DirtyRegion;
use crate::wal::Record;

/// Dirty regions are made by hour; the store makes them larger when they grow many.
const BUCKET_NS: i64 = 3_600_000_000_000;
/// Regions that one record may make; beyond this it makes its whole route dirty.
const REGIONS_MAX: usize = 256;
/// Those that a source may speak.
const DIALECTS: [Dialect; 2] = [Dialect::Influx1, Dialect::Influx2];
/// A body that begins so is packed.
const GZIP: &[u8] = b"\x1f\x8b";

/// The name of the route of a record that does not carry its number, else empty.
pub(super) fn unlisted(record: &Record, intent: &Intent) -> String {
    if record.route.0 == 0 { intent.name.key() } else { String::new() }
}

/// The regions that the lines in doubt of a record may have touched; each such line is counted in one of them.
///
/// A line that the source's dialect refuses was not stored. Should another dialect read it, it counts as one that may have
/// been, in the place that this dialect gives it, and is in no sum.
pub(super) fn regions(record: &Record, intent: &Intent, judged: &Judged) -> Vec<DirtyRegion> {
    let all = judged.disposition == Disposition::Doubt;
    let (some_cause, lines) = match judged.spans.iter().find(|span| span.fate == Fate::Doubt) {
        Some(span) => (span.cause, judged.spans.lines(Fate::Doubt)),
        None => (judged.cause, u64::from(record.lines)),
    };
    let mut found = Found::default();
    let (mut number, mut spans) = (0, judged.spans.walk());
    for parsed in line::lines(&record.body, intent.dialect, intent.precision) {
        let line = match parsed {
            Ok(line) => line,
            Err(refused) if all => {
                let read = DIALECTS.iter().flat_map(|dialect| line::lines(refused.raw, *dialect, intent.precision));
                read.flatten().for_each(|line| found.add(&line, judged.cause, 0));
                continue;
            }
            Err(_) => continue,
        };
        let span = spans.at(number);
        number += 1;
        match span {
            Some(span) if span.fate == Fate::Doubt => found.add(&line, span.cause, 1),
            None if all => found.add(&line, judged.cause, 1),
            _ => {}
        }
    }
    let region = |measurement: Vec<u8>, (from_ns, to_ns): (i64, i64), cause: Cause, lines: u64| DirtyRegion {
        route_name: intent.name.key(),
        measurement,
        from_ns,
        to_ns,
        lsns: (record.lsn, record.lsn),
        cause: cause.name(),
        lines,
    };
    let whole = |span_ns: (i64, i64)| vec![region(Vec::new(), span_ns, some_cause, lines)];
    match found.span_ns {
        // A body that we could not read, but the source perhaps could.
        _ if all && record.body.starts_with(GZIP) => whole((i64::MIN, i64::MAX)),
        Some(span_ns) if found.regions.len() > REGIONS_MAX => whole(span_ns),
        None if lines == 0 && !record.body.is_empty() => Vec::new(),
        None => whole((intent.min_ns, intent.max_ns)),
        Some(_) => {
            let regions = found.regions.into_iter();
            let region = |((measurement, bucket, cause), lines): ((_, Option<i64>, _), _)| {
                region(measurement, bucket.map_or((i64::MIN, i64::MAX), bounds), cause, lines)
            };
            regions.map(region).collect()
        }
    }
}

/// Places of lines in doubt.
#[derive(Default)]
struct Found {
    /// By measurement, hour and cause. A line without a time has one that the source gave it: no hour, all time.
    regions: BTreeMap<(Vec<u8>, Option<i64>, Cause), u64>,
    /// Earliest and latest time of them all.
    span_ns: Option<(i64, i64)>,
}

impl Found {
    /// Beyond [`REGIONS_MAX`] only the time is noted.
    fn add(&mut self, line: &Line<'_>, cause: Cause, lines: u64) {
        let at_ns = line.timestamp_ns();
        let (min_ns, max_ns) = at_ns.map_or((i64::MIN, i64::MAX), |at_ns| (at_ns, at_ns));
        let (from_ns, to_ns) = self.span_ns.unwrap_or((min_ns, max_ns));
        self.span_ns = Some((from_ns.min(min_ns), to_ns.max(max_ns)));
        if self.regions.len() <= REGIONS_MAX {
            let bucket = at_ns.map(|at_ns| at_ns.div_euclid(BUCKET_NS));
            *self.regions.entry((line.measurement().into_owned(), bucket, cause)).or_default() += lines;
        }
    }
}

fn bounds(bucket: i64) -> (i64, i64) {
    let from = i128::from(bucket) * i128::from(BUCKET_NS);
    let clamp = |ns: i128| ns.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64;
    (clamp(from), clamp(from + i128::from(BUCKET_NS) - 1))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::base::{Lsn, RequestId, RouteId};
    use crate::line::Precision;
    use crate::queue::{Span, Spans};
    use crate::route::RouteName;
    use crate::wal::Kind;

    fn dirty(body: impl AsRef<[u8]>, lines: u32, judged: &Judged) -> Vec<(String, i64, &'static str, u64)> {
        let intent = Intent {
            name: RouteName::Database { db: "d".into(), rp: String::new() },
            dialect: Dialect::Influx1,
            precision: Precision::Second,
            excluded: false,
            min_ns: 5,
            max_ns: 6,
        };
        let record = Record {
            kind: Kind::Intent,
            flags: 0,
            lsn: Lsn(7),
            route: RouteId(1),
            request: RequestId(1),
            lines,
            received_ns: 0,
            payload_bytes: 0,
            meta: Bytes::new(),
            body: Bytes::copy_from_slice(body.as_ref()),
            position: 0,
        };
        let regions = regions(&record, &intent, judged);
        let shown = |r: DirtyRegion| (String::from_utf8(r.measurement).unwrap(), r.from_ns, r.cause, r.lines);
        regions.into_iter().map(shown).collect()
    }

    #[test]
    fn only_the_lines_in_doubt_make_regions_and_each_is_counted_once() {
        let body = "a v=1 1\nb v=1 2\na v=1 3\na v=1 3601\n# none\nb v=2 5\n";
        let whole = Judged { disposition: Disposition::Doubt, cause: Cause::Timeout, spans: Spans::default() };
        let hour = 3_600_000_000_000;
        assert_eq!(
            dirty(body, 5, &whole),
            [("a".into(), 0, "timeout", 2), ("a".into(), hour, "timeout", 1), ("b".into(), 0, "timeout", 2)]
        );
        let span = |first, lines, fate| Span { first, lines, fate, cause: Cause::Overlap };
        let spans = Spans::new(vec![span(0, 1, Fate::NotApplied), span(2, 2, Fate::Doubt)]).unwrap();
        let partial = Judged { disposition: Disposition::Partial, cause: Cause::None, spans };
        assert_eq!(dirty(body, 5, &partial), [("a".into(), 0, "overlap", 1), ("a".into(), hour, "overlap", 1)]);
        assert_eq!(dirty("a v=1\n", 1, &whole), [("a".into(), i64::MIN, "timeout", 1)], "whenever the source says");
    }

    #[test]
    fn a_line_that_no_dialect_reads_adds_nothing() {
        let whole = Judged { disposition: Disposition::Doubt, cause: Cause::Timeout, spans: Spans::default() };
        let hour = 3_600_000_000_000;
        let bad = "nonsense\nm v=1x 1\n,t=1 v=1 1\nm v=1 2026-01-01\n";
        assert_eq!(
            dirty(format!("a v=1 1\n{bad}a v=1 3601\n"), 2, &whole),
            [("a".into(), 0, "timeout", 1), ("a".into(), hour, "timeout", 1)]
        );
        assert_eq!(dirty(bad, 0, &whole), [], "nothing that a source could have stored");
        // Unsigned: 1.x refuses it, 2.x does not.
        assert_eq!(
            dirty("a v=1 1\nu v=1u 3601\n", 1, &whole),
            [("a".into(), 0, "timeout", 1), ("u".into(), hour, "timeout", 0)]
        );
    }

    #[test]
    fn what_cannot_be_told_makes_the_route_dirty_for_no_longer_than_it_must() {
        let whole = Judged { disposition: Disposition::Doubt, cause: Cause::Timeout, spans: Spans::default() };
        let route = |from_ns, lines| [(String::new(), from_ns, "timeout", lines)];
        assert_eq!(dirty("", 0, &whole), route(5, 0), "a body that could not be unpacked: as the intent says");
        assert_eq!(dirty(b"\x1f\x8b\x08a", 0, &whole), route(i64::MIN, 0), "one that the source may have unpacked");
        let many: String = (1..=300).map(|at| format!("m{at} v=1 {at}\n")).collect();
        assert_eq!(dirty(format!("nonsense\n{many}"), 300, &whole), route(1_000_000_000, 300));
        assert_eq!(dirty(format!("{many}m v=1\n"), 301, &whole), route(i64::MIN, 301), "one without a time");
    }
}
