//! What a replay came to.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Value, json};

use super::super::letter::Letter;
use super::super::store::Store;
use super::{Ends, ReplayArgs};
use crate::cli::exit::{Exit, Failure};
use crate::cli::lint::excerpt::readable;
use crate::cli::queue::text::plural;
use crate::cli::talk::{Mark, Talk};
use crate::control::letter_name;

/// Sums, and an example of each reason to stay.
#[derive(Debug, Default)]
pub(super) struct Report {
    repaired: u64,
    obsolete: u64,
    raw: u64,
    points: u64,
    /// By code, of which there are a few: letters, one of them, why.
    stay: BTreeMap<&'static str, (u64, String, String)>,
}

impl Report {
    pub(super) fn add(&mut self, letters: &[Letter], ends: Ends) {
        self.repaired += ends.repaired.len() as u64;
        self.obsolete += ends.obsolete.len() as u64;
        self.raw += ends.raw.len() as u64;
        self.points += ends.points;
        for (number, why) in ends.stay {
            let example = || (0, letter_name(letters[number].stored.id), readable(&why.why));
            self.stay.entry(why.code).or_insert_with(example).0 += 1;
        }
    }

    pub(super) fn stays(&self) -> u64 {
        self.stay.values().map(|(letters, ..)| letters).sum()
    }

    pub(super) fn tell(
        &self,
        talk: Talk,
        (store, args): (&Store<'_>, &ReplayArgs),
        interrupted: Option<Exit>,
        broken: bool,
    ) -> Result<(), Failure> {
        let letters = self.repaired + self.obsolete + self.raw + self.stays();
        let words = args.filter.words();
        let raw = if args.raw { " --raw" } else { "" };
        let next = match (letters, args.execute) {
            (0, _) => store.place.letters_command("stats"),
            (_, false) => store.place.letters_command(&format!("replay{words}{raw} --execute")),
            (_, true) if self.stays() > 0 => store.place.letters_command(&format!("ls{words}")),
            (_, true) => "twinline status".to_owned(),
        };
        if talk.json() {
            talk.document(&self.document(args, (interrupted.is_none() && !broken, &next)))?;
        } else {
            talk.data(&self.text(talk, args))?;
        }
        if interrupted.is_some() {
            talk.say("interrupted: letters that are gone are put right, the same command does the rest");
        }
        if !broken {
            talk.next(&next);
        }
        Ok(())
    }

    fn document(&self, args: &ReplayArgs, (complete, next): (bool, &str)) -> Value {
        let stay = self.stay.iter().map(|(code, (letters, example, why))| {
            json!({ "code": code, "letters": letters, "example": example, "why": why })
        });
        json!({
            "schema": "twinline.deadletter.replay/1",
            "executed": args.execute,
            "complete": complete,
            "repaired": self.repaired,
            "obsolete": self.obsolete,
            "raw": self.raw,
            "points": self.points,
            "stay": stay.collect::<Vec<_>>(),
            "next_steps": [next],
        })
    }

    fn text(&self, talk: Talk, args: &ReplayArgs) -> String {
        let mut out = String::new();
        let done = args.execute;
        let good = if done { format!("{} ", talk.mark(Mark::Good)) } else { String::new() };
        let word = |now: &'static str, would: &'static str| if done { now } else { would };
        // Writing to a String does not fail.
        if args.raw {
            let (lines, sent) = (plural(self.raw, "letter"), word("sent unchanged", "would be sent unchanged"));
            let _ = writeln!(out, "{good}{lines} {sent}; newer values of the same cells are overwritten");
        } else {
            let (letters, points) = (plural(self.repaired, "letter"), plural(self.points, "point"));
            let how = word("repaired with", "would be repaired with");
            let _ = writeln!(out, "{good}{letters} {how} what the source holds now, {points}");
        }
        if self.obsolete > 0 {
            let gone = word("obsolete and gone", "obsolete");
            let _ =
                writeln!(out, "{good}{} {gone}: the source has none of their cells", plural(self.obsolete, "letter"));
        }
        for (code, (letters, example, why)) in &self.stay {
            let stay = word("left", "would be left");
            let (mark, letters) = (talk.mark(Mark::Bad), plural(*letters, "letter"));
            let _ = writeln!(out, "{mark} {letters} {stay}, {code}: {why} ({example})");
        }
        out
    }
}
