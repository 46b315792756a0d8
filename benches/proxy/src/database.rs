//! Real databases, as `tests/servers/get` installs them: InfluxDB 1.13 and 2.9 in a folder and on a port of their own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::program::free_port;
use crate::stub::Kind;
use crate::wire::{Client, request};

const TOKEN: &str = "measuring-token";
const PATIENCE: Duration = Duration::from_secs(60);

/// A server process. Dropped, it is killed and its data is gone.
#[derive(Debug)]
pub struct Database {
    kind: Kind,
    /// `127.0.0.1:PORT`.
    pub addr: String,
    process: Child,
    folder: tempfile::TempDir,
}

impl Drop for Database {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Database {
    /// With a database or bucket of that name that keeps everything.
    ///
    /// # Panics
    /// When it is not installed or does not start.
    #[must_use]
    pub fn start(kind: Kind, disk: &Path, name: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("twinline-proxy-").tempdir_in(disk).expect("a folder");
        let addr = free_port();
        let process = launch(kind, &addr, folder.path());
        let database = Self { kind, addr, process, folder };
        database.wait();
        match kind {
            Kind::One => _ = database.query(&format!("CREATE DATABASE \"{name}\"")),
            Kind::Two => {
                let setup = format!(
                    r#"{{"username":"admin","password":"password1","org":"o","bucket":"{name}","token":"{TOKEN}","retentionPeriodSeconds":0}}"#
                );
                let made = database.ask("POST /api/v2/setup", "", setup.as_bytes());
                assert_eq!(made.0, 201, "{}", made.1);
            }
        }
        database
    }

    /// Its process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Ends it at once, by its id.
    pub fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// Starts it again where it was.
    ///
    /// # Panics
    /// When it does not answer in time.
    pub fn start_again(&mut self) {
        self.process = launch(self.kind, &self.addr, self.folder.path());
        self.wait();
    }

    fn wait(&self) {
        let began = Instant::now();
        let mut client = self.client();
        while client.send(&request("GET /health", "", b"")).ok() != Some(200) {
            assert!(began.elapsed() < PATIENCE, "the server at {} does not answer", self.addr);
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// A connection to it.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::new(&self.addr, PATIENCE)
    }

    /// Status and text of the answer to a request.
    ///
    /// # Panics
    /// Without an answer.
    #[must_use]
    pub fn ask(&self, what: &str, headers: &str, body: &[u8]) -> (u16, String) {
        let mut client = self.client();
        let headers = format!("{headers}{}", self.authorization());
        let status = client.send(&request(what, &headers, body)).unwrap_or_else(|error| panic!("{what}: {error}"));
        (status, String::from_utf8_lossy(&client.answer.body).into_owned())
    }

    /// The answer to a statement of InfluxQL.
    ///
    /// # Panics
    /// When it is not a success.
    pub fn query(&self, statement: &str) -> String {
        let form = format!("q={}", escape(statement));
        let (status, text) =
            self.ask("POST /query", "Content-Type: application/x-www-form-urlencoded\r\n", form.as_bytes());
        assert_eq!(status, 200, "{statement}: {text}");
        text
    }

    /// The same about one database or bucket, times in nanoseconds.
    ///
    /// # Panics
    /// When it is not a success.
    #[must_use]
    pub fn query_of(&self, name: &str, statement: &str) -> String {
        let what = format!("GET /query?db={name}&epoch=ns&q={}", escape(statement));
        let (status, text) = self.ask(&what, "", b"");
        assert_eq!(status, 200, "{statement}: {text}");
        text
    }

    /// The header that lets clients in, with its line end.
    #[must_use]
    pub fn authorization(&self) -> String {
        if self.kind == Kind::Two { format!("Authorization: Token {TOKEN}\r\n") } else { String::new() }
    }

    /// Lines for `[source]` or `[destination]`.
    #[must_use]
    pub fn section(&self) -> String {
        match self.kind {
            Kind::One => format!("kind = \"influxdb1\"\nurl = \"http://{}\"", self.addr),
            Kind::Two => {
                format!("kind = \"influxdb2\"\nurl = \"http://{}\"\norg = \"o\"\ntoken = \"{TOKEN}\"", self.addr)
            }
        }
    }

    /// Method and target of a write to the database or bucket, in nanoseconds.
    #[must_use]
    pub fn write(&self, name: &str) -> String {
        match self.kind {
            Kind::One => format!("POST /write?db={name}&precision=ns"),
            Kind::Two => format!("POST /api/v2/write?org=o&bucket={name}&precision=ns"),
        }
    }
}

fn launch(kind: Kind, addr: &str, folder: &Path) -> Child {
    let root = std::env::var_os("TWINLINE_SERVERS").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache/twinline-servers"),
        PathBuf::from,
    );
    let name = if kind == Kind::One { "influxd1" } else { "influxd2" };
    let program = root.join("bin").join(name);
    assert!(program.exists(), "{} is not there; install it with tests/servers/get", program.display());
    let mut command = Command::new(program);
    match kind {
        Kind::One => {
            command.args(["run", "-config", "/dev/null"]).env("INFLUXDB_HTTP_BIND_ADDRESS", addr);
            let settings = [
                ("REPORTING_DISABLED", "true"),
                ("BIND_ADDRESS", "127.0.0.1:0"),
                ("DATA_INDEX_VERSION", "tsi1"),
                ("MONITOR_STORE_ENABLED", "false"),
                ("HTTP_LOG_ENABLED", "false"),
            ];
            command.envs(settings.map(|(name, value)| (format!("INFLUXDB_{name}"), value)));
            for (name, place) in [("META_DIR", "meta"), ("DATA_DIR", "data"), ("DATA_WAL_DIR", "wal")] {
                command.env(format!("INFLUXDB_{name}"), folder.join(place));
            }
        }
        Kind::Two => {
            for (option, place) in
                [("--bolt-path", "i.bolt"), ("--sqlite-path", "i.sqlite"), ("--engine-path", "engine")]
            {
                command.arg(option).arg(folder.join(place));
            }
            command.args(["--storage-write-timeout", "100s", "--http-bind-address", addr, "--reporting-disabled"]);
        }
    }
    let log = std::fs::File::create(folder.join("log")).expect("a writable folder");
    command.stdin(Stdio::null()).stdout(log.try_clone().expect("a second handle")).stderr(log);
    command.spawn().expect("the server runs")
}

/// As it stands in a form.
#[must_use]
pub fn escape(text: &str) -> String {
    text.bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}
