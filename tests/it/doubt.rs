//! A route of which lines are in doubt again and again is told with the cause, and its end; what is in doubt is counted by route and cause.

use serde_json::Value;
use twinline::sandbox::{Faults, Options, Sandbox, WriteAction, WriteFault};

use crate::answers::events;
use crate::many::{lines_of, named, of, sandbox};
use crate::proxy::{Setup, Twinline, eventually};

/// Told at the next look.
pub(crate) const QUICK: &str = "doubt_alarm_window = \"4s\"";

/// The events of a kind.
pub(crate) fn told(twinline: &Twinline, kind: &str) -> Vec<String> {
    let of_kind = events(twinline, 0).into_iter().filter(|event| event["kind"] == kind);
    of_kind.map(|event| event["text"].as_str().unwrap().to_owned()).collect()
}

fn alarms(status: &Value) -> u64 {
    status["doubt"]["alarms"].as_u64().unwrap()
}

#[test]
fn a_steady_rate_of_doubt_is_shown_and_told_with_its_cause_until_it_has_eased() {
    let [source, destination] = [(), ()].map(|()| Sandbox::spawn_thread(Options::default()).unwrap());
    for sandbox in [&source, &destination] {
        sandbox.create_database("d");
        sandbox.create_database("e");
    }
    let url = |sandbox: &Sandbox| format!("url = \"{}\"\nkind = \"influxdb1\"", sandbox.url());
    let mut setup = Setup::new(url(&source), url(&destination));
    setup.queue = QUICK.to_owned();
    let twinline = setup.start();
    let (mut wrote, mut lost) = (0u64, 0u64);
    let mut write = |is_lost: bool| {
        let answer = WriteAction::Answer { status: 500, body: "{}".to_owned(), headers: Vec::new(), applied: false };
        let fault = WriteFault { action: answer, next: Some(1) };
        source.set_faults(Faults { writes: is_lost.then_some(fault), ..Faults::default() });
        wrote += 1;
        lost += u64::from(is_lost);
        let status = twinline.call("POST /write?db=d", &[], format!("m v=1 {wrote}")).status;
        assert_eq!(status, if is_lost { 500 } else { 204 });
        assert_eq!(twinline.call("POST /write?db=e", &[], format!("m v=1 {wrote}")).status, 204);
        (wrote, lost)
    };
    let (mut count, mut sums) = (0, (0, 0));
    let status = eventually("it is an alarm", || {
        for _ in 0..5 {
            count += 1;
            sums = write(count % 5 == 0);
        }
        let status = twinline.status();
        if alarms(&status) == 1 { Ok(status) } else { Err(format!("{:#}", status["doubt"])) }
    });
    let route = &status["doubt"]["routes"][0];
    assert_eq!((&route["route"], &route["main_cause"]), (&"d".into(), &"source-error".into()), "{route:#}");
    assert_eq!((&route["lines"], &route["causes"][0]["lines"]), (&sums.1.into(), &sums.1.into()), "{route:#}");
    assert!(route["alarm_since"].is_string(), "{route:#}");
    let [text] = &told(&twinline, "doubt-steady")[..] else { panic!("told once") };
    assert!(text.starts_with("d: ") && text.contains("source-error: the source answers that"), "{text}");
    let shown = String::from_utf8(twinline.command(&["status"]).stdout).unwrap();
    assert!(shown.contains("! DOUBT RATE d: ") && shown.contains("most by source-error: the source"), "{shown}");
    let ready = twinline.admin("/readyz");
    assert!(ready.status == 200 && ready.json()["warnings"][0].to_string().contains("d: "), "{}", ready.text());
    let metrics = twinline.admin("/metrics").text();
    let line = format!("twinline_doubt_lines_total{{route=\"d\",cause=\"source-error\"}} {}\n", sums.1);
    assert!(metrics.contains(&line) && metrics.contains("twinline_doubt_alarm_routes 1\n"), "{metrics}");
    assert!(!metrics.contains("route=\"e\""), "a route without doubt has no series");

    eventually("it has eased", || {
        (0..5).for_each(|_| sums = write(false));
        let status = twinline.status();
        if alarms(&status) == 0 { Ok(()) } else { Err(format!("{:#}", status["doubt"])) }
    });
    assert_eq!((told(&twinline, "doubt-steady").len(), told(&twinline, "doubt-eased").len()), (1, 1));
    assert_eq!(twinline.admin("/readyz").json()["warnings"], Value::Array(Vec::new()));
    let status = twinline.settled(2 * sums.0);
    assert_eq!((&status["doubt"]["routes"][0]["lines"], &status["lines"]["doubt"]), (&sums.1.into(), &sums.1.into()));
    let shown = String::from_utf8(twinline.command(&["status"]).stdout).unwrap();
    let line = format!("  in doubt since the start: {} lines of d (source-error {})\n", sums.1, sums.1);
    assert!(shown.contains(&line) && !shown.contains("DOUBT RATE"), "{shown}");
}

/// Each apart, in lines and times, for each destination: the metrics say the same.
#[test]
fn doubt_gaps_and_dead_letters_are_shown_apart_in_lines_and_times() {
    let (source, main, second) = (sandbox(), sandbox(), sandbox());
    let mut setup = Setup::new(lines_of(&source), named("main", &main));
    setup.others.push(named("second", &second));
    let twinline = setup.start();
    let typed = crate::http::call(&second.addr().to_string(), "POST /write?db=d", &[], b"typed v=\"text\" 1");
    assert_eq!(typed.unwrap().status, 204);
    let write = |body: &str, action: Option<(u16, bool)>, status: u16| {
        let action = action.map(|(status, applied)| WriteFault {
            action: WriteAction::Answer { status, body: "{}".to_owned(), headers: Vec::new(), applied },
            next: Some(1),
        });
        source.set_faults(Faults { writes: action, ..Faults::default() });
        assert_eq!(twinline.call("POST /write?db=d", &[], body).status, status, "{body}");
    };
    let hour_ns = 3_600_000_000_000_i64;
    write(&format!("m v=1 {}\nm v=2 {}", 7 * hour_ns, 9 * hour_ns + 1), Some((500, false)), 500);
    write("typed v=1 11000000000\ntyped v=2 13000000000", None, 204);
    // The source takes a line that we cannot read.
    write("m v=1 5000000000\nnonsense\nm v=1 6000000000", Some((204, false)), 204);
    let status = twinline.until("all has come", |status| {
        status["lines"]["dead_lettered"] == 2 && status["lines"]["doubt"] == 4 && status["lines"]["queued"] == 0
    });
    let window = |from_ns: i64, to_ns: i64| serde_json::json!({ "from_ns": from_ns, "to_ns": to_ns });
    let doubt = window(7 * hour_ns, 10 * hour_ns - 1);
    // Nobody knows when.
    let (gap, dead) = (window(i64::MIN, i64::MAX), window(11_000_000_000, 13_000_000_000));
    for (id, dead) in [("main", Value::Null), ("second", dead.clone())] {
        let own = of(&status, id);
        let expected = serde_json::json!({ "doubt": doubt, "gap": gap, "dead_lettered": dead });
        assert_eq!(own["windows"], expected, "{id}: {own:#}");
        assert_eq!((&own["lines"]["doubt"], &own["gaps"][0]["window"]), (&2.into(), &gap), "{own:#}");
    }
    assert_eq!(status["windows"], serde_json::json!({ "doubt": doubt, "gap": gap, "dead_lettered": dead }));
    assert_eq!(status["dead_letters"][0]["window"], dead, "{status:#}");
    let shown = String::from_utf8(twinline.command(&["status"]).stdout).unwrap();
    for line in [
        "doubt                       2  1970-01-01T07:00:00Z to 1970-01-01T09:59:59.999999999Z\n",
        "dead-lettered               2  1970-01-01T00:00:11Z to 1970-01-01T00:00:13Z\n",
        "second: ! DEAD LETTER 2 lines: type-conflict, 1970-01-01T00:00:11Z to 1970-01-01T00:00:13Z\n",
        "main: ! GAP 1 lines: unreadable, any time to any time\n",
    ] {
        assert!(shown.contains(line), "{line}{shown}");
    }
    let metrics = twinline.admin("/metrics").text();
    for line in [
        "twinline_missing_first_timestamp_seconds{destination=\"second\",state=\"dead-lettered\"} 11\n",
        "twinline_missing_last_timestamp_seconds{destination=\"second\",state=\"dead-lettered\"} 13\n",
        "twinline_missing_first_timestamp_seconds{destination=\"main\",state=\"dead-lettered\"} 0\n",
        "twinline_missing_last_timestamp_seconds{destination=\"main\",state=\"gap\"} inf\n",
        "twinline_missing_first_timestamp_seconds{destination=\"main\",state=\"doubt\"} 25200\n",
    ] {
        assert!(metrics.contains(line), "{line}{metrics}");
    }
}
