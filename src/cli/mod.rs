//! The command line: one file per subcommand.
//!
//! Promise: stdout is data and stderr is talk; `-o json` gives one document; exit codes are those of [`Exit`]; every command ends with
//! the next sensible one.

mod backfill;
mod check;
mod completions;
mod deadletter;
mod demo;
mod draft;
pub mod exit;
mod import;
mod init;
mod inventory;
mod lint;
mod plan;
mod queue;
mod run;
mod statements;
mod status;
pub mod talk;
mod tap;
mod validate;
mod verify;
mod version;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{self, Loaded};
use exit::{Exit, Failure};
use talk::{Color, Output, Talk};

const ABOUT: &str = "Moves a running InfluxDB to another InfluxDB-compatible database without stopping the writers";

const LONG_ABOUT: &str = "\
Moves a running InfluxDB to another InfluxDB-compatible database without stopping the writers.

Twinline stands in front of the database that your clients use now (the source). Every write goes to the source as
before, and the source's answer goes to the client. The same write is kept on disk and delivered, in order, to the new
database (the destination). Queries pass through to the source unchanged.

A first look:        twinline demo
A first migration:   twinline init, edit twinline.toml, twinline validate, twinline check, twinline run";

#[derive(Debug, Parser)]
#[command(name = "twinline", version, about = ABOUT, long_about = LONG_ABOUT, after_long_help = exit::TABLE)]
#[command(subcommand_required = true, arg_required_else_help = true, disable_help_subcommand = true)]
struct Arguments {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Options that every command has.
#[derive(Clone, Debug, Args)]
pub struct Global {
    /// Configuration file [default: twinline.toml here, else /etc/twinline/twinline.toml]
    #[arg(short, long, global = true, value_name = "FILE", env = "TWINLINE_CONFIG", hide_env_values = true)]
    pub config: Option<PathBuf>,
    /// Form of the data on stdout
    #[arg(short, long, global = true, value_name = "FORM", env = "TWINLINE_OUTPUT", hide_env_values = true)]
    #[arg(value_enum, default_value_t = Output::Text)]
    pub output: Output,
    /// Only errors on stderr
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// More in the log: -v for debug, -vv for trace
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// When to use colour
    #[arg(long, global = true, value_name = "WHEN", env = "TWINLINE_COLOR", hide_env_values = true)]
    #[arg(value_enum, default_value_t = Color::Auto)]
    pub color: Color,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write a commented twinline.toml to begin with
    ///
    /// The file names every key and its default. It is written to --config, else to twinline.toml in this directory; an
    /// existing file is never overwritten.
    Init(init::InitArgs),
    /// Check the configuration file without touching any database
    ///
    /// Finds every fault of syntax, unknown key and bad value in one go, with line, column and what to write instead, and
    /// adds up the memory that the settings allow. Reads secrets, so that a missing one is found now. Exit code 78 when
    /// the file cannot be used.
    Validate(validate::ValidateArgs),
    /// Ask both databases and the disk whether a mirror would work; changes nothing
    ///
    /// Looks at reachability, credentials and rights, the places of the source and their counterparts at the
    /// destination with types, retention and contents, limits, clocks, disk, and loops, and says what to type where
    /// something is missing. Exit code 0 when nothing failed (warnings included), 3 when something failed, 10 when a
    /// database does not answer, 12 when credentials are refused or rights are missing. With -o nagios: 0 OK, 1 WARNING,
    /// 2 CRITICAL, 3 UNKNOWN.
    Check(check::CheckArgs),
    /// Say what this pair of databases allows, before anything is mirrored
    ///
    /// Asks both what they are, and tells what the destination can hold, what is changed on the way there, and which steps of
    /// a migration are possible with this pair, each with the reason. Changes nothing. Exit code 0, or 10 when a database
    /// does not answer.
    Plan(plan::PlanArgs),
    /// List what the source has that writes by itself, or must be made anew at the destination
    ///
    /// Databases or buckets, continuous queries and tasks with their targets, subscriptions, listeners beside HTTP, users,
    /// tokens and the rest, each with what Twinline does about it and what to type at the destination. Changes nothing, and
    /// shows no password. Exit code 0, 5 when rights are missing to see all of it, 10 when the source does not answer.
    Inventory(inventory::InventoryArgs),
    /// Run the proxy and the delivery until SIGTERM
    ///
    /// Listens where the clients of the source connect, keeps every accepted write on disk, and delivers it to the
    /// destination. SIGTERM and Ctrl-C end it cleanly: requests under way get their answer and nothing acknowledged is
    /// lost. SIGHUP has the certificates of listen.tls read again and changes nothing else.
    Run(run::RunArgs),
    /// Say what a server would make of a file of line protocol
    ///
    /// Reads the file as the server does and names each line that it would refuse: file:line:column, the reason, a mark
    /// below the byte, and how to mend it. Warns of lines that it takes, though hardly as they are meant. With
    /// --destination-dialect also what a second server would store otherwise. With -o jsonl one object for each line, in
    /// order, with what the server reads from it. The file may be larger than memory. Exit code 0 when the server of
    /// --dialect takes every line, 3 when it refuses one, 1 when the file cannot be read.
    Lint(lint::LintArgs),
    /// Bring history from files to the destination: exports of line protocol, annotated CSV
    ///
    /// Reads influx_inspect export of 1.x, influxd inspect export-lp of 2.x, plain line protocol and annotated CSV of Flux, packed
    /// with gzip or not, in any number, and writes it where the rules of mapping send lines of that database or bucket. What cannot be
    /// written goes to a file of rejects with its place and the reason, and the rest goes on: exit code 5 then. Stopped at any
    /// moment, the same command with --resume goes on. Exit code 4 while twinline run works on the same data directory.
    Import(import::ImportArgs),
    /// Show what is delivered, what waits, and what is not covered
    ///
    /// Asks the running twinline through its local socket. Exit code 10 when none runs on this data directory.
    Status(status::StatusArgs),
    /// Look at the queue on disk: how much waits, its segments, its records; check every byte of it
    ///
    /// Works beside a running twinline and on the directory of a stopped one (--data-dir DIR for one without a
    /// configuration). Looking changes nothing there, and is never in the way of a start.
    Queue(queue::QueueArgs),
    /// Look at the lines that the destination refused for good, repair what they leave out, give them up
    ///
    /// Works beside a running twinline and, for looking, on the directory of a stopped one (--data-dir DIR for one without
    /// a configuration). Changes nothing without --execute.
    #[command(name = "deadletter")]
    DeadLetter(deadletter::DeadLetterArgs),
    /// Look at the statements that the source ran and the destination did not, and say what becomes of each
    ///
    /// Each of them blocks a cutover: drops of whole databases and policies, what the destination cannot do or refused, and what
    /// may have run. Works beside a running twinline and, for looking, on the directory of a stopped one (--data-dir DIR for
    /// one without a configuration). Changes nothing without --execute.
    Statements(statements::StatementsArgs),
    /// Copy history: what the destination lacks, in pieces, resumable at any moment
    ///
    /// Reads the source with every type, keeps what is on its way under checksums on disk, and writes it to the destination. A running
    /// twinline does it beside live writes, which it holds back in what is being copied; where none stands in front: start --offline.
    Backfill(backfill::BackfillArgs),
    /// Compare two databases cell by cell: what is equal, what differs and where, what could not be compared
    ///
    /// Reads both with every type and bit, hashes them window by window, and goes down to the cell where they differ. Works on any two of
    /// InfluxDB 1.x and 2.x, without any twinline running: --source URL --destination URL. Changes nothing.
    Verify(verify::VerifyArgs),
    /// Watch the traffic as it passes: requests with their answers and some of their lines; slows nothing
    ///
    /// Sampled: what was left out is said (`412 not shown`). Queries of URLs, headers and passwords in statements are never shown;
    /// --redact masks tags and values as well. With -o json one object a line. Ends with Ctrl-C or --limit. Exit code 10 when no
    /// twinline runs, or it ends.
    Tap(tap::TapArgs),
    /// See it work: two databases, a year of history that is copied, an outage, a crash, and the proof that nothing is missing
    ///
    /// Needs nothing: both databases live in this process, on 127.0.0.1, and everything goes when it ends. About 30 s. The
    /// exit code is 0 when both databases are equal in the end, and 3 when they differ.
    Demo(demo::DemoArgs),
    /// Print the completion script of a shell
    ///
    /// For bash: twinline completions bash > ~/.local/share/bash-completion/completions/twinline
    Completions(completions::CompletionsArgs),
    /// Print the version
    Version,
}

impl Global {
    /// How this run speaks.
    #[must_use]
    pub fn talk(&self) -> Talk {
        Talk::new(self.output, self.quiet, self.color)
    }

    /// The file to read: the option, else `twinline.toml` here if there is one, else the system's.
    #[must_use]
    pub fn config_path(&self) -> PathBuf {
        let here = Path::new("twinline.toml");
        match &self.config {
            Some(path) => path.clone(),
            None if here.exists() => here.to_owned(),
            None => PathBuf::from("/etc/twinline/twinline.toml"),
        }
    }

    /// Reads the configuration and says its warnings.
    ///
    /// # Errors
    /// All faults of the file, with exit code 78.
    pub fn load(&self) -> Result<Loaded, Failure> {
        let path = self.config_path();
        let loaded = config::load(&path).map_err(|errors| Failure::config(&errors))?;
        for warning in &loaded.warnings {
            self.talk().say(&format!("{}: {warning}", path.display()));
        }
        Ok(loaded)
    }
}

/// Runs the command of the process's arguments. Ends the process only by returning.
#[must_use]
pub fn run() -> ExitCode {
    run_with(std::env::args_os()).into()
}

fn run_with(arguments: impl IntoIterator<Item = OsString>) -> Exit {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version come this way too; there is nobody to tell if it cannot be printed.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage } else { Exit::Success };
        }
    };
    let talk = arguments.global.talk();
    dispatch(&arguments).unwrap_or_else(|failure| {
        talk.failure(&failure);
        failure.exit
    })
}

fn dispatch(arguments: &Arguments) -> Result<Exit, Failure> {
    let global = &arguments.global;
    let (for_lint, for_check) =
        (global.output == Output::Jsonl, matches!(global.output, Output::Nagios | Output::Junit));
    match arguments.command {
        Command::Lint(_) if !for_lint && global.output != Output::Text => {
            return Err(Failure::new(Exit::Usage, "`twinline lint` has other forms").hint("-o text or -o jsonl"));
        }
        Command::Lint(_) => {}
        _ if for_lint => {
            let what = "-o jsonl is a form of `twinline lint`";
            return Err(Failure::new(Exit::Usage, what).hint("-o text or -o json"));
        }
        Command::Check(_) => {}
        _ if for_check => {
            let what = "-o nagios and -o junit are forms of `twinline check`";
            return Err(Failure::new(Exit::Usage, what).hint("-o text or -o json"));
        }
        _ => {}
    }
    match &arguments.command {
        Command::Init(args) => init::run(global, args),
        Command::Validate(args) => validate::run(global, args),
        Command::Check(args) => check::run(global, args),
        Command::Plan(args) => plan::run(global, args),
        Command::Inventory(args) => inventory::run(global, args),
        Command::Run(args) => run::run(global, args),
        Command::Lint(args) => lint::run(global, args),
        Command::Import(args) => import::run(global, args),
        Command::Status(args) => status::run(global, args),
        Command::Queue(args) => queue::run(global, args),
        Command::DeadLetter(args) => deadletter::run(global, args),
        Command::Statements(args) => statements::run(global, args),
        Command::Backfill(args) => backfill::run(global, args),
        Command::Verify(args) => verify::run(global, args),
        Command::Tap(args) => tap::run(global, args),
        Command::Demo(args) => demo::run(global, args),
        Command::Completions(args) => completions::run(global, args),
        Command::Version => version::run(global),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::{Arguments, Exit, run_with};

    #[test]
    fn the_surface_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn wrong_usage_and_a_missing_file_have_their_codes() {
        let run = |arguments: &[&str]| run_with(arguments.iter().map(Into::into));
        assert_eq!(run(&["twinline", "no-such-command"]), Exit::Usage);
        assert_eq!(run(&["twinline", "validate", "--no-such-option"]), Exit::Usage);
        assert_eq!(run(&["twinline", "validate", "-q", "-c", "/nonexistent/twinline.toml"]), Exit::Config);
        assert_eq!(run(&["twinline", "version", "-q"]), Exit::Success);
    }

    #[test]
    fn every_command_says_what_it_does() {
        for command in Arguments::command().get_subcommands() {
            let about = command.get_about().map(ToString::to_string).unwrap_or_default();
            assert!(about.len() > 10, "{} has no help", command.get_name());
        }
    }
}
