//! Whoever copies history inside a running twinline: one task for each destination, on a thread of their own.
//!
//! Promises: a job that was running when the process ended goes on at the next start, not before requests of that process can take effect
//! no more; what stands in its way is shown, and tried again by itself; only an operator, or its end, ends it. The end of the process
//! ends it at once: delivery ends before, so no region is let go of early.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::readback::ReadBacker;
use super::threads::{self, Running};
use super::watched::Watched;
use crate::backfill::desk::{Asked, Desk, Done, Order};
use crate::backfill::executor::{self, Ended};
use crate::backfill::gate::Gate;
use crate::backfill::progress::View;
use crate::backfill::throttle::Allowance;
use crate::backfill::throttle::rule::OfSource;
use crate::base::bounds::COPY_SPOOL_BYTES;
use crate::base::clock::SharedClock;
use crate::base::recent::Recent;
use crate::base::{DestinationId, Error, Kind, Result, Side};
use crate::cli::backfill::job::{self, Around};
use crate::cli::backfill::pair::{Pair, Scope, products};
use crate::cli::exit::{Exit, Failure};
use crate::config::Config;
use crate::delivery::{Regions, SharedView};
use crate::state::{BackfillStore, Event, EventKind, JobRow, JobState, SharedState};

/// Before a job that met an error is tried again: the first wait, and the longest; none is longer than the destination's `retry_max`.
const AGAIN: Duration = Duration::from_secs(5);
const AGAIN_MAX: Duration = Duration::from_secs(300);
/// Before the state store is asked again that did not answer.
const STORE_AGAIN: Duration = Duration::from_secs(5);

/// Who copies to one destination.
#[derive(Clone)]
pub(super) struct Copier {
    pub(super) config: Config,
    pub(super) desk: Desk,
    pub(super) regions: Regions,
    /// What delivery shows.
    pub(super) view: SharedView,
    /// Clients' writes at the source.
    pub(super) source: Recent,
    pub(super) state: SharedState,
    pub(super) clock: SharedClock,
}

/// Starts all of them: of each destination one that copies, and one that reads back.
pub(super) fn start(
    copiers: Vec<Copier>,
    readers: Vec<ReadBacker>,
    stop: watch::Receiver<bool>,
    watched: Watched,
) -> Result<Running> {
    let desks: Vec<Desk> = copiers.iter().map(|one| one.desk.clone()).collect();
    let work = async move || {
        let mut all = JoinSet::new();
        let (turn, source) = (Arc::new(Semaphore::new(1)), OfSource::default());
        for (one, reader) in copiers.into_iter().zip(readers) {
            // Whatever becomes of an attempt, or of one of the two: what they have taken stays taken.
            let beside = Some((Arc::clone(&one.view), one.source.clone()));
            let allowance = job::allowance(&one.config, &one.clock, &source, beside);
            let own = allowance.clone();
            all.spawn_local(watched.clone().again("copying history", move || one.clone().work(own.clone())));
            let turn = Arc::clone(&turn);
            let work = move || reader.clone().work(Arc::clone(&turn), allowance.clone());
            all.spawn_local(watched.clone().again("reading doubt and gaps back", work));
        }
        let mut stop = stop;
        // Its sender ends with the process alone.
        let _ = stop.wait_for(|stop| *stop).await;
        desks.iter().for_each(Desk::end);
        Ok(())
    };
    threads::event_loop("backfill", work, |error| {
        tracing::error!(%error, event = "backfill.failed", "nothing is copied any more");
        std::future::ready(())
    })
}

/// Whether an order ends the job that works.
#[derive(Clone, Default)]
struct Ending(Rc<Cell<bool>>);

impl Copier {
    async fn work(self, allowance: Allowance) {
        // What a process before us has sent may take effect until then.
        let from = self.clock.monotonic() + self.config.destination().delivery.late_write_max;
        loop {
            let job = match self.state.last_job(self.id()).await {
                Ok(job) => job.filter(|job| job.state == JobState::Running),
                Err(error) => {
                    tracing::warn!(%error, event = "backfill.store", "the jobs cannot be read, which is tried again");
                    tokio::time::sleep(STORE_AGAIN).await;
                    continue;
                }
            };
            match job {
                Some(job) => self.copy(job, from, &allowance).await,
                None => {
                    let asked = self.desk.next().await;
                    let done = self.carry_out(&asked.order).await;
                    asked.answer(done);
                }
            }
        }
    }

    fn id(&self) -> &DestinationId {
        &self.config.destination().id
    }

    /// An order while no job works.
    async fn carry_out(&self, order: &Order) -> Result<Done> {
        let last = self.state.last_job(self.id()).await?;
        let open = last.clone().filter(|job| job.state.is_open());
        match (order, open) {
            (Order::Start { .. }, Some(job)) => Err(refused(format!("job {} has not ended", job.id))
                .hint("twinline backfill resume, or twinline backfill cancel")),
            (Order::Start { scope }, None) => self.begin(scope).await,
            (Order::Resume, Some(job)) => self.set(&job, JobState::Running, "goes on").await,
            (Order::Cancel, Some(job)) => self.set(&job, JobState::Cancelled, CANCELLED).await,
            (Order::Retry, _) => match last.filter(|job| job.state != JobState::Cancelled) {
                Some(job) => {
                    let again = self.state.forget_failed(job.id).await?;
                    self.set(&job, JobState::Running, &format!("goes on: {again}")).await
                }
                None => Err(nothing("there is no job with anything that was given up")),
            },
            (Order::Pause, Some(job)) => Err(nothing(&format!("job {} is paused already", job.id))),
            (Order::Pause | Order::Resume | Order::Cancel, None) => Err(nothing("there is no job that is open")),
        }
    }

    async fn begin(&self, scope: &str) -> Result<Done> {
        let read = serde_json::from_str::<Scope>(scope);
        read.map_err(|e| Error::new(Kind::Input, Side::Own, "what is to be copied cannot be read").because(e))?;
        let (key, now_ns) = (job::new_key(), self.clock.wall_ns());
        let id = self.state.begin_job(self.id(), scope.to_owned(), key, now_ns).await?;
        let id = id.ok_or_else(|| refused("another job has begun meanwhile".to_owned()))?;
        self.tell(EventKind::BackfillStarted, format!("job {id} copies history to destination {}", self.id()));
        Ok(Done { job: id, text: format!("job {id} has begun") })
    }

    async fn set(&self, job: &JobRow, state: JobState, text: &str) -> Result<Done> {
        let (id, text) = (job.id, format!("job {} {text}", job.id));
        self.state.set_job(id, state, String::new(), self.clock.wall_ns()).await?;
        match state {
            JobState::Running => self.tell(EventKind::BackfillStarted, text.clone()),
            JobState::Stopped => {}
            _ => self.tell(EventKind::BackfillEnded, text.clone()),
        }
        Ok(Done { job: id, text })
    }

    fn tell(&self, kind: EventKind, text: String) {
        tracing::info!(event = ?kind, "{text}");
        // The log has it in any case.
        drop(self.state.add_event(Event { at_ns: self.clock.wall_ns(), kind, text }));
    }

    /// A job, until it has come to its end or an operator wants that.
    async fn copy(&self, row: JobRow, from: Duration, allowance: &Allowance) {
        self.desk.progress().change(|view| *view = View::default());
        let ending = Ending::default();
        let mut last: Option<Asked> = None;
        let done = {
            let mut through = std::pin::pin!(self.through(&row, (from, allowance), &ending));
            loop {
                tokio::select! {
                    done = &mut through => break done,
                    asked = self.desk.next(), if last.is_none() => match asked.order {
                        Order::Pause | Order::Cancel => {
                            ending.0.set(true);
                            last = Some(asked);
                        }
                        Order::Start { .. } | Order::Resume | Order::Retry => {
                            let text = format!("job {} is at work", row.id);
                            asked.answer(Err(refused(text).hint("twinline backfill status --watch")));
                        }
                    },
                }
            }
        };
        let ended = match (done, &last) {
            (Ended::All, _) => self.finish(&row).await,
            (Ended::Stopped, Some(Asked { order: Order::Cancel, .. })) => {
                self.set(&row, JobState::Cancelled, CANCELLED).await
            }
            (Ended::Stopped, _) => self.set(&row, JobState::Stopped, "is paused").await,
        };
        // Nobody copies and nobody waits any more, whatever was dropped on the way.
        self.desk.progress().change(|view| {
            view.now.clear();
            view.throttled = None;
        });
        if let Err(error) = &ended {
            tracing::error!(%error, event = "backfill.store", "how job {} ended could not be noted", row.id);
            tokio::time::sleep(STORE_AGAIN).await;
        }
        if let Some(asked) = last {
            asked.answer(ended);
        }
    }

    async fn finish(&self, row: &JobRow) -> Result<Done> {
        let sums = self.state.job_sums(row.id).await?;
        let state = job::ended(&sums);
        let text = match state {
            JobState::Done => format!("has copied all: {} points", sums.points),
            _ => format!(
                "has copied {} points; {} chunks were given up, {} lines refused: twinline backfill status",
                sums.points,
                sums.failed.len(),
                sums.letters.iter().map(|(_, lines)| lines).sum::<u64>()
            ),
        };
        self.set(row, state, &text).await
    }

    /// All of a job; what stands in its way is tried again.
    async fn through(&self, row: &JobRow, (mut from, allowance): (Duration, &Allowance), ending: &Ending) -> Ended {
        // What the process before waited for may be over.
        drop(self.state.set_job(row.id, JobState::Running, String::new(), self.clock.wall_ns()));
        let stop = {
            let ending = ending.clone();
            executor::Stop::new(move || ending.0.get())
        };
        let most = self.config.destination().delivery.retry_max.min(AGAIN_MAX);
        let first = AGAIN.min(most);
        let mut wait = first;
        loop {
            let left = from.saturating_sub(self.clock.monotonic());
            if !left.is_zero() {
                let why = "requests of an attempt before may still take effect for some time".to_owned();
                if self.waits(why, left, &stop).await {
                    return Ended::Stopped;
                }
            }
            let before = self.desk.progress().view().chunks;
            let failure = match self.attempt(row, stop.clone(), allowance).await {
                Ok(ended) => return ended,
                Err(failure) => failure,
            };
            from = self.clock.monotonic() + self.config.destination().delivery.late_write_max;
            if self.desk.progress().view().chunks > before {
                wait = first;
            }
            let why = failure.hint.map_or_else(|| failure.what.clone(), |hint| format!("{} ({hint})", failure.what));
            tracing::warn!(event = "backfill.waits", "job {}: {why}", row.id);
            // For whoever looks at the file; the status has it in any case.
            drop(self.state.set_job(row.id, JobState::Running, why.clone(), self.clock.wall_ns()));
            if self.waits(why, wait, &stop).await {
                return Ended::Stopped;
            }
            drop(self.state.set_job(row.id, JobState::Running, String::new(), self.clock.wall_ns()));
            wait = (wait * 2).min(most);
        }
    }

    async fn waits(&self, why: String, how_long: Duration, stop: &executor::Stop) -> bool {
        let _waiting = self.desk.progress().waiting(why);
        stop.wait(how_long).await
    }

    async fn attempt(&self, row: &JobRow, stop: executor::Stop, allowance: &Allowance) -> Result<Ended, Failure> {
        let scope: Scope = serde_json::from_str(&row.scope).map_err(|e| {
            Failure::new(Exit::Failed, format!("what job {} is to copy cannot be read: {e}", row.id))
                .hint("the version of twinline that began it, or: twinline backfill cancel")
        })?;
        let config = self.config.clone();
        // It has an event loop of its own.
        let both = tokio::task::spawn_blocking(move || products(&config)).await;
        let both =
            both.map_err(|died| Failure::new(Exit::Failed, format!("asking the databases has failed: {died}")))??;
        let pair = Pair::find(&self.config, both, &scope).await?;
        let around = Around {
            config: &self.config,
            store: Arc::clone(&self.state) as Arc<dyn BackfillStore>,
            clock: &self.clock,
            progress: self.desk.progress(),
            gate: Gate::Live(self.regions.clone()),
            allowance: allowance.clone(),
            stop,
            spool_bytes_max: COPY_SPOOL_BYTES,
        };
        let parts = job::parts(around, &pair, (&scope, row, true)).await?;
        Ok(executor::run(parts).await?)
    }
}

const CANCELLED: &str = "is given up; what it has copied stays at the destination";

fn refused(what: String) -> Error {
    Error::new(Kind::State, Side::Own, what)
}

fn nothing(what: &str) -> Error {
    refused(what.to_owned()).hint("twinline backfill status")
}
