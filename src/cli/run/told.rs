//! Which damage of the log operators have heard of.
//!
//! Promise: each is news once, whoever meets it, also after restarts: numbers of records are never used again. What is remembered
//! is bounded; beyond that the oldest is forgotten, and may be told again.

use std::sync::{Mutex, PoisonError};

use crate::base::Lsn;
use crate::state::SharedState;

/// A value of the state store: first and last record of each, 16 bytes little endian.
const NAME: &str = "damage-told";
/// Damages that are remembered.
const TOLD_MAX: usize = 4096;

/// What was told.
pub(super) struct Told {
    state: SharedState,
    list: Mutex<Vec<(Lsn, Lsn)>>,
}

impl Told {
    /// As the state store remembers it; nothing where that cannot be read.
    pub(super) fn remembered(state: &SharedState) -> Self {
        let bytes = state.get(NAME).wait().ok().flatten().unwrap_or_default();
        let number = |bytes: &[u8]| bytes.try_into().map_or(Lsn::ZERO, |bytes| Lsn(u64::from_le_bytes(bytes)));
        let list = bytes.chunks_exact(16).map(|pair| (number(&pair[..8]), number(&pair[8..]))).collect();
        Self { state: SharedState::clone(state), list: Mutex::new(list) }
    }

    /// Has `tell` called if damage of these records was not told yet; from then on it was. A crash between the two repeats it.
    pub(super) fn once(&self, first: Lsn, last: Lsn, tell: impl FnOnce()) {
        // A panic cannot leave the list half changed.
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        if list.iter().any(|told| told.0 <= first && last <= told.1) {
            return;
        }
        tell();
        if list.len() >= TOLD_MAX {
            list.remove(0);
        }
        list.push((first, last));
        let pair = |told: &(Lsn, Lsn)| [told.0.0.to_le_bytes(), told.1.0.to_le_bytes()].concat();
        // On a full disk it is told again after the next start.
        drop(self.state.set(NAME, list.iter().flat_map(pair).collect()));
    }
}
