//! Twinline: moves a running InfluxDB to another InfluxDB-compatible database without stopping the writers.
//!
//! Start with `src/ARCHITECTURE.md`. The modules stand here in layer order; each uses only those above it.

#![deny(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::disallowed_methods))]

pub mod base;
pub mod line;
pub mod wal;
pub mod config;
pub mod db;
pub mod route;
pub mod state;
pub mod queue;
pub mod pipeline;
pub mod delivery;
pub mod http;
pub mod control;
pub mod cli;
