//! Rows that are to be read back, and from when on each may be.
//!
//! Promise: a row is ripe only when no request that it stands for can take effect at the source any more. From then on everything that the
//! log had by that time is older than what is read, or the same: a copy that is held behind it misses nothing.

use std::collections::HashMap;
use std::time::Duration;

use crate::base::Lsn;
use crate::state::{Owed, OwedRow};

/// A row that was seen.
#[derive(Clone, Debug)]
struct Seen {
    row: OwedRow,
    /// When it was first seen as it is, monotonic: what it stands for had begun by then.
    first: Duration,
    /// Since when no request that it stands for is under way.
    ended: Option<Duration>,
    /// Where the log ended when none could take effect any more.
    behind: Option<Lsn>,
    /// Somebody is at it.
    is_taken: bool,
}

/// All rows.
#[derive(Debug, Default)]
pub(super) struct Book(HashMap<(Owed, i64), Seen>);

/// What a look is made with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    /// Monotonic.
    pub(super) now: Duration,
    /// How long a request without an answer may take effect at the source.
    pub(super) late_max: Duration,
    /// The last record that is durable.
    pub(super) log_end: Lsn,
}

impl Book {
    /// Takes note of the rows as they are now. `unlogged_ended`: whether no write whose gap was there at that time is under way.
    pub(super) fn look(&mut self, rows: Vec<OwedRow>, look: Look, unlogged_ended: impl Fn(Duration) -> bool) {
        let mut old = std::mem::take(&mut self.0);
        for row in rows {
            let key = (row.what, row.id);
            let fresh = |row| Seen { row, first: look.now, ended: None, behind: None, is_taken: false };
            let mut seen = match old.remove(&key) {
                Some(known) if known.row == row => known,
                // A gap of records that has grown.
                _ => fresh(row),
            };
            if seen.ended.is_none() {
                let is_logged = seen.row.what == Owed::Doubt || seen.row.last_lsn != Lsn::ZERO;
                let has_ended = is_logged || unlogged_ended(seen.first);
                seen.ended = has_ended.then_some(if is_logged { seen.first } else { look.now });
            }
            if seen.behind.is_none() && seen.ended.is_some_and(|ended| look.now >= ended + look.late_max) {
                seen.behind = Some(look.log_end);
            }
            self.0.insert(key, seen);
        }
    }

    /// Ripe rows that nobody is at, each with the record that its copy must be held behind.
    pub(super) fn take(&mut self) -> Vec<(OwedRow, Lsn)> {
        let mut ripe = Vec::new();
        for seen in self.0.values_mut().filter(|seen| !seen.is_taken) {
            if let Some(behind) = seen.behind {
                seen.is_taken = true;
                ripe.push((seen.row.clone(), behind));
            }
        }
        ripe.sort();
        ripe
    }

    /// They are not there any more, or somebody else must begin with them.
    pub(super) fn forget(&mut self, rows: &[OwedRow]) {
        for row in rows {
            self.0.remove(&(row.what, row.id));
        }
    }

    /// Whether all of these are still as they were.
    pub(super) fn stands(&self, rows: &[OwedRow]) -> bool {
        rows.iter().all(|row| self.0.get(&(row.what, row.id)).is_some_and(|seen| seen.row == *row))
    }

    /// Rows that are not ripe yet, and all.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.0.values().filter(|seen| seen.behind.is_none()).count(), self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const Z: Duration = Duration::from_secs(60);

    fn row(what: Owed, id: i64, last_lsn: u64, lines: u64) -> OwedRow {
        let (route, measurement) = ("r".to_owned(), None);
        OwedRow { what, id, route, measurement, from_ns: 0, to_ns: 9, lines, last_lsn: Lsn(last_lsn) }
    }

    fn at(seconds: u64, log_end: u64) -> Look {
        Look { now: Duration::from_secs(seconds), late_max: Z, log_end: Lsn(log_end) }
    }

    #[test]
    fn a_row_is_ripe_when_its_request_can_take_effect_no_more_and_is_held_behind_what_the_log_had_then() {
        let (mut book, rows) = (Book::default(), vec![row(Owed::Doubt, 1, 7, 2)]);
        for (seconds, log_end) in [(100, 10), (159, 11)] {
            book.look(rows.clone(), at(seconds, log_end), |_| true);
            assert_eq!((book.take(), book.counts()), (vec![], (1, 1)));
        }
        book.look(rows.clone(), at(160, 20), |_| true);
        book.look(rows.clone(), at(170, 30), |_| true);
        assert_eq!(book.take(), [(rows[0].clone(), Lsn(20))]);
        assert_eq!(book.take(), [], "somebody is at it");
        assert!(book.stands(&rows));
        book.forget(&rows);
        book.look(rows.clone(), at(171, 30), |_| true);
        assert_eq!(book.take(), [], "one with the same number later is another one");
    }

    #[test]
    fn a_gap_waits_for_the_writes_that_it_stands_for() {
        let (mut book, rows) = (Book::default(), vec![row(Owed::Gap, 1, 0, 2), row(Owed::Gap, 2, 9, 2)]);
        book.look(rows.clone(), at(100, 10), |_| false);
        book.look(rows.clone(), at(160, 10), |since| since > Duration::from_secs(100));
        assert_eq!(book.take(), [(rows[1].clone(), Lsn(10))], "that of records stands for none");
        book.look(rows.clone(), at(200, 10), |since| since == Duration::from_secs(100));
        book.look(rows.clone(), at(259, 10), |_| true);
        assert_eq!(book.take(), []);
        book.look(rows.clone(), at(260, 12), |_| true);
        assert_eq!(book.take(), [(rows[0].clone(), Lsn(12))]);
    }

    #[test]
    fn a_gap_that_grows_begins_anew() {
        let mut book = Book::default();
        book.look(vec![row(Owed::Gap, 1, 9, 2)], at(100, 10), |_| true);
        book.look(vec![row(Owed::Gap, 1, 12, 3)], at(160, 10), |_| true);
        assert_eq!(book.take(), []);
        book.look(vec![row(Owed::Gap, 1, 12, 3)], at(220, 15), |_| true);
        assert_eq!(book.take(), [(row(Owed::Gap, 1, 12, 3), Lsn(15))]);
        assert!(!book.stands(&[row(Owed::Gap, 1, 9, 2)]));
        book.look(vec![], at(230, 15), |_| true);
        assert_eq!(book.counts(), (0, 0));
    }
}
