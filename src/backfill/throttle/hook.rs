//! Whoever is asked by HTTP whether copies may go on.
//!
//! Promise: 200 is yes, and anything else, or nothing in time, is no; asked at most once in `hook_every`, by one at a time.

use std::time::Duration;

use bytes::Bytes;
use http::Method;

use super::rule::Hook;
use crate::base::size::show_span;
use crate::base::{Kind, Side};
use crate::config::{self, Backfill, BaseUrl};
use crate::db::server::Server;

/// Characters of an answer that are shown.
const SAID_CHARS_MAX: usize = 120;

/// What was heard last.
#[derive(Debug, Default)]
pub(super) struct Heard {
    url: Option<BaseUrl>,
    server: Option<Server>,
    /// When it was asked, monotonic.
    asked: Option<Duration>,
    said: Hook,
}

impl Heard {
    /// What holds now; and whoever is to be asked before that, where it is time.
    pub(super) fn due(&mut self, now: Duration, limits: &Backfill) -> Option<Server> {
        if self.url != limits.hook_url.0 {
            *self = Self { url: limits.hook_url.0.clone(), ..Self::default() };
        }
        let url = self.url.as_ref()?;
        if self.asked.is_some_and(|asked| now.saturating_sub(asked) < limits.hook_every) {
            return None;
        }
        // Others do not ask beside this one.
        if self.asked.replace(now).is_none() {
            self.said = Hook::Stop(format!("{url} was not heard yet"));
        }
        if self.server.is_none() {
            match Server::new(&place(url, limits.hook_timeout), Side::Own) {
                Ok(server) => self.server = Some(server),
                Err(error) => self.said = Hook::Stop(format!("{url}: {error}")),
            }
        }
        self.server.clone()
    }

    pub(super) fn said(&self) -> Hook {
        self.said.clone()
    }

    pub(super) fn heard(&mut self, said: Hook) {
        self.said = said;
    }
}

/// Asks.
pub(super) async fn ask(server: &Server, limits: &Backfill) -> Hook {
    let name = limits.hook_url.0.as_ref().map_or_else(String::new, ToString::to_string);
    // The whole path is that of the URL.
    let path = if server.prefix().is_empty() { "/" } else { "" };
    let asking = server.ask(Method::GET, path, Bytes::new());
    let Ok(answer) = tokio::time::timeout(limits.hook_timeout, asking).await else {
        return Hook::Stop(format!("{name} did not answer within {}", show_span(limits.hook_timeout)));
    };
    match answer {
        Ok(reply) if reply.status == 200 => Hook::Go,
        Ok(reply) => {
            let text = String::from_utf8_lossy(&reply.body);
            let words: String =
                text.trim().chars().take(SAID_CHARS_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect();
            let words = if words.is_empty() { String::new() } else { format!(": {words}") };
            Hook::Stop(format!("{name} answers {}{words}", reply.status.as_u16()))
        }
        Err(error) if error.kind() == Kind::Timeout => Hook::Stop(format!("{name} did not answer in time")),
        Err(error) => Hook::Stop(format!("{name} cannot be asked: {error}")),
    }
}

fn place(url: &BaseUrl, timeout: Duration) -> config::Server {
    config::Server {
        url: url.clone(),
        username: None,
        password: None,
        org: None,
        token: None,
        connect_timeout: timeout,
        request_timeout: timeout,
        max_connections: 1,
        tls: config::Tls::default(),
    }
}
