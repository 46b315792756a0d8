//! What a source of InfluxDB 1.x has.
//!
//! Requests: one for each kind of thing, and one for each database (its policies) and user (their rights), both bounded.

use serde_json::Value;

use super::super::check::places;
use super::super::check::subject::{Rows, Subject, Unanswered};
use super::item::{Fate, Group, Item, Unknown};
use super::listeners;
use super::twin::Twin;
use super::{INSIDE, ITEMS_MAX, Known, place};
use crate::db::encode::escape;
use crate::db::influxql::{identifier, split};
use crate::db::product::Product;
use crate::db::server::Flavor;

/// Users whose rights are asked for.
const USERS_MAX: usize = 200;

pub(super) async fn groups(subject: &Subject<'_>, known: &Known<'_>) -> Vec<Group> {
    vec![
        databases(subject, known).await,
        continuous_queries(subject, &known.twin).await,
        subscriptions(subject, &known.twin).await,
        users(subject, &known.twin).await,
        doors(subject).await,
    ]
}

/// A user's right to ask, or what else is in the way.
fn unknown(subject: &Subject<'_>, why: &Unanswered, needs: &str) -> Unknown {
    let user = identifier(subject.config.username.as_deref().unwrap_or("twinline"));
    let rights = matches!(why, Unanswered::Refused(status, _) if matches!(status.as_u16(), 401 | 403));
    let fix = match (rights, subject.has_credentials()) {
        (true, true) => format!("at the source: GRANT {needs} TO {user}"),
        (true, false) => "username and password in [source], of a user with all privileges".to_owned(),
        (false, _) => "twinline check".to_owned(),
    };
    Unknown { why: why.text(), fix, rights }
}

async fn databases(subject: &Subject<'_>, known: &Known<'_>) -> Group {
    let (name, title) = ("databases", "DATABASES AND RETENTION POLICIES");
    let listing = match places::list(subject, Flavor::Influx1).await {
        Ok(listing) => listing,
        Err(why) => return Group::unknown(name, title, unknown(subject, &why, "ALL PRIVILEGES")),
    };
    let items = listing.places.iter().filter(|one| !one.name.is_system()).map(|one| place(one, known)).collect();
    let mut group = Group { more: listing.more, ..Group::of(name, title, items) };
    if let Some(first) = listing.closed.first() {
        let user = identifier(subject.config.username.as_deref().unwrap_or("twinline"));
        let why = format!("the policies of {} databases may not be seen", listing.closed.len());
        let fix = format!("at the source: GRANT READ ON {} TO {user}", identifier(first));
        group.unknown = Some(Unknown { why, fix, rights: true });
    }
    group
}

async fn continuous_queries(subject: &Subject<'_>, twin: &Twin) -> Group {
    let (name, title) = ("continuous-queries", "CONTINUOUS QUERIES");
    let series = match subject.series(("", ""), "SHOW CONTINUOUS QUERIES").await {
        Ok(series) => series,
        Err(why) => return Group::unknown(name, title, unknown(subject, &why, "ALL PRIVILEGES")),
    };
    let each = series.iter().flat_map(|(db, rows)| {
        texts(rows, "name").into_iter().zip(texts(rows, "query")).map(move |(name, query)| (db, name, query))
    });
    bounded(name, title, each.map(|(db, name, query)| continuous_query(db, &name, &query, twin)))
}

fn continuous_query(db: &str, name: &str, query: &str, twin: &Twin) -> Item {
    let target = into(query, db);
    let facts = target
        .as_deref()
        .map_or("writes to a place that cannot be read".to_owned(), |target| format!("writes to {target}"));
    let item = Item::new(format!("{name} on {db}"), facts, Fate::Inside, INSIDE).writes_to(target);
    match twin.product {
        Product::Influx1 => item.statement(query),
        Product::Influx2 => {
            item.statement(format!("influx task create, with a script that does what this does: {query}"))
        }
        _ => item.statement(format!("whatever does there what this does: {query}")),
    }
}

/// Where a continuous query's points go. The server writes the names of all places into its text.
fn into(query: &str, db: &str) -> Option<String> {
    let (_, inner) = query.split_once(" BEGIN ")?;
    let inner = inner.trim_end().strip_suffix("END")?;
    let change = split(inner).into_iter().next()?.change?;
    let measurement = change.measurement.unwrap_or_else(|| ":MEASUREMENT".to_owned());
    let place = match (change.db.unwrap_or_else(|| db.to_owned()), change.rp) {
        (db, Some(rp)) if !rp.is_empty() => format!("{db}/{rp}"),
        (db, _) => db,
    };
    Some(format!("{place}, measurement {measurement}"))
}

async fn subscriptions(subject: &Subject<'_>, twin: &Twin) -> Group {
    let (name, title) = ("subscriptions", "SUBSCRIPTIONS");
    let series = match subject.series(("", ""), "SHOW SUBSCRIPTIONS").await {
        Ok(series) => series,
        Err(why) => return Group::unknown(name, title, unknown(subject, &why, "ALL PRIVILEGES")),
    };
    let each = series.iter().flat_map(|(db, rows)| {
        let names = texts(rows, "retention_policy").into_iter().zip(texts(rows, "name"));
        let how = texts(rows, "mode").into_iter().zip(rows.column("destinations"));
        names.zip(how).map(move |((rp, name), (mode, to))| subscription((db, &rp, &name), (&mode, &to), twin))
    });
    bounded(name, title, each)
}

fn subscription((db, rp, name): (&str, &str, &str), (mode, to): (&str, &Value), twin: &Twin) -> Item {
    let to: Vec<String> = to.as_array().into_iter().flatten().filter_map(Value::as_str).map(without_secrets).collect();
    let does = "the source sends what it takes to somebody else, who hears nothing once clients have moved";
    let item = Item::new(format!("{name} on {db}/{rp}"), format!("to {}", to.join(", ")), Fate::ByHand, does);
    if twin.product != Product::Influx1 {
        return item;
    }
    let to: Vec<String> = to.iter().map(|to| format!("'{to}'")).collect();
    let (name, db, rp) = (identifier(name), identifier(db), identifier(rp));
    item.statement(format!("CREATE SUBSCRIPTION {name} ON {db}.{rp} DESTINATIONS {mode} {}", to.join(", ")))
}

/// An address, without what may stand before its host.
fn without_secrets(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => match rest.rsplit_once('@') {
            Some((_, host)) => format!("{scheme}://…@{host}"),
            None => url.to_owned(),
        },
        None => url.to_owned(),
    }
}

async fn users(subject: &Subject<'_>, twin: &Twin) -> Group {
    let (name, title) = ("users", "USERS");
    let rows = match subject.statement("SHOW USERS").await {
        Ok(rows) => rows,
        Err(why) => return Group::unknown(name, title, unknown(subject, &why, "ALL PRIVILEGES")),
    };
    let mut group = Group::of(name, title, Vec::new());
    let users = texts(&rows, "user").into_iter().zip(rows.column("admin"));
    for (number, (user, admin)) in users.enumerate() {
        if number >= USERS_MAX {
            group.more = true;
            break;
        }
        let grants = match subject.statement(&format!("SHOW GRANTS FOR {}", identifier(&user))).await {
            Ok(rows) => texts(&rows, "database").into_iter().zip(texts(&rows, "privilege")).collect(),
            Err(why) => {
                group.unknown = Some(unknown(subject, &why, "ALL PRIVILEGES"));
                Vec::new()
            }
        };
        group.items.push(user_item(&user, admin.as_bool() == Some(true), &grants, twin));
    }
    group
}

fn user_item(user: &str, admin: bool, grants: &[(String, String)], twin: &Twin) -> Item {
    let rights: Vec<String> = grants
        .iter()
        .filter(|(_, right)| right != "NO PRIVILEGES")
        .map(|(db, right)| format!("{right} on {db}"))
        .collect();
    let facts = match (admin, rights.is_empty()) {
        (true, _) => "all privileges".to_owned(),
        (false, true) => "no rights".to_owned(),
        (false, false) => rights.join(", "),
    };
    let does = "made by hand: no answer of the source holds a password";
    let item = Item::new(user, facts, Fate::ByHand, does);
    match twin.user(user, admin, grants) {
        Some(typed) => item.statement(typed),
        None => item,
    }
}

async fn doors(subject: &Subject<'_>) -> Group {
    let (name, title) = ("listeners", "LISTENERS BESIDE HTTP, AND THE MONITOR STORE");
    match subject.json(&format!("/query?q={}", escape("SHOW DIAGNOSTICS"))).await {
        Ok(answer) => match answer.pointer("/results/0/series").and_then(Value::as_array) {
            Some(series) => bounded(name, title, listeners::read(series).into_iter()),
            None => {
                let why =
                    answer.pointer("/results/0/error").and_then(Value::as_str).unwrap_or("an empty answer").to_owned();
                let fix = "look into the source's configuration file".to_owned();
                Group::unknown(name, title, Unknown { why, fix, rights: false })
            }
        },
        Err(why) => Group::unknown(name, title, unknown(subject, &why, "ALL PRIVILEGES")),
    }
}

fn texts(rows: &Rows, column: &str) -> Vec<String> {
    rows.column(column).iter().map(|value| value.as_str().unwrap_or_default().to_owned()).collect()
}

fn bounded(name: &'static str, title: &'static str, items: impl Iterator<Item = Item>) -> Group {
    let mut items: Vec<Item> = items.take(ITEMS_MAX + 1).collect();
    let more = items.len() > ITEMS_MAX;
    items.truncate(ITEMS_MAX);
    Group { more, ..Group::of(name, title, items) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_of_a_continuous_query_is_read_from_its_text() {
        let of = |query: &str| into(query, "d").unwrap();
        let text = "CREATE CONTINUOUS QUERY cq ON d BEGIN SELECT mean(v) INTO e.week.avg FROM d.autogen.m GROUP BY time(1s) END";
        assert_eq!(of(text), "e/week, measurement avg");
        let text = r#"CREATE CONTINUOUS QUERY "a b" ON d RESAMPLE EVERY 1m BEGIN SELECT mean(v) INTO "x y" FROM m GROUP BY time(1s) END"#;
        assert_eq!(of(text), "d, measurement x y");
        let text = "CREATE CONTINUOUS QUERY c ON d BEGIN SELECT mean(v) INTO e.autogen.:MEASUREMENT FROM d.autogen./.*/ GROUP BY time(1s), * END";
        assert_eq!(of(text), "e/autogen, measurement :MEASUREMENT");
        assert_eq!(into("something else", "d"), None);
    }

    #[test]
    fn addresses_of_subscriptions_are_shown_without_what_opens_them() {
        assert_eq!(without_secrets("http://u:p@h:9/x"), "http://…@h:9/x");
        assert_eq!(without_secrets("udp://h:9"), "udp://h:9");
    }
}
