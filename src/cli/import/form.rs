//! Points as the destination gets them: through the rules of mapping, in its own form.
//!
//! Promise: what is written reads back there as the point, but for what [`Changes`] counts and the rules say; what cannot is named and not
//! written, because a server would refuse it together with its neighbours, or take it and never show it.

use std::collections::HashMap;
use std::rc::Rc;

use crate::backfill::files::Point;
use crate::backfill::form::{is_value, written_of};
use crate::cell::Value;
use crate::cli::exit::{Exit, Failure};
use crate::config::Mapping;
use crate::db::product::Product;
use crate::delivery::{Writing, table_prefix, write_path};
use crate::line::project::{Changes, influx3, questdb, victoria};
use crate::line::{Dialect, LeftOut, Line, Precision, Rules, lines, unfit, write_parts};
use crate::route::{RouteName, Target, TargetKind, map, rule_of};

/// Places that are remembered; beyond this they are looked up anew.
const PLACES_MAX: usize = 1024;

/// A place of the source, and what becomes of its lines.
#[derive(Debug)]
pub(super) struct Route {
    /// For people: where it goes.
    pub(super) name: String,
    /// Path and query of a write there.
    pub(super) path: String,
    tables: String,
    rules: Option<Rules>,
}

/// What becomes of a point.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Formed {
    /// It is sent so.
    Line(Vec<u8>),
    /// A rule leaves it out.
    Excluded,
    /// The destination can hold nothing of it, which is counted.
    Nothing,
    /// It cannot be sent: a short stable code, and why.
    Refused(&'static str, String),
}

/// Writes points.
#[derive(Debug)]
pub(super) struct Former {
    pub(super) mapping: Mapping,
    pub(super) kind: TargetKind,
    pub(super) writing: Writing,
    pub(super) product: Product,
    known: HashMap<RouteName, Option<Rc<Route>>>,
}

impl Former {
    pub(super) fn new(mapping: Mapping, kind: TargetKind, writing: Writing, product: Product) -> Self {
        Self { mapping, kind, writing, product, known: HashMap::new() }
    }

    /// `None`: no rule sends this place anywhere.
    pub(super) fn route(&mut self, name: &RouteName) -> Result<Option<Rc<Route>>, Failure> {
        if let Some(known) = self.known.get(name) {
            return Ok(known.clone());
        }
        if self.known.len() >= PLACES_MAX {
            self.known.clear();
        }
        let route = match map(&self.mapping, name, &self.kind) {
            Some(target) => Some(Rc::new(self.found(name, &target)?)),
            None => None,
        };
        self.known.insert(name.clone(), route.clone());
        Ok(route)
    }

    fn found(&self, name: &RouteName, target: &Target) -> Result<Route, Failure> {
        let rule = rule_of(&self.mapping, name).and_then(|at| self.mapping.rules.get(at));
        let rules = match rule.filter(|rule| !rule.shape.is_empty()) {
            Some(rule) => {
                let bad = |why: crate::config::BadShape| {
                    Failure::new(Exit::Config, format!("a rule of mapping cannot be meant: {} {:?}", why.key, why.text))
                };
                Some(rule.shape.rules().map_err(bad)?)
            }
            None => None,
        };
        Ok(Route {
            name: told(target),
            path: write_path(self.product, target),
            tables: table_prefix(target, &self.kind),
            rules,
        })
    }

    /// A point in the destination's form.
    pub(super) fn form(&self, route: &Route, point: &Point, changes: &mut Changes) -> Formed {
        let mut text = Vec::with_capacity(128);
        write(point, &mut text);
        let unsigned = point.fields.iter().any(|(_, value)| matches!(value, Value::Unsigned(_)));
        let dialect = if unsigned { Dialect::Influx2 } else { Dialect::Influx1 };
        let meant = one(&text, dialect).is_some_and(|line| is_meant(&line, point));
        if !meant {
            return Formed::Refused("unreadable", "names or values that no line holds".to_owned());
        }
        if let Some(rules) = &route.rules {
            let left = rules.reshape(&text, dialect, Precision::Nanosecond, |_| true);
            if let Some(refused) = left.refused.first() {
                return match refused.why {
                    LeftOut::SameName => {
                        Formed::Refused("same-name", "two of its names become the same by a rule of mapping".to_owned())
                    }
                    _ => Formed::Refused(
                        "bad-name",
                        "with its new names no form of it reads as the same data".to_owned(),
                    ),
                };
            }
            if left.body.is_empty() {
                return Formed::Excluded;
            }
            changes.add_all(&left.changes);
            text = left.body;
        }
        self.written(route, text, point.time_ns, dialect, changes)
    }

    fn written(&self, route: &Route, text: Vec<u8>, at_ns: i64, from: Dialect, changes: &mut Changes) -> Formed {
        let read = |dialect| one(&text, dialect);
        let mut out = Vec::new();
        let done = match self.writing {
            Writing::Influx(to) => {
                let refused = refused(&text, to);
                return refused.map_or(Formed::Line(text), |(code, why)| Formed::Refused(code, why));
            }
            Writing::Influx3 => read(from).map(|line| influx3(&line, at_ns, &mut out)),
            Writing::Victoria(rules) => read(from).map(|line| victoria(&line, at_ns, rules, &mut out, changes)),
            Writing::Questdb(rules) => read(from).map(|line| {
                let all = std::slice::from_ref(&line);
                questdb(all, at_ns, (rules, route.tables.as_bytes()), &mut out, changes)
            }),
        };
        match done {
            None => Formed::Refused("unreadable", "it reads otherwise than it was written".to_owned()),
            Some(Err(unfit)) => Formed::Refused(unfit.code, unfit.why.to_owned()),
            Some(Ok(())) if out.is_empty() => Formed::Nothing,
            Some(Ok(())) => Formed::Line(out),
        }
    }
}

/// Why InfluxDB would not take the line, harm nothing by it, and show all of it.
fn refused(text: &[u8], to: Dialect) -> Option<(&'static str, String)> {
    match lines(text, to, Precision::Nanosecond).next() {
        Some(Ok(line)) => {
            unfit(&line, to).filter(|unfit| !unfit.in_part).map(|unfit| (unfit.code, unfit.why.to_owned()))
        }
        Some(Err(refused)) => Some(("parse", format!("the destination would not read it: {}", refused.reason))),
        None => Some(("unreadable", "the destination would read no line in it".to_owned())),
    }
}

/// The point in the form that both InfluxDB read alike.
pub(super) fn write(point: &Point, out: &mut Vec<u8>) {
    let tags = point.series.tags().iter().map(|(key, value)| (key.as_slice(), value.as_slice()));
    let fields = point.fields.iter().map(|(key, value)| (key.as_slice(), written_of(value)));
    write_parts((point.series.measurement(), tags), fields, point.time_ns, out);
}

/// The whole text as one line.
fn one(text: &[u8], dialect: Dialect) -> Option<Line<'_>> {
    let mut all = lines(text, dialect, Precision::Nanosecond);
    let line = all.next()?.ok()?;
    all.next().is_none().then_some(line)
}

fn is_meant(line: &Line<'_>, point: &Point) -> bool {
    let (tags, fields) = (point.series.tags(), &point.fields);
    line.timestamp_ns() == Some(point.time_ns)
        && *line.measurement() == *point.series.measurement()
        && line.tags().len() == tags.len()
        && line.tags().iter().zip(tags).all(|(a, (key, value))| *a.key() == **key && *a.value() == **value)
        && line.fields().len() == fields.len()
        && line.fields().iter().zip(fields).all(|(a, (key, value))| *a.key() == **key && is_value(value, &a.value()))
}

fn told(target: &Target) -> String {
    match target {
        Target::Database { db, rp } if rp.is_empty() => format!("database {db}"),
        Target::Database { db, rp } => format!("database {db}, policy {rp}"),
        Target::Bucket { org, bucket } if org.is_empty() => format!("bucket {bucket}"),
        Target::Bucket { org, bucket } => format!("bucket {bucket} of {org}"),
    }
}
