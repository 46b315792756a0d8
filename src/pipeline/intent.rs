//! The two log records of a write: the intent before the primary is asked, the outcome before the client hears the answer.

use bytes::Bytes;
use smallvec::SmallVec;

use super::Pipeline;
use super::beside;
use super::cells::cells;
use super::gap::Missed;
use super::overlap::{LARGE_BYTES, UnderWay};
use super::primary::Judged;
use super::reply::Refusal;
use super::settle::{Settled, piece, settle};
use super::stamp::Lines;
use crate::base::failpoint::{self, Point};
use crate::base::{Lsn, RequestId};
use crate::db::answer::Kept;
use crate::line;
use crate::queue::{EntryBytes, Intent, Outcome, Unavailable};
use crate::route::RouteName;
use crate::wal::{Entry, Kind};

/// A body is kept in records of at most this size.
const PIECE_BYTES: usize = 8 << 20;

/// How a write stands in the log.
#[derive(Debug)]
pub(super) struct Logged {
    name: Option<RouteName>,
    /// First record, and the lines of each; `None`: the log has nothing of it.
    records: Option<(Lsn, SmallVec<[u32; 1]>)>,
    /// A gap stands for it already.
    gapped: bool,
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
            return Ok(Logged { name: None, records: None, gapped: false });
        };
        if lines.is_blank() {
            return Ok(Logged { name: Some(name), records: None, gapped: false });
        }
        let route = self.catalogue.route(&name).await;
        let unavailable = match route {
            Ok(route) => match entries(&route, lines, arrived_ns, self.meters.next_request()) {
                Some(entries) => {
                    let lines_of = entries.iter().map(|entry| entry.lines).collect();
                    match tokio::time::timeout(self.stall, self.appender.intents(entries)).await {
                        Ok(Ok(first)) => {
                            self.queue_is_back(arrived_ns);
                            failpoint::hit(Point::IntentDurable);
                            return Ok(Logged { name: Some(name), records: Some((first, lines_of)), gapped: false });
                        }
                        Ok(Err(unavailable)) => unavailable,
                        Err(_) => Unavailable::Stalled,
                    }
                }
                None => return Ok(Logged { name: Some(name), records: None, gapped: false }),
            },
            Err(error) => {
                tracing::warn!(%error, "a route cannot be noted");
                Unavailable::Faulted
            }
        };
        self.open_gap(&name, lines, arrived_ns, Missed::Queue(unavailable)).await?;
        failpoint::hit(Point::GapDurable);
        Ok(Logged { name: Some(name), records: None, gapped: true })
    }

    /// Makes the outcome durable, or the gap that stands for it.
    pub(super) async fn log_outcome(
        &self,
        logged: Logged,
        judged: &Judged,
        lines: &Lines,
        overlapping: &[u32],
        arrived_ns: i64,
    ) -> Result<(), Refusal> {
        let name = logged.name.unwrap_or(RouteName::Database { db: String::new(), rp: String::new() });
        let recorded = logged.records.is_some();
        if let Some((first, lines_of)) = logged.records {
            let settled = settle(judged, lines, overlapping, self.clock.wall_ns());
            let entries = self.entries_of(&settled, judged.status, first, &lines_of);
            let appended = tokio::time::timeout(self.stall, self.appender.entries_of_outcomes(entries)).await;
            if let Ok(Err(unavailable)) | Err(unavailable) = appended.map_err(|_| Unavailable::Stalled)
                && judged.kept != Kept::Nothing
            {
                self.open_gap(&name, lines, arrived_ns, Missed::Queue(unavailable)).await?;
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
}

impl Pipeline {
    /// A write is about to be logged and sent: from here on others may meet it. Large bodies are hashed beside the event loop.
    pub(super) async fn sets_out(&self, name: Option<&RouteName>, lines: &Lines) -> Option<UnderWay> {
        let name = name?;
        let large = lines.text.len() > LARGE_BYTES && self.overlaps.meets(name, lines);
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
    pub(super) fn has_ended(&self, under_way: Option<UnderWay>, judged: &Judged) -> Vec<u32> {
        let Some(under_way) = under_way else { return Vec::new() };
        // Without an answer, or with one that came from deep inside, the source may still be working on it.
        let late = judged.kept == Kept::Unknown && (judged.status == 0 || judged.status >= 500);
        self.overlaps.end(under_way, late, self.clock.monotonic())
    }

    /// The outcomes of all pieces of a write.
    fn entries_of(&self, settled: &Settled, status: u16, first: Lsn, lines_of: &[u32]) -> SmallVec<[EntryBytes; 1]> {
        let mut entries = SmallVec::new();
        let mut before = 0;
        for (lsn, lines) in (first.0..).map(Lsn).zip(lines_of.iter().copied()) {
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
        excluded: route.target.is_none(),
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
    if lines.text.len() <= PIECE_BYTES {
        return Some(vec![entry(lines.text.clone(), lines.parsed.lines)]);
    }
    let pieces = line::split(&lines.text, PIECE_BYTES);
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
