//! How much time a shard group of an InfluxDB 2.x bucket spans, asked from the API: `SHOW RETENTION POLICIES` says one
//! week there, whatever is true.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::base::{Kind, Result};

use super::influxql::Reader;
use super::quote::percent;
use super::windows::SECOND_NS;

/// Every duration is a multiple of it, so windows of one hour are exact whatever the bucket says; only more of them.
const HOUR_NS: i64 = 3600 * SECOND_NS;

/// Organisations that are looked through.
const ORGS_MAX: usize = 20;

#[derive(Deserialize)]
struct Orgs {
    orgs: Vec<Org>,
}

#[derive(Deserialize)]
struct Org {
    id: String,
}

#[derive(Deserialize)]
struct Mappings {
    content: Vec<Mapping>,
}

#[derive(Deserialize)]
struct Mapping {
    #[serde(rename = "bucketID")]
    bucket: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bucket {
    created_at: String,
    updated_at: String,
    retention_rules: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    #[serde(default)]
    shard_group_duration_seconds: i64,
}

impl Bucket {
    /// `None` when it cannot be trusted: groups made before a change keep the duration that they were made with.
    fn group_ns(&self) -> Option<i64> {
        let [created, updated] = [&self.created_at, &self.updated_at].map(|text| text.parse::<jiff::Timestamp>().ok());
        let changed = updated?.duration_since(created?).as_secs() > 0;
        let [rule] = &self.retention_rules[..] else { return None };
        let group_ns = rule.shard_group_duration_seconds.checked_mul(SECOND_NS)?;
        (!changed && group_ns >= HOUR_NS).then_some(group_ns)
    }
}

impl Reader {
    /// The duration of the shard groups behind `db` and `rp`; one hour where the API does not tell for certain.
    pub(super) async fn bucket_group_ns(&self, db: &str, rp: &str) -> Result<i64> {
        let mut buckets = Vec::new();
        let orgs: Option<Orgs> = self.api("/api/v2/orgs").await?;
        for Org { id } in orgs.map(|found| found.orgs).unwrap_or_default().into_iter().take(ORGS_MAX) {
            let path = format!("/api/v2/dbrps?orgID={}&db={}&rp={}", percent(&id), percent(db), percent(rp));
            let mappings: Option<Mappings> = self.api(&path).await?;
            buckets.extend(mappings.map(|found| found.content).unwrap_or_default());
        }
        let [Mapping { bucket }] = &buckets[..] else { return Ok(HOUR_NS) };
        self.group_ns_of(bucket).await
    }

    /// The same of a bucket by its id.
    pub(super) async fn group_ns_of(&self, bucket: &str) -> Result<i64> {
        let bucket: Option<Bucket> = self.api(&format!("/api/v2/buckets/{}", percent(bucket))).await?;
        Ok(bucket.and_then(|bucket| bucket.group_ns()).unwrap_or(HOUR_NS))
    }

    /// Asks the API; `None` when it may not be asked or says something else.
    async fn api<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>> {
        match self.client.get(path).await {
            Ok(body) => Ok(serde_json::from_slice(&body).ok()),
            Err(error) if matches!(error.kind(), Kind::Connect | Kind::Timeout) => Err(error),
            Err(_) => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(updated_at: &str, seconds: i64) -> Bucket {
        let rules = format!(r#"[{{"type":"expire","everySeconds":0,"shardGroupDurationSeconds":{seconds}}}]"#);
        let text =
            format!(r#"{{"createdAt":"2026-01-01T00:00:00.1Z","updatedAt":"{updated_at}","retentionRules":{rules}}}"#);
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn the_duration_of_a_bucket_that_was_changed_is_not_trusted() {
        assert_eq!(bucket("2026-01-01T00:00:00.2Z", 86_400).group_ns(), Some(24 * HOUR_NS));
        assert_eq!(bucket("2026-01-02T00:00:00Z", 86_400).group_ns(), None);
        assert_eq!(bucket("2026-01-01T00:00:00.2Z", 0).group_ns(), None);
    }
}
