//! Statement records: what the source was asked to change otherwise than by a write.
//!
//! Promises: one that did not run there changes nothing here. One that ran, or may have run, and is not carried out at the destination
//! has a row in the state store before the floor passes its record, and operators hear of it the first time.

use super::distribute::Distributor;
use super::send::STATE_RETRY;
use super::{Shared, tell};
use crate::base::{Error, Kind as ErrorKind, Result, Side};
use crate::queue::{Cause, Disposition, Statement};
use crate::state::{EventKind, NotMirrored};
use crate::wal::Record;

impl Distributor {
    /// A statement whose outcome is known.
    pub(super) async fn statement(&mut self, record: &Record) -> Result<()> {
        let judged = self.scout.borrow_mut().take(record.lsn);
        let statement = Statement::decode(&record.meta).map_err(|e| {
            Error::new(ErrorKind::Damage, Side::Own, format!("record {} of the log", record.lsn))
                .because(e)
                .hint("it was written by a newer twinline: start that version, or let it drain the queue first")
        })?;
        let why = match judged.disposition {
            // A gapped one has its row already.
            Disposition::NotApplied | Disposition::Gapped => return Ok(()),
            Disposition::Applied => "statements are not carried out yet".to_owned(),
            Disposition::Doubt | Disposition::Partial => doubtful(judged.cause).to_owned(),
        };
        note(&self.shared, record, &statement, why).await;
        Ok(())
    }
}

/// Why nobody knows whether it ran.
fn doubtful(cause: Cause) -> &'static str {
    match cause {
        Cause::Crash => "twinline ended before its answer was on record: it may have run",
        Cause::Timeout => "it had no answer for too long: it may have run",
        Cause::Reset => "the source gave no answer: it may have run",
        _ => "the source's answer does not say whether it ran",
    }
}

/// Makes durable that one was not carried out; waits as long as that takes, because the position must not move before.
async fn note(shared: &Shared, record: &Record, statement: &Statement, why: String) {
    let Statement { class, shown, .. } = statement.clone();
    let (place, at_ns) = (statement.place(), record.received_ns);
    let at = if place.is_empty() { String::new() } else { format!(" at {place}") };
    let text = format!("{shown}{at} is not mirrored: {why}");
    let noted = NotMirrored { lsn: record.lsn, class, place, text: shown, why, at_ns };
    loop {
        match shared.state.note_statement(&shared.id, noted.clone()).await {
            Ok(is_new) => {
                tell::store_works(shared);
                if is_new {
                    tell::tell(shared, EventKind::StatementNotMirrored, text);
                }
                return;
            }
            Err(error) => tell::store_fails(shared, &error),
        }
        tokio::time::sleep(STATE_RETRY).await;
    }
}
