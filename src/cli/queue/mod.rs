//! `twinline queue`: the log on disk, beside a running twinline or on the directory of a stopped one.
//!
//! Promise: looking changes nothing. No lock is taken, no file is made, changed, renamed or removed, so that a look never
//! stands in the way of a start, and a directory without the right to write will do. What changes something says so by its name:
//! `pause` and `resume` the delivery of a running twinline, `export` the file that it writes, `release-ballast` the ballast.

mod ballast;
mod captured;
mod drain;
mod export;
mod ls;
mod pause;
pub(super) mod place;
mod routes;
mod show;
mod status;
pub(super) mod stop;
pub(super) mod text;
mod verify;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::Global;
use super::exit::{Exit, Failure};

/// Options of `queue`.
#[derive(Clone, Debug, Args)]
pub(super) struct QueueArgs {
    /// Look at this data directory, without a configuration file [default: data_dir of the configuration]
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Only this destination, where there are several: for status, pause, resume and drain
    #[arg(long, global = true, value_name = "ID")]
    destination: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// How much waits, since when, and how long it may go on
    Status(status::StatusArgs),
    /// List the segments: what they hold, their state, whose floors stand in them
    Ls(ls::LsArgs),
    /// Show one segment or capture, and with --records what stands in it
    Show(show::ShowArgs),
    /// Check every checksum and the order of the whole log; changes nothing
    ///
    /// Reads the whole log up to what is durable, also beside a running twinline. Names what is damaged: records, route,
    /// times, lines, file and offset, and whether all destinations have passed it already. Exit code 3 when something is
    /// damaged, 130 when it was interrupted: what was found until then is told.
    Verify(verify::VerifyArgs),
    /// Give back the space that was taken as ballast, when the disk is full
    ReleaseBallast(ballast::BallastArgs),
    /// Write a stretch of the log to a file, with the outcome of each write, for replay and analysis
    ///
    /// Beside a running twinline what is delivered may be given back before it is read: `pause` first to be sure of it. The
    /// file holds clients' data, for its owner alone, and no credentials. It is there under its name only when it is
    /// whole. Exit code 5 when records of the stretch are lost to damage.
    Export(export::ExportArgs),
    /// Stop delivering until `resume`, also across restarts; clients' writes go on into the queue
    ///
    /// Requests to the destination that are under way end. Needs a running twinline.
    Pause,
    /// Deliver again
    Resume,
    /// Wait until everything that is durable now is delivered, and say why it does not go on
    ///
    /// Exit code 0 when it is, 3 when it is not (without --wait, or after --timeout). Needs a running twinline.
    Drain(drain::DrainArgs),
}

pub(super) fn run(global: &Global, args: &QueueArgs) -> Result<Exit, Failure> {
    // A capture needs neither a configuration nor a data directory.
    match &args.command {
        Command::Show(args) if captured::is_one(Path::new(&args.segment)) => {
            return captured::show(global, Path::new(&args.segment), args);
        }
        Command::Verify(verify::VerifyArgs { file: Some(file) }) if captured::is_one(file) => {
            return captured::verify(global, file);
        }
        Command::Verify(verify::VerifyArgs { file: Some(file) }) => {
            let what = match file.exists() {
                true => format!("{} is no capture: it does not begin as one", file.display()),
                false => format!("there is no file {}", file.display()),
            };
            return Err(Failure::new(Exit::Usage, what).hint("twinline queue verify"));
        }
        _ => {}
    }
    let place = place::Place::find(global, args.data_dir.as_deref(), args.destination.as_deref())?;
    match &args.command {
        Command::Status(args) => status::run(global, &place, args),
        Command::Ls(args) => ls::run(global, &place, args),
        Command::Show(args) => show::run(global, &place, args),
        Command::Verify(args) => verify::run(global, &place, args),
        Command::ReleaseBallast(args) => ballast::run(global, &place, args),
        Command::Export(args) => export::run(global, &place, args),
        Command::Pause => pause::run(global, &place.of_one()?, pause::Wish::Pause),
        Command::Resume => pause::run(global, &place.of_one()?, pause::Wish::Resume),
        Command::Drain(args) => drain::run(global, &place, args),
    }
}
