//! Queue -> mirror: everything that the primary applied, in order per series, at least once.
//!
//! Promises: lanes by hash of the destination's series key keep order, with one request in flight per lane. A floor passes
//! a record only when each of its lines in that lane is acknowledged by the destination or has left a durable effect. A
//! newer value of a cell waits while a request without an answer may still write an older one. An answer that is not
//! understood pauses; it never drops. What waits is bounded in bytes.
//!
//! The flow: [`distribute`] reads resolved intents and puts their lines into lanes; [`lane`] holds batches and knows the
//! floor; [`send`] brings one batch to its end; [`ledger`] makes floors durable. All of it runs on one thread of its own, so
//! that a slow destination is never felt by a client.

mod aside;
mod attempt;
mod backoff;
mod barrier;
mod batch;
mod behind;
mod carry;
mod closing;
mod columns;
mod confirmed;
mod conflict;
mod crowd;
mod distribute;
mod doubt;
mod excluded;
mod held;
pub mod hold;
mod lane;
mod late;
mod ledger;
mod letters;
mod making;
mod merging;
mod one_table;
mod others;
mod pace;
mod part;
mod passed;
mod pause;
mod plan;
mod provisional;
mod regions;
mod rest;
mod rows;
mod send;
mod settle;
mod shaping;
mod size;
mod statement;
mod suspect;
mod target;
mod tell;
mod twice;
mod unsettled;
mod view;
mod writing;

pub use columns::{Columns, lost_column, note_columns};
pub use excluded::ExcludedView;
pub use hold::Hold;
pub use ledger::lines_ahead;
pub use making::creation;
pub use regions::{Broken, HOLDS_MAX, Held, HoldView, Parked, Region, Regions, Watch};
pub use target::{table_prefix, write_path};
pub use view::{ChangeView, PauseView, SharedView, View, shared_view, show_failure};
pub use writing::Writing;

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::{JoinError, JoinSet};

use crate::base::clock::SharedClock;
use crate::base::recent::Recent;
use crate::base::{DestinationId, Error, Kind, Lsn, Result, Retry, Side};
use crate::config::{Delivery as Settings, Mapping};
use crate::db::product::{Ack, Product};
use crate::db::server::Server;
use crate::queue::doubts::Doubts;
use crate::queue::{Floors, LocalQueue, Opened, Scout};
use crate::route::TargetKind;
use crate::state::{BacklogGap, SharedState};

use distribute::Distributor;
use lane::Lane;
use ledger::Ledger;
use pause::Pauses;
use provisional::Provisional;
use target::{TargetId, Targets};
use unsettled::{News, Unsettled};

/// Requests under way get this long to end when we are asked to stop.
const STOP_MAX: Duration = Duration::from_secs(5);
/// How often floors become durable and figures are shown.
const KEEP_EVERY: Duration = Duration::from_millis(200);
/// While floors stand still: so often it is noted how far the log is durable, where it has grown.
const NOTE_EVERY: Duration = Duration::from_secs(5);
/// Pause before the queue is read again after an error.
const READ_RETRY: Duration = Duration::from_secs(1);
/// Floors that cannot be made durable are told of again after so long.
const SAVE_TOLD: Duration = Duration::from_secs(60);
/// The pause while figures are not known yet.
const KEEP_SOON: Duration = Duration::from_millis(5);

/// What delivery is made of, beside the queue.
#[derive(Clone)]
pub struct Parts {
    /// Whether nobody else gets the same: then all of the log may wait for it.
    pub is_only: bool,
    /// What it is.
    pub product: Product,
    /// How lines are written for it.
    pub writing: Writing,
    /// Its id.
    pub id: DestinationId,
    /// Its names.
    pub kind: TargetKind,
    /// Rules.
    pub mapping: Mapping,
    /// Sizes and pauses.
    pub settings: Settings,
    /// Whether bodies are compressed.
    pub gzip: bool,
    /// Makes places that are missing; the source, to ask for their names.
    pub create: Option<crate::config::Server>,
    /// Room for dead letters, bytes.
    pub dead_letter_bytes_max: u64,
    /// Log that one target may hold back while it stands still, bytes.
    pub route_backlog_bytes: u64,
    /// Effects go there.
    pub state: SharedState,
    /// Time.
    pub clock: SharedClock,
    /// An operator's hold.
    pub hold: Hold,
    /// Regions that are copied beside it, from before the first request on.
    pub regions: Regions,
    /// Where the figures are shown.
    pub view: SharedView,
    /// Lines in doubt by route, whose soever.
    pub doubts: Doubts,
    /// No write is without an answer for longer than this: what has no outcome then gets none.
    pub unanswered_max: Duration,
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").field("id", &self.id).finish()
    }
}

/// What all tasks of one destination share. One thread.
pub(crate) struct Shared {
    server: Server,
    product: Product,
    /// Changes with what the destination says of itself; nothing is dealt out before `may_send`.
    writing: Cell<Writing>,
    id: DestinationId,
    settings: Settings,
    gzip: Cell<bool>,
    /// Makes places that are missing, if it may.
    making: Option<making::Making>,
    dead_letter_bytes_max: u64,
    route_backlog_bytes: u64,
    /// Lines that wait in the log for a target that stands still, beside those that lanes count.
    aside_lines: Cell<u64>,
    state: SharedState,
    clock: SharedClock,
    targets: Targets,
    excluded: excluded::Excluded,
    lanes: Vec<RefCell<Lane>>,
    /// Wakes a lane: it has work, or a pause ended.
    work: Vec<Notify>,
    /// Wakes the distributor: bytes have left, or a floor has moved.
    room: Notify,
    pending_bytes: Cell<usize>,
    /// Of these, what waits for the release of a region.
    parked_bytes: Cell<usize>,
    pauses: Pauses,
    /// Targets of which what waits is becoming a gap: nothing is sent there meanwhile.
    closing: RefCell<BTreeSet<TargetId>>,
    /// How often floors were saved, or found saved.
    saves: Cell<u64>,
    /// A gap waits for floors that are not durable because what is below them may be lost.
    gap_waits: Cell<bool>,
    letters: letters::Letters,
    /// How large a request may be.
    sizes: size::Sizes,
    /// How fast it may catch up.
    pace: pace::Pace,
    /// Requests of late.
    recent: Recent,
    /// How many requests are under way.
    crowd: crowd::Crowd,
    /// Why the state store takes nothing, while it does not.
    store_fails: RefCell<Option<pause::Shown>>,
    /// Whether the last thing heard of the destination was an answer.
    alive: Cell<bool>,
    /// When it last stored something, by the monotonic clock.
    stored_at: Cell<Duration>,
    stopping: Cell<bool>,
    /// Until when a request of a statement may take effect, monotonic; [`Duration::MAX`] while one is under way.
    statement_until: Cell<Duration>,
    /// The same of what a process before us had under way, where it left no mark of an orderly stop.
    inherited_until: Duration,
    /// Whether all is known of the destination that must be before the first request.
    may_send: Cell<bool>,
    /// While it lasts no request begins.
    hold: Hold,
    /// Regions that are left alone.
    regions: regions::Regions,
    doubts: Doubts,
    /// What may stand twice at the destination, until that is told.
    repeated: twice::Repeated,
    /// What may be lost there.
    doubted: columns::Doubted,
    /// Names of tables that were sent.
    tables: one_table::Tables,
    /// Lines that went as one.
    rows: rows::Rows,
}

impl Shared {
    /// Whether lines may be written for it: what it says of itself is known, and there is room for those that it could not take.
    fn may_deal(&self) -> bool {
        self.may_send.get() && !self.letters.are_full()
    }
}

/// Delivers until `stop` turns true, then makes the last floors durable.
///
/// # Errors
/// The log cannot be read, or the cursor cannot be written at the end.
pub async fn run(opened: Opened, parts: Parts, server: Server, mut stop: watch::Receiver<bool>) -> Result<()> {
    let _served = parts.regions.served();
    let (former, Opened { mut queue, mut floors, mut scout, .. }) = (opened.recovery.last, opened);
    // Whether there is anything to inherit or not: the mark goes before the first request.
    let mut inherits = !rest::taken(&parts.state, &parts.id).await;
    let (grown, mut anew) = (Arc::new(Notify::new()), provisional::Anew::default());
    let wake = Arc::clone(&grown);
    queue.log().on_durable(Box::new(move || wake.notify_one()));
    let mut former_pauses = None;
    // What this process has appended meanwhile is nobody's inheritance.
    let mut inherited = former;
    loop {
        let making = parts.create.as_ref().map(making::Making::new).transpose()?;
        let with = (server.clone(), making);
        let (shared, ledger) = begin(&parts, with, &floors, inherits.then_some(inherited));
        if let Some(former) = former_pauses.take() {
            shared.pauses.take_over(&former);
        }
        let with = (&parts, Arc::clone(&grown));
        let End::Again(why, again) = deliver(Rc::clone(&shared), ledger, queue, floors, scout, with, &mut stop).await?
        else {
            return Ok(());
        };
        (queue, floors) = *again;
        // What went to the process that answers now may still be under way there.
        let now = parts.clock.monotonic();
        (inherits, inherited) = (!rest::is_at_rest(&shared), queue.log().durable());
        let pause = if why == Why::Away { Duration::ZERO } else { anew.pause(now) };
        if !pause.is_zero() {
            tell::begins_too_often(&shared, pause);
            view::show_waiting(&shared, &parts.view);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = stop.wait_for(|stop| *stop) => return Ok(()),
            }
        }
        former_pauses = (why == Why::Away).then(|| shared.pauses.clone());
        let from = floors.lowest();
        scout = Scout::new(queue.log().reader(from.next())?, from).with_former(former);
    }
}

/// Lanes and sums as they were made durable. `inherited`: to where a former process may have requests under way.
fn begin(
    parts: &Parts,
    (server, making): (Server, Option<making::Making>),
    floors: &Floors,
    inherited: Option<Lsn>,
) -> (Rc<Shared>, Ledger) {
    let lanes_count = parts.settings.lanes;
    let (mut lanes, ledger) = ledger::restore(floors, lanes_count, shaping::fingerprint(&parts.mapping));
    let late = parts.clock.monotonic() + parts.settings.late_write_max;
    let inherited = inherited.filter(|end| *end > Lsn::ZERO);
    if let Some(end) = inherited.filter(|end| *end > floors.lowest()) {
        lanes.iter_mut().for_each(|lane| lane.inherit(end, late));
    }
    let shared = Rc::new(Shared {
        server,
        product: parts.product,
        writing: Cell::new(parts.writing),
        id: parts.id.clone(),
        repeated: twice::Repeated::default(),
        doubted: columns::Doubted::default(),
        tables: one_table::Tables::default(),
        rows: rows::Rows::default(),
        gzip: Cell::new(parts.gzip),
        making,
        dead_letter_bytes_max: parts.dead_letter_bytes_max,
        route_backlog_bytes: parts.route_backlog_bytes,
        aside_lines: Cell::new(0),
        state: parts.state.clone(),
        clock: parts.clock.clone(),
        excluded: excluded::Excluded::default(),
        targets: Targets::new(parts.mapping.clone(), parts.kind.clone(), parts.product),
        work: lanes.iter().map(|_| Notify::new()).collect(),
        lanes: lanes.into_iter().map(RefCell::new).collect(),
        room: Notify::new(),
        pending_bytes: Cell::new(0),
        parked_bytes: Cell::new(0),
        pauses: Pauses::new(parts.settings.retry_initial, parts.settings.retry_max, parts.is_only),
        settings: parts.settings.clone(),
        closing: RefCell::default(),
        saves: Cell::new(0),
        gap_waits: Cell::new(false),
        letters: letters::Letters::default(),
        sizes: size::Sizes::new(),
        pace: pace::Pace::new(parts.settings.catch_up, lanes_count),
        recent: Recent::default(),
        crowd: crowd::Crowd::new(lanes_count),
        store_fails: RefCell::default(),
        alive: Cell::new(false),
        stored_at: Cell::default(),
        stopping: Cell::new(false),
        statement_until: Cell::default(),
        inherited_until: inherited.map_or(Duration::ZERO, |_| late),
        may_send: Cell::new(parts.product.capabilities().ack == Ack::Durable),
        hold: parts.hold.clone(),
        regions: parts.regions.clone(),
        doubts: parts.doubts.clone(),
    });
    (shared, ledger)
}

/// How delivery has ended.
enum End {
    /// It was asked to.
    Stopped,
    /// The destination may have lost what it had acknowledged behind these floors.
    Again(Why, Box<(LocalQueue, Floors)>),
}

/// Why that is of moment now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    /// Another process answers.
    Another,
    /// It is away, and others wait for the log.
    Away,
}

async fn deliver(
    shared: Rc<Shared>,
    ledger: Ledger,
    queue: LocalQueue,
    floors: Floors,
    scout: Scout,
    (parts, grown): (&Parts, Arc<Notify>),
    stop: &mut watch::Receiver<bool>,
) -> Result<End> {
    let asked = backlog_gaps(&shared, floors.lowest(), &parts.view, stop).await;
    let Some(gaps) = asked else { return Ok(End::Stopped) };
    let (scout, ledger) = (Rc::new(RefCell::new(scout)), Rc::new(RefCell::new(ledger)));
    let mut distributor =
        Distributor::new(Rc::clone(&shared), Rc::clone(&scout), Rc::clone(&ledger), queue.log(), &floors, gaps, grown)?;
    let seen = Rc::new(Cell::new(provisional::Seen::default()));
    let waits = !shared.may_send.get();
    let mut keeper = Keeper {
        shared: Rc::clone(&shared),
        read: distributor.progress(),
        scout,
        ledger,
        queue,
        provisional: waits.then(|| Provisional::new(Rc::clone(&seen), floors.clone())),
        seen: Rc::clone(&seen),
        saved: floors,
        noted: None,
        view: parts.view.clone(),
        unsettled: Unsettled::new(parts.unanswered_max),
        save_told: None,
    };
    let mut lanes: JoinSet<()> = JoinSet::new();
    (0..shared.lanes.len()).for_each(|index| _ = lanes.spawn_local(send::run_lane(Rc::clone(&shared), index)));
    let watch = async {
        match waits {
            true => provisional::watch(Rc::clone(&shared), seen).await,
            false => std::future::pending().await,
        }
    };
    let outcome = tokio::select! {
        // First of all: what a lane has left half done must not become durable.
        biased;
        Some(ended) = lanes.join_next() => return Err(ended.err().map_or_else(lane_ended, lane_died)),
        result = keep_distributing(&mut distributor) => result.map(|()| None),
        why = keeper.keep() => Ok(Some(why)),
        () = watch => Ok(None),
        // Without a sender nobody can ask us to stop: then the end of the process does.
        _ = stop.wait_for(|stop| *stop) => Ok(None),
    };
    shared.stopping.set(true);
    shared.work.iter().for_each(Notify::notify_one);
    let ended = wait_for(lanes).await?;
    if let Ok(Some(why)) = outcome {
        match why {
            Why::Another => tell::begins_again(&shared),
            Why::Away => tell::goes_back(&shared),
        }
        return Ok(End::Again(why, Box::new((keeper.queue, keeper.saved))));
    }
    keeper.end(ended).await?;
    outcome.map(|_| End::Stopped)
}

/// Waits for the ends of all lanes; what takes longer is delivered again. False when one was cut.
async fn wait_for(mut lanes: JoinSet<()>) -> Result<bool> {
    let all = async {
        while let Some(ended) = lanes.join_next().await {
            ended.map_err(lane_died)?;
        }
        Ok(true)
    };
    tokio::time::timeout(STOP_MAX, all).await.unwrap_or(Ok(false))
}

fn lane_died(error: JoinError) -> Error {
    Error::new(Kind::State, Side::Own, "a lane of delivery has panicked: this is a bug")
        .because(error)
        .hint("restart twinline: the queue holds what was not delivered; please report the log's last lines")
}

fn lane_ended() -> Error {
    Error::new(Kind::State, Side::Own, "a lane of delivery has ended by itself: this is a bug")
}

/// Records in gaps of their routes' backlogs; none when we are stopping. The state store may be busy, or full with what stands
/// in the same transaction: no reason to end.
async fn backlog_gaps(
    shared: &Shared,
    floor: Lsn,
    view: &SharedView,
    stop: &mut watch::Receiver<bool>,
) -> Option<Vec<BacklogGap>> {
    loop {
        match shared.state.backlog_gaps(&shared.id, floor).await {
            Ok(gaps) => {
                tell::store_works(shared);
                return Some(gaps);
            }
            Err(error) => {
                tell::store_fails(shared, &error);
                view::show_waiting(shared, view);
            }
        }
        tokio::select! {
            () = tokio::time::sleep(send::STATE_RETRY) => {}
            _ = stop.wait_for(|stop| *stop) => return None,
        }
    }
}

/// Deals records out; faults that can pass (a disk that fails to read, no file handle left) are waited out.
async fn keep_distributing(distributor: &mut Distributor) -> Result<()> {
    loop {
        match distributor.run().await {
            Err(error) if error.retry() == Retry::Yes => {
                tracing::error!(%error, event = "delivery.retry", "the queue cannot be read; trying again");
                tokio::time::sleep(READ_RETRY).await;
            }
            other => return other,
        }
    }
}

/// Makes floors durable and shows figures, a few times a second.
struct Keeper {
    shared: Rc<Shared>,
    read: Rc<Cell<distribute::Read>>,
    scout: Rc<RefCell<Scout>>,
    ledger: Rc<RefCell<Ledger>>,
    queue: LocalQueue,
    /// Where acknowledged lines may still be lost.
    provisional: Option<Provisional>,
    seen: Rc<Cell<provisional::Seen>>,
    saved: Floors,
    /// How far the log was durable when a cursor was saved last, and when that was.
    noted: Option<(Lsn, Duration)>,
    view: SharedView,
    unsettled: Unsettled,
    /// When operators last heard that floors cannot be made durable.
    save_told: Option<Duration>,
}

impl Keeper {
    /// The last floors; and, when each lane has `ended`, that nothing is under way.
    async fn end(mut self, ended: bool) -> Result<()> {
        self.save()?;
        self.queue.note_durable(&self.saved);
        self.show();
        if ended {
            rest::leave(&self.shared).await;
        }
        Ok(())
    }

    /// Until the destination may have lost what it had acknowledged, and that must not wait.
    async fn keep(&mut self) -> Why {
        while !self.seen.get().is_another {
            if self.holds_up_others() {
                return Why::Away;
            }
            let saved = self.save();
            self.tell_of_save(saved);
            self.settle_unsettled();
            self.look_at_pace();
            self.show();
            let pause = if self.read.get().settled() { KEEP_EVERY } else { KEEP_SOON };
            tokio::time::sleep(pause).await;
        }
        Why::Another
    }

    /// Whether a destination that is away keeps the log from others by what it has acknowledged and may have lost.
    fn holds_up_others(&self) -> bool {
        let provisional = self.provisional.as_ref();
        let held = provisional.and_then(|provisional| provisional.hold_back(self.read.get().position()));
        let stands = self.shared.pauses.all_stand_still() && !self.shared.hold.lasts();
        let is_away = stands && self.seen.get().is_away(self.shared.clock.monotonic());
        is_away && held.is_some_and(|held| self.shared.gap_waits.get() || held > self.shared.route_backlog_bytes)
    }

    /// A disk that stays full is not told of five times a second.
    fn tell_of_save(&mut self, saved: Result<()>) {
        let now = self.shared.clock.monotonic();
        match saved {
            Err(error) if self.save_told.is_none_or(|at| now.saturating_sub(at) >= SAVE_TOLD) => {
                // The floors on disk stay where they were: after a crash some lines are delivered again.
                tracing::error!(%error, event = "cursor.failed", "floors cannot be made durable");
                self.save_told = Some(now);
            }
            Err(_) => {}
            Ok(()) if self.save_told.take().is_some() => {
                tracing::info!(event = "cursor.saved", "floors are durable again");
            }
            Ok(()) => {}
        }
    }

    /// Every intent gets an outcome: one that nobody settles would hold up all that follow.
    fn settle_unsettled(&mut self) {
        let now = self.shared.clock.monotonic();
        let News { left_open, overdue, refused } = self.unsettled.tend(now, &mut self.scout.borrow_mut(), &self.queue);
        if left_open > 0 && self.queue.is_first_to_tell() {
            // With a long log, the writes that a dead process had under way are known only now.
            let text = crate::queue::left_open_text(left_open);
            let (at_ns, kind) = (self.shared.clock.wall_ns(), crate::state::EventKind::Recovered);
            tracing::info!(event = ?kind, "{text}");
            drop(self.shared.state.add_event(crate::state::Event { at_ns, kind, text }));
        }
        if overdue > 0 {
            tracing::warn!(event = "queue.overdue", intents = overdue, "intents without an outcome become doubt");
        }
        if let Some(refused) = refused {
            tracing::warn!(event = "queue.give_up", %refused, "intents without an outcome cannot be settled now");
        }
    }

    fn save(&mut self) -> Result<()> {
        let floors = self.ledger.borrow_mut().floors(&self.shared.lanes);
        let now = self.shared.clock.monotonic();
        let newest = self.provisional.is_some().then(|| floors.clone());
        let floors = match &mut self.provisional {
            Some(provisional) => {
                let stored_at = self.shared.stored_at.get();
                let acknowledged = (!stored_at.is_zero()).then_some(stored_at);
                provisional.ripe(floors, acknowledged, self.read.get().position())
            }
            None => floors,
        };
        let is_newest = newest.is_none_or(|newest| newest == floors);
        if floors != self.saved {
            self.queue.acknowledge(&floors)?;
            self.saved = floors;
            self.shared.regions.save(self.saved.lowest());
            self.shared.rows.forget(self.saved.lowest());
            self.noted = Some((self.queue.durable(), now));
            self.shared.room.notify_one();
        } else if self
            .noted
            .is_none_or(|(noted, at)| self.queue.durable() > noted && now.saturating_sub(at) >= NOTE_EVERY)
        {
            // The first time at once: a process' first save needs a new file, and later the disk may be full.
            self.queue.note_durable(&floors);
            self.noted = Some((self.queue.durable(), now));
        }
        // Who waits for this means the floors as they are now.
        self.shared.saves.set(self.shared.saves.get() + u64::from(is_newest));
        Ok(())
    }

    fn look_at_pace(&self) {
        let scout = self.scout.borrow();
        let (now, read) = (self.shared.clock.monotonic(), self.read.get());
        let lines = read.view(&scout, None).unread_lines + self.shared.aside_lines.get();
        // What is parked waits for something else.
        let pending_bytes = self.shared.pending_bytes.get().saturating_sub(self.shared.parked_bytes.get());
        let lack = pace::Lack { pending_bytes, lines };
        self.shared.pace.look(now, scout.counted().then(|| scout.applied_lines()), lack);
    }

    fn show(&self) {
        if !self.read.get().settled() {
            return;
        }
        let oldest = self.shared.lanes.iter().filter_map(|lane| lane.borrow().oldest()).map(|at| at.received_ns).min();
        let reading = self.read.get().view(&self.scout.borrow(), oldest);
        view::publish(&self.shared, reading, self.ledger.borrow().total(), self.saved.lowest(), &self.view);
    }
}
