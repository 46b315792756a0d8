//! Finds the bytes that give a line its shape, 64 bytes at a time.
//!
//! A [`Scanner`] turns a block into a bit mask; a [`Cursor`] walks the set bits in order. The parser never looks for
//! bytes itself, so that a faster scanner speeds up everything and changes nothing.

#[cfg(target_arch = "x86_64")]
mod avx2;
mod swar;

use std::marker::PhantomData;
use std::sync::OnceLock;

pub use swar::Swar;

/// Bytes that one mask describes.
pub const BLOCK_BYTES: usize = 64;

/// Finds structural bytes: line feed, space, comma, equals, double quote, backslash.
pub trait Scanner {
    /// Bit `i` is set exactly when `block[i]` is structural.
    fn structural(block: &[u8; BLOCK_BYTES]) -> u64;
}

/// Something that is done with a scanner, so that it can be compiled once for each kind of processor.
pub(super) trait Work {
    type Out;
    /// Must be `#[inline(always)]`, and so must what it calls in its inner loop: only then is it compiled anew for the
    /// processor's own instructions.
    fn run<S: Scanner>(self) -> Self::Out;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Swar,
    #[cfg(target_arch = "x86_64")]
    Avx2,
}

/// The best scanner of this processor; asked once.
fn best() -> Level {
    static BEST: OnceLock<Level> = OnceLock::new();
    *BEST.get_or_init(|| {
        #[cfg(target_arch = "x86_64")]
        if avx2::available() {
            return Level::Avx2;
        }
        Level::Swar
    })
}

/// Does `work` with the best scanner that this processor has.
#[inline]
pub(super) fn with_best<W: Work>(work: W) -> W::Out {
    match best() {
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => avx2::with_avx2(work),
        Level::Swar => work.run::<Swar>(),
    }
}

/// Walks the structural bytes of a body from left to right.
#[derive(Clone, Debug)]
pub(super) struct Cursor<'a, S> {
    body: &'a [u8],
    /// Start of the block that `mask` describes; a multiple of the block size.
    base: usize,
    /// Structural bytes of that block which were not handed out yet.
    mask: u64,
    scanner: PhantomData<S>,
}

impl<'a, S: Scanner> Cursor<'a, S> {
    /// A cursor whose first hit is the first structural byte at or after `from`.
    pub(super) fn new(body: &'a [u8], from: usize) -> Self {
        let mut cursor = Self { body, base: 0, mask: 0, scanner: PhantomData };
        cursor.seek(from);
        cursor
    }

    /// Goes on with the first structural byte at or after `from`.
    pub(super) fn seek(&mut self, from: usize) {
        self.base = from - from % BLOCK_BYTES;
        self.mask = self.load() & (u64::MAX << (from % BLOCK_BYTES));
    }

    /// Position and value of the next structural byte. After the last one: the body's length and a line feed, since
    /// the end of a body ends its last line.
    #[inline(always)]
    pub(super) fn next(&mut self) -> (usize, u8) {
        while self.mask == 0 {
            if self.base + BLOCK_BYTES >= self.body.len() {
                return (self.body.len(), b'\n');
            }
            self.base += BLOCK_BYTES;
            self.mask = self.load();
        }
        let at = self.base + self.mask.trailing_zeros() as usize;
        self.mask &= self.mask - 1;
        (at, self.body[at])
    }

    #[inline(always)]
    fn load(&self) -> u64 {
        let rest = self.body.get(self.base..).unwrap_or_default();
        match rest.first_chunk() {
            Some(block) => S::structural(block),
            None => S::structural(&padded(rest)),
        }
    }
}

/// The last, short block. The padding is not structural.
#[cold]
fn padded(rest: &[u8]) -> [u8; BLOCK_BYTES] {
    let mut block = [0; BLOCK_BYTES];
    for (to, from) in block.iter_mut().zip(rest) {
        *to = *from;
    }
    block
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hits<S: Scanner>(body: &[u8], from: usize) -> Vec<usize> {
        let mut cursor = Cursor::<S>::new(body, from);
        std::iter::from_fn(|| Some(cursor.next().0).filter(|at| *at < body.len())).collect()
    }

    #[test]
    fn every_byte_value_is_classified() {
        let all: Vec<u8> = (0..=255).collect();
        let expected: Vec<usize> = [b'\n', b' ', b'"', b',', b'=', b'\\'].iter().map(|b| *b as usize).collect();
        assert_eq!(hits::<Swar>(&all, 0), expected);
    }

    proptest! {
        #[test]
        fn the_cursor_finds_what_a_plain_search_finds(
            body in proptest::collection::vec(prop_oneof![Just(b' '), Just(b'='), Just(b'"'), any::<u8>()], 0..300),
            from in 0usize..320,
        ) {
            let expected: Vec<usize> =
                (from..body.len()).filter(|at| b"\n \",=\\".contains(&body[*at])).collect();
            prop_assert_eq!(hits::<Swar>(&body, from), expected);
        }
    }
}
