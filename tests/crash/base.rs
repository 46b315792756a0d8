//! The two databases: the sandbox in this process, or a real server in its own.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

use twinline::cell::Cell;
use twinline::db::read::{Auth, Product, Reader};
use twinline::sandbox::{Faults, Options, Sandbox};

use super::late::Relay;
use super::proxy::{free_port, signal, wait_for};
use super::wire::{Connection, Sent};

/// The one database, or bucket, of all stories.
pub(crate) const NAME: &str = "crash";
const TOKEN: &str = "crash-token";

pub(crate) enum Database {
    Sandbox(Sandbox),
    Real(Server),
    /// A sandbox behind a relay.
    Late(Relay),
}

impl Database {
    pub(crate) fn sandbox() -> Self {
        let sandbox = Sandbox::spawn_thread(Options::default()).expect("a sandbox");
        sandbox.create_database(NAME);
        Self::Sandbox(sandbox)
    }

    pub(crate) fn influxdb1() -> Self {
        Self::Real(Server::new("influxd1", "influxdb1", Product::Influx1))
    }

    pub(crate) fn influxdb2() -> Self {
        Self::Real(Server::new("influxd2", "influxdb2", Product::Influx2))
    }

    /// Its part of the configuration.
    pub(crate) fn section(&self) -> String {
        match self {
            Self::Late(relay) => {
                let own = format!("127.0.0.1:{}", relay.sandbox.port());
                relay.sandbox.section().replace(&own, &format!("127.0.0.1:{}", relay.port))
            }
            Self::Real(server) if server.product == Product::Influx2 => {
                format!("url = \"http://127.0.0.1:{}\"\norg = \"o\"\ntoken = \"{TOKEN}\"", server.port)
            }
            _ => format!("url = \"http://127.0.0.1:{}\"", self.port()),
        }
    }

    /// Whether it refuses a whole write for one malformed line.
    pub(crate) fn refuses_whole(&self) -> bool {
        match self {
            Self::Sandbox(_) => false,
            Self::Late(relay) => relay.sandbox.refuses_whole(),
            Self::Real(server) => server.product == Product::Influx2,
        }
    }

    /// A further header line of requests to it.
    pub(crate) fn authorization(&self) -> String {
        match self.refuses_whole() {
            true => format!("\r\nAuthorization: Token {TOKEN}"),
            false => String::new(),
        }
    }

    /// From now on it keeps a day.
    pub(crate) fn keep_a_day(&self) {
        let mut connection = Connection::new(self.port());
        let asked = if self.refuses_whole() {
            let head = |method: &str, path: &str| {
                format!("{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json{}", self.authorization())
            };
            let Sent::Answer { status: 200, body, .. } =
                connection.ask(&head("GET", &format!("/api/v2/buckets?name={NAME}")), b"")
            else {
                panic!("the bucket is not shown")
            };
            let shown: serde_json::Value = serde_json::from_str(&body).expect("JSON");
            let id = shown["buckets"][0]["id"].as_str().expect("an id");
            let rule =
                r#"{"retentionRules":[{"type":"expire","everySeconds":86400,"shardGroupDurationSeconds":3600}]}"#;
            connection.ask(&head("PATCH", &format!("/api/v2/buckets/{id}")), rule.as_bytes())
        } else {
            let head = "POST /query HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded";
            let body =
                format!("q=CREATE+RETENTION+POLICY+day+ON+{NAME}+DURATION+24h+REPLICATION+1+SHARD+DURATION+1h+DEFAULT");
            connection.ask(head, body.as_bytes())
        };
        assert!(matches!(&asked, Sent::Answer { status: 200, body, .. } if !body.contains("error")), "{asked:?}");
    }

    /// The times of a measurement's cells in the default policy and in this one, newest last.
    pub(crate) fn times_of(&self, policy: &str, measurement: &str) -> Vec<i64> {
        let Self::Sandbox(sandbox) = self else { panic!("asked of sandboxes only") };
        let cells = [sandbox.cells(NAME, ""), sandbox.cells(NAME, policy)].concat();
        let own = cells.into_iter().filter(|cell| cell.series.measurement() == measurement.as_bytes());
        let mut times: Vec<i64> = own.filter(|cell| &cell.field[..] == b"v").map(|cell| cell.time_ns).collect();
        times.sort_unstable();
        times
    }

    /// A further policy, which keeps everything.
    pub(crate) fn create_policy(&self, name: &str) {
        let body = format!("q=CREATE+RETENTION+POLICY+{name}+ON+{NAME}+DURATION+INF+REPLICATION+1");
        let head = "POST /query HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded";
        let asked = Connection::new(self.port()).ask(head, body.as_bytes());
        assert!(matches!(asked, Sent::Answer { status: 200, .. }), "{asked:?}");
    }

    /// A write past the proxy.
    pub(crate) fn write(&self, body: &str) -> Sent {
        let head = format!("POST /write?db={NAME} HTTP/1.1\r\nHost: x{}", self.authorization());
        Connection::new(self.port()).ask(&head, body.as_bytes())
    }

    /// Where it listens.
    pub(crate) fn port(&self) -> u16 {
        match self {
            Self::Sandbox(sandbox) => sandbox.addr().port(),
            Self::Real(server) => server.port,
            Self::Late(relay) => relay.port,
        }
    }

    /// Everything it holds.
    pub(crate) fn cells(&self) -> Vec<Cell> {
        let server = match self {
            Self::Sandbox(sandbox) => return sandbox.cells(NAME, ""),
            Self::Late(relay) => return relay.sandbox.cells(),
            Self::Real(server) => server,
        };
        let auth = if server.product == Product::Influx2 { Auth::Token(TOKEN.to_owned()) } else { Auth::None };
        let url = format!("http://127.0.0.1:{}", server.port);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let reader = Reader::new(&url, auth, server.product).expect("a usable URL");
        runtime.block_on(reader.read_all(NAME, "autogen")).expect("a database that can be read")
    }

    /// Lines that it has taken, where that is known.
    pub(crate) fn lines_received(&self) -> Option<u64> {
        match self {
            Self::Sandbox(sandbox) => Some(sandbox.lines_received()),
            Self::Late(relay) => relay.sandbox.lines_received(),
            Self::Real(_) => None,
        }
    }

    /// Takes it away (a real server by kill -9), or brings it back.
    pub(crate) fn set_down(&self, down: bool) {
        match self {
            Self::Sandbox(sandbox) => sandbox.set_faults(Faults { refuse: down, ..Faults::default() }),
            Self::Late(relay) => relay.sandbox.set_down(down),
            Self::Real(server) if down => server.kill(),
            Self::Real(server) => server.start(),
        }
    }

    /// A real server stands still, or goes on.
    pub(crate) fn set_still(&self, still: bool) {
        if let Self::Real(server) = self {
            let process = server.process.lock().expect("no panic elsewhere");
            let signal_number = if still { rustix::process::Signal::STOP } else { rustix::process::Signal::CONT };
            signal(process.as_ref().expect("it runs"), signal_number);
        }
    }
}

/// A real server; ends with the test.
pub(crate) struct Server {
    program: PathBuf,
    product: Product,
    port: u16,
    process: Mutex<Option<Child>>,
    directory: tempfile::TempDir,
}

impl Server {
    fn new(name: &str, package: &str, product: Product) -> Self {
        let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache/twinline-servers");
        let root = std::env::var_os("TWINLINE_SERVERS").map_or_else(home, PathBuf::from);
        let program = root.join("bin").join(name);
        assert!(program.exists(), "{} is not there; install it with: tests/servers/get {package}", program.display());
        let directory = tempfile::tempdir().expect("a temporary directory");
        let server = Self { program, product, port: free_port(), process: Mutex::default(), directory };
        server.start();
        match product {
            Product::Influx1 => server.post("/query", &format!("q=CREATE+DATABASE+{NAME}"), 200),
            Product::Influx2 => {
                let body = format!(
                    r#"{{"username":"admin","password":"password1","org":"o","bucket":"{NAME}","token":"{TOKEN}","retentionPeriodSeconds":0}}"#
                );
                server.post("/api/v2/setup", &body, 201);
            }
        }
        server
    }

    fn start(&self) {
        if self.process.lock().expect("no panic elsewhere").is_some() {
            return;
        }
        let mut command = Command::new(&self.program);
        let place = |name: &str| self.directory.path().join(name);
        let address = format!("127.0.0.1:{}", self.port);
        match self.product {
            Product::Influx1 => {
                command.args(["run", "-config", "/dev/null"]);
                let settings = [
                    ("REPORTING_DISABLED", "true"),
                    ("BIND_ADDRESS", "127.0.0.1:0"),
                    ("HTTP_BIND_ADDRESS", &address),
                    ("MONITOR_STORE_ENABLED", "false"),
                    ("HTTP_LOG_ENABLED", "false"),
                    ("DATA_INDEX_VERSION", "tsi1"),
                ];
                command.envs(settings.map(|(name, value)| (format!("INFLUXDB_{name}"), value)));
                for (name, part) in [("META_DIR", "meta"), ("DATA_DIR", "data"), ("DATA_WAL_DIR", "wal")] {
                    command.env(format!("INFLUXDB_{name}"), place(part));
                }
            }
            Product::Influx2 => {
                for (option, part) in [("--bolt-path", "bolt"), ("--sqlite-path", "sqlite"), ("--engine-path", "data")]
                {
                    command.arg(option).arg(place(part));
                }
                command.args(["--reporting-disabled", "--log-level", "error", "--http-bind-address", &address]);
            }
        }
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        *self.process.lock().expect("no panic elsewhere") = Some(child.expect("the server starts"));
        wait_for("the server", || {
            let answer = Connection::new(self.port).ask("GET /health HTTP/1.1\r\nHost: x", b"");
            matches!(answer, Sent::Answer { status: 200, .. }).then_some(())
        });
    }

    fn kill(&self) {
        if let Some(mut child) = self.process.lock().expect("no panic elsewhere").take() {
            // It may have ended by itself; either way it is gone afterwards.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn post(&self, path: &str, body: &str, expected: u16) {
        let kind = if path == "/query" { "application/x-www-form-urlencoded" } else { "application/json" };
        let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}");
        let answer = Connection::new(self.port).ask(&head, body.as_bytes());
        assert!(matches!(answer, Sent::Answer { status, .. } if status == expected), "{path}: {answer:?}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
