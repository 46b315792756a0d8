//! What a point of history becomes at the destination: the one way for copies and for imports.
//!
//! Promise: what the destination can hold of a point is written, and what it cannot is named, cell by cell where its neighbours can be
//! held; nothing is left out in silence. What is written reads back there as the point, but for what [`Changes`] counts and the rules say.

use super::{Form, NOTHING_HELD, Stay, is_value, series_of, written_of};
use crate::cell::{Series, Value};
use crate::delivery::Writing;
use crate::line::project::Changes;
use crate::line::{
    Dialect, LeftOut, Line, Precision, Rules, Value as Written, lines, unfit, write_canonical, write_parts,
};

/// By rules of mapping into the destination's form.
#[derive(Clone, Copy, Debug)]
pub struct Shaping<'a> {
    /// The destination's.
    pub form: Form<'a>,
    /// Of the point's place, if there are some.
    pub rules: Option<&'a Rules>,
}

/// Cells of a point that the destination does not hold, or does not show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// Them, as a line in the form of InfluxDB 2.x, without a line feed.
    pub text: Vec<u8>,
    /// Why.
    pub why: Stay,
}

/// What becomes of a point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Formed {
    /// It is written so.
    Line(Vec<u8>),
    /// It is written so, but for these cells.
    Partly(Vec<u8>, Left),
    /// A rule leaves it out.
    Excluded,
    /// The destination can hold nothing of it, which is counted.
    Nothing,
    /// It cannot be written.
    Refused(Stay),
}

impl Shaping<'_> {
    /// `values`: the fields of the point, each once.
    pub fn point<'v>(
        self,
        (series, time_ns): (&Series, i64),
        values: impl Iterator<Item = (&'v [u8], &'v Value)> + Clone,
        changes: &mut Changes,
    ) -> Formed {
        let tags = series.tags().iter().map(|(key, value)| (key.as_slice(), value.as_slice()));
        let fields = values.clone().map(|(field, value)| (field, written_of(value)));
        let mut text = Vec::with_capacity(128);
        write_parts((series.measurement(), tags), fields, time_ns, &mut text);
        let is_same = |line: &Line<'_>| {
            let mut wanted = values.clone();
            line.timestamp_ns() == Some(time_ns)
                && series_of(line) == *series
                && line.fields().iter().all(|field| {
                    wanted.next().is_some_and(|(key, value)| *field.key() == *key && is_value(value, &field.value()))
                })
                && wanted.next().is_none()
        };
        // The second reads more; what both read they read alike.
        let meant = [Dialect::Influx1, Dialect::Influx2]
            .into_iter()
            .find(|dialect| one(&text, *dialect).is_some_and(|line| is_same(&line)));
        let Some(dialect) = meant else {
            return self.unread(&text);
        };
        match self.rules {
            Some(rules) => self.by_rules(rules, &text, dialect, changes),
            None => self.line(text, dialect, changes),
        }
    }

    /// No line means it: the destination's words for it, where it has some.
    fn unread(self, text: &[u8]) -> Formed {
        let own = match self.form.writing {
            Writing::Influx(to) => lines(text, to, Precision::Nanosecond).next().and_then(Result::err),
            _ => None,
        };
        Formed::Refused(match own {
            Some(malformed) => unread_there(&malformed.reason),
            None => Stay::new("unreadable", "names or values that no line holds"),
        })
    }

    fn by_rules(self, rules: &Rules, text: &[u8], dialect: Dialect, changes: &mut Changes) -> Formed {
        let left = rules.reshape(text, dialect, Precision::Nanosecond, |_| true);
        if let Some(refused) = left.refused.first() {
            let code = if refused.why == LeftOut::SameName { "same-name" } else { "bad-name" };
            return Formed::Refused(Stay::new(code, format!("by a rule of mapping: {}", refused.why)));
        }
        if left.body.is_empty() {
            return Formed::Excluded;
        }
        changes.add_all(&left.changes);
        let odd = || Formed::Refused(Stay::new("unreadable", "no line any more by a rule of mapping"));
        let Some(line) = one(&left.body, dialect) else { return odd() };
        let Some(at_ns) = line.timestamp_ns() else { return odd() };
        let mut canonical = Vec::with_capacity(left.body.len() + 8);
        write_canonical(&line, at_ns, &mut canonical);
        self.line(canonical, dialect, changes)
    }

    /// A line that means the point in this dialect.
    fn line(self, text: Vec<u8>, dialect: Dialect, changes: &mut Changes) -> Formed {
        let Some(line) = one(&text, dialect) else {
            return Formed::Refused(Stay::new("unreadable", "it reads otherwise than it was written"));
        };
        let Writing::Influx(to) = self.form.writing else {
            return match self.form.project(&line, changes) {
                Ok(line) => Formed::Line(line),
                Err(why) if why.code == NOTHING_HELD => Formed::Nothing,
                Err(why) => Formed::Refused(why),
            };
        };
        let found = match lines(&text, to, Precision::Nanosecond).next() {
            Some(Ok(there)) if is_same_line(&line, &there) => match unfit(&there, to) {
                None => Ok(None),
                Some(found) if found.in_part => {
                    let text = cells(&line, |key, _| key == b"_tagKey" || key == b"_name");
                    Ok(Some(Left { text, why: Stay::new(found.code, found.why) }))
                }
                Some(found) => Err(Formed::Refused(Stay::new(found.code, found.why))),
            },
            Some(Err(malformed)) => Err(without_unsigned(&line, to, unread_there(&malformed.reason))),
            _ => {
                let why = "names or values that no line of the destination's dialect holds";
                Err(Formed::Refused(Stay::new("unreadable", why)))
            }
        };
        drop(line);
        match found {
            Ok(None) => Formed::Line(text),
            // It goes as delivery sends it.
            Ok(Some(left)) => Formed::Partly(text, left),
            Err(formed) => formed,
        }
    }
}

/// InfluxDB 1.x as it is shipped has no unsigned integers: the other fields can be held.
fn without_unsigned(line: &Line<'_>, to: Dialect, why: Stay) -> Formed {
    let is_unsigned = |value: &Written<'_>| matches!(value, Written::Unsigned(_));
    let count = line.fields().iter().filter(|field| is_unsigned(&field.value())).count();
    if count == 0 || count == line.fields().len() {
        return Formed::Refused(why);
    }
    let mut rest = cells(line, |_, value| !is_unsigned(value));
    rest.push(b'\n');
    let fits = one(&rest, to).is_some_and(|there| unfit(&there, to).is_none());
    match fits {
        true => Formed::Partly(rest, Left { text: cells(line, |_, value| is_unsigned(value)), why }),
        false => Formed::Refused(why),
    }
}

/// Its line with some of the fields, without a line feed.
fn cells(line: &Line<'_>, is_wanted: impl Fn(&[u8], &Written<'_>) -> bool) -> Vec<u8> {
    let series = series_of(line);
    let tags = series.tags().iter().map(|(key, value)| (key.as_slice(), value.as_slice()));
    let fields: Vec<_> = line.fields().iter().map(|field| (field.key(), field.value())).collect();
    let wanted = fields.iter().filter(|(key, value)| is_wanted(key, value));
    let mut text = Vec::new();
    let wanted = wanted.map(|(key, value)| (&**key, value.clone()));
    write_parts((series.measurement(), tags), wanted, line.timestamp_ns().unwrap_or_default(), &mut text);
    text.pop();
    text
}

/// The whole text as one line.
fn one(text: &[u8], dialect: Dialect) -> Option<Line<'_>> {
    let mut all = lines(text, dialect, Precision::Nanosecond);
    let line = all.next()?.ok()?;
    all.next().is_none().then_some(line)
}

/// Whether both mean the same cells.
fn is_same_line(one: &Line<'_>, other: &Line<'_>) -> bool {
    let (a, b) = (one.fields(), other.fields());
    one.timestamp_ns() == other.timestamp_ns()
        && series_of(one) == series_of(other)
        && a.len() == b.len()
        && a.iter().zip(b).all(|(a, b)| a.key() == b.key() && is_same_value(&a.value(), &b.value()))
}

fn is_same_value(one: &Written<'_>, other: &Written<'_>) -> bool {
    match (one, other) {
        (Written::Float(a), Written::Float(b)) => a.to_bits() == b.to_bits(),
        (a, b) => a == b,
    }
}

fn unread_there(reason: &impl std::fmt::Display) -> Stay {
    Stay::new("parse", format!("the destination would not read it: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn formed(to: Dialect, fields: &[(&str, Value)]) -> Formed {
        let shaping = Shaping { form: Form { writing: Writing::Influx(to), tables: "" }, rules: None };
        let series = Series::new(b"m".to_vec(), vec![(b"t".to_vec(), b"x".to_vec())]);
        let values = fields.iter().map(|(key, value)| (key.as_bytes(), value));
        shaping.point((&series, 7), values, &mut Changes::default())
    }

    #[test]
    fn what_can_be_held_of_a_point_is_written_and_the_rest_is_named() {
        let of = |found: Formed| match found {
            Formed::Partly(line, left) => {
                (String::from_utf8(line).unwrap(), String::from_utf8(left.text).unwrap(), left.why.code)
            }
            other => panic!("{other:?}"),
        };
        let mixed = [("u", Value::Unsigned(9)), ("v", Value::Float(1.0))];
        assert_eq!(of(formed(Dialect::Influx1, &mixed)), ("m,t=x v=1.0 7\n".into(), "m,t=x u=9u 7".into(), "parse"));
        assert_eq!(formed(Dialect::Influx2, &mixed), Formed::Line(b"m,t=x u=9u,v=1.0 7\n".to_vec()));
        let hidden = [("_tagKey", Value::Integer(1)), ("v", Value::Float(1.0))];
        assert_eq!(
            of(formed(Dialect::Influx1, &hidden)),
            ("m,t=x _tagKey=1i,v=1.0 7\n".into(), "m,t=x _tagKey=1i 7".into(), "unreadable")
        );
        let alone = formed(Dialect::Influx1, &[("u", Value::Unsigned(9))]);
        assert!(matches!(&alone, Formed::Refused(why) if why.code == "parse"), "{alone:?}");
        let empty = formed(Dialect::Influx1, &[("", Value::Float(1.0))]);
        assert!(matches!(&empty, Formed::Refused(_)), "{empty:?}");
    }

    #[test]
    fn rules_come_before_the_form() {
        let shape = crate::config::Shape { drop_fields: vec!["v".to_owned()], ..Default::default() };
        let rules = shape.rules().unwrap();
        let form = Form { writing: Writing::Influx(Dialect::Influx2), tables: "" };
        let of = |field: &str| {
            let value = Value::Float(1.0);
            let series = Series::new(b"m".to_vec(), Vec::new());
            let values = [(field.as_bytes(), &value)].into_iter();
            Shaping { form, rules: Some(&rules) }.point((&series, 7), values, &mut Changes::default())
        };
        assert_eq!((of("v"), of("w")), (Formed::Excluded, Formed::Line(b"m w=1.0 7\n".to_vec())));
    }
}
