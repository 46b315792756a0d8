//! `limits`: what the databases take in one body, and the memory that the settings allow.
//!
//! A body's limit is asked for with a head that announces a body and waits for leave to send it (`Expect: 100-continue`);
//! the body is never sent, so nothing is written.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::finding::{About, Code, Finding, Group, State};
use super::subject::Subject;
use crate::base::size::ByteSize;
use crate::config::{Config, memory_parts};
use crate::db::product::Product;
use crate::delivery::write_path;
use crate::route::Target;

/// Longer takes no server to say yes or no to a head.
const ANSWER_WAIT: Duration = Duration::from_secs(3);

/// Whether a server would take a body of so many bytes; `Err`: it cannot be learnt, and why.
async fn takes(subject: &Subject<'_>, target: &Target, bytes: u64) -> Result<bool, String> {
    let url = &subject.config.url;
    if url.https {
        return Err("it is not asked through TLS".to_owned());
    }
    let authorization = subject.server.authorization().and_then(|value| value.to_str().ok());
    let authorization = authorization.map_or(String::new(), |value| format!("Authorization: {value}\r\n"));
    let head = format!(
        "POST {}{} HTTP/1.1\r\nHost: {}\r\n{authorization}Expect: 100-continue\r\nContent-Length: {bytes}\r\n\r\n",
        subject.server.prefix(),
        write_path(Product::Influx2, target),
        url.authority(),
    );
    let asking = async {
        let mut stream = TcpStream::connect((url.host.as_str(), url.port)).await?;
        stream.write_all(head.as_bytes()).await?;
        let mut begin = [0; 12];
        stream.read_exact(&mut begin).await?;
        Ok::<_, std::io::Error>(begin)
    };
    let begin = tokio::time::timeout(ANSWER_WAIT, asking).await;
    let begin = begin.map_err(|_| "it does not answer such a head".to_owned())?.map_err(|e| e.to_string())?;
    match &begin[9..] {
        b"100" => Ok(true),
        b"413" => Ok(false),
        status => Err(format!("it answers {}", String::from_utf8_lossy(status))),
    }
}

/// Whether the source takes more than we do. `target`: some place that it has.
pub(super) async fn body(source: &Subject<'_>, config: &Config, target: &Target) -> Finding {
    let ours = config.limits.max_body;
    let found = |state, text: String| source.found(Group::Limits, state, Code::BODY_LIMIT, text);
    match takes(source, target, ours.0.saturating_add(1)).await {
        Ok(false) => {
            found(State::Ok, format!("takes no larger bodies than limits.max_body, {ours}: its own limit counts"))
        }
        Ok(true) => {
            let text = format!(
                "takes bodies above limits.max_body, {ours}: clients that send such bodies hear 413 from twinline"
            );
            found(State::Ok, text)
        }
        Err(why) => found(State::Unknown, format!("its largest body is not known: {why}")),
    }
}

/// Whether the destination takes our batches.
pub(super) async fn batch(destination: &Subject<'_>, config: &Config, target: &Target) -> Finding {
    let ours = config.destination().delivery.batch_bytes;
    let found = |state, text: String| destination.found(Group::Limits, state, Code::BATCH_LIMIT, text);
    match takes(destination, target, ours.0).await {
        Ok(true) => found(State::Ok, format!("takes batches of {ours} (delivery.batch_bytes)")),
        Ok(false) => {
            let text = format!(
                "refuses batches of {ours} (delivery.batch_bytes) as too large: each would be halved until it fits"
            );
            let half = ByteSize(ours.0 / 2);
            found(State::Warning, text)
                .fix(format!("batch_bytes = \"{half}\" or less in [destination.delivery], or raise its max-body-size"))
        }
        Err(why) => found(State::Unknown, format!("its largest batch is not known: {why}")),
    }
}

/// What the settings may take together. Above the limit the configuration is refused before this.
pub(super) fn memory(config: &Config) -> Finding {
    let sum = ByteSize(memory_parts(config).iter().fold(0, |sum, part| part.size.0.saturating_add(sum)));
    let text = format!("all budgets together are {sum} of limits.memory {}", config.limits.memory);
    Finding::new(Group::Limits, About::Queue, State::Ok, Code::MEMORY, text)
}
