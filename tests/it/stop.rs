//! The end of the process and its next start: what was acknowledged is delivered, by this process or the next.

use std::sync::Mutex;
use std::time::Duration;

use rustix::process::Signal;

use crate::database::{Kind, shared};
use crate::http::Connection;
use crate::load::send;
use crate::proxy::Setup;
use crate::record::{Batch, Record, Writer};

/// Writes until the proxy does not answer any more; gives back the batch that had no answer.
fn write_until_the_end(addr: &str, writer: &mut Writer) -> Option<Batch> {
    let mut connection = Connection::open(addr).unwrap();
    loop {
        let batch = writer.batch(50);
        let headers: &[&str] = if batch.gzip { &["Content-Encoding: gzip"] } else { &[] };
        match connection.call(&format!("POST {}", batch.target), headers, &batch.body) {
            Ok(answer) => {
                assert_eq!(answer.status, 204, "{}", answer.text());
                // Between requests a connection may be closed without harm.
                if answer.header("connection") == Some("close") {
                    return None;
                }
            }
            Err(_) => return Some(batch),
        }
    }
}

#[test]
fn sigterm_under_load_loses_nothing_and_ends_with_143() {
    let name = "sigterm";
    let (source, destination) = (shared(Kind::One, 0), shared(Kind::Two, 0));
    source.create(name);
    destination.create(name);
    let mut twinline = Setup::new(source.section(), destination.section()).start();
    let mut writers: Vec<Writer> = (0..3).map(|number| Writer::new(source.kind, name, number, false)).collect();
    for writer in &mut writers {
        // A line without a time that is repeated is another point.
        writer.untimed_of_256 = 0;
    }
    for _ in 0..2 {
        let unanswered = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for writer in &mut writers {
                let (addr, unanswered) = (twinline.addr.clone(), &unanswered);
                scope.spawn(move || {
                    let batch = write_until_the_end(&addr, writer);
                    unanswered.lock().unwrap().extend(batch);
                });
            }
            std::thread::sleep(Duration::from_millis(700));
            twinline.signal(Signal::TERM);
        });
        assert_eq!(twinline.wait().code(), Some(143));
        twinline.start_again();
        for batch in unanswered.into_inner().unwrap() {
            send(&mut twinline.connect(), "X-Repeated: yes", &batch);
        }
    }
    let mut record = Record::default();
    for writer in writers {
        record.merge(writer.record);
    }
    // Right after a start the figures are not counted yet.
    let status = twinline.until("everything is delivered", |status| {
        status["lines"]["queued"] == 0 && status["lines"]["delivered"].as_u64() >= Some(record.lines)
    });
    assert_eq!(status["lines"]["doubt"], 0, "an orderly end leaves no doubt: {status:#}");
    record.assert_held("source", &source.cells(name));
    record.assert_held("destination", &destination.cells(name));
}

#[test]
fn a_second_instance_on_one_data_directory_is_refused_and_the_first_goes_on() {
    let name = "second_instance";
    let (source, destination) = (shared(Kind::One, 0), shared(Kind::Two, 0));
    source.create(name);
    destination.create(name);
    let twinline = Setup::new(source.section(), destination.section()).start();
    let second = twinline.command(&["run"]);
    let said = String::from_utf8_lossy(&second.stderr);
    assert_eq!(second.status.code(), Some(11), "{said}");
    assert!(said.contains("data"), "{said}");
    assert_eq!(twinline.call(&format!("POST /write?db={name}"), &[], "m v=1 1").status, 204);
    twinline.delivered(1);
    assert_eq!(twinline.command(&["status"]).status.code(), Some(0));
}

/// A terminal that closes, or an operator who wants a configuration read again.
#[test]
fn a_hangup_changes_nothing() {
    let name = "sighup";
    let (source, destination) = (shared(Kind::One, 0), shared(Kind::Two, 0));
    source.create(name);
    destination.create(name);
    let mut twinline = Setup::new(source.section(), destination.section()).start();
    for at in 0..3 {
        twinline.signal(Signal::HUP);
        assert_eq!(twinline.call("POST /write?db=sighup", &[], format!("m v=1 {at}")).status, 204);
    }
    twinline.delivered(3);
    assert_eq!(twinline.stop(Signal::TERM).code(), Some(143));
}
