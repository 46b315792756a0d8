//! `twinline queue` beside a running process and on what a dead one left behind.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::Output;

use rustix::process::Signal;
use serde_json::Value;
use twinline::sandbox::{Faults, Options, Sandbox};

use crate::proxy::{Setup, Twinline, eventually};

/// A source, a destination that is away, and a proxy between them whose queue has three segments.
fn filled(mut change: impl FnMut(&mut Setup)) -> (Sandbox, Sandbox, Twinline) {
    let [source, destination] = [(), ()].map(|()| Sandbox::spawn_thread(Options::default()).unwrap());
    for sandbox in [&source, &destination] {
        sandbox.create_database("d");
    }
    let url = |sandbox: &Sandbox| format!("url = \"{}\"\nkind = \"influxdb1\"", sandbox.url());
    let mut setup = Setup::new(url(&source), url(&destination));
    setup.queue = "segment_size = \"1MiB\"\nmax_size = \"16MiB\"\nreserve_free = \"0\"".to_owned();
    change(&mut setup);
    let twinline = setup.start();
    destination.set_faults(Faults { refuse: true, ..Faults::default() });
    for at in 0..WRITES {
        write(&twinline, at);
    }
    (source, destination, twinline)
}

const WRITES: u64 = 20;
const LINES: u64 = 1000;

fn write(twinline: &Twinline, at: u64) {
    let body: String = (0..LINES).map(|n| format!("m,t={n:0100} v={at} {at}\n")).collect();
    assert_eq!(twinline.call("POST /write?db=d", &[], body).status, 204);
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn json(twinline: &Twinline, words: &[&str]) -> Value {
    let words: Vec<&str> = [&["queue"], words, &["-o", "json"]].concat();
    let output = twinline.command(&words);
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{words:?}: {e}: {}{}", text(&output), said(&output)))
}

fn queue(twinline: &Twinline, words: &[&str]) -> Output {
    twinline.command(&[&["queue"], words].concat())
}

/// Every file below a directory: inode, length, time of change, content.
pub(crate) fn snapshot(dir: &Path) -> BTreeMap<PathBuf, (u64, i64, i64, Vec<u8>)> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let about = path.symlink_metadata().unwrap();
        let content = if about.is_file() { std::fs::read(&path).unwrap() } else { Vec::new() };
        if about.is_dir() {
            found.extend(snapshot(&path));
        }
        found.insert(path, (about.ino(), about.mtime(), about.mtime_nsec(), content));
    }
    found
}

fn segment(twinline: &Twinline, id: u64) -> PathBuf {
    twinline.data().join(format!("wal/seg/{id:020}.wal"))
}

/// Turns one bit of a file.
fn flip(path: &Path, at: u64) {
    let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 4], at).unwrap();
}

/// The rows of a segment that are intents.
fn intents(twinline: &Twinline, id: u64) -> Vec<Value> {
    let document = json(twinline, &["show", &id.to_string(), "--records"]);
    let rows = document["records"].as_array().unwrap().iter();
    rows.filter(|row| row["kind"] == "intent").cloned().collect()
}

#[test]
fn a_look_at_a_dead_queue_changes_nothing_and_needs_no_right_to_write() {
    let (_source, destination, mut twinline) = filled(|setup| setup.data_mib = Some(24));
    twinline.stop(Signal::KILL);
    let before = snapshot(&twinline.data());
    let remount = |how: &str| {
        let status = std::process::Command::new("mount").args(["-o", how]).arg(twinline.data()).status().unwrap();
        assert!(status.success(), "this test mounts a file system, which needs root");
    };
    remount("remount,ro");
    let status = json(&twinline, &["status"]);
    assert_eq!(status["running"], false, "{status:#}");
    let main = &status["destinations"][0];
    assert!(main["records"].as_u64() >= Some(2 * WRITES) && main["bytes"].as_u64() > Some(2 << 20), "{status:#}");
    assert!(main["oldest_s"].as_f64() > Some(0.0), "{status:#}");
    let list = json(&twinline, &["ls"]);
    let files = list["files"].as_array().unwrap();
    let states: Vec<&str> = files.iter().map(|file| file["state"].as_str().unwrap()).collect();
    assert_eq!(states[..3], ["sealed", "sealed", "open"], "{list:#}");
    assert!(states.contains(&"prepared"), "{list:#}");
    assert_eq!(files[0]["floors"][0]["destination"], "main", "{list:#}");
    let mut shown = 0;
    for file in files.iter().filter(|file| file["state"] != "prepared") {
        for row in intents(&twinline, file["segment"].as_u64().unwrap()) {
            assert_eq!((&row["route"], &row["lines"]), (&"d".into(), &LINES.into()), "{row:#}");
            assert_eq!(row["outcome"], "applied, 204", "{row:#}");
            shown += 1;
        }
    }
    assert_eq!(shown, WRITES, "every write is there once");
    let verify = queue(&twinline, &["verify"]);
    assert_eq!(verify.status.code(), Some(0), "{}{}", text(&verify), said(&verify));
    assert!(text(&verify).contains("every checksum holds"), "{}", text(&verify));
    assert!(said(&verify).contains("Next: twinline queue "), "{}", said(&verify));
    remount("remount,rw");
    assert_eq!(snapshot(&twinline.data()), before, "not a byte, name or time has changed");
    destination.set_faults(Faults::default());
    twinline.start_again();
    twinline.delivered(WRITES * LINES);
}

/// Payload, header, twin, seal, and a file that is gone: each told with its place and what it costs.
#[test]
fn damage_is_named_with_its_records_route_times_lines_and_place() {
    let (_source, _destination, mut twinline) = filled(|_| ());
    twinline.stop(Signal::KILL);
    let hurt = &intents(&twinline, 1)[2];
    let (lsn, offset) = (hurt["lsn"].as_u64().unwrap(), hurt["offset"].as_u64().unwrap());
    flip(&segment(&twinline, 1), offset + 64 + 500);
    let verify = queue(&twinline, &["verify"]);
    assert_eq!(verify.status.code(), Some(3), "{}", text(&verify));
    let place = format!("{}:{offset}-", segment(&twinline, 1).display());
    for words in [format!("record {lsn} lost: d, {LINES} lines, received 20"), place] {
        assert!(text(&verify).contains(&words), "{words}\n{}", text(&verify));
    }
    let document = json(&twinline, &["verify"]);
    let flaw = &document["flaws"][0];
    assert_eq!((&document["sound"], document["flaws"].as_array().unwrap().len()), (&false.into(), 1), "{document:#}");
    assert_eq!((&flaw["code"], &flaw["route"], &flaw["lines"]), (&"damaged".into(), &"d".into(), &LINES.into()));
    assert_eq!((&flaw["first_lsn"], &flaw["last_lsn"]), (&lsn.into(), &lsn.into()), "{flaw:#}");
    let shown = text(&queue(&twinline, &["show", "1", "--records"]));
    assert!(shown.contains(&format!("✗ record {lsn} lost: d, {LINES} lines")), "{shown}");

    let list = json(&twinline, &["ls"]);
    let (first, last) = (&list["files"][1]["first_lsn"], &list["files"][1]["last_lsn"]);
    std::fs::rename(segment(&twinline, 2), twinline.data().join("elsewhere")).unwrap();
    flip(&segment(&twinline, 1), 100);
    flip(&segment(&twinline, 3), (1 << 20) - 8000);
    let document = json(&twinline, &["verify"]);
    let codes: Vec<&str> =
        document["flaws"].as_array().unwrap().iter().map(|flaw| flaw["code"].as_str().unwrap()).collect();
    assert_eq!(codes, ["missing", "header", "damaged", "header"], "{document:#}");
    let missing = &document["flaws"][0];
    assert_eq!((&missing["first_lsn"], &missing["last_lsn"]), (first, last), "{document:#}");
    assert_eq!(document["flaws"][1]["harmless"], true, "a twin stands for its header: {document:#}");
    assert!(text(&queue(&twinline, &["status"])).contains("DAMAGE"), "the short look says so too");
}

#[test]
fn a_running_queue_is_looked_at_through_its_socket() {
    let (_source, destination, twinline) = filled(|_| ());
    let status = json(&twinline, &["status"]);
    assert_eq!((&status["running"], &status["damaged"]), (&true.into(), &false.into()), "{status:#}");
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| (WRITES..2 * WRITES).for_each(|at| write(&twinline, at)));
        // Segments are given back and used again meanwhile: none of that is damage.
        destination.set_faults(Faults::default());
        for _ in 0..10 {
            let verify = queue(&twinline, &["verify"]);
            assert_eq!(verify.status.code(), Some(0), "{}{}", text(&verify), said(&verify));
        }
        writing.join().unwrap();
    });
    twinline.delivered(2 * WRITES * LINES);
    let status = json(&twinline, &["status"]);
    assert_eq!(status["destinations"][0]["records"], 0, "{status:#}");
}

#[test]
fn a_place_that_cannot_be_looked_at_is_told_with_the_reason() {
    let (_source, _destination, mut twinline) = filled(|_| ());
    let fails = |words: &[&str], code: i32, parts: &[&str]| {
        let output = queue(&twinline, words);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(code), "{words:?}: {said}");
        for part in parts {
            assert!(said.contains(part), "{words:?}: {part}\n{said}");
        }
        assert!(said.contains("Next: "), "{words:?}: {said}");
    };
    fails(&["show", "77"], 1, &["there is no segment 77; near it are 1, 2, 3"]);
    fails(&["show", "nonsense"], 2, &["\"nonsense\" is no segment"]);
    fails(&["ls", "--data-dir", "/nowhere/at/all"], 1, &["there is no directory /nowhere/at/all"]);
    fails(&["ls", "--data-dir", "/proc/sys"], 1, &["/proc/sys is no data directory of twinline"]);
    let (data, seg) = (twinline.data(), twinline.data().join("wal/seg"));
    let (data, seg) = (data.to_str().unwrap(), seg.to_str().unwrap());
    fails(&["ls", "--data-dir", seg], 1, &["is no data directory", &format!("--data-dir {data}")]);

    std::fs::rename(twinline.socket(), twinline.data().join("away.sock")).unwrap();
    let process = format!("is in use by process {}", twinline.process_id());
    fails(&["status"], 11, &[&process, "twinline.sock"]);
    twinline.stop(Signal::KILL);
    assert_eq!(queue(&twinline, &["status"]).status.code(), Some(0), "a lock without a holder is none");

    let foreign = twinline.data().join("wal/seg/notes.txt");
    std::fs::write(&foreign, "mine").unwrap();
    let list = text(&queue(&twinline, &["ls"]));
    assert!(list.contains("notes.txt  "), "{list}");
    assert!(list.lines().any(|line| line.contains("notes.txt") && line.contains("foreign")), "{list}");

    newer_format(&segment(&twinline, 2));
    let output = queue(&twinline, &["verify"]);
    assert_eq!(output.status.code(), Some(4), "{}{}", text(&output), said(&output));
    assert!(said(&output).contains("is of log format 9"), "{}", said(&output));
}

/// The header as a later version would write it.
fn newer_format(path: &Path) {
    let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
    let mut block = vec![0; 4096];
    file.read_exact_at(&mut block, 0).unwrap();
    block[8] = 9;
    let crc = twinline::base::crc::crc32c(&block[..4092]);
    block[4092..].copy_from_slice(&crc.to_le_bytes());
    file.write_all_at(&block, 0).unwrap();
}

#[test]
fn a_pause_holds_delivery_also_after_a_restart_and_drain_says_why_it_waits() {
    let (_source, destination, mut twinline) = filled(|_| ());
    destination.set_faults(Faults::default());
    twinline.delivered(WRITES * LINES);
    let drained = queue(&twinline, &["drain", "--wait"]);
    assert_eq!(drained.status.code(), Some(0), "{}{}", text(&drained), said(&drained));
    assert!(text(&drained).contains("✓ everything up to record "), "{}", text(&drained));

    assert!(text(&queue(&twinline, &["pause"])).contains("delivery is paused"));
    assert!(text(&queue(&twinline, &["pause"])).contains("was paused already"));
    assert!(text(&queue(&twinline, &["status"])).contains("! PAUSED   delivery "), "at once");
    let before = destination.cells("d", "").len();
    write(&twinline, WRITES);
    let held_up = |twinline: &Twinline| {
        let drained = queue(twinline, &["drain", "--wait", "--timeout", "1s"]);
        assert_eq!(drained.status.code(), Some(3), "{}{}", text(&drained), said(&drained));
        for part in ["✗ not drained after ", "delivery: paused by an operator at "] {
            assert!(text(&drained).contains(part), "{part}\n{}", text(&drained));
        }
        assert!(said(&drained).contains("resume"), "{}", said(&drained));
        assert_eq!(destination.cells("d", "").len(), before, "nothing is delivered");
    };
    held_up(&twinline);
    let status = twinline.until("the pause is shown", |status| status["paused"][0]["code"] == "operator");
    assert_eq!(status["next_steps"][0], "twinline queue resume");
    let ready = twinline.admin("/readyz");
    assert_eq!(ready.status, 200, "clients feel nothing of it");
    assert!(ready.json()["warnings"][0].as_str().unwrap().contains("paused by an operator"), "{:#}", ready.json());

    twinline.stop(Signal::KILL);
    twinline.start_again();
    held_up(&twinline);
    assert!(text(&queue(&twinline, &["status"])).contains("! PAUSED   delivery "), "a start remembers it");
    assert!(text(&queue(&twinline, &["resume"])).contains("delivery goes on"));
    assert!(text(&queue(&twinline, &["resume"])).contains("was not paused"));
    let drained = json(&twinline, &["drain", "--wait"]);
    assert_eq!(drained["drained"], true, "{drained:#}");
    twinline.delivered((WRITES + 1) * LINES);
    let events = twinline.admin("/api/v1/events?limit=1000").json();
    let kinds: Vec<&str> =
        events["events"].as_array().unwrap().iter().map(|event| event["kind"].as_str().unwrap()).collect();
    let own = ["delivery-paused", "delivery-resumed"];
    let own: Vec<&str> = kinds.into_iter().filter(|kind| own.contains(kind)).collect();
    assert_eq!(own, ["delivery-paused", "delivery-resumed"], "each once: {events:#}");

    twinline.stop(Signal::TERM);
    for words in [&["pause"][..], &["resume"], &["drain", "--wait"]] {
        let output = queue(&twinline, words);
        assert_eq!(output.status.code(), Some(10), "{words:?}: {}", said(&output));
        assert!(said(&output).contains("no twinline runs on "), "{words:?}: {}", said(&output));
    }
}

#[test]
fn status_tells_when_the_queue_would_be_full_and_what_holds_it_up() {
    let (_source, destination, twinline) = filled(|_| ());
    let mut lines = 0..;
    let mut line = || lines.next().unwrap_or_default();
    let status = eventually("a rate is known", || {
        // Little at a time: the queue is small.
        assert_eq!(twinline.call("POST /write?db=d", &[], format!("m v=1 {}\n", line())).status, 204);
        let status = json(&twinline, &["status"]);
        if status["process"]["full_in_s"].is_number() { Ok(status) } else { Err(format!("{status:#}")) }
    });
    let process = &status["process"];
    assert!(
        process["input_bytes_s"].as_f64() > Some(0.0) && process["room_bytes"].as_u64() > Some(1 << 20),
        "{status:#}"
    );
    let expected = process["room_bytes"].as_f64().unwrap() / process["input_bytes_s"].as_f64().unwrap();
    assert!((process["full_in_s"].as_f64().unwrap() / expected - 1.0).abs() < 0.01, "{status:#}");
    assert_eq!(process["empty_in_s"], Value::Null, "it does not become less: {status:#}");
    let shown = text(&queue(&twinline, &["status"]));
    for part in ["INPUT ", "FULL       in ", "CATCH UP   not while it stands still", "! PAUSED   destination "] {
        assert!(shown.contains(part), "{part}\n{shown}");
    }
    destination.set_faults(Faults::default());
    assert_eq!(queue(&twinline, &["drain", "--wait"]).status.code(), Some(0));
    twinline.quiet();
    assert!(text(&queue(&twinline, &["status"])).contains("CATCH UP   done: nothing waits"));
}

#[test]
fn a_stretch_of_the_log_becomes_a_capture_that_says_whether_it_is_whole() {
    let (_source, _destination, mut twinline) = filled(|_| ());
    twinline.stop(Signal::KILL);
    let before = snapshot(&twinline.data());
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("all.twcap");
    let name = file.to_str().unwrap();
    let export = queue(&twinline, &["export", "--out", name]);
    assert_eq!(export.status.code(), Some(0), "{}{}", text(&export), said(&export));
    assert!(text(&export).contains(&format!("{WRITES} writes, {} lines", WRITES * LINES)), "{}", text(&export));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no draft stays behind");
    assert_eq!(file.metadata().unwrap().mode() & 0o777, 0o600, "it holds clients' data");
    let shown = json(&twinline, &["show", name, "--records", "--bodies"]);
    let rows = shown["records"].as_array().unwrap();
    assert_eq!((rows.len() as u64, &shown["capture"]["whole"]), (WRITES, &true.into()));
    for (at, row) in rows.iter().enumerate() {
        assert_eq!((&row["outcome"], &row["route"]), (&"applied, 204".into(), &"d".into()), "{row:#}");
        let body = row["body"].as_str().unwrap();
        assert!(body.ends_with(&format!(" v={at} {at}\n")) && body.lines().count() as u64 == LINES, "write {at}");
    }
    assert_eq!(queue(&twinline, &["verify", name]).status.code(), Some(0));

    let again = queue(&twinline, &["export", "--out", name]);
    assert_eq!(again.status.code(), Some(4), "{}", said(&again));
    assert!(said(&again).contains("exists already") && said(&again).contains("--force"), "{}", said(&again));
    let inside = twinline.data().join("wal/seg/x.twcap");
    assert_eq!(queue(&twinline, &["export", "--out", inside.to_str().unwrap()]).status.code(), Some(4));
    assert_eq!(snapshot(&twinline.data()), before, "the log is as it was");

    let (first, last) = (rows[3]["lsn"].to_string(), rows[7]["received"].as_str().unwrap().to_owned());
    let part = json(&twinline, &["export", "--out", name, "--force", "--from", &first, "--to", &last]);
    assert_eq!(part["writes"], 5, "{part:#}");
    let nothing = queue(&twinline, &["export", "--out", name, "--force", "--from", "9", "--to", "2"]);
    assert_eq!(nothing.status.code(), Some(2), "{}", said(&nothing));

    flip(&file, file.metadata().unwrap().len() / 2);
    let verify = queue(&twinline, &["verify", name]);
    assert_eq!(verify.status.code(), Some(3), "{}", text(&verify));
    assert!(text(&verify).contains(&format!(" lost: d, {LINES} lines, ")), "{}", text(&verify));
    let length = file.metadata().unwrap().len();
    std::fs::File::options().write(true).open(&file).unwrap().set_len(length - 64).unwrap();
    assert!(text(&queue(&twinline, &["verify", name])).contains("it may have been longer"));
}

#[test]
fn a_capture_tells_records_whose_file_is_gone_and_replaces_plain_files_only() {
    let (_source, _destination, mut twinline) = filled(|_| ());
    twinline.stop(Signal::KILL);
    let dir = tempfile::tempdir().unwrap();
    let (file, link) = (dir.path().join("all.twcap"), dir.path().join("link.twcap"));
    let export =
        |to: &Path, more: &[&str]| queue(&twinline, &[&["export", "--out", to.to_str().unwrap()], more].concat());
    let gone = json(&twinline, &["show", "2"])["segment"].clone();
    let lsns = ["first_lsn", "last_lsn"].map(|name| gone[name].as_u64().unwrap());
    std::fs::remove_file(segment(&twinline, 2)).unwrap();
    let part = export(&file, &[]);
    assert_eq!(part.status.code(), Some(5), "{}{}", text(&part), said(&part));
    let lost = format!("lost to damage, and missing here: {} records", 1 + lsns[1] - lsns[0]);
    assert!(text(&part).contains(&lost), "{lost}\n{}", text(&part));
    let whole = export(&file, &["--force", "--to", &(lsns[0] - 1).to_string()]);
    assert_eq!(whole.status.code(), Some(0), "nothing is lost before: {}{}", text(&whole), said(&whole));

    assert_eq!(export(Path::new("-"), &[]).status.code(), Some(2), "stdout is no file");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    for place in [link, twinline.data().join("state.db")] {
        let before = place.symlink_metadata().unwrap().ino();
        let refused = export(&place, &["--force"]);
        assert_eq!(refused.status.code(), Some(4), "{}: {}", place.display(), said(&refused));
        assert_eq!(place.symlink_metadata().unwrap().ino(), before, "{} is what it was", place.display());
    }
}

#[test]
fn a_full_queue_is_said_to_be_full_and_a_process_that_hangs_to_run() {
    let small = "segment_size = \"1MiB\"\nmax_size = \"4MiB\"\nreserve_free = \"0\"";
    let (_source, _destination, twinline) = filled(|setup| setup.queue = small.to_owned());
    // A queue with no room for 64 KiB is full.
    let little: String = (0..LINES / 4).map(|n| format!("m,t={n:0100} v=1 {WRITES}\n")).collect();
    let shown = eventually("the queue is full", || {
        assert_eq!(twinline.call("POST /write?db=d", &[], little.clone()).status, 204);
        let shown = text(&queue(&twinline, &["status"]));
        if shown.contains("FULL     it takes no writes: it has reached queue.max_size") {
            Ok(shown)
        } else {
            Err(shown)
        }
    });
    assert!(!shown.contains("not while so little comes"), "{shown}");

    twinline.signal(Signal::STOP);
    let hangs = queue(&twinline, &["status"]);
    twinline.signal(Signal::CONT);
    assert_eq!(hangs.status.code(), Some(10), "{}", said(&hangs));
    assert!(
        said(&hangs).contains("runs and does not answer") && !said(&hangs).contains("twinline run\n"),
        "{}",
        said(&hangs)
    );
}

/// What an operator tells a running twinline, without the time that a process of the command line takes.
fn tell(twinline: &Twinline, word: &str) {
    let mut socket = std::os::unix::net::UnixStream::connect(twinline.socket()).unwrap();
    write!(socket, "POST /api/v1/queue/{word} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("\"changed\":true"), "{answer}");
}

/// Lanes that have seen it go on also where nobody else has.
#[test]
fn a_pause_that_ends_at_once_holds_nothing_up() {
    let (_source, destination, twinline) = filled(|_| ());
    destination.set_faults(Faults::default());
    twinline.delivered(WRITES * LINES);
    for at in WRITES..2 * WRITES {
        tell(&twinline, "pause");
        write(&twinline, at);
        tell(&twinline, "resume");
        twinline.delivered((at + 1) * LINES);
    }
}
