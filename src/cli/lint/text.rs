//! For people: each refused line with its place, the reason, a mark below the byte, and how to mend it.

use std::collections::BTreeMap;
use std::io::{self, Write};

use super::excerpt::{column, excerpt, readable};
use super::notes::{Note, no_plain_text, notes};
use super::{Counts, Order, Seen};
use crate::line::record::Outcome;

/// So many of a kind are shown; others are counted.
const SHOWN: u64 = 20;

/// Writes what there is to say, line by line.
pub(super) struct Report<'o> {
    order: &'o Order,
    /// How many of each kind there were.
    kinds: BTreeMap<&'static str, u64>,
    warnings: u64,
    shown: Option<Physical>,
}

/// The physical line that was shown last, in its piece. Where lines end in CR alone it holds many, and is looked at once for all of them.
#[derive(Clone, Copy)]
struct Physical {
    /// Where the piece begins in the file.
    piece: u64,
    start: usize,
    end: usize,
    /// Where the last line that was shown begins in it, and in which column.
    known: (usize, usize),
}

/// One thing to say about a byte.
struct Remark<'a> {
    code: &'static str,
    at: usize,
    /// `warning: `, or nothing for what is refused.
    degree: &'a str,
    what: &'a str,
    mend: &'a str,
}

impl<'o> Report<'o> {
    pub(super) fn new(order: &'o Order) -> Self {
        Self { order, kinds: BTreeMap::new(), warnings: 0, shown: None }
    }

    pub(super) fn line(&mut self, out: &mut impl Write, seen: &Seen<'_>) -> io::Result<()> {
        if let Some(note) = no_plain_text(seen) {
            self.warning(out, seen, &note)?;
        }
        if let Outcome::Fault(fault) = &seen.record.outcome {
            let more = memchr::memchr_iter(b'\n', &seen.piece.bytes[seen.record.span.clone()]).count() as u64;
            let goes_on =
                format!("{}; the line begins in line {} and goes on to {}", fault.reason, seen.line, seen.line + more);
            let what = if more > 0 { &goes_on } else { &fault.reason };
            self.remark(out, seen, &Remark { code: fault.code, at: fault.at, degree: "", what, mend: fault.mend })?;
        }
        for note in notes(seen, self.order.dialect, self.order.precision) {
            self.warning(out, seen, &note)?;
        }
        if !seen.differs.is_empty()
            && let Some(destination) = self.order.destination
        {
            let degree = format!("{} differs: ", destination.name());
            let what = seen.differs.join("; ");
            let at = seen.record.span.start;
            self.remark(out, seen, &Remark { code: "differs", at, degree: &degree, what: &what, mend: "" })?;
        }
        Ok(())
    }

    fn warning(&mut self, out: &mut impl Write, seen: &Seen<'_>, note: &Note) -> io::Result<()> {
        self.warnings += 1;
        let remark = Remark { code: note.code, at: note.at, degree: "warning: ", what: &note.what, mend: &note.mend };
        self.remark(out, seen, &remark)
    }

    fn remark(&mut self, out: &mut impl Write, seen: &Seen<'_>, remark: &Remark<'_>) -> io::Result<()> {
        let count = self.kinds.entry(remark.code).or_default();
        *count += 1;
        if *count > SHOWN && !self.order.all {
            return Ok(());
        }
        let bytes = seen.piece.bytes;
        let at = remark.at.min(bytes.len());
        let Physical { start, end, known, .. } = self.physical(seen, at);
        let (line, at) = (&bytes[start..end], at - start);
        let first = seen.record.span.start.min(start);
        let number = seen.line + memchr::memchr_iter(b'\n', &bytes[first..start]).count() as u64;
        let shown = excerpt(line, at);
        let (name, (_, column)) = (&self.order.name, column(line, at, known));
        let (bold, red, plain) = match (self.order.color, remark.degree.is_empty()) {
            (false, _) => ("", "", ""),
            (true, true) => ("\x1b[1m", "\x1b[31m", "\x1b[0m"),
            (true, false) => ("\x1b[1m", "\x1b[33m", "\x1b[0m"),
        };
        writeln!(out, "{bold}{name}:{number}:{column}:{plain} {red}{}{}{plain}", remark.degree, readable(remark.what))?;
        writeln!(out, "{number:>5} | {}", shown.text)?;
        let gutter = number.to_string().len().max(5);
        writeln!(out, "{:gutter$} | {:2$}{red}^{plain}", "", "", shown.mark)?;
        if !remark.mend.is_empty() {
            writeln!(out, "    mend: {}", remark.mend)?;
        }
        Ok(())
    }

    /// The physical line of a byte of the piece.
    fn physical(&mut self, seen: &Seen<'_>, at: usize) -> Physical {
        let (bytes, piece) = (seen.piece.bytes, seen.piece.offset);
        let last = self.shown.filter(|last| last.piece == piece && (last.start..=last.end).contains(&at));
        let mut found = last.unwrap_or_else(|| Physical {
            piece,
            start: memchr::memrchr(b'\n', &bytes[..at]).map_or(0, |at| at + 1),
            end: memchr::memchr(b'\n', &bytes[at..]).map_or(bytes.len(), |behind| at + behind),
            known: (0, 1),
        });
        let begins = seen.record.span.start.saturating_sub(found.start);
        found.known = column(&bytes[found.start..found.end], begins, found.known);
        *self.shown.insert(found)
    }

    pub(super) fn end(&self, out: &mut impl Write, counts: &Counts) -> io::Result<()> {
        let Order { name, dialect, all, .. } = self.order;
        for (code, count) in self.kinds.iter().filter(|(_, count)| **count > SHOWN && !all) {
            writeln!(out, "{name}: {} more of {code} (--all shows them)", count - SHOWN)?;
        }
        let Counts { lines, accepted, refused, skipped, differing, .. } = counts;
        let lines = if *lines == 1 { "1 line".to_owned() } else { format!("{lines} lines") };
        write!(
            out,
            "{name}: {lines} for {}: {accepted} accepted, {refused} refused, {skipped} skipped",
            dialect.server()
        )?;
        if let Some(destination) = self.order.destination {
            write!(out, "; {differing} read otherwise by {}", destination.server())?;
        }
        match self.warnings {
            0 => writeln!(out)?,
            1 => writeln!(out, "; 1 warning")?,
            warnings => writeln!(out, "; {warnings} warnings")?,
        }
        if *refused > 0 {
            writeln!(out, "{} {}", dialect.server(), dialect.after_refusal())?;
        }
        Ok(())
    }
}
