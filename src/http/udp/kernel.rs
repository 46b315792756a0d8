//! Datagrams that the kernel dropped because nobody came to read them: the last column of `/proc/net/udp`.

use std::os::fd::AsFd;

/// The sum of one socket since it was opened; `None` where that cannot be known.
pub(super) fn dropped(socket: impl AsFd) -> Option<u64> {
    let number = rustix::fs::fstat(socket).ok()?.st_ino.to_string();
    ["/proc/self/net/udp", "/proc/self/net/udp6"].iter().find_map(|table| {
        let table = std::fs::read_to_string(table).ok()?;
        of(&table, &number)
    })
}

/// `sl local rem st queues timer retransmits uid timeout inode references pointer drops`.
fn of(table: &str, number: &str) -> Option<u64> {
    let mut rows = table.lines().skip(1).map(|row| row.split_ascii_whitespace().collect::<Vec<_>>());
    let row = rows.find(|row| row.get(9) == Some(&number))?;
    row.get(12)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_reads_is_counted() {
        let receiver = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        assert_eq!(dropped(&receiver), Some(0));
        let sender = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        for _ in 0..200 {
            let _ = sender.send_to(&[0; 60_000], receiver.local_addr().unwrap());
        }
        assert!(dropped(&receiver).unwrap() > 0);
    }
}
