//! Copies beside live writes: orders to the twinline that runs, and looks at what it does.
//!
//! Promise: the copy is its own, not that of the command: whatever ends the command, the copy goes on.

use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::pair::{Pair, products, runtime};
use super::shown::Shown;
use super::{StartArgs, plan, status};
use crate::backfill::desk::{Done, Order};
use crate::backfill::progress::View;
use crate::base::{Clock as _, SystemClock};
use crate::cli::Global;
use crate::cli::exit::{Exit, Failure};
use crate::cli::queue::place::understood;
use crate::cli::queue::stop::Stop;
use crate::cli::status::send;
use crate::config::Config;
use crate::control::{BackfillNow, OrderDocument};
use crate::state::JobState;

/// How often `--wait` looks.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Whether a twinline runs with this configuration.
pub(super) fn runs(config: &Config) -> bool {
    UnixStream::connect(&config.unix_socket).is_ok()
}

fn path(config: &Config) -> String {
    format!("/api/v1/backfill?destination={}", config.destination().id)
}

/// What the running twinline does now.
pub(super) fn view(config: &Config) -> Result<View, Failure> {
    let now: BackfillNow = understood(&send(&config.unix_socket, "GET", &path(config), b"")?)?;
    Ok(now.view)
}

/// Gives an order; `None`: it is still being carried out.
fn give(config: &Config, order: &Order) -> Result<Option<Done>, Failure> {
    let body = serde_json::to_vec(order).map_err(|e| Failure::new(Exit::Failed, e.to_string()))?;
    let document: OrderDocument = understood(&send(&config.unix_socket, "POST", &path(config), &body)?)?;
    match document.why {
        None => Ok(document.done),
        Some(why) => {
            let failure = Failure::new(Exit::Refused, why);
            Err(match document.hint {
                Some(hint) => failure.hint(hint),
                None => failure,
            })
        }
    }
}

/// One order of an operator.
pub(super) fn order(global: &Global, config: &Config, order: &Order) -> Result<Exit, Failure> {
    let talk = global.talk();
    let text = give(config, order)?.map_or_else(
        || "accepted; it is carried out when what is under way has come to its end".to_owned(),
        |done| done.text,
    );
    if talk.json() {
        talk.document(&serde_json::json!({ "schema": "twinline.backfill.ordered/1", "text": text }))?;
    } else {
        talk.data(&format!("{text}\n"))?;
    }
    talk.next("twinline backfill status");
    Ok(Exit::Success)
}

pub(super) fn begin(global: &Global, config: &Config, args: &StartArgs) -> Result<Exit, Failure> {
    args.go.beside_twinline()?;
    if !runs(config) {
        let what = format!("no twinline runs on {}", config.data_dir.display());
        return Err(Failure::new(Exit::Unreachable, what)
            .hint("twinline run; where no twinline stands in front of the source: twinline backfill start --offline"));
    }
    // Live writes are there already: a region is held while it is copied, so nothing newer is overwritten.
    let scope = args.scope.read(true)?;
    let products = products(config)?;
    runtime()?.block_on(async {
        let pair = Pair::find(config, products, &scope).await?;
        plan::ready(global.talk(), &pair, config, &scope, &pair.reader(config)?).await?;
        pair.some()
    })?;
    let scope = serde_json::to_string(&scope).map_err(|e| Failure::new(Exit::Failed, e.to_string()))?;
    if !args.wait {
        return order(global, config, &Order::Start { scope });
    }
    let (stop, before) = (Stop::listen()?, status::last(config)?.map_or(0, |(job, _)| job.id));
    if let Some(done) = give(config, &Order::Start { scope })? {
        global.talk().say(&done.text);
    }
    wait(global, config, (&stop, before))
}

/// Shows how far the job behind that number is, until its end.
fn wait(global: &Global, config: &Config, (stop, before): (&Stop, i64)) -> Result<Exit, Failure> {
    let (talk, clock) = (global.talk(), SystemClock::new());
    let mut shown = Shown::new(talk, clock.monotonic());
    let (_keep, never) = std::sync::mpsc::channel::<()>();
    loop {
        // Until its order is carried out the last one is another.
        let job = status::last(config)?.map(|(job, _)| job).filter(|job| job.id > before);
        let exit = job.and_then(|job| match job.state {
            JobState::Running => None,
            JobState::Stopped => Some(Exit::No),
            JobState::Done => Some(Exit::Success),
            JobState::Partial => Some(Exit::Partly),
            JobState::Cancelled => Some(Exit::Refused),
        });
        if let Some(exit) = exit {
            Shown::clear(talk);
            status::run(global, config, false)?;
            return Ok(exit);
        }
        if let Some(exit) = stop.asked() {
            Shown::clear(talk);
            talk.say("the copy goes on inside the running twinline");
            talk.next("twinline backfill status --watch, or twinline backfill pause");
            return Ok(exit);
        }
        shown.show(&view(config)?, clock.monotonic());
        // A plain wait: nobody ever sends.
        let _ = never.recv_timeout(LOOK_EVERY);
    }
}
