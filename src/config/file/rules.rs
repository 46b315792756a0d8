//! The mapping rules as they are written.

use toml::de::DeValue;

use crate::base::{DestinationId, Glob};
use crate::config::checked::Destination;
use crate::config::document::Section;
use crate::config::mapping::{Mapping, Match, Pattern, Rule, Target, Unmapped};
use crate::config::naming::Naming;
use crate::config::shape::Shape;

const FROM: &str = "from = { db = \"telegraf-*\", rp = \"*\" } or { bucket = \"telegraf\", org = \"my-org\" }";
const TO: &str = "to = { db = \"telegraf\" } or { bucket = \"telegraf\", org = \"my-org\" }, each with destination = \"ID\" where it is for one alone";

/// `destinations`: those of the file, where these could be read.
pub(super) fn mapping(root: &Section<'_>, destinations: Option<&[Destination]>) -> Mapping {
    let section = root.section("mapping");
    let unmapped = section.choice("unmapped", Unmapped::SourceOnly, &[("source-only", Unmapped::SourceOnly)]);
    let mut rules: Vec<Rule> = Vec::new();
    for table in section.sections("rule") {
        let from = side(&table, "from", FROM).and_then(|from| pattern(from, &table));
        let to = side(&table, "to", TO).and_then(|to| {
            let only = only(&to, destinations)?;
            Some((target(to, &table, !only.is_empty())?, only))
        });
        let shape = shape(&table);
        if let (Some(from), Some((to, only))) = (from, to) {
            let rule = Rule { from, to, only, shape };
            if let Some(earlier) = rules.iter().position(|other| other.hides(&rule)) {
                table.fault(
                    "from",
                    format!("never applies: rule {} above it takes all of it", earlier + 1),
                    "the narrower rule first".to_owned(),
                );
            }
            if rule.merges() {
                table.warn("to", "puts all into one: points of the same series and time overwrite each other there");
            }
            if let Some(earlier) = rules.iter().position(|other| other.shares_place(&rule)) {
                let what = "as well: points of the same series and time overwrite each other there";
                table.warn("to", format!("is where rule {} above it puts its own {what}", earlier + 1));
            }
            rules.push(rule);
        }
        table.finish();
    }
    let mapping = Mapping { unmapped, rules };
    for one in destinations.unwrap_or_default() {
        if mapping.of(&one.id).takes_nothing() {
            section.warn("rule", format!("none is for destination \"{}\": nothing goes there", one.id));
        }
    }
    section.finish();
    mapping
}

/// The destinations that a rule is for; empty: all. Nothing where a fault of it was recorded.
fn only(to: &Section<'_>, destinations: Option<&[Destination]>) -> Option<Vec<DestinationId>> {
    const SEVERAL: &str = "[\"main\", \"second\"]";
    let mut key = "destinations";
    let mut names = to.strings(key, SEVERAL);
    if to.has("destination") {
        if names.is_some() {
            to.fault("destination", "stands beside destinations", "one of the two".to_owned());
            return None;
        }
        key = "destination";
        names = Some(vec![to.string(key, "main")?.value]);
    } else {
        let _ = to.value("destination");
    }
    if !to.has(key) {
        return Some(Vec::new());
    }
    let names = names?;
    if names.is_empty() {
        to.fault(key, "names none", format!("{key} = {SEVERAL}, or leave it out for all"));
        return None;
    }
    let ids: Vec<String> = destinations.into_iter().flatten().map(|one| one.id.to_string()).collect();
    if let Some(unknown) = names.iter().find(|name| destinations.is_some() && !ids.contains(name)) {
        to.fault(key, format!("\"{unknown}\" is no destination of this file"), format!("one of: {}", ids.join(", ")));
        return None;
    }
    let parsed: Result<Vec<_>, _> = names.iter().map(|name| DestinationId::parse(name)).collect();
    parsed.map_err(|what| to.fault(key, what, "destination = \"main\"".to_owned())).ok()
}

/// What a rule does to lines.
fn shape(table: &Section<'_>) -> Shape {
    let list = |key| table.strings(key, "[\"cpu\", \"debug_*\"]").unwrap_or_default();
    let pairs = |key| table.pairs(key, "{ \"old\" = \"new\", \"telegraf_*\" = \"tg_*\" }");
    let shape = Shape {
        include: list("include"),
        exclude: list("exclude"),
        drop_tags: list("drop_tags"),
        drop_fields: list("drop_fields"),
        rename_measurement: pairs("rename_measurement"),
        rename_tag: pairs("rename_tag"),
        rename_field: pairs("rename_field"),
        int_to_float: list("int_to_float"),
    };
    if let Err(bad) = shape.rules() {
        table.fault(bad.key, format!("\"{}\": {}", bad.text, bad.why), None);
    }
    let is_excluded = |text: &&String| shape.exclude.iter().any(|wide| Glob::new(wide).covers(&Glob::new(text)));
    if let Some(text) = shape.include.iter().find(is_excluded) {
        table.warn("include", format!("\"{text}\" is taken out again by exclude"));
    }
    for key in shape.may_merge() {
        table.warn(key, "may make one series of two: their points of the same time overwrite each other there");
    }
    shape
}

fn side<'a>(rule: &Section<'a>, key: &'static str, example: &str) -> Option<Section<'a>> {
    match rule.peek(key) {
        Some(DeValue::Table(_)) => Some(rule.section(key)),
        Some(_) => {
            let _ = rule.value(key);
            rule.fault(key, "is not a table", example.to_owned());
            None
        }
        None => {
            let _ = rule.value(key);
            rule.fault(key, "is missing", example.to_owned());
            None
        }
    }
}

/// The two names of one side: (is by bucket, name, second name).
type Names = (bool, Option<String>, Option<String>);

fn names(side: &Section<'_>, rule: &Section<'_>, key: &str, example: &str) -> Option<Names> {
    let db = name(side, "db");
    let rp = name(side, "rp");
    let bucket = name(side, "bucket");
    let org = name(side, "org");
    let by_database = side.has("db") || side.has("rp");
    let by_bucket = side.has("bucket") || side.has("org");
    match (by_database, by_bucket) {
        (true, false) => Some((false, db?, rp?)),
        (false, true) => Some((true, bucket?, org?)),
        (true, true) => {
            rule.fault(key, "mixes db/rp (1.x) with bucket/org (2.x)", example.to_owned());
            None
        }
        (false, false) => {
            rule.fault(key, "names nothing", example.to_owned());
            None
        }
    }
}

/// One name; the outer option is a fault that was recorded, the inner one "not written".
fn name(side: &Section<'_>, key: &'static str) -> Option<Option<String>> {
    if !side.has(key) {
        let _ = side.value(key);
        return Some(None);
    }
    let text = side.string(key, "name")?.value;
    if text.is_empty() && key != "rp" {
        side.fault(key, "is empty", format!("{key} = \"name\", or leave the key out"));
        return None;
    }
    Some(Some(text))
}

fn pattern(side: Section<'_>, rule: &Section<'_>) -> Option<Pattern> {
    let (by_bucket, first, second) = names(&side, rule, "from", FROM)?;
    side.finish();
    let of = |name: Option<String>| name.map_or(Match::Any, |name| Match::new(&name));
    Some(if by_bucket {
        Pattern::Bucket { bucket: of(first), org: of(second) }
    } else {
        Pattern::Database { db: of(first), rp: of(second) }
    })
}

/// `may_name_nothing`: it says for which destinations it is; names stay then.
fn target(side: Section<'_>, rule: &Section<'_>, may_name_nothing: bool) -> Option<Target> {
    if may_name_nothing && !["db", "rp", "bucket", "org"].iter().any(|key| side.has(key)) {
        side.finish();
        return Some(Target::Database { db: None, rp: None });
    }
    let (by_bucket, first, second) = names(&side, rule, "to", TO)?;
    let keys = if by_bucket { ["bucket", "org"] } else { ["db", "rp"] };
    let own = |name: Option<String>, key| {
        let Some(name) = name.filter(|n| n != "*") else { return Some(None) };
        let what = match Naming::new(&name) {
            Ok(_) if name.contains('*') => format!("\"{name}\": \"*\" stands for a whole name only here"),
            Ok(naming) => return Some(Some(naming)),
            Err(what) => what,
        };
        side.fault(key, what, format!("{key} = \"prod_{{db}}\", or \"*\" for the name that it has"));
        None
    };
    let (first, second) = (own(first, keys[0]), own(second, keys[1]));
    side.finish();
    let (first, second) = (first?, second?);
    Some(if by_bucket {
        Target::Bucket { bucket: first, org: second }
    } else {
        Target::Database { db: first, rp: second }
    })
}
