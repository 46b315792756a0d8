//! A start whose disk is slow or full, or whose queue is long: clients are served first.

use rustix::process::Signal;
use twinline::sandbox::{Faults, Options, Sandbox};

use crate::proxy::Setup;

/// Two databases, each with `d`, and how a proxy between them is started.
fn sandboxes() -> (Sandbox, Sandbox, Setup) {
    let [source, destination] = [(), ()].map(|()| Sandbox::spawn_thread(Options::default()).unwrap());
    for sandbox in [&source, &destination] {
        sandbox.create_database("d");
    }
    let url = |sandbox: &Sandbox| format!("url = \"{}\"\nkind = \"influxdb1\"", sandbox.url());
    let setup = Setup::new(url(&source), url(&destination));
    (source, destination, setup)
}

/// The same with `data_dir` on a file system of 24 MiB, of which the log may use so much.
fn on_a_small_disk(log_max: &str) -> (Sandbox, Sandbox, Setup) {
    let (source, destination, mut setup) = sandboxes();
    setup.data_mib = Some(24);
    setup.queue = format!("segment_size = \"1MiB\"\nmax_size = \"{log_max}\"\nreserve_free = \"0\"");
    (source, destination, setup)
}

/// Each read of the log takes a tenth of a second: to look at all records would take minutes.
#[test]
fn clients_are_served_before_the_backlog_is_counted_and_status_says_so() {
    const WRITES: u64 = 400;
    const LINES: u64 = 300;
    let (_source, destination, mut setup) = sandboxes();
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

/// No room for a single file: the log begins when there is some; until then each write is a gap.
#[test]
fn a_start_on_a_full_disk_serves_with_gaps_and_the_queue_takes_writes_again_by_itself() {
    let (_source, destination, setup) = on_a_small_disk("16MiB");
    let mut twinline = setup.start();
    assert_eq!(twinline.call("POST /write?db=d", &[], "m v=1 1").status, 204);
    twinline.delivered(1);
    destination.set_faults(Faults { refuse: true, ..Faults::default() });
    let mut sent = 1;
    let mut write = |twinline: &crate::proxy::Twinline, lines: u64| {
        let body: String = (sent..sent + lines).map(|at| format!("m,t={at:0100} v=1 {at}\n")).collect();
        sent += lines;
        assert_eq!(twinline.call("POST /write?db=d", &[], body).status, 204);
        sent
    };
    for _ in 0..100 {
        write(&twinline, 100);
    }
    for signal in [Signal::KILL, Signal::TERM, Signal::KILL] {
        twinline.stop(signal);
        twinline.remove_prepared();
        twinline.fill_disk();
        twinline.start_again();
        let status = twinline.until("it shows itself", |status| status["age_s"].as_f64() > Some(0.0));
        assert_eq!(status["queue"]["full"], true, "{status:#}");
        // In the gap log; the state store can take that over, and show it, only when it has room.
        write(&twinline, 100);
    }
    twinline.free_disk();
    destination.set_faults(Faults::default());
    crate::proxy::eventually("the queue takes writes again", || {
        let before = twinline.status()["lines"]["delivered"].as_u64();
        write(&twinline, 1);
        std::thread::sleep(std::time::Duration::from_millis(300));
        let after = twinline.status()["lines"]["delivered"].as_u64();
        if after == before { Err(format!("{after:?}")) } else { Ok(()) }
    });
    let all = write(&twinline, 1);
    let status = twinline.settled(all);
    assert_eq!(status["queue"]["full"], false, "{status:#}");
    let delivered = status["lines"]["delivered"].as_u64().unwrap();
    assert_eq!(destination.cells("d", "").len() as u64, delivered, "a gap is not delivered");
}

/// Nothing was ever written there: without room for its state and the gap record it does not begin, and says what to do.
#[test]
fn a_first_start_on_a_full_disk_ends_with_what_to_do_and_the_next_one_begins() {
    let (_source, destination, setup) = on_a_small_disk("8MiB");
    let place = setup.place();
    for (left_kib, what, hint) in [
        (0, "state.db: state store: ", "Next: free a few MiB on the disk of data_dir"),
        (64, "state.db: state store: ", "Next: free a few MiB on the disk of data_dir"),
        (1024, "cannot open the gap log in ", "Next: free 2 MiB on the disk of that directory"),
    ] {
        place.fill_disk_but(left_kib);
        let (exit, said) = place.start_that_fails();
        assert_eq!(exit, Some(1), "{left_kib} KiB: {said}");
        assert!(said.contains(what) && said.contains(hint) && !said.contains("panicked"), "{left_kib} KiB: {said}");
    }
    place.fill_disk_but(16 << 10);
    let twinline = place.start();
    assert_eq!(twinline.call("POST /write?db=d", &[], "m v=1 1").status, 204);
    twinline.delivered(1);
    assert_eq!(destination.cells("d", "").len(), 1);
}

/// As a stop with everything delivered leaves it, and then somebody fills the disk.
#[test]
fn a_start_on_a_disk_that_was_filled_after_an_orderly_stop_serves() {
    let (_source, destination, setup) = on_a_small_disk("8MiB");
    let mut twinline = setup.start();
    assert_eq!(twinline.call("POST /write?db=d", &[], "m v=1 1").status, 204);
    twinline.delivered(1);
    twinline.stop(Signal::TERM);
    twinline.fill_disk();
    twinline.start_again();
    assert_eq!(twinline.call("POST /write?db=d", &[], "m v=2 2").status, 204);
    twinline.free_disk();
    let status = twinline.settled(2);
    assert_eq!(destination.cells("d", "").len() as u64, status["lines"]["delivered"].as_u64().unwrap(), "{status:#}");
}

#[test]
fn a_ballast_that_does_not_fit_is_told_once_with_what_to_do() {
    let (_source, _destination, setup) = on_a_small_disk("8MiB");
    let mut twinline = setup.start();
    for start in 0..3 {
        let events = twinline.admin("/api/v1/events?limit=1000").json();
        let told: Vec<&str> = events["events"].as_array().unwrap().iter().filter_map(|e| e["text"].as_str()).collect();
        let told: Vec<&&str> = told.iter().filter(|text| text.contains("ballast")).collect();
        assert_eq!(told.len(), 1, "start {start}: {events:#}");
        for words in ["takes 16 MiB where 64 MiB are free", "the whole disk has 24 MiB", "set queue.ballast smaller"] {
            assert!(told[0].contains(words), "{words}: {told:?}");
        }
        twinline.stop(if start == 0 { Signal::KILL } else { Signal::TERM });
        twinline.start_again();
    }
}

/// Before it can say anything it asks the databases what they are, and they may take their time.
#[test]
fn a_status_during_a_start_says_so() {
    let (source, _destination, setup) = sandboxes();
    let mut twinline = setup.start();
    twinline.stop(Signal::TERM);
    let status = |twinline: &crate::proxy::Twinline| {
        let done = twinline.command(&["status"]);
        (done.status.code(), String::from_utf8(done.stderr).unwrap())
    };
    let (code, said) = status(&twinline);
    assert!(code == Some(10) && said.starts_with("twinline: no twinline answers at"), "{said}");
    // Connections stand, and nobody takes them up.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let file = twinline.data().join("../twinline.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let other = format!("http://{}", silent.local_addr().unwrap());
    // The first address is that of clients: where they were before.
    let text = text.replacen("127.0.0.1:0", &twinline.addr, 1);
    std::fs::write(&file, text.replace(&source.url(), &other)).unwrap();
    let mut starting = twinline.begin_command(&["run"], "");
    let words = format!("twinline starts or ends: process {} has ", starting.id());
    let starts = || {
        let (code, said) = status(&twinline);
        if code == Some(10) && said.contains(&words) { Ok(()) } else { Err(said) }
    };
    crate::proxy::eventually("it starts", starts);
    // Clients wait meanwhile; nobody refuses them.
    crate::proxy::eventually("clients are let in while it starts", || {
        let waits = std::net::TcpStream::connect(&twinline.addr).map_err(|refused| refused.to_string());
        starts().and_then(|()| waits.map(drop))
    });
    starting.kill().unwrap();
    starting.wait().unwrap();
}
