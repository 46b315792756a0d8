//! The demonstration as a script runs it: exit code, the report's figures, and nothing left behind.

use std::path::Path;
use std::process::{Command, Output, Stdio};

fn demo(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_twinline"));
    for name in ["TWINLINE_CONFIG", "TWINLINE_OUTPUT", "TWINLINE_COLOR"] {
        command.env_remove(name);
    }
    command.env("TMPDIR", directory).arg("demo").args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn said(output: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Processes with this directory in their command line.
fn processes(directory: &Path) -> Vec<String> {
    let wanted = directory.to_string_lossy().into_owned();
    let lines = std::fs::read_dir("/proc").expect("Linux").filter_map(|entry| {
        let line = std::fs::read(entry.ok()?.path().join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&line).replace('\0', " "))
    });
    lines.filter(|line| line.contains(&wanted)).collect()
}

fn leftovers(directory: &Path) -> Vec<std::ffi::OsString> {
    std::fs::read_dir(directory).expect("it exists").flatten().map(|entry| entry.file_name()).collect()
}

#[test]
fn an_outage_and_a_crash_lose_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let output = demo(directory.path(), &["--seconds", "6", "-o", "json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["schema"], "twinline.demo/1");
    for claim in ["equal", "accounted", "drained"] {
        assert_eq!(report[claim], true, "{claim}: {report:#}");
    }
    let count = |place: &str, name: &str| report[place][name].as_u64().unwrap_or_else(|| panic!("{place}.{name}"));
    let comparisons = report["comparisons"].as_array().unwrap();
    assert_eq!(comparisons.len(), 3);
    let before = count("history", "before");
    for comparison in comparisons {
        assert_eq!(comparison["different"], 0, "{report:#}");
        assert!(comparison["equal"].as_u64() > Some(4 * before), "history is compared, too: {report:#}");
    }
    history_is_copied_once(&report, before);
    let (written, acknowledged) = (count("clients", "written"), count("clients", "acknowledged"));
    assert_eq!(written, acknowledged);
    assert!(count("clients", "overwrites") > 0 && count("clients", "untimed") > 0, "{report:#}");
    assert!(count("clients", "unanswered_requests") > 0, "it was killed under load: {report:#}");
    assert_eq!(count("lines", "queued"), 0);
    for trouble in ["dead_lettered", "gap", "excluded"] {
        assert_eq!(count("lines", trouble), 0, "{report:#}");
    }
    let states = ["delivered", "queued", "doubt", "dead_lettered", "gap", "excluded", "read_back"];
    assert_eq!(states.iter().map(|state| count("lines", state)).sum::<u64>(), count("lines", "accepted"));
    assert!(count("lines", "accepted") >= acknowledged);
    assert!(report["queued_most"].as_u64() > Some(0), "the destination was away: {report:#}");
    let told: Vec<&str> = report["story"].as_array().unwrap().iter().filter_map(|e| e["what"].as_str()).collect();
    assert_eq!(told.len(), 9, "{told:?}");
    let talk = String::from_utf8_lossy(&output.stderr).to_uppercase();
    assert!(told.iter().all(|what| talk.contains(&what.to_uppercase())), "the story is told: {talk}");
    assert_eq!(leftovers(directory.path()), Vec::<std::ffi::OsString>::new());
    assert_eq!(processes(directory.path()), Vec::<String>::new());
}

/// Of history all came over, although clients changed it and the kill met the copy.
fn history_is_copied_once(report: &serde_json::Value, before: u64) {
    let count = |name: &str| report["history"][name].as_u64().unwrap_or_else(|| panic!("history.{name}: {report:#}"));
    assert!(before >= 30_000, "{report:#}");
    for some in ["overwritten", "late", "deleted", "waited_most", "chunks_repeated"] {
        assert!(count(some) > 0, "{some}: {report:#}");
    }
    assert_eq!(count("changed"), ["overwritten", "late", "deleted"].map(count).iter().sum::<u64>());
    // What was deleted before its turn came is not copied; what came late or was written since then is.
    assert!(count("copied_points") + count("deleted") >= before, "{report:#}");
    assert!(count("chunks") > 52, "each week by itself: {report:#}");
}

#[test]
fn ctrl_c_ends_everything() {
    use std::io::{BufRead, BufReader};
    let directory = tempfile::tempdir().unwrap();
    let mut running = demo(directory.path(), &["--seconds", "3600"]).spawn().unwrap();
    let mut talk = BufReader::new(running.stderr.take().unwrap()).lines().map_while(Result::ok);
    // From then on Twinline runs.
    assert!(talk.any(|line| line.contains("NORMAL OPERATION")));
    assert_eq!(processes(directory.path()).len(), 1, "Twinline is a process of its own");
    let pid = rustix::process::Pid::from_child(&running);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(running.wait().unwrap().code(), Some(130));
    assert_eq!(processes(directory.path()), Vec::<String>::new());
    assert_eq!(leftovers(directory.path()), Vec::<std::ffi::OsString>::new());
}

#[test]
fn a_failure_shows_the_log_and_keeps_it() {
    use std::io::{BufRead, BufReader};
    let directory = tempfile::tempdir().unwrap();
    let mut running = demo(directory.path(), &["--seconds", "3600"]).spawn().unwrap();
    let mut talk = BufReader::new(running.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(talk.any(|line| line.contains("NORMAL OPERATION")));
    let child = std::fs::read_dir("/proc").unwrap().find_map(|entry| {
        let entry = entry.ok()?;
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        let ours = String::from_utf8_lossy(&line).contains(directory.path().to_str()?);
        if ours { entry.file_name().to_str()?.parse().ok() } else { None }
    });
    let child = rustix::process::Pid::from_raw(child.unwrap()).unwrap();
    rustix::process::kill_process(child, rustix::process::Signal::KILL).unwrap();
    let rest: Vec<String> = talk.collect();
    assert_eq!(running.wait().unwrap().code(), Some(1), "{rest:?}");
    assert!(rest.iter().any(|line| line.contains("clients may connect")), "the end of the log: {rest:?}");
    assert!(rest.iter().any(|line| line.contains("Twinline ended by itself")), "{rest:?}");
    assert_eq!(leftovers(directory.path()).len(), 1, "what went wrong can be looked at");
}
