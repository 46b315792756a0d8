//! Stretch by stretch: formed, written, noted.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use indicatif::ProgressBar;
use tokio::time::Instant;

use super::checkpoint::{Checkpoint, key};
use super::context::Places;
use super::form::{Former, Route, write};
use super::late::Late;
use super::options::{ImportArgs, unit};
use super::progress::bar;
use super::read::{self, Order, Stretch};
use super::rejects::{Rejected, Rejects};
use super::send::{Destination, Ready, Refusal};
use super::source::{Identity, Source};
use crate::backfill::files::{Format, Options};
use crate::backfill::form::{Formed, Stay};
use crate::base::clock::SystemClock;
use crate::base::{Error, Side};
use crate::cli::exit::{Exit, Failure};
use crate::cli::queue::stop::Stop;
use crate::cli::run::{target_kind, writing};
use crate::cli::talk::Talk;
use crate::config::Config;
use crate::db::product::{Ack, Product};
use crate::db::server::Server;
use crate::db::victoria;
use crate::line::Precision;
use crate::line::project::Changes;

const STOP_LOOK: Duration = Duration::from_millis(50);
/// Requests that are under way may end for so long after a Ctrl-C.
const STOP_GRACE: Duration = Duration::from_secs(5);
/// Lines that a dry run shows.
const SAMPLE: usize = 5;
/// Where a yes comes before the disk, a checkpoint is remembered so often.
const REMEMBER_EVERY: Duration = Duration::from_secs(1);

/// A file of the command.
#[derive(Debug)]
pub(super) struct File {
    pub(super) name: String,
    pub(super) path: String,
    identity: Identity,
}

/// All that an import works with.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) files: Vec<File>,
    pub(super) checkpoint: Checkpoint,
    pub(super) rejects: Rejects,
    pub(super) talk: Talk,
    pub(super) is_dry: bool,
    /// The first lines that a dry run would write.
    pub(super) sample: Vec<String>,
    pub(super) changes: Changes,
    pub(super) destination: String,
    stop: Stop,
    places: Places,
    former: Former,
    to: Destination,
    late: Late,
    order: (Option<Format>, Options),
    /// The first stretch may have been under way when the import before this one died.
    repeats: bool,
    /// When its process began, where a yes comes before the disk; and checkpoints that are not on disk yet.
    began_s: Option<u64>,
    waiting: VecDeque<(Instant, Checkpoint)>,
    /// Requests were left under way.
    is_unsure: bool,
}

/// What a stretch becomes.
struct Shaped {
    ready: Vec<Ready>,
    refused: Vec<Refusal>,
    excluded: u64,
    nothing: u64,
    changes: Changes,
}

impl Work {
    pub(super) async fn new(
        config: &Config,
        args: &ImportArgs,
        (checkpoint, rejects): (Checkpoint, Rejects),
        (talk, stop): (Talk, Stop),
    ) -> Result<Self, Failure> {
        let server = Server::new(&config.destination().server, Side::Destination)?;
        let (product, about) = meet(config, &server).await?;
        let now_ns = SystemClock::shared().wall_ns();
        let delivery = &config.destination().delivery;
        let to = Destination {
            server,
            product,
            packs: config.destination().gzip(),
            bytes_max: delivery.batch_bytes.as_usize(),
            lines_max: delivery.batch_lines,
            requests_max: delivery.lanes,
            pause: delivery.retry_initial,
            pause_max: delivery.retry_max,
            doubt: Rc::default(),
        };
        let options = Options { precision: args.precision, untimed_ns: args.untimed.map(|_| now_ns), from: 0 };
        let writing = writing(config, product, about.keeps).at(now_ns);
        let mut late = Late::new(delivery.late_write_max);
        if let Some(rest) = u64::try_from(checkpoint.unsure_until_ns - now_ns).ok().filter(|_| checkpoint.goes_on()) {
            late.inherit(Duration::from_nanos(rest));
        }
        Ok(Self {
            files: Vec::new(),
            repeats: checkpoint.goes_on() && !checkpoint.is_clean,
            changes: Changes::stored(&checkpoint.counts.changes),
            checkpoint,
            rejects,
            talk,
            is_dry: args.dry_run,
            sample: Vec::new(),
            destination: config.destination().id.to_string(),
            stop,
            places: Places::new(args, config),
            former: Former::new(config.mapping.clone(), target_kind(config, product), writing, product),
            to,
            late,
            order: (args.format.map(Format::from), options),
            began_s: about.started_s,
            waiting: VecDeque::new(),
            is_unsure: false,
        })
    }

    /// Reads and writes all files; the code to end with where somebody asked to stop.
    pub(super) async fn all(&mut self, sources: Vec<Source>) -> Result<Option<Exit>, Failure> {
        let progress = bar(self.talk, &sources);
        let mut todo = Vec::new();
        for (number, source) in sources.into_iter().enumerate() {
            let file = File { name: source.name.clone(), path: key(&source), identity: source.identity.clone() };
            self.files.push(file);
            if let Some(from) = self.checkpoint.from(&source) {
                todo.push((number, source, from));
            }
        }
        if !self.is_dry {
            self.checkpoint.save(false, false)?;
        }
        let (format, options) = self.order;
        let mut stretches =
            read::start(Order { files: todo, format, options }).map_err(|e| Error::disk("cannot start a thread", e))?;
        loop {
            let next = tokio::select! {
                next = stretches.recv() => next,
                () = asked(&self.stop) => None,
            };
            if let Some(exit) = self.stop.asked() {
                self.finish(false).await?;
                return Ok(Some(exit));
            }
            let Some(stretch) = next else { break };
            self.stretch(stretch, &progress).await?;
        }
        self.finish(true).await?;
        Ok(None)
    }

    async fn stretch(&mut self, stretch: Stretch, progress: &ProgressBar) -> Result<(), Failure> {
        let mut shaped = self.shape(&stretch)?;
        let ready = std::mem::take(&mut shaped.ready);
        let sent: Vec<(usize, Rc<Route>)> = ready.iter().map(|one| (one.number, Rc::clone(&one.route))).collect();
        let mut refused = if self.is_dry {
            let rest = SAMPLE.saturating_sub(self.sample.len());
            let shown =
                ready.iter().take(rest).map(|one| String::from_utf8_lossy(one.text.trim_ascii_end()).into_owned());
            self.sample.extend(shown);
            Vec::new()
        } else {
            match self.send(&stretch, ready).await? {
                Some(refused) => refused,
                // Somebody asked to stop, and it did not end in time: it is written again.
                None => return Ok(()),
            }
        };
        let counts = &mut self.checkpoint.counts;
        // Both are in order.
        let mut left = refused.iter().map(|one| one.number).peekable();
        for (number, route) in sent {
            if left.next_if_eq(&number).is_none() {
                counts.points += 1;
                *counts.place(&route.name) += 1;
            }
        }
        refused.append(&mut shaped.refused);
        refused.sort_by_key(|one| one.number);
        counts.lines += stretch.lines;
        counts.malformed += stretch.faults.len() as u64;
        counts.refused += refused.len() as u64;
        counts.excluded += shaped.excluded;
        counts.nothing += shaped.nothing;
        counts.replaced += stretch.replaced;
        self.changes.add_all(&shaped.changes);
        counts.changes = self.changes.counts().to_vec();
        self.reject(&stretch, &refused);
        self.note(&stretch).await?;
        progress.set_position(stretch.read);
        progress.set_message(format!("{} points written", self.checkpoint.counts.points));
        Ok(())
    }

    /// Points in the destination's form, and those that have none.
    fn shape(&mut self, stretch: &Stretch) -> Result<Shaped, Failure> {
        let (ready, refused) = (Vec::with_capacity(stretch.points.len()), Vec::new());
        let mut shaped = Shaped { ready, refused, excluded: 0, nothing: 0, changes: Changes::default() };
        for (number, one) in stretch.points.iter().enumerate() {
            let name = self.places.of(one.context.as_deref()).ok_or_else(|| {
                let name = &self.files[stretch.file].name;
                let what =
                    format!("{name}:{}: nothing says to which database or bucket this line belongs", one.at.line);
                Failure::new(Exit::Usage, what).hint("--db NAME [--rp NAME], or --bucket NAME: its place at the source")
            })?;
            let Some(route) = self.former.route(&name)? else {
                shaped.excluded += 1;
                continue;
            };
            match self.former.form(&route, &one.point, &mut shaped.changes) {
                Formed::Line(text) => shaped.ready.push(Ready { number, route, text }),
                Formed::Excluded => shaped.excluded += 1,
                Formed::Nothing => shaped.nothing += 1,
                Formed::Partly(text, left) => {
                    shaped.ready.push(Ready { number, route, text });
                    let Stay { code, why: reason } = left.why;
                    shaped.refused.push(Refusal { number, code, reason, text: Some(left.text) });
                }
                Formed::Refused(Stay { code, why: reason }) => {
                    shaped.refused.push(Refusal { number, code, reason, text: None });
                }
            }
        }
        Ok(shaped)
    }

    /// Writes a stretch; `None`: somebody asked to stop, and it is not known what is stored.
    async fn send(&mut self, stretch: &Stretch, ready: Vec<Ready>) -> Result<Option<Vec<Refusal>>, Failure> {
        if let Some(until) = self.late.wait(&stretch.points) {
            tokio::select! {
                () = tokio::time::sleep_until(until) => {}
                () = asked(&self.stop) => return Ok(None),
            }
        }
        let to = self.to.clone();
        let write = to.write(ready);
        tokio::pin!(write);
        let done = tokio::select! {
            done = &mut write => Some(done),
            () = asked(&self.stop) => tokio::time::timeout(STOP_GRACE, &mut write).await.ok(),
        };
        let repeats = std::mem::take(&mut self.repeats);
        self.is_unsure |= done.is_none();
        if self.to.doubt.take() || repeats {
            self.late.note(&stretch.points);
        }
        done.transpose()
    }

    fn reject(&mut self, stretch: &Stretch, refused: &[Refusal]) {
        let name = &self.files[stretch.file].name;
        let precision = self.order.1.precision;
        for (fault, context) in &stretch.faults {
            let unit = (context.is_none() && precision != Precision::Nanosecond).then(|| unit(precision));
            self.rejects.add(&Rejected {
                name,
                at: fault.at,
                code: fault.code,
                reason: &fault.reason,
                mend: fault.mend,
                context: context.as_ref(),
                is_row: fault.raw.starts_with(b","),
                text: &fault.raw,
                unit,
            });
        }
        let mut text = Vec::new();
        for one in refused {
            let point = &stretch.points[one.number];
            text.clear();
            match &one.text {
                Some(cells) => text.extend_from_slice(cells),
                None => write(&point.point, &mut text),
            }
            self.rejects.add(&Rejected {
                name,
                at: point.at,
                code: one.code,
                reason: &one.reason,
                mend: "",
                context: point.context.as_ref(),
                is_row: false,
                text: text.trim_ascii_end(),
                unit: None,
            });
        }
    }

    /// The stretch is done.
    async fn note(&mut self, stretch: &Stretch) -> Result<(), Failure> {
        let file = &self.files[stretch.file];
        self.checkpoint.note((&file.path, &file.identity), stretch);
        if self.is_dry {
            return Ok(());
        }
        self.rejects.keep()?;
        if self.to.product.capabilities().ack == Ack::Durable {
            return self.save(false, false);
        }
        let now = Instant::now();
        if self.waiting.back().is_none_or(|(at, _)| now - *at >= REMEMBER_EVERY) {
            self.waiting.push_back((now, self.checkpoint.clone()));
        }
        let ripe = self.waiting.iter().take_while(|(at, _)| now - *at >= victoria::ON_DISK_AFTER).count();
        if ripe > 0 {
            self.same_process().await?;
            if let Some((_, mut ripe)) = self.waiting.drain(..ripe).next_back() {
                ripe.save(false, false)?;
            }
        }
        Ok(())
    }

    /// Whether what it acknowledged is on its disk, where it says yes before: the same process answers still.
    async fn same_process(&self) -> Result<(), Failure> {
        let began_s = victoria::about(&self.to.server).await?.started_s;
        if self.began_s.is_none() || began_s == self.began_s {
            return Ok(());
        }
        let what = "the destination has begun anew: what it had acknowledged just before may be lost";
        Err(Failure::new(Exit::Unreachable, what))
    }

    async fn finish(&mut self, is_done: bool) -> Result<(), Failure> {
        if self.is_dry {
            return Ok(());
        }
        if self.to.product.capabilities().ack != Ack::Durable {
            if self.checkpoint.counts.points > 0 {
                self.talk.say("the destination says yes before its disk has it: waiting until it has");
                tokio::time::sleep(victoria::ON_DISK_AFTER).await;
            }
            self.same_process().await?;
        }
        self.save(!self.is_unsure, is_done)
    }

    fn save(&mut self, is_clean: bool, is_done: bool) -> Result<(), Failure> {
        let rest = i64::try_from(self.late.rest().as_nanos()).unwrap_or(i64::MAX);
        let now_ns = SystemClock::shared().wall_ns();
        self.checkpoint.unsure_until_ns = if rest > 0 { now_ns.saturating_add(rest) } else { 0 };
        self.checkpoint.save(is_clean, is_done)
    }
}

async fn asked(stop: &Stop) {
    while stop.asked().is_none() {
        tokio::time::sleep(STOP_LOOK).await;
    }
}

/// What the destination is.
async fn meet(config: &Config, server: &Server) -> Result<(Product, victoria::About), Failure> {
    let configured = Product::configured(config.destination().kind);
    let reply = server.ask(Method::GET, "/ping", Bytes::new()).await?;
    let product = match configured {
        Some(product) => product,
        None => match Product::find_foreign(server, &reply).await {
            Some(product) => product,
            None => server.read_version(&reply)?.flavor.into(),
        },
    };
    let about = match product {
        Product::Victoria => victoria::about(server).await?,
        _ => victoria::About::default(),
    };
    Ok((product, about))
}
