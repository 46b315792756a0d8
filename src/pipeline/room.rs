//! What all writes together may hold in memory, and one write's share of it.
//!
//! Promise: bytes are counted before they are kept, as they arrive and as they are unpacked. What finds no room in time is
//! refused, so that the client tries again. A write that needs more than there is at all waits for the whole and is then
//! alone with it: at most one such write exists.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Bytes are counted in units of this size.
const UNIT_BYTES: usize = 1024;

/// The bytes that writes may hold together. Cheap to clone; all clones are one budget.
#[derive(Clone, Debug)]
pub struct Budget {
    free: Arc<Semaphore>,
    units: usize,
    wait: Duration,
}

/// There was no room in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom;

impl Budget {
    /// `bytes` in whole KiB, at least one; `wait`: how long a write waits for room.
    #[must_use]
    pub fn new(bytes: usize, wait: Duration) -> Self {
        let units = (bytes / UNIT_BYTES).clamp(1, u32::MAX as usize).min(Semaphore::MAX_PERMITS);
        Self { free: Arc::new(Semaphore::new(units)), units, wait }
    }

    /// A share that holds nothing yet.
    #[must_use]
    pub fn room(&self) -> Room {
        Room { budget: self.clone(), bytes: 0, taken: None }
    }

    /// Bytes that nobody holds.
    #[must_use]
    pub fn free_bytes(&self) -> usize {
        self.free.available_permits() * UNIT_BYTES
    }
}

/// One write's share; given back when dropped.
#[derive(Debug)]
pub struct Room {
    budget: Budget,
    bytes: usize,
    taken: Option<OwnedSemaphorePermit>,
}

impl Room {
    /// Bytes held.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes room for so many more bytes.
    ///
    /// # Errors
    /// Nothing became free in time; the share stays as it was.
    pub async fn grow(&mut self, bytes: usize) -> Result<(), NoRoom> {
        let wanted = self.bytes.saturating_add(bytes);
        let have = self.units();
        let more = wanted.div_ceil(UNIT_BYTES).min(self.budget.units).saturating_sub(have);
        if more > 0 {
            let more = u32::try_from(more).map_err(|_| NoRoom)?;
            let permit = timeout(self.budget.wait, Arc::clone(&self.budget.free).acquire_many_owned(more)).await;
            let permit = permit.map_err(|_| NoRoom)?.map_err(|_| NoRoom)?;
            self.take(permit);
        }
        self.bytes = wanted;
        Ok(())
    }

    /// Takes room for so many more bytes if it is free at once.
    pub fn try_grow(&mut self, bytes: usize) -> bool {
        let wanted = self.bytes.saturating_add(bytes);
        let more = wanted.div_ceil(UNIT_BYTES).min(self.budget.units).saturating_sub(self.units());
        if more > 0 {
            let more = u32::try_from(more).unwrap_or(u32::MAX);
            let Ok(permit) = Arc::clone(&self.budget.free).try_acquire_many_owned(more) else { return false };
            self.take(permit);
        }
        self.bytes = wanted;
        true
    }

    fn take(&mut self, permit: OwnedSemaphorePermit) {
        match &mut self.taken {
            Some(taken) => taken.merge(permit),
            None => self.taken = Some(permit),
        }
    }

    /// Gives back what is beyond so many bytes.
    pub fn shrink_to(&mut self, bytes: usize) {
        self.bytes = self.bytes.min(bytes);
        let over = self.units().saturating_sub(self.bytes.div_ceil(UNIT_BYTES));
        if let Some(taken) = &mut self.taken {
            drop(taken.split(over));
        }
    }

    fn units(&self) -> usize {
        self.taken.as_ref().map_or(0, OwnedSemaphorePermit::num_permits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_held_is_taken_from_the_others_and_comes_back() {
        let budget = Budget::new(10 << 10, Duration::ZERO);
        let (mut one, mut other) = (budget.room(), budget.room());
        one.grow(6 << 10).await.unwrap();
        assert_eq!(other.grow(5 << 10).await, Err(NoRoom));
        assert!(!other.try_grow(5 << 10) && other.try_grow(4 << 10));
        other.shrink_to(0);
        one.shrink_to(1 << 10);
        assert_eq!(other.grow(5 << 10).await, Ok(()));
        assert_eq!(budget.free_bytes(), 4 << 10);
        drop((one, other));
        assert_eq!(budget.free_bytes(), 10 << 10);
    }

    #[tokio::test]
    async fn a_write_above_the_whole_goes_alone() {
        let budget = Budget::new(4 << 10, Duration::ZERO);
        let (mut large, mut small) = (budget.room(), budget.room());
        large.grow(64 << 10).await.unwrap();
        large.grow(64 << 10).await.unwrap();
        assert_eq!(small.grow(1).await, Err(NoRoom));
        drop(large);
        assert_eq!(small.grow(1).await, Ok(()));
    }
}
