#![allow(clippy::unwrap_used)]

use super::*;
use crate::line::Value;
use crate::line::record::{Datum, Fault, Point};

fn read(body: &str) -> Vec<Record<'_>> {
    records(body.as_bytes(), Precision::Nanosecond)
}

fn point(body: &str) -> Point<'_> {
    match read(body).pop().unwrap().outcome {
        Outcome::Point(point) => point,
        other => panic!("{body:?}: {other:?}"),
    }
}

fn fault(body: &[u8], precision: Precision) -> Fault {
    match records(body, precision).pop().unwrap().outcome {
        Outcome::Fault(fault) => fault,
        other => panic!("{}: {other:?}", body.escape_ascii()),
    }
}

/// The words for the first twelve are those of the server's own tests.
#[test]
fn a_fault_names_the_byte_a_code_and_the_servers_words() {
    let trailing = |rest: &str| format!("Could not parse entire line. Found trailing content: `{rest}`");
    let got = |what: &str, rest: &str| format!("Expected {what}, got {rest}");
    let none = "No fields were provided".to_owned();
    let space = "at least one space character";
    let cases = [
        ("measurement", 11, "missing-fields", got(space, "end of input")),
        (",", 0, "missing-measurement", "Invalid measurement was provided".to_owned()),
        ("J,#", 3, "missing-tag-equals", "Tag set malformed: could not find equals sign in `#`".to_owned()),
        ("J,", 2, "missing-tag-key", got("tag key", "end of input")),
        ("testmeasure, bar=1i", 12, "missing-tag-key", got("tag key", "` bar=1i`")),
        ("0,,=", 4, "missing-tag-value", got("tag value", "end of input")),
        ("testmeasure,foo=,baz= bar=1i", 16, "missing-tag-value", got("tag value", "`,baz= bar=...`")),
        ("testmeasure,foo=f bar=1i,baz=", 29, "missing-field-value", trailing("baz=")),
        ("testmeasure,foo=f bar=1i,bazzzzzzzzzz=", 38, "missing-field-value", trailing("bazzzzzzzz...")),
        ("\u{1b}# /", 4, "missing-field-equals", none.clone()),
        (
            ":\u{14}\\",
            2,
            "ends-with-backslash",
            "Measurements, tag keys and values, and field keys may not end with a backslash".to_owned(),
        ),
        (
            "m f=66666666666666666666666666666668i",
            4,
            "integer-out-of-range",
            "Unable to parse integer value `66666666666666666666666666666668`".to_owned(),
        ),
        (
            "m f=18446744073709551616u",
            4,
            "unsigned-out-of-range",
            "Unable to parse unsigned integer value `18446744073709551616`".to_owned(),
        ),
        (
            "m f=1 -9223372036854775809",
            6,
            "timestamp-out-of-range",
            "Unable to parse timestamp value `-9223372036854775809`".to_owned(),
        ),
        ("cpu ", 4, "missing-fields", none.clone()),
        ("cpu =1", 4, "missing-field-key", none.clone()),
        ("cpu v=,w=1", 6, "missing-field-value", none.clone()),
        ("cpu v=abc", 6, "invalid-value", none.clone()),
        ("cpu v=.5", 6, "invalid-number", none.clone()),
        ("cpu v=\"a", 6, "unterminated-string", none),
        ("cpu v=1.", 7, "invalid-number", trailing(".")),
        ("cpu v=1e", 7, "invalid-number", trailing("e")),
        ("cpu v=-1u", 8, "invalid-number", trailing("u")),
        ("cpu v=truex", 10, "text-behind-value", trailing("x")),
        ("cpu v=\"a\"b", 9, "text-behind-value", trailing("b")),
        ("cpu v=1\t1", 7, "text-behind-value", trailing("\t1")),
        ("cpu v=1,w=2,", 12, "missing-field-key", trailing(",")),
        ("cpu v=1, w=2", 8, "missing-field-key", trailing(" w=2")),
        ("cpu v=1 ", 7, "trailing-space", trailing(" ")),
        ("cpu v=1 x", 8, "bad-timestamp", trailing(" x")),
        ("cpu v=1 1 2", 10, "bad-timestamp", trailing("2")),
        ("cpu v=1, 1x", 10, "bad-timestamp", trailing("x")),
        ("cpu v=1\r\n", 7, "carriage-return", trailing("\r")),
        ("cpu v=1 1\r\n", 9, "carriage-return", trailing("\r")),
        ("\r\n", 0, "carriage-return", got(space, "end of input")),
        ("cpu\tv=1", 3, "expected-space", got(space, "`\tv=1`")),
        ("c\0u v=1", 1, "expected-space", got(space, "`\0u v=1`")),
        ("# a=\"b\ncpu v=1\nmem v=2", 14, "held-line-feed", trailing("\nmem v=2")),
    ];
    for (body, at, code, reason) in cases {
        let fault = fault(body.as_bytes(), Precision::Nanosecond);
        assert_eq!((fault.at, fault.code, &fault.reason), (at, code, &reason), "{body:?}");
    }
}

#[test]
fn one_byte_that_is_no_text_refuses_the_whole_body() {
    let body = b"cpu v=1\ncpu v=\"\xff\"\ncpu v=3";
    let [Record { span, outcome: Outcome::Fault(fault) }] = &records(body, Precision::Nanosecond)[..] else {
        panic!("one fault");
    };
    assert_eq!((span.clone(), fault.at, fault.code), (0..body.len(), 15, "not-utf8"));
    assert_eq!(fault.reason, "body content is not valid utf8: invalid utf-8 sequence of 1 bytes from index 15");
}

#[test]
fn a_time_is_in_the_requests_unit_and_must_fit() {
    let seconds = |body| records(body, Precision::Second).pop().unwrap().outcome;
    let Outcome::Point(latest) = seconds(b"m v=1 9223372036") else { panic!("it fits") };
    assert_eq!(latest.time_ns, Some(9_223_372_036_000_000_000));
    let fault = fault(b"m v=1 9223372037", Precision::Second);
    assert_eq!((fault.at, fault.code), (6, "time-out-of-range"));
}

#[test]
fn what_the_older_servers_refuse_or_read_otherwise() {
    let read = point(r"m\\n,,t\=a=b=c,t\=a=\x v=1e400,,w=-1e400,w=2 1  ");
    assert_eq!(*read.measurement, *br"m\n");
    assert_eq!(read.tags, [(b",t=a"[..].into(), b"b=c"[..].into()), (b"t=a"[..].into(), br"\x"[..].into())]);
    let (keys, values): (Vec<_>, Vec<_>) = read.fields.into_iter().unzip();
    assert_eq!(keys, [&b"v"[..], b",w", b"w"]);
    assert_eq!(values, [f64::INFINITY, f64::NEG_INFINITY, 2.0].map(|value| Datum::Value(Value::Float(value))));
    assert_eq!(read.time_ns, Some(1));
    assert_eq!(point("m v=1, 7").time_ns, Some(7), "the comma behind the first field may end the fields");
    let text = point(r#"m s="a\"b\\c\d\\""#);
    assert_eq!(text.fields[0].1, Datum::Value(Value::String(br#"a"b\c\d\"#[..].into())));
}

#[test]
fn each_line_has_a_record_comments_and_blank_ones_too() {
    let shape = |body| {
        let kind = |record: Record<'_>| match record.outcome {
            Outcome::Skipped => (record.span, '-'),
            Outcome::Point(_) => (record.span, '+'),
            Outcome::Fault(_) => (record.span, '!'),
        };
        read(body).into_iter().map(kind).collect::<Vec<_>>()
    };
    assert_eq!(shape(""), []);
    assert_eq!(shape("\n"), [(0..0, '-')]);
    assert_eq!(shape("# c\n\t \n m v=1\nm\n"), [(0..3, '-'), (4..6, '-'), (7..13, '+'), (14..15, '!')]);
    // A backslash and a quote in a comment hold its line feed; what follows is read all the same.
    assert_eq!(shape("#\\\n\n  # x\n\t m v=1"), [(0..2, '-'), (3..3, '-'), (4..9, '-'), (10..17, '+')]);
    assert_eq!(shape("# a=\"\n\n#\n m v=1"), [(0..5, '-'), (6..6, '-'), (7..8, '-'), (9..15, '+')]);
    assert_eq!(shape("# a=\"\n"), [(0..5, '-')]);
    assert_eq!(shape("m s=\"a\nb\" 1\nm v=2"), [(0..11, '+'), (12..17, '+')]);
}

#[test]
fn names_and_texts_have_at_most_64_kib_without_their_backslashes() {
    let long = "n".repeat(MAX_TEXT_BYTES);
    let escaped = "\\,".repeat(MAX_TEXT_BYTES);
    for (before, behind) in [("", " v=1"), ("m,", "=a v=1"), ("m,t=", " v=1"), ("m ", "=1"), ("m s=\"", "\"")] {
        point(&format!("{before}{long}{behind}"));
        let fault = fault(format!("{before}{long}n{behind}").as_bytes(), Precision::Nanosecond);
        assert_eq!((fault.at, fault.code), (before.trim_end_matches('"').len(), "too-long"), "{before}");
        if !before.ends_with('"') {
            point(&format!("{before}{escaped}{behind}"));
        }
    }
}

/// Nothing is asserted on time, but reading any of these twice over would be felt.
#[test]
fn large_and_odd_bodies_are_read() {
    let tags: String = (0..10_000).map(|number| format!(",t{number}=a")).collect();
    assert_eq!(point(&format!("m{tags} v=1")).tags.len(), 10_000);
    let fields: String = (0..10_000).map(|number| format!("f{number}=\"\",")).collect();
    assert_eq!(point(&format!("m {fields}v=1")).fields.len(), 10_001);
    let (quotes, pairs) = ("\\\"".repeat(30_000), "\\\\".repeat(30_000));
    assert_eq!(
        point(&format!("m s=\"{quotes}{pairs}\"")).fields[0].1,
        Datum::Value(Value::String([vec![b'"'; 30_000], vec![b'\\'; 30_000]].concat().into()))
    );
    for unit in [
        "\\\"",
        "\\",
        "\"",
        "# a=\"",
        "m v=\"",
        "a",
        ",",
        "=",
        " ",
        "#",
        "\n",
        "#\\\n",
        "m v=1,",
        "1",
        "m v=1\r\n",
        "\\\\",
    ] {
        let body = unit.repeat(100_000);
        assert!(read(&body).len() <= 100_000, "{unit:?}");
        assert!(read(&format!("m {body}")).len() <= 100_001, "{unit:?}");
        assert!(read(&format!("m v={body}")).len() <= 100_001, "{unit:?}");
    }
}
