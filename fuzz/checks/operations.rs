//! Times in another unit, figures by measurement, and what rules leave out and rename: each against what the slow reader finds.

use twinline::line::naive::Point;
use twinline::line::{self, Dialect, Part, Precision, Rules};

use super::{PRECISIONS, slow};

pub fn operations(choice: u8, body: &[u8], dialect: Dialect, precision: Precision) {
    rescaled(body, dialect, precision, PRECISIONS[usize::from(choice) % PRECISIONS.len()]);
    sketched(body, dialect, precision, usize::from(choice % 5));
    changed(body, dialect, precision);
}

fn points(body: &[u8], dialect: Dialect, precision: Precision) -> Vec<Point> {
    slow(body, dialect, precision).into_iter().filter_map(|(_, outcome)| outcome.ok()).collect()
}

fn rescaled(body: &[u8], dialect: Dialect, from: Precision, to: Precision) {
    let mut left_out = 0;
    let text = line::rescale(body, dialect, from, to, |_, _| left_out += 1);
    let all = slow(body, dialect, from);
    let whole = |time_ns: i64| from == to || time_ns % to.unit_ns() == 0;
    let fits = |point: &Point| point.time_ns.is_none_or(whole);
    let count = all.len();
    let expected: Vec<_> = all.into_iter().filter_map(|(_, outcome)| outcome.ok()).filter(fits).collect();
    assert_eq!(left_out, count - expected.len(), "{}", body.escape_ascii());
    let read: Vec<_> = slow(&text, dialect, to).into_iter().map(|(_, outcome)| outcome).collect();
    assert_eq!(read, expected.into_iter().map(Ok).collect::<Vec<_>>(), "{}", text.escape_ascii());
}

fn sketched(body: &[u8], dialect: Dialect, precision: Precision, rows_max: usize) {
    let sketch = line::sketch(body, dialect, precision, rows_max);
    assert!(sketch.rows.len() <= rows_max);
    let points = points(body, dialect, precision);
    let lines: u64 = sketch.rows.iter().chain(&sketch.others).map(|row| row.lines).sum();
    assert_eq!(lines, points.len() as u64);
    for point in &points {
        let at_ns = point.time_ns.unwrap_or(0);
        assert!(sketch.meets(Some(&point.measurement), at_ns, at_ns), "{point:?} in {sketch:?}");
        assert!(sketch.meets(None, at_ns, at_ns), "{point:?} in {sketch:?}");
    }
    for row in &sketch.rows {
        let of_it = points.iter().filter(|point| point.measurement == row.measurement);
        let times: Vec<_> = of_it.clone().filter_map(|point| point.time_ns).collect();
        assert_eq!((row.lines, row.untimed), (of_it.count() as u64, row.lines - times.len() as u64));
        let expected = (times.iter().min().copied(), times.iter().max().copied());
        assert_eq!((row.min_ns, row.max_ns), (expected.0.unwrap_or(i64::MAX), expected.1.unwrap_or(i64::MIN)));
    }
}

/// Tags that begin with `t` are dropped, a field `v` becomes `value` and measurements `m…` become `n…`.
fn changed(body: &[u8], dialect: Dialect, precision: Precision) {
    let mut rules = Rules::default();
    let added = rules.drop(Part::Tag, "t*").and(rules.rename(Part::Field, "v", "value"));
    added.and(rules.rename(Part::Measurement, "m*", "n*")).expect("these can be meant");
    let mut left_out = Vec::new();
    let text = rules.apply(body, dialect, precision, |span, _| left_out.push(span.start));
    let changed = |mut point: Point| {
        point.tags.retain(|(key, _)| !key.starts_with(b"t"));
        for (key, _) in &mut point.fields {
            if key == b"v" {
                *key = b"value".to_vec();
            }
        }
        if point.measurement.starts_with(b"m") {
            point.measurement[0] = b'n';
        }
        point
    };
    let expected: Vec<_> = slow(body, dialect, precision)
        .into_iter()
        .filter(|(span, outcome)| {
            let is_out = left_out.contains(&span.start);
            assert!(is_out || outcome.is_ok(), "a refused line came out of {}", body.escape_ascii());
            !is_out
        })
        .map(|(_, outcome)| outcome.map(changed))
        .collect();
    let read: Vec<_> = slow(&text, dialect, precision).into_iter().map(|(_, outcome)| outcome).collect();
    assert_eq!(read, expected, "{} from {}", text.escape_ascii(), body.escape_ascii());
}
