//! Names: where they end, and which backslashes they lose.

use std::borrow::Cow;

use super::fault::{self, ENDS_WITH_BACKSLASH, TOO_LONG};
use super::read::Reader;
use crate::line::record::{Fault, Text};

/// What ends a name, and what loses a backslash before it. Before any other byte a backslash is data, and so is that byte.
#[derive(Debug)]
pub(super) struct Rule {
    ends: &'static [u8],
    escaped: &'static [u8],
}

pub(super) const MEASUREMENT: Rule = Rule { ends: b" \t\n\0,", escaped: b", \\" };
pub(super) const TAG_VALUE: Rule = Rule { ends: b" \t\n,", escaped: b"\\,= " };
/// Of a tag or a field.
pub(super) const KEY: Rule = Rule { ends: b" \t\n=", escaped: b"\\,= " };

impl<'a> Reader<'a> {
    /// The name that begins here, or `None` where what ends it stands at once.
    ///
    /// # Errors
    /// The server's reason to refuse it.
    pub(super) fn name(&mut self, rule: &Rule) -> Result<Option<Text<'a>>, Fault> {
        let start = self.at;
        let mut taken: Vec<u8> = Vec::new();
        // What is not yet taken begins here.
        let mut rest = start;
        while let Some(byte) = self.peek().filter(|byte| !rule.ends.contains(byte)) {
            self.at += 1;
            if byte != b'\\' {
                continue;
            }
            if let Some(next) = self.peek() {
                if rule.escaped.contains(&next) {
                    taken.extend_from_slice(&self.text[rest..self.at - 1]);
                    rest = self.at;
                }
                self.at += 1;
            }
        }
        if self.at == start {
            return Ok(None);
        }
        let last = &self.text[rest..self.at];
        let name = if rest == start {
            Cow::Borrowed(last)
        } else {
            taken.extend_from_slice(last);
            Cow::Owned(taken)
        };
        if name.ends_with(b"\\") {
            return Err(fault::at(&ENDS_WITH_BACKSLASH, self.at - 1));
        }
        if name.len() > super::MAX_TEXT_BYTES {
            return Err(fault::at(&TOO_LONG, start));
        }
        Ok(Some(name))
    }
}
