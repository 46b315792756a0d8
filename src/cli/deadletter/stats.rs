//! `twinline deadletter stats`: sums by reason and route.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::json;

use super::FilterArgs;
use super::letter::Letter;
use super::store::{Next, Store};
use crate::base::size::ByteSize;
use crate::cli::Global;
use crate::cli::exit::{Exit, Failure};
use crate::cli::queue::stop::Stop;
use crate::cli::queue::text::{plural, printable};
use crate::state::LetterQuery;

/// Options of `stats`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct StatsArgs {
    #[command(flatten)]
    filter: FilterArgs,
}

/// Pairs of reason and route that are told apart; beyond, only reasons are.
const PAIRS_MAX: usize = 10_000;

/// Lines and bytes by reason and route.
#[derive(Clone, Debug, Default)]
pub(super) struct Sums {
    pairs: BTreeMap<(String, String), (u64, u64)>,
    pub(super) lines: u64,
    pub(super) bytes: u64,
}

impl Sums {
    pub(super) fn add(&mut self, letter: &Letter) {
        let bytes = letter.stored.text.len() as u64;
        let mut key = (letter.stored.code.clone(), letter.route.clone());
        if self.pairs.len() >= PAIRS_MAX && !self.pairs.contains_key(&key) {
            "other routes".clone_into(&mut key.1);
        }
        let pair = self.pairs.entry(key).or_default();
        *pair = (pair.0 + 1, pair.1 + bytes);
        self.lines += 1;
        self.bytes += bytes;
    }

    pub(super) fn document(&self) -> serde_json::Value {
        let row = |((reason, route), (lines, bytes)): (&(String, String), &(u64, u64))| json!({ "reason": reason, "route": route, "lines": lines, "bytes": bytes });
        json!(self.pairs.iter().map(row).collect::<Vec<_>>())
    }

    pub(super) fn table(&self, out: &mut String) {
        let width = self.pairs.keys().map(|(reason, _)| reason.len()).max().unwrap_or(0).max(6);
        // Writing to a String does not fail.
        let _ = writeln!(out, "{:width$}  {:>10}  {:>9}  ROUTE", "REASON", "LINES", "BYTES");
        for ((reason, route), (lines, bytes)) in &self.pairs {
            let route: String = route.chars().map(printable).collect();
            let _ = writeln!(out, "{reason:width$}  {lines:>10}  {:>9}  {route}", ByteSize(*bytes).to_string());
        }
    }
}

pub(super) fn run(global: &Global, store: &Store<'_>, args: &StatsArgs) -> Result<Exit, Failure> {
    let (talk, stop) = (global.talk(), Stop::listen()?);
    let mut sums = Sums::default();
    let walked = store.walk((&args.filter, LetterQuery::default()), (talk, &stop), |letter| {
        sums.add(&letter);
        Ok(Next::More)
    })?;
    let next = store.place.letters_command(if sums.lines > 0 { "ls" } else { "stats -o json" });
    let limit = store.place.config.as_ref().map(|config| config.queue.dead_letter_max);
    if talk.json() {
        let removed: serde_json::Map<_, _> =
            walked.removed.iter().map(|(fate, lines)| (fate.clone(), json!(lines))).collect();
        talk.document(&json!({
            "schema": "twinline.deadletter.stats/1",
            "running": store.is_running(),
            "complete": walked.interrupted.is_none(),
            "lines": sums.lines,
            "bytes": sums.bytes,
            "limit_bytes": limit.map(|limit| limit.0),
            "sums": sums.document(),
            "removed": removed,
            "next_steps": [next],
        }))?;
    } else {
        let mut out = String::new();
        if sums.lines > 0 {
            sums.table(&mut out);
        }
        let of = limit.map_or(String::new(), |limit| format!(" of {limit} (queue.dead_letter_max)"));
        let _ = writeln!(out, "{}, {}{of}", plural(sums.lines, "dead letter"), ByteSize(sums.bytes));
        for (fate, lines) in &walked.removed {
            let _ = writeln!(out, "gone: {} {fate}", plural(*lines, "line"));
        }
        talk.data(&out)?;
    }
    talk.next(&next);
    Ok(walked.interrupted.unwrap_or(Exit::Success))
}
