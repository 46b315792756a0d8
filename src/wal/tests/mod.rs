//! The log as a whole: on the simulated disk without threads (stories, damage, failing calls), and with its threads.

mod damage;
mod failing;
mod look;
mod rig;
mod scrub;
mod stories;
mod threads;
