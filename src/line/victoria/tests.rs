use proptest::prelude::*;

use super::*;

fn read(body: &str) -> Vec<Record<'_>> {
    records(body.as_bytes(), Precision::Nanosecond)
}

fn point_of(line: &str) -> Point<'_> {
    match read(line).remove(0).outcome {
        Outcome::Point(point) => point,
        other => panic!("{line}: {other:?}"),
    }
}

fn floats(line: &str) -> Vec<f64> {
    let value = |(_, datum): (Text<'_>, Datum<'_>)| match datum {
        Datum::Value(Value::Float(value)) => value,
        other => panic!("{other:?}"),
    };
    point_of(line).fields.into_iter().map(value).collect()
}

#[test]
fn lines_end_at_each_line_feed_and_lose_one_cr() {
    let body = "cpu v=1\r\n\r\n# x=\"\n # no comment\nmem v=2\r\r\nlast v=3";
    let records = read(body);
    let spans: Vec<&str> = records.iter().map(|record| &body[record.span.clone()]).collect();
    assert_eq!(spans, ["cpu v=1", "", "# x=\"", " # no comment", "mem v=2\r", "last v=3"]);
    let skipped: Vec<bool> = records.iter().map(|record| record.outcome == Outcome::Skipped).collect();
    assert_eq!(skipped, [false, true, true, false, false, false]);
    assert!(read("").is_empty());
}

#[test]
fn every_field_is_a_float() {
    assert_eq!(
        floats(r#"m a=1i,b=2u,c=t,d=False,e="7",f="x, y=z",g=abc,h=1.5"#),
        [1.0, 2.0, 1.0, 0.0, 7.0, 0.0, 0.0, 1.5]
    );
    assert_eq!(floats("m a=-1."), [1.0], "the server forgets the sign");
    assert!(floats("m a=nan")[0].is_nan());
    assert_eq!(floats("m a=-inf"), [f64::NEG_INFINITY]);
}

#[test]
fn names_lose_backslashes_in_pairs_and_empty_tags_are_gone() {
    let point = point_of(r"c\,p\\u\x,a\ b=c\=d,e=,=f,g=h\\ k\ l=1");
    assert_eq!(*point.measurement, *br"c,p\u\x");
    let tags: Vec<(&[u8], &[u8])> = point.tags.iter().map(|(key, value)| (&**key, &**value)).collect();
    assert_eq!(tags, [(&b"a b"[..], &b"c=d"[..]), (b"g", br"h\")]);
    assert_eq!(*point.fields[0].0, *b"k l");
    let nameless = point_of(",t=a v=1");
    assert!(nameless.measurement.is_empty() && nameless.tags.len() == 1);
}

#[test]
fn times_are_whole_milliseconds_and_zero_is_none() {
    let time = |line: &str, precision| match &records(line.as_bytes(), precision)[0].outcome {
        Outcome::Point(point) => point.time_ns,
        other => panic!("{line}: {other:?}"),
    };
    for (line, precision, expected) in [
        ("m v=1 1465839830100400200", Precision::Nanosecond, Some(1_465_839_830_100_000_000)),
        ("m v=1 -1999999", Precision::Nanosecond, Some(-1_000_000)),
        ("m v=1 5", Precision::Nanosecond, Some(0)),
        ("m v=1 0", Precision::Nanosecond, None),
        ("m v=1 -0", Precision::Second, None),
        ("m v=1", Precision::Second, None),
        ("m v=1   ", Precision::Second, None),
        ("m v=1 2500", Precision::Microsecond, Some(2_000_000)),
        ("m v=1 3", Precision::Millisecond, Some(3_000_000)),
        ("m v=1 3", Precision::Second, Some(3_000_000_000)),
        ("m v=1 3", Precision::Minute, Some(180_000_000_000)),
        ("m v=1 3", Precision::Hour, Some(10_800_000_000_000)),
        ("m v=1 9223372036854775807", Precision::Millisecond, Some(i64::MAX)),
        ("m v=1 9223372036854775807", Precision::Second, Some(-1_000_000_000)),
    ] {
        assert_eq!(time(line, precision), expected, "{line} {precision:?}");
    }
}

#[test]
fn a_fault_names_the_byte_the_rule_and_the_way_out() {
    for (line, at, code) in [
        ("cpu", 3, "missing-fields"),
        (" ", 1, "missing-fields"),
        ("cpu ", 4, "missing-fields"),
        ("cpu,t v=1", 5, "missing-tag-value"),
        ("cpu,t=a, v=1", 8, "missing-tag-value"),
        ("cpu v", 5, "missing-field-value"),
        ("cpu v=1,", 8, "missing-field-value"),
        ("cpu v= 1", 6, "missing-field-value"),
        ("cpu =1", 4, "missing-field-key"),
        ("cpu a=1,v=\"x", 10, "unbalanced-quotes"),
        ("cpu v=\"x\"y", 6, "unbalanced-quotes"),
        ("cpu v=1xi", 6, "invalid-number"),
        ("cpu v=9223372036854775808i", 6, "integer-out-of-range"),
        ("cpu v=-1u", 6, "invalid-number"),
        ("cpu v=18446744073709551616u", 6, "unsigned-out-of-range"),
        ("cpu v=1 1x", 8, "bad-timestamp"),
        ("cpu v=1 1 ", 8, "bad-timestamp"),
        ("cpu v=1 9223372036854775808", 8, "timestamp-out-of-range"),
        ("  # no comment", 3, "missing-field-value"),
    ] {
        match &read(line)[0].outcome {
            Outcome::Fault(fault) => {
                assert_eq!((fault.at, fault.code), (at, code), "{line}");
                assert!(!fault.reason.is_empty() && !fault.mend.is_empty(), "{line}");
            }
            other => panic!("{line}: {other:?}"),
        }
    }
    let long = format!("cpu v={}i", "9".repeat(1_000_000));
    let Outcome::Fault(fault) = &read(&long)[0].outcome else { panic!("in range") };
    assert!(fault.reason.len() < 200, "{}", fault.reason);
}

#[test]
fn lines_behind_a_refused_one_are_read() {
    let records = read("bad\nmem v=2");
    assert!(matches!(records[0].outcome, Outcome::Fault(_)) && matches!(records[1].outcome, Outcome::Point(_)));
}

#[test]
fn whole_lines_end_behind_the_last_line_feed() {
    for (beginning, end) in [("", 0), ("cpu", 0), ("cpu v=\"a\nb", 9), ("a v=1\n", 6)] {
        assert_eq!(whole_lines(beginning.as_bytes()), end);
    }
}

#[test]
fn long_lines_are_read_in_one_go() {
    let tags: String = (0..10_000).map(|number| format!(",t{number}=a")).collect();
    assert_eq!(point_of(&format!("m{tags} v=1")).tags.len(), 10_000);
    let fields: String = (0..10_000).map(|number| format!("f{number}=\"\",")).collect();
    assert_eq!(point_of(&format!("m {fields}v=1")).fields.len(), 10_001);
    for unit in
        ["\\\"", "\\", "\"", ",", "=", " ", "a", "a=", ",a=b", ",a=\"", " \"", "\\\n", "\r", "\n", "1", "_1", "0."]
    {
        for start in ["", "m,t=", "m v=", "m v=\"", "m v=1 "] {
            let body = start.to_owned() + &unit.repeat(500_000 / unit.len());
            assert!(!read(&body).is_empty(), "{start}{unit}");
        }
    }
}

/// Bytes that mean something, and some that do not.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        4 => proptest::sample::select(&b" ,=\"\\\r\n#-+.eEiutfn0189_"[..]),
        1 => any::<u8>(),
    ];
    proptest::collection::vec(byte, 0..80)
}

proptest! {
    #[test]
    fn no_bytes_panic_and_spans_are_in_order(body in hostile()) {
        let mut last = 0;
        for record in records(&body, Precision::Second) {
            prop_assert!(record.span.start >= last && record.span.start <= record.span.end);
            prop_assert!(!body[record.span.clone()].contains(&b'\n'));
            last = record.span.end;
            if let Outcome::Fault(fault) = &record.outcome {
                prop_assert!(record.span.contains(&fault.at) || fault.at == record.span.end, "{:?}", fault);
            }
        }
        prop_assert!(last <= body.len());
        prop_assert!(whole_lines(&body) <= body.len());
    }

    #[test]
    fn a_lines_reading_does_not_depend_on_its_neighbours(first in hostile(), second in hostile()) {
        let alone: Vec<_> = records(&first, Precision::Second).into_iter().map(|record| record.outcome).collect();
        let mut both = first.clone();
        both.push(b'\n');
        both.extend_from_slice(&second);
        let together = records(&both, Precision::Second);
        for (alone, together) in alone.iter().zip(&together) {
            // By text, for what is no number is not equal to itself.
            prop_assert_eq!(format!("{alone:?}"), format!("{:?}", together.outcome));
        }
    }
}
