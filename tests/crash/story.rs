//! kill -9 at random moments under load, and what must be true afterwards.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use twinline::cell::compare;
use twinline::control::Status;

use super::base::Database;
use super::proxy::{Proxy, Settings, status_at, sum, wait_for};
use super::writer::Writers;

/// Small, so that segments are sealed, recycled and met half full by every kind of crash.
const QUEUE: &str = "segment_size = \"1MiB\"\nmax_size = \"512MiB\"";
/// Small, so that an outage fills what waits in memory, and reading stands still.
const DELIVERY: &str =
    "batch_bytes = \"128KiB\"\npending_bytes = \"1MiB\"\nlane_lead = \"4MiB\"\nlate_write_max = \"2s\"";

/// A process that dies within `late_write_max` moves no floor, so that its queue does not get shorter: a long story lives long
/// enough for that now and then.
const CYCLES_BETWEEN_RESTS: u64 = 25;

/// What happens to the destination meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weather {
    Fair,
    /// It is away in half of the cycles.
    Outages,
}

pub(crate) fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is not a number")))
}

/// Kills, and judges. `TWINLINE_KILL_CYCLES`, `TWINLINE_KILL_SEED`, `TWINLINE_KILL_WRITERS` and `TWINLINE_KILL_REST_MS` (the
/// longest pause of a writer) change what is done.
pub(crate) fn story(name: &str, source: &Database, destination: &Database, weather: Weather) {
    let seed = number("TWINLINE_KILL_SEED", fastrand::u64(..));
    let cycles = number("TWINLINE_KILL_CYCLES", 8);
    let count = number("TWINLINE_KILL_WRITERS", 8) as usize;
    let rest = Duration::from_millis(number("TWINLINE_KILL_REST_MS", 16));
    println!("{name}: TWINLINE_KILL_SEED={seed} TWINLINE_KILL_CYCLES={cycles}, {count} writers");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut proxy =
        Proxy::new(source, destination, Settings { queue: QUEUE, delivery: DELIVERY, ..Settings::default() });
    proxy.start();
    let watch = Watch::start(proxy.socket());
    let writers = Writers::start(proxy.port, count, seed, rest);

    for cycle in 0..cycles {
        if weather == Weather::Outages && cycle % 4 < 2 && cycle % 2 == 0 {
            destination.set_down(true);
        }
        if random.u8(0..4) == 0 {
            // In the middle of a recovery; the next life must cope with what that left.
            proxy.kill9();
            proxy.spawn();
            std::thread::sleep(Duration::from_millis(random.u64(0..60)));
            proxy.kill9();
            proxy.start();
        }
        std::thread::sleep(Duration::from_millis(random.u64(20..400)));
        match random.u8(0..8) {
            0 => proxy.stop(),
            _ => proxy.kill9(),
        }
        proxy.start();
        if cycle % 4 == 1 {
            rebuilt(&mut proxy, &writers);
            destination_back(destination, weather);
        }
        if cycle % CYCLES_BETWEEN_RESTS == CYCLES_BETWEEN_RESTS - 1 {
            destination_back(destination, weather);
            rest_until_drained(name, cycle + 1, &mut proxy, &writers);
        }
    }
    destination_back(destination, weather);

    let last = judged(name, &mut proxy, writers, source, destination);
    watch.finish();
    let lines = &last.lines;
    if let Some(taken) = source.lines_received() {
        let bounds = lines.delivered..=lines.delivered + lines.doubt;
        assert!(bounds.contains(&taken), "the source took {taken} lines: {lines:?}");
    }
    proxy.stop();
}

/// Ends the writers, waits for the queue, and compares what everybody knows.
pub(crate) fn judged(
    name: &str,
    proxy: &mut Proxy,
    writers: Writers,
    source: &Database,
    destination: &Database,
) -> Status {
    writers.set_paused(true);
    let last = proxy.drained();
    accounts(&last, &writers);
    let (record, heard) = writers.finish();
    let lines = &last.lines;
    println!(
        "{name}: {} starts; acknowledged {}, unknown {}, repeats {}; delivered {}, doubt {}; segments {}",
        proxy.starts,
        heard.acknowledged(),
        heard.unknown(),
        heard.repeats(),
        lines.delivered,
        lines.doubt,
        last.queue.segments
    );
    assert_eq!(heard.refused(), 0, "the source was always there, and the queue never full");
    assert_eq!(lines.queued + lines.unanswered + lines.dead_lettered + lines.gap + lines.excluded, 0, "{lines:?}");
    assert!(!proxy.has_said("panicked"), "{}", proxy.said());
    let at_source = compare(record.clone(), source.cells());
    assert!(at_source.is_empty(), "record and source: {at_source}");
    let at_destination = compare(record, destination.cells());
    assert!(at_destination.is_empty(), "record and destination: {at_destination}");
    println!("{name}: {} cells are equal in the record and in both databases", at_destination.equal);
    last
}

/// A server that stands still and goes on has requests in its hands that nobody waits for any more: what it makes of them
/// must not come over newer values.
pub(crate) fn still(name: &str, source: &Database, destination: &Database) {
    let settings = Settings {
        queue: QUEUE,
        destination: "request_timeout = \"500ms\"",
        delivery: "late_write_max = \"3s\"\nbatch_bytes = \"16KiB\"",
    };
    let mut proxy = Proxy::new(source, destination, settings);
    proxy.start();
    let writers = Writers::start(proxy.port, 8, fastrand::u64(..), Duration::from_millis(16));
    for _ in 0..number("TWINLINE_STILL_CYCLES", 2) {
        std::thread::sleep(Duration::from_millis(300));
        destination.set_still(true);
        std::thread::sleep(Duration::from_millis(number("TWINLINE_STILL_MS", 2500)));
        destination.set_still(false);
        std::thread::sleep(Duration::from_millis(700));
    }
    let last = judged(name, &mut proxy, writers, source, destination);
    assert_eq!(last.lines.doubt, 0, "the source was well all the time: {:?}", last.lines);
    proxy.stop();
}

fn destination_back(destination: &Database, weather: Weather) {
    if weather == Weather::Outages {
        destination.set_down(false);
    }
}

/// While nothing is written the queue becomes empty.
fn rest_until_drained(name: &str, cycles: u64, proxy: &mut Proxy, writers: &Writers) {
    writers.set_paused(true);
    accounts(&proxy.drained(), writers);
    println!("{name}: {cycles} cycles, {} starts, {} acknowledged", proxy.starts, writers.heard().acknowledged());
    writers.set_paused(false);
}

/// While nothing is written, a crash changes nothing in the accounts, whatever is in the queue.
fn rebuilt(proxy: &mut Proxy, writers: &Writers) {
    writers.set_paused(true);
    // A request that its client has given up may still wait for the source, or, on a busy machine, to be read at all.
    let is_whole = |status: &Status| !status.queue.counting && status.lines.unanswered == 0;
    let before = wait_for("every request to end", || {
        let first = Some(proxy.status_now()).filter(is_whole)?;
        std::thread::sleep(Duration::from_millis(500));
        Some(proxy.status_now()).filter(is_whole).filter(|second| sum(second) == sum(&first))
    });
    accounts(&before, writers);
    proxy.kill9();
    proxy.start();
    let after = wait_for("the queue to be counted", || Some(proxy.status_now()).filter(|s| !s.queue.counting));
    let settled = |status: &Status| (status.lines.delivered + status.lines.queued, status.lines.doubt);
    assert_eq!(settled(&after), settled(&before), "before {:?}, after {:?}", before.lines, after.lines);
    accounts(&after, writers);
    writers.set_paused(false);
}

/// While nothing is written: every line that a writer sent is in exactly one state, and none twice.
///
/// What was acknowledged is delivered or queued. A request without an answer may have had no effect at all, be in doubt, or
/// have been accepted by a process that died before it could say so.
fn accounts(status: &Status, writers: &Writers) {
    let lines = &status.lines;
    let (acknowledged, unknown) = (writers.heard().acknowledged(), writers.heard().unknown());
    let context = || format!("acknowledged {acknowledged}, unknown {unknown}; {lines:?}");
    assert_eq!(lines.unanswered, 0, "every request has ended: {}", context());
    assert!(lines.delivered + lines.queued >= acknowledged, "acknowledged lines are missing: {}", context());
    assert!(sum(status) <= acknowledged + unknown, "lines are counted twice: {}", context());
}

/// Looks at the status all the time: lines once counted never leave the sum, over crashes too.
struct Watch {
    done: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<u64>,
}

impl Watch {
    fn start(socket: PathBuf) -> Self {
        let done = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&done);
        let thread = std::thread::spawn(move || {
            let mut seen: Option<Status> = None;
            let mut looks = 0;
            while !until.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(20));
                // While it says that it is still counting, the sums are too small.
                let Some(status) = status_at(&socket).filter(|status| !status.queue.counting) else { continue };
                if let Some(seen) = &seen {
                    let context = || format!("{:?}\nthen\n{:?}", seen.lines, status.lines);
                    assert!(sum(&status) >= sum(seen), "lines left the accounts:\n{}", context());
                    assert!(status.lines.doubt >= seen.lines.doubt, "doubt left the accounts:\n{}", context());
                }
                seen = Some(status);
                looks += 1;
            }
            looks
        });
        Self { done, thread }
    }

    fn finish(self) {
        self.done.store(true, Ordering::SeqCst);
        let looks = self.thread.join().expect("the accounts went back");
        assert!(looks > 0, "the status was never seen");
    }
}
