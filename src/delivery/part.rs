//! A part of a batch that goes as one request, and how it falls into smaller ones.

use std::collections::{HashSet, VecDeque};
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;

use super::batch::Batch;
use crate::base::Lsn;

/// Some neighbouring lines of a batch, and what sending them has met so far.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) batch: Rc<Batch>,
    pub(super) lines: Range<usize>,
    pub(super) met: Met,
}

/// What one part has met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Met {
    /// It was sent once more because the answer said too little.
    pub(super) again: bool,
    /// How often the connection broke under it although the destination had answered just before.
    pub(super) breaks: u32,
    /// How often the destination was gone afterwards, with nothing else under way.
    pub(super) deaths: u32,
    /// How often the destination failed without a reason that we know.
    pub(super) errors: u32,
    /// A request with it may have taken effect although it goes again.
    pub(super) unsure: bool,
    /// When something of this happened for the first time.
    pub(super) failing_since: Option<Duration>,
}

impl Part {
    /// A whole batch.
    pub(super) fn whole(batch: &Rc<Batch>) -> Self {
        Self { lines: 0..batch.len(), batch: Rc::clone(batch), met: Met::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether it may be what brings the destination down: then it goes alone.
    pub(super) fn is_suspected(&self) -> bool {
        self.met.breaks > 0
    }

    /// Whether both write to one place: then their order counts.
    pub(super) fn shares_cells(&self, other: &Self) -> bool {
        let own: HashSet<u64> = self.batch.cells(&self.lines).collect();
        other.batch.cells(&other.lines).any(|cell| own.contains(&cell))
    }

    /// The cell of each line, and which line it is.
    pub(super) fn places(&self) -> impl Iterator<Item = (u64, (Lsn, u32))> {
        self.batch.places(&self.lines)
    }

    pub(super) fn body(&self) -> Bytes {
        self.batch.part(&self.lines)
    }

    /// Of its text.
    pub(super) fn bytes(&self) -> usize {
        self.batch.part_bytes(&self.lines)
    }

    /// Each line with its line feed.
    pub(super) fn texts(&self) -> impl Iterator<Item = &[u8]> {
        self.lines.clone().map(|index| self.batch.line(index).1)
    }

    /// Its first half; the second goes back to the front of `rest`. Both have still met nothing but a break.
    pub(super) fn halve(self, rest: &mut VecDeque<Self>) {
        let middle = self.lines.start + self.len() / 2;
        let met = Met { breaks: self.met.breaks.min(1), unsure: self.met.unsure, ..Met::default() };
        for lines in [middle..self.lines.end, self.lines.start..middle] {
            if !lines.is_empty() {
                rest.push_front(Self { batch: Rc::clone(&self.batch), lines, met });
            }
        }
    }

    /// As many of its first lines as fit into `bytes_max`, at least one; what is left goes to the front of `rest`.
    pub(super) fn cut(mut self, bytes_max: usize, rest: &mut VecDeque<Self>) -> Self {
        let fits = self.batch.fitting(&self.lines, bytes_max).max(1);
        if fits < self.len() {
            let middle = self.lines.start + fits;
            let lines = middle..self.lines.end;
            rest.push_front(Self {
                batch: Rc::clone(&self.batch),
                lines,
                met: Met { unsure: self.met.unsure, ..Met::default() },
            });
            self.lines.end = middle;
        }
        self
    }

    /// Without these lines of it, counted from its first and in order; `None` when nothing is left.
    pub(super) fn without(&self, gone: &[usize]) -> Option<Self> {
        let mut batch = Batch::new(self.batch.target, self.batch.born);
        let mut gone = gone.iter().copied().peekable();
        for (number, index) in self.lines.clone().enumerate() {
            if gone.next_if_eq(&number).is_none() {
                let (at, text) = self.batch.line(index);
                batch.push(at, text);
            }
        }
        batch.share();
        let met = Met { unsure: self.met.unsure, ..Met::default() };
        (batch.len() > 0).then(|| Self { met, ..Self::whole(&Rc::new(batch)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::RouteId;
    use crate::delivery::batch::LineAt;
    use crate::delivery::target::TargetId;

    fn part(lines: u32) -> Part {
        let mut batch = Batch::new(TargetId(0), Duration::ZERO);
        for line in 0..lines {
            let at = LineAt { lsn: Lsn(1), line, route: RouteId(0), cell: 0 };
            batch.push(at, format!("m v={line} 1\n").as_bytes());
        }
        Part::whole(&Rc::new(batch))
    }

    fn ranges(parts: &VecDeque<Part>) -> Vec<Range<usize>> {
        parts.iter().map(|part| part.lines.clone()).collect()
    }

    #[test]
    fn halves_come_in_order_and_a_line_stays() {
        let mut rest = VecDeque::new();
        part(5).halve(&mut rest);
        assert_eq!(ranges(&rest), [0..2, 2..5]);
        rest.clear();
        part(1).halve(&mut rest);
        assert_eq!(rest.len(), 1);
    }

    #[test]
    fn a_cut_part_fits_and_loses_nothing() {
        let mut rest = VecDeque::new();
        let first = part(5).cut(20, &mut rest);
        assert_eq!((&first.body()[..], ranges(&rest)), (&b"m v=0 1\nm v=1 1\n"[..], vec![Range { start: 2, end: 5 }]));
        let first = rest.pop_front().unwrap().cut(1, &mut rest);
        assert_eq!((first.lines, ranges(&rest)), (2..3, vec![Range { start: 3, end: 5 }]));
        assert_eq!(part(5).cut(1000, &mut VecDeque::new()).len(), 5);
    }

    #[test]
    fn refused_lines_are_taken_out() {
        let left = part(4).without(&[0, 2]).unwrap();
        assert_eq!(&left.body()[..], b"m v=1 1\nm v=3 1\n");
        assert_eq!(left.batch.line(1).0.line, 3);
        assert!(part(1).without(&[0]).is_none());
    }
}
