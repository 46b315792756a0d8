//! Writers with a connection each and series of their own: as fast as they are answered, or on a schedule that waits for nobody.
//!
//! What a writer sends next has the next number only when the last one was acknowledged, so the order of each series is known.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::bodies::Body;
use crate::wire::Client;

/// No answer is waited for longer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What is to be sent.
#[derive(Clone, Debug)]
pub struct Load {
    /// Where to.
    pub addr: String,
    /// Method and target.
    pub write: String,
    /// Headers with their line ends.
    pub headers: String,
    /// Connections.
    pub writers: usize,
    /// In each request.
    pub lines: usize,
    /// For so long.
    pub lasts: Duration,
    /// Requests a second, all writers together; none: as fast as they are answered.
    pub rate: Option<f64>,
    /// No more than so many requests by each writer.
    pub most: u64,
}

/// One request.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// When it was due, from the beginning.
    pub due: Duration,
    /// How long after that it was answered.
    pub took: Duration,
    /// Whether with success.
    pub good: bool,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Every request, by no order.
    pub sent: Vec<Sent>,
    /// How many lines each series was acknowledged.
    pub numbers: Vec<u64>,
    /// How long it took.
    pub took: Duration,
}

impl Outcome {
    /// Acknowledged requests.
    #[must_use]
    pub fn good(&self) -> u64 {
        self.sent.iter().filter(|sent| sent.good).count() as u64
    }

    /// Milliseconds within which this share of the requests due in a span were answered, how many failed, and how many there were.
    #[must_use]
    pub fn within(&self, from: Duration, to: Duration, share: f64) -> (f64, u64, u64) {
        let of_span = || self.sent.iter().filter(|sent| sent.due >= from && sent.due < to);
        let mut took: Vec<u64> = of_span().map(|sent| sent.took.as_micros() as u64).collect();
        let failed = of_span().filter(|sent| !sent.good).count() as u64;
        (crate::percentile(&mut took, share) as f64 / 1e3, failed, took.len() as u64)
    }
}

impl Load {
    /// Runs it to its end. `acknowledged` grows by lines meanwhile.
    #[must_use]
    pub fn run(&self, began: Instant, acknowledged: &AtomicU64) -> Outcome {
        let mut all = Outcome { numbers: vec![0; self.writers * self.lines], ..Outcome::default() };
        std::thread::scope(|scope| {
            let writers: Vec<_> =
                (0..self.writers).map(|writer| scope.spawn(move || self.write(writer, began, acknowledged))).collect();
            for (writer, handle) in writers.into_iter().enumerate() {
                let (sent, number) = handle.join().expect("no writer panics");
                all.sent.extend(sent);
                all.numbers[writer * self.lines..(writer + 1) * self.lines].fill(number);
            }
        });
        all.took = began.elapsed();
        all
    }

    fn write(&self, writer: usize, began: Instant, acknowledged: &AtomicU64) -> (Vec<Sent>, u64) {
        let mut client = Client::new(&self.addr, TIMEOUT);
        let mut body = Body::new(writer * self.lines, self.lines);
        let head =
            format!("{} HTTP/1.1\r\nHost: x\r\n{}Content-Length: {}\r\n\r\n", self.write, self.headers, body.length());
        let mut message = Vec::with_capacity(head.len() + body.length());
        let (mut sent, mut number) = (Vec::new(), 0);
        // Writers take turns.
        let step = self.rate.map(|rate| Duration::from_secs_f64(self.writers as f64 / rate));
        let first = step.map_or(Duration::ZERO, |step| step.mul_f64(writer as f64 / self.writers as f64));
        for turn in 0..self.most {
            let due = match step {
                Some(step) => first + step.mul_f64(turn as f64),
                None => began.elapsed(),
            };
            if due >= self.lasts {
                break;
            }
            std::thread::sleep((began + due).saturating_duration_since(Instant::now()));
            message.clear();
            message.extend_from_slice(head.as_bytes());
            message.extend_from_slice(body.numbered(number));
            let good = client.send(&message).is_ok_and(|status| status == 204);
            sent.push(Sent { due, took: began.elapsed().saturating_sub(due), good });
            if good {
                number += 1;
                acknowledged.fetch_add(self.lines as u64, Ordering::Relaxed);
            } else if step.is_none() {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        (sent, number)
    }
}
