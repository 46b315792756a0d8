//! The way to the log's thread: a bounded queue that one thread empties.
//!
//! Promise: never longer than its bound; a sleeping reader is woken once for everything that lies there. A reader that finds
//! nothing sleeps at once: looking again and again would take the processor from those who are to fill it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Both ends; cheap to clone.
#[derive(Debug)]
pub(crate) struct Inbox<T>(Arc<Shared<T>>);

#[derive(Debug)]
struct Shared<T> {
    state: Mutex<State<T>>,
    filled: Condvar,
    messages_max: usize,
}

#[derive(Debug)]
struct State<T> {
    messages: VecDeque<T>,
    sleeping: bool,
    /// The reader is gone.
    closed: bool,
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
        let state = Mutex::new(State { messages: VecDeque::new(), sleeping: false, closed: false });
        Self(Arc::new(Shared { state, filled: Condvar::new(), messages_max: messages_max.max(1) }))
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
        if std::mem::take(&mut state.sleeping) {
            drop(state);
            self.0.filled.notify_one();
        }
    }

    /// Takes the next message, if there is one.
    pub(crate) fn try_take(&self) -> Option<T> {
        self.state().messages.pop_front()
    }

    /// Waits for a message; `None` when none came in time.
    pub(crate) fn take(&self, wait_max: Option<Duration>) -> Option<T> {
        let mut state = self.state();
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
        state.messages.pop_front()
    }

    /// Says that nobody reads any more, and hands back what lies there.
    pub(crate) fn close(&self) -> VecDeque<T> {
        let mut state = self.state();
        state.closed = true;
        std::mem::take(&mut state.messages)
    }
}
