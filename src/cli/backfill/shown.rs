//! How far a copy is, on one line of a terminal, or now and then where it goes elsewhere.

use std::io::IsTerminal as _;
use std::time::Duration;

use super::report;
use crate::backfill::progress::{Progress, View};
use crate::base::clock::SharedClock;
use crate::cli::talk::Talk;

/// How often it is shown to a terminal, and to anything else.
const SHOW_EVERY: Duration = Duration::from_millis(500);
const TELL_EVERY: Duration = Duration::from_secs(30);

/// Whoever shows it.
#[derive(Debug)]
pub(super) struct Shown {
    talk: Talk,
    began: Duration,
    last: Duration,
}

impl Shown {
    /// From this time on, monotonic.
    pub(super) fn new(talk: Talk, now: Duration) -> Self {
        Self { talk, began: now, last: now }
    }

    /// Shows it, if it is time to.
    pub(super) fn show(&mut self, view: &View, now: Duration) {
        let screen = has_screen(self.talk);
        let every = if screen { SHOW_EVERY } else { TELL_EVERY };
        if now.saturating_sub(self.last) < every {
            return;
        }
        self.last = now;
        let line = line(view, now.saturating_sub(self.began));
        if screen {
            eprint!("\r\x1b[K{line}");
        } else if !self.talk.json() {
            self.talk.say(&line);
        }
    }

    /// Takes it from the terminal.
    pub(super) fn clear(talk: Talk) {
        if has_screen(talk) {
            eprint!("\r\x1b[K");
        }
    }
}

/// Shows it for ever.
pub(super) async fn always(talk: Talk, progress: &Progress, clock: &SharedClock) {
    let mut shown = Shown::new(talk, clock.monotonic());
    loop {
        tokio::time::sleep(SHOW_EVERY).await;
        tell(talk, progress);
        shown.show(&progress.view(), clock.monotonic());
    }
}

/// Tells what is to be told.
pub(super) fn tell(talk: Talk, progress: &Progress) {
    for text in progress.told() {
        Shown::clear(talk);
        talk.say(&text);
    }
}

/// Whether progress goes to a terminal.
fn has_screen(talk: Talk) -> bool {
    std::io::stderr().is_terminal() && !talk.quiet && !talk.json()
}

/// One line of progress.
fn line(view: &View, since: Duration) -> String {
    let seconds = since.as_secs_f64().max(0.001);
    let rate = view.points as f64 / seconds;
    let left = report::left(view.left_s);
    let more = [(view.refused, "lines refused"), (view.failed, "chunks given up"), (view.settling, "chunks settling")];
    let more: String =
        more.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!(", {count} {what}")).collect();
    let waits =
        view.throttled.as_ref().or(view.waits.as_ref()).map_or_else(String::new, |why| format!(" - waits: {why}"));
    let done = report::percent(view.done_ppm);
    format!("{done}{left}, {} points, {rate:.0}/s{more}: {}{waits}", view.points, view.now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_tells_the_rate_and_what_it_waits_for() {
        let view = View {
            points: 1000,
            done_ppm: 123_456,
            left_s: Some(11),
            refused: 1,
            now: "d m".to_owned(),
            waits: Some("no room".to_owned()),
            ..View::default()
        };
        let text = line(&view, Duration::from_secs(10));
        assert_eq!(text, "12.3 % done, 11.0 s left, 1000 points, 100/s, 1 lines refused: d m - waits: no room");
        let throttled = Some("flag-file: /run/wait is there".to_owned());
        let text = line(&View { left_s: None, throttled, ..view }, Duration::from_secs(10));
        assert!(!text.contains("left") && text.ends_with("waits: flag-file: /run/wait is there"), "{text}");
    }
}
