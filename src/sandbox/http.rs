//! The endpoints, with the heads and bodies of InfluxDB 1.13.

use std::io::Read as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};

use super::Shared;
use super::encode::{self, Answer, Format, epoch};
use super::fault::{Faults, WriteAction};
use super::query::{self, Place};
use super::statement;
use super::write;

/// Bytes of a write, before and after decompression; of a query.
const WRITE_BYTES_MAX: usize = 25_000_000;
const QUERY_BYTES_MAX: usize = 1 << 20;

const VERSION: &str = "1.13-sandbox";

type Reply = Response<Full<Bytes>>;

/// The connection is to be closed without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the connection is cut")]
pub(super) struct Cut;

/// Answers one request.
pub(super) async fn handle(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Reply, Cut> {
    shared.counters.requests.fetch_add(1, Ordering::Relaxed);
    let id = request_id(&shared, &request);
    let path = request.uri().path().to_owned();
    if matches!(path.as_str(), "/write" | "/query") {
        let latency_ms = shared.faults.borrow().latency_ms;
        if latency_ms > 0 {
            tokio::time::sleep(Duration::from_millis(latency_ms)).await;
        }
    }
    let method = request.method().clone();
    let reply = match (path.as_str(), method.as_str()) {
        ("/write" | "/query", "OPTIONS") => Ok(plain(StatusCode::OK, "application/json", "")),
        ("/write", "POST") => write(&shared, request).await,
        ("/query", "GET" | "POST") => query(&shared, request).await,
        ("/write", _) => Ok(not_allowed("OPTIONS, POST")),
        ("/query", _) => Ok(not_allowed("OPTIONS, GET, POST")),
        ("/ping" | "/status", "GET" | "HEAD") => Ok(ping(&request)),
        ("/health", "GET" | "HEAD") => Ok(plain(StatusCode::OK, "application/json", &health())),
        ("/sandbox/stats", "GET") => Ok(json(&shared.stats())),
        ("/sandbox/faults", "GET") => Ok(json(&*shared.faults.borrow())),
        ("/sandbox/faults", "DELETE") => Ok(set_faults(&shared, Faults::default())),
        ("/sandbox/faults", "POST") => faults(&shared, request).await,
        _ => Ok(plain(StatusCode::NOT_FOUND, "text/plain; charset=utf-8", "404 page not found\n")),
    };
    reply.map(|reply| with_head(reply, &id))
}

fn plain(status: StatusCode, content_type: &'static str, body: &str) -> Reply {
    let mut reply = Response::new(Full::new(Bytes::copy_from_slice(body.as_bytes())));
    *reply.status_mut() = status;
    reply.headers_mut().insert("content-type", HeaderValue::from_static(content_type));
    reply
}

fn not_allowed(allow: &'static str) -> Reply {
    let mut reply = plain(StatusCode::METHOD_NOT_ALLOWED, "text/plain; charset=utf-8", "Method Not Allowed\n");
    reply.headers_mut().insert("allow", HeaderValue::from_static(allow));
    reply
}

fn json(value: &impl serde::Serialize) -> Reply {
    match serde_json::to_string_pretty(value) {
        Ok(text) => plain(StatusCode::OK, "application/json", &(text + "\n")),
        Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, "text/plain", &error.to_string()),
    }
}

/// An error as `/write` and `/query` answer it: the sentence in the body and, cut, in a header.
fn error(status: u16, text: &str, format: Format) -> Reply {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut reply = Response::new(Full::new(Bytes::from(encode::error(text, format))));
    *reply.status_mut() = status;
    reply.headers_mut().insert("content-type", HeaderValue::from_static(format.content_type()));
    let line: Vec<u8> = text.bytes().take(1024).map(|b| if b == b'\n' { b' ' } else { b }).collect();
    if let Ok(value) = HeaderValue::from_bytes(&line) {
        reply.headers_mut().insert("x-influxdb-error", value);
    }
    reply
}

fn with_head(mut reply: Reply, id: &HeaderValue) -> Reply {
    let headers = reply.headers_mut();
    headers.insert("x-influxdb-version", HeaderValue::from_static(VERSION));
    headers.insert("x-influxdb-build", HeaderValue::from_static("OSS"));
    headers.insert("request-id", id.clone());
    headers.insert("x-request-id", id.clone());
    reply
}

/// The client's own id, or one that counts.
fn request_id(shared: &Shared, request: &Request<Incoming>) -> HeaderValue {
    let given = ["x-request-id", "request-id"].iter().find_map(|name| request.headers().get(*name));
    given.cloned().unwrap_or_else(|| {
        let number = shared.counters.requests.load(Ordering::Relaxed);
        let text = format!("00000000-0000-11f1-8000-{number:012x}");
        HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("0"))
    })
}

fn ping(request: &Request<Incoming>) -> Reply {
    let verbose = parameters(request.uri().query().unwrap_or("").as_bytes())
        .iter()
        .any(|(name, value)| name == "verbose" && !matches!(value.as_str(), "" | "0" | "false"));
    if verbose {
        let body = format!("{{\"version\":\"{VERSION}\"}}\n");
        return plain(StatusCode::OK, "application/json", &body);
    }
    plain(StatusCode::NO_CONTENT, "application/json", "")
}

fn health() -> String {
    format!(
        "{{\"checks\":[],\"message\":\"ready for queries and writes\",\"name\":\"influxdb\",\"status\":\"pass\",\
         \"version\":\"{VERSION}\"}}\n"
    )
}

/// Parameters of a query string or form, decoded; stray bytes become U+FFFD.
fn parameters(text: &[u8]) -> Vec<(String, String)> {
    let decode = |part: &[u8]| {
        let spaced: Vec<u8> = part.iter().map(|b| if *b == b'+' { b' ' } else { *b }).collect();
        percent_encoding::percent_decode(&spaced).decode_utf8_lossy().into_owned()
    };
    let pair = |part: &[u8]| match part.iter().position(|b| *b == b'=') {
        Some(at) => (decode(&part[..at]), decode(&part[at + 1..])),
        None => (decode(part), String::new()),
    };
    text.split(|b| *b == b'&').filter(|part| !part.is_empty()).map(pair).collect()
}

/// The first parameter of a name; empty when there is none.
fn first<'p>(parameters: &'p [(String, String)], name: &str) -> &'p str {
    parameters.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
}

/// Reads a body to its end. `Ok(None)`: it is larger than `bytes_max`.
async fn body(request: Request<Incoming>, bytes_max: usize) -> Result<Option<Bytes>, Cut> {
    match Limited::new(request.into_body(), bytes_max).collect().await {
        Ok(collected) => Ok(Some(collected.to_bytes())),
        Err(error) if error.is::<LengthLimitError>() => Ok(None),
        Err(_) => Err(Cut),
    }
}

async fn faults(shared: &Shared, request: Request<Incoming>) -> Result<Reply, Cut> {
    let bytes = body(request, QUERY_BYTES_MAX).await?.unwrap_or_default();
    Ok(match serde_json::from_slice::<Faults>(&bytes) {
        Ok(faults) => set_faults(shared, faults),
        Err(wrong) => error(400, &format!("these are not faults: {wrong}"), Format::Json),
    })
}

fn set_faults(shared: &Shared, faults: Faults) -> Reply {
    let reply = json(&faults);
    shared.faults.send_replace(faults);
    reply
}

async fn write(shared: &Shared, request: Request<Incoming>) -> Result<Reply, Cut> {
    let parameters = parameters(request.uri().query().unwrap_or("").as_bytes());
    let gzip = request.headers().get("content-encoding").is_some_and(|v| v == "gzip");
    let received = body(request, WRITE_BYTES_MAX).await?;
    shared.counters.writes.fetch_add(1, Ordering::Relaxed);
    let mut changes = shared.faults.subscribe();
    let action = take_write_fault(shared);
    // What happens from here on until a change of the faults belongs to this write.
    changes.mark_unchanged();
    match action {
        None => Ok(apply(shared, &parameters, received, gzip)),
        Some(WriteAction::Answer { status, body, headers, applied }) => {
            let _ = applied.then(|| apply(shared, &parameters, received, gzip));
            Ok(scripted(status, body, &headers))
        }
        Some(WriteAction::Drop { applied }) => {
            let _ = applied.then(|| apply(shared, &parameters, received, gzip));
            Err(Cut)
        }
        Some(WriteAction::Hang { applied }) => {
            let _ = applied.then(|| apply(shared, &parameters, received, gzip));
            // The sender lives as long as `shared`.
            let _ = changes.changed().await;
            Err(Cut)
        }
    }
}

/// Counts a fault down without waking those who wait for a change of the faults.
fn take_write_fault(shared: &Shared) -> Option<WriteAction> {
    let mut action = None;
    shared.faults.send_if_modified(|faults| {
        action = faults.take_write();
        false
    });
    shared.counters.writes_faulted.fetch_add(u64::from(action.is_some()), Ordering::Relaxed);
    action
}

fn scripted(status: u16, body: String, headers: &[(String, String)]) -> Reply {
    let mut reply =
        plain(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), "application/json", "");
    *reply.body_mut() = Full::new(Bytes::from(body));
    for (name, value) in headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name.as_str()), HeaderValue::from_str(value)) {
            reply.headers_mut().insert(name, value);
        }
    }
    reply
}

fn apply(shared: &Shared, parameters: &[(String, String)], received: Option<Bytes>, gzip: bool) -> Reply {
    let (db, rp) = (first(parameters, "db"), first(parameters, "rp"));
    let now_ns = shared.options.clock.wall_ns();
    let mut store = shared.store();
    if shared.options.auto_create && !db.is_empty() {
        // Without options there is nothing that could differ from an existing database.
        let _ = store.create_database(db, None);
    }
    let refuse = |status, text: &str| error(status, text, Format::Json);
    let policy = match write::target(&store, db, rp) {
        Ok(policy) => policy,
        Err(written) => return written.error.map_or_else(|| refuse(500, ""), |(status, text)| refuse(status, &text)),
    };
    let body = match received.map(|body| if gzip { inflate(&body) } else { Ok(Some(body)) }) {
        Some(Ok(Some(body))) => body,
        Some(Err(text)) => return refuse(400, text),
        Some(Ok(None)) | None => return refuse(413, "Request Entity Too Large"),
    };
    let unit = match write::precision(first(parameters, "precision")) {
        Ok(unit) => unit,
        Err(text) => return refuse(400, &text),
    };
    if !matches!(first(parameters, "consistency"), "" | "any" | "one" | "quorum" | "all") {
        return refuse(400, "invalid consistency level");
    }
    let written = write::write(&mut store, (db, &policy), &body, unit, now_ns);
    shared.counters.lines_received.fetch_add(written.lines, Ordering::Relaxed);
    shared.counters.points_written.fetch_add(written.points, Ordering::Relaxed);
    match written.error {
        None => plain(StatusCode::NO_CONTENT, "application/json", ""),
        Some((status, text)) => refuse(status, &text),
    }
}

/// All gzip members of a body; `Ok(None)` when it inflates beyond the limit; `Err` with the server's sentence.
fn inflate(body: &[u8]) -> Result<Option<Bytes>, &'static str> {
    if body.is_empty() {
        return Err("EOF");
    }
    let mut out = Vec::new();
    let mut limited = flate2::read::MultiGzDecoder::new(body).take(WRITE_BYTES_MAX as u64 + 1);
    match limited.read_to_end(&mut out) {
        Ok(_) if out.len() > WRITE_BYTES_MAX => Ok(None),
        Ok(_) => Ok(Some(Bytes::from(out))),
        Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => Err("unexpected EOF"),
        Err(_) if out.is_empty() && !body.starts_with(&[0x1f, 0x8b]) => Err("gzip: invalid header"),
        Err(_) => Err("gzip: invalid checksum"),
    }
}

async fn query(shared: &Shared, request: Request<Incoming>) -> Result<Reply, Cut> {
    shared.counters.queries.fetch_add(1, Ordering::Relaxed);
    let by_get = request.method() == Method::GET;
    let accept = request.headers().get("accept").and_then(|v| v.to_str().ok()).unwrap_or("");
    let format = Format::accepted(accept);
    let url = parameters(request.uri().query().unwrap_or("").as_bytes());
    let is_form = request
        .headers()
        .get("content-type")
        .is_some_and(|kind| kind.to_str().is_ok_and(|kind| kind.starts_with("application/x-www-form-urlencoded")));
    // The body's parameters come first, so that they win.
    let mut all = Vec::new();
    if !by_get {
        let Some(bytes) = body(request, QUERY_BYTES_MAX).await? else {
            return Ok(error(413, "Request Entity Too Large", format));
        };
        if is_form {
            all = parameters(&bytes);
        }
    }
    all.extend(url);
    Ok(run(shared, &all, format, by_get))
}

fn run(shared: &Shared, parameters: &[(String, String)], format: Format, by_get: bool) -> Reply {
    let q = first(parameters, "q");
    if q.trim().is_empty() {
        return error(400, "missing required parameter \"q\"", format);
    }
    let statements = match statement::parse(q, shared.options.clock.wall_ns()) {
        Ok(statements) => statements,
        Err(text) => return error(400, &format!("error parsing query: {text}"), format),
    };
    let place = Place { db: first(parameters, "db"), rp: first(parameters, "rp") };
    let mut store = shared.store();
    let mut outcomes: Vec<query::Outcome> = Vec::new();
    for statement in &statements {
        let failed = outcomes.last().is_some_and(|outcome| outcome.error.is_some());
        let not_run = || query::Outcome { tables: Vec::new(), error: Some("not executed".to_owned()) };
        outcomes.push(if failed { not_run() } else { query::run(&mut store, statement, place) });
    }
    drop(store);
    let warning = "in a read only context, please use a POST request instead";
    let warn = |wants_post: bool| (by_get && wants_post).then(|| format!("deprecated use of '{}' {warning}", q.trim()));
    let answers: Vec<_> = outcomes
        .iter()
        .zip(&statements)
        .map(|(outcome, statement)| Answer { outcome, warning: warn(statement.wants_post()) })
        .collect();
    let chunk_rows = (first(parameters, "chunked") == "true").then(|| chunk_rows(first(parameters, "chunk_size")));
    let body = encode::answer(&answers, format, epoch(first(parameters, "epoch")), chunk_rows);
    let mut reply = plain(StatusCode::OK, format.content_type(), "");
    *reply.body_mut() = Full::new(Bytes::from(body));
    reply
}

fn chunk_rows(parameter: &str) -> usize {
    parameter.parse().ok().filter(|rows| *rows > 0).unwrap_or(10_000)
}
