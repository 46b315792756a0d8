//! One part of the data: held, read, written, released.
//!
//! Promises: it is read only under a hold that began behind everything it must be behind, when delivery can bring nothing older of it any
//! more, whatever ends this process. Until its write begins the hold lasts no longer than `hold_max` and keeps no more than
//! [`PARKED_BYTES_MAX`] waiting. Then it lasts until no request of the write can take effect any more.

use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::Parts;
use super::place::Met;
use crate::backfill::gate::region;
use crate::backfill::read::{self, Spooled};
use crate::backfill::scope::Place;
use crate::backfill::spool::SpoolReader;
use crate::backfill::throttle::Query;
use crate::base::bounds::{PARKED_BYTES_MAX, READ_BACK_SPOOL_BYTES};
use crate::base::{Error, Kind, Lsn, Result, Retry, Side};
use crate::cell::SumKey;
use crate::db::read::Window;
use crate::delivery::Held;
use crate::wal::Item;

/// A destination that does not take a part within this time is tried again later.
pub(super) const WRITE_MAX: Duration = Duration::from_secs(60);
/// How often it is looked whether a hold keeps too much waiting.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A part.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub(super) place: Rc<Place>,
    pub(super) measurement: Arc<[u8]>,
    pub(super) window: Window,
    /// How often a window around it was too much.
    pub(super) attempt: u32,
}

/// What became of it.
#[derive(Debug)]
pub(super) enum Copied {
    /// The destination has all of it: so many points.
    All(u64),
    /// It was too much at a time.
    TooMuch(String),
    /// Delivery cannot leave it alone now.
    Busy(String),
    /// It is to be tried again later.
    Later(String),
    /// The source cannot be reached.
    Away(String),
}

impl Piece {
    /// Smaller ones in its place; none where it cannot be smaller.
    pub(super) fn split(&self) -> Vec<Self> {
        let Window { start_ns, end_ns } = self.window;
        let width = i128::from(end_ns) - i128::from(start_ns);
        let parts = SPLIT.min(width);
        if parts < 2 {
            return Vec::new();
        }
        let edge = |at: i128| i64::try_from(i128::from(start_ns) + width * at / parts).unwrap_or(end_ns);
        let part = |at| Self {
            window: Window { start_ns: edge(at), end_ns: edge(at + 1) },
            attempt: self.attempt + 1,
            ..self.clone()
        };
        (0..parts).map(part).collect()
    }

    pub(super) fn name(&self) -> String {
        region(&self.place.name, &self.measurement, self.window).to_string()
    }
}

/// What a part that was too much falls into.
const SPLIT: i128 = 4;

impl Parts {
    /// Copies a part. `behind`: the record that its hold must begin behind.
    pub(super) async fn copy(&self, met: &Met, piece: &Piece, (behind, query): (Lsn, Query)) -> Copied {
        let mut held = match self.regions.hold(region(&piece.place.name, &piece.measurement, piece.window)).await {
            Ok(held) => held,
            Err(error) => return Copied::Busy(error.to_string()),
        };
        let spool = self.spool_dir.join("readback.spool");
        let copied = self.under(&mut held, met, piece, (behind, &spool, query)).await;
        held.release().await;
        if let Err(error) = remove(&spool) {
            tracing::warn!(event = "readback.spool", "{error}");
        }
        copied
    }

    async fn under(
        &self,
        held: &mut Held,
        met: &Met,
        piece: &Piece,
        (behind, spool, query): (Lsn, &Path, Query),
    ) -> Copied {
        let began = self.clock.monotonic();
        let hold_max = self.settings.hold_max;
        match tokio::time::timeout(hold_max, held.settled()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Copied::Busy(error.to_string()),
            Err(_) => return Copied::Busy(LATE_DELIVERY.to_owned()),
        }
        // Where delivery has begun anew it has gone back.
        if !self.is_behind(held.since(), behind) {
            return Copied::Busy(format!("delivery has not come to record {behind} of the log yet"));
        }
        let left = hold_max.saturating_sub(self.clock.monotonic().saturating_sub(began));
        let spooled = tokio::select! {
            read = tokio::time::timeout(left, self.read(met, piece, spool)) => match read {
                Ok(read) => read,
                Err(_) => return Copied::TooMuch(format!("the source did not answer a query in {} s", hold_max.as_secs())),
            },
            why = breached(held) => return Copied::TooMuch(why),
        };
        let _ = query.ended();
        let spooled = match spooled {
            Ok(spooled) => spooled,
            Err(error) if error.kind() == Kind::Connect => return Copied::Away(super::said(&error)),
            Err(error) if matches!(error.kind(), Kind::Timeout | Kind::Limit) => {
                return Copied::TooMuch(error.to_string());
            }
            Err(error) if error.kind() == Kind::Answer && error.retry() == Retry::Yes => {
                return Copied::TooMuch(error.to_string());
            }
            Err(error) => return Copied::Later(super::said(&error)),
        };
        if let Some(field) = spooled.hidden.first() {
            return Copied::Later(format!("no query of the source shows its field {}", field.escape_ascii()));
        }
        if let Some(why) = breach(held) {
            return Copied::TooMuch(why);
        }
        if spooled.totals.points == 0 { Copied::All(0) } else { self.write(met, piece, &spooled, spool).await }
    }

    /// Whether the log has no record behind the hold's beginning that must be before it: its own marks are dealt out to nobody.
    fn is_behind(&self, since: Lsn, behind: Lsn) -> bool {
        if since >= behind {
            return true;
        }
        match self.log.reader(since.next()).and_then(|mut headers| headers.next_header()) {
            Ok(Some(Item::Record(record))) => record.lsn > behind,
            Ok(Some(Item::Damage(_))) => false,
            Ok(None) => true,
            Err(error) => {
                tracing::warn!(event = "readback.log", "{error}");
                false
            }
        }
    }

    async fn read(&self, met: &Met, piece: &Piece, spool: &Path) -> Result<Spooled> {
        let dir = &self.spool_dir;
        std::fs::create_dir_all(dir)
            .map_err(|e| Error::disk(format!("the directory of spools {}", dir.display()), e))?;
        let (db, rp) = (piece.place.read_as.0.as_str(), piece.place.read_as.1.as_str());
        // Nobody compares its sum: it finds a spool that is not what was written.
        let key = SumKey([fastrand::u64(..), fastrand::u64(..)]);
        let read = read::read(
            &met.reader,
            ((db, rp), &piece.measurement, piece.window),
            (spool, key, READ_BACK_SPOOL_BYTES),
            (piece.attempt, &self.clock),
        );
        match read.await {
            // It answers others: this window is what breaks the connection.
            Err(error) if error.kind() == Kind::Connect && met.reader.databases().await.is_ok() => {
                Err(Error::new(Kind::Answer, Side::Source, error.to_string()).retryable())
            }
            other => other,
        }
    }

    /// From here on the hold lasts until no request of ours can take effect any more.
    async fn write(&self, met: &Met, piece: &Piece, spooled: &Spooled, spool: &Path) -> Copied {
        // Before the first byte goes.
        let checked =
            SpoolReader::verify(spool, spooled.totals).and_then(|()| SpoolReader::open(spool, spooled.totals));
        let points = match checked {
            Ok(points) => points,
            Err(error) => return Copied::Later(error.to_string()),
        };
        self.write_until.set(Some(self.clock.monotonic() + WRITE_MAX));
        let done = met.writer.write(&piece.place, points).await;
        let is_late = self.write_until.replace(None).is_some_and(|until| self.clock.monotonic() >= until);
        let (copied, unanswered) = match done {
            Ok(sent) => {
                let copied = match sent.letters.first() {
                    Some(letter) => Copied::Later(format!(
                        "the destination refuses {} lines of it, the first ({}): {}",
                        sent.letters.len(),
                        letter.code,
                        letter.reason
                    )),
                    None => Copied::All(spooled.totals.points),
                };
                (copied, sent.unanswered)
            }
            Err((_, unanswered)) if is_late => {
                (Copied::TooMuch(format!("the destination did not take it in {} s", WRITE_MAX.as_secs())), unanswered)
            }
            Err((error, unanswered)) => (Copied::Later(super::said(&error)), unanswered),
        };
        if let Some(at) = unanswered {
            let left = (at + self.late_write_max).saturating_sub(self.clock.monotonic());
            tokio::time::sleep(left).await;
        }
        copied
    }
}

const LATE_DELIVERY: &str = "delivery did not get everything before it onto the disk of its log in time";

/// Until a hold keeps too much waiting.
async fn breached(held: &Held) -> String {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        if let Some(why) = breach(held) {
            return why;
        }
    }
}

fn breach(held: &Held) -> Option<String> {
    let parked = held.parked();
    let is_much = parked.bytes > PARKED_BYTES_MAX as u64 || parked.broken.is_some();
    is_much.then(|| format!("while it is read {} lines of clients wait for it", parked.lines))
}

/// A spool that has done its work.
fn remove(spool: &Path) -> Result<()> {
    match std::fs::remove_file(spool) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::disk(format!("the spool {}", spool.display()), e))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::{RouteName, Target};

    #[test]
    fn a_part_falls_apart_without_loss() {
        let (name, target) = (
            RouteName::Database { db: "d".into(), rp: String::new() },
            Target::Database { db: "d".into(), rp: String::new() },
        );
        let place = Rc::new(Place { name, read_as: Default::default(), target, shape: None });
        for (start_ns, end_ns, count) in [(0, 10, 4), (0, 3, 3), (i64::MIN, i64::MAX, 4), (7, 8, 0), (7, 9, 2)] {
            let window = Window { start_ns, end_ns };
            let whole = Piece { place: Rc::clone(&place), measurement: b"m"[..].into(), window, attempt: 1 };
            let parts = whole.split();
            assert_eq!(parts.len(), count);
            let mut at = start_ns;
            for part in &parts {
                assert!(part.window.start_ns == at && part.window.end_ns > at && part.attempt == 2);
                at = part.window.end_ns;
            }
            assert!(parts.is_empty() || at == end_ns);
        }
    }
}
