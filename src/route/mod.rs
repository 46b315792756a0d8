//! Whose data a request carries, and where it goes: request identity -> route -> target.
//!
//! Promise: two spellings of one place (`rp=` empty and the default policy by name; `/write` and `/api/v2/write`) are one
//! route, because order is kept per series of the *destination* and must not depend on the spelling.

mod catalogue;
mod identity;
mod key;
mod mapping;
mod resolve;

pub use catalogue::{Catalogue, Route};
pub use identity::WriteIdentity;
pub use mapping::{TargetKind, map, rule_of};
pub use resolve::Resolver;
pub(crate) use resolve::default_policy;

use std::fmt;

/// Names of a place at the source.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RouteName {
    /// A database and retention policy. An empty policy is the database's default.
    Database {
        /// Database.
        db: String,
        /// Retention policy; empty is the default policy.
        rp: String,
    },
    /// A bucket of an organisation. An empty organisation is the one of the request's token.
    Bucket {
        /// Organisation by name; may be empty.
        org: String,
        /// Bucket by name.
        bucket: String,
    },
}

/// Names of a place at the destination.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    /// 1.x: database and policy; an empty policy is the destination's default.
    Database {
        /// Database.
        db: String,
        /// Retention policy; may be empty.
        rp: String,
    },
    /// 2.x: organisation and bucket.
    Bucket {
        /// Organisation by name.
        org: String,
        /// Bucket by name.
        bucket: String,
    },
}

impl RouteName {
    /// Canonical text: the key of the catalogue. Injective, since each part is quoted.
    #[must_use]
    pub fn key(&self) -> String {
        match self {
            Self::Database { db, rp } => format!("db={db:?} rp={rp:?}"),
            Self::Bucket { org, bucket } => format!("org={org:?} bucket={bucket:?}"),
        }
    }
}

impl fmt::Display for RouteName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Database { db, rp } if rp.is_empty() => f.write_str(db),
            Self::Database { db, rp } => write!(f, "{db}/{rp}"),
            Self::Bucket { org, bucket } if org.is_empty() => f.write_str(bucket),
            Self::Bucket { org, bucket } => write!(f, "{org}:{bucket}"),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Database { db, rp } if rp.is_empty() => write!(f, "database {db}"),
            Self::Database { db, rp } => write!(f, "database {db}, policy {rp}"),
            Self::Bucket { org, bucket } => write!(f, "bucket {bucket} of {org}"),
        }
    }
}
