//! What a person sees while it runs: the story line by line, and below it, on a terminal, where the lines are right now.

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::copying::Copied;
use crate::base::clock::rfc3339;
use crate::cli::talk::Talk;
use crate::db::read::Window;
use crate::state::JobState;

/// Where the lines are at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Figures {
    pub(super) written: u64,
    pub(super) acknowledged: u64,
    pub(super) source: u64,
    pub(super) destination: u64,
    /// As Twinline said last.
    pub(super) queued: u64,
    pub(super) doubt: u64,
    pub(super) twinline_up: bool,
    pub(super) destination_up: bool,
    /// Points of history that were there in the beginning.
    pub(super) history: u64,
    pub(super) copied: Copied,
}

/// The story on stderr, with bars where stderr is a terminal.
#[derive(Debug)]
pub(super) struct Screen {
    talk: Talk,
    bars: MultiProgress,
    clock: ProgressBar,
    rows: [ProgressBar; 6],
    history: ProgressBar,
    /// What the copy is at.
    copies: ProgressBar,
}

const ROWS: [&str; 6] = ["written", "acknowledged", "source", "queue", "destination", "in doubt"];

impl Screen {
    pub(super) fn new(talk: Talk) -> Self {
        let target = if talk.quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr_with_hz(10) };
        let bars = MultiProgress::with_draw_target(target);
        let style = |template: &str| {
            // The templates are constants of this file; the default style shows the same figures, less prettily.
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
        };
        let clock = bars.add(ProgressBar::new_spinner().with_style(style("{spinner} {msg}")));
        let bar = style("  {prefix:<12} {bar:34} {human_pos:>9}  {msg}").progress_chars("█▌ ");
        let rows = ROWS.map(|name| bars.add(ProgressBar::new(1).with_style(bar.clone()).with_prefix(name)));
        let history = bars.add(ProgressBar::new(1).with_style(bar).with_prefix("history"));
        let copies = bars.add(ProgressBar::new_spinner().with_style(style("  {prefix:<12} {wide_msg}")));
        Self { talk, bars, clock, rows, history, copies }
    }

    /// A line of the story; it stays on the screen.
    pub(super) fn tell(&self, line: &str) {
        if self.bars.is_hidden() {
            self.talk.say(line);
        } else {
            // Where the terminal is gone, nobody reads.
            let _ = self.bars.println(line);
        }
    }

    /// The same figures as a line, where there are no bars to show them.
    pub(super) fn tell_figures(&self, now: &Figures) {
        if self.bars.is_hidden() {
            self.talk.say(&format!("        {}", in_words(now)));
        }
    }

    /// The figures of this moment, so many seconds after the start.
    pub(super) fn show(&self, now: &Figures, passed_s: u64, total_s: u64) {
        let whole = now.written.max(1);
        let values = [now.written, now.acknowledged, now.source, now.queued, now.destination, now.doubt];
        let words = [
            "lines by clients",
            "answered: success",
            "arrived",
            "on Twinline's disk",
            "delivered",
            if now.doubt == 0 { "" } else { "fate unknown" },
        ];
        for ((row, value), word) in self.rows.iter().zip(values).zip(words) {
            // Both at once: between the two it would be drawn out of proportion.
            row.update(|state| {
                state.set_len(whole.max(value));
                state.set_pos(value);
            });
            row.set_message(word);
        }
        self.show_copy(now);
        let twinline = if now.twinline_up { "up" } else { "DEAD" };
        let destination = if now.destination_up { "up" } else { "AWAY" };
        let states = format!("source up · Twinline {twinline} · destination {destination}");
        self.clock.set_message(format!("{passed_s} s of about {total_s} s      {states}"));
        self.clock.tick();
    }

    fn show_copy(&self, now: &Figures) {
        let Some(state) = now.copied.state else { return };
        self.history.update(|bar| {
            bar.set_len(now.history.max(now.copied.points).max(1));
            bar.set_pos(now.copied.points);
        });
        let is_done = state == JobState::Done;
        let rate = format!("points copied, {}/s", count(now.copied.rate as u64));
        self.history.set_message(if is_done { "points copied".to_owned() } else { rate });
        self.copies.set_message(if is_done { String::new() } else { what_is_copied(now) });
        self.copies.tick();
    }

    /// Takes the bars away; the story stays.
    pub(super) fn clear(&self) {
        // As above.
        let _ = self.bars.clear();
    }
}

/// What the copy is at, and who waits for it.
fn what_is_copied(now: &Figures) -> String {
    if !now.twinline_up {
        return "goes on when Twinline is there again".to_owned();
    }
    if !now.destination_up {
        return "waits for the destination".to_owned();
    }
    let day = |time_ns: i64| rfc3339(time_ns).chars().take(10).collect::<String>();
    let at = match now.copied.now {
        Some(Window { start_ns, end_ns }) => match (day(start_ns), day(end_ns.saturating_sub(1))) {
            (first, last) if first == last => first,
            (first, last) => format!("{first} to {last}"),
        },
        None if now.copied.waits.is_some() => return "waits a moment, and goes on by itself".to_owned(),
        None => return String::new(),
    };
    match now.copied.waiting {
        0 => at,
        lines => format!("{at}; {} new lines of that time wait until it is done", count(lines)),
    }
}

/// The figures as one line of text.
fn in_words(now: &Figures) -> String {
    let mut text = format!(
        "{} lines acknowledged · source {} · queue {} · destination {} · in doubt {}",
        count(now.acknowledged),
        count(now.source),
        count(now.queued),
        count(now.destination),
        count(now.doubt)
    );
    match now.copied.state {
        None => {}
        Some(JobState::Done) => text.push_str(&format!(" · history {} points", count(now.copied.points))),
        // Points that clients write meanwhile are copied too.
        Some(_) => {
            let (copied, history) = (count(now.copied.points), count(now.history));
            text.push_str(&format!(" · history {copied} of about {history} points"));
        }
    }
    text
}

/// With a comma after each thousand.
pub(super) fn count(number: u64) -> String {
    indicatif::HumanCount(number).to_string()
}
