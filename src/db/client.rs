//! HTTP/1.1 connections to one server, kept in a small pool of our own.
//!
//! Promises: a request that was never sent comes back as such ([`Failure::NotSent`]), so that the caller may say "nothing
//! happened" or try again; anything after the first byte is [`Failure::Unknown`]. Names and case of headers pass through
//! as they are. Dropping a response, or the future that waits for one, closes its connection: that is how a database
//! learns that nobody waits for a query any more.
//!
//! The pool belongs to one thread: each runtime has its own.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::addresses::Addresses;
use super::broken::{Break, Breaking};
use super::head::{Awaited, Cleaned};
use crate::base::{Error, Kind, Side};

/// Any error that a body may end with.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;
/// A request body: whole bytes, or a stream.
pub type RequestBody = UnsyncBoxBody<Bytes, BodyError>;

/// Where a server is and how long we wait for it.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Host name or address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// TLS settings and the name to check; `None` is plain HTTP.
    pub tls: Option<(Arc<rustls::ClientConfig>, ServerName<'static>)>,
    /// How long a connection may take, TLS included.
    pub connect_timeout: Duration,
    /// Connections open at once; further requests wait.
    pub connections_max: usize,
    /// How long they wait for their turn.
    pub turn_max: Duration,
    /// Idle connections are not used again after this long. Below every known server's own limit (2.x: 180 s).
    pub idle_max: Duration,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum Failure {
    /// Not one byte of the request left: nothing can have happened.
    NotSent(Error),
    /// The request, or a part of it, left: it may take effect.
    Unknown(Error),
}

impl Failure {
    /// The error inside.
    pub fn error(&self) -> &Error {
        match self {
            Self::NotSent(error) | Self::Unknown(error) => error,
        }
    }
}

/// Connections to one server. Cheap to clone; all clones share the pool.
#[derive(Clone)]
pub struct Client(Rc<Inner>);

struct Inner {
    endpoint: Endpoint,
    addresses: Addresses,
    side: Side,
    idle: RefCell<Vec<IdleConnection>>,
    permits: Arc<Semaphore>,
    opened: Cell<u64>,
}

/// An open connection.
struct Connection {
    sender: SendRequest<RequestBody>,
    head: Awaited,
}

impl Connection {
    async fn send(&mut self, request: Request<RequestBody>) -> Result<Response<Incoming>, Refused> {
        self.head.expect();
        self.sender.try_send_request(request).await
    }
}

type Refused = hyper::client::conn::TrySendError<Request<RequestBody>>;

struct IdleConnection {
    connection: Connection,
    since: tokio::time::Instant,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("host", &self.0.endpoint.host).field("port", &self.0.endpoint.port).finish()
    }
}

impl Client {
    /// A pool without connections yet. `side` says whose server it is, for errors.
    #[must_use]
    pub fn new(endpoint: Endpoint, side: Side) -> Self {
        let permits = Arc::new(Semaphore::new(endpoint.connections_max.max(1)));
        let addresses = Addresses::new(endpoint.host.clone(), endpoint.port);
        Self(Rc::new(Inner { endpoint, addresses, side, idle: RefCell::default(), permits, opened: Cell::new(0) }))
    }

    /// How many connections were opened so far.
    #[must_use]
    pub fn opened(&self) -> u64 {
        self.0.opened.get()
    }

    /// Sends a request and waits for the head of the answer. The request's target must be in origin form (`/path?query`)
    /// and it must carry `Host`.
    ///
    /// # Errors
    /// [`Failure`]; a kept connection that turns out to be closed before anything was sent is replaced by a new one.
    pub async fn send(&self, request: Request<RequestBody>) -> Result<Response<Answer>, Failure> {
        self.ready().await?.send(request).await
    }

    /// Waits for a turn and an open connection; nothing is sent yet.
    ///
    /// # Errors
    /// [`Failure::NotSent`] only: no turn or no connection, each within its time.
    pub async fn ready(&self) -> Result<Ready, Failure> {
        let permit = self.turn().await?;
        let connection = match self.take_idle() {
            Some(kept) => kept,
            None => self.connect(None).await.map_err(Failure::NotSent)?,
        };
        Ok(Ready { client: self.clone(), connection, permit })
    }

    /// Sends the head of a request, over a connection of its own, and in place of its body what breaks it. `request` must have
    /// a body that never comes and ends with an error.
    ///
    /// # Errors
    /// [`Failure`], as with [`Client::send`].
    pub async fn send_broken(&self, request: Request<RequestBody>, breaks: Break) -> Result<Response<Answer>, Failure> {
        let permit = self.turn().await?;
        let mut connection = self.connect(Some(breaks)).await.map_err(Failure::NotSent)?;
        match connection.send(request).await {
            Ok(response) => Ok(self.answer(response, connection, permit)),
            Err(refused) => Err(Failure::Unknown(self.broken(refused.into_error()))),
        }
    }

    async fn turn(&self) -> Result<tokio::sync::OwnedSemaphorePermit, Failure> {
        let turn = timeout(self.0.endpoint.turn_max, Arc::clone(&self.0.permits).acquire_owned()).await;
        let permit = turn.map_err(|_| {
            let most = self.0.endpoint.connections_max;
            let what = format!("all {most} connections to {} are in use", self.name());
            Failure::NotSent(self.fault(Kind::Limit, &what).retryable().hint("raise `max_connections`"))
        })?;
        permit.map_err(|_| Failure::NotSent(self.fault(Kind::State, "the connection pool is closed")))
    }

    fn take_idle(&self) -> Option<Connection> {
        let mut idle = self.0.idle.borrow_mut();
        while let Some(kept) = idle.pop() {
            if kept.since.elapsed() > self.0.endpoint.idle_max {
                // The rest is older still: the pool is a stack.
                idle.clear();
                return None;
            }
            if kept.connection.sender.is_ready() {
                return Some(kept.connection);
            }
        }
        None
    }

    fn answer(
        &self,
        response: Response<Incoming>,
        connection: Connection,
        permit: tokio::sync::OwnedSemaphorePermit,
    ) -> Response<Answer> {
        response.map(|body| {
            let mut answer =
                Answer { body, held: Some(Held { pool: Rc::clone(&self.0), connection, _permit: permit }) };
            if answer.body.is_end_stream() {
                answer.finish();
            }
            answer
        })
    }

    /// On the heap: the state of a handshake takes kilobytes, and each request would be copied with room for it.
    async fn connect(&self, breaks: Option<Break>) -> Result<Connection, Error> {
        Box::pin(self.open(breaks)).await
    }

    async fn open(&self, breaks: Option<Break>) -> Result<Connection, Error> {
        let endpoint = &self.0.endpoint;
        let connecting = async {
            let fault =
                |e| self.fault(Kind::Connect, &format!("cannot connect to {}", self.name())).because(e).retryable();
            let addresses = self.0.addresses.get().await.map_err(fault)?;
            let stream = TcpStream::connect(&addresses[..]).await.map_err(fault)?;
            // A failure here only costs latency.
            let _ = stream.set_nodelay(true);
            self.0.opened.set(self.0.opened.get() + 1);
            match &endpoint.tls {
                None => self.begin(stream, breaks).await,
                Some((config, name)) => {
                    let tls = TlsConnector::from(Arc::clone(config)).connect(name.clone(), stream).await;
                    let tls = tls.map_err(|e| {
                        self.fault(Kind::Connect, &format!("TLS with {} failed", self.name()))
                            .because(e)
                            .hint("check the certificate, `tls.ca` and the host name in the URL")
                    })?;
                    self.begin(tls, breaks).await
                }
            }
        };
        timeout(endpoint.connect_timeout, connecting).await.unwrap_or_else(|_| {
            Err(self.fault(Kind::Timeout, &format!("no connection to {} in time", self.name())).retryable())
        })
    }

    async fn begin<S>(&self, stream: S, breaks: Option<Break>) -> Result<Connection, Error>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        match breaks {
            None => self.handshake(stream).await,
            Some(breaks) => self.handshake(Breaking::new(stream, breaks)).await,
        }
    }

    async fn handshake<S>(&self, stream: S) -> Result<Connection, Error>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let head = Awaited::default();
        let io = TokioIo::new(Cleaned::new(stream, head.clone()));
        let mut builder = http1::Builder::new();
        builder.preserve_header_case(true).ignore_invalid_headers_in_responses(true).max_buf_size(1 << 20);
        let (sender, connection) = builder.handshake(io).await.map_err(|e| self.broken(e))?;
        tokio::task::spawn_local(async move {
            // Its end is seen by whoever holds the sender.
            let _ = connection.await;
        });
        Ok(Connection { sender, head })
    }

    fn name(&self) -> String {
        format!("{}:{}", self.0.endpoint.host, self.0.endpoint.port)
    }

    fn fault(&self, kind: Kind, what: &str) -> Error {
        Error::new(kind, self.0.side, what)
    }

    fn broken(&self, cause: hyper::Error) -> Error {
        self.fault(Kind::Connect, &format!("the connection to {} broke", self.name())).because(cause).retryable()
    }
}

/// A turn and an open connection, for one request.
pub struct Ready {
    client: Client,
    connection: Connection,
    permit: tokio::sync::OwnedSemaphorePermit,
}

impl fmt::Debug for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Ready").field(&self.client).finish()
    }
}

impl Ready {
    /// Sends the request and waits for the head of the answer.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn send(self, request: Request<RequestBody>) -> Result<Response<Answer>, Failure> {
        let Self { client, mut connection, permit } = self;
        let mut request = request;
        let mut opened_now = false;
        loop {
            let mut refused = match connection.send(request).await {
                Ok(response) => return Ok(client.answer(response, connection, permit)),
                Err(refused) => refused,
            };
            let unsent = refused.take_message();
            let error = client.broken(refused.into_error());
            request = match unsent {
                None => return Err(Failure::Unknown(error)),
                Some(_) if opened_now => return Err(Failure::NotSent(error)),
                Some(unsent) => unsent,
            };
            connection = match client.take_idle() {
                Some(kept) => kept,
                None => {
                    opened_now = true;
                    client.connect(None).await.map_err(Failure::NotSent)?
                }
            };
        }
    }
}

struct Held {
    pool: Rc<Inner>,
    connection: Connection,
    _permit: tokio::sync::OwnedSemaphorePermit,
}

/// The body of an answer; its connection goes back to the pool when the last byte was read.
pub struct Answer {
    body: Incoming,
    held: Option<Held>,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Answer")
    }
}

impl Answer {
    fn finish(&mut self) {
        let Some(held) = self.held.take() else { return };
        let Held { pool, mut connection, _permit: permit } = held;
        if connection.sender.is_ready() {
            pool.idle.borrow_mut().push(IdleConnection { connection, since: tokio::time::Instant::now() });
            return;
        }
        // hyper declares the connection ready one turn after the last byte; a closed one never becomes ready.
        tokio::task::spawn_local(async move {
            let waited = timeout(Duration::from_millis(100), ReadyFor(&mut connection.sender)).await;
            if matches!(waited, Ok(Ok(()))) {
                pool.idle.borrow_mut().push(IdleConnection { connection, since: tokio::time::Instant::now() });
            }
            drop(permit);
        });
    }
}

struct ReadyFor<'a>(&'a mut SendRequest<RequestBody>);

impl Future for ReadyFor<'_> {
    type Output = hyper::Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll_ready(cx)
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            None => self.finish(),
            Some(Ok(_)) if self.body.is_end_stream() => self.finish(),
            // A broken connection must not be used again.
            Some(Err(_)) => self.held = None,
            Some(Ok(_)) => {}
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::{BodyExt, Full};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    fn client(port: u16) -> Client {
        let endpoint = Endpoint {
            host: "127.0.0.1".into(),
            port,
            tls: None,
            connect_timeout: Duration::from_secs(2),
            connections_max: 4,
            turn_max: Duration::from_secs(2),
            idle_max: Duration::from_secs(60),
        };
        Client::new(endpoint, Side::Source)
    }

    fn request() -> Request<RequestBody> {
        let body = Full::new(Bytes::from_static(b"m v=1")).map_err(|e| match e {}).boxed_unsync();
        Request::post("/write?db=d").header("Host", "x").body(body).unwrap()
    }

    fn run<F: Future>(future: F) -> F::Output {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, future)
    }

    /// Answers `per_connection` requests on each connection, then closes it.
    async fn server(per_connection: usize) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::task::spawn_local(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                for _ in 0..per_connection {
                    let mut buffer = [0; 4096];
                    let mut got = 0;
                    while !buffer[..got].ends_with(b"m v=1") {
                        match stream.read(&mut buffer[got..]).await {
                            Ok(n) if n > 0 => got += n,
                            _ => return,
                        }
                    }
                    let answer = b"HTTP/1.1 204 No Content\r\nX-INFLUX: Yes\r\n\r\n";
                    stream.write_all(answer).await.unwrap();
                }
            }
        });
        port
    }

    #[test]
    fn a_connection_is_used_again() {
        run(async {
            let client = client(server(usize::MAX).await);
            for _ in 0..5 {
                let response = client.send(request()).await.unwrap();
                assert_eq!(response.status(), 204);
                response.into_body().collect().await.unwrap();
                tokio::task::yield_now().await;
            }
            assert_eq!(client.opened(), 1);
        });
    }

    #[test]
    fn a_connection_that_the_server_closed_is_replaced_without_an_error() {
        run(async {
            let client = client(server(1).await);
            for _ in 0..3 {
                let response = client.send(request()).await.unwrap();
                response.into_body().collect().await.unwrap();
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            assert_eq!(client.opened(), 3);
        });
    }

    #[test]
    fn a_request_that_never_gets_its_turn_was_not_sent() {
        run(async {
            let endpoint = Endpoint {
                connections_max: 1,
                turn_max: Duration::from_millis(50),
                ..client(server(usize::MAX).await).0.endpoint.clone()
            };
            let client = Client::new(endpoint, Side::Source);
            let held = client.ready().await.unwrap();
            let Err(Failure::NotSent(error)) = client.send(request()).await else { panic!("it had no turn") };
            assert_eq!(error.kind(), Kind::Limit);
            assert_eq!(held.send(request()).await.unwrap().status(), 204);
        });
    }

    #[test]
    fn refused_is_not_sent_and_a_cut_answer_is_unknown() {
        run(async {
            let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = free.local_addr().unwrap().port();
            let cutter = tokio::task::spawn_local(async move {
                let (mut stream, _) = free.accept().await.unwrap();
                let _ = stream.read(&mut [0; 10]).await;
            });
            assert!(matches!(client(port).send(request()).await, Err(Failure::Unknown(_))));
            cutter.await.unwrap();
            assert!(matches!(client(port).send(request()).await, Err(Failure::NotSent(_))));
        });
    }
}
