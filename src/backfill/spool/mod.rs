//! The cells of one chunk between source and destination, in a file.
//!
//! Promise: what is read from a spool is what was written to it, to the last bit, or the call is an error: every byte is under a
//! checksum, and a file without its trailer is cut. Memory is bounded by one frame. The file need not survive anything: a chunk that is
//! not written is read again from the source.
//!
//! A file is a mark, frames, and a trailer as the last frame. A frame is kind (1 byte), bytes in the file (4), bytes unpacked (4), its
//! number (4), the checksum of all that (4), all little-endian, and the LZ4 block.

mod points;
mod reader;
mod totals;
mod writer;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use crate::base::crc::{crc32c, crc32c_append};
use crate::base::{Error, Kind, Side};
use crate::cell::{Cell, Series, Value};

pub use reader::SpoolReader;
pub use totals::Totals;
pub use writer::SpoolWriter;

/// The first bytes of a file.
const MARK: &[u8; 8] = b"TWLSPL01";
/// Bytes of a frame before its block.
const HEAD_BYTES: usize = 17;
/// Points, and the end.
const POINTS: u8 = 1;
const TRAILER: u8 = 2;
/// A frame is closed once it holds so many bytes.
const FRAME_BYTES: usize = 256 << 10;
/// No frame is larger: one point of many long texts may go far beyond [`FRAME_BYTES`].
const FRAME_BYTES_MAX: usize = 256 << 20;

/// All that a series has at one time.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Measurement and tags.
    pub series: Arc<Series>,
    /// Nanoseconds since 1970-01-01T00:00:00Z.
    pub time_ns: i64,
    /// Its fields, in the order of the source.
    pub values: Vec<(Arc<[u8]>, Value)>,
}

impl Point {
    /// Its cells, one by one.
    pub fn cells(&self) -> impl Iterator<Item = Cell> + '_ {
        self.values.iter().map(|(field, value)| Cell {
            series: Arc::clone(&self.series),
            field: Arc::clone(field),
            time_ns: self.time_ns,
            value: value.clone(),
        })
    }
}

/// The head of a frame around this block.
fn head(kind: u8, number: u32, unpacked: usize, block: &[u8]) -> Option<[u8; HEAD_BYTES]> {
    let mut head = [0; HEAD_BYTES];
    head[0] = kind;
    head[1..5].copy_from_slice(&u32::try_from(block.len()).ok()?.to_le_bytes());
    head[5..9].copy_from_slice(&u32::try_from(unpacked).ok()?.to_le_bytes());
    head[9..13].copy_from_slice(&number.to_le_bytes());
    let sum = crc32c_append(crc32c(&head[..13]), block);
    head[13..].copy_from_slice(&sum.to_le_bytes());
    Some(head)
}

fn damaged(path: &Path, what: &str) -> Error {
    Error::new(Kind::Damage, Side::Own, format!("the spool {} {what}", path.display())).retryable().hint(
        "its chunk is read again from the source; where this comes again, look for errors of the disk of data_dir",
    )
}
