//! What clients do meanwhile: each kind on a thread and a connection of its own, once in its period.
//!
//! Every line has a cell of its own, but for those that are there to be overwritten, so that what the source keeps can be counted.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use twinline_proxy_benches::database::escape;
use twinline_proxy_benches::wire::{Client, request};

/// Where the lines go that are mirrored, and those that no rule names.
pub(crate) const NAME: &str = "soak";
pub(crate) const UNMAPPED: &str = "elsewhere";
/// The measurement of lines that the destination refuses: there it has a text in their field.
pub(crate) const CLASH: &str = "clash";
/// That of lines whose writer went away.
pub(crate) const ABORTED: &str = "aborted";
/// Begin of all times, ns: the first of a shard, so that one run is one shard.
pub(crate) const BEGIN_NS: u64 = 1_700_006_400_000_000_000;
/// Surprises that are shown.
const SHOWN: usize = 10;
/// Longer than the source is given, so that no client goes away by itself.
const TIMEOUT: Duration = Duration::from_secs(180);

/// What came of it, by kind.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    /// Lines that the source has acknowledged, by kind.
    acknowledged: Mutex<BTreeMap<&'static str, u64>>,
    /// Lines of writes that were answered otherwise than with success, or not at all: the source may have them.
    pub(crate) unknown: AtomicU64,
    /// Requests of any kind.
    pub(crate) requests: AtomicU64,
    surprises: Mutex<Vec<String>>,
    surprised: AtomicU64,
    /// No further request is begun.
    pub(crate) over: AtomicBool,
}

/// One kind of client.
pub(crate) struct Kind {
    name: &'static str,
    /// For each client.
    period: Duration,
    pub(crate) clients: usize,
    /// One turn; lines that were acknowledged.
    turn: fn(&mut Turn<'_>) -> u64,
}

const fn kind(name: &'static str, period_ms: u64, clients: usize, turn: fn(&mut Turn<'_>) -> u64) -> Kind {
    Kind { name, period: Duration::from_millis(period_ms), clients, turn }
}

pub(crate) const KINDS: [Kind; 12] = [
    kind("precise", 20, 2, precise),
    kind("compressed", 100, 2, compressed),
    kind("untimed", 25, 2, untimed),
    kind("bad", 100, 1, bad),
    kind("second-api", 50, 1, second_api),
    kind("overwritten", 50, 1, overwritten),
    kind("gone", 100, 1, gone),
    kind("large", 15_000, 1, large),
    kind(ABORTED, 100, 1, aborted),
    // Each of them is found by bisection, which makes delivery slow.
    kind(CLASH, 10_000, 1, clash),
    kind(UNMAPPED, 200, 1, unmapped),
    kind("queries", 100, 2, query),
];

/// A client at its turn.
pub(crate) struct Turn<'a> {
    traffic: &'a Traffic,
    client: Client,
    /// Of this kind.
    number: u64,
    turn: u64,
}

impl Traffic {
    /// Runs one client until it is over.
    pub(crate) fn run(&self, kind: &Kind, number: usize, addr: &str) {
        let client = Client::new(addr, TIMEOUT);
        let mut turn = Turn { traffic: self, client, number: number as u64, turn: 0 };
        let mut due = Instant::now();
        while !self.over.load(Ordering::Relaxed) {
            let lines = (kind.turn)(&mut turn);
            *held(&self.acknowledged).entry(kind.name).or_default() += lines;
            self.requests.fetch_add(1, Ordering::Relaxed);
            turn.turn += 1;
            due = (due + kind.period).max(Instant::now());
            while !self.over.load(Ordering::Relaxed) && Instant::now() < due {
                std::thread::sleep(due.saturating_duration_since(Instant::now()).min(Duration::from_millis(100)));
            }
        }
    }

    /// Acknowledged lines of a kind.
    pub(crate) fn of(&self, name: &str) -> u64 {
        held(&self.acknowledged).get(name).copied().unwrap_or_default()
    }

    /// Of all kinds.
    pub(crate) fn acknowledged(&self) -> BTreeMap<&'static str, u64> {
        held(&self.acknowledged).clone()
    }

    /// How often something was answered otherwise than it must be, and what of it is shown.
    pub(crate) fn surprises(&self) -> (u64, Vec<String>) {
        (self.surprised.load(Ordering::Relaxed), held(&self.surprises).clone())
    }
}

impl Turn<'_> {
    /// Sends a request and looks whether it is answered so; what else comes is a surprise.
    fn send(&mut self, what: &str, headers: &str, body: &[u8], status: u16) -> bool {
        let said = match self.client.send(&request(what, headers, body)) {
            Ok(answered) if answered == status => return true,
            Ok(answered) => format!("{answered}: {}", String::from_utf8_lossy(&self.client.answer.body)),
            Err(error) => error.to_string(),
        };
        self.traffic.surprised.fetch_add(1, Ordering::Relaxed);
        let mut shown = held(&self.traffic.surprises);
        if shown.len() < SHOWN {
            shown.push(format!("{what}: {said}"));
        }
        false
    }

    fn write(&mut self, more: &str, headers: &str, body: &[u8], lines: u64) -> u64 {
        self.write_to(&format!("/write?db={NAME}{more}"), headers, body, (lines, 204))
    }

    /// Lines that were acknowledged: these, with that status, or none.
    fn write_to(&mut self, target: &str, headers: &str, body: &[u8], (lines, status): (u64, u16)) -> u64 {
        if self.send(&format!("POST {target}"), headers, body, status) {
            return lines;
        }
        self.traffic.unknown.fetch_add(lines, Ordering::Relaxed);
        0
    }

    /// Lines of one time: `measurement,w=…,k=… v=…,text="…" TIME`.
    fn lines(&self, measurement: &str, count: u64, time: Option<u64>) -> String {
        let (writer, turn) = (self.number, self.turn);
        let time = time.map_or(String::new(), |time| format!(" {time}"));
        let line = |k: u64| {
            format!("{measurement},w={writer},k={k} v={turn}i,f={k}.25,on=true,text=\"a text, {turn}\"{time}\n")
        };
        (0..count).map(line).collect()
    }
}

/// Each unit in turn.
fn precise(turn: &mut Turn<'_>) -> u64 {
    const UNITS: [(&str, u64); 6] = [
        ("ns", 1),
        ("u", 1_000),
        ("ms", 1_000_000),
        ("s", 1_000_000_000),
        ("m", 60_000_000_000),
        ("h", 3_600_000_000_000),
    ];
    let (name, unit) = UNITS[(turn.turn % UNITS.len() as u64) as usize];
    // Coarse units would soon be out of the shard: then the series changes.
    let round = turn.turn / UNITS.len() as u64;
    let body = turn.lines(&format!("precise_{name},round={}", round / 100), 20, Some(BEGIN_NS / unit + round % 100));
    turn.write(&format!("&precision={name}"), "", body.as_bytes(), 20)
}

fn compressed(turn: &mut Turn<'_>) -> u64 {
    let body = turn.lines("compressed", 200, Some(BEGIN_NS + turn.turn));
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(body.as_bytes()).expect("memory");
    let packed = packed.finish().expect("memory");
    turn.write("&precision=ns", "Content-Encoding: gzip\r\n", &packed, 200)
}

fn untimed(turn: &mut Turn<'_>) -> u64 {
    let body = turn.lines("untimed", 10, None);
    turn.write("", "", body.as_bytes(), 10)
}

/// Two lines of ten are none.
fn bad(turn: &mut Turn<'_>) -> u64 {
    let body = turn.lines("bad", 8, Some(BEGIN_NS + turn.turn));
    let body = format!("bad\n{body}bad v= 1\n");
    turn.write_to(&format!("/write?db={NAME}"), "", body.as_bytes(), (8, 400))
}

fn second_api(turn: &mut Turn<'_>) -> u64 {
    let body = turn.lines("second", 20, Some(BEGIN_NS / 1_000_000 + turn.turn));
    let target = format!("/api/v2/write?org=any&bucket={NAME}/autogen&precision=ms");
    turn.write_to(&target, "", body.as_bytes(), (20, 204))
}

/// The same cells each time: the last one must be there in the end.
fn overwritten(turn: &mut Turn<'_>) -> u64 {
    let body = turn.lines("overwritten", 20, Some(BEGIN_NS));
    turn.write("", "", body.as_bytes(), 20)
}

/// Written, and some of it deleted. Not often: a delete waits for `late_write_max` behind each request without an answer, and all
/// that is newer waits for it.
fn gone(turn: &mut Turn<'_>) -> u64 {
    if turn.turn % 100 == 99 {
        let before = BEGIN_NS + turn.turn - 50;
        let form =
            format!("q={}", escape(&format!("DELETE FROM gone WHERE time < {before} AND w = '{}'", turn.number)));
        let headers = "Content-Type: application/x-www-form-urlencoded\r\n";
        turn.send(&format!("POST /query?db={NAME}"), headers, form.as_bytes(), 200);
        return 0;
    }
    let body = turn.lines("gone", 20, Some(BEGIN_NS + turn.turn));
    turn.write("", "", body.as_bytes(), 20)
}

/// More than is held at once: it goes on in pieces.
fn large(turn: &mut Turn<'_>) -> u64 {
    const LINES: u64 = 9_000;
    let (number, time) = (turn.number, BEGIN_NS + turn.turn);
    let text = "x".repeat(1_100);
    let body: String = (0..LINES).map(|k| format!("large,w={number},k={k} text=\"{text}\" {time}\n")).collect();
    turn.write("", "", body.as_bytes(), LINES)
}

/// Goes away in the middle of the body, or before the answer. What became of it is asked from the source in the end.
fn aborted(turn: &mut Turn<'_>) -> u64 {
    let body = turn.lines(ABORTED, 20, Some(BEGIN_NS + turn.turn));
    let message = request(&format!("POST /write?db={NAME}"), "", body.as_bytes());
    let sent = if turn.turn.is_multiple_of(2) { message.len() } else { message.len() - body.len() / 2 };
    if let Ok(mut stream) = turn.client.connect() {
        // Whether it comes to that is not this client's concern.
        let _ = stream.get_mut().write_all(&message[..sent]);
    }
    0
}

fn clash(turn: &mut Turn<'_>) -> u64 {
    let body = turn.lines(CLASH, 5, Some(BEGIN_NS + 1 + turn.turn));
    turn.write("", "", body.as_bytes(), 5)
}

fn unmapped(turn: &mut Turn<'_>) -> u64 {
    let body = turn.lines("m", 10, Some(BEGIN_NS + turn.turn));
    turn.write_to(&format!("/write?db={UNMAPPED}"), "", body.as_bytes(), (10, 204))
}

/// Small ones and large ones, some of which nobody reads to the end.
fn query(turn: &mut Turn<'_>) -> u64 {
    let statements = [
        "SELECT count(v) FROM untimed",
        "SHOW MEASUREMENTS",
        "SELECT last(v) FROM overwritten GROUP BY k",
        "SHOW DATABASES",
    ];
    let statement = statements[(turn.turn % statements.len() as u64) as usize];
    if turn.turn % 10 == 9 {
        let target = format!("GET /query?db={NAME}&chunked=true&q={}", escape("SELECT * FROM compressed LIMIT 20000"));
        if let Ok(mut stream) = turn.client.connect() {
            // It goes away in the middle.
            let _ = stream.get_mut().write_all(&request(&target, "", b""));
            let _ = stream.read(&mut [0; 100]);
        }
        return 0;
    }
    turn.send(&format!("GET /query?db={NAME}&q={}", escape(statement)), "", b"", 200);
    0
}

fn held<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
