//! What becomes of each line of a write that the primary did not keep as a whole, or that met another one under way.
//!
//! Promise: a line is called kept, or not kept, only where that follows from the answer and the line's own time; all other
//! lines are doubt. What is certain about the rest of the write is not touched by that.

use std::cmp::Ordering;

use super::primary::Judged;
use super::stamp::Lines;
use crate::db::answer::{Conflicting, Expired, Kept};
use crate::line;
use crate::queue::doubts::Counts;
use crate::queue::{Cause, Disposition, Fate, Span, Spans};

/// A line so close to the horizon may lie on either side of it.
const MARGIN_NS: i64 = 1_000_000_000;
/// No server has a shorter retention than an hour. A little less, for clocks that differ.
const RETENTION_MIN_NS: i64 = 3_500_000_000_000;
/// Spans of one write; what follows the last of them is doubt.
const SPANS_MAX: usize = 8192;

/// The fate of a write: of all its lines, and of those that do not share it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Settled {
    pub(super) disposition: Disposition,
    pub(super) cause: Cause,
    /// By line of the whole write, in order; only with [`Disposition::Applied`].
    pub(super) spans: Vec<Span>,
}

/// A line that something else under way at the same time may have touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Met {
    /// Its number among those of the write that parse.
    pub(super) line: u32,
    /// What it was.
    pub(super) cause: Cause,
}

impl Settled {
    /// Of so many lines those that the source has kept or may have, and those of them that are doubt.
    pub(super) fn counts(&self, lines: u32) -> (u64, Counts) {
        let mut doubt = Counts::default();
        match self.disposition {
            Disposition::NotApplied | Disposition::Gapped => return (0, doubt),
            Disposition::Doubt => doubt.add(self.cause, u64::from(lines)),
            Disposition::Applied | Disposition::Partial => {}
        }
        let mut accepted = u64::from(lines);
        for span in &self.spans {
            match span.fate {
                Fate::NotApplied => accepted = accepted.saturating_sub(u64::from(span.lines)),
                Fate::Doubt => doubt.add(span.cause, u64::from(span.lines)),
            }
        }
        (accepted, doubt)
    }
}

/// Settles a write. `met`: the lines that something else touched meanwhile, in order, each once.
pub(super) fn settle(judged: &Judged, lines: &Lines, met: &[Met], now_ns: i64) -> Settled {
    let whole = |disposition, cause| Settled { disposition, cause, spans: Vec::new() };
    let expired = match judged.kept {
        Kept::Nothing => return whole(Disposition::NotApplied, Cause::None),
        Kept::Unknown => return whole(Disposition::Doubt, judged.cause),
        Kept::All => Vec::new(),
        Kept::Retained(expired) => match outside(expired, lines, now_ns) {
            Some(spans) => spans,
            None => return whole(Disposition::Doubt, judged.cause),
        },
        Kept::Conflicting(conflicting) => match refused(conflicting, lines) {
            Some(spans) => spans,
            None => return whole(Disposition::Doubt, judged.cause),
        },
    };
    let mut spans = with_met(expired, met);
    if spans.len() > SPANS_MAX {
        let first = spans[SPANS_MAX - 1].first;
        let cause = spans[SPANS_MAX - 1..].iter().map(|span| span.cause).find(|cause| *cause != Cause::None);
        spans.truncate(SPANS_MAX - 1);
        let rest = lines.parsed.lines.saturating_sub(first);
        spans.push(Span { first, lines: rest, fate: Fate::Doubt, cause: cause.unwrap_or(judged.cause) });
    }
    Settled { disposition: Disposition::Applied, cause: Cause::None, spans }
}

/// The lines that lie outside the retention policy. `None`: their number does not say which they are.
///
/// A server drops the points before a horizon, but keeps those that share a shard group with a point that it keeps. So what
/// it drops are the oldest of the request, and which they are follows from their number alone.
fn outside(expired: Expired, lines: &Lines, now_ns: i64) -> Option<Vec<Span>> {
    let times: Vec<i64> = line::lines(&lines.text, lines.dialect, lines.precision)
        .filter_map(Result::ok)
        .map(|line| line.timestamp_ns())
        .collect::<Option<_>>()?;
    let dropped = expired.lines as usize;
    let mut sorted = times.clone();
    sorted.sort_unstable();
    let (last_dropped, first_kept) = (*sorted.get(dropped.checked_sub(1)?)?, *sorted.get(dropped)?);
    let proven = first_kept > last_dropped.saturating_add(MARGIN_NS);
    match expired.horizon_ns {
        // Below the horizon for sure and as many as were dropped; where others lie so close to it that the numbers could
        // be right by chance, all that are not clearly above it are doubt.
        Some(horizon_ns) => {
            let (below, above) = (horizon_ns.saturating_sub(MARGIN_NS), horizon_ns.saturating_add(MARGIN_NS));
            let certain = last_dropped < below && first_kept >= above;
            let fate = if certain { Fate::NotApplied } else { Fate::Doubt };
            Some(runs(times.iter().map(|time_ns| (*time_ns < above).then_some(fate))))
        }
        None if proven && last_dropped < now_ns.saturating_sub(RETENTION_MIN_NS) => {
            Some(runs(times.iter().map(|time_ns| (*time_ns <= last_dropped).then_some(Fate::NotApplied))))
        }
        None => None,
    }
}

/// The lines that have the field whose type the source does not take. `None`: their number does not go with what was dropped. Where more
/// were dropped, the others may be those: they are doubt.
fn refused(conflicting: Conflicting, lines: &Lines) -> Option<Vec<Span>> {
    let read = || line::lines(&lines.text, lines.dialect, lines.precision).filter_map(Result::ok);
    let first = read().nth(conflicting.line as usize)?;
    let field = first.fields().get(conflicting.field as usize)?;
    let is_refused = |line: &line::Line<'_>| {
        line.measurement() == first.measurement()
            && line.fields().iter().any(|other| other.kind() == field.kind() && other.key() == field.key())
    };
    let fates: Vec<bool> = read().map(|line| is_refused(&line)).collect();
    let number = u32::try_from(fates.iter().filter(|refused| **refused).count()).ok()?;
    let others = match number.cmp(&conflicting.dropped) {
        Ordering::Equal => None,
        Ordering::Less => Some(Fate::Doubt),
        Ordering::Greater => return None,
    };
    Some(runs(fates.into_iter().map(|refused| if refused { Some(Fate::NotApplied) } else { others })))
}

fn runs(fates: impl Iterator<Item = Option<Fate>>) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    for (line, fate) in (0u32..).zip(fates) {
        let Some(fate) = fate else { continue };
        match spans.last_mut() {
            Some(last) if last.end() == line && last.fate == fate => last.lines += 1,
            _ => {
                let cause = if fate == Fate::Doubt { Cause::Answer } else { Cause::None };
                spans.push(Span { first: line, lines: 1, fate, cause });
            }
        }
    }
    spans
}

/// Adds lines that something else touched; those that were not kept stay so.
fn with_met(expired: Vec<Span>, met: &[Met]) -> Vec<Span> {
    if met.is_empty() {
        return expired;
    }
    let mut all: Vec<Span> = Vec::with_capacity(expired.len() + met.len());
    let taken = |line: u32| {
        let at = expired.partition_point(|span| span.end() <= line);
        expired.get(at).is_some_and(|span| span.first <= line)
    };
    for Met { line, cause } in met.iter().copied().filter(|met| !taken(met.line)) {
        match all.last_mut() {
            Some(last) if last.end() == line && last.cause == cause => last.lines += 1,
            _ => all.push(Span { first: line, lines: 1, fate: Fate::Doubt, cause }),
        }
    }
    all.extend(expired);
    all.sort_unstable_by_key(|span| span.first);
    all
}

/// The part of a write's spans that lies in the piece of `lines` lines from `first` on, counted from there.
pub(super) fn piece(spans: &[Span], first: u32, lines: u32) -> Option<Spans> {
    let end = first.saturating_add(lines);
    let inside = spans.iter().filter_map(|span| {
        let (from, to) = (span.first.max(first), span.end().min(end));
        (from < to).then(|| Span { first: from - first, lines: to - from, ..*span })
    });
    Spans::new(inside.collect())
}

#[cfg(test)]
mod tests {
    use super::super::decode::Decoded;
    use super::super::stamp;
    use super::*;
    use crate::db::precision::Api;
    use crate::db::server::{Flavor, Version};
    use crate::route::WriteIdentity;

    const HOUR_NS: i64 = 3_600_000_000_000;
    const NOW_NS: i64 = 1_000_000 * HOUR_NS;

    fn lines(ages_h: &[f64]) -> Lines {
        let at = |age: &f64| NOW_NS - (age * HOUR_NS as f64) as i64;
        let body: String = ages_h.iter().map(|age| format!("m v=1 {}\n", at(age))).collect();
        let identity = WriteIdentity::read(Api::V1, "db=d");
        stamp::read(&Version::assumed(Flavor::Influx1), &identity, Decoded::Plain(body.into()), NOW_NS, false)
    }

    fn settled(ages_h: &[f64], dropped: u32, horizon_ns: Option<i64>, overlapping: &[u32]) -> Settled {
        let kept = Kept::Retained(Expired { lines: dropped, horizon_ns });
        let judged = Judged { kept, cause: Cause::Answer, status: 400, success: false };
        settle(&judged, &lines(ages_h), &met(overlapping), NOW_NS)
    }

    fn met(lines: &[u32]) -> Vec<Met> {
        lines.iter().map(|line| Met { line: *line, cause: Cause::Overlap }).collect()
    }

    fn span(first: u32, lines: u32, fate: Fate, cause: Cause) -> Span {
        Span { first, lines, fate, cause }
    }

    #[test]
    fn lines_below_the_horizon_are_not_kept_when_their_number_is_right() {
        let horizon = Some(NOW_NS - 24 * HOUR_NS);
        let gone = |first, lines| span(first, lines, Fate::NotApplied, Cause::None);
        let found = settled(&[30.0, 1.0, 40.0, 50.0, 2.0], 3, horizon, &[]);
        assert_eq!((found.disposition, found.spans), (Disposition::Applied, vec![gone(0, 1), gone(2, 2)]));
        // Two below, one dropped: one of them shares a shard group with a line that was kept. Which one is not said.
        let found = settled(&[30.0, 1.0, 24.5], 1, horizon, &[]);
        let doubt = |first, lines| span(first, lines, Fate::Doubt, Cause::Answer);
        assert_eq!((found.disposition, found.spans), (Disposition::Applied, vec![doubt(0, 1), doubt(2, 1)]));
        // A line within a second of the horizon.
        let found = settled(&[30.0, 24.0], 1, horizon, &[]);
        assert_eq!(found.spans, vec![doubt(0, 2)]);
    }

    #[test]
    fn lines_of_a_field_whose_type_is_refused_are_not_kept_and_the_others_are() {
        let identity = WriteIdentity::read(Api::V1, "db=d");
        let body = "m v=1 7\nm,h=a v=\"x\" 7\nn v=\"x\" 7\nm u=1,v=\"y\" 7\n";
        let lines = stamp::read(&Version::assumed(Flavor::Influx1), &identity, Decoded::Plain(body.into()), 0, false);
        let settled = |dropped| {
            let kept = Kept::Conflicting(Conflicting { line: 1, field: 0, dropped });
            settle(&Judged { kept, cause: Cause::Answer, status: 400, success: false }, &lines, &[], NOW_NS)
        };
        let gone = |first| span(first, 1, Fate::NotApplied, Cause::None);
        let doubt = |first| span(first, 1, Fate::Doubt, Cause::Answer);
        assert_eq!(settled(2).spans, vec![gone(1), gone(3)]);
        assert_eq!(settled(3).spans, vec![doubt(0), gone(1), doubt(2), gone(3)], "something else was dropped too");
        assert_eq!(settled(1).disposition, Disposition::Doubt, "less than there are");
    }

    #[test]
    fn without_a_horizon_the_oldest_are_those_that_were_dropped() {
        let gone = |first, lines| span(first, lines, Fate::NotApplied, Cause::None);
        assert_eq!(settled(&[30.0, 1.0, 40.0, 2.0], 2, None, &[]).spans, vec![gone(0, 1), gone(2, 1)]);
        let unclear = settled(&[30.0, 30.0, 1.0], 1, None, &[]);
        assert_eq!((unclear.disposition, unclear.cause), (Disposition::Doubt, Cause::Answer), "two of one time");
        assert_eq!(settled(&[0.5, 0.1], 1, None, &[]).disposition, Disposition::Doubt, "younger than any retention");
    }

    #[test]
    fn lines_that_met_another_write_are_doubt_and_the_rest_is_delivered() {
        let judged = Judged { kept: Kept::All, cause: Cause::Answer, status: 204, success: true };
        let found = settle(&judged, &lines(&[1.0, 1.0, 1.0, 1.0]), &met(&[1, 2]), NOW_NS);
        let overlap = |first, lines| span(first, lines, Fate::Doubt, Cause::Overlap);
        assert_eq!((found.disposition, found.spans), (Disposition::Applied, vec![overlap(1, 2)]));
        let horizon = Some(NOW_NS - 24 * HOUR_NS);
        let gone = |first, lines| span(first, lines, Fate::NotApplied, Cause::None);
        let found = settled(&[30.0, 1.0], 1, horizon, &[0, 1]);
        assert_eq!(found.spans, vec![gone(0, 1), overlap(1, 1)]);
        let mut doubt = Counts::default();
        doubt.add(Cause::Overlap, 1);
        assert_eq!(found.counts(2), (1, doubt), "of what was kept");
    }

    #[test]
    fn each_line_has_the_cause_of_what_it_met() {
        let judged = Judged { kept: Kept::All, cause: Cause::Answer, status: 204, success: true };
        let met = [(0, Cause::Overlap), (1, Cause::Delete), (2, Cause::Delete), (3, Cause::Unlisted)];
        let met = met.map(|(line, cause)| Met { line, cause });
        let found = settle(&judged, &lines(&[1.0, 1.0, 1.0, 1.0, 1.0]), &met, NOW_NS);
        let doubt = |first, lines, cause| span(first, lines, Fate::Doubt, cause);
        let each = [doubt(0, 1, Cause::Overlap), doubt(1, 2, Cause::Delete), doubt(3, 1, Cause::Unlisted)];
        assert_eq!(found.spans, each);
    }

    #[test]
    fn too_many_spans_end_in_doubt() {
        let judged = Judged { kept: Kept::All, cause: Cause::Answer, status: 204, success: true };
        let many: Vec<f64> = vec![1.0; 20_000];
        let every_second: Vec<u32> = (0..20_000).step_by(2).collect();
        let found = settle(&judged, &lines(&many), &met(&every_second), NOW_NS);
        assert_eq!(found.spans.len(), SPANS_MAX);
        assert_eq!(found.spans.last().map(|last| (last.end(), last.cause)), Some((20_000, Cause::Overlap)));
        let piece = piece(&found.spans, 16_000, 4_000).unwrap();
        assert_eq!(piece.lines(Fate::Doubt), 191 + 3_618, "spans of one line, then all of the rest");
    }
}
