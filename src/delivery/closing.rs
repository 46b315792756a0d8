//! How what waits for a target becomes a gap: so that after any crash each of its lines is delivered or in the gap, never
//! both and never neither.
//!
//! The gap is a stretch of the log: of the target's records in it, every line above the floor of its lane is in the gap, also
//! one that was delivered while an older record held the floor. That can be told again after a crash from the stretch and the
//! saved floors alone. To make it true: no request of the target is under way; no floor moves into the stretch, and what
//! floors have passed of it before is saved; then the stretch is read once more and its lines are counted; then the gap is
//! durable; then the floors pass.

use std::collections::BTreeMap;
use std::time::Duration;

use super::aside::{Again, Aside, Sum};
use super::distribute::{Distributor, last_of};
use super::lane::Lane;
use super::shaping::Shaped;
use super::target::TargetId;
use super::tell;
use crate::base::bounds::COUNTED_MAX;
use crate::base::failpoint::{self, Point};
use crate::base::{Lsn, Result};
use crate::queue::{Intent, Scout, Spans};
use crate::route::RouteName;
use crate::state::{Effects, Gap, ROUTE_BACKLOG};
use crate::wal::{Item, Reader, Record};

/// Records read once more in one go before other tasks get their turn.
const COUNT_STEP: usize = 256;

/// A stretch of the log that becomes a gap.
#[derive(Debug, Default)]
pub(super) struct Closing {
    /// Where it begins, once no request of the target is under way: floors stay below.
    pub(super) from: Option<Lsn>,
    /// How often floors had been saved then.
    saves: u64,
    counting: Option<(Reader, Scout)>,
    sums: BTreeMap<RouteName, Sum>,
    /// Of these, lines that lanes counted.
    pub(super) from_lanes: u64,
    /// Of the others by route.
    from_log: BTreeMap<RouteName, u64>,
    /// Damage has taken more, of which nobody knows whose it is.
    is_unknown: bool,
}

/// A gap that grows while its target stands still.
#[derive(Debug)]
pub(super) struct Growing {
    begin: Lsn,
    to: Lsn,
    /// When it did last, monotonic.
    pub(super) grown: Duration,
    sums: BTreeMap<RouteName, Sum>,
}

impl Aside {
    fn is_counting(&self) -> bool {
        self.closing.as_ref().is_some_and(|closing| closing.counting.is_some())
    }
}

impl Distributor {
    /// Whether what waits for a target is becoming a gap.
    pub(super) fn is_closing(&self, target: TargetId) -> bool {
        self.asides.get(&target).is_some_and(|aside| aside.closing.is_some())
    }

    /// Whether lines of it are counted already: that is brought to its end.
    pub(super) fn is_counting(&self, target: TargetId) -> bool {
        self.asides.get(&target).is_some_and(Aside::is_counting)
    }

    /// The target takes writes again, or an operator's hold begins, before anything was counted.
    pub(super) fn stop_closing(&mut self, target: TargetId) {
        if let Some(aside) = self.asides.get_mut(&target)
            && aside.closing.take().is_some()
        {
            self.shared.closing.borrow_mut().remove(&target);
            self.hold();
            self.wake_lanes();
        }
    }

    /// What waits for a target becomes a gap; durable before the floors pass it. Call it again until it is done: it waits for
    /// nobody. True when it has more to do at once.
    pub(super) async fn give_up(&mut self, target: TargetId) -> Result<bool> {
        self.shared.closing.borrow_mut().insert(target);
        if self.shared.lanes.iter().any(|lane| lane.borrow().is_sending_to(target)) {
            self.asides.entry(target).or_default().closing.get_or_insert_default();
            return Ok(false);
        }
        // What is parked is lost as well.
        let first = |lane: &Lane| lane.first_of(target).into_iter().chain(lane.first_parked_of(target)).min();
        let oldest = self.shared.lanes.iter().filter_map(|lane| first(&lane.borrow())).min();
        let (saves, dealt) = (self.shared.saves.get(), self.dealt);
        let aside = self.asides.entry(target).or_default();
        let closing = aside.closing.get_or_insert_default();
        if closing.from.is_none() {
            let oldest = oldest.into_iter().chain(aside.first).min().unwrap_or_else(|| dealt.next());
            closing.from = Some(aside.gap.as_ref().map_or(oldest, |gap| gap.to.next()));
            closing.saves = saves;
            self.hold();
            return Ok(false);
        }
        if saves <= closing.saves {
            self.shared.gap_waits.set(true);
            return Ok(false);
        }
        if !self.may_count(target) {
            return Ok(false);
        }
        let Some(mut aside) = self.asides.remove(&target) else { return Ok(false) };
        let counted = self.count_some(target, &mut aside);
        // Also after a fault: it goes on where it was.
        self.asides.insert(target, aside);
        self.hold();
        let is_counted = counted?;
        if is_counted {
            self.close(target).await;
        }
        Ok(!is_counted)
    }

    /// Whether it is a target's turn to be counted: each that is has its own place in the log.
    fn may_count(&self, target: TargetId) -> bool {
        let counts = |aside: &Aside| aside.closing.as_ref().is_some_and(|closing| closing.counting.is_some());
        self.is_counting(target) || self.asides.values().filter(|aside| counts(aside)).count() < COUNTED_MAX
    }

    /// Counts some records of the stretch. True when all are counted that were dealt out or set aside.
    fn count_some(&mut self, target: TargetId, aside: &mut Aside) -> Result<bool> {
        let Some(mut closing) = aside.closing.take() else { return Ok(false) };
        let done = self.count_step(target, aside, &mut closing);
        aside.closing = Some(closing);
        done
    }

    fn count_step(&mut self, target: TargetId, aside: &Aside, closing: &mut Closing) -> Result<bool> {
        if closing.counting.is_none() {
            let lowest = self.shared.lanes.iter().map(|lane| lane.borrow().floor()).min().unwrap_or(Lsn::ZERO);
            let from = closing.from.unwrap_or(lowest).max(lowest.next());
            closing.counting = Some((self.log.reader(from)?, Scout::new(self.log.reader(from)?, from.before())));
        }
        for _ in 0..COUNT_STEP {
            let Some((reader, scout)) = &mut closing.counting else { return Ok(false) };
            if reader.next_lsn() > self.dealt {
                return Ok(true);
            }
            let before = reader.clone();
            let Some(item) = reader.next()? else { return Ok(false) };
            if last_of(&item) > self.dealt {
                // Its turn comes in the ordinary way.
                return Ok(true);
            }
            let record = match item {
                Item::Record(record) => record,
                Item::Damage(damage) => {
                    // Which lane has which of them nobody can say any more.
                    match self.lost_meanwhile(&damage, target, scout) {
                        Ok(lost) => {
                            closing.from_lanes += lost.in_lanes(aside.counted_to);
                            closing.is_unknown |= lost.is_unknown;
                            for (name, lines) in lost.aside(aside.counted_to) {
                                *closing.from_log.entry(name.clone()).or_insert(0) += lines;
                            }
                            for (name, sum) in lost.sums() {
                                closing.sums.entry(name).or_insert(Sum::NONE).add(sum.lines, sum.from_ns, sum.to_ns);
                            }
                        }
                        Err(error) => {
                            *reader = before;
                            return Err(error);
                        }
                    }
                    continue;
                }
            };
            let of_target = match self.applied_of(&record, target, scout) {
                Ok(of_target) => of_target,
                Err(error) => {
                    *reader = before;
                    return Err(error);
                }
            };
            let of_target = match of_target {
                Again::Others => None,
                Again::Its(intent, spans) => Some((intent, spans)),
                // All of it is in the gap then.
                Again::Unjudged(intent) => Some((intent, Spans::default())),
            };
            if let Some((intent, spans)) = of_target {
                let in_lanes = record.lsn <= aside.counted_to || aside.first.is_none_or(|first| record.lsn < first);
                self.count_record(&record, &intent, &spans, in_lanes, closing);
            }
        }
        Ok(false)
    }

    /// Every line of the record above the floor of its lane is in the gap.
    fn count_record(&self, record: &Record, intent: &Intent, spans: &Spans, in_lanes: bool, closing: &mut Closing) {
        let mut own = vec![0u32; self.shared.lanes.len()];
        let mut sum = Sum::NONE;
        let shaped = Shaped::of(&self.shared.targets, record, intent, spans);
        shaped.counted(record, intent, spans, |series, at_ns| {
            let index = (series % own.len() as u64) as usize;
            if record.lsn > self.shared.lanes[index].borrow().floor() && !self.is_repeated(record.lsn, series) {
                sum.add(1, at_ns, at_ns);
                own[index] += 1;
            }
        });
        if sum.lines == 0 {
            return;
        }
        closing.sums.entry(intent.name.clone()).or_insert(Sum::NONE).add(sum.lines, sum.from_ns, sum.to_ns);
        if !in_lanes {
            *closing.from_log.entry(intent.name.clone()).or_insert(0) += sum.lines;
        } else {
            closing.from_lanes += sum.lines;
            for (lane, lines) in self.shared.lanes.iter().zip(own).filter(|(_, lines)| *lines > 0) {
                lane.borrow_mut().lose(record.lsn, lines);
            }
        }
    }

    /// The stretch is counted: it becomes a gap.
    async fn close(&mut self, target: TargetId) {
        let (mut free, parked) = (0, self.parked_lines_of(target));
        for lane in &self.shared.lanes {
            free += lane.borrow_mut().take_from(target, Lsn::ZERO);
        }
        self.shared.pending_bytes.set(self.shared.pending_bytes.get() - free);
        if parked > 0 {
            self.lost_parked(target, parked);
        }
        let (dealt, now) = (self.dealt, self.shared.clock.monotonic());
        let aside = self.asides.entry(target).or_default();
        let closing = aside.closing.get_or_insert_default();
        if closing.is_unknown {
            // What was aside and was not met stood in damaged records.
            for (name, sum) in &aside.sums {
                let lines = sum.lines.saturating_sub(closing.from_log.get(name).copied().unwrap_or(0));
                closing.sums.entry(name.clone()).or_insert(Sum::NONE).add(lines, sum.from_ns, sum.to_ns);
            }
        }
        let from = closing.from.unwrap_or(dealt);
        let is_new = aside.gap.is_none();
        let mut gap = aside.gap.take().unwrap_or_else(|| Growing {
            begin: from,
            to: from.before(),
            grown: Duration::ZERO,
            sums: BTreeMap::new(),
        });
        gap.grown = now;
        gap.to = dealt.max(gap.to);
        for (name, sum) in std::mem::take(&mut closing.sums) {
            gap.sums.entry(name).or_insert(Sum::NONE).add(sum.lines, sum.from_ns, sum.to_ns);
        }
        let lines: u64 = gap.sums.values().map(|sum| sum.lines).sum();
        let row = |(name, sum): (&RouteName, &Sum)| Gap {
            // By name alone: some of its records may have its number, and others none.
            route: None,
            route_name: name.key(),
            from_ns: sum.from_ns,
            to_ns: sum.to_ns,
            lines: sum.lines,
            lsns: Some((gap.begin, gap.to.max(gap.begin))),
            cause: ROUTE_BACKLOG,
        };
        let gaps = gap.sums.iter().map(row).collect();
        super::send::record_effects(&self.shared, Effects { gaps, ..Effects::default() }).await;
        failpoint::hit(Point::BacklogGapDurable);
        if is_new && lines > 0 {
            tell::became_gap(&self.shared, target, lines, self.shared.route_backlog_bytes);
        }
        self.asides.insert(target, Aside::in_gap(gap));
        self.shared.closing.borrow_mut().remove(&target);
        self.hold();
    }
}
