//! Sockets: addresses and ports, and paths in the file system.
//!
//! Promise: a socket that a dead process left behind is replaced; nothing else that stands at its path is.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream};
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::passed::PassedSocket;
use crate::base::{Error, Kind, Result, Side};
use crate::config::Address;

/// A listener that is bound.
#[derive(Debug)]
pub struct Bound {
    /// The socket.
    pub socket: Socket,
    /// Where it really listens.
    pub address: Address,
}

/// What connections come from.
#[derive(Debug)]
pub enum Socket {
    /// An address and port.
    Tcp(TcpListener),
    /// A path.
    Unix(UnixListener),
}

impl Socket {
    /// The next connection, and where it comes from, if it comes over a network.
    pub(super) async fn accept(&self) -> io::Result<(Stream, Option<IpAddr>)> {
        match self {
            Self::Tcp(listener) => listener.accept().await.map(|(stream, peer)| {
                // Costs latency only, should it fail.
                let _ = stream.set_nodelay(true);
                (Stream::Tcp(stream), Some(peer.ip().to_canonical()))
            }),
            Self::Unix(listener) => listener.accept().await.map(|(stream, _)| (Stream::Unix(stream), None)),
        }
    }
}

/// A connection.
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

macro_rules! each {
    ($self:ident, $stream:ident => $what:expr) => {
        match $self.get_mut() {
            Stream::Tcp($stream) => $what,
            Stream::Unix($stream) => $what,
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        each!(self, stream => Pin::new(stream).poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self, stream => Pin::new(stream).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.is_write_vectored(),
            Self::Unix(stream) => stream.is_write_vectored(),
        }
    }
}

/// Binds an address, or takes the socket that was opened for it before.
///
/// # Errors
/// The address is taken or not ours.
pub async fn bind(address: &Address, passed: Option<PassedSocket>) -> Result<Bound> {
    let fault = |e: io::Error| {
        let hint = match e.kind() {
            io::ErrorKind::AddrInUse => "another program listens there: stop it, or change `listen`",
            io::ErrorKind::PermissionDenied => "ports below 1024 need CAP_NET_BIND_SERVICE",
            _ => "check `listen` in the configuration",
        };
        Error::new(Kind::Config, Side::Own, format!("cannot listen on {address}")).because(e).hint(hint)
    };
    let socket = match (passed, address) {
        (Some(PassedSocket::Tcp(listener)), _) => Socket::Tcp(TcpListener::from_std(listener).map_err(fault)?),
        (Some(PassedSocket::Unix(listener)), _) => Socket::Unix(UnixListener::from_std(listener).map_err(fault)?),
        (None, Address::Tcp(address)) => Socket::Tcp(TcpListener::bind(address).await.map_err(fault)?),
        (None, Address::Unix(path, mode)) => {
            let listener = bind_unix(path, *mode, "listen.address")?;
            Socket::Unix(UnixListener::from_std(listener).map_err(fault)?)
        }
    };
    let address = match (&socket, address) {
        (Socket::Tcp(listener), _) => Address::Tcp(listener.local_addr().map_err(fault)?),
        (Socket::Unix(_), address) => address.clone(),
    };
    Ok(Bound { socket, address })
}

impl Bound {
    /// Of a listener that is bound already.
    ///
    /// # Errors
    /// The event loop does not take it.
    pub fn tcp(listener: std::net::TcpListener) -> io::Result<Self> {
        let address: SocketAddr = listener.local_addr()?;
        Ok(Self { socket: Socket::Tcp(TcpListener::from_std(listener)?), address: address.into() })
    }
}

/// Binds a path, which `mode` says who may open. `key` is the setting that names it.
///
/// # Errors
/// The directory is missing or not ours; a file stands there; a living process listens there.
pub fn bind_unix(path: &Path, mode: u32, key: &str) -> Result<StdUnixListener> {
    let fault = |e: io::Error| {
        Error::new(Kind::Config, Side::Own, format!("cannot open the socket {}", path.display()))
            .because(e)
            .hint(format!("check `{key}`: the directory must exist and belong to this user"))
    };
    clear_dead_socket(path, key, &fault)?;
    let listener = StdUnixListener::bind(path).map_err(fault)?;
    listener.set_nonblocking(true).map_err(fault)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(fault)?;
    Ok(listener)
}

fn clear_dead_socket(path: &Path, key: &str, fault: &impl Fn(io::Error) -> Error) -> Result<()> {
    use io::ErrorKind;

    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(fault(error)),
        Ok(found) if !found.file_type().is_socket() => {
            let what = format!("{} exists and is no socket: it is left as it is", path.display());
            return Err(Error::new(Kind::Config, Side::Own, what).hint(format!("change `{key}`")));
        }
        Ok(_) => {}
    }
    match StdUnixStream::connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(fault(error)),
        Ok(_) => {
            let what = format!("another process listens on the socket {}", path.display());
            let hint = format!("stop it, or give this one a `{key}` of its own");
            return Err(Error::new(Kind::Locked, Side::Own, what).hint(hint));
        }
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(fault(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_dead_socket_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.sock");
        let bind = |path: &Path| bind_unix(path, 0o620, "listen.address");
        let living = bind(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o620);
        assert_eq!(bind(&path).unwrap_err().kind(), Kind::Locked);
        drop(living);
        drop(bind(&path).unwrap());
        let file = dir.path().join("notes");
        std::fs::write(&file, "mine").unwrap();
        assert_eq!(bind(&file).unwrap_err().kind(), Kind::Config);
        assert_eq!(std::fs::read(&file).unwrap(), b"mine");
    }
}
