//! A client's connection, made fit for hyper: what the servers take and hyper refuses.
//!
//! Promises: bytes of a request target that stand there unescaped (`"`, `<`, `>`, …) are escaped, which every server reads
//! alike; nothing else is changed. What hyper refuses by itself (garbage, a head that is too large) is answered as the servers
//! do it: with a text that says so. A client that closes its half after its request still hears the answer: a write whenever
//! it comes, anything else for [`GONE_WAIT`] (then the client counts as gone, and its query ends at the source). A head that
//! was begun is here within [`HEAD_WAIT`], or the connection is closed without a word, as InfluxDB 2.x does.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::Request;
use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::framing::Framing;
use super::limiter::{Account, Over};
use crate::db::client::BodyError;
use crate::pipeline::{BeforeAnyHandler, Reply, ReplyBody};

/// A client that closed its half hears the answer to a query that takes no longer than this.
const GONE_WAIT: Duration = Duration::from_secs(3);

/// Between the first byte of a head and its last. InfluxDB 2.x gives 10 s, 1.x any time; a connection that is idle between two
/// requests may stay for `idle_timeout`.
pub(super) const HEAD_WAIT: Duration = Duration::from_secs(30);

/// What is being answered on a connection.
#[derive(Debug, Default)]
pub(super) struct Answering {
    others: Cell<u32>,
    writes: Cell<u32>,
    /// The answer to come is written as HTTP/1.1 whatever the client speaks.
    as_newest: Cell<bool>,
    /// Of a client whose requests are limited.
    account: Option<Account>,
}

/// One request under way.
#[derive(Debug)]
pub(super) struct UnderWay {
    answering: Rc<Answering>,
    write: bool,
}

impl Answering {
    /// On a connection of a client with limits, or without.
    pub(super) fn of(account: Option<Account>) -> Self {
        Self { account, ..Self::default() }
    }

    /// Whether a request may be done. Whether the server lives may be asked at any time.
    pub(super) fn admit<B>(&self, request: &Request<B>) -> Result<(), Over> {
        let is_question = matches!(request.uri().path(), "/ping" | "/health" | "/ready");
        match &self.account {
            Some(account) if !is_question => account.admit(),
            _ => Ok(()),
        }
    }

    /// Counts a request until the guard is dropped.
    pub(super) fn begin(self: &Rc<Self>, write: bool) -> UnderWay {
        let guard = UnderWay { answering: Rc::clone(self), write };
        guard.count().set(guard.count().get() + 1);
        guard
    }
}

impl UnderWay {
    fn count(&self) -> &Cell<u32> {
        if self.write { &self.answering.writes } else { &self.answering.others }
    }

    /// The answer to it. It is under way until its last byte: the client may close its half while it is written.
    pub(super) fn answered(self, reply: Reply) -> Reply {
        if reply.extensions().get::<BeforeAnyHandler>().is_some() {
            self.answering.as_newest.set(true);
        }
        reply.map(|body| -> ReplyBody { Box::pin(Guarded { body, _guard: self }) })
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.count().set(self.count().get().saturating_sub(1));
    }
}

struct Guarded {
    body: ReplyBody,
    _guard: UnderWay,
}

impl Body for Guarded {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.body.as_mut().poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The connection.
#[derive(Debug)]
pub(super) struct Wire<S> {
    stream: S,
    framing: Framing,
    /// Escaped already, and not yet taken.
    pending: Bytes,
    answering: Rc<Answering>,
    half_closed: Option<Pin<Box<Sleep>>>,
    head_wait: Duration,
    /// Runs while a head is here in part: nearly all heads come whole.
    head_late: Option<Pin<Box<Sleep>>>,
    /// What is said in place of hyper's own answer, as far as it is not written.
    instead: &'static [u8],
    /// The same for the version in the status line, which has the same length.
    version: &'static [u8],
}

/// The servers' answer to a transfer coding that they do not know; hyper takes it for a bad request.
const UNKNOWN_CODING: &[u8] = b"HTTP/1.1 501 Not Implemented\r\nContent-Type: text/plain; charset=utf-8\r\n\
    Connection: close\r\n\r\nUnsupported transfer encoding";
/// How an answer to a client of HTTP/1.0 begins, and how one that the servers give before any handler does.
const VERSIONS: (&[u8], &[u8]) = (b"HTTP/1.0 ", b"HTTP/1.1 ");

/// Answers that hyper gives without asking us, and what the servers say there.
const REFUSALS: [(&[u8], &[u8]); 3] = [
    (
        b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n400 Bad Request",
    ),
    (
        b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Type: text/plain; charset=utf-8\r\n\
          Connection: close\r\n\r\n431 Request Header Fields Too Large",
    ),
    (
        b"HTTP/1.1 414 URI Too Long\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 414 URI Too Long\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n\
          414 URI Too Long: a request target may have 65,534 bytes; send long queries in the body of a POST",
    ),
];

impl<S> Wire<S> {
    /// `head_wait`: [`HEAD_WAIT`], or less where `idle_timeout` is shorter.
    pub(super) fn new(stream: S, answering: Rc<Answering>, head_wait: Duration) -> Self {
        let (framing, pending) = (Framing::new(), Bytes::new());
        Self {
            stream,
            framing,
            pending,
            answering,
            half_closed: None,
            head_wait,
            head_late: None,
            instead: b"",
            version: b"",
        }
    }

    /// Ends a connection whose head does not come; to be asked when nothing came.
    fn poll_head_late(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let late = self.head_late.get_or_insert_with(|| Box::pin(tokio::time::sleep(self.head_wait)));
        ready!(late.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the head of a request did not come whole")))
    }

    /// What is said instead of an answer of hyper's own.
    fn refusal(&self, answer: &[u8]) -> Option<&'static [u8]> {
        // Nearly every answer is a success.
        let error = answer.get(9) == Some(&b'4');
        let at = error.then(|| REFUSALS.iter().position(|(own, _)| own.eq_ignore_ascii_case(answer)))??;
        // The first one is for what is no request.
        Some(if at == 0 && self.framing.has_unknown_coding() { UNKNOWN_CODING } else { REFUSALS[at].1 })
    }

    /// Whether this is written as another version of HTTP.
    fn is_of_another_version(&self, answer: &[u8]) -> bool {
        !self.version.is_empty() || self.answering.as_newest.get() && answer.starts_with(VERSIONS.0)
    }

    fn take_pending(&mut self, buf: &mut ReadBuf<'_>) {
        let bytes = self.pending.len().min(buf.remaining());
        buf.put_slice(&self.pending[..bytes]);
        self.pending.advance(bytes);
    }

    /// Follows what came from `from` on, and escapes what must be.
    fn follow(&mut self, buf: &mut ReadBuf<'_>, from: usize) {
        let came = &buf.filled()[from..];
        let plain = self.framing.follow(came);
        if plain == came.len() {
            return;
        }
        let mut escaped = Vec::with_capacity(came.len() * 2);
        let mut rest = &came[plain..];
        while let Some((odd, behind)) = rest.split_first() {
            escaped.extend_from_slice(format!("%{odd:02X}").as_bytes());
            let plain = self.framing.follow(behind);
            escaped.extend_from_slice(&behind[..plain]);
            rest = &behind[plain..];
        }
        buf.set_filled(from + plain);
        self.pending = escaped.into();
        self.take_pending(buf);
    }

    /// The end of what the client sends, told to hyper when nobody can wait for an answer any more.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (writes, others) = (self.answering.writes.get(), self.answering.others.get());
        if !self.framing.is_between() || writes + others == 0 {
            return Poll::Ready(Ok(()));
        }
        let gone = self.half_closed.get_or_insert_with(|| Box::pin(tokio::time::sleep(GONE_WAIT)));
        if writes == 0 {
            ready!(gone.as_mut().poll(cx));
            return Poll::Ready(Ok(()));
        }
        // A write ends by itself, and hyper asks again then.
        Poll::Pending
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Wire<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.pending.is_empty() {
            self.take_pending(buf);
            return Poll::Ready(Ok(()));
        }
        if self.half_closed.is_some() {
            return self.poll_end(cx);
        }
        let from = buf.filled().len();
        let room = buf.remaining();
        let is_new = self.framing.is_between() || self.framing.is_in_head();
        if Pin::new(&mut self.stream).poll_read(cx, buf)?.is_pending() {
            return if self.framing.is_in_head() { self.poll_head_late(cx) } else { Poll::Pending };
        }
        if buf.filled().len() == from && room > 0 {
            return self.poll_end(cx);
        }
        if let Some(account) = &self.answering.account {
            account.came(buf.filled().len() - from, is_new);
        }
        self.follow(buf, from);
        // From its first byte on: a head that comes byte by byte gets no more time than one that stops.
        if !self.framing.is_in_head() {
            self.head_late = None;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_of_another_version(buf) {
            if self.answering.as_newest.take() {
                self.version = VERSIONS.1;
            }
            let version = self.version;
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, version))?;
            self.version = version.get(written..).unwrap_or_default();
            return Poll::Ready(Ok(written));
        }
        if self.instead.is_empty() {
            match self.refusal(buf) {
                Some(instead) => self.instead = instead,
                None => return Pin::new(&mut self.stream).poll_write(cx, buf),
            }
        }
        while !self.instead.is_empty() {
            let instead = self.instead;
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, instead))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.instead = instead.get(written..).unwrap_or_default();
        }
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let first = bufs.first().map_or(&b""[..], |buf| buf);
        if !self.instead.is_empty() || self.refusal(first).is_some() || self.is_of_another_version(first) {
            return self.poll_write(cx, first);
        }
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    fn run<F: Future>(future: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
    }

    #[test]
    fn odd_targets_are_escaped_however_they_come() {
        let text: &[u8] = b"GET /q?q=\"a\"<\xff> HTTP/1.1\r\n\r\nPOST /w HTTP/1.1\r\nContent-Length: 3\r\n\r\n<\">";
        let wanted = "GET /q?q=%22a%22%3C%FF%3E HTTP/1.1\r\n\r\nPOST /w HTTP/1.1\r\nContent-Length: 3\r\n\r\n<\">";
        for buffer_bytes in [1, 2, 5, 4096] {
            let mut wire = Wire::new(text, Rc::default(), HEAD_WAIT);
            let mut read = Vec::new();
            run(async {
                let mut buffer = vec![0; buffer_bytes];
                loop {
                    let bytes = wire.read(&mut buffer).await.unwrap();
                    if bytes == 0 {
                        break;
                    }
                    read.extend_from_slice(&buffer[..bytes]);
                }
            });
            assert_eq!(String::from_utf8(read).unwrap(), wanted, "{buffer_bytes}");
        }
    }

    /// What a client reads when hyper writes `answer` after the client has sent `request`, a few bytes at a time.
    fn said(request: &[u8], answer: &'static [u8], before_any_handler: bool) -> String {
        run(async {
            let (mut client, server) = tokio::io::duplex(1 << 10);
            let answering = Rc::new(Answering::default());
            let mut wire = Wire::new(server, Rc::clone(&answering), HEAD_WAIT);
            tokio::io::AsyncWriteExt::write_all(&mut client, request).await.unwrap();
            wire.read_exact(&mut vec![0; request.len()]).await.unwrap();
            if before_any_handler {
                let mut reply = http::Response::new(crate::pipeline::whole(Bytes::new()));
                reply.extensions_mut().insert(BeforeAnyHandler);
                drop(answering.begin(true).answered(reply));
            }
            tokio::io::AsyncWriteExt::write_all(&mut wire, answer).await.unwrap();
            drop(wire);
            let mut read = String::new();
            client.read_to_string(&mut read).await.unwrap();
            read
        })
    }

    #[test]
    fn what_hyper_refuses_is_said_as_the_servers_say_it() {
        let refused = |request: &str| {
            let answer = said(request.as_bytes(), REFUSALS[0].0, false);
            (answer[..answer.find("\r\n").unwrap()].to_owned(), answer)
        };
        let gzip = "Transfer-Encoding: gzip\r\n";
        let (line, answer) = refused(&format!("POST /write HTTP/1.1\r\nHost: x\r\n{gzip}\r\n"));
        assert!(line == "HTTP/1.1 501 Not Implemented" && answer.ends_with("\r\n\r\nUnsupported transfer encoding"));
        for first in ["POST /w HTTP/1.0\r\n", "POST /w HTTP/1.1\r\nHost: x\r\nHost: x\r\n"] {
            assert_eq!(refused(&format!("{first}{gzip}\r\n")).0, "HTTP/1.1 400 Bad Request", "{first}");
        }
        assert_eq!(refused("GET / HTTP/1.1\r\nbad\r\n\r\n").0, "HTTP/1.1 400 Bad Request");
    }

    #[test]
    fn what_is_refused_before_any_handler_is_of_http_1_1() {
        let answer = b"HTTP/1.0 400 Bad Request\r\nConnection: close\r\n\r\nHTTP/1.0 ";
        let request = b"POST /write HTTP/1.0\r\nHost: a b\r\n\r\n";
        assert_eq!(
            said(request, answer, true).as_bytes(),
            b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\nHTTP/1.0 "
        );
        assert_eq!(said(request, answer, false).as_bytes(), answer);
    }

    #[test]
    fn the_end_waits_for_answers_but_not_for_ever() {
        /// Whether the end is told at once; asked again until it is when `patient`.
        async fn ends_at_once(write: Option<bool>, text: &'static [u8], patient: bool) -> bool {
            let answering = Rc::new(Answering::default());
            let guard = write.map(|write| answering.begin(write));
            let mut wire = Wire::new(text, Rc::clone(&answering), HEAD_WAIT);
            let mut read = Vec::new();
            let mut reading = std::pin::pin!(wire.read_to_end(&mut read));
            let at_once = reading.as_mut().poll(&mut Context::from_waker(std::task::Waker::noop())).is_ready();
            if patient {
                reading.await.unwrap();
            }
            drop(guard);
            at_once
        }

        run(async {
            let request: &[u8] = b"GET / HTTP/1.1\r\n\r\n";
            assert!(ends_at_once(None, request, false).await, "nobody waits");
            assert!(!ends_at_once(Some(false), request, true).await, "a query is answered, or given up");
            assert!(!ends_at_once(Some(true), request, false).await, "a write is answered");
            let half: &[u8] = b"POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\n";
            assert!(ends_at_once(Some(true), half, false).await, "a request that never comes whole is none");
        });
    }

    #[test]
    fn an_answer_that_is_being_written_when_the_client_closes_its_half_goes_on() {
        run(async {
            let answering = Rc::new(Answering::default());
            let reply = answering.begin(false).answered(http::Response::new(crate::pipeline::whole(Bytes::from("x"))));
            let mut wire = Wire::new(&b"GET / HTTP/1.1\r\n\r\n"[..], Rc::clone(&answering), HEAD_WAIT);
            let mut read = Vec::new();
            let mut reading = std::pin::pin!(wire.read_to_end(&mut read));
            let mut poll = || reading.as_mut().poll(&mut Context::from_waker(std::task::Waker::noop()));
            assert!(poll().is_pending(), "its last byte is not written");
            drop(reply);
            assert!(poll().is_ready());
        });
    }

    #[test]
    fn a_head_that_does_not_come_whole_ends_the_connection() {
        async fn read(parts: &[&[u8]]) -> io::Result<()> {
            let (client, server) = tokio::io::duplex(1 << 10);
            let mut wire = Wire::new(server, Rc::default(), Duration::from_millis(20));
            let mut client = client;
            let mut buffer = [0; 256];
            for part in parts {
                tokio::io::AsyncWriteExt::write_all(&mut client, part).await?;
                assert_eq!(wire.read(&mut buffer).await?, part.len());
            }
            // Nothing more comes; the wait here is longer than that for a head.
            let more = tokio::time::timeout(Duration::from_secs(5), wire.read(&mut buffer)).await;
            more.map_or(Ok(()), |read| read.map(drop))
        }

        run(async {
            let late = read(&[b"POST /write HTTP/1.1\r\nX: "]).await.unwrap_err();
            assert_eq!(late.kind(), io::ErrorKind::TimedOut);
            let drop_by_drop: [&[u8]; 3] = [b"GET / HTTP/1.1\r\n", b"A: b\r\n", b"C"];
            assert_eq!(read(&drop_by_drop).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        });
        let waits = |parts: &'static [&'static [u8]]| {
            run(async { tokio::time::timeout(Duration::from_millis(200), read(parts)).await.is_err() })
        };
        assert!(waits(&[b"GET / HTTP/1.1\r\n", b"\r\n"]), "between two requests `idle_timeout` counts");
        assert!(waits(&[b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nab"]), "a body has its own time");
    }
}
