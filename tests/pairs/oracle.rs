//! What the writers' own records say of the source, for destinations that cannot be compared with it cell by cell.

use std::collections::HashMap;
use std::sync::Arc;

use twinline::cell::{Cell, Series, Value, compare};

use crate::judge::Place;
use crate::points::Line;
use crate::run::{Event, Own};

/// Measurements with one writer each, so that its record is what the source holds.
pub(crate) fn is_own(series: &Series) -> bool {
    [&b"own"[..], b"told"].iter().any(|begin| series.measurement().starts_with(begin))
}

/// Cells that a destination without upserts or deletes holds beyond the source's.
#[derive(Debug, Default)]
pub(crate) struct Beyond {
    /// Values that others have replaced.
    pub(crate) overwritten: u64,
    /// Cells that were deleted.
    pub(crate) deleted: u64,
}

/// What one writer's measurements hold at the source.
fn alive(own: &Own, beyond: &mut Beyond) -> HashMap<Place, Value> {
    let mut cells: HashMap<Place, Value> = HashMap::new();
    for event in &own.events {
        match event {
            Event::Wrote(lines) => {
                for Line { series, time_ns, fields } in lines.iter().filter(|line| is_own(&line.series)) {
                    let Some(time_ns) = *time_ns else { continue };
                    for (field, value) in fields {
                        let place = (Arc::clone(series), Arc::clone(field), time_ns);
                        let before = cells.insert(place, value.clone());
                        beyond.overwritten += u64::from(before.is_some_and(|before| before != *value));
                    }
                }
            }
            Event::Deleted(reach) => {
                let before = cells.len();
                cells.retain(|(series, _, time_ns), _| !reach.has(series, *time_ns));
                beyond.deleted += (before - cells.len()) as u64;
            }
        }
    }
    cells
}

/// The source holds what the writers' records say, to the cell.
pub(crate) fn check_source(name: &str, writers: &[Own], source: &[Cell]) -> Beyond {
    let mut beyond = Beyond::default();
    let said = writers.iter().flat_map(|own| alive(own, &mut beyond)).collect::<Vec<_>>();
    let said = said.into_iter().map(|((series, field, time_ns), value)| Cell { series, field, time_ns, value });
    let differences = compare(said, source.iter().filter(|cell| is_own(&cell.series)).cloned());
    assert!(differences.is_empty(), "{name}: left the writers' records, right the source: {differences}");
    beyond
}
