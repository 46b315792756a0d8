//! What VictoriaMetrics says of itself.

use std::time::Duration;

use bytes::Bytes;
use http::Method;

use super::server::{Reply, Server};
use crate::base::{Error, Kind, Result, Side};

/// What it has acknowledged so long before is on its disk. Source: 1.150.0 keeps what is older than its flush of 5 s; killed, it had lost
/// points 8 s old and none of 12 s.
pub const ON_DISK_AFTER: Duration = Duration::from_secs(15);
const DAY_MS: i64 = 86_400_000;
/// How far ahead it keeps at least.
const AHEAD_MS: i64 = 2 * DAY_MS;

/// Which times it keeps: points of others it takes and drops, without a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keeps {
    /// So far back, ms.
    pub past_ms: i64,
    /// So far ahead, ms.
    pub ahead_ms: i64,
}

impl Default for Keeps {
    /// Where it does not say: how far back is not known then.
    fn default() -> Self {
        Self { past_ms: i64::MAX, ahead_ms: AHEAD_MS }
    }
}

/// A process of VictoriaMetrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// By `-retentionPeriod` and `-futureRetention`.
    pub keeps: Keeps,
    /// As `v1.150.0`; `unknown` where it does not say.
    pub version: String,
    /// When it began, seconds since 1970. `None` where its metrics are not to be had, as behind a gateway.
    pub started_s: Option<u64>,
}

/// Whether this is its answer to `/ping`: that names no version, and the machine.
#[must_use]
pub fn is_its_ping(reply: &Reply) -> bool {
    reply.status.is_success()
        && !reply.headers.contains_key("x-influxdb-version")
        && reply.headers.contains_key("x-server-hostname")
}

/// Asks for version and age.
///
/// # Errors
/// As [`Server::ask`].
pub async fn about(server: &Server) -> Result<About> {
    let reply = server.ask(Method::GET, "/metrics", Bytes::new()).await?;
    if reply.status.is_server_error() && !answers(server).await {
        // A gateway says so of one that is away; but it may as well keep its metrics from us.
        let said = format!("/metrics answered {}", reply.status.as_u16());
        return Err(Error::new(Kind::Answer, Side::Destination, said).retryable());
    }
    let text = if reply.status.is_success() { String::from_utf8_lossy(&reply.body) } else { "".into() };
    Ok(read(&text))
}

/// Whether anybody but a gateway answers.
async fn answers(server: &Server) -> bool {
    server.ask(Method::GET, "/ping", Bytes::new()).await.is_ok_and(|reply| !reply.status.is_server_error())
}

fn read(metrics: &str) -> About {
    let version = metrics.lines().find(|line| line.starts_with("vm_app_version{")).and_then(|line| {
        let rest = line.split_once("short_version=\"")?.1;
        Some(rest.split_once('"')?.0.to_owned())
    });
    let started = metrics.lines().find_map(|line| line.strip_prefix("vm_app_start_timestamp "));
    let flag = |name: &str| {
        let begin = format!("flag{{name=\"{name}\", value=\"");
        let rest = metrics.lines().find_map(|line| line.strip_prefix(&begin))?;
        span_ms(rest.split_once('"')?.0)
    };
    let known = Keeps::default();
    About {
        keeps: Keeps {
            past_ms: flag("retentionPeriod").unwrap_or(known.past_ms),
            // Less than two days it does not take.
            ahead_ms: flag("futureRetention").map_or(known.ahead_ms, |ms| ms.max(AHEAD_MS)),
        },
        version: version.filter(|version| !version.is_empty()).unwrap_or_else(|| "unknown".to_owned()),
        started_s: started.and_then(|text| text.trim().parse().ok()),
    }
}

/// As its flags are written: a number of months, or with a unit.
fn span_ms(text: &str) -> Option<i64> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 = text[..digits].parse().ok()?;
    let days = match &text[digits..] {
        "" | "M" => 31.0,
        "s" => 1.0 / 86_400.0,
        "h" => 1.0 / 24.0,
        "d" => 1.0,
        "w" => 7.0,
        "y" => 365.0,
        _ => return None,
    };
    Some((number * days * DAY_MS as f64) as i64)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn what_it_keeps_is_found_in_its_flags() {
        let of = |past: &str, ahead: &str| {
            let flag = |name, value| format!("flag{{name=\"{name}\", value=\"{value}\", is_set=\"true\"}} 1\n");
            let keeps = read(&(flag("retentionPeriod", past) + &flag("futureRetention", ahead))).keeps;
            (keeps.past_ms, keeps.ahead_ms)
        };
        assert_eq!(of("100y", "2d"), (36_500 * DAY_MS, 2 * DAY_MS));
        assert_eq!(of("1", "1h"), (31 * DAY_MS, 2 * DAY_MS));
        assert_eq!(of("36h", "1.5w"), (DAY_MS + DAY_MS / 2, 907_200_000));
        assert_eq!(of("odd", "3000000000000y"), (i64::MAX, i64::MAX));
        assert_eq!(read("").keeps, Keeps::default());
    }

    #[test]
    fn version_and_start_are_found_among_all_its_metrics() {
        let text = "vm_a 1\nvm_app_version{version=\"victoria-metrics-v1.150.0\", short_version=\"v1.150.0\"} 1\n\
                    vm_app_start_timestamp 1796026450\n";
        assert_eq!(
            read(text),
            About { version: "v1.150.0".to_owned(), started_s: Some(1_796_026_450), keeps: Keeps::default() }
        );
        assert_eq!(read("<html>"), About { version: "unknown".to_owned(), started_s: None, keeps: Keeps::default() });
    }

    /// A gateway that answers each path with a status of its own, without a body.
    async fn gateway(metrics: u16, ping: u16) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::task::spawn_local(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = [0; 4096];
                let got = stream.read(&mut head).await.unwrap();
                let status = if head[..got].starts_with(b"GET /metrics") { metrics } else { ping };
                let answer = format!("HTTP/1.1 {status} x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        let text = format!(
            "listen = \"127.0.0.1:0\"\n[source]\nurl = \"http://x:1\"\n[destination]\nkind = \"victoriametrics\"\nurl = \"{url}\""
        );
        let config = crate::config::parse(&text, &|_| None).unwrap().config;
        Server::new(&config.destination().server, Side::Destination).unwrap()
    }

    #[test]
    fn a_gateway_that_keeps_the_metrics_to_itself_is_no_absence() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let about = about(&gateway(503, 204).await).await.unwrap();
            assert_eq!((about.started_s, &*about.version), (None, "unknown"));
            assert!(super::about(&gateway(503, 502).await).await.is_err(), "nobody is there");
            assert!(super::about(&gateway(404, 502).await).await.is_ok_and(|about| about.started_s.is_none()));
        });
    }
}
