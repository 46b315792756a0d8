//! A database that is no InfluxDB: a process on a port and in a directory of its own, ended when dropped.

use std::path::Path;
use std::process::Child;

/// Starts it in a directory, on this address; gives the process and the address that it listens on.
pub(crate) type Spawn = fn(&Path, &str) -> (Child, String);

pub(crate) struct Foreign {
    /// `127.0.0.1:PORT`.
    pub(crate) addr: String,
    pub(crate) child: Child,
    pub(crate) directory: tempfile::TempDir,
    spawn: Spawn,
}

impl Drop for Foreign {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Foreign {
    pub(crate) fn start(spawn: Spawn) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (child, addr) = spawn(directory.path(), "127.0.0.1:0");
        Self { addr, child, directory, spawn }
    }

    /// Killed at once, and started again where it was.
    pub(crate) fn kill_and_start(&mut self) {
        self.kill();
        self.start_again();
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Where it was.
    pub(crate) fn start_again(&mut self) {
        (self.child, _) = (self.spawn)(self.directory.path(), &self.addr);
    }
}
