//! `twinline deadletter` beside a running process and on what a stopped one left behind.

use std::io::{Read as _, Write as _};
use std::process::Output;

use rustix::process::Signal;
use serde_json::Value;
use twinline::sandbox::{Options, Sandbox};

use crate::answers::events;
use crate::proxy::{Setup, Twinline, eventually};
use crate::scripted::{Reply, Scripted, Write};

pub(crate) fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub(crate) fn letters(twinline: &Twinline, words: &[&str]) -> Output {
    twinline.command(&[&["deadletter"], words].concat())
}

pub(crate) fn json(twinline: &Twinline, words: &[&str]) -> Value {
    let output = letters(twinline, &[words, &["-o", "json"]].concat());
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{words:?}: {e}: {}{}", text(&output), said(&output)))
}

/// What the destination answers: it takes no line that has `bad` in it.
fn refuses_bad(write: &Write) -> Reply {
    let bad = |line: &&str| line.contains("bad");
    let refused: Vec<String> =
        write.body.lines().filter(bad).map(|line| format!("unable to parse '{line}': bad")).collect();
    match refused.is_empty() {
        true => Reply::new(204, ""),
        false => Reply::new(400, &serde_json::json!({ "error": refused.join("\n") }).to_string()),
    }
}

pub(crate) struct Refused {
    pub(crate) source: Sandbox,
    pub(crate) destination: Sandbox,
    pub(crate) twinline: Twinline,
}

/// Three letters of `m` and one of `n` in `d`, and one of `m` in `e`: at the destination their fields have another type.
pub(crate) fn refused() -> Refused {
    let [source, destination] = [(), ()].map(|()| Sandbox::spawn_thread(Options::default()).unwrap());
    for sandbox in [&source, &destination] {
        sandbox.create_database("d");
        sandbox.create_database("e");
    }
    let section = |sandbox: &Sandbox| format!("url = \"{}\"\nkind = \"influxdb1\"", sandbox.url());
    let twinline = Setup::new(section(&source), section(&destination)).start();
    for (db, other) in [("d", "m v=\"text\" 1\nn,t=x w=true 1"), ("e", "m v=\"text\" 1")] {
        post(&destination, db, other);
        assert_eq!(twinline.call(&format!("POST /write?db={db}"), &[], "good v=1 1").status, 204);
    }
    for (db, body) in [
        ("d", "m v=1.5 1000000000\nm,t=\u{e4}\u{a0} v=2.5,x=1i 2000000000\nm v=3.5 9000000000"),
        ("d", "n,t=x w=7 5"),
        ("e", "m v=8 7"),
    ] {
        assert_eq!(twinline.call(&format!("POST /write?db={db}"), &[], body).status, 204);
    }
    let status = twinline.settled(7);
    assert_eq!((&status["lines"]["delivered"], &status["lines"]["dead_lettered"]), (&2.into(), &5.into()));
    Refused { source, destination, twinline }
}

/// Straight to a database.
pub(crate) fn post(sandbox: &Sandbox, db: &str, body: &str) {
    let answer = crate::http::call(&sandbox.addr().to_string(), &format!("POST /write?db={db}"), &[], body.as_bytes());
    assert_eq!(answer.unwrap().status, 204, "{body}");
}

/// What the looks say, without what differs between a running and a stopped twinline.
fn looks(twinline: &Twinline) -> Vec<Value> {
    let looks = [&["ls"][..], &["ls", "--letters"], &["stats"], &["show", &first(twinline)]];
    let plain = |words: &&[&str]| {
        let mut document = json(twinline, words);
        document.as_object_mut().unwrap().remove("running");
        document
    };
    looks.iter().map(plain).collect()
}

/// The name of the oldest letter.
fn first(twinline: &Twinline) -> String {
    json(twinline, &["ls", "--letters", "--limit", "1"])["letters"][0]["id"].as_str().unwrap().to_owned()
}

#[test]
fn letters_are_listed_by_reason_and_measurement_with_the_byte_at_fault() {
    let Refused { mut twinline, .. } = refused();
    let list = json(&twinline, &["ls"]);
    assert_eq!((&list["lines"], &list["groups"], &list["running"]), (&5.into(), &2.into(), &true.into()), "{list:#}");
    let [reason] = &list["reasons"].as_array().unwrap()[..] else { panic!("{list:#}") };
    assert_eq!((&reason["reason"], &reason["lines"]), (&"type-conflict".into(), &5.into()));
    let [m, n] = &reason["measurements"].as_array().unwrap()[..] else { panic!("{list:#}") };
    assert_eq!(
        (&m["measurement"], &m["lines"], &n["measurement"], &n["lines"]),
        (&"m".into(), &4.into(), &"n".into(), &1.into())
    );
    assert_eq!((&m["from"], &m["to"]), (&"1970-01-01T00:00:00.000000007Z".into(), &"1970-01-01T00:00:09Z".into()));
    assert_eq!((&m["example"]["excerpt"], &m["example"]["at"]), (&"m v=1.5 1000000000".into(), &4.into()), "{m:#}");
    assert!(m["example"]["said"].as_str().unwrap().contains("field type conflict: input field \"v\""), "{m:#}");

    let shown = text(&letters(&twinline, &["ls"]));
    let lines: Vec<&str> = shown.lines().collect();
    assert!(lines[0].starts_with("✗ type-conflict: 5 lines, "), "{shown}");
    let at = lines.iter().position(|line| *line == "    n,t=x w=7 5").unwrap_or_else(|| panic!("{shown}"));
    assert_eq!(lines[at + 1], "            ^", "{shown}");
    let limited = text(&letters(&twinline, &["ls", "--limit", "1"]));
    assert!(limited.contains("and 1 measurement more (--limit)") || limited.contains("and 1 measurement"), "{limited}");

    let count = |words: &[&str]| json(&twinline, &[&["ls"], words].concat())["lines"].as_u64().unwrap();
    let counts = [&["--route", "d"][..], &["--route", "e"], &["--measurement", "n"], &["--reason", "parse"]].map(count);
    assert_eq!(counts, [4, 1, 1, 0]);
    assert_eq!(count(&["--reason", "type-conflict", "--route", "d", "--measurement", "m"]), 3);
    assert!(text(&letters(&twinline, &["ls", "--reason", "parse"])).contains("✓ no dead letters with --reason parse"));

    let (mut seen, mut from) = (Vec::new(), "0.0".to_owned());
    loop {
        let page = json(&twinline, &["ls", "--letters", "--limit", "2", "--from", &from]);
        seen.extend(page["letters"].as_array().unwrap().iter().map(|letter| letter["id"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        next.clone_into(&mut from);
    }
    assert_eq!(seen.len(), 5, "{seen:?}");
    let odd = json(&twinline, &["show", &seen[1]]);
    assert_eq!((&odd["text"], &odd["at"]), (&"m,t=\u{e4}\u{a0} v=2.5,x=1i 2000000000".into(), &11.into()), "{odd:#}");
    assert_eq!((&odd["route"], &odd["reason"]), (&"d".into(), &"type-conflict".into()));
    let shown = text(&letters(&twinline, &["show", &seen[1]]));
    assert!(shown.contains("  m,t=ä<U+00A0> v=2.5,x=1i 2000000000\n                  ^\n"), "{shown}");

    let running = looks(&twinline);
    twinline.stop(Signal::KILL);
    let before = crate::queue::snapshot(&twinline.data());
    assert_eq!(looks(&twinline), running, "of a stopped one the same is read");
    assert_eq!(json(&twinline, &["ls"])["running"], false);
    let data = twinline.data();
    let alone = json(&twinline, &["ls", "--data-dir", data.to_str().unwrap()]);
    assert_eq!(alone["lines"], 5, "without a configuration");
    assert_eq!(crate::queue::snapshot(&twinline.data()), before, "looking changes nothing");
}

#[test]
fn what_cannot_be_done_is_told_with_the_reason() {
    let Refused { mut twinline, .. } = refused();
    let fails = |twinline: &Twinline, words: &[&str], code: i32, part: &str| {
        let output = letters(twinline, words);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(code), "{words:?}: {said}");
        assert!(said.contains(part), "{words:?}: {part}\n{said}");
    };
    for id in ["", "x", "17", "1.", "1.2.3", "-1.0", "99999999999999999999.0"] {
        fails(&twinline, &["show", "--", id], 2, "write the number of a record and of a line");
    }
    fails(&twinline, &["show", "4711.0"], 1, "there is no dead letter 4711.0\nNext: twinline deadletter");
    fails(&twinline, &["ls", "--limit", "0"], 2, "0");
    fails(&twinline, &["ls", "--from", "1.0"], 2, "--letters");
    fails(&twinline, &["ls", "--data-dir", "/nowhere/at/all"], 1, "there is no directory /nowhere/at/all");
    fails(&twinline, &["export"], 2, "--out");
    fails(&twinline, &["export", "--out", "-"], 2, "not to stdout");
    let inside = twinline.data().join("x.lp");
    fails(&twinline, &["export", "--out", inside.to_str().unwrap()], 4, "lies in data_dir");

    let post = |path: &str, body: &str| {
        let mut socket = std::os::unix::net::UnixStream::connect(twinline.socket()).unwrap();
        let length = body.len();
        write!(socket, "POST {path} HTTP/1.0\r\nhost: x\r\ncontent-length: {length}\r\n\r\n{body}").unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        answer.split(' ').nth(1).unwrap().to_owned()
    };
    let path = "/api/v1/dead-letters/remove";
    let many = serde_json::json!({ "fate": "purged", "ids": vec!["1.0"; 1001] }).to_string();
    for bad in ["", "{}", "{\"fate\":\"eaten\",\"ids\":[]}", "{\"fate\":\"purged\",\"ids\":[\"1\"]}", &many] {
        assert_eq!(post(path, bad), "400", "{bad:.80}");
    }
    assert_eq!(post(path, &"x".repeat(200_000)), "413");
    assert_eq!(twinline.admin("/api/v1/dead-letters/page").status, 404, "clients' lines are for the socket alone");
    assert_eq!(json(&twinline, &["stats"])["lines"], 5, "nothing is gone");

    twinline.stop(Signal::TERM);
    fails(&twinline, &["purge", "--execute"], 10, "no twinline runs on ");
    assert_eq!(json(&twinline, &["stats"])["lines"], 5);
}

#[test]
fn an_export_holds_each_line_below_its_comment() {
    let Refused { twinline, .. } = refused();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("letters.lp");
    let out = file.to_str().unwrap();
    let document = json(&twinline, &["export", "--out", out, "--route", "d"]);
    assert_eq!(document["lines"], 4, "{document:#}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no draft stays behind");
    let written = std::fs::read_to_string(&file).unwrap();
    let lines: Vec<&str> = written.lines().collect();
    let id = first(&twinline);
    assert!(
        lines[2].starts_with(&format!("# {id} type-conflict d: ")) && lines[2].contains("field type conflict"),
        "{written}"
    );
    assert_eq!(lines[3], "m v=1.5 1000000000", "{written}");
    let plain = lines.iter().filter(|line| !line.starts_with('#'));
    assert_eq!(plain.count(), 4, "{written}");

    let again = letters(&twinline, &["export", "--out", out]);
    assert_eq!(again.status.code(), Some(4), "{}", said(&again));
    assert!(said(&again).contains("--force"), "{}", said(&again));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), written);
    assert_eq!(json(&twinline, &["export", "--out", out, "--force"])["lines"], 5);
    assert_eq!(json(&twinline, &["stats"])["lines"], 5, "it takes nothing away");
}

#[test]
fn a_purge_says_first_what_goes_and_the_accounts_go_on_telling_it() {
    let Refused { mut twinline, .. } = refused();
    let dry = letters(&twinline, &["purge", "--route", "d"]);
    assert_eq!(dry.status.code(), Some(0), "{}", said(&dry));
    assert!(text(&dry).contains("would remove 4 dead letters, "), "{}", text(&dry));
    assert!(said(&dry).contains("export --route d --out "), "{}", said(&dry));
    assert_eq!(json(&twinline, &["stats"])["lines"], 5);

    let done = json(&twinline, &["purge", "--reason", "type-conflict", "--route", "d", "--execute"]);
    assert_eq!((&done["executed"], &done["removed"]), (&true.into(), &4.into()), "{done:#}");
    let stats = json(&twinline, &["stats"]);
    assert_eq!((&stats["lines"], &stats["removed"]["purged"]), (&1.into(), &4.into()), "{stats:#}");
    assert_eq!(stats["sums"][0]["route"], "e", "{stats:#}");
    let told: Vec<Value> =
        events(&twinline, 0).into_iter().filter(|event| event["kind"] == "dead-letters-removed").collect();
    assert_eq!(told.len(), 1, "{told:#?}");
    assert_eq!(told[0]["text"], "4 dead letter(s) of main are gone, purged by an operator");

    let accounts = |twinline: &Twinline| {
        let status = twinline.settled(7);
        assert_eq!((&status["lines"]["delivered"], &status["lines"]["dead_lettered"]), (&2.into(), &5.into()));
        assert_eq!(status["dead_letters"][0]["lines"], 1, "{status:#}");
        assert_eq!(status["letters_removed"], serde_json::json!([{ "cause": "purged", "lines": 4 }]), "{status:#}");
        let metrics = twinline.admin("/metrics").text();
        assert!(
            metrics.contains("\ntwinline_dead_letter_lines{destination=\"main\"} 1\n"),
            "what the store holds: {metrics}"
        );
        let missing = status["not_covered"].to_string();
        assert!(missing.contains("5 lines were refused by the destination (4 of them were purged)"), "{missing}");
    };
    accounts(&twinline);
    // What is delivered again is refused again; nobody gets the letters back, and nothing counts twice.
    twinline.stop(Signal::KILL);
    twinline.start_again();
    accounts(&twinline);
}

/// The bound of the store, reached: an operator makes room, and delivery goes on without a restart.
#[test]
fn a_full_store_stands_until_it_is_purged_and_goes_on_then() {
    let source = Sandbox::spawn_thread(Options::default()).unwrap();
    source.create_database("d");
    let destination = Scripted::start(refuses_bad);
    let section = |url: String| format!("url = \"{url}\"\nkind = \"influxdb1\"");
    let mut setup = Setup::new(section(source.url()), section(destination.url()));
    setup.queue = "dead_letter_max = \"1MiB\"".to_owned();
    let twinline = setup.start();
    // Each write fills most of the store.
    let line = |at: usize| format!("m s=\"bad{}\" {at}\n", "x".repeat(1000));
    let write = |from: usize| {
        let body: String = (from..from + 600).map(line).collect();
        assert_eq!(twinline.call("POST /write?db=d", &[], body).status, 204);
    };
    write(0);
    twinline.settled(600);
    write(1000);
    write(2000);
    let full = |status: &Value| status["paused"][0]["code"] == "dead-letters-full";
    let status = twinline.until("the store is full", full);
    assert_eq!(status["next_steps"][0], "twinline deadletter ls", "{status:#}");
    assert!(status["paused"][0]["reason"].as_str().unwrap().contains("queue.dead_letter_max"), "{status:#}");
    // One purge makes room for one write's letters, the next for the other's.
    eventually("both are through", || {
        let done = json(&twinline, &["purge", "--execute"]);
        let status = twinline.status();
        if status["lines"]["queued"] == 0 && status["lines"]["dead_lettered"] == 1800 {
            Ok(())
        } else {
            Err(format!("{done:#}{status:#}"))
        }
    });
    twinline.settled(1800);
    // Also where nothing follows that the destination could take.
    twinline.until("nothing is paused", |status| status["paused"] == serde_json::json!([]));
    let kinds: Vec<Value> = events(&twinline, 0).into_iter().map(|event| event["kind"].clone()).collect();
    let count = |kind: &str| kinds.iter().filter(|known| *known == kind).count();
    assert!(
        count("destination-paused") >= 1 && count("destination-paused") == count("destination-resumed"),
        "{kinds:?}"
    );
}

/// Lines that are known beforehand have filled it, and nothing is written any more.
#[test]
fn a_store_that_is_purged_while_nobody_writes_is_not_shown_as_full() {
    let source = Sandbox::spawn_thread(Options::default()).unwrap();
    source.create_database("d");
    let destination = Scripted::start(|_| Reply::new(204, ""));
    let mut setup = Setup::new(
        format!("url = \"{}\"\nkind = \"influxdb1\"", source.url()),
        format!("url = \"{}\"\nkind = \"victoriametrics\"\nprojection.texts = \"dead-letter\"", destination.url()),
    );
    setup.queue = "dead_letter_max = \"1MiB\"".to_owned();
    let twinline = setup.start();
    let line = |at: usize| format!("m s=\"{}\" {}\n", "x".repeat(1000), 1_700_000_000_000_000_000 + at * 1_000_000);
    for from in [0, 600] {
        let body: String = (from..from + 600).map(line).collect();
        assert_eq!(twinline.call("POST /write?db=d", &[], body).status, 204);
    }
    twinline.until("the store is full", |status| status["paused"][0]["code"] == "dead-letters-full");
    twinline.settled(1200);
    let purged = letters(&twinline, &["purge", "--execute"]);
    assert!(purged.status.success(), "{}{}", text(&purged), said(&purged));
    twinline.until("nothing is paused", |status| status["paused"] == serde_json::json!([]));
}

/// What the destination acknowledged counts as durable there after 15 s only, so the saved floor is far behind the one in memory.
#[test]
fn a_purged_letter_does_not_come_back_after_a_kill_before_its_floor_was_saved() {
    let source = Sandbox::spawn_thread(Options::default()).unwrap();
    source.create_database("d");
    let destination = Scripted::start(|_| Reply::new(204, ""));
    let mut twinline = Setup::new(
        format!("url = \"{}\"\nkind = \"influxdb1\"", source.url()),
        format!("url = \"{}\"\nkind = \"victoriametrics\"\nprojection.texts = \"dead-letter\"", destination.url()),
    )
    .start();
    assert_eq!(
        twinline.call("POST /write?db=d", &[], "m s=\"text\" 1700000000000000000\nm v=1 1700000001000000000").status,
        204
    );
    let status = twinline.settled(2);
    assert_eq!(status["lines"]["dead_lettered"], 1, "{status:#}");
    let purged = letters(&twinline, &["purge", "--execute"]);
    assert!(purged.status.success(), "{}{}", text(&purged), said(&purged));
    assert_eq!(json(&twinline, &["stats"])["lines"], 0);
    twinline.stop(Signal::KILL);
    twinline.start_again();
    let status = twinline.settled(2);
    assert_eq!(status["lines"]["delivered"], 1, "{status:#}");
    assert!(destination.writes("").len() >= 2, "it was delivered again");
    assert_eq!(json(&twinline, &["stats"])["lines"], 0, "it stays gone");
}
