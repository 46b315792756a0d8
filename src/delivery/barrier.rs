//! Statements that wait for what came before them at their place, while all other places go on: until the first request of the statement
//! itself, which holds up all dealing to its destination until its end ([`super::carry`]).
//!
//! Promises: one is carried out only when everything before it at its place has arrived and no request can still take effect on what it
//! may touch; nothing behind it at its place is dealt out before (such records are set aside, [`super::aside`]). A request without an
//! answer counts where it went there, and, where the statement says of which measurements it is, has lines of these. What a process
//! before us had under way counts everywhere: it may be the same statement. What cannot be told holds more, never less. Floors stay below its record. At most [`BARRIERS_MAX`] wait; then the next holds up all.

use std::time::Duration;

use bytes::Bytes;

use super::aside::Aside;
use super::carry::Carried;
use super::confirmed::database_of;
use super::distribute::Distributor;
use super::late::Measurements;
use super::pause::Pauses;
use super::plan::{ApiDelete, Step};
use super::statement::shown;
use super::target::TargetId;
use crate::base::{Lsn, Result};
use crate::config::Mapping;
use crate::db::influxql::{Deletion, split};
use crate::queue::{Door, Statement};
use crate::route::RouteName;
use crate::wal::Record;

/// Statements that may wait beside each other.
const BARRIERS_MAX: usize = 64;
/// What their texts may take, beside one that is larger.
const BYTES_MAX: usize = 2 << 20;
/// So often it is looked whether one may go, where nothing else happens.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// From here on a statement that waits is shown.
const SHOWN_AFTER: Duration = Duration::from_secs(2);
/// A statement waits no longer than this for a place that stands still.
const STANDS_MAX: Duration = Duration::from_secs(300);
/// Why it waits no longer.
const GIVEN_UP: &str = "its place at the destination takes no writes, and others could not wait for it any longer";
/// The same where it does, and too slowly.
const TOO_SLOW: &str = "the destination cannot keep up, and others could not wait for it any longer";

/// A statement that ran at the source and is not done here.
#[derive(Debug)]
pub(super) struct Barrier {
    record: Record,
    statement: Statement,
    steps: Vec<Step>,
    /// Only when all that came before it has arrived.
    waits: bool,
    targets: Vec<TargetId>,
    measurements: Measurements,
    began: Duration,
    /// Where its record begins in the log, bytes.
    pub(super) begins: u64,
    /// Something newer of its place came behind it.
    newer: bool,
    carried: Option<Carried>,
}

/// What one waits for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wait {
    /// Lines that are not delivered.
    Lines,
    /// A region that is copied, until it is released.
    Release,
    /// A request that may take effect until then.
    Late(Duration),
}

impl Barrier {
    pub(super) fn lsn(&self) -> Lsn {
        self.record.lsn
    }

    /// Whether a record of this name, or what goes to one of these places, has to stay behind it.
    fn reaches(&self, name: Option<&RouteName>, targets: &[TargetId]) -> bool {
        let same = |own: &RouteName| name.is_none_or(|name| database_of(own) == database_of(name));
        self.statement.name.as_ref().is_none_or(same) || targets.iter().any(|target| self.targets.contains(target))
    }
}

impl Aside {
    /// Whether nothing of what waits lies before this record.
    fn is_behind(&self, lsn: Lsn, stands: bool) -> bool {
        self.first.is_some_and(|first| first >= lsn) && self.closing.is_none() && (self.gap.is_none() || !stands)
    }
}

impl Distributor {
    /// A statement waits from now on, and with it all that is newer at its place.
    pub(super) async fn set_barrier(
        &mut self,
        record: &Record,
        statement: Statement,
        steps: Vec<Step>,
        waits: bool,
    ) -> Result<()> {
        let bytes = |record: &Record| record.meta.len() + record.body.len();
        while self.barriers.len() >= BARRIERS_MAX
            || self.barriers.iter().map(|barrier| bytes(&barrier.record)).sum::<usize>() > BYTES_MAX
        {
            if !self.tend_barriers().await? {
                self.idle(LOOK_EVERY).await?;
            }
        }
        let targets = statement.name.as_ref().map_or_else(Vec::new, |name| self.shared.targets.of_place(name));
        let measurements = measurements(&statement, &record.body, self.shared.targets.rules().0);
        // It must not keep the neighbours of its record in memory.
        let own = |bytes: &Bytes| Bytes::copy_from_slice(bytes);
        let record = Record { meta: own(&record.meta), body: own(&record.body), ..record.clone() };
        let (began, begins) = (self.shared.clock.monotonic(), self.before_record);
        let (newer, carried) = (false, None);
        self.barriers.push(Barrier {
            record,
            statement,
            steps,
            waits,
            targets,
            measurements,
            began,
            begins,
            newer,
            carried,
        });
        self.hold();
        self.tend_barriers().await?;
        Ok(())
    }

    /// Whether a statement must stay behind another one of its place.
    pub(super) fn is_barred_place(&self, statement: &Statement) -> bool {
        self.barriers.iter().any(|barrier| barrier.reaches(statement.name.as_ref(), &[]))
    }

    /// Whether a statement up to a record waits of which something at these places has to stay behind.
    pub(super) fn is_barred_to(&self, lsn: Lsn, name: &RouteName, targets: &[TargetId]) -> bool {
        let up_to = |barrier: &&Barrier| barrier.lsn() <= lsn;
        self.barriers.iter().filter(up_to).any(|barrier| barrier.reaches(Some(name), targets))
    }

    /// Something of this name is dealt out, or set aside, behind the statements that wait.
    pub(super) async fn meet_statements(&mut self, lsn: Lsn, name: &RouteName) {
        for barrier in &mut self.barriers {
            barrier.newer |= barrier.reaches(Some(name), &[]);
        }
        if self.unconfirmed.as_ref().is_some_and(|all| !all.is_empty()) {
            self.goes_on(lsn, name).await;
        }
    }

    /// The first statement that what is newer of this name and target has to stay behind.
    pub(super) fn barrier_of(&self, target: TargetId, name: &RouteName) -> Option<Lsn> {
        self.barriers.iter().find(|barrier| barrier.reaches(Some(name), &[target])).map(Barrier::lsn)
    }

    /// The first statement that what was set aside of a target has to stay behind: of another name than it had then, it may be.
    pub(super) fn barrier_at(&self, target: TargetId, aside: &Aside) -> Option<Lsn> {
        let named = |barrier: &&Barrier| {
            barrier.targets.contains(&target) || aside.sums.keys().any(|name| barrier.reaches(Some(name), &[]))
        };
        self.barriers.iter().find(named).map(Barrier::lsn)
    }

    /// Whether all that is aside of a target has to wait for a statement, or for the release of a region.
    pub(super) fn is_barred(&self, target: TargetId) -> bool {
        if self.is_parked_full(target) {
            return true;
        }
        let Some(aside) = self.asides.get(&target) else { return false };
        let barrier = self.barrier_at(target, aside);
        barrier.is_some_and(|barrier| aside.first.is_some_and(|first| first >= barrier))
    }

    /// Carries out what may go. True when something is done.
    pub(super) async fn tend_barriers(&mut self) -> Result<bool> {
        let (mut ended, mut at) = (false, 0);
        while let Some(barrier) = self.barriers.get(at) {
            let (before, own) = (&self.barriers[..at], barrier);
            if before.iter().any(|other| other.reaches(own.statement.name.as_ref(), &own.targets)) {
                at += 1;
                continue;
            }
            if barrier.carried.is_none() {
                self.try_barrier(at).await?;
            }
            let now = self.shared.clock.monotonic();
            let carried = self.barriers[at].carried.as_ref().filter(|(_, open_until)| *open_until <= now);
            let Some((done, _)) = carried.cloned() else {
                at += 1;
                continue;
            };
            let Barrier { record, statement, newer, .. } = &self.barriers[at];
            let (record, statement, newer) = (record.clone(), statement.clone(), *newer);
            self.is_done(&statement, &done).await;
            let became = if done.is_ok() { "done" } else { "reported" };
            self.ended(&record, &statement, (became, done.err()), newer).await;
            self.barriers.remove(at);
            self.hold();
            ended = true;
            self.shared.pauses.statement_goes_on();
        }
        self.show_barriers();
        Ok(ended)
    }

    /// Carries one out if it may go, or gives it up if it may not wait any longer.
    async fn try_barrier(&mut self, at: usize) -> Result<()> {
        let barrier = &self.barriers[at];
        let waits = barrier.waits && self.waits_for(barrier).is_some();
        if waits {
            if let Some(why) = self.is_too_long(&barrier.targets, barrier.began) {
                self.barriers[at].carried = Some((Err(why.to_owned()), Duration::ZERO));
            }
            return Ok(());
        }
        if barrier.waits {
            // Before it is tried: nobody knows what an attempt has done.
            let lsn = barrier.lsn();
            self.ledger.borrow_mut().removes(lsn);
            self.removed.extend(barrier.targets.iter().map(|target| (*target, lsn)));
        }
        let (steps, shown) = (barrier.steps.clone(), shown(&barrier.statement));
        let carried = self.carry_out(&steps, &shown).await?;
        self.barriers[at].carried = Some(carried);
        Ok(())
    }

    /// Waits until all that came before has arrived at its place, and no request can still take effect there. `Ok(Err)`: that stands
    /// still for too long.
    pub(super) async fn arrives(&mut self, statement: &Statement) -> Result<std::result::Result<(), String>> {
        let targets = statement.name.as_ref().map_or_else(Vec::new, |name| self.shared.targets.of_place(name));
        let began = self.shared.clock.monotonic();
        // Its record lies below the floors: lanes that inherit nothing say nothing of a request of it.
        let inherited =
            |at: &Self| Some(at.shared.inherited_until).filter(|until| *until > at.shared.clock.monotonic());
        let waits = |at: &Self| {
            let wait = at.is_waited_for(&targets, &Measurements::ANY, Lsn(u64::MAX));
            let last = Lsn(u64::MAX);
            let wait = wait.or_else(|| at.waits_for_hold(last, statement.name.as_ref(), &targets, &Measurements::ANY));
            wait.or_else(|| inherited(at).map(Wait::Late))
        };
        while let Some(wait) = waits(self) {
            if self.shared.clock.monotonic().saturating_sub(began) >= SHOWN_AFTER {
                self.show_waiting(statement, &wait, began);
            }
            if let Some(why) = self.is_too_long(&targets, began) {
                self.shared.pauses.statement_goes_on();
                return Ok(Err(why.to_owned()));
            }
            self.idle(LOOK_EVERY).await?;
        }
        Ok(Ok(()))
    }

    /// Why it waits no longer, if it does not.
    fn is_too_long(&self, targets: &[TargetId], began: Duration) -> Option<&'static str> {
        let waited = self.shared.clock.monotonic().saturating_sub(began);
        given_up(&self.shared.pauses, targets, waited, self.holds_up_others())
    }

    /// What a statement waits for.
    fn waits_for(&self, barrier: &Barrier) -> Option<Wait> {
        let Barrier { statement, targets, measurements, .. } = barrier;
        let wait = self.is_waited_for(targets, measurements, barrier.lsn());
        wait.or_else(|| self.waits_for_hold(barrier.lsn(), statement.name.as_ref(), targets, measurements))
    }

    /// What of these measurements and places is not at the destination of records below `lsn`, or may still be changed there by a
    /// request with one. What is parked does not count.
    pub(super) fn is_waited_for(&self, targets: &[TargetId], measurements: &Measurements, lsn: Lsn) -> Option<Wait> {
        let now = self.shared.clock.monotonic();
        let is_aside = |target: &TargetId| {
            let stands = self.shared.pauses.is_paused(*target);
            self.asides.get(target).is_some_and(|aside| !aside.is_behind(lsn, stands))
        };
        let lanes = || self.shared.lanes.iter().map(|lane| lane.borrow());
        let pairs =
            || lanes().flat_map(|lane| targets.iter().map(move |target| (std::cell::Ref::clone(&lane), *target)));
        if targets.iter().any(is_aside) || pairs().any(|(lane, target)| lane.has_of(target, measurements, lsn)) {
            return Some(Wait::Lines);
        }
        // Of a process before us nobody knows where it went: it may be this very statement.
        let inherited = lanes().filter_map(|lane| lane.inherited_until(now));
        let own = pairs().filter_map(|(lane, target)| lane.late_until(target, measurements, lsn, now));
        own.chain(inherited).max().map(Wait::Late)
    }

    /// Shows the oldest that waits for long.
    fn show_barriers(&self) {
        let now = self.shared.clock.monotonic();
        let Some(barrier) = self.barriers.iter().find(|barrier| now.saturating_sub(barrier.began) >= SHOWN_AFTER)
        else {
            return;
        };
        let wait = match &barrier.carried {
            Some((_, until)) => Wait::Late(*until),
            None => self.waits_for(barrier).unwrap_or(Wait::Lines),
        };
        self.show_waiting(&barrier.statement, &wait, barrier.began);
    }

    fn show_waiting(&self, statement: &Statement, wait: &Wait, began: Duration) {
        let now = self.shared.clock.monotonic();
        let until = match wait {
            Wait::Lines => "until what came before it is delivered".to_owned(),
            Wait::Release => "until a region of its place that is copied is released".to_owned(),
            Wait::Late(until) => {
                let left = until.saturating_sub(now).as_secs();
                format!("until a request that had no answer can no longer take effect, in {left} s at most")
            }
        };
        let (shown, place) = (shown(statement), statement.place());
        self.shared.pauses.statement_waits("statement", format!("{shown} (at {place}): {until}"), began);
    }
}

/// Why a statement that has waited for so long waits no longer, if it does not. One that cannot keep up is waited for as long as it
/// keeps nothing from others.
fn given_up(pauses: &Pauses, targets: &[TargetId], waited: Duration, holds_up_others: bool) -> Option<&'static str> {
    if pauses.destination_stands_still() || targets.iter().any(|target| pauses.stands_by_itself(*target)) {
        return (waited >= STANDS_MAX || holds_up_others).then_some(GIVEN_UP);
    }
    (pauses.is_behind() && holds_up_others).then_some(TOO_SLOW)
}

/// Of which measurements a statement is. Where rules give lines other names, nobody looks.
fn measurements(statement: &Statement, run: &[u8], mapping: &Mapping) -> Measurements {
    let has_shape = mapping.rules.iter().any(|rule| !rule.shape.is_empty());
    let Some(text) = std::str::from_utf8(run).ok().filter(|_| !has_shape) else { return Measurements::ANY };
    let deletions = match statement.door {
        Door::Delete => serde_json::from_str(text)
            .ok()
            .and_then(|body: ApiDelete| Deletion::of_predicate(&body.predicate, 0, 0).ok())
            .map(|deletion| vec![deletion]),
        _ => match split(text).as_slice() {
            [one] => one.deletions(statement.at_ns).ok(),
            _ => None,
        },
    };
    let is_plain = |name: &&str| !name.contains([',', ' ', '=', '\\', '"', '\n', '\r', '\t']);
    let name = |deletion: &Deletion| deletion.measurement.clone();
    let names: Option<Vec<String>> = deletions.and_then(|all| all.iter().map(name).collect());
    match &names {
        Some(names) => {
            Measurements::of(names.iter().map(|name| Some(name.as_str()).filter(is_plain).map(str::as_bytes)))
        }
        None => Measurements::ANY,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_of_one_given_up_is_so() {
        let pauses = |is_only| Pauses::new(Duration::from_secs(1), Duration::from_secs(1), is_only);
        let (soon, late, its) = (Duration::from_secs(1), STANDS_MAX, [TargetId(1)]);
        let slow = pauses(false);
        assert_eq!(given_up(&slow, &its, late, true), None, "it goes on");
        slow.falls_behind("slow".to_owned(), soon);
        assert_eq!(given_up(&slow, &its, late, false), None, "nobody waits for it");
        assert_eq!(given_up(&slow, &its, soon, true), Some(TOO_SLOW));
        slow.pause_destination("away", "503".to_owned(), soon, None);
        assert_eq!(given_up(&slow, &its, soon, true), Some(GIVEN_UP));
        let only = pauses(true);
        only.pause_target(TargetId(2), "gone", "404".to_owned(), soon);
        assert_eq!(given_up(&only, &its, late, false), None, "another place");
        only.pause_target(TargetId(1), "gone", "404".to_owned(), soon);
        assert_eq!((given_up(&only, &its, soon, false), given_up(&only, &its, late, false)), (None, Some(GIVEN_UP)));
    }
}
