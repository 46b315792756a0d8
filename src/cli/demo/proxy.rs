//! Twinline itself, as a process of its own: started, killed, started again, asked for its status.

use std::fs::{File, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use crate::base::Error;
use crate::cli::exit::{Exit, Failure};
use crate::cli::status::get;
use crate::control::Status;

/// A start may take this long on a busy machine.
const START_MAX: Duration = Duration::from_secs(60);
/// A clean end may take this long before it is forced.
const STOP_MAX: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How many lines of the log are shown after a failure.
const TAIL_LINES: usize = 15;

/// The process. None stays behind: dropping it kills it, and the system ends it when this process is gone.
#[derive(Debug)]
pub(super) struct Proxy {
    program: PathBuf,
    config: PathBuf,
    socket: PathBuf,
    log: PathBuf,
    child: Option<Child>,
}

impl Proxy {
    /// Nothing runs yet. Writes the configuration into `directory`.
    pub(super) fn new(directory: &Path, configuration: &str) -> Result<Self, Failure> {
        let program = std::env::current_exe().map_err(|e| Error::disk("cannot find my own program file", e))?;
        let config = directory.join("twinline.toml");
        std::fs::write(&config, configuration)
            .map_err(|e| Error::disk(format!("cannot write {}", config.display()), e))?;
        let (socket, log) = (directory.join("twinline.sock"), directory.join("twinline.log"));
        Ok(Self { program, config, socket, log, child: None })
    }

    pub(super) fn config(&self) -> &Path {
        &self.config
    }

    /// Where the process answers; it may be asked from another thread.
    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    /// Starts it and waits until it takes writes.
    pub(super) async fn start(&mut self) -> Result<(), Failure> {
        let cannot = |e| Error::disk(format!("cannot start {}", self.program.display()), e);
        let log: File = OpenOptions::new().create(true).append(true).open(&self.log).map_err(cannot)?;
        let mut command = self.twinline(&["run", "--end-with-parent"]);
        command.stdout(Stdio::null()).stderr(log);
        // A group of its own: Ctrl-C is for us, and we end it in order.
        command.process_group(0);
        self.child = Some(command.spawn().map_err(cannot)?);
        let ready = async {
            loop {
                self.still_runs()?;
                // Its status answers when its listeners are open.
                if self.status().await.is_some_and(|status| !status.facts.proxy.is_empty()) {
                    return Ok(());
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        tokio::time::timeout(START_MAX, ready).await.unwrap_or_else(|_| {
            Err(Failure::new(Exit::Failed, format!("Twinline did not start within {} s", START_MAX.as_secs())))
        })
    }

    /// Another command of the same program, as somebody types it beside the process; its end is waited for.
    pub(super) async fn command(&self, arguments: &[&str]) -> Result<(), Failure> {
        let mut command = self.twinline(arguments);
        let ended = tokio::task::spawn_blocking(move || command.output()).await;
        let cannot = |e| Error::disk(format!("cannot start {}", self.program.display()), e);
        let output = ended.map_err(std::io::Error::other).and_then(|output| output).map_err(cannot)?;
        if output.status.success() {
            return Ok(());
        }
        let (command, said) = (arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim_end().to_owned());
        Err(Failure::new(Exit::Failed, format!("twinline {command} failed ({}): {said}", output.status)))
    }

    fn twinline(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        for name in ["TWINLINE_CONFIG", "TWINLINE_OUTPUT", "TWINLINE_COLOR"] {
            command.env_remove(name);
        }
        command.args(arguments).arg("-c").arg(&self.config).stdin(Stdio::null());
        command
    }

    /// Ends it as a crash would: SIGKILL, nothing is flushed, nothing is told.
    pub(super) fn kill(&mut self) -> Result<(), Failure> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        let killed = child.kill().and_then(|()| child.wait());
        killed.map_err(|e| Error::disk("cannot kill Twinline", e))?;
        Ok(())
    }

    /// Ends it with SIGTERM; `None` when nothing ran or it had to be killed.
    pub(super) async fn stop(&mut self) -> Option<ExitStatus> {
        let child = self.child.as_ref()?;
        // It may have ended already; waiting tells.
        let _ = rustix::process::kill_process(rustix::process::Pid::from_child(child), rustix::process::Signal::TERM);
        let ended = async {
            loop {
                match self.child.as_mut()?.try_wait() {
                    Ok(None) => tokio::time::sleep(LOOK_EVERY).await,
                    Ok(Some(status)) => return Some(status),
                    Err(_) => return None,
                }
            }
        };
        let status = tokio::time::timeout(STOP_MAX, ended).await.ok().flatten();
        // Nothing to do when it ended by itself; whatever went wrong, it must not stay.
        let _ = self.kill();
        status
    }

    /// An error when it ended although nobody killed it.
    pub(super) fn still_runs(&mut self) -> Result<(), Failure> {
        let Some(child) = &mut self.child else { return Ok(()) };
        match child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => {
                self.child = None;
                Err(Failure::new(Exit::Failed, format!("Twinline ended by itself ({status})")))
            }
            Err(error) => Err(Error::disk("cannot look after Twinline", error).into()),
        }
    }

    /// What it says about itself; `None` while it does not answer.
    pub(super) async fn status(&self) -> Option<Status> {
        status(self.socket.clone()).await
    }

    /// The end of its log, for whoever looks for the cause of a failure.
    pub(super) fn log_tail(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = self.kill();
    }
}

/// Asks on another thread, so that a process that hangs holds nobody up here.
pub(super) async fn status(socket: PathBuf) -> Option<Status> {
    let asked = tokio::task::spawn_blocking(move || get(&socket, "/api/v1/status"));
    serde_json::from_slice(&asked.await.ok()?.ok()?).ok()
}
