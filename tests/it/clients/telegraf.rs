//! Telegraf: it takes points on a socket, and writes them in its own batches.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::{NS, Way, again, assert_both_hold, count, first, installed, lines, record};
use crate::database::{Kind, ORG, TOKEN, shared};
use crate::load::number;
use crate::proxy::{Setup, Twinline, eventually};

/// How long it writes; `TWINLINE_TELEGRAF_S` says otherwise.
fn budget() -> Duration {
    Duration::from_secs(number("TWINLINE_TELEGRAF_S", 8))
}

struct Telegraf {
    process: Child,
    log: Arc<Mutex<Vec<String>>>,
    socket: UnixStream,
    _directory: tempfile::TempDir,
}

impl Drop for Telegraf {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            let log = self.log.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            eprintln!("the end of Telegraf's log:\n{}", log[log.len().saturating_sub(30)..].join("\n"));
        }
    }
}

impl Telegraf {
    fn start(output: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let [file, socket] = ["telegraf.conf", "socket"].map(|name| directory.path().join(name));
        let configuration = format!(
            "[agent]\ninterval = \"1s\"\nmetric_batch_size = 300\n\
             metric_buffer_limit = 1000000\nomit_hostname = true\nskip_processors_after_aggregators = true\n\
             [[inputs.socket_listener]]\nservice_address = \"unix://{}\"\ndata_format = \"influx\"\n{output}\n",
            socket.display()
        );
        std::fs::write(&file, configuration).unwrap();
        let mut command = Command::new(installed("bin/telegraf", "telegraf"));
        command
            .args(["--strict-env-handling", "--config"])
            .arg(file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let (to, stderr) = (Arc::clone(&log), process.stderr.take().unwrap());
        std::thread::spawn(move || {
            BufReader::new(stderr).lines().map_while(Result::ok).for_each(|line| to.lock().unwrap().push(line));
        });
        let connect = || UnixStream::connect(&socket).map_err(|e| format!("{e}: {:?}", log.lock().unwrap()));
        let socket = eventually("Telegraf takes points", connect);
        Self { process, log, socket, _directory: directory }
    }

    fn write(&mut self, lines: impl Iterator<Item = String>) {
        let text = lines.fold(String::new(), |text, line| text + &line + "\n");
        self.socket.write_all(text.as_bytes()).unwrap();
    }

    /// Waits until so many lines went through it and Twinline. What fills no batch would wait for its interval of 10 s.
    fn flushed(&self, twinline: &Twinline, lines: u64) {
        eventually("Telegraf has written everything", || {
            kill_process(Pid::from_child(&self.process), Signal::USR1).unwrap();
            std::thread::sleep(Duration::from_millis(200));
            let status = twinline.status();
            let at = |state: &str| status["lines"][state].as_u64().unwrap();
            let sum: u64 = ["delivered", "queued", "doubt", "dead_lettered", "gap", "excluded"].map(at).iter().sum();
            if sum >= lines { Ok(()) } else { Err(format!("{sum} of {lines}: {:#}", status["lines"])) }
        });
        twinline.delivered(lines);
    }

    /// Ends it and reads what it had to complain about: nothing.
    fn assert_content(mut self) {
        kill_process(Pid::from_child(&self.process), Signal::TERM).unwrap();
        assert!(self.process.wait().unwrap().success());
        let log = self.log.lock().unwrap().clone();
        assert!(log.iter().any(|line| line.contains(" I! ")), "{log:#?}");
        let complaints: Vec<&String> =
            log.iter().filter(|line| line.contains(" W! ") || line.contains(" E! ")).collect();
        assert!(complaints.is_empty(), "{complaints:#?}");
    }
}

/// The ways are rounds: one a second, each with a measurement of its own.
fn rounds(telegraf: &mut Telegraf, name: &str) -> Vec<Way> {
    let until = Instant::now() + budget();
    let mut rounds: Vec<Way> = Vec::new();
    while Instant::now() < until {
        // A test's few names may live as long as it does.
        let measurement = format!("{name} {}", rounds.len()).leak();
        telegraf.write(first(measurement, NS));
        rounds.push((measurement, NS, false));
        std::thread::sleep(Duration::from_secs(1));
    }
    rounds
}

#[test]
fn check_09_telegraf_makes_its_database_and_writes_without_a_warning() {
    let name = "check_09";
    let (source, destination) = (shared(Kind::One, 0), shared(Kind::Two, 1));
    // At the source it makes the database itself.
    destination.create(name);
    let twinline = Setup::new(source.section(), destination.section()).start();
    let url = format!("urls = [\"http://{}\"]\ndatabase = \"{name}\"", twinline.addr);
    let mut telegraf = Telegraf::start(&format!("[[outputs.influxdb]]\n{url}\nretention_policy = \"\""));
    let rounds = rounds(&mut telegraf, name);
    rounds.iter().for_each(|(measurement, ..)| telegraf.write(again(measurement, NS)));
    telegraf.flushed(&twinline, lines(&rounds));
    telegraf.assert_content();
    assert_both_hold(&record(&rounds), name, &source, &destination);
}

/// Under a path, as behind a server that shares its port.
#[test]
fn check_10_telegraf_writes_to_influxdb_2_under_a_path_with_several_writes_at_once() {
    let name = "check_10";
    let (source, destination) = (shared(Kind::Two, 0), shared(Kind::Two, 1));
    source.create(name);
    destination.create(name);
    let mut setup = Setup::new(source.section(), destination.section());
    setup.listen = "path_prefix = \"/shared/influx/\"".to_owned();
    let twinline = setup.start();
    let url = format!("http://{}/shared/influx", twinline.addr);
    let place = format!("urls = [\"{url}\"]\ntoken = \"{TOKEN}\"\norganization = \"{ORG}\"");
    let mut telegraf =
        Telegraf::start(&format!("[[outputs.influxdb_v2]]\n{place}\nbucket = \"{name}\"\nconcurrent_writes = 4"));
    let rounds = rounds(&mut telegraf, name);
    let first = rounds.len() as u64 * count().cast_unsigned();
    // Writes beside each other have no order: what is written again waits until the first is there.
    telegraf.flushed(&twinline, first);
    rounds.iter().for_each(|(measurement, ..)| telegraf.write(again(measurement, NS)));
    telegraf.flushed(&twinline, lines(&rounds));
    telegraf.assert_content();
    assert_both_hold(&record(&rounds), name, &source, &destination);
}
