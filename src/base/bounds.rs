//! Sizes on which the budgets of memory and disk and the code that uses them up must agree.
//!
//! Promise: `config` adds up these, and nobody holds more of the kind; what is another size elsewhere is not in any sum.

/// Damaged bytes that are copied to `wal/quarantine`, by all processes together.
pub const QUARANTINE_BYTES: u64 = 64 << 20;
/// The gap log beside the log.
pub const GAP_LOG_BYTES: u64 = 2 << 20;
/// Read of the log at once: by readers, by scrubbing, by whoever copies damaged bytes away; and written at once ahead of it.
pub const LOG_CHUNK_BYTES: usize = 1 << 20;
/// Buffers of such a chunk that a reader keeps to fill them again, when those who held records of them have let go. One whose
/// records wait meanwhile …
pub const LOG_SPARES: usize = 3;
/// … and any other.
pub const LOG_SPARES_FEW: usize = 1;
/// A body is kept in records of at most this size, as it came.
pub const LOG_BODY_BYTES: usize = 8 << 20;
/// The log's own buffer for a group.
pub const LOG_GROUP_BYTES: usize = 4 << 20;
/// Targets of the destination that are read again from the log at the same time, with two readers each; the others wait.
pub const READ_AGAIN_MAX: usize = 4;
/// Targets of which what waits is counted at the same time, with two readers each, to become a gap; the others wait.
pub const COUNTED_MAX: usize = 2;
/// Lines that wait until the copying of their region ends, of one destination; a quarter of `pending_bytes` where that is less. They are
/// part of that.
pub const PARKED_BYTES_MAX: usize = 64 << 20;
/// Lines that went as one row (QuestDB), for the case that it is refused.
pub const ROWS_BYTES_MAX: usize = 1 << 20;
/// Read from the log before its outcome is known.
pub const READ_AHEAD_BYTES: usize = 4 << 20;
/// Bytes, and values, of one piece of an answer that a copy of history reads; a value takes about 100 bytes of memory.
pub const COPY_PIECE: (usize, usize) = (32 << 20, 256 << 10);
/// The same of a part that is read back.
pub const READ_BACK_PIECE: (usize, usize) = (16 << 20, 128 << 10);
/// Bytes of one request of a copy, and how many are under way at once; each is there twice.
pub const COPY_REQUEST_BYTES: usize = 4 << 20;
/// See [`COPY_REQUEST_BYTES`].
pub const COPY_REQUESTS: usize = 4;
/// What copies of history to one destination have on their way on disk, inside a running twinline.
pub const COPY_SPOOL_BYTES: u64 = 1 << 30;
/// A part that is read back from the source lies in a file of at most so many bytes.
pub const READ_BACK_SPOOL_BYTES: u64 = 64 << 20;
