//! Names by a pattern in which `*` stands for any bytes, also none; a backslash before a star or a backslash takes their meaning away.
//!
//! Promise: the time taken grows with the name alone, not with the stars.

use memchr::memmem;

/// What a name must look like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    /// What stands between the stars; never empty.
    pieces: Vec<Vec<u8>>,
}

impl Pattern {
    pub(super) fn new(text: &str) -> Self {
        let mut pieces = vec![Vec::new()];
        let mut bytes = text.bytes().peekable();
        while let Some(byte) = bytes.next() {
            let escaped = (byte == b'\\').then(|| bytes.next_if(|next| matches!(next, b'*' | b'\\'))).flatten();
            match (escaped, pieces.last_mut()) {
                (None, _) if byte == b'*' => pieces.push(Vec::new()),
                (escaped, Some(piece)) => piece.push(escaped.unwrap_or(byte)),
                (_, None) => unreachable!("there is a first piece from the start"),
            }
        }
        Self { pieces }
    }

    pub(super) fn stars(&self) -> usize {
        self.pieces.len() - 1
    }

    /// What stands before, between and behind the stars.
    pub(super) fn pieces(&self) -> &[Vec<u8>] {
        &self.pieces
    }

    /// The first byte of every name that matches; `None`: it may be any.
    pub(super) fn first_byte(&self) -> Option<u8> {
        self.pieces[0].first().copied()
    }

    #[inline]
    pub(super) fn matches(&self, name: &[u8]) -> bool {
        match &self.pieces[..] {
            [whole] => whole == name,
            _ => self.inner(name).is_some(),
        }
    }

    /// What lies between the first and the last piece, if the name matches; for one star that is what the star stands for.
    pub(super) fn inner<'n>(&self, name: &'n [u8]) -> Option<&'n [u8]> {
        let [first, middle @ .., last] = &self.pieces[..] else { return None };
        let inner = name.strip_prefix(&first[..])?.strip_suffix(&last[..])?;
        let mut rest = inner;
        for piece in middle {
            let at = memmem::find(rest, piece)?;
            rest = &rest[at + piece.len()..];
        }
        Some(inner)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Pattern as bytes and `None` for stars.
    fn slow(pattern: &[Option<u8>], name: &[u8]) -> bool {
        match (pattern, name) {
            ([], []) => true,
            ([None, rest @ ..], _) => (0..=name.len()).any(|taken| slow(rest, &name[taken..])),
            ([Some(byte), rest @ ..], [first, tail @ ..]) => byte == first && slow(rest, tail),
            _ => false,
        }
    }

    #[test]
    fn a_backslash_takes_the_meaning_of_a_star_away() {
        let matches = |pattern: &str, name: &str| Pattern::new(pattern).matches(name.as_bytes());
        assert!(matches("debug_*", "debug_x") && matches("debug_*", "debug_") && !matches("debug_*", "xdebug_x"));
        assert!(matches(r"a\*", "a*") && !matches(r"a\*", "ab") && matches(r"a\\*", r"a\b") && matches(r"a\b", r"a\b"));
        assert!(matches("a*a", "aa") && !matches("a*a", "a"), "no byte counts twice");
        assert!(matches("*ab*ab*", "abxab") && !matches("*ab*ab*", "xabx"), "nor between two stars");
        assert_eq!(Pattern::new("usage_*_pct").inner(b"usage_idle_pct"), Some(&b"idle"[..]));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn it_matches_what_the_slow_way_matches(
            pattern in prop::collection::vec(prop::option::weighted(0.6, prop::sample::select(&b"ab"[..])), 0..8),
            name in prop::collection::vec(prop::sample::select(&b"ab"[..]), 0..10),
        ) {
            let text: String = pattern.iter().map(|part| part.map_or('*', char::from)).collect();
            prop_assert_eq!(Pattern::new(&text).matches(&name), slow(&pattern, &name), "{}", text);
        }
    }
}
