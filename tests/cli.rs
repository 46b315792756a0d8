//! The offline commands as a user and a script see them: stdout, stderr, exit codes.

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
