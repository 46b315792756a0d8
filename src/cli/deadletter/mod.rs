//! `twinline deadletter`: the lines that the destination refused for good, beside a running twinline and of a stopped one.
//!
//! Promise: looking changes nothing. Letters go only by `purge --execute` and `replay --execute`, one by one and by name; the second
//! lets go of a letter only when the destination has acknowledged what the source holds now. Memory is bounded however many
//! letters there are: they are read page by page.

mod letter;
mod ls;
mod marked;
mod purge;
pub(in crate::cli) mod replay;
mod rows;
mod show;
mod stats;
mod store;
mod write;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Global;
use super::exit::{Exit, Failure};
use super::queue::place::Place;
use store::Store;

/// Options of `deadletter`.
#[derive(Clone, Debug, Args)]
pub(super) struct DeadLetterArgs {
    /// Look at this data directory, without a configuration file [default: data_dir of the configuration]
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The destination that refused them, where there are several
    #[arg(long, global = true, value_name = "ID")]
    destination: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// List them by reason and measurement, each with an example and a mark below the byte that is at fault
    ///
    /// The mark stands where it is known: where the destination's dialect breaks, or at what its answer names. With
    /// --letters one row for each.
    Ls(ls::LsArgs),
    /// Show one, whole, with what the destination said
    Show(show::ShowArgs),
    /// Sums by reason and route, and what became of those that are gone
    Stats(stats::StatsArgs),
    /// Write them to a file as line protocol, each below a comment with its route, reason and number
    ///
    /// The file holds clients' data, for its owner alone. It is there under its name only when it is whole.
    Export(write::ExportArgs),
    /// Repair their cells: write what the source holds there now to the destination; says what it would do, and does it with --execute
    ///
    /// For when the reason is mended: a measurement of another type was dropped at the destination, a rule changed. Of
    /// each letter the source is asked for series, time and fields; where it has none of them any more, the letter is obsolete
    /// and goes without a write. A letter goes only when the destination has acknowledged and the source still holds
    /// what was written. Stopped at any moment, the same command does the rest. --raw sends the refused lines as they stand instead,
    /// for one reason that is named: they may overwrite newer values. Needs a running twinline, and the rights to read
    /// the source. Exit code 5 when some stay.
    Replay(replay::ReplayArgs),
    /// Give them up for good; says what would go, and does it with --execute
    ///
    /// What is purged is at no other place any more: `export` it before. Makes room in the store (queue.dead_letter_max), so
    /// that a delivery that stands still for it goes on. Needs a running twinline. Exit code 130 when it was
    /// interrupted: what was removed until then is gone.
    Purge(purge::PurgeArgs),
}

/// Which letters.
#[derive(Clone, Debug, Default, Args)]
struct FilterArgs {
    /// Only those with this reason: type-conflict, parse, bad-name, …
    #[arg(long, value_name = "REASON")]
    reason: Option<String>,
    /// Only those of this route: d, d/rp or org:bucket
    #[arg(long, value_name = "ROUTE")]
    route: Option<String>,
    /// Only those of this measurement
    #[arg(long, value_name = "NAME")]
    measurement: Option<String>,
}

impl FilterArgs {
    /// As options of a command that we propose.
    fn words(&self) -> String {
        let one = |name: &str, value: &Option<String>| {
            value.as_ref().map_or(String::new(), |value| format!(" --{name} {}", super::queue::place::quoted(value)))
        };
        one("reason", &self.reason) + &one("route", &self.route) + &one("measurement", &self.measurement)
    }
}

pub(super) fn run(global: &Global, args: &DeadLetterArgs) -> Result<Exit, Failure> {
    let place = Place::find(global, args.data_dir.as_deref(), args.destination.as_deref())?.of_one()?;
    match &args.command {
        Command::Ls(args) => ls::run(global, &Store::open(&place)?, args),
        Command::Show(args) => show::run(global, &Store::open(&place)?, args),
        Command::Stats(args) => stats::run(global, &Store::open(&place)?, args),
        Command::Export(args) => write::run(global, &Store::open(&place)?, args),
        Command::Replay(args) => replay::run(global, &Store::of_running(&place)?, args),
        Command::Purge(args) => purge::run(global, &Store::of_running(&place)?, args),
    }
}
