//! Secrets: values that reach a request header and nothing else.

use std::fmt;
use std::io::Read;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// No password or token is longer; a longer one is the wrong file.
const MAX_BYTES: u64 = 64 << 10;
/// A password store that asks for a finger must not block the start for ever.
const COMMAND_LIMIT: Duration = Duration::from_secs(10);

/// A password or token. `Debug` does not show it and there is no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value that must not be printed.
    #[must_use]
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself, for a request header. Whoever calls this answers for where it goes.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Reads a secret file; one line end at the end is not part of the secret.
    ///
    /// # Errors
    /// A sentence for the user that does not hold the secret.
    pub(crate) fn from_file(path: &Path) -> Result<Self, String> {
        let cannot = |e: std::io::Error| format!("cannot read the secret file {}: {e}", path.display());
        let file = std::fs::File::open(path).map_err(cannot)?;
        let mut bytes = Vec::new();
        file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(cannot)?;
        Self::from_bytes(bytes, &format!("the secret file {}", path.display()))
    }

    /// Runs a command and takes its standard output; one line end at the end is not part of the secret.
    ///
    /// # Errors
    /// A sentence for the user that does not hold the secret: the command cannot start, fails, prints nothing, or takes over 10 s; then it is ended.
    pub(crate) fn from_command(command: &[String]) -> Result<Self, String> {
        Self::from_command_within(command, COMMAND_LIMIT)
    }

    fn from_command_within(command: &[String], limit: Duration) -> Result<Self, String> {
        let (program, arguments) = command.split_first().ok_or("the command is empty")?;
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| format!("cannot start \"{program}\": {e}"))?;
        let pid = Pid::from_child(&child);
        let (sender, receiver) = mpsc::sync_channel(1);
        // On another thread, because neither a read of a pipe nor a wait can be given up.
        std::thread::spawn(move || {
            // Nobody listens any more once the time is over.
            let _ = sender.send(end_of(child));
        });
        let (bytes, status) = match receiver.recv_timeout(limit) {
            Ok(end) => end.map_err(|e| format!("\"{program}\" gave no readable output: {e}"))?,
            Err(_) => {
                // One that has ended just now is no fault: it came too late all the same.
                let _ = kill_process(pid, Signal::KILL);
                return Err(format!("\"{program}\" did not end within {limit:?}: it must print the secret and end"));
            }
        };
        // A command whose output we stop reading dies of that; its length is the fault then, not its status.
        if !status.success() && bytes.len() as u64 <= MAX_BYTES {
            return Err(format!("\"{program}\" failed ({status})"));
        }
        Self::from_bytes(bytes, &format!("the output of \"{program}\""))
    }

    fn from_bytes(bytes: Vec<u8>, what: &str) -> Result<Self, String> {
        if bytes.len() as u64 > MAX_BYTES {
            return Err(format!("{what} is longer than {MAX_BYTES} bytes: that is not a secret"));
        }
        let text = String::from_utf8(bytes).map_err(|_| format!("{what} is not UTF-8 text"))?;
        let value = text.strip_suffix('\n').map_or(text.as_str(), |t| t.strip_suffix('\r').unwrap_or(t));
        if value.is_empty() {
            return Err(format!("{what} is empty"));
        }
        if value.contains(['\n', '\r']) {
            return Err(format!("{what} has more than one line"));
        }
        Ok(Self(value.to_owned()))
    }
}

/// What a command has printed, and how it ended.
fn end_of(mut child: std::process::Child) -> std::io::Result<(Vec<u8>, ExitStatus)> {
    let mut bytes = Vec::new();
    let read = match child.stdout.take() {
        Some(stdout) => stdout.take(MAX_BYTES + 1).read_to_end(&mut bytes).map(drop),
        None => Ok(()),
    };
    let status = child.wait()?;
    read.map(|()| (bytes, status))
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(script: &str) -> Result<Secret, String> {
        Secret::from_command(&["sh".to_owned(), "-c".to_owned(), script.to_owned()])
    }

    #[test]
    fn a_secret_is_not_printed() {
        assert_eq!(format!("{:?}", Some(Secret::new("hunter2"))), "Some([secret])");
    }

    #[test]
    fn a_command_gives_its_first_line() {
        assert_eq!(command("echo hunter2").map(|s| s.expose().to_owned()), Ok("hunter2".to_owned()));
        assert_eq!(
            command("printf 'a b '").map(|s| s.expose().to_owned()),
            Ok("a b ".to_owned()),
            "spaces belong to it"
        );
    }

    #[test]
    fn a_command_that_does_not_end_is_ended_and_named() {
        for script in ["exec sleep 600", "echo hunter2; exec sleep 600", "echo hunter2; exec >&-; exec sleep 600"] {
            let command = ["sh", "-c", script].map(str::to_owned);
            let failed = Secret::from_command_within(&command, Duration::from_millis(300)).unwrap_err();
            assert!(failed.contains("\"sh\" did not end within 300ms") && !failed.contains("hunter2"), "{failed}");
        }
        assert_eq!(COMMAND_LIMIT, Duration::from_secs(10), "as the template says");
    }

    #[test]
    fn a_failing_command_says_so_without_its_output() {
        let failed = command("echo hunter2; exit 3").unwrap_err();
        assert!(failed.contains('3') && !failed.contains("hunter2"), "{failed}");
        assert!(command("true").unwrap_err().contains("empty"));
        assert!(command("printf 'a\\nb\\n'").unwrap_err().contains("more than one line"));
        assert!(command("head -c 70000 /dev/zero").unwrap_err().contains("longer"));
        assert!(Secret::from_command(&[]).is_err());
        assert!(Secret::from_command(&["no-such-program-here".to_owned()]).unwrap_err().contains("no-such-program"));
    }
}
