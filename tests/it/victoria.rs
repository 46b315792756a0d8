//! VictoriaMetrics as the destination: what it can hold arrives, what it cannot is counted, and what it loses with its process
//! is sent again.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::answers::events;
use crate::database::{Kind, shared};
use crate::proxy::{Setup, eventually};
use crate::victoria_server::Victoria;

#[test]
fn check_39_what_victoriametrics_can_hold_arrives_and_the_rest_is_counted() {
    let name = "to_victoria";
    let (source, victoria) = (shared(Kind::One, 0), Victoria::start());
    source.create(name);
    let twinline = Setup::new(source.section(), victoria.section()).start();
    let write = |path: &str, body: &str| {
        let answer = twinline.call(path, &[&source.authorization()], body);
        assert_eq!(answer.status, 204, "{}", answer.text());
    };
    let line = |at: i64| {
        let time = 1_700_000_000_000_000_000 + at * 1_000_000 + i64::from(at % 10 == 3);
        format!("m\\ x,host=h\\,{} f={}.25,i={at}i,b={},s=\"text {at}\" {time}\n", at % 5, at, at % 2 == 0)
    };
    let body: String = (0..1000).map(line).collect();
    write(&format!("POST /write?db={name}"), &body);
    // Of both, VictoriaMetrics keeps both.
    write(&format!("POST /write?db={name}"), "again v=1 1700000000000000000");
    write(
        &format!("POST /write?db={name}"),
        "again v=2 1700000000000000000\nold v=1 0\nlong i=9007199254740993i 1700000000000000000\n",
    );
    let refused = format!("m,__name__=x v=1 1700000000000000000\nm,t={} v=1 1700000000000000000\n", "y".repeat(5000));
    write(&format!("POST /write?db={name}"), &refused);
    let status = twinline.settled(1006);
    assert_eq!(
        (&status["lines"]["delivered"], &status["lines"]["dead_lettered"]),
        (&1004.into(), &2.into()),
        "{status:#}"
    );
    let changes: BTreeMap<&str, u64> = status["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["code"].as_str().unwrap(), row["cells"].as_u64().unwrap()))
        .collect();
    let expected = [
        ("text-left-out", 1000),
        ("boolean-as-number", 1000),
        ("milliseconds", 300),
        ("time-left-out", 1),
        ("digits", 1),
    ];
    assert_eq!(changes, BTreeMap::from(expected), "{status:#}");
    assert_eq!((&status["facts"]["destination"]["kind"]), "victoriametrics");
    let text = String::from_utf8(twinline.command(&["status"]).stdout).unwrap();
    assert!(text.contains("! CHANGED 1000 cells: texts are left out (text-left-out)"), "{text}");

    let samples = victoria.samples();
    let series = |metric: &str, host: i64| {
        format!("{:?}", BTreeMap::from([("__name__", metric), ("db", name), ("host", &format!("h,{host}"))]))
    };
    for host in 0..5 {
        let of = |value: &dyn Fn(i64) -> f64| -> Vec<(i64, f64)> {
            (0..1000).filter(|at| at % 5 == host).map(|at| (1_700_000_000_000 + at, value(at))).collect()
        };
        assert_eq!(samples[&series("m x_f", host)], of(&|at| at as f64 + 0.25));
        assert_eq!(samples[&series("m x_i", host)], of(&|at| at as f64));
        assert_eq!(samples[&series("m x_b", host)], of(&|at| f64::from(u8::from(at % 2 == 0))));
    }
    let again = format!("{:?}", BTreeMap::from([("__name__", "again_v"), ("db", name)]));
    assert_eq!(samples[&again], [(1_700_000_000_000, 1.0), (1_700_000_000_000, 2.0)]);
    // Five hosts with three metrics, the one that was written again, and the one with too many digits.
    assert_eq!(samples.len(), 17, "{:?}", samples.keys());
}

#[test]
fn a_plan_says_what_this_pair_allows() {
    let (source, mut victoria) = (shared(Kind::One, 0), Victoria::start());
    let place = Setup::new(source.section(), victoria.section().replace("victoriametrics", "auto")).place();
    let text = String::from_utf8(place.command(&["plan"]).stdout).unwrap();
    assert!(text.starts_with("influxdb1 1.13") && text.contains("to victoriametrics v1."), "{text}");
    assert!(text.contains("texts are left out and counted") && text.contains("✗ flip"), "{text}");
    let document: Value = serde_json::from_slice(&place.command(&["plan", "-o", "json"]).stdout).unwrap();
    assert_eq!(
        (&document["destination"]["kind"], &document["steps"][1]["possible"]),
        (&"victoriametrics".into(), &true.into())
    );
    victoria.0.child.kill().unwrap();
    let gone = place.command(&["plan"]);
    let said = String::from_utf8(gone.stderr).unwrap();
    assert!(gone.status.code() == Some(10) && said.contains("the destination: not reachable"), "{said}");
}

/// It answers before it keeps: killed, it loses what it had acknowledged some seconds before.
#[test]
fn what_victoriametrics_loses_with_its_process_is_sent_again() {
    let name = "victoria_dies";
    let (source, mut victoria) = (shared(Kind::One, 0), Victoria::start());
    source.create(name);
    let mut twinline = Setup::new(source.section(), victoria.section()).start();
    let mut written = 0;
    let mut write = |twinline: &crate::proxy::Twinline, lines: i64| {
        let line = |at: i64| format!("m,host={} v={at} {}\n", at % 7, 1_700_000_000_000_000_000 + at * 1_000_000);
        let body: String = (written..written + lines).map(line).collect();
        let answer = twinline.call(&format!("POST /write?db={name}"), &[&source.authorization()], body);
        assert_eq!(answer.status, 204, "{}", answer.text());
        written += lines;
        written
    };
    for round in 0..4 {
        let until = Instant::now() + Duration::from_secs(3);
        while Instant::now() < until {
            write(&twinline, 50);
            std::thread::sleep(Duration::from_millis(20));
        }
        victoria.0.kill_and_start();
        if round == 1 {
            // Ours may die as well.
            twinline.stop(rustix::process::Signal::KILL);
            twinline.start_again();
        }
    }
    let all = write(&twinline, 50);
    eventually("every point is there", || {
        let found: usize = victoria.samples().values().map(Vec::len).sum();
        if found == all as usize { Ok(()) } else { Err(format!("{found} of {all}")) }
    });
    let told = twinline.admin("/api/v1/events?limit=1000").text();
    assert!(told.contains("has begun anew"), "{told}");
    twinline.settled(all as u64);
}

/// What it keeps is asked again of each process: the one that begins after a change of its flags drops what the one before kept.
#[test]
fn what_victoriametrics_keeps_is_learnt_again_from_a_process_that_begins_anew() {
    let name = "victoria_keeps";
    let (source, mut victoria) = (shared(Kind::One, 0), Victoria::start());
    source.create(name);
    let twinline = Setup::new(source.section(), victoria.section()).start();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as i64;
    let old = now - 60 * 86_400_000_000_000;
    let mut written = 0;
    let mut write = |lines: i64| {
        let body: String =
            (written..written + lines).map(|at| format!("m v={at} {}\n", old + at * 1_000_000)).collect();
        let answer = twinline.call(&format!("POST /write?db={name}"), &[&source.authorization()], body);
        assert_eq!(answer.status, 204, "{}", answer.text());
        written += lines;
        twinline.settled(written as u64)
    };
    let left_out = |status: &Value| {
        let rows = status["changes"].as_array().unwrap();
        rows.iter().find(|row| row["code"] == "time-left-out").map_or(0, |row| row["cells"].as_u64().unwrap())
    };
    assert_eq!(left_out(&write(10)), 0, "100 years");
    // It tells the second in which it began.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    victoria.0.kill();
    victoria.keep("1");
    victoria.0.start_again();
    // What was acknowledged just before may come again, and is counted then as well.
    let told = |status: &Value| {
        events(&twinline, 0).iter().any(|row| row["text"].to_string().contains("begun anew"))
            && status["paused"][0].is_null()
    };
    twinline.until("it has begun anew", told);
    let before = left_out(&write(1));
    assert!(before >= 1, "31 days: {before}");
    assert_eq!(left_out(&write(10)), before + 10);
    victoria.0.kill();
    victoria.keep("100y");
    victoria.0.start_again();
    eventually("it keeps them again", || {
        let (before, after) = (left_out(&twinline.status()), left_out(&write(1)));
        if before == after { Ok(()) } else { Err(format!("{before} {after}")) }
    });
}
