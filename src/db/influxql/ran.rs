//! What an answer says about each statement of a request: whether the server ran it.
//!
//! Promise: *ran* and *did not* are said only where the answer says so for each statement by its number; everything else is not
//! known.

use std::io::Read as _;

use serde_json::Value;

/// What became of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ran {
    /// It was carried out.
    Yes,
    /// Nothing of it was.
    No,
    /// Not known.
    Unknown,
}

/// An answer to a `/query`, as far as it was read.
#[derive(Clone, Copy, Debug)]
pub struct Answered<'a> {
    /// Its status.
    pub status: u16,
    /// `Content-Type`, in lower case.
    pub content_type: &'a str,
    /// `Content-Encoding`, in lower case.
    pub encoding: &'a str,
    /// Its body.
    pub body: &'a [u8],
    /// Whether that is all of it.
    pub whole: bool,
}

/// Errors of a statement that has changed nothing, as they begin or as they stand in them.
const NOTHING_RAN: [&str; 16] = [
    "not executed",
    "not implemented",
    "database not found",
    "retention policy",
    "measurement not found",
    "user not found",
    "user already exists",
    "continuous query",
    "subscription",
    "shard not found",
    "error authorizing",
    "not authorized",
    "database is required",
    "database name required",
    "fields not supported",
    "no dbrp mappings found",
];

/// A compressed answer is read up to this.
const UNPACKED_BYTES_MAX: u64 = 4 << 20;

/// What became of each of so many statements. `version2`: the server is of the 2.x family, which gives numbers otherwise.
#[must_use]
pub fn ran(answer: &Answered<'_>, statements: usize, version2: bool) -> Vec<Ran> {
    let all = |ran| vec![ran; statements];
    match answer.status {
        200 => {}
        // Of something in between that has lost patience.
        408 => return all(Ran::Unknown),
        // Parsing and rights come before anything runs.
        400..=499 => return all(Ran::No),
        _ => return all(Ran::Unknown),
    }
    let Some(documents) = documents(answer) else { return all(Ran::Unknown) };
    if documents.iter().any(|document| document.get("error").is_some()) {
        return all(Ran::Unknown);
    }
    let results: Vec<&Value> =
        documents.iter().filter_map(|document| document.get("results")?.as_array()).flatten().collect();
    let error = |result: &Value| result.get("error").map(|error| error.as_str().unwrap_or_default().to_owned());
    if version2 {
        return match (statements, results.iter().find_map(|result| error(result))) {
            (_, None) if answer.whole => all(Ran::Yes),
            (1, Some(error)) => all(failed(&error)),
            // The number of the one that failed is repeated, and its error overwritten.
            _ => all(Ran::Unknown),
        };
    }
    let mut found = all(Ran::Unknown);
    let mut seen = vec![false; statements];
    for result in results {
        // 1.6 to 1.13 number every result.
        let at = result.get("statement_id").and_then(Value::as_u64).and_then(|at| usize::try_from(at).ok());
        let Some(at) = at.filter(|at| *at < statements) else { return all(Ran::Unknown) };
        seen[at] = true;
        found[at] = match error(result) {
            Some(error) => failed(&error),
            // What comes in pieces may still fail.
            None if result.get("partial").and_then(Value::as_bool) == Some(true) => Ran::Unknown,
            None if found[at] == Ran::No => Ran::No,
            None => Ran::Yes,
        };
    }
    // Fewer results than we have statements: they were told apart otherwise there.
    if answer.whole && !seen.iter().all(|seen| *seen) {
        return all(Ran::Unknown);
    }
    found
}

/// The whole error of a database or policy that is not made for its name (1.x, before anything is done).
const BAD_NAME: &str = "invalid name";

fn failed(error: &str) -> Ran {
    if error == BAD_NAME || NOTHING_RAN.iter().any(|known| error.contains(known)) { Ran::No } else { Ran::Unknown }
}

/// The answer's documents; `None` where it cannot be read.
fn documents(answer: &Answered<'_>) -> Option<Vec<Value>> {
    let mut unpacked = Vec::new();
    let mut body = answer.body;
    match answer.encoding {
        "" | "identity" => {}
        "gzip" => {
            let mut from = flate2::read::MultiGzDecoder::new(answer.body).take(UNPACKED_BYTES_MAX);
            // The beginning of an answer ends in the middle of its stream.
            let read = from.read_to_end(&mut unpacked);
            if read.is_err() && answer.whole {
                return None;
            }
            body = &unpacked;
        }
        _ => return None,
    }
    let mut documents = Vec::new();
    if answer.content_type.contains("msgpack") {
        let mut rest = body;
        while !rest.is_empty() {
            match rmpv::decode::read_value(&mut rest) {
                Ok(value) => documents.push(plain(&value)),
                Err(_) if !answer.whole => break,
                Err(_) => return None,
            }
        }
    } else if answer.content_type.contains("json") {
        for document in serde_json::Deserializer::from_slice(body).into_iter() {
            match document {
                Ok(document) => documents.push(document),
                Err(_) if !answer.whole => break,
                Err(_) => return None,
            }
        }
    } else {
        return None;
    }
    Some(documents)
}

/// As much of a msgpack value as says what became of statements: rows are left out.
fn plain(value: &rmpv::Value) -> Value {
    match value {
        rmpv::Value::Map(pairs) => {
            let named = pairs.iter().filter_map(|(key, value)| Some((key.as_str()?, value)));
            let kept = named.filter(|(key, _)| ["results", "statement_id", "error", "partial"].contains(key));
            Value::Object(kept.map(|(key, value)| (key.to_owned(), plain(value))).collect())
        }
        rmpv::Value::Array(items) => Value::Array(items.iter().map(plain).collect()),
        rmpv::Value::String(text) => Value::String(String::from_utf8_lossy(text.as_bytes()).into_owned()),
        rmpv::Value::Integer(number) => number.as_u64().map_or(Value::Null, Value::from),
        rmpv::Value::Boolean(yes) => Value::Bool(*yes),
        _ => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Ran::{No, Unknown, Yes};

    fn of(body: &str, statements: usize) -> Vec<Ran> {
        judge(200, body.as_bytes(), statements, false, true)
    }

    fn judge(status: u16, body: &[u8], statements: usize, version2: bool, whole: bool) -> Vec<Ran> {
        ran(&Answered { status, content_type: "application/json", encoding: "", body, whole }, statements, version2)
    }

    #[test]
    fn each_statement_has_its_own_result() {
        let text = r#"{"results":[{"statement_id":0},{"statement_id":1,"error":"database not found: x"},
            {"statement_id":2,"error":"not executed"}]}"#;
        assert_eq!(of(text, 3), [Yes, No, No]);
        let odd = r#"{"results":[{"statement_id":0,"error":"engine: disk full"}]}"#;
        assert_eq!(of(odd, 1), [Unknown], "it may have begun");
        let chunked = "{\"results\":[{\"statement_id\":0,\"series\":[],\"partial\":true}]}\n{\"results\":[{\"statement_id\":0,\
            \"series\":[]}]}\n{\"results\":[{\"statement_id\":1}]}\n";
        assert_eq!(of(chunked, 2), [Yes, Yes]);
    }

    #[test]
    fn what_does_not_fit_is_not_known() {
        assert_eq!(of(r#"{"results":[{"statement_id":0}]}"#, 2), [Unknown, Unknown], "one result for two");
        assert_eq!(of(r#"{"results":[{"statement_id":0},{"statement_id":1}]}"#, 1), [Unknown]);
        assert_eq!(of(r#"{"results":[{}]}"#, 1), [Unknown], "without its number");
        assert_eq!(of("nothing", 1), [Unknown]);
        assert_eq!(of("", 1), [Unknown]);
        assert_eq!(of(r#"{"error":"timeout"}"#, 1), [Unknown]);
        for status in [204, 500, 503, 302, 408] {
            assert_eq!(judge(status, b"", 1, false, true), [Unknown], "{status}");
        }
        for status in [400, 401, 403] {
            assert_eq!(judge(status, b"{}", 2, false, true), [No, No]);
        }
        let cut = r#"{"results":[{"statement_id":0}]}{"results":[{"statement_id":1"#;
        assert_eq!(judge(200, cut.as_bytes(), 2, false, false), [Yes, Unknown]);
    }

    #[test]
    fn the_second_family_says_nothing_of_what_went_well() {
        assert_eq!(judge(200, b"{}", 1, true, true), [Yes]);
        let failed = br#"{"results":[{"statement_id":0,"error":"not implemented: DROP DATABASE"}]}"#;
        assert_eq!(judge(200, failed, 1, true, true), [No]);
        assert_eq!(judge(200, failed, 2, true, true), [Unknown, Unknown]);
        assert_eq!(judge(200, b"{}", 1, true, false), [Unknown]);
    }

    #[test]
    fn packed_and_binary_answers_are_read_too() {
        let text = br#"{"results":[{"statement_id":0}]}"#;
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut packer, text).unwrap();
        let packed = packer.finish().unwrap();
        let answer =
            Answered { status: 200, content_type: "application/json", encoding: "gzip", body: &packed, whole: true };
        assert_eq!(ran(&answer, 1, false), [Yes]);
        let result = rmpv::Value::Map(vec![("statement_id".into(), 0.into()), ("series".into(), rmpv::Value::Nil)]);
        let document = rmpv::Value::Map(vec![("results".into(), rmpv::Value::Array(vec![result]))]);
        let mut body = Vec::new();
        rmpv::encode::write_value(&mut body, &document).unwrap();
        let answer = Answered { content_type: "application/x-msgpack", encoding: "", body: &body, ..answer };
        assert_eq!(ran(&answer, 1, false), [Yes]);
        assert_eq!(ran(&Answered { content_type: "text/csv", ..answer }, 1, false), [Unknown]);
    }
}
