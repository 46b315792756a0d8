//! The beginning of a request's body, held so that it can be looked at, and the body again, as if nobody had.
//!
//! Promise: what is held is bounded, and counted in the budget of all bodies; whatever ends the looking (too much, no room, a client
//! that falls silent or breaks off), the source gets the same bytes and the same break.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::timeout;

use crate::db::client::BodyError;
use crate::pipeline::{LARGE_BYTES, Room};

/// A client that sends nothing for so long is not waited for before the source hears of it.
const FRAME_WAIT: Duration = Duration::from_secs(30);

/// A body that was looked at.
pub(super) struct Gathered {
    /// What was read of it.
    pub(super) first: Bytes,
    /// Whether that is all.
    pub(super) whole: bool,
    broken: Option<hyper::Error>,
    rest: Incoming,
    declared: Option<u64>,
    room: Room,
}

/// Reads a body up to the bound of what is held whole.
pub(super) async fn gather(mut rest: Incoming, mut room: Room) -> Gathered {
    let declared = rest.size_hint().exact();
    let mut held = BytesMut::new();
    let (mut whole, mut broken) = (rest.is_end_stream(), None);
    while !whole && held.len() <= LARGE_BYTES {
        match timeout(FRAME_WAIT, rest.frame()).await {
            Err(_) => break,
            Ok(None) => whole = true,
            Ok(Some(Err(error))) => {
                broken = Some(error);
                break;
            }
            Ok(Some(Ok(frame))) => {
                let Ok(data) = frame.into_data() else { continue };
                let fits = room.grow(data.len()).await.is_ok();
                held.extend_from_slice(&data);
                whole = rest.is_end_stream();
                if !fits {
                    break;
                }
            }
        }
    }
    Gathered { first: held.freeze(), whole, broken, rest, declared, room }
}

impl Gathered {
    /// The body as the source gets it.
    pub(super) fn body(self) -> Again {
        let Self { first, whole, broken, rest, declared, room } = self;
        let first = Some(first).filter(|first| !first.is_empty());
        Again { first, broken, rest: (!whole).then_some(rest), left: declared, _room: room }
    }
}

/// A body whose beginning was read before.
pub(super) struct Again {
    first: Option<Bytes>,
    broken: Option<hyper::Error>,
    rest: Option<Incoming>,
    /// Bytes that are still to come, where that was declared.
    left: Option<u64>,
    _room: Room,
}

impl Body for Again {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = if let Some(first) = self.first.take() {
            Frame::data(first)
        } else if let Some(error) = self.broken.take() {
            self.rest = None;
            return Poll::Ready(Some(Err(error.into())));
        } else if let Some(rest) = &mut self.rest {
            match std::task::ready!(Pin::new(rest).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                other => return Poll::Ready(other.map(|frame| frame.map_err(Into::into))),
            }
        } else {
            return Poll::Ready(None);
        };
        let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
        self.left = self.left.map(|left| left.saturating_sub(bytes));
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.broken.is_none() && self.rest.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
