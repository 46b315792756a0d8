//! InfluxQL texts: how a name or a string is written so that the parser reads back the same bytes.

pub(super) use crate::db::influxql::identifier;

/// How a measurement is named in `FROM`. A name that is not UTF-8 cannot be quoted; a regular expression can match it,
/// each stray byte as U+FFFD, and may then match other names too: the caller looks at the names that come back. A NUL ends
/// the server's reading of a statement, and a carriage return is a line feed to it, so a name that holds one goes the same
/// way.
pub(super) fn measurement(name: &[u8]) -> String {
    exact(name).unwrap_or_else(|| pattern(name))
}

/// The name in double quotes, if a statement can hold it.
pub(super) fn exact(name: &[u8]) -> Option<String> {
    std::str::from_utf8(name).ok().filter(|text| !text.contains(['\0', '\r'])).map(identifier)
}

fn pattern(name: &[u8]) -> String {
    let mut out = String::from("/^");
    for piece in name.utf8_chunks() {
        for c in piece.valid().chars() {
            if c.is_ascii_alphanumeric() || c == '_' {
                out.push(c);
            } else {
                out.push_str(&format!("\\x{{{:x}}}", u32::from(c)));
            }
        }
        // The server's engine reads every stray byte as one U+FFFD.
        for _ in piece.invalid() {
            out.push_str("\\x{fffd}");
        }
    }
    // The empty group keeps the server from turning the pattern into a comparison with the replaced text.
    out.push_str("()$/");
    out
}

/// Percent-encoded for a query string or a form body: everything but letters and digits.
pub(super) fn percent(text: &str) -> impl std::fmt::Display {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_quoting() {
        assert_eq!(identifier("a\"b\\c\nd'e"), r#""a\"b\\c\nd'e""#);
        assert_eq!(measurement(b"m x"), r#""m x""#);
        assert_eq!((exact(b"m x"), exact(b"a\0"), exact(b"\xff")), (Some("\"m x\"".to_owned()), None, None));
        assert_eq!(measurement(b"a\0b\r"), r"/^a\x{0}b\x{d}()$/");
        assert_eq!(measurement(b"a/\xff\xfeb"), r"/^a\x{2f}\x{fffd}\x{fffd}b()$/");
    }
}
