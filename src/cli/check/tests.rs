//! The whole check against sandboxes, and against an address where nobody answers.

use super::finding::Code;
use super::*;
use crate::config::parse;
use crate::sandbox::{Options, Sandbox};

struct Rig {
    source: Sandbox,
    destination: Sandbox,
    directory: tempfile::TempDir,
}

impl Rig {
    fn new() -> Self {
        let start = || Sandbox::spawn_thread(Options::default()).unwrap();
        Self { source: start(), destination: start(), directory: tempfile::tempdir().unwrap() }
    }

    fn config(&self, destination: &str, more: &str) -> Config {
        let text = format!(
            "listen = \"127.0.0.1:1\"\ndata_dir = {:?}\n[source]\nurl = \"{}\"\n[destination]\nurl = \"{destination}\"\n\
             [queue]\nmax_size = \"8MiB\"\nsegment_size = \"1MiB\"\nreserve_free = 0\n{more}",
            self.directory.path().display().to_string(),
            self.source.url(),
        );
        parse(&text, &|_| None).unwrap().config
    }

    fn look(&self, destination: &str, more: &str, only: &[Group]) -> Vec<Finding> {
        look(&self.config(destination, more), only, &SystemClock::shared()).unwrap()
    }
}

fn report(rig: &Rig, findings: Vec<Finding>) -> Report {
    Report::new(&rig.config(&rig.destination.url(), ""), findings, "", false)
}

fn with(findings: &[Finding], code: Code) -> Vec<&Finding> {
    findings.iter().filter(|finding| finding.code == code).collect()
}

#[test]
fn two_databases_with_equal_places_are_in_order_and_nothing_is_written() {
    let rig = Rig::new();
    for name in ["telegraf", "sensors"] {
        rig.source.create_database(name);
        rig.destination.create_database(name);
    }
    let findings = rig.look(&rig.destination.url(), "", &[]);
    assert!(findings.iter().all(|f| f.state != State::Failed && f.state != State::Warning), "{findings:#?}");
    let mapped = with(&findings, Code::MAPPED);
    assert!(mapped[0].text.contains("sensors → database sensors"), "{mapped:?}");
    let report = report(&rig, findings);
    assert_eq!((report.exit(), report.next()), (Exit::Success, "twinline run"));
    for sandbox in [&rig.source, &rig.destination] {
        assert_eq!((sandbox.stats().points_written, sandbox.stats().series), (0, 0));
    }
}

#[test]
fn a_missing_target_is_named_with_the_command_that_makes_it() {
    let rig = Rig::new();
    for name in ["telegraf", "sensors"] {
        rig.source.create_database(name);
    }
    rig.destination.create_database("telegraf");
    let rule = "[[mapping.rule]]\nfrom = { db = \"telegraf\" }\nto = { db = \"telegraf\", rp = \"week\" }\n\
                [[mapping.rule]]\nfrom = { db = \"sensors\" }\nto = { db = \"new \\\"one\\\"\" }\n";
    let findings = rig.look(&rig.destination.url(), rule, &[Group::Mapping]);
    assert!(findings.iter().all(|f| f.group == Group::Mapping), "{findings:#?}");
    let fix = |code| with(&findings, code)[0].fix.as_deref();
    assert_eq!(fix(Code::NO_DATABASE), Some("CREATE DATABASE \"new \\\"one\\\"\""));
    let policy = "CREATE RETENTION POLICY \"week\" ON \"telegraf\" DURATION INF REPLICATION 1";
    assert_eq!(fix(Code::NO_POLICY), Some(policy));
    assert_eq!(report(&rig, findings).exit(), Exit::No);
}

#[test]
fn what_the_first_write_makes_is_no_failure() {
    let rig = Rig::new();
    rig.source.create_database("telegraf");
    let mut config = rig.config(&rig.destination.url(), "");
    config.destinations[0].create = true;
    let findings = look(&config, &[Group::Mapping], &SystemClock::shared()).unwrap();
    let missing = with(&findings, Code::NO_DATABASE);
    assert!(missing[0].state == State::Ok && missing[0].text.contains("the first write makes it"), "{missing:?}");
    assert_eq!(report(&rig, findings).exit(), Exit::Success);
}

#[test]
fn what_no_rule_names_is_listed() {
    let rig = Rig::new();
    for name in ["kept", "left"] {
        rig.source.create_database(name);
        rig.destination.create_database(name);
    }
    let rule = "[[mapping.rule]]\nfrom = { db = \"kept\" }\nto = { db = \"kept\" }\n";
    let findings = rig.look(&rig.destination.url(), rule, &[]);
    let unmapped = with(&findings, Code::UNMAPPED);
    assert!(unmapped[0].text.ends_with(": left") && unmapped[0].state == State::Warning, "{unmapped:?}");
    assert_eq!(report(&rig, findings).exit(), Exit::Success, "a warning is no failure");
}

#[test]
fn a_database_that_does_not_answer_is_told_whatever_group_was_asked_for() {
    let rig = Rig::new();
    rig.source.create_database("telegraf");
    // Bound and dropped: nobody listens there now.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nobody = format!("http://{free}");
    for only in [&[][..], &[Group::Mapping]] {
        let findings = rig.look(&nobody, "", only);
        let reach = with(&findings, Code::REACHABLE);
        let down: Vec<_> = reach.iter().filter(|f| f.state == State::Failed).collect();
        assert!(
            down.len() == 1 && down[0].about == finding::About::Destination && down[0].fix.is_some(),
            "{findings:#?}"
        );
        assert_eq!(report(&rig, findings).exit(), Exit::Unreachable);
    }
    let disk = rig.look(&nobody, "", &[Group::Disk]);
    assert!(disk.iter().all(|f| f.group == Group::Disk), "the disk needs no database");
    assert_eq!(report(&rig, disk).exit(), Exit::Success);
}

#[test]
fn another_kind_than_configured_is_a_failure() {
    let rig = Rig::new();
    let mut config = rig.config(&rig.destination.url(), "");
    config.destinations[0].kind = crate::config::DestinationKind::Influxdb2;
    let findings = look(&config, &[], &SystemClock::shared()).unwrap();
    let product = with(&findings, Code::PRODUCT);
    assert!(product[0].state == State::Failed && product[0].text.contains("influxdb2"), "{product:?}");
    assert_eq!(report(&rig, findings).exit(), Exit::No);
}

#[test]
fn a_name_for_our_own_listener_is_found_although_the_text_differs() {
    let rig = Rig::new();
    let mut config = rig.config(&rig.destination.url(), "");
    // Every address of this machine, and the database's port.
    config.listen[0].address = std::net::SocketAddr::from(([0, 0, 0, 0], rig.destination.addr().port())).into();
    let findings = look(&config, &[Group::Loop], &SystemClock::shared()).unwrap();
    let states: Vec<State> = findings.iter().map(|f| f.state).collect();
    assert_eq!(states, [State::Ok, State::Failed], "{findings:#?}");
}

#[test]
fn the_document_has_states_codes_and_the_next_step() {
    let rig = Rig::new();
    rig.source.create_database("telegraf");
    let findings = rig.look(&rig.destination.url(), "", &[Group::Mapping]);
    let document = serde_json::to_value(report(&rig, findings)).unwrap();
    assert_eq!((&document["schema"], &document["ok"]), (&"twinline.check/1".into(), &false.into()));
    assert_eq!((&document["exit_code"], &document["summary"]["failed"]), (&3.into(), &1.into()));
    let finding = &document["findings"][0];
    assert_eq!((&finding["group"], &finding["about"]), (&"mapping".into(), &"mapping".into()));
    assert_eq!((&finding["state"], &finding["code"]), (&"failed".into(), &"TWL-2311".into()));
    assert_eq!(finding["fix"], "CREATE DATABASE \"telegraf\"");
    assert!(document["next_steps"][0].as_str().unwrap().contains("twinline check"));
}
