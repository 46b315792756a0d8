//! Tables that several names mean: QuestDB compares names without regard to case, so measurements that differ in it alone are one table;
//! and `b_m` of database `a` has the table of `m` of database `a_b`.
//!
//! Promise: who can rename them hears of it when the second name is sent for the first time. What is remembered is bounded.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

use super::Shared;
use super::part::Part;
use super::target::TargetId;
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
    names: HashSet<(TargetId, String)>,
    /// The first name of each table, and whose.
    first: HashMap<String, (TargetId, String)>,
}

impl Tables {
    /// Another name of the same table that came before this one; said once.
    fn meets(&self, target: TargetId, name: &str) -> Option<(TargetId, String)> {
        let known = &mut *self.0.borrow_mut();
        let own = (target, name.to_owned());
        if known.names.contains(&own) {
            return None;
        }
        if known.names.len() >= NAMES_MAX {
            *known = Known::default();
        }
        known.names.insert(own.clone());
        let first = known.first.entry(without_case(name)).or_insert_with(|| own.clone());
        (*first != own).then(|| first.clone())
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
        let target = part.batch.target;
        if let Some((of, other)) = shared.tables.meets(target, &name) {
            let text = if of == target {
                format!(
                    "\"{name}\" and \"{other}\" are one table there, as names that differ in case alone are: their rows stand together"
                )
            } else {
                let places = [target, of].map(|place| shared.targets.get(place).target.to_string());
                format!("{} and {} have one table \"{name}\" there: their rows stand together", places[0], places[1])
            };
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
        let (one, two) = (TargetId(0), TargetId(1));
        let met = |target, name| tables.meets(target, name);
        assert_eq!((met(one, "d_Cpu"), met(one, "d_mem")), (None, None));
        assert_eq!(met(one, "d_cpu"), Some((one, "d_Cpu".to_owned())));
        assert_eq!((met(one, "d_cpu"), met(one, "d_Cpu")), (None, None));
        assert_eq!(met(one, "D_CPU"), Some((one, "d_Cpu".to_owned())));
        assert_eq!(met(two, "d_mem"), Some((one, "d_mem".to_owned())), "of another place");
        assert_eq!(met(two, "d_mem"), None);
    }
}
