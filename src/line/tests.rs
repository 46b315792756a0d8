//! The quick reader against the slow one, and what stamping, cutting and rewriting must keep.

use proptest::prelude::*;

use super::fast::Reader;
use super::naive::{self, Datum, Point};
use super::*;

const DIALECTS: [Dialect; 2] = [Dialect::Influx1, Dialect::Influx2];
pub(super) const PRECISIONS: [Precision; 6] = [
    Precision::Nanosecond,
    Precision::Microsecond,
    Precision::Millisecond,
    Precision::Second,
    Precision::Minute,
    Precision::Hour,
];

fn copied(line: &Line<'_>) -> Point {
    let mut tags: Vec<_> = line.tags().iter().map(|tag| (tag.key().into_owned(), tag.value().into_owned())).collect();
    tags.sort();
    let fields = line.fields().iter().map(|field| (field.key().into_owned(), datum(field.value()))).collect();
    Point { measurement: line.measurement().into_owned(), tags, fields, time_ns: line.timestamp_ns() }
}

/// The slow reader does not tell a bad spelling from a bad range in floats.
fn merged(reason: Reason) -> Reason {
    if reason == Reason::InvalidFloat { Reason::InvalidNumber } else { reason }
}

/// What became of a line, and where it stands.
type Outcome = (std::ops::Range<usize>, Result<Point, Reason>);

fn quick(body: &[u8], dialect: Dialect, precision: Precision) -> Vec<Outcome> {
    quick_with(scan::best(), body, dialect, precision)
}

fn quick_with(level: scan::Level, body: &[u8], dialect: Dialect, precision: Precision) -> Vec<Outcome> {
    Lines { reader: Reader::with(level, body, dialect, precision) }
        .map(|outcome| match outcome {
            Ok(line) => (line.span(), Ok(copied(&line))),
            Err(malformed) => (malformed.span, Err(merged(malformed.reason))),
        })
        .collect()
}

fn slow(body: &[u8], dialect: Dialect, precision: Precision) -> Vec<Outcome> {
    let merge = |(span, outcome): (_, Result<Point, Reason>)| (span, outcome.map_err(merged));
    naive::parse(body, dialect, precision).into_iter().map(merge).collect()
}

fn points(body: &[u8], dialect: Dialect, precision: Precision) -> Vec<Point> {
    slow(body, dialect, precision).into_iter().filter_map(|(_, outcome)| outcome.ok()).collect()
}

fn first_reason(body: &str, dialect: Dialect) -> Option<Reason> {
    lines(body.as_bytes(), dialect, Precision::Nanosecond).find_map(Result::err).map(|malformed| malformed.reason)
}

fn only_line(body: &[u8]) -> Line<'_> {
    let mut read = lines(body, Dialect::Influx2, Precision::Nanosecond);
    let line = read.next().unwrap().unwrap();
    assert!(read.next().is_none());
    line
}

/// What a receiver gets, in the form of the slow reader.
#[derive(Default)]
struct Handed<'a> {
    tags: Vec<Tag<'a>>,
    fields: Vec<(&'a [u8], Value<'a>)>,
    lines: Vec<Outcome>,
}

impl<'a> Receiver<'a> for Handed<'a> {
    fn begin(&mut self) {
        self.tags.clear();
        self.fields.clear();
    }
    fn tag(&mut self, tag: Tag<'a>) {
        self.tags.push(tag);
    }
    fn field(&mut self, key: &'a [u8], value: Value<'a>) {
        self.fields.push((key, value));
    }
    fn line(&mut self, head: Head<'a>) {
        let mut tags: Vec<_> = self.tags.iter().map(|tag| (tag.key().into_owned(), tag.value().into_owned())).collect();
        tags.sort();
        let name = |raw| escape::unescape_name(raw).into_owned();
        let fields = self.fields.iter().map(|(key, value)| (name(key), datum(value.clone()))).collect();
        let point = Point { measurement: name(head.measurement), tags, fields, time_ns: head.time_ns };
        self.lines.push((head.span, Ok(point)));
    }
    fn refused(&mut self, line: Malformed<'a>) {
        self.lines.push((line.span, Err(merged(line.reason))));
    }
}

fn datum(value: Value<'_>) -> Datum {
    match value {
        Value::Float(value) => Datum::Float(value.to_bits()),
        Value::Integer(value) => Datum::Integer(value),
        Value::Unsigned(value) => Datum::Unsigned(value),
        Value::Bool(value) => Datum::Bool(value),
        Value::String(text) => Datum::String(text.into_owned()),
        Value::Undecodable(raw) => Datum::Undecodable(raw.to_vec()),
    }
}

/// Pieces of line protocol, right and wrong; joined at random they reach every branch of the readers.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let texts = prop_oneof![
        Just("cpu"),
        Just("m"),
        Just("host"),
        Just("t"),
        Just("time"),
        Just("_field"),
        Just("v"),
        Just("w"),
        Just(","),
        Just("="),
        Just(" "),
        Just("\n"),
        Just("\""),
        Just("\\"),
        Just("#"),
        Just("\t"),
        Just("\0"),
        Just("\r"),
        Just("\\\\"),
        Just("\\,"),
        Just("\\ "),
        Just("\\="),
        Just("\\\""),
        Just("\\\n"),
    ];
    let values = prop_oneof![
        Just("1"),
        Just("1i"),
        Just("2u"),
        Just("-3.5"),
        Just("1e3"),
        Just("1e400"),
        Just(".5"),
        Just("."),
        Just("t"),
        Just("False"),
        Just("tRUE"),
        Just("\"text\""),
        Just("\"a\\\"b\""),
        Just("\"x\ny\""),
        Just("\"\""),
        Just("9223372036854775808i"),
        Just("18446744073709551616u"),
        Just("1i2"),
        Just("--1"),
        Just("N"),
        Just("0.1234567890123456789012345"),
        Just("1500000000"),
        Just("-1"),
        Just("9223372036854775807"),
    ];
    prop_oneof![
        4 => texts.prop_map(|text| text.as_bytes().to_vec()),
        1 => values.prop_map(|text| text.as_bytes().to_vec()),
        1 => any::<u8>().prop_map(|byte| vec![byte]),
    ]
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-z][a-z0-9_]{0,5}",
        1 => r#"[a-c\\"=, #]{1,6}"#.prop_map(|name| {
            // Escaped as a careful client does; a backslash at the end cannot be written.
            name.replace(',', "\\,").replace(' ', "\\ ").replace('=', "\\=").trim_end_matches('\\').to_string() + "z"
        }),
    ]
}

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => any::<f64>().prop_filter("finite", |v| v.is_finite()).prop_map(|v| format!("{v:?}")),
        2 => any::<i64>().prop_map(|v| format!("{v}i")),
        1 => any::<u64>().prop_map(|v| format!("{v}u")),
        1 => any::<bool>().prop_map(|v| v.to_string()),
        2 => any::<String>().prop_map(|v| format!("\"{}\"", v.replace('\\', "\\\\").replace('"', "\\\""))),
        1 => r#""[a-c,= \\n]{0,6}x""#,
    ]
}

/// Lines as clients write them.
fn written_line() -> impl Strategy<Value = String> {
    let tags = proptest::collection::vec((name(), name()), 0..5);
    let fields = proptest::collection::vec((name(), value()), 1..5);
    let time = proptest::option::of(-2_000_000_000i64..2_000_000_000);
    (name(), tags, fields, time).prop_map(|(measurement, tags, fields, time)| {
        let tags: String = tags.iter().map(|(key, value)| format!(",{key}={value}")).collect();
        let fields: Vec<String> = fields.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let time = time.map_or(String::new(), |time| format!(" {time}"));
        format!("{measurement}{tags} {}{time}", fields.join(","))
    })
}

fn written_body() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(
        prop_oneof![8 => written_line(), 1 => Just("# note".to_string()), 1 => Just(String::new())],
        0..6,
    )
    .prop_flat_map(|lines| (Just(lines.join("\n").into_bytes()), any::<bool>()))
    .prop_map(|(mut body, ended)| {
        if ended {
            body.push(b'\n');
        }
        body
    })
}

fn changed_body() -> impl Strategy<Value = Vec<u8>> {
    (written_body(), proptest::collection::vec((any::<prop::sample::Index>(), piece(), 0usize..3), 0..4)).prop_map(
        |(mut body, changes)| {
            for (at, piece, removed) in changes {
                let at = at.index(body.len() + 1);
                let end = (at + removed).min(body.len());
                body.splice(at..end, piece);
            }
            body
        },
    )
}

pub(super) fn any_body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        3 => changed_body(),
        3 => proptest::collection::vec(piece(), 0..24).prop_map(|pieces| pieces.concat()),
        // A frame that is already a point, so that most of what is thrown in decides about its fields and names.
        3 => (proptest::collection::vec(piece(), 0..5), proptest::collection::vec(piece(), 0..9)).prop_map(
            |(name, fields)| [b"m", &*name.concat(), b" f=", &*fields.concat()].concat()
        ),
        1 => proptest::collection::vec(any::<u8>(), 0..200),
    ]
}

/// A piece that takes the place of a byte.
type Change = (prop::sample::Index, Vec<u8>);

/// Lines one after another with the same tag keys, often; what the quick reader knows from the line before.
fn similar_lines() -> impl Strategy<Value = Vec<u8>> {
    let key = prop_oneof![
        4 => "[a-z]{1,9}",
        2 => "service_[a-c]{0,3}",
        1 => "a_key_of_more_than_sixteen_[a-c]",
        1 => prop::sample::select(vec!["time", "_field", "t\\ x", "é"]).prop_map(str::to_string),
    ];
    let line = (
        proptest::collection::vec("[a-z0-9]{1,9}", 6),
        1_699_999_999_999_999_900u64..1_700_000_000_000_000_100,
        proptest::collection::vec((any::<prop::sample::Index>(), piece()), 0..2),
    );
    (proptest::collection::vec(key, 1..6), proptest::collection::vec(line, 2..9)).prop_map(|(keys, lines)| {
        let write = |(values, time, changes): (Vec<String>, u64, Vec<Change>)| {
            let tags: String = keys.iter().zip(values).map(|(key, value)| format!(",{key}={value}")).collect();
            let mut line = format!("m{tags} v=1,w=2.5 {time}").into_bytes();
            for (at, piece) in changes {
                let at = at.index(line.len());
                line.splice(at..=at, piece);
            }
            line.push(b'\n');
            line
        };
        lines.into_iter().flat_map(write).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn similar_lines_are_read_alike(body in similar_lines()) {
        for dialect in DIALECTS {
            let expected = slow(&body, dialect, Precision::Nanosecond);
            for level in scan::Level::all() {
                prop_assert_eq!(&quick_with(level, &body, dialect, Precision::Nanosecond), &expected, "{:?}", level);
            }
        }
    }

    #[test]
    fn what_is_handed_out_is_what_the_lines_hold(body in prop_oneof![similar_lines(), any_body()]) {
        for dialect in DIALECTS {
            let mut handed = Handed::default();
            values(&body, dialect, Precision::Nanosecond, &mut handed);
            prop_assert_eq!(handed.lines, quick(&body, dialect, Precision::Nanosecond));
        }
    }

    #[test]
    fn both_readers_agree(body in any_body(), precision in prop::sample::select(&PRECISIONS[..])) {
        for dialect in DIALECTS {
            prop_assert_eq!(quick(&body, dialect, precision), slow(&body, dialect, precision));
        }
    }

    #[test]
    fn all_scanners_read_alike(body in any_body(), precision in prop::sample::select(&PRECISIONS[..])) {
        let expected = slow(&body, Dialect::Influx2, precision);
        for level in scan::Level::all() {
            prop_assert_eq!(&quick_with(level, &body, Dialect::Influx2, precision), &expected, "{:?}", level);
        }
    }

    #[test]
    fn inspect_counts_what_is_read(body in any_body(), at_ns in any::<i64>()) {
        let summary = inspect(&body, Dialect::Influx1, Precision::Second, at_ns);
        let all = slow(&body, Dialect::Influx1, Precision::Second);
        let good = points(&body, Dialect::Influx1, Precision::Second);
        let times: Vec<i64> =
            good.iter().map(|point| point.time_ns.unwrap_or(Precision::Second.truncate(at_ns))).collect();
        prop_assert_eq!(summary.lines as usize, good.len());
        prop_assert_eq!(summary.malformed as usize, all.len() - good.len());
        prop_assert_eq!(summary.untimed as usize, good.iter().filter(|point| point.time_ns.is_none()).count());
        prop_assert_eq!(summary.min_ns, times.iter().copied().min().unwrap_or(i64::MAX));
        prop_assert_eq!(summary.max_ns, times.iter().copied().max().unwrap_or(i64::MIN));
    }

    #[test]
    fn pieces_join_to_the_body_and_read_alike(body in any_body(), max_bytes in 0usize..80) {
        let pieces = split(&body, max_bytes);
        let joined: Vec<u8> = pieces.iter().flat_map(|piece| body[piece.clone()].to_vec()).collect();
        prop_assert_eq!(&joined, &body);
        let read: Vec<_> = pieces
            .iter()
            .flat_map(|piece| slow(&body[piece.clone()], Dialect::Influx2, Precision::Nanosecond))
            .map(|(_, outcome)| outcome)
            .collect();
        let whole: Vec<_> =
            slow(&body, Dialect::Influx2, Precision::Nanosecond).into_iter().map(|(_, outcome)| outcome).collect();
        prop_assert_eq!(read, whole);
        for piece in pieces {
            // Longer than allowed only when it cannot be cut.
            prop_assert!(piece.len() <= max_bytes || split(&body[piece], 1).len() == 1);
        }
    }

    #[test]
    fn a_stamp_adds_times_and_changes_nothing_else(
        body in any_body(),
        precision in prop::sample::select(&PRECISIONS[..]),
        at_ns in 0i64..2_000_000_000_000_000_000,
    ) {
        for dialect in DIALECTS {
            let stamped = stamp(&body, dialect, precision, at_ns);
            let (before, after) = (slow(&body, dialect, precision), slow(&stamped, dialect, precision));
            prop_assert_eq!(before.len(), after.len());
            for ((span, before), (_, after)) in before.into_iter().zip(after) {
                match before {
                    Ok(mut point) if point.time_ns.is_none() => {
                        let after = after.unwrap();
                        if after.time_ns.is_some() {
                            point.time_ns = Some(precision.truncate(at_ns));
                        } else {
                            // No form of the line can carry a time: it holds a line feed or a stray end.
                            prop_assert!(body[span].iter().any(|b| matches!(b, b'\\' | b'\n')));
                        }
                        prop_assert_eq!(point, after);
                    }
                    before => prop_assert_eq!(before, after),
                }
            }
        }
    }

    #[test]
    fn a_stamp_only_inserts_into_ordinary_bodies(body in written_body(), at_ns in 0i64..2_000_000_000_000_000_000) {
        let stamped = stamp(&body, Dialect::Influx2, Precision::Nanosecond, at_ns);
        let mark = format!(" {at_ns}").into_bytes();
        let untimed = points(&body, Dialect::Influx2, Precision::Nanosecond).iter().filter(|p| p.time_ns.is_none()).count();
        prop_assert_eq!(stamped.len(), body.len() + untimed * mark.len());
        prop_assert!(points(&stamped, Dialect::Influx2, Precision::Nanosecond).iter().all(|p| p.time_ns.is_some()));
    }

    #[test]
    fn the_canonical_form_reads_back_alike(body in any_body(), at_ns in 0i64..2_000_000_000_000_000_000) {
        for dialect in DIALECTS {
            let storable: Vec<_> = lines(&body, dialect, Precision::Nanosecond)
                .flatten()
                .filter(|line| unstorable(line).is_none())
                .collect();
            let mut text = Vec::new();
            for line in &storable {
                write_canonical(line, at_ns, &mut text);
            }
            let expected: Vec<_> =
                storable.iter().map(|line| Ok(Point { time_ns: Some(at_ns), ..copied(line) })).collect();
            let read: Vec<_> =
                slow(&text, dialect, Precision::Nanosecond).into_iter().map(|(_, outcome)| outcome).collect();
            prop_assert_eq!(&read, &expected);
            let hashes = |lines: &[Line<'_>]| lines.iter().map(series_hash).collect::<Vec<_>>();
            let rewritten: Vec<_> = lines(&text, dialect, Precision::Nanosecond).flatten().collect();
            prop_assert_eq!(hashes(&rewritten), hashes(&storable));
        }
    }

    #[test]
    fn an_outline_says_what_the_lines_say(body in prop_oneof![written_body(), similar_lines(), any_body()]) {
        for dialect in [Dialect::Influx1, Dialect::Influx2] {
            let mut outlined = Vec::new();
            outline(&body, dialect, Precision::Second, |found| outlined.push(found));
            let mut canonical = Vec::new();
            let mut all = lines(&body, dialect, Precision::Second);
            for found in outlined {
                let line = all.next().expect("as many lines");
                let (found, line) = match (found, line) {
                    (Ok(found), Ok(line)) => (found, line),
                    (found, line) => {
                        prop_assert_eq!(found.err(), line.err());
                        continue;
                    }
                };
                prop_assert_eq!((&found.span, found.fields_end), (&line.span(), line.fields_end()));
                prop_assert_eq!((found.time_ns, found.series), (line.timestamp_ns(), series_hash(&line)));
                match found.careful {
                    Some(whole) => prop_assert_eq!(copied(&whole), copied(&line)),
                    // As it is, it reads as the same data in either dialect.
                    None => {
                        canonical.clear();
                        canonical.extend_from_slice(&body[found.span.start..found.fields_end]);
                        canonical.extend_from_slice(b" 7\n");
                        prop_assert!(unstorable(&line).is_none());
                        let read: Vec<_> = lines(&canonical, dialect, Precision::Nanosecond).flatten().collect();
                        prop_assert_eq!(read.len(), 1);
                        prop_assert!(read[0].same_data(&line) && read[0].timestamp_ns() == Some(7));
                    }
                }
            }
            prop_assert!(all.next().is_none());
        }
    }

    #[test]
    fn what_clients_write_can_be_stored(body in written_body()) {
        for line in lines(&body, Dialect::Influx2, Precision::Nanosecond).flatten() {
            let names = [line.raw_measurement()].into_iter().chain(line.fields().iter().map(Field::raw_key));
            let tags = line.tags().iter().flat_map(|tag| [tag.raw_key(), tag.raw_value()]);
            if !names.chain(tags).any(|name| name.windows(2).any(|pair| pair == b"\\\\")) {
                prop_assert_eq!(unstorable(&line), None, "{}", line.raw().escape_ascii());
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Lines across the windows of the index, and lines that do not fit into one.
    #[test]
    fn long_bodies_are_read_alike(
        pieces in prop::collection::vec((any_body(), prop_oneof![9 => 0usize..900, 1 => 8_000usize..9_000]), 20..60),
    ) {
        let mut body = Vec::new();
        for (piece, filler) in pieces {
            body.extend_from_slice(b"filler,t=");
            body.resize(body.len() + filler, b'x');
            body.extend_from_slice(b"x v=1i,w=-2.5 17\n");
            body.extend_from_slice(&piece);
            body.push(b'\n');
        }
        for dialect in DIALECTS {
            let expected = slow(&body, dialect, Precision::Nanosecond);
            for level in scan::Level::all() {
                prop_assert!(quick_with(level, &body, dialect, Precision::Nanosecond) == expected, "{:?}", level);
            }
        }
    }
}

#[test]
fn reasons_are_the_servers_own() {
    let cases = [
        (",t=a v=1", "missing measurement"),
        ("cpu", "missing fields"),
        ("cpu,t=a", "missing fields"),
        ("cpu, v=1", "missing tag key"),
        ("cpu,t= v=1", "missing tag value"),
        ("cpu,t v=1", "missing tag value"),
        ("cpu,t=a=b v=1", "invalid tag format"),
        ("cpu,t=a,t=b v=1", "duplicate tags"),
        ("cpu,b=1,a=2,b=3 v=1", "duplicate tags"),
        ("cpu =1", "missing field key"),
        ("cpu v=", "missing field value"),
        ("cpu v=+1", "invalid boolean"),
        ("cpu v=1.2.3", "invalid number"),
        ("cpu v=NaN", "invalid number"),
        ("cpu v=1.2.3e5", "invalid number"),
        ("cpu v=1e400", "invalid float"),
        ("cpu v=9223372036854775808i", "unable to parse integer"),
        ("cpu v=tRUE", "invalid boolean"),
        ("cpu v=\"a", "unbalanced quotes"),
        ("cpu v=1,", "invalid field format"),
        ("cpu v=1 1.5", "bad timestamp"),
        ("cpu v=1 1 2", "point is invalid"),
        ("cpu v=1 9223372036854775807", "time outside range -9223372036854775806 - 9223372036854775806"),
        ("cpu v=1\r\n", "invalid number"),
    ];
    for (body, text) in cases {
        for dialect in DIALECTS {
            assert_eq!(first_reason(body, dialect).map(|reason| reason.to_string()), Some(text.to_string()), "{body}");
        }
    }
    assert_eq!(first_reason("cpu v=1u", Dialect::Influx1), Some(Reason::InvalidNumber));
    assert_eq!(first_reason("cpu v=1u", Dialect::Influx2), None);
    assert_eq!(first_reason("cpu v=18446744073709551616u", Dialect::Influx2), Some(Reason::UnsignedOutOfRange));
    assert_eq!(first_reason("cpu,time=a v=1", Dialect::Influx1), None);
    assert_eq!(
        first_reason("cpu,time=a v=1", Dialect::Influx2).map(|reason| reason.to_string()),
        Some("cannot use reserved tag key \"time\"".to_string())
    );
}

#[test]
fn keys_beyond_the_limit_are_refused() {
    let of_length = |name: usize| format!("{} v=1", "m".repeat(name));
    assert_eq!(first_reason(&of_length(65_530), Dialect::Influx1), None);
    assert_eq!(first_reason(&of_length(65_531), Dialect::Influx1), Some(Reason::KeyTooLong(65_536)));
    assert_eq!(first_reason(&of_length(65_536), Dialect::Influx1), Some(Reason::KeyTooLong(65_536)));
}

#[test]
fn ten_thousand_tags_are_read_in_one_go() {
    let tags: String = (0..10_000).rev().map(|n| format!(",k{n}=v")).collect();
    assert_eq!(first_reason(&format!("m{tags} v=1"), Dialect::Influx2), Some(Reason::KeyTooLong(78_891)));
    let tags: String = (0..4_000).rev().map(|n| format!(",k{n}=v")).collect();
    let body = format!("m{tags} v=1");
    assert_eq!(only_line(body.as_bytes()).tags().len(), 4_000);
    assert_eq!(first_reason(&format!("m{tags},k7=v v=1"), Dialect::Influx2), Some(Reason::DuplicateTags));
}

#[test]
fn a_stamp_is_truncated_and_leaves_the_rest_byte_for_byte() {
    let body = b"# note\ncpu,t=a v=1  \n\nmem v=2 7\nbad\ncpu v=\"a\nb\"\r\n cpu v=3 \t\n";
    let stamped = stamp(body, Dialect::Influx1, Precision::Second, 1_700_000_000_999_999_999);
    let expected =
        b"# note\ncpu,t=a v=1 1700000000  \n\nmem v=2 7\nbad\ncpu v=\"a\nb\"\r 1700000000\n cpu v=3 \t1700000000\n";
    assert_eq!(stamped.escape_ascii().to_string(), expected.escape_ascii().to_string());
}

#[test]
fn a_line_with_an_ignored_tail_is_rewritten_and_its_neighbours_stay() {
    // After white space at its start, the equals sign and the quote of the name hide the line feed.
    let body = b"a v=1 1\n c=u\"x f=1 \nw\" v=2\nm v=1\n";
    assert_eq!(points(body, Dialect::Influx1, Precision::Nanosecond).len(), 3);
    let stamped = stamp(body, Dialect::Influx1, Precision::Nanosecond, 5);
    assert_eq!(stamped.escape_ascii().to_string(), b"a v=1 1\nc=u\"x f=1 5\nm v=1 5\n".escape_ascii().to_string());
    // A backslash at the end of the body would protect the space before a stamp.
    assert_eq!(stamp(b"m v=\"a\"\\", Dialect::Influx1, Precision::Nanosecond, 5), b"m v=\"a\\\"\" 5");
    // No form can carry a stamp here without swallowing the next line: it is left as it was.
    let body = b"m,t\\\\ k=\"v f=1 \nx\" z\nm v=1 1\n";
    assert_eq!(stamp(body, Dialect::Influx1, Precision::Nanosecond, 5), body);
}

#[test]
fn a_stamp_before_1970_is_floored() {
    assert_eq!(stamp(b"m v=1", Dialect::Influx2, Precision::Second, -1), b"m v=1 -1");
    assert_eq!(Precision::Hour.truncate(-1), -3_600_000_000_000);
    assert_eq!(Precision::Hour.truncate(i64::MIN) % 3_600_000_000_000, 0);
}

#[test]
fn the_canonical_form_is_the_servers_own() {
    let body = br#"c\=p\"u\ x,zone=b,=a=1 v=1"#;
    assert_eq!(first_reason(std::str::from_utf8(body).unwrap(), Dialect::Influx2), Some(Reason::MissingTagKey));
    let body = br#"c\=p\"u\ x,zone==b,a\ b=1\,2 v="say \"no\" \n",a\"b\==1.50,n=007i 5"#;
    let line = only_line(body);
    let mut text = Vec::new();
    write_canonical(&line, 5, &mut text);
    let expected = br#"c=p"u\ x,a\ b=1\,2,zone=\=b v="say \"no\" \\n",a"b\==1.50,n=007i 5"#;
    assert_eq!(text.escape_ascii().to_string(), expected.escape_ascii().to_string() + "\\n");
    assert_eq!(unstorable(&line), None);
}

#[test]
fn what_does_not_fit_one_server_fits_the_other() {
    let code = |body: &[u8], to| unfit(&only_line(body), to).map(|unfit| (unfit.code, unfit.in_part));
    for key in ["time", "_field", "_measurement"] {
        let body = format!("m,a=1,{key}=x v=1");
        let line = lines(body.as_bytes(), Dialect::Influx1, Precision::Nanosecond).next().unwrap().unwrap();
        assert_eq!(unfit(&line, Dialect::Influx2).map(|unfit| unfit.code), Some("bad-name"), "{body}");
        assert_eq!(unfit(&line, Dialect::Influx1), None, "{body}");
        assert!(may_be_unfit(body.as_bytes(), Dialect::Influx1, Dialect::Influx2));
        assert!(!may_be_unfit(body.as_bytes(), Dialect::Influx2, Dialect::Influx2), "refused before");
    }
    for key in ["_tagKey", "_name"] {
        let body = format!("m {key}=1,v=2");
        assert!(may_be_unfit(body.as_bytes(), Dialect::Influx2, Dialect::Influx1));
        assert_eq!(code(body.as_bytes(), Dialect::Influx1), Some(("unreadable", true)), "{body}");
        assert_eq!(code(body.as_bytes(), Dialect::Influx2), None, "{body}");
    }
    for to in [Dialect::Influx1, Dialect::Influx2] {
        assert_eq!(code(br"m\\ x v=1", to), Some(("unreadable", false)));
        assert_eq!(code(b"m \t=1", to), Some(("unreadable", false)));
        // Of two reasons the one that breaks the server.
        assert_eq!(code(b"m \t=1,v=\"a\"=1,b\"=5z,\"e,g=1", to), Some(("unstorable", false)));
        assert_eq!(code(b"m,_tags=1 _names=1,time=2", to), None);
        assert!(!may_be_unfit(b"m,_tags=1,_fields=2 _names=1,uptime=2", Dialect::Influx1, to));
    }
}

#[test]
fn times_that_are_no_numbers_are_refused_in_the_servers_words() {
    for dialect in [Dialect::Influx1, Dialect::Influx2] {
        for (time, words) in [
            ("-", "strconv.ParseInt: parsing \"-\": invalid syntax"),
            ("9223372036854775808", "strconv.ParseInt: value out of range"),
            ("9223372036854775807", "time outside range -9223372036854775806 - 9223372036854775806"),
        ] {
            let body = format!("m v=1 {time}");
            let refused = lines(body.as_bytes(), dialect, Precision::Nanosecond).next().unwrap().unwrap_err();
            assert_eq!(refused.reason.to_string(), words);
        }
    }
}

#[test]
fn lines_that_the_servers_acknowledge_and_never_show_are_found() {
    for special in [",", " ", "=", "\""] {
        let body = format!("c\\\\{special}u v=1");
        assert!(unstorable(&only_line(body.as_bytes())).is_some(), "{body}");
    }
    assert_eq!(unstorable(&only_line(b"cpu \t=1")), Some("an empty field key"));
    for fine in [&br"c\\u,t=a\\b,w=C:\dir v=1"[..], br"c\xu v=1", br"cpu,t=a\\\,b v=1", b"cpu,t== v=1", br#"m a\\"b=1"#]
    {
        assert_eq!(unstorable(&only_line(fine)), None, "{}", fine.escape_ascii());
    }
    // A form exists for the names, but the line feed behind it would be taken for data.
    assert!(unstorable(&only_line(br#"m,t\\ k="v f=1"#)).is_some());
    assert!(unstorable(&only_line(b" c=u\"x\ny\" f=1")).is_some());
    // Unsigned by the second split of the fields, which only InfluxDB 2.x accepts when it is written plainly.
    let body = br#"m v="a"=1,b"=5u,"e,g=1"#;
    for (dialect, storable) in [(Dialect::Influx1, false), (Dialect::Influx2, true)] {
        let line = lines(body, dialect, Precision::Nanosecond).next().unwrap().unwrap();
        assert_eq!(line.fields()[1].value(), Value::Unsigned(5));
        assert_eq!(unstorable(&line).is_none(), storable);
    }
    // Judged by the value alone.
    for token in [&b""[..], b"\"", b"abc", b"1x", b"i", b"nan", b"inf", b"0x10", b"1e400"] {
        assert_eq!(scalar::kind_as_stored(token), FieldKind::Undecodable, "{}", token.escape_ascii());
    }
}

#[test]
fn a_series_has_one_hash() {
    let hash = |body: &str| series_hash(&only_line(body.as_bytes()));
    assert_eq!(hash("cpu,a=1,b=2 v=1"), hash("cpu,b=2,a=1 w=2i 5"));
    assert_eq!(hash(r#"c\=u,a==1 v=1"#), hash(r"c=u,a=\=1 v=1"));
    assert_ne!(hash("cpu,a=1,b=2 v=1"), hash("cpu,a=1,b=3 v=1"));
    assert_ne!(hash("cpu,ab=c v=1"), hash("cpu,a=bc v=1"));
    assert_ne!(hash("cpu,a=1 v=1"), hash(r"cpu\,a=1 v=1"));
}

#[test]
fn exponents_are_read_like_the_servers_read_them() {
    for (token, accepted) in [
        ("1e308", true),
        ("1e309", false),
        ("0e999999", true),
        ("1e-999999", true),
        ("1e", false),
        ("1e+5", true),
        ("1e5.5", false),
    ] {
        let body = format!("m v={token}");
        assert_eq!(first_reason(&body, Dialect::Influx1).is_none(), accepted, "{token}");
    }
    // The servers read five digits of the exponent, so this is 10^20000 / 10^20000.
    let compensated = format!("m v=1{}e-200000", "0".repeat(20_000));
    assert_eq!(only_line(compensated.as_bytes()).fields()[0].value(), Value::Float(1.0));
}

#[test]
fn an_outline_of_a_line_that_begins_with_a_blank_has_its_own_parts() {
    // Read from its first byte on as an ordinary line it would be one field with a text.
    let body = b" f=\"\n9 f=9 \nm f=\"\n";
    let mut fields = Vec::new();
    outline(body, Dialect::Influx1, Precision::Nanosecond, |found| {
        let whole = found.unwrap().careful.unwrap();
        fields.extend(whole.fields().iter().map(|field| (field.key().into_owned(), datum(field.value()))));
    });
    assert_eq!(fields, [(b"f".to_vec(), Datum::Float(9f64.to_bits()))]);
}
