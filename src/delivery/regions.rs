//! Regions of the source that delivery leaves alone while somebody copies them: asked for from any thread, one handle for each
//! destination.
//!
//! Promises: from the answer to [`Regions::hold`] on no line of the region goes to the destination until [`Held::release`]; all other
//! lines go on. What is held is never dropped and never overtaken: it waits in its lane, above the floor, and goes in the order of the
//! log. A hold that is let go of without a release is released, and that is told. At most [`HOLDS_MAX`] hold at once. How delivery does
//! it stands in [`super::held`].

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, oneshot};

use crate::base::clock::rfc3339;
use crate::base::{Error, Kind, Lsn, Result, Side};
use crate::route::RouteName;

/// Regions of one destination that may be held at once.
pub const HOLDS_MAX: usize = 16;
/// Delivery answers within this time, or has too much to do.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// Part of a measurement, by the names of the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// Database and policy, or bucket.
    pub route: RouteName,
    /// The measurement's name, without escapes.
    pub measurement: Vec<u8>,
    /// The first time, ns.
    pub from_ns: i64,
    /// The last time, ns, which belongs to it.
    pub to_ns: i64,
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = String::from_utf8_lossy(&self.measurement);
        write!(f, "{name} of {} from {} to {}", self.route, rfc3339(self.from_ns), rfc3339(self.to_ns))
    }
}

/// Why a hold cannot go on as it began. What was held is in its order all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Broken {
    /// So many lines wait that nothing more of its place is dealt out before the release: release it soon.
    Full,
    /// Its place took no writes for so long that what waited became a gap: the lines that were parked are in that.
    Gap,
}

/// What waits for the release of a hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parked {
    /// Lines.
    pub lines: u64,
    /// What they take of `pending_bytes`.
    pub bytes: u64,
    /// Whether a statement (a delete, a drop) waits for the release, and all that is newer of its place.
    pub statement_waits: bool,
    /// Whether it cannot go on, and why.
    pub broken: Option<Broken>,
}

/// A hold as the status shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldView {
    /// Where it is at the source.
    pub route: String,
    /// The measurement; what is not UTF-8 in its name is replaced.
    pub measurement: String,
    /// The first time, ns.
    pub from_ns: i64,
    /// The last time, ns.
    pub to_ns: i64,
    /// The last record that was dealt out before it.
    pub since_lsn: u64,
    /// For how long it lasts, seconds.
    pub for_s: u64,
    /// Lines that wait for its release.
    pub parked_lines: u64,
    /// What they take of `pending_bytes`.
    pub parked_bytes: u64,
    /// Whether a statement waits for its release.
    pub statement_waits: bool,
    /// Why it cannot go on, if it cannot.
    pub broken: Option<Broken>,
}

/// What is asked of delivery.
pub(super) enum Ask {
    Hold {
        region: Region,
        answer: oneshot::Sender<Result<Held>>,
    },
    /// `whole`: floors that are durable have passed it as well.
    Drain {
        id: u64,
        whole: bool,
        answer: oneshot::Sender<Result<()>>,
    },
    /// `let_go`: nobody said that it is over.
    Release {
        id: u64,
        let_go: bool,
        answer: Option<oneshot::Sender<()>>,
    },
}

/// A hold as both sides know it.
#[derive(Debug)]
struct Known {
    region: Region,
    /// Not before delivery holds it.
    since: Option<Lsn>,
    began: Duration,
    /// Whether somebody answers for it: not yet for one from before the start.
    is_claimed: bool,
    parked: Parked,
}

#[derive(Default)]
struct Book {
    /// Delivery is there no more.
    has_ended: bool,
    last_id: u64,
    asks: Vec<Ask>,
    known: BTreeMap<u64, Known>,
}

#[derive(Default)]
struct Desk {
    book: Mutex<Book>,
    /// Whether something is asked that nobody has looked at.
    is_asked: AtomicBool,
    asked: Notify,
    /// Holds from before the start were taken over.
    began: Notify,
    /// The lowest floor that is durable.
    saved: AtomicU64,
}

/// Shared by delivery of one destination and whoever copies to it.
#[derive(Clone, Default)]
pub struct Regions(Arc<Desk>);

impl fmt::Debug for Regions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Regions").field("known", &self.book().known).finish_non_exhaustive()
    }
}

impl Regions {
    /// With regions that delivery holds before its first request: a copy into them may be under way since before the start. Each is to
    /// be claimed, or [`Regions::release_unclaimed`] lets it go.
    #[must_use]
    pub fn new(at_start: Vec<Region>) -> Self {
        let regions = Self::default();
        {
            let mut book = regions.book();
            for region in at_start {
                book.enter(region, false);
            }
        }
        regions
    }

    /// Holds a region. Once it answers, nothing of it goes to the destination any more that was not dealt out before.
    ///
    /// # Errors
    /// Those that say so may be tried again later: the region overlaps one that is held, [`HOLDS_MAX`] are, its place stands still or
    /// is a gap that grows, the destination is away, behind or paused by an operator, or delivery has too much to do. For good: the region goes nowhere at this destination, or delivery has ended.
    pub async fn hold(&self, region: Region) -> Result<Held> {
        let (answer, heard) = oneshot::channel();
        self.ask(Ask::Hold { region, answer })?;
        within(ANSWER_MAX, heard).await?
    }

    /// Takes over a region that is held since before the start.
    ///
    /// # Errors
    /// None such is held, or somebody has claimed it; delivery has ended, or does not begin yet (try again).
    pub async fn claim(&self, region: &Region) -> Result<Held> {
        let of = |known: &Known| known.region == *region && !known.is_claimed;
        let wait = async {
            loop {
                let began = self.0.began.notified();
                {
                    let mut book = self.book();
                    let found = book.known.iter_mut().find(|(_, known)| of(known));
                    let Some((id, known)) = found else {
                        return Err(Error::new(
                            Kind::State,
                            Side::Own,
                            format!("{region} is not held since before the start"),
                        ));
                    };
                    if let Some(since) = known.since {
                        known.is_claimed = true;
                        return Ok(Held { regions: self.clone(), id: *id, since, is_over: false });
                    }
                    if book.has_ended {
                        return Err(ended());
                    }
                }
                began.await;
            }
        };
        tokio::time::timeout(ANSWER_MAX, wait).await.unwrap_or_else(|_| Err(busy()))
    }

    /// Up to this record nothing is delivered again, whatever ends this process.
    pub(super) fn saved(&self) -> Lsn {
        Lsn(self.0.saved.load(Ordering::Acquire))
    }

    /// Lets go of all regions from before the start that nobody has claimed.
    pub fn release_unclaimed(&self) {
        let ids: Vec<u64> =
            self.book().known.iter().filter(|(_, known)| !known.is_claimed).map(|(id, _)| *id).collect();
        for id in ids {
            // Where delivery has ended, nothing is held.
            let _ = self.ask(Ask::Release { id, let_go: false, answer: None });
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self, ask: Ask) -> Result<()> {
        {
            let mut book = self.book();
            if book.has_ended {
                return Err(ended());
            }
            book.asks.push(ask);
        }
        self.0.is_asked.store(true, Ordering::Release);
        self.0.asked.notify_one();
        Ok(())
    }
}

/// What delivery does with it.
impl Regions {
    /// Whether something was asked.
    pub(super) fn is_asked(&self) -> bool {
        self.0.is_asked.load(Ordering::Relaxed)
    }

    /// What was asked since the last time.
    pub(super) fn take_asks(&self) -> Vec<Ask> {
        if !self.is_asked() || !self.0.is_asked.swap(false, Ordering::AcqRel) {
            return Vec::new();
        }
        std::mem::take(&mut self.book().asks)
    }

    /// Until something is.
    pub(super) async fn asked(&self) {
        self.0.asked.notified().await;
    }

    /// Regions that were held before delivery began, or began anew.
    pub(super) fn known(&self) -> Vec<(u64, Region)> {
        self.book().known.iter().map(|(id, known)| (*id, known.region.clone())).collect()
    }

    /// They are held from here on.
    pub(super) fn begin(&self, since: Lsn, now: Duration) {
        for known in self.book().known.values_mut() {
            known.began = if known.since.is_some() { known.began } else { now };
            known.since = Some(since);
            known.parked = Parked::default();
        }
        self.0.began.notify_waiters();
    }

    /// Another one is held from here on.
    pub(super) fn enter(&self, region: Region, since: Lsn, now: Duration) -> (u64, Held) {
        let mut book = self.book();
        let id = book.enter(region, true);
        if let Some(known) = book.known.get_mut(&id) {
            (known.since, known.began) = (Some(since), now);
        }
        (id, Held { regions: self.clone(), id, since, is_over: false })
    }

    /// Floors are durable from here on.
    pub(super) fn save(&self, lowest: Lsn) {
        self.0.saved.store(lowest.0, Ordering::Release);
    }

    /// It is over.
    pub(super) fn strike(&self, id: u64) {
        self.book().known.remove(&id);
    }

    pub(super) fn show(&self, id: u64, parked: Parked) {
        if let Some(known) = self.book().known.get_mut(&id) {
            known.parked = parked;
        }
    }

    /// As the status shows them.
    pub(super) fn views(&self, now: Duration) -> Vec<HoldView> {
        let view = |known: &Known| HoldView {
            route: known.region.route.to_string(),
            measurement: String::from_utf8_lossy(&known.region.measurement).into_owned(),
            from_ns: known.region.from_ns,
            to_ns: known.region.to_ns,
            since_lsn: known.since.map_or(0, |since| since.0),
            for_s: now.saturating_sub(known.began).as_secs(),
            parked_lines: known.parked.lines,
            parked_bytes: known.parked.bytes,
            statement_waits: known.parked.statement_waits,
            broken: known.parked.broken,
        };
        self.book().known.values().filter(|known| known.since.is_some()).map(view).collect()
    }

    /// Whoever asks hears that delivery has ended, from when this is let go of on.
    pub(super) fn served(&self) -> Served {
        Served(self.clone())
    }
}

/// While it is there, delivery answers.
pub(super) struct Served(Regions);

impl Drop for Served {
    fn drop(&mut self) {
        let asks = {
            let mut book = self.0.book();
            book.has_ended = true;
            std::mem::take(&mut book.asks)
        };
        // Their senders hear of it.
        drop(asks);
        self.0.0.began.notify_waiters();
    }
}

impl Book {
    fn enter(&mut self, region: Region, is_claimed: bool) -> u64 {
        self.last_id += 1;
        let (since, began, parked) = (None, Duration::ZERO, Parked::default());
        self.known.insert(self.last_id, Known { region, since, began, is_claimed, parked });
        self.last_id
    }
}

/// A region that is held. To be released; where it is only let go of, delivery releases it and says so.
#[derive(Debug)]
#[must_use = "it is released when it is let go of"]
pub struct Held {
    regions: Regions,
    id: u64,
    since: Lsn,
    is_over: bool,
}

impl Held {
    /// The last record that was dealt out before. Whatever came later waits where it lies in the region.
    /// It goes back where delivery begins anew and deals out once more what lies behind.
    #[must_use]
    pub fn since(&self) -> Lsn {
        self.regions.book().known.get(&self.id).and_then(|known| known.since).unwrap_or(self.since)
    }

    /// Waits until all that was dealt out before, and lies in the region, has arrived, and no request can still take effect on it. It
    /// stays so until the release, also where delivery begins anew. Older lines of the region may be delivered once more (after a
    /// start, or where its place stood still), with all newer ones behind them: enough for who copies what is at the source and, where the log has lines of
    /// it, in the last of them.
    ///
    /// # Errors
    /// Release it, and try again later: its place or the destination stands still, an operator has paused delivery, or it takes longer
    /// than `late_write_max` and 30 s. For good: delivery has ended.
    pub async fn drained(&mut self) -> Result<()> {
        self.drain(false).await
    }

    /// The same, and nothing that was dealt out before is ever delivered again, whatever happens: for who reads back what the log does
    /// not have (doubt, gaps), so that no older line comes over it. What of that lies at or below [`Held::since`] is read back once this
    /// region is copied. Other places that stand still hold it up, and each request without an answer does for `late_write_max`.
    ///
    /// # Errors
    /// As [`Held::drained`].
    pub async fn settled(&mut self) -> Result<()> {
        self.drain(true).await
    }

    async fn drain(&mut self, whole: bool) -> Result<()> {
        loop {
            let (answer, heard) = oneshot::channel();
            self.regions.ask(Ask::Drain { id: self.id, whole, answer })?;
            // Delivery itself looks how long it takes. Where it begins anew it is asked again.
            if let Ok(end) = heard.await {
                return end;
            }
        }
    }

    /// What waits for the release, as delivery saw it last: some milliseconds ago while it deals out.
    #[must_use]
    pub fn parked(&self) -> Parked {
        self.watch().parked()
    }

    /// For who looks at what waits while somebody else has the hold.
    #[must_use]
    pub fn watch(&self) -> Watch {
        Watch { regions: self.regions.clone(), id: self.id }
    }

    /// The same as a release, which nobody waits for.
    pub fn end(mut self) {
        self.is_over = true;
        // Where delivery has ended nothing is held.
        let _ = self.regions.ask(Ask::Release { id: self.id, let_go: false, answer: None });
    }

    /// What was parked goes on, in the order of the log, before anything newer of the same cells.
    pub async fn release(mut self) {
        self.is_over = true;
        let (answer, heard) = oneshot::channel();
        let asked = self.regions.ask(Ask::Release { id: self.id, let_go: false, answer: Some(answer) });
        if asked.is_ok() {
            // Later is as good: it was asked for, and nothing goes before.
            let _ = tokio::time::timeout(ANSWER_MAX, heard).await;
        }
    }
}

/// Looks at what waits for a region.
#[derive(Clone, Debug)]
pub struct Watch {
    regions: Regions,
    id: u64,
}

impl Watch {
    /// As [`Held::parked`].
    #[must_use]
    pub fn parked(&self) -> Parked {
        self.regions.book().known.get(&self.id).map_or_else(Parked::default, |known| known.parked)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.is_over {
            let _ = self.regions.ask(Ask::Release { id: self.id, let_go: true, answer: None });
        }
    }
}

async fn within<T>(max: Duration, heard: oneshot::Receiver<T>) -> Result<T> {
    match tokio::time::timeout(max, heard).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(_)) => Err(ended()),
        Err(_) => Err(busy()),
    }
}

fn ended() -> Error {
    Error::new(Kind::State, Side::Own, "delivery to the destination has ended")
        .hint("see why in twinline status; it begins again when twinline is started again")
}

fn busy() -> Error {
    Error::new(Kind::Timeout, Side::Own, "delivery has no time to hold a region")
        .hint("it carries out a statement, waits for the state store, or does not begin yet: try again")
        .retryable()
}
