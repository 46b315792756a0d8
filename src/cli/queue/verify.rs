//! `twinline queue verify`: every checksum and the order of the whole log.

use std::io;
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::place::{Place, failure};
use super::routes::Routes;
use super::stop::Stop;
use super::text::{plural, time_or_null};
use crate::base::size::ByteSize;
use crate::base::{Error, disk};
use crate::cli::Global;
use crate::cli::exit::{Exit, Failure};
use crate::cli::run::stores::{NODE, without_state};
use crate::cli::talk::{Mark, Talk};
use crate::state::peek;
use crate::wal::look::{Ended, FrameFlaw, Look, Row, SegmentSeen, SegmentState, Sight};
use crate::wal::{self, Damage};

/// Options of `verify`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct VerifyArgs {
    /// The file of a capture, instead of the log
    #[arg(value_name = "FILE.twcap")]
    pub(super) file: Option<PathBuf>,
}

/// What is told one by one; the rest is counted.
const FLAWS_MAX: usize = 10_000;

/// Something that is not as it was written.
#[derive(Debug)]
pub(super) struct Flaw {
    /// Short and stable.
    code: &'static str,
    text: String,
    file: Option<String>,
    /// From and to in the file.
    offsets: (u64, u64),
    lost: Option<(Damage, Option<String>)>,
    /// All destinations have what was there, or nothing was lost.
    harmless: bool,
}

/// What was looked at so far.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) flaws: Vec<Flaw>,
    /// Flaws beyond those that are kept.
    more: u64,
    segments: u64,
    given_back: u64,
    records: u64,
    bytes: u64,
    /// Sound records above what is proven durable.
    tail: u64,
    torn_bytes: u64,
    /// Records of kinds that this version does not know.
    unknown: u64,
    interrupted: Option<Exit>,
}

pub(super) fn run(global: &Global, place: &Place, _: &VerifyArgs) -> Result<Exit, Failure> {
    let talk = global.talk();
    let stop = Stop::listen()?;
    let (look, life) = place.look()?;
    let mut found = check(&look, &progress(talk, &look), &stop)?;
    if !look.is_running() {
        refused(place, &mut found)?;
    }
    let next = match found.flaws.iter().find_map(|flaw| flaw.lost.as_ref()) {
        Some((damage, _)) => {
            match look.segments.iter().rev().find(|s| s.base <= damage.first && s.last >= damage.first) {
                Some(segment) => place.command(&format!("show {} --records", segment.id)),
                None => place.command("ls"),
            }
        }
        None => place.command("status"),
    };
    if talk.json() {
        talk.document(&found.document(place, &look, &next))?;
    } else {
        let head = format!("{} · {} · durable up to record {}", place.data_dir.display(), life.word(), look.durable);
        talk.data(&found.text(talk, &head))?;
    }
    talk.next(&next);
    Ok(match found.interrupted {
        Some(exit) => exit,
        None if found.is_sound() => Exit::Success,
        None => Exit::No,
    })
}

/// What a start would refuse, in its words.
fn refused(place: &Place, found: &mut Found) -> Result<(), Failure> {
    let (disk, dir, state) = (disk::real(), place.wal(), place.data_dir.join("state.db"));
    let logged = wal::written_by(disk.as_ref(), &dir).map_err(failure)?;
    let known = match state.symlink_metadata() {
        Err(gone) if gone.kind() == io::ErrorKind::NotFound => Err(without_state(&dir)),
        Ok(found) if found.is_dir() => {
            let what = format!("cannot open the state store {}", state.display());
            Err(Error::disk(what, rustix::io::Errno::ISDIR.into()))
        }
        Ok(found) if found.len() == 0 && is_empty(&place.data_dir.join("state.db-wal")) => Err(without_state(&dir)),
        _ => peek(&state, NODE),
    };
    let mut refusals = Vec::new();
    let node = known.unwrap_or_else(|error| {
        // Without a log any state store is a new one.
        refusals.extend(logged.is_some().then_some(error));
        None
    });
    refusals.extend(wal::refusals(disk.as_ref(), &dir, node.and_then(|node| node.try_into().ok())).map_err(failure)?);
    for error in refusals {
        let hint = error.next_step().map_or(String::new(), |hint| format!(" ({hint})"));
        let text = format!("a start is refused: {error}{hint}");
        found.add(Flaw { code: "refused", text, file: None, offsets: (0, 0), lost: None, harmless: false });
    }
    Ok(())
}

fn is_empty(path: &Path) -> bool {
    path.metadata().map_or(true, |found| found.len() == 0)
}

fn progress(talk: Talk, look: &Look) -> ProgressBar {
    let bytes = look.segments.iter().map(SegmentSeen::used).sum();
    if talk.quiet {
        return ProgressBar::hidden();
    }
    // Drawn on stderr, and only where that is a terminal.
    let style = ProgressStyle::with_template("{bar:30} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left {msg}");
    ProgressBar::new(bytes).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Goes through the whole log.
pub(super) fn check(look: &Look, progress: &ProgressBar, stop: &Stop) -> Result<Found, Failure> {
    let (mut found, mut routes, mut before) = (Found::default(), Routes::default(), None);
    for seen in look.cursors.iter().filter(|seen| seen.loaded.cursor.is_none()) {
        let text = seen.loaded.warning.clone().unwrap_or_else(|| format!("the cursor of {} is lost", seen.destination));
        found.add(Flaw { code: "cursor", text, file: None, offsets: (0, 0), lost: None, harmless: true });
    }
    for damage in look.holes() {
        let text = format!("no file holds this: {}", routes.lost(&damage));
        let harmless = passed(look, &damage);
        found.add(Flaw { code: "missing", text, file: None, offsets: (0, 0), lost: Some((damage, None)), harmless });
    }
    for segment in look.segments.iter().filter(|segment| segment.state != SegmentState::Superseded) {
        let one = check_segment(look, segment, &mut before, &mut routes, (progress, stop))?;
        if look.stands(segment).map_err(failure)? {
            found.merge(one);
        } else {
            // What we read of it may be what was written there since.
            (found.given_back, before) = (found.given_back + 1, None);
        }
        found.interrupted = stop.asked();
        if found.interrupted.is_some() {
            break;
        }
    }
    progress.finish_and_clear();
    Ok(found)
}

fn check_segment(
    look: &Look,
    segment: &SegmentSeen,
    before: &mut Option<Ended>,
    routes: &mut Routes,
    (progress, stop): (&ProgressBar, &Stop),
) -> Result<Found, Failure> {
    let mut found = Found { segments: 1, ..Found::default() };
    let file = segment.path.display().to_string();
    for flaw in look.frame_flaws(segment).map_err(failure)? {
        found.add(frame(flaw, look, segment, &file));
    }
    if let Some(before) = before.take_if(|before| !look.follows(segment, before)) {
        let text = format!("does not follow record {}: what stood between is not what was written", before.last);
        let harmless = look.lowest_floor().is_some_and(|floor| floor >= segment.base);
        found.add(Flaw { code: "chain", text, file: Some(file.clone()), offsets: (0, 4096), lost: None, harmless });
    }
    let Some(mut scan) = look.scan(segment, true).map_err(failure)? else { return Ok(found) };
    let mut damaged = false;
    while let Some(sight) = scan.next().map_err(failure)? {
        match sight {
            Sight::Row(row) => {
                routes.learn(&row);
                found.records += 1;
                found.bytes += row.bytes;
                found.tail += u64::from(row.is_unproven());
                found.unknown += u64::from(row.kind().is_none());
                if row.is_newer() {
                    found.add(newer(&row, &file));
                }
                progress.inc(row.bytes);
            }
            Sight::Damage(damage, from, to) => {
                damaged = true;
                routes.learn_all(look, segment, damage.route)?;
                let (lost, harmless) = (routes.lost(&damage), passed(look, &damage));
                let lost = Flaw {
                    code: "damaged",
                    text: lost,
                    file: Some(file.clone()),
                    offsets: (from, to),
                    lost: Some((damage, routes.name(damage.route))),
                    harmless,
                };
                found.add(lost);
            }
        }
        if stop.asked().is_some() {
            return Ok(found);
        }
    }
    let ended = scan.ended();
    found.torn_bytes = ended.torn_bytes;
    if !damaged && !Look::seal_fits(segment, &ended) {
        let text = "the seal does not say what stands before it".to_owned();
        let offsets = (segment.capacity.saturating_sub(64), segment.capacity);
        found.add(Flaw { code: "seal", text, file: Some(file), offsets, lost: None, harmless: true });
    }
    *before = Some(ended);
    Ok(found)
}

/// A record before which this version stops.
fn newer(row: &Row, file: &str) -> Flaw {
    let text = format!(
        "record {} of the log is of kind {}, which this version does not know: it stops before it (run the version that wrote \
         this data directory, or a newer one)",
        row.record.lsn, row.code
    );
    let offsets = (row.offset, row.offset + row.bytes);
    Flaw { code: "newer", text, file: Some(file.to_owned()), offsets, lost: None, harmless: false }
}

/// Whether every destination has passed it.
fn passed(look: &Look, damage: &Damage) -> bool {
    look.lowest_floor().is_some_and(|floor| floor >= damage.last)
}

fn frame(flaw: FrameFlaw, look: &Look, segment: &SegmentSeen, file: &str) -> Flaw {
    let twin = segment.capacity.saturating_sub(8192);
    let (code, text, offsets) = match flaw {
        FrameFlaw::Headless => {
            let text = "neither the header nor its twin can be read: nothing of this file can be told from noise";
            ("headless", text.to_owned(), (0, segment.bytes))
        }
        FrameFlaw::Header => ("header", "the header is damaged; its twin stands for it".to_owned(), (0, 4096)),
        FrameFlaw::Twin => ("header", "the twin of the header is damaged".to_owned(), (twin, twin + 4096)),
        FrameFlaw::Short => {
            let text = format!("the file has {} of {} bytes", segment.bytes, segment.capacity);
            ("short", text, (segment.bytes, segment.capacity))
        }
        FrameFlaw::Seal => {
            let text = "the seal is damaged: what it said of the segment is read from its records";
            ("seal", text.to_owned(), (segment.capacity.saturating_sub(64), segment.capacity))
        }
    };
    // What of an older segment was lost shows as missing records; what of the newest one was lost nobody can count.
    let newest = look.segments.last().is_some_and(|last| last.id == segment.id);
    let harmless = flaw != FrameFlaw::Headless || !newest;
    Flaw { code, text, file: Some(file.to_owned()), offsets, lost: None, harmless }
}

impl Found {
    fn add(&mut self, flaw: Flaw) {
        if self.flaws.len() < FLAWS_MAX {
            self.flaws.push(flaw);
        } else {
            self.more += 1;
        }
    }

    fn merge(&mut self, one: Self) {
        self.more += one.more;
        one.flaws.into_iter().for_each(|flaw| self.add(flaw));
        self.segments += one.segments;
        self.records += one.records;
        self.bytes += one.bytes;
        self.tail += one.tail;
        self.torn_bytes += one.torn_bytes;
        self.unknown += one.unknown;
    }

    pub(super) fn is_sound(&self) -> bool {
        self.flaws.is_empty()
    }

    fn text(&self, talk: Talk, head: &str) -> String {
        let mut out = format!("{head}\n");
        for flaw in &self.flaws {
            let mark = talk.mark(if flaw.harmless { Mark::Warning } else { Mark::Bad });
            let at = flaw
                .file
                .as_ref()
                .map_or(String::new(), |file| format!("\n  {file}:{}-{}", flaw.offsets.0, flaw.offsets.1));
            let cost = match (flaw.harmless, &flaw.lost) {
                (true, Some(_)) => "; every destination has passed it, nothing is lost",
                (true, None) if flaw.code != "headless" => "; costs nothing by itself",
                _ => "",
            };
            out.push_str(&format!("{mark} {}{cost}{at}\n", flaw.text));
        }
        if self.more > 0 {
            out.push_str(&format!("  and {}\n", plural(self.more, "more flaw")));
        }
        let what = format!(
            "{}, {}, {} of records",
            plural(self.segments, "segment"),
            plural(self.records, "record"),
            ByteSize(self.bytes)
        );
        let told = self.flaws.len() as u64 + self.more;
        out.push_str(&match (self.interrupted, told) {
            (Some(_), 0) => format!("{} interrupted after {what}: no damage so far\n", talk.mark(Mark::Unknown)),
            (Some(_), n) => format!("{} interrupted after {what}: {}\n", talk.mark(Mark::Bad), plural(n, "flaw")),
            (None, 0) => format!("{} {what}: every checksum holds\n", talk.mark(Mark::Good)),
            (None, n) => format!("{} {what}: {}\n", talk.mark(Mark::Bad), plural(n, "flaw")),
        });
        for note in self.notes() {
            out.push_str(&format!("  {note}\n"));
        }
        out
    }

    /// What is no damage, and worth knowing.
    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.tail > 0 {
            notes.push(format!(
                "{} at the end may be in memory alone: the next start keeps what is there then",
                plural(self.tail, "record")
            ));
        }
        if self.torn_bytes > 0 {
            let torn = ByteSize(self.torn_bytes);
            notes.push(format!("{torn} behind the end are torn: they were being written when the process ended, and nobody was told that they stand"));
        }
        if self.unknown > 0 {
            notes.push(format!("{} of a kind that a newer twinline writes", plural(self.unknown, "record")));
        }
        if self.given_back > 0 {
            notes.push(format!("{} given back by the running twinline meanwhile", plural(self.given_back, "segment")));
        }
        notes
    }

    fn document(&self, place: &Place, look: &Look, next: &str) -> Value {
        json!({
            "schema": "twinline.queue.verify/1",
            "data_dir": place.data_dir.display().to_string(),
            "running": look.is_running(),
            "sound": self.is_sound(),
            "complete": self.interrupted.is_none(),
            "durable": look.durable.0,
            "segments": self.segments,
            "records": self.records,
            "record_bytes": self.bytes,
            "flaws": self.flaws.iter().map(Flaw::document).collect::<Vec<_>>(),
            "flaws_not_listed": self.more,
            "unproven_records": self.tail,
            "torn_bytes": self.torn_bytes,
            "notes": self.notes(),
            "next_steps": [next],
        })
    }
}

impl Flaw {
    fn document(&self) -> Value {
        let lost = self.lost.as_ref();
        let place = self.file.as_ref().map(|file| {
            let name = Path::new(file).file_name().map(|name| name.to_string_lossy().into_owned());
            json!({"file": file, "name": name, "from": self.offsets.0, "to": self.offsets.1})
        });
        json!({
            "code": self.code,
            "text": self.text,
            "place": place,
            "first_lsn": lost.map(|(damage, _)| damage.first.0),
            "last_lsn": lost.map(|(damage, _)| damage.last.0),
            "route": lost.and_then(|(_, route)| route.clone()),
            "lines": lost.map(|(damage, _)| damage.lines).filter(|lines| *lines > 0),
            "received_from": lost.and_then(|(damage, _)| time_or_null(damage.from_ns)),
            "received_to": lost.and_then(|(damage, _)| time_or_null(damage.to_ns)),
            "harmless": self.harmless,
        })
    }
}
