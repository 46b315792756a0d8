//! By hand: files damaged while the program is down, and a queue that is full. What is lost is said; what is not lost arrives.

use std::path::PathBuf;
use std::time::Duration;

use twinline::cell::{Differences, compare};

use super::base::{Database, NAME};
use super::proxy::{Proxy, Settings};
use super::wire::{Connection, Sent};

const BATCH: u64 = 10;

/// The proxy between two sandboxes.
pub(crate) struct Bench {
    pub(crate) source: Database,
    pub(crate) destination: Database,
    pub(crate) proxy: Proxy,
    lines: u64,
}

impl Bench {
    /// A small queue, and a destination that is away.
    pub(crate) fn start(queue: &'static str) -> Self {
        Self::between(Database::sandbox(), Database::sandbox(), queue)
    }

    fn between(source: Database, destination: Database, queue: &'static str) -> Self {
        let settings = Settings { queue, delivery: "late_write_max = \"1s\"", ..Settings::default() };
        let mut proxy = Proxy::new(&source, &destination, settings);
        proxy.start();
        destination.set_down(true);
        Self { source, destination, proxy, lines: 0 }
    }

    /// Sends lines that the proxy has not seen; the text of each is padded to at least this length.
    pub(crate) fn send(&mut self, lines: u64, pad_bytes: usize) -> Sent {
        let range = self.lines..self.lines + lines;
        self.lines = range.end;
        let line = |at: u64| format!("hand s=\"{}{}\" {at}\n", mark(at), "x".repeat(pad_bytes));
        let body: String = range.map(line).collect();
        // A new connection: the proxy may be another process by now.
        let head = format!("POST /write?db={NAME} HTTP/1.1\r\nHost: x{}", self.source.authorization());
        Connection::new(self.proxy.port).ask(&head, body.as_bytes())
    }

    pub(crate) fn write(&mut self, lines: u64, pad_bytes: usize) {
        let sent = self.send(lines, pad_bytes);
        assert!(matches!(sent, Sent::Answer { status: 204, .. }), "{sent:?}");
    }

    /// What the destination lacks.
    pub(crate) fn differences(&self) -> Differences {
        compare(self.source.cells(), self.destination.cells())
    }

    /// The log's file that holds this line, its bytes, and where in it the line's mark stands.
    pub(crate) fn find(&self, line: u64) -> (PathBuf, Vec<u8>, usize) {
        let mark = mark(line);
        let mut places = self.proxy.segments().into_iter().filter_map(|path| {
            let bytes = std::fs::read(&path).expect("a segment");
            let at = bytes.windows(mark.len()).position(|window| window == mark.as_bytes())?;
            Some((path, bytes, at))
        });
        // The newest copy is the one that counts.
        places.next_back().expect("the line is in the log")
    }
}

fn mark(line: u64) -> String {
    format!("line-{line:06}-")
}

fn three_batches() -> Bench {
    let mut bench = Bench::start("segment_size = \"1MiB\"");
    (0..3).for_each(|_| bench.write(BATCH, 0));
    bench
}

/// One byte of acknowledged lines is another one: their record is a gap, the others arrive.
pub(crate) fn a_damaged_record_is_a_gap(end: impl Fn(&mut Proxy)) {
    let mut bench = three_batches();
    end(&mut bench.proxy);
    let (path, mut bytes, at) = bench.find(BATCH + 3);
    bytes[at] ^= 1;
    std::fs::write(path, bytes).expect("a segment can be written");
    bench.destination.set_down(false);
    bench.proxy.start();
    let status = bench.proxy.drained();
    assert_eq!((status.lines.delivered, status.lines.gap, status.lines.doubt), (2 * BATCH, BATCH, 0), "{status:?}");
    assert_eq!(status.gaps.iter().map(|gap| gap.cause.as_str()).collect::<Vec<_>>(), ["log-damage"]);
    assert!(status.not_covered.iter().any(|text| text == "10 lines in gaps await read-back"), "{status:?}");
    let found = bench.differences();
    assert_eq!((found.equal, found.only_left, found.total()), (2 * BATCH, BATCH, BATCH), "{found}");

    bench.proxy.kill9();
    bench.proxy.start();
    bench.write(BATCH, 0);
    let after = bench.proxy.drained();
    assert_eq!((after.lines.delivered, after.lines.gap), (3 * BATCH, BATCH), "told once: {after:?}");
    bench.proxy.stop();
}

/// The head of a record is damaged, so nobody knows how many lines it had: a gap of unknown size, and the others arrive.
pub(crate) fn a_damaged_head_is_a_gap_of_unknown_size() {
    let mut bench = three_batches();
    bench.proxy.kill9();
    let (path, mut bytes, at) = bench.find(BATCH);
    // The payload begins with a short description at a multiple of 64; its record's head is the 64 bytes before.
    let head = (at / 64 - 1) * 64;
    bytes[head + 8] ^= 0x10;
    std::fs::write(path, bytes).expect("a segment can be written");
    bench.destination.set_down(false);
    bench.proxy.start();
    let status = bench.proxy.drained();
    assert_eq!((status.lines.delivered, status.lines.doubt), (2 * BATCH, 0), "{status:?}");
    assert_eq!(status.gaps.iter().map(|gap| gap.cause.as_str()).collect::<Vec<_>>(), ["log-damage"]);
    assert!(
        status.not_covered.iter().any(|text| text == "1 gaps of unknown size, in no sum, await read-back"),
        "{status:?}"
    );
    let row = status.gap_rows.first().expect("the gap is listed");
    assert_eq!((row.cause.as_str(), row.lines, status.gap_rows_total), ("log-damage", None, 1), "{row:?}");
    let (first, last) = (row.first_lsn.expect("of records"), row.last_lsn.expect("of records"));
    let text = twinline::control::render(&status);
    let shown = format!("lines not known (log-damage), records {first} to {last}");
    assert!(first <= last && text.contains(&shown), "{shown}: {text}");
    assert_eq!(bench.differences().only_left, BATCH);
    bench.proxy.stop();
}

/// The end of the file is cut off, within what was acknowledged.
pub(crate) fn a_segment_cut_short_is_a_gap() {
    let mut bench = three_batches();
    bench.proxy.kill9();
    let (path, bytes, at) = bench.find(2 * BATCH + 5);
    std::fs::write(path, &bytes[..at]).expect("a segment can be written");
    bench.destination.set_down(false);
    bench.proxy.start();
    let status = bench.proxy.drained();
    assert_eq!((status.lines.delivered, bench.differences().only_left), (2 * BATCH, BATCH), "{status:?}");
    assert_eq!(status.gaps.iter().map(|gap| gap.cause.as_str()).collect::<Vec<_>>(), ["log-damage"], "{status:?}");
    bench.write(BATCH, 0);
    assert_eq!(bench.proxy.drained().lines.delivered, 3 * BATCH);
    bench.proxy.stop();
}

/// Only bytes that no record has reached are cut off: nothing is lost.
pub(crate) fn a_segment_without_its_empty_end_loses_nothing() {
    let mut bench = three_batches();
    bench.proxy.kill9();
    let (path, bytes, _) = bench.find(0);
    std::fs::write(path, &bytes[..bytes.len() - 5000]).expect("a segment can be written");
    bench.destination.set_down(false);
    bench.proxy.start();
    bench.write(BATCH, 0);
    assert_eq!(bench.proxy.drained().lines.delivered, 4 * BATCH);
    assert!(bench.differences().is_empty());
    bench.proxy.stop();
}

/// Without its cursor the log is delivered from its start, which repeats and loses nothing.
pub(crate) fn a_lost_cursor_costs_repetition_only() {
    let mut bench = three_batches();
    bench.destination.set_down(false);
    bench.proxy.drained();
    bench.write(BATCH, 0);
    bench.proxy.kill9();
    std::fs::remove_dir_all(bench.proxy.data().join("wal/cursors")).expect("the cursors can be removed");
    bench.proxy.start();
    let status = bench.proxy.drained();
    assert_eq!(status.lines.gap + status.lines.doubt, 0, "{status:?}");
    assert!(bench.differences().is_empty());
    bench.proxy.stop();
}

const SMALL: &str = "segment_size = \"1MiB\"\nmax_size = \"4MiB\"";
const SMALL_AND_STRICT: &str = "segment_size = \"1MiB\"\nmax_size = \"4MiB\"\non_unavailable = \"refuse\"";
/// Batches that are far more than the queue can hold.
const MANY: u64 = 400;

/// Writes until the queue is full, and somewhat more.
fn fill(bench: &mut Bench) {
    let mut filled = None;
    for batch in 0..MANY {
        bench.write(50, 800);
        if filled.is_none() && batch % 10 == 9 && bench.proxy.status().is_some_and(|status| status.lines.gap > 0) {
            filled = Some(batch);
        }
        if filled.is_some_and(|filled| batch > filled + 20) {
            break;
        }
    }
}

/// The gap of a write is durable, and the process ends before the source gets it: its lines are in the gap, once, although
/// neither side has them; all others arrive.
pub(crate) fn a_gap_whose_write_dies_counts_once(source: Database, destination: Database) {
    let mut bench = Bench::between(source, destination, SMALL);
    fill(&mut bench);
    let before = bench.proxy.status_now().lines;
    assert!(before.gap > 0 && before.queued > 0, "{before:?}");
    bench.proxy.stop();
    bench.proxy.start_with("gap-durable=abort");
    let sent = bench.send(50, 800);
    assert!(matches!(sent, Sent::Unknown), "{sent:?}");
    bench.proxy.died();
    for _ in 0..2 {
        bench.proxy.start();
        let after = bench.proxy.status_now().lines;
        assert_eq!((after.gap, after.queued, after.doubt), (before.gap + 50, before.queued, 0), "{before:?} {after:?}");
        bench.proxy.kill9();
    }
    bench.proxy.start();
    bench.destination.set_down(false);
    let last = bench.proxy.drained().lines;
    assert_eq!((last.gap, last.delivered), (before.gap + 50, before.queued), "{last:?}");
    let found = bench.differences();
    assert_eq!(
        (found.only_left, found.total()),
        (before.gap, before.gap),
        "the gap but for the write that died: {found}"
    );
    bench.proxy.stop();
}

/// A full queue: clients feel nothing, and every line that only the source has is counted, over a crash too.
pub(crate) fn a_full_queue_fails_open_and_counts_the_gap() {
    let mut bench = Bench::start(SMALL);
    fill(&mut bench);
    let status = bench.proxy.status_now();
    let lines = &status.lines;
    assert!(lines.gap > 0 && lines.queued > 0, "{lines:?}");
    assert_eq!((lines.gap + lines.queued, lines.doubt), (bench.lines, 0), "{lines:?}");
    assert_eq!(status.gaps.iter().map(|gap| gap.cause.as_str()).collect::<Vec<_>>(), ["queue-full"]);
    assert!(status.queue.disk_bytes <= status.queue.limit_bytes, "{:?}", status.queue);

    bench.proxy.kill9();
    bench.proxy.start();
    let again = bench.proxy.status_now();
    assert_eq!((again.lines.gap, again.lines.queued), (lines.gap, lines.queued), "rebuilt after a crash");
    assert!(again.queue.disk_bytes <= again.queue.limit_bytes + (512 << 10), "{:?}", again.queue);

    bench.destination.set_down(false);
    let last = bench.proxy.drained();
    assert_eq!((last.lines.gap, last.lines.delivered), (lines.gap, lines.queued));
    let found = bench.differences();
    assert_eq!((found.only_left, found.total()), (lines.gap, lines.gap), "the gap is what is missing: {found}");
    bench.write(50, 800);
    let last = bench.proxy.drained();
    assert_eq!((last.lines.gap, last.lines.delivered), (lines.gap, lines.queued + 50), "the queue takes writes again");
    bench.proxy.stop();
}

/// Configured so, a full queue refuses: the source does not get what the mirror would miss.
pub(crate) fn a_full_queue_refuses_where_that_is_wanted() {
    let mut bench = Bench::start(SMALL_AND_STRICT);
    let refused = (0..MANY).find_map(|_| match bench.send(50, 800) {
        Sent::Answer { status: 204, .. } => None,
        other => Some(other),
    });
    let Some(Sent::Answer { status: 503, head, body }) = refused else { panic!("{refused:?}") };
    assert!(head.to_ascii_lowercase().contains("retry-after: 1"), "{head}");
    assert!(body.contains("\"error\":\"twinline: the queue is full\""), "{body}");
    let accepted = bench.lines - 50;
    assert_eq!(bench.source.lines_received(), Some(accepted), "the source never saw the refused write");
    bench.destination.set_down(false);
    let status = bench.proxy.drained();
    assert_eq!((status.lines.delivered, status.lines.gap), (accepted, 0), "{status:?}");
    // Room comes back with the next saved floors: a client tries again until then.
    let again = (0..MANY).find(|_| {
        std::thread::sleep(Duration::from_millis(20));
        matches!(bench.send(50, 800), Sent::Answer { status: 204, .. })
    });
    assert!(again.is_some(), "a drained queue takes writes again");
    bench.proxy.drained();
    assert!(bench.differences().is_empty());
    bench.proxy.stop();
}
