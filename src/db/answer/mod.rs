//! What an answer to a write means: for the source, what it kept; for a destination, what to do next.
//!
//! Promise: only answers that this kind of server is recorded to give in that case count as certain; everything else is
//! doubt at the source, and a pause (never a drop) at the destination. Texts are matched by substring, as servers append
//! ` for database: …` to most but not all of them.

mod destination;
mod source;

pub use destination::{Action, Limit, destination};
pub use source::{Kept, Parsed, source};

/// The message inside an error body: `error` (1.x) or `message` (2.x) of the JSON, else the text itself.
#[must_use]
pub fn message(body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Body {
        error: Option<String>,
        message: Option<String>,
    }
    serde_json::from_slice::<Body>(body)
        .ok()
        .and_then(|body| body.error.or(body.message))
        .unwrap_or_else(|| String::from_utf8_lossy(body).trim().to_owned())
}
