//! What to type at the destination for a thing of the source.

use std::time::Duration;

use crate::db::encode::shell_word;
use crate::db::influxql::identifier;
use crate::db::product::Product;
use crate::route::Target;

/// The destination, as far as it decides what is typed there.
#[derive(Clone, Debug)]
pub(super) struct Twin {
    pub(super) product: Product,
    pub(super) org: Option<String>,
}

impl Twin {
    fn org(&self) -> String {
        shell_word(self.org.as_deref().unwrap_or("ORG"))
    }

    /// A place that keeps its points for so long (zero: for ever), in shards of this length.
    pub(super) fn place(
        &self,
        target: &Target,
        (keep, shard): (Option<Duration>, Option<Duration>),
        policy: Option<&str>,
    ) -> Option<String> {
        match (self.product, target) {
            (Product::Influx1, Target::Database { db, rp }) => {
                let lasts = keep.filter(|keep| !keep.is_zero()).map_or("INF".to_owned(), influxql_span);
                let shard = shard.map(|shard| format!(" SHARD DURATION {}", influxql_span(shard))).unwrap_or_default();
                Some(match (rp.as_str(), policy) {
                    ("", policy) => {
                        let name = identifier(policy.unwrap_or("autogen"));
                        format!("CREATE DATABASE {} WITH DURATION {lasts}{shard} NAME {name}", identifier(db))
                    }
                    (rp, _) => {
                        let (db, rp) = (identifier(db), identifier(rp));
                        format!("CREATE RETENTION POLICY {rp} ON {db} DURATION {lasts} REPLICATION 1{shard}")
                    }
                })
            }
            (Product::Influx2, Target::Bucket { org, bucket }) => {
                let org = if org.is_empty() { self.org() } else { shell_word(org) };
                let keep = keep.filter(|keep| !keep.is_zero());
                let keep = keep.map(|keep| format!(" --retention {}s", keep.as_secs())).unwrap_or_default();
                let shard = shard.map(|shard| format!(" --shard-group-duration {}s", shard.as_secs()));
                let shard = shard.unwrap_or_default();
                Some(format!("influx bucket create --org {org} --name {}{keep}{shard}", shell_word(bucket)))
            }
            _ => None,
        }
    }

    /// A user of 1.x. The password is in no answer of the source.
    pub(super) fn user(&self, name: &str, admin: bool, grants: &[(String, String)]) -> Option<String> {
        match self.product {
            Product::Influx1 => {
                let who = identifier(name);
                let all = if admin { " WITH ALL PRIVILEGES" } else { "" };
                let mut typed = format!("CREATE USER {who} WITH PASSWORD '…'{all}");
                for (db, right) in grants {
                    typed.push_str(&format!("; GRANT {right} ON {} TO {who}", identifier(db)));
                }
                Some(typed)
            }
            Product::Influx2 => {
                let of = |wanted: &str| {
                    let each = grants.iter().filter(|(_, right)| right.starts_with("ALL") || right == wanted);
                    let option = wanted.to_lowercase();
                    each.map(|(db, _)| format!(" --{option}-bucket ID-OF-{}", shell_word(db))).collect::<String>()
                };
                let (read, write) = (of("READ"), of("WRITE"));
                let (org, name) = (self.org(), shell_word(name));
                Some(format!("influx v1 auth create --org {org} --username {name} --password '…'{read}{write}"))
            }
            _ => None,
        }
    }

    /// A name of 1.x for a bucket.
    pub(super) fn mapping(&self, (db, rp): (&str, &str), bucket: &str, default: bool) -> Option<String> {
        let (org, bucket) = (self.org(), shell_word(bucket));
        let (db, rp) = (shell_word(db), shell_word(rp));
        let default = if default { " --default" } else { "" };
        (self.product == Product::Influx2).then(|| {
            format!(
                "influx v1 dbrp create --org {org} --db {db} --rp {rp}{default} --bucket-id $(influx bucket list --org {org} --name {bucket} --hide-headers | cut -f 1)"
            )
        })
    }
}

/// As InfluxQL writes it, in the largest unit that fits.
fn influxql_span(span: Duration) -> String {
    let s = span.as_secs();
    match s {
        _ if s > 0 && s.is_multiple_of(86_400) => format!("{}d", s / 86_400),
        _ if s > 0 && s.is_multiple_of(3600) => format!("{}h", s / 3600),
        _ if s > 0 && s.is_multiple_of(60) => format!("{}m", s / 60),
        _ => format!("{s}s"),
    }
}

/// How long a place keeps its points, and its shards, for people.
pub(super) fn keeps(keep: Option<Duration>, shard: Option<Duration>) -> String {
    let keep = match keep {
        None => "how long it keeps points is not known".to_owned(),
        Some(keep) if keep.is_zero() => "keeps points for ever".to_owned(),
        Some(keep) => format!("keeps points for {}", influxql_span(keep)),
    };
    let shard = shard.map(|shard| format!(", shards of {}", influxql_span(shard))).unwrap_or_default();
    format!("{keep}{shard}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_is_quoted_for_the_place_where_it_is_typed() {
        let day = Some(Duration::from_secs(86_400));
        let one = Twin { product: Product::Influx1, org: None };
        let target = Target::Database { db: "a\"b".into(), rp: "week".into() };
        let typed = one.place(&target, (day, Some(Duration::from_secs(3600))), None).unwrap();
        let wanted = r#"CREATE RETENTION POLICY "week" ON "a\"b" DURATION 1d REPLICATION 1 SHARD DURATION 1h"#;
        assert_eq!(typed, wanted);
        let target = Target::Database { db: "d".into(), rp: String::new() };
        let typed = one.place(&target, (Some(Duration::ZERO), None), Some("autogen")).unwrap();
        assert_eq!(typed, r#"CREATE DATABASE "d" WITH DURATION INF NAME "autogen""#);
        let grants = [("d".to_owned(), "READ".to_owned())];
        let typed = one.user("joe", false, &grants).unwrap();
        assert_eq!(typed, r#"CREATE USER "joe" WITH PASSWORD '…'; GRANT READ ON "d" TO "joe""#);

        let two = Twin { product: Product::Influx2, org: Some("my org".into()) };
        let target = Target::Bucket { org: "my org".into(), bucket: "d/week".into() };
        let typed = two.place(&target, (day, None), None).unwrap();
        assert_eq!(typed, "influx bucket create --org 'my org' --name d/week --retention 86400s");
        let typed = two.user("joe", false, &[("d".into(), "ALL PRIVILEGES".into())]).unwrap();
        assert!(
            typed.ends_with("--username joe --password '…' --read-bucket ID-OF-d --write-bucket ID-OF-d"),
            "{typed}"
        );
        assert_eq!(Twin { product: Product::Questdb, org: None }.user("joe", true, &[]), None);
    }
}
