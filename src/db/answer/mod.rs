//! What an answer to a write means: for the source, what it kept; for a destination, what to do next.
//!
//! Promise: only answers that this kind of server is recorded to give in that case count as certain; everything else is
//! doubt at the source, and a pause (never a drop) at the destination. Texts are matched by substring, as servers append
//! ` for database: …` to most but not all of them.

mod conflict;
mod destination;
mod influx3;
mod questdb;
mod quoted;
mod refused;
mod retry_after;
mod source;
mod victoria;

pub use conflict::Conflict;
pub use destination::{Action, Limit, Verdict, destination};
pub use questdb::{COMMIT_ERROR, NO_GZIP};
pub use quoted::{Refused, quoted};
pub use retry_after::retry_after;
pub use source::{Conflicting, Expired, Kept, Parsed, conflict_at_source, source};

use http::{HeaderMap, StatusCode};

use crate::db::product::Product;
use crate::db::server::Flavor;

/// Judges an answer of the destination to a non-empty batch.
#[must_use]
pub fn of(product: Product, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Verdict {
    match product {
        Product::Influx1 => destination(Flavor::Influx1, status, headers, body),
        Product::Influx2 => destination(Flavor::Influx2, status, headers, body),
        Product::Influx3 => influx3::influx3(status, headers, body),
        Product::Victoria => victoria::victoria(status, headers, body),
        Product::Questdb => questdb::questdb(status, headers, body),
    }
}

#[derive(serde::Deserialize)]
struct Body {
    error: Option<String>,
    message: Option<String>,
}

/// What a JSON error body says: `error` (1.x) or `message` (2.x). A body of which only the beginning was read counts too.
fn json_message(body: &[u8]) -> Option<String> {
    let parse = |body: &[u8]| serde_json::from_slice::<Body>(body).ok().and_then(|body| body.error.or(body.message));
    parse(body).or_else(|| {
        // Cut anywhere, also within an escape or a character.
        let begun = body.trim_ascii_start().starts_with(b"{") && !body.trim_ascii_end().ends_with(b"}");
        (0..12usize.min(body.len())).take_while(|_| begun).find_map(|cut| {
            let mut whole = body[..body.len() - cut].to_vec();
            whole.extend_from_slice(b"\"}");
            parse(&whole)
        })
    })
}

/// The message inside an error body: `error` (1.x) or `message` (2.x) of the JSON, else the text itself.
#[must_use]
pub fn message(body: &[u8]) -> String {
    json_message(body).unwrap_or_else(|| String::from_utf8_lossy(body).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_is_found_in_either_form_and_when_its_end_is_missing() {
        let two = r#"{"code":"invalid","message":"unable to parse 'm': \"é\" no"}"#.as_bytes();
        assert_eq!(message(two), "unable to parse 'm': \"é\" no");
        assert_eq!(message(b"{\"error\":\"timeout\"}\n"), "timeout");
        assert_eq!(message(b"request throttled, queue full\n"), "request throttled, queue full");
        for cut in 30..two.len() - 1 {
            let found = json_message(&two[..cut]).unwrap();
            assert!("unable to parse 'm': \"é\" no".starts_with(&found), "{found}");
        }
        assert_eq!(json_message(b"<html>"), None);
        assert_eq!(json_message(b"{\"other\":1}"), None);
    }
}
