//! Stands before a real source: writes can lose their answers, be late, and queries of cells can be kept waiting.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// What it does; shared with the test.
#[derive(Debug, Default)]
pub(crate) struct Way {
    /// So many writes are stored, and their connection breaks in place of an answer.
    pub(crate) lose: AtomicU64,
    /// Of so many writes in 100 that is done.
    pub(crate) lose_percent: AtomicU64,
    /// So many writes get nowhere, and their connection breaks.
    pub(crate) drop: AtomicU64,
    /// Queries of cells wait while it is set.
    pub(crate) hold_reads: AtomicBool,
    /// Queries of cells that came.
    pub(crate) reads: AtomicU64,
}

impl Way {
    /// To a server; the lines of `[source]` that lead there.
    pub(crate) fn to(server: &crate::database::Database) -> (Arc<Self>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        let (way, to) = (Arc::new(Self::default()), server.addr.clone());
        let serving = Arc::clone(&way);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (way, to) = (Arc::clone(&serving), to.clone());
                std::thread::spawn(move || way.pass(stream.unwrap(), &to));
            }
        });
        (way, server.section().replace(&server.addr, &addr))
    }

    fn takes(left: &AtomicU64) -> bool {
        left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
    }

    /// One request a connection: the answer says so.
    fn pass(&self, mut client: TcpStream, server: &str) {
        let Some(request) = read(&mut client) else { return };
        let head = String::from_utf8_lossy(&request[..request.len().min(200)]).into_owned();
        let is_write = head.starts_with("POST /write") || head.starts_with("POST /api/v2/write");
        if is_write && Self::takes(&self.drop) {
            return;
        }
        let text = String::from_utf8_lossy(&request);
        if text.contains("q=SELECT%20%2A") {
            self.reads.fetch_add(1, Ordering::SeqCst);
            while self.hold_reads.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        let Ok(mut server) = TcpStream::connect(server) else { return };
        let end = request.windows(2).position(|two| two == b"\r\n").unwrap();
        let sent = server.write_all(&request[..end]);
        let sent = sent
            .and_then(|()| server.write_all(b"\r\nConnection: close"))
            .and_then(|()| server.write_all(&request[end..]));
        let mut answer = Vec::new();
        if sent.is_err() || server.read_to_end(&mut answer).is_err() {
            return;
        }
        let percent = self.lose_percent.load(Ordering::SeqCst);
        if is_write && (Self::takes(&self.lose) || fastrand::u64(..100) < percent) {
            return;
        }
        // Whoever asked may be gone.
        let _ = client.write_all(&answer);
    }
}

/// A whole request.
fn read(client: &mut TcpStream) -> Option<Vec<u8>> {
    let (mut request, mut buffer) = (Vec::new(), [0; 65_536]);
    loop {
        let head = request.windows(4).position(|four| four == b"\r\n\r\n");
        if let Some(head) = head {
            let text = String::from_utf8_lossy(&request[..head]).to_ascii_lowercase();
            let length = text.split("content-length: ").nth(1);
            let length: usize = length.map_or(0, |rest| rest.split("\r\n").next().unwrap().parse().unwrap());
            if request.len() >= head + 4 + length {
                return Some(request);
            }
        }
        match client.read(&mut buffer) {
            Ok(0) | Err(_) => return None,
            Ok(more) => request.extend_from_slice(&buffer[..more]),
        }
    }
}
