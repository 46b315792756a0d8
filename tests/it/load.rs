//! Writers at work: how many points, and how they are sent.

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
    let mut all = Record::default();
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|number| {
                scope.spawn(move || {
                    let mut writer = Writer::new(source.kind, name, number, unsigned);
                    let mut connection = Connection::open(addr).unwrap();
                    let mut sizes = fastrand::Rng::with_seed(number as u64);
                    while writer.record.lines < points / WRITERS as u64 {
                        let left = points / WRITERS as u64 - writer.record.lines;
                        let batch = writer.batch(sizes.u64(1..=1000).min(left) as usize);
                        send(&mut connection, &source.authorization(), &batch);
                    }
                    writer.record
                })
            })
            .collect();
        for writer in writers {
            all.merge(writer.join().unwrap());
        }
    });
    all
}
