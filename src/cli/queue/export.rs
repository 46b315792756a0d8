//! `twinline queue export`: a stretch of the log as a capture, for replay and analysis.

use std::collections::HashMap;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use serde_json::json;

use super::place::{Place, failure};
use super::stop::Stop;
use super::text::plural;
use crate::base::clock::{Clock, SystemClock, parse_rfc3339};
use crate::base::size::{ByteSize, parse_span};
use crate::base::{Error, Lsn};
use crate::cli::Global;
use crate::cli::draft::{Draft, refuse_place};
use crate::cli::exit::{Exit, Failure};
use crate::queue::Outcome;
use crate::wal::capture::{CaptureHead, CaptureWriter};
use crate::wal::look::{Look, Row, Scan, SegmentSeen, SegmentState, Sight};
use crate::wal::{Damage, Kind, OUTCOME_BYTES};

/// Options of `export`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ExportArgs {
    /// From this LSN or moment on: 4711, 2026-11-30T06:00:00Z, or -1h for an hour ago [default: the oldest record]
    #[arg(long, value_name = "LSN|TIME", allow_hyphen_values = true, value_parser = parse_end)]
    from: Option<End>,
    /// Up to this LSN or moment, itself included [default: the newest record]
    #[arg(long, value_name = "LSN|TIME", allow_hyphen_values = true, value_parser = parse_end)]
    to: Option<End>,
    /// The file to write
    #[arg(long, value_name = "FILE.twcap")]
    out: PathBuf,
    /// Replace a file of that name
    #[arg(long)]
    force: bool,
}

/// One end of a stretch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Lsn(Lsn),
    /// When it was received, ns.
    Time(i64),
}

fn parse_end(text: &str) -> Result<End, String> {
    if let Ok(lsn) = text.parse() {
        return Ok(End::Lsn(Lsn(lsn)));
    }
    if let Some(ns) = parse_rfc3339(text) {
        return Ok(End::Time(ns));
    }
    let ago = text
        .strip_prefix('-')
        .and_then(|span| parse_span(span).ok())
        .and_then(|span| i64::try_from(span.as_nanos()).ok());
    let now = SystemClock::new().wall_ns();
    ago.map(|ago| End::Time(now.saturating_sub(ago)))
        .ok_or_else(|| "write an LSN (4711), a moment (2026-11-30T06:00:00Z), or a span before now (-1h30m)".to_owned())
}

/// Outcomes that are remembered until their intent's turn comes; beyond it, an outcome further on counts as not known.
const AHEAD_MAX: usize = 1 << 18;

/// What was written.
#[derive(Debug, Default)]
struct Written {
    writes: u64,
    without_outcome: u64,
    lines: u64,
    lost: u64,
    bytes: u64,
}

pub(super) fn run(global: &Global, place: &Place, args: &ExportArgs) -> Result<Exit, Failure> {
    let (talk, stop) = (global.talk(), Stop::listen()?);
    let (look, _) = place.look()?;
    let mut head = CaptureHead {
        created_ns: SystemClock::new().wall_ns(),
        salt: fastrand::u64(..),
        lsns: (Lsn(1), look.durable),
        received_ns: (i64::MIN, i64::MAX),
    };
    for (end, first) in [(args.from, true), (args.to, false)] {
        match (end, first) {
            (Some(End::Lsn(lsn)), true) => head.lsns.0 = lsn.max(Lsn(1)),
            (Some(End::Lsn(lsn)), false) => head.lsns.1 = lsn.min(look.durable),
            (Some(End::Time(at)), true) => head.received_ns.0 = at,
            (Some(End::Time(at)), false) => head.received_ns.1 = at,
            (None, _) => {}
        }
    }
    if head.lsns.0 > head.lsns.1 || head.received_ns.0 > head.received_ns.1 {
        let what = format!("nothing lies between --from and --to: the log is durable up to record {}", look.durable);
        return Err(Failure::new(Exit::Usage, what).hint(place.command("ls")));
    }
    refuse_place(&place.data_dir, &args.out, args.force)?;
    let draft = Draft::new(&args.out)?;
    let (mut written, interrupted) = fill(&look, &head, &draft, &stop)?;
    if let Some(exit) = interrupted {
        talk.say("interrupted: nothing was kept");
        return Ok(exit);
    }
    written.bytes = draft.keep(&args.out, args.force)?;
    let next = place.command(&format!("show {} --records", args.out.display()));
    if talk.json() {
        talk.document(&json!({
            "schema": "twinline.queue.export/1",
            "file": args.out.display().to_string(),
            "bytes": written.bytes,
            "writes": written.writes,
            "lines": written.lines,
            "without_outcome": written.without_outcome,
            "lost_records": written.lost,
            "next_steps": [next],
        }))?;
    } else {
        let mut out = format!(
            "{}: {}, {}, {}\n",
            args.out.display(),
            plural(written.writes, "write"),
            plural(written.lines, "line"),
            ByteSize(written.bytes)
        );
        if written.without_outcome > 0 {
            out.push_str(&format!("  the outcome of {} is not known yet\n", plural(written.without_outcome, "write")));
        }
        if written.lost > 0 {
            out.push_str(&format!("  lost to damage, and missing here: {}\n", plural(written.lost, "record")));
        }
        talk.data(&out)?;
    }
    talk.next(&next);
    Ok(if written.lost > 0 { Exit::Partly } else { Exit::Success })
}

fn fill(look: &Look, head: &CaptureHead, draft: &Draft, stop: &Stop) -> Result<(Written, Option<Exit>), Failure> {
    let broken = |e: io::Error| Failure::from(Error::disk(format!("cannot write {}", draft.path().display()), e));
    let out = BufWriter::with_capacity(1 << 20, draft.file());
    let mut writer = CaptureWriter::new(out, head).map_err(broken)?;
    let (mut written, mut ahead) = (Written::default(), Ahead::new(look, head));
    for segment in stretch(look, head) {
        let Some(mut scan) = look.scan(segment, true).map_err(failure)? else { continue };
        while let Some(sight) = scan.next().map_err(failure)? {
            if let Some(exit) = stop.asked() {
                return Ok((written, Some(exit)));
            }
            let row = match sight {
                Sight::Row(row) => row,
                Sight::Damage(damage, ..) => {
                    if !look.stands(segment).map_err(failure)? {
                        return Err(given_back(segment));
                    }
                    written.lost += lost(&damage, head);
                    continue;
                }
            };
            if !wanted(&row, head) {
                continue;
            }
            let outcome = ahead.outcome(row.record.lsn)?;
            written.writes += 1;
            written.lines += u64::from(row.record.lines);
            written.without_outcome += u64::from(outcome.is_empty());
            writer.add(&row.record, &outcome).map_err(broken)?;
        }
        if !look.stands(segment).map_err(failure)? {
            return Err(given_back(segment));
        }
    }
    // Records whose file is gone, or is not to be told from noise.
    written.lost += look.holes().iter().map(|hole| lost(hole, head)).sum::<u64>();
    let (mut out, _) = writer.finish().map_err(broken)?;
    out.flush().map_err(broken)?;
    Ok((written, None))
}

fn given_back(segment: &SegmentSeen) -> Failure {
    let what = format!("segment {} was delivered and given back while it was read: nothing was kept", segment.id);
    Failure::new(Exit::Refused, what).hint("a later --from, or twinline queue pause before")
}

/// Of lost records, how many the stretch may have held.
fn lost(damage: &Damage, head: &CaptureHead) -> u64 {
    if damage.from_ns > head.received_ns.1 || damage.to_ns < head.received_ns.0 {
        return 0;
    }
    let (first, last) = (damage.first.max(head.lsns.0), damage.last.min(head.lsns.1));
    (last.0 + 1).saturating_sub(first.0)
}

/// Writes and statements in the stretch; outcomes come with them.
fn wanted(row: &Row, head: &CaptureHead) -> bool {
    let record = &row.record;
    matches!(row.kind(), Some(Kind::Intent | Kind::Statement | Kind::Gap))
        && row.durable
        && (head.lsns.0..=head.lsns.1).contains(&record.lsn)
        && (head.received_ns.0..=head.received_ns.1).contains(&record.received_ns)
}

/// The segments that may hold some of it.
fn stretch<'a>(look: &'a Look, head: &'a CaptureHead) -> impl Iterator<Item = &'a SegmentSeen> {
    look.segments.iter().filter(move |segment| {
        let (min_ns, max_ns, _) = segment.sealed().unwrap_or((i64::MIN, i64::MAX, 0));
        segment.state != SegmentState::Superseded
            && segment.base <= head.lsns.1
            && segment.last >= head.lsns.0
            && min_ns <= head.received_ns.1
            && max_ns >= head.received_ns.0
    })
}

/// Runs ahead of the writer and finds outcomes.
struct Ahead<'a> {
    look: &'a Look,
    rest: Vec<&'a SegmentSeen>,
    scan: Option<Scan>,
    found: HashMap<Lsn, Vec<[u8; OUTCOME_BYTES]>>,
    ended: bool,
}

impl<'a> Ahead<'a> {
    fn new(look: &'a Look, head: &'a CaptureHead) -> Self {
        let first = stretch(look, head).next().map(|segment| segment.id);
        let behind = look.segments.iter().filter(|segment| segment.state != SegmentState::Superseded);
        let rest: Vec<&SegmentSeen> =
            behind.filter(|segment| first.is_some_and(|first| segment.id >= first)).rev().collect();
        Self { look, rest, scan: None, found: HashMap::new(), ended: false }
    }

    /// The entries of an intent's outcome: spans, then the outcome; empty where it is not known.
    fn outcome(&mut self, lsn: Lsn) -> Result<Vec<[u8; OUTCOME_BYTES]>, Failure> {
        while !self.ended && !self.found.contains_key(&lsn) && self.found.len() < AHEAD_MAX {
            self.advance()?;
        }
        let found = self.found.remove(&lsn).unwrap_or_default();
        if self.found.len() >= AHEAD_MAX {
            // Of what lies before us nobody asks any more.
            self.found.retain(|other, _| *other > lsn);
        }
        Ok(found)
    }

    fn advance(&mut self) -> Result<(), Failure> {
        if self.scan.is_none() {
            let Some(segment) = self.rest.pop() else {
                self.ended = true;
                return Ok(());
            };
            self.scan = self.look.scan(segment, false).map_err(failure)?;
            return Ok(());
        }
        let next = self.scan.as_mut().map(Scan::next).transpose().map_err(failure)?.flatten();
        match next {
            None => self.scan = None,
            Some(Sight::Row(row)) if row.kind() == Some(Kind::Outcomes) => {
                for (outcome, spans) in Outcome::decode_all(&row.record.body) {
                    // The first one stands.
                    let entries =
                        || if spans.is_empty() { vec![outcome.encode()] } else { outcome.encode_partial(&spans) };
                    self.found.entry(outcome.lsn).or_insert_with(entries);
                }
            }
            Some(_) => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_positions_moments_or_spans_before_now() {
        assert_eq!(parse_end("4711"), Ok(End::Lsn(Lsn(4711))));
        assert_eq!(parse_end("1970-01-01T00:00:01Z"), Ok(End::Time(1_000_000_000)));
        assert!(matches!(parse_end("-1h30m"), Ok(End::Time(at)) if at > 0));
        for bad in ["", "yesterday", "-", "1h", "-1x"] {
            assert!(parse_end(bad).is_err_and(|said| said.contains("-1h30m")), "{bad}");
        }
    }
}
