//! What the body says, and one timestamp for all its lines that have none.
//!
//! Promise: a body whose lines are all timed is forwarded byte for byte. A stamped one goes to the source in the encoding
//! in which it came, and its text is the same that the log keeps, so that both sides store the same time.

use std::sync::Arc;

use bytes::Bytes;

use super::cells::{self, BYTES_PER_CELL, Cell};
use super::decode::Decoded;
use crate::db::answer::Parsed;
use crate::db::encode::gzip;
use crate::db::precision::effective;
use crate::db::server::{Flavor, Version};
use crate::line::{self, Dialect, Precision, Summary};
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
    /// Earliest and latest time that the write may touch. All time when a part of it cannot be read.
    pub(super) min_ns: i64,
    pub(super) max_ns: i64,
    /// Lines that could not be stamped: the source gives them a time that we do not know.
    pub(super) unstamped: u32,
    /// Which cells it touches, where that was found out in the same reading.
    pub(super) cells: Option<Arc<Vec<Cell>>>,
    hash: bool,
    untimed: u32,
    zipped: bool,
}

/// The longest stamp, with its blank.
const STAMP_BYTES: usize = 21;

impl Lines {
    /// Nothing in it that a server could store: blank, or comments only.
    pub(super) fn is_blank(&self) -> bool {
        self.parsed.decoded && self.parsed.lines == 0 && self.parsed.malformed == 0
    }

    /// Whether lines must be stamped.
    pub(super) fn wants_stamps(&self) -> bool {
        self.untimed > 0
    }

    /// Bytes that stamping may add to what is held.
    pub(super) fn stamping_bytes(&self) -> usize {
        let stamped = (self.untimed as usize).saturating_mul(STAMP_BYTES).saturating_add(self.text.len());
        let hashed = if self.hash { hashing_bytes(stamped) } else { 0 };
        hashed.saturating_add(if self.zipped { stamped.saturating_mul(2) } else { stamped })
    }

    /// Bytes held beside the body as it came.
    pub(super) fn held_bytes(&self) -> usize {
        let text = if self.zipped || self.forward.is_some() { self.text.len() } else { 0 };
        let forward = if self.zipped { self.forward.as_ref().map_or(0, Bytes::len) } else { 0 };
        text + forward + self.cells.as_ref().map_or(0, |cells| size_of_val(&cells[..]))
    }

    /// The same without the text, for counting.
    pub(super) fn without_text(mut self) -> Self {
        (self.text, self.forward, self.cells) = (Bytes::new(), None, None);
        self
    }

    /// Counts another piece of the same body.
    pub(super) fn add(&mut self, other: &Self) {
        self.parsed.lines = self.parsed.lines.saturating_add(other.parsed.lines);
        self.parsed.malformed = self.parsed.malformed.saturating_add(other.parsed.malformed);
        self.parsed.decoded &= other.parsed.decoded;
        self.unstamped = self.unstamped.saturating_add(other.unstamped);
        self.min_ns = self.min_ns.min(other.min_ns);
        self.max_ns = self.max_ns.max(other.max_ns);
    }

    /// Lines without a time that are not to be stamped: the source gives them one that we do not know.
    pub(super) fn left_untimed(mut self) -> Self {
        self.unstamped = self.unstamped.saturating_add(std::mem::take(&mut self.untimed));
        self
    }

    /// With one time for all lines that have none.
    pub(super) fn stamped(mut self, at_ns: i64) -> Self {
        let stamped = Bytes::from(line::stamp(&self.text, self.dialect, self.precision, at_ns));
        let summary;
        (summary, self.cells) = inspect(&stamped, self.dialect, self.precision, at_ns, self.hash);
        self.unstamped = summary.untimed;
        self.forward = Some(if self.zipped { gzip(&stamped) } else { stamped.clone() });
        self.text = stamped;
        self.untimed = 0;
        self
    }
}

/// Bytes that the cells of a body of so many bytes may take, where they are found out when it is read.
pub(super) const fn hashing_bytes(body_bytes: usize) -> usize {
    body_bytes / BYTES_PER_CELL * size_of::<Cell>()
}

fn inspect(
    text: &[u8],
    dialect: Dialect,
    precision: Precision,
    at_ns: i64,
    hash: bool,
) -> (Summary, Option<Arc<Vec<Cell>>>) {
    match hash {
        true => cells::inspect(text, dialect, precision, at_ns),
        false => (line::inspect(text, dialect, precision, at_ns), None),
    }
}

/// Reads a body; lines without a time count as of `at_ns`. `hash`: it is likely that its cells are asked for.
pub(super) fn read(version: &Version, identity: &WriteIdentity, body: Decoded, at_ns: i64, hash: bool) -> Lines {
    let dialect = match version.flavor {
        Flavor::Influx1 => Dialect::Influx1,
        Flavor::Influx2 => Dialect::Influx2,
    };
    let precision = effective(version, identity.api, identity.precision.as_deref());
    let mut lines = Lines {
        text: Bytes::new(),
        forward: None,
        dialect,
        precision,
        parsed: Parsed { lines: 0, malformed: 0, decoded: false },
        min_ns: i64::MIN,
        max_ns: i64::MAX,
        unstamped: 0,
        cells: None,
        hash,
        untimed: 0,
        zipped: false,
    };
    (lines.text, lines.zipped) = match body {
        Decoded::Plain(text) => (text, false),
        Decoded::Gzip(text) => (text, true),
        Decoded::Opaque => return lines,
    };
    let summary;
    (summary, lines.cells) = inspect(&lines.text, dialect, precision, at_ns, hash);
    lines.parsed = Parsed { lines: summary.lines, malformed: summary.malformed, decoded: true };
    lines.untimed = summary.untimed;
    // Points that the source may read where we cannot may have any time.
    if summary.malformed == 0 {
        let blank = summary.lines == 0;
        (lines.min_ns, lines.max_ns) = if blank { (at_ns, at_ns) } else { (summary.min_ns, summary.max_ns) };
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(body: Decoded) -> Lines {
        let identity = WriteIdentity::read(crate::db::precision::Api::V1, "db=d");
        read(&Version::assumed(Flavor::Influx1), &identity, body, 1_000, false)
    }

    fn plain(text: &'static str) -> Decoded {
        Decoded::Plain(Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn what_cannot_be_read_may_touch_any_time() {
        let range = |body| {
            let lines = look(body);
            (lines.min_ns, lines.max_ns)
        };
        assert_eq!(range(plain("m v=1 5\nm v=2\n")), (5, 1_000));
        assert_eq!(range(plain("m v=1 5\nnonsense\n")), (i64::MIN, i64::MAX));
        assert_eq!(range(plain("nonsense\n")), (i64::MIN, i64::MAX));
        assert_eq!(range(Decoded::Opaque), (i64::MIN, i64::MAX));
        assert_eq!(range(plain("# nothing\n")), (1_000, 1_000), "never inverted");
    }

    #[test]
    fn stamped_lines_have_one_time_and_the_source_gets_the_same() {
        let lines = look(plain("m v=1\nm v=2 7\n"));
        assert!(lines.wants_stamps());
        let most = lines.stamping_bytes();
        let lines = lines.stamped(1_000);
        assert_eq!(&lines.text[..], b"m v=1 1000\nm v=2 7\n");
        assert_eq!((lines.forward.as_ref(), lines.unstamped), (Some(&lines.text), 0));
        assert!(lines.held_bytes() <= most && !lines.wants_stamps());
        let timed = look(plain("m v=1 5\n"));
        assert!(!timed.wants_stamps() && timed.held_bytes() == 0);
    }
}
