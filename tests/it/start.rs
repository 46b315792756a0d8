//! A start whose disk is slow, or whose queue is long: clients are served first.

use rustix::process::Signal;
use twinline::sandbox::{Faults, Options, Sandbox};

use crate::proxy::Setup;

/// Each read of the log takes a tenth of a second: to look at all records would take minutes.
#[test]
fn clients_are_served_before_the_backlog_is_counted_and_status_says_so() {
    const WRITES: u64 = 400;
    const LINES: u64 = 300;
    let [source, destination] = [(), ()].map(|()| Sandbox::spawn_thread(Options::default()).unwrap());
    for sandbox in [&source, &destination] {
        sandbox.create_database("d");
    }
    let url = |sandbox: &Sandbox| format!("url = \"{}\"\nkind = \"influxdb1\"", sandbox.url());
    let mut setup = Setup::new(url(&source), url(&destination));
    setup.delivery.push_str("\nbatch_bytes = \"1MiB\"\npending_bytes = \"2MiB\"");
    let mut twinline = setup.start();
    destination.set_faults(Faults { refuse: true, ..Faults::default() });
    let body = |at: u64| -> String { (0..LINES).map(|n| format!("m,t={n:0100} v=1 {at}\n")).collect() };
    for at in 0..WRITES {
        assert_eq!(twinline.call("POST /write?db=d", &[], body(at)).status, 204);
    }
    twinline.stop(Signal::KILL);
    twinline.hold("reads /wal/seg/");
    twinline.start_again();
    assert_eq!(twinline.call("POST /write?db=d", &[], "m v=1 1").status, 204);
    let status = twinline.status();
    assert_eq!(status["queue"]["counting"], true, "{status:#}");
    assert!(status["lines"]["queued"].as_u64() < Some(WRITES * LINES), "{status:#}");
    let text = String::from_utf8(twinline.command(&["status"]).stdout).unwrap();
    assert!(text.contains("queued         still counting, "), "{text}");
    twinline.hold("");
    let all = WRITES * LINES + 1;
    let status = twinline.until("all is counted", |status| status["queue"]["counting"] == false);
    assert_eq!(status["lines"]["queued"], all, "{status:#}");
    destination.set_faults(Faults::default());
    twinline.delivered(all);
    assert_eq!(destination.cells("d", "").len() as u64, all);
}
