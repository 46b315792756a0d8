//! One of the two databases, and how it is asked. Questions read only, or write nothing.

use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::Value;

use super::finding::{About, Finding, Group};
use crate::base::{Error, Result, Side};
use crate::config::{self, Config, SourceKind};
use crate::db::encode::escape;
pub(in crate::cli) use crate::db::influxql::identifier;
use crate::db::product::Product;
use crate::db::server::{Reply, Server};

/// What a server says is quoted up to here.
const QUOTED_CHARS: usize = 300;

/// One of the two databases.
#[derive(Debug)]
pub(in crate::cli) struct Subject<'c> {
    pub(super) about: About,
    /// Its section in the configuration.
    pub(in crate::cli) section: &'static str,
    pub(in crate::cli) config: &'c config::Server,
    /// As the configuration says; `None`: to be asked.
    pub(in crate::cli) configured: Option<Product>,
    pub(in crate::cli) server: Server,
}

/// Why a question has no useful answer.
#[derive(Debug)]
pub(in crate::cli) enum Unanswered {
    /// The server said no.
    Refused(StatusCode, String),
    /// The server did not say anything.
    Broken(Error),
}

impl Unanswered {
    pub(in crate::cli) fn text(&self) -> String {
        match self {
            Self::Refused(status, said) => format!("{}: {said}", status.as_u16()),
            Self::Broken(error) => error.to_string(),
        }
    }
}

impl<'c> Subject<'c> {
    pub(in crate::cli) fn source(config: &'c Config) -> Result<Self> {
        let configured = match config.source.kind {
            SourceKind::Influxdb1 => Some(Product::Influx1),
            SourceKind::Influxdb2 => Some(Product::Influx2),
            SourceKind::Auto => None,
        };
        let server = Server::new(&config.source.server, Side::Source)?;
        Ok(Self { about: About::Source, section: "source", config: &config.source.server, configured, server })
    }

    pub(in crate::cli) fn destination(config: &'c Config) -> Result<Self> {
        let configured = Product::configured(config.destination().kind);
        let server = Server::new(&config.destination().server, Side::Destination)?;
        let config = &config.destination().server;
        Ok(Self { about: About::Destination, section: "destination", config, configured, server })
    }

    /// A finding about this database.
    pub(super) fn found(
        &self,
        group: Group,
        state: super::finding::State,
        code: super::finding::Code,
        text: impl Into<String>,
    ) -> Finding {
        Finding::new(group, self.about, state, code, text)
    }

    pub(in crate::cli) fn has_credentials(&self) -> bool {
        self.server.authorization().is_some()
    }

    /// A GET that must answer with JSON.
    pub(in crate::cli) async fn json(&self, path: &str) -> std::result::Result<Value, Unanswered> {
        let reply = self.server.ask(Method::GET, path, Bytes::new()).await.map_err(Unanswered::Broken)?;
        if !reply.status.is_success() {
            return Err(Unanswered::Refused(reply.status, said(&reply)));
        }
        serde_json::from_slice(&reply.body).map_err(|_| Unanswered::Refused(reply.status, said(&reply)))
    }

    /// An InfluxQL statement that only reads; gives the rows of its first series.
    pub(in crate::cli) async fn statement(&self, statement: &str) -> std::result::Result<Rows, Unanswered> {
        let answer = self.json(&format!("/query?q={}", escape(statement))).await?;
        if let Some(error) = answer.pointer("/results/0/error").and_then(Value::as_str) {
            return Err(Unanswered::Refused(StatusCode::OK, error.to_owned()));
        }
        Ok(Rows(answer.pointer("/results/0/series/0").cloned().unwrap_or_default()))
    }
}

impl Subject<'_> {
    /// An InfluxQL statement that only reads, about one database and policy (empty: its default); gives all series of its
    /// answer, each with its name.
    pub(in crate::cli) async fn series(
        &self,
        (db, rp): (&str, &str),
        statement: &str,
    ) -> std::result::Result<Vec<(String, Rows)>, Unanswered> {
        let policy = if rp.is_empty() { String::new() } else { format!("&rp={}", escape(rp)) };
        let answer = self.json(&format!("/query?db={}{policy}&q={}", escape(db), escape(statement))).await?;
        if let Some(error) = answer.pointer("/results/0/error").and_then(Value::as_str) {
            return Err(Unanswered::Refused(StatusCode::OK, error.to_owned()));
        }
        let series = answer.pointer("/results/0/series").and_then(Value::as_array).into_iter().flatten();
        let name = |series: &Value| series.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
        Ok(series.map(|series| (name(series), Rows(series.clone()))).collect())
    }
}

/// The rows of one series of an InfluxQL answer.
#[derive(Debug)]
pub(in crate::cli) struct Rows(Value);

impl Rows {
    /// One column of all rows; values that are missing are null.
    pub(in crate::cli) fn column(&self, name: &str) -> Vec<Value> {
        let columns = self.0.get("columns").and_then(Value::as_array);
        let at = columns.and_then(|columns| columns.iter().position(|c| c.as_str() == Some(name)));
        let rows = self.0.get("values").and_then(Value::as_array).into_iter().flatten();
        rows.map(|row| at.and_then(|at| row.get(at)).cloned().unwrap_or_default()).collect()
    }
}

/// The sentence in an error answer.
pub(in crate::cli) fn said(reply: &Reply) -> String {
    let json: Option<Value> = serde_json::from_slice(&reply.body).ok();
    let sentence = json.as_ref().and_then(|json| ["error", "message"].iter().find_map(|key| json.get(key)?.as_str()));
    let text = sentence.map_or_else(|| String::from_utf8_lossy(&reply.body).trim().to_owned(), str::to_owned);
    if text.is_empty() {
        return "no reason given".to_owned();
    }
    // It goes to a terminal: no control characters.
    text.chars().take(QUOTED_CHARS).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(body: &'static str) -> Reply {
        let body = Bytes::from_static(body.as_bytes());
        Reply { status: StatusCode::BAD_REQUEST, headers: http::HeaderMap::new(), body }
    }

    #[test]
    fn the_servers_sentence_is_taken_out_of_both_forms_and_is_safe_to_print() {
        assert_eq!(said(&reply("{\"error\":\"database not found: \\\"x\\\"\"}\n")), "database not found: \"x\"");
        assert_eq!(
            said(&reply("{\"code\":\"not found\",\"message\":\"bucket \\\"b\\\" not found\"}")),
            "bucket \"b\" not found"
        );
        assert_eq!(said(&reply("a\u{1b}[31mb")), "a [31mb");
        assert_eq!(said(&reply("")), "no reason given");
    }

    #[test]
    fn names_are_quoted_for_the_place_where_they_are_typed() {
        assert_eq!(identifier("a\"b\\c"), "\"a\\\"b\\\\c\"");
    }
}
