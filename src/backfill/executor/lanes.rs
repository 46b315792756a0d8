//! Which chunk comes next: all that was not tried, from the newest group on; then what failed, in smaller pieces.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::backfill::chunk::ATTEMPTS_MAX;
use crate::backfill::scope::Unit;
use crate::backfill::steering::{Outcome, Steering};
use crate::db::read::Window;

/// Pieces that take the place of a window that was too much.
pub(super) const SPLIT: i64 = 4;
/// Measurements whose widths are remembered; beyond this they are learnt anew.
const KNOWN_MAX: usize = 20_000;
/// Windows of one unit that fail one after the other, before the rest of it is put aside as one piece.
const FAILS_MAX: u32 = 3;
/// Pieces of one measurement that are given up one after the other, before each further one is tried once, and whole.
const GIVEN_UP_MAX: u32 = 8;

/// A chunk to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// Number of the place.
    pub(super) place: usize,
    pub(super) measurement: Arc<[u8]>,
    pub(super) window: Window,
    /// How often a window around it was tried.
    pub(super) attempt: u32,
    /// The chunk that it is a part of; 0: none.
    pub(super) parent: i64,
}

/// What is left.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    /// The unit that is being cut, with what is left of it.
    current: Option<(Unit, VecDeque<Window>)>,
    retry: VecDeque<Piece>,
    /// Windows of the unit that failed one after the other.
    fails: u32,
    /// Pieces that were given up one after the other, by measurement.
    given_up: HashMap<(usize, Arc<[u8]>), u32>,
    widths: HashMap<(usize, Arc<[u8]>), Steering>,
}

impl Lanes {
    /// From here on this unit is cut.
    pub(super) fn begin(&mut self, unit: Unit, left: Vec<Window>) {
        self.current = Some((unit, left.into()));
        self.fails = 0;
    }

    /// Whether nothing of this measurement could be copied lately.
    fn is_hopeless(&self, place: usize, measurement: &Arc<[u8]>) -> bool {
        self.given_up.get(&(place, Arc::clone(measurement))).is_some_and(|count| *count >= GIVEN_UP_MAX)
    }

    /// A piece with points was copied.
    pub(super) fn succeeded(&mut self, piece: &Piece) {
        self.fails = 0;
        self.given_up.remove(&(piece.place, Arc::clone(&piece.measurement)));
    }

    /// A piece was given up.
    pub(super) fn gave_up(&mut self, piece: &Piece) {
        if self.given_up.len() >= KNOWN_MAX {
            self.given_up.clear();
        }
        *self.given_up.entry((piece.place, Arc::clone(&piece.measurement))).or_default() += 1;
    }

    /// The next piece of the unit; `None` where another one must begin.
    pub(super) fn next(&mut self) -> Option<Piece> {
        let (unit, left) = self.current.as_mut()?;
        let Some(window) = left.pop_front() else {
            self.current = None;
            return None;
        };
        let (place, measurement) = (unit.place, Arc::clone(&unit.measurement));
        let group_ns = unit.group.end_ns.saturating_sub(unit.group.start_ns);
        let known = self.widths.get(&(place, Arc::clone(&measurement)));
        let width_ns = known.copied().unwrap_or_else(|| Steering::new(group_ns)).width_ns();
        let end_ns = window.start_ns.saturating_add(width_ns).min(window.end_ns);
        if self.is_hopeless(place, &measurement) {
            return Some(Piece { place, measurement, window, attempt: ATTEMPTS_MAX - 1, parent: 0 });
        }
        if let Some((_, left)) = self.current.as_mut().filter(|_| end_ns < window.end_ns) {
            left.push_front(Window { start_ns: end_ns, end_ns: window.end_ns });
        }
        let window = Window { start_ns: window.start_ns, end_ns };
        Some(Piece { place, measurement, window, attempt: 0, parent: 0 })
    }

    /// A window of the unit failed: after some of them the rest is put aside, so that it holds nothing else up.
    fn failed_in_unit(&mut self) {
        self.fails += 1;
        if self.fails < FAILS_MAX {
            return;
        }
        if let Some((unit, left)) = self.current.as_mut() {
            let (place, measurement) = (unit.place, Arc::clone(&unit.measurement));
            for window in left.drain(..) {
                self.retry.push_back(Piece {
                    place,
                    measurement: Arc::clone(&measurement),
                    window,
                    attempt: 1,
                    parent: 0,
                });
            }
        }
    }

    /// What failed before; of a measurement of which nothing comes each piece has one try left.
    pub(super) fn next_again(&mut self) -> Option<Piece> {
        let piece = self.retry.pop_front()?;
        let is_hopeless = self.is_hopeless(piece.place, &piece.measurement);
        Some(Piece { attempt: if is_hopeless { ATTEMPTS_MAX - 1 } else { piece.attempt }, ..piece })
    }

    /// A piece comes again later, in so many parts.
    pub(super) fn again(&mut self, piece: &Piece, parent: i64, parts: i64) {
        let Window { start_ns, end_ns } = piece.window;
        let width = i128::from(end_ns) - i128::from(start_ns);
        let parts = i128::from(parts).min(width).max(1);
        let edge = |at: i128| i64::try_from(i128::from(start_ns) + width * at / parts).unwrap_or(end_ns);
        // In front: what fails for ever is known soon.
        for at in (0..parts).rev() {
            let window = Window { start_ns: edge(at), end_ns: edge(at + 1) };
            self.retry.push_front(Piece { window, attempt: piece.attempt + 1, parent, ..piece.clone() });
        }
        if piece.attempt == 0 {
            self.failed_in_unit();
        }
    }

    /// A piece that is as good as never tried.
    pub(super) fn anew(&mut self, piece: Piece) {
        self.retry.push_back(piece);
    }

    /// What the piece taught us.
    pub(super) fn learn(&mut self, piece: &Piece, group_ns: i64, outcome: Outcome) {
        if piece.attempt > 0 {
            return;
        }
        if self.widths.len() >= KNOWN_MAX {
            self.widths.clear();
        }
        let key = (piece.place, Arc::clone(&piece.measurement));
        let width_ns = piece.window.end_ns.saturating_sub(piece.window.start_ns);
        let known = self.widths.entry(key).or_insert_with(|| Steering::new(group_ns));
        *known = known.after(width_ns, outcome);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn window(start_ns: i64, end_ns: i64) -> Window {
        Window { start_ns, end_ns }
    }

    fn lanes(group: Window, left: Vec<Window>) -> Lanes {
        let mut lanes = Lanes::default();
        lanes.begin(Unit { place: 0, measurement: b"m"[..].into(), group }, left);
        lanes
    }

    #[test]
    fn the_pieces_of_a_unit_are_what_is_left_of_it() {
        for group in [window(0, 1_000_000), window(i64::MIN, i64::MAX), window(-5, 3)] {
            let (mut lanes, mut at) = (lanes(group, vec![group]), group.start_ns);
            while let Some(piece) = lanes.next() {
                assert_eq!(piece.window.start_ns, at, "no gap and no overlap");
                at = piece.window.end_ns;
                let took = Duration::from_millis(1);
                lanes.learn(&piece, 64, Outcome::Read { took, cells: 1 });
            }
            assert_eq!(at, group.end_ns);
        }
    }

    /// However the source fails, the queries are bounded, and each nanosecond is told once.
    #[test]
    fn a_measurement_that_always_fails_comes_to_an_end() {
        let group = window(0, 604_800_000_000_000);
        let (mut lanes, mut queries, mut told) = (Lanes::default(), 0, Vec::new());
        for number in 0..50 {
            let group = window(number * group.end_ns, (number + 1) * group.end_ns);
            lanes.begin(Unit { place: 0, measurement: b"m"[..].into(), group }, vec![group]);
            while let Some(piece) = lanes.next() {
                queries += 1;
                lanes.learn(&piece, group.end_ns, Outcome::TooMuch);
                fail(&mut lanes, piece, &mut told);
            }
        }
        while let Some(piece) = lanes.next_again() {
            queries += 1;
            fail(&mut lanes, piece, &mut told);
        }
        assert!(queries < 1000, "{queries}");
        told.sort();
        let mut at = 0;
        for part in told {
            assert_eq!(part.start_ns, at);
            at = part.end_ns;
        }
        assert_eq!(at, 50 * group.end_ns);
    }

    fn fail(lanes: &mut Lanes, piece: Piece, told: &mut Vec<Window>) {
        if piece.attempt + 1 >= ATTEMPTS_MAX {
            lanes.gave_up(&piece);
            told.push(piece.window);
        } else {
            lanes.again(&piece, 1, SPLIT);
        }
    }

    #[test]
    fn a_window_falls_apart_without_loss() {
        for whole in [window(0, 10), window(0, 2), window(7, 8), window(i64::MIN, i64::MAX)] {
            let mut lanes = lanes(whole, Vec::new());
            let piece = Piece { place: 0, measurement: b"m"[..].into(), window: whole, attempt: 1, parent: 0 };
            lanes.again(&piece, 9, SPLIT);
            let (mut at, mut count) = (whole.start_ns, 0);
            while let Some(part) = lanes.next_again() {
                assert_eq!((part.window.start_ns, part.attempt, part.parent), (at, 2, 9));
                assert!(part.window.end_ns > at);
                (at, count) = (part.window.end_ns, count + 1);
            }
            assert_eq!(at, whole.end_ns, "{whole:?}");
            assert!((1..=SPLIT).contains(&count));
        }
    }
}
