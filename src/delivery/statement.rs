//! Statement records: what the source was asked to change otherwise than by a write.
//!
//! Promises: one that did not run there changes nothing here. One that ran is carried out once all that came before it at the same
//! place has arrived, and nothing that came after it goes out before. One that may have run, or is not carried out, has a row in the
//! state store before the floor passes its record, and operators hear of it the first time. What a restart repeats is repeated with
//! all that lies around it, in order.

use metrics::counter;

use super::confirmed::carry;
use super::distribute::Distributor;
use super::plan::{Plan, Step, plan};
use super::send::STATE_RETRY;
use super::{Shared, making, tell};
use crate::base::{Error, Kind as ErrorKind, Lsn, Result, Side, metric};
use crate::db::influxql::Class;
use crate::queue::{Cause, Disposition, Statement};
use crate::state::{EventKind, NotMirrored};
use crate::wal::Record;

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
                    None if waits || self.is_barred_place(&statement) => {
                        return self.set_barrier(record, statement, steps, waits).await;
                    }
                    None => self.run_steps(&statement, &steps).await?.err(),
                };
                (if why.is_some() { "reported" } else { "done" }, why)
            }
        };
        self.ended(record, &statement, (became, why), false).await;
        Ok(())
    }

    /// What became of one. `newer`: records of its place have been dealt out behind it.
    pub(super) async fn ended(
        &mut self,
        record: &Record,
        statement: &Statement,
        (became, why): (&'static str, Option<String>),
        newer: bool,
    ) {
        counter!(metric::STATEMENTS, metric::DESTINATION => self.shared.id.to_string(), "became" => became)
            .increment(1);
        if let Some(why) = why {
            let carry = carry(&self.shared, statement, &record.meta, &record.body);
            let can = carry.is_some();
            let id = note(&self.shared, record, statement, why, carry).await;
            if can && newer {
                self.is_followed(id).await;
            }
            if can {
                self.watch(id, record.lsn, statement, &record.body);
                if self.confirmed_ahead {
                    self.shared.hold.confirm();
                }
            }
        }
    }

    /// Why one that removes something would remove another place's data there as well.
    async fn beside(&self, statement: &Statement, waits: bool) -> Option<String> {
        let name = statement.name.as_ref().filter(|_| waits)?;
        let other = self.another_there(name).await?;
        Some(format!("the destination holds the data of {other} in the same place"))
    }

    /// `Ok(Err)`: it was not carried out, and why. Nothing that came before it at its place is to be waited for.
    pub(super) async fn run_steps(
        &mut self,
        statement: &Statement,
        steps: &[Step],
    ) -> Result<std::result::Result<(), String>> {
        let shown = shown(statement);
        let (done, open_until) = self.carry_out(steps, &shown).await?;
        // An older request that deletes must not come over newer points, however the last one ended.
        self.idle_until(open_until).await?;
        self.shared.pauses.statement_goes_on();
        self.is_done(statement, &done).await;
        Ok(done)
    }

    /// It was tried, and this came of it.
    pub(super) async fn is_done(&self, statement: &Statement, done: &std::result::Result<(), String>) {
        if done.is_ok() {
            let removes = [Class::DropDatabase, Class::DropPolicy].iter().any(|class| statement.class == class.name());
            if let Some(name) = statement.name.as_ref().filter(|_| removes) {
                making::removed(&self.shared, &self.shared.targets.of_place(name)).await;
            }
            let shown = shown(statement);
            tracing::info!(event = "statement.done", class = %statement.class, "carried out at the destination: {shown}");
        }
    }

    /// Whether a destination that stands still for a statement keeps more of the log from others than any route may.
    pub(super) fn holds_up_others(&self) -> bool {
        let from = self.barriers.first().map_or(self.before_record, |barrier| barrier.begins);
        let behind = self.log.stats().position.saturating_sub(from);
        !self.shared.pauses.is_only() && !self.shared.hold.lasts() && behind > self.shared.route_backlog_bytes
    }
}

/// As messages show it.
pub(super) fn shown(statement: &Statement) -> String {
    statement.shown.chars().take(SHOWN_CHARS).collect()
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
