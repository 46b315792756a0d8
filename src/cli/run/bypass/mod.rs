//! Tells operators of points that come to the source around us: made inside it, or by clients that write to its own address.
//!
//! Once in `source.watch_writes` the source's own counters are compared with what came through us ([`judge`]). What is found is on record in
//! the state store as a gap of that place before it counts as told. Where the source does not show its counters that is said, and is
//! no error.

mod judge;
mod names;

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use metrics::{counter, gauge};

use crate::base::{DestinationId, metric};
use crate::config::{Config, Mapping, Pattern};
use crate::control::{AroundPlace, Facts, WatchedWrites};
use crate::db::counters::{Missing, counters};
use crate::pipeline::Pipeline;
use crate::state::{BYPASS, Event, EventKind, Gap};

use judge::{Around, Judge, Look};
use names::owners;

/// A place is told of so often.
const TELL_EVERY: Duration = Duration::from_secs(3600);
/// Places that the status shows.
const SHOWN_MAX: usize = 20;

/// How it is done.
#[derive(Clone, Debug)]
pub(super) struct Watch {
    every: Duration,
    late_max: Duration,
    /// What is not copied is missing at each of them that gets the place.
    destinations: Vec<(DestinationId, Mapping)>,
}

impl Watch {
    pub(super) fn of(config: &Config) -> Self {
        let late = config.destinations.iter().map(|one| one.delivery.late_write_max).max().unwrap_or_default();
        let destinations = config.each().map(|one| (one.destination().id.clone(), one.mapping.clone())).collect();
        Self { every: config.source.watch_writes, late_max: late, destinations }
    }
}

/// Why nothing is compared now.
enum Blind {
    /// The source does not answer.
    Waiting(String),
    Off(String),
}

impl From<Missing> for Blind {
    fn from(missing: Missing) -> Self {
        match missing {
            Missing::Silent(why) => Self::Waiting(why),
            Missing::Closed(why) => Self::Off(why),
        }
    }
}

/// For as long as the process runs.
pub(super) async fn keep_watching(pipeline: Rc<Pipeline>, facts: Arc<Mutex<Facts>>, watch: Watch) {
    let mut watcher = Watcher { pipeline, facts, judge: Judge::new(watch.late_max), watch, told: HashMap::new() };
    if watcher.watch.every.is_zero() {
        watcher.shows("off", Some("source.watch_writes is 0".to_owned()));
        // The task is never to end.
        return std::future::pending().await;
    }
    watcher.shows("starting", None);
    loop {
        match watcher.look().await {
            Ok(found) => {
                for around in found {
                    watcher.record(around).await;
                }
                match watcher.judge.counts_nothing() {
                    true => watcher.shows("off", Some("the source shows no counter of writes".to_owned())),
                    false if watcher.judge.is_quiet() => watcher.shows("starting", None),
                    false => watcher.shows("watching", None),
                }
            }
            Err(Blind::Waiting(why)) => watcher.shows("waiting", Some(why)),
            Err(Blind::Off(why)) => watcher.shows("off", Some(why)),
        }
        tokio::time::sleep(watcher.watch.every).await;
    }
}

struct Watcher {
    pipeline: Rc<Pipeline>,
    facts: Arc<Mutex<Facts>>,
    judge: Judge,
    watch: Watch,
    /// When each place was told of.
    told: HashMap<String, Duration>,
}

impl Watcher {
    async fn look(&mut self) -> Result<Vec<Around>, Blind> {
        let pipeline = &self.pipeline;
        let flavor = pipeline.version.borrow().flavor;
        let (before, from_ns) = (pipeline.sent.now(), pipeline.clock.wall_ns());
        let found = counters(&pipeline.passing, flavor).await?;
        let (after, blind) = (pipeline.sent.now(), pipeline.sent.blind());
        let (to_ns, now) = (pipeline.clock.wall_ns(), pipeline.clock.monotonic());
        let shards = owners(&pipeline.passing, flavor, found.shards).await?;
        let (started, began_s) = (found.started, found.up_s.map(|up_s| now.as_secs_f64() - up_s));
        Ok(self.judge.look(Look { started, began_s, shards, before, after, blind, from_ns, to_ns, now }))
    }

    /// Makes it durable, then tells it.
    async fn record(&mut self, around: Around) {
        let Around { place, points, from_ns, to_ns } = around;
        let miss_it: Vec<_> = self.watch.destinations.iter().filter(|(_, mapping)| may_go(mapping, &place)).collect();
        if miss_it.is_empty() {
            // It stays at the source, whoever writes it.
            self.judge.told(&place);
            return;
        }
        for (destination, _) in miss_it {
            let route_name = place.clone();
            let gap = Gap { route: None, route_name, from_ns, to_ns, lines: points, lsns: None, cause: BYPASS };
            if let Err(error) = self.pipeline.state.add_gap(destination, gap).await {
                tracing::warn!(%error, "points that came around twinline are not on record yet");
                return;
            }
        }
        self.judge.told(&place);
        counter!(metric::AROUND_POINTS).increment(points);
        let per_minute = per_minute(points, to_ns.saturating_sub(from_ns));
        let what = format!(
            "about {per_minute} points a minute come to {place} at the source other than through Twinline, from inside it (continuous \
             queries, tasks, listeners) or from clients that write to its own address: they are not copied. twinline inventory \
             names the writers inside; clients are to be pointed at Twinline"
        );
        self.show_place(AroundPlace { place: place.clone(), points, per_minute, last_ns: to_ns });
        let now = self.pipeline.clock.monotonic();
        if self.told.get(&place).is_some_and(|at| now.saturating_sub(*at) < TELL_EVERY) {
            return;
        }
        self.told.retain(|_, at| now.saturating_sub(*at) < TELL_EVERY);
        self.told.insert(place, now);
        let kind = EventKind::WritesAround;
        tracing::warn!(event = ?kind, "{what}");
        // Nobody waits: the log says it in any case.
        drop(self.pipeline.state.add_event(Event { at_ns: self.pipeline.clock.wall_ns(), kind, text: what }));
    }

    fn show_place(&self, found: AroundPlace) {
        let mut facts = self.facts.lock().unwrap_or_else(PoisonError::into_inner);
        let around = &mut facts.around;
        around.points += found.points;
        let known = around.places.iter().position(|one| one.place == found.place);
        let before = known.map_or(0, |at| around.places.remove(at).points);
        around.places.push(AroundPlace { points: before + found.points, ..found });
        if around.places.len() > SHOWN_MAX {
            around.places.remove(0);
        }
    }

    fn shows(&self, state: &str, why: Option<String>) {
        gauge!(metric::AROUND_WATCHED).set(if state == "watching" { 1.0 } else { 0.0 });
        let mut facts = self.facts.lock().unwrap_or_else(PoisonError::into_inner);
        if facts.around.state == state && facts.around.why == why {
            return;
        }
        if let Some(why) = &why {
            tracing::info!(state, why, "writes that come to the source around twinline are not looked for");
        }
        let WatchedWrites { points, places, .. } = std::mem::take(&mut facts.around);
        facts.around = WatchedWrites { state: state.to_owned(), why, points, places };
    }
}

/// Whether something of a database, or bucket, may go to a destination.
fn may_go(mapping: &Mapping, place: &str) -> bool {
    let fits = |from: &Pattern| match from {
        Pattern::Database { db, .. } => {
            db.matches(place) || place.split_once('/').is_some_and(|(head, _)| db.matches(head))
        }
        // Of a database a rule may name the bucket of a policy.
        Pattern::Bucket { bucket, .. } => bucket.matches(place) || bucket.may_begin_with(place),
    };
    mapping.keeps_names() || mapping.rules.iter().any(|rule| fits(&rule.from))
}

/// Of so many within a span.
fn per_minute(points: u64, span_ns: i64) -> u64 {
    let minutes = Duration::from_nanos(span_ns.max(1).unsigned_abs()).as_secs_f64() / 60.0;
    // Less than a minute says nothing of a whole one.
    (points as f64 / minutes.max(1.0)).ceil() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_rule_sends_anywhere_is_no_matter() {
        let mapping = |rules: &str| {
            let head =
                "listen = \"127.0.0.1:0\"\n[source]\nurl = \"http://x:1\"\n[destination]\nurl = \"http://y:1\"\n";
            crate::config::parse(&format!("{head}{rules}"), &|_| None).unwrap().config.mapping
        };
        assert!(may_go(&mapping(""), "any"));
        let databases = mapping("[[mapping.rule]]\nfrom = { db = \"a*\", rp = \"x\" }\nto = { db = \"b\" }");
        assert!(may_go(&databases, "a1") && may_go(&databases, "a/x") && !may_go(&databases, "b"));
        let buckets = mapping("[[mapping.rule]]\nfrom = { bucket = \"d/p\" }\nto = { bucket = \"b\" }");
        assert!(may_go(&buckets, "d") && may_go(&buckets, "d/p") && !may_go(&buckets, "e") && !may_go(&buckets, "d/q"));
        let forms = mapping("[[mapping.rule]]\nfrom = { bucket = \"d?/*\" }\nto = { bucket = \"b\" }");
        assert!(may_go(&forms, "d"), "nobody looks into forms");
    }

    #[test]
    fn a_rate_is_of_a_minute_at_least() {
        assert_eq!(per_minute(1200, 60_000_000_000), 1200);
        assert_eq!(per_minute(7, 600_000_000_000), 1);
        assert_eq!(per_minute(7, 5), 7);
    }
}
