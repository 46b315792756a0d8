//! Errors that say what an operator asks: what happened, on which side, whether trying again helps, and what to do next.

use std::error::Error as StdError;
use std::fmt;

/// What kind of fault it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The configuration is wrong.
    Config,
    /// Input that we cannot read as what it claims to be.
    Input,
    /// Reading or writing files failed.
    Disk,
    /// Something could not be reached, or the connection broke.
    Connect,
    /// No answer in time.
    Timeout,
    /// Credentials were refused or rights are missing.
    Auth,
    /// The other side answered with an error.
    Answer,
    /// A limit of the configuration was reached.
    Limit,
    /// A thing that must exist once exists twice (a second process on one data directory).
    Locked,
    /// Data on disk is not what was written.
    Damage,
    /// The requested thing is in the wrong state for it.
    State,
}

/// Whose fault or whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The client that writes to us.
    Client,
    /// The database that we stand in front of.
    Source,
    /// The database that receives the copy.
    Destination,
    /// Twinline or its machine.
    Own,
}

/// Whether the same call may succeed later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Retry {
    /// Trying again, after a pause, can help.
    Yes,
    /// It will fail the same way until somebody changes something.
    No,
}

/// An error with the facts an operator needs.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    side: Side,
    retry: Retry,
    what: String,
    hint: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// Result of most fallible calls here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A new error; `what` says what happened to what. Not worth retrying unless [`Error::retryable`] says so.
    pub fn new(kind: Kind, side: Side, what: impl Into<String>) -> Self {
        Self { kind, side, retry: Retry::No, what: what.into(), hint: None, source: None }
    }

    /// A fault of our own disk, with the path in the text. Where the cause tells what to do next, that is added.
    pub fn disk(what: impl Into<String>, cause: std::io::Error) -> Self {
        let hint = disk_hint(cause.kind(), cause.raw_os_error());
        Self { hint: hint.map(str::to_owned), ..Self::new(Kind::Disk, Side::Own, what).because(cause) }
    }

    /// Marks that trying again can help.
    #[must_use]
    pub fn retryable(mut self) -> Self {
        self.retry = Retry::Yes;
        self
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds what to do next, where the cause has not told already.
    #[must_use]
    pub fn or_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint.get_or_insert_with(|| hint.into());
        self
    }

    /// Adds the cause.
    #[must_use]
    pub fn because(mut self, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(cause.into());
        self
    }

    /// Puts what was being done in front of what happened.
    #[must_use]
    pub fn context(mut self, doing: impl fmt::Display) -> Self {
        self.what = format!("{doing}: {}", self.what);
        self
    }

    /// What kind of fault.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// On which side.
    pub fn side(&self) -> Side {
        self.side
    }

    /// Whether trying again can help.
    pub fn retry(&self) -> Retry {
        self.retry
    }

    /// What to do next, where we know.
    pub fn next_step(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

/// What to do where a call to the disk fails in this way.
fn disk_hint(kind: std::io::ErrorKind, errno: Option<i32>) -> Option<&'static str> {
    use std::io::ErrorKind as Io;
    const EIO: i32 = 5;
    match kind {
        Io::PermissionDenied => Some("let the user of twinline own it and what is in it (chown -R), then start again"),
        Io::ReadOnlyFilesystem => Some("mount its file system for writing, then start again"),
        Io::InvalidInput | Io::IsADirectory | Io::NotADirectory => {
            Some("move it elsewhere, put what belongs there in its place, then start again")
        }
        _ if errno == Some(EIO) => Some("look for errors of the disk in the kernel's log"),
        _ => None,
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        let mut cause: Option<&(dyn StdError + 'static)> = self.source.as_deref().map(|e| e as _);
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        // The causes are part of our text already; printing the chain again would repeat them.
        None
    }
}
