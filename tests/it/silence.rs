//! A source that answers no write is shown where an operator looks, and told once; a quiet one is not.

use serde_json::Value;
use twinline::sandbox::{Faults, Options, Sandbox, WriteAction, WriteFault};

use crate::answers::events;
use crate::proxy::{Setup, Twinline, eventually};

fn start() -> (Sandbox, Sandbox, Twinline) {
    let [source, destination] = [(), ()].map(|()| Sandbox::spawn_thread(Options::default()).unwrap());
    for sandbox in [&source, &destination] {
        sandbox.create_database("d");
    }
    let url = |sandbox: &Sandbox| format!("url = \"{}\"\nkind = \"influxdb1\"", sandbox.url());
    let twinline = Setup::new(url(&source), url(&destination)).start();
    (source, destination, twinline)
}

fn write(twinline: &Twinline, at: u64) -> u16 {
    twinline.call("POST /write?db=d", &[], format!("m v=1 {at}")).status
}

fn told(twinline: &Twinline, kind: &str) -> usize {
    events(twinline, 0).iter().filter(|event| event["kind"] == kind).count()
}

/// It is silent: the status in both forms, the warnings, one event; the process stays ready.
fn assert_shown(twinline: &Twinline, why: &str) {
    let silent = &twinline.status()["source_silent"];
    assert!(silent["for_s"].as_u64() >= Some(5) && silent["reason"].as_str().unwrap().contains(why), "{silent}");
    let text = String::from_utf8(twinline.command(&["status"]).stdout).unwrap();
    assert!(text.contains("✗ SOURCE  it has answered no write for ") && text.contains(why), "{text}");
    let ready = twinline.admin("/readyz");
    let warning = ready.json()["warnings"][0].to_string();
    assert_eq!((ready.status, &ready.json()["ready"]), (200, &Value::Bool(true)), "{}", ready.text());
    assert!(warning.contains("the source has answered no write for ") && warning.contains(why), "{warning}");
    eventually("it is told", || if told(twinline, "source-silent") == 1 { Ok(()) } else { Err("not yet".to_owned()) });
}

/// It is over: nothing is shown any more, and each end is told once.
fn assert_over(twinline: &Twinline) {
    let status = twinline.status();
    assert_eq!(status["source_silent"], Value::Null, "{status:#}");
    assert_eq!(twinline.admin("/readyz").json()["warnings"], Value::Array(Vec::new()));
    eventually("it is told", || if told(twinline, "source-answers") == 1 { Ok(()) } else { Err("not yet".to_owned()) });
    assert_eq!(told(twinline, "source-silent"), 1);
}

#[test]
fn a_source_that_hangs_is_shown_before_its_time_is_up_and_until_it_answers() {
    let (source, _destination, twinline) = start();
    assert_eq!(write(&twinline, 1), 204);
    let hang = WriteFault { action: WriteAction::Hang { applied: false }, next: None };
    source.set_faults(Faults { writes: Some(hang), ..Faults::default() });
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| write(&twinline, 2));
        twinline.until("it is shown", |status| status["source_silent"] != Value::Null);
        assert!(!waiting.is_finished(), "long before source.request_timeout");
        assert_shown(&twinline, "writes wait for an answer");
        source.set_faults(Faults::default());
        waiting.join().unwrap();
    });
    assert_eq!(write(&twinline, 3), 204);
    assert_over(&twinline);
}

#[test]
fn a_source_that_is_gone_is_shown_until_it_is_back() {
    let (source, _destination, twinline) = start();
    source.set_faults(Faults { refuse: true, ..Faults::default() });
    eventually("it is shown", || {
        assert_eq!(write(&twinline, 1), 503);
        let status = twinline.status();
        if status["source_silent"] == Value::Null { Err(format!("{status:#}")) } else { Ok(()) }
    });
    assert_shown(&twinline, "efused");
    source.set_faults(Faults::default());
    eventually("writes work again", || match write(&twinline, 2) {
        204 => Ok(()),
        status => Err(status.to_string()),
    });
    assert_over(&twinline);
}
