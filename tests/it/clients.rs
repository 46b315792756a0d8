//! Clients that people use write through Twinline: curl, and the 1.x client for Python where it is installed.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use twinline::cell::{Series, Value};

use crate::database::{Kind, shared};
use crate::load::points;
use crate::proxy::Setup;
use crate::record::{Record, Writer};

/// Whether a program can be started.
fn is_there(program: &str) -> bool {
    let there = Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success());
    if !there {
        eprintln!("{program} is not there: what it would write was not tested");
    }
    there
}

/// What may stand in a request of curl: it asks for `100 Continue`, or sends a body in chunks.
const WAYS: [&[&str]; 3] = [&[], &["-H", "Expect: 100-continue"], &["-H", "Transfer-Encoding: chunked"]];

#[test]
fn curl_writes_through() {
    if !is_there("curl") {
        return;
    }
    for kind in [Kind::One, Kind::Two] {
        let name = if kind == Kind::One { "curl_1" } else { "curl_2" };
        let (source, destination) = (shared(kind, 0), shared(Kind::Two, 1));
        source.create(name);
        destination.create(name);
        let twinline = Setup::new(source.section(), destination.section()).start();
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("body");
        let mut writer = Writer::new(kind, name, 0, false);
        let share = (points() / 20).max(1000);
        while writer.record.lines < share {
            let batch = writer.batch((share / 10) as usize);
            std::fs::write(&file, &batch.body).unwrap();
            let way = WAYS[(writer.record.lines / (share / 10)) as usize % WAYS.len()];
            let mut curl = Command::new("curl");
            curl.args(["-sS", "-o", "/dev/null", "-w", "%{http_code}", "-H", &source.authorization()]).args(way);
            if batch.gzip {
                curl.args(["-H", "Content-Encoding: gzip"]);
            }
            curl.arg("--data-binary").arg(format!("@{}", file.display()));
            let done = curl.arg(format!("http://{}{}", twinline.addr, batch.target)).output().unwrap();
            assert_eq!(String::from_utf8_lossy(&done.stdout), "204", "{}", String::from_utf8_lossy(&done.stderr));
        }
        twinline.delivered(writer.record.lines);
        writer.record.assert_held("source", &source.cells(name));
        writer.record.assert_held("destination", &destination.cells(name));
    }
}

/// What `clients/python1.py` writes, point by point.
fn record_of_python(count: i64) -> Record {
    let mut record = Record::default();
    for at in 0..count {
        let tag = |key: &str, value: String| (key.as_bytes().to_vec(), value.into_bytes());
        let tags = vec![tag("host", format!("h,{}", at % 5)), tag("pl ace", "M\u{fc}nchen=\u{e9}".to_owned())];
        let series = Arc::new(Series::new(b"python client".to_vec(), tags));
        let mut put = |field: &[u8], value| {
            record.put(&series, &Arc::from(field), (1_700_000_000_000 + at) * 1_000_000, value);
        };
        put(b"f", Value::Float(at as f64 / 8.0));
        put(b"i", Value::Integer(if at % 10 == 0 { -at } else { at - 50 }));
        put(b"b", Value::Boolean(at % 2 == 0));
        put(b"s", Value::String(format!("say \"{at}\" \\ \u{e9}").into_bytes()));
    }
    record
}

#[test]
fn the_python_client_for_1_writes_through() {
    let name = "python_1";
    let (source, destination) = (shared(Kind::One, 0), shared(Kind::Two, 0));
    source.create(name);
    destination.create(name);
    let twinline = Setup::new(source.section(), destination.section()).start();
    if !is_there("python3") {
        return;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/python1.py");
    let (host, port) = twinline.addr.split_once(':').unwrap();
    let count = (points() / 20).max(1000);
    let done = Command::new("python3").arg(script).args([host, port, name, &count.to_string()]).output().unwrap();
    if done.status.code() == Some(3) {
        eprintln!("the package influxdb for Python is not there (pip install influxdb): it was not tested");
        return;
    }
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(
        String::from_utf8_lossy(&done.stdout).trim(),
        "1.13.2",
        "the version of the source is seen through Twinline"
    );
    twinline.delivered(count + count.div_ceil(10));
    let record = record_of_python(count as i64);
    record.assert_held("source", &source.cells(name));
    record.assert_held("destination", &destination.cells(name));
}
