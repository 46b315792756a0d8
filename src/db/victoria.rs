//! What VictoriaMetrics says of itself.

use bytes::Bytes;
use http::Method;

use super::server::{Reply, Server};
use crate::base::Result;

/// A process of VictoriaMetrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
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
    let text = if reply.status.is_success() { String::from_utf8_lossy(&reply.body) } else { "".into() };
    Ok(read(&text))
}

fn read(metrics: &str) -> About {
    let version = metrics.lines().find(|line| line.starts_with("vm_app_version{")).and_then(|line| {
        let rest = line.split_once("short_version=\"")?.1;
        Some(rest.split_once('"')?.0.to_owned())
    });
    let started = metrics.lines().find_map(|line| line.strip_prefix("vm_app_start_timestamp "));
    About {
        version: version.filter(|version| !version.is_empty()).unwrap_or_else(|| "unknown".to_owned()),
        started_s: started.and_then(|text| text.trim().parse().ok()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_and_start_are_found_among_all_its_metrics() {
        let text = "vm_a 1\nvm_app_version{version=\"victoria-metrics-v1.150.0\", short_version=\"v1.150.0\"} 1\n\
                    vm_app_start_timestamp 1796026450\n";
        assert_eq!(read(text), About { version: "v1.150.0".to_owned(), started_s: Some(1_796_026_450) });
        assert_eq!(read("<html>"), About { version: "unknown".to_owned(), started_s: None });
    }
}
