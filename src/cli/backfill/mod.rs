//! `twinline backfill`: copies what the destination lacks from the source.
//!
//! Promise: nothing is written before what stands against it is named; a job that was stopped or killed goes on where it was; what could
//! not be copied is listed, and the exit code says so.

mod create;
mod gap;
pub(in crate::cli) mod job;
mod limit;
mod live;
pub(in crate::cli) mod met;
pub(in crate::cli) mod pair;
mod plan;
mod report;
mod shown;
mod start;
mod status;

use clap::{Args, Subcommand};

use super::Global;
use super::exit::{Exit, Failure};
use crate::backfill::desk::Order;
use pair::ScopeArgs;

/// Options of `backfill`.
#[derive(Clone, Debug, Args)]
pub(super) struct BackfillArgs {
    /// Of this destination, where several are configured
    #[arg(long, value_name = "ID", global = true)]
    destination: Option<String>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Clone, Debug, Subcommand)]
enum Verb {
    /// Say what would be copied, in which order, and what stands against it; changes nothing
    ///
    /// Asks both databases: places, measurements, fields whose type differs from shard to shard, shard groups, cells by the source's own
    /// count, what the destination lacks, holds already, or cannot hold. Exit code 0, or 4 when something stands against it.
    Plan(PlanArgs),
    /// Copy
    ///
    /// The newest shard group first, then older ones. The running twinline does it, beside live writes: what clients write of a window
    /// while it is copied waits for it, so no old value comes over a newer one. `status` shows how far it is. With --offline this command
    /// does it: Ctrl-C ends it cleanly, and `resume` goes on. Exit code 0 when it has begun, or when all is copied (--wait, --offline), 5
    /// when some of it could not be (it is listed), 4 when something stands against it.
    Start(StartArgs),
    /// Copy what came to the source after the backup that the destination was restored from
    ///
    /// A copy by the points' own times, from some time before the backup on. It says first what such times cannot know. Exit codes as
    /// with `start`.
    Gap(gap::GapArgs),
    /// Show how the last job stands
    ///
    /// Also beside one that works. Exit code 3 when there is no job.
    Status(StatusArgs),
    /// End the job for now; `resume` goes on with it
    Pause,
    /// Go on with the job that was stopped
    Resume(GoArgs),
    /// Try once more what was given up, and what the destination refused
    ///
    /// All of the window that a refused line is of is copied again; what is refused again is listed again.
    Retry(GoArgs),
    /// Give the job up; what was copied stays at the destination
    Cancel,
    /// List the lines that the destination refused
    Refused,
    /// Show what copies may take, or change it while they work
    ///
    /// Without KEY=VALUE it shows all limits, with what each is for; they begin as `[backfill]` of the configuration says. A change holds
    /// within a second, for jobs to come too; KEY=default takes it back. `paused=true` lets nothing new begin.
    Limit(LimitArgs),
}

/// Options of `backfill plan`.
#[derive(Clone, Debug, Args)]
struct PlanArgs {
    #[command(flatten)]
    scope: ScopeArgs,
    /// Do not have the source count its cells
    #[arg(long)]
    no_count: bool,
}

/// Options of `backfill start`.
#[derive(Clone, Debug, Args)]
struct StartArgs {
    #[command(flatten)]
    scope: ScopeArgs,
    #[command(flatten)]
    go: GoArgs,
    /// Where no twinline stands in front of the source
    #[arg(long)]
    offline: bool,
    /// Wait for its end, and show how far it is
    #[arg(long, conflicts_with = "offline")]
    wait: bool,
    /// What to do with a destination that holds data already: merge overwrites points of the same series and time
    #[arg(long, value_name = "HOW", value_enum)]
    into_existing: Option<IntoExisting>,
    /// Say what would be done
    #[arg(long)]
    dry_run: bool,
}

/// What becomes of data that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum IntoExisting {
    /// The source's values stand over those of the same series and time; others stay
    Merge,
}

/// Options of all that copies.
#[derive(Clone, Debug, Args)]
struct GoArgs {
    /// Disk that data takes on its way, in data_dir [default: 1GiB]; where this command copies, and no running twinline
    #[arg(long, value_name = "SIZE")]
    spool_max: Option<String>,
    /// Also a job that was begun beside live writes, where no twinline stands in front of the source any more
    #[arg(long)]
    even_without_twinline: bool,
    /// Have the source count all cells first: then it is known how far the job is however uneven the data, for one more look through it;
    /// where this command copies, and no running twinline
    #[arg(long)]
    count: bool,
}

impl GoArgs {
    /// A running twinline copies by its own configuration: what it would pass over is refused.
    fn beside_twinline(&self) -> Result<(), Failure> {
        let (option, hint) = match self {
            Self { spool_max: Some(_), .. } => (
                "--spool-max",
                "without it: the running twinline has set disk apart for its copies, which twinline check shows",
            ),
            Self { count: true, .. } => (
                "--count",
                "without it: how far the job is shows itself by what was copied; twinline backfill plan counts cells",
            ),
            Self { even_without_twinline: true, .. } => ("--even-without-twinline", "without it: a twinline runs"),
            _ => return Ok(()),
        };
        let what = format!("{option} is for copies by this command alone, and here the running twinline copies");
        Err(Failure::new(Exit::Usage, what).hint(hint))
    }
}

/// Options of `backfill limit`.
#[derive(Clone, Debug, Args)]
struct LimitArgs {
    /// As rows_per_s=5000, bytes_per_s=2MiB, schedule="Mon-Fri 20:00-06:00", or rows_per_s=default
    #[arg(value_name = "KEY=VALUE")]
    changes: Vec<String>,
}

/// Options of `backfill status`.
#[derive(Clone, Debug, Args)]
struct StatusArgs {
    /// Show it again every second, until Ctrl-C
    #[arg(long)]
    watch: bool,
}

pub(super) fn run(global: &Global, args: &BackfillArgs) -> Result<Exit, Failure> {
    let config = global.load()?.config;
    let one = config.one(args.destination.as_deref());
    let config = match &args.verb {
        // Limits are those of all destinations.
        Verb::Limit(_) => config,
        _ => one.map_err(|what| Failure::new(Exit::Usage, what).hint("name one: --destination ID"))?,
    };
    match &args.verb {
        // As `start` has it: beside live writes there is something already.
        Verb::Plan(args) => plan::run(global, &config, &args.scope, (!args.no_count, live::runs(&config))),
        Verb::Start(args) if args.dry_run => {
            // Beside live writes there is something already.
            let merge = args.into_existing.is_some() || !args.offline;
            plan::run(global, &config, &args.scope, (false, merge))
        }
        Verb::Gap(args) => gap::run(global, &config, args),
        Verb::Start(args) => start::begin(global, &config, args),
        Verb::Pause => live::order(global, &config, &Order::Pause),
        Verb::Resume(args) if live::runs(&config) => {
            args.beside_twinline().and_then(|()| live::order(global, &config, &Order::Resume))
        }
        Verb::Retry(args) if live::runs(&config) => {
            args.beside_twinline().and_then(|()| live::order(global, &config, &Order::Retry))
        }
        Verb::Cancel if live::runs(&config) => live::order(global, &config, &Order::Cancel),
        Verb::Resume(args) => start::again(global, &config, args, start::Again::Resume),
        Verb::Retry(args) => start::again(global, &config, args, start::Again::Retry),
        Verb::Cancel => start::cancel(global, &config),
        Verb::Status(args) => status::run(global, &config, args.watch),
        Verb::Refused => status::refused(global, &config),
        Verb::Limit(args) => limit::run(global, &config, &args.changes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_running_twinline_would_pass_over_is_refused_by_name() {
        let none = GoArgs { spool_max: None, even_without_twinline: false, count: false };
        assert!(none.beside_twinline().is_ok());
        for (args, option) in [
            (GoArgs { spool_max: Some("2GiB".to_owned()), ..none.clone() }, "--spool-max"),
            (GoArgs { count: true, ..none.clone() }, "--count"),
            (GoArgs { even_without_twinline: true, ..none.clone() }, "--even-without-twinline"),
        ] {
            let failure = args.beside_twinline().unwrap_err();
            assert_eq!(failure.exit, Exit::Usage);
            assert!(failure.what.starts_with(option) && failure.hint.is_some(), "{failure:?}");
        }
    }
}
