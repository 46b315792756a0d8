//! How many of each route's lines are in doubt, by cause: since the start, and in a window that moves along.
//!
//! Promise: bounded by [`ROUTES_MAX`] and [`TOLD_MAX`]. Routes with doubt stay, those without make room; what still does not fit is counted as one. A line
//! counts once: at the edge, or, where the edge never knew its fate, when the first destination meets it.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use metrics::counter;

use super::cause::Cause;
use crate::base::{Lsn, metric};
use crate::route::RouteName;

/// The window moves in so many steps.
pub const PARTS: usize = 10;
/// Routes that are told apart; also the bound of a metric's label.
const ROUTES_MAX: usize = 256;
/// Records of unknown fate that are remembered, so that the next destination does not count them again.
const TOLD_MAX: usize = 8192;
/// The label of all others.
pub const OTHERS: &str = "other";

/// Lines by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts([u64; Cause::COUNT]);

impl Counts {
    /// So many lines more.
    pub fn add(&mut self, cause: Cause, lines: u64) {
        self.0[usize::from(cause.code())] += lines;
    }

    /// Lines of all causes.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Causes that there are, those with most lines first.
    #[must_use]
    pub fn causes(&self) -> Vec<(Cause, u64)> {
        let mut some: Vec<(Cause, u64)> = Cause::all().zip(self.0).filter(|(_, lines)| *lines > 0).collect();
        some.sort_by_key(|(_, lines)| std::cmp::Reverse(*lines));
        some
    }

    fn take_in(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(own, more)| *own += more);
    }
}

/// A step of the window.
#[derive(Clone, Copy, Debug, Default)]
struct Part {
    accepted: u64,
    doubt: Counts,
}

/// One route.
#[derive(Clone, Debug, Default)]
struct Row {
    since_start: Counts,
    /// A ring; that of number `newest` lies at `newest % PARTS`.
    parts: [Part; PARTS],
    newest: u64,
}

impl Row {
    /// Clears what the window has left behind.
    fn advance(&mut self, now: u64) {
        let passed = now.saturating_sub(self.newest).min(PARTS as u64);
        for number in 0..passed {
            self.parts[((now - number) % PARTS as u64) as usize] = Part::default();
        }
        self.newest = self.newest.max(now);
    }

    fn add(&mut self, accepted: u64, doubt: &Counts, now: u64) {
        self.advance(now);
        let part = &mut self.parts[(self.newest % PARTS as u64) as usize];
        part.accepted += accepted;
        part.doubt.take_in(doubt);
        self.since_start.take_in(doubt);
    }

    fn accepted(&self) -> u64 {
        self.parts.iter().map(|part| part.accepted).sum()
    }

    fn share(&mut self, route: Option<&RouteName>, now: u64) -> Share {
        self.advance(now);
        let mut window = Counts::default();
        self.parts.iter().for_each(|part| window.take_in(&part.doubt));
        let back = |steps: u64| self.newest.checked_sub(steps).map(|at| &self.parts[(at % PARTS as u64) as usize]);
        let in_doubt = |steps: &u64| back(*steps).is_some_and(|part| part.doubt.sum() > 0);
        Share {
            route: route.map_or_else(|| OTHERS.to_owned(), ToString::to_string),
            since_start: self.since_start,
            window,
            accepted: self.accepted(),
            parts_with_lines: self.parts.iter().filter(|part| part.accepted > 0).count(),
            parts_with_doubt: self.parts.iter().filter(|part| part.doubt.sum() > 0).count(),
            oldest_doubt: (0..PARTS as u64).rev().find(in_doubt).map_or(0, |steps| steps as usize),
        }
    }
}

/// What one route has in doubt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// Its name, or [`OTHERS`].
    pub route: String,
    /// Lines in doubt since the start.
    pub since_start: Counts,
    /// Those of the window.
    pub window: Counts,
    /// Lines in the window that the source has kept, or may have.
    pub accepted: u64,
    /// Steps of the window in which lines came.
    pub parts_with_lines: usize,
    /// Those in which some were doubt.
    pub parts_with_doubt: usize,
    /// How many steps ago the first of them was.
    pub oldest_doubt: usize,
}

/// All routes. Shared by the edge, delivery and control; cheap to clone. Times are monotonic.
#[derive(Clone)]
pub struct Doubts(Arc<Mutex<Inner>>);

struct Inner {
    part: Duration,
    routes: HashMap<RouteName, Row>,
    others: Row,
    /// The step in which idle routes last made room.
    tidied: u64,
    /// Records of which a destination has told.
    told: BTreeSet<Lsn>,
    /// Up to here they are forgotten, and taken for told.
    forgotten: Lsn,
}

impl fmt::Debug for Doubts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Doubts")
    }
}

impl Doubts {
    /// With a window of this length.
    #[must_use]
    pub fn new(window: Duration) -> Self {
        let part = (window / PARTS as u32).max(Duration::from_millis(1));
        let inner = Inner {
            part,
            routes: HashMap::new(),
            others: Row::default(),
            tidied: 0,
            told: BTreeSet::new(),
            forgotten: Lsn::ZERO,
        };
        Self(Arc::new(Mutex::new(inner)))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Whoever panicked in these short sections left nothing but a sum half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A write has got its outcome: lines that the source has kept, or may have, and those of them that are doubt.
    pub fn note(&self, name: &RouteName, accepted: u64, doubt: &Counts, now: Duration) {
        if accepted == 0 {
            return;
        }
        let is_listed = self.inner().note(name, accepted, doubt, now);
        for (cause, lines) in doubt.causes() {
            let route = if is_listed { name.to_string() } else { OTHERS.to_owned() };
            counter!(metric::DOUBT_TOTAL, "route" => route, "cause" => cause.name()).increment(lines);
        }
    }

    /// A destination has met a write whose fate the edge never knew. Others will meet it as well: it counts once.
    pub fn met(&self, lsn: Lsn, name: &RouteName, cause: Cause, lines: u64, now: Duration) {
        if !matches!(cause, Cause::Crash | Cause::Unsettled) {
            return;
        }
        {
            let mut inner = self.inner();
            if lsn <= inner.forgotten || !inner.told.insert(lsn) {
                return;
            }
            if inner.told.len() > TOLD_MAX {
                inner.forgotten = inner.told.pop_first().unwrap_or(lsn);
            }
        }
        let mut doubt = Counts::default();
        doubt.add(cause, lines);
        self.note(name, lines, &doubt, now);
    }

    /// Routes that have, or had, lines in doubt since the start; those with most in the window first.
    #[must_use]
    pub fn shares(&self, now: Duration) -> Vec<Share> {
        let mut inner = self.inner();
        let now = inner.step(now);
        let Inner { routes, others, .. } = &mut *inner;
        let named = routes.iter_mut().map(|(name, row)| (Some(name), row));
        let all = named.chain([(None, others)]).filter(|(_, row)| row.since_start.sum() > 0);
        let mut shares: Vec<Share> = all.map(|(name, row)| row.share(name, now)).collect();
        drop(inner);
        let most = |share: &Share| (share.window.sum(), share.since_start.sum());
        shares.sort_by(|a, b| most(b).cmp(&most(a)).then_with(|| a.route.cmp(&b.route)));
        shares
    }
}

impl Inner {
    fn step(&self, now: Duration) -> u64 {
        (now.as_nanos() / self.part.as_nanos()) as u64
    }

    /// Whether the route has a row of its own.
    fn note(&mut self, name: &RouteName, accepted: u64, doubt: &Counts, now: Duration) -> bool {
        let now = self.step(now);
        if !self.routes.contains_key(name) && self.has_room(doubt.sum() > 0, now) {
            self.routes.insert(name.clone(), Row::default());
        }
        let row = self.routes.get_mut(name);
        let is_listed = row.is_some();
        row.unwrap_or(&mut self.others).add(accepted, doubt, now);
        is_listed
    }

    /// Makes room for one more route, if it can; for one in doubt also where another one is busy.
    fn has_room(&mut self, is_doubt: bool, now: u64) -> bool {
        if self.routes.len() >= ROUTES_MAX && self.tidied != now {
            self.tidied = now;
            self.routes.retain(|_, row| {
                row.advance(now);
                row.since_start.sum() > 0 || row.accepted() > 0
            });
        }
        if self.routes.len() >= ROUTES_MAX && is_doubt {
            let without = self.routes.iter().filter(|(_, row)| row.since_start.sum() == 0);
            let least = without.min_by_key(|(_, row)| row.accepted()).map(|(name, _)| name.clone());
            if let Some(row) = least.and_then(|name| self.routes.remove(&name)) {
                self.others.add(row.accepted(), &Counts::default(), now);
            }
        }
        self.routes.len() < ROUTES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(number: usize) -> RouteName {
        RouteName::Database { db: format!("db{number}"), rp: "r".to_owned() }
    }

    fn counts(cause: Cause, lines: u64) -> Counts {
        let mut counts = Counts::default();
        counts.add(cause, lines);
        counts
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(1_000_000 + seconds)
    }

    #[test]
    fn the_window_moves_along_and_the_sum_since_the_start_stays() {
        let doubts = Doubts::new(Duration::from_secs(100));
        for second in 0..50 {
            doubts.note(&name(1), 10, &counts(Cause::Overlap, u64::from(second % 10 == 0)), at(second));
        }
        doubts.note(&name(2), 10, &Counts::default(), at(49));
        let [share] = &doubts.shares(at(50))[..] else { panic!("only routes with doubt are listed") };
        assert_eq!((share.route.as_str(), share.accepted, share.window), ("db1/r", 500, counts(Cause::Overlap, 5)));
        assert_eq!((share.parts_with_lines, share.parts_with_doubt, share.oldest_doubt), (5, 5, 5));
        doubts.note(&name(1), 7, &counts(Cause::Reset, 7), at(120));
        let share = doubts.shares(at(129)).remove(0);
        assert_eq!((share.accepted, share.parts_with_lines, share.oldest_doubt), (200 - 10 * 10 + 7 + 100, 3, 9));
        assert_eq!(share.window.causes(), [(Cause::Reset, 7), (Cause::Overlap, 2)]);
        let share = doubts.shares(at(100_000)).remove(0);
        assert_eq!((share.accepted, share.window.sum(), share.since_start.sum()), (0, 0, 12));
    }

    #[test]
    fn routes_with_doubt_stay_those_without_make_room_and_the_rest_counts_as_one() {
        let doubts = Doubts::new(Duration::from_secs(100));
        let (none, one) = (Counts::default(), counts(Cause::Timeout, 1));
        for number in 0..2 * ROUTES_MAX {
            doubts.note(&name(number), 5, &none, at(0));
        }
        assert_eq!(doubts.inner().routes.len(), ROUTES_MAX, "names that clients invent");
        for number in 1_000..1_000 + ROUTES_MAX + 3 {
            doubts.note(&name(number), 5, &one, at(1));
        }
        let shares = doubts.shares(at(2));
        assert_eq!((shares.len(), doubts.inner().routes.len()), (ROUTES_MAX + 1, ROUTES_MAX));
        let others = shares.iter().find(|share| share.route == OTHERS).unwrap();
        assert_eq!((others.since_start.sum(), others.accepted), (3, 5 * (2 * ROUTES_MAX as u64 + 3)));
        doubts.note(&name(1_000), 5, &one, at(5_000));
        assert_eq!(doubts.shares(at(5_000)).len(), ROUTES_MAX + 1, "they have been in doubt since the start");
    }

    #[test]
    fn a_route_that_nobody_writes_to_makes_room() {
        let doubts = Doubts::new(Duration::from_secs(100));
        for number in 0..ROUTES_MAX {
            doubts.note(&name(number), 5, &Counts::default(), at(number as u64 / 2));
        }
        doubts.note(&name(9_999), 5, &Counts::default(), at(190));
        let inner = doubts.inner();
        assert!(inner.routes.contains_key(&name(9_999)) && inner.routes.len() < ROUTES_MAX, "{}", inner.routes.len());
    }

    #[test]
    fn what_each_destination_meets_counts_once() {
        let doubts = Doubts::new(Duration::from_secs(100));
        for destination in 0..3 {
            doubts.met(Lsn(5), &name(1), Cause::Crash, 2, at(destination));
            doubts.met(Lsn(7), &name(1), Cause::Unsettled, 1, at(destination));
            doubts.met(Lsn(9), &name(1), Cause::Overlap, 1, at(destination));
        }
        let share = doubts.shares(at(3)).remove(0);
        assert_eq!(share.since_start.causes(), [(Cause::Crash, 2), (Cause::Unsettled, 1)]);
    }

    #[test]
    fn what_one_destination_does_not_get_counts_when_another_one_meets_it() {
        let doubts = Doubts::new(Duration::from_secs(100));
        doubts.met(Lsn(9), &name(1), Cause::Crash, 1, at(0));
        doubts.met(Lsn(5), &name(2), Cause::Crash, 4, at(1));
        doubts.met(Lsn(9), &name(1), Cause::Crash, 1, at(1));
        let sums: Vec<u64> = doubts.shares(at(3)).iter().map(|share| share.since_start.sum()).collect();
        assert_eq!(sums, [4, 1]);
        let many = TOLD_MAX as u64 + 10;
        (100..100 + many).for_each(|lsn| doubts.met(Lsn(lsn), &name(1), Cause::Crash, 1, at(2)));
        assert_eq!(doubts.inner().told.len(), TOLD_MAX);
        doubts.met(Lsn(9), &name(1), Cause::Crash, 1, at(3));
        assert_eq!(doubts.shares(at(3))[0].since_start.sum(), 1 + many, "what is forgotten is told");
    }
}
