//! The status document and its text.
//!
//! Its first line says what is *not* covered yet: a green screen that hides a gap would be worse than none. Every accepted
//! line is in exactly one state.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::around::{self, WatchedWrites};
use super::backfill::HistoryStatus;
use super::doubt::DoubtStatus;
use super::edge::EdgeStatus;
use super::figures::{Figures, Share};
use super::history;
use super::readback::{ReadBackStatus, is_read_back};
use super::share::{Began, DestinationStatus};
use crate::base::clock::rfc3339;
use crate::base::size::{ByteSize, show_span};
use crate::delivery::{Broken, ChangeView, ExcludedView, HoldView, PauseView, hold};
use crate::pipeline::Silent;
use crate::queue::Cause;
use crate::state::{BYPASS, GapRow, RegionRow, StatementRow, Window};
use crate::wal::{Scrubbed, Stats};

/// One database, for display.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Side {
    /// Address without credentials.
    pub url: String,
    /// `influxdb1` or `influxdb2`.
    pub kind: String,
    /// As the server says.
    pub version: String,
}

/// Facts of this process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// `name` of the configuration.
    pub name: String,
    /// Addresses of the proxy's listeners.
    pub proxy: Vec<String>,
    /// Addresses of the admin listeners.
    pub admin: Vec<String>,
    /// The source.
    pub source: Side,
    /// The destination, the first where there are several.
    pub destination: Side,
    /// Its id.
    pub destination_id: String,
    /// The search for writes that come to the source around us.
    #[serde(default)]
    pub around: WatchedWrites,
    /// All of them.
    #[serde(default)]
    pub destinations: Vec<NamedSide>,
}

/// A destination, for display.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedSide {
    /// Its id.
    pub id: String,
    /// What it is.
    #[serde(flatten)]
    pub side: Side,
}

/// Lines by state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinesByState {
    /// Acknowledged by the destination.
    pub delivered: u64,
    /// In the log, not acknowledged.
    pub queued: u64,
    /// Fate at the source not known; to be read back.
    pub doubt: u64,
    /// Refused by the destination for good.
    pub dead_lettered: u64,
    /// Not in the log although the source may have them.
    pub gap: u64,
    /// No rule sends them anywhere.
    pub excluded: u64,
    /// Were in doubt, or in gaps, and were read back from the source.
    #[serde(default)]
    pub read_back: u64,
    /// In writes that the source has not answered yet: not accepted so far.
    pub unanswered: u64,
}

/// The log.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct QueueStatus {
    /// Records from the lowest floor to the head, bytes.
    pub bytes: u64,
    /// All segment files, bytes.
    pub disk_bytes: u64,
    /// What they may take, bytes.
    pub limit_bytes: u64,
    /// Records above the lowest floor.
    pub records: u64,
    /// Whether what the queue held at the start is still being counted: `lines.queued` and the other sums are too small
    /// until then, 0 at first.
    #[serde(default)]
    pub counting: bool,
    /// Segment files.
    pub segments: usize,
    /// Age of the oldest line that is not delivered, seconds.
    pub oldest_s: f64,
    /// Time of the last commit, seconds.
    pub commit_s: f64,
    /// Whether writes are refused for want of room: they go to the source alone, or hear 503.
    pub full: bool,
    /// How much of its room is used.
    #[serde(default)]
    pub used_percent: f64,
    /// Bytes a second that come in, over some minutes.
    #[serde(default)]
    pub input_bytes_s: f64,
    /// Seconds until it is full, as things go; absent while it does not grow.
    #[serde(default)]
    pub until_full_s: Option<f64>,
    /// The same if nothing is delivered from now on.
    #[serde(default)]
    pub until_full_if_stopped_s: Option<f64>,
    /// What needs a look before it is full, if something does.
    #[serde(default)]
    pub warning: Option<String>,
    /// What of, if so.
    #[serde(default)]
    pub full_reason: Option<String>,
    /// Whether its disk does not answer in time: the same.
    #[serde(default)]
    pub stalled: bool,
    /// Why it takes nothing, if so.
    pub fault: Option<String>,
    /// The search for damage in it.
    #[serde(default)]
    pub scrub: ScrubStatus,
}

/// What the search for damage in the log has found since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScrubStatus {
    /// When the last pass ended, RFC 3339.
    pub last_pass: Option<String>,
    /// Bytes that it read.
    pub last_pass_bytes: u64,
    /// Damaged records.
    pub damaged_records: u64,
    /// Damages that the last pass has met beside them, and that are not told one by one.
    #[serde(default)]
    pub damages_beyond: u64,
    /// Files of which one copy of the header is damaged.
    pub damaged_headers: u64,
    /// Files that could not be read at their last turn.
    #[serde(default)]
    pub unread_segments: Vec<String>,
}

impl From<&Scrubbed> for ScrubStatus {
    fn from(scrubbed: &Scrubbed) -> Self {
        Self {
            last_pass: scrubbed.last_pass_ns.map(rfc3339),
            last_pass_bytes: scrubbed.last_pass_bytes,
            damaged_records: scrubbed.damaged_records,
            damages_beyond: scrubbed.beyond,
            damaged_headers: scrubbed.headers,
            unread_segments: scrubbed.unread.iter().map(|path| path.display().to_string()).collect(),
        }
    }
}

/// A source that answers no write.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SilentSource {
    /// For how long, seconds.
    pub for_s: u64,
    /// What the newest failed write met.
    pub reason: String,
}

impl From<&Silent> for SilentSource {
    fn from(silent: &Silent) -> Self {
        Self { for_s: silent.lasts.as_secs(), reason: silent.reason.clone() }
    }
}

/// Characters of a refusal that a screen shows.
const REASON_CHARS_MAX: usize = 300;

/// Regions in doubt that a screen shows.
const REGIONS_SHOWN: usize = 5;

/// Routes whose lines stay at the source that the screen shows; the document has more.
const EXCLUDED_SHOWN: usize = 5;
/// Statements that a screen shows.
const STATEMENTS_SHOWN: usize = 5;

/// Gaps that a screen shows.
const GAPS_SHOWN: usize = 3;

/// Lines of one kind of trouble.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// Code or cause.
    pub cause: String,
    /// Lines.
    pub lines: u64,
    /// From the earliest of their times to the latest, where they are shown with them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
}

/// The times of what is missing, by state; absent where nothing is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Windows {
    /// Of regions in doubt.
    pub doubt: Option<Window>,
    /// Of dead letters that are there.
    pub dead_lettered: Option<Window>,
    /// Of gaps: of points, or of arrivals where no more is known.
    pub gap: Option<Window>,
}

/// The document, `twinline.status/1`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// `twinline.status/1`.
    pub schema: String,
    /// Version of the program.
    pub version: String,
    /// `mirror`.
    pub phase: String,
    /// What the mirror does not have, in sentences; never empty while no copy of all history has come to its end.
    pub not_covered: Vec<String>,
    /// Process.
    pub facts: Facts,
    /// Since the start, seconds.
    pub up_s: u64,
    /// When this was taken, RFC 3339.
    pub at: String,
    /// Age of the delivery's figures, seconds.
    pub age_s: f64,
    /// Every accepted line is in one of these.
    pub lines: LinesByState,
    /// The times of those that the mirror does not have.
    pub windows: Windows,
    /// The log.
    pub queue: QueueStatus,
    /// The source has answered no write for some seconds; absent while it answers, or nobody writes.
    pub source_silent: Option<SilentSource>,
    /// What stands still.
    pub paused: Vec<PauseView>,
    /// Regions that are copied, and that delivery leaves alone meanwhile.
    #[serde(default)]
    pub holds: Vec<HoldView>,
    /// Copies of history that work.
    #[serde(default)]
    pub history: Vec<HistoryStatus>,
    /// Cells that are not at the destination what they are at the source, by reason: it cannot hold them as they are.
    pub changes: Vec<ChangeView>,
    /// Lines that stay at the source since the start, by route; those with most lines first.
    #[serde(default)]
    pub excluded: Vec<ExcludedView>,
    /// Refused lines by code.
    pub dead_letters: Vec<Trouble>,
    /// Lines that were dead letters and are none any more, by what became of them: `repaired`, `obsolete`, `raw`, `purged`.
    /// They go on counting in `lines.dead_lettered`.
    #[serde(default)]
    pub letters_removed: Vec<Trouble>,
    /// The destination's words about the newest of them.
    #[serde(default)]
    pub dead_letter_reason: Option<String>,
    /// Number of regions to be read back; they are merged when they grow many.
    pub dirty_regions: u64,
    /// Those with the most lines in doubt, at most 100.
    pub regions: Vec<RegionRow>,
    /// What is read back from the source.
    pub read_back: ReadBackStatus,
    /// Gaps by cause.
    pub gaps: Vec<Trouble>,
    /// The newest gaps, at most 100: route, times, lines where they are known, records.
    pub gap_rows: Vec<GapRow>,
    /// How many gaps there are.
    pub gap_rows_total: u64,
    /// Of how many of them the lines are not known: they are in no sum.
    pub gaps_unknown: u64,
    /// Lines of the gaps that only the gap log has (the state store cannot be written, or is about to take them): in
    /// `lines.gap` and `gaps`, but not in `gap_rows`.
    pub gap_log_lines: u64,
    /// Statements and calls that the source ran, or may have run, and that were not carried out at the destination. Each blocks a
    /// cutover.
    pub statements_not_mirrored: u64,
    /// The newest of them, at most 100: what, where, why, how often and when.
    pub statements: Vec<StatementRow>,
    /// Routes with lines in doubt since the start, and those where that goes on.
    pub doubt: DoubtStatus,
    /// What the edge has refused or lost beside that.
    pub edge: EdgeStatus,
    /// Each destination by itself. What stands above are their sums, in which a line counts once for each of them.
    pub destinations: Vec<DestinationStatus>,
    /// What to do next.
    pub next_steps: Vec<String>,
}

pub(super) fn status(facts: Facts, figures: &Figures) -> Status {
    let sides = facts.destinations.clone();
    let side = |id: &str| sides.iter().find(|one| one.id == id).map(|one| one.side.clone()).unwrap_or_default();
    let each = figures.shares.iter().map(|share| DestinationStatus::of(share, side(share.id.as_str()), figures));
    let destinations: Vec<DestinationStatus> = each.collect();
    let mut status = Status {
        schema: "twinline.status/1".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        phase: "mirror".to_owned(),
        facts,
        up_s: figures.up.as_secs(),
        at: rfc3339(figures.now_ns),
        queue: queue_status(figures),
        source_silent: figures.source_silent.as_ref().map(SilentSource::from),
        doubt: DoubtStatus::of(&figures.doubt),
        edge: EdgeStatus::of(&figures.edge),
        ..Status::default()
    };
    let several = destinations.len() > 1;
    for one in &destinations {
        let of = if several { format!("{}: ", one.id) } else { String::new() };
        status.add(one, &of);
    }
    if figures.gap_logs_silent > 0 {
        status.not_covered.push("a gap log does not answer: gaps that only it has are not shown".to_owned());
    }
    if figures.shares.iter().any(|share| share.totals.is_none()) {
        status
            .not_covered
            .push("the state store does not answer: gaps, dead letters and copies of history are not shown".to_owned());
    }
    let view = figures.slowest();
    if !view.ready {
        status.not_covered.insert(0, "lines are not counted yet: delivery is starting".to_owned());
    } else if view.counting {
        let counting = "counting what the queue holds since before the start: there are more lines than shown";
        status.not_covered.insert(0, counting.to_owned());
    }
    status.destinations = destinations;
    status.next_steps = next_steps(&status);
    status
}

fn queue_status(figures: &Figures) -> QueueStatus {
    let view = figures.slowest();
    QueueStatus {
        bytes: figures.log.used_bytes,
        disk_bytes: figures.log.bytes,
        limit_bytes: figures.log.limit_bytes,
        records: view.head_lsn.saturating_sub(view.floor_lsn),
        counting: !view.ready || view.counting,
        segments: figures.log.segments,
        oldest_s: view.oldest_waits(figures.now).as_secs_f64(),
        commit_s: figures.log.sync_ns_last as f64 / 1e9,
        full: figures.log.full,
        used_percent: figures.pressure.percent,
        input_bytes_s: figures.pressure.input,
        until_full_s: figures.pressure.until_full.map(|left| left.as_secs_f64()),
        until_full_if_stopped_s: figures.pressure.until_full_if_stopped.map(|left| left.as_secs_f64()),
        warning: figures.pressure.warning(),
        full_reason: figures.log.full.then(|| full_text(&figures.log)),
        stalled: figures.log.stalled,
        fault: figures.log.fault.clone(),
        scrub: ScrubStatus::from(&figures.log.scrub),
    }
}

/// What one destination does not have.
pub(super) fn not_covered(one: &DestinationStatus, share: &Share) -> Vec<String> {
    let mut missing: Vec<String> = match &share.totals {
        Some(totals) => history::not_covered(&totals.copies, share.began.as_ref()),
        // It is said of all that the state store knows.
        None => share.began.iter().map(Began::text).collect(),
    };
    let lines = &one.lines;
    if lines.doubt > 0 {
        missing.push(format!("{} lines in doubt await read-back ({} regions)", lines.doubt, one.dirty_regions));
    }
    if lines.doubt == 0 && one.dirty_regions > 0 {
        missing.push(format!("{} regions await read-back", one.dirty_regions));
    }
    if lines.gap > 0 {
        let held = match one.gap_log_lines {
            0 => String::new(),
            held => format!(" ({held} of them are in the gap log, not yet in the state store)"),
        };
        missing.push(format!("{} lines in gaps await read-back{held}", lines.gap));
    }
    if one.gaps_unknown > 0 {
        let text = format!("{} gaps of unknown size, in no sum, await read-back", one.gaps_unknown);
        missing.push(text);
    }
    missing.extend(refused(one));
    let changed: u64 = one.changes.iter().map(|change| change.cells).sum();
    if changed > 0 {
        missing.push(format!("{changed} times a value is not at the destination what it is at the source"));
    }
    if one.gaps.iter().any(|gap| gap.cause == "other-protocol") {
        missing.push("Prometheus remote writes and those to /api/v3/write_lp go to the source alone".to_owned());
    }
    missing.extend(around::not_covered(&one.gaps));
    match one.statements_not_mirrored {
        0 => {}
        1 => missing.push("1 statement was not mirrored and blocks a cutover".to_owned()),
        number => missing.push(format!("{number} statements were not mirrored and block a cutover")),
    }
    missing
}

/// What the destination refused, as far as nothing has come in its place.
fn refused(status: &DestinationStatus) -> Option<String> {
    let sum = |fates: &[&str]| -> u64 {
        let of = status.letters_removed.iter().filter(|gone| fates.contains(&gone.cause.as_str()));
        of.map(|gone| gone.lines).sum()
    };
    let kept: u64 = status.dead_letters.iter().map(|letter| letter.lines).sum();
    let (done, lost) = (sum(&["repaired", "obsolete", "raw"]), sum(&["purged"]));
    let all = status.lines.dead_lettered;
    if all == 0 || kept + lost == 0 && all <= done {
        return None;
    }
    let of = match (done, lost) {
        (0, 0) => String::new(),
        (0, lost) => format!(" ({lost} of them were purged)"),
        (done, 0) => format!(" ({done} of them were put right since)"),
        (done, lost) => format!(" ({done} of them were put right since, {lost} purged)"),
    };
    Some(format!("{all} lines were refused by the destination{of}"))
}

fn next_steps(status: &Status) -> Vec<String> {
    if let Some(fault) = &status.queue.fault {
        return vec![format!("look at the disk of data_dir ({fault}), then restart twinline")];
    }
    if let Some(silent) = &status.source_silent {
        return vec![
            format!("look at the source ({}): clients' writes fail", silent.reason),
            "twinline check".to_owned(),
        ];
    }
    if status.paused.iter().any(|pause| pause.code == hold::CODE) {
        return vec!["twinline queue resume".to_owned()];
    }
    if status.paused.iter().any(|pause| pause.code == "dead-letters-full") {
        return vec!["twinline deadletter ls".to_owned()];
    }
    if status.paused.is_empty() && status.statements_not_mirrored > 0 {
        return vec!["twinline statements ls".to_owned()];
    }
    if let Some(pause) = status.paused.first() {
        return vec![format!("{}: {}", pause.what, pause.reason), "twinline check".to_owned()];
    }
    if let Some(advice) = status.doubt.advice() {
        return vec![advice];
    }
    if around::points(&status.gaps) > 0 {
        return vec!["twinline inventory".to_owned()];
    }
    vec!["twinline status --watch".to_owned()]
}

/// Of what the log is full.
pub(super) fn full_text(log: &Stats) -> String {
    if !log.below_limit {
        return "it has reached queue.max_size".to_owned();
    }
    let trouble = log.trouble.as_ref().map_or(String::new(), |trouble| format!(" ({trouble})"));
    format!("the disk of data_dir is full, down to queue.reserve_free{trouble}")
}

/// The document as text for a terminal.
#[must_use]
pub fn render(status: &Status) -> String {
    let mut out = String::new();
    let queue = &status.queue;
    let facts = &status.facts;
    let seconds = |s: f64| show_span(Duration::try_from_secs_f64(s).unwrap_or_default());
    // Writing to a String does not fail.
    let missing = status.not_covered.join(" · ");
    let _ = writeln!(out, "NOT COVERED  {}", if missing.is_empty() { "nothing that is known" } else { &missing });
    let _ = writeln!(
        out,
        "{} {} · up {} · phase {} · figures {} old",
        facts.name,
        status.version,
        show_span(Duration::from_secs(status.up_s)),
        status.phase,
        seconds(status.age_s)
    );
    let side = |side: &Side| format!("{} ({} {})", side.url, side.kind, side.version);
    let _ = writeln!(out, "\nclients      {}", facts.proxy.join(", "));
    let _ = writeln!(out, "source       {}", side(&facts.source));
    for NamedSide { id, side: one } in &facts.destinations {
        let _ = writeln!(out, "destination  {} [{id}]", side(one));
    }
    out.push('\n');
    if let [_, _, ..] = &status.destinations[..] {
        for one in &status.destinations {
            let _ = writeln!(out, "{}  oldest line {} · {} records", one.id, seconds(one.oldest_s), one.records);
            lines_by_state(&mut out, &status.of_one(one));
        }
    } else {
        lines_by_state(&mut out, status);
    }
    let full = if queue.limit_bytes == 0 { 0.0 } else { queue.disk_bytes as f64 / queue.limit_bytes as f64 * 100.0 };
    let _ = writeln!(
        out,
        "QUEUE  {} in {} records · {} of {} on disk ({full:.0} %) · oldest {} · last commit {:.1} ms",
        ByteSize(queue.bytes),
        queue.records,
        ByteSize(queue.disk_bytes),
        ByteSize(queue.limit_bytes),
        seconds(queue.oldest_s),
        queue.commit_s * 1e3
    );
    if let Some(left) = queue.until_full_if_stopped_s {
        let rate = ByteSize(queue.input_bytes_s as u64);
        let _ = writeln!(out, "       {rate}/s come in · room for {} if the destination stops now", seconds(left));
    }
    scrubbing(&mut out, &queue.scrub);
    if let Some(fault) = &queue.fault {
        let _ = writeln!(out, "✗ FAULT  the log takes nothing: {fault}");
    }
    troubles(&mut out, status);
    out
}

/// Every accepted line is in one of these.
fn lines_by_state(out: &mut String, status: &Status) {
    let Status { lines, queue, .. } = status;
    // Writing to a String does not fail.
    let _ = writeln!(out, "LINES  delivered      {:>14}", lines.delivered);
    if queue.counting {
        let _ = writeln!(out, "       {:<14} still counting, {} so far", "queued", lines.queued);
    } else {
        let _ = writeln!(out, "       {:<14} {:>14}", "queued", lines.queued);
    }
    let Windows { doubt, dead_lettered, gap } = status.windows;
    for (name, count, window) in [
        ("doubt", lines.doubt, doubt),
        ("dead-lettered", lines.dead_lettered, dead_lettered),
        ("gap", lines.gap, gap),
        ("excluded", lines.excluded, None),
        ("read back", lines.read_back, None),
    ] {
        let times = window.map_or(String::new(), |window| format!("  {}", times(window)));
        let _ = writeln!(out, "       {name:<14} {count:>14}{times}");
    }
    let _ = writeln!(out, "       (unanswered)   {:>14}", lines.unanswered);
}

/// The search for damage in the log.
fn scrubbing(out: &mut String, scrub: &ScrubStatus) {
    if let Some(last) = &scrub.last_pass {
        let _ = writeln!(out, "SCRUB  last pass {last}, {} read", ByteSize(scrub.last_pass_bytes));
    }
    if scrub.damaged_records + scrub.damaged_headers > 0 {
        let (records, headers) = (scrub.damaged_records, scrub.damaged_headers);
        let text = "damaged records found in the log (twinline's events say which)";
        let more = match scrub.damages_beyond {
            0 => String::new(),
            more => format!(", and damage in {more} more places, of which no event tells"),
        };
        let _ =
            writeln!(out, "! DAMAGE {records} {text}, {headers} damaged headers{more}: look at the disk of data_dir");
    }
    for path in &scrub.unread_segments {
        let what =
            "look for errors of the disk in the kernel's log; what of it is not delivered waits until it can be read";
        let _ = writeln!(out, "! UNREAD {path} cannot be read: {what}");
    }
}

/// A refusal may quote a whole line; on a screen its beginning is enough.
pub(super) fn on_screen(reason: &str) -> String {
    reason.chars().take(REASON_CHARS_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// What needs a look, one line each.
fn troubles(out: &mut String, status: &Status) {
    let queue = &status.queue;
    if let Some(warning) = queue.warning.as_ref().filter(|_| !queue.full) {
        let _ = writeln!(out, "! FILLING {warning}");
    }
    if queue.full {
        let reason = queue.full_reason.as_deref().unwrap_or("it has reached queue.max_size or queue.reserve_free");
        let _ = writeln!(out, "✗ FULL   the queue takes nothing: {reason}");
    }
    if queue.stalled {
        let _ = writeln!(out, "✗ STALLED  the disk of data_dir does not answer: writes go to the source alone");
    }
    if let Some(silent) = &status.source_silent {
        let lasts = show_span(Duration::from_secs(silent.for_s));
        let reason = on_screen(&silent.reason);
        let _ = writeln!(out, "✗ SOURCE  it has answered no write for {lasts}: {reason}");
    }
    if let [_, _, ..] = &status.destinations[..] {
        for one in &status.destinations {
            let mut own = String::new();
            of_destination(&mut own, &status.of_one(one));
            for line in own.lines() {
                let _ = writeln!(out, "{}: {line}", one.id);
            }
        }
    } else {
        of_destination(out, status);
    }
    status.doubt.render(out);
    status.edge.render(out);
}

/// A region that is copied.
fn of_hold(hold: &HoldView) -> String {
    let mark = if hold.broken.is_some() { "! HOLD BROKEN" } else { "  copied, and held" };
    let (route, name) = (on_screen(&hold.route), on_screen(&hold.measurement));
    let times = format!("{} to {}", rfc3339(hold.from_ns), rfc3339(hold.to_ns));
    let parked = format!("{} lines ({}) wait for it", hold.parked_lines, ByteSize(hold.parked_bytes));
    let more = match (hold.broken, hold.statement_waits) {
        (Some(Broken::Full), _) => ", too many: nothing more of its place goes on before its end",
        (Some(Broken::Gap), _) => "; others are in a gap of its place",
        (None, true) => ", and a statement does",
        (None, false) => "",
    };
    let span = show_span(Duration::from_secs(hold.for_s));
    format!("{mark} for {span}: {name} of {route}, {times}, since record {}: {parked}{more}", hold.since_lsn)
}

/// What needs a look at one destination.
fn of_destination(out: &mut String, status: &Status) {
    for pause in &status.paused {
        let _ = writeln!(
            out,
            "! PAUSED {} for {}: {}",
            pause.what,
            show_span(Duration::from_secs(pause.for_s)),
            pause.reason
        );
    }
    for history in &status.history {
        let _ = writeln!(out, "{}", history.text());
    }
    for hold in &status.holds {
        let _ = writeln!(out, "{}", of_hold(hold));
    }
    for ChangeView { code, why, cells } in &status.changes {
        let _ = writeln!(out, "! CHANGED {cells} cells: {why} ({code})");
    }
    for ExcludedView { route, code, lines } in status.excluded.iter().take(EXCLUDED_SHOWN) {
        let what = if route.is_empty() { "all others".to_owned() } else { format!("{} ({code})", on_screen(route)) };
        let _ = writeln!(out, "  stays at the source: {lines} lines since the start, {what}");
    }
    for letter in &status.dead_letters {
        let times = letter.window.map_or(String::new(), |window| format!(", {}", times(window)));
        let _ = writeln!(out, "! DEAD LETTER {} lines: {}{times}", letter.lines, letter.cause);
    }
    for gone in &status.letters_removed {
        let _ = writeln!(out, "  dead letters that are gone: {} lines, {}", gone.lines, gone.cause);
    }
    if let Some(reason) = &status.dead_letter_reason {
        let _ = writeln!(out, "              newest: {}", on_screen(reason));
    }
    around::show(out, status);
    doubts(out, status);
    gaps(out, status);
    status.read_back.render(out);
    statements(out, status);
}

/// Statements that were not carried out, the newest.
fn statements(out: &mut String, status: &Status) {
    for row in status.statements.iter().take(STATEMENTS_SHOWN) {
        let StatementRow { class, place, text, why, last_ns, times, .. } = row;
        let at = if place.is_empty() { String::new() } else { format!(" at {}", on_screen(place)) };
        let when = rfc3339(*last_ns);
        let _ = writeln!(out, "! STATEMENT {times} × {class}{at}, last {when}: {}", on_screen(text));
        let _ = writeln!(out, "            not mirrored: {}", on_screen(why));
    }
    let more = status.statements.len().saturating_sub(STATEMENTS_SHOWN);
    if more > 0 {
        let _ = writeln!(out, "  and {more} more kinds of statements (twinline statements ls)");
    }
}

/// Gaps by cause, then the newest of them.
fn gaps(out: &mut String, status: &Status) {
    for gap in status.gaps.iter().filter(|gap| gap.cause != BYPASS) {
        let unknown = status.gap_rows.iter().any(|row| row.cause == gap.cause && row.lines.is_none());
        let more = if unknown { ", and more whose number is not known" } else { "" };
        let times = gap.window.map_or(String::new(), |window| format!(", {}", times(window)));
        let _ = writeln!(out, "! GAP {} lines{more}: {}{times}", gap.lines, gap.cause);
        if !is_read_back(&gap.cause) {
            let _ = writeln!(
                out,
                "        not read back: it does not know the times of its points; twinline backfill start copies its route"
            );
        }
    }
    for row in status.gap_rows.iter().filter(|row| row.cause != BYPASS).take(GAPS_SHOWN) {
        let GapRow { route, cause, .. } = row;
        let route = if route.is_empty() { "unknown route" } else { route };
        let when = when(row);
        let lines = row.lines.map_or("lines not known".to_owned(), |lines| format!("{lines} lines"));
        let records = match (row.first_lsn, row.last_lsn) {
            (Some(first), Some(last)) => format!(", records {first} to {last}"),
            _ => String::new(),
        };
        let _ = writeln!(out, "  {route}, {when}: {lines} ({cause}){records}");
    }
    let others = status.gap_rows.iter().filter(|row| row.cause == BYPASS).count();
    let shown = (status.gap_rows.len() - others).min(GAPS_SHOWN) + others;
    let more = status.gap_rows_total.saturating_sub(shown as u64);
    if more > 0 {
        let _ = writeln!(out, "  and {more} more gaps (twinline status -o json)");
    }
}

/// Of damaged records only their arrival is known, by their neighbours; the times of their points are lost with them.
fn when(row: &GapRow) -> String {
    let (from, to) = (time_or(row.from_ns, i64::MIN), time_or(row.to_ns, i64::MAX));
    match row.cause.as_str() {
        "log-damage" if row.to_ns == i64::MAX => format!("received from {from} on"),
        "log-damage" => format!("received {from} to {to}"),
        _ => format!("{from} to {to}"),
    }
}

/// Regions to be read back, those with the most lines.
fn doubts(out: &mut String, status: &Status) {
    for region in status.regions.iter().take(REGIONS_SHOWN) {
        let measurement: String = region.measurement.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let what = if measurement.is_empty() { "all measurements".to_owned() } else { measurement };
        let (from, to) = (time_or(region.from_ns, i64::MIN), time_or(region.to_ns, i64::MAX));
        let RegionRow { route, lines, causes, .. } = region;
        let _ = writeln!(out, "! DOUBT {lines} lines: {route} {what}, {from} to {to} ({causes})");
    }
    let more = status.dirty_regions.saturating_sub(status.regions.len().min(REGIONS_SHOWN) as u64);
    if more > 0 {
        let _ = writeln!(out, "! DOUBT in {more} more regions (twinline status -o json)");
    }
    let causes: BTreeSet<&str> = status.regions.iter().flat_map(|region| region.causes.split(',')).collect();
    for cause in causes.into_iter().filter_map(Cause::of_name) {
        let _ = writeln!(out, "        {}: {}", cause.name(), cause.advice());
    }
}

fn times(window: Window) -> String {
    format!("{} to {}", time_or(window.from_ns, i64::MIN), time_or(window.to_ns, i64::MAX))
}

fn time_or(ns: i64, open: i64) -> String {
    if ns == open { "any time".to_owned() } else { rfc3339(ns) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_that_is_copied_is_one_line_and_marked_when_its_hold_is_broken() {
        let hold = HoldView {
            route: "d/rp".to_owned(),
            measurement: "cpu\nload".to_owned(),
            from_ns: 0,
            to_ns: 3_600_000_000_000,
            since_lsn: 41,
            for_s: 3,
            parked_lines: 7,
            parked_bytes: 2048,
            statement_waits: true,
            broken: None,
        };
        let text = of_hold(&hold);
        assert!(text.starts_with("  copied, and held for 3.0 s: cpu load of d/rp, 1970-01-01T00:00:00"), "{text}");
        assert!(
            text.contains("since record 41: 7 lines (") && text.ends_with(" wait for it, and a statement does"),
            "{text}"
        );
        let text = of_hold(&HoldView { broken: Some(Broken::Full), ..hold });
        assert!(text.starts_with("! HOLD BROKEN ") && text.contains("nothing more of its place"), "{text}");
    }
}
