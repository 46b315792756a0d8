//! What reads text, built from the package's own source: with nothing else of the package it is built in seconds.

#![allow(dead_code, unreachable_pub)]

extern crate self as twinline;

pub mod checks;
#[path = "../src/line/mod.rs"]
pub mod line;

/// Times as text, for statements; names by form, for rules.
#[path = "../src/base"]
pub mod base {
    pub mod clock;
    pub mod error;
    pub mod glob;
    pub use error::{Error, Kind, Result, Side};
    pub use glob::Glob;
}

/// Statements, and answers in annotated CSV.
#[path = "../src/db"]
pub mod db {
    pub mod influxql;
    pub mod read {
        pub mod annotated;
    }
}

/// What files hold.
#[path = "../src/cell/mod.rs"]
pub mod cell;
#[path = "../src/backfill"]
pub mod backfill {
    pub mod files;
}
