//! Bytes that come in pieces, walked through record by record.
//!
//! Promise: a record that is handed out is whole; what was handed out is forgotten with the next bytes that come. A byte order mark at the
//! beginning is passed over, and places count it.

use super::Position;

/// The byte order mark of UTF-8, which some editors put before a text.
pub(super) const MARK: &[u8] = b"\xef\xbb\xbf";

/// The bytes that are not done with, and where the walk stands in them.
#[derive(Debug)]
pub(super) struct Walk {
    buffer: Vec<u8>,
    /// Where the record that is looked at begins in the buffer.
    start: usize,
    /// How far it was looked at.
    pub(super) seen: usize,
    /// Where the buffer begins in the file.
    offset: u64,
    /// The physical line of `start`.
    line: u64,
    /// No more bytes come.
    pub(super) ended: bool,
    /// Bytes that may be the beginning of the mark; they come into the buffer when that is known.
    held: Vec<u8>,
    mark: Mark,
}

/// Whether the file begins with one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    Unknown,
    Absent,
    Present,
}

impl Walk {
    pub(super) fn new() -> Self {
        Self {
            buffer: Vec::new(),
            start: 0,
            seen: 0,
            offset: 0,
            line: 1,
            ended: false,
            held: Vec::new(),
            mark: Mark::Unknown,
        }
    }

    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.start);
        self.offset += self.start as u64;
        self.seen -= self.start;
        self.start = 0;
        if self.mark == Mark::Unknown {
            self.begin(bytes);
        } else {
            self.buffer.extend_from_slice(bytes);
        }
    }

    fn begin(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
        if self.held.len() < MARK.len() && MARK.starts_with(&self.held) {
            return;
        }
        let held = std::mem::take(&mut self.held);
        match held.strip_prefix(MARK) {
            Some(text) => {
                (self.mark, self.offset) = (Mark::Present, MARK.len() as u64);
                self.buffer.extend_from_slice(text);
            }
            None => {
                self.mark = Mark::Absent;
                self.buffer.extend_from_slice(&held);
            }
        }
    }

    /// No more bytes come.
    pub(super) fn end(&mut self) {
        self.buffer.append(&mut self.held);
        self.ended = true;
    }

    /// The file begins with a byte order mark.
    pub(super) fn is_marked(&self) -> bool {
        self.mark == Mark::Present
    }

    /// The record so far, and what follows it in memory.
    pub(super) fn rest(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    /// So much of the record was looked at.
    pub(super) fn length(&self) -> usize {
        self.seen - self.start
    }

    /// Not looked at yet.
    pub(super) fn unseen(&self) -> &[u8] {
        &self.buffer[self.seen..]
    }

    /// Where the record begins.
    pub(super) fn at(&self) -> Position {
        Position { line: self.line, byte: self.offset + self.start as u64 }
    }

    /// Where a byte of the record stands.
    pub(super) fn place(&self, within: usize) -> Position {
        let rest = self.rest();
        let within = within.min(rest.len());
        let Position { line, byte } = self.at();
        let before = memchr::memchr_iter(b'\n', &rest[..within]).count() as u64;
        Position { line: line + before, byte: byte + within as u64 }
    }

    /// Goes on behind so many bytes of the record.
    pub(super) fn pass(&mut self, bytes: usize) {
        let end = self.start + bytes;
        self.line += memchr::memchr_iter(b'\n', &self.buffer[self.start..end]).count() as u64;
        (self.start, self.seen) = (end, end);
    }
}
