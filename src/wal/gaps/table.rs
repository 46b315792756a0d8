//! What was missed, added up: one sum for each owner, place and cause. Pure.
//!
//! Promise: a sum covers every write that was added to it (its times span all of theirs, its lines are theirs together), and
//! the number of sums is bounded: what comes beyond goes to the place [`OTHER`].

use std::collections::BTreeMap;

/// Sums that are kept apart. With the longest names they fill less than half of one half of the file.
pub(super) const SUMS_MAX: usize = 512;
/// The place of what came after that many.
pub(super) const OTHER: &str = "other";
/// Bytes of the owners that are kept: as many ids as there may be destinations, each of 64 bytes, with commas between.
pub(super) const OWNER_BYTES_MAX: usize = 8 * 65;
/// Bytes of a place that are kept.
const PLACE_BYTES_MAX: usize = 256;
/// Bytes of a cause that are kept.
const CAUSE_BYTES_MAX: usize = 64;

/// Writes that the log does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missed {
    /// Who misses them: ids of destinations, with commas between; at most 520 bytes of them are kept.
    pub owner: String,
    /// Where they went, as text; at most 256 bytes of it are kept.
    pub place: String,
    /// Why, in a stable word of at most 64 bytes.
    pub cause: String,
    /// Earliest time that they may touch, ns.
    pub from_ns: i64,
    /// Latest time that they may touch, ns.
    pub to_ns: i64,
    /// How many lines.
    pub lines: u64,
}

/// A sum, as whoever takes it over sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GapSum {
    /// Tells it from every other sum of this gap log, for ever.
    pub id: u64,
    /// All that was added to it since it began.
    pub missed: Missed,
}

type Key = (String, String, String);

/// The sums by what they are about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Table {
    sums: BTreeMap<Key, GapSum>,
    last_id: u64,
}

impl Table {
    /// From sums that were read back; `last_id`: no new sum gets an id up to here.
    pub(super) fn new(sums: impl IntoIterator<Item = GapSum>, last_id: u64) -> Self {
        let mut table = Self { sums: BTreeMap::new(), last_id };
        for sum in sums {
            table.last_id = table.last_id.max(sum.id);
            table.put(sum);
        }
        table
    }

    /// What these would make of the sums, one sum for each that changes. Nothing is changed yet.
    pub(super) fn with<'m>(&self, missed: impl IntoIterator<Item = &'m Missed>) -> Vec<GapSum> {
        let mut changed: BTreeMap<Key, GapSum> = BTreeMap::new();
        let mut last_id = self.last_id;
        for one in missed {
            let mut key = key_of(one);
            let known = changed.contains_key(&key) || self.sums.contains_key(&key);
            if !known && self.sums.len() + changed.len() >= SUMS_MAX {
                OTHER.clone_into(&mut key.1);
            }
            let (owner, place, cause) = key.clone();
            let sum = changed.entry(key).or_insert_with_key(|key| {
                self.sums.get(key).cloned().unwrap_or_else(|| {
                    last_id += 1;
                    let (from_ns, to_ns) = (one.from_ns, one.to_ns);
                    GapSum { id: last_id, missed: Missed { owner, place, cause, from_ns, to_ns, lines: 0 } }
                })
            });
            sum.missed.from_ns = sum.missed.from_ns.min(one.from_ns);
            sum.missed.to_ns = sum.missed.to_ns.max(one.to_ns);
            sum.missed.lines = sum.missed.lines.saturating_add(one.lines);
        }
        changed.into_values().collect()
    }

    /// What is left of the sums when the lines of these are taken off again, one sum for each that changes.
    pub(super) fn without<'m>(&self, missed: impl IntoIterator<Item = &'m Missed>) -> Vec<GapSum> {
        let mut changed: BTreeMap<Key, GapSum> = BTreeMap::new();
        for one in missed {
            let mut key = key_of(one);
            if !self.sums.contains_key(&key) {
                OTHER.clone_into(&mut key.1);
            }
            let Some(sum) = self.sums.get(&key) else { continue };
            let sum = changed.entry(key).or_insert_with(|| sum.clone());
            sum.missed.lines = sum.missed.lines.saturating_sub(one.lines);
        }
        changed.into_values().collect()
    }

    /// Puts a sum in the place of what was there.
    pub(super) fn put(&mut self, sum: GapSum) {
        self.last_id = self.last_id.max(sum.id);
        let missed = &sum.missed;
        self.sums.insert((missed.owner.clone(), missed.place.clone(), missed.cause.clone()), sum);
    }

    /// The table without the sums that somebody has taken over as they are now: (id, lines).
    pub(super) fn less(&self, taken: &[(u64, u64)]) -> Self {
        let gone = |sum: &GapSum| taken.contains(&(sum.id, sum.missed.lines));
        let sums = self.sums.iter().filter(|(_, sum)| !gone(sum)).map(|(key, sum)| (key.clone(), sum.clone()));
        Self { sums: sums.collect(), last_id: self.last_id }
    }

    pub(super) fn list(&self) -> Vec<GapSum> {
        self.sums.values().cloned().collect()
    }

    pub(super) fn last_id(&self) -> u64 {
        self.last_id
    }
}

fn key_of(one: &Missed) -> Key {
    let owner = short(&one.owner, OWNER_BYTES_MAX);
    (owner, short(&one.place, PLACE_BYTES_MAX), short(&one.cause, CAUSE_BYTES_MAX))
}

/// A name, cut where it is too long, between two characters.
fn short(name: &str, bytes_max: usize) -> String {
    name[..name.floor_char_boundary(bytes_max)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn missed(place: &str, from_ns: i64, to_ns: i64, lines: u64) -> Missed {
        Missed { owner: "main".into(), place: place.into(), cause: "queue-full".into(), from_ns, to_ns, lines }
    }

    fn add(table: &mut Table, missed: &[Missed]) {
        for sum in table.with(missed) {
            table.put(sum);
        }
    }

    #[test]
    fn a_sum_covers_everything_that_was_added() {
        let mut table = Table::default();
        add(&mut table, &[missed("a", 5, 6, 10), missed("b", 1, 1, 1), missed("a", 2, 9, 3)]);
        add(&mut table, &[missed("a", 7, 20, 4)]);
        let sums = table.list();
        assert_eq!(sums.len(), 2);
        assert_eq!(sums[0], GapSum { id: 1, missed: missed("a", 2, 20, 17) });
        for sum in table.without(&[missed("a", 7, 20, 4)]) {
            table.put(sum);
        }
        assert_eq!(table.list()[0].missed.lines, 13);
    }

    #[test]
    fn there_are_only_so_many_sums_and_names_are_short() {
        let mut table = Table::default();
        for at in 0..SUMS_MAX + 50 {
            add(&mut table, &[missed(&format!("{at:04}"), 0, 0, 1)]);
        }
        add(&mut table, &[missed("0007", 0, 0, 1), missed(&"ä".repeat(400), 0, 0, 1)]);
        let sums = table.list();
        assert_eq!(sums.len(), SUMS_MAX + 1);
        assert_eq!(sums.iter().map(|sum| sum.missed.lines).sum::<u64>(), SUMS_MAX as u64 + 52);
        assert_eq!(sums.iter().find(|sum| sum.missed.place == OTHER).unwrap().missed.lines, 51);
        assert_eq!(short(&"ä".repeat(400), PLACE_BYTES_MAX).len(), 256);
    }

    #[test]
    fn as_many_owners_as_there_may_be_are_kept_whole_and_the_longest_sums_fill_less_than_half_of_a_half() {
        let owner = vec!["o".repeat(64); crate::config::DESTINATIONS_MAX].join(",");
        let mut table = Table::default();
        add(&mut table, &[Missed { owner: owner.clone(), ..missed("a", 0, 0, 1) }]);
        assert_eq!(table.list()[0].missed.owner, owner);
        let longest = super::super::file::sum_bytes(OWNER_BYTES_MAX + PLACE_BYTES_MAX + CAUSE_BYTES_MAX);
        assert!((SUMS_MAX as u64 + 1) * longest < super::super::file::HALF_BYTES / 2, "{longest}");
    }

    #[test]
    fn what_was_taken_over_goes_unless_it_has_grown_since() {
        let mut table = Table::default();
        add(&mut table, &[missed("a", 0, 0, 1), missed("b", 0, 0, 2)]);
        let taken: Vec<(u64, u64)> = table.list().iter().map(|sum| (sum.id, sum.missed.lines)).collect();
        add(&mut table, &[missed("b", 0, 0, 5)]);
        let mut left = table.less(&taken);
        assert_eq!(left.list(), [GapSum { id: 2, missed: missed("b", 0, 0, 7) }]);
        add(&mut left, &[missed("a", 0, 0, 1)]);
        assert_eq!(left.list()[0].id, 3, "an id is never used twice");
    }
}
