//! Reads complete segments again and again, so that damage is found while other copies of the data still exist.
//!
//! Promises: reads only, a little at a time, at a bounded rate, past the page cache; holds no segment up longer than one step
//! takes; each damage, and each segment that cannot be read, is told once. Of 4,096 in the files that there are it is known that they
//! were told; how many more a pass has met is told at its end. It makes no gap: a record that is not delivered yet
//! becomes one when delivery comes to it, by the same walk, exactly once; one that is delivered is missed by nobody.

use std::collections::HashSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::Damage;
use super::live::{Live, Segment};
use super::quarantine::Stretch;
use super::record::PAYLOAD_MAX_BYTES;
use super::segment::{HEADER_BLOCK_BYTES, SegmentHeader, twin_offset};
use super::walk::{Step, Walk, Want};
use crate::base::bounds::LOG_CHUNK_BYTES;
use crate::base::clock::SharedClock;
use crate::base::disk::{Disk, DiskFile, Open, read_full_at};
use crate::base::{Lsn, SegmentId};

/// Read in one step.
const STEP_BYTES: u64 = LOG_CHUNK_BYTES as u64;
/// Bytes a second, unless a pass would take longer than half of the time between two.
const RATE_BYTES: u64 = 16 << 20;
/// The first pass begins so long after the start at the latest: a start has enough to do.
const FIRST_AFTER: Duration = Duration::from_secs(60);
/// Damages that are remembered as told.
const TOLD_MAX: usize = 4096;
/// In the place of a record: the segment as a whole.
const WHOLE: Lsn = Lsn(u64::MAX);
/// Segments that cannot be read and are shown by name.
const UNREAD_MAX: usize = 16;

/// What scrubbing has found, as a figure.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scrubbed {
    /// Passes that have ended since the start.
    pub passes: u64,
    /// When the last one ended, Unix nanoseconds.
    pub last_pass_ns: Option<i64>,
    /// Bytes that it read.
    pub last_pass_bytes: u64,
    /// Bytes read since the start.
    pub bytes: u64,
    /// Damages found since the start, each counted once.
    pub damages: u64,
    /// Records in them.
    pub damaged_records: u64,
    /// Damages that the last pass has met beside them: too many to know which were counted.
    pub beyond: u64,
    /// Segments of which one copy of the header is damaged.
    pub headers: u64,
    /// Segments that could not be read when their turn came last; those of a pass that has not ended count.
    pub unread: Vec<PathBuf>,
}

/// What one look has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The records.
    pub damage: Damage,
    /// Whether every destination is beyond them.
    pub delivered: bool,
}

/// A segment that is being read.
#[derive(Debug)]
struct Place {
    id: SegmentId,
    walk: Walk,
}

/// The reader.
#[derive(Debug)]
pub(crate) struct Scrub {
    disk: Arc<dyn Disk>,
    live: Arc<Live>,
    clock: SharedClock,
    place: Option<Place>,
    /// Segments up to here were read in this pass.
    done: SegmentId,
    /// The newest one that was complete when it began: what comes later is for the next pass, which else might never come.
    until: Option<SegmentId>,
    pass_bytes: u64,
    told: HashSet<(SegmentId, Lsn)>,
    told_max: usize,
    /// Met in this pass, and not told.
    beyond: u64,
}

impl Scrub {
    pub(crate) fn new(disk: Arc<dyn Disk>, live: Arc<Live>, clock: SharedClock) -> Self {
        let (told, told_max) = (HashSet::new(), TOLD_MAX);
        Self {
            disk,
            live,
            clock,
            place: None,
            done: SegmentId(0),
            until: None,
            pass_bytes: 0,
            told,
            told_max,
            beyond: 0,
        }
    }

    #[cfg(test)]
    pub(crate) fn with_told_max(mut self, told_max: usize) -> Self {
        self.told_max = told_max;
        self
    }

    /// Reads a little; says how many bytes, or that the pass is over.
    pub(crate) fn step(&mut self) -> Option<u64> {
        let Some(segment) = self.segment() else {
            self.end_pass();
            return None;
        };
        let before = self.place.as_ref().map_or(HEADER_BLOCK_BYTES, |place| place.walk.offset());
        let read = self.read(&segment);
        let ended = *read.as_ref().unwrap_or(&true);
        if ended {
            self.note_read(&segment, read.err());
        }
        let after = self.place.as_ref().map_or(before, |place| place.walk.offset());
        if ended {
            self.done = segment.header.id;
            self.place = None;
        }
        let bytes = after.saturating_sub(before);
        self.pass_bytes += bytes;
        self.live.scrubbed().bytes += bytes;
        Some(bytes)
    }

    /// The segment under our hands, if it is still one, or the next that is complete. While it is held its file is not used
    /// again.
    fn segment(&mut self) -> Option<Arc<Segment>> {
        let segments = self.live.segments();
        let here = self.place.as_ref().and_then(|place| segments.iter().find(|segment| segment.header.id == place.id));
        if let Some(segment) = here {
            return Some(Arc::clone(segment));
        }
        self.place = None;
        let newest = segments.iter().rev().find(|segment| segment.is_complete()).map(|segment| segment.header.id);
        let until = self.until.or(newest)?;
        self.until = Some(until);
        segments.iter().find(|segment| segment.header.id > self.done && segment.header.id <= until).map(Arc::clone)
    }

    /// True when the segment was read to its end.
    fn read(&mut self, segment: &Segment) -> io::Result<bool> {
        let mut place = match self.place.take() {
            Some(place) => place,
            None => self.enter(segment)?,
        };
        let (from, limit) = (place.walk.offset(), segment.last().min(self.live.durable()));
        // From the medium, not from memory: all that this step may fetch, which ends with a whole record.
        place.walk.file().forget_cached(from, 2 * STEP_BYTES + PAYLOAD_MAX_BYTES as u64);
        let mut ended = false;
        while !ended && place.walk.offset() - from < STEP_BYTES {
            match place.walk.step(limit, segment.end(), Want::All)? {
                Step::End => ended = true,
                Step::Record(..) => {}
                Step::Damage(damage, from, to) => {
                    let stretch = Stretch { header: &segment.header, path: &segment.path, from, to };
                    self.live.keep_damaged(&stretch, place.walk.file(), &damage);
                    self.tell(segment.header.id, damage);
                }
            }
        }
        self.place = Some(place);
        Ok(ended)
    }

    /// Whether a segment could be read to its end is shown until its next turn, and told the first time that it could not.
    fn note_read(&mut self, segment: &Segment, error: Option<io::Error>) {
        {
            let mut figures = self.live.scrubbed();
            figures.unread.retain(|path| *path != segment.path);
            if error.is_some() && figures.unread.len() < UNREAD_MAX {
                figures.unread.push(segment.path.clone());
            }
        }
        if let Some(error) = error
            && self.remember(segment.header.id, WHOLE)
        {
            self.live.tell_unread(&segment.path, &error);
        }
    }

    fn enter(&mut self, segment: &Segment) -> io::Result<Place> {
        let file = self.disk.open(&segment.path, Open::Read)?;
        let header = &segment.header;
        let intact = [0, twin_offset(header.capacity)].map(|at| is_intact(file.as_ref(), header, at));
        let intact = match intact {
            // No copy is damaged where nothing can be read.
            [Err(error), Err(_)] => return Err(error),
            copies => copies.map(|copy| copy.unwrap_or(false)),
        };
        if intact.contains(&false) && self.remember(header.id, Lsn(0)) {
            self.live.scrubbed().headers += 1;
            tracing::error!(path = %segment.path.display(), event = "queue.scrub",
                "a copy of a log segment's header is damaged: a further one, and a start cannot read that segment");
        }
        Ok(Place { id: header.id, walk: Walk::new(file, header, STEP_BYTES as usize) })
    }

    fn remember(&mut self, id: SegmentId, first: Lsn) -> bool {
        if self.told.len() < self.told_max {
            return self.told.insert((id, first));
        }
        self.beyond += u64::from(!self.told.contains(&(id, first)));
        false
    }

    fn tell(&mut self, id: SegmentId, damage: Damage) {
        if !self.remember(id, damage.first) {
            return;
        }
        {
            let mut figures = self.live.scrubbed();
            figures.damages += 1;
            figures.damaged_records += damage.last.0 - damage.first.0 + 1;
        }
        let delivered = damage.last < self.live.released();
        self.live.tell_found(Found { damage, delivered });
    }

    fn end_pass(&mut self) {
        let segments = self.live.segments();
        let listed: Vec<PathBuf> = segments.iter().map(|segment| segment.path.clone()).collect();
        let ids: HashSet<SegmentId> = segments.iter().map(|segment| segment.header.id).collect();
        drop(segments);
        // What lay in files that are gone needs no place any more.
        self.told.retain(|(id, _)| ids.contains(id));
        if self.beyond > 0 {
            tracing::error!(
                more = self.beyond,
                event = "queue.scrub",
                "scrubbing has found more damage in the log than is told one by one"
            );
        }
        let mut figures = self.live.scrubbed();
        figures.unread.retain(|path| listed.contains(path));
        figures.passes += 1;
        figures.beyond = std::mem::take(&mut self.beyond);
        figures.last_pass_ns = Some(self.clock.wall_ns());
        figures.last_pass_bytes = std::mem::take(&mut self.pass_bytes);
        (self.done, self.until) = (SegmentId(0), None);
    }

    /// The pause after so many bytes.
    fn pause(&self, bytes: u64, every: Duration) -> Duration {
        let log: u64 = self.live.segments().iter().map(|segment| segment.bytes).sum();
        let needed = log as f64 / (every.as_secs_f64() / 2.0).max(0.001);
        Duration::from_secs_f64(bytes as f64 / needed.max(RATE_BYTES as f64))
    }
}

/// Whether a copy of the header is what was written.
fn is_intact(file: &dyn DiskFile, header: &SegmentHeader, at: u64) -> io::Result<bool> {
    let mut block = vec![0; HEADER_BLOCK_BYTES as usize];
    file.forget_cached(at, HEADER_BLOCK_BYTES);
    // A later version may have set features that nobody need know.
    let read = read_full_at(file, &mut block, at)?;
    Ok(SegmentHeader::decode(&block[..read]) == Ok(*header))
}

/// The thread: a pass each `every`, until `stop` has no sender any more.
pub(crate) fn run(mut scrub: Scrub, every: Duration, stop: &Receiver<()>) {
    let mut wait = every.min(FIRST_AFTER);
    while stop.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) && !scrub.live.closed.load(Ordering::Acquire) {
        let begun = scrub.clock.monotonic();
        while let Some(bytes) = scrub.step() {
            let pause = scrub.pause(bytes, every);
            if stop.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
                return;
            }
        }
        wait = every.saturating_sub(scrub.clock.monotonic().saturating_sub(begun));
    }
}
