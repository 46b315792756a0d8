//! `twinline statements confirm`: one is carried out at the destination.

use std::sync::mpsc;
use std::time::Duration;

use serde_json::json;

use super::ls::document;
use super::rows::{Rows, who};
use crate::cli::Global;
use crate::cli::exit::{Exit, Failure};
use crate::cli::queue::text::printable;
use crate::cli::talk::{Mark, Talk};
use crate::control::DecisionDocument;
use crate::state::{StatementRow, StatementState};

/// So often the command looks what comes of it, for some 30 s; delivery goes on with it afterwards.
const LOOKS_MAX: usize = 300;
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Options of `confirm`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ConfirmArgs {
    /// A statement, by its number in `twinline statements ls`
    #[arg(value_name = "ID", value_parser = clap::value_parser!(i64).range(1..))]
    id: i64,
    /// Do it; without it, say what would be done
    #[arg(long)]
    execute: bool,
    /// Also where data newer than the statement has gone to the destination: that goes too, and is to be read back from the source
    #[arg(long)]
    even_though_newer_data: bool,
}

pub(super) fn run(global: &Global, rows: &Rows<'_>, args: &ConfirmArgs) -> Result<Exit, Failure> {
    let talk = global.talk();
    let mut row = rows.one(args.id)?;
    if !row.state.blocks() || !row.can_confirm {
        let why = match row.state.blocks() {
            true => "cannot be carried out at this destination: do it there by hand, then clear it".to_owned(),
            false => format!("is {} already", row.state.name()),
        };
        let what = format!("statement {} {why}", args.id);
        return Err(Failure::new(Exit::Refused, what).hint(rows.place.statements_command(&format!("show {}", args.id))));
    }
    if args.execute {
        let decision =
            DecisionDocument { id: args.id, who: who(), note: String::new(), newer: args.even_though_newer_data };
        rows.decide("confirm", &decision)?;
        let (_keep, never) = mpsc::channel::<()>();
        for _ in 0..LOOKS_MAX {
            row = rows.one(args.id)?;
            if row.state != StatementState::Confirmed {
                break;
            }
            // A plain wait: nobody ever sends.
            let _ = never.recv_timeout(LOOK_EVERY);
        }
    }
    let (exit, next) = match (args.execute, row.state) {
        (false, _) => (Exit::Success, format!("confirm {} --execute", row.id)),
        (true, StatementState::Done | StatementState::Cleared) => (Exit::Success, "ls".to_owned()),
        (true, StatementState::Confirmed) => (Exit::Partly, format!("show {}", row.id)),
        (true, StatementState::Open) => (Exit::Refused, format!("show {}", row.id)),
    };
    let next = rows.place.statements_command(&next);
    if talk.json() {
        talk.document(&json!({
            "schema": "twinline.statements.confirm/1",
            "executed": args.execute,
            "statement": document(&row),
            "next_steps": [next],
        }))?;
    } else {
        talk.data(&text(&row, args, talk))?;
    }
    talk.next(&next);
    Ok(exit)
}

fn text(row: &StatementRow, args: &ConfirmArgs, talk: Talk) -> String {
    let plain = |text: &str| text.chars().map(printable).collect::<String>();
    let (id, shown, note) = (row.id, plain(&row.text), plain(&row.note));
    if args.execute {
        return match row.state {
            StatementState::Done | StatementState::Cleared => {
                format!("{} statement {id} is carried out at the destination: {note}\n", talk.mark(Mark::Good))
            }
            StatementState::Confirmed => {
                let mark = talk.mark(Mark::Warning);
                format!(
                    "{mark} statement {id} is confirmed and waits: delivery is paused, or the destination does not take it now\n"
                )
            }
            StatementState::Open => format!("{} statement {id} is not carried out: {note}\n", talk.mark(Mark::Bad)),
        };
    }
    let mark = talk.mark(Mark::Warning);
    let newer = match (row.newer, args.even_though_newer_data) {
        (false, _) => "nothing newer of its place has gone there since".to_owned(),
        (true, false) => format!(
            "{mark} data, or a place, newer than it has gone there since and would go too: refused without --even-though-newer-data"
        ),
        (true, true) => format!(
            "{mark} data, or a place, newer than it has gone there since and GOES TOO: a dirty region until it is read back from the \
             source; a database that the source has made anew is to be made again there"
        ),
    };
    format!(
        "would carry out at the destination now (--execute does it), in its names: {shown}\n\
         what delivery has brought there goes for good; what still waits in the queue comes behind it\n{newer}\n"
    )
}
