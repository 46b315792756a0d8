use proptest::prelude::*;

use super::*;
use crate::line::record::{Datum, Outcome};
use crate::line::{Dialect, Precision, Value, lines, victoria as dialect};

const NOW_MS: i64 = 1_700_000_000_000;
const RULES: VictoriaRules =
    VictoriaRules { refuse_texts: false, past_ms: i64::MAX, ahead_ms: 2 * 86_400_000, now_ms: NOW_MS };

/// What is written for VictoriaMetrics of one line, and what that changes.
fn written(text: &str) -> (String, Vec<(&'static str, u64)>) {
    let line = lines(text.as_bytes(), Dialect::Influx2, Precision::Nanosecond).next().unwrap().unwrap();
    let (mut out, mut changes) = (Vec::new(), Changes::default());
    victoria(&line, line.timestamp_ns().unwrap_or(86_400_005_000_000), RULES, &mut out, &mut changes).unwrap();
    (String::from_utf8(out).unwrap(), changes.some().map(|(change, cells)| (change.code(), cells)).collect())
}

#[test]
fn what_cannot_be_held_is_left_out_and_counted() {
    for (line, expected, changed) in [
        ("m,t=a v=1,w=2i,x=3u 86400007000000", "m,t=a v=1,w=2i,x=3u 86400007\n", &[][..]),
        ("m v=1,v=2 86400007000000", "m v=2 86400007\n", &[]),
        ("m s=\"x\",v=1 86400007000001", "m v=1 86400007\n", &[("text-left-out", 1), ("milliseconds", 1)]),
        ("m s=\"x\" 86400007000000", "", &[("text-left-out", 1)]),
        ("m a=t,b=F 86400007000000", "m a=1,b=0 86400007\n", &[("boolean-as-number", 2)]),
        (
            "m v=0.30000000000000004,w=9007199254740993i 86400007000000",
            "m v=0.30000000000000004,w=9007199254740993i 86400007\n",
            &[("digits", 2)],
        ),
        ("m v=1,w=2 999999", "", &[("time-left-out", 2)]),
        ("m v=1 86399999999999", "", &[("time-left-out", 1)]),
        ("m v=1 86400000000000", "m v=1 86400000\n", &[]),
        ("m v=1 1700172800000000000", "m v=1 1700172800000\n", &[]),
        ("m v=1 1700172800001000000", "", &[("time-left-out", 1)]),
        ("m v=1 -7000000", "", &[("time-left-out", 1)]),
        ("m,db=x v=1 86400007000000", "m,db=x v=1 86400007\n", &[("place", 1)]),
    ] {
        assert_eq!(written(line), (expected.to_owned(), changed.to_vec()), "{line}");
    }
    assert_eq!(written("m\\ x,a\\,b=c\\=d e\\ f=1 86400007000000").0, "m\\ x,a\\,b=c\\=d e\\ f=1 86400007\n");
}

#[test]
fn a_line_that_would_be_dropped_or_misplaced_is_refused_by_name() {
    let refused = |text: &str, rules| {
        let line = lines(text.as_bytes(), Dialect::Influx1, Precision::Nanosecond).next().unwrap().unwrap();
        let (mut out, mut changes) = (Vec::new(), Changes::default());
        let unfit = victoria(&line, 86_400_007_000_000, rules, &mut out, &mut changes).unwrap_err();
        assert!(out.is_empty() && changes == Changes::default());
        unfit.code
    };
    assert_eq!(refused(&format!("m,t={} v=1", "x".repeat(4097)), RULES), "too-large");
    assert_eq!(refused("m,__name__=x v=1", RULES), "bad-name");
    assert_eq!(refused("m s=\"x\",v=1", VictoriaRules { refuse_texts: true, ..RULES }), "text");
}

#[test]
fn what_is_older_than_the_destination_keeps_is_left_out() {
    let rules = VictoriaRules { past_ms: 1000, ..RULES };
    let line = lines(b"m v=1,w=2 5", Dialect::Influx1, Precision::Nanosecond).next().unwrap().unwrap();
    for (at_ms, kept) in [(-1001, false), (-1000, true), (0, true)] {
        let (mut out, mut changes) = (Vec::new(), Changes::default());
        victoria(&line, (NOW_MS + at_ms) * 1_000_000, rules, &mut out, &mut changes).unwrap();
        assert_eq!((!out.is_empty(), changes.some().next()), (kept, (!kept).then_some((Change::TimeLeftOut, 2))));
    }
}

/// What is written for InfluxDB 3 of one line.
fn written_for_3(text: &str) -> Result<String, &'static str> {
    let line = lines(text.as_bytes(), Dialect::Influx2, Precision::Nanosecond).next().unwrap().unwrap();
    let mut out = Vec::new();
    influx3(&line, line.timestamp_ns().unwrap_or(7), &mut out).map_err(|unfit| unfit.code)?;
    Ok(String::from_utf8(out).unwrap())
}

#[test]
fn a_line_is_written_so_that_influxdb_3_takes_it_or_refused_by_name() {
    for (line, expected) in [
        ("m,t=a v=1,w=2i,x=3u,s=\"q\\\"\" 7", Ok("m,t=a v=1,w=2i,x=3u,s=\"q\\\"\" 7\n")),
        ("m v=1,v=2i 7", Ok("m v=2i 7\n")),
        ("m v=1.,w=.5,x=-2. 7", Ok("m v=1e0,w=5e-1,x=-2e0 7\n")),
        ("m,b=1,a=2 v=t 7", Ok("m,a=2,b=1 v=t 7\n")),
        ("m,t=a t=1 7", Err("bad-name")),
    ] {
        assert_eq!(written_for_3(line), expected.map(str::to_owned), "{line}");
    }
}

proptest! {
    /// What InfluxDB 3 would read otherwise is not written.
    #[test]
    fn what_is_written_for_influxdb_3_is_one_point_with_the_same_data(body in crate::line::tests::any_body()) {
        for line in lines(&body, Dialect::Influx2, Precision::Nanosecond).flatten() {
            let mut out = b"before".to_vec();
            if influx3(&line, 7, &mut out).is_err() {
                prop_assert_eq!(out, b"before");
                continue;
            }
            let records = crate::line::influx3::records(&out[6..], Precision::Nanosecond);
            prop_assert_eq!(records.len(), 1);
            let Outcome::Point(point) = &records[0].outcome else { panic!("{records:?}") };
            prop_assert_eq!(&point.measurement, &line.measurement());
            prop_assert_eq!(point.fields.len(), kept_fields(&line).count());
        }
    }

    /// Read by the server's own rules, a written line is what InfluxDB keeps of it, but for what is counted.
    #[test]
    fn what_is_written_is_read_as_it_was_kept(body in crate::line::tests::any_body()) {
        for line in lines(&body, Dialect::Influx1, Precision::Nanosecond).flatten() {
            let (mut out, mut changes) = (Vec::new(), Changes::default());
            if victoria(&line, 86_400_007_000_000, RULES, &mut out, &mut changes).is_err() {
                continue;
            }
            let numbers: Vec<_> = kept_fields(&line)
                .filter_map(|field| match field.value() {
                    Value::Float(value) => Some((field.key(), value)),
                    Value::Integer(value) => Some((field.key(), value as f64)),
                    Value::Unsigned(value) => Some((field.key(), value as f64)),
                    Value::Bool(value) => Some((field.key(), f64::from(value))),
                    _ => None,
                })
                .collect();
            let records = dialect::records(&out, Precision::Millisecond);
            if numbers.is_empty() {
                prop_assert!(records.is_empty());
                continue;
            }
            let [record] = &records[..] else { panic!("{} lines: {:?}", records.len(), String::from_utf8_lossy(&out)) };
            let Outcome::Point(point) = &record.outcome else { panic!("{:?}: {:?}", record, String::from_utf8_lossy(&out)) };
            prop_assert_eq!(&point.measurement, &line.measurement());
            let mut tags = Vec::new();
            line.in_order(|tag| tags.push((tag.key(), tag.value())));
            prop_assert_eq!(&point.tags, &tags);
            prop_assert_eq!(point.time_ns, Some(86_400_007_000_000));
            prop_assert_eq!(point.fields.len(), numbers.len());
            for ((name, datum), (key, value)) in point.fields.iter().zip(numbers) {
                let Datum::Value(Value::Float(read)) = datum else { panic!("{datum:?}") };
                prop_assert_eq!(read.to_bits(), value.to_bits());
                let quoted = key.contains(&b'"');
                prop_assert!(*name == key || quoted && changes.some().any(|(change, _)| change == Change::Name));
            }
        }
    }
}
