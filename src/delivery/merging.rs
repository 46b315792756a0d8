//! Lines of one record that are one row at the destination: those of one series and time.
//!
//! Promise: what goes together depends on the record alone, so that it is the same when the record is sent again. A destination
//! that replaces a row as a whole (QuestDB with `DEDUP UPSERT KEYS`) holds then what InfluxDB does of each request.

use std::collections::HashMap;
use std::ops::Range;

use xxhash_rust::xxh3::xxh3_64;

use super::shaping::Shaped;
use crate::line::Outline;
use crate::queue::{Intent, Spans};
use crate::wal::Record;

/// Where in the record's body lines of one series and time are, and how many of them are not dealt out yet.
#[derive(Debug, Default)]
struct Group {
    lines: Vec<Range<usize>>,
    left: usize,
}

/// Lines that belong together.
#[derive(Debug, Default)]
pub(super) struct Merging(HashMap<u64, Group>);

/// What else is in the row of a line.
#[derive(Clone, Copy, Debug)]
pub(super) enum Row<'m> {
    /// Nothing.
    Alone,
    /// A line that follows; it takes what this one holds along.
    Earlier,
    /// These lines, itself as the last of them.
    Last(&'m [Range<usize>]),
}

impl Merging {
    /// Looks at all lines of a record: one pass where no two belong together.
    pub(super) fn of(record: &Record, intent: &Intent, spans: &Spans, shaped: &Shaped) -> Self {
        let mut rows = Vec::new();
        shaped.lines(record, intent, spans, |_, found| rows.push(row(&found, intent)));
        rows.sort_unstable();
        let twice = rows.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| (pair[0], Group::default()));
        let mut groups: HashMap<_, _> = twice.collect();
        if !groups.is_empty() {
            shaped.lines(record, intent, spans, |_, found| {
                if let Some(group) = groups.get_mut(&row(&found, intent)) {
                    group.lines.push(found.span.clone());
                    group.left += 1;
                }
            });
        }
        Self(groups)
    }

    /// What the next line is; to be asked once for each, in order.
    pub(super) fn next(&mut self, found: &Outline<'_>, intent: &Intent) -> Row<'_> {
        if self.0.is_empty() {
            return Row::Alone;
        }
        let Some(group) = self.0.get_mut(&row(found, intent)) else { return Row::Alone };
        group.left = group.left.saturating_sub(1);
        if group.left > 0 { Row::Earlier } else { Row::Last(&group.lines) }
    }
}

fn row(found: &Outline<'_>, intent: &Intent) -> u64 {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&found.series.to_le_bytes());
    bytes[8..].copy_from_slice(&found.time_ns.unwrap_or(intent.max_ns).to_le_bytes());
    xxh3_64(&bytes)
}
