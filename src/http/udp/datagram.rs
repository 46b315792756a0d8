//! One datagram, read as the listener of InfluxDB 1 reads it.
//!
//! Promises: it is taken whole, or not at all where one of its lines does not parse. Lines without a time get that of its arrival. What
//! comes out ends with a line end, all its times are nanoseconds, and it reads the same behind others as alone.

use crate::line::{Dialect, Precision, inspect, rescale, stamp};

/// Lines to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Read {
    pub(super) text: Vec<u8>,
    pub(super) lines: u64,
}

/// Reads a datagram; `Err`: so many lines of it are lost.
pub(super) fn read(datagram: &[u8], dialect: Dialect, precision: Precision, arrived_ns: i64) -> Result<Read, u64> {
    let summary = inspect(datagram, dialect, precision, arrived_ns);
    let lines = u64::from(summary.lines);
    if summary.malformed > 0 {
        return Err(lines + u64::from(summary.malformed));
    }
    let stamped;
    let timed = if summary.untimed > 0 {
        stamped = stamp(datagram, dialect, precision, arrived_ns);
        &stamped[..]
    } else {
        datagram
    };
    let mut is_whole = true;
    let mut text = rescale(timed, dialect, precision, Precision::Nanosecond, |_, _| is_whole = false).into_owned();
    if !text.ends_with(b"\n") {
        text.push(b'\n');
    }
    // What a quote in a comment or a backslash at an end does may depend on what comes behind it.
    let behind = [&text[..], b"next v=1i 1\n"].concat();
    let again = inspect(&behind, dialect, Precision::Nanosecond, arrived_ns);
    let reads_alike = again.malformed == 0 && again.untimed == 0 && u64::from(again.lines) == lines + 1;
    if is_whole && reads_alike { Ok(Read { text, lines }) } else { Err(lines) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(datagram: &str, precision: Precision) -> Result<String, u64> {
        let read = read(datagram.as_bytes(), Dialect::Influx1, precision, 1_700_000_000_123_456_789)?;
        Ok(format!("{}:{}", read.lines, String::from_utf8(read.text).unwrap()))
    }

    #[test]
    fn times_are_nanoseconds_and_lines_without_one_have_that_of_the_arrival() {
        let ns = Precision::Nanosecond;
        for (datagram, precision, taken) in [
            ("m v=1 5", ns, "1:m v=1 5\n"),
            ("m v=1 5\nm v=2 6\n", ns, "2:m v=1 5\nm v=2 6\n"),
            ("m v=1", ns, "1:m v=1 1700000000123456789\n"),
            ("m v=1", Precision::Second, "1:m v=1 1700000000000000000\n"),
            ("m v=1 5\nn v=2", Precision::Second, "2:m v=1 5000000000\nn v=2 1700000000000000000\n"),
            ("m v=\"a\nb\" 7", Precision::Millisecond, "1:m v=\"a\nb\" 7000000\n"),
            ("", ns, "0:\n"),
            ("# only words\n", ns, "0:# only words\n"),
        ] {
            assert_eq!(text(datagram, precision), Ok(taken.to_owned()), "{datagram:?}");
        }
    }

    #[test]
    fn a_datagram_with_a_line_that_does_not_parse_is_lost_whole() {
        let ns = Precision::Nanosecond;
        for (datagram, lost) in [("nonsense", 1), ("m v=1 5\nm\nm v=2 6", 3), ("m v=\"open 5", 1), ("\0\u{ff}", 1)] {
            assert_eq!(text(datagram, ns), Err(lost), "{datagram:?}");
        }
        assert_eq!(text("m v=1 9223372036854775807", Precision::Second), Err(1), "beyond all time");
    }

    /// Random datagrams: what is taken reads behind another as it does alone.
    #[test]
    fn what_is_taken_reads_alike_behind_others() {
        let mut random = fastrand::Rng::with_seed(3);
        let words = ["m", ",t=a", " ", "v=1", "=", "\"", "\\", "\n", "#", " 5", "x=\"", "i", ",", "\r", "'"];
        let mut taken = 0;
        for _ in 0..50_000 {
            let datagram: String = (0..random.usize(1..12)).map(|_| *random.choice(&words).unwrap()).collect();
            let Ok(read) = read(datagram.as_bytes(), Dialect::Influx1, Precision::Nanosecond, 77) else { continue };
            taken += read.lines;
            for before in ["a v=1 1\n", "# it's a=\n"] {
                let both = [before.as_bytes(), &read.text].concat();
                let all = inspect(&both, Dialect::Influx1, Precision::Nanosecond, 0);
                let own = u64::from(before.starts_with('a'));
                assert_eq!((u64::from(all.lines), all.malformed), (read.lines + own, 0), "{datagram:?}");
            }
        }
        assert!(taken > 100, "{taken}");
    }
}
