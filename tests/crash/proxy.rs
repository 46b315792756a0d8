//! The real program as a process of its own, with one data directory and the same port over all its lives.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use twinline::base::SystemClock;
use twinline::base::clock::Clock as _;
use twinline::control::Status;

use super::base::Database;
use super::wire::{Connection, Sent, ask_socket};

/// What takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(120);

/// A port that nobody listens on, below those that the system gives to outgoing connections: while the process is dead,
/// nobody else may get it.
pub(crate) fn free_port() -> u16 {
    loop {
        let port = fastrand::u16(12_000..32_000);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Waits until something is there.
pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let clock = SystemClock::new();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(clock.monotonic() < PATIENCE, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(3));
    }
}

/// All lines of which the status says anything.
pub(crate) fn sum(status: &Status) -> u64 {
    let lines = &status.lines;
    lines.delivered + lines.queued + lines.doubt + lines.dead_lettered + lines.gap + lines.excluded + lines.unanswered
}

/// Further lines of sections of the configuration.
#[derive(Clone, Copy, Default)]
pub(crate) struct Settings {
    pub(crate) queue: &'static str,
    pub(crate) destination: &'static str,
    pub(crate) delivery: &'static str,
}

pub(crate) struct Proxy {
    directory: tempfile::TempDir,
    pub(crate) port: u16,
    child: Option<Child>,
    pub(crate) starts: u32,
}

impl Proxy {
    pub(crate) fn new(source: &Database, destination: &Database, settings: Settings) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let proxy = Self { port: free_port(), child: None, starts: 0, directory };
        proxy.configure(source, destination, settings);
        proxy
    }

    fn configure(&self, source: &Database, destination: &Database, settings: Settings) {
        let Settings { queue, destination: more, delivery } = settings;
        let text = format!(
            "data_dir = \"{}\"\nlisten = \"127.0.0.1:{}\"\n[source]\n{}\n[destination]\n{}\n{more}\n[destination.delivery]\n\
             retry_max = \"500ms\"\n{delivery}\n[queue]\nreserve_free = \"16MiB\"\n{queue}\n[readback]\nenabled = false\n[log]\nformat = \"text\"\n",
            self.data().display(),
            self.port,
            source.section(),
            destination.section(),
        );
        std::fs::write(self.directory.path().join("twinline.toml"), text).expect("a configuration can be written");
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    pub(crate) fn segments(&self) -> Vec<PathBuf> {
        let names = std::fs::read_dir(self.data().join("wal/seg")).expect("the log's directory");
        let mut paths: Vec<PathBuf> = names.map(|entry| entry.expect("an entry").path()).collect();
        paths.retain(|path| path.extension().is_some_and(|ending| ending == "wal"));
        paths.sort();
        paths
    }

    /// Starts a life and returns at once.
    pub(crate) fn spawn(&mut self) {
        self.spawn_with("");
    }

    /// Starts a life that ends, or stands still, at a named point, and waits until clients are served.
    pub(crate) fn start_with(&mut self, failpoints: &str) {
        self.spawn_with(failpoints);
        self.ready();
    }

    /// It ends by itself at the point that it was started with.
    pub(crate) fn died(&mut self) {
        use std::os::unix::process::ExitStatusExt as _;
        let mut child = self.child.take().expect("started");
        let status = wait_for("the process to end at a point", || child.try_wait().expect("our child"));
        assert_eq!(status.signal(), Some(6), "ended on purpose: {status:?}\n{}", self.said());
    }

    fn spawn_with(&mut self, failpoints: &str) {
        assert!(self.child.is_none(), "one life at a time");
        let log = File::options().create(true).append(true).open(self.log()).expect("a file for what it says");
        let child = Command::new(env!("CARGO_BIN_EXE_twinline"))
            .args(["run", "--config"])
            .arg(self.directory.path().join("twinline.toml"))
            .env("TWINLINE_FAILPOINTS", failpoints)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        self.child = Some(child.expect("the program was built for this test"));
        self.starts += 1;
    }

    /// Starts and waits until clients are served.
    pub(crate) fn start(&mut self) {
        self.spawn();
        self.ready();
    }

    pub(crate) fn ready(&mut self) {
        wait_for("the proxy to serve", || {
            self.alive();
            let answer = Connection::new(self.port).ask("GET /ping HTTP/1.1\r\nHost: x", b"");
            matches!(answer, Sent::Answer { status: 200 | 204, .. }).then_some(())
        });
    }

    /// It has not ended by itself.
    pub(crate) fn alive(&mut self) {
        let child = self.child.as_mut().expect("started");
        let ended = child.try_wait().expect("our child");
        assert!(ended.is_none(), "the proxy ended by itself: {ended:?}\n{}", self.said());
    }

    /// Ends it as a loss of power for the process would.
    pub(crate) fn kill9(&mut self) {
        self.alive();
        let mut child = self.child.take().expect("started");
        child.kill().expect("our child");
        child.wait().expect("our child");
    }

    /// Ends it as an operator does.
    pub(crate) fn stop(&mut self) {
        self.alive();
        let mut child = self.child.take().expect("started");
        signal(&child, rustix::process::Signal::TERM);
        let status = child.wait().expect("our child");
        assert_eq!(status.code(), Some(143), "a stop by SIGTERM\n{}", self.said());
    }

    /// The status, once there are figures.
    pub(crate) fn status(&self) -> Option<Status> {
        status_at(&self.socket())
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.data().join("twinline.sock")
    }

    /// A status whose figures were taken after this call.
    pub(crate) fn status_now(&mut self) -> Status {
        let clock = SystemClock::new();
        wait_for("a fresh status", || {
            self.alive();
            // The figures are copied out a few times a second; half a second says that a copy was made since.
            self.status().filter(|status| Duration::from_secs_f64(status.age_s) + SETTLED < clock.monotonic())
        })
    }

    /// Waits until everything is delivered.
    pub(crate) fn drained(&mut self) -> Status {
        wait_for("the queue to be empty", || {
            let status = self.status_now();
            (!status.queue.counting && status.lines.queued == 0 && status.lines.unanswered == 0).then_some(status)
        })
    }

    fn log(&self) -> PathBuf {
        self.directory.path().join("said")
    }

    /// The end of what it said.
    pub(crate) fn said(&self) -> String {
        let all = std::fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = all.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    /// It said this in one of its lives.
    pub(crate) fn has_said(&self, text: &str) -> bool {
        std::fs::read_to_string(self.log()).unwrap_or_default().contains(text)
    }
}

const SETTLED: Duration = Duration::from_millis(250);

/// The status at a socket, once there are figures.
pub(crate) fn status_at(socket: &Path) -> Option<Status> {
    let (code, body) = ask_socket(socket, "/api/v1/status")?;
    assert_eq!(code, 200, "{body}");
    let status: Status = serde_json::from_str(&body).expect("a status document");
    (status.age_s > 0.0).then_some(status)
}

pub(crate) fn signal(child: &Child, signal: rustix::process::Signal) {
    let id = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(id, signal).expect("our child");
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It may have ended; either way it is gone afterwards.
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("the proxy said:\n{}", self.said());
        }
    }
}
