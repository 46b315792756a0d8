//! Lines with parts of them masked. Pure.

/// Stands for what is masked.
const MASK: &str = "…";

/// Which parts are not shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Masks {
    tags: bool,
    /// Names of fields.
    fields: bool,
    values: bool,
}

/// The measurement of a line, without its escapes.
pub(super) fn measurement(line: &[u8]) -> Vec<u8> {
    let end = end_of(line, b", ", false).unwrap_or(line.len());
    let mut out = Vec::with_capacity(end);
    let mut bytes = line[..end].iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        let escapes = byte == b'\\' && bytes.peek().is_some_and(|next| b", ".contains(next));
        if !escapes {
            out.push(byte);
        }
    }
    out
}

/// Where the first of these stands that is not escaped, and not within quotes where those count.
fn end_of(text: &[u8], ends: &[u8], quotes: bool) -> Option<usize> {
    let (mut at, mut quoted) = (0, false);
    while let Some(byte) = text.get(at) {
        match byte {
            b'\\' => at += 1,
            b'"' if quotes => quoted = !quoted,
            byte if !quoted && ends.contains(byte) => return Some(at),
            _ => {}
        }
        at += 1;
    }
    None
}

impl Masks {
    /// `tags,fields,values`: what stands in the list.
    pub(super) fn read(list: &str) -> Self {
        let has = |name: &str| list.split(',').any(|part| part.trim() == name);
        Self { tags: has("tags"), fields: has("fields"), values: has("values") }
    }

    pub(super) fn any(self) -> bool {
        self.tags || self.fields || self.values
    }

    /// A line with those parts masked. Of one that does not look like a line nothing but that is shown.
    pub(super) fn mask(self, line: &[u8]) -> String {
        if !self.any() {
            return String::from_utf8_lossy(line).into_owned();
        }
        self.masked(line).unwrap_or_else(|| "(a line that does not parse, masked)".to_owned())
    }

    fn masked(self, line: &[u8]) -> Option<String> {
        let head_end = end_of(line, b" ", false)?;
        let (head, rest) = (&line[..head_end], &line[head_end + 1..]);
        let fields_end = end_of(rest, b" ", true).unwrap_or(rest.len());
        let (fields, tail) = rest.split_at(fields_end);
        let measurement_end = end_of(head, b",", false).unwrap_or(head.len());
        let mut out = String::from_utf8_lossy(&head[..measurement_end]).into_owned();
        pairs(head.get(measurement_end + 1..).unwrap_or_default(), false, |_, name, value| {
            out.push(',');
            push(&mut out, name, value, (false, self.tags));
        })?;
        out.push(' ');
        pairs(fields, true, |first, name, value| {
            if !first {
                out.push(',');
            }
            push(&mut out, name, value, (self.fields, self.values));
        })?;
        // A time is a number, and nothing else is shown in its place.
        let time = std::str::from_utf8(tail).ok()?.trim();
        if !time.is_empty() {
            time.parse::<i64>().ok()?;
            out.push(' ');
            out.push_str(time);
        }
        Some(out)
    }
}

fn push(out: &mut String, name: &[u8], value: &[u8], (name_masked, value_masked): (bool, bool)) {
    let text =
        |text: &[u8], masked: bool| if masked { MASK.to_owned() } else { String::from_utf8_lossy(text).into_owned() };
    out.push_str(&text(name, name_masked));
    out.push('=');
    out.push_str(&text(value, value_masked));
}

/// Visits `name=value` after `name=value`; `None`: they are not.
fn pairs(mut text: &[u8], quotes: bool, mut visit: impl FnMut(bool, &[u8], &[u8])) -> Option<()> {
    let mut first = true;
    while !text.is_empty() {
        let end = end_of(text, b",", quotes).unwrap_or(text.len());
        let pair = &text[..end];
        let equals = end_of(pair, b"=", false)?;
        visit(first, &pair[..equals], &pair[equals + 1..]);
        first = false;
        text = text.get(end + 1..).unwrap_or_default();
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_masked_is_nowhere_in_the_line() {
        let line = br#"m\ x,h=secret,i=a\ b v="sec,ret 1\" x",w=1i 1700"#;
        let mask = |list: &str| Masks::read(list).mask(line);
        assert_eq!(mask("tags"), r#"m\ x,h=…,i=… v="sec,ret 1\" x",w=1i 1700"#);
        assert_eq!(mask("values"), r"m\ x,h=secret,i=a\ b v=…,w=… 1700");
        assert_eq!(mask("tags,fields, values"), r"m\ x,h=…,i=… …=…,…=… 1700");
        assert_eq!(mask(""), String::from_utf8_lossy(line));
        assert_eq!(Masks::read("values").mask(b"m v=1"), "m v=…");
        for odd in ["secret", "m,secret v=1", "m secret", "m v=1 secret", "# secret", "m v=\"secret 1"] {
            let masked = Masks::read("tags,values").mask(odd.as_bytes());
            assert!(!masked.contains("secret"), "{odd}: {masked}");
        }
        assert_eq!(measurement(br"a\,b\ c\d,t=1 v=1"), br"a,b c\d");
    }
}
