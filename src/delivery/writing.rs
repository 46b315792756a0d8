//! Lines as the destination gets them.
//!
//! Promise: what is written, read by the destination's own rules, is what the source keeps of the line, but for what
//! [`Changes`] counts; a line that does not fit is named and not written.

use std::ops::Range;

use super::merging::Row;
use crate::db::victoria::Keeps;
use crate::line::project::{Changes, QuestRules, VictoriaRules, influx3, questdb, victoria};
use crate::line::{self, Dialect, Outline, Precision};
use crate::queue::Intent;

/// How lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writing {
    /// As InfluxDB reads them, with all they hold.
    Influx(Dialect),
    /// As InfluxDB 3 does, with all they hold.
    Influx3,
    /// As VictoriaMetrics does, with what it can hold.
    Victoria(VictoriaRules),
    /// As QuestDB does, with what it can hold.
    Questdb(QuestRules),
}

/// What becomes of one line.
pub(super) enum Written<'a> {
    /// It is sent so; where it does not fit in part, that is told.
    Line(&'a [u8], Option<line::Unfit>),
    /// It is sent so, and stands for others; in the second form it would go alone.
    Row(&'a [u8], Vec<u8>),
    /// It goes with one that follows; alone it would go so.
    Earlier(&'a [u8]),
    /// Nothing of it can be held, which is counted.
    Nothing,
    /// It is put aside, in this form.
    Unfit(&'a [u8], line::Unfit),
}

impl Writing {
    /// The same at this time of the wall clock.
    pub fn at(self, now_ns: i64) -> Self {
        match self {
            Self::Victoria(rules) => Self::Victoria(VictoriaRules { now_ms: now_ns.div_euclid(1_000_000), ..rules }),
            other => other,
        }
    }

    /// The same for a VictoriaMetrics that keeps these times.
    pub(super) fn keeping(self, Keeps { past_ms, ahead_ms }: Keeps) -> Self {
        match self {
            Self::Victoria(rules) => Self::Victoria(VictoriaRules { past_ms, ahead_ms, ..rules }),
            other => other,
        }
    }

    /// Whether lines lose something on the way that is counted.
    pub(super) fn changes_lines(self) -> bool {
        matches!(self, Self::Victoria(_) | Self::Questdb(_))
    }

    /// Nanoseconds of the unit that times are written in.
    pub(super) fn unit_ns(self) -> i64 {
        if matches!(self, Self::Victoria(_)) { 1_000_000 } else { 1 }
    }

    /// Whether lines of one series and time go as one.
    pub fn merges_lines(self) -> bool {
        matches!(self, Self::Questdb(_))
    }

    /// Whether some line of this body may not fit; a fast look that is wrong only by saying yes.
    pub(super) fn may_be_unfit(self, body: &[u8], from: Dialect) -> bool {
        match self {
            Self::Influx(to) => line::may_be_unfit(body, from, to),
            Self::Influx3 | Self::Victoria(_) | Self::Questdb(_) => true,
        }
    }

    /// One line. `looks_unfit`: what [`Writing::may_be_unfit`] said of its body; `tables`: what names of tables begin with.
    #[inline(always)]
    pub(super) fn write<'a>(
        self,
        (body, found): (&'a [u8], &Outline<'_>),
        at_ns: i64,
        intent: &Intent,
        looks_unfit: bool,
        (tables, row): (&[u8], Row<'_>),
        (room, changes): (&'a mut Vec<u8>, &mut Changes),
    ) -> Written<'a> {
        match self {
            Self::Influx(to) => {
                let text = canonical(body, found, at_ns, intent.precision, room);
                if found.careful.is_none() && !looks_unfit {
                    return Written::Line(text, None);
                }
                match with_line(body, found, intent, |line| line::unfit(line, to)).flatten() {
                    Some(unfit) if !unfit.in_part => Written::Unfit(text, unfit),
                    unfit => Written::Line(text, unfit),
                }
            }
            Self::Influx3 => {
                room.clear();
                match with_line(body, found, intent, |line| influx3(line, at_ns, room)) {
                    Some(Err(unfit)) => Written::Unfit(canonical(body, found, at_ns, intent.precision, room), unfit),
                    Some(Ok(())) => Written::Line(room, None),
                    None => Written::Unfit(canonical(body, found, at_ns, intent.precision, room), UNREAD),
                }
            }
            Self::Victoria(rules) => {
                room.clear();
                match with_line(body, found, intent, |line| victoria(line, at_ns, rules, room, changes)) {
                    Some(Ok(())) if room.is_empty() => Written::Nothing,
                    Some(Ok(())) => Written::Line(room, None),
                    Some(Err(unfit)) => Written::Unfit(canonical(body, found, at_ns, intent.precision, room), unfit),
                    None => Written::Unfit(canonical(body, found, at_ns, intent.precision, room), UNREAD),
                }
            }
            Self::Questdb(rules) => quest((body, found), at_ns, intent, (rules, tables), row, (room, changes)),
        }
    }
}

/// One line for QuestDB, or the row that it ends.
fn quest<'a>(
    (body, found): (&'a [u8], &Outline<'_>),
    at_ns: i64,
    intent: &Intent,
    rules: (QuestRules, &[u8]),
    row: Row<'_>,
    (room, changes): (&'a mut Vec<u8>, &mut Changes),
) -> Written<'a> {
    room.clear();
    let mut unused = Changes::default();
    let alone = |changes: &mut Changes, room: &mut Vec<u8>| {
        with_line(body, found, intent, |line| questdb(std::slice::from_ref(line), at_ns, rules, room, changes))
    };
    let written = match row {
        Row::Alone => alone(changes, room),
        // It goes with the last line of its row; but each is put aside by itself.
        Row::Earlier => match alone(&mut unused, room) {
            Some(Ok(())) => return Written::Earlier(room),
            other => other,
        },
        Row::Last(spans) => {
            let mut own = Vec::new();
            let _ = alone(&mut unused, &mut own);
            let all = spans.iter().map(|span| parsed(body, span.clone(), intent)).collect::<Option<Vec<_>>>();
            match all.map(|lines| questdb(&lines, at_ns, rules, room, changes)) {
                Some(Ok(())) if !room.is_empty() => return Written::Row(room, own),
                other => other,
            }
        }
    };
    match written {
        Some(Ok(())) if room.is_empty() => Written::Nothing,
        Some(Ok(())) => Written::Line(room, None),
        Some(Err(unfit)) => Written::Unfit(canonical(body, found, at_ns, intent.precision, room), unfit),
        // Read before, it is read again.
        None => Written::Nothing,
    }
}

/// A line that was read before is read again; should it not be, it must not vanish.
const UNREAD: line::Unfit =
    line::Unfit { code: "unreadable", why: "it cannot be read any more: this is a bug", in_part: false };

/// All of a line whose outline is known.
fn with_line<T>(
    body: &[u8],
    found: &Outline<'_>,
    intent: &Intent,
    look: impl FnOnce(&line::Line<'_>) -> T,
) -> Option<T> {
    match &found.careful {
        Some(line) => Some(look(line)),
        None => Some(look(&parsed(body, found.span.clone(), intent)?)),
    }
}

/// The line at this place of a body.
fn parsed<'a>(body: &'a [u8], span: Range<usize>, intent: &Intent) -> Option<line::Line<'a>> {
    line::lines(&body[span], intent.dialect, intent.precision).next()?.ok()
}

/// A line as InfluxDB gets it: with nanoseconds and a line feed. Most lines are that already.
fn canonical<'a>(
    body: &'a [u8],
    line: &Outline<'_>,
    at_ns: i64,
    precision: Precision,
    room: &'a mut Vec<u8>,
) -> &'a [u8] {
    if line.careful.is_none()
        && precision == Precision::Nanosecond
        && line.time_ns.is_some()
        && let Some(whole) = body.get(line.span.start..=line.span.end)
    {
        return whole;
    }
    room.clear();
    match &line.careful {
        None => line::write_plain(&body[line.span.start..line.fields_end], at_ns, room),
        Some(line) => line::write_canonical(line, at_ns, room),
    }
    room
}
