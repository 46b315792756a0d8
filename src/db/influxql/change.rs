//! What a statement changes: its class and the names in it.

use super::lex::{Kind, Token};

/// Kinds of change. The name is stable: rows, events and metrics go by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// `CREATE DATABASE`
    CreateDatabase,
    /// `DROP DATABASE`
    DropDatabase,
    /// `CREATE RETENTION POLICY`
    CreatePolicy,
    /// `ALTER RETENTION POLICY`
    AlterPolicy,
    /// `DROP RETENTION POLICY`
    DropPolicy,
    /// `DROP MEASUREMENT`
    DropMeasurement,
    /// `DROP SERIES`
    DropSeries,
    /// `DELETE`
    Delete,
    /// `DROP SHARD`
    DropShard,
    /// `SELECT … INTO`
    SelectInto,
    /// `CREATE CONTINUOUS QUERY`
    CreateContinuousQuery,
    /// `DROP CONTINUOUS QUERY`
    DropContinuousQuery,
    /// `CREATE SUBSCRIPTION`
    CreateSubscription,
    /// `DROP SUBSCRIPTION`
    DropSubscription,
    /// Users, passwords and rights.
    Users,
    /// `KILL QUERY`: changes nothing that is kept.
    KillQuery,
    /// A statement that begins as one that changes something, and that we do not know.
    Unknown,
    /// A text that we cannot cut into statements.
    Unread,
    /// `POST /api/v2/delete`
    ApiDelete,
    /// Another call that changes buckets or names.
    ApiNames,
    /// A call that changes users, rights, organisations.
    ApiUsers,
    /// A call that changes tasks and others that make data inside the source.
    ApiTasks,
    /// A Flux query that writes.
    FluxWrite,
    /// A restore, a replication: data that comes past us.
    Bypass,
}

const NAMES: [(Class, &str); 24] = [
    (Class::CreateDatabase, "create-database"),
    (Class::DropDatabase, "drop-database"),
    (Class::CreatePolicy, "create-policy"),
    (Class::AlterPolicy, "alter-policy"),
    (Class::DropPolicy, "drop-policy"),
    (Class::DropMeasurement, "drop-measurement"),
    (Class::DropSeries, "drop-series"),
    (Class::Delete, "delete"),
    (Class::DropShard, "drop-shard"),
    (Class::SelectInto, "select-into"),
    (Class::CreateContinuousQuery, "create-continuous-query"),
    (Class::DropContinuousQuery, "drop-continuous-query"),
    (Class::CreateSubscription, "create-subscription"),
    (Class::DropSubscription, "drop-subscription"),
    (Class::Users, "users"),
    (Class::KillQuery, "kill-query"),
    (Class::Unknown, "unknown"),
    (Class::Unread, "unread"),
    (Class::ApiDelete, "api-delete"),
    (Class::ApiNames, "api-buckets"),
    (Class::ApiUsers, "api-users"),
    (Class::ApiTasks, "api-tasks"),
    (Class::FluxWrite, "flux-write"),
    (Class::Bypass, "bypass"),
];

impl Class {
    /// Its stable name.
    #[must_use]
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(class, _)| *class == self).map_or("unknown", |(_, name)| name)
    }

    /// The class of this name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        NAMES.iter().find(|(_, known)| *known == name).map(|(class, _)| *class)
    }

    /// Whether what it names may be dropped for good, and whole.
    #[must_use]
    pub fn is_drop_of_a_place(self) -> bool {
        matches!(self, Self::DropDatabase | Self::DropPolicy)
    }

    /// Whether it is carried out at a destination, where that can.
    #[must_use]
    pub fn is_carried_out(self) -> bool {
        matches!(
            self,
            Self::CreateDatabase
                | Self::DropDatabase
                | Self::CreatePolicy
                | Self::AlterPolicy
                | Self::DropPolicy
                | Self::DropMeasurement
                | Self::DropSeries
                | Self::Delete
                | Self::ApiDelete
        )
    }

    /// Whether it may hold passwords or addresses with such: what is kept of it has no text in quotes.
    pub(super) fn is_secret(self) -> bool {
        matches!(self, Self::Users | Self::CreateSubscription | Self::Unknown)
    }
}

/// What a statement says of a retention policy; absent where it does not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// How long, as it is written: `1d`, `INF`.
    pub duration: Option<String>,
    /// Whether it becomes the database's default.
    pub default: bool,
    /// Whether it says more: number of copies, length of shards, limits.
    pub more: bool,
}

/// What a statement changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Of what kind.
    pub class: Class,
    /// Database that it names.
    pub db: Option<String>,
    /// Retention policy that it names.
    pub rp: Option<String>,
    /// Measurement that it drops, or that a query's points go to.
    pub measurement: Option<String>,
    /// Of a policy that it makes or changes.
    pub policy: Policy,
}

impl Change {
    pub(super) fn of(class: Class) -> Self {
        Self { class, db: None, rp: None, measurement: None, policy: Policy::default() }
    }
}

/// A statement's tokens, read one after another.
struct Words<'a> {
    text: &'a str,
    rest: &'a [Token],
}

impl Words<'_> {
    /// Takes these keywords, if all of them come.
    fn take(&mut self, keywords: &[&str]) -> bool {
        let comes = self.rest.len() >= keywords.len()
            && keywords.iter().zip(self.rest).all(|(keyword, token)| token.is(self.text, keyword));
        if comes {
            self.rest = &self.rest[keywords.len()..];
        }
        comes
    }

    fn name(&mut self) -> Option<String> {
        let (first, rest) = self.rest.split_first()?;
        let name = first.name(self.text)?.into_owned();
        self.rest = rest;
        Some(name)
    }

    /// A name behind this keyword.
    fn name_behind(&mut self, keyword: &str) -> Option<String> {
        if self.take(&[keyword]) { self.name() } else { None }
    }
}

/// Beginnings, longest first where one begins another.
const BEGINNINGS: [(&[&str], Class); 22] = [
    (&["create", "database"], Class::CreateDatabase),
    (&["drop", "database"], Class::DropDatabase),
    (&["create", "retention", "policy"], Class::CreatePolicy),
    (&["alter", "retention", "policy"], Class::AlterPolicy),
    (&["drop", "retention", "policy"], Class::DropPolicy),
    (&["drop", "measurement"], Class::DropMeasurement),
    (&["drop", "series"], Class::DropSeries),
    (&["delete"], Class::Delete),
    (&["drop", "shard"], Class::DropShard),
    (&["create", "continuous", "query"], Class::CreateContinuousQuery),
    (&["drop", "continuous", "query"], Class::DropContinuousQuery),
    (&["create", "subscription"], Class::CreateSubscription),
    (&["drop", "subscription"], Class::DropSubscription),
    (&["create", "user"], Class::Users),
    (&["drop", "user"], Class::Users),
    (&["set", "password"], Class::Users),
    (&["grant"], Class::Users),
    (&["revoke"], Class::Users),
    (&["kill", "query"], Class::KillQuery),
    // Of later servers, or of somebody's own.
    (&["create"], Class::Unknown),
    (&["drop"], Class::Unknown),
    (&["alter"], Class::Unknown),
];

/// What a statement changes; `None`: it only reads.
pub(super) fn read(text: &str, tokens: &[Token]) -> Option<Change> {
    let mut words = Words { text, rest: tokens };
    if words.take(&["select"]) {
        return into(&mut words);
    }
    if words.take(&["explain"]) || words.take(&["show"]) {
        return None;
    }
    let class =
        BEGINNINGS.iter().find(|(beginning, _)| words.take(beginning)).map_or(Class::Unknown, |(_, class)| *class);
    let mut change = Change::of(class);
    match class {
        Class::CreateDatabase => {
            change.db = words.name();
            change.policy = policy(&mut words, &mut change.rp);
        }
        Class::DropDatabase => change.db = words.name(),
        Class::CreatePolicy | Class::AlterPolicy | Class::DropPolicy => {
            change.rp = words.name();
            change.db = words.name_behind("on");
            change.policy = policy(&mut words, &mut None);
        }
        Class::DropMeasurement => change.measurement = words.name(),
        Class::CreateContinuousQuery | Class::DropContinuousQuery => {
            words.name();
            change.db = words.name_behind("on");
        }
        _ => {}
    }
    Some(change)
}

/// The target of a query that writes its points; `None`: it does not. A query inside brackets writes nothing.
fn into(words: &mut Words<'_>) -> Option<Change> {
    let mut depth = 0_usize;
    for (at, token) in words.rest.iter().enumerate() {
        if token.is_sign(words.text, "(") {
            depth += 1;
        } else if token.is_sign(words.text, ")") {
            depth = depth.saturating_sub(1);
        } else if depth == 0 && token.is(words.text, "into") {
            words.rest = &words.rest[at + 1..];
            let mut change = Change::of(Class::SelectInto);
            (change.db, change.rp, change.measurement) = place(words);
            return Some(change);
        }
    }
    None
}

/// `db.rp.m`, `db..m`, `rp.m`, `m`.
fn place(words: &mut Words<'_>) -> (Option<String>, Option<String>, Option<String>) {
    let mut parts = vec![words.name()];
    while let Some((first, rest)) = words.rest.split_first()
        && first.is_sign(words.text, ".")
    {
        words.rest = rest;
        parts.push(words.name());
    }
    let measurement = parts.pop().flatten();
    let rp = parts.pop().flatten();
    (parts.pop().flatten(), rp, measurement)
}

/// What is said of a policy up to the end.
fn policy(words: &mut Words<'_>, name: &mut Option<String>) -> Policy {
    let mut policy = Policy::default();
    while let Some((first, rest)) = words.rest.split_first() {
        if words.take(&["shard", "duration"]) {
            policy.more = true;
        } else if words.take(&["duration"]) {
            let Some((value, rest)) = words.rest.split_first() else { continue };
            policy.duration = matches!(value.kind, Kind::Number | Kind::Word).then(|| value.of(words.text).to_owned());
            words.rest = rest;
        } else if words.take(&["name"]) {
            *name = words.name();
        } else if words.take(&["default"]) {
            policy.default = true;
        } else {
            policy.more |= !first.is(words.text, "with") && first.kind == Kind::Word;
            words.rest = rest;
        }
    }
    policy
}
