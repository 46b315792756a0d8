//! InfluxQL words, as far as the sandbox understands the language.

use std::fmt;

/// One token, with the place where it starts.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token {
    pub(super) kind: TokenKind,
    /// Characters before it on its line.
    pub(super) at: usize,
    /// Line, from 0.
    pub(super) line: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum TokenKind {
    /// A bare word: keyword or name.
    Word(String),
    /// A name in double quotes.
    Quoted(String),
    /// A text in single quotes.
    Text(String),
    /// A whole number without unit.
    Number(i128),
    /// A number with unit, nanoseconds.
    Span(i64),
    /// Punctuation and operators.
    Sign(&'static str),
    /// What no token begins with.
    Unknown(char),
    /// The end.
    End,
}

/// As the server names what it found.
impl fmt::Display for TokenKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(text) | Self::Quoted(text) | Self::Text(text) => f.write_str(text),
            Self::Number(number) => write!(f, "{number}"),
            Self::Span(ns) => write!(f, "{ns}ns"),
            Self::Sign(sign) => f.write_str(sign),
            Self::Unknown(c) => write!(f, "{c}"),
            Self::End => f.write_str("EOF"),
        }
    }
}

const SIGNS: [&str; 16] = ["::", "<=", ">=", "!=", "<>", "<", ">", "=", "(", ")", ",", ".", ";", "*", "-", "+"];

/// Cuts a query into tokens; always ends with [`TokenKind::End`].
pub(super) fn tokens(query: &str) -> Vec<Token> {
    let mut found = Vec::new();
    let mut rest = query;
    loop {
        rest = rest.trim_start();
        let before = &query[..query.len() - rest.len()];
        let line = before.matches('\n').count();
        let at = before.rsplit('\n').next().map_or(0, |last| last.chars().count());
        let (kind, after) = next(rest);
        rest = after;
        let end = kind == TokenKind::End;
        found.push(Token { kind, at, line });
        if end {
            return found;
        }
    }
}

fn next(rest: &str) -> (TokenKind, &str) {
    let Some(first) = rest.chars().next() else { return (TokenKind::End, rest) };
    match first {
        '"' | '\'' => match quoted(rest, first) {
            Some((text, after)) if first == '"' => (TokenKind::Quoted(text), after),
            Some((text, after)) => (TokenKind::Text(text), after),
            None => (TokenKind::Unknown(first), ""),
        },
        '0'..='9' => number(rest),
        c if is_word(c) => {
            let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            (TokenKind::Word(rest[..end].to_owned()), &rest[end..])
        }
        c => match SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            Some(sign) => (TokenKind::Sign(sign), &rest[sign.len()..]),
            None => (TokenKind::Unknown(c), &rest[c.len_utf8()..]),
        },
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn quoted(rest: &str, quote: char) -> Option<(String, &str)> {
    let mut text = String::new();
    let mut chars = rest.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => match chars.next()?.1 {
                'n' => text.push('\n'),
                other => text.push(other),
            },
            '\n' => return None,
            c if c == quote => return Some((text, &rest[at + 1..])),
            c => text.push(c),
        }
    }
    None
}

/// A whole number, with or without a unit of time, or several such parts (`1h30m`).
fn number(rest: &str) -> (TokenKind, &str) {
    let (mut total, mut left) = (0i128, rest);
    let mut has_unit = false;
    loop {
        let digits = left.find(|c: char| !c.is_ascii_digit()).unwrap_or(left.len());
        if digits == 0 {
            break;
        }
        let Ok(number) = left[..digits].parse::<i128>() else { return (TokenKind::Unknown('0'), "") };
        left = &left[digits..];
        let units: [(&str, i128); 9] = [
            ("ns", 1),
            ("ms", 1_000_000),
            ("us", 1_000),
            ("µ", 1_000),
            ("u", 1_000),
            ("s", 1_000_000_000),
            ("m", 60_000_000_000),
            ("h", 3_600_000_000_000),
            ("d", 86_400_000_000_000),
        ];
        let week = ("w", 604_800_000_000_000);
        let Some((unit, ns)) = units.into_iter().chain([week]).find(|(unit, _)| left.starts_with(unit)) else {
            total += number;
            break;
        };
        has_unit = true;
        total += number.saturating_mul(ns);
        left = &left[unit.len()..];
    }
    if !has_unit {
        return (TokenKind::Number(total), left);
    }
    i64::try_from(total).map_or((TokenKind::Unknown('0'), left), |ns| (TokenKind::Span(ns), left))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(query: &str) -> Vec<TokenKind> {
        tokens(query).into_iter().map(|token| token.kind).collect()
    }

    #[test]
    fn a_query_is_cut_into_tokens() {
        let expected = [
            TokenKind::Word("SELECT".to_owned()),
            TokenKind::Sign("*"),
            TokenKind::Sign("::"),
            TokenKind::Word("field".to_owned()),
            TokenKind::Quoted("a\"b\\c\nd".to_owned()),
            TokenKind::Sign(">="),
            TokenKind::Sign("-"),
            TokenKind::Number(9_223_372_036_854_775_806),
            TokenKind::Text("it's".to_owned()),
            TokenKind::Span(5_400_000_000_000),
            TokenKind::End,
        ];
        assert_eq!(kinds(r#"SELECT *::field "a\"b\\c\nd" >= -9223372036854775806 'it\'s' 1h30m"#), expected);
    }

    #[test]
    fn nonsense_ends() {
        for query in
            ["\"open", "'open\\", "\u{0}", "999999999999999999999999999999999999999999999", "99999999999999999w"]
        {
            let found = kinds(query);
            assert!(matches!(found[0], TokenKind::Unknown(_)), "{query:?} gave {found:?}");
        }
    }
}
