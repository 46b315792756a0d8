//! The traffic over the local socket, as lines of JSON, for as long as somebody reads them.
//!
//! Promise: who reads too slowly slows nobody: what was left out is counted and said once a second; what is to be masked is masked
//! before it leaves the process.

mod masked;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};
use http_body::{Body, Frame};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::api::document_reply;
use crate::base::clock::rfc3339;
use crate::base::glob::Glob;
use crate::db::client::BodyError;
use crate::pipeline::Reply;
use crate::pipeline::tap::{TapKind, Tapped, WATCHERS_MAX, Watching, watch};
use masked::{Masks, measurement};

/// Documents that wait for who reads them.
const WAITING: usize = 64;
/// So often it is said what was left out, also that there was nothing.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// Of a line.
const LINE_CHARS_MAX: usize = 300;

/// What somebody wants to see.
#[derive(Debug, Default)]
struct Wanted {
    db: Option<Glob>,
    rp: Option<Glob>,
    bucket: Option<Glob>,
    measurement: Option<Glob>,
    status: Option<String>,
    client: Option<String>,
    kind: Option<String>,
    /// One of so many.
    sample: u64,
    lines: usize,
    masks: Masks,
}

impl Wanted {
    fn read(query: &str) -> Self {
        let mut wanted = Self { sample: 1, lines: 3, ..Self::default() };
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            let value = percent_decode_str(value).decode_utf8_lossy().into_owned();
            let glob = || Some(Glob::new(&value));
            match name {
                "db" => wanted.db = glob(),
                "rp" => wanted.rp = glob(),
                "bucket" => wanted.bucket = glob(),
                "measurement" => wanted.measurement = glob(),
                "status" => wanted.status = Some(value),
                "client" => wanted.client = Some(value),
                "kind" => wanted.kind = Some(value),
                "sample" => wanted.sample = value.parse().unwrap_or(1).max(1),
                "lines" => wanted.lines = value.parse().unwrap_or(3).min(100),
                "redact" => wanted.masks = Masks::read(&value),
                _ => {}
            }
        }
        wanted
    }

    fn fits(&self, entry: &Tapped) -> bool {
        let named = |glob: &Option<Glob>, name: &Option<String>| {
            glob.as_ref().is_none_or(|glob| name.as_ref().is_some_and(|name| glob.matches(name.as_bytes())))
        };
        let status = entry.status.to_string();
        named(&self.db, &entry.db)
            && named(&self.rp, &entry.rp)
            && named(&self.bucket, &entry.bucket)
            && self.status.as_ref().is_none_or(|wanted| is_status(wanted, &status))
            && self.kind.as_ref().is_none_or(|kind| kind == entry.kind.name())
            && self.client.as_ref().is_none_or(|ip| entry.client.is_some_and(|client| client.to_string() == *ip))
            && (self.measurement.is_none() || entry.kind == TapKind::Write && self.shown(entry).next().is_some())
    }

    /// Lines of it that are shown.
    fn shown<'a>(&'a self, entry: &'a Tapped) -> impl Iterator<Item = &'a [u8]> {
        let fits = |line: &&[u8]| {
            !line.is_empty() && self.measurement.as_ref().is_none_or(|glob| glob.matches(&measurement(line)))
        };
        entry.text.split(|byte| *byte == b'\n').filter(fits)
    }

    fn document(&self, entry: &Tapped) -> Value {
        let text = |line: &[u8]| match entry.kind {
            TapKind::Write => cut(&self.masks.mask(line)),
            _ if self.masks.any() => "(masked)".to_owned(),
            _ => cut(&String::from_utf8_lossy(line)),
        };
        json!({
            "at": rfc3339(entry.at_ns),
            "client": entry.client.map(|client| client.to_string()),
            "kind": entry.kind.name(),
            "method": entry.method,
            "path": entry.path,
            "db": entry.db,
            "rp": entry.rp,
            "bucket": entry.bucket,
            "status": entry.status,
            "ms": entry.took_us as f64 / 1000.0,
            "bytes": entry.bytes,
            "lines": entry.lines,
            "text": self.shown(entry).take(self.lines).map(text).collect::<Vec<_>>(),
        })
    }
}

/// `4xx`, `404`.
fn is_status(wanted: &str, status: &str) -> bool {
    let same = |(wanted, digit): (char, char)| wanted.eq_ignore_ascii_case(&'x') || wanted == digit;
    wanted.len() == status.len() && wanted.chars().zip(status.chars()).all(same)
}

fn cut(text: &str) -> String {
    let mut short: String = text.chars().take(LINE_CHARS_MAX).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

/// Lines of JSON until the reader goes away.
pub(super) fn tap(query: &str) -> Reply {
    let Some(watching) = watch() else {
        let why = format!("{WATCHERS_MAX} watch already");
        return document_reply(StatusCode::SERVICE_UNAVAILABLE, &json!({ "error": why }));
    };
    let (told, heard) = mpsc::channel(WAITING);
    tokio::task::spawn_local(tell(watching, Wanted::read(query), told));
    let mut reply = Response::new(Box::pin(Lines(heard)) as crate::pipeline::ReplyBody);
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    reply
}

async fn tell(mut watching: Watching, wanted: Wanted, told: mpsc::Sender<Bytes>) {
    let (mut fitting, mut left_out) = (0_u64, 0_u64);
    let line = |document: &Value| Bytes::from(format!("{document}\n"));
    let mut ticks = tokio::time::interval(TELL_EVERY);
    loop {
        tokio::select! {
            next = watching.next() => match next {
                Err(missed) => left_out += missed,
                Ok(entry) if wanted.fits(&entry) => {
                    fitting += 1;
                    let entry: Arc<Tapped> = entry;
                    let is_sample = (fitting - 1).is_multiple_of(wanted.sample);
                    // The last place is for what is said once a second.
                    let shown = is_sample && told.capacity() > 1 && told.try_send(line(&wanted.document(&entry))).is_ok();
                    left_out += u64::from(!shown);
                }
                Ok(_) => {}
            },
            _ = ticks.tick() => match told.try_send(line(&json!({ "not_shown": left_out }))) {
                Ok(()) => left_out = 0,
                Err(mpsc::error::TrySendError::Full(_)) => {}
                Err(mpsc::error::TrySendError::Closed(_)) => return,
            },
            () = told.closed() => return,
        }
    }
}

struct Lines(mpsc::Receiver<Bytes>);

impl Body for Lines {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.0.poll_recv(cx).map(|line| line.map(|line| Ok(Frame::data(line))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(db: &str, status: u16, text: &str) -> Tapped {
        let (kind, text) = (TapKind::Write, text.as_bytes().to_vec());
        Tapped { kind, db: Some(db.to_owned()), status, text, ..Tapped::default() }
    }

    #[test]
    fn what_does_not_fit_is_not_shown() {
        let entry = write("telegraf", 404, "cpu,host=a v=1 1\nmem v=2 2\n");
        for (query, fits) in [
            ("", true),
            ("db=tele*", true),
            ("db=x*", false),
            ("status=4xx&kind=write", true),
            ("status=2xx", false),
            ("status=40", false),
            ("kind=query", false),
            ("measurement=m*", true),
            ("measurement=disk", false),
            ("bucket=*", false),
            ("client=10.0.0.1", false),
        ] {
            assert_eq!(Wanted::read(query).fits(&entry), fits, "{query}");
        }
        assert_eq!(Wanted::read("measurement=m*").document(&entry)["text"], json!(["mem v=2 2"]));
        assert_eq!(Wanted::read("lines=1&redact=tags,values").document(&entry)["text"], json!(["cpu,host=… v=… 1"]));
        let statement = Tapped { kind: TapKind::Statement, text: b"DELETE FROM m WHERE h = 'x'".to_vec(), ..entry };
        assert_eq!(Wanted::read("redact=tags").document(&statement)["text"], json!(["(masked)"]));
    }
}
