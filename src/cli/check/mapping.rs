//! `mapping`: every place of the source that is mapped has its place at the destination. What is missing is named with the
//! command that makes it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::finding::{About, Code, Finding, Group, State};
use super::places::{Listing, PLACES_MAX, Place};
use super::probe::{Probed, Verdict};
use super::report::some_of;
use super::subject::identifier;
use crate::config::{Mapping, Match, Pattern};
use crate::db::encode::shell_word;
use crate::route::{RouteName, Target, TargetKind, map, rule_of};

/// What must be at a place of the destination.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    /// The places that go there, by name and as they are.
    pub(super) from: Vec<String>,
    pub(super) places: Vec<Place>,
    /// The longest time for which one of them keeps points; zero is for ever.
    pub(super) keep: Option<Duration>,
    /// How the source calls the policy, where there is only one.
    pub(super) policy: Option<String>,
    /// A rule changes lines on the way there, or leaves some out.
    pub(super) is_shaped: bool,
}

/// Where everything goes.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) targets: BTreeMap<Target, Wanted>,
    /// What no rule names.
    unmapped: Vec<String>,
    /// What the source keeps for itself, and no rule names exactly.
    system: Vec<String>,
}

impl Plan {
    pub(super) fn new(mapping: &Mapping, places: &[Place], kind: &TargetKind) -> Self {
        let mut plan = Self::default();
        for place in places {
            let Some(target) = map(mapping, &place.name, kind) else {
                let stays = if place.name.is_system() { &mut plan.system } else { &mut plan.unmapped };
                stays.push(place.name.to_string());
                continue;
            };
            let wanted = plan.targets.entry(target).or_default();
            wanted.policy = if wanted.from.is_empty() { place.policy.clone() } else { None };
            wanted.keep = if wanted.from.is_empty() { place.keep } else { longer(wanted.keep, place.keep) };
            let rule = rule_of(mapping, &place.name).and_then(|at| mapping.rules.get(at));
            wanted.is_shaped |= rule.is_some_and(|rule| !rule.shape.is_empty());
            wanted.from.push(place.name.to_string());
            wanted.places.push(place.clone());
        }
        plan
    }
}

fn longer(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    let (one, other) = (one?, other?);
    Some(if one.is_zero() || other.is_zero() { Duration::ZERO } else { one.max(other) })
}

/// The places that rules name outright: all that is known of a source that tells us nothing.
pub(super) fn named_by_rules(mapping: &Mapping) -> Vec<Place> {
    let name = |pattern: &Pattern| match pattern {
        Pattern::Database { db: Match::Is(db), rp } => {
            let rp = if let Match::Is(rp) = rp { rp.clone() } else { String::new() };
            Some(RouteName::Database { db: db.clone(), rp })
        }
        Pattern::Bucket { bucket: Match::Is(bucket), org } => {
            let org = if let Match::Is(org) = org { org.clone() } else { String::new() };
            Some(RouteName::Bucket { org, bucket: bucket.clone() })
        }
        _ => None,
    };
    let names = mapping.rules.iter().filter_map(|rule| name(&rule.from));
    names.map(|name| Place { name, keep: None, policy: None, shard: None }).take(PLACES_MAX).collect()
}

/// Why the source's places are not known, if so.
pub(super) fn listed(listing: &Listing, refused: Option<&str>) -> Option<Finding> {
    let unknown = |text: String| Finding::new(Group::Mapping, About::Mapping, State::Unknown, Code::NOT_LISTED, text);
    if let Some(why) = refused {
        return Some(unknown(format!(
            "what the source has is not known ({why}); only places that rules name are checked"
        )));
    }
    if listing.more {
        return Some(unknown(format!("the source has more than {PLACES_MAX} places; only these were checked")));
    }
    listing
        .places
        .iter()
        .all(|place| place.name.is_system())
        .then(|| unknown("the source has nothing yet: there is nothing to check".to_owned()))
}

/// Where the destination cannot be asked, nothing is known of its places.
pub(super) fn not_asked(plan: &Plan) -> Option<Finding> {
    let number = plan.targets.len();
    let text =
        format!("{number} places are needed at the destination, and it does not answer our questions about them");
    (number > 0).then(|| Finding::new(Group::Mapping, About::Mapping, State::Unknown, Code::WRITE_PROBE, text))
}

/// What the probes say about the plan. `creates`: what is missing is made by the first write that needs it.
pub(super) fn judge(plan: &Plan, probed: &[Probed], creates: bool) -> Vec<Finding> {
    let found = |state, code, text: String| Finding::new(Group::Mapping, About::Mapping, state, code, text);
    let mut findings = Vec::new();
    let there: Vec<String> = probed
        .iter()
        .filter(|p| matches!(p.verdict, Verdict::Writable | Verdict::Denied(_)))
        .filter_map(|p| Some(format!("{} → {}", plan.targets.get(&p.target)?.from.join(" + "), p.target)))
        .collect();
    if !there.is_empty() {
        let text = format!("{} of {} places of the destination exist: {}", there.len(), probed.len(), some_of(&there));
        findings.push(found(State::Ok, Code::MAPPED, text));
    }
    if !plan.unmapped.is_empty() {
        let text = format!("stays at the source alone, no rule names it: {}", some_of(&plan.unmapped));
        findings.push(
            found(State::Warning, Code::UNMAPPED, text).fix("a [[mapping.rule]] for each that is to be mirrored"),
        );
    }
    if !plan.system.is_empty() {
        let text =
            format!("the source keeps for itself, and only a rule with its name mirrors: {}", some_of(&plan.system));
        findings.push(found(State::Ok, Code::SYSTEM, text));
    }
    let mut organisations = BTreeMap::<&str, usize>::new();
    let mut unclear = BTreeMap::<&str, Vec<String>>::new();
    for Probed { target, verdict } in probed {
        let nothing = Wanted::default();
        let wanted = plan.targets.get(target).unwrap_or(&nothing);
        let missing = |code, with_database| {
            let of = wanted.from.join(" + ");
            if creates {
                let made = "the first write makes it, and it keeps points for ever (create = \"missing\")";
                return found(State::Ok, code, format!("{target} is missing, for {of}: {made}"));
            }
            found(State::Failed, code, format!("{target} is missing, for {of}")).fix(creation(
                target,
                wanted,
                with_database,
            ))
        };
        match verdict {
            Verdict::NoDatabase => findings.push(missing(Code::NO_DATABASE, true)),
            Verdict::NoPolicy => findings.push(missing(Code::NO_POLICY, false)),
            Verdict::NoBucket => findings.push(missing(Code::NO_BUCKET, false)),
            Verdict::NoOrganisation => {
                if let Target::Bucket { org, .. } = target {
                    *organisations.entry(org).or_default() += 1;
                }
            }
            Verdict::Unclear(why) => unclear.entry(why).or_default().push(target.to_string()),
            // The group `auth` tells these.
            Verdict::Writable | Verdict::Denied(_) | Verdict::Unauthorized => {}
        }
    }
    findings.extend(organisations.into_iter().map(|(org, places)| organisation(org, places)));
    for (why, targets) in unclear {
        let text = format!("not known of {}: an empty write is answered {why}", some_of(&targets));
        findings.push(found(State::Unknown, Code::WRITE_PROBE, text));
    }
    findings
}

fn organisation(org: &str, places: usize) -> Finding {
    let found = |text| Finding::new(Group::Mapping, About::Mapping, State::Failed, Code::NO_ORGANISATION, text);
    if org.is_empty() {
        return found("InfluxDB 2 keeps buckets by organisation, and none is named".to_owned())
            .fix("org = \"my-org\" in [destination]");
    }
    let text = format!("organisation {org} is not at the destination (it is needed for {places} of our places)");
    found(text).fix(format!("correct destination.org, or: influx org create --name {}", shell_word(org)))
}

/// The command that makes what is missing, keeping points as long as the source does.
fn creation(target: &Target, wanted: &Wanted, with_database: bool) -> String {
    let keep = wanted.keep.unwrap_or_default();
    match target {
        Target::Database { db, rp } if rp.is_empty() => {
            let name = wanted.policy.as_deref().filter(|name| *name != "autogen");
            match (keep.is_zero(), name) {
                (true, None) => format!("CREATE DATABASE {}", identifier(db)),
                (_, None) => format!("CREATE DATABASE {} WITH DURATION {}", identifier(db), span(keep)),
                (_, Some(name)) => {
                    format!("CREATE DATABASE {} WITH DURATION {} NAME {}", identifier(db), span(keep), identifier(name))
                }
            }
        }
        Target::Database { db, rp } => {
            let (db, rp) = (identifier(db), identifier(rp));
            let policy = format!("CREATE RETENTION POLICY {rp} ON {db} DURATION {} REPLICATION 1", span(keep));
            if with_database { format!("CREATE DATABASE {db}; {policy}") } else { policy }
        }
        Target::Bucket { org, bucket } => {
            let retention = if keep.is_zero() { String::new() } else { format!(" --retention {}", span(keep)) };
            format!("influx bucket create --org {} --name {}{retention}", shell_word(org), shell_word(bucket))
        }
    }
}

pub(super) fn span(keep: Duration) -> String {
    match keep.as_secs() {
        0 => "INF".to_owned(),
        seconds if seconds % 3600 == 0 => format!("{}h", seconds / 3600),
        seconds => format!("{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Naming, Rule, Shape, Target as To, Unmapped};

    fn place(db: &str, rp: &str, hours: u64) -> Place {
        let name = RouteName::Database { db: db.into(), rp: rp.into() };
        let policy = Some(if rp.is_empty() { "autogen".to_owned() } else { rp.to_owned() });
        Place { name, keep: Some(Duration::from_secs(hours * 3600)), policy, shard: None }
    }

    fn bucket_kind() -> TargetKind {
        TargetKind::Bucket { org: Some("o".into()), source_org: None }
    }

    fn all_missing(plan: &Plan, verdict: &Verdict) -> Vec<String> {
        let probed: Vec<_> =
            plan.targets.keys().map(|t| Probed { target: t.clone(), verdict: verdict.clone() }).collect();
        judge(plan, &probed, false).into_iter().filter(|f| f.state == State::Failed).filter_map(|f| f.fix).collect()
    }

    #[test]
    fn what_is_missing_comes_with_the_command_that_makes_it_and_keeps_as_long() {
        let none = Mapping { unmapped: Unmapped::SourceOnly, rules: Vec::new() };
        let places = [place("a", "", 0), place("b c", "", 24), place("b c", "week", 168)];
        let buckets = Plan::new(&none, &places, &bucket_kind());
        let expected = [
            "influx bucket create --org o --name a",
            "influx bucket create --org o --name 'b c' --retention 24h",
            "influx bucket create --org o --name 'b c/week' --retention 168h",
        ];
        assert_eq!(all_missing(&buckets, &Verdict::NoBucket), expected);
        let databases = Plan::new(&none, &places, &TargetKind::Database);
        let expected = [
            "CREATE DATABASE \"a\"",
            "CREATE DATABASE \"b c\" WITH DURATION 24h",
            "CREATE DATABASE \"b c\"; CREATE RETENTION POLICY \"week\" ON \"b c\" DURATION 168h REPLICATION 1",
        ];
        assert_eq!(all_missing(&databases, &Verdict::NoDatabase), expected);
        let policy = all_missing(&databases, &Verdict::NoPolicy);
        assert_eq!(policy[2], "CREATE RETENTION POLICY \"week\" ON \"b c\" DURATION 168h REPLICATION 1");
    }

    #[test]
    fn places_that_go_to_one_target_are_asked_about_once_and_the_longest_retention_counts() {
        let to = To::Bucket { bucket: Some(Naming::fixed("all")), org: None };
        let from = Pattern::Database { db: Match::Is("a".into()), rp: Match::Any };
        let rules = Mapping {
            unmapped: Unmapped::SourceOnly,
            rules: vec![Rule { from, to, only: Vec::new(), shape: Shape::default() }],
        };
        let places = [place("a", "", 24), place("a", "week", 168), place("x", "", 0)];
        let plan = Plan::new(&rules, &places, &bucket_kind());
        assert_eq!(
            all_missing(&plan, &Verdict::NoBucket),
            ["influx bucket create --org o --name all --retention 168h"]
        );
        let unmapped = judge(&plan, &[], false);
        assert!(unmapped.iter().any(|f| f.code == Code::UNMAPPED && f.text.ends_with(": x")), "{unmapped:?}");
        assert_eq!(
            longer(Some(Duration::ZERO), Some(Duration::from_secs(1))),
            Some(Duration::ZERO),
            "zero is for ever"
        );
        assert_eq!(named_by_rules(&rules).len(), 1);
    }

    #[test]
    fn what_the_source_keeps_for_itself_is_listed_and_not_wanted() {
        let none = Mapping { unmapped: Unmapped::SourceOnly, rules: Vec::new() };
        let plan = Plan::new(&none, &[place("a", "", 0), place("_internal", "", 24)], &bucket_kind());
        assert_eq!(plan.targets.len(), 1);
        let system = judge(&plan, &[], false);
        assert!(system.iter().any(|f| f.code == Code::SYSTEM && f.text.ends_with(": _internal")), "{system:?}");
    }

    #[test]
    fn a_missing_organisation_is_told_once() {
        let none = Mapping { unmapped: Unmapped::SourceOnly, rules: Vec::new() };
        let plan = Plan::new(&none, &[place("a", "", 0), place("b", "", 0)], &bucket_kind());
        assert_eq!(all_missing(&plan, &Verdict::NoOrganisation).len(), 1);
    }
}
