//! `twinline deadletter replay` to databases that are no InfluxDB: the source's values, in their own form, as far as they hold them.

use serde_json::{Value, json};

use crate::database::{Database, Kind, shared};
use crate::deadletter::json as letters;
use crate::proxy::{Setup, Twinline};
use crate::questdb_server::Questdb;
use crate::victoria_server::Victoria;

const BEGIN_NS: i64 = 1_700_000_000_000_000_000;

fn write(twinline: &Twinline, source: &Database, db: &str, body: &str) {
    let answer = twinline.call(&format!("POST /write?db={db}"), &[&source.authorization()], body);
    assert_eq!(answer.status, 204, "{}", answer.text());
}

fn replay(twinline: &Twinline) -> Value {
    letters(twinline, &["replay", "--execute"])
}

fn stay(done: &Value) -> Vec<(&str, u64)> {
    let rows = done["stay"].as_array().unwrap().iter();
    rows.map(|row| (row["code"].as_str().unwrap(), row["letters"].as_u64().unwrap())).collect()
}

/// Lines with texts were put aside; now that texts are left out, the numbers beside them go, as the source holds them by now.
#[test]
fn letters_of_victoriametrics_go_as_what_it_can_hold() {
    let name = "replay_victoria";
    let (source, victoria) = (shared(Kind::One, 0), Victoria::start());
    source.create(name);
    let strict = "projection = { texts = \"dead-letter\" }";
    let mut twinline = Setup::new(source.section(), format!("{}\n{strict}", victoria.section())).start();
    let long = "y".repeat(5_000);
    let body = format!(
        "m,host=a v=1.5,s=\"x\" {BEGIN_NS}\nm,host=b v=2.5,s=\"x\" {BEGIN_NS}\nm,host=c s=\"x\" {BEGIN_NS}\n\
         gone v=1,s=\"x\" {BEGIN_NS}\nm,host={long} v=1 {BEGIN_NS}\n"
    );
    write(&twinline, &source, name, &body);
    assert_eq!(twinline.settled(5)["lines"]["dead_lettered"], 5);
    source.post(&format!("/write?db={name}"), format!("m,host=b v=9.5 {BEGIN_NS}").as_bytes(), 204);
    source.post(&format!("/query?db={name}&q=DROP+MEASUREMENT+gone"), b"", 200);
    let as_it_is = replay(&twinline);
    assert_eq!(
        (&as_it_is["repaired"], stay(&as_it_is)),
        (&0.into(), vec![("text", 3), ("too-large", 1)]),
        "{as_it_is:#}"
    );
    twinline.stop(rustix::process::Signal::TERM);
    twinline.start_again_with(|text| text.replace(strict, ""), "");
    twinline.quiet();
    let done = replay(&twinline);
    assert_eq!((&done["repaired"], stay(&done)), (&2.into(), vec![("nothing-held", 1), ("too-large", 1)]), "{done:#}");
    let values: Vec<(i64, f64)> = victoria.samples().into_values().flatten().collect();
    let ms = BEGIN_NS / 1_000_000;
    assert_eq!(values, [(ms, 1.5), (ms, 9.5)]);
    let stats = letters(&twinline, &["stats"]);
    assert_eq!(
        (&stats["lines"], &stats["removed"]),
        (&2.into(), &json!({ "obsolete": 1, "repaired": 2 })),
        "{stats:#}"
    );
}

/// A column had another type. Once its table is dropped the whole point goes, since a row is replaced as a whole.
#[test]
fn letters_of_questdb_go_as_whole_rows() {
    let name = "replay_quest";
    let (source, questdb) = (shared(Kind::One, 0), Questdb::start());
    source.create(name);
    for table in ["m", "x_3ay"] {
        questdb.ask(&format!(
            "create table \"{name}_{table}\" (v boolean, timestamp timestamp) timestamp(timestamp) partition by day wal"
        ));
    }
    let twinline = Setup::new(source.section(), questdb.section("kind = \"questdb\"")).start();
    write(
        &twinline,
        &source,
        name,
        &format!("m,host=a v=\"one\",w=2i {BEGIN_NS}\nx:y v=\"one\" {BEGIN_NS}\nok v=1 {BEGIN_NS}\n"),
    );
    let status = twinline.settled(3);
    assert_eq!(status["lines"]["dead_lettered"], 2, "{status:#}");
    let stands = replay(&twinline);
    assert_eq!(
        (&stands["repaired"], stay(&stands)),
        (&0.into(), vec![("renamed", 1), ("type-conflict", 1)]),
        "{stands:#}"
    );
    questdb.ask(&format!("drop table \"{name}_m\""));
    source.post(&format!("/write?db={name}"), format!("m,host=a v=\"two\",later=3i {BEGIN_NS}").as_bytes(), 204);
    let done = replay(&twinline);
    assert_eq!((&done["repaired"], stay(&done)), (&1.into(), vec![("renamed", 1)]), "{done:#}");
    let time = "2023-11-14T22:13:20.000000Z";
    let row = json!([{ "host": "a", "v": "two", "w": 2, "later": 3, "timestamp": time }]);
    assert_eq!(json!(questdb.rows(&format!("{name}_m"))), row);
}
