//! Lines above the lowest floor, where a start begins to read, that faster lanes have counted before: met again, or lost to
//! damage meanwhile.
//!
//! How many they are is saved with the floors ([`super::ledger`]). Those that are met again are known; what is never met
//! stood in damaged records, of which nobody can say any more which line was whose. So many lines of these are delivered, and
//! not in the gap as well.
//!
//! Promise: each line is in one sum. Where several records are damaged it is known only of all of them how many lines are
//! lost: each is a gap, and they share what was counted before by their size; 0 stands for not known there. What was told before
//! stands. Where a head is
//! lost as well (nobody knows how many lines that took), or an outcome, or the floors are from an older version or another number
//! of lanes, all lines of damaged records are told as lost, and where a lane was far ahead of another ([`super::lane`]) some more
//! than are: never fewer.

use std::collections::BTreeMap;

use super::aside::Sum;
use super::distribute::Distributor;
use super::ledger::Tally;
use super::shaping::Shaped;
use super::target::TargetId;
use super::{send, tell};
use crate::base::{Lsn, Result};
use crate::queue::{Disposition, Fate, Intent, Judged, Scout, Spans};
use crate::route::RouteName;
use crate::state::{Effects, Gap, LOG_DAMAGE};
use crate::wal::{Damage, Item, Kind, Record, Wal};

/// Records looked at in one go before other tasks get their turn.
const STEP: usize = 256;

/// Records, first and last.
type Records = (Lsn, Lsn);

/// Of damaged records, lines that were counted before.
#[derive(Clone, Debug, Default)]
pub(super) struct Twice {
    /// Lines of gaps that were told before a crash.
    told: BTreeMap<Records, u64>,
    /// Of all others.
    left: u64,
    /// Among so many lines.
    of: u64,
    /// Everything is delivered.
    is_all: bool,
}

impl Twice {
    fn new(told: BTreeMap<Records, u64>, lines: u64, of: u64) -> Self {
        Self { told, left: lines.min(of), of, is_all: lines >= of && of > 0 }
    }

    /// The part of the next damage, which has so many lines.
    fn share(&mut self, records: Records, lines: u64) -> u64 {
        if let Some(lost) = self.told.get(&records) {
            return lines.saturating_sub(*lost);
        }
        let of = self.of.max(lines).max(1);
        let share = u128::from(self.left) * u128::from(lines) / u128::from(of);
        let share = u64::try_from(share).unwrap_or(lines).min(lines);
        self.left -= share;
        self.of = of.saturating_sub(lines);
        share
    }
}

/// What the headers of damaged records still say.
#[derive(Clone, Debug, Default)]
pub(super) struct Headers {
    /// Lines that the primary has kept.
    pub(super) applied: u64,
    /// Lines that nobody expects.
    pub(super) tally: Tally,
    /// Statements that were not refused, with when they came, ns.
    pub(super) statements: Vec<(Lsn, i64)>,
    /// Whether each of them can be read.
    are_whole: bool,
}

/// `judge` says what became of an intent.
pub(super) fn headers_of(log: &Wal, damage: &Damage, mut judge: impl FnMut(Lsn) -> Judged) -> Result<Headers> {
    let mut found = Headers { are_whole: true, ..Headers::default() };
    let mut headers = log.reader(damage.first)?;
    let mut asked = Vec::new();
    while headers.next_lsn() <= damage.last {
        match headers.next_header()? {
            Some(Item::Record(record)) if record.lsn <= damage.last => {
                asked.extend(matches!(record.kind, Kind::Intent | Kind::Statement).then_some(record));
            }
            Some(Item::Record(_)) => {}
            Some(Item::Damage(_)) => found.are_whole = false,
            None => {
                found.are_whole = false;
                break;
            }
        }
    }
    // When all are read: each may be judged once, in order.
    for record in asked {
        let (judged, lines) = (judge(record.lsn), u64::from(record.lines));
        if record.kind == Kind::Statement {
            let ran = !matches!(judged.disposition, Disposition::NotApplied | Disposition::Gapped);
            found.statements.extend(ran.then_some((record.lsn, record.received_ns)));
            continue;
        }
        found.applied += judged.applied_lines(record.lines);
        match judged.disposition {
            Disposition::NotApplied => found.tally.not_applied += lines,
            Disposition::Gapped => found.tally.gapped += lines,
            _ => found.tally.not_applied += judged.spans.lines(Fate::NotApplied),
        }
    }
    Ok(found)
}

impl Headers {
    /// Of the lines of a damage, those that somebody expects.
    pub(super) fn expected(&self, damage: &Damage) -> u64 {
        damage.lines.saturating_sub(self.tally.not_applied + self.tally.gapped)
    }
}

/// What damage has taken of what waited for a target.
pub(super) struct Meanwhile {
    damage: Damage,
    records: Vec<(Lsn, RouteName, u64)>,
    /// There was more, of which nobody knows whose it is.
    pub(super) is_unknown: bool,
}

impl Meanwhile {
    /// By route.
    pub(super) fn sums(&self) -> BTreeMap<RouteName, Sum> {
        let mut sums = BTreeMap::new();
        for (_, name, lines) in &self.records {
            sums.entry(name.clone()).or_insert(Sum::NONE).add(*lines, self.damage.from_ns, self.damage.to_ns);
        }
        sums
    }

    /// Of records that no lane has counted.
    pub(super) fn aside(&self, counted_to: Lsn) -> impl Iterator<Item = (&RouteName, u64)> {
        self.records.iter().filter(move |(lsn, ..)| *lsn > counted_to).map(|(_, name, lines)| (name, *lines))
    }

    /// Lines of the others.
    pub(super) fn in_lanes(&self, counted_to: Lsn) -> u64 {
        self.records.iter().filter(|(lsn, ..)| *lsn <= counted_to).map(|(_, _, lines)| lines).sum()
    }
}

impl Distributor {
    /// A record is read for the first time: how many of its lines lanes have counted before.
    pub(super) fn meet(&mut self, record: &Record, intent: &Intent, judged: &Judged) -> u64 {
        let by_lane = self.counted_of(record, intent, judged);
        for (lane, lines) in self.shared.lanes.iter().zip(&by_lane).filter(|(_, lines)| **lines > 0) {
            lane.borrow_mut().met(record.lsn, *lines);
        }
        let lines = by_lane.iter().sum();
        self.ledger.borrow_mut().meet(lines);
        lines
    }

    fn counted_of(&self, record: &Record, intent: &Intent, judged: &Judged) -> Vec<u64> {
        match judged.disposition {
            Disposition::NotApplied | Disposition::Gapped => Vec::new(),
            // Where its outcome was lost it may have been delivered.
            _ => self.counted_before(record, intent, &judged.spans),
        }
    }

    /// How many lines of a record lanes have counted before we started, by lane.
    pub(super) fn counted_before(&self, record: &Record, intent: &Intent, spans: &Spans) -> Vec<u64> {
        if record.lsn > self.top || intent.excluded {
            return Vec::new();
        }
        // No floor has come up to an unread record since.
        let passed: Vec<bool> = self.shared.lanes.iter().map(|lane| record.lsn <= lane.borrow().floor()).collect();
        let mut by_lane = vec![0; passed.len()];
        if passed.contains(&true) {
            let shaped = Shaped::of(&self.shared.targets, record, intent, spans);
            shaped.counted(record, intent, spans, |series, _| {
                let index = (series % passed.len() as u64) as usize;
                by_lane[index] += u64::from(passed[index]);
            });
        }
        by_lane
    }

    /// What waited in the log for a target when it was damaged: lines by record, as far as their heads can be read and their
    /// routes have numbers. What lanes have counted of it they lose.
    pub(super) fn lost_meanwhile(&self, damage: &Damage, target: TargetId, scout: &mut Scout) -> Result<Meanwhile> {
        let mut lost = Meanwhile { damage: *damage, records: Vec::new(), is_unknown: false };
        let mut headers = self.log.reader(damage.first)?;
        while headers.next_lsn() <= damage.last {
            match headers.next_header()? {
                Some(Item::Record(record)) if record.lsn <= damage.last && record.kind == Kind::Intent => {
                    let judged = self.judged_again(record.lsn, scout)?;
                    let lines = judged.map_or(u64::from(record.lines), |judged| judged.applied_lines(record.lines));
                    let name = self.names.get(&record.route);
                    lost.is_unknown |= name.is_none() && lines > 0;
                    let of_target = |name: &&RouteName| self.shared.targets.of(name) == Some(target);
                    if let Some(name) = name.filter(of_target).filter(|_| lines > 0) {
                        lost.records.push((record.lsn, name.clone(), lines));
                    }
                }
                Some(Item::Record(_)) => {}
                Some(Item::Damage(_)) => lost.is_unknown = true,
                None => break,
            }
        }
        for (lsn, _, _) in &lost.records {
            self.shared.lanes.iter().for_each(|lane| _ = lane.borrow_mut().lose_all(*lsn));
        }
        Ok(lost)
    }

    /// Makes them a gap, durable before the floors pass them.
    pub(super) async fn tell_lost(&self, damage: &Damage, lost: BTreeMap<RouteName, Sum>) {
        let row = |(name, sum): (&RouteName, &Sum)| Gap {
            route: None,
            route_name: name.key(),
            from_ns: damage.from_ns,
            to_ns: damage.to_ns,
            lines: sum.lines,
            lsns: Some((damage.first, damage.last)),
            cause: LOG_DAMAGE,
        };
        let gaps: Vec<Gap> = lost.iter().map(row).collect();
        let lines = lost.values().map(|sum| sum.lines).sum();
        let (first_lsn, last_lsn) = (damage.first.0, damage.last.0);
        let text = "records that waited in the log are damaged; their lines are a gap";
        tracing::error!(event = "queue.damage", first_lsn, last_lsn, lines, "{text}");
        self.ledger.borrow_mut().note(damage.last, Tally { damaged: lines, ..Tally::default() });
        send::record_effects(&self.shared, Effects { gaps, ..Effects::default() }).await;
    }

    /// Of the lines of a damage that somebody expects, those that are lost. `None`: it is sure that there are none.
    pub(super) fn lost_of(&mut self, damage: &Damage, headers: &Headers) -> Option<u64> {
        let lines = headers.expected(damage);
        let records = (damage.first, damage.last);
        let (before, is_all) = match &mut self.twice {
            Some(twice) if damage.first <= self.top => {
                (twice.share(records, lines), twice.is_all && !twice.told.contains_key(&records))
            }
            _ => (0, false),
        };
        if before > 0 {
            self.ledger.borrow_mut().meet(before);
            if let Some(lane) = self.shared.lanes.first() {
                lane.borrow_mut().met(damage.last, before);
            }
        }
        let is_sure = headers.are_whole && damage.lines > 0 && (lines == 0 || before == lines && is_all);
        (!is_sure).then_some(lines - before)
    }

    /// Before the first damage that faster lanes have passed is dealt out: looks at everything up to the highest floor.
    pub(super) async fn look_for_counted(&mut self, damage: &Damage) -> Result<()> {
        if self.told.is_none() {
            self.told = Some(self.told_from(damage.first).await);
        }
        if damage.first > self.top || self.twice.is_some() {
            return Ok(());
        }
        let told = self.told.clone().unwrap_or_default();
        let found = self.look_from(damage.first, &told).await?;
        let mut ledger = self.ledger.borrow_mut();
        let (met, damaged) = found.unwrap_or_default();
        let twice = Twice::new(told, ledger.ahead().saturating_sub(met), damaged);
        // What will not be met is not taken for lines of other damage after the next start.
        ledger.expect(met + twice.left);
        self.twice = Some(twice);
        Ok(())
    }

    async fn told_from(&self, first: Lsn) -> BTreeMap<Records, u64> {
        loop {
            match self.shared.state.damage_gaps(&self.shared.id, first.before()).await {
                Ok(told) => {
                    tell::store_works(&self.shared);
                    // One damage may have taken lines of several routes.
                    let mut sums = BTreeMap::new();
                    told.into_iter().for_each(|(records, lines)| *sums.entry(records).or_insert(0) += lines);
                    return sums;
                }
                Err(error) => tell::store_fails(&self.shared, &error),
            }
            tokio::time::sleep(send::STATE_RETRY).await;
        }
    }

    /// Lines from a record on that lanes are known to have counted before, and those that damage took of which nobody was
    /// told; `None` where it is not known.
    async fn look_from(&self, from: Lsn, told: &BTreeMap<Records, u64>) -> Result<Option<(u64, u64)>> {
        let (mut reader, mut scout) = (self.log.reader(from)?, Scout::new(self.log.reader(from)?, from.before()));
        let (mut met, mut damaged) = (0, 0);
        for at in 1usize.. {
            if reader.next_lsn() > self.top {
                break;
            }
            match reader.next()? {
                None => break,
                // Behind a mark, which no reader returns.
                Some(item) if first_of(&item) > self.top => break,
                Some(Item::Damage(damage)) => {
                    if !resolve(&mut scout, damage.last).await? {
                        return Ok(None);
                    }
                    let headers = headers_of(&self.log, &damage, |lsn| scout.take(lsn))?;
                    if !headers.are_whole {
                        return Ok(None);
                    }
                    let lines = headers.expected(&damage);
                    match told.get(&(damage.first, damage.last)) {
                        Some(lost) => met += lines.saturating_sub(*lost),
                        None => damaged += lines,
                    }
                }
                Some(Item::Record(record)) if record.kind == Kind::Intent => {
                    if !resolve(&mut scout, record.lsn).await? {
                        return Ok(None);
                    }
                    let judged = scout.take(record.lsn);
                    let Ok(intent) = Intent::decode(&record.meta) else { return Ok(None) };
                    met += self.counted_of(&record, &intent, &judged).iter().sum::<u64>();
                }
                Some(Item::Record(_)) => {}
            }
            if at.is_multiple_of(STEP) {
                tokio::task::yield_now().await;
            }
        }
        Ok(Some((met, damaged)))
    }
}

fn first_of(item: &Item) -> Lsn {
    match item {
        Item::Record(record) => record.lsn,
        Item::Damage(damage) => damage.first,
    }
}

/// Whether every intent up to here has an outcome.
async fn resolve(scout: &mut Scout, lsn: Lsn) -> Result<bool> {
    while scout.resolved() < lsn {
        if !scout.advance(STEP)? {
            return Ok(scout.resolved() >= lsn);
        }
        tokio::task::yield_now().await;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_before_is_shared_by_size_and_nothing_of_it_is_left() {
        for (counted, damages) in
            [(25, [25, 25, 1]), (0, [1, 2, 3]), (7, [1, 1, 6]), (51, [25, 25, 1]), (60, [9, 0, 9])]
        {
            let of: u64 = damages.iter().sum();
            let told = BTreeMap::from([((Lsn(9), Lsn(9)), 30)]);
            let mut twice = Twice::new(told, counted, of);
            let shares = damages.map(|lines| twice.share((Lsn(1), Lsn(1)), lines));
            assert_eq!(twice.share((Lsn(9), Lsn(9)), 300), 270, "as it was told");
            assert_eq!(shares.iter().sum::<u64>(), counted.min(of), "{counted} of {damages:?}: {shares:?}");
            assert!(shares.iter().zip(damages).all(|(share, lines)| *share <= lines), "{shares:?}");
            assert_eq!(twice.is_all, counted >= of);
        }
    }
}
