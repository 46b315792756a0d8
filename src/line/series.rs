//! Which series a line belongs to.

use smallvec::SmallVec;
use xxhash_rust::xxh3::xxh3_64;

use super::point::Line;

/// A hash of the line's series: equal for equal series, however they are escaped and however their tags are ordered.
#[must_use]
pub fn series_hash(line: &Line<'_>) -> u64 {
    let mut key = SmallVec::<[u8; 512]>::new();
    let mut part = |bytes: &[u8]| {
        // The length before each part keeps `a` + `bc` apart from `ab` + `c`.
        key.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        key.extend_from_slice(bytes);
    };
    part(&line.measurement());
    for tag in line.sorted_tags() {
        part(&tag.key());
        part(&tag.value());
    }
    xxh3_64(&key)
}
