//! Writes lines to the destination and says of each what became of it.
//!
//! Promise: a line counts as stored only when the destination acknowledged a request with it.

use std::time::Duration;

use bytes::Bytes;

use super::Stay;
use crate::backfill::post::{Posted, post};
use crate::base::Kind;
use crate::cli::exit::{Exit, Failure};
use crate::db::answer::{Action, Limit, Verdict};
use crate::db::product::{Ack, Product};
use crate::db::server::Server;
use crate::db::victoria;
use crate::delivery::write_path;
use crate::route::Target;

/// Lines of one request.
const LINES_MAX: usize = 1000;
/// So often something is tried that the destination asks to be tried again.
const TRIES: u32 = 5;
/// The first wait before that; each further one is twice as long.
const WAIT: Duration = Duration::from_millis(250);
/// The longest.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// The destination, as we write to it.
#[derive(Debug)]
pub(super) struct Destination {
    pub(super) server: Server,
    pub(super) product: Product,
    /// Bytes of one request.
    pub(super) bytes_max: usize,
    /// When its process began, where it says yes before it keeps and that can be known.
    pub(super) began_s: Option<u64>,
}

/// What became of a line: stored, or not with the reason.
pub(super) type Sent = Result<(), Stay>;

/// What became of a request.
enum Ended {
    Stored,
    /// Some line of it is refused.
    Refused(Stay),
    /// All of it stays, for now.
    Stays(Stay),
}

impl Destination {
    /// Writes lines of one target, each in a request with others where that is taken.
    ///
    /// # Errors
    /// The destination takes nothing now: what was not sent is as it was.
    pub(super) async fn write(&self, target: &Target, lines: &[&[u8]]) -> Result<Vec<Sent>, Failure> {
        let path = format!("{}{}", self.server.prefix(), write_path(self.product, target));
        let mut sent = Vec::with_capacity(lines.len());
        while sent.len() < lines.len() {
            let rest = &lines[sent.len()..];
            let mut bytes = 0;
            let fits = rest.iter().take(LINES_MAX).take_while(|line| {
                bytes += line.len() + 1;
                bytes <= self.bytes_max
            });
            let count = fits.count().max(1);
            match self.request(&path, &rest[..count]).await? {
                Ended::Stored => sent.extend((0..count).map(|_| Ok(()))),
                Ended::Stays(why) => sent.extend((0..count).map(|_| Err(why.clone()))),
                Ended::Refused(why) if count == 1 => sent.push(Err(why)),
                Ended::Refused(_) => {
                    for line in &rest[..count] {
                        sent.push(match self.request(&path, &[line]).await? {
                            Ended::Stored => Ok(()),
                            Ended::Refused(why) | Ended::Stays(why) => Err(why),
                        });
                    }
                }
            }
        }
        Ok(sent)
    }

    /// Waits until what it has acknowledged is on its disk, where it says yes before.
    ///
    /// # Errors
    /// Another process answers instead, or none: what the one before acknowledged may be lost.
    pub(super) async fn keeps(&self) -> Result<(), Failure> {
        if self.product.capabilities().ack == Ack::Durable {
            return Ok(());
        }
        tokio::time::sleep(victoria::ON_DISK_AFTER).await;
        let began_s = victoria::about(&self.server).await?.started_s;
        if self.began_s.is_none() || began_s == self.began_s {
            return Ok(());
        }
        let what = "the destination has begun anew: what it had acknowledged just before may be lost, and no letter of it is gone";
        Err(Failure::new(Exit::Unreachable, what).hint("the same command again"))
    }

    async fn request(&self, path: &str, lines: &[&[u8]]) -> Result<Ended, Failure> {
        let mut body = Vec::new();
        for line in lines {
            body.extend_from_slice(line.strip_suffix(b"\n").unwrap_or(line));
            body.push(b'\n');
        }
        let (body, mut wait) = (Bytes::from(body), WAIT);
        for _ in 0..TRIES {
            let verdict = self.once(path, body.clone()).await?;
            let after = match verdict.action {
                Action::Acknowledge => return Ok(Ended::Stored),
                Action::Pause(Limit::Destination) => return Err(self.takes_nothing(&verdict)),
                Action::Pause(Limit::Route) => return Ok(Ended::Stays(stay(&verdict))),
                Action::Split | Action::Quoted { .. } | Action::Numbered { .. } | Action::Bisect { .. } => {
                    return Ok(Ended::Refused(stay(&verdict)));
                }
                // It may still take effect: only the source's value of later says whether that did harm.
                _ if verdict.open => return Err(self.takes_nothing(&verdict)),
                Action::Retry { after_s } => after_s.map_or(wait, Duration::from_secs),
                Action::Again | Action::Shrink | Action::Plain { .. } => wait,
            };
            tokio::time::sleep(after.min(WAIT_MAX)).await;
            wait *= 2;
        }
        let what = format!("the destination asked {TRIES} times to be tried again");
        Err(Failure::new(Exit::Unreachable, what).hint("the same command again, later"))
    }

    async fn once(&self, path: &str, body: Bytes) -> Result<Verdict, Failure> {
        match post(&self.server, self.product, path, body).await? {
            Posted::Answered(verdict) => Ok(verdict),
            Posted::Unanswered(error) if error.kind() == Kind::Timeout => Err(Failure::new(
                Exit::Unreachable,
                "the destination does not answer in time",
            )
            .hint(
                "the same command again: what it may still write of the last request is compared with the source then",
            )),
            Posted::NotSent(error) | Posted::Unanswered(error) => Err(Failure::from(error)),
        }
    }

    fn takes_nothing(&self, verdict: &Verdict) -> Failure {
        let exit = if matches!(verdict.status, 401 | 403) { Exit::Auth } else { Exit::Unreachable };
        let what = format!("the destination takes nothing now ({}): {}", verdict.code, verdict.reason());
        Failure::new(exit, what).hint("twinline check")
    }
}

fn stay(verdict: &Verdict) -> Stay {
    Stay::new(verdict.code, verdict.reason())
}
