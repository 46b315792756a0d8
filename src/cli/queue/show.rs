//! `twinline queue show`: the header of a segment, and what stands in it.

use std::collections::HashMap;
use std::fmt::Write;

use base64::Engine;
use serde_json::{Value, json};

use super::place::{Place, failure};
use super::routes::Routes;
use super::stop::Stop;
use super::text::{kind, outcome, plural, printable, time, time_or_null};
use crate::base::size::ByteSize;
use crate::base::{Lsn, SegmentId};
use crate::cli::Global;
use crate::cli::exit::{Exit, Failure};
use crate::cli::talk::{Mark, Talk};
use crate::queue::{Intent, Outcome, Statement};
use crate::wal::look::{Look, Row, SegmentSeen, SegmentState, Sight};
use crate::wal::{Damage, Kind};

/// Options of `show`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ShowArgs {
    /// A segment: its number or its file name (see `twinline queue ls`); or the file of a capture
    #[arg(value_name = "SEGMENT")]
    pub(super) segment: String,
    /// One row for each record
    #[arg(long)]
    records: bool,
    /// … and the lines that clients sent
    #[arg(long)]
    pub(super) bodies: bool,
    /// Only records from this LSN on
    #[arg(long, value_name = "LSN")]
    pub(super) from: Option<u64>,
    /// Only records up to this LSN
    #[arg(long, value_name = "LSN")]
    pub(super) to: Option<u64>,
}

impl ShowArgs {
    /// Whether records are asked for.
    pub(super) fn rows(&self) -> bool {
        self.records || self.bodies
    }
}

/// An outcome stands a few seconds behind its intent: so many segments behind are looked at.
const SEGMENTS_BEHIND: usize = 4;
/// Text is handed on in pieces of this size.
const PIECE_BYTES: usize = 64 << 10;
/// Segments that are named where one does not exist.
const NEAR: usize = 5;

pub(super) fn run(global: &Global, place: &Place, args: &ShowArgs) -> Result<Exit, Failure> {
    let talk = global.talk();
    let stop = Stop::listen()?;
    let (look, _) = place.look()?;
    let segment = find(&look, place, &args.segment)?;
    let rows = args.rows();
    let next = match rows || segment.state == SegmentState::Headless {
        true => place.command("verify"),
        false => place.command(&format!("show {} --records", segment.id)),
    };
    let mut page = Page::new(talk);
    if talk.json() {
        let head = json!({"schema": "twinline.queue.show/1", "segment": fields(&look, segment)?});
        let head = head.to_string();
        page.out.push_str(head.strip_suffix('}').unwrap_or(&head));
    } else {
        page.out = header(&look, segment)?;
    }
    let mut exit = Exit::Success;
    if rows {
        if talk.json() {
            page.out.push_str(",\"records\":[");
        } else {
            page.out.push_str(&titles());
        }
        exit = records(&look, segment, args, &mut page, &stop)?;
        if talk.json() {
            page.out.push(']');
        }
    }
    page.end(exit, &next)?;
    talk.next(&next);
    Ok(exit)
}

/// The segment that was meant.
fn find<'a>(look: &'a Look, place: &Place, name: &str) -> Result<&'a SegmentSeen, Failure> {
    let file = name.rsplit('/').next().unwrap_or(name);
    let digits = file.strip_suffix(".wal").unwrap_or(file);
    let id = digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok()).flatten();
    if let Some(found) = id.and_then(|id| look.segments.iter().find(|segment| segment.id == SegmentId(id))) {
        return Ok(found);
    }
    if look.prepared.iter().any(|prepared| prepared.name == file) {
        let what = format!("{file} is a prepared file: whatever it holds, it is not part of the log");
        return Err(Failure::new(Exit::Failed, what).hint(place.command("ls")));
    }
    let Some(id) = id else {
        let what = format!("\"{name}\" is no segment: give a number or a file name, as 42 or 00000000000000000042.wal");
        return Err(Failure::new(Exit::Usage, what).hint(place.command("ls")));
    };
    let mut near: Vec<u64> = look.segments.iter().map(|segment| segment.id.0).collect();
    near.sort_by_key(|other| other.abs_diff(id));
    near.truncate(NEAR);
    near.sort_unstable();
    let near: Vec<String> = near.iter().map(ToString::to_string).collect();
    let what = match near.is_empty() {
        true => format!("there is no segment {id}: the log has none at all"),
        false => format!("there is no segment {id}; near it are {}", near.join(", ")),
    };
    Err(Failure::new(Exit::Failed, what).hint(place.command("ls")))
}

/// The header as pairs; what is lost is null.
fn fields(look: &Look, segment: &SegmentSeen) -> Result<Value, Failure> {
    let flaws: Vec<String> =
        look.frame_flaws(segment).map_err(failure)?.iter().map(|flaw| format!("{flaw:?}").to_lowercase()).collect();
    let known = segment.state != SegmentState::Headless;
    let seal = segment.sealed();
    Ok(json!({
        "segment": segment.id.0,
        "file": segment.path.display().to_string(),
        "state": segment.state.name(),
        "file_bytes": segment.bytes,
        "capacity": known.then_some(segment.capacity),
        "first_lsn": known.then_some(segment.base.0),
        "last_lsn": known.then_some(segment.last.0),
        "created": known.then(|| time_or_null(segment.created_ns)).flatten(),
        "incarnation": known.then_some(segment.incarnation),
        "position": known.then_some(segment.position),
        "seal": seal.map(|(from, to, records)| json!({
            "received_from": time_or_null(from), "received_to": time_or_null(to), "records": records,
        })),
        "flaws": flaws,
    }))
}

fn header(look: &Look, segment: &SegmentSeen) -> Result<String, Failure> {
    let mut out = String::new();
    // Writing to a String does not fail.
    let mut line = |name: &str, value: &str| _ = writeln!(out, "{name:12} {value}");
    line("segment", &segment.id.to_string());
    line("file", &segment.path.display().to_string());
    line("state", segment.state.name());
    line("file bytes", &format!("{} ({})", segment.bytes, ByteSize(segment.bytes)));
    if segment.state != SegmentState::Headless {
        let lsns = if segment.last < segment.base {
            format!("none from {} on", segment.base)
        } else {
            format!("{} to {}", segment.base, segment.last)
        };
        line("records", &lsns);
        line("created", &time(segment.created_ns));
        line("incarnation", &segment.incarnation.to_string());
        line("position", &format!("{} bytes of records stand before it", segment.position));
    }
    if let Some((from, to, records)) = segment.sealed() {
        let received = if from <= to { format!(", received {} to {}", time(from), time(to)) } else { String::new() };
        line("seal", &format!("{}{received}", plural(records, "record")));
    }
    for flaw in look.frame_flaws(segment).map_err(failure)? {
        line("damaged", &format!("{flaw:?}").to_lowercase());
    }
    Ok(out)
}

/// What goes to stdout, in pieces.
pub(super) struct Page {
    pub(super) talk: Talk,
    pub(super) out: String,
    /// No row was written yet.
    first: bool,
}

impl Page {
    pub(super) fn new(talk: Talk) -> Self {
        Self { talk, out: String::new(), first: true }
    }

    /// The last of it: whether all was shown, and what to do next.
    pub(super) fn end(&mut self, exit: Exit, next: &str) -> Result<(), Failure> {
        if self.talk.json() {
            let (complete, next) = (exit == Exit::Success, Value::from(next));
            // Writing to a String does not fail.
            let _ = writeln!(self.out, ",\"complete\":{complete},\"next_steps\":[{next}]}}");
        }
        self.flush()
    }

    fn flush(&mut self) -> Result<(), Failure> {
        self.talk.data(&std::mem::take(&mut self.out))
    }

    pub(super) fn row(&mut self, text: &str) -> Result<(), Failure> {
        if self.talk.json() && !std::mem::take(&mut self.first) {
            self.out.push(',');
        }
        self.out.push_str(text);
        if self.out.len() >= PIECE_BYTES { self.flush() } else { Ok(()) }
    }
}

pub(super) fn titles() -> String {
    format!(
        "\n{:>10}  {:9}  {:24}  {:>7}  {:>9}  {:24}  {:>10}  OUTCOME\n",
        "LSN", "KIND", "ROUTE", "LINES", "BYTES", "RECEIVED", "OFFSET"
    )
}

fn records(look: &Look, segment: &SegmentSeen, args: &ShowArgs, page: &mut Page, stop: &Stop) -> Result<Exit, Failure> {
    let asked = Lsn(args.from.unwrap_or(0))..=Lsn(args.to.unwrap_or(u64::MAX));
    let outcomes = outcomes(look, segment)?;
    let Some(mut scan) = look.scan(segment, true).map_err(failure)? else { return Ok(Exit::Success) };
    let mut routes = Routes::default();
    while let Some(sight) = scan.next().map_err(failure)? {
        if let Some(exit) = stop.asked() {
            return Ok(exit);
        }
        match sight {
            Sight::Row(row) if !asked.contains(&row.record.lsn) => _ = routes.learn(&row),
            Sight::Row(row) => {
                let route = routes.learn(&row);
                let outcome = outcomes.get(&row.record.lsn);
                let text = match page.talk.json() {
                    true => row_document(&row, route, outcome, args.bodies).to_string(),
                    false => row_text(&row, route, outcome, args.bodies),
                };
                page.row(&text)?;
            }
            Sight::Damage(damage, ..) if damage.last < *asked.start() || damage.first > *asked.end() => {}
            Sight::Damage(damage, from, to) => {
                if !look.stands(segment).map_err(failure)? {
                    let what =
                        format!("segment {} was given back by the running twinline while it was read", segment.id);
                    return Err(Failure::new(Exit::Refused, what));
                }
                routes.learn_all(look, segment, damage.route)?;
                let text = match page.talk.json() {
                    true => damage_document(&damage, &routes, from, to).to_string(),
                    false => format!("{} {}, bytes {from} to {to}\n", page.talk.mark(Mark::Bad), routes.lost(&damage)),
                };
                page.row(&text)?;
            }
        }
    }
    let torn = scan.ended().torn_bytes;
    if torn > 0 && !page.talk.json() {
        page.row(&format!(
            "  then {} that were being written when the process ended: torn, and nobody was told\n",
            ByteSize(torn)
        ))?;
    }
    Ok(Exit::Success)
}

/// What became of the intents of a segment, from its own outcomes and those of the segments behind it.
fn outcomes(look: &Look, segment: &SegmentSeen) -> Result<HashMap<Lsn, Option<Outcome>>, Failure> {
    let mut found: HashMap<Lsn, Option<Outcome>> = HashMap::new();
    let mut open = 0usize;
    let behind = look.segments.iter().filter(|other| other.id >= segment.id && other.state != SegmentState::Superseded);
    for other in behind.take(1 + SEGMENTS_BEHIND) {
        let own = other.id == segment.id;
        if !own && open == 0 {
            break;
        }
        let Some(mut scan) = look.scan(other, false).map_err(failure)? else { continue };
        while let Some(sight) = scan.next().map_err(failure)? {
            let Sight::Row(row) = sight else { continue };
            match row.kind() {
                Some(Kind::Intent | Kind::Statement) if own => {
                    found.insert(row.record.lsn, None);
                    open += 1;
                }
                Some(Kind::Outcomes) => {
                    for (outcome, _) in Outcome::decode_all(&row.record.body) {
                        // The first one stands.
                        if let Some(slot) = found.get_mut(&outcome.lsn).filter(|slot| slot.is_none()) {
                            *slot = Some(outcome);
                            open -= 1;
                        }
                    }
                }
                _ => {}
            }
        }
    }
    Ok(found)
}

pub(super) fn row_text(row: &Row, route: Option<String>, found: Option<&Option<Outcome>>, bodies: bool) -> String {
    let record = &row.record;
    let route: String = route.unwrap_or_default().chars().map(printable).collect();
    let known = match (row.kind(), found) {
        (Some(Kind::Outcomes), _) => plural(record.body.len() as u64 / 16, "outcome"),
        (_, Some(Some(found))) => outcome(found),
        (_, Some(None)) => "none yet".to_owned(),
        _ => String::new(),
    };
    let unproven = if row.durable { "" } else { "  (not proven durable)" };
    let mut out = format!(
        "{:>10}  {:9}  {:24}  {:>7}  {:>9}  {:24}  {:>10}  {known}{unproven}",
        record.lsn.0,
        kind(row),
        route,
        record.lines,
        record.payload_bytes,
        time(record.received_ns),
        row.offset
    );
    out.truncate(out.trim_end().len());
    out.push('\n');
    if bodies && row.kind() == Some(Kind::Intent) {
        for line in record.body.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
            let shown: String = String::from_utf8_lossy(line).chars().map(printable).collect();
            let _ = writeln!(out, "            {shown}");
        }
    }
    if bodies && let Some(statement) = statement(row) {
        let shown: String = statement.shown.chars().map(printable).collect();
        let _ = writeln!(out, "            {}: {shown}", statement.class);
    }
    out
}

/// What a statement record says.
fn statement(row: &Row) -> Option<Statement> {
    let is_one = row.kind() == Some(Kind::Statement);
    is_one.then(|| Statement::decode(&row.record.meta).ok()).flatten()
}

pub(super) fn row_document(row: &Row, route: Option<String>, found: Option<&Option<Outcome>>, bodies: bool) -> Value {
    let record = &row.record;
    let intent = Intent::decode(&record.meta).ok().filter(|_| row.kind() == Some(Kind::Intent));
    let mut document = json!({
        "lsn": record.lsn.0,
        "kind": kind(row),
        "route": route,
        "lines": record.lines,
        "bytes": record.payload_bytes,
        "received": time_or_null(record.received_ns),
        "offset": row.offset,
        "durable": row.durable,
        "precision": intent.as_ref().map(|intent| intent.precision.name()),
        "excluded": intent.as_ref().map(|intent| intent.excluded),
        "outcome": found.and_then(Option::as_ref).map(outcome),
    });
    if let Some(statement) = statement(row) {
        document["class"] = json!(statement.class);
        if bodies {
            document["body"] = json!(statement.shown);
        }
    }
    if bodies && intent.is_some() {
        document["body"] = match std::str::from_utf8(&record.body) {
            Ok(text) => json!(text),
            Err(_) => json!({"b64": base64::engine::general_purpose::STANDARD.encode(&record.body)}),
        };
    }
    document
}

pub(super) fn damage_document(damage: &Damage, routes: &Routes, from: u64, to: u64) -> Value {
    json!({
        "kind": "damage",
        "text": routes.lost(damage),
        "first_lsn": damage.first.0,
        "last_lsn": damage.last.0,
        "route": routes.name(damage.route),
        "lines": damage.lines,
        "received_from": time_or_null(damage.from_ns),
        "received_to": time_or_null(damage.to_ns),
        "offset": from,
        "offset_end": to,
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::base::{RequestId, RouteId};
    use crate::wal::Record;

    #[test]
    fn a_name_that_a_client_has_chosen_does_not_steer_the_terminal() {
        let record = Record {
            lsn: Lsn(1),
            kind: Kind::Intent,
            flags: 0,
            route: RouteId(1),
            request: RequestId(1),
            lines: 1,
            received_ns: 0,
            payload_bytes: 0,
            meta: Bytes::new(),
            body: Bytes::new(),
            position: 0,
        };
        let row = Row { record, code: Kind::Intent.code(), offset: 0, bytes: 64, durable: true };
        let text = row_text(&row, Some("d\u{1b}[2J\n".to_owned()), None, false);
        assert!(text.contains("d\u{fffd}[2J") && text.lines().count() == 1, "{text:?}");
    }
}
