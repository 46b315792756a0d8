//! Line protocol in datagrams, as the `udp` listener of InfluxDB 1 takes it: off unless it is configured.
//!
//! Promises: what is taken goes through the pipeline as any write of a client does, to the source over HTTP: its intent is durable
//! before it, its outcome behind it, and it is mirrored by what the source says. Datagrams of one listener keep their order. At a stop what the
//! kernel holds already is taken too. What is lost is counted by reason and told once a minute: nobody else would ever hear of it. Memory is bounded by `buffer`.

mod datagram;
mod kernel;
mod pending;

use std::cell::Cell;
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket as StdUdpSocket};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use metrics::counter;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::edge::Edge;
use super::view::{EdgeView, UdpView};
use crate::base::{Error, Kind, Result, Side, metric};
use crate::config::Udp;
use crate::db::precision::{Api, effective};
use crate::db::server::{Flavor, Version};
use crate::line::{Dialect, Precision};
use crate::pipeline::Reply;
use pending::{Batch, Pending};

/// No datagram is longer.
const DATAGRAM_BYTES_MAX: usize = 64 << 10;
/// Datagrams that are read before others have their turn.
const AT_ONCE: usize = 64;
/// Datagrams that are read at a stop: more than the kernel holds in any usual buffer.
const REST_MAX: usize = 1 << 17;
/// How often a batch is tried that the source could not take.
const TRIES: u32 = 5;
/// Before the second try; each further one waits twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// From one look at what the kernel dropped to the next.
const KERNEL_EVERY: Duration = Duration::from_secs(2);
/// From one word about losses to the next.
const TELL_EVERY: Duration = Duration::from_secs(60);
/// Of an answer that is no success so much is read.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// A listener that is bound.
#[derive(Debug)]
pub struct UdpBound {
    socket: UdpSocket,
    settings: Udp,
    address: SocketAddr,
}

impl UdpBound {
    /// Where it really listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Binds the address of a listener.
///
/// # Errors
/// The address is taken or not ours.
pub fn bind_udp(settings: Udp) -> Result<UdpBound> {
    let fault = |e: std::io::Error| {
        Error::new(Kind::Config, Side::Own, format!("cannot listen on udp {}", settings.address))
            .because(e)
            .hint("another program listens there, or the address is not ours: change `udp`")
    };
    let socket = StdUdpSocket::bind(settings.address).map_err(fault)?;
    socket.set_nonblocking(true).map_err(fault)?;
    if settings.receive_buffer.0 > 0 {
        // The kernel gives what net.core.rmem_max allows.
        let asked = rustix::net::sockopt::set_socket_recv_buffer_size(&socket, settings.receive_buffer.as_usize());
        asked.map_err(|e| fault(e.into()))?;
    }
    let address = socket.local_addr().map_err(fault)?;
    Ok(UdpBound { socket: UdpSocket::from_std(socket).map_err(fault)?, address, settings })
}

/// Takes datagrams until `stop` turns true, then writes what waits, for no longer than `drain_max`.
pub async fn serve_udp(bound: UdpBound, edge: Edge, view: EdgeView, drain_max: Duration, stop: watch::Receiver<bool>) {
    let UdpBound { socket, settings, address } = bound;
    let place = match settings.rp.as_str() {
        "" => settings.db.clone(),
        rp => format!("{}.{rp}", settings.db),
    };
    let shown = UdpView { address: address.to_string(), place, ..UdpView::default() };
    let losses = Losses { address, at: view.add_udp(shown), view };
    let pending = Pending::new(settings.buffer.as_usize(), settings.batch_lines, settings.batch_wait);
    let precision = effective(&Version::assumed(Flavor::Influx1), Api::V1, Some(settings.precision));
    let under_way = Cell::new(0);
    let listener = Rc::new(Listener { edge, losses, pending, settings, precision, under_way });
    let writing = Rc::clone(&listener);
    let mut writing = tokio::task::spawn_local(async move { writing.write_all().await });
    let telling = Rc::clone(&listener);
    let telling = tokio::task::spawn_local(async move { telling.losses.keep_telling().await });
    listener.receive(&socket, stop).await;
    listener.receive_rest(socket);
    listener.pending.end();
    if timeout(drain_max, &mut writing).await.is_err() {
        writing.abort();
        listener.losses.lines("stopped", listener.pending.lines() + listener.under_way.get());
    }
    telling.abort();
    listener.losses.tell(&UdpView::default());
}

/// One listener at work.
struct Listener {
    edge: Edge,
    losses: Losses,
    pending: Pending,
    settings: Udp,
    precision: Precision,
    /// Lines of the batch that is being written.
    under_way: Cell<u64>,
}

impl Listener {
    async fn receive(&self, socket: &UdpSocket, mut stop: watch::Receiver<bool>) {
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        let mut looked: Option<Instant> = None;
        loop {
            if looked.is_none_or(|at| at.elapsed() >= KERNEL_EVERY) {
                looked = Some(Instant::now());
                self.losses.kernel(kernel::dropped(socket));
            }
            let ready = tokio::select! {
                ready = timeout(KERNEL_EVERY, socket.readable()) => ready,
                _ = stop.wait_for(|stop| *stop) => return,
            };
            if ready.is_err() {
                continue;
            }
            for _ in 0..AT_ONCE {
                // Not readable after all, or a complaint of the network about something that we have never sent.
                let Ok(bytes) = socket.try_recv(&mut buffer) else { break };
                self.take(&buffer[..bytes]);
            }
            tokio::task::yield_now().await;
        }
    }

    /// What the kernel holds already, and what it has dropped so far; then the socket is closed.
    fn receive_rest(&self, socket: UdpSocket) {
        // Asked directly: the runtime has not heard yet of what has just come.
        let Ok(socket) = socket.into_std() else { return };
        let is_all = read_rest(&socket, |datagram| self.take(datagram));
        self.losses.kernel(kernel::dropped(&socket));
        if !is_all {
            tracing::warn!(event = "udp.dropped", address = %self.losses.address, "datagrams still come at the stop: those are lost");
        }
    }

    fn take(&self, datagram: &[u8]) {
        counter!(metric::UDP_DATAGRAMS).increment(1);
        self.losses.change(|view| view.datagrams += 1);
        let arrived_ns = self.edge.now_ns();
        match datagram::read(datagram, dialect(self.edge.flavor()), self.precision, arrived_ns) {
            Ok(read) if read.lines == 0 => {}
            Ok(read) => {
                if let Err(read) = self.pending.push(read) {
                    self.losses.lines("buffer-full", read.lines);
                }
            }
            Err(lines) => self.losses.lines("unparsable", lines),
        }
    }

    async fn write_all(&self) {
        while let Some(batch) = self.pending.next().await {
            self.under_way.set(batch.lines);
            self.write(batch).await;
            self.under_way.set(0);
        }
    }

    /// One batch, to its end.
    async fn write(&self, batch: Batch) {
        let (text, mut wait) = (Bytes::from(batch.text), FIRST_WAIT);
        for tried in 1..=TRIES {
            let (status, lost) = match self.request() {
                Ok(request) => said(self.edge.write_own(request, text.clone()).await).await,
                Err(_) => (StatusCode::BAD_REQUEST, None),
            };
            if status.is_success() {
                counter!(metric::UDP_LINES).increment(batch.lines);
                return self.losses.change(|view| view.lines += batch.lines);
            }
            // Such an answer stays as it is.
            if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS {
                let lost = lost.unwrap_or(batch.lines).min(batch.lines);
                counter!(metric::UDP_LINES).increment(batch.lines - lost);
                self.losses.change(|view| view.lines += batch.lines - lost);
                return self.losses.lines("refused", lost);
            }
            if tried < TRIES {
                sleep(wait).await;
                wait *= 2;
            }
        }
        self.losses.lines("failed", batch.lines);
    }

    fn request(&self) -> std::result::Result<Request<()>, http::Error> {
        let name = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let mut target = format!("/write?db={}", name(&self.settings.db));
        if !self.settings.rp.is_empty() {
            target.push_str(&format!("&rp={}", name(&self.settings.rp)));
        }
        let mut request = Request::post(target)
            .header(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"))
            .body(())?;
        if let Some(value) = self.edge.own_authorization() {
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        Ok(request)
    }
}

/// Datagrams that wait in a socket, until none does. False: they come too fast for that.
fn read_rest(socket: &StdUdpSocket, mut take: impl FnMut(&[u8])) -> bool {
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    for _ in 0..REST_MAX {
        match socket.recv(&mut buffer) {
            Ok(bytes) => take(&buffer[..bytes]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
            // Interrupted, or a complaint of the network about something that we have never sent.
            Err(_) => {}
        }
    }
    false
}

/// The status of an answer, and how many lines are lost where it says so: `partial write: … dropped=3`.
async fn said(reply: Reply) -> (StatusCode, Option<u64>) {
    let (head, body) = reply.into_parts();
    if head.status.is_success() {
        return (head.status, None);
    }
    let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    (head.status, dropped(&String::from_utf8_lossy(&body)))
}

fn dropped(text: &str) -> Option<u64> {
    if !text.contains("partial write") {
        return None;
    }
    let behind = text.rsplit_once("dropped=")?.1;
    behind.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// What of one listener is lost, and who hears of it.
struct Losses {
    address: SocketAddr,
    at: usize,
    view: EdgeView,
}

impl Losses {
    fn change(&self, change: impl FnOnce(&mut UdpView)) {
        self.view.udp(self.at, change);
    }

    fn lines(&self, why: &'static str, lines: u64) {
        if lines > 0 {
            counter!(metric::UDP_DROPPED, "why" => why).increment(lines);
            self.change(|view| view.drop_lines(why, lines));
        }
    }

    /// The kernel's sum.
    fn kernel(&self, sum: Option<u64>) {
        let Some(sum) = sum else { return };
        self.change(|view| {
            counter!(metric::UDP_KERNEL).increment(sum.saturating_sub(view.kernel_dropped));
            view.kernel_dropped = sum;
        });
    }

    /// Tells of what was lost beyond this; what is lost now.
    fn tell(&self, before: &UdpView) -> UdpView {
        let now = self.view.now().udp.into_iter().nth(self.at).unwrap_or_default();
        if (&now.dropped, now.kernel_dropped) != (&before.dropped, before.kernel_dropped) {
            let dropped: Vec<String> = now.dropped.iter().map(|(why, lines)| format!("{lines} {why}")).collect();
            tracing::warn!(
                event = "udp.dropped",
                address = %self.address,
                lines = dropped.join(", "),
                datagrams_by_kernel = now.kernel_dropped,
                "datagrams were lost; sums since the start"
            );
        }
        now
    }

    async fn keep_telling(&self) {
        // The first loss is told soon.
        let mut told = UdpView::default();
        loop {
            let before = told.clone();
            told = self.tell(&before);
            let is_news = (&told.dropped, told.kernel_dropped) != (&before.dropped, before.kernel_dropped);
            sleep(if is_news { TELL_EVERY } else { KERNEL_EVERY }).await;
        }
    }
}

/// In which dialect the source reads.
fn dialect(flavor: Flavor) -> Dialect {
    match flavor {
        Flavor::Influx1 => Dialect::Influx1,
        Flavor::Influx2 => Dialect::Influx2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_partial_write_has_lost_is_read_off_its_answer() {
        let text = "{\"error\":\"partial write: field type conflict: input field \\\"v\\\" dropped=2 … dropped=3\"}\n";
        assert_eq!(dropped(text), Some(3));
        assert_eq!(dropped("{\"error\":\"database not found: \\\"dropped=3\\\"\"}"), None);
        assert_eq!(dropped("{\"error\":\"partial write: points beyond retention policy\"}"), None);
    }

    #[test]
    fn what_the_kernel_holds_at_a_stop_is_read_to_its_end() {
        let receiver = StdUdpSocket::bind("127.0.0.1:0").unwrap();
        receiver.set_nonblocking(true).unwrap();
        let sender = StdUdpSocket::bind("127.0.0.1:0").unwrap();
        for n in 0..3 * AT_ONCE {
            sender.send_to(n.to_string().as_bytes(), receiver.local_addr().unwrap()).unwrap();
        }
        let mut read = Vec::new();
        assert!(read_rest(&receiver, |datagram| read.push(String::from_utf8_lossy(datagram).into_owned())));
        assert_eq!(read, (0..3 * AT_ONCE).map(|n| n.to_string()).collect::<Vec<_>>());
    }
}
