//! Reads a write's body whole, within two bounds: its own size, and what all bodies together may take.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use http_body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::edge::UNIT_BYTES;
use crate::db::precision::Api;
use crate::pipeline::{Reply, whole};

/// A body that was read.
pub(super) struct ReadBody {
    pub(super) bytes: Bytes,
    /// Its share of what may be in flight.
    pub(super) room: Option<OwnedSemaphorePermit>,
}

/// Why there is none.
#[derive(Debug)]
pub(super) enum Unread {
    TooLarge,
    NoRoom,
    Broken,
}

pub(super) async fn read(
    mut body: Incoming,
    bytes_max: usize,
    room: Arc<Semaphore>,
    wait: Duration,
) -> Result<ReadBody, Unread> {
    let declared = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if declared > bytes_max {
        return Err(Unread::TooLarge);
    }
    let mut taken: Option<OwnedSemaphorePermit> = None;
    take(&room, &mut taken, declared, wait).await?;
    let mut first: Option<Bytes> = None;
    let mut rest = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Unread::Broken)?.into_data() else { continue };
        let length = first.as_ref().map_or(0, Bytes::len) + rest.len() + data.len();
        if length > bytes_max {
            return Err(Unread::TooLarge);
        }
        take(&room, &mut taken, length, wait).await?;
        // A body that comes in one piece is not copied.
        match &first {
            None => first = Some(data),
            Some(begin) => {
                if rest.is_empty() {
                    rest.reserve(declared.max(begin.len() + data.len()));
                    rest.extend_from_slice(begin);
                    first = Some(Bytes::new());
                }
                rest.extend_from_slice(&data);
            }
        }
    }
    let bytes = if rest.is_empty() { first.unwrap_or_default() } else { rest.freeze() };
    Ok(ReadBody { bytes, room: taken })
}

/// Brings the share to `bytes`.
async fn take(
    room: &Arc<Semaphore>,
    taken: &mut Option<OwnedSemaphorePermit>,
    bytes: usize,
    wait: Duration,
) -> Result<(), Unread> {
    let have = taken.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
    let more = bytes.div_ceil(UNIT_BYTES).saturating_sub(have);
    if more == 0 {
        return Ok(());
    }
    let more = u32::try_from(more).map_err(|_| Unread::TooLarge)?;
    let permit = timeout(wait, Arc::clone(room).acquire_many_owned(more)).await;
    let permit = permit.map_err(|_| Unread::NoRoom)?.map_err(|_| Unread::NoRoom)?;
    match taken {
        Some(taken) => taken.merge(permit),
        None => *taken = Some(permit),
    }
    Ok(())
}

/// 413 in the form of the API, as the servers word it.
pub(super) fn too_large(api: Api) -> Reply {
    let (body, content_type) = match api {
        Api::V1 => ("{\"error\":\"Request Entity Too Large\"}\n", "application/json"),
        Api::V2 => (
            r#"{"code":"request too large","message":"unable to read data: points batch is too large"}"#,
            "application/json; charset=utf-8",
        ),
    };
    let mut reply = Response::new(whole(Bytes::from_static(body.as_bytes())));
    *reply.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}
