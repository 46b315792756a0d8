//! What reading back shows of itself, from any thread.

use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::backfill::progress::Progress;

/// Reasons that are shown.
pub(super) const WAITS_MAX: usize = 20;

/// Something that waits, and for what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadBackWait {
    /// Measurement and route.
    pub what: String,
    /// Lines of it that are missing, as far as they are known.
    pub lines: u64,
    /// Why it waits.
    pub why: String,
}

/// How far it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReadBackView {
    /// Whether it is done by itself (`readback.enabled`).
    pub enabled: bool,
    /// What is being copied.
    pub now: String,
    /// Why nothing is done at all, where that is so.
    pub waits: Option<String>,
    /// Regions and gaps of which a request may still take effect at the source: they are read later.
    pub unripe: u64,
    /// All that it knows of.
    pub rows: u64,
    /// What could not be copied yet, and why; at most 20.
    pub waiting: Vec<ReadBackWait>,
    /// Parts that were copied since the start.
    pub parts: u64,
    /// Points in them.
    pub points: u64,
}

#[derive(Debug, Default)]
struct Inner {
    view: Mutex<ReadBackView>,
    /// What its writer and its limits show.
    progress: Progress,
}

/// Shared by whoever reads back and whoever shows it; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct ReadBackShown(Arc<Inner>);

impl ReadBackShown {
    /// As it stands.
    #[must_use]
    pub fn view(&self) -> ReadBackView {
        let mut view = self.0.view.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let around = self.0.progress.view();
        view.waits = view.waits.or(around.throttled).or(around.waits);
        view
    }

    /// Where whoever writes for it shows why it waits.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.0.progress.clone()
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut ReadBackView)) {
        change(&mut self.0.view.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
