//! The clients of the demonstration: two that give every line its time, and one that leaves the time to the database.
//!
//! A timed request without a good answer is repeated unchanged before anything newer: then neither an answer that was lost
//! nor a crash can cost a line or turn an order round. An untimed request cannot be repeated so (it would get another
//! time), therefore none is sent while Twinline is being killed.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use tokio::sync::Mutex;
use tokio::time::MissedTickBehavior;

use super::record::Record;
use crate::base::Side;
use crate::db::client::{Client, Endpoint};

/// Lines of one series in a request.
const LINES_EACH: usize = 10;
/// An answer may take this long on a busy machine.
const ANSWER_MAX: Duration = Duration::from_secs(120);
pub(super) const REPEAT_AFTER: Duration = Duration::from_millis(50);
const UNTIMED_EVERY: Duration = Duration::from_millis(100);
/// The measurement of the untimed lines.
pub(super) const UNTIMED: &str = "door";
/// Series of untimed lines: they get one time a request, so each line needs its own.
const DOORS: [&str; 3] = ["north", "south", "west"];

/// What the clients have seen so far.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Lines handed to Twinline, repeats not counted.
    pub(super) written: Cell<u64>,
    /// Lines answered with success.
    pub(super) acknowledged: Cell<u64>,
    /// Of the lines written: those that overwrite an earlier one.
    pub(super) overwrites: Cell<u64>,
    /// Of the lines written: those without a time.
    pub(super) untimed: Cell<u64>,
    /// Requests without a good answer; each was repeated, if timed.
    pub(super) unanswered_requests: Cell<u64>,
    /// The lines in them, each time.
    pub(super) unanswered_lines: Cell<u64>,
}

pub(super) fn add(to: &Cell<u64>, count: u64) {
    to.set(to.get() + count);
}

/// What all clients share with whoever directs them.
#[derive(Debug, Default)]
pub(super) struct Direction {
    pub(super) tally: Tally,
    /// Percent of the lines that overwrite.
    pub(super) overwrites_percent: Cell<u8>,
    pub(super) stop: Cell<bool>,
    /// The copy of history has ended: nobody changes history any more.
    pub(super) is_copied: Cell<bool>,
    /// Timed requests that wait for their answer.
    pub(super) under_way: Cell<u32>,
    /// Held by whoever is about to kill, by the untimed client during a request, and during a delete.
    pub(super) untimed_gate: Mutex<()>,
    /// Numbers of untimed lines that were acknowledged, and those of which nobody knows.
    pub(super) untimed_known: RefCell<Vec<i64>>,
    pub(super) untimed_unknown: RefCell<Vec<i64>>,
}

/// A connection of its own to Twinline.
#[derive(Debug)]
pub(super) struct Door {
    client: Client,
    host: String,
    database: String,
}

impl Door {
    pub(super) fn new(port: u16, database: &str) -> Self {
        let endpoint = Endpoint {
            host: "127.0.0.1".to_owned(),
            port,
            tls: None,
            connect_timeout: Duration::from_secs(10),
            connections_max: 1,
            turn_max: Duration::from_secs(10),
            idle_max: Duration::from_secs(30),
        };
        let client = Client::new(endpoint, Side::Own);
        Self { client, host: format!("127.0.0.1:{port}"), database: database.to_owned() }
    }

    /// Whether the write was answered with success.
    pub(super) async fn write(&self, body: Bytes) -> bool {
        let path = format!("/write?db={}", self.database);
        self.post(&path, body).await.is_some_and(|(status, _)| status.is_success())
    }

    /// Whether the statement ran.
    pub(super) async fn run(&self, statement: &str) -> bool {
        let statement = percent_encoding::utf8_percent_encode(statement, percent_encoding::NON_ALPHANUMERIC);
        let path = format!("/query?db={}&q={statement}", self.database);
        let Some((status, body)) = self.post(&path, Bytes::new()).await else { return false };
        // An error of the statement comes with the status of success.
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
        status.is_success() && body["results"][0]["statement_id"] == 0 && body["results"][0]["error"].is_null()
    }

    async fn post(&self, path: &str, body: Bytes) -> Option<(StatusCode, Bytes)> {
        let whole = Full::new(body).map_err(|never| match never {}).boxed_unsync();
        let request = Request::builder().method(Method::POST).uri(path).header("Host", &self.host);
        let request = request.body(whole).ok()?;
        let exchange = async {
            let answer = self.client.send(request).await.ok()?;
            let status = answer.status();
            // Read to its end, so that the connection can be used again.
            Some((status, answer.into_body().collect().await.ok()?.to_bytes()))
        };
        tokio::time::timeout(ANSWER_MAX, exchange).await.ok().flatten()
    }
}

/// Writes timed lines until told to stop, then ends with everything acknowledged and gives its record.
pub(super) async fn timed(
    direction: Rc<Direction>,
    mut record: Record,
    port: u16,
    database: &str,
    every: Duration,
) -> Record {
    let door = Door::new(port, database);
    let mut pace = tokio::time::interval(every);
    // After a pause it goes on at its pace: a burst would only show the machine's speed.
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let tally = &direction.tally;
    while !direction.stop.get() {
        pace.tick().await;
        let mut body = String::new();
        let made = record.next(LINES_EACH, direction.overwrites_percent.get(), &mut body);
        add(&tally.written, made.lines);
        add(&tally.overwrites, made.overwrites);
        let body = Bytes::from(body);
        while !under_way(&direction.under_way, door.write(body.clone())).await {
            add(&tally.unanswered_requests, 1);
            add(&tally.unanswered_lines, made.lines);
            tokio::time::sleep(REPEAT_AFTER).await;
        }
        add(&tally.acknowledged, made.lines);
    }
    record
}

pub(super) async fn under_way<T>(count: &Cell<u32>, request: impl Future<Output = T>) -> T {
    count.set(count.get() + 1);
    let answer = request.await;
    count.set(count.get() - 1);
    answer
}

/// The pause between requests of one timed client that writes `series` series, for so many lines a second.
pub(super) fn pause(series: usize, lines_per_s: u64) -> Duration {
    Duration::from_secs_f64((series * LINES_EACH) as f64 / lines_per_s.max(1) as f64)
}

/// Writes untimed lines until told to stop.
pub(super) async fn untimed(direction: Rc<Direction>, port: u16, database: &str) {
    let door = Door::new(port, database);
    let (tally, lines) = (&direction.tally, DOORS.len() as u64);
    let mut number = 0;
    while !direction.stop.get() {
        tokio::time::sleep(UNTIMED_EVERY).await;
        let Ok(_gate) = direction.untimed_gate.try_lock() else { continue };
        let numbers: Vec<i64> = (number..).take(DOORS.len()).collect();
        number += DOORS.len() as i64;
        let line = |(door, number): (&&str, &i64)| format!("{UNTIMED},name={door} opened={number}i\n");
        let body: String = DOORS.iter().zip(&numbers).map(line).collect();
        if door.write(Bytes::from(body)).await {
            add(&tally.written, lines);
            add(&tally.untimed, lines);
            add(&tally.acknowledged, lines);
            direction.untimed_known.borrow_mut().extend(numbers);
        } else {
            add(&tally.unanswered_requests, 1);
            add(&tally.unanswered_lines, lines);
            direction.untimed_unknown.borrow_mut().extend(numbers);
        }
    }
}

/// The cells of untimed lines with these numbers, at time 0.
pub(super) fn untimed_cells(numbers: &[i64]) -> Vec<crate::cell::Cell> {
    use crate::cell::{Cell, Series, Value};
    let series = DOORS.map(|door| {
        std::sync::Arc::new(Series::new(UNTIMED.into(), vec![(b"name".to_vec(), door.as_bytes().to_vec())]))
    });
    let cell = |number: &i64| Cell {
        series: series[number.rem_euclid(DOORS.len() as i64) as usize].clone(),
        field: b"opened".as_slice().into(),
        time_ns: 0,
        value: Value::Integer(*number),
    };
    numbers.iter().map(cell).collect()
}
