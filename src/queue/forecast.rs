//! How full the queue is, and when it will be full: arithmetic only. Time and positions come from whoever asks.
//!
//! Promise: figures follow what was measured, smoothed over some minutes; nothing is foretold before something was measured, and
//! nothing that may be a wave within the first minute.

use std::time::Duration;

/// Time over which rates are smoothed.
const SMOOTH: Duration = Duration::from_secs(300);
/// How the queue grows is not foretold from less than this: clients that write once a minute would fill it in no time.
const LEAST: Duration = Duration::from_secs(60);
/// What lies further away than this is not worth a figure.
const FAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// What is read at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// When, on a clock that never goes back.
    pub at: Duration,
    /// Bytes of records since the log began.
    pub position: u64,
    /// Last record of the log.
    pub head: u64,
    /// Record up to which everything is delivered.
    pub floor: u64,
}

/// Smoothed rates.
#[derive(Clone, Debug, Default)]
pub struct Rates {
    last: Option<Sample>,
    /// Seconds that were measured.
    measured: f64,
    /// Bytes a second that come in.
    input: f64,
    /// Records a second that come in.
    records: f64,
    /// Bytes a second by which the queue grows; less than 0 where it shrinks.
    growth: f64,
}

impl Rates {
    /// Takes note of one more moment.
    pub fn note(&mut self, now: Sample) {
        let Some(last) = self.last.replace(now) else { return };
        let seconds = now.at.saturating_sub(last.at).as_secs_f64();
        if seconds <= 0.0 {
            self.last = Some(last);
            return;
        }
        self.measured += seconds;
        // The mean at first: figures that begin at 0 would be far too small for some minutes.
        let weight = (1.0 - (-seconds / SMOOTH.as_secs_f64()).exp()).max(seconds / self.measured);
        let a_second = |now: u64, last: u64| now.saturating_sub(last) as f64 / seconds;
        let input = a_second(now.position, last.position);
        self.input += (input - self.input) * weight;
        self.records += (a_second(now.head, last.head) - self.records) * weight;
        // Floors are known by record; what a record takes is known from what came in over some time: between two bursts
        // nothing comes, and what came before is delivered.
        let each = if self.records > 0.0 { self.input / self.records } else { 0.0 };
        self.growth += (input - a_second(now.floor, last.floor) * each - self.growth) * weight;
    }

    /// Bytes a second that come in.
    #[must_use]
    pub fn input(&self) -> f64 {
        self.input
    }

    /// When so much room is used up, as things go; none while the queue does not grow.
    #[must_use]
    pub fn until_full(&self, room_bytes: u64) -> Option<Duration> {
        after(room_bytes, self.growth).filter(|_| self.measured >= LEAST.as_secs_f64())
    }

    /// When so much room is used up if nothing is delivered from now on.
    #[must_use]
    pub fn until_full_if_stopped(&self, room_bytes: u64) -> Option<Duration> {
        after(room_bytes, self.input)
    }
}

fn after(bytes: u64, rate: f64) -> Option<Duration> {
    let seconds = bytes as f64 / rate;
    // Below one byte a second nothing fills.
    (rate >= 1.0 && seconds < FAR.as_secs_f64()).then(|| Duration::from_secs_f64(seconds))
}

/// How much of the queue's room is used, 0 to 100.
#[must_use]
pub fn percent(used_bytes: u64, room_bytes: u64) -> f64 {
    let all = used_bytes.saturating_add(room_bytes);
    if all == 0 { 100.0 } else { used_bytes as f64 / all as f64 * 100.0 }
}

/// Something that operators hear once, when it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Alarm {
    /// Nothing.
    None,
    /// 70 % full.
    Filling,
    /// 90 % full.
    NearlyFull,
}

/// Levels of fullness, with some slack so that nothing is told twice for a wave around a border.
#[derive(Clone, Debug)]
pub struct Levels {
    level: Alarm,
    hours: Option<u64>,
}

/// Hours before the queue is full at which operators hear of it.
const HOURS: [u64; 2] = [4, 12];

impl Default for Levels {
    fn default() -> Self {
        Self { level: Alarm::None, hours: None }
    }
}

/// What has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// More of it is used than before.
    Level(Alarm),
    /// It will be full within so many hours.
    Hours(u64),
    /// Neither fills any more.
    Eased,
}

impl Levels {
    /// Takes note of the figures, and says what is new.
    pub fn note(&mut self, percent: f64, until_full: Option<Duration>) -> Vec<News> {
        let mut news = Vec::new();
        let was_quiet = self.is_quiet();
        let level = match percent {
            p if p >= 90.0 => Alarm::NearlyFull,
            p if p >= 85.0 => self.level.max(Alarm::Filling),
            p if p >= 70.0 => Alarm::Filling,
            p if p >= 65.0 => self.level.min(Alarm::Filling),
            _ => Alarm::None,
        };
        if level > self.level {
            news.push(News::Level(level));
        }
        self.level = level;
        let within = |slack: f64| {
            let hours = until_full.map(|left| left.as_secs_f64() / 3600.0);
            HOURS.into_iter().find(|limit| hours.is_some_and(|hours| hours <= *limit as f64 * slack))
        };
        let (now, still) = (within(1.0), within(1.2));
        match (self.hours, now) {
            (before, Some(now)) if before.is_none_or(|before| now < before) => {
                news.push(News::Hours(now));
                self.hours = Some(now);
            }
            // A little more than a border is not beyond it.
            (Some(before), _) if still != Some(before) && still.is_none_or(|still| still > before) => {
                self.hours = still
            }
            _ => {}
        }
        if !was_quiet && self.is_quiet() {
            news.push(News::Eased);
        }
        news
    }

    fn is_quiet(&self) -> bool {
        self.level == Alarm::None && self.hours.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn sample(second: u64, input: u64, delivered: u64) -> Sample {
        // A record a second, of `input` bytes; `delivered` percent of the records are delivered.
        Sample {
            at: Duration::from_secs(second),
            position: second * input,
            head: second,
            floor: second * delivered / 100,
        }
    }

    #[test]
    fn a_steady_input_fills_the_room_at_its_rate_and_what_is_delivered_does_not_count() {
        for (delivered, hours) in [(0, Some(5.0)), (50, Some(10.0)), (100, None)] {
            let mut rates = Rates::default();
            for second in (0..3600).step_by(5) {
                rates.note(sample(second, MIB, delivered));
            }
            let room = 5 * 3600 * MIB;
            let found = rates.until_full(room).map(|left| left.as_secs_f64() / 3600.0);
            let near = |a: f64, b: f64| (a - b).abs() < b * 0.05;
            assert!(found.is_some() == hours.is_some(), "{delivered}: {found:?}");
            assert!(found.zip(hours).is_none_or(|(a, b)| near(a, b)), "{delivered}: {found:?}");
            assert!(near(rates.until_full_if_stopped(room).unwrap().as_secs_f64(), 5.0 * 3600.0));
            assert!(near(rates.input(), MIB as f64));
        }
    }

    #[test]
    fn nothing_is_foretold_before_something_was_measured_or_by_a_clock_that_stands() {
        let mut rates = Rates::default();
        assert_eq!((rates.until_full(1), rates.until_full_if_stopped(1)), (None, None));
        rates.note(sample(7, MIB, 0));
        rates.note(sample(7, 5 * MIB, 0));
        assert_eq!((rates.until_full(1), rates.until_full_if_stopped(1)), (None, None));
    }

    /// Clients that write once a minute, delivered within the next half.
    #[test]
    fn bursts_that_are_delivered_do_not_fill_the_queue() {
        let mut rates = Rates::default();
        for second in (0..7200u64).step_by(5) {
            let (minute, into) = (second / 60, second % 60);
            let head = 3000 * (minute + 1);
            let floor = head - 100 * 30u64.saturating_sub(into);
            rates.note(Sample { at: Duration::from_secs(second), position: head * 1024, head, floor });
        }
        let full = rates.until_full(12 * 3600 * 51_200);
        assert_eq!(full, None, "what comes in an hour would fill a twelfth of it");
    }

    #[test]
    fn the_first_figures_are_as_good_as_later_ones_and_the_first_minute_foretells_nothing() {
        let mut rates = Rates::default();
        for second in (0..=60).step_by(5) {
            assert_eq!(rates.until_full(u64::MAX >> 20), None, "after {second} s");
            rates.note(sample(second, MIB, 0));
        }
        let hours = |left: Option<Duration>| left.unwrap().as_secs_f64() / 3600.0;
        let room = 5 * 3600 * MIB;
        assert!((hours(rates.until_full(room)) - 5.0).abs() < 0.1, "{:?}", rates.until_full(room));
        assert!((hours(rates.until_full_if_stopped(room)) - 5.0).abs() < 0.1);
    }

    #[test]
    fn each_level_is_told_once_until_it_has_eased() {
        let mut levels = Levels::default();
        let mut told = |percent: f64, hours: Option<u64>| {
            levels.note(percent, hours.map(|hours| Duration::from_secs(hours * 3600)))
        };
        assert_eq!(told(10.0, Some(30)), []);
        assert_eq!(told(10.0, Some(12)), [News::Hours(12)]);
        assert_eq!(told(10.0, Some(14)), [], "a little above the border");
        assert_eq!(told(70.0, Some(3)), [News::Level(Alarm::Filling), News::Hours(4)]);
        assert_eq!(told(71.0, Some(3)), []);
        assert_eq!(told(90.0, Some(2)), [News::Level(Alarm::NearlyFull)]);
        assert_eq!(told(88.0, Some(2)), []);
        assert_eq!(told(90.0, Some(2)), [], "a wave around the border");
        assert_eq!(told(80.0, None), []);
        assert_eq!(told(91.0, None), [News::Level(Alarm::NearlyFull)]);
        assert_eq!(told(10.0, None), [News::Eased]);
        assert_eq!(told(10.0, None), []);
        assert_eq!(told(95.0, None), [News::Level(Alarm::NearlyFull)], "from nothing to nearly full in one step");
    }

    #[test]
    fn an_empty_disk_without_room_is_full() {
        assert_eq!(percent(0, 0).to_bits(), 100f64.to_bits());
        assert_eq!(percent(3, 1).to_bits(), 75f64.to_bits());
    }
}
