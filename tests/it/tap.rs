//! `twinline tap`: what passes is shown, credentials never, and nobody waits for who watches.

use std::io::{BufRead, BufReader};
use std::process::Child;
use std::sync::mpsc::Receiver;

use serde_json::Value;
use twinline::sandbox::{Options, Sandbox};

use crate::proxy::{PATIENCE, Setup, Twinline};

const FORM: &str = "Content-Type: application/x-www-form-urlencoded";

struct Tap {
    process: Child,
    entries: Receiver<String>,
}

impl Tap {
    fn start(twinline: &Twinline, options: &[&str]) -> Self {
        let words = [&["tap", "-o", "json"], options].concat();
        let mut process = twinline.begin_command(&words, "");
        let (told, entries) = std::sync::mpsc::channel();
        let output = BufReader::new(process.stdout.take().unwrap());
        // Ends with the process.
        std::thread::spawn(move || output.lines().map_while(Result::ok).for_each(|line| drop(told.send(line))));
        let mut said = BufReader::new(process.stderr.take().unwrap()).lines().map_while(Result::ok);
        assert!(said.any(|line| line.contains("watching")));
        // What it says is not read any more; it says little.
        std::thread::spawn(move || said.for_each(drop));
        Self { process, entries }
    }

    fn next(&self) -> String {
        self.entries.recv_timeout(PATIENCE).unwrap()
    }

    fn entry(&self) -> Value {
        serde_json::from_str(&self.next()).unwrap()
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn start() -> (Sandbox, Sandbox, Twinline) {
    let [source, destination] = [0, 1].map(|_| Sandbox::spawn_thread(Options::default()).unwrap());
    source.create_database("d");
    destination.create_database("d");
    let section = |sandbox: &Sandbox| format!("url = \"{}\"\nkind = \"influxdb1\"", sandbox.url());
    let twinline = Setup::new(section(&source), section(&destination)).start();
    (source, destination, twinline)
}

#[test]
fn what_passes_is_shown_without_credentials() {
    let (_source, _destination, twinline) = start();
    let tap = Tap::start(&twinline, &[]);
    let authorization = "Authorization: Token hunter2a";
    assert_eq!(
        twinline.call("POST /write?db=d&u=me&p=hunter2b", &[authorization], "m,h=x v=1 1\nm v=2 2\n").status,
        204
    );
    let entry = tap.entry();
    assert_eq!(
        (&entry["kind"], &entry["db"], &entry["status"]),
        (&"write".into(), &"d".into(), &204.into()),
        "{entry}"
    );
    assert_eq!(
        (&entry["lines"], &entry["bytes"], &entry["path"]),
        (&2.into(), &20.into(), &"/write".into()),
        "{entry}"
    );
    assert_eq!(entry["text"], serde_json::json!(["m,h=x v=1 1", "m v=2 2"]));
    assert_eq!(entry["client"], "127.0.0.1");
    let mut seen = vec![entry.to_string()];
    for q in ["CREATE USER x WITH PASSWORD 'hunter2c'", "SET PASSWORD FOR x = 'hunter2d'"] {
        twinline.call("POST /query?u=me&p=hunter2e", &[FORM, authorization], format!("q={}", crate::http::escape(q)));
        let entry = tap.entry();
        assert_eq!(entry["kind"], "statement", "{entry}");
        assert!(entry["text"][0].as_str().unwrap().contains("[REDACTED]"), "{entry}");
        seen.push(entry.to_string());
    }
    twinline.call("GET /query?db=d&token=hunter2f&q=SHOW+MEASUREMENTS", &[], "");
    let entry = tap.entry();
    assert_eq!((&entry["kind"], &entry["text"][0]), (&"query".into(), &"SHOW MEASUREMENTS".into()), "{entry}");
    seen.push(entry.to_string());
    twinline.call("POST /api/v2/authorizations?token=hunter2g", &[authorization], r#"{"token":"hunter2h"}"#);
    seen.push(tap.next());
    assert!(!seen.concat().contains("hunter2"), "{seen:#?}");
}

#[test]
fn filters_masks_samples_and_limits_are_kept() {
    let (_source, _destination, twinline) = start();
    let options = ["--db", "d*", "--kind", "write", "--measurement", "cpu", "--redact", "tags,values", "--sample", "2"];
    let mut tap = Tap::start(&twinline, &[&options[..], &["--limit", "2", "--lines", "1"]].concat());
    let write = |body: &str| assert_eq!(twinline.call("POST /write?db=d", &[], body).status, 204);
    write("mem,h=secret v=9 1");
    twinline.call("GET /query?db=d&q=SHOW+MEASUREMENTS", &[], "");
    for at in 1..=4 {
        write(&format!("mem v=1 {at}\ncpu,h=secret v=4711 {at}\ncpu v=1 {at}"));
    }
    assert_eq!(tap.entry()["text"], serde_json::json!(["cpu,h=… v=… 1"]));
    assert_eq!(tap.entry()["text"], serde_json::json!(["cpu,h=… v=… 3"]));
    assert_eq!(tap.process.wait().unwrap().code(), Some(0));
}

/// Somebody watches and reads nothing: writes go on, and hear nothing of it.
#[test]
fn who_watches_and_does_not_read_holds_up_nobody() {
    use std::io::{Read as _, Write as _};
    let (source, _destination, twinline) = start();
    let mut stream = std::os::unix::net::UnixStream::connect(twinline.data().join("twinline.sock")).unwrap();
    write!(stream, "GET /api/v1/tap?lines=100 HTTP/1.0\r\nHost: localhost\r\n\r\n").unwrap();
    stream.read_exact(&mut [0; 16]).unwrap();
    let mut connection = twinline.connect();
    let line = |number: i64| format!("m,h={} v={number}i {number}\n", "x".repeat(280));
    let requests = 3000;
    for number in 0..requests {
        let body: String = (0..10).map(|at| line(number * 10 + at)).collect();
        assert_eq!(connection.call("POST /write?db=d", &[], body.as_bytes()).unwrap().status, 204);
    }
    assert_eq!(source.cells("d", "").len() as i64, requests * 10);
    // What it reads in the end says how many are missing.
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let (mut shown, mut not_shown) = (0, 0);
    for line in BufReader::new(stream).lines().map_while(Result::ok) {
        let Ok(entry) = serde_json::from_str::<Value>(&line) else { continue };
        match entry["not_shown"].as_i64() {
            Some(number) => not_shown += number,
            None => shown += i64::from(entry["kind"] == "write"),
        }
        if shown + not_shown >= requests {
            break;
        }
    }
    assert!(not_shown > 0 && shown > 0, "{shown} {not_shown}");
    assert_eq!(shown + not_shown, requests);
}
