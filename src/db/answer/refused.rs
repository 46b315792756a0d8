//! 400 and 422: lines that are refused, by the text.

use super::destination::{Action, Limit};

/// What 2.x puts before the storage's own words.
const FAILED: &str = "failure writing points to database: ";
/// Lines of a 400 of the cloud are listed up to this number; then the list may not be whole.
const LISTED_MAX: usize = 100;

/// What to do and its code; `None` where the text is not known to be about lines.
pub(super) fn refused(text: &str, line_member: Option<u64>) -> Option<(Action, &'static str)> {
    let has = |part: &str| text.contains(part);
    if text.trim() == "field type conflict" {
        // 1.6 to 1.11, when lines of one batch disagree about a new field: sent again, the good ones are stored.
        return Some((Action::Again, "type-conflict"));
    }
    if let Some(found) = numbered(text, line_member) {
        return Some(found);
    }
    if let Some(found) = written(text) {
        return Some(found);
    }
    let partial = text.trim_start_matches(FAILED).starts_with("partial write: ");
    let words = text.trim_start_matches(FAILED).trim_start_matches("partial write: ");
    // Behind these come names and lines of the user, in which every other text may stand.
    if words.starts_with("unable to parse") {
        return Some((Action::Quoted { kept: partial, written: None }, "parse"));
    }
    let first = [
        ("field type conflict", "type-conflict"),
        ("invalid field name", "bad-name"),
        ("invalid tag key", "bad-name"),
        ("max-values-per-tag", "tag-values-limit"),
        ("max-series-per-database", "series-limit"),
    ];
    let dropped = dropped(text);
    if has("has been stripped from point") && dropped == Some(0) && words.starts_with("invalid field name") {
        // The source stripped the field as well.
        return Some((Action::Acknowledge, "expected"));
    }
    if let Some((_, code)) = first.iter().find(|(start, _)| words.starts_with(start)) {
        let action = if code.ends_with("-limit") { Action::Pause(Limit::Route) } else { Action::Bisect { dropped } };
        return Some((action, code));
    }
    if words.starts_with("shard ") && has("pending deletion") {
        return Some((Action::Retry { after_s: None }, "shard-deleting"));
    }
    let code = if has("field type conflict") {
        "type-conflict"
    } else if is_expired(words) {
        "expired"
    } else if has("invalid field name") || has("invalid tag key") || has("reserved tag key") {
        "bad-name"
    } else if has("too long") || has("max key size") {
        "too-large"
    } else {
        // Also a partial write whose reason is not known: what it refused may be wanted.
        return None;
    };
    Some((Action::Bisect { dropped }, code))
}

/// Before the policy's horizon, or outside the window for writes: 1.6 to 1.11, 1.12, and 1.13 with 2.7.12 and later.
fn is_expired(words: &str) -> bool {
    words.starts_with("points beyond retention policy")
        || words.starts_with("points outside retention policy")
        || words.starts_with("dropped ") && (words.contains("retention policy") || words.contains("write window"))
        || words.contains("outside write window")
}

/// What the cloud says of each of them.
const EACH: &str = "error parsing line ";

/// The cloud names lines by number, from 1.
fn numbered(text: &str, line_member: Option<u64>) -> Option<(Action, &'static str)> {
    if !text.contains("errors encountered on line(s)") && line_member.is_none() {
        return None;
    }
    let mut lines: Vec<u64> =
        text.match_indices(EACH).filter_map(|(at, word)| number(&text[at + word.len()..])).collect();
    if lines.is_empty() {
        lines.extend(line_member);
    }
    lines.sort_unstable();
    lines.dedup();
    let kept = text.contains("partial write") && lines.len() < LISTED_MAX;
    (!lines.is_empty()).then_some((Action::Numbered { lines, kept }, "parse"))
}

/// `partial write error (N written): …`: an explicit schema of the cloud refuses lines that it quotes.
fn written(text: &str) -> Option<(Action, &'static str)> {
    const SAYS: &str = "partial write error (";
    let begin =
        text.find(SAYS).filter(|at| text[..*at].chars().all(|c| c.is_ascii_alphabetic() || " :".contains(c)))?;
    let rest = &text[begin + SAYS.len()..];
    let written = number(rest).filter(|_| rest.contains(" written)"))?;
    Some((Action::Quoted { kept: true, written: Some(written) }, "schema"))
}

fn number(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text[..end].parse().ok()
}

/// The number of lines dropped, where the server says it: at the end, or before the database's name. Anywhere else it is
/// part of a name or a line.
pub(super) fn dropped(text: &str) -> Option<u64> {
    let (_, rest) = text.rsplit_once(" dropped=")?;
    let digits = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    let number = rest[..rest.len() - digits.len()].parse().ok()?;
    (digits.trim_end().is_empty() || digits.starts_with(" for database")).then_some(number)
}
