//! Clients that mean no good, against a source that takes down what reaches it: no request gets there that no client sent, none with
//! another body than its own, and every answer is that of its own request, in order.
//!
//! `TWINLINE_REQUESTS` says how many (100,000 in the long tier), `TWINLINE_SEED` which.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::hostile::{End, Fate, Generator, Hostile};
use crate::proxy::{PATIENCE, Setup};

/// What a request brought, by its name: once for each time it came whole.
#[derive(Debug, Default)]
struct Arrived {
    whole: HashMap<String, Vec<Vec<u8>>>,
    /// What no honest proxy sends.
    faults: Vec<String>,
}

type Record = Arc<Mutex<Arrived>>;

fn source() -> (String, Record) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let record = Record::default();
    let to = Arc::clone(&record);
    // Ends with the test program.
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let record = Arc::clone(&to);
            std::thread::spawn(move || {
                let mut reader = BufReader::new(&stream);
                while serve_one(&stream, &mut reader, &record).is_some() {}
            });
        }
    });
    (url, record)
}

/// Takes one request strictly, and answers with its name. Nothing may stand behind it before it is answered.
fn serve_one(mut stream: &TcpStream, reader: &mut BufReader<&TcpStream>, record: &Record) -> Option<()> {
    let fault = |what: String| record.lock().unwrap().faults.push(what);
    let mut head = Vec::new();
    loop {
        let mut line = Vec::new();
        reader.read_until(b'\n', &mut line).ok()?;
        match line.strip_suffix(b"\r\n") {
            Some(b"") => break,
            Some(line) => head.push(line.to_vec()),
            None if line.is_empty() && head.is_empty() => return None,
            None => {
                fault(format!("a head that ends in {:?}", String::from_utf8_lossy(&line)));
                return None;
            }
        }
    }
    if let Err(what) = strict(&head) {
        fault(format!("{what}: {:?}", String::from_utf8_lossy(&head.join(&b'\n'))));
    }
    let value = |name: &str| {
        head[1..].iter().find_map(|line| {
            let at = line.iter().position(|byte| *byte == b':')?;
            let value = String::from_utf8_lossy(&line[at + 1..]).trim().to_owned();
            line[..at].eq_ignore_ascii_case(name.as_bytes()).then_some(value)
        })
    };
    let body = body(reader, value("content-length"), value("transfer-encoding"))?;
    let name = value("x-id").unwrap_or_else(|| "its own".to_owned());
    if !reader.buffer().is_empty() {
        fault(format!("{name}: {} bytes stand behind it", reader.buffer().len()));
    }
    if name == "its own" {
        let line = String::from_utf8_lossy(&head[0]).into_owned();
        let own = ["GET /ping", "GET /debug/vars", "GET /api/v2/"];
        let is_known = own.iter().any(|own| line.starts_with(own)) || line.contains(" /query?");
        if !is_known {
            fault(format!("nobody sent {line}"));
        }
        stream.write_all(b"HTTP/1.1 204 No Content\r\nX-Influxdb-Version: 1.13.2\r\n\r\n").ok()?;
        return Some(());
    }
    record.lock().unwrap().whole.entry(name.clone()).or_default().push(body);
    let said = if head[0].starts_with(b"HEAD ") { "" } else { &name };
    // Nobody opens a tunnel.
    let status = if head[0].starts_with(b"CONNECT ") { "405 Method Not Allowed" } else { "200 OK" };
    let answer = format!("HTTP/1.1 {status}\r\nX-Id: {name}\r\nContent-Length: {}\r\n\r\n{said}", name.len());
    stream.write_all(answer.as_bytes()).ok()
}

fn body(reader: &mut BufReader<&TcpStream>, length: Option<String>, coding: Option<String>) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    if coding.is_none() {
        body.resize(length.map_or(Some(0), |length| length.parse().ok())?, 0);
        reader.read_exact(&mut body).ok()?;
        return Some(body);
    }
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let size = usize::from_str_radix(line.strip_suffix("\r\n")?, 16).ok()?;
        if size == 0 {
            break;
        }
        let begin = body.len();
        body.resize(begin + size + 2, 0);
        reader.read_exact(&mut body[begin..]).ok()?;
        body.ends_with(b"\r\n").then_some(())?;
        body.truncate(begin + size);
    }
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        if line == "\r\n" {
            return Some(body);
        }
        line.ends_with("\r\n").then_some(())?;
    }
}

/// A head that no two servers read differently.
fn strict(head: &[Vec<u8>]) -> Result<(), &'static str> {
    let (line, headers) = head.split_first().ok_or("no request line")?;
    let parts: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let is_line = parts.len() == 3 && parts[2] == b"HTTP/1.1";
    if !is_line || line.iter().any(|byte| !(b' '..=b'~').contains(byte)) {
        return Err("an odd request line");
    }
    let mut counts = [0; 3];
    for header in headers {
        let at = header.iter().position(|byte| *byte == b':').ok_or("a header without a colon")?;
        let (name, value) = (&header[..at], &header[at + 1..]);
        let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
        if name.is_empty() || !name.iter().all(is_token) {
            return Err("an odd name of a header");
        }
        if value.iter().any(|byte| *byte != b'\t' && (*byte < b' ' || *byte == 0x7f)) {
            return Err("a control byte in a header");
        }
        for (at, known) in ["content-length", "transfer-encoding", "host"].iter().enumerate() {
            counts[at] += u32::from(name.eq_ignore_ascii_case(known.as_bytes()));
        }
        let text = value.trim_ascii();
        if name.eq_ignore_ascii_case(b"content-length") && (text.is_empty() || !text.iter().all(u8::is_ascii_digit)) {
            return Err("an odd length");
        }
        if name.eq_ignore_ascii_case(b"transfer-encoding") && text != b"chunked" {
            return Err("an odd coding");
        }
    }
    match counts {
        [length, coding, 1] if length + coding <= 1 => Ok(()),
        _ => Err("several lengths, or not one host"),
    }
}

/// Sends all requests of a connection in pieces, and takes what is answered until its end.
fn send(addr: &str, requests: &[Hostile], random: &mut fastrand::Rng, goes_away: bool) -> Vec<u8> {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let bytes: Vec<u8> = requests.iter().flat_map(|request| request.bytes.iter().copied()).collect();
    let reading = stream.try_clone().unwrap();
    std::thread::scope(|scope| {
        // It reads beside: who only writes may wait for ever for one who only answers.
        let answers = scope.spawn(move || {
            let (mut answers, mut reading) = (Vec::new(), reading);
            let _ = reading.read_to_end(&mut answers).map_err(|error| {
                assert!(error.kind() != std::io::ErrorKind::WouldBlock, "it hangs");
            });
            answers
        });
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let most = if random.u8(..3) == 0 { 40 } else { 100_000 };
            let (piece, behind) = rest.split_at(random.usize(1..=rest.len().min(most)));
            // The other side may have closed already, and rightly.
            if stream.write_all(piece).is_err() {
                break;
            }
            rest = behind;
        }
        let _ = stream.shutdown(if goes_away { Shutdown::Both } else { Shutdown::Write });
        answers.join().unwrap()
    })
}

/// Names of the answers in order, `None` for a refusal of Twinline's own.
fn names(answers: &[u8], requests: &[Hostile]) -> Result<Vec<Option<String>>, String> {
    let mut rest = answers;
    let mut names: Vec<Option<String>> = Vec::new();
    while !rest.is_empty() {
        let end = rest.windows(4).position(|four| four == b"\r\n\r\n");
        let Some(end) = end else { break };
        let head = String::from_utf8_lossy(&rest[..end]).into_owned();
        rest = &rest[end + 4..];
        if !head.starts_with("HTTP/1.") {
            return Err(format!("no answer: {head}"));
        }
        if head.contains(" 100 ") {
            continue;
        }
        let value = |name: &str| {
            head.lines().skip(1).find_map(|line| {
                let (key, value) = line.split_once(':')?;
                key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
            })
        };
        let name = value("x-id");
        let bytes = match value("content-length") {
            Some(length) => length.parse().map_err(|_| head.clone())?,
            None => rest.len(),
        };
        let bodiless = requests.iter().any(|request| request.head_only && name.as_ref() == Some(&request.name));
        if !bodiless {
            let body = &rest[..bytes.min(rest.len())];
            let is_whole = body.len() == bytes;
            if is_whole && name.as_ref().is_some_and(|name| name.as_bytes() != body) {
                return Err(format!("{name:?} with the body of another: {}", String::from_utf8_lossy(body)));
            }
            rest = &rest[body.len()..];
        }
        names.push(name);
    }
    Ok(names)
}

/// Whether a request came, as its client sent it.
fn came_at_most_once(request: &Hostile, arrived: &Arrived) -> Result<bool, String> {
    let came = arrived.whole.get(&request.name).map_or(&[][..], Vec::as_slice);
    match came {
        [] => Ok(false),
        [body] if *body == request.body && !matches!(request.fate, Fate::Refused | Fate::Cut) => Ok(true),
        _ => Err(format!("{} ({}): it came so: {came:?}", request.name, request.kind)),
    }
}

/// What must hold of one connection.
fn judge(requests: &[Hostile], answers: &[u8], arrived: &Arrived) -> Result<(), String> {
    let answered = names(answers, requests)?;
    let mut answered = answered.into_iter();
    let mut open = true;
    for request in requests {
        let what = |what: &str| Err(format!("{} ({}): {what}", request.name, request.kind));
        let came = came_at_most_once(request, arrived)?;
        if !open {
            if came {
                return what("it came from behind the end");
            }
            continue;
        }
        if request.fate == Fate::Answered && !came {
            return what("it did not come");
        }
        match (came, answered.next()) {
            (true, Some(Some(name))) if name == request.name => {}
            (_, Some(Some(name))) => return Err(format!("{}: answered as {name}", request.name)),
            (true, _) => return what("it came and was not answered"),
            // Refused, with or without a word.
            _ => open = false,
        }
        match request.end {
            End::No => {}
            End::May if answered.as_slice().is_empty() => open = false,
            End::May => {}
            End::Must => open = false,
        }
    }
    match answered.next() {
        Some(more) => Err(format!("one answer more: {more:?}")),
        None => Ok(()),
    }
}

#[test]
fn no_client_reaches_the_source_with_what_it_did_not_send() {
    let number = |name: &str, usual| std::env::var(name).map_or(usual, |text| text.parse().unwrap());
    let (wanted, seed) = (number("TWINLINE_REQUESTS", 8_000), number("TWINLINE_SEED", 7));
    let (url, record) = source();
    let mut setup =
        Setup::new(format!("url = \"{url}\""), "url = \"http://127.0.0.1:9\"\nkind = \"influxdb1\"".to_owned());
    setup.listen = "idle_timeout = \"20s\"".to_owned();
    let twinline = setup.start();
    let (sent, next) = (AtomicU64::new(0), AtomicU64::new(0));
    let (failed, gone) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..48 {
            scope.spawn(|| {
                while sent.load(Ordering::Relaxed) < wanted && failed.lock().unwrap().len() < 20 {
                    let mut generator = Generator::new(seed, next.fetch_add(1, Ordering::Relaxed));
                    let requests = generator.connection();
                    sent.fetch_add(requests.len() as u64, Ordering::Relaxed);
                    let mut random = generator.random.clone();
                    let goes_away = random.u8(..20) == 0;
                    let answers = send(&twinline.addr, &requests, &mut random, goes_away);
                    if goes_away {
                        gone.lock().unwrap().push(requests);
                        continue;
                    }
                    if let Err(why) = judge(&requests, &answers, &record.lock().unwrap()) {
                        let all: Vec<u8> = requests.iter().flat_map(|r| r.bytes.iter().copied()).collect();
                        let text = |bytes: &[u8]| bytes[..bytes.len().min(3_000)].escape_ascii().to_string();
                        failed.lock().unwrap().push(format!(
                            "{why}\n  sent: {}\n  got: {}",
                            text(&all),
                            text(&answers)
                        ));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
    // Of those who went away it is known only now what came.
    let arrived = record.lock().unwrap();
    let gone = gone.into_inner().unwrap();
    for request in gone.iter().flatten() {
        came_at_most_once(request, &arrived).unwrap();
    }
    let hidden: Vec<&String> = arrived.whole.keys().filter(|name| name.starts_with("hidden")).collect();
    assert!(hidden.is_empty() && arrived.faults.is_empty(), "{hidden:?} {:#?}", arrived.faults);
    println!("{} requests, {} reached the source", sent.load(Ordering::Relaxed), arrived.whole.len());
    drop(arrived);
    assert_eq!(twinline.call("GET /ping", &["X-Id: last"], "").text(), "last", "it still serves");
}
