//! A route of which lines are in doubt again and again is told with the cause, and its end; what is in doubt is counted by route and cause.

use serde_json::Value;
use twinline::sandbox::{Faults, Options, Sandbox, WriteAction, WriteFault};

use crate::answers::events;
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
