//! The report for monitoring (`-o nagios`) and for build servers (`-o junit`).

use std::fmt::Write as _;

use super::finding::{Finding, State};
use super::report::{Report, printable};
use crate::cli::exit::Exit;

/// Of the first finding so much is told: monitoring shows one line.
const TOLD_CHARS: usize = 300;

/// One line with figures, and the plugin's exit code: 0 OK, 1 WARNING, 2 CRITICAL.
pub(super) fn nagios(report: &Report) -> (String, Exit) {
    let counts = report.summary;
    let of = |state: State| report.findings.iter().find(|finding| finding.state == state);
    let (word, exit, first) = match (of(State::Failed), of(State::Warning)) {
        (Some(failed), _) => ("CRITICAL", Exit::Usage, Some(failed)),
        (None, Some(warned)) => ("WARNING", Exit::Failed, Some(warned)),
        (None, None) => ("OK", Exit::Success, None),
    };
    let mut line = format!(
        "{word} - {} failed, {} warnings, {} unknown, {} in order",
        counts.failed, counts.warning, counts.unknown, counts.ok
    );
    if let Some(finding) = first {
        let text = format!("; {} {}: {}", finding.code, heading(finding), finding.text);
        // The bar begins the figures.
        line.extend(printable(&text).replace('|', "/").chars().take(TOLD_CHARS));
    }
    let figures = format!(
        " | failed={} warnings={} unknown={} ok={}\n",
        counts.failed, counts.warning, counts.unknown, counts.ok
    );
    (line + &figures, exit)
}

/// What monitoring hears when the check itself could not be done.
pub(super) fn nagios_unknown(why: &str) -> (String, Exit) {
    let line: String =
        printable(why.lines().next().unwrap_or_default()).replace('|', "/").chars().take(TOLD_CHARS).collect();
    (format!("UNKNOWN - {line}\n"), Exit::No)
}

/// One test case for each check: failed ones are failures, what could not be found out is skipped, warnings are output.
pub(super) fn junit(report: &Report) -> String {
    let counts = report.summary;
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    // Writing into a string does not fail.
    let _ = writeln!(
        out,
        "  <testsuite name=\"twinline check\" tests=\"{}\" failures=\"{}\" errors=\"0\" skipped=\"{}\">",
        report.findings.len(),
        counts.failed,
        counts.unknown
    );
    for finding in &report.findings {
        let class = format!("twinline.check.{}", word(finding.group));
        let name = format!("{} {}: {}", finding.code, heading(finding), finding.text);
        let _ = write!(out, "    <testcase classname=\"{}\" name=\"{}\"", xml(&class), xml(&name));
        let told = match &finding.fix {
            Some(fix) => format!("{}\nfix: {fix}", finding.text),
            None => finding.text.clone(),
        };
        let _ = match finding.state {
            State::Ok => writeln!(out, "/>"),
            State::Failed => writeln!(
                out,
                "><failure message=\"{}\" type=\"{}\">{}</failure></testcase>",
                xml(&finding.text),
                finding.code,
                xml(&told)
            ),
            State::Unknown => writeln!(out, "><skipped message=\"{}\"/></testcase>", xml(&finding.text)),
            State::Warning => writeln!(out, "><system-out>warning: {}</system-out></testcase>", xml(&told)),
        };
    }
    out.push_str("  </testsuite>\n</testsuites>\n");
    out
}

fn heading(finding: &Finding) -> String {
    word(finding.about)
}

/// The word that stands for it in every other form.
fn word(of: impl serde::Serialize) -> String {
    serde_json::to_value(of).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

/// Text in an element or an attribute.
fn xml(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push_str("&#10;"),
            // XML 1.0 has no place for these.
            c if c.is_control() || c == '\u{fffe}' || c == '\u{ffff}' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::finding::{About, Code, Group};
    use super::*;

    fn report(states: &[State]) -> Report {
        let finding = |state: &State| {
            let text = "a <b> & \"c\" | d\u{1}\n";
            Finding::new(Group::Retention, About::Destination, *state, Code::KEEPS, text).fix("do\nthis")
        };
        let text = "listen = \"127.0.0.1:1\"\ndata_dir = \"x\"\n[source]\nurl = \"http://a:1\"\n[destination]\nurl = \"http://b:1\"\n";
        let config = crate::config::parse(text, &|_| None).unwrap().config;
        Report::new(&config, states.iter().map(finding).collect(), "", false)
    }

    #[test]
    fn monitoring_gets_one_line_and_its_own_exit_codes() {
        for (states, begin, code) in [
            (&[State::Ok, State::Unknown][..], "OK - 0 failed, 0 warnings, 1 unknown, 1 in order | failed=0", 0),
            (
                &[State::Ok, State::Warning],
                "WARNING - 0 failed, 1 warnings, 0 unknown, 1 in order; TWL-2101 destination: a",
                1,
            ),
            (&[State::Warning, State::Failed], "CRITICAL - 1 failed, 1 warnings, ", 2),
        ] {
            let (line, exit) = nagios(&report(states));
            assert!(line.starts_with(begin), "{line}");
            assert_eq!((exit as u8, line.lines().count(), line.matches('|').count()), (code, 1, 1), "{line}");
        }
        let (line, exit) = nagios_unknown("no file\nmore");
        assert_eq!((&line[..], exit as u8), ("UNKNOWN - no file\n", 3));
    }

    #[test]
    fn a_build_server_gets_one_case_for_each_check() {
        let text = junit(&report(&[State::Ok, State::Warning, State::Failed, State::Unknown]));
        assert!(text.contains("tests=\"4\" failures=\"1\" errors=\"0\" skipped=\"1\""), "{text}");
        assert_eq!(text.matches("<testcase ").count(), 4);
        assert!(text.contains("classname=\"twinline.check.retention\""), "{text}");
        assert!(
            text.contains("<failure message=\"a &lt;b&gt; &amp; &quot;c&quot; | d\u{fffd}&#10;\" type=\"TWL-2101\">"),
            "{text}"
        );
        assert!(!text.contains('\u{1}') && text.contains("fix: do&#10;this"), "{text}");
    }
}
