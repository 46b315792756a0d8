//! All scanners against each other, on each level.

use twinline::line::scan::Level;
use twinline::line::{self, Dialect, Precision};

use super::{HEAD, Shapes, copied, rules, values};

/// Bytes after which the index of the parser begins anew.
const WINDOW: usize = 8_192;

pub fn scanners(input: &[u8]) {
    let Some((head, rest)) = input.split_first_chunk::<HEAD>() else { return };
    let (dialect, precision) = rules(head[0]);
    alike(&moved(head, rest), dialect, precision);
}

/// The body with something before it, so that it lies at any place in the blocks and across the borders of windows.
fn moved(head: &[u8; HEAD], rest: &[u8]) -> Vec<u8> {
    let by = usize::from(head[2]);
    let filler = if head[1] & 1 == 0 { by % 64 } else { WINDOW - 200 + by };
    let mut body = vec![b'x'; filler];
    // A line of its own, or the begin of the first one.
    if let Some(last) = body.last_mut().filter(|_| head[1] & 2 == 0) {
        *last = b'\n';
    }
    body.extend_from_slice(rest);
    body
}

/// Whether every scanner tells the same of a body: verdict, reason, places and data.
pub fn alike(body: &[u8], dialect: Dialect, precision: Precision) {
    let mut all = Level::all().into_iter().map(|level| (level, told(level, body, dialect, precision)));
    let Some((_, first)) = all.next() else { return };
    for (level, other) in all {
        assert!(first == other, "{level:?} tells of {}:\n{other:?}\ninstead of\n{first:?}", body.escape_ascii());
    }
}

fn told(level: Level, body: &[u8], dialect: Dialect, precision: Precision) -> impl PartialEq + std::fmt::Debug {
    values(level, body, dialect, precision);
    let mut ends = Vec::new();
    line::boundaries_with(level, body, |span| ends.push(span));
    let mut shapes = Shapes::default();
    line::spans_with(level, body, &mut shapes);
    let lines: Vec<_> = line::lines_with(level, body, dialect, precision)
        .map(|outcome| match outcome {
            Ok(line) => Ok((line.span(), line.fields_end(), copied(&line))),
            Err(refused) => Err((refused.span, refused.reason, refused.at)),
        })
        .collect();
    (ends, shapes.lines, lines, line::inspect_with(level, body, dialect, precision, 0))
}
