//! Where a script of Flux writes.
//!
//! Promise: a script that writes has at least one target here, and one that only speaks of `to` in texts and comments has none. What a
//! script computes is said to be computed.

/// A target that no text names.
const COMPUTED: &str = "a bucket that the script computes";

/// The buckets that `to` and its kin name.
pub(super) fn targets(script: &str) -> Vec<String> {
    let pieces = pieces(script);
    let mut found = Vec::new();
    for (at, piece) in pieces.iter().enumerate() {
        let is_called = |at: usize| matches!(pieces.get(at + 1), Some(Piece::Sign('(')));
        let writes = match piece {
            Piece::Word("to" | "wideTo") => is_called(at),
            Piece::Word("post") => {
                at >= 2 && matches!(pieces[at - 2], Piece::Word("http" | "requests")) && is_called(at)
            }
            _ => false,
        };
        if !writes {
            continue;
        }
        let target = match piece {
            Piece::Word("post") => "a request to somewhere else".to_owned(),
            _ => named(&pieces[at + 2..]).unwrap_or_else(|| COMPUTED.to_owned()),
        };
        if !found.contains(&target) {
            found.push(target);
        }
    }
    found
}

/// The bucket that the arguments of a call name.
fn named(arguments: &[Piece<'_>]) -> Option<String> {
    let mut depth = 0_usize;
    for (at, piece) in arguments.iter().enumerate() {
        match piece {
            Piece::Sign('(' | '{' | '[') => depth += 1,
            Piece::Sign(')') if depth == 0 => return None,
            Piece::Sign(')' | '}' | ']') => depth = depth.saturating_sub(1),
            Piece::Word(name @ ("bucket" | "bucketID")) if depth == 0 => {
                let [Piece::Sign(':'), Piece::Text(text), Piece::Sign(',' | ')'), ..] = arguments.get(at + 1..)? else {
                    continue;
                };
                return Some(if *name == "bucket" { (*text).to_owned() } else { format!("the bucket with id {text}") });
            }
            _ => {}
        }
    }
    None
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece<'a> {
    Word(&'a str),
    /// Without its quotes, as it is written.
    Text(&'a str),
    Sign(char),
}

fn pieces(script: &str) -> Vec<Piece<'_>> {
    let mut found = Vec::new();
    let mut rest = script;
    while let Some(first) = rest.chars().next() {
        let taken = match first {
            '"' => {
                let length = text_length(rest);
                found.push(Piece::Text(rest.get(1..length.saturating_sub(1)).unwrap_or_default()));
                length
            }
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            c if c.is_alphanumeric() || c == '_' => {
                let length = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
                found.push(Piece::Word(&rest[..length]));
                length
            }
            c if c.is_whitespace() => c.len_utf8(),
            c => {
                found.push(Piece::Sign(c));
                c.len_utf8()
            }
        };
        rest = &rest[taken..];
    }
    found
}

/// Of the text in quotes that `rest` begins with; all of it where it does not end.
fn text_length(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_read_from_the_calls_that_write() {
        let of = |script: &str| targets(script).join("|");
        assert_eq!(of("from(bucket:\"a\") |> range(start:-1h) |> to(bucket:\"b\", org:\"o\")"), "b");
        assert_eq!(of("x |> to(\n  org: \"o\",\n  bucket: \"b é\"\n)\ny |> experimental.to(bucket:\"c\")"), "b é|c");
        assert_eq!(of("x |> to(bucketID: \"0123\")"), "the bucket with id 0123");
        assert_eq!(of("x |> to(bucket: v.bucket)"), COMPUTED);
        assert_eq!(of("x |> to(bucket: \"a\" + name)"), COMPUTED);
        assert_eq!(of("x |> to(fieldFn: (r) => ({bucket: \"no\"}), bucket: \"b\")"), "b");
        assert_eq!(of("http.post(url: \"x\")"), "a request to somewhere else");
    }

    #[test]
    fn a_script_that_only_speaks_of_it_writes_nothing() {
        for script in [
            "from(bucket:\"to(\") |> range(start:-1h)",
            "// to(bucket:\"a\")\nfrom(bucket:\"a\")",
            "\"unfinished to(",
            "",
        ] {
            assert!(targets(script).is_empty(), "{script}");
        }
    }
}
