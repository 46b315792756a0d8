//! What is on disk, opened: the lock of the data directory first, then state store, log and gap logs.
//!
//! Promise: nothing of a data directory is touched while another process has it. A log is opened only with the state store that it was
//! written with, or, where that is lost and the operator says so, with a new one. A log that is gone is a gap, not a fresh start.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::told::Told;
use super::{EPOCH, ballast, destinations, gaps};
use crate::base::clock::SharedClock;
use crate::base::disk::{self, Disk};
use crate::base::{Error, Kind, Lsn, Result, Side};
use crate::cli::check::storage;
use crate::config::{Config, LogCompression, log_waiting};
use crate::pipeline::GapKeeper;
use crate::queue::{self, LocalQueue, Opened, OpenedAll, Wanted};
use crate::state::{Event, EventKind, SharedState, SqliteState};
use crate::wal::cursor::{self, Cursor, CursorFile};
use crate::wal::{self, LogLock};

/// The id of this installation, which stands in each segment.
pub(in crate::cli) const NODE: &str = "node";
/// Set once a log has begun beside this state store.
const BEGUN: &str = "log-begun";

/// What is on disk, opened.
pub(super) struct Stores {
    pub(super) state: SharedState,
    /// Of each destination, in the order of the configuration.
    pub(super) opened: Vec<Opened>,
    pub(super) gaps: GapKeeper,
}

/// Opens everything. `adopt`: a log without its state store is taken over.
pub(super) fn open(config: &Config, clock: &SharedClock, adopt: bool) -> Result<Stores> {
    let disk = disk::chosen();
    let lock = wal::lock(disk.as_ref(), &config.data_dir.join("wal"))?;
    let state = SqliteState::open(&config.data_dir.join("state.db"))?;
    let state: SharedState = Arc::new(state.with_dirty_regions_max(config.queue.dirty_regions));
    let node = node(&disk, config, &state, adopt, clock.wall_ns())?;
    let wanted = destinations::wanted(config, &state)?;
    let OpenedAll { each: mut opened, removed } = open_queue(lock, disk, config, clock, node, &wanted)?;
    let (first, log) = first(&opened)?;
    if first.recovery.segments > 0 && value(&state, BEGUN)?.is_none() {
        // On a full disk the next start says it.
        drop(state.set(BEGUN, b"1".to_vec()));
    }
    if let Some(text) = storage::shortage(config, disk::chosen().as_ref()) {
        tracing::warn!(event = "disk.budget", "{text}");
    }
    ballast::keep(config, &state, clock.wall_ns());
    let gaps = gaps::open(config, removed.iter().map(|one| one.id.clone()), &state, clock.wall_ns())?;
    let told = Told::remembered(&state);
    tell_recovery(&state, &opened, &told, clock.wall_ns());
    destinations::begin(&wanted, &mut opened, &state, clock.wall_ns())?;
    destinations::leave(removed, &state, clock)?;
    let (telling, time) = (Arc::clone(&state), Arc::clone(clock));
    log.on_found(Box::new(move |found| {
        told.once(found.damage.first, found.damage.last, || tell_found(&telling, &found, time.wall_ns()));
    }));
    let (telling, time) = (Arc::clone(&state), Arc::clone(clock));
    let unread = move |path: &Path, error: &io::Error| tell_unread(&telling, path, error, time.wall_ns());
    log.on_unread(unread);
    Ok(Stores { state, opened, gaps })
}

fn first(opened: &[Opened]) -> Result<(&Opened, Arc<wal::Wal>)> {
    let first = opened.first().map(|first| (first, first.queue.log()));
    first.ok_or_else(|| Error::new(Kind::Config, Side::Own, "no destination is configured"))
}

/// The id of this installation, made once; it must be that of the log.
fn node(disk: &Arc<dyn Disk>, config: &Config, state: &SharedState, adopt: bool, now_ns: i64) -> Result<[u8; 16]> {
    let dir = config.data_dir.join("wal");
    let logged = wal::written_by(disk.as_ref(), &dir)?;
    let known = value(state, NODE)?;
    if logged.is_some() && known.is_none() && !adopt {
        return Err(without_state(&dir));
    }
    // Of files that are there and cannot be read, recovery tells what is lost.
    if !wal::holds_segments(disk.as_ref(), &dir)? && value(state, BEGUN)?.is_some() {
        log_is_gone(disk, config, state, now_ns)?;
    }
    let made = logged.unwrap_or_else(|| std::array::from_fn(|_| fastrand::u8(..)));
    let kept = match known {
        Some(kept) => kept,
        None => state.get_or_set(NODE, made.to_vec()).wait().map_err(no_room)?,
    };
    kept.try_into().map_err(|_| Error::new(Kind::Damage, Side::Own, "the node id in the state store is not 16 bytes"))
}

/// A log that nothing is known beside.
pub(in crate::cli) fn without_state(dir: &Path) -> Error {
    let what = format!("{} holds a log, and state.db beside it is new", dir.display());
    Error::new(Kind::State, Side::Own, what).hint(
        "put back the state.db that belongs to this log, in place of the new one; where it is lost, start once with \
         `twinline run --adopt-log`",
    )
}

fn value(state: &SharedState, name: &'static str) -> Result<Option<Vec<u8>>> {
    state.get(name).wait().map_err(no_room)
}

/// What is most likely where a state store that was just opened does not do what is asked.
pub(super) fn no_room(error: Error) -> Error {
    error.or_hint("free a few MiB on the disk of data_dir, and see that this user may write there; then start again")
}

fn log_is_gone(disk: &Arc<dyn Disk>, config: &Config, state: &SharedState, now_ns: i64) -> Result<()> {
    let text = format!(
        "{} holds no segment although there was a log: what waited in it is lost",
        config.data_dir.join("wal/seg").display()
    );
    tracing::error!(event = "queue.gone", "{text}");
    let highest = state.highest_lsn().wait().map_err(no_room)?;
    for one in config.each() {
        keep_numbers(disk, &one, highest)?;
        // Records that a cursor knows of become a gap when delivery comes to them. It is the same loss, and one row.
        let known = missed(disk.as_ref(), &one)?;
        let owner = std::slice::from_ref(&one.destination().id);
        gaps::tell_loss(owner, state, now_ns, ("log-damage", known), text.clone())?;
    }
    Ok(())
}

/// The new log goes on behind every record that the state store speaks of: under a number used twice a new record would be
/// taken for one that is in a gap, or a dead letter, already.
fn keep_numbers(disk: &Arc<dyn Disk>, config: &Config, highest: Lsn) -> Result<()> {
    let (dir, id) = (config.data_dir.join("wal"), &config.destination().id);
    let known = cursor::load(disk.as_ref(), &dir, id)?.cursor;
    let mut cursor = known.unwrap_or_else(|| Cursor { floors: vec![highest], ..Cursor::start(id.clone(), 1) });
    if cursor.durable_seen >= highest {
        return Ok(());
    }
    cursor.durable_seen = highest;
    let place = cursor::dir(&dir);
    let refused = |error| no_room(Error::disk(format!("cannot create {}", place.display()), error));
    disk.create_dir_all(&place).map_err(refused)?;
    let generation = cursor.generation;
    CursorFile::new(Arc::clone(disk), &dir, id.clone(), generation).save(&mut cursor)
}

/// The records that delivery will miss of a log without segments, by its cursors.
fn missed(disk: &dyn Disk, config: &Config) -> Result<Option<(Lsn, Lsn)>> {
    let dir = config.data_dir.join("wal");
    let (mut floor, mut durable) = (Lsn::ZERO, Lsn::ZERO);
    for id in cursor::list(disk, &dir)? {
        let Some(cursor) = cursor::load(disk, &dir, &id)?.cursor else { continue };
        durable = durable.max(cursor.durable_seen);
        if id == config.destination().id {
            floor = cursor.lowest_floor().unwrap_or(floor);
        }
    }
    Ok((floor < durable).then(|| (floor.next(), durable)))
}

fn open_queue(
    lock: LogLock,
    disk: Arc<dyn Disk>,
    config: &Config,
    clock: &SharedClock,
    node: [u8; 16],
    wanted: &[Wanted],
) -> Result<OpenedAll> {
    let settings = &config.queue;
    let options = wal::Options {
        segment_bytes: settings.segment_size.0,
        max_bytes: settings.max_size.0,
        reserve_free_bytes: settings.reserve_free.0,
        channel_bytes: log_waiting(config).as_usize(),
        scrub_every: Some(settings.scrub_every),
        compression: match settings.compression {
            LogCompression::None => wal::Compression::None,
            LogCompression::Lz4 => wal::Compression::Lz4,
            LogCompression::Zstd => wal::Compression::Zstd,
        },
        node,
        ..wal::Options::new(config.data_dir.join("wal"))
    };
    LocalQueue::open_all(lock, disk, Arc::clone(clock), options, wanted, EPOCH)
}

pub(super) fn tell(state: &SharedState, at_ns: i64, kind: EventKind, text: String) {
    tracing::info!(event = ?kind, "{text}");
    drop(state.add_event(Event { at_ns, kind, text }));
}

fn tell_found(state: &SharedState, found: &wal::Found, now_ns: i64) {
    let then = if found.delivered {
        "they are delivered, nothing is missing"
    } else {
        "what of them is not delivered yet becomes a gap when delivery comes to it"
    };
    let (first, last) = (found.damage.first, found.damage.last);
    let text = format!("scrubbing found damage in the log, records {first} to {last}: {then}");
    tell(state, now_ns, EventKind::LogDamage, text);
}

fn tell_unread(state: &SharedState, path: &Path, error: &io::Error, now_ns: i64) {
    let text = format!(
        "scrubbing cannot read {}: {error}; what of it is not delivered waits until it can be read: look for errors of the \
         disk in the kernel's log, and copy data_dir to another disk while that can be done",
        path.display()
    );
    tell(state, now_ns, EventKind::LogDamage, text);
}

/// What opening the log did to it is told even when the start is refused later.
fn tell_recovery(state: &SharedState, opened: &[Opened], told: &Told, now_ns: i64) {
    let tell = |kind, text| tell(state, now_ns, kind, text);
    let doubted = opened.iter().map(|one| one.doubted).sum();
    if doubted > 0 {
        tell(EventKind::Recovered, queue::left_open_text(doubted));
    }
    for remark in opened.iter().flat_map(|one| &one.remarks) {
        tracing::error!(event = "cursor.lost", "{remark}");
        tell(EventKind::LogDamage, remark.clone());
    }
    for damage in opened.iter().take(1).flat_map(|first| &first.recovery.damages) {
        let lines = match damage.lines {
            0 => "how many lines they held is not known".to_owned(),
            lines => format!("{lines} lines"),
        };
        let text = format!("records {} to {} of the log are damaged: {lines}", damage.first, damage.last);
        told.once(damage.first, damage.last, || tell(EventKind::LogDamage, text));
    }
}
