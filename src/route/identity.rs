//! What a write request says about itself: API, names and precision, read from its URL as the servers read it.
//!
//! Rules measured on 1.x and 2.x: parameters come only from the URL; of two equal keys the first wins; `+` is a space; a
//! pair that holds `;` or a broken escape is ignored.

use percent_encoding::percent_decode_str;

use crate::db::precision::Api;

/// The parameters of a write that matter to us. Credentials in the URL are not among them: they are never kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteIdentity {
    /// Endpoint.
    pub api: Api,
    /// `db`, when present.
    pub db: Option<String>,
    /// `rp`, when present; may be empty.
    pub rp: Option<String>,
    /// `org`, when present.
    pub org: Option<String>,
    /// `orgID`, when present.
    pub org_id: Option<String>,
    /// `bucket`, when present.
    pub bucket: Option<String>,
    /// `precision`, when present; may be empty.
    pub precision: Option<String>,
}

impl WriteIdentity {
    /// Reads the query part of the URL (without `?`).
    #[must_use]
    pub fn read(api: Api, query: &str) -> Self {
        let mut identity = Self { api, db: None, rp: None, org: None, org_id: None, bucket: None, precision: None };
        for pair in query.split('&').filter(|pair| !pair.is_empty() && !pair.contains(';')) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (Some(key), Some(value)) = (decode(key), decode(value)) else { continue };
            let slot = match key.as_str() {
                "db" => &mut identity.db,
                "rp" => &mut identity.rp,
                "org" => &mut identity.org,
                "orgID" => &mut identity.org_id,
                "bucket" => &mut identity.bucket,
                "precision" => &mut identity.precision,
                _ => continue,
            };
            slot.get_or_insert(value);
        }
        identity
    }

    /// `bucketID`, which calls other than writes take, when present and not empty.
    #[must_use]
    pub fn bucket_id(query: &str) -> Option<String> {
        let pairs = query.split('&').filter(|pair| !pair.contains(';')).filter_map(|pair| pair.split_once('='));
        let id =
            pairs.filter(|(key, _)| decode(key).as_deref() == Some("bucketID")).find_map(|(_, value)| decode(value));
        id.filter(|id| !id.is_empty())
    }
}

/// `None` for a broken percent escape. Bytes that are not UTF-8 are replaced: such names cannot be mapped by text anyway.
fn decode(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let sound = bytes
        .iter()
        .enumerate()
        .filter(|(_, b)| **b == b'%')
        .all(|(at, _)| bytes.get(at + 1..at + 3).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)));
    let spaced = text.replace('+', " ");
    sound.then(|| percent_decode_str(&spaced).decode_utf8_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_as_the_servers_read_them() {
        let read = |q| WriteIdentity::read(Api::V1, q);
        assert_eq!(read("db=a&db=b").db.as_deref(), Some("a"), "the first wins");
        assert_eq!(read("db=a+b%2Fc").db.as_deref(), Some("a b/c"));
        assert_eq!(read("db=d1;precision=s").db, None, "a pair with a semicolon is ignored");
        assert_eq!(read("x=%zz&db=a").db.as_deref(), Some("a"), "a broken escape elsewhere does no harm");
        assert_eq!(read("db=a&rp=").rp.as_deref(), Some(""), "present and empty");
        assert_eq!(read("db=a&u=me&p=secret").precision, None);
        assert!(!format!("{:?}", read("db=a&u=me&p=secret")).contains("secret"));
    }
}
