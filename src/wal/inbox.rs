//! The way to the log's thread: a bounded queue that one thread empties.
//!
//! Promise: never longer than its bound; a sleeping reader is woken once for everything that lies there. A reader that finds
//! nothing looks again for about as long as falling asleep and being woken would take, but only while that brings something:
//! under load the next group lies there before it would have slept; else looking takes the processor from those who are to
//! fill it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::sync::{AtomicU64, Condvar, Mutex, MutexGuard, Ordering, PAUSES, PoisonError, pause};

/// Looks in vain double how often the reader sleeps without looking, so many times at most: 63 sleeps of 64.
const DOUBLINGS_MAX: u32 = 6;

/// Both ends; cheap to clone.
#[derive(Debug)]
pub(crate) struct Inbox<T>(Arc<Shared<T>>);

#[derive(Debug)]
struct Shared<T> {
    state: Mutex<State<T>>,
    filled: Condvar,
    messages_max: usize,
    /// How many messages lie there, for a reader that looks without the lock.
    length: AtomicU64,
}

#[derive(Debug)]
struct State<T> {
    messages: VecDeque<T>,
    sleeping: bool,
    /// The reader is gone.
    closed: bool,
    patience: Patience,
}

/// Whether looking before sleeping pays.
#[derive(Debug)]
pub(super) struct Patience {
    /// How often in a row it did not, up to a limit.
    pub(super) misses: u32,
    /// So many sleeps still go without.
    pub(super) rest: u32,
    /// With one processor whoever looks keeps everybody else from filling.
    pub(super) never: bool,
}

impl Patience {
    fn new() -> Self {
        let never = std::thread::available_parallelism().is_ok_and(|processors| processors.get() == 1);
        Self { misses: 0, rest: 0, never }
    }

    pub(super) fn looks(&mut self) -> bool {
        let looks = self.rest == 0 && !self.never;
        self.rest = self.rest.saturating_sub(1);
        looks
    }

    pub(super) fn looked(&mut self, found: bool) {
        self.misses = if found { 0 } else { (self.misses + 1).min(DOUBLINGS_MAX) };
        self.rest = (1 << self.misses) - 1;
    }
}

/// Why a message was not taken, and the message.
#[derive(Debug)]
pub(crate) enum Untaken<T> {
    /// The bound is reached.
    Full(T),
    /// Nobody reads any more.
    Closed(T),
}

impl<T> Clone for Inbox<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Inbox<T> {
    /// An empty one.
    pub(crate) fn new(messages_max: usize) -> Self {
        let state = State { messages: VecDeque::new(), sleeping: false, closed: false, patience: Patience::new() };
        Self(Arc::new(Shared {
            state: Mutex::new(state),
            filled: Condvar::new(),
            messages_max: messages_max.max(1),
            length: AtomicU64::new(0),
        }))
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        // A panic in one of these short sections leaves nothing half done.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a message in; never waits.
    pub(crate) fn put(&self, message: T) -> Result<(), Untaken<T>> {
        let state = self.state();
        if state.closed {
            return Err(Untaken::Closed(message));
        }
        if state.messages.len() >= self.0.messages_max {
            return Err(Untaken::Full(message));
        }
        self.push(state, message);
        Ok(())
    }

    /// Whether [`Inbox::put`] would find no room.
    pub(crate) fn is_full(&self) -> bool {
        self.state().messages.len() >= self.0.messages_max
    }

    /// Puts the last message in, beyond the bound if need be; false when nobody reads.
    pub(crate) fn put_last(&self, message: T) -> bool {
        let state = self.state();
        let open = !state.closed;
        if open {
            self.push(state, message);
        }
        open
    }

    fn push(&self, mut state: MutexGuard<'_, State<T>>, message: T) {
        state.messages.push_back(message);
        self.0.length.store(state.messages.len() as u64, Ordering::Release);
        if std::mem::take(&mut state.sleeping) {
            drop(state);
            self.0.filled.notify_one();
        }
    }

    /// Takes the next message, if there is one.
    pub(crate) fn try_take(&self) -> Option<T> {
        self.pop(&mut self.state())
    }

    fn pop(&self, state: &mut State<T>) -> Option<T> {
        let message = state.messages.pop_front();
        self.0.length.store(state.messages.len() as u64, Ordering::Release);
        message
    }

    /// Waits for a message; `None` when none came in time.
    pub(crate) fn take(&self, wait_max: Option<Duration>) -> Option<T> {
        let mut state = self.state();
        if state.messages.is_empty() && state.patience.looks() {
            drop(state);
            let found = self.look();
            state = self.state();
            state.patience.looked(found);
        }
        if state.messages.is_empty() {
            state.sleeping = true;
            let empty = |state: &mut State<T>| state.messages.is_empty();
            state = match wait_max {
                Some(wait) => {
                    self.0.filled.wait_timeout_while(state, wait, empty).unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.0.filled.wait_while(state, empty).unwrap_or_else(PoisonError::into_inner),
            };
            state.sleeping = false;
        }
        self.pop(&mut state)
    }

    /// Whether something comes soon.
    fn look(&self) -> bool {
        (0..PAUSES).any(|_| {
            pause();
            self.0.length.load(Ordering::Acquire) > 0
        })
    }

    /// Says that nobody reads any more, and hands back what lies there.
    pub(crate) fn close(&self) -> VecDeque<T> {
        let mut state = self.state();
        state.closed = true;
        self.0.length.store(0, Ordering::Release);
        std::mem::take(&mut state.messages)
    }
}
