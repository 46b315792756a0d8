//! `twinline deadletter replay`: brings the destination what the source holds now in the cells of dead letters.
//!
//! Promise: a letter goes only after the destination has acknowledged the source's values of its cells, and the source, asked once
//! more after that, still held them: what it takes later comes by the ordinary way, behind ours. So no older value stands over
//! a newer one. Where the source has none of the cells, nothing is written and the letter is obsolete. Stopped at any moment,
//! the same command does the rest. VictoriaMetrics and QuestDB get of it what they can hold, as delivery writes it ([`form`]); where points
//! are replaced as a whole (QuestDB) they get the whole point, and where a yes comes before the disk (VictoriaMetrics) a letter goes
//! once what was acknowledged is on it.

mod form;
mod plan;
mod report;
pub(in crate::cli) mod source;
mod target;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::FilterArgs;
use super::letter::Letter;
use super::store::{Next, Store};
use crate::backfill::form::{Form, Stay};
use crate::base::failpoint::{self, Point as Moment};
use crate::base::{Error, Result as BaseResult, Side, SystemClock};
use crate::cli::Global;
use crate::cli::exit::{Exit, Failure};
use crate::cli::queue::stop::Stop;
use crate::cli::run::{target_kind, writing};
use crate::config::{Config, Mapping};
use crate::control::Status;
use crate::db::product::Product;
use crate::db::server::{Flavor, Server};
use crate::db::victoria;
use crate::delivery::{Writing, table_prefix};
use crate::route::{Target, TargetKind};
use crate::state::{LetterFate, LetterId, LetterQuery};
use plan::{Point, Values, place, points, written};
use report::Report;
use source::{Found, Source};
use target::Destination;

/// Options of `replay`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ReplayArgs {
    #[command(flatten)]
    pub(super) filter: FilterArgs,
    /// Do it; without it, say what would be written
    #[arg(long)]
    pub(super) execute: bool,
    /// Send the lines as they were refused, without a look at the source: they may overwrite newer values
    #[arg(long, requires = "reason")]
    pub(super) raw: bool,
}

/// Letters that are looked at together, and bytes of them.
const CHUNK_LETTERS: usize = 500;
const CHUNK_BYTES: usize = 4 << 20;
/// So often a point is written anew because the source's values have changed meanwhile.
const ROUNDS: usize = 5;
const STOP_LOOK: Duration = Duration::from_millis(50);

/// Both databases, and what goes where.
struct Sides {
    source: Source,
    destination: Destination,
    writing: Writing,
    mapping: Mapping,
    kind: TargetKind,
    execute: bool,
}

/// What is to become of the letters of a chunk, by number.
#[derive(Debug, Default)]
struct Ends {
    repaired: Vec<usize>,
    obsolete: Vec<usize>,
    raw: Vec<usize>,
    stay: Vec<(usize, Stay)>,
    /// Points that were, or would be, written.
    points: u64,
}

/// Values by point.
type Written = BTreeMap<usize, Values>;

/// Lines that are to be written, by point, and what is in them.
#[derive(Debug, Default)]
struct Ready {
    lines: Vec<(usize, Vec<u8>)>,
    values: Written,
}

pub(super) fn run(global: &Global, store: &Store<'_>, args: &ReplayArgs) -> Result<Exit, Failure> {
    let (talk, stop) = (global.talk(), Stop::listen()?);
    let config = store.place.config.as_ref().ok_or_else(|| {
        let what = "a replay talks to both databases: it needs their configuration";
        Failure::new(Exit::Usage, what).hint("twinline -c FILE deadletter replay")
    })?;
    if args.execute && store.place.running()?.held_since_ns.is_some() {
        let what = "an operator has paused delivery: nothing is written to the destination meanwhile";
        return Err(Failure::new(Exit::Refused, what).hint(store.place.command("resume")));
    }
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build_local(tokio::runtime::LocalOptions::default());
    let runtime = runtime.map_err(|e| Error::disk("cannot start the event loop", e))?;
    // Fails only when it was done before, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut sides = runtime.block_on(Sides::new(config, kinds(store)?, args.execute))?;
    let (mut report, mut chunk, mut bytes) = (Report::default(), Vec::new(), 0);
    // What comes from now on waits for the next time.
    let query = LetterQuery { to: last(store)?, ..LetterQuery::default() };
    let mut work = |chunk: &mut Vec<Letter>, report: &mut Report| -> Result<Option<Exit>, Failure> {
        let ended = runtime.block_on(async {
            tokio::select! {
                ends = sides.chunk(chunk, args.raw) => ends.map(Some),
                () = asked(&stop) => Ok(None),
            }
        })?;
        let Some(ends) = ended else { return Ok(stop.asked()) };
        if args.execute {
            settle(store, chunk, &ends)?;
        }
        report.add(chunk, ends);
        chunk.clear();
        Ok(None)
    };
    let mut interrupted = None;
    let go = || {
        let walked = store.walk((&args.filter, query), (talk, &stop), |letter| {
            bytes += letter.stored.text.len();
            chunk.push(letter);
            if chunk.len() >= CHUNK_LETTERS || bytes >= CHUNK_BYTES {
                bytes = 0;
                interrupted = work(&mut chunk, &mut report)?;
            }
            Ok(if interrupted.is_some() { Next::Enough } else { Next::More })
        })?;
        interrupted = interrupted.or(walked.interrupted);
        if interrupted.is_none() && !chunk.is_empty() {
            interrupted = work(&mut chunk, &mut report)?;
        }
        Ok(())
    };
    let broken: Option<Failure> = go().err();
    report.tell(talk, (store, args), interrupted, broken.is_some())?;
    match (broken, interrupted) {
        (Some(failure), _) => Err(failure),
        (None, Some(exit)) => Ok(exit),
        (None, None) => Ok(if args.execute && report.stays() > 0 { Exit::Partly } else { Exit::Success }),
    }
}

/// The last letter there is.
fn last(store: &Store<'_>) -> Result<LetterId, Failure> {
    let mut last = LetterQuery::default().from;
    let mut query = LetterQuery::default();
    loop {
        let page = store.page(&query)?;
        last = page.letters.last().map_or(last, |letter| letter.id);
        let Some(next) = page.next else { return Ok(last) };
        query.from = next;
    }
}

async fn asked(stop: &Stop) {
    while stop.asked().is_none() {
        tokio::time::sleep(STOP_LOOK).await;
    }
}

/// Lets go of the letters that are put right.
fn settle(store: &Store<'_>, letters: &[Letter], ends: &Ends) -> Result<(), Failure> {
    failpoint::hit(Moment::LetterReplaced);
    let fates =
        [(LetterFate::Repaired, &ends.repaired), (LetterFate::Obsolete, &ends.obsolete), (LetterFate::Raw, &ends.raw)];
    for (fate, numbers) in fates.into_iter().filter(|(_, numbers)| !numbers.is_empty()) {
        let ids: Vec<LetterId> = numbers.iter().map(|number| letters[*number].stored.id).collect();
        store.remove(&ids, fate)?;
    }
    Ok(())
}

impl Sides {
    async fn new(config: &Config, (source, product): (Flavor, Product), execute: bool) -> Result<Self, Failure> {
        let server = Server::new(&config.destination().server, Side::Destination)?;
        let about = match product {
            Product::Victoria => victoria::about(&server).await?,
            _ => victoria::About::default(),
        };
        let bytes_max = config.destination().delivery.batch_bytes.as_usize();
        Ok(Self {
            source: Source::new(config, source)?,
            destination: Destination { server, product, bytes_max, began_s: about.started_s },
            writing: writing(config, product, about.keeps).at(SystemClock::shared().wall_ns()),
            mapping: config.mapping.clone(),
            kind: target_kind(config, product),
            execute,
        })
    }

    async fn chunk(&mut self, letters: &[Letter], raw: bool) -> Result<Ends, Failure> {
        let ends = if raw { self.send_raw(letters).await } else { self.repair(letters).await }?;
        if self.execute && ends.points > 0 {
            self.destination.keeps().await?;
        }
        Ok(ends)
    }

    /// The lines as they are.
    async fn send_raw(&mut self, letters: &[Letter]) -> Result<Ends, Failure> {
        let mut ends = Ends::default();
        let mut ready: Vec<(usize, Target, Vec<u8>)> = Vec::new();
        for (number, letter) in letters.iter().enumerate() {
            let text = place(letter, &self.mapping, &self.kind).and_then(|(_, target)| {
                let tables = table_prefix(&target, &self.kind);
                let text = Form { writing: self.writing, tables: &tables }.raw(letter)?;
                Ok((number, target, text))
            });
            match text {
                Ok(line) => ready.push(line),
                Err(why) => ends.stay.push((number, why)),
            }
        }
        let ready = ready.iter().map(|(number, target, text)| (*number, target.clone(), text.as_slice()));
        for (number, sent) in self.send(ready.collect()).await? {
            match sent {
                Ok(()) => ends.raw.push(number),
                Err(why) => ends.stay.push((number, why)),
            }
        }
        ends.points = ends.raw.len() as u64;
        Ok(ends)
    }

    /// Writes lines, by target; of each what became of it. Without `--execute` all are taken to be stored.
    async fn send(&self, ready: Vec<(usize, Target, &[u8])>) -> Result<Vec<(usize, target::Sent)>, Failure> {
        let targets: BTreeSet<Target> = ready.iter().map(|(_, target, _)| target.clone()).collect();
        let mut all = Vec::with_capacity(ready.len());
        for target in targets {
            let its: Vec<(usize, &[u8])> =
                ready.iter().filter(|(_, to, _)| *to == target).map(|(number, _, text)| (*number, *text)).collect();
            let lines: Vec<&[u8]> = its.iter().map(|(_, text)| *text).collect();
            let sent = match self.execute {
                true => self.destination.write(&target, &lines).await?,
                false => lines.iter().map(|_| Ok(())).collect(),
            };
            all.extend(its.iter().map(|(number, _)| *number).zip(sent));
        }
        Ok(all)
    }

    /// The source's values of the letters' cells.
    async fn repair(&mut self, letters: &[Letter]) -> Result<Ends, Failure> {
        let mut ends = Ends::default();
        let (points, stay) = points(letters, (&self.mapping, &self.kind), self.writing);
        ends.stay = stay;
        let all: Vec<usize> = (0..points.len()).collect();
        let found = self.read(&points, &all).await?;
        let (mut open, mut former): (Vec<(usize, Found)>, _) = (all.into_iter().zip(found).collect(), Written::new());
        for _ in 0..ROUNDS {
            let Ready { lines, values } = self.lines(&points, std::mem::take(&mut open), &former, &mut ends);
            let ready = lines.iter().map(|(number, text)| (*number, points[*number].target.clone(), text.as_slice()));
            let mut stored = Vec::new();
            for (number, sent) in self.send(ready.collect()).await? {
                match sent {
                    Ok(()) => stored.push(number),
                    Err(why) => keep(&points[number], &why, &mut ends),
                }
            }
            ends.points += stored.len() as u64;
            if !self.execute {
                stored.iter().for_each(|number| done(&points[*number], &values[number], &mut ends));
                return Ok(ends);
            }
            // What the source has taken since then may have come before our request, which then stands over it.
            let now = self.read(&points, &stored).await?;
            for (number, now) in stored.into_iter().zip(now) {
                match now {
                    Ok(now) if now == values[&number] => done(&points[number], &now, &mut ends),
                    now => open.push((number, now)),
                }
            }
            if open.is_empty() {
                return Ok(ends);
            }
            former = values;
        }
        let why = Stay::new("changes", format!("the source's values changed {ROUNDS} times while they were written"));
        open.iter().for_each(|(number, _)| keep(&points[*number], &why, &mut ends));
        Ok(ends)
    }

    fn line(&self, point: &Point, values: &Values) -> Result<Vec<u8>, Stay> {
        let tables = table_prefix(&point.target, &self.kind);
        written(point, values, Form { writing: self.writing, tables: &tables })
    }

    async fn read(&mut self, points: &[Point], numbers: &[usize]) -> BaseResult<Vec<Found>> {
        let few: Vec<&Point> = numbers.iter().map(|number| &points[*number]).collect();
        self.source.read(&few).await
    }

    /// The lines that are to be written, with the values in them; all others have come to their end. `former`: what was written before.
    fn lines(&self, points: &[Point], wanted: Vec<(usize, Found)>, former: &Written, ends: &mut Ends) -> Ready {
        let mut ready = Ready::default();
        for (number, found) in wanted {
            let point = &points[number];
            let lost = |now: &Values| {
                former.get(&number).is_some_and(|before| before.keys().any(|field| !now.contains_key(field)))
            };
            match found {
                Err(why) => keep(point, &why, ends),
                Ok(values) if lost(&values) => {
                    let why = "the source lost cells while they were written: remove them at the destination";
                    keep(point, &Stay::new("deleted-meanwhile", why), ends);
                }
                // Of a whole point others may be left, which is no letter's business.
                Ok(values) if !values.keys().any(|field| point.fields.contains(field)) => done(point, &values, ends),
                Ok(values) => match self.line(point, &values) {
                    Ok(line) => {
                        ready.lines.push((number, line));
                        ready.values.insert(number, values);
                    }
                    Err(why) => keep(point, &why, ends),
                },
            }
        }
        ready
    }
}

/// The source's values stand at the destination: a letter without any of them is obsolete.
fn done(point: &Point, values: &Values, ends: &mut Ends) {
    for (number, fields) in &point.letters {
        let has_some = fields.iter().any(|field| values.contains_key(field));
        if has_some { ends.repaired.push(*number) } else { ends.obsolete.push(*number) }
    }
}

fn keep(point: &Point, why: &Stay, ends: &mut Ends) {
    ends.stay.extend(point.letters.iter().map(|(number, _)| (*number, why.clone())));
}

/// What both databases are, as the running twinline found them.
fn kinds(store: &Store<'_>) -> Result<(Flavor, Product), Failure> {
    let status: Status = store.place.ask("GET", "/api/v1/status")?;
    let refused = |kind: &str| {
        let what = format!("cells of {kind} are not repaired by a replay: nobody has measured how it takes them");
        Failure::new(Exit::Refused, what).hint(store.place.letters_command("export --out letters.lp"))
    };
    let one = |kind: &str| Product::named(kind.as_bytes()).ok_or_else(|| refused(kind));
    let id = store.place.config.as_ref().map(|config| config.destination().id.to_string());
    let own = status.facts.destinations.iter().find(|one| Some(&one.id) == id.as_ref()).map(|one| &one.side);
    let destination = own.unwrap_or(&status.facts.destination);
    let source = one(&status.facts.source.kind)?.flavor().ok_or_else(|| refused(&status.facts.source.kind))?;
    match one(&destination.kind)? {
        Product::Influx3 => Err(refused(&destination.kind)),
        product => Ok((source, product)),
    }
}
