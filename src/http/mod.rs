//! The edge: listeners, connections, and the split between writes and everything else.
//!
//! Promises: a write goes through `pipeline`; every other request passes through untouched, streamed both ways, and ends at
//! the source when its client goes away. Connections, heads, bodies and what is in flight are bounded by configuration.

mod body;
mod door;
mod edge;
mod form;
mod framing;
mod gather;
mod host;
mod limiter;
mod listen;
mod mount;
mod pass;
mod passed;
mod proxied;
mod socket;
mod statements;
mod tap;
mod tls;
mod udp;
mod view;
mod wire;

pub use edge::Edge;
pub use limiter::Limiter;
pub use listen::{Client, Serve, serve, serve_unix};
pub use passed::{Passed, PassedSocket};
pub use proxied::Proxied;
pub use socket::{Bound, Socket, bind, bind_unix};
pub use tls::Identity;
pub use udp::{UdpBound, bind_udp, serve_udp};
pub use view::{EdgeView, LimitedClient, Seen, UdpView};
