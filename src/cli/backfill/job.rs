//! What a job is made of, wherever it runs: in the process of the command line, or inside a running twinline.

use std::rc::Rc;
use std::sync::Arc;

use super::pair::{Pair, Scope};
use crate::backfill::executor::{self, Parts};
use crate::backfill::gate::Gate;
use crate::backfill::progress::Progress;
use crate::backfill::write::Writer;
use crate::base::Side;
use crate::base::clock::SharedClock;
use crate::cell::SumKey;
use crate::cli::exit::Failure;
use crate::cli::run::writing;
use crate::config::Config;
use crate::db::product::Product;
use crate::db::server::{Flavor, Server};
use crate::db::victoria;
use crate::line::Dialect;
use crate::state::{BackfillStore, JobRow, JobState, JobSums};

/// Where a job runs.
pub(in crate::cli) struct Around<'a> {
    pub(in crate::cli) config: &'a Config,
    pub(in crate::cli) store: Arc<dyn BackfillStore>,
    pub(in crate::cli) clock: &'a SharedClock,
    pub(in crate::cli) progress: &'a Progress,
    pub(in crate::cli) gate: Gate,
    pub(in crate::cli) stop: executor::Stop,
    pub(in crate::cli) spool_bytes_max: u64,
}

/// The parts of a job. `resumed`: some of it may be done.
pub(in crate::cli) async fn parts(
    around: Around<'_>,
    pair: &Pair,
    (scope, job, resumed): (&Scope, &JobRow, bool),
) -> Result<Parts, Failure> {
    let Around { config, store, clock, progress, gate, stop, spool_bytes_max } = around;
    let server = Server::new(&config.destination().server, Side::Destination)?;
    let product = pair.destination.0;
    let keeps = match product {
        Product::Victoria => victoria::about(&server).await?.keeps,
        _ => victoria::Keeps::default(),
    };
    let dialect = match pair.flavor {
        Flavor::Influx1 => Dialect::Influx1,
        Flavor::Influx2 => Dialect::Influx2,
    };
    let writer = Writer {
        server,
        product,
        writing: writing(config, product, keeps),
        kind: pair.kind.clone(),
        dialect,
        clock: Arc::clone(clock),
        progress: progress.clone(),
        stop,
    };
    let half = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| job.key[at + byte]));
    Ok(Parts {
        reader: pair.reader(config)?,
        writer: Rc::new(writer),
        gate,
        limits: executor::Limits::default(),
        store,
        clock: Arc::clone(clock),
        job: job.id,
        resumed,
        key: SumKey([half(0), half(8)]),
        places: pair.places.clone(),
        within: scope.window(),
        // Those of one destination: spools of others are nobody's to remove.
        spool_dir: config.data_dir.join("backfill").join(config.destination().id.as_str()),
        spool_bytes_max,
        late_max: config.destination().delivery.late_write_max,
        progress: progress.clone(),
    })
}

/// How a job that has come to its end stands.
pub(in crate::cli) fn ended(sums: &JobSums) -> JobState {
    if sums.failed.is_empty() && sums.letters.is_empty() { JobState::Done } else { JobState::Partial }
}

/// A key for the sums of a new job.
pub(in crate::cli) fn new_key() -> [u8; 16] {
    std::array::from_fn(|_| fastrand::u8(..))
}
