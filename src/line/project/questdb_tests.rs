use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::line::record::{Datum, Outcome};
use crate::line::{Dialect, Precision, lines, questdb as dialect};

const RULES: QuestRules = QuestRules { names_place: true, keeps_ns: false };

/// What is written for lines of one series and time, and what that changes.
fn written(body: &str) -> (String, Vec<(&'static str, u64)>) {
    let lines: Vec<_> = lines(body.as_bytes(), Dialect::Influx2, Precision::Nanosecond).map(Result::unwrap).collect();
    let (mut out, mut changes) = (Vec::new(), Changes::default());
    let at_ns = lines[0].timestamp_ns().unwrap_or(5_000_000);
    questdb(&lines, at_ns, (RULES, b"d_"), &mut out, &mut changes).unwrap();
    (String::from_utf8(out).unwrap(), changes.some().map(|(change, cells)| (change.code(), cells)).collect())
}

#[test]
fn what_cannot_be_held_is_changed_or_left_out_and_counted() {
    for (line, expected, changed) in [
        ("m,t=a v=1,w=2i,b=T,s=\"x\\\"\\\\y\" 7000", "d_m,t=a v=1,w=2i,b=t,s=\"x\\\"\\\\y\" 7000\n", &[][..]),
        ("m v=1,v=2 7000", "d_m v=2 7000\n", &[]),
        ("m v=1 7001", "d_m v=1 7001\n", &[("microseconds", 1)]),
        ("m v=3u,w=9223372036854775808u 0", "d_m v=3i 0\n", &[("integer-left-out", 1), ("unsigned-as-integer", 1)]),
        ("m v=-9223372036854775808i 0", "", &[("integer-left-out", 1)]),
        ("m v=1,w=2 -1", "", &[("time-left-out", 2)]),
        ("m,V=a v=1,w=2,W=3 0", "d_m,V=a w=2 0\n", &[("name-taken", 2)]),
        ("m,Timestamp=a a.b=1,a-b=2 0", "d_m,Timestamp_=a a_2eb=1,a_2db=2 0\n", &[("name", 3)]),
        ("m/n..o.-\\ p\\  v=1 0", "d_m_2fn._2eo.-\\ p_20 v=1 0\n", &[("name", 1)]),
        ("m s=\"a\nb\" 0", "d_m s=\"a\\\nb\" 0\n", &[]),
        ("m v=1,w=2 1000\nm w=3,x=4 1000", "d_m v=1,w=3,x=4 1000\n", &[]),
    ] {
        assert_eq!(written(line), (expected.to_owned(), changed.to_vec()), "{line}");
    }
    let (long, changed) = written(&format!("m {}=1 0", "é".repeat(61)));
    assert_eq!((long.len(), changed), (126, vec![("name", 1)]), "{long}");
}

#[test]
fn names_that_are_no_text_are_written_with_digits_and_tags_that_are_none_are_put_aside() {
    let of = |body: &[u8]| {
        let line = lines(body, Dialect::Influx1, Precision::Nanosecond).next().unwrap().unwrap();
        let (mut out, mut changes) = (Vec::new(), Changes::default());
        let end = questdb(&[line], 0, (RULES, b""), &mut out, &mut changes);
        (end.map_err(|unfit| unfit.code), String::from_utf8(out).unwrap(), changes.some().count())
    };
    assert_eq!(of(b"m\xff,\xfe=a \xc3=1"), (Ok(()), "m_ff,_fe=a _c3=1 0\n".to_owned(), 1));
    assert_eq!(of(b"m s=\"a\xff\""), (Ok(()), "m s=\"a\u{fffd}\" 0\n".to_owned(), 1));
    assert_eq!(of(b"m,t=\xff v=1"), (Err("unstorable"), String::new(), 0));
    assert_eq!(of(b"m,t=a\0 v=1"), (Err("unstorable"), String::new(), 0));
}

proptest! {
    /// Read by the server's own rules, a written line is what InfluxDB keeps of it, but for what is counted.
    #[test]
    fn what_is_written_is_read_as_it_was_kept(body in crate::line::tests::any_body()) {
        for line in lines(&body, Dialect::Influx1, Precision::Nanosecond).flatten() {
            let line = [line];
            let (mut out, mut changes) = (Vec::new(), Changes::default());
            if questdb(&line, 7_000, (RULES, b"d_"), &mut out, &mut changes).is_err() {
                continue;
            }
            let count = |wanted: Change| changes.some().find(|(change, _)| *change == wanted).map_or(0, |(_, cells)| cells);
            let kept = last_of_each(&line);
            let left_out = count(Change::IntegerLeftOut) + count(Change::TextLeftOut);
            let records = dialect::records(&out, Precision::Nanosecond);
            if records.is_empty() {
                prop_assert_eq!(kept.len() as u64, left_out + count(Change::NameTaken).min(kept.len() as u64 - left_out));
                continue;
            }
            let [record] = &records[..] else { panic!("{} lines: {:?}", records.len(), String::from_utf8_lossy(&out)) };
            let Outcome::Point(point) = &record.outcome else { panic!("{:?}: {:?}", record, String::from_utf8_lossy(&out)) };
            let table = name_of(&[b"d_", &*line[0].measurement()].concat(), Kind::Table).0;
            prop_assert_eq!(&*point.measurement, table.as_bytes());
            prop_assert_eq!(point.time_ns, Some(7_000));
            let tags = line[0].tags();
            let cells = (tags.len() + kept.len()) as u64;
            prop_assert_eq!((point.tags.len() + point.fields.len()) as u64, cells - left_out - count(Change::NameTaken));
            let mut names = HashSet::new();
            for (key, value) in &point.tags {
                prop_assert!(names.insert(without_case(std::str::from_utf8(key).unwrap())));
                let known = tags.iter().any(|tag| name_of(&tag.key(), Kind::Column).0.as_bytes() == &**key && tag.value() == *value);
                prop_assert!(known, "{:?}", key);
            }
            let mut by_name = BTreeMap::new();
            for field in kept {
                by_name.entry(name_of(&field.key(), Kind::Column).0.into_bytes()).or_insert(field.value());
            }
            for (key, datum) in &point.fields {
                prop_assert!(names.insert(without_case(std::str::from_utf8(key).unwrap())));
                let is_same = match (datum, &by_name[&**key]) {
                    (Datum::Value(Value::Float(read)), Value::Float(value)) => read.to_bits() == value.to_bits(),
                    (Datum::Value(Value::Integer(read)), Value::Unsigned(value)) => *read as u64 == *value,
                    (Datum::Value(Value::String(read)), Value::String(value)) => {
                        read == value || *read == String::from_utf8_lossy(value).as_bytes() && count(Change::BrokenText) > 0
                    }
                    (Datum::Value(read), value) => read == value,
                    _ => false,
                };
                prop_assert!(is_same, "{:?} {:?}", datum, by_name[&**key]);
            }
        }
    }
}
