//! What the lines were that went as one row: a row that is refused is a dead letter for each of them.
//!
//! Promise: bounded; of a row for which there was no room its last line is the letter, with all that the row holds.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};

use super::writing::Written;
use crate::base::Lsn;
use crate::base::bounds::ROWS_BYTES_MAX;
use crate::line::Unfit;

/// A line of a row: its number in the record, and what it would be alone.
pub(super) type RowLine = (u32, Vec<u8>);

/// Rows of several lines that may still be refused, by the last of these lines.
#[derive(Debug, Default)]
pub(super) struct Rows(RefCell<Kept>);

#[derive(Debug, Default)]
struct Kept {
    rows: BTreeMap<(Lsn, u32), Vec<RowLine>>,
    bytes: usize,
}

fn bytes_of(lines: &[RowLine]) -> usize {
    lines.iter().map(|(_, text)| text.len() + size_of::<RowLine>()).sum()
}

impl Rows {
    /// These lines go as one, with the last of them.
    pub(super) fn keep(&self, lsn: Lsn, lines: Vec<RowLine>) {
        let kept = &mut *self.0.borrow_mut();
        let (Some((last, _)), bytes) = (lines.last(), bytes_of(&lines)) else { return };
        if kept.bytes + bytes > ROWS_BYTES_MAX {
            return;
        }
        kept.bytes += bytes;
        let former = kept.rows.insert((lsn, *last), lines);
        kept.bytes -= former.map_or(0, |former| bytes_of(&former));
    }

    /// The lines of the row that went with this line; none where it went alone.
    pub(super) fn of(&self, lsn: Lsn, line: u32) -> Option<Vec<RowLine>> {
        self.0.borrow().rows.get(&(lsn, line)).cloned()
    }

    /// Nothing up to here can be refused any more.
    pub(super) fn forget(&self, to: Lsn) {
        let kept = &mut *self.0.borrow_mut();
        let left = kept.rows.split_off(&(to.next(), 0));
        let gone = std::mem::replace(&mut kept.rows, left);
        kept.bytes -= gone.values().map(|lines| bytes_of(lines)).sum::<usize>();
    }
}

/// What is sent of a line, and what of it does not fit.
pub(super) type Sorted<'a> = (Option<&'a [u8]>, Option<(&'a [u8], Unfit)>);

/// Rows of one record of which lines are still to come.
#[derive(Debug, Default)]
pub(super) struct OpenRows(HashMap<u64, Vec<RowLine>>);

impl OpenRows {
    /// A line is written. `cell`: its place; whole rows are kept in `rows`.
    pub(super) fn take<'a>(
        &mut self,
        written: Written<'a>,
        cell: u64,
        (lsn, line): (Lsn, u32),
        rows: &Rows,
    ) -> Sorted<'a> {
        match written {
            Written::Line(text, unfit) => (Some(text), unfit.map(|unfit| (text, unfit))),
            Written::Unfit(text, unfit) => (None, Some((text, unfit))),
            Written::Nothing => (None, None),
            Written::Row(text, own) => {
                let mut all = self.0.remove(&cell).unwrap_or_default();
                all.push((line, own));
                rows.keep(lsn, all);
                (Some(text), None)
            }
            Written::Earlier(text) => {
                if !text.is_empty() {
                    self.0.entry(cell).or_default().push((line, text.to_vec()));
                }
                (None, None)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_kept_until_their_floor_and_never_more_than_fit() {
        let rows = Rows::default();
        let line = |number, bytes| (number, vec![b'x'; bytes]);
        rows.keep(Lsn(1), vec![line(0, 1), line(3, 2)]);
        rows.keep(Lsn(1), vec![line(0, 1), line(3, 2)]);
        rows.keep(Lsn(2), vec![line(0, ROWS_BYTES_MAX), line(1, 1)]);
        assert_eq!(rows.of(Lsn(1), 3), Some(vec![line(0, 1), line(3, 2)]));
        assert_eq!((rows.of(Lsn(1), 0), rows.of(Lsn(2), 1)), (None, None));
        rows.forget(Lsn(0));
        assert!(rows.of(Lsn(1), 3).is_some());
        rows.forget(Lsn(1));
        assert!(rows.of(Lsn(1), 3).is_none() && rows.0.borrow().bytes == 0);
    }
}
