//! `twinline status`: one screen, from the running process.

use std::io::{ErrorKind, IsTerminal, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use clap::Args;

use super::Global;
use super::exit::{Exit, Failure};
use super::queue::place::holder;
use crate::control::{Status, render};

const ANSWER_MAX: Duration = Duration::from_secs(5);
/// A page of dead letters is the largest, where one of them is a line of many MiB.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// Options of `status`.
#[derive(Clone, Debug, Args)]
pub(super) struct StatusArgs {
    /// Show it again every second, until Ctrl-C
    #[arg(long)]
    watch: bool,
}

pub(super) fn run(global: &Global, args: &StatusArgs) -> Result<Exit, Failure> {
    let config = global.load()?.config;
    let talk = global.talk();
    loop {
        let body =
            get(&config.unix_socket, "/api/v1/status").map_err(|failure| on_its_way(failure, &config.data_dir))?;
        let status: Status = serde_json::from_slice(&body).map_err(|e| {
            Failure::new(Exit::Failed, format!("the answer of the running twinline is not a status: {e}"))
                .hint("use the same version of twinline on both sides")
        })?;
        if talk.json() {
            talk.document(&serde_json::to_value(&status).unwrap_or_default())?;
        } else {
            // Home and clear, so that the screen stands still; in a pipe one block follows the other.
            let clear = if args.watch && std::io::stdout().is_terminal() { "\x1b[H\x1b[2J" } else { "" };
            talk.data(&format!("{clear}{}", render(&status)))?;
        }
        if !args.watch {
            talk.next(status.next_steps.first().map_or("twinline status --watch", String::as_str));
            return Ok(Exit::Success);
        }
        let (_keep, never) = std::sync::mpsc::channel::<()>();
        // A plain wait of a second: nobody ever sends.
        let _ = never.recv_timeout(Duration::from_secs(1));
    }
}

/// Nobody answers: it may be that one starts, which asks the databases what they are before it can say anything.
fn on_its_way(failure: Failure, data_dir: &Path) -> Failure {
    let process = (failure.exit == Exit::Unreachable).then(|| holder(&data_dir.join("wal/LOCK"))).flatten();
    let Some(process) = process else { return failure };
    let what = format!("twinline starts or ends: process {process} has {}. {}", data_dir.display(), failure.what);
    Failure::new(Exit::Unreachable, what)
        .hint("the same command again in some seconds; its log says what it is doing. Where it stays so, see whether listen_unix.path was changed")
}

/// One GET over the local socket.
pub(super) fn get(socket: &Path, path: &str) -> Result<Vec<u8>, Failure> {
    send(socket, "GET", path, b"")
}

/// One request over the local socket.
pub(super) fn send(socket: &Path, method: &str, path: &str, body: &[u8]) -> Result<Vec<u8>, Failure> {
    let unreachable = |e: std::io::Error| {
        let silent = matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
        let (what, hint) = match silent {
            true => (
                format!(
                    "the twinline at {} runs and does not answer within {} s",
                    socket.display(),
                    ANSWER_MAX.as_secs()
                ),
                "try again; see whether it is stopped (SIGSTOP, a debugger) or its disk hangs",
            ),
            false => (format!("no twinline answers at {}: {e}", socket.display()), "twinline run"),
        };
        Failure::new(Exit::Unreachable, what).hint(hint)
    };
    let mut stream = UnixStream::connect(socket).map_err(unreachable)?;
    let timeouts = stream.set_read_timeout(Some(ANSWER_MAX)).and_then(|()| stream.set_write_timeout(Some(ANSWER_MAX)));
    timeouts.map_err(unreachable)?;
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    let request = format!("{method} {path} HTTP/1.0\r\nHost: localhost\r\n{length}Connection: close\r\n\r\n");
    stream.write_all(&[request.as_bytes(), body].concat()).map_err(unreachable)?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).map_err(unreachable)?;
    let split = answer.windows(4).position(|w| w == b"\r\n\r\n");
    let odd = || Failure::new(Exit::Failed, format!("{} does not speak like a twinline", socket.display()));
    let head_end = split.ok_or_else(odd)?;
    let head = String::from_utf8_lossy(&answer[..head_end]).into_owned();
    let body = answer.split_off(head_end + 4);
    if head.split(' ').nth(1) == Some("200") {
        return Ok(body);
    }
    Err(Failure::new(
        Exit::Failed,
        format!("{}: {}", head.lines().next().unwrap_or_default(), String::from_utf8_lossy(&body)),
    ))
}
