//! Writes under way at the same time, and the cells that two of them touch.
//!
//! Promise: of two writes to one place whose requests were under way at once, or of which one was never answered and may
//! still take effect, no line of a cell that both touch with different values is called kept. The same value is no
//! overlap: that is a client trying again. All other lines of both go on.
//!
//! Writes whose times do not meet cost a look at their neighbours. Hashes are made when they do, once a write; of the pieces
//! of a large write when they are cut. At most `lines_max` lines are remembered, and large writes leave half of that to the
//! others; what does not fit, a write or a piece, counts as touching every cell of its time.

mod place;

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use metrics::{Counter, counter};

use self::place::{Flight, Known, Piece, Place};
use super::cells::Cell;
use super::settle::Met;
use super::stamp::Lines;
use crate::base::metric;
use crate::route::RouteName;

/// Places are looked through so often for writes that can no longer take effect.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// All writes under way. One edge thread.
pub struct Overlaps {
    listed: Rc<Listed>,
    /// How long a request without an answer may still take effect.
    late: Duration,
    lines_met: Counter,
    not_listed: Counter,
}

/// What is under way, shared with the writes themselves.
struct Listed {
    places: RefCell<HashMap<RouteName, Place>>,
    table: RefCell<Table>,
}

/// The room of all tables.
#[derive(Debug)]
struct Table {
    lines: usize,
    lines_max: usize,
    next: u64,
    told: bool,
    /// When the places were last looked through.
    swept: Duration,
}

impl fmt::Debug for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Listed")
    }
}

impl fmt::Debug for Overlaps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Overlaps")
    }
}

/// A write under way. Dropped without an end, because its task panics, it is under way no more: it is doubt, and what is read
/// back for that covers what others write there.
#[derive(Debug)]
pub(super) struct UnderWay {
    name: RouteName,
    id: u64,
    listed: Rc<Listed>,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let Listed { places, table } = &*self.listed;
        // Borrowed only where it is found not to be there.
        let (Ok(mut places), Ok(mut table)) = (places.try_borrow_mut(), table.try_borrow_mut()) else { return };
        let Some(place) = places.get_mut(&self.name) else { return };
        // One that may still take effect stays for its time.
        if let Some(at) = place.flights.iter().position(|flight| flight.id == self.id && flight.until.is_none()) {
            place.take(at, &mut table);
        }
        if place.flights.is_empty() {
            places.remove(&self.name);
        }
    }
}

impl Overlaps {
    /// A table for at most so many lines; what was not answered is remembered for `late`.
    #[must_use]
    pub fn new(lines_max: usize, late: Duration) -> Self {
        let table = RefCell::new(Table { lines: 0, lines_max, next: 0, told: false, swept: Duration::ZERO });
        Self {
            listed: Rc::new(Listed { places: RefCell::default(), table }),
            late,
            lines_met: counter!(metric::OVERLAP_LINES),
            not_listed: counter!(metric::OVERLAP_UNLISTED),
        }
    }

    /// Whether any write is under way that another one may have to be compared with.
    pub(super) fn any(&self) -> bool {
        !self.listed.places.borrow().is_empty()
    }

    /// Whether a write would have to be compared with another one.
    pub(super) fn meets(&self, name: &RouteName, lines: &Lines) -> bool {
        let places = self.listed.places.borrow();
        places.get(name).is_some_and(|place| place.flights.iter().any(|other| other.meets(lines.min_ns, lines.max_ns)))
    }

    /// A write is about to be sent. `hashed`: its cells, where they are known already.
    pub(super) fn begin(
        &self,
        name: &RouteName,
        lines: &Lines,
        hashed: Option<Arc<Vec<Cell>>>,
        now: Duration,
    ) -> Option<UnderWay> {
        if lines.parsed.lines == 0 || lines.unstamped > 0 {
            return None;
        }
        let mut places = self.listed.places.borrow_mut();
        let mut table = self.listed.table.borrow_mut();
        let place = table.place(&mut places, name, now)?;
        let known = hashed.map_or_else(|| Known::Body(lines.clone()), Known::Cells);
        let mut own = Flight::new(table.id(), Some((lines.text.clone(), lines.dialect, lines.precision)));
        let piece = Piece::new(lines, known);
        let id = own.id;
        if place.has_other(&own, &piece) {
            let at = place.flights.len();
            place.flights.push(own);
            let lines_max = table.lines_max;
            if !place.compare(at, piece, lines_max, &mut table) {
                self.does_not_fit(&mut table);
            }
        } else {
            own.pieces.push(piece);
            place.flights.push(own);
        }
        Some(self.under_way(name, id))
    }

    /// A piece of a large write is about to be sent. `hashed`: its cells; `None` where a line has a time that only the
    /// source knows. `under_way`: what the pieces before it came to.
    pub(super) fn widen(
        &self,
        name: &RouteName,
        under_way: Option<UnderWay>,
        lines: &Lines,
        hashed: Option<Arc<Vec<Cell>>>,
        now: Duration,
    ) -> Option<UnderWay> {
        if lines.parsed.lines == 0 {
            return under_way;
        }
        let mut places = self.listed.places.borrow_mut();
        let mut table = self.listed.table.borrow_mut();
        let place = table.place(&mut places, name, now)?;
        let under_way = under_way.unwrap_or_else(|| {
            let id = table.id();
            place.flights.push(Flight::new(id, None));
            self.under_way(name, id)
        });
        let at = place.flights.iter().position(|flight| flight.id == under_way.id)?;
        let piece = Piece::new(lines, hashed.map_or(Known::Everything, Known::Cells));
        let lines_max = table.lines_max / 2;
        if !place.compare(at, piece, lines_max, &mut table) {
            self.does_not_fit(&mut table);
        }
        Some(under_way)
    }

    fn under_way(&self, name: &RouteName, id: u64) -> UnderWay {
        UnderWay { name: name.clone(), id, listed: Rc::clone(&self.listed) }
    }

    fn does_not_fit(&self, table: &mut Table) {
        self.not_listed.increment(1);
        table.tell();
    }

    /// A write has ended; `late`: its request may still take effect. The lines that met another write, in order.
    pub(super) fn end(&self, under_way: UnderWay, late: bool, now: Duration) -> Vec<Met> {
        let mut places = self.listed.places.borrow_mut();
        let mut table = self.listed.table.borrow_mut();
        let UnderWay { name, id, .. } = &under_way;
        let Some(place) = places.get_mut(name) else { return Vec::new() };
        let Some(at) = place.flights.iter().position(|flight| flight.id == *id) else { return Vec::new() };
        let met = place.flights[at].met_lines();
        self.lines_met.increment(met.len() as u64);
        if late {
            place.list(at, &mut table);
            let flight = &mut place.flights[at];
            (flight.until, flight.body) = (Some(now.saturating_add(self.late)), None);
            place.bound_late(&mut table);
        } else {
            place.take(at, &mut table);
        }
        if place.flights.is_empty() {
            places.remove(name);
        }
        met
    }
}

impl Table {
    /// A number for a write.
    fn id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// The place of a write, without what can no longer take effect.
    fn place<'p>(
        &mut self,
        places: &'p mut HashMap<RouteName, Place>,
        name: &RouteName,
        now: Duration,
    ) -> Option<&'p mut Place> {
        self.sweep(places, now);
        if !places.contains_key(name) {
            places.insert(name.clone(), Place::default());
        }
        let place = places.get_mut(name)?;
        place.forget(self, now);
        Some(place)
    }

    /// Drops what can no longer take effect in places that nobody writes to any more: it takes room from all others.
    fn sweep(&mut self, places: &mut HashMap<RouteName, Place>, now: Duration) {
        if now.saturating_sub(self.swept) < SWEEP_EVERY {
            return;
        }
        self.swept = now;
        places.retain(|_, place| {
            place.forget(self, now);
            !place.flights.is_empty()
        });
    }

    fn tell(&mut self) {
        if !self.told {
            tracing::warn!(
                event = "overlap.full",
                lines_max = self.lines_max,
                "more lines are under way than queue.overlap_lines: writes to the same place and time become doubt"
            );
        }
        self.told = true;
    }
}

#[cfg(test)]
mod tests {
    use super::super::cells::cells;
    use super::super::decode::Decoded;
    use super::super::stamp;
    use super::place::LATE_MAX;
    use super::*;
    use crate::db::precision::Api;
    use crate::db::server::{Flavor, Version};
    use crate::route::WriteIdentity;

    const NOW: Duration = Duration::from_secs(100);
    const LATE: Duration = Duration::from_secs(60);

    fn place() -> RouteName {
        RouteName::Database { db: "d".into(), rp: "r".into() }
    }

    fn begin(overlaps: &Overlaps, body: &str) -> UnderWay {
        begin_at(overlaps, body, NOW)
    }

    fn begin_at(overlaps: &Overlaps, body: &str, now: Duration) -> UnderWay {
        overlaps.begin(&place(), &lines(body), None, now).unwrap()
    }

    fn lines(body: &str) -> Lines {
        let identity = WriteIdentity::read(Api::V1, "db=d");
        let body = Decoded::Plain(body.to_owned().into());
        stamp::read(&Version::assumed(Flavor::Influx1), &identity, body, 0, false)
    }

    fn end(overlaps: &Overlaps, write: UnderWay) -> Vec<u32> {
        overlaps.end(write, false, NOW).iter().map(|met| met.line).collect()
    }

    fn is_empty(overlaps: &Overlaps) -> bool {
        overlaps.listed.places.borrow().is_empty() && overlaps.listed.table.borrow().lines == 0
    }

    fn widen(overlaps: &Overlaps, under_way: Option<UnderWay>, body: &str) -> Option<UnderWay> {
        let lines = lines(body);
        overlaps.widen(&place(), under_way, &lines, cells(&lines), NOW)
    }

    #[test]
    fn a_large_write_meets_the_cells_that_others_touch_and_no_others() {
        let overlaps = Overlaps::new(1000, LATE);
        let before = begin(&overlaps, "m v=2 7\nn v=1 7\nm v=1 3");
        let large = widen(&overlaps, None, "m v=1 1\nm v=1 5\nm v=1 7");
        let large = widen(&overlaps, large, "m v=1 3\nm v=1 9").unwrap();
        let after = begin(&overlaps, "m,other=series v=1 5\nm v=7 9\nm v=1 5");
        assert_eq!(end(&overlaps, after), [1]);
        assert_eq!(end(&overlaps, before), [0]);
        assert_eq!(end(&overlaps, large), [2, 4]);
        assert!(is_empty(&overlaps));
    }

    #[test]
    fn pieces_of_a_large_write_do_not_meet_each_other_but_all_lines_of_a_cell_meet_a_third() {
        let overlaps = Overlaps::new(1000, LATE);
        let large = widen(&overlaps, None, "m v=1 1\nn v=1 1");
        let large = widen(&overlaps, large, "m v=2 1").unwrap();
        assert_eq!(end(&overlaps, large), Vec::<u32>::new());
        let large = widen(&overlaps, None, "m v=1 1\nn v=1 1");
        let other = begin(&overlaps, "m v=1 1");
        let large = widen(&overlaps, large, "m v=2 1").unwrap();
        assert_eq!((end(&overlaps, other), end(&overlaps, large)), (vec![0], vec![0, 2]));
        assert!(is_empty(&overlaps));
    }

    #[test]
    fn a_large_write_without_an_answer_meets_its_cells_alone_and_its_repetition_is_no_overlap() {
        let overlaps = Overlaps::new(1000, LATE);
        let large = widen(&overlaps, None, "m v=1 1\nm v=1 9").unwrap();
        overlaps.end(large, true, NOW);
        let again = widen(&overlaps, None, "m v=1 1\nm v=1 9").unwrap();
        let apart = begin(&overlaps, "n v=1 5\nm v=2 9");
        assert_eq!((end(&overlaps, apart), end(&overlaps, again)), (vec![1], vec![1]));
    }

    #[test]
    fn pieces_that_do_not_fit_touch_everything_of_their_own_time_and_leave_room_for_others() {
        let overlaps = Overlaps::new(4, LATE);
        let large = widen(&overlaps, None, "m v=1 1\nm v=1 2");
        let large = widen(&overlaps, large, "m v=1 11\nm v=1 12\nm v=1 13");
        let near = begin(&overlaps, "o v=1 2");
        let far = begin(&overlaps, "n v=1 12");
        let large = widen(&overlaps, large, "m v=1 21").unwrap();
        assert_eq!((end(&overlaps, near), end(&overlaps, far)), (vec![], vec![0]));
        assert_eq!(end(&overlaps, large), [2, 3, 4], "the second piece alone");
        assert!(is_empty(&overlaps));
    }

    #[test]
    fn lines_whose_time_only_the_source_knows_touch_everything_of_their_piece() {
        let overlaps = Overlaps::new(1000, LATE);
        let large = overlaps.widen(&place(), None, &lines("m v=1 1\nm v=1 9"), None, NOW).unwrap();
        let other = begin(&overlaps, "n v=1 5");
        assert_eq!((end(&overlaps, other), end(&overlaps, large)), (vec![0], vec![0, 1]));
    }

    #[test]
    fn a_write_whose_task_dies_is_under_way_no_more() {
        let overlaps = Overlaps::new(1000, LATE);
        let (dies, other) = (begin(&overlaps, "m v=1 1\nm v=1 2"), begin(&overlaps, "m v=2 2"));
        drop(dies);
        let after = begin(&overlaps, "m v=3 1");
        assert_eq!((end(&overlaps, other), end(&overlaps, after)), (vec![0], vec![]));
        assert!(is_empty(&overlaps));
        // One that was not answered is remembered all the same.
        overlaps.end(begin(&overlaps, "m v=1 1"), true, NOW);
        let after = begin(&overlaps, "m v=2 1");
        assert_eq!(end(&overlaps, after), [0]);
    }

    #[test]
    fn every_line_of_a_cell_that_another_write_touches_is_met() {
        for several_first in [true, false] {
            let overlaps = Overlaps::new(1000, LATE);
            let (several, one) = ("m v=1 5\nm v=2 5\nn v=1 5", "m v=9 5");
            let (several, one) = if several_first {
                let several = begin(&overlaps, several);
                (several, begin(&overlaps, one))
            } else {
                let one = begin(&overlaps, one);
                (begin(&overlaps, several), one)
            };
            assert_eq!((end(&overlaps, several), end(&overlaps, one)), (vec![0, 1], vec![0]));
            assert!(is_empty(&overlaps));
        }
        // The last value is the same: which one the other write left in between is not known.
        let overlaps = Overlaps::new(1000, LATE);
        let (several, one) = (begin(&overlaps, "m v=1 5\nm v=2 5"), begin(&overlaps, "m v=2 5"));
        assert_eq!((end(&overlaps, several), end(&overlaps, one)), (vec![0, 1], vec![0]));
    }

    #[test]
    fn only_the_cells_that_two_writes_touch_are_found_in_whatever_order_they_end() {
        for first_ends_first in [true, false] {
            let overlaps = Overlaps::new(1000, LATE);
            let a = begin(&overlaps, "m v=1 1\nm v=1 2\nm,h=a v=1 3\n");
            let b = begin(&overlaps, "m v=5 9\nm v=2 2\nm,h=b v=1 3\nm v=1 1");
            let (a, b) = if first_ends_first {
                let a = end(&overlaps, a);
                (a, end(&overlaps, b))
            } else {
                let b = end(&overlaps, b);
                (end(&overlaps, a), b)
            };
            assert_eq!((a, b), (vec![1], vec![1]), "the same value of m at 1 is no overlap");
            assert!(is_empty(&overlaps));
        }
    }

    #[test]
    fn a_write_after_the_answer_does_not_meet_it() {
        let overlaps = Overlaps::new(1000, LATE);
        let a = begin(&overlaps, "m v=1 1");
        assert_eq!(end(&overlaps, a), Vec::<u32>::new());
        let b = begin(&overlaps, "m v=2 1");
        assert_eq!(end(&overlaps, b), Vec::<u32>::new());
    }

    #[test]
    fn three_writes_to_one_cell_are_all_found() {
        let overlaps = Overlaps::new(1000, LATE);
        let a = begin(&overlaps, "m v=1 1");
        let again = begin(&overlaps, "m v=1 1\nm v=7 7");
        let b = begin(&overlaps, "m v=2 1");
        assert_eq!(end(&overlaps, a), [0]);
        let c = begin(&overlaps, "m v=1 1");
        assert_eq!((end(&overlaps, b), end(&overlaps, again), end(&overlaps, c)), (vec![0], vec![0], vec![0]));
        assert!(is_empty(&overlaps));
    }

    #[test]
    fn a_body_sent_again_is_no_overlap_even_with_a_cell_twice() {
        let overlaps = Overlaps::new(1000, LATE);
        let body = "m v=1 1\nm v=2 1\n";
        let (a, b) = (begin(&overlaps, body), begin(&overlaps, body));
        assert_eq!((end(&overlaps, a), end(&overlaps, b)), (vec![], vec![]));
    }

    #[test]
    fn the_same_text_in_another_precision_is_no_repetition() {
        let overlaps = Overlaps::new(1000, LATE);
        // One cell twice, so that each body differs from its own repetition cell by cell.
        let body = "m v=1 0\nm v=2 0\n";
        let read = |query: &str| {
            let body = Decoded::Plain(body.to_owned().into());
            stamp::read(&Version::assumed(Flavor::Influx1), &WriteIdentity::read(Api::V1, query), body, 0, false)
        };
        let a = overlaps.begin(&place(), &read("db=d"), None, NOW).unwrap();
        let b = overlaps.begin(&place(), &read("db=d&precision=s"), None, NOW).unwrap();
        assert_eq!((end(&overlaps, a), end(&overlaps, b)), (vec![0, 1], vec![0, 1]));
    }

    #[test]
    fn places_that_nobody_writes_to_any_more_give_back_their_room() {
        let overlaps = Overlaps::new(1000, LATE);
        overlaps.end(begin(&overlaps, "m v=1 1"), true, NOW);
        assert_eq!(overlaps.listed.table.borrow().lines, 1);
        let other = RouteName::Database { db: "other".into(), rp: "r".into() };
        let write = overlaps.begin(&other, &lines("m v=1 1"), None, NOW + LATE).unwrap();
        overlaps.end(write, false, NOW + LATE);
        assert!(is_empty(&overlaps));
    }

    #[test]
    fn a_write_without_an_answer_is_met_until_it_can_no_longer_take_effect() {
        let overlaps = Overlaps::new(1000, LATE);
        let lost = begin(&overlaps, "m v=1 1\nm v=1 2");
        overlaps.end(lost, true, NOW);
        let again = begin(&overlaps, "m v=1 1\nm v=1 2");
        assert_eq!(end(&overlaps, again), Vec::<u32>::new(), "the client tries again");
        let newer = begin(&overlaps, "m v=2 1\nm v=1 3");
        assert_eq!(end(&overlaps, newer), [0]);
        let newer = begin_at(&overlaps, "m v=3 1", NOW + LATE);
        assert_eq!(end(&overlaps, newer), Vec::<u32>::new());
        assert!(is_empty(&overlaps));
    }

    #[test]
    fn what_does_not_fit_counts_as_touching_everything_of_its_time() {
        let overlaps = Overlaps::new(3, LATE);
        let a = begin(&overlaps, "m v=1 1\nm v=1 2\n");
        let far = begin(&overlaps, "m v=1 100\n");
        let b = begin(&overlaps, "n v=1 1\nn v=1 2\n");
        let c = begin(&overlaps, "o v=1 2\n");
        assert_eq!((end(&overlaps, b), end(&overlaps, a)), (vec![0, 1], vec![0, 1]));
        assert_eq!((end(&overlaps, c), end(&overlaps, far)), (vec![0], vec![]));
        assert!(is_empty(&overlaps));
    }

    #[test]
    fn many_writes_without_an_answer_become_one() {
        let overlaps = Overlaps::new(1_000_000, LATE);
        for at in 0..=LATE_MAX {
            let lost = begin(&overlaps, &format!("m v=1 {at}"));
            overlaps.end(lost, true, NOW);
        }
        assert_eq!(overlaps.listed.places.borrow()[&place()].flights.len(), 1);
        assert_eq!(overlaps.listed.table.borrow().lines, 0);
        let meets = begin(&overlaps, "other v=2 5");
        assert_eq!(end(&overlaps, meets), [0]);
        let far = begin(&overlaps, "m v=2 5000");
        assert_eq!(end(&overlaps, far), Vec::<u32>::new());
    }
}
