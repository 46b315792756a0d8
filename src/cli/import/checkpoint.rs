//! How far each file is done, on disk.
//!
//! Promise: a checkpoint is whole or the one before; what it calls done was acknowledged, or stands in the rejects file. A file that was
//! changed since is not taken for the same.

use std::collections::BTreeMap;
use std::io::IoSlice;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::read::{End, Stretch};
use super::source::{Identity, Source};
use crate::base::Error;
use crate::base::clock::{Clock, SystemClock};
use crate::base::disk::{self, Durability, Open};
use crate::cli::exit::{Exit, Failure};

const SCHEMA: &str = "twinline.import.checkpoint/1";

/// All of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Checkpoint {
    schema: String,
    /// Nothing was under way when it was written.
    pub(super) is_clean: bool,
    /// Until then some request without an answer may take effect; wall clock, nanoseconds.
    pub(super) unsure_until_ns: i64,
    /// All files were read.
    is_done: bool,
    pub(super) rejects: PathBuf,
    pub(super) counts: Counts,
    /// Those that were begun, by path.
    files: BTreeMap<String, Progress>,
    #[serde(skip)]
    path: PathBuf,
    #[serde(skip)]
    goes_on: bool,
    #[serde(skip)]
    replaces_unfinished: bool,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Progress {
    pub(super) identity: Identity,
    /// Done up to this byte, as it is unpacked.
    pub(super) done: u64,
    pub(super) state: State,
    /// What is wrong with it.
    pub(super) broken: Option<String>,
    /// It begins with a byte order mark, which was left out.
    #[serde(default)]
    pub(super) is_marked: bool,
}

/// How far it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum State {
    Begun,
    Done,
    Broken,
    /// What was written of it may be false.
    Doubtful,
}

/// What was done, over all parts of the import.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Counts {
    /// Lines or rows that hold data.
    pub(super) lines: u64,
    /// Points that the destination acknowledged.
    pub(super) points: u64,
    /// Lines or rows that cannot be read.
    pub(super) malformed: u64,
    /// Points that the destination cannot take.
    pub(super) refused: u64,
    /// Points that rules leave out.
    pub(super) excluded: u64,
    /// Points of which the destination can hold nothing.
    pub(super) nothing: u64,
    /// Values that a later one near it in the file replaces.
    pub(super) replaced: u64,
    /// Points by place at the destination.
    pub(super) places: BTreeMap<String, u64>,
    /// Cells that are not there what they were, by reason.
    pub(super) changes: Vec<u64>,
}

impl Counts {
    /// Points that went to this place.
    pub(super) fn place(&mut self, name: &str) -> &mut u64 {
        if !self.places.contains_key(name) {
            self.places.insert(name.to_owned(), 0);
        }
        self.places.get_mut(name).expect("it was put there above")
    }
}

impl Checkpoint {
    pub(super) fn new(path: PathBuf, rejects: PathBuf, replaces_unfinished: bool) -> Self {
        Self {
            schema: SCHEMA.to_owned(),
            is_clean: true,
            unsure_until_ns: 0,
            is_done: false,
            rejects,
            counts: Counts::default(),
            files: BTreeMap::new(),
            path,
            goes_on: false,
            replaces_unfinished,
        }
    }

    /// The one at this path, if there is any.
    pub(super) fn load(path: &Path) -> Result<Option<Self>, Failure> {
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::disk(format!("cannot read {}", path.display()), error).into()),
        };
        let odd = |what: String| {
            let what = format!("{} is no checkpoint of this version: {what}", path.display());
            Failure::new(Exit::Refused, what).hint("move it away; the import begins anew then")
        };
        let mut found: Self = serde_json::from_slice(&text).map_err(|e| odd(e.to_string()))?;
        if found.schema != SCHEMA {
            return Err(odd(found.schema));
        }
        path.clone_into(&mut found.path);
        found.goes_on = true;
        Ok(Some(found))
    }

    pub(super) fn is_done(&self) -> bool {
        self.is_done
    }

    pub(super) fn goes_on(&self) -> bool {
        self.goes_on
    }

    pub(super) fn replaces_unfinished(&self) -> bool {
        self.replaces_unfinished
    }

    /// Whether the files are those that it speaks of.
    pub(super) fn compare(&self, sources: &[Source]) -> Result<(), Failure> {
        for source in sources {
            let Some(known) = self.files.get(&key(source)) else { continue };
            let is_same = match source.path.as_os_str() == "-" {
                true => known.identity.head == source.identity.head,
                false => known.identity == source.identity,
            };
            if !is_same {
                let what =
                    format!("{} is not the file that was begun: its size, time or beginning is another", source.name);
                return Err(Failure::new(Exit::Refused, what)
                    .hint("the file as it was; or the same command without --resume, which begins anew"));
            }
        }
        Ok(())
    }

    /// Where to go on with a file; `None`: it is done.
    pub(super) fn from(&self, source: &Source) -> Option<u64> {
        match self.files.get(&key(source)) {
            None => Some(0),
            Some(Progress { state: State::Begun, done, .. }) => Some(*done),
            Some(_) => None,
        }
    }

    pub(super) fn of(&self, path: &str) -> Option<&Progress> {
        self.files.get(path)
    }

    /// A file is done up to a byte.
    pub(super) fn note(&mut self, (path, identity): (&str, &Identity), stretch: &Stretch) {
        let Stretch { done, is_marked, .. } = *stretch;
        let (state, broken) = match &stretch.end {
            None => (State::Begun, None),
            Some(End::Whole) => (State::Done, None),
            Some(End::Broken(why)) => (State::Broken, Some(why.clone())),
            Some(End::Doubtful(why)) => (State::Doubtful, Some(why.clone())),
        };
        self.files.insert(path.to_owned(), Progress { identity: identity.clone(), done, state, broken, is_marked });
    }

    /// Puts it on disk. `is_clean`: nothing is under way; `is_done`: all files were read.
    pub(super) fn save(&mut self, is_clean: bool, is_done: bool) -> Result<(), Failure> {
        (self.is_clean, self.is_done) = (is_clean, is_done);
        let broken = |e| Failure::from(Error::disk(format!("cannot write {}", self.path.display()), e));
        let text = serde_json::to_vec_pretty(self).map_err(|e| Failure::new(Exit::Failed, e.to_string()))?;
        let (disk, next) = (disk::real(), self.path.with_extension("json.next"));
        match disk.remove(&next) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(broken(error)),
            _ => {}
        }
        let file = disk.open(&next, Open::Create).map_err(broken)?;
        file.write_all_at(&[IoSlice::new(&text)], 0, Durability::Durable).map_err(broken)?;
        disk.rename(&next, &self.path).map_err(broken)?;
        disk.sync_dir(self.path.parent().unwrap_or(Path::new("."))).map_err(broken)
    }
}

/// A file's name in it.
pub(super) fn key(source: &Source) -> String {
    source
        .path
        .to_str()
        .map_or_else(|| source.path.as_os_str().as_encoded_bytes().escape_ascii().to_string(), str::to_owned)
}

/// Seconds since 1970.
pub(super) fn now_s() -> i64 {
    SystemClock::new().wall_ns().div_euclid(1_000_000_000)
}
