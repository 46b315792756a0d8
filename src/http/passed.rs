//! Listening sockets that whoever starts us has opened already (`LISTEN_FDS`, as systemd does): connections wait in them while we
//! are away, and none is refused.
//!
//! Promise: each goes to the listener with its address; one that nobody asked for is an error, because clients would wait
//! there for ever.

use std::net::{SocketAddr, TcpListener};

use listenfd::ListenFd;

use crate::base::{Error, Kind, Result, Side};

/// What is not taken yet, by address.
#[derive(Debug, Default)]
pub struct Passed(Vec<(SocketAddr, TcpListener)>);

impl Passed {
    /// Takes what the environment names. To be called once, before there are threads.
    ///
    /// # Errors
    /// One of them is no TCP socket that listens.
    pub fn from_env() -> Result<Self> {
        let mut named = ListenFd::from_env();
        let mut all = Vec::new();
        for at in 0..named.len() {
            let fault = |e| {
                Error::new(Kind::Config, Side::Own, format!("socket {at} of LISTEN_FDS cannot be listened on"))
                    .because(e)
                    .hint("each must be a TCP socket (ListenStream=) with the address of a [[listen]]")
            };
            if let Some(listener) = named.take_tcp_listener(at).map_err(fault)? {
                listener.set_nonblocking(true).map_err(fault)?;
                all.push((listener.local_addr().map_err(fault)?, listener));
            }
        }
        Ok(Self(all))
    }

    /// The one with this address, if it was passed.
    pub fn take(&mut self, address: SocketAddr) -> Option<TcpListener> {
        let at = self.0.iter().position(|(known, _)| *known == address)?;
        Some(self.0.swap_remove(at).1)
    }

    /// Nothing may be left when all listeners have theirs.
    ///
    /// # Errors
    /// A socket has the address of no listener.
    pub fn finish(self) -> Result<()> {
        let Some((address, _)) = self.0.first() else { return Ok(()) };
        let what = format!("LISTEN_FDS has a socket for {address}, on which no [[listen]] is");
        Err(Error::new(Kind::Config, Side::Own, what).hint("give both the same address"))
    }
}
