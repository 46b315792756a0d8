//! The life of a change that is no write: a statement or a call that the source is asked to run. Intent before it is sent, outcome
//! before the client has heard the end of the answer; what the log cannot take stands in the state store before it is sent.
//!
//! Promise: nothing that the source ran, or may have run, is without a record or a row.

use bytes::Bytes;
use tokio::time::timeout;

use super::Pipeline;
use super::changing::{Reach, UnderWay};
use super::intent::Recorded;
use super::reply::Refusal;
use crate::base::clock::parse_rfc3339;
use crate::base::{Lsn, RouteId};
use crate::config::OnUnavailable;
use crate::db::influxql::{Class, Deletion, Ran, split};
use crate::queue::{Cause, Disposition, Outcome, Statement, Unavailable};
use crate::state::{Event, EventKind, NotMirrored};
use crate::wal::{Entry, Kind};

/// One statement or call of a request.
#[derive(Clone, Debug)]
pub struct Asked {
    /// What it is.
    pub statement: Statement,
    /// What would be carried out; empty where it may name a password.
    pub run: Bytes,
    /// Its number among all statements of the request.
    pub at: usize,
}

/// Changes whose intent is on record.
#[derive(Debug)]
pub struct Changes {
    /// Numbers of the statements in the request.
    at: Vec<usize>,
    /// `None`: rows in the state store stand for them.
    recorded: Option<Recorded>,
    /// Writes may meet them until their outcome is on record.
    under_way: Option<UnderWay>,
}

/// What a statement or call may delete.
fn reaches(asked: &Asked) -> Vec<Reach> {
    let Some(name) = &asked.statement.name else { return Vec::new() };
    let found = match Class::of_name(&asked.statement.class) {
        Some(Class::Delete | Class::DropMeasurement | Class::DropSeries) => {
            let text = std::str::from_utf8(&asked.run).unwrap_or_default();
            split(text).first().and_then(|statement| statement.deletions(asked.statement.at_ns).ok())
        }
        Some(Class::ApiDelete) => api_deletion(&asked.run).map(|deletion| vec![deletion]),
        _ => return Vec::new(),
    };
    let Some(found) = found else { return vec![Reach::all(name.clone())] };
    let reach =
        |Deletion { measurement, first_ns, last_ns, .. }| Reach { name: name.clone(), measurement, first_ns, last_ns };
    found.into_iter().map(reach).collect()
}

fn api_deletion(body: &[u8]) -> Option<Deletion> {
    let body: serde_json::Value = serde_json::from_slice(body).ok()?;
    let time = |name: &str| parse_rfc3339(body.get(name)?.as_str()?);
    let predicate = body.get("predicate").and_then(serde_json::Value::as_str).unwrap_or_default();
    Deletion::of_predicate(predicate, time("start")?, time("stop")?).ok()
}

impl Pipeline {
    /// Makes durable what a client asks to be changed, before the source is asked.
    ///
    /// # Errors
    /// Nothing can take it, or the configuration says to refuse then: the client must hear 503.
    pub async fn changes_asked(&self, asked: Vec<Asked>, arrived_ns: i64) -> Result<Changes, Refusal> {
        let at = asked.iter().map(|asked| asked.at).collect();
        let under_way = self.changing.change_begins(asked.iter().flat_map(reaches).collect());
        let unavailable = match self.append_statements(&asked, arrived_ns).await {
            Ok(recorded) => {
                self.queue_is_back(arrived_ns);
                return Ok(Changes { at, recorded: Some(recorded), under_way });
            }
            Err(unavailable) => unavailable,
        };
        self.meters.queue_unavailable(unavailable);
        if self.on_unavailable == OnUnavailable::Refuse {
            return Err(Refusal::Queue(unavailable));
        }
        for asked in asked {
            let Statement { class, shown, .. } = asked.statement.clone();
            let why = format!("the queue could not take it ({}): it may have run", unavailable.gap_cause());
            let place = asked.statement.place();
            let text = format!("{shown}, at {place}, is not mirrored: {why}");
            let noted = NotMirrored { lsn: Lsn::ZERO, class, place, text: shown, why, at_ns: arrived_ns, carry: None };
            match self.gaps.note_statement(noted).await {
                Ok(true) => {
                    tracing::warn!(event = ?EventKind::StatementNotMirrored, "{text}");
                    let kind = EventKind::StatementNotMirrored;
                    drop(self.state.add_event(Event { at_ns: arrived_ns, kind, text }));
                }
                Ok(false) => {}
                Err(_) => return Err(Refusal::Gap),
            }
        }
        Ok(Changes { at, recorded: None, under_way })
    }

    async fn append_statements(&self, asked: &[Asked], arrived_ns: i64) -> Result<Recorded, Unavailable> {
        let request = self.meters.next_request();
        let entry = |asked: &Asked| {
            Some(Entry {
                kind: Kind::Statement,
                flags: 0,
                route: RouteId(0),
                request,
                lines: 0,
                received_ns: arrived_ns,
                meta: asked.statement.encode().ok()?,
                body: asked.run.clone(),
            })
        };
        let entries: Option<Vec<Entry>> = asked.iter().map(entry).collect();
        let appended = timeout(self.stall, self.appender.intents(entries.unwrap_or_default())).await;
        let first = appended.map_err(|_| self.log_stalls())??;
        Ok(Recorded::of(first, vec![0; asked.len()].into(), self))
    }

    /// Makes durable what became of them: `ran` is of all statements of the request, by their numbers.
    pub async fn changes_ran(&self, mut changes: Changes, ran: &[Ran], status: u16) {
        let nothing_ran = changes.at.iter().all(|at| ran.get(*at) == Some(&Ran::No));
        if nothing_ran && let Some(under_way) = changes.under_way.take() {
            under_way.did_nothing();
        }
        let Some(recorded) = changes.recorded.take() else { return };
        let became = |at: &usize| match ran.get(*at) {
            Some(Ran::Yes) => (Disposition::Applied, Cause::None),
            Some(Ran::No) => (Disposition::NotApplied, Cause::None),
            _ if status == 0 => (Disposition::Doubt, Cause::Reset),
            _ => (Disposition::Doubt, Cause::Answer),
        };
        let outcomes = recorded.lsns().zip(&changes.at).map(|(lsn, at)| {
            let (disposition, cause) = became(at);
            Outcome { lsn, status, disposition, cause, epoch: self.epoch }.encode()
        });
        let entries = outcomes.collect();
        recorded.settled();
        self.append_outcome(entries).await;
    }
}
