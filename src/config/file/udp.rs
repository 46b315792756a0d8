//! Where line protocol comes in datagrams.

use std::net::SocketAddr;
use std::time::Duration;

use crate::base::size::ByteSize;
use crate::config::document::Section;
use crate::config::udp::Udp;

const PRECISIONS: [(&str, &str); 8] =
    [("ns", "n"), ("n", "n"), ("us", "u"), ("u", "u"), ("ms", "ms"), ("s", "s"), ("m", "m"), ("h", "h")];

/// All of them; none unless they are written.
pub(super) fn all(root: &Section<'_>) -> Vec<Udp> {
    let mut all: Vec<Udp> = Vec::new();
    for section in root.sections("udp") {
        if let Some(udp) = one(&section) {
            if udp.address.port() != 0 && all.iter().any(|other| other.address == udp.address) {
                section.fault("address", format!("{} is listened on already", udp.address), None);
            }
            all.push(udp);
        }
        section.finish();
    }
    all
}

fn one(section: &Section<'_>) -> Option<Udp> {
    let (address, db) = (address(section), section.filled("db", "telegraf"));
    if !section.has("db") {
        section.fault("db", "is missing: a datagram names no database", "db = \"telegraf\"".to_owned());
    }
    let (least, most) = (Duration::from_millis(1), Duration::from_secs(60));
    let udp = Udp {
        address: address.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0))),
        db: db.as_ref().map_or_else(String::new, |text| text.value.clone()),
        rp: section.string("rp", "").map_or_else(String::new, |text| text.value),
        precision: section.choice("precision", "n", &PRECISIONS),
        batch_lines: section.count("batch_lines", 5_000, 1..=100_000),
        batch_wait: section.span("batch_wait", Duration::from_secs(1), least..=most),
        buffer: section.size("buffer", ByteSize(4 << 20), 64 << 10..=1 << 30),
        receive_buffer: section.size("receive_buffer", ByteSize(0), 0..=1 << 30),
    };
    (address.is_some() && db.is_some()).then_some(udp)
}

fn address(section: &Section<'_>) -> Option<SocketAddr> {
    const EXAMPLE: &str = "address = \"0.0.0.0:8089\"";
    if !section.has("address") {
        section.fault("address", "is missing", EXAMPLE.to_owned());
    }
    let text = section.filled("address", "0.0.0.0:8089")?;
    let address = text.value.parse().ok();
    if address.is_none() {
        section.fault("address", format!("\"{}\" is not an IP address and a port", text.value), EXAMPLE.to_owned());
    }
    address
}
