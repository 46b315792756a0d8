//! `twinline verify` between real databases: equal data is equal to the bit, each kind of damage is located and classed, and what could not
//! be read is never called equal.
//!
//! Needs real servers: `tests/servers/get influxdb1 influxdb2`.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests wait on real time and end at a surprise")]

// Points that copies lose elsewhere.
#[allow(dead_code, reason = "shared with other tests, which use more of it")]
#[path = "backfill/copied.rs"]
mod copied;
// Real databases, started and stopped by id.
#[allow(dead_code, reason = "shared with other tests, which use more of it")]
#[path = "it/database.rs"]
mod database;
// A client that shows answers as they came.
#[allow(dead_code, reason = "shared with other tests, which use more of it")]
#[path = "it/http.rs"]
mod http;
// The program, and its configuration.
#[allow(dead_code, reason = "shared with other tests, which use more of it")]
#[path = "it/proxy.rs"]
mod proxy;
// Influx to Influx.
#[path = "verify/influx.rs"]
mod influx;
