//! `twinline backfill status` and `refused`: how the last job stands, from the file.

use std::io::IsTerminal as _;
use std::time::Duration;

use serde_json::json;

use super::{live, report};
use crate::cli::Global;
use crate::cli::exit::{Exit, Failure};
use crate::cli::queue::place::{failure, holder};
use crate::config::Config;
use crate::state::{BackfillFile, JobRow, JobState, JobSums};

pub(super) fn last(config: &Config) -> Result<Option<(JobRow, JobSums)>, Failure> {
    let path = config.data_dir.join("state.db");
    if !path.exists() {
        return Ok(None);
    }
    let file = BackfillFile::open(&path).map_err(failure)?;
    file.last(&config.destination().id).map_err(failure)
}

pub(super) fn nothing() -> Failure {
    Failure::new(Exit::No, "there is no job of this destination").hint("twinline backfill plan")
}

pub(super) fn run(global: &Global, config: &Config, watch: bool) -> Result<Exit, Failure> {
    let talk = global.talk();
    loop {
        let (job, sums) = last(config)?.ok_or_else(nothing)?;
        let is_alive = holder(&config.data_dir.join("wal/LOCK")).is_some();
        // One that works offline has nobody who answers.
        let now = (job.state == JobState::Running).then(|| live::view(config).ok()).flatten();
        if talk.json() {
            talk.document(&report::document(&job, &sums, (is_alive, now.as_ref())))?;
        } else {
            let clear = if watch && std::io::stdout().is_terminal() { "\x1b[H\x1b[2J" } else { "" };
            talk.data(&format!("{clear}{}", report::text(talk, &job, &sums, (is_alive, now.as_ref()))))?;
        }
        if !watch {
            if let Some(next) = report::next(&job, is_alive) {
                talk.next(next);
            }
            return Ok(Exit::Success);
        }
        let (_keep, never) = std::sync::mpsc::channel::<()>();
        // A plain wait of a second: nobody ever sends.
        let _ = never.recv_timeout(Duration::from_secs(1));
    }
}

pub(super) fn refused(global: &Global, config: &Config) -> Result<Exit, Failure> {
    let talk = global.talk();
    let (job, _) = last(config)?.ok_or_else(nothing)?;
    let file = BackfillFile::open(&config.data_dir.join("state.db")).map_err(failure)?;
    let letters = file.letters(job.id).map_err(failure)?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if talk.json() {
        let rows: Vec<_> = letters
            .iter()
            .map(|one| {
                json!({
                    "route": one.route,
                    "measurement": text(&one.measurement),
                    "code": one.code,
                    "reason": one.reason,
                    "line": text(&one.text),
                    "time_ns": one.time_ns,
                })
            })
            .collect();
        talk.document(&json!({ "schema": "twinline.backfill_refused/1", "job": job.id, "lines": rows }))?;
    } else {
        for one in &letters {
            talk.data(&format!("{}  {}\n    {}\n", one.code, one.reason, text(&one.text)))?;
        }
    }
    Ok(Exit::Success)
}
