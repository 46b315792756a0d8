//! From a place at the source to a place at the destination, by the configured rules or, without any, by identity.

use super::{RouteName, Target};
use crate::config::{Mapping, Names, Pattern, Target as To, is_system};

/// What names the destination has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetKind {
    /// 1.x: databases and retention policies.
    Database,
    /// 2.x: buckets of an organisation; the configured organisation, when there is one.
    Bucket {
        /// `destination.org`.
        org: Option<String>,
        /// `source.org`: where it is set, other organisations are not mirrored without a rule, since their buckets may
        /// have the same names.
        source_org: Option<String>,
    },
    /// The names of the source, whatever they are: the destination keeps them as labels.
    Labels {
        /// `source.org`, as above; also what a bucket without a named organisation belongs to.
        source_org: Option<String>,
    },
}

/// Where a route goes; `None`: no rule names it, or the source keeps it for itself, and it stays at the source alone.
#[must_use]
pub fn map(mapping: &Mapping, name: &RouteName, kind: &TargetKind) -> Option<Target> {
    if mapping.keeps_names() {
        return (!name.is_system() && is_mirrored(name, kind)).then(|| identity(name, kind));
    }
    Some(apply(&mapping.rules.get(rule_of(mapping, name)?)?.to, name, kind))
}

/// Which rule decides about a route, if one names it.
#[must_use]
pub fn rule_of(mapping: &Mapping, name: &RouteName) -> Option<usize> {
    let is_system = name.is_system();
    mapping.rules.iter().position(|rule| matches(&rule.from, name) && (!is_system || rule.from.names_one()))
}

impl RouteName {
    /// Whether the servers keep it for themselves: what they measure of themselves, and their tasks' doings.
    #[must_use]
    pub fn is_system(&self) -> bool {
        match self {
            Self::Database { db: name, .. } | Self::Bucket { bucket: name, .. } => is_system(name),
        }
    }
}

/// Whether identity may take it: not a bucket of another organisation than the one that is mirrored.
fn is_mirrored(name: &RouteName, kind: &TargetKind) -> bool {
    match (name, kind) {
        (
            RouteName::Bucket { org: own, .. },
            TargetKind::Bucket { source_org: Some(org), .. } | TargetKind::Labels { source_org: Some(org) },
        ) => own.is_empty() || own == org,
        _ => true,
    }
}

fn matches(pattern: &Pattern, name: &RouteName) -> bool {
    match (pattern, name) {
        (Pattern::Database { db, rp }, RouteName::Database { db: own_db, rp: own_rp }) => {
            db.matches(own_db) && rp.matches(own_rp)
        }
        (Pattern::Bucket { bucket, org }, RouteName::Bucket { org: own_org, bucket: own_bucket }) => {
            bucket.matches(own_bucket) && (own_org.is_empty() || org.matches(own_org))
        }
        // A rule may speak of a bucket `db/rp` where the source has databases, and the other way round.
        (Pattern::Bucket { bucket, .. }, RouteName::Database { db, rp }) => bucket.matches(&bucket_name(db, rp)),
        (Pattern::Database { db, rp }, RouteName::Bucket { bucket, .. }) => {
            let (own_db, own_rp) = bucket.split_once('/').unwrap_or((bucket, ""));
            db.matches(own_db) && rp.matches(own_rp)
        }
    }
}

fn identity(name: &RouteName, kind: &TargetKind) -> Target {
    match (name, kind) {
        (RouteName::Database { db, rp }, TargetKind::Database | TargetKind::Labels { .. }) => {
            Target::Database { db: db.clone(), rp: rp.clone() }
        }
        (RouteName::Database { db, rp }, TargetKind::Bucket { org, .. }) => {
            Target::Bucket { org: org.clone().unwrap_or_default(), bucket: bucket_name(db, rp) }
        }
        (RouteName::Bucket { org: own, bucket }, TargetKind::Bucket { org, .. }) => {
            Target::Bucket { org: org.clone().unwrap_or_else(|| own.clone()), bucket: bucket.clone() }
        }
        (RouteName::Bucket { org: own, bucket }, TargetKind::Labels { source_org }) => {
            let org = if own.is_empty() { source_org.clone().unwrap_or_default() } else { own.clone() };
            Target::Bucket { org, bucket: bucket.clone() }
        }
        (RouteName::Bucket { bucket, .. }, TargetKind::Database) => {
            let (db, rp) = bucket.split_once('/').unwrap_or((bucket, ""));
            Target::Database { db: db.to_owned(), rp: rp.to_owned() }
        }
    }
}

fn apply(to: &To, name: &RouteName, kind: &TargetKind) -> Target {
    let whole;
    let names = match name {
        RouteName::Database { db, rp } => {
            whole = bucket_name(db, rp);
            Names { db, rp, bucket: &whole, org: "" }
        }
        RouteName::Bucket { org, bucket } => {
            let (db, rp) = bucket.split_once('/').unwrap_or((bucket, ""));
            Names { db, rp, bucket, org }
        }
    };
    let of = |naming: &Option<crate::config::Naming>| naming.as_ref().map(|naming| naming.of(names));
    match (to, identity(name, kind)) {
        (To::Database { db, rp }, Target::Database { db: own_db, rp: own_rp }) => {
            // A rule that renames the database without naming a policy sends everything to that database's default.
            let rp = of(rp).unwrap_or(if db.is_some() { String::new() } else { own_rp });
            Target::Database { db: of(db).unwrap_or(own_db), rp }
        }
        (To::Bucket { bucket, org }, Target::Bucket { org: own_org, bucket: own_bucket }) => {
            Target::Bucket { org: of(org).unwrap_or(own_org), bucket: of(bucket).unwrap_or(own_bucket) }
        }
        (To::Database { db, rp }, Target::Bucket { org, bucket }) => {
            let bucket = of(db).map_or(bucket, |db| bucket_name(&db, &of(rp).unwrap_or_default()));
            Target::Bucket { org, bucket }
        }
        (To::Bucket { bucket, .. }, Target::Database { db, rp }) => match of(bucket) {
            None => Target::Database { db, rp },
            Some(bucket) => {
                let (db, rp) = bucket.split_once('/').unwrap_or((&bucket, ""));
                Target::Database { db: db.to_owned(), rp: rp.to_owned() }
            }
        },
    }
}

/// The convention of the vendor's upgrade tool and of virtual mappings since 2.4, with the default policy left out.
fn bucket_name(db: &str, rp: &str) -> String {
    if rp.is_empty() { db.to_owned() } else { format!("{db}/{rp}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Match, Naming, Rule, Shape, Unmapped};

    fn database(db: &str, rp: &str) -> RouteName {
        RouteName::Database { db: db.into(), rp: rp.into() }
    }
    fn rules(rules: Vec<Rule>) -> Mapping {
        Mapping { unmapped: Unmapped::SourceOnly, rules }
    }
    fn bucket_kind() -> TargetKind {
        TargetKind::Bucket { org: Some("o".into()), source_org: Some("x".into()) }
    }
    fn bucket(name: &str) -> Option<Target> {
        Some(Target::Bucket { org: "o".into(), bucket: name.into() })
    }

    #[test]
    fn without_rules_names_stay() {
        let none = rules(Vec::new());
        assert_eq!(map(&none, &database("d", ""), &bucket_kind()), bucket("d"));
        assert_eq!(map(&none, &database("d", "week"), &bucket_kind()), bucket("d/week"));
        let back = RouteName::Bucket { org: "x".into(), bucket: "d/week".into() };
        assert_eq!(map(&none, &back, &bucket_kind()), bucket("d/week"));
        let other = RouteName::Bucket { org: "other".into(), bucket: "d".into() };
        assert_eq!(map(&none, &other, &bucket_kind()), None, "another tenant's bucket may have the same name");
        let target = Some(Target::Database { db: "d".into(), rp: "week".into() });
        assert_eq!(map(&none, &database("d", "week"), &TargetKind::Database), target);
        assert_eq!(map(&none, &back, &TargetKind::Database), target);
    }

    #[test]
    fn the_first_rule_that_fits_decides_and_the_rest_stays_at_the_source() {
        let rule = |db: &str, rp: Match, to: &str| Rule {
            from: Pattern::Database { db: Match::Is(db.into()), rp },
            to: To::Bucket { bucket: Some(Naming::fixed(to)), org: None },
            only: Vec::new(),
            shape: Shape::default(),
        };
        let mapping = rules(vec![rule("d", Match::Is(String::new()), "first"), rule("d", Match::Any, "second")]);
        assert_eq!(map(&mapping, &database("d", ""), &bucket_kind()), bucket("first"));
        assert_eq!(map(&mapping, &database("d", "x"), &bucket_kind()), bucket("second"));
        assert_eq!(map(&mapping, &database("e", ""), &bucket_kind()), None);
    }

    #[test]
    fn a_renamed_database_takes_all_policies_into_its_default() {
        let mapping = rules(vec![Rule {
            from: Pattern::Database { db: Match::Is("bench".into()), rp: Match::Any },
            to: To::Database { db: Some(Naming::fixed("bench")), rp: None },
            only: Vec::new(),
            shape: Shape::default(),
        }]);
        let target = Some(Target::Database { db: "bench".into(), rp: String::new() });
        assert_eq!(map(&mapping, &database("bench", "x"), &TargetKind::Database), target);
    }

    #[test]
    fn forms_take_what_fits_and_names_of_the_source_go_into_new_ones() {
        let from = |db: &str, rp: &str| Pattern::Database { db: Match::new(db), rp: Match::new(rp) };
        let to = |db: &str, rp: &str| To::Database { db: Naming::new(db).ok(), rp: Naming::new(rp).ok() };
        let mapping = rules(vec![
            Rule {
                from: from("telegraf-?u", "*"),
                to: to("prod_{db}", "{rp}"),
                only: Vec::new(),
                shape: Shape::default(),
            },
            Rule { from: from("*", "w*"), to: to("{db}", "long"), only: Vec::new(), shape: Shape::default() },
        ]);
        let of = |db, rp| map(&mapping, &database(db, rp), &TargetKind::Database).map(|target| target.to_string());
        assert_eq!(of("telegraf-eu", "").as_deref(), Some("database prod_telegraf-eu"));
        assert_eq!(of("telegraf-eu", "week").as_deref(), Some("database prod_telegraf-eu, policy week"));
        assert_eq!(of("telegraf-us1", "week").as_deref(), Some("database telegraf-us1, policy long"));
        assert_eq!((of("telegraf-us1", ""), of("Telegraf-eu", "")), (None, None));
        let as_bucket = map(&mapping, &database("telegraf-eu", "week"), &bucket_kind());
        assert_eq!(as_bucket, bucket("prod_telegraf-eu/week"));
    }

    #[test]
    fn what_a_source_keeps_for_itself_goes_where_a_rule_names_it() {
        let system = database("_internal", "monitor");
        let tasks = RouteName::Bucket { org: "x".into(), bucket: "_tasks".into() };
        let every = |db: &str| Rule {
            from: Pattern::Database { db: Match::new(db), rp: Match::Any },
            to: To::Database { db: None, rp: None },
            only: Vec::new(),
            shape: Shape::default(),
        };
        let all = rules(vec![every("*")]);
        for mapping in [&rules(Vec::new()), &all] {
            assert_eq!(map(mapping, &system, &TargetKind::Database), None);
            assert_eq!(map(mapping, &tasks, &bucket_kind()), None);
            assert!(map(mapping, &database("_mine", ""), &TargetKind::Database).is_some());
        }
        let named = rules(vec![every("*"), every("_internal")]);
        assert!(map(&named, &system, &TargetKind::Database).is_some());
    }
}
