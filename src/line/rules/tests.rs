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
