//! Which requests may change something at the source otherwise than by a write.

use std::borrow::Cow;

use http::{Method, Request};
use percent_encoding::percent_decode_str;

use crate::db::influxql::Class;

/// A request that may change something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    /// `/query`: what its statements say.
    Influxql,
    /// `/api/v2/query`: what its script says.
    Flux,
    /// `/api/v2/delete`
    Delete,
    /// Another call, which says by its path what it changes.
    Call(Class),
}

/// Beginnings of paths of 2.x, each up to a `/` or the end.
const CALLS: [(&str, Class); 16] = [
    ("/api/v2/buckets", Class::ApiNames),
    ("/api/v2/dbrps", Class::ApiNames),
    ("/api/v2/orgs", Class::ApiUsers),
    ("/api/v2/users", Class::ApiUsers),
    ("/api/v2/authorizations", Class::ApiUsers),
    ("/private/legacy/authorizations", Class::ApiUsers),
    ("/api/v2/setup", Class::ApiUsers),
    ("/api/v2/me/password", Class::ApiUsers),
    ("/api/v2/tasks", Class::ApiTasks),
    ("/api/v2/checks", Class::ApiTasks),
    ("/api/v2/scrapers", Class::ApiTasks),
    ("/api/v2/templates/apply", Class::ApiTasks),
    ("/api/v2/stacks", Class::ApiTasks),
    ("/api/v2/restore", Class::Bypass),
    ("/api/v2/replications", Class::Bypass),
    ("/api/v2/remotes", Class::Bypass),
];

/// The door that a request uses; its path is read as the servers read it, decoded.
pub(super) fn door<B>(request: &Request<B>) -> Option<Door> {
    let path: Cow<'_, str> = percent_decode_str(request.uri().path()).decode_utf8_lossy();
    let method = request.method();
    match &*path {
        "/query" => return (*method == Method::GET || *method == Method::POST).then_some(Door::Influxql),
        "/api/v2/query" => return (*method == Method::POST).then_some(Door::Flux),
        "/api/v2/delete" => return (*method == Method::POST).then_some(Door::Delete),
        _ => {}
    }
    if [Method::GET, Method::HEAD, Method::OPTIONS].contains(method) {
        return None;
    }
    // What is put on a thing as a label is no data and no name.
    if path.contains("/labels") {
        return None;
    }
    let begins =
        |beginning: &str| path.strip_prefix(beginning).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    CALLS.iter().find(|(beginning, _)| begins(beginning)).map(|(_, class)| Door::Call(*class))
}

/// Whether a script of Flux writes: by `to`, or by a request to somewhere. Its words are looked for outside of strings and comments.
pub(super) fn writes(script: &str) -> bool {
    let words = words(script);
    let is_called = |at: usize| words.get(at + 1).is_some_and(|next| *next == "(");
    let is_member = |at: usize, of: &str| at >= 2 && words[at - 1] == "." && words[at - 2] == of;
    words.iter().enumerate().any(|(at, word)| match *word {
        "to" => is_called(at) || is_member(at, "experimental") || is_member(at, "influxdb"),
        "wideTo" => true,
        "post" => is_member(at, "http") || is_member(at, "requests"),
        _ => false,
    })
}

/// Words and signs of a script.
fn words(script: &str) -> Vec<&str> {
    let bytes = script.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let start = at;
        match bytes[at] {
            b'"' => {
                at += 1;
                while at < bytes.len() && bytes[at] != b'"' {
                    at += 1 + usize::from(bytes[at] == b'\\');
                }
                at += 1;
                continue;
            }
            b'/' if bytes.get(at + 1) == Some(&b'/') => {
                while at < bytes.len() && bytes[at] != b'\n' {
                    at += 1;
                }
                continue;
            }
            byte if byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80 => {
                while at < bytes.len() && (bytes[at].is_ascii_alphanumeric() || bytes[at] == b'_' || bytes[at] >= 0x80)
                {
                    at += 1;
                }
            }
            byte if byte.is_ascii_whitespace() => {
                at += 1;
                continue;
            }
            _ => at += 1,
        }
        found.extend(script.get(start..at));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doors_are_known_by_method_and_path() {
        let of = |method: &str, path: &str| door(&Request::builder().method(method).uri(path).body(()).unwrap());
        assert_eq!(of("GET", "/query?q=x"), Some(Door::Influxql));
        assert_eq!(of("POST", "/%71uery"), Some(Door::Influxql));
        assert_eq!(of("POST", "/api/v2/delete?bucket=b"), Some(Door::Delete));
        assert_eq!(of("POST", "/api/v2/query"), Some(Door::Flux));
        assert_eq!(of("PATCH", "/api/v2/buckets/1234"), Some(Door::Call(Class::ApiNames)));
        assert_eq!(of("POST", "/api/v2/dbrps"), Some(Door::Call(Class::ApiNames)));
        assert_eq!(of("POST", "/private/legacy/authorizations/1/password"), Some(Door::Call(Class::ApiUsers)));
        assert_eq!(of("POST", "/api/v2/restore/kv"), Some(Door::Call(Class::Bypass)));
        for (method, path) in [
            ("GET", "/api/v2/buckets"),
            ("HEAD", "/query"),
            ("POST", "/api/v2/bucketsx"),
            ("POST", "/api/v2/query/ast"),
            ("POST", "/api/v2/signin"),
            ("POST", "/api/v2/buckets/1/labels"),
            ("GET", "/ping"),
        ] {
            assert_eq!(of(method, path), None, "{method} {path}");
        }
    }

    #[test]
    fn scripts_that_write_are_told_from_those_that_only_speak_of_it() {
        for script in [
            "from(bucket:\"a\") |> range(start:-1h) |> to(bucket:\"b\")",
            "x |> to (bucket: \"b\")",
            "import \"experimental\"\nx |> experimental.to(bucket:\"b\")",
            "w = experimental.to",
            "x |> wideTo(bucket:\"b\")",
            "http.post(url: \"u\", data: d)",
            "import \"http/requests\"\nrequests.post(url: \"u\")",
        ] {
            assert!(writes(script), "{script}");
        }
        for script in [
            "from(bucket:\"to(\") |> range(start:-1h)",
            "// to(x)\nfrom(bucket:\"a\")",
            "x |> toString() |> map(fn: (r) => ({r with to: 1}))",
            "x |> pivot(to: 1)",
            "",
            "\"unfinished to(",
            "é.to",
        ] {
            assert!(!writes(script), "{script}");
        }
    }
}
