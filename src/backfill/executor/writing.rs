//! The side of the destination: spool by spool, and what becomes of each chunk.

use std::time::Duration;

use tokio::sync::mpsc;

use super::reading::remove;
use super::settling::{LOOK_EVERY, Settled};
use super::{Executor, Ready};
use crate::backfill::batches::Batch;
use crate::backfill::chunk::Event;
use crate::backfill::gate::Hold;
use crate::backfill::spool::SpoolReader;
use crate::backfill::write::Sent;
use crate::base::{Error, Kind, Result, Side};
use crate::state::ChunkRow;

/// So often a spool is read anew because it is damaged.
const DAMAGED_MAX: u32 = 3;

impl Executor {
    /// Writes what comes, until nothing comes any more and all has settled.
    pub(super) async fn write_all(&self, mut to_write: mpsc::Receiver<Ready>) -> Result<()> {
        loop {
            let next = match tokio::time::timeout(LOOK_EVERY, to_write.recv()).await {
                Ok(next) => next,
                // A moment without work, for those that settle.
                Err(_) => {
                    self.settle_due().await?;
                    continue;
                }
            };
            let Some(ready) = next else { break };
            let done = self.write(ready).await;
            self.writes.set(false);
            done?;
            self.settle_due().await?;
        }
        Ok(())
    }

    async fn write(&self, mut ready: Ready) -> Result<()> {
        if let Some(why) = self.is_late(&ready.hold.watch(), ready.held_at) {
            return self.too_late(ready, &why).await;
        }
        let process = self.settling.borrow().process();
        let sent = match self.sent(&mut ready).await {
            Ok(sent) => sent,
            Err((error, unanswered)) => {
                self.settle(unanswered).await;
                ready.hold.release().await;
                return Err(error);
            }
        };
        // First of all: whatever fails from here on, the region is let go of only then. And it is not noted before: should this process
        // die now, the chunk is copied again, over what may still take effect.
        self.settle(sent.unanswered).await;
        remove(&ready.spool)?;
        if let Some(at) = sent.unanswered {
            ready.machine.step(Event::Unanswered(at));
        }
        if !sent.letters.is_empty() {
            let count = sent.letters.len() as u64;
            self.parts.store.refuse(self.parts.job, sent.letters.clone()).await?;
            self.parts.progress.change(|view| view.refused += count);
        }
        ready.machine.step(Event::Acked);
        if self.acks_early {
            let hold = std::mem::replace(&mut ready.hold, Hold::NOBODY);
            hold.release().await;
            self.settling.borrow_mut().add(Settled { ready, sent, process, at: self.parts.clock.monotonic() });
            let count = self.settling.borrow().len() as u64;
            self.parts.progress.change(|view| view.settling = count);
            return Ok(());
        }
        self.written(ready, &sent).await
    }

    /// While it waited for its turn clients have waited for too long: it is let go, and read again later.
    pub(super) async fn too_late(&self, ready: Ready, why: &str) -> Result<()> {
        tracing::debug!(event = "backfill.late", "{why}");
        remove(&ready.spool)?;
        ready.hold.release().await;
        self.lanes.borrow_mut().anew(ready.piece);
        self.closed();
        Ok(())
    }

    /// Brings a spool to the destination; where that fails, also when a request was last left without an answer.
    async fn sent(&self, ready: &mut Ready) -> std::result::Result<Sent, (Error, Option<Duration>)> {
        let place = &self.parts.places[ready.piece.place];
        let (mut damaged, mut open) = (0, None);
        loop {
            // Before the first byte goes: a spool is not half written and then found damaged.
            let checked = SpoolReader::verify(&ready.spool, ready.spooled.totals)
                .and_then(|()| SpoolReader::open(&ready.spool, ready.spooled.totals));
            let done = match checked {
                Ok(spool) => self.parts.writer.write(place, spool).await,
                Err(error) => Err((error, None)),
            };
            match done {
                Err((error, unanswered)) if error.kind() == Kind::Damage && damaged < DAMAGED_MAX => {
                    open = open.max(unanswered);
                    tracing::warn!(event = "backfill.spool", "{error}");
                    damaged += 1;
                    ready.machine.step(Event::SpoolDamaged);
                    ready.spooled = self.spooled(&ready.piece, &ready.spool).await.map_err(|error| (error, open))?;
                    ready.machine.step(Event::ReadDone);
                }
                Err((error, unanswered)) => return Err((error, open.max(unanswered))),
                Ok(sent) => return Ok(Sent { unanswered: open.max(sent.unanswered), ..sent }),
            }
        }
    }

    /// All of it is at the destination, and stays there.
    pub(super) async fn written(&self, ready: Ready, sent: &Sent) -> Result<()> {
        let Ready { piece, mut machine, hold, spooled, started_ns, .. } = ready;
        let totals = spooled.totals;
        let progress = self.come_to(&piece, totals.sum.cells);
        let row = ChunkRow {
            points: totals.points,
            cells: totals.sum.cells,
            bytes: sent.bytes,
            sum: totals.sum.sum.to_le_bytes(),
            types: totals.types,
            changes: sent.changes.counts().to_vec(),
            times_ns: totals.times_ns,
            started_ns,
            progress: Some(progress),
            ..ChunkRow::default()
        };
        self.note(&piece, &machine, row).await?;
        hold.release().await;
        machine.released();
        self.parts.progress.show();
        self.batches.borrow_mut().done(&Batch {
            place: &self.parts.places[piece.place],
            measurement: &piece.measurement,
            window: piece.window,
            rows: totals.points,
            started_ns,
            done_ppm: progress.done_ppm,
        });
        self.parts.progress.change(|view| {
            view.chunks += 1;
            view.points += totals.points;
            view.cells += totals.sum.cells;
            view.bytes += sent.bytes;
        });
        self.closed();
        Ok(())
    }

    /// Waits until no request of ours can take effect any more, also when somebody wants us to end: newer lines wait behind the region.
    async fn settle(&self, unanswered: Option<Duration>) {
        let Some(at) = unanswered.filter(|_| self.parts.gate.holds()) else { return };
        let left = (at + self.parts.late_max).saturating_sub(self.parts.clock.monotonic());
        let why = "a request had no answer: it may still take effect for some time".to_owned();
        let _waiting = self.parts.progress.waiting(why);
        tokio::time::sleep(left).await;
    }
}

/// A destination that begins anew again and again.
pub(super) fn restless() -> Error {
    Error::new(
        Kind::State,
        Side::Destination,
        "the destination has begun anew too often: what it acknowledged is lost each time",
    )
    .hint("see why it ends (its log, its memory), then: twinline backfill resume")
}
