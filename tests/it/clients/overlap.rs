//! Several clients that overwrite the same points at once.

use std::collections::BTreeSet;
use std::process::{Child, Command, Stdio};

use super::{Client, between_with, installed};
use crate::database::Kind;
use crate::doubt::{QUICK, told};
use crate::exact::unequal;

const WRITERS: usize = 4;

/// Writes until its input ends.
fn begin(client: &Client, addr: &str, name: &str, writer: usize) -> Child {
    let mut command = Command::new(&client.program);
    command.args(&client.script).args([addr, name, &format!("writer{writer}")]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap()
}

/// How many points it has written; its input has ended.
fn end(writer: Child) -> u64 {
    let done = writer.wait_with_output().unwrap();
    assert!(done.status.success(), "{}", done.status);
    String::from_utf8(done.stdout).unwrap().trim().parse().unwrap()
}

/// What nobody can know is listed, cell by cell, and told with its cause; what one client alone writes is the same on both sides.
#[test]
fn python_clients_that_overwrite_the_same_points_leave_nothing_unequal_that_is_not_listed() {
    let name = "overwritten";
    let (source, destination, twinline) = between_with(Kind::One, name, QUICK);
    let client = Client::script(installed("python/bin/python", "python"), "overlap1.py");
    let mut writers: Vec<Child> = (0..WRITERS).map(|writer| begin(&client, &twinline.addr, name, writer)).collect();
    let alarmed = twinline.until("it is an alarm", |status| status["doubt"]["alarms"] == 1);
    // All at once: no last one overwrites what the others leave.
    writers.iter_mut().for_each(|writer| drop(writer.stdin.take()));
    let accepted: u64 = writers.into_iter().map(end).sum();
    let shown = &alarmed["doubt"]["routes"][0];
    assert_eq!((&shown["route"], &shown["main_cause"]), (&name.into(), &"overlap".into()), "{shown:#}");
    let [text, ..] = &told(&twinline, "doubt-steady")[..] else { panic!("it is told") };
    assert!(
        text.starts_with("overwritten: ") && text.contains("overlap: several clients write the same cells"),
        "{text}"
    );

    let status = twinline.settled(accepted);
    let (at_source, at_destination) = (source.cells(name), destination.cells(name));
    let differ = unequal(&status, at_source.clone(), at_destination.clone());
    let doubt = status["lines"]["doubt"].as_u64().unwrap();
    eprintln!("{accepted} lines, {doubt} in doubt, {differ} cells differ");
    assert!(differ > 0, "nobody met anybody at the end");
    assert_eq!((&status["lines"]["gap"], &status["lines"]["dead_lettered"]), (&0.into(), &0.into()), "{status:#}");
    assert_eq!(status["doubt"]["routes"][0]["lines"], doubt, "each is counted once by its cause");
    let regions = status["regions"].as_array().unwrap();
    let of = |key: &str| -> BTreeSet<&str> { regions.iter().map(|region| region[key].as_str().unwrap()).collect() };
    assert_eq!((of("measurement"), of("causes")), (BTreeSet::from(["shared"]), BTreeSet::from(["overlap"])));
    let own = |cells: &[twinline::cell::Cell]| cells.iter().filter(|cell| cell.series.measurement() == b"own").count();
    assert_eq!((own(&at_source), own(&at_destination)), (WRITERS * 100 * 2, WRITERS * 100 * 2));
}
