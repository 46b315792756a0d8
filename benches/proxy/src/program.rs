//! `twinline run` as a process of its own, and what the kernel says of it.

use std::io::{self, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::wire::{Message, request};

/// What takes longer than this has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running program with its data, which is removed with it.
#[derive(Debug)]
pub struct Program {
    /// Where clients connect.
    pub addr: String,
    process: Child,
    folder: tempfile::TempDir,
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// How it is set up.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// Lines of `[source]`.
    pub source: String,
    /// Lines of `[destination]`.
    pub destination: String,
    /// Lines of `[destination.delivery]`.
    pub delivery: String,
    /// Lines of `[queue]`.
    pub queue: String,
    /// Whole sections.
    pub more: String,
}

impl Program {
    /// Starts it and waits until clients are served.
    ///
    /// # Panics
    /// When that does not happen.
    #[must_use]
    pub fn start(program: &Path, disk: &Path, setup: &Setup) -> Self {
        let folder = tempfile::Builder::new().prefix("twinline-proxy-").tempdir_in(disk).expect("a folder");
        let addr = free_port();
        let Setup { source, destination, delivery, queue, more } = setup;
        let data = folder.path().join("data");
        let text = format!(
            "schema = 1\ndata_dir = {data:?}\n[[listen]]\naddress = \"{addr}\"\nrole = \"proxy\"\n[source]\n{source}\n[destination]\n\
             {destination}\n[destination.delivery]\n{delivery}\n[queue]\n{queue}\n[log]\nlevel = \"warn\"\n{more}\n"
        );
        std::fs::write(folder.path().join("twinline.toml"), text).expect("a writable folder");
        let process = launch(program, folder.path());
        let mut running = Self { addr, process, folder };
        let began = Instant::now();
        while std::net::TcpStream::connect(&running.addr).is_err() || running.status().is_none() {
            let ended = running.process.try_wait().is_ok_and(|ended| ended.is_some());
            assert!(!ended && began.elapsed() < PATIENCE, "it does not start:\n{}", running.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        running
    }

    /// What it has said.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    fn ask(&self, what: &str) -> io::Result<Message> {
        let mut stream = UnixStream::connect(self.folder.path().join("data/twinline.sock"))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(&request(what, "Connection: close\r\n", b""))?;
        let mut answer = Message::default();
        answer.read(&mut BufReader::new(stream))?;
        Ok(answer)
    }

    /// A command of the same program, on its configuration; what it prints.
    ///
    /// # Panics
    /// When it fails.
    #[must_use]
    pub fn command(&self, program: &Path, arguments: &[&str]) -> String {
        let file = self.folder.path().join("twinline.toml");
        let output = Command::new(program).arg("-c").arg(file).args(arguments).output().expect("the program runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{arguments:?}: {}{}", text(&output.stdout), text(&output.stderr));
        text(&output.stdout)
    }

    /// Its status, where it answers.
    #[must_use]
    pub fn status(&self) -> Option<Value> {
        let answer = self.ask("GET /api/v1/status").ok().filter(|answer| answer.status() == 200)?;
        serde_json::from_slice(&answer.body).ok()
    }

    /// Holds delivery, or lets it go on.
    ///
    /// # Panics
    /// When it does not.
    pub fn hold(&self, lasts: bool) {
        let verb = if lasts { "pause" } else { "resume" };
        let answer = self.ask(&format!("POST /api/v1/queue/{verb}")).expect("an answer");
        assert_eq!(answer.status(), 200, "{}", String::from_utf8_lossy(&answer.body));
    }

    /// What the kernel says of it.
    #[must_use]
    pub fn figures(&self) -> Figures {
        Figures::of(self.id())
    }

    /// Ends it in order.
    ///
    /// # Panics
    /// When it does not end.
    pub fn stop(mut self) {
        let _ = kill_process(Pid::from_child(&self.process), Signal::TERM);
        let began = Instant::now();
        while self.process.try_wait().is_ok_and(|ended| ended.is_none()) {
            assert!(began.elapsed() < PATIENCE, "it does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn launch(program: &Path, folder: &Path) -> Child {
    let log = std::fs::File::create(folder.join("log")).expect("a writable folder");
    let mut command = Command::new(program);
    command.arg("run").arg("--config").arg(folder.join("twinline.toml"));
    command.stdin(Stdio::null()).stdout(log.try_clone().expect("a second handle")).stderr(log);
    command.spawn().expect("the program runs")
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").to_string()
}

/// What a process uses.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Figures {
    /// Its own memory, bytes.
    pub anon: u64,
    /// Open files.
    pub files: usize,
    /// Processor time so far, seconds.
    pub cpu_s: f64,
}

impl Figures {
    /// Of this process; zeros where there is none.
    #[must_use]
    pub fn of(id: u32) -> Self {
        let place = PathBuf::from(format!("/proc/{id}"));
        let text = |name: &str| std::fs::read_to_string(place.join(name)).unwrap_or_default();
        let status = text("status");
        let anon = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap_or_default();
        let anon = anon.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or_default() << 10;
        let stat = text("stat");
        // Behind the name, which may hold anything.
        let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|ticks| ticks.parse::<f64>().ok()).unwrap_or_default();
        let files = std::fs::read_dir(place.join("fd")).map_or(0, Iterator::count);
        Self { anon, files, cpu_s: (ticks(11) + ticks(12)) / rustix::param::clock_ticks_per_second() as f64 }
    }
}
