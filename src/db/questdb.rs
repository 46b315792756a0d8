//! What QuestDB says of itself and of its tables.

use std::collections::HashSet;

use bytes::Bytes;
use http::Method;
use serde::Deserialize;
use serde_json::Value;

use super::encode::escape;
use super::server::{Reply, Server};
use crate::base::Result;

/// What its `/ping` calls itself: an InfluxDB that it is not.
const DISGUISE: &str = "v2.7.4";

/// Whether this is its answer to `/ping`.
#[must_use]
pub fn is_its_ping(reply: &Reply) -> bool {
    let text = |name: &str| reply.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    text("server").to_ascii_lowercase().starts_with("questdb")
}

/// Whether this may be its answer to `/ping` behind something that hides its name: InfluxDB names its build beside its version.
#[must_use]
pub fn may_be_its_ping(reply: &Reply) -> bool {
    let version = reply.headers.get("x-influxdb-version");
    version.is_some_and(|version| version == DISGUISE) && !reply.headers.contains_key("x-influxdb-build")
}

/// Whether the server that gave this answer to `/ping` is a QuestDB; asks where the answer leaves it open.
pub async fn is_it(server: &Server, ping: &Reply) -> bool {
    is_its_ping(ping) || may_be_its_ping(ping) && version(server).await.is_ok_and(|version| version.is_some())
}

/// Its version, as `9.3.4`; `None` where it is no QuestDB.
///
/// # Errors
/// As [`Server::ask`].
pub async fn version(server: &Server) -> Result<Option<String>> {
    let reply = server.ask(Method::GET, "/settings", Bytes::new()).await?;
    let found: Option<Value> = serde_json::from_slice(&reply.body).ok().filter(|_| reply.status.is_success());
    Ok(found.and_then(|found| found["config"]["release.version"].as_str().map(str::to_owned)))
}

#[derive(Deserialize)]
struct Rows {
    dataset: Vec<Vec<Value>>,
}

/// Rows of a query; `None` where it is refused.
///
/// # Errors
/// As [`Server::ask`].
pub async fn rows(server: &Server, query: &str) -> Result<Option<Vec<Vec<Value>>>> {
    let reply = server.ask(Method::GET, &format!("/exec?query={}", escape(query)), Bytes::new()).await?;
    let rows: Option<Rows> = serde_json::from_slice(&reply.body).ok().filter(|_| reply.status.is_success());
    Ok(rows.map(|rows| rows.dataset))
}

/// Tables in which a row that is sent again replaces the one that is there, in small letters; `None` where it refuses to say.
///
/// # Errors
/// As [`Server::ask`].
pub async fn deduplicated(server: &Server) -> Result<Option<HashSet<String>>> {
    let found = rows(server, "select table_name from tables() where dedup").await?;
    let name = |row: &Vec<Value>| Some(row.first()?.as_str()?.to_lowercase());
    Ok(found.map(|rows| rows.iter().filter_map(name).collect()))
}
