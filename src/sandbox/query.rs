//! Running statements against the store: tables out, or the server's sentence about what is wrong.

use std::collections::BTreeMap;

use crate::cell::{Series, Tags, Value};

use super::condition::Condition;
use super::select;
use super::statement::{Source, Statement};
use super::store::{Database, Measurement, Store};

/// One place of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Datum {
    Null,
    Time(i64),
    Value(Value),
}

/// Rows of one series, or of a list.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) name: Vec<u8>,
    pub(super) tags: Tags,
    pub(super) columns: Vec<Vec<u8>>,
    pub(super) rows: Vec<Vec<Datum>>,
}

/// What a statement gave.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) tables: Vec<Table>,
    pub(super) error: Option<String>,
}

/// Where a request stands: its `db` and `rp` parameters.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) db: &'a str,
    pub(super) rp: &'a str,
}

pub(super) type Tables = Result<Vec<Table>, String>;

/// Columns and rows of a list.
type Listed = (&'static [&'static str], Vec<Vec<Datum>>);

/// Runs one statement.
pub(super) fn run(store: &mut Store, statement: &Statement, place: Place<'_>) -> Outcome {
    match tables(store, statement, place) {
        Ok(tables) => Outcome { tables, error: None },
        Err(error) => Outcome { tables: Vec::new(), error: Some(error) },
    }
}

fn tables(store: &mut Store, statement: &Statement, place: Place<'_>) -> Tables {
    match statement {
        Statement::CreateDatabase { name, policy } => {
            let policy = policy.as_ref().map(|(name, spec)| (name.as_str(), *spec));
            check_duration(policy.map_or(0, |(_, spec)| spec.duration_ns))?;
            let created = store.create_database(name, policy);
            created.map_err(|()| "retention policy conflicts with an existing policy".to_owned())?;
        }
        Statement::DropDatabase(name) => store.drop_database(name),
        Statement::CreatePolicy { db, name, spec, default } => {
            check_duration(spec.duration_ns)?;
            let created = store.create_policy(db, name, *spec, *default).ok_or_else(|| no_database(db))?;
            created.map_err(|()| "retention policy already exists".to_owned())?;
        }
        Statement::DropPolicy { db, name } => store.drop_policy(db, name).ok_or_else(|| no_database(db))?,
        Statement::Delete { from, condition } => delete(store, from.as_ref(), condition, place)?,
        Statement::DropMeasurement(name) => {
            let named = |series: &Series| series.measurement() == name.as_bytes();
            needed(place.db)?;
            store.delete(place.db, named, i64::MIN, i64::MAX).ok_or_else(|| no_database(place.db))?;
        }
        Statement::ShowDatabases => {
            let rows = store.names().map(|name| vec![text(name)]).collect();
            return Ok(vec![list("databases", &["name"], rows)]);
        }
        Statement::ShowMeasurements { on } => {
            // Of a database that does not exist the server lists nothing, without an error.
            let name = needed(on.as_deref().unwrap_or(place.db))?;
            return Ok(store.database(name).map(show_measurements).unwrap_or_default());
        }
        Statement::ShowFieldKeys { on, from } => {
            return show_keys(store, on.as_deref(), from.as_ref(), place, field_rows);
        }
        Statement::ShowTagKeys { on, from } => return show_keys(store, on.as_deref(), from.as_ref(), place, tag_rows),
        Statement::ShowSeries { on, from } => return show_series(store, on.as_deref(), from.as_ref(), place),
        Statement::ShowPolicies { on } => return Ok(vec![show_policies(database(store, on.as_deref(), place)?)]),
        Statement::ShowShardGroups => return Ok(vec![show_shard_groups(store)]),
        Statement::Select(select) => return select::run(store, select, place),
    }
    Ok(Vec::new())
}

fn check_duration(duration_ns: i64) -> Result<(), String> {
    if duration_ns != 0 && duration_ns < 3_600_000_000_000 {
        return Err("retention policy duration must be at least 1h0m0s".to_owned());
    }
    Ok(())
}

pub(super) fn no_database(name: &str) -> String {
    format!("database not found: {name}")
}

pub(super) fn needed(db: &str) -> Result<&str, String> {
    if db.is_empty() { Err("database name required".to_owned()) } else { Ok(db) }
}

fn database<'s>(store: &'s Store, named: Option<&str>, place: Place<'_>) -> Result<&'s Database, String> {
    let name = needed(named.unwrap_or(place.db))?;
    store.database(name).ok_or_else(|| no_database(name))
}

fn text(text: &str) -> Datum {
    bytes(text.as_bytes())
}

pub(super) fn bytes(text: &[u8]) -> Datum {
    Datum::Value(Value::String(text.to_vec()))
}

fn list(name: &str, columns: &[&str], rows: Vec<Vec<Datum>>) -> Table {
    let columns = columns.iter().map(|column| column.as_bytes().to_vec()).collect();
    Table { name: name.as_bytes().to_vec(), tags: Vec::new(), columns, rows }
}

fn delete(store: &mut Store, from: Option<&Source>, condition: &Condition, place: Place<'_>) -> Result<(), String> {
    let db = needed(from.and_then(|source| source.db.as_deref()).unwrap_or(place.db))?;
    let chosen = |series: &Series| {
        let measurement = from.is_none_or(|source| series.measurement() == source.measurement.as_bytes());
        measurement && has_tags(series, condition)
    };
    store.delete(db, chosen, condition.start_ns, condition.end_ns).ok_or_else(|| no_database(db))
}

pub(super) fn has_tags(series: &Series, condition: &Condition) -> bool {
    condition.tags.iter().all(|(key, value, equal)| {
        let found = series.tag(key.as_bytes()).unwrap_or_default();
        (found == value.as_bytes()) == *equal
    })
}

fn show_measurements(database: &Database) -> Vec<Table> {
    let names: std::collections::BTreeSet<_> = database.policies.values().flat_map(|p| p.measurements.keys()).collect();
    let rows: Vec<_> = names.into_iter().map(|name| vec![bytes(name)]).collect();
    if rows.is_empty() { Vec::new() } else { vec![list("measurements", &["name"], rows)] }
}

/// The measurements that a `SHOW … FROM` means, by name; over all policies unless one is named.
fn measurements<'s>(
    store: &'s Store,
    on: Option<&str>,
    from: Option<&Source>,
    place: Place<'_>,
) -> Result<BTreeMap<&'s [u8], Vec<&'s Measurement>>, String> {
    let named = from.and_then(|source| source.db.as_deref()).or(on);
    let policy = from.and_then(|source| source.rp.as_deref());
    let mut found: BTreeMap<&[u8], Vec<&Measurement>> = BTreeMap::new();
    for (name, of) in &database(store, named, place)?.policies {
        for (measurement, content) in &of.measurements {
            let wanted = from.is_none_or(|source| source.measurement.as_bytes() == measurement);
            if wanted && policy.is_none_or(|policy| policy == name) {
                found.entry(measurement).or_default().push(content);
            }
        }
    }
    Ok(found)
}

fn show_keys(
    store: &Store,
    on: Option<&str>,
    from: Option<&Source>,
    place: Place<'_>,
    rows_of: fn(&[&Measurement]) -> Listed,
) -> Tables {
    let mut tables = Vec::new();
    for (name, parts) in measurements(store, on, from, place)? {
        let (columns, rows) = rows_of(&parts);
        if !rows.is_empty() {
            tables.push(Table { name: name.to_vec(), ..list("", columns, rows) });
        }
    }
    Ok(tables)
}

fn field_rows(parts: &[&Measurement]) -> Listed {
    let types = parts.iter().flat_map(|m| &m.types).map(|(field, t)| (field, t.name()));
    let all: std::collections::BTreeSet<_> = types.collect();
    let rows = all.into_iter().map(|(field, name)| vec![bytes(field), text(name)]).collect();
    (&["fieldKey", "fieldType"], rows)
}

fn tag_rows(parts: &[&Measurement]) -> Listed {
    let keys: std::collections::BTreeSet<_> = parts.iter().flat_map(|m| m.tag_keys()).collect();
    (&["tagKey"], keys.into_iter().map(|key| vec![bytes(&key)]).collect())
}

fn show_series(store: &Store, on: Option<&str>, from: Option<&Source>, place: Place<'_>) -> Tables {
    let found = measurements(store, on, from, place)?;
    let series: std::collections::BTreeSet<_> = found.values().flatten().flat_map(|m| m.series.keys()).collect();
    let rows: Vec<_> = series.into_iter().map(|series| vec![bytes(&key(series))]).collect();
    Ok(if rows.is_empty() { Vec::new() } else { vec![list("", &["key"], rows)] })
}

/// A series as line protocol writes it.
pub(super) fn key(series: &Series) -> Vec<u8> {
    let mut out = Vec::new();
    let put = |text: &[u8], special: &[u8], out: &mut Vec<u8>| {
        for byte in text {
            if special.contains(byte) {
                out.push(b'\\');
            }
            out.push(*byte);
        }
    };
    put(series.measurement(), b", ", &mut out);
    for (key, value) in series.tags() {
        out.push(b',');
        put(key, b",= ", &mut out);
        out.push(b'=');
        put(value, b",= ", &mut out);
    }
    out
}

/// A span as the server prints it: `168h0m0s`.
pub(super) fn span_text(ns: i64) -> String {
    if ns == 0 {
        return "0s".to_owned();
    }
    let seconds = ns / 1_000_000_000;
    format!("{}h{}m{}s", seconds / 3600, seconds % 3600 / 60, seconds % 60)
}

fn show_policies(database: &Database) -> Table {
    let columns =
        ["name", "duration", "shardGroupDuration", "replicaN", "futureWriteLimit", "pastWriteLimit", "default"];
    let rows = database.policies.iter().map(|(name, policy)| {
        vec![
            text(name),
            text(&span_text(policy.spec.duration_ns)),
            text(&span_text(policy.spec.shard_group_ns)),
            Datum::Value(Value::Integer(policy.spec.replication)),
            text("0s"),
            text("0s"),
            Datum::Value(Value::Boolean(*name == database.default_policy)),
        ]
    });
    list("", &columns, rows.collect())
}

fn show_shard_groups(store: &Store) -> Table {
    let mut rows = Vec::new();
    for (db, database) in store.databases() {
        for (rp, policy) in &database.policies {
            for (group, number) in &policy.groups {
                let expiry_ns = group.end_ns.saturating_add(policy.spec.duration_ns);
                let [start, end, expiry] = [group.start_ns, group.end_ns, expiry_ns].map(|ns| text(&whole_seconds(ns)));
                rows.push(vec![Datum::Value(Value::Integer(*number)), text(db), text(rp), start, end, expiry]);
            }
        }
    }
    let columns = ["id", "database", "retention_policy", "start_time", "end_time", "expiry_time"];
    list("shard groups", &columns, rows)
}

fn whole_seconds(ns: i64) -> String {
    let seconds = jiff::Timestamp::from_second(ns.div_euclid(1_000_000_000));
    seconds.map_or_else(|_| ns.to_string(), |time| time.to_string())
}
