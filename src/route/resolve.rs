//! Names as clients write them -> the one name of the place: default policies, DBRP mappings, bucket ids.
//!
//! Promise: what the source can tell us is asked, kept for a few seconds and asked again; a source that does not answer
//! never delays a write by more than [`LOOKUP_MAX`], and then the vendor's conventions hold (`autogen` is the default
//! policy; bucket `db` is `db` with its default policy, bucket `db/rp` is the rest).

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use serde_json::Value;
use tokio::time::{Instant, timeout};

use super::{RouteName, WriteIdentity};
use crate::db::encode::escape;
use crate::db::precision::Api;
use crate::db::server::{Flavor, Server};

const FRESH: Duration = Duration::from_secs(5);
const LOOKUP_MAX: Duration = Duration::from_secs(1);
/// A name that could not be looked up is not asked for again before this.
const RETRY_AFTER: Duration = Duration::from_secs(10);
const KEPT_MAX: usize = 10_000;

/// Looks names up at the source.
#[derive(Debug)]
pub struct Resolver {
    source: Server,
    flavor: Flavor,
    org: Option<String>,
    kept: RefCell<HashMap<Question, Kept>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Question {
    /// 1.x: name of the default policy of a database.
    DefaultPolicy(String),
    /// 2.x: bucket of a database and policy.
    Mapping(String, String),
    /// 2.x: name of a bucket id.
    BucketId(String),
    /// 2.x: name of an organisation's id.
    OrgId(String),
}

#[derive(Clone, Debug)]
struct Kept {
    answer: Option<String>,
    until: Instant,
}

impl Resolver {
    /// `org`: the source's organisation, for questions to 2.x.
    #[must_use]
    pub fn new(source: Server, flavor: Flavor, org: Option<String>) -> Self {
        Self { source, flavor, org, kept: RefCell::default() }
    }

    /// Forgets what may have changed: a statement that can move defaults or mappings has passed.
    pub fn forget(&self) {
        self.kept.borrow_mut().clear();
    }

    /// The place a write names; `None` when it names none, so that the source will refuse it.
    pub async fn name(&self, identity: &WriteIdentity) -> Option<RouteName> {
        match (self.flavor, identity.api) {
            (Flavor::Influx1, Api::V1) => {
                let db = identity.db.as_deref().filter(|db| !db.is_empty())?;
                Some(self.database(db, identity.rp.as_deref().unwrap_or_default()).await)
            }
            (Flavor::Influx1, Api::V2) => {
                let bucket = identity.bucket.as_deref().filter(|b| !b.is_empty())?;
                let (db, rp) = bucket.split_once('/').unwrap_or((bucket, ""));
                Some(self.database(db, rp).await)
            }
            (Flavor::Influx2, Api::V1) => {
                let db = identity.db.as_deref().filter(|db| !db.is_empty())?;
                let rp = identity.rp.as_deref().unwrap_or_default();
                let found = self.look_up(Question::Mapping(db.to_owned(), rp.to_owned())).await;
                let by_convention = || match rp {
                    "" | "autogen" => db.to_owned(),
                    _ => format!("{db}/{rp}"),
                };
                Some(self.bucket(found.unwrap_or_else(by_convention)))
            }
            (Flavor::Influx2, Api::V2) => {
                let bucket = identity.bucket.as_deref().filter(|b| !b.is_empty())?;
                let found =
                    if is_id(bucket) { self.look_up(Question::BucketId(bucket.to_owned())).await } else { None };
                let bucket = found.unwrap_or_else(|| bucket.to_owned());
                Some(match self.organisation(identity).await {
                    Some(org) => RouteName::Bucket { org, bucket },
                    None => self.bucket(bucket),
                })
            }
        }
    }

    /// The organisation that the request names: by name, by id, or by an id in the place of the name.
    async fn organisation(&self, identity: &WriteIdentity) -> Option<String> {
        let by_name = identity.org.as_deref().filter(|org| !org.is_empty());
        let named = by_name.or(identity.org_id.as_deref()).filter(|org| !org.is_empty())?;
        let found = if is_id(named) { self.look_up(Question::OrgId(named.to_owned())).await } else { None };
        Some(found.unwrap_or_else(|| named.to_owned()))
    }

    fn bucket(&self, bucket: String) -> RouteName {
        RouteName::Bucket { org: self.org.clone().unwrap_or_default(), bucket }
    }

    async fn database(&self, db: &str, rp: &str) -> RouteName {
        if rp.is_empty() {
            return RouteName::Database { db: db.to_owned(), rp: String::new() };
        }
        let default = self.look_up(Question::DefaultPolicy(db.to_owned())).await;
        let is_default = default.as_deref().unwrap_or("autogen") == rp;
        RouteName::Database { db: db.to_owned(), rp: if is_default { String::new() } else { rp.to_owned() } }
    }

    async fn look_up(&self, question: Question) -> Option<String> {
        if let Some(kept) = self.kept.borrow().get(&question)
            && kept.until > Instant::now()
        {
            return kept.answer.clone();
        }
        let asked = timeout(LOOKUP_MAX, self.ask(&question)).await.ok().flatten();
        let mut kept = self.kept.borrow_mut();
        let before = kept.get(&question).and_then(|kept| kept.answer.clone());
        let (answer, pause) = if asked.is_some() { (asked, FRESH) } else { (before, RETRY_AFTER) };
        if kept.len() >= KEPT_MAX {
            kept.clear();
        }
        kept.insert(question, Kept { answer: answer.clone(), until: Instant::now() + pause });
        answer
    }

    async fn ask(&self, question: &Question) -> Option<String> {
        match question {
            Question::DefaultPolicy(db) => {
                let quoted = db.replace('\\', "\\\\").replace('"', "\\\"");
                let q = escape(&format!("SHOW RETENTION POLICIES ON \"{quoted}\""));
                default_policy(&self.json(&format!("/query?q={q}")).await?)
            }
            Question::Mapping(db, rp) => {
                let org = escape(self.org.as_deref()?);
                let found = self.json(&format!("/api/v2/dbrps?org={org}&db={}", escape(db))).await?;
                let id = mapped_bucket(&found, rp)?;
                self.named(&format!("/api/v2/buckets/{}", escape(&id))).await
            }
            Question::BucketId(id) => self.named(&format!("/api/v2/buckets/{}", escape(id))).await,
            Question::OrgId(id) => self.named(&format!("/api/v2/orgs/{}", escape(id))).await,
        }
    }

    async fn named(&self, path: &str) -> Option<String> {
        self.json(path).await?.get("name")?.as_str().map(str::to_owned)
    }

    async fn json(&self, path: &str) -> Option<Value> {
        match self.source.ask(Method::GET, path, Bytes::new()).await {
            Ok(reply) if reply.status.is_success() => serde_json::from_slice(&reply.body).ok(),
            Ok(reply) => {
                tracing::debug!(
                    status = reply.status.as_u16(),
                    "the source does not tell us a name; its convention is assumed"
                );
                None
            }
            Err(error) => {
                tracing::debug!(%error, "the source does not tell us a name; its convention is assumed");
                None
            }
        }
    }
}

/// 16 hexadecimal digits: the servers try such a text as an id first.
fn is_id(text: &str) -> bool {
    text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// From the answer to SHOW RETENTION POLICIES: the row whose `default` is true.
fn default_policy(answer: &Value) -> Option<String> {
    let series = answer.pointer("/results/0/series/0")?;
    let columns = series.get("columns")?.as_array()?;
    let at = |name| columns.iter().position(|c| c.as_str() == Some(name));
    let (name, default) = (at("name")?, at("default")?);
    let rows = series.get("values")?.as_array()?;
    let row = rows.iter().find(|row| row.get(default).and_then(Value::as_bool) == Some(true))?;
    row.get(name)?.as_str().map(str::to_owned)
}

/// From the answer of `/api/v2/dbrps`: the bucket id of a policy; an empty policy is the mapping flagged as default.
/// A mapping that somebody made wins over a virtual one.
fn mapped_bucket(answer: &Value, rp: &str) -> Option<String> {
    let fits = |mapping: &&Value| {
        let is_default = mapping.get("default").and_then(Value::as_bool) == Some(true);
        if rp.is_empty() { is_default } else { mapping.get("retention_policy").and_then(Value::as_str) == Some(rp) }
    };
    let mut fitting: Vec<&Value> = answer.get("content")?.as_array()?.iter().filter(fits).collect();
    fitting.sort_by_key(|mapping| mapping.get("virtual").and_then(Value::as_bool) == Some(true));
    fitting.first()?.get("bucketID")?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_default_policy_is_the_flagged_row() {
        let answer = json!({"results": [{"series": [{"columns": ["name", "duration", "default"],
            "values": [["autogen", "0s", false], ["week", "168h0m0s", true]]}]}]});
        assert_eq!(default_policy(&answer).as_deref(), Some("week"));
        assert_eq!(default_policy(&json!({"results": [{"error": "no"}]})), None);
    }

    #[test]
    fn a_made_mapping_wins_over_a_virtual_one() {
        let answer = json!({"content": [
            {"retention_policy": "autogen", "default": true, "virtual": true, "bucketID": "a"},
            {"retention_policy": "week", "default": true, "bucketID": "b"}]});
        assert_eq!(mapped_bucket(&answer, "").as_deref(), Some("b"));
        assert_eq!(mapped_bucket(&answer, "autogen").as_deref(), Some("a"));
        assert_eq!(mapped_bucket(&answer, "none"), None);
    }
}
