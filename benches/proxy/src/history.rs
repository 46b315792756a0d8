//! History for the measurements of copies: points of one measurement over some days, all series at each moment.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::database::Database;
use crate::wire::Client;

/// One day.
pub const DAY_NS: u64 = 86_400_000_000_000;
/// The first moment.
pub const BEGIN_NS: u64 = 1_700_006_400_000_000_000;
/// Of a request that fills a database.
pub const LINES: usize = 5_000;
const CONNECTIONS: usize = 4;

/// What there is to copy.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// All of them.
    pub points: u64,
    /// Of each point.
    pub fields: u64,
    /// They take turns.
    pub series: u64,
    /// Over which they are spread.
    pub days: u64,
}

impl Shape {
    /// Point by point, all series at each moment.
    fn line(self, at: u64, out: &mut Vec<u8>) {
        use std::io::Write as _;
        let (series, moment) = (at % self.series, at / self.series);
        let step = self.days * DAY_NS / (self.points / self.series).max(1);
        let time = BEGIN_NS + moment * step + series;
        let region = ["eu", "us", "ap"][series as usize % 3];
        let _ = write!(out, "cpu,host=server-{series:05},region={region} id={moment}i");
        for field in 1..self.fields {
            let _ = write!(out, ",f{field}={}.{}", (moment * 7 + series + field) % 100, 25 * (field % 4));
        }
        let _ = writeln!(out, " {time}");
    }

    /// As requests of so many lines.
    fn body(self, number: u64) -> Vec<u8> {
        let mut body = Vec::with_capacity(LINES * 100);
        let from = number * LINES as u64;
        (from..(from + LINES as u64).min(self.points)).for_each(|at| self.line(at, &mut body));
        body
    }

    fn bodies(self) -> u64 {
        self.points.div_ceil(LINES as u64)
    }

    /// Posts all points over some connections.
    pub fn load(self, database: &Database, name: &str) {
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..CONNECTIONS {
                scope.spawn(|| {
                    let mut client = database.client();
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed) as u64;
                        if number >= self.bodies() {
                            return;
                        }
                        post(&mut client, database, name, &self.body(number));
                    }
                });
            }
        });
    }
}

/// One write, which must be taken.
///
/// # Panics
/// When it is not.
pub fn post(client: &mut Client, database: &Database, name: &str, body: &[u8]) {
    let head = format!("{} HTTP/1.1\r\nHost: x\r\n{}", database.write(name), database.authorization());
    let message = [format!("{head}Content-Length: {}\r\n\r\n", body.len()).as_bytes(), body].concat();
    let status = client.send(&message).expect("an answer");
    assert_eq!(status, 204, "{}", String::from_utf8_lossy(&client.answer.body));
}
