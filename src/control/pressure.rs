//! Watches how the queue fills, and tells before it is full.
//!
//! Promise: 70 %, 90 %, 12 h and 4 h before it is full (as things go), and a write that waits longer than `queue.max_age`, are an
//! event each, once until that has eased. What happens at 100 % is the pipeline's part and told by it.

use std::time::Duration;

use super::figures::{Figures, Sources};
use crate::base::clock::SharedClock;
use crate::base::size::{ByteSize, show_span};
use crate::delivery::View;
use crate::queue::forecast::{Alarm, Levels, News, Rates, Sample, percent};
use crate::state::{Event, EventKind};
use crate::wal::Stats;

/// A wait is no longer too long below this part of `queue.max_age`.
const EASED: f64 = 0.9;

/// How the queue fills.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Pressure {
    /// How much of its room is used.
    pub(super) percent: f64,
    /// Bytes a second that come in.
    pub(super) input: f64,
    /// When it is full, as things go.
    pub(super) until_full: Option<Duration>,
    /// When it is full if nothing is delivered any more.
    pub(super) until_full_if_stopped: Option<Duration>,
    /// The oldest write waits longer than `queue.max_age`.
    pub(super) too_old: bool,
}

impl Pressure {
    /// What operators should see while it is so.
    pub(super) fn warning(&self) -> Option<String> {
        let full = self.percent >= 70.0;
        let when = self.until_full.filter(|left| *left <= Duration::from_secs(12 * 3600));
        let text = match (full, when) {
            (_, Some(left)) => format!("{:.0} % full, and full in {} as things go", self.percent, show_span(left)),
            (true, None) => format!("{:.0} % full", self.percent),
            (false, None) if self.too_old => "its oldest write waits for longer than queue.max_age".to_owned(),
            (false, None) => return None,
        };
        Some(format!("the queue: {text}"))
    }
}

/// Looks now and then.
#[derive(Debug, Default)]
pub(super) struct Watch {
    rates: Rates,
    levels: Levels,
    too_old: bool,
}

impl Watch {
    /// Figures at this moment.
    pub(super) fn pressure(&self, log: &Stats) -> Pressure {
        Pressure {
            percent: percent(log.used_bytes, log.room_bytes),
            input: self.rates.input(),
            until_full: self.rates.until_full(log.room_bytes),
            until_full_if_stopped: self.rates.until_full_if_stopped(log.room_bytes),
            too_old: self.too_old,
        }
    }

    /// Takes note, and says what operators should hear.
    pub(super) fn note(
        &mut self,
        log: &Stats,
        view: &View,
        max_age: Option<Duration>,
        clock: &SharedClock,
    ) -> Vec<(EventKind, String)> {
        if view.ready && !view.counting {
            let (position, head, floor) = (log.position, view.head_lsn, view.floor_lsn);
            self.rates.note(Sample { at: clock.monotonic(), position, head, floor });
        }
        let now = self.pressure(log);
        let news = self.levels.note(now.percent, now.until_full);
        let mut told: Vec<(EventKind, String)> = news.into_iter().map(|news| tell(news, log, &now)).collect();
        told.extend(self.age(view.oldest_waits(clock.monotonic()), max_age));
        told
    }

    fn age(&mut self, waits: Duration, max_age: Option<Duration>) -> Option<(EventKind, String)> {
        let max = max_age?;
        // A little below the border is a wave around it.
        let border = if self.too_old { max.mul_f64(EASED) } else { max };
        let before = std::mem::replace(&mut self.too_old, waits > border);
        let (waited, max) = (show_span(waits), show_span(max));
        match (before, self.too_old) {
            (false, true) => {
                let what =
                    format!("the oldest write in the queue waits for {waited}, longer than queue.max_age ({max})");
                Some((EventKind::QueueFilling, format!("{what}: nothing is dropped")))
            }
            (true, false) => Some((
                EventKind::QueueEased,
                format!("the oldest write in the queue waits for {waited}, well below queue.max_age ({max}) again"),
            )),
            _ => None,
        }
    }
}

fn tell(news: News, log: &Stats, now: &Pressure) -> (EventKind, String) {
    let room = ByteSize(log.room_bytes);
    let when = now.until_full.map_or(String::new(), |left| format!(", full in {} as things go", show_span(left)));
    let text = match news {
        News::Level(Alarm::NearlyFull) => format!(
            "the queue is {:.0} % full ({room} left{when}): when it is full, writes go by queue.on_unavailable",
            now.percent
        ),
        News::Level(_) => format!("the queue is {:.0} % full ({room} left{when})", now.percent),
        News::Hours(hours) => format!("the queue will be full within {hours} h ({room} left{when})"),
        News::Eased => return (EventKind::QueueEased, format!("the queue has room again ({room})")),
    };
    (EventKind::QueueFilling, text)
}

/// Looks once, and tells.
pub(super) fn look(watch: &mut Watch, figures: &Figures, sources: &Sources, max_age: Option<Duration>) {
    let view = figures.slowest();
    for (kind, text) in watch.note(&sources.log.stats(), &view, max_age, &sources.clock) {
        match kind {
            EventKind::QueueFilling => tracing::warn!(event = ?kind, "{text}"),
            _ => tracing::info!(event = ?kind, "{text}"),
        }
        // Nobody waits: the log says it in any case.
        drop(sources.state.add_event(Event { at_ns: sources.clock.wall_ns(), kind, text }));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

    use super::*;
    use crate::base::clock::{Clock, SystemClock};
    use crate::base::disk;
    use crate::wal::{Options, Wal};

    #[derive(Debug, Default)]
    struct SetClock {
        seconds: AtomicU64,
        wall_ns: AtomicI64,
    }

    impl Clock for SetClock {
        fn wall_ns(&self) -> i64 {
            self.wall_ns.load(Ordering::Relaxed)
        }

        fn monotonic(&self) -> Duration {
            Duration::from_secs(self.seconds.load(Ordering::Relaxed))
        }
    }

    #[test]
    fn a_clock_that_is_set_changes_no_figure_and_is_no_news() {
        let dir = tempfile::tempdir().unwrap();
        let (wal, _) = Wal::open(disk::real(), SystemClock::shared(), Options::new(dir.path().into()), &[]).unwrap();
        let told = |set_by_s: i64| {
            let (clock, mut watch, mut log) = (Arc::new(SetClock::default()), Watch::default(), wal.stats());
            let mut told = Vec::new();
            for look in 0..60u64 {
                clock.seconds.store(look * 10, Ordering::Relaxed);
                let set_ns = set_by_s * [0, 1, -1][look as usize % 3] * 1_000_000_000;
                clock.wall_ns.store(1_700_000_000_000_000_000 + set_ns, Ordering::Relaxed);
                (log.position, log.room_bytes) = (look << 20, (100 - look) << 20);
                let taken = Duration::from_secs(look * 10);
                let view = View { ready: true, head_lsn: look, oldest_ns: 5, waited: taken, taken, ..View::default() };
                let shared: SharedClock = Arc::clone(&clock) as SharedClock;
                let news = watch.note(&log, &view, Some(Duration::from_secs(300)), &shared);
                told.push((news, watch.pressure(&log)));
            }
            told
        };
        let quiet = told(0);
        let full = quiet.last().and_then(|(_, pressure)| pressure.until_full).unwrap();
        assert!((300..600).contains(&full.as_secs()) && quiet.iter().any(|(news, _)| !news.is_empty()), "{full:?}");
        for set_by_s in [3 * 86_400, -50 * 365 * 86_400] {
            assert_eq!(told(set_by_s), quiet);
        }
    }

    #[test]
    fn a_write_that_waits_too_long_is_told_once_until_that_has_eased() {
        let mut watch = Watch::default();
        let mut told = |waits_s| {
            let waits = Duration::from_secs(waits_s);
            watch.age(waits, Some(Duration::from_secs(100))).map(|(kind, _)| kind)
        };
        assert_eq!(told(100), None);
        assert_eq!(told(101), Some(EventKind::QueueFilling));
        for waits in [99, 101, 95, 300] {
            assert_eq!(told(waits), None, "a wave around the border: {waits}");
        }
        assert_eq!(told(50), Some(EventKind::QueueEased));
        assert_eq!(told(101), Some(EventKind::QueueFilling));
    }
}
