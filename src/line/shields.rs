//! Structural bytes that are data because a backslash stands before them, for a whole block at once.
//!
//! The servers' rules differ in what a backslash protects: names look one byte back, fields and line ends skip pairs. A
//! single backslash protects the byte behind it by all of them; a run of more before a byte that is not structural
//! protects nothing, and before a quote, which is data in names, every other one does. Such backslashes and what they protect
//! can be forgotten.
//!
//! Promise: what is left in the list is read alike with and without the others, by all rules but one: outside quotes the
//! storage knows no protected commas (see `careful`).

use super::scan::{BLOCK_BYTES, Breaks};

/// The last byte of a block.
const TOP: u64 = 1 << (BLOCK_BYTES - 1);

/// What runs on into the next block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shields {
    /// 1: a backslash that was taken out protects the first byte.
    first: u64,
    /// 1: the byte before is a backslash.
    backslash: u64,
}

/// What [`Shields::take_out`] found. Both masks are no structural bytes any more.
#[derive(Clone, Copy, Debug)]
pub(super) struct TakenOut {
    pub(super) backslashes: u64,
    /// What they protect, in this block.
    pub(super) data: u64,
}

impl Shields {
    /// For the blocks from `base` on.
    pub(super) fn new(body: &[u8], base: usize) -> Self {
        let (before, behind) = body.split_at(base.min(body.len()));
        let backslash = before.ends_with(b"\\");
        let single = backslash && !before.ends_with(b"\\\\");
        // As `take_out` decided, or would have, for the byte before.
        let protects = single && matches!(behind, [next, _, ..] if !b"\\\n".contains(next));
        Self { first: u64::from(protects), backslash: u64::from(backslash) }
    }

    /// Whether a block without a backslash must be looked at.
    #[inline(always)]
    pub(super) fn reach_on(&self) -> bool {
        self.backslash != 0
    }

    /// What is no news among the structural bytes of a block, of which `backslashes` are some. `next` is the byte behind the block,
    /// `left`: so many bytes the body has from the block's begin on. Masks are handed in by value: a block whose masks lie in memory for
    /// this call's sake would need all of them.
    #[inline(never)]
    pub(super) fn take_out(
        &mut self,
        structural: u64,
        backslashes: u64,
        breaks: Breaks,
        next: Option<&u8>,
        left: usize,
    ) -> TakenOut {
        let next_is = |byte: u8| u64::from(next == Some(&byte)) << (BLOCK_BYTES - 1);
        let behind = backslashes << 1 | self.backslash;
        let (first, last) = (backslashes & !behind, backslashes & !(backslashes >> 1 | next_is(b'\\')));
        let single = first & last;
        let protected = behind_odd(backslashes, first) | self.first;
        // Behind runs of more than one, but for quotes, if the run is not the last block's.
        let others = behind & !backslashes & !(single << 1 | self.first) & (!breaks.special | 1);
        // Among the last two bytes of a body a backslash protects nothing.
        let at_end = if left < BLOCK_BYTES + 2 { u64::MAX << left.saturating_sub(2) } else { 0 };
        // A line feed that is data in a line, and runs that lie in two blocks, are left to the slow reader.
        let odd = others & structural
            | protected & breaks.feeds
            | single & (next_is(b'\n') | at_end)
            | backslashes & behind & 1
            | backslashes & !single & TOP;
        let (taken, data) = if odd == 0 { (backslashes, protected) } else { (0, self.first) };
        self.first = (taken & single & TOP) >> (BLOCK_BYTES - 1);
        self.backslash = backslashes >> (BLOCK_BYTES - 1);
        TakenOut { backslashes: taken, data }
    }
}

/// The bytes behind the runs of an odd number that begin at `first` and end before the block does: a sum carries each run's first
/// bit behind its end, and whether that is an even number of places away tells the run's length.
#[inline(always)]
fn behind_odd(runs: u64, first: u64) -> u64 {
    const EVEN: u64 = 0x5555_5555_5555_5555;
    let behind = |first: u64| runs.wrapping_add(first) & !runs;
    behind(first & EVEN) & !EVEN | behind(first & !EVEN) & EVEN
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::index::{Cursor, Numbering, WINDOW_BYTES};
    use super::super::scan::Level;

    /// What is left, by the places.
    fn left(level: Level, body: &[u8]) -> Vec<usize> {
        let mut cursor = Cursor::new(body, level, Numbering::Unknown, 0);
        std::iter::from_fn(|| Some(cursor.next().0).filter(|at| *at < body.len())).collect()
    }

    proptest! {
        #[test]
        fn no_rule_misses_what_was_taken_out(
            body in prop::collection::vec(prop::sample::select(&b"\\\\\\\\\"\", =\nxxxxxxxx"[..]), 0..200),
            filler in prop_oneof![0usize..70, WINDOW_BYTES - 80..WINDOW_BYTES],
        ) {
            let body = [vec![b'x'; filler], body].concat();
            let mut second_of_pair = vec![false; body.len()];
            for at in 1..body.len() {
                second_of_pair[at] = body[at - 1] == b'\\' && !second_of_pair[at - 1];
            }
            // What stands last may be left or not: a text that ends with it has no end either way.
            let is_protected = |at: usize| second_of_pair[at] && at + 1 < body.len();
            for level in Level::all() {
                let left = left(level, &body);
                let is_left = |at: usize| left.binary_search(&at).is_ok();
                for (at, byte) in body.iter().enumerate().filter(|(_, byte)| b"\n ,=\"\\".contains(byte)) {
                    let behind = at > 0 && body[at - 1] == b'\\';
                    match (is_left(at), byte) {
                        (false, b'\\') => {}
                        // Nothing looks one byte back for a quote.
                        (false, _) => prop_assert!(behind && second_of_pair[at] && *byte != b'\n', "{at} {level:?}"),
                        (true, b'\\') => {}
                        (true, _) if !behind || is_left(at - 1) => {}
                        (true, b'"' | b'\n') => prop_assert!(!is_protected(at), "{at} {level:?}"),
                        (true, _) => prop_assert!(false, "{at} {level:?}"),
                    }
                }
                // A rule that counts finds a run whole or not at all.
                for (at, _) in body.windows(2).enumerate().filter(|(_, pair)| *pair == b"\\\\") {
                    prop_assert_eq!(is_left(at), is_left(at + 1), "{} {:?}", at, level);
                }
            }
        }
    }

    #[test]
    fn ordinary_escapes_are_taken_out_and_odd_ones_are_not() {
        let left = |body: &[u8]| left(Level::Swar, body).len();
        assert_eq!(left(br#"a\ b,t=x\,y\=z v="\"C:\\dir\\" 1"#), 7, "comma, equals, space, equals, two quotes, space");
        assert_eq!(left(br"a\\ b,t=x v=1 "), 8);
        assert_eq!(left(b"a\\\nb v=1 "), 5);
        assert_eq!(left(b"m v=1\\ "), 4, "at the end of a body it protects nothing");
    }
}
