//! Lines of about 130 bytes, each with the number of its series and its own number within it, patched in place.

use std::fmt::Write as _;

/// Digits of the number of a line.
const DIGITS: usize = 12;
/// Where a value or a time begins before its digits: every number has the same width.
const REGIONS: [&str; 3] = ["eu-west-1", "us-east-2", "ap-south-1"];

/// A body whose lines belong to one series each, and get the next number together.
#[derive(Clone, Debug)]
pub struct Body {
    bytes: Vec<u8>,
    /// Where the digits stand: value and time of each line.
    at: Vec<usize>,
}

impl Body {
    /// Lines of the series from `first` on, one each.
    #[must_use]
    pub fn new(first: usize, lines: usize) -> Self {
        let (mut text, mut at) = (String::with_capacity(lines * 140), Vec::with_capacity(2 * lines));
        for series in first..first + lines {
            let region = REGIONS[series % REGIONS.len()];
            let (host, rack) = (series % 1000, series % 40);
            // Writing to a string does not fail.
            let _ =
                write!(text, "cpu,a={series:06},dc=dc1,host=server-{host:03},rack=rack-{rack:02},region={region} n=1");
            at.push(text.len());
            let (user, idle) = (10 + series % 80, 10 + series % 17);
            let _ = write!(text, "000000000000i,user={user}.25,system={idle}.5,idle={user}.75 1700");
            at.push(text.len());
            text.push_str("000000000000000\n");
        }
        Self { bytes: text.into_bytes(), at }
    }

    /// With this number in each line.
    pub fn numbered(&mut self, number: u64) -> &[u8] {
        let mut digits = [b'0'; DIGITS];
        let mut left = number;
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + (left % 10) as u8;
            left /= 10;
        }
        for at in &self.at {
            self.bytes[*at..at + DIGITS].copy_from_slice(&digits);
        }
        &self.bytes
    }

    /// How long it is.
    #[must_use]
    pub fn length(&self) -> usize {
        self.bytes.len()
    }
}

/// Series and number of a line that [`Body`] made, also when tags and fields were put in order; `None` for others.
#[must_use]
pub fn read(line: &[u8]) -> Option<(usize, u64)> {
    let series = number(line.strip_prefix(b"cpu,a=")?);
    let space = memchr::memchr(b' ', line)?;
    let value = line.get(space + 1..)?.strip_prefix(b"n=1")?;
    Some((series as usize, number(value)))
}

fn number(digits: &[u8]) -> u64 {
    digits.iter().take_while(|byte| byte.is_ascii_digit()).fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut body = Body::new(7, 3);
        let text = body.numbered(42).to_vec();
        let read: Vec<_> = text.split_inclusive(|byte| *byte == b'\n').map(read).collect();
        assert_eq!(read, [Some((7, 42)), Some((8, 42)), Some((9, 42))]);
        assert_eq!(super::read(b"mem,a=1 n=1 1"), None);
    }
}
