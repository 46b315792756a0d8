//! What goes where: rules from the names of the source to the names of the destination.

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
}

/// One name of a pattern.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Match {
    /// `"*"`, or not written.
    Any,
    /// Exactly this name. For a retention policy the empty name is the default policy.
    Is(String),
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

/// Where a rule sends its routes; a name that is `None` is the source's own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// To a database and retention policy (1.x).
    Database {
        /// Database.
        db: Option<String>,
        /// Retention policy; an empty name is the destination's default policy.
        rp: Option<String>,
    },
    /// To a bucket and organisation (2.x).
    Bucket {
        /// Bucket.
        bucket: Option<String>,
        /// Organisation; where it is `None` the destination's `org` comes before the source's.
        org: Option<String>,
    },
}

impl Match {
    /// Whether `name` fits.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Is(own) => own == name,
        }
    }

    fn covers(&self, other: &Self) -> bool {
        matches!(self, Self::Any) || self == other
    }
}

impl Pattern {
    /// Whether everything that `other` matches, this one matches too.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Database { db, rp }, Self::Database { db: other_db, rp: other_rp }) => {
                db.covers(other_db) && rp.covers(other_rp)
            }
            (Self::Bucket { bucket, org }, Self::Bucket { bucket: other_bucket, org: other_org }) => {
                bucket.covers(other_bucket) && org.covers(other_org)
            }
            _ => false,
        }
    }
}

impl Rule {
    /// Whether several databases (or buckets) of the source may end in one of the destination.
    #[must_use]
    pub fn merges(&self) -> bool {
        let any = match &self.from {
            Pattern::Database { db: name, .. } | Pattern::Bucket { bucket: name, .. } => *name == Match::Any,
        };
        let fixed = match &self.to {
            Target::Database { db: name, .. } | Target::Bucket { bucket: name, .. } => name.is_some(),
        };
        any && fixed
    }
}

#[cfg(test)]
mod tests {
    use super::{Match, Pattern};

    fn database(db: &str, rp: &str) -> Pattern {
        let name = |n: &str| if n == "*" { Match::Any } else { Match::Is(n.to_owned()) };
        Pattern::Database { db: name(db), rp: name(rp) }
    }

    #[test]
    fn a_wider_pattern_covers_a_narrower_one_and_not_the_other_way() {
        assert!(database("*", "*").covers(&database("a", "")));
        assert!(database("a", "*").covers(&database("a", "b")));
        assert!(!database("a", "b").covers(&database("a", "*")));
        assert!(!database("a", "*").covers(&database("b", "x")));
        assert!(!database("*", "*").covers(&Pattern::Bucket { bucket: Match::Any, org: Match::Any }));
    }

    #[test]
    fn the_empty_policy_is_a_name_of_its_own() {
        assert!(Match::Is(String::new()).matches("") && !Match::Is(String::new()).matches("autogen"));
        assert!(Match::Any.matches(""));
    }
}
