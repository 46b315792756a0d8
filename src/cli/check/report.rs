//! All findings together: the screen, the document, the exit code.

use serde::Serialize;

use super::finding::{About, Code, Finding, State};
use crate::cli::exit::Exit;
use crate::cli::talk::{Mark, Talk};
use crate::config::Config;

/// Names shown in one sentence.
const SHOWN_MAX: usize = 10;
/// Findings of one code on the screen; the document has all.
const LINES_MAX: usize = 25;

/// What the check came to.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    schema: &'static str,
    /// Nothing failed.
    ok: bool,
    exit_code: u8,
    source: String,
    destination: String,
    data_dir: String,
    pub(super) findings: Vec<Finding>,
    pub(super) summary: Summary,
    next_steps: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Summary {
    pub(super) ok: usize,
    pub(super) warning: usize,
    pub(super) failed: usize,
    pub(super) unknown: usize,
}

impl Report {
    /// `option`: ` -c FILE` where the next command needs it; `running`: a twinline runs with this configuration.
    pub(super) fn new(config: &Config, findings: Vec<Finding>, option: &str, running: bool) -> Self {
        let count = |state| findings.iter().filter(|finding| finding.state == state).count();
        let summary = Summary {
            ok: count(State::Ok),
            warning: count(State::Warning),
            failed: count(State::Failed),
            unknown: count(State::Unknown),
        };
        let exit = exit(&findings);
        let next = match (exit, running) {
            (Exit::Success, false) => format!("twinline run{option}"),
            (Exit::Success, true) => format!("twinline status{option}"),
            _ => format!("put right what is marked ✗, then twinline check{option}"),
        };
        Self {
            schema: "twinline.check/1",
            ok: exit == Exit::Success,
            exit_code: exit as u8,
            source: config.source.server.url.to_string(),
            destination: config
                .destinations
                .iter()
                .map(|one| one.server.url.to_string())
                .collect::<Vec<_>>()
                .join(", "),
            data_dir: config.data_dir.display().to_string(),
            findings,
            summary,
            next_steps: vec![next],
        }
    }

    pub(super) fn exit(&self) -> Exit {
        exit(&self.findings)
    }

    pub(super) fn next(&self) -> &str {
        self.next_steps.first().map_or("", String::as_str)
    }

    /// The screen.
    pub(super) fn text(&self, talk: Talk) -> String {
        let mut out = String::new();
        let headings = [
            (About::Source, format!("source  {}", self.source)),
            (About::Destination, format!("destination  {}", self.destination)),
            (About::Mapping, "mapping".to_owned()),
            (About::Queue, format!("queue  {}", self.data_dir)),
        ];
        for (about, heading) in headings {
            let below: Vec<&Finding> = self.findings.iter().filter(|finding| finding.about == about).collect();
            if !below.is_empty() {
                out.push_str(&heading);
                out.push('\n');
                section(&mut out, talk, &below);
            }
        }
        let Summary { ok, warning, failed, unknown } = self.summary;
        let plural = if warning == 1 { "" } else { "s" };
        out.push_str(&format!("{failed} failed, {warning} warning{plural}, {unknown} unknown, {ok} in order\n"));
        out
    }
}

fn section(out: &mut String, talk: Talk, findings: &[&Finding]) {
    let mut shown = std::collections::BTreeMap::<String, usize>::new();
    for finding in findings {
        let before = shown.entry(finding.code.to_string()).or_default();
        *before += 1;
        if *before <= LINES_MAX {
            line(out, talk, finding);
        }
    }
    for (code, number) in shown.into_iter().filter(|(_, number)| *number > LINES_MAX) {
        out.push_str(&format!("    … and {} more of {code}; all with -o json\n", number - LINES_MAX));
    }
}

fn line(out: &mut String, talk: Talk, finding: &Finding) {
    let (mark, word) = match finding.state {
        State::Ok => (Mark::Good, ""),
        State::Warning => (Mark::Warning, "warning: "),
        State::Failed => (Mark::Bad, "failed: "),
        State::Unknown => (Mark::Unknown, "unknown: "),
    };
    out.push_str(&format!("  {} {word}{}", talk.mark(mark), printable(&finding.text)));
    if finding.state != State::Ok {
        out.push_str(&format!("   {}", finding.code));
    }
    out.push('\n');
    for (number, fix) in finding.fix.iter().flat_map(|fix| fix.lines()).enumerate() {
        out.push_str(if number == 0 { "      fix: " } else { "           " });
        out.push_str(&printable(fix));
        out.push('\n');
    }
}

/// Names come from servers; what goes to a terminal must not steer it.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// What a script hears: the most basic of all faults decides.
fn exit(findings: &[Finding]) -> Exit {
    let failed = |codes: &[Code]| findings.iter().any(|f| f.state == State::Failed && codes.contains(&f.code));
    if failed(&[Code::REACHABLE]) {
        Exit::Unreachable
    } else if failed(&[Code::CREDENTIALS, Code::WRITE_RIGHTS]) {
        Exit::Auth
    } else if findings.iter().any(|finding| finding.state == State::Failed) {
        Exit::No
    } else {
        Exit::Success
    }
}

/// The first few of many names.
pub(super) fn some_of(names: &[String]) -> String {
    let mut text = names.iter().take(SHOWN_MAX).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN_MAX {
        text.push_str(&format!(" and {} more", names.len() - SHOWN_MAX));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::finding::Group;
    use super::*;
    use crate::cli::talk::{Color, Output};

    fn finding(state: State, code: Code) -> Finding {
        Finding::new(Group::Reach, About::Source, state, code, "text").fix("do\nthis")
    }

    #[test]
    fn the_most_basic_fault_decides_the_exit_code() {
        let (reach, auth, map) = (
            finding(State::Failed, Code::REACHABLE),
            finding(State::Failed, Code::CREDENTIALS),
            finding(State::Failed, Code::NO_BUCKET),
        );
        assert_eq!(exit(&[map.clone(), auth.clone(), reach]), Exit::Unreachable);
        assert_eq!(exit(&[map.clone(), auth]), Exit::Auth);
        assert_eq!(exit(&[map]), Exit::No);
        let soft = [finding(State::Warning, Code::CREDENTIALS), finding(State::Unknown, Code::REACHABLE)];
        assert_eq!(exit(&soft), Exit::Success);
    }

    #[test]
    fn a_name_cannot_steer_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\rc → d"), "a\u{fffd}[2Jb\u{fffd}c → d");
    }

    #[test]
    fn the_screen_has_shape_word_code_and_fix_and_folds_what_repeats() {
        let talk = Talk::new(Output::Text, false, Color::Never);
        let mut out = String::new();
        let bad = finding(State::Failed, Code::NO_BUCKET);
        section(&mut out, talk, &vec![&bad; LINES_MAX + 3]);
        assert!(out.starts_with("  ✗ failed: text   TWL-2313\n      fix: do\n           this\n"), "{out}");
        assert!(out.ends_with("… and 3 more of TWL-2313; all with -o json\n"), "{out}");
    }
}
