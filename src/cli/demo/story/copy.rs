//! The copy of history in the story: it begins, is on its way when the destination goes, and comes to its end.

use std::rc::Rc;

use tokio::task::JoinHandle;

use super::{AWAY_AT, LOOK_EVERY, Patience, SLOW, Story, died, lines_per_s, no_answers};
use crate::cli::demo::changes::changing;
use crate::cli::demo::history::History;
use crate::cli::demo::screen::count;
use crate::cli::demo::stage::DATABASE;
use crate::cli::exit::{Exit, Failure};
use crate::sandbox::Faults;
use crate::state::JobState;

/// The destination is taken away when so much of history is copied, or when its time has come.
const COPIED_BEFORE: f64 = 0.35;
/// Of the lines of all timed clients, one in so many changes history while it is copied.
const CHANGES_PART: u64 = 6;

/// A client that changes history, until it gives its record.
type Changing = JoinHandle<Result<History, Failure>>;

impl Story {
    /// Has history copied, and a client change it meanwhile.
    pub(super) async fn begin_copy(&mut self) -> Result<Changing, Failure> {
        let once = || Failure::new(Exit::Failed, "history is copied once");
        let history = self.history.take().ok_or_else(once)?;
        self.tell(
            "History is copied",
            &format!(
                "With twinline backfill start: the source has held {} points of the last\n\
                 year since before Twinline. The newest go first. The clients go on, and one\n\
                 more changes what is being copied: old points get new values, some come late,\n\
                 some are deleted.",
                count(self.history_points)
            ),
        );
        let lines = (lines_per_s(self.total) / CHANGES_PART).max(1);
        let (direction, copying) = (Rc::clone(&self.direction), Rc::clone(&self.copying));
        let changing = changing(direction, history, copying, (self.stage.port, DATABASE), lines);
        let changing = tokio::task::spawn_local(changing);
        self.copying.begin(&self.proxy).await?;
        let enough = (self.history_points as f64 * COPIED_BEFORE) as u64;
        let copying = Rc::clone(&self.copying);
        self.until_or(AWAY_AT, || copying.seen().points >= enough).await?;
        self.catch_a_piece().await?;
        Ok(changing)
    }

    /// Slows the destination down and waits until a piece of history is on its way there.
    async fn catch_a_piece(&mut self) -> Result<(), Failure> {
        let slow = Faults { latency_ms: 2 * SLOW.as_millis() as u64, ..Faults::default() };
        let mut patience = Patience::new(&self.clock);
        let mut slowed = false;
        loop {
            self.proxy.still_runs()?;
            let seen = self.copying.seen();
            let status = self.proxy.status().await;
            let is_on_its_way = status.is_some_and(|status| !status.holds.is_empty());
            if seen.state == Some(JobState::Done) || (slowed && is_on_its_way) {
                return Ok(());
            }
            if seen.points > 0 && !slowed {
                self.stage.destination.set_faults(slow.clone());
                slowed = true;
            }
            if patience.is_over(seen.chunks) {
                return Err(stands_still(seen.waits));
            }
            tokio::time::sleep(SLOW / 4).await;
        }
    }

    /// Waits until all history is copied.
    pub(super) async fn end_of_copy(&mut self, changing: Changing) -> Result<History, Failure> {
        let mut patience = Patience::new(&self.clock);
        loop {
            self.proxy.still_runs()?;
            self.queued_most = self.queued_most.max(self.live.status.borrow().lines.queued);
            let seen = self.copying.seen();
            match seen.state {
                Some(JobState::Done) => break,
                Some(JobState::Running) if !changing.is_finished() => {}
                Some(JobState::Running) => return self.changed(changing).await,
                state => {
                    let state = state.map_or("not begun", JobState::name);
                    let what = format!("the copy of history is {state}, and {} of it could not be copied", seen.failed);
                    return Err(Failure::new(Exit::Failed, what));
                }
            }
            if patience.is_over(seen.chunks) {
                return Err(stands_still(seen.waits));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        self.direction.is_copied.set(true);
        self.tell("All history is copied", "What clients write of that year goes straight through again.");
        self.changed(changing).await
    }

    /// Waits until the client that changed history has an answer for everything.
    async fn changed(&mut self, changing: Changing) -> Result<History, Failure> {
        let mut patience = Patience::new(&self.clock);
        while !changing.is_finished() {
            self.proxy.still_runs()?;
            if patience.is_over(self.direction.tally.acknowledged.get()) {
                return Err(no_answers());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        changing.await.map_err(died)?
    }
}

fn stands_still(why: Option<String>) -> Failure {
    let why = why.unwrap_or_else(|| "it does not say why".to_owned());
    Failure::new(Exit::Failed, format!("the copy of history stands still: {why}"))
}
