//! How large a request may be, learned from what the destination takes.
//!
//! Promise: after a refusal for its size no request is as large as the refused one, until the lesson is [`FORGET`] old;
//! the bound found lies within an eighth of the real one.

use std::cell::Cell;
use std::time::Duration;

/// A limit may be raised: after this long it is looked for anew.
const FORGET: Duration = Duration::from_secs(3600);
/// No request is cut below this for its size alone.
const BYTES_MIN: usize = 1 << 10;

/// What is known, in bytes before compression.
#[derive(Debug)]
pub(super) struct Sizes {
    /// The largest request that was taken, below `refused`.
    taken: Cell<usize>,
    /// The smallest that was refused.
    refused: Cell<usize>,
    refused_at: Cell<Duration>,
}

impl Sizes {
    pub(super) fn new() -> Self {
        Self { taken: Cell::new(0), refused: Cell::new(usize::MAX), refused_at: Cell::default() }
    }

    /// A request of this size was stored.
    pub(super) fn taken(&self, bytes: usize) {
        if bytes < self.refused.get() {
            self.taken.set(self.taken.get().max(bytes));
        }
    }

    /// A request of this size was too large. True when that is news.
    pub(super) fn refused(&self, bytes: usize, now: Duration) -> bool {
        let known = self.refused.get();
        self.refused_at.set(now);
        self.refused.set(known.min(bytes));
        if self.taken.get() >= bytes {
            // Compression or another server: what was taken before says nothing any more.
            self.taken.set(0);
        }
        known == usize::MAX
    }

    /// The largest request to try next.
    pub(super) fn bytes_max(&self, now: Duration) -> usize {
        let refused = self.refused.get();
        if refused == usize::MAX {
            return refused;
        }
        if now.saturating_sub(self.refused_at.get()) > FORGET {
            self.refused.set(usize::MAX);
            return usize::MAX;
        }
        let taken = self.taken.get();
        let near = refused - taken <= refused / 8;
        let next = if near { taken } else { taken + (refused - taken) / 2 };
        next.max(BYTES_MIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_size_that_is_taken_is_found_and_kept() {
        let (sizes, limit, now) = (Sizes::new(), 1_000_000, Duration::from_secs(9));
        let mut refusals = 0;
        for _ in 0..100 {
            let size = sizes.bytes_max(now).min(4 << 20);
            if size > limit {
                refusals += 1;
                sizes.refused(size, now);
            } else {
                sizes.taken(size);
            }
        }
        assert!(refusals <= 5, "{refusals} refusals");
        let found = sizes.bytes_max(now);
        assert!((875_000..=limit).contains(&found), "{found}");
        assert_eq!(sizes.bytes_max(now + FORGET * 2), usize::MAX, "a limit may have been raised");
    }

    #[test]
    fn a_limit_that_was_lowered_is_found_too_and_only_the_first_refusal_is_news() {
        let (sizes, now) = (Sizes::new(), Duration::ZERO);
        sizes.taken(500_000);
        assert!(sizes.refused(400_000, now));
        assert_eq!(sizes.bytes_max(now), 200_000);
        assert!(!sizes.refused(200_000, now));
        sizes.refused(10, now);
        assert_eq!(sizes.bytes_max(now), BYTES_MIN);
    }
}
