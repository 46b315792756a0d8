//! `twinline deadletter ls`: groups by reason and measurement, each with an example.

use std::collections::HashMap;
use std::fmt::Write;

use serde_json::{Value, json};

use super::letter::Letter;
use super::marked::{Shown, said};
use super::store::{Next, Store};
use super::{FilterArgs, rows};
use crate::base::size::ByteSize;
use crate::cli::Global;
use crate::cli::exit::{Exit, Failure};
use crate::cli::queue::stop::Stop;
use crate::cli::queue::text::{plural, printable, time, time_or_null};
use crate::cli::talk::{Mark, Talk};
use crate::control::letter_name;
use crate::line::Reading;
use crate::state::{LetterId, LetterQuery};

/// Options of `ls`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct LsArgs {
    #[command(flatten)]
    pub(super) filter: FilterArgs,
    /// Show so many groups, those with the most lines, or letters at most
    #[arg(long, value_name = "NUMBER", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(super) limit: u32,
    /// One row for each letter instead of groups
    #[arg(long)]
    pub(super) letters: bool,
    /// Begin with this letter
    #[arg(long, value_name = "ID", requires = "letters", value_parser = super::show::parse_id)]
    pub(super) from: Option<LetterId>,
}

/// Groups that are told apart, some 500 bytes each; letters of further ones are only counted.
const GROUPS_MAX: usize = 10_000;
/// Bytes of a measurement's name that tell groups apart.
const NAME_BYTES_MAX: usize = 1000;

/// Letters of one reason and measurement.
#[derive(Debug)]
struct Group {
    lines: u64,
    bytes: u64,
    ids: (LetterId, LetterId),
    times: Option<(i64, i64)>,
    example: Example,
}

#[derive(Debug)]
struct Example {
    id: LetterId,
    route: String,
    said: String,
    shown: Shown,
}

#[derive(Debug, Default)]
struct Groups {
    all: HashMap<(String, String), Group>,
    lines: u64,
    bytes: u64,
    /// Of each reason, of which there are a few, all its lines and bytes.
    reasons: HashMap<String, (u64, u64)>,
}

impl Groups {
    fn add(&mut self, letter: &Letter, reading: Option<Reading>) {
        let bytes = letter.stored.text.len() as u64;
        self.lines += 1;
        self.bytes += bytes;
        let reason = self.reasons.entry(letter.stored.code.clone()).or_default();
        *reason = (reason.0 + 1, reason.1 + bytes);
        let mut measurement = letter.measurement_text();
        measurement.truncate(measurement.floor_char_boundary(NAME_BYTES_MAX));
        let key = (letter.stored.code.clone(), measurement);
        let (id, at) = (letter.stored.id, letter.time_ns);
        if let Some(group) = self.all.get_mut(&key) {
            group.lines += 1;
            group.bytes += bytes;
            group.ids.1 = id;
            if let Some(at) = at {
                let (from, to) = group.times.unwrap_or((at, at));
                group.times = Some((from.min(at), to.max(at)));
            }
        } else if self.all.len() < GROUPS_MAX {
            let shown = Shown::of(letter, reading);
            let example = Example { id, route: letter.route.clone(), said: said(letter), shown };
            let group = Group { lines: 1, bytes, ids: (id, id), times: at.map(|at| (at, at)), example };
            self.all.insert(key, group);
        }
    }

    /// By reason, that with the most lines first, and by measurement within it.
    fn sorted(self) -> Vec<ByReason> {
        let mut known: HashMap<String, Vec<(String, Group)>> = HashMap::new();
        for ((code, measurement), group) in self.all {
            known.entry(code).or_default().push((measurement, group));
        }
        let reason = |(code, (lines, bytes)): (String, (u64, u64))| {
            let mut groups = known.remove(&code).unwrap_or_default();
            groups.sort_by(|(a, one), (b, two)| two.lines.cmp(&one.lines).then_with(|| a.cmp(b)));
            let others = lines - groups.iter().map(|(_, group)| group.lines).sum::<u64>();
            ByReason { code, lines, bytes, groups, others }
        };
        let mut reasons: Vec<ByReason> = self.reasons.into_iter().map(reason).collect();
        reasons.sort_by(|one, two| two.lines.cmp(&one.lines).then_with(|| one.code.cmp(&two.code)));
        reasons
    }
}

/// All letters of one reason.
#[derive(Debug)]
struct ByReason {
    code: String,
    lines: u64,
    bytes: u64,
    groups: Vec<(String, Group)>,
    /// Lines in no group, beyond [`GROUPS_MAX`].
    others: u64,
}

pub(super) fn run(global: &Global, store: &Store<'_>, args: &LsArgs) -> Result<Exit, Failure> {
    if args.letters {
        return rows::run(global, store, args);
    }
    let (talk, stop) = (global.talk(), Stop::listen()?);
    let mut groups = Groups::default();
    let walked = store.walk((&args.filter, LetterQuery::default()), (talk, &stop), |letter| {
        groups.add(&letter, store.reading());
        Ok(Next::More)
    })?;
    let (lines, bytes, all) = (groups.lines, groups.bytes, groups.all.len());
    let reasons = groups.sorted();
    let next = match reasons.iter().find_map(|reason| reason.groups.first()) {
        Some((_, group)) => store.place.letters_command(&format!("show {}", letter_name(group.example.id))),
        None => "twinline status".to_owned(),
    };
    let mut left = args.limit as usize;
    if talk.json() {
        let shown: Vec<Value> = reasons.iter().map(|reason| reason.document(&mut left)).collect();
        talk.document(&json!({
            "schema": "twinline.deadletter.ls/1",
            "data_dir": store.place.data_dir.display().to_string(),
            "running": store.is_running(),
            "complete": walked.interrupted.is_none(),
            "lines": lines,
            "bytes": bytes,
            "groups": all,
            "reasons": shown,
            "next_steps": [next],
        }))?;
    } else {
        let mut out = String::new();
        if lines == 0 {
            let _ = writeln!(out, "{} no dead letters{}", talk.mark(Mark::Good), of(&args.filter));
        }
        reasons.iter().for_each(|reason| reason.text(talk, &mut left, &mut out));
        talk.data(&out)?;
    }
    if walked.interrupted.is_some() {
        talk.say("interrupted: there may be more");
    }
    talk.next(&next);
    Ok(walked.interrupted.unwrap_or(Exit::Success))
}

fn of(filter: &FilterArgs) -> String {
    let words = filter.words();
    if words.is_empty() { words } else { format!(" with{words}") }
}

impl ByReason {
    fn text(&self, talk: Talk, left: &mut usize, out: &mut String) {
        let Self { code, lines, bytes, groups, others } = self;
        let (mark, lines, size) = (talk.mark(Mark::Bad), plural(*lines, "line"), ByteSize(*bytes));
        let _ = writeln!(out, "{mark} {code}: {lines}, {size}");
        let shown = (*left).min(groups.len());
        *left -= shown;
        groups[..shown].iter().for_each(|(measurement, group)| group.text(measurement, out));
        if groups.len() > shown {
            let _ = writeln!(out, "  and {} more (--limit)", plural((groups.len() - shown) as u64, "measurement"));
        }
        if *others > 0 {
            let _ = writeln!(out, "  and {} of further measurements (--route, --measurement)", plural(*others, "line"));
        }
    }

    fn document(&self, left: &mut usize) -> Value {
        let Self { code, lines, bytes, groups, others } = self;
        let shown = (*left).min(groups.len());
        *left -= shown;
        json!({
            "reason": code,
            "lines": lines,
            "bytes": bytes,
            "measurements": groups[..shown].iter().map(|(name, group)| group.document(name)).collect::<Vec<_>>(),
            "more_measurements": groups.len() - shown,
            "lines_in_no_group": others,
        })
    }
}

impl Group {
    fn text(&self, measurement: &str, out: &mut String) {
        let name: String = measurement.chars().map(printable).collect();
        let (first, last) = self.ids;
        let when = match self.times {
            Some((from, to)) if from == to => format!(", of {}", time(from)),
            Some((from, to)) => format!(", of {} to {}", time(from), time(to)),
            None => String::new(),
        };
        let ids = match first == last {
            true => letter_name(first),
            false => format!("{} to {}", letter_name(first), letter_name(last)),
        };
        let (lines, size) = (plural(self.lines, "line"), ByteSize(self.bytes));
        let _ = writeln!(out, "  {name}: {lines}, {size}, {ids}{when}");
        let Example { id, route, said, shown } = &self.example;
        let route: String = route.chars().map(printable).collect();
        let _ = writeln!(out, "    {} of {route}: {said}", letter_name(*id));
        out.push_str(&shown.lines("    "));
    }

    fn document(&self, measurement: &str) -> Value {
        let mut example = self.example.shown.document();
        example.insert("id".to_owned(), json!(letter_name(self.example.id)));
        example.insert("route".to_owned(), json!(self.example.route));
        example.insert("said".to_owned(), json!(self.example.said));
        json!({
            "measurement": measurement,
            "lines": self.lines,
            "bytes": self.bytes,
            "first": letter_name(self.ids.0),
            "last": letter_name(self.ids.1),
            "first_lsn": self.ids.0.0.0,
            "last_lsn": self.ids.1.0.0,
            "from": self.times.and_then(|(from, _)| time_or_null(from)),
            "to": self.times.and_then(|(_, to)| time_or_null(to)),
            "example": example,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Lsn;
    use crate::line::Precision;
    use crate::state::StoredLetter;

    /// Bounded, and no line falls out of the sums for that.
    #[test]
    fn letters_of_very_many_measurements_are_in_the_sums_of_their_reason() {
        let mut groups = Groups::default();
        let many = GROUPS_MAX as u64 + 7;
        for at in 0..many {
            let (route, code, reason) = (String::new(), "parse".to_owned(), String::new());
            let text = format!("m{at} v=1 {at}").into_bytes();
            let stored = StoredLetter { id: (Lsn(at), 0), route, code, reason, text };
            groups.add(&Letter::new(stored, Precision::Nanosecond), None);
        }
        let [reason] = &groups.sorted()[..] else { panic!("one reason") };
        assert_eq!((reason.lines, reason.groups.len(), reason.others), (many, GROUPS_MAX, 7));
    }
}
