//! Bytes that come in pieces, walked through record by record.
//!
//! Promise: a record that is handed out is whole; what was handed out is forgotten with the next bytes that come.

use super::Position;

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
}

impl Walk {
    pub(super) fn new() -> Self {
        Self { buffer: Vec::new(), start: 0, seen: 0, offset: 0, line: 1, ended: false }
    }

    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.start);
        self.offset += self.start as u64;
        self.seen -= self.start;
        self.start = 0;
        self.buffer.extend_from_slice(bytes);
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
