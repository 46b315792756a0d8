//! Typed values as the databases keep them: [`Value`], [`Series`], [`Cell`], one canonical byte form, and an order-free
//! sum.
//!
//! Promise: two cells have the same canonical bytes exactly when measurement, tags, field, time, type and value are the
//! same, floats bit by bit. Nothing here does I/O or takes the time. Whoever compares two databases compares these.

mod canonical;
mod compare;
mod sum;
mod value;

pub use canonical::put_canonical;
pub use compare::{Difference, Differences, compare};
pub use sum::{CellSum, SumKey, Summer};
pub use value::{Cell, FieldType, Series, Tags, Value};
