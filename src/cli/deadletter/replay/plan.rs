//! What a handful of letters is about: points, each with the fields that its letters name.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::super::letter::{Letter, line};
use super::Stay;
use crate::backfill::form::Form;
use crate::cell::{FieldType, Series, Value};
use crate::config::{Mapping, Rule};
use crate::db::read::unreadable_fields;
use crate::delivery::{Writing, table_prefix};
use crate::line::project::Changes;
use crate::line::{Line, Precision};
use crate::route::{RouteName, Target, TargetKind, map, rule_of};

/// Values by field.
pub(super) type Values = BTreeMap<Vec<u8>, Value>;

/// One point at the source, and where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Point {
    pub(super) route: RouteName,
    pub(super) target: Target,
    pub(super) series: Series,
    pub(super) time_ns: i64,
    /// Those that its letters name.
    pub(super) fields: BTreeSet<Vec<u8>>,
    /// Which letters, with the fields of each.
    pub(super) letters: Vec<(usize, BTreeSet<Vec<u8>>)>,
    /// It is replaced as a whole there: all that the source holds of it is written, not only the fields that its letters name.
    pub(super) whole: bool,
}

/// Where a letter's line goes, or why it does not.
pub(super) fn place(letter: &Letter, mapping: &Mapping, kind: &TargetKind) -> Result<(RouteName, Target), Stay> {
    let unknown = || Stay::new("route-unknown", "the letter does not say of which route it is");
    let route = RouteName::from_key(&letter.stored.route).ok_or_else(unknown)?;
    let unmapped = || Stay::new("not-mapped", "no rule of the mapping sends its route anywhere now");
    let target = map(mapping, &route, kind).ok_or_else(unmapped)?;
    let changes = |rule: &Rule| rule.shape.rules().is_ok_and(|rules| !rules.only_filters());
    if rule_of(mapping, &route).and_then(|at| mapping.rules.get(at)).is_some_and(changes) {
        let why = "a rule of the mapping gives lines of its route other names or types: the source holds them under their own";
        return Err(Stay::new("changed-by-rule", why));
    }
    Ok((route, target))
}

/// The points of these letters; those that cannot be put right stay, with the reason.
pub(super) fn points(
    letters: &[Letter],
    (mapping, kind): (&Mapping, &TargetKind),
    writing: Writing,
) -> (Vec<Point>, Vec<(usize, Stay)>) {
    let (mut points, mut stay): (Vec<Point>, _) = (Vec::new(), Vec::new());
    let mut known: HashMap<(RouteName, Series, i64), usize> = HashMap::new();
    for (number, letter) in letters.iter().enumerate() {
        let found = place(letter, mapping, kind).and_then(|(route, target)| {
            let form = Form { writing, tables: &table_prefix(&target, kind) };
            Ok((route, target, cells(letter, form)?))
        });
        let (route, target, (series, time_ns, fields)) = match found {
            Ok(found) => found,
            Err(why) => {
                stay.push((number, why));
                continue;
            }
        };
        let key = (route.clone(), series.clone(), time_ns);
        let at = *known.entry(key).or_insert_with(|| {
            let (fields, letters, whole) = (BTreeSet::new(), Vec::new(), writing.merges_lines());
            points.push(Point { route, target, series, time_ns, fields, letters, whole });
            points.len() - 1
        });
        points[at].fields.extend(fields.iter().cloned());
        points[at].letters.push((number, fields));
    }
    (points, stay)
}

/// Series, time and fields of a letter.
fn cells(letter: &Letter, form: Form<'_>) -> Result<(Series, i64, BTreeSet<Vec<u8>>), Stay> {
    let unreadable = || Stay::new("not-read", "its line cannot be read, so that its cells are not known");
    let line = line(&letter.stored.text, Precision::Nanosecond).ok_or_else(unreadable)?;
    let measurement = form.measurement(letter, &line)?;
    let time_ns = line.timestamp_ns().ok_or_else(unreadable)?;
    let fields: BTreeSet<Vec<u8>> = line.fields().iter().map(|field| field.key().into_owned()).collect();
    let keys = fields.iter().map(|field| (field.clone(), vec![FieldType::Float])).collect();
    if !unreadable_fields(&keys).is_empty() {
        return Err(Stay::new("not-shown", "a field that no query of the source shows"));
    }
    Ok((series_of(measurement, &line), time_ns, fields))
}

fn series_of(measurement: Vec<u8>, line: &Line<'_>) -> Series {
    let tags = line.tags().iter().map(|tag| (tag.key().into_owned(), tag.value().into_owned())).collect();
    Series::new(measurement, tags)
}

/// The line that brings these values to the destination; or why none does.
pub(super) fn written(point: &Point, values: &Values, form: Form<'_>) -> Result<Vec<u8>, Stay> {
    let values = values.iter().map(|(field, value)| (field.as_slice(), value));
    form.point((&point.series, point.time_ns), values, &mut Changes::default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Lsn;
    use crate::config::Unmapped;
    use crate::line::Dialect;
    use crate::state::StoredLetter;

    fn letter(line: u32, route: &str, text: &[u8]) -> Letter {
        let (code, reason) = ("parse".to_owned(), String::new());
        Letter::new(
            StoredLetter { id: (Lsn(1), line), route: route.to_owned(), code, reason, text: text.to_vec() },
            Precision::Nanosecond,
        )
    }

    fn of(letters: &[Letter]) -> (Vec<Point>, Vec<(usize, Stay)>) {
        let mapping = Mapping { unmapped: Unmapped::SourceOnly, rules: Vec::new() };
        points(letters, (&mapping, &TargetKind::Database), Writing::Influx(Dialect::Influx1))
    }

    #[test]
    fn letters_of_one_point_are_one_point_with_all_their_fields() {
        let key = RouteName::Database { db: "d".into(), rp: String::new() }.key();
        let letters = [
            letter(0, &key, b"m,b=1,a=2 v=1 7"),
            letter(1, &key, b"m,a=2,b=1 w=1i,v=2 7"),
            letter(2, &key, b"m,a=2,b=1 v=3 8"),
            letter(3, "bucket b of o", b"m v=1 7"),
            letter(4, &key, b"no line"),
            letter(5, &key, b"m _tagKey=1 7"),
        ];
        let (points, stay) = of(&letters);
        let seen: Vec<_> =
            points.iter().map(|point| (point.time_ns, point.fields.len(), point.letters.len())).collect();
        assert_eq!(seen, [(7, 2, 2), (8, 1, 1)]);
        let why: Vec<_> = stay.iter().map(|(number, stay)| (*number, stay.code)).collect();
        assert_eq!(why, [(3, "route-unknown"), (4, "not-read"), (5, "not-shown")]);
    }

    #[test]
    fn what_is_written_reads_back_with_every_bit_or_is_not_written() {
        let key = RouteName::Database { db: "d".into(), rp: String::new() }.key();
        let odd: &[u8] = "m\\ \\,=ä,t\\ k=v\\=\\,\\ x s\\\"=\"\" -7".as_bytes();
        let (points, _) = of(&[letter(0, &key, odd), letter(1, &key, b"m,_field=x v=1 7")]);
        let values: Values = [
            (&b"f"[..], Value::Float(f64::MIN_POSITIVE)),
            (b"g", Value::Float(-0.0)),
            (b"h", Value::Float(1.797_693_134_862_315_7e308)),
            (b"i", Value::Integer(i64::MIN)),
            (b"b", Value::Boolean(true)),
            (b"s, =", Value::String(b"a\"b\\c\nd\\".to_vec())),
        ]
        .into_iter()
        .map(|(field, value)| (field.to_vec(), value))
        .collect();
        let form = |dialect| Form { writing: Writing::Influx(dialect), tables: "" };
        for dialect in [Dialect::Influx1, Dialect::Influx2] {
            let text = written(&points[0], &values, form(dialect)).unwrap();
            assert!(text.ends_with(b" -7\n"));
        }
        let unsigned: Values = [(b"u".to_vec(), Value::Unsigned(u64::MAX))].into();
        assert!(written(&points[0], &unsigned, form(Dialect::Influx2)).is_ok());
        assert_eq!(written(&points[0], &unsigned, form(Dialect::Influx1)).unwrap_err().code, "parse");
        assert_eq!(
            written(&points[1], &unsigned, form(Dialect::Influx2)).unwrap_err().code,
            "parse",
            "a reserved tag key"
        );
    }
}
