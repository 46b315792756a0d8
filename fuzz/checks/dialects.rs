//! The readers of all servers.

use std::ops::Range;

use twinline::line::record::{Outcome, Record};
use twinline::line::{Precision, Reading, influx3};

use super::{HEAD, by_crate, rules};

pub fn dialects(input: &[u8]) {
    let Some((head, body)) = input.split_first_chunk::<HEAD>() else { return };
    let (_, precision) = rules(head[0]);
    let cut = usize::from(u16::from_le_bytes([head[1], head[2]])) % (body.len() + 1);
    for reading in Reading::ALL {
        in_bounds(body, &reading.records(body, precision));
        cut_alike(*reading, body, cut, precision);
    }
    match std::str::from_utf8(body) {
        Ok(text) => by_crate::read_alike(text, precision),
        Err(_) => in_bounds(body, &influx3::records(body, precision)),
    }
}

/// What holds for the records of every body.
pub fn in_bounds(body: &[u8], records: &[Record<'_>]) {
    let mut behind = 0;
    for Record { span, outcome } in records {
        assert!(behind <= span.start && span.start <= span.end && span.end <= body.len(), "{span:?} after {behind}");
        behind = span.end;
        if let Outcome::Fault(fault) = outcome {
            assert!((span.start..=span.end).contains(&fault.at), "{fault:?} of {span:?}");
            assert!(!fault.code.is_empty() && !fault.reason.is_empty() && !fault.mend.is_empty(), "{fault:?}");
        }
    }
}

/// Whole lines of a body's beginning read the same whatever follows.
fn cut_alike(reading: Reading, body: &[u8], cut: usize, precision: Precision) {
    let whole = reading.whole_lines(&body[..cut]);
    assert!(whole <= cut);
    let shown = |records: Vec<Record<'_>>| -> Vec<(Range<usize>, String)> {
        records.into_iter().map(|record| (record.span, format!("{:?}", record.outcome))).collect()
    };
    let alone = shown(reading.records(&body[..whole], precision));
    let mut together = shown(reading.records(body, precision));
    together.truncate(alone.len());
    assert_eq!(alone, together, "{reading:?}, cut at {whole}");
}
