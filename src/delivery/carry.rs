//! Carries a statement out at the destination: its requests, and what their answers mean.
//!
//! Promises: a request that may have been heard is sent again until there is an answer, and nothing newer of its place is dealt out before
//! it can no longer take effect; what the destination refuses for good, or fails at for too often while it answers otherwise, is said so;
//! while it waits, everybody who looks sees for what. From the first request to its end nothing is dealt out at all: lanes have what
//! they have.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use serde_json::{Value, json};

use super::backoff::Backoff;
use super::distribute::Distributor;
use super::plan::{Step, buckets_of, drop_policy};
use super::{Shared, tell};
use crate::base::Result;
use crate::config::Mapping;
use crate::db::answer::{message, retry_after};
use crate::db::client::{Failure, RequestBody};
use crate::db::encode::escape;
use crate::route::TargetKind;

/// Of an answer, bytes.
const ANSWER_BYTES_MAX: usize = 16 << 20;
/// A statement may take so many times as long as a write.
const PATIENCE: u32 = 10;
/// The destination tried it and failed.
const FAILED: &str = "statement-failed";
/// A statement that fails so often is reported: it must not hold up everything for ever.
const FAILURES_MAX: u32 = 8;
/// So is one that fails so often, one after the other, by anything else, while the destination answers otherwise.
const REFUSALS_MAX: u32 = 16;
/// Buckets that one question lists.
const PAGE: usize = 100;
/// Buckets that are listed at most.
const BUCKETS_MAX: usize = 10_000;
/// While it waits it is looked so often whether it may go on.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How an attempt ended.
enum Ended {
    Done,
    /// For good, and why.
    Refused(String),
    /// It is to be tried again. `open`: it may still take effect.
    Again {
        code: &'static str,
        why: String,
        asked: Option<Duration>,
        open: bool,
    },
}

/// What came of a statement, and until when one of its requests may still take effect, monotonic.
pub(super) type Carried = (std::result::Result<(), String>, Duration);

/// An answer.
struct Heard {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Distributor {
    /// Does these, one after the other. `Err`: the destination refuses one, and why; and until when one of the requests may still take
    /// effect.
    pub(super) async fn carry_out(&mut self, steps: &[Step], shown: &str) -> Result<Carried> {
        let (mut open_until, mut end) = (Duration::ZERO, Ok(()));
        'steps: for step in steps {
            let settings = &self.shared.settings;
            let mut backoff = Backoff::new(settings.retry_initial, settings.retry_max);
            let (mut failures, mut failed, mut refusals) = (0, 0, 0);
            loop {
                while self.may_not_send() && !self.holds_up_others() {
                    self.idle(LOOK_EVERY).await?;
                }
                if (failed >= 3 || self.may_not_send()) && self.holds_up_others() {
                    end = Err("the destination stands still, and others could not wait for it any longer".to_owned());
                    break 'steps;
                }
                // Whoever drops us while it is under way leaves it so.
                let before = self.shared.statement_until.replace(Duration::MAX);
                let ended = attempt(&self.shared, step).await;
                if matches!(ended, Ended::Again { open: true, .. }) {
                    open_until = self.shared.clock.monotonic() + self.shared.settings.late_write_max;
                }
                self.shared.statement_until.set(before.max(open_until));
                let (code, why, asked) = match ended {
                    Ended::Done => break,
                    Ended::Refused(why) => {
                        end = Err(format!("the destination refuses it: {why}"));
                        break 'steps;
                    }
                    Ended::Again { code, why, asked, .. } => (code, why, asked),
                };
                (failures, failed) = (failures + u32::from(code == FAILED), failed + 1);
                if failures >= FAILURES_MAX {
                    end = Err(format!("the destination failed {failures} times at it: {why}"));
                    break 'steps;
                }
                // While the destination is away as a whole, nothing is held up that could go.
                refusals = if answers(&self.shared).await { refusals + 1 } else { 0 };
                if refusals >= REFUSALS_MAX {
                    end =
                        Err(format!("it failed {refusals} times there, and the destination answers otherwise: {why}"));
                    break 'steps;
                }
                tell::remark(&self.shared, code, &format!("{shown} waits: {why}"));
                self.shared.pauses.statement_waits(code, format!("{shown}: {why}"), self.shared.clock.monotonic());
                let until = self.shared.clock.monotonic() + backoff.next(asked, fastrand::f64());
                self.idle_until(until).await?;
            }
        }
        Ok((end, open_until))
    }

    fn may_not_send(&self) -> bool {
        self.shared.hold.lasts()
            || !self.shared.may_send.get()
            || self.shared.pauses.destination_until(self.shared.clock.monotonic()).is_some()
    }

    pub(super) async fn idle_until(&mut self, until: Duration) -> Result<()> {
        while let Some(left) = until.checked_sub(self.shared.clock.monotonic()).filter(|left| !left.is_zero()) {
            self.idle(left.min(LOOK_EVERY)).await?;
        }
        Ok(())
    }
}

/// Whether the destination, or what stands before it, answers.
async fn answers(shared: &Shared) -> bool {
    let answer = shared.server.ask(Method::GET, "/ping", Bytes::new()).await;
    answer.is_ok_and(|answer| !answer.status.is_server_error())
}

/// One attempt alone; why it failed.
pub(super) async fn once(shared: &Shared, step: &Step) -> std::result::Result<(), String> {
    match attempt(shared, step).await {
        Ended::Done => Ok(()),
        Ended::Refused(why) | Ended::Again { why, .. } => Err(why),
    }
}

async fn attempt(shared: &Shared, step: &Step) -> Ended {
    let done = match step {
        Step::Query { db, q } => query(shared, db, q).await.map(drop),
        Step::QueryOfOnePolicy { db, q } => query_of_one_policy(shared, db, q).await,
        Step::DropPolicy { db, rp } => drop_other_policy(shared, db, rp).await,
        Step::Delete { org, bucket, body } => delete(shared, org, bucket, body).await,
        Step::DeleteInAll { org, db, bodies } => delete_in_all(shared, org, db, bodies).await,
        Step::DropBuckets { org, db } => {
            drop_buckets(shared, org, |names, mapping, kind| buckets_of(db, names, mapping, kind)).await
        }
        Step::DropBucket { org, bucket } => drop_buckets(shared, org, |_, _, _| vec![bucket.clone()]).await,
        Step::CreateBucket { org, bucket, keep_s } => create_bucket(shared, org, bucket, *keep_s).await,
    };
    done.map_or_else(|ended| ended, |()| Ended::Done)
}

/// Errors of a statement that would change nothing, since what it removes is not there.
const NOTHING_THERE: [&str; 2] = ["measurement not found", "database not found"];

async fn query(shared: &Shared, db: &str, q: &str) -> std::result::Result<Value, Ended> {
    let body = format!("q={}", escape(q));
    let form = "application/x-www-form-urlencoded";
    let heard = ask(shared, Method::POST, &format!("/query?db={}", escape(db)), form, body.into()).await?;
    let answer: Value = serde_json::from_slice(&heard.body)
        .map_err(|_| again(&heard, FAILED, "an answer that is not understood".to_owned()))?;
    let error = answer["error"].as_str().or_else(|| answer["results"][0]["error"].as_str());
    let removes = q.get(..4).is_some_and(|word| ["DROP", "DELE"].iter().any(|known| known.eq_ignore_ascii_case(word)));
    match error {
        Some(error) if removes && NOTHING_THERE.iter().any(|known| error.contains(known)) => Ok(answer),
        Some(error) if error.contains("timeout") => Err(again(&heard, FAILED, error.to_owned())),
        Some(error) => Err(Ended::Refused(error.to_owned())),
        None => Ok(answer),
    }
}

async fn query_of_one_policy(shared: &Shared, db: &str, q: &str) -> std::result::Result<(), Ended> {
    let show = format!("SHOW RETENTION POLICIES ON {}", crate::db::influxql::identifier(db));
    let answer = query(shared, db, &show).await?;
    let policies = answer["results"][0]["series"][0]["values"].as_array().map_or(0, Vec::len);
    if policies > 1 {
        return Err(Ended::Refused(format!(
            "database {db} has {policies} policies there, and it would run over all of them"
        )));
    }
    query(shared, db, q).await.map(drop)
}

async fn drop_other_policy(shared: &Shared, db: &str, rp: &str) -> std::result::Result<(), Ended> {
    let show = format!("SHOW RETENTION POLICIES ON {}", crate::db::influxql::identifier(db));
    let answer = query(shared, db, &show).await;
    let answer = match answer {
        Err(Ended::Refused(why)) if why.contains("database not found") => return Ok(()),
        answer => answer?,
    };
    let series = &answer["results"][0]["series"][0];
    let named = |name: &str| series["columns"].as_array()?.iter().position(|column| column == name);
    let (name, default) = (named("name").unwrap_or(0), named("default"));
    let policies = series["values"].as_array().map_or(&[][..], Vec::as_slice);
    let is_default = |row: &&Value| row[name] == rp && default.is_none_or(|default| row[default] != false);
    if policies.iter().any(|row| is_default(&row)) {
        let why =
            "it is the database's default policy there, and holds what was written without a policy: drop it by hand";
        return Err(Ended::Refused(why.to_owned()));
    }
    query(shared, db, &drop_policy(db, rp)).await.map(drop)
}

async fn delete(shared: &Shared, org: &str, bucket: &str, body: &str) -> std::result::Result<(), Ended> {
    let path = format!("/api/v2/delete?org={}&bucket={}", escape(org), escape(bucket));
    call(shared, Method::POST, &path, body.to_owned()).await.map(drop)
}

async fn delete_in_all(shared: &Shared, org: &str, db: &str, bodies: &[String]) -> std::result::Result<(), Ended> {
    let listed: Vec<String> = buckets(shared, org).await?.into_iter().map(|(name, _)| name).collect();
    let (mapping, kind) = shared.targets.rules();
    for bucket in buckets_of(db, &listed, mapping, kind) {
        for body in bodies {
            delete(shared, org, &bucket, body).await?;
        }
    }
    Ok(())
}

/// Removes those that `which` names of all there are.
async fn drop_buckets(
    shared: &Shared,
    org: &str,
    which: impl Fn(&[String], &Mapping, &TargetKind) -> Vec<String>,
) -> std::result::Result<(), Ended> {
    let listed = buckets(shared, org).await?;
    let names: Vec<String> = listed.iter().map(|(name, _)| name.clone()).collect();
    let (mapping, kind) = shared.targets.rules();
    let which = which(&names, mapping, kind);
    for (_, id) in listed.iter().filter(|(name, _)| which.contains(name)) {
        match call(shared, Method::DELETE, &format!("/api/v2/buckets/{}", escape(id)), String::new()).await {
            // Somebody else was faster.
            Err(Ended::Refused(why)) if why.starts_with("404:") => {}
            other => drop(other?),
        }
    }
    Ok(())
}

/// Names and ids of an organisation's buckets.
async fn buckets(shared: &Shared, org: &str) -> std::result::Result<Vec<(String, String)>, Ended> {
    let mut listed = Vec::new();
    loop {
        let path = format!("/api/v2/buckets?org={}&limit={PAGE}&offset={}", escape(org), listed.len());
        let answer = call(shared, Method::GET, &path, String::new()).await?;
        let buckets = answer["buckets"].as_array().cloned().unwrap_or_default();
        let text = |bucket: &Value, name: &str| bucket[name].as_str().map(str::to_owned);
        listed.extend(buckets.iter().filter_map(|bucket| Some((text(bucket, "name")?, text(bucket, "id")?))));
        if buckets.len() < PAGE {
            return Ok(listed);
        }
        if listed.len() > BUCKETS_MAX {
            return Err(Ended::Refused("it has too many buckets to look for those of the database".to_owned()));
        }
    }
}

async fn create_bucket(shared: &Shared, org: &str, bucket: &str, keep_s: u64) -> std::result::Result<(), Ended> {
    let found = call(shared, Method::GET, &format!("/api/v2/orgs?org={}", escape(org)), String::new()).await?;
    let Some(org_id) = found["orgs"][0]["id"].as_str() else {
        return Err(Ended::Refused(format!("organisation \"{org}\" is not there")));
    };
    let rules = if keep_s == 0 { json!([]) } else { json!([{ "type": "expire", "everySeconds": keep_s }]) };
    let body = json!({ "orgID": org_id, "name": bucket, "retentionRules": rules }).to_string();
    match call(shared, Method::POST, "/api/v2/buckets", body).await {
        // The source says nothing of one that is there either.
        Err(Ended::Refused(why)) if why.contains("already exists") => Ok(()),
        other => other.map(drop),
    }
}

/// A call of 2.x; its answer as JSON, nothing where it has none.
async fn call(shared: &Shared, method: Method, path: &str, body: String) -> std::result::Result<Value, Ended> {
    let heard = ask(shared, method, path, "application/json", body.into()).await?;
    Ok(serde_json::from_slice(&heard.body).unwrap_or_default())
}

/// One request. Only an answer of success comes back.
async fn ask(
    shared: &Shared,
    method: Method,
    path: &str,
    kind: &str,
    body: Bytes,
) -> std::result::Result<Heard, Ended> {
    let again = |code, why, open| Ended::Again { code, why, asked: None, open };
    let request = request(shared, method, path, kind, body).map_err(|e| Ended::Refused(e.to_string()))?;
    let asking = async {
        let (head, body) = shared.server.client().send(request).await?.into_parts();
        Ok::<_, Failure>((head.status, head.headers, Limited::new(body, ANSWER_BYTES_MAX).collect().await))
    };
    let (status, headers, body) = match tokio::time::timeout(shared.server.answer_timeout() * PATIENCE, asking).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(Failure::NotSent(error))) => return Err(again("unreachable", error.to_string(), false)),
        Ok(Err(Failure::Unknown(error))) => return Err(again("connection-broken", error.to_string(), true)),
        Err(_) => return Err(again("no-answer", "no answer in time".to_owned(), true)),
    };
    let body = body.map_err(|error| again("connection-broken", error.to_string(), true))?.to_bytes();
    judge(Heard { status, headers, body })
}

fn judge(heard: Heard) -> std::result::Result<Heard, Ended> {
    let why = || format!("{}: {}", heard.status.as_u16(), message(&heard.body).chars().take(300).collect::<String>());
    match heard.status.as_u16() {
        200..=299 => Ok(heard),
        401 => Err(again(&heard, "unauthorized", why())),
        408 | 429 => Err(again(&heard, "throttled", why())),
        500 => Err(again(&heard, FAILED, why())),
        501 => Err(Ended::Refused(why())),
        502..=599 => Err(again(&heard, "server-error", why())),
        _ => Err(Ended::Refused(why())),
    }
}

/// A failed answer: it has ended, unless it comes from deep inside or from a gateway.
fn again(heard: &Heard, code: &'static str, why: String) -> Ended {
    let asked = retry_after(&heard.headers).map(Duration::from_secs);
    Ended::Again { code, why, asked, open: heard.status.is_server_error() || heard.status.is_success() }
}

fn request(
    shared: &Shared,
    method: Method,
    path: &str,
    kind: &str,
    body: Bytes,
) -> std::result::Result<Request<RequestBody>, http::Error> {
    let mut request = Request::builder()
        .method(method)
        .uri(format!("{}{path}", shared.server.prefix()))
        .header(HOST, shared.server.host().clone())
        .header(USER_AGENT, concat!("twinline/", env!("CARGO_PKG_VERSION")))
        .header(ACCEPT, "application/json");
    if let Some(authorization) = shared.server.authorization() {
        request = request.header(AUTHORIZATION, authorization.clone());
    }
    if !body.is_empty() {
        request = request.header(CONTENT_TYPE, kind);
    }
    request.body(Full::new(body).map_err(|e| match e {}).boxed_unsync())
}
