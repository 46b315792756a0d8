//! Backslashes in names and strings, as the servers take them off and as we put them on.

use std::borrow::Cow;

/// Bytes that lose a backslash before them in a measurement and in a field key.
const NAME: &[u8] = b",\" =";
/// Bytes that lose a backslash before them in a tag key and a tag value.
const TAG: &[u8] = b", =";

pub(super) fn unescape_name(raw: &[u8]) -> Cow<'_, [u8]> {
    unescape(raw, NAME)
}

pub(super) fn unescape_tag(raw: &[u8]) -> Cow<'_, [u8]> {
    unescape(raw, TAG)
}

pub(super) fn unescape_string(raw: &[u8]) -> Cow<'_, [u8]> {
    unescape(raw, b"\"\\")
}

/// Takes off each backslash that stands directly before one of `set`; every other backslash is plain data.
fn unescape<'a>(raw: &'a [u8], set: &[u8]) -> Cow<'a, [u8]> {
    if memchr::memchr(b'\\', raw).is_none() {
        return Cow::Borrowed(raw);
    }
    let mut plain = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let [byte, tail @ ..] = rest {
        match tail {
            [escaped, tail @ ..] if *byte == b'\\' && set.contains(escaped) => {
                plain.push(*escaped);
                rest = tail;
            }
            _ => {
                plain.push(*byte);
                rest = tail;
            }
        }
    }
    Cow::Owned(plain)
}

/// A measurement: `=` and `"` stay bare, since InfluxDB 2.x does not find a series whose measurement escapes them.
pub(super) fn write_measurement(name: &[u8], out: &mut Vec<u8>) {
    write_escaped(name, b", ", out);
}

/// A tag key or a tag value.
pub(super) fn write_tag(name: &[u8], out: &mut Vec<u8>) {
    write_escaped(name, TAG, out);
}

/// A field key. A quote is bare, unless a backslash before it would then be taken for its escape.
pub(super) fn write_field_key(name: &[u8], out: &mut Vec<u8>) {
    let mut previous = 0;
    for byte in name {
        if TAG.contains(byte) || (*byte == b'"' && previous == b'\\') {
            out.push(b'\\');
        }
        out.push(*byte);
        previous = *byte;
    }
}

/// A string with its quotes.
pub(super) fn write_string(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    write_escaped(text, b"\"\\", out);
    out.push(b'"');
}

fn write_escaped(plain: &[u8], set: &[u8], out: &mut Vec<u8>) {
    if !plain.iter().any(|byte| set.contains(byte)) {
        out.extend_from_slice(plain);
        return;
    }
    for byte in plain {
        if set.contains(byte) {
            out.push(b'\\');
        }
        out.push(*byte);
    }
}
