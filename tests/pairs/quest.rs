//! QuestDB with tables that replace rows: a row is what the last request to its series and microsecond held, whatever InfluxDB kept of
//! earlier ones beside it, and whatever was deleted since. What is predicted comes from the writers' records alone.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use twinline::cell::{Cell, Series, Value};

use crate::oracle::{Beyond, check_source, is_own};
use crate::points::Line;
use crate::questdb_server::Questdb;
use crate::run::{Event, Outcome};

type Row = BTreeMap<String, String>;

#[derive(Default)]
struct Predicted {
    /// By series and microsecond.
    rows: HashMap<(Arc<Series>, i64), Row>,
    /// Rows that another one of the same microsecond has replaced with fewer fields: cells that the source still holds.
    replaced: u64,
    changes: BTreeMap<String, u64>,
}

/// As it refuses none.
fn renamed(name: &[u8], is_column: bool) -> (String, bool) {
    let text = std::str::from_utf8(name).unwrap();
    let mut out = String::new();
    for c in text.chars() {
        if "?,:/\\()+*%~\"'".contains(c) || is_column && ".-".contains(c) {
            c.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| out.push_str(&format!("_{byte:02x}")));
        } else {
            out.push(c);
        }
    }
    let is_renamed = out != text;
    (out, is_renamed)
}

impl Predicted {
    fn count(&mut self, code: &str, cells: u64) {
        if cells > 0 {
            *self.changes.entry(code.to_owned()).or_default() += cells;
        }
    }

    /// One request: lines of one series and time are one row, where the last of them stands.
    fn request(&mut self, db: &str, lines: &[&Line]) {
        for (at, line) in lines.iter().enumerate() {
            let same = |other: &&&Line| other.time_ns == line.time_ns && other.series == line.series;
            if line.time_ns.is_some() && lines[at + 1..].iter().any(|other| same(&other)) {
                continue;
            }
            let group: Vec<_> = match line.time_ns {
                Some(_) => lines[..=at].iter().filter(same).copied().collect(),
                None => vec![*line],
            };
            self.row(db, line, &group);
        }
    }

    fn row(&mut self, db: &str, line: &Line, group: &[&Line]) {
        let mut fields: BTreeMap<&[u8], &Value> = BTreeMap::new();
        for (field, value) in group.iter().flat_map(|line| &line.fields) {
            fields.insert(field, value);
        }
        let time_ns = line.time_ns.unwrap_or(0);
        if time_ns < 0 {
            return self.count("time-left-out", fields.len() as u64);
        }
        let (mut row, mut of_row) = (Row::new(), 0);
        for (field, value) in fields {
            let text = match value {
                Value::Integer(i64::MIN) => {
                    self.count("integer-left-out", 1);
                    continue;
                }
                Value::Integer(value) => value.to_string(),
                Value::Float(value) => format!("{:016x}", value.to_bits()),
                Value::Boolean(value) => value.to_string(),
                Value::String(value) => String::from_utf8(value.clone()).unwrap(),
                Value::Unsigned(_) => panic!("no source of these pairs has them"),
            };
            let (name, is_renamed) = renamed(field, true);
            of_row += u64::from(is_renamed);
            row.insert(name, text);
        }
        let cells = row.len() as u64;
        if cells == 0 {
            return;
        }
        self.count("microseconds", if time_ns % 1000 != 0 { cells } else { 0 });
        for (key, value) in line.series.tags() {
            let (name, is_renamed) = renamed(key, true);
            of_row += u64::from(is_renamed);
            row.insert(name, String::from_utf8(value.clone()).unwrap());
        }
        of_row += u64::from(renamed(format!("{db}_").as_bytes(), false).1);
        of_row += u64::from(renamed(line.series.measurement(), false).1);
        self.count("name", of_row);
        let before = self.rows.insert((Arc::clone(&line.series), time_ns / 1000), row.clone());
        self.replaced +=
            before.map_or(0, |before| before.keys().filter(|name| !row.contains_key(*name)).count() as u64);
    }
}

/// What was found to be so.
#[derive(Debug)]
#[allow(dead_code, reason = "printed")]
pub(crate) struct Counts {
    rows: u64,
    /// In dirty regions.
    doubt: u64,
    /// Cells that a later row has taken with it.
    replaced: u64,
    beyond: Beyond,
}

/// Compares what is there with what was written; `source`: what the source holds in the end.
pub(crate) fn judge(name: &str, source: &[Cell], questdb: &Questdb, outcome: &Outcome) -> Counts {
    let beyond = check_source(name, &outcome.writers, source);
    let (mut predicted, mut doubt) = (Predicted::default(), 0);
    for event in outcome.writers.iter().flat_map(|own| &own.events) {
        let Event::Wrote(lines) = event else { continue };
        let is_dirty = |line: &&Line| line.time_ns.is_some_and(|ns| outcome.is_dirty(line.series.measurement(), ns));
        doubt += lines.iter().filter(is_dirty).count() as u64;
        let clean: Vec<&Line> = lines.iter().filter(|line| !is_dirty(line)).collect();
        predicted.request(name, &clean);
    }
    let mut tables: BTreeMap<String, Vec<(Arc<Series>, i64, Row)>> = BTreeMap::new();
    for ((series, us), row) in std::mem::take(&mut predicted.rows) {
        let table = renamed(&[format!("{name}_").as_bytes(), series.measurement()].concat(), false).0;
        tables.entry(table).or_default().push((series, us, row));
    }
    let (mut found, mut count) = (Vec::new(), 0);
    for (table, rows) in tables {
        let there = questdb.texts(&table);
        count += there.len() as u64;
        found.extend(compare(&table, rows, there, (source, outcome)));
    }
    for text in found.iter().take(12) {
        println!("{name}: {text}");
    }
    assert!(found.is_empty(), "{name}: {} differences", found.len());
    if outcome.is_exact {
        assert_eq!(
            outcome.changes(),
            predicted.changes,
            "{name}: what it cannot hold, left as counted, right as predicted"
        );
    }
    Counts { rows: count, doubt, replaced: predicted.replaced, beyond }
}

/// One table; where writers met, what the source holds decides between them.
fn compare(table: &str, rows: Vec<(Arc<Series>, i64, Row)>, there: Vec<Row>, of: (&[Cell], &Outcome)) -> Vec<String> {
    let (source, outcome) = of;
    let tags = |series: &Series| -> Row {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        series.tags().iter().map(|(key, value)| (text(key), text(value))).collect()
    };
    let mut found = Vec::new();
    let untimed = rows.iter().any(|(series, ..)| series.measurement() == b"untimed lines");
    let mut by_key: HashMap<(Row, String), Row> = HashMap::new();
    for mut row in there {
        // There is no missing boolean.
        if row.get("ok=yes_2cno").is_some_and(|flag| flag == "false") {
            row.remove("ok=yes_2cno");
        }
        let us = if untimed { "0".to_owned() } else { row["us"].clone() };
        row.remove("us");
        let series = &rows[0].0;
        let key: Row = row
            .iter()
            .filter(|(name, _)| series.tag(name.as_bytes()).is_some())
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect();
        if by_key.insert((key.clone(), us.clone()), row).is_some() {
            found.push(format!("{table} {key:?} @{us}: it stands twice"));
        }
    }
    for (series, us, mut row) in rows {
        if row.get("ok=yes_2cno").is_some_and(|flag| flag == "false") {
            row.remove("ok=yes_2cno");
        }
        let is_met = !is_own(&series) && series.measurement() != b"untimed lines";
        let there = by_key.remove(&(tags(&series), us.to_string()));
        let is_same = match &there {
            None => false,
            Some(there) if is_met => {
                let own = source.iter().find(|cell| cell.series == series && cell.time_ns == us * 1000);
                // What was deleted may be there with any of its values.
                own.is_none_or(|own| matches!(own.value, Value::Integer(value) if there["v"] == value.to_string()))
            }
            Some(there) => *there == row,
        };
        if !is_same {
            found.push(format!("{table} {series} @{us}: predicted {row:?}, there {there:?}"));
        }
    }
    let measured = |us: &str| us.parse::<i64>().unwrap().saturating_mul(1000);
    for ((key, us), row) in by_key {
        let name = table.split_once("quest_").map_or(table, |(_, name)| name);
        if !outcome.is_dirty(name.as_bytes(), measured(&us)) {
            found.push(format!("{table} {key:?} @{us}: nobody wrote {row:?}"));
        }
    }
    found
}
