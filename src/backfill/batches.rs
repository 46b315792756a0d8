//! A point for each chunk that is at the destination, as dashboards of migrations know them: measurement `batches` with `batch_start`,
//! `batch_stop`, `rows` and `percent_complete`, by the names of both places.
//!
//! Promise: a point is sent only once its chunk is durable, and never stops or slows the copy: at most [`WAITING_MAX`] wait, and what
//! cannot be written is left out, which is told once. They go where `backfill.batches` says; where that is empty there are none.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::post::{Posted, post};
use super::progress::ALL_PPM;
use super::scope::Place;
use super::write::Writer;
use crate::base::clock::rfc3339;
use crate::db::answer::Action;
use crate::db::product::Product;
use crate::db::read::Window;
use crate::delivery::write_path;
use crate::route::{RouteName, Target, TargetKind};

/// Under this name the log tells of them.
const EVENT: &str = "backfill.batches";
/// Points that wait to be sent.
pub const WAITING_MAX: usize = 1_000;
/// One that is not taken is sent so often, with this pause.
const TRIES: u32 = 3;
const AGAIN: Duration = Duration::from_secs(1);
/// At the end of a job they have this long.
const END_MAX: Duration = Duration::from_secs(10);

/// A chunk that is done.
#[derive(Clone, Debug)]
pub struct Batch<'a> {
    /// Where it is from, and where it went.
    pub place: &'a Place,
    /// Its measurement.
    pub measurement: &'a [u8],
    /// Its times.
    pub window: Window,
    /// Its points.
    pub rows: u64,
    /// When its read began, by the clock on the wall.
    pub started_ns: i64,
    /// How far the job is with it, ppm.
    pub done_ppm: u64,
}

/// Who sends them. Of one thread.
#[derive(Debug)]
pub struct Batches {
    job: i64,
    writer: Rc<Writer>,
    waiting: mpsc::Sender<String>,
    sending: JoinHandle<()>,
    /// The time of the last one, ns: no two have the same.
    last_ns: i64,
    is_told: bool,
    /// Tags of each place of which there is a point.
    places: BTreeSet<String>,
}

impl Batches {
    /// Of this job.
    #[must_use]
    pub fn new(job: i64, writer: &Rc<Writer>) -> Self {
        let (waiting, taken) = mpsc::channel(WAITING_MAX);
        let sending = tokio::task::spawn_local(send(Rc::clone(writer), taken));
        Self {
            job,
            writer: Rc::clone(writer),
            waiting,
            sending,
            last_ns: i64::MIN,
            is_told: false,
            places: BTreeSet::new(),
        }
    }

    /// A chunk is done, and durable.
    pub fn done(&mut self, batch: &Batch<'_>) {
        if batch.rows == 0 || self.writer.throttle.limits().now().batches.is_empty() {
            return;
        }
        let now_ns = self.writer.clock.wall_ns();
        let tags = tags(self.job, batch.place);
        let line = format!("batches{tags} {} {}\n", fields(batch, now_ns), self.time(now_ns));
        self.places.insert(tags);
        self.send(line);
    }

    /// A time that no other one has, in the unit that the destination reads.
    fn time(&mut self, now_ns: i64) -> i64 {
        // Two of one millisecond would be one.
        let unit = if self.writer.product == Product::Victoria { 1_000_000 } else { 1 };
        self.last_ns = now_ns.max(self.last_ns.saturating_add(unit));
        self.last_ns / unit
    }

    fn send(&mut self, line: String) {
        if self.waiting.try_send(line).is_err() && !std::mem::replace(&mut self.is_told, true) {
            let text = format!("more than {WAITING_MAX} points of batches wait: some are left out");
            self.writer.progress.tell(EVENT, text);
        }
    }

    /// The job has ended, with all that there is or without: what waits has a moment yet.
    pub async fn end(mut self, is_all: bool) {
        for tags in std::mem::take(&mut self.places).into_iter().filter(|_| is_all) {
            let now_ns = self.writer.clock.wall_ns();
            let line = format!("batches{tags} percent_complete=100.0,rows=0i {}\n", self.time(now_ns));
            self.send(line);
        }
        drop(self.waiting);
        if tokio::time::timeout(END_MAX, self.sending).await.is_err() {
            let text = "points of batches were not taken in time and are left out".to_owned();
            self.writer.progress.tell(EVENT, text);
        }
    }
}

/// Sends what comes, as much as there is at once.
async fn send(writer: Rc<Writer>, mut taken: mpsc::Receiver<String>) {
    let (mut lines, mut is_told) = (Vec::new(), false);
    while taken.recv_many(&mut lines, WAITING_MAX).await > 0 {
        let body = Bytes::from(lines.concat());
        lines.clear();
        let Some(why) = refused(&writer, body).await else { continue };
        if !std::mem::replace(&mut is_told, true) {
            let place = writer.throttle.limits().now().batches.clone();
            let text = format!("points of batches cannot be written to {place}, and are left out: {why}");
            writer.progress.tell(EVENT, text);
        }
    }
}

/// Why they were not taken, if they were not.
async fn refused(writer: &Writer, body: Bytes) -> Option<String> {
    let target = target(&writer.throttle.limits().now().batches, &writer.kind);
    let path = format!("{}{}", writer.server.prefix(), write_path(writer.product, &target));
    let mut why = String::new();
    for tries in 0..TRIES {
        if tries > 0 {
            tokio::time::sleep(AGAIN).await;
        }
        why = match post(&writer.server, writer.product, &path, body.clone()).await {
            Ok(Posted::Answered(verdict)) => match verdict.action {
                Action::Acknowledge => return None,
                // It will say the same again.
                Action::Pause(_) => return Some(verdict.reason()),
                _ => verdict.reason(),
            },
            Ok(Posted::NotSent(error) | Posted::Unanswered(error)) | Err(error) => error.to_string(),
        };
    }
    Some(why)
}

/// The place of this name: a database, `database/policy`, or a bucket.
fn target(name: &str, kind: &TargetKind) -> Target {
    match kind {
        TargetKind::Bucket { org, .. } => {
            Target::Bucket { org: org.clone().unwrap_or_default(), bucket: name.to_owned() }
        }
        TargetKind::Database | TargetKind::Labels { .. } => {
            let (db, rp) = name.split_once('/').unwrap_or((name, ""));
            Target::Database { db: db.to_owned(), rp: rp.to_owned() }
        }
    }
}

fn tags(job: i64, place: &Place) -> String {
    let (org, from) = match &place.name {
        RouteName::Database { .. } => ("", place.name.to_string()),
        RouteName::Bucket { org, bucket } => (org.as_str(), bucket.clone()),
    };
    let to = match &place.target {
        Target::Database { db, rp } if rp.is_empty() => db.clone(),
        Target::Database { db, rp } => format!("{db}/{rp}"),
        Target::Bucket { bucket, .. } => bucket.clone(),
    };
    let job = job.to_string();
    let tags = [("dstBucket", to.as_str()), ("job", &job), ("srcBucket", &from), ("srcOrg", org)];
    tags.iter().filter(|(_, value)| !value.is_empty()).map(|(key, value)| format!(",{key}={}", tag(value))).collect()
}

fn fields(batch: &Batch<'_>, now_ns: i64) -> String {
    let measurement = String::from_utf8_lossy(batch.measurement);
    let (start, stop) = (rfc3339(batch.window.start_ns), rfc3339(batch.window.end_ns));
    let percent = batch.done_ppm as f64 * 100.0 / ALL_PPM as f64;
    let took_ms = now_ns.saturating_sub(batch.started_ns).max(0) / 1_000_000;
    format!(
        "batch_start={},batch_stop={},measurement={},percent_complete={percent:?},rows={}i,took_ms={took_ms}i",
        text(&start),
        text(&stop),
        text(&measurement),
        batch.rows
    )
}

fn tag(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for c in value.chars() {
        match c {
            ',' | '=' | ' ' => out.extend(['\\', c]),
            // A backslash before one of these, or at the end, would be none any more; lines end at a line break.
            '\\' => out.push('/'),
            c if c.is_control() => out.push('_'),
            c => out.push(c),
        }
    }
    out
}

fn text(value: &str) -> String {
    let mut out = String::from("\"");
    for c in value.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push('_'),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_dashboards_ask_for_however_odd_the_names() {
        let name = RouteName::Bucket { org: "my org".to_owned(), bucket: "a,b=c\\".to_owned() };
        let target = Target::Database { db: "d".to_owned(), rp: "two years".to_owned() };
        let place = Place { name, read_as: (String::new(), String::new()), target, shape: None };
        let window = Window { start_ns: 0, end_ns: 1_700_000_000_000_000_000 };
        let batch = Batch {
            place: &place,
            measurement: b"m \"x\"\n",
            window,
            rows: 7,
            started_ns: 1_000_000,
            done_ppm: 125_000,
        };
        assert_eq!(tags(3, &place), ",dstBucket=d/two\\ years,job=3,srcBucket=a\\,b\\=c/,srcOrg=my\\ org");
        assert_eq!(
            fields(&batch, 5_000_000),
            "batch_start=\"1970-01-01T00:00:00Z\",batch_stop=\"2023-11-14T22:13:20Z\",measurement=\"m \\\"x\\\"_\",\
             percent_complete=12.5,rows=7i,took_ms=4i"
        );
    }
}
