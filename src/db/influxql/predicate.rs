//! What a delete deletes, in a form that both families of servers have: a measurement, a span of times, tags with their values.
//!
//! Promise: a statement becomes this only where it means exactly the same; what it cannot say is [`Untranslated`], never less or more.

use super::change::Class;
use super::identifier;
use super::lex::{self, Kind, Token};
use super::statement::Statement;
use crate::base::clock::{parse_rfc3339, rfc3339};

/// The first and the last time that a point can have.
const TIMES: (i64, i64) = (i64::MIN + 2, i64::MAX - 1);

/// Why a delete cannot be written for the other family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Untranslated(pub &'static str);

/// Points of one measurement, or of all, in a span of times and with these tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deletion {
    /// Empty: of all measurements.
    pub measurement: Option<String>,
    /// First time, ns.
    pub first_ns: i64,
    /// Last time, ns.
    pub last_ns: i64,
    /// Tags and their values, none of them empty.
    pub tags: Vec<(String, String)>,
}

impl Statement<'_> {
    /// What this statement deletes when it is run at that time.
    ///
    /// # Errors
    /// It is no delete, or says what the other family of servers cannot say.
    pub fn deletions(&self, now_ns: i64) -> Result<Vec<Deletion>, Untranslated> {
        let change = self.change.as_ref().ok_or(Untranslated("it deletes nothing"))?;
        let all = Deletion { measurement: None, first_ns: TIMES.0, last_ns: TIMES.1, tags: Vec::new() };
        let skip = match change.class {
            Class::DropMeasurement => {
                // An empty name in a predicate may mean all of them.
                let named = change.measurement.clone().filter(|name| !name.is_empty());
                let measurement = named.ok_or(Untranslated("it names no measurement"))?;
                if self.tokens().len() > 3 {
                    return Err(Untranslated("it says more than a measurement"));
                }
                return Ok(vec![Deletion { measurement: Some(measurement), ..all }]);
            }
            Class::Delete => 1,
            Class::DropSeries => 2,
            _ => return Err(Untranslated("it deletes no points by themselves")),
        };
        let mut reading = Reading { text: self.text(), rest: self.tokens().get(skip..).unwrap_or_default(), now_ns };
        let measurements = reading.sources()?;
        if measurements.iter().any(String::is_empty) {
            return Err(Untranslated("it names no measurement"));
        }
        let mut deletion = all;
        if reading.keyword("where") {
            reading.conditions(&mut deletion, '\'')?;
        }
        if !reading.rest.is_empty() {
            return Err(Untranslated("it says more than a span of times and tags"));
        }
        if measurements.is_empty() {
            return Ok(vec![deletion]);
        }
        Ok(measurements.into_iter().map(|name| Deletion { measurement: Some(name), ..deletion.clone() }).collect())
    }
}

impl Deletion {
    /// Of the body of `/api/v2/delete`: `first` and `last` as that server reads `start` and `stop`.
    ///
    /// # Errors
    /// The predicate says what InfluxQL says otherwise.
    pub fn of_predicate(predicate: &str, first_ns: i64, last_ns: i64) -> Result<Self, Untranslated> {
        let mut deletion = Self { measurement: None, first_ns, last_ns, tags: Vec::new() };
        let tokens = lex::tokens(predicate);
        if tokens.is_empty() {
            return Ok(deletion);
        }
        let mut reading = Reading { text: predicate, rest: &tokens, now_ns: 0 };
        reading.conditions(&mut deletion, '"')?;
        if !reading.rest.is_empty() {
            return Err(Untranslated("its predicate says more than tags and their values"));
        }
        let named = |tag: &(String, String)| tag.0 == "_measurement";
        deletion.measurement = deletion.tags.iter().find(|tag| named(tag)).map(|(_, name)| name.clone());
        deletion.tags.retain(|tag| !named(tag));
        if deletion.tags.iter().any(|(key, _)| key.starts_with('_') || key.eq_ignore_ascii_case("time")) {
            return Err(Untranslated("its predicate speaks of more than a measurement and tags"));
        }
        Ok(deletion)
    }

    /// The body of `/api/v2/delete` on 2.x, which takes `stop` as the last time that is deleted.
    #[must_use]
    pub fn api_body(&self) -> String {
        let measurement = self.measurement.iter().map(|name| ("_measurement".to_owned(), name.clone()));
        let terms = measurement.chain(self.tags.iter().cloned());
        let terms: Vec<_> = terms.map(|(key, value)| format!("{}={}", identifier(&key), identifier(&value))).collect();
        let body = serde_json::json!({
            "start": rfc3339(self.first_ns), "stop": rfc3339(self.last_ns), "predicate": terms.join(" AND "),
        });
        body.to_string()
    }

    /// The statement for 1.x.
    #[must_use]
    pub fn influxql(&self) -> String {
        let from = self.measurement.as_ref().map_or(String::new(), |name| format!(" FROM {}", identifier(name)));
        let text = |value: &str| format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'").replace('\n', "\\n"));
        let tags = self.tags.iter().map(|(key, value)| format!("{} = {}", identifier(key), text(value)));
        let times = [format!("time >= {}", self.first_ns), format!("time <= {}", self.last_ns)];
        format!("DELETE{from} WHERE {}", tags.chain(times).collect::<Vec<_>>().join(" AND "))
    }
}

/// A condition, read term by term.
struct Reading<'a> {
    text: &'a str,
    rest: &'a [Token],
    now_ns: i64,
}

impl Reading<'_> {
    fn next(&mut self) -> Option<Token> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn keyword(&mut self, word: &str) -> bool {
        let comes = self.rest.first().is_some_and(|token| token.is(self.text, word));
        if comes {
            self.rest = &self.rest[1..];
        }
        comes
    }

    fn sign(&mut self, signs: &[&str]) -> Option<String> {
        let sign = self.rest.first().filter(|token| token.kind == Kind::Sign)?.of(self.text).to_owned();
        signs.contains(&sign.as_str()).then(|| {
            self.rest = &self.rest[1..];
            sign
        })
    }

    /// The measurements behind `FROM`; none without it.
    fn sources(&mut self) -> Result<Vec<String>, Untranslated> {
        let mut names = Vec::new();
        if !self.keyword("from") {
            return Ok(names);
        }
        loop {
            let name = self.next().and_then(|token| token.name(self.text).map(std::borrow::Cow::into_owned));
            names.push(name.ok_or(Untranslated("it names measurements by a regular expression"))?);
            if self.sign(&[","]).is_none() {
                return Ok(names);
            }
        }
    }

    /// Terms that all must hold. `quote`: of values; in a predicate double ones are as good as single ones.
    fn conditions(&mut self, deletion: &mut Deletion, quote: char) -> Result<(), Untranslated> {
        loop {
            let subject = self.next().and_then(|token| token.name(self.text).map(std::borrow::Cow::into_owned));
            let subject = subject.ok_or(Untranslated("a condition does not begin with a name"))?;
            if subject.eq_ignore_ascii_case("time") && quote == '\'' {
                self.time(deletion)?;
            } else {
                self.sign(&["="]).ok_or(Untranslated("a tag is compared otherwise than by ="))?;
                let value = self.next().ok_or(Untranslated("a condition has no value"))?;
                let value = match value.kind {
                    Kind::Text => value.said(self.text),
                    Kind::Name | Kind::Word if quote == '"' => value.name(self.text),
                    _ => None,
                };
                let value = value.ok_or(Untranslated("a tag is compared with something else than text"))?.into_owned();
                if value.is_empty() {
                    return Err(Untranslated("a tag is compared with nothing"));
                }
                if deletion.tags.iter().any(|(key, _)| *key == subject) {
                    return Err(Untranslated("a tag is compared twice"));
                }
                deletion.tags.push((subject, value));
            }
            if !self.keyword("and") {
                return Ok(());
            }
        }
    }

    fn time(&mut self, deletion: &mut Deletion) -> Result<(), Untranslated> {
        let sign = self.sign(&["<", "<=", ">", ">=", "="]).ok_or(Untranslated("times are compared in another way"))?;
        let at = self.moment().ok_or(Untranslated("a time is written in a way that is not known here"))?;
        let (first, last) = match sign.as_str() {
            // The last time that is deleted, also where a server deletes up to and with it.
            "<" => (TIMES.0, at.saturating_sub(1)),
            "<=" => (TIMES.0, at),
            ">" => (at.saturating_add(1), TIMES.1),
            ">=" => (at, TIMES.1),
            _ => (at, at),
        };
        deletion.first_ns = deletion.first_ns.max(first);
        deletion.last_ns = deletion.last_ns.min(last);
        Ok(())
    }

    /// A time, with spans added or taken off.
    fn moment(&mut self) -> Option<i64> {
        let first = self.next()?;
        let mut at = match first.kind {
            Kind::Number => spelled_number(first.of(self.text))?,
            Kind::Sign if first.is_sign(self.text, "-") => {
                let number = self.next().filter(|token| token.kind == Kind::Number)?.of(self.text);
                format!("-{number}").parse().ok().or_else(|| span_ns(number)?.checked_neg())?
            }
            Kind::Text => spelled_time(&first.said(self.text)?)?,
            Kind::Word | Kind::Name if first.name(self.text)?.eq_ignore_ascii_case("now") => {
                self.sign(&["("])?;
                self.sign(&[")"])?;
                self.now_ns
            }
            _ => return None,
        };
        while let Some(sign) = self.sign(&["+", "-"]) {
            let span = self.next().filter(|token| token.kind == Kind::Number)?;
            let span = span_ns(span.of(self.text))?;
            at = if sign == "+" { at.checked_add(span)? } else { at.checked_sub(span)? };
        }
        Some(at)
    }
}

/// Nanoseconds, or a span since 1970.
fn spelled_number(text: &str) -> Option<i64> {
    text.parse().ok().or_else(|| span_ns(text))
}

/// As the servers read it: RFC 3339, or a date, or a date and a time, both in UTC.
fn spelled_time(text: &str) -> Option<i64> {
    let text = text.replacen(' ', "T", 1);
    let is_date = text.len() == 10;
    let has_zone = text.ends_with('Z') || text.get(10..).is_some_and(|time| time.contains(['+', '-']));
    match (is_date, has_zone) {
        (true, _) => parse_rfc3339(&format!("{text}T00:00:00Z")),
        (false, true) => parse_rfc3339(&text),
        (false, false) => parse_rfc3339(&format!("{text}Z")),
    }
}

/// Seconds of a policy's duration; 0 is for ever.
#[must_use]
pub fn span_s(text: &str) -> Option<u64> {
    if text.eq_ignore_ascii_case("inf") {
        return Some(0);
    }
    u64::try_from(span_ns(text)? / 1_000_000_000).ok()
}

/// A span as it is written in InfluxQL: `1h30m`.
fn span_ns(text: &str) -> Option<i64> {
    let mut rest = text;
    let mut sum = 0_i64;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: i64 = rest.get(..digits)?.parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let unit = match &rest[..letters] {
            "ns" => 1,
            "u" | "µ" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            "d" => 86_400_000_000_000,
            "w" => 604_800_000_000_000,
            _ => return None,
        };
        sum = sum.checked_add(number.checked_mul(unit)?)?;
        rest = &rest[letters..];
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::super::split;
    use super::*;

    fn read(text: &str) -> Result<Vec<Deletion>, Untranslated> {
        split(text)[0].deletions(1_000_000_000_000)
    }

    fn one(text: &str) -> (Option<String>, i64, i64, Vec<(String, String)>) {
        let Deletion { measurement, first_ns, last_ns, tags } = read(text).unwrap().remove(0);
        (measurement, first_ns, last_ns, tags)
    }

    #[test]
    fn times_become_a_span_whose_ends_are_deleted() {
        let span = |text: &str| {
            let (_, first, last, _) = one(&format!("DELETE FROM m WHERE {text}"));
            (first, last)
        };
        let (first, last) = TIMES;
        assert_eq!(span("time < 10"), (first, 9));
        assert_eq!(span("time <= 10 and TIME > 5"), (6, 10));
        assert_eq!(span("time >= 1s AND time = 2s"), (2_000_000_000, 2_000_000_000));
        assert_eq!(span("time < now() - 1m30s"), (first, 909_999_999_999));
        assert_eq!(span("time > '1970-01-02'"), (86_400_000_000_001, last));
        assert_eq!(span("time > '1970-01-02 00:00:01.5' - 1d"), (1_500_000_001, last));
        assert_eq!(span("time > '1970-01-01T01:00:00+01:00'"), (1, last));
        // Before 1970, as 1.13 takes them.
        assert_eq!(span("time >= -9223372036854775806 AND time < - 1h"), (first, -3_600_000_000_001));
    }

    #[test]
    fn tags_and_measurements_are_kept_apart_and_anything_else_is_refused() {
        let tag = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let (measurement, .., tags) = one(r#"DELETE FROM "m ;" WHERE "a b" = 'x\'y' AND c='d'"#);
        assert_eq!((measurement.as_deref(), tags), (Some("m ;"), vec![tag("a b", "x'y"), tag("c", "d")]));
        assert_eq!(one("DROP MEASUREMENT m"), (Some("m".to_owned()), TIMES.0, TIMES.1, vec![]));
        assert_eq!(one("DROP SERIES WHERE a = 'b'").3, [tag("a", "b")]);
        assert_eq!(read("DELETE FROM a, \"b\" WHERE time < 5").unwrap().len(), 2);
        for text in [
            "DELETE FROM /m/",
            "DELETE FROM m WHERE a != 'b'",
            "DELETE FROM m WHERE a =~ /b/",
            "DELETE FROM m WHERE a = 'b' OR c = 'd'",
            "DELETE FROM m WHERE (a = 'b')",
            "DELETE FROM m WHERE a = ''",
            "DELETE FROM m WHERE 'b' = a",
            "DELETE FROM m WHERE a = $p",
            "DELETE FROM m WHERE time < 1.5",
            "DELETE FROM m WHERE time < 'yesterday'",
            "DELETE FROM m WHERE time <> 5",
            "DELETE FROM m WHERE a = 'b' AND a = 'c'",
            "DELETE FROM d.r.m",
            "DELETE FROM m LIMIT 1",
            "DROP DATABASE x",
            "DROP MEASUREMENT \"\"",
            "DROP MEASUREMENT now()",
            "DELETE FROM a, \"\"",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn it_is_written_for_both_families() {
        let deletion = &read(r#"DELETE FROM "a\"b" WHERE h = 'x\'\\' AND time >= 0 AND time < 1000000000"#).unwrap()[0];
        let body: serde_json::Value = serde_json::from_str(&deletion.api_body()).unwrap();
        assert_eq!(body["predicate"], r#""_measurement"="a\"b" AND "h"="x'\\""#);
        assert_eq!(
            (&body["start"], &body["stop"]),
            (&"1970-01-01T00:00:00Z".into(), &"1970-01-01T00:00:00.999999999Z".into())
        );
        assert_eq!(
            deletion.influxql(),
            r#"DELETE FROM "a\"b" WHERE "h" = 'x\'\\' AND time >= 0 AND time <= 999999999"#
        );
        assert_eq!(read(&deletion.influxql()).unwrap(), std::slice::from_ref(deletion));
    }

    #[test]
    fn predicates_of_the_api_are_read() {
        let of = |text: &str| Deletion::of_predicate(text, 1, 2);
        let found = of(r#"_measurement="m" AND host='a' and "b c"=d"#).unwrap();
        let tag = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!((found.measurement.as_deref(), found.tags), (Some("m"), vec![tag("host", "a"), tag("b c", "d")]));
        assert_eq!(of(" ").unwrap(), Deletion { measurement: None, first_ns: 1, last_ns: 2, tags: vec![] });
        for text in ["a != b", "a=b OR c=d", "_field=v", "(a=b)", "a=~/b/", "a", "a=1"] {
            assert!(of(text).is_err(), "{text}");
        }
    }
}
