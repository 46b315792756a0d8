//! A request whose body breaks: how a source answers it.
//!
//! Promise: the source gets the head of the request and, in place of the body, what breaks it in the same way, but no byte of
//! the body. So it answers as it would have answered, and there is nothing that it could store.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How a body breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Break {
    /// It is held back: for now nothing of it comes.
    Held,
    /// It ends before its end.
    Ends,
    /// A chunk's length is no number, or nothing at all.
    Size,
    /// A chunk's length is beyond 64 bits.
    SizeTooLarge,
    /// A chunk is longer than it says.
    ChunkEnd,
}

impl Break {
    /// What a reader of the body found.
    #[must_use]
    pub fn found(error: &(dyn std::error::Error + 'static)) -> Self {
        let mut cause = Some(error);
        while let Some(error) = cause {
            if let Some(io) = error.downcast_ref::<io::Error>() {
                return Self::of(io.kind(), &io.to_string());
            }
            cause = error.source();
        }
        Self::Ends
    }

    /// By the words of hyper's decoder, where there are several kinds.
    fn of(kind: io::ErrorKind, text: &str) -> Self {
        match kind {
            _ if text.ends_with("size: overflow") => Self::SizeTooLarge,
            _ if text.contains("chunk body") => Self::ChunkEnd,
            io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => Self::Size,
            _ => Self::Ends,
        }
    }

    /// For people, and the label of a metric.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Ends => "ends",
            _ => "framing",
        }
    }

    /// What is sent behind the head; then nothing more.
    fn tail(self) -> &'static [u8] {
        match self {
            Self::Held | Self::Ends => b"",
            Self::Size => b"g\r\n",
            Self::SizeTooLarge => b"fffffffffffffffff\r\n",
            // A comment at most.
            Self::ChunkEnd => b"1\r\n#g\r\n",
        }
    }
}

/// A connection over which one request goes, whose body never comes.
#[derive(Debug)]
pub(super) struct Breaking<S> {
    stream: S,
    began: bool,
    tail: &'static [u8],
    ends: bool,
    ended: bool,
}

impl<S> Breaking<S> {
    pub(super) fn new(stream: S, breaks: Break) -> Self {
        Self { stream, began: false, tail: breaks.tail(), ends: breaks == Break::Ends, ended: false }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Breaking<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Breaking<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.began |= !buf.is_empty();
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    /// The head is out: the break follows.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        while this.began && !this.tail.is_empty() {
            let written = ready!(Pin::new(&mut this.stream).poll_write(cx, this.tail))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            this.tail = this.tail.get(written..).unwrap_or_default();
        }
        ready!(Pin::new(&mut this.stream).poll_flush(cx))?;
        // A client that breaks the framing has not gone: it hears the answer.
        if this.began && this.ends && !this.ended {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
            this.ended = true;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn the_break_follows_the_head_once() {
        let (near, mut far) = tokio::io::duplex(1 << 10);
        let mut breaking = Breaking::new(near, Break::Size);
        breaking.flush().await.unwrap();
        breaking.write_all(b"head").await.unwrap();
        breaking.flush().await.unwrap();
        breaking.flush().await.unwrap();
        drop(breaking);
        let mut came = String::new();
        far.read_to_string(&mut came).await.unwrap();
        assert_eq!(came, "headg\r\n");
    }

    #[tokio::test]
    async fn a_body_that_ends_closes_its_half_behind_the_head() {
        let (near, mut far) = tokio::io::duplex(1 << 10);
        let mut breaking = Breaking::new(near, Break::Ends);
        breaking.write_all(b"head").await.unwrap();
        breaking.flush().await.unwrap();
        let mut came = String::new();
        far.read_to_string(&mut came).await.unwrap();
        assert_eq!(came, "head");
        far.write_all(b"answer").await.unwrap();
        drop(far);
        came.clear();
        breaking.read_to_string(&mut came).await.unwrap();
        assert_eq!(came, "answer", "the other half stays open");
    }

    #[test]
    fn breaks_are_told_apart_by_what_the_reader_found() {
        let found = |kind, text: &'static str| Break::found(&io::Error::new(kind, text));
        let (input, data) = (io::ErrorKind::InvalidInput, io::ErrorKind::InvalidData);
        assert_eq!(found(io::ErrorKind::UnexpectedEof, "unexpected EOF during chunk size line"), Break::Ends);
        assert_eq!(found(input, "Invalid chunk size line: Invalid Size"), Break::Size);
        assert_eq!(found(input, "Invalid chunk size line: missing size digit"), Break::Size);
        assert_eq!(found(data, "invalid chunk size: overflow"), Break::SizeTooLarge);
        assert_eq!(found(input, "Invalid chunk body CR"), Break::ChunkEnd);
        assert_eq!(Break::found(&std::fmt::Error), Break::Ends);
    }
}
