//! What a plan asks of a source: where shard groups cut time, and roughly how much there is.

use rmpv::ValueRef;

use crate::base::Result;

use super::flux::Bucket;
use super::influxql::{Product, Reader};
use super::quote;
use super::windows::Window;

impl Reader {
    /// The parts of `within` that lie inside one shard group each and may hold points of a measurement, in order. On 1.x they are
    /// those of all measurements of the policy.
    ///
    /// # Errors
    /// Of the connection and of the statements; `Auth` where shard groups may not be listed.
    pub async fn groups(&self, db: &str, rp: &str, measurement: &[u8], within: Window) -> Result<Vec<Window>> {
        if let Some(bucket) = Bucket::named(db, rp) {
            return self.flux_groups(&bucket, measurement, within).await;
        }
        let keys = match self.product {
            Product::Influx1 => super::FieldKeys::new(),
            Product::Influx2 => self.field_keys(db, rp, measurement).await?,
        };
        self.windows_of_groups(db, rp, measurement, &keys, within).await
    }

    /// Whether [`Reader::groups`] says the same of every measurement.
    #[must_use]
    pub fn groups_are_of_the_policy(&self) -> bool {
        self.product == Product::Influx1
    }

    /// Cells of a measurement in a window, by the server's own count: exact where its fields have one type each, else too few.
    /// Where Flux is asked it is near that, and a name that is not UTF-8 brings its doubles along.
    ///
    /// # Errors
    /// Of the connection and of the statement.
    pub async fn count(&self, db: &str, rp: &str, measurement: &[u8], window: Window) -> Result<u64> {
        if let Some(bucket) = Bucket::named(db, rp) {
            return self.flux_count(&bucket, measurement, window).await;
        }
        let statement = format!("SELECT count(*::field) FROM {}{}", quote::measurement(measurement), window.clause());
        let mut objects = self.ask(db, rp, statement).await?;
        let mut cells = 0;
        while let Some(more) = objects.next(|document| Ok(counts(&document.blocks))).await? {
            cells += more;
        }
        Ok(cells)
    }

    /// The same reader, which asks for so many rows in one piece at most.
    #[must_use]
    pub fn with_chunk_rows(mut self, rows: u32) -> Self {
        self.limits_mut().chunk_rows = rows.max(1);
        self
    }
}

fn counts(blocks: &[super::rows::Block<'_>]) -> u64 {
    let row = |row: &ValueRef<'_>| match row {
        // The first is the time.
        ValueRef::Array(items) => items.iter().skip(1).filter_map(|item| item.to_owned().as_u64()).sum(),
        _ => 0,
    };
    blocks.iter().flat_map(|block| block.rows.iter()).map(row).sum()
}
