//! What the edge shows to operators beside its metrics: clients over their limits, and what came in datagrams.
//!
//! Promise: bounded, whatever comes. Of clients only the few that were refused last are named, here and nowhere in the metrics.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

/// Clients that are named.
const CLIENTS_NAMED: usize = 10;

/// A client over its limits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitedClient {
    /// Its address, or the /64 that it comes from.
    pub client: String,
    /// Requests of it that were refused while it stood here.
    pub requests: u64,
    /// When the last one was, ns.
    pub last_ns: i64,
}

/// What came to one address in datagrams since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UdpView {
    /// Where it listens.
    pub address: String,
    /// Database and policy that it writes to.
    pub place: String,
    /// Datagrams that came.
    pub datagrams: u64,
    /// Lines that the source took.
    pub lines: u64,
    /// Lines that it did not, by reason: `unparsable`, `buffer-full`, `refused`, `failed`, `stopped`.
    pub dropped: Vec<(String, u64)>,
    /// Datagrams that the kernel dropped, because we did not come to read them.
    pub kernel_dropped: u64,
}

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Requests that were refused because their client was over its limits, since the start.
    pub limited_requests: u64,
    /// The clients that were refused last, the newest first.
    pub limited: Vec<LimitedClient>,
    /// By listener.
    pub udp: Vec<UdpView>,
}

/// Written by the edge, read by others. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct EdgeView(Arc<Mutex<Seen>>);

impl EdgeView {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        // Whoever panicked in these short sections left nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How it is now.
    #[must_use]
    pub fn now(&self) -> Seen {
        self.seen().clone()
    }

    /// A request of a client was refused.
    pub(super) fn limited(&self, client: &str, now_ns: i64) {
        let mut seen = self.seen();
        seen.limited_requests += 1;
        let known = seen.limited.iter().position(|row| row.client == client);
        let mut row = known.map_or_else(LimitedClient::default, |at| seen.limited.remove(at));
        row.client.clear();
        row.client.push_str(client);
        row.requests += 1;
        row.last_ns = now_ns;
        seen.limited.insert(0, row);
        seen.limited.truncate(CLIENTS_NAMED);
    }

    /// Makes room for one listener; its place for [`EdgeView::udp`].
    pub(super) fn add_udp(&self, view: UdpView) -> usize {
        let mut seen = self.seen();
        seen.udp.push(view);
        seen.udp.len() - 1
    }

    /// Changes what is shown of one listener.
    pub(super) fn udp(&self, at: usize, change: impl FnOnce(&mut UdpView)) {
        if let Some(view) = self.seen().udp.get_mut(at) {
            change(view);
        }
    }
}

impl UdpView {
    /// More lines were dropped.
    pub(super) fn drop_lines(&mut self, why: &str, lines: u64) {
        match self.dropped.iter_mut().find(|(known, _)| known == why) {
            Some((_, sum)) => *sum += lines,
            None => self.dropped.push((why.to_owned(), lines)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_that_were_refused_last_are_named() {
        let view = EdgeView::default();
        for client in 0..30 {
            view.limited(&client.to_string(), client);
        }
        view.limited("25", 99);
        let seen = view.now();
        assert_eq!((seen.limited_requests, seen.limited.len()), (31, CLIENTS_NAMED));
        let first: Vec<_> = seen.limited.iter().take(3).map(|row| (row.client.as_str(), row.requests)).collect();
        assert_eq!(first, [("25", 2), ("29", 1), ("28", 1)]);
    }
}
