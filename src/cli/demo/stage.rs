//! What the demonstration needs on this machine: a directory, two databases in this process, a configuration for Twinline.

use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::base::Error;
use crate::cli::exit::Failure;
use crate::sandbox::{Options, Sandbox};

/// The database that the clients write to, on both sides.
pub(super) const DATABASE: &str = "demo";
/// Below the ports that systems lend to outgoing connections: while one of our listeners is closed, nobody takes its place.
const PORTS: std::ops::Range<u16> = 15_000..32_000;
const TRIES: usize = 100;

/// A new directory below the system's one for temporary files; removed at the end unless told otherwise.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    keep: bool,
}

impl Directory {
    pub(super) fn create() -> Result<Self, Failure> {
        let name = format!("twinline-demo-{}-{:06x}", std::process::id(), fastrand::u32(..1 << 24));
        let path = std::env::temp_dir().join(name);
        let made = std::fs::DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|e| Error::disk(format!("cannot make {}", path.display()), e))?;
        Ok(Self { path, keep: false })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves it there: it shows what went wrong.
    pub(super) fn keep(&mut self) {
        self.keep = true;
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if !self.keep {
            // What cannot be removed stays in the directory for temporary files, where the system clears up.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

/// The two databases and the address at which Twinline will listen.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) source: Rc<Sandbox>,
    pub(super) destination: Rc<Sandbox>,
    pub(super) port: u16,
}

impl Stage {
    pub(super) fn build(values_max: u64) -> Result<Self, Failure> {
        let source = sandbox(values_max)?;
        let destination = sandbox(values_max)?;
        Ok(Self { source: Rc::new(source), destination: Rc::new(destination), port: free_port()? })
    }

    /// Twinline's configuration, with paths below `directory`.
    pub(super) fn configuration(&self, directory: &Path) -> String {
        // In a TOML string, and with our own substitution switched off.
        let path = |name: &str| {
            let text = directory.join(name).to_string_lossy().replace('$', "$$");
            toml::Value::String(text).to_string()
        };
        let (data_dir, socket) = (path("data"), path("twinline.sock"));
        let (port, source, destination) = (self.port, self.source.url(), self.destination.url());
        format!(
            r#"# Made by twinline demo.
name = "demo"
data_dir = {data_dir}

[[listen]]
address = "127.0.0.1:{port}"    # the clients write here

[[listen]]
address = "127.0.0.1:0"
role = "admin"

[listen_unix]
path = {socket}

[source]                        # the database in use, a sandbox
url = "{source}"
kind = "influxdb1"

[destination]                   # the new database, another sandbox
url = "{destination}"
kind = "influxdb1"

[destination.delivery]
retry_initial = "100ms"         # short pauses, because the whole demonstration is short
retry_max = "1s"
late_write_max = "1s"

[limits]
max_body = "64MiB"              # what the short queue below holds

[queue]
max_size = "256MiB"
segment_size = "1MiB"           # small, so that the queue changes files often
reserve_free = "16MiB"
stall_ms = 60000                # a busy laptop is no fault of the disk
on_unavailable = "refuse"       # the clients repeat what is refused

[log]
format = "text"
"#
        )
    }
}

fn sandbox(values_max: u64) -> Result<Sandbox, Failure> {
    let mut last = None;
    for _ in 0..TRIES {
        let options = Options { port: fastrand::u16(PORTS), max_points: values_max, ..Options::default() };
        match Sandbox::spawn_thread(options) {
            Ok(sandbox) => {
                sandbox.create_database(DATABASE);
                return Ok(sandbox);
            }
            Err(error) => last = Some(error),
        }
    }
    Err(last.map_or_else(no_port, Failure::from))
}

fn free_port() -> Result<u16, Failure> {
    let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    std::iter::repeat_with(|| fastrand::u16(PORTS)).take(TRIES).find(is_free).ok_or_else(no_port)
}

fn no_port() -> Failure {
    let what = format!("no free port between {} and {} on 127.0.0.1", PORTS.start, PORTS.end);
    Failure::new(crate::cli::exit::Exit::Failed, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_is_valid_wherever_the_directory_lies() {
        let stage = Stage::build(10).unwrap();
        for directory in ["/srv/x", "/srv/a \"b\" ${HOME} \\c", "/srv/'"] {
            let loaded = crate::config::parse(&stage.configuration(Path::new(directory)), &|_| None).unwrap();
            assert_eq!(loaded.config.data_dir, Path::new(directory).join("data"));
            assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
        }
    }

    #[test]
    fn the_directory_goes_unless_kept() {
        let directory = Directory::create().unwrap();
        let path = directory.path().to_owned();
        std::fs::write(path.join("x"), "x").unwrap();
        drop(directory);
        assert!(!path.exists());
        let mut directory = Directory::create().unwrap();
        let path = directory.path().to_owned();
        directory.keep();
        drop(directory);
        assert!(path.exists());
        std::fs::remove_dir(path).unwrap();
    }
}
