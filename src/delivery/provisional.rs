//! Floors of a destination that answers before the data is on its disk: what it has acknowledged dies with its process.
//!
//! Promise: a floor becomes durable only when the process that acknowledged everything below it was seen alive
//! [`HOLD`] later. When another process answers instead, delivery begins again at the last durable floors: what the dead one
//! may have lost is sent once more.
//!
//! Where others get the same log, one that is away must not hold it back by what it has acknowledged and may have lost: beyond
//! `route_backlog` delivery goes back to the durable floors ([`Provisional::hold_back`]). From there on nothing is acknowledged, so
//! that floors which pass only gaps are durable at once.

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use super::Shared;
use super::tell::{answers_again, pause_destination, remark};
use crate::base::{Error, Kind, Side};
use crate::db::victoria;
use crate::queue::Floors;

/// What was acknowledged before that is on disk.
const HOLD: Duration = victoria::ON_DISK_AFTER;
/// How often it is asked when it began.
const ASK_EVERY: Duration = Duration::from_secs(2);
/// The code of a pause without an answer to that, and of one where a write finds nobody.
const UNREACHABLE: &str = "unreachable";
/// An answer to that is waited for no longer.
const ASK_MAX: Duration = Duration::from_secs(5);
/// Floors that wait; when there are more, every other one is forgotten.
const WAITING_MAX: usize = 256;

/// What is known of the process at the destination.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    /// When it began, by its own clock, seconds; `None` where it does not say.
    started_s: Option<u64>,
    /// When it was asked last and was still the same, monotonic.
    same_at: Duration,
    /// Another one has answered.
    pub(super) is_another: bool,
}

impl Seen {
    /// Whether it was not seen for so long that what it had acknowledged before would have come to be durable.
    pub(super) fn is_away(self, now: Duration) -> bool {
        now.saturating_sub(self.same_at) > HOLD + ASK_EVERY + ASK_MAX
    }
}

/// Floors that are not durable yet.
#[derive(Debug)]
pub(super) struct Provisional {
    seen: Rc<Cell<Seen>>,
    /// Oldest first.
    waiting: VecDeque<Taken>,
    /// The newest that may be durable.
    ripe: Floors,
    /// How far the log was read when those were taken, bytes.
    ripe_bytes: u64,
}

/// Floors as they were at a moment.
#[derive(Debug)]
struct Taken {
    /// When the last thing below them was acknowledged, monotonic; `None`: nothing was since delivery began.
    acknowledged: Option<Duration>,
    /// How far the log was read.
    read_bytes: u64,
    floors: Floors,
}

impl Provisional {
    /// `floors`: those that are durable.
    pub(super) fn new(seen: Rc<Cell<Seen>>, floors: Floors) -> Self {
        Self { seen, waiting: VecDeque::new(), ripe: floors, ripe_bytes: 0 }
    }

    /// The newest floors that may be durable. `floors`: as they are now. `acknowledged`: when the destination has stored something
    /// last, if it has since delivery began. `read_bytes`: how far the log is read.
    pub(super) fn ripe(&mut self, floors: Floors, acknowledged: Option<Duration>, read_bytes: u64) -> Floors {
        if self.ripe_bytes == 0 || self.waiting.is_empty() && self.ripe == floors {
            self.ripe_bytes = read_bytes;
        }
        if self.waiting.back().map_or(&self.ripe, |last| &last.floors) != &floors {
            if self.waiting.len() >= WAITING_MAX {
                let mut at = 0;
                self.waiting.retain(|_| {
                    at += 1;
                    at % 2 == 0
                });
            }
            self.waiting.push_back(Taken { acknowledged, read_bytes, floors });
        }
        let seen = self.seen.get();
        while let Some(taken) = self.waiting.front()
            && !seen.is_another
            && taken.acknowledged.is_none_or(|at| seen.same_at >= at + HOLD)
        {
            let Some(taken) = self.waiting.pop_front() else { break };
            (self.ripe, self.ripe_bytes) = (taken.floors, taken.read_bytes);
        }
        self.ripe.clone()
    }

    /// How much of the log is kept, at least, for the sake of what is acknowledged and may be lost, bytes; `None` where nothing is.
    pub(super) fn hold_back(&self, read_bytes: u64) -> Option<u64> {
        (!self.waiting.is_empty()).then(|| read_bytes.saturating_sub(self.ripe_bytes))
    }
}

/// Times between two beginnings that are told from an accident.
const ANEW_WITHIN: Duration = Duration::from_secs(120);
/// So many of them are one.
const ANEW_MAX: usize = 3;
/// Then each next one waits for so long.
const ANEW_PAUSE: Duration = Duration::from_secs(30);

/// How often delivery has begun again of late.
#[derive(Debug, Default)]
pub(super) struct Anew(VecDeque<Duration>);

impl Anew {
    /// It begins again now; the pause before. Behind one address there may be two processes, of which each look meets
    /// another one.
    pub(super) fn pause(&mut self, now: Duration) -> Duration {
        self.0.retain(|at| now.saturating_sub(*at) < ANEW_WITHIN);
        self.0.push_back(now);
        if self.0.len() > ANEW_MAX { ANEW_PAUSE } else { Duration::ZERO }
    }
}

/// Asks the destination, again and again, when its process began and which times it keeps. Nothing is sent before the first answer.
/// Without one it is away, unless it has stored something meanwhile.
pub(super) async fn watch(shared: Rc<Shared>, seen: Rc<Cell<Seen>>) {
    loop {
        let asked = shared.clock.monotonic();
        let asking = tokio::time::timeout(ASK_MAX, victoria::about(&shared.server)).await;
        let silent = |_| Err(Error::new(Kind::Timeout, Side::Destination, "no answer in time"));
        let answered = asking.unwrap_or_else(silent);
        if let Err(error) = &answered
            && shared.stored_at.get() <= asked
        {
            pause_destination(&shared, UNREACHABLE, format!("its start time cannot be asked: {error}"), None);
        }
        if let Ok(about) = answered {
            if about.started_s.is_some() {
                // Another process may keep other times.
                shared.writing.set(shared.writing.get().keeping(about.keeps));
            }
            seen.set(after(seen.get(), about.started_s, asked));
            if about.started_s.is_none() {
                let text = "does not say when it began (/metrics): should it die, what it had acknowledged in the last \
                            seconds before may be missing there";
                remark(&shared, "restarts-unseen", text);
            }
            shared.may_send.set(true);
            answers_again(&shared, UNREACHABLE, asked);
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

fn after(before: Seen, started_s: Option<u64>, asked: Duration) -> Seen {
    let is_another = before.started_s.is_some() && started_s.is_some() && before.started_s != started_s;
    let is_another = is_another || before.is_another;
    let same_at = if is_another { before.same_at } else { asked };
    Seen { started_s: before.started_s.or(started_s), same_at, is_another }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Lsn;

    fn floors(at: u64) -> Floors {
        Floors { lanes: vec![Lsn(at)], counters: Vec::new() }
    }

    #[test]
    fn floors_wait_until_their_process_was_seen_again() {
        let at = Duration::from_secs;
        let seen = Rc::new(Cell::new(after(Seen::default(), Some(7), at(0))));
        let mut provisional = Provisional::new(Rc::clone(&seen), floors(1));
        let mut ripe = |now, floor| provisional.ripe(floors(floor), Some(at(now)), floor).lanes[0].0;
        assert_eq!((ripe(1, 2), ripe(2, 3), ripe(30, 3)), (1, 1, 1), "it was not asked since");
        seen.set(after(seen.get(), Some(7), at(16)));
        assert_eq!(ripe(31, 4), 2);
        seen.set(after(seen.get(), None, at(40)));
        assert_eq!(ripe(41, 4), 3, "an answer without the time: it is taken for the same");
        seen.set(after(seen.get(), Some(8), at(60)));
        assert_eq!(ripe(100, 5), 3, "another process: what it did not acknowledge is sent again");
        assert!(seen.get().is_another);
        seen.set(after(seen.get(), Some(8), at(120)));
        assert_eq!(ripe(121, 5), 3);
    }

    #[test]
    fn lines_are_written_for_the_times_that_the_process_keeps_which_answers() {
        use super::super::Writing;
        use crate::line::project::VictoriaRules;
        let rules = VictoriaRules { refuse_texts: true, past_ms: i64::MAX, ahead_ms: 2, now_ms: 0 };
        let keeps = victoria::Keeps { past_ms: 7, ahead_ms: 3 };
        let now = Writing::Victoria(rules).keeping(keeps);
        assert_eq!(now, Writing::Victoria(VictoriaRules { past_ms: 7, ahead_ms: 3, ..rules }));
        assert_eq!(Writing::Influx3.keeping(keeps), Writing::Influx3);
    }

    #[test]
    fn who_begins_again_and_again_is_slowed_down() {
        let at = Duration::from_secs;
        let mut anew = Anew::default();
        assert_eq!([0, 10, 20, 30, 60].map(|now| anew.pause(at(now)).as_secs()), [0, 0, 0, 30, 30]);
        assert_eq!(anew.pause(at(500)), Duration::ZERO);
    }

    #[test]
    fn of_very_many_floors_some_are_kept() {
        let at = Duration::from_millis;
        let seen = Rc::new(Cell::new(Seen::default()));
        let mut provisional = Provisional::new(Rc::clone(&seen), floors(0));
        for tick in 1..100_000 {
            provisional.ripe(floors(tick), Some(at(tick)), tick);
            assert!(provisional.waiting.len() <= WAITING_MAX);
        }
        seen.set(after(seen.get(), Some(1), at(150_000)));
        assert_eq!(provisional.ripe(floors(100_000), Some(at(150_000)), 0).lanes[0], Lsn(99_999));
    }

    #[test]
    fn what_passes_nothing_that_was_acknowledged_is_ripe_at_once_and_the_rest_holds_back_the_log() {
        let seen = Rc::new(Cell::new(Seen::default()));
        let mut provisional = Provisional::new(Rc::clone(&seen), floors(1));
        assert_eq!(provisional.ripe(floors(5), None, 100).lanes[0], Lsn(5), "nobody is there, and nothing was sent");
        assert_eq!(provisional.hold_back(900), None);
        assert_eq!(provisional.ripe(floors(5), None, 200).lanes[0], Lsn(5));
        let at = Some(Duration::from_secs(3));
        assert_eq!(provisional.ripe(floors(6), at, 300).lanes[0], Lsn(5));
        assert_eq!(provisional.ripe(floors(7), at, 400).lanes[0], Lsn(5));
        assert_eq!(provisional.hold_back(900), Some(700), "since the durable floors were the newest");
        seen.set(after(seen.get(), Some(1), Duration::from_secs(18)));
        assert_eq!(provisional.ripe(floors(8), at, 500).lanes[0], Lsn(8), "seen 15 s after the last was acknowledged");
    }
}
