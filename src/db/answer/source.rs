//! What the source kept of a write, judged by its answer. Source: outcome table of the design and answers measured on
//! InfluxDB 1.6, 1.7, 1.8, 1.11, 1.12, 1.13, 2.7 and 2.9, and read in the sources of the versions between.
//!
//! Promise: an answer other than success is certain only where this version is recorded to mean it so; from any other
//! version it is doubt.

use http::StatusCode;

use super::conflict::Conflict;
use super::message;
use super::refused::dropped;
use crate::base::clock::parse_rfc3339;
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
    /// Every line that parses but those outside the retention policy.
    Retained(Expired),
    /// All lines are of one time, and of these so many were dropped, among them all that have one field of one type.
    Conflicting(Conflicting),
}

/// The field whose type the source does not take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Conflicting {
    /// The first line that has it, from 0.
    pub line: u32,
    /// Which field of that line.
    pub field: u32,
    /// How many lines were dropped, for that or another reason: less than there are.
    pub dropped: u32,
}

/// Lines outside the retention policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Expired {
    /// How many, at least 1 and less than there are lines.
    pub lines: u32,
    /// The time before which the source keeps nothing, where its answer names it.
    pub horizon_ns: Option<i64>,
}

/// Judges an answer of the source.
#[must_use]
pub fn source(version: &Version, status: StatusCode, body: &[u8], parsed: Parsed) -> Kept {
    if status.is_success() {
        return Kept::All;
    }
    if !is_recorded(version) {
        return Kept::Unknown;
    }
    let text = message(body);
    match version.flavor {
        Flavor::Influx1 => influx1(version, status, &text, parsed),
        Flavor::Influx2 => influx2(status, &text, parsed),
    }
}

/// The text of an answer that names a conflict of types, and how many lines were dropped for it in the shard of which it speaks. More may
/// have been in others, and those outside the retention policy are not told then: only of lines of one time is that all.
#[must_use]
pub fn conflict_at_source(version: &Version, status: StatusCode, body: &[u8]) -> Option<(String, u32)> {
    let wanted = match version.flavor {
        Flavor::Influx1 => 400,
        Flavor::Influx2 => 422,
    };
    if status.as_u16() != wanted || !is_recorded(version) {
        return None;
    }
    let text = message(body);
    Conflict::of(&text)?;
    let dropped = u32::try_from(dropped(&text)?).ok()?;
    (dropped > 0).then_some((text, dropped))
}

/// Whether the answers of this version were measured, or read in its source.
fn is_recorded(version: &Version) -> bool {
    version.number.is_some_and(|number| match version.flavor {
        Flavor::Influx1 => ((1, 6)..=(1, 13)).contains(&number),
        Flavor::Influx2 => ((2, 0)..=(2, 9)).contains(&number),
    })
}

fn influx1(version: &Version, status: StatusCode, text: &str, parsed: Parsed) -> Kept {
    let has = |part: &str| text.contains(part);
    let nothing = match status.as_u16() {
        // Refused before the body was looked at.
        401 | 405 | 417 | 429 => true,
        413 => has("Request Entity Too Large"),
        403 => has("not authorized to write") || has("user is required") || has("create admin user"),
        404 => has("database not found") || has("bucket name") || has("page not found") || has("not found in"),
        400 if text.starts_with("partial write: unable to parse") => return malformed_only(text, parsed),
        400 if text.starts_with("partial write: ") => return expired_only(text, parsed),
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

/// The texts of points outside the retention policy. The servers name them only when nothing else went wrong but malformed
/// lines, which they hide: with some of those the numbers prove nothing.
///
/// `points beyond retention policy dropped=1` is 1.6 to 1.11 and 2.0 to 2.7.11; the long form, which names the horizon, is
/// 1.13, 2.7.12 and 2.9. The text of 1.12 does not tell old points from those of the future.
fn expired_only(text: &str, parsed: Parsed) -> Kept {
    let Some(reason) = text.split_once("partial write: ").map(|(_, reason)| reason) else { return Kept::Unknown };
    if !parsed.decoded || parsed.malformed > 0 {
        return Kept::Unknown;
    }
    if let Some(rest) =
        reason.strip_prefix("points beyond retention policy or outside permissible write window dropped=")
    {
        let all = count(rest).is_some_and(|(lines, _)| lines > 0 && lines == parsed.lines);
        return if all { Kept::Nothing } else { Kept::Unknown };
    }
    let expired = match reason.strip_prefix("points beyond retention policy dropped=") {
        Some(rest) => count(rest).map(|(lines, _)| Expired { lines, horizon_ns: None }),
        None => long_form(reason),
    };
    match expired {
        Some(Expired { lines, .. }) if lines > 0 && lines == parsed.lines => Kept::Nothing,
        Some(expired) if (1..parsed.lines).contains(&expired.lines) => Kept::Retained(expired),
        _ => Kept::Unknown,
    }
}

/// `dropped 1 points outside retention policy of duration 24h0m0s - oldest point m at T dropped because it violates a Retention
/// Policy Lower Bound at T, newest point m at T dropped because … at T dropped=1`.
fn long_form(reason: &str) -> Option<Expired> {
    let (lines, rest) = count(reason.strip_prefix("dropped ")?)?;
    let (_, rest) = rest.strip_prefix(" points outside retention policy of duration ")?.split_once(' ')?;
    let rest = rest.strip_prefix("- oldest point ")?;
    let (_, bound) = rest.rsplit_once(" Retention Policy Lower Bound at ")?;
    let (bound, rest) = bound.split_once(" dropped=")?;
    let (again, _) = count(rest)?;
    let horizon_ns = parse_rfc3339(bound)?;
    (again == lines).then_some(Expired { lines, horizon_ns: Some(horizon_ns) })
}

/// A number and what follows it.
fn count(text: &str) -> Option<(u32, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..end].parse().ok()?, &text[end..]))
}

fn influx2(status: StatusCode, text: &str, parsed: Parsed) -> Kept {
    let has = |part: &str| text.contains(part);
    let nothing = match status.as_u16() {
        401 | 403 | 405 | 417 | 429 => true,
        404 => has("not found") || has("dbrp mapping") || has("DBRP"),
        413 => has("too large") || has("Too Large"),
        400 => {
            // One malformed line refuses the whole request.
            has("unable to parse")
                || has("invalid precision")
                || has("Please provide either orgID or org")
                || has("missing db")
                || has("unable to read data")
                || has("id must have a length")
        }
        422 if text.starts_with("failure writing points to database: partial write: ") => {
            return expired_only(text, parsed);
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
        assert_eq!(judge("v2.7.6", 422, partial, 5, 0), Kept::Retained(Expired { lines: 1, horizon_ns: None }));
        assert_eq!(judge("v2.7.6", 422, partial, 1, 0), Kept::Nothing);
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

    const LONG: &str = "partial write: dropped 2 points outside retention policy of duration 24h0m0s - oldest point m at \
        1970-01-01T00:00:00.000000001Z dropped because it violates a Retention Policy Lower Bound at \
        2026-11-20T08:46:34.131967245Z, newest point m at 1970-01-01T00:00:00.000000001Z dropped because it violates a \
        Retention Policy Lower Bound at 2026-11-20T08:46:34.131967245Z dropped=2 for database: t29 for retention policy: \
        autogen";

    #[test]
    fn points_outside_the_retention_policy_are_counted_and_the_horizon_is_read() {
        let bound = Some(1_795_164_394_131_967_245);
        let kept = Kept::Retained(Expired { lines: 2, horizon_ns: bound });
        let v1 = format!(r#"{{"error":"{LONG}"}}"#);
        let v2 = format!(r#"{{"code":"unprocessable entity","message":"failure writing points to database: {LONG}"}}"#);
        assert_eq!(judge("1.13.2", 400, &v1, 5, 0), kept);
        assert_eq!(judge("v2.9.1", 422, &v2, 5, 0), kept);
        assert_eq!(judge("1.13.2", 400, &v1, 2, 0), Kept::Nothing);
        assert_eq!(judge("1.13.2", 400, &v1, 1, 0), Kept::Unknown, "more than there are");
        assert_eq!(judge("1.13.2", 400, &v1, 5, 1), Kept::Unknown, "it hides malformed lines");
        let short = r#"{"error":"partial write: points beyond retention policy dropped=2"}"#;
        assert_eq!(judge("1.8.10", 400, short, 5, 0), Kept::Retained(Expired { lines: 2, horizon_ns: None }));
        let both = r#"{"error":"partial write: points beyond retention policy or outside permissible write window dropped=2 for database: d"}"#;
        assert_eq!(judge("1.12.2", 400, both, 5, 0), Kept::Unknown, "some may lie in the future");
        assert_eq!(judge("1.12.2", 400, both, 2, 0), Kept::Nothing);
        let window = r#"{"error":"partial write: dropped 0 points outside retention policy of duration 0s and 2 points outside write window (-2h0m0s to 1h0m0s) - oldest point m at x"}"#;
        assert_eq!(judge("1.13.2", 400, window, 5, 0), Kept::Unknown);
        let quoted =
            r#"{"error":"unable to parse 'partial write: points beyond retention policy dropped=2': missing fields"}"#;
        assert_eq!(judge("1.13.2", 400, quoted, 5, 1), Kept::Unknown);
    }

    #[test]
    fn a_version_that_is_not_recorded_is_believed_only_in_success() {
        for version in ["1.5.4", "1.14.0", "v2.10.0"] {
            for status in [401, 404, 400] {
                let body = r#"{"error":"database not found: \"nope\"","message":"bucket not found"}"#;
                assert_eq!(judge(version, status, body, 2, 0), Kept::Unknown, "{version} {status}");
            }
            assert_eq!(judge(version, 204, "", 2, 0), Kept::All);
        }
        let parsed = Parsed { lines: 1, malformed: 0, decoded: true };
        let unknown = Version::assumed(Flavor::Influx1);
        assert_eq!(source(&unknown, StatusCode::UNAUTHORIZED, b"", parsed), Kept::Unknown);
    }
}
