//! Buckets of the source whose data lies in one place with that of others at the destination, although no rule says so: those of two
//! organisations that go to one, or a bucket `db` and one `db/autogen`.
//!
//! Promise: any that has ever brought a line is known here, so that a delete in one is not carried out on another's data.

use super::confirmed::asked;
use super::distribute::Distributor;
use crate::route::{RouteName, Target, map};

impl Distributor {
    /// A bucket beside this one there. Nothing for databases: rules alone bring these together ([`super::plan`]).
    pub(super) async fn another_there(&self, name: &RouteName) -> Option<RouteName> {
        if !matches!(name, RouteName::Bucket { .. }) {
            return None;
        }
        let (mapping, kind) = self.shared.targets.rules();
        let own = map(mapping, name, kind)?;
        let known = asked(&self.shared, || self.shared.state.routes()).await;
        let mut names = known.into_iter().filter_map(|(_, key)| RouteName::from_key(&key)).collect::<Vec<_>>();
        names.extend(self.shared.targets.names());
        let is_there = |other: &RouteName| map(mapping, other, kind).is_some_and(|other| is_one_place(&own, &other));
        names.into_iter().find(|other| !is_same(name, other) && is_there(other))
    }
}

/// Whether two names mean one bucket: one of them may not name its organisation.
fn is_same(own: &RouteName, other: &RouteName) -> bool {
    match (own, other) {
        (RouteName::Bucket { org, bucket }, RouteName::Bucket { org: other_org, bucket: other }) => {
            bucket == other && (org == other_org || org.is_empty() || other_org.is_empty())
        }
        _ => own == other,
    }
}

/// Whether what is deleted in one may be the other's: 1.x deletes in all policies of a database.
fn is_one_place(own: &Target, other: &Target) -> bool {
    match (own, other) {
        (Target::Database { db, .. }, Target::Database { db: other, .. }) => db == other,
        (own, other) => own == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_itself_under_either_name_and_no_other() {
        let bucket = |org: &str, bucket: &str| RouteName::Bucket { org: org.to_owned(), bucket: bucket.to_owned() };
        assert!(is_same(&bucket("", "b"), &bucket("o", "b")) && is_same(&bucket("o", "b"), &bucket("o", "b")));
        assert!(
            !is_same(&bucket("o", "b"), &bucket("p", "b")) && !is_same(&bucket("o", "b"), &bucket("o", "b/autogen"))
        );
    }
}
