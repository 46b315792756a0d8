//! `twinline backfill start`, `resume`, `retry` and `cancel`: a job at work in the process of the command line.

use std::io::IsTerminal as _;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::pair::{Pair, Scope, products, runtime};
use super::{GoArgs, IntoExisting, StartArgs, plan, report};
use crate::backfill::executor::{self, Ended, Parts};
use crate::backfill::gate::Offline;
use crate::backfill::progress::{Progress, View};
use crate::backfill::write::Writer;
use crate::base::clock::SharedClock;
use crate::base::size::ByteSize;
use crate::base::{Error, Kind, Side, SystemClock, disk};
use crate::cell::SumKey;
use crate::cli::Global;
use crate::cli::exit::{Exit, Failure};
use crate::cli::queue::stop::Stop;
use crate::cli::run::writing;
use crate::cli::talk::Talk;
use crate::config::Config;
use crate::db::product::Product;
use crate::db::server::{Flavor, Server};
use crate::db::victoria;
use crate::line::Dialect;
use crate::state::{BackfillStore, JobRow, JobState, SqliteState};
use crate::wal;

/// Said before anything is copied.
const OFFLINE: &str = "What --offline cannot promise: while it copies, it does not see what clients write. A write that changes or deletes \
                       points that are copied already stays at the source alone, and points that are new may be missing. Stop the writers, \
                       or have twinline in front of the source before.";
/// The least disk that data may take on its way, bytes.
const SPOOL_MIN: u64 = 16 << 20;
/// How often progress is shown to a terminal, and to anything else.
const SHOW_EVERY: Duration = Duration::from_millis(500);
const TELL_EVERY: Duration = Duration::from_secs(30);

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
            true => failure.hint(
                "a copy beside a running twinline is not there yet: stop the writers, then twinline, then copy with --offline",
            ),
            false => failure,
        }
    })?;
    let store = Arc::new(SqliteState::open(&config.data_dir.join("state.db"))?);
    Ok(Held { _lock: lock, store })
}

pub(super) fn begin(global: &Global, config: &Config, args: &StartArgs) -> Result<Exit, Failure> {
    let scope = args.scope.read(args.into_existing == Some(IntoExisting::Merge))?;
    if !args.offline {
        let what = "a copy beside a running twinline is not there yet";
        return Err(Failure::new(Exit::Refused, what)
            .hint("where no twinline stands in front of the source: twinline backfill start --offline"));
    }
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
    if again == Again::Retry {
        let count = held.store.forget_failed(job.id).wait()?;
        global.talk().say(&format!("{count} chunks that were given up are tried again"));
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
    let spool_max = ByteSize::parse(&args.spool_max).map_err(|why| Failure::new(Exit::Usage, why))?;
    if spool_max.0 < SPOOL_MIN {
        return Err(Failure::new(Exit::Usage, "--spool-max is 16MiB at least"));
    }
    let (products, stop) = (products(config)?, Stop::listen()?);
    let runtime = runtime()?;
    let pair = runtime.block_on(async {
        let pair = Pair::find(config, products, &scope).await?;
        if job.is_none() {
            plan::refuse(&pair, config, &scope, &pair.reader(config)?).await?;
        }
        Ok::<_, Failure>(pair)
    })?;
    if pair.places.is_empty() {
        let what = "there is nothing to copy: no place of the source is chosen and mapped";
        return Err(Failure::new(Exit::Refused, what).hint("twinline backfill plan"));
    }
    talk.say(OFFLINE);
    let resumed = job.is_some();
    let job = begun(held, config, &scope, job, &clock)?;
    let progress = Progress::default();
    let done = runtime.block_on(async {
        let parts = parts(config, &pair, (&scope, &job, resumed), (held, &clock), (&progress, &stop)).await?;
        let parts = Parts { spool_bytes_max: spool_max.0, ..parts };
        tokio::select! {
            done = executor::run(parts) => done.map_err(Failure::from),
            () = show(talk, &progress, &clock) => Ok(Ended::Stopped),
        }
    });
    if has_screen(talk) {
        eprint!("\r\x1b[K");
    }
    finish(talk, config, (held, &job), done, stop.asked(), &clock)
}

/// Whether progress goes to a terminal.
fn has_screen(talk: Talk) -> bool {
    std::io::stderr().is_terminal() && !talk.quiet && !talk.json()
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
            let key = std::array::from_fn(|_| fastrand::u8(..));
            held.store.begin_job(&config.destination().id, text, key, clock.wall_ns()).wait()?;
        }
    }
    let gone = || Error::new(Kind::State, Side::Own, "the job is not in the state store");
    Ok(last(held, config)?.ok_or_else(gone)?)
}

async fn parts(
    config: &Config,
    pair: &Pair,
    (scope, job, resumed): (&Scope, &JobRow, bool),
    (held, clock): (&Held, &SharedClock),
    (progress, stop): (&Progress, &Stop),
) -> Result<Parts, Failure> {
    let server = Server::new(&config.destination().server, Side::Destination)?;
    let product = pair.destination.0;
    let keeps = match product {
        Product::Victoria => victoria::about(&server).await?.keeps,
        _ => victoria::Keeps::default(),
    };
    let dialect = match pair.flavor {
        Flavor::Influx1 => Dialect::Influx1,
        Flavor::Influx2 => Dialect::Influx2,
    };
    let stop = stop.clone();
    let writer = Writer {
        server,
        product,
        writing: writing(config, product, keeps),
        kind: pair.kind.clone(),
        dialect,
        clock: Arc::clone(clock),
        progress: progress.clone(),
        stop: executor::Stop::new(move || stop.asked().is_some()),
    };
    let half = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| job.key[at + byte]));
    Ok(Parts {
        reader: pair.reader(config)?,
        writer: Rc::new(writer),
        gate: Rc::new(Offline),
        store: Arc::clone(&held.store) as Arc<dyn BackfillStore>,
        clock: Arc::clone(clock),
        job: job.id,
        resumed,
        key: SumKey([half(0), half(8)]),
        places: pair.places.clone(),
        within: scope.window(),
        spool_dir: config.data_dir.join("backfill"),
        spool_bytes_max: 0,
        late_max: config.destination().delivery.late_write_max,
        progress: progress.clone(),
    })
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
        Ok(Ended::All) if sums.failed.is_empty() && sums.letters.is_empty() => {
            set(JobState::Done, "")?;
            Exit::Success
        }
        Ok(Ended::All) => {
            set(JobState::Partial, "")?;
            Exit::Partly
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
        talk.document(&report::document(&row, &sums, false))?;
    } else {
        talk.data(&report::text(talk, &row, &sums, false))?;
    }
    done?;
    if let Some(next) = report::next(&row, false) {
        talk.next(next);
    }
    Ok(exit)
}

/// Shows how far it is, for ever.
async fn show(talk: Talk, progress: &Progress, clock: &SharedClock) {
    let began = clock.monotonic();
    let screen = has_screen(talk);
    let every = if screen { SHOW_EVERY } else { TELL_EVERY };
    loop {
        tokio::time::sleep(every).await;
        let line = line(&progress.view(), clock.monotonic().saturating_sub(began));
        if screen {
            eprint!("\r\x1b[K{line}");
        } else if !talk.json() {
            talk.say(&line);
        }
    }
}

/// One line of progress.
fn line(view: &View, since: Duration) -> String {
    let seconds = since.as_secs_f64().max(0.001);
    let (done, all) = view.units;
    let rate = view.points as f64 / seconds;
    let left = match done {
        // Before that it would be a guess.
        done if done * 10 >= all && done > 0 && done < all => {
            let left = seconds / done as f64 * (all - done) as f64;
            format!(", {} left", crate::base::size::show_span(Duration::from_secs(left as u64 + 1)))
        }
        _ => String::new(),
    };
    let more = [(view.refused, "lines refused"), (view.failed, "chunks given up"), (view.settling, "chunks settling")];
    let more: String =
        more.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!(", {count} {what}")).collect();
    let waits = view.waits.as_ref().map_or_else(String::new, |why| format!(" - waits: {why}"));
    format!("{} points, {rate:.0}/s, {done} of {all} parts{left}{more}: {}{waits}", view.points, view.now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_tells_the_rate_and_what_it_waits_for() {
        let view = View {
            points: 1000,
            units: (2, 4),
            refused: 1,
            now: "d m".to_owned(),
            waits: Some("no room".to_owned()),
            ..View::default()
        };
        let text = line(&view, Duration::from_secs(10));
        assert_eq!(text, "1000 points, 100/s, 2 of 4 parts, 11.0 s left, 1 lines refused: d m - waits: no room");
        assert!(!line(&View { units: (1, 40), ..view }, Duration::from_secs(10)).contains("left"), "too early to say");
    }
}
