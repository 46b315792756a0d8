//! How many lines went to the source, by database or bucket: the other half of what the source's own counters say.
//!
//! Promise: from before the first byte goes to the source to after its answer a line counts as under way; then it is counted once: as
//! surely come to the source's storage, as maybe, as not, or as lost where no answer came. What cannot be counted is said to be so, before
//! it goes and when it has ended. The number of places is bounded.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;

use super::primary::Judged;
use super::stamp::Lines;
use crate::db::answer::{Conflicting, Kept};
use crate::route::RouteName;

/// Places that are counted apart.
const PLACES_MAX: usize = 10_000;
/// From so many on those are forgotten at which nothing has arrived: names that clients invent.
const TIDY_FROM: usize = 1000;

/// Lines of one place since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Of writes that went out.
    pub begun: u64,
    /// Of them: known not to have reached a shard.
    pub none: u64,
    /// Of them: answered with success.
    pub sure: u64,
    /// Of them: answered so that some or all may have reached one.
    pub maybe: u64,
    /// Of them: without an answer that says that the source is done with them.
    pub lost: u64,
    /// How often something went out, or ended, whose lines we could not count.
    pub blind: u64,
}

impl Tally {
    /// Lines of writes that have not ended.
    #[must_use]
    pub fn under_way(&self) -> u64 {
        self.begun.saturating_sub(self.none + self.ended())
    }

    /// Lines that have, or may have, reached a shard and are not under way.
    #[must_use]
    pub fn ended(&self) -> u64 {
        self.sure + self.maybe + self.lost
    }
}

/// Lines by place; of one thread. Cheap to clone.
#[derive(Clone, Default)]
pub struct Sent(Rc<Inner>);

#[derive(Default)]
struct Inner {
    places: RefCell<HashMap<String, Rc<Cell<Tally>>>>,
    /// Went out without a place of its own.
    blind: Cell<u64>,
}

impl fmt::Debug for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sent")
    }
}

/// Lines of one write on their way. Dropped without an end they are lost.
#[derive(Debug)]
pub(super) struct Sending {
    tally: Rc<Cell<Tally>>,
    lines: u64,
    /// All of them can be counted.
    counted: bool,
}

/// Database, or bucket whatever its organisation: what the source's counters go by.
fn place(name: &RouteName) -> &str {
    match name {
        RouteName::Database { db, .. } => db,
        RouteName::Bucket { bucket, .. } => bucket,
    }
}

fn change(tally: &Cell<Tally>, by: impl FnOnce(&mut Tally)) {
    let mut now = tally.get();
    by(&mut now);
    tally.set(now);
}

impl Sent {
    /// A write is about to go to the source.
    pub(super) fn begin(&self, name: Option<&RouteName>, lines: &Lines) -> Sending {
        let counted = lines.parsed.decoded && lines.parsed.malformed == 0;
        let tally = name.and_then(|name| self.tally(place(name))).unwrap_or_else(|| {
            // The source will refuse what names no place; what has no place here counts for all.
            if name.is_some() && !lines.is_blank() {
                self.0.blind.set(self.0.blind.get() + 1);
            }
            Rc::default()
        });
        let lines = u64::from(lines.parsed.lines);
        change(&tally, |tally| {
            tally.begun += lines;
            tally.blind += u64::from(!counted);
        });
        Sending { tally, lines, counted }
    }

    /// Something went to this place that is no line protocol.
    pub(super) fn uncounted(&self, name: &RouteName) {
        match self.tally(place(name)) {
            Some(tally) => change(&tally, |tally| tally.blind += 1),
            None => self.0.blind.set(self.0.blind.get() + 1),
        }
    }

    fn tally(&self, place: &str) -> Option<Rc<Cell<Tally>>> {
        let mut places = self.0.places.borrow_mut();
        if let Some(tally) = places.get(place) {
            return Some(Rc::clone(tally));
        }
        if places.len() >= PLACES_MAX {
            return None;
        }
        let tally = Rc::<Cell<Tally>>::default();
        places.insert(place.to_owned(), Rc::clone(&tally));
        Some(tally)
    }

    /// All of them now.
    #[must_use]
    pub fn now(&self) -> HashMap<String, Tally> {
        let mut places = self.0.places.borrow_mut();
        if places.len() >= TIDY_FROM {
            // Nobody holds it, and nothing of it has arrived.
            places.retain(|_, tally| Rc::strong_count(tally) > 1 || tally.get().ended() + tally.get().blind > 0);
        }
        places.iter().map(|(place, tally)| (place.clone(), tally.get())).collect()
    }

    /// How often something went out that is in no place of [`Sent::now`].
    #[must_use]
    pub fn blind(&self) -> u64 {
        self.0.blind.get()
    }
}

impl Sending {
    /// The write has ended so.
    pub(super) fn end(mut self, judged: &Judged) {
        let lines = std::mem::take(&mut self.lines);
        let late = judged.status == 0 || judged.status >= 500;
        let counted = self.counted || judged.kept == Kept::Nothing;
        change(&self.tally, |tally| {
            tally.blind += u64::from(!counted);
            match judged.kept {
                Kept::Nothing => tally.none += lines,
                Kept::All => tally.sure += lines,
                Kept::Retained(expired) => {
                    let expired = u64::from(expired.lines).min(lines);
                    tally.none += expired;
                    // Which pieces of a large body they are in is not known.
                    tally.maybe += lines - expired;
                }
                Kept::Conflicting(Conflicting { dropped, .. }) => {
                    let dropped = u64::from(dropped).min(lines);
                    tally.none += dropped;
                    tally.sure += lines - dropped;
                }
                Kept::Unknown if late => tally.lost += lines,
                Kept::Unknown => tally.maybe += lines,
            }
        });
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        let lines = self.lines;
        change(&self.tally, |tally| tally.lost += lines);
    }
}

#[cfg(test)]
mod tests {
    use super::super::decode::Decoded;
    use super::super::stamp;
    use super::*;
    use crate::db::precision::Api;
    use crate::db::server::Version;
    use crate::queue::Cause;
    use crate::route::WriteIdentity;

    fn lines(text: &'static str) -> Lines {
        let identity = WriteIdentity::read(Api::V1, "db=d");
        stamp::read(&Version::read("1.13.2").unwrap(), &identity, Decoded::Plain(text.into()), 0, false)
    }

    fn judged(kept: Kept, status: u16) -> Judged {
        Judged { kept, cause: Cause::Answer, status, success: kept == Kept::All }
    }

    fn db(db: &str) -> RouteName {
        RouteName::Database { db: db.to_owned(), rp: "r".to_owned() }
    }

    #[test]
    fn each_line_is_under_way_and_then_in_one_sum() {
        let sent = Sent::default();
        let two = lines("m v=1 1\nm v=2 2");
        let begin = || sent.begin(Some(&db("d")), &two);
        let waits = begin();
        begin().end(&judged(Kept::All, 204));
        begin().end(&judged(Kept::Nothing, 404));
        begin().end(&judged(Kept::Unknown, 400));
        begin().end(&judged(Kept::Unknown, 500));
        drop(begin());
        let now = sent.now()["d"];
        assert_eq!(now, Tally { begun: 12, none: 2, sure: 2, maybe: 2, lost: 4, blind: 0 });
        assert_eq!((now.under_way(), now.ended()), (2, 8));
        drop(waits);
        assert_eq!(sent.now()["d"].under_way(), 0);
    }

    #[test]
    fn what_cannot_be_counted_is_said_before_it_goes_and_at_its_end() {
        let sent = Sent::default();
        let some = lines("m v=1 1\nbad");
        let sending = sent.begin(Some(&db("d")), &some);
        assert_eq!(sent.now()["d"].blind, 1);
        sending.end(&judged(Kept::All, 204));
        assert_eq!(sent.now()["d"].blind, 2);
        sent.uncounted(&db("d"));
        assert_eq!((sent.now()["d"].blind, sent.blind()), (3, 0));
    }

    #[test]
    fn places_that_clients_invent_are_forgotten_and_their_number_is_bounded() {
        let sent = Sent::default();
        let one = lines("m v=1 1");
        for number in 0..PLACES_MAX {
            sent.begin(Some(&db(&number.to_string())), &one).end(&judged(Kept::Nothing, 404));
        }
        sent.begin(Some(&db("beyond")), &one).end(&judged(Kept::All, 204));
        assert_eq!(sent.blind(), 1);
        let waits = sent.begin(Some(&db("7")), &one);
        assert_eq!(sent.now().keys().collect::<Vec<_>>(), ["7"]);
        drop(waits);
        sent.begin(Some(&db("beyond")), &one).end(&judged(Kept::All, 204));
        assert_eq!(sent.now()["beyond"].sure, 1);
    }
}
