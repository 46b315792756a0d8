//! What a job is made of, wherever it runs: in the process of the command line, or inside a running twinline.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::pair::{Pair, Scope};
use crate::backfill::executor::{self, Parts};
use crate::backfill::gate::Gate;
use crate::backfill::progress::Progress;
use crate::backfill::throttle::rule::OfSource;
use crate::backfill::throttle::{Allowance, Limits, Live, Offline, Probes, Throttle};
use crate::backfill::write::Writer;
use crate::base::Side;
use crate::base::clock::SharedClock;
use crate::base::recent::Recent;
use crate::cell::SumKey;
use crate::cli::exit::Failure;
use crate::cli::run::writing;
use crate::config::Config;
use crate::db::product::Product;
use crate::db::server::Server;
use crate::db::victoria;
use crate::delivery::SharedView;
use crate::state::{BackfillStore, JobRow, JobState, JobSums};

/// Measurements of a place that are counted.
const COUNTED_MAX: usize = 500;
/// How often it is noted why a job waits.
const NOTE_EVERY: Duration = Duration::from_secs(1);

/// Where a job runs.
pub(in crate::cli) struct Around<'a> {
    pub(in crate::cli) config: &'a Config,
    pub(in crate::cli) store: Arc<dyn BackfillStore>,
    pub(in crate::cli) clock: &'a SharedClock,
    pub(in crate::cli) progress: &'a Progress,
    pub(in crate::cli) gate: Gate,
    /// What all copies to the destination may take.
    pub(in crate::cli) allowance: Allowance,
    pub(in crate::cli) stop: executor::Stop,
    pub(in crate::cli) spool_bytes_max: u64,
}

/// What all copies to a destination may take. `beside`: delivery and clients' writes, where these go on beside it. `source`: what may be
/// read there, by whomever.
pub(in crate::cli) fn allowance(
    config: &Config,
    clock: &SharedClock,
    source: &OfSource,
    beside: Option<(SharedView, Recent)>,
) -> Allowance {
    let probes: Rc<dyn Probes> = match beside {
        Some((view, source)) => Rc::new(Live { view, source }),
        None => Rc::new(Offline),
    };
    let limits = Limits::open(&config.backfill, &config.data_dir);
    Allowance::new((limits, probes), source.clone(), Arc::clone(clock), config.data_dir.clone())
}

/// The parts of a job. `resumed`: some of it may be done.
pub(in crate::cli) async fn parts(
    around: Around<'_>,
    pair: &Pair,
    (scope, job, resumed): (&Scope, &JobRow, bool),
) -> Result<Parts, Failure> {
    let Around { config, store, clock, progress, gate, allowance, stop, spool_bytes_max } = around;
    let reader = pair.reader(config)?;
    let throttle = Throttle::new(&allowance, reader.clone(), (stop.clone(), progress.clone()));
    let writer = writer(config, pair, (clock, progress, stop), throttle).await?;
    let half = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| job.key[at + byte]));
    Ok(Parts {
        reader,
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

/// Has the source count what there is to copy. What it does not count is known by what comes of it.
pub(in crate::cli) async fn count(parts: &Parts) {
    for (number, place) in parts.places.iter().enumerate() {
        let (db, rp) = (place.read_as.0.as_str(), place.read_as.1.as_str());
        let names = match parts.reader.measurements(db, rp).await {
            Ok(names) => names,
            Err(error) => {
                parts.progress.tell("backfill.count", format!("{} was not counted: {error}", place.name));
                continue;
            }
        };
        for name in names.into_iter().take(COUNTED_MAX) {
            let Some(query) = parts.writer.throttle.query().await else { return };
            let counted = parts.reader.count(db, rp, &name, parts.within).await;
            let _ = query.ended();
            match counted {
                Ok(cells) => parts.progress.counted((number, name.into()), cells),
                Err(error) => {
                    let name = String::from_utf8_lossy(&name);
                    parts.progress.tell("backfill.count", format!("{} {name} was not counted: {error}", place.name));
                }
            }
        }
    }
}

/// Notes with the job why it waits, for ever: where it runs in a process of its own nobody else can be asked.
pub(in crate::cli) async fn noted(store: Arc<dyn BackfillStore>, job: i64, progress: &Progress, clock: &SharedClock) {
    let mut before = String::new();
    loop {
        tokio::time::sleep(NOTE_EVERY).await;
        let view = progress.view();
        let why = view.throttled.or(view.waits).map_or_else(String::new, |why| format!("waits: {why}"));
        if why == before {
            continue;
        }
        // Whoever looks sees the last one; what becomes of the job does not hang on it.
        match store.set_job(job, JobState::Running, why.clone(), clock.wall_ns()).await {
            Ok(()) => before = why,
            Err(error) => tracing::debug!(%error, "why job {job} waits could not be noted"),
        }
    }
}

/// The destination, as whoever copies writes to it.
pub(in crate::cli) async fn writer(
    config: &Config,
    pair: &Pair,
    (clock, progress, stop): (&SharedClock, &Progress, executor::Stop),
    throttle: Throttle,
) -> Result<Writer, Failure> {
    let server = Server::new(&config.destination().server, Side::Destination)?;
    let product = pair.destination.0;
    let keeps = match product {
        Product::Victoria => victoria::about(&server).await?.keeps,
        _ => victoria::Keeps::default(),
    };
    Ok(Writer {
        server,
        product,
        writing: writing(config, product, keeps),
        kind: pair.kind.clone(),
        clock: Arc::clone(clock),
        progress: progress.clone(),
        stop,
        throttle,
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
