//! What goes where: rules from the names of the source to the names of the destination.

use std::fmt;

use super::naming::Naming;
use super::shape::Shape;
use crate::base::{DestinationId, Glob};

/// What happens to a write whose route no rule names, where rules exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unmapped {
    /// Passed to the source alone, counted and shown.
    SourceOnly,
    /// The same, although there are no rules: all are for other destinations.
    Everything,
}

/// All rules. Without any rule everything keeps its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Default source only.
    pub unmapped: Unmapped,
    /// The first rule whose pattern matches decides; no rule stands behind one that hides it.
    pub rules: Vec<Rule>,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What it is for.
    pub from: Pattern,
    /// Where that goes.
    pub to: Target,
    /// The destinations for which it is there; empty: all. For others what stands behind it decides.
    pub only: Vec<DestinationId>,
    /// Which lines of it, and how.
    pub shape: Shape,
}

/// One name of a pattern.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Match {
    /// `"*"`, or not written.
    Any,
    /// Exactly this name. For a retention policy the empty name is the default policy.
    Is(String),
    /// Names of this form.
    Like(Glob),
}

/// Which routes of the source a rule is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Pattern {
    /// A route by database and retention policy (1.x).
    Database {
        /// Database.
        db: Match,
        /// Retention policy.
        rp: Match,
    },
    /// A route by bucket and organisation (2.x).
    Bucket {
        /// Bucket.
        bucket: Match,
        /// Organisation.
        org: Match,
    },
}

/// Where a rule sends its routes; a name that is `None` is the source's own. Names may hold parts of the source's ([`Naming`]).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// To a database and retention policy (1.x).
    Database {
        /// Database.
        db: Option<Naming>,
        /// Retention policy; an empty name is the destination's default policy.
        rp: Option<Naming>,
    },
    /// To a bucket and organisation (2.x).
    Bucket {
        /// Bucket.
        bucket: Option<Naming>,
        /// Organisation; where it is `None` the destination's `org` comes before the source's.
        org: Option<Naming>,
    },
}

impl Match {
    /// As it is written.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let glob = Glob::new(text);
        match glob.literal() {
            _ if glob.is_any() => Self::Any,
            Some(name) => Self::Is(name),
            None => Self::Like(glob),
        }
    }

    /// Whether `name` fits.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Is(own) => own == name,
            Self::Like(glob) => glob.matches(name.as_bytes()),
        }
    }

    /// Whether it may match `name/` with something behind. Wrong only by saying yes.
    #[must_use]
    pub fn may_begin_with(&self, name: &str) -> bool {
        match self {
            Self::Any | Self::Like(_) => true,
            Self::Is(own) => own.split_once('/').is_some_and(|(head, _)| head == name),
        }
    }

    /// Whether it is sure that everything that `other` matches, this one matches, too.
    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (Self::Like(own), Self::Like(other)) => own.covers(other),
            (_, Self::Is(name)) => self.matches(name),
            _ => false,
        }
    }

    /// The same for a database or bucket: what the source keeps for itself is matched by its exact name alone.
    fn covers_place(&self, other: &Self) -> bool {
        match other {
            Self::Is(name) if is_system(name) => self == other,
            _ => self.covers(other),
        }
    }
}

/// Whether the servers keep a database, or bucket, of this name for themselves. Only a rule that names it exactly mirrors it.
#[must_use]
pub fn is_system(name: &str) -> bool {
    matches!(name, "_internal" | "_monitoring" | "_tasks") || name.starts_with("_internal/")
}

impl Pattern {
    /// Whether it is sure that everything that `other` matches, this one matches, too.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Database { db, rp }, Self::Database { db: other_db, rp: other_rp }) => {
                db.covers_place(other_db) && rp.covers(other_rp)
            }
            (Self::Bucket { bucket, org }, Self::Bucket { bucket: other_bucket, org: other_org }) => {
                bucket.covers_place(other_bucket) && org.covers(other_org)
            }
            _ => false,
        }
    }
}

impl Pattern {
    /// Whether it says exactly which database, or bucket, it is for.
    #[must_use]
    pub fn names_one(&self) -> bool {
        let (Self::Database { db: name, .. } | Self::Bucket { bucket: name, .. }) = self;
        matches!(name, Match::Is(_))
    }
}

impl Mapping {
    /// What of it is for one destination.
    #[must_use]
    pub fn of(&self, destination: &DestinationId) -> Self {
        let own = self.rules.iter().filter(|rule| rule.is_for(destination));
        let rules: Vec<_> = own.map(|rule| Rule { only: Vec::new(), ..rule.clone() }).collect();
        let all_are_others = rules.is_empty() && !self.rules.is_empty();
        Self { unmapped: if all_are_others { Unmapped::Everything } else { self.unmapped }, rules }
    }

    /// Whether everything keeps its name.
    #[must_use]
    pub fn keeps_names(&self) -> bool {
        self.rules.is_empty() && self.unmapped != Unmapped::Everything
    }

    /// Whether nothing goes there.
    #[must_use]
    pub fn takes_nothing(&self) -> bool {
        self.rules.is_empty() && self.unmapped == Unmapped::Everything
    }
}

impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Is(name) if name.is_empty() => f.write_str("\"\""),
            Self::Is(name) => f.write_str(name),
            Self::Like(glob) => f.write_str(glob.text()),
        }
    }
}

/// For people: `db telegraf-*, rp * → db prod_{db}`.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.from {
            Pattern::Database { db, rp: Match::Any } => write!(f, "db {db}")?,
            Pattern::Database { db, rp } => write!(f, "db {db}, rp {rp}")?,
            Pattern::Bucket { bucket, org: Match::Any } => write!(f, "bucket {bucket}")?,
            Pattern::Bucket { bucket, org } => write!(f, "bucket {bucket}, org {org}")?,
        }
        f.write_str(" → ")?;
        let names = match &self.to {
            Target::Database { db, rp } => [("db", db), ("rp", rp)],
            Target::Bucket { bucket, org } => [("bucket", bucket), ("org", org)],
        };
        let written = names.into_iter().filter_map(|(key, name)| Some((key, name.as_ref()?)));
        let written: Vec<_> = written.map(|(key, name)| format!("{key} {name}")).collect();
        if written.is_empty() { f.write_str("the same name") } else { f.write_str(&written.join(", ")) }
    }
}

impl Rule {
    fn is_for(&self, destination: &DestinationId) -> bool {
        self.only.is_empty() || self.only.contains(destination)
    }

    /// Whether both are for some destination.
    #[must_use]
    pub fn meets(&self, other: &Self) -> bool {
        self.only.is_empty() || other.only.is_empty() || self.only.iter().any(|one| other.only.contains(one))
    }

    /// Whether it is sure that nothing is left for a rule behind it.
    #[must_use]
    pub fn hides(&self, other: &Self) -> bool {
        let takes_all = self.only.is_empty() || !other.only.is_empty() && other.only.iter().all(|one| self.is_for(one));
        takes_all && self.from.covers(&other.from)
    }

    /// Whether both put their lines into one place, as far as their names say: points of one series and time overwrite each other there.
    #[must_use]
    pub fn shares_place(&self, other: &Self) -> bool {
        let (Some((own, own_rp)), Some((others, others_rp))) = (self.place(), other.place()) else { return false };
        self.meets(other) && own == others && (own_rp.is_none() || others_rp.is_none() || own_rp == others_rp)
    }

    /// The one database that it fills, or bucket up to the first `/`, and the policy, as far as it is one.
    fn place(&self) -> Option<(String, Option<String>)> {
        let literal = |name: &Match| if let Match::Is(name) = name { Some(name.clone()) } else { None };
        let whole = |name: String| match name.split_once('/') {
            Some((db, rp)) => (db.to_owned(), rp.to_owned()),
            None => (name, String::new()),
        };
        let from = match &self.from {
            Pattern::Database { db, rp } => literal(db).map(|db| (db, literal(rp))),
            Pattern::Bucket { bucket, .. } => literal(bucket).map(whole).map(|(db, rp)| (db, Some(rp))),
        };
        let own_rp = from.as_ref().and_then(|(_, rp)| rp.clone());
        let named = |rp: &Naming| rp.literal().or_else(|| own_rp.clone().filter(|_| rp.to_string() == "{rp}"));
        match &self.to {
            Target::Bucket { bucket: None, .. } | Target::Database { db: None, rp: None } => from,
            Target::Bucket { bucket: Some(bucket), .. } => bucket.literal().map(whole).map(|(db, rp)| (db, Some(rp))),
            Target::Database { db: Some(db), rp } => {
                let rp = rp.as_ref().map_or(Some(String::new()), named);
                db.literal().map(|db| (db, rp))
            }
            Target::Database { db: None, rp: Some(rp) } => from.map(|(db, _)| (db, named(rp))),
        }
    }

    /// Whether several databases (or buckets) of the source may end in one of the destination.
    #[must_use]
    pub fn merges(&self) -> bool {
        let own = match &self.to {
            Target::Database { db: name, .. } | Target::Bucket { bucket: name, .. } => {
                name.as_ref().is_none_or(Naming::tells_places_apart)
            }
        };
        !self.from.names_one() && !own
    }
}

#[cfg(test)]
mod tests {
    use super::{Match, Pattern};

    fn database(db: &str, rp: &str) -> Pattern {
        Pattern::Database { db: Match::new(db), rp: Match::new(rp) }
    }

    #[test]
    fn a_wider_pattern_covers_a_narrower_one_and_not_the_other_way() {
        assert!(database("*", "*").covers(&database("a", "")));
        assert!(database("a", "*").covers(&database("a", "b")));
        assert!(!database("a", "b").covers(&database("a", "*")));
        assert!(!database("a", "*").covers(&database("b", "x")));
        assert!(
            database("te*", "*").covers(&database("telegraf-?", "we*"))
                && database("te*", "*").covers(&database("te", ""))
        );
        assert!(
            !database("te*", "*").covers(&database("t*", "*")) && !database("te*", "w*").covers(&database("te", "*"))
        );
        assert!(!database("*", "*").covers(&Pattern::Bucket { bucket: Match::Any, org: Match::Any }));
    }

    #[test]
    fn what_a_source_keeps_for_itself_is_taken_by_its_name_alone() {
        assert!(
            !database("*", "*").covers(&database("_internal", "*"))
                && !database("_*", "*").covers(&database("_internal", ""))
        );
        assert!(database("_internal", "*").covers(&database("_internal", "monitor")));
    }

    #[test]
    fn the_empty_policy_is_a_name_of_its_own() {
        assert!(Match::Is(String::new()).matches("") && !Match::Is(String::new()).matches("autogen"));
        assert!(Match::Any.matches("") && !Match::new("auto*").matches("") && !Match::new("?*").matches(""));
    }
}
