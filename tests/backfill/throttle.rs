//! A copy waits when it is told to, says why, and goes on: by file, by HTTP, by an operator, by what the destination asks for.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::copied::{MONDAY_NS, WEEK_NS, document, equal, said, write};
use crate::database::{Database, Kind, shared};
use crate::proxy::{Place, Setup, eventually};
use crate::scripted::{DONE, Reply, Scripted};

const POINTS: u64 = 300;

/// Points over three weeks at a source of 1.13, and an empty place at a destination of 2.9.
fn pair(name: &str) -> (Arc<Database>, Arc<Database>) {
    let (source, destination) = (shared(Kind::One, 0), shared(Kind::Two, 1));
    source.create(name);
    destination.create(name);
    let time = |at: i64| MONDAY_NS - at % 3 * WEEK_NS + at * 1_000_000_007;
    let line = |at: i64| format!("m{},host=h{} f={at}.5,i={at}i {}", at % 2, at % 5, time(at));
    write(&source, name, &(0..POINTS as i64).map(line).collect::<Vec<_>>().join("\n"));
    (source, destination)
}

fn place(source: &Database, destination: String, limits: &str) -> Place {
    Setup::new(source.section(), destination).more(&format!("[backfill]\n{limits}\n")).place()
}

fn begin(place: &Place, name: &str) -> Child {
    place.begin(&["backfill", "start", "--offline", "--db", name])
}

/// Waits until the status tells of this.
fn waits_for(place: &Place, words: &[&str]) -> Value {
    eventually("the status says why it waits", || {
        let output = place.command(&["-o", "json", "backfill", "status"]);
        let found: Value = serde_json::from_slice(&output.stdout).map_err(|_| said(&output))?;
        let note = found["note"].as_str().unwrap_or_default().to_owned();
        if words.iter().all(|word| note.contains(word)) { Ok(found) } else { Err(format!("{found:#}")) }
    })
}

/// It ends well, and all is there.
fn ends(child: Child, place: &Place, (source, destination, name): (&Database, &Database, &str)) {
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!(equal(source, destination, name), POINTS * 2);
    let done = document(place, &["status"], 0);
    assert_eq!(
        (&done["state"], &done["note"], &done["points"], &done["done_percent"]),
        (&"done".into(), &"".into(), &POINTS.into(), &100.0.into()),
        "{done:#}"
    );
}

#[test]
fn a_flag_file_stops_it_and_its_removal_lets_it_go_on() {
    let name = "tflag";
    let (source, destination) = pair(name);
    let dir = tempfile::tempdir().unwrap();
    let flag = dir.path().join("wait");
    std::fs::write(&flag, "").unwrap();
    let place = place(&source, destination.section(), &format!("flag_file = {flag:?}"));
    let child = begin(&place, name);
    waits_for(&place, &["waits: flag-file:", "wait is there"]);
    assert_eq!(destination.cells(name).len(), 0, "nothing is begun");
    let text = said(&place.command(&["backfill", "status"]));
    assert!(text.contains("waits: flag-file:"), "{text}");
    std::fs::remove_file(&flag).unwrap();
    ends(child, &place, (&source, &destination, name));
}

/// Answers every request with the status that holds.
fn hook(status: Arc<AtomicU16>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = Vec::new();
            let mut buffer = [0; 4096];
            while !request.windows(4).any(|part| part == b"\r\n\r\n") {
                match stream.read(&mut buffer) {
                    Ok(0) | Err(_) => break,
                    Ok(count) => request.extend_from_slice(&buffer[..count]),
                }
            }
            let asked = String::from_utf8_lossy(&request).into_owned();
            let status = if asked.starts_with("GET /may/copies/go ") { status.load(Ordering::SeqCst) } else { 404 };
            let body = "the nightly report runs";
            let answer =
                format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    format!("http://{addr}/may/copies/go")
}

#[test]
fn a_hook_that_says_no_is_shown_with_its_words_and_its_yes_lets_it_go_on() {
    let name = "thook";
    let (source, destination) = pair(name);
    let status = Arc::new(AtomicU16::new(503));
    let url = hook(Arc::clone(&status));
    let place = place(&source, destination.section(), &format!("hook_url = {url:?}\nhook_every = \"1s\""));
    let child = begin(&place, name);
    waits_for(&place, &["waits: http-hook:", "answers 503: the nightly report runs"]);
    assert_eq!(destination.cells(name).len(), 0);
    // Of any other answer too.
    status.store(302, Ordering::SeqCst);
    waits_for(&place, &["http-hook:", "answers 302"]);
    status.store(200, Ordering::SeqCst);
    ends(child, &place, (&source, &destination, name));
}

#[test]
fn an_operator_changes_limits_while_it_works() {
    let name = "tlimit";
    let (source, destination) = pair(name);
    let place = place(&source, destination.section(), "paused = true\nrows_per_s = 100_000");
    let child = begin(&place, name);
    waits_for(&place, &["waits: manual:", "twinline backfill limit paused=false"]);
    let wrong = place.command(&["backfill", "limit", "paused=false", "row_per_s=5"]);
    assert_eq!(wrong.status.code(), Some(2), "{}", said(&wrong));
    assert!(said(&wrong).contains("did you mean rows_per_s?"), "{}", said(&wrong));
    waits_for(&place, &["manual:"]);
    let changed = document(&place, &["limit", "paused=false", "requests_at_once=1"], 0);
    assert_eq!(changed["schema"], "twinline.backfill_limits/1");
    let row = |key: &str| {
        let rows = changed["limits"].as_array().unwrap();
        rows.iter().find(|row| row["key"] == key).unwrap().clone()
    };
    assert_eq!((&row("paused")["value"], &row("paused")["configured"]), (&"false".into(), &"true".into()));
    assert_eq!((&row("rows_per_s")["value"], &row("rows_per_s")["changed"]), (&"100000".into(), &false.into()));
    ends(child, &place, (&source, &destination, name));
    let text = said(&place.command(&["backfill", "limit", "requests_at_once=default"]));
    assert!(text.contains("paused = false (configured: true)") && text.contains("requests_at_once = 4 "), "{text}");
}

#[test]
fn what_goes_at_once_is_what_the_rate_allows_and_a_destination_that_wants_rest_gets_it() {
    let name = "trate";
    let (source, _) = pair(name);
    let mut asked = 0;
    let destination = Scripted::start(move |write| {
        if write.is_statement() {
            return Reply::new(200, DONE);
        }
        asked += 1;
        match asked {
            2 => Reply::Answer(429, "{\"error\":\"slow down\"}".to_owned(), vec!["Retry-After: 3".to_owned()]),
            _ => Reply::new(204, ""),
        }
    });
    let section = format!("url = \"{}\"\nkind = \"influxdb1\"", destination.url());
    let place = place(&source, section, "rows_per_s = 40\nrequests_at_once = 1");
    let words = ["start", "--offline", "--db", name, "--into-existing", "merge"];
    let done = document(&place, &words, 0);
    assert_eq!((&done["state"], &done["points"]), (&"done".into(), &POINTS.into()), "{done:#}");
    let writes = destination.writes("/write");
    let writes: Vec<_> = writes.into_iter().filter(|write| !write.body.trim().is_empty()).collect();
    let lines = |body: &str| body.lines().count();
    assert!(writes.iter().all(|write| lines(&write.body) <= 40), "none is larger than a second's rows");
    let stored: usize = writes.iter().filter(|write| write.status == 204).map(|write| lines(&write.body)).sum();
    assert_eq!(stored as u64, POINTS, "each once");
    let refused = writes.iter().position(|write| write.status == 429).unwrap();
    assert!(writes[refused + 1].at - writes[refused].at >= Duration::from_secs(3), "it has its rest");
    assert_eq!(writes[refused + 1].body, writes[refused].body, "the same again");
}

/// The rows of `batches`, as a dashboard reads them.
fn batches(destination: &Database, db: &str) -> Vec<Value> {
    let path = format!("GET /query?db={db}&q={}", crate::http::escape("SELECT * FROM batches"));
    let authorization = destination.authorization();
    let answer = crate::http::call(&destination.addr, &path, &[&authorization], b"").unwrap().json();
    let series = answer["results"][0]["series"].as_array().cloned().unwrap_or_default();
    let mut rows = Vec::new();
    for one in series {
        let columns = one["columns"].as_array().unwrap();
        for values in one["values"].as_array().unwrap() {
            let named = columns.iter().zip(values.as_array().unwrap());
            rows.push(named.map(|(column, value)| (column.as_str().unwrap().to_owned(), value.clone())).collect());
        }
    }
    rows
}

#[test]
fn each_chunk_is_a_point_of_batches_with_all_rows_of_the_job() {
    let name = "tbatches";
    let (source, destination) = pair(name);
    destination.create("tbatches_ops");
    let place = place(&source, destination.section(), "batches = \"tbatches_ops\"");
    ends(begin(&place, name), &place, (&source, &destination, name));
    let rows = batches(&destination, "tbatches_ops");
    let sum: u64 = rows.iter().map(|row| row["rows"].as_u64().unwrap()).sum();
    assert_eq!(sum, POINTS, "{rows:#?}");
    let mut percent = 0.0;
    for row in &rows {
        let now = row["percent_complete"].as_f64().unwrap();
        assert!(now >= percent, "{rows:#?}");
        percent = now;
        for key in ["batch_start", "batch_stop", "measurement"] {
            assert!(row["rows"] == 0 || !row[key].as_str().unwrap().is_empty(), "{row:#}");
        }
        assert_eq!((&row["job"], &row["dstBucket"]), (&"1".into(), &name.into()), "{row:#}");
        assert!(row["srcBucket"].as_str().unwrap().starts_with(name), "{row:#}");
    }
    assert_eq!(percent, 100.0, "{rows:#?}");
}

#[test]
fn batches_that_cannot_be_written_stop_nothing_and_are_told_once() {
    let name = "tbatchno";
    let (source, destination) = pair(name);
    let place = place(&source, destination.section(), "batches = \"nowhere\"");
    let output = begin(&place, name).wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!(equal(&source, &destination, name), POINTS * 2);
    let told = said(&output).matches("points of batches cannot be written to nowhere").count();
    assert_eq!(told, 1, "{}", said(&output));
}

/// Killed in the middle: whoever goes on is not further back than was shown.
#[test]
fn how_far_it_is_never_becomes_less() {
    let name = "tfar";
    let (source, destination) = pair(name);
    let place = place(&source, destination.section(), "rows_per_s = 25");
    let percent = |place: &Place| {
        let output = place.command(&["-o", "json", "backfill", "status"]);
        serde_json::from_slice::<Value>(&output.stdout).map_or(0.0, |found| found["done_percent"].as_f64().unwrap())
    };
    let mut child = begin(&place, name);
    let reached = |least: f64, before: &mut f64| {
        eventually("it goes on", || {
            let now = percent(&place);
            assert!(now >= *before, "{now} after {before}");
            *before = now;
            if now > least { Ok(()) } else { Err(now.to_string()) }
        });
    };
    let mut before = 0.0;
    reached(20.0, &mut before);
    child.kill().unwrap();
    child.wait().unwrap();
    let at_the_end = percent(&place);
    assert!(at_the_end >= before);
    let child = place.begin(&["backfill", "resume", "--count"]);
    reached((at_the_end + 10.0).min(99.0), &mut before);
    document(&place, &["limit", "rows_per_s=0"], 0);
    ends(child, &place, (&source, &destination, name));
}

/// Beside a running twinline clients come first: while one of their lines waits nothing new is read.
#[test]
fn a_client_whose_line_waits_comes_first() {
    let name = "tlag";
    let (source, destination) = pair(name);
    let limits = "[backfill]\ndelivery_lag_max = \"300ms\"\nqueries_at_once = 1\n";
    let twinline = Setup::new(source.section(), destination.section()).more(limits).start();
    let order = |words: &[&str]| {
        let output = twinline.command(words);
        assert_eq!(output.status.code(), Some(0), "{words:?}: {}", said(&output));
    };
    order(&["queue", "pause"]);
    let line = format!("POST /write?db={name}&precision=ns");
    let body = format!("live f=1,i=1i {}", MONDAY_NS + 77);
    let answer = crate::http::call(&twinline.addr, &line, &[], body.as_bytes()).unwrap();
    assert_eq!(answer.status, 204, "{}", answer.text());
    let now = || {
        let output = twinline.command(&["-o", "json", "backfill", "status"]);
        serde_json::from_slice::<Value>(&output.stdout).map_err(|_| said(&output))
    };
    // It waits for longer than it may, before the job begins.
    eventually("the line waits", || {
        let output = twinline.command(&["-o", "json", "status"]);
        let found: Value = serde_json::from_slice(&output.stdout).map_err(|_| said(&output))?;
        if found["lines"]["queued"] == 1 { Ok(()) } else { Err(format!("{found:#}")) }
    });
    std::thread::sleep(Duration::from_millis(500));
    order(&["backfill", "start", "--db", name]);
    eventually("the copy waits for it", || {
        let found = now()?;
        let why = found["now"]["throttled"].as_str().unwrap_or_default();
        let is_it = why.starts_with("delivery-lag: a client's line waits for") && why.contains("of 300 ms");
        if is_it { Ok(()) } else { Err(format!("{found:#}")) }
    });
    assert_eq!(now().unwrap()["points"], 0, "nothing was begun");
    order(&["queue", "resume"]);
    eventually("all is copied", || {
        let found = now()?;
        if found["state"] == "done" { Ok(()) } else { Err(format!("{found:#}")) }
    });
    assert_eq!(equal(&source, &destination, name), POINTS * 2 + 2);
}
