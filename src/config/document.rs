//! A parsed file that remembers where everything stands. Reading a setting gives its checked value or records a fault, and goes on,
//! so that one look finds all faults.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::ops::{Range, RangeInclusive};
use std::path::Path;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::backfill::Form;
use super::excerpt::excerpt;
use super::fault::{ConfigError, Position};
use super::interpolate::interpolate;
use crate::base::size::{ByteSize, parse_span, show_span};

/// A string value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Text {
    /// After substitution.
    pub(super) value: String,
    /// Whether it stands in the file as it is, no variable in it.
    pub(super) literal: bool,
}

/// One file being read: where faults and warnings are collected.
pub(super) struct Document<'a> {
    pub(super) text: &'a str,
    pub(super) file: Option<&'a Path>,
    pub(super) env: &'a dyn Fn(&str) -> Option<String>,
    pub(super) errors: RefCell<Vec<ConfigError>>,
    pub(super) warnings: RefCell<Vec<String>>,
    /// Full names of all keys that were asked for.
    pub(super) known: RefCell<BTreeSet<String>>,
}

impl<'a> Document<'a> {
    pub(super) fn new(text: &'a str, file: Option<&'a Path>, env: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self { text, file, env, errors: RefCell::default(), warnings: RefCell::default(), known: RefCell::default() }
    }

    pub(super) fn fault(&self, at: Option<usize>, key: &str, what: impl Display, write: Option<String>) {
        let at = at.map(|offset| Position::of(self.text, offset));
        self.errors.borrow_mut().push(ConfigError {
            file: self.file.map(Path::to_owned),
            at,
            key: key.to_owned(),
            what: what.to_string(),
            excerpt: at.and_then(|at| excerpt(self.text, at)),
            write,
        });
    }

    pub(super) fn warn(&self, at: Option<usize>, key: &str, what: impl Display) {
        let place = at.map(|offset| Position::of(self.text, offset));
        let place = place.map_or(String::new(), |at| format!("line {}: ", at.line));
        self.warnings.borrow_mut().push(format!("{place}{key}: {what}"));
    }
}

/// One table of the file, or an absent one, with the keys that were asked of it.
pub(super) struct Section<'a> {
    pub(super) doc: &'a Document<'a>,
    path: String,
    at: Option<usize>,
    table: Option<&'a DeTable<'a>>,
    asked: RefCell<Vec<&'static str>>,
}

impl<'a> Section<'a> {
    pub(super) fn root(doc: &'a Document<'a>, table: &'a DeTable<'a>) -> Self {
        Self { doc, path: String::new(), at: None, table: Some(table), asked: RefCell::default() }
    }

    fn under(doc: &'a Document<'a>, path: String, value: &'a Spanned<DeValue<'a>>) -> Self {
        let table = match value.get_ref() {
            DeValue::Table(table) => Some(table),
            other => {
                doc.fault(
                    Some(value.span().start),
                    &path,
                    format!("is {}, not a table", kind(other)),
                    Some(format!("[{path}] and its settings below")),
                );
                None
            }
        };
        Self { doc, path, at: Some(value.span().start), table, asked: RefCell::default() }
    }

    /// The full name of a key here.
    pub(super) fn name(&self, key: &str) -> String {
        match (self.path.is_empty(), key.is_empty()) {
            (true, _) => key.to_owned(),
            (false, true) => self.path.clone(),
            (false, false) => format!("{}.{key}", self.path),
        }
    }

    /// The value of a key; asking makes the key a known one.
    pub(super) fn value(&self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        if !self.asked.borrow().contains(&key) {
            self.asked.borrow_mut().push(key);
            self.doc.known.borrow_mut().insert(self.name(key));
        }
        self.table?.iter().find(|(k, _)| k.get_ref().as_ref() == key).map(|(_, value)| value)
    }

    /// What a key holds, without asking for it.
    pub(super) fn peek(&self, key: &str) -> Option<&'a DeValue<'a>> {
        self.table?.iter().find(|(k, _)| k.get_ref().as_ref() == key).map(|(_, value)| value.get_ref())
    }

    fn span_of(&self, key: &str) -> Option<Range<usize>> {
        let (_, value) = self.table?.iter().find(|(k, _)| k.get_ref().as_ref() == key)?;
        Some(value.span())
    }

    /// Where faults of a key are shown: its value, else this section, else nowhere.
    pub(super) fn at(&self, key: &str) -> Option<usize> {
        self.span_of(key).map(|span| span.start).or(self.at)
    }

    /// Whether the file has the key.
    pub(super) fn has(&self, key: &str) -> bool {
        self.span_of(key).is_some()
    }

    /// Records a fault of a key.
    pub(super) fn fault(&self, key: &str, what: impl Display, write: impl Into<Option<String>>) {
        self.doc.fault(self.at(key), &self.name(key), what, write.into());
    }

    /// Records something that works but is probably not meant.
    pub(super) fn warn(&self, key: &str, what: impl Display) {
        self.doc.warn(self.at(key), &self.name(key), what);
    }

    fn wrong_type(&self, key: &str, found: &DeValue<'_>, wanted: &str, example: &str) {
        self.fault(key, format!("is {}, not {wanted}", kind(found)), format!("{key} = {example}"));
    }

    /// A string with its variables replaced.
    pub(super) fn string(&self, key: &'static str, example: &str) -> Option<Text> {
        let value = self.value(key)?;
        match value.get_ref() {
            DeValue::String(raw) => self.substituted(key, raw),
            other => {
                self.wrong_type(key, other, "a string", &format!("\"{example}\""));
                None
            }
        }
    }

    fn substituted(&self, key: &str, raw: &str) -> Option<Text> {
        match interpolate(raw, self.doc.env) {
            Ok(value) => Some(Text { value, literal: !raw.contains("${") }),
            Err(what) => {
                self.fault(key, what, None);
                None
            }
        }
    }

    /// A string that may not be empty, or nothing when it is not written.
    pub(super) fn filled(&self, key: &'static str, example: &str) -> Option<Text> {
        let text = self.string(key, example)?;
        if text.value.trim().is_empty() {
            self.fault(key, "is empty", format!("{key} = \"{example}\", or leave the key out"));
            return None;
        }
        Some(text)
    }

    /// A list of strings.
    pub(super) fn strings(&self, key: &'static str, example: &str) -> Option<Vec<String>> {
        let value = self.value(key)?;
        let DeValue::Array(items) = value.get_ref() else {
            self.wrong_type(key, value.get_ref(), "a list of strings", example);
            return None;
        };
        let mut out = Vec::new();
        for item in items.iter() {
            match item.get_ref() {
                DeValue::String(raw) => out.push(self.substituted(key, raw)?.value),
                other => {
                    self.wrong_type(key, other, "a string", example);
                    return None;
                }
            }
        }
        Some(out)
    }

    /// A table of names of the user's own, each with a string, in the order of the file.
    pub(super) fn pairs(&self, key: &'static str, example: &str) -> Vec<(String, String)> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let DeValue::Table(table) = value.get_ref() else {
            self.wrong_type(key, value.get_ref(), "a table", example);
            return Vec::new();
        };
        let mut found = Vec::new();
        for (name, value) in table.iter() {
            match value.get_ref() {
                DeValue::String(raw) => {
                    let text = self.substituted(key, raw);
                    found.extend(text.map(|text| (name.span().start, name.get_ref().to_string(), text.value)));
                }
                other => self.wrong_type(key, other, "a table of strings", example),
            }
        }
        found.sort();
        found.into_iter().map(|(_, name, text)| (name, text)).collect()
    }

    /// A size in bytes: a string with a unit, or a whole number of bytes.
    pub(super) fn size(&self, key: &'static str, default: ByteSize, range: RangeInclusive<u64>) -> ByteSize {
        let example = plain_size(default);
        let Some(value) = self.value(key) else { return default };
        let parsed = match value.get_ref() {
            DeValue::String(raw) => match self.substituted(key, raw) {
                Some(text) => ByteSize::parse(&text.value),
                None => return default,
            },
            DeValue::Integer(number) => integer(number).map(ByteSize).ok_or("is not a number of bytes".to_owned()),
            other => {
                self.wrong_type(key, other, "a size", &format!("\"{example}\""));
                return default;
            }
        };
        let write = format!("{key} = \"{example}\"");
        match parsed {
            Ok(size) if range.contains(&size.0) => return size,
            Ok(size) => {
                let (low, high) = (ByteSize(*range.start()), ByteSize(*range.end()));
                self.fault(key, format!("{} is not within {low} to {high}", plain_size(size)), write);
            }
            Err(what) => self.fault(key, what, write),
        }
        default
    }

    /// A span of time.
    pub(super) fn span(&self, key: &'static str, default: Duration, range: RangeInclusive<Duration>) -> Duration {
        let Some(text) = self.string(key, &plain_span(default)) else { return default };
        let write = format!("{key} = \"{}\"", plain_span(default));
        match parse_span(&text.value) {
            Ok(span) if range.contains(&span) => return span,
            Ok(_) => {
                let (low, high) = (show_span(*range.start()), show_span(*range.end()));
                self.fault(key, format!("\"{}\" is not within {low} to {high}", text.value), write);
            }
            Err(what) => self.fault(key, what, write),
        }
        default
    }

    /// A whole number.
    pub(super) fn count(&self, key: &'static str, default: u64, range: RangeInclusive<u64>) -> u64 {
        let Some(value) = self.value(key) else { return default };
        let DeValue::Integer(number) = value.get_ref() else {
            self.wrong_type(key, value.get_ref(), "a whole number", &default.to_string());
            return default;
        };
        match integer(number) {
            Some(count) if range.contains(&count) => count,
            _ => {
                let (low, high) = (range.start(), range.end());
                self.fault(key, format!("{number} is not within {low} to {high}"), format!("{key} = {default}"));
                default
            }
        }
    }

    /// `true` or `false`.
    pub(super) fn flag(&self, key: &'static str, default: bool) -> bool {
        match self.value(key).map(Spanned::get_ref) {
            None => default,
            Some(DeValue::Boolean(flag)) => *flag,
            Some(other) => {
                self.wrong_type(key, other, "true or false", &default.to_string());
                default
            }
        }
    }

    /// A value as text, however it stands there: for what is read by rules of its own.
    pub(super) fn plain(&self, key: &'static str, form: Form, example: &str) -> Option<String> {
        match (self.value(key)?.get_ref(), form) {
            (DeValue::String(raw), Form::Text | Form::Size) => self.substituted(key, raw).map(|text| text.value),
            (DeValue::Integer(number), Form::Number | Form::Size) => {
                // What is negative, or too large, is told as what it was written as.
                Some(integer(number).map_or_else(|| number.to_string(), |number| number.to_string()))
            }
            (DeValue::Boolean(flag), Form::Flag) => Some(flag.to_string()),
            (other, form) => {
                let wanted = match form {
                    Form::Number => "a whole number",
                    Form::Size => "a size",
                    Form::Text => "a string",
                    Form::Flag => "true or false",
                };
                self.wrong_type(key, other, wanted, example);
                None
            }
        }
    }

    /// One word of a list.
    pub(super) fn choice<T: Copy>(&self, key: &'static str, default: T, words: &[(&'static str, T)]) -> T {
        let all = || words.iter().map(|(word, _)| format!("\"{word}\"")).collect::<Vec<_>>().join(" or ");
        let Some(text) = self.string(key, words.first().map_or("", |(word, _)| word)) else { return default };
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text.value) {
            return *value;
        }
        let near = nearest(&text.value, words.iter().map(|(word, _)| *word));
        let meant = near.map_or(String::new(), |word| format!("; did you mean \"{word}\"?"));
        self.fault(key, format!("\"{}\" is not known{meant}", text.value), format!("{key} = {}", all()));
        default
    }

    /// A table below this one; an absent one reads as all defaults.
    pub(super) fn section(&self, key: &'static str) -> Section<'a> {
        let path = self.name(key);
        match self.value(key) {
            Some(value) => Section::under(self.doc, path, value),
            None => Section { doc: self.doc, path, at: self.at, table: None, asked: RefCell::default() },
        }
    }

    /// A list of tables below this one (`[[key]]`).
    pub(super) fn sections(&self, key: &'static str) -> Vec<Section<'a>> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let path = self.name(key);
        match value.get_ref() {
            DeValue::Array(items) => items.iter().map(|item| Section::under(self.doc, path.clone(), item)).collect(),
            other => {
                self.fault(
                    key,
                    format!("is {}, not a list of tables", kind(other)),
                    format!("[[{path}]] with two brackets, once for each"),
                );
                Vec::new()
            }
        }
    }

    /// Ends the reading: keys that nobody asked for are faults, with the nearest known key.
    pub(super) fn finish(self) {
        let asked = self.asked.borrow();
        for (key, _) in self.table.into_iter().flat_map(|table| table.iter()) {
            let word = key.get_ref().as_ref();
            if asked.contains(&word) {
                continue;
            }
            let near = nearest(word, asked.iter().copied());
            let what = near.map_or("unknown key".to_owned(), |known| format!("unknown key; did you mean {known}?"));
            let write = format!("one of: {}", asked.join(", "));
            self.doc.fault(Some(key.span().start), &self.name(word), what, Some(write));
        }
    }
}

/// Tables and settings below a table: (tables, settings).
pub(super) fn extent(table: &DeTable<'_>) -> (usize, usize) {
    let add = |(a, b): (usize, usize), (c, d): (usize, usize)| (a + c, b + d);
    table.iter().fold((0, 0), |sum, (_, value)| match value.get_ref() {
        DeValue::Table(inner) => add(add(sum, (1, 0)), extent(inner)),
        DeValue::Array(items) if items.iter().any(|item| matches!(item.get_ref(), DeValue::Table(_))) => {
            items.iter().fold(sum, |sum, item| match item.get_ref() {
                DeValue::Table(inner) => add(add(sum, (1, 0)), extent(inner)),
                _ => add(sum, (0, 1)),
            })
        }
        _ => add(sum, (0, 1)),
    })
}

fn integer(number: &toml::de::DeInteger<'_>) -> Option<u64> {
    u64::from_str_radix(number.as_str().trim_start_matches('+'), number.radix()).ok()
}

/// The known word that the user most likely meant, if one is near enough.
pub(super) fn nearest(word: &str, known: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    let lower = word.to_ascii_lowercase().replace('-', "_");
    known
        .map(|candidate| (strsim::jaro_winkler(&lower, candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// A size as one would write it in the file.
pub(super) fn plain_size(size: ByteSize) -> String {
    for (unit, factor) in [("TiB", 1u64 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
        if size.0 >= factor && size.0.is_multiple_of(factor) {
            return format!("{}{unit}", size.0 / factor);
        }
    }
    size.0.to_string()
}

/// A span as one would write it in the file.
pub(super) fn plain_span(span: Duration) -> String {
    if span.subsec_nanos() == 0 { format!("{}s", span.as_secs()) } else { format!("{}ms", span.as_millis()) }
}
