//! Group commit without the I/O: bundles wait in a queue, [`cut`] takes as many as fit and lays them out for one write.
//!
//! Promises: a group never outgrows the room it was given; the entries of one bundle get contiguous LSNs, even when a
//! bundle is cut over several groups; the outcomes of all bundles of a group become one record; every bundle hears
//! exactly once what became of it, and how much of it stands, even when it is dropped.

use std::collections::VecDeque;
use std::fmt;
use std::io::IoSlice;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;

use super::entry::{Done as Callback, Failed};
use super::record::{Header, Kind, PAYLOAD_MAX_BYTES, payload_crc, record_bytes};
use super::squeeze::{Compression, FLAGS, expand, squeeze};
use super::{Bundle, Entry, Fault, OUTCOME_BYTES};
use crate::base::{Lsn, RequestId, RouteId};

/// Bodies up to this size are copied into the group's buffer; larger ones are written from where they lie.
const COPY_MAX_BYTES: usize = 64 << 10;
/// Bundles of one group at most.
const JOBS_MAX: usize = 4096;

/// A completion that is called exactly once.
struct Done {
    callback: Option<Callback>,
    /// What stands of the bundle, should it fail: LSN of its first entry, and how many are durable.
    stands: (Lsn, usize),
}

impl Done {
    fn call(&mut self, result: Result<Lsn, Fault>) {
        let Some(callback) = self.callback.take() else { return };
        let (first, durable) = self.stands;
        let result = result.map_err(|fault| Failed { fault, first, durable });
        if catch_unwind(AssertUnwindSafe(|| callback(result))).is_err() {
            tracing::error!("a completion of the log panicked; the log goes on");
        }
    }
}

impl Drop for Done {
    fn drop(&mut self) {
        self.call(Err(Fault::Closed));
    }
}

/// A bundle on its way to the disk.
pub(crate) struct Job {
    entries: Vec<Entry>,
    crcs: Vec<u32>,
    outcomes: Vec<[u8; OUTCOME_BYTES]>,
    done: Done,
    /// Entries that are in an earlier group already.
    next: usize,
    first: Option<Lsn>,
    bytes: u64,
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").field("entries", &self.entries.len()).field("outcomes", &self.outcomes.len()).finish()
    }
}

impl Job {
    /// Takes a bundle, squeezes its bodies and computes its checksums, on the caller's thread.
    pub(crate) fn new(mut bundle: Bundle, compression: Compression) -> Self {
        for entry in &mut bundle.entries {
            if let Some((stored, flag)) = squeeze(compression, &entry.body) {
                entry.body = stored;
                entry.flags |= flag;
            }
        }
        let crcs = bundle.entries.iter().map(|e| payload_crc(&e.meta, &e.body)).collect();
        let bytes = bundle_bytes(&bundle);
        let Bundle { entries, outcomes, done } = bundle;
        Self {
            entries,
            crcs,
            outcomes,
            done: Done { callback: Some(done), stands: (Lsn::ZERO, 0) },
            next: 0,
            first: None,
            bytes,
        }
    }

    /// Bytes on disk when it is written alone.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The bundle back, unheard.
    pub(crate) fn into_bundle(mut self) -> Bundle {
        let done = self.done.callback.take().unwrap_or_else(|| Box::new(|_| ()));
        for entry in &mut self.entries {
            entry.body = expand(entry.flags, &entry.body, PAYLOAD_MAX_BYTES).expect("it was squeezed here");
            entry.flags &= !FLAGS;
        }
        Bundle { entries: self.entries, outcomes: self.outcomes, done }
    }

    /// Tells the submitter.
    pub(crate) fn complete(mut self, result: Result<(), Fault>) {
        let first = self.first.unwrap_or(Lsn::ZERO);
        self.done.call(result.map(|()| first));
    }

    /// The group that holds a part of it is durable.
    pub(crate) fn stands(&mut self) {
        if let Some(first) = self.first {
            self.done.stands = (first, self.next);
        }
    }

    /// The record that must be written next, in bytes on disk.
    pub(crate) fn first_record_bytes(&self) -> u64 {
        if !self.outcomes.is_empty() {
            return record_bytes(self.outcomes.len() * OUTCOME_BYTES);
        }
        self.entries.get(self.next).map_or(0, entry_bytes)
    }
}

/// Bytes of an entry on disk.
pub(crate) fn entry_bytes(entry: &Entry) -> u64 {
    record_bytes(entry.meta.len() + entry.body.len())
}

/// Bytes of a bundle on disk when it is written alone.
pub(crate) fn bundle_bytes(bundle: &Bundle) -> u64 {
    let outcomes = if bundle.outcomes.is_empty() { 0 } else { record_bytes(bundle.outcomes.len() * OUTCOME_BYTES) };
    outcomes + bundle.entries.iter().map(entry_bytes).sum::<u64>()
}

/// Where the log stands when a group is cut.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tail {
    /// LSN of the next record.
    pub(crate) next: Lsn,
    pub(crate) durable: Lsn,
    /// Header checksum of the last record.
    pub(crate) chain: u32,
    /// Start value of the segment's checksums.
    pub(crate) seed: u32,
}

#[derive(Debug)]
enum Piece {
    Buffer(Range<usize>),
    Shared(Bytes),
}

/// Records laid out for one write.
#[derive(Debug)]
pub(crate) struct Group {
    buffer: Vec<u8>,
    pieces: Vec<Piece>,
    /// Where the log stands once the group is written; `durable` is as it was.
    pub(crate) tail: Tail,
    pub(crate) bytes: u64,
    pub(crate) records: u64,
    pub(crate) min_received_ns: i64,
    pub(crate) max_received_ns: i64,
    /// How many bundles at the front of the queue are complete with this group.
    pub(crate) finished: usize,
}

impl Group {
    pub(crate) fn new(tail: Tail, buffer: Vec<u8>) -> Self {
        let mut group = Self {
            buffer,
            pieces: Vec::new(),
            tail,
            bytes: 0,
            records: 0,
            min_received_ns: i64::MAX,
            max_received_ns: i64::MIN,
            finished: 0,
        };
        group.buffer.clear();
        group
    }

    /// Appends one record: the header's LSN, durable LSN and chain are filled in.
    pub(crate) fn append(&mut self, mut header: Header, parts: [&Bytes; 2]) -> Lsn {
        header.lsn = self.tail.next;
        header.durable = self.tail.durable;
        header.chain = self.tail.chain;
        let (bytes, crc) = header.encode(self.tail.seed);
        self.copy(&bytes);
        for part in parts {
            if part.len() <= COPY_MAX_BYTES {
                self.copy(part);
            } else {
                self.pieces.push(Piece::Shared(part.clone()));
                self.bytes += part.len() as u64;
            }
        }
        let padding = self.bytes.next_multiple_of(super::record::ALIGN) - self.bytes;
        self.copy(&[0; super::record::HEADER_BYTES][..padding as usize]);
        self.tail.chain = crc;
        self.tail.next = self.tail.next.next();
        self.records += 1;
        self.min_received_ns = self.min_received_ns.min(header.received_ns);
        self.max_received_ns = self.max_received_ns.max(header.received_ns);
        header.lsn
    }

    fn copy(&mut self, bytes: &[u8]) {
        let start = self.buffer.len();
        self.buffer.extend_from_slice(bytes);
        self.bytes += bytes.len() as u64;
        match self.pieces.last_mut() {
            Some(Piece::Buffer(range)) => range.end = self.buffer.len(),
            _ => self.pieces.push(Piece::Buffer(start..self.buffer.len())),
        }
    }

    /// The bytes in order.
    pub(crate) fn slices(&self) -> Vec<IoSlice<'_>> {
        let mut slices = Vec::with_capacity(self.pieces.len());
        for piece in &self.pieces {
            slices.push(IoSlice::new(match piece {
                Piece::Buffer(range) => &self.buffer[range.clone()],
                Piece::Shared(bytes) => bytes,
            }));
        }
        slices
    }

    /// The buffer, for the next group.
    pub(crate) fn into_buffer(self) -> Vec<u8> {
        self.buffer
    }

    /// LSN of the last record.
    pub(crate) fn last(&self) -> Lsn {
        self.tail.next.before()
    }
}

/// What [`cut`] found.
#[derive(Debug)]
pub(crate) enum Cut {
    /// Nothing waits.
    Empty,
    /// A group.
    Group(Group),
    /// Not even the first waiting record fits; it needs this many bytes.
    NoRoom(u64),
}

/// Takes a group off the waiting bundles: at most `limit` bytes (one larger record excepted), never more than `room`.
/// Bundles that are complete with it stay at the front of the queue until the group is committed.
pub(crate) fn cut(queue: &mut VecDeque<Job>, tail: Tail, room: u64, limit: u64, now_ns: i64, buffer: Vec<u8>) -> Cut {
    let Some(front) = queue.front() else { return Cut::Empty };
    let need = front.first_record_bytes();
    if need > room {
        return Cut::NoRoom(need);
    }
    let bound = room.min(limit.max(need));
    let mut group = Group::new(tail, buffer);
    let whole = count_whole(queue, bound);
    if whole == 0 {
        // The first bundle alone is larger than a group: write what fits.
        let job = &mut queue[0];
        append_outcomes(&mut group, std::slice::from_mut(job), now_ns);
        append_entries(&mut group, job, bound);
        return Cut::Group(group);
    }
    let first = &mut queue.make_contiguous()[..whole];
    let continued = usize::from(first[0].next > 0);
    if continued == 1 {
        append_entries(&mut group, &mut first[0], bound);
    }
    append_outcomes(&mut group, &mut first[continued..], now_ns);
    for job in &mut first[continued..] {
        append_entries(&mut group, job, bound);
    }
    group.finished = whole;
    debug_assert!(group.bytes <= bound, "a group outgrew its bound");
    Cut::Group(group)
}

/// How many bundles at the front fit into `bound` bytes completely.
fn count_whole(queue: &VecDeque<Job>, bound: u64) -> usize {
    let (mut entries, mut outcomes) = (0u64, 0usize);
    for (index, job) in queue.iter().enumerate().take(JOBS_MAX) {
        let merged = outcomes + job.outcomes.len();
        entries += job.entries[job.next..].iter().map(entry_bytes).sum::<u64>();
        let total = entries + if merged == 0 { 0 } else { record_bytes(merged * OUTCOME_BYTES) };
        if total > bound || merged * OUTCOME_BYTES > PAYLOAD_MAX_BYTES {
            return index;
        }
        outcomes = merged;
    }
    queue.len().min(JOBS_MAX)
}

fn append_outcomes(group: &mut Group, jobs: &mut [Job], now_ns: i64) {
    let all: Vec<u8> = jobs.iter().flat_map(|job| job.outcomes.iter().flatten().copied()).collect();
    if all.is_empty() {
        return;
    }
    let payload = Bytes::from(all);
    let header = Header {
        payload_bytes: payload.len() as u32,
        lsn: Lsn::ZERO,
        durable: Lsn::ZERO,
        received_ns: now_ns,
        payload_crc: payload_crc(&[], &payload),
        chain: 0,
        kind: Kind::Outcomes.code(),
        flags: 0,
        meta_bytes: 0,
        route: RouteId(0),
        request: RequestId(0),
        lines: 0,
    };
    let lsn = group.append(header, [&Bytes::new(), &payload]);
    for job in jobs.iter_mut().filter(|job| job.entries.is_empty()) {
        job.first = Some(lsn);
    }
    // A bundle that goes on in the next group must not bring its outcomes again.
    jobs.iter_mut().for_each(|job| job.outcomes.clear());
}

fn append_entries(group: &mut Group, job: &mut Job, bound: u64) {
    while let Some(entry) = job.entries.get(job.next) {
        if group.bytes + entry_bytes(entry) > bound {
            return;
        }
        let header = Header {
            payload_bytes: (entry.meta.len() + entry.body.len()) as u32,
            lsn: Lsn::ZERO,
            durable: Lsn::ZERO,
            received_ns: entry.received_ns,
            payload_crc: job.crcs[job.next],
            chain: 0,
            kind: entry.kind.code(),
            flags: entry.flags,
            meta_bytes: entry.meta.len() as u16,
            route: entry.route,
            request: entry.request,
            lines: entry.lines,
        };
        let lsn = group.append(header, [&entry.meta, &entry.body]);
        job.first.get_or_insert(lsn);
        job.next += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wal::record::{ALIGN, HEADER_BYTES, array_at};
    use proptest::prelude::*;
    use std::sync::mpsc;

    fn entry(bytes: usize) -> Entry {
        let (kind, route, request) = (Kind::Intent, RouteId(1), RequestId(2));
        let (meta, body) = (Bytes::from_static(b"m"), Bytes::from(vec![b'x'; bytes]));
        Entry { kind, flags: 0, route, request, lines: 1, received_ns: 5, meta, body }
    }

    fn tail() -> Tail {
        Tail { next: Lsn(10), durable: Lsn(9), chain: 77, seed: 1 }
    }

    /// The headers in a group's bytes.
    fn headers(group: &Group) -> Vec<Header> {
        let bytes: Vec<u8> = group.slices().iter().flat_map(|slice| slice.iter().copied()).collect();
        assert_eq!(bytes.len() as u64, group.bytes);
        let (mut at, mut headers) = (0, Vec::new());
        while at < bytes.len() {
            let (header, _) = Header::decode(&array_at::<HEADER_BYTES>(&bytes, at), 1).expect("a sound header");
            let payload = &bytes[at + HEADER_BYTES..][..header.payload_bytes as usize];
            assert_eq!(payload_crc(payload, &[]), header.payload_crc);
            at += header.record_bytes() as usize;
            headers.push(header);
        }
        headers
    }

    proptest! {
        #[test]
        fn groups_keep_their_bound_and_every_bundle_gets_neighbouring_lsns(
            shapes in prop::collection::vec((prop::collection::vec(0usize..90_000, 0..5), 0usize..5), 1..20),
            limit in 1u64..300_000,
            room in 100_000u64..400_000,
        ) {
            let mut queue = VecDeque::new();
            let mut answers = Vec::new();
            for (sizes, outcomes) in &shapes {
                let outcomes = vec![[9; OUTCOME_BYTES]; outcomes + usize::from(sizes.is_empty())];
                let (sender, receiver) = mpsc::channel();
                let done = Box::new(move |result| sender.send(result).unwrap());
                let entries = sizes.iter().map(|size| entry(*size)).collect();
                queue.push_back(Job::new(Bundle { entries, outcomes, done }, Compression::None));
                answers.push(receiver);
            }
            let (mut state, mut all) = (tail(), Vec::new());
            while let Cut::Group(group) = cut(&mut queue, state, room, limit, 1, Vec::new()) {
                prop_assert!(group.bytes <= room);
                let found = headers(&group);
                let largest = found.iter().map(Header::record_bytes).max().unwrap();
                prop_assert!(group.bytes <= limit.max(largest) || group.bytes <= limit + largest);
                prop_assert_eq!(found.len() as u64, group.records);
                prop_assert!(found.iter().all(|header| header.durable == state.durable));
                prop_assert!(found.iter().filter(|h| h.kind == 2).count() <= 1, "outcomes are merged");
                state = Tail { durable: group.last(), ..group.tail };
                let finished = group.finished;
                all.extend(found);
                queue.drain(..finished).for_each(|job| job.complete(Ok(())));
            }
            prop_assert!(queue.is_empty());
            prop_assert!(all.iter().enumerate().all(|(index, header)| header.lsn.0 == 10 + index as u64));
            for ((sizes, _), answer) in shapes.iter().zip(answers) {
                let first = answer.try_recv().expect("every bundle hears").expect("success").0;
                for (index, size) in sizes.iter().enumerate() {
                    let header = all[(first - 10) as usize + index];
                    prop_assert_eq!((header.kind, header.payload_bytes as usize), (1, size + 1));
                }
            }
            let outcomes: usize = all.iter().filter(|h| h.kind == 2).map(|h| h.payload_bytes as usize / 16).sum();
            let given: usize = shapes.iter().map(|(sizes, outcomes)| outcomes + usize::from(sizes.is_empty())).sum();
            prop_assert_eq!(outcomes, given);
        }
    }

    #[test]
    fn what_does_not_fit_says_how_much_it_needs() {
        let bundle = Bundle { entries: vec![entry(1000)], outcomes: vec![], done: Box::new(|_| ()) };
        let need = bundle_bytes(&bundle);
        let mut queue = VecDeque::from([Job::new(bundle, Compression::None)]);
        assert!(matches!(cut(&mut queue, tail(), need - 1, 1, 0, vec![]), Cut::NoRoom(n) if n == need));
        assert!(matches!(cut(&mut queue, tail(), need, 1, 0, vec![]), Cut::Group(group) if group.bytes == need));
        assert_eq!(need % ALIGN, 0);
    }

    #[test]
    fn a_bundle_that_is_dropped_hears_so() {
        let (sender, receiver) = mpsc::channel();
        let done = Box::new(move |result| sender.send(result).unwrap());
        drop(Job::new(Bundle { entries: vec![entry(1)], outcomes: vec![], done }, Compression::None));
        assert_eq!(receiver.try_recv(), Ok(Err(Fault::Closed.into())));
    }

    #[test]
    fn a_bundle_that_was_not_taken_comes_back_as_it_was() {
        for how in [Compression::None, Compression::Lz4, Compression::Zstd] {
            let given = vec![entry(10), entry(5000)];
            let job = Job::new(Bundle { entries: given.clone(), outcomes: vec![], done: Box::new(|_| ()) }, how);
            assert_eq!(job.bytes() < entry_bytes(&given[1]), how != Compression::None);
            for (entry, given) in job.into_bundle().entries.iter().zip(&given) {
                assert_eq!((&entry.body, entry.flags), (&given.body, given.flags));
            }
        }
    }

    #[test]
    fn a_completion_that_panics_does_not_take_the_log_with_it() {
        let done = Box::new(|_| panic!("a completion of a test"));
        Job::new(Bundle { entries: vec![entry(1)], outcomes: vec![], done }, Compression::None).complete(Ok(()));
    }
}
