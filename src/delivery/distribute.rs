//! From resolved intents to lanes.
//!
//! Promise: records are taken in log order; an effect (dirty region, gap, dead letter) is durable before the position moves
//! past its record; at most `pending_bytes` wait in lanes, and no lane leads another by more than `lane_lead`.

use std::cell::{Cell, RefCell, RefMut};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::Shared;
use super::aside::Aside;
use super::barrier::Barrier;
use super::batch::{self, LineAt};
use super::behind::Behind;
use super::confirmed::Unconfirmed;
use super::doubt::{regions, unlisted};
use super::held::Holds;
use super::lane::{Bounds, Lane, Position};
use super::ledger::{Ledger, Tally};
use super::letters;
use super::merging::Merging;
use super::passed::{Headers, Twice, headers_of};
use super::rows::OpenRows;
use super::shaping::{self, Shaped};
use super::statement;
use super::target::TargetId;
use super::view::Reading;
use crate::base::bounds::READ_AHEAD_BYTES;
use crate::base::failpoint::{self, Point};
use crate::base::{Error, Kind as ErrorKind, Lsn, Result, RouteId, Side};
use crate::line::{self, project::Changes};
use crate::queue::{Disposition, Fate, Floors, Intent, Scout, Spans};
use crate::route::RouteName;
use crate::state::{BacklogGap, DeadLetter, Effects, Gap, LOG_DAMAGE};
use crate::wal::{Damage, Item, Kind, Reader, Record, Wal};

/// Records looked at in one go before other tasks get their turn.
const SCOUT_STEP: usize = 256;
/// The same while a long log is counted: each may be a seek of a slow disk.
const COUNT_STEP: usize = 32;
/// Records that are read before their outcome is known, bytes. They share memory with the chunks they were read in.
const AHEAD_BYTES: usize = READ_AHEAD_BYTES;
/// After the log has grown: time for more to come. Far below the time that a batch waits for company.
const GATHER: Duration = Duration::from_millis(5);
/// While a target stands still, it is looked at so often.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// While somebody waits for what was dealt out before a region, that is looked at so often.
const DRAIN_LOOK: Duration = Duration::from_millis(20);

/// Reads and deals out.
pub(super) struct Distributor {
    pub(super) shared: Rc<Shared>,
    pub(super) scout: Rc<RefCell<Scout>>,
    pub(super) ledger: Rc<RefCell<Ledger>>,
    pub(super) log: Arc<Wal>,
    reader: Reader,
    /// Floors of former runs with other numbers of lanes: lines at or below them are counted already.
    former: Vec<Vec<Lsn>>,
    /// The highest floor at the start.
    pub(super) top: Lsn,
    /// Of damaged records up to there, lines that faster lanes have counted before; known from the first of them on.
    pub(super) twice: Option<Twice>,
    /// Damage that was told before the start, by its records; known from the first on that is met.
    pub(super) told: Option<BTreeMap<(Lsn, Lsn), u64>>,
    /// Tells that the log has grown.
    durable: Arc<Notify>,
    /// It has while we waited for room, and only the scout has looked.
    has_grown: bool,
    read: Rc<Cell<Read>>,
    /// Read, and not dealt out: most of it waits for its outcome.
    ahead: VecDeque<Item>,
    ahead_bytes: usize,
    /// A line that is being written.
    line_buffer: Vec<u8>,
    /// Routes that something was dealt out of, by their numbers (at most `limits.routes`): a damaged record has no other name.
    pub(super) names: HashMap<RouteId, RouteName>,
    /// Targets of which records are set aside.
    pub(super) asides: BTreeMap<TargetId, Aside>,
    /// Records in gaps of their routes' backlogs, from before the start.
    pub(super) gaps: Vec<BacklogGap>,
    /// Everything up to here was dealt out or set aside.
    pub(super) dealt: Lsn,
    /// Where the record under our hands begins in the log, bytes.
    pub(super) before_record: u64,
    /// Statements that operators may still confirm; known from the first turn on.
    pub(super) unconfirmed: Option<Vec<Unconfirmed>>,
    /// A statement is confirmed whose record is not dealt out yet since the start.
    pub(super) confirmed_ahead: bool,
    /// Statements that wait, or that may still take effect, in the order of their records.
    pub(super) barriers: Vec<Barrier>,
    /// The last statement that removed something at a target.
    pub(super) removed: BTreeMap<TargetId, Lsn>,
    pub(super) behind: Behind,
    /// When an operator's hold was last seen to last, monotonic.
    pub(super) held_at: Option<Duration>,
    /// Regions that are left alone.
    pub(super) holds: Holds,
}

/// How far reading has come.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Read {
    lines: u64,
    position: u64,
    /// Arrival of the record that waits for room, or was read last.
    received_ns: i64,
    /// Whether the figures are what they seem: after a start, lines that faster lanes have delivered before are known as
    /// such only when reading has passed all floors.
    settled: bool,
}

impl Read {
    /// Figures, with what the lanes hold.
    pub(super) fn view(self, scout: &Scout, oldest_in_lanes_ns: Option<i64>) -> Reading {
        let unread_lines = scout.applied_lines().saturating_sub(self.lines);
        let unread_ns = (unread_lines > 0).then_some(self.received_ns);
        let (unanswered_lines, unanswered_ns) = scout.waiting();
        let oldest_ns = [oldest_in_lanes_ns, unread_ns, unanswered_ns].into_iter().flatten().min();
        let (ahead, head) = (scout.ahead(), scout.seen());
        let (counting, oldest_ns) = (!scout.counted(), oldest_ns.unwrap_or(0));
        Reading { unread_lines, unanswered_lines, counting, ahead, head, oldest_ns }
    }

    /// How far the log is read, bytes.
    pub(super) fn position(self) -> u64 {
        self.position
    }

    /// Whether the figures may be shown.
    pub(super) fn settled(self) -> bool {
        self.settled
    }
}

impl Distributor {
    pub(super) fn new(
        shared: Rc<Shared>,
        scout: Rc<RefCell<Scout>>,
        ledger: Rc<RefCell<Ledger>>,
        log: Arc<Wal>,
        floors: &Floors,
        gaps: Vec<BacklogGap>,
        durable: Arc<Notify>,
    ) -> Result<Self> {
        let reader = log.reader(floors.lowest().next())?.keeping_more();
        let former = ledger.borrow().former().to_vec();
        let top = floors.lanes.iter().copied().max().unwrap_or(Lsn::ZERO);
        let (read, line_buffer) = (Rc::default(), Vec::new());
        let (ahead, ahead_bytes) = (VecDeque::new(), 0);
        let (asides, dealt, before_record) = (BTreeMap::new(), floors.lowest(), 0);
        let mut distributor = Self {
            shared,
            scout,
            ledger,
            log,
            reader,
            former,
            top,
            twice: None,
            told: None,
            durable,
            has_grown: false,
            read,
            ahead,
            ahead_bytes,
            line_buffer,
            names: HashMap::new(),
            asides,
            gaps,
            dealt,
            before_record,
            unconfirmed: None,
            confirmed_ahead: false,
            barriers: Vec::new(),
            removed: BTreeMap::new(),
            behind: Behind::default(),
            held_at: None,
            holds: Holds::default(),
        };
        distributor.begin_holds();
        Ok(distributor)
    }

    pub(super) fn progress(&self) -> Rc<Cell<Read>> {
        Rc::clone(&self.read)
    }

    /// Reads for ever. After an error it may be called again, and goes on where it was.
    pub(super) async fn run(&mut self) -> Result<()> {
        loop {
            self.has_grown = false;
            let ended = self.tend_holds(true) | self.tend_barriers().await?;
            self.look_at_confirmed().await?;
            let more = self.read_ahead()?;
            // Then there may be more to read as soon as something of it is dealt out.
            let full = self.ahead_bytes >= AHEAD_BYTES;
            let mut dealt = 0;
            while dealt < SCOUT_STEP
                && let Some(item) = self.ahead.front().cloned()
                // Asked anew each time: the scout may have gone on while we waited for room.
                && last_of(&item) <= self.scout.borrow().resolved()
            {
                while !self.shared.may_deal() && !self.shared.pauses.all_stand_still() {
                    // While it stands still records are set aside.
                    self.idle(LOOK_EVERY).await?;
                }
                self.deal(item).await?;
                self.ahead_bytes -= self.ahead.pop_front().as_ref().map_or(0, bytes_of);
                dealt += 1;
                self.tend_holds(true);
                self.look_at_confirmed().await?;
                self.room().await?;
            }
            if self.ahead.is_empty() && !full {
                self.settled();
            }
            let again = self.look_after_paused().await?;
            if dealt > 0 || again {
                self.wake_lanes();
            }
            if more || ended || dealt == SCOUT_STEP || again || full && dealt > 0 || self.has_grown {
                tokio::task::yield_now().await;
            } else if self.some_stand_still() || !self.shared.may_deal() {
                // Whether it may go on is seen by looking, also where nothing comes.
                tokio::select! {
                    () = self.durable.notified() => {}
                    () = self.shared.room.notified() => {}
                    () = self.shared.regions.asked() => {}
                    () = tokio::time::sleep(self.look_every()) => {}
                }
            } else {
                tokio::select! {
                    () = self.durable.notified() => {}
                    () = self.shared.hold.confirmed() => continue,
                    () = self.shared.regions.asked() => continue,
                    () = tokio::time::sleep(DRAIN_LOOK), if self.holds.wait() => continue,
                }
                // Under load groups come much faster than batches are due; one look for many of them costs far less.
                tokio::time::sleep(GATHER).await;
            }
        }
    }

    /// Reads what is durable now, within [`AHEAD_BYTES`]; beyond that the scout goes on alone, by headers: what is queued
    /// must be counted, however much waits for its outcome. True when there is more to look at.
    fn read_ahead(&mut self) -> Result<bool> {
        let mut scout = self.scout.borrow_mut();
        while self.ahead_bytes < AHEAD_BYTES {
            let Some(item) = self.reader.next()? else {
                scout.follow(&self.reader);
                return Ok(false);
            };
            match &item {
                Item::Record(_) => scout.see(&item, &self.reader),
                Item::Damage(damage) => {
                    let headers = self.log.reader(damage.first)?;
                    if let Err(error) = scout.see_damaged(damage, headers) {
                        // Asked again, we stand before the same damage again.
                        self.reader = self.log.reader(damage.first)?.keeping_more();
                        return Err(error);
                    }
                }
            }
            self.ahead_bytes += bytes_of(&item);
            self.ahead.push_back(item);
        }
        scout.follow(&self.reader);
        scout.advance(SCOUT_STEP)
    }

    pub(super) fn wake_lanes(&self) {
        self.shared.work.iter().for_each(Notify::notify_one);
    }

    fn settled(&self) {
        self.read.set(Read { settled: true, ..self.read.get() });
    }

    async fn deal(&mut self, item: Item) -> Result<()> {
        let lsn = last_of(&item);
        match item {
            Item::Damage(damage) => self.damage(&damage).await?,
            Item::Record(record) => {
                // Where the first one begins is not known, only where it ends.
                self.before_record = if self.position() == 0 { record.position } else { self.position() };
                self.read.set(Read { position: record.position, received_ns: record.received_ns, ..self.read.get() });
                match record.kind {
                    Kind::Intent => self.intent(&record).await?,
                    Kind::Statement => self.statement(&record).await?,
                    _ => {}
                }
            }
        }
        self.dealt = lsn;
        for lane in &self.shared.lanes {
            lane.borrow_mut().read_to(lsn);
        }
        if lsn >= self.top {
            self.ledger.borrow_mut().expect(0);
            self.settled();
        }
        Ok(())
    }

    async fn intent(&mut self, record: &Record) -> Result<()> {
        let judged = self.scout.borrow_mut().take(record.lsn);
        let lines = u64::from(record.lines);
        let intent = Intent::decode(&record.meta).map_err(|e| {
            Error::new(ErrorKind::Damage, Side::Own, format!("record {} of the log", record.lsn))
                .because(e)
                .hint("it was written by a newer twinline: start that version, or let it drain the queue first")
        })?;
        let applied = judged.applied_lines(record.lines);
        self.read.set(Read { lines: self.read.get().lines + applied, ..self.read.get() });
        // Only of what the source has kept: clients invent names, and a target is remembered for ever.
        let target = if intent.excluded || applied == 0 { None } else { self.shared.targets.of(&intent.name) };
        if target.is_some() && record.route.0 != 0 && !self.names.contains_key(&record.route) {
            self.names.insert(record.route, intent.name.clone());
        }
        if target.is_some() {
            self.meet_statements(record.lsn, &intent.name).await;
        }
        let met = self.meet(record, &intent, &judged);
        let shaped = match target {
            Some(_) => Shaped::of(&self.shared.targets, record, &intent, &judged.spans),
            None => Shaped::default(),
        };
        let (applied, by_rule) = (applied - shaped.excluded(), shaped.excluded());
        let mut tally = match judged.disposition {
            Disposition::Applied => Tally::default(),
            Disposition::NotApplied => Tally { not_applied: lines, ..Tally::default() },
            Disposition::Gapped => Tally { gapped: lines, ..Tally::default() },
            Disposition::Doubt => Tally { doubt: lines, ..Tally::default() },
            Disposition::Partial => Tally {
                not_applied: judged.spans.lines(Fate::NotApplied),
                doubt: judged.spans.lines(Fate::Doubt),
                ..Tally::default()
            },
        };
        // Another destination may get what does not come to this one.
        let is_doubt = tally.doubt > 0 || judged.disposition == Disposition::Doubt;
        let stays_here = intent.excluded || is_doubt && self.shared.targets.stays(&intent.name);
        if stays_here {
            tally.excluded += std::mem::take(&mut tally.doubt);
        }
        let stays = if target.is_none() { applied } else { by_rule };
        tally.excluded += stays;
        self.shared.excluded.add(&intent.name, target.is_some(), stays);
        if tally != Tally::default() {
            // Before the effect, so that the lines are never in no sum; the floor moves only after both.
            self.ledger.borrow_mut().note(record.lsn, tally);
        }
        // A body without lines that we could read may hold some that the source could.
        let unread = lines == 0 && judged.disposition == Disposition::Doubt && !stays_here;
        if tally.doubt > 0 {
            let now = self.shared.clock.monotonic();
            self.shared.doubts.met(record.lsn, &intent.name, judged.cause, tally.doubt, now);
        }
        if tally.doubt > 0 || unread {
            // Nothing, where there are none.
            self.record(Effects { dirty: regions(record, &intent, &judged), ..Effects::default() }).await;
        }
        match target {
            Some(target) if applied > 0 && !self.waits_in_log(record, &intent, applied.saturating_sub(met), target) => {
                self.deal_lines(record, &intent, (&judged.spans, &shaped), target, Lsn::ZERO).await?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Lines of a record up to `counted_to` were counted by their lanes before. True when any of it waits in a lane now.
    pub(super) async fn deal_lines(
        &mut self,
        record: &Record,
        intent: &Intent,
        (spans, shaped): (&Spans, &Shaped),
        target: TargetId,
        counted_to: Lsn,
    ) -> Result<bool> {
        let lanes = self.shared.lanes.len();
        let now = self.shared.clock.monotonic();
        let settings = &self.shared.settings;
        let bounds = Bounds { bytes_max: settings.batch_bytes.as_usize(), lines_max: settings.batch_lines };
        let mut own = vec![Own::default(); lanes];
        let mut dead_letters = Vec::new();
        let mut held_bytes = 0;
        let mut lane_of: Vec<_> = self.shared.lanes.iter().map(RefCell::borrow_mut).collect();
        let (former, buffer) = (&self.former, &mut self.line_buffer);
        let writing = self.shared.writing.get().at(self.shared.clock.wall_ns());
        let body = shaped.body(record);
        let looks_unfit = writing.may_be_unfit(body, intent.dialect);
        let (mut changes, mut rows) = (shaped.changes(), OpenRows::default());
        let addressed = self.shared.targets.get(target);
        let (held, mut parks) = (self.holds.over(record.lsn, &addressed.target, intent), false);
        let mut merging =
            if writing.merges_lines() { Merging::of(record, intent, spans, shaped) } else { Merging::default() };
        shaped.lines(record, intent, spans, |line, found| {
            let hash = found.series;
            let index = (hash % lanes as u64) as usize;
            let lane = &mut lane_of[index];
            let is_done = record.lsn <= lane.floor();
            if is_done && !writing.changes_lines() {
                return;
            }
            // The pipeline stamps every line that parses before it is logged.
            let at_ns = found.time_ns.unwrap_or(intent.max_ns);
            // Changes are counted by record, whichever lanes have its lines behind them.
            let row = (&addressed.tables[..], merging.next(&found, intent));
            let written = writing.write((body, &found), at_ns, intent, looks_unfit, row, (buffer, &mut changes));
            if is_done {
                return;
            }
            let repeated = record.lsn <= counted_to || is_repeated(former, record.lsn, hash);
            own[index].counted += u32::from(!repeated);
            own[index].has_lines = true;
            let cell = hash_of(target, hash, at_ns);
            let (text, unfit) = rows.take(written, cell, (record.lsn, line), &self.shared.rows);
            if let Some((text, unfit)) = unfit {
                dead_letters.push(letter(record, intent, line, unfit, text));
                if !repeated {
                    lane.mark_dead(record.lsn, line);
                }
            }
            let Some(text) = text else { return };
            let at = LineAt { lsn: record.lsn, line, route: record.route, cell };
            let hold = held.iter().find(|kept| kept.has(body, &found, at_ns)).map(|kept| kept.id());
            parks |= lane.deal(hold, target, (at, text), now, bounds);
            held_bytes += batch::held_bytes(text);
        });
        let is_new = |series| record.lsn > counted_to && !is_repeated(former, record.lsn, series);
        dead_letters.extend(put_aside((record, intent), shaped, is_new, &mut lane_of, &mut own));
        drop(lane_of);
        self.shared.pending_bytes.set(self.shared.pending_bytes.get() + held_bytes);
        self.note_lines(record, intent, &own);
        self.see_parked(&addressed.target, parks);
        if record.lsn > counted_to && changes != Changes::default() {
            self.ledger.borrow_mut().note(record.lsn, Tally { changes, ..Tally::default() });
        }
        letters::put_aside(&self.shared, dead_letters).await;
        Ok(held_bytes > 0)
    }

    /// Whether some former run with another number of lanes has counted a line of this record and series.
    pub(super) fn is_repeated(&self, lsn: Lsn, series: u64) -> bool {
        is_repeated(&self.former, lsn, series)
    }

    /// Tells each lane how many lines of the record are its own.
    fn note_lines(&self, record: &Record, intent: &Intent, own: &[Own]) {
        let name = (record.route.0 == 0).then(|| Rc::<str>::from(intent.name.key()));
        for (lane, own) in self.shared.lanes.iter().zip(own).filter(|(_, own)| own.has_lines) {
            let mut lane = lane.borrow_mut();
            if let Some(name) = &name {
                lane.name(record.lsn, Rc::clone(name));
            }
            if own.counted > 0 {
                let (lines, log_bytes, received_ns) = (own.counted, record.position, record.received_ns);
                lane.note(Position { lsn: record.lsn, lines, log_bytes, received_ns });
            }
        }
    }

    async fn damage(&mut self, damage: &Damage) -> Result<()> {
        self.look_for_counted(damage).await?;
        let headers = self.forget(damage)?;
        for (lsn, at_ns) in &headers.statements {
            statement::note_damaged(&self.shared, *lsn, *at_ns).await;
        }
        let lost = self.lost_of(damage, &headers);
        if let Some(lines) = self.told.as_ref().and_then(|told| told.get(&(damage.first, damage.last))).copied() {
            // Its rows stand, whoever has met it before the start.
            self.ledger.borrow_mut().note(damage.last, Tally { damaged: lines, ..headers.tally });
            return Ok(());
        }
        let lines = lost.unwrap_or(0);
        self.ledger.borrow_mut().note(damage.last, Tally { damaged: lines, ..headers.tally });
        let gap = Gap {
            route: damage.route,
            route_name: String::new(),
            from_ns: damage.from_ns,
            to_ns: damage.to_ns,
            lines,
            lsns: Some((damage.first, damage.last)),
            cause: LOG_DAMAGE,
        };
        let (first_lsn, last_lsn) = (damage.first.0, damage.last.0);
        if lost.is_none() {
            let text =
                "records of the log are damaged, of which nothing is missing: it was delivered before, or refused";
            tracing::error!(event = "queue.damage", first_lsn, last_lsn, "{text}");
            return Ok(());
        }
        let text = "records of the log are damaged; their lines are a gap";
        tracing::error!(event = "queue.damage", first_lsn, last_lsn, lines, "{text}");
        self.record(Effects { gaps: vec![gap], ..Effects::default() }).await;
        failpoint::hit(Point::DamageGapDurable);
        Ok(())
    }

    /// The scout reads headers only: where just the payload is damaged, it has counted the lines.
    fn forget(&mut self, damage: &Damage) -> Result<Headers> {
        let headers = headers_of(&self.log, damage, |lsn| self.scout.borrow_mut().take(lsn))?;
        self.read.set(Read { lines: self.read.get().lines + headers.applied, ..self.read.get() });
        Ok(headers)
    }

    /// Makes effects durable; waits as long as that takes, because the position must not move before.
    async fn record(&self, effects: Effects) {
        super::send::record_effects(&self.shared, effects).await;
    }

    /// Waits until the lanes have room and the slowest is not too far behind. The scout goes on meanwhile: what is queued
    /// must be counted, however long the destination is away.
    async fn room(&mut self) -> Result<()> {
        while self.is_full() || self.leads_too_far() {
            self.settled();
            self.wake_lanes();
            self.scout.borrow_mut().follow(&self.reader);
            if self.tend_holds(true)
                || self.tend_barriers().await?
                || self.look_after_paused().await?
                || self.count()?
            {
                tokio::task::yield_now().await;
                continue;
            }
            tokio::select! {
                () = self.shared.room.notified() => {}
                () = self.shared.regions.asked() => {}
                () = tokio::time::sleep(self.look_every()), if self.some_stand_still() || self.holds.wait() => {}
                () = self.durable.notified() => {
                    // Told once; whoever reads on must hear of it as well.
                    self.has_grown = true;
                    while self.scout.borrow_mut().advance(SCOUT_STEP)? {
                        tokio::task::yield_now().await;
                    }
                }
            }
        }
        Ok(())
    }

    /// Waits for so long at most while a statement holds up what follows: lanes, targets that stand still and the scout go on.
    pub(super) async fn idle(&mut self, pause: Duration) -> Result<()> {
        self.settled();
        self.wake_lanes();
        self.scout.borrow_mut().follow(&self.reader);
        if self.tend_holds(false) || self.look_after_paused().await? || self.count()? {
            tokio::task::yield_now().await;
            return Ok(());
        }
        tokio::select! {
            () = self.shared.room.notified() => {}
            () = self.shared.regions.asked() => {}
            () = tokio::time::sleep(pause) => {}
            () = self.durable.notified() => {
                self.has_grown = true;
                while self.scout.borrow_mut().advance(SCOUT_STEP)? {
                    tokio::task::yield_now().await;
                }
            }
        }
        Ok(())
    }

    /// After a start with a long log: what is queued must be counted, also while nothing can be delivered. True while there
    /// is more to count.
    fn count(&self) -> Result<bool> {
        let mut scout = self.scout.borrow_mut();
        Ok(!scout.counted() && scout.advance(COUNT_STEP)?)
    }

    /// So often it is looked at what nothing tells of.
    fn look_every(&self) -> Duration {
        if self.holds.wait() { DRAIN_LOOK } else { LOOK_EVERY }
    }

    /// What is dealt out next.
    pub(super) fn next_item(&self) -> Option<&Item> {
        self.ahead.front()
    }

    /// Whether no more may wait in the lanes.
    pub(super) fn is_full(&self) -> bool {
        self.shared.pending_bytes.get() >= self.shared.settings.pending_bytes.as_usize()
    }

    /// Where the last record that was read ends in the log, bytes.
    pub(super) fn position(&self) -> u64 {
        self.read.get().position
    }

    /// Whether the slowest lane is too far behind; a target that stands still, or catches up, slows no other.
    fn leads_too_far(&self) -> bool {
        let lead_max = self.shared.settings.lane_lead.0;
        if self.lead_bytes() <= lead_max {
            return false;
        }
        let stands = |target| self.shared.pauses.is_paused(target) || self.asides.contains_key(&target);
        let oldest = self.shared.lanes.iter().filter_map(|lane| lane.borrow().oldest_moving(stands)).min();
        oldest.is_some_and(|oldest| self.position().saturating_sub(oldest) > lead_max)
    }

    /// Bytes of log between what was read last and the lowest floor, as far as lanes are waiting.
    fn lead_bytes(&self) -> u64 {
        let waiting = self.shared.lanes.iter().filter_map(|lane| lane.borrow().oldest()).map(|at| at.log_bytes).min();
        waiting.map_or(0, |oldest| self.read.get().position.saturating_sub(oldest))
    }
}

/// Letters of the lines that cannot go as their rule wants them. `is_new`: a line of this series was not counted before.
fn put_aside(
    (record, intent): (&Record, &Intent),
    shaped: &Shaped,
    is_new: impl Fn(u64) -> bool,
    lanes: &mut [RefMut<'_, Lane>],
    own: &mut [Own],
) -> Vec<DeadLetter> {
    let mut letters = Vec::new();
    for refused in shaped.refused() {
        let index = (refused.series % lanes.len() as u64) as usize;
        if record.lsn <= lanes[index].floor() {
            continue;
        }
        let (unfit, text) = shaping::put_aside(refused, record, intent);
        letters.push(letter(record, intent, refused.number, unfit, &text));
        own[index].has_lines = true;
        if is_new(refused.series) {
            own[index].counted += 1;
            lanes[index].mark_dead(record.lsn, refused.number);
        }
    }
    letters
}

/// What a lane has of a record.
#[derive(Clone, Copy, Debug, Default)]
struct Own {
    /// Lines that were not counted before.
    counted: u32,
    /// Whether it has any line of it.
    has_lines: bool,
}

/// Visits the lines of a record that the source is known to have kept, each with its number in the record.
#[inline(always)]
pub(super) fn applied_lines<'a>(
    record: &'a Record,
    intent: &Intent,
    spans: &Spans,
    mut visit: impl FnMut(u32, line::Outline<'a>),
) {
    let (mut number, mut spans) = (0u32, spans.walk());
    line::outline(&record.body, intent.dialect, intent.precision, |found| {
        let Ok(found) = found else { return };
        let line = number;
        number += 1;
        if spans.at(line).is_none() {
            visit(line, found);
        }
    });
}

fn is_repeated(former: &[Vec<Lsn>], lsn: Lsn, series: u64) -> bool {
    former.iter().any(|floors| !floors.is_empty() && lsn <= floors[(series % floors.len() as u64) as usize])
}

/// Hash of a place at the destination. Equal hashes of different places cost a wait, never order.
fn hash_of(target: TargetId, series: u64, at_ns: i64) -> u64 {
    let mut bytes = [0; 20];
    bytes[..4].copy_from_slice(&target.0.to_le_bytes());
    bytes[4..12].copy_from_slice(&series.to_le_bytes());
    bytes[12..].copy_from_slice(&at_ns.to_le_bytes());
    xxhash_rust::xxh3::xxh3_64(&bytes)
}

/// A line that is known not to fit before it is sent; `text` is what would have been.
fn letter(record: &Record, intent: &Intent, line: u32, unfit: line::Unfit, text: &[u8]) -> DeadLetter {
    DeadLetter {
        lsn: record.lsn,
        line,
        route: record.route,
        route_name: unlisted(record, intent),
        code: unfit.code.to_owned(),
        reason: format!("not refused but known before it is sent: {}", unfit.why),
        time_ns: letters::time_of(text, 1),
        text: text.trim_ascii_end().to_vec(),
    }
}

/// What an item takes while it waits.
fn bytes_of(item: &Item) -> usize {
    match item {
        Item::Record(record) => size_of::<Item>() + record.meta.len() + record.body.len(),
        Item::Damage(_) => size_of::<Item>(),
    }
}

pub(super) fn last_of(item: &Item) -> Lsn {
    match item {
        Item::Record(record) => record.lsn,
        Item::Damage(damage) => damage.last,
    }
}
