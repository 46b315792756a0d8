//! What happens, one thing after the other.

mod copy;

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use tokio::task::{JoinError, JoinHandle};

use super::copying::Copying;
use super::history::History;
use super::proxy::{self, Proxy};
use super::record::Record;
use super::screen::{Figures, Screen, count};
use super::stage::{DATABASE, Stage};
use super::writer::{self, Direction};
use crate::base::clock::SharedClock;
use crate::cli::exit::{Exit, Failure};
use crate::control::Status;
use crate::sandbox::Faults;

const LOOK_EVERY: Duration = Duration::from_millis(100);
/// A queue that stands still for so long will not drain.
const STANDSTILL_MAX: Duration = Duration::from_secs(120);
/// Shares of the whole time at which something happens, at the latest.
const COPY_AT: f64 = 0.10;
const AWAY_AT: f64 = 0.24;
const KILL_AT: f64 = 0.40;
const RESTART_AT: f64 = 0.44;
const BACK_AT: f64 = 0.64;
const STOP_AT: f64 = 0.85;
/// How slow the source is while Twinline is killed: so that it is killed in the middle of a request.
const SLOW: Duration = Duration::from_millis(80);
/// It is killed all the same when no request can be caught.
const CATCH_TRIES: u32 = 50;
/// Of 100 lines, so many overwrite an older point: in quiet times, and during the outage.
const OVERWRITES: (u8, u8) = (10, 40);
const HOSTS: u32 = 20;
const CLIENTS: u32 = 2;
/// Lines a second of all timed clients.
pub(super) const LINES_PER_S: u64 = 3000;
/// Bounds the memory of a long demonstration: then fewer lines a second.
pub(super) const LINES_MAX: u64 = 200_000;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub(super) struct Event {
    /// Seconds since the start.
    pub(super) at_s: f64,
    pub(super) what: String,
}

/// The state of things for the screen.
#[derive(Debug, Default)]
struct Live {
    status: RefCell<Status>,
    twinline_up: Cell<bool>,
    destination_up: Cell<bool>,
}

/// The story's end.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) records: Vec<Record>,
    pub(super) history: History,
    pub(super) status: Status,
    pub(super) drained: bool,
    pub(super) queued_most: u64,
    pub(super) events: Vec<Event>,
}

/// Everything that plays a part.
#[derive(Debug)]
pub(super) struct Story {
    pub(super) stage: Stage,
    pub(super) proxy: Proxy,
    pub(super) direction: Rc<Direction>,
    pub(super) screen: Rc<Screen>,
    pub(super) copying: Rc<Copying>,
    /// Until the client has it that changes it.
    history: Option<History>,
    history_points: u64,
    clock: SharedClock,
    began: Duration,
    total: Duration,
    live: Rc<Live>,
    queued_most: u64,
    events: Vec<Event>,
}

impl Story {
    /// Fills the source with history.
    pub(super) fn new(
        stage: Stage,
        proxy: Proxy,
        screen: Rc<Screen>,
        clock: SharedClock,
        total: Duration,
    ) -> Result<Self, Failure> {
        let direction = Rc::<Direction>::default();
        direction.overwrites_percent.set(OVERWRITES.0);
        let (live, began) = (Rc::<Live>::default(), clock.monotonic());
        live.destination_up.set(true);
        let history = History::new(clock.wall_ns(), total.as_secs());
        history.load(|lines| stage.source.load(DATABASE, lines))?;
        let (copying, history_points) = (Rc::new(Copying::new(&proxy)?), history.before());
        Ok(Self {
            stage,
            proxy,
            direction,
            screen,
            copying,
            history: Some(history),
            history_points,
            clock,
            began,
            total,
            live,
            queued_most: 0,
            events: Vec::new(),
        })
    }

    /// All of it, up to the drained queue.
    pub(super) async fn play(&mut self) -> Result<Told, Failure> {
        self.proxy.start().await?;
        self.live.twinline_up.set(true);
        self.began = self.clock.monotonic();
        let watching = tokio::task::spawn_local(self.watch());
        let writing = self.start_clients();

        self.tell(
            "Normal operation",
            &format!(
                "{} clients write about {} lines a second. Each write goes to the\n\
                 source, is answered, and follows to the destination.",
                CLIENTS + 1,
                count(lines_per_s(self.total))
            ),
        );
        self.until(COPY_AT).await?;
        let changing = self.begin_copy().await?;
        self.outage().await?;
        let history = self.end_of_copy(changing).await?;
        self.until(STOP_AT).await?;

        self.tell("The clients stop", "What still waits in the queue is delivered.");
        self.direction.stop.set(true);
        let records = self.end_of(writing).await?;
        let (status, drained) = self.drain().await?;
        self.tell("The comparison", "Both databases are read back, with types, over their query interface.");
        watching.abort();
        let (queued_most, events) = (self.queued_most, std::mem::take(&mut self.events));
        Ok(Told { records, history, status, drained, queued_most, events })
    }

    async fn outage(&mut self) -> Result<(), Failure> {
        self.tell(
            "The destination is taken away",
            "The clients notice nothing: Twinline keeps their lines on disk. Many of\n\
             them overwrite older points now, so that the order of delivery matters.",
        );
        self.stage.destination.set_faults(Faults { refuse: true, ..Faults::default() });
        self.live.destination_up.set(false);
        self.direction.overwrites_percent.set(OVERWRITES.1);
        self.until(KILL_AT).await?;
        self.something_waits().await?;

        self.tell(
            "Twinline is killed with kill -9",
            "In the middle of a request: what became of it is in doubt. The clients\n\
             hear nothing and repeat it, unchanged, before anything newer.",
        );
        let direction = Rc::clone(&self.direction);
        let gate = direction.untimed_gate.lock().await;
        self.catch_a_request().await;
        if let Some(status) = self.proxy.status().await {
            self.copying.note_kill(&status);
        }
        self.live.twinline_up.set(false);
        self.proxy.kill()?;
        self.stage.source.set_faults(Faults::default());
        self.until(RESTART_AT).await?;

        self.tell(
            "Twinline is started again",
            "It finds every acknowledged line on its disk and takes writes again. The\n\
             destination is still away. The copy of history goes on by itself as soon\n\
             as it can, where it was.",
        );
        self.proxy.start().await?;
        self.live.twinline_up.set(true);
        drop(gate);
        self.until(BACK_AT).await?;
        self.something_waits().await?;

        self.tell(
            "The destination is back",
            "The queue drains, oldest first, while new writes go on, and history too.",
        );
        self.stage.destination.set_faults(Faults::default());
        self.live.destination_up.set(true);
        self.direction.overwrites_percent.set(OVERWRITES.0);
        Ok(())
    }

    /// Slows the source down for a moment and waits until Twinline waits for it.
    async fn catch_a_request(&self) {
        let slow = Faults { latency_ms: SLOW.as_millis() as u64, ..Faults::default() };
        self.stage.source.set_faults(slow);
        for _ in 0..CATCH_TRIES {
            tokio::time::sleep(SLOW / 4).await;
            if self.direction.under_way.get() > 0 {
                // It has been sent by now; half of the source's time is left.
                tokio::time::sleep(SLOW / 4).await;
                if self.direction.under_way.get() > 0 {
                    return;
                }
            }
        }
    }

    /// On a machine that is too busy for our times, the story waits for what it tells: lines wait for the destination.
    async fn something_waits(&mut self) -> Result<(), Failure> {
        let mut patience = Patience::new(&self.clock);
        loop {
            self.proxy.still_runs()?;
            let queued = self.proxy.status().await.map_or(0, |status| status.lines.queued);
            self.queued_most = self.queued_most.max(queued);
            if queued > 0 {
                return Ok(());
            }
            if patience.is_over(self.direction.tally.acknowledged.get()) {
                return Err(Failure::new(Exit::Failed, "Twinline takes no writes while the destination is away"));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn start_clients(&self) -> Vec<JoinHandle<Record>> {
        let (port, base_ns) = (self.stage.port, self.clock.wall_ns());
        tokio::task::spawn_local(writer::untimed(Rc::clone(&self.direction), port, DATABASE));
        let start = |client: u32| {
            let hosts = (0..HOSTS).filter(move |host| host % CLIENTS == client);
            let every = writer::pause(hosts.clone().count(), lines_per_s(self.total) / u64::from(CLIENTS));
            let record = Record::new(hosts, base_ns, u64::from(client));
            let writing = writer::timed(Rc::clone(&self.direction), record, port, DATABASE, every);
            tokio::task::spawn_local(writing)
        };
        (0..CLIENTS).map(start).collect()
    }

    /// Keeps the screen up to date.
    fn watch(&self) -> impl Future<Output = ()> + 'static {
        let (screen, live, direction) = (Rc::clone(&self.screen), Rc::clone(&self.live), Rc::clone(&self.direction));
        let source = Rc::clone(&self.stage.source);
        let (clock, began, total) = (self.clock.clone(), self.began, self.total);
        let (copying, history) = (Rc::clone(&self.copying), self.history_points);
        let socket: PathBuf = self.proxy.socket().to_owned();
        async move {
            loop {
                let status = if live.twinline_up.get() { proxy::status(socket.clone()).await } else { None };
                copying.look(status.as_ref(), clock.monotonic()).await;
                if let Some(status) = status {
                    live.status.replace(status);
                }
                let now = figures(&live, &direction, source.lines_received(), (&copying, history));
                let passed = clock.monotonic().saturating_sub(began).as_secs();
                screen.show(&now, passed, total.as_secs());
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
    }

    fn figures(&self) -> Figures {
        let source = self.stage.source.lines_received();
        figures(&self.live, &self.direction, source, (&self.copying, self.history_points))
    }

    /// Says what happens now, below the figures of what happened before.
    pub(super) fn tell(&mut self, what: &str, explanation: &str) {
        if !self.events.is_empty() {
            self.show_figures();
        }
        let at_s = self.clock.monotonic().saturating_sub(self.began).as_secs_f64();
        self.screen.tell(&format!("{at_s:>4.0} s  {}", what.to_uppercase()));
        for line in explanation.lines() {
            self.screen.tell(&format!("        {line}"));
        }
        self.events.push(Event { at_s: (at_s * 10.0).round() / 10.0, what: what.to_owned() });
    }

    fn show_figures(&self) {
        self.screen.tell_figures(&self.figures());
    }

    /// Waits for a share of the whole time.
    async fn until(&mut self, share: f64) -> Result<(), Failure> {
        self.until_or(share, || false).await
    }

    /// The same, or until something has come to pass.
    async fn until_or(&mut self, share: f64, is_so: impl Fn() -> bool) -> Result<(), Failure> {
        let end = self.began + self.total.mul_f64(share);
        loop {
            self.proxy.still_runs()?;
            self.queued_most = self.queued_most.max(self.live.status.borrow().lines.queued);
            let left = end.saturating_sub(self.clock.monotonic());
            if left.is_zero() || is_so() {
                return Ok(());
            }
            tokio::time::sleep(left.min(LOOK_EVERY)).await;
        }
    }

    /// Waits until the clients have an answer for everything.
    async fn end_of(&mut self, writing: Vec<JoinHandle<Record>>) -> Result<Vec<Record>, Failure> {
        let mut patience = Patience::new(&self.clock);
        while !writing.iter().all(JoinHandle::is_finished) {
            self.proxy.still_runs()?;
            if patience.is_over(self.direction.tally.acknowledged.get()) {
                return Err(no_answers());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        // The untimed client ends by itself after its last answer.
        drop(self.direction.untimed_gate.lock().await);
        let mut records = Vec::new();
        for each in writing {
            records.push(each.await.map_err(died)?);
        }
        Ok(records)
    }

    /// Waits until nothing is queued; `false` when the queue stands still.
    async fn drain(&mut self) -> Result<(Status, bool), Failure> {
        let mut patience = Patience::new(&self.clock);
        loop {
            self.proxy.still_runs()?;
            let Some(status) = self.proxy.status().await else {
                if patience.is_over(0) {
                    return Err(Failure::new(Exit::Unreachable, "Twinline does not tell its status any more"));
                }
                tokio::time::sleep(LOOK_EVERY).await;
                continue;
            };
            self.live.status.replace(status.clone());
            let lines = &status.lines;
            // Figures from before the last write would show an empty queue as well. What is in doubt was not acknowledged.
            let complete = accepted(&status) >= self.direction.tally.acknowledged.get() + lines.doubt + lines.read_back;
            if complete && !status.queue.counting && lines.queued == 0 && lines.unanswered == 0 {
                return Ok((status, true));
            }
            if patience.is_over(lines.delivered + self.stage.destination.lines_received()) {
                return Ok((status, false));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// Ends when a figure has not moved for too long.
struct Patience<'c> {
    clock: &'c SharedClock,
    seen: u64,
    since: Duration,
}

impl<'c> Patience<'c> {
    fn new(clock: &'c SharedClock) -> Self {
        Self { clock, seen: 0, since: clock.monotonic() }
    }

    fn is_over(&mut self, figure: u64) -> bool {
        let now = self.clock.monotonic();
        if figure != self.seen {
            (self.seen, self.since) = (figure, now);
        }
        now.saturating_sub(self.since) > STANDSTILL_MAX
    }
}

fn no_answers() -> Failure {
    Failure::new(Exit::Failed, "the clients get no answers any more")
}

fn died(error: JoinError) -> Failure {
    Failure::new(Exit::Failed, format!("a client of the demonstration died: {error}"))
}

/// Lines that Twinline has accepted, whatever became of them.
pub(super) fn accepted(status: &Status) -> u64 {
    let lines = &status.lines;
    lines.delivered + lines.queued + lines.doubt + lines.dead_lettered + lines.gap + lines.excluded + lines.read_back
}

fn lines_per_s(total: Duration) -> u64 {
    LINES_PER_S.min(LINES_MAX / total.as_secs().max(1)).max(1)
}

fn figures(live: &Live, direction: &Direction, source: u64, (copying, history): (&Copying, u64)) -> Figures {
    let status = live.status.borrow();
    Figures {
        written: direction.tally.written.get(),
        acknowledged: direction.tally.acknowledged.get(),
        source,
        destination: status.lines.delivered,
        queued: status.lines.queued,
        doubt: status.lines.doubt,
        twinline_up: live.twinline_up.get(),
        destination_up: live.destination_up.get(),
        history,
        copied: copying.seen(),
    }
}
