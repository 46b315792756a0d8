//! What there is to copy, and in which order: places, shard groups from the newest to the oldest, measurements in each.
//!
//! Promise: every measurement that the source shows in a place is met once in each shard group that may hold points of it, and no window
//! crosses from one group to the next: inside one group each field has one type.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::base::Result;
use crate::db::read::{Reader, Window};
use crate::line::Rules;
use crate::route::{RouteName, Target};

/// A place of the source, and where it goes.
#[derive(Clone, Debug)]
pub struct Place {
    /// Its name.
    pub name: RouteName,
    /// Database and policy by which a query reads it, or as [`crate::db::read::Bucket::place`] says.
    pub read_as: (String, String),
    /// Where it goes.
    pub target: Target,
    /// What a rule of mapping does to its lines, if something.
    pub shape: Option<Rules>,
}

/// A measurement in one shard group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Number of the place.
    pub place: usize,
    /// Unescaped.
    pub measurement: Arc<[u8]>,
    /// The group, as far as it is wanted.
    pub group: Window,
}

/// The groups of a place with the measurements that may be in each.
#[derive(Clone, Debug, Default)]
pub struct Groups(BTreeMap<Reverse<Window>, Vec<Arc<[u8]>>>);

impl Groups {
    /// Asks the source.
    ///
    /// # Errors
    /// As [`Reader::groups`].
    pub async fn of(reader: &Reader, (db, rp): (&str, &str), within: Window) -> Result<Self> {
        let mut groups = Self::default();
        let mut shared = None;
        for measurement in reader.measurements(db, rp).await? {
            let name: Arc<[u8]> = measurement.into();
            let own = match &shared {
                Some(all) => Vec::clone(all),
                None => reader.groups(db, rp, &name, within).await?,
            };
            if reader.groups_are_of_the_policy() {
                shared = Some(own.clone());
            }
            for group in own {
                groups.0.entry(Reverse(group)).or_default().push(Arc::clone(&name));
            }
        }
        Ok(groups)
    }

    /// From the newest group on.
    pub fn units(&self, place: usize) -> impl Iterator<Item = Unit> + '_ {
        self.0.iter().flat_map(move |(Reverse(group), names)| {
            names.iter().map(move |name| Unit { place, measurement: Arc::clone(name), group: *group })
        })
    }

    /// How many units there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.values().map(Vec::len).sum()
    }

    /// Whether there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many groups, the begin of the oldest and the end of the newest.
    #[must_use]
    pub fn span(&self) -> Option<(usize, Window)> {
        let (newest, oldest) = (self.0.keys().next()?.0, self.0.keys().next_back()?.0);
        Some((self.0.len(), Window { start_ns: oldest.start_ns, end_ns: newest.end_ns }))
    }

    /// All measurements, by name.
    #[must_use]
    pub fn measurements(&self) -> Vec<Arc<[u8]>> {
        let mut all: Vec<_> = self.0.values().flatten().cloned().collect();
        all.sort();
        all.dedup();
        all
    }
}

/// The parts of `window` that none of these (in order) covers.
#[must_use]
pub fn uncovered(window: Window, covered: &[(i64, i64)]) -> Vec<Window> {
    let (mut left, mut from) = (Vec::new(), window.start_ns);
    for (start, end) in covered {
        if *start > from {
            left.push(Window { start_ns: from, end_ns: (*start).min(window.end_ns) });
        }
        from = from.max(*end);
    }
    if from < window.end_ns {
        left.push(Window { start_ns: from, end_ns: window.end_ns });
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(start_ns: i64, end_ns: i64) -> Window {
        Window { start_ns, end_ns }
    }

    #[test]
    fn what_is_left_is_what_nothing_covers() {
        assert_eq!(uncovered(window(0, 10), &[]), [window(0, 10)]);
        assert_eq!(uncovered(window(0, 10), &[(0, 10)]), []);
        assert_eq!(uncovered(window(0, 10), &[(-5, 2), (4, 6), (5, 8)]), [window(2, 4), window(8, 10)]);
        assert_eq!(uncovered(window(0, 10), &[(3, 20)]), [window(0, 3)]);
    }

    #[test]
    fn the_newest_group_comes_first_with_all_its_measurements() {
        let name = |text: &str| -> Arc<[u8]> { text.as_bytes().into() };
        let mut groups = Groups::default();
        for (group, names) in [(window(0, 10), vec!["a"]), (window(10, 20), vec!["a", "b"])] {
            groups.0.insert(Reverse(group), names.into_iter().map(name).collect());
        }
        let seen: Vec<_> = groups.units(3).map(|unit| (unit.group.start_ns, unit.measurement)).collect();
        assert_eq!(seen, [(10, name("a")), (10, name("b")), (0, name("a"))]);
        assert_eq!((groups.len(), groups.span()), (3, Some((2, window(0, 20)))));
    }
}
