//! The structural bytes of a stretch of the body, as a list.
//!
//! Promise: the list holds each of them once, in order, but those that backslashes make data (see `shields`); behind the body's last byte stands a line feed, since the end of
//! a body ends its last line. The room for it is taken from the thread and given back: no allocation but a
//! thread's first, and one more for a body that is read while another is.

use std::cell::Cell;
use std::ops::{Deref, DerefMut};

use super::numbers::Numbers;
use super::scan::{self, BLOCK_BYTES, Block, Level, Scanner, Slots, Work};
use super::shields::Shields;

/// Blocks of one window. Lines that do not fit into it are read by `careful`.
const BLOCKS: usize = 128;
/// Bytes of one window.
pub(super) const WINDOW_BYTES: usize = BLOCKS * BLOCK_BYTES;
/// What comes behind the last entry reads as this, which is no structural byte.
pub(super) const NOTHING: u8 = 0;
/// Entries that may be read behind the last one.
const BEHIND: usize = 2;

/// The structural bytes of a window.
struct Index {
    /// Where the window begins in the body.
    base: usize,
    len: usize,
    /// The window reaches the end of the body.
    complete: bool,
    /// Some backslash is not in the list.
    shields: bool,
    /// Offsets from the begin of the window.
    places: [u16; WINDOW_BYTES + BLOCK_BYTES],
    kinds: [u8; WINDOW_BYTES + BLOCK_BYTES],
    /// Where an ordinary number ends, by block.
    numbers: [u64; BLOCKS],
}

impl Index {
    const EMPTY: Self = Self {
        base: 0,
        len: 0,
        complete: false,
        shields: false,
        places: [0; WINDOW_BYTES + BLOCK_BYTES],
        kinds: [0; WINDOW_BYTES + BLOCK_BYTES],
        numbers: [0; BLOCKS],
    };

    /// Lists the window that begins with the block of `from`, which lies in the body or at its end.
    fn fill(&mut self, level: Level, numbers: Numbering, body: &[u8], from: usize) {
        let base = from - from % BLOCK_BYTES;
        match numbers {
            Numbering::Found => scan::with(level, Fill::<true> { index: self, body, base }),
            Numbering::Unknown => scan::with(level, Fill::<false> { index: self, body, base }),
        }
    }

    /// Offset in the window of an entry, and its byte. Behind the last entry: [`NOTHING`], for two entries.
    #[inline(always)]
    fn get(&self, entry: usize) -> (usize, u8) {
        (usize::from(self.places[entry]), self.kinds[entry])
    }

    /// Whether an ordinary number (see `numbers`) ends before the structural byte at this offset.
    #[inline(always)]
    fn is_behind_number(&self, place: usize) -> bool {
        self.numbers.get(place / BLOCK_BYTES).is_some_and(|ends| ends >> (place % BLOCK_BYTES) & 1 != 0)
    }

    /// Whether this byte is among the entries from one on.
    fn has_after(&self, entry: usize, byte: u8) -> bool {
        self.kinds[entry.min(self.len)..self.len].contains(&byte)
    }

    /// The first entry at or behind a place of the body, which lies in the window or behind it.
    fn entry_at(&self, at: usize) -> usize {
        self.places[..self.len].partition_point(|place| self.base + usize::from(*place) < at)
    }
}

/// Whether an index tells where ordinary numbers end, which takes half of the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Numbering {
    Found,
    /// None is found.
    Unknown,
}

struct Fill<'a, const NUMBERS: bool> {
    index: &'a mut Index,
    body: &'a [u8],
    base: usize,
}

impl<const NUMBERS: bool> Work for Fill<'_, NUMBERS> {
    type Out = ();

    #[inline(always)]
    fn run<S: Scanner>(self) {
        let Self { index, body, base } = self;
        let mut numbers = Numbers::default();
        let mut shields = Shields::new(body, base);
        index.shields = false;
        let mut len = 0;
        index.complete = false;
        for block in 0..BLOCKS {
            let at = block * BLOCK_BYTES;
            let rest = body.get(base + at..).unwrap_or_default();
            let padded;
            let bytes = match rest.first_chunk() {
                Some(bytes) => bytes,
                None => {
                    padded = ended(rest);
                    &padded
                }
            };
            let mut classes = S::classify(bytes);
            if classes.backslashes != 0 || shields.reach_on() {
                let breaks = S::breaks(bytes);
                let (structural, next) = (classes.structural, body.get(base + at + BLOCK_BYTES));
                let out = shields.take_out(structural, classes.backslashes, breaks, next, rest.len());
                index.shields |= out.backslashes != 0;
                classes.structural &= !(out.backslashes | out.data);
                classes.equals &= !out.data;
            }
            index.numbers[block] = if NUMBERS { numbers.ends(&classes) } else { 0 };
            let places = index.places[len..].first_chunk_mut();
            let kinds = index.kinds[len..].first_chunk_mut();
            let (Some(places), Some(kinds)) = (places, kinds) else {
                unreachable!("before the last block there are at most so many entries as bytes before it")
            };
            S::gather(bytes, classes.structural, at as u16, &mut Slots { places, kinds });
            len += classes.structural.count_ones() as usize;
            if rest.len() < BLOCK_BYTES {
                index.complete = true;
                break;
            }
        }
        index.base = base;
        index.len = len;
        for behind in 0..BEHIND {
            index.kinds[len + behind] = NOTHING;
        }
    }
}

/// The last, short block, with the line feed that ends the body. The rest of it is not structural.
#[cold]
fn ended(rest: &[u8]) -> Block {
    let mut block = [0; BLOCK_BYTES];
    block[..rest.len()].copy_from_slice(rest);
    block[rest.len()] = b'\n';
    block
}

thread_local! {
    /// Room that nobody uses now.
    static SPARE: Cell<Option<Box<Index>>> = const { Cell::new(None) };
}

/// An index of one's own, until it is dropped.
struct Lent(Option<Box<Index>>);

impl Lent {
    fn new() -> Self {
        let spare = SPARE.try_with(Cell::take).ok().flatten();
        Self(Some(spare.unwrap_or_else(|| Box::new(Index::EMPTY))))
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        // A thread that ends takes its own.
        let _ = SPARE.try_with(|spare| spare.set(self.0.take()));
    }
}

impl Deref for Lent {
    type Target = Index;

    #[inline(always)]
    fn deref(&self) -> &Index {
        self.0.as_ref().expect("it is taken out in drop alone")
    }
}

impl DerefMut for Lent {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut Index {
        self.0.as_mut().expect("it is taken out in drop alone")
    }
}

impl std::fmt::Debug for Lent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Index").field("base", &self.base).field("entries", &self.len).finish_non_exhaustive()
    }
}

/// Walks the entries of one window; whoever reads behind the last one gets [`NOTHING`]. Copied by value into the quick readers and
/// what they call, so that it stays in registers.
#[derive(Clone, Copy)]
pub(super) struct Entries<'i> {
    index: &'i Index,
    base: usize,
    /// The next entry.
    pub(super) next: usize,
}

impl Entries<'_> {
    /// Position in the body and value of the next structural byte.
    #[inline(always)]
    pub(super) fn next(&mut self) -> (usize, u8) {
        let (place, kind) = self.index.get(self.next);
        self.next += 1;
        (self.base + place, kind)
    }

    /// Positions of the next two, and their values.
    #[inline(always)]
    pub(super) fn next_two(&mut self) -> (usize, usize, [u8; 2]) {
        let from = self.next;
        self.next += 2;
        let (places, kinds) = (&self.index.places[from..from + 2], &self.index.kinds[from..from + 2]);
        (self.base + usize::from(places[0]), self.base + usize::from(places[1]), [kinds[0], kinds[1]])
    }

    /// The next one that is no equals sign: in a name that is data.
    #[inline(always)]
    pub(super) fn next_but_equals(&mut self) -> (usize, u8) {
        loop {
            let entry = self.next();
            if entry.1 != b'=' {
                return entry;
            }
        }
    }

    /// The one right behind a string whose first quote was the last; `None` where a backslash or the window's end comes before,
    /// or other bytes follow.
    #[inline]
    pub(super) fn behind_string(&mut self) -> Option<(usize, u8)> {
        let close = loop {
            match self.next() {
                (at, b'"') => break at,
                (_, b'\\' | NOTHING) => return None,
                _ => {}
            }
        };
        let (end, separator) = self.next();
        (end == close + 1).then_some((end, separator))
    }

    /// Position in the body of an entry.
    pub(super) fn place(&self, entry: usize) -> usize {
        self.base + self.index.get(entry).0
    }

    /// As [`Index::is_behind_number`], by the position in the body.
    #[inline(always)]
    pub(super) fn is_behind_number(&self, at: usize) -> bool {
        self.index.is_behind_number(at.wrapping_sub(self.base))
    }

    /// Whether bytes of this window are data because of a backslash that is not among the entries.
    #[inline(always)]
    pub(super) fn have_shields(&self) -> bool {
        self.index.shields
    }

    /// Whether nothing behind the last entry was read.
    #[inline(always)]
    pub(super) fn are_whole(&self) -> bool {
        self.next <= self.index.len
    }
}

/// Walks the structural bytes of a body from left to right.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    body: &'a [u8],
    level: Level,
    numbers: Numbering,
    index: Lent,
    /// The next entry.
    pub(super) next: usize,
}

impl<'a> Cursor<'a> {
    /// A cursor whose first hit is the first structural byte at or after `from`.
    pub(super) fn new(body: &'a [u8], level: Level, numbers: Numbering, from: usize) -> Self {
        let mut cursor = Self { body, level, numbers, index: Lent::new(), next: 0 };
        cursor.refill(from);
        cursor
    }

    /// What is walked.
    pub(super) fn body(&self) -> &'a [u8] {
        self.body
    }

    /// The entries of the window from the next one on.
    #[inline(always)]
    pub(super) fn entries(&self) -> Entries<'_> {
        Entries { index: &self.index, base: self.index.base, next: self.next }
    }

    /// Begins a window at the line that comes next, if this one ends before the line does and that one shows more of it.
    #[cold]
    pub(super) fn follows(&mut self, line_start: usize) -> bool {
        let begins_later = line_start - self.index.base >= BLOCK_BYTES;
        let goes_on = begins_later && !self.index.complete && !self.index.has_after(self.next, b'\n');
        if goes_on {
            self.refill(line_start);
        }
        goes_on
    }

    /// Begins a window at the block of a place.
    fn refill(&mut self, from: usize) {
        self.index.fill(self.level, self.numbers, self.body, from);
        self.next = self.index.entry_at(from);
    }

    /// Goes on with the first structural byte at or after `from`.
    pub(super) fn seek(&mut self, from: usize) {
        let window = self.index.base..self.index.base + WINDOW_BYTES;
        if window.contains(&from) {
            self.next = self.index.entry_at(from);
        } else {
            self.refill(from.min(self.body.len()));
        }
    }

    /// The next structural byte, by position and value, that is wanted, or the end: the body's length and a line feed.
    #[inline(always)]
    pub(super) fn find(&mut self, wanted: impl Fn(usize, u8) -> bool) -> (usize, u8) {
        loop {
            let (index, next) = (&*self.index, self.next);
            let (base, entries) = (index.base, next.min(index.len)..index.len);
            let mut found = index.places[entries.clone()].iter().zip(&index.kinds[entries]).enumerate();
            let found = found.find(|(_, (place, kind))| wanted(base + usize::from(**place), **kind));
            if let Some((passed, (place, kind))) = found {
                let hit = (base + usize::from(*place), *kind);
                self.next = next + passed + 1;
                return hit;
            }
            self.next = self.index.len;
            if !self.advance() {
                return (self.body.len(), b'\n');
            }
        }
    }

    /// The entries of this window from the next one on: where the window begins in the body, their places in it and their bytes.
    pub(super) fn rest(&self) -> (usize, &[u16], &[u8]) {
        let entries = self.next.min(self.index.len)..self.index.len;
        (self.index.base, &self.index.places[entries.clone()], &self.index.kinds[entries])
    }

    /// The place in the body of one of them.
    pub(super) fn place(&self, number: usize) -> Option<usize> {
        let entry = self.next + number;
        (entry < self.index.len).then(|| self.index.base + self.index.get(entry).0)
    }

    /// Goes to the next window; false where this is the last.
    pub(super) fn advance(&mut self) -> bool {
        let more = !self.index.complete;
        if more {
            self.refill(self.index.base + WINDOW_BYTES);
        }
        more
    }

    /// Position and value of the next structural byte. After the last one: the body's length and a line feed.
    #[inline(always)]
    pub(super) fn next(&mut self) -> (usize, u8) {
        while self.next >= self.index.len {
            if self.index.complete {
                return (self.body.len(), b'\n');
            }
            self.refill(self.index.base + WINDOW_BYTES);
        }
        let (place, kind) = self.index.get(self.next);
        self.next += 1;
        (self.index.base + place, kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn is_structural(byte: u8) -> bool {
        b"\n ,=\"\\".contains(&byte)
    }

    fn hits(level: Level, body: &[u8], from: usize) -> Vec<(usize, u8)> {
        let mut cursor = Cursor::new(body, level, Numbering::Unknown, from.min(body.len()));
        cursor.seek(from);
        std::iter::from_fn(|| Some(cursor.next()).filter(|hit| hit.0 < body.len())).collect()
    }

    /// Digits with an optional minus before and an optional point among them, or an `i` behind.
    fn is_ordinary_number(text: &[u8]) -> bool {
        let text = text.strip_prefix(b"-").unwrap_or(text);
        let all_digits = |text: &[u8]| text.iter().all(u8::is_ascii_digit);
        let whole = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
        match &text[whole..] {
            _ if whole == 0 => false,
            [] | [b'i'] => true,
            [b'.', fraction @ ..] => all_digits(fraction),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn the_cursor_finds_what_a_plain_search_finds(
            body in prop::collection::vec(prop_oneof![Just(b' '), Just(b'='), Just(b'"'), any::<u8>()], 0..300),
            filler in prop_oneof![Just(0usize), WINDOW_BYTES - 200..2 * WINDOW_BYTES],
            from in 0usize..20_000,
        ) {
            let mut long = vec![b'x'; filler];
            // What backslashes do to it: `shields`.
            long.extend(body.iter().filter(|byte| **byte != b'\\'));
            let expected: Vec<_> =
                (from..long.len()).filter(|at| is_structural(long[*at])).map(|at| (at, long[at])).collect();
            for level in Level::all() {
                prop_assert_eq!(&hits(level, &long, from), &expected);
            }
        }

        #[test]
        fn ordinary_numbers_are_found_wherever_they_lie(
            body in prop::collection::vec(prop::sample::select(&b"==,\n 0123456789-.i0123456789a\""[..]), 0..300),
            filler in 0usize..140,
        ) {
            let mut long = vec![b'x'; filler];
            long.extend_from_slice(&body);
            for level in Level::all() {
                let mut index = Lent::new();
                index.fill(level, Numbering::Found, &long, 0);
                let mut before = None;
                for entry in 0..index.len {
                    let (place, _) = index.get(entry);
                    let expected = match before {
                        Some((start, b'=')) => is_ordinary_number(&long[start + 1..place]),
                        _ => false,
                    };
                    prop_assert_eq!(index.is_behind_number(place), expected, "{} {:?}", place, level);
                    before = Some(index.get(entry));
                }
                prop_assert_eq!(index.get(index.len).1, NOTHING);
            }
        }
    }
}
