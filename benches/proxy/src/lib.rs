//! What the measurements of the whole program share: the program as a process, databases that do no work, writers on a schedule.
//!
//! Everything runs on the loopback address and ends with the measurement; only processes that it started are ended, by their id.

#![allow(clippy::disallowed_methods, reason = "a measurement reads the clock itself, and waits")]

pub mod arguments;
pub mod bodies;
pub mod database;
pub mod gate;
pub mod history;
pub mod load;
pub mod program;
pub mod stub;
pub mod wire;

/// The value below which this share of them lies; 0 where there is none. Sorts them.
pub fn percentile(values: &mut [u64], share: f64) -> u64 {
    values.sort_unstable();
    let at = (values.len() as f64 * share) as usize;
    values.get(at.min(values.len().saturating_sub(1))).copied().unwrap_or_default()
}

/// The middle one.
#[must_use]
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
