//! The life of one chunk as a pure step: from a state and an event to the next state and what is to be done.
//!
//! Promises: a region is read only while it is held; it counts as written only after the destination's last acknowledgement of what was
//! read under that hold, and, where it says yes before it keeps, once that is kept; it is released only when no request of ours can
//! still take effect on it. Nobody waits behind it until the destination keeps what it has acknowledged: should that be lost, the chunk is
//! held and read anew. An event that cannot come in a state changes nothing.

use std::time::Duration;

/// How often a chunk is tried before it is given up.
pub const ATTEMPTS_MAX: u32 = 5;

/// Where a chunk stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Nothing was done.
    Planned,
    /// Delivery leaves its region alone.
    Held,
    /// What came before has its end on both sides.
    Drained,
    /// All of it is in the spool.
    Read,
    /// All of it is at the destination.
    Written,
    /// Delivery goes on with its region.
    Released,
    /// Given up: what is missing is told.
    Failed,
    /// Smaller chunks stand for it.
    Split,
}

impl State {
    /// As the table and documents have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Held => "held",
            Self::Drained => "drained",
            Self::Read => "read",
            Self::Written => "written",
            Self::Released => "released",
            Self::Failed => "failed",
            Self::Split => "split",
        }
    }
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Its turn has come.
    Begin,
    /// The hold stands.
    Held,
    /// Everything before the hold is final.
    Drained,
    /// The spool is complete.
    ReadDone,
    /// The window could not be read.
    ReadFailed,
    /// The hold lasts too long, or parks too much.
    Breach,
    /// A request had no answer at this time (monotonic): it may still take effect for Z.
    Unanswered(Duration),
    /// The destination has acknowledged all of the spool.
    Acked,
    /// What it has acknowledged is on its disk.
    Kept,
    /// Another process of the destination answers: what the one before acknowledged may be lost.
    Began,
    /// The destination cannot take it as it is now.
    WriteFailed,
    /// The spool is not what was written to it.
    SpoolDamaged,
    /// Somebody wants us to end.
    Stop,
}

/// What is to be done, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Ask for the hold.
    Hold,
    /// Wait until what came before is final.
    Drain,
    /// Read the window into a new spool.
    Read,
    /// Write the spool, from its beginning.
    Write,
    /// Send the same bytes again.
    Again,
    /// Wait until what was acknowledged is kept.
    Keep,
    /// Make this state durable before anything that follows.
    Note(State),
    /// Let go of the region, not before this time (monotonic).
    Release {
        /// Until then a request of ours may take effect.
        not_before: Duration,
    },
    /// Smaller pieces take its place.
    Smaller,
}

/// One chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    state: State,
    attempt: u32,
    /// Until when a request may take effect.
    open_until: Duration,
    /// Z.
    late_max: Duration,
    /// Whether the destination says yes before it keeps.
    acks_early: bool,
    /// Whether it has said yes to all of it: then the region is released, and what is left is to be kept.
    acked: bool,
}

impl Machine {
    /// A chunk that was tried so often before. `late_max`: how long an unanswered request may take effect.
    #[must_use]
    pub fn new(attempt: u32, late_max: Duration, acks_early: bool) -> Self {
        Self { state: State::Planned, attempt, open_until: Duration::ZERO, late_max, acks_early, acked: false }
    }

    /// Where it stands.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// How often it was tried before.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// After an event.
    pub fn step(&mut self, event: Event) -> Vec<Action> {
        use {Action as A, Event as E, State as S};
        match (self.state, event) {
            (S::Planned, E::Begin) => vec![A::Note(S::Planned), A::Hold],
            (S::Planned, E::Held) => self.to(S::Held, A::Drain),
            (S::Held, E::Drained) => self.to(S::Drained, A::Read),
            (S::Drained, E::ReadDone) => self.to(S::Read, A::Write),
            (S::Read, E::Unanswered(at)) if !self.acked => {
                self.open_until = self.open_until.max(at + self.late_max);
                vec![A::Again]
            }
            (S::Read, E::Acked) if self.acks_early => {
                let release = (!self.acked).then(|| self.release());
                self.acked = true;
                release.into_iter().chain([A::Keep]).collect()
            }
            (S::Read, E::Acked) => self.written(),
            (S::Read, E::Kept) if self.acked => {
                self.state = S::Released;
                vec![A::Note(S::Written), A::Note(S::Released)]
            }
            // It is nobody's any more: from the beginning.
            (S::Read, E::Began) if self.acked => {
                (self.state, self.acked) = (S::Planned, false);
                Vec::new()
            }
            (S::Read, E::Began) if self.acks_early => vec![A::Write],
            (S::Read, E::SpoolDamaged) if !self.acked => self.to(S::Drained, A::Read),
            (S::Drained, E::ReadFailed) => self.tried(),
            (S::Read, E::WriteFailed) if !self.acked => self.tried(),
            (S::Held | S::Drained, E::Breach) => {
                self.state = S::Split;
                vec![A::Note(S::Split), self.release(), A::Smaller]
            }
            (S::Planned, E::Stop) => Vec::new(),
            (S::Read, E::Stop) if self.acked => {
                (self.state, self.acked) = (S::Planned, false);
                Vec::new()
            }
            (S::Held | S::Drained | S::Read, E::Stop) => {
                self.state = S::Planned;
                vec![self.release()]
            }
            _ => Vec::new(),
        }
    }

    /// Its region was let go.
    pub fn released(&mut self) -> Vec<Action> {
        if self.state != State::Written {
            return Vec::new();
        }
        self.state = State::Released;
        vec![Action::Note(State::Released)]
    }

    fn to(&mut self, state: State, then: Action) -> Vec<Action> {
        self.state = state;
        vec![Action::Note(state), then]
    }

    fn release(&self) -> Action {
        Action::Release { not_before: self.open_until }
    }

    fn written(&mut self) -> Vec<Action> {
        self.state = State::Written;
        vec![Action::Note(State::Written), self.release()]
    }

    /// Smaller pieces, or none any more.
    fn tried(&mut self) -> Vec<Action> {
        self.attempt += 1;
        if self.attempt >= ATTEMPTS_MAX {
            self.state = State::Failed;
            return vec![Action::Note(State::Failed), self.release()];
        }
        self.state = State::Split;
        vec![Action::Note(State::Split), self.release(), Action::Smaller]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const Z: Duration = Duration::from_secs(60);

    fn walk(machine: &mut Machine, events: &[Event]) -> Vec<Action> {
        events.iter().flat_map(|event| machine.step(*event)).collect()
    }

    const TO_READ: [Event; 4] = [Event::Begin, Event::Held, Event::Drained, Event::ReadDone];

    #[test]
    fn the_straight_way_notes_each_state_before_the_next_deed() {
        let mut machine = Machine::new(0, Z, false);
        let mut done = walk(&mut machine, &TO_READ);
        done.extend(machine.step(Event::Acked));
        done.extend(machine.released());
        use {Action as A, State as S};
        let wanted = [
            A::Note(S::Planned),
            A::Hold,
            A::Note(S::Held),
            A::Drain,
            A::Note(S::Drained),
            A::Read,
            A::Note(S::Read),
            A::Write,
            A::Note(S::Written),
            A::Release { not_before: Duration::ZERO },
            A::Note(S::Released),
        ];
        assert_eq!(done, wanted);
    }

    #[test]
    fn a_chunk_that_fails_is_made_smaller_and_given_up_in_the_end() {
        for (attempt, state) in [(0, State::Split), (ATTEMPTS_MAX - 1, State::Failed)] {
            let mut machine = Machine::new(attempt, Z, false);
            walk(&mut machine, &TO_READ[..3]);
            let done = machine.step(Event::ReadFailed);
            assert_eq!((machine.state(), done[0]), (state, Action::Note(state)));
            assert_eq!(done.contains(&Action::Smaller), state == State::Split);
        }
    }

    /// Any order of events: what must never be, is not.
    #[test]
    fn no_order_of_events_breaks_a_promise() {
        let mut random = fastrand::Rng::with_seed(7);
        for story in 0..100_000 {
            let acks_early = story % 2 == 0;
            let mut machine = Machine::new(0, Z, acks_early);
            let (mut held, mut read, mut acked, mut kept, mut open) = (false, false, false, false, Duration::ZERO);
            for at in 1..20 {
                let at = Duration::from_secs(at);
                let event = match random.u8(..18) {
                    0 => Event::Begin,
                    1..3 => Event::Held,
                    3..5 => Event::Drained,
                    5..8 => Event::ReadDone,
                    8 => Event::ReadFailed,
                    9 => Event::Breach,
                    10 => Event::Unanswered(at),
                    11..13 => Event::Acked,
                    13 => Event::Kept,
                    14 => Event::Began,
                    15 => Event::WriteFailed,
                    16 => Event::SpoolDamaged,
                    _ => Event::Stop,
                };
                let before = machine.state();
                if before == State::Read {
                    match event {
                        Event::Unanswered(at) if held => open = open.max(at + Z),
                        Event::Acked => acked = true,
                        Event::Kept => kept = acked,
                        Event::Began => (acked, kept) = (false, false),
                        _ => {}
                    }
                }
                for action in machine.step(event) {
                    match action {
                        Action::Read => {
                            assert!(held, "read without a hold");
                            (read, acked, kept) = (false, false, false);
                        }
                        Action::Write => {
                            read |= before == State::Drained;
                            assert!(held && read, "written before it was read, or behind the release");
                        }
                        Action::Drain => held = true,
                        Action::Release { not_before } => {
                            assert!(held, "released twice");
                            assert!(not_before >= open, "released while a request may take effect");
                            held = false;
                        }
                        Action::Note(State::Written) => {
                            assert!(read && acked && (kept || !acks_early));
                            assert_eq!(held, !acks_early, "a release waits for what is kept");
                        }
                        _ => {}
                    }
                }
                if matches!(machine.state(), State::Written | State::Failed | State::Split) {
                    assert!(!held, "an end without a release");
                }
            }
        }
    }
}
