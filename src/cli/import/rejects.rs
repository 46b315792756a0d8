//! Lines that were not written, for people to mend and for the next import to read.
//!
//! Promise: what was added is on disk when [`Rejects::keep`] returns. The file is there once there is something in it.

use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::backfill::files::{Context, Position};
use crate::base::Error;
use crate::base::disk::{self, DiskFile, Durability, Open};
use crate::cli::exit::{Exit, Failure};
use crate::cli::lint::excerpt::readable;

/// Lines that people see at the end, of each kind.
const SHOWN: u64 = 10;
const INTRO: &str =
    "# lines that twinline import did not write, as they came; points that the destination refused have nanoseconds\n";

/// A line that is not written.
#[derive(Debug)]
pub(super) struct Rejected<'a> {
    /// The file, for people.
    pub(super) name: &'a str,
    pub(super) at: Position,
    pub(super) code: &'static str,
    pub(super) reason: &'a str,
    pub(super) mend: &'a str,
    pub(super) context: Option<&'a Arc<Context>>,
    pub(super) text: &'a [u8],
    /// The text is no line protocol.
    pub(super) is_row: bool,
    /// The unit of its time, where that is not nanoseconds.
    pub(super) unit: Option<&'static str>,
}

/// Where they go.
#[derive(Debug)]
pub(super) struct Rejects {
    path: PathBuf,
    /// Nothing is written.
    is_dry: bool,
    file: Option<(Arc<dyn DiskFile>, u64)>,
    pending: Vec<u8>,
    context: Option<Arc<Context>>,
    /// How many of each kind, and the first of them for people.
    pub(super) kinds: std::collections::BTreeMap<&'static str, u64>,
    pub(super) shown: Vec<String>,
}

impl Rejects {
    pub(super) fn new(path: &Path, is_dry: bool, goes_on: bool) -> Result<Self, Failure> {
        if !is_dry && !goes_on && path.symlink_metadata().is_ok() {
            let what = format!("{} exists already", path.display());
            return Err(Failure::new(Exit::Refused, what).hint("--rejects FILE, one that is not there yet"));
        }
        let path = path.to_owned();
        let (pending, kinds, shown) = (Vec::new(), std::collections::BTreeMap::new(), Vec::new());
        Ok(Self { path, is_dry, file: None, pending, context: None, kinds, shown })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn add(&mut self, one: &Rejected<'_>) {
        let Position { line, byte } = one.at;
        let unit = one.unit.map_or(String::new(), |unit| format!(" (its time is in {unit})"));
        let said = format!("{}:{line}:{byte} {}: {}{unit}", readable(one.name), one.code, readable(one.reason));
        let count = self.kinds.entry(one.code).or_default();
        *count += 1;
        if *count <= SHOWN {
            let mend = if one.mend.is_empty() { String::new() } else { format!("\n        mend: {}", one.mend) };
            self.shown.push(format!("{said}{mend}"));
        }
        if self.is_dry {
            return;
        }
        if one.context.is_some() && one.context != self.context.as_ref() {
            if let Some(context) = one.context {
                let Context { db, rp } = &**context;
                let head = format!("# CONTEXT-DATABASE:{db}\n# CONTEXT-RETENTION-POLICY:{rp}\n");
                self.pending.extend_from_slice(head.as_bytes());
            }
            self.context = one.context.cloned();
        }
        self.pending.extend_from_slice(format!("# {said}\n").as_bytes());
        for line in one.text.split(|byte| one.is_row && *byte == b'\n') {
            if one.is_row {
                self.pending.extend_from_slice(b"# row: ");
            }
            self.pending.extend_from_slice(line);
            self.pending.push(b'\n');
        }
    }

    /// Puts on disk what was added.
    pub(super) fn keep(&mut self) -> Result<(), Failure> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let broken = |e| Failure::from(Error::disk(format!("cannot write {}", self.path.display()), e));
        let (file, length) = match &self.file {
            Some((file, length)) => (Arc::clone(file), *length),
            None => open(&self.path).map_err(broken)?,
        };
        if length == 0 {
            self.pending.splice(..0, INTRO.bytes());
        }
        file.write_all_at(&[IoSlice::new(&self.pending)], length, Durability::Durable).map_err(broken)?;
        self.file = Some((file, length + self.pending.len() as u64));
        self.pending.clear();
        Ok(())
    }
}

/// The file and its length.
fn open(path: &Path) -> std::io::Result<(Arc<dyn DiskFile>, u64)> {
    let disk = disk::real();
    let file = match disk.open(path, Open::Create) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => disk.open(path, Open::Write)?,
        Ok(file) => {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            disk.sync_dir(folder.unwrap_or(Path::new(".")))?;
            file
        }
        Err(error) => return Err(error),
    };
    let length = file.length()?;
    Ok((file, length))
}
