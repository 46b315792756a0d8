//! `SELECT` of fields, tags and counts.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::cell::{Series, Tags, Value};

use super::condition::Condition;
use super::query::{Datum, Place, Table, Tables, bytes, has_tags, needed, no_database};
use super::statement::{Columns, Select};
use super::store::{Column, Measurement, Store};

/// Places (rows times columns) of an answer; it is built in memory.
const PLACES_MAX: usize = 20_000_000;

/// Runs a `SELECT`.
pub(super) fn run(store: &Store, select: &Select, place: Place<'_>) -> Tables {
    let db = needed(select.from.db.as_deref().unwrap_or(place.db))?;
    let rp = select.from.rp.as_deref().unwrap_or(place.rp);
    store.database(db).ok_or_else(|| no_database(db))?;
    let policy = store.policy(db, rp).ok_or_else(|| format!("retention policy not found: {rp}"))?;
    let Some(measurement) = policy.measurements.get(select.from.measurement.as_bytes()) else { return Ok(Vec::new()) };
    let name = select.from.measurement.as_bytes();
    if let Columns::Count(of) = &select.columns {
        return Ok(count(name, measurement, of.as_deref(), select));
    }
    let shown = shown(measurement, select);
    let places = selected(measurement, select).saturating_mul(shown.len() + 1);
    if places > PLACES_MAX {
        return Err(format!("max-select-point limit exceeed: ({places}/{PLACES_MAX})"));
    }
    Ok(rows(name, measurement, select, &shown))
}

/// The series that `WHERE` keeps, grouped: each for itself with `GROUP BY *`, else all in one group.
fn groups<'m>(measurement: &'m Measurement, select: &Select) -> Vec<(Tags, Vec<&'m Arc<Series>>)> {
    let kept = measurement.series.keys().filter(|series| has_tags(series, &select.condition));
    if !select.group_by_all {
        return vec![(Vec::new(), kept.collect())];
    }
    let keys = measurement.tag_keys();
    let tags = |series: &Series| {
        let value = |key: &Vec<u8>| (key.clone(), series.tag(key).unwrap_or_default().to_vec());
        keys.iter().map(value).collect::<Vec<_>>()
    };
    let mut found: Vec<_> = kept.map(|series| (tags(series), vec![series])).collect();
    found.sort();
    found
}

fn inside<'c>(column: &'c Column, condition: &Condition) -> impl DoubleEndedIterator<Item = (&'c i64, &'c Value)> {
    // An empty range (start behind end) must not reach `range`, which panics on it.
    let (start, end) = (condition.start_ns, condition.end_ns);
    (start <= end).then(|| column.range(start..=end)).into_iter().flatten()
}

fn count(name: &[u8], measurement: &Measurement, of: Option<&str>, select: &Select) -> Vec<Table> {
    let fields: Vec<&Vec<u8>> =
        measurement.types.keys().filter(|field| of.is_none_or(|of| of.as_bytes() == field.as_slice())).collect();
    let title = |field: &Vec<u8>| match of {
        Some(_) => b"count".to_vec(),
        None => [b"count_", field.as_slice()].concat(),
    };
    let columns: Vec<_> = std::iter::once(b"time".to_vec()).chain(fields.iter().map(|field| title(field))).collect();
    let mut tables = Vec::new();
    for (tags, series) in groups(measurement, select) {
        let mut counts = vec![0i64; fields.len()];
        for (total, field) in counts.iter_mut().zip(&fields) {
            let columns = series.iter().filter_map(|series| measurement.series[*series].get(field.as_slice()));
            *total = columns.map(|column| inside(column, &select.condition).count() as i64).sum();
        }
        if counts.iter().all(|total| *total == 0) {
            continue;
        }
        let start = if select.condition.start_ns == i64::MIN { 0 } else { select.condition.start_ns };
        let mut row = vec![Datum::Time(start)];
        row.extend(counts.into_iter().map(|total| match total {
            0 if of.is_none() => Datum::Null,
            total => Datum::Value(Value::Integer(total)),
        }));
        tables.push(Table { name: name.to_vec(), tags, columns: columns.clone(), rows: vec![row] });
    }
    tables
}

/// What a column of `SELECT` shows.
enum Shown<'m> {
    Field(&'m [u8]),
    Tag(Vec<u8>),
}

/// At most how many rows an answer has.
fn selected(measurement: &Measurement, select: &Select) -> usize {
    let kept = measurement.series.iter().filter(|(series, _)| has_tags(series, &select.condition));
    let rows = |columns: &BTreeMap<Arc<[u8]>, Column>| {
        columns.values().map(|column| inside(column, &select.condition).count()).max().unwrap_or(0).min(select.limit)
    };
    kept.map(|(_, columns)| rows(columns)).sum()
}

fn rows(name: &[u8], measurement: &Measurement, select: &Select, shown: &[Shown<'_>]) -> Vec<Table> {
    let column_name = |shown: &Shown<'_>| match shown {
        Shown::Field(field) => field.to_vec(),
        Shown::Tag(key) => key.clone(),
    };
    let columns: Vec<_> = std::iter::once(b"time".to_vec()).chain(shown.iter().map(column_name)).collect();
    let mut tables = Vec::new();
    for (tags, series) in groups(measurement, select) {
        let mut rows: Vec<_> =
            series.iter().flat_map(|s| series_rows(s, measurement, shown, &select.condition)).collect();
        rows.sort_by_key(|(time, _)| *time);
        if select.descending {
            rows.reverse();
        }
        rows.truncate(select.limit);
        if !rows.is_empty() {
            let rows = rows.into_iter().map(|(_, row)| row).collect();
            tables.push(Table { name: name.to_vec(), tags, columns: columns.clone(), rows });
        }
    }
    tables
}

fn shown<'m>(measurement: &'m Measurement, select: &'m Select) -> Vec<Shown<'m>> {
    let fields = measurement.types.keys().map(|field| Shown::Field(field));
    match &select.columns {
        Columns::All if !select.group_by_all => {
            let mut all: Vec<_> = fields.chain(measurement.tag_keys().into_iter().map(Shown::Tag)).collect();
            let name = |shown: &Shown<'_>| match shown {
                Shown::Field(name) => name.to_vec(),
                Shown::Tag(name) => name.clone(),
            };
            all.sort_by_key(name);
            all
        }
        Columns::Named(names) => {
            let is_field = |name: &String| measurement.types.contains_key(name.as_bytes());
            let shown = |name: &'m String| {
                if is_field(name) { Shown::Field(name.as_bytes()) } else { Shown::Tag(name.clone().into_bytes()) }
            };
            names.iter().map(shown).collect()
        }
        _ => fields.collect(),
    }
}

fn series_rows(
    series: &Arc<Series>,
    measurement: &Measurement,
    shown: &[Shown<'_>],
    condition: &Condition,
) -> Vec<(i64, Vec<Datum>)> {
    let mut rows: BTreeMap<i64, Vec<Datum>> = BTreeMap::new();
    let columns = &measurement.series[series];
    for (place, what) in shown.iter().enumerate() {
        let Shown::Field(field) = what else { continue };
        let Some(column) = columns.get(*field) else { continue };
        for (time, value) in inside(column, condition) {
            let row = rows.entry(*time).or_insert_with(|| blank(*time, series, shown));
            row[place + 1] = Datum::Value(value.clone());
        }
    }
    rows.into_iter().collect()
}

/// A row with its time and tags, and no field yet.
fn blank(time: i64, series: &Series, shown: &[Shown<'_>]) -> Vec<Datum> {
    let place = |what: &Shown<'_>| match what {
        Shown::Tag(key) => series.tag(key).map_or(Datum::Null, bytes),
        Shown::Field(_) => Datum::Null,
    };
    std::iter::once(Datum::Time(time)).chain(shown.iter().map(place)).collect()
}
