//! `loop` and `same`: no database is this twinline itself, and the two databases are two servers.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use bytes::Bytes;
use http::Method;

use super::finding::{Code, Finding, Group, State};
use super::reach::Met;
use super::subject::Subject;
use crate::config::{self, Listen};
use crate::db::server::Server;

/// The addresses that a database's host name stands for.
pub(in crate::cli) async fn resolve(server: &config::Server) -> std::io::Result<BTreeSet<SocketAddr>> {
    let url = &server.url;
    Ok(tokio::net::lookup_host((url.host.as_str(), url.port)).await?.collect())
}

/// Whether a database's address is one of our own listeners. The configuration is refused where its text shows that
/// already; here names are resolved.
pub(super) async fn own_listener(
    subject: &Subject<'_>,
    addresses: &std::io::Result<BTreeSet<SocketAddr>>,
    listeners: &[Listen],
    answers: bool,
) -> Finding {
    let found = |state, text: String| subject.found(Group::Loop, state, Code::OWN_LISTENER, text);
    let fix = format!("the database's own address in {}.url", subject.section);
    let addresses = match addresses {
        Ok(addresses) => addresses,
        Err(error) => return found(State::Unknown, format!("its host name cannot be resolved: {error}")),
    };
    let listens = |at: SocketAddr| addresses.iter().any(|address| reaches(*address, at, is_ours));
    let hit = listeners.iter().find(|listen| listen.address.tcp().is_some_and(listens));
    if let Some(listen) = hit {
        let text = format!("{} is our own listener {}", subject.config.url, listen.address);
        return found(State::Failed, text).fix(fix);
    }
    if answers && is_admin_side(subject).await {
        return found(State::Failed, "answers like the admin side of a twinline".to_owned()).fix(fix);
    }
    found(State::Ok, "is not one of our own listeners".to_owned())
}

fn reaches(address: SocketAddr, listen: SocketAddr, is_ours: impl Fn(IpAddr) -> bool) -> bool {
    let ip = address.ip().to_canonical();
    let listens = listen.ip().to_canonical();
    address.port() == listen.port() && (ip == listens || (listens.is_unspecified() && is_ours(ip)))
}

/// Only an address of this machine can be bound.
fn is_ours(ip: IpAddr) -> bool {
    UdpSocket::bind((ip, 0)).is_ok()
}

async fn is_admin_side(subject: &Subject<'_>) -> bool {
    let reply = subject.server.ask(Method::GET, "/healthz", Bytes::new()).await;
    reply.is_ok_and(|reply| reply.status.is_success() && reply.body.as_ref() == b"ok\n")
}

/// What a process says about itself that no other process says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::cli) struct Mark {
    /// Start of the process, in seconds with fractions, as text.
    started: Option<String>,
    /// The instance's number (2.x).
    instance: Option<String>,
    version: Option<String>,
}

/// Reads the mark off `/metrics`, which both kinds answer without credentials.
pub(super) async fn mark(subject: &Subject<'_>, met: &Met) -> Mark {
    let version = met.version.as_ref().map(|version| version.text.clone());
    if met.answers { Mark::ask(&subject.server, version).await } else { Mark { version, ..Mark::default() } }
}

impl Mark {
    /// Asks a server that answers, and has said this version.
    pub(in crate::cli) async fn ask(server: &Server, version: Option<String>) -> Self {
        let reply = server.ask(Method::GET, "/metrics", Bytes::new()).await.ok();
        let text = reply.filter(|reply| reply.status.is_success()).map(|reply| reply.body);
        Self { version, ..Self::read(&String::from_utf8_lossy(text.as_deref().unwrap_or_default())) }
    }

    fn read(metrics: &str) -> Self {
        let started = metrics.lines().find_map(|line| line.strip_prefix("process_start_time_seconds "));
        let instance = metrics.lines().find_map(|line| {
            let rest = line.strip_prefix("influxdb_uptime_seconds{id=\"")?;
            rest.split_once('"').map(|(id, _)| id)
        });
        Self { started: started.map(|s| s.trim().to_owned()), instance: instance.map(str::to_owned), version: None }
    }

    /// Whether the two are one process; `None`: they do not say enough.
    fn is(&self, other: &Self) -> Option<bool> {
        let both = |one: &Option<String>, other: &Option<String>| Some(one.as_ref()? == other.as_ref()?);
        if both(&self.version, &other.version) == Some(false) {
            return Some(false);
        }
        both(&self.instance, &other.instance).or_else(|| both(&self.started, &other.started))
    }
}

/// The addresses of a host name, or why there are none.
pub(in crate::cli) type Addresses = std::io::Result<BTreeSet<SocketAddr>>;

/// What is known of whether two servers are one, in words about the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Same {
    Yes(&'static str),
    No(&'static str),
    Unknown(&'static str),
}

/// What to do about it.
pub(in crate::cli) const SAME_FIX: &str = "the address of the new database in destination.url; or, where these are two servers that \
                                           began in the same hundredth of a second, restart one of them";

impl Same {
    /// By what the source and the destination say of themselves, and by where they are.
    pub(in crate::cli) fn of(marks: (&Mark, &Mark), addresses: (&Addresses, &Addresses)) -> Self {
        let shared = match addresses {
            (Ok(source), Ok(destination)) => Some(!source.is_disjoint(destination)),
            _ => None,
        };
        match (marks.0.is(marks.1), shared) {
            (Some(false), _) => Self::No("is another server than the source, as both say themselves"),
            (Some(true), _) => Self::Yes("is the source itself: both say that they are one process"),
            (None, Some(true)) => Self::Yes("is at the same address and port as the source"),
            (None, Some(false)) => Self::Unknown(
                "is at another address or port than the source; whether one server stands behind both cannot be told",
            ),
            (None, None) => Self::Unknown("cannot be compared with the source: a host name cannot be resolved"),
        }
    }
}

/// Whether source and destination are one server.
pub(super) fn same(destination: &Subject<'_>, marks: (&Mark, &Mark), addresses: (&Addresses, &Addresses)) -> Finding {
    let found = |state, text: &str| destination.found(Group::Same, state, Code::SAME_SERVER, text);
    match Same::of(marks, addresses) {
        Same::Yes(text) => found(State::Failed, text).fix(SAME_FIX),
        Same::No(text) => found(State::Ok, text),
        Same::Unknown(text) => found(State::Unknown, text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_on_every_address_is_reached_by_each_of_ours() {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        let ours = |ip: IpAddr| ip == IpAddr::from([10, 0, 0, 5]) || ip.is_loopback();
        assert!(reaches(at("10.0.0.5:8087"), at("0.0.0.0:8087"), ours));
        assert!(reaches(at("[::1]:8087"), at("[::]:8087"), ours));
        assert!(!reaches(at("10.0.0.6:8087"), at("0.0.0.0:8087"), ours), "another machine");
        assert!(!reaches(at("10.0.0.5:8086"), at("0.0.0.0:8087"), ours), "another port");
        assert!(!reaches(at("10.0.0.5:8087"), at("127.0.0.1:8087"), ours), "another address of ours");
        assert!(is_ours(IpAddr::from([127, 0, 0, 1])) && !is_ours(IpAddr::from([192, 0, 2, 1])));
    }

    #[test]
    fn servers_are_told_apart_by_what_they_say_and_not_told_where_they_say_nothing() {
        let one = Mark::read("# HELP x\nprocess_start_time_seconds 1.79526767274e+09\n");
        let other = Mark::read("process_start_time_seconds 1.79526767275e+09");
        let two = Mark::read("influxdb_uptime_seconds{id=\"11ab920811249000\"} 5.5");
        let later = Mark::read("influxdb_uptime_seconds{id=\"11ab920811249000\"} 6.5");
        assert_eq!((one.is(&one), one.is(&other), two.is(&later)), (Some(true), Some(false), Some(true)));
        assert_eq!((one.is(&two), Mark::default().is(&one)), (None, None));
        let version = |text: &str| Mark { version: Some(text.to_owned()), ..Mark::default() };
        assert_eq!(version("1.8.10").is(&version("v2.9.1")), Some(false));
        assert_eq!(version("1.8.10").is(&version("1.8.10")), None);
    }
}
