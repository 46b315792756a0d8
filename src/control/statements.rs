//! Statements that were not mirrored, over the local socket: pages of them, and what an operator decides about one.
//!
//! Promise: answers are bounded, whatever is asked for; a decision is durable before it is answered, and names who made it.

use http::StatusCode;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::api::document_reply;
use super::figures::{Mirror, Sources};
use crate::pipeline::Reply;
use crate::state::{Event, EventKind, StatementChange, StatementQuery, StatementRow, StatementState};

const REQUEST_BYTES_MAX: usize = 16 << 10;
/// Of who decides and why, in characters.
const WORDS_MAX: usize = 1000;
/// Of a statement in an event.
const SHOWN_CHARS: usize = 200;

/// A page, `twinline.statements.page/1`. Only for the command line of the same version.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StatementsDocument {
    /// `twinline.statements.page/1`.
    pub schema: String,
    /// Rows in the order of their numbers; none behind the last page.
    pub statements: Vec<StatementRow>,
}

/// What an operator decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecisionDocument {
    /// The row.
    pub id: i64,
    /// Who decides.
    pub who: String,
    /// Why.
    #[serde(default)]
    pub note: String,
    /// To be carried out although something newer of its place has gone on to the destination.
    #[serde(default)]
    pub newer: bool,
}

/// The answer to a decision.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecidedDocument {
    /// Whether it stands.
    pub done: bool,
    /// Why not.
    pub why: Option<String>,
}

pub(super) async fn page(sources: &Sources, mirror: &Mirror, query: &str) -> Reply {
    let number =
        |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')?.parse().ok());
    let query = match number("id") {
        Some(id) => StatementQuery::One(id),
        None => StatementQuery::After(number("after").unwrap_or(0), number("all") == Some(1)),
    };
    match sources.state.statements(&mirror.id, query).await {
        Ok(statements) => {
            let document = StatementsDocument { schema: "twinline.statements.page/1".to_owned(), statements };
            document_reply(StatusCode::OK, &json!(document))
        }
        Err(error) => unavailable(&error),
    }
}

/// An operator has seen to one: it stays as history and blocks nothing.
pub(super) async fn clear(sources: &Sources, mirror: &Mirror, body: Incoming) -> Reply {
    let (decision, row) = match asked(sources, mirror, body).await {
        Ok(asked) => asked,
        Err(reply) => return reply,
    };
    if decision.note.trim().is_empty() {
        return decided(Some("it is cleared with a reason alone".to_owned()));
    }
    if row.state == StatementState::Confirmed {
        return decided(Some("it is being carried out at the destination: wait for what comes of it".to_owned()));
    }
    let (id, at_ns) = (row.id, sources.clock.wall_ns());
    let (who, note) = (short(&decision.who, WORDS_MAX), short(&decision.note, WORDS_MAX));
    let change = StatementChange::End { fate: StatementState::Cleared, who: who.clone(), note: note.clone(), at_ns };
    match sources.state.change_statement(&mirror.id, id, change).await {
        Ok(true) => {
            tell(sources, EventKind::StatementCleared, format!("{} is cleared by {who}: {note}", shown(&row)));
            decided(None)
        }
        Ok(false) => decided(Some(format!("it is {} meanwhile", row.state.name()))),
        Err(error) => unavailable(&error),
    }
}

/// An operator wants one carried out at the destination.
pub(super) async fn confirm(sources: &Sources, mirror: &Mirror, body: Incoming) -> Reply {
    let (decision, row) = match asked(sources, mirror, body).await {
        Ok(asked) => asked,
        Err(reply) => return reply,
    };
    if let Some(why) = cannot_confirm(&row, decision.newer) {
        return decided(Some(why));
    }
    let (at_ns, who, newer) = (sources.clock.wall_ns(), short(&decision.who, WORDS_MAX), decision.newer);
    let change = StatementChange::Confirm { who: who.clone(), at_ns, newer };
    match sources.state.change_statement(&mirror.id, row.id, change).await {
        Ok(true) => {
            mirror.hold.confirm();
            let although = if row.newer { ", although something newer has gone there" } else { "" };
            let text = format!("{} is to be carried out at the destination, says {who}{although}", shown(&row));
            tell(sources, EventKind::StatementConfirmed, text);
            decided(None)
        }
        Ok(false) => decided(Some("something has changed meanwhile: look at it again".to_owned())),
        Err(error) => unavailable(&error),
    }
}

/// Why a row cannot be confirmed now. Delivery looks once more when it comes to it.
fn cannot_confirm(row: &StatementRow, newer: bool) -> Option<String> {
    if row.state == StatementState::Confirmed {
        return Some("it is confirmed already and waits to be carried out".to_owned());
    }
    if !row.can_confirm {
        return Some("it cannot be carried out at this destination: do it there by hand, then clear it".to_owned());
    }
    if row.newer && !newer {
        let why = "data, or a place, newer than it has gone on to the destination, and would go with it: what is older is to be removed \
                   there by hand, or confirm it --even-though-newer-data, after which that is missing there until it is read back";
        return Some(why.to_owned());
    }
    None
}

/// The decision, and the row it is about, which must still block.
async fn asked(sources: &Sources, mirror: &Mirror, body: Incoming) -> Result<(DecisionDocument, StatementRow), Reply> {
    let refused = |status: StatusCode, why: String| document_reply(status, &json!({ "error": why }));
    let body = Limited::new(body, REQUEST_BYTES_MAX).collect().await;
    let body = body.map_err(|error| refused(StatusCode::PAYLOAD_TOO_LARGE, error.to_string()))?.to_bytes();
    let decision: DecisionDocument =
        serde_json::from_slice(&body).map_err(|error| refused(StatusCode::BAD_REQUEST, error.to_string()))?;
    let found = sources.state.statements(&mirror.id, StatementQuery::One(decision.id)).await;
    match found.map_err(|error| unavailable(&error))?.pop() {
        None => Err(decided(Some("there is none of this number".to_owned()))),
        Some(row) if !row.state.blocks() => Err(decided(Some(format!("it is {} already", row.state.name())))),
        Some(row) => Ok((decision, row)),
    }
}

fn decided(why: Option<String>) -> Reply {
    document_reply(StatusCode::OK, &json!(DecidedDocument { done: why.is_none(), why }))
}

fn unavailable(error: &crate::base::Error) -> Reply {
    document_reply(StatusCode::SERVICE_UNAVAILABLE, &json!({ "error": error.to_string() }))
}

fn short(text: &str, chars: usize) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(chars).collect()
}

fn shown(row: &StatementRow) -> String {
    format!("statement {} ({})", row.id, short(&row.text, SHOWN_CHARS))
}

fn tell(sources: &Sources, kind: EventKind, text: String) {
    tracing::info!(event = ?kind, "{text}");
    // The log has it in any case.
    drop(sources.state.add_event(Event { at_ns: sources.clock.wall_ns(), kind, text }));
}
