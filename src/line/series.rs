//! Which series a line belongs to.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::point::Line;

/// A hash of the line's series: equal for equal series, however they are escaped and however their tags are ordered.
#[must_use]
pub fn series_hash(line: &Line<'_>) -> u64 {
    // Each part seeds the next, so that `a` + `bc` and `ab` + `c` differ without being copied side by side.
    let mut hash = xxh3_64_with_seed(&line.measurement(), 0);
    line.in_order(|tag| {
        hash = xxh3_64_with_seed(&tag.key(), hash);
        hash = xxh3_64_with_seed(&tag.value(), hash);
    });
    hash
}
