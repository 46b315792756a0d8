//! The proof that two databases hold the same cells: counted, hashed, and where they differ located to the cell.
//!
//! Promises: a window is called equal only when both sides were read to their announced ends and every cell, by series, field, time,
//! type and bits, is on both, each as often. What could not be read is unchecked and says why; it is never equal. Memory is bounded by
//! one piece of an answer of each side and one leaf, whatever a window holds. Nothing here writes to a database.
//!
//! The flow: [`units`] lists windows; [`side`] reads a window of one database as the destination would hold it ([`project`]); [`hash`] adds its cells up in a
//! [`tree`] of 256 leaves by series; [`compare`] sets both trees side by side and goes down where they differ; [`diff`] names what
//! differs.

pub mod compare;
pub mod diff;
pub mod hash;
pub mod project;
pub mod side;
pub mod tree;
pub mod units;

#[cfg(test)]
mod mutations;
