//! What a run says.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::form::{as_json, as_text};
use super::work::{Row, Run};
use crate::base::clock::rfc3339;
use crate::cli::exit::{Exit, Failure};
use crate::cli::talk::{Mark, Talk};
use crate::verify::compare::State;
use crate::verify::hash::Figures;

/// Findings and windows that the text shows.
const SHOWN_MAX: usize = 20;
/// Findings in the document.
const LISTED_MAX: usize = 1000;

pub(super) fn print(talk: Talk, run: &Run) -> Result<(), Failure> {
    if talk.json() {
        talk.document(&document(run))?;
    } else {
        talk.data(&text(talk, run))?;
    }
    talk.next(next(run));
    Ok(())
}

fn next(run: &Run) -> &'static str {
    match run.exit() {
        Exit::Success => "nothing: all that was chosen is equal",
        Exit::No => "twinline verify diff, with the same options: every cell that differs",
        _ => "see the reasons of what is unchecked; --profile full reads everything",
    }
}

/// Cells of the source, of the destination, by states of windows.
fn sums(run: &Run) -> (u64, u64, [usize; 3]) {
    let cells = |side: fn(&Row) -> u64| run.rows.iter().map(side).sum();
    let count = |is: fn(&State) -> bool| run.rows.iter().filter(|row| is(&row.state)).count();
    let states = [
        count(|state| *state == State::Equal),
        count(|state| *state == State::Differs),
        count(|state| matches!(state, State::Unchecked(_))),
    ];
    (cells(|row| row.source.cells), cells(|row| row.destination.cells), states)
}

fn text(talk: Talk, run: &Run) -> String {
    let (source, destination, [equal, differ, unchecked]) = sums(run);
    let (mark, word) = match run.exit() {
        Exit::Success => (Mark::Good, "equal"),
        Exit::No => (Mark::Bad, "they differ"),
        _ => (Mark::Warning, "not all of it was compared"),
    };
    let mut out = format!(
        "{} {word}: {source} cells of the source, {destination} of the destination; windows: {equal} equal, {differ} differ, {unchecked} unchecked\n",
        talk.mark(mark)
    );
    // Writing to a String does not fail.
    for row in run.rows.iter().filter(|row| row.state != State::Equal).take(SHOWN_MAX) {
        let why = if let State::Unchecked(why) = &row.state { format!(": {why}") } else { String::new() };
        let (from, to) = (rfc3339(row.window.start_ns), rfc3339(row.window.end_ns));
        let name = String::from_utf8_lossy(&row.measurement);
        _ = writeln!(out, "  {} {} {name} {from} to {to}{why}", row.state.name(), row.place);
    }
    for (place, why) in &run.closed {
        _ = writeln!(out, "  unchecked {place}: {why}");
    }
    for (code, cells) in &run.left_out {
        _ = writeln!(out, "  not compared, as the destination cannot hold or show it ({code}): {cells}");
    }
    let classes = run.classes();
    if !classes.is_empty() {
        let classes: Vec<String> = classes.iter().map(|(class, count)| format!("{} {count}", class.name())).collect();
        _ = writeln!(out, "differences: {}", classes.join(", "));
        for (place, one) in run.findings.iter().take(SHOWN_MAX) {
            _ = writeln!(out, "  {}", as_text(place, one));
        }
        let rest = run.findings.len().saturating_sub(SHOWN_MAX) as u64 + run.more;
        if rest > 0 {
            _ = writeln!(out, "  and {rest} more");
        }
    }
    if run.settled > 0 {
        _ = writeln!(out, "{} leaves differed at first and were equal when they were read again", run.settled);
    }
    out
}

fn document(run: &Run) -> Value {
    let (source, destination, [equal, differ, unchecked]) = sums(run);
    let figures = |of: &Figures| {
        json!({
            "cells": of.cells, "float": of.types[0], "integer": of.types[1], "unsigned": of.types[2],
            "boolean": of.types[3], "string": of.types[4], "hash": of.digest(),
        })
    };
    let row = |row: &Row| {
        json!({
            "place": row.place, "target": row.target, "measurement": String::from_utf8_lossy(&row.measurement),
            "from_ns": row.window.start_ns, "to_ns": row.window.end_ns, "state": row.state.name(),
            "why": if let State::Unchecked(why) = &row.state { Some(why) } else { None },
            "source": figures(&row.source), "destination": figures(&row.destination),
            "counted": row.counts.map(|(here, there)| json!({ "source": here, "destination": there })),
        })
    };
    let classes: serde_json::Map<String, Value> =
        run.classes().into_iter().map(|(class, count)| (class.name().to_owned(), count.into())).collect();
    json!({
        "schema": "twinline.verify/1",
        "state": run.state(),
        "cells": { "source": source, "destination": destination, "read_again": run.read_again },
        "windows": { "equal": equal, "differ": differ, "unchecked": unchecked },
        "classes": classes,
        "differences": run.findings.iter().take(LISTED_MAX).map(|(place, one)| as_json(place, one)).collect::<Vec<_>>(),
        "more_differences": run.findings.len().saturating_sub(LISTED_MAX) as u64 + run.more,
        "not_compared": run.left_out,
        "places_not_compared": run.closed.iter().map(|(place, why)| json!({ "place": place, "why": why })).collect::<Vec<_>>(),
        "rows": run.rows.iter().map(row).collect::<Vec<_>>(),
        "next_steps": [next(run)],
    })
}
