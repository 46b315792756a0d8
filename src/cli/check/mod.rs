//! `twinline check`: talks to both databases and the disk, changes nothing, and names what would be in the way.
//!
//! One file per group of checks; each turns what it saw into findings. Questions to the databases only read, but for writes
//! without a line, which no server stores.

mod auth;
mod clock;
mod contents;
mod finding;
mod forms;
pub(super) mod identity;
mod limits;
mod mapping;
pub(in crate::cli) mod obstacles;
pub(in crate::cli) mod places;
mod probe;
mod reach;
mod report;
mod retention;
pub(in crate::cli) mod storage;
pub(in crate::cli) mod subject;
mod tables;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::os::unix::net::UnixStream;
use std::path::Path;

use clap::Args;

use super::Global;
use super::exit::{Exit, Failure};
use super::talk::Output;
use crate::base::clock::SharedClock;
use crate::base::{Error, Result, SystemClock, disk};
use crate::config::Config;
use crate::db::product::Product;
use crate::db::server::Flavor;
use crate::route::{RouteName, Target, TargetKind};

use finding::{About, Finding, Group, State};
use places::Listing;
use probe::{Probed, Verdict};
use reach::Met;
use report::Report;
use subject::Subject;

/// Options of `check`.
#[derive(Clone, Debug, Args)]
pub(super) struct CheckArgs {
    /// Only this group of checks; may be given more than once
    #[arg(long, value_name = "GROUP", value_enum)]
    only: Vec<Group>,
}

pub(super) fn run(global: &Global, args: &CheckArgs) -> Result<Exit, Failure> {
    let done = report(global, args);
    let talk = global.talk();
    let (text, exit) = match (talk.output, done) {
        (Output::Nagios, Ok(report)) => forms::nagios(&report),
        (Output::Nagios, Err(failure)) => forms::nagios_unknown(&failure.what),
        (_, Err(failure)) => return Err(failure),
        (Output::Junit, Ok(report)) => (forms::junit(&report), report.exit()),
        (Output::Json, Ok(report)) => {
            talk.document(&serde_json::to_value(&report).unwrap_or_default())?;
            return Ok(report.exit());
        }
        // Nobody comes here with the form of `lint`.
        (Output::Text | Output::Jsonl, Ok(report)) => {
            talk.data(&report.text(talk))?;
            talk.next(report.next());
            return Ok(report.exit());
        }
    };
    talk.data(&text)?;
    Ok(exit)
}

fn report(global: &Global, args: &CheckArgs) -> Result<Report, Failure> {
    let config = global.load()?.config;
    // Fails only when it was done before, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let findings = look(&config, &args.only, &SystemClock::shared())?;
    let path = global.config_path();
    let option = if path == Path::new("twinline.toml") { String::new() } else { format!(" -c {}", path.display()) };
    let running = UnixStream::connect(&config.unix_socket).is_ok();
    Ok(Report::new(&config, findings, &option, running))
}

/// What the two databases are: kind and version of each; what is in the way, in words.
pub(in crate::cli) fn products(config: &Config) -> Result<(Answered, Answered)> {
    // Fails only when it was done before, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| Error::disk("cannot start the event loop", e))?;
    let asking = async {
        let (at_source, at_destination) = (Subject::source(config)?, Subject::destination(config)?);
        let clock = SystemClock::shared();
        let (source, destination) = tokio::join!(reach::meet(&at_source, &clock), reach::meet(&at_destination, &clock));
        let version = match destination.product.filter(|product| product.flavor().is_none()) {
            Some(product) => product.ask_version(&at_destination.server).await.ok(),
            None => None,
        };
        Ok((answered(&source, None), answered(&destination, version)))
    };
    tokio::task::LocalSet::new().block_on(&runtime, asking)
}

/// Kind and version of a database, or why they are not known.
pub(in crate::cli) type Answered = std::result::Result<(Product, String), String>;

fn answered(met: &Met, version: Option<String>) -> Answered {
    let said = || met.findings.first().map_or_else(String::new, |finding| finding.text.clone());
    let version = version.or_else(|| met.version.as_ref().map(|version| version.text.clone()));
    met.product.map(|product| (product, version.unwrap_or_default())).ok_or_else(said)
}

/// All findings of the chosen groups (none chosen: of all).
fn look(config: &Config, only: &[Group], clock: &SharedClock) -> Result<Vec<Finding>> {
    let wanted = |group: Group| only.is_empty() || only.contains(&group);
    let mut findings = Vec::new();
    let of_the_disk = |group: &Group| matches!(group, Group::Disk | Group::Capacity);
    if only.is_empty() || !only.iter().all(of_the_disk) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|e| Error::disk("cannot start the event loop", e))?;
        let several = config.destinations.len() > 1;
        for one in config.each() {
            let found = tokio::task::LocalSet::new().block_on(&runtime, databases(&one, &wanted, clock))?;
            let id = several.then(|| one.destination().id.to_string());
            add(&mut findings, found, id.as_deref());
        }
        // A database that does not answer explains what is unknown about it, chosen or not.
        findings.retain(|finding| wanted(finding.group) || explains(finding));
    }
    if wanted(Group::Disk) || wanted(Group::Capacity) {
        let found = storage::look(config, &*disk::real(), clock);
        // A directory that cannot be written explains why nothing is known of its room.
        findings.extend(found.into_iter().filter(|f| wanted(f.group) || f.state == State::Failed));
    }
    if wanted(Group::Limits) {
        findings.push(limits::memory(config));
    }
    Ok(findings)
}

/// Takes what was found of a pair. With several destinations what is not the source's says whose it is, and the source is told of once.
fn add(findings: &mut Vec<Finding>, found: Vec<Finding>, id: Option<&str>) {
    for mut finding in found {
        if let Some(id) = id.filter(|_| finding.about != About::Source) {
            finding.text = format!("{id}: {}", finding.text);
        }
        let is_known =
            id.is_some() && findings.iter().any(|known| (known.code, &known.text) == (finding.code, &finding.text));
        if !is_known {
            findings.push(finding);
        }
    }
}

fn explains(finding: &Finding) -> bool {
    finding.group == Group::Reach && finding.state == State::Failed
}

async fn databases(config: &Config, wanted: &impl Fn(Group) -> bool, clock: &SharedClock) -> Result<Vec<Finding>> {
    let (source, destination) = (Subject::source(config)?, Subject::destination(config)?);
    let (met_source, met_destination) = tokio::join!(reach::meet(&source, clock), reach::meet(&destination, clock));
    let mut findings = Vec::new();
    for (subject, met) in [(&source, &met_source), (&destination, &met_destination)] {
        findings.extend(met.findings.iter().cloned());
        if met.answers {
            findings.push(clock::judge(subject, met.dated));
        }
    }
    let of_places =
        [Group::Auth, Group::Rights, Group::Mapping, Group::Types, Group::Retention, Group::Empty, Group::Limits];
    if of_places.into_iter().any(wanted) {
        findings
            .extend(rights_and_places(config, (&source, &met_source), (&destination, &met_destination), wanted).await);
    }
    if wanted(Group::Loop) || wanted(Group::Same) {
        findings.extend(identities(config, (&source, &met_source), (&destination, &met_destination)).await);
    }
    Ok(findings)
}

type Known<'a, 'c> = (&'a Subject<'c>, &'a Met);

async fn rights_and_places(
    config: &Config,
    (source, met_source): Known<'_, '_>,
    (destination, met_destination): Known<'_, '_>,
    wanted: &impl Fn(Group) -> bool,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let (listing, refused) = match met_source.flavor() {
        Some(flavor) => source_places(source, flavor, &mut findings).await,
        None => (Listing::default(), Some("it cannot be asked".to_owned())),
    };
    findings.extend(auth::read_rights(source, &listing.closed));
    findings.extend(mapping::listed(&listing, refused.as_deref()));
    let places = if refused.is_some() { mapping::named_by_rules(&config.mapping) } else { listing.places };
    let (mut kind, mut may_ask) = (TargetKind::Database, false);
    match met_destination.product {
        Some(Product::Victoria | Product::Questdb) => {
            (kind, may_ask) = (TargetKind::Labels { source_org: config.source.server.org.clone() }, true);
        }
        // A write of nothing is an error there, and says whether one of something may go in.
        Some(Product::Influx3) => may_ask = true,
        _ => {}
    }
    if let Some(flavor) = met_destination.flavor() {
        if flavor == Flavor::Influx2 {
            kind = TargetKind::Bucket {
                org: config.destination().server.org.clone(),
                source_org: config.source.server.org.clone(),
            };
        }
        let (accepted, finding) = auth::credentials(destination, flavor).await;
        findings.push(finding);
        may_ask = accepted;
    }
    let plan = mapping::Plan::new(&config.mapping, &places, &kind);
    if may_ask {
        let product = met_destination.product.unwrap_or(Product::Influx1);
        let probed = probe::probe_all(destination, product, plan.targets.keys()).await;
        findings.extend(auth::write_rights(destination, &probed));
        findings.extend(mapping::judge(&plan, &probed, config.destination().create));
        if product == Product::Questdb && wanted(Group::Mapping) {
            findings.extend(tables::look(destination, config.destination().projection, &plan.targets, &kind).await);
        }
        if let Some(flavor) = met_destination.flavor() {
            findings.extend(contents_of(config, source, (destination, flavor), (&plan, &probed), wanted).await);
        }
    } else {
        findings.extend(mapping::not_asked(&plan));
    }
    findings
}

/// What needs places on both sides: retention, types, contents, and a place for which limits can be asked.
async fn contents_of(
    config: &Config,
    source: &Subject<'_>,
    (destination, flavor): (&Subject<'_>, Flavor),
    (plan, probed): (&mapping::Plan, &[Probed]),
    wanted: &impl Fn(Group) -> bool,
) -> Vec<Finding> {
    let exists = |verdict: &Verdict| matches!(verdict, Verdict::Writable | Verdict::Denied(_));
    let exists: BTreeSet<Target> = probed.iter().filter(|p| exists(&p.verdict)).map(|p| p.target.clone()).collect();
    let mut findings = Vec::new();
    if wanted(Group::Retention) && !exists.is_empty() {
        let there = places::list(destination, flavor).await;
        findings.extend(retention::judge(destination, plan, there.as_ref().map_err(subject::Unanswered::text)));
    }
    if wanted(Group::Types) || wanted(Group::Empty) {
        findings.extend(contents::look(source, (destination, flavor), plan, &exists).await);
    }
    if wanted(Group::Limits) {
        let place = plan.targets.values().flat_map(|wanted| &wanted.places).next();
        if let Some(place) = place {
            findings.push(limits::body(source, config, &as_target(&place.name)).await);
        }
        let writable = probed.iter().find(|p| p.verdict == Verdict::Writable);
        if let Some(writable) = writable {
            findings.push(limits::batch(destination, config, &writable.target).await);
        }
    }
    findings
}

/// A place of the source, as if we wrote to it.
fn as_target(name: &RouteName) -> Target {
    match name.clone() {
        RouteName::Database { db, rp } => Target::Database { db, rp },
        RouteName::Bucket { org, bucket } => Target::Bucket { org, bucket },
    }
}

/// What the source has, and why that is not known, if so.
async fn source_places(source: &Subject<'_>, flavor: Flavor, findings: &mut Vec<Finding>) -> (Listing, Option<String>) {
    let (accepted, finding) = auth::credentials(source, flavor).await;
    findings.push(finding);
    if !accepted {
        return (Listing::default(), Some("it does not answer our questions".to_owned()));
    }
    match places::list(source, flavor).await {
        Ok(listing) => (listing, None),
        Err(why) => (Listing::default(), Some(why.text())),
    }
}

async fn identities(
    config: &Config,
    (source, met_source): Known<'_, '_>,
    (destination, met_destination): Known<'_, '_>,
) -> Vec<Finding> {
    let (at_source, at_destination) =
        tokio::join!(identity::resolve(source.config), identity::resolve(destination.config));
    let (mark_source, mark_destination) =
        tokio::join!(identity::mark(source, met_source), identity::mark(destination, met_destination));
    let listen = &config.listen;
    vec![
        identity::own_listener(source, &at_source, listen, met_source.answers).await,
        identity::own_listener(destination, &at_destination, listen, met_destination.answers).await,
        identity::same(destination, (&mark_source, &mark_destination), (&at_source, &at_destination)),
    ]
}
