//! A destination that answers from a script and keeps what it was sent: for answers that no real server gives on demand.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A write as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Write {
    /// Path and query.
    pub(crate) path: String,
    /// Unpacked.
    pub(crate) body: String,
    pub(crate) gzip: bool,
    /// Whether the client wanted to be asked for the body.
    pub(crate) expects: bool,
    /// What it was answered; 0: nothing.
    pub(crate) status: u16,
    pub(crate) at: Instant,
}

impl Write {
    /// Whether it came to `/query`.
    pub(crate) fn is_statement(&self) -> bool {
        self.path.contains("/query")
    }
}

/// What InfluxDB 1.x says to a statement that it has carried out.
pub(crate) const DONE: &str = r#"{"results":[{"statement_id":0}]}"#;

/// What a write is answered.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// An answer with further headers, each without line end.
    Answer(u16, String, Vec<String>),
    /// 204 after so long: others come meanwhile, if they are sent.
    Slow(Duration),
    /// The connection is closed without a byte.
    Close,
    /// The process dies and is back after so long: every connection is closed, new ones are refused meanwhile.
    Die(Duration),
}

impl Reply {
    pub(crate) fn new(status: u16, body: &str) -> Self {
        Self::Answer(status, body.to_owned(), Vec::new())
    }
}

type Script = Box<dyn FnMut(&Write) -> Reply + Send>;

struct Inner {
    script: Script,
    writes: Vec<Write>,
    probes: u64,
    deaths: u64,
    /// Slow answers that have not left yet, and the most of them at once.
    slow: (usize, usize),
    open: Vec<TcpStream>,
    listener: Option<TcpListener>,
}

/// The destination. Writes of nothing are answered with 204 and counted apart.
#[derive(Clone)]
pub(crate) struct Scripted {
    inner: Arc<Mutex<Inner>>,
    addr: String,
}

impl std::fmt::Debug for Scripted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scripted").field("addr", &self.addr).finish()
    }
}

impl Scripted {
    pub(crate) fn start(script: impl FnMut(&Write) -> Reply + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        let inner = Inner {
            script: Box::new(script),
            writes: Vec::new(),
            probes: 0,
            deaths: 0,
            slow: (0, 0),
            open: Vec::new(),
            listener: None,
        };
        let scripted = Self { inner: Arc::new(Mutex::new(inner)), addr };
        scripted.listen(listener);
        scripted
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    pub(crate) fn set(&self, script: impl FnMut(&Write) -> Reply + Send + 'static) {
        self.inner.lock().unwrap().script = Box::new(script);
    }

    /// Writes whose path contains this.
    pub(crate) fn writes(&self, part: &str) -> Vec<Write> {
        let inner = self.inner.lock().unwrap();
        inner.writes.iter().filter(|write| write.path.contains(part)).cloned().collect()
    }

    /// Writes of nothing so far, and deaths.
    pub(crate) fn probes_and_deaths(&self) -> (u64, u64) {
        let inner = self.inner.lock().unwrap();
        (inner.probes, inner.deaths)
    }

    /// How many slow answers were waited for at once, at most.
    pub(crate) fn most_at_once(&self) -> usize {
        self.inner.lock().unwrap().slow.1
    }

    /// Accepts until the listener is taken away.
    fn listen(&self, listener: TcpListener) {
        self.inner.lock().unwrap().listener = Some(listener.try_clone().unwrap());
        let this = self.clone();
        // Ends with the test program at the latest.
        std::thread::spawn(move || {
            listener.set_nonblocking(true).unwrap();
            while this.inner.lock().unwrap().listener.is_some() {
                match listener.accept() {
                    Ok((stream, _)) => {
                        stream.set_nonblocking(false).unwrap();
                        let this = this.clone();
                        this.inner.lock().unwrap().open.push(stream.try_clone().unwrap());
                        std::thread::spawn(move || this.serve(&stream));
                    }
                    Err(_) => std::thread::sleep(Duration::from_millis(2)),
                }
            }
        });
    }

    fn die(&self, away: Duration) {
        {
            let mut inner = self.inner.lock().unwrap();
            inner.listener = None;
            inner.deaths += 1;
        }
        // The accepting thread lets go of the port first: who finds the connection broken finds the port closed as well.
        std::thread::sleep(Duration::from_millis(20));
        for stream in std::mem::take(&mut self.inner.lock().unwrap().open) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        let this = self.clone();
        std::thread::spawn(move || {
            std::thread::sleep(away);
            this.listen(TcpListener::bind(&this.addr).unwrap());
        });
    }

    fn serve(&self, mut stream: &TcpStream) -> Option<()> {
        let mut reader = BufReader::new(stream);
        loop {
            let head: Vec<String> =
                reader.by_ref().lines().map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
            let path = head.first()?.split(' ').nth(1)?.to_owned();
            let header = |name: &str| {
                head.iter()
                    .find_map(|line| line.to_ascii_lowercase().strip_prefix(name).map(|value| value.trim().to_owned()))
            };
            let mut body = vec![0; header("content-length:").map_or(0, |length| length.parse().unwrap())];
            reader.read_exact(&mut body).ok()?;
            let gzip = header("content-encoding:").as_deref() == Some("gzip");
            if gzip {
                let mut plain = Vec::new();
                flate2::read::GzDecoder::new(&body[..]).read_to_end(&mut plain).unwrap();
                body = plain;
            }
            let body = String::from_utf8(body).unwrap();
            let expects = header("expect:").is_some();
            match self.reply(Write { path, body, gzip, expects, status: 0, at: Instant::now() }) {
                Reply::Answer(status, body, headers) => {
                    let headers: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
                    let answer = match status {
                        204 => "HTTP/1.1 204 No Content\r\n\r\n".to_owned(),
                        _ => format!("HTTP/1.1 {status} Said\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len()),
                    };
                    stream.write_all(answer.as_bytes()).ok()?;
                }
                Reply::Slow(after) => {
                    {
                        let slow = &mut self.inner.lock().unwrap().slow;
                        *slow = (slow.0 + 1, slow.1.max(slow.0 + 1));
                    }
                    std::thread::sleep(after);
                    self.inner.lock().unwrap().slow.0 -= 1;
                    stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").ok()?;
                }
                Reply::Close => {
                    let _ = stream.shutdown(Shutdown::Both);
                    return None;
                }
                Reply::Die(away) => {
                    self.die(away);
                    return None;
                }
            }
        }
    }

    fn reply(&self, mut write: Write) -> Reply {
        let mut inner = self.inner.lock().unwrap();
        // A statement is in the body; questions have none.
        let is_statement = write.path.contains("/query") && !write.body.is_empty();
        // Of QuestDB.
        if write.path.contains("/exec") {
            return (inner.script)(&write);
        }
        if !write.path.contains("/write") && !is_statement {
            return Reply::new(204, "");
        }
        if write.body.trim().is_empty() {
            inner.probes += 1;
            return Reply::new(204, "");
        }
        let reply = (inner.script)(&write);
        match reply {
            Reply::Answer(status, ..) => write.status = status,
            Reply::Slow(_) => write.status = 204,
            Reply::Close | Reply::Die(_) => {}
        }
        inner.writes.push(write);
        reply
    }
}
