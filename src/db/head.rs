//! Heads of answers as hyper can read them.
//!
//! InfluxDB 1.x quotes a line that it refuses in `X-Influxdb-Error`, byte for byte. Control characters make hyper pass over
//! that header; a NUL makes it give up the whole answer, and the client would hear of a lost source, and come again for
//! ever, where it should hear 400. Promise: a control character in a head becomes a space, as the servers themselves do
//! with line ends there; bodies are never touched.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Where in a head the next byte stands.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    /// Bytes of the head so far.
    at: usize,
    /// Bytes of the line so far, its end not counted.
    line: usize,
    /// It is an interim answer (1xx): another head follows.
    interim: bool,
}

/// Says that a head comes next. Set with each request; one request at a time is under way.
#[derive(Clone, Debug, Default)]
pub(super) struct Awaited(Rc<Cell<Option<Place>>>);

impl Awaited {
    pub(super) fn expect(&self) {
        self.0.set(Some(Place::default()));
    }

    fn clean(&self, bytes: &mut [u8]) {
        let Some(mut place) = self.0.get() else { return };
        for byte in bytes {
            // `HTTP/1.1 100`
            place.interim |= place.at == 9 && *byte == b'1';
            place.at += 1;
            match *byte {
                b'\n' if place.line == 0 && !place.interim => return self.0.set(None),
                b'\n' if place.line == 0 => place = Place::default(),
                b'\n' => place.line = 0,
                b'\r' => {}
                _ => {
                    if byte.is_ascii_control() && *byte != b'\t' {
                        *byte = b' ';
                    }
                    place.line += 1;
                }
            }
        }
        self.0.set(Some(place));
    }
}

/// A connection whose heads are cleaned.
#[derive(Debug)]
pub(super) struct Cleaned<S> {
    stream: S,
    awaited: Awaited,
}

impl<S> Cleaned<S> {
    pub(super) fn new(stream: S, awaited: Awaited) -> Self {
        Self { stream, awaited }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Cleaned<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        self.awaited.clean(&mut buf.filled_mut()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Cleaned<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
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
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cleaned(text: &[u8], piece_bytes: usize) -> Vec<u8> {
        let awaited = Awaited::default();
        awaited.expect();
        let mut bytes = text.to_vec();
        bytes.chunks_mut(piece_bytes).for_each(|piece| awaited.clean(piece));
        bytes
    }

    #[test]
    fn control_characters_in_a_head_are_spaces_and_a_body_stays_as_it_is() {
        let text = b"HTTP/1.1 400 Bad\r\nX-Error: a\0b\x1f\x7f\tc\xff\r\nY: \0\r\n\r\n\0body\x01\r\n\r\n\0";
        let wanted = b"HTTP/1.1 400 Bad\r\nX-Error: a b  \tc\xff\r\nY:  \r\n\r\n\0body\x01\r\n\r\n\0";
        for piece_bytes in [1, 2, 7, 1000] {
            assert_eq!(cleaned(text, piece_bytes), wanted);
        }
    }

    #[test]
    fn the_head_behind_an_interim_answer_is_a_head_too() {
        let text = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 \0\r\n\r\n\0";
        assert_eq!(cleaned(text, 3), b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204  \r\n\r\n\0");
    }

    #[test]
    fn without_a_request_nothing_is_a_head() {
        let mut bytes = b"\0".to_vec();
        Awaited::default().clean(&mut bytes);
        assert_eq!(bytes, b"\0");
    }
}
