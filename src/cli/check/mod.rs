//! `twinline check`: talks to both databases and the disk, changes nothing, and names what would be in the way.
//!
//! One file per group of checks; each turns what it saw into findings. Questions to the databases only read, but for writes
//! without a line, which no server stores.

mod auth;
mod clock;
mod finding;
mod identity;
mod mapping;
mod places;
mod probe;
mod reach;
mod report;
mod storage;
mod subject;
#[cfg(test)]
mod tests;

use std::os::unix::net::UnixStream;
use std::path::Path;

use clap::Args;

use super::Global;
use super::exit::{Exit, Failure};
use crate::base::clock::SharedClock;
use crate::base::{Error, Result, SystemClock, disk};
use crate::config::Config;
use crate::db::server::Flavor;
use crate::route::TargetKind;

use finding::{Finding, Group, State};
use places::Listing;
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
    let config = global.load()?.config;
    // Fails only when it was done before, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let findings = look(&config, &args.only, &SystemClock::shared())?;
    let path = global.config_path();
    let option = if path == Path::new("twinline.toml") { String::new() } else { format!(" -c {}", path.display()) };
    let running = UnixStream::connect(&config.unix_socket).is_ok();
    let report = Report::new(&config, findings, &option, running);
    let talk = global.talk();
    if talk.json() {
        talk.document(&serde_json::to_value(&report).unwrap_or_default())?;
    } else {
        talk.data(&report.text(talk))?;
    }
    talk.next(report.next());
    Ok(report.exit())
}

/// All findings of the chosen groups (none chosen: of all).
fn look(config: &Config, only: &[Group], clock: &SharedClock) -> Result<Vec<Finding>> {
    let wanted = |group: Group| only.is_empty() || only.contains(&group);
    let mut findings = Vec::new();
    if only.iter().any(|group| *group != Group::Disk) || only.is_empty() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|e| Error::disk("cannot start the event loop", e))?;
        findings = tokio::task::LocalSet::new().block_on(&runtime, databases(config, &wanted, clock))?;
        // A database that does not answer explains what is unknown about it, chosen or not.
        findings.retain(|finding| wanted(finding.group) || explains(finding));
    }
    if wanted(Group::Disk) {
        findings.extend(storage::look(config, &*disk::real(), clock));
    }
    Ok(findings)
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
    if wanted(Group::Auth) || wanted(Group::Mapping) {
        findings.extend(rights_and_places(config, (&source, &met_source), (&destination, &met_destination)).await);
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
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let (listing, refused) = match met_source.flavor {
        Some(flavor) => source_places(source, flavor, &mut findings).await,
        None => (Listing::default(), Some("it cannot be asked".to_owned())),
    };
    findings.extend(auth::read_rights(source, &listing.closed));
    findings.extend(mapping::listed(&listing, refused.as_deref()));
    let places = if refused.is_some() { mapping::named_by_rules(&config.mapping) } else { listing.places };
    let (mut kind, mut may_ask) = (TargetKind::Database, false);
    if let Some(flavor) = met_destination.flavor {
        if flavor == Flavor::Influx2 {
            kind = TargetKind::Bucket {
                org: config.destination.server.org.clone(),
                source_org: config.source.server.org.clone(),
            };
        }
        let (accepted, finding) = auth::credentials(destination, flavor).await;
        findings.push(finding);
        may_ask = accepted;
    }
    let plan = mapping::Plan::new(&config.mapping, &places, &kind);
    if may_ask {
        let probed = probe::probe_all(destination, plan.targets.keys()).await;
        findings.extend(auth::write_rights(destination, &probed));
        findings.extend(mapping::judge(&plan, &probed));
    } else {
        findings.extend(mapping::not_asked(&plan));
    }
    findings
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
    let (at_source, at_destination) = tokio::join!(identity::resolve(source), identity::resolve(destination));
    let (mark_source, mark_destination) =
        tokio::join!(identity::mark(source, met_source), identity::mark(destination, met_destination));
    let listen = &config.listen;
    vec![
        identity::own_listener(source, &at_source, listen, met_source.answers).await,
        identity::own_listener(destination, &at_destination, listen, met_destination.answers).await,
        identity::same(destination, (&mark_source, &mark_destination), (&at_source, &at_destination)),
    ]
}
