//! Copies what the destination lacks from the source: history, in bounded pieces, resumable at any kill.
//!
//! Promises: a chunk counts as written only after the source's answer was complete and the destination has acknowledged, and where it
//! says yes before its disk has it, kept, every point of it. A spool that is damaged is read anew, never written. What the destination
//! refuses for good is put aside with the reason, what it cannot hold is counted; nothing is left out in silence. Memory is bounded by
//! one frame of a spool and the requests in flight, whatever the source holds.
//!
//! The flow: [`scope`] says what there is to copy; [`read`] brings one window into a [`spool`]; [`write`] brings the spool to the
//! destination; [`chunk`] is the order of these steps as a pure machine, and [`executor`] carries it out; [`throttle`] says when it
//! may.

pub mod batches;
pub mod chunk;
pub mod desk;
pub mod executor;
pub mod files;
pub mod form;
pub mod gate;
pub mod post;
pub mod progress;
pub mod read;
pub mod scope;
#[cfg(test)]
mod simulator;
pub mod spool;
pub mod steering;
pub mod throttle;
pub mod write;
