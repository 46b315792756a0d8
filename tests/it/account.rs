//! Every line that the source has accepted is in exactly one state, at every moment, across a restart, in JSON and
//! text; and
//! what the process costs while nothing happens.

use rustix::process::Signal;
use serde_json::Value;
use twinline::sandbox::{Faults, Options, Sandbox, WriteAction, WriteFault};

use crate::database::{Database, Kind, shared};
use crate::proxy::Setup;

fn line(status: &Value, state: &str) -> u64 {
    status["lines"][state].as_u64().unwrap()
}

fn sum(status: &Value) -> u64 {
    ["delivered", "queued", "doubt", "dead_lettered", "gap", "excluded"].iter().map(|state| line(status, state)).sum()
}

#[test]
fn the_states_of_all_accepted_lines_add_up() {
    let (source, destination) = (shared(Kind::One, 0), Database::start(Kind::Two));
    for name in ["account", "account_unmapped"] {
        source.create(name);
    }
    destination.create("account");
    destination.post("/write?db=account", b"poisoned v=\"text\" 1", 204);
    let rules = "[[mapping.rule]]\nfrom = { db = \"account\" }\nto = { bucket = \"account\" }\n";
    let mut twinline = Setup::new(source.section(), destination.section()).more(rules).start();
    let write = |twinline: &crate::proxy::Twinline, db: &str, body: &str, status: u16| {
        let answer = twinline.call(&format!("POST /write?db={db}"), &[], body);
        assert_eq!(answer.status, status, "{}", answer.text());
    };
    write(&twinline, "account", "m v=1 1\nm v=2 2\n# no line\n\nm v=3", 204); // 3 delivered
    write(&twinline, "account", "m v=4 4\nbad\nm v=5 5", 400); // 2 delivered
    write(&twinline, "account", "poisoned v=1 2\nm v=6 6", 204); // 1 dead, 1 delivered
    write(&twinline, "account", "m v=\"text\" 7\nm v=8 8", 400); // 2 in doubt
    write(&twinline, "account_unmapped", "m v=1 1\nm v=2 2", 204); // 2 excluded
    write(&twinline, "nowhere", "m v=1 1", 404); // not accepted
    let status = twinline.settled(11);
    let found = ["delivered", "doubt", "dead_lettered", "excluded", "gap"].map(|state| line(&status, state));
    assert_eq!(found, [6, 2, 1, 2, 0], "{status:#}");

    destination.stop(Signal::TERM);
    write(&twinline, "account", "m v=9 9\nm v=10 10\nm v=11 11", 204);
    let waiting = |status: &Value| line(status, "queued") == 3 && sum(status) == 14;
    twinline.until("three lines wait", waiting);
    assert_eq!(twinline.stop(Signal::TERM).code(), Some(143));
    twinline.start_again();
    twinline.until("three lines wait after the restart, the others are where they were", waiting);

    destination.restart();
    let status = twinline.settled(14);
    let document: Value = serde_json::from_slice(&twinline.command(&["status", "-o", "json"]).stdout).unwrap();
    assert_eq!(document["lines"], status["lines"]);
    let text = String::from_utf8(twinline.command(&["status"]).stdout).unwrap();
    for (state, lines) in
        [("delivered", 9), ("queued", 0), ("doubt", 2), ("dead-lettered", 1), ("gap", 0), ("excluded", 2)]
    {
        let shown =
            text.lines().map(|line| line.trim_start_matches("LINES").trim()).find(|line| line.starts_with(state));
        // Behind it may stand the times of these lines.
        let number = shown.and_then(|line| line.split_whitespace().find(|word| word.parse::<u64>().is_ok()));
        assert_eq!(number, Some(lines.to_string().as_str()), "{text}");
    }
    let metrics = twinline.admin("/metrics").text();
    assert!(metrics.contains("twinline_"), "{metrics}");
    // The poisoned line lives on at the source alone; what is doubt was partly kept there.
    assert_eq!(destination.cells("account").iter().filter(|cell| cell.series.measurement() == b"m").count(), 9);
}

/// What the source has not answered is shown apart: it is not accepted yet.
#[test]
fn a_write_without_an_answer_yet_is_unanswered_and_in_no_other_state() {
    let [source, destination] = [(), ()].map(|()| Sandbox::spawn_thread(Options::default()).unwrap());
    for sandbox in [&source, &destination] {
        sandbox.create_database("d");
    }
    let url = |sandbox: &Sandbox| format!("url = \"{}\"", sandbox.url());
    let twinline = Setup::new(url(&source), url(&destination)).start();
    let hang = WriteFault { action: WriteAction::Hang { applied: false }, next: Some(1) };
    source.set_faults(Faults { writes: Some(hang), ..Faults::default() });
    let mut client = twinline.connect();
    client.send(b"POST /write?db=d HTTP/1.1\r\nHost: x\r\nContent-Length: 15\r\n\r\nm v=1 1\nm v=2 2").unwrap();
    twinline.until("two lines are unanswered", |status| line(status, "unanswered") == 2 && sum(status) == 0);
    // Its connection is cut when the faults change.
    source.set_faults(Faults { latency_ms: 1, ..Faults::default() });
    assert_eq!(client.answer(false).unwrap().status, 503);
    let status = twinline.settled(2);
    assert_eq!(line(&status, "doubt"), 2);
}

/// The long form of this stands in the benchmark; here it is only that nothing is held that need not be.
#[test]
fn an_idle_process_holds_less_than_30_mib() {
    let [source, destination] = [(), ()].map(|()| Sandbox::spawn_thread(Options::default()).unwrap());
    let url = |sandbox: &Sandbox| format!("url = \"{}\"", sandbox.url());
    let twinline = Setup::new(url(&source), url(&destination)).start();
    twinline.until("it is ready", |status| status["age_s"].as_f64() > Some(0.0));
    let text = std::fs::read_to_string(format!("/proc/{}/status", twinline.process_id())).unwrap();
    let kib = |name: &str| -> u64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim_matches([':', ' ', '\t']).trim_end_matches(" kB").parse().unwrap()
    };
    let (all, own) = (kib("VmRSS"), kib("RssAnon"));
    eprintln!("idle: {all} KiB resident, of which {own} KiB are its own");
    // Without optimisation the code alone is twice as large.
    let most = if cfg!(debug_assertions) { 40 } else { 30 };
    assert!(all < most << 10 && own < 8 << 10, "{text}");
}
