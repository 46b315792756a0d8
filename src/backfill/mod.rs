//! History: what the destination lacks.
//!
//! Promise: nothing of it puts an older value over a newer one without being told to.

pub mod files;
