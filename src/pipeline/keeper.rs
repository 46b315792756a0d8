//! Who keeps gaps: the gap log, the spare one on another disk, the state store, in this order.
//!
//! Promise: [`GapKeeper::keep`] says `Ok` only when the gap is durable with one of them, and waits for each at most its time.
//! One that did not answer in time is passed over until it does. What the gap logs hold goes into the state store as soon as
//! that can be written, and is counted there once, whenever the process dies.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, timeout};

use super::held::HeldGaps;
use crate::base::failpoint::{self, Point};
use crate::base::{DestinationId, Error};
use crate::config::Mapping;
use crate::route::{RouteName, rule_of};
use crate::state::{GAP_CAUSES, Gap, GapTaken, NotMirrored, SharedState};
use crate::wal::{GapLog, GapSum, Missed};

/// Between the destinations whose gap it is, where a gap log says that.
const OWNERS_APART: &str = ",";
/// Between a gap and its way into the state store: the gaps of a moment go together.
const TAKE_PAUSE: Duration = Duration::from_millis(100);
/// After a failure to take gaps over.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// A gap log or state store that has not answered in this time is asked again later.
const TAKE_MAX: Duration = Duration::from_secs(5);

/// Keeps gaps. One thread.
pub struct GapKeeper {
    logs: Vec<GapLog>,
    state: SharedState,
    destinations: Vec<DestinationId>,
    /// What each that is configured gets.
    mappings: Vec<(DestinationId, Mapping)>,
    each: Duration,
    state_hangs_until: Cell<Option<Instant>>,
    added: Notify,
}

impl fmt::Debug for GapKeeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GapKeeper").field("logs", &self.logs).finish_non_exhaustive()
    }
}

/// Nobody could make the gap durable in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotKept;

impl GapKeeper {
    /// `logs`: the gap logs, best first; `destinations`: whose gaps these are, all of them; `each`: how long one of them may take.
    #[must_use]
    pub fn new(logs: Vec<GapLog>, state: SharedState, destinations: Vec<DestinationId>, each: Duration) -> Self {
        let (mappings, state_hangs_until, added) = (Vec::new(), Cell::new(None), Notify::new());
        Self { logs, state, destinations, mappings, each, state_hangs_until, added }
    }

    /// What each destination gets: what stays at the source by its rules, and goes to others, is no gap of it.
    #[must_use]
    pub fn with_mappings(self, mappings: Vec<(DestinationId, Mapping)>) -> Self {
        Self { mappings, ..self }
    }

    /// Whose gap it is; all, where no rule of any names it.
    fn owners(&self, name: &RouteName) -> Vec<DestinationId> {
        let stays = |mapping: &Mapping| !mapping.keeps_names() && rule_of(mapping, name).is_none();
        let gets = |id: &&DestinationId| !self.mappings.iter().any(|(own, mapping)| own == *id && stays(mapping));
        let owners: Vec<_> = self.destinations.iter().filter(gets).cloned().collect();
        if owners.is_empty() { self.destinations.clone() } else { owners }
    }

    /// What the gap logs hold for a destination, for whoever counts. For any thread.
    #[must_use]
    pub fn held(&self, destination: &DestinationId) -> HeldGaps {
        HeldGaps::new(self.logs.clone(), destination.clone())
    }

    /// Makes a gap durable.
    pub(super) async fn keep(&self, name: &RouteName, gap: Gap) -> Result<(), NotKept> {
        let owners = self.owners(name);
        for log in self.logs.iter().filter(|log| !log.hangs()) {
            if self.keep_in(log, &owners, &gap).await.is_ok() {
                self.added.notify_one();
                return Ok(());
            }
        }
        if self.state_hangs_until.get().is_some_and(|until| Instant::now() < until) {
            return Err(NotKept);
        }
        let all = async {
            for destination in &owners {
                self.state.add_gap(destination, gap.clone()).await?;
            }
            Ok::<_, Error>(())
        };
        match timeout(self.each, all).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                tracing::error!(%error, event = "gap.failed", "the state store cannot keep a gap");
                Err(NotKept)
            }
            Err(_) => {
                self.state_hangs_until.set(Some(Instant::now() + RETRY_PAUSE));
                Err(NotKept)
            }
        }
    }

    /// Notes a statement that the log could not take; true when there was none like it.
    pub(super) async fn note_statement(&self, noted: NotMirrored) -> Result<bool, NotKept> {
        let all = async {
            let mut is_new = false;
            for destination in &self.destinations {
                is_new |= self.state.note_statement(destination, noted.clone()).await?.is_new;
            }
            Ok::<_, Error>(is_new)
        };
        timeout(self.each, all).await.ok().and_then(Result::ok).ok_or(NotKept)
    }

    async fn keep_in(&self, log: &GapLog, owners: &[DestinationId], gap: &Gap) -> Result<(), NotKept> {
        let missed = Missed {
            owner: owners.iter().map(DestinationId::as_str).collect::<Vec<_>>().join(OWNERS_APART),
            place: gap.route_name.clone(),
            cause: gap.cause.to_owned(),
            from_ns: gap.from_ns,
            to_ns: gap.to_ns,
            lines: gap.lines,
        };
        let (told, mut heard) = oneshot::channel();
        log.add(missed, Box::new(move |result| told.send(result).is_ok()));
        let answer = match timeout(self.each, &mut heard).await {
            Ok(answer) => answer,
            Err(_) => {
                // From here on the gap log takes the gap back, should it become durable all the same.
                heard.close();
                match heard.try_recv() {
                    Ok(answer) => Ok(answer),
                    Err(_) => {
                        log.note_hang();
                        tracing::error!(event = "gap.hangs", "a gap log does not answer");
                        return Err(NotKept);
                    }
                }
            }
        };
        // The gap log has told why.
        answer.ok().and_then(Result::ok).ok_or(NotKept)
    }

    /// Takes over into the state store what the gap logs hold, for ever. May be begun again wherever it was left.
    pub async fn take_over(self: Rc<Self>) {
        // What an earlier process left is taken over at once.
        self.added.notify_one();
        loop {
            self.added.notified().await;
            tokio::time::sleep(TAKE_PAUSE).await;
            failpoint::hit(Point::GapsTaken);
            let mut all = true;
            for log in &self.logs {
                all &= self.take(log).await;
            }
            if !all {
                tokio::time::sleep(RETRY_PAUSE).await;
                self.added.notify_one();
            }
        }
    }

    /// True when nothing of this gap log is left to take over.
    async fn take(&self, log: &GapLog) -> bool {
        let (told, heard) = oneshot::channel();
        // Whoever asked may be gone.
        log.list(Box::new(move |sums| drop(told.send(sums))));
        let Ok(Ok(sums)) = timeout(TAKE_MAX, heard).await else { return false };
        if sums.is_empty() {
            return true;
        }
        let taken = sums.iter().map(|sum| (sum.id, sum.missed.lines)).collect();
        let known = sums.into_iter().map(|sum| known(sum, &self.destinations)).collect();
        match timeout(TAKE_MAX, self.state.take_gaps(log.ledger(), known)).await {
            Ok(Ok(())) => {
                log.taken(taken);
                true
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, event = "gap.waits", "gaps stay in the gap log: the state store does not take them");
                false
            }
            Err(_) => false,
        }
    }
}

/// What a sum means to the state store. `others`: whose a sum is that does not say so.
pub(super) fn known(GapSum { id, missed }: GapSum, others: &[DestinationId]) -> GapTaken {
    // A cause that a later version added, or an owner that is no id: the lines count all the same.
    let cause = GAP_CAUSES.into_iter().find(|cause| *cause == missed.cause).unwrap_or("gap-log-damage");
    let owners: std::result::Result<Vec<_>, _> = missed.owner.split(OWNERS_APART).map(DestinationId::parse).collect();
    let destinations = owners.unwrap_or_else(|_| others.to_vec());
    let gap = Gap {
        route: None,
        route_name: missed.place,
        from_ns: missed.from_ns,
        to_ns: missed.to_ns,
        lines: missed.lines,
        lsns: None,
        cause,
    };
    GapTaken { destinations, id, gap }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::Arc;
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::base::disk::{Disk, held::HeldDisk, linux::LinuxDisk};
    use crate::state::SqliteState;

    /// Everything hangs: the first gap asks each keeper once, for its share of the time, and the next one waits for nobody.
    #[test]
    fn only_the_first_gap_waits_and_for_each_keeper_once() {
        let dir = tempfile::tempdir().unwrap();
        let orders = dir.path().join("orders");
        let disk: Arc<dyn Disk> = Arc::new(HeldDisk::new(Arc::new(LinuxDisk::new()), orders.clone()));
        let logs: Vec<GapLog> = ["wal", "spare"]
            .map(|name| dir.path().join(name))
            .map(|at| {
                std::fs::create_dir(&at).unwrap();
                GapLog::open(&disk, &at).unwrap().log
            })
            .into();
        let database = dir.path().join("state.db");
        let state: SharedState = Arc::new(SqliteState::open(&database).unwrap());
        let id = DestinationId::parse("mirror").unwrap();
        let keeper = GapKeeper::new(logs, Arc::clone(&state), vec![id], Duration::from_millis(50));
        let name = RouteName::Database { db: "d".to_owned(), rp: String::new() };
        let gap = Gap {
            route: None,
            route_name: "d/rp".to_owned(),
            from_ns: 1,
            to_ns: 2,
            lines: 3,
            lsns: None,
            cause: "queue-stalled",
        };
        std::fs::write(&orders, dir.path().to_str().unwrap()).unwrap();
        let lock = rusqlite::Connection::open(&database).unwrap();
        lock.execute_batch("BEGIN IMMEDIATE").unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            assert_eq!(keeper.keep(&name, gap.clone()).await, Err(NotKept));
            assert!(keeper.logs.iter().all(GapLog::hangs), "both were asked");
            // A state store that did not answer either.
            keeper.state_hangs_until.set(Some(Instant::now() + Duration::from_secs(3600)));
            let next = pin!(keeper.keep(&name, gap.clone()));
            let mut context = Context::from_waker(Waker::noop());
            assert_eq!(next.poll(&mut context), Poll::Ready(Err(NotKept)), "nobody is asked, nothing is waited for");
            // The disk answers: nobody need be asked for that to be seen.
            std::fs::write(&orders, "").unwrap();
            while keeper.logs.iter().any(GapLog::hangs) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            while keeper.keep(&name, gap.clone()).await.is_err() {}
            // A hang that is noted after the answer came is no hang for ever.
            keeper.logs[0].note_hang();
            while keeper.logs[0].hangs() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        lock.execute_batch("ROLLBACK").unwrap();
    }

    #[test]
    fn what_stays_at_the_source_for_one_destination_is_no_gap_of_it() {
        let text = "listen = \"127.0.0.1:0\"\n[source]\nurl = \"http://x:1\"\n[[destination]]\nid = \"a\"\nurl = \"http://y:1\"\n\
                    [[destination]]\nid = \"b\"\nurl = \"http://z:1\"\n[[mapping.rule]]\nfrom = { db = \"d\" }\n\
                    to = { destination = \"b\" }";
        let config = crate::config::parse(text, &|_| None).unwrap().config;
        let dir = tempfile::tempdir().unwrap();
        let state: SharedState = Arc::new(SqliteState::open(&dir.path().join("state.db")).unwrap());
        let id = |text| DestinationId::parse(text).unwrap();
        let all = vec![id("a"), id("b"), id("away")];
        let mappings = config.each().map(|one| (one.destination().id.clone(), one.mapping.clone())).collect();
        let keeper = GapKeeper::new(Vec::new(), state, all.clone(), Duration::ZERO).with_mappings(mappings);
        let owners = |db: &str| keeper.owners(&RouteName::Database { db: db.to_owned(), rp: String::new() });
        assert_eq!(owners("d"), [id("b"), id("away")]);
        assert_eq!(owners("other"), [id("away")], "nobody knows what that one gets");
    }
}
