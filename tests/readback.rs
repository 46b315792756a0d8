//! Doubt and gaps return to zero by themselves: what is in doubt or in a gap is read back from the source beside clients that go on writing.
//!
//! Needs real servers: `tests/servers/get influxdb1 influxdb2 victoriametrics`.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests wait on real time and end at a surprise")]

// A way to the source that loses answers.
#[path = "readback/between.rs"]
mod between;
// Real databases, started and stopped by id.
#[allow(dead_code, reason = "shared with other tests, which use more of it")]
#[path = "it/database.rs"]
mod database;
// Doubt.
#[path = "readback/doubt.rs"]
mod doubt;
// Servers that are no InfluxDB.
#[allow(dead_code, reason = "shared with other tests, which use more of it")]
#[path = "it/foreign.rs"]
mod foreign;
// Gaps.
#[path = "readback/gaps.rs"]
mod gaps;
// A client that shows answers as they came.
#[allow(dead_code, reason = "shared with other tests, which use more of it")]
#[path = "it/http.rs"]
mod http;
// The built program as a process.
#[allow(dead_code, reason = "shared with other tests, which use more of it")]
#[path = "it/proxy.rs"]
mod proxy;
#[allow(dead_code, reason = "shared with other tests, which use more of it")]
#[path = "it/victoria_server.rs"]
mod victoria_server;
// Clients that go on writing.
#[path = "readback/writing.rs"]
mod writing;
