//! What an import came to.

use serde_json::{Value, json};

use super::checkpoint::{Counts, State};
use super::work::{File, Work};
use crate::cli::exit::{Exit, Failure};
use crate::cli::queue::place::quoted;
use crate::cli::queue::text::plural;
use crate::cli::talk::Mark;
use crate::line::project::Change;

/// Files with something wrong that people see; all are in the JSON.
const SHOWN: usize = 20;

impl Work {
    /// Says what was done, and how it ended.
    pub(super) fn tell(&self, command: &str, ended: Result<Option<Exit>, Failure>) -> Result<Exit, Failure> {
        let (next, is_whole) = (self.next(command, &ended), matches!(ended, Ok(None)));
        let Counts { lines, malformed, .. } = self.checkpoint.counts;
        if ended.is_err() && lines + malformed == 0 {
            // Nothing was done that could be told.
        } else if self.talk.json() {
            self.talk.document(&self.document(is_whole, &next))?;
        } else {
            self.talk.data(&self.text(is_whole))?;
        }
        let exit = match ended {
            Err(failure) if failure.exit == Exit::Usage => return Err(failure),
            Err(failure) => {
                let first = failure.hint.as_ref().map_or(String::new(), |hint| format!("{hint}; then "));
                return Err(failure.hint(first + &next));
            }
            Ok(Some(exit)) => exit,
            Ok(None) if self.left() > 0 => Exit::Partly,
            Ok(None) => Exit::Success,
        };
        self.talk.next(&next);
        Ok(exit)
    }

    /// Lines that were not written and files that are not whole.
    fn left(&self) -> u64 {
        let Counts { malformed, refused, .. } = self.checkpoint.counts;
        malformed + refused + self.broken().count() as u64
    }

    fn broken(&self) -> impl Iterator<Item = (&File, &str)> {
        self.files.iter().filter_map(|file| Some((file, self.checkpoint.of(&file.path)?.broken.as_deref()?)))
    }

    /// Files of which false values may have been written.
    fn doubtful(&self) -> impl Iterator<Item = &File> {
        self.files
            .iter()
            .filter(|file| self.checkpoint.of(&file.path).is_some_and(|progress| progress.state == State::Doubtful))
    }

    fn next(&self, command: &str, ended: &Result<Option<Exit>, Failure>) -> String {
        let Counts { malformed, refused, .. } = self.checkpoint.counts;
        match ended {
            _ if self.is_dry => command.to_owned(),
            Err(_) | Ok(Some(_)) => command.replacen(" import", " import --resume", 1),
            Ok(None) if self.doubtful().next().is_some() => {
                let names: Vec<&str> = self.doubtful().map(|file| file.name.as_str()).take(SHOWN).collect();
                format!("import an intact copy of {}; do not mend the rejects of this import", names.join(", "))
            }
            Ok(None) if malformed + refused > 0 => {
                let path = quoted(&self.rejects.path().display().to_string());
                format!("mend the lines of {path}, then import that file")
            }
            Ok(None) => "twinline run".to_owned(),
        }
    }

    fn text(&self, is_whole: bool) -> String {
        let Counts { lines, points, malformed, refused, excluded, nothing, replaced, places, .. } =
            &self.checkpoint.counts;
        let mark = |mark| self.talk.mark(mark);
        let written = if self.is_dry { "would be written" } else { "written" };
        let files = plural(self.files.len() as u64, "file");
        let good = if is_whole && self.left() == 0 { Mark::Good } else { Mark::Warning };
        let mut out = format!(
            "{} {} of {files} read, {} {written} to {}\n",
            mark(good),
            plural(lines + malformed, "line"),
            plural(*points, "point"),
            self.destination
        );
        for (place, count) in places {
            out += &format!("    {}: {place}\n", plural(*count, "point"));
        }
        if *replaced > 0 {
            out += &format!("    {} replaced by a later one near it in the file\n", plural(*replaced, "value"));
        }
        for (count, what) in
            [(*excluded, "left out by the rules of mapping"), (*nothing, "of which the destination can hold nothing")]
        {
            if count > 0 {
                out += &format!("    {} {what}\n", plural(count, "point"));
            }
        }
        for (change, cells) in self.changes.some() {
            out += &format!("    {}: {}\n", plural(cells, "cell"), change.why());
        }
        let marked = |file: &&File| self.checkpoint.of(&file.path).is_some_and(|progress| progress.is_marked);
        for file in self.files.iter().filter(marked).take(SHOWN) {
            out += &format!("    {}: begins with a byte order mark, which was left out\n", file.name);
        }
        if !self.sample.is_empty() {
            out += "  the first of them:\n";
            self.sample.iter().for_each(|line| out += &format!("    {line}\n"));
        }
        self.faults(&mut out, malformed + refused);
        for (file, why) in self.broken().take(SHOWN) {
            out += &format!("{} {}: {why}\n", mark(Mark::Bad), file.name);
        }
        let more = self.broken().count().saturating_sub(SHOWN);
        if more > 0 {
            out += &format!("{} {more} more files that are not whole\n", mark(Mark::Bad));
        }
        if !is_whole {
            out += &format!("{} stopped before the end; what is counted above is done\n", mark(Mark::Warning));
        }
        out
    }

    fn faults(&self, out: &mut String, left: u64) {
        if left == 0 {
            return;
        }
        let Counts { malformed, refused, .. } = self.checkpoint.counts;
        let mark = self.talk.mark(Mark::Bad);
        let place = if self.is_dry { String::new() } else { format!(": {}", self.rejects.path().display()) };
        *out += &format!(
            "{mark} {} not written ({malformed} malformed, {refused} that the destination cannot take){place}\n",
            plural(left, "line")
        );
        self.rejects.shown.iter().for_each(|said| *out += &format!("    {said}\n"));
        let shown = self.rejects.shown.len() as u64;
        let all: u64 = self.rejects.kinds.values().sum();
        if all > shown {
            *out += &format!("    and {} more\n", all - shown);
        }
    }

    fn document(&self, is_whole: bool, next: &str) -> Value {
        let counts = &self.checkpoint.counts;
        let files: Vec<Value> = self
            .files
            .iter()
            .map(|file| {
                let progress = self.checkpoint.of(&file.path);
                let state = progress.map_or("not-begun", |progress| match progress.state {
                    State::Begun => "begun",
                    State::Done => "done",
                    State::Broken => "broken",
                    State::Doubtful => "doubtful",
                });
                json!({
                    "file": file.name,
                    "state": state,
                    "done_bytes": progress.map_or(0, |progress| progress.done),
                    "byte_order_mark": progress.is_some_and(|progress| progress.is_marked),
                    "broken": progress.and_then(|progress| progress.broken.clone()),
                })
            })
            .collect();
        let changes: serde_json::Map<String, Value> = self
            .changes
            .some()
            .map(|(change, cells): (Change, u64)| (change.code().to_owned(), cells.into()))
            .collect();
        json!({
            "schema": "twinline.import/1",
            "destination": self.destination,
            "dry_run": self.is_dry,
            "complete": is_whole,
            "lines": counts.lines,
            "points": counts.points,
            "places": counts.places,
            "malformed": counts.malformed,
            "refused": counts.refused,
            "excluded": counts.excluded,
            "nothing_held": counts.nothing,
            "replaced": counts.replaced,
            "changes": changes,
            "kinds": self.rejects.kinds,
            "rejects": (!self.is_dry && counts.malformed + counts.refused > 0).then(|| self.rejects.path().display().to_string()),
            "files": files,
            "sample": self.sample,
            "next_steps": [next],
        })
    }
}
