//! A statement record's own text: what a client asked the source to change, so that it can be carried out, or told, later.
//!
//! `meta`, little endian: version u8 = 1, door u8 (1 InfluxQL, 2 `/api/v2/delete`, 3 another call), flags u8 (1: values of it stand
//! elsewhere in the request), name kind u8 (0 none, 1 database/policy, 2 org/bucket), at_ns i64, then four texts, each a u16
//! length and UTF-8 bytes: class, two names, the text for people.
//! `body`: what would be carried out: the statement, or the body of the call. Empty where it may name a password.

use bytes::{BufMut, Bytes, BytesMut};

use super::intent::{IntentError, Rest};
use crate::route::RouteName;

const VERSION: u8 = 1;
const PARAMETERS: u8 = 1;
/// Of a name, bytes: no server has longer ones.
const NAME_BYTES_MAX: usize = 16 << 10;

/// By which door a change came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// A statement of a `/query`.
    Influxql,
    /// `POST /api/v2/delete`
    Delete,
    /// Another call.
    Call,
}

/// What a client asked to be changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// By which door.
    pub door: Door,
    /// Stable name of what it is.
    pub class: String,
    /// The place at the source that it speaks of, where it speaks of one.
    pub name: Option<RouteName>,
    /// Values of it stand elsewhere in the request, and are not kept.
    pub parameters: bool,
    /// What `now()` is in it.
    pub at_ns: i64,
    /// For people, without passwords.
    pub shown: String,
}

const DOORS: [Door; 3] = [Door::Influxql, Door::Delete, Door::Call];

impl Statement {
    /// The bytes for the record.
    ///
    /// # Errors
    /// A name of more than 16 KiB.
    pub fn encode(&self) -> Result<Bytes, IntentError> {
        let (kind, first, second) = match &self.name {
            None => (0, "", ""),
            Some(RouteName::Database { db, rp }) => (1, db.as_str(), rp.as_str()),
            Some(RouteName::Bucket { org, bucket }) => (2, org.as_str(), bucket.as_str()),
        };
        let texts = [self.class.as_str(), first, second, self.shown.as_str()];
        if texts.iter().any(|text| text.len() > NAME_BYTES_MAX) {
            return Err(IntentError::TooLong);
        }
        let mut out = BytesMut::with_capacity(32 + texts.iter().map(|text| text.len()).sum::<usize>());
        out.put_u8(VERSION);
        out.put_u8(1 + DOORS.iter().position(|door| *door == self.door).unwrap_or(2) as u8);
        out.put_u8(if self.parameters { PARAMETERS } else { 0 });
        out.put_u8(kind);
        out.put_i64_le(self.at_ns);
        for text in texts {
            out.put_u16_le(text.len() as u16);
            out.put_slice(text.as_bytes());
        }
        Ok(out.freeze())
    }

    /// Reads the bytes of a record.
    ///
    /// # Errors
    /// They are not a statement that this version knows.
    pub fn decode(meta: &[u8]) -> Result<Self, IntentError> {
        let mut rest = Rest(meta);
        let version = rest.byte()?;
        if version != VERSION {
            return Err(IntentError::Version(version));
        }
        let door = usize::from(rest.byte()?).checked_sub(1).and_then(|at| DOORS.get(at)).copied();
        let door = door.ok_or(IntentError::Malformed)?;
        let parameters = rest.byte()? & PARAMETERS != 0;
        let kind = rest.byte()?;
        let at_ns = rest.i64()?;
        let [class, first, second, shown] = [rest.text()?, rest.text()?, rest.text()?, rest.text()?];
        let name = match kind {
            0 => None,
            1 => Some(RouteName::Database { db: first, rp: second }),
            2 => Some(RouteName::Bucket { org: first, bucket: second }),
            _ => return Err(IntentError::Malformed),
        };
        Ok(Self { door, class, name, parameters, at_ns, shown })
    }

    /// The place as text.
    #[must_use]
    pub fn place(&self) -> String {
        self.name.as_ref().map_or_else(String::new, ToString::to_string)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_damaged_bytes_are_an_error() {
        for name in [
            None,
            Some(RouteName::Database { db: "d b".into(), rp: String::new() }),
            Some(RouteName::Bucket { org: "ö".into(), bucket: "a/b".into() }),
        ] {
            for door in DOORS {
                let (class, shown) = ("delete".to_owned(), "DELETE FROM ü".to_owned());
                let name = name.clone();
                let statement = Statement { door, class, name, parameters: true, at_ns: -5, shown };
                let bytes = statement.encode().unwrap();
                assert_eq!(Statement::decode(&bytes), Ok(statement));
                for cut in 0..bytes.len() {
                    assert_eq!(Statement::decode(&bytes[..cut]), Err(IntentError::Malformed), "cut at {cut}");
                }
            }
        }
        assert_eq!(Statement::decode(&[9]), Err(IntentError::Version(9)));
    }
}
