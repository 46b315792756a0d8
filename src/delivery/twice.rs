//! Rows that may stand twice: of a request whose end is not known, sent again to tables that do not replace rows (QuestDB).
//!
//! Promise: who can prevent it hears of it, once what was sent again is stored; where all its tables have
//! `DEDUP UPSERT KEYS`, nobody does.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Shared;
use super::part::Part;
use super::tell::remark;
use crate::db::product::{Product, Upsert};
use crate::db::questdb;

/// How long the destination may take to say which tables replace rows.
const ASK_MAX: Duration = Duration::from_secs(5);
/// Tables that are named.
const NAMED: usize = 3;

/// Whether it matters at this destination that a request which had an effect is sent again.
pub(super) fn matters(product: Product) -> bool {
    product.capabilities().upsert == Upsert::Row
}

/// A part is stored that a request without a known end had carried before.
pub(super) async fn tell(shared: &Shared, part: &Part) {
    let asked = tokio::time::timeout(ASK_MAX, questdb::deduplicated(&shared.server)).await;
    let replacing = asked.ok().flatten().unwrap_or_default();
    let (mut lines, mut tables) = (0u64, BTreeSet::new());
    for text in part.texts() {
        let table = table_of(text);
        if !replacing.contains(&table.to_lowercase()) {
            lines += 1;
            if tables.len() < NAMED || tables.contains(&table) {
                tables.insert(table);
            }
        }
    }
    if lines > 0 {
        let tables: Vec<String> = tables.into_iter().map(|table| format!("\"{table}\"")).collect();
        let text = format!(
            "the end of a request was not known, and it was sent again: {lines} of its rows may stand twice, in tables without DEDUP UPSERT KEYS such as {}",
            tables.join(", ")
        );
        remark(shared, "possible-duplicates", &text);
    }
}

/// The name at the beginning of a line that we wrote.
fn table_of(text: &[u8]) -> String {
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
