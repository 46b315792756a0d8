//! One configured database as we call it ourselves: address, credentials, kind and version.
//!
//! Promise: credentials live in header values marked as sensitive and are never printed.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, HOST, HeaderMap, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use rustls_pki_types::ServerName;

use super::client::{Client, Endpoint, RequestBody};
use super::{client, questdb, tls};
use crate::base::{Error, Kind, Result, Side};
use crate::config;

/// Answers to our own questions are small; longer ones are cut off as an error.
const ANSWER_BYTES_MAX: usize = 8 << 20;
/// Idle connections are not used again after this: 2.x closes them after 180 s, load balancers in between after 60 s.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// How long a request waits for one of the connections. Clients give up after 5 s (Telegraf); before that they are to hear that
/// nothing was sent.
const TURN_MAX: Duration = Duration::from_secs(3);

/// What speaks at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flavor {
    /// InfluxDB 1.x.
    Influx1,
    /// InfluxDB 2.x.
    Influx2,
}

/// Kind and version of a server, as it says itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// Which line of products.
    pub flavor: Flavor,
    /// Major and minor number, when they could be read.
    pub number: Option<(u32, u32)>,
    /// The text of the version header.
    pub text: String,
}

impl Version {
    /// What we assume before the server was asked.
    #[must_use]
    pub fn assumed(flavor: Flavor) -> Self {
        Self { flavor, number: None, text: "unknown".to_owned() }
    }

    /// Reads `X-Influxdb-Version` (`1.13.2`, `v2.9.1`, `1.6.7~rc0`).
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let plain = text.trim().trim_start_matches('v');
        let mut parts = plain.split(['.', '-', '~', '+']);
        let major: u32 = parts.next()?.parse().ok()?;
        let minor: Option<u32> = parts.next().and_then(|p| p.parse().ok());
        let flavor = match major {
            0 | 1 => Flavor::Influx1,
            2 => Flavor::Influx2,
            _ => return None,
        };
        Some(Self { flavor, number: minor.map(|minor| (major, minor)), text: text.to_owned() })
    }

    /// Whether the version is known and at least this.
    #[must_use]
    pub fn at_least(&self, major: u32, minor: u32) -> bool {
        self.number.is_some_and(|number| number >= (major, minor))
    }
}

/// An answer to a question of our own.
#[derive(Debug)]
pub struct Reply {
    /// Status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

/// A database and how we speak to it. Belongs to one thread, like its [`Client`].
#[derive(Clone, Debug)]
pub struct Server {
    client: Client,
    side: Side,
    host: HeaderValue,
    prefix: String,
    authorization: Option<HeaderValue>,
    answer_timeout: Duration,
}

impl Server {
    /// Prepares the connections; nothing is sent yet.
    ///
    /// # Errors
    /// A name that cannot be a host, TLS files that cannot be read, credentials that fit in no header.
    pub fn new(server: &config::Server, side: Side) -> Result<Self> {
        let url = &server.url;
        let fault = |what: String| Error::new(Kind::Config, side, what);
        let tls = if url.https {
            let name = server.tls.server_name.clone().unwrap_or_else(|| url.host.clone());
            let shown = name.clone();
            let name = ServerName::try_from(name)
                .map_err(|e| fault(format!("\"{shown}\" cannot be a host name")).because(e))?;
            Some((tls::client(&server.tls)?, name))
        } else {
            None
        };
        let endpoint = Endpoint {
            host: url.host.clone(),
            port: url.port,
            tls,
            connect_timeout: server.connect_timeout,
            connections_max: server.max_connections,
            turn_max: TURN_MAX,
            idle_max: IDLE_MAX,
        };
        let bracketed = if url.host.contains(':') { format!("[{}]", url.host) } else { url.host.clone() };
        let default_port = if url.https { 443 } else { 80 };
        let host = if url.port == default_port { bracketed } else { format!("{bracketed}:{}", url.port) };
        let host =
            HeaderValue::try_from(host).map_err(|e| fault("the host fits in no header".to_owned()).because(e))?;
        Ok(Self {
            client: Client::new(endpoint, side),
            side,
            host,
            prefix: url.path_prefix.clone(),
            authorization: authorization(server, side)?,
            answer_timeout: server.request_timeout,
        })
    }

    /// The connections.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Value of `Host` for this server.
    #[must_use]
    pub fn host(&self) -> &HeaderValue {
        &self.host
    }

    /// Put before every path; empty or `/prefix`.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Our own credentials, if there are any.
    #[must_use]
    pub fn authorization(&self) -> Option<&HeaderValue> {
        self.authorization.as_ref()
    }

    /// How long an answer may take.
    #[must_use]
    pub fn answer_timeout(&self) -> Duration {
        self.answer_timeout
    }

    /// Asks a question with our own credentials and reads the whole answer. `path` starts with `/` and is escaped.
    ///
    /// # Errors
    /// No connection, no answer in time, an answer that is too long.
    pub async fn ask(&self, method: Method, path: &str, body: Bytes) -> Result<Reply> {
        let request = self.question(method, path, body)?;
        let asking = async {
            let response = self.client.send(request).await.map_err(why)?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
            let body = body.map_err(|e| self.fault(Kind::Answer, path).because(e))?.to_bytes();
            Ok(Reply { status: head.status, headers: head.headers, body })
        };
        let waited = tokio::time::timeout(self.answer_timeout, asking).await;
        waited.unwrap_or_else(|_| Err(self.fault(Kind::Timeout, path).retryable()))
    }

    /// As [`Server::ask`], for an answer that is read as it comes. Whoever reads it limits how long that takes.
    ///
    /// # Errors
    /// No connection, no head of an answer in time.
    pub async fn stream(&self, path: &str) -> Result<Response<client::Answer>> {
        let asking = self.client.send(self.question(Method::GET, path, Bytes::new())?);
        match tokio::time::timeout(self.answer_timeout, asking).await {
            Ok(answer) => answer.map_err(why),
            Err(_) => Err(self.fault(Kind::Timeout, path).retryable()),
        }
    }

    fn question(&self, method: Method, path: &str, body: Bytes) -> Result<Request<RequestBody>> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.prefix))
            .header(HOST, self.host.clone())
            .header(ACCEPT, "application/json");
        if let Some(value) = &self.authorization {
            request = request.header(AUTHORIZATION, value.clone());
        }
        if !body.is_empty() {
            request = request.header("content-type", "application/json");
        }
        let body: RequestBody = Full::new(body).map_err(|e| match e {}).boxed_unsync();
        request.body(body).map_err(|e| self.fault(Kind::Input, path).because(e))
    }

    /// Asks for kind and version.
    ///
    /// # Errors
    /// As [`Server::ask`]; or the answer is not that of an InfluxDB 1.x or 2.x.
    pub async fn version(&self) -> Result<Version> {
        let reply = self.ask(Method::GET, "/ping", Bytes::new()).await?;
        if !questdb::is_its_ping(&reply) && questdb::is_it(self, &reply).await {
            return Err(Error::new(Kind::Answer, self.side, "it is a QuestDB, which calls itself InfluxDB 2.7.4"));
        }
        self.read_version(&reply)
    }

    /// Reads kind and version off an answer to `/ping`.
    ///
    /// # Errors
    /// The answer is not that of an InfluxDB 1.x or 2.x.
    pub fn read_version(&self, reply: &Reply) -> Result<Version> {
        if questdb::is_its_ping(reply) {
            return Err(Error::new(Kind::Answer, self.side, "it is a QuestDB, which calls itself InfluxDB 2.7.4"));
        }
        let header = reply.headers.get("x-influxdb-version").and_then(|v| v.to_str().ok());
        header.and_then(Version::read).ok_or_else(|| {
            let said = header.map_or("no X-Influxdb-Version header".to_owned(), |text| format!("version \"{text}\""));
            Error::new(Kind::Answer, self.side, format!("/ping answered {} with {said}", reply.status.as_u16()))
                .hint("set `kind` to influxdb1 or influxdb2 if a proxy in between removes the header")
        })
    }

    fn fault(&self, kind: Kind, path: &str) -> Error {
        // Without the query: it may hold names, and for clients' requests credentials.
        let path = path.split('?').next().unwrap_or_default();
        let what = if kind == Kind::Timeout { "no answer in time to" } else { "no usable answer to" };
        Error::new(kind, self.side, format!("{what} {path} from {}", self.host.to_str().unwrap_or("the server")))
    }
}

fn why(failure: client::Failure) -> Error {
    match failure {
        client::Failure::NotSent(error) | client::Failure::Unknown(error) => error,
    }
}

fn authorization(server: &config::Server, side: Side) -> Result<Option<HeaderValue>> {
    let text = match (&server.token, &server.username, &server.password) {
        (Some(token), _, _) => format!("Token {}", token.expose()),
        (None, Some(user), Some(password)) => {
            format!("Basic {}", STANDARD.encode(format!("{user}:{}", password.expose())))
        }
        _ => return Ok(None),
    };
    let mut value = HeaderValue::try_from(text)
        .map_err(|_| Error::new(Kind::Config, side, "the credentials hold bytes that fit in no header"))?;
    value.set_sensitive(true);
    Ok(Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_servers_write_them() {
        let read = |text| Version::read(text).map(|v| (v.flavor, v.number));
        assert_eq!(read("1.13.2"), Some((Flavor::Influx1, Some((1, 13)))));
        assert_eq!(read("1.6.7~rc0"), Some((Flavor::Influx1, Some((1, 6)))));
        assert_eq!(read("v2.9.1"), Some((Flavor::Influx2, Some((2, 9)))));
        assert_eq!(read("3.1.0"), None);
        assert_eq!(read("unknown"), None);
    }
}
