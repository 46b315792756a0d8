//! Where line protocol comes in datagrams, as the program uses it.

use std::net::SocketAddr;
use std::time::Duration;

use crate::base::size::ByteSize;

/// One address at which datagrams are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Udp {
    /// Address and port; port 0 lets the system choose.
    pub address: SocketAddr,
    /// The database that the lines go to.
    pub db: String,
    /// Its policy; empty: the default one.
    pub rp: String,
    /// The unit of times, in the words of InfluxDB 1: `n`, `u`, `ms`, `s`, `m`, `h`. Default `n`.
    pub precision: &'static str,
    /// Lines in one write, 1 to 100,000. Default 5,000.
    pub batch_lines: u64,
    /// A batch that is not full goes after this. Default 1 s.
    pub batch_wait: Duration,
    /// Lines that wait for the source, 64 KiB to 1 GiB. Default 4 MiB.
    pub buffer: ByteSize,
    /// The kernel's own buffer; 0: as the system has it. Default 0.
    pub receive_buffer: ByteSize,
}
