//! A door in front of a database that can be shut, made slow, or told to turn writes away, while the database goes on behind it.
//!
//! Requests and answers pass as they are, each as a whole. Threads are as many as connections.

use std::io::{self, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::wire::{Client, Message};

/// Longer than any answer takes.
const TIMEOUT: Duration = Duration::from_secs(120);

/// What it does to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pass {
    /// Lets it through.
    All,
    /// Lets it through so much later.
    Late(Duration),
    /// Says this in the place of the database: status, headers with their line ends, body.
    Says(u16, &'static str, &'static str),
    /// Ends the connection before the request is read.
    Nothing,
    /// Lets it through and ends the connection in the place of the answer.
    NoAnswer,
}

/// A running gate; its threads end with their connections.
#[derive(Clone, Debug)]
pub struct Gate {
    /// Where it listens.
    pub addr: String,
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    behind: String,
    pass: Mutex<Pass>,
    open: Mutex<Vec<TcpStream>>,
    met: AtomicU64,
}

impl Gate {
    /// In front of `behind`, `host:port`.
    ///
    /// # Errors
    /// No port.
    pub fn start(behind: &str) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let addr = listener.local_addr()?.to_string();
        let inner = Inner {
            behind: behind.to_owned(),
            pass: Mutex::new(Pass::All),
            open: Mutex::default(),
            met: AtomicU64::new(0),
        };
        let inner = Arc::new(inner);
        let gate = Self { addr, inner: Arc::clone(&inner) };
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let inner = Arc::clone(&inner);
                let Ok(copy) = stream.try_clone() else { continue };
                held(&inner.open).push(copy);
                std::thread::spawn(move || {
                    // Whoever is at the other end has gone, or was cut off by us.
                    let _ = inner.serve(stream);
                    held(&inner.open).retain(|stream| stream.peer_addr().is_ok());
                });
            }
        });
        Ok(gate)
    }

    /// From now on; connections that are there end only where nothing passes.
    pub fn set(&self, pass: Pass) {
        let cuts = pass == Pass::Nothing;
        *held(&self.inner.pass) = pass;
        if cuts {
            for stream in held(&self.inner.open).drain(..) {
                // It may be gone already.
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
    }

    /// Requests that met something other than [`Pass::All`].
    #[must_use]
    pub fn met(&self) -> u64 {
        self.inner.met.load(Ordering::Relaxed)
    }
}

impl Inner {
    fn serve(&self, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut reader = BufReader::with_capacity(256 << 10, stream);
        let (mut request, mut behind) = (Message::default(), Client::new(&self.behind, TIMEOUT));
        let result = self.pass_on(&mut reader, &mut request, &mut behind);
        let _ = reader.get_ref().shutdown(Shutdown::Both);
        result
    }

    fn pass_on(&self, reader: &mut BufReader<TcpStream>, request: &mut Message, behind: &mut Client) -> io::Result<()> {
        loop {
            if *held(&self.pass) == Pass::Nothing {
                self.met.fetch_add(1, Ordering::Relaxed);
                return Ok(());
            }
            if !request.read(reader)? {
                return Ok(());
            }
            let pass = held(&self.pass).clone();
            if pass != Pass::All {
                self.met.fetch_add(1, Ordering::Relaxed);
            }
            match pass {
                Pass::All => {}
                Pass::Late(late) => std::thread::sleep(late),
                Pass::Nothing => return Ok(()),
                Pass::Says(status, headers, body) => {
                    let length = body.len();
                    let head = format!("HTTP/1.1 {status} Gate\r\nContent-Type: application/json\r\n{headers}");
                    reader.get_mut().write_all(format!("{head}Content-Length: {length}\r\n\r\n{body}").as_bytes())?;
                    continue;
                }
                Pass::NoAnswer => {
                    behind.send(&request.whole())?;
                    return Ok(());
                }
            }
            behind.send(&request.whole())?;
            reader.get_mut().write_all(&behind.answer.whole())?;
            if request.close || behind.answer.close {
                return Ok(());
            }
        }
    }
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
