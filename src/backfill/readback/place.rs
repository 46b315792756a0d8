//! Where at the source the data of a row is, and where it goes.

use std::rc::Rc;

use crate::backfill::executor::Stop;
use crate::backfill::scope::Place;
use crate::backfill::write::Writer;
use crate::base::{Error, Kind, Result};
use crate::config::Mapping;
use crate::db::read::Reader;
use crate::route::{RouteName, TargetKind, map};
use crate::state::Cleared;

/// Routes that no row names: all of them.
const EVERYWHERE: [&str; 4] = ["*", "other", "unknown", ""];
/// What 1.x says of a database that is not there. Source: answers of 1.13 (`db/influxql/ran` has the same).
const NO_DATABASE: &str = "database not found";

/// Both databases, as they were when somebody looked.
#[derive(Debug)]
pub struct Met {
    /// Reads the source.
    pub reader: Reader,
    /// Writes to the destination.
    pub writer: Rc<Writer>,
    /// What goes where.
    pub mapping: Mapping,
    /// The destination's names.
    pub kind: TargetKind,
    /// Places of the source that are mapped and can be read.
    pub places: Vec<Rc<Place>>,
    /// Those that cannot, and why.
    pub closed: Vec<(String, String)>,
}

/// Looks at both databases.
pub trait Meeting {
    /// `stop`: whether a write must end.
    ///
    /// # Errors
    /// One of them cannot be reached, or may not be asked.
    fn meet(&self, stop: Stop) -> impl Future<Output = Result<Met>>;
}

/// What a row's route is.
#[derive(Debug)]
pub(super) enum Found {
    /// These places.
    Places(Vec<Rc<Place>>),
    /// There is nothing to copy.
    Nothing(Cleared),
    /// It cannot be read.
    Closed(String),
}

impl Met {
    /// The places of a row's route.
    ///
    /// # Errors
    /// The source cannot be asked whether it is still there.
    pub(super) async fn find(&self, route: &str) -> Result<Found> {
        if EVERYWHERE.contains(&route) {
            return Ok(match self.closed.first() {
                // Some of what it stands for may be there.
                Some((name, why)) => Found::Closed(format!("{name} cannot be read: {why}")),
                None => Found::Places(self.places.clone()),
            });
        }
        let name = RouteName::from_key(route);
        let is_it = |own: &RouteName| name.as_ref().map_or_else(|| own.to_string() == route, |name| is_same(own, name));
        let places: Vec<_> = self.places.iter().filter(|place| is_it(&place.name)).cloned().collect();
        if !places.is_empty() {
            return Ok(Found::Places(places));
        }
        let shown = name.as_ref().map_or_else(|| route.to_owned(), ToString::to_string);
        if let Some((_, why)) = self.closed.iter().find(|(closed, _)| *closed == shown) {
            return Ok(Found::Closed(format!("{shown} cannot be read: {why}")));
        }
        let mut mapped = name.map_or_else(|| names(route, self.has_buckets()), |name| vec![name]);
        mapped.retain(|name| map(&self.mapping, name, &self.kind).is_some());
        let mut found = Found::Nothing(Cleared::Unmapped);
        // Of a text that may stand for several: as long as one of them may be there it is not known to be gone.
        for name in mapped {
            found = match name {
                RouteName::Database { db, rp } => self.is_gone(&db, &rp).await?,
                RouteName::Bucket { bucket, .. } => Found::Closed(format!(
                    "the source does not show the bucket {bucket}: it was deleted, or the token of [source] may not read it"
                )),
            };
            if matches!(found, Found::Closed(_)) {
                break;
            }
        }
        Ok(found)
    }

    fn has_buckets(&self) -> bool {
        // Groups are of a policy in 1.x alone.
        !self.reader.groups_are_of_the_policy()
    }

    async fn is_gone(&self, db: &str, rp: &str) -> Result<Found> {
        match self.reader.retention_policies(db).await {
            Ok(policies)
                if !policies.is_empty() && policies.iter().all(|policy| policy.name != rp) && !rp.is_empty() =>
            {
                Ok(Found::Nothing(Cleared::Gone))
            }
            Ok(_) => Ok(Found::Closed(format!(
                "the source does not show {db} among what may be read: let the user of [source] read it, or take it out of the mapping"
            ))),
            Err(error) if says(&error, NO_DATABASE) => Ok(Found::Nothing(Cleared::Gone)),
            Err(error) if matches!(error.kind(), Kind::Auth | Kind::Answer | Kind::Input) => {
                Ok(Found::Closed(format!("{db} cannot be read: {error}")))
            }
            Err(error) => Err(error),
        }
    }
}

/// All that a text for people may stand for: names may hold what stands between two of them.
fn names(text: &str, has_buckets: bool) -> Vec<RouteName> {
    let database = |(db, rp): (&str, &str)| RouteName::Database { db: db.to_owned(), rp: rp.to_owned() };
    let bucket = |(org, bucket): (&str, &str)| RouteName::Bucket { org: org.to_owned(), bucket: bucket.to_owned() };
    let split = |between: char| text.match_indices(between).map(|(at, _)| (&text[..at], &text[at + 1..]));
    let databases = std::iter::once((text, "")).chain(split('/')).map(database);
    let buckets = std::iter::once(("", text)).chain(split(':')).map(bucket).filter(|_| has_buckets);
    databases.chain(buckets).collect()
}

/// An organisation without a name is that of the token.
fn is_same(one: &RouteName, other: &RouteName) -> bool {
    match (one, other) {
        (RouteName::Bucket { org, bucket }, RouteName::Bucket { org: other_org, bucket: other_bucket }) => {
            bucket == other_bucket && (org == other_org || org.is_empty() || other_org.is_empty())
        }
        (one, other) => one == other,
    }
}

fn says(error: &Error, words: &str) -> bool {
    error.kind() == Kind::Answer && error.to_string().contains(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_stands_for_all_the_names_that_are_shown_as_it() {
        let named = |db: &str, rp: &str| RouteName::Database { db: db.to_owned(), rp: rp.to_owned() };
        assert_eq!(names("a/b:c/d", false), [named("a/b:c/d", ""), named("a", "b:c/d"), named("a/b:c", "d")]);
        let bucket = |org: &str, bucket: &str| RouteName::Bucket { org: org.to_owned(), bucket: bucket.to_owned() };
        assert_eq!(
            names("o:b:c", true),
            [named("o:b:c", ""), bucket("", "o:b:c"), bucket("o", "b:c"), bucket("o:b", "c")]
        );
        for name in names("a/b:c/d", true) {
            assert_eq!(name.to_string(), "a/b:c/d");
        }
    }
}
