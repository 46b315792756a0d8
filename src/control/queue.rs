//! What `twinline queue` asks a running process before it looks at the files itself.

use serde::{Deserialize, Serialize};

use crate::wal::Wal;

/// The document, `twinline.queue.facts/1`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueFacts {
    /// `twinline.queue.facts/1`.
    pub schema: String,
    /// The log's directory.
    pub dir: String,
    /// Highest durable LSN: nobody reads further.
    pub durable: u64,
    /// First LSN that is kept.
    pub oldest: u64,
    /// Bytes of records since the log began.
    pub position: u64,
}

impl QueueFacts {
    pub(super) fn of(log: &Wal) -> Self {
        let stats = log.stats();
        Self {
            schema: "twinline.queue.facts/1".to_owned(),
            dir: std::path::absolute(log.dir()).unwrap_or_else(|_| log.dir().to_owned()).display().to_string(),
            durable: stats.durable.0,
            oldest: stats.oldest.0,
            position: stats.position,
        }
    }
}
