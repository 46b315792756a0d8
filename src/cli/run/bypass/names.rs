//! Whose shard each is. 1.x says it with the counters; 2.x says the bucket's id, and names are asked for.

use std::collections::HashMap;

use bytes::Bytes;
use http::Method;
use serde_json::Value;

use super::Blind;
use super::judge::Owner;
use crate::db::counters::Shard;
use crate::db::server::{Flavor, Server};

/// The server's own database (1.x).
const INTERNAL: &str = "_internal";
const PAGE: usize = 100;
const PAGES_MAX: usize = 50;

pub(super) async fn owners(
    source: &Server,
    flavor: Flavor,
    shards: HashMap<u64, Shard>,
) -> Result<HashMap<u64, (Owner, u64)>, Blind> {
    let buckets = match flavor {
        Flavor::Influx1 => HashMap::new(),
        Flavor::Influx2 if shards.is_empty() => HashMap::new(),
        Flavor::Influx2 => buckets(source).await?,
    };
    let owner = |place: String| match flavor {
        Flavor::Influx1 if place == INTERNAL => Owner::System,
        Flavor::Influx1 => Owner::Place(place),
        Flavor::Influx2 => buckets.get(&place).cloned().unwrap_or(Owner::Unknown),
    };
    Ok(shards.into_iter().map(|(id, Shard { place, points })| (id, (owner(place), points))).collect())
}

/// Buckets by id, as far as our token may see them: names are the same in several organisations, whose points are then one sum.
async fn buckets(source: &Server) -> Result<HashMap<String, Owner>, Blind> {
    let mut found = HashMap::new();
    for page in 0..PAGES_MAX {
        let path = format!("/api/v2/buckets?limit={PAGE}&offset={}", page * PAGE);
        let reply = source.ask(Method::GET, &path, Bytes::new()).await;
        let reply = reply.map_err(|error| Blind::Waiting(error.to_string()))?;
        let status = reply.status.as_u16();
        if matches!(status, 401 | 403) {
            let why = "its counters name buckets by id, and it does not list buckets to us";
            return Err(Blind::Off(format!("{why} ({status}): a token in [source] that may read them")));
        }
        let answer: Option<Value> = serde_json::from_slice(&reply.body).ok();
        let list = answer.as_ref().and_then(|answer| answer.get("buckets")?.as_array());
        let Some(list) = list.filter(|_| reply.status.is_success()) else {
            return Err(Blind::Waiting(format!("/api/v2/buckets answers {status}")));
        };
        for bucket in list {
            let text = |key: &str| bucket.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
            let owner = if text("type") == "system" { Owner::System } else { Owner::Place(text("name")) };
            found.insert(text("id"), owner);
        }
        if list.len() < PAGE {
            break;
        }
    }
    let sees_places = found.values().any(|owner| matches!(owner, Owner::Place(_)));
    if !sees_places {
        let why = "its counters name buckets by id, and the token in [source] sees no bucket";
        return Err(Blind::Off(why.to_owned()));
    }
    Ok(found)
}
