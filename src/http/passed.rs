//! Listening sockets that whoever starts us has opened already (`LISTEN_FDS`, as systemd does): connections wait in them while we
//! are away, and none is refused.
//!
//! Promise: each goes to the listener with its address; one that nobody asked for is an error, because clients would wait
//! there for ever.

use std::net::TcpListener;
use std::os::unix::net::UnixListener;

use listenfd::ListenFd;

use crate::base::{Error, Kind, Result, Side};
use crate::config::Address;

/// One of them.
#[derive(Debug)]
pub enum PassedSocket {
    /// On an address and port.
    Tcp(TcpListener),
    /// On a path.
    Unix(UnixListener),
}

impl PassedSocket {
    fn address(&self) -> std::io::Result<Address> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(Address::Tcp),
            Self::Unix(listener) => listener.local_addr().and_then(|address| {
                let path = address.as_pathname().ok_or(std::io::ErrorKind::AddrNotAvailable)?;
                Ok(Address::Unix(path.to_owned(), 0))
            }),
        }
    }

    fn set_nonblocking(&self) -> std::io::Result<()> {
        match self {
            Self::Tcp(listener) => listener.set_nonblocking(true),
            Self::Unix(listener) => listener.set_nonblocking(true),
        }
    }
}

/// What is not taken yet, by address.
#[derive(Debug, Default)]
pub struct Passed(Vec<(Address, PassedSocket)>);

impl Passed {
    /// Takes what the environment names. To be called once, before there are threads.
    ///
    /// # Errors
    /// One of them is no TCP or Unix socket that listens.
    pub fn from_env() -> Result<Self> {
        let mut named = ListenFd::from_env();
        let mut all = Vec::new();
        for at in 0..named.len() {
            let fault = |e| {
                Error::new(Kind::Config, Side::Own, format!("socket {at} of LISTEN_FDS cannot be listened on"))
                    .because(e)
                    .hint("each must be a TCP or Unix socket (ListenStream=) with the address of a [[listen]]")
            };
            // What is no socket of one kind may be one of the other.
            let opened = match named.take_tcp_listener(at) {
                Err(_) => named.take_unix_listener(at).map_err(fault)?.map(PassedSocket::Unix),
                Ok(taken) => taken.map(PassedSocket::Tcp),
            };
            if let Some(opened) = opened {
                opened.set_nonblocking().map_err(fault)?;
                all.push((opened.address().map_err(fault)?, opened));
            }
        }
        Ok(Self(all))
    }

    /// The one with this address, if it was passed.
    pub fn take(&mut self, address: &Address) -> Option<PassedSocket> {
        let same = |known: &Address| known.tcp() == address.tcp() && known.unix() == address.unix();
        let at = self.0.iter().position(|(known, _)| same(known))?;
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
