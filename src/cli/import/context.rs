//! Where lines belong at the source: by the headers above them, else by the options.

use super::options::ImportArgs;
use crate::backfill::files::Context;
use crate::config::Config;
use crate::route::RouteName;

/// The rule of one command.
#[derive(Debug)]
pub(super) struct Places {
    default_rp: String,
    /// Of lines without headers.
    other: Option<RouteName>,
}

impl Places {
    pub(super) fn new(args: &ImportArgs, config: &Config) -> Self {
        let default_rp = args.default_rp.clone();
        let database = args.db.as_ref().map(|db| database(db, args.rp.as_deref().unwrap_or_default(), &default_rp));
        let org = args.org.clone().or_else(|| config.source.server.org.clone()).unwrap_or_default();
        let bucket = args.bucket.clone().map(|bucket| RouteName::Bucket { org, bucket });
        Self { other: database.or(bucket), default_rp }
    }

    /// `None`: nobody says.
    pub(super) fn of(&self, context: Option<&Context>) -> Option<RouteName> {
        match context {
            Some(Context { db, rp }) if !db.is_empty() => Some(database(db, rp, &self.default_rp)),
            _ => self.other.clone(),
        }
    }
}

/// One place has one name: the default policy is that of the database alone.
fn database(db: &str, rp: &str, default_rp: &str) -> RouteName {
    let rp = if rp == default_rp { "" } else { rp };
    RouteName::Database { db: db.to_owned(), rp: rp.to_owned() }
}
