//! Which series a line belongs to.

use std::ops::Range;

use super::escape;
use super::fast::PLAIN_TAGS;
use super::point::{Field, Line, Sink, Tag};

/// A hash of the line's series ([`SeriesKey::FIXED`]): equal for equal series, however they are escaped and however their tags are
/// ordered.
#[must_use]
pub fn series_hash(line: &Line<'_>) -> u64 {
    series_hash_with(SeriesKey::FIXED, line)
}

/// The same with a key.
#[must_use]
pub fn series_hash_with(key: SeriesKey, line: &Line<'_>) -> u64 {
    let mut hash = SeriesHash::new(key);
    line.tags().iter().for_each(|tag| hash.tag(*tag));
    hash.with_measurement(line.raw_measurement())
}

/// Chooses one of very many hashes of series. Who does not know the key cannot make up series with equal hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeriesKey {
    first: u64,
    last: u64,
    /// For long names.
    seed: u64,
}

impl SeriesKey {
    /// The same in every process and version: for what outlives the process, such as the lane of a series.
    pub const FIXED: Self = Self { first: KEYS[0], last: KEYS[3], seed: 0 };

    /// From 128 random bits.
    #[must_use]
    pub const fn new(random: u128) -> Self {
        let (low, high) = (random as u64, (random >> 64) as u64);
        Self { first: KEYS[0] ^ low, last: KEYS[3] ^ high, seed: low.rotate_left(32) ^ high }
    }

    /// Names are short: sixteen bytes at most are read in two loads that may overlap.
    #[inline(always)]
    pub(super) fn hash(&self, name: &[u8]) -> u64 {
        let length = name.len() as u64;
        let (a, b) = match name.len() {
            0 => (0, 0),
            1..=3 => {
                let (first, middle, last) = (name[0], name[name.len() / 2], name[name.len() - 1]);
                (u64::from(first) | u64::from(middle) << 8 | u64::from(last) << 16, 0)
            }
            4..=7 => (four(name), four(&name[name.len() - 4..])),
            8..=16 => (eight(name), eight(&name[name.len() - 8..])),
            _ => return xxhash_rust::xxh3::xxh3_64_with_seed(name, self.seed),
        };
        folded(a ^ self.first ^ length, b ^ self.last)
    }
}

/// Hashes tags while a line is read. Their hashes are added up, so that order does not matter and nothing is sorted.
#[derive(Debug)]
pub(super) struct SeriesHash {
    key: SeriesKey,
    tags: u64,
    /// Hashes of the keys of the line, and of one whose keys it shares; how many were received one by one.
    keys: [u64; PLAIN_TAGS],
    count: usize,
}

impl SeriesHash {
    pub(super) fn new(key: SeriesKey) -> Self {
        Self { key, tags: 0, keys: [0; PLAIN_TAGS], count: 0 }
    }

    #[inline(always)]
    fn add(&mut self, key: &[u8], value: &[u8]) {
        // Two tags that differ in where the key ends have different pairs of hashes.
        let key = self.key.hash(key) ^ KEYS[2];
        if let Some(known) = self.keys.get_mut(self.count) {
            *known = key;
        }
        self.count += 1;
        self.tags = self.tags.wrapping_add(folded(key, self.key.hash(value)));
    }

    /// The series of the line whose tags came since the last `clear`.
    #[inline(always)]
    pub(super) fn with_measurement(&self, raw: &[u8]) -> u64 {
        let measurement =
            if raw.contains(&b'\\') { self.key.hash(&escape::unescape_name(raw)) } else { self.key.hash(raw) };
        // Multiplied before they are added: a measurement is no tag.
        folded(measurement.wrapping_add(self.tags.wrapping_mul(KEYS[0])), KEYS[1])
    }
}

impl<'a> Sink<'a> for SeriesHash {
    #[inline(always)]
    fn clear(&mut self) {
        (self.tags, self.count) = (0, 0);
    }

    fn tag(&mut self, tag: Tag<'a>) {
        self.add(&escape::unescape_tag(tag.key), &escape::unescape_tag(tag.value));
    }

    #[inline(always)]
    fn field(&mut self, _: Field<'a>) {}

    #[inline(always)]
    fn plain_tag(&mut self, body: &'a [u8], key: Range<usize>, value: Range<usize>) {
        self.add(&body[key], &body[value]);
    }

    #[inline(always)]
    fn known_tag(&mut self, number: usize, body: &'a [u8], _: Range<usize>, value: Range<usize>) {
        let key = self.keys.get(number).copied().unwrap_or_default();
        self.tags = self.tags.wrapping_add(folded(key, self.key.hash(&body[value])));
    }

    #[inline(always)]
    fn plain_number(&mut self, _: &'a [u8], _: Range<usize>, _: Range<usize>) {}
}

/// Odd, and with as many ones as zeros.
const KEYS: [u64; 4] = [0x9e37_79b9_7f4a_7c15, 0xbf58_476d_1ce4_e5b9, 0x94d0_49bb_1331_11eb, 0xd6e8_feb8_6659_fd93];

/// Both halves of the product, and both factors: no factor that happens to be zero can hide the other.
#[inline(always)]
fn folded(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ (product >> 64) as u64 ^ a ^ b.rotate_left(32)
}

#[inline(always)]
fn four(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |bytes| u64::from(u32::from_le_bytes(*bytes)))
}

#[inline(always)]
fn eight(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_bit_of_a_name_counts() {
        let hash = |name: &[u8]| SeriesKey::FIXED.hash(name);
        for length in 1..=40 {
            for byte in [0, b'0', b'a', 0xff] {
                let name = vec![byte; length];
                let mut seen = HashSet::from([hash(&name)]);
                for bit in 0..length * 8 {
                    let mut other = name.clone();
                    other[bit / 8] ^= 1 << (bit % 8);
                    assert!(seen.insert(hash(&other)), "{length} times {byte}, bit {bit}");
                }
            }
        }
    }

    const FIXED_HASHES: [u64; 6] = [
        3_582_315_402_752_647_928,
        9_200_930_324_191_018_304,
        3_763_457_573_987_670_721,
        14_045_633_079_632_510_521,
        16_484_354_335_972_914_811,
        8_993_681_504_502_820_386,
    ];

    #[test]
    fn keys_are_fixed_or_make_another_hash_of_every_name() {
        // Floors of lanes on disk rely on these.
        let fixed = ["", "cpu", "host", "server-1", "usage_user", "a name of more than sixteen bytes"]
            .map(|name| SeriesKey::FIXED.hash(name.as_bytes()));
        assert_eq!(fixed, FIXED_HASHES);
        for length in 0..=40 {
            let name = vec![b'a'; length];
            // Long names are hashed under 64 of the bits.
            let bits = if length > 16 { 64 } else { 128 };
            let hashes: HashSet<u64> = (0..bits).map(|bit| SeriesKey::new(1 << bit).hash(&name)).collect();
            assert_eq!(hashes.len(), bits, "{length}");
            assert!(!hashes.contains(&SeriesKey::FIXED.hash(&name)), "{length}");
        }
    }

    #[test]
    fn many_series_of_devices_all_differ_and_fill_lanes_evenly() {
        let (mut seen, mut lanes) = (HashSet::new(), [0u32; 4]);
        for device in 0..100_000u32 {
            for (key, value) in [("host", format!("server-{device}")), ("id", format!("{device:016x}"))] {
                let mut series = SeriesHash::new(SeriesKey::FIXED);
                series.tag(Tag { key: key.as_bytes(), value: value.as_bytes() });
                series.tag(Tag { key: b"region", value: b"eu-west" });
                let hash = series.with_measurement(b"cpu");
                assert!(seen.insert(hash), "{key}={value}");
                lanes[(hash % 4) as usize] += 1;
            }
        }
        assert!(lanes.iter().all(|lines| (49_000..51_000).contains(lines)), "{lanes:?}");
    }
}
