//! Where a line ends.

/// End of the line that begins at `start`: the position of its line feed, or the body's length.
///
/// The rule knows nothing of comments or sections: from the first space on it counts `=` and `,`, a quote toggles while more
/// `=` than `,` were seen, a line feed inside quotes is data, and the byte after a backslash is skipped, the last one of the
/// body too.
pub(super) fn line_end(body: &[u8], start: usize) -> usize {
    let (mut in_fields, mut quoted) = (false, false);
    let (mut equals, mut commas) = (0usize, 0usize);
    let mut at = start;
    while let Some(byte) = body.get(at) {
        match byte {
            b'\\' => at += 1,
            b' ' => in_fields = true,
            b'=' if in_fields && !quoted => equals += 1,
            b',' if in_fields && !quoted => commas += 1,
            b'"' if in_fields && equals > commas => quoted = !quoted,
            b'\n' if !quoted => return at,
            _ => {}
        }
        at += 1;
    }
    body.len()
}
