//! The client that changes history while it is copied: it overwrites points of the year, brings late ones, and deletes.
//!
//! One request after the other, each repeated until it is answered: so its record is exact. Half of what it changes lies where the
//! copy is at work.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::MissedTickBehavior;

use super::copying::Copying;
use super::history::History;
use super::writer::{Direction, Door, REPEAT_AFTER, add, under_way};
use crate::cli::exit::{Exit, Failure};

/// Points in a request.
const LINES_EACH: usize = 20;
/// From one delete to the next, in requests.
const DELETE_EVERY: u32 = 30;
/// A delete that does not run so often never will.
const DELETE_TRIES: u32 = 20;

/// Changes history until it is copied, and gives its record.
pub(super) async fn changing(
    direction: Rc<Direction>,
    mut history: History,
    copying: Rc<Copying>,
    (port, database): (u16, &str),
    lines_per_s: u64,
) -> Result<History, Failure> {
    let door = Door::new(port, database);
    let every = Duration::from_secs_f64(LINES_EACH as f64 / lines_per_s.max(1) as f64);
    let mut pace = tokio::time::interval(every);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut since_delete = DELETE_EVERY / 2;
    while !direction.is_copied.get() {
        pace.tick().await;
        since_delete += 1;
        if since_delete >= DELETE_EVERY && delete(&direction, &mut history, &copying, &door).await? {
            since_delete = 0;
        }
        let mut body = String::new();
        let overwrites = history.change(LINES_EACH, copying.window(), &mut body);
        let (tally, lines) = (&direction.tally, LINES_EACH as u64);
        add(&tally.written, lines);
        add(&tally.overwrites, overwrites);
        let body = Bytes::from(body);
        while !under_way(&direction.under_way, door.write(body.clone())).await {
            add(&tally.unanswered_requests, 1);
            add(&tally.unanswered_lines, lines);
            tokio::time::sleep(REPEAT_AFTER).await;
        }
        add(&tally.acknowledged, lines);
    }
    Ok(history)
}

/// Deletes a stretch; `false`: not now. None is sent while Twinline is being killed: of a delete without an answer nobody knows whether
/// it ran, and Twinline leaves those to an operator.
async fn delete(direction: &Direction, history: &mut History, copying: &Copying, door: &Door) -> Result<bool, Failure> {
    let Ok(_gate) = direction.untimed_gate.try_lock() else { return Ok(false) };
    let stretch = history.choose(copying.window());
    let statement = history.statement(stretch);
    for _ in 0..DELETE_TRIES {
        if door.run(&statement).await {
            history.deleted(stretch);
            return Ok(true);
        }
        tokio::time::sleep(REPEAT_AFTER).await;
    }
    Err(Failure::new(Exit::Failed, format!("the source does not run: {statement}")))
}
