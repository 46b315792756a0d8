//! The forward path: one request to the primary, no retry of ours, and what its answer says.

use std::borrow::Cow;
use std::io::Read as _;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use flate2::read::MultiGzDecoder;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, DATE, EXPECT, HOST};
use http::response::Parts;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};

use super::reply::{self, Refusal, Reply};
use super::stamp::Lines;
use super::{ClientWrite, Pipeline};
use crate::db::answer::{self, Conflict, Conflicting, Kept};
use crate::db::client::{Answer as AnswerBody, Failure, Ready, RequestBody};
use crate::db::precision::Api;
use crate::db::server::Version;
use crate::line;
use crate::queue::Cause;

/// Answers to writes are short, but may quote each bad line; beyond this they are passed on without being judged.
const JUDGED_BYTES_MAX: usize = 1 << 20;

/// What came back from the primary.
#[derive(Debug)]
pub(super) enum PrimaryAnswer {
    /// An answer; `rest` is what lies beyond the judged part.
    Answered { head: Box<Parts>, body: Bytes, rest: Option<AnswerBody> },
    /// The request was never sent.
    NotSent(String),
    /// It was sent, and no answer came.
    Lost { why: String, cause: Cause },
}

/// An answer, judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Judged {
    pub(super) kept: Kept,
    pub(super) cause: Cause,
    pub(super) status: u16,
    pub(super) success: bool,
}

impl Pipeline {
    /// Sends the write to the primary and reads its answer.
    pub(super) async fn forward(&self, request: &ClientWrite, lines: &Lines) -> (PrimaryAnswer, Duration) {
        let body = lines.forward.clone().unwrap_or_else(|| request.body.clone());
        let length = body.len() as u64;
        let body = Full::new(body).map_err(|e| match e {}).boxed_unsync();
        let request = match self.prepare(request, body, Some(length)) {
            Ok(request) => request,
            Err(error) => return (PrimaryAnswer::NotSent(error.to_string()), Duration::ZERO),
        };
        let started = self.clock.monotonic();
        let _asked = self.silence.asked(started);
        let answer = match self.source.client().ready().await {
            Ok(ready) => self.ask(ready, request).await,
            Err(failure) => PrimaryAnswer::NotSent(failure.error().to_string()),
        };
        let took = self.clock.monotonic().saturating_sub(started);
        self.answered(&answer, took);
        (answer, took)
    }

    /// Notes what an answer says about the source itself.
    pub(super) fn answered(&self, answer: &PrimaryAnswer, took: Duration) {
        let now = self.clock.monotonic();
        self.meters.source_answered(answer.status(), took, now);
        match answer {
            PrimaryAnswer::Answered { .. } => self.silence.answered(now),
            PrimaryAnswer::NotSent(why) | PrimaryAnswer::Lost { why, .. } => self.silence.failed(why, now),
        }
        if let PrimaryAnswer::Answered { head, .. } = answer
            && let Some(date) = head.headers.get(DATE)
        {
            self.skew.observe(date, &self.clock, &self.state);
        }
    }

    /// The time for the answer runs from here, where sending begins: what waited for its turn was not sent.
    async fn ask(&self, ready: Ready, request: Request<RequestBody>) -> PrimaryAnswer {
        match tokio::time::timeout(self.source.answer_timeout(), exchange(ready, request)).await {
            Ok(answer) => answer,
            Err(_) => {
                PrimaryAnswer::Lost { why: "the source did not answer in time".to_owned(), cause: Cause::Timeout }
            }
        }
    }

    /// `length`: of the body; `None`: it goes in chunks.
    pub(super) fn prepare(
        &self,
        request: &ClientWrite,
        body: RequestBody,
        length: Option<u64>,
    ) -> Result<Request<RequestBody>, http::Error> {
        let mut out = Request::builder().method(request.method.clone()).uri(format!(
            "{}{}",
            self.source.prefix(),
            request.target
        ));
        if let Some(extensions) = out.extensions_mut() {
            *extensions = request.extensions.clone();
        }
        if let Some(headers) = out.headers_mut() {
            *headers = end_to_end(&request.headers);
            // hyper has said `100 Continue` to the client; any other expectation is the source's to judge.
            if headers.get(EXPECT).is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
                headers.remove(EXPECT);
            }
            headers.insert(HOST, self.source.host().clone());
            match length {
                Some(length) => drop(headers.insert(CONTENT_LENGTH, length.into())),
                None => drop(headers.remove(CONTENT_LENGTH)),
            }
        }
        out.body(body)
    }
}

/// Sends a request and reads the answer.
pub(super) async fn exchange(ready: Ready, request: Request<RequestBody>) -> PrimaryAnswer {
    read_whole(ready.send(request).await).await
}

/// That it was lost.
pub(super) fn lost(why: &str, cause: Cause) -> PrimaryAnswer {
    PrimaryAnswer::Lost { why: why.to_owned(), cause }
}

/// The answer that begins so.
pub(super) async fn read_whole(begun: Result<Response<AnswerBody>, Failure>) -> PrimaryAnswer {
    let answer = match begun.map(Response::into_parts) {
        Ok((head, body)) => read_answer(Box::new(head), body).await,
        Err(failure) => Err(failure),
    };
    match answer {
        Ok(answer) => answer,
        Err(Failure::NotSent(error)) => PrimaryAnswer::NotSent(error.to_string()),
        Err(Failure::Unknown(error)) => PrimaryAnswer::Lost { why: error.to_string(), cause: Cause::Reset },
    }
}

/// The headers that are meant for the far end, without those of this one connection.
#[must_use]
pub(super) fn end_to_end(headers: &HeaderMap) -> HeaderMap {
    let mut out = headers.clone();
    crate::db::hop::strip(&mut out);
    out
}

async fn read_answer(head: Box<Parts>, mut body: AnswerBody) -> Result<PrimaryAnswer, Failure> {
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| {
            let what = "the source's answer broke off";
            Failure::Unknown(
                crate::base::Error::new(crate::base::Kind::Connect, crate::base::Side::Source, what).because(e),
            )
        })?;
        if let Ok(data) = frame.into_data() {
            read.extend_from_slice(&data);
        }
        if read.len() > JUDGED_BYTES_MAX {
            return Ok(PrimaryAnswer::Answered { head, body: read.freeze(), rest: Some(body) });
        }
    }
    Ok(PrimaryAnswer::Answered { head, body: read.freeze(), rest: None })
}

/// What an answer says, for judging: clients ask for gzip, and 2.x packs its refusals too. `None`: it cannot be unpacked, or
/// to more than is judged.
fn readable<'a>(head: &Parts, body: &'a [u8]) -> Option<Cow<'a, [u8]>> {
    let encoding = head.headers.get(CONTENT_ENCODING).map_or(&b""[..], |value| value.as_bytes());
    if head.status.is_success() || !encoding.eq_ignore_ascii_case(b"gzip") {
        return Some(Cow::Borrowed(body));
    }
    let mut text = Vec::new();
    let read = MultiGzDecoder::new(body).take(JUDGED_BYTES_MAX as u64 + 1).read_to_end(&mut text).ok()?;
    (read <= JUDGED_BYTES_MAX).then_some(Cow::Owned(text))
}

/// What the source kept of lines of one time: they lie in one shard, so that an answer that names a conflict there tells of all.
fn conflicting(version: &Version, status: StatusCode, body: &[u8], lines: &Lines) -> Option<Kept> {
    let (all, of_one_time) = (lines.parsed.lines, lines.min_ns == lines.max_ns && lines.unstamped == 0);
    let (text, dropped) = answer::conflict_at_source(version, status, body)?;
    if !lines.parsed.decoded || lines.parsed.malformed > 0 || dropped > all {
        return None;
    }
    if dropped == all {
        return Some(Kept::Nothing);
    }
    let conflict = Conflict::of(&text)?;
    let read = line::lines(&lines.text, lines.dialect, lines.precision).filter_map(Result::ok);
    let found: Vec<Option<usize>> = read.map(|line| conflict.field_of(&line)).collect();
    // Of a large body the text is gone.
    if !of_one_time || found.len() != all as usize {
        return None;
    }
    let (line, field) = (0u32..).zip(found).find_map(|(number, field)| Some((number, field?)))?;
    Some(Kept::Conflicting(Conflicting { line, field: u32::try_from(field).ok()?, dropped }))
}

impl PrimaryAnswer {
    /// Its status, if there is an answer.
    pub(super) fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Answered { head, .. } => Some(head.status),
            _ => None,
        }
    }

    /// What the primary kept.
    pub(super) fn outcome(&self, version: &Version, lines: &Lines) -> Judged {
        let judged = |kept, cause, status: u16| Judged { kept, cause, status, success: false };
        match self {
            Self::NotSent(_) => judged(Kept::Nothing, Cause::None, 0),
            Self::Lost { cause, .. } => judged(Kept::Unknown, *cause, 0),
            Self::Answered { head, body, rest } => {
                let whole = head.status.is_success() || rest.is_none();
                let kept = match readable(head, body).filter(|_| whole) {
                    Some(text) => match answer::source(version, head.status, &text, lines.parsed) {
                        Kept::Unknown => conflicting(version, head.status, &text, lines).unwrap_or(Kept::Unknown),
                        kept => kept,
                    },
                    None => Kept::Unknown,
                };
                let (kept, cause) = match kept {
                    // The source gave those lines a time of its own: what it keeps is not what the log has.
                    Kept::All if lines.unstamped > 0 => (Kept::Unknown, Cause::Untimed),
                    kept if head.status.is_server_error() => (kept, Cause::SourceError),
                    kept => (kept, Cause::Answer),
                };
                Judged { kept, cause, status: head.status.as_u16(), success: head.status.is_success() }
            }
        }
    }

    /// What the client hears.
    pub(super) fn into_reply(self, api: Api) -> Reply {
        match self {
            Self::Answered { head, body, rest } => reply::pass_on(*head, body, rest),
            Self::NotSent(why) => reply::unavailable(api, &Refusal::SourceDown(why)),
            Self::Lost { why, .. } => reply::unavailable(api, &Refusal::SourceLost(why)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::decode::Decoded;
    use super::super::stamp;
    use super::*;
    use crate::db::encode::gzip;
    use crate::route::WriteIdentity;

    fn kept(status: u16, encoding: &str, body: Bytes) -> Kept {
        let (mut head, ()) = http::Response::builder().status(status).body(()).unwrap().into_parts();
        if !encoding.is_empty() {
            head.headers.insert(CONTENT_ENCODING, encoding.parse().unwrap());
        }
        let version = Version::read("v2.9.1").unwrap();
        let identity = WriteIdentity::read(Api::V2, "bucket=b");
        let lines = stamp::read(&version, &identity, Decoded::Plain("m v=1 1\nbad\n".into()), 0, false);
        let answer = PrimaryAnswer::Answered { head: Box::new(head), body, rest: None };
        answer.outcome(&version, &lines).kept
    }

    #[test]
    fn a_packed_refusal_says_the_same_as_a_plain_one() {
        let text = br#"{"code":"invalid","message":"unable to parse 'bad': missing fields"}"#;
        assert_eq!(kept(400, "", Bytes::from_static(text)), Kept::Nothing);
        assert_eq!(kept(400, "gzip", gzip(text)), Kept::Nothing);
        assert_eq!(kept(400, "GZIP", gzip(text)), Kept::Nothing);
        assert_eq!(kept(400, "br", gzip(text)), Kept::Unknown);
        let packed = gzip(text);
        assert_eq!(kept(400, "gzip", packed.slice(..packed.len() - 9)), Kept::Unknown, "cut off");
        let mut long = text.to_vec();
        long.resize(JUDGED_BYTES_MAX + 1, b' ');
        assert_eq!(kept(400, "gzip", gzip(&long)), Kept::Unknown, "more than is judged");
        assert_eq!(kept(204, "gzip", Bytes::from_static(b"no gzip")), Kept::All);
    }
}
