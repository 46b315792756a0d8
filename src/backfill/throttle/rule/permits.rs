//! Who may ask the source, and who may write to the destination, by numbers alone: rates, budgets, how many at once.
//!
//! Promise: whoever got a permit gives it back once; nobody else is let in meanwhile. A query is let in only where the budget of the
//! destination has room for what will come of it: the region that it reads is held back until that is written.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use super::{Budget, Check, No, Quota, Rate};
use crate::base::size::{ByteSize, show_span};
use crate::config::Backfill;

/// What is newer counts for so much in what a query is expected to bring.
const NEW_PART: f64 = 0.3;
/// A window is as wide as a budget has room for so many of them.
const WINDOWS_OF_BUDGET: u64 = 8;

/// Which database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The source.
    Source,
    /// The destination.
    Destination,
}

/// What may be read of the source: one for all destinations. All clones are one.
#[derive(Clone, Debug, Default)]
pub struct OfSource(Rc<RefCell<Reads>>);

#[derive(Debug, Default)]
struct Reads {
    budget: Budget,
    /// Until when it wants to be left alone.
    rest: Duration,
}

/// All that is counted.
#[derive(Clone, Debug, Default)]
pub struct Permits {
    rows: Rate,
    bytes: Rate,
    source: OfSource,
    write: Budget,
    queries: u64,
    requests: u64,
    /// Until when the destination wants to be left alone.
    rest: Duration,
    /// Bytes of a query's answer, and of what was written of it, smoothed.
    expected: f64,
    expected_written: f64,
    /// Written since the last query began.
    written: u64,
}

/// The budget of reads.
#[must_use]
fn read_quota(limits: &Backfill) -> Quota {
    Quota { bytes: limits.quota_read.0, share: limits.quota_share, window: limits.quota_window }
}

/// The budget of writes.
#[must_use]
fn write_quota(limits: &Backfill) -> Quota {
    Quota { bytes: limits.quota_write.0, share: limits.quota_share, window: limits.quota_window }
}

fn no(check: Check, why: String, again: Duration) -> No {
    No { check, why, again: Some(again) }
}

impl Permits {
    /// Those of a destination, beside others that read the same source.
    #[must_use]
    pub fn sharing(source: OfSource) -> Self {
        Self { source, ..Self::default() }
    }

    /// Lets a query in, or says why not. Its expected bytes are taken: they go back in [`Permits::read`].
    ///
    /// # Errors
    /// What stands against it.
    pub fn query(&mut self, at: Duration, limits: &Backfill) -> Result<u64, No> {
        self.rested(Whose::Source, at)?;
        self.rested(Whose::Destination, at)?;
        if self.queries >= limits.queries_at_once {
            let why = format!("{} of {} queries are under way", self.queries, limits.queries_at_once);
            return Err(No { check: Check::QueriesAtOnce, why, again: None });
        }
        let expected = (self.expected as u64).min(read_quota(limits).own());
        let quota = read_quota(limits);
        let mut reads = self.source.0.borrow_mut();
        if let Err(next) = reads.budget.ask(at, expected.max(1), quota) {
            let (taken, most) = reads.budget.shown(quota);
            return Err(no(Check::QuotaRead, used(taken, most, next.saturating_sub(at)), next));
        }
        drop(reads);
        let written = (self.expected_written as u64).min(write_quota(limits).own());
        self.writable(at, written.max(1), limits)?;
        self.source.0.borrow_mut().budget.take(expected);
        self.queries += 1;
        Ok(expected)
    }

    /// A query has ended, for which so much was taken, and has brought so much.
    pub fn read(&mut self, at: Duration, taken: u64, received: u64, limits: &Backfill) {
        self.queries = self.queries.saturating_sub(1);
        self.source.0.borrow_mut().budget.settle(at, taken, received, read_quota(limits));
        self.expected += NEW_PART * (received as f64 - self.expected);
        self.expected_written += NEW_PART * (self.written as f64 - self.expected_written);
        self.written = 0;
    }

    /// Lets a write in, or says why not.
    ///
    /// # Errors
    /// What stands against it.
    pub fn request(&mut self, at: Duration, (bytes, rows): (u64, u64), limits: &Backfill) -> Result<(), No> {
        self.rested(Whose::Destination, at)?;
        if self.requests >= limits.requests_at_once {
            let why = format!("{} of {} writes are under way", self.requests, limits.requests_at_once);
            return Err(No { check: Check::RequestsAtOnce, why, again: None });
        }
        if let Some(next) = self.rows.wait(at, limits.rows_per_s) {
            return Err(no(Check::RowsPerS, format!("{} at most", limits.rows_per_s), next));
        }
        if let Some(next) = self.bytes.wait(at, limits.bytes_per_s.0) {
            return Err(no(Check::BytesPerS, format!("{} at most", limits.bytes_per_s), next));
        }
        self.writable(at, bytes, limits)?;
        self.rows.take(at, rows, limits.rows_per_s);
        self.bytes.take(at, bytes, limits.bytes_per_s.0);
        self.write.take(bytes);
        self.requests += 1;
        Ok(())
    }

    /// A write of so many bytes has ended, however.
    pub fn wrote(&mut self, at: Duration, bytes: u64, limits: &Backfill) {
        self.requests = self.requests.saturating_sub(1);
        self.write.settle(at, bytes, bytes, write_quota(limits));
        self.written = self.written.saturating_add(bytes);
    }

    /// Clients' own lines have taken so many bytes of the destination's budget.
    pub fn clients_wrote(&mut self, at: Duration, bytes: u64, limits: &Backfill) {
        self.write.others(at, bytes, write_quota(limits));
    }

    /// A database wants to be left alone until then.
    pub fn asked_to_wait(&mut self, whose: Whose, until: Duration) {
        let later = |rest: &mut Duration| *rest = until.max(*rest);
        match whose {
            Whose::Source => later(&mut self.source.0.borrow_mut().rest),
            Whose::Destination => later(&mut self.rest),
        }
    }

    /// What a window should hold at most: points, and bytes of the answer. `None`: as many as it likes.
    #[must_use]
    pub fn window_max(limits: &Backfill, target: Duration) -> (Option<u64>, Option<u64>) {
        let points = (limits.rows_per_s > 0).then_some((limits.rows_per_s as f64 * target.as_secs_f64()) as u64);
        let quotas = [read_quota(limits), write_quota(limits)];
        let by_quota = quotas.into_iter().filter(|quota| quota.bytes > 0).map(|quota| quota.own() / WINDOWS_OF_BUDGET);
        let by_rate = (limits.bytes_per_s.0 > 0).then_some((limits.bytes_per_s.0 as f64 * target.as_secs_f64()) as u64);
        (points, by_quota.chain(by_rate).min())
    }

    /// The largest write that its budget lets go at once.
    #[must_use]
    pub fn request_bytes_max(limits: &Backfill) -> u64 {
        let quota = write_quota(limits);
        if quota.bytes == 0 { u64::MAX } else { (quota.own() / WINDOWS_OF_BUDGET).max(1) }
    }

    fn rested(&self, whose: Whose, at: Duration) -> Result<(), No> {
        let (until, name) = match whose {
            Whose::Source => (self.source.0.borrow().rest, "source"),
            Whose::Destination => (self.rest, "destination"),
        };
        if until <= at {
            return Ok(());
        }
        let why = format!("the {name} wants to be left alone for {} more", show_span(until.saturating_sub(at)));
        Err(no(Check::RetryAfter, why, until))
    }

    fn writable(&mut self, at: Duration, bytes: u64, limits: &Backfill) -> Result<(), No> {
        let quota = write_quota(limits);
        self.write.ask(at, bytes, quota).map_err(|next| {
            let (taken, most) = self.write.shown(quota);
            no(Check::QuotaWrite, used(taken, most, next.saturating_sub(at)), next)
        })
    }
}

fn used(taken: u64, most: u64, left: Duration) -> String {
    let (taken, most) = (ByteSize(taken), ByteSize(most));
    format!("{taken} of {most} of this window are used, the next one begins in {}", show_span(left))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn limits(words: &[&str]) -> Backfill {
        let mut limits = Backfill::default();
        words.iter().for_each(|words| limits.change(words).unwrap());
        limits
    }

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn only_so_many_are_let_in_at_once() {
        let (limits, mut permits) = (limits(&["queries_at_once=2", "requests_at_once=1"]), Permits::default());
        permits.query(s(0), &limits).unwrap();
        permits.query(s(0), &limits).unwrap();
        assert_eq!(permits.query(s(0), &limits).unwrap_err().check, Check::QueriesAtOnce);
        permits.read(s(1), 0, 500, &limits);
        permits.query(s(1), &limits).unwrap();
        permits.request(s(0), (10, 1), &limits).unwrap();
        let no = permits.request(s(0), (10, 1), &limits).unwrap_err();
        assert_eq!(no.to_string(), "requests-at-once: 1 of 1 writes are under way");
        permits.wrote(s(0), 10, &limits);
        permits.request(s(0), (10, 1), &limits).unwrap();
    }

    #[test]
    fn a_database_that_wants_rest_gets_it() {
        let (limits, mut permits) = (limits(&[]), Permits::default());
        permits.asked_to_wait(Whose::Destination, s(30));
        permits.asked_to_wait(Whose::Destination, s(10));
        let no = permits.request(s(5), (1, 1), &limits).unwrap_err();
        assert_eq!((no.check, no.again), (Check::RetryAfter, Some(s(30))));
        assert!(no.why.contains("destination") && no.why.contains("25.0 s"), "{no}");
        assert!(permits.query(s(29), &limits).is_err(), "what would be read could not be written");
        permits.request(s(30), (1, 1), &limits).unwrap();
        permits.asked_to_wait(Whose::Source, s(99));
        assert!(permits.query(s(98), &limits).is_err());
        permits.request(s(40), (1, 1), &limits).unwrap();
        permits.query(s(99), &limits).unwrap();
    }

    #[test]
    fn a_query_waits_where_what_comes_of_it_could_not_be_written() {
        let (limits, mut permits) = (limits(&["quota_write=1000", "quota_share=100"]), Permits::default());
        let mut at = s(1);
        for _ in 0..3 {
            let taken = permits.query(at, &limits).unwrap();
            permits.request(at, (300, 10), &limits).unwrap();
            permits.wrote(at, 300, &limits);
            permits.read(at, taken, 600, &limits);
            at += s(1);
        }
        let no = permits.query(at, &limits).unwrap_err();
        assert_eq!((no.check, no.again), (Check::QuotaWrite, Some(s(300))));
        assert!(no.why.contains("900 B of 1000 B"), "{no}");
        assert!(permits.query(s(300), &limits).is_ok());
        permits.clients_wrote(s(300), 1000, &limits);
        assert_eq!(permits.query(s(301), &limits).unwrap_err().check, Check::QuotaWrite, "clients have used it up");
    }

    #[test]
    fn windows_are_small_where_the_rate_is() {
        let target = s(2);
        assert_eq!(Permits::window_max(&limits(&[]), target), (None, None));
        let slow = limits(&["rows_per_s=100", "bytes_per_s=10kB", "quota_read=1MB"]);
        assert_eq!(Permits::window_max(&slow, target), (Some(200), Some(20_000)));
        assert_eq!(Permits::request_bytes_max(&limits(&["quota_write=5MB"])), 312_500);
        assert_eq!(Permits::request_bytes_max(&limits(&[])), u64::MAX);
    }

    /// Queries and writes in any order, of any size: the budgets hold in each of their windows, the rates over any time, and nothing waits
    /// for ever.
    #[test]
    fn whatever_is_asked_for_the_budgets_hold() {
        for seed in 0..100_000 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut limits = limits(&[]);
            limits.set("quota_write", &random.u64(500..100_000).to_string()).unwrap();
            limits.set("quota_share", &random.u64(20..=100).to_string()).unwrap();
            limits.set("quota_window", &format!("{}s", random.u64(1..600))).unwrap();
            if random.bool() {
                limits.set("rows_per_s", &random.u64(1..1_000).to_string()).unwrap();
            }
            let quota = write_quota(&limits);
            let largest = Permits::request_bytes_max(&limits);
            let (mut permits, mut at) = (Permits::default(), Duration::from_secs(random.u64(0..1 << 31)));
            let (mut open, mut arrived) = (Vec::new(), BTreeMap::<u128, u64>::new());
            let began = at;
            let mut rows_begun = 0;
            for _ in 0..30 {
                let (bytes, rows) = (random.u64(1..=largest), random.u64(1..500));
                match permits.request(at, (bytes, rows), &limits) {
                    Ok(()) => {
                        open.push((at, bytes));
                        rows_begun += rows;
                    }
                    Err(no) => {
                        let next = no.again.unwrap_or(at);
                        assert!(no.check == Check::RequestsAtOnce || next > at, "seed {seed}: {no}");
                        at = next.max(at);
                    }
                }
                at += Duration::from_millis(random.u64(0..2_000));
                if open.len() == 4 || !open.is_empty() && random.bool() {
                    let (began, bytes) = open.swap_remove(random.usize(..open.len()));
                    let landed = began + (at - began).mul_f64(random.f64());
                    *arrived.entry(landed.as_nanos() / quota.window.as_nanos()).or_default() += bytes;
                    permits.wrote(at, bytes, &limits);
                }
            }
            if limits.rows_per_s > 0 {
                let most = limits.rows_per_s as f64 * ((at - began).as_secs_f64() + 0.25) + 1_000.0;
                assert!(rows_begun as f64 <= most, "seed {seed}: {rows_begun} rows of {most}");
            }
            for (index, bytes) in arrived {
                assert!(bytes <= quota.own(), "seed {seed}: window {index} got {bytes} of {}", quota.own());
            }
        }
    }
}
