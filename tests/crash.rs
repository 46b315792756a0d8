//! The real program, killed with -9 at random moments while writers outside of it go on, and what is left when its files are
//! damaged: judged by the writers' own record and by what both databases hold, read back typed.
//!
//! Each story prints its seed. `TWINLINE_KILL_CYCLES=50 cargo test --profile quick --test crash` runs it at length. Real
//! servers come from `$TWINLINE_SERVERS/bin` (by default `~/.cache/twinline-servers/bin`); without them their story is
//! skipped with a note.

#![expect(clippy::disallowed_methods, reason = "the outside: plain threads that wait")]

#[path = "crash/base.rs"]
mod base;
#[path = "crash/proxy.rs"]
mod proxy;
#[path = "crash/story.rs"]
mod story;
#[path = "crash/wire.rs"]
mod wire;
#[path = "crash/writer.rs"]
mod writer;

use base::Database;
use story::{Weather, story};

#[test]
fn kills_on_sandboxes_lose_nothing() {
    story("sandboxes", &Database::sandbox(), &Database::sandbox(), Weather::Fair);
}

#[test]
fn kills_during_outages_lose_nothing() {
    story("outages", &Database::sandbox(), &Database::sandbox(), Weather::Outages);
}

#[test]
fn kills_on_real_servers_lose_nothing() {
    let (Some(source), Some(destination)) = (Database::influxdb1(), Database::influxdb2()) else { return };
    story("influxdb 1 to 2", &source, &destination, Weather::Fair);
}
