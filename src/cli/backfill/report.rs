//! How a job stands, as text and as document.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use crate::backfill::progress::{ALL_PPM, View};
use crate::base::clock::rfc3339;
use crate::base::size::show_span;
use crate::cli::talk::{Mark, Talk};
use crate::line::project::Changes;
use crate::state::{JobRow, JobState, JobSums};

/// Failed chunks that text shows.
const SHOWN_MAX: usize = 20;

/// A job with its sums. `is_alive`: a process works on it; `now`: what it does.
pub(super) fn document(job: &JobRow, sums: &JobSums, (is_alive, now): (bool, Option<&View>)) -> Value {
    let changes: Vec<Value> = Changes::stored(&sums.changes)
        .some()
        .map(|(change, cells)| json!({ "code": change.code(), "cells": cells, "why": change.why() }))
        .collect();
    let failed: Vec<Value> = sums
        .failed
        .iter()
        .map(|(route, measurement, from_ns, end_ns, why)| {
            json!({
                "route": route,
                "measurement": String::from_utf8_lossy(measurement),
                "from_ns": from_ns,
                "end_ns": end_ns,
                "why": why,
            })
        })
        .collect();
    let letters: Vec<Value> =
        sums.letters.iter().map(|(code, lines)| json!({ "code": code, "lines": lines })).collect();
    json!({
        "schema": "twinline.backfill/1",
        "job": job.id,
        "state": word(job, is_alive),
        "scope": serde_json::from_str::<Value>(&job.scope).unwrap_or_default(),
        "created_ns": job.created_ns,
        "ended_ns": if job.ended_ns == 0 { Value::Null } else { job.ended_ns.into() },
        "note": note(job, is_alive),
        "now": now,
        "done_percent": done_ppm(job, sums) as f64 * 100.0 / ALL_PPM as f64,
        "left_s": sums.progress.and_then(|it| it.left_s).filter(|_| job.state.is_open()),
        "chunks": sums.chunks,
        "points": sums.points,
        "cells": sums.cells,
        "bytes": sums.bytes,
        "changes": changes,
        "refused": letters,
        "failed": failed,
        "next_steps": next(job, is_alive).into_iter().collect::<Vec<_>>(),
    })
}

fn done_ppm(job: &JobRow, sums: &JobSums) -> u64 {
    if job.state == JobState::Done { ALL_PPM } else { sums.progress.map_or(0, |progress| progress.done_ppm) }
}

/// How much is done, for people; never more than there is.
pub(super) fn percent(ppm: u64) -> String {
    let tenths = ppm / (ALL_PPM / 1000);
    format!("{}.{} % done", tenths / 10, tenths % 10)
}

/// How long the rest takes, for people; nothing where that cannot be said.
pub(super) fn left(left_s: Option<u64>) -> String {
    left_s.map_or_else(String::new, |left_s| format!(", {} left", show_span(Duration::from_secs(left_s.max(1)))))
}

/// How it stands.
fn word(job: &JobRow, is_alive: bool) -> &'static str {
    match job.state {
        // Killed: nobody could say so.
        JobState::Running if !is_alive => JobState::Stopped.name(),
        state => state.name(),
    }
}

/// Why it waits or has ended. What was killed waits for nothing any more.
fn note(job: &JobRow, is_alive: bool) -> String {
    match job.state {
        JobState::Running if !is_alive && !job.note.is_empty() => {
            let why = job.note.strip_prefix("waits: ").unwrap_or(&job.note);
            format!("its process ended while it waited: {why}")
        }
        _ => job.note.clone(),
    }
}

/// Whether the running twinline is who copies it.
pub(super) fn is_live(job: &JobRow) -> bool {
    serde_json::from_str::<super::pair::Scope>(&job.scope).is_ok_and(|scope| !scope.offline)
}

/// What to do next.
pub(super) fn next(job: &JobRow, is_alive: bool) -> Option<&'static str> {
    match job.state {
        JobState::Running if is_alive => Some("twinline backfill status --watch"),
        // It goes on by itself.
        JobState::Running | JobState::Stopped if is_live(job) && !is_alive => Some("twinline run"),
        JobState::Running | JobState::Stopped => Some("twinline backfill resume"),
        JobState::Partial => Some(
            "twinline backfill refused lists refused lines; twinline backfill retry tries again these and what was given up",
        ),
        JobState::Done | JobState::Cancelled => None,
    }
}

/// For people.
pub(super) fn text(talk: Talk, job: &JobRow, sums: &JobSums, (is_alive, now): (bool, Option<&View>)) -> String {
    let mut out = String::new();
    let mark = match job.state {
        JobState::Done => Mark::Good,
        JobState::Partial => Mark::Bad,
        JobState::Running if is_alive => Mark::Good,
        _ => Mark::Warning,
    };
    let began = rfc3339(job.created_ns);
    let mut line = |text: String| _ = writeln!(out, "{text}");
    line(format!("{} job {} {}, begun {began}", talk.mark(mark), job.id, word(job, is_alive)));
    let note = note(job, is_alive);
    if !note.is_empty() {
        line(format!("  {note}"));
    }
    line(format!("  {} points, {} cells in {} chunks at the destination", sums.points, sums.cells, sums.chunks));
    if let Some(done) = sums.progress.filter(|_| job.state.is_open()) {
        line(format!("  {}{}", percent(done.done_ppm), left(done.left_s)));
    }
    if let Some(now) = now {
        let (done, all) = now.units;
        line(format!("  {done} of {all} parts; {}", if now.now.is_empty() { "looks what there is" } else { &now.now }));
        if let Some(why) = now.throttled.as_ref().or(now.waits.as_ref()) {
            line(format!("  {} waits: {why}", talk.mark(Mark::Warning)));
        }
    }
    for (change, cells) in Changes::stored(&sums.changes).some() {
        line(format!("  {} {cells} cells: {}", talk.mark(Mark::Warning), change.why()));
    }
    for (code, lines) in &sums.letters {
        line(format!("  {} {lines} lines refused, {code}: twinline backfill refused", talk.mark(Mark::Bad)));
    }
    for (route, measurement, from_ns, end_ns, why) in sums.failed.iter().take(SHOWN_MAX) {
        let name = String::from_utf8_lossy(measurement);
        let mark = talk.mark(Mark::Bad);
        line(format!("  {mark} given up: {route} {name} {} to {}: {why}", rfc3339(*from_ns), rfc3339(*end_ns)));
    }
    if sums.failed.len() > SHOWN_MAX {
        line(format!("  and {} chunks more", sums.failed.len() - SHOWN_MAX));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::talk::{Color, Output};

    #[test]
    fn a_job_without_a_process_does_not_wait() {
        let job = JobRow {
            id: 3,
            scope: "{}".to_owned(),
            key: [0; 16],
            state: JobState::Running,
            created_ns: 0,
            ended_ns: 0,
            note: "waits: disk: data_dir has 1 MiB left".to_owned(),
        };
        let text =
            |is_alive| text(Talk::new(Output::Text, true, Color::Never), &job, &JobSums::default(), (is_alive, None));
        assert!(text(true).contains("\n  waits: disk: data_dir"), "{}", text(true));
        assert!(!text(false).contains("waits:"), "{}", text(false));
        assert!(
            text(false).contains("stopped") && text(false).contains("it waited: disk: data_dir"),
            "{}",
            text(false)
        );
        let shown = document(&job, &JobSums::default(), (false, None));
        assert!(!shown["note"].to_string().contains("waits:"), "{shown:#}");
    }
}
