//! Who copies: one chunk after the other, each by the real machine, resumed after each death.

use std::time::Duration;

use super::Safeguard;
use super::delivery::Held;
use super::world::{Answer, CELLS, Cells, Change, Dirty, World, Z};
use crate::backfill::chunk::{Action, Event, Machine, State};

/// What one chunk is doing.
#[derive(Debug)]
struct Work {
    cells: Cells,
    machine: Machine,
    hold: u64,
    since: usize,
    todo: Vec<Action>,
    /// Read so far, cell by cell: others write meanwhile.
    spool: Vec<(u8, Option<u32>)>,
    /// Requests of the spool that are acknowledged.
    sent: usize,
    /// The row of dirty cells.
    dirty: Option<u64>,
}

#[derive(Debug, Default)]
pub(super) struct Copier {
    work: Option<Work>,
    /// Chunks of all time that are done, durably.
    done: Vec<Cells>,
    /// The region of a chunk whose hold was noted and not its end, durably. Of rows that are read back only their end is.
    open: Option<Cells>,
    /// Held for it since the start.
    claimed: Option<u64>,
    /// Until then a request of the process before may take effect.
    inherited: u64,
}

const CHUNK: u8 = 3;

impl Copier {
    pub(super) fn is_done(&self, world: &World) -> bool {
        self.work.is_none()
            && self.open.is_none()
            && self.next_cells().is_none()
            && (world.dirty.is_empty() || world.off(Safeguard::ReadBack))
    }

    fn next_cells(&self) -> Option<Cells> {
        let mut chunks = (0..CELLS).step_by(usize::from(CHUNK)).map(|from| from..(from + CHUNK).min(CELLS));
        chunks.find(|cells| !self.done.contains(cells))
    }

    /// Requests under way may still land; notes stay.
    pub(super) fn die(&mut self, world: &mut World) {
        if let Some(work) = self.work.take()
            && work.machine.state() == State::Read
            && let Some(values) = work.next_request()
            && world.random.bool()
        {
            world.lose(Change::Put(values));
        }
        self.inherited = world.now + Z;
    }

    /// What delivery is to hold before it begins, or nothing: whoever copies the region once more waits in either case until no request of
    /// the dead process can take effect.
    pub(super) fn held_at_start(&mut self, world: &mut World) -> Vec<Held> {
        self.claimed = None;
        match &self.open {
            Some(cells) if world.random.bool() => {
                let id = u64::MAX - world.now;
                self.claimed = Some(id);
                vec![Held { id, cells: cells.clone() }]
            }
            _ => Vec::new(),
        }
    }

    pub(super) fn step(&mut self, world: &mut World) {
        let Some(work) = &mut self.work else { return self.begin(world) };
        let Some(action) = work.todo.first().copied() else { return self.close(world) };
        let next = match action {
            Action::Note(state) => {
                work.todo.remove(0);
                return self.note(state);
            }
            Action::Hold => Some(Event::Held),
            Action::Drain => {
                // Else delivery may put an older value over what was read back, after a death.
                let is_saved =
                    work.dirty.is_none() || world.delivery.floor >= work.since || world.off(Safeguard::Saved);
                let is_drained = world.off(Safeguard::Drain) || is_saved && world.is_drained(&work.cells);
                is_drained.then_some(Event::Drained)
            }
            Action::Read => work.read(world),
            Action::Write | Action::Again => work.write(world),
            Action::Release { not_before } => {
                let waits = not_before.max(Duration::from_secs(self.inherited)) > Duration::from_secs(world.now);
                if waits && !world.off(Safeguard::Margin) {
                    return;
                }
                world.release(work.hold);
                work.todo.remove(0);
                if work.machine.state() == State::Written {
                    work.todo.extend(work.machine.released());
                }
                return;
            }
            Action::Keep => Some(Event::Kept),
            Action::Smaller => {
                work.todo.remove(0);
                return;
            }
        };
        if let Some(event) = next {
            work.todo.remove(0);
            work.todo.extend(work.machine.step(event));
        }
    }

    fn note(&mut self, state: State) {
        let Some(work) = self.work.as_ref().filter(|work| work.dirty.is_none()) else { return };
        match state {
            State::Held | State::Drained | State::Read => self.open = Some(work.cells.clone()),
            State::Released | State::Split | State::Failed => self.open = None,
            State::Planned | State::Written => {}
        }
        if state == State::Released {
            self.done.push(work.cells.clone());
        }
    }

    /// The next chunk: one that a dead process had begun, cells in doubt, or history.
    fn begin(&mut self, world: &mut World) {
        if world.random.bool() {
            world.seal();
        }
        // What the log has from the time of the doubt is older than what the source has now, or newer: nobody knows. It comes first.
        let is_behind = world.off(Safeguard::Behind);
        let due =
            |dirty: &Dirty| dirty.sealed && dirty.settled.is_some_and(|at| is_behind || at <= world.delivery.dealt);
        let dirty = world.dirty.iter().position(due).filter(|_| !world.off(Safeguard::ReadBack));
        let (cells, dirty) = match (&self.open, dirty) {
            (Some(cells), _) => (cells.clone(), None),
            (None, Some(at)) => (world.dirty[at].cells.clone(), Some(world.dirty[at].row)),
            (None, None) => match self.next_cells() {
                Some(cells) => (cells, None),
                None => return,
            },
        };
        let claimed = self.claimed.take().map(|id| (id, world.delivery.floor));
        let Some((hold, since)) = claimed.or_else(|| world.hold(&cells)) else { return };
        world.counts.chunks += 1;
        let mut machine = Machine::new(0, Duration::from_secs(Z), false);
        let todo = machine.step(Event::Begin);
        self.work = Some(Work { cells, machine, hold, since, todo, spool: Vec::new(), sent: 0, dirty });
    }

    fn close(&mut self, world: &mut World) {
        let Some(work) = self.work.take() else { return };
        if work.machine.state() == State::Released
            && let Some(row) = work.dirty
        {
            world.dirty.retain(|dirty| dirty.row != row);
        }
    }
}

impl Work {
    /// The next request of the spool.
    fn next_request(&self) -> Option<Vec<(u8, u32)>> {
        let values: Vec<_> = self.spool.iter().filter_map(|(cell, value)| value.map(|value| (*cell, value))).collect();
        let rest: Vec<_> = values.into_iter().skip(self.sent).take(2).collect();
        (!rest.is_empty()).then_some(rest)
    }

    fn read(&mut self, world: &mut World) -> Option<Event> {
        let cell = self.cells.start + u8::try_from(self.spool.len()).expect("few cells");
        if cell < self.cells.end {
            self.spool.push((cell, world.source.get(&cell).copied()));
            return None;
        }
        Some(Event::ReadDone)
    }

    fn write(&mut self, world: &mut World) -> Option<Event> {
        let Some(values) = self.next_request() else { return Some(Event::Acked) };
        let sent = values.len();
        match world.send(Change::Put(values)) {
            Answer::Done => {
                self.sent += sent;
                None
            }
            Answer::Failed => None,
            Answer::None => {
                if world.off(Safeguard::Acknowledged) {
                    self.sent += sent;
                }
                Some(Event::Unanswered(Duration::from_secs(world.now)))
            }
        }
    }
}
