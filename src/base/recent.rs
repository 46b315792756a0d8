//! How long something took of late, and how often it failed.
//!
//! Promise: adding is a few relaxed additions without a lock, from any thread; what is older than asked for is not counted. A percentile is
//! told within an eighth of it. Of what two threads add at the very turn of a second a few may be lost: it is for people and throttles.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Seconds that are kept.
const SECONDS: usize = 32;
/// Four for each power of two microseconds, up to four hours.
const BUCKETS: usize = 128;

/// One second.
#[derive(Debug)]
struct Slot {
    /// Which second, and one more: 0 is none.
    second: AtomicU64,
    failed: AtomicU32,
    took: [AtomicU32; BUCKETS],
}

impl Default for Slot {
    fn default() -> Self {
        let took = std::array::from_fn(|_| AtomicU32::new(0));
        Self { second: AtomicU64::new(0), failed: AtomicU32::new(0), took }
    }
}

#[derive(Debug)]
struct Inner {
    slots: [Slot; SECONDS],
    bytes: AtomicU64,
}

/// What was added. Cheap to clone; all clones are one. 16 KiB.
#[derive(Clone, Debug)]
pub struct Recent(Arc<Inner>);

/// What there was of late.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OfLate {
    /// 95 of 100 took at most this; `None`: there was none.
    pub p95: Option<Duration>,
    /// All.
    pub all: u64,
    /// Those that failed.
    pub failed: u64,
}

impl Default for Recent {
    fn default() -> Self {
        let slots = std::array::from_fn(|_| Slot::default());
        Self(Arc::new(Inner { slots, bytes: AtomicU64::new(0) }))
    }
}

fn bucket(took: Duration) -> usize {
    let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(4);
    let octave = us.ilog2();
    let quarter = (us >> (octave - 2)) & 3;
    (((octave - 2) * 4) as usize + quarter as usize).min(BUCKETS - 1)
}

/// The middle of a bucket.
fn middle(bucket: usize) -> Duration {
    let (octave, quarter) = (bucket / 4, bucket % 4);
    Duration::from_micros(((4 + quarter as u64) * 2 + 1) << octave >> 1)
}

impl Recent {
    /// Something has come to its end, at this time of the clock that never goes back.
    pub fn add(&self, now: Duration, took: Duration, has_failed: bool) {
        let second = now.as_secs() + 1;
        let slot = &self.0.slots[(second % SECONDS as u64) as usize];
        if slot.second.swap(second, Relaxed) != second {
            slot.failed.store(0, Relaxed);
            slot.took.iter().for_each(|count| count.store(0, Relaxed));
        }
        slot.took[bucket(took)].fetch_add(1, Relaxed);
        if has_failed {
            slot.failed.fetch_add(1, Relaxed);
        }
    }

    /// So many bytes went, of whatever is added here.
    pub fn add_bytes(&self, bytes: usize) {
        self.0.bytes.fetch_add(bytes as u64, Relaxed);
    }

    /// All bytes since the start.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.bytes.load(Relaxed)
    }

    /// What there was in this time before `now`, at most the last 31 s.
    #[must_use]
    pub fn look(&self, now: Duration, how_long: Duration) -> OfLate {
        let newest = now.as_secs() + 1;
        let oldest = newest.saturating_sub(how_long.as_secs().min(SECONDS as u64 - 1));
        let mut sums = [0_u64; BUCKETS];
        let mut failed = 0;
        for slot in &self.0.slots {
            let second = slot.second.load(Relaxed);
            if second == 0 || second < oldest || second > newest {
                continue;
            }
            failed += u64::from(slot.failed.load(Relaxed));
            sums.iter_mut().zip(&slot.took).for_each(|(sum, count)| *sum += u64::from(count.load(Relaxed)));
        }
        let all: u64 = sums.iter().sum();
        let (rank, mut below) = ((all * 95).div_ceil(100), 0);
        let reaches = |count: &u64| {
            below += count;
            below >= rank
        };
        let p95 = (all > 0).then(|| sums.iter().position(reaches)).flatten().map(middle);
        OfLate { p95, all, failed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_percentile_is_near_what_was_added() {
        for us in [4, 5, 99, 1_000, 12_345, 999_999, 60_000_000, 1_000_000_000] {
            let recent = Recent::default();
            let took = Duration::from_micros(us);
            (0..96).for_each(|_| recent.add(s(5), took, false));
            (0..4).for_each(|_| recent.add(s(5), took * 100, true));
            let found = recent.look(s(5), s(30));
            let p95 = found.p95.unwrap().as_secs_f64() / took.as_secs_f64();
            assert!((0.87..=1.14).contains(&p95), "{us}: {p95}");
            assert_eq!((found.all, found.failed), (100, 4));
        }
        assert_eq!(Recent::default().look(s(9), s(30)), OfLate::default());
    }

    #[test]
    fn what_is_old_is_forgotten() {
        let recent = Recent::default();
        for second in 0..200 {
            recent.add(s(second), Duration::from_millis(second + 1), second % 2 == 0);
            let found = recent.look(s(second), s(30));
            assert_eq!(found.all, (second + 1).min(31), "{second}");
        }
        assert_eq!(recent.look(s(199), s(9)).all, 10);
        assert_eq!(recent.look(s(500), s(30)).all, 0, "nothing came for a long time");
        recent.add_bytes(5);
        recent.clone().add_bytes(6);
        assert_eq!(recent.bytes(), 11);
    }
}
