//! Why InfluxDB 3 refuses a line: our short names, its words, and what to write instead.
//!
//! Promise: the words are those of the server, except that a part of the line that they repeat is never longer than 64 characters.

use std::str::Utf8Error;

use crate::line::record::Fault;

/// One kind of fault.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Kind {
    code: &'static str,
    /// The server's words; empty where they depend on the line.
    words: &'static str,
    mend: &'static str,
}

macro_rules! kinds {
    ($($name:ident: $code:literal, $words:literal, $mend:literal;)*) => {
        $(pub(super) static $name: Kind = Kind { code: $code, words: $words, mend: $mend };)*
    };
}

kinds! {
    NOT_UTF8:
        "not-utf8",
        "",
        "write the text in UTF-8; the server refuses the whole body, not this line alone";
    MISSING_MEASUREMENT:
        "missing-measurement",
        "Invalid measurement was provided",
        "begin the line with the measurement's name";
    ENDS_WITH_BACKSLASH:
        "ends-with-backslash",
        "Measurements, tag keys and values, and field keys may not end with a backslash",
        "take the backslash at the end away; a name cannot end in one, and two count as one";
    TOO_LONG:
        "too-long",
        "String is greater than 64KB",
        "names, tag values and strings have at most 65,536 bytes: shorten this one";
    MISSING_TAG_KEY:
        "missing-tag-key",
        "",
        "write name=value after the comma, without a space, or take the comma away";
    MISSING_TAG_EQUALS:
        "missing-tag-equals",
        "",
        "write = and a value after the tag's name; a space in a name needs a backslash before it";
    MISSING_TAG_VALUE:
        "missing-tag-value",
        "",
        "write a value after the =, or leave the tag out: it cannot be empty";
    EXPECTED_SPACE:
        "expected-space",
        "",
        "write a space before the fields: only spaces separate, and tabs, line feeds and NUL cannot stand here";
    MISSING_FIELDS:
        "missing-fields",
        "",
        "write a space and at least one field, name=value, after the measurement and its tags";
    MISSING_FIELD_KEY:
        "missing-field-key",
        "",
        "write name=value here; no space, tab or = may stand before a field's name, and no comma behind the last field";
    MISSING_EQUALS:
        "missing-field-equals",
        "",
        "write = and a value after the field's name; a space in a name needs a backslash before it";
    MISSING_FIELD_VALUE:
        "missing-field-value",
        "",
        "write a value after the =, without a space, or leave the field out";
    UNTERMINATED_STRING:
        "unterminated-string",
        "",
        "close the string with a quote; a quote inside it needs a backslash before it";
    INVALID_NUMBER:
        "invalid-number",
        "",
        "write a float with digits on both sides of the point and without a plus sign: 0.5, -1.0, 1e6; an integer ends in i or u";
    INVALID_VALUE:
        "invalid-value",
        "",
        "write a number, true or false, or a text in double quotes";
    INTEGER_OUT_OF_RANGE:
        "integer-out-of-range",
        "",
        "write a number from -9223372036854775808 to 9223372036854775807, or a float, without the i";
    UNSIGNED_OUT_OF_RANGE:
        "unsigned-out-of-range",
        "",
        "write a number up to 18446744073709551615, or a float, without the u";
    TIMESTAMP_OUT_OF_RANGE:
        "timestamp-out-of-range",
        "",
        "write the time in the unit of the request's precision, as a number that fits in 64 bits";
    TIME_OUT_OF_RANGE:
        "time-out-of-range",
        "the time in nanoseconds does not fit in 64 bits; the server would store another time",
        "write the time in the unit of the request's precision, or say another precision";
    BAD_TIMESTAMP:
        "bad-timestamp",
        "",
        "end the line with one timestamp of digits only, or with the fields; a space in a name or a text outside quotes needs a backslash";
    TRAILING_SPACE:
        "trailing-space",
        "",
        "take the space at the end of the line away, or write a timestamp after it";
    CARRIAGE_RETURN:
        "carriage-return",
        "",
        "end lines with a line feed alone, not with CR and LF";
    HELD_LINE_FEED:
        "held-line-feed",
        "",
        "close the quote, or take the backslash away, that keeps this line feed from ending the line; it may stand in a comment before";
    TEXT_BEHIND_VALUE:
        "text-behind-value",
        "",
        "put a comma or a space after the value; a quote inside a string needs a backslash before it";
}

/// The most characters of the line in a reason where the server shortens.
const SHORT: usize = 10;
/// And where it does not.
const LONG: usize = 64;

fn new(kind: &Kind, at: usize, reason: String) -> Fault {
    Fault { at, code: kind.code, reason, mend: kind.mend }
}

/// A fault whose words are always the same.
pub(super) fn at(kind: &Kind, at: usize) -> Fault {
    new(kind, at, kind.words.to_owned())
}

pub(super) fn not_utf8(error: &Utf8Error) -> Fault {
    new(&NOT_UTF8, error.valid_up_to(), format!("body content is not valid utf8: {error}"))
}

/// `what` should begin where `rest` does.
pub(super) fn expected(kind: &Kind, what: &str, rest: &[u8], at: usize) -> Fault {
    let most = if *kind == EXPECTED_SPACE { LONG } else { SHORT };
    let got = if rest.is_empty() { "end of input".to_owned() } else { format!("`{}`", shortened(rest, most)) };
    new(kind, at, format!("Expected {what}, got {got}"))
}

/// The tags, from the first one on, lack an equals sign.
pub(super) fn of_tags(kind: &Kind, tags: &[u8], at: usize) -> Fault {
    let tags = shortened(tags, SHORT);
    new(kind, at, format!("Tag set malformed: could not find equals sign in `{tags}`"))
}

/// The first field is none, for whatever reason.
pub(super) fn no_fields(kind: &Kind, at: usize) -> Fault {
    new(kind, at, "No fields were provided".to_owned())
}

/// The number that ends where `text` does is too large.
pub(super) fn of_number(kind: &Kind, what: &str, text: &[u8], start: usize) -> Fault {
    new(kind, start, format!("Unable to parse {what} value `{}`", shortened(&text[start..], LONG)))
}

/// The line is read, and `rest` is left.
pub(super) fn left_over(kind: &Kind, rest: &[u8], at: usize) -> Fault {
    let rest = shortened(rest, SHORT);
    new(kind, at, format!("Could not parse entire line. Found trailing content: `{rest}`"))
}

/// As the server shortens: by characters what has more bytes than that.
fn shortened(text: &[u8], most: usize) -> String {
    if text.len() <= most {
        return String::from_utf8_lossy(text).into_owned();
    }
    // No character has more than four bytes.
    let begin = &text[..text.len().min(4 * most)];
    let kept: String = String::from_utf8_lossy(begin).chars().take(most).collect();
    format!("{kept}...")
}
