//! Windows of the week: `Mon-Fri 20:00-06:00, Sat, Sun`.
//!
//! Promise: a window belongs to the day on which it begins and may end on the next one; without a day it is one of every day, without
//! times it is the whole day. Nothing written is always. Days and times are those of a [`Zone`], as its clocks show them: an hour that
//! daylight saving time repeats is in a window twice, one that it leaves out not at all.

use std::fmt;

use jiff::Timestamp;
use jiff::tz::TimeZone;

const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const DAY_MIN: u32 = 1440;
const WEEK_MIN: u32 = 7 * DAY_MIN;
/// Windows of one schedule.
const WINDOWS_MAX: usize = 64;

/// When something may be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schedule {
    text: String,
    /// Begin and length, minutes of the week.
    windows: Vec<(u32, u32)>,
}

/// Whose clock it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    text: String,
    zone: TimeZone,
}

impl Schedule {
    /// Reads a text.
    ///
    /// # Errors
    /// A sentence for the user.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut windows = Vec::new();
        for part in text.split(',').map(str::trim) {
            if part.is_empty() && text.trim().is_empty() {
                break;
            }
            let bad = || format!("\"{part}\" is no window: write Mon-Fri 20:00-06:00, Sat, or 22:00-05:00");
            let mut words = part.split_whitespace();
            let (first, second) = (words.next().ok_or_else(bad)?, words.next());
            if words.next().is_some() {
                return Err(bad());
            }
            let (days, times) = match (days(first), second) {
                (Some(days), None) => (days, Some((0, DAY_MIN))),
                (Some(days), Some(times)) => (days, span(times)),
                (None, None) => ((0..7).collect(), span(first)),
                (None, Some(_)) => return Err(bad()),
            };
            let (begin, length) = times.ok_or_else(bad)?;
            windows.extend(days.into_iter().map(|day| (day * DAY_MIN + begin, length)));
        }
        if windows.len() > WINDOWS_MAX {
            return Err(format!("has {} windows, more than {WINDOWS_MAX}", windows.len()));
        }
        Ok(Self { text: text.trim().to_owned(), windows })
    }

    /// Whether it is open at this minute of the week, counted from Monday 00:00.
    #[must_use]
    pub fn is_open(&self, minute: u32) -> bool {
        let within = |(begin, length): &(u32, u32)| (minute + WEEK_MIN - begin) % WEEK_MIN < *length;
        self.windows.is_empty() || self.windows.iter().any(within)
    }

    /// Day and time of the next opening behind this minute, as `Mon 20:00`.
    #[must_use]
    pub fn opens(&self, minute: u32) -> Option<String> {
        let ahead = self.windows.iter().map(|(begin, _)| (begin + WEEK_MIN - minute % WEEK_MIN) % WEEK_MIN).min()?;
        let at = (minute + ahead) % WEEK_MIN;
        let (day, of_day) = (DAYS.get((at / DAY_MIN) as usize)?, at % DAY_MIN);
        Some(format!("{day} {:02}:{:02}", of_day / 60, of_day % 60))
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// `Mon`, `Mon-Fri`, `Sat-Mon`.
fn days(text: &str) -> Option<Vec<u32>> {
    let day = |word: &str| (0..7).find(|at| word.eq_ignore_ascii_case(DAYS[*at as usize]));
    let Some((first, last)) = text.split_once('-') else { return day(text).map(|day| vec![day]) };
    let (first, last) = (day(first)?, day(last)?);
    Some((0..=(last + 7 - first) % 7).map(|more| (first + more) % 7).collect())
}

/// `20:00-06:00` as begin and length; what begins and ends at once is a whole day.
fn span(text: &str) -> Option<(u32, u32)> {
    let minute = |word: &str| {
        let (hour, minute) = word.split_once(':')?;
        let digits = |word: &str| (word.len() == 2).then(|| word.parse::<u32>().ok()).flatten();
        let (hour, minute) = (digits(hour)?, digits(minute)?);
        (minute < 60 && hour * 60 + minute <= DAY_MIN).then_some(hour * 60 + minute)
    };
    let (begin, end) = text.split_once('-')?;
    let (begin, end) = (minute(begin)?, minute(end)?);
    let length = (end + DAY_MIN - begin) % DAY_MIN;
    (begin < DAY_MIN).then_some((begin, if length == 0 { DAY_MIN } else { length }))
}

impl Zone {
    /// Reads `local`, `UTC`, or a name as `Europe/Berlin`.
    ///
    /// # Errors
    /// A sentence for the user.
    pub fn parse(text: &str) -> Result<Self, String> {
        let name = text.trim();
        let zone = match name {
            "local" => {
                TimeZone::try_system().map_err(|e| format!("the time zone of this machine is not known: {e}"))?
            }
            _ if name.eq_ignore_ascii_case("utc") => TimeZone::UTC,
            _ => TimeZone::get(name)
                .map_err(|_| format!("\"{name}\" is no time zone: write local, UTC, or a name as Europe/Berlin"))?,
        };
        Ok(Self { text: name.to_owned(), zone })
    }

    /// The minute of the week at a wall-clock time, counted from Monday 00:00.
    #[must_use]
    pub fn minute_of_week(&self, wall_ns: i64) -> u32 {
        let at = Timestamp::from_nanosecond(i128::from(wall_ns)).unwrap_or(Timestamp::UNIX_EPOCH);
        let at = at.to_zoned(self.zone.clone());
        let day = at.weekday().to_monday_zero_offset().unsigned_abs();
        let (hour, minute) = (at.hour().unsigned_abs(), at.minute().unsigned_abs());
        u32::from(day) * DAY_MIN + u32::from(hour) * 60 + u32::from(minute)
    }
}

impl Default for Zone {
    fn default() -> Self {
        Self { text: "UTC".to_owned(), zone: TimeZone::UTC }
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(day: u32, hour: u32, minute: u32) -> u32 {
        day * DAY_MIN + hour * 60 + minute
    }

    #[test]
    fn a_window_that_passes_midnight_belongs_to_its_first_day() {
        let nights = Schedule::parse("Mon-Fri 20:00-06:00, Sat").unwrap();
        for (minute, open) in [
            (at(0, 5, 59), false),
            (at(0, 19, 59), false),
            (at(0, 20, 0), true),
            (at(1, 5, 59), true),
            (at(1, 6, 0), false),
            (at(4, 23, 0), true),
            (at(5, 5, 0), true),
            (at(5, 23, 59), true),
            (at(6, 0, 0), false),
        ] {
            assert_eq!(nights.is_open(minute), open, "{minute}");
        }
        let over_the_week = Schedule::parse("Sun 22:00-02:00").unwrap();
        assert!(over_the_week.is_open(at(6, 23, 0)) && over_the_week.is_open(at(0, 1, 59)));
        assert!(!over_the_week.is_open(at(0, 2, 0)));
        assert_eq!(over_the_week.opens(at(0, 2, 0)).unwrap(), "Sun 22:00");
        assert_eq!(nights.opens(at(1, 6, 0)).unwrap(), "Tue 20:00");
        assert!(Schedule::parse("").unwrap().is_open(77) && Schedule::parse(" ").unwrap().opens(0).is_none());
        let daily = Schedule::parse("22:00-05:00").unwrap();
        assert!((0..7).all(|day| daily.is_open(at(day, 23, 0)) && !daily.is_open(at(day, 12, 0))));
        let turned = Schedule::parse("sat-mon").unwrap();
        assert_eq!((0..7).filter(|day| turned.is_open(at(*day, 1, 0))).collect::<Vec<_>>(), [0, 5, 6]);
        assert!(Schedule::parse("00:00-24:00").unwrap().is_open(at(3, 23, 59)));
    }

    #[test]
    fn what_is_no_window_is_told() {
        for bad in ["Mon-", "Mon 20-22", "20:00", "Mon 25:00-26:00", "Mon 10:60-11:00", "x", "Mon,", "Mon 1:00-02:00 x"]
        {
            assert!(Schedule::parse(bad).is_err(), "{bad}");
        }
        assert!(Schedule::parse(&["Mon-Sun"; 10].join(",")).is_err(), "too many");
    }

    #[test]
    fn the_minute_is_that_of_the_zone() {
        // 2026-01-05 is a Monday.
        let ns = |text: &str| crate::base::clock::parse_rfc3339(text).unwrap();
        assert_eq!(Zone::default().minute_of_week(ns("2026-01-05T00:07:59Z")), 7);
        let berlin = Zone::parse("Europe/Berlin").unwrap();
        assert_eq!(berlin.minute_of_week(ns("2026-01-04T23:30:00Z")), 30);
        assert_eq!(berlin.minute_of_week(ns("2026-07-05T22:30:00Z")), 30, "summer");
        assert!(Zone::parse("Nowhere/Else").is_err());
    }
}
