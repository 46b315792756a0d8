//! A large body on its way through: as it came on one side, whole lines of text in pieces on the other.
//!
//! Promise: whatever comes, no more than [`PIECE_BYTES`] and what one step unpacks to is held, besides one line that is not
//! finished. The pieces' texts join up to the body's text, and what came joins up to the body as it came; what came of a
//! piece is handed out with it and holds no byte of a line of a later piece that could take effect without its end.

use std::io::Write;

use bytes::Bytes;
use flate2::write::MultiGzDecoder;

use crate::line;

/// Text of a piece, about.
pub(super) const PIECE_BYTES: usize = 4 << 20;
/// Unpacked in one step: at most a thousand times as much comes out.
const STEP_BYTES: usize = 4 << 10;
/// A line that is longer is no line of any server: the rest of such a body is passed on unread.
const LINE_BYTES_MAX: usize = 16 << 20;

/// The body's encoding, as far as it matters.
enum Coding {
    Plain,
    Gzip(Box<MultiGzDecoder<Vec<u8>>>),
    /// Not readable from here on.
    Opaque,
}

/// A body that is being cut.
pub(super) struct Pieces {
    coding: Coding,
    zipped: bool,
    /// Came and was not looked at.
    pending: Bytes,
    /// Text that is in no piece yet.
    text: Vec<u8>,
    /// So much text is worth looking for the end of a line in it.
    cut_bytes: usize,
    /// Came, was looked at, and was not handed out.
    came: Vec<Bytes>,
    came_bytes: usize,
    text_bytes: usize,
}

/// A part of a body.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// Whole lines; the last piece may end without a line feed.
    pub(super) text: Bytes,
    /// What came of it.
    pub(super) came: Vec<Bytes>,
}

impl Pieces {
    pub(super) fn new(zipped: bool) -> Self {
        let coding = if zipped { Coding::Gzip(Box::new(MultiGzDecoder::new(Vec::new()))) } else { Coding::Plain };
        let (text, came) = (Vec::new(), Vec::new());
        let pending = Bytes::new();
        Self { coding, zipped, pending, text, cut_bytes: PIECE_BYTES, came, came_bytes: 0, text_bytes: 0 }
    }

    pub(super) fn is_zipped(&self) -> bool {
        self.zipped
    }

    /// Whether the rest of the body cannot be read.
    pub(super) fn is_opaque(&self) -> bool {
        matches!(self.coding, Coding::Opaque)
    }

    /// Bytes of text so far.
    pub(super) fn text_bytes(&self) -> usize {
        self.text_bytes
    }

    /// Whether more must come before there is a piece.
    #[cfg(test)]
    pub(super) fn wants_more(&self) -> bool {
        self.pending.is_empty()
    }

    /// More of the body; only when more is wanted.
    pub(super) fn push(&mut self, came: Bytes) {
        self.pending = came;
    }

    /// Looks at what came, until there is a piece or nothing more to look at.
    pub(super) fn next(&mut self) -> Option<Piece> {
        while !self.pending.is_empty() {
            let step = self.pending.split_to(self.pending.len().min(STEP_BYTES.max(self.step_bytes())));
            self.look_at(step);
            if (self.text.len() >= self.cut_bytes || self.came_bytes >= PIECE_BYTES)
                && let Some(piece) = self.cut()
            {
                return Some(piece);
            }
        }
        None
    }

    /// What is left when the body has ended.
    pub(super) fn last(&mut self) -> Piece {
        if let Coding::Gzip(decoder) = &mut self.coding {
            let ended = decoder.try_finish().is_ok();
            let rest = std::mem::take(decoder.get_mut());
            self.take_text(&rest);
            if !ended {
                self.give_up();
            }
        }
        let text = Bytes::from(std::mem::take(&mut self.text));
        let came = if self.zipped || self.is_opaque() { self.hand_out() } else { vec![text.clone()] };
        Piece { text, came }
    }

    fn step_bytes(&self) -> usize {
        match self.coding {
            Coding::Gzip(_) => STEP_BYTES,
            Coding::Plain => PIECE_BYTES.saturating_sub(self.text.len()),
            Coding::Opaque => PIECE_BYTES,
        }
    }

    fn look_at(&mut self, step: Bytes) {
        match &mut self.coding {
            Coding::Plain => {
                self.text_bytes += step.len();
                self.text.extend_from_slice(&step);
            }
            Coding::Gzip(decoder) => {
                let sound = decoder.write_all(&step).is_ok();
                let text = std::mem::take(decoder.get_mut());
                self.keep(step);
                self.take_text(&text);
                if !sound {
                    self.give_up();
                }
            }
            Coding::Opaque => self.keep(step),
        }
    }

    fn keep(&mut self, came: Bytes) {
        self.came_bytes += came.len();
        self.came.push(came);
    }

    fn hand_out(&mut self) -> Vec<Bytes> {
        self.came_bytes = 0;
        std::mem::take(&mut self.came)
    }

    fn take_text(&mut self, text: &[u8]) {
        self.text_bytes += text.len();
        self.text.extend_from_slice(text);
    }

    /// Nothing of the rest is read; what was read and is in no piece belongs to it.
    fn give_up(&mut self) {
        let text = std::mem::take(&mut self.text);
        if !self.zipped {
            self.keep(Bytes::from(text));
        }
        self.coding = Coding::Opaque;
    }

    fn cut(&mut self) -> Option<Piece> {
        let end = line::whole_lines(&self.text);
        if end == 0 && self.text.len() > LINE_BYTES_MAX {
            self.give_up();
        }
        if self.is_opaque() || end == 0 && self.came_bytes >= PIECE_BYTES {
            return Some(Piece { text: Bytes::new(), came: self.hand_out() });
        }
        if end == 0 {
            // Not after each step anew.
            self.cut_bytes = self.text.len() * 2;
            return None;
        }
        self.cut_bytes = PIECE_BYTES;
        let rest = self.text.split_off(end);
        let text = Bytes::from(std::mem::replace(&mut self.text, rest));
        let came = if self.zipped { self.hand_out() } else { vec![text.clone()] };
        Some(Piece { text, came })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::encode::gzip;

    /// Cuts a body that comes in steps of so many bytes; the joined texts, what came, and the number of pieces.
    fn cut(zipped: bool, body: &[u8], step: usize) -> (Vec<u8>, Vec<u8>, usize, bool) {
        let mut pieces = Pieces::new(zipped);
        let (mut text, mut came, mut count) = (Vec::new(), Vec::new(), 0);
        let mut add = |piece: Piece, last: bool| {
            assert!(piece.text.len() <= PIECE_BYTES + (5 << 20), "{} bytes in a piece", piece.text.len());
            assert!(last || piece.text.is_empty() || piece.text.ends_with(b"\n"), "whole lines only");
            text.extend_from_slice(&piece.text);
            piece.came.iter().for_each(|part| came.extend_from_slice(part));
            count += 1;
        };
        for part in body.chunks(step) {
            assert!(pieces.wants_more());
            pieces.push(Bytes::copy_from_slice(part));
            while let Some(piece) = pieces.next() {
                add(piece, false);
            }
        }
        let last = pieces.last();
        add(last, true);
        (text, came, count, pieces.is_opaque())
    }

    fn body(bytes: usize) -> Vec<u8> {
        let mut out = Vec::new();
        for at in 0u64.. {
            out.extend_from_slice(format!("m,t={} s=\"a\nb\",v={at} {at}\n", at % 97).as_bytes());
            if out.len() >= bytes {
                return out;
            }
        }
        out
    }

    #[test]
    fn pieces_join_up_to_the_body_in_both_forms() {
        let text = body(13 << 20);
        for step in [700, 64 << 10, 9 << 20] {
            let (joined, came, count, opaque) = cut(false, &text, step);
            assert!(joined == text && came == text && (3..=5).contains(&count) && !opaque, "{step}: {count}");
            let packed = gzip(&text);
            let (joined, came, count, opaque) = cut(true, &packed, step);
            assert!(joined == text && came == packed[..] && (2..=5).contains(&count) && !opaque, "{step}: {count}");
        }
        let mut two = gzip(&text[..100]).to_vec();
        two.extend_from_slice(&gzip(&text[100..]));
        assert!(cut(true, &two, 5000).0 == text, "several members are one body");
    }

    #[test]
    fn what_cannot_be_unpacked_is_passed_on_as_it_came() {
        let text = body(9 << 20);
        let packed = gzip(&text);
        let mut garbage = packed.to_vec();
        let middle = garbage.len() / 2;
        garbage[middle..middle + 50].fill(0xff);
        for bad in [&packed[..packed.len() - 9], &garbage[..], b"no gzip at all"] {
            let (_, came, _, opaque) = cut(true, bad, 3000);
            assert!(opaque && came == bad);
        }
    }

    #[test]
    fn a_bomb_is_held_in_steps_and_an_endless_line_is_not_held() {
        let mut pieces = Pieces::new(true);
        pieces.push(gzip(&vec![b'\n'; 64 << 20]));
        let mut most = 0;
        while let Some(piece) = pieces.next() {
            most = most.max(piece.text.len());
        }
        assert!((PIECE_BYTES..PIECE_BYTES + (5 << 20)).contains(&most), "{most}");
        let endless = vec![b'x'; 40 << 20];
        let (joined, came, _, opaque) = cut(false, &endless, 1 << 20);
        assert!(opaque && joined.is_empty() && came == endless);
    }
}
