//! Targets that stand still for long: what is newer than the oldest record that waits for one is set aside, as positions in
//! the log and not as copies, so that the others go on. When the pause ends it is read again, in order; when it has held
//! back more of the log than `route_backlog`, it becomes a gap.
//! An operator's hold lets none become one: after it a target is tried before it may.
//!
//! Promises: floors stay below the first record set aside; the gap is durable before they pass ([`super::closing`]). While
//! the gap grows, the target is tried after each growth, with what comes then or was set aside in its pause. A target that
//! stands still with nothing in a lane to try it with is read again as soon as lanes have room, if no operator holds delivery.

use std::collections::BTreeMap;

use super::barrier::Barrier;
use super::closing::{Closing, Growing};
use super::distribute::{Distributor, last_of};
use super::doubt::regions;
use super::ledger::Tally;
use super::letters;
use super::send;
use super::shaping::Shaped;
use super::target::TargetId;
use crate::base::bounds::READ_AGAIN_MAX;
use crate::base::{Lsn, Result};
use crate::queue::{Cause, Disposition, Fate, Intent, Judged, Scout, Spans};
use crate::route::RouteName;
use crate::state::Effects;
use crate::wal::{Damage, Item, Kind, Reader, Record};

/// Of what may wait in lanes, a target that stands still keeps this part.
const SHARE: usize = 16;
/// Records read again in one go before other tasks get their turn.
const AGAIN_STEP: usize = 256;
/// A growing gap is written down after so many bytes of log.
const GROWTH_BYTES: u64 = 1 << 20;

/// Lines of one route that wait in the log or are in the gap.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sum {
    pub(super) lines: u64,
    pub(super) from_ns: i64,
    pub(super) to_ns: i64,
}

impl Sum {
    pub(super) const NONE: Self = Self { lines: 0, from_ns: i64::MAX, to_ns: i64::MIN };

    pub(super) fn add(&mut self, lines: u64, from_ns: i64, to_ns: i64) {
        self.lines += lines;
        self.from_ns = self.from_ns.min(from_ns);
        self.to_ns = self.to_ns.max(to_ns);
    }
}

/// What a record is that is read once more.
pub(super) enum Again {
    /// Nothing for this target.
    Others,
    /// The primary has kept lines of it for this target, all but those of the spans.
    Its(Intent, Spans),
    /// It was so; which lines stood in its outcome, which is lost.
    Unjudged(Intent),
}

/// One target of which newer records wait in the log.
#[derive(Debug, Default)]
pub(super) struct Aside {
    /// The first of them.
    pub(super) first: Option<Lsn>,
    /// Where the record before it ends in the log, or the oldest one that waits.
    pub(super) from_bytes: u64,
    /// Lines of records up to here are counted by their lanes.
    pub(super) counted_to: Lsn,
    /// Lines that lanes do not count.
    pub(super) sums: BTreeMap<RouteName, Sum>,
    /// Reads them again.
    again: Option<(Reader, Scout)>,
    /// The gap that this time has become.
    pub(super) gap: Option<Growing>,
    /// It is becoming a gap, or that grows.
    pub(super) closing: Option<Closing>,
    /// Damaged records, first to last, of which some may be its own: how many lines that takes is known at the end.
    unknown: Option<Damage>,
}

impl Aside {
    /// Everything that waited is in the gap.
    pub(super) fn in_gap(gap: Growing) -> Self {
        Self { gap: Some(gap), ..Self::default() }
    }

    fn lines(&self) -> u64 {
        let counted = self.closing.as_ref().map_or(0, |closing| closing.from_lanes);
        self.sums.values().map(|sum| sum.lines).sum::<u64>() + counted
    }

    /// Whether some of what waited is in a gap, or may be.
    pub(super) fn is_lost_partly(&self) -> bool {
        self.gap.is_some() || self.closing.is_some() || self.unknown.is_some()
    }

    /// Floors stay below these.
    fn holds(&self) -> Option<Lsn> {
        let closing = self.closing.as_ref().and_then(|closing| closing.from);
        let unknown = self.unknown.as_ref().map(|damage| damage.first);
        self.first.into_iter().chain(closing).chain(unknown).min()
    }
}

impl Distributor {
    /// Whether a record waits in the log, or is in a gap, with so many lines that the primary has kept.
    pub(super) fn waits_in_log(&mut self, record: &Record, intent: &Intent, lines: u64, target: TargetId) -> bool {
        self.is_in_gap(record, intent) || self.set_aside(record, intent, lines, target)
    }

    /// Sets a record aside whose target stands still, or has older records aside. False: deal it out.
    fn set_aside(&mut self, record: &Record, intent: &Intent, lines: u64, target: TargetId) -> bool {
        if !self.some_stand_still() && !self.any_parked_full() && self.shared.may_deal() {
            return false;
        }
        let known = self.asides.get(&target);
        let waits = !self.shared.may_deal()
            || known.is_some_and(|aside| aside.first.is_some())
            || self.barrier_of(target, &intent.name).is_some()
            || self.is_parked_full(target)
            || (self.shared.pauses.is_paused(target)
                && ((self.shared.pauses.is_behind()
                    || self.shared.pauses.holds(target, self.shared.clock.monotonic()))
                    && known.is_some_and(|aside| aside.gap.is_some())
                    || self.bytes_of(target) > self.share()));
        if !waits {
            return false;
        }
        let begins = self.before_record;
        let aside = self.asides.entry(target).or_default();
        if aside.first.is_none() {
            (aside.first, aside.from_bytes) = (Some(record.lsn), begins);
            aside.counted_to = record.lsn.before();
        }
        let (from_ns, to_ns) = (intent.min_ns, intent.max_ns);
        aside.sums.entry(intent.name.clone()).or_insert(Sum::NONE).add(lines, from_ns, to_ns);
        self.hold();
        true
    }

    /// Whether some target stands still, or has records aside.
    pub(super) fn some_stand_still(&self) -> bool {
        !self.asides.is_empty() || !self.barriers.is_empty() || self.shared.pauses.any_target()
    }

    /// Looks after the targets that stand still, or did. True when there is more to do at once.
    pub(super) async fn look_after_paused(&mut self) -> Result<bool> {
        self.shared.gap_waits.set(false);
        self.see_behind();
        letters::see_room(&self.shared).await;
        if !self.some_stand_still() {
            return Ok(false);
        }
        let mut targets = match self.shared.pauses.all_stand_still() {
            true => self.shared.targets.all(),
            false => self.shared.pauses.paused_targets(),
        };
        targets.extend(self.asides.keys());
        targets.sort_unstable();
        targets.dedup();
        self.make_room(&targets);
        let mut more = false;
        self.see_hold();
        for target in targets {
            if self.is_counting(target) {
                // Its lines count as lost already, whatever has changed since.
                more |= self.give_up(target).await?;
                continue;
            }
            if !self.shared.pauses.is_paused(target) {
                self.stop_closing(target);
                if self.may_read_again(target) && !self.is_barred(target) {
                    more |= self.read_again(target).await?;
                    self.wake_lanes();
                }
                continue;
            }
            if self.shared.hold.lasts() {
                self.stop_closing(target);
            }
            if self.is_closing(target) {
                more |= self.give_up(target).await?;
                continue;
            }
            // Its turn comes anew when it goes on.
            if let Some(aside) = self.asides.get_mut(&target) {
                aside.again = None;
            }
            if self.bytes_of(target) > self.share() {
                self.take_out(target);
            }
            let probe_is_due = !self.shared.pauses.holds(target, self.shared.clock.monotonic());
            let aside = self.asides.get(&target);
            let grows = aside.is_some_and(|aside| aside.gap.is_some());
            let from = aside.filter(|aside| aside.first.is_some()).map(|aside| aside.from_bytes);
            let has_records = from.is_some();
            let Some(from) = from.into_iter().chain(self.oldest_bytes_of(target)).min() else { continue };
            let behind = self.position().saturating_sub(from);
            let goes_on = behind > GROWTH_BYTES || probe_is_due && has_records;
            let is_due = behind > self.shared.route_backlog_bytes || goes_on && self.was_refused_since(target);
            if is_due && self.was_tried(target) {
                more |= self.give_up(target).await?;
            } else if has_records && (is_due || !grows || probe_is_due) && self.may_try_with_more(target) {
                // Nothing else of it is there to try it with; all that came in its pause was set aside.
                more |= self.read_again(target).await?;
                self.wake_lanes();
            }
        }
        Ok(more)
    }

    fn see_hold(&mut self) {
        if self.shared.hold.lasts() {
            self.held_at = Some(self.shared.clock.monotonic());
        }
    }

    /// Whether a target has refused something since the last hold of an operator: it may have come back meanwhile.
    fn was_tried(&self, target: TargetId) -> bool {
        let pauses = &self.shared.pauses;
        !self.shared.hold.lasts() && (pauses.is_behind() || self.held_at.is_none_or(|at| pauses.told_since(target, at)))
    }

    /// Whether a target whose gap grows was tried since that did last: what it is to be tried with must not be in the gap before.
    fn was_refused_since(&self, target: TargetId) -> bool {
        let gap = self.asides.get(&target).and_then(|aside| aside.gap.as_ref());
        gap.is_some_and(|gap| self.shared.pauses.is_behind() || self.shared.pauses.told_since(target, gap.grown))
    }

    /// Whether something of a paused target may be dealt out again only to see whether it takes writes.
    fn may_try_with_more(&self, target: TargetId) -> bool {
        let lanes = &self.shared.lanes;
        let has_none =
            self.oldest_bytes_of(target).is_none() && !lanes.iter().any(|lane| lane.borrow().is_sending_to(target));
        let may = self.shared.may_deal() && !self.shared.hold.lasts();
        has_none && may && !self.is_full() && self.may_read_again(target)
    }

    /// Takes out of full lanes what paused targets hold, of those that hold most first: many small shares are a whole.
    fn make_room(&mut self, targets: &[TargetId]) {
        if !self.is_full() {
            return;
        }
        let paused = targets.iter().filter(|target| self.shared.pauses.is_paused(**target));
        let mut held: Vec<_> = paused.map(|target| (self.bytes_of(*target), *target)).collect();
        held.sort_unstable_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
        for (_, target) in held {
            if !self.is_full() {
                return;
            }
            self.take_out(target);
        }
    }

    /// Whether it is a target's turn to be read again.
    fn may_read_again(&self, target: TargetId) -> bool {
        let reads = |aside: &Aside| aside.again.is_some();
        self.asides.get(&target).is_none_or(|aside| aside.first.is_none() || reads(aside))
            || self.asides.values().filter(|aside| reads(aside)).count() < READ_AGAIN_MAX
    }

    /// Leaves only the oldest record of a target in the lanes: it shows whether the target takes writes again.
    fn take_out(&mut self, target: TargetId) {
        let lanes = &self.shared.lanes;
        let Some(oldest) = lanes.iter().filter_map(|lane| lane.borrow().first_of(target)).min() else { return };
        // What was delivered since is dealt out once more: nothing that a statement has removed meanwhile may come back.
        let removed = self.removed.get(&target).copied().unwrap_or(Lsn::ZERO);
        let (first, dealt) = (oldest.max(removed).next(), self.dealt);
        if first > dealt {
            return;
        }
        let begins = self.oldest_bytes_of(target).unwrap_or_else(|| self.position());
        let aside = self.asides.entry(target).or_default();
        // What was aside before was not dealt out: it is counted by nobody but us.
        let counted_to = aside.first.map_or(dealt, Lsn::before);
        aside.counted_to = aside.counted_to.max(counted_to);
        aside.from_bytes = if aside.first.is_some() { aside.from_bytes.min(begins) } else { begins };
        aside.first = Some(aside.first.map_or(first, |known| known.min(first)));
        aside.again = None;
        let mut free = 0;
        for lane in lanes {
            free += lane.borrow_mut().take_from(target, first);
        }
        self.shared.pending_bytes.set(self.shared.pending_bytes.get() - free);
        self.hold();
    }

    /// Deals out again what was set aside, as far as there is room. True when there is more.
    async fn read_again(&mut self, target: TargetId) -> Result<bool> {
        let Some(mut aside) = self.asides.remove(&target) else { return Ok(false) };
        let Some(first) = aside.first else {
            self.hold();
            return Ok(false);
        };
        let done = self.read_some_again(target, first, &mut aside).await;
        if matches!(done, Ok(true))
            && let Some(damage) = aside.unknown.take()
        {
            // What was aside and was not met stood there.
            let lost = std::mem::take(&mut aside.sums).into_iter().filter(|(_, sum)| sum.lines > 0).collect();
            self.tell_lost(&damage, lost).await;
        }
        // Also after a fault: the floors must not pass what was not dealt out again.
        if !matches!(done, Ok(true)) {
            self.asides.insert(target, aside);
        } else if let Some(gap) = aside.gap.take().filter(|_| self.shared.pauses.is_paused(target)) {
            // It is only tried: if it takes nothing the gap goes on growing.
            self.asides.insert(target, Aside { counted_to: self.dealt, ..Aside::in_gap(gap) });
        }
        self.hold();
        let may = self.shared.may_deal() && !self.is_full() && !self.is_barred(target);
        Ok(!done? && may && self.bytes_of(target) <= self.share())
    }

    /// True when nothing of the target is aside any more.
    async fn read_some_again(&mut self, target: TargetId, first: Lsn, aside: &mut Aside) -> Result<bool> {
        let (mut reader, mut scout) = match aside.again.take() {
            Some(again) => again,
            None => (self.log.reader(first)?, Scout::new(self.log.reader(first)?, first.before())),
        };
        let barrier = self.barrier_at(target, aside);
        for _ in 0..AGAIN_STEP {
            if reader.next_lsn() > self.dealt {
                return Ok(true);
            }
            if barrier.is_some_and(|barrier| reader.next_lsn() >= barrier) {
                // Others have their turn meanwhile.
                return Ok(false);
            }
            let takes = self.shared.may_deal() && !self.is_parked_full(target);
            if self.bytes_of(target) > self.share() || self.is_full() || !takes {
                break;
            }
            let Some(item) = reader.next()? else { break };
            let lsn = last_of(&item);
            if matches!(item, Item::Record(_)) && barrier.is_some_and(|barrier| lsn >= barrier) {
                // Nothing stood between both.
                aside.first = Some(lsn);
                return Ok(false);
            }
            if lsn > self.dealt {
                // Its turn comes in the ordinary way.
                return Ok(true);
            }
            match item {
                Item::Record(record) => {
                    aside.from_bytes = record.position;
                    self.deal_again(&record, target, aside, &mut scout).await?;
                }
                Item::Damage(damage) => {
                    let lost = self.lost_meanwhile(&damage, target, &mut scout)?;
                    for (name, lines) in lost.aside(aside.counted_to) {
                        if let Some(waiting) = aside.sums.get_mut(name) {
                            waiting.lines = waiting.lines.saturating_sub(lines);
                        }
                    }
                    if lost.is_unknown {
                        let before = aside.unknown.take().unwrap_or(damage);
                        aside.unknown = Some(Damage {
                            last: damage.last,
                            from_ns: before.from_ns.min(damage.from_ns),
                            to_ns: before.to_ns.max(damage.to_ns),
                            ..before
                        });
                    }
                    self.tell_lost(&damage, lost.sums()).await;
                }
            }
            aside.first = Some(reader.next_lsn());
        }
        aside.again = Some((reader, scout));
        Ok(false)
    }

    async fn deal_again(
        &mut self,
        record: &Record,
        target: TargetId,
        aside: &mut Aside,
        scout: &mut Scout,
    ) -> Result<()> {
        let (intent, spans) = match self.applied_of(record, target, scout)? {
            Again::Others => return Ok(()),
            Again::Its(intent, spans) => (intent, spans),
            Again::Unjudged(intent) => {
                self.doubt_again(record, &intent, aside).await;
                return Ok(());
            }
        };
        let before: u64 = self.counted_before(record, &intent, &spans).iter().sum();
        let shaped = Shaped::of(&self.shared.targets, record, &intent, &spans);
        let others = spans.lines(Fate::NotApplied) + spans.lines(Fate::Doubt) + before + shaped.excluded();
        let lines = u64::from(record.lines).saturating_sub(others);
        if record.lsn > aside.counted_to
            && let Some(sum) = aside.sums.get_mut(&intent.name)
        {
            sum.lines = sum.lines.saturating_sub(lines);
        }
        let is_dealt = self.deal_lines(record, &intent, (&spans, &shaped), target, aside.counted_to).await?;
        if is_dealt && !self.shared.pauses.is_paused(target) {
            // It takes writes again: what comes is no part of the gap.
            aside.gap = None;
        }
        Ok(())
    }

    /// The outcome of a record that waited is lost: which of its lines the primary has kept nobody knows any more.
    async fn doubt_again(&mut self, record: &Record, intent: &Intent, aside: &mut Aside) {
        let judged = Judged { disposition: Disposition::Doubt, cause: Cause::Crash, spans: Spans::default() };
        let lines = u64::from(record.lines);
        if record.lsn > aside.counted_to {
            if let Some(sum) = aside.sums.get_mut(&intent.name) {
                sum.lines = sum.lines.saturating_sub(lines);
            }
        } else {
            self.shared.lanes.iter().for_each(|lane| _ = lane.borrow_mut().lose_all(record.lsn));
        }
        let lsn = record.lsn.0;
        tracing::error!(
            event = "queue.damage",
            lsn,
            "the outcome of a record that waited in the log is damaged: it is doubt"
        );
        self.ledger.borrow_mut().note(record.lsn, Tally { doubt: lines, ..Tally::default() });
        let dirty = regions(record, intent, &judged);
        send::record_effects(&self.shared, Effects { dirty, ..Effects::default() }).await;
    }

    /// A record that is read once more, if the primary has kept lines of it for this target that are in no former gap.
    pub(super) fn applied_of(&self, record: &Record, target: TargetId, scout: &mut Scout) -> Result<Again> {
        if record.kind != Kind::Intent {
            return Ok(Again::Others);
        }
        let judged = self.judged_again(record.lsn, scout)?;
        let lines = judged.as_ref().map_or(u64::from(record.lines), |judged| judged.applied_lines(record.lines));
        let Ok(intent) = Intent::decode(&record.meta) else { return Ok(Again::Others) };
        let is_its = lines > 0 && !intent.excluded && self.shared.targets.of(&intent.name) == Some(target);
        if !is_its || self.is_in_gap(record, &intent) {
            return Ok(Again::Others);
        }
        Ok(match judged {
            Some(judged) => Again::Its(intent, judged.spans),
            None => Again::Unjudged(intent),
        })
    }

    /// The outcome of a record that was dealt out or set aside before; `None` where it is not in the log any more. No other one
    /// will come, and what lies behind must not wait for it.
    pub(super) fn judged_again(&self, lsn: Lsn, scout: &mut Scout) -> Result<Option<Judged>> {
        while scout.resolved() < lsn && scout.advance(AGAIN_STEP)? {}
        if scout.resolved() < lsn {
            scout.lose(lsn);
        }
        Ok(if scout.has_lost(lsn) { None } else { Some(scout.take(lsn)) })
    }

    /// Whether a record lies in the gap of its route, by what was durable when we started. By name, in full or, where an
    /// older version wrote it, as it is shown: a route has records with its number and others without.
    fn is_in_gap(&self, record: &Record, intent: &Intent) -> bool {
        let is_of = |route: &str| route == intent.name.key() || route == intent.name.to_string();
        self.gaps.iter().any(|gap| (gap.first..=gap.last).contains(&record.lsn) && is_of(&gap.route))
    }

    fn bytes_of(&self, target: TargetId) -> usize {
        self.shared.lanes.iter().map(|lane| lane.borrow().bytes_of(target)).sum()
    }

    /// Where the oldest record that waits for a target in a lane ends in the log, bytes.
    fn oldest_bytes_of(&self, target: TargetId) -> Option<u64> {
        let lane = |lane: &std::cell::RefCell<super::lane::Lane>| {
            let lane = lane.borrow();
            lane.first_of(target).and_then(|first| lane.log_bytes_of(first))
        };
        self.shared.lanes.iter().filter_map(lane).min()
    }

    fn share(&self) -> usize {
        self.shared.settings.pending_bytes.as_usize() / SHARE
    }

    /// The first record that floors must not pass.
    fn held(&self) -> Option<Lsn> {
        let barriers = self.barriers.iter().map(Barrier::lsn);
        self.asides.values().filter_map(Aside::holds).chain(barriers).min()
    }

    /// Tells the lanes, and everybody who looks, what is set aside.
    pub(super) fn hold(&self) {
        let held = self.held();
        for lane in &self.shared.lanes {
            let mut lane = lane.borrow_mut();
            lane.stay_below(held);
            lane.read_to(self.dealt);
        }
        self.shared.aside_lines.set(self.asides.values().map(Aside::lines).sum());
    }
}
