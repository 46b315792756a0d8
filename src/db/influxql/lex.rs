//! Tokens of InfluxQL, cut as the servers cut them.
//!
//! Promise: for a text that the servers read, these are their tokens: comments, strings, quoted names with their escapes, and
//! regular expressions, which begin only where the servers' parser looks for one (there even `/*` begins one). What they refuse ends
//! the list with [`Kind::Bad`]. A NUL ends a text, as it does for them; a carriage return ends a line.

use std::borrow::Cow;

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A keyword or a bare name.
    Word,
    /// A name in double quotes. Bare letters right before them belong to it and mean nothing.
    Name,
    /// Text in single quotes.
    Text,
    /// A number or a duration.
    Number,
    /// A regular expression.
    Regex,
    /// `$name`: its value stands elsewhere in the request.
    Parameter,
    /// `;`
    End,
    /// Anything else: an operator, a bracket, a comma.
    Sign,
    /// Nothing that the servers know.
    Bad,
}

/// One token: its place in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) start: usize,
    pub(super) end: usize,
}

impl Token {
    pub(super) fn of(self, text: &str) -> &str {
        text.get(self.start..self.end).unwrap_or_default()
    }

    /// Whether it is this keyword.
    pub(super) fn is(self, text: &str, keyword: &str) -> bool {
        self.kind == Kind::Word && self.of(text).eq_ignore_ascii_case(keyword)
    }

    pub(super) fn is_sign(self, text: &str, sign: &str) -> bool {
        self.kind == Kind::Sign && self.of(text) == sign
    }

    /// The name, if it may be one: quotes and escapes are taken off.
    pub(super) fn name(self, text: &str) -> Option<Cow<'_, str>> {
        match self.kind {
            Kind::Word => Some(Cow::Borrowed(self.of(text))),
            Kind::Name => {
                let whole = self.of(text);
                Some(unescaped(&whole[whole.find('"')?..]))
            }
            _ => None,
        }
    }

    /// What a text in single quotes says.
    pub(super) fn said(self, text: &str) -> Option<Cow<'_, str>> {
        (self.kind == Kind::Text).then(|| unescaped(self.of(text)))
    }
}

/// Without the quotes around it, and with what its escapes stand for.
fn unescaped(quoted: &str) -> Cow<'_, str> {
    let inner = quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default();
    if !inner.contains('\\') {
        return Cow::Borrowed(inner);
    }
    let mut out = String::with_capacity(inner.len());
    let mut rest = inner.chars();
    while let Some(c) = rest.next() {
        match c {
            '\\' => match rest.next() {
                Some('n') => out.push('\n'),
                Some(escaped) => out.push(escaped),
                None => {}
            },
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// All tokens of a text; comments and white space are none.
pub(super) fn tokens(text: &str) -> Vec<Token> {
    let mut lexer = Lexer { text: text.as_bytes(), at: 0 };
    let mut found: Vec<Token> = Vec::new();
    while let Some(token) = lexer.next(wants_regex(text, &found)) {
        found.push(token);
        if token.kind == Kind::Bad {
            break;
        }
    }
    found
}

/// Whether the servers' parser looks for a regular expression behind these.
fn wants_regex(text: &str, before: &[Token]) -> bool {
    let Some(last) = before.last() else { return false };
    match last.kind {
        Kind::Word => ["from", "select", "by"].iter().any(|word| last.is(text, word)),
        Kind::Sign => match last.of(text) {
            "=~" | "!~" | "," | "." => true,
            // The arguments of a call, not a bracket in a condition.
            "(" => before
                .iter()
                .nth_back(1)
                .is_some_and(|call| matches!(call.kind, Kind::Word | Kind::Name) && call.end == last.start),
            _ => false,
        },
        _ => false,
    }
}

struct Lexer<'a> {
    text: &'a [u8],
    at: usize,
}

impl Lexer<'_> {
    fn peek(&self, ahead: usize) -> u8 {
        // A NUL is the end to the servers.
        self.text.get(self.at + ahead).copied().unwrap_or(0)
    }

    fn next(&mut self, regex: bool) -> Option<Token> {
        loop {
            while matches!(self.peek(0), b' ' | b'\t' | b'\n' | b'\r') {
                self.at += 1;
            }
            let start = self.at;
            let kind = match (self.peek(0), self.peek(1)) {
                (0, _) => return None,
                (b'/', _) if regex => self.regex(),
                (b'-', b'-') => {
                    while !matches!(self.peek(0), 0 | b'\n' | b'\r') {
                        self.at += 1;
                    }
                    continue;
                }
                (b'/', b'*') => {
                    if self.comment() {
                        continue;
                    }
                    Kind::Bad
                }
                (b'"', _) => self.quoted(b'"', Kind::Name),
                (b'\'', _) => self.quoted(b'\'', Kind::Text),
                (b'$', _) => {
                    self.at += 1;
                    match self.word() {
                        Kind::Bad => Kind::Bad,
                        _ => Kind::Parameter,
                    }
                }
                (first, _) if is_letter(first) => self.word(),
                (first, _) if first.is_ascii_digit() => self.number(),
                (b'.', second) if second.is_ascii_digit() => self.number(),
                (b';', _) => self.sign(1, Kind::End),
                (b'=' | b'!', b'~') | (b'!' | b'>' | b'<', b'=') | (b'<', b'>') | (b':', b':') => {
                    self.sign(2, Kind::Sign)
                }
                (b'.' | b'+' | b'-' | b'*' | b'/' | b'%' | b'&' | b'|' | b'^', _)
                | (b'=' | b'>' | b'<' | b'(' | b')' | b',' | b':', _) => self.sign(1, Kind::Sign),
                _ => Kind::Bad,
            };
            if kind == Kind::Bad {
                self.at = self.text.len();
            }
            return Some(Token { kind, start, end: self.at });
        }
    }

    fn sign(&mut self, bytes: usize, kind: Kind) -> Kind {
        self.at += bytes;
        kind
    }

    /// True when it ends.
    fn comment(&mut self) -> bool {
        self.at += 2;
        loop {
            match (self.peek(0), self.peek(1)) {
                (0, _) => return false,
                (b'*', b'/') => {
                    self.at += 2;
                    return true;
                }
                _ => self.at += 1,
            }
        }
    }

    /// A bare word; with a quote right behind it, the name in quotes alone.
    fn word(&mut self) -> Kind {
        while is_letter(self.peek(0)) || self.peek(0).is_ascii_digit() {
            self.at += 1;
        }
        if self.peek(0) == b'"' { self.quoted(b'"', Kind::Name) } else { Kind::Word }
    }

    fn quoted(&mut self, quote: u8, kind: Kind) -> Kind {
        self.at += 1;
        loop {
            match self.peek(0) {
                0 | b'\n' | b'\r' => return Kind::Bad,
                b'\\' if !matches!(self.peek(1), b'n' | b'\\' | b'"' | b'\'') => return Kind::Bad,
                b'\\' => self.at += 2,
                found if found == quote => return self.sign(1, kind),
                _ => self.at += 1,
            }
        }
    }

    fn regex(&mut self) -> Kind {
        self.at += 1;
        loop {
            match (self.peek(0), self.peek(1)) {
                (0 | b'\n' | b'\r', _) => return Kind::Bad,
                (b'\\', b'/') => self.at += 2,
                (b'/', _) => return self.sign(1, Kind::Regex),
                _ => self.at += 1,
            }
        }
    }

    fn number(&mut self) -> Kind {
        let digits = |lexer: &mut Self| {
            while lexer.peek(0).is_ascii_digit() {
                lexer.at += 1;
            }
        };
        digits(self);
        if self.peek(0) == b'.' {
            self.at += 1;
            digits(self);
            return Kind::Number;
        }
        // A unit, and whatever more of that kind: `1h30m`. A micro sign has two bytes.
        loop {
            match (self.peek(0), self.peek(1)) {
                (found, _) if found.is_ascii_alphanumeric() => self.at += 1,
                (0xc2, 0xb5) => self.at += 2,
                _ => return Kind::Number,
            }
        }
    }
}

fn is_letter(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: &str) -> Vec<&str> {
        tokens(text).into_iter().map(|token| token.of(text)).collect()
    }

    #[test]
    fn comments_strings_and_names_are_cut_as_the_servers_cut_them() {
        assert_eq!(cut("DROP -- x; y\n MEASUREMENT/* ; */m;"), ["DROP", "MEASUREMENT", "m", ";"]);
        assert_eq!(
            cut(r#"a = 'it\'s; -- no' AND "b\";c" != 1"#),
            ["a", "=", r"'it\'s; -- no'", "AND", r#""b\";c""#, "!=", "1"]
        );
        assert_eq!(cut("a\rb -- c\rd"), ["a", "b", "d"], "a carriage return ends a line");
        assert_eq!(cut("a\0; DROP DATABASE x"), ["a"], "and a NUL the text");
        assert_eq!(cut("/* a **/ b"), ["b"]);
        assert_eq!(cut("1h30m 1.5 .5 10u 1µs 1.x"), ["1h30m", "1.5", ".5", "10u", "1µs", "1.", "x"]);
    }

    #[test]
    fn a_regular_expression_begins_only_where_one_is_looked_for() {
        assert_eq!(
            cut(r"DELETE FROM /a;\/b/ WHERE h =~ /;/"),
            ["DELETE", "FROM", r"/a;\/b/", "WHERE", "h", "=~", "/;/"]
        );
        assert_eq!(cut("SELECT a/b, /c;/ FROM m"), ["SELECT", "a", "/", "b", ",", "/c;/", "FROM", "m"]);
        assert_eq!(
            cut("SELECT mean(/a;/) FROM db.rp./m;/"),
            ["SELECT", "mean", "(", "/a;/", ")", "FROM", "db", ".", "rp", ".", "/m;/"]
        );
        assert_eq!(cut("WHERE (/* ; */ a = 1)"), ["WHERE", "(", "a", "=", "1", ")"]);
        assert_eq!(
            cut("FROM /* ; */ WHERE"),
            ["FROM", "/* ; */", "WHERE"],
            "a regular expression, as the servers read it"
        );
    }

    #[test]
    fn what_no_server_reads_ends_the_list() {
        for text in ["a 'b", "a \"b\nc\"", r"a 'b\x'", "a /* b", "FROM /a", "a ! b", "a § b", "a # b", "a $'b"] {
            let kinds: Vec<_> = tokens(text).into_iter().map(|token| token.kind).collect();
            assert_eq!(kinds.last(), Some(&Kind::Bad), "{text}");
        }
    }

    #[test]
    fn names_lose_their_quotes_and_escapes() {
        let name = |text: &str| tokens(text)[0].name(text).map(Cow::into_owned);
        assert_eq!(name(r#""a\"\\\n'b""#).as_deref(), Some("a\"\\\n'b"));
        assert_eq!(name("DROP\"x\"").as_deref(), Some("x"), "letters before a quote are lost on the servers");
        assert_eq!((name("Plain").as_deref(), name("'t'"), name("1")), (Some("Plain"), None, None));
    }
}
