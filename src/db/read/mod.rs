//! Reading a database with every type and every bit: what backfill copies and verification compares.
//!
//! Promise: a cell that is handed out is what the database holds, in type, bits and bytes, or the call is an error; an
//! answer that ends early is an error, never a short result. Memory is bounded by the limits given, whatever the
//! database answers.

pub mod annotated;
mod bucket;
mod client;
mod flux;
mod frame;
mod groups;
mod influxql;
mod plan;
mod quote;
mod rows;
mod stream;
mod windows;

pub use client::Auth;
pub use flux::Bucket;
pub use influxql::{FieldKeys, Limits, Product, Reader, RetentionPolicy, unreadable_fields};
pub use stream::CellStream;
pub use windows::{WEEK_NS, Window, shard_group_at};
