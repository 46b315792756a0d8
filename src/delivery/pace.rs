//! How fast a destination that is behind catches up while clients write.
//!
//! Promise: while clients write, a destination that is behind gets at most `catch_up` times the lines that they write, or
//! [`LEAST_BYTES_S`] where that is more, in requests no larger than that takes; who waits for an answer of the source comes
//! first. Once clients pause, and where a destination keeps up, requests are as large and as many as it takes.
//!
//! Why: on two cores a drain at full speed held clients up for 15 to 40 ms (99th of 100, 2 to 4 ms before); most of it in large
//! requests, whose making and reading occupy a core for milliseconds.

use std::cell::Cell;
use std::time::Duration;

/// Nobody waits for long behind so little, and it is what a slow machine takes.
const LEAST_BYTES_S: f64 = 64e6;
/// The smallest bound of a request, bytes: a thousand lines or so.
const REQUEST_BYTES_MIN: f64 = 128.0 * 1024.0;
/// The clients' rate is counted over at least this long.
const COUNT_OVER: Duration = Duration::from_millis(200);
/// Behind is who lacks what clients write in this time, or [`BEHIND_BYTES`] where that is more.
const BEHIND: Duration = Duration::from_millis(500);
const BEHIND_BYTES: f64 = 8.0 * 1024.0 * 1024.0;
/// What is newer counts for so much in the smoothed figures.
const NEW_PART: f64 = 0.3;

/// What a destination lacks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lack {
    /// Read and held in lanes, bytes.
    pub(super) pending_bytes: usize,
    /// Not read yet, or set aside and to be read again, lines.
    pub(super) lines: u64,
}

/// The pace of one destination.
#[derive(Debug)]
pub(super) struct Pace {
    /// Times the clients' rate; zero: as fast as it can.
    catch_up: f64,
    /// Requests that may be under way at once.
    lanes: f64,
    /// When lines were last counted, and how many there were.
    counted: Cell<Option<(Duration, u64)>>,
    /// Lines that clients write in a second.
    lines_s: Cell<f64>,
    is_behind: Cell<bool>,
    /// A line's text, smoothed.
    line_bytes: Cell<f64>,
    /// A request's time, smoothed, seconds.
    request_s: Cell<f64>,
    /// When the next request may begin.
    next: Cell<Duration>,
}

impl Pace {
    pub(super) fn new(catch_up: u32, lanes: usize) -> Self {
        Self {
            catch_up: f64::from(catch_up),
            lanes: lanes.max(1) as f64,
            counted: Cell::default(),
            lines_s: Cell::default(),
            is_behind: Cell::default(),
            line_bytes: Cell::new(100.0),
            request_s: Cell::default(),
            next: Cell::default(),
        }
    }

    /// `lines`: all that clients have written so far; `None` while a long log is counted.
    pub(super) fn look(&self, now: Duration, lines: Option<u64>, lack: Lack) {
        let Some(lines) = lines else {
            self.counted.set(None);
            return;
        };
        let Some((then, before)) = self.counted.get() else {
            self.counted.set(Some((now, lines)));
            return;
        };
        let over = now.saturating_sub(then);
        if over < COUNT_OVER {
            return;
        }
        self.counted.set(Some((now, lines)));
        let newest = lines.saturating_sub(before) as f64 / over.as_secs_f64();
        let known = self.lines_s.get();
        // Whoever has stopped is not waited for; who begins is believed at once.
        let smoothed = if newest == 0.0 || known == 0.0 { newest } else { known + NEW_PART * (newest - known) };
        self.lines_s.set(smoothed);
        let lacking = lack.pending_bytes as f64 + lack.lines as f64 * self.line_bytes.get();
        let much = (self.lines_s.get() * self.line_bytes.get() * BEHIND.as_secs_f64()).max(BEHIND_BYTES);
        self.is_behind.set(lacking > much);
    }

    /// Bytes in a second; `None`: as fast as it can.
    fn bytes_s(&self) -> Option<f64> {
        let holds = self.catch_up > 0.0 && self.is_behind.get() && self.lines_s.get() > 0.0;
        holds.then(|| (self.catch_up * self.lines_s.get() * self.line_bytes.get()).max(LEAST_BYTES_S))
    }

    /// The largest request now: where answers take long, requests are larger, so that the rate is reached.
    pub(super) fn bytes_max(&self) -> usize {
        let bound = |bytes_s: f64| (bytes_s * self.request_s.get() / self.lanes).max(REQUEST_BYTES_MIN) as usize;
        self.bytes_s().map_or(usize::MAX, bound)
    }

    /// When a request of this size may begin.
    pub(super) fn turn(&self, now: Duration, bytes: usize) -> Duration {
        let Some(bytes_s) = self.bytes_s() else { return now };
        let begins = self.next.get().max(now);
        self.next.set(begins + Duration::from_secs_f64(bytes as f64 / bytes_s));
        begins
    }

    /// A request has ended.
    pub(super) fn ended(&self, took: Duration, bytes: usize, lines: usize) {
        let toward = |cell: &Cell<f64>, newest: f64| cell.set(cell.get() + NEW_PART * (newest - cell.get()));
        toward(&self.request_s, took.as_secs_f64());
        toward(&self.line_bytes, bytes as f64 / lines.max(1) as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MUCH: Lack = Lack { pending_bytes: 64 << 20, lines: 1_000_000 };
    const NOTHING: Lack = Lack { pending_bytes: 0, lines: 0 };

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Clients write so many lines in each fifth of a second, up to `to_ms`.
    fn written(pace: &Pace, lines: u64, lack: Lack, to_ms: u64) {
        (0..=to_ms / 200).for_each(|step| pace.look(at(step * 200), Some(step * lines), lack));
    }

    /// Bytes that begin within a second, and the size of the requests.
    fn in_a_second(pace: &Pace, from: Duration) -> (usize, usize) {
        let size = pace.bytes_max();
        let begin = |_: &usize| pace.turn(from, size) < from + at(1000);
        (size.saturating_mul((0..100_000).take_while(begin).count()), size)
    }

    #[test]
    fn who_is_behind_gets_a_multiple_of_what_clients_write_in_small_requests() {
        let pace = Pace::new(2, 4);
        (0..100).for_each(|_| pace.ended(at(3), 100_000, 1_000));
        written(&pace, 200_000, MUCH, 2_000);
        let (bytes, size) = in_a_second(&pace, at(2_000));
        assert!(size.abs_diff(150_000) < 10, "{size}");
        assert!((190_000_000..=210_000_000).contains(&bytes), "a million lines of 100 bytes a second, twice: {bytes}");
    }

    #[test]
    fn slow_clients_do_not_make_it_slow() {
        let pace = Pace::new(2, 4);
        written(&pace, 10, MUCH, 2_000);
        let (bytes, size) = in_a_second(&pace, at(2_000));
        assert_eq!(size, 128 << 10);
        assert!((60_000_000..=70_000_000).contains(&bytes), "{bytes}");
    }

    #[test]
    fn without_clients_or_a_lack_or_a_wish_it_goes_as_fast_as_it_can() {
        let paces = [(2, 0, MUCH), (2, 200_000, NOTHING), (0, 200_000, MUCH)];
        for (catch_up, lines, lack) in paces {
            let pace = Pace::new(catch_up, 4);
            written(&pace, lines, lack, 2_000);
            assert_eq!(pace.bytes_max(), usize::MAX);
            assert_eq!(pace.turn(at(2_000), 1 << 30), at(2_000));
            assert_eq!(pace.turn(at(2_000), 1 << 30), at(2_000));
        }
        let pace = Pace::new(2, 4);
        written(&pace, 200_000, MUCH, 2_000);
        assert_ne!(pace.bytes_max(), usize::MAX);
        pace.look(at(2_200), Some(10 * 200_000), MUCH);
        assert_eq!(pace.bytes_max(), usize::MAX, "clients have stopped");
    }

    #[test]
    fn what_a_start_counts_is_not_what_clients_write() {
        let pace = Pace::new(2, 4);
        pace.look(at(0), None, MUCH);
        pace.look(at(200), None, MUCH);
        pace.look(at(400), Some(50_000_000), MUCH);
        pace.look(at(600), Some(50_000_000), MUCH);
        assert_eq!(pace.bytes_max(), usize::MAX);
    }

    #[test]
    fn a_destination_that_answers_slowly_gets_larger_requests() {
        let pace = Pace::new(2, 4);
        (0..100).for_each(|_| pace.ended(at(300), 100_000, 1_000));
        written(&pace, 200_000, MUCH, 2_000);
        let (bytes_s, size) = in_a_second(&pace, at(2_000));
        assert!(size.abs_diff(15_000_000) < 10, "{size}");
        assert!(bytes_s > 190_000_000, "{bytes_s}");
    }
}
