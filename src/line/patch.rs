//! A body in which some stretches are replaced.
//!
//! Promise: a body without changes is handed back as it is, uncopied; otherwise what stays is copied stretch by stretch, not
//! line by line.

use std::borrow::Cow;
use std::ops::Range;

/// A body on its way to another one, from left to right.
pub(super) struct Patch<'a> {
    body: &'a [u8],
    /// Up to here the body is in `out`, or left out.
    done: usize,
    changed: bool,
    out: Vec<u8>,
}

impl<'a> Patch<'a> {
    pub(super) fn new(body: &'a [u8]) -> Self {
        Self { body, done: 0, changed: false, out: Vec::new() }
    }

    /// Leaves out a range behind all earlier ones; what is appended to the result stands in its place.
    pub(super) fn replace(&mut self, range: Range<usize>) -> &mut Vec<u8> {
        if !self.changed {
            self.changed = true;
            self.out.reserve(self.body.len() + self.body.len() / 16);
        }
        self.out.extend_from_slice(&self.body[self.done..range.start]);
        self.done = range.end;
        &mut self.out
    }

    /// Leaves out a line with the line feed that ends it.
    pub(super) fn leave_out(&mut self, line: Range<usize>) {
        self.replace(line.start..(line.end + 1).min(self.body.len()));
    }

    pub(super) fn finish(mut self) -> Cow<'a, [u8]> {
        if !self.changed {
            return Cow::Borrowed(self.body);
        }
        self.out.extend_from_slice(&self.body[self.done..]);
        Cow::Owned(self.out)
    }
}
