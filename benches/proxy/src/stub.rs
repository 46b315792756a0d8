//! A database that stores nothing: it answers as one, counts lines, and checks that those of each series arrive in order.
//!
//! What it promises: a line is booked before its request is answered. Threads are as many as connections.

use std::collections::HashMap;
use std::io::{self, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::bodies;
use crate::wire::Message;

/// What it does to a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Takes it.
    Ok,
    /// Takes it and answers so much later.
    Slow(Duration),
    /// Takes nothing, and says this: status, headers with their line ends, body.
    Says(u16, &'static str, &'static str),
    /// No connection, those that are there are reset.
    Refuse,
}

/// What it pretends to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// InfluxDB 1.8.
    One,
    /// InfluxDB 2.7.
    Two,
}

/// What a stub has booked.
#[derive(Debug, Default)]
pub struct Booked {
    /// Lines that it took, repeated ones as well.
    pub lines: AtomicU64,
    /// Writes that it took.
    pub requests: AtomicU64,
    /// Bytes of their bodies, as they came.
    pub bytes: AtomicU64,
    /// Writes that it turned away.
    pub refused: AtomicU64,
    /// Of lines in order: those that came for the first time.
    pub unique: AtomicU64,
    /// Those that had come before.
    pub repeated: AtomicU64,
    /// Those that came before the one in front of them.
    pub early: AtomicU64,
    /// Those that nobody numbered.
    pub unnumbered: AtomicU64,
}

/// A running stub. Dropped, it closes its port; threads end with their connections.
#[derive(Debug)]
pub struct Stub {
    addr: SocketAddr,
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    kind: Kind,
    mode: Mutex<Mode>,
    booked: Booked,
    /// The number that each series waits for; none: lines are only counted.
    next: Vec<AtomicU64>,
    connections: Mutex<HashMap<u64, TcpStream>>,
    listener: Mutex<Option<TcpListener>>,
    ended: AtomicBool,
    /// Bodies that it took, where they are kept.
    kept: Mutex<Option<Vec<Vec<u8>>>>,
}

impl Stub {
    /// On a free port; checks the order of so many series, of none for 0.
    ///
    /// # Errors
    /// No port.
    pub fn start(kind: Kind, series: usize) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let addr = listener.local_addr()?;
        let inner = Arc::new(Inner {
            kind,
            mode: Mutex::new(Mode::Ok),
            booked: Booked::default(),
            next: (0..series).map(|_| AtomicU64::new(0)).collect(),
            connections: Mutex::default(),
            listener: Mutex::default(),
            ended: AtomicBool::new(false),
            kept: Mutex::default(),
        });
        let stub = Self { addr, inner };
        stub.accept(listener)?;
        Ok(stub)
    }

    /// `127.0.0.1:PORT`.
    #[must_use]
    pub fn addr(&self) -> String {
        self.addr.to_string()
    }

    /// Keeps the bodies of writes from now on, as they come.
    pub fn keep(&self) {
        *held(&self.inner.kept) = Some(Vec::new());
    }

    /// Those that were kept.
    #[must_use]
    pub fn kept(&self) -> Vec<Vec<u8>> {
        held(&self.inner.kept).take().unwrap_or_default()
    }

    /// What it has booked.
    #[must_use]
    pub fn booked(&self) -> &Booked {
        &self.inner.booked
    }

    /// Lines taken so far.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.inner.booked.lines.load(Ordering::Relaxed)
    }

    /// Of lines in order, those that came for the first time.
    #[must_use]
    pub fn unique(&self) -> u64 {
        self.inner.booked.unique.load(Ordering::Relaxed)
    }

    /// How many lines of each series have come without one missing between them.
    #[must_use]
    pub fn complete(&self) -> Vec<u64> {
        self.inner.next.iter().map(|next| next.load(Ordering::Acquire)).collect()
    }

    /// From now on.
    ///
    /// # Panics
    /// When its port cannot be had again.
    pub fn set(&self, mode: Mode) {
        let before = std::mem::replace(&mut *held(&self.inner.mode), mode.clone());
        if mode == Mode::Refuse && before != Mode::Refuse {
            // The thread that accepts wakes up by a connection, and ends.
            drop(held(&self.inner.listener).take());
            drop(TcpStream::connect(self.addr));
            self.inner.cut();
        } else if before == Mode::Refuse && mode != Mode::Refuse {
            let again = (0..200).find_map(|_| {
                TcpListener::bind(self.addr).inspect_err(|_| std::thread::sleep(Duration::from_millis(5))).ok()
            });
            self.accept(again.expect("the port that it had before")).expect("a listener");
        }
    }

    fn accept(&self, listener: TcpListener) -> io::Result<()> {
        *held(&self.inner.listener) = Some(listener.try_clone()?);
        let inner = Arc::clone(&self.inner);
        std::thread::spawn(move || {
            let mut number = 0;
            for stream in listener.incoming().map_while(Result::ok) {
                if *held(&inner.mode) == Mode::Refuse || inner.ended.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(copy) = stream.try_clone() else { continue };
                number += 1;
                let key = number << 32 | u64::from(stream.peer_addr().map_or(0, |peer| peer.port()));
                held(&inner.connections).insert(key, copy);
                let inner = Arc::clone(&inner);
                std::thread::spawn(move || {
                    // Whoever is at the other end has gone, or was cut off by us.
                    let _ = inner.serve(stream);
                    held(&inner.connections).remove(&key);
                });
            }
        });
        Ok(())
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.inner.ended.store(true, Ordering::Relaxed);
        drop(held(&self.inner.listener).take());
        drop(TcpStream::connect(self.addr));
        self.inner.cut();
    }
}

impl Inner {
    fn cut(&self) {
        for (_, stream) in held(&self.connections).drain() {
            // It may be gone already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn serve(&self, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut reader = BufReader::with_capacity(256 << 10, stream);
        let mut request = Message::default();
        while request.read(&mut reader)? {
            let answer = self.answer(&request)?;
            reader.get_mut().write_all(answer.as_bytes())?;
            if request.close {
                break;
            }
        }
        Ok(())
    }

    fn answer(&self, request: &Message) -> io::Result<String> {
        let target = request.target();
        let is_write = target.starts_with("/write") || target.starts_with("/api/v2/write");
        if target.starts_with("/query") {
            return Ok(full(200, "", POLICIES, self.kind));
        }
        if !is_write {
            let (status, body) = if target.starts_with("/ping") { (204, "") } else { (200, HEALTH) };
            return Ok(full(status, "", body, self.kind));
        }
        let mode = held(&self.mode).clone();
        match mode {
            Mode::Says(status, headers, body) => {
                self.booked.refused.fetch_add(1, Ordering::Relaxed);
                return Ok(full(status, headers, body, self.kind));
            }
            Mode::Slow(for_so_long) => std::thread::sleep(for_so_long),
            Mode::Ok => {}
            Mode::Refuse => return Err(io::ErrorKind::ConnectionReset.into()),
        }
        self.booked.bytes.fetch_add(request.body.len() as u64, Ordering::Relaxed);
        if let Some(kept) = &mut *held(&self.kept) {
            kept.push(request.body.clone());
        }
        match request.gzip {
            true => {
                let mut plain = Vec::new();
                flate2::read::MultiGzDecoder::new(&request.body[..]).read_to_end(&mut plain)?;
                self.book(&plain);
            }
            false => self.book(&request.body),
        }
        self.booked.requests.fetch_add(1, Ordering::Relaxed);
        Ok(full(204, "", "", self.kind))
    }

    fn book(&self, body: &[u8]) {
        let add = |counter: &AtomicU64, lines: u64| counter.fetch_add(lines, Ordering::Relaxed);
        if self.next.is_empty() {
            let open = u64::from(!body.is_empty() && !body.ends_with(b"\n"));
            add(&self.booked.lines, memchr::memchr_iter(b'\n', body).count() as u64 + open);
            return;
        }
        let (mut lines, mut unique, mut from) = (0, 0, 0);
        let ends = memchr::memchr_iter(b'\n', body).chain([body.len()]);
        for end in ends {
            let line = &body[from.min(end)..end];
            from = end + 1;
            if line.is_empty() {
                continue;
            }
            lines += 1;
            let Some((next, number)) =
                bodies::read(line).and_then(|(series, number)| Some((self.next.get(series)?, number)))
            else {
                add(&self.booked.unnumbered, 1);
                continue;
            };
            match next.compare_exchange(number, number + 1, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => unique += 1,
                Err(waited) if waited > number => _ = add(&self.booked.repeated, 1),
                Err(_) => _ = add(&self.booked.early, 1),
            }
        }
        add(&self.booked.unique, unique);
        add(&self.booked.lines, lines);
    }
}

/// To `SHOW RETENTION POLICIES`, and to whatever else is asked.
const POLICIES: &str = concat!(
    r#"{"results":[{"statement_id":0,"series":[{"columns":["name","duration","shardGroupDuration","replicaN","default"],"#,
    r#""values":[["autogen","0s","168h0m0s",1,true]]}]}]}"#
);
const HEALTH: &str = r#"{"name":"influxdb","message":"ready for queries and writes","status":"pass","checks":[]}"#;

fn full(status: u16, headers: &str, body: &str, kind: Kind) -> String {
    let version = match kind {
        Kind::One => "1.8.10",
        Kind::Two => "v2.7.12",
    };
    let length = if status == 204 { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    let kind = "Content-Type: application/json; charset=utf-8";
    format!(
        "HTTP/1.1 {status} Stub\r\nX-Influxdb-Version: {version}\r\nX-Influxdb-Build: OSS\r\n{kind}\r\n{headers}{length}\r\n{body}"
    )
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
