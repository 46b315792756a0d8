//! Source and destination are two servers: a server that is its own mirror would get every write twice.
//!
//! Promise: `run` refuses to start when both are known to be one server, under whatever names. Who does not answer is not
//! waited for; where it cannot be told, an event says so.

use std::time::Duration;

use super::learn::Met;
use crate::base::{Error, Kind, Result, Side};
use crate::cli::check::identity::{Mark, SAME_FIX, Same, resolve};
use crate::config::Config;
use crate::db::server::{Server, Version};
use crate::state::{Event, EventKind, SharedState};

/// A start waits this long for it, and only where both have just answered.
const ASK_MAX: Duration = Duration::from_secs(2);

/// Refuses a source that is this destination.
///
/// # Errors
/// They are one server.
pub(super) async fn refuse(
    config: &Config,
    (source, destination): (&Server, &Server),
    (version, met): (&Version, &Met),
    state: &SharedState,
    now_ns: i64,
) -> Result<()> {
    let answered = |version: &Version| version.number.is_some();
    let same = if answered(version) && met.answered {
        let asking = ask(config, (source, destination), (version, met));
        tokio::time::timeout(ASK_MAX, asking).await.unwrap_or(Same::Unknown("does not tell in time which server it is"))
    } else {
        Same::Unknown("cannot be compared with the source: one of them does not answer")
    };
    match same {
        Same::No(_) => Ok(()),
        Same::Yes(what) => Err(Error::new(Kind::Config, Side::Destination, format!("the destination {what}"))
            .hint(format!("set {SAME_FIX}"))),
        Same::Unknown(what) => {
            let text = format!("the destination {what}: `twinline check` looks again");
            tracing::warn!(event = "start.same_server", "{text}");
            drop(state.add_event(Event { at_ns: now_ns, kind: EventKind::SameServerUnknown, text }));
            Ok(())
        }
    }
}

async fn ask(config: &Config, (source, destination): (&Server, &Server), (version, met): (&Version, &Met)) -> Same {
    let (source_mark, destination_mark, source_at, destination_at) = tokio::join!(
        Mark::ask(source, Some(version.text.clone())),
        Mark::ask(destination, Some(met.version.clone())),
        resolve(&config.source.server),
        resolve(&config.destination().server),
    );
    Same::of((&source_mark, &destination_mark), (&source_at, &destination_at))
}
