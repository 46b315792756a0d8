//! Pieces of a client's line in a message.
//!
//! Promise: an excerpt is short, printable and quoted, whatever the bytes are.

/// Bytes of the line that a message repeats.
const MOST: usize = 60;

/// A piece of a line in quotes; only its beginning when it is long.
pub(super) fn excerpt(piece: &[u8]) -> String {
    let shown = String::from_utf8_lossy(&piece[..piece.len().min(MOST)]);
    let rest = if piece.len() > MOST { "…" } else { "" };
    format!("{shown:?}{rest}")
}
