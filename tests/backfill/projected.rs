//! To databases that hold less than the source: what they hold is there, what they do not is counted.

use std::collections::BTreeMap;

use twinline::cell::Value;

use crate::copied::{MONDAY_NS, WEEK_NS, document, nasty, place, said, write};
use crate::database::{Database, Kind, shared};
use crate::proxy::{Setup, Twinline, eventually};
use crate::questdb_server::Questdb;
use crate::victoria_server::Victoria;

const DAY_MS: i64 = 86_400_000;

fn changes(done: &serde_json::Value) -> BTreeMap<String, u64> {
    let rows = done["changes"].as_array().unwrap().iter();
    rows.map(|row| (row["code"].as_str().unwrap().to_owned(), row["cells"].as_u64().unwrap())).collect()
}

#[test]
fn victoriametrics_gets_every_number_of_a_time_that_it_keeps() {
    let name = "bvictoria";
    let (source, victoria) = (shared(Kind::One, 0), Victoria::start());
    source.create(name);
    write(&source, name, &nasty(Kind::One));
    let place = place(&source, victoria.section());
    // Its oldest points are from before 1970.
    let refused = place.command(&["backfill", "start", "--offline", "--db", name]);
    let words: &[&str] = if refused.status.code() == Some(4) {
        &["start", "--offline", "--db", name, "--since", "1970-01-01"]
    } else {
        &["status"]
    };
    let done = document(&place, words, 0);
    assert_eq!(done["state"], "done", "{done:#}");
    let (mut wanted, mut texts, mut times) = (BTreeMap::<String, Vec<(i64, f64)>>::new(), 0, 0);
    let latest_ms = jiff::Timestamp::now().as_millisecond() + 2 * DAY_MS;
    for cell in source.cells(name).into_iter().filter(|cell| cell.time_ns >= 0) {
        let ms = cell.time_ns.div_euclid(1_000_000);
        if !(DAY_MS..latest_ms).contains(&ms) {
            times += 1;
            continue;
        }
        let number = match &cell.value {
            Value::Float(v) => *v,
            Value::Integer(v) => *v as f64,
            Value::Boolean(v) => f64::from(u8::from(*v)),
            Value::Unsigned(v) => *v as f64,
            Value::String(_) => {
                texts += 1;
                continue;
            }
        };
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        // A quote in the name of a field stays escaped there, which is counted.
        let metric = format!("{}_{}", text(cell.series.measurement()), text(&cell.field).replace('"', "\\\""));
        let tags = cell.series.tags().iter().map(|(key, value)| (text(key), text(value)));
        let labels: BTreeMap<String, String> =
            tags.chain([("__name__".to_owned(), metric), ("db".to_owned(), name.to_owned())]).collect();
        wanted.entry(format!("{labels:?}")).or_default().push((ms, number));
    }
    let samples = victoria.samples();
    assert_eq!(samples.keys().collect::<Vec<_>>(), wanted.keys().collect::<Vec<_>>());
    for (labels, mut values) in wanted {
        values.sort_by(|a, b| a.partial_cmp(b).unwrap());
        let largest = values.iter().map(|(_, value)| value.abs()).fold(0.0, f64::max);
        let found = &samples[&labels];
        assert_eq!(found.len(), values.len(), "{labels}");
        for ((ms, value), (found_ms, found)) in values.iter().zip(found) {
            assert!(ms == found_ms && (value - found).abs() <= 1e-12 * largest, "{labels}: {value} {found}");
        }
    }
    let counted = changes(&done);
    let codes = ["text-left-out", "time-left-out", "name"];
    assert_eq!(codes.map(|code| counted[code]), [texts, times, 1], "{done:#}");
}

#[test]
fn questdb_gets_a_row_for_each_point() {
    let name = "bquest";
    let (source, questdb) = (shared(Kind::One, 0), Questdb::start());
    source.create(name);
    // A column has one type there.
    let body: Vec<String> =
        nasty(Kind::One).lines().filter(|line| !line.starts_with("mixed")).map(str::to_owned).collect();
    write(&source, name, &body.join("\n"));
    let place = place(&source, questdb.section("kind = \"questdb\""));
    let done = document(&place, &["start", "--offline", "--db", name], 0);
    let mut points = BTreeMap::<(String, i64), BTreeMap<String, String>>::new();
    let mut early = 0;
    for cell in source.cells(name) {
        if cell.time_ns < 0 {
            early += 1;
            continue;
        }
        if cell.series.measurement() != b"many" {
            continue;
        }
        let row = points.entry((cell.series.to_string(), cell.time_ns / 1000)).or_default();
        let text = match &cell.value {
            Value::Float(v) => format!("{:016x}", v.to_bits()),
            other => other.to_string().trim_end_matches('i').to_owned(),
        };
        row.insert(String::from_utf8(cell.field.to_vec()).unwrap(), text);
        for (key, value) in cell.series.tags() {
            row.insert(String::from_utf8(key.clone()).unwrap(), String::from_utf8(value.clone()).unwrap());
        }
    }
    let mut wanted: Vec<_> = points
        .into_iter()
        .map(|((_, us), mut row)| {
            row.insert("us".to_owned(), us.to_string());
            row
        })
        .collect();
    wanted.sort();
    assert_eq!(questdb.texts(&format!("{name}_many")), wanted);
    assert_eq!(changes(&done)["time-left-out"], early, "{done:#}");
    assert_eq!(questdb.rows(&format!("{name}_texts")).len(), 2);
}

/// A source with a point every hour for some weeks, copied beside a client that appends: at the newest end, and late, where nothing was.
fn appended(name: &str, source: &Database, destination: String) -> Twinline {
    const HOUR_NS: i64 = 3_600_000_000_000;
    let hours = 6 * WEEK_NS / HOUR_NS;
    let line = |at: i64| format!("m,host=h{} f={at}.5,i={at}i {}", at % 3, MONDAY_NS + at * HOUR_NS);
    write(source, name, &(0..hours).map(line).collect::<Vec<_>>().join("\n"));
    let twinline = Setup::new(source.section(), destination).start();
    let started = twinline.command(&["backfill", "start", "--db", name]);
    assert_eq!(started.status.code(), Some(0), "{}", said(&started));
    let mut appends = 0;
    eventually("all is copied", || {
        for _ in 0..5 {
            let late = MONDAY_NS + (appends * 37 % hours) * HOUR_NS + 1_000_000_000 * (1 + appends / hours);
            let body = format!("m,host=late f={appends} {late}\nm,host=new f={appends} {}", late + 6 * WEEK_NS);
            let answer = twinline.call(&format!("POST /write?db={name}&precision=ns"), &[], body);
            assert_eq!(answer.status, 204, "{}", answer.text());
            appends += 1;
        }
        let status = twinline.command(&["-o", "json", "backfill", "status"]);
        let job: serde_json::Value = serde_json::from_slice(&status.stdout).map_err(|e| e.to_string())?;
        if job["state"] == "done" { Ok(()) } else { Err(format!("{job:#}")) }
    });
    twinline.quiet();
    assert!(appends > 20, "{appends}");
    twinline
}

/// What is delivered and copied may stand twice there, with one time and one value: VictoriaMetrics keeps both.
#[test]
fn beside_a_client_that_appends_victoriametrics_gets_all() {
    let name = "lvvictoria";
    let (source, victoria) = (shared(Kind::One, 0), Victoria::start());
    source.create(name);
    let _twinline = appended(name, &source, victoria.section());
    let (mut found, mut wanted) = (Vec::new(), Vec::new());
    for (labels, values) in victoria.samples() {
        found.extend(values.into_iter().map(|(ms, value)| (labels.clone(), ms, value.to_bits())));
    }
    for cell in source.cells(name) {
        let number = match cell.value {
            Value::Float(v) => v,
            Value::Integer(v) => v as f64,
            other => panic!("{other}"),
        };
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let tags = cell.series.tags().iter().map(|(key, value)| (text(key), text(value)));
        let metric = format!("m_{}", text(&cell.field));
        let labels: BTreeMap<String, String> =
            tags.chain([("__name__".to_owned(), metric), ("db".to_owned(), name.to_owned())]).collect();
        wanted.push((format!("{labels:?}"), cell.time_ns / 1_000_000, number.to_bits()));
    }
    for rows in [&mut found, &mut wanted] {
        rows.sort();
        rows.dedup();
    }
    assert!(wanted.len() > 2000 && found == wanted, "{} found, {} wanted", found.len(), wanted.len());
}

/// The same of QuestDB without DEDUP.
#[test]
fn beside_a_client_that_appends_questdb_gets_all() {
    let name = "lvquest";
    let (source, questdb) = (shared(Kind::One, 0), Questdb::start());
    source.create(name);
    let _twinline = appended(name, &source, questdb.section("kind = \"questdb\""));
    let mut found: Vec<_> = questdb.texts(&format!("{name}_m")).into_iter().map(|row| format!("{row:?}")).collect();
    let mut points = BTreeMap::<(String, i64), BTreeMap<String, String>>::new();
    for cell in source.cells(name) {
        let row = points.entry((cell.series.to_string(), cell.time_ns / 1000)).or_default();
        let text = match &cell.value {
            Value::Float(v) => format!("{:016x}", v.to_bits()),
            other => other.to_string().trim_end_matches('i').to_owned(),
        };
        row.insert(String::from_utf8(cell.field.to_vec()).unwrap(), text);
        row.insert("us".to_owned(), (cell.time_ns / 1000).to_string());
        for (key, value) in cell.series.tags() {
            row.insert(String::from_utf8(key.clone()).unwrap(), String::from_utf8(value.clone()).unwrap());
        }
    }
    let mut wanted: Vec<_> = points.into_values().map(|row| format!("{row:?}")).collect();
    for rows in [&mut found, &mut wanted] {
        rows.sort();
        rows.dedup();
    }
    assert!(wanted.len() > 1000 && found == wanted, "{} found, {} wanted", found.len(), wanted.len());
}
