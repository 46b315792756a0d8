//! The HTTP side of reading: one client, credentials, errors in our words, an answer that streams.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use bytes::Bytes;
use tokio::time::Instant;

use super::quote::percent;
use crate::base::{Error, Kind, Result, Side};
use crate::config;
use crate::db::answer::retry_after;
use crate::db::tls::client;

/// How much of an error answer is read and shown.
const ERROR_BYTES_MAX: usize = 4096;

/// How long we wait where the answer does not say, and at most where it does.
const WAIT: Duration = Duration::from_secs(1);
const WAIT_MAX: Duration = Duration::from_secs(600);

/// So often a request is sent again because the answer asks for it.
const TURNS_MAX: u32 = 20;

/// How large a document of the API may be.
const DOCUMENT_BYTES_MAX: usize = 1 << 20;

/// Credentials for reading. They are never shown.
#[derive(Clone, PartialEq, Eq)]
pub enum Auth {
    /// None.
    None,
    /// User and password.
    Basic {
        /// The user's name.
        user: String,
        /// The password.
        password: String,
    },
    /// A token of InfluxDB 2.x, or `user:password` on 1.x.
    Token(String),
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Basic { .. } => "Basic(..)",
            Self::Token(_) => "Token(..)",
        })
    }
}

impl Auth {
    fn header(&self) -> Option<String> {
        match self {
            Self::None => None,
            Self::Basic { user, password } => {
                let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
                Some(format!("Basic {pair}"))
            }
            Self::Token(token) => Some(format!("Token {token}")),
        }
    }
}

/// Waits that the database asked for.
#[derive(Debug, Default)]
struct Patience {
    /// The end of the last one.
    until: Option<Instant>,
    /// All of them that have ended.
    waited: Duration,
}

/// A connection pool to one database.
#[derive(Clone, Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    base: String,
    /// The same, with the name that its certificate has in place of its host.
    to: String,
    /// Its host, where that is another one.
    host: Option<String>,
    auth: Auth,
    pub(super) side: Side,
    /// Shared by all clones.
    patience: Arc<Mutex<Patience>>,
    /// Bytes of answers so far; of all clones.
    pub(super) received: Arc<AtomicU64>,
}

impl Client {
    /// `tls`: without it the system's certificates are trusted.
    pub(super) fn new(
        base_url: &str,
        auth: Auth,
        side: Side,
        idle: Duration,
        tls: Option<&config::Tls>,
    ) -> Result<Self> {
        let base = base_url.trim_end_matches('/').to_owned();
        let fault = |what: String| Error::new(Kind::Config, side, what);
        let mut url = reqwest::Url::parse(&base).map_err(|e| fault(format!("\"{base}\" is not a URL")).because(e))?;
        let settings = match (url.scheme(), tls) {
            ("https", Some(tls)) => Ok((*client(tls)?).clone()),
            ("https", None) => plain(true),
            ("http", _) => plain(false),
            (other, _) => {
                return Err(fault(format!("{other}:// is not a scheme of these databases; use http or https")));
            }
        };
        let mut http = reqwest::Client::builder()
            .tls_backend_preconfigured(settings.map_err(|e| fault("TLS cannot be set up".to_owned()).because(e))?)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .connect_timeout(Duration::from_secs(10))
            .read_timeout(idle);
        let (mut to, mut host) = (base.clone(), None);
        if let Some(name) = tls.and_then(|tls| tls.server_name.as_deref()).filter(|_| url.scheme() == "https") {
            let found = url.socket_addrs(|| None);
            let found =
                found.map_err(|e| Error::new(Kind::Connect, side, format!("{base} is not found")).because(e))?;
            host = Some(authority(&url));
            url.set_host(Some(name)).map_err(|e| fault(format!("\"{name}\" cannot be a host name")).because(e))?;
            if url.domain().is_none() {
                return Err(fault("tls.server_name is an address: no names are looked up for it".to_owned()));
            }
            http = http.resolve_to_addrs(name, &found);
            url.as_str().trim_end_matches('/').clone_into(&mut to);
        }
        let http = http.build().map_err(|e| fault("the HTTP client cannot be set up".to_owned()).because(e))?;
        Ok(Self { http, base, to, host, auth, side, patience: Arc::default(), received: Arc::default() })
    }

    /// Sends a form to `/query` and hands back an answer with status 200.
    pub(super) async fn query(&self, parameters: &str, body: String) -> Result<Answer> {
        let request = self
            .http
            .post(format!("{}/query?{parameters}", self.to))
            .header("Content-Type", "application/x-www-form-urlencoded")
            .header("Accept", "application/x-msgpack")
            .body(body);
        let answer = self.send(request).await?;
        let kind = answer.response.headers().get("content-type").and_then(|v| v.to_str().ok()).unwrap_or("");
        if !kind.starts_with("application/x-msgpack") {
            let what = format!("{} does not answer queries in msgpack (content type \"{kind}\")", self.base);
            return Err(Error::new(Kind::Input, self.side, what).hint("only InfluxDB 1.x and 2.x can be read this way"));
        }
        Ok(answer)
    }

    /// Sends a Flux query and hands back an answer with status 200.
    pub(super) async fn flux(&self, org_id: &str, query: &str) -> Result<Answer> {
        let body = serde_json::json!({
            "type": "flux",
            "query": query,
            "dialect": { "header": true, "delimiter": ",", "annotations": ["datatype", "group", "default"] },
        });
        let request = self
            .http
            .post(format!("{}/api/v2/query?orgID={}", self.to, percent(org_id)))
            .header("Content-Type", "application/json")
            .header("Accept", "application/csv")
            .body(body.to_string());
        let answer = self.send(request).await?;
        let kind = answer.response.headers().get("content-type").and_then(|v| v.to_str().ok()).unwrap_or("");
        if !kind.starts_with("text/csv") && !kind.starts_with("application/csv") {
            let what = format!("{} does not answer Flux in CSV (content type \"{kind}\")", self.base);
            return Err(
                Error::new(Kind::Input, self.side, what).hint("only InfluxDB 2.x and Cloud can be read this way")
            );
        }
        Ok(answer)
    }

    /// How long we have waited because it asked us to, all waits together; and whether we do now.
    pub(super) fn waited(&self) -> (Duration, bool) {
        let patience = self.patience();
        (patience.waited, patience.until.is_some_and(|until| until > Instant::now()))
    }

    fn patience(&self) -> MutexGuard<'_, Patience> {
        self.patience.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits as long as it has asked us to.
    async fn turn(&self) {
        let Some(until) = self.patience().until else { return };
        let began = Instant::now();
        if until > began {
            tokio::time::sleep_until(until).await;
            self.patience().waited += began.elapsed();
        }
    }

    /// Fetches a small document.
    pub(super) async fn get(&self, path: &str) -> Result<Vec<u8>> {
        let mut answer = self.send(self.http.get(format!("{}{path}", self.to))).await?;
        let mut body = Vec::new();
        while let Some(more) = answer.next().await? {
            body.extend_from_slice(&more);
            if body.len() > DOCUMENT_BYTES_MAX {
                let what = format!("{path} is larger than {DOCUMENT_BYTES_MAX} bytes");
                return Err(Error::new(Kind::Limit, self.side, what));
            }
        }
        Ok(body)
    }

    /// Sends a request with our credentials; an answer other than 200 is an error. One that asks us to come again later is none, up to
    /// [`TURNS_MAX`]: all requests wait until then.
    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Answer> {
        let request = match self.auth.header() {
            Some(value) => request.header("Authorization", value),
            None => request,
        };
        let request = match &self.host {
            Some(host) => request.header("Host", host),
            None => request,
        };
        let mut left = TURNS_MAX;
        loop {
            self.turn().await;
            // Only a body that streams cannot be sent twice, and ours do not.
            let once = request.try_clone().ok_or_else(|| {
                Error::new(Kind::State, Side::Own, "a request that can be sent only once: this is a bug")
            })?;
            let response = once.send().await.map_err(|e| self.transport(e))?;
            let status = response.status().as_u16();
            let wait = wait_of(status, response.headers());
            if let Some(wait) = wait {
                self.patience().until = Instant::now().checked_add(wait);
            }
            let mut answer = Answer { response, client: self.clone() };
            match wait {
                _ if status == 200 => return Ok(answer),
                Some(_) if left > 0 => left -= 1,
                _ => return Err(self.refused(status, &answer.error_text().await)),
            }
        }
    }

    fn transport(&self, error: reqwest::Error) -> Error {
        let (kind, what) = if error.is_timeout() {
            (Kind::Timeout, format!("{} did not answer in time", self.base))
        } else if error.is_connect() {
            (Kind::Connect, format!("{} cannot be reached", self.base))
        } else {
            (Kind::Connect, format!("the connection to {} broke", self.base))
        };
        Error::new(kind, self.side, what).because(error.without_url()).retryable()
    }

    fn refused(&self, status: u16, text: &str) -> Error {
        let kind = if matches!(status, 401 | 403) { Kind::Auth } else { Kind::Answer };
        let error = Error::new(kind, self.side, format!("{} answered {status}: {text}", self.base));
        match status {
            401 => error.hint("check user, password or token"),
            403 => error.hint("grant the right to read"),
            429 | 500..=599 => error.retryable(),
            _ => error,
        }
    }
}

/// How long an answer wants us to wait before we come again.
fn wait_of(status: u16, headers: &http::HeaderMap) -> Option<Duration> {
    let named = || retry_after(headers).map(Duration::from_secs);
    let wait = match status {
        429 => named().unwrap_or(WAIT),
        503 => named()?,
        _ => return None,
    };
    Some(wait.clamp(WAIT, WAIT_MAX))
}

/// An answer as it arrives.
#[derive(Debug)]
pub(super) struct Answer {
    response: reqwest::Response,
    client: Client,
}

impl Answer {
    /// The next bytes; `None` at the end that HTTP announced. An end before that is an error.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>> {
        let more = self.response.chunk().await.map_err(|e| self.client.transport(e))?;
        let count = more.as_ref().map_or(0, Bytes::len);
        self.client.received.fetch_add(count as u64, Ordering::Relaxed);
        Ok(more)
    }

    async fn error_text(&mut self) -> String {
        let mut bytes = Vec::new();
        while let Ok(Some(more)) = self.response.chunk().await {
            bytes.extend_from_slice(&more);
            if bytes.len() > ERROR_BYTES_MAX {
                bytes.truncate(ERROR_BYTES_MAX);
                break;
            }
        }
        message_of(&bytes)
    }
}

/// The sentence in an error answer: `error` (1.x, also as msgpack) or `message` (2.x), else the text as it is.
fn message_of(body: &[u8]) -> String {
    let json: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    if let Some(text) = json.as_ref().and_then(|v| v.get("error").or_else(|| v.get("message"))).and_then(|v| v.as_str())
    {
        return text.to_owned();
    }
    if let Ok(rmpv::Value::Map(pairs)) = rmpv::decode::read_value(&mut &body[..])
        && let Some((_, text)) = pairs.iter().find(|(key, _)| key.as_str() == Some("error"))
        && let Some(text) = text.as_str()
    {
        return text.to_owned();
    }
    String::from_utf8_lossy(body).trim_end().to_owned()
}

fn authority(url: &reqwest::Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// ring is named here, so that reading does not depend on what the process installed.
fn plain(with_roots: bool) -> Result<rustls::ClientConfig, rustls::Error> {
    let mut roots = rustls::RootCertStore::empty();
    if with_roots {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sentence_of_an_error_is_found() {
        assert_eq!(message_of(b"{\"error\":\"database not found\"}\n"), "database not found");
        assert_eq!(message_of(b"{\"code\":\"invalid\",\"message\":\"no\"}"), "no");
        assert_eq!(message_of(b"\x81\xa5error\xa4oops"), "oops");
        assert_eq!(message_of(b"request throttled, queue full\n"), "request throttled, queue full");
        assert_eq!(message_of(b"\xff\xfe"), "\u{fffd}\u{fffd}");
    }

    #[test]
    fn credentials_are_not_shown() {
        let auth = Auth::Basic { user: "u".to_owned(), password: "secret".to_owned() };
        let client = Client::new("http://127.0.0.1:1", auth, Side::Source, Duration::from_secs(1), None).unwrap();
        assert!(!format!("{client:?}").contains("secret"));
        let wrong =
            Client::new("ftp://h", Auth::Token("secret".to_owned()), Side::Source, Duration::from_secs(1), None);
        assert_eq!(wrong.unwrap_err().kind(), Kind::Config);
    }
}
