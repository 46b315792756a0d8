//! Files that a command writes: there under their own names only once they are whole.
//!
//! Promise: what is there already is replaced only where the user says so, in one step, and never anything but a plain file; what was
//! begun and not kept is gone.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::exit::{Exit, Failure};

/// Before anything is read: where it must not go.
pub(super) fn refuse_place(data_dir: &Path, out: &Path, force: bool) -> Result<(), Failure> {
    if out.as_os_str() == "-" {
        let what = "it goes to a file, which has its name only once it is whole; not to stdout".to_owned();
        return Err(Failure::new(Exit::Usage, what).hint("--out FILE"));
    }
    let elsewhere = |what: String| Err(Failure::new(Exit::Refused, what).hint("--out somewhere else"));
    let folder = folder(out);
    let whole = folder.canonicalize().map_err(|e| failed(out, &e))?;
    if data_dir.canonicalize().is_ok_and(|dir| whole.starts_with(dir)) {
        return elsewhere(format!("{} lies in data_dir, where nobody but twinline writes", out.display()));
    }
    match out.symlink_metadata() {
        // A rename would put a file in the place of a device or a link.
        Ok(there) if !there.is_file() => {
            elsewhere(format!("{} is there and no plain file: it is not replaced", out.display()))
        }
        Ok(_) if !force => Err(exists(out)),
        _ => Ok(()),
    }
}

fn exists(out: &Path) -> Failure {
    Failure::new(Exit::Refused, format!("{} exists already", out.display())).hint("--force replaces it")
}

fn failed(out: &Path, error: &io::Error) -> Failure {
    let exit = if error.kind() == io::ErrorKind::PermissionDenied { Exit::Auth } else { Exit::Failed };
    Failure::new(exit, format!("cannot write {}: {error}", out.display())).hint("--out somewhere else")
}

fn folder(out: &Path) -> PathBuf {
    match out.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// A file that is not there under its own name before it is whole. Dropped, it is gone.
#[derive(Debug)]
pub(super) struct Draft {
    path: PathBuf,
    file: File,
}

impl Draft {
    /// Begins one beside where it will be.
    pub(super) fn new(out: &Path) -> Result<Self, Failure> {
        let Some(name) = out.file_name() else {
            return Err(Failure::new(Exit::Usage, format!("{} is no name of a file", out.display())).hint("--out FILE"));
        };
        let path = folder(out).join(format!(".{}.{}.next", name.to_string_lossy(), std::process::id()));
        let mut options = File::options();
        // Clients' data is in it.
        let file = options.write(true).create_new(true).mode(0o600).open(&path).map_err(|e| failed(out, &e))?;
        Ok(Self { path, file })
    }

    /// What is written to.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes it durable under its name; says how long it is.
    pub(super) fn keep(&self, out: &Path, force: bool) -> Result<u64, Failure> {
        let error = |e: io::Error| failed(out, &e);
        self.file.sync_all().map_err(error)?;
        let bytes = self.file.metadata().map_err(error)?.len();
        // In one step, unlike a look and a rename.
        let moved = match force {
            true => std::fs::rename(&self.path, out),
            false => renameat_with(CWD, &self.path, CWD, out, RenameFlags::NOREPLACE).map_err(io::Error::from),
        };
        moved.map_err(|e| match e.kind() {
            io::ErrorKind::AlreadyExists if !force => exists(out),
            _ => error(e),
        })?;
        File::open(folder(out)).and_then(|folder| folder.sync_all()).map_err(error)?;
        Ok(bytes)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // After a rename there is none.
        let _ = std::fs::remove_file(&self.path);
    }
}
