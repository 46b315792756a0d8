//! Files of annotated CSV, as Flux answers in its long form.
//!
//! Promise: rows are read as [`crate::db::read::annotated`] says. A stream that does not end with its empty line is told as cut off, and the
//! row at its end is not taken.

use super::decode::Decoder;
use super::walk::Walk;
use super::{Fault, Found, Item, LONGEST, Point};
use crate::db::read::annotated::{Record, Tables};

/// Reads annotated CSV.
#[derive(Debug)]
pub struct Flux {
    walk: Walk,
    quoted: bool,
    from: u64,
    decoder: Decoder,
    tables: Tables,
    /// Nothing comes any more.
    is_over: bool,
}

/// What a record was.
enum Told {
    Nothing,
    Found(Found),
    /// It is of no use, and neither is the rest.
    Broken(String),
}

impl Flux {
    /// At the beginning of a file; what ends at this byte or before is passed over.
    #[must_use]
    pub fn new(from: u64) -> Self {
        Self {
            walk: Walk::new(),
            quoted: false,
            from,
            decoder: Decoder::default(),
            tables: Tables::default(),
            is_over: false,
        }
    }

    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.walk.feed(bytes);
    }

    pub(super) fn end(&mut self) {
        self.walk.end();
    }

    pub(super) fn is_marked(&self) -> bool {
        self.walk.is_marked()
    }

    pub(super) fn passed(&self) -> u64 {
        self.walk.at().byte
    }

    pub(super) fn next(&mut self) -> Option<Item> {
        while !self.is_over {
            let Some(bytes) = self.whole() else { return self.last() };
            let at = self.walk.at();
            let told = self.record(bytes);
            self.walk.pass(bytes + 1);
            let end = self.walk.at().byte;
            let item = |found| Some(Item { at, end, context: None, found });
            match told {
                Told::Nothing => {}
                Told::Found(found) => return item(found),
                Told::Broken(why) => {
                    self.is_over = true;
                    return item(Found::Broken(why));
                }
            }
        }
        None
    }

    /// Bytes of the next record before its line feed.
    fn whole(&mut self) -> Option<usize> {
        let room = LONGEST - self.walk.length();
        let unseen = self.walk.unseen();
        let view = &unseen[..unseen.len().min(room)];
        let mut quoted = self.quoted;
        let end = view.iter().position(|byte| {
            quoted ^= *byte == b'"';
            *byte == b'\n' && !quoted
        });
        let bytes = self.walk.length() + end.unwrap_or(view.len());
        self.quoted = quoted;
        self.walk.seen += end.unwrap_or(view.len());
        end.map(|_| bytes)
    }

    /// What there is to say when no whole record is left.
    fn last(&mut self) -> Option<Item> {
        let length = self.walk.length();
        let why = if length == LONGEST {
            format!("a row has more than {} MiB, or a quote in it is not closed", LONGEST >> 20)
        } else if !self.walk.ended {
            return None;
        } else if length > 0 {
            "it is cut off within a row: what stands above is read, that row is not".to_owned()
        } else if self.tables.is_closed() {
            self.is_over = true;
            return None;
        } else {
            "it does not end with an empty line, as every whole answer does: rows may be missing at its end".to_owned()
        };
        self.is_over = true;
        let at = self.walk.at();
        Some(Item { at, end: at.byte, context: None, found: Found::Broken(why) })
    }

    fn record(&mut self, bytes: usize) -> Told {
        let text = &self.walk.rest()[..bytes];
        let is_new = self.walk.at().byte + (bytes as u64) >= self.from;
        match self.tables.record(text, is_new) {
            Record::Nothing => Told::Nothing,
            Record::Row(series, field, value, time_ns) => {
                let series = self.decoder.shared(series);
                Told::Found(Found::Point(Point { series, fields: vec![(field, value)], time_ns }))
            }
            Record::Odd((code, reason, mend)) => {
                let raw = text.strip_suffix(b"\r").unwrap_or(text).to_vec();
                Told::Found(Found::Fault(Fault { code, reason, mend, at: self.walk.at(), raw }))
            }
            Record::Broken(why) => Told::Broken(why),
        }
    }
}
