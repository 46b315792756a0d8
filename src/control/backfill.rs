//! History that is copied beside live writes, over the local socket: how far it is, and what operators want of it.
//!
//! Promise: an order is answered within [`ANSWER_MAX`]; one that takes longer is carried out all the same, and the answer says so.

use std::time::Duration;

use http::StatusCode;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::api::document_reply;
use super::figures::Mirror;
use crate::backfill::desk::{Done, Order};
use crate::backfill::progress::View;
use crate::base::Error;
use crate::pipeline::Reply;

/// The scope of a job is short: names of databases, two times.
const REQUEST_BYTES_MAX: usize = 64 << 10;
/// A command waits for its answer for 5 s.
const ANSWER_MAX: Duration = Duration::from_secs(3);

/// How far a job is, `twinline.backfill.now/1`. Only for the command line of the same version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackfillNow {
    /// `twinline.backfill.now/1`.
    pub schema: String,
    /// What it does.
    pub view: View,
}

/// What came of an order, `twinline.backfill.order/1`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderDocument {
    /// `twinline.backfill.order/1`.
    pub schema: String,
    /// Whether it was carried out, is still being (then there is no `why`), or was refused.
    pub done: Option<Done>,
    /// Why it was refused.
    pub why: Option<String>,
    /// What to do then.
    pub hint: Option<String>,
}

/// A copy of history, in the status.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HistoryStatus {
    /// To this destination.
    pub destination: String,
    /// Measurements × shard groups: done, and all that are known.
    pub parts: (u64, u64),
    /// Points that this process has copied.
    pub points: u64,
    /// Chunks that were given up.
    pub failed: u64,
    /// What is being copied; empty while it looks what there is.
    pub now: String,
    /// Why nothing moves, where that is so.
    pub waits: Option<String>,
}

impl HistoryStatus {
    /// `None`: no job works.
    pub(super) fn of(destination: &str, view: &View) -> Option<Self> {
        let waits = view.throttled.clone().or_else(|| view.waits.clone());
        let works = !view.now.is_empty() || waits.is_some();
        works.then(|| Self {
            destination: destination.to_owned(),
            parts: view.units,
            points: view.points,
            failed: view.failed,
            now: view.now.clone(),
            waits,
        })
    }

    /// One line for people.
    pub(super) fn text(&self) -> String {
        let (done, all) = self.parts;
        let what = if self.now.is_empty() { "looks what there is" } else { &self.now };
        let what: String = what.chars().map(|c| if c.is_control() { '.' } else { c }).collect();
        let failed = if self.failed == 0 { String::new() } else { format!(", {} chunks given up", self.failed) };
        let waits = self.waits.as_ref().map_or_else(String::new, |why| format!("; waits: {why}"));
        format!("  copies history: {done} of {all} parts, {} points{failed}: {what}{waits}", self.points)
    }
}

pub(super) fn now(mirror: &Mirror) -> Reply {
    let now = BackfillNow { schema: "twinline.backfill.now/1".to_owned(), view: mirror.desk.progress().view() };
    document_reply(StatusCode::OK, &json!(now))
}

pub(super) async fn order(mirror: &Mirror, body: Incoming) -> Reply {
    let bad = |why: String| document_reply(StatusCode::BAD_REQUEST, &json!({ "error": why }));
    let order = match Limited::new(body, REQUEST_BYTES_MAX).collect().await {
        Ok(body) => serde_json::from_slice::<Order>(&body.to_bytes()).map_err(|e| e.to_string()),
        Err(error) => Err(error.to_string()),
    };
    let order = match order {
        Ok(order) => order,
        Err(why) => return bad(format!("no order about a copy: {why}")),
    };
    // On a task of its own: it is carried out also when whoever asked has gone.
    let desk = mirror.desk.clone();
    let asked = tokio::task::spawn_local(async move { desk.ask(order).await });
    let (done, refused) = match tokio::time::timeout(ANSWER_MAX, asked).await {
        Ok(Ok(Ok(done))) => (Some(done), None),
        Ok(Ok(Err(error))) => (None, Some(error)),
        Ok(Err(died)) => return bad(format!("the order was not carried out: {died}")),
        Err(_) => (None, None),
    };
    let document = OrderDocument {
        schema: "twinline.backfill.order/1".to_owned(),
        done,
        why: refused.as_ref().map(ToString::to_string),
        hint: refused.as_ref().and_then(Error::next_step).map(str::to_owned),
    };
    document_reply(StatusCode::OK, &json!(document))
}
