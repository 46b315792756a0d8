//! The databases and policies, or buckets, that the source has, with how long each keeps its points.

use std::time::Duration;

use serde_json::Value;

use super::subject::{Subject, Unanswered, identifier};
use crate::base::size::parse_span;
use crate::db::encode::escape;
use crate::db::server::Flavor;
use crate::route::{RouteName, Target};

/// Places that are looked at; the finding says when there are more.
pub(in crate::cli) const PLACES_MAX: usize = 1000;
const PAGE: usize = 100;

/// One place at the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Place {
    pub(in crate::cli) name: RouteName,
    /// How long it keeps points; zero is for ever. `None` where we may not see it.
    pub(in crate::cli) keep: Option<Duration>,
    /// 1.x: what its policy is called there.
    pub(in crate::cli) policy: Option<String>,
    /// The time that one of its shards covers, where the server tells.
    pub(in crate::cli) shard: Option<Duration>,
}

impl Place {
    /// Database and policy by which InfluxQL knows it; an empty policy is the default.
    pub(in crate::cli) fn for_influxql(&self) -> (String, String) {
        match &self.name {
            RouteName::Database { db, rp } => (db.clone(), self.policy.clone().unwrap_or_else(|| rp.clone())),
            RouteName::Bucket { bucket, .. } => of_bucket(bucket),
        }
    }

    /// Whether a target of ours is this place.
    pub(in crate::cli) fn is(&self, target: &Target) -> bool {
        match (&self.name, target) {
            (RouteName::Database { db, rp }, Target::Database { db: to, rp: policy }) => {
                db == to && (rp == policy || self.policy.as_ref() == Some(policy))
            }
            (RouteName::Bucket { bucket, .. }, Target::Bucket { bucket: to, .. }) => bucket == to,
            _ => false,
        }
    }
}

/// The database and policy that 2.x answers for a bucket without being told.
pub(in crate::cli) fn of_bucket(bucket: &str) -> (String, String) {
    let (db, rp) = bucket.split_once('/').unwrap_or((bucket, "autogen"));
    (db.to_owned(), rp.to_owned())
}

/// What there is.
#[derive(Debug, Default)]
pub(in crate::cli) struct Listing {
    pub(in crate::cli) places: Vec<Place>,
    /// Databases whose policies we may not see.
    pub(in crate::cli) closed: Vec<String>,
    /// There are more than [`PLACES_MAX`].
    pub(in crate::cli) more: bool,
}

/// Lists what the source has, with what it keeps for itself.
pub(in crate::cli) async fn list(subject: &Subject<'_>, flavor: Flavor) -> Result<Listing, Unanswered> {
    let mut listing = match flavor {
        Flavor::Influx1 => policies(subject).await,
        Flavor::Influx2 => buckets(subject).await,
    }?;
    // One database can have any number of policies.
    listing.more |= listing.places.len() > PLACES_MAX;
    listing.places.truncate(PLACES_MAX);
    Ok(listing)
}

async fn policies(subject: &Subject<'_>) -> Result<Listing, Unanswered> {
    let mut listing = Listing::default();
    let names = subject.statement("SHOW DATABASES").await?.column("name");
    for db in names.iter().filter_map(Value::as_str) {
        if listing.places.len() >= PLACES_MAX {
            listing.more = true;
            break;
        }
        match subject.statement(&format!("SHOW RETENTION POLICIES ON {}", identifier(db))).await {
            Ok(rows) => {
                let (name, default, keep) = (rows.column("name"), rows.column("default"), rows.column("duration"));
                let shard = rows.column("shardGroupDuration");
                for (((name, default), keep), shard) in name.iter().zip(&default).zip(&keep).zip(&shard) {
                    let policy = name.as_str().unwrap_or_default().to_owned();
                    let rp = if default.as_bool() == Some(true) { String::new() } else { policy.clone() };
                    let span = |value: &Value| value.as_str().and_then(|text| parse_span(text).ok());
                    let name = RouteName::Database { db: db.to_owned(), rp };
                    let (keep, shard) = (span(keep), span(shard));
                    listing.places.push(Place { name, keep, policy: Some(policy), shard });
                }
            }
            Err(Unanswered::Refused(..)) => {
                let name = RouteName::Database { db: db.to_owned(), rp: String::new() };
                listing.places.push(Place { name, keep: None, policy: None, shard: None });
                listing.closed.push(db.to_owned());
            }
            Err(broken) => return Err(broken),
        }
    }
    Ok(listing)
}

async fn buckets(subject: &Subject<'_>) -> Result<Listing, Unanswered> {
    let mut listing = Listing::default();
    let org = subject.config.org.as_deref();
    let of = org.map(|org| format!("&org={}", escape(org))).unwrap_or_default();
    for offset in (0..).step_by(PAGE) {
        let answer = subject.json(&format!("/api/v2/buckets?limit={PAGE}&offset={offset}{of}")).await?;
        let page = answer.get("buckets").and_then(Value::as_array).cloned().unwrap_or_default();
        for bucket in &page {
            let Some(name) = bucket.get("name").and_then(Value::as_str) else { continue };
            let keep = bucket.pointer("/retentionRules/0/everySeconds").map_or(Some(0), Value::as_u64);
            let name = RouteName::Bucket { org: org.unwrap_or_default().to_owned(), bucket: name.to_owned() };
            let shard = bucket.pointer("/retentionRules/0/shardGroupDurationSeconds").and_then(Value::as_u64);
            let (keep, shard) = (keep.map(Duration::from_secs), shard.map(Duration::from_secs));
            listing.places.push(Place { name, keep, policy: None, shard });
        }
        if page.len() < PAGE {
            break;
        }
        if listing.places.len() >= PLACES_MAX {
            listing.more = true;
            break;
        }
    }
    Ok(listing)
}
