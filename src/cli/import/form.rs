//! Points as the destination gets them: through the rules of mapping, in its own form.
//!
//! Promise: that of [`Shaping`], which copies have too.

use std::collections::HashMap;
use std::rc::Rc;

use crate::backfill::files::Point;
use crate::backfill::form::{Form, Formed, Shaping, written_of};
use crate::cli::exit::{Exit, Failure};
use crate::config::Mapping;
use crate::db::product::Product;
use crate::delivery::{Writing, table_prefix, write_path};
use crate::line::project::Changes;
use crate::line::{Rules, write_parts};
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
        let form = Form { writing: self.writing, tables: &route.tables };
        let values = point.fields.iter().map(|(key, value)| (key.as_slice(), value));
        Shaping { form, rules: route.rules.as_ref() }.point((&*point.series, point.time_ns), values, changes)
    }
}

/// The point in the form that both InfluxDB read alike.
pub(super) fn write(point: &Point, out: &mut Vec<u8>) {
    let tags = point.series.tags().iter().map(|(key, value)| (key.as_slice(), value.as_slice()));
    let fields = point.fields.iter().map(|(key, value)| (key.as_slice(), written_of(value)));
    write_parts((point.series.measurement(), tags), fields, point.time_ns, out);
}

fn told(target: &Target) -> String {
    match target {
        Target::Database { db, rp } if rp.is_empty() => format!("database {db}"),
        Target::Database { db, rp } => format!("database {db}, policy {rp}"),
        Target::Bucket { org, bucket } if org.is_empty() => format!("bucket {bucket}"),
        Target::Bucket { org, bucket } => format!("bucket {bucket} of {org}"),
    }
}
