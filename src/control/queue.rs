//! What `twinline queue` asks a running process, and what it tells it to do.

use serde::{Deserialize, Serialize};

use super::figures::{Figures, Share};
use super::status::full_text;
use crate::base::DestinationId;
use crate::base::clock::rfc3339;
use crate::delivery::{Hold, PauseView, View, hold};
use crate::queue::{Moment, Pace};

/// The document, `twinline.queue.facts/1`. Only for the command line of the same version: `status -o json` is for others.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct QueueFacts {
    /// `twinline.queue.facts/1`.
    pub schema: String,
    /// Whose figures these are.
    pub destination: String,
    /// Those of the other destinations, where none is named.
    pub others: Vec<QueueFacts>,
    /// The log's directory.
    pub dir: String,
    /// Highest durable LSN: nobody reads further.
    pub durable: u64,
    /// The lowest floor of delivery.
    pub floor: u64,
    /// The last record that delivery has looked at.
    pub head: u64,
    /// Lines that are not delivered, those without an answer of the source included.
    pub waiting_lines: u64,
    /// Arrival of the oldest of them, ns; 0 for none.
    pub oldest_ns: i64,
    /// Whether what waits is still being counted.
    pub counting: bool,
    /// Bytes of records that still fit.
    pub room_bytes: u64,
    /// What the files may take.
    pub limit_bytes: u64,
    /// What they take.
    pub disk_bytes: u64,
    /// Why the log takes nothing, if so.
    pub fault: Option<String>,
    /// Why delivery has ended, if it has.
    pub failed: Option<String>,
    /// Why the log takes no writes now although it is sound, if so.
    pub full: Option<String>,
    /// What stands still.
    pub paused: Vec<PauseView>,
    /// Since when an operator holds delivery, ns.
    pub held_since_ns: Option<i64>,
    /// Whether it is known how fast what waits becomes less.
    pub paced: bool,
    /// Bytes of records that come in a second.
    pub input_bytes_s: f64,
    /// When the queue is full if the destination stops now, seconds; none where it never is, or the rate is not known.
    pub full_in_s: Option<f64>,
    /// When nothing waits any more, seconds; none where that is never, or not known.
    pub empty_in_s: Option<f64>,
    /// Now, ns.
    pub now_ns: i64,
    /// When delivery's figures were taken, ns.
    pub taken_ns: i64,
}

/// The queue of one destination as it is now.
pub(super) fn moment(figures: &Figures, view: &View) -> Moment {
    Moment { at: figures.up, waiting_lines: view.queued_lines + view.unanswered_lines }
}

impl QueueFacts {
    /// Where there are others: which there are, in words.
    #[must_use]
    pub fn several(&self) -> Option<String> {
        let ids: Vec<&str> = std::iter::once(self).chain(&self.others).map(|one| one.destination.as_str()).collect();
        (ids.len() > 1).then(|| format!("there are several destinations: {}", ids.join(", ")))
    }

    pub(super) fn of(
        dir: &std::path::Path,
        figures: &Figures,
        share: &Share,
        pace: Option<Pace>,
        held_since_ns: Option<i64>,
    ) -> Self {
        let (log, view, now) = (&figures.log, &share.view, moment(figures, &share.view));
        let seconds = |span: Option<std::time::Duration>| span.map(|span| span.as_secs_f64());
        // Delivery shows its figures a few times a second; a hold is asked for right after it was set.
        let own = held_since_ns.map(|since_ns| Hold::pause(since_ns, figures.now_ns));
        let others = view.paused.iter().filter(|pause| pause.code != hold::CODE).cloned();
        let paused: Vec<PauseView> = own.into_iter().chain(others).collect();
        // What it did before it stood still says nothing about when it will be done.
        let stands = held_since_ns.is_some() || view.failed.is_some() || paused.iter().any(|p| p.what == "destination");
        let empty =
            pace.filter(|_| !stands || now.waiting_lines == 0).and_then(|pace| pace.until_empty(now.waiting_lines));
        Self {
            schema: "twinline.queue.facts/1".to_owned(),
            destination: share.id.to_string(),
            others: Vec::new(),
            dir: std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned()).display().to_string(),
            durable: log.durable.0,
            floor: view.floor_lsn,
            head: view.head_lsn,
            waiting_lines: now.waiting_lines,
            oldest_ns: view.oldest_ns,
            counting: !view.ready || view.counting,
            room_bytes: log.room_bytes,
            limit_bytes: log.limit_bytes,
            disk_bytes: log.bytes,
            fault: log.fault.clone(),
            failed: view.failed.clone(),
            full: log.full.then(|| full_text(log)),
            paused,
            held_since_ns,
            paced: pace.is_some(),
            input_bytes_s: figures.pressure.input,
            full_in_s: seconds(figures.pressure.until_full_if_stopped),
            empty_in_s: seconds(empty),
            now_ns: figures.now_ns,
            taken_ns: view.at_ns,
        }
    }
}

/// The answer to a pause or a resume.
pub(super) fn held_document(id: &DestinationId, since_ns: Option<i64>, changed: bool) -> serde_json::Value {
    serde_json::json!({
        "schema": "twinline.queue.held/1",
        "destination": id.as_str(),
        "paused": since_ns.is_some(),
        "since": since_ns.map(rfc3339),
        "changed": changed,
    })
}
