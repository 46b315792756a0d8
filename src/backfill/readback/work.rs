//! Some rows, and the parts of the data that are left to copy for them.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::PIECES_MAX;
use super::copy::Piece;
use super::group::Group;
use super::place::Met;
use crate::backfill::scope::Place;
use crate::base::{Error, Kind, Result, Side};
use crate::db::read::{WEEK_NS, Window};
use crate::state::Cleared;

/// What a plan comes to.
pub(super) enum Planned {
    /// There are parts to copy, or none at the source.
    Parts,
    /// Nothing is to be copied.
    Cleared(Cleared),
}

/// One group at work.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) group: Group,
    /// `None`: nobody has looked yet.
    pub(super) left: Option<VecDeque<Piece>>,
    /// Monotonic.
    pub(super) not_before: Duration,
    /// Failures in a row.
    pub(super) fails: u32,
    /// Since when, monotonic.
    pub(super) failing_since: Option<Duration>,
    /// Why it waits.
    pub(super) why: Option<String>,
    /// The process of the destination before the first part, where it says yes before it keeps.
    pub(super) process: Option<u64>,
    /// When the last part was acknowledged, monotonic.
    pub(super) copied_at: Option<Duration>,
}

impl Work {
    pub(super) fn new(group: Group) -> Self {
        let (left, not_before, fails, why) = (None, Duration::ZERO, 0, None);
        Self { group, left, not_before, fails, failing_since: None, why, process: None, copied_at: None }
    }

    pub(super) fn next(&mut self) -> Option<Piece> {
        self.left.as_mut()?.pop_front()
    }

    /// They come next.
    pub(super) fn put_back(&mut self, pieces: Vec<Piece>) {
        let left = self.left.get_or_insert_default();
        pieces.into_iter().rev().for_each(|piece| left.push_front(piece));
    }

    /// It comes behind all others.
    pub(super) fn put_last(&mut self, piece: Piece) {
        self.left.get_or_insert_default().push_back(piece);
    }

    pub(super) fn went_well(&mut self, now: Duration) {
        (self.fails, self.failing_since, self.why, self.not_before) = (0, None, None, Duration::ZERO);
        self.copied_at = Some(now);
    }

    /// The parts of all measurements in these places.
    pub(super) async fn plan(&mut self, met: &Met, places: &[Rc<Place>]) -> Result<()> {
        let mut pieces = VecDeque::new();
        for place in places {
            let (db, rp) = (place.read_as.0.as_str(), place.read_as.1.as_str());
            let names = match &self.group.measurement {
                Some(name) => vec![name.clone()],
                None => met.reader.measurements(db, rp).await?,
            };
            let mut shared = None;
            // What a rule of mapping leaves out is owed to nobody, and has no region.
            let is_left_out = |name: &[u8]| place.shape.as_ref().is_some_and(|rules| rules.measurement(name).is_none());
            for name in names.into_iter().filter(|name| !is_left_out(name)) {
                let windows = match &shared {
                    Some(windows) => Vec::clone(windows),
                    None => windows(met, (db, rp), &name, self.group.window()).await?,
                };
                if met.reader.groups_are_of_the_policy() {
                    shared = Some(windows.clone());
                }
                let measurement: Arc<[u8]> = name.into();
                let piece = |window| Piece {
                    place: Rc::clone(place),
                    measurement: Arc::clone(&measurement),
                    window,
                    attempt: 0,
                };
                pieces.extend(windows.into_iter().map(piece));
                if pieces.len() > PIECES_MAX {
                    let what = format!("{} has more than {PIECES_MAX} parts", self.group.name());
                    return Err(
                        Error::new(Kind::Limit, Side::Own, what).hint("copy its route with twinline backfill start --db NAME; it stays on record, as it is not read back by itself")
                    );
                }
            }
        }
        (self.left, self.copied_at) = (Some(pieces), None);
        Ok(())
    }
}

/// Parts of a window that may hold points. A short one is one.
async fn windows(met: &Met, (db, rp): (&str, &str), measurement: &[u8], window: Window) -> Result<Vec<Window>> {
    let is_short = i128::from(window.end_ns) - i128::from(window.start_ns) <= i128::from(WEEK_NS);
    if is_short {
        return Ok(vec![window]);
    }
    match met.reader.groups(db, rp, measurement, window).await {
        // Who may not list groups reads what they hold all the same.
        Err(error) if error.kind() == Kind::Auth => Ok(vec![window]),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Lsn;
    use crate::route::{RouteName, Target};

    #[test]
    fn what_was_put_back_comes_first_and_in_its_order() {
        let (name, target) = (
            RouteName::Database { db: "d".into(), rp: String::new() },
            Target::Database { db: "d".into(), rp: String::new() },
        );
        let place = Rc::new(Place { name, read_as: Default::default(), target, shape: None });
        let piece = |start_ns| Piece {
            place: Rc::clone(&place),
            measurement: b"m"[..].into(),
            window: Window { start_ns, end_ns: start_ns + 1 },
            attempt: 0,
        };
        let (route, measurement, rows) = ("r".to_owned(), None, Vec::new());
        let mut work = Work::new(Group { route, measurement, from_ns: 0, to_ns: 9, behind: Lsn(1), rows });
        assert!(work.next().is_none());
        work.left = Some([3, 4].map(piece).into());
        work.put_back(vec![piece(1), piece(2)]);
        let order: Vec<_> = std::iter::from_fn(|| work.next()).map(|piece| piece.window.start_ns).collect();
        assert_eq!(order, [1, 2, 3, 4]);
        (work.fails, work.why) = (3, Some("why".to_owned()));
        work.went_well(Duration::from_secs(5));
        assert_eq!((work.fails, work.why, work.copied_at), (0, None, Some(Duration::from_secs(5))));
    }
}
