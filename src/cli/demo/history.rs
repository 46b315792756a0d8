//! The year that was there before Twinline: what it holds, and what clients made of it meanwhile.
//!
//! Every machine has places in time, evenly spread. Each second one of them held a point when the demonstration began; those
//! in between are free for points that come late. What a point must hold follows from its place and revision, as in the
//! clients' own record.

use fastrand::Rng;

use super::record::{MEASUREMENT, Of, host_name, put_line};
use crate::cell::Cell;
use crate::db::read::{WEEK_NS, Window};

const YEAR_NS: i64 = 365 * 86_400_000_000_000;
/// Points that are there before, for each second of the demonstration, and at most: that bounds its memory.
const POINTS_A_SECOND: u64 = 5_000;
pub(super) const POINTS_MAX: u64 = 150_000;
/// Machines of the year; the same that clients write of.
const HOSTS: u32 = 20;
/// Lines that are loaded at once.
const LOAD_LINES: usize = 5_000;
/// Of 100 changes, so many bring a point that was not there.
const LATE_PERCENT: u8 = 30;
/// How much of the year one delete takes, of one machine.
const DELETED_NS: i64 = WEEK_NS;

/// A place in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Slot {
    /// Of the last point that stood there; 0: none ever did.
    revision: u32,
    is_there: bool,
}

/// What clients changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    /// Points that got new values.
    pub(super) overwritten: u64,
    /// Points that came late: where none was.
    pub(super) late: u64,
    /// Points that were deleted.
    pub(super) deleted: u64,
}

impl Changes {
    pub(super) fn points(self) -> u64 {
        self.overwritten + self.late + self.deleted
    }
}

/// The year.
#[derive(Debug)]
pub(super) struct History {
    first_ns: i64,
    /// From one place to the next.
    step_ns: i64,
    /// The places of each machine, in order.
    hosts: Vec<Vec<Slot>>,
    rng: Rng,
    changes: Changes,
    /// Points that were there before.
    before: u64,
}

/// What a client deletes: of one machine, from a place to another one, which stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    host: u32,
    from: usize,
    to: usize,
}

impl History {
    /// The year before `now_ns`, for a demonstration of so many seconds.
    pub(super) fn new(now_ns: i64, seconds: u64) -> Self {
        let points = seconds.saturating_mul(POINTS_A_SECOND).min(POINTS_MAX);
        let each = points.div_ceil(u64::from(HOSTS)).max(1);
        let step_ns = (YEAR_NS / (2 * each).cast_signed()).max(1);
        let there = |place: u64| match place.is_multiple_of(2) {
            true => Slot { revision: 1, is_there: true },
            false => Slot::default(),
        };
        let hosts = (0..HOSTS).map(|_| (0..2 * each).map(there).collect()).collect();
        let before = each * u64::from(HOSTS);
        let (rng, changes) = (Rng::with_seed(each), Changes::default());
        Self { first_ns: now_ns.saturating_sub(YEAR_NS), step_ns, hosts, rng, changes, before }
    }

    /// Points that were there before.
    pub(super) fn before(&self) -> u64 {
        self.before
    }

    /// What clients changed so far.
    pub(super) fn changes(&self) -> Changes {
        self.changes
    }

    /// Points that are there now.
    pub(super) fn points(&self) -> u64 {
        self.hosts.iter().flatten().filter(|slot| slot.is_there).count() as u64
    }

    /// All of it as line protocol, piece by piece, in the order of time.
    pub(super) fn load<E>(&self, mut each: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        let (mut body, mut lines) = (String::new(), 0);
        for place in 0..self.places() {
            for (host, slots) in (0..).zip(&self.hosts) {
                if slots[place].is_there {
                    put_line(host, place, slots[place].revision, self.time_ns(place), &mut body);
                    lines += 1;
                }
            }
            if lines >= LOAD_LINES || place + 1 == self.places() {
                each(body.as_bytes())?;
                body.clear();
                lines = 0;
            }
        }
        Ok(())
    }

    /// So many changed points as lines; half of them in `near`, where that is known. How many overwrite.
    pub(super) fn change(&mut self, lines: usize, near: Option<Window>, body: &mut String) -> u64 {
        let near = near.and_then(|window| self.within(window));
        let mut overwrites = 0;
        for _ in 0..lines {
            let host = self.rng.u32(0..HOSTS);
            let (from, to) = near.filter(|_| self.rng.bool()).unwrap_or((0, self.places()));
            let wants_late = self.rng.u8(0..100) < LATE_PERCENT;
            // Places with a number that is not even were free in the beginning.
            let place = (self.rng.usize(from..to) / 2 * 2 + usize::from(wants_late)).min(self.places() - 1);
            let time_ns = self.time_ns(place);
            let slot = &mut self.hosts[host as usize][place];
            if slot.is_there {
                self.changes.overwritten += 1;
                overwrites += 1;
            } else {
                self.changes.late += 1;
            }
            *slot = Slot { revision: slot.revision + 1, is_there: true };
            put_line(host, place, slot.revision, time_ns, body);
        }
        overwrites
    }

    /// Something to delete: in `near`, where that is known.
    pub(super) fn choose(&mut self, near: Option<Window>) -> Stretch {
        let length = usize::try_from(DELETED_NS / self.step_ns).unwrap_or(1).clamp(1, self.places());
        let (from, to) = near.and_then(|window| self.within(window)).unwrap_or((0, self.places()));
        let from = self.rng.usize(from..to).min(self.places() - length);
        Stretch { host: self.rng.u32(0..HOSTS), from, to: from + length }
    }

    /// The statement that deletes it.
    pub(super) fn statement(&self, stretch: Stretch) -> String {
        let [from_ns, to_ns] = [stretch.from, stretch.to].map(|place| self.time_ns(place));
        let host = host_name(stretch.host);
        format!("DELETE FROM {MEASUREMENT} WHERE host = '{host}' AND time >= {from_ns} AND time < {to_ns}")
    }

    /// It was deleted.
    pub(super) fn deleted(&mut self, stretch: Stretch) {
        for slot in &mut self.hosts[stretch.host as usize][stretch.from..stretch.to] {
            self.changes.deleted += u64::from(slot.is_there);
            slot.is_there = false;
        }
    }

    /// All of time in windows, of which all but the last lie in the year alone.
    pub(super) fn windows(&self) -> Vec<Window> {
        let weeks = YEAR_NS / WEEK_NS;
        let edge = |week: i64| match week {
            0 => Window::ALL.start_ns,
            week if week == weeks => Window::ALL.end_ns,
            week => self.first_ns + week * WEEK_NS,
        };
        (0..weeks).map(|week| Window { start_ns: edge(week), end_ns: edge(week + 1) }).collect()
    }

    /// What a database must hold of the year in a window.
    pub(super) fn cells(&self, window: Window) -> Vec<Cell> {
        let mut cells = Vec::new();
        let Some((from, to)) = self.within(window) else { return cells };
        for (host, slots) in (0..).zip(&self.hosts) {
            let of = Of::host(host);
            for (place, slot) in (from..to).zip(&slots[from..to]) {
                if slot.is_there {
                    of.put_cells((place, slot.revision), self.time_ns(place), &mut cells);
                }
            }
        }
        cells
    }

    fn places(&self) -> usize {
        self.hosts.first().map_or(0, Vec::len)
    }

    fn time_ns(&self, place: usize) -> i64 {
        self.first_ns.saturating_add(self.step_ns.saturating_mul(place as i64))
    }

    /// The places in a window, the end not included; `None` where there are none.
    fn within(&self, window: Window) -> Option<(usize, usize)> {
        let (first, step) = (i128::from(self.first_ns), i128::from(self.step_ns));
        let place = |time_ns: i64| {
            let at = (i128::from(time_ns) - first + step - 1).div_euclid(step);
            usize::try_from(at.clamp(0, self.places() as i128)).unwrap_or(0)
        };
        let (from, to) = (place(window.start_ns), place(window.end_ns));
        (from < to).then_some((from, to))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::cell::compare;
    use crate::sandbox::{Options, Sandbox};

    const NOW_NS: i64 = 1_790_000_000_123_456_789;

    fn all(history: &History) -> Vec<Cell> {
        history.windows().into_iter().flat_map(|window| history.cells(window)).collect()
    }

    /// A database to which the same is done holds what the record says.
    #[test]
    fn the_record_says_what_a_database_holds() {
        let mut history = History::new(NOW_NS, 1);
        let sandbox = Sandbox::spawn_thread(Options::default()).unwrap();
        sandbox.create_database("d");
        history.load(|body| sandbox.load("d", body)).unwrap();
        assert_eq!((history.before(), history.points()), (5_000, 5_000));
        assert!(compare(all(&history), sandbox.cells("d", "")).is_empty());
        let near = Window { start_ns: NOW_NS - 30 * WEEK_NS, end_ns: NOW_NS - 29 * WEEK_NS };
        for turn in 0..20 {
            let mut body = String::new();
            let overwrites = history.change(50, (turn > 5).then_some(near), &mut body);
            assert!(overwrites < 50);
            sandbox.load("d", body.as_bytes()).unwrap();
            let stretch = history.choose(Some(near));
            let statement =
                percent_encoding::utf8_percent_encode(&history.statement(stretch), percent_encoding::NON_ALPHANUMERIC)
                    .to_string();
            let sent = ask(&sandbox, &statement);
            assert!(sent.contains("statement_id"), "{sent}");
            history.deleted(stretch);
        }
        let differences = compare(all(&history), sandbox.cells("d", ""));
        assert!(differences.is_empty(), "{differences}");
        let Changes { overwritten, late, deleted } = history.changes();
        assert!(overwritten > 300 && late > 100 && deleted > 30, "{:?}", history.changes());
        assert_eq!(history.points(), history.before() + late - deleted);
    }

    fn ask(sandbox: &Sandbox, statement: &str) -> String {
        use std::io::{Read as _, Write as _};
        let mut stream = std::net::TcpStream::connect(sandbox.addr()).unwrap();
        let head = format!("POST /query?db=d&q={statement} HTTP/1.0\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn the_windows_cover_all_of_time_once() {
        let history = History::new(NOW_NS, 30);
        let windows = history.windows();
        assert_eq!((windows[0].start_ns, windows[windows.len() - 1].end_ns), (i64::MIN, i64::MAX));
        assert!(windows.windows(2).all(|pair| pair[0].end_ns == pair[1].start_ns));
        // What clients write today lies in the last one.
        assert!(windows[windows.len() - 1].start_ns < NOW_NS);
        let mut places: BTreeMap<i64, u32> = BTreeMap::new();
        for cell in all(&history) {
            *places.entry(cell.time_ns).or_default() += 1;
        }
        assert_eq!(places.len() as u64, POINTS_MAX / 20);
        assert!(places.values().all(|cells| *cells == 20 * 4), "each once");
        let end_ns = places.last_key_value().map_or(0, |(time, _)| *time);
        assert!(end_ns < NOW_NS && end_ns > NOW_NS - WEEK_NS);
    }
}
