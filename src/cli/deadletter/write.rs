//! `twinline deadletter export`: letters as line protocol with comments.

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use serde_json::json;

use super::FilterArgs;
use super::marked::said;
use super::store::{Next, Store};
use crate::base::Error;
use crate::base::clock::{Clock, SystemClock, rfc3339};
use crate::base::size::ByteSize;
use crate::cli::Global;
use crate::cli::draft::{Draft, refuse_place};
use crate::cli::exit::{Exit, Failure};
use crate::cli::queue::stop::Stop;
use crate::cli::queue::text::{plural, printable};
use crate::control::letter_name;
use crate::state::LetterQuery;

/// Options of `export`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ExportArgs {
    #[command(flatten)]
    filter: FilterArgs,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Replace a file of that name
    #[arg(long)]
    force: bool,
}

pub(super) fn run(global: &Global, store: &Store<'_>, args: &ExportArgs) -> Result<Exit, Failure> {
    let (talk, stop) = (global.talk(), Stop::listen()?);
    refuse_place(&store.place.data_dir, &args.out, args.force)?;
    let draft = Draft::new(&args.out)?;
    let broken = |e: io::Error| Failure::from(Error::disk(format!("cannot write {}", draft.path().display()), e));
    let mut out = BufWriter::with_capacity(1 << 20, draft.file());
    let now = rfc3339(SystemClock::new().wall_ns());
    let intro = "# dead letters of twinline, as they were sent; nanoseconds; above each its number, reason, route and what \
                 the destination said";
    writeln!(out, "{intro}\n# exported {now}").map_err(broken)?;
    let mut lines = 0;
    let walked = store.walk((&args.filter, LetterQuery::default()), (talk, &stop), |letter| {
        let route: String = letter.route.chars().map(printable).collect();
        let id = letter_name(letter.stored.id);
        let head = format!("# {id} {} {route}: {}\n", letter.stored.code, said(&letter));
        lines += 1;
        let all = [head.as_bytes(), &letter.stored.text, b"\n"];
        all.iter().try_for_each(|piece| out.write_all(piece)).map_err(broken)?;
        Ok(Next::More)
    })?;
    if let Some(exit) = walked.interrupted {
        talk.say("interrupted: nothing was kept");
        return Ok(exit);
    }
    out.flush().map_err(broken)?;
    drop(out);
    let bytes = draft.keep(&args.out, args.force)?;
    let next = store.place.letters_command(&format!("purge{}", args.filter.words()));
    if talk.json() {
        talk.document(&json!({
            "schema": "twinline.deadletter.export/1",
            "file": args.out.display().to_string(),
            "bytes": bytes,
            "lines": lines,
            "next_steps": [next],
        }))?;
    } else {
        talk.data(&format!("{}: {}, {}\n", args.out.display(), plural(lines, "line"), ByteSize(bytes)))?;
    }
    talk.next(&next);
    Ok(Exit::Success)
}
