//! The files that are meant, and what tells one from another.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

use super::shown;
use crate::backfill::files::HEAD_BYTES;
use crate::cli::exit::{Exit, Failure};

/// Files of one command.
const FILES_MAX: usize = 10_000;
/// Folders in folders.
const DEPTH_MAX: usize = 32;

/// One file.
#[derive(Debug)]
pub(super) struct Source {
    /// As it is known in checkpoints: absolute, or `-`.
    pub(super) path: PathBuf,
    /// For people.
    pub(super) name: String,
    pub(super) identity: Identity,
    /// What was read of stdin already; nothing of a file.
    pub(super) begun: Vec<u8>,
}

/// What must be the same for a file to be the same.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Identity {
    /// Bytes; 0 for stdin, where nobody knows.
    pub(super) size: u64,
    /// When it was changed last; 0 for stdin.
    pub(super) modified_ns: i64,
    /// Hash of its beginning, as it lies on disk.
    pub(super) head: String,
}

/// All files of these paths, in order: those of a directory by name, without hidden ones.
pub(super) fn find(paths: &[PathBuf]) -> Result<Vec<Source>, Failure> {
    let mut all = Vec::new();
    for path in paths {
        if path.as_os_str() == "-" {
            all.push(stdin()?);
        } else {
            walk(path, &mut all, DEPTH_MAX)?;
        }
    }
    if all.is_empty() {
        let names: Vec<_> = paths.iter().map(|path| shown(path)).collect();
        let what = format!("there is no file in {}", names.join(", "));
        return Err(Failure::new(Exit::Usage, what).hint("name files, directories that hold some, or - for stdin"));
    }
    Ok(all)
}

fn walk(path: &Path, all: &mut Vec<Source>, depth: usize) -> Result<(), Failure> {
    let failed = |error: io::Error| {
        Failure::new(Exit::Failed, format!("cannot read {}: {error}", path.display()))
            .hint("name files that can be read, directories of them, or - for stdin")
    };
    let found = path.metadata().map_err(failed)?;
    if !found.is_dir() {
        if all.len() == FILES_MAX {
            let what = format!("there are more than {FILES_MAX} files");
            return Err(Failure::new(Exit::Usage, what).hint("several commands, one after the other"));
        }
        all.push(file(path).map_err(failed)?);
        return Ok(());
    }
    if depth == 0 {
        return Err(failed(io::Error::other("it lies too deep")));
    }
    let mut inside = Vec::new();
    for entry in path.read_dir().map_err(failed)? {
        let entry = entry.map_err(failed)?;
        // A link to a folder above would have no end.
        let is_linked_folder = entry.file_type().map_err(failed)?.is_symlink() && entry.path().is_dir();
        if !entry.file_name().as_encoded_bytes().starts_with(b".") && !is_linked_folder {
            inside.push(entry.path());
        }
    }
    inside.sort();
    inside.iter().try_for_each(|path| walk(path, all, depth - 1))
}

fn file(path: &Path) -> io::Result<Source> {
    let file = File::open(path)?;
    let about = file.metadata()?;
    let head = head(file)?;
    let modified_ns = about.mtime().saturating_mul(1_000_000_000).saturating_add(about.mtime_nsec());
    let identity = Identity { size: about.size(), modified_ns, head: hash(&head) };
    let name = path.display().to_string();
    Ok(Source { path: std::path::absolute(path)?, name, identity, begun: Vec::new() })
}

fn stdin() -> Result<Source, Failure> {
    let begun =
        head(io::stdin().lock()).map_err(|error| Failure::new(Exit::Failed, format!("cannot read stdin: {error}")))?;
    let identity = Identity { size: 0, modified_ns: 0, head: hash(&begun) };
    let path = PathBuf::from("-");
    Ok(Source { name: shown(&path), path, identity, begun })
}

fn head(input: impl Read) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    input.take(HEAD_BYTES as u64).read_to_end(&mut head)?;
    Ok(head)
}

fn hash(head: &[u8]) -> String {
    format!("{:016x}", xxh3_64(head))
}

impl Source {
    /// It can be read twice.
    pub(super) fn is_regular(&self) -> bool {
        self.path.as_os_str() != "-" && self.path.metadata().is_ok_and(|about| about.is_file())
    }

    /// From its beginning.
    pub(super) fn open(&mut self) -> io::Result<Box<dyn Read + Send>> {
        if self.path.as_os_str() == "-" {
            return Ok(Box::new(io::Cursor::new(std::mem::take(&mut self.begun)).chain(io::stdin())));
        }
        Ok(Box::new(File::open(&self.path)?))
    }
}
