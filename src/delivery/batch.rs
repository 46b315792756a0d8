//! Lines of one target, gathered in log order, as one request body.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;

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
    text: Text,
    lines: Vec<LineEnd>,
    runs: Vec<Run>,
    /// When its first line came, by the monotonic clock.
    pub(super) born: Duration,
}

/// While it grows it is ours alone; once it is sent, requests share it.
#[derive(Clone, Debug)]
enum Text {
    Growing(Vec<u8>),
    Shared(Bytes),
}

/// What differs from line to line. Small, because there may be millions.
#[derive(Clone, Copy, Debug)]
struct LineEnd {
    end: u32,
    line: u32,
    cell: u64,
}

/// Neighbouring lines of one record.
#[derive(Clone, Copy, Debug)]
struct Run {
    /// Index of the first of them.
    first: u32,
    lsn: Lsn,
    route: RouteId,
}

/// Bytes that a line takes beside its text.
const LINE_BYTES: usize = size_of::<LineEnd>();

/// What a line of this text takes of what may wait.
pub(super) fn held_bytes(text: &[u8]) -> usize {
    text.len() + LINE_BYTES
}

impl Batch {
    pub(super) fn new(target: TargetId, born: Duration) -> Self {
        Self { target, text: Text::Growing(Vec::new()), lines: Vec::new(), runs: Vec::new(), born }
    }

    /// Adds a line that ends in a line feed.
    pub(super) fn push(&mut self, at: LineAt, text: &[u8]) {
        debug_assert!(text.ends_with(b"\n"));
        let all = self.growing();
        all.extend_from_slice(text);
        let end = u32::try_from(all.len()).expect("batches are bounded far below 4 GiB");
        if self.runs.last().is_none_or(|run| run.lsn != at.lsn || run.route != at.route) {
            let first = u32::try_from(self.lines.len()).expect("a line has a byte at least");
            self.runs.push(Run { first, lsn: at.lsn, route: at.route });
        }
        self.lines.push(LineEnd { end, line: at.line, cell: at.cell });
    }

    fn growing(&mut self) -> &mut Vec<u8> {
        if let Text::Shared(bytes) = &mut self.text {
            self.text = Text::Growing(std::mem::take(bytes).into());
        }
        match &mut self.text {
            Text::Growing(text) => text,
            Text::Shared(_) => unreachable!("it was just made to grow"),
        }
    }

    /// Ends its growth, so that parts of it can be sent without being copied.
    pub(super) fn share(&mut self) {
        if let Text::Growing(text) = &mut self.text {
            self.text = Text::Shared(Bytes::from(std::mem::take(text)));
        }
    }

    /// Adds the lines of another batch of the target.
    pub(super) fn append(&mut self, other: &Self) {
        for index in 0..other.len() {
            let (at, text) = other.line(index);
            self.push(at, text);
        }
    }

    /// The cell of each line, and which line it is.
    pub(super) fn places(&self, lines: &Range<usize>) -> impl ExactSizeIterator<Item = (u64, (Lsn, u32))> + Clone {
        lines.clone().map(|index| self.line(index).0).map(|at| (at.cell, (at.lsn, at.line)))
    }

    /// The hashes of the lines' places.
    pub(super) fn cells(&self, lines: &Range<usize>) -> impl ExactSizeIterator<Item = u64> {
        self.lines[lines.clone()].iter().map(|line| line.cell)
    }

    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }

    /// Bytes of its text.
    pub(super) fn bytes(&self) -> usize {
        self.text().len()
    }

    /// What it takes of what may wait.
    pub(super) fn held_bytes(&self) -> usize {
        self.bytes() + self.len() * LINE_BYTES
    }

    /// What a part of it takes of what may wait.
    pub(super) fn held_bytes_of(&self, lines: &Range<usize>) -> usize {
        self.part_bytes(lines) + lines.len() * LINE_BYTES
    }

    /// Index behind its last line of a record older than this.
    pub(super) fn begin_of(&self, lsn: Lsn) -> usize {
        let begin = self.runs.iter().rposition(|run| run.lsn < lsn).map_or(0, |older| older + 1);
        self.runs.get(begin).map_or(self.lines.len(), |run| run.first as usize)
    }

    /// Without the lines from this index on.
    pub(super) fn up_to(&self, end: usize) -> Self {
        let mut batch = Self::new(self.target, self.born);
        for index in 0..end {
            let (at, text) = self.line(index);
            batch.push(at, text);
        }
        batch
    }

    /// First record in it.
    pub(super) fn first(&self) -> Option<Lsn> {
        self.runs.first().map(|run| run.lsn)
    }

    /// Last record in it.
    pub(super) fn last(&self) -> Option<Lsn> {
        self.runs.last().map(|run| run.lsn)
    }

    pub(super) fn line(&self, index: usize) -> (LineAt, &[u8]) {
        let LineEnd { line, cell, .. } = self.lines[index];
        let run = self.runs.partition_point(|run| run.first as usize <= index);
        let Run { lsn, route, .. } = self.runs[run - 1];
        (LineAt { lsn, line, route, cell }, &self.text()[self.span(&(index..index + 1))])
    }

    /// How many of the first of these lines take no more than `bytes_max`.
    pub(super) fn fitting(&self, lines: &Range<usize>, bytes_max: usize) -> usize {
        let from = self.span(&(lines.start..lines.start)).start;
        self.lines[lines.clone()].partition_point(|line| line.end as usize - from <= bytes_max)
    }

    /// The text of some of its lines; not copied once it is shared.
    pub(super) fn part(&self, lines: &Range<usize>) -> Bytes {
        match &self.text {
            Text::Growing(text) => Bytes::copy_from_slice(&text[self.span(lines)]),
            Text::Shared(text) => text.slice(self.span(lines)),
        }
    }

    /// Bytes of the text of some of its lines.
    pub(super) fn part_bytes(&self, lines: &Range<usize>) -> usize {
        self.span(lines).len()
    }

    fn text(&self) -> &[u8] {
        match &self.text {
            Text::Growing(text) => text,
            Text::Shared(text) => text,
        }
    }

    fn span(&self, lines: &Range<usize>) -> Range<usize> {
        let end_of = |index: usize| self.lines[index].end as usize;
        let from = if lines.start == 0 { 0 } else { end_of(lines.start - 1) };
        let to = if lines.end == 0 { 0 } else { end_of(lines.end - 1) };
        from..to
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
        assert_eq!(&batch.part(&(0..3))[..], b"a v=1 1\nbb v=1 1\nc v=1 1\n");
        assert_eq!(&batch.part(&(1..2))[..], b"bb v=1 1\n");
        batch.share();
        assert_eq!(&batch.part(&(1..3))[..], b"bb v=1 1\nc v=1 1\n");
        assert_eq!(batch.line(2).1, b"c v=1 1\n");
        assert_eq!((batch.first(), batch.line(2).0.lsn), (Some(Lsn(1)), Lsn(2)));
    }
}
