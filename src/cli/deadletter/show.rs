//! `twinline deadletter show`: one letter, whole.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::letter::Letter;
use super::marked::{Shown, fault};
use super::store::Store;
use crate::base::size::ByteSize;
use crate::cli::Global;
use crate::cli::exit::{Exit, Failure};
use crate::cli::queue::text::{printable, time, time_or_null};
use crate::control::{letter_id, letter_name};
use crate::state::{LetterId, LetterQuery};

/// Options of `show`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ShowArgs {
    /// A letter, as `twinline deadletter ls` names it: the record's number, a point, the line's number
    #[arg(value_name = "ID", value_parser = parse_id)]
    id: LetterId,
}

pub(super) fn parse_id(text: &str) -> Result<LetterId, String> {
    letter_id(text).ok_or_else(|| "write the number of a record and of a line, as `ls` does: 4711.0".to_owned())
}

pub(super) fn run(global: &Global, store: &Store<'_>, args: &ShowArgs) -> Result<Exit, Failure> {
    let talk = global.talk();
    let query = LetterQuery { from: args.id, to: args.id, limit: 1, ..LetterQuery::default() };
    let page = store.page(&query)?;
    let Some(stored) = page.letters.into_iter().next() else {
        let what = format!("there is no dead letter {}", letter_name(args.id));
        return Err(Failure::new(Exit::Failed, what).hint(store.place.letters_command("ls --letters")));
    };
    let letter = Letter::new(stored, store.unit());
    let next = store.place.letters_command(&format!("ls --reason {}", letter.stored.code));
    if talk.json() {
        talk.document(&document(&letter, fault(&letter, store.reading()), &next))?;
    } else {
        talk.data(&text(&letter, store))?;
    }
    talk.next(&next);
    Ok(Exit::Success)
}

fn document(letter: &Letter, at: Option<usize>, next: &str) -> Value {
    let text = String::from_utf8(letter.stored.text.clone());
    json!({
        "schema": "twinline.deadletter.show/1",
        "id": letter_name(letter.stored.id),
        "lsn": letter.stored.id.0.0,
        "line": letter.stored.id.1,
        "route": letter.route,
        "reason": letter.stored.code,
        "said": letter.stored.reason,
        "measurement": letter.measurement_text(),
        "time": letter.time_ns.and_then(time_or_null),
        "text": text.as_ref().ok(),
        "base64": text.as_ref().err().map(|odd| STANDARD.encode(odd.as_bytes())),
        "at": at,
        "next_steps": [next],
    })
}

fn text(letter: &Letter, store: &Store<'_>) -> String {
    let mut out = String::new();
    let plain = |text: &str| -> String { text.chars().map(printable).collect() };
    let size = ByteSize(letter.stored.text.len() as u64);
    // Writing to a String does not fail.
    let _ = writeln!(out, "letter       {}", letter_name(letter.stored.id));
    let _ = writeln!(out, "route        {}", plain(&letter.route));
    let _ = writeln!(out, "reason       {}", letter.stored.code);
    let _ = writeln!(out, "said         {}", plain(&letter.stored.reason));
    let _ = writeln!(out, "measurement  {}", plain(&letter.measurement_text()));
    if let Some(at) = letter.time_ns {
        let _ = writeln!(out, "time         {} ({at})", time(at));
    }
    let _ = writeln!(out, "line         {size}, as it was sent");
    let shown = Shown::of(letter, store.reading());
    out.push_str(&shown.lines("  "));
    if shown.text().starts_with('…') || shown.text().ends_with('…') {
        let _ = writeln!(out, "whole:");
        let _ = writeln!(out, "{}", plain(&String::from_utf8_lossy(&letter.stored.text)));
    }
    out
}
