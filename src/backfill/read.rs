//! One window of a measurement from the source into a spool.

use std::path::Path;
use std::time::Duration;

use super::spool::{SpoolWriter, Totals};
use super::steering::TARGET;
use crate::base::clock::SharedClock;
use crate::base::{Error, Kind, Result, Side};
use crate::cell::SumKey;
use crate::db::read::{Reader, Window, unreadable_fields};

/// A read that takes longer is broken off, and its window made smaller.
const READ_MAX: Duration = TARGET.saturating_mul(10);
/// Rows of one piece of the answer; fewer at each further attempt.
const CHUNK_ROWS: u32 = 2000;

/// What came of a read.
#[derive(Clone, Debug)]
pub struct Spooled {
    /// What is in the spool.
    pub totals: Totals,
    /// How long it took, without what the source asked us to wait.
    pub took: Duration,
    /// Fields of the measurement that no query of the source shows: they are in no spool.
    pub hidden: Vec<Vec<u8>>,
}

/// Reads all cells of the window.
///
/// # Errors
/// As [`crate::db::read::CellStream::next`]; `Limit` beyond the size of a spool; `Timeout` when it takes too long.
pub async fn read(
    reader: &Reader,
    ((db, rp), measurement, window): ((&str, &str), &[u8], Window),
    (path, key, bytes_max): (&Path, SumKey, u64),
    (attempt, clock): (u32, &SharedClock),
) -> Result<Spooled> {
    let began = clock.monotonic();
    let reader = reader.clone().with_chunk_rows(CHUNK_ROWS >> (2 * attempt).min(10));
    let reading = async {
        let mut spool = SpoolWriter::create(path, key, bytes_max)?;
        let mut stream = reader.stream(db, rp, measurement, window).await?;
        let hidden = unreadable_fields(stream.fields()).into_iter().map(<[u8]>::to_vec).collect();
        while let Some(cells) = stream.next().await? {
            spool.add(cells)?;
        }
        Ok((spool.finish()?, hidden))
    };
    let late = || {
        let what = format!("the source did not answer a query in {} s", READ_MAX.as_secs());
        Error::new(Kind::Timeout, Side::Source, what).retryable()
    };
    let (before, _) = reader.waited();
    let mut waited = before;
    tokio::pin!(reading);
    let (totals, hidden) = loop {
        match tokio::time::timeout(READ_MAX, &mut reading).await {
            Ok(done) => break done?,
            Err(_) => match reader.waited() {
                // It asked us to wait: that is not its slowness.
                (_, true) => {}
                (now, false) if now > waited => waited = now,
                (_, false) => return Err(late()),
            },
        }
    };
    let took = clock.monotonic().saturating_sub(began).saturating_sub(reader.waited().0.saturating_sub(before));
    Ok(Spooled { totals, took, hidden })
}
