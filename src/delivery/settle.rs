//! What follows from the end of a request: which lines are done, refused, or go again, and what stands still.

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use metrics::counter;

use super::Shared;
use super::attempt::Ended;
use super::batch::Batch;
use super::columns;
use super::letters::{Refusal, bury, bury_all};
use super::making;
use super::part::Part;
use super::tell::{pause_destination, pause_target, remark, resumed};
use super::twice;
use crate::base::{Lsn, metric};
use crate::db::answer::{Action, Limit, NO_GZIP, Verdict, quoted};

/// A destination whose memory is full is left alone for so many first pauses.
const CACHE_FULL_PAUSES: u32 = 8;
/// So many failures without a known reason, while others go well, lie in the part itself.
const ERRORS_MAX: u32 = 8;

/// A batch that a lane brings to its end.
pub(super) struct Work<'a> {
    pub(super) shared: &'a Shared,
    pub(super) lane: usize,
    /// What is left of it, in the order of the lines.
    pub(super) parts: VecDeque<Part>,
    /// Whether bodies are compressed, still.
    pub(super) gzip: bool,
    /// Cells of requests without an answer.
    pub(super) open: Open,
}

/// Cells that requests for parts of one batch may still write, with the newest line of each.
#[derive(Debug, Default)]
pub(super) struct Open {
    cells: HashMap<u64, (Lsn, u32)>,
    until: Duration,
}

impl Open {
    /// A request for this part was not answered; until then the destination may work on it.
    pub(super) fn add(&mut self, part: &Part, until: Duration) {
        for (cell, at) in part.places() {
            let newest = self.cells.entry(cell).or_insert(at);
            *newest = at.max(*newest);
        }
        self.until = self.until.max(until);
    }

    /// Whether a part has newer values of these cells. The same lines once more, or some of them, are none.
    pub(super) fn has_older_of(&self, part: &Part, now: Duration) -> bool {
        self.until > now && part.places().any(|(cell, at)| self.cells.get(&cell).is_some_and(|newest| *newest < at))
    }
}

/// How it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// With the next part.
    Go,
    /// Not now: the target is paused.
    Parked,
}

impl<'a> Work<'a> {
    pub(super) fn new(shared: &'a Shared, lane: usize, batch: &Rc<Batch>) -> Self {
        Self {
            shared,
            lane,
            parts: VecDeque::from([Part::whole(batch)]),
            gzip: shared.gzip.get(),
            open: Open::default(),
        }
    }

    /// Does what the answer asks for.
    pub(super) async fn settle(&mut self, mut part: Part, ended: Ended) -> Next {
        let (shared, target) = (self.shared, part.batch.target);
        let Ended { verdict, began, whole, .. } = ended;
        let verdict = if self.gzip { verdict } else { verdict.plain_failed() };
        let verdict = if part.met.again { verdict.again_failed() } else { verdict };
        let (code, reason) = (verdict.code, verdict.reason());
        let shown = || if verdict.status == 0 { reason.clone() } else { format!("{} {reason}", verdict.status) };
        match &verdict.action {
            Action::Acknowledge if columns::were_lost(shared, &part).await => return Next::Parked,
            Action::Acknowledge => self.stored(&part, &verdict, began).await,
            Action::Again => {
                part.met.again = true;
                self.parts.push_front(part);
            }
            Action::Plain { .. } => {
                remark(shared, code, &format!("a compressed body was not understood, sent plain: {reason}"));
                self.gzip = false;
                if code == NO_GZIP {
                    shared.gzip.set(false);
                }
                self.parts.push_front(part);
            }
            Action::Split => self.too_large(part, began, &reason).await,
            Action::Quoted { kept, written } => {
                resumed(shared, target, began);
                let found = named(&part, &verdict, *written);
                if *kept && code == "parse" {
                    counter!(metric::READ_APART).increment(found.as_ref().map_or(1, |found| found.len() as u64));
                }
                self.take_out(part, found, *kept && whole, code).await;
            }
            Action::Numbered { lines, kept } => {
                resumed(shared, target, began);
                let found = numbered(&part, lines, code, &reason);
                self.take_out(part, found, *kept && whole, code).await;
            }
            Action::Bisect { dropped } => {
                resumed(shared, target, began);
                if part.len() == 1 || is_whole(code, *dropped, part.len()) {
                    self.bury_all(part, code, &reason).await;
                } else if code == "type-conflict" {
                    self.conflicts(part, &verdict.said);
                } else {
                    part.halve(&mut self.parts);
                }
            }
            Action::Shrink => {
                pause_destination(shared, code, shown(), Some(shared.settings.retry_initial * CACHE_FULL_PAUSES));
                part.halve(&mut self.parts);
            }
            Action::Retry { after_s } => {
                pause_destination(shared, code, shown(), after_s.map(Duration::from_secs));
                return self.retry(part, code, shown());
            }
            Action::Pause(Limit::Destination) => {
                pause_destination(shared, code, shown(), None);
                self.parts.push_front(part);
            }
            Action::Pause(Limit::Route) => return self.place_refuses(part, (code, shown()), began).await,
        }
        Next::Go
    }

    async fn stored(&self, part: &Part, verdict: &Verdict, began: Duration) {
        let shared = self.shared;
        resumed(shared, part.batch.target, began);
        shared.sizes.taken(part.bytes());
        shared.stored_at.set(shared.clock.monotonic());
        shared.crowd.went_well();
        if let Some(making) = &shared.making {
            making.meets(&shared.targets.get(part.batch.target).target, shared.clock.monotonic());
        }
        if !verdict.code.is_empty() {
            remark(shared, verdict.code, &verdict.reason());
        }
        if part.met.unsure {
            twice::note(shared, part);
        }
        twice::tell(shared).await;
    }

    async fn too_large(&mut self, part: Part, began: Duration, reason: &str) {
        let shared = self.shared;
        resumed(shared, part.batch.target, began);
        let bytes = part.bytes();
        if shared.sizes.refused(bytes, shared.clock.monotonic()) {
            remark(
                shared,
                "too-large",
                &format!("refuses requests of {bytes} bytes; smaller ones are sent from now on"),
            );
        }
        if part.len() == 1 {
            self.bury_all(part, "too-large", reason).await;
        } else {
            part.halve(&mut self.parts);
        }
    }

    /// Records the lines that an answer names as refused; the others are stored, or go again. An answer that does not name
    /// lines of this part says only that there are some.
    async fn take_out(&mut self, part: Part, found: Option<Vec<Refusal>>, kept: bool, code: &'static str) {
        let Some(found) = found else {
            return match part.len() {
                1 => self.bury_all(part, code, "refused without naming the line").await,
                _ => part.halve(&mut self.parts),
            };
        };
        let gone: Vec<usize> = found.iter().map(|refusal| refusal.line).collect();
        let left = if kept { None } else { part.without(&gone) };
        let next = if bury(self.shared, self.lane, &part, found).await { left } else { Some(part) };
        if let Some(next) = next {
            self.parts.push_front(next);
        }
    }

    /// Records all of a part as refused; where there is no room for that, it stays what it was.
    pub(super) async fn bury_all(&mut self, part: Part, code: &'static str, reason: &str) {
        if !bury_all(self.shared, self.lane, &part, code, reason).await {
            self.parts.push_front(part);
        }
    }

    /// Its place takes nothing: it may be missing, and made.
    async fn place_refuses(&mut self, part: Part, (code, said): (&'static str, String), began: Duration) -> Next {
        match making::make(self.shared, part.batch.target, code, began).await {
            Ok(()) => {
                self.parts.push_front(part);
                Next::Go
            }
            Err(next) => {
                pause_target(self.shared, part.batch.target, code, said + &next);
                Next::Parked
            }
        }
    }

    /// The same part again; but a failure without a reason that strikes it alone, again and again, is its own.
    fn retry(&mut self, mut part: Part, code: &'static str, reason: String) -> Next {
        let shared = self.shared;
        if code == "server-error" {
            part.met.errors += 1;
            let since = *part.met.failing_since.get_or_insert(shared.clock.monotonic());
            if part.met.errors >= ERRORS_MAX && shared.stored_at.get() > since {
                if part.len() == 1 {
                    pause_target(shared, part.batch.target, code, reason);
                    return Next::Parked;
                }
                part.halve(&mut self.parts);
                return Next::Go;
            }
        }
        self.parts.push_front(part);
        Next::Go
    }
}

/// The lines that an answer quotes. `written`: how many it says were stored; then all must add up.
fn named(part: &Part, verdict: &Verdict, written: Option<u64>) -> Option<Vec<Refusal>> {
    let found = quoted(&verdict.said, part.texts())?;
    if written.is_some_and(|written| written + found.len() as u64 != part.len() as u64) {
        return None;
    }
    let refusal = |found: crate::db::answer::Refused| {
        let reserved = found.reason.contains("cannot use reserved tag key");
        Refusal { line: found.line, code: if reserved { "bad-name" } else { verdict.code }, reason: found.reason }
    };
    Some(found.into_iter().map(refusal).collect())
}

/// The lines that an answer numbers, if there are such.
fn numbered(part: &Part, lines: &[u64], code: &'static str, reason: &str) -> Option<Vec<Refusal>> {
    let exist = lines.iter().all(|line| (1..=part.len() as u64).contains(line));
    let refusal = |line: &u64| Refusal { line: *line as usize - 1, code, reason: reason.to_owned() };
    exist.then(|| lines.iter().map(refusal).collect())
}

/// Whether an answer says for certain that every line of a part is refused: of these reasons alone the count is known to be
/// one of lines.
fn is_whole(code: &str, dropped: Option<u64>, lines: usize) -> bool {
    dropped == Some(lines as u64) && matches!(code, "expired" | "type-conflict")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(lines: &[(u64, u64)]) -> Part {
        let mut batch = Batch::new(crate::delivery::target::TargetId(0), Duration::ZERO);
        for (lsn, cell) in lines {
            let at =
                crate::delivery::batch::LineAt { lsn: Lsn(*lsn), line: 0, route: crate::base::RouteId(1), cell: *cell };
            batch.push(at, b"m v=1 1\n");
        }
        Part::whole(&Rc::new(batch))
    }

    #[test]
    fn a_newer_value_of_a_later_part_does_not_overtake_a_request_without_an_answer() {
        let (now, until) = (Duration::from_secs(1), Duration::from_secs(61));
        let mut open = Open::default();
        assert!(!open.has_older_of(&part(&[(1, 7)]), now));
        open.add(&part(&[(1, 7), (2, 8), (3, 7)]), until);
        assert!(!open.has_older_of(&part(&[(1, 7), (2, 8)]), now), "a half of the same lines");
        assert!(!open.has_older_of(&part(&[(3, 7), (4, 9)]), now), "the other half, and another cell");
        assert!(open.has_older_of(&part(&[(4, 9), (5, 8)]), now));
        assert!(!open.has_older_of(&part(&[(5, 8)]), until), "it is over");
    }

    #[test]
    fn only_a_count_that_is_surely_one_of_lines_buries_many() {
        assert!(is_whole("expired", Some(3), 3) && is_whole("type-conflict", Some(3), 3));
        assert!(!is_whole("expired", Some(2), 3) && !is_whole("expired", None, 3) && !is_whole("bad-name", Some(3), 3));
    }
}
