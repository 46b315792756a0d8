//! Recovery: what every start does, clean or not. It reads, copies forward and publishes; it never changes a byte of
//! an older segment.
//!
//! Pass 1 finds D, the highest LSN that anything proves durable. Pass 2 walks the last segment: what fails at or
//! below D is damage of acknowledged data, what fails above it is a torn tail. Sound records above D may exist in the
//! page cache only, so they are copied into a new segment that is published when it is durable. Running it twice
//! gives the same.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::cursor::Cursor;
use super::first::First;
use super::group::Tail;
use super::live::{Live, Segment};
use super::quarantine::{Quarantine, Stretch};
use super::record::{Header, Kind, SKIPPABLE, array_at, seed};
use super::retain::{Budget, Supply};
use super::safeguard::{Safeguard, holds};
use super::segment::{
    HEADER_BLOCK_BYTES, Seal, SegmentHeader, Unreadable, name, parse_name, parse_next_name, seal_offset, twin_offset,
};
use super::walk::{Step, Walk, Want, prove};
use super::writer::{Active, Identity};
use super::{Damage, Recovery, reader};
use crate::base::clock::SharedClock;
use crate::base::disk::{Disk, DiskFile, Open, read_full_at};
use crate::base::{Error, Incarnation, Lsn, Result, SegmentId, Side};

const CHUNK_BYTES: usize = 1 << 20;
/// A name that comes and goes, so that a directory has something to sync.
const SCRATCH: &str = "sync.next";
/// More pieces of damage than this are reported as one.
const DAMAGES_MAX: usize = 4096;

/// Names of foreign files that are told at a start.
const FOREIGN_TOLD: usize = 10;

/// What recovery works with.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) clock: SharedClock,
    /// Budget and directory of the segments.
    pub(crate) budget: Budget,
    pub(crate) quarantine: Arc<Quarantine>,
    pub(crate) node: [u8; 16],
    pub(crate) cursors: &'a [Cursor],
    /// What a reader of what this process writes must know.
    pub(crate) features: u32,
}

/// A log ready to be appended to.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) live: Arc<Live>,
    pub(crate) supply: Arc<Supply>,
    pub(crate) active: Active,
    pub(crate) tail: Tail,
    /// What could not be begun for want of room.
    pub(crate) first: Option<First>,
    pub(crate) identity: Identity,
    pub(crate) report: Recovery,
}

/// A published file and its readable header.
#[derive(Debug)]
struct Found {
    header: SegmentHeader,
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    bytes: u64,
    seal: Option<Seal>,
}

#[derive(Debug, Default)]
struct Listing {
    names: Vec<String>,
    found: Vec<Found>,
    /// Files whose header cannot be read: id, path, length.
    headless: Vec<(SegmentId, PathBuf, u64)>,
}

/// What the last segment holds.
#[derive(Debug)]
struct End {
    durable: Lsn,
    copies: Vec<(Header, Bytes)>,
    chain: u32,
    position: u64,
    torn_bytes: u64,
    damages: Vec<Damage>,
}

/// Recovers the log below `context.budget.dir`, creating an empty one where there is none.
pub(crate) fn recover(context: &Context<'_>, random: &mut fastrand::Rng) -> Result<Recovered> {
    let started = context.clock.monotonic();
    let dir = &context.budget.dir;
    // Names that are visible but not durable must not steer what follows.
    if holds(Safeguard::DirectoryFirst) {
        sync_names(context.disk.as_ref(), dir).map_err(|e| disk_error("cannot sync", dir, e))?;
    }
    let listing = read_listing(context.disk.as_ref(), dir)?;
    refuse_others(context, &listing)?;
    tell_foreign(dir, &listing.names);
    let mut end = read_end(context, &listing)?;
    let mut damages = holes(context, &listing, end.durable);
    account_headless(&listing, context.budget.segment_bytes, &mut end);
    damages.append(&mut end.damages);

    let live = Arc::new(Live::default());
    let _first = live.quarantine.set(Arc::clone(&context.quarantine));
    let superseded = register(&live, &listing, end.durable);
    let numbers = listing.names.iter().filter_map(|n| parse_next_name(n).or_else(|| parse_name(n).map(|id| id.0)));
    let next_number = numbers.max().unwrap_or(0) + 1;
    let supply = Supply::new(Arc::clone(&context.disk), Arc::clone(&live), context.budget.clone(), next_number);
    let supply = Arc::new(supply);
    supply.adopt(&listing.names).map_err(|e| disk_error("cannot take over prepared files in", dir, e))?;
    let newest = listing.found.iter().map(|found| found.header.incarnation).max();
    let identity = Identity {
        node: context.node,
        incarnation: Incarnation(newest.unwrap_or(Incarnation(0)).0 + 1),
        features: context.features,
    };
    let first = end.first(&listing);
    let last = first.extent().1;
    let begun = start_segment(context, &first, &live, &supply, &identity, random)?;
    quarantine_headless(context, &listing);
    let last_path = listing.found.last().map(|found| &found.path);
    for (path, bytes) in superseded {
        // Its records may be those that are to be copied.
        if begun.is_none() && last_path == Some(&path) {
            supply.leave(path, bytes);
        } else if let Err(error) = supply.retire_superseded(path.clone(), bytes) {
            tracing::warn!(path = %path.display(), %error, "cannot recycle a superseded log segment");
        }
    }
    supply.publish_room();
    let report = Recovery {
        segments: live.segments().len(),
        durable: end.durable,
        last,
        torn_bytes: end.torn_bytes,
        damages,
        incarnation: identity.incarnation,
        elapsed: context.clock.monotonic().saturating_sub(started),
    };
    report.log();
    let (active, tail, first) = match begun {
        Some((active, tail)) => (active, tail, None),
        None => (first.absent(), first.tail, Some(first)),
    };
    Ok(Recovered { live, supply, active, tail, first, identity, report })
}

/// Syncs a directory. One whose last sync failed may call itself clean, although the names on the medium are older, until
/// it changes: so it is changed first. Where that is refused, on a full disk say, nothing is lost by going on.
fn sync_names(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    let scratch = dir.join(SCRATCH);
    let changed = match disk.open(&scratch, Open::Create) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other.map(drop),
    };
    if let Err(error) = changed.and_then(|()| disk.remove(&scratch)) {
        tracing::debug!(path = %scratch.display(), %error, "the directory is synced as it is");
    }
    disk.sync_dir(dir)
}

pub(super) fn disk_error(doing: &str, path: &Path, cause: io::Error) -> Error {
    Error::disk(format!("{doing} {}", path.display()), cause)
}

fn read_listing(disk: &dyn Disk, dir: &Path) -> Result<Listing> {
    let names = disk.list(dir).map_err(|e| disk_error("cannot list", dir, e))?;
    let mut listing = Listing { names, ..Listing::default() };
    for name in &listing.names {
        let Some(id) = parse_name(name) else { continue };
        let path = dir.join(name);
        let error = |e| disk_error("cannot read the log segment", &path, e);
        let file = disk.open(&path, Open::Read).map_err(error)?;
        let bytes = file.length().map_err(error)?;
        match read_header(file.as_ref(), id, bytes).map_err(error)? {
            Ok(header) => {
                let seal = read_seal(file.as_ref(), &header).map_err(error)?;
                listing.found.push(Found { header, path, file, bytes, seal });
            }
            Err(Unreadable::Damaged) => listing.headless.push((id, path, bytes)),
            Err(Unreadable::Misnamed(id)) => return Err(misnamed(&path, id)),
            Err(Unreadable::Foreign { major, features }) => return Err(foreign(&path, major, features)),
        }
    }
    listing.found.sort_by_key(|found| found.header.id);
    listing.headless.sort();
    Ok(listing)
}

/// The ids of all segments, oldest first.
fn ids(disk: &dyn Disk, dir: &Path) -> Result<Vec<SegmentId>> {
    let names = match disk.list(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(|e| disk_error("cannot list", dir, e))?,
    };
    let mut ids: Vec<SegmentId> = names.iter().filter_map(|name| parse_name(name)).collect();
    ids.sort();
    Ok(ids)
}

pub(crate) fn holds_segments(disk: &dyn Disk, dir: &Path) -> Result<bool> {
    Ok(!ids(disk, dir)?.is_empty())
}

/// The installation that wrote the newest segment whose header can be read.
pub(crate) fn written_by(disk: &dyn Disk, dir: &Path) -> Result<Option<[u8; 16]>> {
    for id in ids(disk, dir)?.into_iter().rev() {
        let path = dir.join(name(id));
        let error = |e| disk_error("cannot read the log segment", &path, e);
        let file = disk.open(&path, Open::Read).map_err(error)?;
        let bytes = file.length().map_err(error)?;
        if let Ok(header) = read_header(file.as_ref(), id, bytes).map_err(error)? {
            return Ok(Some(header.node));
        }
    }
    Ok(None)
}

/// The numbers in a log of another installation mean other routes, and what is known beside it belongs to other records.
fn refuse_others(context: &Context<'_>, listing: &Listing) -> Result<()> {
    let Some(other) = listing.found.iter().find(|found| found.header.node != context.node) else { return Ok(()) };
    Err(other_node(&other.path, other.header.node, context.node))
}

/// A segment of another installation.
pub(super) fn other_node(path: &Path, theirs: [u8; 16], ours: [u8; 16]) -> Error {
    let hex = |node: [u8; 16]| format!("{:032x}", u128::from_be_bytes(node));
    let (theirs, ours) = (hex(theirs), hex(ours));
    let what = format!("{} was written by another twinline ({theirs}; this one is {ours})", path.display());
    Error::new(crate::base::Kind::State, Side::Own, what)
        .hint("put this log back beside the state.db that it was written with, and that of this data_dir in its place")
}

/// What is no file of the log is left alone, and said.
fn tell_foreign(dir: &Path, names: &[String]) {
    let known = |name: &&String| parse_name(name).is_none() && parse_next_name(name).is_none();
    let foreign: Vec<&String> = names.iter().filter(known).take(FOREIGN_TOLD).collect();
    if !foreign.is_empty() {
        tracing::warn!(dir = %dir.display(), names = ?foreign, event = "log.foreign", "these are no files of the log: left alone");
    }
}

pub(super) fn foreign(path: &Path, major: u16, features: u32) -> Error {
    let what = format!("{} is of log format {major} (features {features:#x})", path.display());
    Error::new(crate::base::Kind::State, Side::Own, format!("{what}, which this version does not know"))
        .hint("run the version that wrote this data directory, or a newer one")
}

/// Names and headers agree after any crash: somebody has renamed or copied the file. Which of two it is nobody can tell.
pub(super) fn misnamed(path: &Path, id: SegmentId) -> Error {
    let what = format!("{} holds segment {} of the log, not the one that it is named after", path.display(), id.0);
    let next = format!("name it {} again; where that is there already, move this copy elsewhere", name(id));
    Error::new(crate::base::Kind::State, Side::Own, what).hint(next)
}

/// The header, or its twin where the header is not readable.
pub(super) fn read_header(
    file: &dyn DiskFile,
    id: SegmentId,
    bytes: u64,
) -> io::Result<Result<SegmentHeader, Unreadable>> {
    let mut block = vec![0; HEADER_BLOCK_BYTES as usize];
    let mut read = |offset| -> io::Result<Result<SegmentHeader, Unreadable>> {
        let length = read_full_at(file, &mut block, offset)?;
        let right_name =
            |header: SegmentHeader| if header.id == id { Ok(header) } else { Err(Unreadable::Misnamed(header.id)) };
        Ok(SegmentHeader::decode(&block[..length]).and_then(right_name))
    };
    let first = read(0);
    if let Ok(Ok(_) | Err(Unreadable::Foreign { .. } | Unreadable::Misnamed(_))) = first {
        return first;
    }
    if !holds(Safeguard::HeaderTwin) {
        return first;
    }
    match (first, read(twin_offset(bytes))) {
        (_, Ok(Ok(header))) => Ok(Ok(header)),
        // A medium that cannot be read now may be readable later: no reason to give the segment up.
        (Err(error), _) | (_, Err(error)) => Err(error),
        // Of a damaged header, a sound twin says what the file is, also where that is nothing for us.
        (Ok(Err(Unreadable::Damaged)), twin) => twin,
        (first, _) => first,
    }
}

pub(super) fn read_seal(file: &dyn DiskFile, header: &SegmentHeader) -> io::Result<Option<Seal>> {
    let mut bytes = [0; super::record::HEADER_BYTES];
    let read = read_full_at(file, &mut bytes, seal_offset(header.capacity))?;
    let seal = Seal::decode(&array_at(&bytes, 0), seed(header.salt)).filter(|_| read == bytes.len());
    Ok(seal.filter(|seal| seal.last >= header.base.before() && seal.end <= header.capacity))
}

/// Last LSN that counts of each segment but the last: below every later base.
fn limits(found: &[Found], durable: Lsn) -> Vec<Lsn> {
    let mut limit = durable;
    let mut limits: Vec<Lsn> = Vec::with_capacity(found.len());
    for segment in found.iter().rev() {
        limits.push(limit);
        limit = limit.min(segment.header.base.before());
    }
    limits.reverse();
    limits
}

/// Both passes over the last segment.
fn read_end(context: &Context<'_>, listing: &Listing) -> Result<End> {
    let claimed = listing.found.iter().map(|f| f.header.base.before().max(f.seal.map_or(Lsn::ZERO, |s| s.last)));
    let seen = context.cursors.iter().map(|cursor| cursor.durable_seen);
    let floor = claimed.chain(seen).max().unwrap_or(Lsn::ZERO);
    let Some(last) = listing.found.last() else {
        return Ok(End { durable: floor, copies: vec![], chain: 0, position: 0, torn_bytes: 0, damages: vec![] });
    };
    if let Some(seal) = last.seal.filter(|seal| seal.last == floor) {
        let position = last.header.position + (seal.end - HEADER_BLOCK_BYTES);
        let (chain, torn_bytes) = (seal.chain, 0);
        return Ok(End { durable: floor, copies: vec![], chain, position, torn_bytes, damages: vec![] });
    }
    let error = |e| disk_error("cannot read the log segment", &last.path, e);
    let proof = prove(Arc::clone(&last.file), &last.header, CHUNK_BYTES).map_err(error)?;
    let durable = floor.max(proof.durable);
    let mut walk = Walk::new(Arc::clone(&last.file), &last.header, CHUNK_BYTES);
    let data_end = super::segment::data_end(last.header.capacity).min(last.bytes);
    let damages = walk_acknowledged(context, last, &mut walk, durable, data_end)?;
    let chain = walk.chain().unwrap_or(0);
    let position = walk.position();
    let mut copies = Vec::new();
    while let Some(copy) = walk.tail(data_end).map_err(error)? {
        known_kind(&copy.0)?;
        copies.push(copy);
    }
    let (durable, chain, position) = match copies.last() {
        Some((last, _)) if !holds(Safeguard::CopyForward) => {
            let trusted = (last.lsn, walk.chain().unwrap_or(0), walk.position());
            copies.clear();
            trusted
        }
        _ => (durable, chain, position),
    };
    let torn_bytes = proof.end.saturating_sub(walk.offset());
    let cut = walk.is_cut(last.bytes, last.header.capacity).map_err(error)?;
    let mut end = End { durable, copies, chain, position, torn_bytes, damages };
    if cut {
        let lost_bytes = last.header.capacity.saturating_sub(walk.offset());
        end.lose(lost_bytes / super::record::ALIGN, last.header.created_ns.min(walk.received_ns()));
    }
    Ok(end)
}

impl End {
    fn first(&mut self, listing: &Listing) -> First {
        let ids = listing.found.iter().map(|f| f.header.id).chain(listing.headless.iter().map(|(id, ..)| *id));
        let tail = Tail { next: self.durable.next(), durable: self.durable, chain: self.chain, seed: 0 };
        let copies = std::mem::take(&mut self.copies);
        First { previous: ids.max().unwrap_or(SegmentId(0)), tail, copies, position: self.position }
    }

    /// Up to so many records that were acknowledged are gone without a trace. LSNs that they may have had are not used
    /// again.
    fn lose(&mut self, records: u64, from_ns: i64) {
        // What stands before them was acknowledged earlier.
        self.durable = self.copies.drain(..).map(|(header, _)| header.lsn).max().unwrap_or(self.durable);
        let (first, last) = (self.durable.next(), Lsn(self.durable.0.saturating_add(records)));
        self.damages.push(Damage { first, last, route: None, from_ns, to_ns: i64::MAX, lines: 0 });
        self.durable = last;
        self.chain = 0;
    }
}

fn walk_acknowledged(
    context: &Context<'_>,
    last: &Found,
    walk: &mut Walk,
    durable: Lsn,
    data_end: u64,
) -> Result<Vec<Damage>> {
    let mut damages: Vec<Damage> = Vec::new();
    loop {
        let step = walk.step(durable, data_end, Want::All);
        match step.map_err(|e| disk_error("cannot read the log segment", &last.path, e))? {
            Step::End => return Ok(damages),
            Step::Record(header, _) => known_kind(&header)?,
            Step::Damage(damage, from, to) => {
                let stretch = Stretch { header: &last.header, path: &last.path, from, to };
                context.quarantine.keep(&stretch, last.file.as_ref(), &damage);
                let many = damages.len() >= DAMAGES_MAX;
                match damages.last_mut() {
                    Some(previous) if many => previous.merge(&damage),
                    _ => damages.push(damage),
                }
            }
        }
    }
}

/// A kind that must not be skipped and that we do not know stops the start: its meaning may change what others mean.
fn known_kind(header: &Header) -> Result<()> {
    if Kind::of(header.kind).is_some() || header.kind & SKIPPABLE != 0 {
        return Ok(());
    }
    Err(reader::unknown_kind(header))
}

/// LSNs that some reader will miss because no file holds them; what lies below every floor nobody misses.
fn holes(context: &Context<'_>, listing: &Listing, durable: Lsn) -> Vec<Damage> {
    let mut holes = Vec::new();
    let lowest = context.cursors.iter().filter_map(Cursor::lowest_floor).min();
    let mut hole = |damage: Damage| {
        if damage.first <= damage.last && lowest.is_none_or(|floor| damage.last > floor) {
            holes.push(damage);
        }
    };
    let oldest = listing.found.first().map_or(durable.next(), |found| found.header.base);
    // Without a floor only a file says that there was something older.
    let older =
        listing.headless.iter().any(|(id, ..)| listing.found.first().is_some_and(|found| *id < found.header.id));
    if let Some(floor) = lowest.or(older.then_some(Lsn::ZERO)) {
        let until_ns = listing.found.first().map_or(i64::MAX, |found| found.header.created_ns);
        hole(Damage::around(floor.next(), oldest.before(), [i64::MIN, until_ns]));
    }
    for pair in listing.found.windows(2) {
        if let Some(seal) = &pair[0].seal {
            let (next, (min_ns, max_ns)) = (&pair[1].header, seal.received_ns(&pair[0].header));
            hole(Damage::around(seal.last.next(), next.base.before(), [min_ns, max_ns, next.created_ns]));
        }
    }
    holes
}

/// A last segment without a readable header was published, so what it held was acknowledged; how much is not known.
/// LSNs that it may have held are not used again.
fn account_headless(listing: &Listing, usual_bytes: u64, end: &mut End) {
    let last = listing.found.last().map(|found| found.header.id);
    let newer = listing.headless.iter().filter(|(id, ..)| last.is_none_or(|last| *id > last));
    // A file that was cut short, to nothing even, held more than it does.
    let records: u64 = newer.map(|(_, _, bytes)| (*bytes).max(usual_bytes) / super::record::ALIGN).sum();
    if records == 0 {
        return;
    }
    end.lose(records, listing.found.last().map_or(i64::MIN, |found| found.header.created_ns));
}

/// Enters the segments that count; returns those that hold nothing that counts.
fn register(live: &Live, listing: &Listing, durable: Lsn) -> Vec<(PathBuf, u64)> {
    let mut superseded = Vec::new();
    let mut segments = live.segments();
    for (found, limit) in listing.found.iter().zip(limits(&listing.found, durable)) {
        if limit < found.header.base {
            superseded.push((found.path.clone(), found.bytes));
            continue;
        }
        let segment = Segment::complete(found.header, found.path.clone(), found.bytes, limit);
        if let Some(seal) = found.seal.filter(|seal| seal.last == limit) {
            segment.set_end(seal.end);
        }
        segments.push_back(Arc::new(segment));
    }
    drop(segments);
    live.set_durable(durable);
    superseded
}

/// Begins the segment that this process writes first, unless the disk is full: then it is begun later.
fn start_segment(
    context: &Context<'_>,
    first: &First,
    live: &Live,
    supply: &Supply,
    identity: &Identity,
    random: &mut fastrand::Rng,
) -> Result<Option<(Active, Tail)>> {
    let dir = &context.budget.dir;
    let error = |e| disk_error("cannot start a log segment in", dir, e);
    let prepared = match supply.make_first(supply.first_bytes(first.extent().0)) {
        Err(full) if full.kind() == io::ErrorKind::StorageFull => {
            tracing::error!(
                event = "queue.full",
                "the disk of data_dir is full: the log takes nothing until it has room"
            );
            return Ok(None);
        }
        other => other.map_err(error)?,
    };
    let place = (context.disk.as_ref(), dir.as_path());
    let new = (random.u64(..), context.clock.wall_ns());
    first.begin(place, prepared, identity, new, live).map(Some).map_err(error)
}

/// Files whose header is lost are kept where no start stumbles over them again.
fn quarantine_headless(context: &Context<'_>, listing: &Listing) {
    for (id, path, _) in &listing.headless {
        let name = format!("{:020}-{}.wal", id.0, context.clock.wall_ns());
        let moved = context
            .disk
            .rename(path, &context.quarantine.dir().join(name))
            .and_then(|()| context.disk.sync_dir(context.quarantine.dir()))
            .and_then(|()| context.disk.sync_dir(&context.budget.dir));
        if let Err(error) = moved {
            tracing::warn!(path = %path.display(), %error, "cannot move a log segment without a header to quarantine");
        }
    }
}
