//! Interleavings: the log's writer, supply, readers and inbox, as they are, under a scheduler that decides at each lock,
//! atomic, wait and call of the disk who goes on (`shuttle`). What carries an order is tried: nobody sleeps for good, success
//! and wake-ups come after the sync, readers are never past what is durable, no segment is recycled under a reader. Not
//! modelled: memory orders weaker than the sequentially consistent one; the channel that asks the supply.
//!
//! `TWINLINE_SCHEDULES` says how many schedules are tried.

mod disk;
mod subject;

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use shuttle::sync::{Condvar, Mutex};
use shuttle::thread;

use self::disk::slow_disk;
use self::subject::{Inbox, Live, Message, Reader, Untaken, Writer, open, run};
use super::super::group::Job;
use super::super::safeguard::{Safeguard, without};
use super::super::*;
use super::rig::{bundle, entry, options};
use crate::base::Lsn;
use crate::base::sync::scheduled::{explore, explore_exactly};

/// Two records fill one.
const SEGMENT_BYTES: u64 = 20 << 10;
const CLIENTS: u64 = 2;
/// One record each.
const BUNDLES: u64 = 3;

/// What durable groups ring.
#[derive(Default)]
struct Bell {
    rung: Mutex<u64>,
    ringing: Condvar,
}

fn body(client: u64, number: u64) -> Vec<u8> {
    vec![(client * BUNDLES + number) as u8; 3000]
}

/// Hands over one bundle after the other. Says how many of them heard of success when they were not durable.
fn append_all(client: u64, live: &Arc<Live>, inbox: &Inbox<Message>, early: &Arc<AtomicU64>) {
    for number in 0..BUNDLES {
        let (told, early) = (Arc::clone(live), Arc::clone(early));
        let (mut made, _) = bundle(vec![entry(body(client, number))], vec![]);
        made.done = Box::new(move |result| {
            let sound = result.is_ok_and(|lsn| lsn <= told.durable());
            early.fetch_add(u64::from(!sound), Ordering::Relaxed);
        });
        let job = Job::new(made, Compression::None);
        live.waiting_bytes.fetch_add(job.bytes(), Ordering::AcqRel);
        let mut message = Message::Jobs(vec![job]);
        while let Err(Untaken::Full(back)) = inbox.put(message) {
            message = back;
            thread::yield_now();
        }
    }
}

/// Reads until it has everything, sleeping where nothing more is durable.
fn read_all(mut reader: Reader, live: &Live, bell: &Bell) -> Vec<Bytes> {
    let (mut seen, mut read) = (0, Vec::new());
    while read.len() < (CLIENTS * BUNDLES) as usize {
        match reader.next().expect("a healthy disk") {
            Some(Item::Record(record)) => {
                assert!(record.lsn <= live.durable(), "a reader is past what is durable");
                live.release(record.lsn);
                read.push(record.body);
            }
            Some(Item::Damage(damage)) => panic!("no record was there for its reader: {damage:?}"),
            None => {
                let rung = bell.rung.lock().unwrap();
                let rung = bell.ringing.wait_while(rung, |rung| *rung == seen).unwrap();
                seen = *rung;
            }
        }
    }
    read
}

/// Two clients append, one reader reads and releases, the supply recycles, until the log is closed.
fn life() {
    let disk = slow_disk();
    let writer = open(&disk, &Options { group_bytes: 4000, ..options(SEGMENT_BYTES) });
    let (live, supply) = (Arc::clone(&writer.live), Arc::clone(&writer.supply));
    let inbox: Inbox<Message> = Inbox::new(2);
    let (bell, early) = (Arc::new(Bell::default()), Arc::new(AtomicU64::new(0)));
    let rings = Arc::clone(&bell);
    live.on_durable(Box::new(move || {
        *rings.rung.lock().unwrap() += 1;
        rings.ringing.notify_all();
    }));
    let reader = Reader::new(disk, Arc::clone(&live), Lsn(1));
    let (of_reader, of_writer) = (Arc::clone(&live), inbox.clone());
    let reading = thread::spawn(move || read_all(reader, &of_reader, &bell));
    let tending = thread::spawn(move || (0..3).for_each(|_| supply.tend()));
    let writing = thread::spawn(move || run(writer, &of_writer, &|| ()));
    let clients = [0, 1].map(|client| {
        let (live, inbox, early) = (Arc::clone(&live), inbox.clone(), Arc::clone(&early));
        thread::spawn(move || append_all(client, &live, &inbox, &early))
    });
    clients.into_iter().for_each(|client| client.join().unwrap());
    let read = reading.join().unwrap();
    for client in 0..CLIENTS {
        let own: Vec<_> = read.iter().filter(|read| u64::from(read[0]) / BUNDLES == client).collect();
        let sent: Vec<_> = (0..BUNDLES).map(|number| body(client, number)).collect();
        assert!(own.len() == sent.len() && own.iter().zip(&sent).all(|(a, b)| a[..] == b[..]), "order or bytes");
    }
    assert!(inbox.put_last(Message::Close));
    [writing, tending].into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(early.load(Ordering::Relaxed), 0, "told before it is durable");
    assert_eq!(live.waiting_bytes.load(Ordering::Acquire), 0);
    assert!(live.oldest() <= live.released().max(Lsn(1)) && !live.is_faulted());
}

/// A reader goes through two segments that are released and recycled meanwhile: it has all of a segment, or none of it.
fn parting() {
    let disk = slow_disk();
    let mut writer = open(&disk, &options(SEGMENT_BYTES));
    let append = |writer: &mut Writer, number: u64| {
        let (made, _) = bundle(vec![entry(vec![number as u8; 3000])], vec![]);
        let job = Job::new(made, Compression::None);
        writer.live.waiting_bytes.fetch_add(job.bytes(), Ordering::AcqRel);
        writer.commit(&mut VecDeque::from([job]));
    };
    (1..=5).for_each(|number| append(&mut writer, number));
    let (live, supply) = (Arc::clone(&writer.live), Arc::clone(&writer.supply));
    let mut reader = Reader::new(disk, Arc::clone(&live), Lsn(1));
    let reading = thread::spawn(move || {
        while reader.next_lsn() <= Lsn(5) {
            match reader.next().expect("a segment went under its reader") {
                Some(Item::Record(record)) => assert_eq!(record.body, vec![record.lsn.0 as u8; 3000]),
                // What was released before it came: whole segments, and nobody knows since when.
                Some(Item::Damage(Damage { first, last, from_ns, .. })) => {
                    assert!((first.0 % 2, last.0 % 2, from_ns) == (1, 0, i64::MIN), "it lost {first} to {last}");
                }
                None => panic!("five are durable"),
            }
        }
    });
    let tending = thread::spawn(move || {
        live.release(Lsn(5));
        supply.tend();
    });
    let writing = thread::spawn(move || (6..=9).for_each(|number| append(&mut writer, number)));
    [reading, tending, writing].into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn in_whatever_order_threads_go_on_readers_see_each_durable_record_once() {
    explore(1000, life);
}

#[test]
fn in_whatever_order_segments_are_released_a_reader_has_the_one_it_stands_in() {
    explore(1000, parting);
}

#[test]
fn an_order_that_is_wrong_is_noticed() {
    let explored = || without(Some(Safeguard::DurableBeforeWake), || explore_exactly(3000, life));
    assert!(catch_unwind(AssertUnwindSafe(explored)).is_err(), "it went unnoticed");
}
