//! `reach`: both databases answer, and are what the configuration says they are.

use std::time::Duration;

use bytes::Bytes;
use http::Method;

use super::clock::Dated;
use super::finding::{Code, Finding, Group, State};
use super::subject::Subject;
use crate::base::clock::SharedClock;
use crate::db::product::Product;
use crate::db::server::{Flavor, Version};

/// What a first meeting with a database came to.
#[derive(Debug)]
pub(super) struct Met {
    /// Whether it answered at all.
    pub(super) answers: bool,
    /// What it is, when that is certain enough to go on.
    pub(super) product: Option<Product>,
    pub(super) version: Option<Version>,
    /// The date of its answer.
    pub(super) dated: Option<Dated>,
    pub(super) findings: Vec<Finding>,
}

impl Met {
    /// The same, where it is an InfluxDB.
    pub(super) fn flavor(&self) -> Option<Flavor> {
        self.product.and_then(Product::flavor)
    }
}

/// Asks `/ping` twice: the first opens the connection, the second is timed.
pub(super) async fn meet(subject: &Subject<'_>, clock: &SharedClock) -> Met {
    let ping = || subject.server.ask(Method::GET, "/ping", Bytes::new());
    let first = ping().await;
    let (sent_ns, began) = (clock.wall_ns(), clock.monotonic());
    let reply = match first {
        Ok(_) => ping().await,
        Err(error) => Err(error),
    };
    let took = clock.monotonic().saturating_sub(began);
    let url = &subject.config.url;
    let reply = match reply {
        Ok(reply) => reply,
        Err(error) => {
            let text = format!("not reachable: {error}");
            let fix = error.next_step().map_or_else(
                || format!("start it, or correct {}.url ({url}); a firewall may stand in between", subject.section),
                str::to_owned,
            );
            let finding = subject.found(Group::Reach, State::Failed, Code::REACHABLE, text).fix(fix);
            return Met { answers: false, product: None, version: None, dated: None, findings: vec![finding] };
        }
    };
    let dated = Dated::read(&reply.headers, sent_ns, sent_ns.saturating_add(nanoseconds(took)));
    let version = subject.server.read_version(&reply);
    let foreign = Product::find_foreign(&subject.server, &reply).await;
    let (product, finding) = match version.as_ref() {
        _ if foreign.is_some() => known_foreign(subject, foreign, took).await,
        Ok(version) => known(subject, version, took),
        Err(error) => unknown(subject, &error.to_string(), error.next_step()),
    };
    Met { answers: true, product, version: version.ok(), dated, findings: vec![finding] }
}

fn known(subject: &Subject<'_>, version: &Version, took: Duration) -> (Option<Product>, Finding) {
    met(subject, version.flavor.into(), version.text.trim_start_matches('v'), took)
}

async fn known_foreign(subject: &Subject<'_>, product: Option<Product>, took: Duration) -> (Option<Product>, Finding) {
    let Some(product) = product.filter(|_| subject.section != "source") else {
        let title = product.map_or("it", Product::title);
        let what = format!("is {title} of a kind that cannot be a source");
        let finding = subject.found(Group::Reach, State::Failed, Code::PRODUCT, what);
        return (None, finding.fix("an InfluxDB 1.x or 2.x in source.url"));
    };
    let version = product.ask_version(&subject.server).await.unwrap_or_default();
    met(subject, product, version.trim_start_matches('v'), took)
}

/// It answers, and says what it is.
fn met(subject: &Subject<'_>, product: Product, version: &str, took: Duration) -> (Option<Product>, Finding) {
    match subject.configured {
        Some(configured) if configured != product => {
            let section = subject.section;
            let title = product.title();
            let what = format!("is {title} {version}, but {section}.kind is \"{}\"", configured.name());
            let finding = subject.found(Group::Reach, State::Failed, Code::PRODUCT, what);
            (None, finding.fix(format!("kind = \"{}\" in [{section}]", product.name())))
        }
        _ => {
            let what = format!("reachable, {} {version}, ping {}", product.title(), milliseconds(took));
            (Some(product), subject.found(Group::Reach, State::Ok, Code::REACHABLE, what))
        }
    }
}

fn unknown(subject: &Subject<'_>, what: &str, hint: Option<&str>) -> (Option<Product>, Finding) {
    let (state, text) = match subject.configured {
        Some(product) => (State::Warning, format!("does not tell its version; taken for {}: {what}", product.name())),
        None => (State::Failed, format!("is not an InfluxDB 1.x or 2.x: {what}")),
    };
    let fix = match (state, hint) {
        (State::Warning, _) => "let the proxy in between pass X-Influxdb-Version on".to_owned(),
        (_, Some(hint)) => format!("correct {}.url, or {hint}", subject.section),
        (_, None) => format!("correct {}.url", subject.section),
    };
    (subject.configured, subject.found(Group::Reach, state, Code::PRODUCT, text).fix(fix))
}

fn nanoseconds(span: Duration) -> i64 {
    i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)
}

/// A short span with as many digits as mean something.
pub(super) fn milliseconds(span: Duration) -> String {
    let ms = span.as_secs_f64() * 1e3;
    match ms {
        _ if ms < 1.0 => format!("{ms:.2} ms"),
        _ if ms < 10.0 => format!("{ms:.1} ms"),
        _ => format!("{ms:.0} ms"),
    }
}
