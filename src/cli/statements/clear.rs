//! `twinline statements clear`: an operator has seen to some.

use serde_json::json;

use super::ls::document;
use super::rows::{Rows, who};
use crate::cli::Global;
use crate::cli::exit::{Exit, Failure};
use crate::cli::queue::text::printable;
use crate::cli::talk::Mark;
use crate::control::DecisionDocument;

/// Options of `clear`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ClearArgs {
    /// Statements, by their numbers in `twinline statements ls`
    #[arg(value_name = "ID", required = true, value_parser = clap::value_parser!(i64).range(1..))]
    ids: Vec<i64>,
    /// Why it does not matter any more; kept with it
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    reason: String,
    /// Do it; without it, say what would be cleared
    #[arg(long)]
    execute: bool,
}

fn reason(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("say why: it stays in the history".to_owned()),
        text => Ok(text.to_owned()),
    }
}

pub(super) fn run(global: &Global, rows: &Rows<'_>, args: &ClearArgs) -> Result<Exit, Failure> {
    let talk = global.talk();
    let mut cleared = Vec::new();
    for id in &args.ids {
        let row = rows.one(*id)?;
        if !row.state.blocks() {
            let what = format!("statement {id} is {} already", row.state.name());
            return Err(Failure::new(Exit::Refused, what).hint(rows.place.statements_command(&format!("show {id}"))));
        }
        cleared.push(row);
    }
    if args.execute {
        for row in &cleared {
            rows.decide(
                "clear",
                &DecisionDocument { id: row.id, who: who(), note: args.reason.clone(), newer: false },
            )?;
        }
    }
    let next = rows.place.statements_command(if args.execute { "ls" } else { "show" });
    let next = if args.execute { next } else { format!("{next} {}", args.ids[0]) };
    if talk.json() {
        talk.document(&json!({
            "schema": "twinline.statements.clear/1",
            "executed": args.execute,
            "reason": args.reason,
            "statements": cleared.iter().map(document).collect::<Vec<_>>(),
            "next_steps": [next],
        }))?;
    } else {
        let mark = talk.mark(Mark::Good);
        let one = |row: &crate::state::StatementRow| {
            let text: String = row.text.chars().map(printable).collect();
            match args.execute {
                true => format!("{mark} statement {} is cleared and blocks no cutover any more: {text}\n", row.id),
                false => format!(
                    "would clear statement {}: nothing is done at the destination, and nobody is reminded of it again \
                     (--execute does it): {text}\n",
                    row.id
                ),
            }
        };
        talk.data(&cleared.iter().map(one).collect::<String>())?;
    }
    talk.next(&next);
    Ok(Exit::Success)
}
