//! One table: what its columns mean, and its rows.

use std::borrow::Cow;

use super::{AGAIN, Odd};
use crate::base::clock::parse_rfc3339;
use crate::cell::{Series, Value};

/// What the columns of a table mean.
#[derive(Debug)]
pub(super) struct Table {
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

/// Stands for a column that a table has not.
const NONE: usize = usize::MAX;

impl Table {
    pub(super) fn new(
        header: &[Cow<'_, [u8]>],
        types: Option<&[Vec<u8>]>,
        defaults: Option<&[Vec<u8>]>,
    ) -> Result<Self, String> {
        // The first three are for the annotation, the result and the table; a tag may have these names too.
        let own = |at: usize| matches!((at, &*header[at]), (0, _) | (1, b"result") | (2, b"table"));
        let find = |name: &[u8]| (1..header.len()).find(|at| &*header[*at] == name).unwrap_or(NONE);
        let defaults = defaults.map(<[Vec<u8>]>::to_vec).unwrap_or_default();
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
        let Some(types) = types else {
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
        // A tag may have such a name too: which is which cannot be told.
        let known = [table.measurement, table.field, table.value, table.time, find(b"_start"), find(b"_stop")];
        let is_other = |at: usize, known: usize| known != NONE && known != at && header[known] == header[at];
        if let Some(at) = (1..header.len()).find(|at| known.iter().any(|known| is_other(*at, *known))) {
            let name = String::from_utf8_lossy(&header[at]);
            return Err(format!("two columns of a table are called {name}: a tag has the name of a column of Flux"));
        }
        table.kind = Kind::named(&types[table.value]);
        for at in (0..header.len()).filter(|at| !own(*at) && !known.contains(at)) {
            if types[at] != b"string" {
                let (name, kind) = (String::from_utf8_lossy(&header[at]), String::from_utf8_lossy(&types[at]));
                return Err(format!("column {name} is a {kind}, and a tag is a string; drop it in the query"));
            }
            table.tags.push((at, header[at].to_vec()));
        }
        Ok(table)
    }

    pub(super) fn columns(&self) -> usize {
        self.columns
    }

    pub(super) fn tells_error(&self) -> bool {
        self.value == NONE
    }

    pub(super) fn error(&self, cells: &[Cow<'_, [u8]>]) -> String {
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

    pub(super) fn point(&self, cells: &[Cow<'_, [u8]>]) -> Result<(Series, Vec<u8>, Value, i64), Odd> {
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
