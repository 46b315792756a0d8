//! The way back from the log, as it is, under a scheduler that tries interleavings (`base::sync::scheduled`): every answer
//! reaches the event loop, whether that stands still for it, stopped doing so, or sleeps.

use std::sync::Arc;

use shuttle::future::block_on;
use shuttle::sync::mpsc::channel;
use shuttle::thread;

use self::finished::Finished;
use crate::base::sync::scheduled::{self as sync, explore};

#[path = "../finished.rs"]
#[allow(clippy::duplicate_mod, reason = "the same source on the primitives of the scheduler")]
mod finished;

const BUNDLES: [usize; 3] = [2, 1, 3];

/// The log answers one bundle after the other. The event loop hands them over as the appender does, and then sleeps until it has
/// heard of all.
fn life() {
    let finished = Arc::new(Finished::<usize>::default());
    let (bundles, taken) = channel();
    let answering = {
        let finished = Arc::clone(&finished);
        thread::spawn(move || {
            while let Ok(bundle) = taken.recv() {
                finished.push(bundle, Vec::new());
            }
        })
    };
    let mut heard = Vec::new();
    let settle = |heard: &mut Vec<usize>| heard.append(&mut finished.results().list);
    for many in BUNDLES {
        let idle = finished.results().outstanding == 0;
        finished.results().outstanding += many;
        (0..many).for_each(|bundle| bundles.send(bundle).unwrap());
        if idle {
            finished.stand();
            settle(&mut heard);
        }
    }
    while heard.len() < BUNDLES.iter().sum() {
        block_on(finished.wake.notified());
        settle(&mut heard);
    }
    drop(bundles);
    answering.join().unwrap();
    let results = finished.results();
    assert!(results.outstanding == 0 && !results.stands && results.list.is_empty());
}

#[test]
fn in_whatever_order_the_log_answers_everybody_hears() {
    explore(2000, life);
}
