//! The threads beside the edge, each with an event loop of its own.

use std::net::TcpListener as StdListener;
use std::panic::AssertUnwindSafe;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::net::UnixListener;
use tokio::runtime::LocalOptions;
use tokio::sync::watch;

use crate::base::size::ByteSize;
use crate::base::{Error, Kind, Result, Side};
use crate::config::{self, Config, Listen, Role};
use crate::control::{Control, Door};
use crate::db::server::Server;
use crate::delivery::{self, Parts};
use crate::http::{Bound, Passed, PassedSocket, Serve, serve, serve_unix};
use crate::queue::Opened;

use super::destinations;
use super::watched::Watched;

const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// Binds the admin listeners now, so that a taken port is an error at start; so is a passed socket that nobody has taken.
pub(super) fn bind_admin(config: &Config, mut passed: Passed) -> Result<Vec<(StdListener, Listen)>> {
    let bind = |listen: &Listen| {
        let opened = match (passed.take(&listen.address), listen.address.tcp()) {
            (Some(PassedSocket::Tcp(socket)), _) => Ok(socket),
            (_, Some(address)) => StdListener::bind(address),
            (_, None) => Err(std::io::ErrorKind::AddrNotAvailable.into()),
        };
        let socket = opened.and_then(|socket| socket.set_nonblocking(true).map(|()| socket));
        let socket = socket.map_err(|e| {
            Error::new(Kind::Config, Side::Own, format!("cannot listen on {}", listen.address))
                .because(e)
                .hint("another program listens there, or the address is not ours: change `listen`")
        })?;
        Ok((socket, listen.clone()))
    };
    let bound = config.listeners(Role::Admin).map(bind).collect::<Result<_>>()?;
    passed.finish()?;
    Ok(bound)
}

/// A running thread; its result is what its work came to.
pub(super) type Running = JoinHandle<Result<()>>;

/// Runs `work` on a thread with an event loop; `told` hears of its error, or of its panic, or that there is no event loop; what it
/// gives back goes on there.
pub(super) fn event_loop<F: Future<Output = ()>>(
    name: &str,
    work: impl AsyncFnOnce() -> Result<()> + Send + 'static,
    told: impl FnOnce(&Error) -> F + Send + 'static,
) -> Result<Running> {
    let fresh = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
        runtime.map_err(|e| Error::disk("cannot start an event loop", e))
    };
    let body = move || {
        let result = fresh().and_then(|runtime| {
            // With all that a panic may have left there it ends here.
            let run = AssertUnwindSafe(|| runtime.block_on(work()));
            std::panic::catch_unwind(run).unwrap_or_else(|_| Err(died()))
        });
        if let Err(error) = &result {
            let goes_on = told(error);
            match fresh() {
                Ok(runtime) => runtime.block_on(goes_on),
                Err(error) => tracing::error!(%error, event = "thread.failed", "nothing is done after its end either"),
            }
        }
        result
    };
    std::thread::Builder::new().name(name.to_owned()).spawn(body).map_err(|e| Error::disk("cannot start a thread", e))
}

/// Starts delivery. Should it end with an error while the process runs, clients go on being served and the status says so. It does not
/// begin again by itself: what has ended it may be what it would meet again. `keeps`: what it may keep of the log from others then, and
/// the place that it gives up beyond that.
pub(super) fn delivery(
    name: &str,
    opened: Opened,
    parts: Parts,
    server: config::Server,
    stop: watch::Receiver<bool>,
    watched: Watched,
) -> Result<Running> {
    let view = parts.view.clone();
    let (place, id) = (opened.queue.place(), parts.id.clone());
    let (budget, mut stopped) = ((!parts.is_only).then_some(parts.route_backlog_bytes), stop.clone());
    // Its own connections: a pool belongs to one thread.
    let work = async move || delivery::run(opened, parts, Server::new(&server, Side::Destination)?, stop).await;
    let what = name.to_owned();
    event_loop(name, work, move |error| {
        watched.tell(format!("{what} has stopped; writes go on into the queue: {error}"));
        delivery::show_failure(&view, error);
        let error = error.to_string();
        async move {
            let Some(budget) = budget else { return };
            tokio::select! {
                () = destinations::give_up(&place, &id, budget, &watched) => {
                    let text = format!(
                        "{error}; more than {} of the log (route_backlog) waited for it: the log is not kept for it any more, what it \
                         has not got is a gap that the next start names",
                        ByteSize(budget)
                    );
                    watched.tell(format!("{what} has stopped: {text}"));
                    delivery::show_failure(&view, &Error::new(Kind::State, Side::Own, text));
                }
                _ = stopped.wait_for(|stop| *stop) => {}
            }
        }
    })
}

/// Starts the admin listeners and the local socket.
pub(super) fn control(
    control: Control,
    admin: Vec<(StdListener, Listen)>,
    socket: std::os::unix::net::UnixListener,
    stop: watch::Receiver<bool>,
) -> Result<Running> {
    let failed = |error: &Error| {
        tracing::error!(%error, event = "control.failed", "the admin side has stopped");
        std::future::ready(())
    };
    let work = async move || {
        let limits = |listen: Option<&Listen>| Serve {
            connections_max: listen.map_or(64, |listen| listen.max_connections),
            idle_timeout: listen.map_or(Duration::from_secs(60), |listen| listen.idle_timeout),
            header_bytes_max: 64 << 10,
            drain_max: Duration::from_millis(500),
            path_prefix: "".into(),
            tls: None,
            proxied: None,
            limiter: None,
        };
        let door = |door: Door| {
            let control = control.clone();
            move |request| {
                let control = control.clone();
                async move { control.handle(door, request).await }
            }
        };
        for (listener, listen) in admin {
            match Bound::tcp(listener) {
                Ok(bound) => {
                    tracing::info!(address = %bound.address, "operators may connect");
                    tokio::task::spawn_local(serve(bound, limits(Some(&listen)), door(Door::Listener), stop.clone()));
                }
                Err(error) => tracing::error!(%error, "an admin listener cannot be served"),
            }
        }
        match UnixListener::from_std(socket) {
            Ok(socket) => {
                tokio::task::spawn_local(serve_unix(socket, limits(None), door(Door::Socket), stop.clone()));
            }
            Err(error) => tracing::error!(%error, "the local socket cannot be served"),
        }
        let mut stop = stop;
        loop {
            tokio::select! {
                () = tokio::time::sleep(UPKEEP_EVERY) => control.upkeep(),
                _ = stop.wait_for(|stop| *stop) => return Ok(()),
            }
        }
    };
    event_loop("control", work, failed)
}

/// Waits for a thread's end.
pub(super) fn join(running: Running) -> Result<()> {
    running.join().unwrap_or_else(|_| Err(died()))
}

fn died() -> Error {
    Error::new(Kind::State, Side::Own, "a part of the program has panicked: this is a bug; the log holds what it said")
}
