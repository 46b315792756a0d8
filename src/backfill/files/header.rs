//! Comments that say something: the headers of `influx_inspect export`.

/// What a header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Header {
    /// It is an export.
    Export,
    /// Statements follow, one a line. Their durations are `0s` whatever the policies were.
    Statements,
    /// Lines follow.
    Data,
    /// The lines that follow belong to this database …
    Database(String),
    /// … and to this policy.
    Policy(String),
}

/// Reads a comment; `None` for one that is only that. A name is all that stands behind the first colon.
pub(super) fn header(comment: &[u8]) -> Option<Header> {
    let comment = comment.strip_suffix(b"\r").unwrap_or(comment);
    let name = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if let Some(db) = comment.strip_prefix(b"# CONTEXT-DATABASE:") {
        return Some(Header::Database(name(db)));
    }
    if let Some(rp) = comment.strip_prefix(b"# CONTEXT-RETENTION-POLICY:") {
        return Some(Header::Policy(name(rp)));
    }
    match comment.trim_ascii_end() {
        b"# DDL" => Some(Header::Statements),
        b"# DML" => Some(Header::Data),
        other => other.starts_with(b"# INFLUXDB EXPORT:").then_some(Header::Export),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_all_behind_the_first_colon() {
        assert_eq!(header(b"# CONTEXT-DATABASE:a:b c"), Some(Header::Database("a:b c".to_owned())));
        assert_eq!(header(b"# CONTEXT-RETENTION-POLICY:\r"), Some(Header::Policy(String::new())));
        assert_eq!(header(b"# DML\r"), Some(Header::Data));
        assert_eq!(header(b"# writing tsm data"), None);
    }
}
