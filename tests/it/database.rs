//! Real databases: InfluxDB 1.13 and 2.9, each in a directory of its own on a free port, gone when the last user drops
//! it.
//!
//! A program that is not there is a failure that says how to get it, never a skipped test.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, Weak, mpsc};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use twinline::base::Side;
use twinline::cell::Cell;
use twinline::db::read::{Auth, Limits, Product, Reader};
use twinline::line::Dialect;

use crate::http::{Answer, Connection, call, escape};

pub(crate) const TOKEN: &str = "integration-token";
pub(crate) const ORG: &str = "o";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// InfluxDB 1.13.
    One,
    /// InfluxDB 2.9.
    Two,
}

/// A server process. It can be stopped and started again on the same port and data.
#[derive(Debug)]
pub(crate) struct Database {
    pub(crate) kind: Kind,
    /// `127.0.0.1:PORT`.
    pub(crate) addr: String,
    org_id: String,
    process: Mutex<Option<Child>>,
    directory: tempfile::TempDir,
    settings: Vec<(String, String)>,
}

impl Drop for Database {
    fn drop(&mut self) {
        self.stop(Signal::KILL);
    }
}

/// Servers in use: kind, number among its kind, the server.
static SHARED: Mutex<Vec<(Kind, usize, Weak<Database>)>> = Mutex::new(Vec::new());

/// Server `number` of a kind, shared by all tests that run at the same time: use a database of your own on it.
pub(crate) fn shared(kind: Kind, number: usize) -> Arc<Database> {
    let mut all = SHARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let running = all.iter().filter(|(k, n, _)| (*k, *n) == (kind, number)).find_map(|(_, _, weak)| weak.upgrade());
    running.unwrap_or_else(|| {
        let database = Arc::new(Database::start(kind));
        all.retain(|(_, _, weak)| weak.strong_count() > 0);
        all.push((kind, number, Arc::downgrade(&database)));
        database
    })
}

fn program(kind: Kind) -> PathBuf {
    let (name, package) = match kind {
        Kind::One => ("influxd1", "influxdb1"),
        Kind::Two => ("influxd2", "influxdb2"),
    };
    servers_program(name, package)
}

/// A program that comes with `package` of `tests/servers/get`.
pub(crate) fn servers_program(name: &str, package: &str) -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache/twinline-servers");
    let root = std::env::var_os("TWINLINE_SERVERS").map_or_else(home, PathBuf::from);
    let path = root.join("bin").join(name);
    assert!(path.exists(), "{} is not there; install it with: tests/servers/get {package}", path.display());
    path
}

impl Database {
    pub(crate) fn start(kind: Kind) -> Self {
        Self::start_with(kind, &[])
    }

    /// With settings of its own: `INFLUXDB_…` in the environment of 1.x without that beginning, options of 2.x.
    pub(crate) fn start_with(kind: Kind, settings: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let (addr, org_id) = (String::new(), String::new());
        let mut database = Self { kind, addr, org_id, process: Mutex::new(None), directory, settings };
        database.addr = database.launch("127.0.0.1:0");
        if kind == Kind::Two {
            let setup = format!(
                r#"{{"username":"admin","password":"password1","org":"{ORG}","bucket":"first","token":"{TOKEN}","retentionPeriodSeconds":0}}"#
            );
            let made = database.post("/api/v2/setup", setup.as_bytes(), 201).json();
            database.org_id = made["org"]["id"].as_str().unwrap().to_owned();
        }
        database
    }

    /// Starts the process and waits until it answers; returns its address.
    fn launch(&self, listen: &str) -> String {
        let mut command = self.command(listen);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let (found, lines) = mpsc::channel();
        // 1.x logs to stderr, 2.x to stdout. Both are read on to the end, or the server would block on a full pipe.
        let logs: [Option<Box<dyn std::io::Read + Send>>; 2] =
            [process.stdout.take().map(|log| Box::new(log) as _), process.stderr.take().map(|log| Box::new(log) as _)];
        for log in logs.into_iter().flatten() {
            let found = found.clone();
            std::thread::spawn(move || {
                // A log that is no longer read, because it is not UTF-8, would end the server.
                let lines = BufReader::new(log).split(b'\n').map_while(Result::ok);
                lines.for_each(|line| drop(found.send(String::from_utf8_lossy(&line).into_owned())));
            });
        }
        drop(found);
        *self.process.lock().unwrap() = Some(process);
        let mut said = Vec::new();
        let port = lines.iter().find_map(|line| {
            let port = port(self.kind, &line);
            said.push(line);
            port
        });
        let port = port.unwrap_or_else(|| panic!("the server ended before it listened:\n{}", said.join("\n")));
        std::thread::spawn(move || lines.iter().for_each(drop));
        let addr = format!("127.0.0.1:{port}");
        for _ in 0..600 {
            if call(&addr, "GET /health", &[], b"").is_ok_and(|answer| answer.status == 200) {
                return addr;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("the server at {addr} is not healthy after 30 s");
    }

    fn command(&self, listen: &str) -> Command {
        let mut command = Command::new(program(self.kind));
        let place = |name: &str| self.directory.path().join(name);
        match self.kind {
            Kind::One => {
                command.args(["run", "-config", "/dev/null"]).env("INFLUXDB_HTTP_BIND_ADDRESS", listen);
                for (name, value) in [
                    ("REPORTING_DISABLED", "true"),
                    ("BIND_ADDRESS", "127.0.0.1:0"),
                    ("DATA_INDEX_VERSION", "tsi1"),
                    ("MONITOR_STORE_ENABLED", "false"),
                    ("HTTP_LOG_ENABLED", "false"),
                ] {
                    command.env(format!("INFLUXDB_{name}"), value);
                }
                command.envs(self.settings.iter().map(|(name, value)| (format!("INFLUXDB_{name}"), value)));
                for (name, folder) in [("META_DIR", "meta"), ("DATA_DIR", "data"), ("DATA_WAL_DIR", "wal")] {
                    command.env(format!("INFLUXDB_{name}"), place(folder));
                }
            }
            Kind::Two => {
                for (option, name) in
                    [("--bolt-path", "i.bolt"), ("--sqlite-path", "i.sqlite"), ("--engine-path", "engine")]
                {
                    command.arg(option).arg(place(name));
                }
                // As shipped it gives up a write after 10 s, and machines that run tests are busy.
                command.args(["--storage-write-timeout", "100s"]);
                command.args(["--http-bind-address", listen, "--reporting-disabled"]);
                command.args(self.settings.iter().flat_map(|(option, value)| [option, value]));
            }
        }
        command
    }

    /// Ends the process, by its id, and waits for its end. Nothing happens when it does not run.
    pub(crate) fn stop(&self, signal: Signal) {
        if let Some(mut process) = self.process.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take() {
            // It may have ended by itself; either way it is gone afterwards.
            let _ = kill_process(Pid::from_child(&process), signal);
            let _ = process.wait();
        }
    }

    /// Where its files lie: of 1.x `data` and `wal`.
    pub(crate) fn folder(&self) -> &std::path::Path {
        self.directory.path()
    }

    /// Starts it again where it was.
    pub(crate) fn restart(&self) {
        assert_eq!(self.launch(&self.addr), self.addr);
    }

    /// Makes a database (1.x) or bucket (2.x) that keeps everything; `d/r` is policy `r` of `d`, which must be there on
    /// 1.x.
    pub(crate) fn create(&self, name: &str) {
        match (self.kind, name.split_once('/')) {
            (Kind::One, None) => drop(self.query(&format!("CREATE DATABASE \"{name}\""))),
            (Kind::One, Some((db, rp))) => {
                drop(self.query(&format!("CREATE RETENTION POLICY \"{rp}\" ON \"{db}\" DURATION 0s REPLICATION 1")));
            }
            (Kind::Two, _) => self.create_bucket(name, &serde_json::json!([])),
        }
    }

    /// Makes a bucket with these retention rules.
    pub(crate) fn create_bucket(&self, name: &str, rules: &serde_json::Value) {
        let bucket = serde_json::json!({ "orgID": self.org_id, "name": name, "retentionRules": rules });
        self.post("/api/v2/buckets", bucket.to_string().as_bytes(), 201);
    }

    /// Ids of the organisation and of a bucket.
    pub(crate) fn bucket_ids(&self, name: &str) -> (String, String) {
        let line = format!("GET /api/v2/buckets?org={ORG}&name={}", escape(name));
        let found = call(&self.addr, &line, &[&self.authorization()], b"").unwrap().json();
        let id = |key: &str| found["buckets"][0][key].as_str().unwrap().to_owned();
        (id("orgID"), id("id"))
    }

    /// One statement; its answer, which must not be an error.
    pub(crate) fn query(&self, statement: &str) -> serde_json::Value {
        let answer = self.post("/query?epoch=ns", format!("q={}", escape(statement)).as_bytes(), 200).json();
        assert_eq!(answer.pointer("/results/0/error"), None, "{statement}");
        answer
    }

    pub(crate) fn post(&self, path: &str, body: &[u8], expected: u16) -> Answer {
        let kind = if path.starts_with("/query") { "application/x-www-form-urlencoded" } else { "text/plain" };
        let kind = format!("Content-Type: {kind}");
        let answer = call(&self.addr, &format!("POST {path}"), &[&self.authorization(), &kind], body);
        let answer = answer.unwrap_or_else(|e| panic!("{path}: {e}"));
        assert_eq!(answer.status, expected, "{path}: {}", answer.text());
        answer
    }

    /// The header that opens this server.
    pub(crate) fn authorization(&self) -> String {
        format!("Authorization: Token {TOKEN}")
    }

    /// A fresh connection to it.
    pub(crate) fn connect(&self) -> Connection {
        Connection::open(&self.addr).unwrap()
    }

    /// Its section in the configuration.
    pub(crate) fn section(&self) -> String {
        match self.kind {
            Kind::One => format!("url = \"http://{}\"", self.addr),
            Kind::Two => format!("url = \"http://{}\"\norg = \"{ORG}\"\ntoken = \"{TOKEN}\"", self.addr),
        }
    }

    pub(crate) fn dialect(&self) -> Dialect {
        match self.kind {
            Kind::One => Dialect::Influx1,
            Kind::Two => Dialect::Influx2,
        }
    }

    pub(crate) fn reader(&self, limits: Limits) -> Reader {
        let (auth, product) = match self.kind {
            Kind::One => (Auth::None, Product::Influx1),
            Kind::Two => (Auth::Token(TOKEN.to_owned()), Product::Influx2),
        };
        Reader::with_limits(&format!("http://{}", self.addr), auth, product, Side::Source, limits).unwrap()
    }

    /// All cells of `d`, or of policy `r` in `d/r`.
    pub(crate) fn cells(&self, name: &str) -> Vec<Cell> {
        let (db, rp) = name.split_once('/').unwrap_or((name, ""));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(self.reader(Limits::default()).read_all(db, rp)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }
}

fn port(kind: Kind, line: &str) -> Option<String> {
    let (says, mark) = match kind {
        Kind::One => ("Listening on HTTP", "addr=127.0.0.1:"),
        Kind::Two => ("transport=http", " port="),
    };
    let rest = line.contains(says).then(|| line.split(mark).last())??;
    Some(rest.chars().take_while(char::is_ascii_digit).collect())
}
