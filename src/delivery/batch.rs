//! Lines of one target, gathered in log order, as one request body.

use std::ops::Range;
use std::time::Duration;

use super::target::TargetId;
use crate::base::{Lsn, RouteId};

/// Where one line of a batch comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LineAt {
    pub(super) lsn: Lsn,
    /// Number among the record's lines that parse.
    pub(super) line: u32,
    pub(super) route: RouteId,
    /// Hash of its place at the destination: target, series and time.
    pub(super) cell: u64,
}

/// A body in the destination's dialect: canonical escaping, explicit nanoseconds.
#[derive(Clone, Debug)]
pub(super) struct Batch {
    pub(super) target: TargetId,
    text: Vec<u8>,
    lines: Vec<(LineAt, u32)>,
    /// When its first line came, by the monotonic clock.
    pub(super) born: Duration,
}

impl Batch {
    pub(super) fn new(target: TargetId, born: Duration) -> Self {
        Self { target, text: Vec::new(), lines: Vec::new(), born }
    }

    /// Adds a line that ends in a line feed.
    pub(super) fn push(&mut self, at: LineAt, text: &[u8]) {
        debug_assert!(text.ends_with(b"\n"));
        self.text.extend_from_slice(text);
        let end = u32::try_from(self.text.len()).expect("batches are bounded far below 4 GiB");
        self.lines.push((at, end));
    }

    /// Adds the lines of another batch of the target.
    pub(super) fn append(&mut self, other: &Self) {
        for index in 0..other.len() {
            let (at, text) = other.line(index);
            self.push(at, text);
        }
    }

    /// The hashes of the lines' places.
    pub(super) fn cells(&self, lines: &Range<usize>) -> impl ExactSizeIterator<Item = u64> {
        self.lines[lines.clone()].iter().map(|(at, _)| at.cell)
    }

    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.text.len()
    }

    /// First record in it.
    pub(super) fn first(&self) -> Option<Lsn> {
        self.lines.first().map(|(at, _)| at.lsn)
    }

    pub(super) fn line(&self, index: usize) -> (LineAt, &[u8]) {
        (self.lines[index].0, self.part(&(index..index + 1)))
    }

    /// The text of some of its lines.
    pub(super) fn part(&self, lines: &Range<usize>) -> &[u8] {
        let end_of = |index: usize| self.lines[index].1 as usize;
        let from = if lines.start == 0 { 0 } else { end_of(lines.start - 1) };
        let to = if lines.end == 0 { 0 } else { end_of(lines.end - 1) };
        &self.text[from..to]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_whole_lines() {
        let mut batch = Batch::new(TargetId(0), Duration::ZERO);
        for (at, text) in ["a v=1 1\n", "bb v=1 1\n", "c v=1 1\n"].iter().enumerate() {
            let at = LineAt { lsn: Lsn(1 + at as u64 / 2), line: at as u32, route: RouteId(0), cell: 0 };
            batch.push(at, text.as_bytes());
        }
        assert_eq!(batch.part(&(0..3)), b"a v=1 1\nbb v=1 1\nc v=1 1\n");
        assert_eq!(batch.part(&(1..2)), b"bb v=1 1\n");
        assert_eq!(batch.line(2).1, b"c v=1 1\n");
        assert_eq!((batch.first(), batch.line(2).0.lsn), (Some(Lsn(1)), Lsn(2)));
    }
}
