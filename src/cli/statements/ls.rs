//! `twinline statements ls` and `show`.

use std::fmt::Write;

use serde_json::{Value, json};

use super::rows::Rows;
use crate::cli::Global;
use crate::cli::exit::{Exit, Failure};
use crate::cli::queue::text::{plural, printable, time, time_or_null};
use crate::cli::talk::{Mark, Talk};
use crate::state::{StatementRow, StatementState};

/// Options of `ls`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct LsArgs {
    /// Also those that were carried out later or cleared
    #[arg(long)]
    all: bool,
    /// Only those of this class: drop-database, delete, users, …
    #[arg(long, value_name = "CLASS")]
    class: Option<String>,
    /// Only those of this place: d, d/rp or org:bucket
    #[arg(long, value_name = "PLACE")]
    place: Option<String>,
    /// Show so many, the newest, at most
    #[arg(long, value_name = "NUMBER", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
}

/// Options of `show`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ShowArgs {
    /// A statement, by its number in `twinline statements ls`
    #[arg(value_name = "ID", value_parser = clap::value_parser!(i64).range(1..))]
    id: i64,
}

pub(super) fn run(global: &Global, rows: &Rows<'_>, args: &LsArgs) -> Result<Exit, Failure> {
    let talk = global.talk();
    let fits = |row: &StatementRow| {
        args.class.as_ref().is_none_or(|class| *class == row.class)
            && args.place.as_ref().is_none_or(|place| *place == row.place)
    };
    let mut found: Vec<_> = rows.all(args.all)?.into_iter().filter(fits).collect();
    let number = found.len();
    let blocking: u64 = found.iter().filter(|row| row.state.blocks()).map(|row| row.times).sum();
    let next = match found.iter().rev().find(|row| row.state.blocks()) {
        Some(row) => rows.place.statements_command(&format!("show {}", row.id)),
        None => "twinline status".to_owned(),
    };
    found.drain(..number.saturating_sub(args.limit as usize));
    if talk.json() {
        talk.document(&json!({
            "schema": "twinline.statements.ls/1",
            "data_dir": rows.place.data_dir.display().to_string(),
            "running": rows.is_running(),
            "blocking": blocking,
            "rows": number,
            "statements": found.iter().map(document).collect::<Vec<_>>(),
            "next_steps": [next],
        }))?;
    } else {
        let mut out = String::new();
        found.iter().for_each(|row| line(row, talk, &mut out));
        // Writing to a String does not fail.
        if number > found.len() {
            let _ = writeln!(out, "and {} older ones (--limit)", number - found.len());
        }
        let _ = match blocking {
            0 => writeln!(out, "{} nothing blocks a cutover here", talk.mark(Mark::Good)),
            times => writeln!(out, "{} that block a cutover", plural(times, "statement")),
        };
        talk.data(&out)?;
    }
    talk.next(&next);
    Ok(Exit::Success)
}

fn line(row: &StatementRow, talk: Talk, out: &mut String) {
    let mark = talk.mark(if row.state.blocks() { Mark::Warning } else { Mark::Good });
    let at = if row.place.is_empty() { String::new() } else { format!(" at {}", plain(&row.place)) };
    let (id, class, when) = (row.id, &row.class, time(row.last_ns));
    let _ = writeln!(out, "{mark} {id:>4}  {} × {class}{at}, last {when}: {}", row.times, plain(&row.text));
    let _ = writeln!(out, "        not mirrored: {}", plain(&row.why));
    if let Some(said) = said(row) {
        let _ = writeln!(out, "        {said}");
    }
}

fn to_do(row: &StatementRow) -> &'static str {
    match (row.can_confirm, row.newer) {
        (true, false) => "confirm: nothing newer of its place has gone to the destination since",
        (true, true) => {
            "something newer of its place has gone to the destination since: a confirm would remove that too"
        }
        (false, _) => "by hand at the destination, or nothing; then clear it",
    }
}

/// What operators did with it, in a sentence.
fn said(row: &StatementRow) -> Option<String> {
    let (who, when, note) = (plain(&row.who), time(row.over_ns), plain(&row.note));
    match row.state {
        StatementState::Open if row.note.is_empty() => None,
        StatementState::Open => Some(format!("was confirmed by {who} and not carried out: {note}")),
        StatementState::Confirmed => Some(format!("confirmed by {who}, {when}: waits to be carried out")),
        StatementState::Done => Some(format!("confirmed by {who} and carried out, {when}: {note}")),
        StatementState::Cleared => Some(format!("cleared by {who}, {when}: {note}")),
    }
}

fn plain(text: &str) -> String {
    text.chars().map(printable).collect()
}

pub(super) fn document(row: &StatementRow) -> Value {
    json!({
        "id": row.id,
        "state": row.state,
        "blocks": row.state.blocks(),
        "class": row.class,
        "place": row.place,
        "text": row.text,
        "why": row.why,
        "times": row.times,
        "first": time_or_null(row.first_ns),
        "last": time_or_null(row.last_ns),
        "lsn": (row.last_lsn > 0).then_some(row.last_lsn),
        "can_confirm": row.can_confirm,
        "newer": row.newer,
        "who": row.who,
        "note": row.note,
        "decided": (row.over_ns > 0).then(|| time_or_null(row.over_ns)),
    })
}

pub(super) fn show(global: &Global, rows: &Rows<'_>, args: &ShowArgs) -> Result<Exit, Failure> {
    let (talk, row) = (global.talk(), rows.one(args.id)?);
    let next = rows.place.statements_command(&match (row.state, row.can_confirm && !row.newer) {
        (StatementState::Open, true) => format!("confirm {}", row.id),
        (StatementState::Open, false) => format!("clear {} --reason TEXT", row.id),
        (StatementState::Confirmed, _) => format!("show {}", row.id),
        _ => "ls".to_owned(),
    });
    if talk.json() {
        let mut shown = document(&row);
        shown["schema"] = json!("twinline.statements.show/1");
        shown["next_steps"] = json!([next]);
        talk.document(&shown)?;
    } else {
        talk.data(&whole(&row))?;
    }
    talk.next(&next);
    Ok(Exit::Success)
}

fn whole(row: &StatementRow) -> String {
    let mut out = String::new();
    let record = if row.last_lsn > 0 { row.last_lsn.to_string() } else { "none: the log could not take it".to_owned() };
    let blocks = if row.state.blocks() { ", blocks a cutover" } else { "" };
    let mut one = |name: &str, text: &str| {
        // Writing to a String does not fail.
        let _ = writeln!(out, "{name:12} {text}");
    };
    one("statement", &row.id.to_string());
    one("state", &format!("{}{blocks}", row.state.name()));
    one("class", &row.class);
    one("place", &plain(&row.place));
    one("times", &format!("{}, first {}, last {}", row.times, time(row.first_ns), time(row.last_ns)));
    one("record", &record);
    one("text", &plain(&row.text));
    one("why", &plain(&row.why));
    if row.state.blocks() {
        one("to do", to_do(row));
    }
    if let Some(said) = said(row) {
        one("since then", &said);
    }
    out
}
