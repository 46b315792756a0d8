//! Where the log lies, and whether a twinline works on it now.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use super::super::Global;
use super::super::exit::{Exit, Failure};
use super::super::status::send;
use crate::base::{DestinationId, Error, Lsn, disk};
use crate::config::Config;
use crate::control::QueueFacts;
use crate::wal::look::Look;

/// A data directory.
#[derive(Debug)]
pub(in crate::cli) struct Place {
    /// It.
    pub(in crate::cli) data_dir: PathBuf,
    socket: PathBuf,
    /// None where the directory was named instead of a configuration.
    pub(in crate::cli) config: Option<Config>,
    /// The destination that was named.
    pub(in crate::cli) destination: Option<String>,
    /// As the user named it, for the commands that we propose.
    option: String,
}

/// Whether a twinline works on it.
#[derive(Debug)]
pub(in crate::cli) enum Life {
    /// It does, and says this.
    Running(Box<QueueFacts>),
    /// None does.
    Stopped,
}

impl Life {
    pub(in crate::cli) fn facts(&self) -> Option<&QueueFacts> {
        match self {
            Self::Running(facts) => Some(facts),
            Self::Stopped => None,
        }
    }

    pub(in crate::cli) fn word(&self) -> &'static str {
        if self.facts().is_some() { "running" } else { "stopped" }
    }
}

impl Place {
    pub(in crate::cli) fn find(
        global: &Global,
        named: Option<&Path>,
        destination: Option<&str>,
    ) -> Result<Self, Failure> {
        let (data_dir, socket, config, option) = match named {
            Some(dir) => (
                dir.to_owned(),
                dir.join("twinline.sock"),
                None,
                format!(" --data-dir {}", quoted(&dir.display().to_string())),
            ),
            None => {
                let config = global.load()?.config;
                let option = match &global.config {
                    Some(path) => format!(" -c {}", quoted(&path.display().to_string())),
                    None => String::new(),
                };
                (config.data_dir.clone(), config.unix_socket.clone(), Some(config), option)
            }
        };
        let config = match (config, destination) {
            (Some(config), Some(id)) => Some(config.one(Some(id)).map_err(|what| Failure::new(Exit::Usage, what))?),
            (config, _) => config,
        };
        let option = option + &destination.map_or(String::new(), |id| format!(" --destination {}", quoted(id)));
        let place = Self { data_dir, socket, config, destination: destination.map(str::to_owned), option };
        place.is_one()?;
        Ok(place)
    }

    /// The same for a command that is about one destination: where there are several, one must be named.
    pub(in crate::cli) fn of_one(self) -> Result<Self, Failure> {
        let several = match &self.config {
            Some(config) => config.one(None).err(),
            None => self.life()?.facts().and_then(QueueFacts::several),
        };
        match several {
            Some(what) => Err(Failure::new(Exit::Usage, what).hint("name one: --destination ID")),
            None => Ok(self),
        }
    }

    /// Whose rows of the file of a stopped twinline are meant. `known`: those that have some there; `what`: what these are, in plural.
    pub(in crate::cli) fn one_of(
        &self,
        what: &str,
        known: impl FnOnce() -> crate::base::Result<Vec<String>>,
    ) -> Result<DestinationId, Failure> {
        if let Some(config) = &self.config {
            return Ok(config.destination().id.clone());
        }
        if let Some(id) = &self.destination {
            return DestinationId::parse(id).map_err(|why| Failure::new(Exit::Usage, why));
        }
        let mut all = known().map_err(failure)?;
        let name = match all.len() {
            0 => "main".to_owned(),
            1 => all.remove(0),
            _ => {
                let what = format!("there are {what} of several destinations: {}", all.join(", "));
                return Err(Failure::new(Exit::Usage, what).hint("name one: --destination ID"));
            }
        };
        DestinationId::parse(&name).map_err(|why| Failure::new(Exit::Failed, why))
    }

    /// A path of the running twinline, with the destination that was named.
    pub(in crate::cli) fn at(&self, path: &str) -> String {
        let apart = if path.contains('?') { '&' } else { '?' };
        self.destination.as_ref().map_or_else(|| path.to_owned(), |id| format!("{path}{apart}destination={id}"))
    }

    /// The directory of the log.
    pub(in crate::cli) fn wal(&self) -> PathBuf {
        self.data_dir.join("wal")
    }

    /// Where the running twinline answers.
    pub(in crate::cli) fn socket(&self) -> &Path {
        &self.socket
    }

    /// A command of this place that we propose.
    pub(in crate::cli) fn command(&self, words: &str) -> String {
        format!("twinline queue{} {words}", self.option)
    }

    /// A command about dead letters of this place that we propose.
    pub(in crate::cli) fn letters_command(&self, words: &str) -> String {
        format!("twinline deadletter{} {words}", self.option)
    }

    /// A command about statements of this place that we propose.
    pub(in crate::cli) fn statements_command(&self, words: &str) -> String {
        format!("twinline statements{} {words}", self.option)
    }

    /// A request with a document to the running twinline.
    pub(in crate::cli) fn send<T: serde::de::DeserializeOwned>(&self, path: &str, body: &[u8]) -> Result<T, Failure> {
        understood(&send(&self.socket, "POST", path, body)?)
    }

    /// Whether it looks like one of ours at all.
    fn is_one(&self) -> Result<(), Failure> {
        let (dir, shown) = (&self.data_dir, self.data_dir.display());
        let seg = dir.join("wal/seg");
        match seg.metadata() {
            Ok(found) if found.is_dir() => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Err(forbidden(&seg, &error)),
            _ => {}
        }
        let failed = |what: String| Failure::new(Exit::Failed, what);
        if !dir.exists() {
            return Err(
                failed(format!("there is no directory {shown}")).hint("twinline run makes data_dir at its first start")
            );
        }
        let above = dir.ancestors().skip(1).take(2).find(|above| above.join("wal/seg").is_dir());
        let failure = failed(format!("{shown} is no data directory of twinline: there is no wal/seg in it"));
        Err(match above {
            Some(above) => failure.hint(format!("--data-dir {}", above.display())),
            None => failure.hint("--data-dir takes what data_dir is in twinline.toml"),
        })
    }

    /// Asks whether a twinline works here.
    pub(in crate::cli) fn life(&self) -> Result<Life, Failure> {
        match UnixStream::connect(&self.socket) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Err(forbidden(&self.socket, &error));
            }
            Err(error) => return self.nobody_answers(&error),
        }
        let facts: QueueFacts = self.ask("GET", &self.at("/api/v1/queue"))?;
        let other = |path: &Path| path.metadata().ok().map(|found| (found.dev(), found.ino()));
        if other(Path::new(&facts.dir)) != other(&self.wal()) {
            let what = format!(
                "the twinline at {} works on {}, not on {}",
                self.socket.display(),
                facts.dir,
                self.wal().display()
            );
            return Err(Failure::new(Exit::Refused, what).hint("the configuration that this twinline was started with"));
        }
        Ok(Life::Running(Box::new(facts)))
    }

    /// One request to the running twinline.
    pub(in crate::cli) fn ask<T: serde::de::DeserializeOwned>(&self, method: &str, path: &str) -> Result<T, Failure> {
        understood(&send(&self.socket, method, path, b"")?)
    }

    /// What the running twinline says; without one there is nothing to do.
    pub(in crate::cli) fn running(&self) -> Result<QueueFacts, Failure> {
        match self.life()? {
            Life::Running(facts) => Ok(*facts),
            Life::Stopped => Err(self.nobody_runs()),
        }
    }

    /// There is nothing to do without one.
    pub(in crate::cli) fn nobody_runs(&self) -> Failure {
        let what = format!("no twinline runs on {}", self.data_dir.display());
        Failure::new(Exit::Unreachable, what).hint("twinline run")
    }

    fn nobody_answers(&self, error: &io::Error) -> Result<Life, Failure> {
        let lock = self.wal().join("LOCK");
        let Some(process) = holder(&lock) else { return Ok(Life::Stopped) };
        let what = format!(
            "{} is in use by process {process}, which does not answer at {}: {error}",
            self.data_dir.display(),
            self.socket.display()
        );
        let hint = match &self.config {
            Some(_) => {
                "wait while it starts or ends; if it does neither, see whether unix_socket was changed since it started"
            }
            None => {
                "name its configuration (-c FILE): unix_socket may be somewhere else; or wait while it starts or ends"
            }
        };
        Err(Failure::new(Exit::Locked, what).hint(hint))
    }

    /// Looks at the log; of a running twinline up to what is durable.
    pub(in crate::cli) fn look(&self) -> Result<(Look, Life), Failure> {
        let life = self.life()?;
        let durable = life.facts().map(|facts| Lsn(facts.durable));
        let look = Look::open(disk::real(), &self.wal(), durable).map_err(failure)?;
        Ok((look, life))
    }
}

/// The document of an answer of the running twinline.
pub(in crate::cli) fn understood<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|e| {
        Failure::new(Exit::Failed, format!("the answer of the running twinline is not understood: {e}"))
            .hint("use the same version of twinline on both sides")
    })
}

/// As an argument of a shell.
pub(in crate::cli) fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

fn forbidden(path: &Path, error: &io::Error) -> Failure {
    Failure::new(Exit::Auth, format!("{}: {error}", path.display()))
        .hint("run it as the user that twinline runs as (sudo -u twinline …): the log holds clients' data, nobody else may read it")
}

/// An error of the log, with the code for a missing right where it is that.
pub(in crate::cli) fn failure(error: Error) -> Failure {
    let denied = std::error::Error::source(&error)
        .and_then(|cause| cause.downcast_ref::<io::Error>())
        .is_some_and(|cause| cause.kind() == io::ErrorKind::PermissionDenied);
    let failure = Failure::from(error);
    if !denied {
        return failure;
    }
    Failure { exit: Exit::Auth, ..failure }
        .hint("run it as the user that twinline runs as (sudo -u twinline …): the log holds clients' data, nobody else may read it")
}

/// The process that holds a file's lock, as the kernel lists it: to ask by locking would be in a start's way.
pub(in crate::cli) fn holder(path: &Path) -> Option<u32> {
    let file = path.metadata().ok()?;
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    locks.lines().find_map(|line| {
        // 1: FLOCK  ADVISORY  WRITE 4711 08:02:131 0 EOF
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, "FLOCK", _, _, process, at, ..] = words[..] else { return None };
        let inode: u64 = at.rsplit(':').next()?.parse().ok()?;
        let process: u32 = process.parse().ok()?;
        (inode == file.ino() && has_open(process, path, &file)).then_some(process)
    })
}

/// Numbers of files repeat on other disks: the process must have this one open, unless it does not let us see.
fn has_open(process: u32, path: &Path, file: &std::fs::Metadata) -> bool {
    let Ok(open) = std::fs::read_dir(format!("/proc/{process}/fd")) else { return true };
    let same = |found: &std::fs::Metadata| (found.dev(), found.ino()) == (file.dev(), file.ino());
    open.flatten().any(|fd| fd.path().metadata().is_ok_and(|found| same(&found)))
        || path.canonicalize().is_ok_and(|whole| names(process).contains(&whole))
}

fn names(process: u32) -> Vec<PathBuf> {
    let open = std::fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten().flatten();
    open.filter_map(|fd| std::fs::read_link(fd.path()).ok()).collect()
}
