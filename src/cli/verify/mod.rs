//! `twinline verify`: whether two databases hold the same data.
//!
//! Promise: nothing is written to either database. Exit code 0 only when every window was read on both sides and is equal; 3 when
//! something differs; 5 when something could not be compared, which is listed.

mod form;
mod pair;
mod report;
mod work;

use clap::{Args, Subcommand, ValueEnum};

use super::Global;
use super::backfill::pair::{Scope, time_ns};
use super::exit::{Exit, Failure};
use form::Form;
use pair::PairArgs;

/// Options of `verify`.
#[derive(Clone, Debug, Args)]
pub(super) struct VerifyArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Clone, Debug, Subcommand)]
enum Verb {
    /// Compare both, and say which windows are equal, differ, or could not be compared
    ///
    /// Takes the pair of the configuration, or of --source and --destination: then no configuration and no running twinline is needed.
    /// Writers must be still meanwhile, or what they change is called a difference. Exit code 0 when all is equal, 3 when something
    /// differs, 5 when something could not be compared.
    Start(StartArgs),
    /// Compare both, and print every cell that differs, side by side
    ///
    /// The cells go to stdout, one a line, in the form of --form; what was compared is said on stderr. Exit codes as with `start`.
    Diff(DiffArgs),
}

/// How much is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Profile {
    /// The servers count; cells are read where the counts differ
    Quick,
    /// The same, and cells of the newest window of each measurement and of one in 20 of the others
    Standard,
    /// All cells of both sides
    Full,
}

/// What is compared.
#[derive(Clone, Debug, Args)]
struct WhatArgs {
    #[command(flatten)]
    pair: PairArgs,
    /// How much is read
    #[arg(long, value_enum, default_value_t = Profile::Full)]
    profile: Profile,
    /// Only databases, policies or buckets of the source by such names (`db`, `db/policy`, `*` and `?`); may be given more than once
    #[arg(long, value_name = "GLOB")]
    db: Vec<String>,
    /// Only points from this time on
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only points before this time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

#[derive(Clone, Debug, Args)]
struct StartArgs {
    #[command(flatten)]
    what: WhatArgs,
}

#[derive(Clone, Debug, Args)]
struct DiffArgs {
    #[command(flatten)]
    what: WhatArgs,
    /// Form of the cells
    #[arg(long, value_enum, default_value_t = Form::Text)]
    form: Form,
}

impl WhatArgs {
    fn scope(&self) -> Result<Scope, Failure> {
        let time = |text: &Option<String>| text.as_deref().map(time_ns).transpose();
        let (since_ns, until_ns) = (time(&self.since)?, time(&self.until)?);
        if let (Some(since), Some(until)) = (since_ns, until_ns)
            && since >= until
        {
            return Err(Failure::new(Exit::Usage, "--until is not after --since: there is nothing between them"));
        }
        Ok(Scope { db: self.db.clone(), since_ns, until_ns, ..Scope::default() })
    }
}

pub(super) fn run(global: &Global, args: &VerifyArgs) -> Result<Exit, Failure> {
    let (what, form) = match &args.verb {
        Verb::Start(args) => (&args.what, None),
        Verb::Diff(args) => (&args.what, Some(args.form)),
    };
    let (talk, config, scope) = (global.talk(), what.pair.config(global)?, what.scope()?);
    let run = work::run(talk, &config, &scope, what.profile)?;
    match form {
        Some(form) => form::print(talk, &run, form)?,
        None => report::print(talk, &run)?,
    }
    Ok(run.exit())
}
