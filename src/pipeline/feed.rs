//! The body of a request that is sent while it still comes.
//!
//! Promise: it ends well only when its end was fed. When the feeder goes away before that, the request breaks off, and the
//! far end cannot take what it has for the whole. Held between the two: one part.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::sync::mpsc;

use crate::db::client::BodyError;

/// What is fed.
enum Part {
    Bytes(Bytes),
    End,
}

/// The body has no reader any more: all of the length that it declared was read, or its connection is gone.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unread;

/// Feeds a body.
pub(super) struct Feeder {
    parts: mpsc::Sender<Part>,
    fed_bytes: u64,
    /// How long the whole is, once its last part is known.
    whole_bytes: Option<u64>,
    read_bytes: Arc<AtomicU64>,
}

/// A body that is fed.
pub(super) struct Fed {
    parts: mpsc::Receiver<Part>,
    ended: bool,
    read_bytes: Arc<AtomicU64>,
}

/// A feeder and its body.
pub(super) fn fed() -> (Feeder, Fed) {
    let (sender, receiver) = mpsc::channel(1);
    let read_bytes = Arc::new(AtomicU64::new(0));
    let feeder = Feeder { parts: sender, fed_bytes: 0, whole_bytes: None, read_bytes: Arc::clone(&read_bytes) };
    (feeder, Fed { parts: receiver, ended: false, read_bytes })
}

impl Feeder {
    /// So many bytes are still to be fed, and no others.
    pub(super) fn remain(&mut self, bytes: u64) {
        self.whole_bytes = Some(self.fed_bytes + bytes);
    }

    /// Waits until there is room for more. Bytes whose feeding is given up count as fed.
    pub(super) async fn feed(&mut self, bytes: Bytes) -> Result<(), Unread> {
        self.fed_bytes += bytes.len() as u64;
        self.parts.send(Part::Bytes(bytes)).await.map_err(|_| Unread)
    }

    /// Nothing more comes.
    pub(super) async fn end(&mut self) -> Result<(), Unread> {
        self.parts.send(Part::End).await.map_err(|_| Unread)
    }

    /// Whether the connection has taken every byte of it.
    pub(super) fn is_whole(&self) -> bool {
        self.whole_bytes == Some(self.read_bytes.load(Ordering::Acquire))
    }
}

impl Body for Fed {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let Poll::Ready(part) = self.parts.poll_recv(cx) else { return Poll::Pending };
        Poll::Ready(match part {
            Some(Part::Bytes(bytes)) => {
                self.read_bytes.fetch_add(bytes.len() as u64, Ordering::Release);
                Some(Ok(Frame::data(bytes)))
            }
            Some(Part::End) => {
                self.ended = true;
                None
            }
            None => Some(Err("the body broke off".into())),
        })
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn a_body_ends_well_only_when_its_end_was_fed() {
        let (mut feeder, mut body) = fed();
        feeder.feed(Bytes::from_static(b"m v=1\n")).await.unwrap();
        assert!(!feeder.is_whole(), "nobody has read it");
        assert!(body.frame().await.unwrap().unwrap().is_data());
        assert!(!feeder.is_whole(), "more may come");
        feeder.remain(5);
        feeder.feed(Bytes::from_static(b"m v=2")).await.unwrap();
        assert!(!feeder.is_whole(), "nobody has read the rest");
        assert!(body.frame().await.unwrap().unwrap().is_data() && feeder.is_whole());
        feeder.end().await.unwrap();
        assert!(body.frame().await.is_none() && feeder.is_whole());

        let (mut feeder, mut body) = fed();
        feeder.feed(Bytes::from_static(b"m v=1\n")).await.unwrap();
        drop(feeder);
        assert!(body.frame().await.unwrap().is_ok());
        assert!(body.frame().await.unwrap().is_err(), "its feeder has gone without an end");
    }

    #[tokio::test]
    async fn what_no_connection_took_is_not_whole() {
        let (mut feeder, body) = fed();
        feeder.remain(6);
        feeder.feed(Bytes::from_static(b"m v=1\n")).await.unwrap();
        drop(body);
        assert_eq!(feeder.end().await, Err(Unread));
        assert!(!feeder.is_whole());
    }
}
