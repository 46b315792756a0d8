//! `/metrics`: the recorder's text, and what is read from the log at the moment of asking.

use std::fmt;
use std::fmt::Write;

use metrics::{counter, gauge};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use super::figures::Figures;
use super::status::Windows;
use crate::base::{Error, Kind, Result, Side, metric};
use crate::wal::Stats;

const SECONDS: [f64; 14] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];

/// The process's metrics.
#[derive(Clone)]
pub struct Recorder(PrometheusHandle);

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recorder")
    }
}

impl Recorder {
    /// Installs the recorder; once in a process, before anything is counted.
    ///
    /// # Errors
    /// There is one already.
    pub fn install() -> Result<Self> {
        let fault = |e: &dyn fmt::Display| Error::new(Kind::State, Side::Own, format!("metrics cannot be set up: {e}"));
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
            .map_err(|e| fault(&e))?
            .build_recorder();
        let handle = recorder.handle();
        metrics::set_global_recorder(recorder).map_err(|e| fault(&e))?;
        metric::describe();
        gauge!(metric::BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
        Ok(Self(handle))
    }

    /// Folds samples into their buckets; call every few seconds, or they pile up.
    pub fn upkeep(&self) {
        self.0.run_upkeep();
    }

    pub(super) fn text(&self, figures: &Figures) -> String {
        let log = &figures.log;
        gauge!(metric::QUEUE_BYTES).set(log.used_bytes as f64);
        gauge!(metric::QUEUE_DISK).set(log.bytes as f64);
        gauge!(metric::QUEUE_LIMIT).set(log.limit_bytes as f64);
        gauge!(metric::QUEUE_USED).set(figures.pressure.percent / 100.0);
        let left = figures.pressure.until_full.map_or(f64::INFINITY, |left| left.as_secs_f64());
        gauge!(metric::QUEUE_UNTIL_FULL).set(left);
        gauge!(metric::QUEUE_SEGMENTS).set(log.segments as f64);
        gauge!(metric::QUEUE_FAULT).set(if log.fault.is_some() { 1.0 } else { 0.0 });
        counter!(metric::SCRUB_BYTES).absolute(log.scrub.bytes);
        counter!(metric::SCRUB_DAMAGED).absolute(log.scrub.damaged_records);
        gauge!(metric::SCRUB_LAST).set(log.scrub.last_pass_ns.unwrap_or(0) as f64 / 1e9);
        gauge!(metric::DOUBT_ALARMS).set(figures.doubt.alarms.len() as f64);
        for share in &figures.shares {
            let Some(totals) = &share.totals else { continue };
            let set = |name: &'static str, value: u64| {
                gauge!(name, metric::DESTINATION => share.id.to_string()).set(value as f64);
            };
            set(metric::DIRTY_REGIONS, totals.dirty_regions);
            let of =
                |what: &str| totals.read_back.iter().filter(|sum| sum.what == what).map(|sum| sum.lines).sum::<u64>();
            set(metric::DOUBT_LINES, share.view.doubt_lines.saturating_sub(of("doubt")));
            set(metric::READ_BACK_LINES, of("doubt") + of("gap"));
            set(metric::DEAD_LINES, totals.dead_letters.iter().map(|(_, lines)| lines).sum());
            let untaken: u64 = share.untaken.iter().map(|(_, lines)| lines).sum();
            windows(&Windows::of(totals), share.id.as_str());
            set(metric::MISSING_LINES, untaken + totals.gaps.iter().map(|(_, lines)| lines).sum::<u64>());
        }
        let mut text = self.0.render();
        commits(&mut text, log);
        text
    }
}

/// Times of what a destination misses.
fn windows(windows: &Windows, id: &str) {
    let Windows { doubt, dead_lettered, gap } = *windows;
    for (state, window) in [("doubt", doubt), ("dead-lettered", dead_lettered), ("gap", gap)] {
        let set = |name: &'static str, value: f64| {
            gauge!(name, metric::DESTINATION => id.to_owned(), "state" => state).set(value);
        };
        let seconds = |ns: i64, open: i64, endless: f64| if ns == open { endless } else { ns as f64 / 1e9 };
        set(metric::MISSING_FIRST, window.map_or(0.0, |own| seconds(own.from_ns, i64::MIN, f64::NEG_INFINITY)));
        set(metric::MISSING_LAST, window.map_or(0.0, |own| seconds(own.to_ns, i64::MAX, f64::INFINITY)));
    }
}

/// The histogram of commits. The log counts by powers of two microseconds.
fn commits(out: &mut String, log: &Stats) {
    let name = metric::QUEUE_FSYNC;
    let help = metric::TABLE.iter().find(|m| m.name == name).map_or("", |m| m.help);
    // Writing to a String does not fail.
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} histogram");
    let (mut count, mut sum) = (0, 0.0);
    for (bucket, hits) in log.sync_buckets.iter().enumerate() {
        count += hits;
        let upper_s = (1u64 << bucket) as f64 / 1e6;
        // The middle of a bucket stands for its samples: the sum is an estimate.
        sum += *hits as f64 * upper_s * 0.75;
        let _ = writeln!(out, "{name}_bucket{{le=\"{upper_s}\"}} {count}");
    }
    let _ = writeln!(out, "{name}_bucket{{le=\"+Inf\"}} {count}\n{name}_sum {sum}\n{name}_count {count}");
}
