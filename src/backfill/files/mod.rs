//! History from files: bytes in, points out.
//!
//! Promise: what is read depends on the bytes alone, not on how they are cut into pieces. Points come in the order of the file, each with
//! its place in it; what cannot be read is named with its place, and the rest goes on. No input panics. Of a file there is in memory what
//! [`LONGEST`] and one [`Window`] take.
//!
//! [`sniff`] tells the kind by the content; [`Reader`] reads either; [`Window`] joins the fields of one point where they stand near each
//! other. [`Reader`] does no I/O and knows no clock.

mod decode;
mod flux;
mod header;
mod lines;
mod sniff;
#[cfg(test)]
mod tests;
mod walk;
mod window;

use std::sync::Arc;

use crate::cell::{Series, Value};
use crate::line::Precision;

pub use flux::Flux;
pub use lines::Lines;
pub use sniff::{Alien, HEAD_BYTES, sniff};
pub use window::{Add, Gathered, WINDOW_BYTES, WINDOW_LINES, Window};

/// What a line, or a row, may have; bytes. Servers take no such request.
pub const LONGEST: usize = 8 << 20;

/// What is in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Line protocol: plain, as `influx_inspect export` of 1.x writes it, or as `influxd inspect export-lp` of 2.x does.
    Lines,
    /// Annotated CSV, as `/api/v2/query` answers.
    Flux,
}

/// How a file of line protocol is meant.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The unit of its times; an export of 1.x, which says so by its headers, has nanoseconds.
    pub precision: Precision,
    /// What lines without a time get, nanoseconds; `None`: they are faults.
    pub untimed_ns: Option<i64>,
    /// What ends at this byte or before is passed over: it was read before.
    pub from: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { precision: Precision::Nanosecond, untimed_ns: None, from: 0 }
    }
}

/// A place in a file, as it is unpacked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// The physical line, from 1.
    pub line: u64,
    /// The byte, from 0.
    pub byte: u64,
}

/// Where lines belong by the headers of an export.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Context {
    /// Behind `# CONTEXT-DATABASE:`.
    pub db: String,
    /// Behind `# CONTEXT-RETENTION-POLICY:`; empty where none was named.
    pub rp: String,
}

/// Fields of one series at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Point {
    /// Measurement and tags.
    pub series: Arc<Series>,
    /// In the order of the file; no key twice.
    pub fields: Vec<(Vec<u8>, Value)>,
    /// Nanoseconds since 1970.
    pub time_ns: i64,
}

/// Why a line or a row is none that a server could store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Short and stable.
    pub code: &'static str,
    /// For people.
    pub reason: String,
    /// How to mend it; may be empty.
    pub mend: &'static str,
    /// Where the rule is broken.
    pub at: Position,
    /// The line or row as it stands in the file, without its end.
    pub raw: Vec<u8>,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A line or row that holds data.
    Point(Point),
    /// One that cannot be read; those behind it can.
    Fault(Fault),
    /// The file holds no more that can be trusted, or is not whole. Nothing comes behind it.
    Broken(String),
}

/// One line or row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Where it begins.
    pub at: Position,
    /// The byte behind it: what was done of the file is done up to here.
    pub end: u64,
    /// The headers above it, of an export of 1.x.
    pub context: Option<Arc<Context>>,
    /// What it is.
    pub found: Found,
}

/// Reads one file.
#[derive(Debug)]
pub enum Reader {
    /// Line protocol.
    Lines(Lines),
    /// Annotated CSV.
    Flux(Flux),
}

impl Reader {
    /// At the beginning of a file.
    #[must_use]
    pub fn new(format: Format, options: Options) -> Self {
        match format {
            Format::Lines => Self::Lines(Lines::new(options)),
            Format::Flux => Self::Flux(Flux::new(options.from)),
        }
    }

    /// Takes the next bytes. What is ready should be asked for before there are more.
    pub fn feed(&mut self, bytes: &[u8]) {
        match self {
            Self::Lines(reader) => reader.feed(bytes),
            Self::Flux(reader) => reader.feed(bytes),
        }
    }

    /// The file ends here, and is whole as far as whoever reads it can tell.
    pub fn end(&mut self) {
        match self {
            Self::Lines(reader) => reader.end(),
            Self::Flux(reader) => reader.end(),
        }
    }

    /// Whether the file begins with a byte order mark of UTF-8, which was left out.
    #[must_use]
    pub fn is_marked(&self) -> bool {
        match self {
            Self::Lines(reader) => reader.is_marked(),
            Self::Flux(reader) => reader.is_marked(),
        }
    }

    /// Bytes of the file that are read and done with: nothing is found before this one any more.
    #[must_use]
    pub fn passed(&self) -> u64 {
        match self {
            Self::Lines(reader) => reader.passed(),
            Self::Flux(reader) => reader.passed(),
        }
    }
}

impl Iterator for Reader {
    type Item = Item;

    /// What is ready; `None`: it needs more bytes, or the file has ended.
    fn next(&mut self) -> Option<Item> {
        match self {
            Self::Lines(reader) => reader.next(),
            Self::Flux(reader) => reader.next(),
        }
    }
}
