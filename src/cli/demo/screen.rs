//! What a person sees while it runs: the story line by line, and below it, on a terminal, where the lines are right now.

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::cli::talk::Talk;

/// Where the lines are at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
}

/// The story on stderr, with bars where stderr is a terminal.
#[derive(Debug)]
pub(super) struct Screen {
    talk: Talk,
    bars: MultiProgress,
    clock: ProgressBar,
    rows: [ProgressBar; 6],
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
        Self { talk, bars, clock, rows }
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
            "arrived",
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
        let twinline = if now.twinline_up { "up" } else { "DEAD" };
        let destination = if now.destination_up { "up" } else { "AWAY" };
        let states = format!("source up · Twinline {twinline} · destination {destination}");
        self.clock.set_message(format!("{passed_s} s of about {total_s} s      {states}"));
        self.clock.tick();
    }

    /// Takes the bars away; the story stays.
    pub(super) fn clear(&self) {
        // As above.
        let _ = self.bars.clear();
    }
}

/// The figures as one line of text.
fn in_words(now: &Figures) -> String {
    format!(
        "{} lines acknowledged · source {} · queue {} · destination {} · in doubt {}",
        count(now.acknowledged),
        count(now.source),
        count(now.queued),
        count(now.destination),
        count(now.doubt)
    )
}

/// With a comma after each thousand.
pub(super) fn count(number: u64) -> String {
    indicatif::HumanCount(number).to_string()
}
