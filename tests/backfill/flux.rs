//! A bucket that no database and policy of InfluxQL stand for is read by Flux; what breaks off, or lies, is never a chunk.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::json;
use twinline::cell::compare;

use crate::between::{Fate, between};
use crate::copied::{MONDAY_NS, document, nasty, write};
use crate::database::{Database, Kind, ORG, TOKEN, shared};
use crate::http::call;
use crate::proxy::{Place, Setup};

/// A bucket whose name is mapped to another one, both at the source; the same without that, for whoever compares; an empty destination.
fn pair(name: &str, body: &str) -> (Arc<Database>, Arc<Database>) {
    let (source, destination) = (shared(Kind::Two, 0), shared(Kind::Two, 1));
    let (other, same) = (format!("{name}_other"), format!("{name}_same"));
    for bucket in [name, &other, &same] {
        source.create(bucket);
    }
    destination.create(name);
    write(&source, &same, body);
    write(&source, name, body);
    let (org_id, id) = source.bucket_ids(&other);
    let mapping =
        json!({ "orgID": org_id, "bucketID": id, "database": name, "retention_policy": "autogen", "default": true });
    let headers = [&source.authorization()[..], "Content-Type: application/json"];
    let made = call(&source.addr, "POST /api/v2/dbrps", &headers, mapping.to_string().as_bytes()).unwrap();
    assert_eq!(made.status, 201, "{}", made.text());
    (source, destination)
}

/// With a door before the source.
fn through(source: &Database, destination: &Database, decide: impl Fn(&str) -> Fate + Send + Sync + 'static) -> Place {
    let door = between(&source.addr, decide);
    let section = format!("url = \"http://{door}\"\nkind = \"influxdb2\"\norg = \"{ORG}\"\ntoken = \"{TOKEN}\"");
    Setup::new(section, destination.section()).place()
}

/// Whether it asks for cells.
fn is_read(request: &str, measurement: &str) -> bool {
    let is_other = ["distinct(", "count()", "first()", "last()"].iter().any(|word| request.contains(word));
    request.starts_with("POST /api/v2/query") && request.contains(&format!("\\\"{measurement}\\\"")) && !is_other
}

/// Both hold the same, but for the last nanosecond of time, which no range of Flux reaches.
fn equal(source: &Database, destination: &Database, name: &str) -> u64 {
    let reached = source.cells(&format!("{name}_same")).into_iter().filter(|cell| cell.time_ns != i64::MAX - 1);
    let differences = compare(reached, destination.cells(name));
    assert!(differences.is_empty(), "{name}: {differences}");
    differences.equal
}

#[test]
fn a_bucket_without_a_mapping_is_copied_with_every_type_and_bit() {
    let name = "bflux";
    let (source, destination) = pair(name, &(nasty(Kind::Two) + "\ntexts s=\"a\r\nb\rc\\\\r\n\",f=1 7"));
    let place = Setup::new(source.section(), destination.section()).place();
    let plan = document(&place, &["plan", "--db", name], 0);
    assert_eq!(plan["read_by_flux"].as_array().unwrap().len(), 1, "{plan:#}");
    let done = document(&place, &["start", "--offline", "--db", name], 0);
    assert_eq!(done["cells"], equal(&source, &destination, name), "{done:#}");
    let (counted, copied) = (plan["cells"].as_u64().unwrap(), done["cells"].as_u64().unwrap());
    assert!(counted > 6000 && counted < copied, "the source counts no value behind a change of type");
}

/// Bodies cut in the middle, an error behind rows in an answer of success, an answer in another form.
#[test]
fn an_answer_that_ends_early_or_tells_an_error_is_never_a_chunk_that_is_written() {
    const ERROR: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/csv; charset=utf-8\r\nConnection: close\r\n\r\n#datatype,string,long,dateTime:RFC3339,double,string,string\r\n#group,false,false,false,false,true,true\r\n#default,_result,,,,,\r\n,result,table,_time,_value,_field,_measurement\r\n,,0,2023-11-13T00:00:00Z,66,f,cut\r\n\r\n#datatype,string,string\r\n#group,true,true\r\n#default,,\r\n,error,reference\r\n,query terminated: memory allocation limit reached,576\r\n\r\n";
    const SHORT: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/csv; charset=utf-8\r\nConnection: close\r\n\r\n#datatype,string,long,dateTime:RFC3339,double,string,string\r\n#group,false,false,false,false,true,true\r\n#default,_result,,,,,\r\n,result,table,_time,_value,_field,_measurement\r\n,,0,2023-11-13T00:00:00Z,66,f,cut\r\n";
    const JSON: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n{}";
    let name = "bfluxcut";
    let line = |at: i64| format!("cut,host=h{at} f={at} {0}\nwhole f={at} {0}", MONDAY_NS + at);
    let (source, destination) = pair(name, &(0..300).map(line).collect::<Vec<_>>().join("\n"));
    let (met, healed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (counts, is_healed) = (Arc::clone(&met), Arc::clone(&healed));
    let place = through(&source, &destination, move |request| {
        if !is_read(request, "cut") || is_healed.load(Ordering::SeqCst) > 0 {
            return Fate::On;
        }
        match counts.fetch_add(1, Ordering::SeqCst) % 4 {
            0 => Fate::Cut(70),
            1 => Fate::Answer(ERROR),
            2 => Fate::Answer(SHORT),
            _ => Fate::Answer(JSON),
        }
    });
    let done = document(&place, &["start", "--offline", "--db", name], 5);
    assert_eq!((&done["state"], &done["points"]), (&"partial".into(), &300.into()), "{done:#}");
    assert!(met.load(Ordering::SeqCst) >= 4, "{done:#}");
    let there = destination.cells(name);
    assert!(there.iter().all(|cell| cell.series.measurement() == b"whole"), "nothing of half an answer is written");
    healed.store(1, Ordering::SeqCst);
    document(&place, &["retry"], 0);
    assert_eq!(equal(&source, &destination, name), 600);
}

/// Cloud says so when its quota is used up: the same question comes again after the time that it names, and no piece is given up.
#[test]
fn trap_17_a_source_that_asks_to_come_back_later_is_asked_later() {
    const LATER: &str =
        "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let name = "bfluxlater";
    let line = |at: i64| format!("m,host=h{} f={at} {}", at % 9, MONDAY_NS + at);
    let (source, destination) = pair(name, &(0..900).map(line).collect::<Vec<_>>().join("\n"));
    let asked = Arc::new(Mutex::new(Vec::new()));
    let keeps = Arc::clone(&asked);
    // More often than a chunk is tried.
    let place = through(&source, &destination, move |request| {
        if !is_read(request, "m") {
            return Fate::On;
        }
        let mut asked = keeps.lock().unwrap();
        asked.push(request.split("\r\n\r\n").nth(1).unwrap().to_owned());
        if asked.len() <= 7 { Fate::Answer(LATER) } else { Fate::On }
    });
    let done = document(&place, &["start", "--offline", "--db", name], 0);
    assert_eq!((&done["state"], &done["points"]), (&"done".into(), &900.into()), "{done:#}");
    let asked = asked.lock().unwrap();
    assert!(asked.len() > 8 && asked[..8].iter().all(|one| *one == asked[0]), "the same question: {asked:#?}");
    let mut others = asked[7..].to_vec();
    others.dedup();
    assert_eq!(others.len(), asked.len() - 7, "and none twice after that: {asked:#?}");
    equal(&source, &destination, name);
}

/// A tag that is called as a column of Flux would be lost, or make one series of two: it is told, and nothing is written of it.
#[test]
fn tags_that_flux_cannot_tell_from_its_own_columns_are_told() {
    let name = "bfluxtags";
    let day = 86_400_000_000_000;
    let lines = format!("m,_start=z f=1 {MONDAY_NS}\nm f=2 {MONDAY_NS}\ngood f=3 {0}", MONDAY_NS + day);
    let (source, destination) = pair(name, &lines);
    let place = Setup::new(source.section(), destination.section()).place();
    let done = document(&place, &["start", "--offline", "--db", name], 5);
    let failed = done["failed"].as_array().unwrap();
    assert!(!failed.is_empty() && failed.iter().all(|one| one["measurement"] == "m"), "{done:#}");
    assert!(failed[0]["why"].as_str().unwrap().contains("a tag may be called as a column of Flux"), "{done:#}");
    let there = destination.cells(name);
    assert!(there.len() == 1 && there[0].series.measurement() == b"good", "{there:?}");
}
