//! Writes lines to the destination and says which it refuses.
//!
//! Promise: a line that is not named as refused was in a request that the destination acknowledged. Requests are bounded by
//! [`REQUEST_BYTES`] and [`REQUEST_LINES`], and as many are under way at once as `lanes` says; no cell is in two of them.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, USER_AGENT};
use http::{Method, Request};
use http_body_util::{BodyExt, Full, Limited};
use tokio::task::JoinSet;

use super::form::Route;
use crate::cli::exit::{Exit, Failure};
use crate::db::answer::{self, Action, Limit, Verdict};
use crate::db::client;
use crate::db::encode::gzip;
use crate::db::product::Product;
use crate::db::server::Server;

/// Lines of one request, where the destination's own limits are not lower.
const REQUEST_BYTES: usize = 1 << 20;
const REQUEST_LINES: usize = 10_000;
/// A destination's words that we read at most.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// So often one request is tried, with pauses of `retry_initial` to `retry_max` in between.
const TRIES: u32 = 12;

/// One line that goes there.
#[derive(Debug)]
pub(super) struct Ready {
    /// The number of its point in the stretch.
    pub(super) number: usize,
    pub(super) route: Rc<Route>,
    pub(super) text: Vec<u8>,
}

/// A line that the destination refuses for good.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) number: usize,
    pub(super) code: &'static str,
    pub(super) reason: String,
    /// The cells that it is about, as a line; `None`: the whole point.
    pub(super) text: Option<Vec<u8>>,
}

/// The destination, as we write to it.
#[derive(Clone, Debug)]
pub(super) struct Destination {
    pub(super) server: Server,
    pub(super) product: Product,
    pub(super) packs: bool,
    pub(super) bytes_max: usize,
    pub(super) lines_max: usize,
    pub(super) requests_max: usize,
    pub(super) pause: Duration,
    pub(super) pause_max: Duration,
    /// Some request since it was last looked at may take effect although it failed.
    pub(super) doubt: Rc<Cell<bool>>,
}

/// What became of a request.
enum Ended {
    Stored,
    /// Some of its lines are refused; `None`: nobody says which.
    Refused(Verdict, Option<Vec<usize>>),
}

impl Destination {
    /// Writes all of them; no two have a cell in common.
    ///
    /// # Errors
    /// The destination takes nothing now: what was not acknowledged is to be sent again.
    pub(super) async fn write(&self, lines: Vec<Ready>) -> Result<Vec<Refusal>, Failure> {
        let (mut refused, mut running) = (Vec::new(), JoinSet::new());
        for request in self.requests(lines) {
            while running.len() >= self.requests_max.max(1) {
                take(running.join_next().await, &mut refused)?;
            }
            let own = self.clone();
            running.spawn_local(async move { own.request(request).await });
        }
        while !running.is_empty() {
            take(running.join_next().await, &mut refused)?;
        }
        refused.sort_by_key(|one| one.number);
        Ok(refused)
    }

    /// Lines of one place each, in order.
    fn requests(&self, lines: Vec<Ready>) -> Vec<Vec<Ready>> {
        let (bytes_max, lines_max) = (self.bytes_max.min(REQUEST_BYTES), self.lines_max.min(REQUEST_LINES));
        let (mut all, mut bytes): (Vec<Vec<Ready>>, usize) = (Vec::new(), 0);
        for line in lines {
            let fits = all.last().is_some_and(|last: &Vec<Ready>| {
                last.len() < lines_max
                    && bytes + line.text.len() < bytes_max
                    && last.first().is_some_and(|first| first.route.path == line.route.path)
            });
            bytes = if fits { bytes } else { 0 } + line.text.len() + 1;
            match all.last_mut() {
                Some(last) if fits => last.push(line),
                _ => all.push(vec![line]),
            }
        }
        all
    }

    /// One request; in halves where some line of it is refused, or it is too large.
    async fn request(&self, lines: Vec<Ready>) -> Result<Vec<Refusal>, Failure> {
        let (mut refused, mut open) = (Vec::new(), Vec::from([(0, lines.len())]));
        // Each range is halved at most once for each of its lines.
        while let Some((start, end)) = open.pop() {
            let range = start..end;
            match self.tried(&lines[range.clone()]).await? {
                Ended::Stored => {}
                Ended::Refused(verdict, _) if range.len() == 1 => {
                    let (number, reason) = (lines[range.start].number, verdict.reason());
                    refused.push(Refusal { number, code: verdict.code, reason, text: None });
                }
                Ended::Refused(verdict, Some(numbers)) => refused.extend(numbers.into_iter().map(|at| Refusal {
                    number: lines[range.start + at].number,
                    code: verdict.code,
                    reason: verdict.reason(),
                    text: None,
                })),
                Ended::Refused(_, None) => {
                    let middle = range.start + range.len() / 2;
                    open.extend([(middle, end), (start, middle)]);
                }
            }
        }
        Ok(refused)
    }

    async fn tried(&self, lines: &[Ready]) -> Result<Ended, Failure> {
        let mut body = Vec::with_capacity(lines.iter().map(|line| line.text.len() + 1).sum());
        for line in lines {
            body.extend_from_slice(line.text.strip_suffix(b"\n").unwrap_or(&line.text));
            body.push(b'\n');
        }
        let path = format!("{}{}", self.server.prefix(), lines[0].route.path);
        let (body, mut packs, mut pause) = (Bytes::from(body), self.packs, self.pause);
        let mut last = None;
        for _ in 0..TRIES {
            let after = match self.once(&path, body.clone(), packs).await {
                Ok(verdict) => {
                    self.doubt.set(self.doubt.get() || verdict.open);
                    let after = match &verdict.action {
                        Action::Acknowledge => return Ok(Ended::Stored),
                        Action::Numbered { lines: numbers, kept: true } => {
                            let at = numbers.iter().filter_map(|number| usize::try_from(*number).ok()?.checked_sub(1));
                            let at: Vec<usize> = at.filter(|at| *at < lines.len()).collect();
                            return Ok(Ended::Refused(verdict, Some(at)));
                        }
                        Action::Split | Action::Quoted { .. } | Action::Numbered { .. } | Action::Bisect { .. } => {
                            return Ok(Ended::Refused(verdict, None));
                        }
                        Action::Pause(Limit::Route) => return Err(closed(&lines[0].route, &verdict)),
                        Action::Pause(Limit::Destination) if matches!(verdict.status, 401 | 403) => {
                            return Err(takes_nothing(&verdict));
                        }
                        Action::Plain { .. } if packs => {
                            packs = false;
                            continue;
                        }
                        Action::Retry { after_s } => after_s.map(Duration::from_secs),
                        Action::Again | Action::Shrink | Action::Plain { .. } | Action::Pause(_) => None,
                    };
                    last = Some(takes_nothing(&verdict));
                    after
                }
                Err(failure) => {
                    last = Some(failure);
                    None
                }
            };
            tokio::time::sleep(after.unwrap_or(pause).min(self.pause_max)).await;
            pause = (pause * 2).min(self.pause_max);
        }
        Err(last.unwrap_or_else(|| Failure::new(Exit::Unreachable, "the destination asks to be tried again and again")))
    }

    async fn once(&self, path: &str, body: Bytes, packs: bool) -> Result<Verdict, Failure> {
        let body = if packs { gzip(&body) } else { body };
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(HOST, self.server.host().clone())
            .header(USER_AGENT, concat!("twinline/", env!("CARGO_PKG_VERSION")))
            .header(CONTENT_TYPE, "text/plain; charset=utf-8")
            .header(CONTENT_LENGTH, body.len());
        if packs {
            request = request.header(CONTENT_ENCODING, "gzip");
        }
        if let Some(authorization) = self.server.authorization() {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        let body = Full::new(body).map_err(|e| match e {}).boxed_unsync();
        let request = request.body(body).map_err(|e| Failure::new(Exit::Failed, e.to_string()))?;
        let asking = async {
            let response = self.server.client().send(request).await.map_err(|failure| match failure {
                client::Failure::NotSent(error) => Failure::from(error),
                client::Failure::Unknown(error) => {
                    self.doubt.set(true);
                    Failure::from(error)
                }
            })?;
            let (head, body) = response.into_parts();
            let said = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map(http_body_util::Collected::to_bytes);
            Ok(answer::of(self.product, head.status, &head.headers, &said.unwrap_or_default()))
        };
        tokio::time::timeout(self.server.answer_timeout(), asking).await.unwrap_or_else(|_| {
            self.doubt.set(true);
            Err(Failure::new(Exit::Unreachable, "the destination does not answer in time"))
        })
    }
}

type Joined = Option<Result<Result<Vec<Refusal>, Failure>, tokio::task::JoinError>>;

fn take(joined: Joined, refused: &mut Vec<Refusal>) -> Result<(), Failure> {
    match joined {
        Some(Ok(done)) => refused.extend(done?),
        Some(Err(error)) => return Err(Failure::new(Exit::Failed, format!("a request was given up: {error}"))),
        None => {}
    }
    Ok(())
}

fn takes_nothing(verdict: &Verdict) -> Failure {
    let exit = if matches!(verdict.status, 401 | 403) { Exit::Auth } else { Exit::Unreachable };
    Failure::new(exit, format!("the destination takes nothing now ({}): {}", verdict.code, verdict.reason()))
}

fn closed(route: &Route, verdict: &Verdict) -> Failure {
    let exit = if matches!(verdict.status, 401 | 403) { Exit::Auth } else { Exit::Refused };
    Failure::new(exit, format!("{} takes no lines ({}): {}", route.name, verdict.code, verdict.reason()))
        .hint("make that place at the destination, or give us the right to write there")
}
