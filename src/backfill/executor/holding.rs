//! The region of a chunk, held for as long as it must be and no longer.
//!
//! Promises: a chunk waits for its hold, with the reason shown, and is not given up for want of one; a region that is being read keeps
//! nobody waiting beyond [`Limits`]: then it is released, and comes again in smaller pieces. Once its write has begun it is held to the end.

use std::time::Duration;

use super::lanes::Piece;
use super::{Executor, STOP_LOOK};
use crate::backfill::chunk::{ATTEMPTS_MAX, Event, Machine};
use crate::backfill::gate::{Hold, region};
use crate::base::{Error, Kind, Result, Retry, Side};

/// The first and the longest wait before a hold is asked for again.
const WAIT: Duration = Duration::from_millis(100);
const WAIT_MAX: Duration = Duration::from_secs(5);

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
        let done = tokio::select! {
            done = hold.drained() => Some(done),
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
        self.parts.progress.change(|view| view.waits = Some(why));
        let is_stopped = self.parts.writer.stop.wait(how_long).await;
        self.parts.progress.change(|view| view.waits = None);
        is_stopped
    }

    /// Until a region that is being read costs delivery too much; why.
    pub(super) async fn breached(&self, hold: &Hold) -> Error {
        let began = self.parts.clock.monotonic();
        loop {
            tokio::time::sleep(STOP_LOOK).await;
            let lasts = self.parts.clock.monotonic().saturating_sub(began);
            if let Some(why) = self.breach(hold, lasts) {
                return Error::new(Kind::Limit, Side::Own, why).retryable();
            }
        }
    }

    /// Whether it does, after so long.
    pub(super) fn breach(&self, hold: &Hold, lasts: Duration) -> Option<String> {
        if !self.parts.gate.holds() {
            return None;
        }
        let (limits, parked) = (self.parts.limits, hold.parked());
        if parked.bytes > limits.parked_bytes_max || parked.broken.is_some() {
            return Some(format!("while it is read {} lines of clients wait for it", parked.lines));
        }
        (lasts > limits.hold_max)
            .then(|| format!("its region was held for longer than {} s", limits.hold_max.as_secs()))
    }

    /// A region that cost too much was let go: it comes again, in smaller pieces as long as these may help.
    pub(super) async fn let_go(&self, piece: &Piece, machine: &mut Machine, hold: Hold, why: &Error) -> Result<()> {
        machine.step(Event::Breach);
        hold.release().await;
        if piece.attempt + 2 < ATTEMPTS_MAX {
            return self.failed(piece, machine, why).await;
        }
        self.lanes.borrow_mut().anew(piece.clone());
        Ok(())
    }
}
