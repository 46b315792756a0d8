//! Exactness of capture, on real databases: checks 20 to 24 and 26 of the facts (§8; 25 is `mutations.rs` and `mapping.rs`).

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Barrier, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::process::Signal;
use serde_json::Value;
use twinline::cell::{Cell, compare};
use twinline::sandbox::{Faults, Options, Sandbox, WriteAction, WriteFault};

use crate::database::{Database, Kind, shared};
use crate::http::Connection;
use crate::load::number;
use crate::proxy::{Setup, Twinline};

/// Both directions between 1.13 and 2.9, with a database of its own.
fn both_ways(name: &str, test: impl Fn(&Database, &Database, &Twinline, &str)) {
    for (from, to) in [(Kind::One, Kind::Two), (Kind::Two, Kind::One)] {
        let name = format!("{name}_{from:?}").to_lowercase();
        let (source, destination) = (shared(from, 0), shared(to, 0));
        source.create(&name);
        destination.create(&name);
        let twinline = Setup::new(source.section(), destination.section()).start();
        test(&source, &destination, &twinline, &name);
    }
}

fn assert_equal(source: &Database, destination: &Database, name: &str, cells: u64) {
    let differences = compare(source.cells(name), destination.cells(name));
    assert!(differences.is_empty() && differences.equal == cells, "{name}: {differences}");
}

/// The ways into a source, each with what a parameter `precision` means there: the unit, or that the write is refused. Facts, table
/// 4.1, columns ≥1.10 and 2.x.
fn cells_of_table(source: Kind, name: &str) -> Vec<(String, &'static str, Option<i64>)> {
    const NS: Option<i64> = Some(1);
    const US: Option<i64> = Some(1_000);
    const MS: Option<i64> = Some(1_000_000);
    const S: Option<i64> = Some(1_000_000_000);
    const M: Option<i64> = Some(60_000_000_000);
    const H: Option<i64> = Some(3_600_000_000_000);
    let first: [(&str, Option<i64>); 16] = [
        ("-", NS),
        ("n", NS),
        ("ns", NS),
        ("u", US),
        ("us", None),
        ("%C2%B5", None),
        ("ms", MS),
        ("s", S),
        ("m", M),
        ("h", H),
        ("nanosecond", None),
        ("microsecond", None),
        ("millisecond", None),
        ("second", None),
        ("other", None),
        ("", NS),
    ];
    let of = |name: &str, unit: Option<i64>, path: &str| match (source, path, name) {
        (Kind::One, "/write", _) => unit,
        // The second way in, of both.
        (_, "/api/v2/write", "us") => US,
        (_, "/api/v2/write", "-" | "ns" | "ms" | "s" | "") => unit,
        (_, "/api/v2/write", _) => None,
        // 2.x takes what it does not know for nanoseconds.
        (Kind::Two, _, "us") => US,
        (Kind::Two, _, "ms" | "s") => unit,
        _ => NS,
    };
    let paths =
        [("/write", format!("/write?db={name}")), ("/api/v2/write", format!("/api/v2/write?org=o&bucket={name}"))];
    let all = paths.iter().flat_map(|(path, query)| {
        first.iter().map(move |(word, unit)| {
            let parameter = if *word == "-" { String::new() } else { format!("&precision={word}") };
            (format!("{query}{parameter}"), *word, of(word, *unit, path))
        })
    });
    all.collect()
}

/// Lines without a time in every precision that a source takes: the same time on both sides, in that unit.
#[test]
fn check_20_lines_without_a_time_get_the_same_one_on_both_sides() {
    both_ways("untimed", |source, destination, twinline, name| {
        let mut units = Vec::new();
        for (target, _, unit) in cells_of_table(source.kind, name) {
            let Some(unit) = unit else { continue };
            // Beside one with a time, and alone.
            for beside in ["", "\nt v=1i 7"] {
                let body = format!("m,n={} v=1i{beside}", units.len());
                let answer = twinline.call(&format!("POST {target}"), &[&source.authorization()], body);
                assert_eq!(answer.status, 204, "{target}: {}", answer.text());
                units.push(unit);
            }
        }
        twinline.quiet();
        let cells = source.cells(name);
        let untimed: Vec<&Cell> = cells.iter().filter(|cell| cell.series.measurement() == b"m").collect();
        assert_eq!(untimed.len(), units.len());
        for cell in untimed {
            let number: usize = String::from_utf8_lossy(cell.series.tag(b"n").unwrap()).parse().unwrap();
            assert_eq!(cell.time_ns % units[number], 0, "{cell}");
            assert!(cell.time_ns > 1_600_000_000_000_000_000, "{cell}");
        }
        assert_equal(source, destination, name, cells.len() as u64);
    });
}

/// Each cell of table 4.1: what the source makes of a time, right or wrong, stands at the destination; what it refuses does not.
#[test]
fn check_21_every_cell_of_the_table_of_precisions_has_the_sources_time_at_the_destination() {
    const TIME: i64 = 400_000;
    both_ways("precision", |source, destination, twinline, name| {
        let table = cells_of_table(source.kind, name);
        let mut expected = Vec::new();
        for (place, (target, word, unit)) in table.iter().enumerate() {
            let body = format!("m,n={place} v={place}i {TIME}");
            let answer = twinline.call(&format!("POST {target}"), &[&source.authorization()], body);
            let status = if unit.is_some() { 204 } else { 400 };
            assert_eq!(answer.status, status, "{target} ({word}): {}", answer.text());
            expected.extend(unit.map(|unit| (place.to_string().into_bytes(), TIME * unit)));
        }
        twinline.quiet();
        let mut found: Vec<_> = source
            .cells(name)
            .into_iter()
            .map(|cell| (cell.series.tag(b"n").unwrap().to_vec(), cell.time_ns))
            .collect();
        expected.sort();
        found.sort();
        assert_eq!(found, expected, "what the table says of the source");
        assert_equal(source, destination, name, expected.len() as u64);
    });
}

/// Regions that status lists: route, measurement and times.
fn is_listed(status: &Value, cell: &Cell) -> bool {
    let measurement = String::from_utf8_lossy(cell.series.measurement()).into_owned();
    status["regions"].as_array().unwrap().iter().any(|region| {
        let time = |name: &str| region[name].as_i64().unwrap();
        (region["measurement"] == measurement.as_str() || region["measurement"] == "*" || region["measurement"] == "")
            && (time("from_ns")..=time("to_ns")).contains(&cell.time_ns)
    })
}

/// Cells that differ between the sides; each of them must be listed.
pub(crate) fn unequal(status: &Value, source: Vec<Cell>, destination: Vec<Cell>) -> usize {
    let differs = |own: &[Cell], other: &[Cell]| -> Vec<Cell> {
        own.iter().filter(|cell| !other.contains(cell)).cloned().collect()
    };
    let all = [differs(&source, &destination), differs(&destination, &source)].concat();
    for cell in &all {
        assert!(is_listed(status, cell), "{cell} differs and is in no region: {:#}", status["regions"]);
    }
    all.len()
}

/// Runs of figures as one character: times and bounds in an error differ from request to request.
fn without_figures(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '0'..='9' | '.' if out.ends_with('#') => {}
            '0'..='9' => out.push('#'),
            c => out.push(c),
        }
    }
    out
}

/// Lines that do not parse, that have another type, and that have expired, in one write.
#[test]
fn check_22_a_write_that_is_kept_in_part_is_equal_or_listed() {
    let name = "mixed_kept";
    let (source, twin, destination) = (shared(Kind::One, 0), shared(Kind::One, 1), shared(Kind::Two, 0));
    for database in [&source, &twin] {
        database.query(&format!("CREATE DATABASE {name} WITH DURATION 1h SHARD DURATION 1h"));
    }
    destination.create(name);
    let twinline = Setup::new(source.section(), destination.section()).start();
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap();
    let at = |back_s: i64| now - back_s * 1_000_000_000;
    let before = format!("typed v=1i {}\nsure v=1i {}", at(60), at(60));
    let bodies = [
        (204, before),
        (400, format!("m v=1i {}\nbad\nm v=2i {}", at(50), at(49))),
        (400, format!("m v=3i {}\ntyped v=\"text\" {}\nm v=4i {}", at(40), at(40), at(39))),
        (400, format!("m v=5i {}\nm v=6i {}\nm v=7i {}", at(30), at(7200), at(29))),
        (
            400,
            format!(
                "m v=8i {}\nbad\ntyped v=\"text\" {}\nm v=9i {}\nm v=10i {}\nm v= 5",
                at(20),
                at(20),
                at(7300),
                at(19)
            ),
        ),
        (204, format!("sure v=2i {}", at(10))),
    ];
    for (status, body) in &bodies {
        let target = format!("/write?db={name}");
        let direct = twin.post(&target, body.as_bytes(), *status);
        let through = twinline.call(&format!("POST {target}"), &[], body);
        assert_eq!(through.status, *status, "{}", through.text());
        assert_eq!(without_figures(&through.text()), without_figures(&direct.text()));
        let error = |answer: &crate::http::Answer| answer.header("x-influxdb-error").map(without_figures);
        assert_eq!(error(&through), error(&direct));
    }
    let status = twinline.quiet();
    let (at_source, at_destination) = (source.cells(name), destination.cells(name));
    assert!(at_destination.iter().all(|cell| at_source.contains(cell)), "nothing is at the destination alone");
    let listed = unequal(&status, at_source.clone(), at_destination.clone());
    eprintln!("{} cells at the source, {listed} of them in regions: {:#}", at_source.len(), status["regions"]);
    let sure = |cells: &[Cell]| cells.iter().filter(|cell| cell.series.measurement() == b"sure").count();
    assert_eq!((sure(&at_source), sure(&at_destination)), (2, 2));
    // What only did not parse, and what only expired, is known by line.
    let known: Vec<i64> = at_destination.iter().map(|cell| cell.time_ns).collect();
    assert!([50, 49].iter().all(|back| known.contains(&at(*back))), "{known:?}");
}

/// The source stores a write and says `timeout`: it is in a region, once, and at the destination at most once.
#[test]
fn check_23_a_timeout_of_the_source_with_the_point_stored_is_listed() {
    let [source, destination] = [(), ()].map(|()| Sandbox::spawn_thread(Options::default()).unwrap());
    source.create_database("d");
    destination.create_database("d");
    let section = |sandbox: &Sandbox| format!("url = \"{}\"\nkind = \"influxdb1\"", sandbox.url());
    let twinline = Setup::new(section(&source), section(&destination)).start();
    let action = WriteAction::Answer {
        status: 500,
        body: "{\"error\":\"timeout\"}\n".to_owned(),
        headers: Vec::new(),
        applied: true,
    };
    source.set_faults(Faults { writes: Some(WriteFault { action, next: Some(1) }), ..Faults::default() });
    let answer = twinline.call("POST /write?db=d", &[], "m v=1i 1");
    assert_eq!((answer.status, answer.text().as_str()), (500, "{\"error\":\"timeout\"}\n"));
    assert_eq!(twinline.call("POST /write?db=d", &[], "m v=2i 2").status, 204);
    let status = twinline.settled(2);
    assert_eq!(status["lines"]["doubt"], 1, "{status:#}");
    assert_eq!(source.cells("d", "").len(), 2, "the source has stored it");
    assert_eq!(unequal(&status, source.cells("d", ""), destination.cells("d", "")), 1);
    // The client does what it does after a 500.
    assert_eq!(twinline.call("POST /write?db=d", &[], "m v=1i 1").status, 204);
    let status = twinline.settled(3);
    assert_eq!(unequal(&status, source.cells("d", ""), destination.cells("d", "")), 0);
}

/// The source is killed under writers that try again until they hear 204.
#[test]
fn check_24_a_source_that_is_killed_under_writers_who_retry_loses_nothing() {
    const WRITERS: i64 = 4;
    let name = "killed_retried";
    let (source, destination) = (Database::start(Kind::One), shared(Kind::Two, 0));
    source.create(name);
    destination.create(name);
    let twinline = Setup::new(source.section(), destination.section()).start();
    let (over, written) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (twinline, over, written) = (&twinline, &over, &written);
            scope.spawn(move || {
                let mut batch = 0;
                while !over.load(Ordering::Relaxed) {
                    let times = batch * 10..(batch + 1) * 10;
                    let body: String = times.map(|time| format!("m,w={writer} v={time}i {time}\n")).collect();
                    while write(twinline, name, &body) != 204 {
                        std::thread::sleep(Duration::from_millis(20));
                    }
                    batch += 1;
                    written.fetch_add(10, Ordering::Relaxed);
                }
            });
        }
        for _ in 0..3 {
            let before = written.load(Ordering::Relaxed);
            crate::proxy::eventually("writes go on", || match written.load(Ordering::Relaxed) {
                now if now > before + 500 => Ok(()),
                now => Err(format!("{now}")),
            });
            source.stop(Signal::KILL);
            source.restart();
        }
        over.store(true, Ordering::Relaxed);
    });
    let status = twinline.quiet();
    let (at_source, at_destination) = (source.cells(name), destination.cells(name));
    let differences = compare(at_source.clone(), at_destination);
    assert!(differences.is_empty(), "{differences}\n{status:#}");
    assert_eq!(at_source.len() as u64, written.load(Ordering::Relaxed));
}

fn write(twinline: &Twinline, name: &str, body: &str) -> u16 {
    let line = format!("POST /write?db={name}");
    crate::http::call(&twinline.addr, &line, &[], body.as_bytes()).map_or(0, |answer| answer.status)
}

/// Two clients write to the same cell at the same moment, again and again, beside others: both sides hold the same in the end, or the
/// cell is listed.
#[test]
fn check_26_two_writes_to_one_cell_at_once_end_alike_or_listed() {
    both_ways("at_once", |source, destination, twinline, name| {
        let cells = i64::try_from(number("TWINLINE_CELLS", 1000)).unwrap();
        let (start, over, refused) = (Barrier::new(2), AtomicBool::new(false), Mutex::new(Vec::new()));
        let target = match source.kind {
            Kind::One => format!("POST /write?db={name}"),
            Kind::Two => format!("POST /api/v2/write?org=o&bucket={name}"),
        };
        std::thread::scope(|scope| {
            let (start, over, refused, target) = (&start, &over, &refused, &target);
            let pair: Vec<_> = (0..2)
                .map(|client| {
                    scope.spawn(move || {
                        let mut connection = Connection::open(&twinline.addr).unwrap();
                        for time in 1..=cells {
                            start.wait();
                            let body = format!("same v={}i {time}", 10 * time + client);
                            let answer = connection.call(target, &[&source.authorization()], body.as_bytes()).unwrap();
                            if answer.status != 204 {
                                refused.lock().unwrap().push(answer.text());
                            }
                        }
                    })
                })
                .collect();
            let load = scope.spawn(move || {
                let mut connection = Connection::open(&twinline.addr).unwrap();
                for time in 1.. {
                    if over.load(Ordering::Relaxed) {
                        break;
                    }
                    let body: String = (0..50).map(|at| format!("load,at={at} v={time}i {time}\n")).collect();
                    assert_eq!(
                        connection.call(target, &[&source.authorization()], body.as_bytes()).unwrap().status,
                        204
                    );
                }
            });
            pair.into_iter().for_each(|client| client.join().unwrap());
            over.store(true, Ordering::Relaxed);
            load.join().unwrap();
        });
        assert_eq!(*refused.lock().unwrap(), Vec::<String>::new());
        let status = twinline.quiet();
        let of = |database: &Database, measurement: &[u8]| -> Vec<Cell> {
            let all = database.cells(name).into_iter();
            all.filter(|cell| cell.series.measurement() == measurement).collect()
        };
        let (at_source, at_destination) = (of(source, b"same"), of(destination, b"same"));
        assert_eq!(at_source.len() as i64, cells);
        let listed = unequal(&status, at_source, at_destination);
        assert!(compare(of(source, b"load"), of(destination, b"load")).is_empty());
        eprintln!("{listed} of {cells} cells are unequal and listed, {} lines are doubt", status["lines"]["doubt"]);
    });
}
