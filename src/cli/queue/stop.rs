//! The first Ctrl-C (or SIGTERM) ends a long look cleanly: what was found until then is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::signal::unix::{SignalKind, signal};

use super::super::exit::{Exit, Failure};
use crate::base::Error;

/// Whether somebody asked us to stop.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Stop(Arc<AtomicU8>);

impl Stop {
    /// Listens from now on.
    pub(in crate::cli) fn listen() -> Result<Self, Failure> {
        let asked = Arc::new(AtomicU8::new(0));
        let tell = Arc::clone(&asked);
        let error = |e| Failure::from(Error::disk("cannot listen for signals", e));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(error)?;
        let guard = runtime.enter();
        let mut interrupt = signal(SignalKind::interrupt()).map_err(error)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(error)?;
        drop(guard);
        let wait = move || {
            runtime.block_on(async {
                let exit = tokio::select! {
                    _ = interrupt.recv() => Exit::Interrupted,
                    _ = terminate.recv() => Exit::Terminated,
                };
                tell.store(exit as u8, Ordering::Relaxed);
            });
        };
        // It ends with the process.
        std::thread::Builder::new().name("signals".into()).spawn(wait).map_err(error)?;
        Ok(Self(asked))
    }

    /// The code to end with, once asked.
    pub(in crate::cli) fn asked(&self) -> Option<Exit> {
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            code if code == Exit::Terminated as u8 => Some(Exit::Terminated),
            _ => Some(Exit::Interrupted),
        }
    }
}
