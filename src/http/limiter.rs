//! What one client may ask: so many requests and bytes a second, with some ahead.
//!
//! Promises: off, nothing is counted. A request that goes beyond is refused before anything of it is done; what was refused costs its
//! client nothing. A body is charged as it comes and may overdraw, so that one of any size passes in the end. A client is an IPv4
//! address or a /64 of IPv6. The [`CLIENTS`] that came last are remembered, up to twice as many; whoever is forgotten begins anew.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::rc::Rc;
use std::time::Duration;

use metrics::counter;

use super::view::EdgeView;
use crate::base::clock::SharedClock;
use crate::base::metric;
use crate::config::ClientLimits;

/// Clients of each of two generations.
const CLIENTS: usize = 8192;

/// A client: its address, or the first half of it.
type Key = (bool, u64);

fn key(client: IpAddr) -> Key {
    match client.to_canonical() {
        IpAddr::V4(ip) => (false, u64::from(ip.to_bits())),
        IpAddr::V6(ip) => (true, (ip.to_bits() >> 64) as u64),
    }
}

/// As it is shown.
fn shown((is_v6, begin): Key) -> String {
    match is_v6 {
        true => format!("{}/64", Ipv6Addr::from_bits(u128::from(begin) << 64)),
        false => IpAddr::from((begin as u32).to_be_bytes()).to_string(),
    }
}

/// What a client has left.
#[derive(Clone, Copy, Debug)]
struct Left {
    requests: f64,
    bytes: f64,
    at: Duration,
}

/// Of which it has too little, and when it is to come again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Over {
    pub(super) what: &'static str,
    pub(super) wait: Duration,
}

/// What all clients have left.
#[derive(Debug)]
pub struct Limiter {
    limits: ClientLimits,
    clock: SharedClock,
    view: EdgeView,
    young: RefCell<HashMap<Key, Left>>,
    old: RefCell<HashMap<Key, Left>>,
}

impl Limiter {
    /// One for all listeners; none where nothing is limited.
    #[must_use]
    pub fn new(limits: ClientLimits, clock: SharedClock, view: EdgeView) -> Option<Rc<Self>> {
        let is_on = limits.requests_per_s > 0 || limits.bytes_per_s > 0;
        let (young, old) = (RefCell::default(), RefCell::default());
        is_on.then(|| Rc::new(Self { limits, clock, view, young, old }))
    }

    /// What can be had at once.
    fn most(&self) -> (f64, f64) {
        let ahead = |rate: u64| (rate as f64 * self.limits.burst.as_secs_f64()).max(1.0);
        (ahead(self.limits.requests_per_s), ahead(self.limits.bytes_per_s))
    }

    /// Changes what a client has left.
    fn change<T>(&self, key: Key, now: Duration, change: impl FnOnce(&mut Left) -> T) -> T {
        let (requests, bytes) = self.most();
        let mut young = self.young.borrow_mut();
        if young.len() >= CLIENTS && !young.contains_key(&key) {
            self.old.replace(std::mem::take(&mut *young));
        }
        let known = || self.old.borrow().get(&key).copied();
        let left = young.entry(key).or_insert_with(|| known().unwrap_or(Left { requests, bytes, at: now }));
        let passed = now.saturating_sub(left.at).as_secs_f64();
        left.requests = (left.requests + passed * self.limits.requests_per_s as f64).min(requests);
        left.bytes = (left.bytes + passed * self.limits.bytes_per_s as f64).min(bytes);
        left.at = now;
        change(left)
    }

    /// Takes a request of a client, or says why not.
    fn admit(&self, key: Key) -> Result<(), Over> {
        let ClientLimits { requests_per_s, bytes_per_s, .. } = self.limits;
        let until = |missing: f64, rate: u64| Duration::from_secs_f64((missing / rate as f64).clamp(0.0, 1e6));
        self.change(key, self.clock.monotonic(), |left| {
            if requests_per_s > 0 && left.requests < 1.0 {
                let wait = until(1.0 - left.requests, requests_per_s);
                return Err(Over { what: "too many requests of this client (limits.client_requests_per_s)", wait });
            }
            if bytes_per_s > 0 && left.bytes <= 0.0 {
                let wait = until(1.0 - left.bytes, bytes_per_s);
                return Err(Over { what: "too many bytes of this client (limits.client_bytes_per_s)", wait });
            }
            left.requests -= 1.0;
            Ok(())
        })
    }

    fn charge(&self, key: Key, bytes: usize) {
        if self.limits.bytes_per_s > 0 {
            self.change(key, self.clock.monotonic(), |left| left.bytes -= bytes as f64);
        }
    }
}

/// One connection of a client.
#[derive(Debug)]
pub(super) struct Account {
    limiter: Rc<Limiter>,
    key: Key,
    /// The request whose body comes was taken.
    charges: Cell<bool>,
    /// What came of a request that is still to be judged.
    ahead: Cell<usize>,
}

impl Account {
    pub(super) fn new(limiter: Rc<Limiter>, client: IpAddr) -> Self {
        Self { limiter, key: key(client), charges: Cell::new(true), ahead: Cell::new(0) }
    }

    /// Bytes came; `is_new`: of a request that is still to be judged.
    pub(super) fn came(&self, bytes: usize, is_new: bool) {
        if is_new {
            self.ahead.set(self.ahead.get() + bytes);
        } else if self.charges.get() {
            self.limiter.charge(self.key, bytes);
        }
    }

    /// A request came.
    pub(super) fn admit(&self) -> Result<(), Over> {
        let admitted = self.limiter.admit(self.key);
        self.charges.set(admitted.is_ok());
        let ahead = self.ahead.take();
        if admitted.is_ok() {
            self.limiter.charge(self.key, ahead);
        }
        if let Err(over) = admitted {
            let by = if over.what.contains("bytes") { "bytes" } else { "requests" };
            counter!(metric::CLIENT_LIMITED, "by" => by).increment(1);
            self.limiter.view.limited(&shown(self.key), self.limiter.clock.wall_ns());
        }
        admitted
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::base::clock::Clock;

    #[derive(Debug, Default)]
    struct HandClock(Mutex<Duration>);

    impl HandClock {
        fn advance(&self, span: Duration) {
            *self.0.lock().unwrap() += span;
        }
    }

    impl Clock for HandClock {
        fn wall_ns(&self) -> i64 {
            0
        }

        fn monotonic(&self) -> Duration {
            *self.0.lock().unwrap()
        }
    }

    fn limiter(requests_per_s: u64, bytes_per_s: u64) -> (Arc<HandClock>, Rc<Limiter>) {
        let clock = Arc::new(HandClock::default());
        let limits = ClientLimits { requests_per_s, bytes_per_s, burst: Duration::from_secs(2) };
        (Arc::clone(&clock), Limiter::new(limits, clock, EdgeView::default()).expect("one is on"))
    }

    fn of(limiter: &Rc<Limiter>, client: &str) -> Account {
        Account::new(Rc::clone(limiter), client.parse().unwrap())
    }

    #[test]
    fn a_client_has_its_burst_and_then_its_rate() {
        let (clock, limiter) = limiter(10, 0);
        let client = of(&limiter, "10.0.0.1");
        assert_eq!((0..100).filter(|_| client.admit().is_ok()).count(), 20);
        let over = client.admit().unwrap_err();
        assert!(over.what.contains("requests") && over.wait > Duration::from_millis(90), "{over:?}");
        assert!(of(&limiter, "10.0.0.2").admit().is_ok(), "another client");
        clock.advance(Duration::from_secs(1));
        assert_eq!((0..100).filter(|_| client.admit().is_ok()).count(), 10);
        clock.advance(Duration::from_secs(3600));
        assert_eq!((0..100).filter(|_| client.admit().is_ok()).count(), 20, "no more than the burst");
    }

    #[test]
    fn a_body_of_any_size_passes_and_is_paid_afterwards() {
        let (clock, limiter) = limiter(0, 1000);
        let client = of(&limiter, "10.0.0.1");
        client.came(5_000, true);
        client.admit().unwrap();
        client.came(7_000, false);
        let over = client.admit().unwrap_err();
        assert_eq!((over.what.contains("bytes"), over.wait.as_secs()), (true, 10));
        client.came(1_000_000, false);
        clock.advance(Duration::from_secs(11));
        assert!(client.admit().is_ok(), "what was refused cost nothing");
    }

    #[test]
    fn a_network_of_ipv6_is_one_client_and_ipv4_in_ipv6_is_ipv4() {
        let (_, limiter) = limiter(1, 0);
        let takes = |client: &str| of(&limiter, client).admit().is_ok();
        assert!(takes("2001:db8::1") && takes("2001:db8::ffff:2"), "the burst is two");
        assert!(!takes("2001:db8:0:0:ffff::3") && takes("2001:db8:0:1::3"));
        assert!(takes("10.0.0.1") && takes("::ffff:10.0.0.1") && !takes("10.0.0.1"));
        assert_eq!(shown(key("2001:db8:1:2:3::4".parse().unwrap())), "2001:db8:1:2::/64");
        assert_eq!(shown(key("::ffff:10.0.0.1".parse().unwrap())), "10.0.0.1");
    }

    #[test]
    fn those_who_came_last_are_remembered_and_no_more() {
        let (_, limiter) = limiter(1, 0);
        let at = |number: u32| Account::new(Rc::clone(&limiter), IpAddr::from(number.to_be_bytes()));
        while at(1).admit().is_ok() {}
        for number in 2..50_000 {
            at(number).admit().unwrap();
            if number % 4096 == 0 {
                assert!(at(1).admit().is_err(), "it came often enough to be remembered");
            }
        }
        assert!(limiter.young.borrow().len() + limiter.old.borrow().len() <= 2 * CLIENTS);
        assert!(at(2).admit().is_ok(), "forgotten");
    }
}
