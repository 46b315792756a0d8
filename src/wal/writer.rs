//! The writer: cuts groups, writes and syncs them, rotates segments. [`Writer`] is plain sequential code; [`run`] is
//! the thread around it.
//!
//! Promises: one write and one sync a group, never delayed by a timer; a bundle hears success only after the sync of
//! its last record; after any failed write or sync the log is faulted for good: that group and all later ones fail.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;

use super::first::First;
use super::group::{Cut, Group, Job, Tail, cut};
use super::inbox::Inbox;
use super::live::{Live, Segment};
use super::record::{Header, Kind, payload_crc, seed};
use super::recover::{Context, Recovered};
use super::retain::{Prepared, Supply};
use super::safeguard::{Safeguard, holds};
use super::segment::{HEADER_BLOCK_BYTES, Seal, SegmentHeader, data_end, name, room, seal_offset, twin_offset};
use super::{Fault, Recovery};
use crate::base::bounds::LOG_GROUP_BYTES;
use crate::base::clock::SharedClock;
use crate::base::disk::{Disk, DiskFile, Durability};
use crate::base::{Incarnation, Lsn, RequestId, RouteId, SegmentId};

/// So long after a group nothing came, the mark is written that proves the group durable.
const IDLE_MARK: Duration = Duration::from_millis(20);
/// After a start on a full disk: between two looks for room.
const BEGIN_EVERY: Duration = Duration::from_secs(1);

/// What a message to the log thread is.
#[derive(Debug)]
pub(crate) enum Message {
    /// Bundles that were handed over together.
    Jobs(Vec<Job>),
    /// Write what waits, seal, and end.
    Close,
}

/// What stays the same for all segments of one process.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) node: [u8; 16],
    pub(crate) incarnation: Incarnation,
    /// What a reader of its records must know.
    pub(crate) features: u32,
}

/// The segment being written.
#[derive(Debug)]
pub(crate) struct Active {
    pub(crate) segment: Arc<Segment>,
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) offset: u64,
    pub(crate) min_received_ns: i64,
    pub(crate) max_received_ns: i64,
}

impl Active {
    /// Bytes of records that groups may still write; the place of the idle mark is left free.
    fn room(&self) -> u64 {
        let used = self.offset - HEADER_BLOCK_BYTES;
        room(self.segment.header.capacity).saturating_sub(used)
    }

    /// Writes and syncs a group. Once that has failed, a later success would say nothing.
    fn write(&self, group: &Group) -> io::Result<()> {
        let unheard = group.finished == 0 && group.records > 1;
        let marks = group.finished == 0 && group.records == 1;
        let synced = holds(Safeguard::SyncBeforeSuccess)
            && (holds(Safeguard::SyncBeforeRotation) || !unheard)
            && (holds(Safeguard::MarkSynced) || !marks);
        let durability = if synced { Durability::Durable } else { Durability::Cached };
        let written = self.file.write_all_at(&group.slices(), self.offset, durability);
        if holds(Safeguard::NoRetry) { written } else { written.or_else(|_| self.file.sync_data()) }
    }
}

/// Makes a prepared file a segment: header and twin are durable before the name is, and the name before anything else.
pub(crate) fn publish(disk: &dyn Disk, dir: &Path, prepared: &Prepared, header: &SegmentHeader) -> io::Result<PathBuf> {
    let block = header.encode();
    // To the last byte: a file that a former process prepared may have its length in the page cache alone, if a sync failed there.
    let end = [IoSlice::new(&block), IoSlice::new(&[0; HEADER_BLOCK_BYTES as usize])];
    prepared.file.write_all_at(&end, twin_offset(header.capacity), Durability::Cached)?;
    prepared.file.write_all_at(&end[..1], 0, Durability::Cached)?;
    if holds(Safeguard::HeaderBeforeName) {
        prepared.file.sync_data()?;
    }
    let path = dir.join(name(header.id));
    disk.rename(&prepared.path, &path)?;
    if holds(Safeguard::NameBeforeRecords) {
        disk.sync_dir(dir)?;
    }
    Ok(path)
}

/// A mark: a record without payload.
pub(crate) fn mark(received_ns: i64) -> Header {
    Header {
        payload_bytes: 0,
        lsn: Lsn::ZERO,
        durable: Lsn::ZERO,
        received_ns,
        payload_crc: payload_crc(&[], &[]),
        chain: 0,
        kind: Kind::Mark.code(),
        flags: 0,
        meta_bytes: 0,
        route: RouteId(0),
        request: RequestId(0),
        lines: 0,
    }
}

/// The log's one writer.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: PathBuf,
    pub(crate) clock: SharedClock,
    pub(crate) live: Arc<Live>,
    pub(crate) supply: Arc<Supply>,
    pub(crate) identity: Identity,
    pub(crate) group_bytes: u64,
    pub(crate) active: Active,
    pub(crate) tail: Tail,
    /// The first segment, while there is no room for it.
    pub(crate) first: Option<First>,
    pub(crate) random: fastrand::Rng,
    pub(crate) buffer: Vec<u8>,
    /// A group was written since the last mark.
    pub(crate) unmarked: bool,
}

impl Writer {
    /// The writer that goes on from where recovery ended, and what that has found.
    pub(crate) fn new(
        context: Context<'_>,
        recovered: Recovered,
        group_bytes: usize,
        random: fastrand::Rng,
    ) -> (Self, Recovery) {
        let writer = Self {
            disk: context.disk,
            dir: context.budget.dir,
            clock: context.clock,
            live: recovered.live,
            supply: recovered.supply,
            identity: recovered.identity,
            group_bytes: group_bytes.max(1) as u64,
            active: recovered.active,
            tail: recovered.tail,
            first: recovered.first,
            random,
            buffer: Vec::new(),
            unmarked: false,
        };
        writer.publish_room();
        (writer, recovered.report)
    }

    /// Says how much fits, before the first bundle comes.
    fn publish_room(&self) {
        self.live.active_room.store(self.active.room(), Ordering::Release);
        self.supply.publish_room();
    }

    /// Writes all waiting bundles, group by group.
    pub(crate) fn commit(&mut self, queue: &mut VecDeque<Job>) {
        while !queue.is_empty() {
            let before = (queue.len(), self.tail.next);
            if self.live.is_faulted() {
                self.fail_all(queue);
                return;
            }
            let buffer = std::mem::take(&mut self.buffer);
            let now_ns = self.clock.wall_ns();
            match cut(queue, self.tail, self.active.room(), self.group_bytes, now_ns, buffer) {
                Cut::Empty => return,
                Cut::NoRoom(need) => {
                    if !self.make_room(need, queue) {
                        continue;
                    }
                    assert!(self.active.room() >= need, "a rotation that makes no room");
                    continue;
                }
                Cut::Group(group) => self.commit_group(group, queue),
            }
            assert!((queue.len(), self.tail.next) != before, "a commit that does not move");
        }
    }

    fn commit_group(&mut self, group: Group, queue: &mut VecDeque<Job>) {
        let finished = group.finished;
        if !holds(Safeguard::DurableBeforeWake) {
            self.live.wake();
        }
        if let Err(error) = self.write(group, Active::room) {
            self.live.set_fault(format!("writing {}: {error}", self.active.segment.path.display()));
            self.fail_all(queue);
            return;
        }
        self.unmarked = true;
        for job in queue.drain(..finished) {
            self.complete(job, Ok(()));
        }
        // One that was cut goes on in the next group; should that fail, this much of it is there.
        if let Some(job) = queue.front_mut() {
            job.stands();
        }
        if holds(Safeguard::DurableBeforeWake) {
            self.live.wake();
        }
    }

    /// Writes and syncs one group and moves the durable LSN.
    fn write(&mut self, group: Group, bound: impl Fn(&Active) -> u64) -> io::Result<()> {
        assert!(group.bytes <= bound(&self.active), "a group outgrew its segment");
        self.live.set_written(group.last());
        let started = self.clock.monotonic();
        self.active.write(&group)?;
        let took = self.clock.monotonic().saturating_sub(started);
        self.live.synced(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), group.records);
        self.active.offset += group.bytes;
        self.active.min_received_ns = self.active.min_received_ns.min(group.min_received_ns);
        self.active.max_received_ns = self.active.max_received_ns.max(group.max_received_ns);
        self.tail = Tail { durable: group.last(), ..group.tail };
        self.active.segment.set_end(self.active.offset);
        self.live.active_room.store(self.active.room(), Ordering::Release);
        self.live.set_durable(self.tail.durable);
        self.buffer = group.into_buffer();
        if self.buffer.capacity() > LOG_GROUP_BYTES {
            self.buffer = Vec::new();
        }
        Ok(())
    }

    /// Writes a group that a test has laid out.
    #[cfg(test)]
    pub(crate) fn commit_raw(&mut self, group: Group) {
        self.write(group, Active::room).expect("a healthy disk");
    }

    /// Writes the mark, if a group came after the last one and its place is still free.
    pub(crate) fn mark(&mut self) {
        if !self.unmarked || self.live.is_faulted() {
            return;
        }
        self.unmarked = false;
        if !holds(Safeguard::IdleMark) {
            return;
        }
        let left = data_end(self.active.segment.header.capacity).saturating_sub(self.active.offset);
        let mut group = Group::new(self.tail, std::mem::take(&mut self.buffer));
        group.append(mark(self.clock.wall_ns()), [&Bytes::new(), &Bytes::new()]);
        if group.bytes > left {
            return;
        }
        if let Err(error) = self.write(group, |_| left) {
            self.live.set_fault(format!("writing {}: {error}", self.active.segment.path.display()));
        }
    }

    /// Rotates for the first waiting bundle. `false`: it could not, and that bundle or all of them heard so.
    fn make_room(&mut self, need: u64, queue: &mut VecDeque<Job>) -> bool {
        let Some(prepared) = self.take(need) else {
            if let Some(job) = queue.pop_front() {
                self.complete(job, Err(Fault::Full));
            }
            return false;
        };
        if let Err(error) = self.rotate(prepared) {
            self.live.set_fault(format!("starting a new log segment: {error}"));
            self.fail_all(queue);
            return false;
        }
        true
    }

    /// A file with so much room behind what it must begin with.
    fn take(&self, need: u64) -> Option<Prepared> {
        let begins = self.first.as_ref().map_or(0, |first| first.extent().0);
        let taken = |prepared: &Prepared| {
            self.live.active_room.store(room(prepared.bytes).saturating_sub(begins), Ordering::Release);
        };
        self.supply.take(need + begins, taken)
    }

    /// Begins the first segment, if that was not done for want of room and there is some now.
    pub(crate) fn begin_late(&mut self) {
        if self.first.is_none() || self.live.is_faulted() {
            return;
        }
        let Some(prepared) = self.take(0) else { return };
        if let Err(error) = self.rotate(prepared) {
            self.live.set_fault(format!("starting the first log segment: {error}"));
        }
    }

    /// The first segment, on a disk that was full when we started.
    fn begin(&mut self, first: &First, prepared: Prepared) -> io::Result<()> {
        let new = (self.random.u64(..), self.clock.wall_ns());
        let place = (self.disk.as_ref(), self.dir.as_path());
        (self.active, self.tail) = first.begin(place, prepared, &self.identity, new, &self.live)?;
        self.live.active_room.store(self.active.room(), Ordering::Release);
        self.supply.retire_left();
        tracing::info!(event = "queue.room", "the log has room and takes writes");
        self.live.wake();
        Ok(())
    }

    /// Seals the active segment and publishes the next one.
    pub(crate) fn rotate(&mut self, prepared: Prepared) -> io::Result<()> {
        if let Some(first) = self.first.take() {
            return self.begin(&first, prepared);
        }
        self.seal()?;
        let old = &self.active.segment;
        let header = SegmentHeader {
            id: SegmentId(old.header.id.0 + 1),
            base: self.tail.next,
            created_ns: self.clock.wall_ns(),
            node: self.identity.node,
            incarnation: self.identity.incarnation,
            salt: self.random.u64(..),
            previous: old.header.id,
            previous_chain: self.tail.chain,
            capacity: prepared.bytes,
            position: old.header.position + (self.active.offset - HEADER_BLOCK_BYTES),
            features: self.identity.features,
        };
        let path = publish(self.disk.as_ref(), &self.dir, &prepared, &header)?;
        let segment = Arc::new(Segment::active(header, path, prepared.bytes, HEADER_BLOCK_BYTES));
        let mut segments = self.live.segments();
        old.complete_at(self.tail.durable);
        segments.push_back(Arc::clone(&segment));
        drop(segments);
        self.tail.seed = seed(header.salt);
        self.active = Active {
            segment,
            file: prepared.file,
            offset: HEADER_BLOCK_BYTES,
            min_received_ns: i64::MAX,
            max_received_ns: i64::MIN,
        };
        self.live.active_room.store(self.active.room(), Ordering::Release);
        self.unmarked = false;
        Ok(())
    }

    /// Writes the seal of the active segment. All its records are durable already.
    fn seal(&mut self) -> io::Result<()> {
        let header = &self.active.segment.header;
        let seal = Seal {
            chain: self.tail.chain,
            last: self.tail.durable,
            end: self.active.offset,
            min_received_ns: self.active.min_received_ns,
            max_received_ns: self.active.max_received_ns,
            records: self.tail.next.0 - header.base.0,
        };
        let bytes = seal.encode(self.tail.seed);
        self.active.file.write_all_at(&[IoSlice::new(&bytes)], seal_offset(header.capacity), Durability::Durable)
    }

    /// Ends: what was written is sealed, so that the next start need not look for a torn tail.
    pub(crate) fn finish(&mut self) {
        if self.live.is_faulted() || self.first.is_some() {
            return;
        }
        if let Err(error) = self.seal() {
            self.live.set_fault(format!("sealing {}: {error}", self.active.segment.path.display()));
        }
    }

    fn fail_all(&self, queue: &mut VecDeque<Job>) {
        for job in queue.drain(..) {
            self.complete(job, Err(self.live.fault().unwrap_or(Fault::Closed)));
        }
    }

    /// Frees what the bundle held before its submitter hears, so that the next one is not refused for it.
    fn complete(&self, job: Job, result: Result<(), Fault>) {
        self.live.waiting_bytes.fetch_sub(job.bytes(), Ordering::AcqRel);
        job.complete(result);
    }
}

/// A writer that ends takes no more; one that panics leaves a log that says so.
#[derive(Debug)]
struct Sentinel {
    live: Arc<Live>,
    inbox: Inbox<Message>,
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.live.set_fault("the log's writer panicked".into());
        }
        // Dropped unwritten, each bundle hears that the log is closed.
        drop(self.inbox.close());
    }
}

/// The log thread: the sync is the linger; while it runs, the channel fills and the next group grows.
pub(crate) fn run(mut writer: Writer, inbox: &Inbox<Message>, wake_supply: &dyn Fn()) {
    let _sentinel = Sentinel { live: Arc::clone(&writer.live), inbox: inbox.clone() };
    let mut queue = VecDeque::new();
    loop {
        let marks = writer.unmarked && !writer.live.is_faulted();
        let look = writer.first.is_some().then_some(BEGIN_EVERY);
        let Some(mut message) = inbox.take(marks.then_some(IDLE_MARK).or(look)) else {
            writer.mark();
            writer.begin_late();
            continue;
        };
        let (mut bytes, mut closing) = (0, false);
        // Everything before the close is written; more than one group's worth is left for the next turn.
        loop {
            match message {
                Message::Jobs(jobs) => {
                    bytes += jobs.iter().map(Job::bytes).sum::<u64>();
                    queue.extend(jobs);
                }
                Message::Close => closing = true,
            }
            if !closing && bytes >= writer.group_bytes {
                break;
            }
            match inbox.try_take() {
                Some(next) => message = next,
                None => break,
            }
        }
        let segment = writer.active.segment.header.id;
        writer.commit(&mut queue);
        if writer.active.segment.header.id != segment {
            wake_supply();
        }
        if closing {
            writer.finish();
            return;
        }
    }
}
