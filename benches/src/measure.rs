//! What the benchmarks of the log share: processor time, percentiles, folders on a disk, arguments.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use twinline::wal::Compression;

/// Processor time of all threads so far, the kernel's share included.
#[must_use]
pub fn processor() -> Duration {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec.cast_unsigned(), u32::try_from(now.tv_nsec).unwrap_or_default())
}

/// The value below which this share of them lies; 0 where there is none. Sorts them.
pub fn percentile(values: &mut [u64], share: f64) -> u64 {
    values.sort_unstable();
    let at = (values.len() as f64 * share) as usize;
    values.get(at.min(values.len().saturating_sub(1))).copied().unwrap_or_default()
}

/// The middle one.
#[must_use]
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// A folder of its own below `place`, removed at the end.
///
/// # Panics
/// When it cannot be made.
#[must_use]
pub fn folder(place: &Path) -> tempfile::TempDir {
    tempfile::Builder::new().prefix("twinline-wal-").tempdir_in(place).expect("a folder for the log")
}

/// How the log stores bodies: `--compression none|lz4|zstd`.
///
/// # Panics
/// For another word.
#[must_use]
pub fn compression(arguments: &Arguments) -> Compression {
    match arguments.text("--compression") {
        None | Some("none") => Compression::None,
        Some("lz4") => Compression::Lz4,
        Some("zstd") => Compression::Zstd,
        Some(other) => panic!("none, lz4 or zstd, not {other}"),
    }
}

/// `--name VALUE`s and `--flag`s; what cargo adds is ignored.
#[derive(Debug)]
pub struct Arguments(Vec<String>);

impl Arguments {
    /// Those of the process.
    #[must_use]
    pub fn new() -> Self {
        Self(std::env::args().skip(1).collect())
    }

    /// Whether the flag is there.
    #[must_use]
    pub fn has(&self, flag: &str) -> bool {
        self.0.iter().any(|argument| argument == flag)
    }

    /// The text after a name.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        let at = self.0.iter().position(|argument| argument == name)?;
        self.0.get(at + 1).map(String::as_str)
    }

    /// The number after a name, or what is usual.
    #[must_use]
    pub fn number(&self, name: &str, usual: f64) -> f64 {
        self.text(name).and_then(|text| text.parse().ok()).unwrap_or(usual)
    }

    /// Where the log lies: `--disk DIR`, else the build's own folder.
    #[must_use]
    pub fn disk(&self, usual: &str) -> PathBuf {
        self.text("--disk").unwrap_or(usual).into()
    }
}

impl Default for Arguments {
    fn default() -> Self {
        Self::new()
    }
}
