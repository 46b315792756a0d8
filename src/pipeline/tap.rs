//! The traffic as somebody watches it (`twinline tap`).
//!
//! Promises: costs one relaxed load a request while nobody watches; never blocks or slows a request: who watches and is too slow misses
//! entries, and hears how many; at most [`RING`] entries of some KiB are kept, for at most [`WATCHERS_MAX`] watchers. No entry has a
//! query of a URL, a header, or a password of a statement.

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

/// Entries that wait for those who watch.
const RING: usize = 512;
/// Who may watch at once.
pub const WATCHERS_MAX: usize = 8;

/// What a request is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TapKind {
    /// A write in line protocol.
    Write,
    /// A query that only reads.
    Query,
    /// A statement or call that changes something.
    Statement,
    /// Anything else.
    #[default]
    Other,
}

impl TapKind {
    /// Its stable name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Write => "write",
            Self::Query => "query",
            Self::Statement => "statement",
            Self::Other => "other",
        }
    }
}

/// A request and its answer.
#[derive(Clone, Debug, Default)]
pub struct Tapped {
    /// When it came, ns.
    pub at_ns: i64,
    /// Where from; nothing for a socket in the file system.
    pub client: Option<IpAddr>,
    /// What it is.
    pub kind: TapKind,
    /// Its method.
    pub method: String,
    /// Its path, without the query.
    pub path: String,
    /// Names of its place, as far as it has them.
    pub db: Option<String>,
    /// Of a retention policy.
    pub rp: Option<String>,
    /// Of a bucket.
    pub bucket: Option<String>,
    /// The status of the answer.
    pub status: u16,
    /// From its head to the head of the answer, µs.
    pub took_us: u64,
    /// Of its body as it came, where that is known.
    pub bytes: Option<u64>,
    /// Lines of it, where they could be counted.
    pub lines: Option<u64>,
    /// The beginning of what it brings: lines, or statements without passwords.
    pub text: Vec<u8>,
}

static WATCHERS: AtomicUsize = AtomicUsize::new(0);
static ENTRIES: OnceLock<broadcast::Sender<Arc<Tapped>>> = OnceLock::new();

fn entries() -> &'static broadcast::Sender<Arc<Tapped>> {
    ENTRIES.get_or_init(|| broadcast::channel(RING).0)
}

/// Whether somebody watches.
#[must_use]
pub fn is_watched() -> bool {
    WATCHERS.load(Ordering::Relaxed) > 0
}

/// Tells those who watch; waits for nobody.
pub fn tell(entry: Tapped) {
    // Nobody may be there any more.
    drop(entries().send(Arc::new(entry)));
}

/// Somebody who watches, until it is dropped.
#[derive(Debug)]
pub struct Watching(broadcast::Receiver<Arc<Tapped>>);

/// Begins to watch; `None`: too many do.
#[must_use]
pub fn watch() -> Option<Watching> {
    let taken =
        WATCHERS.fetch_update(Ordering::AcqRel, Ordering::Acquire, |now| (now < WATCHERS_MAX).then_some(now + 1));
    taken.is_ok().then(|| Watching(entries().subscribe()))
}

impl Watching {
    /// The next entry; `Err`: so many were missed before it.
    pub async fn next(&mut self) -> Result<Arc<Tapped>, u64> {
        match self.0.recv().await {
            Ok(entry) => Ok(entry),
            Err(RecvError::Lagged(missed)) => Err(missed),
            // Its other end lives as long as the process.
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        WATCHERS.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One test for all of it: who watches is counted once for the process.
    #[test]
    fn who_is_too_slow_misses_entries_and_hears_how_many() {
        assert!(!is_watched());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut watching = watch().unwrap();
        assert!(is_watched());
        let more: Vec<_> = (1..WATCHERS_MAX).map(|_| watch().unwrap()).collect();
        assert!(watch().is_none());
        for number in 0..RING as i64 + 10 {
            tell(Tapped { at_ns: number, ..Tapped::default() });
        }
        assert_eq!(runtime.block_on(watching.next()).unwrap_err(), 10);
        assert_eq!(runtime.block_on(watching.next()).unwrap().at_ns, 10);
        drop((watching, more));
        assert!(!is_watched());
    }
}
