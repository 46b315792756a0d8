//! Tasks that nobody waits for: when one dies, it is said, and what can begin again does.

use std::time::Duration;

use crate::base::clock::SharedClock;
use crate::state::{Event, EventKind, SharedState};

/// Before a task that has died begins again.
const AGAIN_PAUSE: Duration = Duration::from_secs(1);

/// Tells of parts that fail.
#[derive(Clone)]
pub(super) struct Watched {
    pub(super) state: SharedState,
    pub(super) clock: SharedClock,
}

impl Watched {
    /// An event, and a line of the program's log.
    pub(super) fn tell(&self, text: String) {
        let kind = EventKind::PartFailed;
        tracing::error!(event = ?kind, "{text}");
        // Nobody waits: the log says it in any case.
        drop(self.state.add_event(Event { at_ns: self.clock.wall_ns(), kind, text }));
    }

    /// Runs a task on this thread; one that panics begins again after a moment, for as long as the process runs.
    pub(super) async fn again<F: Future<Output = ()> + 'static>(self, what: &str, task: impl Fn() -> F) {
        while let Err(error) = tokio::task::spawn_local(task()).await {
            self.tell(format!("{what} has failed and begins again, which is a bug: {error}"));
            tokio::time::sleep(AGAIN_PAUSE).await;
        }
    }
}
