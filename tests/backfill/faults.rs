//! A source that breaks its answers off, and a destination that does not take everything.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::copied::{MONDAY_NS, document, equal, write};
use crate::database::{Kind, shared};
use crate::proxy::Setup;
use crate::scripted::{DONE, Reply, Scripted};

/// Stands before a server and cuts the answers to queries of cells that name this measurement, so many times.
fn cutting(server: &str, measurement: &'static str, times: Arc<AtomicU64>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (addr, server) = (listener.local_addr().unwrap().to_string(), server.to_owned());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (server, times) = (server.clone(), Arc::clone(&times));
            std::thread::spawn(move || pass(stream.unwrap(), &server, measurement, &times));
        }
    });
    format!("url = \"http://{addr}\"\nkind = \"influxdb1\"")
}

/// One request a connection: the answer says so.
fn pass(mut client: TcpStream, server: &str, measurement: &str, times: &AtomicU64) {
    let mut request = Vec::new();
    let mut buffer = [0; 65_536];
    let whole = |request: &[u8]| {
        let text = String::from_utf8_lossy(request).to_ascii_lowercase();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
        let length =
            head.split("content-length: ").nth(1).map_or(0, |rest| rest.split("\r\n").next().unwrap().parse().unwrap());
        body.len() >= length
    };
    while !whole(&request) {
        match client.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(more) => request.extend_from_slice(&buffer[..more]),
        }
    }
    let text = String::from_utf8_lossy(&request).into_owned();
    let closing = text.replacen("\r\n", "\r\nConnection: close\r\n", 1);
    let mut server = TcpStream::connect(server).unwrap();
    server.write_all(closing.as_bytes()).unwrap();
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).unwrap();
    let is_meant = text.contains("q=SELECT%20%2A") && text.contains(&format!("%22{measurement}%22"));
    let cut = is_meant && times.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
    let sent = if cut { answer.len() / 2 } else { answer.len() };
    let _ = client.write_all(&answer[..sent]);
}

#[test]
fn an_answer_that_ends_early_is_never_a_chunk_that_is_written() {
    let name = "bcut";
    let (source, destination) = (shared(Kind::One, 0), shared(Kind::One, 1));
    for database in [&source, &destination] {
        database.create(name);
    }
    let line = |at: i64| format!("cut,host=h{at} f={at} {}\nwhole f={at} {}", MONDAY_NS + at, MONDAY_NS + at);
    write(&source, name, &(0..500).map(line).collect::<Vec<_>>().join("\n"));
    // First for ever: the other measurement is there, and this one is told.
    let times = Arc::new(AtomicU64::new(u64::MAX));
    let setup = Setup::new(cutting(&source.addr, "cut", Arc::clone(&times)), destination.section());
    let place = setup.place();
    let done = document(&place, &["start", "--offline", "--db", name], 5);
    assert_eq!((&done["state"], &done["points"]), (&"partial".into(), &500.into()), "{done:#}");
    let failed = done["failed"].as_array().unwrap();
    assert!(!failed.is_empty() && failed.iter().all(|one| one["measurement"] == "cut"), "{done:#}");
    let there = destination.cells(name);
    assert!(there.iter().all(|cell| cell.series.measurement() == b"whole"), "nothing of half an answer is written");
    // Twice more, then no more: a retry brings the rest.
    times.store(2, Ordering::SeqCst);
    let done = document(&place, &["retry"], 0);
    assert_eq!((&done["state"], &done["points"]), (&"done".into(), &1000.into()), "{done:#}");
    equal(&source, &destination, name);
}

/// 413 for more than 100 lines, 429 once, and a line that is quoted as no line.
#[test]
fn what_the_destination_asks_for_is_done_and_what_it_refuses_is_listed() {
    let name = "bscript";
    let source = shared(Kind::One, 0);
    source.create(name);
    let line = |at: i64| format!("m,host=h{} f={at} {}", at % 3, MONDAY_NS + at);
    write(&source, name, &(0..1000).map(line).collect::<Vec<_>>().join("\n"));
    let mut asked = 0;
    let destination = Scripted::start(move |write| {
        if write.is_statement() {
            return Reply::new(200, DONE);
        }
        let count = write.body.lines().count();
        if count > 100 {
            return Reply::new(413, "{\"error\":\"Request Entity Too Large\"}");
        }
        asked += 1;
        if asked == 1 {
            return Reply::Answer(429, "{\"error\":\"slow down\"}".to_owned(), vec!["Retry-After: 1".to_owned()]);
        }
        match write.body.lines().find(|line| line.contains("f=77.0 ")) {
            Some(bad) => Reply::new(
                400,
                &serde_json::json!({ "error": format!("partial write: unable to parse '{bad}': no") }).to_string(),
            ),
            None => Reply::new(204, ""),
        }
    });
    let place = Setup::new(source.section(), format!("url = \"{}\"\nkind = \"influxdb1\"", destination.url())).place();
    let done = document(&place, &["start", "--offline", "--db", name, "--into-existing", "merge"], 5);
    assert_eq!((&done["state"], &done["points"]), (&"partial".into(), &1000.into()), "{done:#}");
    assert_eq!(done["refused"][0]["lines"], 1, "{done:#}");
    let refused = document(&place, &["refused"], 0);
    assert!(refused["lines"][0]["line"].as_str().unwrap().starts_with("m,host=h2 f=77.0 "), "{refused:#}");
    let mut stored: Vec<String> = Vec::new();
    for write in destination.writes("").into_iter().filter(|write| matches!(write.status, 204 | 400)) {
        stored.extend(write.body.lines().map(str::to_owned));
    }
    stored.sort();
    stored.dedup();
    assert_eq!(stored.len(), 1000, "every line was in a request that was taken");
}

#[test]
fn a_destination_that_refuses_our_credentials_ends_it_with_what_to_do() {
    let name = "bauth";
    let source = shared(Kind::One, 0);
    source.create(name);
    write(&source, name, &format!("m f=1 {MONDAY_NS}"));
    let destination = Scripted::start(|write| match write.is_statement() {
        true => Reply::new(200, DONE),
        false => Reply::new(401, "{\"error\":\"authorization failed\"}"),
    });
    let place = Setup::new(source.section(), format!("url = \"{}\"\nkind = \"influxdb1\"", destination.url())).place();
    let output = place.command(&["backfill", "start", "--offline", "--db", name, "--into-existing", "merge"]);
    let said = crate::copied::said(&output);
    assert_eq!(output.status.code(), Some(12), "{said}");
    assert!(said.contains("authorization failed") && said.contains("Next: twinline check"), "{said}");
    destination.set(|_| Reply::new(204, ""));
    assert_eq!(document(&place, &["resume"], 0)["points"], 1);
}
