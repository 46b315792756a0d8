//! What is in doubt, or in a gap, copied again from the source by itself, beside live writes.
//!
//! Promises: a row goes only after all that it stands for was read from the source and is at the destination: under holds that began behind
//! everything the log got until no request of the row could take effect any more ([`book`]), with nothing older left that delivery could
//! bring again, whatever ends this process ([`copy`]), and, where the destination says yes before it keeps, once it is kept. What ends the
//! process costs the parts in flight. Points are added and overwritten, never removed: nothing in doubt was ever delivered. A delete whose
//! fate is not known is a statement of its own (`state/statements`), which this does not settle. One part is under way at a time, whatever
//! the number of destinations, and history to the same destination begins no chunk meanwhile; rows that are at work are at most [`ROWS_MAX`] of each kind, their parts [`PIECES_MAX`]. Nothing waits
//! without a reason that is shown.
//!
//! Of gaps only those are read back that have the times of their points (`state::GAPS_READ_BACK`).

mod book;
mod copy;
mod group;
mod pace;
mod place;
mod tell;
mod view;
mod work;

use std::cell::Cell;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::executor::Stop;
use super::throttle::{Allowance, Healing};
use crate::base::clock::SharedClock;
use crate::base::{DestinationId, Error, Kind, Lsn, Result};
use crate::config::ReadBack;
use crate::db::product::Ack;
use crate::db::victoria;
use crate::delivery::{Regions, SharedView};
use crate::pipeline::Unlogged;
use crate::state::{Cleared, SharedState};
use crate::wal::Wal;

use book::{Book, Look};
use copy::Copied;
use pace::{Cause, Pace};
use place::Found;
use tell::Telling;
use view::WAITS_MAX;
use work::{Planned, Work};

pub use place::{Meeting, Met};
pub use view::{ReadBackShown, ReadBackView, ReadBackWait};

/// Rows of each kind that are sealed and at work at once.
pub const ROWS_MAX: usize = 256;
/// Parts that one group of rows may have; where there would be more, a copy of history is the better way.
pub const PIECES_MAX: usize = 100_000;
/// The shortest and the longest time between two looks at the rows.
const LOOK_MIN: Duration = Duration::from_millis(250);
const LOOK_MAX: Duration = Duration::from_secs(15);
/// While there is nothing to do.
const IDLE: Duration = Duration::from_millis(250);
/// Both databases are looked at anew after so long.
const MET_MAX: Duration = Duration::from_secs(60);

/// What reads back for one destination. One thread.
#[derive(Debug)]
pub struct Parts {
    /// The destination.
    pub id: DestinationId,
    /// How fast.
    pub settings: ReadBack,
    /// How long an unanswered request may take effect at the source.
    pub late_max: Duration,
    /// The same at the destination.
    pub late_write_max: Duration,
    /// No wait after a failure is longer (`delivery.retry_max`).
    pub retry_max: Duration,
    /// What all copies to the destination may take: history stands back from it while something is healed.
    pub allowance: Allowance,
    /// Keeps delivery away.
    pub regions: Regions,
    /// What delivery shows.
    pub delivery: SharedView,
    /// Where rows are.
    pub state: SharedState,
    /// The log.
    pub log: Arc<Wal>,
    /// Writes under way that are not in the log.
    pub unlogged: Unlogged,
    /// Time.
    pub clock: SharedClock,
    /// Where spools lie: of this destination alone.
    pub spool_dir: PathBuf,
    /// One part at a time, of all destinations.
    pub turn: Arc<Semaphore>,
    /// Shown.
    pub shown: ReadBackShown,
    /// When a write must end that is under way, monotonic.
    pub write_until: Rc<Cell<Option<Duration>>>,
}

/// At work.
struct Runner<'m, M> {
    parts: Parts,
    meeting: &'m M,
    met: Option<(Rc<Met>, Duration)>,
    book: Book,
    works: Vec<Work>,
    pace: Pace,
    telling: Telling,
    looked: Option<Duration>,
    /// While it is there history begins no chunk.
    first: Option<Healing>,
}

/// Reads back for ever.
pub async fn run<M: Meeting>(parts: Parts, meeting: &M) {
    if !parts.settings.enabled {
        return std::future::pending().await;
    }
    parts.shown.change(|view| view.enabled = true);
    let telling = Telling::new(&parts);
    let (book, works, pace) = (Book::default(), Vec::new(), Pace::default());
    let mut runner = Runner { parts, meeting, met: None, book, works, pace, telling, looked: None, first: None };
    loop {
        runner.look().await;
        let did = runner.turn().await;
        if runner.works.is_empty() {
            runner.first = None;
        }
        runner.show();
        if !did {
            tokio::time::sleep(IDLE).await;
        }
    }
}

impl<M: Meeting> Runner<'_, M> {
    fn now(&self) -> Duration {
        self.parts.clock.monotonic()
    }

    /// Looks at the rows, from time to time.
    async fn look(&mut self) {
        let (now, every) = (self.now(), (self.parts.late_max / 8).clamp(LOOK_MIN, LOOK_MAX));
        if self.looked.is_some_and(|at| now.saturating_sub(at) < every) {
            return;
        }
        self.looked = Some(now);
        // Before: what is sealed by now, its gap was durable by now.
        let rows = match self.parts.state.seal(&self.parts.id, ROWS_MAX).await {
            Ok(rows) => rows,
            Err(error) => return self.stands_still(error.to_string()),
        };
        self.parts.shown.change(|view| view.waits = None);
        let look = Look { now: self.now(), late_max: self.parts.late_max, log_end: self.parts.log.durable() };
        let unlogged = &self.parts.unlogged;
        self.book.look(rows, look, |since| unlogged.all_ended_since(since));
        // With a gap that has grown all that was to be read with it begins anew.
        let grown = self.works.extract_if(.., |work| !self.book.stands(&work.group.rows)).collect::<Vec<_>>();
        grown.iter().for_each(|work| self.book.forget(&work.group.rows));
        let ripe = self.book.take();
        self.works.extend(group::groups(ripe).into_iter().map(Work::new));
        self.telling.due();
    }

    fn stands_still(&self, why: String) {
        self.parts.shown.change(|view| view.waits = Some(why));
    }

    /// Does one thing that is due; whether there was one.
    async fn turn(&mut self) -> bool {
        let now = self.now();
        let due = self.works.iter().position(|work| work.not_before <= now);
        let Some(at) = due else { return false };
        if self.pace.next(&self.parts.settings) > now {
            return false;
        }
        // The next time others come first.
        let mut work = self.works.remove(at);
        self.parts.shown.change(|view| view.now = work.group.name());
        let is_over = self.step(&mut work).await;
        self.parts.shown.change(|view| view.now.clear());
        if !is_over {
            self.works.push(work);
        }
        true
    }

    /// The next step of some rows; whether they are cleared.
    async fn step(&mut self, work: &mut Work) -> bool {
        // Nobody is held up for what is far behind. Where nothing waits delivery comes to the last marks of the log with the hold.
        let (saved, queued) = {
            let view = self.parts.delivery.lock().unwrap_or_else(PoisonError::into_inner);
            (view.saved_lsn, view.queued_lines)
        };
        if saved < work.group.behind.0 && queued > 0 {
            // Its holds may be what delivery waits for.
            self.comes_first(work);
            self.later(work, Cause::Busy, behind_text(work.group.behind, saved));
            return false;
        }
        let mut met = match self.meet().await {
            Ok(met) => met,
            Err(error) => {
                self.away(work, &error);
                return false;
            }
        };
        if work.left.is_none() {
            match self.plan(work, &mut met).await {
                Ok(Planned::Parts) => {}
                Ok(Planned::Cleared(cleared)) => return self.clear(work, cleared).await,
                Err(error) => {
                    self.away(work, &error);
                    return false;
                }
            }
        }
        match work.next() {
            Some(piece) => {
                self.comes_first(work);
                // Before it is held: a window of a provider may be long.
                let Some(query) = met.writer.throttle.healing().await else {
                    work.put_back(vec![piece]);
                    return false;
                };
                let _turn = self.turn_of_all().await;
                let copied = self.parts.copy(&met, &piece, (work.group.behind, query)).await;
                self.pace.note(self.now());
                self.copied(work, piece, copied);
                false
            }
            None => self.settle(work, &met).await,
        }
    }

    /// One part at a time, of all destinations: the budget of memory has room for one. `None`: nobody counts.
    async fn turn_of_all(&self) -> Option<OwnedSemaphorePermit> {
        let turn = &self.parts.turn;
        if let Ok(own) = Arc::clone(turn).try_acquire_owned() {
            return Some(own);
        }
        self.stands_still(OTHERS_TURN.to_owned());
        let own = Arc::clone(turn).acquire_owned().await;
        self.parts.shown.change(|view| view.waits = None);
        // Nobody closes it.
        own.ok()
    }

    fn copied(&mut self, work: &mut Work, piece: copy::Piece, copied: Copied) {
        match copied {
            Copied::All(points) => {
                self.first = None;
                work.went_well(self.now());
                self.parts.shown.change(|view| (view.parts, view.points) = (view.parts + 1, view.points + points));
            }
            Copied::TooMuch(why) => {
                let parts = piece.split();
                tracing::debug!(event = "readback.split", what = piece.name(), "{why}");
                work.put_back(if parts.is_empty() { vec![piece] } else { parts });
                // A smaller part may be as much for a source that hangs: each is held less often than the one before.
                self.later(work, Cause::Fault, why);
            }
            Copied::Busy(why) => {
                work.put_back(vec![piece]);
                self.later(work, Cause::Busy, why);
            }
            // The others of these rows do not wait for it.
            Copied::Later(why) => {
                work.put_last(piece);
                self.later(work, Cause::Fault, why);
            }
            Copied::Away(why) => {
                work.put_back(vec![piece]);
                self.met = None;
                self.all_later(work, &why);
            }
        }
    }

    /// Both databases, as they were not long ago.
    async fn meet(&mut self) -> Result<Rc<Met>> {
        let now = self.now();
        if let Some((met, _)) = self.met.as_ref().filter(|(_, at)| now.saturating_sub(*at) < MET_MAX) {
            return Ok(Rc::clone(met));
        }
        let (until, clock) = (Rc::clone(&self.parts.write_until), SharedClock::clone(&self.parts.clock));
        let stop = Stop::new(move || until.get().is_some_and(|until| clock.monotonic() >= until));
        let met = Rc::new(self.meeting.meet(stop).await?);
        self.met = Some((Rc::clone(&met), now));
        Ok(met)
    }

    /// What there is to copy for some rows.
    async fn plan(&mut self, work: &mut Work, met: &mut Rc<Met>) -> Result<Planned> {
        let mut found = met.find(&work.group.route).await?;
        if !matches!(found, Found::Places(_)) {
            // It may be there only since somebody has looked.
            self.met = None;
            *met = self.meet().await?;
            found = met.find(&work.group.route).await?;
        }
        match found {
            Found::Nothing(cleared) => Ok(Planned::Cleared(cleared)),
            Found::Closed(why) => Err(Error::new(Kind::State, crate::base::Side::Source, why)),
            Found::Places(places) => {
                let early = met.writer.product.capabilities().ack == Ack::Later;
                work.process = if early { victoria::about(&met.writer.server).await?.started_s } else { None };
                work.plan(met, &places).await?;
                Ok(Planned::Parts)
            }
        }
    }

    /// All parts are copied: they are kept, or are copied once more.
    async fn settle(&mut self, work: &mut Work, met: &Met) -> bool {
        if met.writer.product.capabilities().ack == Ack::Later && work.copied_at.is_some() {
            let ripe = work.copied_at.unwrap_or_default() + victoria::ON_DISK_AFTER;
            if ripe > self.now() {
                work.not_before = ripe;
                work.why = Some("what the destination has acknowledged is not on its disk yet".to_owned());
                return false;
            }
            match victoria::about(&met.writer.server).await {
                Ok(about) if about.started_s == work.process => {}
                Ok(_) => {
                    work.left = None;
                    let why = "the destination has begun anew, and may have lost what it had acknowledged";
                    self.later(work, Cause::Away, why.to_owned());
                    return false;
                }
                Err(error) => {
                    self.later(work, Cause::Away, error.to_string());
                    return false;
                }
            }
        }
        self.clear(work, Cleared::Copied).await
    }

    async fn clear(&mut self, work: &mut Work, cleared: Cleared) -> bool {
        match self.parts.state.clear_owed(&self.parts.id, work.group.rows.clone(), cleared).await {
            Ok(gone) => {
                self.book.forget(&work.group.rows);
                self.telling.cleared(&work.group, &gone, cleared);
                true
            }
            Err(error) => {
                self.later(work, Cause::Away, error.to_string());
                false
            }
        }
    }

    /// History stands back from now on.
    fn comes_first(&mut self, work: &Work) {
        // The old one, where there is one, ends before.
        self.first = None;
        self.first = Some(self.parts.allowance.heals(&work.group.name()));
    }

    /// Some rows wait, for this reason.
    fn later(&mut self, work: &mut Work, cause: Cause, why: String) {
        let now = self.now();
        work.fails = work.fails.saturating_add(1);
        if !cause.is_before_history(work.fails) {
            self.first = None;
        }
        work.not_before = now + cause.wait_after(work.fails, self.parts.retry_max);
        tracing::debug!(event = "readback.waits", what = work.group.name(), "{why}");
        self.telling.waits(*work.failing_since.get_or_insert(now), &work.group, &why);
        work.why = Some(why);
    }

    /// What met the source, or could not.
    fn away(&mut self, work: &mut Work, error: &Error) {
        let why = said(error);
        if matches!(error.kind(), Kind::Connect | Kind::Timeout | Kind::Auth) {
            self.met = None;
            return self.all_later(work, &why);
        }
        self.later(work, Cause::Fault, why);
    }

    /// All wait for the same.
    fn all_later(&mut self, work: &mut Work, why: &str) {
        self.later(work, Cause::Away, why.to_owned());
        for other in &mut self.works {
            if other.not_before < work.not_before {
                other.not_before = work.not_before;
                other.why = Some(why.to_owned());
            }
        }
    }

    fn show(&self) {
        let (unripe, rows) = self.book.counts();
        let wait = |work: &Work| {
            let why = work.why.clone()?;
            Some(ReadBackWait { what: work.group.name(), lines: work.group.lines(), why })
        };
        let waiting: Vec<_> = self.works.iter().filter_map(wait).take(WAITS_MAX).collect();
        self.parts.shown.change(|view| {
            (view.unripe, view.rows, view.waiting) = (unripe as u64, rows as u64, waiting);
        });
    }
}

const OTHERS_TURN: &str = "a part of another destination is read back, and memory is set apart for one at a time";

/// An error with what to do next. Whoever reads and writes for jobs says how to go on with one: this goes on by itself.
fn said(error: &Error) -> String {
    match error.next_step().map(|next| next.replace(JOB_GOES_ON, "it goes on by itself")) {
        Some(next) => format!("{error} ({next})"),
        None => error.to_string(),
    }
}

/// A command that is of no use here.
const JOB_GOES_ON: &str = "twinline backfill resume";

fn behind_text(behind: Lsn, saved: u64) -> String {
    format!(
        "delivery has everything up to record {saved} of the log, and must have it up to {behind}: see what waits or stands still"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_sent_to_a_job_that_is_not_there() {
        let error = Error::new(Kind::State, crate::base::Side::Destination, "it takes nothing");
        assert_eq!(said(&error), "it takes nothing");
        let error = error.hint("mend what it says, then: twinline backfill resume");
        assert_eq!(said(&error), "it takes nothing (mend what it says, then: it goes on by itself)");
    }
}
