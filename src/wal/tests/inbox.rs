//! The inbox of the log's thread.

use std::time::Duration;

use super::super::inbox::{Inbox, Patience, Untaken};

#[test]
fn a_full_or_closed_inbox_gives_the_message_back() {
    let inbox = Inbox::new(2);
    assert!(inbox.put(1).is_ok() && inbox.put(2).is_ok());
    assert!(matches!(inbox.put(3), Err(Untaken::Full(3))));
    assert!(inbox.put_last(4), "the last word is always taken");
    assert_eq!((inbox.try_take(), inbox.take(None)), (Some(1), Some(2)));
    assert_eq!(inbox.close(), [4]);
    assert!(matches!(inbox.put(5), Err(Untaken::Closed(5))) && !inbox.put_last(5));
    assert_eq!(inbox.take(Some(Duration::from_millis(1))), None);
}

#[test]
fn a_sleeping_reader_gets_everything_in_order() {
    let inbox = Inbox::new(1000);
    let reader = inbox.clone();
    let reading =
        std::thread::spawn(move || std::iter::from_fn(|| reader.take(None).filter(|n| *n != 0)).collect::<Vec<u32>>());
    for n in 1..=500 {
        inbox.put(n).unwrap();
        if n % 50 == 0 {
            std::thread::yield_now();
        }
    }
    assert!(inbox.put_last(0));
    assert_eq!(reading.join().unwrap(), (1..=500).collect::<Vec<_>>());
}

#[test]
fn a_reader_stops_looking_where_that_brings_nothing() {
    let mut patience = Patience { misses: 0, rest: 0, never: false };
    let looks = |patience: &mut Patience, sleeps: u32, found: bool| {
        let mut looks = 0;
        for _ in 0..sleeps {
            if patience.looks() {
                looks += 1;
                patience.looked(found);
            }
        }
        looks
    };
    assert_eq!(looks(&mut patience, 1000, true), 1000, "all of them pay");
    assert_eq!(looks(&mut patience, 64_000, false), 1000 + 5, "one of 64, once it has got used to it");
    assert!(looks(&mut patience, 128, true) >= 64, "and back again soon");
    patience.never = true;
    assert_eq!(looks(&mut patience, 1000, true), 0);
}
