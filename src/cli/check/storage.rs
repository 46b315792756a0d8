//! `disk` and `capacity`: the data directory can be written, has room for the queue, and commits fast enough.
//!
//! The measurement writes to a file of its own that is removed again.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::finding::{About, Code, Finding, Group, State};
use super::reach::milliseconds;
use crate::base::bounds::{GAP_LOG_BYTES, QUARANTINE_BYTES};
use crate::base::clock::SharedClock;
use crate::base::disk::{Disk, DiskFile, Durability, Open};
use crate::base::size::ByteSize;
use crate::cli::run::ballast;
use crate::config::{Config, budget_sum, disk_parts};

const BLOCK_BYTES: usize = 4096;
const WRITES: usize = 32;
/// The measurement ends after this, however few writes it made.
const MEASURED_MAX: Duration = Duration::from_secs(2);
/// Above this a commit is felt by every client that waits for its answer.
const COMMIT_MAX: Duration = Duration::from_millis(10);
/// Connections of the example figure.
const CONNECTIONS: f64 = 16.0;

fn found(state: State, code: Code, text: impl Into<String>) -> Finding {
    let group = if code == Code::DATA_DIR { Group::Disk } else { Group::Capacity };
    Finding::new(group, About::Queue, state, code, text)
}

/// Looks at the data directory, or at the nearest directory above it where it does not exist yet.
pub(super) fn look(config: &Config, disk: &dyn Disk, clock: &SharedClock) -> Vec<Finding> {
    let dir = &config.data_dir;
    let shown = dir.display();
    let Some(existing) = nearest(dir) else {
        let text = format!("data_dir {shown} is no directory");
        return vec![found(State::Failed, Code::DATA_DIR, text).fix(format!("mkdir -p {shown}, or another data_dir"))];
    };
    match commit_time(disk, &existing, clock) {
        Err(error) => {
            let text = format!("data_dir {shown} cannot be written: {}: {error}", existing.display());
            let fix = format!("sudo install -d -o $(id -un) -m 700 {shown}, or another data_dir");
            vec![found(State::Failed, Code::DATA_DIR, text).fix(fix)]
        }
        Ok(commit) => {
            let note = if &existing == dir { "" } else { "; it is made at the first start" };
            let mut findings = vec![found(State::Ok, Code::DATA_DIR, format!("data_dir {shown} can be written{note}"))];
            findings.push(match disk.free_bytes(&existing) {
                Ok(free) => room(config, free, taken(config)),
                Err(error) => found(State::Unknown, Code::FREE_SPACE, format!("free space is not known: {error}")),
            });
            findings.push(speed(commit));
            findings
        }
    }
}

fn nearest(dir: &Path) -> Option<PathBuf> {
    let here = |path: &Path| if path.as_os_str().is_empty() { PathBuf::from(".") } else { path.to_owned() };
    let first = dir.ancestors().map(here).find(|path| path.exists())?;
    first.is_dir().then_some(first)
}

/// What is there already of the parts of the budget: it is not needed again.
#[derive(Clone, Copy, Debug, Default)]
struct Taken {
    log: u64,
    /// Dead letters, ballast, quarantine and gap log, each within its own part.
    others: u64,
}

fn taken(config: &Config) -> Taken {
    let (dir, queue) = (&config.data_dir, &config.queue);
    let length = |path: PathBuf| path.symlink_metadata().map_or(0, |found| found.len());
    let all = |dir: PathBuf| -> u64 {
        std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| length(entry.path())).sum()
    };
    let others = length(dir.join("state.db")).min(queue.dead_letter_max.0)
        + length(ballast::path(dir)).min(queue.ballast.0)
        + all(dir.join("wal/quarantine")).min(QUARANTINE_BYTES)
        + length(dir.join("wal/gaps.log")).min(GAP_LOG_BYTES);
    Taken { log: all(dir.join("wal/seg")), others }
}

/// What operators should hear of the room on the disk of `data_dir`, if anything.
pub(in crate::cli) fn shortage(config: &Config, disk: &dyn Disk) -> Option<String> {
    let found = room(config, disk.free_bytes(&config.data_dir).ok()?, taken(config));
    let fix = found.fix.filter(|_| found.state != State::Ok)?;
    Some(format!("{}: {fix}", found.text))
}

fn room(config: &Config, free: u64, taken: Taken) -> Finding {
    let queue = &config.queue;
    let free = ByteSize(free);
    let parts = disk_parts(config);
    let needed = ByteSize(budget_sum(&parts).0.saturating_sub(taken.log).saturating_sub(taken.others));
    let first = queue.segment_size.0.saturating_mul(4).saturating_sub(taken.log);
    let least = ByteSize(first.saturating_add(queue.reserve_free.0));
    let wants: Vec<String> = parts.iter().map(|part| format!("{} {}", part.what, part.size)).collect();
    let wants = wants.join(", ");
    if free >= needed {
        let room = format!("{free} free, {needed} needed for {wants}");
        return found(State::Ok, Code::FREE_SPACE, room);
    }
    let fix = format!("free {}, or make queue.max_size or queue.dead_letter_max smaller", ByteSize(needed.0 - free.0));
    let text = format!("{free} free, but {needed} needed for {wants}");
    if free < least {
        let what = if first > 0 { "not even the first segments fit" } else { "the queue can take nothing new" };
        return found(State::Failed, Code::FREE_SPACE, format!("{text}: {what}")).fix(fix);
    }
    found(State::Warning, Code::FREE_SPACE, format!("{text}: the queue will be full earlier")).fix(fix)
}

fn speed(commit: Duration) -> Finding {
    // With two waits a request, n connections in a closed loop cannot exceed n / 3t: each waits for half a running commit
    // and a whole one, twice.
    let rate = CONNECTIONS / (3.0 * commit.as_secs_f64().max(1e-6));
    let text = format!(
        "a durable write of 4 KiB takes t = {}: n connections that wait for each answer get at most n/(3t), {CONNECTIONS} of them about {} requests/s",
        milliseconds(commit),
        rounded(rate)
    );
    if commit > COMMIT_MAX {
        return found(State::Warning, Code::COMMIT_TIME, text)
            .fix("data_dir on a faster drive, one with power-loss protection; every answer to a client waits for two commits");
    }
    found(State::Ok, Code::COMMIT_TIME, text)
}

/// Two digits: more would pretend to know.
fn rounded(rate: f64) -> String {
    let step = 10f64.powf((rate.max(10.0).log10() - 1.0).floor());
    let mut digits = format!("{:.0}", (rate / step).round() * step);
    let mut at = digits.len();
    while at > 3 {
        at -= 3;
        digits.insert(at, ',');
    }
    digits
}

/// The median time of a durable write to a file that was written before, as the log's segments are.
fn commit_time(disk: &dyn Disk, dir: &Path, clock: &SharedClock) -> io::Result<Duration> {
    let path = dir.join(format!("twinline-check-{}.next", std::process::id()));
    let file = disk.open(&path, Open::Create)?;
    let measured = write_times(&*file, clock);
    // Removed whatever came of it; what a write said matters more than this.
    let removed = disk.remove(&path);
    let mut times = measured?;
    removed?;
    times.sort_unstable();
    Ok(times[times.len() / 2])
}

/// At least one time.
fn write_times(file: &dyn DiskFile, clock: &SharedClock) -> io::Result<Vec<Duration>> {
    let block = [0u8; BLOCK_BYTES];
    let write =
        |at: usize, durability| file.write_all_at(&[IoSlice::new(&block)], (at * BLOCK_BYTES) as u64, durability);
    for at in 0..WRITES {
        write(at, Durability::Cached)?;
    }
    file.sync_data()?;
    let began = clock.monotonic();
    let mut times = Vec::with_capacity(WRITES);
    for at in 0..WRITES {
        let before = clock.monotonic();
        write(at, Durability::Durable)?;
        let after = clock.monotonic();
        times.push(after.saturating_sub(before));
        if after.saturating_sub(began) > MEASURED_MAX {
            break;
        }
    }
    Ok(times)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::SystemClock;
    use crate::base::disk::real;
    use crate::config::parse;

    fn config(dir: &Path) -> Config {
        let text = format!(
            "listen = \"127.0.0.1:1\"\ndata_dir = {:?}\n[source]\nurl = \"http://a:2\"\n[destination]\nurl = \"http://b:3\"\n\
             [queue]\nmax_size = \"8MiB\"\nsegment_size = \"1MiB\"\nreserve_free = \"2MiB\"\n\
             dead_letter_max = \"20MiB\"\nballast = \"5MiB\"\n",
            dir.display().to_string()
        );
        parse(&text, &|_| None).unwrap().config
    }

    #[test]
    fn a_directory_that_can_be_written_is_measured_and_left_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let new = dir.path().join("not/there/yet");
        for data_dir in [dir.path(), &new] {
            let findings = look(&config(data_dir), &*real(), &SystemClock::shared());
            assert_eq!(findings.len(), 3, "{findings:?}");
            assert!(findings.iter().all(|f| f.state != State::Failed && f.state != State::Unknown), "{findings:?}");
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing stays behind");
    }

    #[test]
    fn a_file_in_the_way_is_a_failure_with_advice() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("data"), "").unwrap();
        let findings = look(&config(&dir.path().join("data")), &*real(), &SystemClock::shared());
        assert!(findings.len() == 1 && findings[0].state == State::Failed && findings[0].fix.is_some(), "{findings:?}");
    }

    #[test]
    fn room_is_judged_against_what_the_queue_may_still_grow() {
        const MIB: u64 = 1 << 20;
        let config = config(Path::new("x"));
        let taken = |log, others| Taken { log: log * MIB, others: others * MIB };
        let state = |free, taken| room(&config, free * MIB, taken).state;
        // The log and what is left free, dead letters, ballast, quarantine, gap log, copies of history, what is read back.
        let all = 8 + 2 + 20 + 5 + 64 + 2 + 1024 + 64;
        assert_eq!(state(all, taken(0, 0)), State::Ok);
        assert_eq!(state(all - 1, taken(0, 0)), State::Warning);
        assert_eq!(state(all - 1, taken(1, 0)), State::Ok, "a mebibyte of the queue is there already");
        assert_eq!(state(all - 7, taken(0, 7)), State::Ok, "gap log and ballast are");
        assert_eq!(state(5, taken(0, 0)), State::Failed);
        assert!(room(&config, 0, taken(0, 0)).text.contains("queue.ballast 5 MiB"));
    }

    #[test]
    fn the_figure_for_clients_follows_from_the_commit_time() {
        let text = speed(Duration::from_millis(1)).text;
        assert!(text.contains("1.0 ms") && text.contains("about 5,300 requests/s"), "{text}");
        assert_eq!(speed(Duration::from_millis(20)).state, State::Warning);
        assert_eq!([rounded(12.3), rounded(1_234_567.0), rounded(999.0)], ["12", "1,200,000", "1,000"]);
    }
}
