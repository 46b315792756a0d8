//! The limits that hold now: those of the configuration, with what an operator has changed since.
//!
//! Promise: a change holds for whoever copies within a second, in this process or another one, and outlives both; it is taken whole or not
//! at all. A file of changes that cannot be read is told once and changes nothing: what held before holds on.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::base::{Error, Kind, Result, Side};
use crate::config::{BACKFILL_KEYS, Backfill, backfill_key};

/// Name and version of the document.
pub const SCHEMA: &str = "twinline.backfill_limits/1";
/// In `data_dir`.
const FILE: &str = "backfill_limits.json";
/// The file holds a few short words.
const FILE_BYTES_MAX: u64 = 64 << 10;
/// The word that takes a change back.
const DEFAULT: &str = "default";

/// What changes of an operator look like in their file.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Changes {
    schema: String,
    changed: BTreeMap<String, String>,
}

/// Which file was read: another one has another of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp(u64, u64, i64, i64);

#[derive(Debug)]
struct Inner {
    configured: Backfill,
    changed: BTreeMap<String, String>,
    now: Arc<Backfill>,
    file: PathBuf,
    /// `None`: there was no file.
    seen: Option<Stamp>,
}

/// The limits. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub struct Limits(Arc<Mutex<Inner>>);

impl Limits {
    /// Those of the configuration, with the changes that lie in `data_dir`.
    #[must_use]
    pub fn open(configured: &Backfill, data_dir: &Path) -> Self {
        let (configured, file) = (configured.clone(), data_dir.join(FILE));
        let now = Arc::new(configured.clone());
        let own = Self(Arc::new(Mutex::new(Inner { configured, changed: BTreeMap::new(), now, file, seen: None })));
        own.refresh();
        own
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Whoever panicked in these short sections left nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As they are.
    #[must_use]
    pub fn now(&self) -> Arc<Backfill> {
        Arc::clone(&self.inner().now)
    }

    /// Takes over what another process has changed.
    pub fn refresh(&self) {
        let mut inner = self.inner();
        let stamp = fs::metadata(&inner.file).ok().map(|it| Stamp(it.ino(), it.size(), it.mtime(), it.mtime_nsec()));
        if stamp == inner.seen {
            return;
        }
        // Once for each file, also for one that is of no use.
        inner.seen = stamp;
        let taken = stamp.map_or_else(|| Ok(BTreeMap::new()), |_| load(&inner.file)).and_then(|changed| {
            let now = with(&inner.configured, &changed).map_err(|why| unusable(&inner.file, why))?;
            Ok((changed, now))
        });
        match taken {
            Ok((changed, now)) => (inner.changed, inner.now) = (changed, Arc::new(now)),
            Err(error) => tracing::warn!(event = "backfill.limits", "{error}: what held before holds on"),
        }
    }

    /// Changes some: `rows_per_s=5000`, or `rows_per_s=default` for what the configuration says.
    ///
    /// # Errors
    /// `Input`: one of them cannot be; none is changed then. `Disk`: they could not be kept.
    pub fn change<T: AsRef<str>>(&self, words: &[T]) -> Result<()> {
        self.refresh();
        let mut inner = self.inner();
        let bad =
            |why: String| Error::new(Kind::Input, Side::Own, why).hint("twinline backfill limit shows all of them");
        let mut changed = inner.changed.clone();
        for words in words {
            let words = words.as_ref();
            let (name, value) =
                words.split_once('=').ok_or_else(|| bad(format!("\"{words}\" is no KEY=VALUE, as rows_per_s=5000")))?;
            let key = backfill_key(name.trim()).map_err(bad)?;
            if value.trim() == DEFAULT {
                changed.remove(key.name);
                continue;
            }
            let mut tried = inner.configured.clone();
            tried.set(key.name, value.trim()).map_err(bad)?;
            changed.insert(key.name.to_owned(), tried.shown(key));
        }
        let now = with(&inner.configured, &changed).map_err(bad)?;
        keep(&inner.file, &changed)?;
        (inner.changed, inner.now) = (changed, Arc::new(now));
        Ok(())
    }

    /// All of them, for programs.
    #[must_use]
    pub fn document(&self) -> Value {
        let inner = self.inner();
        let row = |key: &crate::config::BackfillKey| {
            json!({
                "key": key.name,
                "value": inner.now.shown(key),
                "configured": inner.configured.shown(key),
                "changed": inner.changed.contains_key(key.name),
                "what": key.what,
            })
        };
        json!({ "schema": SCHEMA, "limits": BACKFILL_KEYS.iter().map(row).collect::<Vec<_>>() })
    }
}

fn with(configured: &Backfill, changed: &BTreeMap<String, String>) -> std::result::Result<Backfill, String> {
    let mut limits = configured.clone();
    changed.iter().try_for_each(|(key, value)| limits.set(key, value))?;
    Ok(limits)
}

fn unusable(file: &Path, why: String) -> Error {
    let what = format!("the changed limits in {} cannot be used: {why}", file.display());
    Error::new(Kind::Input, Side::Own, what).hint("change one again with twinline backfill limit, or remove the file")
}

fn load(file: &Path) -> Result<BTreeMap<String, String>> {
    let fault = |e: io::Error| Error::disk(format!("the changed limits in {}", file.display()), e);
    let mut text = String::new();
    File::open(file).map_err(fault)?.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(fault)?;
    let changes: Changes = serde_json::from_str(&text).map_err(|e| unusable(file, e.to_string()))?;
    match changes.schema.as_str() {
        SCHEMA => Ok(changes.changed),
        other => Err(unusable(file, format!("they are \"{other}\", and not \"{SCHEMA}\""))),
    }
}

/// A new file in the place of the old one. Whoever copies may be another user than whoever changes: all may read it, it holds no secret.
fn keep(file: &Path, changed: &BTreeMap<String, String>) -> Result<()> {
    let fault = |e: io::Error| Error::disk(format!("cannot keep the changed limits in {}", file.display()), e);
    let changes = Changes { schema: SCHEMA.to_owned(), changed: changed.clone() };
    let text = serde_json::to_vec_pretty(&changes).map_err(|e| fault(io::Error::other(e)))?;
    let next = file.with_extension(format!("{}.next", std::process::id()));
    let written = || {
        let mut new = OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(&next)?;
        new.write_all(&text)?;
        new.sync_all()?;
        fs::rename(&next, file)?;
        file.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
    };
    written().map_err(fault)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_holds_for_all_and_outlives_them() {
        let dir = tempfile::tempdir().unwrap();
        let mut configured = Backfill::default();
        configured.change("rows_per_s=7").unwrap();
        let (one, other) = (Limits::open(&configured, dir.path()), Limits::open(&configured, dir.path()));
        one.change(&["rows_per_s=5_000", "paused=true"]).unwrap();
        assert_eq!((one.now().rows_per_s, one.now().paused), (5000, true));
        assert_eq!(other.now().rows_per_s, 7);
        other.refresh();
        assert_eq!((other.now().rows_per_s, other.now().paused), (5000, true));
        let document = Limits::open(&configured, dir.path()).document();
        let row = &document["limits"].as_array().unwrap()[1];
        assert_eq!(document["schema"], SCHEMA);
        assert_eq!(
            (&row["key"], &row["value"], &row["configured"]),
            (&"rows_per_s".into(), &"5000".into(), &"7".into())
        );
        assert_eq!(row["changed"], true);
        // Two who change different keys do not undo each other.
        other.change(&["requests_at_once=1"]).unwrap();
        one.change(&["rows_per_s=default"]).unwrap();
        assert_eq!((one.now().rows_per_s, one.now().paused, one.now().requests_at_once), (7, true, 1));
    }

    #[test]
    fn what_is_wrong_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let limits = Limits::open(&Backfill::default(), dir.path());
        let error = limits.change(&["rows_per_s=5", "quota_share=0"]).unwrap_err();
        assert!(error.to_string().contains("within 1 to 100"), "{error}");
        assert_eq!(*limits.now(), Backfill::default());
        assert!(limits.change(&["row_per_s=5"]).unwrap_err().to_string().contains("did you mean rows_per_s?"));
        limits.change(&["rows_per_s=5"]).unwrap();
        for broken in [
            "",
            "{",
            "{\"schema\":\"x\",\"changed\":{}}",
            "{\"schema\":\"twinline.backfill_limits/1\",\"changed\":{\"no\":\"1\"}}",
        ] {
            fs::write(dir.path().join(FILE), broken).unwrap();
            limits.refresh();
            assert_eq!(limits.now().rows_per_s, 5, "{broken:?}: what held before holds on");
        }
        assert_eq!(Limits::open(&Backfill::default(), dir.path()).now().rows_per_s, 0);
        limits.change(&["paused=true"]).unwrap();
        assert_eq!(Limits::open(&Backfill::default(), dir.path()).now().rows_per_s, 5, "and is kept anew");
        fs::remove_file(dir.path().join(FILE)).unwrap();
        limits.refresh();
        assert_eq!(*limits.now(), Backfill::default());
    }
}
