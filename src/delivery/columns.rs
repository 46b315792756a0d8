//! Columns that QuestDB lost with its process: killed while it adds one, 9.3.4 may know it for writes and not for reads. From then on it
//! takes the column's values with a yes and keeps none of them (its pull requests 7105 and 7110 tell why).
//!
//! Promise: where the end of a request was not known, no line with one of its columns is acknowledged before the column was seen; one that
//! is not there stops the place, told with what to do, until it is. What it is asked costs nothing as long as no connection breaks.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Shared;
use super::part::Part;
use super::tell::pause_target;
use super::twice::table_of;
use crate::base::Result;
use crate::db::questdb;
use crate::db::server::Server;
use crate::line::project::without_case;
use crate::line::{Dialect, Precision, lines};

/// Of a place that stands still for it.
const CODE: &str = "column-lost";
/// Columns that are remembered at most; those of more requests without an end are not looked at.
const COLUMNS_MAX: usize = 10_000;
/// How long the tables may take to show what was committed.
const SEEN_MAX: Duration = Duration::from_secs(5);
/// So often it is looked whether they do.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Names of columns by their table; those of columns in small letters, as QuestDB compares them.
pub type Columns = BTreeMap<String, BTreeSet<String>>;

/// Columns that have not been seen since a request with them broke off.
#[derive(Debug, Default)]
pub(super) struct Doubted(RefCell<Doubt>);

#[derive(Debug, Default)]
struct Doubt {
    /// The name that each table was written with, and its columns.
    columns: BTreeMap<String, (String, BTreeSet<String>)>,
    held: usize,
    /// The tables that lack one that was written, without regard to case.
    lost: BTreeSet<String>,
}

impl Doubted {
    fn add(&self, table: &str, columns: BTreeSet<String>) {
        let doubt = &mut *self.0.borrow_mut();
        if doubt.held + columns.len() > COLUMNS_MAX {
            return;
        }
        let known =
            &mut doubt.columns.entry(without_case(table)).or_insert_with(|| (table.to_owned(), BTreeSet::new())).1;
        let before = known.len();
        known.extend(columns);
        doubt.held += known.len() - before;
    }

    /// The doubted tables that this part writes to, as they are named, and which of the doubted columns it writes.
    fn touched(&self, part: &Part) -> Columns {
        let doubt = self.0.borrow();
        if doubt.columns.is_empty() {
            return Columns::new();
        }
        let mut found = Columns::new();
        for text in part.texts() {
            let Some((name, doubted)) = doubt.columns.get(&without_case(&table_of(text))) else { continue };
            let own = columns_of(text);
            found.entry(name.clone()).or_default().extend(own.intersection(doubted).cloned());
        }
        found.retain(|_, columns| !columns.is_empty());
        found
    }

    /// What a table has is doubted no longer; gives what it lacks of these. Nothing at all has a table that somebody has taken away:
    /// the next line makes it anew.
    fn saw(&self, table: &str, there: &BTreeSet<String>, wanted: &BTreeSet<String>) -> BTreeSet<String> {
        let doubt = &mut *self.0.borrow_mut();
        let key = without_case(table);
        if let Some((_, doubted)) = doubt.columns.get_mut(&key) {
            let before = doubted.len();
            doubted.retain(|column| !there.is_empty() && !there.contains(column));
            doubt.held -= before - doubted.len();
            if doubted.is_empty() {
                doubt.columns.remove(&key);
            }
        }
        let lacking: BTreeSet<String> = wanted.difference(there).cloned().collect();
        if lacking.is_empty() || there.is_empty() {
            doubt.lost.remove(&key);
            return BTreeSet::new();
        }
        doubt.lost.insert(key);
        lacking
    }

    /// Whether nothing may be sent before it was asked again.
    fn has_lost(&self, table: &str) -> bool {
        self.0.borrow().lost.contains(&without_case(table))
    }
}

/// A request with this part may have had an effect, and has no answer.
pub(super) fn note(shared: &Shared, part: &Part) {
    let mut written = Columns::new();
    note_columns(part.texts(), &mut written);
    written.into_iter().for_each(|(table, columns)| shared.doubted.add(&table, columns));
}

/// What was lost of columns that were written, in words; for whoever writes beside delivery. `None` also where the server does not say.
pub async fn lost_column(server: &Server, written: Columns) -> Option<String> {
    for (table, wanted) in written {
        // Mostly all is there, and nobody waits.
        if columns(server, &table).await.is_ok_and(|there| there.is_some_and(|there| wanted.is_subset(&there))) {
            continue;
        }
        let Ok(Ok(Some(there))) = tokio::time::timeout(SEEN_MAX, seen(server, &table)).await else { continue };
        if let Some(column) = wanted.difference(&there).next().filter(|_| !there.is_empty()) {
            return Some(advice(&table, column));
        }
    }
    None
}

/// Adds the columns that these lines bring.
pub fn note_columns<'a>(lines: impl Iterator<Item = &'a [u8]>, all: &mut Columns) {
    lines.for_each(|text| all.entry(table_of(text)).or_default().extend(columns_of(text)));
}

/// Before a part goes: whether a column of it is still lost. Then its place is paused.
pub(super) async fn are_still_lost(shared: &Shared, part: &Part) -> bool {
    let mut touched = shared.doubted.touched(part);
    touched.retain(|table, _| shared.doubted.has_lost(table));
    are_lost(shared, part, touched).await
}

/// Behind the yes to a part: whether a column that it has written is not there. Then its place is paused.
pub(super) async fn were_lost(shared: &Shared, part: &Part) -> bool {
    let touched = shared.doubted.touched(part);
    are_lost(shared, part, touched).await
}

async fn are_lost(shared: &Shared, part: &Part, touched: Columns) -> bool {
    for (table, wanted) in touched {
        // Who does not answer now is asked with the next part of this table: it stays doubted.
        let Ok(Ok(Some(there))) = tokio::time::timeout(SEEN_MAX, seen(&shared.server, &table)).await else { continue };
        let lacking = shared.doubted.saw(&table, &there, &wanted);
        if let Some(column) = lacking.first() {
            pause_target(shared, part.batch.target, CODE, advice(&table, column));
            return true;
        }
    }
    false
}

/// The columns of a table, once all that was committed can be read; `None` where it does not say, or stands still itself.
async fn seen(server: &Server, table: &str) -> Result<Option<BTreeSet<String>>> {
    let quoted = table.replace('\'', "''");
    let pending = format!("select suspended, sequencerTxn - writerTxn from wal_tables() where name = '{quoted}'");
    loop {
        let Some(rows) = questdb::rows(server, &pending).await? else { return Ok(None) };
        match rows.first().map(|row| (row[0].as_bool(), row[1].as_i64())) {
            Some((Some(false), Some(left))) if left > 0 => tokio::time::sleep(LOOK_EVERY).await,
            Some((Some(true), _)) => return Ok(None),
            // A table without a log shows at once what it has.
            _ => break,
        }
    }
    columns(server, table).await
}

async fn columns(server: &Server, table: &str) -> Result<Option<BTreeSet<String>>> {
    let columns = format!("select \"column\" from table_columns('{}')", table.replace('\'', "''"));
    let rows = questdb::rows(server, &columns).await?;
    let name = |row: &Vec<serde_json::Value>| Some(without_case(row.first()?.as_str()?));
    Ok(rows.map(|rows| rows.iter().filter_map(name).collect()))
}

/// What happened, to what, and what to do next.
fn advice(table: &str, column: &str) -> String {
    format!(
        "QuestDB ended while it added \"{column}\" to \"{table}\" and drops its values since: ALTER TABLE \"{table}\" SET TYPE BYPASS WAL, \
         restart it, SET TYPE WAL, restart it, ADD COLUMN \"{column}\""
    )
}

/// The columns that a line which we wrote brings, without regard to case.
fn columns_of(text: &[u8]) -> BTreeSet<String> {
    let name = |key: &[u8]| without_case(&String::from_utf8_lossy(key));
    let of = |line: crate::line::Line<'_>| {
        let tags = line.tags().iter().map(|tag| name(&tag.key()));
        tags.chain(line.fields().iter().map(|field| name(&field.key()))).collect::<Vec<_>>()
    };
    lines(text, Dialect::Influx2, Precision::Nanosecond).flatten().flat_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_line_brings_its_tags_and_fields() {
        assert_eq!(
            columns_of(b"m\\ n,a\\ key=1,b=2 V=1,\"s\"=\"x=1,y=2\",i=3i 5\n"),
            set(&["a key", "b", "v", "\"s\"", "i"])
        );
    }

    #[test]
    fn what_was_seen_is_doubted_no_longer_and_what_is_lost_stays() {
        let doubted = Doubted::default();
        doubted.add("T", set(&["a", "b"]));
        doubted.add("t", set(&["b", "c"]));
        assert_eq!(doubted.0.borrow().held, 3);
        assert_eq!(doubted.saw("t", &set(&["a", "x"]), &set(&["a", "b"])), set(&["b"]));
        assert!(doubted.has_lost("T"), "b is not there");
        assert_eq!(doubted.0.borrow().held, 2);
        assert_eq!(doubted.saw("t", &set(&["b", "c"]), &set(&["b"])), set(&[]));
        assert!(!doubted.has_lost("t") && doubted.0.borrow().columns.is_empty() && doubted.0.borrow().held == 0);
    }

    #[test]
    fn a_table_that_was_taken_away_has_lost_nothing() {
        let doubted = Doubted::default();
        doubted.add("t", set(&["a", "b"]));
        assert_eq!(doubted.saw("t", &set(&["a"]), &set(&["b"])), set(&["b"]));
        assert_eq!(doubted.saw("t", &set(&[]), &set(&["b"])), set(&[]));
        assert!(!doubted.has_lost("t") && doubted.0.borrow().held == 0);
    }

    #[test]
    fn no_more_than_so_many_are_remembered() {
        let doubted = Doubted::default();
        let many: Vec<String> = (0..COLUMNS_MAX).map(|column| column.to_string()).collect();
        doubted.add("a", many.iter().cloned().collect());
        doubted.add("b", set(&["x"]));
        assert_eq!((doubted.0.borrow().held, doubted.0.borrow().columns.len()), (COLUMNS_MAX, 1));
    }
}
