//! `twinline backfill gap`: what came to the source between a backup and the first write through twinline, for a destination on which that
//! backup was restored.
//!
//! Promise: it says what it cannot know. InfluxDB keeps no time of writing, so a gap can only be cut by the points' own times: everything
//! from the backup on, and before it as far back as points are known to come late.

use std::time::Duration;

use clap::Args;

use super::pair::{ScopeArgs, time_ns};
use super::{GoArgs, IntoExisting, StartArgs, plan, start};
use crate::base::clock::{Clock as _, SystemClock, rfc3339};
use crate::base::size::{parse_span, show_span};
use crate::cli::Global;
use crate::cli::exit::{Exit, Failure};
use crate::config::Config;
use crate::queue::Intent;
use crate::wal::Kind;
use crate::wal::look::{Look, Sight};

/// Options of `backfill gap`.
#[derive(Clone, Debug, Args)]
pub(super) struct GapArgs {
    /// When the backup was made that the destination was restored from: its beginning, by the clock of the source. As
    /// 2026-01-31T12:00:00Z, 2026-01-31, or nanoseconds since 1970
    #[arg(long, value_name = "TIME")]
    restored_from: String,
    /// Copy also what is older than the backup by so much, because it may have come late [default: twice the longest delay that the log
    /// shows, and 24h at least]
    #[arg(long, value_name = "SPAN")]
    margin: Option<String>,
    /// Only databases, policies or buckets by such names (`db`, `db/policy`, `*` and `?`); may be given more than once
    #[arg(long, value_name = "GLOB")]
    db: Vec<String>,
    /// Make what the destination lacks first: databases, policies, buckets, mappings. They keep points for ever
    #[arg(long)]
    create: bool,
    #[command(flatten)]
    go: GoArgs,
    /// Where no twinline stands in front of the source
    #[arg(long)]
    offline: bool,
    /// Wait for its end, and show how far it is
    #[arg(long, conflicts_with = "offline")]
    wait: bool,
    /// Say what would be done
    #[arg(long)]
    dry_run: bool,
}

/// The least margin: clocks differ, agents buffer, a night without network is common.
const MARGIN_MIN: Duration = Duration::from_secs(86_400);
/// Segments of the log that are looked at, the newest ones.
const SEGMENTS_MAX: usize = 4;

/// Said before anything is copied by times.
pub(super) const BY_TIME: &str = "Points are chosen by their own times, because InfluxDB does not keep when a point was written. Of what is \
                                  outside the times chosen nothing is copied, also where it was written, overwritten or deleted meanwhile.";

pub(super) fn run(global: &Global, config: &Config, args: &GapArgs) -> Result<Exit, Failure> {
    let talk = global.talk();
    let from_ns = time_ns(&args.restored_from)?;
    let now_ns = SystemClock::new().wall_ns();
    if from_ns > now_ns {
        let what = format!("--restored-from {} is in the future: no backup can be of that time", rfc3339(from_ns));
        return Err(Failure::new(Exit::Usage, what));
    }
    let (margin, why) = match &args.margin {
        Some(text) => (parse_span(text).map_err(|why| Failure::new(Exit::Usage, why))?, "as asked for".to_owned()),
        None => default_margin(config),
    };
    let since_ns = from_ns.saturating_sub(i64::try_from(margin.as_nanos()).unwrap_or(i64::MAX));
    talk.say(&told(from_ns, since_ns, margin, &why));
    let scope = ScopeArgs::since(args.db.clone(), since_ns, args.create);
    if args.dry_run {
        return plan::run(global, config, &scope, (false, true));
    }
    let start = StartArgs {
        scope,
        go: args.go.clone(),
        offline: args.offline,
        wait: args.wait,
        into_existing: Some(IntoExisting::Merge),
        dry_run: false,
    };
    start::begin(global, config, &start)
}

/// What it does, and what it cannot know.
fn told(from_ns: i64, since_ns: i64, margin: Duration, why: &str) -> String {
    format!(
        "The backup of {} was restored: everything from {} on is copied, which is {} before it ({why}), and up to the latest time that the \
         source holds. What came later than the backup stays missing where it is older than that, and what was deleted at the \
         source since the backup is still at the destination. Only a comparison of all history finds these: twinline verify start, \
         where both are InfluxDB; else a copy of all of it mends them: twinline backfill start --into-existing merge (deletions apart)",
        rfc3339(from_ns),
        rfc3339(since_ns),
        show_span(margin),
    )
}

/// How late points come, by the writes that are still in the log.
fn default_margin(config: &Config) -> (Duration, String) {
    match latest(config) {
        Some(late) if late > Duration::ZERO => {
            let margin = late.saturating_mul(2).max(MARGIN_MIN);
            (margin, format!("points in the log came up to {} late; --margin chooses another", show_span(late)))
        }
        _ => (MARGIN_MIN, "how late points come is not known; --margin chooses another".to_owned()),
    }
}

/// The longest delay between the time of a point and its arrival. `None`: there is no log, or it cannot be read.
fn latest(config: &Config) -> Option<Duration> {
    let look = Look::open(crate::base::disk::real(), &config.data_dir.join("wal"), None).ok()?;
    let mut late_ns = 0;
    for segment in look.segments.iter().rev().take(SEGMENTS_MAX) {
        let Ok(Some(mut scan)) = look.scan(segment, true) else { continue };
        // What cannot be read says nothing about delays.
        while let Ok(Some(sight)) = scan.next() {
            let Sight::Row(row) = sight else { continue };
            if row.kind() != Some(Kind::Intent) {
                continue;
            }
            let Ok(intent) = Intent::decode(&row.record.meta) else { continue };
            // A record without lines that have a time has none.
            if intent.min_ns <= intent.max_ns {
                late_ns = late_ns.max(row.record.received_ns.saturating_sub(intent.min_ns));
            }
        }
    }
    u64::try_from(late_ns).ok().map(Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_it_cannot_know() {
        let day = Duration::from_secs(86_400);
        let text = told(1_700_000_000_000_000_000, 1_699_913_600_000_000_000, day, "as asked for");
        for says in [
            "2023-11-14T22:13:20Z",
            "2023-11-13T22:13:20Z",
            "1 d 0 h",
            "stays missing",
            "deleted",
            "twinline verify start",
        ] {
            assert!(text.contains(says), "{says}: {text}");
        }
    }
}
