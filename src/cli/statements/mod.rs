//! `twinline statements`: what the source ran, or may have run, and the destination did not, beside a running twinline and of a stopped
//! one.
//!
//! Promise: looking changes nothing. A row stops blocking a cutover only when somebody says so by its number with `--execute`; who,
//! when and why stays.

mod clear;
mod confirm;
mod ls;
mod rows;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Global;
use super::exit::{Exit, Failure};
use super::queue::place::Place;
use rows::Rows;

/// Options of `statements`.
#[derive(Clone, Debug, Args)]
pub(super) struct StatementsArgs {
    /// Look at this data directory, without a configuration file [default: data_dir of the configuration]
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The destination that did not get them, where there are several
    #[arg(long, global = true, value_name = "ID")]
    destination: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// List those that block a cutover, each with its number and why it was not carried out
    Ls(ls::LsArgs),
    /// Show one, whole, with what operators did with it
    Show(ls::ShowArgs),
    /// Carry one out at the destination now: a drop that waits for confirmation, or one that did run; does it with --execute
    ///
    /// Delivery does it where it stands: what it has brought there until then is older, what waits in the queue comes behind. Where data
    /// newer than the statement has gone there already, it would go as well: that is refused, and done with --even-though-newer-data
    /// alone; the place is then a dirty region, to be read back from the source. Needs a running twinline. Exit code 4 when it
    /// cannot be, 5 when it still waits.
    Confirm(confirm::ConfirmArgs),
    /// Say that you have seen to one: done by hand at the destination, or of no matter; does it with --execute
    ///
    /// It stays as history with who, when and why (`ls --all`), and does not block a cutover any more. The same statement once
    /// more is a row of its own. Needs a running twinline. Exit code 4 when it is over already.
    Clear(clear::ClearArgs),
}

pub(super) fn run(global: &Global, args: &StatementsArgs) -> Result<Exit, Failure> {
    let place = Place::find(global, args.data_dir.as_deref(), args.destination.as_deref())?.of_one()?;
    match &args.command {
        Command::Ls(args) => ls::run(global, &Rows::open(&place)?, args),
        Command::Show(args) => ls::show(global, &Rows::open(&place)?, args),
        Command::Confirm(args) => confirm::run(global, &Rows::of_running(&place)?, args),
        Command::Clear(args) => clear::run(global, &Rows::of_running(&place)?, args),
    }
}
