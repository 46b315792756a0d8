//! Rows that may stand twice: of a request whose end is not known, sent again to tables that do not replace rows (QuestDB).
//!
//! Promise: who can prevent it hears of it, once what was sent again is stored; where all its tables have
//! `DEDUP UPSERT KEYS`, nobody does.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use super::Shared;
use super::part::Part;
use super::tell::remark;
use crate::db::product::{Product, Upsert};
use crate::db::questdb;

/// How long the destination may take to say which tables replace rows.
const ASK_MAX: Duration = Duration::from_secs(5);
/// Tables of which it is remembered that they have to be told of; of more only the rows count.
const TABLES_MAX: usize = 1_000;
/// Tables that are named.
const NAMED: usize = 3;

/// Whether it matters at this destination that a request which had an effect is sent again.
pub(super) fn matters(product: Product) -> bool {
    product.capabilities().upsert == Upsert::Row
}

/// Rows of each table that were sent again, until the destination has said which tables replace rows.
#[derive(Debug, Default)]
pub(super) struct Repeated(RefCell<BTreeMap<String, u64>>);

impl Repeated {
    fn add(&self, table: String, rows: u64) {
        let mut all = self.0.borrow_mut();
        let is_known = all.contains_key(&table) || all.len() < TABLES_MAX;
        *all.entry(if is_known { table } else { String::new() }).or_default() += rows;
    }
}

/// A part is stored that a request without a known end had carried before.
pub(super) fn note(shared: &Shared, part: &Part) {
    for text in part.texts() {
        shared.repeated.add(table_of(text), 1);
    }
}

/// Something was stored, so the destination can be asked about what was noted.
pub(super) async fn tell(shared: &Shared) {
    let noted = shared.repeated.0.take();
    if noted.is_empty() {
        return;
    }
    let asked = tokio::time::timeout(ASK_MAX, questdb::deduplicated(&shared.server)).await;
    let replacing = match asked {
        Ok(Ok(found)) => found.unwrap_or_default(),
        _ => {
            // It has gone away again: another time.
            noted.into_iter().for_each(|(table, rows)| shared.repeated.add(table, rows));
            return;
        }
    };
    let lacking = || noted.iter().filter(|(table, _)| !replacing.contains(&table.to_lowercase()));
    let rows: u64 = lacking().map(|(_, rows)| rows).sum();
    if rows > 0 {
        let named: Vec<String> = lacking().take(NAMED).map(|(table, _)| format!("\"{table}\"")).collect();
        let text = format!(
            "the end of a request was not known, and it was sent again: {rows} rows may stand twice, in tables without DEDUP UPSERT KEYS such as {}",
            named.join(", ")
        );
        remark(shared, "possible-duplicates", &text);
    }
}

/// The name at the beginning of a line that we wrote.
pub(super) fn table_of(text: &[u8]) -> String {
    let (mut name, mut bytes) = (Vec::new(), text.iter());
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => name.extend(bytes.next()),
            b' ' | b',' => break,
            byte => name.push(*byte),
        }
    }
    String::from_utf8_lossy(&name).into_owned()
}

#[cfg(test)]
mod tests {
    use super::table_of;

    #[test]
    fn a_table_is_found_behind_what_protects_its_bytes() {
        assert_eq!(table_of(b"a\\ b\\=c,t=u v=1 1\n"), "a b=c");
        assert_eq!(table_of(b"a v=1 1\n"), "a");
    }
}
