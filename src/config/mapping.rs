//! What goes where: rules from the names of the source to the names of the destination.

use super::naming::Naming;
use super::shape::Shape;
use crate::base::Glob;

/// What happens to a write whose route no rule names, where rules exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unmapped {
    /// Passed to the source alone, counted and shown.
    SourceOnly,
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

impl Rule {
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
