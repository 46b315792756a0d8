//! One record of CSV to its cells.

use std::borrow::Cow;

/// Splits a record without its end. `None`: a quote stands where none may.
#[must_use]
pub fn cells(record: &[u8]) -> Option<Vec<Cow<'_, [u8]>>> {
    let (mut all, mut rest) = (Vec::new(), record);
    loop {
        let (cell, behind) = match rest.first() {
            Some(b'"') => quoted(&rest[1..])?,
            _ => {
                let end = memchr::memchr(b',', rest).unwrap_or(rest.len());
                if memchr::memchr(b'"', &rest[..end]).is_some() {
                    return None;
                }
                (Cow::Borrowed(&rest[..end]), &rest[end..])
            }
        };
        all.push(cell);
        match behind.split_first() {
            None => return Some(all),
            Some((b',', more)) => rest = more,
            Some(_) => return None,
        }
    }
}

/// A cell behind its first quote, and what follows its last one. Quotes are doubled in it; the server writes each line feed as CR LF, and no
/// other CR.
fn quoted(rest: &[u8]) -> Option<(Cow<'_, [u8]>, &[u8])> {
    let mut from = 0;
    let end = loop {
        let at = from + memchr::memchr(b'"', &rest[from..])?;
        if rest.get(at + 1) != Some(&b'"') {
            break at;
        }
        from = at + 2;
    };
    let (text, behind) = (&rest[..end], &rest[end + 1..]);
    if memchr::memchr2(b'"', b'\r', text).is_none() {
        return Some((Cow::Borrowed(text), behind));
    }
    let mut plain = Vec::with_capacity(text.len());
    let mut bytes = text.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => drop(bytes.next()),
            b'\r' if bytes.peek() == Some(&b'\n') => continue,
            _ => {}
        }
        plain.push(byte);
    }
    Some((Cow::Owned(plain), behind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_doubled_and_line_feeds_come_with_a_carriage_return() {
        let split = |record: &[u8]| cells(record).map(|all| all.into_iter().map(Cow::into_owned).collect::<Vec<_>>());
        assert_eq!(split(b",a,\"b,\"\"\r\n\r\",").unwrap(), [&b""[..], b"a", b"b,\"\n\r", b""]);
        assert_eq!(split(b"").unwrap(), [b""]);
        for odd in [&b"a\"b"[..], b"\"a", b"\"a\"b", b"\"a\"\"b"] {
            assert_eq!(split(odd), None, "{}", odd.escape_ascii());
        }
    }
}
