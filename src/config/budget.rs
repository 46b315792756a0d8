//! The budgets of memory and of `data_dir`: every part that grows with load, added up before anything is started.

use super::{Config, Delivery, Role};
use crate::base::bounds::{
    COPY_PIECE, COPY_REQUEST_BYTES, COPY_REQUESTS, COPY_SPOOL_BYTES, COUNTED_MAX, GAP_LOG_BYTES, LOG_BODY_BYTES,
    LOG_CHUNK_BYTES, LOG_GROUP_BYTES, LOG_SPARES, LOG_SPARES_FEW, QUARANTINE_BYTES, READ_AGAIN_MAX, READ_AHEAD_BYTES,
    READ_BACK_PIECE, READ_BACK_SPOOL_BYTES, ROWS_BYTES_MAX,
};
use crate::base::size::ByteSize;

/// One part of a budget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetPart {
    /// What it is for and which setting moves it.
    pub what: &'static str,
    /// Its upper bound.
    pub size: ByteSize,
}

/// Program, tables of in-flight writes, state store and metrics, whatever the configuration.
const FIXED: u64 = 64 << 20;
/// Buffers of one chunk of the log: delivery reads once with many, and ahead of itself, after damage, and for each target that is read
/// again or counted twice, with few; so does scrubbing, which may have damaged bytes copied; and files are filled ahead.
const LOG_CHUNKS: usize = (1 + LOG_SPARES_FEW) + 1 + 1;
/// … of the delivery to one destination.
const DELIVERY_CHUNKS: usize = 1 + LOG_SPARES + (1 + LOG_SPARES_FEW) * (1 + 3 + 2 * READ_AGAIN_MAX + 2 * COUNTED_MAX);
/// Records of full size: one under scrubbing; and for each destination the last one that is read ahead, and one as it is stored and
/// unpacked.
const LOG_RECORDS: usize = 1;
const DELIVERY_RECORDS: usize = 1 + 2;
/// Names and more that a record holds beside its body.
const RECORD_META_BYTES: usize = 64 << 10;
/// What the log holds, beside bundles that wait.
const LOG: u64 =
    (LOG_CHUNKS * LOG_CHUNK_BYTES + LOG_RECORDS * (LOG_BODY_BYTES + RECORD_META_BYTES) + LOG_GROUP_BYTES) as u64;
/// What the readers of one destination hold.
const LOG_READERS: u64 =
    (DELIVERY_CHUNKS * LOG_CHUNK_BYTES + DELIVERY_RECORDS * (LOG_BODY_BYTES + RECORD_META_BYTES)) as u64;
/// A line whose cell is remembered while its write is under way: 33 bytes in a table that may be half empty and is copied
/// when it grows, and its place in the list of its write.
const PER_LINE: u64 = 128;
/// Bundles that wait for the log's disk, at most.
const LOG_WAITING: u64 = 64 << 20;
/// A body that passes through in pieces, whatever `limits.in_flight` says: then it passes alone.
const LARGE_BODY: u64 = 28 << 20;
/// Sums, calls that wait, and the file while it is read at start, of one gap log.
const PER_GAP_LOG: u64 = 6 << 20;
/// Cells of requests without an answer, of one lane: 229,376 of 25 bytes, in a table that is copied when it grows.
const LATE_CELLS: u64 = 10 << 20;
/// Tables of one lane: where its records are in the log (16,384 of 48 bytes, twice while they are merged), what it has counted ahead of others
/// (4,096 of 32 bytes) and names of routes without a number (4,096).
const LANE_TABLES: u64 = 3 << 20;
/// What the distributor holds before it knows the outcome, and lines that enter no lane (16,384 notes of 112 bytes,
/// twice while they are merged), and lines that went as one.
const READ_AHEAD: u64 = (READ_AHEAD_BYTES + ROWS_BYTES_MAX) as u64 + (4 << 20);
/// Buffers of one connection to a database.
const PER_OUTGOING: u64 = 32 << 10;
/// Answer and buffers of one connection beside its request head.
const PER_CONNECTION: u64 = 16 << 10;
/// One record of TLS each way, and its state.
const PER_TLS: u64 = 40 << 10;
/// A batch under way, and what was read last.
const PER_UDP: u64 = 2 << 20;
/// Bytes of memory that one value of an answer takes.
const PER_VALUE: usize = 100;
/// Requests of a copy, and the next one that is being filled.
const COPY_WRITES: u64 = ((2 * COPY_REQUESTS + 1) * COPY_REQUEST_BYTES) as u64;
/// A copy of history to one destination: a piece of an answer, its values, and its requests.
const PER_COPY: u64 = (COPY_PIECE.0 + COPY_PIECE.1 * PER_VALUE) as u64 + COPY_WRITES;
/// The part that is read back, one at a time over all destinations.
const READ_BACK: u64 = (READ_BACK_PIECE.0 + READ_BACK_PIECE.1 * PER_VALUE) as u64 + COPY_WRITES;
/// Names, counters and target of one route.
const PER_ROUTE: u64 = 2 << 10;

/// Every bounded part of the process's memory, with its bound; what each destination has counts for each. Their sum is at most `limits.memory` in any [`Config`] that was loaded.
#[must_use]
pub fn memory_parts(config: &Config) -> Vec<BudgetPart> {
    let connections = |role| config.listeners(role).map(|listen| listen.max_connections as u64).sum::<u64>();
    let each = config.limits.max_header.0.saturating_add(PER_CONNECTION);
    let all = connections(Role::Proxy).saturating_add(connections(Role::Admin));
    let encrypted: u64 = config.listen.iter().filter(|l| l.tls.is_some()).map(|l| l.max_connections as u64).sum();
    let destinations = config.destinations.len() as u64;
    let each_delivery = |part: &dyn Fn(&Delivery) -> u64| {
        config.destinations.iter().fold(0u64, |sum, one| sum.saturating_add(part(&one.delivery)))
    };
    // Each lane holds one batch as text and the same batch compressed.
    let batches = |one: &Delivery| (one.lanes as u64).saturating_mul(one.batch_bytes.0).saturating_mul(2);
    let lanes = each_delivery(&|one| one.lanes as u64);
    let to_destinations: u64 = config.destinations.iter().map(|one| one.server.max_connections as u64).sum();
    // Queries have connections of their own to the source.
    let outgoing = 2 * config.source.server.max_connections as u64 + to_destinations;
    let gap_logs = 1 + u64::from(config.queue.spare_dir.is_some());
    [
        ("request bodies (limits.in_flight, at least 28 MiB)", config.limits.in_flight.0.max(LARGE_BODY)),
        ("bundles waiting for the log (limits.in_flight, at most 64 MiB)", log_waiting(config).0),
        // Room that grows ahead of its lines, and what finds the held ones. What is parked (`PARKED_BYTES_MAX`) is part of it.
        (
            "lines waiting in lanes (pending_bytes × 1.5)",
            each_delivery(&|one| one.pending_bytes.0.saturating_add(one.pending_bytes.0 / 2)),
        ),
        ("batches being sent (lanes × batch_bytes × 2)", each_delivery(&batches)),
        ("connections (max_connections × (max_header + 16 KiB))", all.saturating_mul(each)),
        ("TLS of clients (max_connections × 40 KiB)", encrypted.saturating_mul(PER_TLS)),
        ("cells of unanswered requests (lanes × 10 MiB)", lanes.saturating_mul(LATE_CELLS)),
        (
            "tables of lanes (lanes × 3 MiB + 9 MiB)",
            lanes.saturating_mul(LANE_TABLES).saturating_add(destinations * READ_AHEAD),
        ),
        ("connections to the databases (max_connections × 32 KiB)", outgoing.saturating_mul(PER_OUTGOING)),
        (
            "datagrams (udp.buffer + 2 MiB)",
            config.udp.iter().fold(0u64, |sum, one| sum.saturating_add(one.buffer.0).saturating_add(PER_UDP)),
        ),
        ("gap logs (6 MiB each)", gap_logs * PER_GAP_LOG),
        ("routes (limits.routes × 2 KiB)", (config.limits.routes as u64).saturating_mul(destinations * PER_ROUTE)),
        ("lines under way (queue.overlap_lines × 128 B)", (config.queue.overlap_lines as u64).saturating_mul(PER_LINE)),
        (
            "copies of history (93 MiB each destination), and reading doubt and gaps back",
            destinations * PER_COPY + READ_BACK,
        ),
        ("buffers of the log and of its readers", LOG + destinations * LOG_READERS),
        ("the program itself", FIXED),
    ]
    .into_iter()
    .map(|(what, bytes)| BudgetPart { what, size: ByteSize(bytes) })
    .collect()
}

/// Every bounded part of what lies in `data_dir`, with its bound, and what is to be left free beside it.
#[must_use]
pub fn disk_parts(config: &Config) -> Vec<BudgetPart> {
    let queue = &config.queue;
    [
        ("queue.max_size", queue.max_size.0),
        ("queue.reserve_free", queue.reserve_free.0),
        ("queue.dead_letter_max", queue.dead_letter_max.0.saturating_mul(config.destinations.len() as u64)),
        ("queue.ballast", queue.ballast.0),
        ("wal/quarantine", QUARANTINE_BYTES),
        ("wal/gaps.log", GAP_LOG_BYTES),
        ("copies of history (backfill)", COPY_SPOOL_BYTES.saturating_mul(config.destinations.len() as u64)),
        ("readback", READ_BACK_SPOOL_BYTES.saturating_mul(config.destinations.len() as u64)),
    ]
    .into_iter()
    .map(|(what, bytes)| BudgetPart { what, size: ByteSize(bytes) })
    .collect()
}

/// What may wait for the log's disk.
#[must_use]
pub fn log_waiting(config: &Config) -> ByteSize {
    ByteSize(config.limits.in_flight.0.min(LOG_WAITING))
}

/// The sum of [`memory_parts`] or [`disk_parts`].
#[must_use]
pub fn budget_sum(parts: &[BudgetPart]) -> ByteSize {
    ByteSize(parts.iter().fold(0u64, |sum, part| sum.saturating_add(part.size.0)))
}
