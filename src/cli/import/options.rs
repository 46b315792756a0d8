//! What the command can be told.

use std::path::PathBuf;

use clap::ValueEnum;
use xxhash_rust::xxh3::xxh3_64;

use super::source::Source;
use crate::backfill::files::Format;
use crate::cli::exit::{Exit, Failure};
use crate::cli::lint::precisions;
use crate::cli::queue::place::quoted;
use crate::line::Precision;

/// Options of `import`.
#[derive(Clone, Debug, clap::Args)]
pub(in crate::cli) struct ImportArgs {
    /// Files, directories of them, or - for stdin; packed with gzip or not
    #[arg(value_name = "PATH", required = true)]
    pub(super) paths: Vec<PathBuf>,
    /// What the files hold [default: found by their content]
    #[arg(long, value_name = "FORM", value_enum)]
    pub(super) format: Option<Form>,
    /// The database at the source of lines that no header gives one
    #[arg(long, value_name = "NAME", conflicts_with = "bucket")]
    pub(super) db: Option<String>,
    /// Its retention policy
    #[arg(long, value_name = "NAME", requires = "db")]
    pub(super) rp: Option<String>,
    /// The policy that is a database's default: lines in it belong to the database alone
    #[arg(long, value_name = "NAME", default_value = "autogen")]
    pub(super) default_rp: String,
    /// The bucket at the source of lines that no header gives a database
    #[arg(long, value_name = "NAME")]
    pub(super) bucket: Option<String>,
    /// Its organisation [default: source.org]
    #[arg(long, value_name = "NAME", requires = "bucket")]
    pub(super) org: Option<String>,
    /// Unit of the times of line protocol without headers
    #[arg(long, value_name = "UNIT", default_value = "ns", value_parser = precisions())]
    pub(super) precision: Precision,
    /// What becomes of lines without a time; without it they are rejected
    #[arg(long, value_name = "HOW", value_enum)]
    pub(super) untimed: Option<Untimed>,
    /// The destination, where there are several
    #[arg(long, value_name = "ID")]
    pub(super) destination: Option<String>,
    /// Where lines go that cannot be written, each below the reason [default: in data_dir/import]
    #[arg(long, value_name = "FILE")]
    pub(super) rejects: Option<PathBuf>,
    /// Read everything, write nothing, say what would be written and what cannot be
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Go on where the same command was stopped
    #[arg(long, conflicts_with = "dry_run")]
    pub(super) resume: bool,
    /// Work beside twinline run: an old value of a file may then replace a newer one that came meanwhile
    #[arg(long)]
    pub(super) may_overwrite_newer: bool,
}

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Form {
    /// Line protocol
    Lp,
    /// Annotated CSV of Flux
    Csv,
}

impl From<Form> for Format {
    fn from(form: Form) -> Self {
        match form {
            Form::Lp => Self::Lines,
            Form::Csv => Self::Flux,
        }
    }
}

/// What a line without a time gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Untimed {
    /// The time at which the import began
    Now,
}

impl ImportArgs {
    /// What no other part looks at.
    pub(super) fn check(&self) -> Result<(), Failure> {
        let wrong = |what: &str, hint: &str| Err(Failure::new(Exit::Usage, what).hint(hint));
        for name in [&self.db, &self.bucket].into_iter().flatten() {
            if name.is_empty() {
                return wrong("a name is empty", "--db NAME, or --bucket NAME");
            }
        }
        if self.paths.iter().filter(|path| path.as_os_str() == "-").count() > 1 {
            return wrong("stdin can be read once", "name - once");
        }
        Ok(())
    }

    /// Stands for what is imported, and how: another import has another one.
    pub(super) fn id(&self, destination: &str, sources: &[Source]) -> String {
        let names: Vec<_> = sources.iter().map(|source| &source.path).collect();
        let how = (&self.format, &self.db, &self.rp, &self.default_rp, &self.bucket, &self.org, self.precision);
        format!("{:016x}", xxh3_64(format!("{destination:?} {names:?} {how:?}").as_bytes()))
    }

    /// The options that a command needs that does the same, without `--resume` and `--dry-run`.
    pub(super) fn words(&self) -> String {
        let mut words = String::new();
        let mut add = |name: &str, value: Option<&str>| {
            if let Some(value) = value {
                words += &format!(" --{name} {}", quoted(value));
            }
        };
        add("format", self.format.map(|form| if form == Form::Lp { "lp" } else { "csv" }));
        add("db", self.db.as_deref());
        add("rp", self.rp.as_deref());
        add("default-rp", Some(&*self.default_rp).filter(|name| *name != "autogen"));
        add("bucket", self.bucket.as_deref());
        add("org", self.org.as_deref());
        add("precision", (self.precision != Precision::Nanosecond).then(|| unit(self.precision)));
        add("untimed", self.untimed.map(|_| "now"));
        add("destination", self.destination.as_deref());
        add("rejects", self.rejects.as_ref().map(|path| path.display().to_string()).as_deref());
        if self.may_overwrite_newer {
            words += " --may-overwrite-newer";
        }
        words
    }
}

/// As the option names it.
pub(super) fn unit(precision: Precision) -> &'static str {
    match precision {
        Precision::Nanosecond => "ns",
        Precision::Microsecond => "us",
        Precision::Millisecond => "ms",
        Precision::Second => "s",
        Precision::Minute => "m",
        Precision::Hour => "h",
    }
}
