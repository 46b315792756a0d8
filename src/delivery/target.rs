//! Places at the destination, interned: how to address a write to each.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use crate::config::Mapping;
use crate::db::encode::escape;
use crate::db::product::Product;
use crate::line;
use crate::route::{RouteName, Target, TargetKind, map, rule_of};

/// Number of a target within this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct TargetId(pub(super) u32);

/// Names that are kept; beyond this the table starts anew, which only costs looking up again.
const NAMES_MAX: usize = 20_000;

#[derive(Debug)]
pub(super) struct Addressed {
    pub(super) target: Target,
    /// Path and query of a write with explicit nanoseconds.
    pub(super) path: String,
    /// What its tables begin with, where the destination has tables alone (QuestDB).
    pub(super) tables: Vec<u8>,
}

/// All targets that the source has kept a write for: as many as it has, or had, places.
#[derive(Debug)]
pub(super) struct Targets {
    mapping: Mapping,
    kind: TargetKind,
    product: Product,
    /// What each rule does to lines; nothing where none does anything.
    shapes: Vec<Option<Rc<line::Rules>>>,
    names: RefCell<HashMap<RouteName, Option<TargetId>>>,
    targets: RefCell<Vec<Rc<Addressed>>>,
    ids: RefCell<HashMap<Target, TargetId>>,
    /// Whether names were forgotten.
    forgotten: Cell<bool>,
}

impl Targets {
    pub(super) fn new(mapping: Mapping, kind: TargetKind, product: Product) -> Self {
        let (names, targets, ids) = (RefCell::default(), RefCell::default(), RefCell::default());
        let shapes = mapping.rules.iter().map(|rule| match rule.shape.rules() {
            Ok(rules) if !rule.shape.is_empty() => Some(Rc::new(rules)),
            // The configuration refuses what cannot be meant.
            _ => None,
        });
        let mut shapes: Vec<_> = shapes.collect();
        if shapes.iter().all(Option::is_none) {
            shapes.clear();
        }
        Self { mapping, kind, product, shapes, names, targets, ids, forgotten: Cell::new(false) }
    }

    /// What the rule of this place does to lines, if it does something.
    pub(super) fn shape_of(&self, name: &RouteName) -> Option<Rc<line::Rules>> {
        if self.shapes.is_empty() {
            return None;
        }
        self.shapes.get(rule_of(&self.mapping, name)?)?.clone()
    }

    /// Where this place goes; `None`: nowhere.
    pub(super) fn of(&self, name: &RouteName) -> Option<TargetId> {
        if let Some(known) = self.names.borrow().get(name) {
            return *known;
        }
        let id = map(&self.mapping, name, &self.kind).map(|target| self.intern(target));
        let mut names = self.names.borrow_mut();
        if names.len() >= NAMES_MAX {
            names.clear();
            self.forgotten.set(true);
        }
        names.insert(name.clone(), id);
        id
    }

    /// Whether it goes nowhere. Clients invent names: nothing is remembered.
    pub(super) fn stays(&self, name: &RouteName) -> bool {
        match self.names.borrow().get(name) {
            Some(known) => known.is_none(),
            None => map(&self.mapping, name, &self.kind).is_none(),
        }
    }

    /// Places that hold something of this database or bucket of the source.
    pub(super) fn of_place(&self, name: &RouteName) -> Vec<TargetId> {
        let is_of = |other: &RouteName| match (name, other) {
            (RouteName::Database { db, .. }, RouteName::Database { db: other, .. }) => db == other,
            (own, other) => own == other,
        };
        let names = self.names.borrow();
        let mut ids: Vec<_> = names.iter().filter(|(other, _)| is_of(other)).filter_map(|(_, id)| *id).collect();
        if self.forgotten.get() {
            ids.extend(self.all());
        }
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// Names that were asked for, as far as they are kept.
    pub(super) fn names(&self) -> Vec<RouteName> {
        self.names.borrow().keys().cloned().collect()
    }

    /// Every place so far.
    pub(super) fn all(&self) -> Vec<TargetId> {
        (0..self.targets.borrow().len() as u32).map(TargetId).collect()
    }

    /// The rules by which places are found.
    pub(super) fn rules(&self) -> (&Mapping, &TargetKind) {
        (&self.mapping, &self.kind)
    }

    pub(super) fn get(&self, id: TargetId) -> Rc<Addressed> {
        Rc::clone(&self.targets.borrow()[id.0 as usize])
    }

    fn intern(&self, target: Target) -> TargetId {
        if let Some(id) = self.ids.borrow().get(&target) {
            return *id;
        }
        let mut targets = self.targets.borrow_mut();
        let id = TargetId(u32::try_from(targets.len()).expect("routes are far fewer"));
        let path = write_path(self.product, &target);
        let tables = table_prefix(&target, &self.kind).into_bytes();
        targets.push(Rc::new(Addressed { target: target.clone(), path, tables }));
        self.ids.borrow_mut().insert(target, id);
        id
    }
}

/// What the names of a place's tables begin with: `database_`, `database_policy_`, `bucket_`; with the organisation in front
/// where several are mirrored.
#[must_use]
pub fn table_prefix(target: &Target, kind: &TargetKind) -> String {
    match target {
        Target::Database { db, rp } if rp.is_empty() => format!("{db}_"),
        Target::Database { db, rp } => format!("{db}_{rp}_"),
        Target::Bucket { org, bucket } => match kind {
            TargetKind::Labels { source_org: None } if !org.is_empty() => format!("{org}_{bucket}_"),
            _ => format!("{bucket}_"),
        },
    }
}

/// Path and query of a write to this place, with the unit that lines have there: nanoseconds, milliseconds for VictoriaMetrics.
#[must_use]
pub fn write_path(product: Product, target: &Target) -> String {
    match (product, target) {
        (Product::Influx3, target) => {
            let db = match target {
                // Its own write path of 1.x makes the same of them.
                Target::Database { db, rp } if rp.is_empty() || rp == "autogen" => db.clone(),
                Target::Database { db, rp } => format!("{db}/{}", rp.to_ascii_lowercase()),
                Target::Bucket { bucket, .. } => bucket.clone(),
            };
            format!("/api/v3/write_lp?db={}&precision=nanosecond&accept_partial=true", escape(&db))
        }
        // It reads the unit alone; the name is for whoever looks at requests.
        (Product::Questdb, Target::Database { db: name, .. } | Target::Bucket { bucket: name, .. }) => {
            format!("/write?db={}&precision=n", escape(name))
        }
        (Product::Victoria, Target::Database { db, rp }) => {
            let policy = if rp.is_empty() { String::new() } else { format!("&extra_label=rp={}", escape(rp)) };
            format!("/influx/write?db={}{policy}&precision=ms", escape(db))
        }
        (Product::Victoria, Target::Bucket { org, bucket }) => {
            let org = if org.is_empty() { String::new() } else { format!("&extra_label=org={}", escape(org)) };
            format!("/influx/write?extra_label=bucket={}{org}&precision=ms", escape(bucket))
        }
        (_, Target::Database { db, rp }) if rp.is_empty() => format!("/write?db={}&precision=ns", escape(db)),
        (_, Target::Database { db, rp }) => format!("/write?db={}&rp={}&precision=ns", escape(db), escape(rp)),
        (_, Target::Bucket { org, bucket }) => {
            format!("/api/v2/write?org={}&bucket={}&precision=ns", escape(org), escape(bucket))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Unmapped;

    #[test]
    fn names_are_escaped_and_nanoseconds_explicit() {
        let targets = Targets::new(
            Mapping { unmapped: Unmapped::SourceOnly, rules: Vec::new() },
            TargetKind::Bucket { org: Some("a b".into()), source_org: None },
            Product::Influx2,
        );
        let id = targets.of(&RouteName::Database { db: "d&x".into(), rp: "w".into() }).unwrap();
        assert_eq!(targets.get(id).path, "/api/v2/write?org=a%20b&bucket=d%26x%2Fw&precision=ns");
        assert_eq!(targets.of(&RouteName::Bucket { org: String::new(), bucket: "d&x/w".into() }), Some(id));
    }

    #[test]
    fn another_organisation_stays_and_is_not_remembered() {
        let kind = TargetKind::Bucket { org: Some("o".into()), source_org: Some("own".into()) };
        let targets =
            Targets::new(Mapping { unmapped: Unmapped::SourceOnly, rules: Vec::new() }, kind, Product::Influx2);
        let name = |org: &str| RouteName::Bucket { org: org.into(), bucket: "b".into() };
        assert!(targets.stays(&name("other")) && !targets.stays(&name("own")));
        assert!(targets.names().is_empty() && targets.all().is_empty());
    }
}
