//! Finds the bytes that give a line its shape, 64 bytes at a time.
//!
//! A [`Scanner`] says of a block which bytes are of which class; [`super::index`] turns that into a list of places. The
//! parser never looks for bytes itself, so that a faster scanner speeds up everything and changes nothing.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod naive;
#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(target_arch = "x86_64")]
mod sse2;
mod swar;

use std::sync::OnceLock;

pub use naive::Naive;
pub use swar::Swar;

/// Bytes that one mask describes.
pub const BLOCK_BYTES: usize = 64;

/// A block of a body.
pub type Block = [u8; BLOCK_BYTES];

/// Where the bytes of each class lie in a block: bit `i` stands for `block[i]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Classes {
    /// Line feed, space, comma, equals, double quote, backslash.
    pub structural: u64,
    /// `\`
    pub backslashes: u64,
    /// `=`
    pub equals: u64,
    /// `0` to `9`
    pub digits: u64,
    /// `.`
    pub points: u64,
    /// `-`
    pub minuses: u64,
    /// `i`
    pub suffixes: u64,
}

/// Where lines may end in a block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Breaks {
    /// Line feeds.
    pub feeds: u64,
    /// Double quotes and backslashes: a line feed behind one may be data.
    pub special: u64,
}

/// Room for the structural bytes of one block: their places, and what they are.
#[derive(Debug)]
pub struct Slots<'a> {
    /// Offsets from the begin of the window.
    pub places: &'a mut [u16; BLOCK_BYTES],
    /// The bytes themselves.
    pub kinds: &'a mut [u8; BLOCK_BYTES],
}

/// A byte is structural when it equals what stands here for its low nibble, or is the backslash, which shares its own with the
/// comma. A nibble that no structural byte has holds a byte with another one. Bytes above 127 look up zero (on x86-64) or what their
/// nibble has (on aarch64), and are neither; the nibble 15, which 255 has, holds 0 for the same reason.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
const BY_NIBBLE: [i8; 16] = {
    let mut table = [-1; 16];
    table[0x0] = b' ' as i8;
    table[0x2] = b'"' as i8;
    table[0xa] = b'\n' as i8;
    table[0xc] = b',' as i8;
    table[0xd] = b'=' as i8;
    table[0xf] = 0;
    table
};

/// Looks at a block with what a processor has.
pub trait Scanner {
    /// Sorts the bytes of a block.
    fn classify(block: &Block) -> Classes;

    /// Finds what ends lines, and what keeps them from ending.
    fn breaks(block: &Block) -> Breaks;

    /// Writes down the places in `which`, in order, counted from `from`. What lies in the slots behind them afterwards means
    /// nothing.
    #[inline(always)]
    fn gather(block: &Block, which: u64, from: u16, slots: &mut Slots<'_>) {
        let mut left = which;
        let (places, _) = slots.places.as_chunks_mut::<8>();
        let (kinds, _) = slots.kinds.as_chunks_mut::<8>();
        // Eight at a time without asking how many there are: a wrong guess costs more than a few idle steps.
        for (places, kinds) in places.iter_mut().zip(kinds) {
            for (place, kind) in places.iter_mut().zip(kinds) {
                let at = left.trailing_zeros() & 63;
                *place = from + at as u16;
                *kind = block[at as usize];
                left &= left.wrapping_sub(1);
            }
            if left == 0 {
                return;
            }
        }
    }
}

/// Something that is done with a scanner, so that it can be compiled once for each kind of processor.
pub(super) trait Work {
    type Out;
    /// Must be `#[inline(always)]`, and so must what it calls in its inner loop: only then is it compiled anew for the
    /// processor's own instructions.
    fn run<S: Scanner>(self) -> Self::Out;
}

/// A scanner, as a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Byte by byte: the judge of the others.
    Naive,
    /// Eight bytes at a time in an ordinary register; every processor.
    Swar,
    /// 16 bytes at a time; every x86-64.
    #[cfg(target_arch = "x86_64")]
    Sse2,
    /// 32 bytes at a time; x86-64 since 2013.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// 64 bytes at a time; x86-64 with VBMI2.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// 16 bytes at a time, masks by 64; every aarch64.
    #[cfg(target_arch = "aarch64")]
    Neon,
}

impl Level {
    /// Those that this processor has, slowest first.
    #[must_use]
    pub fn all() -> Vec<Self> {
        vec![
            Self::Naive,
            Self::Swar,
            #[cfg(target_arch = "x86_64")]
            Self::Sse2,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2,
            #[cfg(target_arch = "x86_64")]
            Self::Avx512,
            #[cfg(target_arch = "aarch64")]
            Self::Neon,
        ]
        .into_iter()
        .filter(|level| level.is_available())
        .collect()
    }

    fn is_available(self) -> bool {
        match self {
            Self::Naive | Self::Swar => true,
            #[cfg(target_arch = "x86_64")]
            Self::Sse2 => true,
            #[cfg(target_arch = "aarch64")]
            Self::Neon => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => avx2::available(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => avx512::available(),
        }
    }

    /// The name that [`LEVEL_VARIABLE`] takes.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Naive => "naive",
            Self::Swar => "swar",
            #[cfg(target_arch = "x86_64")]
            Self::Sse2 => "sse2",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => "avx512",
            #[cfg(target_arch = "aarch64")]
            Self::Neon => "neon",
        }
    }
}

/// Names the scanner to use instead of the best one, for tests; a name that this processor has nothing for changes nothing.
pub const LEVEL_VARIABLE: &str = "TWINLINE_SCANNER";

/// The best scanner of this processor; asked once.
pub(super) fn best() -> Level {
    static BEST: OnceLock<Level> = OnceLock::new();
    *BEST.get_or_init(|| {
        let all = Level::all();
        let wanted = std::env::var(LEVEL_VARIABLE).unwrap_or_default();
        let named = all.iter().find(|level| level.name() == wanted);
        named.or(all.last()).copied().unwrap_or(Level::Swar)
    })
}

/// Does `work` with a scanner that this processor has, and with [`Swar`] where it does not have it.
#[inline]
pub(super) fn with<W: Work>(level: Level, work: W) -> W::Out {
    match level {
        Level::Naive => work.run::<Naive>(),
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 if avx512::available() => avx512::with_avx512(work),
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 if avx2::available() => avx2::with_avx2(work),
        #[cfg(target_arch = "x86_64")]
        Level::Sse2 => work.run::<sse2::Sse2>(),
        #[cfg(target_arch = "aarch64")]
        Level::Neon => work.run::<neon::Neon>(),
        _ => work.run::<Swar>(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    struct Look<'a>(&'a Block);

    impl Work for Look<'_> {
        type Out = (Classes, Breaks, Vec<(u16, u8)>);

        #[inline(always)]
        fn run<S: Scanner>(self) -> Self::Out {
            let classes = S::classify(self.0);
            let (mut places, mut kinds) = ([0; BLOCK_BYTES], [0; BLOCK_BYTES]);
            let mut slots = Slots { places: &mut places, kinds: &mut kinds };
            S::gather(self.0, classes.structural, 640, &mut slots);
            let count = classes.structural.count_ones() as usize;
            (classes, S::breaks(self.0), places.into_iter().zip(kinds).take(count).collect())
        }
    }

    fn expected(block: &Block) -> <Look<'static> as Work>::Out {
        let is_structural = |byte: u8| b"\n ,=\"\\".contains(&byte);
        let places = (0..BLOCK_BYTES).filter(|at| is_structural(block[*at]));
        let slots = places.map(|at| (640 + at as u16, block[at])).collect();
        let mask = |is: &dyn Fn(u8) -> bool| (0..BLOCK_BYTES).map(|at| u64::from(is(block[at])) << at).sum();
        let classes = Classes {
            structural: mask(&is_structural),
            backslashes: mask(&|byte| byte == b'\\'),
            equals: mask(&|byte| byte == b'='),
            digits: mask(&|byte| byte.is_ascii_digit()),
            points: mask(&|byte| byte == b'.'),
            minuses: mask(&|byte| byte == b'-'),
            suffixes: mask(&|byte| byte == b'i'),
        };
        let special = mask(&|byte| matches!(byte, b'"' | b'\\'));
        (classes, Breaks { feeds: mask(&|byte| byte == b'\n'), special }, slots)
    }

    fn block_of(pieces: &[u8]) -> Block {
        std::array::from_fn(|at| pieces[at])
    }

    proptest! {
        #[test]
        fn all_scanners_see_what_is_there(
            block in prop::collection::vec(prop_oneof![any::<u8>(), 0u8..0x60, prop::sample::select(&b"\n ,=\"\\.-i09/:"[..])], 64),
        ) {
            let block = block_of(&block);
            for level in Level::all() {
                prop_assert_eq!(with(level, Look(&block)), expected(&block), "{:?}", level);
            }
        }
    }

    #[test]
    fn every_byte_value_is_classified_alike_at_every_place() {
        for byte in 0..=255 {
            let blocks = std::iter::once([byte; BLOCK_BYTES]);
            let blocks =
                blocks.chain((0..BLOCK_BYTES).map(|at| std::array::from_fn(|i| if i == at { byte } else { b'x' })));
            for block in blocks {
                for level in Level::all() {
                    assert_eq!(with(level, Look(&block)), expected(&block), "{byte} {level:?}");
                }
            }
        }
    }
}
