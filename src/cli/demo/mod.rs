//! `twinline demo`: a mirror from its start, with history that is copied beside it, over an outage and a crash to the proof that
//! nothing is missing.
//!
//! Two small databases live in this process; Twinline is the real daemon in a process of its own. Nothing is left behind:
//! no process, and no directory unless it shows what went wrong.

mod changes;
mod copying;
mod history;
mod proof;
mod proxy;
mod record;
mod report;
mod screen;
mod stage;
mod story;
mod writer;

use std::rc::Rc;
use std::time::Duration;

use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Global;
use super::exit::{Exit, Failure};
use super::talk::Talk;
use crate::base::{Error, SystemClock};
use proxy::Proxy;
use report::Report;
use screen::Screen;
use stage::{Directory, Stage};
use story::{LINES_MAX, Story};

/// More than the clients can write, and history with all points that can come late; only a bound.
const VALUES_MAX: u64 = (LINES_MAX + history::POINTS_MAX) * record::FIELDS * 2;

/// Options of `demo`.
#[derive(Clone, Debug, Args)]
pub(super) struct DemoArgs {
    /// How long the clients' story takes, 5 to 3600 seconds; draining and comparison come on top
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u16).range(5..=3600))]
    seconds: u16,
    /// Leave the databases and Twinline running in the end, until Ctrl-C
    #[arg(long)]
    keep: bool,
}

pub(super) fn run(global: &Global, args: &DemoArgs) -> Result<Exit, Failure> {
    // Fails only when it was done before, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| Error::disk("cannot start the event loop", e))?;
    tokio::task::LocalSet::new().block_on(&runtime, demo(global.talk(), args))
}

async fn demo(talk: Talk, args: &DemoArgs) -> Result<Exit, Failure> {
    let mut signals = Signals::listen()?;
    let mut directory = Directory::create()?;
    let stage = Stage::build(VALUES_MAX)?;
    let proxy = Proxy::new(directory.path(), &stage.configuration(directory.path()))?;
    let screen = Rc::new(Screen::new(talk));
    let total = Duration::from_secs(args.seconds.into());
    screen.tell("Twinline demo: two small databases on this machine, and Twinline between them.");
    screen.tell("");
    let mut story = Story::new(stage, proxy, Rc::clone(&screen), SystemClock::shared(), total)?;

    let ended = tokio::select! {
        exit = signals.next() => Ok(exit),
        ended = whole(talk, &mut story, args.keep) => ended,
    };
    screen.clear();
    let ended = match ended {
        Ok(Exit::Success) if args.keep => {
            signals.next().await;
            Ok(Exit::Success)
        }
        other => other,
    };
    story.proxy.stop().await;
    let tail = story.proxy.log_tail();
    match &ended {
        Err(_) | Ok(Exit::No) => {
            directory.keep();
            talk.say(&format!(
                "The end of Twinline's log:\n{tail}\nAll of it is kept in {}",
                directory.path().display()
            ));
        }
        Ok(Exit::Success) => talk.next("twinline init, for your own databases"),
        Ok(_) => {}
    }
    ended
}

/// The story, the comparison and the report.
async fn whole(talk: Talk, story: &mut Story, keep: bool) -> Result<Exit, Failure> {
    let told = story.play().await?;
    let proof =
        proof::prove(&story.stage, (&told.records, &told.history), &story.direction, VALUES_MAX as usize).await?;
    let report = Report::new(story, &told, proof);
    story.screen.clear();
    if talk.json() {
        talk.document(&serde_json::to_value(&report).unwrap_or_default())?;
    } else {
        talk.data(&report.text(talk))?;
    }
    if keep {
        say_addresses(talk, &report);
    }
    Ok(if report.good() { Exit::Success } else { Exit::No })
}

fn say_addresses(talk: Talk, report: &Report) {
    let at = report.addresses();
    talk.say(&format!(
        "\n  Everything still runs; Ctrl-C ends it.\n\n\
         \x20 Write to Twinline, then ask the source, then the destination:\n\
         \x20   curl -i '{}/write?db=demo' -d 'room degrees=21.5'\n\
         \x20   curl '{}/query?db=demo' -d 'q=SELECT * FROM room'\n\
         \x20   curl '{}/query?db=demo' -d 'q=SELECT * FROM room'\n\
         \x20 Look at Twinline itself:\n\
         \x20   curl {}/metrics\n\
         \x20   twinline status --watch -c {}",
        at.clients, at.source, at.destination, at.admin, at.config
    ));
}

/// What ends us.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    fn listen() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).map_err(|e| Error::disk("cannot listen for signals", e));
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Exit {
        tokio::select! {
            _ = self.interrupt.recv() => Exit::Interrupted,
            _ = self.terminate.recv() => Exit::Terminated,
            _ = self.hangup.recv() => Exit::Terminated,
        }
    }
}
