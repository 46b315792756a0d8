//! `retention`: the destination keeps points at least as long as the source does, and its shards divide the source's.

use std::time::Duration;

use super::finding::{Code, Finding, Group, State};
use super::mapping::{Plan, Wanted, span};
use super::places::{Listing, Place};
use super::subject::{Subject, identifier};
use crate::db::encode::shell_word;
use crate::route::Target;

/// Findings of one kind that are told one by one.
const TOLD_MAX: usize = 25;

/// Compares each place of the destination that exists with those that go there.
pub(super) fn judge(destination: &Subject<'_>, plan: &Plan, there: Result<&Listing, String>) -> Vec<Finding> {
    let found = |state, code, text: String| destination.found(Group::Retention, state, code, text);
    let there = match there {
        Ok(listing) => listing,
        Err(why) => {
            let text = format!("how long it keeps points cannot be seen: {why}");
            return vec![found(State::Unknown, Code::KEEPS, text)];
        }
    };
    let (mut compared, mut findings) = (0_usize, Vec::new());
    for (target, wanted) in &plan.targets {
        let Some(place) = there.places.iter().find(|place| place.is(target)) else { continue };
        let told = findings.len() < TOLD_MAX;
        match (wanted.keep, place.keep) {
            (Some(_), Some(_)) => compared += 1,
            _ => continue,
        }
        if let Some(text) = shorter(target, wanted, place).filter(|_| told) {
            findings.push(found(State::Failed, Code::KEEPS, text).fix(keep_command(target, place, wanted.keep)));
        }
        if let Some((shard, text)) = undivided(target, wanted, place).filter(|_| told) {
            findings.push(found(State::Warning, Code::SHARDS, text).fix(shard_command(target, place, shard)));
        }
    }
    if findings.is_empty() && compared > 0 {
        let text =
            format!("{compared} places keep points at least as long as the source, in shards that divide its own");
        findings.push(found(State::Ok, Code::KEEPS, text));
    }
    findings
}

fn shorter(target: &Target, wanted: &Wanted, place: &Place) -> Option<String> {
    let (source, here) = (wanted.keep?, place.keep?);
    let is_shorter = !here.is_zero() && (source.is_zero() || here < source);
    is_shorter.then(|| {
        let from = wanted.from.join(" + ");
        let kept = if source.is_zero() { "for ever".to_owned() } else { span(source) };
        format!("{target} keeps {}, {from} {kept}: what is older would be refused there and dead-lettered", span(here))
    })
}

/// The shard duration that is wanted, and what is wrong with the one that is there.
fn undivided(target: &Target, wanted: &Wanted, place: &Place) -> Option<(Duration, String)> {
    let here = place.shard.filter(|shard| !shard.is_zero())?;
    let source = wanted.places.iter().filter_map(|place| place.shard).find(|shard| {
        !shard.is_zero() && (shard.as_secs() < here.as_secs() || shard.as_secs() % here.as_secs().max(1) != 0)
    })?;
    let text = format!(
        "{target} has shards of {}, the source of {}: a field whose type changed between two shards of the source may meet \
         both types in one shard there",
        span(here),
        span(source)
    );
    Some((source, text))
}

fn keep_command(target: &Target, place: &Place, keep: Option<Duration>) -> String {
    let keep = keep.unwrap_or_default();
    match target {
        Target::Database { db, rp } => format!("{} DURATION {}", alter(db, rp, place), span(keep)),
        Target::Bucket { org, bucket } => {
            let keep = if keep.is_zero() { "0".to_owned() } else { span(keep) };
            format!("influx bucket update --id {} --retention {keep}", bucket_id(org, bucket))
        }
    }
}

fn shard_command(target: &Target, place: &Place, shard: Duration) -> String {
    match target {
        Target::Database { db, rp } => format!("{} SHARD DURATION {}", alter(db, rp, place), span(shard)),
        Target::Bucket { org, bucket } => {
            format!("influx bucket update --id {} --shard-group-duration {}", bucket_id(org, bucket), span(shard))
        }
    }
}

fn alter(db: &str, rp: &str, place: &Place) -> String {
    let policy = place.policy.as_deref().unwrap_or(rp);
    format!("ALTER RETENTION POLICY {} ON {}", identifier(policy), identifier(db))
}

fn bucket_id(org: &str, bucket: &str) -> String {
    let (org, bucket) = (shell_word(org), shell_word(bucket));
    format!("$(influx bucket list --org {org} --name {bucket} --hide-headers | cut -f 1)")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::RouteName;

    fn place(keep_h: u64, shard_h: u64) -> Place {
        let hours = |hours: u64| Some(Duration::from_secs(hours * 3600));
        let name = RouteName::Database { db: "d".into(), rp: String::new() };
        Place { name, keep: hours(keep_h), policy: Some("autogen".into()), shard: hours(shard_h) }
    }

    fn wanted(place: Place) -> Wanted {
        Wanted { from: vec!["d".into()], keep: place.keep, places: vec![place], ..Wanted::default() }
    }

    #[test]
    fn only_a_shorter_time_is_told_and_zero_is_for_ever() {
        let target = Target::Database { db: "d".into(), rp: String::new() };
        let told = |source: u64, here: u64| shorter(&target, &wanted(place(source, 1)), &place(here, 1)).is_some();
        assert_eq!([told(0, 0), told(24, 0), told(24, 24), told(24, 48)], [false; 4]);
        assert_eq!([told(0, 24), told(48, 24)], [true; 2]);
        assert_eq!(
            keep_command(&target, &place(24, 1), Some(Duration::ZERO)),
            "ALTER RETENTION POLICY \"autogen\" ON \"d\" DURATION INF"
        );
        let bucket = Target::Bucket { org: "o".into(), bucket: "b".into() };
        assert!(keep_command(&bucket, &place(24, 1), Some(Duration::ZERO)).ends_with(" --retention 0"));
    }

    #[test]
    fn shards_must_divide_those_of_the_source() {
        let target = Target::Database { db: "d".into(), rp: String::new() };
        let asked = |source: u64, here: u64| undivided(&target, &wanted(place(0, source)), &place(0, here));
        assert!(asked(168, 24).is_none() && asked(24, 24).is_none() && asked(0, 24).is_none());
        assert!(asked(24, 168).is_some() && asked(168, 48).is_some());
        let (shard, _) = asked(24, 168).unwrap();
        assert_eq!(
            shard_command(&target, &place(0, 168), shard),
            "ALTER RETENTION POLICY \"autogen\" ON \"d\" SHARD DURATION 24h"
        );
    }
}
