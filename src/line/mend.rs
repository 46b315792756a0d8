//! What to write instead of a line that InfluxDB refuses: guessed from what stands where the rule is broken.

use super::{Dialect, Precision, Reason};

const LINE_END: &str =
    "the line ends in CR LF, as Windows writes it: end lines with LF alone, for instance by tr -d '\\r' < FILE";
const UNIT: &str = "the time does not fit into 64 bits as nanoseconds: check --precision";

/// How to mend a line, by what stands before the byte at which the rule is broken, and from there on.
#[cold]
pub(super) fn mend(
    reason: Reason,
    (dialect, precision): (Dialect, Precision),
    before: &[u8],
    rest: &[u8],
) -> &'static str {
    if rest == b"\r" {
        return LINE_END;
    }
    match reason {
        Reason::MissingMeasurement => "begin the line with the measurement, before the first comma",
        Reason::MissingTagKey => tag_key(rest.first().copied()),
        Reason::MissingTagValue => {
            "write each tag as name=value, and leave out a tag that has no value; a space or comma inside a name or value \
             needs a backslash before it"
        }
        Reason::InvalidTagFormat => "an equals sign inside a tag's value needs a backslash: name=a\\=b",
        Reason::DuplicateTags => "this tag stands in the line already: remove one of them",
        Reason::ReservedTagKey(_) => "InfluxDB 2.x keeps this name for itself: give the tag another",
        Reason::MissingFields => {
            "a space and at least one field must follow the measurement and its tags: measurement,tag=value field=1"
        }
        Reason::MissingFieldKey => "write the field's name right before the =, and no space after a comma",
        Reason::MissingFieldValue => "write the value right after the =, or leave the field out; an empty text is \"\"",
        Reason::InvalidNumber => number(dialect, rest),
        Reason::InvalidFloat => {
            "a number with a point or an exponent is at most 1.7976931348623157e308, and digits follow the e"
        }
        Reason::IntegerOutOfRange => {
            "an integer is -9223372036854775808i to 9223372036854775807i; without i the number is a float"
        }
        Reason::UnsignedOutOfRange => {
            "an unsigned integer is 0u to 18446744073709551615u; without u the number is a float"
        }
        Reason::InvalidBoolean => value(rest),
        Reason::UnbalancedQuotes => {
            "this quote opens a text that does not end: close it; a quote inside a text is written \\\""
        }
        Reason::InvalidFieldFormat if before.ends_with(b",") => {
            "after the comma another field must follow, without a space; remove a comma behind the last field"
        }
        Reason::InvalidFieldFormat => {
            "write each field as name=value, with a comma and no space between; a space inside a name or a tag needs a \
             backslash before it"
        }
        Reason::InvalidFieldValue => "a field's name must not end in a backslash",
        Reason::KeyTooLong(_) => "measurement, tags and field name have at most 65,535 bytes together: shorten them",
        Reason::BadTimestamp => timestamp(rest),
        Reason::LoneMinus => "digits must follow the minus; without a time leave it out",
        Reason::TimestampOutOfRange => "a timestamp is a whole number of at most 19 digits",
        Reason::TimeOutOfRange => unit(precision, rest),
        Reason::InvalidPoint => {
            "nothing may follow the timestamp: a further field needs a comma instead of a space, a further point its own line"
        }
    }
}

fn tag_key(at: Option<u8>) -> &'static str {
    match at {
        Some(b' ') => "no space after the comma: measurement,tag=value field=1; without tags no comma either",
        Some(b',') => "one of the two commas is too much",
        Some(b'=') => "write the tag's name before the =",
        _ => "after the comma a tag must follow: measurement,tag=value field=1",
    }
}

fn number(dialect: Dialect, rest: &[u8]) -> &'static str {
    match rest {
        [b'u', ..] if dialect == Dialect::Influx1 && ends(rest, 1) => {
            "InfluxDB 1.x has no unsigned integers: write an integer, with i instead of u"
        }
        [b'u', ..] if ends(rest, 1) => "an unsigned integer has no sign and no point",
        [b'i', ..] if ends(rest, 1) => "an integer has no point and no exponent: without i the number is a float",
        [b'n' | b'N', ..] => value(rest),
        [b':' | b'-' | b'/', ..] => "a text, also a date or an address, stands in double quotes: name=\"text\"",
        _ => {
            "a number is digits with one point at most (1.5), with i behind it an integer (1i); anything else is a text \
             and stands in double quotes"
        }
    }
}

/// Whether the value is over after so many bytes.
fn ends(rest: &[u8], length: usize) -> bool {
    matches!(rest.get(length), None | Some(b',' | b' ' | b'\r'))
}

fn value(rest: &[u8]) -> &'static str {
    let length = rest.iter().position(|b| matches!(b, b',' | b' ' | b'\r')).unwrap_or(rest.len());
    let word = rest[..length].to_ascii_lowercase();
    match &word[..] {
        [b'\'', ..] => "a text stands in double quotes: name=\"text\"",
        [0xe2, 0x80, 0x98..=0x9f, ..] | [0xc2, 0xab | 0xbb, ..] => {
            "a text stands in straight double quotes: name=\"text\""
        }
        [b'+', ..] => "a number has no plus sign",
        b"nan" | b"inf" | b"infinity" => {
            "only finite numbers can be stored: leave the field out where there is no value"
        }
        b"null" | b"none" | b"nil" => "there is no null: leave the field out where there is no value",
        b"true" | b"false" | b"yes" | b"no" | b"on" | b"off" => {
            "true is t, T, true, True or TRUE, and false is f, F, false, False or FALSE"
        }
        // More of the form name=value follows behind a space.
        _ if rest[length..].starts_with(b" ") && rest[length..].contains(&b'=') => {
            "a tag follows the measurement with a comma, and a space inside a tag needs a backslash: \
             measurement,tag=a\\ b field=1; if this is a field, its text stands in double quotes"
        }
        _ => "a text stands in double quotes: name=\"text\"",
    }
}

fn timestamp(rest: &[u8]) -> &'static str {
    let token = rest.split(|b| *b == b' ').next().unwrap_or_default();
    match token {
        [b',', ..] => "no space before a comma: fields are name=value,name=value",
        _ if token.contains(&b'=') => "fields are separated by commas, without spaces: name=value,name=value",
        [b'.' | b'e' | b'E', ..] => "a timestamp is a whole number: no point, no exponent; --precision says its unit",
        [b'-' | b':' | b'T' | b'/', ..] => "a timestamp is the whole number of units since 1970, not a date",
        [b'"', ..] => "a timestamp stands without quotes",
        _ if token.contains(&b'"') => "a quote inside a text needs a backslash before it, else it ends the text: \\\"",
        [b'\t', ..] => "only spaces separate: write a space instead of the tab",
        _ => {
            "a timestamp is a whole number, the last thing in the line; if this was meant to be part of a text, the text \
             stands in double quotes"
        }
    }
}

/// By the number of digits, which are those of our days.
fn unit(precision: Precision, rest: &[u8]) -> &'static str {
    let digits = rest.strip_prefix(b"-").unwrap_or(rest).iter().take_while(|b| b.is_ascii_digit()).count();
    match digits {
        12 | 13 => "this looks like milliseconds: --precision ms, and precision=ms where it is sent",
        15 | 16 => "this looks like microseconds: --precision us, and precision=us where it is sent",
        18 | 19 if precision != Precision::Nanosecond => {
            "this looks like nanoseconds: --precision ns, and precision=ns where it is sent"
        }
        _ => UNIT,
    }
}
