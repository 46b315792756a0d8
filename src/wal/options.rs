//! How a log is set up.

use std::path::PathBuf;
use std::time::Duration;

use super::squeeze::Compression;
use crate::base::{Error, Kind, Result, Side};

/// Smallest segment in bytes.
pub const SEGMENT_MIN_BYTES: u64 = 1 << 20;
const SEGMENT_MAX_BYTES: u64 = 4 << 30;

/// How a log is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// The log's directory (`<data>/wal`); created where missing.
    pub dir: PathBuf,
    /// Length of a segment file; 1 MiB to 4 GiB.
    pub segment_bytes: u64,
    /// Bound for all segment files, prepared ones included; at least two segments.
    pub max_bytes: u64,
    /// Free space of the file system that the log never uses.
    pub reserve_free_bytes: u64,
    /// A group is written when it has this size; one larger record excepted.
    pub group_bytes: usize,
    /// Bundles that may wait.
    pub channel_bundles: usize,
    /// Bytes that may wait; a single larger bundle is taken when nothing else waits.
    pub channel_bytes: usize,
    /// Between two passes of scrubbing; none: there are none.
    pub scrub_every: Option<Duration>,
    /// Readers map complete segments instead of reading them into buffers; measured (`benches/wal_read`), buffers are as fast or
    /// faster.
    pub mapped: bool,
    /// How bodies are stored.
    pub compression: Compression,
    /// This installation.
    pub node: [u8; 16],
}

impl Options {
    /// The defaults below a directory.
    #[must_use]
    pub fn new(dir: PathBuf) -> Self {
        Self {
            dir,
            segment_bytes: 128 << 20,
            max_bytes: 20 << 30,
            reserve_free_bytes: 1 << 30,
            group_bytes: 1 << 20,
            channel_bundles: 1024,
            channel_bytes: 64 << 20,
            scrub_every: None,
            mapped: false,
            compression: Compression::None,
            node: [0; 16],
        }
    }

    pub(crate) fn check(&self) -> Result<()> {
        let bad = |what: String| Err(Error::new(Kind::Config, Side::Own, what));
        if !(SEGMENT_MIN_BYTES..=SEGMENT_MAX_BYTES).contains(&self.segment_bytes) {
            return bad(format!("a log segment of {} bytes is not between 1 MiB and 4 GiB", self.segment_bytes));
        }
        if self.max_bytes < 2 * self.segment_bytes {
            return bad(format!(
                "a log of {} bytes does not hold two segments of {}",
                self.max_bytes, self.segment_bytes
            ));
        }
        Ok(())
    }
}
