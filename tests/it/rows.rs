//! QuestDB has tables alone: lines that go as one row, and names that are one table.

use serde_json::json;
use twinline::sandbox::{Options, Sandbox};

use crate::answers::{dead, events};
use crate::proxy::{Setup, Twinline};
use crate::scripted::{Reply, Scripted, Write};

fn pair() -> (Sandbox, Scripted, Twinline) {
    let source = Sandbox::spawn_thread(Options::default()).unwrap();
    source.create_database("d");
    let destination = Scripted::start(|_| Reply::new(204, ""));
    let twinline = Setup::new(
        format!("url = \"{}\"\nkind = \"influxdb1\"", source.url()),
        format!("url = \"{}\"\nkind = \"questdb\"", destination.url()),
    )
    .start();
    (source, destination, twinline)
}

/// Two of three lines are one row, which is refused: both are letters, and every line is in one sum.
#[test]
fn a_refused_row_is_a_letter_for_each_of_its_lines() {
    let (_source, destination, twinline) = pair();
    destination.set(|write: &Write| match write.body.lines().position(|line| line.contains("bad=")) {
        Some(place) => {
            let said = "failed to parse line protocol:errors encountered on line(s):\nerror in line 1: table: d_m, column: bad; cast error";
            Reply::new(400, &json!({ "code": "invalid", "message": said, "line": place + 1 }).to_string())
        }
        None => Reply::new(204, ""),
    });
    let body = "m bad=1i 5000\nm v=3i 6000\nm w=2i 5000";
    assert_eq!(twinline.call("POST /write?db=d", &[], body).status, 204);
    let status = twinline.settled(3);
    assert_eq!(
        (&status["lines"]["delivered"], &status["lines"]["dead_lettered"]),
        (&1.into(), &2.into()),
        "{status:#}"
    );
    let letters: Vec<String> = dead(&twinline, "d").into_iter().map(|(text, _)| text).collect();
    assert_eq!(letters, ["d_m bad=1i 5000", "d_m w=2i 5000"]);
}

#[test]
fn measurements_that_differ_in_case_alone_are_told_to_be_one_table() {
    let (_source, _destination, twinline) = pair();
    assert_eq!(twinline.call("POST /write?db=d", &[], "Cpu v=3i 6000\nmem v=1i 6000").status, 204);
    twinline.delivered(2);
    let told = || events(&twinline, 0).iter().filter(|event| event["text"].to_string().contains("one-table")).count();
    assert_eq!(told(), 0);
    assert_eq!(twinline.call("POST /write?db=d", &[], "cpu v=4i 7000").status, 204);
    twinline.delivered(3);
    assert_eq!(told(), 1);
}
