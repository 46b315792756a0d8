//! Lines that stay at the source by the rules of mapping, by route, since this process began.
//!
//! Promise: bounded by [`ROUTES_MAX`]; what does not fit is counted as one. The sum over all time is in the ledger.

use std::cell::RefCell;
use std::collections::HashMap;

use serde::Serialize;

use crate::route::RouteName;

/// Routes that are told apart. Clients invent names: of more, only the sum is known.
const ROUTES_MAX: usize = 1000;
/// Those with most lines that are shown.
const SHOWN_MAX: usize = 20;

/// Why lines stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Why {
    /// No rule names their route.
    NoRule,
    /// The source keeps their place for itself.
    System,
    /// The rule of their route leaves them out.
    Lines,
}

impl Why {
    fn code(self) -> &'static str {
        match self {
            Self::NoRule => "no-rule",
            Self::System => "system",
            Self::Lines => "by-rule",
        }
    }
}

/// Lines of one route that stay at the source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct ExcludedView {
    /// The route; empty for all that are not told apart.
    pub route: String,
    /// Short stable name of the reason: `no-rule`, `system` or `by-rule`; empty for all that are not told apart.
    pub code: String,
    /// How many since the start.
    pub lines: u64,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Excluded {
    routes: RefCell<HashMap<(RouteName, Why), u64>>,
    others: RefCell<u64>,
}

impl Excluded {
    /// So many lines more. `by_rule`: a rule names the route.
    pub(super) fn add(&self, name: &RouteName, by_rule: bool, lines: u64) {
        if lines == 0 {
            return;
        }
        let why = match by_rule {
            true => Why::Lines,
            false if name.is_system() => Why::System,
            false => Why::NoRule,
        };
        let (mut routes, key) = (self.routes.borrow_mut(), (name.clone(), why));
        if routes.len() < ROUTES_MAX || routes.contains_key(&key) {
            *routes.entry(key).or_default() += lines;
        } else {
            *self.others.borrow_mut() += lines;
        }
    }

    /// Those with most lines first, then the sum of all others.
    pub(super) fn shown(&self) -> Vec<ExcludedView> {
        let routes = self.routes.borrow();
        let mut rows: Vec<_> = routes.iter().collect();
        rows.sort_unstable_by(|a, b| b.1.cmp(a.1).then_with(|| a.0.0.cmp(&b.0.0)));
        let others = rows.iter().skip(SHOWN_MAX).map(|(_, lines)| **lines).sum::<u64>() + *self.others.borrow();
        let row = |((name, why), lines): (&(RouteName, Why), &u64)| ExcludedView {
            route: name.to_string(),
            code: why.code().to_owned(),
            lines: *lines,
        };
        let mut shown: Vec<_> = rows.into_iter().take(SHOWN_MAX).map(row).collect();
        if others > 0 {
            shown.push(ExcludedView { lines: others, ..ExcludedView::default() });
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_are_shown_and_nothing_is_lost_of_the_sum() {
        let excluded = Excluded::default();
        let name = |number: u64| RouteName::Database { db: format!("db{number}"), rp: String::new() };
        for number in 1..=3000 {
            excluded.add(&name(number), false, 1 + number % 7);
        }
        excluded.add(&name(5), true, 1_000);
        excluded.add(&name(6), false, 500);
        excluded.add(&RouteName::Database { db: "_internal".into(), rp: "monitor".into() }, false, 3);
        let shown = excluded.shown();
        assert_eq!((shown.len(), shown[0].code.as_str(), shown[0].lines), (SHOWN_MAX + 1, "no-rule", 507));
        let sum: u64 = (1..=3000).map(|number| 1 + number % 7).sum();
        assert_eq!(shown.iter().map(|row| row.lines).sum::<u64>(), sum + 1_503);
        assert_eq!(excluded.routes.borrow().len(), ROUTES_MAX);
    }

    #[test]
    fn each_reason_has_a_row() {
        let excluded = Excluded::default();
        let name = |db: &str| RouteName::Database { db: db.into(), rp: String::new() };
        excluded.add(&name("a"), false, 3);
        excluded.add(&name("a"), true, 2);
        excluded.add(&name("_internal"), false, 1);
        excluded.add(&name("b"), false, 0);
        let rows: Vec<_> = excluded.shown().into_iter().map(|row| (row.route, row.code, row.lines)).collect();
        let row = |route: &str, code: &str, lines| (route.to_owned(), code.to_owned(), lines);
        assert_eq!(rows, [row("a", "no-rule", 3), row("a", "by-rule", 2), row("_internal", "system", 1)]);
    }
}
