//! Sockets and connections: bounded in number, closed when idle for long, drained on a stop.

use std::fmt;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONNECTION, HeaderValue, RETRY_AFTER};
use http::{Request, Version};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

use super::edge::write_api;
use super::limiter::{Account, Limiter, Over};
use super::mount;
use super::proxied::Proxied;
use super::socket::{Bound, Socket, Stream};
use super::tls::Identity;
use super::wire::{Answering, HEAD_WAIT, Wire};
use crate::base::metric;
use crate::db::precision::Api;
use crate::pipeline::{Refusal, Reply, drain, unavailable};

/// Headers of one request. The servers count bytes, not headers; a table of so many is made for each request, which costs a few
/// percent of a small write, and a client that the source would answer must not be refused.
const HEADERS_MAX: usize = 1000;
/// hyper takes no smaller bound.
const HEADER_BYTES_LEAST: usize = 8 << 10;

/// No client is sent away for longer, seconds.
const RETRY_AFTER_MAX: f64 = 3600.0;

/// How connections of one listener are treated.
#[derive(Clone, Debug)]
pub struct Serve {
    /// Connections at once; further ones wait in the system's queue.
    pub connections_max: usize,
    /// A connection is closed after this between two requests. A head that was begun has 30 s, or this if it is shorter.
    pub idle_timeout: Duration,
    /// Largest head.
    pub header_bytes_max: usize,
    /// How long requests may take to end after a stop.
    pub drain_max: Duration,
    /// A path before all others under which clients find this listener; empty: none.
    pub path_prefix: Rc<str>,
    /// Clients speak TLS.
    pub tls: Option<Rc<Identity>>,
    /// Connections begin with a header of the PROXY protocol.
    pub proxied: Option<Rc<Proxied>>,
    /// What one client may ask.
    pub limiter: Option<Rc<Limiter>>,
}

/// Where the client of a request is: what the PROXY protocol says, else the other end of its connection; nothing for a socket in the
/// file system. Among the request's extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client(pub Option<IpAddr>);

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(ip) => ip.fmt(f),
            None => f.write_str("a local process"),
        }
    }
}

/// Accepts connections until `stop` turns true, then lets requests under way end; after `drain_max` it cuts them.
pub async fn serve<F, Fut>(bound: Bound, limits: Serve, handle: F, mut stop: watch::Receiver<bool>)
where
    F: Fn(Request<Incoming>) -> Fut + Clone + 'static,
    Fut: Future<Output = Reply> + 'static,
{
    let permits = Arc::new(Semaphore::new(limits.connections_max));
    let gauge = metrics::gauge!(metric::HTTP_CONNECTIONS);
    let mut open = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = accept(&bound.socket, &permits) => accepted,
            Some(_) = open.join_next() => {
                gauge.decrement(1.0);
                continue;
            }
            _ = stop.wait_for(|stop| *stop) => break,
        };
        let Some(((stream, peer), permit)) = accepted else { continue };
        gauge.increment(1.0);
        let (limits, handle, stop) = (limits.clone(), handle.clone(), stop.clone());
        open.spawn_local(async move {
            arrived(stream, peer, limits, handle, stop).await;
            drop(permit);
        });
    }
    drop(bound);
    let drained = async {
        while open.join_next().await.is_some() {
            gauge.decrement(1.0);
        }
    };
    if tokio::time::timeout(limits.drain_max, drained).await.is_err() {
        tracing::warn!(connections = open.len(), "connections are cut after the drain time");
        gauge.decrement(open.len() as f64);
        open.shutdown().await;
    }
}

/// Serves the local socket until `stop` turns true.
pub async fn serve_unix<F, Fut>(listener: UnixListener, limits: Serve, handle: F, mut stop: watch::Receiver<bool>)
where
    F: Fn(Request<Incoming>) -> Fut + Clone + 'static,
    Fut: Future<Output = Reply> + 'static,
{
    let permits = Arc::new(Semaphore::new(limits.connections_max));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        let (Ok((stream, _)), Ok(permit)) = (accepted, Arc::clone(&permits).try_acquire_owned()) else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let (limits, handle, stop) = (limits.clone(), handle.clone(), stop.clone());
        tokio::task::spawn_local(async move {
            connection(stream, Client(None), limits, handle, stop).await;
            drop(permit);
        });
    }
}

async fn accept(socket: &Socket, permits: &Arc<Semaphore>) -> Option<((Stream, Option<IpAddr>), OwnedSemaphorePermit)> {
    let permit = Arc::clone(permits).acquire_owned().await.ok()?;
    match socket.accept().await {
        Ok(came) => Some((came, permit)),
        Err(error) => {
            // Out of file descriptors, most likely: leave the rest of the program some air.
            tracing::warn!(%error, "a connection could not be accepted");
            tokio::time::sleep(Duration::from_millis(50)).await;
            None
        }
    }
}

/// What comes before HTTP.
async fn arrived<F, Fut>(
    mut stream: Stream,
    peer: Option<IpAddr>,
    limits: Serve,
    handle: F,
    stop: watch::Receiver<bool>,
) where
    F: Fn(Request<Incoming>) -> Fut + 'static,
    Fut: Future<Output = Reply> + 'static,
{
    let client = match &limits.proxied {
        None => Client(peer),
        Some(proxied) => match proxied.client(&mut stream, peer).await {
            Ok(client) => Client(client),
            Err(_) => return,
        },
    };
    let Some(tls) = limits.tls.as_ref().map(|identity| identity.acceptor()) else {
        return connection(stream, client, limits, handle, stop).await;
    };
    let shaken = tokio::time::timeout(limits.idle_timeout.min(HEAD_WAIT), tls.accept(stream)).await;
    match shaken {
        Ok(Ok(stream)) => connection(stream, client, limits, handle, stop).await,
        Ok(Err(error)) => {
            let client = client.to_string();
            tracing::debug!(%error, client, event = "tls.refused", "a client does not come to TLS with us");
        }
        Err(_) => {}
    }
}

async fn connection<S, F, Fut>(stream: S, client: Client, limits: Serve, handle: F, mut stop: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Fn(Request<Incoming>) -> Fut + 'static,
    Fut: Future<Output = Reply> + 'static,
{
    let account = limits.limiter.clone().zip(client.0).map(|(limiter, client)| Account::new(limiter, client));
    let answering = Rc::new(Answering::of(account));
    let stream = Wire::new(stream, Rc::clone(&answering), limits.idle_timeout.min(HEAD_WAIT));
    let service = service_fn(move |request: Request<Incoming>| {
        let mut request = mount::below(&limits.path_prefix, request);
        request.extensions_mut().insert(client);
        let under_way = answering.begin(write_api(&request).is_some());
        let version = request.version();
        let asked = match answering.admit(&request) {
            Ok(()) => Ok(handle(request)),
            Err(over) => Err(over_limit(over, request)),
        };
        async move {
            let reply = match asked {
                Ok(asked) => asked.await,
                Err(refused) => refused,
            };
            Ok::<_, std::convert::Infallible>(of_version(version, under_way.answered(reply)))
        }
    });
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.idle_timeout)
        // The source's names as they came; our own as the servers write them.
        .preserve_header_case(true)
        .title_case_headers(true)
        // The source dates its answers, and some it does not date.
        .auto_date_header(false)
        .max_headers(HEADERS_MAX)
        .max_buf_size(limits.header_bytes_max.max(HEADER_BYTES_LEAST));
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        // A client that breaks off is nobody's fault.
        _ = connection.as_mut() => return,
        _ = stop.wait_for(|stop| *stop) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

/// The body is read and forgotten for a while, so that the client comes to read the answer.
fn over_limit(over: Over, request: Request<Incoming>) -> Reply {
    let api = if request.uri().path().starts_with("/api/") { Api::V2 } else { Api::V1 };
    drain(request.into_body());
    let mut reply = unavailable(api, &Refusal::Capacity(over.what));
    let seconds = over.wait.as_secs_f64().ceil().clamp(1.0, RETRY_AFTER_MAX);
    reply.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds as u64));
    reply
}

/// hyper would offer a client of HTTP/1.0 to keep a connection of which the answer says that it ends.
fn of_version(version: Version, mut reply: Reply) -> Reply {
    if version < Version::HTTP_11 && reply.headers().get(CONNECTION).is_some_and(|value| value == "close") {
        *reply.version_mut() = version;
    }
    reply
}
