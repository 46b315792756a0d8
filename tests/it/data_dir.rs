//! A data directory that is not as it was left: somebody copied, moved, linked or lost files of it.
//!
//! Each time the start is refused with what happened, to what, and what to do next; or the program runs, delivers what is there, and
//! what is missing is a gap. Nothing is deleted either way.

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::process::Signal;
use twinline::sandbox::{Faults, Options, Sandbox};

use crate::proxy::{Place, Setup};

/// A write, 330 bytes a line.
const LINES: u64 = 300;
const WRITES: u64 = 40;

fn sandboxes() -> (Sandbox, Sandbox, Setup) {
    let [source, destination] = [(), ()].map(|()| Sandbox::spawn_thread(Options::default()).unwrap());
    for sandbox in [&source, &destination] {
        sandbox.create_database("d");
    }
    let url = |sandbox: &Sandbox| format!("url = \"{}\"\nkind = \"influxdb1\"", sandbox.url());
    let mut setup = Setup::new(url(&source), url(&destination));
    setup.queue = "segment_size = \"1MiB\"\nmax_size = \"64MiB\"\nreserve_free = \"0\"".to_owned();
    (source, destination, setup)
}

/// What a process leaves that ended in order, with everything still to be delivered: five segments and more.
fn left() -> &'static Path {
    static LEFT: OnceLock<tempfile::TempDir> = OnceLock::new();
    LEFT.get_or_init(|| {
        let (_source, destination, setup) = sandboxes();
        destination.set_faults(Faults { refuse: true, ..Faults::default() });
        let mut twinline = setup.start();
        for write in 0..WRITES {
            let body: String = (0..LINES).map(|n| format!("m,t={n:0300} v=1 {}\n", 1 + write * LINES + n)).collect();
            assert_eq!(twinline.call("POST /write?db=d", &[], body).status, 204);
        }
        twinline.stop(Signal::TERM);
        let kept = tempfile::tempdir().unwrap();
        copy(&twinline.data(), kept.path());
        kept
    })
    .path()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type().unwrap().is_dir() {
            copy(&path, &to);
        } else if path.extension().is_none_or(|ending| ending != "sock") {
            std::fs::copy(&path, &to).unwrap();
        }
    }
}

/// The segments, oldest first.
fn segments(data: &Path) -> Vec<PathBuf> {
    let seg = std::fs::read_dir(data.join("wal/seg")).unwrap();
    let mut paths: Vec<PathBuf> =
        seg.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|e| e == "wal")).collect();
    paths.sort();
    paths
}

/// Everything below the log's directory, by name.
fn tree(dir: &Path, into: &mut BTreeMap<PathBuf, Vec<u8>>) {
    // A running process may take a file away meanwhile.
    for entry in std::fs::read_dir(dir).into_iter().flatten().map(Result::unwrap) {
        let Ok(kind) = entry.file_type() else { continue };
        match kind {
            kind if kind.is_dir() => tree(&entry.path(), into),
            kind if kind.is_file() => _ = into.insert(entry.path(), std::fs::read(entry.path()).unwrap_or_default()),
            _ => _ = into.insert(entry.path(), Vec::new()),
        }
    }
}

fn place(change: impl FnOnce(&Path)) -> (Sandbox, Sandbox, Place) {
    let (source, destination, setup) = sandboxes();
    let place = setup.place();
    copy(left(), &place.data());
    change(&place.data());
    (source, destination, place)
}

/// What `twinline queue verify` says, and its exit code.
fn verified(place: &Place) -> (Option<i32>, String) {
    let output = place.command(&["queue", "verify"]);
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

/// The start is refused, says all of `words`, and leaves the log as it was. So does who verifies the log before.
fn refused(what: &str, exit: i32, words: &[&str], change: impl FnOnce(&Path)) {
    let (_source, _destination, place) = place(change);
    let (mut before, mut after) = (BTreeMap::new(), BTreeMap::new());
    tree(&place.data().join("wal"), &mut before);
    if !["wal", "wal/seg"].contains(&what) {
        let (code, said) = verified(&place);
        assert!(code != Some(0), "{what}: content with {said}");
        for word in words.iter().map(|word| word.strip_prefix("Next: ").unwrap_or(word)) {
            assert!(said.contains(word), "{what}: no {word:?} of verify in {said}");
        }
    }
    let (code, said) = place.start_that_fails();
    println!("{what}: {code:?} {said}\n");
    assert_eq!(code, Some(exit), "{what}: {said}");
    for word in words {
        assert!(said.contains(word), "{what}: no {word:?} in {said}");
    }
    tree(&place.data().join("wal"), &mut after);
    if what == "gaps.log" {
        // The log was opened before: a prepared file has become its next segment.
        before.retain(|path, _| {
            !path.ends_with("cursors/main.cur") && path.extension().is_some_and(|ending| ending != "next")
        });
        after.retain(|path, _| before.contains_key(path));
    }
    assert!(before == after, "{what}: {:?} became {:?}", before.keys(), after.keys());
}

fn segment(data: &Path, number: usize) -> PathBuf {
    segments(data)[number].clone()
}

/// Changes one of a file's blocks of 4,096 bytes that end in a checksum.
fn change_block(path: &Path, at: usize, change: impl FnOnce(&mut [u8])) {
    let mut bytes = std::fs::read(path).unwrap();
    let block = &mut bytes[at..at + 4096];
    change(block);
    let crc = twinline::base::crc::crc32c(&block[..4092]);
    block[4092..].copy_from_slice(&crc.to_le_bytes());
    std::fs::write(path, bytes).unwrap();
}

/// What lies at `path` goes elsewhere in `data_dir`; says where it is.
fn move_away(data: &Path, path: &Path) -> PathBuf {
    let to = data.join("elsewhere");
    std::fs::rename(path, &to).unwrap();
    to
}

fn remove_state(data: &Path) {
    for name in ["state.db", "state.db-wal", "state.db-shm"] {
        let _ = std::fs::remove_file(data.join(name));
    }
}

#[test]
fn what_stands_in_the_place_of_a_file_and_is_none_is_not_followed() {
    for number in [2, 3] {
        refused("a segment is a link", 1, &["it is a symbolic link, not a file", "Next: move it elsewhere"], |data| {
            let path = segment(data, number);
            symlink(move_away(data, &path), path).unwrap();
        });
    }
    refused("a segment is a directory", 1, &["it is a directory, not a file", "Next: move it elsewhere"], |data| {
        let path = segment(data, 2);
        move_away(data, &path);
        std::fs::create_dir(path).unwrap();
    });
    refused("a prepared file is a link", 1, &["it is a symbolic link, not a file", "Next: "], |data| {
        let to = data.join("elsewhere");
        std::fs::write(&to, vec![7; 3 << 20]).unwrap();
        symlink(&to, data.join("wal/seg/00000000000000009999.wal.next")).unwrap();
    });
    for name in ["cursors/main.cur", "gaps.log"] {
        refused(name, 1, &["it is a symbolic link, not a file", "Next: move it elsewhere"], |data| {
            let path = data.join("wal").join(name);
            symlink(move_away(data, &path), path).unwrap();
        });
        refused(name, 1, &["it is a directory, not a file", "Next: move it elsewhere"], |data| {
            let path = data.join("wal").join(name);
            move_away(data, &path);
            std::fs::create_dir(path).unwrap();
        });
    }
    refused("a pipe", 1, &["it is a pipe or device, not a file", "Next: move it elsewhere"], |data| {
        let path = segment(data, 2);
        move_away(data, &path);
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
    });
    for name in ["wal", "wal/seg", "wal/cursors"] {
        refused(name, 1, &["Not a directory", "Next: move it elsewhere"], |data| {
            let path = data.join(name);
            move_away(data, &path);
            std::fs::write(path, "").unwrap();
        });
    }
    let lock = |data: &Path| {
        let path = data.join("wal/LOCK");
        std::fs::remove_file(&path).unwrap();
        path
    };
    let words = ["cannot lock", "it is a directory, not a file", "Next: move it elsewhere"];
    refused("the lock is a directory", 1, &words, |data| std::fs::create_dir(lock(data)).unwrap());
    let words = ["cannot lock", "it is a symbolic link, not a file", "Next: move it elsewhere"];
    for to in ["state.db", "nowhere"] {
        refused("the lock is a link", 1, &words, |data| symlink(data.join(to), lock(data)).unwrap());
    }
}

#[test]
fn a_segment_or_cursor_under_another_name_is_not_guessed_at() {
    let words = ["holds segment 3 of the log", "Next: name it 00000000000000000003.wal again"];
    for other in ["00000000000000000999.wal", "00000000000000000000.wal"] {
        refused("copied", 4, &words, |data| {
            _ = std::fs::copy(segment(data, 2), data.join("wal/seg").join(other)).unwrap();
        });
        refused("renamed", 4, &words, |data| {
            std::fs::rename(segment(data, 2), data.join("wal/seg").join(other)).unwrap();
        });
    }
    refused("a segment in the place of another", 4, &words, |data| {
        _ = std::fs::copy(segment(data, 2), segment(data, 1)).unwrap();
    });
    let words = ["main.cur is the cursor of another twinline's log", "Next: put back the one that belongs here"];
    refused("another twinline's cursor", 4, &words, |data| {
        let path = data.join("wal/cursors/main.cur");
        let bytes = std::fs::read(&path).unwrap();
        for at in [0, 4096].into_iter().filter(|at| bytes[*at] != 0) {
            assert_ne!(bytes[at + 104..at + 120], [0; 16], "it says whose it is");
            change_block(&path, at, |slot| slot[104] ^= 1);
        }
    });
    let words = ["other.cur is the cursor of destination \"main\", not of \"other\"", "Next: name it main.cur again"];
    refused("a cursor's name", 4, &words, |data| {
        let dir = data.join("wal/cursors");
        std::fs::rename(dir.join("main.cur"), dir.join("other.cur")).unwrap();
    });
}

#[test]
fn a_newer_version_is_named_and_nothing_is_changed() {
    const NEXT: &str = "Next: run the version that wrote this data directory";
    refused("a segment", 4, &["is of log format 2", NEXT], |data| {
        change_block(&segment(data, 2), 0, |header| header[8] = 2);
    });
    refused("a feature of a segment", 4, &["(features 0x8000)", NEXT], |data| {
        change_block(&segment(data, 3), 0, |header| header[85] = 0x80);
    });
    refused("the twin of a damaged header", 4, &["is of log format 2", NEXT], |data| {
        let path = segment(data, 2);
        let twin = std::fs::metadata(&path).unwrap().len() as usize - 8192;
        change_block(&path, twin, |header| header[8] = 2);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[20] ^= 1;
        std::fs::write(&path, bytes).unwrap();
    });
    refused("a cursor", 4, &["is a cursor of version 2", NEXT], |data| {
        let path = data.join("wal/cursors/main.cur");
        let bytes = std::fs::read(&path).unwrap();
        let at = if bytes[4096..].starts_with(&bytes[..8]) && bytes[0] != 0 { 4096 } else { 0 };
        change_block(&path, if bytes[at] == 0 { 4096 - at } else { at }, |slot| slot[8] = 2);
    });
    refused("the state store", 4, &["state store has schema version 99", "Next: start the newer twinline"], |data| {
        let state = rusqlite::Connection::open(data.join("state.db")).unwrap();
        state.execute_batch("PRAGMA user_version = 99").unwrap();
    });
}

#[test]
fn a_state_store_that_cannot_be_read_is_not_replaced() {
    refused("a directory", 1, &["state.db: Is a directory", "Next: move it elsewhere"], |data| {
        remove_state(data);
        std::fs::create_dir(data.join("state.db")).unwrap();
    });
    let words = ["file is not a database", "Next: put back the state.db that belongs to this log"];
    refused("some text", 1, &words, |data| {
        remove_state(data);
        std::fs::write(data.join("state.db"), "some text ".repeat(2000)).unwrap();
    });
    let words = ["state store", "Next: put back the state.db that belongs to this log"];
    for bytes in [5000, 20_000] {
        refused("it was cut", 1, &words, |data| {
            // All that is in the journal is in the file then, as after a while without a write.
            let state = rusqlite::Connection::open(data.join("state.db")).unwrap();
            state.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
            drop(state);
            std::fs::OpenOptions::new().write(true).open(data.join("state.db")).unwrap().set_len(bytes).unwrap();
        });
    }
    let words = ["holds a log, and state.db beside it is new"];
    refused("it is empty", 4, &words, |data| {
        remove_state(data);
        std::fs::write(data.join("state.db"), "").unwrap();
    });
}

#[test]
fn a_log_of_another_installation_is_refused_and_one_whose_state_is_lost_is_taken_over_on_demand() {
    let words = ["was written by another twinline", "Next: put this log back beside the state.db"];
    refused("the state of another", 4, &words, |data| {
        let state = rusqlite::Connection::open(data.join("state.db")).unwrap();
        let set = "UPDATE value SET value = zeroblob(16) WHERE name = 'node'";
        assert_eq!(state.execute(set, []).unwrap(), 1);
    });
    let (_source, destination, mut place) = place(remove_state);
    for _ in 0..2 {
        let (code, said) = place.start_that_fails();
        assert!(code == Some(4) && said.contains("holds a log, and state.db beside it is new"), "{code:?}: {said}");
        assert!(said.contains("twinline run --adopt-log"), "{said}");
    }
    place.options = &["--adopt-log"];
    let mut twinline = place.start();
    twinline.delivered(WRITES * LINES);
    assert_eq!(destination.cells("d", "").len() as u64, WRITES * LINES);
    // From then on it is the log of this state store.
    twinline.stop(Signal::TERM);
    twinline.start_again();
    twinline.delivered(WRITES * LINES);
}

#[test]
fn a_second_process_touches_nothing_and_says_what_to_do() {
    let (_source, _destination, place) = place(|_| ());
    let twinline = place.start();
    let state = twinline.data().join("state.db");
    // What only the one with the lock may do: to bring the state store to its own version.
    rusqlite::Connection::open(&state).unwrap().execute_batch("PRAGMA user_version = 0").unwrap();
    let second = twinline.command(&["run"]);
    let said = String::from_utf8(second.stderr).unwrap();
    assert_eq!(second.status.code(), Some(11), "{said}");
    assert!(said.contains("is in use by another process") && said.contains("Next: stop the other process"), "{said}");
    let version: i64 =
        rusqlite::Connection::open(&state).unwrap().query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
    assert_eq!(version, 0, "the second process has changed the state store");
}

/// It is in no start's way.
#[test]
fn a_damaged_seal_is_named_by_who_verifies_the_log() {
    let sound = verified(&place(|_| ()).2);
    assert_eq!(sound.0, Some(0), "{}", sound.1);
    for (number, byte) in [(1, 0), (1, 1), (3, 1)] {
        let (_source, _destination, place) = place(|data| {
            let path = segment(data, number);
            let mut bytes = std::fs::read(&path).unwrap();
            let end = bytes.len();
            match byte {
                0 => bytes[end - 64..].fill(0),
                _ => bytes[end - 30] ^= 1,
            }
            std::fs::write(&path, bytes).unwrap();
        });
        let (code, said) = verified(&place);
        assert_eq!(code, Some(3), "{said}");
        let name = segment(&place.data(), number);
        for words in ["the seal is damaged", name.to_str().unwrap(), "costs nothing by itself", ": 1 flaw\n"] {
            assert!(said.contains(words), "{words}: {said}");
        }
    }
}

/// Files that nobody may read, directories that nobody may write to, a file system for reading only.
#[test]
fn missing_rights_are_told_with_what_to_do() {
    use std::os::unix::fs::PermissionsExt;
    const NEXT: &str = "Next: let the user of twinline own it";
    let rights = |path: &Path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    for (name, mode) in [
        ("wal/seg/SEGMENT", 0),
        ("wal/cursors/main.cur", 0),
        ("wal/gaps.log", 0o400),
        ("wal/LOCK", 0),
        ("wal/seg", 0o300),
        ("wal/seg", 0o500),
    ] {
        let (_source, _destination, place) = place(|_| ());
        place.without_rights();
        let path = if name.ends_with("SEGMENT") { segment(&place.data(), 1) } else { place.data().join(name) };
        rights(&path, mode);
        let (code, said) = place.start_that_fails();
        rights(&path, 0o700);
        println!("{name}: {code:?} {said}\n");
        assert!(code == Some(1) && said.contains("ermission denied") && said.contains(NEXT), "{name}: {code:?} {said}");
    }
}

/// The program runs; so many lines are delivered, and so many gaps of unknown size stand for the rest.
fn runs(what: &str, delivered: u64, gaps_unknown: u64, change: impl FnOnce(&Path)) {
    let (_source, destination, place) = place(change);
    let (mut before, mut after) = (BTreeMap::new(), BTreeMap::new());
    tree(&place.data().join("wal"), &mut before);
    let twinline = place.start();
    let status = twinline.settled(delivered);
    assert_eq!(status["lines"]["delivered"], delivered, "{what}: {status:#}");
    assert_eq!(status["gaps_unknown"], gaps_unknown, "{what}: {status:#}");
    assert_eq!(destination.cells("d", "").len() as u64, delivered, "{what}");
    assert_eq!(twinline.call("POST /write?db=d", &[], "m v=1 1000000").status, 204);
    twinline.delivered(delivered + 1);
    tree(&twinline.data().join("wal"), &mut after);
    let lost = |path: &&PathBuf| {
        let is_log = path.to_str().is_some_and(|path| path.ends_with(".wal") || path.ends_with(".next"));
        let foreign = !is_log && !path.ends_with("main.cur") && !path.ends_with("gaps.log");
        foreign && before.get(*path) != after.get(*path)
    };
    assert_eq!(before.keys().filter(lost).count(), 0, "{what}: foreign files are left alone");
}

#[test]
fn what_is_missing_of_the_log_is_a_gap_and_the_rest_is_delivered() {
    let all = WRITES * LINES;
    runs("nothing", all, 0, |_| ());
    runs("foreign files", all, 0, |data| {
        for name in
            ["seg/notes.txt", "seg/3.wal", "seg/0003.wal", "cursors/notes.txt", "cursors/.cur", "x", "quarantine/x"]
        {
            std::fs::write(data.join("wal").join(name), name).unwrap();
        }
        std::fs::create_dir(data.join("wal/seg/more.wal")).unwrap();
    });
    runs("no cursor", all, 0, |data| std::fs::remove_file(data.join("wal/cursors/main.cur")).unwrap());
    // Ten writes a segment.
    let without = |segments: u64| all - segments * 10 * LINES;
    runs("a segment is gone", without(1), 1, |data| std::fs::remove_file(segment(data, 2)).unwrap());
    runs("a segment is empty", without(1), 1, |data| std::fs::write(segment(data, 2), "").unwrap());
    runs("the last segment is gone", without(1), 1, |data| std::fs::remove_file(segment(data, 3)).unwrap());
    runs("the last segment is empty", without(1), 1, |data| std::fs::write(segment(data, 3), "").unwrap());
    runs("the first segment is gone", without(1), 1, |data| std::fs::remove_file(segment(data, 0)).unwrap());
    // Each loss is one row, whoever meets it.
    runs("all segments are gone", 0, 1, |data| {
        segments(data).iter().for_each(|path| std::fs::remove_file(path).unwrap())
    });
    runs("all segments are empty", 0, 1, |data| {
        segments(data).iter().for_each(|path| std::fs::write(path, "").unwrap())
    });
    runs("the log is gone", 0, 1, |data| std::fs::remove_dir_all(data.join("wal")).unwrap());
}

#[test]
fn a_cursor_that_says_nothing_or_too_much_is_told() {
    for (what, words, change) in [
        ("empty", "holds no sound cursor", (|path| std::fs::write(path, "").unwrap()) as fn(&Path)),
        ("beyond the end", "lay beyond the end of the log", |path| {
            let bytes = std::fs::read(path).unwrap();
            for at in [0, 4096].into_iter().filter(|at| bytes[*at] != 0) {
                change_block(path, at, |slot| {
                    (0..4).for_each(|lane| slot[128 + lane * 8..][..8].copy_from_slice(&5000u64.to_le_bytes()));
                });
            }
        }),
    ] {
        let (_source, _destination, place) = place(|data| change(&data.join("wal/cursors/main.cur")));
        let twinline = place.start();
        twinline.quiet();
        let events = twinline.admin("/api/v1/events?limit=1000").text();
        assert!(events.contains(words), "{what}: {events}");
    }
}
