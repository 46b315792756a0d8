//! `types` and `empty`: the same field has the same type on both sides, and the destination holds nothing yet.
//!
//! Bounded: so many places are compared, and an answer that is too long is told as unknown.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::finding::{About, Code, Finding, Group, State};
use super::mapping::Plan;
use super::places::of_bucket;
use super::report::some_of;
use super::subject::{Subject, Unanswered};
use crate::db::server::Flavor;
use crate::route::Target;

/// Places whose fields are compared.
const COMPARED_MAX: usize = 50;

/// Types of each field, by measurement.
type Fields = BTreeMap<(String, String), BTreeSet<String>>;

/// What the comparison of all places came to.
#[derive(Debug, Default)]
struct Seen {
    places: usize,
    fields: usize,
    conflicts: Vec<String>,
    mixed: Vec<String>,
    unsigned: Vec<String>,
    filled: Vec<String>,
    unknown: Vec<String>,
}

/// Compares all places that exist on both sides.
pub(super) async fn look(
    source: &Subject<'_>,
    (destination, flavor): (&Subject<'_>, Flavor),
    plan: &Plan,
    exists: &BTreeSet<Target>,
) -> Vec<Finding> {
    let mut seen = Seen::default();
    let targets = plan.targets.iter().filter(|(target, _)| exists.contains(target));
    for (target, wanted) in targets.take(COMPARED_MAX) {
        if wanted.is_shaped {
            seen.unknown.push(format!("{target} (a rule leaves out or changes lines on the way)"));
            continue;
        }
        let there = match fields(destination, of_target(target)).await {
            Ok(there) => there,
            Err(why) => {
                seen.unknown.push(format!("{target} ({})", why.text()));
                continue;
            }
        };
        let mut here = Fields::new();
        for place in &wanted.places {
            match fields(source, place.for_influxql()).await {
                Ok(fields) => {
                    for (field, types) in fields {
                        here.entry(field).or_default().extend(types);
                    }
                }
                Err(why) => seen.unknown.push(format!("{} ({})", place.name, why.text())),
            }
        }
        seen.compare(target, &here, &there, flavor);
    }
    seen.findings(destination)
}

fn of_target(target: &Target) -> (String, String) {
    match target {
        Target::Database { db, rp } => (db.clone(), rp.clone()),
        Target::Bucket { bucket, .. } => of_bucket(bucket),
    }
}

async fn fields(subject: &Subject<'_>, (db, rp): (String, String)) -> Result<Fields, Unanswered> {
    let mut fields = Fields::new();
    for (measurement, rows) in subject.series((&db, &rp), "SHOW FIELD KEYS").await? {
        for (field, kind) in rows.column("fieldKey").iter().zip(&rows.column("fieldType")) {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            fields.entry((measurement.clone(), text(field))).or_default().insert(text(kind));
        }
    }
    Ok(fields)
}

fn list(types: &BTreeSet<String>) -> String {
    types.iter().cloned().collect::<Vec<_>>().join(" and ")
}

impl Seen {
    fn compare(&mut self, target: &Target, here: &Fields, there: &Fields, flavor: Flavor) {
        self.places += 1;
        self.fields += here.len();
        if !there.is_empty() {
            let measurements: BTreeSet<&String> = there.keys().map(|(measurement, _)| measurement).collect();
            let plural = if measurements.len() == 1 { "" } else { "s" };
            self.filled.push(format!("{target} ({} measurement{plural})", measurements.len()));
        }
        for ((measurement, field), types) in here {
            let name = format!("{measurement}.{field}");
            match there.get(&(measurement.clone(), field.clone())) {
                Some(theirs) if !types.is_subset(theirs) => {
                    self.conflicts.push(format!("{name} source {} · destination {}", list(types), list(theirs)));
                }
                _ if types.len() > 1 => self.mixed.push(format!("{name} {}", list(types))),
                _ => {}
            }
            if flavor == Flavor::Influx1 && types.contains("unsigned") {
                self.unsigned.push(name);
            }
        }
    }

    fn findings(self, destination: &Subject<'_>) -> Vec<Finding> {
        let found = |state, code, text| Finding::new(Group::Types, About::Mapping, state, code, text);
        let mut findings = Vec::new();
        let count = |names: &[String]| format!("{} field{}", names.len(), if names.len() == 1 { "" } else { "s" });
        if !self.conflicts.is_empty() {
            let number = count(&self.conflicts);
            let text = format!("{number} of another type at the destination: {}", some_of(&self.conflicts));
            findings.push(found(State::Warning, Code::FIELD_TYPES, text).fix(
                "where a shard there holds the other type, the source's lines are refused and dead-lettered: \
                 DROP MEASUREMENT at the destination if it is of no value, or map to an empty place",
            ));
        }
        if !self.mixed.is_empty() {
            let text =
                format!("{} with more than one type at the source: {}", count(&self.mixed), some_of(&self.mixed));
            findings.push(found(State::Warning, Code::FIELD_TYPES, text).fix(
                "one shard holds one type: keep the destination's shards no longer than the source's (--only retention)",
            ));
        }
        if !self.unsigned.is_empty() {
            let (number, names) = (count(&self.unsigned), some_of(&self.unsigned));
            let text = format!("{number} with unsigned values, which InfluxDB 1.x refuses: {names}");
            findings
                .push(found(State::Warning, Code::UNSIGNED, text).fix("write them as integers (12i instead of 12u)"));
        }
        if findings.is_empty() && self.places > 0 {
            let text = format!("{} fields in {} places agree in their types", self.fields, self.places);
            findings.push(found(State::Ok, Code::FIELD_TYPES, text));
        }
        if !self.unknown.is_empty() {
            let text = format!("the fields of these cannot be seen: {}", some_of(&self.unknown));
            let fix = "rights to read them, if their types matter to you";
            findings.push(found(State::Unknown, Code::FIELD_TYPES, text).fix(fix));
        }
        let empty = |state, text: String| destination.found(Group::Empty, state, Code::NOT_EMPTY, text);
        if !self.filled.is_empty() {
            let text = format!("holds data already: {}", some_of(&self.filled));
            findings.push(empty(State::Warning, text).fix(
                "points of the same series and time are overwritten by the source's; map to an empty place if that is not meant",
            ));
        } else if self.places > 0 {
            findings.push(empty(State::Ok, format!("{} places are empty", self.places)));
        }
        findings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(fields: &[(&str, &str, &[&str])]) -> Fields {
        let types = |types: &[&str]| types.iter().map(|t| (*t).to_owned()).collect();
        fields.iter().map(|(m, f, t)| (((*m).to_owned(), (*f).to_owned()), types(t))).collect()
    }

    #[test]
    fn what_conflicts_is_told_apart_from_what_is_mixed_or_new() {
        let target = Target::Database { db: "d".into(), rp: String::new() };
        let here = of(&[
            ("m", "same", &["float"]),
            ("m", "other", &["float"]),
            ("m", "both", &["float", "string"]),
            ("m", "new", &["unsigned"]),
        ]);
        let there =
            of(&[("m", "same", &["float", "integer"]), ("m", "other", &["integer"]), ("x", "new", &["string"])]);
        let mut seen = Seen::default();
        seen.compare(&target, &here, &there, Flavor::Influx1);
        assert_eq!(seen.conflicts, ["m.other source float · destination integer"]);
        assert_eq!(
            (&seen.mixed[..], &seen.unsigned[..]),
            (&["m.both float and string".into()][..], &["m.new".into()][..])
        );
        assert_eq!(seen.filled, ["database d (2 measurements)"]);
        let mut second = Seen::default();
        second.compare(&target, &here, &Fields::new(), Flavor::Influx2);
        assert!(second.conflicts.is_empty() && second.unsigned.is_empty() && second.filled.is_empty());
    }
}
