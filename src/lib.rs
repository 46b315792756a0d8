//! Twinline: moves a running InfluxDB to another InfluxDB-compatible database without stopping the writers.
//!
//! Start with `src/ARCHITECTURE.md`. The modules stand here in layers: each uses only layers above its own, and
//! in its own only the neighbours that `tests/tidy.rs` lists with a reason.

#![deny(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::disallowed_methods))]

pub mod base;

pub mod cell;
pub mod config;
pub mod line;
pub mod wal;

pub mod db;
pub mod queue;
pub mod route;
pub mod state;

pub mod delivery;
pub mod pipeline;

pub mod backfill;

pub mod http;
pub mod verify;

pub mod control;
pub mod sandbox;

pub mod cli;
