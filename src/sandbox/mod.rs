//! A small in-memory database that speaks InfluxDB 1.x over HTTP: for the demonstration and for tests with faults.
//!
//! Promise: what it answers, it answers as InfluxDB 1.13 does, with types, overwrites and partial writes alike; what it
//! does not know, it refuses. Memory is bounded by [`Options::max_points`]. Several run in one process side by side;
//! none touches anything but its port on the loopback address.
//!
//! Where it is simpler than a server: one type per field and policy (not per shard group), no users, no expiry of
//! stored points, `SELECT` of fields and counts only.

mod condition;
mod encode;
mod fault;
mod http;
mod json;
mod lex;
mod msgpack;
mod query;
mod select;
mod serve;
mod statement;
mod store;
#[cfg(test)]
mod tests;
mod write;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tokio::sync::{oneshot, watch};

use crate::base::clock::SharedClock;
use crate::base::{Error, Kind, Result, Side, SystemClock};
use crate::cell::Cell;
use crate::line::Precision;

pub use fault::{Faults, WriteAction, WriteFault};

use store::Store;

/// How a sandbox is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// TCP port on 127.0.0.1; 0: a free one.
    pub port: u16,
    /// A write to an unknown database creates it instead of 404.
    pub auto_create: bool,
    /// Field values held at most; a write beyond is answered as a server does whose cache is full.
    pub max_points: u64,
    /// Where untimed lines get their time.
    pub clock: SharedClock,
}

impl Default for Options {
    fn default() -> Self {
        Self { port: 0, auto_create: false, max_points: 10_000_000, clock: SystemClock::shared() }
    }
}

/// What a sandbox has seen, as `GET /sandbox/stats` shows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Requests received, of any kind.
    pub requests: u64,
    /// Write requests received whole.
    pub writes: u64,
    /// Of them, those that a fault answered, dropped or held.
    pub writes_faulted: u64,
    /// Lines in the writes that were applied, good and bad.
    pub lines_received: u64,
    /// Points stored, overwrites included.
    pub points_written: u64,
    /// Queries received.
    pub queries: u64,
    /// Connections accepted.
    pub connections: u64,
    /// Field values held now.
    pub values: u64,
    /// Series held now.
    pub series: u64,
}

#[derive(Debug, Default)]
struct Counters {
    requests: AtomicU64,
    writes: AtomicU64,
    writes_faulted: AtomicU64,
    lines_received: AtomicU64,
    points_written: AtomicU64,
    queries: AtomicU64,
    connections: AtomicU64,
}

/// What connections share.
#[derive(Debug)]
struct Shared {
    options: Options,
    store: Mutex<Store>,
    faults: watch::Sender<Faults>,
    counters: Counters,
}

impl Shared {
    fn new(options: Options) -> Self {
        let store = Mutex::new(Store::new(options.max_points));
        Self { options, store, faults: watch::Sender::new(Faults::default()), counters: Counters::default() }
    }

    /// A panic elsewhere leaves the data usable: each change of it is complete in itself.
    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stats(&self) -> Stats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Counters { requests, writes, writes_faulted, lines_received, points_written, queries, connections } =
            &self.counters;
        let store = self.store();
        Stats {
            requests: get(requests),
            writes: get(writes),
            writes_faulted: get(writes_faulted),
            lines_received: get(lines_received),
            points_written: get(points_written),
            queries: get(queries),
            connections: get(connections),
            values: store.values(),
            series: store.series(),
        }
    }
}

/// Who runs the sandbox.
#[derive(Debug)]
enum Runner {
    Task(tokio::task::JoinHandle<()>),
    Thread { stop: Option<oneshot::Sender<()>>, thread: Option<std::thread::JoinHandle<()>> },
}

/// A running sandbox; ends when it is dropped or stopped.
#[derive(Debug)]
pub struct Sandbox {
    shared: Arc<Shared>,
    addr: SocketAddr,
    runner: Runner,
}

impl Sandbox {
    /// Starts a sandbox on the tokio runtime of the caller.
    ///
    /// # Errors
    /// `Connect` when the port cannot be listened on.
    pub async fn start(options: Options) -> Result<Self> {
        let (shared, listener, addr) = open(options)?;
        let listener = tokio::net::TcpListener::from_std(listener).map_err(|e| cannot_listen(addr, e))?;
        let task = tokio::spawn(serve::run(shared.clone(), listener, addr));
        Ok(Self { shared, addr, runner: Runner::Task(task) })
    }

    /// Starts a sandbox on a thread of its own, with its own runtime; may be called from anywhere.
    ///
    /// # Errors
    /// `Connect` when the port cannot be listened on; `State` when the thread or its runtime cannot be started.
    pub fn spawn_thread(options: Options) -> Result<Self> {
        let (shared, listener, addr) = open(options)?;
        let (stop, stopped) = oneshot::channel();
        let (ready, started) = std::sync::mpsc::sync_channel(1);
        let serving = shared.clone();
        let thread = std::thread::Builder::new().name("sandbox".to_owned()).spawn(move || {
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                // The caller waits for this answer.
                Err(error) => return drop(ready.send(Err(error))),
            };
            runtime.block_on(async move {
                let listener = match tokio::net::TcpListener::from_std(listener) {
                    Ok(listener) => listener,
                    Err(error) => return drop(ready.send(Err(error))),
                };
                drop(ready.send(Ok(())));
                tokio::select! {
                    () = serve::run(serving, listener, addr) => {}
                    _ = stopped => {}
                }
            });
        });
        let no_thread = |e| Error::new(Kind::State, Side::Own, "the sandbox's thread cannot be started").because(e);
        let thread = thread.map_err(no_thread)?;
        started.recv().unwrap_or_else(|_| Err(std::io::Error::other("it ended at once"))).map_err(no_thread)?;
        Ok(Self { shared, addr, runner: Runner::Thread { stop: Some(stop), thread: Some(thread) } })
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its base URL, `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Creates a database with the policy `autogen`; nothing happens when it is there.
    pub fn create_database(&self, name: &str) {
        // Without options there is nothing that could differ from an existing database.
        let _ = self.shared.store().create_database(name, None);
    }

    /// Writes lines with times in nanoseconds past HTTP, as a database holds them that was filled before: no counter of
    /// [`Stats`] moves but those of what is held.
    ///
    /// # Errors
    /// `Input` with the answer of a write, when not all of them were stored.
    pub fn load(&self, db: &str, lines: &[u8]) -> Result<()> {
        let mut store = self.shared.store();
        let refused =
            |(status, text)| Error::new(Kind::Input, Side::Own, format!("the sandbox answers {status}: {text}"));
        let policy = write::target(&store, db, "").map_err(|written| refused(written.error.unwrap_or_default()))?;
        let now_ns = self.shared.options.clock.wall_ns();
        let written = write::write(&mut store, (db, &policy), lines, Precision::Nanosecond, now_ns);
        written.error.map_or(Ok(()), |error| Err(refused(error)))
    }

    /// All cells of a policy (empty name: the default one), read past HTTP; empty when there is no such policy.
    #[must_use]
    pub fn cells(&self, db: &str, rp: &str) -> Vec<Cell> {
        self.shared.store().cells(db, rp)
    }

    /// Lines in the writes that were applied, good and bad.
    #[must_use]
    pub fn lines_received(&self) -> u64 {
        self.shared.counters.lines_received.load(Ordering::Relaxed)
    }

    /// What it has seen so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }

    /// Replaces the faults; [`Faults::default`] clears them.
    pub fn set_faults(&self, faults: Faults) {
        self.shared.faults.send_replace(faults);
    }

    /// The faults as they are now.
    #[must_use]
    pub fn faults(&self) -> Faults {
        self.shared.faults.borrow().clone()
    }

    /// Ends it: the listener is closed and connections are cut. Waits for the thread, where it has one.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        match &mut self.runner {
            Runner::Task(task) => task.abort(),
            Runner::Thread { stop, thread } => {
                // The receiver is gone only when the thread ended already.
                let _ = stop.take().map(|stop| stop.send(()));
                let _ = thread.take().map(std::thread::JoinHandle::join);
            }
        }
    }
}

fn open(options: Options) -> Result<(Arc<Shared>, std::net::TcpListener, SocketAddr)> {
    let wanted = SocketAddr::from((Ipv4Addr::LOCALHOST, options.port));
    let listen = || {
        let listener = std::net::TcpListener::bind(wanted)?;
        listener.set_nonblocking(true)?;
        let addr = listener.local_addr()?;
        Ok((listener, addr))
    };
    let (listener, addr) = listen().map_err(|e| cannot_listen(wanted, e))?;
    Ok((Arc::new(Shared::new(options)), listener, addr))
}

fn cannot_listen(addr: SocketAddr, error: std::io::Error) -> Error {
    Error::new(Kind::Connect, Side::Own, format!("the sandbox cannot listen on {addr}")).because(error)
}
