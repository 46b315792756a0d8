//! Both databases as whoever reads back meets them.

use std::rc::Rc;

use super::job;
use super::pair::{Pair, Scope, products};
use crate::backfill::executor::Stop;
use crate::backfill::progress::Progress;
use crate::backfill::readback::Met;
use crate::backfill::throttle::{Allowance, Throttle};
use crate::base::bounds::READ_BACK_PIECE;
use crate::base::clock::SharedClock;
use crate::base::{Error, Kind, Result, Side};
use crate::cli::exit::{Exit, Failure};
use crate::config::Config;
use crate::db::read::{self, Limits, Reader};
use crate::db::server::Flavor;

/// A piece of an answer takes no more: this goes on beside everything else. Source: the budget of memory (`config/budget`).
const LIMITS: Limits = Limits {
    chunk_rows: 2000,
    object_bytes_max: READ_BACK_PIECE.0,
    object_values_max: READ_BACK_PIECE.1,
    cells_max: 1_000_000,
    idle: std::time::Duration::from_secs(30),
};

/// Looks at both.
pub(in crate::cli) async fn met(
    config: &Config,
    clock: &SharedClock,
    (allowance, stop, progress): (&Allowance, Stop, Progress),
) -> Result<Met> {
    found(config, clock, (allowance, stop, progress)).await.map_err(|failure| {
        let kind = match failure.exit {
            Exit::Unreachable => Kind::Connect,
            Exit::Auth => Kind::Auth,
            _ => Kind::State,
        };
        let error = Error::new(kind, Side::Source, failure.what).retryable();
        match failure.hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    })
}

async fn found(
    config: &Config,
    clock: &SharedClock,
    (allowance, stop, progress): (&Allowance, Stop, Progress),
) -> Result<Met, Failure> {
    let asked = config.clone();
    // It has an event loop of its own.
    let both = tokio::task::spawn_blocking(move || products(&asked)).await;
    let both =
        both.map_err(|died| Failure::new(Exit::Failed, format!("asking the databases has failed: {died}")))??;
    let pair = Pair::find(config, both, &Scope::default()).await?;
    let of_source = match pair.flavor {
        Flavor::Influx1 => read::Product::Influx1,
        Flavor::Influx2 => read::Product::Influx2,
    };
    let reader = Reader::of(&config.source.server, of_source, Side::Source, LIMITS)?;
    // Of the limits of copies those of rates and quotas are asked alone.
    let throttle = Throttle::new(allowance, reader.clone(), (stop.clone(), progress.clone()));
    let writer = job::writer(config, &pair, (clock, &progress, stop), throttle).await?;
    Ok(Met {
        reader,
        writer: Rc::new(writer),
        mapping: config.mapping.clone(),
        kind: pair.kind,
        places: pair.places.into_iter().map(Rc::new).collect(),
        closed: pair.closed.into_iter().map(|(name, why, fix)| (name, with_fix(why, fix))).collect(),
    })
}

fn with_fix(why: String, fix: Option<String>) -> String {
    match fix {
        Some(fix) => format!("{why} ({fix})"),
        None => why,
    }
}
