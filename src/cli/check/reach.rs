//! `reach`: both databases answer, and are what the configuration says they are.

use std::time::Duration;

use bytes::Bytes;
use http::Method;

use super::clock::Dated;
use super::finding::{Code, Finding, Group, State};
use super::subject::Subject;
use crate::base::clock::SharedClock;
use crate::db::server::{Flavor, Version};

/// What a first meeting with a database came to.
#[derive(Debug)]
pub(super) struct Met {
    /// Whether it answered at all.
    pub(super) answers: bool,
    /// What it is, when that is certain enough to go on.
    pub(super) flavor: Option<Flavor>,
    pub(super) version: Option<Version>,
    /// The date of its answer.
    pub(super) dated: Option<Dated>,
    pub(super) findings: Vec<Finding>,
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
            return Met { answers: false, flavor: None, version: None, dated: None, findings: vec![finding] };
        }
    };
    let dated = Dated::read(&reply.headers, sent_ns, sent_ns.saturating_add(nanoseconds(took)));
    let version = subject.server.read_version(&reply);
    let (flavor, finding) = match version.as_ref() {
        Ok(version) => known(subject, version, took),
        Err(error) => unknown(subject, &error.to_string(), error.next_step()),
    };
    Met { answers: true, flavor, version: version.ok(), dated, findings: vec![finding] }
}

fn known(subject: &Subject<'_>, version: &Version, took: Duration) -> (Option<Flavor>, Finding) {
    let text = version.text.trim_start_matches('v');
    match subject.configured {
        Some(configured) if configured != version.flavor => {
            let section = subject.section;
            let what = format!("is InfluxDB {text}, but {section}.kind is \"{}\"", setting(configured));
            let finding = subject.found(Group::Reach, State::Failed, Code::PRODUCT, what);
            (None, finding.fix(format!("kind = \"{}\" in [{section}]", setting(version.flavor))))
        }
        _ => {
            let what = format!("reachable, InfluxDB {text}, ping {}", milliseconds(took));
            (Some(version.flavor), subject.found(Group::Reach, State::Ok, Code::REACHABLE, what))
        }
    }
}

fn unknown(subject: &Subject<'_>, what: &str, hint: Option<&str>) -> (Option<Flavor>, Finding) {
    let (state, text) = match subject.configured {
        Some(flavor) => (State::Warning, format!("does not tell its version; taken for {}: {what}", setting(flavor))),
        None => (State::Failed, format!("is not an InfluxDB 1.x or 2.x: {what}")),
    };
    let fix = match (state, hint) {
        (State::Warning, _) => "let the proxy in between pass X-Influxdb-Version on".to_owned(),
        (_, Some(hint)) => format!("correct {}.url, or {hint}", subject.section),
        (_, None) => format!("correct {}.url", subject.section),
    };
    (subject.configured, subject.found(Group::Reach, state, Code::PRODUCT, text).fix(fix))
}

fn setting(flavor: Flavor) -> &'static str {
    match flavor {
        Flavor::Influx1 => "influxdb1",
        Flavor::Influx2 => "influxdb2",
    }
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
