//! `twinline backfill start`, `resume`, `retry` and `cancel`: a job at work in the process of the command line.

use std::sync::Arc;

use super::job::{self, Around};
use super::pair::{Pair, Scope, products, runtime};
use super::shown::{self, Shown};
use super::{GoArgs, IntoExisting, StartArgs, live, plan, report};
use crate::backfill::executor::{self, Ended};
use crate::backfill::gate::Gate;
use crate::backfill::progress::Progress;
use crate::backfill::throttle::Limits;
use crate::backfill::throttle::rule::{OfSource, disk_text};
use crate::base::clock::SharedClock;
use crate::base::size::ByteSize;
use crate::base::{Error, Kind, Side, SystemClock, disk};
use crate::cli::Global;
use crate::cli::exit::{Exit, Failure};
use crate::cli::queue::stop::Stop;
use crate::cli::talk::Talk;
use crate::config::Config;
use crate::state::{BackfillStore, JobRow, JobState, SqliteState};
use crate::wal;

/// Said before anything is copied.
const OFFLINE: &str = "What --offline cannot promise: while it copies, it does not see what clients write. A write that changes or deletes \
                       points that are copied already stays at the source alone, and points that are new may be missing. Stop the writers, \
                       or have twinline in front of the source before.";
/// Disk that data takes on its way, where nothing else is asked for.
const SPOOL_DEFAULT: &str = "1GiB";
/// The least disk that data may take on its way, bytes.
const SPOOL_MIN: u64 = 16 << 20;

/// Which job goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    /// The one that was stopped.
    Resume,
    /// One that ended, with what it gave up.
    Retry,
}

/// The data directory, ours until this is dropped.
struct Held {
    _lock: wal::LogLock,
    store: Arc<SqliteState>,
}

fn hold(config: &Config) -> Result<Held, Failure> {
    let lock = wal::lock(disk::real().as_ref(), &config.data_dir.join("wal")).map_err(|error| {
        let is_held = error.kind() == Kind::Locked;
        let failure = Failure::from(error);
        match is_held {
            true => {
                failure.hint("a twinline runs, and sees what clients write: without --offline it copies beside them")
            }
            false => failure,
        }
    })?;
    let store = Arc::new(SqliteState::open(&config.data_dir.join("state.db"))?);
    Ok(Held { _lock: lock, store })
}

pub(super) fn begin(global: &Global, config: &Config, args: &StartArgs) -> Result<Exit, Failure> {
    let scope = args.scope.read(args.into_existing == Some(IntoExisting::Merge))?;
    if !args.offline {
        return live::begin(global, config, args);
    }
    let scope = Scope { offline: true, ..scope };
    let held = hold(config)?;
    if let Some(job) = last(&held, config)?.filter(|job| job.state.is_open()) {
        let what = format!("job {} has not ended", job.id);
        return Err(Failure::new(Exit::Refused, what).hint("twinline backfill resume, or twinline backfill cancel"));
    }
    go(global, config, (&held, &args.go), scope, None)
}

pub(super) fn again(global: &Global, config: &Config, args: &GoArgs, again: Again) -> Result<Exit, Failure> {
    let held = hold(config)?;
    let job = last(&held, config)?.filter(|job| match again {
        Again::Resume => job.state.is_open(),
        Again::Retry => job.state != JobState::Cancelled,
    });
    let job = job.ok_or_else(|| {
        let what = match again {
            Again::Resume => "there is no job that was stopped",
            Again::Retry => "there is no job with anything that was given up",
        };
        Failure::new(Exit::Refused, what).hint("twinline backfill status")
    })?;
    if report::is_live(&job) && !args.even_without_twinline {
        let what =
            format!("job {} is copied beside live writes, and no twinline runs that would hold these back", job.id);
        return Err(Failure::new(Exit::Refused, what)
            .hint("twinline run: it goes on by itself; where none stands in front of the source any more: --even-without-twinline"));
    }
    if again == Again::Retry {
        let again = held.store.forget_failed(job.id).wait()?;
        global.talk().say(&again.to_string());
    }
    // Kept by the same program, or an older one.
    let scope: Scope = serde_json::from_str(&job.scope).map_err(|e| {
        Failure::new(Exit::Failed, format!("what job {} is to copy cannot be read: {e}", job.id))
            .hint("the version of twinline that began it, or: twinline backfill cancel")
    })?;
    go(global, config, (&held, args), scope, Some(job))
}

pub(super) fn cancel(global: &Global, config: &Config) -> Result<Exit, Failure> {
    let held = hold(config)?;
    let Some(job) = last(&held, config)?.filter(|job| job.state.is_open()) else {
        return Err(Failure::new(Exit::Refused, "there is no job that is open").hint("twinline backfill status"));
    };
    let now_ns = SystemClock::shared().wall_ns();
    held.store.set_job(job.id, JobState::Cancelled, String::new(), now_ns).wait()?;
    global.talk().say(&format!("job {} is given up; what it has copied stays at the destination", job.id));
    Ok(Exit::Success)
}

fn last(held: &Held, config: &Config) -> Result<Option<JobRow>, Failure> {
    Ok(held.store.last_job(&config.destination().id).wait()?)
}

/// Copies. `job`: one that goes on.
fn go(
    global: &Global,
    config: &Config,
    (held, args): (&Held, &GoArgs),
    scope: Scope,
    job: Option<JobRow>,
) -> Result<Exit, Failure> {
    let (talk, clock) = (global.talk(), SystemClock::shared());
    let spool_max = ByteSize::parse(args.spool_max.as_deref().unwrap_or(SPOOL_DEFAULT))
        .map_err(|why| Failure::new(Exit::Usage, why))?;
    if spool_max.0 < SPOOL_MIN {
        return Err(Failure::new(Exit::Usage, "--spool-max is 16MiB at least"));
    }
    let (products, stop) = (products(config)?, Stop::listen()?);
    let runtime = runtime()?;
    let pair = runtime.block_on(async {
        let pair = Pair::find(config, products, &scope).await?;
        if job.is_none() {
            // Before anything is made at the destination for a copy that would only wait.
            let limits = Limits::open(&config.backfill, &config.data_dir).now();
            room(limits.disk_free_min, disk::real().free_bytes(&config.data_dir).ok())?;
            plan::ready(talk, &pair, config, &scope, &pair.reader(config)?).await?;
        }
        Ok::<_, Failure>(pair)
    })?;
    pair.some()?;
    talk.say(OFFLINE);
    let resumed = job.is_some();
    let row = begun(held, config, &scope, job, &clock)?;
    let progress = Progress::default();
    let done = runtime.block_on(async {
        let asked = stop.clone();
        let around = Around {
            config,
            store: Arc::clone(&held.store) as Arc<dyn BackfillStore>,
            clock: &clock,
            progress: &progress,
            gate: Gate::Offline,
            allowance: job::allowance(config, &clock, &OfSource::default(), None),
            stop: executor::Stop::new(move || asked.asked().is_some()),
            spool_bytes_max: spool_max.0,
        };
        let parts = job::parts(around, &pair, (&scope, &row, resumed)).await?;
        if args.count {
            job::count(&parts).await;
        }
        tokio::select! {
            done = executor::run(parts) => done.map_err(Failure::from),
            () = shown::always(talk, &progress, &clock) => Ok(Ended::Stopped),
            () = job::noted(Arc::clone(&held.store) as Arc<dyn BackfillStore>, row.id, &progress, &clock) => Ok(Ended::Stopped),
        }
    });
    shown::tell(talk, &progress);
    Shown::clear(talk);
    finish(talk, config, (held, &row), done, stop.asked(), &clock)
}

/// Refuses to begin with less disk than copies wait for. `free_bytes`: at data_dir, where that is known.
fn room(min: ByteSize, free_bytes: Option<u64>) -> Result<(), Failure> {
    match free_bytes {
        Some(free) if free < min.0 => {
            Err(Failure::new(Exit::Refused, disk_text(ByteSize(free), min)).hint("twinline backfill limit"))
        }
        _ => Ok(()),
    }
}

/// The row of the job: a new one, or the one that goes on.
fn begun(
    held: &Held,
    config: &Config,
    scope: &Scope,
    job: Option<JobRow>,
    clock: &SharedClock,
) -> Result<JobRow, Failure> {
    match job {
        Some(job) => held.store.set_job(job.id, JobState::Running, String::new(), clock.wall_ns()).wait()?,
        None => {
            let text = serde_json::to_string(scope).map_err(|e| Failure::new(Exit::Failed, e.to_string()))?;
            held.store.begin_job(&config.destination().id, text, job::new_key(), clock.wall_ns()).wait()?;
        }
    }
    let gone = || Error::new(Kind::State, Side::Own, "the job is not in the state store");
    Ok(last(held, config)?.ok_or_else(gone)?)
}

/// Notes how it ended, and says so.
fn finish(
    talk: Talk,
    config: &Config,
    (held, job): (&Held, &JobRow),
    done: Result<Ended, Failure>,
    asked: Option<Exit>,
    clock: &SharedClock,
) -> Result<Exit, Failure> {
    let set = |state, note: &str| held.store.set_job(job.id, state, note.to_owned(), clock.wall_ns()).wait();
    let sums = held.store.job_sums(job.id).wait()?;
    let exit = match &done {
        Ok(Ended::All) => {
            let state = job::ended(&sums);
            set(state, "")?;
            if state == JobState::Done { Exit::Success } else { Exit::Partly }
        }
        Ok(Ended::Stopped) => {
            set(JobState::Stopped, "")?;
            asked.unwrap_or(Exit::Interrupted)
        }
        Err(failure) => {
            set(JobState::Stopped, &failure.what)?;
            failure.exit
        }
    };
    let row = last(held, config)?.unwrap_or_else(|| job.clone());
    if talk.json() {
        talk.document(&report::document(&row, &sums, (false, None)))?;
    } else {
        talk.data(&report::text(talk, &row, &sums, (false, None)))?;
    }
    done?;
    if let Some(next) = report::next(&row, false) {
        talk.next(next);
    }
    Ok(exit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_that_would_only_wait_for_disk_is_not_begun() {
        let min = ByteSize(1 << 30);
        assert!(room(min, Some(1 << 30)).is_ok() && room(min, None).is_ok() && room(ByteSize(0), Some(0)).is_ok());
        let failure = room(min, Some((1 << 30) - 1)).unwrap_err();
        assert_eq!(failure.exit, Exit::Refused);
        assert!(failure.what.contains("twinline backfill limit disk_free_min="), "{failure:?}");
    }
}
