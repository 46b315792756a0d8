//! A destination that takes a request, tells nobody, and works on it later: what every server does that was stopped, swapped
//! out or slow when a client gave up.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use super::base::{Database, NAME};
use super::proxy::{Proxy, Settings, wait_for};
use super::wire::{Connection, Sent};

/// Head and body of a request.
type Request = (String, Vec<u8>);

/// Stands before a sandbox and hands on what it gets, but for one write.
pub(crate) struct Relay {
    pub(crate) sandbox: Box<Database>,
    pub(crate) port: u16,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    keep_next: AtomicBool,
    hold_open: AtomicBool,
    swallow_next: AtomicBool,
    kept: Mutex<Option<Request>>,
}

impl Relay {
    pub(crate) fn start(sandbox: Database) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let shared = Arc::new(Shared::default());
        let (handing, to) = (Arc::clone(&shared), sandbox.port());
        // Ends with the process of the test: it holds nothing.
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let shared = Arc::clone(&handing);
                std::thread::spawn(move || hand_on(stream, to, &shared));
            }
        });
        Self { sandbox: Box::new(sandbox), port, shared }
    }

    /// The next write is kept, and its connection closed without an answer.
    pub(crate) fn keep_next(&self) {
        self.shared.keep_next.store(true, Ordering::SeqCst);
    }

    /// The next write is kept, and its connection stays open: whoever sent it goes on waiting.
    pub(crate) fn hold_next(&self) {
        self.shared.hold_open.store(true, Ordering::SeqCst);
        self.keep_next();
    }

    /// The next write is handed on, and its answer swallowed.
    pub(crate) fn swallow_next(&self) {
        self.shared.swallow_next.store(true, Ordering::SeqCst);
    }

    pub(crate) fn has_kept(&self) {
        wait_for("a write to be kept", || self.shared.kept.lock().expect("no panic elsewhere").is_some().then_some(()));
    }

    /// What was kept takes effect.
    pub(crate) fn release(&self) {
        let (head, body) = self.shared.kept.lock().expect("no panic elsewhere").take().expect("a write was kept");
        let sent = Connection::new(self.sandbox.port()).ask(&head, &body);
        assert!(matches!(sent, Sent::Answer { status: 204, .. }), "{sent:?}");
    }
}

fn hand_on(stream: TcpStream, to: u16, shared: &Shared) {
    let mut stream = BufReader::new(stream);
    let mut server = Connection::new(to);
    while let Some((head, body)) = read_request(&mut stream) {
        // A proxy asks for names by POST as well.
        let write = head.starts_with("POST /write") || head.starts_with("POST /api/v2/write");
        if write && shared.keep_next.swap(false, Ordering::SeqCst) {
            *shared.kept.lock().expect("no panic elsewhere") = Some((head, body));
            if shared.hold_open.swap(false, Ordering::SeqCst) {
                let _ = read_request(&mut stream);
            }
            return;
        }
        let swallow = write && shared.swallow_next.swap(false, Ordering::SeqCst);
        let Sent::Answer { head, body, .. } = server.ask(&head, &body) else { return };
        if swallow {
            // The connection stays open, silent, until the other end goes away.
            let _ = read_request(&mut stream);
            return;
        }
        if stream.get_mut().write_all(format!("{head}{body}").as_bytes()).is_err() {
            return;
        }
    }
}

/// A request; its length is left out of the head.
fn read_request(stream: &mut impl BufRead) -> Option<Request> {
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end().split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => length = value.parse().ok()?,
            None if line.trim_end().is_empty() => break,
            _ => head.push_str(&line),
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    Some((head.trim_end().to_owned(), body))
}

/// An old value takes effect after its newer one was written at the source: the destination ends with the newer one. With
/// `crash`, the process that sent the old value is dead by then.
pub(crate) fn a_late_write_does_not_win(crash: bool) {
    late_write(Database::sandbox(), Database::sandbox(), crash);
}

/// The same with a real destination.
pub(crate) fn a_late_write_does_not_win_at(destination: Database) {
    late_write(Database::sandbox(), destination, true);
}

fn late_write(source: Database, destination: Database, crash: bool) {
    let destination = Database::Late(Relay::start(destination));
    let Database::Late(relay) = &destination else { return };
    let settings = Settings { delivery: "late_write_max = \"2s\"", ..Settings::default() };
    let mut proxy = Proxy::new(&source, &destination, settings);
    proxy.start();
    let port = proxy.port;
    let write = |body: &str| {
        let head = format!("POST /write?db={NAME} HTTP/1.1\r\nHost: x");
        let sent = Connection::new(port).ask(&head, body.as_bytes());
        assert!(matches!(sent, Sent::Answer { status: 204, .. }), "{sent:?}");
    };
    let arrived = |cells: usize| {
        wait_for("what need not wait", || (relay.sandbox.cells().len() == cells).then_some(()));
    };
    relay.keep_next();
    write("m v=1i 1");
    relay.has_kept();
    if crash {
        proxy.kill9();
        proxy.start();
    }
    arrived(1);
    write("m v=2i 1\nm v=7i 2");
    arrived(2);
    relay.release();
    let last = proxy.drained();
    assert_eq!(last.lines.delivered, 3, "{:?}", last.lines);
    let found = twinline::cell::compare(source.cells(), destination.cells());
    assert!(found.is_empty(), "source and destination: {found}");
    proxy.stop();
}

/// After a crash the newest value of a cell is there at once, however long the dead process's requests may take effect.
pub(crate) fn the_newest_value_shows_at_once_after_a_crash() {
    let source = Database::sandbox();
    let destination = Database::Late(Relay::start(Database::sandbox()));
    let Database::Late(relay) = &destination else { return };
    let settings = Settings { delivery: "late_write_max = \"1h\"", ..Settings::default() };
    let mut proxy = Proxy::new(&source, &destination, settings);
    proxy.start();
    let write = |port: u16, body: &str| {
        let head = format!("POST /write?db={NAME} HTTP/1.1\r\nHost: x");
        let sent = Connection::new(port).ask(&head, body.as_bytes());
        assert!(matches!(sent, Sent::Answer { status: 204, .. }), "{sent:?}");
    };
    relay.keep_next();
    for value in 1..=3 {
        write(proxy.port, &format!("m v={value}i 1"));
    }
    relay.has_kept();
    proxy.kill9();
    proxy.start();
    write(proxy.port, "m v=4i 1");
    wait_for("the newest value", || {
        twinline::cell::compare(source.cells(), relay.sandbox.cells()).is_empty().then_some(())
    });
    proxy.kill9();
}

/// Who sent the old value is gone, and so is the process after it: the newer value that is written then stands all the same. The
/// first request is not answered in time, or its process dies; the second process is killed or stopped.
pub(crate) fn a_late_write_does_not_win_over_two_restarts(crash: bool, kill: bool) {
    let source = Database::sandbox();
    let destination = Database::Late(Relay::start(Database::sandbox()));
    let Database::Late(relay) = &destination else { return };
    let settings = Settings {
        destination: "request_timeout = \"1s\"",
        delivery: "late_write_max = \"10s\"",
        ..Settings::default()
    };
    let mut proxy = Proxy::new(&source, &destination, settings);
    proxy.start();
    let write = |port: u16, body: &str| {
        let head = format!("POST /write?db={NAME} HTTP/1.1\r\nHost: x");
        let sent = Connection::new(port).ask(&head, body.as_bytes());
        assert!(matches!(sent, Sent::Answer { status: 204, .. }), "{sent:?}");
    };
    relay.hold_next();
    write(proxy.port, "m v=1i 1");
    relay.has_kept();
    if crash {
        proxy.kill9();
        proxy.start();
    }
    wait_for("the old value", || (relay.sandbox.cells().len() == 1).then_some(()));
    if kill {
        proxy.kill9()
    } else {
        proxy.stop()
    }
    proxy.start();
    write(proxy.port, "m v=2i 1");
    wait_for("the newer value", || {
        twinline::cell::compare(source.cells(), relay.sandbox.cells()).is_empty().then_some(())
    });
    relay.release();
    let last = proxy.drained();
    assert_eq!(last.lines.delivered, 2, "{:?}", last.lines);
    let found = twinline::cell::compare(source.cells(), destination.cells());
    assert!(found.is_empty(), "source and destination: {found}");
    proxy.stop();
}
