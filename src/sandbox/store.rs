//! The sandbox's data: databases, policies, measurements, series, cells; all in memory.
//!
//! One type per field of a policy; a point with one field of another type is refused whole. The same point again
//! overwrites, fields of points at one time merge. A shard group is there from the first point in it on, also when all of
//! them were deleted. The number of stored values is bounded.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use crate::cell::{Cell, FieldType, Series, Value};
use crate::db::read::{Window, shard_group_at};

/// One hour, one day, nanoseconds.
const HOUR_NS: i64 = 3_600_000_000_000;
const DAY_NS: i64 = 24 * HOUR_NS;

/// Values of one field by time.
pub(super) type Column = BTreeMap<i64, Value>;

#[derive(Debug, Default)]
pub(super) struct Store {
    databases: BTreeMap<String, Database>,
    /// Stored values over all databases.
    values: u64,
    values_max: u64,
    /// Shard groups that were ever made.
    groups: i64,
}

#[derive(Debug)]
pub(super) struct Database {
    pub(super) policies: BTreeMap<String, Policy>,
    pub(super) default_policy: String,
}

#[derive(Debug)]
pub(super) struct Policy {
    pub(super) spec: PolicySpec,
    pub(super) measurements: BTreeMap<Vec<u8>, Measurement>,
    /// Shard groups with their numbers.
    pub(super) groups: BTreeMap<Window, i64>,
}

/// What a policy was created with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PolicySpec {
    /// 0: for ever.
    pub(super) duration_ns: i64,
    pub(super) shard_group_ns: i64,
    pub(super) replication: i64,
}

impl PolicySpec {
    pub(super) fn new(duration_ns: i64, shard_group_ns: Option<i64>, replication: i64) -> Self {
        let usual = match duration_ns {
            0 => 7 * DAY_NS,
            d if d < 2 * DAY_NS => HOUR_NS,
            d if d <= 180 * DAY_NS => DAY_NS,
            _ => 7 * DAY_NS,
        };
        let shard_group_ns = shard_group_ns.filter(|d| *d > 0).map_or(usual, |d| d.max(HOUR_NS));
        Self { duration_ns, shard_group_ns, replication }
    }
}

impl Policy {
    fn new(spec: PolicySpec) -> Self {
        Self { spec, measurements: BTreeMap::new(), groups: BTreeMap::new() }
    }
}

#[derive(Debug, Default)]
pub(super) struct Measurement {
    pub(super) types: BTreeMap<Vec<u8>, FieldType>,
    pub(super) series: BTreeMap<Arc<Series>, BTreeMap<Arc<[u8]>, Column>>,
}

impl Measurement {
    /// All tag keys, sorted.
    pub(super) fn tag_keys(&self) -> Vec<Vec<u8>> {
        let keys = self.series.keys().flat_map(|series| series.tags().iter().map(|(key, _)| key.clone()));
        keys.collect::<std::collections::BTreeSet<_>>().into_iter().collect()
    }
}

/// Fields of a point, by key.
pub(super) type Fields = Vec<(Vec<u8>, Value)>;

/// A point on its way in.
#[derive(Debug)]
pub(super) struct Point {
    pub(super) series: Series,
    pub(super) fields: Fields,
    pub(super) time_ns: i64,
}

/// Why a point was not stored.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// A field has another type already.
    Conflict { field: Vec<u8>, measurement: Vec<u8>, given: FieldType, stored: FieldType },
    /// No room: what would be stored, and what may be.
    Full { values: u64, values_max: u64 },
}

impl Store {
    pub(super) fn new(values_max: u64) -> Self {
        Self { values_max, ..Self::default() }
    }

    pub(super) fn values(&self) -> u64 {
        self.values
    }

    pub(super) fn series(&self) -> u64 {
        let policies = self.databases.values().flat_map(|d| d.policies.values());
        policies.flat_map(|p| p.measurements.values()).map(|m| m.series.len() as u64).sum()
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.databases.keys().map(String::as_str)
    }

    pub(super) fn database(&self, name: &str) -> Option<&Database> {
        self.databases.get(name)
    }

    pub(super) fn databases(&self) -> impl Iterator<Item = (&str, &Database)> {
        self.databases.iter().map(|(name, database)| (name.as_str(), database))
    }

    /// Creates a database with its default policy. An existing one is left as it is; `Err` when it differs.
    pub(super) fn create_database(&mut self, name: &str, policy: Option<(&str, PolicySpec)>) -> Result<(), ()> {
        let given = policy.is_some();
        let (policy, spec) = policy.unwrap_or(("autogen", PolicySpec::new(0, None, 1)));
        match self.databases.entry(name.to_owned()) {
            Entry::Vacant(slot) => {
                let policies = BTreeMap::from([(policy.to_owned(), Policy::new(spec))]);
                slot.insert(Database { policies, default_policy: policy.to_owned() });
                Ok(())
            }
            Entry::Occupied(slot) => {
                let database = slot.get();
                let same = database.default_policy == policy && database.policies[policy].spec == spec;
                if same || !given { Ok(()) } else { Err(()) }
            }
        }
    }

    pub(super) fn drop_database(&mut self, name: &str) {
        self.databases.remove(name);
        self.recount();
    }

    /// Creates a policy; `Err` when one of that name differs. `None` when there is no such database.
    pub(super) fn create_policy(
        &mut self,
        database: &str,
        name: &str,
        spec: PolicySpec,
        default: bool,
    ) -> Option<Result<(), ()>> {
        let database = self.databases.get_mut(database)?;
        let policy = database.policies.entry(name.to_owned()).or_insert_with(|| Policy::new(spec));
        if policy.spec != spec {
            return Some(Err(()));
        }
        if default {
            name.clone_into(&mut database.default_policy);
        }
        Some(Ok(()))
    }

    pub(super) fn drop_policy(&mut self, database: &str, name: &str) -> Option<()> {
        self.databases.get_mut(database)?.policies.remove(name);
        self.recount();
        Some(())
    }

    /// The policy that a write or query names; the default one for an empty name.
    pub(super) fn policy(&self, database: &str, policy: &str) -> Option<&Policy> {
        let database = self.databases.get(database)?;
        let name = if policy.is_empty() { database.default_policy.as_str() } else { policy };
        database.policies.get(name)
    }

    /// Stores a point, whole or not at all.
    pub(super) fn insert(&mut self, database: &str, policy: &str, point: Point) -> Result<(), Refused> {
        let (values, values_max) = (self.values, self.values_max);
        let policy = self.databases.get_mut(database).and_then(|d| d.policies.get_mut(policy));
        let Some(policy) = policy else { return Ok(()) };
        let measurement = policy.measurements.entry(point.series.measurement().to_vec()).or_default();
        for (field, value) in &point.fields {
            let given = value.field_type();
            let first = point.fields.iter().find(|(name, _)| name == field).map_or(given, |(_, v)| v.field_type());
            let stored = measurement.types.get(field).copied().unwrap_or(first);
            if given != stored {
                let (field, measurement) = (field.clone(), point.series.measurement().to_vec());
                return Err(Refused::Conflict { field, measurement, given, stored });
            }
        }
        let after = values + point.fields.len() as u64;
        if after > values_max {
            return Err(Refused::Full { values: after, values_max });
        }
        let group = shard_group_at(point.time_ns, policy.spec.shard_group_ns);
        if let Entry::Vacant(slot) = policy.groups.entry(group) {
            self.groups += 1;
            slot.insert(self.groups);
        }
        let series = measurement.series.entry(Arc::new(point.series)).or_default();
        for (field, value) in point.fields {
            measurement.types.entry(field.clone()).or_insert_with(|| value.field_type());
            let old = series.entry(Arc::from(field)).or_default().insert(point.time_ns, value);
            self.values += u64::from(old.is_none());
        }
        Ok(())
    }

    /// Removes cells from all policies of a database: of the measurements and series that `chosen` accepts, from
    /// `start_ns` to `end_ns`, both included. Series without cells go, and measurements without series.
    pub(super) fn delete(
        &mut self,
        database: &str,
        chosen: impl Fn(&Series) -> bool,
        start_ns: i64,
        end_ns: i64,
    ) -> Option<()> {
        for policy in self.databases.get_mut(database)?.policies.values_mut() {
            for measurement in policy.measurements.values_mut() {
                measurement.series.retain(|series, columns| {
                    if chosen(series) {
                        columns.retain(|_, column| {
                            column.retain(|time, _| !(start_ns..=end_ns).contains(time));
                            !column.is_empty()
                        });
                    }
                    !columns.is_empty()
                });
            }
            policy.measurements.retain(|_, measurement| !measurement.series.is_empty());
        }
        self.recount();
        Some(())
    }

    /// All cells of a policy.
    pub(super) fn cells(&self, database: &str, policy: &str) -> Vec<Cell> {
        let mut cells = Vec::new();
        let measurements = self.policy(database, policy).into_iter().flat_map(|p| p.measurements.values());
        for (series, columns) in measurements.flat_map(|m| &m.series) {
            for (field, column) in columns {
                cells.extend(column.iter().map(|(&time_ns, value)| Cell {
                    series: series.clone(),
                    field: field.clone(),
                    time_ns,
                    value: value.clone(),
                }));
            }
        }
        cells
    }

    fn recount(&mut self) {
        let policies = self.databases.values().flat_map(|d| d.policies.values());
        let columns = policies.flat_map(|p| p.measurements.values()).flat_map(|m| m.series.values());
        self.values = columns.flat_map(BTreeMap::values).map(|column| column.len() as u64).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(measurement: &str, fields: &[(&str, Value)], time_ns: i64) -> Point {
        let fields = fields.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.clone())).collect();
        Point { series: Series::new(measurement.as_bytes().to_vec(), Vec::new()), fields, time_ns }
    }

    fn store() -> Store {
        let mut store = Store::new(4);
        store.create_database("d", None).unwrap();
        store
    }

    #[test]
    fn the_last_value_wins_and_fields_merge() {
        let mut store = store();
        store.insert("d", "autogen", point("m", &[("a", Value::Integer(1))], 1)).unwrap();
        store.insert("d", "autogen", point("m", &[("a", Value::Integer(2)), ("b", Value::Boolean(true))], 1)).unwrap();
        let values: Vec<_> = store.cells("d", "").into_iter().map(|cell| cell.value).collect();
        assert_eq!(values, [Value::Integer(2), Value::Boolean(true)]);
        assert_eq!(store.values(), 2);
    }

    #[test]
    fn the_first_type_stays_and_a_conflict_refuses_the_whole_point() {
        let mut store = store();
        store.insert("d", "autogen", point("m", &[("a", Value::Integer(1))], 1)).unwrap();
        let refused =
            store.insert("d", "autogen", point("m", &[("b", Value::Float(1.0)), ("a", Value::Float(1.0))], 2));
        let (field, measurement) = (b"a".to_vec(), b"m".to_vec());
        let conflict = Refused::Conflict { field, measurement, given: FieldType::Float, stored: FieldType::Integer };
        assert_eq!(refused, Err(conflict));
        assert_eq!(store.cells("d", "").len(), 1);
        store.insert("d", "autogen", point("m", &[("b", Value::Integer(1))], 2)).unwrap();
    }

    #[test]
    fn room_is_bounded_and_comes_back() {
        let mut store = store();
        for time in 0..4 {
            store.insert("d", "autogen", point("m", &[("a", Value::Integer(1))], time)).unwrap();
        }
        let full = store.insert("d", "autogen", point("m", &[("a", Value::Integer(1))], 9));
        assert_eq!(full, Err(Refused::Full { values: 5, values_max: 4 }));
        store.delete("d", |_| true, 0, 1).unwrap();
        store.insert("d", "autogen", point("m", &[("a", Value::Integer(1))], 9)).unwrap();
        assert_eq!(store.values(), 3);
        store.drop_database("d");
        assert_eq!(store.values(), 0);
    }

    #[test]
    fn a_database_again_is_fine_and_with_other_options_is_not() {
        let mut store = store();
        assert_eq!(store.create_database("d", None), Ok(()));
        assert_eq!(store.create_database("d", Some(("r", PolicySpec::new(DAY_NS, None, 1)))), Err(()));
        assert_eq!(store.create_policy("d", "r", PolicySpec::new(DAY_NS, None, 1), true), Some(Ok(())));
        assert_eq!(store.create_policy("d", "r", PolicySpec::new(2 * DAY_NS, None, 1), true), Some(Err(())));
        assert_eq!(store.create_policy("x", "r", PolicySpec::new(DAY_NS, None, 1), true), None);
        assert_eq!(store.policy("d", "").unwrap().spec.duration_ns, DAY_NS, "the new default");
    }
}
