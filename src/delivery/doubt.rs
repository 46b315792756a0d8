//! The parts of the data that must be read back because of lines in doubt.

use std::collections::BTreeMap;

use crate::line;
use crate::queue::{Cause, Disposition, Fate, Intent, Judged};
use crate::state::DirtyRegion;
use crate::wal::Record;

/// Dirty regions are made by hour; the store makes them larger when they grow many.
const BUCKET_NS: i64 = 3_600_000_000_000;
/// Regions that one record may make; beyond this it makes its whole route dirty.
const REGIONS_MAX: usize = 256;

/// The name of a route that has no number, else empty.
pub(super) fn unlisted(record: &Record, intent: &Intent) -> String {
    if record.route.0 == 0 { intent.name.to_string() } else { String::new() }
}

/// The regions that the lines in doubt of a record may have touched; each such line is counted in one of them.
pub(super) fn regions(record: &Record, intent: &Intent, judged: &Judged) -> Vec<DirtyRegion> {
    let region = |measurement: Vec<u8>, (from_ns, to_ns): (i64, i64), cause: Cause, lines: u64| DirtyRegion {
        route: record.route,
        route_name: unlisted(record, intent),
        measurement,
        from_ns,
        to_ns,
        lsns: (record.lsn, record.lsn),
        cause: cause.name(),
        lines,
    };
    let whole = |cause: Cause, lines: u64| vec![region(Vec::new(), (intent.min_ns, intent.max_ns), cause, lines)];
    let all = judged.disposition == Disposition::Doubt;
    let (some_cause, lines) = match judged.spans.iter().find(|span| span.fate == Fate::Doubt) {
        Some(span) => (span.cause, judged.spans.lines(Fate::Doubt)),
        None => (judged.cause, u64::from(record.lines)),
    };
    // A line without a time has one that the source gave it: no bucket, all time.
    let mut found: BTreeMap<(Vec<u8>, Option<i64>, Cause), u64> = BTreeMap::new();
    let (mut number, mut spans) = (0, judged.spans.walk());
    for parsed in line::lines(&record.body, intent.dialect, intent.precision) {
        let Ok(parsed) = parsed else {
            // A line that we cannot read may be one that the source could: then nobody knows what it touched.
            if all {
                return whole(some_cause, lines);
            }
            continue;
        };
        let span = spans.at(number);
        number += 1;
        let cause = match span {
            Some(span) if span.fate == Fate::Doubt => span.cause,
            None if all => judged.cause,
            _ => continue,
        };
        let bucket = parsed.timestamp_ns().map(|at_ns| at_ns.div_euclid(BUCKET_NS));
        *found.entry((parsed.measurement().into_owned(), bucket, cause)).or_default() += 1;
        if found.len() > REGIONS_MAX {
            return whole(some_cause, lines);
        }
    }
    if found.is_empty() {
        return whole(some_cause, lines);
    }
    found
        .into_iter()
        .map(|((measurement, bucket, cause), lines)| {
            region(measurement, bucket.map_or((i64::MIN, i64::MAX), bounds), cause, lines)
        })
        .collect()
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
    use crate::line::{Dialect, Precision};
    use crate::queue::{Span, Spans};
    use crate::route::RouteName;
    use crate::wal::Kind;

    fn dirty(body: &str, lines: u32, judged: &Judged) -> Vec<(String, i64, &'static str, u64)> {
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
            body: Bytes::copy_from_slice(body.as_bytes()),
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
        assert_eq!(dirty("a v=1 1\nnonsense\n", 1, &whole), [(String::new(), 5, "timeout", 1)], "the whole route");
        assert_eq!(dirty("a v=1\n", 1, &whole), [("a".into(), i64::MIN, "timeout", 1)], "whenever the source says");
    }
}
