//! Databases as they are: how each is read, written and understood.
//!
//! Promise: what a database says or holds is told here as it is, with types and times exact; no policy of ours.

pub mod read;
