//! `twinline backfill` between real databases: what is copied is read back typed and equal; what ends it, or lies to it, costs nothing.
//!
//! Needs real servers: `tests/servers/get influxdb1 influxdb2 victoriametrics questdb`. `TWINLINE_KILLS` sets how often a copy is killed (10),
//! `TWINLINE_LIVE_KILLS` how often one beside clients (3), `TWINLINE_LIVE_HOURS` how many shard groups that has (72);
//! `TWINLINE_LIVE_POINTS` and `TWINLINE_LIVE_RATE` make it as large and as fast as is asked for.
//!
//! The tests of the facts of migration (§10) by number: where each is, and what of it is not. 18 to 20 belong to the switch and to
//! verification.
//!
//! | test | where | not |
//! | --- | --- | --- |
//! | 1 | `backfill/traps.rs`: trap_1_cells_that_are_overwritten | another instance |
//! | 2 | `backfill/traps.rs`: trap_2_a_write_without_an_answer | verification, which would find it too |
//! | 3 | `backfill/live.rs`: beside_live_writes_from_1_to_1 | (c): there is no verification yet |
//! | 4 | `backfill/copy.rs`: from_1_to_1 | |
//! | 5 | `backfill/copy.rs`: from_1_to_1, from_2_to_2 | |
//! | 6 | `it/typed_read.rs`: influxdb_1_gives_back, influxdb_2_gives_back, flux_gives_back | 3.x, which is no source |
//! | 7 | `it/typed_read.rs`: influxdb_1_gives_back, flux_gives_back; `backfill/flux.rs`: a_bucket_without_a_mapping; `it/import.rs`: an_export_of_1x | TSM files |
//! | 8 | `it/typed_read.rs`: influxdb_1_gives_back, flux_gives_back; `backfill/copy.rs`: from_1_to_2 | |
//! | 9 | `backfill/traps.rs`: trap_9_what_is_deleted | (c): files of an offline source |
//! | 10 | `it/exact.rs`: check_22_a_write_that_is_kept_in_part | |
//! | 11 | `backfill/faults.rs`: an_answer_that_ends_early; `backfill/flux.rs`: an_answer_that_ends_early | a source that is killed, or kills a query; JSON and Flight are not read |
//! | 12 | `backfill/wide.rs`: trap_12_rows, trap_12_buckets | |
//! | 13 | `backfill/wide.rs`: trap_13_many_series | 10 million series: `TWINLINE_SERIES` |
//! | 14 | `backfill/kill.rs`: killed_again_and_again; `backfill/live.rs`: beside_live_writes_from_1_to_2 | 1,000 runs: `TWINLINE_KILLS`, and `TWINLINE_COPY_SEEDS` of the simulator |
//! | 15 | `backfill/copy.rs`: from_1_to_1, a_window_of_time | |
//! | 16 | `it/bypass.rs`: points_that_are_made_inside | the trailing copy |
//! | 17 | `backfill/flux.rs`: trap_17_a_source_that_asks | a budget of a quota |
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests wait on real time and end at a surprise")]

// A door before a server that holds requests back.
#[path = "backfill/between.rs"]
mod between;
// What a copy is to bring over, and whether it did.
#[path = "backfill/copied.rs"]
mod copied;
// To InfluxDB.
#[path = "backfill/copy.rs"]
mod copy;
// Real databases, started and stopped by id.
#[allow(dead_code, reason = "shared with other tests, which use more of it")]
#[path = "it/database.rs"]
mod database;
// A source that breaks off; a destination that says no.
#[path = "backfill/faults.rs"]
mod faults;
// Buckets that only Flux reads.
#[path = "backfill/flux.rs"]
mod flux;
// Databases that are no InfluxDB.
#[allow(dead_code, reason = "shared with other tests, which use more of it")]
#[path = "it/foreign.rs"]
mod foreign;
// A destination that was restored from a backup.
#[path = "backfill/gap.rs"]
mod gap;
// A client that shows answers as they came.
#[allow(dead_code, reason = "shared with other tests, which use more of it")]
#[path = "it/http.rs"]
mod http;
// Killed at any moment.
#[path = "backfill/kill.rs"]
mod kill;
// Beside clients that write, to databases that hold less.
#[path = "backfill/less.rs"]
mod less;
// Beside clients that write.
#[path = "backfill/live.rs"]
mod live;
// The table above is true.
#[path = "backfill/numbered.rs"]
mod numbered;
// To databases that hold less.
#[path = "backfill/projected.rs"]
mod projected;
// It waits when it is told to.
#[path = "backfill/throttle.rs"]
mod throttle;
// Old values on their way while new ones come.
#[path = "backfill/traps.rs"]
mod traps;
// The built program as a process.
#[allow(dead_code, reason = "shared with other tests, which use more of it")]
#[path = "it/proxy.rs"]
mod proxy;
#[allow(dead_code, reason = "shared with other tests, which use more of it")]
#[path = "it/questdb_server.rs"]
mod questdb_server;
// What the destination lacks is made.
#[path = "backfill/ready.rs"]
mod ready;
// A destination that answers from a script.
#[allow(dead_code, reason = "shared with other tests, which use more of it")]
#[path = "it/scripted.rs"]
mod scripted;
#[allow(dead_code, reason = "shared with other tests, which use more of it")]
#[path = "it/victoria_server.rs"]
mod victoria_server;
// Many fields, many buckets, many series.
#[path = "backfill/wide.rs"]
mod wide;
