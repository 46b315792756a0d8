//! Runs ahead of delivery through the log and knows which intents are resolved, and how. A statement is an intent without lines.
//!
//! Promise: everything it says is derived from records. It holds exceptions only (unresolved intents, and those that were
//! not applied whole), never one entry per record. Start it at a floor and run it to the end, and it knows what it knew before a
//! crash: that is all there is to rebuild. A long log is not read before clients are served: until the scout has passed what
//! former processes wrote ([`Scout::counted`]), its sums are too small, and nobody can say which of their intents were left open.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::cause::Cause;
use super::outcome::{Disposition, Outcome};
use super::span::{Fate, Spans};
use crate::base::{Lsn, Result};
use crate::wal::{Damage, Item, Kind, Reader};

#[derive(Clone, Copy, Debug)]
struct Waiting {
    lines: u32,
    /// Its outcome is under way already: it was given up.
    given_up: bool,
    received_ns: i64,
}

/// What became of an intent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// Of all its lines, but those of the spans.
    pub disposition: Disposition,
    /// Why it is doubt.
    pub cause: Cause,
    /// Lines of their own fate; empty but for [`Disposition::Partial`].
    pub spans: Spans,
}

impl Judged {
    fn applied() -> Self {
        Self { disposition: Disposition::Applied, cause: Cause::None, spans: Spans::default() }
    }

    /// How many of the intent's lines the primary is known to have kept.
    #[must_use]
    pub fn applied_lines(&self, lines: u32) -> u64 {
        match self.disposition {
            Disposition::Applied => u64::from(lines),
            Disposition::Partial => {
                u64::from(lines).saturating_sub(self.spans.lines(Fate::NotApplied) + self.spans.lines(Fate::Doubt))
            }
            Disposition::NotApplied | Disposition::Doubt | Disposition::Gapped => 0,
        }
    }
}

#[derive(Clone, Debug)]
struct Exception {
    judged: Judged,
    lines: u32,
}

/// Lines of intents that are resolved and that nobody has asked for yet, by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ahead {
    /// The primary kept nothing.
    pub not_applied: u64,
    /// Not known.
    pub doubt: u64,
    /// In a gap.
    pub gapped: u64,
}

impl Exception {
    /// Its lines that were not applied, by what became of them.
    fn lines(&self) -> Ahead {
        let (lines, none) = (u64::from(self.lines), Ahead::default());
        match self.judged.disposition {
            Disposition::Applied => none,
            Disposition::NotApplied => Ahead { not_applied: lines, ..none },
            Disposition::Doubt => Ahead { doubt: lines, ..none },
            Disposition::Gapped => Ahead { gapped: lines, ..none },
            Disposition::Partial => {
                let spans = &self.judged.spans;
                Ahead { not_applied: spans.lines(Fate::NotApplied), doubt: spans.lines(Fate::Doubt), gapped: 0 }
            }
        }
    }
}

impl Ahead {
    fn add(&mut self, other: Self) {
        self.not_applied += other.not_applied;
        self.doubt += other.doubt;
        self.gapped += other.gapped;
    }

    fn subtract(&mut self, other: Self) {
        self.not_applied -= other.not_applied;
        self.doubt -= other.doubt;
        self.gapped -= other.gapped;
    }
}

/// The run-ahead reader.
#[derive(Debug)]
pub struct Scout {
    reader: Reader,
    seen: Lsn,
    unresolved: BTreeMap<Lsn, Waiting>,
    exceptions: BTreeMap<Lsn, Exception>,
    ahead: Ahead,
    applied_lines: u64,
    /// What former processes wrote ends here.
    former: Lsn,
    /// Intents whose outcomes are not in the log any more.
    lost: BTreeSet<Lsn>,
}

impl Scout {
    /// Starts behind `from`: the first record looked at is the one after it.
    #[must_use]
    pub fn new(reader: Reader, from: Lsn) -> Self {
        Self {
            reader,
            seen: from,
            unresolved: BTreeMap::new(),
            exceptions: BTreeMap::new(),
            ahead: Ahead::default(),
            applied_lines: 0,
            former: Lsn::ZERO,
            lost: BTreeSet::new(),
        }
    }

    /// Says up to where former processes wrote: what they left without an outcome gets none from them any more.
    #[must_use]
    pub fn with_former(self, former: Lsn) -> Self {
        Self { former, ..self }
    }

    /// Whether all that former processes wrote was looked at. Before that, sums are too small, and an intent that seems to
    /// have no outcome may have one further on.
    #[must_use]
    pub fn counted(&self) -> bool {
        self.seen >= self.former
    }

    /// Intents that former processes left without an outcome and that were not given up yet, oldest first; empty until they
    /// are known.
    #[must_use]
    pub fn left_open(&self) -> Vec<Lsn> {
        if !self.counted() {
            return Vec::new();
        }
        let open = self.unresolved.range(..=self.former).filter(|(_, waiting)| !waiting.given_up);
        open.map(|(lsn, _)| *lsn).collect()
    }

    /// Looks at every record that is durable now, at most `records_max` of them. True when there may be more.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn advance(&mut self, records_max: usize) -> Result<bool> {
        for _ in 0..records_max {
            let item = self.reader.next_header()?;
            // Marks are passed over inside the reader: its place, not the record's number, is how far we have come.
            self.seen = self.seen.max(self.reader.next_lsn().before());
            match item {
                None => return Ok(false),
                Some(item) => self.note(&item),
            }
        }
        Ok(true)
    }

    fn note(&mut self, item: &Item) {
        match item {
            Item::Record(record) if matches!(record.kind, Kind::Intent | Kind::Statement) => {
                let waiting = Waiting { lines: record.lines, given_up: false, received_ns: record.received_ns };
                self.unresolved.insert(record.lsn, waiting);
            }
            Item::Record(record) if record.kind == Kind::Outcomes => self.resolve(&record.body),
            Item::Record(_) | Item::Damage(_) => {}
        }
    }

    /// Looks at what somebody else has read, so that it need not be read twice: `reader` is the one that has just returned
    /// `item`, a record; see [`Scout::see_damaged`] for damage. What was seen before changes nothing.
    pub fn see(&mut self, item: &Item, reader: &Reader) {
        if let Item::Record(record) = item
            && record.lsn > self.seen
        {
            self.note(item);
            self.seen = record.lsn.max(reader.next_lsn().before());
        }
    }

    /// Looks at a stretch in which somebody else has met damage. Where just payloads are damaged, headers still say which
    /// intents stood there: they are counted, and the damage takes them out again. `headers` starts at its first record.
    /// After an error it may be called again.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn see_damaged(&mut self, damage: &Damage, mut headers: Reader) -> Result<()> {
        if damage.last <= self.seen {
            return Ok(());
        }
        while headers.next_lsn() <= damage.last {
            match headers.next_header()? {
                Some(Item::Record(record)) if record.lsn <= damage.last => self.note(&Item::Record(record)),
                Some(_) => {}
                None => break,
            }
        }
        self.seen = damage.last;
        Ok(())
    }

    /// Goes on from where another reader stands, if that is further; all that it has returned must have been shown to
    /// [`Scout::see`]. A scout that lagged behind would keep segments from being used again.
    pub fn follow(&mut self, reader: &Reader) {
        if reader.next_lsn() > self.reader.next_lsn() {
            self.reader = reader.clone();
            self.seen = self.seen.max(reader.next_lsn().before());
        }
    }

    fn resolve(&mut self, payload: &[u8]) {
        for (outcome, spans) in Outcome::decode_all(payload) {
            // The first outcome stands; an intent below our start was resolved before.
            let Some(waiting) = self.unresolved.remove(&outcome.lsn) else { continue };
            let Outcome { lsn, disposition, cause, .. } = outcome;
            let judged = Judged { disposition, cause, spans };
            self.applied_lines += judged.applied_lines(waiting.lines);
            if disposition != Disposition::Applied {
                let exception = Exception { judged, lines: waiting.lines };
                self.ahead.add(exception.lines());
                self.exceptions.insert(lsn, exception);
            }
        }
    }

    /// Every intent up to here has its outcome.
    #[must_use]
    pub fn resolved(&self) -> Lsn {
        self.unresolved.first_key_value().map_or(self.seen, |(first, _)| first.before())
    }

    /// The last record looked at.
    #[must_use]
    pub fn seen(&self) -> Lsn {
        self.seen
    }

    /// The outcomes of all intents up to here were in the log, and some are not any more: no others will come.
    pub fn lose(&mut self, to: Lsn) {
        let behind = self.unresolved.split_off(&to.next());
        self.lost.extend(std::mem::replace(&mut self.unresolved, behind).into_keys());
    }

    /// Whether the outcome of this intent is lost; what lies below is forgotten.
    pub fn has_lost(&mut self, lsn: Lsn) -> bool {
        self.lost = self.lost.split_off(&lsn);
        self.lost.contains(&lsn)
    }

    /// What became of an intent at or below [`Scout::resolved`]. Each may be asked once, in log order: what lies below is
    /// forgotten.
    pub fn take(&mut self, lsn: Lsn) -> Judged {
        assert!(lsn <= self.resolved(), "an intent is judged only after its outcome");
        while let Some(entry) = self.exceptions.first_entry()
            && *entry.key() <= lsn
        {
            let (at, exception) = entry.remove_entry();
            self.ahead.subtract(exception.lines());
            if at == lsn {
                return exception.judged;
            }
        }
        Judged::applied()
    }

    /// Lines of resolved intents that were not applied and not taken yet.
    #[must_use]
    pub fn ahead(&self) -> Ahead {
        self.ahead
    }

    /// Intents of this process up to `to` without an outcome that were not given up yet, oldest first, at most `limit`.
    #[must_use]
    pub fn overdue(&self, to: Lsn, limit: usize) -> Vec<Lsn> {
        let own = self.unresolved.range((Bound::Excluded(self.former), Bound::Included(to.max(self.former))));
        let overdue = own.filter(|(_, waiting)| !waiting.given_up);
        overdue.map(|(lsn, _)| *lsn).take(limit).collect()
    }

    /// These were given up; nobody reads their outcomes while delivery waits.
    pub fn note_given_up(&mut self, intents: &[Lsn]) {
        for lsn in intents {
            if let Some(waiting) = self.unresolved.get_mut(lsn) {
                waiting.given_up = true;
            }
        }
    }

    /// Some outcomes of given-up intents did not reach the log: all that still have none are given up again.
    pub fn forget_given_up(&mut self) {
        self.unresolved.values_mut().for_each(|waiting| waiting.given_up = false);
    }

    /// Lines in intents without an outcome, and the arrival of the oldest of them.
    #[must_use]
    pub fn waiting(&self) -> (u64, Option<i64>) {
        let lines = self.unresolved.values().map(|w| u64::from(w.lines)).sum();
        (lines, self.unresolved.values().map(|w| w.received_ns).min())
    }

    /// Lines in applied intents since the start of this scout.
    #[must_use]
    pub fn applied_lines(&self) -> u64 {
        self.applied_lines
    }
}
