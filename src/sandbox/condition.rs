//! What `WHERE` keeps: a span of time, and tags.

use super::lex::TokenKind;
use super::statement::{Parsed, Parser};

/// What `WHERE` keeps. Times are both included.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Condition {
    pub(super) start_ns: i64,
    pub(super) end_ns: i64,
    /// Tag, wanted value, and whether it must be equal.
    pub(super) tags: Vec<(String, String, bool)>,
}

impl Condition {
    fn everything() -> Self {
        Self { start_ns: i64::MIN, end_ns: i64::MAX, tags: Vec::new() }
    }
}

impl Parser {
    /// `WHERE …`, when it stands here.
    pub(super) fn condition(&mut self) -> Parsed<Condition> {
        let mut found = Condition::everything();
        if !self.word("WHERE") {
            return Ok(found);
        }
        loop {
            self.term(&mut found)?;
            if !self.word("AND") {
                return Ok(found);
            }
        }
    }

    fn term(&mut self, found: &mut Condition) -> Parsed<()> {
        if self.sign("(") {
            self.term(found)?;
            while self.word("AND") {
                self.term(found)?;
            }
            return self.need_sign(")");
        }
        let name = self.name()?;
        let operators = ["<=", ">=", "!=", "<>", "<", ">", "="];
        let Some(operator) = operators.into_iter().find(|operator| self.sign(operator)) else {
            return self.expected("operator");
        };
        if !name.eq_ignore_ascii_case("time") {
            let TokenKind::Text(value) = self.peek().kind.clone() else { return self.expected("string") };
            let equal = match operator {
                "=" => true,
                "!=" | "<>" => false,
                _ => return self.expected("a comparison of tags by = or !="),
            };
            self.step();
            found.tags.push((name, value, equal));
            return Ok(());
        }
        let time_ns = self.time()?;
        match operator {
            ">=" => found.start_ns = found.start_ns.max(time_ns),
            ">" => found.start_ns = found.start_ns.max(time_ns.saturating_add(1)),
            "<=" => found.end_ns = found.end_ns.min(time_ns),
            "<" => found.end_ns = found.end_ns.min(time_ns.saturating_sub(1)),
            "=" => (found.start_ns, found.end_ns) = (found.start_ns.max(time_ns), found.end_ns.min(time_ns)),
            _ => return self.expected("a comparison of time"),
        }
        Ok(())
    }

    /// A time: nanoseconds, a text, `now()`, a number with unit; more or less a span.
    fn time(&mut self) -> Parsed<i64> {
        let mut time_ns = if self.word("now") {
            self.need_sign("(")?;
            self.need_sign(")")?;
            self.now_ns
        } else if let TokenKind::Text(text) = self.peek().kind.clone() {
            let Some(time_ns) = text_time(&text) else { return self.expected("a time") };
            self.step();
            time_ns
        } else {
            self.signed()?
        };
        loop {
            if self.sign("+") {
                time_ns = time_ns.saturating_add(self.signed()?);
            } else if self.sign("-") {
                time_ns = time_ns.saturating_sub(self.signed()?);
            } else {
                return Ok(time_ns);
            }
        }
    }

    fn signed(&mut self) -> Parsed<i64> {
        let factor = if self.sign("-") { -1 } else { 1 };
        match self.peek().kind {
            TokenKind::Number(number) => {
                let number = factor * number;
                self.step();
                Ok(i64::try_from(number).unwrap_or(if number < 0 { i64::MIN } else { i64::MAX }))
            }
            TokenKind::Span(ns) => {
                self.step();
                Ok(ns.saturating_mul(i64::try_from(factor).unwrap_or(1)))
            }
            _ => self.expected("number"),
        }
    }
}

/// RFC 3339, `YYYY-MM-DD HH:MM:SS[.fraction]`, or a date; in UTC.
fn text_time(text: &str) -> Option<i64> {
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return i64::try_from(time.as_nanosecond()).ok();
    }
    let civil: jiff::civil::DateTime = text.parse().ok()?;
    let zoned = civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    i64::try_from(zoned.timestamp().as_nanosecond()).ok()
}
