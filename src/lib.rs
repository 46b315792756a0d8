//! Twinline: moves a running InfluxDB to another InfluxDB-compatible database without stopping the writers.
//!
//! Start with `src/ARCHITECTURE.md`. The modules stand here in layer order; each uses only those above it.

#![deny(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::disallowed_methods))]

pub mod base;

pub mod line;

pub mod cell;

pub mod db;

pub mod sandbox;
