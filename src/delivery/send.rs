//! Brings one batch to its end: stored, or refused for good and recorded so. One request in flight per lane.

use std::rc::Rc;
use std::time::Duration;

use metrics::counter;

use super::Shared;
use super::attempt::{BROKEN, attempt, is_alive};
use super::batch::Batch;
use super::lane::Place;
use super::part::Part;
use super::settle::{Next, Work};
use super::target::TargetId;
use super::{columns, tell, twice};
use crate::base::failpoint::{self, Point};
use crate::base::metric;
use crate::state::Effects;

/// Pause between attempts to write to our own state store.
pub(super) const STATE_RETRY: Duration = Duration::from_millis(500);

/// A lane looks so often whether an operator's hold has ended: that may be over before anybody else has seen it.
const HOLD_LOOK: Duration = Duration::from_millis(100);

/// How a batch left.
enum End {
    /// Nothing of it is left.
    Done,
    /// Its target is paused, becomes a gap with all others, or an older request without an answer may still write what comes next of it.
    Parked,
    /// We are stopping.
    Stopped,
}

/// Sends what a lane holds, for as long as the process runs.
pub(super) async fn run_lane(shared: Rc<Shared>, index: usize) {
    while let Some((place, batch)) = next_batch(&shared, index).await {
        let bytes = batch.held_bytes();
        let batch = Rc::new(batch);
        let end = bring_to_end(&shared, index, &batch).await;
        let stopped = matches!(end, End::Stopped);
        if matches!(end, End::Done) {
            failpoint::hit(Point::Delivered);
            let mut lane = shared.lanes[index].borrow_mut();
            let before = lane.again_bytes();
            lane.finish();
            let pending = shared.pending_bytes.get() + lane.again_bytes() - before;
            drop(lane);
            shared.pending_bytes.set(pending - bytes);
            shared.room.notify_one();
            if place != Place::Again {
                counter!(metric::DELIVERED, metric::DESTINATION => shared.id.to_string()).increment(batch.len() as u64);
            }
        } else {
            let batch = Rc::try_unwrap(batch).unwrap_or_else(|shared| (*shared).clone());
            shared.lanes[index].borrow_mut().put_back(place, batch);
        }
        if stopped {
            return;
        }
    }
}

/// Waits for a batch that may go; `None` when we are stopping.
async fn next_batch(shared: &Shared, index: usize) -> Option<(Place, Batch)> {
    loop {
        if shared.stopping.get() {
            return None;
        }
        let now = shared.clock.monotonic();
        let until = match shared.pauses.destination_until(now) {
            Some(until) => Some(until),
            None if shared.hold.lasts() => Some(now + HOLD_LOOK),
            None => {
                let wait = shared.settings.batch_wait;
                let closing = shared.closing.borrow();
                let holds = |target| shared.pauses.holds(target, now) || closing.contains(&target);
                match shared.lanes[index].borrow_mut().take(now, wait, holds) {
                    Ok(found) => return Some(found),
                    Err(due) => due.into_iter().chain(shared.pauses.next_probe(now)).min(),
                }
            }
        };
        let woken = shared.work[index].notified();
        match until {
            Some(until) => {
                // Woken early is fine: the loop looks again.
                let _ = tokio::time::timeout(until.saturating_sub(now), woken).await;
            }
            None => woken.await,
        }
    }
}

async fn bring_to_end(shared: &Shared, lane: usize, batch: &Rc<Batch>) -> End {
    let mut work = Work::new(shared, lane, batch);
    while let Some(part) = work.parts.pop_front() {
        // Another lane may have met what holds for us as well.
        rest(shared, batch.target).await;
        if shared.stopping.get() {
            return End::Stopped;
        }
        if becomes_gap(shared, batch.target) {
            return End::Parked;
        }
        let bytes_max = shared.sizes.bytes_max(shared.clock.monotonic()).min(shared.pace.bytes_max());
        let part = part.cut(bytes_max, &mut work.parts);
        if work.open.has_older_of(&part, shared.clock.monotonic()) {
            // The lane holds these lines back, and sends the others.
            return End::Parked;
        }
        if let Next::Parked = one_request(&mut work, part).await {
            return End::Parked;
        }
    }
    End::Done
}

/// One request for a part, and what follows from its end.
async fn one_request(work: &mut Work<'_>, mut part: Part) -> Next {
    let (shared, target) = (work.shared, part.batch.target);
    let suspected = part.is_suspected();
    let now = shared.clock.monotonic();
    let begins = shared.pace.turn(now, part.bytes());
    if begins > now {
        tokio::time::sleep(begins - now).await;
    }
    let turn = shared.crowd.turn(suspected).await;
    let paused = shared.hold.lasts() || shared.pauses.destination_until(shared.clock.monotonic()).is_some();
    if shared.stopping.get() || paused {
        // It went away, or an operator paused, while we waited for our turn.
        work.parts.push_front(part);
        return Next::Go;
    }
    if columns::are_still_lost(shared, &part).await {
        return Next::Parked;
    }
    if suspected {
        // What breaks now breaks under this part only if the destination is there now.
        is_alive(shared, target).await;
    }
    let ended = attempt(shared, work.lane, &part, work.gzip).await;
    shared.pace.ended(shared.clock.monotonic().saturating_sub(ended.began), part.bytes(), part.len());
    if ended.verdict.open && twice::matters(shared.product) {
        part.met.unsure = true;
        columns::note(shared, &part);
    }
    if let Some(until) = ended.open_until {
        work.open.add(&part, until);
    }
    let broke = ended.verdict.code == BROKEN && ended.was_alive;
    let died = broke && suspected && !is_alive(shared, target).await;
    drop(turn);
    if broke { work.broke(part, &ended, died).await } else { work.settle(part, ended).await }
}

/// While the destination stands still nothing ends what a lane has begun: it lets go of what is to become a gap.
pub(super) fn becomes_gap(shared: &Shared, target: TargetId) -> bool {
    shared.pauses.all_stand_still() && shared.closing.borrow().contains(&target)
}

/// Waits out the destination's pause, and an operator's.
async fn rest(shared: &Shared, target: TargetId) {
    while (shared.hold.lasts() || !shared.may_send.get()) && !shared.stopping.get() {
        tokio::time::sleep(HOLD_LOOK).await;
    }
    while let Some(until) = shared.pauses.destination_until(shared.clock.monotonic()) {
        if shared.stopping.get() || becomes_gap(shared, target) {
            return;
        }
        let left = until.saturating_sub(shared.clock.monotonic());
        // In short steps, so that a stop is not held up by a long pause.
        tokio::time::sleep(left.min(Duration::from_millis(200))).await;
    }
}

/// Makes effects durable, however long that takes: the floor must not pass before.
pub(super) async fn record_effects(shared: &Shared, effects: Effects) {
    if effects.is_empty() {
        return;
    }
    while let Err(error) = shared.state.record(&shared.id, effects.clone()).await {
        tell::store_fails(shared, &error);
        tokio::time::sleep(STATE_RETRY).await;
    }
    tell::store_works(shared);
    if !effects.dead_letters.is_empty() {
        failpoint::hit(Point::DeadLetterDurable);
    }
    if !effects.dirty.is_empty() {
        failpoint::hit(Point::DoubtDurable);
    }
    shared.letters.stored(&effects.dead_letters);
}
