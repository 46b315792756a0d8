//! 1.x answers 200 and sends the head before it carries a statement out: what became of it stands at the end of the body alone.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};

use crate::proxy::{Setup, Twinline};
use crate::scripted::{Reply, Scripted};

const DONE: &str = "{\"results\":[{\"statement_id\":0}]}\n";

/// What follows the head of the next DELETE, chunk framing included; nothing: the connection ends.
type Rest = Arc<Mutex<Receiver<String>>>;

fn serve(mut stream: TcpStream, rest: &Rest) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    loop {
        let head: Vec<String> =
            reader.by_ref().lines().map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
        let target = head.first()?.split(' ').nth(1)?.to_owned();
        let length =
            head.iter().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        reader.read_exact(&mut body).ok()?;
        let begin = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Influxdb-Version: 1.13.2\r\n";
        let answer = match target.as_str() {
            _ if target.starts_with("/query") && target.contains("DELETE") => {
                stream.write_all(format!("{begin}Transfer-Encoding: chunked\r\n\r\n").as_bytes()).ok()?;
                let rest = rest.lock().unwrap().recv().ok()?;
                stream.write_all(rest.as_bytes()).ok()?;
                if !rest.ends_with("0\r\n\r\n") {
                    return None;
                }
                continue;
            }
            _ if target.starts_with("/query") => format!("{begin}Content-Length: {}\r\n\r\n{DONE}", DONE.len()),
            _ => "HTTP/1.1 204 No Content\r\nX-Influxdb-Version: 1.13.2\r\n\r\n".to_owned(),
        };
        stream.write_all(answer.as_bytes()).ok()?;
    }
}

/// The source, whose answers to DELETE go on with what is sent here.
fn source() -> (String, std::sync::mpsc::Sender<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (send, received) = channel();
    let rest: Rest = Arc::new(Mutex::new(received));
    // Ends with the test program.
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let rest = Arc::clone(&rest);
            std::thread::spawn(move || serve(stream, &rest));
        }
    });
    (url, send)
}

fn arrived(destination: &Scripted) -> Vec<String> {
    let all = destination.writes("db=d");
    let texts = all.iter().map(|write| if write.is_statement() { "statement" } else { write.body.trim() });
    texts.flat_map(str::lines).map(str::to_owned).collect()
}

fn pair() -> (Twinline, Scripted, std::sync::mpsc::Sender<String>) {
    let (url, rest) = source();
    let destination = Scripted::start(|write| match write.is_statement() {
        true => Reply::new(200, DONE.trim()),
        false => Reply::new(204, ""),
    });
    let destination_section = format!("url = \"{}\"\nkind = \"influxdb1\"", destination.url());
    let twinline = Setup::new(format!("url = \"{url}\"\nkind = \"influxdb1\""), destination_section).start();
    (twinline, destination, rest)
}

/// Sends a DELETE and reads the head of its answer.
fn begun(twinline: &Twinline) -> crate::http::Connection {
    let mut client = twinline.connect();
    client.send(b"GET /query?db=d&q=DELETE+FROM+m HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert_eq!(client.begin().unwrap().status, 200);
    client
}

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

/// A write between head and end may lie on either side of the statement at the source: its lines that the statement may reach are doubt,
/// the others are delivered behind it.
#[test]
fn a_statement_has_run_at_the_end_of_its_answer_and_not_with_its_head() {
    let (twinline, destination, rest) = pair();
    let write = |body: &str| assert_eq!(twinline.call("POST /write?db=d", &[], body).status, 204);
    write("m v=1 1");
    let mut client = begun(&twinline);
    write("m v=2 2\nn v=2 2");
    assert!(!arrived(&destination).contains(&"statement".to_owned()), "nobody knows yet that it ran");
    rest.send(chunk(DONE) + "0\r\n\r\n").unwrap();
    let mut body = Vec::new();
    while client.chunk(&mut body).unwrap() {}
    assert_eq!(body, DONE.as_bytes());
    write("m v=3 3");
    let status = twinline.settled(4);
    assert_eq!((&status["lines"]["delivered"], &status["lines"]["doubt"]), (&3.into(), &1.into()), "{status:#}");
    assert_eq!(arrived(&destination), ["m v=1 1", "statement", "n v=2 2", "m v=3 3"]);
    assert_eq!(status["statements_not_mirrored"], 0);
}

/// An answer that breaks off, or whose end says that it failed, is no success, whatever its head said.
#[test]
fn a_head_alone_proves_nothing() {
    let failed = "{\"results\":[{\"statement_id\":0,\"error\":\"engine: it broke in the middle\"}]}\n";
    for rest_of_it in [String::new(), chunk("{\"results\":[{\"statement_id\":0"), chunk(failed) + "0\r\n\r\n"] {
        let (twinline, destination, rest) = pair();
        let mut client = begun(&twinline);
        rest.send(rest_of_it.clone()).unwrap();
        let mut body = Vec::new();
        while let Ok(true) = client.chunk(&mut body) {}
        let status = twinline.until("it is told", |status| status["statements_not_mirrored"] == 1);
        let why = status["statements"][0]["why"].as_str().unwrap();
        assert!(why.contains("does not say whether it ran"), "{rest_of_it:?}: {why}");
        assert_eq!(twinline.call("POST /write?db=d", &[], "m v=1 1").status, 204);
        twinline.delivered(1);
        assert_eq!(arrived(&destination), ["m v=1 1"], "{rest_of_it:?}");
    }
}
