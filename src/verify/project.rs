//! What the destination makes of a cell of the source: the same code as delivery and backfill, applied to the source's side before it is
//! compared.
//!
//! Promise: a cell that is left out is counted by its reason. One decision is made for each series, field and type, from the first value
//! of it: whether InfluxDB holds a cell does not depend on the value.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::backfill::form::{Form, Formed, NOTHING_HELD, Shaping, any_line, series_of};
use crate::cell::{Cell, FieldType, Series, Value};
use crate::delivery::Writing;
use crate::line::project::Changes;
use crate::line::{Precision, Rules};

/// Cells that are not compared, by the stable name of the reason.
pub type LeftOut = BTreeMap<&'static str, u64>;

/// Fields of a series that are remembered.
const FIELDS_MAX: usize = 4096;

/// What becomes of the cells of one series, field and type.
#[derive(Clone, Debug)]
enum Fate {
    Same,
    Renamed { series: Arc<Series>, field: Arc<[u8]>, is_float: bool },
    Out(&'static str),
}

/// Cells of the source as an InfluxDB destination holds them.
#[derive(Debug)]
pub struct Projection {
    writing: Writing,
    rules: Option<Rules>,
    series: Option<Arc<Series>>,
    known: Vec<(Arc<[u8]>, FieldType, Fate)>,
    next: usize,
}

impl Projection {
    /// For a destination that is written so, by these rules of mapping.
    #[must_use]
    pub fn new(writing: Writing, rules: Option<Rules>) -> Self {
        Self { writing, rules, series: None, known: Vec::new(), next: 0 }
    }

    /// What the destination holds of a cell; what it does not is counted.
    pub fn cell(&mut self, cell: Cell, out: &mut LeftOut) -> Option<Cell> {
        match self.fate(&cell) {
            Fate::Same => Some(cell),
            Fate::Out(code) => {
                *out.entry(code).or_default() += 1;
                None
            }
            Fate::Renamed { series, field, is_float } => {
                let value = match cell.value {
                    Value::Integer(whole) if *is_float => Value::Float(whole as f64),
                    value => value,
                };
                Some(Cell { series: Arc::clone(series), field: Arc::clone(field), time_ns: cell.time_ns, value })
            }
        }
    }

    fn fate(&mut self, cell: &Cell) -> &Fate {
        let is_same = |known: &Arc<Series>| Arc::ptr_eq(known, &cell.series) || **known == *cell.series;
        if !self.series.as_ref().is_some_and(is_same) {
            self.series = Some(Arc::clone(&cell.series));
            self.known.clear();
            self.next = 0;
        }
        let kind = cell.value.field_type();
        let is_known = |(field, of, _): &(Arc<[u8]>, FieldType, Fate)| *of == kind && *field == cell.field;
        let at = match self.known.get(self.next) {
            Some(known) if is_known(known) => self.next,
            _ => self.known.iter().position(is_known).unwrap_or_else(|| {
                if self.known.len() >= FIELDS_MAX {
                    self.known.clear();
                }
                let fate = self.decide(cell);
                self.known.push((Arc::clone(&cell.field), kind, fate));
                self.known.len() - 1
            }),
        };
        self.next = at + 1;
        &self.known[at].2
    }

    fn decide(&self, cell: &Cell) -> Fate {
        let shaping = Shaping { form: Form { writing: self.writing, tables: "" }, rules: self.rules.as_ref() };
        let values = std::iter::once((&*cell.field, &cell.value));
        let formed = shaping.point((&cell.series, cell.time_ns), values, &mut Changes::default());
        let line = match formed {
            Formed::Line(line) => line,
            Formed::Partly(_, left) => return Fate::Out(left.why.code),
            Formed::Excluded => return Fate::Out("excluded"),
            Formed::Nothing => return Fate::Out(NOTHING_HELD),
            Formed::Refused(why) => return Fate::Out(why.code),
        };
        let Some(line) = any_line(&line, Precision::Nanosecond) else { return Fate::Out("unreadable") };
        let Some(field) = line.fields().first() else { return Fate::Out("unreadable") };
        let series = series_of(&line);
        let is_float = matches!(field.value(), crate::line::Value::Float(_));
        let turns = is_float && cell.value.field_type() != FieldType::Float;
        if series == *cell.series && *field.key() == *cell.field && !turns {
            return Fate::Same;
        }
        Fate::Renamed { series: Arc::new(series), field: field.key().as_ref().into(), is_float: turns }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line::Dialect;

    fn cell(field: &str, value: Value) -> Cell {
        let series = Arc::new(Series::new(b"m".to_vec(), vec![(b"t".to_vec(), b"x".to_vec())]));
        Cell { series, field: field.as_bytes().into(), time_ns: 1, value }
    }

    #[test]
    fn what_the_destination_does_not_hold_is_counted_and_the_rest_is_as_it_is() {
        let (mut projection, mut out) = (Projection::new(Writing::Influx(Dialect::Influx1), None), LeftOut::new());
        let kept = cell("f", Value::Float(-0.0));
        assert_eq!(projection.cell(kept.clone(), &mut out), Some(kept));
        assert_eq!(projection.cell(cell("f", Value::Unsigned(1)), &mut out), None);
        assert_eq!(projection.cell(cell("_tagKey", Value::Integer(1)), &mut out), None);
        assert_eq!(out, LeftOut::from([("parse", 1), ("unreadable", 1)]));
    }

    #[test]
    fn rules_of_mapping_are_applied() {
        let shape = crate::config::Shape { drop_fields: vec!["gone".to_owned()], ..Default::default() };
        let mut projection = Projection::new(Writing::Influx(Dialect::Influx2), shape.rules().ok());
        let mut out = LeftOut::new();
        assert_eq!(projection.cell(cell("gone", Value::Integer(1)), &mut out), None);
        assert_eq!(projection.cell(cell("v", Value::Integer(1)), &mut out), Some(cell("v", Value::Integer(1))));
        assert_eq!(out, LeftOut::from([("excluded", 1)]));
    }
}
