//! The judge of the other scanners: byte by byte, nothing clever.

use super::{Block, Breaks, Classes, Scanner};

/// Slow, and easy to believe.
#[derive(Clone, Copy, Debug)]
pub struct Naive;

impl Scanner for Naive {
    fn classify(block: &Block) -> Classes {
        let mut classes = Classes::default();
        for (at, byte) in block.iter().enumerate() {
            let mask = match byte {
                b'\\' => &mut classes.backslashes,
                b'=' => &mut classes.equals,
                b'0'..=b'9' => &mut classes.digits,
                b'.' => &mut classes.points,
                b'-' => &mut classes.minuses,
                b'i' => &mut classes.suffixes,
                _ => &mut 0,
            };
            *mask |= 1 << at;
            if matches!(byte, b'\n' | b' ' | b',' | b'=' | b'"' | b'\\') {
                classes.structural |= 1 << at;
            }
        }
        classes
    }

    fn breaks(block: &Block) -> Breaks {
        let mut breaks = Breaks::default();
        for (at, byte) in block.iter().enumerate() {
            match byte {
                b'\n' => breaks.feeds |= 1 << at,
                b'"' | b'\\' => breaks.special |= 1 << at,
                _ => {}
            }
        }
        breaks
    }
}
