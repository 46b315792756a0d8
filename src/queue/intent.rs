//! The intent record's own text: what was asked, so that the log can be read without any other file.
//!
//! `meta`, little endian: version u8 = 1, dialect u8 (1, 2), precision u8 (0 ns … 5 h), flags u8, min_ns i64, max_ns i64,
//! name kind u8 (1 database/policy, 2 org/bucket), then two texts, each a u16 length and UTF-8 bytes.
//! `body`: the client's lines, decoded, with a timestamp on each line that parses.

use bytes::{BufMut, Bytes, BytesMut};

use crate::line::{Dialect, Precision};
use crate::route::RouteName;

const VERSION: u8 = 1;
const EXCLUDED: u8 = 1;

/// What a client asked to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intent {
    /// Place at the source.
    pub name: RouteName,
    /// Dialect in which the source reads the lines.
    pub dialect: Dialect,
    /// Unit of the timestamps in the body.
    pub precision: Precision,
    /// No rule sends this route to any destination: the body is left out, the lines are only counted.
    pub excluded: bool,
    /// Earliest timestamp, ns.
    pub min_ns: i64,
    /// Latest timestamp, ns.
    pub max_ns: i64,
}

/// The text of an intent cannot be read: a newer version wrote it, or a name is too long.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IntentError {
    /// Shorter than its own lengths say, or a value out of range.
    #[error("the intent's text is malformed")]
    Malformed,
    /// Written by a later version.
    #[error("the intent's text has version {0}; this program knows {VERSION}")]
    Version(u8),
    /// Names together may take 60 KiB.
    #[error("the names of a route are longer than 30 KiB")]
    TooLong,
}

impl Intent {
    /// The bytes for the record.
    ///
    /// # Errors
    /// A name longer than 30 KiB.
    pub fn encode(&self) -> Result<Bytes, IntentError> {
        let (kind, first, second) = match &self.name {
            RouteName::Database { db, rp } => (1, db, rp),
            RouteName::Bucket { org, bucket } => (2, org, bucket),
        };
        if first.len() > 30 << 10 || second.len() > 30 << 10 {
            return Err(IntentError::TooLong);
        }
        let mut out = BytesMut::with_capacity(32 + first.len() + second.len());
        out.put_u8(VERSION);
        out.put_u8(match self.dialect {
            Dialect::Influx1 => 1,
            Dialect::Influx2 => 2,
        });
        out.put_u8(PRECISIONS.iter().position(|p| *p == self.precision).unwrap_or(0) as u8);
        out.put_u8(if self.excluded { EXCLUDED } else { 0 });
        out.put_i64_le(self.min_ns);
        out.put_i64_le(self.max_ns);
        out.put_u8(kind);
        for text in [first, second] {
            out.put_u16_le(text.len() as u16);
            out.put_slice(text.as_bytes());
        }
        Ok(out.freeze())
    }

    /// Reads the bytes of a record.
    ///
    /// # Errors
    /// They are not an intent that this version knows.
    pub fn decode(meta: &[u8]) -> Result<Self, IntentError> {
        let mut rest = Rest(meta);
        let version = rest.byte()?;
        if version != VERSION {
            return Err(IntentError::Version(version));
        }
        let dialect = match rest.byte()? {
            1 => Dialect::Influx1,
            2 => Dialect::Influx2,
            _ => return Err(IntentError::Malformed),
        };
        let precision = *PRECISIONS.get(usize::from(rest.byte()?)).ok_or(IntentError::Malformed)?;
        let excluded = rest.byte()? & EXCLUDED != 0;
        let (min_ns, max_ns) = (rest.i64()?, rest.i64()?);
        let kind = rest.byte()?;
        let (first, second) = (rest.text()?, rest.text()?);
        let name = match kind {
            1 => RouteName::Database { db: first, rp: second },
            2 => RouteName::Bucket { org: first, bucket: second },
            _ => return Err(IntentError::Malformed),
        };
        Ok(Self { name, dialect, precision, excluded, min_ns, max_ns })
    }
}

const PRECISIONS: [Precision; 6] = [
    Precision::Nanosecond,
    Precision::Microsecond,
    Precision::Millisecond,
    Precision::Second,
    Precision::Minute,
    Precision::Hour,
];

/// What is left of a text.
pub(super) struct Rest<'a>(pub(super) &'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], IntentError> {
        let (head, tail) = self.0.split_at_checked(count).ok_or(IntentError::Malformed)?;
        self.0 = tail;
        Ok(head)
    }

    pub(super) fn byte(&mut self) -> Result<u8, IntentError> {
        Ok(self.take(1)?[0])
    }

    pub(super) fn i64(&mut self) -> Result<i64, IntentError> {
        let bytes = self.take(8)?.try_into().map_err(|_| IntentError::Malformed)?;
        Ok(i64::from_le_bytes(bytes))
    }

    pub(super) fn text(&mut self) -> Result<String, IntentError> {
        let length = self.take(2)?.try_into().map_err(|_| IntentError::Malformed)?;
        let bytes = self.take(usize::from(u16::from_le_bytes(length)))?;
        String::from_utf8(bytes.to_vec()).map_err(|_| IntentError::Malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn intent(name: RouteName) -> Intent {
        Intent {
            name,
            dialect: Dialect::Influx2,
            precision: Precision::Second,
            excluded: true,
            min_ns: i64::MIN,
            max_ns: 5,
        }
    }

    #[test]
    fn what_was_written_is_read() {
        for name in [
            RouteName::Database { db: "d b".into(), rp: String::new() },
            RouteName::Bucket { org: "ö".into(), bucket: "a/b".into() },
        ] {
            let intent = intent(name);
            assert_eq!(Intent::decode(&intent.encode().unwrap()), Ok(intent));
        }
    }

    #[test]
    fn damaged_bytes_are_an_error_and_never_a_panic() {
        let bytes = intent(RouteName::Bucket { org: "o".into(), bucket: "b".into() }).encode().unwrap();
        for cut in 0..bytes.len() {
            assert_eq!(Intent::decode(&bytes[..cut]), Err(IntentError::Malformed), "cut at {cut}");
        }
        let mut newer = bytes.to_vec();
        newer[0] = 9;
        assert_eq!(Intent::decode(&newer), Err(IntentError::Version(9)));
        assert_eq!(
            intent(RouteName::Bucket { org: "o".into(), bucket: "b".repeat(40_000) }).encode(),
            Err(IntentError::TooLong)
        );
    }
}
