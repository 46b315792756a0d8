//! Where a `/query` has its text and its parameters, as the servers look for them.
//!
//! Rules measured on 1.x and 2.x: of a form body and the URL the body wins; of `multipart/form-data` the URL does, and `q` may be a
//! file; a body of another type is not looked at, but for `application/vnd.influxql` on 2.x. Pure; nothing makes it panic.

use percent_encoding::percent_decode_str;

/// What a query says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Form {
    /// The statements.
    pub(super) q: Option<String>,
    pub(super) db: Option<String>,
    pub(super) rp: Option<String>,
}

impl Form {
    /// Reads the query part of the URL, and the body with its `Content-Type`.
    pub(super) fn read(query: &str, content_type: &str, body: &[u8], version2: bool) -> Self {
        let mut form = Self::default();
        let (kind, parameters) = content_type.split_once(';').unwrap_or((content_type, ""));
        let kind = kind.trim().to_ascii_lowercase();
        if kind == "application/x-www-form-urlencoded" {
            form.take_pairs(&String::from_utf8_lossy(body));
        }
        form.take_pairs(query);
        if kind == "multipart/form-data" {
            form.take_parts(parameters, body);
        }
        if kind == "application/vnd.influxql" && version2 {
            form.q = Some(String::from_utf8_lossy(body).into_owned());
        }
        form
    }

    /// What was found first stays.
    fn take_pairs(&mut self, pairs: &str) {
        for pair in pairs.split('&') {
            // Servers built with an old Go take `;` for `&`; newer ones pass over the pair, and run nothing then.
            for pair in pair.split(';') {
                let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                self.take(&decoded(key), || decoded(value));
            }
        }
    }

    fn take(&mut self, key: &str, value: impl FnOnce() -> String) {
        let slot = match key {
            "q" => &mut self.q,
            "db" => &mut self.db,
            "rp" => &mut self.rp,
            _ => return,
        };
        slot.get_or_insert_with(value);
    }

    fn take_parts(&mut self, parameters: &str, body: &[u8]) {
        let Some(boundary) = parameter(parameters, "boundary").filter(|boundary| !boundary.is_empty()) else { return };
        let mut file = None;
        for part in parts(body, boundary.as_bytes()) {
            let Some(end) = find(part, b"\r\n\r\n") else { continue };
            let (head, value) = (String::from_utf8_lossy(&part[..end]), &part[end + 4..]);
            let disposition = head.split("\r\n").find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.trim().eq_ignore_ascii_case("content-disposition").then(|| value.to_owned())
            });
            let Some(disposition) = disposition else { continue };
            let Some(name) = parameter(&disposition, "name") else { continue };
            let value = String::from_utf8_lossy(value).into_owned();
            if parameter(&disposition, "filename").is_none() {
                self.take(&name, || value);
            } else if name == "q" {
                file.get_or_insert(value);
            }
        }
        if self.q.as_ref().is_none_or(|q| q.trim().is_empty()) {
            self.q = file.or(self.q.take());
        }
    }
}

/// Bytes that are not UTF-8 are replaced, as the servers' parsers do.
fn decoded(text: &str) -> String {
    percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
}

/// A parameter of a header: `name=value` or `name="value"`.
fn parameter(text: &str, name: &str) -> Option<String> {
    text.split(';').find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim().trim_matches('"').to_owned())
    })
}

/// What stands between the boundaries.
fn parts<'a>(body: &'a [u8], boundary: &[u8]) -> Vec<&'a [u8]> {
    let mark = [b"--", boundary].concat();
    let mut found = Vec::new();
    let mut rest = body;
    let mut begun = false;
    while let Some(at) = find(rest, &mark) {
        if begun {
            found.push(rest[..at].strip_suffix(b"\r\n").unwrap_or(&rest[..at]));
        }
        begun = true;
        rest = &rest[at + mark.len()..];
        rest = rest.strip_prefix(b"\r\n").unwrap_or(rest);
    }
    found
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    memchr::memmem::find(text, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";

    fn q(query: &str, kind: &str, body: &str) -> Option<String> {
        Form::read(query, kind, body.as_bytes(), false).q
    }

    #[test]
    fn a_form_wins_over_the_url_and_other_bodies_are_not_looked_at() {
        assert_eq!(q("q=a+b%3B&db=d", "", "").as_deref(), Some("a b;"));
        assert_eq!(q("q=url", FORM, "db=x&q=form").as_deref(), Some("form"));
        assert_eq!(q("q=url", "text/plain", "q=body").as_deref(), Some("url"));
        assert_eq!(q("", "application/json", "{\"q\":\"a\"}"), None);
        let form = Form::read("db=u&rp=r&q=a", FORM, b"db=b", false);
        assert_eq!((form.db.as_deref(), form.rp.as_deref()), (Some("b"), Some("r")));
        assert_eq!(q("q=DROP DATABASE a;b", "", "").as_deref(), Some("DROP DATABASE a"));
    }

    #[test]
    fn multipart_bodies_have_values_and_files() {
        let kind = "multipart/form-data; boundary=\"xx\"";
        let part = |disposition: &str, value: &str| {
            format!("--xx\r\nContent-Disposition: form-data; {disposition}\r\n\r\n{value}\r\n")
        };
        let file = part("name=\"q\"; filename=\"q.txt\"", "DROP\r\nDATABASE x");
        let body = format!("{}{file}--xx--\r\n", part("name=\"db\"", "d"));
        let form = Form::read("", kind, body.as_bytes(), false);
        assert_eq!((form.q.as_deref(), form.db.as_deref()), (Some("DROP\r\nDATABASE x"), Some("d")));
        assert_eq!(q("q=url", kind, &body).as_deref(), Some("url"));
        let both = format!("{file}{}--xx--", part("name=\"q\"", "value"));
        assert_eq!(q("", kind, &both).as_deref(), Some("value"));
        for broken in ["", "--xx", "--xx\r\n", "--xx\r\n\r\n--xx", "--xx\r\nContent-Disposition: \r\n\r\n--xx--"] {
            assert_eq!(q("", kind, broken), None, "{broken:?}");
        }
    }

    #[test]
    fn the_second_family_takes_a_text_as_it_is() {
        let read = |version2| Form::read("q=a", "application/vnd.influxql", b"DELETE FROM m", version2).q;
        assert_eq!((read(true).as_deref(), read(false).as_deref()), (Some("DELETE FROM m"), Some("a")));
    }
}
