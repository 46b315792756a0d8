//! What the destination lacks before a copy, and the making of it (`--create`).
//!
//! Promise: only what is missing is made; what is there stays as it is. What is made keeps points for ever: expiry begins with the end of
//! the migration. Its shards divide the source's, so that a field whose type changed between two of these does not meet both types in one.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::pair::Pair;
use crate::base::Side;
use crate::cli::check::obstacles::Lack;
use crate::cli::check::places::Place;
use crate::cli::check::subject::{identifier, said};
use crate::cli::exit::{Exit, Failure};
use crate::cli::talk::Talk;
use crate::config::{self, Config};
use crate::db::encode::{escape, shell_word};
use crate::db::product::Product;
use crate::db::server::{Flavor, Reply, Server};
use crate::delivery::creation;
use crate::route::{RouteName, Target};

/// No server makes shorter shards.
const SHARD_MIN_S: u64 = 3600;

/// One request that makes something.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Make {
    /// A statement of 1.x.
    Statement(String),
    /// A bucket of 2.x; how much time its shards span, where that is known.
    Bucket { org: String, bucket: String, shard_s: Option<u64> },
    /// What queries of a database and policy read on 2.x.
    Mapping(Mapping),
}

/// A database and policy that stand for a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mapping {
    org: String,
    bucket: String,
    db: String,
    rp: String,
    is_default: bool,
}

/// Something that is missing at the destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Missing {
    /// For people.
    pub(super) what: String,
    /// What makes it by hand.
    pub(super) typed: String,
    /// The copy needs it; else only queries do, later.
    pub(super) is_place: bool,
    /// Empty: nobody may but a person, because something is there already.
    make: Vec<Make>,
}

impl Missing {
    /// Whether `--create` makes it.
    pub(super) fn can_be_made(&self) -> bool {
        !self.make.is_empty()
    }
}

/// All that is missing, in the order in which it can be made.
pub(super) async fn missing(config: &Config, pair: &Pair, lacks: &[Lack]) -> Result<Vec<Missing>, Failure> {
    let mut found: Vec<Missing> = lacks.iter().map(place).collect();
    if pair.flavor == Flavor::Influx1 && pair.destination.0 == Product::Influx2 {
        let server = Server::new(&config.destination().server, Side::Destination)?;
        found.extend(mappings(&server, pair).await?);
    }
    Ok(found)
}

/// Makes them, one after the other.
///
/// # Errors
/// The first that cannot be made, and what to type where rights are missing.
pub(super) async fn make(talk: Talk, config: &Config, all: &[Missing]) -> Result<(), Failure> {
    let section = &config.destination().server;
    let server = Server::new(section, Side::Destination)?;
    for one in all {
        for make in &one.make {
            carry(&server, section, make).await?;
        }
        if one.can_be_made() {
            talk.say(&format!("made at the destination: {}", one.what));
        }
    }
    Ok(())
}

/// A place that is missing.
fn place(lack: &Lack) -> Missing {
    let shard_s = shard_s(&lack.places);
    let make = match &lack.target {
        Target::Bucket { org, bucket } => {
            vec![Make::Bucket { org: org.clone(), bucket: bucket.clone(), shard_s }]
        }
        Target::Database { db, rp } => {
            // Of several there is no name that would be everybody's.
            let name = match &lack.places[..] {
                [Place { policy: Some(name), .. }] if name != "autogen" => Some(name.as_str()),
                _ => None,
            };
            let all = creation((db, rp), lack.with_database, name, shard_s.map(Duration::from_secs));
            all.into_iter().map(Make::Statement).collect()
        }
    };
    let shards = shard_s.map(|s| format!(", in shards of {}", hours(s))).unwrap_or_default();
    let typed = make.iter().map(typed).collect::<Vec<_>>().join("; ");
    Missing { what: format!("{}, which keeps points for ever{shards}", lack.target), typed, is_place: true, make }
}

/// The longest time that divides the shards of all, seconds.
fn shard_s(places: &[Place]) -> Option<u64> {
    let all = places.iter().filter_map(|place| place.shard).map(|shard| shard.as_secs()).filter(|s| *s > 0);
    all.reduce(divisor).map(|s| s.max(SHARD_MIN_S))
}

fn divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { divisor(b, a % b) }
}

fn hours(seconds: u64) -> String {
    if seconds.is_multiple_of(3600) { format!("{} h", seconds / 3600) } else { format!("{seconds} s") }
}

/// What makes it by hand.
fn typed(make: &Make) -> String {
    match make {
        Make::Statement(text) => text.clone(),
        Make::Bucket { org, bucket, shard_s } => {
            let shard = shard_s.map(|s| format!(" --shard-group-duration {s}s")).unwrap_or_default();
            format!("influx bucket create --org {} --name {} --retention 0{shard}", shell_word(org), shell_word(bucket))
        }
        Make::Mapping(Mapping { org, bucket, db, rp, is_default }) => {
            let (org, bucket) = (shell_word(org), shell_word(bucket));
            let id = format!("$(influx bucket list --org {org} --name {bucket} --hide-headers | cut -f 1)");
            let default = if *is_default { " --default" } else { "" };
            let (db, rp) = (shell_word(db), shell_word(rp));
            format!("influx v1 dbrp create --org {org} --bucket-id {id} --db {db} --rp {rp}{default}")
        }
    }
}

/// Databases and policies of the source by which queries would not find the bucket there. 2.x answers for a bucket `d` as database `d`,
/// policy `autogen`, which is the default, and for a bucket `d/r` as policy `r`; everything else needs a mapping.
async fn mappings(server: &Server, pair: &Pair) -> Result<Vec<Missing>, Failure> {
    let mut wanted: Vec<Mapping> = Vec::new();
    for (place, to) in pair.listed.iter().zip(&pair.places) {
        if let (RouteName::Database { db, rp }, Some(policy), Target::Bucket { org, bucket }) =
            (&place.name, &place.policy, &to.target)
        {
            let (org, bucket) = (org.clone(), bucket.clone());
            wanted.push(Mapping { org, bucket, db: db.clone(), rp: policy.clone(), is_default: rp.is_empty() });
        }
    }
    // The first mapping of a database becomes its default: where one is made, the default comes first and is made too.
    wanted.sort_by(|a, b| (&a.db, b.is_default, &a.rp).cmp(&(&b.db, a.is_default, &b.rp)));
    let mut found = Vec::new();
    for of_db in wanted.chunk_by(|a, b| a.db == b.db) {
        if of_db.iter().all(is_implied) {
            continue;
        }
        found.extend(missing_of(server, of_db).await?);
    }
    Ok(found)
}

/// Whether 2.x maps it by itself.
fn is_implied(one: &Mapping) -> bool {
    let Mapping { bucket, db, rp, is_default, .. } = one;
    match is_default {
        true => bucket == db && rp == "autogen",
        false => *bucket == format!("{db}/{rp}") && rp != "autogen",
    }
}

/// Those of one database.
async fn missing_of(server: &Server, wanted: &[Mapping]) -> Result<Vec<Missing>, Failure> {
    let Some(Mapping { org, db, .. }) = wanted.first() else { return Ok(Vec::new()) };
    let path = format!("/api/v2/dbrps?org={}&db={}", escape(org), escape(db));
    let reply = server.ask(Method::GET, &path, Bytes::new()).await?;
    if !reply.status.is_success() {
        let what = format!("the mappings of database {db} may not be seen there: {}", said(&reply));
        return Ok(vec![Missing { what, typed: grant_2(org), is_place: false, make: Vec::new() }]);
    }
    let listed: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    let mut found = Vec::new();
    for one in wanted.iter().filter(|one| one.is_default || !is_implied(one)) {
        let own = |known: &&Value| known["retention_policy"] == one.rp.as_str() && known["virtual"] != true;
        let known = listed["content"].as_array().into_iter().flatten().find(own);
        let id = bucket(server, &one.org, &one.bucket).await?.map(|(id, _)| id);
        let of = format!("database {db}, policy {}", one.rp);
        match known {
            Some(known) if known["bucketID"].as_str().is_some_and(|there| Some(there) != id.as_deref()) => {
                let what = format!("queries of {of} read another bucket there than {}", one.bucket);
                let typed = format!(
                    "influx v1 dbrp delete --org {} --id {}; {}",
                    shell_word(&one.org),
                    known["id"].as_str().unwrap_or_default(),
                    typed(&Make::Mapping(one.clone()))
                );
                found.push(Missing { what, typed, is_place: false, make: Vec::new() });
            }
            Some(_) => {}
            None => {
                let make = Make::Mapping(one.clone());
                let what = format!("the mapping of {of} to bucket {}, by which queries find it", one.bucket);
                found.push(Missing { what, typed: typed(&make), is_place: false, make: vec![make] });
            }
        }
    }
    // Only the default one, which 2.x maps by itself: nothing is missing.
    let all_implied =
        found.iter().flat_map(|one| &one.make).all(|make| matches!(make, Make::Mapping(one) if is_implied(one)));
    found.retain(|one| !(all_implied && one.can_be_made()));
    Ok(found)
}

/// Ids of a bucket and of its organisation.
async fn bucket(server: &Server, org: &str, bucket: &str) -> Result<Option<(String, String)>, Failure> {
    let path = format!("/api/v2/buckets?org={}&name={}", escape(org), escape(bucket));
    let reply = server.ask(Method::GET, &path, Bytes::new()).await?;
    let found: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    let text = |name: &str| found["buckets"][0][name].as_str().map(str::to_owned);
    Ok(text("id").zip(text("orgID")))
}

async fn carry(server: &Server, section: &config::Server, make: &Make) -> Result<(), Failure> {
    match make {
        Make::Statement(text) => {
            let reply = server.ask(Method::POST, &format!("/query?q={}", escape(text)), Bytes::new()).await?;
            let answer: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
            let error = answer["results"][0]["error"].as_str().map(str::to_owned);
            match error {
                None if reply.status.is_success() => Ok(()),
                error => {
                    let user = identifier(section.username.as_deref().unwrap_or("user"));
                    let grant = format!("GRANT ALL PRIVILEGES TO {user}");
                    Err(refused(text, &reply, error.unwrap_or_else(|| said(&reply)), &grant))
                }
            }
        }
        Make::Bucket { org, bucket, shard_s } => {
            let path = format!("/api/v2/orgs?org={}", escape(org));
            let reply = server.ask(Method::GET, &path, Bytes::new()).await?;
            let found: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
            let Some(org_id) = found["orgs"][0]["id"].as_str() else {
                return Err(refused(
                    &typed(make),
                    &reply,
                    format!("organisation {org} may not be seen"),
                    &grant_2(org),
                ));
            };
            let rule = shard_s.map(|s| json!({ "type": "expire", "everySeconds": 0, "shardGroupDurationSeconds": s }));
            let body =
                json!({ "orgID": org_id, "name": bucket, "retentionRules": rule.into_iter().collect::<Vec<_>>() });
            post(server, "/api/v2/buckets", &body, (make, org)).await
        }
        Make::Mapping(one) => {
            let Some((bucket_id, org_id)) = bucket(server, &one.org, &one.bucket).await? else {
                let what = format!("bucket {} is not there, or may not be seen", one.bucket);
                return Err(Failure::new(Exit::Refused, what).hint(grant_2(&one.org)));
            };
            let body = json!({
                "orgID": org_id,
                "bucketID": bucket_id,
                "database": one.db,
                "retention_policy": one.rp,
                "default": one.is_default,
            });
            post(server, "/api/v2/dbrps", &body, (make, &one.org)).await
        }
    }
}

async fn post(server: &Server, path: &str, body: &Value, (make, org): (&Make, &str)) -> Result<(), Failure> {
    let reply = server.ask(Method::POST, path, Bytes::from(body.to_string())).await?;
    match said(&reply) {
        _ if reply.status.is_success() => Ok(()),
        // Somebody else was faster.
        why if why.contains("already exists") => Ok(()),
        why => Err(refused(&typed(make), &reply, why, &grant_2(org))),
    }
}

/// The destination says no.
fn refused(typed: &str, reply: &Reply, why: String, grant: &str) -> Failure {
    let is_right = matches!(reply.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
        || why.contains("not authorized")
        || why.contains("may not be seen");
    let what = format!("the destination does not make what is missing ({typed}): {why}");
    match is_right {
        true => Failure::new(Exit::Auth, what).hint(format!("at the destination: {grant}; or make it by hand")),
        false => Failure::new(Exit::Refused, what).hint("make it by hand, then the same command again"),
    }
}

/// What lets us make buckets and mappings.
fn grant_2(org: &str) -> String {
    format!("influx auth create --org {} --all-access, and its token in [destination]", shell_word(org))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lack(target: Target, places: Vec<Place>) -> Lack {
        Lack { target, with_database: true, places }
    }

    fn of(policy: &str, shard_h: u64) -> Place {
        let name = RouteName::Database { db: "d".into(), rp: String::new() };
        let shard = Some(Duration::from_secs(shard_h * 3600));
        Place { name, keep: Some(Duration::from_secs(86_400)), policy: Some(policy.into()), shard }
    }

    #[test]
    fn what_is_made_keeps_everything_in_shards_that_divide_the_sources() {
        let database = || Target::Database { db: "d".into(), rp: String::new() };
        let bucket = Target::Bucket { org: "my org".into(), bucket: "d".into() };
        assert_eq!(
            place(&lack(database(), vec![of("week", 24)])).typed,
            "CREATE DATABASE \"d\" WITH DURATION INF REPLICATION 1 SHARD DURATION 86400s NAME \"week\""
        );
        let several = place(&lack(database(), vec![of("week", 24), of("year", 168)]));
        assert_eq!(several.typed, "CREATE DATABASE \"d\" WITH DURATION INF REPLICATION 1 SHARD DURATION 86400s");
        assert_eq!(several.what, "database d, which keeps points for ever, in shards of 24 h");
        assert_eq!(shard_s(&[of("a", 36), of("b", 24)]), Some(12 * 3600));
        assert_eq!(
            place(&lack(bucket, vec![of("autogen", 168)])).typed,
            "influx bucket create --org 'my org' --name d --retention 0 --shard-group-duration 604800s"
        );
    }

    #[test]
    fn only_what_2_does_not_map_by_itself_needs_a_mapping() {
        let implied = |bucket: &str, rp: &str, is_default| {
            let (org, bucket, db, rp) = ("o".into(), bucket.into(), "d".into(), rp.into());
            is_implied(&Mapping { org, bucket, db, rp, is_default })
        };
        assert!(implied("d", "autogen", true) && implied("d/week", "week", false));
        assert!(!implied("d", "week", true) && !implied("other", "autogen", true));
        assert!(!implied("d/autogen", "autogen", false), "bucket d may stand for it as well");
    }
}
