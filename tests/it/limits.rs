//! Bad and large input: each gets a clear answer in the form of its API, nothing panics, and the process's own memory stays
//! within its limit all the while.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use twinline::sandbox::{Faults, Options, Sandbox};

use crate::database::{Database, Kind, shared};
use crate::http::{Answer, Connection, gzip};
use crate::proxy::{Setup, Twinline, eventually};

/// What the process may hold in any test of this file; far below `limits.memory`, which is 1 GiB unless a test says so.
const OWN_KIB_MAX: u64 = 200 << 10;

pub(crate) fn own_kib(twinline: &Twinline) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{}/status", twinline.process_id())).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Does something and watches the memory of the process meanwhile.
fn watched<T: Send>(what: &str, twinline: &Twinline, work: impl FnOnce() -> T + Send) -> T {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watching = scope.spawn(|| {
            let mut most = 0;
            while !over.load(Ordering::Relaxed) {
                most = most.max(own_kib(twinline));
                std::thread::sleep(Duration::from_millis(5));
            }
            most
        });
        let done = scope.spawn(work).join();
        over.store(true, Ordering::Relaxed);
        let most = watching.join().unwrap();
        eprintln!("{what}: at most {most} KiB of its own");
        assert!(most < OWN_KIB_MAX, "{what}: {most} KiB");
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn sandboxes(more: &str) -> (Sandbox, Sandbox, Twinline) {
    let [source, destination] = [(), ()].map(|()| Sandbox::spawn_thread(Options::default()).unwrap());
    for sandbox in [&source, &destination] {
        sandbox.create_database("d");
    }
    let url = |sandbox: &Sandbox| format!("url = \"{}\"\nkind = \"influxdb1\"", sandbox.url());
    let twinline = Setup::new(url(&source), url(&destination)).more(more).start();
    (source, destination, twinline)
}

/// Lines of about 1,000 bytes, timed unless `untimed`.
fn wide(lines: usize, untimed: bool) -> Vec<u8> {
    lines_of(lines, 970, untimed)
}

/// Lines with a string of about so many bytes, timed unless `untimed`.
fn lines_of(lines: usize, bytes: usize, untimed: bool) -> Vec<u8> {
    let mut body = Vec::with_capacity(lines * (bytes + 31));
    for at in 1..=lines {
        let begin = body.len();
        write!(body, "m,t={} s=\"", at % 10).unwrap();
        body.resize(begin + bytes, b'a' + (at % 26) as u8);
        if untimed {
            write!(body, "\",v={at}i").unwrap()
        } else {
            write!(body, "\",v={at}i {at}").unwrap()
        }
        body.push(b'\n');
    }
    body
}

/// What the database itself says to the same request.
fn direct(database: &Database, line: &str, headers: &[&str], body: &[u8]) -> Answer {
    let authorization = database.authorization();
    let mut client = database.connect();
    let headers = headers.iter().copied().chain([authorization.as_str()]).map(|header| format!("{header}\r\n"));
    let headers: String = headers.collect();
    let head = format!("{line} HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
    // It may answer, and close, before it has read all.
    let _ = client.send(&[head.as_bytes(), body].concat());
    client.answer(false).unwrap()
}

fn through(twinline: &Twinline, database: &Database, line: &str, headers: &[&str], body: &[u8]) -> Answer {
    let authorization = database.authorization();
    let headers: Vec<&str> = headers.iter().copied().chain([authorization.as_str()]).collect();
    twinline.call(line, &headers, body)
}

#[test]
fn check_27_a_body_of_100_mb_gets_the_413_of_1_13() {
    let (source, destination) = (shared(Kind::One, 0), shared(Kind::Two, 0));
    let name = "large_1_13";
    source.create(name);
    destination.create(name);
    let twinline = Setup::new(source.section(), destination.section()).start();
    let (line, body) = (format!("POST /write?db={name}"), wide(100_000, false));
    let packed = gzip(&body);
    for (headers, body) in [(&[][..], &body), (&["Content-Encoding: gzip"][..], &packed)] {
        let answer = watched("100 MB for 1.13", &twinline, || through(&twinline, &source, &line, headers, body));
        let own = direct(&source, &line, headers, body);
        assert_eq!((answer.status, answer.text()), (413, own.text()));
        assert_eq!(answer.text(), "{\"error\":\"Request Entity Too Large\"}\n");
    }
    let status = twinline.quiet();
    assert_eq!((&status["lines"]["delivered"], &status["lines"]["doubt"]), (&0.into(), &0.into()), "{status:#}");
    assert_eq!(source.cells(name).len(), 0);
}

#[test]
fn a_body_of_100_mb_is_stored_by_2_9_and_delivered_in_pieces() {
    let (source, destination) = (shared(Kind::Two, 0), shared(Kind::Two, 1));
    let name = "large_2_9";
    source.create(name);
    destination.create(name);
    let twinline =
        Setup::new(format!("{}\nrequest_timeout = \"110s\"", source.section()), destination.section()).start();
    let line = format!("POST /api/v2/write?org={}&bucket={name}", crate::database::ORG);
    // Few points: it is the bytes that count here.
    let body = lines_of(10_000, 10_000, false);
    let packed = gzip(&body);
    for (what, headers, body) in
        [("100 MB", &[][..], &body), ("100 MB packed", &["Content-Encoding: gzip"][..], &packed)]
    {
        let answer = watched(what, &twinline, || through(&twinline, &source, &line, headers, body));
        assert_eq!(answer.status, 204, "{what}: {}", answer.text());
    }
    watched("delivery", &twinline, || twinline.delivered(20_000));
    let count = |database: &Database| {
        let query = format!("/query?db={name}&q=SELECT+count(v)+FROM+m");
        let answer = crate::http::call(&database.addr, &format!("GET {query}"), &[&database.authorization()], b"");
        answer.unwrap().json().pointer("/results/0/series/0/values/0/1").cloned()
    };
    assert_eq!(count(&source), Some(10_000.into()));
    assert_eq!(count(&source), count(&destination));
}

/// Untimed lines get one time on both sides, in each encoding, also when the body comes in pieces.
#[test]
fn a_large_body_without_times_is_stamped_once() {
    let (source, destination, twinline) = sandboxes("");
    let body = wide(20_000, true);
    let packed = gzip(&body);
    for (headers, body) in [(&[][..], &body), (&["Content-Encoding: gzip"][..], &packed)] {
        let answer = watched("20 MB untimed", &twinline, || twinline.call("POST /write?db=d", headers, body));
        assert_eq!(answer.status, 204, "{}", answer.text());
    }
    twinline.delivered(40_000);
    let (left, right) = (source.cells("d", ""), destination.cells("d", ""));
    let mut times: Vec<i64> = left.iter().map(|cell| cell.time_ns).collect();
    times.sort_unstable();
    times.dedup();
    assert_eq!(times.len(), 2, "one time a request");
    let differences = twinline::cell::compare(left, right);
    assert!(differences.is_empty() && differences.equal == 40, "{differences}");
}

/// Only the source knows the time of a line that comes without one behind pieces that went as they came.
#[test]
fn a_late_line_without_a_time_makes_its_own_piece_doubt_and_the_others_are_delivered() {
    let (source, destination, twinline) = sandboxes("");
    let mut body = wide(20_000, false);
    body.extend_from_slice(b"late v=1i\n");
    let answer = twinline.call("POST /write?db=d", &[], &body);
    assert_eq!(answer.status, 204, "{}", answer.text());
    let status = twinline.until("it is settled", |status| {
        let lines = |name: &str| status["lines"][name].as_u64().unwrap();
        lines("delivered") + lines("doubt") == 20_001
    });
    // A piece has about 4,000 of them.
    let doubt = status["lines"]["doubt"].as_u64().unwrap();
    assert!((1..8_000).contains(&doubt), "{status:#}");
    let late = |sandbox: &Sandbox| sandbox.cells("d", "").iter().filter(|c| c.series.measurement() == b"late").count();
    assert_eq!((late(&source), late(&destination)), (1, 0));
}

/// Half of it may take effect for a minute: that is no reason to doubt what others write to the same place and time.
#[test]
fn a_client_that_breaks_off_in_a_large_body_leaves_doubt_of_its_own_lines_alone() {
    let (source, destination, twinline) = sandboxes("");
    let body = wide(20_000, false);
    {
        let mut client = TcpStream::connect(&twinline.addr).unwrap();
        let head = format!("POST /write?db=d HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len());
        client.write_all(head.as_bytes()).unwrap();
        client.write_all(&body[..15_000_000]).unwrap();
        twinline.until("pieces are in the log", |status| status["lines"]["unanswered"].as_u64() > Some(8_000));
        assert_eq!(twinline.call("POST /write?db=d", &[], "meanwhile v=1i 5\nm,t=x v=1i 5").status, 204);
    }
    twinline.until("it has broken off", |status| status["lines"]["unanswered"] == 0);
    // The second line is one of the import, with another value.
    assert_eq!(twinline.call("POST /write?db=d", &[], "after v=1i 5\nm,t=7 v=9i 7").status, 204);
    let status = twinline.until("it is settled", |status| {
        status["lines"]["unanswered"] == 0 && status["lines"]["queued"] == 0 && status["lines"]["delivered"] == 3
    });
    assert!(status["lines"]["doubt"].as_u64() > Some(8_000), "{status:#}");
    assert_eq!((source.cells("d", "").len(), destination.cells("d", "").len()), (4, 3));
    assert!(destination.cells("d", "").iter().all(|cell| cell.time_ns == 5), "nothing in doubt is delivered");
}

/// Others write to the same places and times while a large body is on its way: one of them to a cell of it.
#[test]
fn a_large_body_shares_its_time_with_others_and_only_common_cells_are_doubt() {
    let (source, destination, twinline) = sandboxes("");
    let body = wide(20_000, false);
    let mut client = Connection::open(&twinline.addr).unwrap();
    let head = format!("POST /write?db=d HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len());
    client.send(head.as_bytes()).unwrap();
    client.send(&body[..15_000_000]).unwrap();
    twinline.until("pieces are in the log", |status| status["lines"]["unanswered"].as_u64() > Some(8_000));
    for at in 1..=50 {
        let answer = twinline.call("POST /write?db=d", &[], format!("other v={at} {at}\nother v={at} {}", at + 15_000));
        assert_eq!(answer.status, 204);
    }
    assert_eq!(twinline.call("POST /write?db=d", &[], "m,t=7 v=9i 7").status, 204);
    client.send(&body[15_000_000..]).unwrap();
    assert_eq!(client.answer(false).unwrap().status, 204);
    let status = twinline.settled(20_101);
    assert_eq!((&status["lines"]["doubt"], &status["lines"]["delivered"]), (&2.into(), &20_099.into()), "{status:#}");
    // Two fields, one line missing at the destination.
    assert_eq!((source.cells("d", "").len(), destination.cells("d", "").len()), (40_100, 40_098));
}

#[test]
fn check_27_a_gzip_bomb_gets_a_413_in_the_form_of_its_api() {
    let (source, _destination, twinline) = sandboxes("[limits]\nmax_body = \"16MiB\"");
    // A small one, and one that is large itself: many members are one body.
    let member = gzip(&vec![b'\n'; 64 << 20]);
    let large = member.repeat((9 << 20) / member.len() + 1);
    for (what, bomb) in [("a bomb of 64 MB", &member), ("a bomb of 8 GB", &large)] {
        for (line, text) in [
            ("POST /write?db=d", "{\"error\":\"Request Entity Too Large\"}"),
            ("POST /api/v2/write?bucket=d", "\"code\":\"request too large\""),
        ] {
            if bomb.len() == large.len() && line.contains("v2") {
                // The sandbox knows no such path and closes before it has read all: its own answer, or none.
                continue;
            }
            let headers = ["Content-Encoding: gzip"];
            let answer = watched(what, &twinline, || twinline.call(line, &headers, bomb));
            assert_eq!(answer.status, 413, "{what}: {}", answer.text());
            assert!(answer.text().contains(text), "{what}: {}", answer.text());
        }
    }
    let plain = vec![b'\n'; 17 << 20];
    assert_eq!(twinline.call("POST /write?db=d", &[], &plain).status, 413);
    assert_eq!(twinline.call("POST /write?db=d", &[], "m v=1 1").status, 204);
    twinline.delivered(1);
    assert_eq!(source.cells("d", "").len(), 1);
}

#[test]
fn check_16_broken_gzip_gets_the_sources_own_answer_small_and_large() {
    for kind in [Kind::One, Kind::Two] {
        let (source, destination) = (shared(kind, 0), shared(Kind::One, 1));
        let name = "broken_gzip";
        source.create(name);
        destination.create(name);
        let twinline = Setup::new(source.section(), destination.section()).start();
        let line = match kind {
            Kind::One => format!("POST /write?db={name}"),
            Kind::Two => format!("POST /api/v2/write?org={}&bucket={name}", crate::database::ORG),
        };
        for (what, text) in [("small", wide(5, false)), ("large", wide(12_000, false))] {
            let whole = gzip(&text);
            let mut garbage = whole.clone();
            let middle = garbage.len() / 2;
            garbage[middle..].fill(0xfe);
            for (how, bad) in [("truncated", &whole[..whole.len() - 7]), ("garbage", &garbage[..])] {
                let headers = ["Content-Encoding: gzip"];
                let own = direct(&source, &line, &headers, bad);
                let answer = watched(how, &twinline, || through(&twinline, &source, &line, &headers, bad));
                assert_eq!((answer.status, answer.text()), (own.status, own.text()), "{kind:?}: {what}, {how}");
                assert!(answer.status >= 400, "{kind:?}: {what}, {how}");
            }
        }
        let status = twinline.quiet();
        assert_eq!((&status["lines"]["delivered"], &status["lines"]["gap"]), (&0.into(), &0.into()), "{status:#}");
        assert_eq!(source.cells(name).len(), 0);
    }
}

/// Sends bytes and reads whatever comes until the other side closes.
fn raw(addr: &str, bytes: &[u8]) -> String {
    let mut client = TcpStream::connect(addr).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    // The other side may close before it has read all.
    let _ = client.write_all(bytes);
    let mut answer = Vec::new();
    let _ = client.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn garbage_and_endless_heads_are_refused_and_others_are_served() {
    let (_source, _destination, twinline) = sandboxes("");
    let mut garbage = vec![0; 1 << 20];
    fastrand::Rng::with_seed(7).fill(&mut garbage);
    let mut endless = b"POST /write?db=d HTTP/1.1\r\nHost: x\r\nX-Long: ".to_vec();
    endless.resize(1 << 20, b'a');
    watched("bad heads", &twinline, || {
        for _ in 0..20 {
            let answer = raw(&twinline.addr, &garbage);
            assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{answer}");
            let answer = raw(&twinline.addr, &endless);
            assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");
        }
        let answer = raw(&twinline.addr, b"POST /write?db=d HTTP/1.1\r\nContent-Length: nonsense\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    });
    assert_eq!(twinline.call("POST /write?db=d", &[], "m v=1 1").status, 204);
    twinline.delivered(1);
}

/// Clients that begin and do not go on: heads are given `idle_timeout`, bodies half a minute.
#[test]
fn slow_clients_are_cut_and_hold_up_nobody() {
    let [source, destination] = [(), ()].map(|()| Sandbox::spawn_thread(Options::default()).unwrap());
    source.create_database("d");
    destination.create_database("d");
    let mut setup = Setup::new(format!("url = \"{}\"", source.url()), format!("url = \"{}\"", destination.url()));
    setup.listen = "idle_timeout = \"2s\"".to_owned();
    let twinline = setup.start();
    watched("slow clients", &twinline, || {
        let begin = |text: &str| {
            let mut client = TcpStream::connect(&twinline.addr).unwrap();
            client.set_read_timeout(Some(Duration::from_secs(90))).unwrap();
            client.write_all(text.as_bytes()).unwrap();
            client
        };
        let heads: Vec<TcpStream> =
            (0..200).map(|_| begin("POST /write?db=d HTTP/1.1\r\nHost: x\r\nX-Slow:")).collect();
        let part = "POST /write?db=d HTTP/1.1\r\nHost: x\r\nContent-Length: 7000000\r\n\r\nm v=1";
        let bodies: Vec<TcpStream> = (0..200).map(|_| begin(part)).collect();
        for at in 0..20 {
            assert_eq!(twinline.call("POST /write?db=d", &[], format!("m v=1 {at}")).status, 204);
        }
        let read = |mut client: TcpStream| {
            let mut answer = String::new();
            client.read_to_string(&mut answer).map(|_| answer)
        };
        for client in heads {
            let answer = read(client).unwrap();
            assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
        }
        for client in bodies {
            let answer = read(client).unwrap();
            assert!(
                answer.starts_with("HTTP/1.1 503 ") && answer.contains("twinline: the body did not arrive"),
                "{answer}"
            );
        }
    });
    twinline.delivered(20);
}

/// The destination is away and the queue grows: memory does not.
#[test]
fn memory_stays_within_its_limit_while_the_queue_grows() {
    let (_source, destination, twinline) =
        sandboxes("[limits]\nmemory = \"960MiB\"\nin_flight = \"32MiB\"\n[mapping]\nunmapped = \"source-only\"");
    destination.set_faults(Faults { refuse: true, ..Faults::default() });
    let body = wide(4_000, false);
    watched("a growing queue", &twinline, || {
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let mut client = Connection::open(&twinline.addr).unwrap();
                    for _ in 0..8 {
                        assert_eq!(client.call("POST /write?db=d", &[], &body).unwrap().status, 204);
                    }
                });
            }
        });
        let queued = twinline.until("it waits", |status| status["lines"]["queued"] == 256_000);
        assert!(queued["queue"]["bytes"].as_u64() > Some(250_000_000), "{queued:#}");
        destination.set_faults(Faults::default());
        twinline.delivered(256_000);
    });
}

/// `data_dir` on a file system of a few MiB that somebody else fills: gaps are kept, clients go on.
#[test]
fn a_disk_that_is_full_leaves_gaps_and_clients_go_on() {
    let [source, destination] = [(), ()].map(|()| Sandbox::spawn_thread(Options::default()).unwrap());
    source.create_database("d");
    destination.create_database("d");
    let mut setup = Setup::new(format!("url = \"{}\"", source.url()), format!("url = \"{}\"", destination.url()));
    setup.data_mib = Some(24);
    setup.queue = "segment_size = \"1MiB\"\nmax_size = \"16MiB\"\nreserve_free = \"0\"".to_owned();
    let twinline = setup.start();
    assert_eq!(twinline.call("POST /write?db=d", &[], "m v=1i 1").status, 204);
    twinline.delivered(1);
    destination.set_faults(Faults { refuse: true, ..Faults::default() });
    twinline.fill_disk();
    let body = wide(20, false);
    let sent = 600;
    watched("a full disk", &twinline, || {
        for _ in 0..sent {
            assert_eq!(twinline.call("POST /write?db=d", &[], &body).status, 204);
        }
    });
    let ready = twinline.admin("/readyz");
    assert!(ready.status == 503 && ready.text().contains("the queue is full"), "{}", ready.text());
    assert!(ready.text().contains("the disk of data_dir is full"), "{}", ready.text());
    // Every line is in a state meanwhile.
    let full = twinline.counted(1 + sent * 20);
    assert_eq!(full["gaps"][0]["cause"], "queue-full", "{full:#}");
    let text = String::from_utf8(twinline.command(&["status"]).stdout).unwrap();
    assert!(text.contains("FULL   the queue takes nothing: the disk"), "{text}");
    twinline.free_disk();
    destination.set_faults(Faults::default());
    let status = twinline.settled(1 + sent * 20);
    assert!(status["lines"]["gap"].as_u64() > Some(0), "{status:#}");
    eventually("the queue takes writes again", || {
        let before = twinline.status()["lines"]["gap"].clone();
        assert_eq!(twinline.call("POST /write?db=d", &[], "m v=1i 2").status, 204);
        std::thread::sleep(Duration::from_millis(500));
        let after = twinline.status()["lines"]["gap"].clone();
        if before == after { Ok(()) } else { Err(after.to_string()) }
    });
}

/// What a warning of the configuration says to write is enough for body after body.
#[test]
fn the_largest_body_fits_in_a_queue_that_is_not_warned_of() {
    let url = |sandbox: &Sandbox| format!("url = \"{}\"\nkind = \"influxdb1\"", sandbox.url());
    for (body_mib, queue_mib) in [(8, 18), (20, 30)] {
        let [source, destination] = [(), ()].map(|()| Sandbox::spawn_thread(Options::default()).unwrap());
        source.create_database("d");
        destination.create_database("d");
        let mut setup = Setup::new(url(&source), url(&destination));
        setup.queue = format!("segment_size = \"1MiB\"\nmax_size = \"{queue_mib}MiB\"\nreserve_free = \"0\"");
        let twinline = setup.more(&format!("[limits]\nmax_body = \"{body_mib}MiB\"")).start();
        let lines = (body_mib << 20) / (wide(20_000, false).len() / 20_000 + 2);
        let body = wide(lines, false);
        assert!(body.len() <= body_mib << 20 && body.len() > (body_mib << 20) - (256 << 10), "{}", body.len());
        for round in 1..=2 {
            assert_eq!(twinline.call("POST /write?db=d", &[], &body).status, 204);
            let status = twinline.settled(round * lines as u64);
            assert_eq!(status["lines"]["gap"], 0, "{status:#}");
        }
        let text = std::fs::read_to_string(twinline.data().join("../twinline.toml")).unwrap();
        let less = text.replace(&format!("{queue_mib}MiB"), &format!("{}MiB", queue_mib - 1));
        std::fs::write(twinline.data().join("../twinline.toml"), less).unwrap();
        let said = String::from_utf8(twinline.command(&["validate"]).stdout).unwrap();
        assert!(said.contains("holds no body of limits.max_body"), "{said}");
    }
}
