//! Deletes under way at the source, and the writes that they meet.
//!
//! Promise: of a write that was under way at once with a delete no line is called kept that the delete may have reached: whether it was
//! there before or came after, nobody knows. All other lines go on. Without a delete under way a write costs a look at nothing.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::rc::Rc;

use super::stamp::Lines;
use crate::line;
use crate::route::RouteName;

/// Parts of one request that are told apart; of more, their whole databases count.
const REACHES_MAX: usize = 64;

/// Measurements of a piece that are told apart, and their names' bytes; of more, all count.
const MEASUREMENTS_MAX: usize = 64;
const MEASUREMENTS_BYTES_MAX: usize = 4 << 10;

/// What a delete may remove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reach {
    /// Of a database all policies.
    pub(super) name: RouteName,
    /// `None`: of all measurements.
    pub(super) measurement: Option<String>,
    pub(super) first_ns: i64,
    pub(super) last_ns: i64,
}

impl Reach {
    /// Everything in a place.
    pub(super) fn all(name: RouteName) -> Self {
        Self { name, measurement: None, first_ns: i64::MIN, last_ns: i64::MAX }
    }

    fn is_of(&self, name: &RouteName, (min_ns, max_ns): (i64, i64)) -> bool {
        let is_same = match (&self.name, name) {
            (RouteName::Database { db, .. }, RouteName::Database { db: other, .. }) => db == other,
            (RouteName::Bucket { org, bucket }, RouteName::Bucket { org: other_org, bucket: other }) => {
                bucket == other && (org == other_org || org.is_empty() || other_org.is_empty())
            }
            // One of them speaks the other family's language: by the convention of names.
            (own, other) => database_of(own) == database_of(other),
        };
        is_same && self.first_ns <= max_ns && min_ns <= self.last_ns
    }

    fn has(&self, measurement: &[u8], time_ns: Option<i64>) -> bool {
        self.measurement.as_ref().is_none_or(|own| own.as_bytes() == measurement)
            && time_ns.is_none_or(|at| (self.first_ns..=self.last_ns).contains(&at))
    }
}

fn database_of(name: &RouteName) -> &str {
    match name {
        RouteName::Database { db, .. } => db,
        RouteName::Bucket { bucket, .. } => bucket.split('/').next().unwrap_or_default(),
    }
}

/// One request that deletes.
struct Change {
    id: u64,
    /// Its number among beginnings and ends.
    ended: Option<u64>,
    reaches: Vec<Reach>,
}

#[derive(Default)]
struct Inner {
    /// Number of the next beginning or end of a change.
    next: u64,
    changes: Vec<Change>,
    /// Writes under way, by the number that was next when they began.
    writes: BTreeMap<u64, u32>,
}

impl Inner {
    /// Forgets changes that ended before every write under way began.
    fn sweep(&mut self) {
        let oldest = self.writes.first_key_value().map_or(self.next, |(since, _)| *since);
        self.changes.retain(|change| change.ended.is_none_or(|ended| ended >= oldest));
    }
}

/// All deletes under way. One edge thread.
#[derive(Clone, Default)]
pub struct Changing(Rc<RefCell<Inner>>);

impl fmt::Debug for Changing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Changing")
    }
}

/// A delete under way, until it is dropped.
pub(super) struct UnderWay {
    inner: Rc<RefCell<Inner>>,
    id: u64,
}

impl fmt::Debug for UnderWay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UnderWay")
    }
}

/// A write under way, until it is dropped.
pub(super) struct Meeting {
    inner: Rc<RefCell<Inner>>,
    since: u64,
}

impl Changing {
    /// The source is about to be asked.
    pub(super) fn change_begins(&self, mut reaches: Vec<Reach>) -> Option<UnderWay> {
        if reaches.len() > REACHES_MAX {
            reaches = reaches.into_iter().map(|reach| Reach::all(reach.name)).collect();
            reaches.sort_by(|a, b| a.name.cmp(&b.name));
            reaches.dedup();
        }
        if reaches.is_empty() {
            return None;
        }
        let mut inner = self.0.borrow_mut();
        let id = inner.next;
        inner.next += 1;
        inner.changes.push(Change { id, ended: None, reaches });
        Some(UnderWay { inner: Rc::clone(&self.0), id })
    }

    /// A write is about to be logged and sent.
    pub(super) fn write_begins(&self) -> Meeting {
        let mut inner = self.0.borrow_mut();
        let since = inner.next;
        *inner.writes.entry(since).or_default() += 1;
        Meeting { inner: Rc::clone(&self.0), since }
    }
}

impl UnderWay {
    /// The source has changed nothing: whoever met it has met nothing.
    pub(super) fn did_nothing(self) {
        self.inner.borrow_mut().changes.retain(|change| change.id != self.id);
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut inner = self.inner.borrow_mut();
        let now = inner.next;
        inner.next += 1;
        if let Some(change) = inner.changes.iter_mut().find(|change| change.id == self.id) {
            change.ended = Some(now);
        }
        inner.sweep();
    }
}

impl Meeting {
    /// Numbers of the lines that a delete under way meanwhile may have reached, in order.
    pub(super) fn lines_met(&self, name: Option<&RouteName>, lines: &Lines) -> Vec<u32> {
        let mut met = Vec::new();
        self.with_reaches(name, lines, |reaches| {
            let mut number = 0_u32;
            each(lines, |measurement, time_ns| {
                if reaches.iter().any(|reach| reach.has(measurement, time_ns)) {
                    met.push(number);
                }
                number += 1;
            });
        });
        met
    }

    /// Whether a delete may have reached anything of a piece whose text is gone, by its times and measurements.
    pub(super) fn is_met(&self, name: Option<&RouteName>, lines: &Lines, measurements: &Measurements) -> bool {
        let mut met = false;
        self.with_reaches(name, lines, |reaches| met = reaches.iter().any(|reach| measurements.are_of(reach)));
        met
    }

    fn with_reaches(&self, name: Option<&RouteName>, lines: &Lines, work: impl FnOnce(&[&Reach])) {
        let inner = self.inner.borrow();
        let Some(name) = name.filter(|_| !inner.changes.is_empty()) else { return };
        let met = inner.changes.iter().filter(|change| change.ended.is_none_or(|ended| ended >= self.since));
        let times = (lines.min_ns, lines.max_ns);
        let reaches: Vec<&Reach> =
            met.flat_map(|change| &change.reaches).filter(|reach| reach.is_of(name, times)).collect();
        if !reaches.is_empty() {
            work(&reaches);
        }
    }
}

impl Drop for Meeting {
    fn drop(&mut self) {
        let mut inner = self.inner.borrow_mut();
        if let Some(count) = inner.writes.get_mut(&self.since) {
            *count -= 1;
            if *count == 0 {
                inner.writes.remove(&self.since);
            }
        }
        if !inner.changes.is_empty() {
            inner.sweep();
        }
    }
}

/// Measurement and time of each line.
fn each(lines: &Lines, mut visit: impl FnMut(&[u8], Option<i64>)) {
    line::outline(&lines.text, lines.dialect, lines.precision, |found| {
        let Ok(found) = found else { return };
        let measurement = found.careful.as_ref().map(|line| line.measurement());
        let plain = || {
            let line = &lines.text[found.span.clone()];
            &line[..line.iter().position(|byte| matches!(byte, b',' | b' ')).unwrap_or(line.len())]
        };
        visit(measurement.as_deref().unwrap_or_else(plain), found.time_ns);
    });
}

/// The measurements of a piece of a large write, for when its text is gone; `None` where they are too many to keep.
#[derive(Debug, Default)]
pub(super) struct Measurements(Option<BTreeSet<Box<[u8]>>>);

impl Measurements {
    /// Those of these lines.
    pub(super) fn of(lines: &Lines) -> Self {
        let (mut names, mut bytes) = (Some(BTreeSet::new()), 0);
        each(lines, |measurement, _| {
            let Some(kept) = names.as_mut().filter(|names: &&mut BTreeSet<Box<[u8]>>| !names.contains(measurement))
            else {
                return;
            };
            bytes += measurement.len();
            kept.insert(measurement.into());
            if kept.len() > MEASUREMENTS_MAX || bytes > MEASUREMENTS_BYTES_MAX {
                names = None;
            }
        });
        Self(names)
    }

    fn are_of(&self, reach: &Reach) -> bool {
        match (&self.0, &reach.measurement) {
            (Some(own), Some(measurement)) => own.contains(measurement.as_bytes()),
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::precision::Api;
    use crate::db::server::{Flavor, Version};
    use crate::pipeline::decode::Decoded;
    use crate::pipeline::stamp;
    use crate::route::WriteIdentity;

    fn name(db: &str) -> RouteName {
        RouteName::Database { db: db.into(), rp: "any".into() }
    }

    fn lines(text: &'static str) -> Lines {
        let (version, identity) = (Version::assumed(Flavor::Influx1), WriteIdentity::read(Api::V1, "db=d"));
        stamp::read(&version, &identity, Decoded::Plain(text.into()), 0, false)
    }

    fn is_met(meeting: &Meeting, name: Option<&RouteName>, lines: &Lines) -> bool {
        meeting.is_met(name, lines, &Measurements::of(lines))
    }

    fn reach(measurement: &str, first_ns: i64, last_ns: i64) -> Reach {
        Reach { measurement: Some(measurement.into()), first_ns, last_ns, ..Reach::all(name("d")) }
    }

    #[test]
    fn only_lines_that_a_delete_may_have_reached_are_met() {
        let changing = Changing::default();
        let text = lines("m v=1 5\nn,t=a v=1 5\nm v=1 50\nm\\ x v=1 5\nm,t=a v=1 6");
        let meeting = changing.write_begins();
        let change = changing.change_begins(vec![reach("m", 0, 9), reach("m x", 0, 100)]).unwrap();
        assert_eq!(meeting.lines_met(Some(&name("d")), &text), [0, 3, 4]);
        assert_eq!(meeting.lines_met(Some(&name("e")), &text), [] as [u32; 0]);
        assert!(is_met(&meeting, Some(&name("d")), &text) && !is_met(&meeting, None, &text));
        drop(change);
        assert_eq!(meeting.lines_met(Some(&name("d")), &text), [0, 3, 4], "it has ended meanwhile");
        let younger = changing.write_begins();
        assert_eq!(younger.lines_met(Some(&name("d")), &text), [] as [u32; 0]);
        drop(meeting);
        assert!(changing.0.borrow().changes.is_empty(), "nobody can have met it any more");
    }

    #[test]
    fn what_did_nothing_and_other_times_meet_nobody() {
        let changing = Changing::default();
        let change = changing.change_begins(vec![reach("m", 0, 9)]).unwrap();
        let meeting = changing.write_begins();
        assert!(!is_met(&meeting, Some(&name("d")), &lines("m v=1 10")));
        assert!(is_met(&meeting, Some(&name("d")), &lines("m v=1 9")));
        change.did_nothing();
        assert!(!is_met(&meeting, Some(&name("d")), &lines("m v=1 9")));
        assert!(changing.change_begins(Vec::new()).is_none());
        let many = (0..100).map(|at| reach(&at.to_string(), 0, 9)).collect();
        let _many = changing.change_begins(many).unwrap();
        assert!(is_met(&meeting, Some(&name("d")), &lines("m v=1 1000")), "the whole database");
        assert_eq!(changing.0.borrow().changes[0].reaches.len(), 1);
    }

    /// Its text is gone by then: without its measurements every delete of the same times would make all of it doubt.
    #[test]
    fn a_piece_of_a_large_write_is_met_by_deletes_of_its_measurements_alone() {
        let changing = Changing::default();
        let meeting = changing.write_begins();
        let _change = changing.change_begins(vec![reach("m", 0, 9)]).unwrap();
        assert!(!is_met(&meeting, Some(&name("d")), &lines("n v=1 5\nm\\ x,t=a v=1 5")));
        assert!(is_met(&meeting, Some(&name("d")), &lines("n v=1 5\nm,t=a v=1 5")));
        let many: String = (0..=MEASUREMENTS_MAX).map(|at| format!("n{at} v=1 5\n")).collect();
        assert!(is_met(&meeting, Some(&name("d")), &lines(many.leak())), "too many to keep");
        let _all = changing.change_begins(vec![Reach::all(name("d"))]).unwrap();
        assert!(is_met(&meeting, Some(&name("d")), &lines("n v=1 5")));
    }

    #[test]
    fn a_bucket_and_a_database_of_one_name_are_one_place() {
        let bucket = RouteName::Bucket { org: String::new(), bucket: "d/week".into() };
        assert!(Reach::all(name("d")).is_of(&bucket, (0, 0)));
        assert!(!Reach::all(name("e")).is_of(&bucket, (0, 0)));
    }
}
