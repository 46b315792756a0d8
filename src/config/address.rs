//! Where a listener is: an address and port, or a socket in the file system.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// A path of a Unix socket may have so many bytes on Linux.
pub(super) const SOCKET_PATH_MAX: usize = 107;

/// Where a listener is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// Address and port; port 0 lets the system choose.
    Tcp(SocketAddr),
    /// A socket for processes on this machine: its path, at most 107 bytes long, and who may open it.
    Unix(PathBuf, u32),
}

impl Address {
    /// The address and port, where it has one.
    #[must_use]
    pub fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix(..) => None,
        }
    }

    /// The path, where it has one.
    #[must_use]
    pub fn unix(&self) -> Option<&Path> {
        match self {
            Self::Tcp(_) => None,
            Self::Unix(path, _) => Some(path),
        }
    }

    /// Whether both cannot be listened on at once, as far as the text says.
    pub(super) fn meets(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Tcp(one), Self::Tcp(two)) => one.port() != 0 && one == two,
            (Self::Unix(one, _), Self::Unix(two, _)) => one == two,
            _ => false,
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path, _) => write!(f, "unix:{}", path.display()),
        }
    }
}
