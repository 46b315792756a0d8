//! Which cells a body touches, as hashes: cheap enough for every line of a write that another one may meet.
//!
//! Promise: lines of one series and time have equal hashes, however they are escaped and in whatever order their tags
//! stand; lines with the same fields as text have equal values. Different ones may be taken for equal by chance alone.

use std::sync::{Arc, LazyLock};

use memchr::memchr;
use xxhash_rust::xxh3::xxh3_64_with_secret;

use super::stamp::Lines;
use crate::line::{self, Dialect, Line, Precision, SeriesKey, Summary};

/// One line: the hash of its series and time, and that of its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) hash: u64,
    pub(super) value: u64,
}

/// Bytes of a body for each cell that is kept of it beside its reading: lines are longer as a rule.
pub(super) const BYTES_PER_CELL: usize = 32;

/// Chosen anew by each process, so that no client can make up fields that differ and hash alike.
static KEYS: LazyLock<(SeriesKey, [u8; 192])> = LazyLock::new(|| {
    let mut secret = [0; 192];
    fastrand::Rng::new().fill(&mut secret);
    (SeriesKey::new(fastrand::u128(..)), secret)
});

/// One cell for each line that parses, in order. `None` when a line has no time: the source gives it one that nobody knows.
pub(super) fn cells(lines: &Lines) -> Option<Arc<Vec<Cell>>> {
    if let Some(cells) = &lines.cells {
        return Some(Arc::clone(cells));
    }
    let mut cells = Vec::with_capacity(lines.parsed.lines as usize);
    let summary = visit(&lines.text, lines.dialect, lines.precision, 0, |cell| cells.push(cell));
    (summary.untimed == 0).then(|| Arc::new(cells))
}

/// What a body holds, and its cells in the same reading, unless a line has no time or there are more of them than one for each
/// [`BYTES_PER_CELL`].
pub(super) fn inspect(
    text: &[u8],
    dialect: Dialect,
    precision: Precision,
    at_ns: i64,
) -> (Summary, Option<Arc<Vec<Cell>>>) {
    let cells_max = text.len() / BYTES_PER_CELL;
    let mut cells = Vec::with_capacity(cells_max);
    let summary = visit(text, dialect, precision, at_ns, |cell| {
        if cells.len() < cells_max {
            cells.push(cell);
        }
    });
    let whole = summary.untimed == 0 && cells.len() == summary.lines as usize;
    cells.shrink_to_fit();
    (summary, whole.then(|| Arc::new(cells)))
}

fn visit(text: &[u8], dialect: Dialect, precision: Precision, at_ns: i64, mut visit: impl FnMut(Cell)) -> Summary {
    let (key, secret) = &*KEYS;
    line::outline_with(*key, text, dialect, precision, at_ns, |found| {
        let Ok(found) = found else { return };
        let value = match found.careful {
            None => plain_value(&text[found.span.start..found.fields_end], secret),
            Some(line) => value(&line, secret),
        };
        visit(Cell { hash: place(found.series, found.time_ns.unwrap_or_default()), value });
    })
}

/// Without a backslash the first space ends the key.
fn plain_value(text: &[u8], secret: &[u8]) -> u64 {
    let key_end = memchr(b' ', text).map_or(0, |at| at + 1);
    xxh3_64_with_secret(&text[key_end..], secret)
}

fn value(line: &Line<'_>, secret: &[u8]) -> u64 {
    let mut text = Vec::new();
    for field in line.fields() {
        if !text.is_empty() {
            text.push(b',');
        }
        text.extend_from_slice(field.raw_key());
        text.push(b'=');
        text.extend_from_slice(field.raw_value());
    }
    xxh3_64_with_secret(&text, secret)
}

/// Mixes both, so that neither alone decides about the low bits.
fn place(series: u64, time_ns: i64) -> u64 {
    let mixed = (series ^ (time_ns as u64).wrapping_mul(0xff51_afd7_ed55_8ccd)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    mixed ^ (mixed >> 29)
}

#[cfg(test)]
mod tests {
    use super::super::decode::Decoded;
    use super::super::stamp;
    use super::*;
    use crate::db::precision::Api;
    use crate::db::server::{Flavor, Version};
    use crate::route::WriteIdentity;

    fn look(body: &str, query: &str) -> Vec<Cell> {
        let identity = WriteIdentity::read(Api::V1, query);
        let version = Version::assumed(Flavor::Influx1);
        let read = |hash| stamp::read(&version, &identity, Decoded::Plain(body.to_owned().into()), 0, hash);
        let [cells, before] = [read(false), read(true)].map(|lines| cells(&lines).unwrap());
        assert_eq!(cells, before);
        cells.to_vec()
    }

    #[test]
    fn one_series_and_time_is_one_cell_however_it_is_written() {
        let [plain] = look("m,a=1,b=x v=1,w=2 5000", "db=d")[..] else { panic!() };
        for (same, query) in [
            ("m,b=x,a=1 v=1,w=2 5000\n", "db=d"),
            ("\\m,a=1,b=x v=1,w=2 5000", "db=d"),
            ("  m,a=1,b=x  v=1,w=2  5000\n# a comment\n", "db=d"),
            ("m,a=1,b=x v=1,w=2 5", "db=d&precision=u"),
        ] {
            let [cell] = look(same, query)[..] else { panic!("{same}") };
            // A backslash before an ordinary byte belongs to the name.
            assert_eq!(cell.hash == plain.hash, !same.starts_with('\\'), "{same}");
            assert_eq!(cell.value, plain.value, "{same}");
        }
        let [escaped, again] = look("m\\ 1,a=x\\,y v=1 5\nm\\ 1,a=x\\,y v=2 5", "db=d")[..] else { panic!() };
        assert_eq!(escaped.hash, again.hash);
        assert_ne!(escaped.value, again.value);
    }

    #[test]
    fn cells_of_short_lines_are_not_kept_beside_the_body() {
        let kept = |body: &str| {
            let identity = WriteIdentity::read(Api::V1, "db=d");
            let body = Decoded::Plain(body.repeat(1000).into());
            stamp::read(&Version::assumed(Flavor::Influx1), &identity, body, 0, true).cells
        };
        assert!(kept("m v=1 5\n").is_none());
        assert!(kept("m,host=a,region=b,device=c v=1\n").is_none(), "a time is missing");
        assert_eq!(kept("m,host=a,region=b,device=c v=1 5\n").map(|cells| cells.len()), Some(1000));
    }

    #[test]
    fn other_series_times_and_values_differ() {
        let all =
            look("m,a=1 v=1 5\nm,a=2 v=1 5\nn,a=1 v=1 5\nm,a=1 v=1 6\nm v=1 5\nm,m=1 v=1 5\nm,a=1 v=2 7\n", "db=d");
        let mut hashes: Vec<u64> = all.iter().map(|cell| cell.hash).collect();
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), 7);
        assert_ne!(all[0].value, all[6].value);
    }

    #[test]
    fn a_line_feed_in_a_string_does_not_shift_the_numbers() {
        let cells = look("m s=\"a\nb\" 5\nm v=1 6\n", "db=d");
        let plain = look("m v=1 6\n", "db=d");
        assert_eq!((cells.len(), cells[1]), (2, plain[0]));
    }
}
