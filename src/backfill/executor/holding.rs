//! The region of a chunk, held for as long as it must be and no longer.
//!
//! Promises: a chunk waits for its hold, with the reason shown, and is not given up for want of one; a region that is being read keeps
//! nobody waiting beyond [`Limits`]: then it is released, and comes again in smaller pieces. Once its write has begun it is held to the end.

use std::time::Duration;

use super::lanes::Piece;
use super::{Executor, STOP_LOOK};
use crate::backfill::chunk::{ATTEMPTS_MAX, Event, Machine};
use crate::backfill::gate::{Hold, Watch, region};
use crate::base::{Error, Kind, Result, Retry, Side};

/// The first and the longest wait before a hold is asked for again.
const WAIT: Duration = Duration::from_millis(100);
const WAIT_MAX: Duration = Duration::from_secs(5);
/// How often it is looked whether the chunk before is written.
const TURN_LOOK: Duration = Duration::from_millis(2);

/// What a region may cost delivery until its write begins.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Reading lasts no longer.
    pub hold_max: Duration,
    /// No more waits in lanes for the release.
    pub parked_bytes_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { hold_max: Duration::from_secs(10), parked_bytes_max: 64 << 20 }
    }
}

/// Shown while a region is drained.
const DRAINS: &str = "delivery brings what came before to its end on both sides";

impl Executor {
    /// Holds the region of a piece, with all that came before it at its end; `None`: somebody wants us to end.
    pub(super) async fn held(&self, piece: &Piece) -> Result<Option<(Machine, Hold)>> {
        let mut wait = WAIT;
        loop {
            let mut machine = Machine::new(piece.attempt, self.parts.late_max, self.acks_early);
            let error = match self.drained(piece, &mut machine).await {
                Ok(done) => return Ok(done.map(|hold| (machine, hold))),
                Err(error) if error.retry() == Retry::Yes => error,
                Err(error) => return Err(error),
            };
            let is_stopped = self.waits(error.to_string(), wait).await;
            if is_stopped {
                return Ok(None);
            }
            wait = (wait * 2).min(WAIT_MAX);
        }
    }

    async fn drained(&self, piece: &Piece, machine: &mut Machine) -> Result<Option<Hold>> {
        machine.step(Event::Begin);
        let region = region(&self.parts.places[piece.place].name, &piece.measurement, piece.window);
        let mut hold = self.parts.gate.hold(region).await?;
        machine.step(Event::Held);
        let parked = hold.watch();
        let _waiting = self.parts.gate.holds().then(|| self.parts.progress.waiting(DRAINS.to_owned()));
        let done = tokio::select! {
            done = hold.drained() => Some(done),
            why = self.overfull(&parked) => Some(Err(why)),
            () = self.parts.writer.stop.forever() => None,
        };
        match done {
            Some(Ok(())) => {
                machine.step(Event::Drained);
                Ok(Some(hold))
            }
            Some(Err(error)) => {
                hold.release().await;
                Err(error)
            }
            None => {
                hold.release().await;
                Ok(None)
            }
        }
    }

    /// Waits with a reason that is shown; whether somebody wants us to end.
    pub(super) async fn waits(&self, why: String, how_long: Duration) -> bool {
        let _waiting = self.parts.progress.waiting(why);
        self.parts.writer.stop.wait(how_long).await
    }

    /// Until a region that is being read costs delivery too much; why. `Timeout`: it took too long, whoever waits for it.
    pub(super) async fn breached(&self, hold: &Hold) -> Error {
        let began = self.parts.clock.monotonic();
        let late = async {
            loop {
                tokio::time::sleep(STOP_LOOK).await;
                let lasts = self.parts.clock.monotonic().saturating_sub(began);
                if self.parts.gate.holds() && lasts > self.parts.limits.hold_max {
                    let what = format!("it was not read in the {} s for which its region is held", lasts.as_secs());
                    return Error::new(Kind::Timeout, Side::Own, what).retryable();
                }
            }
        };
        let parked = hold.watch();
        tokio::select! {
            why = late => why,
            why = self.overfull(&parked) => why,
        }
    }

    /// Until too much waits for the release of a region; never where nobody waits.
    async fn overfull(&self, watch: &Watch) -> Error {
        loop {
            tokio::time::sleep(STOP_LOOK).await;
            if let Some(why) = self.is_overfull(watch) {
                return Error::new(Kind::Limit, Side::Own, why).retryable();
            }
        }
    }

    fn is_overfull(&self, watch: &Watch) -> Option<String> {
        let parked = watch.parked();
        let is_too_much = parked.bytes > self.parts.limits.parked_bytes_max || parked.broken.is_some();
        is_too_much.then(|| format!("{} lines of clients wait for the region", parked.lines))
    }

    /// Whether a region that waits for its turn to be written, held since then, keeps clients' lines waiting for too long.
    pub(super) fn is_late(&self, watch: &Watch, held_at: Duration) -> Option<String> {
        let parked = watch.parked();
        let lasts = self.parts.clock.monotonic().saturating_sub(held_at);
        let somebody_waits = parked.lines > 0 || parked.statement_waits;
        let late = somebody_waits && lasts > self.parts.limits.hold_max;
        self.is_overfull(watch)
            .or_else(|| late.then(|| format!("clients wait for the region for {} s", lasts.as_secs())))
    }

    /// Waits until nothing is being written, so that what was read is written at once. `Some`: it keeps clients waiting for too long.
    pub(super) async fn turn(&self, watch: &Watch, held_at: Duration) -> Option<String> {
        if !self.parts.gate.holds() {
            return None;
        }
        while self.writes.get() {
            if let Some(why) = self.is_late(watch, held_at) {
                return Some(why);
            }
            tokio::time::sleep(TURN_LOOK).await;
        }
        self.writes.set(true);
        None
    }

    /// A region that was held for too long is let go: it comes again in smaller pieces, a bounded number of times; where clients fill it, as
    /// long as they do.
    pub(super) async fn let_go(&self, piece: &Piece, machine: &mut Machine, hold: Hold, why: &Error) -> Result<()> {
        let is_slow = why.kind() == Kind::Timeout;
        machine.step(if is_slow { Event::ReadFailed } else { Event::Breach });
        hold.release().await;
        if is_slow || piece.attempt + 2 < ATTEMPTS_MAX {
            return self.failed(piece, machine, why).await;
        }
        self.lanes.borrow_mut().anew(piece.clone());
        // Others come meanwhile.
        self.waits(why.to_string(), WAIT_MAX).await;
        Ok(())
    }
}
