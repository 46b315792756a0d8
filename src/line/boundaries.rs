//! Where lines end, and nothing else: the quickest look at a body.
//!
//! Promise: the servers' own line ends (see `cut`), whatever the lines hold. Where a block has neither quotes nor backslashes each
//! line feed ends a line; only lines that have some are walked through.

use std::ops::Range;

use super::cut::line_end;
use super::index::{Cursor, Numbering};
use super::scan::{self, BLOCK_BYTES, Block, Level, Scanner, Work};

/// Visits the lines of a body in order, blank ones and comments included, each without the line feed that ends it. The last
/// line may go on behind the body (see [`super::whole_lines`]).
pub fn boundaries(body: &[u8], visit: impl FnMut(Range<usize>)) {
    boundaries_with(scan::best(), body, visit);
}

/// The same with a scanner of one's choice.
pub fn boundaries_with(level: Level, body: &[u8], visit: impl FnMut(Range<usize>)) {
    scan::with(level, Boundaries { level, body, visit });
}

struct Boundaries<'a, F> {
    level: Level,
    body: &'a [u8],
    visit: F,
}

impl<F: FnMut(Range<usize>)> Work for Boundaries<'_, F> {
    type Out = ();

    #[inline(always)]
    fn run<S: Scanner>(self) {
        let Self { level, body, mut visit } = self;
        // Only bodies with quotes or backslashes need it.
        let mut cursor = None;
        let (mut start, mut base) = (0usize, 0usize);
        while base < body.len() {
            let breaks = S::breaks(&block_at(body, base));
            let fresh = u64::MAX << start.saturating_sub(base).min(BLOCK_BYTES - 1);
            let special = breaks.special & fresh;
            // The line feeds before the first special byte.
            let mut feeds = breaks.feeds & fresh & (special & special.wrapping_neg()).wrapping_sub(1);
            while feeds != 0 {
                let end = base + feeds.trailing_zeros() as usize;
                visit(start..end);
                start = end + 1;
                feeds &= feeds - 1;
            }
            if special == 0 {
                base += BLOCK_BYTES;
                continue;
            }
            let end = line_end(
                cursor.get_or_insert_with(|| Cursor::new(body, level, Numbering::Unknown, start)),
                body,
                start,
            );
            visit(start..end);
            start = end + 1;
            base = start - start % BLOCK_BYTES;
        }
        if start < body.len() {
            visit(start..body.len());
        }
    }
}

/// The block that begins at `base`; behind the end of the body nothing is special.
#[inline(always)]
fn block_at(body: &[u8], base: usize) -> Block {
    let rest = body.get(base..).unwrap_or_default();
    match rest.first_chunk() {
        Some(block) => *block,
        None => {
            let mut block = [0; BLOCK_BYTES];
            block[..rest.len()].copy_from_slice(rest);
            block
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// By the rule of `cut` alone.
    fn expected(body: &[u8]) -> Vec<Range<usize>> {
        let mut cursor = Cursor::new(body, Level::Naive, Numbering::Unknown, 0);
        let (mut all, mut start) = (Vec::new(), 0);
        while start < body.len() {
            let end = line_end(&mut cursor, body, start);
            all.push(start..end);
            start = end + 1;
        }
        all
    }

    proptest! {
        #[test]
        fn lines_end_where_the_servers_end_them(
            pieces in prop::collection::vec(
                prop_oneof![
                    8 => prop::sample::select(vec!["\n", "m,t=a v=1 1\n", "x", " ", ",", "=", "v=\"a b\" 2\n"]),
                    1 => prop::sample::select(vec!["\"", "\\", "\\\n", "s=\"a\nb\"", "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"]),
                ],
                0..120,
            ),
        ) {
            let body = pieces.concat().into_bytes();
            for level in Level::all() {
                let mut found = Vec::new();
                boundaries_with(level, &body, |line| found.push(line));
                prop_assert_eq!(found, expected(&body), "{:?}", level);
            }
        }
    }
}
