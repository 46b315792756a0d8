//! Clients that write the same cells again and again, whatever they hear.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;
use twinline::cell::compare;

use crate::database::Database;
use crate::http::call;
use crate::proxy::{Setup, Twinline, eventually};

/// 2023-11-13, a Monday.
pub(crate) const MONDAY_NS: i64 = 1_699_833_600_000_000_000;

/// Reads back as soon as it may.
pub(crate) const AT_ONCE: &str = "pause = \"0s\"\nper_minute = 6000";

/// A twinline that reads back.
pub(crate) fn setup(source: String, destination: &Database) -> Setup {
    Setup { readback: AT_ONCE.to_owned(), ..Setup::new(source, destination.section()) }
}

#[derive(Debug)]
pub(crate) struct Writing {
    /// Where twinline is now.
    addr: Arc<Mutex<String>>,
    stop: Arc<AtomicBool>,
    pub(crate) wrote: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Writing {
    /// 3 measurements × 5 series × 40 times, over three hours, values ever growing.
    pub(crate) fn begin(twinline: &Twinline, name: &str) -> Self {
        let addr = Arc::new(Mutex::new(twinline.addr.clone()));
        let (stop, wrote) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (to, ends, count, name) = (Arc::clone(&addr), Arc::clone(&stop), Arc::clone(&wrote), name.to_owned());
        let thread = std::thread::spawn(move || {
            let mut value = 0;
            while !ends.load(Ordering::SeqCst) {
                let line = |_| {
                    value += 1;
                    let (m, host, at) = (fastrand::u64(..3), fastrand::u64(..5), fastrand::i64(0..40));
                    let time = MONDAY_NS + at * 270_000_000_000;
                    // Not all fields each time.
                    let field = if value % 3 == 0 { "f" } else { "g" };
                    format!("m{m},host=h{host} {field}={value},both={value}i {time}\n")
                };
                let body: String = (0..20).map(line).collect();
                let addr = to.lock().unwrap().clone();
                // 1.x asks for none.
                let key = format!("Authorization: Token {}", crate::database::TOKEN);
                if call(&addr, &format!("POST /write?db={name}"), &[&key], body.as_bytes()).is_ok() {
                    count.fetch_add(1, Ordering::SeqCst);
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        Self { addr, stop, wrote, thread: Some(thread) }
    }

    pub(crate) fn goes_to(&self, twinline: &Twinline) {
        self.addr.lock().unwrap().clone_from(&twinline.addr);
    }

    /// Until so many more requests were answered.
    pub(crate) fn more(&self, requests: u64) {
        let from = self.wrote.load(Ordering::SeqCst);
        eventually("clients write", || match self.wrote.load(Ordering::SeqCst) - from {
            more if more >= requests => Ok(()),
            more => Err(more.to_string()),
        });
    }

    pub(crate) fn end(mut self) {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.take().unwrap().join().unwrap();
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

/// Waits until nothing waits, nothing is in doubt, and nothing in a gap.
pub(crate) fn healed(twinline: &Twinline) -> Value {
    twinline.until("all is there", |status| {
        let lines = &status["lines"];
        ["doubt", "gap", "queued", "unanswered"].iter().all(|state| lines[state] == 0)
            && status["dirty_regions"] == 0
            && status["gap_rows_total"] == 0
            && status["queue"]["counting"] == false
    })
}

/// Both hold the same, to the bit.
pub(crate) fn equal(source: &Database, destination: &Database, name: &str) -> u64 {
    let differences = compare(source.cells(name), destination.cells(name));
    assert!(differences.is_empty(), "{name}: {differences}");
    differences.equal
}

/// The events of a kind.
pub(crate) fn told(twinline: &Twinline, kind: &str) -> Vec<String> {
    let all = twinline.admin("/api/v1/events?limit=1000").json();
    let of_kind = all["events"].as_array().unwrap().iter().filter(|event| event["kind"] == kind);
    of_kind.map(|event| event["text"].as_str().unwrap().to_owned()).collect()
}
