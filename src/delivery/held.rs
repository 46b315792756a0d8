//! Regions that are left alone, as the distributor keeps them ([`super::regions`] is how they are asked for).
//!
//! Promises: a region begins between two records: what was dealt out before goes on to its end, lines of later records are parked in
//! their lanes ([`super::lane`]). Whether a line lies in a region is asked by what it is at the destination: its place there, its
//! measurement under the name that the rules give it, its time. So all lines of a cell are in it, or none, whichever route they
//! came by. Parked lines are lines of their lane: floors stay below them, sums and starts know nothing else of them.
//!
//! They take no more than [`parked_bytes_max`]; beyond that the hold is broken: nothing more of its place is dealt out before the
//! release, later records are set aside ([`super::aside`]). A statement at a held region waits for its release
//! ([`super::barrier`]). A start, and whatever begins delivery anew, holds what is known from the lowest floor on.

use std::cell::Cell;
use std::time::Duration;

use tokio::sync::oneshot;

use super::Shared;
use super::aside::Aside;
use super::barrier::Wait;
use super::distribute::Distributor;
use super::late::Measurements;
use super::regions::{Ask, Broken, HOLDS_MAX, Held, Parked, Region};
use super::target::TargetId;
use super::tell;
use crate::base::bounds::PARKED_BYTES_MAX;
use crate::base::size::ByteSize;
use crate::base::{Error, Kind, Lsn, Result, Side};
use crate::line::Outline;
use crate::queue::Intent;
use crate::route::{RouteName, Target};
use crate::state::EventKind;

/// Parked lines take no more than this part of what may wait in lanes.
const PART: usize = 4;
/// While a region is held it is looked at no more often.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Somebody waits for what was dealt out before no longer than `late_write_max` and this.
const DRAIN_MORE: Duration = Duration::from_secs(30);
/// A place that stands still is waited for no longer than this.
const STANDS_MAX: Duration = Duration::from_secs(5);

/// One region.
#[derive(Debug)]
pub(super) struct Kept {
    id: u64,
    region: Region,
    /// Its place at the destination; `None`: nothing of it goes there.
    place: Option<Target>,
    /// What its measurement is called there.
    measurement: Vec<u8>,
    /// The same for whoever asks by measurements.
    names: Measurements,
    since: Lsn,
    broken: Option<Broken>,
    /// A statement was seen that waits for the release.
    statement: Cell<bool>,
    drain: Option<Drain>,
}

/// Somebody waits until what came before has arrived.
#[derive(Debug)]
struct Drain {
    answer: oneshot::Sender<Result<()>>,
    /// And until floors that are durable have passed it.
    whole: bool,
    began: Duration,
    /// Since when its place stands still.
    stands: Option<Duration>,
}

/// All regions of the destination.
#[derive(Debug, Default)]
pub(super) struct Holds {
    kept: Vec<Kept>,
    /// Regions that are to be held as soon as nothing is half done.
    asked: Vec<(Region, oneshot::Sender<Result<Held>>)>,
    looked: Duration,
}

/// Whether what lies at one of these places may lie at the other as well: a policy without a name is some default one.
fn is_same_place(one: &Target, other: &Target) -> bool {
    match (one, other) {
        (Target::Database { db, rp }, Target::Database { db: other_db, rp: other_rp }) => {
            db == other_db && (rp == other_rp || rp.is_empty() || other_rp.is_empty())
        }
        (one, other) => one == other,
    }
}

impl Kept {
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    fn is_at(&self, target: &Target) -> bool {
        self.place.as_ref().is_some_and(|place| is_same_place(place, target))
    }

    /// Whether a line of its place lies in it.
    pub(super) fn has(&self, body: &[u8], found: &Outline<'_>, at_ns: i64) -> bool {
        if !(self.region.from_ns..=self.region.to_ns).contains(&at_ns) {
            return false;
        }
        match &found.careful {
            Some(line) => *line.measurement() == self.measurement[..],
            None => {
                let rest = body[found.span.clone()].strip_prefix(&self.measurement[..]);
                rest.is_some_and(|rest| matches!(rest.first(), Some(b',' | b' ')))
            }
        }
    }

    /// The places of which something may lie in it, by number.
    fn targets(&self, shared: &Shared) -> Vec<TargetId> {
        let is_its = |id: &TargetId| self.is_at(&shared.targets.get(*id).target);
        shared.targets.all().into_iter().filter(is_its).collect()
    }

    fn overlaps(&self, other: &Self) -> bool {
        let place = other.place.as_ref().is_some_and(|place| self.is_at(place));
        let (own, others) = (&self.region, &other.region);
        place && self.measurement == other.measurement && own.from_ns <= others.to_ns && others.from_ns <= own.to_ns
    }
}

impl Holds {
    /// Regions in which lines of this record may lie. What was dealt out before one, and comes once more, is not parked: all newer lines
    /// come behind it.
    pub(super) fn over(&self, lsn: Lsn, place: &Target, intent: &Intent) -> Vec<&Kept> {
        let meets = |kept: &&Kept| {
            lsn > kept.since
                && kept.region.from_ns <= intent.max_ns
                && intent.min_ns <= kept.region.to_ns
                && kept.is_at(place)
        };
        self.kept.iter().filter(meets).collect()
    }

    /// Whether somebody waits for what can be seen only by looking.
    pub(super) fn wait(&self) -> bool {
        !self.asked.is_empty() || self.kept.iter().any(|kept| kept.drain.is_some())
    }
}

/// What parked lines may take.
fn parked_bytes_max(shared: &Shared) -> usize {
    PARKED_BYTES_MAX.min(shared.settings.pending_bytes.as_usize() / PART)
}

impl Distributor {
    /// Holds what was held before delivery began. Before the first record.
    pub(super) fn begin_holds(&mut self) {
        let since = self.dealt;
        for (id, region) in self.shared.regions.known() {
            let kept = self.kept(id, region, since);
            self.holds.kept.push(kept);
        }
        self.shared.regions.save(since);
        self.shared.regions.begin(since, self.shared.clock.monotonic());
    }

    fn kept(&self, id: u64, region: Region, since: Lsn) -> Kept {
        let targets = &self.shared.targets;
        let shape = targets.shape_of(&region.route);
        let called = match &shape {
            Some(rules) => rules.measurement(&region.measurement).map(|name| name.into_owned()),
            None => Some(region.measurement.clone()),
        };
        let place = targets.of(&region.route).filter(|_| called.is_some());
        let place = place.map(|id| targets.get(id).target.clone());
        let measurement = called.unwrap_or_default();
        // Where names stand there otherwise than they are, nobody looks.
        let is_plain = !measurement.iter().any(|byte| b", =\\\"\n\r\t".contains(byte));
        let as_it_is = !self.shared.writing.get().changes_lines() && is_plain && shape.is_none();
        let names = Measurements::of([as_it_is.then_some(&measurement[..])].into_iter());
        let (broken, statement, drain) = (None, Cell::new(false), None);
        Kept { id, region, place, measurement, names, since, broken, statement, drain }
    }

    /// Does what was asked. `may_begin`: nothing is half done, so that a region may be held from here on. True when something goes on
    /// that waited for a release.
    pub(super) fn tend_holds(&mut self, may_begin: bool) -> bool {
        if self.holds.kept.is_empty() && self.holds.asked.is_empty() && !self.shared.regions.is_asked() {
            return false;
        }
        let (asks, now) = (self.shared.regions.take_asks(), self.shared.clock.monotonic());
        if asks.is_empty() && now.saturating_sub(self.holds.looked) < LOOK_EVERY {
            return false;
        }
        self.holds.looked = now;
        let mut goes_on = false;
        for ask in asks {
            match ask {
                Ask::Hold { region, answer } => self.holds.asked.push((region, answer)),
                Ask::Drain { id, whole, answer } => self.begin_drain(id, whole, answer),
                Ask::Release { id, let_go, answer } => {
                    goes_on |= self.end_hold(id, let_go);
                    if let Some(answer) = answer {
                        // It need not be waited for.
                        let _ = answer.send(());
                    }
                }
            }
        }
        // In the middle of a record none can begin: soon one can.
        if may_begin {
            for (region, answer) in std::mem::take(&mut self.holds.asked) {
                // Nobody listens any more where it is let go of again at once.
                drop(answer.send(self.begin_hold(region)));
            }
        }
        self.holds.asked.retain(|(_, answer)| !answer.is_closed());
        self.look_at_drains(now);
        self.show_holds();
        goes_on
    }

    fn begin_hold(&mut self, region: Region) -> Result<Held> {
        let not_now = |why: String| {
            let what = format!("{region} cannot be held now: {why}");
            Error::new(Kind::State, Side::Destination, what).retryable().hint("try again later")
        };
        if region.from_ns > region.to_ns {
            return Err(Error::new(Kind::Input, Side::Own, format!("{region} has no time")));
        }
        let mut kept = self.kept(0, region.clone(), self.dealt);
        if kept.place.is_none() {
            let what = format!("{region} goes nowhere at destination {}", self.shared.id);
            return Err(Error::new(Kind::State, Side::Own, what).hint("see the rules of mapping"));
        }
        if let Some(why) = self.keeps_from_hold(&kept) {
            return Err(not_now(why));
        }
        let (id, held) = self.shared.regions.enter(region, self.dealt, self.shared.clock.monotonic());
        kept.id = id;
        self.holds.kept.push(kept);
        Ok(held)
    }

    /// Why a region cannot be held now.
    fn keeps_from_hold(&self, kept: &Kept) -> Option<String> {
        if let Some(other) = self.holds.kept.iter().find(|other| other.overlaps(kept)) {
            return Some(format!("{} is held already", other.region));
        }
        if self.holds.kept.len() >= HOLDS_MAX {
            return Some(format!("{HOLDS_MAX} regions are held already"));
        }
        let targets = kept.targets(&self.shared);
        if let Some(why) = self.stands(&targets) {
            return Some(why);
        }
        if !self.shared.may_deal() {
            return Some("the destination takes no new lines yet, or the store of dead letters is full".to_owned());
        }
        // What only waits in the log, and statements that do, come before the region: draining waits for them.
        let grows = |target: &TargetId| self.asides.get(target).is_some_and(Aside::is_lost_partly);
        targets.iter().any(grows).then(|| "records of its place are a gap that grows".to_owned())
    }

    /// Why these places take nothing now.
    fn stands(&self, targets: &[TargetId]) -> Option<String> {
        let pauses = &self.shared.pauses;
        if self.shared.hold.lasts() {
            return Some("an operator has paused delivery".to_owned());
        }
        if let Some(shown) = pauses.destination() {
            return Some(format!("the destination stands still ({}): {}", shown.code, shown.reason));
        }
        if pauses.is_behind() {
            return Some("the destination is behind".to_owned());
        }
        let own = pauses.targets().into_iter().find(|(target, _)| targets.contains(target));
        own.map(|(_, shown)| format!("its place stands still ({}): {}", shown.code, shown.reason))
    }

    fn begin_drain(&mut self, id: u64, whole: bool, answer: oneshot::Sender<Result<()>>) {
        let began = self.shared.clock.monotonic();
        if let Some(kept) = self.holds.kept.iter_mut().find(|kept| kept.id == id) {
            kept.drain = Some(Drain { answer, whole, began, stands: None });
        }
    }

    fn look_at_drains(&mut self, now: Duration) {
        let mut kept = std::mem::take(&mut self.holds.kept);
        for one in kept.iter_mut().filter(|one| one.drain.is_some()) {
            let Some(mut drain) = one.drain.take() else { continue };
            if drain.answer.is_closed() {
                continue;
            }
            match self.drained(one, &mut drain, now) {
                // Whoever does not listen asks again.
                Some(end) => drop(drain.answer.send(end)),
                None => one.drain = Some(drain),
            }
        }
        self.holds.kept = kept;
    }

    /// Whether all that was dealt out before a region has arrived; `None`: not yet.
    fn drained(&self, kept: &Kept, drain: &mut Drain, now: Duration) -> Option<Result<()>> {
        let targets = kept.targets(&self.shared);
        let is_open = self.shared.inherited_until.max(self.shared.statement_until.get()) > now;
        let is_saved = !drain.whole || self.shared.regions.saved() >= kept.since;
        let is_barred = self.is_barred_to(kept.since, &kept.region.route, &targets);
        if !is_open && !is_barred && is_saved && self.is_waited_for(&targets, &kept.names, kept.since.next()).is_none()
        {
            return Some(Ok(()));
        }
        let failed = |why: String| {
            let what = format!("what came before {} does not arrive: {why}", kept.region);
            Some(Err(Error::new(Kind::State, Side::Destination, what)
                .retryable()
                .hint("release it, and try again later")))
        };
        let stands = self.stands(&targets);
        drain.stands = stands.as_ref().map(|_| drain.stands.unwrap_or(now));
        let for_long = drain.stands.is_some_and(|since| now.saturating_sub(since) >= STANDS_MAX);
        if let Some(why) = stands.filter(|_| for_long || self.shared.hold.lasts()) {
            return failed(why);
        }
        let most = self.shared.settings.late_write_max + DRAIN_MORE;
        if now.saturating_sub(drain.began) >= most {
            return failed(format!("it takes longer than {} s", most.as_secs()));
        }
        None
    }

    /// What was parked goes on. True when there was such a hold.
    fn end_hold(&mut self, id: u64, let_go: bool) -> bool {
        self.shared.regions.strike(id);
        let Some(at) = self.holds.kept.iter().position(|kept| kept.id == id) else { return false };
        let kept = self.holds.kept.remove(at);
        for lane in &self.shared.lanes {
            lane.borrow_mut().release(id);
        }
        if let_go {
            let text = format!("a hold ended without a word of whoever copied: {} goes on", kept.region);
            tell::tell(&self.shared, EventKind::HoldBroken, text);
        }
        self.wake_lanes();
        true
    }

    fn show_holds(&self) {
        for kept in &self.holds.kept {
            let (lines, bytes) = self.parked(kept);
            let (statement_waits, broken) = (kept.statement.get(), kept.broken);
            let parked = Parked { lines, bytes: bytes as u64, statement_waits, broken };
            self.shared.regions.show(kept.id, parked);
        }
        let parked = self.parked_bytes();
        self.shared.parked_bytes.set(parked);
    }

    fn parked(&self, kept: &Kept) -> (u64, usize) {
        let lanes = self.shared.lanes.iter().map(|lane| lane.borrow().parked(kept.id));
        lanes.fold((0, 0), |sum, own| (sum.0 + own.0, sum.1 + own.1))
    }

    fn parked_bytes(&self) -> usize {
        self.holds.kept.iter().map(|kept| self.parked(kept).1).sum()
    }

    /// Where some lines of a place were parked, there may be too many by now.
    pub(super) fn see_parked(&mut self, place: &Target, some: bool) {
        if !some {
            return;
        }
        let (parked, most) = (self.parked_bytes(), parked_bytes_max(&self.shared));
        if parked <= most {
            return self.show_holds();
        }
        for kept in self.holds.kept.iter_mut().filter(|kept| kept.broken.is_none() && kept.is_at(place)) {
            kept.broken = Some(Broken::Full);
            let text = format!(
                "{} is copied, and {} of lines wait for that: nothing more of {place} goes to destination {} until it is released",
                kept.region,
                ByteSize(parked as u64),
                self.shared.id
            );
            tell::tell(&self.shared, EventKind::HoldBroken, text);
        }
        self.show_holds();
    }

    /// What was parked of a target is in a gap now, `lines` of them.
    pub(super) fn lost_parked(&mut self, target: TargetId, lines: u64) {
        let place = self.shared.targets.get(target);
        for kept in self.holds.kept.iter_mut().filter(|kept| kept.is_at(&place.target)) {
            kept.broken = Some(Broken::Gap);
            let text = format!(
                "{} was copied, and {lines} lines that waited for that are in the gap of its place",
                kept.region
            );
            tell::tell(&self.shared, EventKind::HoldBroken, text);
        }
        self.show_holds();
    }

    /// Lines of a target that are parked.
    pub(super) fn parked_lines_of(&self, target: TargetId) -> u64 {
        let place = self.shared.targets.get(target);
        self.holds.kept.iter().filter(|kept| kept.is_at(&place.target)).map(|kept| self.parked(kept).0).sum()
    }

    /// Whether so much of a target is parked that nothing more of it is dealt out.
    pub(super) fn is_parked_full(&self, target: TargetId) -> bool {
        let mut full = self.holds.kept.iter().filter(|kept| kept.broken == Some(Broken::Full)).peekable();
        full.peek().is_some() && {
            let place = self.shared.targets.get(target);
            full.any(|kept| kept.is_at(&place.target))
        }
    }

    /// Whether that is so of any target.
    pub(super) fn any_parked_full(&self) -> bool {
        self.holds.kept.iter().any(|kept| kept.broken == Some(Broken::Full))
    }

    /// Whether a statement at this position has to wait for a release: one may be about what is copied. One that came before the region
    /// was held does not: the region waits for it.
    pub(super) fn waits_for_hold(
        &self,
        lsn: Lsn,
        name: Option<&RouteName>,
        targets: &[TargetId],
        measurements: &Measurements,
    ) -> Option<Wait> {
        let mut found = None;
        for kept in self.holds.kept.iter().filter(|kept| kept.since < lsn) {
            let is_there = name.is_none() || kept.targets(&self.shared).iter().any(|target| targets.contains(target));
            if is_there && kept.names.meet(measurements) {
                kept.statement.set(true);
                found = Some(Wait::Release);
            }
        }
        found
    }
}
