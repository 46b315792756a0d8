//! The log as a whole: on the simulated disk without threads (histories, damage, failing calls), and with its threads.

mod damage;
mod exhaustive;
mod failing;
mod history;
mod inbox;
mod interleavings;
mod lessons;
mod look;
mod machine;
mod mapped;
mod medium;
mod rig;
mod safeguards;
mod scrub;
mod stories;
mod story;
mod threads;
