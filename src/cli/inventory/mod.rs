//! `twinline inventory`: what the source has that writes, or must be made anew at the destination, and what Twinline does about each.
//!
//! Promise: only reads; a number of requests that the source's size does not unbound; no password and no token in what it shows. What
//! could not be seen is said, with the right that shows it: an empty list never stands for one that was refused.

mod item;
mod listeners;
mod one;
mod screen;
mod script;
mod twin;
mod two;

use clap::Args;
use serde_json::json;

use super::Global;
use super::check::places::Place;
use super::check::subject::Subject;
use super::check::{self, Answered};
use super::exit::{Exit, Failure};
use crate::base::{Error, Result};
use crate::config::Config;
use crate::db::product::Product;
use crate::db::server::Flavor;
use crate::route::{Target, TargetKind, map};

use item::{Fate, Inventory, Item};
use twin::Twin;

/// Things of one kind that are listed.
const ITEMS_MAX: usize = 1000;

/// What becomes of points that are made inside the source, and of what makes them.
const INSIDE: &str = "its points are made inside the source: not copied by twinline yet; its twin at the destination begins after the \
                      cutover, before that it would compute from half the data";

/// Options of `inventory`.
#[derive(Clone, Debug, Args)]
pub(super) struct InventoryArgs {}

/// What decides about the fate of a thing.
struct Known<'c> {
    config: &'c Config,
    /// The first destination's.
    own: Config,
    kind: TargetKind,
    twin: Twin,
}

pub(super) fn run(global: &Global, _: &InventoryArgs) -> std::result::Result<Exit, Failure> {
    let (talk, config) = (global.talk(), global.load()?.config);
    let (source, destination) =
        check::products(&config).map_err(|error| Failure::new(Exit::Config, error.to_string()))?;
    let (product, version) =
        source.map_err(|why| Failure::new(Exit::Unreachable, format!("the source: {why}")).hint("twinline check"))?;
    let Some(flavor) = product.flavor() else {
        return Err(Failure::new(Exit::Unreachable, "the source is no InfluxDB 1.x or 2.x").hint("twinline check"));
    };
    let known = known(&config, product, &destination);
    let inventory = ask(&config, flavor, &known).map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
    let next = next(&inventory);
    if talk.json() {
        let groups: Vec<_> = inventory.groups.iter().map(item::Group::document).collect();
        talk.document(&json!({
            "schema": "twinline.inventory/1",
            "source": { "kind": product.name(), "version": version, "url": config.source.server.url.to_string() },
            "destination": { "kind": known.twin.product.name() },
            "writers_not_copied": inventory.writers(),
            "by_hand": inventory.by_hand(),
            "not_known": inventory.unknown(),
            "groups": groups,
            "next_steps": [next],
        }))?;
    } else {
        let of = format!("{} {version} at {}", product.name(), config.source.server.url);
        talk.data(&screen::text(talk, &of, &inventory))?;
    }
    talk.next(next);
    Ok(if inventory.unknown() > 0 { Exit::Partly } else { Exit::Success })
}

/// The destination as it answers, else as it is configured, else like the source.
fn known<'c>(config: &'c Config, source: Product, destination: &Answered) -> Known<'c> {
    let answered = destination.as_ref().ok().map(|(product, _)| *product);
    let product = answered.or(Product::configured(config.destination().kind)).unwrap_or(source);
    let org = config.destination().server.org.clone();
    let own = config.each().next().unwrap_or_else(|| config.clone());
    Known { config, kind: names_of(config, product), own, twin: Twin { product, org } }
}

/// What names a destination of this kind has.
fn names_of(config: &Config, product: Product) -> TargetKind {
    let (org, source_org) = (config.destination().server.org.clone(), config.source.server.org.clone());
    match product {
        Product::Influx1 | Product::Influx3 => TargetKind::Database,
        Product::Influx2 => TargetKind::Bucket { org, source_org },
        Product::Victoria | Product::Questdb => TargetKind::Labels { source_org },
    }
}

fn ask(config: &Config, flavor: Flavor, known: &Known<'_>) -> Result<Inventory> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| Error::disk("cannot start the event loop", e))?;
    let asking = async {
        let subject = Subject::source(config)?;
        let groups = match flavor {
            Flavor::Influx1 => one::groups(&subject, known).await,
            Flavor::Influx2 => two::groups(&subject, known).await,
        };
        Ok(Inventory { groups })
    };
    tokio::task::LocalSet::new().block_on(&runtime, asking)
}

/// Where it goes, at each destination.
fn goes(one: &Place, known: &Known<'_>) -> Vec<String> {
    let several = known.config.destinations.len() > 1;
    let at = |(index, own): (usize, Config)| {
        let kind = if index == 0 {
            known.kind.clone()
        } else {
            // As it is configured; one that is to be asked is taken to be like the first.
            Product::configured(own.destination().kind)
                .map_or_else(|| known.kind.clone(), |product| names_of(&own, product))
        };
        let target = map(&own.mapping, &one.name, &kind)?;
        let of = if several { format!(" at {}", own.destination().id) } else { String::new() };
        Some(shown(&target) + &of)
    };
    known.config.each().enumerate().filter_map(at).collect()
}

/// A place that clients write to.
fn place(one: &Place, known: &Known<'_>) -> Item {
    let facts = match &one.policy {
        Some(policy) if is_default(one) => format!("policy {policy} (default), {}", twin::keeps(one.keep, one.shard)),
        _ => twin::keeps(one.keep, one.shard),
    };
    let name = one.name.to_string();
    let goes = goes(one, known);
    if goes.is_empty() {
        return Item::new(name, facts, Fate::SourceOnly, "stays at the source alone: no rule names it");
    }
    let item =
        Item::new(name, facts, Fate::Mirrored, format!("writes through Twinline are mirrored to {}", goes.join(", ")));
    let Some(target) = map(&known.own.mapping, &one.name, &known.kind) else { return item };
    match known.twin.place(&target, (one.keep, one.shard), one.policy.as_deref()) {
        Some(typed) => item.statement(typed),
        None => item,
    }
}

fn is_default(one: &Place) -> bool {
    matches!(&one.name, crate::route::RouteName::Database { rp, .. } if rp.is_empty())
}

fn shown(target: &Target) -> String {
    match target {
        Target::Bucket { org, bucket } if org.is_empty() => format!("bucket {bucket}"),
        other => other.to_string(),
    }
}

fn next(inventory: &Inventory) -> &'static str {
    if inventory.groups.iter().filter_map(|group| group.unknown.as_ref()).any(|unknown| unknown.rights) {
        return "grant the rights named above, then twinline inventory again";
    }
    "twinline check, which says what is missing at the destination"
}
