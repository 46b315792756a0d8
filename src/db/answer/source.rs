//! What the source kept of a write, judged by its answer. Source: outcome table of the design and answers measured on
//! InfluxDB 1.6, 1.7, 1.8, 1.11, 1.12, 1.13, 2.7 and 2.9.

use http::StatusCode;

use super::message;
use crate::db::server::{Flavor, Version};

/// What we know of the body that was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// Lines that parse in the source's dialect.
    pub lines: u32,
    /// Lines that do not.
    pub malformed: u32,
    /// Whether we could decode the body at all.
    pub decoded: bool,
}

/// What the source kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kept {
    /// Every line that parses in the source's dialect.
    All,
    /// Nothing.
    Nothing,
    /// Not known: read back later.
    Unknown,
}

/// Judges an answer of the source.
#[must_use]
pub fn source(version: &Version, status: StatusCode, body: &[u8], parsed: Parsed) -> Kept {
    if status.is_success() {
        return Kept::All;
    }
    let text = message(body);
    match version.flavor {
        Flavor::Influx1 => influx1(version, status, &text, parsed),
        Flavor::Influx2 => influx2(status, &text, parsed),
    }
}

fn influx1(version: &Version, status: StatusCode, text: &str, parsed: Parsed) -> Kept {
    let has = |part: &str| text.contains(part);
    let nothing = match status.as_u16() {
        // Refused before the body was looked at.
        401 | 405 | 413 | 417 | 429 => true,
        403 => has("not authorized to write") || has("user is required") || has("create admin user"),
        404 => has("database not found") || has("bucket name") || has("page not found") || has("not found in"),
        400 if has("partial write: unable to parse") => return malformed_only(text, parsed),
        400 if has("partial write") => false,
        // 1.8 and 1.9 answer 400 to an unknown precision and go on to store the points.
        400 if has("invalid precision") => version.at_least(1, 10),
        400 if has("unable to parse") => parsed.decoded && parsed.lines == 0,
        400 => {
            has("database is required")
                || has("invalid consistency level")
                || has("gzip:")
                || text == "EOF"
                || text == "unexpected EOF"
        }
        500 => has("retention policy not found"),
        503 => has("request throttled"),
        _ => false,
    };
    if nothing { Kept::Nothing } else { Kept::Unknown }
}

/// `partial write: unable to parse 'a': reason\nunable to parse 'b': reason dropped=0`: everything else was stored, if the
/// server found as many bad lines as we did. A quoted line may hold these words itself; then the numbers differ.
fn malformed_only(text: &str, parsed: Parsed) -> Kept {
    let named = text.matches("unable to parse '").count();
    let dropped_none = text.contains(" dropped=0");
    if parsed.decoded && dropped_none && named == parsed.malformed as usize { Kept::All } else { Kept::Unknown }
}

fn influx2(status: StatusCode, text: &str, parsed: Parsed) -> Kept {
    let has = |part: &str| text.contains(part);
    let nothing = match status.as_u16() {
        401 | 403 | 404 | 405 | 413 | 417 | 429 => true,
        400 => {
            // One malformed line refuses the whole request.
            has("unable to parse")
                || has("invalid precision")
                || has("Please provide either orgID or org")
                || has("missing db")
                || has("unable to read data")
                || has("id must have a length")
        }
        // A body that is no gzip: refused while reading. With a body that we could decode it may come from deeper.
        500 => !parsed.decoded && (has("unable to read data") || has("An internal error has occurred")),
        _ => false,
    };
    if nothing { Kept::Nothing } else { Kept::Unknown }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(version: &str, status: u16, body: &str, lines: u32, malformed: u32) -> Kept {
        let version = Version::read(version).unwrap();
        let parsed = Parsed { lines, malformed, decoded: true };
        source(&version, StatusCode::from_u16(status).unwrap(), body.as_bytes(), parsed)
    }

    #[test]
    fn answers_of_1x_count_as_recorded() {
        let partial = r#"{"error":"partial write: unable to parse 'bad': missing fields\nunable to parse 'bad2 v=': missing field value dropped=0 for database: t22"}"#;
        let conflict = r#"{"error":"partial write: field type conflict: input field \"v\" on measurement \"m\" is type string, already exists as type float dropped=1"}"#;
        let cases = [
            (204, "", 2, 0, Kept::All),
            (400, partial, 2, 2, Kept::All),
            (400, partial, 2, 1, Kept::Unknown),
            (400, conflict, 2, 0, Kept::Unknown),
            (400, r#"{"error":"field type conflict"}"#, 2, 0, Kept::Unknown),
            (400, r#"{"error":"unable to parse 'm': missing fields"}"#, 0, 1, Kept::Nothing),
            (400, r#"{"error":"unable to parse 'm': missing fields"}"#, 1, 1, Kept::Unknown),
            (404, r#"{"error":"database not found: \"nope\""}"#, 2, 0, Kept::Nothing),
            (404, "gone", 2, 0, Kept::Unknown),
            (500, r#"{"error":"retention policy not found: nope"}"#, 2, 0, Kept::Nothing),
            (500, r#"{"error":"timeout"}"#, 2, 0, Kept::Unknown),
            (503, "request throttled, queue full\n", 2, 0, Kept::Nothing),
            (503, "", 2, 0, Kept::Unknown),
            (401, "", 2, 0, Kept::Nothing),
        ];
        for (status, body, lines, malformed, want) in cases {
            assert_eq!(judge("1.13.2", status, body, lines, malformed), want, "{status} {body}");
        }
    }

    #[test]
    fn a_refused_precision_stored_something_on_1_8() {
        let body = r#"{"error":"invalid precision \"us\" (use n, u, ms, s, m or h)"}"#;
        assert_eq!(judge("1.8.10", 400, body, 1, 0), Kept::Unknown);
        assert_eq!(judge("1.13.2", 400, body, 1, 0), Kept::Nothing);
    }

    #[test]
    fn answers_of_2x_count_as_recorded() {
        let parse = r#"{"code":"invalid","message":"unable to parse 'bad': missing fields"}"#;
        let partial = r#"{"code":"unprocessable entity","message":"failure writing points to database: partial write: points beyond retention policy dropped=1"}"#;
        assert_eq!(judge("v2.9.1", 400, parse, 5, 1), Kept::Nothing);
        assert_eq!(judge("v2.9.1", 422, partial, 5, 0), Kept::Unknown);
        assert_eq!(
            judge("v2.9.1", 404, r#"{"code":"not found","message":"bucket \"x\" not found"}"#, 5, 0),
            Kept::Nothing
        );
        assert_eq!(
            judge("v2.9.1", 500, r#"{"message":"unexpected error writing points to database: timeout"}"#, 5, 0),
            Kept::Unknown
        );
        assert_eq!(judge("v2.9.1", 400, r#"{"message":"something new"}"#, 5, 0), Kept::Unknown);
    }
}
