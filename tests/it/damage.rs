//! The medium loses bytes of the log while the program runs.

use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::process::Signal;
use twinline::sandbox::{Faults, Options, Sandbox};

use crate::proxy::{Setup, Twinline, eventually};

const LINES: u64 = 300;
/// More than is read ahead.
const WRITES: u64 = 120;

fn body(write: u64) -> String {
    (0..LINES).map(|n| format!("m,t={n:0300} v=1 {}\n", 1_000_000 + write * LINES + n)).collect()
}

/// Changes one byte of the line with this time that the log holds.
pub(crate) fn damage_line(data: &Path, time: u64) {
    let text = format!(" v=1 {time}\n");
    for entry in std::fs::read_dir(data.join("wal/seg")).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        if let Some(at) = bytes.windows(text.len()).position(|window| window == text.as_bytes()) {
            let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
            return file.write_all_at(b"X", at as u64 + 2).unwrap();
        }
    }
    panic!("no segment holds the line");
}

fn events(twinline: &Twinline) -> String {
    twinline.admin("/api/v1/events?limit=1000").text()
}

/// Two sandboxes, and a scrubber that hurries.
fn hurrying() -> (Sandbox, Sandbox, Setup) {
    let [source, destination] = [(), ()].map(|()| Sandbox::spawn_thread(Options::default()).unwrap());
    [&source, &destination].into_iter().for_each(|sandbox| sandbox.create_database("d"));
    let url = |sandbox: &Sandbox| format!("url = \"{}\"\nkind = \"influxdb1\"", sandbox.url());
    let mut setup = Setup::new(url(&source), url(&destination));
    setup.queue =
        "segment_size = \"1MiB\"\nmax_size = \"64MiB\"\nreserve_free = \"0\"\nscrub_every = \"1s\"".to_owned();
    (source, destination, setup)
}

#[test]
fn damage_is_found_before_delivery_comes_to_it_and_is_one_gap_with_its_route() {
    let (_source, destination, mut setup) = hurrying();
    // So little is read ahead that the damage lies before it.
    setup.delivery.push_str("\nbatch_bytes = \"256KiB\"\npending_bytes = \"1MiB\"");
    let mut twinline = setup.start();
    destination.set_faults(Faults { refuse: true, ..Faults::default() });
    for write in 0..WRITES {
        assert_eq!(twinline.call("POST /write?db=d", &[], body(write)).status, 204);
    }
    // Far behind what is read ahead, and in a file that is complete.
    damage_line(&twinline.data(), 1_000_000 + 90 * LINES + LINES / 2);
    let status = twinline.until("it is found", |status| status["queue"]["scrub"]["damaged_records"] == 1);
    assert_eq!(status["lines"]["gap"], 0, "nothing is missing before delivery comes to it: {status:#}");
    eventually("it is told", || {
        let events = events(&twinline);
        if events.contains("scrubbing found damage in the log") { Ok(()) } else { Err(events) }
    });
    // The process dies between the gap and the floor: the gap stands, and is met again.
    twinline.stop(Signal::KILL);
    twinline.start_again_with(|configuration| configuration, "damage-gap-durable=abort");
    destination.set_faults(Faults::default());
    assert!(!twinline.wait().success());
    twinline.start_again();
    for start in 0..2 {
        let status = twinline.settled(WRITES * LINES);
        let lines = &status["lines"];
        assert_eq!(
            (lines["gap"].as_u64(), lines["delivered"].as_u64()),
            (Some(LINES), Some((WRITES - 1) * LINES)),
            "{status:#}"
        );
        let gap = &status["gap_rows"][0];
        assert_eq!((status["gap_rows_total"].as_u64(), gap["lines"].as_u64()), (Some(1), Some(LINES)), "{status:#}");
        assert!(gap["cause"] == "log-damage" && gap["first_lsn"] == gap["last_lsn"], "{gap:#}");
        assert!(gap["route"].as_str().unwrap().contains('d'), "the route has a name: {gap:#}");
        let shown = String::from_utf8(twinline.command(&["status"]).stdout).unwrap();
        assert!(shown.contains(", received 20"), "when its points were is not known, and not told: {shown}");
        if start == 0 {
            twinline.stop(Signal::KILL);
            twinline.start_again();
        }
    }
    assert_eq!(destination.cells("d", "").len() as u64, (WRITES - 1) * LINES);
    let kept = std::fs::read_dir(twinline.data().join("wal/quarantine")).unwrap().count();
    assert_eq!(kept, 2, "the bytes, and a note");
}

/// A log of some complete segments that waits, with a scrubber that hurries.
fn waiting() -> (Sandbox, Sandbox, Twinline) {
    let (source, destination, setup) = hurrying();
    let twinline = setup.start();
    destination.set_faults(Faults { refuse: true, ..Faults::default() });
    for write in 0..25 {
        assert_eq!(twinline.call("POST /write?db=d", &[], body(write)).status, 204);
    }
    (source, destination, twinline)
}

fn passes(twinline: &Twinline, passes: usize) {
    let mut seen = std::collections::BTreeSet::new();
    eventually("scrubbing goes on", || {
        let status = twinline.status();
        seen.extend(status["queue"]["scrub"]["last_pass"].as_str().map(str::to_owned));
        if seen.len() >= passes { Ok(()) } else { Err(format!("{status:#}")) }
    });
}

/// Not a byte of it: neither its header nor a record is called damaged.
#[test]
fn a_complete_segment_that_cannot_be_read_is_told_once_with_its_name_and_what_to_do() {
    let (_source, destination, twinline) = waiting();
    let path = twinline.data().join("wal/seg/00000000000000000002.wal");
    let elsewhere = twinline.data().join("elsewhere");
    std::fs::rename(&path, &elsewhere).unwrap();
    std::fs::create_dir(&path).unwrap();
    let told = format!("scrubbing cannot read {}: ", path.display());
    eventually("it is told", || {
        let events = events(&twinline);
        if events.contains(&told) { Ok(()) } else { Err(events) }
    });
    passes(&twinline, 3);
    let events = events(&twinline);
    assert_eq!(events.matches(&told).count(), 1, "{events}");
    assert!(events.contains("look for errors of the disk in the kernel's log"), "{events}");
    let shown = || String::from_utf8(twinline.command(&["status"]).stdout).unwrap();
    assert!(shown().contains(&format!("! UNREAD {} cannot be read: look for", path.display())), "{}", shown());
    assert!(!shown().contains("DAMAGE"), "{}", shown());
    std::fs::remove_dir(&path).unwrap();
    std::fs::rename(&elsewhere, &path).unwrap();
    passes(&twinline, 3);
    assert!(!shown().contains("UNREAD"), "{}", shown());
    destination.set_faults(Faults::default());
    twinline.delivered(25 * LINES);
}

/// Neither by that process nor by the next.
#[test]
fn damage_that_a_start_has_told_is_not_told_again_by_scrubbing() {
    let (_source, _destination, mut twinline) = waiting();
    twinline.stop(Signal::KILL);
    damage_line(&twinline.data(), 1_000_000 + 22 * LINES + LINES / 2);
    for _ in 0..2 {
        twinline.start_again();
        twinline.until("scrubbing finds it", |status| status["queue"]["scrub"]["damaged_records"] == 1);
        passes(&twinline, 3);
        let events = events(&twinline);
        assert_eq!(events.matches("of the log are damaged: 300 lines").count(), 1, "{events}");
        assert!(!events.contains("scrubbing found"), "{events}");
        twinline.stop(Signal::KILL);
    }
}

/// Lanes pass records of which another lane has lines that wait; then some of these are damaged.
#[test]
fn lines_of_a_damaged_record_that_were_delivered_are_in_no_gap() {
    let (source, destination, setup) = hurrying();
    source.create_database("later");
    let mut twinline = setup.start();
    // One line, and so one lane.
    assert_eq!(twinline.call("POST /write?db=later", &[], "m v=1 1\n").status, 204);
    twinline.until("it stands still", |status| status["paused"][0]["code"] == "database-missing");
    for write in 0..25 {
        assert_eq!(twinline.call("POST /write?db=d", &[], body(write)).status, 204);
    }
    eventually("all others are delivered", || {
        let arrived = destination.cells("d", "").len() as u64;
        if arrived == 25 * LINES { Ok(()) } else { Err(format!("{arrived} lines")) }
    });
    assert_eq!(twinline.stop(Signal::TERM).code(), Some(143));
    for write in [2, 3, 11] {
        damage_line(&twinline.data(), 1_000_000 + write * LINES + LINES / 2);
    }
    let sums = |status: &serde_json::Value| ["gap", "queued"].map(|sum| status["lines"][sum].as_u64().unwrap());
    // It dies when some of them are told.
    twinline.start_again_with(|configuration| configuration, "damage-gap-durable=abort@2");
    assert!(!twinline.wait().success());
    let mut lost = 0;
    for damaged in 3..5 {
        twinline.start_again();
        let status = twinline.counted(25 * LINES + 1);
        let [gap, queued] = sums(&status);
        // Each record has the same series: only those of the lane that waits are not known to be delivered.
        let each = gap / damaged;
        assert!(each > 0 && each < LINES && [gap, queued] == [each * damaged, (25 - damaged) * each + 1], "{status:#}");
        assert_eq!(status["gap_rows_total"], damaged, "{status:#}");
        lost = gap;
        twinline.stop(Signal::KILL);
        // One more is added to those that were told.
        if damaged == 3 {
            damage_line(&twinline.data(), 1_000_000 + 7 * LINES);
        }
    }
    destination.create_database("later");
    twinline.start_again();
    let status = twinline.settled(25 * LINES + 1);
    assert_eq!(sums(&status), [lost, 0], "{status:#}");
}

/// A part of a record.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Part {
    Header,
    Payload,
    /// Another record, which holds its outcome.
    Outcome,
}

/// Changes one byte of the record that has the line with this time, or of that with its outcome.
fn damage_record(data: &Path, time: u64, part: Part) {
    let text = format!(" v=1 {time}\n");
    let number = |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    for entry in std::fs::read_dir(data.join("wal/seg")).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        let Some(line) = bytes.windows(text.len()).position(|window| window == text.as_bytes()) else { continue };
        let holds = |at: &usize| bytes[at + 40] == 1 && (line - at..32 << 20).contains(&(64 + number(&bytes, at + 4)));
        let intent = (0..=line / 64).rev().map(|block| block * 64).find(holds).unwrap();
        let lsn = bytes[intent + 8..intent + 16].to_vec();
        let end = |at: usize| at + 64 + number(&bytes, at + 4);
        let next = |at: &usize| Some(end(*at).next_multiple_of(64)).filter(|next| next + 64 <= bytes.len());
        let settles =
            |at: &usize| bytes[at + 40] == 2 && bytes[at + 64..end(*at)].chunks(16).any(|outcome| outcome[..8] == lsn);
        let at = match part {
            Part::Header => intent + 8,
            Part::Payload => line,
            Part::Outcome => 64 + std::iter::successors(Some(intent), next).find(settles).unwrap(),
        };
        let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
        return file.write_all_at(&[bytes[at] ^ 1], at as u64).unwrap();
    }
    panic!("no segment holds the line");
}

/// The medium loses some of what waits for a place that takes nothing; others are not held up by that.
#[test]
fn what_is_damaged_while_it_waits_in_the_log_is_told_and_holds_nobody_up() {
    for (part, becomes_gap) in [
        (Part::Payload, false),
        (Part::Payload, true),
        (Part::Header, false),
        (Part::Header, true),
        (Part::Outcome, false),
        (Part::Outcome, true),
    ] {
        let (source, destination, mut setup) = hurrying();
        source.create_database("later");
        setup.queue = setup.queue.replace("scrub_every = \"1s\"", "");
        let backlog = if becomes_gap { "2MiB" } else { "60MiB" };
        setup.delivery.push_str(&format!(
            "\nbatch_bytes = \"64KiB\"\npending_bytes = \"1MiB\"\nlane_lead = \"1MiB\"\nroute_backlog = \"{backlog}\"\n"
        ));
        let twinline = setup.start();
        let write = |number: u64| {
            let answer = twinline.call("POST /write?db=later", &[], body(number));
            assert_eq!(answer.status, 204, "{}", answer.text());
        };
        (0..10).for_each(write);
        twinline.until("it stands still", |status| status["paused"][0]["code"] == "database-missing");
        // Neither the oldest of them, which are in memory, nor the newest, which were just read.
        damage_record(&twinline.data(), 1_000_000 + 8 * LINES + LINES / 2, part);
        (10..30).for_each(write);
        if becomes_gap {
            let is_gap = |status: &serde_json::Value| status["gaps"].to_string().contains("route-backlog");
            let status = twinline.until("it is a gap", is_gap);
            assert!(status["lines"]["gap"].as_u64() >= Some(9 * LINES), "{status:#}");
        }
        destination.create_database("later");
        assert_eq!(twinline.call("POST /write?db=d", &[], "m v=1 1\n").status, 204);
        let status = twinline.settled(30 * LINES + 1);
        let what = format!("{part:?}, {becomes_gap}: {status:#}");
        let [gap, doubt] = ["gap", "doubt"].map(|sum| status["lines"][sum].as_u64().unwrap());
        match (part, becomes_gap) {
            (_, true) => assert!(gap >= 9 * LINES && doubt == 0, "{what}"),
            // One record holds the outcomes of all writes that were answered at once.
            (Part::Outcome, false) => assert!(gap == 0 && doubt >= LINES, "{what}"),
            (_, false) => {
                assert!(gap == LINES && doubt == 0, "{what}");
                let rows = status["gap_rows"].to_string();
                assert!(rows.contains("log-damage") && rows.contains("later"), "{what}");
            }
        }
        assert_eq!(destination.cells("d", "").len(), 1, "{what}");
        assert_eq!(destination.cells("later", "").len() as u64, 30 * LINES - gap - doubt, "{what}");
    }
}

/// Each number of lanes deals lines out in another way, and some lanes are ahead of others.
#[test]
fn each_line_is_counted_once_however_often_lanes_change_and_the_process_dies() {
    let (source, destination, mut setup) = hurrying();
    source.create_database("later");
    let small = "batch_bytes = \"64KiB\"\npending_bytes = \"1MiB\"\nlane_lead = \"1MiB\"";
    setup.delivery.push_str(&format!("\nlanes = 3\n{small}\n"));
    let mut twinline = setup.start();
    // One line, and so one lane that stays behind.
    assert_eq!(twinline.call("POST /write?db=later", &[], "m v=1 1\n").status, 204);
    twinline.until("it stands still", |status| status["paused"][0]["code"] == "database-missing");
    let mut accepted = 1;
    let mut lanes = 3;
    for (round, next) in [1, 7, 7, 2, 7, 4].into_iter().enumerate() {
        assert_eq!(twinline.call("POST /write?db=d", &[], body(round as u64)).status, 204);
        accepted += LINES;
        eventually("all others are delivered", || {
            let arrived = destination.cells("d", "").len() as u64;
            if arrived == accepted - 1 { Ok(()) } else { Err(format!("{arrived} lines")) }
        });
        // Some floors are durable by then, some are not.
        std::thread::sleep(std::time::Duration::from_millis(150 * (round as u64 % 3)));
        twinline.stop(Signal::KILL);
        let change = |text: String| text.replace(&format!("lanes = {lanes}\n"), &format!("lanes = {next}\n"));
        twinline.start_again_with(change, "");
        lanes = next;
        twinline.counted(accepted);
        twinline.stop(Signal::KILL);
        twinline.start_again();
        twinline.counted(accepted);
    }
    destination.create_database("later");
    let status = twinline.settled(accepted);
    assert_eq!(status["lines"]["delivered"], accepted, "{status:#}");
}
