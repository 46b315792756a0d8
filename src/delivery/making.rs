//! Places that are missing at the destination: made once, where the configuration says so (`create = "missing"`); else the pause says
//! what to type.
//!
//! Promises: what is made keeps points for ever, whatever the source does: expiry begins with the end of the migration. Nothing is made
//! that took a write in this process' time: who has removed it since is not overruled, unless that was a statement of the source that
//! we have carried out.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use tokio::sync::Mutex;

use super::plan::Step;
use super::target::TargetId;
use super::{Shared, carry, tell};
use crate::base::{Result, Side};
use crate::config;
use crate::db::encode::{escape, shell_word};
use crate::db::influxql::identifier;
use crate::db::server::Server;
use crate::route::{RouteName, Target, default_policy};
use crate::state::EventKind;

const DATABASE_MISSING: &str = "database-missing";
const POLICY_MISSING: &str = "policy-missing";
const BUCKET_MISSING: &str = "bucket-missing";

/// Makes what is missing.
pub(super) struct Making {
    /// Says how its default policies are called.
    source: Server,
    /// What was made, and when, by the monotonic clock. Locked while something is: other lanes miss the same.
    made: Mutex<HashMap<TargetId, Duration>>,
    met: RefCell<Met>,
}

/// Places that have taken a write, and when the first one was answered, by the monotonic clock.
#[derive(Debug, Default)]
struct Met(HashMap<Target, Duration>);

impl Met {
    fn add(&mut self, place: &Target, now: Duration) {
        if !self.0.contains_key(place) {
            self.0.insert(place.clone(), now);
        }
    }

    /// Whether what a request that began at `began` misses, by its code, was there before.
    fn was_there(&self, place: &Target, code: &str, began: Duration) -> bool {
        let holds = |other: &Target| match (place, other) {
            (Target::Database { db, .. }, Target::Database { db: other, .. }) if code == DATABASE_MISSING => {
                db == other
            }
            (place, other) => place == other,
        };
        self.0.iter().any(|(other, at)| *at < began && holds(other))
    }
}

impl Making {
    pub(super) fn new(source: &config::Server) -> Result<Self> {
        Ok(Self { source: Server::new(source, Side::Source)?, made: Mutex::default(), met: RefCell::default() })
    }

    /// A place has taken a write.
    pub(super) fn meets(&self, place: &Target, now: Duration) {
        self.met.borrow_mut().add(place, now);
    }
}

/// A statement has removed something here: what is missing then may be made again.
pub(super) async fn removed(shared: &Shared, targets: &[TargetId]) {
    let Some(making) = &shared.making else { return };
    let mut made = making.made.lock().await;
    for target in targets {
        made.remove(target);
        making.met.borrow_mut().0.remove(&shared.targets.get(*target).target);
    }
}

/// A request that began at `began` was answered with this code. `Ok`: what it needs is there now. Else what whoever reads of the pause
/// is told beside the destination's words; empty where nothing of this is missing.
pub(super) async fn make(
    shared: &Shared,
    target: TargetId,
    code: &'static str,
    began: Duration,
) -> std::result::Result<(), String> {
    let place = &shared.targets.get(target).target;
    let Some(making) = &shared.making else { return Err(advice(place, code)) };
    if advice(place, code).is_empty() {
        return Err(String::new());
    }
    let mut made = making.made.lock().await;
    match made.get(&target) {
        Some(at) if *at >= began => return Ok(()),
        Some(_) => return Err(format!("; it was made and is missing again{}", advice(place, code))),
        None if making.met.borrow().was_there(place, code, began) => {
            return Err(format!("; it was there and is missing now: it is not made again{}", advice(place, code)));
        }
        None => {}
    }
    let name = match place {
        Target::Database { db, .. } if code == DATABASE_MISSING => policy_of_source(shared, making, db).await,
        _ => None,
    };
    for step in steps(place, code, name.as_deref()) {
        carry::once(shared, &step).await.map_err(|why| format!("; making it failed: {why}{}", advice(place, code)))?;
    }
    made.insert(target, shared.clock.monotonic());
    let text = format!(
        "{place} was missing at destination {} and is made (create = \"missing\"); it keeps points for ever",
        shared.id
    );
    tell::tell(shared, EventKind::DestinationRemark, text);
    Ok(())
}

/// What the source's default policy of the same database is called, where that is not as usual.
async fn policy_of_source(shared: &Shared, making: &Making, db: &str) -> Option<String> {
    let same = shared.targets.of(&RouteName::Database { db: db.to_owned(), rp: String::new() })?;
    let is_same =
        matches!(&shared.targets.get(same).target, Target::Database { db: to, rp } if to == db && rp.is_empty());
    if !is_same {
        return None;
    }
    let q = escape(&format!("SHOW RETENTION POLICIES ON {}", identifier(db)));
    let reply = making.source.ask(Method::GET, &format!("/query?q={q}"), Bytes::new()).await.ok()?;
    default_policy(&serde_json::from_slice(&reply.body).ok()?).filter(|name| name != "autogen")
}

/// What makes a place that an answer with this code misses; nothing where we cannot.
fn steps(place: &Target, code: &str, policy: Option<&str>) -> Vec<Step> {
    match place {
        Target::Bucket { org, bucket } if code == BUCKET_MISSING => {
            vec![Step::CreateBucket { org: org.clone(), bucket: bucket.clone(), keep_s: 0 }]
        }
        Target::Database { db, rp } => {
            statements((db, rp), code, policy).into_iter().map(|q| Step::Query { db: db.clone(), q }).collect()
        }
        Target::Bucket { .. } => Vec::new(),
    }
}

fn statements(place: (&str, &str), code: &str, policy: Option<&str>) -> Vec<String> {
    match code {
        DATABASE_MISSING => creation(place, true, policy, None),
        POLICY_MISSING => creation(place, false, policy, None),
        _ => Vec::new(),
    }
}

/// The statements of 1.x that make a policy of a database (an empty one: its default, which comes with the database) and, with
/// `with_database`, the database itself. What they make keeps points for ever. `policy`: what its default policy is called, where that is
/// not as usual. `shard`: how much time its shards span, in whole seconds; the server's own choice where it is not given.
#[must_use]
pub fn creation(
    (db, rp): (&str, &str),
    with_database: bool,
    policy: Option<&str>,
    shard: Option<Duration>,
) -> Vec<String> {
    let mut all = Vec::new();
    let shard = shard.map(|shard| format!(" SHARD DURATION {}s", shard.as_secs())).unwrap_or_default();
    if with_database {
        // Where it is about another policy, the shards of the default one are the server's choice.
        let shard = if rp.is_empty() { shard.as_str() } else { "" };
        let named = policy.map(|name| format!(" NAME {}", identifier(name))).unwrap_or_default();
        let with = match (named.as_str(), shard) {
            ("", "") => String::new(),
            (named, shard) => format!(" WITH DURATION INF REPLICATION 1{shard}{named}"),
        };
        all.push(format!("CREATE DATABASE {}{with}", identifier(db)));
    }
    if !rp.is_empty() {
        let (rp, db) = (identifier(rp), identifier(db));
        all.push(format!("CREATE RETENTION POLICY {rp} ON {db} DURATION INF REPLICATION 1{shard}"));
    }
    all
}

/// What makes it by hand.
fn advice(place: &Target, code: &str) -> String {
    let typed = match place {
        Target::Bucket { org, bucket } if code == BUCKET_MISSING => {
            format!("influx bucket create --org {} --name {}", shell_word(org), shell_word(bucket))
        }
        Target::Bucket { .. } => return String::new(),
        Target::Database { db, rp } => statements((db, rp), code, None).join("; "),
    };
    if typed.is_empty() {
        return String::new();
    }
    format!(". Next, at the destination: {typed} (or create = \"missing\" in [destination])")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_there_before_a_request_began_was_removed_since() {
        let place = |db: &str, rp: &str| Target::Database { db: db.to_owned(), rp: rp.to_owned() };
        let (mut met, at) = (Met::default(), Duration::from_secs);
        met.add(&place("d", ""), at(5));
        met.add(&place("d", ""), at(9));
        assert!(met.was_there(&place("d", ""), DATABASE_MISSING, at(6)));
        assert!(
            !met.was_there(&place("d", ""), DATABASE_MISSING, at(4)),
            "somebody made it while the request was under way"
        );
        assert!(met.was_there(&place("d", "r"), DATABASE_MISSING, at(6)), "with all of its policies");
        assert!(!met.was_there(&place("d", "r"), POLICY_MISSING, at(6)), "this one was never there");
        assert!(!met.was_there(&place("e", ""), DATABASE_MISSING, at(6)));
    }

    #[test]
    fn what_is_made_keeps_everything_and_is_named_as_a_whole() {
        let place = |db: &str, rp: &str| Target::Database { db: db.to_owned(), rp: rp.to_owned() };
        let said = |place: &Target, code| advice(place, code);
        assert_eq!(
            said(&place("a\"b", "w"), DATABASE_MISSING),
            ". Next, at the destination: CREATE DATABASE \"a\\\"b\"; CREATE RETENTION POLICY \"w\" ON \"a\\\"b\" DURATION INF \
             REPLICATION 1 (or create = \"missing\" in [destination])"
        );
        assert!(!said(&place("d", "w"), POLICY_MISSING).contains("CREATE DATABASE"));
        assert_eq!(said(&place("d", ""), POLICY_MISSING), "", "nobody knows its name");
        assert_eq!(said(&place("d", ""), "forbidden"), "");
        let bucket = Target::Bucket { org: "my org".to_owned(), bucket: "d/r".to_owned() };
        assert!(said(&bucket, BUCKET_MISSING).contains("influx bucket create --org 'my org' --name d/r ("));
        assert!(steps(&bucket, "org-missing", None).is_empty());
        assert_eq!(
            statements(("d", ""), DATABASE_MISSING, Some("weekly")),
            ["CREATE DATABASE \"d\" WITH DURATION INF REPLICATION 1 NAME \"weekly\""]
        );
        let day = Some(Duration::from_secs(86_400));
        assert_eq!(
            creation(("d", ""), true, None, day),
            ["CREATE DATABASE \"d\" WITH DURATION INF REPLICATION 1 SHARD DURATION 86400s"]
        );
        assert_eq!(
            creation(("d", "w"), true, None, day),
            [
                "CREATE DATABASE \"d\"",
                "CREATE RETENTION POLICY \"w\" ON \"d\" DURATION INF REPLICATION 1 SHARD DURATION 86400s"
            ]
        );
    }
}
