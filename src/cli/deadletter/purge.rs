//! `twinline deadletter purge`: letters that nobody wants any more.

use serde_json::json;

use super::FilterArgs;
use super::stats::Sums;
use super::store::{Next, Store};
use crate::base::size::ByteSize;
use crate::cli::Global;
use crate::cli::exit::{Exit, Failure};
use crate::cli::queue::stop::Stop;
use crate::cli::queue::text::plural;
use crate::cli::talk::Mark;
use crate::state::{LetterFate, LetterId, LetterQuery, PAGE_LETTERS_MAX};

/// Options of `purge`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct PurgeArgs {
    #[command(flatten)]
    filter: FilterArgs,
    /// Do it; without it, say what would go
    #[arg(long)]
    execute: bool,
}

pub(super) fn run(global: &Global, store: &Store<'_>, args: &PurgeArgs) -> Result<Exit, Failure> {
    let (talk, stop) = (global.talk(), Stop::listen()?);
    let mut sums = Sums::default();
    let mut last = None;
    // What comes from now on stays.
    let looked = store.walk((&args.filter, LetterQuery::default()), (talk, &stop), |letter| {
        sums.add(&letter);
        last = Some(letter.stored.id);
        Ok(Next::More)
    })?;
    let (removed, interrupted) = match (looked.interrupted, last) {
        (None, Some(last)) if args.execute => remove(store, args, last, &stop, talk)?,
        (interrupted, _) => (0, interrupted),
    };
    let words = args.filter.words();
    let next = match (args.execute, sums.lines) {
        (_, 0) => store.place.letters_command("stats"),
        (false, _) => store.place.letters_command(&format!("export{words} --out letters.lp")),
        (true, _) => "twinline status".to_owned(),
    };
    if talk.json() {
        talk.document(&json!({
            "schema": "twinline.deadletter.purge/1",
            "executed": args.execute,
            "complete": interrupted.is_none(),
            "lines": sums.lines,
            "bytes": sums.bytes,
            "sums": sums.document(),
            "removed": removed,
            "next_steps": [next],
        }))?;
    } else {
        let mut out = String::new();
        if sums.lines > 0 {
            sums.table(&mut out);
        }
        let all = format!("{}, {}", plural(sums.lines, "dead letter"), ByteSize(sums.bytes));
        out.push_str(&match args.execute {
            false => format!("would remove {all}: they are at no other place any more (--execute does it)\n"),
            true => format!("{} removed {} of {all}\n", talk.mark(Mark::Good), removed),
        });
        talk.data(&out)?;
    }
    if interrupted.is_some() {
        talk.say("interrupted: what was removed until then is gone, the others are there");
    }
    talk.next(&next);
    Ok(interrupted.unwrap_or(Exit::Success))
}

/// Page by page, each durable before the next.
fn remove(
    store: &Store<'_>,
    args: &PurgeArgs,
    last: LetterId,
    stop: &Stop,
    talk: crate::cli::talk::Talk,
) -> Result<(u64, Option<Exit>), Failure> {
    let (mut removed, mut ids) = (0, Vec::with_capacity(PAGE_LETTERS_MAX));
    let query = LetterQuery { to: last, ..LetterQuery::default() };
    let walked = store.walk((&args.filter, query), (talk, stop), |letter| {
        ids.push(letter.stored.id);
        if ids.len() >= PAGE_LETTERS_MAX {
            removed += store.remove(&ids, LetterFate::Purged)?;
            ids.clear();
        }
        Ok(Next::More)
    })?;
    if walked.interrupted.is_none() && !ids.is_empty() {
        removed += store.remove(&ids, LetterFate::Purged)?;
    }
    Ok((removed, walked.interrupted))
}
