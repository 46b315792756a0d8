//! Annotated CSV, as Flux answers in its long form: one row is one field of one point.
//!
//! Promise: types are those of `#datatype`, never guessed. Measurement, field, value and time are the columns that Flux names so; any other
//! text is a tag, unless it is empty. An error in the stream is an error, also behind rows; a stream that does not end with its empty line is
//! told as cut off, and the row at its end is not taken.

use std::borrow::Cow;

use super::cells::cells;
use super::decode::Decoder;
use super::walk::Walk;
use super::{Fault, Found, Item, LONGEST, Point};
use crate::base::clock::parse_rfc3339;
use crate::cell::{Series, Value};

/// Reads annotated CSV.
#[derive(Debug)]
pub struct Flux {
    walk: Walk,
    quoted: bool,
    from: u64,
    decoder: Decoder,
    notes: Notes,
    table: Option<Table>,
    /// The last record was an empty line, as at the end of each result.
    is_closed: bool,
    /// Nothing comes any more.
    is_over: bool,
}

/// Annotations of the table to come.
#[derive(Debug, Default)]
struct Notes {
    datatype: Option<Vec<Vec<u8>>>,
    default: Option<Vec<Vec<u8>>>,
}

/// What the columns of a table mean.
#[derive(Debug)]
struct Table {
    columns: usize,
    defaults: Vec<Vec<u8>>,
    measurement: usize,
    field: usize,
    value: usize,
    kind: Kind,
    time: usize,
    tags: Vec<(usize, Vec<u8>)>,
}

/// The type of `_value`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Float,
    Integer,
    Unsigned,
    Boolean,
    String,
    /// InfluxDB has no field of it.
    Other,
}

impl Kind {
    fn named(name: &[u8]) -> Self {
        match name {
            b"double" => Self::Float,
            b"long" => Self::Integer,
            b"unsignedLong" => Self::Unsigned,
            b"boolean" => Self::Boolean,
            b"string" => Self::String,
            _ => Self::Other,
        }
    }
}

/// What a record was.
enum Told {
    Nothing,
    Found(Found),
    /// It is of no use, and neither is the rest.
    Broken(String),
}

/// Why a row is no point: code, reason, how to mend it.
type Odd = (&'static str, String, &'static str);

const AGAIN: &str = "ask again for all annotations: \"annotations\":[\"datatype\",\"group\",\"default\"]";

impl Flux {
    /// At the beginning of a file; what ends at this byte or before is passed over.
    #[must_use]
    pub fn new(from: u64) -> Self {
        Self {
            walk: Walk::new(),
            quoted: false,
            from,
            decoder: Decoder::default(),
            notes: Notes::default(),
            table: None,
            is_closed: false,
            is_over: false,
        }
    }

    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.walk.feed(bytes);
    }

    pub(super) fn end(&mut self) {
        self.walk.ended = true;
    }

    pub(super) fn passed(&self) -> u64 {
        self.walk.at().byte
    }

    pub(super) fn next(&mut self) -> Option<Item> {
        while !self.is_over {
            let Some(bytes) = self.whole() else { return self.last() };
            let at = self.walk.at();
            let told = self.record(bytes);
            self.walk.pass(bytes + 1);
            let end = self.walk.at().byte;
            let item = |found| Some(Item { at, end, context: None, found });
            match told {
                Told::Nothing => {}
                Told::Found(found) => return item(found),
                Told::Broken(why) => {
                    self.is_over = true;
                    return item(Found::Broken(why));
                }
            }
        }
        None
    }

    /// Bytes of the next record before its line feed.
    fn whole(&mut self) -> Option<usize> {
        let room = LONGEST - self.walk.length();
        let unseen = self.walk.unseen();
        let view = &unseen[..unseen.len().min(room)];
        let mut quoted = self.quoted;
        let end = view.iter().position(|byte| {
            quoted ^= *byte == b'"';
            *byte == b'\n' && !quoted
        });
        let bytes = self.walk.length() + end.unwrap_or(view.len());
        self.quoted = quoted;
        self.walk.seen += end.unwrap_or(view.len());
        end.map(|_| bytes)
    }

    /// What there is to say when no whole record is left.
    fn last(&mut self) -> Option<Item> {
        let length = self.walk.length();
        let why = if length == LONGEST {
            format!("a row has more than {} MiB, or a quote in it is not closed", LONGEST >> 20)
        } else if !self.walk.ended {
            return None;
        } else if length > 0 {
            "it is cut off within a row: what stands above is read, that row is not".to_owned()
        } else if self.is_closed {
            self.is_over = true;
            return None;
        } else {
            "it does not end with an empty line, as every whole answer does: rows may be missing at its end".to_owned()
        };
        self.is_over = true;
        let at = self.walk.at();
        Some(Item { at, end: at.byte, context: None, found: Found::Broken(why) })
    }

    fn record(&mut self, bytes: usize) -> Told {
        let rest = self.walk.rest();
        let text = &rest[..bytes];
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        self.is_closed = text.is_empty();
        if text.is_empty() {
            (self.table, self.notes) = (None, Notes::default());
            return Told::Nothing;
        }
        let Some(cells) = cells(text) else {
            let reason = "quotes stand where none may";
            return self
                .fault(text, ("bad-quotes", reason.to_owned(), "put the cell in quotes, and double those in it"));
        };
        let owned = || cells.iter().map(|cell| cell.to_vec()).collect::<Vec<_>>();
        match &*cells[0] {
            b"#datatype" => {
                (self.table, self.notes) =
                    (None, Notes { datatype: Some(owned()), default: self.notes.default.take() });
                return Told::Nothing;
            }
            b"#default" => {
                self.notes.default = Some(owned());
                return Told::Nothing;
            }
            // Which columns are in the key changes nothing here: in the long form all tags are.
            b"#group" => return Told::Nothing,
            _ => {}
        }
        match &self.table {
            None => match Table::new(&cells, &self.notes) {
                Ok(table) => {
                    self.table = Some(table);
                    Told::Nothing
                }
                Err(why) => Told::Broken(why),
            },
            Some(Table { columns, .. }) if *columns != cells.len() => {
                let reason = format!("{} cells in a table of {columns} columns", cells.len());
                self.fault(text, ("columns", reason, "write one cell for each column"))
            }
            Some(table) if table.tells_error() => Told::Broken(table.error(&cells)),
            Some(table) => {
                if self.walk.at().byte + (bytes as u64) < self.from {
                    return Told::Nothing;
                }
                match table.point(&cells) {
                    Ok((series, field, value, time_ns)) => {
                        let series = self.decoder.shared(series);
                        Told::Found(Found::Point(Point { series, fields: vec![(field, value)], time_ns }))
                    }
                    Err(odd) => self.fault(text, odd),
                }
            }
        }
    }

    fn fault(&self, text: &[u8], (code, reason, mend): Odd) -> Told {
        Told::Found(Found::Fault(Fault { code, reason, mend, at: self.walk.at(), raw: text.to_vec() }))
    }
}

/// Stands for a column that a table has not.
const NONE: usize = usize::MAX;

impl Table {
    fn new(header: &[Cow<'_, [u8]>], notes: &Notes) -> Result<Self, String> {
        // The first three are for the annotation, the result and the table; a tag may have these names too.
        let own = |at: usize| matches!((at, &*header[at]), (0, _) | (1, b"result") | (2, b"table"));
        let find = |name: &[u8]| (1..header.len()).find(|at| &*header[*at] == name).unwrap_or(NONE);
        let defaults = notes.default.clone().unwrap_or_default();
        let mut table = Self {
            columns: header.len(),
            defaults,
            measurement: find(b"_measurement"),
            field: find(b"_field"),
            value: find(b"_value"),
            kind: Kind::Other,
            time: find(b"_time"),
            tags: Vec::new(),
        };
        if find(b"error") != NONE && table.value == NONE {
            (table.value, table.field) = (NONE, find(b"error"));
            table.measurement = find(b"reference");
            return Ok(table);
        }
        let Some(types) = &notes.datatype else {
            return Err(format!("a table has no #datatype, so that the types of its values are not known; {AGAIN}"));
        };
        if types.len() != header.len() {
            return Err(format!("#datatype has {} columns and its header {}", types.len(), header.len()));
        }
        for (name, at) in [
            ("_measurement", table.measurement),
            ("_field", table.field),
            ("_value", table.value),
            ("_time", table.time),
        ] {
            if at == NONE {
                return Err(format!(
                    "a table has no column {name}: rows must be in Flux's long form, one field each; ask without pivot, group and aggregates"
                ));
            }
        }
        table.kind = Kind::named(&types[table.value]);
        let known = [table.measurement, table.field, table.value, table.time, find(b"_start"), find(b"_stop")];
        for at in (0..header.len()).filter(|at| !own(*at) && !known.contains(at)) {
            if types[at] != b"string" {
                let (name, kind) = (String::from_utf8_lossy(&header[at]), String::from_utf8_lossy(&types[at]));
                return Err(format!("column {name} is a {kind}, and a tag is a string; drop it in the query"));
            }
            table.tags.push((at, header[at].to_vec()));
        }
        Ok(table)
    }

    fn tells_error(&self) -> bool {
        self.value == NONE
    }

    fn error(&self, cells: &[Cow<'_, [u8]>]) -> String {
        let cell =
            |at: usize| cells.get(at).map_or_else(String::new, |cell| String::from_utf8_lossy(cell).into_owned());
        let reference = cell(self.measurement);
        let reference = if reference.is_empty() { reference } else { format!(" (reference {reference})") };
        format!("the server broke off the answer with an error: {}{reference}", cell(self.field))
    }

    /// An empty cell stands for the default of its column.
    fn cell<'c>(&'c self, cells: &'c [Cow<'_, [u8]>], at: usize) -> &'c [u8] {
        match (&*cells[at], self.defaults.get(at)) {
            (b"", Some(default)) => default,
            (cell, _) => cell,
        }
    }

    fn point(&self, cells: &[Cow<'_, [u8]>]) -> Result<(Series, Vec<u8>, Value, i64), Odd> {
        let odd = |code, reason: &str, mend| Err((code, reason.to_owned(), mend));
        let (measurement, field) = (self.cell(cells, self.measurement), self.cell(cells, self.field));
        if measurement.is_empty() || field.is_empty() {
            return odd("no-name", "the measurement or the field has no name", "name it, or leave the row out");
        }
        let time = self.cell(cells, self.time);
        let Some(time_ns) = time_ns(time) else {
            let reason = format!("{} is no time that InfluxDB has", String::from_utf8_lossy(time));
            return Err(("bad-time", reason, "write it as 2006-01-02T15:04:05.999999999Z"));
        };
        let value = self.value(self.cell(cells, self.value))?;
        let tags = self.tags.iter().map(|(at, key)| (key.clone(), self.cell(cells, *at).to_vec())).collect();
        Ok((Series::new(measurement.to_vec(), tags), field.to_vec(), value, time_ns))
    }

    fn value(&self, text: &[u8]) -> Result<Value, Odd> {
        let read = std::str::from_utf8(text).ok();
        let value = match self.kind {
            Kind::String => Some(Value::String(text.to_vec())),
            Kind::Integer => read.and_then(|text| text.parse().ok()).map(Value::Integer),
            Kind::Unsigned => read.and_then(|text| text.parse().ok()).map(Value::Unsigned),
            Kind::Float => read.and_then(float).map(Value::Float),
            Kind::Boolean => match text {
                b"true" => Some(Value::Boolean(true)),
                b"false" => Some(Value::Boolean(false)),
                _ => None,
            },
            Kind::Other => {
                let reason = "its value is of a type that no field of InfluxDB has".to_owned();
                return Err(("no-type", reason, "convert it in the query: string(v: r._value)"));
            }
        };
        value.ok_or_else(|| {
            let reason = match text {
                b"" => "it has no value".to_owned(),
                text => format!("{} is no value of the column's type", String::from_utf8_lossy(text)),
            };
            ("bad-value", reason, "write a value of the type in #datatype, or leave the row out")
        })
    }
}

/// One that InfluxDB can store.
fn float(text: &str) -> Option<f64> {
    text.parse::<f64>().ok().filter(|value| value.is_finite())
}

fn time_ns(text: &[u8]) -> Option<i64> {
    /// The earliest and latest time of InfluxDB.
    const BOUNDS: std::ops::RangeInclusive<i64> = -9_223_372_036_854_775_806..=9_223_372_036_854_775_806;
    parse_rfc3339(std::str::from_utf8(text).ok()?).filter(|ns| BOUNDS.contains(ns))
}
