//! Databases as they are: how each is reached, written and read, and what its answers mean.
//!
//! Promise: what a database says or holds is told here as it is, with types and times exact; no policy of ours.

mod addresses;
pub mod answer;
pub mod broken;
pub mod client;
pub mod counters;
pub mod encode;
mod head;
pub mod hop;
pub mod influxql;
pub mod precision;
pub mod product;
pub mod questdb;
pub mod read;
pub mod server;
pub mod tls;
pub mod victoria;
