//! `twinline backfill` between real databases: what is copied is read back typed and equal; what ends it, or lies to it, costs nothing.
//!
//! Needs real servers: `tests/servers/get influxdb1 influxdb2 victoriametrics questdb`. `TWINLINE_KILLS` sets how often a copy is killed (10),
//! `TWINLINE_LIVE_KILLS` how often one beside clients (3), `TWINLINE_LIVE_HOURS` how many shard groups that has (72).
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
// Databases that are no InfluxDB.
#[allow(dead_code, reason = "shared with other tests, which use more of it")]
#[path = "it/foreign.rs"]
mod foreign;
// A client that shows answers as they came.
#[allow(dead_code, reason = "shared with other tests, which use more of it")]
#[path = "it/http.rs"]
mod http;
// Killed at any moment.
#[path = "backfill/kill.rs"]
mod kill;
// Beside clients that write.
#[path = "backfill/live.rs"]
mod live;
// To databases that hold less.
#[path = "backfill/projected.rs"]
mod projected;
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
// A destination that answers from a script.
#[allow(dead_code, reason = "shared with other tests, which use more of it")]
#[path = "it/scripted.rs"]
mod scripted;
#[allow(dead_code, reason = "shared with other tests, which use more of it")]
#[path = "it/victoria_server.rs"]
mod victoria_server;
