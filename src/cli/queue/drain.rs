//! `twinline queue drain`: waits until everything that is durable now is delivered.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::place::{Place, failure};
use super::stop::Stop;
use super::text::plural;
use crate::base::Lsn;
use crate::base::clock::{Clock, SystemClock};
use crate::base::size::{parse_span, show_span};
use crate::cli::Global;
use crate::cli::exit::{Exit, Failure};
use crate::cli::talk::{Mark, Talk};
use crate::control::QueueFacts;
use crate::delivery::PauseView;
use crate::wal::Kind;
use crate::wal::look::{Look, Sight};

/// Options of `drain`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct DrainArgs {
    /// Wait until it is done; without it, say what is left
    #[arg(long)]
    wait: bool,
    /// Give up after this: exit code 3
    #[arg(long, value_name = "SPAN", value_parser = parse_span, requires = "wait")]
    timeout: Option<Duration>,
}

const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Without a step forward for so long, the reason is told.
const STILL_MAX: Duration = Duration::from_secs(3);
/// … and again after this, as is the progress where stderr is no terminal.
const TOLD_EVERY: Duration = Duration::from_secs(15);

pub(super) fn run(global: &Global, place: &Place, args: &DrainArgs) -> Result<Exit, Failure> {
    let (talk, stop, clock) = (global.talk(), Stop::listen()?, SystemClock::new());
    let (look, life) = place.look()?;
    let Some(first) = life.facts().cloned().map(of_all) else { return Err(place.nobody_runs()) };
    let mut watch = Watch::new(talk, last_write(&look)?, &first);
    let began = clock.monotonic();
    let (mut now, mut exit) = (first.clone(), None);
    while args.wait && !watch.is_done(&now) {
        let passed = clock.monotonic().saturating_sub(began);
        exit = stop.asked().or_else(|| args.timeout.is_some_and(|timeout| passed >= timeout).then_some(Exit::No));
        if exit.is_some() {
            break;
        }
        watch.tell(&now, clock.monotonic());
        pause();
        now = of_all(place.running()?);
    }
    watch.bar.finish_and_clear();
    let done = watch.is_done(&now);
    let exit = exit.unwrap_or(if done { Exit::Success } else { Exit::No });
    let next = next_step(place, &now, done, args.wait);
    if talk.json() {
        talk.document(&json!({
            "schema": "twinline.queue.drain/1",
            "drained": done,
            "up_to": watch.target,
            "floor": now.floor,
            "waiting_lines": now.waiting_lines,
            "held_up_by": reasons(&now),
            "next_steps": [next],
        }))?;
    } else {
        talk.data(&watch.text(&now, done, exit, clock.monotonic().saturating_sub(began)))?;
    }
    talk.next(&next);
    Ok(exit)
}

/// Of several destinations: the lowest floor, and all that waits for any of them or stands still.
fn of_all(first: QueueFacts) -> QueueFacts {
    if first.others.is_empty() {
        return first;
    }
    let each = || std::iter::once(&first).chain(&first.others);
    let named = |one: &QueueFacts, text: &str| format!("{}: {text}", one.destination);
    let paused = each().flat_map(|one| {
        one.paused.iter().map(move |pause| PauseView { what: named(one, &pause.what), ..pause.clone() })
    });
    QueueFacts {
        floor: each().map(|one| one.floor).min().unwrap_or(0),
        waiting_lines: each().map(|one| one.waiting_lines).max().unwrap_or(0),
        failed: each().find_map(|one| Some(named(one, one.failed.as_ref()?))),
        paused: paused.collect(),
        held_since_ns: None,
        ..first.clone()
    }
}

fn next_step(place: &Place, now: &QueueFacts, done: bool, waited: bool) -> String {
    match done {
        true => place.command("status"),
        false if now.held_since_ns.is_some() => place.command("resume"),
        false if !reasons(now).is_empty() => "twinline check".to_owned(),
        false if waited => place.command("status"),
        false => place.command("drain --wait"),
    }
}

/// The last record that is no mark: floors pass a mark only with what follows it.
fn last_write(look: &Look) -> Result<Lsn, Failure> {
    for segment in look.segments.iter().rev() {
        let mut last = Lsn::ZERO;
        let Some(mut scan) = look.scan(segment, false).map_err(failure)? else { continue };
        while let Some(sight) = scan.next().map_err(failure)? {
            last = match sight {
                Sight::Row(row) if row.kind() == Some(Kind::Mark) => last,
                Sight::Row(row) => row.record.lsn,
                Sight::Damage(damage, ..) => damage.last,
            };
        }
        if last > Lsn::ZERO {
            return Ok(last);
        }
    }
    Ok(Lsn::ZERO)
}

/// A plain wait: nobody ever sends.
fn pause() {
    let (_keep, never) = std::sync::mpsc::channel::<()>();
    let _ = never.recv_timeout(LOOK_EVERY);
}

/// Why nothing moves, as far as it is known.
fn reasons(now: &QueueFacts) -> Vec<String> {
    let failed = now.failed.iter().map(|failed| format!("delivery has stopped: {failed}"));
    failed.chain(now.paused.iter().map(|pause| format!("{}: {}", pause.what, pause.reason))).collect()
}

/// Follows the floor.
struct Watch {
    talk: Talk,
    bar: ProgressBar,
    /// The last record that was durable when we began, marks apart: floors must pass it.
    target: u64,
    first_floor: u64,
    floor: u64,
    moved: Option<Duration>,
    told: Option<Duration>,
}

impl Watch {
    fn new(talk: Talk, target: Lsn, first: &QueueFacts) -> Self {
        let bar = if talk.quiet || !std::io::stderr().is_terminal() {
            ProgressBar::hidden()
        } else {
            let style = ProgressStyle::with_template("{bar:30} {pos} of {len} records, {eta} left {msg}");
            ProgressBar::new(target.0.saturating_sub(first.floor))
                .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        };
        let (moved, told) = (None, None);
        let (target, floor) = (target.0, first.floor);
        Self { talk, bar, target, first_floor: floor, floor, moved, told }
    }

    /// Every floor has passed the last write there was.
    fn is_done(&self, now: &QueueFacts) -> bool {
        now.failed.is_none() && now.floor >= self.target
    }

    fn tell(&mut self, now: &QueueFacts, at: Duration) {
        self.bar.set_position(now.floor.saturating_sub(self.first_floor));
        if now.floor > self.floor || self.moved.is_none() {
            (self.floor, self.moved) = (now.floor, Some(at));
        }
        let since = |then: Option<Duration>| then.map_or(Duration::MAX, |then| at.saturating_sub(then));
        if since(self.told) < TOLD_EVERY {
            return;
        }
        let reasons = reasons(now);
        if since(self.moved) >= STILL_MAX {
            let why = if reasons.is_empty() { "the reason is not known".to_owned() } else { reasons.join("; ") };
            self.say(&format!("no progress for {}: {why}", show_span(since(self.moved))), at);
        } else if !reasons.is_empty() {
            self.say(&reasons.join("; "), at);
        } else if self.bar.is_hidden() {
            let left = self.target.saturating_sub(now.floor);
            self.say(&format!("{} left, {} wait", plural(left, "record"), plural(now.waiting_lines, "line")), at);
        }
    }

    fn say(&mut self, text: &str, at: Duration) {
        self.bar.suspend(|| self.talk.say(text));
        self.told = Some(at);
    }

    fn text(&self, now: &QueueFacts, done: bool, exit: Exit, took: Duration) -> String {
        let left = self.target.saturating_sub(now.floor);
        let left = format!("{} left, {} wait", plural(left, "record"), plural(now.waiting_lines, "line"));
        let mut out = match (done, exit) {
            (true, _) => {
                format!("{} everything up to record {} is delivered\n", self.talk.mark(Mark::Good), self.target)
            }
            (false, Exit::No) if took > LOOK_EVERY => {
                format!("{} not drained after {}: {left}\n", self.talk.mark(Mark::Bad), show_span(took))
            }
            (false, _) => format!("{} not drained: {left}\n", self.talk.mark(Mark::Bad)),
        };
        if !done {
            reasons(now).iter().for_each(|reason| out.push_str(&format!("  {reason}\n")));
        }
        out
    }
}
