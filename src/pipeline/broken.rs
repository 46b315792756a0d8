//! A write whose body did not come whole, or has not come yet: the source says what it says to that.
//!
//! Promise: the client hears the source's own answer, if it still listens, and the source gets no byte of the body. So nothing
//! of such a write is stored or mirrored, no intent is needed, and no success is passed on.

use std::time::Duration;

use http_body_util::BodyExt;
use tokio::time::timeout;

use super::feed;
use super::primary::{PrimaryAnswer, lost, read_whole};
use super::reply::{self, Refusal, Reply};
use super::{ClientWrite, Pipeline};
use crate::db::broken::Break;
use crate::queue::Cause;

/// A source that refuses an expectation says so at once.
const EXPECT_WAIT: Duration = Duration::from_secs(2);

impl Pipeline {
    /// Asks the source about a head alone that expects something else than `100-continue`: it need not wait for the body to
    /// refuse that. `None`: it does not refuse, and the body is to be read.
    pub async fn write_expecting(&self, request: &ClientWrite, declared_bytes: Option<u64>) -> Option<Reply> {
        let (_feeder, body) = feed::fed();
        let asked = self.prepare(request, body.boxed_unsync(), declared_bytes).ok()?;
        let asking = async { read_whole(self.source.client().send_broken(asked, Break::Held).await).await };
        match timeout(EXPECT_WAIT, asking).await.ok()? {
            PrimaryAnswer::Lost { .. } => None,
            // Nothing was sent that it could have stored.
            answer if answer.status().is_some_and(|status| status.is_success()) => None,
            answer => Some(answer.into_reply(request.api)),
        }
    }

    /// Asks the source how it answers a body that breaks so. `declared_bytes`: how long the client said that it is.
    pub async fn write_broken(&self, request: ClientWrite, declared_bytes: Option<u64>, breaks: Break) -> Reply {
        let broken = || reply::unavailable(request.api, &Refusal::Body("the body broke off"));
        // Held until there is an answer, and gone then: that closes the connection.
        let (_feeder, body) = feed::fed();
        let asked = match self.prepare(&request, body.boxed_unsync(), declared_bytes) {
            Ok(asked) => asked,
            Err(_) => return broken(),
        };
        let began = self.clock.monotonic();
        let asking = async { read_whole(self.source.client().send_broken(asked, breaks).await).await };
        let answer = timeout(self.source.answer_timeout(), asking).await;
        let answer = answer.unwrap_or_else(|_| lost("the source did not answer in time", Cause::Timeout));
        // A connection that is closed over such a body says nothing about the source.
        if !matches!(answer, PrimaryAnswer::Lost { .. }) {
            self.answered(&answer, self.clock.monotonic().saturating_sub(began));
        }
        match answer.status() {
            Some(status) if status.is_success() => broken(),
            _ => answer.into_reply(request.api),
        }
    }
}
