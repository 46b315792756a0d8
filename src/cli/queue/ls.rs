//! `twinline queue ls`: the segments, and the files beside them.

use std::fmt::Write;
use std::path::Path;

use serde_json::{Value, json};

use super::place::{Place, failure};
use super::text::{plural, time, time_or_null};
use crate::base::Lsn;
use crate::base::size::ByteSize;
use crate::cli::Global;
use crate::cli::exit::{Exit, Failure};
use crate::wal::look::{Look, SegmentSeen, SegmentState, Sight};

/// Options of `ls`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct LsArgs {}

/// Files of a directory that a listing names at most.
const FILES_MAX: usize = 1000;

/// One line of the listing.
#[derive(Debug)]
struct Line {
    name: String,
    segment: Option<u64>,
    /// What `show` takes; the name of a file that is no segment.
    shown: String,
    state: &'static str,
    lsns: Option<(Lsn, Lsn)>,
    records: Option<u64>,
    received_ns: Option<(i64, i64)>,
    /// Bytes of records, where known.
    used: Option<u64>,
    bytes: u64,
    floors: Vec<(String, usize)>,
}

pub(super) fn run(global: &Global, place: &Place, _: &LsArgs) -> Result<Exit, Failure> {
    let talk = global.talk();
    let (look, life) = place.look()?;
    let mut lines = Vec::new();
    for segment in &look.segments {
        let line = line(&look, segment)?;
        // Given back meanwhile, it says nothing.
        if look.stands(segment).map_err(failure)? {
            lines.push(line);
        }
    }
    for prepared in &look.prepared {
        lines.push(file(&prepared.name, "prepared", prepared.bytes));
    }
    for (folder, state) in [("seg", "foreign"), ("quarantine", "quarantined")] {
        let dir = place.wal().join(folder);
        let known = |name: &str| lines.iter().any(|line| folder == "seg" && line.name == name);
        let others: Vec<Line> = others(&dir, &known).map(|(name, bytes)| file(&name, state, bytes)).collect();
        lines.extend(others);
    }
    let next = match look.segments.iter().rev().find(|segment| segment.last >= segment.base) {
        Some(segment) => place.command(&format!("show {} --records", segment.id)),
        None => place.command("status"),
    };
    if talk.json() {
        talk.document(&json!({
            "schema": "twinline.queue.ls/1",
            "data_dir": place.data_dir.display().to_string(),
            "running": look.is_running(),
            "durable": look.durable.0,
            "files": lines.iter().map(Line::document).collect::<Vec<_>>(),
            "next_steps": [next],
        }))?;
    } else {
        let mut out =
            format!("{} · {} · durable up to record {}\n", place.data_dir.display(), life.word(), look.durable);
        table(&mut out, &lines);
        talk.data(&out)?;
    }
    talk.next(&next);
    Ok(Exit::Success)
}

fn file(name: &str, state: &'static str, bytes: u64) -> Line {
    let (lsns, records, received_ns, used, floors) = (None, None, None, None, Vec::new());
    Line {
        name: name.to_owned(),
        shown: name.to_owned(),
        segment: None,
        state,
        lsns,
        records,
        received_ns,
        used,
        bytes,
        floors,
    }
}

/// What else lies in a directory; nothing where that cannot be listed.
fn others(dir: &Path, known: &dyn Fn(&str) -> bool) -> impl Iterator<Item = (String, u64)> {
    let found = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| {
        let bytes = entry.metadata().map_or(0, |found| found.len());
        (entry.file_name().to_string_lossy().into_owned(), bytes)
    });
    let mut found: Vec<(String, u64)> = found.filter(|(name, _)| !known(name)).take(FILES_MAX).collect();
    found.sort();
    found.into_iter()
}

fn line(look: &Look, segment: &SegmentSeen) -> Result<Line, Failure> {
    let mut line = file(&Look::name_of(segment.id), segment.state.name(), segment.bytes);
    line.segment = Some(segment.id.0);
    line.shown = segment.id.to_string();
    line.floors = floors(look, segment);
    if segment.state == SegmentState::Headless {
        return Ok(line);
    }
    line.lsns = (segment.last >= segment.base).then_some((segment.base, segment.last));
    let counted = count(look, segment)?;
    line.used = Some(counted.used);
    line.records = Some(counted.records);
    line.received_ns = counted.received_ns;
    if counted.tail > 0 {
        line.lsns = Some((segment.base, Lsn(segment.last.0 + counted.tail)));
    }
    Ok(line)
}

/// What the headers of a segment say.
#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    records: u64,
    used: u64,
    received_ns: Option<(i64, i64)>,
    /// Sound records above what is proven durable.
    tail: u64,
}

/// The seal says it; a segment without one is walked through.
fn count(look: &Look, segment: &SegmentSeen) -> Result<Counted, Failure> {
    let mut counted = Counted::default();
    if let Some((min, max, records)) = segment.sealed() {
        let received_ns = (min <= max).then_some((min, max));
        return Ok(Counted { records, used: segment.used(), received_ns, tail: 0 });
    }
    let Some(mut scan) = look.scan(segment, false).map_err(failure)? else { return Ok(counted) };
    while let Some(sight) = scan.next().map_err(failure)? {
        let Sight::Row(row) = sight else { continue };
        counted.records += 1;
        counted.tail += u64::from(!row.durable);
        counted.used += row.bytes;
        let at = row.record.received_ns;
        let (min, max) = counted.received_ns.unwrap_or((at, at));
        counted.received_ns = Some((min.min(at), max.max(at)));
    }
    Ok(counted)
}

/// Whose floors stand in a segment: the next record that a lane needs is in it.
fn floors(look: &Look, segment: &SegmentSeen) -> Vec<(String, usize)> {
    let newest = look.segments.last().is_some_and(|last| last.id == segment.id);
    let holds = |floor: &Lsn| floor.next() >= segment.base && (floor.next() <= segment.last || newest);
    let of = |cursor: &crate::wal::Cursor| cursor.floors.iter().filter(|floor| holds(floor)).count();
    let each =
        look.cursors.iter().map(|seen| (seen.destination.to_string(), seen.loaded.cursor.as_ref().map_or(0, of)));
    each.filter(|(_, lanes)| *lanes > 0).collect()
}

impl Line {
    fn document(&self) -> Value {
        json!({
            "file": self.name,
            "segment": self.segment,
            "state": self.state,
            "first_lsn": self.lsns.map(|(first, _)| first.0),
            "last_lsn": self.lsns.map(|(_, last)| last.0),
            "records": self.records,
            "received_from": self.received_ns.and_then(|(from, _)| time_or_null(from)),
            "received_to": self.received_ns.and_then(|(_, to)| time_or_null(to)),
            "record_bytes": self.used,
            "file_bytes": self.bytes,
            "floors": self.floors.iter().map(|(id, lanes)| json!({"destination": id, "lanes": lanes})).collect::<Vec<_>>(),
        })
    }
}

fn table(out: &mut String, lines: &[Line]) {
    // Writing to a String does not fail.
    let width = lines.iter().map(|line| line.shown.len()).max().unwrap_or(0).max(7);
    let _ = writeln!(
        out,
        "{:width$}  {:11}  {:>15}  {:>9}  {:>9}  {:>9}  RECEIVED, FLOORS",
        "SEGMENT", "STATE", "LSN", "RECORDS", "BYTES", "FILE"
    );
    for line in lines {
        let lsns = line.lsns.map_or("-".to_owned(), |(first, last)| format!("{first}-{last}"));
        let records = line.records.map_or("-".to_owned(), |records| records.to_string());
        let used = line.used.map_or("-".to_owned(), |used| ByteSize(used).to_string());
        let mut rest = line.received_ns.map_or(String::new(), |(from, to)| format!("{} to {}", time(from), time(to)));
        for (id, lanes) in &line.floors {
            let comma = if rest.is_empty() { "" } else { ", " };
            let _ = write!(rest, "{comma}{id}: {}", plural(*lanes as u64, "lane"));
        }
        let row = format!(
            "{:width$}  {:11}  {lsns:>15}  {records:>9}  {used:>9}  {:>9}  {rest}",
            line.shown,
            line.state,
            ByteSize(line.bytes).to_string()
        );
        let _ = writeln!(out, "{}", row.trim_end());
    }
}
