use proptest::prelude::*;

use super::*;

fn read(body: &str) -> Vec<Record<'_>> {
    records(body.as_bytes(), Precision::Nanosecond)
}

fn point_of(line: &str) -> Point<'_> {
    let mut records = read(line);
    assert_eq!(records.len(), 1, "{line}: {records:?}");
    match records.remove(0).outcome {
        Outcome::Point(point) => point,
        other => panic!("{line}: {other:?}"),
    }
}

/// A line's data in short.
fn shown(line: &str) -> String {
    let point = point_of(line);
    let text = |text: &[u8]| text.escape_ascii().to_string();
    let datum = |datum: &Datum<'_>| match datum {
        Datum::Value(Value::String(value)) => format!("\"{}\"", text(value)),
        Datum::Value(Value::Float(value)) => format!("{value:?}"),
        Datum::Value(Value::Integer(value)) => format!("{value}i"),
        Datum::Value(Value::Bool(value)) => format!("{value}"),
        Datum::Value(other) => panic!("{other:?}"),
        Datum::Null => "null".to_owned(),
        Datum::Other { kind, text: value } => format!("{kind}:{}", text(value)),
    };
    let tags: Vec<String> = point.tags.iter().map(|(key, value)| format!("{}={}", text(key), text(value))).collect();
    let fields: Vec<String> =
        point.fields.iter().map(|(key, value)| format!("{}={}", text(key), datum(value))).collect();
    let time = point.time_ns.map_or(String::new(), |time| format!("@{time}"));
    format!("{}|{}|{}|{time}", text(&point.measurement), tags.join(","), fields.join(","))
}

#[test]
fn a_cr_ends_a_line_as_a_line_feed_does() {
    let body = "a b=1\rc d=2\r\ne f=\"\r\"\n\ng h=\"i\\\nj\"\n===\n#k\nl m=1";
    let records = read(body);
    let spans: Vec<&str> = records.iter().map(|record| &body[record.span.clone()]).collect();
    assert_eq!(spans, ["a b=1", "c d=2", "e f=\"\r\"", "", "g h=\"i\\\nj\"", "===", "#k", "l m=1"]);
    let skipped: Vec<usize> = (0..8).filter(|at| records[*at].outcome == Outcome::Skipped).collect();
    assert_eq!(skipped, [3, 5]);
    assert!(matches!(&records[6].outcome, Outcome::Fault(fault) if fault.mend.contains("comments")));
    assert!(read("").is_empty());
}

#[test]
fn lines_have_one_space_between_sections_and_need_no_fields() {
    for (line, expected) in [
        ("t,a=b,c=d e=1,f=2i 3", "t|a=b,c=d|e=1.0,f=2i|@3"),
        ("t,a=b", "t|a=b||"),
        ("t,a=b 5", "t|a=b||@5"),
        ("t,a=b ", "t|a=b||"),
        ("t,a=b  7", "t|a=b||@7"),
        ("t,a= b=1", "t|a=|b=1.0|"),
        ("t, b=1", "t||b=1.0|"),
        ("t b=1,", "t||b=1.0|"),
        ("t b=1, 5", "t||b=1.0|@5"),
        ("t b=1 ", "t||b=1.0|"),
        (",a=b c=1", "|a=b|c=1.0|"),
        ("==t b=1", "t||b=1.0|"),
    ] {
        assert_eq!(shown(line), expected, "{line}");
    }
}

#[test]
fn a_backslash_goes_and_what_follows_it_stays() {
    for (line, expected) in [
        (r"c\,p\ u\=\n\/ v=1", "c,p u=n/||v=1.0|"),
        (r"t,a\ =\\b\, v\==1", r"t|a =\\b,|v==1.0|"),
        (r#"t v="a\"b\\c\n,d e=f""#, r#"t||v="a\"b\\cn,d e=f"|"#),
        (r#"t v=\"a\""#, r#"t||v="a"|"#),
        (r#"t v="a"b\""#, r#"t||v="a\"b"|"#),
        (r"t v=1 1\2", "t||v=1.0|@12"),
        (r#"t,a="b" v=1"#, r#"t|a=\"b\"|v=1.0|"#),
    ] {
        assert_eq!(shown(line), expected, "{line}");
    }
    assert!(matches!(point_of("t v=\"plain\"").fields[0].1, Datum::Value(Value::String(Cow::Borrowed(_)))));
}

#[test]
fn a_values_last_byte_says_what_it_is() {
    for (value, expected) in [
        ("", "null"),
        ("1", "1.0"),
        ("1i", "1i"),
        ("1_0i", "10i"),
        ("0x1Fi", "long256:0x1F"),
        ("0xzzi", "long256:0xzz"),
        ("1t", "timestamp_us:1"),
        ("1n", "timestamp_ns:1"),
        ("1m", "timestamp_ms:1"),
        ("1.50d", "decimal:1.50"),
        ("NaNd", "null"),
        ("T", "true"),
        ("tRuE", "true"),
        ("f", "false"),
        ("E", "false"),
        ("FALSE", "false"),
        ("NaN", "NaN"),
        ("Infinity", "inf"),
        ("0x1p4", "16.0"),
        ("\t1", "1.0"),
        ("\"\"", "\"\""),
        ("1/", ""),
        ("1u", ""),
        ("i", ""),
        ("n", ""),
        ("m", ""),
        ("e", ""),
        ("d", ""),
        ("0xi", ""),
        ("1x1i", ""),
        ("1.0i", ""),
        ("1e400", ""),
        ("1e-400", ""),
        ("abc", ""),
        ("1f", ""),
        ("a\"", ""),
    ] {
        let line = format!("t v={value}");
        match expected {
            "" => {
                let Outcome::Fault(fault) = &read(&line)[0].outcome else { panic!("{line}") };
                assert_eq!((fault.at, fault.code), (4, "invalid-field-value"), "{line}");
            }
            _ => assert_eq!(shown(&line), format!("t||v={expected}|"), "{line}"),
        }
    }
}

#[test]
fn a_time_may_name_its_unit() {
    let time = |line: &str, precision| match &records(line.as_bytes(), precision)[0].outcome {
        Outcome::Point(point) => point.time_ns,
        other => panic!("{line}: {other:?}"),
    };
    for (line, expected) in [
        ("t v=1 2", Some(2_000_000_000)),
        ("t v=1 2n", Some(2)),
        ("t v=1 2t", Some(2_000)),
        ("t v=1 2m", Some(2_000_000)),
        ("t v=1 1_0n", Some(10)),
        ("t v=1 -1", Some(-1_000_000_000)),
        ("t v=1 0", Some(0)),
        ("t v=1 9223372036854775807", Some(i64::MAX)),
        ("t v=1 -9223372036854775808n", None),
        ("t v=1", None),
    ] {
        assert_eq!(time(line, Precision::Second), expected, "{line}");
    }
}

#[test]
fn a_fault_names_the_byte_the_rule_and_the_way_out() {
    for (line, at, code) in [
        ("t", 1, "missing-fields"),
        ("t ", 2, "missing-fields"),
        ("t,", 2, "missing-fields"),
        ("t  ", 3, "missing-fields"),
        ("t=u v=1", 1, "missing-fields"),
        ("t,=a v=1", 2, "missing-tag-key"),
        ("t,a v=1", 3, "missing-tag-value"),
        ("t,,a=b v=1", 2, "missing-tag-value"),
        ("t =1", 2, "missing-field-key"),
        ("t v=1,=2", 6, "missing-field-key"),
        ("t v", 3, "missing-field-value"),
        ("t 1", 3, "missing-field-value"),
        ("t v=1,,w=2", 6, "missing-field-value"),
        ("t \"a b\"=1", 4, "missing-field-value"),
        (" t v=1", 2, "missing-field-value"),
        ("t  v=1", 4, "invalid-separator"),
        ("t v=1  2", 6, "invalid-separator"),
        ("t v=1 2 ", 7, "invalid-separator"),
        ("t v=1=2", 5, "invalid-separator"),
        ("t,a== v=1", 4, "invalid-separator"),
        ("t v=\"a\nu v=1", 4, "unbalanced-quotes"),
        ("t v=\"a\"\"", 7, "invalid-field-value"),
        ("t v=\"a\"b\"", 8, "invalid-field-value"),
        ("t v=a\0", 5, "invalid-field-value"),
        ("a/b v=1", 1, "invalid-table-name"),
        ("a\\\\b v=1", 2, "invalid-table-name"),
        ("a\0 v=1", 1, "invalid-table-name"),
        ("t a/b=1", 3, "invalid-column-name"),
        ("t,a\\\\=b v=1", 4, "invalid-column-name"),
        ("t v=1 x", 6, "bad-timestamp"),
        ("t v=1 n", 6, "bad-timestamp"),
        ("t v=1 1/2", 7, "bad-timestamp"),
        ("t,a=b 1x", 6, "bad-timestamp"),
        ("t v=1\\", 6, "unfinished-line"),
        ("t v=\"a\\", 7, "unfinished-line"),
    ] {
        match &read(line)[0].outcome {
            Outcome::Fault(fault) => {
                assert_eq!((fault.at, fault.code), (at, code), "{line}");
                assert!(!fault.reason.is_empty() && !fault.mend.is_empty(), "{line}");
            }
            other => panic!("{line}: {other:?}"),
        }
    }
    let long = format!("t v={}u", "9".repeat(1_000_000));
    let Outcome::Fault(fault) = &read(&long)[0].outcome else { panic!("no unsigned") };
    assert!(fault.reason.len() < 200 && fault.mend.contains("unsigned"), "{fault:?}");
}

#[test]
fn what_follows_a_fault_is_read_from_the_next_line_end_on() {
    let body = "t v=\"a\nu v=1\n\"\\\n v=1\nw v=2";
    let codes: Vec<&str> = read(body)
        .iter()
        .map(|record| match &record.outcome {
            Outcome::Fault(fault) => fault.code,
            Outcome::Point(_) => "point",
            Outcome::Skipped => "skipped",
        })
        .collect();
    assert_eq!(codes, ["unbalanced-quotes", "point", "point", "point"], "the third table's name holds a line feed");
}

#[test]
fn binary_values_are_passed_by_length() {
    let line = |value: &[u8], rest: &str| [b"t v==", value, rest.as_bytes()].concat();
    let double = [&[16][..], &1.5_f64.to_le_bytes()].concat();
    let doubles = [&[14, 10, 1, 2, 0, 0, 0][..], &[b'\n'; 16]].concat();
    for (value, expected) in [
        (&[6, 1][..], Value::Bool(true).into()),
        (&[3, b'\n', 0, 0, 0], Value::Integer(10).into()),
        (&[2, 0, 0, 0x80, 0x3f], Value::Float(1.0).into()),
        (&double, Value::Float(1.5).into()),
        (&[15, 1, 0, 0, 0, 0, 0, 0, 0], Value::Integer(1).into()),
        (&[13, 2, 7, 0, 0, 0, 0, 0, 0, 0], Datum::Other { kind: "timestamp_us", text: Cow::Borrowed(b"7") }),
        (&[14, 10, 0], Datum::Null),
        (&[14, 10, 1, 0, 0, 0, 0], Datum::Other { kind: "array", text: Cow::Borrowed(&[10, 1, 0, 0, 0, 0]) }),
        (&doubles, Datum::Other { kind: "array", text: Cow::Borrowed(&doubles[1..]) }),
        (&[23, 2, 0], Datum::Null),
        (&[23, 2, 2, 1, 44], Datum::Other { kind: "decimal", text: Cow::Borrowed(b"0x012c/10^2") }),
    ] {
        for (rest, fields, time) in [("", 1, None), ("\n", 1, None), (" 5", 1, Some(5)), (",w=1 5\r", 2, Some(5))] {
            let body = line(value, rest);
            let all = records(&body, Precision::Nanosecond);
            let [Record { outcome: Outcome::Point(point), .. }] = &all[..] else {
                panic!("{value:?} {rest:?}: {all:?}")
            };
            assert_eq!((point.fields.len(), point.time_ns), (fields, time), "{value:?} {rest:?}");
            assert_eq!(point.fields[0].1, expected);
        }
    }
    for (value, code) in [
        (&[][..], "invalid-binary-value"),
        (&[99], "invalid-binary-value"),
        (&[14, 9, 1], "invalid-binary-value"),
        (&[14, 10, 33], "invalid-binary-value"),
        (&[14, 10, 2, 255, 255, 255, 127, 255, 255, 255, 127], "invalid-binary-value"),
        (&[14, 10, 1, 255, 255, 255, 255], "unfinished-line"),
        (&[23, 77], "invalid-binary-value"),
        (&[16, 1, 2], "unfinished-line"),
        (&[6, 1, b'x'], "invalid-separator"),
    ] {
        let body = line(value, "\n");
        match &records(&body, Precision::Nanosecond)[0].outcome {
            Outcome::Fault(fault) => assert_eq!(fault.code, code, "{value:?}"),
            other => panic!("{value:?}: {other:?}"),
        }
    }
}

#[test]
fn whole_lines_end_where_a_line_does() {
    for (beginning, end) in [
        ("", 0),
        ("t v=1", 0),
        ("t v=1\n", 6),
        ("t v=1\r", 0),
        ("t v=1\r\n", 7),
        ("t v=1\ru", 6),
        ("t v=1\nu v=\"a\\\n", 6),
        ("bad\nu v=\"a\n", 11),
        ("t v=1\nbad", 6),
        ("\n\n", 2),
        // Eight bytes of a binary value, of which the last is a line feed; what follows should end the value.
        ("t v==\r\nseconds\n", 0),
        ("t v==\r\nseconds\nx\n", 17),
    ] {
        assert_eq!(whole_lines(beginning.as_bytes()), end, "{beginning:?}");
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
        8 => proptest::sample::select(&b" ,=\"\\\r\n/#-+.eEintmdfTpx0189_"[..]),
        1 => any::<u8>(),
        1 => 0..24_u8,
    ];
    proptest::collection::vec(byte, 0..80)
}

proptest! {
    #[test]
    fn no_bytes_panic_and_spans_are_in_order(body in hostile()) {
        let mut last = 0;
        for record in records(&body, Precision::Second) {
            prop_assert!(record.span.start >= last && record.span.start <= record.span.end);
            last = record.span.end;
            if let Outcome::Fault(fault) = &record.outcome {
                prop_assert!(record.span.contains(&fault.at) || fault.at == record.span.end, "{:?}", fault);
            }
        }
        prop_assert!(last <= body.len());
    }

    #[test]
    fn whole_lines_read_the_same_whatever_follows(first in hostile(), second in hostile()) {
        let whole = &first[..whole_lines(&first)];
        let alone = records(whole, Precision::Second);
        let both = [&first[..], &second].concat();
        let together = records(&both, Precision::Second);
        prop_assert!(alone.len() <= together.len());
        for (alone, together) in alone.iter().zip(&together) {
            // By text, for what is no number is not equal to itself.
            prop_assert_eq!(format!("{alone:?}"), format!("{together:?}"));
        }
    }
}
