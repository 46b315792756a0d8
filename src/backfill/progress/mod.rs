//! How far a job is, for people.

mod estimate;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::db::read::Window;
use crate::state::KeptProgress;

pub use estimate::{ALL_PPM, Estimate, Name};

/// What a job shows of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// Chunks that are written.
    pub chunks: u64,
    /// Points in them.
    pub points: u64,
    /// Cells in them.
    pub cells: u64,
    /// Bytes that were sent.
    pub bytes: u64,
    /// Lines that the destination refused.
    pub refused: u64,
    /// Chunks that were given up.
    pub failed: u64,
    /// Chunks that wait for being kept.
    pub settling: u64,
    /// Measurements × shard groups: done, and all that are known.
    pub units: (u64, u64),
    /// How much of the work is done, in parts per million; it never becomes less.
    #[serde(default)]
    pub done_ppm: u64,
    /// How long the rest takes, seconds, where that can be said.
    #[serde(default)]
    pub left_s: Option<u64>,
    /// What is being copied.
    pub now: String,
    /// Why nothing moves, where that is so.
    pub waits: Option<String>,
    /// What says that it must wait, with its figures.
    #[serde(default)]
    pub throttled: Option<String>,
}

/// What is told and not taken is bounded by this.
const TOLD_MAX: usize = 20;

/// The clock of work: it stands still while nothing may be begun.
#[derive(Clone, Copy, Debug, Default)]
struct Work {
    halted: Duration,
    since: Option<Duration>,
}

impl Work {
    fn at(self, now: Duration) -> Duration {
        let lasts = self.since.map_or(Duration::ZERO, |since| now.saturating_sub(since));
        now.saturating_sub(self.halted + lasts)
    }

    fn halt(&mut self, now: Duration, is_halted: bool) {
        match (is_halted, self.since) {
            (true, None) => self.since = Some(now),
            (false, Some(since)) => {
                self.halted += now.saturating_sub(since);
                self.since = None;
            }
            _ => {}
        }
    }
}

#[derive(Debug, Default)]
struct Inner {
    view: View,
    estimate: Estimate,
    counts: HashMap<Name, u64>,
    work: Work,
    /// Until when there is data, ns: the newest group ends later.
    newest_ns: i64,
    /// What is to be shown once it is durable.
    next: (u64, Option<u64>),
    /// Who waits, in the order in which they began, and why.
    waiting: BTreeMap<u64, String>,
    waited: u64,
    /// What people are to be told, and nobody has taken yet.
    told: Vec<String>,
}

/// The same, shared with whoever shows it.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<Mutex<Inner>>);

impl Inner {
    fn show_waits(&mut self) {
        let more = self.waiting.len().saturating_sub(1);
        self.view.waits = self.waiting.values().next().map(|why| match more {
            0 => why.clone(),
            more => format!("{why} (and {more} more)"),
        });
    }
}

/// One that waits; it does no more with this.
#[derive(Debug)]
pub struct Waiting {
    progress: Progress,
    number: u64,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut inner = self.progress.inner();
        inner.waiting.remove(&self.number);
        inner.show_waits();
    }
}

impl Progress {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Whoever panicked in these short sections left nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As it stands.
    #[must_use]
    pub fn view(&self) -> View {
        self.inner().view.clone()
    }

    /// Changes it.
    pub fn change(&self, change: impl FnOnce(&mut View)) {
        change(&mut self.inner().view);
    }

    /// Shows why one waits, until what this gives is gone. Of several that wait the oldest is shown, and how many more there are.
    #[must_use]
    pub fn waiting(&self, why: String) -> Waiting {
        let mut inner = self.inner();
        inner.waited += 1;
        let number = inner.waited;
        inner.waiting.insert(number, why);
        inner.show_waits();
        Waiting { progress: self.clone(), number }
    }

    /// Tells of something, in the log and to whoever shows this.
    pub fn tell(&self, event: &'static str, text: String) {
        tracing::warn!(event, "{text}");
        let mut inner = self.inner();
        if inner.told.len() < TOLD_MAX {
            inner.told.push(text);
        }
    }

    /// What was told since the last look.
    #[must_use]
    pub fn told(&self) -> Vec<String> {
        std::mem::take(&mut self.inner().told)
    }

    /// The source has counted the cells of a measurement: before the job begins.
    pub fn counted(&self, name: Name, cells: u64) {
        self.inner().counts.insert(name, cells);
    }

    /// A job begins, or goes on. `units`: all of it. `kept`, `done`: what a former process had come to, and the cells that it copied.
    /// `wall_ns`, `now`: the present moment.
    pub fn begin(
        &self,
        units: impl IntoIterator<Item = (Name, Window)>,
        (kept, done): (Option<KeptProgress>, Vec<(Name, u64)>),
        (wall_ns, now): (i64, Duration),
    ) {
        let mut inner = self.inner();
        inner.newest_ns = wall_ns;
        let kept = kept.unwrap_or_default();
        let lengths = units.into_iter().map(|(name, window)| (name, length(window, wall_ns)));
        let mut estimate = Estimate::new(lengths, kept.done_ppm, Duration::from_millis(kept.work_ms));
        for (name, cells) in std::mem::take(&mut inner.counts) {
            estimate.counted(&name, cells);
        }
        done.iter().for_each(|(name, cells)| estimate.resumed(name, *cells));
        estimate.begin(inner.work.at(now));
        inner.estimate = estimate;
        inner.view.done_ppm = kept.done_ppm;
        inner.next = (kept.done_ppm, None);
    }

    /// A part of a unit needs no copy any more.
    pub fn passed(&self, name: &Name, window: Window) {
        let mut inner = self.inner();
        let length = length(window, inner.newest_ns);
        inner.estimate.passed(name, length);
    }

    /// A window has come to its end; what is to be kept of that. It is shown by [`Progress::show`].
    pub fn chunk(&self, name: &Name, window: Window, cells: u64, now: Duration) -> KeptProgress {
        let mut inner = self.inner();
        let (length, at) = (length(window, inner.newest_ns), inner.work.at(now));
        inner.estimate.chunk(name, length, cells, at);
        let (done_ppm, left) = inner.estimate.look();
        let left_s = left.map(|left| left.as_secs());
        inner.next = (done_ppm, left_s);
        let work_ms = u64::try_from(inner.estimate.work().as_millis()).unwrap_or(u64::MAX);
        KeptProgress { done_ppm, work_ms, left_s }
    }

    /// What was to be kept is.
    pub fn show(&self) {
        let mut inner = self.inner();
        (inner.view.done_ppm, inner.view.left_s) = inner.next;
    }

    /// A unit is done.
    pub fn unit_done(&self, name: &Name) {
        let mut inner = self.inner();
        inner.estimate.unit_done(name);
        inner.view.units.0 += 1;
    }

    /// All is done.
    pub fn end(&self) {
        let mut inner = self.inner();
        inner.estimate.end();
        (inner.view.done_ppm, inner.view.left_s) = (ALL_PPM, Some(0));
    }

    /// Nothing may be begun, or something may be again.
    pub fn halt(&self, now: Duration, is_halted: bool) {
        self.inner().work.halt(now, is_halted);
    }
}

/// Of a window, as far as there can be data.
fn length(window: Window, newest_ns: i64) -> i64 {
    window.end_ns.min(newest_ns).saturating_sub(window.start_ns).max(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000_000_000;

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn what_is_shown_was_kept_and_time_in_which_nothing_may_begin_does_not_count() {
        let (progress, name): (_, Name) = (Progress::default(), (0, b"m"[..].into()));
        let window = |hour: i64| Window { start_ns: hour * HOUR, end_ns: (hour + 1) * HOUR };
        let units: Vec<_> = (0..10).rev().map(|hour| (name.clone(), window(hour))).collect();
        progress.begin(units, (None, Vec::new()), (10 * HOUR, s(100)));
        let kept = progress.chunk(&name, window(9), 1000, s(110));
        assert_eq!((progress.view().done_ppm, kept.done_ppm), (0, 100_000));
        progress.show();
        assert_eq!((progress.view().done_ppm, progress.view().left_s), (100_000, Some(90)));
        progress.unit_done(&name);
        progress.halt(s(111), true);
        progress.halt(s(500), true);
        progress.halt(s(1_111), false);
        let kept = progress.chunk(&name, window(8), 1000, s(1_120));
        assert_eq!((kept.done_ppm, kept.work_ms, kept.left_s), (200_000, 20_000, Some(80)));
        progress.end();
        assert_eq!((progress.view().done_ppm, progress.view().units.0), (ALL_PPM, 1));
    }

    #[test]
    fn of_several_that_wait_the_oldest_is_shown_and_how_many_more_there_are() {
        let progress = Progress::default();
        let waits = || progress.view().waits;
        let first = progress.waiting("no room".to_owned());
        let second = progress.waiting("no answer".to_owned());
        assert_eq!(waits().as_deref(), Some("no room (and 1 more)"));
        drop(first);
        assert_eq!(waits().as_deref(), Some("no answer"), "one that goes on takes no reason of another away");
        progress.change(|view| view.points = 1);
        assert!(waits().is_some());
        drop(second);
        assert_eq!(waits(), None);
    }

    #[test]
    fn the_newest_group_is_as_long_as_there_can_be_data() {
        assert_eq!(length(Window { start_ns: 0, end_ns: 10 }, 4), 4);
        assert_eq!(length(Window { start_ns: 5, end_ns: 10 }, 4), 0, "it lies ahead");
        assert_eq!(length(Window { start_ns: i64::MIN, end_ns: i64::MAX }, 4), i64::MAX);
    }
}
