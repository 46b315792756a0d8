//! `twinline queue status`: how much waits, since when, and how long it may go on.

use std::fmt::Write;
use std::time::Duration;

use serde_json::{Value, json};

use super::place::{Life, Place, failure};
use super::text::{plural, time_or_null};
use crate::base::clock::{Clock, SystemClock};
use crate::base::size::{ByteSize, show_span};
use crate::base::{DestinationId, Lsn};
use crate::cli::Global;
use crate::cli::exit::{Exit, Failure};
use crate::control::QueueFacts;
use crate::wal::Kind;
use crate::wal::look::{Look, Sight};

/// Options of `status`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct StatusArgs {}

/// What a destination has not acknowledged.
#[derive(Debug)]
struct Waiting {
    destination: DestinationId,
    floors: Vec<Lsn>,
    /// Records above the lowest floor.
    records: u64,
    /// Bytes of records from there to the end.
    bytes: u64,
    /// Arrival of the oldest of them that is a write.
    oldest_ns: Option<i64>,
}

pub(super) fn run(global: &Global, place: &Place, _: &StatusArgs) -> Result<Exit, Failure> {
    let talk = global.talk();
    let (look, life) = place.look()?;
    let end = End::of(&look)?;
    let mut waiting = Vec::new();
    let named = |id: &DestinationId| place.destination.as_ref().is_none_or(|named| id.as_str() == named);
    for seen in look.cursors.iter().filter(|seen| named(&seen.destination)) {
        let floors = seen.loaded.cursor.as_ref().map(|cursor| cursor.floors.clone()).unwrap_or_default();
        waiting.push(wait(&look, &end, seen.destination.clone(), floors)?);
    }
    let now_ns = SystemClock::new().wall_ns();
    let next = next_step(place, &life);
    if talk.json() {
        talk.document(&document((place, &life), &look, &end, &waiting, now_ns, &next))?;
    } else {
        talk.data(&text(place, &look, &life, &end, &waiting, now_ns))?;
    }
    talk.next(&next);
    Ok(Exit::Success)
}

fn next_step(place: &Place, life: &Life) -> String {
    match life {
        Life::Running(facts) if facts.held_since_ns.is_some() => place.command("resume"),
        Life::Running(facts) if let Some(held) = facts.others.iter().find(|one| one.held_since_ns.is_some()) => {
            place.command(&format!("resume --destination {}", held.destination))
        }
        Life::Running(facts) if facts.others.iter().chain([&**facts]).any(|one| !one.paused.is_empty()) => {
            "twinline check".to_owned()
        }
        Life::Running(_) => place.command("ls"),
        Life::Stopped => place.command("verify"),
    }
}

/// Where the log ends.
#[derive(Clone, Copy, Debug, Default)]
struct End {
    /// Bytes of records since the log began.
    position: u64,
    /// Of these, bytes that were given back.
    first: u64,
    /// The last sound record, proven durable or not.
    last: Lsn,
    /// Sound records above what is proven durable, and bytes that look like records behind them.
    tail: u64,
    torn_bytes: u64,
    damaged: bool,
}

impl End {
    fn of(look: &Look) -> Result<Self, Failure> {
        let first = look.segments.first().map_or(0, |first| first.position);
        let mut end = Self { first, last: look.durable, ..Self::default() };
        let Some(newest) = look.segments.last() else { return Ok(end) };
        end.position = newest.position + newest.used();
        if newest.sealed().is_some() {
            return Ok(end);
        }
        let Some(mut scan) = look.scan(newest, false).map_err(failure)? else { return Ok(end) };
        while let Some(sight) = scan.next().map_err(failure)? {
            match sight {
                Sight::Row(row) => {
                    end.position = row.record.position;
                    end.last = end.last.max(row.record.lsn);
                    end.tail += u64::from(row.is_unproven());
                }
                Sight::Damage(..) => end.damaged = true,
            }
        }
        if look.durable < newest.base {
            end.position = newest.position;
        }
        end.torn_bytes = scan.ended().torn_bytes;
        Ok(end)
    }
}

/// Looks for the first record above the lowest floor.
fn wait(look: &Look, end: &End, destination: DestinationId, floors: Vec<Lsn>) -> Result<Waiting, Failure> {
    let floor = floors.iter().copied().min().unwrap_or(Lsn::ZERO);
    let records = end.last.0.saturating_sub(floor.0);
    let mut waiting = Waiting { destination, floors, records, bytes: 0, oldest_ns: None };
    if records == 0 {
        return Ok(waiting);
    }
    let mut begins = None;
    'all: for segment in look.segments.iter().filter(|segment| segment.last > floor || end.last > look.durable) {
        let Some(mut scan) = look.scan(segment, false).map_err(failure)? else { continue };
        while let Some(sight) = scan.next().map_err(failure)? {
            let Sight::Row(row) = sight else { continue };
            // A mark waits for nobody, and floors pass it with what follows.
            if row.record.lsn <= floor || row.kind() == Some(Kind::Mark) {
                continue;
            }
            begins.get_or_insert(row.record.position - row.bytes);
            if row.kind() == Some(Kind::Intent) {
                waiting.oldest_ns = Some(row.record.received_ns);
                break 'all;
            }
        }
    }
    match begins {
        Some(begins) => waiting.bytes = end.position.saturating_sub(begins),
        None => waiting.records = 0,
    }
    Ok(waiting)
}

/// What only the running process knows.
fn running(out: &mut String, facts: &QueueFacts) {
    let span = |seconds: f64| show_span(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX));
    // Writing to a String does not fail.
    let (rate, room) = (ByteSize(facts.input_bytes_s as u64), ByteSize(facts.room_bytes));
    let _ = writeln!(out, "INPUT      {rate}/s, smoothed over some minutes");
    let _ = match facts.full_in_s {
        _ if facts.full.is_some() => {
            writeln!(out, "✗ FULL     it takes no writes: {}", facts.full.as_deref().unwrap_or_default())
        }
        Some(full) => writeln!(out, "FULL       in {} if the destination stopped now (room for {room})", span(full)),
        None => writeln!(out, "FULL       not while so little comes (room for {room})"),
    };
    let _ = match (facts.waiting_lines, facts.empty_in_s) {
        _ if facts.counting => writeln!(out, "CATCH UP   not known: what waits is still being counted"),
        (0, _) => writeln!(out, "CATCH UP   done: nothing waits"),
        (lines, Some(empty)) => writeln!(out, "CATCH UP   in {} ({} wait)", span(empty), plural(lines, "line")),
        (lines, None) if !facts.paused.is_empty() => {
            writeln!(out, "CATCH UP   not while it stands still ({} wait)", plural(lines, "line"))
        }
        (lines, None) if facts.paced => {
            writeln!(out, "CATCH UP   never at this rate: {} wait and do not become less", plural(lines, "line"))
        }
        (lines, None) => writeln!(out, "CATCH UP   not known yet ({} wait)", plural(lines, "line")),
    };
    for pause in &facts.paused {
        let _ = writeln!(out, "! PAUSED   {} for {}: {}", pause.what, span(pause.for_s as f64), pause.reason);
    }
    if let Some(fault) = &facts.fault {
        let _ = writeln!(out, "✗ FAULT    the log takes nothing: {fault}");
    }
}

fn age(now_ns: i64, at_ns: i64) -> Duration {
    Duration::from_nanos(u64::try_from(now_ns.saturating_sub(at_ns)).unwrap_or(0))
}

fn text(place: &Place, look: &Look, life: &Life, end: &End, waiting: &[Waiting], now_ns: i64) -> String {
    let mut out = format!("{} · {} · durable up to record {}\n", place.data_dir.display(), life.word(), look.durable);
    // Writing to a String does not fail.
    let files: u64 = look.segments.iter().map(|s| s.bytes).chain(look.prepared.iter().map(|p| p.bytes)).sum();
    let limit = place.config.as_ref().map_or(String::new(), |config| format!(" of {}", config.queue.max_size));
    let _ = writeln!(
        out,
        "LOG        {} of records in {}; files take {}{limit}, {} of them prepared",
        ByteSize(end.position.saturating_sub(end.first)),
        plural(look.segments.len() as u64, "segment"),
        ByteSize(files),
        look.prepared.len()
    );
    for one in waiting {
        let (lowest, highest) = (one.floors.iter().min(), one.floors.iter().max());
        let floors = match (lowest, highest) {
            (Some(low), Some(high)) if low == high => {
                format!("all {} at record {low}", plural(one.floors.len() as u64, "floor"))
            }
            (Some(low), Some(high)) => {
                format!("{} at records {low} to {high}", plural(one.floors.len() as u64, "floor"))
            }
            _ => "its cursor cannot be read: it begins again at the oldest record".to_owned(),
        };
        let waits = match one.records {
            0 => "has everything".to_owned(),
            _ => format!("waits for {} in {}", ByteSize(one.bytes), plural(one.records, "record")),
        };
        let oldest = one
            .oldest_ns
            .map_or(String::new(), |at| format!("; the oldest write came {} ago", show_span(age(now_ns, at))));
        let _ = writeln!(out, "{:10} {waits}{oldest}; {floors}", one.destination.to_string());
    }
    if waiting.is_empty() {
        let _ = writeln!(out, "no destination has a cursor here: nothing was delivered from this log yet");
    }
    for facts in life.facts().into_iter().flat_map(|first| std::iter::once(first).chain(&first.others)) {
        if life.facts().is_some_and(|first| !first.others.is_empty()) {
            let _ = writeln!(out, "{}", facts.destination);
        }
        running(&mut out, facts);
    }
    if end.tail > 0 {
        let _ = writeln!(
            out,
            "{} above that may be in memory alone: the next start keeps what is there then",
            plural(end.tail, "record")
        );
    }
    if end.torn_bytes > 0 {
        let _ = writeln!(out, "{} behind the end are torn: nobody was told that they stand", ByteSize(end.torn_bytes));
    }
    if end.damaged || !look.holes().is_empty() {
        let _ = writeln!(out, "✗ DAMAGE   acknowledged records are lost: {}", place.command("verify"));
    }
    out
}

fn document(
    (place, life): (&Place, &Life),
    look: &Look,
    end: &End,
    waiting: &[Waiting],
    now_ns: i64,
    next: &str,
) -> Value {
    let files: u64 = look.segments.iter().map(|s| s.bytes).chain(look.prepared.iter().map(|p| p.bytes)).sum();
    let each = |one: &Waiting| {
        json!({
            "destination": one.destination.to_string(),
            "floors": one.floors.iter().map(|floor| floor.0).collect::<Vec<_>>(),
            "records": one.records,
            "bytes": one.bytes,
            "oldest_received": one.oldest_ns.and_then(time_or_null),
            "oldest_s": one.oldest_ns.map(|at| age(now_ns, at).as_secs_f64()),
        })
    };
    json!({
        "schema": "twinline.queue.status/1",
        "data_dir": place.data_dir.display().to_string(),
        "running": look.is_running(),
        "durable": look.durable.0,
        "segments": look.segments.len(),
        "record_bytes": end.position.saturating_sub(end.first),
        "file_bytes": files,
        "limit_bytes": place.config.as_ref().map(|config| config.queue.max_size.0),
        "destinations": waiting.iter().map(each).collect::<Vec<_>>(),
        "unproven_records": end.tail,
        "torn_bytes": end.torn_bytes,
        "process": life.facts(),
        "damaged": end.damaged || !look.holes().is_empty(),
        "next_steps": [next],
    })
}
