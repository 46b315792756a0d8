//! What of a request those see who watch the traffic (`pipeline::tap`).
//!
//! Promise: nothing is looked at while nobody watches; of the query of a URL only the names of a place are taken, of headers nothing; a
//! script or another body than lines and statements is not shown.

use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, HeaderMap};
use http::{Request, StatusCode};

use super::listen::Client;
use crate::base::clock::SharedClock;
use crate::db::influxql::split;
use crate::db::precision::Api;
use crate::pipeline::tap::{TapKind, Tapped, is_watched, tell};
use crate::route::WriteIdentity;

/// Of a body or a text.
const TEXT_BYTES_MAX: usize = 4 << 10;
/// A longer text is not cut into statements for this.
const STATEMENTS_BYTES_MAX: usize = 64 << 10;
/// Of a packed body, to find its beginning.
const PACKED_BYTES_MAX: usize = 16 << 10;
const PATH_CHARS_MAX: usize = 200;

/// A request that is watched; among its extensions.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    entry: Arc<Mutex<Tapped>>,
    began: Duration,
}

impl Seen {
    /// Nothing while nobody watches.
    pub(super) fn begin<B>(request: &mut Request<B>, is_write: bool, clock: &SharedClock) -> Option<Self> {
        if !is_watched() {
            return None;
        }
        let path = request.uri().path();
        let kind = match path {
            _ if is_write => TapKind::Write,
            "/query" | "/api/v2/query" => TapKind::Query,
            _ => TapKind::Other,
        };
        let length = request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        let names = WriteIdentity::read(Api::V1, request.uri().query().unwrap_or_default());
        let buckets = WriteIdentity::read(Api::V2, request.uri().query().unwrap_or_default());
        let entry = Tapped {
            at_ns: clock.wall_ns(),
            client: request.extensions().get::<Client>().and_then(|client| client.0),
            kind,
            method: request.method().to_string(),
            path: path.chars().take(PATH_CHARS_MAX).collect(),
            db: names.db,
            rp: names.rp,
            bucket: buckets.bucket,
            bytes: length,
            ..Tapped::default()
        };
        let seen = Self { entry: Arc::new(Mutex::new(entry)), began: clock.monotonic() };
        request.extensions_mut().insert(seen.clone());
        Some(seen)
    }

    fn with(&self, change: impl FnOnce(&mut Tapped)) {
        change(&mut self.entry.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The body of a write, or its beginning.
    pub(super) fn body(&self, headers: &HeaderMap, body: &Bytes, is_whole: bool) {
        let is_packed =
            headers.get(CONTENT_ENCODING).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"gzip"));
        let text = if is_packed {
            let mut text = Vec::new();
            let packed = &body[..body.len().min(PACKED_BYTES_MAX)];
            // What is cut ends with an error, behind what could be read.
            drop(MultiGzDecoder::new(packed).take(TEXT_BYTES_MAX as u64).read_to_end(&mut text));
            text
        } else {
            body[..body.len().min(TEXT_BYTES_MAX)].to_vec()
        };
        let lines =
            (!is_packed && is_whole).then(|| body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count());
        self.with(|entry| {
            if is_whole {
                entry.bytes = Some(body.len() as u64);
            }
            entry.lines = lines.map(|lines| lines as u64);
            entry.text = text;
        });
    }

    /// Statements, wherever they stood in the request.
    pub(super) fn statements(&self, q: &str, db: Option<&str>, rp: Option<&str>) {
        let text = if q.len() > STATEMENTS_BYTES_MAX {
            format!("(a text of {} bytes)", q.len())
        } else {
            split(q).iter().map(|statement| statement.shown().replace('\n', " ")).collect::<Vec<_>>().join("\n")
        };
        let text = text[..text.floor_char_boundary(TEXT_BYTES_MAX)].to_owned();
        self.with(|entry| {
            entry.db = db.map(str::to_owned).or(entry.db.take());
            entry.rp = rp.map(str::to_owned).or(entry.rp.take());
            entry.text = text.into_bytes();
        });
    }

    /// It asks for a change.
    pub(super) fn changes(&self) {
        self.with(|entry| entry.kind = TapKind::Statement);
    }

    /// It has its answer.
    pub(super) fn end(self, status: StatusCode, clock: &SharedClock) {
        let took = clock.monotonic().saturating_sub(self.began);
        let mut entry = self.entry.lock().unwrap_or_else(PoisonError::into_inner);
        entry.status = status.as_u16();
        entry.took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        tell(std::mem::take(&mut *entry));
    }
}
