//! The two log records of a write: the intent before the primary is asked, the outcome before the client hears the answer.

use std::time::Duration;

use bytes::Bytes;
use smallvec::SmallVec;
use tokio::time::timeout;

use super::Pipeline;
use super::beside;
use super::cells::cells;
use super::gap::Missed;
use super::overlap::UnderWay;
use super::primary::Judged;
use super::reply::Refusal;
use super::settle::{Met, Settled, piece, settle};
use super::stamp::Lines;
use crate::base::bounds::LOG_BODY_BYTES;
use crate::base::failpoint::{self, Point};
use crate::base::{Epoch, Lsn, RequestId};
use crate::db::answer::Kept;
use crate::line;
use crate::queue::{Appender, Cause, Disposition, EntryBytes, Intent, Outcome, Unavailable};
use crate::route::RouteName;
use crate::wal::{Entry, Kind};

/// A body is kept in records of at most this size.
const RECORD_BYTES: usize = LOG_BODY_BYTES;

/// What the log has of a write. Delivery waits for its outcome: dropped without one, because the task of the write panics, it
/// hands the log doubt.
#[derive(Debug)]
pub(super) struct Recorded {
    first: Lsn,
    /// Of each record.
    lines_of: SmallVec<[u32; 1]>,
    epoch: Epoch,
    /// `None`: the outcome is in the log's hands.
    open: Option<Appender>,
}

impl Recorded {
    /// `lines_of`: of each of its records.
    pub(super) fn of(first: Lsn, lines_of: SmallVec<[u32; 1]>, pipeline: &Pipeline) -> Self {
        Self { first, lines_of, epoch: pipeline.epoch, open: Some(pipeline.appender.clone()) }
    }

    /// Its records.
    pub(super) fn lsns(&self) -> impl Iterator<Item = Lsn> + use<> {
        (self.first.0..).map(Lsn).take(self.lines_of.len())
    }

    /// Its outcome is about to be appended.
    pub(super) fn settled(mut self) {
        self.open = None;
    }
}

impl Drop for Recorded {
    fn drop(&mut self) {
        let Some(appender) = self.open.take() else { return };
        tracing::error!(
            event = "write.died",
            first = self.first.0,
            "a write has ended without an outcome: it is doubt"
        );
        let doubt = |lsn| Outcome {
            lsn: Lsn(lsn),
            status: 0,
            disposition: Disposition::Doubt,
            cause: Cause::Crash,
            epoch: self.epoch,
        };
        appender.leave((self.first.0..).take(self.lines_of.len()).map(doubt));
    }
}

/// How a write stands in the log.
#[derive(Debug)]
pub(super) struct Logged {
    name: Option<RouteName>,
    /// `None`: the log has nothing of it.
    records: Option<Recorded>,
    /// A gap stands for it already.
    gapped: bool,
    /// No destination gets it.
    stays: bool,
}

impl Logged {
    fn nothing(name: Option<RouteName>) -> Self {
        Self { name, records: None, gapped: false, stays: false }
    }

    /// The place that it names.
    pub(super) fn name(&self) -> Option<&RouteName> {
        self.name.as_ref()
    }
}

impl Pipeline {
    /// Makes the intent durable, or, where the queue is unavailable and we fail open, the gap that stands for it.
    pub(super) async fn log_intent(
        &self,
        name: Option<RouteName>,
        lines: &Lines,
        arrived_ns: i64,
    ) -> Result<Logged, Refusal> {
        let Some(name) = name else {
            // No database or bucket named: the source will say so. Should it accept all the same, that is a gap.
            return Ok(Logged::nothing(None));
        };
        if lines.is_blank() {
            return Ok(Logged::nothing(Some(name)));
        }
        let unavailable = match self.append_intent(&name, lines, arrived_ns).await {
            Ok((records, stays)) => {
                self.queue_is_back(arrived_ns);
                failpoint::hit(Point::IntentDurable);
                return Ok(Logged { records, stays, ..Logged::nothing(Some(name)) });
            }
            Err(unavailable) => unavailable,
        };
        self.open_gap(&name, lines, arrived_ns, Missed::Queue(unavailable)).await?;
        failpoint::hit(Point::GapDurable);
        Ok(Logged { gapped: true, ..Logged::nothing(Some(name)) })
    }

    /// The records of an intent once they are durable; none when its names fit in no record. And whether no destination gets them.
    async fn append_intent(
        &self,
        name: &RouteName,
        lines: &Lines,
        arrived_ns: i64,
    ) -> Result<(Option<Recorded>, bool), Unavailable> {
        let route = self.catalogue.route(name);
        let Some(entries) = entries(&route, lines, arrived_ns, self.meters.next_request()) else {
            return Ok((None, route.is_excluded));
        };
        let lines_of = entries.iter().map(|entry| entry.lines).collect();
        let appended = timeout(self.stall, self.appender.intents(entries)).await;
        let first = appended.map_err(|_| self.log_stalls())??;
        Ok((Some(Recorded::of(first, lines_of, self)), route.is_excluded))
    }

    /// Makes the outcome durable. Where the queue does not take it in time the intent stands alone: the outcome comes later
    /// or, should the process die first, the next start makes the write doubt. Either way it is accounted for once, and a gap
    /// beside it would count it twice.
    pub(super) async fn log_outcome(
        &self,
        logged: Logged,
        judged: &Judged,
        lines: &Lines,
        met: &[Met],
        arrived_ns: i64,
    ) -> Result<(), Refusal> {
        let name = logged.name.unwrap_or(RouteName::Database { db: String::new(), rp: String::new() });
        let recorded = logged.records.is_some();
        if let Some(records) = logged.records {
            let settled = settle(judged, lines, met, self.clock.wall_ns());
            let entries = self.entries_of(&settled, judged.status, &records);
            records.settled();
            if !logged.stays {
                let (accepted, doubt) = settled.counts(lines.parsed.lines);
                self.doubts.note(&name, accepted, &doubt, self.clock.monotonic());
            }
            if self.lazy && settled.disposition == Disposition::Applied && entries.len() == 1 {
                self.appender.later(entries);
            } else {
                self.append_outcome(entries).await;
            }
            if judged.kept != Kept::Nothing {
                self.catalogue.keep(&name);
            }
        }
        if judged.kept != Kept::All || logged.gapped {
            return Ok(());
        }
        let accepted_beyond_us = !lines.parsed.decoded || lines.parsed.malformed > 0 && judged.success;
        let accepted_nowhere = !recorded && !lines.is_blank();
        if accepted_beyond_us || accepted_nowhere {
            let missed = if lines.parsed.decoded { Missed::Unreadable } else { Missed::Undecodable };
            self.open_gap(&name, lines, arrived_ns, missed).await?;
        }
        Ok(())
    }

    pub(super) async fn append_outcome(&self, entries: SmallVec<[EntryBytes; 1]>) {
        // A log that does not answer gets them all the same, and nobody waits.
        let wait = if self.appender.is_stalled() { Duration::ZERO } else { self.stall };
        let appended = timeout(wait, self.appender.entries_of_outcomes(entries)).await;
        let Err(unavailable) = appended.unwrap_or_else(|_| Err(self.log_stalls())) else { return };
        self.meters.queue_unavailable(unavailable);
    }

    /// An append was waited for too long: until the log answers, others need not.
    pub(super) fn log_stalls(&self) -> Unavailable {
        self.appender.note_stall();
        Unavailable::Stalled
    }
}

impl Pipeline {
    /// A write is about to be logged and sent: from here on others may meet it. Large bodies are hashed beside the event loop.
    pub(super) async fn sets_out(&self, name: Option<&RouteName>, lines: &Lines) -> Option<UnderWay> {
        let name = name?;
        let large = lines.cells.is_none() && lines.text.len() > beside::LARGE_BYTES && self.overlaps.meets(name, lines);
        let hashed = if large {
            let hashed = lines.clone();
            beside::by_size(lines.text.len(), move || cells(&hashed)).await.ok().flatten()
        } else {
            None
        };
        self.overlaps.begin(name, lines, hashed, self.clock.monotonic())
    }

    /// It is not sent after all.
    pub(super) fn stays(&self, under_way: Option<UnderWay>) {
        if let Some(under_way) = under_way {
            self.overlaps.end(under_way, false, self.clock.monotonic());
        }
    }

    /// The request has ended, or nobody will hear of it again. Lines that met another write meanwhile.
    pub(super) fn has_ended(&self, under_way: Option<UnderWay>, judged: &Judged) -> Vec<Met> {
        let Some(under_way) = under_way else { return Vec::new() };
        // Without an answer, or with one that came from deep inside, the source may still be working on it.
        let late = judged.kept == Kept::Unknown && (judged.status == 0 || judged.status >= 500);
        self.overlaps.end(under_way, late, self.clock.monotonic())
    }

    /// The outcomes of all pieces of a write.
    fn entries_of(&self, settled: &Settled, status: u16, records: &Recorded) -> SmallVec<[EntryBytes; 1]> {
        let mut entries = SmallVec::new();
        let mut before = 0;
        for (lsn, lines) in (records.first.0..).map(Lsn).zip(records.lines_of.iter().copied()) {
            let Settled { disposition, cause, .. } = *settled;
            let outcome = Outcome { lsn, status, disposition, cause, epoch: self.epoch };
            match piece(&settled.spans, before, lines) {
                None => entries.push(outcome.encode()),
                Some(spans) => entries.extend(outcome.encode_partial(&spans)),
            }
            before = before.saturating_add(lines);
        }
        entries
    }
}

/// The records of one write; `None` when its names fit in no record (no server has such names).
fn entries(route: &crate::route::Route, lines: &Lines, arrived_ns: i64, request: RequestId) -> Option<Vec<Entry>> {
    let intent = Intent {
        name: route.name.clone(),
        dialect: lines.dialect,
        precision: lines.precision,
        excluded: route.is_excluded,
        min_ns: lines.min_ns,
        max_ns: lines.max_ns,
    };
    let meta = intent.encode().ok()?;
    let entry = |body: Bytes, count: u32| Entry {
        kind: Kind::Intent,
        flags: 0,
        route: route.id,
        request,
        lines: count,
        received_ns: arrived_ns,
        meta: meta.clone(),
        body,
    };
    if intent.excluded {
        return Some(vec![entry(Bytes::new(), lines.parsed.lines)]);
    }
    if lines.text.len() <= RECORD_BYTES {
        return Some(vec![entry(lines.text.clone(), lines.parsed.lines)]);
    }
    let pieces = line::split(&lines.text, RECORD_BYTES);
    let count = |piece: &Bytes| line::inspect(piece, lines.dialect, lines.precision, 0).lines;
    Some(
        pieces
            .into_iter()
            .map(|range| {
                let piece = lines.text.slice(range);
                let count = count(&piece);
                entry(piece, count)
            })
            .collect(),
    )
}
