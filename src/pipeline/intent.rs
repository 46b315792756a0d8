//! The two log records of a write: the intent before the primary is asked, the outcome before the client hears the answer.

use bytes::Bytes;

use super::Pipeline;
use super::gap::Missed;
use super::primary::Judged;
use super::reply::Refusal;
use super::stamp::Lines;
use crate::base::{Lsn, RequestId};
use crate::db::answer::Kept;
use crate::line;
use crate::queue::{Cause, Disposition, Intent, Outcome, Unavailable};
use crate::route::RouteName;
use crate::wal::{Entry, Kind};

/// A body is kept in records of at most this size.
const PIECE_BYTES: usize = 8 << 20;

/// How a write stands in the log.
#[derive(Debug)]
pub(super) struct Logged {
    name: Option<RouteName>,
    /// First record and number of records; `None`: the log has nothing of it.
    records: Option<(Lsn, u64)>,
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
                    let count = entries.len() as u64;
                    match tokio::time::timeout(self.stall, self.appender.intents(entries)).await {
                        Ok(Ok(first)) => {
                            self.queue_is_back(arrived_ns);
                            return Ok(Logged { name: Some(name), records: Some((first, count)), gapped: false });
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
        Ok(Logged { name: Some(name), records: None, gapped: true })
    }

    /// Makes the outcome durable, or the gap that stands for it.
    pub(super) async fn log_outcome(
        &self,
        logged: Logged,
        judged: &Judged,
        lines: &Lines,
        arrived_ns: i64,
    ) -> Result<(), Refusal> {
        let name = logged.name.unwrap_or(RouteName::Database { db: String::new(), rp: String::new() });
        if let Some((first, count)) = logged.records {
            let (disposition, cause) = match judged.kept {
                Kept::All => (Disposition::Applied, Cause::None),
                Kept::Nothing => (Disposition::NotApplied, Cause::None),
                Kept::Unknown => (Disposition::Doubt, judged.cause),
            };
            let outcomes = (0..count).map(|piece| Outcome {
                lsn: Lsn(first.0 + piece),
                status: judged.status,
                disposition,
                cause,
                epoch: self.epoch,
            });
            let appended = tokio::time::timeout(self.stall, self.appender.outcomes(outcomes)).await;
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
        let accepted_nowhere = logged.records.is_none() && !lines.is_blank();
        if accepted_beyond_us || accepted_nowhere {
            let missed = if lines.parsed.decoded { Missed::Unreadable } else { Missed::Undecodable };
            self.open_gap(&name, lines, arrived_ns, missed).await?;
        }
        Ok(())
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
