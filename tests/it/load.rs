//! Writers at work: how many points, and how they are sent.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::database::Database;
use crate::http::Connection;
use crate::record::{Batch, Record, Writer};

/// Writers beside each other, each with series of its own.
const WRITERS: usize = 2;

/// Points of one pair; `TWINLINE_POINTS` says otherwise.
pub(crate) fn points() -> u64 {
    number("TWINLINE_POINTS", 20_000)
}

pub(crate) fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap_or_else(|e| panic!("{variable}: {e}")))
}

/// Sends one batch; it must be answered with 204.
pub(crate) fn send(to: &mut Connection, authorization: &str, batch: &Batch) {
    let headers: &[&str] = if batch.gzip { &[authorization, "Content-Encoding: gzip"] } else { &[authorization] };
    let answer = to.call(&format!("POST {}", batch.target), headers, &batch.body);
    let answer = answer.unwrap_or_else(|e| panic!("{}: {e}", batch.target));
    assert_eq!(answer.status, 204, "{}: {}", batch.target, answer.text());
}

/// Writes so many points through `addr` with several writers.
pub(crate) fn write_all(addr: &str, source: &Database, name: &str, points: u64, unsigned: bool) -> Record {
    let share = points / WRITERS as u64;
    write_each(addr, source, name, unsigned, |writer| {
        let left = share - writer.record.lines;
        (left > 0).then(|| left.min(1000) as usize)
    })
}

/// Writes small batches for as long as `meanwhile` takes.
pub(crate) fn under_load(addr: &str, source: &Database, name: &str, meanwhile: impl FnOnce() + Send) -> Record {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let over = &over;
        scope.spawn(move || {
            // Also when it panics: the writers must come to an end.
            let _ends = Ends(over);
            meanwhile();
        });
        write_each(addr, source, name, false, |_| {
            std::thread::sleep(Duration::from_millis(5));
            (!over.load(Ordering::Relaxed)).then_some(50)
        })
    })
}

struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Several writers; `next` says how many lines the next batch of a writer may have at most, or that it is done.
fn write_each(
    addr: &str,
    source: &Database,
    name: &str,
    unsigned: bool,
    next: impl Fn(&Writer) -> Option<usize> + Sync,
) -> Record {
    let work = |number: usize| {
        let mut writer = Writer::new(source.kind, name, number, unsigned);
        let mut connection = Connection::open(addr).unwrap();
        let mut sizes = fastrand::Rng::with_seed(number as u64);
        while let Some(most) = next(&writer) {
            let batch = writer.batch(sizes.usize(1..=most));
            send(&mut connection, &source.authorization(), &batch);
        }
        writer.record
    };
    let mut all = Record::default();
    std::thread::scope(|scope| {
        let work = &work;
        let writers: Vec<_> = (0..WRITERS).map(|number| scope.spawn(move || work(number))).collect();
        for writer in writers {
            all.merge(writer.join().unwrap());
        }
    });
    all
}
