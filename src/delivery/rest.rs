//! An orderly stop, told to the next start: no request was under way, so none can take effect late.
//!
//! Promise: the mark stands only while no request of ours can be under way. It is written after the last answer, and taken away,
//! durably, before the first request of the next process.

use std::cell::RefCell;
use std::time::Duration;

use super::Shared;
use crate::base::DestinationId;
use crate::state::SharedState;

/// Where the mark of a destination is kept: its name while nothing is under way there; empty otherwise.
fn mark(id: &DestinationId) -> String {
    format!("delivery-at-rest.{id}")
}

/// A stop waits no longer for a state store that does not answer: the next start is careful then.
const LEAVE_MAX: Duration = Duration::from_secs(1);

/// Takes the mark away, and says whether it stood for this destination.
pub(super) async fn taken(state: &SharedState, id: &DestinationId) -> bool {
    let stood = matches!(state.get(&mark(id)).await, Ok(Some(kept)) if kept == id.to_string().into_bytes());
    stood && state.set(&mark(id), Vec::new()).await.is_ok()
}

/// Whether no request of ours, of a line or of a statement, can still take effect. To be asked when each lane has ended.
pub(super) fn is_at_rest(shared: &Shared) -> bool {
    let now = shared.clock.monotonic();
    shared.statement_until.get().max(shared.inherited_until) <= now
        && shared.lanes.iter().map(RefCell::borrow_mut).all(|mut lane| lane.is_at_rest(now))
}

/// Leaves the mark if all is at rest. To be called when each lane has ended.
pub(super) async fn leave(shared: &Shared) {
    // Whoever copies into a region that is held may have a request under way as well.
    if !is_at_rest(shared) || !shared.regions.known().is_empty() {
        return;
    }
    let left = shared.state.set(&mark(&shared.id), shared.id.to_string().into_bytes());
    if !matches!(tokio::time::timeout(LEAVE_MAX, left).await, Ok(Ok(()))) {
        tracing::warn!("the state store does not take the mark of an orderly stop: the next start takes more care");
    }
}
