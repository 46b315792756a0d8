//! Which series a line belongs to.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::escape;
use super::point::{Field, Line, Sink, Tag};

/// Separates the measurement's hash from those of tags.
const MEASUREMENT_SEED: u64 = 1;

/// A hash of the line's series: equal for equal series, however they are escaped and however their tags are ordered.
#[must_use]
pub fn series_hash(line: &Line<'_>) -> u64 {
    let mut hash = SeriesHash::default();
    line.tags().iter().for_each(|tag| hash.tag(*tag));
    hash.with_measurement(line.raw_measurement())
}

/// Hashes tags while a line is read. Their hashes are added up, so that order does not matter and nothing is sorted.
#[derive(Debug, Default)]
pub(super) struct SeriesHash {
    tags: u64,
}

impl SeriesHash {
    #[inline(always)]
    fn add(&mut self, key: u64, value: u64) {
        // Two tags that differ in where the key ends have different pairs of hashes.
        self.tags = self.tags.wrapping_add(mixed(key.rotate_left(32) ^ value));
    }

    /// The series of the line whose tags came since the last `clear`.
    #[inline]
    pub(super) fn with_measurement(&self, raw: &[u8]) -> u64 {
        let measurement = match memchr::memchr(b'\\', raw) {
            None => xxh3_64_with_seed(raw, MEASUREMENT_SEED),
            Some(_) => xxh3_64_with_seed(&escape::unescape_name(raw), MEASUREMENT_SEED),
        };
        // One more round, so that the lowest bits depend on all of it.
        mixed(measurement.wrapping_add(self.tags))
    }
}

impl<'a> Sink<'a> for SeriesHash {
    #[inline(always)]
    fn clear(&mut self) {
        self.tags = 0;
    }

    fn tag(&mut self, tag: Tag<'a>) {
        self.add(xxh3_64(&escape::unescape_tag(tag.key)), xxh3_64(&escape::unescape_tag(tag.value)));
    }

    #[inline(always)]
    fn plain_tag(&mut self, tag: Tag<'a>) {
        self.add(xxh3_64(tag.key), xxh3_64(tag.value));
    }

    #[inline(always)]
    fn field(&mut self, _: Field<'a>) {}
}

/// Spreads every bit over all others (the finalizer of SplitMix64).
#[inline(always)]
fn mixed(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}
