//! What a check found, in a form that is the same for people and for programs.

use std::fmt;

use serde::{Serialize, Serializer};

/// How it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    /// In order.
    Ok,
    /// Works, but look at it.
    Warning,
    /// Wrong: the mirror would not work, or not as meant.
    Failed,
    /// Could not be found out.
    Unknown,
}

/// What `--only` chooses by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(super) enum Group {
    /// Both databases answer, and are what the configuration says
    Reach,
    /// Our credentials are accepted
    Auth,
    /// Their rights suffice for what we do with them
    Rights,
    /// Every place of the source has its place at the destination
    Mapping,
    /// The same field has the same type on both sides
    Types,
    /// The destination keeps points as long as the source does
    Retention,
    /// The destination holds nothing yet
    Empty,
    /// Disk for the queue, and how many requests the disk can commit
    Capacity,
    /// Largest bodies and batches, and the memory that the settings allow
    Limits,
    /// The clocks agree
    Clock,
    /// The data directory can be written
    Disk,
    /// No database is this twinline itself
    Loop,
    /// Source and destination are two servers
    Same,
}

/// Under which heading it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum About {
    Source,
    Destination,
    Mapping,
    Queue,
}

/// A number that never changes its meaning; manuals and searches refer to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Code(u16);

impl Code {
    pub(super) const REACHABLE: Self = Self(2001);
    pub(super) const PRODUCT: Self = Self(2002);
    pub(super) const CREDENTIALS: Self = Self(2011);
    pub(super) const READ_RIGHTS: Self = Self(2012);
    pub(super) const WRITE_RIGHTS: Self = Self(2013);
    pub(super) const MAPPED: Self = Self(2310);
    pub(super) const NO_DATABASE: Self = Self(2311);
    pub(super) const NO_POLICY: Self = Self(2312);
    pub(super) const NO_BUCKET: Self = Self(2313);
    pub(super) const NO_ORGANISATION: Self = Self(2314);
    pub(super) const UNMAPPED: Self = Self(2315);
    pub(super) const NOT_LISTED: Self = Self(2316);
    pub(super) const WRITE_PROBE: Self = Self(2317);
    pub(super) const NOT_EMPTY: Self = Self(2318);
    pub(super) const ROWS_TWICE: Self = Self(2319);
    pub(super) const SYSTEM: Self = Self(2320);
    pub(super) const KEEPS: Self = Self(2101);
    pub(super) const SHARDS: Self = Self(2102);
    pub(super) const FIELD_TYPES: Self = Self(2204);
    pub(super) const UNSIGNED: Self = Self(2205);
    pub(super) const BODY_LIMIT: Self = Self(2411);
    pub(super) const BATCH_LIMIT: Self = Self(2412);
    pub(super) const MEMORY: Self = Self(2413);
    pub(super) const CLOCK: Self = Self(2401);
    pub(super) const DATA_DIR: Self = Self(2501);
    pub(super) const FREE_SPACE: Self = Self(2502);
    pub(super) const COMMIT_TIME: Self = Self(2503);
    pub(super) const OWN_LISTENER: Self = Self(2601);
    pub(super) const SAME_SERVER: Self = Self(2701);
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TWL-{:04}", self.0)
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Finding {
    pub(super) group: Group,
    pub(super) about: About,
    pub(super) state: State,
    pub(super) code: Code,
    /// What was found. Holds no secret.
    pub(super) text: String,
    /// What to do: a command, where there is one.
    pub(super) fix: Option<String>,
}

impl Finding {
    pub(super) fn new(group: Group, about: About, state: State, code: Code, text: impl Into<String>) -> Self {
        Self { group, about, state, code, text: text.into(), fix: None }
    }

    pub(super) fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }
}
