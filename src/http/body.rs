//! Reads a write's body whole, within two bounds: its own size, and what all bodies together may take. What is large is left to
//! be read in pieces.
//!
//! Promise: a client takes room for what it has sent, not for what it has announced, and not for longer than
//! [`FRAME_WAIT`] without sending more, nor for longer than [`BODY_WAIT`] altogether.

use std::time::Duration;

use bytes::Bytes;
use http_body::Body;
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout_at};

use crate::db::broken::Break;
use crate::pipeline::{LARGE_BYTES, NoRoom, Room};

/// A client that sends nothing for so long in the middle of a body has broken off.
const FRAME_WAIT: Duration = Duration::from_secs(30);
/// A body that is not large is here by then.
const BODY_WAIT: Duration = Duration::from_secs(300);
/// Memory asked for at most on a client's word alone.
const TRUSTED_BYTES: usize = 1 << 20;

/// What was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// All of it.
    Whole(Bytes),
    /// Its beginning, perhaps nothing: it is, or says that it is, larger than [`LARGE_BYTES`].
    Begun(Bytes),
}

/// Why there is none.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unread {
    TooLarge,
    NoRoom,
    /// The client sends too slowly.
    Late,
    /// The client sends nothing more, or nothing that makes sense.
    Broken(Break),
}

impl From<NoRoom> for Unread {
    fn from(_: NoRoom) -> Self {
        Self::NoRoom
    }
}

pub(super) async fn read<B>(body: &mut B, bytes_max: usize, room: &mut Room) -> Result<Read, Unread>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::error::Error + 'static,
{
    let declared = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if declared > bytes_max {
        return Err(Unread::TooLarge);
    }
    if declared > LARGE_BYTES {
        return Ok(Read::Begun(Bytes::new()));
    }
    let mut first = Bytes::new();
    let mut rest = Vec::new();
    let until = Instant::now() + BODY_WAIT;
    loop {
        let frame = timeout_at(until.min(Instant::now() + FRAME_WAIT), body.frame()).await;
        let Some(frame) = frame.map_err(|_| Unread::Late)? else { break };
        let Ok(data) = frame.map_err(|error| Unread::Broken(Break::found(&error)))?.into_data() else { continue };
        let before = first.len() + rest.len();
        if data.len() > bytes_max.saturating_sub(before) {
            return Err(Unread::TooLarge);
        }
        room.grow(data.len()).await?;
        // A body that comes in one piece is not copied.
        if before == 0 {
            first = data;
            continue;
        }
        if rest.is_empty() {
            rest.reserve_exact(declared.min(TRUSTED_BYTES).max(before + data.len()));
            rest.extend_from_slice(&std::mem::take(&mut first));
        }
        rest.extend_from_slice(&data);
        if rest.len() > LARGE_BYTES {
            return Ok(Read::Begun(Bytes::from(rest)));
        }
    }
    Ok(Read::Whole(if rest.is_empty() { first } else { Bytes::from(rest) }))
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use http_body::{Frame, SizeHint};

    use super::*;
    use crate::pipeline::Budget;

    /// Sends its frames, then nothing more, neither an end nor an error, when more was declared.
    struct Sent {
        declared: u64,
        frames: VecDeque<&'static [u8]>,
    }

    impl Body for Sent {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            match self.frames.pop_front() {
                Some(data) => {
                    self.declared -= data.len() as u64;
                    Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(data)))))
                }
                None if self.declared == 0 => Poll::Ready(None),
                None => Poll::Pending,
            }
        }

        fn size_hint(&self) -> SizeHint {
            SizeHint::with_exact(self.declared)
        }
    }

    fn sent(declared: u64, frames: &[&'static [u8]]) -> Sent {
        Sent { declared, frames: frames.iter().copied().collect() }
    }

    fn run<F: Future>(future: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
    }

    #[test]
    fn a_silent_client_holds_no_room_for_what_it_announced() {
        run(async {
            let budget = Budget::new(64 << 10, Duration::ZERO);
            let mut silent = budget.room();
            let mut announced = sent(64 << 10, &[b"m v=1"]);
            let mut waiting = Box::pin(read(&mut announced, 64 << 10, &mut silent));
            let mut context = Context::from_waker(std::task::Waker::noop());
            assert!(waiting.as_mut().poll(&mut context).is_pending());
            let mut other = budget.room();
            let body = read(&mut sent(10, &[b"m v=1", b"\nm v="]), 64 << 10, &mut other).await;
            assert_eq!(body, Ok(Read::Whole(Bytes::from_static(b"m v=1\nm v="))));
            assert_eq!(budget.free_bytes(), 62 << 10);
        });
    }

    #[test]
    fn too_much_is_refused_before_it_is_read() {
        run(async {
            let budget = Budget::new(64 << 10, Duration::ZERO);
            let mut room = budget.room();
            assert_eq!(read(&mut sent(11, &[]), 10, &mut room).await, Err(Unread::TooLarge));
            assert_eq!(
                read(&mut sent(10, &[b"0123456789"]), 10, &mut room).await,
                Ok(Read::Whole(Bytes::from_static(b"0123456789")))
            );
            let small = Budget::new(1 << 10, Duration::ZERO);
            let (mut one, mut other) = (small.room(), small.room());
            assert!(read(&mut sent(5, &[b"m v=1"]), 10, &mut one).await.is_ok());
            assert_eq!(read(&mut sent(5, &[b"m v=1"]), 10, &mut other).await, Err(Unread::NoRoom));
        });
    }
}
