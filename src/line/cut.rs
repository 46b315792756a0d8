//! Where the servers end a line, and bodies cut at such places.

use std::ops::Range;

use super::boundaries::boundaries;
use super::index::{Cursor, Numbering};
use super::scan;

/// End of the line that begins at `start`: the position of its line feed, or the body's length.
///
/// The rule knows nothing of comments or sections: from the first space on it counts `=` and `,`, a quote toggles
/// while more `=` than `,` were seen, a line feed inside quotes is data, and the byte after a backslash is skipped.
pub(super) fn line_end<'a>(cursor: &mut Cursor<'a>, body: &'a [u8], start: usize) -> usize {
    cursor.seek(start);
    let (mut in_fields, mut quoted, mut resume) = (false, false, start);
    let (mut equals, mut commas) = (0usize, 0usize);
    loop {
        let (at, byte) = cursor.next();
        if at >= body.len() {
            return body.len();
        }
        if at < resume {
            continue;
        }
        match byte {
            // A backslash among the last two bytes of a body protects nothing.
            b'\\' if at + 2 < body.len() => resume = at + 2,
            b' ' => in_fields = true,
            b'=' if in_fields && !quoted => equals += 1,
            b',' if in_fields && !quoted => commas += 1,
            b'"' if in_fields && equals > commas => quoted = !quoted,
            b'\n' if !quoted => return at,
            _ => {}
        }
    }
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
