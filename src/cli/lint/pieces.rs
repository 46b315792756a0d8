//! A file in pieces of whole lines.
//!
//! Promise: the pieces join up to the file, each begins where a line begins, and reading them one by one is reading the file.
//! Of the file there is in memory what a piece and the longest line so far take, and a line that does not end is given up at
//! [`LONGEST_LINE`].

use std::io::Read;

use super::super::exit::{Exit, Failure};
use crate::line::Reading;

/// What a line may have; the servers take no such request.
pub(super) const LONGEST_LINE: usize = 32 << 20;

/// Bytes of a piece where lines are short. What a piece decodes to is a multiple of it.
pub(super) const PIECE: usize = 128 << 10;

/// A stretch of whole lines.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece<'a> {
    pub(super) bytes: &'a [u8],
    /// Where it begins in the file.
    pub(super) offset: u64,
    /// The physical line that it begins with, from 1.
    pub(super) line: u64,
}

/// Cuts what is read.
pub(super) struct Pieces<R> {
    input: R,
    /// Who must agree on where a line ends.
    readers: (Reading, Option<Reading>),
    /// Bytes of a piece, and of the longest line.
    size: usize,
    longest: usize,
    buffer: Vec<u8>,
    /// So much of the buffer was handed out.
    used: usize,
    ended: bool,
    offset: u64,
    line: u64,
}

impl<R: Read> Pieces<R> {
    pub(super) fn new(input: R, readers: (Reading, Option<Reading>), (size, longest): (usize, usize)) -> Self {
        let buffer = Vec::with_capacity(size);
        Self { input, readers, size, longest, buffer, used: 0, ended: false, offset: 0, line: 1 }
    }

    /// The next piece; `None` at the end.
    pub(super) fn next(&mut self, name: &str) -> Result<Option<Piece<'_>>, Failure> {
        self.forget_used();
        let mut window = self.size;
        let whole = loop {
            self.fill(window).map_err(|error| unreadable(name, &error))?;
            let have = self.buffer.len();
            if self.ended && have <= self.size {
                break have;
            }
            let view = window.min(have);
            match self.whole_lines(view) {
                // What ends the file ends its last line.
                0 if self.ended && view == have => break have,
                0 if window >= self.longest => return Err(self.endless(name)),
                0 => window = (window * 2).min(self.longest),
                whole => break self.shortened(view, whole),
            }
        };
        self.used = whole;
        let bytes = &self.buffer[..whole];
        Ok((whole > 0).then_some(Piece { bytes, offset: self.offset, line: self.line }))
    }

    /// After a long line: without the many short ones that may follow it.
    fn shortened(&self, view: usize, mut whole: usize) -> usize {
        let (mut none, mut some) = (if view > self.size { view / 2 } else { view }, view);
        while some - none > self.size {
            let middle = none + (some - none) / 2;
            match self.whole_lines(middle) {
                0 => none = middle,
                fewer => (some, whole) = (middle, fewer),
            }
        }
        whole
    }

    fn whole_lines(&self, view: usize) -> usize {
        let (first, second) = self.readers;
        first.whole_lines_of_both(second, &self.buffer[..view])
    }

    fn forget_used(&mut self) {
        let used = std::mem::take(&mut self.used);
        self.line += memchr::memchr_iter(b'\n', &self.buffer[..used]).count() as u64;
        self.offset += used as u64;
        self.buffer.drain(..used);
    }

    /// Reads until so many bytes are there, or no more come.
    fn fill(&mut self, window: usize) -> std::io::Result<()> {
        let missing = window.saturating_sub(self.buffer.len());
        if missing > 0 && !self.ended {
            let read = self.input.by_ref().take(missing as u64).read_to_end(&mut self.buffer)?;
            self.ended = read < missing;
        }
        Ok(())
    }

    fn endless(&self, name: &str) -> Failure {
        let what = format!("{name}:{}: no line end within {} MiB", self.line, self.longest >> 20);
        Failure::new(Exit::Failed, what)
            .hint("look for a quote that opens in this line and is not closed, or a file that is no text")
    }
}

pub(super) fn unreadable(name: &str, error: &std::io::Error) -> Failure {
    Failure::new(Exit::Failed, format!("cannot read {name}: {error}"))
        .hint("name a file that can be read, or - for stdin")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(text: &[u8], size: usize, longest: usize) -> Result<Vec<(Vec<u8>, u64, u64)>, Failure> {
        let mut pieces = Pieces::new(text, (Reading::Influx1, None), (size, longest));
        let mut all = Vec::new();
        while let Some(piece) = pieces.next("x")? {
            all.push((piece.bytes.to_vec(), piece.offset, piece.line));
        }
        Ok(all)
    }

    #[test]
    fn no_piece_ends_in_a_line_of_either_server() {
        // A CR ends a line at one server alone; a line feed can be the last byte of a binary value, or stand in a text.
        let lines: [&[u8]; 6] = [
            b"m v=1,a=v b=1 1\n",
            b"m v=1\r,a=v b=1u 2\n",
            b"t v==\r\nseconds\n\n",
            b"m s=\"a\nb\" 3\n",
            b"m v=1 4\r\n",
            b"m s=\"a\\\nb\" 5\n",
        ];
        let text: Vec<u8> = (0..60).flat_map(|n| lines[n * 7 % 11 % lines.len()]).copied().collect();
        let shown = |reading: Reading, text: &[u8], offset: usize| -> Vec<String> {
            let records = reading.records(text, crate::line::Precision::Nanosecond);
            let at = |at: usize| at + offset;
            let show = |record: crate::line::record::Record<'_>| match record.outcome {
                crate::line::record::Outcome::Fault(fault) => format!("{} {}", at(fault.at), fault.code),
                outcome => format!("{} {outcome:?}", at(record.span.start)),
            };
            records.into_iter().map(show).collect()
        };
        for first in Reading::ALL {
            for second in Reading::ALL {
                let mut pieces = Pieces::new(&text[..], (*first, Some(*second)), (40, 1 << 20));
                let (mut by_first, mut by_second, mut count) = (Vec::new(), Vec::new(), 0);
                while let Some(piece) = pieces.next("x").unwrap() {
                    by_first.extend(shown(*first, piece.bytes, piece.offset as usize));
                    by_second.extend(shown(*second, piece.bytes, piece.offset as usize));
                    count += 1;
                }
                assert_eq!(by_first, shown(*first, &text, 0), "{first:?} before {second:?}");
                assert_eq!(by_second, shown(*second, &text, 0), "{second:?} after {first:?}");
                assert!(count > 10, "{count} pieces, {first:?} and {second:?}");
            }
        }
    }

    #[test]
    fn pieces_join_up_and_begin_with_a_line() {
        let text = b"m v=1 1\nm s=\"a\nb\" 2\n\n# c\nm v=3 3";
        for size in 1..text.len() + 3 {
            let all = pieces(text, size, 1 << 10).unwrap();
            let joined: Vec<u8> = all.iter().flat_map(|(bytes, ..)| bytes.clone()).collect();
            assert_eq!(joined, text, "{size}");
            let mut offset = 0;
            for (bytes, at, line) in &all {
                assert_eq!(*at, offset as u64);
                assert_eq!(*line, 1 + text[..offset].iter().filter(|b| **b == b'\n').count() as u64);
                offset += bytes.len();
            }
        }
        assert_eq!(pieces(b"", 4, 8).unwrap(), []);
    }

    #[test]
    fn what_follows_a_long_line_comes_in_small_pieces() {
        let text = [&b"m s=\""[..], &[b'x'; 1_100], b"\"\n", &b"\n".repeat(5_000)].concat();
        let all = pieces(&text, 16, 1 << 20).unwrap();
        assert_eq!(all.iter().map(|(bytes, ..)| bytes.len()).sum::<usize>(), text.len());
        let longest = all.iter().map(|(bytes, ..)| bytes.len()).max();
        assert!(longest < Some(1_200), "{longest:?}");
    }

    #[test]
    fn a_line_without_end_is_given_up() {
        let text = [&b"m v=1\n"[..], b"m s=\"", &[b'x'; 1 << 20], b"\n"].concat();
        let failure = pieces(&text, 16, 1 << 19).unwrap_err();
        assert_eq!(failure.exit, Exit::Failed);
        assert_eq!(failure.what, "x:2: no line end within 0 MiB");
        assert_eq!(pieces(&text, 16, 1 << 21).unwrap().len(), 2, "what ends the file ends the line");
    }
}
