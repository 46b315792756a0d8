//! The smallest body that still shows a difference.

use super::stored::Request;

/// Checks are slow: no more than these for one body.
const CHECKS_MAX: usize = 80;

/// The first requests of a run that differ are made small; further ones have the same cause mostly.
pub(crate) const SHRUNK_MAX: usize = 4;

/// Leaves out lines, then bytes, as long as `differs` holds.
pub(crate) fn shrink(request: &Request, mut differs: impl FnMut(&Request) -> bool) -> Request {
    let mut left = CHECKS_MAX;
    let lines: Vec<Vec<u8>> = request.body.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    let body = pieces(lines, &mut left, |body| differs(&Request { body, ..request.clone() }));
    let bytes = body.into_iter().map(|byte| vec![byte]).collect();
    let body = pieces(bytes, &mut left, |body| differs(&Request { body, ..request.clone() }));
    Request { body, ..request.clone() }
}

/// Leaves out runs of pieces, ever shorter ones.
fn pieces(mut all: Vec<Vec<u8>>, left: &mut usize, mut differs: impl FnMut(Vec<u8>) -> bool) -> Vec<u8> {
    let mut run = all.len().div_ceil(2);
    while run > 0 && all.len() > 1 {
        let mut at = 0;
        while at < all.len() && *left > 0 {
            let rest = [&all[..at], &all[(at + run).min(all.len())..]].concat();
            *left -= 1;
            if !rest.is_empty() && differs(rest.concat()) {
                all = rest;
            } else {
                at += run;
            }
        }
        run = if run == 1 || *left == 0 { 0 } else { run.div_ceil(2) };
    }
    all.concat()
}
