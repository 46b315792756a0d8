//! What a statement of the source becomes at the destination. Pure.
//!
//! Promise: a plan does at the destination what the statement did at the source, to what is mirrored of its database and to nothing else.
//! Where that cannot be said, there is no plan, and why.

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::base::clock::parse_rfc3339;
use crate::config::{Mapping, Match, Pattern, Shape, Target as To};
use crate::db::influxql::{Change, Class, Deletion, Statement as Text, Untranslated, identifier, span_s, split};
use crate::line::Rules;
use crate::queue::{Door, Statement};
use crate::route::{RouteName, Target, TargetKind, map, rule_of};

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// Nothing of what it speaks of is mirrored.
    Excluded,
    /// It cannot be carried out, and why.
    Report(String),
    /// These, one after the other. `waits`: only when all that came before it has arrived.
    Run { steps: Vec<Step>, waits: bool },
}

/// One request to the destination, or one for each of its places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// 1.x: a statement.
    Query { db: String, q: String },
    /// 1.x: the same, if the database has one policy alone: it would delete in all of them.
    QueryOfOnePolicy { db: String, q: String },
    /// 1.x: a policy goes, unless it is the default one there, which holds what was written without a policy.
    DropPolicy { db: String, rp: String },
    /// 2.x: a call of `/api/v2/delete` for one bucket.
    Delete { org: String, bucket: String, body: String },
    /// 2.x: each of these for all buckets of a database of the source.
    DeleteInAll { org: String, db: String, bodies: Vec<String> },
    /// 2.x: all buckets of a database of the source go.
    DropBuckets { org: String, db: String },
    /// 2.x: one bucket goes.
    DropBucket { org: String, bucket: String },
    /// 2.x: a bucket that keeps points for so many seconds; 0 is for ever.
    CreateBucket { org: String, bucket: String, keep_s: u64 },
}

impl Step {
    /// For people.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Query { db, q } | Self::QueryOfOnePolicy { db, q } => format!("{q} (at {db})"),
            Self::DropPolicy { db, rp } => drop_policy(db, rp),
            Self::Delete { bucket, .. } => format!("a delete in bucket {bucket}"),
            Self::DeleteInAll { db, .. } => format!("deletes in all buckets of {db}"),
            Self::DropBuckets { db, .. } => format!("the buckets of {db} were removed"),
            Self::DropBucket { bucket, .. } => format!("bucket {bucket} was removed"),
            Self::CreateBucket { bucket, .. } => format!("bucket {bucket} was made"),
        }
    }
}

/// The statement that drops a policy.
pub(super) fn drop_policy(db: &str, rp: &str) -> String {
    format!("DROP RETENTION POLICY {} ON {}", identifier(rp), identifier(db))
}

/// Stands for a policy, or a database, that no rule names.
const ANY: &str = "\u{1}any";

/// Policies that stand for all there may be: the default one, one that no rule names, and one of each form that some rule names.
fn policies(mapping: &Mapping) -> impl Iterator<Item = String> {
    let of_rule = |name: &Match| match name {
        Match::Any => None,
        Match::Is(name) => Some(name.clone()),
        Match::Like(glob) => Some(glob.sample(ANY)),
    };
    let named = mapping.rules.iter().filter_map(move |rule| match &rule.from {
        Pattern::Database { rp, .. } => of_rule(rp),
        Pattern::Bucket { bucket, .. } => of_rule(bucket)?.split_once('/').map(|(_, rp)| rp.to_owned()),
    });
    ["", ANY].map(str::to_owned).into_iter().chain(named)
}

/// What becomes of a statement that ran; `run` is the record's body.
pub(super) fn plan(statement: &Statement, run: &[u8], mapping: &Mapping, kind: &TargetKind) -> Plan {
    made(statement, run, &World { mapping, kind, confirmed: false }).unwrap_or_else(Plan::Report)
}

/// The same once an operator wants it carried out: whole databases and policies go as well.
pub(super) fn confirmed(statement: &Statement, run: &[u8], mapping: &Mapping, kind: &TargetKind) -> Plan {
    made(statement, run, &World { mapping, kind, confirmed: true }).unwrap_or_else(Plan::Report)
}

struct World<'a> {
    mapping: &'a Mapping,
    kind: &'a TargetKind,
    confirmed: bool,
}

/// The body of `/api/v2/delete`.
#[derive(Deserialize)]
pub(super) struct ApiDelete {
    start: String,
    stop: String,
    #[serde(default)]
    pub(super) predicate: String,
}

fn made(statement: &Statement, run: &[u8], world: &World<'_>) -> Result<Plan, String> {
    let class = Class::of_name(&statement.class).unwrap_or(Class::Unknown);
    if let Some(name) = &statement.name
        && world.places(name).0.is_empty()
    {
        return Ok(Plan::Excluded);
    }
    if !class.is_carried_out() {
        return Err(never(class).to_owned());
    }
    if class.is_drop_of_a_place() && !world.confirmed {
        return match made(statement, run, &World { confirmed: true, ..*world }) {
            Ok(Plan::Excluded) => Ok(Plan::Excluded),
            Ok(_) => Err("a drop of a whole database or policy waits for confirmation (drops = \"ask\"; twinline statements confirm)".to_owned()),
            Err(why) => Err(format!("a drop of a whole database or policy is left to you, to be confirmed it cannot be carried out: {why}")),
        };
    }
    if let TargetKind::Labels { .. } = world.kind {
        return match class {
            // Names are labels there: they need not be made.
            Class::CreateDatabase | Class::CreatePolicy => Ok(Plan::Run { steps: Vec::new(), waits: false }),
            _ => Err("this kind of destination cannot do it".to_owned()),
        };
    }
    if statement.parameters {
        return Err("values of it stand elsewhere in the request".to_owned());
    }
    let name = statement.name.as_ref().ok_or("it names no database")?;
    let text = std::str::from_utf8(run).map_err(|_| "it is not UTF-8".to_owned())?;
    if text.is_empty() {
        return Err("its body was not read to its end".to_owned());
    }
    if statement.door == Door::Delete {
        return api_delete(name, text, world);
    }
    let RouteName::Database { db, .. } = name else {
        return Err("it is InfluxQL on a source of the 2.x family".to_owned());
    };
    let found = split(text);
    let [found] = found.as_slice() else { return Err("it is not one statement".to_owned()) };
    let change = found.change.as_ref().ok_or("it only reads")?;
    match class {
        Class::CreateDatabase | Class::CreatePolicy | Class::AlterPolicy => world.policies(db, change, found),
        Class::DropDatabase => world.drops(db),
        Class::DropPolicy => world.drops_policy(db, change),
        _ => world.deletes(db, &|| Ok(found.at(statement.at_ns)), &|| found.deletions(statement.at_ns)),
    }
}

/// Why statements of a class are never carried out.
fn never(class: Class) -> &'static str {
    match class {
        Class::Users | Class::ApiUsers => {
            "users, passwords, rights and organisations are not mirrored: make the same at the destination"
        }
        Class::SelectInto | Class::FluxWrite => "it writes points inside the source, which did not pass here",
        Class::CreateContinuousQuery | Class::DropContinuousQuery | Class::ApiTasks => {
            "what the source computes by itself does not pass here: decide where it is to run"
        }
        Class::CreateSubscription | Class::DropSubscription => {
            "a subscription at the destination would send everything twice"
        }
        Class::DropShard => "shards have other numbers at the destination",
        Class::ApiNames => "changes of buckets and mappings are not carried out yet: make the same at the destination",
        Class::Bypass => "data comes to the source past us",
        Class::Unread => "it could not be read here",
        _ => "it is not known here",
    }
}

/// A delete of 2.x, or of the same call of 1.x, which runs over the whole database and up to, without, its `stop`.
fn api_delete(name: &RouteName, text: &str, world: &World<'_>) -> Result<Plan, String> {
    let body: ApiDelete = serde_json::from_str(text).map_err(|_| "its body is not what is known here".to_owned())?;
    let time = |text: &str| parse_rfc3339(text).ok_or_else(|| format!("\"{text}\" is no time that is known here"));
    let (first, stop) = (time(&body.start)?, time(&body.stop)?);
    let deletion = |last| Deletion::of_predicate(&body.predicate, first, last);
    match name {
        RouteName::Database { db, .. } => {
            let deletion = || deletion(stop.saturating_sub(1));
            // Measured on 1.13: it answers 200 and deletes nothing, or something else.
            let is_misread = |name: &String| name.contains(['\\', '"', '\n']);
            if deletion().is_ok_and(|deletion| deletion.measurement.iter().any(is_misread)) {
                return Err("1.x does not find a measurement with such a name by this call: use DELETE".to_owned());
            }
            world.deletes(db, &|| deletion().map(|deletion| deletion.influxql()), &|| Ok(vec![deletion()?]))
        }
        RouteName::Bucket { bucket, .. } => {
            let target = map(world.mapping, name, world.kind).ok_or("no rule names it")?;
            if world.is_merged(bucket, &target) {
                return Err(MERGED.to_owned());
            }
            let said = || deletion(stop).map_err(|why| why.to_string());
            let shaped = match world.shape([name.clone()].into_iter())? {
                Some(rules) => reshaped(&rules, vec![said()?])?,
                None => None,
            };
            let steps = match (target, shaped) {
                (Target::Bucket { org, bucket }, None) => vec![Step::Delete { org, bucket, body: text.to_owned() }],
                (Target::Bucket { org, bucket }, Some(all)) => {
                    let step = |one: &Deletion| Step::Delete {
                        org: org.clone(),
                        bucket: bucket.clone(),
                        body: one.api_body(),
                    };
                    all.iter().map(step).collect()
                }
                (Target::Database { db, .. }, shaped) => {
                    let all = match shaped {
                        Some(all) => all,
                        None => vec![said()?],
                    };
                    let step = |one: &Deletion| Step::QueryOfOnePolicy { db: db.clone(), q: one.influxql() };
                    all.iter().map(step).collect()
                }
            };
            Ok(done(steps))
        }
    }
}

/// Requests, one after the other; without any nothing of it is mirrored.
fn done(steps: Vec<Step>) -> Plan {
    if steps.is_empty() { Plan::Excluded } else { Plan::Run { steps, waits: true } }
}

/// Deletions in the names that lines have at the destination; `None`: they say the same there. What is left out by rule is not
/// among them.
fn reshaped(rules: &Rules, all: Vec<Deletion>) -> Result<Option<Vec<Deletion>>, String> {
    let mut left = Vec::with_capacity(all.len());
    let mut is_same = true;
    for one in all {
        if one.tags.iter().any(|(key, _)| !rules.leaves_tag(key.as_bytes())) {
            return Err("by the rules of mapping a tag that it names is another one, or none, there".to_owned());
        }
        let Some(name) = &one.measurement else {
            if rules.renames_measurements() || rules.leaves_out_measurements() {
                return Err(
                    "it names no measurement, and by the rules of mapping some are others, or none, there".to_owned()
                );
            }
            left.push(one);
            continue;
        };
        let Some(new) = rules.measurement(name.as_bytes()) else {
            is_same = false;
            continue;
        };
        if !rules.stands_alone(name.as_bytes()) {
            return Err("by the rules of mapping its measurement stands under one name with others there".to_owned());
        }
        let new = String::from_utf8(new.into_owned()).map_err(|_| "its measurement has no name there".to_owned())?;
        is_same &= new == *name;
        left.push(Deletion { measurement: Some(new), ..one });
    }
    Ok((!is_same).then_some(left))
}

const MERGED: &str = "by the rules of mapping the destination holds other data beside it there";

impl World<'_> {
    /// Where what is mirrored of a place's database, or bucket, goes; and whether some of it is not mirrored.
    fn places(&self, name: &RouteName) -> (BTreeSet<Target>, bool) {
        let RouteName::Database { db, rp } = name else {
            return (map(self.mapping, name, self.kind).into_iter().collect(), false);
        };
        let (mut places, mut partly) = (BTreeSet::new(), false);
        for rp in policies(self.mapping).chain([rp.clone()]) {
            let place = map(self.mapping, &RouteName::Database { db: db.clone(), rp }, self.kind);
            partly |= place.is_none();
            places.extend(place);
        }
        (places, partly)
    }

    /// Whether something else than this database, or bucket, goes to a place as well.
    fn is_merged(&self, own: &str, target: &Target) -> bool {
        if self.mapping.rules.is_empty() {
            return false;
        }
        let wanted = place_name(target);
        let by_rule = self.mapping.rules.iter().any(|rule| {
            let (To::Database { db: to, .. } | To::Bucket { bucket: to, .. }) = &rule.to;
            let (Pattern::Database { db: from, .. } | Pattern::Bucket { bucket: from, .. }) = &rule.from;
            let whole = if let Target::Bucket { bucket, .. } = target { bucket } else { wanted };
            let is_own_alone = matches!(from, Match::Is(name) if name == own || name.split('/').next() == Some(own));
            !is_own_alone
                && to
                    .as_ref()
                    .is_some_and(|to| [to, &to.head()].iter().any(|to| to.may_be(wanted, own) || to.may_be(whole, own)))
        });
        let by_name = || {
            let same = RouteName::Database { db: wanted.to_owned(), rp: String::new() };
            map(self.mapping, &same, self.kind).is_some_and(|other| place_name(&other) == wanted)
        };
        by_rule || wanted != own && by_name()
    }

    /// What rules do to lines of these places, as far as that matters for deletes; `None`: nothing.
    fn shape(&self, places: impl Iterator<Item = RouteName>) -> Result<Option<Rules>, String> {
        let mut shapes: Vec<&Shape> = places
            .filter_map(|name| self.mapping.rules.get(rule_of(self.mapping, &name)?))
            .map(|rule| &rule.shape)
            .collect();
        shapes.dedup();
        match shapes.as_slice() {
            [] => Ok(None),
            [one] if one.is_empty() => Ok(None),
            [one] => {
                let rules = one.rules().map_err(|bad| bad.why.to_string())?;
                // A point is deleted whole, whatever became of its fields.
                Ok((!rules.is_about_fields_alone()).then_some(rules))
            }
            _ => Err("rules of mapping do one thing to lines of one of its policies, and another to others".to_owned()),
        }
    }

    /// Whether [`buckets_of`] finds every bucket of a database.
    fn finds_buckets(&self, db: &str) -> bool {
        let bucket = |rp: &str| match map(
            self.mapping,
            &RouteName::Database { db: db.to_owned(), rp: rp.to_owned() },
            self.kind,
        ) {
            Some(Target::Bucket { bucket, .. }) => bucket,
            _ => String::new(),
        };
        let default = bucket("");
        policies(self.mapping).filter(|rp| rp.contains(ANY)).all(|rp| {
            let found = bucket(&rp);
            !found.contains(ANY) || found == format!("{db}/{rp}") || found == format!("{default}/{rp}")
        })
    }

    /// A delete over a whole database. `q`: as a statement of 1.x; `deletions`: what both families can say.
    fn deletes(
        &self,
        db: &str,
        q: &dyn Fn() -> Result<String, Untranslated>,
        deletions: &dyn Fn() -> Result<Vec<Deletion>, Untranslated>,
    ) -> Result<Plan, String> {
        let (places, partly) = self.places(&RouteName::Database { db: db.to_owned(), rp: String::new() });
        if partly {
            return Err("only a part of the database is mirrored".to_owned());
        }
        if places.iter().any(|place| self.is_merged(db, place)) {
            return Err(MERGED.to_owned());
        }
        let untranslated = |why: Untranslated| format!("it cannot be said to the destination: {why}");
        let of = |rp: String| RouteName::Database { db: db.to_owned(), rp };
        let shaped = match self.shape(policies(self.mapping).map(of))? {
            Some(rules) => reshaped(&rules, deletions().map_err(untranslated)?)?,
            None => None,
        };
        if shaped.as_ref().is_some_and(Vec::is_empty) {
            return Ok(Plan::Excluded);
        }
        let step = match places.first() {
            Some(Target::Database { db: to, .. }) => {
                if places.iter().any(|place| place_name(place) != to) {
                    return Err("its policies go to several databases".to_owned());
                }
                if let Some(all) = shaped {
                    let step = |one: &Deletion| Step::Query { db: to.clone(), q: one.influxql() };
                    return Ok(done(all.iter().map(step).collect()));
                }
                Step::Query { db: to.clone(), q: q().map_err(untranslated)? }
            }
            Some(Target::Bucket { .. }) if !self.finds_buckets(db) => {
                return Err("by the rules of mapping its policies have other names there".to_owned());
            }
            Some(Target::Bucket { org, .. }) => {
                let all = match shaped {
                    Some(all) => all,
                    None => deletions().map_err(untranslated)?,
                };
                let bodies = all.iter().map(Deletion::api_body).collect();
                Step::DeleteInAll { org: org.clone(), db: db.to_owned(), bodies }
            }
            None => return Ok(Plan::Excluded),
        };
        Ok(Plan::Run { steps: vec![step], waits: true })
    }

    /// A whole database that goes.
    fn drops(&self, db: &str) -> Result<Plan, String> {
        let (places, partly) = self.places(&RouteName::Database { db: db.to_owned(), rp: String::new() });
        if partly {
            return Err("only a part of the database is mirrored".to_owned());
        }
        if places.iter().any(|place| self.is_merged(db, place)) {
            return Err(MERGED.to_owned());
        }
        let step = match places.first() {
            Some(Target::Database { db: to, .. }) => {
                if places.iter().any(|place| place_name(place) != to) {
                    return Err("its policies go to several databases".to_owned());
                }
                Step::Query { db: to.clone(), q: format!("DROP DATABASE {}", identifier(to)) }
            }
            Some(Target::Bucket { .. }) if !self.finds_buckets(db) => {
                return Err("by the rules of mapping its policies have other names there".to_owned());
            }
            Some(Target::Bucket { org, .. }) => Step::DropBuckets { org: org.clone(), db: db.to_owned() },
            None => return Ok(Plan::Excluded),
        };
        Ok(Plan::Run { steps: vec![step], waits: true })
    }

    /// A policy that goes.
    fn drops_policy(&self, db: &str, change: &Change) -> Result<Plan, String> {
        let rp = change.rp.as_deref().ok_or("it names no policy")?;
        let place =
            |rp: &str| map(self.mapping, &RouteName::Database { db: db.to_owned(), rp: rp.to_owned() }, self.kind);
        let Some(target) = place(rp) else { return Ok(Plan::Excluded) };
        let mut others = policies(self.mapping).filter(|other| other != rp);
        if self.is_merged(db, &target) || others.any(|other| place(&other).as_ref() == Some(&target)) {
            return Err(MERGED.to_owned());
        }
        let step = match target {
            Target::Database { rp, .. } if rp.is_empty() => {
                return Err("it is a database's default policy at the destination, whatever its name".to_owned());
            }
            Target::Database { db, rp } => Step::DropPolicy { db, rp },
            Target::Bucket { org, bucket } => Step::DropBucket { org, bucket },
        };
        Ok(Plan::Run { steps: vec![step], waits: true })
    }

    /// A database or policy that is made or changed.
    fn policies(&self, db: &str, change: &Change, text: &Text<'_>) -> Result<Plan, String> {
        let is_database = change.class == Class::CreateDatabase;
        // A database's own policy is its default one, whatever its name.
        let rp = if is_database { String::new() } else { change.rp.clone().ok_or("it names no policy")? };
        let name = RouteName::Database { db: db.to_owned(), rp: rp.clone() };
        let default = RouteName::Database { db: db.to_owned(), rp: String::new() };
        let default = map(self.mapping, &default, self.kind);
        let Some(target) = map(self.mapping, &name, self.kind) else {
            if change.policy.default && default.is_some() {
                return Err("it becomes the default policy, and by the rules of mapping it is not mirrored".to_owned());
            }
            return Ok(Plan::Excluded);
        };
        match target {
            Target::Database { db: to, .. }
                if change.policy.default && default != Some(Target::Database { db: to.clone(), rp: String::new() }) =>
            {
                Err("by the rules of mapping writes to the default policy do not go to the default one there"
                    .to_owned())
            }
            Target::Database { db: to, rp: to_rp } => {
                let q = if to == db && to_rp == rp {
                    text.text().to_owned()
                } else if to_rp.is_empty() != is_database {
                    return Err("it has another name at the destination".to_owned());
                } else if change.class == Class::AlterPolicy
                    && self.is_merged(db, &Target::Database { db: to.clone(), rp: to_rp.clone() })
                {
                    return Err(MERGED.to_owned());
                } else {
                    text.named(&to, &to_rp)
                };
                // What is new holds nothing up, and writes that wait for it may come before it in the log.
                let waits = change.class == Class::AlterPolicy || change.policy.default;
                Ok(Plan::Run { steps: vec![Step::Query { db: to, q }], waits })
            }
            Target::Bucket { .. } if change.class == Class::AlterPolicy => {
                Err("changes of policies are not carried out on buckets: set the bucket's retention".to_owned())
            }
            Target::Bucket { .. } if change.policy.default => {
                Err("a bucket cannot become the default of a database".to_owned())
            }
            Target::Bucket { org, bucket } => {
                let keep_s = change.policy.duration.as_deref().map_or(Some(0), span_s);
                let keep_s = keep_s.ok_or("its duration is not understood")?;
                Ok(Plan::Run { steps: vec![Step::CreateBucket { org, bucket, keep_s }], waits: false })
            }
        }
    }
}

/// The database of a place; of a bucket, what stands before the first `/`.
fn place_name(target: &Target) -> &str {
    match target {
        Target::Database { db, .. } => db,
        Target::Bucket { bucket, .. } => bucket.split('/').next().unwrap_or_default(),
    }
}

/// Which of the destination's buckets hold what is mirrored of a database.
pub(super) fn buckets_of(db: &str, listed: &[String], mapping: &Mapping, kind: &TargetKind) -> Vec<String> {
    let place = |rp: String| match map(mapping, &RouteName::Database { db: db.to_owned(), rp }, kind)? {
        Target::Bucket { bucket, .. } => Some(bucket),
        Target::Database { .. } => None,
    };
    // Of a policy the bucket is called as of the default one, with its name behind it.
    let default = place(String::new()).unwrap_or_default();
    let of = |begin: &str, bucket: &String| Some(bucket.strip_prefix(begin)?.strip_prefix('/')?.to_owned());
    let there = listed.iter().flat_map(|bucket| [of(db, bucket), of(&default, bucket)]).flatten();
    let places = policies(mapping).chain(there).filter_map(place);
    let places: BTreeSet<String> = places.filter(|bucket| listed.contains(bucket)).collect();
    places.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Naming, Rule, Unmapped};

    const NOW: i64 = 1_700_000_000_000_000_000;

    fn rules(pairs: &[(Pattern, To)]) -> Mapping {
        let rule = |(from, to): &(Pattern, To)| Rule {
            from: from.clone(),
            to: to.clone(),
            only: Vec::new(),
            shape: Shape::default(),
        };
        Mapping { unmapped: Unmapped::SourceOnly, rules: pairs.iter().map(rule).collect() }
    }

    fn database(db: &str) -> Pattern {
        Pattern::Database { db: Match::Is(db.into()), rp: Match::Any }
    }

    fn like(db: &str) -> Pattern {
        Pattern::Database { db: Match::new(db), rp: Match::Any }
    }

    fn to(db: &str) -> To {
        To::Database { db: Some(Naming::new(db).unwrap()), rp: None }
    }

    fn bucket_kind() -> TargetKind {
        TargetKind::Bucket { org: Some("o".into()), source_org: None }
    }

    fn of(text: &str, mapping: &Mapping, kind: &TargetKind) -> Plan {
        let change = split(text)[0].change.clone().unwrap();
        let db = change.db.clone().unwrap_or("d".into());
        let statement = Statement {
            door: Door::Influxql,
            class: change.class.name().to_owned(),
            name: Some(RouteName::Database { db, rp: change.rp.unwrap_or_default() }),
            parameters: false,
            at_ns: NOW,
            shown: text.to_owned(),
        };
        plan(&statement, text.as_bytes(), mapping, kind)
    }

    fn query(db: &str, q: &str, waits: bool) -> Plan {
        Plan::Run { steps: vec![Step::Query { db: db.into(), q: q.into() }], waits }
    }

    #[test]
    fn to_the_same_family_a_statement_goes_as_it_is_with_its_time_frozen() {
        let (none, kind) = (rules(&[]), TargetKind::Database);
        let delete = "DELETE FROM /m/ WHERE time < now() - 1h OR a = 'b'";
        let frozen = "DELETE FROM /m/ WHERE time < '2023-11-14T22:13:20Z' - 1h OR a = 'b'";
        assert_eq!(of(delete, &none, &kind), query("d", frozen, true));
        for text in ["DROP MEASUREMENT \"m x\"", "DROP SERIES WHERE a = 'b'", "ALTER RETENTION POLICY p ON d DEFAULT"] {
            assert_eq!(of(text, &none, &kind), query("d", text, true), "{text}");
        }
        for text in
            ["CREATE DATABASE d WITH DURATION 1d NAME p", "CREATE RETENTION POLICY p ON d DURATION 1d REPLICATION 1"]
        {
            assert_eq!(of(text, &none, &kind), query("d", text, false), "{text}");
        }
        for text in ["DROP DATABASE d", "DROP RETENTION POLICY p ON d", "SELECT v INTO d..m FROM n", "DROP SHARD 1"] {
            assert!(matches!(of(text, &none, &kind), Plan::Report(_)), "{text}");
        }
    }

    #[test]
    fn names_follow_the_rules_and_what_would_reach_other_data_is_reported() {
        let kind = TargetKind::Database;
        let renamed = rules(&[(database("d"), to("e"))]);
        assert_eq!(of("DROP MEASUREMENT m", &renamed, &kind), query("e", "DROP MEASUREMENT m", true));
        assert_eq!(of("CREATE DATABASE d", &renamed, &kind), query("e", "CREATE DATABASE \"e\"", false));
        assert!(matches!(
            of("CREATE RETENTION POLICY p ON d DURATION 1d REPLICATION 1", &renamed, &kind),
            Plan::Report(_)
        ));
        assert_eq!(of("CREATE DATABASE other", &renamed, &kind), Plan::Excluded);
        let merged = rules(&[(database("d"), to("all")), (database("c"), to("all"))]);
        assert_eq!(of("DROP MEASUREMENT m", &merged, &kind), Plan::Report(MERGED.to_owned()));
        let every = Pattern::Database { db: Match::Any, rp: Match::Any };
        let prefixed = rules(&[(like("d*"), to("prod_{db}"))]);
        assert_eq!(of("DROP MEASUREMENT m", &prefixed, &kind), query("prod_d", "DROP MEASUREMENT m", true));
        let into_one = rules(&[(like("d*"), to("all"))]);
        assert_eq!(of("DROP MEASUREMENT m", &into_one, &kind), Plan::Report(MERGED.to_owned()));
        let both = rules(&[(like("d*"), to("prod_{db}")), (database("e"), to("prod_d"))]);
        assert_eq!(of("DROP MEASUREMENT m", &both, &kind), Plan::Report(MERGED.to_owned()));
        let policy_of = |name: &str| To::Bucket { bucket: Some(Naming::fixed(name)), org: None };
        let policies = rules(&[(database("d"), policy_of("all/x")), (database("e"), policy_of("all/y"))]);
        assert_eq!(of("DROP MEASUREMENT m", &policies, &kind), Plan::Report(MERGED.to_owned()));
        let bucket = Pattern::Bucket { bucket: Match::Is("d/p".into()), org: Match::Any };
        let by_bucket = rules(&[(bucket, To::Database { db: None, rp: None })]);
        assert!(matches!(of("DROP MEASUREMENT m", &by_bucket, &kind), Plan::Report(why) if why.contains("part")));
        let onto_another = rules(&[(database("d"), to("c")), (every, To::Database { db: None, rp: None })]);
        assert_eq!(of("DROP MEASUREMENT m", &onto_another, &kind), Plan::Report(MERGED.to_owned()));
        let one_policy = Pattern::Database { db: Match::Is("d".into()), rp: Match::Is("p".into()) };
        let partly = rules(&[(one_policy, To::Database { db: None, rp: None })]);
        assert!(matches!(of("DROP MEASUREMENT m", &partly, &kind), Plan::Report(why) if why.contains("part")));
    }

    #[test]
    fn to_buckets_it_is_translated_or_reported() {
        let (none, kind) = (rules(&[]), bucket_kind());
        let bucket = |bucket: &str, keep_s| Plan::Run {
            steps: vec![Step::CreateBucket { org: "o".into(), bucket: bucket.into(), keep_s }],
            waits: false,
        };
        assert_eq!(of("CREATE DATABASE d WITH DURATION 2h NAME p", &none, &kind), bucket("d", 7200));
        assert_eq!(of("CREATE DATABASE d", &none, &kind), bucket("d", 0));
        let policy = "CREATE RETENTION POLICY p ON d DURATION INF REPLICATION 1";
        assert_eq!(of(policy, &none, &kind), bucket("d/p", 0));
        let Plan::Run { steps, waits: true } = of("DELETE FROM a, b WHERE time < 10", &none, &kind) else { panic!() };
        let [Step::DeleteInAll { org, db, bodies }] = steps.as_slice() else { panic!() };
        assert_eq!((org.as_str(), db.as_str(), bodies.len()), ("o", "d", 2));
        assert!(bodies[0].contains("1970-01-01T00:00:00.000000009Z"), "{}", bodies[0]);
        let labels = TargetKind::Labels { source_org: None };
        assert_eq!(of("CREATE DATABASE d", &none, &labels), Plan::Run { steps: Vec::new(), waits: false });
        assert!(matches!(of("DELETE FROM m", &none, &labels), Plan::Report(_)));
        for text in ["DELETE FROM /m/", "ALTER RETENTION POLICY p ON d DEFAULT", &format!("{policy} DEFAULT")] {
            assert!(matches!(of(text, &none, &kind), Plan::Report(_)), "{text}");
        }
        let listed = ["d", "d/p", "dd", "e", "d/p/q"].map(str::to_owned);
        assert_eq!(buckets_of("d", &listed, &none, &kind), ["d", "d/p", "d/p/q"]);
        let renamed = rules(&[(database("d"), To::Bucket { bucket: Some(Naming::fixed("e")), org: None })]);
        assert_eq!(buckets_of("d", &listed, &renamed, &kind), ["e"]);
        let of_policies =
            |bucket: &str| rules(&[(like("d*"), To::Bucket { bucket: Some(Naming::new(bucket).unwrap()), org: None })]);
        let listed = ["x_d", "x_d/p", "d/p", "x_dd"].map(str::to_owned);
        assert_eq!(buckets_of("d", &listed, &of_policies("x_{bucket}"), &kind), ["x_d", "x_d/p"]);
        assert_eq!(buckets_of("d", &listed, &of_policies("x_{db}/{rp}"), &kind), ["x_d", "x_d/p"]);
        assert!(matches!(of("DELETE FROM m", &of_policies("x_{bucket}"), &kind), Plan::Run { .. }));
        assert!(matches!(of("DELETE FROM m", &of_policies("{rp}_{db}"), &kind), Plan::Report(_)));
    }

    fn shaped(shape: Shape) -> Mapping {
        let mut mapping = rules(&[(database("d"), to("e"))]);
        mapping.rules[0].shape = shape;
        mapping
    }

    fn texts(all: &[&str]) -> Vec<String> {
        all.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn deletes_follow_what_rules_do_to_lines_or_are_told() {
        let kind = TargetKind::Database;
        let renamed = vec![("cpu".to_owned(), "processor".to_owned()), ("t_*".to_owned(), "u_*".to_owned())];
        let rule = shaped(Shape {
            exclude: texts(&["debug_*", "processor", "u_*"]),
            drop_tags: texts(&["secret"]),
            rename_measurement: renamed,
            rename_tag: vec![("hostname".into(), "host".into())],
            ..Shape::default()
        });
        let of = |text: &str| of(text, &rule, &kind);
        let same = |text: &str| query("e", text, true);
        for text in ["DROP MEASUREMENT debug_x", "DROP MEASUREMENT u_x", "DELETE FROM processor"] {
            assert_eq!(of(text), Plan::Excluded, "{text}");
        }
        assert_eq!(of("DROP MEASUREMENT mem"), same("DROP MEASUREMENT mem"));
        assert_eq!(of("DELETE FROM mem WHERE dc = 'a'"), same("DELETE FROM mem WHERE dc = 'a'"));
        let translated = "DELETE FROM \"processor\" WHERE time >= 3 AND time <= 9";
        assert_eq!(of("DELETE FROM cpu WHERE time >= 3 AND time < 10"), same(translated));
        let Plan::Run { steps, .. } = of("DELETE FROM t_a, debug_b, mem") else { panic!() };
        assert_eq!(steps.len(), 2);
        for text in [
            "DELETE FROM /m/",
            "DELETE WHERE time < 5",
            "DROP SERIES WHERE dc = 'a'",
            "DELETE FROM mem WHERE secret = 'a'",
            "DELETE FROM mem WHERE host = 'a'",
            "DELETE FROM mem WHERE hostname = 'a'",
            "DELETE FROM mem WHERE dc != 'a'",
        ] {
            assert!(matches!(of(text), Plan::Report(_)), "{text}: {:?}", of(text));
        }
        // Its new name is one that others have, or may have.
        let onto = shaped(Shape { rename_measurement: vec![("cpu".into(), "mem".into())], ..Shape::default() });
        for text in ["DROP MEASUREMENT cpu", "DROP MEASUREMENT mem"] {
            assert!(matches!(super::tests::of(text, &onto, &kind), Plan::Report(_)), "{text}");
        }
        let fields = shaped(Shape { drop_fields: texts(&["x"]), int_to_float: texts(&["*"]), ..Shape::default() });
        assert_eq!(super::tests::of("DELETE FROM /m/", &fields, &kind), query("e", "DELETE FROM /m/", true));
        let mut of_policies = rules(&[
            (Pattern::Database { db: Match::new("d"), rp: Match::new("p") }, to("e")),
            (database("d"), to("e")),
        ]);
        of_policies.rules[0].shape.exclude = texts(&["x"]);
        assert!(matches!(super::tests::of("DELETE FROM m", &of_policies, &kind), Plan::Report(_)));
    }

    #[test]
    fn a_default_policy_is_changed_where_writes_to_it_go_to_the_default_one() {
        let kind = TargetKind::Database;
        let alter = "ALTER RETENTION POLICY p ON d DEFAULT";
        let to = |db: &str, rp: &str| To::Database { db: Naming::new(db).ok(), rp: Naming::new(rp).ok() };
        let from = |rp: &str| Pattern::Database { db: Match::new("d"), rp: Match::new(rp) };
        let named = rules(&[(from("*"), to("x_{db}", "{rp}"))]);
        assert_eq!(of(alter, &named, &kind), query("x_d", "ALTER RETENTION POLICY \"p\" ON \"x_d\" DEFAULT", true));
        let made = "CREATE RETENTION POLICY p ON d DURATION 1d REPLICATION 1";
        let there = "CREATE RETENTION POLICY \"p\" ON \"x_d\" DURATION 1d REPLICATION 1";
        assert_eq!(of(made, &named, &kind), query("x_d", there, false));
        let elsewhere = rules(&[(from("p"), to("d", "p")), (from(""), to("d", "main"))]);
        assert!(matches!(of(alter, &elsewhere, &kind), Plan::Report(_)));
        let unmapped = rules(&[(from(""), to("d", ""))]);
        assert!(matches!(of(alter, &unmapped, &kind), Plan::Report(_)));
        assert_eq!(of(made, &unmapped, &kind), Plan::Excluded);
        let into_one = rules(&[(from("*"), to("all", "{rp}")), (database("e"), to("all", "{rp}"))]);
        assert!(matches!(of(alter, &into_one, &kind), Plan::Report(_)));
    }

    #[test]
    fn drops_are_carried_out_once_they_are_confirmed_where_they_take_nothing_else_with_them() {
        let of = |text: &str, rules: &Mapping, kind: &TargetKind| {
            let class = split(text)[0].change.as_ref().unwrap().class.name().to_owned();
            let name = Some(RouteName::Database { db: "d".into(), rp: String::new() });
            let statement =
                Statement { door: Door::Influxql, class, name, parameters: false, at_ns: NOW, shown: String::new() };
            assert!(
                matches!(plan(&statement, text.as_bytes(), rules, kind), Plan::Report(why) if why.contains("confirm"))
            );
            confirmed(&statement, text.as_bytes(), rules, kind)
        };
        let run = |step| Plan::Run { steps: vec![step], waits: true };
        let (none, policy) = (rules(&[]), "DROP RETENTION POLICY p ON d");
        assert_eq!(of("DROP DATABASE d", &none, &TargetKind::Database), query("d", "DROP DATABASE \"d\"", true));
        let step = Step::DropPolicy { db: "d".into(), rp: "p".into() };
        assert_eq!(of(policy, &none, &TargetKind::Database), run(step));
        let step = Step::DropBuckets { org: "o".into(), db: "d".into() };
        assert_eq!(of("DROP DATABASE d", &none, &bucket_kind()), run(step));
        let step = Step::DropBucket { org: "o".into(), bucket: "d/p".into() };
        assert_eq!(of(policy, &none, &bucket_kind()), run(step));
        // Another database goes to the same place.
        let merged = rules(&[(database("d"), to("d")), (database("e"), to("d"))]);
        for text in ["DROP DATABASE d", policy] {
            assert!(matches!(of(text, &merged, &TargetKind::Database), Plan::Report(_)), "{text}");
        }
    }

    #[test]
    fn deletes_of_the_api_keep_their_ends() {
        let body = r#"{"start":"1970-01-01T00:00:00Z","stop":"1970-01-01T00:00:01Z","predicate":"_measurement=\"m\" AND a=\"b\""}"#;
        let of_body = |name: RouteName, kind: &TargetKind, body: &str| {
            let (class, shown) = ("api-delete".to_owned(), String::new());
            let statement =
                Statement { door: Door::Delete, class, name: Some(name), parameters: false, at_ns: NOW, shown };
            plan(&statement, body.as_bytes(), &rules(&[]), kind)
        };
        let of = |name: RouteName, kind: &TargetKind| of_body(name, kind, body);
        let bucket = || RouteName::Bucket { org: "o".into(), bucket: "b/p".into() };
        let step = Step::Delete { org: "o".into(), bucket: "b/p".into(), body: body.to_owned() };
        assert_eq!(of(bucket(), &bucket_kind()), Plan::Run { steps: vec![step], waits: true });
        let q = |last: u64| format!("DELETE FROM \"m\" WHERE \"a\" = 'b' AND time >= 0 AND time <= {last}");
        let step = Step::QueryOfOnePolicy { db: "b".into(), q: q(1_000_000_000) };
        assert_eq!(of(bucket(), &TargetKind::Database), Plan::Run { steps: vec![step], waits: true });
        let database = RouteName::Database { db: "d".into(), rp: String::new() };
        assert_eq!(of(database.clone(), &TargetKind::Database), query("d", &q(999_999_999), true));
        // The source itself deletes nothing.
        for name in [r#"C:\\\\dir"#, r#"q\\\"q"#] {
            let body = body.replace(r#"\"m\""#, &format!(r#"\"{name}\""#));
            for kind in [TargetKind::Database, bucket_kind()] {
                let plan = of_body(database.clone(), &kind, &body);
                assert!(matches!(&plan, Plan::Report(why) if why.contains("does not find")), "{body}: {plan:?}");
            }
        }
    }
}
