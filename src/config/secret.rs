//! Secrets: values that reach a request header and nothing else.

use std::fmt;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// No password or token is longer; a longer one is the wrong file.
const MAX_BYTES: u64 = 64 << 10;
/// A password store that asks for a finger must not block the start for ever.
const COMMAND_LIMIT: Duration = Duration::from_secs(30);

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
    /// A sentence for the user that does not hold the secret: the command cannot start, fails, prints nothing, or takes over 30 s.
    pub(crate) fn from_command(command: &[String]) -> Result<Self, String> {
        let (program, arguments) = command.split_first().ok_or("the command is empty")?;
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| format!("cannot start \"{program}\": {e}"))?;
        let output = read_output(&mut child);
        if output.is_err() {
            // The status no longer matters and a process that is gone already is no fault.
            let _ = child.kill();
        }
        let status = child.wait().map_err(|e| format!("cannot wait for \"{program}\": {e}"))?;
        let bytes = output.map_err(|what| format!("\"{program}\" {what}"))?;
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

/// The output on another thread, because a read of a pipe cannot be given up.
fn read_output(child: &mut Child) -> Result<Vec<u8>, String> {
    let stdout = child.stdout.take().ok_or("has no output")?;
    let (sender, receiver) = mpsc::sync_channel(1);
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let result = stdout.take(MAX_BYTES + 1).read_to_end(&mut bytes).map(|_| bytes);
        // Nobody listens any more once the time is over.
        let _ = sender.send(result);
    });
    match receiver.recv_timeout(COMMAND_LIMIT) {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(e)) => Err(format!("gave no readable output: {e}")),
        Err(_) => Err(format!("did not end within {} s", COMMAND_LIMIT.as_secs())),
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

#[cfg(test)]
mod tests {
    use super::Secret;

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
