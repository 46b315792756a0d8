//! What was handed out of a packed file before its checksum was known.
//!
//! Promise: what it names is never less than what may be false. It is bounded: some names, and the first and the last time.

use std::collections::BTreeSet;

use super::super::lint::excerpt::readable;
use crate::backfill::files::Gathered;

/// Measurements that are named.
const NAMES_MAX: usize = 8;

/// Points that may be false, when the checksum does not hold.
#[derive(Debug, Default)]
pub(super) struct Doubt {
    points: u64,
    times_ns: Option<(i64, i64)>,
    names: BTreeSet<String>,
    has_more: bool,
}

impl Doubt {
    pub(super) fn add(&mut self, points: &[Gathered]) {
        self.points += points.len() as u64;
        for Gathered { point, .. } in points {
            let (first, last) = self.times_ns.unwrap_or((point.time_ns, point.time_ns));
            self.times_ns = Some((first.min(point.time_ns), last.max(point.time_ns)));
            let name = readable(&String::from_utf8_lossy(point.series.measurement()));
            if !self.names.contains(name.as_str()) {
                match self.names.len() < NAMES_MAX {
                    true => _ = self.names.insert(name),
                    false => self.has_more = true,
                }
            }
        }
    }

    /// Which they are, for people; `None`: there are none.
    pub(super) fn told(&self) -> Option<String> {
        let (first, last) = self.times_ns?;
        let names: Vec<&str> = self.names.iter().map(String::as_str).collect();
        let more = if self.has_more { " and others" } else { "" };
        Some(format!("{} points with times from {first} to {last} (ns) of {}{more}", self.points, names.join(", ")))
    }
}
