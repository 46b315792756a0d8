//! What the body says, and one timestamp for all its lines that have none.
//!
//! Promise: a body whose lines are all timed is forwarded byte for byte. A stamped one goes to the source in the encoding
//! in which it came, and its text is the same that the log keeps, so that both sides store the same time.

use std::io::Write;

use bytes::Bytes;

use super::decode::Decoded;
use crate::db::answer::Parsed;
use crate::db::precision::effective;
use crate::db::server::{Flavor, Version};
use crate::line::{self, Dialect, Precision};
use crate::route::WriteIdentity;

/// A body, read.
#[derive(Clone, Debug)]
pub(super) struct Lines {
    /// What the log keeps: decoded, every line that parses timed.
    pub(super) text: Bytes,
    /// What the source gets instead of the body that came, when lines had to be stamped.
    pub(super) forward: Option<Bytes>,
    pub(super) dialect: Dialect,
    pub(super) precision: Precision,
    pub(super) parsed: Parsed,
    pub(super) min_ns: i64,
    pub(super) max_ns: i64,
}

impl Lines {
    /// Nothing in it that a server could store: blank, or comments only.
    pub(super) fn is_blank(&self) -> bool {
        self.parsed.decoded && self.parsed.lines == 0 && self.parsed.malformed == 0
    }
}

pub(super) fn read(version: &Version, identity: &WriteIdentity, body: Decoded, at_ns: i64) -> Lines {
    let dialect = match version.flavor {
        Flavor::Influx1 => Dialect::Influx1,
        Flavor::Influx2 => Dialect::Influx2,
    };
    let precision = effective(version, identity.api, identity.precision.as_deref());
    let (text, zipped) = match body {
        Decoded::Plain(text) => (text, false),
        Decoded::Gzip(text) => (text, true),
        Decoded::Opaque => {
            let parsed = Parsed { lines: 0, malformed: 0, decoded: false };
            return Lines {
                text: Bytes::new(),
                forward: None,
                dialect,
                precision,
                parsed,
                min_ns: at_ns,
                max_ns: at_ns,
            };
        }
    };
    let default_ns = precision.truncate(at_ns);
    let summary = line::inspect(&text, dialect, precision, default_ns);
    let parsed = Parsed { lines: summary.lines, malformed: summary.malformed, decoded: true };
    let (min_ns, max_ns) = (summary.min_ns, summary.max_ns);
    if summary.untimed == 0 {
        return Lines { text, forward: None, dialect, precision, parsed, min_ns, max_ns };
    }
    let stamped = Bytes::from(line::stamp(&text, dialect, precision, at_ns));
    let forward = if zipped { gzip(&stamped) } else { stamped.clone() };
    Lines { text: stamped, forward: Some(forward), dialect, precision, parsed, min_ns, max_ns }
}

fn gzip(text: &[u8]) -> Bytes {
    let mut encoder = flate2::write::GzEncoder::new(Vec::with_capacity(text.len() / 4), flate2::Compression::fast());
    let packed = encoder.write_all(text).and_then(|()| encoder.finish());
    Bytes::from(packed.expect("writing into memory does not fail"))
}
