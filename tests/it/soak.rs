//! Check 40: mixed traffic with kills for a while, and then a full comparison: rows and checksums by hour of each measurement.
//!
//! `TWINLINE_SOAK_S` says for how long (8); what grows within half an hour of faults is looked at by `benches`, `soak`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use twinline::cell::{Cell, CellSum, SumKey, Summer};

use crate::database::{Database, Kind, shared};
use crate::http::{Connection, escape};
use crate::load::{number, under_load};
use crate::proxy::{Setup, Twinline};

const HOUR_NS: i64 = 3_600_000_000_000;
/// Of this measurement the destination refuses a part.
const CLASH: &str = "clash";

/// By policy, measurement and hour: how many cells, and their sum.
type Hours = BTreeMap<(String, Vec<u8>, i64), CellSum>;

fn hours(policies: &[(&str, Vec<Cell>)]) -> Hours {
    let key = SumKey([40, 7]);
    let mut all: BTreeMap<_, Summer> = BTreeMap::new();
    for (policy, cells) in policies {
        for cell in cells {
            let hour = cell.time_ns.div_euclid(HOUR_NS);
            let place = ((*policy).to_owned(), cell.series.measurement().to_vec(), hour);
            all.entry(place).or_insert_with(|| Summer::new(key)).add(cell);
        }
    }
    all.into_iter().map(|(place, summer)| (place, summer.total())).collect()
}

/// Another writer beside the load: a second policy, deletes, and a field whose type the destination does not take.
fn others(client: &mut Connection, name: &str, round: i64) -> u64 {
    let mut write = |target: &str, body: String| {
        let answer = client.call(&format!("POST {target}"), &[], body.as_bytes()).unwrap();
        assert_eq!(answer.status, 204, "{}", answer.text());
        body.lines().count() as u64
    };
    let times = (0..20).map(|at| 1_700_000_000_000_000_000 + (round * 20 + at) * HOUR_NS / 8);
    let of = |measurement: &str| times.clone().map(|time| format!("{measurement} v={round}i {time}\n")).collect();
    let lines = write(&format!("/write?db={name}&rp=r"), of("second"))
        + write(&format!("/write?db={name}"), of("deleted"))
        + write(&format!("/write?db={name}"), of(CLASH));
    let statement =
        format!("DELETE FROM deleted WHERE time < {}", 1_700_000_000_000_000_000 + round * 10 * HOUR_NS / 8);
    let form = format!("q={}", escape(&statement));
    let kind = "Content-Type: application/x-www-form-urlencoded";
    let answer = client.call(&format!("POST /query?db={name}"), &[kind], form.as_bytes()).unwrap();
    assert!(answer.status == 200 && !answer.text().contains("error"), "{}", answer.text());
    lines
}

#[test]
fn check_40_after_mixed_traffic_every_hour_is_equal_or_explained() {
    let name = "soak_40";
    let (source, destination) = (shared(Kind::One, 0), Database::start(Kind::Two));
    for place in [name, "soak_40/r"] {
        source.create(place);
        destination.create(place);
    }
    // There it is a text already: what the source takes is refused.
    destination.post(&format!("/write?db={name}"), format!("{CLASH} v=\"text\" 1700000000000000001").as_bytes(), 204);
    let twinline = Setup::new(source.section(), destination.section()).start();
    let until = Instant::now() + Duration::from_secs(number("TWINLINE_SOAK_S", 8));
    let mut lines = 0;
    let record = under_load(&twinline.addr, &source, name, || {
        let mut client = twinline.connect();
        for round in 0.. {
            lines += others(&mut client, name, round);
            if Instant::now() > until {
                break;
            }
            std::thread::sleep(Duration::from_millis(300));
            if round % 4 == 3 {
                destination.stop(Signal::KILL);
                lines += others(&mut client, name, 1_000 + round);
                destination.restart();
            }
        }
    });
    twinline.settled(lines + record.lines);
    compare(&twinline, (&source, &destination), name);
}

fn compare(twinline: &Twinline, (source, destination): (&Database, &Database), name: &str) {
    let second = format!("{name}/r");
    let [left, right] = [source, destination].map(|side| hours(&[("", side.cells(name)), ("r", side.cells(&second))]));
    let (mut differ, mut missing) = (Vec::new(), 0);
    for (place, sum) in &left {
        let there = right.get(place).copied().unwrap_or_default();
        if there == *sum {
            continue;
        }
        match place.1 == CLASH.as_bytes() {
            true => missing += sum.cells,
            false => differ.push(format!("{place:?}: {sum:?}, {there:?}")),
        }
    }
    differ.extend(
        right.keys().filter(|place| !left.contains_key(place)).map(|place| format!("{place:?}: not at the source")),
    );
    assert!(differ.is_empty(), "{} of {} hours differ:\n{}", differ.len(), left.len(), differ.join("\n"));
    // Each cell that is not there is a dead letter.
    let status = twinline.status();
    assert_eq!((&status["lines"]["doubt"], &status["lines"]["gap"]), (&0.into(), &0.into()), "{status:#}");
    assert_eq!(status["dead_letters"][0]["cause"], "type-conflict", "{status:#}");
    let letters = status["lines"]["dead_lettered"].as_u64().unwrap();
    assert!(missing > 0 && missing == letters, "{missing} cells are not there, {letters} are letters");
    assert!(left.len() > 10, "{} hours", left.len());
}
