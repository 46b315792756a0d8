//! To databases that hold less than the source: what they hold is there, what they do not is counted.

use std::collections::BTreeMap;

use twinline::cell::Value;

use crate::copied::{document, nasty, place, write};
use crate::database::{Kind, shared};
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
