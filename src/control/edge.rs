//! What the edge has refused or lost, as it stands in the status.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use crate::base::clock::rfc3339;
use crate::http::{LimitedClient, Seen, UdpView};

/// Clients that a screen shows.
const CLIENTS_SHOWN: usize = 3;

/// The edge in the status.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EdgeStatus {
    /// Requests that were refused because their client was over its limits, since the start.
    pub limited_requests: u64,
    /// The clients that were refused last, at most 10, the newest first.
    pub limited_clients: Vec<LimitedClient>,
    /// What came in datagrams, by listener.
    pub udp: Vec<UdpView>,
}

impl EdgeStatus {
    pub(super) fn of(seen: &Seen) -> Self {
        Self { limited_requests: seen.limited_requests, limited_clients: seen.limited.clone(), udp: seen.udp.clone() }
    }

    /// What needs a look, one line each.
    pub(super) fn render(&self, out: &mut String) {
        // Writing to a String does not fail.
        if self.limited_requests > 0 {
            let named = self.limited_clients.iter().take(CLIENTS_SHOWN);
            let named: Vec<String> =
                named.map(|row| format!("{}, last {}", row.client, rfc3339(row.last_ns))).collect();
            let _ = writeln!(out, "! LIMITED {} requests were refused: {}", self.limited_requests, named.join(" · "));
        }
        for UdpView { address, dropped, kernel_dropped, .. } in &self.udp {
            let mut lost: Vec<String> = dropped.iter().map(|(why, lines)| format!("{lines} lines {why}")).collect();
            if *kernel_dropped > 0 {
                lost.push(format!("{kernel_dropped} datagrams by the kernel"));
            }
            if !lost.is_empty() {
                let _ = writeln!(out, "! UDP    lost at {address}: {}", lost.join(", "));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_refused_or_lost_is_shown_and_nothing_else() {
        let mut out = String::new();
        let quiet = UdpView { address: "a:1".to_owned(), lines: 5, ..UdpView::default() };
        EdgeStatus { udp: vec![quiet.clone()], ..EdgeStatus::default() }.render(&mut out);
        assert_eq!(out, "");
        let lost = UdpView { dropped: vec![("refused".to_owned(), 3)], kernel_dropped: 2, ..quiet };
        let client = LimitedClient { client: "10.0.0.1".to_owned(), requests: 7, last_ns: 0 };
        EdgeStatus { limited_requests: 7, limited_clients: vec![client], udp: vec![lost] }.render(&mut out);
        assert_eq!(
            out,
            "! LIMITED 7 requests were refused: 10.0.0.1, last 1970-01-01T00:00:00Z\n\
             ! UDP    lost at a:1: 3 lines refused, 2 datagrams by the kernel\n"
        );
    }
}
