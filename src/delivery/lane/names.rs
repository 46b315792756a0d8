//! Names of routes that have no number, by record, for lines of a lane that are not done.
//!
//! Promise: bounded by [`NAMES_MAX`]. Neighbouring records of one name take one entry; beyond the bound the oldest names
//! are forgotten, and whoever asks says the place at the destination instead.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::base::Lsn;

/// Entries of one lane.
const NAMES_MAX: usize = 1 << 12;

/// Each entry holds from its record up to the next entry. Only records of routes without a number may be asked for.
#[derive(Debug, Default)]
pub(super) struct Names {
    from: BTreeMap<Lsn, Rc<str>>,
}

impl Names {
    /// The record's route has this name. Records may come again, and below others.
    pub(super) fn note(&mut self, lsn: Lsn, name: Rc<str>) {
        let before = self.from.range(..=lsn).next_back().map(|(_, name)| Rc::clone(name));
        if before.as_ref() == Some(&name) {
            return;
        }
        // What follows keeps the name that it had.
        if let Some(before) = before
            && self.from.range(lsn..).next().is_some()
        {
            self.from.entry(lsn.next()).or_insert(before);
        }
        self.from.insert(lsn, name);
        while self.from.len() > NAMES_MAX {
            self.from.pop_first();
        }
    }

    /// The name of a record's route; empty when it was forgotten.
    pub(super) fn of(&self, lsn: Lsn) -> &str {
        self.from.range(..=lsn).next_back().map_or("", |(_, name)| name)
    }

    /// Records up to here are done. The newest entry stays: later records may rest on it.
    pub(super) fn done(&mut self, floor: Lsn) {
        while self.from.keys().nth(1).is_some_and(|second| *second <= floor.next()) {
            self.from.pop_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_share_an_entry_and_a_record_that_comes_again_changes_no_other() {
        let mut names = Names::default();
        for lsn in [5, 7, 9] {
            names.note(Lsn(lsn), "a".into());
        }
        assert_eq!(names.from.len(), 1);
        names.note(Lsn(12), "c".into());
        names.note(Lsn(6), "b".into());
        names.note(Lsn(6), "b".into());
        let shown: Vec<&str> = [5, 6, 7, 9, 12, 13].into_iter().map(|lsn| names.of(Lsn(lsn))).collect();
        assert_eq!(shown, ["a", "b", "a", "a", "c", "c"]);
        names.done(Lsn(6));
        assert_eq!((names.of(Lsn(9)), names.of(Lsn(12)), names.from.len()), ("a", "c", 2));
    }

    #[test]
    fn of_very_many_names_the_oldest_are_forgotten() {
        let mut names = Names::default();
        for lsn in 1..=2 * NAMES_MAX as u64 {
            names.note(Lsn(lsn), format!("db{lsn}/rp").into());
        }
        assert_eq!((names.from.len(), names.of(Lsn(1))), (NAMES_MAX, ""));
        assert_eq!(names.of(Lsn(2 * NAMES_MAX as u64)), "db8192/rp");
    }
}
