//! Lines by rule, against the slow reader and rules on copied points.

use proptest::prelude::*;

use super::super::naive::{self, Point};
use super::super::tests::any_body;
use super::*;

type Rule = (Part, &'static str, Option<&'static str>);

fn rules(all: &[Rule]) -> Rules {
    let mut rules = Rules::default();
    for (part, from, to) in all {
        match to {
            None => rules.drop(*part, from).unwrap(),
            Some(to) => rules.rename(*part, from, to).unwrap(),
        }
    }
    rules
}

fn applied(all: &[Rule], body: &str) -> (String, Vec<LeftOut>) {
    let mut left_out = Vec::new();
    let out = rules(all)
        .apply(body.as_bytes(), Dialect::Influx2, Precision::Nanosecond, |_, why| left_out.push(why))
        .into_owned();
    (String::from_utf8(out).unwrap(), left_out)
}

#[test]
fn what_is_dropped_and_renamed_goes_and_the_rest_stays_as_it_was() {
    let all = [
        (Part::Measurement, "debug_*", None),
        (Part::Measurement, "telegraf_*", Some("tg_*")),
        (Part::Tag, "hostname", Some("host")),
        (Part::Tag, "secret*", None),
        (Part::Field, "*_internal", None),
        (Part::Field, "usage_*", Some("*_pct")),
    ];
    let body = "# note\ndebug_x v=1 1\ncpu,hostname=a,secret_key=x,b=c usage_idle=1.50,x_internal=2i,t=true 5\nm,b=c v=1 7  \n\
                telegraf_mem v=\"a, b\"\nm x_internal=1";
    let (out, left_out) = applied(&all, body);
    assert_eq!(out, "# note\ncpu,host=a,b=c idle_pct=1.50,t=true 5\nm,b=c v=1 7  \ntg_mem v=\"a, b\"\n");
    assert_eq!(left_out, [LeftOut::Dropped, LeftOut::NoFields]);
}

#[test]
fn names_are_matched_and_written_as_the_servers_read_them() {
    let all = [(Part::Tag, "a b", Some("c,d")), (Part::Measurement, "m 1", Some("n=1"))];
    let (out, left_out) = applied(&all, "m\\ 1,a\\ b=x\\ y s=\"q\\\"\" 5\nm,a=1 v=1 5\n");
    assert_eq!((out.as_str(), &left_out[..]), ("n=1,c\\,d=x\\ y s=\"q\\\"\" 5\nm,a=1 v=1 5\n", &[][..]));
}

#[test]
fn a_line_that_would_be_another_or_none_is_left_out() {
    let out = |rule: Rule, body| applied(&[rule], body);
    assert_eq!(out((Part::Tag, "a", Some("b")), "m,a=1,b=2 v=1\n"), (String::new(), vec![LeftOut::SameName]));
    assert_eq!(out((Part::Field, "v", Some("w")), "m w=1,v=2\nm v=1,v=2\n").0, "m w=1,w=2\n");
    assert_eq!(out((Part::Measurement, "x*", Some("*")), "x#a v=1\n"), (String::new(), vec![LeftOut::Unwritable]));
    let reserved = vec![LeftOut::Malformed(Reason::ReservedTagKey("time"))];
    assert_eq!(out((Part::Tag, "x*", Some("*")), "m,xtime=1 v=1\n"), (String::new(), reserved));
    assert_eq!(out((Part::Tag, "x", None), "m,a=1 v=\n").1, [LeftOut::Malformed(Reason::MissingFieldValue)]);
    let long = format!("m,a=1,b={} v=1\n", "x".repeat(65_000));
    let longer = "k".repeat(1_000).leak();
    assert!(matches!(
        out((Part::Tag, "a", Some(longer)), long.leak()).1[..],
        [LeftOut::Malformed(Reason::KeyTooLong(_))]
    ));
}

#[test]
fn a_body_that_no_rule_touches_is_not_copied() {
    let body = b"m,a=1 v=1 5\n# note\nm\\ 1 w=2\n";
    for all in [&[][..], &[(Part::Tag, "b*", None), (Part::Field, "x", Some("y"))]] {
        let out = rules(all).apply(body, Dialect::Influx1, Precision::Second, |_, _| panic!("all is well"));
        assert!(matches!(out, Cow::Borrowed(_)));
    }
}

#[test]
fn rules_that_cannot_be_meant_are_refused() {
    let mut rules = Rules::default();
    assert_eq!(rules.drop(Part::Tag, ""), Err(BadRule::Empty));
    for (from, to, why) in [
        ("", "a", BadRule::Empty),
        ("a", "", BadRule::Empty),
        ("a*", "b", BadRule::Stars),
        ("a", "b*", BadRule::Stars),
        ("*a*", "*b*", BadRule::Stars),
        ("a", "#b", BadRule::NewName),
        ("a", "b\n", BadRule::NewName),
        ("a", "b\"", BadRule::NewName),
        ("a", r"b\c", BadRule::NewName),
    ] {
        assert_eq!(rules.rename(Part::Field, from, to), Err(why), "{from} to {to}");
    }
    assert!(rules.measurements.is_empty() && rules.tags.is_empty() && rules.fields.is_empty());
}

const CHOICE: [Rule; 16] = [
    (Part::Measurement, "cpu", None),
    (Part::Measurement, "m*", Some("n*")),
    (Part::Measurement, "a*", Some("*")),
    (Part::Measurement, "m", Some("a b")),
    (Part::Tag, "host", Some("h=1")),
    (Part::Tag, "t", Some("v")),
    (Part::Tag, "*a*", None),
    (Part::Tag, "b*", Some("*_")),
    (Part::Tag, "t*", Some("*")),
    (Part::Tag, "c", Some("time")),
    (Part::Field, "v", Some("w")),
    (Part::Field, "w", None),
    (Part::Field, "a*z", Some("z*a")),
    (Part::Field, "f", Some("f,")),
    (Part::Field, "b*", Some("*")),
    (Part::Field, "*c*", None),
];

fn matches(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern, name) {
        ([], []) => true,
        ([b'*', rest @ ..], _) => (0..=name.len()).any(|taken| matches(rest, &name[taken..])),
        ([byte, rest @ ..], [first, tail @ ..]) => byte == first && matches(rest, tail),
        _ => false,
    }
}

/// The name from now on; `None`: dropped.
fn renamed(all: &[Rule], part: Part, name: &[u8]) -> Option<Vec<u8>> {
    let mut of = all.iter().filter(|rule| rule.0 == part && matches(rule.1.as_bytes(), name));
    if of.clone().any(|rule| rule.2.is_none()) {
        return None;
    }
    let Some((_, from, Some(to))) = of.next() else { return Some(name.to_vec()) };
    let Some((before, behind)) = to.split_once('*') else { return Some(to.as_bytes().to_vec()) };
    let (from_before, from_behind) = from.split_once('*').unwrap();
    Some([before.as_bytes(), &name[from_before.len()..name.len() - from_behind.len()], behind.as_bytes()].concat())
}

/// `None`: no line comes out.
fn by_hand(all: &[Rule], point: &Point) -> Option<Point> {
    let measurement = renamed(all, Part::Measurement, &point.measurement)?;
    let tags = point.tags.iter();
    let mut tags: Vec<_> =
        tags.filter_map(|(key, value)| Some((renamed(all, Part::Tag, key)?, value.clone()))).collect();
    tags.sort();
    let mut from: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    let mut fields = Vec::new();
    for (key, value) in &point.fields {
        let Some(new) = renamed(all, Part::Field, key) else { continue };
        from.push((new.clone(), key.clone()));
        fields.push((new, value.clone()));
    }
    let clash = from.iter().any(|a| from.iter().any(|b| a.0 == b.0 && a.1 != b.1))
        || tags.windows(2).any(|pair| pair[0].0 == pair[1].0);
    (!clash && !fields.is_empty()).then_some(Point { measurement, tags, fields, time_ns: point.time_ns })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn the_points_that_come_out_are_those_that_the_slow_way_makes(
        body in any_body(),
        all in prop::collection::vec(prop::sample::select(&CHOICE[..]), 0..5),
        dialect in prop::sample::select(&[Dialect::Influx1, Dialect::Influx2][..]),
    ) {
        let mut left_out = Vec::new();
        let out = rules(&all).apply(&body, dialect, Precision::Second, |line, why| left_out.push((line, why)));
        let mut expected = Vec::new();
        for (span, point) in naive::parse(&body, dialect, Precision::Second) {
            let why = left_out.iter().find(|(line, _)| *line == span).map(|(_, why)| *why);
            match (point.map(|point| (by_hand(&all, &point), point)), why) {
                (Ok((Some(new), point)), Some(LeftOut::Malformed(_) | LeftOut::Unwritable)) => {
                    prop_assert_ne!(new, point, "only a touched line may be left out for its form");
                }
                (Ok((Some(new), _)), None) => expected.push(new),
                (Ok((None, _)), Some(LeftOut::Dropped | LeftOut::NoFields | LeftOut::SameName)) => {}
                (Err(_), Some(LeftOut::Malformed(_))) => {}
                (point, why) => prop_assert!(false, "{:?} {:?}", point, why),
            }
        }
        let mut found = Vec::new();
        for (_, point) in naive::parse(&out, dialect, Precision::Second) {
            found.push(point.map_err(|reason| TestCaseError::fail(format!("{reason}: {out:?}")))?);
        }
        prop_assert_eq!(found, expected);
        if all.is_empty() && left_out.is_empty() {
            prop_assert!(matches!(out, Cow::Borrowed(_)));
        }
    }
}

/// What is left of all accepted lines of a body, slowly: (number, point), lines left out, lines that no rule can write, cells by reason.
type Left = (Vec<(u32, Point)>, u64, Vec<u32>, Vec<(&'static str, u64)>);

fn reshaped_by_hand(
    all: &[Rule],
    kept: &[&str],
    floats: &[&str],
    (body, dialect): (&[u8], Dialect),
    refused: &[Refused],
) -> Result<Left, TestCaseError> {
    let (mut left, mut excluded, mut none, mut number) = (Vec::new(), 0, Vec::new(), 0);
    let mut cells = std::collections::BTreeMap::<&str, u64>::new();
    for (_, point) in naive::parse(body, dialect, Precision::Second) {
        let Ok(point) = point else { continue };
        let own = number;
        number += 1;
        if own % 5 == 4 {
            continue;
        }
        let is_kept = kept.is_empty() || kept.iter().any(|name| matches(name.as_bytes(), &point.measurement));
        let stays = |key: &[u8]| renamed(all, Part::Field, key).is_some();
        if !is_kept
            || renamed(all, Part::Measurement, &point.measurement).is_none()
            || !point.fields.iter().any(|(key, _)| stays(key))
        {
            excluded += 1;
            continue;
        }
        let mut typed = point.clone();
        for (key, value) in &mut typed.fields {
            let name = [&point.measurement[..], b".", key].concat();
            if floats.iter().any(|float| matches(float.as_bytes(), &name)) {
                match *value {
                    naive::Datum::Integer(whole) => *value = naive::Datum::Float((whole as f64).to_bits()),
                    naive::Datum::Unsigned(whole) => *value = naive::Datum::Float((whole as f64).to_bits()),
                    _ => {}
                }
            }
        }
        // A line may be refused for its form as well, which only the writer knows.
        match by_hand(all, &typed) {
            Some(new) if !refused.iter().any(|refused| refused.number == own) => {
                let last = |fields: &[(Vec<u8>, naive::Datum)], at: usize| {
                    !fields[at + 1..].iter().any(|later| later.0 == fields[at].0)
                };
                let old: Vec<usize> = (0..point.fields.len()).filter(|at| last(&point.fields, *at)).collect();
                let going: Vec<usize> = old.iter().copied().filter(|at| stays(&point.fields[*at].0)).collect();
                let mut add = |code, count: usize| *cells.entry(code).or_default() += count as u64;
                add("field-dropped", old.len() - going.len());
                let tag = |key: &[u8]| renamed(all, Part::Tag, key);
                if point.tags.iter().any(|(key, _)| tag(key).is_none()) {
                    add("tag-dropped", going.len());
                }
                let other = new.measurement != point.measurement
                    || point.tags.iter().any(|(key, _)| tag(key).is_some_and(|new| new != *key));
                let renamed_fields = going.iter().filter(|at| {
                    renamed(all, Part::Field, &point.fields[**at].0).as_ref() != Some(&point.fields[**at].0)
                });
                add("renamed", if other { going.len() } else { renamed_fields.count() });
                let is_typed = |at: &&usize| point.fields[**at].1 != typed.fields[**at].1;
                add("integer-as-float", going.iter().filter(is_typed).count());
                left.push((own, new));
            }
            _ => none.push(own),
        }
    }
    cells.retain(|_, count| *count > 0);
    Ok((left, excluded, none, cells.into_iter().collect()))
}

#[test]
fn lines_are_left_with_their_numbers_and_what_changed_is_counted() {
    let mut all = rules(&[
        (Part::Measurement, "debug_*", None),
        (Part::Measurement, "cpu", Some("processor")),
        (Part::Tag, "secret?", None),
        (Part::Field, "x", None),
        (Part::Field, "old", Some("new")),
    ]);
    all.keep("cpu").unwrap();
    all.keep("mem*").unwrap();
    all.int_to_float("mem.*").unwrap();
    let body = "cpu,h=a v=1i 1\nmem,secret1=a,h=b v=2i,w=3u,x=1 2\nother v=1 3\nbad line\nmem x=1 4\n\
                # note\nmem old=1,new=2 5\nmem old=-0i,s=\"t\" 6\nmemory v=9007199254740993i\ndebug_x v=1";
    let left = all.reshape(body.as_bytes(), Dialect::Influx2, Precision::Second, |_| true);
    let text = "processor,h=a v=1i 1\nmem,h=b v=2,w=3 2\nmem new=0,s=\"t\" 6\nmemory v=9007199254740993i\n";
    assert_eq!((std::str::from_utf8(&left.body), &left.numbers[..], left.excluded), (Ok(text), &[0, 1, 5, 6][..], 3));
    let refused = &left.refused[0];
    assert_eq!((left.refused.len(), refused.number, refused.time_ns), (1, 4, Some(5_000_000_000)));
    assert_eq!((&body[refused.span.clone()], refused.why), ("mem old=1,new=2 5", LeftOut::SameName));
    let changes: Vec<_> = left.changes.some().map(|(change, cells)| (change.code(), cells)).collect();
    assert_eq!(changes, [("tag-dropped", 2), ("field-dropped", 1), ("renamed", 2), ("integer-as-float", 3)]);
    let none = all.reshape(body.as_bytes(), Dialect::Influx2, Precision::Second, |number| number > 9);
    assert!(none.body.is_empty() && none.refused.is_empty() && none.excluded == 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn what_is_left_is_what_the_slow_way_leaves_and_each_line_is_in_one_place(
        body in any_body(),
        all in prop::collection::vec(prop::sample::select(&CHOICE[..]), 0..5),
        kept in prop::collection::vec(prop::sample::select(&["cpu", "m*", "*a*", "*", "t*"][..]), 0..3),
        floats in prop::collection::vec(prop::sample::select(&["*", "m*.v", "*.f*", "cpu.*"][..]), 0..2),
        dialect in prop::sample::select(&[Dialect::Influx1, Dialect::Influx2][..]),
    ) {
        let mut own = rules(&all);
        kept.iter().for_each(|name| own.keep(name).unwrap());
        floats.iter().for_each(|name| own.int_to_float(name).unwrap());
        let found = own.reshape(&body, dialect, Precision::Second, |number| number % 5 != 4);
        let (left, excluded, none, cells) = reshaped_by_hand(&all, &kept, &floats, (&body, dialect), &found.refused)?;
        let mut points = Vec::new();
        for (_, point) in naive::parse(&found.body, dialect, Precision::Second) {
            points.push(point.map_err(|reason| TestCaseError::fail(format!("{reason}: {:?}", found.body)))?);
        }
        prop_assert_eq!(&found.numbers, &left.iter().map(|(number, _)| *number).collect::<Vec<_>>());
        prop_assert_eq!(&points, &left.into_iter().map(|(_, point)| point).collect::<Vec<_>>());
        prop_assert_eq!(found.excluded, excluded);
        prop_assert_eq!(&found.refused.iter().map(|refused| refused.number).collect::<Vec<_>>(), &none);
        let changes = found.changes.some().map(|(change, cells)| (change.code(), cells));
        let mut changes: Vec<_> = changes.filter(|(code, _)| *code != "digits").collect();
        changes.sort_unstable();
        prop_assert_eq!(changes, cells);
    }
}
