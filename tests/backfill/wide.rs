//! Shapes at which lists are cut off and memory grows: many fields, many buckets, many series.

use std::time::Duration;

use crate::copied::{MONDAY_NS, document, equal, place, write};
use crate::database::{Database, Kind, ORG, TOKEN, shared};
use crate::proxy::Setup;

#[test]
fn trap_12_rows_that_a_server_cuts_off_are_all_copied() {
    let name = "bwide";
    let source = Database::start_with(Kind::One, &[("HTTP_MAX_ROW_LIMIT", "1000")]);
    let destination = shared(Kind::One, 1);
    for database in [&source, &*destination] {
        database.create(name);
    }
    let fields: Vec<String> = (0..5_000).map(|at| format!("f{at}={at}i")).collect();
    let mut lines: Vec<String> =
        fields.chunks(500).map(|some| format!("wide {} {MONDAY_NS}", some.join(","))).collect();
    lines.extend((0..1_010).map(|at| format!("m{at} v={at} {MONDAY_NS}")));
    lines.extend((0..3_000).map(|at| format!("long v={at} {}", MONDAY_NS + at)));
    write(&source, name, &lines.join("\n"));
    let place = place(&source, destination.section());
    let plan = document(&place, &["plan", "--no-count", "--db", name], 0);
    let of = &plan["places"][0];
    let wide = of["measurements"].as_array().unwrap().iter().find(|one| one["name"] == "wide");
    let looked = of["measurements"].as_array().unwrap().len() as u64;
    assert_eq!(looked + of["measurements_not_looked_at"].as_u64().unwrap(), 1_012, "all measurements are planned");
    if let Some(wide) = wide {
        assert_eq!(wide["fields"].as_array().unwrap().len(), 5_000, "all fields are planned");
    }
    document(&place, &["start", "--offline", "--db", name], 0);
    assert_eq!(equal(&source, &destination, name), 5_000 + 1_010 + 3_000);
}

#[test]
fn trap_12_buckets_beyond_a_page_are_all_planned() {
    let (source, destination) = (Database::start(Kind::Two), shared(Kind::Two, 1));
    for at in 0..150 {
        source.create(&format!("bmany{at}"));
    }
    write(&source, "bmany149", &format!("m v=1 {MONDAY_NS}"));
    let section = format!("url = \"http://{}\"\norg = \"{ORG}\"\ntoken = \"{TOKEN}\"", source.addr);
    let place = Setup::new(section, destination.section()).place();
    let plan = document(&place, &["plan", "--no-count", "--create", "--db", "bmany*"], 0);
    assert_eq!(plan["places"].as_array().unwrap().len(), 150, "{plan:#}");
    assert_eq!(plan["missing"].as_array().unwrap().len(), 150, "{plan:#}");
    document(&place, &["start", "--offline", "--create", "--db", "bmany14*"], 0);
    assert_eq!(destination.cells("bmany149").len(), 1);
}

/// Anonymous memory of a process, KiB; nothing once it has ended.
fn anonymous_kib(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    line.trim().trim_end_matches("kB").trim().parse().ok()
}

#[test]
fn trap_13_many_series_of_one_point_a_day_are_copied_in_bounded_memory() {
    let name = "bseries";
    let series: u64 = std::env::var("TWINLINE_SERIES").map_or(20_000, |text| text.parse().unwrap());
    let (source, destination) = (shared(Kind::One, 0), shared(Kind::One, 1));
    for database in [&source, &destination] {
        database.create(name);
    }
    let at_ns = |day: i64| MONDAY_NS + day * 86_400_000_000_000;
    for first in (0..series).step_by(10_000) {
        let some = first..(first + 10_000).min(series);
        let line = |at: u64| format!("m,id=s{at} v={at} {}\nm,id=s{at} v={at} {}", at_ns(0), at_ns(1));
        write(&source, name, &some.map(line).collect::<Vec<_>>().join("\n"));
    }
    let place = place(&source, destination.section());
    let mut child = place.begin(&["backfill", "start", "--offline", "--db", name]);
    let mut most_kib = 0;
    while child.try_wait().unwrap().is_none() {
        most_kib = most_kib.max(anonymous_kib(child.id()).unwrap_or_default());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(child.wait().unwrap().success());
    assert!((1..=256 << 10).contains(&most_kib), "{most_kib} KiB");
    let status = document(&place, &["status"], 0);
    assert_eq!((&status["state"], &status["points"]), (&"done".into(), &(2 * series).into()), "{status:#}");
    if series <= 100_000 {
        assert_eq!(equal(&source, &destination, name), 2 * series);
    }
}
