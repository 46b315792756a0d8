//! Where the servers end a line, and bodies cut at such places.

use std::ops::Range;

use super::scan::{Cursor, Scanner, Swar};

/// End of the line that begins at `start`: the position of its line feed, or the body's length.
///
/// The rule knows nothing of comments or sections: from the first space on it counts `=` and `,`, a quote toggles
/// while more `=` than `,` were seen, a line feed inside quotes is data, and the byte after a backslash is skipped.
pub(super) fn line_end<'a, S: Scanner>(cursor: &mut Cursor<'a, S>, body: &'a [u8], start: usize) -> usize {
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

/// Cuts a body at line ends, as the servers find them, into pieces of at most `max_bytes`; a line longer than that is
/// a piece of its own. The pieces join up to the body, and reading them one by one is reading the body.
#[must_use]
pub fn split(body: &[u8], max_bytes: usize) -> Vec<Range<usize>> {
    let mut pieces = Vec::new();
    let mut cursor = Cursor::<Swar>::new(body, 0);
    let (mut piece_start, mut line_start) = (0, 0);
    while line_start < body.len() {
        let next = (line_end(&mut cursor, body, line_start) + 1).min(body.len());
        if next - piece_start > max_bytes && line_start > piece_start {
            pieces.push(piece_start..line_start);
            piece_start = line_start;
        }
        line_start = next;
    }
    if piece_start < body.len() {
        pieces.push(piece_start..body.len());
    }
    pieces
}
