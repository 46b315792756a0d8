//! Where a host is: names are looked up beside the event loop, one question at a time.
//!
//! Promises: however many connections are wanted, one look-up is under way for a server, on a thread of its own; a resolver that
//! is silent or fails does not take away addresses that worked before, and holds up nothing else. An address needs no
//! look-up.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout};

/// Connections that are opened within this time share an answer.
const FRESH: Duration = Duration::from_secs(1);
/// How long a new answer is waited for where an old one is there.
const PATIENCE: Duration = Duration::from_millis(500);

/// Asks the system; blocks. Another one in tests.
type Ask = Arc<dyn Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync>;
/// `None` while it is under way. An error as its text, since several may hear it.
type Heard = Option<Result<Vec<SocketAddr>, String>>;

/// The addresses of one host.
pub(super) struct Addresses {
    host: String,
    port: u16,
    ask: Ask,
    known: RefCell<Known>,
}

#[derive(Debug, Default)]
struct Known {
    addresses: Vec<SocketAddr>,
    until: Option<Instant>,
    /// The last question, answered or not.
    asked: Option<watch::Receiver<Heard>>,
}

impl fmt::Debug for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Addresses").field("host", &self.host).field("known", &self.known).finish_non_exhaustive()
    }
}

impl Addresses {
    pub(super) fn new(host: String, port: u16) -> Self {
        Self::asking(host, port, Arc::new(|host, port| Ok((host, port).to_socket_addrs()?.collect())))
    }

    fn asking(host: String, port: u16, ask: Ask) -> Self {
        let known = match host.parse::<IpAddr>() {
            Ok(ip) => Known { addresses: vec![SocketAddr::new(ip, port)], ..Known::default() },
            Err(_) => Known::default(),
        };
        Self { host, port, ask, known: RefCell::new(known) }
    }

    /// The addresses to try, best first; at least one. Waits without bound for a name that never had an answer.
    ///
    /// # Errors
    /// The name is not known, and was not before.
    pub(super) async fn get(&self) -> io::Result<Vec<SocketAddr>> {
        let before = {
            let known = self.known.borrow();
            let is_name = known.asked.is_some() || known.addresses.is_empty();
            if !is_name || known.until.is_some_and(|until| Instant::now() < until) {
                return Ok(known.addresses.clone());
            }
            known.addresses.clone()
        };
        let mut asked = self.question()?;
        let heard = async {
            // An error is a thread that ended without an answer.
            let heard = asked.wait_for(Option::is_some).await.ok().and_then(|heard| heard.clone());
            heard.unwrap_or_else(|| Err("the look-up ended without an answer".to_owned()))
        };
        if before.is_empty() {
            return self.take(heard.await);
        }
        match timeout(PATIENCE, heard).await {
            Ok(heard) => self.take(heard),
            Err(_) => Ok(before),
        }
    }

    /// The question that is under way, or a new one.
    fn question(&self) -> io::Result<watch::Receiver<Heard>> {
        let mut known = self.known.borrow_mut();
        if let Some(asked) =
            known.asked.as_ref().filter(|asked| asked.borrow().is_none() && asked.has_changed().is_ok())
        {
            return Ok(asked.clone());
        }
        let (told, asked) = watch::channel(None);
        let (host, port, ask) = (self.host.clone(), self.port, Arc::clone(&self.ask));
        std::thread::Builder::new().name("lookup".to_owned()).spawn(move || {
            let heard = ask(&host, port).map_err(|error| error.to_string());
            // Nobody may be left who wants to know.
            let _ = told.send(Some(heard));
        })?;
        known.asked = Some(asked.clone());
        Ok(asked)
    }

    fn take(&self, heard: Result<Vec<SocketAddr>, String>) -> io::Result<Vec<SocketAddr>> {
        let mut known = self.known.borrow_mut();
        match heard {
            Ok(addresses) if !addresses.is_empty() => {
                known.until = Some(Instant::now() + FRESH);
                known.addresses.clone_from(&addresses);
                Ok(addresses)
            }
            _ if !known.addresses.is_empty() => Ok(known.addresses.clone()),
            Ok(_) => Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address")),
            Err(why) => Err(io::Error::other(why)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    type Answer = io::Result<Vec<SocketAddr>>;

    fn run<F: Future>(future: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
    }

    /// A resolver that answers what is sent, one question each, and tells when it is asked.
    fn scripted() -> (Addresses, Sender<Answer>, Receiver<()>) {
        let (answer, answers) = channel::<Answer>();
        let (asked, asks) = channel();
        let (answers, asked) = (Mutex::new(answers), Mutex::new(asked));
        let ask: Ask = Arc::new(move |_, _| {
            asked.lock().unwrap().send(()).unwrap();
            answers.lock().unwrap().recv().unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        });
        (Addresses::asking("db.example".to_owned(), 8086, ask), answer, asks)
    }

    fn address(last: u8) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, last], 8086))
    }

    #[test]
    fn many_connections_ask_once() {
        let (addresses, answer, asks) = scripted();
        run(async {
            let mut all: Vec<_> = (0..100).map(|_| Box::pin(addresses.get())).collect();
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            for get in &mut all {
                assert!(get.as_mut().poll(&mut context).is_pending());
            }
            answer.send(Ok(vec![address(1)])).unwrap();
            for get in all {
                assert_eq!(get.await.unwrap(), [address(1)]);
            }
        });
        assert_eq!(asks.try_iter().count(), 1);
    }

    #[test]
    fn a_silent_or_failing_resolver_does_not_take_away_what_worked() {
        let (addresses, answer, asks) = scripted();
        let outdated = || addresses.known.borrow_mut().until = None;
        run(async {
            answer.send(Ok(vec![address(1)])).unwrap();
            assert_eq!(addresses.get().await.unwrap(), [address(1)]);
            outdated();
            for _ in 0..3 {
                assert_eq!(addresses.get().await.unwrap(), [address(1)], "silent");
            }
            assert_eq!(asks.try_iter().count(), 2, "one question waits for its answer, and no other is put");
            answer.send(Err(io::Error::other("no such name"))).unwrap();
            assert_eq!(addresses.get().await.unwrap(), [address(1)], "failing");
            answer.send(Ok(vec![address(2)])).unwrap();
            assert_eq!(addresses.get().await.unwrap(), [address(2)], "moved");
        });
    }

    #[test]
    fn a_name_that_never_had_an_address_is_an_error_and_asked_again() {
        let (addresses, answer, _asks) = scripted();
        run(async {
            answer.send(Err(io::Error::other("no such name"))).unwrap();
            assert_eq!(addresses.get().await.unwrap_err().to_string(), "no such name");
            answer.send(Ok(vec![])).unwrap();
            assert_eq!(addresses.get().await.unwrap_err().kind(), io::ErrorKind::NotFound);
            answer.send(Ok(vec![address(3)])).unwrap();
            assert_eq!(addresses.get().await.unwrap(), [address(3)]);
        });
    }

    #[test]
    fn an_address_is_not_looked_up() {
        let never: Ask = Arc::new(|_, _| panic!("an address was looked up"));
        for (host, ip) in [("127.0.0.1", "127.0.0.1:8086"), ("::1", "[::1]:8086")] {
            let addresses = Addresses::asking(host.to_owned(), 8086, Arc::clone(&never));
            for _ in 0..2 {
                assert_eq!(run(addresses.get()).unwrap(), [ip.parse().unwrap()]);
            }
        }
        let (real, port) = (Addresses::new("localhost".to_owned(), 80), 80);
        assert!(run(real.get()).unwrap().iter().all(|found| found.ip().is_loopback() && found.port() == port));
    }
}
