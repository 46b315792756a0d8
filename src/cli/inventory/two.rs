//! What a source of InfluxDB 2.x has.
//!
//! Requests: one for each kind of thing, those that come in pages at most ten of them. A token sees of each list what it may read, and
//! the server does not say what it leaves out: one that sees no token at all, not even itself, is narrow, and its empty lists prove
//! nothing.

use std::collections::HashMap;

use serde_json::Value;

use super::super::check::places;
use super::super::check::subject::{Subject, Unanswered};
use super::item::{Fate, Group, Item, Unknown};
use super::script::targets;
use super::{INSIDE, ITEMS_MAX, Known, place};
use crate::db::encode::shell_word;
use crate::db::server::Flavor;

const PAGE: usize = 100;
const PAGES_MAX: usize = ITEMS_MAX / PAGE;

/// The lists that a narrow token would see empty.
const NARROW: &str = "the token may not see tokens, so that a list may be empty for want of rights alone";

struct Asked<'s, 'c> {
    subject: &'s Subject<'c>,
    org: String,
    /// Names of buckets by id.
    buckets: HashMap<String, String>,
    /// Whether an empty list proves nothing.
    narrow: bool,
}

pub(super) async fn groups(subject: &Subject<'_>, known: &Known<'_>) -> Vec<Group> {
    let mut groups = vec![buckets(subject, known).await];
    let (org, buckets) = ids(subject).await;
    let tokens = subject.json("/api/v2/authorizations").await;
    let seen = |answer: &Value| answer.get("authorizations").and_then(Value::as_array).map_or(0, Vec::len);
    let narrow = tokens.as_ref().is_ok_and(|answer| seen(answer) == 0);
    let asked = Asked { subject, org, buckets, narrow };
    groups.push(asked.mappings(known).await);
    groups.push(asked.tasks().await);
    groups.push(asked.scrapers().await);
    groups.push(asked.replications().await);
    groups.extend(asked.definitions().await);
    groups.push(asked.listed(("tokens", "TOKENS", "authorizations"), tokens, |one| {
        let facts = text(one, "status");
        let does = "made by hand: no answer of the source holds a token";
        Item::new(or(text(one, "description"), text(one, "id")), facts, Fate::ByHand, does)
    }));
    let old = asked.subject.json("/private/legacy/authorizations").await;
    groups.push(asked.listed(("v1-authorizations", "USERS OF 1.X CLIENTS", "authorizations"), old, |one| {
        let name = text(one, "token");
        let typed = format!(
            "influx v1 auth create --username {} --password '…' with the rights it has here",
            shell_word(&name)
        );
        Item::new(name, text(one, "status"), Fate::ByHand, "made by hand: no answer holds a password").statement(typed)
    }));
    groups
}

async fn buckets(subject: &Subject<'_>, known: &Known<'_>) -> Group {
    let (name, title) = ("buckets", "BUCKETS");
    match places::list(subject, Flavor::Influx2).await {
        Ok(listing) => {
            let items =
                listing.places.iter().filter(|one| !one.name.is_system()).map(|one| place(one, known)).collect();
            Group { more: listing.more, ..Group::of(name, title, items) }
        }
        Err(why) => Group::unknown(name, title, unknown(subject, &why)),
    }
}

/// The organisation's id, and names of buckets by id, as far as they can be seen.
async fn ids(subject: &Subject<'_>) -> (String, HashMap<String, String>) {
    let mut names = HashMap::new();
    let mut org = String::new();
    let of = subject.config.org.as_deref().map(|org| format!("&org={}", crate::db::encode::escape(org)));
    for page in 0..PAGES_MAX {
        let path = format!("/api/v2/buckets?limit={PAGE}&offset={}{}", page * PAGE, of.as_deref().unwrap_or_default());
        let Ok(answer) = subject.json(&path).await else { break };
        let list = answer.get("buckets").and_then(Value::as_array).cloned().unwrap_or_default();
        for bucket in &list {
            names.insert(text(bucket, "id"), text(bucket, "name"));
            if org.is_empty() {
                org = text(bucket, "orgID");
            }
        }
        if list.len() < PAGE {
            break;
        }
    }
    (org, names)
}

fn unknown(subject: &Subject<'_>, why: &Unanswered) -> Unknown {
    let rights = matches!(why, Unanswered::Refused(status, _) if matches!(status.as_u16(), 401 | 403));
    let org = shell_word(subject.config.org.as_deref().unwrap_or("ORG"));
    let fix = match rights {
        true => format!("an all-access token in [source] (influx auth create --org {org} --all-access)"),
        false => "twinline check".to_owned(),
    };
    Unknown { why: why.text(), fix, rights }
}

impl Asked<'_, '_> {
    fn bucket(&self, id: &str) -> String {
        self.buckets.get(id).cloned().unwrap_or_else(|| format!("the bucket with id {id}"))
    }

    /// A list of an answer, as items.
    fn listed(
        &self,
        (name, title, key): (&'static str, &'static str, &str),
        answer: Result<Value, Unanswered>,
        item: impl Fn(&Value) -> Item,
    ) -> Group {
        let answer = match answer {
            Ok(answer) => answer,
            Err(why) => return Group::unknown(name, title, unknown(self.subject, &why)),
        };
        let all = answer.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let mut group = Group::of(name, title, all.iter().take(ITEMS_MAX).map(item).collect());
        group.more = all.len() > ITEMS_MAX;
        if self.narrow && group.items.is_empty() {
            let org = shell_word(self.subject.config.org.as_deref().unwrap_or("ORG"));
            let fix = format!("an all-access token in [source] (influx auth create --org {org} --all-access)");
            group.unknown = Some(Unknown { why: NARROW.to_owned(), fix, rights: true });
        }
        group
    }

    async fn mappings(&self, known: &Known<'_>) -> Group {
        let answer = self.subject.json(&format!("/api/v2/dbrps?orgID={}", self.org)).await;
        let answer = answer.map(|answer| {
            let all = answer.get("content").and_then(Value::as_array).cloned().unwrap_or_default();
            let made: Vec<Value> =
                all.into_iter().filter(|one| one.get("virtual").and_then(Value::as_bool) != Some(true)).collect();
            serde_json::json!({ "content": made })
        });
        self.listed(("mappings", "NAMES FOR 1.X CLIENTS (DBRP)", "content"), answer, |one| {
            let (db, rp, bucket) =
                (text(one, "database"), text(one, "retention_policy"), self.bucket(&text(one, "bucketID")));
            let default = one.get("default").and_then(Value::as_bool) == Some(true);
            let facts = format!("bucket {bucket}{}", if default { ", the database's default" } else { "" });
            let item = Item::new(format!("{db}/{rp}"), facts, Fate::ByHand, "made by hand, before 1.x clients move");
            match known.twin.mapping((&db, &rp), &bucket, default) {
                Some(typed) => item.statement(typed),
                None => item,
            }
        })
    }

    async fn tasks(&self) -> Group {
        let (mut all, mut after) = (Vec::new(), String::new());
        let mut asked = Ok(());
        for _ in 0..PAGES_MAX {
            let path = format!("/api/v2/tasks?limit={PAGE}&orgID={}{after}", self.org);
            let page = match self.subject.json(&path).await {
                Ok(answer) => answer.get("tasks").and_then(Value::as_array).cloned().unwrap_or_default(),
                Err(why) => {
                    asked = Err(why);
                    break;
                }
            };
            let is_last = page.len() < PAGE;
            after = page.last().map(|last| format!("&after={}", text(last, "id"))).unwrap_or_default();
            all.extend(page);
            if is_last {
                break;
            }
        }
        let answer = asked.map(|()| serde_json::json!({ "tasks": all }));
        self.listed(("tasks", "TASKS", "tasks"), answer, task)
    }

    async fn scrapers(&self) -> Group {
        let answer = self.subject.json("/api/v2/scrapers").await;
        self.listed(("scrapers", "SCRAPERS", "configurations"), answer, |one| {
            let bucket = or(text(one, "bucket"), self.bucket(&text(one, "bucketID")));
            let facts = format!("{} into bucket {bucket}", text(one, "url"));
            let typed = "a scraper in the web page of the destination, or inputs.prometheus of Telegraf";
            Item::new(text(one, "name"), facts, Fate::Inside, INSIDE).writes_to(Some(bucket)).statement(typed)
        })
    }

    async fn replications(&self) -> Group {
        let answer = self.subject.json(&format!("/api/v2/replications?orgID={}", self.org)).await;
        let mut group = self.listed(("replications", "REPLICATIONS AND REMOTES", "replications"), answer, |one| {
            let facts = format!("from bucket {}", self.bucket(&text(one, "localBucketID")));
            let does = "the source goes on sending what it takes; somebody who replicates into it comes past Twinline";
            Item::new(text(one, "name"), facts, Fate::ByHand, does)
                .statement("influx replication create … at the destination")
        });
        let remotes = self.subject.json(&format!("/api/v2/remotes?orgID={}", self.org)).await;
        let remotes = self.listed(("replications", "REPLICATIONS AND REMOTES", "remotes"), remotes, |one| {
            let does = "an address that replications go to; made by hand with its token";
            Item::new(format!("remote {}", text(one, "name")), text(one, "remoteURL"), Fate::ByHand, does)
                .statement("influx remote create … at the destination")
        });
        group.items.extend(remotes.items);
        group.unknown = group.unknown.or(remotes.unknown);
        if !group.items.is_empty() {
            group.unknown = group.unknown.filter(|unknown| unknown.why != NARROW);
        }
        group
    }

    /// What holds no points but belongs to a working source.
    async fn definitions(&self) -> Vec<Group> {
        let checks = "runs inside the source and writes its findings to _monitoring; made by hand";
        let by_hand = "made by hand (influx export all, then influx apply at the destination)";
        let kinds = [
            ("checks", "CHECKS", "checks?limit=100&", checks),
            ("notificationRules", "NOTIFICATION RULES", "notificationRules?limit=100&", by_hand),
            ("notificationEndpoints", "NOTIFICATION ENDPOINTS", "notificationEndpoints?limit=100&", by_hand),
            ("configurations", "TELEGRAF CONFIGURATIONS", "telegrafs?", by_hand),
        ];
        let mut groups = Vec::new();
        for (key, title, path, does) in kinds {
            let answer = self.subject.json(&format!("/api/v2/{path}orgID={}", self.org)).await;
            let name = match key {
                "configurations" => "telegraf-configurations",
                "notificationRules" => "notification-rules",
                "notificationEndpoints" => "notification-endpoints",
                key => key,
            };
            let mut group = self.listed((name, title, key), answer, |one| {
                Item::new(text(one, "name"), text(one, "status"), Fate::ByHand, does)
            });
            group.more |= group.items.len() == PAGE;
            groups.push(group);
        }
        groups
    }
}

fn task(one: &Value) -> Item {
    let script = text(one, "flux");
    let targets = targets(&script);
    let status = text(one, "status");
    let every = or(text(one, "every"), text(one, "cron"));
    let every = if every.is_empty() { String::new() } else { format!(", every {every}") };
    if targets.is_empty() {
        let does = "writes nothing that its script shows; made by hand at the destination";
        return Item::new(text(one, "name"), format!("{status}{every}"), Fate::ByHand, does);
    }
    let target = targets.join(", ");
    let facts = format!("{status}{every}, writes to {target}");
    let typed = "influx task create -f SCRIPT";
    Item::new(text(one, "name"), facts, Fate::Inside, INSIDE).writes_to(Some(target)).statement(typed)
}

fn text(value: &Value, key: &str) -> String {
    value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn or(text: String, other: String) -> String {
    if text.is_empty() { other } else { text }
}
