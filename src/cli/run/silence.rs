//! Tells operators of a source that answers no write, and of its end. Clients hear it by themselves.

use std::rc::Rc;
use std::time::Duration;

use crate::pipeline::{News, Pipeline};
use crate::state::{Event, EventKind};

const LOOK_EVERY: Duration = Duration::from_secs(1);

/// For as long as the process runs.
pub(super) async fn keep_telling(pipeline: Rc<Pipeline>) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let (kind, text) = match pipeline.silence.news(pipeline.clock.monotonic()) {
            None => continue,
            Some(News::Begun(silent)) => (EventKind::SourceSilent, silent.to_string()),
            Some(News::Over) => (EventKind::SourceAnswers, "the source answers again".to_owned()),
        };
        match kind {
            EventKind::SourceSilent => tracing::warn!(event = ?kind, "{text}"),
            _ => tracing::info!(event = ?kind, "{text}"),
        }
        // Nobody waits: the log says it in any case.
        drop(pipeline.state.add_event(Event { at_ns: pipeline.clock.wall_ns(), kind, text }));
    }
}
