//! Where the servers end a line, and bodies cut at such places.

use std::ops::Range;

use memchr::{memchr, memchr2, memchr3};

use super::boundaries::boundaries;
use super::index::{Cursor, Numbering};
use super::scan;

/// End of the line that begins at `start`: the position of its line feed, or the body's length.
///
/// The rule knows nothing of comments or sections: from the first space on it counts `=` and `,`, a quote toggles
/// while more `=` than `,` were seen, a line feed inside quotes is data, and the byte after a backslash is skipped.
pub(super) fn line_end(cursor: &mut Cursor<'_>, body: &[u8], start: usize) -> usize {
    cursor.seek(start);
    let (mut pairs, mut quoted) = (Pairs::default(), false);
    // The byte behind a backslash that was the last entry of its window.
    let mut protected = None;
    loop {
        let Some(first) = cursor.place(0) else {
            if !cursor.advance() {
                return body.len();
            }
            continue;
        };
        cursor.next += usize::from(protected.take() == Some(first));
        let (_, _, kinds) = cursor.rest();
        let hit = if quoted { memchr2(b'"', b'\\', kinds) } else { memchr3(b'\n', b'"', b'\\', kinds) };
        let hit = hit.unwrap_or(kinds.len());
        if kinds.get(hit) == Some(&b'\n') {
            return cursor.place(hit).unwrap_or(body.len());
        }
        if !quoted {
            pairs.count(&kinds[..hit]);
        }
        let passed;
        (passed, protected) = match kinds.get(hit) {
            Some(b'"') => {
                quoted ^= pairs.is_open();
                (hit + 1, None)
            }
            Some(_) => behind_backslashes(cursor, hit, body.len()),
            None => (hit, None),
        };
        cursor.next += passed;
    }
}

/// What stands before a quote: from the first space on.
#[derive(Default)]
struct Pairs {
    in_fields: bool,
    equals: usize,
    commas: usize,
}

impl Pairs {
    fn count(&mut self, kinds: &[u8]) {
        let fields = if self.in_fields { Some(0) } else { memchr(b' ', kinds) };
        if let Some(from) = fields {
            self.in_fields = true;
            let count = |kind: u8| kinds[from..].iter().filter(|other| **other == kind).count();
            self.equals += count(b'=');
            self.commas += count(b',');
        }
    }

    /// Whether a value has begun that has not ended.
    fn is_open(&self) -> bool {
        self.in_fields && self.equals > self.commas
    }
}

/// So many entries are backslashes, of which the first is the given one, and what they protect; and the place of a byte that is
/// protected and not in this window.
fn behind_backslashes(cursor: &Cursor<'_>, first: usize, body_bytes: usize) -> (usize, Option<usize>) {
    let (base, places, kinds) = cursor.rest();
    let mut at = first + pairs(&places[first..], &kinds[first..], body_bytes - base);
    while kinds.get(at) == Some(&b'\\') {
        let behind = usize::from(places[at]) + 1;
        at += 1;
        // Among the last two bytes of a body it protects nothing.
        if base + behind + 1 < body_bytes {
            match places.get(at) {
                Some(next) => at += usize::from(usize::from(*next) == behind),
                None => return (at, Some(base + behind)),
            }
        }
    }
    (at, None)
}

/// So many backslashes, of which the given one is the first, stand side by side and are pairs, away from the end.
fn pairs(places: &[u16], kinds: &[u8], bytes: usize) -> usize {
    let run = kinds.iter().take_while(|kind| **kind == b'\\').count();
    let last = usize::from(places[run - 1]);
    if last - usize::from(places[0]) == run - 1 && last + 2 < bytes { run & !1 } else { 0 }
}

/// Where the last whole line of a body's beginning ends: what follows may belong to a line that goes on. 0: there is none.
#[must_use]
pub fn whole_lines(beginning: &[u8]) -> usize {
    let mut cursor = Cursor::new(beginning, scan::best(), Numbering::Unknown, 0);
    let mut whole = 0;
    loop {
        let end = line_end(&mut cursor, beginning, whole);
        // At the very end a backslash before the line feed means something else than with more behind it.
        if end + 2 >= beginning.len() {
            return whole;
        }
        whole = end + 1;
    }
}

/// Cuts a body at line ends, as the servers find them, into pieces of at most `max_bytes`; a line longer than that is
/// a piece of its own. The pieces join up to the body, and reading them one by one is reading the body.
#[must_use]
pub fn split(body: &[u8], max_bytes: usize) -> Vec<Range<usize>> {
    let mut pieces = Vec::new();
    let mut piece_start = 0;
    boundaries(body, |line| {
        let next = (line.end + 1).min(body.len());
        if next - piece_start > max_bytes && line.start > piece_start {
            pieces.push(piece_start..line.start);
            piece_start = line.start;
        }
    });
    if piece_start < body.len() {
        pieces.push(piece_start..body.len());
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_whole_only_when_nothing_that_follows_can_change_it() {
        let whole = |text: &str| whole_lines(text.as_bytes());
        assert_eq!(whole("m v=1 1\nm v=2 2\nm v="), 16);
        assert_eq!(whole("m v=1 1\nm v=2 2\n"), 8, "the next byte may make it another line");
        assert_eq!(whole("m v=1 1\nm s=\"a\nb\nc"), 8, "a line feed in quotes is data");
        assert_eq!(whole("m v=1"), 0);
        assert_eq!(whole(""), 0);
    }
}
