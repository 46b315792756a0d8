//! VictoriaMetrics and QuestDB: each a process in a directory of its own on a free port, ended by its id when dropped.
//!
//! A program that is not there is a failure that says how to get it, never a skipped test.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use super::http::{Answer, Connection};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Product {
    VictoriaMetrics,
    QuestDb,
}

#[derive(Debug)]
pub(crate) struct Process {
    /// `127.0.0.1:PORT`.
    addr: String,
    _child: Running,
    connection: Connection,
    _directory: tempfile::TempDir,
}

#[derive(Debug)]
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn program(product: Product) -> PathBuf {
    let (name, package) = match product {
        Product::VictoriaMetrics => ("victoria-metrics", "victoriametrics"),
        Product::QuestDb => ("questdb", "questdb"),
    };
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache/twinline-servers");
    let root = std::env::var_os("TWINLINE_SERVERS").map_or_else(home, PathBuf::from);
    let path = root.join("bin").join(name);
    assert!(path.exists(), "{} is not there; install it with: tests/servers/get {package}", path.display());
    path
}

fn command(product: Product, directory: &std::path::Path) -> (Command, &'static str) {
    let mut command = Command::new(program(product));
    match product {
        Product::VictoriaMetrics => {
            command.arg("-storageDataPath").arg(directory).args([
                "-httpListenAddr",
                "127.0.0.1:0",
                "-retentionPeriod",
                "100y",
            ]);
            // The share of a machine's memory that it takes for itself is too much for a test.
            command.args(["-memory.allowedBytes", "200MB"]);
            (command, "started server at http://127.0.0.1:")
        }
        Product::QuestDb => {
            command.arg(directory);
            for (name, value) in [
                ("HTTP_BIND_TO", "127.0.0.1:0"),
                ("HTTP_MIN_ENABLED", "false"),
                ("PG_ENABLED", "false"),
                ("LINE_TCP_ENABLED", "false"),
                ("TELEMETRY_ENABLED", "false"),
            ] {
                command.env(format!("QDB_{name}"), value);
            }
            (command, "http-server listening on 127.0.0.1:")
        }
    }
}

impl Process {
    pub(crate) fn start(product: Product) -> Self {
        // QuestDB was seen to end at once: `Could not create the default import directory`.
        Self::attempt(product).or_else(|_| Self::attempt(product)).unwrap_or_else(|said| panic!("{said}"))
    }

    fn attempt(product: Product) -> Result<Self, String> {
        let directory = tempfile::tempdir().unwrap();
        let (mut command, says) = command(product, directory.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = Running(command.spawn().unwrap());
        let (found, lines) = mpsc::channel::<String>();
        // Both are read on to the end, or the server would block on a full pipe.
        let logs: [Option<Box<dyn std::io::Read + Send>>; 2] =
            [child.0.stdout.take().map(|log| Box::new(log) as _), child.0.stderr.take().map(|log| Box::new(log) as _)];
        for log in logs.into_iter().flatten() {
            let found = found.clone();
            std::thread::spawn(move || {
                // A log that is no longer read, because it is not UTF-8, would end the server.
                let lines = BufReader::new(log).split(b'\n').map_while(Result::ok);
                lines.for_each(|line| drop(found.send(String::from_utf8_lossy(&line).into_owned())));
            });
        }
        drop(found);
        let mut said = Vec::new();
        let port = lines.iter().find_map(|line| {
            let port = line
                .split_once(says)
                .map(|(_, rest)| rest.chars().take_while(char::is_ascii_digit).collect::<String>());
            said.push(line);
            port
        });
        let Some(port) = port else {
            return Err(format!("the server ended before it listened:\n{}", said.join("\n")));
        };
        std::thread::spawn(move || lines.iter().for_each(drop));
        let addr = format!("127.0.0.1:{port}");
        for _ in 0..600 {
            if let Ok(connection) = Connection::open(&addr) {
                return Ok(Self { addr, _child: child, connection, _directory: directory });
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Err(format!("the server at {addr} does not listen after 30 s"))
    }

    /// Goes on with a new connection.
    pub(crate) fn reconnect(&mut self) -> Result<(), String> {
        self.connection = Connection::open(&self.addr).map_err(|error| error.to_string())?;
        Ok(())
    }

    /// One request on the kept connection, or on a new one where the server has closed it.
    pub(crate) fn ask(&mut self, line: &str, headers: &[&str], body: &[u8]) -> Result<Answer, String> {
        if let Ok(answer) = self.connection.call(line, headers, body) {
            return Ok(answer);
        }
        let again = Connection::open(&self.addr).and_then(|fresh| {
            self.connection = fresh;
            self.connection.call(line, headers, body)
        });
        again.map_err(|error| format!("no answer to {line}: {error}"))
    }
}
