//! Lines that are refused for good: recorded, counted and told.
//!
//! Promises: a letter is durable before the floor can pass its line; the store of letters is bounded in bytes (beyond that by the
//! lines of one record), and when it is full delivery stands still until somebody looks at it, or, where others get the same log, until
//! what waits becomes a gap: no lane keeps hold of what it cannot put aside, and nothing more is dealt out meanwhile; a flood of refusals
//! makes one event per reason and minute.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::time::Duration;

use super::Shared;
use super::batch::LineAt;
use super::part::Part;
use super::send::{STATE_RETRY, becomes_gap, record_effects};
use super::target::TargetId;
use super::tell::{has_room_again, pause_destination};
use crate::state::{DeadLetter, Effects, Event, EventKind};

/// At most one event per reason in this time.
const TELL_EVERY: Duration = Duration::from_secs(60);
/// What of a destination's words goes into an event, characters.
const WORDS_MAX: usize = 200;

/// What is known about the letters of one destination without asking the store.
#[derive(Debug, Default)]
pub(super) struct Letters {
    /// Bytes that they take, never less than there are: a letter written again counts twice here until the store is asked.
    bytes: Cell<Option<u64>>,
    /// Lines that were known beforehand have filled the store; and when it was looked at last, monotonic.
    full: Cell<Option<Duration>>,
    /// By what it is and code, of which there are a few: when it was told last, and what has come since.
    told: RefCell<HashMap<(EventKind, &'static str), Told>>,
}

/// When it was told last, and how many have come since.
type Told = (Duration, u64);

impl Letters {
    /// These are in the store now.
    pub(super) fn stored(&self, letters: &[DeadLetter]) {
        self.bytes.set(self.bytes.get().map(|known| known + bytes_of(letters)));
    }

    /// Whether nothing may be dealt out, since what must be put aside of it has no room.
    pub(super) fn are_full(&self) -> bool {
        self.full.get().is_some()
    }

    /// Whether so many bytes more fit for sure.
    fn fit(&self, bytes: u64, max: u64) -> bool {
        self.bytes.get().is_some_and(|known| known.saturating_add(bytes) <= max)
    }

    /// Counts refused lines, or other news; how many are to be told now, if it is time to.
    pub(super) fn due(&self, kind: EventKind, code: &'static str, news: u64, now: Duration) -> Option<u64> {
        let mut told = self.told.borrow_mut();
        let Some((last, since)) = told.get_mut(&(kind, code)) else {
            told.insert((kind, code), (now, 0));
            return Some(news);
        };
        *since += news;
        if now.saturating_sub(*last) < TELL_EVERY {
            return None;
        }
        *last = now;
        Some(std::mem::take(since))
    }
}

/// A destination's words for an event: short, and without the line that they quote.
pub(super) fn words(reason: &str) -> String {
    const QUOTES: &str = "unable to parse";
    let end = reason.find(QUOTES).map_or(reason.len(), |start| start + QUOTES.len());
    reason[..end].chars().take(WORDS_MAX).collect()
}

fn bytes_of(letters: &[DeadLetter]) -> u64 {
    letters.iter().map(|letter| letter.text.len() as u64).sum()
}

/// A line that is refused for good: its number in the part, and why.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    pub(super) line: usize,
    pub(super) code: &'static str,
    pub(super) reason: String,
}

/// Records all lines of a part, refused for one reason; see [`bury`].
#[must_use]
pub(super) async fn bury_all(shared: &Shared, lane: usize, part: &Part, code: &'static str, reason: &str) -> bool {
    let refusals = (0..part.len()).map(|line| Refusal { line, code, reason: reason.to_owned() }).collect();
    bury(shared, lane, part, refusals).await
}

/// The time that a line ends with.
pub(super) fn time_of(text: &[u8], unit_ns: i64) -> Option<i64> {
    let text = text.trim_ascii_end();
    let digits = &text[text.iter().rposition(|byte| *byte == b' ')? + 1..];
    let time: i64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    time.checked_mul(unit_ns)
}

/// Records lines that are refused for good; durable before the floor can pass them. False: there is no room for them, and what waits
/// for their target is to become a gap.
#[must_use]
pub(super) async fn bury(shared: &Shared, lane: usize, part: &Part, refusals: Vec<Refusal>) -> bool {
    let mut codes: Vec<(&'static str, u64, String)> = Vec::new();
    let mut places = Vec::with_capacity(refusals.len());
    let mut letters = Vec::with_capacity(refusals.len());
    let unit_ns = shared.writing.get().unit_ns();
    for Refusal { line, code, reason } in refusals {
        let (at, text) = part.batch.line(part.lines.start + line);
        // Lines that went as one are refused as one, and are letters of their own.
        let all = shared.rows.of(at.lsn, at.line).unwrap_or_else(|| vec![(at.line, text.to_vec())]);
        match codes.iter_mut().find(|(known, ..)| *known == code) {
            Some((_, lines, _)) => *lines += all.len() as u64,
            None => codes.push((code, all.len() as u64, words(&reason))),
        }
        for (line, text) in all {
            places.push(LineAt { line, ..at });
            letters.push(DeadLetter {
                lsn: at.lsn,
                line,
                route: at.route,
                route_name: unlisted(shared, lane, part, at),
                code: code.to_owned(),
                reason: reason.clone(),
                time_ns: time_of(&text, unit_ns),
                text: text.trim_ascii_end().to_vec(),
            });
        }
    }
    if !room(shared, part.batch.target, bytes_of(&letters)).await {
        return false;
    }
    record_effects(shared, Effects { dead_letters: letters, ..Effects::default() }).await;
    for at in places {
        shared.lanes[lane].borrow_mut().mark_dead(at.lsn, at.line);
    }
    for (code, lines, reason) in codes {
        tell_refused(shared, code, lines, &reason);
    }
    true
}

/// The name of the route of a line if that has no number; where there are too many to remember, its place at the
/// destination.
fn unlisted(shared: &Shared, lane: usize, part: &Part, at: LineAt) -> String {
    if at.route.0 != 0 {
        return String::new();
    }
    let name = shared.lanes[lane].borrow().name_of(at.lsn).to_owned();
    if name.is_empty() { shared.targets.get(part.batch.target).target.to_string() } else { name }
}

/// Records lines that are not sent because what would become of them is known. They are taken whole: who deals out waits for nobody here,
/// and deals out no more while the store is full.
pub(super) async fn put_aside(shared: &Shared, letters: Vec<DeadLetter>) {
    if letters.is_empty() {
        return;
    }
    let counts = by_code(&letters);
    record_effects(shared, Effects { dead_letters: letters, ..Effects::default() }).await;
    for (code, lines) in counts {
        tell_refused(shared, code, lines, "known before they were sent");
    }
    if !shared.letters.fit(0, shared.dead_letter_bytes_max) {
        look(shared).await;
    }
}

/// Looks, now and then, whether there is room again for what is known before it is sent.
pub(super) async fn see_room(shared: &Shared) {
    let now = shared.clock.monotonic();
    if shared.letters.full.get().is_some_and(|looked| now.saturating_sub(looked) >= STATE_RETRY) {
        look(shared).await;
    }
}

async fn look(shared: &Shared) {
    let full = &shared.letters.full;
    // Where it does not answer, nobody knows better than before.
    full.set(full.get().map(|_| shared.clock.monotonic()));
    let Ok(totals) = shared.state.totals(&shared.id).await else { return };
    let stored = totals.dead_letter_bytes;
    shared.letters.bytes.set(Some(stored));
    if stored >= shared.dead_letter_bytes_max {
        full.set(Some(shared.clock.monotonic()));
        pause_destination(shared, FULL, full_text(stored), None);
    } else if full.take().is_some() {
        has_room_again(shared, FULL);
        shared.room.notify_one();
    }
}

/// How many lines are put aside for each of the reasons that there are.
fn by_code(letters: &[DeadLetter]) -> Vec<(&'static str, u64)> {
    const CODES: [&str; 6] = ["bad-name", "same-name", "unstorable", "unreadable", "too-large", "text"];
    let count = |code| letters.iter().filter(|letter| letter.code == code).count() as u64;
    let counts = CODES.map(|code| (code, count(code)));
    debug_assert_eq!(
        counts.iter().map(|(_, lines)| lines).sum::<u64>(),
        letters.len() as u64,
        "a code is missing here"
    );
    counts.into_iter().filter(|(_, lines)| *lines > 0).collect()
}

/// One event a minute for each code.
fn tell_refused(shared: &Shared, code: &'static str, lines: u64, reason: &str) {
    if let Some(lines) = shared.letters.due(EventKind::DeadLetter, code, lines, shared.clock.monotonic()) {
        tracing::warn!(event = "delivery.dead_letter", lines, code, "lines were refused for good");
        let text = format!("{lines} line(s) refused by {} as {code}: {reason}", shared.id);
        drop(shared.state.add_event(Event { at_ns: shared.clock.wall_ns(), kind: EventKind::DeadLetter, text }));
    }
}

/// The store is full.
const FULL: &str = "dead-letters-full";

fn full_text(stored: u64) -> String {
    format!(
        "the dead-letter store holds {stored} bytes, as many as queue.dead_letter_max allows: look at them (twinline deadletter ls), \
         mend what they name, then replay or purge them; or raise it and restart"
    )
}

/// The store of refused lines is bounded too: when it is full, delivery stands still until somebody makes room in it. False: what waits
/// for the target becomes a gap first.
async fn room(shared: &Shared, target: TargetId, bytes: u64) -> bool {
    let mut stood = false;
    while !shared.letters.fit(bytes, shared.dead_letter_bytes_max) && !shared.stopping.get() {
        if let Ok(totals) = shared.state.totals(&shared.id).await {
            let stored = totals.dead_letter_bytes;
            shared.letters.bytes.set(Some(stored));
            // What is refused at once may be more than the bound: it is taken whole, once half of the room is there.
            if stored.saturating_add(bytes.min(shared.dead_letter_bytes_max / 2)) <= shared.dead_letter_bytes_max {
                break;
            }
            pause_destination(shared, FULL, full_text(stored), None);
            stood = true;
        }
        if becomes_gap(shared, target) {
            return false;
        }
        tokio::time::sleep(STATE_RETRY).await;
    }
    if stood && !shared.stopping.get() {
        has_room_again(shared, FULL);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Lsn, RouteId};

    #[test]
    fn each_reason_to_put_a_line_aside_is_told() {
        let letter = |code: &str| DeadLetter {
            lsn: Lsn(1),
            line: 0,
            route: RouteId(1),
            route_name: String::new(),
            code: code.to_owned(),
            reason: String::new(),
            text: Vec::new(),
            time_ns: None,
        };
        let letters = ["text", "same-name", "bad-name", "same-name"].map(letter);
        assert_eq!(by_code(&letters), [("bad-name", 1), ("same-name", 2), ("text", 1)]);
    }

    #[test]
    fn a_line_ends_with_its_time() {
        assert_eq!(time_of(b"m,t=a\\ 7 v=\"b 8\" -9\n", 1), Some(-9));
        assert_eq!(time_of(b"m v=1 1700000000000", 1_000_000), Some(1_700_000_000_000_000_000));
        for none in [&b""[..], b"m v=1", b"m v=1 9223372036854775807", b"m v=\"a 5\""] {
            assert_eq!(time_of(none, 1_000_000), None, "{none:?}");
        }
    }

    #[test]
    fn a_flood_is_one_event_a_minute_with_every_line_counted() {
        let letters = Letters::default();
        let at = Duration::from_secs;
        assert_eq!(letters.due(EventKind::DeadLetter, "parse", 1, at(5)), Some(1));
        assert_eq!(
            (
                letters.due(EventKind::DeadLetter, "parse", 2, at(6)),
                letters.due(EventKind::DeadLetter, "parse", 3, at(64))
            ),
            (None, None)
        );
        assert_eq!(letters.due(EventKind::DeadLetter, "expired", 9, at(64)), Some(9), "another reason is told at once");
        assert_eq!(letters.due(EventKind::DeadLetter, "parse", 4, at(65)), Some(9));
        assert_eq!(letters.due(EventKind::DeadLetter, "parse", 1, at(66)), None);
        assert_eq!(letters.due(EventKind::DestinationRemark, "parse", 1, at(66)), Some(1), "another thing");
    }

    #[test]
    fn the_store_is_asked_only_when_its_size_is_not_known_or_near_the_bound() {
        let letter = |text: &[u8]| DeadLetter {
            lsn: Lsn(1),
            line: 0,
            route: RouteId(1),
            route_name: String::new(),
            code: "parse".to_owned(),
            reason: String::new(),
            text: text.to_vec(),
            time_ns: None,
        };
        let letters = Letters::default();
        assert!(!letters.fit(1, 100), "not known yet");
        letters.bytes.set(Some(90));
        assert!(letters.fit(10, 100) && !letters.fit(11, 100));
        letters.stored(&[letter(b"12345"), letter(b"123")]);
        assert!(letters.fit(2, 100) && !letters.fit(3, 100));
    }

    #[test]
    fn an_events_words_are_short_and_quote_no_line() {
        assert_eq!(words("partial write: unable to parse 'secret v=1': bad"), "partial write: unable to parse");
        assert_eq!(words(&"é".repeat(5000)).chars().count(), WORDS_MAX);
    }
}
