//! A spool to the destination: lines in requests, several at once, each brought to its end.
//!
//! Promise: when it says so, every line of the spool was acknowledged, or is among the refused ones with the destination's reason, or is
//! counted as what the destination cannot hold. After a request without an answer the same bytes go again.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinSet;

use super::form::{Form, Formed, Shaping, Stay, any_line};
use super::post::{Posted, post};
use super::progress::Progress;
use super::scope::Place;
use super::spool::{Point, SpoolReader};
use super::throttle::Throttle;
use super::throttle::rule::Whose;
use crate::base::bounds::{COPY_REQUEST_BYTES, COPY_REQUESTS};
use crate::base::clock::SharedClock;
use crate::base::{Error, Kind, Result, Side};
use crate::db::answer::{self, Action, Limit, Verdict};
use crate::db::product::Product;
use crate::db::server::Server;
use crate::delivery::{Columns, Writing, lost_column, note_columns, table_prefix, write_path};
use crate::line::Precision;
use crate::line::project::Changes;
use crate::route::TargetKind;
use crate::state::BackfillLetter;

/// Lines of one request.
const LINES_MAX: usize = 5_000;
/// Bytes of one request.
const BYTES_MAX: usize = COPY_REQUEST_BYTES;
/// Requests at once.
const REQUESTS_MAX: usize = COPY_REQUESTS;
/// Refused lines of one chunk that are put aside; more are no data but a fault of the configuration.
const LETTERS_MAX: usize = 100_000;
/// The shortest and the longest wait before a request goes again.
const WAIT: Duration = Duration::from_millis(250);
const WAIT_MAX: Duration = Duration::from_secs(30);

/// So often the same goes to a destination that has no room for it, before less goes.
const SHRINK_TRIES: u32 = 3;

/// How long somebody may be away before the job ends, to be resumed.
pub const PATIENCE: Duration = Duration::from_secs(600);

/// The destination as a job writes to it. One thread.
#[derive(Debug)]
pub struct Writer {
    /// It.
    pub server: Server,
    /// What it is.
    pub product: Product,
    /// How lines are written for it.
    pub writing: Writing,
    /// Its names.
    pub kind: TargetKind,
    /// Time.
    pub clock: SharedClock,
    /// Where waits are shown.
    pub progress: Progress,
    /// Whether somebody wants us to end.
    pub stop: super::executor::Stop,
    /// Who lets it go on.
    pub throttle: Throttle,
}

/// What came of a spool.
#[derive(Debug, Default)]
pub struct Sent {
    /// Bytes that were sent.
    pub bytes: u64,
    /// What the destination does not hold as it was.
    pub changes: Changes,
    /// Refused for good.
    pub letters: Vec<BackfillLetter>,
    /// When a request was last left without an answer, monotonic.
    pub unanswered: Option<Duration>,
    /// What QuestDB took, by table.
    pub columns: Columns,
}

/// Lines of one request.
#[derive(Clone, Debug, Default)]
struct Batch {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Batch {
    fn lines(&self) -> impl Iterator<Item = &[u8]> {
        let begins = std::iter::once(0).chain(self.ends.iter().copied());
        begins.zip(&self.ends).map(|(begin, end)| &self.bytes[begin..*end])
    }

    fn push(&mut self, line: &[u8]) {
        self.bytes.extend_from_slice(line);
        if !line.ends_with(b"\n") {
            self.bytes.push(b'\n');
        }
        self.ends.push(self.bytes.len());
    }

    /// Those of these numbers.
    fn only(&self, wanted: impl Fn(usize) -> bool) -> Self {
        let mut few = Self::default();
        self.lines().enumerate().filter(|(number, _)| wanted(*number)).for_each(|(_, line)| few.push(line));
        few
    }

    fn halves(&self) -> [Self; 2] {
        let half = self.ends.len() / 2;
        [self.only(|number| number < half), self.only(|number| number >= half)]
    }
}

/// What is known of the chunk so far; shared by its requests.
type Shared = Rc<RefCell<Sent>>;

impl Writer {
    /// Writes all of a spool.
    ///
    /// # Errors
    /// With the time when a request was last left without an answer. `Damage`: the spool is not what was written. `Auth`, `State`: nothing can be written until somebody acts. `Timeout`: nobody was
    /// there for [`PATIENCE`], or we are to end.
    pub async fn write(
        self: &Rc<Self>,
        place: &Place,
        spool: SpoolReader,
    ) -> std::result::Result<Sent, (Error, Option<Duration>)> {
        let shared = Shared::default();
        let done = self.write_all(place, spool, &shared).await;
        // Those beside one that failed are cut in the middle.
        let is_cut = Rc::strong_count(&shared) > 1;
        let sent = shared.take();
        let unanswered = if is_cut { Some(self.clock.monotonic()) } else { sent.unanswered };
        done.map_err(|error| (error, unanswered))?;
        Ok(sent)
    }

    async fn write_all(self: &Rc<Self>, place: &Place, mut spool: SpoolReader, shared: &Shared) -> Result<()> {
        let path: Rc<str> = format!("{}{}", self.server.prefix(), write_path(self.product, &place.target)).into();
        let tables = table_prefix(&place.target, &self.kind);
        let form = Form { writing: self.writing.at(self.clock.wall_ns()), tables: &tables };
        let route = place.name.key();
        let (mut batch, mut under_way) = (Batch::default(), JoinSet::new());
        while let Some(points) = spool.next()? {
            for point in &points {
                self.line(place, form, point, (&route, shared), &mut batch)?;
                let (lines_max, bytes_max) = self.throttle.write_max();
                if batch.ends.len() >= LINES_MAX.min(lines_max) || batch.bytes.len() >= BYTES_MAX.min(bytes_max) {
                    if under_way.len() >= REQUESTS_MAX {
                        ended(under_way.join_next().await)?;
                    }
                    self.begin(&mut under_way, &path, (&route, shared), std::mem::take(&mut batch));
                }
            }
        }
        if !batch.ends.is_empty() {
            self.begin(&mut under_way, &path, (&route, shared), batch);
        }
        while let Some(done) = under_way.join_next().await {
            ended(Some(done))?;
        }
        self.has_all(shared).await
    }

    /// The line of a point, as the rules of mapping and the destination want it.
    fn line(
        &self,
        place: &Place,
        form: Form<'_>,
        point: &Point,
        (route, shared): (&str, &Shared),
        batch: &mut Batch,
    ) -> Result<()> {
        let values = point.values.iter().map(|(field, value)| (&**field, value));
        let mut sent = shared.borrow_mut();
        let (name, at_ns) = (point.series.measurement(), point.time_ns);
        let shaping = Shaping { form, rules: place.shape.as_ref() };
        match shaping.point((&*point.series, at_ns), values, &mut sent.changes) {
            Formed::Line(line) => batch.push(&line),
            Formed::Partly(line, left) => {
                batch.push(&line);
                refuse(&mut sent, letter(route, name, &left.why, left.text, at_ns))?;
            }
            Formed::Excluded | Formed::Nothing => {}
            Formed::Refused(why) => {
                let mut text = Vec::new();
                // For whoever reads it: the source's names and values, however odd.
                for (field, value) in &point.values {
                    text.extend_from_slice(format!("{} {value} ", field.escape_ascii()).as_bytes());
                }
                let text = format!("{} {}{}", point.series, text.escape_ascii(), at_ns).into_bytes();
                refuse(&mut sent, letter(route, name, &why, text, at_ns))?;
            }
        }
        Ok(())
    }

    fn begin(
        self: &Rc<Self>,
        under_way: &mut JoinSet<Result<()>>,
        path: &Rc<str>,
        (route, shared): (&str, &Shared),
        batch: Batch,
    ) {
        let (own, path, route, shared) = (Rc::clone(self), Rc::clone(path), route.to_owned(), Rc::clone(shared));
        under_way.spawn_local(async move { own.settle(&path, &route, &shared, batch).await });
    }

    /// Brings the lines of a request to their end, in as many as it takes.
    async fn settle(&self, path: &str, route: &str, shared: &Shared, whole: Batch) -> Result<()> {
        let mut parts = vec![whole];
        while let Some(batch) = parts.pop() {
            if batch.ends.is_empty() {
                continue;
            }
            let verdict = self.answered(path, shared, &batch).await?;
            match verdict.action {
                Action::Acknowledge => {
                    let mut sent = shared.borrow_mut();
                    sent.bytes += batch.bytes.len() as u64;
                    if self.product == Product::Questdb {
                        note_columns(batch.lines(), &mut sent.columns);
                    }
                }
                Action::Quoted { kept, .. } => {
                    let found = answer::quoted(&verdict.said, batch.lines());
                    match found {
                        Some(found) => {
                            let why = |line: usize| found.iter().find(|one| one.line == line);
                            for (number, line) in batch.lines().enumerate() {
                                if let Some(refused) = why(number) {
                                    let stay = Stay::new(verdict.code, refused.reason.clone());
                                    refuse_line(shared, route, &stay, line)?;
                                }
                            }
                            if !kept {
                                parts.push(batch.only(|number| why(number).is_none()));
                            }
                        }
                        None => halve(&mut parts, &batch, shared, route, &verdict)?,
                    }
                }
                Action::Numbered { lines, kept } => {
                    let is_refused = |number: usize| lines.contains(&(number as u64 + 1));
                    let stay = Stay::new(verdict.code, verdict.said.clone());
                    for (_, line) in batch.lines().enumerate().filter(|(number, _)| is_refused(*number)) {
                        refuse_line(shared, route, &stay, line)?;
                    }
                    if !kept {
                        parts.push(batch.only(|number| !is_refused(number)));
                    }
                }
                Action::Split | Action::Bisect { .. } | Action::Again | Action::Plain { .. } | Action::Shrink => {
                    halve(&mut parts, &batch, shared, route, &verdict)?;
                }
                Action::Pause(limit) => return Err(paused(limit, &verdict)),
                // These were waited for.
                Action::Retry { .. } => parts.push(batch),
            }
        }
        Ok(())
    }

    /// Behind the last yes of a chunk: whether the destination has the columns of what it took. One that lost a column with its process
    /// says yes all the same, and a chunk that it took before is no witness.
    async fn has_all(&self, shared: &Shared) -> Result<()> {
        let written = std::mem::take(&mut shared.borrow_mut().columns);
        match lost_column(&self.server, written).await {
            None => Ok(()),
            Some(why) => {
                Err(Error::new(Kind::State, Side::Destination, why).hint("twinline backfill resume, once that is done"))
            }
        }
    }

    /// Sends the same bytes until there is an answer that is no request to wait.
    async fn answered(&self, path: &str, shared: &Shared, batch: &Batch) -> Result<Verdict> {
        let body = Bytes::from(batch.bytes.clone());
        let (mut wait, mut began, mut tries) = (WAIT, self.clock.monotonic(), 0);
        loop {
            tries += 1;
            let asked = self.clock.monotonic();
            let turn = self.throttle.write(batch.bytes.len(), batch.ends.len()).await?;
            // What we have waited for ourselves is not its silence.
            began += self.clock.monotonic().saturating_sub(asked);
            let posted = post(&self.server, self.product, path, body.clone()).await?;
            drop(turn);
            let why = match posted {
                Posted::Answered(verdict) => {
                    if verdict.open {
                        shared.borrow_mut().unanswered = Some(self.clock.monotonic());
                    }
                    // Nothing of ours is compressed.
                    let verdict = verdict.plain_failed();
                    match verdict.action {
                        Action::Retry { after_s } => {
                            let asked = after_s.map(Duration::from_secs);
                            // Neither do others come before that.
                            if let Some(asked) = asked {
                                self.throttle.asked_to_wait(Whose::Destination, asked.min(PATIENCE));
                            }
                            wait = asked.unwrap_or(wait).max(wait);
                        }
                        // It has no room for so much at a time: less goes after a while, and a single line waits.
                        Action::Shrink if tries < SHRINK_TRIES || batch.ends.len() == 1 => {}
                        Action::Again if tries == 1 => {}
                        _ => return Ok(verdict.again_failed()),
                    }
                    format!("the destination asks to wait ({}): {}", verdict.code, verdict.reason())
                }
                Posted::NotSent(error) => error.to_string(),
                Posted::Unanswered(error) => {
                    shared.borrow_mut().unanswered = Some(self.clock.monotonic());
                    error.to_string()
                }
            };
            if self.clock.monotonic().saturating_sub(began) > PATIENCE {
                let what = format!("the destination takes nothing for {} min: {why}", PATIENCE.as_secs() / 60);
                return Err(Error::new(Kind::Timeout, Side::Destination, what).hint("twinline backfill resume"));
            }
            let waiting = self.progress.waiting(why);
            let stopped = self.stop.wait(wait.min(WAIT_MAX)).await;
            drop(waiting);
            if stopped {
                return Err(super::executor::stopped());
            }
            wait *= 2;
        }
    }
}

fn ended(done: Option<std::result::Result<Result<()>, tokio::task::JoinError>>) -> Result<()> {
    match done {
        None => Ok(()),
        Some(Ok(done)) => done,
        Some(Err(died)) => Err(Error::new(Kind::State, Side::Own, "a write did not come to its end").because(died)),
    }
}

/// Halves, or, of a single line, a refused one.
fn halve(parts: &mut Vec<Batch>, batch: &Batch, shared: &Shared, route: &str, verdict: &Verdict) -> Result<()> {
    if batch.ends.len() > 1 {
        let [first, second] = batch.halves();
        parts.push(second);
        parts.push(first);
        return Ok(());
    }
    let stay = Stay::new(verdict.code, verdict.reason());
    batch.lines().try_for_each(|line| refuse_line(shared, route, &stay, line))
}

fn refuse_line(shared: &Shared, route: &str, why: &Stay, line: &[u8]) -> Result<()> {
    let text = line.strip_suffix(b"\n").unwrap_or(line).to_vec();
    let read = any_line(&text, Precision::Nanosecond);
    let (measurement, time_ns) = read.map_or_else(Default::default, |line| {
        (line.measurement().into_owned(), line.timestamp_ns().unwrap_or_default())
    });
    refuse(&mut shared.borrow_mut(), letter(route, &measurement, why, text, time_ns))
}

fn letter(route: &str, measurement: &[u8], why: &Stay, text: Vec<u8>, time_ns: i64) -> BackfillLetter {
    BackfillLetter {
        route: route.to_owned(),
        measurement: measurement.to_vec(),
        code: why.code.to_owned(),
        reason: why.why.clone(),
        text,
        time_ns,
    }
}

fn refuse(sent: &mut Sent, letter: BackfillLetter) -> Result<()> {
    if sent.letters.len() >= LETTERS_MAX {
        let what = format!(
            "the destination refuses more than {LETTERS_MAX} lines of one window of {} ({}): {}",
            String::from_utf8_lossy(&letter.measurement),
            letter.code,
            letter.reason
        );
        return Err(
            Error::new(Kind::State, Side::Destination, what).hint("mend what it says, then: twinline backfill resume")
        );
    }
    sent.letters.push(letter);
    Ok(())
}

/// Nothing goes until somebody acts.
fn paused(limit: Limit, verdict: &Verdict) -> Error {
    let kind = if matches!(verdict.status, 401 | 403) { Kind::Auth } else { Kind::State };
    let whose = match limit {
        Limit::Destination => "the destination takes nothing",
        Limit::Route => "the destination takes nothing for this place",
    };
    let what = format!("{whose} ({} {}): {}", verdict.status, verdict.code, verdict.reason());
    Error::new(kind, Side::Destination, what).hint("twinline check says what to mend; then: twinline backfill resume")
}
