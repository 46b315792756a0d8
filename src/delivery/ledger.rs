//! Floors and the sums that belong to exactly these positions, made durable together.
//!
//! The sums are derived from log positions: a crash takes both back to the same record, and reading on from there counts
//! the same lines again, once. What is noted above the lowest floor is bounded: of very many notes neighbours become one,
//! which counts whole as soon as the floor has come to its first record; until where it counts is saved as well.
//!
//! Lanes whose floors are higher than the lowest have counted lines above it, which are read again: how many is saved as well,
//! since records can be lost meanwhile ([`super::passed`]).

use std::cell::RefCell;
use std::collections::VecDeque;

use super::lane::Lane;
use crate::base::Lsn;
use crate::line::project::Changes;
use crate::queue::Floors;
use crate::wal::cursor::COUNTERS_MAX;

/// Lines of intents that were not delivered, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) not_applied: u64,
    pub(super) doubt: u64,
    pub(super) gapped: u64,
    pub(super) excluded: u64,
    pub(super) damaged: u64,
    /// Cells that are not at the destination what they are at the source; their lines are among the others.
    pub(super) changes: Changes,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.not_applied += other.not_applied;
        self.doubt += other.doubt;
        self.gapped += other.gapped;
        self.excluded += other.excluded;
        self.damaged += other.damaged;
        self.changes.add_all(&other.changes);
    }
}

/// Layout of the counters: version, five sums of the tally, then delivered and dead of each lane, then up to which record
/// the tally counts (absent in older files: up to the lowest floor), then how many lines lanes have counted above the lowest floor
/// (absent in older files: not known, and taken for none), then how many reasons of changed cells follow, and cells by reason;
/// then, from version 3 on, the last statement that was carried out behind what came before it;
/// then, for each former number of lanes with floors above the lowest, how many floors follow, and these. The version also stands for the hash that deals lines
/// out to lanes: 1 was another one. Above its lowest byte stands the fingerprint of rules that send lines to other lanes.
const VERSION: u64 = 3;
/// The last one without statements.
const WITHOUT_STATEMENTS: u64 = 2;
const VERSION_BITS: u32 = 8;
const LANES_AT: usize = 6;

/// Notes above the floor; when there are more, neighbours become one. They take 2 MiB.
const NOTES_MAX: usize = 1 << 14;

/// What neighbouring records leave, as one.
#[derive(Clone, Copy, Debug)]
struct Note {
    first: Lsn,
    last: Lsn,
    tally: Tally,
}

/// Sums of what never enters a lane.
#[derive(Debug)]
pub(super) struct Ledger {
    /// At or below `counted`.
    base: Tally,
    /// The lowest floor, or the last record of a note that it stands in.
    counted: Lsn,
    /// Above it, in log order.
    above: VecDeque<Note>,
    /// Of all of them, and the base.
    total: Tally,
    /// Lines above the lowest floor that lanes have counted in former runs, and that were not met again yet.
    ahead: u64,
    /// Floors of former runs that began again at the lowest, where some are above it: the lines up to them are counted,
    /// and only they say which these are. Oldest first, one for each number of lanes.
    former: Vec<Vec<Lsn>>,
    /// By which rules lines are dealt out.
    dealt_by: u64,
    /// The last statement that removes something here.
    statement: Lsn,
}

impl Ledger {
    /// `counted`: the record up to which `base` counts.
    pub(super) fn new(base: Tally, counted: Lsn) -> Self {
        let (above, former, statement) = (VecDeque::new(), Vec::new(), Lsn::ZERO);
        Self { base, counted, above, total: base, ahead: 0, former, dealt_by: 0, statement }
    }

    /// A record with lines that enter no lane. What was counted before is not counted again.
    pub(super) fn note(&mut self, lsn: Lsn, tally: Tally) {
        if lsn <= self.counted {
            return;
        }
        self.total.add(tally);
        // In log order, also what is read once more after others.
        let at = self.above.partition_point(|note| note.first <= lsn);
        self.above.insert(at, Note { first: lsn, last: lsn, tally });
        if self.above.len() > NOTES_MAX {
            let merged = self.above.make_contiguous().chunks(2).map(|pair| {
                let mut note = pair[0];
                for next in &pair[1..] {
                    note.last = next.last;
                    note.tally.add(next.tally);
                }
                note
            });
            self.above = merged.collect();
        }
    }

    /// Everything seen so far.
    pub(super) fn total(&self) -> Tally {
        self.total
    }

    /// Lines above the lowest floor that lanes have counted in former runs, and that were not met again yet.
    pub(super) fn ahead(&self) -> u64 {
        self.ahead
    }

    /// A statement removes, from now on, what lies before it. Whoever begins below it does so again: nothing behind it may count as
    /// delivered then, whichever lane had it.
    pub(super) fn removes(&mut self, statement: Lsn) {
        self.statement = self.statement.max(statement);
    }

    /// Floors of former runs that began again at the lowest: the lines up to them are counted already.
    pub(super) fn former(&self) -> &[Vec<Lsn>] {
        &self.former
    }

    /// So many of them were met again; a lane knows of them from now on.
    pub(super) fn meet(&mut self, lines: u64) {
        self.ahead = self.ahead.saturating_sub(lines);
    }

    /// No more of them than these will be met, or are known to be lost.
    pub(super) fn expect(&mut self, lines: u64) {
        self.ahead = self.ahead.min(lines);
    }

    /// All lanes begin again at the lowest of these.
    fn begin_again(&mut self, floors: &[Lsn]) {
        match self.former.iter_mut().find(|former| former.len() == floors.len()) {
            Some(same) => same.iter_mut().zip(floors).for_each(|(own, floor)| *own = (*own).max(*floor)),
            None => self.former.push(floors.to_vec()),
        }
    }

    /// What can be made durable now.
    pub(super) fn floors(&mut self, lanes: &[RefCell<Lane>]) -> Floors {
        let mut floors = Floors { lanes: Vec::new(), counters: vec![0; LANES_AT] };
        for lane in lanes {
            let lane = lane.borrow();
            floors.lanes.push(lane.floor());
            floors.counters.extend([lane.delivered, lane.dead]);
        }
        self.counted = self.counted.max(floors.lowest());
        while let Some(note) = self.above.front().copied()
            && note.first <= self.counted
        {
            self.base.add(note.tally);
            self.counted = self.counted.max(note.last);
            self.above.pop_front();
        }
        let lowest = floors.lowest();
        let above: u64 = lanes.iter().map(|lane| lane.borrow_mut().counted_above(lowest)).sum();
        floors.counters.extend([self.counted.0, self.ahead + above]);
        let changes = self.base.changes.counts();
        floors.counters.push(changes.len() as u64);
        floors.counters.extend_from_slice(changes);
        floors.counters.push(self.statement.0);
        self.former.retain(|former| former.iter().any(|floor| *floor > lowest));
        let takes = |former: &[Vec<Lsn>]| former.iter().map(|former| 1 + former.len()).sum::<usize>();
        // Where all do not fit, lines of the oldest may count twice after a crash.
        while floors.counters.len() + takes(&self.former) > COUNTERS_MAX {
            self.former.remove(0);
        }
        for former in &self.former {
            floors.counters.push(former.len() as u64);
            floors.counters.extend(former.iter().map(|floor| floor.0));
        }
        let Tally { not_applied, doubt, gapped, excluded, damaged, .. } = self.base;
        floors.counters[..LANES_AT].copy_from_slice(&[
            VERSION | self.dealt_by << VERSION_BITS,
            not_applied,
            doubt,
            gapped,
            excluded,
            damaged,
        ]);
        floors
    }
}

/// Lines above the lowest floor that lanes had counted when these floors were saved.
#[must_use]
pub fn lines_ahead(floors: &Floors) -> u64 {
    let at = LANES_AT + 2 * floors.lanes.len() + 1;
    floors.counters.get(at).copied().filter(|_| is_known(floors)).unwrap_or(0)
}

/// Whether the sums, and the lanes that their lines went to, mean what they mean now.
pub(super) fn is_known(floors: &Floors) -> bool {
    let counters = &floors.counters;
    let lanes_end = LANES_AT + 2 * floors.lanes.len();
    matches!(version_of(counters), Some(VERSION | WITHOUT_STATEMENTS)) && counters.len() >= lanes_end
}

fn version_of(counters: &[u64]) -> Option<u64> {
    counters.first().map(|word| word & ((1 << VERSION_BITS) - 1))
}

/// A number, and so many more behind it.
fn counted_row<'a>(rest: &mut &'a [u64]) -> Option<&'a [u64]> {
    let (count, behind) = rest.split_first()?;
    let (row, left) = behind.split_at_checked(usize::try_from(*count).ok()?)?;
    *rest = left;
    Some(row)
}

/// Lanes and sums as they were made durable. With another number of lanes than before, or another way to deal lines out,
/// all start at the lowest floor: lines go to other lanes now, and only a contiguous repetition keeps their order. The same where a
/// statement above it removes something once more. `dealt_by`: the
/// rules that decide about lanes ([`super::shaping::fingerprint`]); by others than before nobody knows which lines lanes have counted
/// above the lowest floor, and they are not counted any more.
pub(super) fn restore(floors: &Floors, lanes: usize, dealt_by: u64) -> (Vec<Lane>, Ledger) {
    let counters = &floors.counters;
    let known = is_known(floors);
    let at = |index: usize| if known { counters[index] } else { 0 };
    let counted_at = LANES_AT + 2 * floors.lanes.len();
    let mut rest = counters.get(counted_at + 2..).filter(|_| known).unwrap_or_default();
    let changes = Changes::stored(counted_row(&mut rest).unwrap_or_default());
    let base = Tally { not_applied: at(1), doubt: at(2), gapped: at(3), excluded: at(4), damaged: at(5), changes };
    let counted = counters.get(counted_at).filter(|_| known).map_or(Lsn::ZERO, |at| Lsn(*at));
    let mut ledger = Ledger::new(base, counted.max(floors.lowest()));
    ledger.dealt_by = dealt_by;
    if known
        && version_of(counters) == Some(VERSION)
        && let Some((statement, behind)) = rest.split_first()
    {
        (ledger.statement, rest) = (Lsn(*statement), behind);
    }
    let same_rules = known && counters[0] >> VERSION_BITS == dealt_by;
    while same_rules && let Some(former) = counted_row(&mut rest) {
        ledger.former.push(former.iter().map(|floor| Lsn(*floor)).collect());
    }
    let goes_on = floors.lanes.len() == lanes && ledger.statement <= floors.lowest();
    if same_rules && !goes_on {
        ledger.begin_again(&floors.lanes);
    }
    let sums = |lane: usize| (at(LANES_AT + 2 * lane), at(LANES_AT + 2 * lane + 1));
    if same_rules && goes_on {
        ledger.ahead = counters.get(LANES_AT + 2 * lanes + 1).copied().unwrap_or(0);
        let lanes = floors.lanes.iter().enumerate().map(|(index, floor)| {
            let (delivered, dead) = sums(index);
            Lane::new(*floor, delivered, dead)
        });
        return (lanes.collect(), ledger);
    }
    let (delivered, dead) = (0..floors.lanes.len()).map(sums).fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
    let lowest = floors.lowest();
    let again = if known && !same_rules { counters.get(counted_at + 1).copied().unwrap_or(0) } else { 0 };
    let (delivered, dead) = (delivered.saturating_sub(again), dead.saturating_sub(again.saturating_sub(delivered)));
    let lane = |index| if index == 0 { Lane::new(lowest, delivered, dead) } else { Lane::new(lowest, 0, 0) };
    ((0..lanes).map(lane).collect(), ledger)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_saved_is_restored_and_sums_follow_the_lowest_floor() {
        let lanes = [RefCell::new(Lane::new(Lsn(9), 90, 1)), RefCell::new(Lane::new(Lsn(5), 50, 0))];
        let mut ledger = Ledger::new(Tally::default(), Lsn(0));
        for lsn in [4, 5, 6] {
            ledger.note(Lsn(lsn), Tally { doubt: 10, ..Tally::default() });
        }
        let floors = ledger.floors(&lanes);
        assert_eq!(floors.lanes, vec![Lsn(9), Lsn(5)]);
        assert_eq!(ledger.total().doubt, 30);

        let (again, ledger) = restore(&floors, 2, 0);
        assert_eq!(ledger.total().doubt, 20, "record 6 lies above the lowest floor and will be read again");
        assert_eq!((again[0].delivered, again[0].dead, again[1].delivered), (90, 1, 50));

        let (other, _) = restore(&floors, 3, 0);
        assert!(other.iter().all(|lane| lane.floor() == Lsn(5)));
        assert_eq!(other.iter().map(|lane| lane.delivered).sum::<u64>(), 140);
    }

    #[test]
    fn floors_of_other_numbers_of_lanes_are_known_until_the_lowest_has_come_up_to_them() {
        let lane = |floor| RefCell::new(Lane::new(Lsn(floor), 0, 0));
        let floors = Ledger::new(Tally::default(), Lsn(0)).floors(&[lane(5), lane(9)]);
        let (_, mut ledger) = restore(&floors, 3, 0);
        assert_eq!(ledger.former(), [[Lsn(5), Lsn(9)]]);
        let floors = ledger.floors(&[lane(6), lane(7), lane(8)]);
        let (_, mut ledger) = restore(&floors, 1, 0);
        assert_eq!(ledger.former(), [vec![Lsn(5), Lsn(9)], vec![Lsn(6), Lsn(7), Lsn(8)]]);
        let (_, mut again) = restore(&ledger.floors(&[lane(8)]), 1, 0);
        assert_eq!(again.former(), [[Lsn(5), Lsn(9)]], "the other is behind");
        assert!(restore(&again.floors(&[lane(9)]), 1, 0).1.former().is_empty());
        for _ in 0..20 {
            ledger.former.push(vec![Lsn(99); 60]);
        }
        let floors = ledger.floors(&[lane(10)]);
        assert!(floors.counters.len() <= COUNTERS_MAX);
        assert!(restore(&floors, 1, 0).1.former().iter().all(|former| former.len() == 60));
    }

    #[test]
    fn lines_above_the_lowest_floor_are_known_after_a_crash_and_once_more_while_they_are_met() {
        let lanes = [RefCell::new(Lane::new(Lsn(0), 0, 0)), RefCell::new(Lane::new(Lsn(3), 0, 0))];
        let above = [(3, 7), (5, 1), (9, 10)];
        above.into_iter().for_each(|(lsn, lines)| lanes[0].borrow_mut().met(Lsn(lsn), lines));
        let floors = Ledger::new(Tally::default(), Lsn(0)).floors(&lanes);
        let (lanes, mut ledger) = restore(&floors, 2, 0);
        assert_eq!(ledger.ahead(), 18);
        ledger.meet(7);
        let lanes: Vec<_> = lanes.into_iter().map(RefCell::new).collect();
        lanes[0].borrow_mut().met(Lsn(3), 7);
        let (_, ledger) = restore(&ledger.floors(&lanes), 2, 0);
        assert_eq!(ledger.ahead(), 18, "some are met, and some are not");
        let (_, ledger) = restore(&floors, 3, 0);
        assert_eq!(ledger.ahead(), 0, "nobody can tell where they are");
    }

    #[test]
    fn by_other_rules_all_lanes_begin_at_the_lowest_floor_and_each_line_counts_once() {
        let lane = |floor, delivered, dead| RefCell::new(Lane::new(Lsn(floor), delivered, dead));
        let lanes = [lane(0, 5, 1), lane(3, 9, 0)];
        [(3, 7), (5, 1)].into_iter().for_each(|(lsn, lines)| lanes[0].borrow_mut().met(Lsn(lsn), lines));
        let (_, mut ledger) = restore(&Floors::default(), 2, 7);
        let floors = ledger.floors(&lanes);
        let sums = |dealt_by| {
            let (lanes, ledger) = restore(&floors, 2, dealt_by);
            let sum = |of: fn(&Lane) -> u64| lanes.iter().map(of).sum::<u64>();
            (lanes[1].floor(), sum(|lane| lane.delivered), sum(|lane| lane.dead), ledger.ahead(), ledger.former().len())
        };
        assert_eq!(sums(7), (Lsn(3), 14, 1, 8, 0));
        assert_eq!(sums(0), (Lsn(0), 6, 1, 0, 0), "what is met again is counted then");
    }

    #[test]
    fn what_lies_behind_a_repeated_statement_is_delivered_again_by_every_lane_and_counted_once() {
        let lane = |floor| RefCell::new(Lane::new(Lsn(floor), 0, 0));
        let mut ledger = Ledger::new(Tally::default(), Lsn(0));
        ledger.removes(Lsn(7));
        ledger.removes(Lsn(6));
        let (lanes, mut ledger) = restore(&ledger.floors(&[lane(5), lane(9)]), 2, 0);
        assert!(lanes.iter().all(|lane| lane.floor() == Lsn(5)), "record 8 was removed again");
        assert_eq!(ledger.former(), [[Lsn(5), Lsn(9)]], "it is not counted again");
        let (lanes, mut ledger) = restore(&ledger.floors(&[lane(8), lane(6)]), 2, 0);
        assert!(lanes.iter().all(|lane| lane.floor() == Lsn(6)));
        assert_eq!(ledger.former(), [[Lsn(8), Lsn(9)]], "one row, whatever often");
        let (lanes, _) = restore(&ledger.floors(&[lane(9), lane(7)]), 2, 0);
        assert_eq!([lanes[0].floor(), lanes[1].floor()], [Lsn(9), Lsn(7)], "nobody meets it again");
    }

    #[test]
    fn a_fresh_queue_starts_at_zero() {
        let (lanes, ledger) = restore(&Floors::default(), 2, 0);
        assert_eq!((lanes.len(), ledger.total()), (2, Tally::default()));
        let older = Floors { lanes: vec![Lsn(3)], counters: vec![WITHOUT_STATEMENTS, 1, 2, 3, 4, 5, 60, 7] };
        let (lanes, ledger) = restore(&older, 1, 0);
        assert_eq!((lanes[0].delivered, ledger.counted, ledger.total().doubt), (60, Lsn(3), 2));
    }

    #[test]
    fn of_very_many_notes_each_line_counts_once_whenever_the_floors_are_saved() {
        let records = 5 * NOTES_MAX as u64;
        let note_from = |ledger: &mut Ledger, from: u64| {
            for lsn in (from..=records).filter(|lsn| lsn % 2 == 0) {
                ledger.note(Lsn(lsn), Tally { excluded: 1, ..Tally::default() });
                assert!(ledger.above.len() <= NOTES_MAX);
            }
        };
        let mut ledger = Ledger::new(Tally::default(), Lsn(0));
        note_from(&mut ledger, 1);
        assert_eq!(ledger.total().excluded, records / 2);
        for floor in [1, 7, 1000, records / 2 + 3, records] {
            let floors = ledger.floors(&[RefCell::new(Lane::new(Lsn(floor), 0, 0))]);
            let (_, mut again) = restore(&floors, 1, 0);
            note_from(&mut again, floor + 1);
            assert_eq!(again.total().excluded, records / 2, "after a crash at floor {floor}");
        }
        assert_eq!(ledger.total().excluded, records / 2);
    }
}
