//! Tables that several names mean: QuestDB compares names without regard to case, so measurements that differ in it alone are one table.
//!
//! Promise: who can rename them hears of it when the second name is sent for the first time. What is remembered is bounded.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

use super::Shared;
use super::part::Part;
use super::tell::remark;
use super::twice::table_of;
use crate::db::product::Product;
use crate::line::project::without_case;

/// Names that are remembered; beyond that it begins anew, and something may be told again.
const NAMES_MAX: usize = 10_000;

/// Names of tables that were sent.
#[derive(Debug, Default)]
pub(super) struct Tables(RefCell<Known>);

#[derive(Debug, Default)]
struct Known {
    names: HashSet<String>,
    /// The first name of each table.
    first: HashMap<String, String>,
}

impl Tables {
    /// Another name of the same table that came before this one; said once.
    fn meets(&self, name: &str) -> Option<String> {
        let known = &mut *self.0.borrow_mut();
        if known.names.contains(name) {
            return None;
        }
        if known.names.len() >= NAMES_MAX {
            *known = Known::default();
        }
        known.names.insert(name.to_owned());
        let first = known.first.entry(without_case(name)).or_insert_with(|| name.to_owned());
        (first != name).then(|| first.clone())
    }
}

/// Looks at what is about to be sent.
pub(super) fn look(shared: &Shared, part: &Part) {
    if shared.product != Product::Questdb {
        return;
    }
    let mut last = String::new();
    for text in part.texts() {
        let name = table_of(text);
        if name == last {
            continue;
        }
        if let Some(other) = shared.tables.meets(&name) {
            let text = format!(
                "\"{name}\" and \"{other}\" are one table there, as names that differ in case alone are: their rows stand together"
            );
            remark(shared, "one-table", &text);
        }
        last = name;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_name_of_a_table_is_said_once() {
        let tables = Tables::default();
        assert_eq!(tables.meets("d_Cpu"), None);
        assert_eq!(tables.meets("d_mem"), None);
        assert_eq!(tables.meets("d_cpu").as_deref(), Some("d_Cpu"));
        assert_eq!((tables.meets("d_cpu"), tables.meets("d_Cpu")), (None, None));
        assert_eq!(tables.meets("D_CPU").as_deref(), Some("d_Cpu"));
    }
}
