//! Tables of a QuestDB: which of them would hold a row twice that is sent again.

use std::collections::BTreeMap;

use serde_json::Value;

use super::finding::{Code, Finding, Group, State};
use super::mapping::Wanted;
use super::subject::Subject;
use crate::config::Projection;
use crate::db::questdb::rows;
use crate::delivery::table_prefix;
use crate::line::project::table_name;
use crate::route::{Target, TargetKind};

/// Tables that are looked at.
const TABLES_MAX: usize = 200;
/// Tables that are named with what to do.
const NAMED: usize = 10;

/// Looks at the tables that the places of the source go to; those that are not there yet nobody can know.
pub(super) async fn look(
    subject: &Subject<'_>,
    projection: Projection,
    targets: &BTreeMap<Target, Wanted>,
    kind: &TargetKind,
) -> Vec<Finding> {
    let unknown = |why: &str| {
        let text = format!("which tables replace rows is not known: {why}");
        vec![subject.found(Group::Mapping, State::Unknown, Code::ROWS_TWICE, text)]
    };
    let found = match rows(&subject.server, "select table_name from tables() order by table_name").await {
        Ok(Some(found)) => found,
        Ok(None) => return unknown("it refuses to say"),
        Err(error) => return unknown(&error.to_string()),
    };
    let prefixes: Vec<String> =
        targets.keys().map(|target| table_name(table_prefix(target, kind).as_bytes()).to_lowercase()).collect();
    let is_ours = |name: &str| {
        let name = name.to_lowercase();
        !projection.tables_name_database || prefixes.iter().any(|prefix| name.starts_with(prefix))
    };
    let names = found.iter().filter_map(|row| row.first()?.as_str()).filter(|name| is_ours(name));
    let (mut lacking, mut good, mut findings) = (Vec::new(), 0, Vec::new());
    for name in names.take(TABLES_MAX) {
        let query = format!(
            "select \"column\", type, designated, upsertKey from table_columns('{}')",
            name.replace('\'', "''")
        );
        let Ok(Some(columns)) = rows(&subject.server, &query).await else { continue };
        let columns: Vec<Column> = columns.iter().filter_map(|row| Column::read(row)).collect();
        let is_key = |column: &&Column| column.is_time || column.kind == "SYMBOL";
        if columns.iter().filter(is_key).all(|column| column.is_upsert_key) {
            good += 1;
        } else {
            let keys: Vec<String> =
                columns.iter().filter(is_key).map(|column| format!("\"{}\"", column.name)).collect();
            lacking.push(format!("ALTER TABLE \"{name}\" DEDUP ENABLE UPSERT KEYS({})", keys.join(", ")));
        }
        let keeps_us = columns.iter().any(|column| column.is_time && column.kind == "TIMESTAMP");
        if projection.keeps_ns && keeps_us {
            let text = format!("table \"{name}\" keeps microseconds, but projection.resolution is \"ns\"");
            let finding = subject.found(Group::Mapping, State::Warning, Code::ROWS_TWICE, text);
            findings
                .push(finding.fix("create it with timestamp_ns, or resolution = \"us\" in [destination.projection]"));
        }
    }
    findings.truncate(NAMED);
    if lacking.is_empty() {
        let text = match good {
            0 => "no tables yet: those that a write makes hold a row twice that is sent again".to_owned(),
            _ => format!("{good} tables replace a row that is sent again"),
        };
        let finding = subject.found(Group::Mapping, State::Ok, Code::ROWS_TWICE, text);
        findings.push(finding);
        return findings;
    }
    let text =
        format!("{} tables hold a row twice that is sent again (after a lost connection, or a restart)", lacking.len());
    let left = lacking.len().saturating_sub(NAMED);
    lacking.truncate(NAMED);
    let more = if left > 0 { format!("; and {left} more") } else { String::new() };
    let finding = subject.found(Group::Mapping, State::Warning, Code::ROWS_TWICE, text);
    findings.push(finding.fix(lacking.join("; ") + &more));
    findings
}

#[derive(Debug)]
struct Column {
    name: String,
    kind: String,
    is_time: bool,
    is_upsert_key: bool,
}

impl Column {
    fn read(row: &[Value]) -> Option<Self> {
        let [name, kind, is_time, is_upsert_key] = row else { return None };
        Some(Self {
            name: name.as_str()?.to_owned(),
            kind: kind.as_str()?.to_owned(),
            is_time: is_time.as_bool()?,
            is_upsert_key: is_upsert_key.as_bool()?,
        })
    }
}
