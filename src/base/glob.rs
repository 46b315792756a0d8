//! Names by a pattern in which `*` stands for any characters, also none, and `?` for one. Case counts. A backslash before one of the
//! two, or before another backslash, takes their meaning away.
//!
//! Promise: the time taken grows with the name times the pattern at most. That one pattern covers another is said only where it is sure.

/// A part of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Part {
    Byte(u8),
    One,
    Many,
}

/// What a name must look like.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Glob {
    parts: Vec<Part>,
    text: String,
}

impl Glob {
    /// As it is written.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let mut parts = Vec::with_capacity(text.len());
        let mut bytes = text.bytes().peekable();
        while let Some(byte) = bytes.next() {
            let escaped = (byte == b'\\').then(|| bytes.next_if(|next| matches!(next, b'*' | b'?' | b'\\'))).flatten();
            parts.push(match (escaped, byte) {
                (Some(byte), _) => Part::Byte(byte),
                // Two of them say no more than one.
                (None, b'*') if parts.last() == Some(&Part::Many) => continue,
                (None, b'*') => Part::Many,
                (None, b'?') => Part::One,
                (None, byte) => Part::Byte(byte),
            });
        }
        Self { parts, text: text.to_owned() }
    }

    /// As it is written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The one name that matches, if there is only one.
    #[must_use]
    pub fn literal(&self) -> Option<String> {
        let byte = |part: &Part| if let Part::Byte(byte) = part { Some(*byte) } else { None };
        String::from_utf8(self.parts.iter().map(byte).collect::<Option<Vec<u8>>>()?).ok()
    }

    /// Some name that matches, with this in place of what may be anything.
    #[must_use]
    pub fn sample(&self, any: &str) -> String {
        let mut name = Vec::new();
        for part in &self.parts {
            match part {
                Part::Byte(byte) => name.push(*byte),
                Part::One => name.push(b'x'),
                Part::Many => name.extend_from_slice(any.as_bytes()),
            }
        }
        String::from_utf8_lossy(&name).into_owned()
    }

    /// Whether every name matches.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.parts == [Part::Many]
    }

    /// The first byte of every name that matches; `None`: it may be any.
    #[must_use]
    pub fn first_byte(&self) -> Option<u8> {
        if let Some(Part::Byte(byte)) = self.parts.first() { Some(*byte) } else { None }
    }

    /// Whether a name fits.
    #[must_use]
    pub fn matches(&self, name: &[u8]) -> bool {
        matched(&self.parts, name.len(), |part, at| match part {
            Part::Byte(byte) => (name[at] == byte).then_some(1),
            _ => Some(1 + name[at + 1..].iter().take_while(|byte| **byte & 0xc0 == 0x80).count()),
        })
    }

    /// Whether it is sure that every name that fits `other` fits this one, too.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        let theirs = &other.parts;
        matched(&self.parts, theirs.len(), |part, at| match (part, theirs[at]) {
            (Part::One, Part::One) => Some(1),
            // More than one byte may be one character.
            (Part::One, Part::Byte(byte)) => byte.is_ascii().then_some(1),
            (own, theirs) => (own == theirs).then_some(1),
        })
    }
}

/// Whether parts fit all of something of so many steps. `step`: how many of them a part other than `*` takes there, if it fits.
fn matched(parts: &[Part], length: usize, step: impl Fn(Part, usize) -> Option<usize>) -> bool {
    let (mut part, mut at) = (0, 0);
    // Behind the last star, and where what it takes ends.
    let mut again = None;
    loop {
        let taken = match parts.get(part) {
            Some(Part::Many) => {
                part += 1;
                again = Some((part, at));
                continue;
            }
            Some(other) if at < length => step(*other, at),
            Some(_) => None,
            None if at == length => return true,
            None => None,
        };
        match (taken, &mut again) {
            (Some(taken), _) => (part, at) = (part + 1, at + taken),
            (None, Some((behind, end))) if *end < length => {
                *end += 1;
                (part, at) = (*behind, *end);
            }
            (None, _) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn slow(pattern: &[char], name: &[char]) -> bool {
        match (pattern, name) {
            ([], []) => true,
            (['*', rest @ ..], _) => (0..=name.len()).any(|taken| slow(rest, &name[taken..])),
            (['?', rest @ ..], [_, tail @ ..]) => slow(rest, tail),
            ([own, rest @ ..], [first, tail @ ..]) => own == first && slow(rest, tail),
            _ => false,
        }
    }

    #[test]
    fn signs_stand_for_characters_and_a_backslash_takes_that_away() {
        let fits = |pattern: &str, name: &str| Glob::new(pattern).matches(name.as_bytes());
        assert!(
            fits("telegraf-*", "telegraf-") && fits("telegraf-*", "telegraf-eu") && !fits("telegraf-*", "Telegraf-eu")
        );
        assert!(fits("db?", "db1") && fits("db?", "dbä") && !fits("db?", "db") && !fits("db?", "db12"));
        assert!(fits(r"a\*", "a*") && !fits(r"a\*", "ab") && fits(r"a\\*", r"a\b") && fits(r"a\b", r"a\b"));
        assert_eq!(Glob::new(r"a\?\\").literal().as_deref(), Some(r"a?\"));
        assert_eq!((Glob::new("a?").literal(), Glob::new("**").is_any()), (None, true));
    }

    #[test]
    fn one_covers_another_where_that_is_sure() {
        let covers = |wide: &str, narrow: &str| Glob::new(wide).covers(&Glob::new(narrow));
        for (wide, narrow) in [("*", "a?*"), ("a*", "ab*"), ("a*", "a"), ("*b*", "a*b?"), ("a?", "ab"), ("a*", "a*")] {
            assert!(covers(wide, narrow), "{wide} {narrow}");
        }
        for (wide, narrow) in [("ab*", "a*"), ("a?", "a*"), ("*b", "*"), ("a?", "aä"), ("?*", "*"), ("a", "b")] {
            assert!(!covers(wide, narrow), "{wide} {narrow}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3_000))]

        #[test]
        fn it_fits_what_fits_by_hand_and_covers_nothing_that_it_does_not(
            pattern in "[abä*?]{0,7}",
            other in "[abä*?]{0,7}",
            name in "[abä]{0,8}",
        ) {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            let (glob, second) = (Glob::new(&pattern), Glob::new(&other));
            prop_assert_eq!(glob.matches(name.as_bytes()), slow(&chars(&pattern), &chars(&name)));
            if glob.covers(&second) && second.matches(name.as_bytes()) {
                prop_assert!(glob.matches(name.as_bytes()));
            }
        }
    }
}
