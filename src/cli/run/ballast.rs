//! The ballast: space that is taken while there is plenty, so that an operator has some to give when the disk is full.
//!
//! Promise: made only where a multiple of it is free beyond what the log leaves alone; never touched again but by
//! `twinline queue release-ballast`. It holds zeros; nothing depends on it.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate, statvfs};
use rustix::io::Errno;

use crate::base::size::ByteSize;
use crate::config::Config;

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

/// Makes it where it is missing and there is room for it. Best effort.
pub(super) fn keep(config: &Config) {
    let bytes = config.queue.ballast.0;
    let path = path(&config.data_dir);
    if bytes == 0 || path.exists() {
        return;
    }
    let made = statvfs(&config.data_dir).map_err(io::Error::from).and_then(|system| {
        let free = system.f_bavail.saturating_mul(system.f_frsize);
        let enough = free >= config.queue.reserve_free.0.saturating_add(bytes.saturating_mul(PLENTY));
        if enough { make(&path, bytes).map(|()| true) } else { Ok(false) }
    });
    match made {
        Ok(true) => tracing::debug!(path = %path.display(), "ballast of {} is in place", ByteSize(bytes)),
        Ok(false) => tracing::info!("no ballast: there is too little free space for it now"),
        Err(error) => tracing::warn!(path = %path.display(), %error, "no ballast: its space cannot be taken"),
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
