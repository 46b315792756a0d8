//! How many requests are under way at once: fewer when the destination is crowded, one alone when it is under suspicion of
//! bringing the destination down.

use std::cell::Cell;

use tokio::sync::{Semaphore, SemaphorePermit};

/// After so many requests that went well, one more may be under way at once.
const GROW_AFTER: u32 = 20;

/// Turns for the requests of all lanes.
#[derive(Debug)]
pub(super) struct Crowd {
    turns: Semaphore,
    lanes: u32,
    /// Requests at once, 1 to `lanes`.
    allowed: Cell<u32>,
    went_well: Cell<u32>,
}

impl Crowd {
    pub(super) fn new(lanes: usize) -> Self {
        let lanes = u32::try_from(lanes).unwrap_or(1).max(1);
        Self { turns: Semaphore::new(lanes as usize), lanes, allowed: Cell::new(lanes), went_well: Cell::new(0) }
    }

    /// Waits for a turn; with `alone`, until nothing else is under way. First come, first served.
    pub(super) async fn turn(&self, alone: bool) -> SemaphorePermit<'_> {
        let share = if alone { self.lanes } else { self.lanes.div_ceil(self.allowed.get()) };
        self.turns.acquire_many(share).await.expect("the turns are never closed")
    }

    /// The destination asks for less.
    pub(super) fn crowded(&self) {
        self.allowed.set((self.allowed.get() / 2).max(1));
        self.went_well.set(0);
    }

    /// A request was answered as it should be.
    pub(super) fn went_well(&self) {
        if self.allowed.get() == self.lanes {
            return;
        }
        self.went_well.set(self.went_well.get() + 1);
        if self.went_well.get() >= GROW_AFTER {
            self.went_well.set(0);
            self.allowed.set(self.allowed.get() + 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_once(crowd: &Crowd) -> usize {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let mut held = Vec::new();
            while let Ok(turn) = tokio::time::timeout(std::time::Duration::from_millis(1), crowd.turn(false)).await {
                held.push(turn);
            }
            held.len()
        })
    }

    #[test]
    fn a_crowded_destination_gets_fewer_at_once_and_later_more_again() {
        let crowd = Crowd::new(4);
        assert_eq!(at_once(&crowd), 4);
        crowd.crowded();
        assert_eq!(at_once(&crowd), 2);
        crowd.crowded();
        crowd.crowded();
        assert_eq!(at_once(&crowd), 1);
        (0..GROW_AFTER * 3).for_each(|_| crowd.went_well());
        assert_eq!(at_once(&crowd), 4);
    }

    #[test]
    fn one_alone_waits_for_all_others() {
        let crowd = Crowd::new(3);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let _alone = crowd.turn(true).await;
            let other = tokio::time::timeout(std::time::Duration::from_millis(1), crowd.turn(false)).await;
            assert!(other.is_err());
        });
    }
}
