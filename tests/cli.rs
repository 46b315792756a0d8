//! The offline commands as a user and a script see them: stdout, stderr, exit codes.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests wait on real time and end at a surprise")]

#[path = "cli/lint.rs"]
mod lint;

use std::path::Path;
use std::process::{Command, Output};

fn twinline(dir: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_twinline"));
    for name in ["TWINLINE_CONFIG", "TWINLINE_OUTPUT", "TWINLINE_COLOR"] {
        command.env_remove(name);
    }
    command.current_dir(dir).args(arguments).output().expect("the program was built for this test")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_new_configuration_is_written_once_and_is_valid() {
    let dir = tempfile::tempdir().unwrap();
    let first = twinline(dir.path(), &["init"]);
    assert_eq!(first.status.code(), Some(0), "{}", stderr(&first));
    assert!(stderr(&first).contains("Next: "), "{}", stderr(&first));
    let again = twinline(dir.path(), &["init"]);
    assert_eq!(again.status.code(), Some(4), "an existing file is not overwritten");
    let valid = twinline(dir.path(), &["validate", "--deny-warnings"]);
    assert_eq!(valid.status.code(), Some(0), "{}", stdout(&valid));
    assert_eq!(stderr(&valid).trim(), "Next: twinline check");
    let printed = twinline(dir.path(), &["init", "--stdout", "-q"]);
    assert_eq!(stdout(&printed), std::fs::read_to_string(dir.path().join("twinline.toml")).unwrap());
    assert_eq!(stderr(&printed), "");
}

#[test]
fn a_wrong_configuration_is_pointed_at_and_has_its_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    let text = "listen = \"127.0.0.1:8086\"\n[source]\nurl = \"http://old:8086\"\n[destination]\nurl = \"http://new:8086\"\n[queue]\nmax_sice = \"1GiB\"\n";
    std::fs::write(dir.path().join("bad.toml"), text).unwrap();
    let said = twinline(dir.path(), &["validate", "-c", "bad.toml"]);
    assert_eq!(said.status.code(), Some(78));
    assert!(stdout(&said).contains("bad.toml:7:1: queue.max_sice: unknown key"), "{}", stdout(&said));
    assert!(stdout(&said).contains("max_size"), "{}", stdout(&said));
    let json = twinline(dir.path(), &["validate", "-c", "bad.toml", "-o", "json"]);
    let document: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(document["schema"], "twinline.validate/1");
    assert_eq!((&document["errors"][0]["line"], &document["errors"][0]["column"]), (&7.into(), &1.into()));
    assert!(document["next_steps"][0].is_string());
    assert_eq!(stderr(&json), "", "the next step stands in the document");
}

/// Every kind of fault, in one look, each with its place, a mark below it, and what to write instead.
#[test]
fn all_faults_are_told_at_once_and_marked() {
    let dir = tempfile::tempdir().unwrap();
    let text = "listen = \"127.0.0.1:8087\"\n\
                [source]\nurl = \"http://a:8086\"\nusername = \"u\"\npassword = { env = \"TWINLINE_TEST_UNSET\" }\n\
                [destination]\nurl = \"http://b:8086\"\ntoken = { file = \"not/there\" }\ntokn = \"hunter2\"\n\
                [queue]\nmax_size = true\non_unavailable = \"fail_open\"\n\
                [destination.delivery]\nlanes = 1000\nbatch_wait = 20\n";
    std::fs::write(dir.path().join("twinline.toml"), text).unwrap();
    let said = twinline(dir.path(), &["validate"]);
    let text = stdout(&said);
    assert_eq!(said.status.code(), Some(78), "{text}");
    for (fault, marked) in [
        (
            "twinline.toml:5:12: source.password: the environment variable TWINLINE_TEST_UNSET is not set",
            "    5 | password = { env = \"…\" }\n      |            ^",
        ),
        (
            "twinline.toml:8:9: destination.token: cannot read the secret file not/there",
            "    8 | token = { file = \"…\" }\n      |         ^",
        ),
        ("twinline.toml:9:1: destination.tokn: unknown key; did you mean token?", "    9 | tokn = \"…\"\n      | ^"),
        (
            "twinline.toml:11:12: queue.max_size: is true or false, not a size",
            "   11 | max_size = true\n      |            ^",
        ),
        (
            "twinline.toml:12:18: queue.on_unavailable: \"fail_open\" is not known; did you mean \"fail-open\"?",
            "\n      |                  ^",
        ),
        (
            "twinline.toml:14:9: destination.delivery.lanes: 1000 is not within 1 to 64",
            "   14 | lanes = 1000\n      |         ^",
        ),
        (
            "twinline.toml:15:14: destination.delivery.batch_wait: is a whole number, not a string",
            "write: batch_wait = ",
        ),
    ] {
        let found = text.split("✗ ").find(|part| part.starts_with(fault));
        let found = found.unwrap_or_else(|| panic!("{fault}\nis not in\n{text}"));
        assert!(found.contains(marked), "{marked}\nis not in\n{found}");
    }
    assert!(text.ends_with("7 errors, 0 warnings\n"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
}

/// Two sandboxes and a configuration between them; the listener is given.
fn between_sandboxes(dir: &Path, listen: &str) -> [twinline::sandbox::Sandbox; 2] {
    let sandboxes =
        [(), ()].map(|()| twinline::sandbox::Sandbox::spawn_thread(twinline::sandbox::Options::default()).unwrap());
    let text = format!(
        "listen = \"{listen}\"\ndata_dir = {:?}\n[source]\nurl = \"{}\"\n[destination]\nurl = \"{}\"\n\
         [queue]\nmax_size = \"64MiB\"\nsegment_size = \"8MiB\"\nreserve_free = 0\n",
        dir.join("data"),
        sandboxes[0].url(),
        sandboxes[1].url(),
    );
    std::fs::write(dir.join("twinline.toml"), text).unwrap();
    sandboxes
}

#[test]
fn a_taken_port_is_named_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let _sandboxes = between_sandboxes(dir.path(), &address);
    let said = twinline(dir.path(), &["run"]);
    let text = stderr(&said);
    assert_eq!(said.status.code(), Some(78), "{text}");
    assert!(text.contains(&format!("twinline: cannot listen on {address}")), "{text}");
    assert!(text.contains("Next: another program listens there: stop it, or change `listen`"), "{text}");
    assert!(!text.contains("started"), "a start that is refused is none: {text}");
}

#[test]
fn a_data_directory_in_use_is_named_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let _sandboxes = between_sandboxes(dir.path(), "127.0.0.1:0");
    let program = env!("CARGO_BIN_EXE_twinline");
    let mut first =
        Command::new(program).current_dir(dir.path()).arg("run").stderr(std::process::Stdio::null()).spawn().unwrap();
    let socket = dir.path().join("data/twinline.sock");
    for _ in 0..600 {
        if std::os::unix::net::UnixStream::connect(&socket).is_ok() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let said = twinline(dir.path(), &["run"]);
    let alike = twinline(dir.path(), &["check", "--only", "disk", "--only", "capacity"]);
    let _ = first.kill();
    let _ = first.wait();
    let text = stderr(&said);
    assert_eq!(said.status.code(), Some(11), "{text}");
    assert!(text.contains("data") && text.contains("Next: "), "{text}");
    assert_eq!(alike.status.code(), Some(0), "a check may run beside it: {}", stdout(&alike));
}

#[test]
fn monitoring_and_build_servers_have_their_forms() {
    let dir = tempfile::tempdir().unwrap();
    let sandboxes = between_sandboxes(dir.path(), "127.0.0.1:1");
    sandboxes[0].create_database("telegraf");
    let said = twinline(dir.path(), &["check", "-o", "nagios"]);
    let line = stdout(&said);
    assert_eq!((said.status.code(), line.lines().count()), (Some(2), 1), "{line}");
    assert!(line.starts_with("CRITICAL - 1 failed, ") && line.contains("TWL-2311"), "{line}");
    assert!(line.contains(" | failed=1 warnings="), "{line}");
    let junit = twinline(dir.path(), &["check", "-o", "junit"]);
    let text = stdout(&junit);
    assert_eq!(junit.status.code(), Some(3), "{text}");
    assert!(text.starts_with("<?xml version=\"1.0\"") && text.contains("failures=\"1\""), "{text}");
    assert!(text.contains("CREATE DATABASE &quot;telegraf&quot;</failure>"), "{text}");
    sandboxes[1].create_database("telegraf");
    let said = twinline(dir.path(), &["check", "-o", "nagios"]);
    assert!(
        stdout(&said).starts_with("OK - 0 failed, 0 warnings, ") && said.status.code() == Some(0),
        "{}",
        stdout(&said)
    );
    let unknown = twinline(dir.path(), &["check", "-o", "nagios", "-c", "none.toml"]);
    assert_eq!(unknown.status.code(), Some(3));
    assert!(stdout(&unknown).starts_with("UNKNOWN - "), "{}", stdout(&unknown));
    assert_eq!(twinline(dir.path(), &["validate", "-o", "nagios"]).status.code(), Some(2));
}

#[test]
fn a_secret_in_the_file_is_warned_of_and_never_printed() {
    let dir = tempfile::tempdir().unwrap();
    let text = "listen = \"127.0.0.1:8086\"\n[source]\nurl = \"http://old:8086\"\n[destination]\nurl = \"http://new:8086\"\ntoken = \"hunter2\"\n";
    std::fs::write(dir.path().join("twinline.toml"), text).unwrap();
    for form in ["text", "json"] {
        let said = twinline(dir.path(), &["validate", "-o", form, "-vv"]);
        assert_eq!(said.status.code(), Some(0));
        assert!(stdout(&said).contains("destination.token"), "{}", stdout(&said));
        assert!(!format!("{}{}", stdout(&said), stderr(&said)).contains("hunter2"));
    }
    assert_eq!(twinline(dir.path(), &["validate", "--deny-warnings"]).status.code(), Some(78));
}

#[test]
fn a_file_that_is_not_there_leads_to_init() {
    let dir = tempfile::tempdir().unwrap();
    let said = twinline(dir.path(), &["validate", "-c", "none.toml"]);
    assert_eq!(said.status.code(), Some(78));
    assert!(stderr(&said).contains("Next: twinline init -c none.toml"), "{}", stderr(&said));
}

#[test]
fn failures_are_one_json_line_for_programs() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("twinline.toml"), "").unwrap();
    let said = twinline(dir.path(), &["init", "-o", "json"]);
    let text = stderr(&said);
    let last: serde_json::Value = serde_json::from_str(text.lines().last().unwrap_or_default()).unwrap();
    assert_eq!((&last["event"], &last["code"]), (&"exit_error".into(), &4.into()));
    assert_eq!(stdout(&said), "");
}

#[test]
fn help_version_and_completions_go_to_stdout() {
    let dir = tempfile::tempdir().unwrap();
    let help = twinline(dir.path(), &["--help"]);
    assert!(help.status.success() && stdout(&help).contains("Exit codes:"), "{}", stdout(&help));
    let version = twinline(dir.path(), &["version", "-o", "json"]);
    let document: serde_json::Value = serde_json::from_slice(&version.stdout).unwrap();
    assert_eq!(document["version"], env!("CARGO_PKG_VERSION"));
    for shell in ["bash", "zsh", "fish"] {
        let script = twinline(dir.path(), &["completions", shell, "-q"]);
        assert!(stdout(&script).contains("validate"), "{shell}");
    }
    let nothing = twinline(dir.path(), &[]);
    assert_eq!((nothing.status.code(), stdout(&nothing)), (Some(2), String::new()));
}

#[test]
fn a_check_without_databases_says_what_is_not_reachable_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    // Bound and dropped: nobody listens there now.
    let free = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (source, destination) = (free(), free());
    let text = format!(
        "listen = \"127.0.0.1:1\"\ndata_dir = \"data\"\n[source]\nurl = \"http://{source}\"\n[destination]\nurl = \"http://{destination}\"\n"
    );
    std::fs::write(dir.path().join("twinline.toml"), text).unwrap();
    let said = twinline(dir.path(), &["check"]);
    assert_eq!(said.status.code(), Some(10), "{}", stderr(&said));
    assert_eq!(stdout(&said).matches("✗ failed: not reachable").count(), 2, "{}", stdout(&said));
    assert!(stdout(&said).contains("TWL-2001") && stderr(&said).contains("Next: "), "{}", stderr(&said));
    let names: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["twinline.toml"]);
    let wrong = twinline(dir.path(), &["check", "-c", "none.toml"]);
    assert_eq!(wrong.status.code(), Some(78), "{}", stderr(&wrong));
    assert_eq!(twinline(dir.path(), &["check", "--only", "nothing"]).status.code(), Some(2));
}
