//! What the two databases are: as configured, else as they say, else as they said last time.

use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::Method;

use crate::base::{Error, Kind, Result, Side};
use crate::config::{self, Config, SourceKind};
use crate::control::{self, Facts};
use crate::db::product::Product;
use crate::db::server::{Flavor, Server, Version};
use crate::db::victoria;
use crate::pipeline::Pipeline;
use crate::state::SharedState;

/// How often a source that told its version is asked again: it may be upgraded behind us.
const ASK_AGAIN: Duration = Duration::from_secs(60);
/// A start waits this long for each of them.
const ASK_MAX: Duration = Duration::from_secs(2);
/// How often one that did not, or that answers no write.
const ASK_SOON: Duration = Duration::from_secs(5);

/// Kinds and versions.
#[derive(Clone, Debug)]
pub(super) struct Learnt {
    pub(super) source: Version,
    /// In the order of the configuration.
    pub(super) destinations: Vec<Met>,
}

/// What the destination is.
#[derive(Clone, Debug)]
pub(super) struct Met {
    pub(super) product: Product,
    pub(super) version: String,
    /// Whether it has said so now.
    pub(super) answered: bool,
    /// Which times it keeps, of a VictoriaMetrics.
    pub(super) keeps: victoria::Keeps,
}

impl From<Version> for Met {
    fn from(version: Version) -> Self {
        Self {
            product: version.flavor.into(),
            answered: version.number.is_some(),
            version: version.text,
            keeps: victoria::Keeps::default(),
        }
    }
}

pub(super) async fn learn(
    config: &Config,
    source: &Server,
    destinations: &[Server],
    state: &SharedState,
) -> Result<Learnt> {
    // All at once: those that do not answer cost a start the time of one.
    let asking: Vec<_> = config
        .each()
        .zip(destinations.iter().cloned())
        .map(|(config, server)| {
            let state = SharedState::clone(state);
            tokio::task::spawn_local(async move { of_destination(&config, &server, &state).await })
        })
        .collect();
    let source_kind = match config.source.kind {
        SourceKind::Influxdb1 => Some(Flavor::Influx1),
        SourceKind::Influxdb2 => Some(Flavor::Influx2),
        SourceKind::Auto => None,
    };
    let source = one(source, source_kind, "source", "kind.source", Side::Source, state).await;
    let mut met = Vec::new();
    for asked in asking {
        let asked =
            asked.await.map_err(|e| Error::new(Kind::State, Side::Own, "asking a destination failed").because(e))?;
        met.push(asked?);
    }
    Ok(Learnt { source: source?, destinations: met })
}

/// Where it is remembered what a destination is.
fn destination_kind(config: &Config) -> String {
    format!("kind.destination.{}", config.destination().id)
}

async fn of_destination(config: &Config, server: &Server, state: &SharedState) -> Result<Met> {
    let configured = Product::configured(config.destination().kind);
    let remembered_as = destination_kind(config);
    let ping = server.ask(Method::GET, "/ping", Bytes::new());
    let foreign = match configured {
        Some(product) => product.flavor().is_none().then_some(product),
        None => match tokio::time::timeout(ASK_MAX, ping).await {
            Ok(Ok(reply)) => Product::find_foreign(server, &reply).await,
            _ => remembered(state, &remembered_as).await.filter(|product| product.flavor().is_none()),
        },
    };
    let Some(product) = foreign else {
        let flavor = configured.and_then(Product::flavor);
        return one(server, flavor, "destination", &remembered_as, Side::Destination, state).await.map(Met::from);
    };
    let asked = tokio::time::timeout(ASK_MAX, product.ask_version(server)).await.ok().and_then(Result::ok);
    if asked.is_none() {
        tracing::warn!("the destination does not tell its version; going on without");
    }
    // Only remembered for a start at which it does not answer.
    let _ = state.set(&remembered_as, product.name().as_bytes().to_vec()).await;
    let (answered, version) = (asked.is_some(), asked.unwrap_or_else(|| "unknown".to_owned()));
    let keeps = match product {
        Product::Victoria => tokio::time::timeout(ASK_MAX, victoria::about(server)).await,
        _ => Ok(Ok(victoria::About::default())),
    };
    let keeps = keeps.ok().and_then(Result::ok).unwrap_or_default().keeps;
    Ok(Met { product, version, answered, keeps })
}

async fn remembered(state: &SharedState, name: &str) -> Option<Product> {
    Product::named(&state.get(name).await.ok().flatten()?)
}

async fn one(
    server: &Server,
    configured: Option<Flavor>,
    section: &str,
    remembered: &str,
    side: Side,
    state: &SharedState,
) -> Result<Version> {
    // A database that hangs must not keep clients from connecting to us.
    let asked = tokio::time::timeout(ASK_MAX, server.version()).await.unwrap_or_else(|_| {
        Err(Error::new(Kind::Timeout, side, format!("the {section} does not answer /ping in time")).retryable())
    });
    match (asked, configured) {
        (Ok(version), Some(flavor)) if version.flavor != flavor => {
            let what = format!(
                "the {section} says that it is version {}, but {section}.kind is {}",
                version.text,
                name(flavor)
            );
            Err(Error::new(Kind::Config, side, what).hint(format!("set {section}.kind = \"{}\"", name(version.flavor))))
        }
        (Ok(version), _) => {
            // Only remembered for a start at which it does not answer.
            let _ = state.set(remembered, name(version.flavor).as_bytes().to_vec()).await;
            Ok(version)
        }
        (Err(error), Some(flavor)) => {
            tracing::warn!(%error, "the {section} does not tell its version; going on without");
            Ok(Version::assumed(flavor))
        }
        (Err(error), None) => {
            let known = state.get(remembered).await.ok().flatten().unwrap_or_default();
            let flavor = [Flavor::Influx1, Flavor::Influx2].into_iter().find(|f| name(*f).as_bytes() == known);
            flavor.map(Version::assumed).ok_or_else(|| {
                error
                    .context(format!("what the {section} is cannot be found out"))
                    .hint(format!("start it first, or set {section}.kind to influxdb1 or influxdb2"))
            })
        }
    }
}

/// Keeps the source's version fresh.
pub(super) async fn keep_learning(pipeline: Rc<Pipeline>, facts: Arc<Mutex<Facts>>) {
    let mut waited = Duration::ZERO;
    loop {
        tokio::time::sleep(ASK_SOON).await;
        waited += ASK_SOON;
        let known = pipeline.version.borrow().number.is_some();
        let silent = pipeline.silence.now(pipeline.clock.monotonic()).is_some();
        if known && !silent && waited < ASK_AGAIN {
            continue;
        }
        waited = Duration::ZERO;
        let Ok(version) = pipeline.source.version().await else { continue };
        pipeline.silence.answers_us(pipeline.clock.monotonic());
        if version.flavor != pipeline.version.borrow().flavor {
            tracing::error!(version = version.text, "the source is another kind of database now; restart twinline");
            continue;
        }
        facts.lock().unwrap_or_else(PoisonError::into_inner).source.version.clone_from(&version.text);
        pipeline.version.replace(version);
    }
}

/// For display.
pub(super) fn side(server: &config::Server, product: Product, version: &str) -> control::Side {
    control::Side { url: server.url.to_string(), kind: product.name().to_owned(), version: version.to_owned() }
}

fn name(flavor: Flavor) -> &'static str {
    Product::from(flavor).name()
}
