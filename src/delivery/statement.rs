//! Statement records: what the source was asked to change otherwise than by a write.
//!
//! Promises: one that did not run there changes nothing here. One that ran is carried out once all that came before it at the same
//! place has arrived, and nothing that came after it goes out before. One that may have run, or is not carried out, has a row in the
//! state store before the floor passes its record, and operators hear of it the first time. What a restart repeats is repeated with
//! all that lies around it, in order.

use std::time::Duration;

use metrics::counter;

use super::confirmed::carry;
use super::distribute::Distributor;
use super::plan::{Plan, plan};
use super::send::STATE_RETRY;
use super::target::TargetId;
use super::{Shared, making, tell};
use crate::base::{Error, Kind as ErrorKind, Lsn, Result, Side, metric};
use crate::db::influxql::Class;
use crate::queue::{Cause, Disposition, Statement};
use crate::state::{EventKind, NotMirrored};
use crate::wal::Record;

/// So often it is looked whether what came before has arrived.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// From here on a statement that waits is shown.
const SHOWN_AFTER: Duration = Duration::from_secs(2);
/// A place that stands still may hold up all others, for the sake of a statement of its own, for no longer than this.
const STANDS_MAX: Duration = Duration::from_secs(300);
/// Of a statement's text in a message.
const SHOWN_CHARS: usize = 200;

impl Distributor {
    /// A statement whose outcome is known.
    pub(super) async fn statement(&mut self, record: &Record) -> Result<()> {
        let judged = self.scout.borrow_mut().take(record.lsn);
        let statement = Statement::decode(&record.meta).map_err(|e| {
            Error::new(ErrorKind::Damage, Side::Own, format!("record {} of the log", record.lsn))
                .because(e)
                .hint("it was written by a newer twinline: start that version, or let it drain the queue first")
        })?;
        let (mapping, kind) = self.shared.targets.rules();
        let planned = plan(&statement, &record.body, mapping, kind);
        let (became, why) = match (judged.disposition, planned) {
            // A gapped one has its row already.
            (Disposition::NotApplied | Disposition::Gapped, _) => return Ok(()),
            (_, Plan::Excluded) => ("excluded", None),
            (Disposition::Doubt | Disposition::Partial, _) => ("reported", Some(doubtful(judged.cause).to_owned())),
            (Disposition::Applied, Plan::Report(why)) => ("reported", Some(why)),
            (Disposition::Applied, Plan::Run { steps, waits }) => {
                if statement.class.starts_with("create-")
                    && let Some(name) = &statement.name
                {
                    self.is_made(record.lsn, name).await;
                }
                let why = match self.beside(&statement, waits).await {
                    Some(why) => Some(why),
                    None => self.run_steps(record.lsn, &statement, &steps, waits).await?.err(),
                };
                (if why.is_some() { "reported" } else { "done" }, why)
            }
        };
        counter!(metric::STATEMENTS, metric::DESTINATION => self.shared.id.to_string(), "became" => became)
            .increment(1);
        if let Some(why) = why {
            let carry = carry(&self.shared, &statement, &record.meta, &record.body);
            let can = carry.is_some();
            let id = note(&self.shared, record, &statement, why, carry).await;
            if can {
                self.watch(id, record.lsn, &statement, &record.body);
                if self.confirmed_ahead {
                    self.shared.hold.confirm();
                }
            }
        }
        Ok(())
    }

    /// Why one that removes something would remove another place's data there as well.
    async fn beside(&self, statement: &Statement, waits: bool) -> Option<String> {
        let name = statement.name.as_ref().filter(|_| waits)?;
        let other = self.another_there(name).await?;
        Some(format!("the destination holds the data of {other} in the same place"))
    }

    /// `Ok(Err)`: it was not carried out, and why. `lsn`: of the record that repeats it after a crash.
    pub(super) async fn run_steps(
        &mut self,
        lsn: Lsn,
        statement: &Statement,
        steps: &[super::plan::Step],
        waits: bool,
    ) -> Result<std::result::Result<(), String>> {
        let shown: String = statement.shown.chars().take(SHOWN_CHARS).collect();
        let arrived = !waits || self.arrives(statement, &shown).await?;
        if arrived && waits {
            // Before it is tried: nobody knows what an attempt has done.
            self.ledger.borrow_mut().removes(lsn);
        }
        let done = if arrived {
            self.carry_out(steps, &shown).await?
        } else {
            Err("its place at the destination takes no writes, and others could not wait for it any longer".to_owned())
        };
        self.shared.pauses.statement_goes_on();
        if done.is_ok() {
            let removes = [Class::DropDatabase, Class::DropPolicy].iter().any(|class| statement.class == class.name());
            if let Some(name) = statement.name.as_ref().filter(|_| removes) {
                making::removed(&self.shared, &self.shared.targets.of_place(name)).await;
            }
            tracing::info!(event = "statement.done", class = %statement.class, "carried out at the destination: {shown}");
        }
        Ok(done)
    }

    /// Waits until all that came before has arrived at its place, and no request can still take effect there. False: that stands
    /// still for too long.
    async fn arrives(&mut self, statement: &Statement, shown: &str) -> Result<bool> {
        let targets = statement.name.as_ref().map_or_else(Vec::new, |name| self.shared.targets.of_place(name));
        let began = self.shared.clock.monotonic();
        while !self.have_arrived(&targets) {
            let waited = self.shared.clock.monotonic().saturating_sub(began);
            if waited >= SHOWN_AFTER {
                let reason = format!("{shown}: until what came before it is delivered");
                self.shared.pauses.statement_waits("statement", reason, began);
            }
            let stands = self.shared.pauses.all_stand_still()
                || targets.iter().any(|target| self.shared.pauses.is_paused(*target));
            if stands && (waited >= STANDS_MAX || self.holds_up_others()) {
                return Ok(false);
            }
            self.idle(LOOK_EVERY).await?;
        }
        Ok(true)
    }

    /// Whether a destination that stands still for a statement keeps more of the log from others than any route may.
    pub(super) fn holds_up_others(&self) -> bool {
        let behind = self.log.stats().position.saturating_sub(self.before_record);
        !self.shared.pauses.is_only() && !self.shared.hold.lasts() && behind > self.shared.route_backlog_bytes
    }

    fn have_arrived(&self, targets: &[TargetId]) -> bool {
        let now = self.shared.clock.monotonic();
        !targets.iter().any(|target| self.asides.contains_key(target))
            && self.shared.lanes.iter().all(|lane| {
                let mut lane = lane.borrow_mut();
                lane.is_at_rest(now)
                    && !targets.iter().any(|target| lane.first_of(*target).is_some() || lane.is_sending_to(*target))
            })
    }
}

/// Why nobody knows whether it ran.
fn doubtful(cause: Cause) -> &'static str {
    match cause {
        Cause::Crash => "twinline ended before its answer was on record: it may have run",
        Cause::Timeout | Cause::Unsettled => "it had no answer for too long: it may have run",
        Cause::Reset => "the source gave no answer: it may have run",
        _ => "the source's answer does not say whether it ran",
    }
}

/// One that ran, or may have, and of which damage of the log has left nothing but its place in the order.
pub(super) async fn note_damaged(shared: &Shared, lsn: Lsn, at_ns: i64) {
    let why = "its record in the log is damaged: compare what both databases hold".to_owned();
    let noted = NotMirrored {
        lsn,
        class: "damaged".to_owned(),
        place: String::new(),
        text: "a statement that cannot be read any more".to_owned(),
        why,
        at_ns,
        carry: None,
    };
    note_row(shared, noted).await;
}

/// Makes durable that one was not carried out; waits as long as that takes, because the position must not move before.
async fn note(
    shared: &Shared,
    record: &Record,
    statement: &Statement,
    why: String,
    carry: Option<(Vec<u8>, Vec<u8>)>,
) -> i64 {
    let Statement { class, shown, .. } = statement.clone();
    let (place, at_ns) = (statement.place(), record.received_ns);
    note_row(shared, NotMirrored { lsn: record.lsn, class, place, text: shown, why, at_ns, carry }).await
}

async fn note_row(shared: &Shared, noted: NotMirrored) -> i64 {
    let at = if noted.place.is_empty() { String::new() } else { format!(" at {}", noted.place) };
    let text = format!("{}{at} is not mirrored: {}", noted.text, noted.why);
    loop {
        match shared.state.note_statement(&shared.id, noted.clone()).await {
            Ok(noted) => {
                tell::store_works(shared);
                if noted.is_new {
                    tell::tell(shared, EventKind::StatementNotMirrored, text);
                }
                return noted.id;
            }
            Err(error) => tell::store_fails(shared, &error),
        }
        tokio::time::sleep(STATE_RETRY).await;
    }
}
