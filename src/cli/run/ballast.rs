//! The ballast: space that is taken while there is plenty, so that an operator has some to give when the disk is full.
//!
//! Promise: made only where a multiple of it is free beyond what the log leaves alone; never touched again but by
//! `twinline queue release-ballast`. It holds zeros; nothing depends on it. Where there is none, operators hear so once, until
//! there was one.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate, statvfs};
use rustix::io::Errno;

use crate::base::size::ByteSize;
use crate::config::Config;
use crate::state::{EventKind, SharedState};

/// Name of the file below `data_dir`.
const NAME: &str = "ballast.reserve";
/// It is made where so many times as much is free.
const PLENTY: u64 = 4;
/// Where the file system cannot set space aside, zeros are written in steps of this size.
const STEP_BYTES: usize = 1 << 20;

/// Where it lies.
pub(crate) fn path(data_dir: &Path) -> PathBuf {
    data_dir.join(NAME)
}

/// What operators heard last: a value of the state store, 1 while there is none.
const MISSED: &str = "ballast-missed";

/// Makes it where it is missing and there is room for it, and tells where there is none. Best effort.
pub(super) fn keep(config: &Config, state: &SharedState, now_ns: i64) {
    let missed = make_it(config);
    let told = state.get(MISSED).wait().ok().flatten().is_some_and(|value| value == b"1");
    if told == missed.is_some() {
        return;
    }
    if let Some(text) = missed {
        super::stores::tell(state, now_ns, EventKind::BallastMissing, text);
        drop(state.set(MISSED, b"1".to_vec()));
    } else {
        drop(state.set(MISSED, b"0".to_vec()));
    }
}

/// Why there is none, and what to do.
fn make_it(config: &Config) -> Option<String> {
    let bytes = config.queue.ballast.0;
    let path = path(&config.data_dir);
    if bytes == 0 || path.exists() {
        return None;
    }
    let needed = config.queue.reserve_free.0.saturating_add(bytes.saturating_mul(PLENTY));
    let none = |why: String| {
        format!(
            "there is no ballast to give back when the disk of data_dir is full: {why}; free space or use a larger disk, then \
             start again, or set queue.ballast smaller, or to 0 to do without"
        )
    };
    let made = statvfs(&config.data_dir).map_err(io::Error::from).and_then(|system| {
        let free = system.f_bavail.saturating_mul(system.f_frsize);
        let whole = system.f_blocks.saturating_mul(system.f_frsize);
        if free >= needed { make(&path, bytes).map(|()| None) } else { Ok(Some((free, whole))) }
    });
    match made {
        Ok(None) => {
            tracing::debug!(path = %path.display(), "ballast of {} is in place", ByteSize(bytes));
            None
        }
        Ok(Some((free, whole))) => {
            let [bytes, free, whole, needed] = [bytes, free, whole, needed].map(ByteSize);
            let fits = if whole < needed { format!(", and the whole disk has {whole}") } else { String::new() };
            Some(none(format!("it takes {bytes} where {needed} are free, {free} are{fits}")))
        }
        Err(error) => Some(none(format!("its space cannot be taken: {error}"))),
    }
}

/// Under another name until all of its space is taken.
fn make(path: &Path, bytes: u64) -> io::Result<()> {
    let next = path.with_extension("next");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&next)?;
    let taken = match fallocate(&file, FallocateFlags::empty(), 0, bytes) {
        Err(Errno::OPNOTSUPP) => write_zeros(&mut file, bytes),
        other => other.map_err(io::Error::from),
    };
    if let Err(error) = taken {
        std::fs::remove_file(&next)?;
        return Err(error);
    }
    file.sync_all()?;
    std::fs::rename(&next, path)
}

fn write_zeros(file: &mut impl Write, bytes: u64) -> io::Result<()> {
    let zeros = vec![0; STEP_BYTES];
    let mut left = bytes;
    while left > 0 {
        let now = left.min(zeros.len() as u64) as usize;
        file.write_all(&zeros[..now])?;
        left -= now as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_space_is_taken_and_nothing_is_left_where_there_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = path(dir.path());
        make(&path, 3 << 20).unwrap();
        let metadata = std::fs::metadata(&path).unwrap();
        assert_eq!(metadata.len(), 3 << 20);
        assert!(std::os::unix::fs::MetadataExt::blocks(&metadata) * 512 >= 3 << 20, "no holes");
        std::fs::remove_file(&path).unwrap();
        assert!(make(&path, 1 << 60).is_err());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
