//! The built program between two databases, as an operator runs it: a configuration, a process, its log, its status.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::http::{Answer, Connection, call};

/// How long anything may take that must come true; machines that run tests are busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// A running `twinline run`. Dropped, it is killed and its data is gone.
#[derive(Debug)]
pub(crate) struct Twinline {
    /// Where clients connect.
    pub(crate) addr: String,
    admin: String,
    process: Child,
    log: Arc<Mutex<Vec<String>>>,
    /// Before the directory: it lies in it.
    _mounted: Option<Mounted>,
    directory: tempfile::TempDir,
}

/// A file system in memory; gone when dropped. Needs the right to mount.
#[derive(Debug)]
struct Mounted(PathBuf);

impl Mounted {
    fn new(at: &std::path::Path, mib: u32) -> Self {
        std::fs::create_dir(at).unwrap();
        let size = format!("size={mib}m");
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(at).status().unwrap();
        assert!(mount.success(), "this test mounts a small file system, which needs root: {mount}");
        Self(at.to_owned())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

impl Drop for Twinline {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            let log = self.log.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            eprintln!("the end of twinline's log:\n{}", log[log.len().saturating_sub(40)..].join("\n"));
        }
    }
}

/// What a test changes in the configuration.
#[derive(Clone, Debug, Default)]
pub(crate) struct Setup {
    /// Lines of `[source]` and `[destination]`.
    pub(crate) source: String,
    pub(crate) destination: String,
    /// Lines of `[destination.delivery]`.
    pub(crate) delivery: String,
    /// Lines of each further `[[destination]]`; they are delivered to as the first is …
    pub(crate) others: Vec<String>,
    /// … and as these lines say.
    pub(crate) others_delivery: String,
    /// Lines of `[queue]`; they replace what stands there otherwise.
    pub(crate) queue: String,
    /// Lines of the clients' `[[listen]]`.
    pub(crate) listen: String,
    /// `data_dir` is a file system in memory of so many MiB.
    pub(crate) data_mib: Option<u32>,
    /// Lines of `[readback]`. Where there are none doubt and gaps stay, so that tests can count them.
    pub(crate) readback: String,
    /// Whole sections.
    pub(crate) more: String,
    /// Moments at which the first process ends; see `base/failpoint`.
    pub(crate) failpoints: &'static str,
}

impl Setup {
    pub(crate) fn new(source: String, destination: String) -> Self {
        // Short pauses: a test waits for each of them.
        let delivery = "retry_initial = \"100ms\"\nretry_max = \"500ms\"\nlate_write_max = \"2s\"".to_owned();
        Self { source, destination, delivery, ..Self::default() }
    }

    pub(crate) fn more(mut self, sections: &str) -> Self {
        self.more.push_str(sections);
        self
    }

    pub(crate) fn start(&self) -> Twinline {
        self.place().start()
    }

    /// Where it will run: the configuration stands there, nothing was started yet.
    pub(crate) fn place(&self) -> Place {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        let mounted = self.data_mib.map(|mib| Mounted::new(&data, mib));
        // Small segments: a fresh one is written through before it is used.
        let usual = ["segment_size = \"8MiB\"", "max_size = \"2GiB\""];
        let key = |line: &str| line.split(' ').next().unwrap_or_default().to_owned();
        let usual = usual.into_iter().filter(|line| !self.queue.contains(&key(line)));
        let queue = usual.chain([self.queue.as_str()]).collect::<Vec<_>>().join("\n");
        let readback = if self.readback.is_empty() { "enabled = false" } else { &self.readback };
        let table = if self.others.is_empty() { "[destination]" } else { "[[destination]]" };
        let one =
            |lines: &String, more: &str| format!("{table}\n{lines}\n[destination.delivery]\n{}{more}\n", self.delivery);
        let others = self.others.iter().map(|lines| one(lines, &self.others_delivery));
        let destinations: String = std::iter::once(one(&self.destination, "")).chain(others).collect();
        let text = format!(
            "data_dir = {data:?}\n[[listen]]\naddress = \"127.0.0.1:0\"\nrole = \"proxy\"\n{}\n\
             [[listen]]\naddress = \"127.0.0.1:0\"\nrole = \"admin\"\n\
             [source]\n{}\n{destinations}[queue]\n{queue}\n[readback]\n{readback}\n[log]\nformat = \"json\"\n{}\n",
            self.listen, self.source, self.more
        );
        std::fs::write(directory.path().join("twinline.toml"), text).unwrap();
        Place { mounted, directory, failpoints: self.failpoints, options: &[] }
    }
}

/// A configuration, and a data directory where nothing has run.
#[derive(Debug)]
pub(crate) struct Place {
    /// Before the directory: it lies in it.
    mounted: Option<Mounted>,
    directory: tempfile::TempDir,
    failpoints: &'static str,
    /// Options of `run`.
    pub(crate) options: &'static [&'static str],
}

impl Place {
    pub(crate) fn start(self) -> Twinline {
        let Self { mounted, directory, failpoints, options } = self;
        let (process, log) = spawn(&directory, failpoints, options);
        let mut twinline =
            Twinline { addr: String::new(), admin: String::new(), process, log, _mounted: mounted, directory };
        twinline.learn_addresses();
        twinline
    }

    /// `data_dir`; what is put there is found by the first start.
    pub(crate) fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// A start that must fail: its exit code, and what it says.
    pub(crate) fn start_that_fails(&self) -> (Option<i32>, String) {
        let (mut process, log) = spawn(&self.directory, self.failpoints, self.options);
        let until = Instant::now() + PATIENCE;
        let status = loop {
            match process.try_wait().unwrap() {
                Some(status) => break status,
                None if Instant::now() > until => {
                    process.kill().unwrap();
                    break process.wait().unwrap();
                }
                None => std::thread::sleep(Duration::from_millis(30)),
            }
        };
        // Its last words may still be on their way.
        let said = eventually("it says why", || {
            let said = log.lock().unwrap().join("\n");
            if said.contains("Next: ") { Ok(said) } else { Err(said) }
        });
        (status.code(), said)
    }

    /// A command of the program that is no start.
    pub(crate) fn command(&self, arguments: &[&str]) -> Output {
        command(&self.directory, arguments).output().unwrap()
    }

    /// The same, at work: whoever gets it ends it. Its stdin, stdout and stderr are pipes.
    #[allow(dead_code, reason = "not of all tests that share this")]
    pub(crate) fn begin(&self, arguments: &[&str]) -> Child {
        let mut command = command(&self.directory, arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// From here on it runs as a user without rights, who owns everything here. Without the right to do that it runs as the
    /// one who has started the test, who then has no more rights.
    pub(crate) fn without_rights(&self) {
        const NOBODY: u32 = 65534;
        if rustix::process::geteuid().is_root() {
            std::fs::copy(env!("CARGO_BIN_EXE_twinline"), self.directory.path().join("twinline")).unwrap();
            give(self.directory.path(), NOBODY);
        }
    }

    /// Takes all the space of `data_dir`'s file system but so much; what was taken before is given back first.
    pub(crate) fn fill_disk_but(&self, left_kib: u64) {
        let path = self.directory.path().join("data/ballast");
        let _ = std::fs::remove_file(&path);
        let free = rustix::fs::statvfs(path.parent().unwrap()).unwrap();
        let bytes = (free.f_bavail * free.f_frsize).saturating_sub(left_kib << 10);
        std::fs::write(path, vec![1; usize::try_from(bytes).unwrap()]).unwrap();
    }
}

/// Gives a file or a directory with all that is in it to a user.
fn give(path: &std::path::Path, user: u32) {
    std::os::unix::fs::lchown(path, Some(user), None).unwrap();
    if path.is_dir() {
        std::fs::read_dir(path).unwrap().for_each(|entry| give(&entry.unwrap().path(), user));
    }
}

/// The program with a configuration; its log goes into the list.
fn spawn(directory: &tempfile::TempDir, failpoints: &str, options: &[&str]) -> (Child, Arc<Mutex<Vec<String>>>) {
    let mut command = command(directory, &[&["run"], options].concat());
    if !failpoints.is_empty() {
        command.env("TWINLINE_FAILPOINTS", failpoints);
    }
    let mut process = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let log = Arc::new(Mutex::new(Vec::new()));
    let (to, stderr) = (Arc::clone(&log), process.stderr.take().unwrap());
    std::thread::spawn(move || {
        BufReader::new(stderr).lines().map_while(Result::ok).for_each(|line| to.lock().unwrap().push(line));
    });
    (process, log)
}

fn command(directory: &tempfile::TempDir, arguments: &[&str]) -> Command {
    // A copy of the program beside its configuration runs as the user who owns it.
    let own = directory.path().join("twinline");
    let owner = std::fs::metadata(&own).ok().map(|own| std::os::unix::fs::MetadataExt::uid(&own));
    let mut command = Command::new(owner.map_or(PathBuf::from(env!("CARGO_BIN_EXE_twinline")), |_| own));
    if let Some(owner) = owner {
        std::os::unix::process::CommandExt::uid(&mut command, owner);
    }
    for name in ["TWINLINE_CONFIG", "TWINLINE_OUTPUT", "TWINLINE_COLOR"] {
        command.env_remove(name);
    }
    command.env("TWINLINE_TEST_HOLD_DISK", directory.path().join("held"));
    command.stdin(Stdio::null()).arg("-c").arg(directory.path().join("twinline.toml")).args(arguments);
    command
}

/// Waits until `look` finds something; panics with its last words when that does not come true.
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        match look() {
            Ok(found) => return found,
            Err(why) => assert!(Instant::now() < until, "{what}: not after {PATIENCE:?}: {why}"),
        }
        std::thread::sleep(Duration::from_millis(30));
    }
}

impl Twinline {
    fn learn_addresses(&mut self) {
        let (addr, admin) = eventually("twinline listens", || {
            let log = self.log.lock().unwrap().clone();
            let address = |message: &str| {
                log.iter()
                    .filter_map(|line| serde_json::from_str::<Value>(line).ok())
                    .find_map(|line| (line["message"] == message).then(|| line["address"].as_str().unwrap().to_owned()))
            };
            let both = address("clients may connect").zip(address("operators may connect"));
            both.ok_or_else(|| format!("its log so far:\n{}", log.join("\n")))
        });
        (self.addr, self.admin) = (addr, admin);
    }

    /// Ends the process with a signal and waits for its end.
    pub(crate) fn stop(&mut self, signal: Signal) -> ExitStatus {
        self.signal(signal);
        self.process.wait().unwrap()
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
    }

    /// Waits for the end of the process.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.process.wait().unwrap()
    }

    pub(crate) fn process_id(&self) -> u32 {
        self.process.id()
    }

    /// Starts it again on the same data; it listens elsewhere now.
    pub(crate) fn start_again(&mut self) {
        self.start_again_with(|configuration| configuration, "");
    }

    /// The same with another configuration, and moments at which it ends.
    pub(crate) fn start_again_with(&mut self, change: impl FnOnce(String) -> String, failpoints: &str) {
        let file = self.directory.path().join("twinline.toml");
        std::fs::write(&file, change(std::fs::read_to_string(&file).unwrap())).unwrap();
        (self.process, self.log) = spawn(&self.directory, failpoints, &[]);
        self.learn_addresses();
    }

    /// Files whose path contains this text do not answer any more when they are written, or after `reads `, are read slowly, or after `fails `, cannot be read;
    /// an empty text ends that.
    pub(crate) fn hold(&self, part: &str) {
        let (file, next) = (self.directory.path().join("held"), self.directory.path().join("held.next"));
        std::fs::write(&next, part).unwrap();
        std::fs::rename(next, file).unwrap();
    }

    /// Removes the log's files that hold nothing yet, as if there had been no room for them.
    pub(crate) fn remove_prepared(&self) {
        for file in std::fs::read_dir(self.directory.path().join("data/wal/seg")).unwrap() {
            let path = file.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "next") {
                std::fs::remove_file(path).unwrap();
            }
        }
    }

    /// Removes `data_dir` under the running process, as somebody who cleans up does.
    pub(crate) fn delete_data(&self) {
        std::fs::remove_dir_all(self.directory.path().join("data")).unwrap();
    }

    /// Takes all the space that `data_dir`'s file system has left.
    pub(crate) fn fill_disk(&self) {
        let mut file = std::fs::File::create(self.directory.path().join("data/ballast")).unwrap();
        while std::io::Write::write_all(&mut file, &[1; 4096]).is_ok() {}
    }

    /// Gives it back.
    pub(crate) fn free_disk(&self) {
        std::fs::remove_file(self.directory.path().join("data/ballast")).unwrap();
    }

    /// Nobody can write to the state store until this is dropped.
    pub(crate) fn lock_state(&self) -> rusqlite::Connection {
        let state = rusqlite::Connection::open(self.directory.path().join("data/state.db")).unwrap();
        state.execute_batch("PRAGMA busy_timeout = 10000; BEGIN IMMEDIATE").unwrap();
        state
    }

    /// Names of the routes that have a number.
    pub(crate) fn numbered_routes(&self) -> Vec<String> {
        let state = rusqlite::Connection::open(self.directory.path().join("data/state.db")).unwrap();
        let mut routes = state.prepare("SELECT key FROM route ORDER BY id").unwrap();
        routes.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    }

    /// All that it has said on its standard error since its last start.
    pub(crate) fn said(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    /// Another command with the same configuration.
    pub(crate) fn command(&self, arguments: &[&str]) -> Output {
        command(&self.directory, arguments).output().unwrap()
    }

    /// The same, begun, with moments at which it ends.
    pub(crate) fn begin_command(&self, arguments: &[&str], failpoints: &str) -> Child {
        let mut command = command(&self.directory, arguments);
        command.env("TWINLINE_FAILPOINTS", failpoints).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    pub(crate) fn connect(&self) -> Connection {
        Connection::open(&self.addr).unwrap()
    }

    /// Its `data_dir`.
    pub(crate) fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// The socket of the local command line.
    pub(crate) fn socket(&self) -> PathBuf {
        self.data().join("twinline.sock")
    }

    /// One request of a client.
    pub(crate) fn call(&self, line: &str, headers: &[&str], body: impl AsRef<[u8]>) -> Answer {
        call(&self.addr, line, headers, body.as_ref()).unwrap_or_else(|e| panic!("{line}: {e}"))
    }

    /// A request to the admin listener.
    pub(crate) fn admin(&self, path: &str) -> Answer {
        call(&self.admin, &format!("GET {path}"), &[], b"").unwrap_or_else(|e| panic!("{path}: {e}"))
    }

    pub(crate) fn status(&self) -> Value {
        self.admin("/api/v1/status").json()
    }

    /// Waits for a status that satisfies.
    pub(crate) fn until(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        eventually(what, || {
            let status = self.status();
            if holds(&status) { Ok(status) } else { Err(format!("{status:#}")) }
        })
    }

    /// Waits until nothing is in the queue, by figures taken well after this call began: what was answered before is in
    /// them.
    pub(crate) fn quiet(&self) -> Value {
        let begun = Instant::now();
        self.until("nothing waits", |status| {
            let taken_after = begun.elapsed().as_secs_f64() - status["age_s"].as_f64().unwrap();
            taken_after > 0.1
                && status["queue"]["counting"] == false
                && status["lines"]["queued"] == 0
                && status["lines"]["unanswered"] == 0
        })
    }

    /// The status, if nothing is in the queue by figures taken after this call began.
    #[allow(dead_code, reason = "not of all tests that share this")]
    pub(crate) fn quiet_now(&self) -> Option<Value> {
        std::thread::sleep(Duration::from_millis(300));
        let status = self.status();
        let is_quiet = status["age_s"].as_f64().unwrap() < 0.2
            && status["queue"]["counting"] == false
            && status["lines"]["queued"] == 0
            && status["lines"]["unanswered"] == 0;
        is_quiet.then_some(status)
    }

    /// Waits until every one of so many accepted lines has left the queue, for as long as there is progress; returns
    /// the
    /// status then. Every line is in exactly one state, so the sum must be met exactly.
    pub(crate) fn settled(&self, accepted: u64) -> Value {
        let (mut settled, mut since) = (0, Instant::now());
        loop {
            let status = self.status();
            let at = |state: &str| status["lines"][state].as_u64().unwrap();
            let sum = ["delivered", "doubt", "dead_lettered", "gap", "excluded"].map(at).iter().sum();
            let counted = status["queue"]["counting"] == false;
            if counted && at("queued") == 0 && at("unanswered") == 0 && sum == accepted {
                return status;
            }
            if sum != settled {
                (settled, since) = (sum, Instant::now());
            }
            assert!(since.elapsed() < PATIENCE, "{sum} of {accepted} lines are accounted for: {status:#}");
            std::thread::sleep(Duration::from_millis(30));
        }
    }

    /// Waits until all of so many lines are in one state each, delivered or not.
    pub(crate) fn counted(&self, accepted: u64) -> Value {
        let mut status = Value::Null;
        eventually("every line is in one state", || {
            status = self.status();
            let at = |state: &str| status["lines"][state].as_u64().unwrap();
            let sum: u64 = ["delivered", "queued", "doubt", "dead_lettered", "gap", "excluded"].map(at).iter().sum();
            if sum == accepted { Ok(()) } else { Err(format!("{sum} of {accepted}: {status:#}")) }
        });
        status
    }

    /// The same, with every line delivered.
    pub(crate) fn delivered(&self, accepted: u64) {
        let status = self.settled(accepted);
        assert_eq!(status["lines"]["delivered"], accepted, "{:#}", status["lines"]);
    }
}
