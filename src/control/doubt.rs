//! Routes whose lines are in doubt: how many, why, and whether that goes on and on.
//!
//! Promise: a route is told of once when more than `queue.doubt_alarm_percent` of its lines are in doubt all over the window, and once
//! when it is less than half of that in a window in which anything came. A single trouble, however large, is no alarm: its lines are listed. What is held is bounded by the
//! routes that [`Doubts`](crate::queue::doubts::Doubts) tells apart.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::figures::{Figures, Sources};
use super::status::{Trouble, on_screen};
use crate::base::clock::rfc3339;
use crate::base::size::show_span;
use crate::config::DoubtAlarm;
use crate::queue::Cause;
use crate::queue::doubts::{Counts, PARTS, Share};
use crate::state::{Event, EventKind};

/// Routes that the document has.
const ROUTES_MAX: usize = 20;
/// Routes without an alarm that a screen shows.
const ROUTES_SHOWN: usize = 5;

/// One route, in the status.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DoubtRoute {
    /// The route at the source; `other` for all that are not told apart.
    pub route: String,
    /// Since when it has had a steady rate of doubt, RFC 3339; absent while it has none.
    pub alarm_since: Option<String>,
    /// Lines in doubt since the start.
    pub lines: u64,
    /// The same by cause, those with most lines first.
    pub causes: Vec<Trouble>,
    /// Lines in doubt in the window.
    pub window_lines: u64,
    /// Lines of the window that the source has kept, or may have.
    pub window_accepted: u64,
    /// What part of them is in doubt, percent.
    pub window_percent: f64,
    /// The cause of most of those in the window, else of most since the start.
    pub main_cause: String,
    /// What to do about that.
    pub advice: String,
}

/// Doubt by route, in the status.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DoubtStatus {
    /// Length of the window, seconds.
    pub window_s: f64,
    /// So many percent in doubt all over the window are an alarm; 0: none is.
    pub alarm_percent: u64,
    /// Routes with an alarm.
    pub alarms: u64,
    /// Routes with lines in doubt since the start, at most 20: those with an alarm first, then by lines in the window.
    pub routes: Vec<DoubtRoute>,
}

/// One look at the routes in doubt.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub(super) shares: Vec<Share>,
    pub(super) rule: DoubtAlarm,
    pub(super) alarms: BTreeMap<String, i64>,
}

/// Routes with an alarm, and since when.
#[derive(Debug, Default)]
pub(super) struct Alarms(BTreeMap<String, i64>);

impl Alarms {
    pub(super) fn now(&self) -> BTreeMap<String, i64> {
        self.0.clone()
    }

    /// Takes note, and says what operators should hear.
    pub(super) fn note(&mut self, shares: &[Share], rule: DoubtAlarm, now_ns: i64) -> Vec<(EventKind, String)> {
        let mut told = Vec::new();
        for share in shares {
            let is_on = self.0.contains_key(&share.route);
            if !is_on && is_steady(share, rule.percent) {
                self.0.insert(share.route.clone(), now_ns);
                let (cause, _) = main_cause(share);
                told.push((EventKind::DoubtSteady, format!("{}: {}", sentence(share, rule.window), says(cause))));
            } else if is_on && share.accepted > 0 && 2.0 * percent(share) < rule.percent as f64 {
                // Of a route that nobody writes to nothing is known to be better.
                self.0.remove(&share.route);
                told.push((EventKind::DoubtEased, sentence(share, rule.window)));
            }
        }
        told
    }
}

/// Above the limit as a whole, and not by one trouble alone: some of it in half of the steps in which anything came, over half of the
/// window.
fn is_steady(share: &Share, limit_percent: u64) -> bool {
    limit_percent > 0
        && percent(share) > limit_percent as f64
        && 2 * share.parts_with_doubt >= share.parts_with_lines
        && 2 * share.oldest_doubt >= PARTS
}

fn percent(share: &Share) -> f64 {
    if share.accepted == 0 { 0.0 } else { share.window.sum() as f64 / share.accepted as f64 * 100.0 }
}

fn sentence(share: &Share, window: Duration) -> String {
    let (of, all, window) = (share.window.sum(), share.accepted, show_span(window));
    format!("{}: {:.1} % of its lines in the last {window} are in doubt ({of} of {all})", share.route, percent(share))
}

fn says(cause: Cause) -> String {
    format!("{}: {}", cause.name(), cause.advice())
}

fn main_cause(share: &Share) -> (Cause, u64) {
    let first = |counts: &Counts| counts.causes().first().copied();
    first(&share.window).or_else(|| first(&share.since_start)).unwrap_or((Cause::None, 0))
}

/// Looks once, and tells.
pub(super) fn look(alarms: &mut Alarms, seen: &Seen, sources: &Sources) {
    for (kind, text) in alarms.note(&seen.shares, seen.rule, sources.clock.wall_ns()) {
        match kind {
            EventKind::DoubtSteady => tracing::warn!(event = ?kind, "{text}"),
            _ => tracing::info!(event = ?kind, "{text}"),
        }
        // Nobody waits: the log says it in any case.
        drop(sources.state.add_event(Event { at_ns: sources.clock.wall_ns(), kind, text }));
    }
}

/// Alarms, for whoever asks whether all is well.
pub(super) fn warnings(figures: &Figures) -> Vec<String> {
    let Seen { shares, rule, alarms } = &figures.doubt;
    shares.iter().filter(|share| alarms.contains_key(&share.route)).map(|share| sentence(share, rule.window)).collect()
}

impl DoubtStatus {
    pub(super) fn of(seen: &Seen) -> Self {
        let Seen { shares, rule, alarms } = seen;
        let row = |share: &Share| {
            let (main, _) = main_cause(share);
            let trouble =
                |(cause, lines): (Cause, u64)| Trouble { cause: cause.name().to_owned(), lines, window: None };
            DoubtRoute {
                route: share.route.clone(),
                alarm_since: alarms.get(&share.route).copied().map(rfc3339),
                lines: share.since_start.sum(),
                causes: share.since_start.causes().into_iter().map(trouble).collect(),
                window_lines: share.window.sum(),
                window_accepted: share.accepted,
                window_percent: percent(share),
                main_cause: main.name().to_owned(),
                advice: main.advice().to_owned(),
            }
        };
        let mut routes: Vec<DoubtRoute> = shares.iter().map(row).collect();
        routes.sort_by_key(|route| route.alarm_since.is_none());
        routes.truncate(ROUTES_MAX);
        let window_s = rule.window.as_secs_f64();
        Self { window_s, alarm_percent: rule.percent, alarms: alarms.len() as u64, routes }
    }

    /// What to do, where something is to be done.
    pub(super) fn advice(&self) -> Option<String> {
        let first = self.routes.iter().find(|route| route.alarm_since.is_some())?;
        Some(format!("{}: {}", first.route, first.advice))
    }

    pub(super) fn render(&self, out: &mut String) {
        let window = show_span(Duration::try_from_secs_f64(self.window_s).unwrap_or_default());
        let (with, without): (Vec<_>, Vec<_>) = self.routes.iter().partition(|route| route.alarm_since.is_some());
        // Writing to a String does not fail.
        for DoubtRoute { route, window_lines, window_accepted, window_percent, main_cause, advice, .. } in with {
            let _ = writeln!(
                out,
                "! DOUBT RATE {}: {window_percent:.1} % of its lines in the last {window} ({window_lines} of {window_accepted})",
                on_screen(route)
            );
            let _ = writeln!(out, "             most by {main_cause}: {advice}");
        }
        for DoubtRoute { route, lines, causes, .. } in without.into_iter().take(ROUTES_SHOWN) {
            let causes: Vec<String> = causes.iter().map(|by| format!("{} {}", by.cause, by.lines)).collect();
            let _ = writeln!(
                out,
                "  in doubt since the start: {lines} lines of {} ({})",
                on_screen(route),
                causes.join(", ")
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::doubts::Doubts;
    use crate::route::RouteName;

    const RULE: DoubtAlarm = DoubtAlarm { percent: 1, window: Duration::from_secs(300) };

    /// Writes of 100 lines a second to one route, `doubt` of them in doubt in each; looks every 5 s. What is told, with its second.
    fn told(seconds: u64, doubt: impl Fn(u64) -> u64) -> Vec<(u64, EventKind, String)> {
        let (doubts, mut alarms, mut told) = (Doubts::new(RULE.window), Alarms::default(), Vec::new());
        let name = RouteName::Database { db: "d".to_owned(), rp: "r".to_owned() };
        for second in 0..seconds {
            let now = Duration::from_secs(77_000 + second);
            let mut counts = Counts::default();
            counts.add(Cause::Overlap, doubt(second));
            doubts.note(&name, 100, &counts, now);
            if second % 5 == 0 {
                let news = alarms.note(&doubts.shares(now), RULE, 0);
                told.extend(news.into_iter().map(|(kind, text)| (second, kind, text)));
            }
        }
        told
    }

    #[test]
    fn a_steady_rate_is_told_once_with_its_cause_and_its_end_once() {
        let told = told(3000, |second| if (600..1500).contains(&second) { 2 } else { 0 });
        let [(begun, EventKind::DoubtSteady, text), (ended, EventKind::DoubtEased, end)] = &told[..] else {
            panic!("{told:?}");
        };
        assert!((720..=900).contains(begun) && (1500..=1800).contains(ended), "{told:?}");
        assert!(
            text.starts_with("d/r: 1.") && text.contains("overlap: several clients write the same cells"),
            "{text}"
        );
        assert!(end.starts_with("d/r: 0.") && !end.contains("overlap"), "{end}");
    }

    #[test]
    fn a_rate_around_the_limit_is_one_alarm_and_one_below_it_is_none() {
        let wave = told(4000, |second| if second / 200 % 2 == 0 { 2 } else { u64::from(second % 10 < 7) });
        assert_eq!(wave.iter().map(|(_, kind, _)| *kind).collect::<Vec<_>>(), [EventKind::DoubtSteady]);
        assert_eq!(told(2000, |second| u64::from(second % 2 == 0)), [], "0.5 %");
    }

    #[test]
    fn one_trouble_is_no_steady_rate() {
        assert_eq!(told(2000, |second| if (600..660).contains(&second) { 100 } else { 0 }), [], "a minute of doubt");
    }

    #[test]
    fn a_route_that_nobody_writes_to_for_a_while_keeps_its_alarm() {
        let (doubts, mut alarms, mut told) = (Doubts::new(RULE.window), Alarms::default(), Vec::new());
        let name = RouteName::Database { db: "d".to_owned(), rp: "r".to_owned() };
        let mut counts = Counts::default();
        counts.add(Cause::Overlap, 2);
        for second in (0..900).filter(|second| !(300..700).contains(second)) {
            doubts.note(&name, 100, &counts, Duration::from_secs(77_000 + second));
            told.extend(alarms.note(&doubts.shares(Duration::from_secs(77_000 + second)), RULE, 0));
        }
        let silent = Duration::from_secs(77_000 + 2000);
        told.extend(alarms.note(&doubts.shares(silent), RULE, 0));
        assert_eq!(told.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(), [EventKind::DoubtSteady]);
        doubts.note(&name, 100, &Counts::default(), silent);
        assert_eq!(alarms.note(&doubts.shares(silent), RULE, 0).len(), 1, "what comes is in no doubt");
    }

    #[test]
    fn a_route_that_is_seldom_written_to_and_always_in_doubt_is_told() {
        let (doubts, mut alarms) = (Doubts::new(RULE.window), Alarms::default());
        let name = RouteName::Bucket { org: "o".to_owned(), bucket: "b".to_owned() };
        let mut counts = Counts::default();
        counts.add(Cause::SourceError, 1);
        let mut told = Vec::new();
        for minute in 0..20 {
            let now = Duration::from_secs(60 * minute);
            doubts.note(&name, 1, &counts, now);
            told.extend(alarms.note(&doubts.shares(now), RULE, 0));
        }
        assert_eq!(told.len(), 1, "{told:?}");
        let seen = Seen { shares: doubts.shares(Duration::from_secs(1200)), rule: RULE, alarms: alarms.now() };
        let status = DoubtStatus::of(&seen);
        let mut shown = String::new();
        status.render(&mut shown);
        let first = shown.lines().next().unwrap();
        assert!(first.starts_with("! DOUBT RATE o:b: 100.0 % of its lines in the last 5 min 0 s ("), "{shown}");
        assert!(shown.contains("most by source-error: the source answers"), "{shown}");
        assert_eq!(status.alarms, 1);
        let off = DoubtAlarm { percent: 0, ..RULE };
        assert_eq!(Alarms::default().note(&seen.shares, off, 0), []);
    }
}
