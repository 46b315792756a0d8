//! Dead letters over the local socket: pages of them, and their removal.
//!
//! Promise: answers are bounded, whatever is asked for; every byte of a line comes over as it is; nothing is removed but what is
//! named one by one.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::api::document_reply;
use super::figures::{Mirror, Sources};
use crate::base::Lsn;
use crate::pipeline::Reply;
use crate::state::{LetterFate, LetterId, LetterPage, LetterQuery, PAGE_LETTERS_MAX, Removal, StoredLetter};

/// A list of as many names as a page has letters fits.
const REQUEST_BYTES_MAX: usize = 128 << 10;

/// A page, `twinline.deadletters.page/1`. Only for the command line of the same version.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LettersDocument {
    /// `twinline.deadletters.page/1`.
    pub schema: String,
    /// Some letters in order.
    pub letters: Vec<LetterDocument>,
    /// From where on there may be more.
    pub next: Option<String>,
    /// Letters that are not there any more, by what became of them.
    pub removed: Vec<(String, u64)>,
}

/// A letter in a document.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LetterDocument {
    /// Record and number of the line: `4711.0`.
    pub id: String,
    /// Route, canonical where it is known so.
    pub route: String,
    /// Short code.
    pub code: String,
    /// The destination's words.
    pub reason: String,
    /// The line, where it is plain text.
    pub text: Option<String>,
    /// The line in base64 otherwise.
    pub base64: Option<String>,
}

/// What `deadletter` asks to be removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovalDocument {
    /// What became of them.
    pub fate: LetterFate,
    /// They, as in [`LetterDocument::id`].
    pub ids: Vec<String>,
}

/// `4711.0`.
#[must_use]
pub fn letter_name((lsn, line): LetterId) -> String {
    format!("{lsn}.{line}")
}

/// The letter of a name.
#[must_use]
pub fn letter_id(name: &str) -> Option<LetterId> {
    let (lsn, line) = name.split_once('.')?;
    let lsn = lsn.parse().ok().filter(|lsn| *lsn <= i64::MAX as u64)?;
    Some((Lsn(lsn), line.parse().ok()?))
}

impl From<StoredLetter> for LetterDocument {
    fn from(letter: StoredLetter) -> Self {
        let StoredLetter { id, route, code, reason, text } = letter;
        // What JSON would escape takes up to six times its length.
        let (text, base64) = match String::from_utf8(text) {
            Ok(text) if !text.chars().any(char::is_control) => (Some(text), None),
            Ok(text) => (None, Some(STANDARD.encode(text))),
            Err(odd) => (None, Some(STANDARD.encode(odd.as_bytes()))),
        };
        Self { id: letter_name(id), route, code, reason, text, base64 }
    }
}

impl LetterDocument {
    /// The letter; none where the document makes no sense.
    #[must_use]
    pub fn letter(self) -> Option<StoredLetter> {
        let Self { id, route, code, reason, text, base64 } = self;
        let text = match (text, base64) {
            (Some(text), _) => text.into_bytes(),
            (None, base64) => STANDARD.decode(base64?).ok()?,
        };
        Some(StoredLetter { id: letter_id(&id)?, route, code, reason, text })
    }
}

impl From<LetterPage> for LettersDocument {
    fn from(page: LetterPage) -> Self {
        Self {
            schema: "twinline.deadletters.page/1".to_owned(),
            letters: page.letters.into_iter().map(LetterDocument::from).collect(),
            next: page.next.map(letter_name),
            removed: page.removed,
        }
    }
}

pub(super) async fn page(sources: &Sources, mirror: &Mirror, query: &str) -> Reply {
    let value = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    let id = |name: &str| value(name).and_then(letter_id);
    let usual = LetterQuery::default();
    let query = LetterQuery {
        from: id("from").unwrap_or(usual.from),
        to: id("to").unwrap_or(usual.to),
        limit: value("limit").and_then(|limit| limit.parse().ok()).unwrap_or(usual.limit),
        code: value("code").map(|code| percent_encoding::percent_decode_str(code).decode_utf8_lossy().into_owned()),
    };
    match sources.state.letters(&mirror.id, query).await {
        Ok(page) => document_reply(StatusCode::OK, &json!(LettersDocument::from(page))),
        Err(error) => document_reply(StatusCode::SERVICE_UNAVAILABLE, &json!({ "error": error.to_string() })),
    }
}

/// Removes what is named, durably, before it answers.
pub(super) async fn remove(sources: &Sources, mirror: &Mirror, body: Incoming) -> Reply {
    let refused = |status: StatusCode, why: String| document_reply(status, &json!({ "error": why }));
    let body = match Limited::new(body, REQUEST_BYTES_MAX).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return refused(StatusCode::PAYLOAD_TOO_LARGE, error.to_string()),
    };
    let wanted: RemovalDocument = match serde_json::from_slice(&body) {
        Ok(wanted) => wanted,
        Err(error) => return refused(StatusCode::BAD_REQUEST, error.to_string()),
    };
    let ids: Option<Vec<LetterId>> = wanted.ids.iter().map(|name| letter_id(name)).collect();
    let Some(ids) = ids.filter(|ids| ids.len() <= PAGE_LETTERS_MAX) else {
        let why = format!("ids are a list of at most {PAGE_LETTERS_MAX} names such as 4711.0");
        return refused(StatusCode::BAD_REQUEST, why);
    };
    let floor = Lsn(mirror.view.lock().unwrap_or_else(std::sync::PoisonError::into_inner).saved_lsn);
    let removal = Removal { ids, fate: wanted.fate, floor, at_ns: sources.clock.wall_ns() };
    match sources.state.remove_letters(&mirror.id, removal).await {
        Ok(removed) => {
            tracing::info!(
                event = "deadletter.removed",
                removed,
                fate = wanted.fate.name(),
                "dead letters were removed"
            );
            document_reply(StatusCode::OK, &json!({ "schema": "twinline.deadletters.removed/1", "removed": removed }))
        }
        Err(error) => refused(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_lines_come_over_as_they_are() {
        for text in [&b"m v=1 1"[..], b"m v=\"a\nb\" 1", b"\xff", b""] {
            let letter = StoredLetter {
                id: (Lsn(4711), 3),
                route: "d".to_owned(),
                code: "parse".to_owned(),
                reason: String::new(),
                text: text.to_vec(),
            };
            let document = LetterDocument::from(letter.clone());
            assert_eq!(document.id, "4711.3");
            assert_eq!(document.letter(), Some(letter));
        }
        for bad in ["", "4711", "4711.", ".1", "x.1", "1.x", "1.2.3", "18446744073709551615.0", "1.4294967296"] {
            assert_eq!(letter_id(bad), None, "{bad}");
        }
    }
}
