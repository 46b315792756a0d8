//! Bytes of an answer to records.

use crate::base::{Error, Kind, Result, Side};

/// Cuts a stream of bytes at the line feeds that stand outside quotes.
#[derive(Debug)]
pub struct Records {
    buffer: Vec<u8>,
    /// Where the record that is looked at begins.
    start: usize,
    /// Everything before this was looked at.
    seen: usize,
    quoted: bool,
    bytes_max: usize,
    side: Side,
}

impl Records {
    /// A record of more than `bytes_max` bytes is an error of kind [`Kind::Limit`].
    #[must_use]
    pub fn new(bytes_max: usize, side: Side) -> Self {
        Self { buffer: Vec::new(), start: 0, seen: 0, quoted: false, bytes_max, side }
    }

    /// Takes more of the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.start);
        self.seen -= self.start;
        self.start = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// Whether bytes of an unfinished record are held.
    #[must_use]
    pub fn is_inside(&self) -> bool {
        self.start < self.buffer.len()
    }

    /// The next whole record without its line feed.
    ///
    /// # Errors
    /// `Limit`: it is too long.
    pub fn take(&mut self) -> Result<Option<&[u8]>> {
        let mut quoted = self.quoted;
        let end = self.buffer[self.seen..].iter().position(|byte| {
            quoted ^= *byte == b'"';
            *byte == b'\n' && !quoted
        });
        self.quoted = quoted;
        let Some(end) = end.map(|end| self.seen + end) else {
            self.seen = self.buffer.len();
            if self.seen - self.start > self.bytes_max {
                let what = format!("one row of the answer is larger than {} bytes", self.bytes_max);
                return Err(Error::new(Kind::Limit, self.side, what));
            }
            return Ok(None);
        };
        let record = self.start..end;
        (self.start, self.seen) = (end + 1, end + 1);
        Ok(Some(&self.buffer[record]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_cut_outside_quotes_however_they_arrive() {
        let stream = b"a,\"x\r\ny\"\"\n\",b\r\n\r\nlast";
        for piece in 1..stream.len() {
            let (mut records, mut found) = (Records::new(100, Side::Source), Vec::new());
            for bytes in stream.chunks(piece) {
                records.push(bytes);
                while let Some(record) = records.take().unwrap() {
                    found.push(record.to_vec());
                }
            }
            assert_eq!(found, [&b"a,\"x\r\ny\"\"\n\",b\r"[..], b"\r"], "in pieces of {piece}");
            assert!(records.is_inside());
        }
        let mut records = Records::new(10, Side::Source);
        records.push(b"\"01234567890");
        assert_eq!(records.take().unwrap_err().kind(), Kind::Limit);
    }
}
