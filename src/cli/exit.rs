//! Exit codes, which scripts rely on: they never change their meaning.

use std::process::ExitCode;

use crate::base::{Error, Kind};
use crate::config::ConfigError;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Success = 0,
    /// Failed.
    Failed = 1,
    /// Used wrongly.
    Usage = 2,
    /// Finished, and the answer is "no": a check failed, differences were found, a threshold was crossed.
    No = 3,
    /// Refused: a precondition does not hold.
    Refused = 4,
    /// Finished in part; what is missing is listed.
    Partly = 5,
    /// The running twinline, or a database, cannot be reached.
    Unreachable = 10,
    /// Another process uses the data directory.
    Locked = 11,
    /// Credentials were refused or rights are missing.
    Auth = 12,
    /// The configuration is wrong.
    Config = 78,
    /// Stopped by SIGINT after a clean end.
    Interrupted = 130,
    /// Stopped by SIGTERM after a clean end.
    Terminated = 143,
}

/// Shown at the end of `--help`.
pub(super) const TABLE: &str = "\
Exit codes:
  0 success · 1 failed · 2 wrong usage · 3 the answer is no · 4 refused by a precondition · 5 done in part
  10 not reachable · 11 data directory in use · 12 credentials refused · 78 configuration wrong · 130/143 stopped";

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command failed, with the code that tells a script.
#[derive(Debug)]
pub struct Failure {
    /// The code.
    pub exit: Exit,
    /// What happened, for people; may have several lines.
    pub what: String,
    /// What to do next.
    pub hint: Option<String>,
}

impl Failure {
    /// A failure without advice.
    #[must_use]
    pub fn new(exit: Exit, what: impl Into<String>) -> Self {
        Self { exit, what: what.into(), hint: None }
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Every fault of a configuration, one below the other.
    #[must_use]
    pub fn config(errors: &[ConfigError]) -> Self {
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        Self::new(Exit::Config, lines.join("\n")).hint("twinline validate")
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let exit = match error.kind() {
            Kind::Config => Exit::Config,
            Kind::Connect | Kind::Timeout => Exit::Unreachable,
            Kind::Locked => Exit::Locked,
            Kind::Auth => Exit::Auth,
            Kind::State => Exit::Refused,
            Kind::Input | Kind::Disk | Kind::Answer | Kind::Limit | Kind::Damage => Exit::Failed,
        };
        Self { exit, what: error.to_string(), hint: error.next_step().map(str::to_owned) }
    }
}

#[cfg(test)]
mod tests {
    use super::{Exit, Failure};
    use crate::base::{Error, Kind, Side};

    #[test]
    fn scripts_see_the_documented_codes() {
        for (kind, code) in
            [(Kind::Config, 78), (Kind::Connect, 10), (Kind::Locked, 11), (Kind::Auth, 12), (Kind::Disk, 1)]
        {
            let failure = Failure::from(Error::new(kind, Side::Own, "x"));
            assert_eq!(failure.exit as u8, code, "{kind:?}");
        }
        assert_eq!((Exit::No as u8, Exit::Refused as u8, Exit::Terminated as u8), (3, 4, 143));
    }
}
