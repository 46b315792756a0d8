//! The ground floor: names, sizes, time, errors and the doorways to the machine.
//!
//! Promise: nothing here knows line protocol, HTTP or the log. Everything above may use it; it uses nothing of ours.

pub mod bounds;
pub mod clock;
pub mod crc;
pub mod disk;
pub mod error;
pub mod failpoint;
pub mod glob;
pub mod id;
pub mod map;
pub mod metric;
pub mod recent;
pub mod size;
pub(crate) mod sync;

pub use clock::{Clock, SystemClock};
pub use error::{Error, Kind, Result, Retry, Side};
pub use glob::Glob;
pub use id::{DestinationId, Epoch, Incarnation, Lsn, RequestId, RouteId, SegmentId};
