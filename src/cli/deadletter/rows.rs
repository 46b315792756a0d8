//! `twinline deadletter ls --letters`: one row for each, in order, a page at a time.

use std::fmt::Write;

use serde_json::{Value, json};

use super::ls::LsArgs;
use super::marked::{Shown, said};
use super::store::{Next, Store};
use crate::cli::Global;
use crate::cli::exit::{Exit, Failure};
use crate::cli::queue::stop::Stop;
use crate::cli::queue::text::{printable, time_or_null};
use crate::control::letter_name;
use crate::state::LetterQuery;

pub(super) fn run(global: &Global, store: &Store<'_>, args: &LsArgs) -> Result<Exit, Failure> {
    let (talk, stop) = (global.talk(), Stop::listen()?);
    let usual = LetterQuery::default();
    let query = LetterQuery { from: args.from.unwrap_or(usual.from), ..usual };
    let (mut rows, mut more, mut out) = (Vec::new(), None, String::new());
    let walked = store.walk((&args.filter, query), (talk, &stop), |letter| {
        let id = letter.stored.id;
        if rows.len() >= args.limit as usize {
            more = Some(id);
            return Ok(Next::Enough);
        }
        let shown = Shown::of(&letter, store.reading());
        let mut row = shown.document();
        let own: [(&str, Value); 6] = [
            ("id", json!(letter_name(id))),
            ("reason", json!(letter.stored.code)),
            ("route", json!(letter.route)),
            ("measurement", json!(letter.measurement_text())),
            ("time", json!(letter.time_ns.and_then(time_or_null))),
            ("said", json!(said(&letter))),
        ];
        row.extend(own.into_iter().map(|(name, value)| (name.to_owned(), value)));
        let route: String = letter.route.chars().map(printable).collect();
        // Writing to a String does not fail.
        let _ = writeln!(out, "{:>12}  {:13}  {route}  {}", letter_name(id), letter.stored.code, shown.text());
        rows.push(row);
        Ok(Next::More)
    })?;
    let next = match more {
        Some(id) => store.place.letters_command(&format!(
            "ls --letters --limit {}{} --from {}",
            args.limit,
            args.filter.words(),
            letter_name(id)
        )),
        None => store.place.letters_command("stats"),
    };
    if talk.json() {
        talk.document(&json!({
            "schema": "twinline.deadletter.letters/1",
            "running": store.is_running(),
            "complete": walked.interrupted.is_none(),
            "letters": rows,
            "next": more.map(letter_name),
            "next_steps": [next],
        }))?;
    } else {
        let title = format!("{:>12}  {:13}  ROUTE  LINE\n", "ID", "REASON");
        talk.data(&if out.is_empty() { "no dead letters here\n".to_owned() } else { title + &out })?;
    }
    talk.next(&next);
    Ok(walked.interrupted.unwrap_or(Exit::Success))
}
