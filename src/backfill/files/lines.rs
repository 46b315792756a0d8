//! Line protocol, as the servers write it out.
//!
//! Promise: lines end where the servers end them: a string may hold line feeds, and what looks like a comment in it is data. Behind a quote
//! that is never closed it goes on in the next physical line, and only the first one is a fault.

use std::sync::Arc;

use super::decode::{Decoder, decode};
use super::header::{Header, header};
use super::walk::Walk;
use super::{Context, Fault, Found, Item, LONGEST, Options};
use crate::line::Precision;

/// Reads line protocol.
#[derive(Debug)]
pub struct Lines {
    walk: Walk,
    lexer: Lexer,
    options: Options,
    decoder: Decoder,
    /// Between `# DDL` and `# DML` there are statements.
    statements: bool,
    /// A header of an export was seen.
    is_export: bool,
    /// The rest of a line that is too long is passed over.
    skips: bool,
    context: Option<Arc<Context>>,
}

/// Where in a line the walk stands.
#[derive(Clone, Copy, Debug, Default)]
struct Lexer {
    /// Something other than blanks has begun.
    begun: bool,
    comment: bool,
    fields: bool,
    quoted: bool,
    /// The byte before was a backslash that protects the next one.
    escaped: bool,
    equals: u64,
    commas: u64,
}

impl Lexer {
    /// Whether the line ends with this byte. The servers' own rule (`scanLine`), but that a comment ends with its line.
    fn ends_with(&mut self, byte: u8) -> bool {
        if !self.begun && !matches!(byte, b' ' | b'\t' | b'\0' | b'\n') {
            self.begun = true;
            self.comment |= byte == b'#';
        }
        if self.comment {
            return byte == b'\n';
        }
        if self.escaped {
            self.escaped = false;
            return false;
        }
        match byte {
            b'\\' => self.escaped = true,
            b' ' => self.fields = true,
            b'=' if self.fields && !self.quoted => self.equals += 1,
            b',' if self.fields && !self.quoted => self.commas += 1,
            b'"' if self.fields && self.equals > self.commas => self.quoted = !self.quoted,
            b'\n' => return !self.quoted,
            _ => {}
        }
        false
    }
}

impl Lines {
    /// At the beginning of a file.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self {
            walk: Walk::new(),
            lexer: Lexer::default(),
            options,
            decoder: Decoder::default(),
            statements: false,
            is_export: false,
            skips: false,
            context: None,
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
        loop {
            let found = match self.whole()? {
                Whole::Line { bytes, behind } => self.line(bytes, behind),
                Whole::Unclosed => Some(self.unclosed()),
            };
            if found.is_some() {
                return found;
            }
        }
    }

    /// The next whole line; `None`: its end is not there yet, or there is none.
    fn whole(&mut self) -> Option<Whole> {
        if self.skips {
            let unseen = self.walk.unseen();
            let end = memchr::memchr(b'\n', unseen);
            let behind = end.map_or(unseen.len(), |end| end + 1);
            self.skips = end.is_none();
            self.walk.pass(behind);
        }
        if self.walk.length() == 0 {
            self.lexer = Lexer { comment: self.statements, ..Lexer::default() };
        }
        let room = LONGEST - self.walk.length();
        let unseen = self.walk.unseen();
        let view = &unseen[..unseen.len().min(room)];
        let lexer = &mut self.lexer;
        if let Some(end) = view.iter().position(|byte| lexer.ends_with(*byte)) {
            let bytes = self.walk.length() + end;
            return Some(Whole::Line { bytes, behind: bytes + 1 });
        }
        self.walk.seen += view.len();
        let bytes = self.walk.length();
        if bytes == LONGEST {
            return Some(Whole::Unclosed);
        }
        match (self.walk.ended, bytes) {
            (false, _) | (true, 0) => None,
            (true, _) if self.lexer.quoted => Some(Whole::Unclosed),
            // What ends the file ends its last line.
            (true, _) => Some(Whole::Line { bytes, behind: bytes }),
        }
    }

    fn line(&mut self, bytes: usize, behind: usize) -> Option<Item> {
        let at = self.walk.at();
        let (text, is_done) = (&self.walk.rest()[..bytes], at.byte + behind as u64 <= self.options.from);
        let mut found = None;
        if self.lexer.comment {
            match header(text) {
                Some(header) if !self.statements || matches!(header, Header::Data | Header::Database(_)) => {
                    self.headed(header);
                }
                None if self.statements && !is_statement(text) => {
                    let reason = "it is no statement, and stands between # DDL and # DML".to_owned();
                    let mend = "put # DML above the first line that holds data";
                    found = Some(Found::Fault(Fault { code: "no-statement", reason, mend, at, raw: text.to_vec() }));
                }
                _ => {}
            }
        } else if self.lexer.begun && !is_done {
            let unit = if self.is_export { Precision::Nanosecond } else { self.options.precision };
            found = Some(match decode(&mut self.decoder, text, unit, self.options.untimed_ns) {
                Ok(point) => Found::Point(point),
                Err(refused) => {
                    let (raw, at) = (text.to_vec(), self.walk.place(refused.at));
                    let super::decode::Refused { code, reason, mend, .. } = refused;
                    Found::Fault(Fault { code, reason, mend, at, raw })
                }
            });
        }
        self.walk.pass(behind);
        let end = self.walk.at().byte;
        found.map(|found| Item { at, end, context: self.context.clone(), found })
    }

    fn headed(&mut self, header: Header) {
        self.is_export = true;
        match header {
            Header::Export => {}
            Header::Statements => self.statements = true,
            Header::Data => self.statements = false,
            Header::Database(db) => {
                self.statements = false;
                self.context = Some(Arc::new(Context { db, rp: String::new() }));
            }
            Header::Policy(rp) => {
                let db = self.context.as_ref().map(|context| context.db.clone()).unwrap_or_default();
                self.context = Some(Arc::new(Context { db, rp }));
            }
        }
    }

    /// The first physical line alone; or, where that is endless, all that is in memory of it.
    fn unclosed(&mut self) -> Item {
        let (at, rest) = (self.walk.at(), self.walk.rest());
        let bytes = rest.len().min(LONGEST);
        let (bytes, behind) = match memchr::memchr(b'\n', &rest[..bytes]) {
            Some(end) => (end, end + 1),
            None => {
                self.skips = !self.walk.ended || bytes == LONGEST;
                (bytes, bytes)
            }
        };
        let is_quote = self.lexer.quoted;
        let (code, reason, mend) = if is_quote {
            ("open-quote", format!("a quote opens here and is not closed within {} MiB", LONGEST >> 20), OPEN_MEND)
        } else {
            ("too-long", format!("the line has more than {} MiB", LONGEST >> 20), "cut it, or leave it out")
        };
        let fault = Fault { code, reason, mend, at, raw: rest[..bytes].to_vec() };
        self.walk.pass(behind);
        let end = self.walk.at().byte;
        Item { at, end, context: self.context.clone(), found: Found::Fault(fault) }
    }
}

/// Whether it may stand where an export has its statements. It has no others.
fn is_statement(line: &[u8]) -> bool {
    let line = line.trim_ascii();
    line.is_empty() || line.starts_with(b"#") || line.get(..7).is_some_and(|word| word.eq_ignore_ascii_case(b"CREATE "))
}

const OPEN_MEND: &str = "close it with \", or write \\\" for one that belongs to the text";

enum Whole {
    /// So many bytes are its text; the next one begins behind so many.
    Line { bytes: usize, behind: usize },
    /// It does not end.
    Unclosed,
}
