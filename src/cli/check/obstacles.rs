//! What stands against a copy of these places: for whoever is about to begin one.
//!
//! Promise: by the same judgement as `twinline check`, and only about the places that are meant.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use serde_json::Value;

use super::finding::{Code, Finding, State};
use super::mapping::{Plan, judge};
use super::places::{self, Place};
use super::probe::{Probed, Verdict, probe_all};
use super::subject::{self, Subject};
use super::{Met, contents, identities, reach, retention};
use crate::base::clock::SharedClock;
use crate::base::{Result, SystemClock};
use crate::config::{Config, Projection};
use crate::db::encode::escape;
use crate::db::product::Product;
use crate::db::{questdb, victoria};
use crate::delivery::table_prefix;
use crate::line::project::table_name;
use crate::route::{Target, TargetKind};

/// Places whose contents are named.
const NAMED: usize = 10;

/// Something that stands against it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Obstacle {
    pub(in crate::cli) text: String,
    pub(in crate::cli) fix: Option<String>,
    /// It is what the destination holds already, which may be meant so.
    pub(in crate::cli) is_contents: bool,
}

/// A place that the destination has not, and that a copy needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Lack {
    pub(in crate::cli) target: Target,
    /// Its database is missing too.
    pub(in crate::cli) with_database: bool,
    /// What goes there, as it is at the source.
    pub(in crate::cli) places: Vec<Place>,
}

/// How it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::cli) struct Standing {
    pub(in crate::cli) obstacles: Vec<Obstacle>,
    /// None of the obstacles, where it is to be made.
    pub(in crate::cli) lacks: Vec<Lack>,
}

impl Obstacle {
    fn of(finding: Finding) -> Self {
        let is_contents = finding.code == Code::NOT_EMPTY;
        let whose = match finding.about {
            super::About::Source => "source: ",
            super::About::Destination => "destination: ",
            _ => "",
        };
        Self { text: format!("{whose}{}", finding.text), fix: finding.fix, is_contents }
    }
}

/// All that stands against a copy of these places. `oldest_ns`: of the data, where that is known. `creates`: what is missing is made first.
///
/// # Errors
/// The configuration cannot be used.
pub(in crate::cli) async fn obstacles(
    config: &Config,
    (places, kind): (&[Place], &TargetKind),
    (oldest_ns, creates): (Option<i64>, bool),
) -> Result<Standing> {
    let clock = SystemClock::shared();
    let (source, destination) = (Subject::source(config)?, Subject::destination(config)?);
    let (met_source, met_destination) = tokio::join!(reach::meet(&source, &clock), reach::meet(&destination, &clock));
    let mut findings: Vec<Finding> = Vec::new();
    findings.extend(met_source.findings.iter().chain(&met_destination.findings).cloned());
    findings.extend(identities(config, (&source, &met_source), (&destination, &met_destination)).await);
    let plan = Plan::new(&config.mapping, places, kind);
    let product = met_destination.product.unwrap_or(Product::Influx1);
    let probed = probe_all(&destination, product, plan.targets.keys()).await;
    findings.extend(super::auth::write_rights(&destination, &probed));
    findings.extend(judge(&plan, &probed, creates));
    findings.retain(|finding| finding.state == State::Failed);
    let exists = |verdict: &Verdict| matches!(verdict, Verdict::Writable | Verdict::Denied(_));
    let exists: BTreeSet<Target> = probed.iter().filter(|p| exists(&p.verdict)).map(|p| p.target.clone()).collect();
    let mut found: Vec<Obstacle> = Vec::new();
    if let Some(flavor) = met_destination.flavor() {
        let there = places::list(&destination, flavor).await;
        let kept = retention::judge(&destination, &plan, there.as_ref().map_err(subject::Unanswered::text));
        findings.extend(kept.into_iter().filter(|finding| finding.state == State::Failed));
        let contents = contents::look(&source, (&destination, flavor), &plan, &exists).await;
        let is_filled = |finding: &Finding| finding.code == Code::NOT_EMPTY && finding.state == State::Warning;
        findings.extend(contents.into_iter().filter(is_filled));
    } else {
        let projection = config.destination().projection;
        found.extend(foreign((&destination, &met_destination), (&plan, kind, projection), oldest_ns, &clock).await?);
    }
    found.extend(findings.into_iter().map(Obstacle::of));
    Ok(Standing { obstacles: found, lacks: lacks(&plan, &probed) })
}

/// What is not there and can be made.
fn lacks(plan: &Plan, probed: &[Probed]) -> Vec<Lack> {
    let mut found: Vec<Lack> = Vec::new();
    for Probed { target, verdict } in probed {
        let missing = match verdict {
            Verdict::NoDatabase => true,
            Verdict::NoPolicy | Verdict::NoBucket => false,
            _ => continue,
        };
        // One database is made once, with the first of its places.
        let same = |lack: &Lack| match (&lack.target, target) {
            (Target::Database { db, .. }, Target::Database { db: other, .. }) => lack.with_database && db == other,
            _ => false,
        };
        let with_database = missing && !found.iter().any(same);
        let places = plan.targets.get(target).map(|wanted| wanted.places.clone()).unwrap_or_default();
        found.push(Lack { target: target.clone(), with_database, places });
    }
    found
}

/// The same of what is no InfluxDB.
async fn foreign(
    (destination, met): (&Subject<'_>, &Met),
    (plan, kind, projection): (&Plan, &TargetKind, Projection),
    oldest_ns: Option<i64>,
    clock: &SharedClock,
) -> Result<Vec<Obstacle>> {
    let mut found = Vec::new();
    let mut filled = match met.product {
        Some(Product::Victoria) => series_of(destination, plan).await?,
        Some(Product::Questdb) => tables_of(destination, (plan, kind, projection)).await?,
        _ => Vec::new(),
    };
    if !filled.is_empty() {
        let more = filled.len().saturating_sub(NAMED);
        filled.truncate(NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let text = format!("destination: holds data already: {}{more}", filled.join(", "));
        found.push(Obstacle { text, fix: None, is_contents: true });
    }
    if met.product == Some(Product::Victoria)
        && let Some(oldest_ns) = oldest_ns
    {
        let past_ms = victoria::about(&destination.server).await?.keeps.past_ms;
        let age_ms = clock.wall_ns().saturating_sub(oldest_ns) / 1_000_000;
        if age_ms > past_ms {
            let days = |ms: i64| Duration::from_millis(ms.unsigned_abs()).as_secs() / 86_400;
            let text = format!(
                "destination: keeps {} days, and the source's data goes back {}: it would drop the older part without a word",
                days(past_ms),
                days(age_ms)
            );
            let fix = "start it with a longer -retentionPeriod, or copy only what it keeps: --since".to_owned();
            found.push(Obstacle { text, fix: Some(fix), is_contents: false });
        }
    }
    Ok(found)
}

/// Places of which VictoriaMetrics has series.
async fn series_of(destination: &Subject<'_>, plan: &Plan) -> Result<Vec<String>> {
    let mut filled = Vec::new();
    for target in plan.targets.keys() {
        let labels = match target {
            Target::Database { db, rp } if rp.is_empty() => format!("{{db={db:?},rp=\"\"}}"),
            Target::Database { db, rp } => format!("{{db={db:?},rp={rp:?}}}"),
            Target::Bucket { bucket, .. } => format!("{{bucket={bucket:?}}}"),
        };
        let prefix = destination.server.prefix();
        let path = format!("{prefix}/api/v1/series?limit=1&start=0&end=9223372036&match[]={}", escape(&labels));
        let reply = destination.server.ask(Method::GET, &path, Bytes::new()).await?;
        let said: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
        if said["data"].as_array().is_some_and(|data| !data.is_empty()) {
            filled.push(target.to_string());
        }
    }
    Ok(filled)
}

/// Tables of QuestDB that are those of the places.
async fn tables_of(
    destination: &Subject<'_>,
    (plan, kind, projection): (&Plan, &TargetKind, Projection),
) -> Result<Vec<String>> {
    let rows = questdb::rows(&destination.server, "select table_name from tables() order by table_name").await?;
    let prefix = |target| table_name(table_prefix(target, kind).as_bytes()).to_lowercase();
    let prefixes: Vec<String> = plan.targets.keys().map(prefix).collect();
    let is_ours = |name: &&str| {
        !projection.tables_name_database || prefixes.iter().any(|prefix| name.to_lowercase().starts_with(prefix))
    };
    let rows = rows.unwrap_or_default();
    let names = rows.iter().filter_map(|row| row.first()?.as_str()).filter(is_ours);
    // Its own.
    let names = names.filter(|name| !name.starts_with("sys.") && !name.starts_with("telemetry"));
    let mut filled = Vec::new();
    for name in names {
        let count = format!("select count() from \"{name}\"");
        let rows = questdb::rows(&destination.server, &count).await?.unwrap_or_default();
        if rows.first().and_then(|row| row.first()?.as_i64()) != Some(0) {
            filled.push(format!("table {name}"));
        }
    }
    Ok(filled)
}
