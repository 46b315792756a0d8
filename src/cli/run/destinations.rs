//! Destinations that come, go and come back: where each begins in the log, and what operators hear of it.
//!
//! Promise: nothing between two positions is passed over in silence. One that comes later begins at the end, and what came before is
//! named as missing for as long as it is configured; of one that is not configured any more it is told how much it has not got;
//! where it comes back and its place is not in the log any more, the stretch between is a gap, and a row for the statements that may have
//! been in it, durable before its floors move. So it is
//! with one whose delivery has ended by itself, beyond its backlog ([`give_up`]).

use std::time::Duration;

use super::stores::{no_room, tell};
use super::watched::Watched;
use crate::base::clock::{SharedClock, rfc3339};
use crate::base::{DestinationId, Error, Lsn, Result};
use crate::config::Config;
use crate::control::Began;
use crate::delivery::{Hold, hold, lines_ahead};
use crate::queue::{Begins, Opened, Place, Removed, Wanted};
use crate::state::{DESTINATION_AWAY, EventKind, Gap, NotMirrored, SharedState};
use crate::wal::{Item, Kind};

/// Value of the state store, by id: when the first record came that it has not read, ns, and whether that was told. Empty: it is not away.
const AWAY: &str = "destination-away";
/// Value of the state store, by id: the record behind which it began, and when, ns.
const BEGAN: &str = "destination-began";
/// Of one whose delivery has ended it is looked so often how much waits.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Records looked at in one go.
const STEP: usize = 4096;

fn name(what: &str, id: &DestinationId) -> String {
    format!("{what}.{id}")
}

/// What the log is opened for.
pub(super) fn wanted(config: &Config, state: &SharedState) -> Result<Vec<Wanted>> {
    let one = |id: &DestinationId| {
        let away = state.get(&name(AWAY, id)).wait().map_err(no_room)?;
        Ok(Wanted { id: id.clone(), was_away: away.is_some_and(|value| !value.is_empty()) })
    };
    config.destinations.iter().map(|destination| one(&destination.id)).collect()
}

/// Makes durable, and tells, where each begins that does not begin where it stood.
///
/// # Errors
/// A gap cannot be made durable.
pub(super) fn begin(wanted: &[Wanted], opened: &mut [Opened], state: &SharedState, now_ns: i64) -> Result<()> {
    for (Wanted { id, was_away }, opened) in wanted.iter().zip(opened) {
        match opened.begins {
            Begins::Here => {}
            Begins::AtEnd(lsn) => {
                let value = [lsn.0.to_le_bytes(), now_ns.to_le_bytes()].concat();
                state.set(&name(BEGAN, id), value).wait().map_err(no_room)?;
                let began = Began { lsn: lsn.0, at: rfc3339(now_ns) };
                tell(state, now_ns, EventKind::DestinationBegan, format!("destination {id} {}", began.text()));
            }
            Begins::Behind(first, last) => {
                missed(id, (first, last), opened, state, now_ns)?;
                let floors = opened.floors.clone();
                opened.queue.remember(&floors)?;
            }
        }
        if *was_away {
            state.set(&name(AWAY, id), Vec::new()).wait().map_err(no_room)?;
        }
    }
    Ok(())
}

/// The log has gone on without it.
fn missed(
    id: &DestinationId,
    (first, last): (Lsn, Lsn),
    opened: &Opened,
    state: &SharedState,
    now_ns: i64,
) -> Result<()> {
    let away = state.get(&name(AWAY, id)).wait().map_err(no_room)?.unwrap_or_default();
    let from_ns = away.first_chunk().map_or(i64::MIN, |bytes| i64::from_le_bytes(*bytes));
    let mut headers = opened.queue.reader(last.next())?;
    let mut to_ns = now_ns;
    while let Some(item) = headers.next_header()? {
        if let Item::Record(record) = item {
            to_ns = record.received_ns;
            break;
        }
    }
    let lsns = Some((first, last));
    let gap = Gap { route: None, route_name: String::new(), from_ns, to_ns, lines: 0, lsns, cause: DESTINATION_AWAY };
    state.add_gap(id, gap).wait()?;
    // Nobody can read them any more: whether some of them were statements is not known.
    let unread = NotMirrored {
        lsn: last,
        class: "unread".to_owned(),
        place: String::new(),
        text: format!("whatever statements records {first} to {last} of the log may have held"),
        why: "they were not in the log any more when the destination came back: compare what both databases hold"
            .to_owned(),
        at_ns: to_ns,
        carry: None,
    };
    state.note_statement(id, unread).wait()?;
    let text = format!(
        "destination {id} is back, and records {first} to {last} of the log, which came from {} to {}, are not there any more: \
         they are a gap of unknown size, and statements that were among them are not carried out; copy that time with backfill",
        if from_ns == i64::MIN { "an unknown time".to_owned() } else { rfc3339(from_ns) },
        rfc3339(to_ns)
    );
    tell(state, now_ns, EventKind::DestinationBack, text);
    Ok(())
}

/// Delivery to it has ended while the process runs. Waits until it keeps more of the log from others than it may, and gives its place up:
/// durably first, so that the next start finds it as one that was away, whatever is left of the log then.
pub(super) async fn give_up(place: &Place, id: &DestinationId, budget: u64, watched: &Watched) {
    loop {
        match place.first_unread() {
            Ok(Some((first_ns, begins))) if place.end().saturating_sub(begins) > budget => {
                match watched.state.set(&name(AWAY, id), away(first_ns, true)).await {
                    Ok(()) => return place.leave(),
                    Err(error) => tracing::error!(%error, %id, "that the log is not kept for it cannot be noted"),
                }
            }
            Ok(_) => {}
            Err(error) => tracing::error!(%error, %id, "how much of the log waits for it cannot be seen"),
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Where a destination began, if not at the beginning of the log.
pub(super) async fn began(state: &SharedState, id: &DestinationId) -> Option<Began> {
    let value = state.get(&name(BEGAN, id)).await.ok().flatten()?;
    let (lsn, at_ns) = value.split_first_chunk::<8>()?;
    let at = rfc3339(i64::from_le_bytes(at_ns.try_into().ok()?));
    Some(Began { lsn: u64::from_le_bytes(*lsn), at })
}

/// An operator's hold as it was remembered. `is_first`: a version that had one destination may have remembered it for this one; then it
/// is this one's own from now on, whoever else comes.
pub(super) async fn held(state: &SharedState, id: &DestinationId, is_first: bool) -> Result<Option<Vec<u8>>> {
    let own = state.get(&hold::name(id)).await?;
    if own.is_some() || !is_first {
        return Ok(own);
    }
    let former = state.get(hold::NAME).await?;
    if let Some(value) = former.as_ref().filter(|value| Hold::remembered(Some(value)).lasts()) {
        state.set(&hold::name(id), value.clone()).await?;
        state.set(hold::NAME, Hold::value(None)).await?;
    }
    Ok(former)
}

/// Of those that are not configured any more it is told once how much they have not got. Counting may take long: a thread does it.
pub(super) fn leave(removed: Vec<Removed>, state: &SharedState, clock: &SharedClock) -> Result<()> {
    let mut untold = Vec::new();
    for one in removed {
        let known = state.get(&name(AWAY, &one.id)).wait().map_err(no_room)?.unwrap_or_default();
        if known.last() == Some(&1) && known.len() > 8 {
            tracing::info!(event = "queue.other_destination", id = %one.id, "not configured; the log is not kept for it");
            continue;
        }
        // Before anything of the log is given back.
        let first_ns = match known.first_chunk() {
            Some(bytes) => i64::from_le_bytes(*bytes),
            None => first_unread(&one)?,
        };
        state.set(&name(AWAY, &one.id), away(first_ns, false)).wait().map_err(no_room)?;
        untold.push((one, first_ns));
    }
    if untold.is_empty() {
        return Ok(());
    }
    let (state, clock) = (SharedState::clone(state), SharedClock::clone(clock));
    let count = move || {
        for (one, first_ns) in untold {
            let id = one.id.clone();
            match count(one) {
                Ok(text) => {
                    tell(&state, clock.wall_ns(), EventKind::DestinationRemoved, text);
                    drop(state.set(&name(AWAY, &id), away(first_ns, true)));
                }
                Err(error) => tracing::error!(%error, %id, "what a removed destination has not got cannot be counted"),
            }
        }
    };
    let thread = std::thread::Builder::new().name("removed".to_owned()).spawn(count);
    thread.map(drop).map_err(|e| Error::disk("cannot start a thread", e))
}

fn away(first_ns: i64, is_told: bool) -> Vec<u8> {
    [&first_ns.to_le_bytes()[..], &[u8::from(is_told)]].concat()
}

/// Arrival of the first write that it has not got; of none, an open beginning.
fn first_unread(one: &Removed) -> Result<i64> {
    let mut headers = one.reader.clone();
    for _ in 0..STEP {
        match headers.next_header()? {
            Some(Item::Record(record)) if record.kind == Kind::Intent => return Ok(record.received_ns),
            Some(_) => {}
            None => break,
        }
    }
    Ok(i64::MIN)
}

fn count(mut one: Removed) -> Result<String> {
    while one.scout.seen() < one.end && one.scout.advance(STEP)? {}
    let lines = one.scout.applied_lines().saturating_sub(lines_ahead(&one.floors)) + one.scout.ahead().doubt;
    let id = &one.id;
    Ok(match lines {
        0 => format!("destination {id} is not configured any more; it had received everything"),
        1 => format!("destination {id} is not configured any more: 1 line of the log had not come to it. {KEPT}"),
        _ => {
            format!("destination {id} is not configured any more: {lines} lines of the log had not come to it. {KEPT}")
        }
    })
}

const KEPT: &str =
    "The log is not kept for it; if it is configured again, it goes on where it was as far as that is still there";

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::state::SqliteState;

    #[test]
    fn a_hold_of_a_version_with_one_destination_stays_with_that_one() {
        let dir = tempfile::tempdir().unwrap();
        let state: SharedState = Arc::new(SqliteState::open(&dir.path().join("state.db")).unwrap());
        let [main, more] = ["main", "more"].map(|id| DestinationId::parse(id).unwrap());
        state.set(hold::NAME, Hold::value(Some(7))).wait().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            assert_eq!(held(&state, &more, false).await.unwrap(), None);
            assert_eq!(held(&state, &main, true).await.unwrap(), Some(Hold::value(Some(7))));
            // It is not the only one any more.
            assert_eq!(held(&state, &main, false).await.unwrap(), Some(Hold::value(Some(7))));
            let other = held(&state, &more, true).await.unwrap();
            assert!(!Hold::remembered(other.as_deref()).lasts(), "it was the first one's");
        });
    }
}
