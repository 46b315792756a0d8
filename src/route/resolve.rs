//! Names as clients write them -> the one name of the place: default policies, DBRP mappings, bucket ids.
//!
//! Promise: what the source can tell us is asked, kept for a few seconds and asked again, once for all writes that want to
//! know, and over the connections of queries; a source that does not answer never delays a write by more than
//! [`LOOKUP_MAX`], and then the vendor's conventions hold (`autogen` is the default policy; bucket `db` is `db` with its
//! default policy, bucket `db/rp` is the rest). An answer is asked for anew before it is too old, so that writes go on with
//! it meanwhile; none outlives [`Resolver::forget`].

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::{RouteName, WriteIdentity};
use crate::db::encode::escape;
use crate::db::precision::Api;
use crate::db::server::{Flavor, Server};

/// An answer holds for so long: what changes around us is seen by then.
const FRESH: Duration = Duration::from_secs(5);
/// From this age on it is asked for again, while it still holds.
const RENEW_AFTER: Duration = Duration::from_secs(2);
const LOOKUP_MAX: Duration = Duration::from_secs(1);
/// A name that could not be looked up is not asked for again before this; what is assumed holds while it is.
const RETRY_AFTER: Duration = Duration::from_secs(10);
const KEPT_MAX: usize = 10_000;

/// Looks names up at the source. One thread.
#[derive(Debug)]
pub struct Resolver(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    source: Server,
    flavor: Flavor,
    org: Option<String>,
    names: RefCell<Names>,
}

#[derive(Debug, Default)]
struct Names {
    kept: HashMap<Question, Kept>,
    /// Questions under way, and where their answers come.
    asked: HashMap<Question, watch::Receiver<Option<Answer>>>,
    /// How often everything was forgotten: answers to older questions are not kept.
    age: u64,
}

/// What the source says, or what is assumed; `None`: the vendor's convention.
type Answer = Option<String>;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Question {
    /// 1.x: name of the default policy of a database.
    DefaultPolicy(String),
    /// 2.x: bucket of a database and policy.
    Mapping(String, String),
    /// 2.x: name of a bucket id.
    BucketId(String),
    /// 2.x: name of an organisation's id.
    OrgId(String),
}

#[derive(Clone, Debug)]
struct Kept {
    answer: Answer,
    renew: Instant,
    until: Instant,
}

impl Resolver {
    /// `source`: with connections that no write waits for; `org`: its organisation, for questions to 2.x.
    #[must_use]
    pub fn new(source: Server, flavor: Flavor, org: Option<String>) -> Self {
        Self(Rc::new(Inner { source, flavor, org, names: RefCell::default() }))
    }

    /// Forgets what may have changed: a statement that can move defaults or mappings has passed.
    pub fn forget(&self) {
        let mut names = self.0.names.borrow_mut();
        names.kept.clear();
        names.asked.clear();
        names.age += 1;
    }

    /// The place a write names; `None` when it names none, so that the source will refuse it.
    pub async fn name(&self, identity: &WriteIdentity) -> Option<RouteName> {
        match (self.0.flavor, identity.api) {
            (Flavor::Influx1, Api::V1) => {
                let db = identity.db.as_deref().filter(|db| !db.is_empty())?;
                Some(self.database(db, identity.rp.as_deref().unwrap_or_default()).await)
            }
            (Flavor::Influx1, Api::V2) => {
                let bucket = identity.bucket.as_deref().filter(|b| !b.is_empty())?;
                let (db, rp) = bucket.split_once('/').unwrap_or((bucket, ""));
                Some(self.database(db, rp).await)
            }
            (Flavor::Influx2, Api::V1) => {
                let db = identity.db.as_deref().filter(|db| !db.is_empty())?;
                let rp = identity.rp.as_deref().unwrap_or_default();
                let found = self.look_up(Question::Mapping(db.to_owned(), rp.to_owned())).await;
                let by_convention = || match rp {
                    "" | "autogen" => db.to_owned(),
                    _ => format!("{db}/{rp}"),
                };
                Some(self.bucket(found.unwrap_or_else(by_convention)))
            }
            (Flavor::Influx2, Api::V2) => {
                let bucket = identity.bucket.as_deref().filter(|b| !b.is_empty())?;
                let found =
                    if is_id(bucket) { self.look_up(Question::BucketId(bucket.to_owned())).await } else { None };
                let bucket = found.unwrap_or_else(|| bucket.to_owned());
                Some(match self.organisation(identity).await {
                    Some(org) => RouteName::Bucket { org, bucket },
                    None => self.bucket(bucket),
                })
            }
        }
    }

    /// The organisation that the request names: by name, by id, or by an id in the place of the name.
    async fn organisation(&self, identity: &WriteIdentity) -> Option<String> {
        let by_name = identity.org.as_deref().filter(|org| !org.is_empty());
        let named = by_name.or(identity.org_id.as_deref()).filter(|org| !org.is_empty())?;
        let found = if is_id(named) { self.look_up(Question::OrgId(named.to_owned())).await } else { None };
        Some(found.unwrap_or_else(|| named.to_owned()))
    }

    fn bucket(&self, bucket: String) -> RouteName {
        RouteName::Bucket { org: self.0.org.clone().unwrap_or_default(), bucket }
    }

    async fn database(&self, db: &str, rp: &str) -> RouteName {
        if rp.is_empty() {
            return RouteName::Database { db: db.to_owned(), rp: String::new() };
        }
        let default = self.look_up(Question::DefaultPolicy(db.to_owned())).await;
        let is_default = default.as_deref().unwrap_or("autogen") == rp;
        RouteName::Database { db: db.to_owned(), rp: if is_default { String::new() } else { rp.to_owned() } }
    }

    async fn look_up(&self, question: Question) -> Answer {
        let (now, kept) = (Instant::now(), self.0.names.borrow().kept.get(&question).cloned());
        match kept.filter(|kept| now < kept.until) {
            Some(kept) => {
                if now >= kept.renew {
                    self.asked(question);
                }
                kept.answer
            }
            None => {
                let mut asked = self.asked(question);
                let answer = asked.wait_for(Option::is_some).await.ok()?;
                answer.clone().flatten()
            }
        }
    }

    /// Where the answer to a question comes that is under way from now on, if it was not before.
    fn asked(&self, question: Question) -> watch::Receiver<Option<Answer>> {
        let mut names = self.0.names.borrow_mut();
        // One whose task has died is put again.
        if let Some(asked) = names.asked.get(&question).filter(|asked| asked.has_changed().is_ok()) {
            return asked.clone();
        }
        let (tell, asked) = watch::channel(None);
        names.asked.insert(question.clone(), asked.clone());
        let (inner, age) = (Rc::clone(&self.0), names.age);
        tokio::task::spawn_local(async move {
            let found = timeout(LOOKUP_MAX, inner.ask(&question)).await.ok().flatten();
            let answer = inner.names.borrow_mut().answered(question, found, age);
            // Nobody may wait any more.
            let _ = tell.send(Some(answer));
        });
        asked
    }
}

impl Names {
    /// Keeps what the source said, or what was known before where it said nothing; what writes go on with.
    fn answered(&mut self, question: Question, found: Answer, age: u64) -> Answer {
        if age != self.age {
            return found;
        }
        self.asked.remove(&question);
        let now = Instant::now();
        let kept = match found {
            Some(_) => Kept { answer: found, renew: now + RENEW_AFTER, until: now + FRESH },
            None => {
                let answer = self.kept.get(&question).and_then(|kept| kept.answer.clone());
                Kept { answer, renew: now + RETRY_AFTER, until: now + RETRY_AFTER + FRESH }
            }
        };
        if self.kept.len() >= KEPT_MAX {
            self.kept.clear();
        }
        let answer = kept.answer.clone();
        self.kept.insert(question, kept);
        answer
    }
}

impl Inner {
    async fn ask(&self, question: &Question) -> Option<String> {
        match question {
            Question::DefaultPolicy(db) => {
                let quoted = db.replace('\\', "\\\\").replace('"', "\\\"");
                let q = escape(&format!("SHOW RETENTION POLICIES ON \"{quoted}\""));
                default_policy(&self.json(&format!("/query?q={q}")).await?)
            }
            Question::Mapping(db, rp) => {
                let org = escape(self.org.as_deref()?);
                let found = self.json(&format!("/api/v2/dbrps?org={org}&db={}", escape(db))).await?;
                let id = mapped_bucket(&found, rp)?;
                self.named(&format!("/api/v2/buckets/{}", escape(&id))).await
            }
            Question::BucketId(id) => self.named(&format!("/api/v2/buckets/{}", escape(id))).await,
            Question::OrgId(id) => self.named(&format!("/api/v2/orgs/{}", escape(id))).await,
        }
    }

    async fn named(&self, path: &str) -> Option<String> {
        self.json(path).await?.get("name")?.as_str().map(str::to_owned)
    }

    async fn json(&self, path: &str) -> Option<Value> {
        match self.source.ask(Method::GET, path, Bytes::new()).await {
            Ok(reply) if reply.status.is_success() => serde_json::from_slice(&reply.body).ok(),
            Ok(reply) => {
                tracing::debug!(
                    status = reply.status.as_u16(),
                    "the source does not tell us a name; its convention is assumed"
                );
                None
            }
            Err(error) => {
                tracing::debug!(%error, "the source does not tell us a name; its convention is assumed");
                None
            }
        }
    }
}

/// 16 hexadecimal digits: the servers try such a text as an id first.
fn is_id(text: &str) -> bool {
    text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// From the answer to SHOW RETENTION POLICIES: the row whose `default` is true.
pub(crate) fn default_policy(answer: &Value) -> Option<String> {
    let series = answer.pointer("/results/0/series/0")?;
    let columns = series.get("columns")?.as_array()?;
    let at = |name| columns.iter().position(|c| c.as_str() == Some(name));
    let (name, default) = (at("name")?, at("default")?);
    let rows = series.get("values")?.as_array()?;
    let row = rows.iter().find(|row| row.get(default).and_then(Value::as_bool) == Some(true))?;
    row.get(name)?.as_str().map(str::to_owned)
}

/// From the answer of `/api/v2/dbrps`: the bucket id of a policy; an empty policy is the mapping flagged as default.
/// A mapping that somebody made wins over a virtual one.
fn mapped_bucket(answer: &Value, rp: &str) -> Option<String> {
    let fits = |mapping: &&Value| {
        let is_default = mapping.get("default").and_then(Value::as_bool) == Some(true);
        if rp.is_empty() { is_default } else { mapping.get("retention_policy").and_then(Value::as_str) == Some(rp) }
    };
    let mut fitting: Vec<&Value> = answer.get("content")?.as_array()?.iter().filter(fits).collect();
    fitting.sort_by_key(|mapping| mapping.get("virtual").and_then(Value::as_bool) == Some(true));
    fitting.first()?.get("bucketID")?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use serde_json::json;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio::sync::Semaphore;

    use super::*;
    use crate::base::Side;

    /// A source that holds every answer until it is let go, and says then how often it was asked so far.
    struct Source {
        resolver: Resolver,
        asked: Rc<Cell<u32>>,
        go: Rc<Semaphore>,
    }

    impl Source {
        async fn new() -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}", listener.local_addr().unwrap());
            let (asked, go) = (Rc::new(Cell::new(0)), Rc::new(Semaphore::new(0)));
            let (count, gate) = (Rc::clone(&asked), Rc::clone(&go));
            tokio::task::spawn_local(async move {
                while let Ok((mut stream, _)) = listener.accept().await {
                    let (count, gate) = (Rc::clone(&count), Rc::clone(&gate));
                    tokio::task::spawn_local(async move {
                        while matches!(stream.read(&mut [0; 4096]).await, Ok(read) if read > 0) {
                            count.set(count.get() + 1);
                            let name = format!("policy{}", count.get());
                            gate.acquire().await.unwrap().forget();
                            let body = json!({"results": [{"series": [{"columns": ["name", "default"],
                                "values": [[name, true]]}]}]});
                            let body = body.to_string();
                            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
                            stream.write_all((head + &body).as_bytes()).await.unwrap();
                        }
                    });
                }
            });
            let text =
                format!("listen = \"127.0.0.1:0\"\n[source]\nurl = \"{url}\"\n[destination]\nurl = \"http://x:1\"");
            let config = crate::config::parse(&text, &|_| None).unwrap().config;
            let server = Server::new(&config.source.server, Side::Source).unwrap();
            Self { resolver: Resolver::new(server, Flavor::Influx1, None), asked, go }
        }

        async fn is_default(&self, rp: &str) -> bool {
            let identity = WriteIdentity::read(Api::V1, &format!("db=d&rp={rp}"));
            self.resolver.name(&identity).await == Some(RouteName::Database { db: "d".into(), rp: String::new() })
        }

        /// Until the source was asked so often.
        async fn was_asked(&self, times: u32) {
            while self.asked.get() < times {
                tokio::task::yield_now().await;
            }
        }

        /// Until nothing is under way.
        async fn is_told(&self) {
            self.go.add_permits(1);
            while !self.resolver.0.names.borrow().asked.is_empty() {
                tokio::task::yield_now().await;
            }
        }

        fn make_older(&self, by: Duration) {
            for kept in self.resolver.0.names.borrow_mut().kept.values_mut() {
                (kept.renew, kept.until) = (kept.renew - by, kept.until - by);
            }
        }
    }

    fn run<F: Future>(future: F) -> F::Output {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, future)
    }

    #[test]
    fn writes_that_name_a_policy_at_once_share_one_question() {
        run(async {
            let source = Rc::new(Source::new().await);
            let writes: Vec<_> = (0..50)
                .map(|_| {
                    let source = Rc::clone(&source);
                    tokio::task::spawn_local(async move { source.is_default("policy1").await })
                })
                .collect();
            source.was_asked(1).await;
            source.go.add_permits(50);
            for write in writes {
                assert!(write.await.unwrap());
            }
            assert_eq!(source.asked.get(), 1);
        });
    }

    #[test]
    fn writes_go_on_with_an_answer_that_is_being_renewed_but_not_with_one_that_is_too_old() {
        run(async {
            let source = Source::new().await;
            source.go.add_permits(1);
            assert!(source.is_default("policy1").await);
            source.make_older(RENEW_AFTER);
            // The source says nothing yet: none of these waits.
            assert!(source.is_default("policy1").await && source.is_default("policy1").await);
            source.was_asked(2).await;
            source.is_told().await;
            assert!(source.is_default("policy2").await && !source.is_default("policy1").await);
            source.make_older(FRESH);
            source.go.add_permits(1);
            assert!(source.is_default("policy3").await, "the old answer holds no more");
        });
    }

    #[test]
    fn an_answer_to_a_question_from_before_a_change_is_not_kept() {
        run(async {
            let source = Rc::new(Source::new().await);
            let asking = Rc::clone(&source);
            let before = tokio::task::spawn_local(async move { asking.is_default("policy1").await });
            source.was_asked(1).await;
            source.resolver.forget();
            let asking = Rc::clone(&source);
            let after = tokio::task::spawn_local(async move { asking.is_default("policy2").await });
            source.was_asked(2).await;
            source.go.add_permits(2);
            assert!(before.await.unwrap() && after.await.unwrap());
            assert!(source.is_default("policy2").await);
            assert_eq!(source.asked.get(), 2);
        });
    }

    #[test]
    fn a_source_that_does_not_answer_is_waited_for_once() {
        run(async {
            let source = Source::new().await;
            assert!(source.is_default("autogen").await, "the convention");
            source.make_older(RETRY_AFTER);
            // These do not wait: it would be seen by what is known of the question.
            assert!(source.is_default("autogen").await);
            assert!(source.resolver.0.names.borrow().asked.len() == 1, "it is asked again meanwhile");
        });
    }

    #[test]
    fn the_default_policy_is_the_flagged_row() {
        let answer = json!({"results": [{"series": [{"columns": ["name", "duration", "default"],
            "values": [["autogen", "0s", false], ["week", "168h0m0s", true]]}]}]});
        assert_eq!(default_policy(&answer).as_deref(), Some("week"));
        assert_eq!(default_policy(&json!({"results": [{"error": "no"}]})), None);
    }

    #[test]
    fn a_made_mapping_wins_over_a_virtual_one() {
        let answer = json!({"content": [
            {"retention_policy": "autogen", "default": true, "virtual": true, "bucketID": "a"},
            {"retention_policy": "week", "default": true, "bucketID": "b"}]});
        assert_eq!(mapped_bucket(&answer, "").as_deref(), Some("b"));
        assert_eq!(mapped_bucket(&answer, "autogen").as_deref(), Some("a"));
        assert_eq!(mapped_bucket(&answer, "none"), None);
    }
}
