//! Rust source as text: what is code, what is test, which paths it names, how long its functions are.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// One source file.
pub(crate) struct Source {
    /// Path from the package's root, with `/`.
    pub(crate) path: String,
    /// The text with comments, strings and characters blanked: what is left is code. Line numbers stay right.
    pub(crate) code: String,
    /// `code` without items under `#[cfg(test)]`; empty for a file that is a test module as a whole.
    pub(crate) product: String,
    /// Lines of the file that are not under `#[cfg(test)]`.
    pub(crate) lines: usize,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let code = blank_comments_and_text(text);
        let whole_test = path.ends_with("/tests.rs") || path.contains("/tests/");
        let (product, test_lines) = if whole_test { (String::new(), text.lines().count()) } else { blank_tests(&code) };
        let lines = text.lines().count() - test_lines;
        Self { path: path.to_owned(), code, product, lines }
    }

    /// Modules from the root: `src/wal/record.rs` is `["wal", "record"]`.
    pub(crate) fn module(&self) -> Vec<&str> {
        let inner = self.path.trim_start_matches("src/").trim_end_matches(".rs");
        let mut parts: Vec<&str> = inner.split('/').collect();
        if parts.last().is_some_and(|last| ["mod", "lib", "main"].contains(last)) {
            parts.pop();
        }
        parts
    }
}

/// Every `.rs` file below `folder`, in order of its path.
pub(crate) fn sources(root: &Path, folder: &str) -> Vec<Source> {
    let mut files = Vec::new();
    collect(&root.join(folder), &mut files);
    files.sort();
    let read = |file: PathBuf| {
        let path = file.strip_prefix(root).expect("found below the root").to_string_lossy().replace('\\', "/");
        Source::new(&path, &std::fs::read_to_string(&file).expect("source is text"))
    };
    files.into_iter().map(read).collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// The line of a byte offset, from 1.
pub(crate) fn line_of(code: &str, offset: usize) -> usize {
    code[..offset].matches('\n').count() + 1
}

fn blank(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend(bytes.iter().map(|byte| if *byte == b'\n' { b'\n' } else { b' ' }));
}

/// Blanks comments, strings and characters, byte for byte.
fn blank_comments_and_text(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let after_word = at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
        let length = if rest.starts_with(b"//") {
            rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len())
        } else if rest.starts_with(b"/*") {
            block_comment(rest)
        } else if rest[0] == b'"' {
            string(rest)
        } else if !after_word && raw_string(rest).is_some() {
            raw_string(rest).unwrap_or(1)
        } else if rest[0] == b'\'' {
            character(rest)
        } else {
            0
        };
        if length == 0 {
            out.push(bytes[at]);
            at += 1;
        } else {
            blank(&mut out, &rest[..length]);
            at += length;
        }
    }
    String::from_utf8(out).expect("whole characters were blanked")
}

fn block_comment(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        if rest[at..].starts_with(b"/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if rest[at..].starts_with(b"*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                break;
            }
        } else {
            at += 1;
        }
    }
    at
}

fn string(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != b'"' {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

fn raw_string(rest: &[u8]) -> Option<usize> {
    let prefix = [&b"r"[..], b"br", b"cr"].into_iter().find(|prefix| rest.starts_with(prefix))?;
    let hashes = rest[prefix.len()..].iter().take_while(|b| **b == b'#').count();
    let start = prefix.len() + hashes;
    if rest.get(start) != Some(&b'"') {
        return None;
    }
    let mut end = vec![b'"'];
    end.resize(hashes + 1, b'#');
    let found = rest[start + 1..].windows(end.len()).position(|window| window == end);
    Some(found.map_or(rest.len(), |at| start + 1 + at + end.len()))
}

/// A character literal; nothing for a lifetime.
fn character(rest: &[u8]) -> usize {
    if rest.get(1) == Some(&b'\\') {
        let end = rest.iter().skip(3).position(|b| *b == b'\'');
        return end.map_or(0, |at| at + 4);
    }
    let width = std::str::from_utf8(&rest[1..rest.len().min(5)]).map_or_else(|e| e.valid_up_to(), str::len);
    let first = std::str::from_utf8(&rest[1..1 + width]).ok().and_then(|text| text.chars().next());
    let Some(first) = first else { return 0 };
    if rest.get(1 + first.len_utf8()) == Some(&b'\'') { first.len_utf8() + 2 } else { 0 }
}

/// Blanks items under `#[cfg(test)]`; beside it, their number of lines.
fn blank_tests(code: &str) -> (String, usize) {
    let mut out = code.as_bytes().to_vec();
    let mut lines = 0;
    let mut from = 0;
    while let Some(found) = code[from..].find("#[cfg(test)]") {
        let start = from + found;
        let end = item_end(code, start + "#[cfg(test)]".len());
        let mut spaces = Vec::new();
        blank(&mut spaces, &out[start..end]);
        out[start..end].copy_from_slice(&spaces);
        lines += code[start..end].matches('\n').count() + 1;
        from = end;
    }
    (String::from_utf8(out).expect("whole items were blanked"), lines)
}

/// The end of the item that begins at `start`: its `;`, or the brace that closes it.
fn item_end(code: &str, start: usize) -> usize {
    let mut round = 0i32;
    for (at, byte) in code.bytes().enumerate().skip(start) {
        match byte {
            b'(' | b'[' => round += 1,
            b')' | b']' => round -= 1,
            b';' if round == 0 => return at + 1,
            b'{' => return closing(code, at) + 1,
            _ => {}
        }
    }
    code.len()
}

/// The brace that closes the one at `open`.
fn closing(code: &str, open: usize) -> usize {
    let mut depth = 0i32;
    for (at, byte) in code.bytes().enumerate().skip(open) {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => continue,
        }
        if depth == 0 {
            return at;
        }
    }
    code.len().saturating_sub(1)
}

/// Every function with a body: name, first line, number of lines.
pub(crate) fn functions(code: &str) -> Vec<(String, usize, usize)> {
    let mut found = Vec::new();
    for (at, _) in words(code).filter(|(_, word)| *word == "fn") {
        let name: String =
            code[at + 2..].trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        let end = item_end(code, at);
        // A pointer type `fn(…)` has no name; a declaration ends with its semicolon.
        if name.is_empty() || !code[..end].ends_with('}') {
            continue;
        }
        let (first, last) = (line_of(code, at), line_of(code, end));
        found.push((name, first, last - first + 1));
    }
    found
}

/// Identifiers and keywords with their offsets.
pub(crate) fn words(code: &str) -> impl Iterator<Item = (usize, &str)> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut from = 0;
    std::iter::from_fn(move || {
        let start = from + code[from..].find(is_word)?;
        let end = code[start..].find(|c| !is_word(c)).map_or(code.len(), |length| start + length);
        from = end;
        Some((start, &code[start..end]))
    })
}

/// Every path that the code names, with groups spelled out: (line, `std::fs::File`).
pub(crate) fn paths(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut done = 0;
    for (at, _) in words(code) {
        if at < done || code[..at].ends_with("::") {
            continue;
        }
        let mut prefix = String::new();
        let end = expand(code, at, &mut prefix, &mut found);
        done = end.max(at + 1);
    }
    found
}

/// Reads one path at `at`, with its groups, and gives where it ends.
fn expand(code: &str, at: usize, prefix: &mut String, found: &mut Vec<(usize, String)>) -> usize {
    let word: String = code[at..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    let _ = write!(prefix, "{word}");
    let end = at + word.len();
    let Some(next) = code[end..].strip_prefix("::") else {
        found.push((line_of(code, at), prefix.clone()));
        return end;
    };
    let next_at = end + 2;
    if next.starts_with('{') {
        let close = closing(code, next_at);
        let mut inner = next_at + 1;
        while let Some((start, _)) = words(&code[inner..close]).next() {
            let mut each = format!("{prefix}::");
            inner = expand(code, inner + start, &mut each, found);
        }
        return close + 1;
    }
    if next.starts_with(|c: char| c.is_alphanumeric() || c == '_') {
        prefix.push_str("::");
        return expand(code, next_at, prefix, found);
    }
    found.push((line_of(code, at), prefix.clone()));
    end
}
