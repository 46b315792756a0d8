//! Where ordinary numbers end, for a whole block at once.
//!
//! A field's value is an ordinary number when it is digits with an optional minus before them, and an optional point among
//! or `i` behind them. Instead of looking at each value, a block's bits are added up: a carry runs through digits and
//! comes out behind the last.
//!
//! Promise: a mark means that the bytes between the structural byte before and this one are `=` and an ordinary number.

use super::scan::Classes;

/// What runs on into the next block, each 0 or 1.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Numbers {
    after_equals: u64,
    after_minus: u64,
    /// A run of digits before a point.
    whole: u64,
    after_point: u64,
    /// A run of digits behind a point.
    fraction: u64,
    after_suffix: u64,
}

impl Numbers {
    /// The structural bytes of the next block right before which an ordinary number ends.
    #[inline(always)]
    pub(super) fn ends(&mut self, of: &Classes) -> u64 {
        let begin = of.equals << 1 | self.after_equals;
        self.after_equals = of.equals >> 63;
        let minus = begin & of.minuses;
        let first = begin & !minus | minus << 1 | self.after_minus;
        self.after_minus = minus >> 63;
        // No digit stands before the first one of a run, so that what is added cannot meet in a run.
        let whole = behind_digits(of.digits, first & of.digits, &mut self.whole);
        let point = whole & of.points;
        let fraction = behind_digits(of.digits, point << 1 | self.after_point, &mut self.fraction);
        self.after_point = point >> 63;
        let suffix = whole & of.suffixes;
        let behind_suffix = suffix << 1 | self.after_suffix;
        self.after_suffix = suffix >> 63;
        (whole | fraction | behind_suffix) & of.structural
    }
}

/// The bytes behind the runs of digits that begin at `first`; a run of none where there is no digit.
#[inline(always)]
fn behind_digits(digits: u64, first: u64, carry: &mut u64) -> u64 {
    let (sum, over) = digits.overflowing_add(first);
    let (sum, over_again) = sum.overflowing_add(*carry);
    *carry = u64::from(over | over_again);
    sum & !digits
}
